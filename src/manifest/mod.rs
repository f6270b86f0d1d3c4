//! Texts of manifests to the jobs they declare, and everything that is wrong with them.
//!
//! A manifest is a Compose file with `jobs`. Pure: this room is given texts and facts about paths, and
//! never opens a file ([`Loaded::wants`] says what it would like to see; `source` reads it and asks
//! again). Errors are collected, over all files, each with its place.
//!
//! One reader serves everything: saphyr-parser's events become a small tree with positions (`yaml`),
//! variables are replaced in it (`interpolate`), and it is lowered key by key (`compose`, `extension`,
//! `mounts`). serde_yaml writes the canonical form, and reads nothing: two readers would disagree one
//! day about what a text means.

mod canonical;
mod caret;
mod compose;
mod diagnostic;
mod dotenv;
mod extension;
mod file;
mod interpolate;
mod mounts;
mod values;
mod yaml;

/// The reader on its own, for the operator's file.
pub(crate) mod reader {
    pub(crate) use super::diagnostic::{Sink, code};
    pub(crate) use super::values::{count, filled_text, flag, list, optional_mapping, unknown_key, word};
    pub(crate) use super::yaml::{Entry, Node, parse};
}

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Desired, Job, JobName};
use crate::policy::Rules;

pub use canonical::MASK;
pub use caret::{closing_line, pictures, render};
pub use diagnostic::{Diagnostic, Severity};

/// The most bytes of a manifest, an `.env` or an env file.
pub const MAX_BYTES: u64 = 1 << 20;

/// Everything that was read of the watched directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Sorted by path: of two files that declare the same job the first keeps it.
    pub manifests: Vec<ManifestFile>,
    /// What bind mounts name, by absolute path as written (without `.` and `..`).
    pub paths: BTreeMap<PathBuf, PathFact>,
}

impl Files {
    /// The texts for [`render`].
    #[must_use]
    pub fn texts(&self) -> BTreeMap<&str, &str> {
        self.manifests
            .iter()
            .map(|file| {
                let text = file.text.as_ref().map_or("", String::as_str);
                (file.path.as_str(), text)
            })
            .collect()
    }
}

/// One manifest and the texts that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the watched directory, with `/`.
    pub path: String,
    /// The folder that holds it, absolute and without symlinks.
    pub folder: PathBuf,
    /// The text, or why there is none.
    pub text: Result<String, String>,
    /// The `.env` beside it; `None` when there is none.
    pub dot_env: Option<Result<String, String>>,
    /// Its env files, by absolute path as written.
    pub env_files: BTreeMap<PathBuf, EnvFile>,
    /// An older version that stands in for one with errors: it yields to jobs of current files.
    pub stale: bool,
}

/// An env file as `source` found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvFile {
    Missing,
    Unreadable(String),
    Text {
        /// The path without symlinks.
        real: PathBuf,
        text: String,
    },
}

/// What a path on this host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathFact {
    /// The path without symlinks, as far as it exists.
    pub real: PathBuf,
    pub exists: bool,
    /// What lies at or in it that a job must not have, for a message: "the manifest `a.yaml`".
    pub holds: Option<String>,
}

/// What the operator decides about manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Zone of schedules that name none.
    pub default_timezone: String,
    /// Values of the listed variables that are set.
    pub interpolate: BTreeMap<String, String>,
    /// Names of variables that are set, but not listed: only for messages.
    pub set_but_unlisted: BTreeSet<String>,
    pub policy: Rules,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            default_timezone: "UTC".to_owned(),
            interpolate: BTreeMap::new(),
            set_but_unlisted: BTreeSet::new(),
            policy: Rules::default(),
        }
    }
}

/// The outcome of [`load`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The jobs of every file without errors.
    pub desired: Desired,
    /// In the order of the files, then of their texts.
    pub diagnostics: Vec<Diagnostic>,
    /// Each manifest by path.
    pub files: BTreeMap<String, FileOutcome>,
    pub wants: Wants,
}

impl Loaded {
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// What became of one manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOutcome {
    /// A file with errors gives no jobs at all.
    pub has_errors: bool,
    /// Its last good version stands in for it.
    pub last_good: bool,
    pub jobs: BTreeSet<JobName>,
}

/// What [`load`] would have to see to be sure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// Paths of bind mounts.
    pub paths: BTreeSet<PathBuf>,
    /// Env files, by the manifest that names them.
    pub env_files: BTreeMap<String, BTreeSet<PathBuf>>,
}

impl Wants {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.env_files.is_empty()
    }
}

/// Reads all manifests.
#[must_use]
pub fn load(input: &Files, settings: &Settings) -> Loaded {
    let mut loaded = Loaded::default();
    let mut read: Vec<(usize, Vec<(Job, Diagnostic)>)> = Vec::new();
    let mut diagnostics: Vec<Vec<Diagnostic>> = Vec::new();
    for (at, manifest) in input.manifests.iter().enumerate() {
        let (jobs, found) = file::read(manifest, input, settings, &mut loaded.wants);
        read.push((at, jobs));
        diagnostics.push(found);
    }
    // Current files first: a stale one never takes a job from a file that has it now.
    read.sort_by_key(|(at, _)| (input.manifests[*at].stale, *at));
    let mut owners: BTreeMap<JobName, String> = BTreeMap::new();
    for (at, jobs) in read {
        let manifest = &input.manifests[at];
        let mut kept = Vec::new();
        for (job, mut duplicate) in jobs {
            match owners.get(&job.name) {
                None => kept.push(job),
                Some(_) if manifest.stale => {}
                Some(owner) => {
                    duplicate.message = format!("job `{}` is already declared in `{owner}`", job.name);
                    diagnostics[at].push(duplicate);
                }
            }
        }
        let has_errors = diagnostics[at].iter().any(Diagnostic::is_error);
        let mut outcome = FileOutcome {
            has_errors,
            last_good: manifest.stale,
            jobs: BTreeSet::new(),
        };
        for job in kept {
            owners.insert(job.name.clone(), manifest.path.clone());
            if !has_errors {
                outcome.jobs.insert(job.name.clone());
                loaded.desired.jobs.insert(job.name.clone(), job);
            }
        }
        loaded.files.insert(manifest.path.clone(), outcome);
    }
    loaded.diagnostics = diagnostics.into_iter().flatten().collect();
    loaded
}

#[cfg(test)]
mod tests;
