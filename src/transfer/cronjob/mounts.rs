//! What a container sees at a path: claims, folders of the node, memory, and files of ConfigMaps and Secrets.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use crate::manifest::reader::Node;
use crate::model::{FileKind, validate_container_ref};
use crate::transfer::draft::literal;
use crate::transfer::labels::{get, items, scalar};
use crate::transfer::when::shown;
use crate::transfer::yaml::Yaml;

use super::container::{bytes, size};
use super::data::kind_of;
use super::{Reader, is_on, text_at};

/// What Kubernetes gives to files of ConfigMaps and Secrets.
const DEFAULT_MODE: u32 = 0o644;

/// A file that is written into the container, unless something of the whole job forbids it.
pub(super) struct File {
    kind: FileKind,
    /// The object's name, and the key in it.
    object: String,
    key: String,
    content: String,
    target: String,
    /// The folder that held it and its like alone.
    folder: Option<String>,
    /// Permission bits.
    mode: u32,
    at: Range<usize>,
}

/// One file of a volume, before its content is known.
struct Item {
    key: String,
    path: String,
    mode: u32,
}

/// The volumes of a pod, by name.
pub(super) fn volumes(spec: &Node) -> BTreeMap<String, &Node> {
    items(get(spec, &["volumes"]))
        .iter()
        .filter_map(|volume| Some((text_at(volume, "name")?, volume)))
        .collect()
}

fn is_clean(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "." | ".."))
}

impl Reader<'_, '_> {
    pub(super) fn mount(&mut self, mount: &Node, volumes: &BTreeMap<String, &Node>) {
        let name = text_at(mount, "name").unwrap_or_default();
        let target = text_at(mount, "mountPath").unwrap_or_default();
        let at = mount.span.start..mount.span.start;
        let fits = target.starts_with('/')
            && !target.trim_matches('/').is_empty()
            && is_clean(&target)
            && !target.contains([':', '\0']);
        let sub_path = text_at(mount, "subPath").filter(|path| !path.is_empty());
        let Some(volume) = volumes.get(&name).copied().filter(|_| fits) else {
            return self.not_mounted(&target, at);
        };
        for (kind, source, object) in [
            (FileKind::Config, "configMap", "name"),
            (FileKind::Secret, "secret", "secretName"),
        ] {
            if let Some(source) = volume.get(source)
                && mount.get("subPathExpr").is_none()
            {
                let object = text_at(&source.value, object).unwrap_or_default();
                return self.object_at(kind, &object, &source.value, &target, sub_path.as_deref(), at);
            }
        }
        if mount.get("subPath").is_some() || mount.get("subPathExpr").is_some() {
            return self.not_mounted(&target, at);
        }
        self.folder_at(mount, volume, &target, at);
    }

    fn not_mounted(&mut self, target: &str, at: Range<usize>) {
        let message = format!("the volume at `{}` is not carried over", shown(target));
        self.report.lost(at, message);
    }

    fn folder_at(&mut self, mount: &Node, volume: &Node, target: &str, at: Range<usize>) {
        let read_only = mount.get("readOnly").is_some_and(|entry| is_on(&entry.value));
        let mode = if read_only { ":ro" } else { "" };
        let claim = get(volume, &["persistentVolumeClaim", "claimName"]).and_then(scalar);
        let host = get(volume, &["hostPath", "path"]).and_then(scalar);
        if let Some(entry) = mount.get("mountPropagation") {
            self.lost(entry, "the mount");
        }
        let name = text_at(volume, "name").unwrap_or_default();
        if let Some((_, first)) = self.emptied.iter().find(|(known, _)| *known == name) {
            let message = format!(
                "`{}` showed what is at `{}`; they are two volumes now",
                shown(target),
                shown(first)
            );
            self.report.changed(at.clone(), message);
        } else if volume.get("emptyDir").is_some() {
            self.emptied.push((name, target.to_owned()));
        }
        match (claim, host, volume.get("emptyDir")) {
            (Some(claim), _, _) if validate_container_ref(&claim).is_ok() => {
                let key = self.draft.volume(&claim);
                self.job
                    .push("volumes", literal(&format!("{key}:{target}{mode}")));
            }
            (_, Some(host), _) if host.starts_with('/') && !host.contains(':') => {
                let may = [("host_path", Yaml::Bool(true))];
                self.job.extend("kubernetes", Yaml::map(may));
                self.job
                    .push("volumes", literal(&format!("{host}:{target}{mode}")));
            }
            (_, _, Some(empty)) if text_at(&empty.value, "medium").as_deref() == Some("Memory") => {
                let size = text_at(&empty.value, "sizeLimit").as_deref().and_then(bytes);
                let options = size.map_or(String::new(), |size| format!(":size={}", self::size(size)));
                self.job.push("tmpfs", literal(&format!("{target}{options}")));
            }
            (_, _, Some(empty)) => {
                if let Some(size) = empty.value.get("sizeLimit") {
                    self.lost(size, "`emptyDir`");
                }
                self.job.push("volumes", literal(target));
            }
            _ => return self.not_mounted(target, at),
        }
        self.mounted.push(target.to_owned());
    }

