//! The ConfigMaps and Secrets of the file: what is in them, and whether somebody wants it.

use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::manifest::reader::{Node, Value};
use crate::model::FileKind;
use crate::transfer::draft::VARIABLE;
use crate::transfer::labels::{entries, get, scalar};
use crate::transfer::report::Report;
use crate::transfer::when::shown;

use super::text_at;

/// What lies under a key: a text, or why it is none.
pub(super) type Content = Result<String, &'static str>;

type Reads = fn(&str) -> Content;

/// The ConfigMaps and Secrets of the file.
#[derive(Default)]
pub(super) struct Data(Vec<Object>);

struct Object {
    kind: FileKind,
    namespace: Option<String>,
    name: String,
    values: BTreeMap<String, Content>,
    /// Where its name stands in the file, counted from the file's start.
    at: Range<usize>,
    used: bool,
}

/// What Kubernetes calls the object.
pub(super) fn kind_of(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Secret => "Secret",
        FileKind::Config => "ConfigMap",
    }
}

impl Data {
    /// Takes up an object when it is one of those; `base` are the bytes before its document.
    pub fn learn(&mut self, object: &Node, base: usize) {
        let kinds = [FileKind::Secret, FileKind::Config];
        let named = text_at(object, "kind");
        let Some(kind) = kinds
            .into_iter()
            .find(|kind| named.as_deref() == Some(kind_of(*kind)))
        else {
            return;
        };
        let Some(at) = get(object, &["metadata", "name"]) else {
            return;
        };
        let Some(name) = scalar(at) else { return };
        let mut found = Object {
            kind,
            namespace: namespace_of(object),
            name,
            values: BTreeMap::new(),
            at: base + at.span.start..base + at.span.end,
            used: false,
        };
        let sections: [(&str, Reads); 2] = match kind {
            FileKind::Secret => [("data", decoded), ("stringData", plain)],
            FileKind::Config => [("binaryData", decoded), ("data", plain)],
        };
        for (section, read) in sections {
            for entry in entries(get(object, &[section])) {
                let content = match &entry.value.value {
                    Value::Scalar(_) => read(&scalar(&entry.value).unwrap_or_default()),
                    Value::Seq(_) | Value::Map(_) => Err("it is no text"),
                };
                found.values.insert(entry.key.text.clone(), content);
            }
        }
        self.0.push(found);
    }

    /// All that an object of the file holds, by key, as a CronJob of that namespace sees it.
    ///
    /// # Errors
    /// Why it is not known which one that is.
    pub fn of(
        &mut self,
        kind: FileKind,
        name: &str,
        namespace: Option<&str>,
    ) -> Result<&BTreeMap<String, Content>, &'static str> {
        let named = |object: &Object| object.kind == kind && object.name == name;
        // One that is written without a namespace comes into that of whoever applies it.
        let same = |object: &Object| object.namespace.as_deref() == namespace;
        let open = |object: &Object| object.namespace.is_none() || namespace.is_none();
        // Of one that stands twice the last one holds.
        let found = (self.0.iter()).rposition(|object| named(object) && same(object));
        let found = match found {
            Some(found) => found,
            None => {
                let mut fitting = (self.0.iter().enumerate())
                    .filter(|(_, object)| named(object) && open(object))
                    .map(|(at, _)| at);
                let first = fitting.next().ok_or("it is not in this file")?;
                if fitting.next().is_some() {
                    return Err("several namespaces of this file have one of that name");
                }
                first
            }
        };
        self.0[found].used = true;
        Ok(&self.0[found].values)
    }

    /// What nobody asked for.
    pub fn report_unused(&self, report: &mut Report<'_>) {
        // The cluster puts one of these into each namespace.
        let is_own = |object: &&Object| object.name != "kube-root-ca.crt";
        for object in self.0.iter().filter(|object| !object.used).filter(is_own) {
            let (kind, name) = (kind_of(object.kind), shown(&object.name));
            let message = format!("{kind} `{name}` is used by no CronJob of this file");
            report.lost(object.at.clone(), message);
        }
    }
}

pub(super) fn namespace_of(object: &Node) -> Option<String> {
    get(object, &["metadata", "namespace"]).and_then(scalar)
}

fn plain(text: &str) -> Content {
    if text.contains(['\0', VARIABLE]) {
        return Err("it is no text");
    }
    Ok(text.to_owned())
}

fn decoded(text: &str) -> Content {
    // Written by hand, it may stand on several lines.
    let text: String = text.split_whitespace().collect();
    let bytes = STANDARD.decode(text).map_err(|_| "its base64 is broken")?;
    plain(&String::from_utf8(bytes).map_err(|_| "it is no text")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_when_it_is_text() {
        assert_eq!(decoded("aHVudGVyMg=="), Ok("hunter2".to_owned()));
        assert_eq!(decoded("aHVu\n  dGVyMg==\n"), Ok("hunter2".to_owned()));
        assert_eq!(decoded("%"), Err("its base64 is broken"));
        assert_eq!(decoded(&STANDARD.encode([0xff, 0xfe])), Err("it is no text"));
        assert_eq!(decoded(&STANDARD.encode("a\0b")), Err("it is no text"));
        assert_eq!(
            decoded(&STANDARD.encode(VARIABLE.to_string())),
            Err("it is no text")
        );
    }
}
