//! Results to be read, and finished containers to keep or to prune.

use jiff::{SignedDuration, Timestamp};

use super::action::{Action, Cause, Followed, WaitCause};
use super::due::{self, LOOK_AGAIN, looks_unstarted, target};
use super::view::{Draft, JobView, is_idle, is_reserved};
use crate::model::{Claim, Container, ContainerStatus, History, Lane, Outcome, Run, Slot, Within};

/// How long after its last possible start the lock of a slot stays: other schedulers' clocks, and their
/// slowest requests, are well within it.
const LOCK_MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// What other schedulers have started is recorded here, too, before anything is decided.
pub(super) fn follow(view: &JobView<'_>, draft: &mut Draft) {
    for container in view.unfollowed() {
        let stamp = &container.stamp;
        let due_at = match (stamp.slot, stamp.attempt) {
            (Some(slot), 0) => view.due_at(slot),
            // When a further attempt was due is its scheduler's to say; it was made then.
            _ => container.created,
        };
        let followed = Followed {
            name: container.name.clone(),
            container: container.id.clone(),
            slot: stamp.slot,
            attempt: stamp.attempt,
            trigger: stamp.trigger,
            due_at,
            spec_hash: stamp.spec_hash.clone(),
            origin: stamp.origin.clone(),
            ledger: stamp.ledger.clone(),
            group: view.policy().and_then(|policy| policy.group.clone()),
        };
        draft.act(Action::Follow(Box::new(followed)), Cause::StartedBeside);
        draft.wake_at(view.now);
    }
}

/// Reads what ended, vanished, or was never confirmed.
pub(super) fn settle(view: &JobView<'_>, draft: &mut Draft) {
    let busy = view.busy(Lane::Run);
    for run in &view.runs {
        if !busy && needs_settling(view, run) {
            draft.act(Action::Settle { run: run.id.clone() }, Cause::ResultPending);
        }
        if matches!(run.within, Within::Exec(_)) && run.outcome.is_none() && !view.is_followed(run) {
            // It outlived the scheduler that started it, or another process follows it.
            draft.wake_at(view.now.saturating_add(LOOK_AGAIN).unwrap_or(view.now));
        }
        if run.holds_job(view.now)
            && let Some(until) = run.held_until
        {
            draft.wait(WaitCause::UnknownRunHeld {
                run: run.id.clone(),
                until,
            });
            draft.wake_at(until);
        }
    }
    if busy {
        return;
    }
    for container in &view.containers {
        let unstarted = looks_unstarted(&container.status);
        let past = container.stamp.slot.is_none_or(|slot| slot.at() <= view.now);
        let adopt = match container.claim {
            Claim::Known | Claim::Discarded | Claim::Shared => false,
            Claim::Superseded => matches!(container.status, ContainerStatus::Exited | ContainerStatus::Dead),
            Claim::Unrecorded if container.stamp.reused => is_idle(container) && !unstarted,
            Claim::Unrecorded => is_idle(container) && (past || !unstarted),
        };
        if adopt {
            let lost = container.claim == Claim::Unrecorded;
            let cause = if lost {
                Cause::LedgerLost
            } else {
                Cause::Superseded
            };
            let action = Action::Adopt {
                target: target(container),
                slot: container.stamp.slot,
                attempt: container.stamp.attempt,
                lost,
            };
            draft.act(action, cause);
        }
    }
}

fn needs_settling(view: &JobView<'_>, run: &Run) -> bool {
    if matches!(run.within, Within::Exec(_)) {
        return match run.outcome {
            None => !view.is_followed(run) && !view.world.exec_running.contains(&run.id),
            Some(_) => run.held_until.is_some_and(|until| until <= view.now),
        };
    }
    match (view.container_of(run), run.outcome) {
        (Some(container), None) if container.status.is_live() => run.started_at.is_none(),
        (_, None) => true,
        // Whether a reused one was started after all shows in its StartedAt, which only a look tells:
        // one look, when the hold is over.
        (Some(container), Some(Outcome::Unknown)) if container.stamp.reused => {
            run.held_until.is_some_and(|until| until <= view.now) && is_idle(container)
        }
        // Its end may have been seen since; or it is gone, which the ledger does not know yet.
        (Some(container), Some(Outcome::Unknown)) => {
            run.held_until.is_some() && matches!(container.status, ContainerStatus::Exited)
        }
        (None, Some(_)) => run.container.is_some() && !run.container_gone,
        (Some(_), Some(_)) => false,
    }
}

