//! The ledger: what was intended before, and what came of it after; one embedded SQLite database
//! for each instance, in a folder that nobody else can read.
//!
//! # Guarantees
//! - Every mutation is one transaction, durable when the call returns (`synchronous=FULL`); a
//!   failed one has written nothing.
//! - A slot's attempt has at most one row, a container at most one intent: the schema holds both,
//!   whichever processes write at once.
//! - A final outcome is never overwritten, save an `unknown` whose run may still be running.
//! - A damaged file, and one of a newer version, is refused. Nothing is repaired or guessed over.
//!
//! # Assumptions
//! - A local file system: SQLite's shared memory and `flock` do not work over every network mount.
//! - Texts of specs arrive masked ([`Ledger::mask`]); the ledger cannot tell a secret from a word.
//!
//! # Caveats
//! - Every call blocks: on the disk, and up to [`BUSY_TIMEOUT`] on another process.
//! - It decides nothing. What a missed slot becomes is the planner's affair; whether a container
//!   may be started after a crash is the launch protocol's.

mod beside;
mod compact;
mod containers;
mod error;
mod files;
mod heartbeat;
mod held;
mod history;
mod jobs;
mod lock;
pub mod logs;
mod pauses;
pub mod point;
mod runs;
mod schema;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};
use sha2::Sha256;

use crate::model::{Gap, ImageRef, JobName, JobRecord, Pulls, Run, Text};
use crate::os;

use error::Fault;
use point::{Side, Tap, Write};
use sql::At;

pub use beside::{Follow, NewAtOnce};
pub use containers::{ContainerRow, ContainerState, NewContainer};
pub use error::{LedgerError, Result};
pub use heartbeat::Heartbeat;
pub use held::{Held, NewHeld};
pub use history::{HistoryQuery, JobFilter};
pub use jobs::JobUpsert;
pub use lock::WatchLock;
pub use runs::{Adopted, Finish, Intended, NewExec, NewIntent, NotRun, Settle, Shared, Terms};

/// How long a call waits for another process's transaction. Ours take milliseconds, so that a
/// longer wait means a stopped process, not a busy one.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A pass runs about thirty statements; with fewer kept, each pass would prepare them anew.
const STATEMENTS_KEPT: usize = 64;

/// A series of short outages must not grow the ledger, and only the newest explain anything.
const GAPS_KEPT: u32 = 100;

/// An open ledger, shared by every task of the process.
pub struct Ledger {
    dir: PathBuf,
    database: PathBuf,
    /// Device and inode of the database: tells the file that is open from one put in its place.
    file: (u64, u64),
    id: String,
    key: files::Key,
    connection: Mutex<Connection>,
    tap: OnceLock<Tap>,
}

/// All that a planner wants to know, as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub jobs: BTreeMap<JobName, JobRecord>,
    /// As [`Ledger::runs_to_plan`].
    pub runs: Vec<Run>,
    pub gaps: Vec<Gap>,
    pub superseded: BTreeSet<String>,
}

