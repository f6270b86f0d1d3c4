//! What is written about a run: the intent before its start request, and how it ended.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Params, Transaction};

use crate::model::{Before, Cap, Intent, JobName, Origin, Outcome, Run, RunId, RunTrigger, Slot};

use super::containers::{self, ContainerRow, ContainerState, NewContainer};
use super::error::{Fault, LedgerError, Result};
use super::history::{self, COLUMNS, run_of};
use super::point::Write;
use super::sql::{At, Json, at, count};
use super::{Ledger, held, jobs, pauses};

/// A start that is about to be requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIntent {
    pub nonce: String,
    /// Full ID.
    pub container: String,
    pub due_at: Timestamp,
    pub intent: Intent,
    pub terms: Terms,
    /// Of a reused container, which is not named after its run.
    pub shared: Option<Shared>,
}

/// On which terms a start may be requested. Decided in the same transaction as the intent, so that two
/// processes cannot both find the job free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Not while another run of the job is active, or another attempt of one is to come.
    pub exclusive: bool,
    /// Limits on what runs at once.
    pub caps: Vec<Cap>,
    /// The group whose limit it counts for.
    pub group: Option<String>,
    /// Where the job's pointer moves to; `None` for what lies behind it: a slot that has waited, a
    /// further attempt, a manual run.
    pub settle: Option<Settle>,
}

/// The run of a container that is started again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    pub id: RunId,
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub trigger: RunTrigger,
    pub origin: Origin,
    pub before: Before,
}

/// A command that is about to be run in somebody else's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExec {
    /// What stands for the container that a run of its own would have: its name is the run's.
    pub run: NewContainer,
    /// ID of the exec, which was created and not started.
    pub exec: String,
    /// Full ID of the target.
    pub container: String,
    pub due_at: Timestamp,
    pub intent: Intent,
    pub terms: Terms,
}

/// Whether the start may be requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intended {
    /// It is recorded, and this caller alone may send the request, once.
    New,
    /// The container was started before, or its slot's attempt has a record: no request.
    AlreadyRecorded(Box<Run>),
    /// The intent was exclusive, and this other run of the job is active: no request.
    Active(Box<Run>),
    /// That limit is reached, by these runs: no request.
    Full { cap: Cap, by: Vec<RunId> },
    /// An earlier slot of the job waits for its turn, the attempt before this one is not to be
    /// followed by another, or a person has paused the job: no request.
    NotItsTurn,
}

/// Where a job's pointer moves to: every slot up to there has its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    pub job: JobName,
    /// Where it was when this was planned. It stays when it lies behind that now: a slot was given
    /// back, of which the plan knew nothing.
    pub planned_from: Timestamp,
    pub until: Timestamp,
}

/// A slot (or a series of them, or a manual trigger) that never became a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRun {
    pub id: RunId,
    pub job: JobName,
    pub slot: Option<Slot>,
    /// Of a series, its newest slot.
    pub slot_last: Option<Slot>,
    /// Of a series, how many slots it stands for.
    pub count: Option<u64>,
    pub attempt: u32,
    pub outcome: Outcome,
    /// Text of a [`crate::model::Reason`].
    pub reason: String,
    pub due_at: Timestamp,
    /// When this is recorded.
    pub at: Timestamp,
    pub origin: Origin,
    pub trigger: RunTrigger,
    pub image: Option<String>,
    pub spec_hash: Option<String>,
}

/// A container that ran, or may have run, without our intent: the ledger was lost or restored, it
/// belongs to a superseded one, or a person started it. It is never started by this ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    pub id: RunId,
    pub job: JobName,
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub trigger: RunTrigger,
    /// Full ID.
    pub container: String,
    /// Of its label; where this ledger knows it, the container is armed no longer.
    pub nonce: Option<String>,
    pub due_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub image: Option<String>,
    pub spec_hash: Option<String>,
    pub origin: Origin,
    /// `None` while it runs.
    pub finish: Option<Finish>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    pub outcome: Outcome,
    /// Text of a [`crate::model::Reason`].
    pub reason: String,
    pub exit_code: Option<i64>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// When this is recorded.
    pub at: Timestamp,
    /// Of an `unknown` run that may still be running: how long it holds its job.
    pub held_until: Option<Timestamp>,
    /// When another attempt at the slot is due. Dropped for a manual run, for a job that is no
    /// longer declared, and where there is a later attempt already.
    pub retry_at: Option<Timestamp>,
    pub note: Option<String>,
}