/// Removes finished containers beyond what `history` keeps. Never before their outcome is durable,
/// never one that may still be running.
pub(super) fn prune(view: &JobView<'_>, draft: &mut Draft) {
    if view.busy(Lane::Run) || view.world.clock_suspect {
        return;
    }
    let History {
        mut succeeded,
        mut failed,
    } = match view.job {
        Some(job) => job.policy.history,
        None => History {
            succeeded: 0,
            failed: 0,
        },
    };
    for run in &view.runs {
        let Some(outcome) = run.outcome else { continue };
        // A reused one waits for its job's next slot.
        let Some(container) = view.container_of(run).filter(|container| !container.stamp.reused) else {
            continue;
        };
        let left = if outcome.is_success() {
            &mut succeeded
        } else {
            &mut failed
        };
        if *left > 0 {
            *left -= 1;
        } else if container.claim == Claim::Shared && !lock_may_go(view, run, container) {
            // Another scheduler could still take the slot for one that nobody has run.
        } else if is_idle(container) && !run.holds_job(view.now) {
            let action = Action::Remove {
                target: target(container),
                run: Some(run.id.clone()),
            };
            let cause = if view.job.is_some() {
                Cause::Retention
            } else {
                Cause::JobRemoved
            };
            draft.act(action, cause);
        }
    }
}

/// Whether nobody can take that run's slot for one without a run any more: a newer slot of its job has its
/// own, and the time in which it could have been started is long over.
fn lock_may_go(view: &JobView<'_>, run: &Run, container: &Container) -> bool {
    let long_over = run
        .due_at
        .checked_add(due::patience_beside(view))
        .and_then(|last| last.checked_add(LOCK_MARGIN))
        .is_ok_and(|until| until <= view.now);
    let Some(slot) = container.stamp.slot else {
        return long_over;
    };
    let newer =
        |other: &&Container| !is_reserved(other) && other.stamp.slot.is_some_and(|other: Slot| other > slot);
    // A job that is gone has no newer slots; who still declares it elsewhere is behind by hours then.
    let is_newest = view.job.is_some() && !view.containers.iter().copied().any(|other| newer(&other));
    long_over && !is_newest
}

