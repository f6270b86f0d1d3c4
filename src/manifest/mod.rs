//! Texts of manifests to the jobs they declare, and everything that is wrong with them.
//!
//! A manifest is a Compose file with `jobs`. Pure: this room is given texts and facts about paths, and
//! never opens a file ([`Loaded::wants`] says what it would like to see; `source` reads it and asks
//! again). Errors are collected, over all files, each with its place.
//!
//! One reader serves everything: saphyr-parser's events become a small tree with positions (`yaml`),
//! variables are replaced in it (`interpolate`), and it is lowered key by key (`compose` and its parts,
//! `extension`). serde_yaml writes the canonical form, and reads nothing: two readers would disagree one
//! day about what a text means.

mod canonical;
mod caret;
mod compose;
mod depends;
mod diagnostic;
mod dotenv;
mod environment;
mod extension;
mod file;
mod files;
mod health;
mod host;
mod interpolate;
mod keys;
mod mounts;
mod network;
mod point;
mod presence;
mod resources;
mod rights;
mod schema;
mod values;
mod yaml;

/// The reader on its own, for the operator's file and for files of other programs.
pub(crate) mod reader {
    pub(crate) use super::diagnostic::{Sink, code};
    pub(crate) use super::interpolate::beside;
    pub(crate) use super::values::{count, filled_text, flag, list, optional_mapping, unknown_key, word};
    pub(crate) use super::yaml::{Entry, Kind, Node, Value, parse};
}

/// Whether a job may have that Compose key.
pub(crate) fn is_job_key(key: &str) -> bool {
    keys::JOB.has(key)
}

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Desired, Job, JobName};
use crate::policy::Rules;

pub use canonical::MASK;
pub use caret::{closing_line, pictures, render};
use diagnostic::code;
pub use diagnostic::{Diagnostic, Severity};
pub use host::HostPaths;
pub(crate) use interpolate::is_template;
pub use mounts::{is_path, volume_parts};
pub use point::at_key;
pub use schema::json_schema;

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
    /// The git commit of the folder; with `-dirty` behind it when it does not have this very file.
    #[serde(default)]
    pub commit: Option<String>,
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
    /// Where the engine's machine has what is mounted.
    pub host: HostPaths,
    /// Profiles whose jobs are wanted, beside those that `COMPOSE_PROFILES` in a file's `.env` names.
    pub profiles: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            default_timezone: "UTC".to_owned(),
            interpolate: BTreeMap::new(),
            set_but_unlisted: BTreeSet::new(),
            policy: Rules::default(),
            host: HostPaths::default(),
            profiles: BTreeSet::new(),
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
    /// Of these, what no other job may have along with a folder. No want by itself.
    pub secrets: BTreeSet<PathBuf>,
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
    let mut reads: Vec<file::Read> = input
        .manifests
        .iter()
        .map(|manifest| file::read(manifest, input, settings, &mut loaded.wants))
        .collect();
    distrust_written_folders(&input.manifests, &mut reads);
    // Current files first: a stale one never takes a job from a file that has it now.
    let mut order: Vec<usize> = (0..reads.len()).collect();
    order.sort_by_key(|&at| (input.manifests[at].stale, at));
    let mut owners: BTreeMap<JobName, &str> = BTreeMap::new();
    for at in order {
        let manifest = &input.manifests[at];
        let kept = own(manifest, &mut reads[at], &mut owners);
        let has_errors = reads[at].diagnostics.iter().any(Diagnostic::is_error);
        let mut outcome = FileOutcome {
            has_errors,
            last_good: manifest.stale,
            jobs: BTreeSet::new(),
        };
        if !has_errors {
            outcome.jobs = kept.iter().map(|job| job.name.clone()).collect();
            let (inactive, active): (Vec<Job>, Vec<Job>) = kept
                .into_iter()
                .partition(|job| reads[at].inactive.contains_key(&job.name));
            let named = active.into_iter().map(|job| (job.name.clone(), job));
            loaded.desired.jobs.extend(named);
            let profiles = std::mem::take(&mut reads[at].inactive);
            let names: BTreeSet<JobName> = inactive.into_iter().map(|job| job.name).collect();
            let inactive = profiles.into_iter().filter(|(name, _)| names.contains(name));
            loaded.desired.inactive.extend(inactive);
        }
        loaded.files.insert(manifest.path.clone(), outcome);
    }
    loaded.diagnostics = reads.into_iter().flat_map(|read| read.diagnostics).collect();
    loaded
}

/// The jobs of a file that no earlier one declares; a second declaration is an error.
fn own<'m>(
    manifest: &'m ManifestFile,
    read: &mut file::Read,
    owners: &mut BTreeMap<JobName, &'m str>,
) -> Vec<Job> {
    let mut kept = Vec::new();
    for (job, mut duplicate) in std::mem::take(&mut read.jobs) {
        match owners.get(&job.name) {
            None => {
                owners.insert(job.name.clone(), &manifest.path);
                kept.push(job);
            }
            Some(_) if manifest.stale => {}
            Some(owner) => {
                duplicate.message = format!("job `{}` is already declared in `{owner}`", job.name);
                read.diagnostics.push(duplicate);
            }
        }
    }
    kept
}

/// A job may write to a folder that held no manifest when that was allowed. One that appears there may
/// be the job's own work: neither it nor the mount is accepted then (and what was last good before
/// stays in force).
fn distrust_written_folders(manifests: &[ManifestFile], reads: &mut [file::Read]) {
    let refused: Vec<(usize, PathBuf)> = reads
        .iter()
        .enumerate()
        .flat_map(|(at, read)| {
            read.refused_folders
                .iter()
                .map(move |folder| (at, folder.clone()))
        })
        .collect();
    for (at, (manifest, read)) in manifests.iter().zip(reads).enumerate() {
        let writer = refused
            .iter()
            .find(|(by, folder)| *by != at && manifest.folder.starts_with(folder));
        if let Some((by, _)) = writer {
            let message = format!(
                "a job of `{}` asks to write to the folder of this manifest",
                manifests[*by].path
            );
            let mut found = Diagnostic::of_file(Severity::Error, code::POLICY, &manifest.path, message);
            found.help("keep what jobs write apart from manifests");
            read.diagnostics.push(found);
        }
    }
}

#[cfg(test)]
mod tests;
