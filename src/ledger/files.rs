//! The ledger's folder: who may read it, and the key that masks sensitive values.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::os;

use super::error::{LedgerError, Result};

pub(super) const DATABASE: &str = "ledger.db";
pub(super) const LOGS: &str = "logs";
pub(super) const LAST_GOOD: &str = "last-good";
const KEY: &str = "key";

/// As long as the output of SHA-256: more adds nothing to an HMAC.
pub(super) type Key = [u8; 32];

/// Makes a folder (and its parents) that nobody else can read; an existing one is tightened.
pub(super) fn private_dir(dir: &Path) -> Result<()> {
    os::private_dir(dir).map_err(LedgerError::io(dir))
}

/// Makes a file that nobody else can read, if it is not there; an existing one keeps its content.
pub(super) fn private_file(path: &Path) -> Result<File> {
    os::private_file(path).map_err(LedgerError::io(path))
}

/// Makes an empty database that nobody else can read, if there is none.
///
/// It never opens an existing one: closing any descriptor of a file gives up all locks that this
/// process has on it (POSIX), also those that SQLite rests on in another [`super::Ledger`].
pub(super) fn empty_database(dir: &Path, path: &Path) -> Result<()> {
    if !path.try_exists().map_err(LedgerError::io(path))? {
        let draft = draft_of(dir, DATABASE);
        drop(private_file(&draft)?);
        publish(&draft, path)?;
    }
    os::keep_private(path).map_err(LedgerError::io(path))
}

/// Whether this user may read and write a file, without opening it (see [`empty_database`]).
pub(super) fn check_access(path: &Path) -> Result<()> {
    os::check_access(path).map_err(LedgerError::io(path))
}

fn draft_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.{}", uuid::Uuid::new_v4().simple()))
}

fn publish(draft: &Path, path: &Path) -> Result<()> {
    os::publish(draft, path).map_err(LedgerError::io(path))
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    os::sync_dir(dir).map_err(LedgerError::io(dir))
}

/// The key of an existing ledger.
pub(super) fn read_key(dir: &Path) -> Result<Key> {
    let path = dir.join(KEY);
    let corrupt = |why: &str| LedgerError::Corrupt {
        path: path.clone(),
        why: why.to_owned(),
    };
    match fs::read(&path) {
        Ok(bytes) => Key::try_from(bytes).map_err(|_| corrupt("the key must have 32 bytes")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(corrupt("the key is missing")),
        Err(error) => Err(LedgerError::io(&path)(error)),
    }
}

/// The key, made at the first open. A lost one is made anew: every masked value then differs once
/// from what the ledger recorded, and shows as an edit.
pub(super) fn read_or_make_key(dir: &Path) -> Result<Key> {
    let path = dir.join(KEY);
    if !path.try_exists().map_err(LedgerError::io(&path))? {
        make_key(dir, &path)?;
    }
    read_key(dir)
}

fn make_key(dir: &Path, path: &Path) -> Result<()> {
    let mut key: Key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| LedgerError::io(path)(io::Error::other(error)))?;
    let draft = draft_of(dir, KEY);
    let mut file = private_file(&draft)?;
    file.write_all(&key)
        .and_then(|()| file.sync_all())
        .map_err(LedgerError::io(&draft))?;
    publish(&draft, path)?;
    sync_dir(dir)
}
