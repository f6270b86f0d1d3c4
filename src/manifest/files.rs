//! `secrets` and `configs`: files at a path of their own, from a file beside the manifest, from a
//! variable or from the manifest itself.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::{ContainerSpec, FileKind, FileSource, JobFile, MountKind, Text};

use super::compose::{Scope, is_sensitive};
use super::diagnostic::{Sink, code};
use super::interpolate::not_listed;
use super::keys::{self, Section};
use super::mounts::{absolute, bind_source, target};
use super::values::{self, filled_text, flag, to_text};
use super::yaml::{Entry, Kind, Node, Scalar, Value};

/// Permissions of a written file, where nobody says otherwise.
const WORLD_READABLE: u32 = 0o444;

/// An entry of `secrets` or `configs` at the top of a file. What is wrong in it was reported.
#[derive(Debug)]
pub(crate) enum Declaration {
    /// The path as written.
    File(Node),
    /// The name of a variable.
    Environment(Node, String),
    Content(Text),
    /// Kept by a Swarm, under this name.
    External(String),
    Broken,
}

fn section(kind: FileKind) -> &'static Section {
    match kind {
        FileKind::Secret => &keys::SECRET,
        FileKind::Config => &keys::CONFIG,
    }
}

fn noun(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Secret => "secret",
        FileKind::Config => "config",
    }
}

/// Reads a section at the top of a file.
pub(crate) fn declarations(
    sink: &mut Sink<'_>,
    entry: Option<&Entry>,
    kind: FileKind,
    has_services: bool,
) -> BTreeMap<String, Declaration> {
    let mut out = BTreeMap::new();
    let Some(entry) = entry else { return out };
    for found in values::optional_mapping(sink, &entry.value, kind.key()).unwrap_or_default() {
        out.insert(
            found.key.text.clone(),
            declaration(sink, found, kind, has_services),
        );
    }
    out
}

fn declaration(sink: &mut Sink<'_>, entry: &Entry, kind: FileKind, has_services: bool) -> Declaration {
    let mut found = Vec::new();
    let mut is_external = false;
    let mut full_name = None;
    let section = section(kind);
    let entries = values::optional_mapping(sink, &entry.value, &entry.key.text).unwrap_or_default();
    for Entry { key, value } in entries {
        let name = key.text.as_str();
        match name {
            "file" => {
                let path = filled_text(sink, value, name);
                found.push(path.map_or(Declaration::Broken, |_| Declaration::File(value.clone())));
            }
            "environment" => {
                let variable = filled_text(sink, value, name);
                found.push(variable.map_or(Declaration::Broken, |variable| {
                    Declaration::Environment(value.clone(), variable)
                }));
            }
            "content" => {
                let content = values::text(sink, value, name).map(to_text);
                found.push(content.map_or(Declaration::Broken, Declaration::Content));
            }
            "external" => is_external = flag(sink, value, name).unwrap_or(false),
            "name" => full_name = filled_text(sink, value, name),
            // Of a cluster, and Compose's affair where there are services.
            name if section.later.contains(&name) && has_services => {}
            _ => drop(values::is_field(sink, key, section)),
        }
    }
    let noun = noun(kind);
    let at = entry.key.span.clone();
    match (found.pop(), found.is_empty(), is_external) {
        (None, _, true) => Declaration::External(full_name.unwrap_or_else(|| entry.key.text.clone())),
        (Some(only), true, false) => only,
        (None, _, false) => {
            if matches!(&entry.value.value, Value::Map(_)) || entry.value.is_null() {
                let message = format!("{noun} `{}` has no content", entry.key.text);
                sink.error(code::MISSING_KEY, at, message)
                    .help("say where it comes from: `file: ./PATH`, `environment: NAME` or `content: …`");
            }
            Declaration::Broken
        }
        _ => {
            let message = format!("{noun} `{}` has more than one content", entry.key.text);
            sink.error(code::CONFLICT, at, message)
                .help("of `file`, `environment`, `content` and `external` one holds");
            Declaration::Broken
        }
    }
}

/// Lowers `secrets` and `configs` of a job, whose other keys were read before.
pub(crate) fn files(scope: &mut Scope<'_, '_>, job: &Entry, spec: &mut ContainerSpec) {
    for kind in [FileKind::Secret, FileKind::Config] {
        let Some(entry) = job.value.get(kind.key()) else {
            continue;
        };
        for item in values::list(scope.sink, &entry.value, kind.key()).unwrap_or_default() {
            let found = file(scope, item, kind, spec);
            spec.files.extend(found);
        }
    }
}

