//! What the ledger keeps of each job: its last declared form, since when its schedule counts, and
//! up to where its slots are accounted for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};

use crate::model::{
    ArmFailure, ArmedRecord, ContainerName, JobName, JobRecord, Origin, Policy, Reason, Slot, Triggers,
};

use super::error::{Fault, LedgerError, Result};
use super::point::Write;
use super::runs::Settle;
use super::sql::{At, Json};
use super::{Ledger, held};

/// A declared job, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobUpsert {
    pub name: JobName,
    pub origin: Origin,
    /// Canonical YAML with sensitive values masked.
    pub canonical: String,
    pub triggers: Triggers,
    pub policy: Policy,
    pub spec_hash: String,
    /// Slots up to here do not exist for this job.
    pub baseline: Timestamp,
}

impl Ledger {
    /// Every job that was ever declared, removed ones (flagged) as long as they have history.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn jobs(&self) -> Result<BTreeMap<JobName, JobRecord>> {
        self.read(all)
    }

    /// Records a job as declared now. A removed one is back; a new baseline is also where `settled`
    /// begins (which may be behind the old one, after a clock that went back: what has a record is
    /// found in `recorded_ahead`), and the failure to arm an older spec is forgotten.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn upsert_job(&self, record: &JobUpsert) -> Result<()> {
        let JobUpsert {
            name,
            origin,
            canonical,
            triggers,
            policy,
            spec_hash,
            baseline,
        } = record;
        self.write(Write::UpsertJob, |tx| {
            let failed_spec: Option<Option<String>> = tx
                .prepare_cached("SELECT arm_spec_hash FROM jobs WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()?;
            tx.prepare_cached(
                "INSERT INTO jobs (name, origin, canonical, triggers, policy, spec_hash, baseline, settled)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
                 ON CONFLICT (name) DO UPDATE SET
                     origin = excluded.origin, canonical = excluded.canonical,
                     triggers = excluded.triggers, policy = excluded.policy,
                     spec_hash = excluded.spec_hash, baseline = excluded.baseline,
                     settled = iif(baseline <> excluded.baseline OR removed_at IS NOT NULL,
                                   excluded.baseline, settled),
                     removed_at = NULL",
            )?
            .execute((
                name,
                Json(origin),
                canonical,
                Json(triggers),
                Json(policy),
                spec_hash,
                At(*baseline),
            ))?;
            if failed_spec.flatten().is_some_and(|failed| failed != *spec_hash) {
                clear_arm_failure(tx, name)?;
            }
            Ok(())
        })
    }

    /// The job is no longer declared; its history stays.
    ///
    /// # Errors
    /// When the ledger knows no such job.
    pub fn remove_job(&self, name: &JobName, at: Timestamp) -> Result<()> {
        self.write(Write::RemoveJob, |tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE jobs SET removed_at = coalesce(removed_at, ?2), arm_failed_at = NULL, arm_retry_at = NULL,
                         arm_attempts = NULL, arm_detail = NULL, arm_spec_hash = NULL
                     WHERE name = ?1",
                )?
                .execute((name, At(at)))?;
            tx.prepare_cached("UPDATE runs SET retry_at = NULL WHERE job = ?1 AND retry_at IS NOT NULL")?
                .execute([name])?;
            known(name, changed)
        })
    }

    /// For `down`: every job counts as removed, so that its next sight is a first sight and starts
    /// nothing of the time between; what waited for its turn ends as missed. History stays.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_baselines(&self) -> Result<()> {
        self.write(Write::ForgetBaselines, |tx| {
            held::miss_all(tx, &Reason::Removed.to_string())?;
            tx.execute("UPDATE runs SET retry_at = NULL WHERE retry_at IS NOT NULL", [])?;
            tx.execute(
                "UPDATE jobs SET removed_at = coalesce(removed_at, settled), arm_failed_at = NULL, arm_retry_at = NULL,
                     arm_attempts = NULL, arm_detail = NULL, arm_spec_hash = NULL",
                [],
            )?;
            Ok(())
        })
    }

    /// Every slot after the baseline and up to `until` has its record. The pointer may move
    /// backwards: whether a clock that jumped back asks for that is the caller's decision.
    ///
    /// # Errors
    /// When the ledger knows no such job.
    pub fn settle(&self, job: &JobName, until: Timestamp) -> Result<()> {
        self.write(Write::Settle, |tx| settle(tx, job, until))
    }

    /// # Errors
    /// When the ledger knows no such job.
    pub fn arm_failed(&self, job: &JobName, failure: &ArmFailure) -> Result<()> {
        let ArmFailure {
            at,
            retry_at,
            attempts,
            detail,
            spec_hash,
        } = failure;
        self.write(Write::ArmFailed, |tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE jobs SET arm_failed_at = ?2, arm_retry_at = ?3, arm_attempts = ?4, arm_detail = ?5,
                         arm_spec_hash = ?6
                     WHERE name = ?1",
                )?
                .execute((job, At(*at), At(*retry_at), attempts, detail, spec_hash))?;
            known(job, changed)
        })
    }

    /// Forgets the last failure; a job that had none is not written.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn arm_succeeded(&self, job: &JobName) -> Result<()> {
        self.write(Write::ArmSucceeded, |tx| clear_arm_failure(tx, job))
    }
}

