//! One `watch` for each ledger: a lock on a file, held as long as the process lives.
//!
//! It guards nothing but that: `apply`, `trigger` and `rerun` work beside a `watch` through the
//! same database, whose transactions keep them apart.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use crate::os;

use super::error::{LedgerError, Result};
use super::files;

const LOCK: &str = "lock";

/// [`WatchLock::holder`] takes the lock for an instant: somebody who wants it looks again.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Released when dropped, and by the kernel when the process ends in any way.
#[derive(Debug)]
pub struct WatchLock {
    _file: File,
}

impl WatchLock {
    /// # Errors
    /// [`LedgerError::Locked`] while another process (or another `WatchLock`) holds it.
    pub fn acquire(dir: &Path) -> Result<WatchLock> {
        files::private_dir(dir)?;
        let path = dir.join(LOCK);
        let mut file = files::private_file(&path)?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(LedgerError::io(&path)(error)),
                Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(LedgerError::Locked {
                        by: describe(&mut file).map_err(LedgerError::io(&path))?,
                    });
                }
            }
        }
        write_pid(&mut file).map_err(LedgerError::io(&path))?;
        Ok(WatchLock { _file: file })
    }

    /// Who holds the lock now, in words; never creates anything. A lock that cannot be looked at
    /// counts as held.
    #[must_use]
    pub fn holder(dir: &Path) -> Option<String> {
        look(&dir.join(LOCK)).unwrap_or_else(|error| Some(format!("somebody ({error})")))
    }
}

fn look(path: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => describe(&mut file).map(Some),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn describe(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    match file.take(64).read_to_string(&mut text) {
        // Windows lets nobody read what another process has locked.
        Err(error) if os::is_locked(&error) => {}
        read => drop(read?),
    }
    Ok(match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        // Its holder has the lock and has not yet written its name, or it cannot be read.
        Err(_) => "another process".to_owned(),
    })
}