/// What a job says of one.
struct Reference<'n> {
    name: String,
    name_at: &'n Node,
    target: Option<&'n Node>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
    /// The key that has a meaning for a written file alone.
    owner_at: Option<&'n Node>,
}

fn file(scope: &mut Scope<'_, '_>, item: &Node, kind: FileKind, spec: &ContainerSpec) -> Option<JobFile> {
    let reference = reference(scope.sink, item, kind)?;
    let at = reference.name_at;
    let target = file_target(scope, &reference, kind);
    let Some(declared) = scope.declared.files(kind).get(&reference.name) else {
        return undeclared(scope, &reference, kind);
    };
    scope.used.files.insert((kind.key(), reference.name.clone()));
    let target = target?;
    let name = &reference.name;
    let noun = noun(kind);
    let content = match declared {
        Declaration::Broken => return None,
        Declaration::External(full_name) => {
            return Some(JobFile {
                kind,
                name: name.clone(),
                target,
                source: FileSource::External {
                    name: full_name.clone(),
                    uid: reference.uid.unwrap_or(0),
                    gid: reference.gid.unwrap_or(0),
                    mode: reference.mode.unwrap_or(WORLD_READABLE),
                },
            });
        }
        Declaration::File(path) => {
            if let Some(owner) = reference.owner_at {
                let message = format!("{noun} `{name}` is a file of the host, whose owner and mode hold");
                scope
                    .sink
                    .error(code::UNSUPPORTED, owner.span.clone(), message)
                    .help("`uid`, `gid` and `mode` are for what comes from `environment` or `content`");
                return None;
            }
            return Some(JobFile {
                kind,
                name: name.clone(),
                target,
                source: FileSource::Path(path_of(scope, path, kind)?),
            });
        }
        Declaration::Content(text) => match kind {
            FileKind::Secret => Text::sensitive(text.expose()),
            FileKind::Config => text.clone(),
        },
        Declaration::Environment(node, variable) => variable_of(scope, node, variable, kind)?,
    };
    if !can_be_written(scope, at, &target, spec, noun) {
        return None;
    }
    Some(JobFile {
        kind,
        name: name.clone(),
        target,
        source: FileSource::Content {
            content,
            uid: reference.uid.unwrap_or(0),
            gid: reference.gid.unwrap_or(0),
            mode: reference.mode.unwrap_or(WORLD_READABLE),
        },
    })
}

/// A name, or a mapping with `source`.
fn reference<'n>(sink: &mut Sink<'_>, item: &'n Node, kind: FileKind) -> Option<Reference<'n>> {
    let what = format!("{}[]", kind.key());
    let mut out = Reference {
        name: String::new(),
        name_at: item,
        target: None,
        uid: None,
        gid: None,
        mode: None,
        owner_at: None,
    };
    let Value::Map(_) = &item.value else {
        out.name = filled_text(sink, item, &what)?;
        return Some(out);
    };
    let mut name = None;
    for Entry { key, value } in values::fields(sink, item, &what, &keys::FILE_REFERENCE) {
        match key.text.as_str() {
            "source" => {
                name = filled_text(sink, value, "source");
                out.name_at = value;
            }
            "target" => out.target = Some(value),
            "uid" => out.uid = values::count(sink, value, "uid"),
            "gid" => out.gid = values::count(sink, value, "gid"),
            "mode" => out.mode = mode(sink, value),
            _ => {}
        }
        if matches!(key.text.as_str(), "uid" | "gid" | "mode") {
            out.owner_at = Some(value);
        }
    }
    if name.is_none() && item.get("source").is_none() {
        let message = format!("this {} has no `source`", noun(kind));
        sink.error(code::MISSING_KEY, item.span.clone(), message);
    }
    out.name = name?;
    Some(out)
}

/// Permission bits: a number, or a text of octal digits.
fn mode(sink: &mut Sink<'_>, node: &Node) -> Option<u32> {
    let mode = match &node.value {
        Value::Scalar(Scalar {
            kind: Kind::Text,
            text,
            ..
        }) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        _ => Some(values::count(sink, node, "mode")?),
    };
    let mode = mode.filter(|mode| *mode <= 0o7777);
    if mode.is_none() {
        sink.error(
            code::VALUE,
            node.span.clone(),
            "`mode` is not a set of permissions",
        )
        .help("such as `0440`");
    }
    mode
}

