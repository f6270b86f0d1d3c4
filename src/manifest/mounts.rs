//! `volumes` in both forms and `tmpfs`: what a container sees of the host.
//!
//! Paths are joined here and judged by policy; whether they exist, and where symlinks lead, are facts
//! that `source` brings.

use std::path::{Component, Path, PathBuf};

use crate::model::{Mount, MountKind, Tmpfs};
use crate::policy::{Ask, PathAsk};

use super::compose::{Scope, is_sensitive, masked, refuse};
use super::diagnostic::{Sink, code};
use super::keys;
use super::values::{self, filled_text, flag};
use super::yaml::{Entry, Node, Value};

/// Lowers `volumes`.
pub(crate) fn volumes(scope: &mut Scope<'_, '_>, node: &Node) -> Vec<Mount> {
    let mut out = Vec::new();
    for item in values::list(scope.sink, node, "volumes").unwrap_or_default() {
        out.extend(match &item.value {
            Value::Map(_) => long(scope, item),
            Value::Scalar(_) | Value::Seq(_) => short(scope, item),
        });
    }
    out
}

/// `[SOURCE:]TARGET[:MODE]`
fn short(scope: &mut Scope<'_, '_>, node: &Node) -> Option<Mount> {
    let text = filled_text(scope.sink, node, "volumes[]")?;
    let parts = volume_parts(&text, cfg!(windows));
    let (source, target_path, mode) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, mode] => (Some(*source), *target, *mode),
        _ => {
            scope.sink.error(
                code::VALUE,
                node.span.clone(),
                "a volume is `SOURCE:TARGET` or `SOURCE:TARGET:MODE`",
            );
            return None;
        }
    };
    let target = target(scope, node, target_path)?;
    let mut read_only = false;
    let mut nocopy = false;
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "nocopy" => nocopy = true,
            _ => {
                let shown = if is_sensitive(node) { "(masked)" } else { option };
                scope
                    .sink
                    .error(
                        code::UNSUPPORTED,
                        node.span.clone(),
                        format!("mount option `{shown}` is not supported"),
                    )
                    .help("`ro`, `rw` and `nocopy` are");
                return None;
            }
        }
    }
    let kind = match source {
        Some(source) if is_path(source, cfg!(windows)) => MountKind::Bind {
            source: bind_source(scope, node, source, read_only, "volumes")?,
            create_host_path: true,
        },
        Some(name) => volume(scope, node, name, nocopy)?,
        None => MountKind::Volume {
            name: None,
            external: false,
            nocopy,
        },
    };
    Some(Mount {
        kind,
        target,
        read_only,
    })
}

/// The parts of `SOURCE:TARGET:MODE`; on Windows the colon of a drive is none between two of them.
#[must_use]
pub fn volume_parts(text: &str, windows: bool) -> Vec<&str> {
    let Some(path) = drive(text).filter(|_| windows) else {
        return text.split(':').collect();
    };
    let end = path
        .find(':')
        .map_or(text.len(), |at| text.len() - path.len() + at);
    let (source, rest) = text.split_at(end);
    std::iter::once(source).chain(rest.split(':').skip(1)).collect()
}

/// Whether the source of a volume is a path, and not a volume's name.
#[must_use]
pub fn is_path(source: &str, windows: bool) -> bool {
    source.starts_with(['/', '.', '~']) || (windows && (source.starts_with('\\') || drive(source).is_some()))
}

/// What follows `C:`, where that begins a path.
fn drive(text: &str) -> Option<&str> {
    let (letter, rest) = text.split_once(':')?;
    let is_letter = letter.len() == 1 && letter.chars().all(|c| c.is_ascii_alphabetic());
    (is_letter && rest.starts_with(['/', '\\'])).then_some(rest)
}

/// The keys of a long-form volume.
#[derive(Default)]
struct Long<'n> {
    kind: Option<&'n Node>,
    source: Option<&'n Node>,
    target: Option<&'n Node>,
    read_only: bool,
    create_host_path: bool,
    nocopy: bool,
    size_bytes: Option<u64>,
    mode: Option<u32>,
}