impl Ledger {
    /// Step 5 of the launch protocol: after [`Intended::New`] the start may be requested once,
    /// whatever happens to this process.
    ///
    /// # Errors
    /// [`LedgerError::NotUsable`] when the nonce is not known, was discarded, or belongs to another
    /// container; and when the database cannot be written: no ledger, no start.
    pub fn intend(&self, intent: &NewIntent) -> Result<Intended> {
        let NewIntent {
            nonce,
            container,
            due_at,
            intent,
            terms,
            shared,
        } = intent;
        self.write(Write::Intend, |tx| {
            let row = containers::require(tx, nonce)?;
            if row.reused != shared.is_some() {
                return Err(LedgerError::not_usable(nonce, "it was made for another kind of runs").into());
            }
            if let Some(shared) = shared {
                return intend_again(tx, &row, container, *due_at, intent, terms, shared);
            }
            if let Some(run) = in_the_way(tx, &row, container)? {
                jobs::move_pointer(tx, terms.settle.as_ref())?;
                return Ok(Intended::AlreadyRecorded(Box::new(run)));
            }
            row.check_id(tx, container)?;
            match row.state {
                ContainerState::Creating | ContainerState::Armed => {}
                ContainerState::Discarded => {
                    return Err(LedgerError::not_usable(nonce, "it was discarded").into());
                }
                // Its run was pruned from history, so it is long over.
                ContainerState::Intended => {
                    return Err(LedgerError::not_usable(nonce, "its start was intended before").into());
                }
            }
            let attempt = Attempt::of(&row.job, row.slot, row.attempt);
            if let Some(refused) = refused(tx, &attempt, intent.at, terms)? {
                return Ok(refused);
            }
            tx.prepare_cached("UPDATE containers SET state = 'intended', container = ?2 WHERE nonce = ?1")?
                .execute((nonce, container))?;
            insert(
                tx,
                &NewRun {
                    id: &row.name,
                    job: &row.job,
                    slot: row.slot,
                    series: None,
                    attempt: row.attempt,
                    trigger: row.trigger,
                    due_at: *due_at,
                    intent: Some(intent),
                    started_at: None,
                    nonce: Some(nonce),
                    container: Some(container),
                    within: InsertWithin::Own,
                    image: Some(&row.image_id),
                    spec_hash: Some(&row.spec_hash),
                    origin: &row.origin,
                    group: terms.group.as_deref(),
                },
                None,
            )?;
            attempt.is_made(tx, terms)?;
            Ok(Intended::New)
        })
    }

    /// The same for a command in somebody else's container: after [`Intended::New`] that exec may
    /// be started, once.
    ///
    /// # Errors
    /// When the database cannot be written: no ledger, no start.
    pub fn intend_exec(&self, new: &NewExec) -> Result<Intended> {
        let NewExec {
            run,
            exec,
            container,
            due_at,
            intent,
            terms,
        } = new;
        self.write(Write::IntendExec, |tx| {
            if let Some(found) = occupied(tx, &run.name, &run.job, run.slot, None, run.attempt)? {
                jobs::move_pointer(tx, terms.settle.as_ref())?;
                return Ok(Intended::AlreadyRecorded(Box::new(found)));
            }
            let attempt = Attempt::of(&run.job, run.slot, run.attempt);
            if let Some(refused) = refused(tx, &attempt, intent.at, terms)? {
                return Ok(refused);
            }
            containers::insert(tx, run)?;
            // There is no container that could be started for it.
            containers::discard(tx, &run.nonce)?;
            insert(
                tx,
                &NewRun {
                    id: &run.name,
                    job: &run.job,
                    slot: run.slot,
                    series: None,
                    attempt: run.attempt,
                    trigger: run.trigger,
                    due_at: *due_at,
                    intent: Some(intent),
                    started_at: None,
                    nonce: Some(&run.nonce),
                    container: Some(container),
                    within: InsertWithin::Exec(exec),
                    image: Some(&run.image_id),
                    spec_hash: Some(&run.spec_hash),
                    origin: &run.origin,
                    group: terms.group.as_deref(),
                },
                None,
            )?;
            attempt.is_made(tx, terms)?;
            Ok(Intended::New)
        })
    }