    /// A ConfigMap or Secret as a folder, or with `sub_path` one file of it.
    fn object_at(
        &mut self,
        kind: FileKind,
        object: &str,
        source: &Node,
        target: &str,
        sub_path: Option<&str>,
        at: Range<usize>,
    ) {
        let values = match self.data.of(kind, object, self.namespace.as_deref()) {
            Ok(values) => values.clone(),
            Err(why) => {
                let message = format!(
                    "the files of {} `{}` at `{}` are not carried over: {why}",
                    kind_of(kind),
                    shown(object),
                    shown(target)
                );
                self.report.lost(at, message);
                return;
            }
        };
        let default = mode_at(source, "defaultMode").unwrap_or(DEFAULT_MODE);
        let mut wanted: Vec<Item> = match source.get("items") {
            Some(list) => items(Some(&list.value))
                .iter()
                .filter_map(|item| {
                    Some(Item {
                        key: text_at(item, "key")?,
                        path: text_at(item, "path")?,
                        mode: mode_at(item, "mode").unwrap_or(default),
                    })
                })
                .collect(),
            None => values
                .keys()
                .map(|key| Item {
                    key: key.clone(),
                    path: key.clone(),
                    mode: default,
                })
                .collect(),
        };
        if let Some(path) = sub_path {
            wanted.retain(|item| item.path == path);
        }
        if wanted.is_empty() {
            return self.not_mounted(target, at);
        }
        for Item { key, path, mode } in wanted {
            let (folder, target) = match sub_path {
                Some(_) => (None, target.to_owned()),
                None => (
                    Some(target.to_owned()),
                    format!("{}/{path}", target.trim_end_matches('/')),
                ),
            };
            let content = match values.get(&key) {
                Some(content) => content.clone(),
                None => Err("there is no such key"),
            };
            match content {
                Ok(content) if is_clean(&path) && !target.contains('\0') => self.files.push(File {
                    kind,
                    object: object.to_owned(),
                    key,
                    content,
                    target,
                    folder,
                    mode,
                    at: at.clone(),
                }),
                Ok(_) => self.no_file(&target, at.clone(), "its path has `..` in it"),
                Err(why) => self.no_file(&target, at.clone(), why),
            }
        }
    }

    fn no_file(&mut self, target: &str, at: Range<usize>, why: &str) {
        let message = format!("the file at `{}` is not carried over: {why}", shown(target));
        self.report.lost(at, message);
    }

    /// Writes down the files, when all else of the job is known.
    pub(super) fn write_files(&mut self) {
        let is_read_only = self.job.get("read_only") == Some(&Yaml::Bool(true));
        for file in std::mem::take(&mut self.files) {
            let File {
                kind,
                object,
                key,
                content,
                target,
                folder,
                mode,
                at,
            } = file;
            let lies_over = (self.mounted.iter()).find(|mount| Path::new(&target).starts_with(mount));
            if let Some(mount) = lies_over {
                let why = format!("it would be written into the mount at `{}`", shown(mount));
                self.no_file(&target, at, &why);
                continue;
            }
            if is_read_only {
                self.no_file(
                    &target,
                    at,
                    "it would be written into the container, which is read-only",
                );
                continue;
            }
            // The same for each file of a folder, so that it is said once.
            if let Some(folder) = folder {
                let message = format!(
                    "`{}` held these files alone; each is put beside what the image has there now",
                    shown(&folder)
                );
                self.report.changed(at.clone(), message);
            }
            let name = self
                .draft
                .file(kind, [&key, &format!("{object}.{key}")], &content);
            if kind == FileKind::Secret {
                self.report
                    .advice(
                        at,
                        format!("secret `{}` stands in the manifest as it is", shown(&name)),
                    )
                    .help("put it into a file, and write `file: PATH` in place of `content`");
            }
            let file = [
                ("source", literal(&name)),
                ("target", literal(&target)),
                ("mode", Yaml::Text(format!("0{mode:o}"))),
            ];
            self.job.push(kind.key(), Yaml::map(file));
        }
    }
}

/// Permissions, which YAML may give in octal.
fn mode_at(node: &Node, key: &str) -> Option<u32> {
    let text = text_at(node, key)?;
    let mode = match text.strip_prefix("0o").or_else(|| text.strip_prefix('0')) {
        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok()?,
        _ => text.parse().ok()?,
    };
    (mode <= 0o777).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    #[test]
    fn modes_are_decimal_or_octal() {
        for (text, mode) in [
            ("420", Some(0o644)),
            ("0644", Some(0o644)),
            ("0o400", Some(0o400)),
            ("0", Some(0)),
            ("x", None),
            ("4095", None),
        ] {
            let node = parsed(&format!("mode: {text}\n"));
            assert_eq!(mode_at(&node, "mode"), mode, "{text}");
        }
    }
}