fn long(scope: &mut Scope<'_, '_>, node: &Node) -> Option<Mount> {
    let long = long_keys(scope.sink, node);
    let kind = match long.kind {
        Some(kind) => filled_text(scope.sink, kind, "type"),
        None => {
            scope
                .sink
                .error(code::MISSING_KEY, node.span.clone(), "this volume has no `type`")
                .help("`bind`, `volume` or `tmpfs`");
            None
        }
    };
    let Some(target_node) = long.target else {
        scope.sink.error(
            code::MISSING_KEY,
            node.span.clone(),
            "this volume has no `target`",
        );
        return None;
    };
    let target_text = filled_text(scope.sink, target_node, "target")?;
    let target = target(scope, target_node, &target_text)?;
    let source = match long.source {
        Some(source) => Some((filled_text(scope.sink, source, "source")?, source)),
        None => None,
    };
    let kind = match (kind?.as_str(), source) {
        ("bind", Some((source, at))) => MountKind::Bind {
            source: bind_source(scope, at, &source, long.read_only, "volumes")?,
            create_host_path: long.create_host_path,
        },
        ("bind", None) => {
            scope.sink.error(
                code::MISSING_KEY,
                node.span.clone(),
                "a bind mount needs a `source`",
            );
            return None;
        }
        ("volume", Some((name, at))) => volume(scope, at, &name, long.nocopy)?,
        ("volume", None) => MountKind::Volume {
            name: None,
            external: false,
            nocopy: long.nocopy,
        },
        ("tmpfs", None) => MountKind::Tmpfs {
            size_bytes: long.size_bytes,
            mode: long.mode,
        },
        ("tmpfs", Some((_, at))) => {
            scope
                .sink
                .error(code::CONFLICT, at.span.clone(), "a tmpfs has no `source`");
            return None;
        }
        (other, _) => {
            let at = long.kind.map_or(node.span.clone(), |kind| kind.span.clone());
            let known = ["npipe", "cluster", "image"].contains(&other);
            let (code, message) = if known {
                (
                    code::UNSUPPORTED,
                    format!("volume type `{other}` is known, but not supported yet"),
                )
            } else {
                (code::VALUE, "this is not a type of volume".to_owned())
            };
            scope
                .sink
                .error(code, at, message)
                .help("`bind`, `volume` or `tmpfs`");
            return None;
        }
    };
    Some(Mount {
        kind,
        target,
        read_only: long.read_only,
    })
}

fn long_keys<'n>(sink: &mut Sink<'_>, node: &'n Node) -> Long<'n> {
    let mut out = Long {
        create_host_path: true,
        ..Long::default()
    };
    for Entry { key, value } in values::fields(sink, node, "volumes[]", &keys::MOUNT) {
        match key.text.as_str() {
            "type" => out.kind = Some(value),
            "source" => out.source = Some(value),
            "target" => out.target = Some(value),
            "read_only" => out.read_only = flag(sink, value, "read_only").unwrap_or(false),
            "bind" | "volume" | "tmpfs" => long_options(sink, &key.text, value, &mut out),
            _ => {}
        }
    }
    out
}

/// The options of one type; those of the others are read, too, and have no effect.
fn long_options(sink: &mut Sink<'_>, kind: &str, node: &Node, out: &mut Long<'_>) {
    let section = match kind {
        "bind" => &keys::MOUNT_BIND,
        "volume" => &keys::MOUNT_VOLUME,
        _ => &keys::MOUNT_TMPFS,
    };
    for Entry { key, value } in values::optional_fields(sink, node, kind, section) {
        let name = key.text.as_str();
        match name {
            "create_host_path" => out.create_host_path = flag(sink, value, name).unwrap_or(true),
            "nocopy" => out.nocopy = flag(sink, value, name).unwrap_or(false),
            "size" => out.size_bytes = values::bytes(sink, value, name),
            "mode" => out.mode = values::count(sink, value, name),
            _ => {}
        }
    }
}

/// A declared volume, by its full name.
fn volume(scope: &mut Scope<'_, '_>, node: &Node, name: &str, nocopy: bool) -> Option<MountKind> {
    let Some(resource) = scope.declared.volumes.get(name) else {
        let at = node.span.clone();
        if is_sensitive(node) {
            scope
                .sink
                .error(code::REFERENCE, at, "this volume is not declared in this file");
            return None;
        }
        let help = match values::nearest(name, scope.declared.volumes.keys().map(String::as_str)) {
            Some(near) => format!("a volume with a similar name is declared: `{near}`"),
            None => format!(
                "declare it at the top level (`volumes: {{{name}: }}`), or write `./{name}` for a folder"
            ),
        };
        let message = format!("volume `{name}` is not declared in this file");
        scope.sink.error(code::REFERENCE, at, message).help(help);
        return None;
    };
    scope.used.volumes.insert(name.to_owned());
    Some(MountKind::Volume {
        name: Some(resource.name.clone()),
        external: resource.external,
        nocopy,
    })
}