    /// Proof was found that an intended start never happened, and the container was removed
    /// without force: the intent is taken back, so that the attempt may be made anew with another
    /// container, and the job's pointer goes back before the slot, which is due again. `false` when
    /// the run has an outcome, or no intent of ours: that stays. A further attempt is due again, too,
    /// and moves no pointer.
    ///
    /// # Errors
    /// When the ledger knows no such run.
    pub fn never_ran(&self, run: &RunId) -> Result<bool> {
        self.write(Write::NeverRan, |tx| {
            let found: Option<(String, JobName, Option<Slot>, u32, At)> = tx
                .prepare_cached(
                    "SELECT nonce, job, slot, attempt, due_at FROM runs
                     WHERE id = ?1 AND outcome IS NULL AND intent IS NOT NULL",
                )?
                .query_row([run], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                })
                .optional()?;
            let Some((nonce, job, slot, attempt, due_at)) = found else {
                return changed_or_known(tx, run, 0);
            };
            tx.prepare_cached("DELETE FROM runs WHERE id = ?1")?
                .execute([run])?;
            containers::discard(tx, &nonce)?;
            match (slot, attempt.checked_sub(1)) {
                (None, _) => {}
                (Some(slot), None) => jobs::unsettle(tx, &job, slot)?,
                (Some(slot), Some(before)) => {
                    tx.prepare_cached(
                        "UPDATE runs SET retry_at = ?4 WHERE job = ?1 AND slot = ?2 AND attempt = ?3",
                    )?
                    .execute((&job, slot, before, due_at))?;
                }
            }
            Ok(true)
        })
    }

    /// Records a slot that never became a run. `false` when its attempt has a record already
    /// (or, for a series, when a recorded series covers all of it): that stays.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn record(&self, slot: &NotRun) -> Result<bool> {
        self.write(Write::Record, |tx| record(tx, slot))
    }

    /// Records many slots and then moves the job's pointer, all or nothing: a crash in between
    /// could otherwise count a part of a series twice. Returns how many rows were new.
    ///
    /// # Errors
    /// As [`Ledger::record`] and [`Ledger::settle`].
    pub fn record_all(&self, slots: &[NotRun], settle: Option<&Settle>) -> Result<usize> {
        self.write(Write::Record, |tx| {
            let mut new = 0;
            for slot in slots {
                new += usize::from(record(tx, slot)?);
            }
            jobs::move_pointer(tx, settle)?;
            Ok(new)
        })
    }

    /// Records a container of ours that this ledger did not make. `false` when the container, or
    /// its slot's attempt, has a record already.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn adopt(&self, adopted: &Adopted) -> Result<bool> {
        let Adopted {
            id,
            job,
            slot,
            attempt,
            trigger,
            container,
            nonce,
            due_at,
            started_at,
            image,
            spec_hash,
            origin,
            finish,
        } = adopted;
        self.write(Write::Adopt, |tx| {
            if by_container(tx, container)?.is_some()
                || occupied(tx, id, job, *slot, None, *attempt)?.is_some()
            {
                return Ok(false);
            }
            let nonce = disarm(tx, nonce.as_deref(), container)?;
            insert(
                tx,
                &NewRun {
                    id,
                    job,
                    slot: *slot,
                    series: None,
                    attempt: *attempt,
                    trigger: *trigger,
                    due_at: *due_at,
                    intent: None,
                    started_at: *started_at,
                    nonce,
                    container: Some(container),
                    within: InsertWithin::Own,
                    image: image.as_deref(),
                    spec_hash: spec_hash.as_deref(),
                    origin,
                    group: None,
                },
                finish.as_ref(),
            )?;
            Ok(true)
        })
    }

    /// The engine shows when the run started; its first start counts.
    ///
    /// # Errors
    /// When the ledger knows no such run.
    pub fn started(&self, run: &RunId, at: Timestamp) -> Result<()> {
        self.write(Write::Started, |tx| {
            let changed = tx
                .prepare_cached("UPDATE runs SET started_at = coalesce(started_at, ?2) WHERE id = ?1")?
                .execute((run, At(at)))?;
            note_start(tx, run, at)?;
            match changed {
                0 => Err(no_such(run)),
                _ => Ok(()),
            }
        })
    }

    /// Records which outcome the run's end will mean, before it is asked to stop. The first such
    /// word counts: `false` when there was one, or the run is over.
    ///
    /// # Errors
    /// When the ledger knows no such run.
    pub fn request_stop(&self, run: &RunId, outcome: Outcome) -> Result<bool> {
        self.request_stop_because(run, outcome, None)
    }

    /// The same, with the reason that its end will have, where the outcome alone does not say it.
    ///
    /// # Errors
    /// As [`Ledger::request_stop`].
    pub fn request_stop_because(&self, run: &RunId, outcome: Outcome, reason: Option<&str>) -> Result<bool> {
        self.write(Write::RequestStop, |tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE runs SET stop_requested = ?2, stop_reason = ?3
                     WHERE id = ?1 AND outcome IS NULL AND stop_requested IS NULL",
                )?
                .execute((run, outcome, reason))?;
            changed_or_known(tx, run, changed)
        })
    }

    /// That attempt is the last one of its slot after all. `false` when none was to come.
    ///
    /// # Errors
    /// When the ledger knows no such run.
    pub fn give_up_retry(&self, run: &RunId, note: &str) -> Result<bool> {
        self.write(Write::GiveUpRetry, |tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE runs SET retry_at = NULL, note = coalesce(note || '; ', '') || ?2
                     WHERE id = ?1 AND retry_at IS NOT NULL",
                )?
                .execute((run, note))?;
            changed_or_known(tx, run, changed)
        })
    }

    /// As [`Ledger::request_stop`] for a run that a person cancels, with who that was.
    ///
    /// # Errors
    /// When the ledger knows no such run.
    pub fn request_cancel(&self, run: &RunId, by: &str) -> Result<bool> {
        self.write(Write::RequestCancel, |tx| {
            let changed = tx
                .prepare_cached(
                    "UPDATE runs SET stop_requested = ?2, stop_by = ?3
                     WHERE id = ?1 AND outcome IS NULL AND stop_requested IS NULL",
                )?
                .execute((run, Outcome::Cancelled, by))?;
            changed_or_known(tx, run, changed)
        })
    }

    /// Records how a run ended. A final outcome is never overwritten (`false`); an `unknown` one is
    /// settled by a later definite one as long as it holds its job, that is until
    /// [`Ledger::release`], however late.
    ///
    /// # Errors
    /// When the ledger knows no such run.
    pub fn finish(&self, run: &RunId, finish: &Finish) -> Result<bool> {
        self.write(Write::Finish, |tx| write_finish(tx, run, finish))
    }

    /// The clock was ahead and has been set back: slots after `now` that were written off without
    /// ever having had a container are due again. Runs, and what may have run, stay recorded.
    /// Returns how many rows were given back or shortened.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn give_back(&self, job: &JobName, now: Timestamp) -> Result<usize> {
        let now = Slot::new(now);
        self.write(Write::GiveBack, |tx| {
            held::forget_after(tx, job, now)?;
            let gone = tx
                .prepare_cached(
                    "DELETE FROM runs
                     WHERE job = ?1 AND slot > ?2 AND intent IS NULL AND container IS NULL",
                )?
                .execute((job, now.as_second()))?;
            // A series that spans this moment ends at it. Its count is shortened in proportion: the
            // schedule that it was counted by may no longer be the job's.
            let cut = tx
                .prepare_cached(
                    "UPDATE runs
                     SET count = 1 + (count - 1) * (?2 - slot) / max(1, slot_last - slot),
                         slot_last = ?2, last_due_at = ?3
                     WHERE job = ?1 AND slot <= ?2 AND slot_last > ?2",
                )?
                .execute((job, now.as_second(), At(now.at())))?;
            Ok(gone + cut)
        })
    }

    /// The run's container was removed.
    ///
    /// # Errors
    /// When the ledger knows no such run.
    pub fn container_gone(&self, run: &RunId) -> Result<()> {
        self.touch(
            Write::ContainerGone,
            run,
            "UPDATE runs SET container_gone = 1 WHERE id = ?1",
            [run],
        )
    }

    /// An `unknown` run holds its job no longer: its end was seen, or a person looked at it.
    ///
    /// # Errors
    /// When the ledger knows no such run.
    pub fn release(&self, run: &RunId) -> Result<()> {
        self.touch(
            Write::Release,
            run,
            "UPDATE runs SET held_until = NULL WHERE id = ?1",
            [run],
        )
    }

    fn touch(&self, write: Write, run: &RunId, statement: &str, params: impl Params) -> Result<()> {
        self.write(write, |tx| {
            match tx.prepare_cached(statement)?.execute(params)? {
                0 => Err(no_such(run)),
                _ => Ok(()),
            }
        })
    }
}