pub(super) fn settle(
    tx: &Transaction<'_>,
    job: &JobName,
    until: Timestamp,
) -> std::result::Result<(), Fault> {
    let changed = tx
        .prepare_cached("UPDATE jobs SET settled = ?2 WHERE name = ?1")?
        .execute((job, At(until)))?;
    known(job, changed)
}

pub(super) fn settled(tx: &Transaction<'_>, job: &JobName) -> std::result::Result<Timestamp, Fault> {
    let settled: Option<At> = tx
        .prepare_cached("SELECT settled FROM jobs WHERE name = ?1")?
        .query_row([job], |row| row.get(0))
        .optional()?;
    let At(settled) = settled.ok_or_else(|| LedgerError::NoSuchJob(job.to_string()))?;
    Ok(settled)
}

/// That slot has no record any more: the pointer goes back to before it. Later slots that have one
/// are found there again as `recorded_ahead`.
pub(super) fn unsettle(tx: &Transaction<'_>, job: &JobName, slot: Slot) -> std::result::Result<(), Fault> {
    let before = Slot::from_second(slot.as_second() - 1).at();
    tx.prepare_cached("UPDATE jobs SET settled = min(settled, ?2) WHERE name = ?1")?
        .execute((job, At(before)))?;
    tx.prepare_cached("INSERT INTO given_back (job, slot) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((job, slot))?;
    Ok(())
}

/// Moves a job's pointer as a pass planned it, unless a slot has been given back since.
pub(super) fn move_pointer(tx: &Transaction<'_>, plan: Option<&Settle>) -> std::result::Result<(), Fault> {
    let Some(Settle {
        job,
        planned_from,
        until,
    }) = plan
    else {
        return Ok(());
    };
    let from = settled(tx, job)?;
    if from < *planned_from || has_given_back(tx, job, from, *until)? {
        return Ok(());
    }
    settle(tx, job, *until)?;
    tx.prepare_cached("DELETE FROM given_back WHERE job = ?1 AND slot <= ?2")?
        .execute((job, until.as_second()))?;
    Ok(())
}

/// Whether a slot between two places of the pointer was given back and is not decided again.
fn has_given_back(
    tx: &Transaction<'_>,
    job: &JobName,
    from: Timestamp,
    until: Timestamp,
) -> std::result::Result<bool, Fault> {
    Ok(tx
        .prepare_cached(
            "SELECT 1 FROM given_back AS given WHERE job = ?1 AND slot > ?2 AND slot <= ?3
             AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.job = given.job
                             AND given.slot BETWEEN runs.slot AND coalesce(runs.slot_last, runs.slot))
             AND NOT EXISTS (SELECT 1 FROM held WHERE held.job = given.job AND held.slot = given.slot)",
        )?
        .exists((job, from.as_second(), until.as_second()))?)
}

fn clear_arm_failure(tx: &Transaction<'_>, job: &JobName) -> std::result::Result<(), Fault> {
    tx.prepare_cached(
        "UPDATE jobs SET arm_failed_at = NULL, arm_retry_at = NULL, arm_attempts = NULL, arm_detail = NULL,
             arm_spec_hash = NULL
         WHERE name = ?1 AND arm_failed_at IS NOT NULL",
    )?
    .execute([job])?;
    Ok(())
}

