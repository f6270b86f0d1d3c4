//! Runs on an engine that several schedulers share: what each of them may have started is in the ledger
//! of all.
//!
//! ```text
//! creating + run ──201, or found by name──> intended     (the run goes on)
//!       └────────────never arrived────────> discarded    (the run is given back)
//! ```
//!
//! Making a run's container is starting it there, so its intent comes before the create request. While
//! that has no answer the container's row stays `creating`: the run is in doubt.

use jiff::Timestamp;
use rusqlite::Transaction;

use crate::model::{Intent, JobName, Origin, Run, RunId, RunTrigger, Slot};

use super::containers;
use super::error::{Fault, Result};
use super::jobs;
use super::point::Write;
use super::runs::{
    Attempt, InsertWithin, Intended, NewRun, Settle, Terms, by_container, insert, occupied, refused,
};
use super::sql::count;
use super::{Ledger, NewContainer};

/// A run that is about to be started by being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAtOnce {
    /// Its name is the run's.
    pub run: NewContainer,
    /// What it will be known by.
    pub container: String,
    pub due_at: Timestamp,
    pub intent: Intent,
    pub terms: Terms,
}

/// A run that another scheduler has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    pub id: RunId,
    pub job: JobName,
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub trigger: RunTrigger,
    pub container: String,
    pub due_at: Timestamp,
    pub spec_hash: String,
    pub origin: Origin,
    pub group: Option<String>,
}

impl Ledger {
    /// The intent of a run whose create request starts it: after [`Intended::New`] that request may be
    /// sent, and sent again under the same name while it has no answer.
    ///
    /// # Errors
    /// When the database cannot be written: no ledger, no start.
    pub fn intend_at_once(&self, new: &NewAtOnce) -> Result<Intended> {
        let NewAtOnce {
            run,
            container,
            due_at,
            intent,
            terms,
        } = new;
        self.write(Write::IntendAtOnce, |tx| {
            if let Some(found) = by_container(tx, container)? {
                jobs::move_pointer(tx, terms.settle.as_ref())?;
                return Ok(Intended::AlreadyRecorded(Box::new(found)));
            }
            if let Some(found) = occupied(tx, &run.name, &run.job, run.slot, None, run.attempt)? {
                jobs::move_pointer(tx, terms.settle.as_ref())?;
                return Ok(Intended::AlreadyRecorded(Box::new(found)));
            }
            let attempt = Attempt::of(&run.job, run.slot, run.attempt);
            if let Some(refused) = refused(tx, &attempt, intent.at, terms)? {
                return Ok(refused);
            }
            containers::insert(tx, run)?;
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
                    within: InsertWithin::Own,
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

    /// Whether the create request of that run has had no answer yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_in_doubt(&self, run: &RunId) -> Result<bool> {
        self.read(|tx| {
            Ok(tx
                .prepare_cached(
                    "SELECT 1 FROM runs JOIN containers USING (nonce)
                     WHERE runs.id = ?1 AND runs.outcome IS NULL AND containers.state = 'creating'",
                )?
                .exists([run])?)
        })
    }

    /// It is there: made by that request, or by another scheduler's.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn launched(&self, run: &RunId) -> Result<()> {
        self.write(Write::Launched, |tx| {
            tx.prepare_cached(
                "UPDATE containers SET state = 'intended', container = (SELECT container FROM runs WHERE id = ?1)
                 WHERE state = 'creating' AND nonce = (SELECT nonce FROM runs WHERE id = ?1)",
            )?
            .execute([run])?;
            Ok(())
        })
    }

    /// Records a run that another scheduler has started, in the place of a record that says that nobody
    /// did. `false`: it is known.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn follow(&self, new: &Follow) -> Result<bool> {
        let Follow {
            id,
            job,
            slot,
            attempt,
            trigger,
            container,
            due_at,
            spec_hash,
            origin,
            group,
        } = new;
        self.write(Write::Follow, |tx| {
            if by_container(tx, container)?.is_some() {
                return Ok(false);
            }
            if let Some(found) = occupied(tx, id, job, *slot, None, *attempt)? {
                if found.container.is_some() || found.intent.is_some() {
                    return Ok(false);
                }
                take_out_of(tx, &found, *slot)?;
            }
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
                    started_at: None,
                    nonce: None,
                    container: Some(container),
                    within: InsertWithin::Own,
                    image: None,
                    spec_hash: Some(spec_hash),
                    origin,
                    group: group.as_deref(),
                },
                None,
            )?;
            // The attempt before has its successor.
            tx.prepare_cached(
                "UPDATE runs SET retry_at = NULL
                 WHERE job = ?1 AND slot = ?2 AND attempt < ?3 AND retry_at IS NOT NULL",
            )?
            .execute((job, slot, attempt))?;
            Ok(true)
        })
    }

    /// Every slot up to there has its record.
    ///
    /// # Errors
    /// When the ledger knows no such job.
    pub fn advance(&self, settle: &Settle) -> Result<()> {
        self.write(Write::Advance, |tx| jobs::move_pointer(tx, Some(settle)))
    }
}