fn no_such(run: &RunId) -> Fault {
    LedgerError::NoSuchRun(run.to_string()).into()
}

fn changed_or_known(tx: &Transaction<'_>, run: &RunId, changed: usize) -> std::result::Result<bool, Fault> {
    if changed > 0 {
        return Ok(true);
    }
    if tx
        .prepare_cached("SELECT 1 FROM runs WHERE id = ?1")?
        .exists([run])?
    {
        Ok(false)
    } else {
        Err(no_such(run))
    }
}

fn write_finish(tx: &Transaction<'_>, run: &RunId, finish: &Finish) -> std::result::Result<bool, Fault> {
    let Finish {
        outcome,
        reason,
        exit_code,
        started_at,
        finished_at,
        at: recorded_at,
        held_until,
        retry_at,
        note,
    } = finish;
    let held_until = held_until.filter(|_| *outcome == Outcome::Unknown);
    let retry_at = if retry_at.is_some() && may_be_followed(tx, run)? {
        *retry_at
    } else {
        None
    };
    let changed = tx
        .prepare_cached(
            "UPDATE runs SET outcome = ?2, reason = ?3, exit_code = ?4, started_at = coalesce(?5, started_at),
                 finished_at = ?6, recorded_at = ?7, held_until = ?8, note = coalesce(?9, note),
                 retry_at = ?10
             WHERE id = ?1
               AND (outcome IS NULL OR (outcome = 'unknown' AND held_until IS NOT NULL AND ?2 <> 'unknown'))",
        )?
        .execute((
            run,
            outcome,
            reason,
            exit_code,
            at(*started_at),
            at(*finished_at),
            At(*recorded_at),
            at(held_until),
            note,
            at(retry_at),
        ))?;
    if let (1.., Some(started_at)) = (changed, started_at) {
        note_start(tx, run, *started_at)?;
    }
    changed_or_known(tx, run, changed)
}

