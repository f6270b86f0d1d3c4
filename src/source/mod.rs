//! The watched directory: reading it safely, keeping what was last good, noticing changes.
//!
//! Whoever writes to the directory is not trusted: links that lead out of it are not followed, files
//! are read to a bound, and nothing but regular files is opened. What the texts mean is `manifest`'s
//! affair.

mod checkout;
mod last_good;
mod provenance;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::manifest::{self, EnvFile, Files, Loaded, MAX_BYTES, ManifestFile, PathFact, Settings, Wants};
use crate::os;
use crate::policy::Rules;

pub use checkout::{Checkout, PullError, Pulled, Remote};
pub use last_good::{Current, DirState, LastGood, guard, load_with_last_good};
pub use watcher::Watcher;

/// A tree of manifests is shallow; deeper ones are a mistake or an attack.
const MAX_FOLDER_DEPTH: usize = 16;
/// Enough for any real set, and a bound on what a hostile one costs.
const MAX_MANIFESTS: usize = 10_000;
const MAX_TOTAL_BYTES: usize = 64 << 20;

/// Why the directory could not be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("the directory `{}` does not exist", .0.display())]
    Missing(PathBuf),
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// To read a part of it would look as if the rest had been deleted.
    #[error("`{}` is no directory of manifests: {why}", path.display())]
    TooMuch { path: PathBuf, why: String },
    #[error("cannot read `{}`: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
}

/// Reads and loads every manifest below `dir`. The files are for [`manifest::render`].
///
/// # Errors
/// When the directory is missing or cannot be listed; what is wrong in a file is a diagnostic.
pub fn load(dir: &Path, settings: &Settings) -> Result<(Files, Loaded), SourceError> {
    let mut files = read(dir)?;
    let mut loaded = settle(&mut files, settings);
    provenance::trace(dir, &mut files);
    note_commits(&files, &mut loaded);
    Ok((files, loaded))
}

/// Tells each job which commit its manifest is of.
fn note_commits(files: &Files, loaded: &mut Loaded) {
    let commits: BTreeMap<&str, &Option<String>> = files
        .manifests
        .iter()
        .map(|file| (file.path.as_str(), &file.commit))
        .collect();
    for job in loaded.desired.jobs.values_mut() {
        let commit = commits.get(job.origin.file.as_str());
        job.origin.commit = commit.and_then(|commit| (*commit).clone());
    }
}

/// Loads until everything that the manifests refer to was looked at.
fn settle(files: &mut Files, settings: &Settings) -> Loaded {
    loop {
        let loaded = manifest::load(files, settings);
        // Each round answers every want, so the second or third one has none.
        if loaded.wants.is_empty() {
            return loaded;
        }
        satisfy(files, &loaded.wants);
    }
}

/// Reads every manifest below `dir`, in the order of their paths, each with the `.env` beside it.
///
/// # Errors
/// As [`load`].
pub fn read(dir: &Path) -> Result<Files, SourceError> {
    let root = match os::canonicalize(dir) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SourceError::Missing(dir.to_owned()));
        }
        Err(error) => return Err(unreadable(dir, &error)),
    };
    if !root.is_dir() {
        return Err(SourceError::NotADirectory(dir.to_owned()));
    }
    let mut walk = Walk {
        root: root.clone(),
        seen: BTreeSet::new(),
        found: Vec::new(),
        bytes: 0,
    };
    walk.folder(&root, "", 0)?;
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Files {
        manifests: walk.found,
        paths: BTreeMap::new(),
    })
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    SourceError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

struct Walk {
    root: PathBuf,
    /// Real paths of the folders that were entered: links may form a circle.
    seen: BTreeSet<PathBuf>,
    found: Vec<ManifestFile>,
    /// Size of all texts.
    bytes: usize,
}