fn known(job: &JobName, changed: usize) -> std::result::Result<(), Fault> {
    if changed == 0 {
        return Err(LedgerError::NoSuchJob(job.to_string()).into());
    }
    Ok(())
}

pub(super) fn all(tx: &Transaction<'_>) -> std::result::Result<BTreeMap<JobName, JobRecord>, Fault> {
    let mut jobs = BTreeMap::new();
    let mut statement = tx.prepare_cached(
        "SELECT name, origin, canonical, triggers, policy, spec_hash, baseline, settled, removed_at,
                arm_failed_at, arm_retry_at, arm_attempts, arm_detail, arm_spec_hash
         FROM jobs",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let record = record_of(row)?;
        jobs.insert(record.name.clone(), record);
    }
    add_armed(tx, &mut jobs)?;
    add_recorded_ahead(tx, &mut jobs)?;
    held::add(tx, &mut jobs)?;
    Ok(jobs)
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    let (Json(origin), Json(triggers), Json(policy)) = (row.get(1)?, row.get(3)?, row.get(4)?);
    let (At(baseline), At(settled)) = (row.get(6)?, row.get(7)?);
    Ok(JobRecord {
        name: row.get(0)?,
        origin,
        canonical: row.get(2)?,
        triggers,
        policy,
        spec_hash: row.get(5)?,
        baseline,
        settled,
        recorded_ahead: BTreeSet::new(),
        held: Vec::new(),
        pauses: Vec::new(),
        arm_failure: arm_failure_of(row)?,
        armed: BTreeMap::new(),
        removed: row.get::<_, Option<At>>(8)?.is_some(),
    })
}

fn arm_failure_of(row: &Row<'_>) -> rusqlite::Result<Option<ArmFailure>> {
    let Some(At(at)) = row.get(9)? else {
        return Ok(None);
    };
    let At(retry_at) = row.get(10)?;
    Ok(Some(ArmFailure {
        at,
        retry_at,
        attempts: row.get(11)?,
        detail: row.get(12)?,
        spec_hash: row.get(13)?,
    }))
}

/// One name may stand for two rows: a create that was never answered, and the one that came after.
/// The container that is known to exist goes before the one that is not.
fn add_armed(
    tx: &Transaction<'_>,
    jobs: &mut BTreeMap<JobName, JobRecord>,
) -> std::result::Result<(), Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT job, name, nonce, slot, container, spec_hash, image_id FROM containers
         WHERE state IN ('creating', 'armed') ORDER BY state = 'armed', at, nonce",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let job: JobName = row.get(0)?;
        let name: ContainerName = row.get(1)?;
        let armed = ArmedRecord {
            nonce: row.get(2)?,
            slot: row.get(3)?,
            container: row.get(4)?,
            spec_hash: row.get(5)?,
            image_id: row.get(6)?,
        };
        if let Some(record) = jobs.get_mut(&job) {
            record.armed.insert(name, armed);
        }
    }
    Ok(())
}

/// Slots after `settled` that have a row; of a collapsed series its first and its last.
fn add_recorded_ahead(
    tx: &Transaction<'_>,
    jobs: &mut BTreeMap<JobName, JobRecord>,
) -> std::result::Result<(), Fault> {
    let mut single = tx.prepare_cached("SELECT slot FROM runs WHERE job = ?1 AND slot > ?2")?;
    let mut series =
        tx.prepare_cached("SELECT slot, slot_last FROM runs WHERE job = ?1 AND slot_last > ?2")?;
    for (name, record) in jobs {
        let settled = record.settled;
        // Cut towards zero, so before 1970 the second itself may be later: the filter below sees to it.
        let second = settled.as_second().saturating_sub(1);
        let mut rows = single.query((name, second))?;
        while let Some(row) = rows.next()? {
            record.recorded_ahead.insert(row.get(0)?);
        }
        let mut rows = series.query((name, second))?;
        while let Some(row) = rows.next()? {
            record.recorded_ahead.insert(row.get(0)?);
            record.recorded_ahead.insert(row.get(1)?);
        }
        record.recorded_ahead.retain(|slot: &Slot| slot.at() > settled);
    }
    Ok(())
}