/// Whether another attempt may come after that run: it is a slot's, no later attempt exists, and its
/// job is declared.
fn may_be_followed(tx: &Transaction<'_>, run: &RunId) -> std::result::Result<bool, Fault> {
    Ok(tx
        .prepare_cached(
            "SELECT 1 FROM runs JOIN jobs ON jobs.name = runs.job
             WHERE id = ?1 AND slot IS NOT NULL AND removed_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM runs AS later WHERE later.job = runs.job
                               AND later.slot = runs.slot AND later.attempt > runs.attempt)",
        )?
        .exists([run])?)
}

/// Whether this slot's attempt has a record, or a series covers it.
pub(super) fn has_record(tx: &Transaction<'_>, slot: &NotRun) -> std::result::Result<bool, Fault> {
    Ok(occupied(tx, &slot.id, &slot.job, slot.slot, slot.slot_last, slot.attempt)?.is_some())
}

/// Of a reused container, the newest start that is known to be ours.
fn note_start(tx: &Transaction<'_>, run: &RunId, started_at: Timestamp) -> std::result::Result<(), Fault> {
    tx.prepare_cached(
        "UPDATE containers SET seen_started = ?2
         WHERE reused = 1 AND nonce = (SELECT nonce FROM runs WHERE id = ?1 AND reused IS NOT NULL)
             AND (seen_started IS NULL OR seen_started < ?2)",
    )?
    .execute((run, At(started_at)))?;
    Ok(())
}

