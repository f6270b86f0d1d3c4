//! Slots that are due: start, skip, miss or wait. Every one ends in a record with a reason.

use jiff::{SignedDuration, Timestamp};

use super::action::{Action, Cause, Launch, NotRun, Target, WaitCause};
use super::fingerprint::spec_hash;
use super::view::{Draft, JobView, is_idle};
use crate::model::{
    Claim, Container, ContainerName, ContainerStatus, Job, Lane, MissedFires, Outcome, Reason, Run, Slot,
};
use crate::schedule::{Fire, Schedule};

/// A longer series of slots that nobody could start (a month of `every: 1s`) is one record: a row
/// for each would fill the disk and say nothing more.
const SERIES_LIMIT: usize = 100;

/// How often a target that is not ready, and a command that nobody follows, are looked at.
pub(super) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// Bounds the counting of a collapsed series; the count then says "at least".
const COUNT_LIMIT: u64 = 10_000_000;

/// What became of the newest due slot, as far as arming must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing is due any more.
    Clear,
    /// This slot's armed container is started by this plan.
    Starting(Slot),
    /// This slot is started by this plan, which has to make its container first.
    Making(Slot),
    /// This slot is due and waits: its container must stay.
    Pending(Slot),
}

/// Stops runs whose time is over.
pub(super) fn stop_overdue(view: &JobView<'_>, draft: &mut Draft) {
    let policy = view
        .job
        .map(|job| &job.policy)
        .or(view.record.map(|record| &record.policy));
    let timeout = policy.and_then(|policy| policy.timeout);
    for run in view.runs.iter().filter(|run| run.outcome.is_none()) {
        let Some(container) = view.live_container(run) else {
            continue;
        };
        let overdue = match (timeout, view.began(run)) {
            // A clock that is not to be trusted ends nothing.
            (Some(_), Some(_)) if view.world.clock_suspect => None,
            (Some(timeout), Some(began)) => {
                let ends = began.saturating_add(timeout).unwrap_or(Timestamp::MAX);
                if ends > view.now {
                    draft.wake_at(ends);
                }
                (ends <= view.now).then_some(timeout)
            }
            _ => None,
        };
        let outcome = match (run.stop_requested, overdue) {
            (Some(outcome), _) => outcome,
            (None, Some(_)) => Outcome::TimedOut,
            (None, None) => continue,
        };
        if !view.busy(Lane::Run) {
            let grace = view.job.and_then(|job| job.container.stop_grace_period);
            let cause = match overdue {
                Some(timeout) => Cause::TimedOut { timeout },
                None => Cause::StopAsked,
            };
            let stop = Action::Stop {
                run: run.id.clone(),
                container,
                grace,
                outcome,
            };
            draft.act(stop, cause);
        }
    }
}

/// Decides every due slot of a declared job.
pub(super) fn decide(view: &JobView<'_>, draft: &mut Draft) -> Decision {
    let Some(job) = view.job else {
        return Decision::Clear;
    };
    let schedule = match &view.schedule {
        Ok(schedule) => schedule,
        Err(why) => {
            draft.wait(WaitCause::BadSchedule { why: why.clone() });
            return Decision::Clear;
        }
    };
    if let Some(next) = schedule.next_after(view.now) {
        draft.wake_at(next.slot.at());
    }
    if view.is_first_sight() {
        return Decision::Clear;
    }
    if view.schedule_edited() {
        miss_all_of_record(view, Reason::ScheduleEdited, draft);
        return Decision::Clear;
    }
    let due = due_slots(view, schedule);
    let forgotten = view.forgotten_until();
    let mut eligible = Vec::new();
    for &(first, last, count) in &due.older {
        let (outcome, reason) = match fate(view, job, schedule, first) {
            _ if forgotten.is_some_and(|until| first.at() <= until) => (Outcome::Unknown, Reason::LedgerLost),
            Fate::Over(outcome, reason) => (outcome, reason),
            Fate::Eligible => (Outcome::Missed, superseded_reason(view, first, due.newest())),
        };
        record(view, first, Some((last, count)), outcome, reason, draft);
    }
    for fire in due.slots {
        if forgotten.is_some_and(|until| fire.slot.at() <= until) {
            // What its own container tells is recorded with it.
            if !view.has_unrecorded_container(fire.slot) {
                record(view, fire.slot, None, Outcome::Unknown, Reason::LedgerLost, draft);
            }
            continue;
        }
        match fate(view, job, schedule, fire.slot) {
            Fate::Over(outcome, reason) => record(view, fire.slot, None, outcome, reason, draft),
            Fate::Eligible => eligible.push(fire.slot),
        }
    }
    let decision = start_or_skip(view, job, &eligible, draft);
    extend_series(schedule, draft);
    decision
}

