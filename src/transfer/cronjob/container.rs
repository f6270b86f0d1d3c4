//! The container: its image, words, variables and limits.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::kubernetes::is_word;
use crate::manifest::reader::{Entry, Node};
use crate::model::{FileKind, ImageRef};
use crate::transfer::docker_line::{say_secret, warn_of_secret};
use crate::transfer::draft::{literal, literals};
use crate::transfer::labels::{entries, get, items, scalar};
use crate::transfer::when::shown;
use crate::transfer::yaml::Yaml;

use super::data::{Content, kind_of};
use super::{Reader, text_at, texts};

impl Reader<'_, '_> {
    pub(super) fn container(&mut self, container: &Node, volumes: &BTreeMap<String, &Node>) {
        self.environment(container);
        if container.get("imagePullPolicy").is_none() && Self::is_latest(container) {
            self.job.set("pull_policy", Yaml::text("always"));
        }
        for entry in entries(Some(container)) {
            let Entry { key, value } = entry;
            match key.text.as_str() {
                "name" | "env" | "envFrom" | "terminationMessagePath" | "terminationMessagePolicy" => {}
                "image" => {
                    let image = scalar(value).unwrap_or_default();
                    match image.parse::<ImageRef>() {
                        Ok(_) => self.job.set("image", literal(&image)),
                        Err(error) => self.refuse(value.span.clone(), ToString::to_string(&error)),
                    }
                }
                "imagePullPolicy" => match scalar(value).as_deref() {
                    Some("Always") => self.job.set("pull_policy", Yaml::text("always")),
                    Some("IfNotPresent") => self.job.set("pull_policy", Yaml::text("missing")),
                    Some("Never") => self.job.set("pull_policy", Yaml::text("never")),
                    _ => self.lost(entry, "the container"),
                },
                "command" => self.words("entrypoint", value),
                "args" => self.words("command", value),
                "workingDir" => match scalar(value).filter(|path| path.starts_with('/')) {
                    Some(path) => self.job.set("working_dir", literal(&path)),
                    None => self.lost(entry, "the container"),
                },
                "volumeMounts" => {
                    for mount in items(Some(value)) {
                        self.mount(mount, volumes);
                    }
                }
                "resources" => self.resources(value),
                "securityContext" => self.security(value, "the container"),
                "tty" | "stdin" => {
                    let on = scalar(value).as_deref() == Some("true");
                    let name = if key.text == "tty" { "tty" } else { "stdin_open" };
                    if on {
                        self.job.set(name, Yaml::Bool(true));
                    }
                }
                _ => self.lost(entry, "the container"),
            }
        }
    }

    /// An image that Kubernetes pulls for each run, when nobody says otherwise.
    fn is_latest(container: &Node) -> bool {
        let image = text_at(container, "image").unwrap_or_default();
        let last = image.rsplit('/').next().unwrap_or(&image);
        let tag = last.split_once(':').map(|(_, tag)| tag);
        !image.is_empty() && !image.contains('@') && tag.is_none_or(|tag| tag == "latest")
    }

    fn words(&mut self, key: &str, node: &Node) {
        let words: Vec<String> = texts(node)
            .iter()
            .map(|word| self.expanded(word, node.span.clone()))
            .collect();
        if !words.is_empty() {
            self.job.set(key, literals(words));
        }
    }

