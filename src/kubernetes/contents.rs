//! Secrets and configs of a job: what is in them, under which keys, and what of it has no equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::model::{FileKind, FileSource, Findings, Job, JobFile};

/// A Secret or ConfigMap holds no more.
pub const LARGEST: usize = 1 << 20;

/// Files as they were read, or why one could not be. What is in them is shown nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<PathBuf, Result<Vec<u8>, String>>);

impl Contents {
    /// Reads what secrets and configs of these jobs are made from, each file once.
    pub fn read<'j>(
        jobs: impl Iterator<Item = &'j Job>,
        mut read: impl FnMut(&Path) -> Result<Vec<u8>, String>,
    ) -> Contents {
        let mut found = BTreeMap::new();
        for file in jobs.flat_map(|job| &job.container.files) {
            if let FileSource::Path(path) = &file.source {
                found.entry(path.clone()).or_insert_with(|| read(path));
            }
        }
        Contents(found)
    }

    /// # Errors
    /// Why it could not be read.
    fn of(&self, file: &JobFile) -> Result<Vec<u8>, &str> {
        match &file.source {
            FileSource::Content { content, .. } => Ok(content.expose().as_bytes().to_vec()),
            FileSource::Path(path) => match self.0.get(path) {
                Some(read) => read.clone().map_err(|_| read_error(read)),
                None => Err("it was not read"),
            },
            FileSource::External { .. } => Err("it is external"),
        }
    }
}

fn read_error(read: &Result<Vec<u8>, String>) -> &str {
    read.as_ref().err().map_or("", String::as_str)
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a Secret or ConfigMap holds.
#[derive(Default)]
pub(super) struct Data(BTreeMap<String, Vec<u8>>);

impl Data {
    pub fn of_texts(texts: &BTreeMap<String, String>) -> Data {
        let texts = texts.iter();
        Data(
            texts
                .map(|(key, text)| (key.clone(), text.as_bytes().to_vec()))
                .collect(),
        )
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the server keeps it: applied as `stringData`, a value that is declared no more would stay.
    pub fn secret(&self, metadata: Value) -> Value {
        let data: Map<String, Value> = self
            .0
            .iter()
            .map(|(key, value)| (key.clone(), json!(STANDARD.encode(value))))
            .collect();
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data})
    }

    pub fn config_map(&self, metadata: Value) -> Value {
        let (mut texts, mut bytes) = (Map::new(), Map::new());
        for (key, value) in &self.0 {
            match std::str::from_utf8(value) {
                Ok(text) => texts.insert(key.clone(), json!(text)),
                Err(_) => bytes.insert(key.clone(), json!(STANDARD.encode(value))),
            };
        }
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        for (section, values) in [("data", texts), ("binaryData", bytes)] {
            if !values.is_empty() {
                object[section] = Value::Object(values);
            }
        }
        object
    }
}

/// What the files of a job hold, by where it is kept.
#[derive(Default)]
pub(super) struct FileData {
    pub secrets: Data,
    pub configs: Data,
}

pub(super) fn files_of(job: &Job, contents: &Contents) -> FileData {
    let mut found = FileData::default();
    for file in &job.container.files {
        let Ok(content) = contents.of(file) else {
            continue;
        };
        let data = if is_secret(file) {
            &mut found.secrets
        } else {
            &mut found.configs
        };
        data.0.insert(file.name.clone(), content);
    }
    found
}

/// A config with a value from `.env` in it is kept as a secret is.
pub(super) fn is_secret(file: &JobFile) -> bool {
    file.kind == FileKind::Secret
        || matches!(&file.source, FileSource::Content { content, .. } if content.is_sensitive())
}

/// Permission bits of a file in the pod.
pub(super) fn mode_of(file: &JobFile) -> u32 {
    match &file.source {
        FileSource::Content { mode, .. } | FileSource::External { mode, .. } => *mode,
        FileSource::Path(_) => 0o444,
    }
}

/// What of a job's files has no equal.
pub(super) fn check_files(files: &[JobFile], found: &mut Findings) {
    for file in files {
        let JobFile {
            kind,
            name,
            target: _,
            source,
        } = file;
        let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.len() > 253 || !name.chars().all(is_key) || matches!(name.as_str(), "." | "..") {
            found.error(
                kind.key(),
                format!("the name of {} has no form in Kubernetes", file.words()),
                "a name is made of letters, digits, `-`, `_` and `.`",
            );
        }
        if matches!(source, FileSource::External { .. }) {
            found.error(
                kind.key(),
                format!(
                    "{} is external: which key of which object it is has no form",
                    file.words()
                ),
                "give it a `file`, or take it from a variable: `environment: NAME`",
            );
        }
        if let FileSource::Content { uid, gid, mode, .. } = source {
            if (*uid, *gid) != (0, 0) {
                found.error(
                    kind.key(),
                    format!(
                        "{} belongs to root there: `uid` and `gid` have no equal",
                        file.words()
                    ),
                    "`mode` has one: the default lets everybody read it",
                );
            }
            if *mode > 0o777 {
                found.error(
                    kind.key(),
                    format!("the mode of {} has no equal", file.words()),
                    "",
                );
            }
        }
    }
}

/// What could not be read of a job's files, or is too large.
pub(super) fn check_contents(files: &[JobFile], contents: &Contents, found: &mut Findings) {
    let mut sizes: BTreeMap<bool, (&'static str, usize)> = BTreeMap::new();
    let mut counted = BTreeSet::new();
    let external = |file: &&JobFile| matches!(file.source, FileSource::External { .. });
    for file in files.iter().filter(|file| !external(file)) {
        match contents.of(file) {
            Ok(content) => {
                let size = sizes.entry(is_secret(file)).or_insert((file.kind.key(), 0));
                if counted.insert((is_secret(file), &file.name)) {
                    size.1 += content.len();
                }
            }
            Err(why) => {
                let message = format!("{} cannot be read: {why}", file.words());
                found.error(file.kind.key(), message, "");
            }
        }
    }
    for (key, size) in sizes.into_values().filter(|(_, size)| *size > LARGEST) {
        found.error(
            key,
            format!("its {key} have {size} bytes, and one object of Kubernetes holds {LARGEST}"),
            "keep large files in a volume",
        );
    }
}