/// The folder, and neither key nor content.
impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("dir", &self.dir)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the ledger in `dir` (`<state>/<instance>/`), making folder, key and database at the
    /// first open.
    ///
    /// # Errors
    /// When it is damaged, of a newer version, or cannot be read and written.
    pub fn open(dir: &Path) -> Result<Ledger> {
        files::private_dir(dir)?;
        files::private_dir(&dir.join(files::LOGS))?;
        files::private_dir(&dir.join(files::LAST_GOOD))?;
        let database = dir.join(files::DATABASE);
        // SQLite gives its companions (-wal, -shm) the mode of the database.
        files::empty_database(dir, &database)?;
        let key = files::read_or_make_key(dir)?;
        let connection = connect(&database)?;
        let ledger = Ledger::finish_open(dir, database, key, connection)?;
        files::sync_dir(dir)?;
        Ok(ledger)
    }

    /// Opens an existing ledger, for commands that only read: `None` when there is none yet, and
    /// nothing is ever created.
    ///
    /// # Errors
    /// As [`Ledger::open`]; [`LedgerError::is_permission_denied`] for somebody else's.
    pub fn open_existing(dir: &Path) -> Result<Option<Ledger>> {
        let database = dir.join(files::DATABASE);
        match std::fs::metadata(&database) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::io(&database)(error)),
            Ok(found) if found.len() == 0 => return Ok(None),
            Ok(_) => {}
        }
        // SQLite's own error for a file that may not be opened does not say why.
        let connection = match files::check_access(&database) {
            Err(LedgerError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem =>
            {
                connect_read_only(dir, &database)?
            }
            other => {
                other?;
                connect(&database)?
            }
        };
        if schema::is_blank(&connection).map_err(|fault| fault.at(&database))? {
            return Ok(None);
        }
        let key = files::read_key(dir)?;
        Ledger::finish_open(dir, database, key, connection).map(Some)
    }

    fn finish_open(
        dir: &Path,
        database: PathBuf,
        key: files::Key,
        mut connection: Connection,
    ) -> Result<Ledger> {
        let id = schema::migrate(&mut connection)
            .and_then(|()| check_pages(&connection))
            .and_then(|()| ledger_id(&mut connection))
            .map_err(|fault| fault.at(&database))?;
        let found = std::fs::metadata(&database).map_err(LedgerError::io(&database))?;
        Ok(Ledger {
            dir: dir.to_owned(),
            file: os::file_id(&found),
            database,
            id,
            key,
            connection: Mutex::new(connection),
            tap: OnceLock::new(),
        })
    }

    /// Names this ledger for ever: on the engine's lock volume and on every container.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where `source` keeps the last good text of each manifest.
    #[must_use]
    pub fn last_good_dir(&self) -> PathBuf {
        self.dir.join(files::LAST_GOOD)
    }

    /// A value as it may be stored, shown and compared: itself, or a keyed hash that tells equal
    /// from different and nothing else.
    #[must_use]
    pub fn mask(&self, text: &Text) -> String {
        if !text.is_sensitive() {
            return text.expose().to_owned();
        }
        let mut mac = match <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key) {
            Ok(mac) => mac,
            Err(never) => unreachable!("an HMAC takes a key of any length: {never}"),
        };
        mac.update(text.expose().as_bytes());
        format!("hmac:{}", hex::encode(&mac.finalize().into_bytes()[..8]))
    }

    /// [`Ledger::mask`] for what a container's spec remembers as sensitive.
    pub fn masks(&self) -> impl Fn(&str) -> String + '_ {
        |value| self.mask(&Text::sensitive(value))
    }

    /// The identity of the engine that this ledger belongs to.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn engine(&self) -> Result<Option<String>> {
        self.read(|tx| meta(tx, "engine"))
    }

    /// Binds the ledger to that engine at their first meeting; later the same one is a no-op.
    ///
    /// # Errors
    /// [`LedgerError::OtherEngine`] when it is bound to another.
    pub fn bind_engine(&self, identity: &str) -> Result<()> {
        self.write(Write::BindEngine, |tx| match meta(tx, "engine")? {
            None => set_meta(tx, "engine", identity),
            Some(bound) if bound == identity => Ok(()),
            Some(bound) => Err(LedgerError::OtherEngine {
                bound,
                found: identity.to_owned(),
            }
            .into()),
        })
    }

    /// Binds the ledger to another engine: only when a person says so (`--take-over`).
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn rebind_engine(&self, identity: &str) -> Result<()> {
        self.write(Write::RebindEngine, |tx| set_meta(tx, "engine", identity))
    }

    /// Ledgers that this one took over from.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn superseded(&self) -> Result<BTreeSet<String>> {
        self.read(superseded)
    }

    /// Records that this ledger took over from another; its own id is never superseded.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn supersede(&self, old_ledger: &str) -> Result<()> {
        if old_ledger == self.id {
            return Ok(());
        }
        self.write(Write::Supersede, |tx| {
            tx.execute(
                "INSERT OR IGNORE INTO superseded (ledger) VALUES (?1)",
                [old_ledger],
            )?;
            Ok(())
        })
    }

    /// The directory last applied.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn directory(&self) -> Result<Option<PathBuf>> {
        let text = self.read(|tx| meta(tx, "directory"))?;
        text.map(|text| {
            let bytes = hex::decode(&text).ok();
            bytes
                .and_then(os::path_from_bytes)
                .ok_or_else(|| self.damaged(format!("its directory `{text}` is no path")))
        })
        .transpose()
    }

    /// # Errors
    /// When the database cannot be written.
    pub fn set_directory(&self, dir: &Path) -> Result<()> {
        // A path need not be text.
        let bytes = hex::encode(os::path_bytes(dir));
        self.write(Write::SetDirectory, |tx| set_meta(tx, "directory", &bytes))
    }

    /// When that image was pulled last by us, where we did.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pulled_at(&self, image: &ImageRef) -> Result<Option<Timestamp>> {
        let text = self.read(|tx| meta(tx, &format!("pulled {image}")))?;
        text.map(|text| {
            text.parse()
                .map_err(|error| self.damaged(format!("the last pull of {image}, `{text}`: {error}")))
        })
        .transpose()
    }

    /// When each of these images was pulled last by us; one that never was is left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pulls(&self, images: &BTreeSet<ImageRef>) -> Result<BTreeMap<ImageRef, Pulls>> {
        let texts = self.read(|tx| {
            let mut texts = Vec::new();
            for image in images {
                let succeeded = meta(tx, &format!("pulled {image}"))?;
                texts.push((image, succeeded, meta(tx, &format!("pull failed {image}"))?));
            }
            Ok(texts)
        })?;
        let read = |image: &ImageRef, text: Option<String>| {
            text.map(|text| {
                text.parse::<Timestamp>()
                    .map_err(|error| self.damaged(format!("the last pull of {image}, `{text}`: {error}")))
            })
            .transpose()
        };
        let mut found = BTreeMap::new();
        for (image, succeeded, failed) in texts {
            let pulls = Pulls {
                succeeded: read(image, succeeded)?,
                failed: read(image, failed)?,
            };
            if pulls != Pulls::default() {
                found.insert(image.clone(), pulls);
            }
        }
        Ok(found)
    }

    /// What came of a pull, once it is over.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_pull(&self, image: &ImageRef, at: Timestamp, succeeded: bool) -> Result<()> {
        let word = if succeeded { "pulled" } else { "pull failed" };
        self.write(Write::Pulled, |tx| {
            set_meta(tx, &format!("{word} {image}"), &at.to_string())
        })
    }

    /// Slots were watched up to here.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn heartbeat(&self, at: Timestamp) -> Result<()> {
        self.write(Write::Heartbeat, |tx| set_meta(tx, "last_alive", &at.to_string()))
    }

    /// # Errors
    /// When the database cannot be read.
    pub fn last_alive(&self) -> Result<Option<Timestamp>> {
        self.read(last_alive)
    }

    /// Records a time in which nobody could start anything; the newest 100 are kept.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_gap(&self, gap: Gap) -> Result<()> {
        let Gap { from, to, kind } = gap;
        self.write(Write::NoteGap, |tx| {
            tx.execute(
                "INSERT INTO gaps (from_at, to_at, kind) VALUES (?1, ?2, ?3)",
                (At(from), At(to), kind),
            )?;
            tx.execute(
                "DELETE FROM gaps WHERE seq <= (SELECT max(seq) FROM gaps) - ?1",
                [GAPS_KEPT],
            )?;
            Ok(())
        })
    }

    /// In the order in which they were noted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn gaps(&self) -> Result<Vec<Gap>> {
        self.read(gaps)
    }

    /// Jobs, open runs and the rest as of one moment, so that a process that writes between two
    /// reads cannot make them contradict each other.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.read(|tx| {
            Ok(Snapshot {
                jobs: jobs::all(tx)?,
                runs: history::to_plan(tx)?,
                gaps: gaps(tx)?,
                superseded: superseded(tx)?,
            })
        })
    }

    /// Reads as of one moment, however many statements that takes.
    fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> std::result::Result<T, Fault>) -> Result<T> {
        self.transact(TransactionBehavior::Deferred, work)
    }

    /// Writes all or nothing. The lock is taken first: a transaction that reads and then writes
    /// would otherwise fail where another process wrote in between.
    fn write<T>(
        &self,
        write: Write,
        work: impl FnOnce(&Transaction<'_>) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        self.tell(write, Side::Before);
        self.check_in_place()?;
        let value = self.transact(TransactionBehavior::Immediate, work)?;
        self.tell(write, Side::After);
        Ok(value)
    }

    fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let outcome = (|| {
            let tx = Transaction::new(&mut connection, behavior)?;
            // An error drops the transaction, which rolls it back.
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        })();
        outcome.map_err(|fault: Fault| fault.at(&self.database))
    }

    /// SQLite would go on writing to a deleted file, and nothing of that outlives the process: such
    /// a ledger allows no start.
    fn check_in_place(&self) -> Result<()> {
        match std::fs::metadata(&self.database) {
            Ok(found) if os::file_id(&found) == self.file => Ok(()),
            Ok(_) => Err(self.damaged("it was replaced while it was open".to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(self.damaged("it was deleted while it was open".to_owned()))
            }
            Err(error) => Err(LedgerError::io(&self.database)(error)),
        }
    }

    /// A panic while the lock was held has rolled its transaction back: the connection is sound.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, why: String) -> LedgerError {
        LedgerError::Corrupt {
            path: self.database.clone(),
            why,
        }
    }
}