fn undeclared<T>(scope: &mut Scope<'_, '_>, reference: &Reference<'_>, kind: FileKind) -> Option<T> {
    let at = reference.name_at;
    let (noun, key) = (noun(kind), kind.key());
    if is_sensitive(at) {
        let message = format!("this {noun} is not declared in this file");
        scope.sink.error(code::REFERENCE, at.span.clone(), message);
        return None;
    }
    let name = &reference.name;
    let known = scope.declared.files(kind).keys().map(String::as_str);
    let help = match values::nearest(name, known) {
        Some(near) => format!("a {noun} with a similar name is declared: `{near}`"),
        None => format!("declare it at the top level: `{key}: {{{name}: {{file: ./PATH}}}}`"),
    };
    let message = format!("{noun} `{name}` is not declared in this file");
    scope
        .sink
        .error(code::REFERENCE, at.span.clone(), message)
        .help(help);
    None
}

/// Secrets lie in `/run/secrets`, configs at the root, unless they say otherwise.
fn file_target(scope: &mut Scope<'_, '_>, reference: &Reference<'_>, kind: FileKind) -> Option<String> {
    let folder = match kind {
        FileKind::Secret => "/run/secrets/",
        FileKind::Config => "/",
    };
    let (text, at) = match reference.target {
        Some(node) => (filled_text(scope.sink, node, "target")?, node),
        None => (reference.name.clone(), reference.name_at),
    };
    let path = if text.starts_with('/') {
        text
    } else {
        format!("{folder}{text}")
    };
    target(scope, at, &path)
}

/// A file that policy allows and that is there.
fn path_of(scope: &mut Scope<'_, '_>, node: &Node, kind: FileKind) -> Option<std::path::PathBuf> {
    let written = match &node.value {
        Value::Scalar(scalar) => scalar.text.clone(),
        Value::Seq(_) | Value::Map(_) => return None,
    };
    let key = kind.key();
    let path = bind_source(scope, node, &written, true, key)?;
    let asked = absolute(scope, node, &written)?;
    if kind == FileKind::Secret {
        scope.wants.secrets.insert(asked.clone());
    }
    if scope.paths.get(&asked).is_none_or(|fact| fact.exists) {
        return Some(path);
    }
    scope
        .sink
        .error(code::REFERENCE, node.span.clone(), "this file does not exist")
        .help("a path is seen from the manifest");
    None
}

/// The value of a variable, by the rules of `${NAME}`.
fn variable_of(scope: &mut Scope<'_, '_>, node: &Node, variable: &str, kind: FileKind) -> Option<Text> {
    if let Some((value, sensitive)) = scope.variables.get(variable) {
        let is_secret = sensitive || kind == FileKind::Secret;
        return Some(if is_secret {
            Text::sensitive(value)
        } else {
            Text::plain(value)
        });
    }
    let at = node.span.clone();
    if is_sensitive(node) {
        scope
            .sink
            .error(code::INTERPOLATION, at, "this variable is not set");
        return None;
    }
    let help = if scope.variables.unlisted.contains(variable) {
        not_listed(variable)
    } else {
        "set it in the `.env` beside this file".to_owned()
    };
    let message = format!("variable `{variable}` is not set");
    scope.sink.error(code::INTERPOLATION, at, message).help(help);
    None
}

/// Whether a file at `target` can be written into a container that does not run yet, and be seen by it.
fn can_be_written(
    scope: &mut Scope<'_, '_>,
    at: &Node,
    target: &str,
    spec: &ContainerSpec,
    noun: &str,
) -> bool {
    if spec.read_only {
        let message = format!("this {noun} is written into the container, which `read_only` forbids");
        scope
            .sink
            .error(code::CONFLICT, at.span.clone(), message)
            .help("take it from a file: that is mounted");
        return false;
    }
    let mounts = spec.mounts.iter().map(|mount| {
        let is_memory = matches!(mount.kind, MountKind::Tmpfs { .. });
        (mount.target.as_str(), is_memory)
    });
    let tmpfs = spec.tmpfs.iter().map(|tmpfs| (tmpfs.target.as_str(), true));
    let over = mounts
        .chain(tmpfs)
        .find(|(mount, _)| Path::new(target).starts_with(mount));
    let Some((mount, is_memory)) = over else {
        return true;
    };
    let why = if is_memory {
        "it would hide the file"
    } else {
        "the file would stay there"
    };
    let message = format!("this {noun} is written into the container below the mount at `{mount}`: {why}");
    scope
        .sink
        .error(code::CONFLICT, at.span.clone(), message)
        .help("give it another `target`, or take it from a file: that is mounted");
    false
}