/// That slot is no longer among those that never became a run: of a series the others keep their row.
fn take_out_of(tx: &Transaction<'_>, found: &Run, slot: Option<Slot>) -> std::result::Result<(), Fault> {
    let rest = found.count.unwrap_or(1).saturating_sub(1);
    if rest == 0 {
        tx.prepare_cached("DELETE FROM runs WHERE id = ?1")?
            .execute([&found.id])?;
        return Ok(());
    }
    // The series is named after its first slot.
    let (mut id, mut first) = (found.id.to_string(), found.slot);
    if let (true, Some(old)) = (slot == found.slot, found.slot) {
        let new = Slot::from_second(old.as_second() + 1);
        id = id.replace(&old.compact(), &new.compact());
        first = Some(new);
    }
    tx.prepare_cached("UPDATE runs SET count = ?2, slot = ?3, id = ?4 WHERE id = ?1")?
        .execute((&found.id, count(rest), first, id))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::JobUpsert;
    use crate::model::{ContainerName, Instance, Outcome, Owner, Reason};

    const JOB: &str = "shop.backup";

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let home = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&home.path().join("default")).unwrap();
        let job = JobUpsert {
            name: JOB.parse().unwrap(),
            origin: Origin::default(),
            canonical: String::new(),
            triggers: crate::model::Triggers::default(),
            policy: crate::model::Policy::default(),
            spec_hash: "v1:a".into(),
            baseline: Timestamp::UNIX_EPOCH,
        };
        ledger.upsert_job(&job).unwrap();
        (home, ledger)
    }

    fn name(slot: i64) -> ContainerName {
        ContainerName::of_slot(
            &Instance::default(),
            &JOB.parse().unwrap(),
            Slot::from_second(slot),
            0,
        )
    }

    fn new(nonce: &str, slot: i64) -> NewAtOnce {
        NewAtOnce {
            run: NewContainer {
                nonce: nonce.into(),
                name: name(slot),
                job: JOB.parse().unwrap(),
                slot: Some(Slot::from_second(slot)),
                attempt: 0,
                trigger: RunTrigger::Schedule,
                spec_hash: "v1:a".into(),
                image_id: "busybox".into(),
                at: Timestamp::UNIX_EPOCH,
                origin: Origin::default(),
                spec: "{}".into(),
                reused: false,
            },
            container: format!("service-{slot}"),
            due_at: Slot::from_second(slot).at(),
            intent: Intent {
                at: Timestamp::UNIX_EPOCH,
                owner: Owner {
                    boot_id: "b".into(),
                    pid: 7,
                    pid_started: 9,
                },
                engine_peer: None,
            },
            terms: Terms::default(),
        }
    }

    fn follow(slot: i64) -> Follow {
        Follow {
            id: name(slot),
            job: JOB.parse().unwrap(),
            slot: Some(Slot::from_second(slot)),
            attempt: 0,
            trigger: RunTrigger::Schedule,
            container: format!("service-{slot}"),
            due_at: Slot::from_second(slot).at(),
            spec_hash: "v1:a".into(),
            origin: Origin::default(),
            group: None,
        }
    }

    fn not_run(slot: i64, series: Option<(i64, u64)>) -> super::super::NotRun {
        super::super::NotRun {
            id: name(slot),
            job: JOB.parse().unwrap(),
            slot: Some(Slot::from_second(slot)),
            slot_last: series.map(|(last, _)| Slot::from_second(last)),
            count: series.map(|(_, count)| count),
            attempt: 0,
            outcome: Outcome::Missed,
            reason: Reason::SchedulerDown.to_string(),
            due_at: Slot::from_second(slot).at(),
            at: Timestamp::UNIX_EPOCH,
            origin: Origin::default(),
            trigger: RunTrigger::Schedule,
            image: None,
            spec_hash: None,
        }
    }

    #[test]
    fn a_run_is_in_doubt_until_it_was_seen_and_is_given_back_when_it_never_was() {
        let (_home, ledger) = ledger();
        assert_eq!(ledger.intend_at_once(&new("a", 60)).unwrap(), Intended::New);
        assert!(ledger.is_in_doubt(&name(60)).unwrap());
        assert!(matches!(
            ledger.intend_at_once(&new("b", 60)).unwrap(),
            Intended::AlreadyRecorded(_)
        ));
        assert!(ledger.never_ran(&name(60)).unwrap());
        assert_eq!(ledger.run(&name(60)).unwrap(), None);
        // The same name, another request: the first may be carried out yet, and is no other run.
        assert_eq!(ledger.intend_at_once(&new("c", 60)).unwrap(), Intended::New);
        ledger.launched(&name(60)).unwrap();
        assert!(!ledger.is_in_doubt(&name(60)).unwrap());
        assert!(!ledger.follow(&follow(60)).unwrap(), "it is known");
    }

    #[test]
    fn what_others_ran_takes_the_place_of_a_record_that_nobody_did() {
        let (_home, ledger) = ledger();
        ledger.record(&not_run(60, None)).unwrap();
        assert!(ledger.follow(&follow(60)).unwrap());
        let run = ledger.run(&name(60)).unwrap().unwrap();
        assert_eq!(
            (run.outcome, run.container.as_deref()),
            (None, Some("service-60"))
        );
        assert!(!ledger.follow(&follow(60)).unwrap());
    }

    #[test]
    fn a_series_gives_up_the_slots_that_others_ran() {
        let (_home, ledger) = ledger();
        ledger.record(&not_run(60, Some((180, 3)))).unwrap();
        for slot in [120, 60, 180] {
            assert!(ledger.follow(&follow(slot)).unwrap(), "{slot}");
            assert_eq!(ledger.run(&name(slot)).unwrap().unwrap().outcome, None);
        }
        let left = ledger.runs_to_plan().unwrap();
        assert!(left.iter().all(|run| run.outcome.is_none()), "{left:?}");
    }
}
