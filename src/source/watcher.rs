//! Noticing that something below a directory may have changed.
//!
//! The system's watcher is told about folders, never about files (an atomic rename blinds a watch on a
//! file), and its events say only "look again": what changed is found by reading.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::os;

/// How long nothing must change before a change is reported: editors and checkouts write in steps.
const QUIET: Duration = Duration::from_millis(250);
/// A directory that never falls quiet is read all the same.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Pace of the watcher that asks instead of being told.
const POLL: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2000 });

/// Notices that something below a directory may have changed. What changed is found by reading again.
pub struct Watcher {
    dir: PathBuf,
    /// The directory without links, as it was watched last.
    watched: Option<PathBuf>,
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
                    tracing::warn!(%error, "no file watches left (`fs.inotify.max_user_watches`): looking every {POLL:?} instead");
                }
                Err(error) => return Err(error),
            }
        }
        Watcher::polling(dir, &dirty)
    }

    fn native(dir: &Path, dirty: &Arc<Notify>) -> Result<Watcher, notify::Error> {
        // A link to `/` would have us watch the whole host.
        let config = notify::Config::default().with_follow_symlinks(false);
        let inner = Box::new(RecommendedWatcher::new(handler(dir, dirty), config)?);
        Watcher::watching(dir, inner, false, dirty)
    }

    fn polling(dir: &Path, dirty: &Arc<Notify>) -> Result<Watcher, notify::Error> {
        let config = notify::Config::default()
            .with_poll_interval(POLL)
            .with_compare_contents(true)
            .with_follow_symlinks(false);
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
            watched: None,
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
        if let Some(watched) = self.watched.take() {
            // It may be gone, and its watch with it.
            let _ = self.inner.unwatch(&watched);
        }
        if let Err(error) = self.watch() {
            if watches_used_up(&error)
                && let Ok(polling) = Watcher::polling(&self.dir, &self.dirty)
            {
                *self = polling;
            }
            tracing::warn!(%error, polls = self.polls, "some folders cannot be watched: changes there are noticed within 30 seconds");
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
        // Links in the directory are not followed, but it may be one itself.
        let real = match os::canonicalize(&self.dir) {
            Ok(real) => real,
            Err(_) if self.polls => self.dir.clone(),
            Err(_) => return Ok(()),
        };
        self.watched = Some(real.clone());
        self.inner.watch(&real, RecursiveMode::Recursive)
    }
}

/// Anything but a mere access makes the directory dirty; an error might hide a change. The directory's
/// siblings are none of our business.
fn handler(dir: &Path, dirty: &Arc<Notify>) -> impl FnMut(notify::Result<notify::Event>) + Send + use<> {
    let (dir, dirty) = (dir.to_owned(), Arc::clone(dirty));
    move |event| {
        let is_sibling = |path: &PathBuf| path.parent() == dir.parent() && *path != dir;
        let elsewhere = |paths: &[PathBuf]| !paths.is_empty() && paths.iter().all(is_sibling);
        match &event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
            Ok(event) if !event.need_rescan() && elsewhere(&event.paths) => {}
            Ok(_) | Err(_) => dirty.notify_one(),
        }
    }
}

/// A limit of the system.
fn watches_used_up(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => os::watches_used_up(error),
        _ => false,
    }
}