/// What follows a series with the same outcome and reason becomes part of it.
fn extend_series(schedule: &Schedule, draft: &mut Draft) {
    let mut steps: Vec<(Action, Cause)> = Vec::with_capacity(draft.steps.len());
    for (action, cause) in std::mem::take(&mut draft.steps) {
        if let (Action::Record(new), Some((Action::Record(before), _))) = (&action, steps.last_mut())
            && let (None, Some((last, count))) = (new.series, before.series)
            && (new.outcome, &new.reason) == (before.outcome, &before.reason)
            && schedule
                .next_after(last.at())
                .is_some_and(|next| next.slot == new.slot)
        {
            before.series = Some((new.slot, count + 1));
            continue;
        }
        steps.push((action, cause));
    }
    draft.steps = steps;
}

/// The slots that were due under the recorded schedule end as missed: the job was edited or
/// removed before anybody looked.
pub(super) fn miss_all_of_record(view: &JobView<'_>, otherwise: Reason, draft: &mut Draft) {
    let Some(schedule) = view
        .record
        .and_then(|record| Schedule::compile(&record.triggers.schedule).ok())
    else {
        return;
    };
    let due = due_slots(view, &schedule);
    // A job that is held would not have been started either way.
    let held = matches!(otherwise, Reason::RemovalsHeld(_));
    let gap_of = |slot| if held { None } else { view.gap_reason(slot) };
    let reason_of = |slot| gap_of(slot).unwrap_or_else(|| otherwise.clone());
    for (first, last, count) in due.older {
        record(
            view,
            first,
            Some((last, count)),
            Outcome::Missed,
            reason_of(first),
            draft,
        );
    }
    for fire in due.slots {
        record(
            view,
            fire.slot,
            None,
            Outcome::Missed,
            reason_of(fire.slot),
            draft,
        );
    }
    extend_series(&schedule, draft);
}

/// Due slots without a record, oldest first. When there are very many, all but the newest ones are
/// series (first and last slot, count), with none that has a record already inside them.
struct Due {
    older: Vec<(Slot, Slot, u64)>,
    slots: Vec<Fire>,
}

impl Due {
    fn newest(&self) -> Slot {
        self.slots.last().map_or(Slot::from_second(0), |fire| fire.slot)
    }
}

fn due_slots(view: &JobView<'_>, schedule: &Schedule) -> Due {
    let from = view.settled();
    let mut due = Due {
        older: Vec::new(),
        slots: Vec::new(),
    };
    let mut before = just_after(view.now);
    while let Some(fire) = schedule.previous_before(before) {
        if fire.slot.at() <= from {
            break;
        }
        before = fire.slot.at();
        if due.slots.len() == SERIES_LIMIT {
            due.older = series_between(view, schedule, from, before);
            break;
        }
        if !view.is_recorded(fire.slot) {
            due.slots.push(fire);
        }
    }
    due.slots.reverse();
    due
}

/// The slots after one instant up to another, in as many series as recorded slots (of a clock that
/// was ahead) cut them into.
fn series_between(
    view: &JobView<'_>,
    schedule: &Schedule,
    from: Timestamp,
    until: Timestamp,
) -> Vec<(Slot, Slot, u64)> {
    let mut series = Vec::new();
    let mut after = from;
    let cuts = view.recorded_between(from, until);
    for end in cuts.iter().map(|slot| slot.at()).chain([just_after(until)]) {
        let first = schedule.next_after(after).filter(|first| first.slot.at() < end);
        let last = schedule.previous_before(end);
        if let (Some(first), Some(last)) = (first, last) {
            let count = schedule.count_between(after, last.slot.at(), COUNT_LIMIT);
            series.push((first.slot, last.slot, count));
        }
        after = end;
    }
    series
}

fn just_after(at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_nanos(1))
        .unwrap_or(Timestamp::MAX)
}

enum Fate {
    Over(Outcome, Reason),
    Eligible,
}