/// Opens an existing file with every setting that the guarantees rest on.
fn connect(database: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let configure = || {
        let connection = Connection::open_with_flags(database, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        use_wal(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    };
    configure().map_err(|fault: Fault| fault.at(database))
}

/// Opens a ledger on a file system that nobody can write to, such as one that was mounted again after an
/// error of its disk: what is in it can still be read.
fn connect_read_only(dir: &Path, database: &Path) -> Result<Connection> {
    let log = dir.join(format!("{}-wal", files::DATABASE));
    // Without a log there is nothing that could be missed, and SQLite would want to make one.
    let how = match std::fs::metadata(&log) {
        Ok(log) if log.len() > 0 => "mode=ro",
        _ => "immutable=1",
    };
    let path: String = os::address_bytes(database)
        .iter()
        .fold(String::new(), |mut path, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b':' => {
                    path.push(char::from(*byte))
                }
                other => path.push_str(&format!("%{other:02X}")),
            }
            path
        });
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let open = || -> std::result::Result<Connection, Fault> {
        let connection = Connection::open_with_flags(format!("file:{path}?{how}"), flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    open().map_err(|fault| fault.at(database))
}

/// Turning WAL on needs the file for itself, and SQLite answers "busy" at once instead of waiting:
/// two first opens would otherwise fail each other.
fn use_wal(connection: &Connection) -> std::result::Result<(), Fault> {
    let give_up = Instant::now() + BUSY_TIMEOUT;
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match mode {
            Ok(mode) => {
                let mode: String = mode;
                if mode.eq_ignore_ascii_case("wal") {
                    return Ok(());
                }
                let why = format!("the file system allows no write-ahead log (journal mode `{mode}`)");
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
                    Some(why),
                )
                .into());
            }
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < give_up =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Walks every page: a torn one is found now, and not in the night in which it is needed.
fn check_pages(connection: &Connection) -> std::result::Result<(), Fault> {
    let finding: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(finding),
    )
    .into())
}

