//! The last good version of each manifest, and whether jobs that vanished may be removed.
//!
//! A typo must not stop a night's backup, and a missing mount must not look like a decision to delete
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{SourceError, load, note_commits, settle};
use crate::manifest::{Files, Loaded, ManifestFile, Settings};
use crate::model::{Desired, Job, JobName, Removals};
use crate::os;

/// The newest version of each manifest that had no errors, with the env texts that belong to it. Kept
/// on disk, so that a broken file keeps its jobs over a restart too.
#[derive(Debug, Default)]
pub struct LastGood {
    /// `None` keeps them in memory alone.
    folder: Option<PathBuf>,
    files: BTreeMap<String, ManifestFile>,
}

impl LastGood {
    /// Reads what an earlier process kept in `folder`, and makes the folder (0700) if need be. A file
    /// that cannot be read is as good as none.
    ///
    /// # Errors
    /// When the folder can be neither made nor listed.
    pub fn open(folder: &Path) -> io::Result<LastGood> {
        os::private_dir(folder)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let kept = File::open(&path)
                .map_err(|error| error.to_string())
                .and_then(|file| {
                    serde_json::from_reader::<_, ManifestFile>(io::BufReader::new(file))
                        .map_err(|error| error.to_string())
                });
            match kept {
                Ok(file) => drop(files.insert(file.path.clone(), file)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "the last good version of a manifest cannot be read: while that manifest is broken, its jobs are missing")
                }
            }
        }
        Ok(LastGood {
            folder: Some(folder.to_owned()),
            files,
        })
    }

    /// Takes over every file without errors, and forgets the files that are gone.
    fn update(&mut self, files: &Files, loaded: &Loaded) -> io::Result<()> {
        let mut result = Ok(());
        for file in &files.manifests {
            let good = loaded
                .files
                .get(&file.path)
                .is_some_and(|outcome| !outcome.has_errors);
            let kept = self.files.get(&file.path);
            // A commit that does not touch a file is no reason to write it again.
            let same = kept.is_some_and(|kept| {
                *kept
                    == ManifestFile {
                        commit: kept.commit.clone(),
                        ..file.clone()
                    }
            });
            if good && !same {
                result = result.and(self.write(file));
                self.files.insert(file.path.clone(), file.clone());
            }
        }
        let gone: Vec<String> = self
            .files
            .keys()
            .filter(|path| !loaded.files.contains_key(*path))
            .cloned()
            .collect();
        for path in gone {
            self.files.remove(&path);
            if let Some(kept) = self.path_of(&path) {
                match fs::remove_file(kept) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => result = result.and(Err(error)),
                    _ => {}
                }
            }
        }
        result
    }

    /// The jobs of every version that is kept, as if their files were still there: an unmounted folder
    /// must not cost the night its backup, also after a restart.
    #[must_use]
    pub fn jobs(&self, settings: &Settings) -> BTreeMap<JobName, Job> {
        let stale = self.files.values().map(|kept| ManifestFile {
            stale: true,
            ..kept.clone()
        });
        let mut files = Files {
            manifests: stale.collect(),
            paths: BTreeMap::new(),
        };
        let mut loaded = settle(&mut files, settings);
        note_commits(&files, &mut loaded);
        loaded.desired.jobs
    }

    fn path_of(&self, manifest: &str) -> Option<PathBuf> {
        let name = hex::encode(Sha256::digest(manifest.as_bytes()));
        self.folder
            .as_ref()
            .map(|folder| folder.join(format!("{name}.json")))
    }

    /// Atomic, and readable by nobody else: env texts are secrets.
    fn write(&self, file: &ManifestFile) -> io::Result<()> {
        let Some(path) = self.path_of(&file.path) else {
            return Ok(());
        };
        let temporary = path.with_extension("new");
        let mut out = os::draft(&temporary)?;
        out.write_all(&serde_json::to_vec(file)?)?;
        out.sync_all()?;
        os::replace(&temporary, &path)
    }
}