/// What policy and time alone say of one due slot.
fn fate(view: &JobView<'_>, job: &Job, schedule: &Schedule, slot: Slot) -> Fate {
    let was_suspended = view.record.is_some_and(|record| record.policy.suspend);
    if view.suspended() || was_suspended {
        return Fate::Over(Outcome::Suspended, Reason::Suspended);
    }
    let gap = view.gap_reason(slot);
    let while_down = slot.at() < view.world.up_since;
    if while_down && (view.world.clock_suspect || job.policy.missed_fires == MissedFires::Skip) {
        let reason = if view.world.clock_suspect {
            Reason::ClockJumped
        } else {
            gap.unwrap_or(Reason::SchedulerDown)
        };
        return Fate::Over(Outcome::Missed, reason);
    }
    match deadline(job, schedule, slot) {
        Some(deadline) if deadline <= view.now => {
            let not_armed = view.record.and_then(|record| record.arm_failure.as_ref());
            let reason = match (gap, not_armed) {
                (Some(gap), _) => gap,
                (None, Some(failure)) => Reason::NotArmed(failure.detail.clone()),
                (None, None) => Reason::DeadlinePassed,
            };
            Fate::Over(Outcome::Missed, reason)
        }
        _ => Fate::Eligible,
    }
}

/// The moment from which a slot is no longer started.
fn deadline(job: &Job, schedule: &Schedule, slot: Slot) -> Option<Timestamp> {
    match job.policy.starting_deadline {
        Some(limit) => slot.at().checked_add(limit).ok(),
        None => schedule.next_after(slot.at()).map(|fire| fire.slot.at()),
    }
}