impl Walk {
    /// `relative` is the folder's path as written, with a `/` at its end unless empty.
    fn folder(&mut self, folder: &Path, relative: &str, depth: usize) -> Result<(), SourceError> {
        if !self.seen.insert(folder.to_owned()) {
            return Ok(());
        }
        let listing = match fs::read_dir(folder) {
            Ok(listing) => listing,
            // Removed while we were reading: as if it had never been there.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(folder, &error)),
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(|error| unreadable(folder, &error))?;
            // A name that is not UTF-8 cannot be named in a message or a label.
            if let Ok(name) = entry.file_name().into_string()
                && !is_ignored(&name)
            {
                names.push(name);
            }
        }
        names.sort();
        let mut dot_env = None;
        for name in names {
            self.entry(folder, relative, &name, depth, &mut dot_env)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: &Path,
        relative: &str,
        name: &str,
        depth: usize,
        dot_env: &mut Option<Option<Result<String, String>>>,
    ) -> Result<(), SourceError> {
        let path = folder.join(name);
        let is_manifest = name.ends_with(".yaml") || name.ends_with(".yml");
        let real = os::canonicalize(&path);
        if let Ok(real) = &real
            && real.is_dir()
        {
            if !real.starts_with(&self.root) {
                return Ok(());
            }
            if depth >= MAX_FOLDER_DEPTH {
                return Err(self.too_much(format!("folders in it are nested deeper than {MAX_FOLDER_DEPTH}")));
            }
            return self.folder(real, &format!("{relative}{name}/"), depth + 1);
        }
        if !is_manifest {
            return Ok(());
        }
        let text = match real {
            Ok(real) if !real.starts_with(&self.root) => {
                Err("this link leads out of the watched directory; it is not followed".to_owned())
            }
            Ok(real) => read_text(&real),
            Err(_) if !is_link(&path) => return Ok(()),
            Err(error) => Err(format!("this link cannot be followed: {error}")),
        };
        let dot_env = dot_env.get_or_insert_with(|| self.dot_env(folder)).clone();
        let sizes = [
            text.as_ref().ok(),
            dot_env.as_ref().and_then(|text| text.as_ref().ok()),
        ];
        self.bytes += sizes.into_iter().flatten().map(String::len).sum::<usize>();
        if self.found.len() >= MAX_MANIFESTS || self.bytes > MAX_TOTAL_BYTES {
            let mib = MAX_TOTAL_BYTES >> 20;
            return Err(self.too_much(format!(
                "it holds more than {MAX_MANIFESTS} manifests or {mib} MiB of them"
            )));
        }
        self.found.push(ManifestFile {
            path: format!("{relative}{name}"),
            folder: folder.to_owned(),
            text,
            dot_env,
            env_files: BTreeMap::new(),
            commit: None,
            stale: false,
        });
        Ok(())
    }

    fn too_much(&self, why: String) -> SourceError {
        SourceError::TooMuch {
            path: self.root.clone(),
            why,
        }
    }

    fn dot_env(&self, folder: &Path) -> Option<Result<String, String>> {
        let path = folder.join(".env");
        match os::canonicalize(&path) {
            Ok(real) if !real.starts_with(&self.root) => Some(Err(
                "this link leads out of the watched directory; it is not followed".to_owned(),
            )),
            Ok(real) => Some(read_text(&real)),
            Err(_) if !is_link(&path) => None,
            Err(error) => Some(Err(format!("this link cannot be followed: {error}"))),
        }
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.is_symlink())
}

/// Hidden files, and what editors leave beside the file they write.
fn is_ignored(name: &str) -> bool {
    name.starts_with('.')
        || name.ends_with('~')
        || (name.starts_with('#') && name.ends_with('#'))
        || name == "4913"
}

/// A regular file as a text of at most [`MAX_BYTES`]; else why not. `real` has no links in it: one that
/// was put there since is not followed, and a pipe does not hold us up.
fn read_text(real: &Path) -> Result<String, String> {
    let file = os::open_without_links(real).map_err(|error| format!("cannot be read: {error}"))?;
    let data = file
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if !data.is_file() {
        return Err("this is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let too_large = || format!("larger than {} MiB", MAX_BYTES >> 20);
    if data.len() > MAX_BYTES {
        return Err(too_large());
    }
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large());
    }
    text_of(bytes)
}

fn text_of(mut bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("this is UTF-16; write it as UTF-8".to_owned());
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(format!("byte {} is NUL: this is not a text", at + 1));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to() + 1))
}

