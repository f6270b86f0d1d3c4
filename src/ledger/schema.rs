//! The tables, as a list of migrations. A released migration is never edited, reordered or
//! removed: a change is a new one at the end.
//!
//! Timestamps are texts of fixed width in UTC with nine decimals (`2026-11-23T01:30:00.000000000Z`):
//! they keep what the engine reports to the nanosecond, sort as text and can be read by a person.
//! Slots are whole seconds since the Unix epoch. Enums are the words that `history` shows.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::{Fault, LedgerError};

/// "dsch": tells our database from any other that was put in its place.
const APPLICATION_ID: i64 = 0x6473_6368;

/// `PRAGMA user_version` is the number of migrations that were applied.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
];

/// Whether there is anything in the file yet: its first open may have died before the first
/// migration was committed.
pub(super) fn is_blank(connection: &Connection) -> Result<bool, Fault> {
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    Ok(objects == 0 && version(connection)? == 0)
}

/// Brings the database to this version's format; two processes may try at once.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    if version(connection)? == known() {
        return check_application(connection);
    }
    let tx = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let found = version(&tx)?;
    if found > known() {
        return Err(LedgerError::TooNew {
            found,
            known: known(),
        }
        .into());
    }
    if !is_blank(&tx)? {
        check_application(&tx)?;
    }
    let done = usize::try_from(found).map_err(|_| not_ours())?;
    for migration in &MIGRATIONS[done..] {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", known())?;
    tx.commit()?;
    Ok(())
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn version(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn check_application(connection: &Connection) -> Result<(), Fault> {
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id == APPLICATION_ID {
        Ok(())
    } else {
        Err(not_ours())
    }
}

fn not_ours() -> Fault {
    // Read as damage: a file of somebody else in our place is as little to be written to.
    Fault::Sql(rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
        Some("it is a database, but not a ledger of docker-scheduler".to_owned()),
    ))
}