fn ledger_id(connection: &mut Connection) -> std::result::Result<String, Fault> {
    if let Some(id) = meta(connection, "ledger")? {
        return Ok(id);
    }
    let tx = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let id = match meta(&tx, "ledger")? {
        Some(id) => id,
        None => {
            let id = uuid::Uuid::new_v4().to_string();
            set_meta(&tx, "ledger", &id)?;
            id
        }
    };
    tx.commit()?;
    Ok(id)
}

fn meta(connection: &Connection, key: &str) -> std::result::Result<Option<String>, Fault> {
    Ok(connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?)
}

fn set_meta(connection: &Connection, key: &str, value: &str) -> std::result::Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute([key, value])?;
    Ok(())
}

fn last_alive(tx: &Transaction<'_>) -> std::result::Result<Option<Timestamp>, Fault> {
    let at: Option<At> = tx
        .prepare_cached("SELECT value FROM meta WHERE key = 'last_alive'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(at.map(|At(at)| at))
}

fn superseded(tx: &Transaction<'_>) -> std::result::Result<BTreeSet<String>, Fault> {
    let mut statement = tx.prepare_cached("SELECT ledger FROM superseded")?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

fn gaps(tx: &Transaction<'_>) -> std::result::Result<Vec<Gap>, Fault> {
    let mut statement = tx.prepare_cached("SELECT from_at, to_at, kind FROM gaps ORDER BY seq")?;
    let gaps = statement.query_map([], |row| {
        let (At(from), At(to), kind) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Gap { from, to, kind })
    })?;
    Ok(gaps.collect::<rusqlite::Result<_>>()?)
}