/// The resolved source of a bind mount that policy allows, for `what`.
pub(crate) fn bind_source(
    scope: &mut Scope<'_, '_>,
    node: &Node,
    written: &str,
    read_only: bool,
    what: &str,
) -> Option<PathBuf> {
    let path = absolute(scope, node, written)?;
    let Some(fact) = scope.paths.get(&path) else {
        scope.wants.paths.insert(path.clone());
        return Some(path);
    };
    let ask = Ask::Bind(PathAsk {
        path: &fact.real,
        written: &path,
        folder: &scope.manifest.folder,
        holds: fact.holds.as_deref(),
    });
    if let Err(refusal) = scope.settings.policy.check(ask) {
        if fact.holds.is_some() && !read_only {
            scope.refused_folders.push(fact.real.clone());
        }
        refuse(scope.sink, node.span.clone(), what, masked(refusal, node));
        return None;
    }
    let on_host = scope.settings.host.find(&fact.real, written.starts_with('/'));
    if on_host.is_none() {
        let shown = if is_sensitive(node) { "(masked)" } else { written };
        let message =
            format!("`{shown}` lies in the scheduler's own container, and not on the engine's machine");
        scope
            .sink
            .error(code::REFERENCE, node.span.clone(), message)
            .help("mount the folder of manifests into that container, or say where the engine's machine has it: `--host-dir`");
    }
    on_host
}

/// A path of the manifest as an absolute one, without `.` and `..`.
pub(crate) fn absolute(scope: &mut Scope<'_, '_>, node: &Node, written: &str) -> Option<PathBuf> {
    if written.starts_with('~') {
        scope
            .sink
            .error(
                code::VALUE,
                node.span.clone(),
                "`~` is the home of whoever runs the scheduler, not of whoever wrote this",
            )
            .help("write an absolute path, or one that begins with `./`");
        return None;
    }
    Some(clean(&scope.manifest.folder.join(written)))
}

/// Without `.` and `..`, by the text alone.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}

/// A place in the container. Two mounts at one are refused by the engine, at 02:30.
pub(crate) fn target(scope: &mut Scope<'_, '_>, node: &Node, text: &str) -> Option<String> {
    let target = in_container(text);
    if !text.starts_with('/') || target == "/" {
        scope.sink.error(
            code::VALUE,
            node.span.clone(),
            "the target of a mount must be an absolute path in the container, and not `/`",
        );
        return None;
    }
    if !scope.targets.insert(target.clone()) {
        let shown = if is_sensitive(node) { "(masked)" } else { &target };
        let message = format!("something else is mounted at `{shown}` already");
        scope.sink.error(code::CONFLICT, node.span.clone(), message);
        return None;
    }
    Some(target)
}

/// A container's path without `.` and `..`. It has slashes, whatever this machine's paths have.
fn in_container(text: &str) -> String {
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Lowers `tmpfs`: a path or several, each with options behind a colon.
pub(crate) fn tmpfs(scope: &mut Scope<'_, '_>, node: &Node) -> Vec<Tmpfs> {
    let items = match &node.value {
        Value::Seq(items) => items.as_slice(),
        Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(node),
    };
    let mut out = Vec::new();
    for item in items {
        let Some(text) = filled_text(scope.sink, item, "tmpfs") else {
            continue;
        };
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        out.extend(target(scope, item, path).map(|target| Tmpfs {
            target,
            options: options.to_owned(),
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colon_of_a_drive_is_part_of_a_path_on_windows_alone() {
        assert_eq!(
            volume_parts(r"C:\data:/data:ro", true),
            [r"C:\data", "/data", "ro"]
        );
        assert_eq!(volume_parts("c:/data:/data", true), ["c:/data", "/data"]);
        assert_eq!(volume_parts(r"C:\data", true), [r"C:\data"]);
        assert_eq!(volume_parts("c:/data:/data", false), ["c", "/data", "/data"]);
        assert_eq!(volume_parts("data:/data:ro", true), ["data", "/data", "ro"]);
        assert_eq!(volume_parts("d:relative", true), ["d", "relative"]);
        for path in ["./data", "/data", "~", r"\\server\share", r"C:\data", "c:/data"] {
            assert!(is_path(path, true), "{path}");
        }
        assert!(!is_path("c:/data", false) && !is_path("data", true) && !is_path("d:data", true));
    }

    #[test]
    fn a_path_in_a_container_has_slashes() {
        assert_eq!(in_container("/data//a/./b/../c/"), "/data/a/c");
        assert_eq!(in_container("/../.."), "/");
        assert_eq!(in_container("/"), "/");
    }
}
