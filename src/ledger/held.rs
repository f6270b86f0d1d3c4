//! Slots that wait for their turn: behind their job's pointer, and without a record yet.
//!
//! ```text
//! (due) ──hold──> held ──intend──> running
//!           │       └────record──> missed, suspended, …
//!           └─ no place ──> skipped or dropped, in the same transaction
//! ```

use std::collections::BTreeMap;

use rusqlite::Transaction;

use crate::model::{HeldSlot, JobName, JobRecord, Line, Slot};

use super::Ledger;
use super::error::{Fault, Result};
use super::jobs;
use super::point::Write;
use super::runs::{self, NotRun, Settle};
use super::sql::{At, Json};

/// A slot that is to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHeld {
    pub line: Line,
    /// As many slots of the job may wait. Decided here, so that two processes cannot exceed it.
    pub most: u32,
    /// The slot, and what it is recorded as when the line is full.
    pub otherwise: NotRun,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It waits.
    New,
    /// It had its place, or its record, already.
    Known,
    /// There was no place: it is recorded.
    Full,
}

impl Ledger {
    /// Lets a slot wait, and moves the job's pointer over it.
    ///
    /// # Errors
    /// When the ledger knows no such job, or cannot be written.
    pub fn hold(&self, new: &NewHeld, settle: Option<&Settle>) -> Result<Held> {
        let NewHeld {
            line,
            most,
            otherwise,
        } = new;
        let Some(slot) = otherwise.slot else {
            return Ok(Held::Known);
        };
        let job = &otherwise.job;
        self.write(Write::Hold, |tx| {
            let done = if is_held(tx, job, slot)? || runs::has_record(tx, otherwise)? {
                Held::Known
            } else if count(tx, job)? >= *most {
                runs::record(tx, otherwise)?;
                Held::Full
            } else {
                tx.prepare_cached(
                    "INSERT INTO held (job, slot, line, name, origin) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute((job, slot, line, &otherwise.id, Json(&otherwise.origin)))?;
                Held::New
            };
            jobs::move_pointer(tx, settle)?;
            Ok(done)
        })
    }
}

fn is_held(tx: &Transaction<'_>, job: &JobName, slot: Slot) -> std::result::Result<bool, Fault> {
    Ok(tx
        .prepare_cached("SELECT 1 FROM held WHERE job = ?1 AND slot = ?2")?
        .exists((job, slot))?)
}

fn count(tx: &Transaction<'_>, job: &JobName) -> std::result::Result<u32, Fault> {
    Ok(tx
        .prepare_cached("SELECT count(*) FROM held WHERE job = ?1")?
        .query_row([job], |row| row.get(0))?)
}

/// The first slot of the job that waits.
pub(super) fn first(tx: &Transaction<'_>, job: &JobName) -> std::result::Result<Option<Slot>, Fault> {
    Ok(tx
        .prepare_cached("SELECT min(slot) FROM held WHERE job = ?1")?
        .query_row([job], |row| row.get(0))?)
}

/// Slots that have their record now wait no longer.
pub(super) fn release(
    tx: &Transaction<'_>,
    job: &JobName,
    first: Slot,
    last: Slot,
) -> std::result::Result<(), Fault> {
    tx.prepare_cached("DELETE FROM held WHERE job = ?1 AND slot BETWEEN ?2 AND ?3")?
        .execute((job, first, last))?;
    Ok(())
}

/// Slots after that one are due again.
pub(super) fn forget_after(
    tx: &Transaction<'_>,
    job: &JobName,
    slot: Slot,
) -> std::result::Result<(), Fault> {
    tx.prepare_cached("DELETE FROM held WHERE job = ?1 AND slot > ?2")?
        .execute((job, slot))?;
    Ok(())
}

/// Every job's, for `down`: what waited ends as missed.
pub(super) fn miss_all(tx: &Transaction<'_>, reason: &str) -> std::result::Result<(), Fault> {
    let alive = super::last_alive(tx)?;
    let mut rows: Vec<NotRun> = Vec::new();
    {
        let mut statement =
            tx.prepare_cached("SELECT job, slot, name, origin FROM held ORDER BY job, slot")?;
        let found = statement.query_map([], |row| {
            let (job, slot, id, Json(origin)): (JobName, Slot, _, _) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(NotRun {
                id,
                job,
                slot: Some(slot),
                slot_last: None,
                count: None,
                attempt: 0,
                outcome: crate::model::Outcome::Missed,
                reason: reason.to_owned(),
                due_at: slot.at(),
                at: alive.unwrap_or(slot.at()),
                origin,
                trigger: crate::model::RunTrigger::Schedule,
                image: None,
                spec_hash: None,
            })
        })?;
        for row in found {
            rows.push(row?);
        }
    }
    for row in &rows {
        runs::record(tx, row)?;
    }
    Ok(())
}

/// Adds to each job what waits, and the pauses that still explain something.
pub(super) fn add(
    tx: &Transaction<'_>,
    jobs: &mut BTreeMap<JobName, JobRecord>,
) -> std::result::Result<(), Fault> {
    let mut statement = tx.prepare_cached("SELECT job, slot, line FROM held ORDER BY job, slot")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let job: JobName = row.get(0)?;
        if let Some(record) = jobs.get_mut(&job) {
            record.held.push(HeldSlot {
                slot: row.get(1)?,
                line: row.get(2)?,
            });
        }
    }
    let mut statement = tx.prepare_cached(
        "SELECT pauses.job, from_at, until_at, by FROM pauses JOIN jobs ON jobs.name = pauses.job
         WHERE until_at IS NULL OR until_at > jobs.settled ORDER BY pauses.seq",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let job: JobName = row.get(0)?;
        let (At(from), until): (_, Option<At>) = (row.get(1)?, row.get(2)?);
        if let Some(record) = jobs.get_mut(&job) {
            record.pauses.push(crate::model::Pause {
                from,
                until: until.map(|At(until)| until),
                by: row.get(3)?,
            });
        }
    }
    Ok(())
}
