//! Pauses: a person's word that a job is not to start for a while. It is the operator's doing and
//! survives restarts and edits.

use jiff::Timestamp;
use rusqlite::Transaction;

use crate::model::{JobName, Pause};

use super::Ledger;
use super::error::{Fault, LedgerError, Result};
use super::point::Write;
use super::sql::{At, at};

impl Ledger {
    /// From now on the job's slots are suspended. A pause that is in force ends with this one's
    /// beginning: the newest word counts.
    ///
    /// # Errors
    /// When the ledger knows no such job.
    pub fn pause(&self, job: &JobName, pause: &Pause) -> Result<()> {
        let Pause { from, until, by } = pause;
        self.write(Write::Pause, |tx| {
            let known = tx
                .prepare_cached("SELECT 1 FROM jobs WHERE name = ?1")?
                .exists([job])?;
            if !known {
                return Err(LedgerError::NoSuchJob(job.to_string()).into());
            }
            end(tx, job, *from)?;
            tx.prepare_cached("INSERT INTO pauses (job, from_at, until_at, by) VALUES (?1, ?2, ?3, ?4)")?
                .execute((job, At(*from), at(*until), by))?;
            Ok(())
        })
    }

    /// The job's pause ends. `false` when it is not paused.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn resume(&self, job: &JobName, now: Timestamp) -> Result<bool> {
        self.write(Write::Resume, |tx| end(tx, job, now))
    }
}

/// Whether the job is paused at that moment.
pub(super) fn in_force(
    tx: &Transaction<'_>,
    job: &JobName,
    now: Timestamp,
) -> std::result::Result<bool, Fault> {
    Ok(tx
        .prepare_cached(
            "SELECT 1 FROM pauses WHERE job = ?1 AND from_at <= ?2 AND (until_at IS NULL OR until_at > ?2)",
        )?
        .exists((job, At(now)))?)
}

fn end(tx: &Transaction<'_>, job: &JobName, now: Timestamp) -> std::result::Result<bool, Fault> {
    let ended = tx
        .prepare_cached(
            "UPDATE pauses SET until_at = ?2 WHERE job = ?1 AND (until_at IS NULL OR until_at > ?2)",
        )?
        .execute((job, At(now)))?;
    Ok(ended > 0)
}

/// Pauses that ended before everything that is still to be recorded of their job.
pub(super) fn forget_ended(tx: &Transaction<'_>, before: Timestamp) -> std::result::Result<(), Fault> {
    tx.execute(
        "DELETE FROM pauses WHERE until_at < ?1
             AND until_at < coalesce((SELECT settled FROM jobs WHERE name = pauses.job), until_at || '~')",
        [At(before)],
    )?;
    Ok(())
}
