//! Bounded growth: what is old and can no longer matter is deleted.
//!
//! A run's row is what keeps its slot from running twice, together with the job's `settled`
//! pointer. So a row goes only when it is over, its container is gone, it is not its job's newest,
//! it lies before the pointer, and it is older than [`RUNS_KEPT_DAYS`], or older than
//! [`CROWD_KEPT_DAYS`] and one of more than [`RUNS_KEPT_PER_JOB`] of its job (a job that runs each
//! second would otherwise keep 34 million rows).
//!
//! The caller keeps this from running on a clock that is not to be trusted.

use std::fs;
use std::io;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Transaction};

use crate::model::RunId;

use super::Ledger;
use super::error::{Fault, LedgerError, Result};
use super::point::Write;
use super::sql::At;

/// A year, and the month in which last year's runs are compared with this year's.
const RUNS_KEPT_DAYS: i64 = 400;
/// A job every five minutes keeps a year.
const RUNS_KEPT_PER_JOB: u32 = 100_000;
const CROWD_KEPT_DAYS: i64 = 7;
/// A create request that was given up on may be carried out by the engine minutes later; its nonce
/// must be known then.
const DISCARDED_KEPT_DAYS: i64 = 30;
/// Rows deleted in one transaction, so that no start waits for a long one.
const BATCH: usize = 1000;

/// After that long an `unknown` run that nobody looked at is settled by nothing any more.
const HOLD_KEPT_DAYS: i64 = 30;

impl Ledger {
    /// Deletes what is old, with the logs of deleted runs, and returns how many runs went.
    ///
    /// # Errors
    /// When the database cannot be written, or a log cannot be removed.
    pub fn compact(&self, at: Timestamp) -> Result<usize> {
        self.compact_to(at, RUNS_KEPT_PER_JOB)
    }

    pub(super) fn compact_to(&self, at: Timestamp, kept_per_job: u32) -> Result<usize> {
        let mut deleted = 0;
        self.write(Write::Compact, |tx| release_old_holds(tx, at))?;
        self.write(Write::Compact, |tx| {
            super::pauses::forget_ended(tx, days_before(at, CROWD_KEPT_DAYS))
        })?;
        for job in self.read(|tx| strings(tx, "SELECT DISTINCT job FROM runs"))? {
            let before = self.read(|tx| cutoff(tx, &job, at, kept_per_job))?;
            loop {
                let batch = self.write(Write::Compact, |tx| delete_runs(tx, &job, before))?;
                // A crash here leaves logs that nothing names: they are only space.
                for run in &batch {
                    self.remove_log(run)?;
                }
                deleted += batch.len();
                if batch.len() < BATCH {
                    break;
                }
            }
        }
        self.write(Write::Compact, |tx| delete_orphans(tx, at))?;
        self.checkpoint()?;
        Ok(deleted)
    }

    fn remove_log(&self, run: &RunId) -> Result<()> {
        let path = self.log_path(run);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LedgerError::io(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Writes the log back into the database and empties it. While another process reads, SQLite
    /// does what it can and says so in a row that nothing depends on.
    fn checkpoint(&self) -> Result<()> {
        self.lock()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|error| Fault::from(error).at(&self.database))
    }
}

fn days_before(at: Timestamp, days: i64) -> Timestamp {
    at.checked_sub(SignedDuration::from_hours(24 * days))
        .unwrap_or(Timestamp::MIN)
}

fn release_old_holds(tx: &Transaction<'_>, at: Timestamp) -> std::result::Result<(), Fault> {
    tx.execute(
        "UPDATE runs SET held_until = NULL WHERE held_until < ?1",
        [At(days_before(at, HOLD_KEPT_DAYS))],
    )?;
    Ok(())
}

/// Rows of the job that were due before this are too old, or too many.
fn cutoff(
    tx: &Transaction<'_>,
    job: &str,
    at: Timestamp,
    kept_per_job: u32,
) -> std::result::Result<Timestamp, Fault> {
    let oldest_of_crowd: Option<At> = tx
        .prepare_cached(
            "SELECT last_due_at FROM runs WHERE job = ?1 ORDER BY last_due_at DESC, seq DESC LIMIT 1 OFFSET ?2",
        )?
        .query_row((job, kept_per_job - 1), |row| row.get(0))
        .optional()?;
    let too_old = days_before(at, RUNS_KEPT_DAYS);
    Ok(oldest_of_crowd.map_or(too_old, |At(crowd)| {
        crowd.min(days_before(at, CROWD_KEPT_DAYS)).max(too_old)
    }))
}

fn delete_runs(tx: &Transaction<'_>, job: &str, before: Timestamp) -> std::result::Result<Vec<RunId>, Fault> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM runs WHERE seq IN (
             SELECT seq FROM runs
             WHERE job = ?1 AND last_due_at < ?2
               AND last_due_at < coalesce((SELECT settled FROM jobs WHERE name = ?1), ?2)
               AND outcome IS NOT NULL AND held_until IS NULL AND retry_at IS NULL
               AND (container IS NULL OR container_gone = 1)
               AND seq <> (SELECT seq FROM runs WHERE job = ?1 ORDER BY last_due_at DESC, seq DESC LIMIT 1)
             ORDER BY last_due_at LIMIT ?3)
         RETURNING id",
    )?;
    let batch = u32::try_from(BATCH).unwrap_or(u32::MAX);
    let ids = statement.query_map((job, At(before), batch), |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Containers whose run is gone or that were discarded long ago, the specs that no container names,
/// and removed jobs without any of these.
fn delete_orphans(tx: &Transaction<'_>, at: Timestamp) -> std::result::Result<(), Fault> {
    tx.execute(
        "DELETE FROM containers WHERE at < ?1 AND state IN ('discarded', 'intended')
             AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.nonce = containers.nonce)",
        [At(days_before(at, DISCARDED_KEPT_DAYS))],
    )?;
    tx.execute(
        "DELETE FROM specs WHERE NOT EXISTS (SELECT 1 FROM containers WHERE containers.spec = specs.id)",
        [],
    )?;
    tx.execute(
        "DELETE FROM jobs WHERE removed_at < ?1
             AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.job = jobs.name AND runs.last_due_at >= ?1)
             AND NOT EXISTS (SELECT 1 FROM containers WHERE containers.job = jobs.name
                             AND state IN ('creating', 'armed'))",
        [At(days_before(at, RUNS_KEPT_DAYS))],
    )?;
    Ok(())
}

fn strings(tx: &Transaction<'_>, sql: &str) -> std::result::Result<Vec<String>, Fault> {
    let mut statement = tx.prepare_cached(sql)?;
    let texts = statement.query_map([], |row| row.get(0))?;
    Ok(texts.collect::<rusqlite::Result<_>>()?)
}