/// The intent of one more start of a reused container: at most one for each of its job's slots, and
/// none while a run of it has no outcome.
fn intend_again(
    tx: &Transaction<'_>,
    row: &ContainerRow,
    container: &str,
    due_at: Timestamp,
    intent: &Intent,
    terms: &Terms,
    shared: &Shared,
) -> std::result::Result<Intended, Fault> {
    let Shared {
        id,
        slot,
        attempt,
        trigger,
        origin,
        before,
    } = shared;
    if let Some(run) = occupied(tx, id, &row.job, *slot, None, *attempt)? {
        jobs::move_pointer(tx, terms.settle.as_ref())?;
        return Ok(Intended::AlreadyRecorded(Box::new(run)));
    }
    row.check_id(tx, container)?;
    if !matches!(row.state, ContainerState::Creating | ContainerState::Armed) {
        return Err(LedgerError::not_usable(&row.nonce, "it was discarded").into());
    }
    let in_it = history::newest_in(tx, container)?.filter(|run| run.outcome.is_none());
    if let Some(run) = in_it {
        return Ok(Intended::Active(Box::new(run)));
    }
    let made = Attempt::of(&row.job, *slot, *attempt);
    if let Some(refused) = refused(tx, &made, intent.at, terms)? {
        return Ok(refused);
    }
    tx.prepare_cached("UPDATE containers SET state = 'armed', container = ?2 WHERE nonce = ?1")?
        .execute((&row.nonce, container))?;
    insert(
        tx,
        &NewRun {
            id,
            job: &row.job,
            slot: *slot,
            series: None,
            attempt: *attempt,
            trigger: *trigger,
            due_at,
            intent: Some(intent),
            started_at: None,
            nonce: Some(&row.nonce),
            container: Some(container),
            within: InsertWithin::Reused(before),
            image: Some(&row.image_id),
            spec_hash: Some(&row.spec_hash),
            origin,
            group: terms.group.as_deref(),
        },
        None,
    )?;
    made.is_made(tx, terms)?;
    Ok(Intended::New)
}

pub(super) fn record(tx: &Transaction<'_>, slot: &NotRun) -> std::result::Result<bool, Fault> {
    let NotRun {
        id,
        job,
        slot,
        slot_last,
        count,
        attempt,
        outcome,
        reason,
        due_at,
        at,
        origin,
        trigger,
        image,
        spec_hash,
    } = slot;
    if occupied(tx, id, job, *slot, *slot_last, *attempt)?.is_some() {
        return Ok(false);
    }
    let finish = Finish {
        outcome: *outcome,
        reason: reason.clone(),
        exit_code: None,
        started_at: None,
        finished_at: None,
        at: *at,
        held_until: None,
        retry_at: None,
        note: None,
    };
    insert(
        tx,
        &NewRun {
            id,
            job,
            slot: *slot,
            series: slot_last.map(|last| (last, count.unwrap_or(1))),
            attempt: *attempt,
            trigger: *trigger,
            due_at: *due_at,
            intent: None,
            started_at: None,
            nonce: None,
            container: None,
            within: InsertWithin::Own,
            image: image.as_deref(),
            spec_hash: spec_hash.as_deref(),
            origin,
            group: None,
        },
        Some(&finish),
    )?;
    Ok(true)
}

/// A row to be inserted.
pub(super) struct NewRun<'a> {
    pub id: &'a RunId,
    pub job: &'a JobName,
    pub slot: Option<Slot>,
    /// Newest slot, and how many there are.
    pub series: Option<(Slot, u64)>,
    pub attempt: u32,
    pub trigger: RunTrigger,
    pub due_at: Timestamp,
    pub intent: Option<&'a Intent>,
    pub started_at: Option<Timestamp>,
    pub nonce: Option<&'a str>,
    pub container: Option<&'a str>,
    pub within: InsertWithin<'a>,
    pub image: Option<&'a str>,
    pub spec_hash: Option<&'a str>,
    pub origin: &'a Origin,
    pub group: Option<&'a str>,
}