/// Looks at what the manifests refer to.
fn satisfy(files: &mut Files, wants: &Wants) {
    for file in &mut files.manifests {
        for path in wants.env_files.get(&file.path).into_iter().flatten() {
            file.env_files.insert(path.clone(), read_env_file(path));
        }
    }
    if wants.paths.is_empty() {
        return;
    }
    let manifests: Vec<(PathBuf, &ManifestFile)> = files.manifests.iter().flat_map(real_paths).collect();
    for path in &wants.paths {
        let (real, exists) = resolve(path);
        let holds = holds(&real, &manifests).or_else(|| {
            let mut secrets = wants.secrets.iter().map(|secret| resolve(secret).0);
            let in_it = |secret: PathBuf| secret != real && secret.starts_with(&real);
            secrets.any(in_it).then(|| "a secret".to_owned())
        });
        files.paths.insert(path.clone(), PathFact { real, exists, holds });
    }
}

/// Where a manifest lies, by its own name and behind its link.
fn real_paths(file: &ManifestFile) -> impl Iterator<Item = (PathBuf, &ManifestFile)> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let path = file.folder.join(name);
    let linked = os::canonicalize(&path).ok().filter(|real| *real != path);
    [Some(path), linked]
        .into_iter()
        .flatten()
        .map(move |path| (path, file))
}

fn read_env_file(path: &Path) -> EnvFile {
    match os::canonicalize(path) {
        Ok(real) => match read_text(&real) {
            Ok(text) => EnvFile::Text { real, text },
            Err(why) => EnvFile::Unreadable(why),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => EnvFile::Missing,
        Err(error) => EnvFile::Unreadable(error.to_string()),
    }
}

/// The path without links, as far as it exists.
fn resolve(path: &Path) -> (PathBuf, bool) {
    if let Ok(real) = os::canonicalize(path) {
        return (real, true);
    }
    let mut rest = Vec::new();
    let mut existing = path;
    while let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) {
        rest.push(name);
        existing = parent;
        if let Ok(real) = os::canonicalize(existing) {
            return (rest.iter().rev().fold(real, |real, name| real.join(name)), false);
        }
    }
    (path.to_owned(), false)
}

/// What a job that mounts `real` could read or rewrite, and must not.
fn holds(real: &Path, manifests: &[(PathBuf, &ManifestFile)]) -> Option<String> {
    let manifest = manifests.iter().find(|(path, _)| path.starts_with(real));
    if let Some((_, manifest)) = manifest {
        return Some(format!("the manifest `{}`", manifest.path));
    }
    if real.components().any(|part| part.as_os_str() == ".git") {
        return Some("a git repository".to_owned());
    }
    let is_env = |path: &Path| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name == ".env" || name.starts_with(".env.")
    };
    let in_folder = || {
        let listing = fs::read_dir(real).ok()?;
        listing
            .flatten()
            .map(|entry| entry.path())
            .find(|path| is_env(path))
    };
    if is_env(real) || in_folder().is_some() {
        return Some("a `.env` file".to_owned());
    }
    let env_file = manifests
        .iter()
        .flat_map(|(_, file)| file.env_files.values())
        .any(|file| match file {
            EnvFile::Text { real: path, .. } => path.starts_with(real),
            EnvFile::Missing | EnvFile::Unreadable(_) => false,
        });
    env_file.then(|| "an env file".to_owned())
}

/// Rules whose paths have no links in them, as the paths of manifests that they are compared with.
#[must_use]
pub fn resolve_rules(mut rules: Rules) -> Rules {
    let resolved = |paths: Vec<PathBuf>| paths.iter().map(|path| resolve(path).0).collect();
    rules.bind_roots = resolved(rules.bind_roots);
    rules.protected = resolved(rules.protected);
    // Either way to name a socket must be refused.
    let sockets: Vec<PathBuf> = resolved(rules.sockets.clone());
    rules.sockets.extend(sockets);
    rules
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