    /// `$(NAME)` is the variable of the container, `$$` is a dollar.
    fn expanded(&mut self, text: &str, at: Range<usize>) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('$') {
            out.push_str(&rest[..start]);
            let after = &rest[start + 1..];
            if let Some(left) = after.strip_prefix('$') {
                out.push('$');
                rest = left;
                continue;
            }
            let name = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            let Some((name, left)) = name else {
                out.push('$');
                rest = after;
                continue;
            };
            match self.environment.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    let message = format!("`$({})` stays as it is: its value is not known here", shown(name));
                    self.report.changed(at.clone(), message);
                    out.push_str(&format!("$({name})"));
                }
            }
            rest = left;
        }
        out.push_str(rest);
        out
    }

    fn environment(&mut self, container: &Node) {
        for source in items(get(container, &["envFrom"])) {
            self.environment_from(source);
        }
        for variable in items(get(container, &["env"])) {
            let Some(name) = text_at(variable, "name").filter(|name| !name.is_empty()) else {
                continue;
            };
            let at = variable
                .get("name")
                .map_or(variable.span.clone(), |entry| entry.value.span.clone());
            if let Some(from) = variable.get("valueFrom") {
                let (kind, value) = self.value_from(&from.value);
                self.found(&name, kind, value, from.key.span.clone());
            } else {
                let value = text_at(variable, "value").unwrap_or_default();
                let value = self.expanded(&value, variable.span.clone());
                self.variable(&name, value, at, false);
            }
        }
    }

    fn variable(&mut self, name: &str, value: String, at: Range<usize>, is_secret: bool) {
        if is_secret {
            say_secret(name, at, self.report);
        } else {
            warn_of_secret(name, at, self.report);
        }
        if !is_word(name) {
            self.job.put("environment", name, literal(&value));
        }
        self.environment.insert(name.to_owned(), value);
    }

    /// A variable whose value comes from an object.
    fn found(&mut self, name: &str, kind: Option<FileKind>, value: Content, at: Range<usize>) {
        match value {
            Ok(value) => self.variable(name, value, at, kind == Some(FileKind::Secret)),
            Err(why) => {
                let of = kind.map_or(String::new(), |kind| format!(", of a {},", kind_of(kind)));
                let message = format!("the value of `{}`{of} is not carried over: {why}", shown(name));
                self.report.lost(at, message);
            }
        }
    }

    fn environment_from(&mut self, source: &Node) {
        let prefix = text_at(source, "prefix").unwrap_or_default();
        let at = source.span.start..source.span.start;
        for (key, kind) in [
            ("configMapRef", FileKind::Config),
            ("secretRef", FileKind::Secret),
        ] {
            let Some(name) = get(source, &[key, "name"]).and_then(scalar) else {
                continue;
            };
            let values = match self.data.of(kind, &name, self.namespace.as_deref()) {
                Ok(values) => values.clone(),
                Err(why) => {
                    let message = format!(
                        "the variables of {} `{}` are not carried over: {why}",
                        kind_of(kind),
                        shown(&name)
                    );
                    self.report.lost(at.clone(), message);
                    continue;
                }
            };
            for (variable, value) in values {
                self.found(&format!("{prefix}{variable}"), Some(kind), value, at.clone());
            }
        }
    }

    /// A key of an object, and of which kind the object is.
    fn value_from(&mut self, from: &Node) -> (Option<FileKind>, Content) {
        for (key, kind) in [
            ("configMapKeyRef", FileKind::Config),
            ("secretKeyRef", FileKind::Secret),
        ] {
            if let Some(reference) = get(from, &[key]) {
                let name = text_at(reference, "name").unwrap_or_default();
                let key = text_at(reference, "key").unwrap_or_default();
                let values = self.data.of(kind, &name, self.namespace.as_deref());
                let value = match values.map(|values| values.get(&key)) {
                    Ok(Some(value)) => value.clone(),
                    Ok(None) => Err("there is no such key"),
                    Err(why) => Err(why),
                };
                return (Some(kind), value);
            }
        }
        (None, Err("it comes from the pod"))
    }

    fn resources(&mut self, node: &Node) {
        for Entry { key: section, value } in entries(Some(node)) {
            for entry in entries(Some(value)) {
                let text = scalar(&entry.value).unwrap_or_default();
                match (section.text.as_str(), entry.key.text.as_str()) {
                    ("limits", "memory") => match bytes(&text) {
                        Some(bytes) => self.job.set("mem_limit", Yaml::Text(size(bytes))),
                        None => self.lost(entry, "`resources`"),
                    },
                    ("requests", "memory") => match bytes(&text) {
                        Some(bytes) => self.job.set("mem_reservation", Yaml::Text(size(bytes))),
                        None => self.lost(entry, "`resources`"),
                    },
                    ("limits", "cpu") => match cpus(&text) {
                        Some(cpus) => self.job.set("cpus", Yaml::Text(cpus)),
                        None => self.lost(entry, "`resources`"),
                    },
                    _ => self.lost(entry, &format!("`resources.{}`", shown(&section.text))),
                }
            }
        }
    }
}

/// A quantity of memory in bytes: `64Mi`, `1G`, `1000`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let scale = match &text[digits..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// Bytes as Compose writes them.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b > 0 && b % (1 << 30) == 0 => format!("{}g", b >> 30),
        b if b > 0 && b % (1 << 20) == 0 => format!("{}m", b >> 20),
        b if b > 0 && b % (1 << 10) == 0 => format!("{}k", b >> 10),
        b => format!("{b}b"),
    }
}

/// A quantity of CPUs as a decimal number: `500m` is `0.5`.
fn cpus(text: &str) -> Option<String> {
    let milli = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<u32>().ok()?,
        None => {
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            let part = format!("{part:0<3}");
            if part.len() > 3 {
                return None;
            }
            whole.parse::<u32>().ok()?.checked_mul(1_000)? + part.parse::<u32>().ok()?
        }
    };
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        assert_eq!(bytes("64Mi").map(size).as_deref(), Some("64m"));
        assert_eq!(bytes("1G").map(size).as_deref(), Some("1000000000b"));
        assert_eq!(bytes("64m"), None);
        assert_eq!(cpus("500m").as_deref(), Some("0.5"));
        assert_eq!(cpus("2").as_deref(), Some("2"));
        assert_eq!(cpus("1.25").as_deref(), Some("1.25"));
        assert_eq!(cpus("x"), None);
    }
}