/// What [`load_with_last_good`] found.
#[derive(Debug)]
pub struct Current {
    pub files: Files,
    /// Diagnostics are those of the files as they are; jobs of a file with errors are those of its
    /// last good version.
    pub loaded: Loaded,
    /// The last good versions could not be kept: a restart would lose them.
    pub unkept: Option<io::Error>,
    /// Jobs of last good versions that are gone from the files, too many at once to be believed.
    pub remembered: BTreeMap<JobName, Job>,
}

/// As [`load`]; a file with errors keeps the jobs of its last good version while the others proceed.
/// `known` are the jobs that were declared before: while too many of them are gone at once, nothing of
/// what was last good is given up.
///
/// # Errors
/// As [`load`]; what was last good is then still there.
pub fn load_with_last_good(
    dir: &Path,
    last_good: &mut LastGood,
    settings: &Settings,
    known: &BTreeSet<JobName>,
) -> Result<Current, SourceError> {
    let (files, mut loaded) = load(dir, settings)?;
    if loaded.files.values().any(|outcome| outcome.has_errors) {
        let mut mixed = stand_in(&files, &loaded, last_good);
        let mut substitute = settle(&mut mixed, settings);
        note_commits(&mixed, &mut substitute);
        for (path, outcome) in &mut loaded.files {
            if let Some(now) = substitute.files.get(path) {
                outcome.jobs.clone_from(&now.jobs);
                outcome.last_good = now.last_good && !now.has_errors;
            }
        }
        loaded.desired = substitute.desired;
    }
    let (mut unkept, mut remembered) = (None, BTreeMap::new());
    match guard(known, &loaded.desired, DirState::of(&files)) {
        Removals::Allowed => unkept = last_good.update(&files, &loaded).err(),
        Removals::Held(_) => {
            remembered = last_good.jobs(settings);
            remembered.retain(|name, _| known.contains(name) && !loaded.desired.jobs.contains_key(name));
        }
    }
    Ok(Current {
        files,
        loaded,
        unkept,
        remembered,
    })
}

/// The files without errors, and the last good versions of the others. A file that never was good is
/// left out altogether: it must not count as a manifest when paths are judged.
fn stand_in(files: &Files, loaded: &Loaded, last_good: &LastGood) -> Files {
    let version = |file: &ManifestFile| {
        let broken = loaded
            .files
            .get(&file.path)
            .is_some_and(|outcome| outcome.has_errors);
        if !broken {
            return Some(file.clone());
        }
        last_good.files.get(&file.path).map(|good| ManifestFile {
            stale: true,
            // The directory may have moved since that version was kept.
            folder: file.folder.clone(),
            ..good.clone()
        })
    };
    Files {
        manifests: files.manifests.iter().filter_map(version).collect(),
        paths: BTreeMap::new(),
    }
}

/// What the directory itself looks like, for [`guard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirState {
    Missing,
    /// There, without a single manifest.
    Empty,
    Present,
}

impl DirState {
    /// Of a directory that could be read.
    #[must_use]
    pub fn of(files: &Files) -> DirState {
        if files.manifests.is_empty() {
            DirState::Empty
        } else {
            DirState::Present
        }
    }
}

/// Whether jobs that are no longer declared may be removed. A missing mount or a bad checkout must not
/// look like a decision to delete everything.
#[must_use]
pub fn guard(previous: &BTreeSet<JobName>, now: &Desired, dir: DirState) -> Removals {
    let lost = previous
        .iter()
        .filter(|name| !now.jobs.contains_key(*name) && !now.inactive.contains_key(*name))
        .count();
    if lost == 0 {
        return Removals::Allowed;
    }
    match dir {
        DirState::Missing => Removals::Held("the directory of the manifests is missing".to_owned()),
        DirState::Empty => Removals::Held("the directory holds no manifest any more".to_owned()),
        DirState::Present if lost >= 3 && lost * 2 > previous.len() => {
            Removals::Held(format!("{lost} of {} jobs are gone at once", previous.len()))
        }
        DirState::Present => Removals::Allowed,
    }
}
