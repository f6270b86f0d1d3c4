//! What can go wrong with the ledger, in its own words. Hints and exit codes are added by `cli`.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::os;

/// Reads after "failed to …: ". Whatever it is, nothing of the failed call was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another process holds the watch lock.
    #[error("another scheduler is running on this ledger: {by}")]
    Locked { by: String },
    /// Another process kept the database locked for longer than [`super::BUSY_TIMEOUT`].
    #[error("the ledger was locked by another process for more than 10s")]
    Busy,
    /// The file is damaged, or holds something that no version of ours wrote. It is never
    /// repaired or guessed over.
    #[error("the ledger `{}` is damaged: {why}", path.display())]
    Corrupt { path: PathBuf, why: String },
    #[error(
        "the ledger has format {found}, this version knows formats up to {known}: a newer version wrote it"
    )]
    TooNew { found: i64, known: i64 },
    /// The disk (or its quota) is full.
    #[error("no space left for the ledger: {0}")]
    Full(String),
    #[error("`{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A run that no row tells of.
    #[error("the ledger knows no run `{0}`")]
    NoSuchRun(String),
    /// A job that no row tells of.
    #[error("the ledger knows no job `{0}`")]
    NoSuchJob(String),
    /// A container that must not be started, or not be handled this way.
    #[error("the container with nonce `{nonce}` cannot be used: {why}")]
    NotUsable { nonce: String, why: String },
    /// The ledger belongs to another engine.
    #[error("this ledger belongs to the engine `{bound}`, not to `{found}`")]
    OtherEngine { bound: String, found: String },
    #[error("the ledger's database: {0}")]
    Sql(#[source] rusqlite::Error),
}

pub type Result<T> = std::result::Result<T, LedgerError>;

impl LedgerError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                LedgerError::Full(format!("`{}`: {source}", path.display()))
            }
            _ => LedgerError::Io { path, source },
        }
    }

    pub(super) fn not_usable(nonce: &str, why: impl Into<String>) -> LedgerError {
        LedgerError::NotUsable {
            nonce: nonce.to_owned(),
            why: why.into(),
        }
    }

    /// Whether this user may not read the ledger (a user's `plan` beside root's `watch`).
    #[must_use]
    pub fn is_permission_denied(&self) -> bool {
        match self {
            LedgerError::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ),
            LedgerError::Sql(error) => error.sqlite_error_code() == Some(ErrorCode::ReadOnly),
            _ => false,
        }
    }
}

/// A failure inside a transaction, where the database's path is not at hand.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Ledger(LedgerError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sql(error)
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Fault {
        Fault::Ledger(error)
    }
}

impl Fault {
    pub(super) fn at(self, path: &Path) -> LedgerError {
        match self {
            Fault::Ledger(error) => error,
            Fault::Sql(error) => from_sql(error, path),
        }
    }
}

/// What the file system itself says, where that explains a refusal.
fn of_file_system(path: &Path) -> Option<LedgerError> {
    let folder = path.parent()?;
    let found = os::space(folder)?;
    if found.is_read_only {
        let source = io::ErrorKind::ReadOnlyFilesystem.into();
        let path = path.to_owned();
        return Some(LedgerError::Io { path, source });
    }
    let full = found.free_bytes == 0 || found.free_files == Some(0);
    full.then(|| LedgerError::Full(format!("the file system of `{}` is full", folder.display())))
}

fn from_sql(error: rusqlite::Error, path: &Path) -> LedgerError {
    let corrupt = |why: String| LedgerError::Corrupt {
        path: path.to_owned(),
        why,
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => return corrupt(error.to_string()),
        Some(ErrorCode::DiskFull) => return LedgerError::Full(error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => return LedgerError::Busy,
        // SQLite says "disk I/O error" or "unable to open" of whatever the system refused.
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            if let Some(plain) = of_file_system(path) {
                return plain;
            }
        }
        _ => {}
    }
    match error {
        // A value that this version never writes.
        rusqlite::Error::FromSqlConversionFailure(column, _, why) => {
            corrupt(format!("a value in column {column} cannot be read: {why}"))
        }
        rusqlite::Error::InvalidColumnType(_, name, found) => {
            corrupt(format!("column `{name}` holds a value of type {found}"))
        }
        other => LedgerError::Sql(other),
    }
}