/// Up to where every slot has its record, by whichever scheduler, when that lies beyond what the ledger
/// has as settled and nothing is left to decide before it.
pub(super) fn advance(view: &JobView<'_>, draft: &mut Draft) {
    let Some(record) = view.record else { return };
    let newest = view
        .runs
        .iter()
        .filter_map(|run| run.slot)
        .chain(record.recorded_ahead.iter().copied())
        .map(Slot::at)
        .filter(|at| *at <= view.now)
        .max()
        .unwrap_or(Timestamp::MIN);
    if newest > record.settled {
        let action = Action::Advance {
            planned_from: record.settled,
            until: newest,
        };
        draft.act(action, Cause::SlotDecided);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::model::{
        ContainerSpec, Desired, Job, JobName, JobRecord, Launching, Observed, Origin, Policy, RunTrigger,
        Stamp, Trigger, Triggers,
    };
    use crate::plan::{Plan, plan};

    /// A job each minute, on an engine that several schedulers share; its newest slots ran, and their
    /// services are there.
    fn world(policy: &Policy, slots: &[i64], now: i64) -> (Desired, Observed) {
        let name: JobName = "shop.tick".parse().unwrap();
        let triggers = Triggers {
            manual: true,
            schedule: vec![Trigger::Every {
                period: Duration::from_secs(60),
            }],
        };
        let container = ContainerSpec::of_image("busybox".parse().unwrap());
        let spec_hash = crate::plan::spec_hash(&container, None);
        let job = Job {
            name: name.clone(),
            origin: Origin::default(),
            triggers: triggers.clone(),
            policy: policy.clone(),
            container,
            canonical: String::new(),
        };
        let mut observed = Observed {
            up_since: Timestamp::UNIX_EPOCH,
            ..Observed::default()
        };
        observed.engine.launching = Launching::AtOnce;
        let settled = Slot::from_second(now).at();
        let record = JobRecord {
            name: name.clone(),
            origin: Origin::default(),
            canonical: String::new(),
            triggers,
            policy: policy.clone(),
            spec_hash: spec_hash.clone(),
            baseline: Timestamp::UNIX_EPOCH,
            settled,
            recorded_ahead: Default::default(),
            held: Vec::new(),
            pauses: Vec::new(),
            arm_failure: None,
            armed: BTreeMap::new(),
            removed: false,
        };
        observed.jobs.insert(name.clone(), record);
        for &second in slots {
            let slot = Slot::from_second(second);
            let id = crate::model::ContainerName::of_slot(&observed.instance, &name, slot, 0);
            observed.runs.push(Run {
                id: id.clone(),
                job: name.clone(),
                slot: Some(slot),
                attempt: 0,
                trigger: RunTrigger::Schedule,
                outcome: Some(Outcome::Succeeded),
                reason: String::new(),
                exit_code: Some(0),
                due_at: slot.at(),
                intent: None,
                started_at: None,
                finished_at: None,
                recorded_at: Some(slot.at()),
                container: Some(id.to_string()),
                container_gone: false,
                within: Within::Own,
                held_until: None,
                stop_requested: None,
                stop_reason: None,
                retry_at: None,
                group: None,
                image: None,
                spec_hash: None,
                origin: Origin::default(),
                slot_last: None,
                count: None,
                note: None,
            });
            let stamp = Stamp {
                ledger: "another".into(),
                job: name.clone(),
                reused: false,
                slot: Some(slot),
                attempt: 0,
                trigger: RunTrigger::Schedule,
                spec_hash: spec_hash.clone(),
                nonce: second.to_string(),
                origin: Origin::default(),
            };
            let service = Container {
                id: id.to_string(),
                name: id.clone(),
                status: ContainerStatus::Exited,
                image_id: String::new(),
                created: slot.at(),
                stamp,
                claim: Claim::Shared,
            };
            observed.containers.insert(service.id.clone(), service);
        }
        let mut desired = Desired::default();
        desired.jobs.insert(name, job);
        (desired, observed)
    }

    fn removed(policy: &Policy, slots: &[i64], now: i64) -> Vec<i64> {
        let (desired, observed) = world(policy, slots, now);
        let plan: Plan = plan(&desired, &observed, Slot::from_second(now).at());
        let mut removed: Vec<i64> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Remove { target, .. } => target.nonce.parse().ok(),
                _ => None,
            })
            .collect();
        removed.sort_unstable();
        removed
    }

    fn keeping_none() -> Policy {
        Policy {
            history: History {
                succeeded: 0,
                failed: 0,
            },
            ..Policy::default()
        }
    }

    #[test]
    fn a_lock_goes_ten_minutes_after_its_last_possible_start_and_never_before_a_newer_one() {
        let policy = keeping_none();
        assert_eq!(removed(&policy, &[60, 120], 60 + 599), Vec::<i64>::new());
        assert_eq!(removed(&policy, &[60, 120], 60 + 600), [60]);
        assert_eq!(removed(&policy, &[60, 120], 1_000_000), [60], "the newest stays");
        let patient = Policy {
            starting_deadline: Some(Duration::from_secs(300)),
            ..policy.clone()
        };
        assert_eq!(removed(&patient, &[60, 120], 60 + 899), Vec::<i64>::new());
        assert_eq!(removed(&patient, &[60, 120], 60 + 900), [60]);
        let all = Policy {
            missed_fires: crate::model::MissedFires::All,
            ..policy
        };
        assert_eq!(removed(&all, &[60, 120], 60 + 4199), Vec::<i64>::new());
        assert_eq!(removed(&all, &[60, 120], 60 + 4200), [60]);
    }

    #[test]
    fn history_keeps_what_the_lock_would_let_go() {
        assert_eq!(removed(&Policy::default(), &[60, 120, 180, 240], 1_000_000), [60]);
    }

    /// It is nobody's run: its slot is decided as if it were not there, and what nobody begins goes.
    #[test]
    fn what_another_reserved_is_neither_followed_nor_kept_for_ever() {
        let planned = |status: ContainerStatus, now: i64| {
            let (desired, mut observed) = world(&Policy::default(), &[60], 60);
            observed.runs.clear();
            for record in observed.jobs.values_mut() {
                record.settled = Timestamp::UNIX_EPOCH;
            }
            for service in observed.containers.values_mut() {
                service.status = status.clone();
            }
            let planned = plan(&desired, &observed, Slot::from_second(now).at());
            planned
                .steps
                .iter()
                .map(|step| step.action.word())
                .collect::<Vec<_>>()
        };
        for status in [ContainerStatus::Created, ContainerStatus::Removing] {
            assert_eq!(planned(status.clone(), 89), ["start"], "{status:?}");
            assert_eq!(planned(status, 91), ["start", "remove"]);
        }
    }

    /// What others made is recorded before anything is decided, and once.
    #[test]
    fn what_others_started_is_followed_before_a_slot_is_decided() {
        let (desired, mut observed) = world(&Policy::default(), &[60], 60);
        observed.runs.clear();
        observed
            .jobs
            .values_mut()
            .for_each(|record| record.settled = Timestamp::UNIX_EPOCH);
        let planned = plan(&desired, &observed, Slot::from_second(70).at());
        let words: Vec<&str> = planned.steps.iter().map(|step| step.action.word()).collect();
        assert_eq!(words, ["follow"]);
        assert_eq!(
            planned.next_wake,
            Some(Slot::from_second(70).at()),
            "the next plan comes at once"
        );
    }
}
