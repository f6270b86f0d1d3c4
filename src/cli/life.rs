//! The signs of life of a `watch`: a heartbeat for `health`, and what systemd wants to hear from a
//! service of `Type=notify`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::apply::owner;
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::{Heartbeat, LedgerError};
use crate::watch::{Sign, Signs, Trouble};

use super::error::CommandError;
use super::words::{counted, local};

/// How often the heartbeat is written when nothing has changed.
const BEAT: Duration = Duration::from_secs(5);

/// What was last told, and to whom.
pub struct Life {
    dir: PathBuf,
    boot_id: String,
    last: Option<Told>,
    /// Whether the last heartbeat could not be written: that is said once.
    mute: bool,
    ready: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    boottime: Duration,
    jobs: usize,
    trouble: Option<Trouble>,
}

impl Life {
    /// `dir` is the ledger's.
    ///
    /// # Errors
    /// When a former heartbeat cannot be taken away.
    pub fn new(dir: &Path) -> Result<Life, LedgerError> {
        Heartbeat::forget(dir)?;
        Ok(Life {
            dir: dir.to_owned(),
            boot_id: owner::boot_id(),
            last: None,
            mute: false,
            ready: false,
        })
    }

    /// The engine is not up yet. That is a way of running, and no reason for systemd to give up.
    pub fn waits(&mut self, now: Timestamp, error: &CommandError) {
        let since = (self.last.as_ref())
            .and_then(|told| told.trouble.as_ref())
            .map_or(now, |trouble| trouble.since);
        let why = std::iter::once(error.message())
            .chain(error.causes().iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(": ");
        self.turned(0, Some(&Trouble { since, why }));
    }

    /// For the loop.
    pub fn signs(mut self) -> Signs {
        Box::new(move |sign| match sign {
            Sign::Turned { jobs, trouble } => self.turned(jobs, trouble),
            Sign::Stopping => systemd::stopping(),
        })
    }

    fn turned(&mut self, jobs: usize, trouble: Option<&Trouble>) {
        let told = Told {
            boottime: SystemClock.boottime(),
            jobs,
            trouble: trouble.cloned(),
        };
        let news = self
            .last
            .as_ref()
            .is_none_or(|last| (last.jobs, &last.trouble) != (told.jobs, &told.trouble));
        let due = (self.last.as_ref()).is_none_or(|last| told.boottime.saturating_sub(last.boottime) >= BEAT);
        if !news && !due {
            return;
        }
        self.write(&told);
        systemd::alive(news.then(|| status(&told)).as_deref(), !self.ready);
        self.ready = true;
        self.last = Some(told);
    }

    fn write(&mut self, told: &Told) {
        let heartbeat = Heartbeat {
            at: SystemClock.now(),
            boot_id: self.boot_id.clone(),
            boottime: told.boottime,
            jobs: told.jobs,
            trouble: (told.trouble.as_ref()).map(|trouble| (trouble.since, trouble.why.clone())),
        };
        match heartbeat.write(&self.dir) {
            Ok(()) => self.mute = false,
            Err(error) if !self.mute => {
                tracing::warn!("`health` cannot be told how this watch is: {error}");
                self.mute = true;
            }
            Err(_) => {}
        }
    }
}

/// For `systemctl status`.
fn status(told: &Told) -> String {
    match &told.trouble {
        None => format!("{} watched", counted(told.jobs, "job")),
        Some(trouble) => {
            let since = local(trouble.since, &jiff::tz::TimeZone::system());
            format!("nothing is started since {since}: {}", trouble.why)
        }
    }
}

/// Does nothing without systemd. A socket that nobody reads is systemd's affair.
#[cfg(unix)]
mod systemd {
    use sd_notify::NotifyState;

    pub(super) fn alive(status: Option<&str>, is_first: bool) {
        let mut states = vec![NotifyState::Watchdog];
        states.extend(status.map(NotifyState::Status));
        states.extend(is_first.then_some(NotifyState::Ready));
        notify(&states);
    }

    pub(super) fn stopping() {
        notify(&[NotifyState::Stopping]);
    }

    fn notify(states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!("cannot tell systemd: {error}");
        }
    }
}

/// There is none.
#[cfg(not(unix))]
mod systemd {
    pub(super) fn alive(_status: Option<&str>, _is_first: bool) {}

    pub(super) fn stopping() {}
}
