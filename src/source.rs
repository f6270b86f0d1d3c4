//! The watched directory: reading it safely, keeping what was last good, noticing changes.
//!
//! Whoever writes to the directory is not trusted: links that lead out of it are not followed, files
//! are read to a bound, and nothing but regular files is opened. What the texts mean is `manifest`'s
//! affair.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::manifest::{self, EnvFile, Files, Loaded, MAX_BYTES, ManifestFile, PathFact, Settings, Wants};
use crate::model::{Desired, JobName, Removals};
use crate::policy::Rules;

/// A tree of manifests is shallow; deeper ones are a mistake or an attack.
const MAX_FOLDER_DEPTH: usize = 16;
/// Enough for any real set, and a bound on what a hostile one costs.
const MAX_MANIFESTS: usize = 10_000;

/// Why the directory could not be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("the directory `{}` does not exist", .0.display())]
    Missing(PathBuf),
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("cannot read `{}`: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
}

/// Reads and loads every manifest below `dir`. The files are for [`manifest::render`].
///
/// # Errors
/// When the directory is missing or cannot be listed; what is wrong in a file is a diagnostic.
pub fn load(dir: &Path, settings: &Settings) -> Result<(Files, Loaded), SourceError> {
    let mut files = read(dir)?;
    let loaded = settle(&mut files, settings);
    Ok((files, loaded))
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
    let root = match fs::canonicalize(dir) {
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
        let real = fs::canonicalize(&path);
        if let Ok(real) = &real
            && real.is_dir()
        {
            if depth < MAX_FOLDER_DEPTH && real.starts_with(&self.root) {
                self.folder(real, &format!("{relative}{name}/"), depth + 1)?;
            }
            return Ok(());
        }
        if !is_manifest || self.found.len() >= MAX_MANIFESTS {
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
        self.found.push(ManifestFile {
            path: format!("{relative}{name}"),
            folder: folder.to_owned(),
            text,
            dot_env,
            env_files: BTreeMap::new(),
            stale: false,
        });
        Ok(())
    }

    fn dot_env(&self, folder: &Path) -> Option<Result<String, String>> {
        let path = folder.join(".env");
        match fs::canonicalize(&path) {
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
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(real)
        .map_err(|error| format!("cannot be read: {error}"))?;
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
    for path in &wants.paths {
        let fact = look_at(path, &files.manifests);
        files.paths.insert(path.clone(), fact);
    }
}

fn read_env_file(path: &Path) -> EnvFile {
    match fs::canonicalize(path) {
        Ok(real) => match read_text(&real) {
            Ok(text) => EnvFile::Text { real, text },
            Err(why) => EnvFile::Unreadable(why),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => EnvFile::Missing,
        Err(error) => EnvFile::Unreadable(error.to_string()),
    }
}

fn look_at(path: &Path, manifests: &[ManifestFile]) -> PathFact {
    let (real, exists) = resolve(path);
    let holds = holds(&real, manifests);
    PathFact { real, exists, holds }
}

/// The path without links, as far as it exists.
fn resolve(path: &Path) -> (PathBuf, bool) {
    if let Ok(real) = fs::canonicalize(path) {
        return (real, true);
    }
    let mut rest = Vec::new();
    let mut existing = path;
    while let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) {
        rest.push(name);
        existing = parent;
        if let Ok(real) = fs::canonicalize(existing) {
            return (rest.iter().rev().fold(real, |real, name| real.join(name)), false);
        }
    }
    (path.to_owned(), false)
}

/// What a job that mounts `real` could read or rewrite, and must not.
fn holds(real: &Path, manifests: &[ManifestFile]) -> Option<String> {
    let manifest = manifests.iter().find(|file| {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let path = file.folder.join(name);
        path.starts_with(real) || fs::canonicalize(&path).is_ok_and(|path| path.starts_with(real))
    });
    if let Some(manifest) = manifest {
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
        .flat_map(|file| file.env_files.values())
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
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder)?;
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
                    tracing::warn!(path = %path.display(), %error, "a last good manifest is unreadable")
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
            if good && self.files.get(&file.path) != Some(file) {
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
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        out.write_all(&serde_json::to_vec(file)?)?;
        out.sync_all()?;
        fs::rename(&temporary, &path)
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
}

/// As [`load`]; a file with errors keeps the jobs of its last good version while the others proceed.
///
/// # Errors
/// As [`load`]; what was last good is then still there.
pub fn load_with_last_good(
    dir: &Path,
    last_good: &mut LastGood,
    settings: &Settings,
) -> Result<Current, SourceError> {
    let (files, mut loaded) = load(dir, settings)?;
    let unkept = last_good.update(&files, &loaded).err();
    if loaded.files.values().any(|outcome| outcome.has_errors) {
        let mut mixed = stand_in(&files, &loaded, last_good);
        let substitute = settle(&mut mixed, settings);
        for (path, outcome) in &mut loaded.files {
            if let Some(now) = substitute.files.get(path) {
                outcome.jobs.clone_from(&now.jobs);
                outcome.last_good = now.last_good && !now.has_errors;
            }
        }
        loaded.desired = substitute.desired;
    }
    Ok(Current {
        files,
        loaded,
        unkept,
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

/// Whether jobs that are no longer declared may be removed. A missing mount or a bad checkout must not
/// look like a decision to delete everything.
#[must_use]
pub fn guard(previous: &BTreeSet<JobName>, now: &Desired, dir: DirState) -> Removals {
    let lost = previous
        .iter()
        .filter(|name| !now.jobs.contains_key(*name))
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

/// How long nothing must change before a change is reported: editors and checkouts write in steps.
const QUIET: Duration = Duration::from_millis(250);
/// A directory that never falls quiet is read all the same.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Pace of the watcher that asks instead of being told.
const POLL: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2000 });

/// Notices that something below a directory may have changed. What changed is found by reading again.
pub struct Watcher {
    dir: PathBuf,
    inner: Box<dyn notify::Watcher + Send>,
    /// Whether it polls: asked for, or because the system's watches are used up.
    polls: bool,
    dirty: Arc<Notify>,
    /// Runs out [`MAX_WAIT`] after the first change that is not reported yet; kept here so that a
    /// cancelled [`Watcher::changed`] forgets nothing.
    pending: Option<Pin<Box<Sleep>>>,
}

impl Watcher {
    /// # Errors
    /// When neither the system's watcher nor polling can be set up.
    pub fn new(dir: &Path, poll: bool) -> Result<Watcher, notify::Error> {
        // Events name paths below what was watched, so that must be told apart from its parent.
        let dir = &std::path::absolute(dir)?;
        let dirty = Arc::new(Notify::new());
        if !poll {
            match Watcher::native(dir, &dirty) {
                Ok(watcher) => return Ok(watcher),
                Err(error) if watches_used_up(&error) => {
                    tracing::warn!(%error, "no file watches left: looking every {POLL:?} instead");
                }
                Err(error) => return Err(error),
            }
        }
        Watcher::polling(dir, &dirty)
    }

    fn native(dir: &Path, dirty: &Arc<Notify>) -> Result<Watcher, notify::Error> {
        let inner = Box::new(RecommendedWatcher::new(
            handler(dir, dirty),
            notify::Config::default(),
        )?);
        Watcher::watching(dir, inner, false, dirty)
    }

    fn polling(dir: &Path, dirty: &Arc<Notify>) -> Result<Watcher, notify::Error> {
        let config = notify::Config::default()
            .with_poll_interval(POLL)
            .with_compare_contents(true);
        let inner = Box::new(notify::PollWatcher::new(handler(dir, dirty), config)?);
        Watcher::watching(dir, inner, true, dirty)
    }

    fn watching(
        dir: &Path,
        inner: Box<dyn notify::Watcher + Send>,
        polls: bool,
        dirty: &Arc<Notify>,
    ) -> Result<Watcher, notify::Error> {
        let mut watcher = Watcher {
            dir: dir.to_owned(),
            inner,
            polls,
            dirty: Arc::clone(dirty),
            pending: None,
        };
        watcher.watch()?;
        Ok(watcher)
    }

    /// Whether it asks instead of being told.
    #[must_use]
    pub fn polls(&self) -> bool {
        self.polls
    }

    /// Returns once something may have changed and has been quiet since. Cancel-safe: a change that was
    /// seen by a cancelled call is reported by the next one.
    pub async fn changed(&mut self) {
        if self.pending.is_none() {
            self.dirty.notified().await;
        }
        let limit = self
            .pending
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(MAX_WAIT)));
        loop {
            tokio::select! {
                () = limit.as_mut() => break,
                () = tokio::time::sleep(QUIET) => break,
                () = self.dirty.notified() => {}
            }
        }
        self.pending = None;
        self.watch_again();
    }

    /// New folders, and a directory that was removed and made again, need watches of their own.
    /// Before the change is reported: whatever is read afterwards is watched already.
    fn watch_again(&mut self) {
        if self.polls {
            return;
        }
        let _ = self.inner.unwatch(&self.dir);
        if let Err(error) = self.watch() {
            if watches_used_up(&error)
                && let Ok(polling) = Watcher::polling(&self.dir, &self.dirty)
            {
                *self = polling;
            }
            tracing::warn!(%error, polls = self.polls, "cannot watch every folder");
        }
    }

    fn watch(&mut self) -> Result<(), notify::Error> {
        // The parent tells when the directory itself is removed and made again.
        let parent = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent
            && !self.polls
        {
            match self.inner.watch(parent, RecursiveMode::NonRecursive) {
                Err(error) if watches_used_up(&error) => return Err(error),
                _ => {}
            }
        }
        if !self.polls && !self.dir.exists() {
            return Ok(());
        }
        self.inner.watch(&self.dir, RecursiveMode::Recursive)
    }
}

/// Anything but a mere access makes the directory dirty; an error might hide a change. The parent's
/// other entries are none of our business.
fn handler(dir: &Path, dirty: &Arc<Notify>) -> impl FnMut(notify::Result<notify::Event>) + Send + use<> {
    let (dir, dirty) = (dir.to_owned(), Arc::clone(dirty));
    move |event| {
        let elsewhere =
            |paths: &[PathBuf]| !paths.is_empty() && !paths.iter().any(|path| path.starts_with(&dir));
        match &event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
            Ok(event) if !event.need_rescan() && elsewhere(&event.paths) => {}
            Ok(_) | Err(_) => dirty.notify_one(),
        }
    }
}

/// `fs.inotify.max_user_watches`, or no file descriptor left for an inotify instance.
fn watches_used_up(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => {
            let code = error.raw_os_error();
            [
                rustix::io::Errno::MFILE,
                rustix::io::Errno::NFILE,
                rustix::io::Errno::NOSPC,
            ]
            .iter()
            .any(|errno| code == Some(errno.raw_os_error()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::manifest::render;

    fn job(name: &str) -> String {
        format!("name: t\njobs:\n  {name}: {{image: busybox, triggers: {{manual: true}}}}\n")
    }

    /// A directory with these files.
    fn tree(files: &[(&str, &str)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn names(desired: &Desired) -> Vec<String> {
        desired.jobs.keys().map(ToString::to_string).collect()
    }

    /// Names of the jobs, then every diagnostic in one line each.
    fn summary(dir: &Path) -> Vec<String> {
        let (_, loaded) = load(dir, &Settings::default()).unwrap();
        let mut out = names(&loaded.desired);
        out.extend(loaded.diagnostics.iter().map(|found| {
            format!(
                "{}:{}:{}: {}",
                found.file, found.line, found.column, found.message
            )
        }));
        out
    }

    #[test]
    fn an_empty_directory_has_no_jobs_and_a_missing_one_is_an_error() {
        let dir = tree(&[]);
        assert_eq!(summary(dir.path()), Vec::<String>::new());
        let missing = dir.path().join("none");
        assert_eq!(read(&missing), Err(SourceError::Missing(missing.clone())));
        fs::write(&missing, "").unwrap();
        assert_eq!(read(&missing), Err(SourceError::NotADirectory(missing)));
    }

    #[test]
    fn manifests_are_found_in_subfolders_and_nothing_else_is() {
        let dir = tree(&[
            ("a.yaml", &job("a")),
            ("sub/deep/b.yml", &job("b")),
            (".hidden/c.yaml", &job("c")),
            (".d.yaml", &job("d")),
            ("e.yaml~", &job("e")),
            (".a.yaml.swp", "\0"),
            ("#f.yaml#", &job("f")),
            ("4913", ""),
            ("notes.txt", "hello: ["),
        ]);
        assert_eq!(summary(dir.path()), ["t.a", "t.b"]);
    }

    #[test]
    fn links_are_followed_inside_the_directory_and_never_out_of_it() {
        let outside = tree(&[("secret.yaml", &job("secret"))]);
        // As Kubernetes mounts a ConfigMap.
        let dir = tree(&[("..2026/a.yaml", &job("a"))]);
        symlink("..2026", dir.path().join("..data")).unwrap();
        symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
        symlink(outside.path().join("secret.yaml"), dir.path().join("b.yaml")).unwrap();
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        symlink(".", dir.path().join("circle")).unwrap();
        symlink("nowhere", dir.path().join("c.yaml")).unwrap();
        let found = summary(dir.path());
        assert_eq!(found[0], "t.a");
        assert!(
            found[1].starts_with("b.yaml:0:0: this link leads out"),
            "{found:?}"
        );
        assert!(
            found[2].starts_with("c.yaml:0:0: this link cannot be followed"),
            "{found:?}"
        );
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn what_is_no_text_is_a_diagnostic_of_its_file_alone() {
        let dir = tree(&[("good.yaml", &job("good"))]);
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write(
            "bom.yaml",
            format!("\u{feff}{}", job("bom").replace('\n', "\r\n")).as_bytes(),
        );
        write("nul.yaml", b"a: \0");
        write("latin.yaml", b"a: \xe4");
        write("utf16.yaml", b"\xff\xfea\0");
        let large = File::create(dir.path().join("large.yaml")).unwrap();
        large.set_len(100 << 20).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe.yaml"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(
            summary(dir.path()),
            [
                "t.bom",
                "t.good",
                "large.yaml:0:0: larger than 1 MiB",
                "latin.yaml:0:0: byte 4 is not UTF-8",
                "nul.yaml:0:0: byte 4 is NUL: this is not a text",
                "pipe.yaml:0:0: this is not a regular file",
                "utf16.yaml:0:0: this is UTF-16; write it as UTF-8",
            ]
        );
    }

    fn bind(source: &str) -> Vec<String> {
        let text = format!(
            "name: t\njobs:\n  j: {{image: busybox, triggers: {{manual: true}}, volumes: [{source}:/x]}}\n"
        );
        let dir = tree(&[
            ("team/a.yaml", &text),
            ("team/data/f", ""),
            ("team/env/.env", ""),
            ("team/sub/b.yaml", ""),
        ]);
        symlink("/etc", dir.path().join("team/etc")).unwrap();
        symlink("data", dir.path().join("team/alias")).unwrap();
        summary(dir.path())
    }

    #[test]
    fn a_bind_mount_stays_in_the_manifests_own_folder() {
        for source in ["./data", "./data/f", "./new/deep", "./alias"] {
            assert_eq!(bind(source), ["t.j"], "{source}");
        }
        for source in [
            ".",
            "./",
            "./a.yaml",
            "./sub",
            "./env",
            "./env/.env",
            "..",
            "../x",
            "./data/../..",
            "./etc",
            "./etc/passwd",
            "/etc",
            "/",
            "/var/run/docker.sock",
            "/var/run",
            "./.env",
            "./.git/hooks",
            "~/x",
        ] {
            let found = bind(source);
            assert!(found[0].starts_with("team/a.yaml:3:"), "{source}: {found:?}");
        }
    }

    #[test]
    fn a_job_cannot_write_manifests() {
        let text = "name: t\njobs: {j: {image: x, triggers: {manual: true}, volumes: ['./out:/x']}}";
        let dir = tree(&[("a.yaml", text), ("b.yaml", &job("b")), ("out/data", "")]);
        let mut last_good = LastGood::default();
        let settings = Settings::default();
        let current = load_with_last_good(dir.path(), &mut last_good, &settings).unwrap();
        assert_eq!(names(&current.loaded.desired), ["t.b", "t.j"]);
        fs::create_dir(dir.path().join("out/deep")).unwrap();
        fs::write(dir.path().join("out/deep/evil.yaml"), job("evil")).unwrap();
        let current = load_with_last_good(dir.path(), &mut last_good, &settings).unwrap();
        assert_eq!(names(&current.loaded.desired), ["t.b", "t.j"]);
        let files: Vec<&str> = current
            .loaded
            .diagnostics
            .iter()
            .map(|found| found.file.as_str())
            .collect();
        assert_eq!(files, ["a.yaml", "out/deep/evil.yaml"]);
        assert_eq!(summary(dir.path())[0], "t.b");
    }

    #[test]
    fn a_bind_sources_links_are_resolved_before_it_is_mounted() {
        let dir = tree(&[
            (
                "a.yaml",
                "jobs: {j: {image: x, triggers: {manual: true}, volumes: ['./alias:/x']}}",
            ),
            ("data/f", ""),
        ]);
        symlink("data", dir.path().join("alias")).unwrap();
        let settings = Settings::default();
        let (_, loaded) = load(dir.path(), &settings).unwrap();
        let job = loaded.desired.jobs.into_values().next().unwrap();
        let crate::model::MountKind::Bind { source, .. } = &job.container.mounts[0].kind else {
            panic!("no bind");
        };
        assert_eq!(*source, fs::canonicalize(dir.path()).unwrap().join("data"));
    }

    #[test]
    fn the_operator_may_open_more_of_the_host() {
        let outside = tree(&[("f", "")]);
        let text = format!(
            "name: t\njobs: {{j: {{image: x, triggers: {{manual: true}}, volumes: ['{}:/x']}}}}",
            outside.path().display()
        );
        let dir = tree(&[("a.yaml", &text)]);
        let mut settings = Settings::default();
        assert!(load(dir.path(), &settings).unwrap().1.has_errors());
        settings.policy = resolve_rules(Rules {
            bind_roots: vec![outside.path().to_owned()],
            ..Rules::default()
        });
        assert!(!load(dir.path(), &settings).unwrap().1.has_errors());
    }

    #[test]
    fn env_files_are_read_but_not_from_elsewhere() {
        let outside = tree(&[("secret.env", "S=hunter2\n")]);
        let dir = tree(&[
            (".env", "FILE=db.env\n"),
            ("db.env", "P=hunter2\n"),
            (
                "a.yaml",
                "name: t\njobs: {j: {image: x, triggers: {manual: true}, env_file: \"$FILE\"}}",
            ),
            (
                "b.yaml",
                "name: t\njobs: {k: {image: x, triggers: {manual: true}, env_file: [out.env, none.env]}}",
            ),
        ]);
        symlink(outside.path().join("secret.env"), dir.path().join("out.env")).unwrap();
        let (files, loaded) = load(dir.path(), &Settings::default()).unwrap();
        let job = loaded.desired.jobs.values().next().unwrap();
        assert_eq!(job.container.environment["P"].expose(), "hunter2");
        let shown = render(&loaded.diagnostics, &files.texts(), "", false);
        assert!(
            shown.contains("only what lies in the manifest's own folder"),
            "{shown}"
        );
        assert!(shown.contains("does not exist"), "{shown}");
        assert!(!format!("{shown}{:?}", loaded.desired).contains("hunter2"));
    }

    #[test]
    fn a_broken_file_keeps_its_last_good_jobs_also_over_a_restart() {
        let dir = tree(&[(".env", "V=1\n"), ("a.yaml", &job("a")), ("b.yaml", &job("b"))]);
        let state = tempfile::tempdir().unwrap();
        let kept = state.path().join("last-good");
        let settings = Settings::default();
        let mut last_good = LastGood::open(&kept).unwrap();
        load_with_last_good(dir.path(), &mut last_good, &settings).unwrap();
        fs::write(dir.path().join("a.yaml"), "jobs: {a: {image: [").unwrap();
        fs::write(dir.path().join("b.yaml"), job("b2")).unwrap();
        for mut last_good in [last_good, LastGood::open(&kept).unwrap()] {
            let current = load_with_last_good(dir.path(), &mut last_good, &settings).unwrap();
            assert_eq!(names(&current.loaded.desired), ["t.a", "t.b2"]);
            assert!(current.loaded.has_errors() && current.loaded.files["a.yaml"].last_good);
            assert!(current.unkept.is_none());
        }
        for entry in fs::read_dir(&kept).unwrap() {
            assert_eq!(
                entry.unwrap().metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        fs::remove_file(dir.path().join("a.yaml")).unwrap();
        let mut last_good = LastGood::open(&kept).unwrap();
        let current = load_with_last_good(dir.path(), &mut last_good, &settings).unwrap();
        assert_eq!(
            names(&current.loaded.desired),
            ["t.b2"],
            "a deleted file is not kept"
        );
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
    }

    #[test]
    fn a_job_that_moved_out_of_a_broken_file_is_not_taken_back() {
        let dir = tree(&[("a.yaml", &job("a"))]);
        let mut last_good = LastGood::default();
        let settings = Settings::default();
        load_with_last_good(dir.path(), &mut last_good, &settings).unwrap();
        fs::write(dir.path().join("a.yaml"), "jobs: [").unwrap();
        fs::write(dir.path().join("b.yaml"), job("a")).unwrap();
        let current = load_with_last_good(dir.path(), &mut last_good, &settings).unwrap();
        let job = &current.loaded.desired.jobs[&"t.a".parse().unwrap()];
        assert_eq!(job.origin.file, "b.yaml");
        assert!(!current.loaded.files["b.yaml"].has_errors);
    }

    #[test]
    fn losing_most_jobs_at_once_is_held() {
        let names = |count: usize| (0..count).map(|n| JobName::new("t", &format!("j{n}")).unwrap());
        let desired = |count: usize| {
            let dir = tree(&[]);
            for n in 0..count {
                fs::write(dir.path().join(format!("{n}.yaml")), job(&format!("j{n}"))).unwrap();
            }
            load(dir.path(), &Settings::default()).unwrap().1.desired
        };
        let check = |before: usize, after: usize, state: DirState| {
            guard(&names(before).collect(), &desired(after), state) == Removals::Allowed
        };
        assert!(check(4, 4, DirState::Present), "nothing is lost");
        assert!(check(0, 0, DirState::Missing), "nothing can be lost");
        assert!(check(2, 0, DirState::Present) && check(6, 3, DirState::Present));
        assert!(!check(5, 2, DirState::Present) && !check(3, 0, DirState::Present));
        assert!(!check(1, 0, DirState::Empty) && !check(1, 0, DirState::Missing));
    }

    async fn noticed(watcher: &mut Watcher) -> bool {
        tokio::time::timeout(Duration::from_secs(20), watcher.changed())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn changes_are_noticed_also_in_new_folders_and_a_new_directory() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("jobs");
        fs::create_dir(&dir).unwrap();
        for poll in [false, true] {
            let mut watcher = Watcher::new(&dir, poll).unwrap();
            assert_eq!(watcher.polls(), poll);
            fs::create_dir_all(dir.join("a/b/c")).unwrap();
            assert!(noticed(&mut watcher).await, "a folder, poll: {poll}");
            fs::write(dir.join("a/b/c/j.yaml"), "x").unwrap();
            assert!(noticed(&mut watcher).await, "a file in it, poll: {poll}");
            fs::remove_dir_all(&dir).unwrap();
            assert!(noticed(&mut watcher).await, "removed, poll: {poll}");
            fs::create_dir(&dir).unwrap();
            assert!(noticed(&mut watcher).await, "made again, poll: {poll}");
        }
    }

    #[tokio::test]
    async fn a_cancelled_wait_forgets_nothing() {
        let dir = tree(&[("a.yaml", "")]);
        let mut watcher = Watcher::new(dir.path(), false).unwrap();
        fs::write(dir.path().join("a.yaml"), "x").unwrap();
        // Cut off inside the quiet period, whenever the event came.
        let _ = tokio::time::timeout(Duration::from_millis(100), watcher.changed()).await;
        let _ = tokio::time::timeout(Duration::from_millis(100), watcher.changed()).await;
        assert!(noticed(&mut watcher).await);
    }
}