/// What stands in the way of a start.
enum Obstacle<'a> {
    /// Its result is being read: wait a moment.
    Ending(&'a Run),
    Active(&'a Run),
    Held,
    Stray(&'a Container),
}

fn obstacle<'a>(view: &'a JobView<'_>) -> Option<Obstacle<'a>> {
    for run in &view.runs {
        if run.holds_job(view.now) {
            return Some(Obstacle::Held);
        }
        if run.outcome.is_none() {
            let live = view.live_container(run).is_some() || view.is_followed(run);
            return Some(if live {
                Obstacle::Active(run)
            } else {
                Obstacle::Ending(run)
            });
        }
    }
    view.stray_live().map(Obstacle::Stray)
}

/// The newest eligible slot is started; concurrency may forbid it, and older ones give way.
fn start_or_skip(view: &JobView<'_>, job: &Job, eligible: &[Slot], draft: &mut Draft) -> Decision {
    let Some((&newest, older)) = eligible.split_last() else {
        return Decision::Clear;
    };
    let skip = match obstacle(view) {
        Some(Obstacle::Ending(run)) => {
            let since = run
                .started_at
                .or(run.intent.as_ref().map(|intent| intent.at))
                .unwrap_or(run.due_at);
            draft.wait(WaitCause::PreviousRunActive {
                since,
                run: run.id.clone(),
            });
            return Decision::Pending(newest);
        }
        Some(Obstacle::Active(run)) => Some(Reason::PreviousRunActive {
            since: run.started_at.unwrap_or(run.due_at),
        }),
        Some(Obstacle::Held) => Some(Reason::UnknownRunMayStillRun),
        // A person started what was armed for this very slot.
        Some(Obstacle::Stray(own)) if own.claim == Claim::Known && own.stamp.slot == Some(newest) => {
            miss_older(view, older, newest, draft);
            record(view, newest, None, Outcome::Unknown, Reason::StartedByHand, draft);
            return Decision::Clear;
        }
        Some(Obstacle::Stray(other)) => Some(Reason::StrayRunning(other.name.to_string())),
        None => None,
    };
    if let Some(reason) = skip {
        for &slot in eligible {
            record(view, slot, None, Outcome::Skipped, reason.clone(), draft);
        }
        return Decision::Clear;
    }
    miss_older(view, older, newest, draft);
    start(view, job, newest, draft)
}

/// Only the newest slot is caught up.
fn miss_older(view: &JobView<'_>, older: &[Slot], newest: Slot, draft: &mut Draft) {
    for &slot in older {
        let reason = superseded_reason(view, slot, newest);
        record(view, slot, None, Outcome::Missed, reason, draft);
    }
}

fn superseded_reason(view: &JobView<'_>, slot: Slot, newest: Slot) -> Reason {
    view.gap_reason(slot)
        .unwrap_or(Reason::NewerSlotDue { newer: newest })
}

fn start(view: &JobView<'_>, job: &Job, slot: Slot, draft: &mut Draft) -> Decision {
    if let Ok(schedule) = &view.schedule
        && let Some(deadline) = deadline(job, schedule, slot)
    {
        draft.wake_at(deadline);
    }
    let hash = spec_hash(&job.container);
    if view.is_exec() {
        return start_exec(view, job, slot, hash, draft);
    }
    let current = view
        .container_for(slot)
        .filter(|container| view.is_current(container, job, &hash));
    let in_use = view.reuses() && view.reused_in_use().is_some();
    if view.busy(Lane::Run) || (current.is_none() && (view.busy(Lane::Arm) || in_use)) {
        draft.wait(WaitCause::BeingArmed { slot });
        return Decision::Pending(slot);
    }
    if current.is_none()
        && let Some(obstacle) = super::converge::cannot_arm(view, job, &hash, draft)
    {
        draft.wait(obstacle);
        return Decision::Pending(slot);
    }
    let discard = view
        .containers
        .iter()
        .filter(|container| {
            let its = match view.reuses() {
                true => container.stamp.reused,
                false => container.stamp.slot == Some(slot),
            };
            its && current.is_none_or(|armed| armed.id != container.id)
        })
        .filter(|container| is_idle(container) && view.run_of(container).is_none())
        .map(|container| target(container))
        .collect();
    let late_secs = view.now.as_second() - slot.as_second();
    let cause = Cause::Due {
        late_secs,
        why: view.gap_reason(slot),
    };
    let launch = Box::new(launch(view, job, slot, hash));
    let armed = current.map(target);
    let decision = match &armed {
        Some(_) => Decision::Starting(slot),
        None => Decision::Making(slot),
    };
    draft.act(
        Action::Start {
            launch,
            armed,
            discard,
        },
        cause,
    );
    decision
}

/// Starts the command of a due slot in somebody else's container, as soon as that runs.
fn start_exec(view: &JobView<'_>, job: &Job, slot: Slot, hash: String, draft: &mut Draft) -> Decision {
    // No event tells of other people's containers, nor of a command that was started in one.
    draft.wake_at(view.now.saturating_add(LOOK_AGAIN).unwrap_or(view.now));
    if view.busy(Lane::Exec(slot)) || view.target_problem().is_some() {
        return Decision::Pending(slot);
    }
    let cause = Cause::Due {
        late_secs: view.now.as_second() - slot.as_second(),
        why: view.gap_reason(slot),
    };
    let action = Action::Start {
        launch: Box::new(launch(view, job, slot, hash)),
        armed: None,
        discard: Vec::new(),
    };
    draft.act(action, cause);
    Decision::Starting(slot)
}

/// The container of a slot's first attempt, to be made and started.
pub(super) fn launch(view: &JobView<'_>, job: &Job, slot: Slot, spec_hash: String) -> Launch {
    Launch {
        job: job.name.clone(),
        name: ContainerName::of_slot(&view.world.instance, &job.name, slot, 0),
        slot: Some(slot),
        attempt: 0,
        due_at: slot.at(),
        spec: job.container.clone(),
        spec_hash,
        pull: job.container.pull_policy,
        origin: job.origin.clone(),
        exclusive: true,
    }
}

pub(super) fn target(container: &crate::model::Container) -> Target {
    Target {
        id: container.id.clone(),
        name: container.name.clone(),
        nonce: container.stamp.nonce.clone(),
        reused: container.stamp.reused,
    }
}

fn record(
    view: &JobView<'_>,
    slot: Slot,
    series: Option<(Slot, u64)>,
    outcome: Outcome,
    reason: Reason,
    draft: &mut Draft,
) {
    let origin = view
        .job
        .map(|job| job.origin.clone())
        .or(view.record.map(|record| record.origin.clone()))
        .unwrap_or_default();
    let name = ContainerName::of_slot(&view.world.instance, &view.name, slot, 0);
    let not_run = NotRun {
        name,
        slot,
        series,
        outcome,
        reason,
        origin,
        settled: view.record.map_or(Timestamp::MIN, |record| record.settled),
    };
    draft.act(Action::Record(Box::new(not_run)), Cause::SlotDecided);
}

/// A run's container that never started, as far as the engine says.
pub(super) fn looks_unstarted(status: &ContainerStatus) -> bool {
    *status == ContainerStatus::Created
}