/// Whose the container is.
#[derive(Clone, Copy)]
pub(super) enum InsertWithin<'a> {
    Own,
    Reused(&'a Before),
    Exec(&'a str),
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    new: &NewRun<'_>,
    finish: Option<&Finish>,
) -> std::result::Result<(), Fault> {
    let last_due_at = new
        .series
        .map_or(new.due_at, |(last, _)| last.at().max(new.due_at));
    tx.prepare_cached(
        "INSERT INTO runs (id, job, project, slot, slot_last, count, attempt, trigger_kind, due_at, last_due_at,
                           intent, started_at, nonce, container, image, spec_hash, origin,
                           outcome, reason, recorded_at, exit_code, finished_at, held_until, note, container_gone,
                           job_group, reused, exec)
         VALUES (:id, :job, :project, :slot, :slot_last, :count, :attempt, :trigger_kind, :due_at, :last_due_at,
                 :intent, :started_at, :nonce, :container, :image, :spec_hash, :origin,
                 :outcome, :reason, :recorded_at, :exit_code, :finished_at, :held_until, :note,
                 :container_gone, :job_group, :reused, :exec)",
    )?
    .execute(rusqlite::named_params! {
        ":id": new.id,
        ":job": new.job,
        ":project": new.job.project(),
        ":slot": new.slot,
        ":slot_last": new.series.map(|(last, _)| last),
        ":count": new.series.map(|(_, slots)| count(slots)),
        ":attempt": new.attempt,
        ":trigger_kind": new.trigger,
        ":due_at": At(new.due_at),
        ":last_due_at": At(last_due_at),
        ":intent": new.intent.map(Json),
        ":started_at": at(finish.and_then(|finish| finish.started_at).or(new.started_at)),
        ":nonce": new.nonce,
        ":container": new.container,
        ":image": new.image,
        ":spec_hash": new.spec_hash,
        ":origin": Json(new.origin),
        ":outcome": finish.map(|finish| finish.outcome),
        ":reason": finish.map_or("", |finish| finish.reason.as_str()),
        ":recorded_at": at(finish.map(|finish| finish.at)),
        ":exit_code": finish.and_then(|finish| finish.exit_code),
        ":finished_at": at(finish.and_then(|finish| finish.finished_at)),
        ":held_until": at(finish.filter(|f| f.outcome == Outcome::Unknown).and_then(|f| f.held_until)),
        ":note": finish.and_then(|finish| finish.note.as_deref()),
        ":job_group": new.group,
        ":container_gone": !matches!(new.within, InsertWithin::Own),
        ":reused": match new.within {
            InsertWithin::Reused(before) => Some(Json(before)),
            InsertWithin::Own | InsertWithin::Exec(_) => None,
        },
        ":exec": match new.within {
            InsertWithin::Exec(exec) => Some(exec),
            InsertWithin::Own | InsertWithin::Reused(_) => None,
        },
    })?;
    if let Some(slot) = new.slot {
        held::release(tx, new.job, slot, new.series.map_or(slot, |(last, _)| last))?;
    }
    Ok(())
}

/// Takes a container that ran without our intent out of what may be started; its nonce, if that is
/// ours.
fn disarm<'a>(
    tx: &Transaction<'_>,
    nonce: Option<&'a str>,
    container: &str,
) -> std::result::Result<Option<&'a str>, Fault> {
    let Some(nonce) = nonce else { return Ok(None) };
    let Some(row) = containers::by_nonce(tx, nonce)? else {
        return Ok(None);
    };
    row.check_id(tx, container)?;
    if matches!(row.state, ContainerState::Creating | ContainerState::Armed) {
        tx.prepare_cached("UPDATE containers SET state = 'discarded', container = ?2 WHERE nonce = ?1")?
            .execute((nonce, container))?;
    }
    Ok(Some(nonce))
}

/// The row that forbids a start of this container.
fn in_the_way(
    tx: &Transaction<'_>,
    row: &ContainerRow,
    container: &str,
) -> std::result::Result<Option<Run>, Fault> {
    match by_container(tx, container)? {
        Some(run) => Ok(Some(run)),
        None => occupied(tx, &row.name, &row.job, row.slot, None, row.attempt),
    }
}

/// One attempt at a slot, or a manual run.
pub(super) struct Attempt<'a> {
    job: &'a JobName,
    slot: Option<Slot>,
    number: u32,
}

