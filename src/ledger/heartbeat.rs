//! A small file in which `watch` says how it is, for whoever asks without opening the database: a
//! container's health check, a monitor.
//!
//! It is a sign and no record: nothing is decided by it, it is not made durable, and the next one
//! replaces it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::os;

use super::error::{LedgerError, Result};

const FILE: &str = "heartbeat";

/// How a `watch` was when it last said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// By the wall clock, for people.
    pub at: Timestamp,
    /// The boot that `boottime` counts from; empty where the system does not say.
    pub boot_id: String,
    /// Since boot, suspend included: a wall clock that is set makes no heartbeat older.
    pub boottime: Duration,
    pub jobs: usize,
    /// What keeps jobs from being started, and since when.
    pub trouble: Option<(Timestamp, String)>,
}

impl Heartbeat {
    /// Replaces the heartbeat in the ledger's folder.
    ///
    /// # Errors
    /// When it cannot be written; the former one is then still there.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        // One name is enough: there is one `watch` for each folder.
        let draft = dir.join(format!("{FILE}.new"));
        let text = serde_json::to_vec(self).map_err(io::Error::from);
        text.and_then(|text| {
            let mut file = os::draft(&draft)?;
            file.write_all(&text)
        })
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(LedgerError::io(&path))
    }

    /// The newest heartbeat; `None` when there was never one.
    ///
    /// # Errors
    /// When it cannot be read, or is none of this version.
    pub fn read(dir: &Path) -> Result<Option<Heartbeat>> {
        let path = dir.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(LedgerError::io(&path))?,
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| LedgerError::io(&path)(error.into()))
    }

    /// Takes away what a former `watch` left.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn forget(dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LedgerError::io(&path)(error)),
            _ => Ok(()),
        }
    }

    /// How long ago it was written, `now` being this machine's clocks: boot, time since then, wall clock.
    /// `None`: another boot wrote it, so nobody lives who could have.
    #[must_use]
    pub fn age(&self, boot_id: &str, boottime: Duration, wall: Timestamp) -> Option<Duration> {
        if self.boot_id.is_empty() || boot_id.is_empty() {
            return Some(Duration::try_from(wall.duration_since(self.at)).unwrap_or_default());
        }
        (self.boot_id == boot_id).then(|| boottime.saturating_sub(self.boottime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat() -> Heartbeat {
        Heartbeat {
            at: "2026-11-23T01:30:00Z".parse().unwrap(),
            boot_id: "a".into(),
            boottime: Duration::from_secs(100),
            jobs: 2,
            trouble: Some(("2026-11-23T01:29:00Z".parse().unwrap(), "away".into())),
        }
    }

    #[test]
    fn it_is_read_as_written_and_the_next_one_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Heartbeat::read(folder.path()).unwrap(), None);
        let first = heartbeat();
        first.write(folder.path()).unwrap();
        let second = Heartbeat {
            trouble: None,
            ..first
        };
        second.write(folder.path()).unwrap();
        assert_eq!(Heartbeat::read(folder.path()).unwrap(), Some(second));
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Heartbeat::read(folder.path()).is_err());
        Heartbeat::forget(folder.path()).unwrap();
        Heartbeat::forget(folder.path()).unwrap();
        assert_eq!(Heartbeat::read(folder.path()).unwrap(), None);
    }

    #[test]
    fn its_age_is_not_the_wall_clocks_affair() {
        let heartbeat = heartbeat();
        let wall = "2030-01-01T00:00:00Z".parse().unwrap();
        let age = |boot: &str| heartbeat.age(boot, Duration::from_secs(107), wall);
        assert_eq!(age("a"), Some(Duration::from_secs(7)));
        assert_eq!(age("b"), None, "another boot");
        assert!(age("") > Some(Duration::from_hours(24)), "no better clock");
    }
}