impl<'a> Attempt<'a> {
    pub fn of(job: &'a JobName, slot: Option<Slot>, number: u32) -> Attempt<'a> {
        Attempt { job, slot, number }
    }

    /// The attempt before has its successor, and the job's pointer moves.
    pub fn is_made(&self, tx: &Transaction<'_>, terms: &Terms) -> std::result::Result<(), Fault> {
        tx.prepare_cached(
            "UPDATE runs SET retry_at = NULL
             WHERE job = ?1 AND slot = ?2 AND attempt < ?3 AND retry_at IS NOT NULL",
        )?
        .execute((self.job, self.slot, self.number))?;
        jobs::move_pointer(tx, terms.settle.as_ref())
    }

    /// First attempts go in the order in which their slots wait; a further one follows an attempt
    /// that asks for it, and no other; and none goes while a person has the job paused.
    fn is_its_turn(&self, tx: &Transaction<'_>, at: Timestamp) -> std::result::Result<bool, Fault> {
        let Some(slot) = self.slot else { return Ok(true) };
        if pauses::in_force(tx, self.job, at)? {
            return Ok(false);
        }
        let Some(before) = self.number.checked_sub(1) else {
            return Ok(held::first(tx, self.job)?.is_none_or(|first| first >= slot));
        };
        Ok(tx
            .prepare_cached(
                "SELECT 1 FROM runs WHERE job = ?1 AND slot = ?2 AND attempt = ?3 AND retry_at IS NOT NULL",
            )?
            .exists((self.job, slot, before))?)
    }
}

/// Why an attempt may not be made at that moment, if so.
pub(super) fn refused(
    tx: &Transaction<'_>,
    attempt: &Attempt<'_>,
    at: Timestamp,
    terms: &Terms,
) -> std::result::Result<Option<Intended>, Fault> {
    if terms.exclusive
        && let Some(run) = active(tx, attempt, at)?
    {
        return Ok(Some(Intended::Active(Box::new(run))));
    }
    if !attempt.is_its_turn(tx, at)? {
        return Ok(Some(Intended::NotItsTurn));
    }
    for cap in &terms.caps {
        let by = running(tx, cap, at)?;
        if by.len() >= cap.limit as usize {
            let cap = cap.clone();
            return Ok(Some(Intended::Full { cap, by }));
        }
    }
    Ok(None)
}

/// Another run of the job that is active at that moment, or that is to have another attempt: not the
/// one whose next attempt this is.
fn active(
    tx: &Transaction<'_>,
    attempt: &Attempt<'_>,
    at: Timestamp,
) -> std::result::Result<Option<Run>, Fault> {
    let mut open = tx.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM runs
         WHERE job = ?1 AND seq IN (SELECT seq FROM runs WHERE open = 1
                                    UNION SELECT seq FROM runs INDEXED BY runs_retry WHERE retry_at IS NOT NULL)"
    ))?;
    for run in open.query_map([attempt.job], run_of)? {
        let run = run?;
        let before = attempt.slot.is_some() && run.slot == attempt.slot && run.attempt < attempt.number;
        if run.is_active(at) || (run.retry_at.is_some() && !before) {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

/// What counts for that limit at that moment.
fn running(tx: &Transaction<'_>, cap: &Cap, at: Timestamp) -> std::result::Result<Vec<RunId>, Fault> {
    let mut open = tx.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM runs
         WHERE open = 1 AND (outcome IS NULL OR held_until IS NOT NULL) AND (?1 IS NULL OR job_group = ?1)"
    ))?;
    let mut by = Vec::new();
    for run in open.query_map([&cap.group], run_of)? {
        let run = run?;
        if run.is_active(at) {
            by.push(run.id);
        }
    }
    Ok(by)
}

pub(super) fn by_container(tx: &Transaction<'_>, container: &str) -> std::result::Result<Option<Run>, Fault> {
    Ok(tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM runs WHERE container = ?1 AND exec IS NULL"
        ))?
        .query_row([container], run_of)
        .optional()?)
}

/// The row that has this name or this attempt of the slot, or a series that covers it.
pub(super) fn occupied(
    tx: &Transaction<'_>,
    id: &RunId,
    job: &JobName,
    slot: Option<Slot>,
    slot_last: Option<Slot>,
    attempt: u32,
) -> std::result::Result<Option<Run>, Fault> {
    let exact = tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM runs WHERE id = ?1 OR (job = ?2 AND slot = ?3 AND attempt = ?4)"
        ))?
        .query_row((id, job, slot, attempt), run_of)
        .optional()?;
    if exact.is_some() {
        return Ok(exact);
    }
    Ok(tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM runs WHERE job = ?1 AND slot <= ?2 AND slot_last >= ?3 AND attempt = ?4"
        ))?
        .query_row((job, slot, slot_last.or(slot), attempt), run_of)
        .optional()?)
}
