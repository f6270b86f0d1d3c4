//! Slots that are due: which are over, and which may start. Every one ends in a record with a reason.
//! Whose turn it is among those that may start is `turn`'s to say.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::action::{Action, Cause, Hold, Launch, NotRun, Target, WaitCause};
use super::retain;
use super::turn;
use super::view::{Draft, JobView, is_idle};
use crate::model::{
    Concurrency, ContainerName, ContainerStatus, HeldSlot, Job, Lane, Line, MissedFires, Outcome, Reason,
    Run, Slot,
};
use crate::schedule::{Fire, Schedule};

/// A longer series of slots that nobody could start (a month of `every: 1s`) is one record: a row
/// for each would fill the disk and say nothing more.
const SERIES_LIMIT: usize = 100;

/// How often a target that is not ready, and a command that nobody follows, are looked at.
pub(super) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// Bounds the counting of a collapsed series; the count then says "at least".
const COUNT_LIMIT: u64 = 10_000_000;

/// Slots of a backlog may be this late where the job says nothing else: without a limit, a job that
/// takes longer than its period would work on yesterday's slots for ever.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(3600);

/// A run is not ended by its deadline before this: placing one takes a second where nodes have room, and
/// up to 48 s after a change of leader (measured), in which nobody says that it has no place.
const REFUSED: SignedDuration = SignedDuration::from_secs(10);
const PLACING: SignedDuration = SignedDuration::from_secs(60);

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
    let timeout = view.policy().and_then(|policy| policy.timeout);
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
        let unplaced = not_placed(view, run, draft);
        let outcome = match (run.stop_requested, overdue, &unplaced) {
            (Some(outcome), _, _) => outcome,
            (None, Some(_), _) => Outcome::TimedOut,
            (None, None, Some(_)) => Outcome::Missed,
            (None, None, None) => continue,
        };
        if !view.busy(Lane::Run) {
            let grace = view.job.and_then(|job| job.container.stop_grace_period);
            let reason = unplaced.clone().map(Reason::NotArmed);
            let cause = match (overdue, unplaced) {
                (Some(timeout), _) => Cause::TimedOut { timeout },
                (None, Some(why)) if run.stop_requested.is_none() => Cause::NotPlaced { why },
                (None, _) => Cause::StopAsked,
            };
            let stop = Action::Stop {
                run: run.id.clone(),
                container,
                grace,
                outcome,
                reason,
            };
            draft.act(stop, cause);
        }
    }
}

/// Why no node has taken a run, when its deadline has passed meanwhile.
fn not_placed(view: &JobView<'_>, run: &Run, draft: &mut Draft) -> Option<String> {
    let ContainerStatus::Pending(why) = &view.container_of(run)?.status else {
        return None;
    };
    let late = |by| run.due_at.saturating_add(by).unwrap_or(Timestamp::MAX);
    let schedule = view.schedule.as_ref().ok();
    let limit = match (run.slot, run.attempt, schedule) {
        (Some(slot), 0, Some(schedule)) => deadline(view, schedule, slot),
        (Some(_), _, Some(_)) => view.job.and_then(|job| turn::deadline(view, job, run.due_at)),
        _ => SignedDuration::try_from(patience(view)).ok().map(late),
    };
    let ends = limit?.max(late(if why.is_empty() { PLACING } else { REFUSED }));
    if ends > view.now {
        draft.wake_at(ends);
        return None;
    }
    let why = match why.as_str() {
        "" => "its Swarm gave it to no node".to_owned(),
        why => why.to_owned(),
    };
    (!view.world.clock_suspect).then_some(why)
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
        draft.wake_at(view.due_at(next.slot));
    }
    if let Some(pause) = view.paused() {
        draft.wait(WaitCause::Paused {
            by: pause.by.clone(),
            until: pause.until,
        });
    }
    if view.is_first_sight() {
        return Decision::Clear;
    }
    if view.schedule_edited() {
        miss_all_of_record(view, Reason::ScheduleEdited, draft);
        turn::give_up_retries(view, &Reason::ScheduleEdited, draft);
        return Decision::Clear;
    }
    // What others have started is recorded first; the next plan, at once, decides what is left.
    if view.unfollowed().next().is_some() {
        return Decision::Clear;
    }
    let due = due_slots(view, schedule);
    if view.launches_at_once() && due.older.is_empty() && due.slots.is_empty() {
        retain::advance(view, draft);
    }
    if let Some(slot) = view.spread_now() {
        let until = view.due_at(slot);
        draft.wait(WaitCause::Jitter { slot, until });
        draft.wake_at(until);
    }
    let eligible = record_over(view, job, schedule, due, draft);
    let line = still_held(view, job, schedule, draft);
    let decision = turn::take(view, job, &line, &eligible, draft);
    keep_pointer(view, decision, &eligible, draft);
    extend_series(schedule, draft);
    decision
}

/// Records what time and policy alone have decided; the slots that may still start, oldest first.
fn record_over(view: &JobView<'_>, job: &Job, schedule: &Schedule, due: Due, draft: &mut Draft) -> Vec<Slot> {
    let forgotten = view.forgotten_until();
    let mut eligible = Vec::new();
    for &(first, last, count) in &due.older {
        let (outcome, reason) = match fate(view, job, schedule, first) {
            _ if forgotten.is_some_and(|until| first.at() <= until) => (Outcome::Unknown, Reason::LedgerLost),
            Fate::Over(outcome, reason) => (outcome, reason),
            Fate::Eligible if job.policy.missed_fires == MissedFires::All => {
                (Outcome::Dropped, Reason::BacklogFull)
            }
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
        if view.due_at(fire.slot) > view.now {
            continue;
        }
        match fate(view, job, schedule, fire.slot) {
            Fate::Over(outcome, reason) => record(view, fire.slot, None, outcome, reason, draft),
            Fate::Eligible => eligible.push(fire.slot),
        }
    }
    eligible
}

/// The slots that still wait for their turn; those whose time is over are recorded.
fn still_held(view: &JobView<'_>, job: &Job, schedule: &Schedule, draft: &mut Draft) -> Vec<HeldSlot> {
    let mut line = Vec::new();
    let held = view.record.map_or(&[][..], |record| &record.held);
    for &held in held.iter().filter(|held| held.slot.at() <= view.now) {
        let over = match no_starts(view) {
            Some(over) => Some(over),
            None => {
                let deadline = match held.line {
                    // Its turn comes when the run before it ends, however many slots that takes.
                    // Where a lock may go one day, not for ever.
                    Line::Queue => job
                        .policy
                        .starting_deadline
                        .or(view.launches_at_once().then_some(BACKLOG_PATIENCE))
                        .and_then(|limit| view.due_at(held.slot).checked_add(limit).ok()),
                    Line::Backlog => deadline(view, schedule, held.slot),
                };
                deadline.into_iter().for_each(|at| draft.wake_at(at));
                deadline
                    .filter(|deadline| *deadline <= view.now)
                    .map(|deadline| (Outcome::Missed, too_late(view, held.slot, deadline)))
            }
        };
        match over {
            Some((outcome, reason)) => record_waited(view, held.slot, outcome, reason, draft),
            None => line.push(held),
        }
    }
    line
}

/// Nothing of this job is to start now, by a person's word.
fn no_starts(view: &JobView<'_>) -> Option<(Outcome, Reason)> {
    if let Some(pause) = view.paused() {
        let by = pause.by.clone();
        return Some((Outcome::Suspended, Reason::Paused { by }));
    }
    let was_suspended = view.record.is_some_and(|record| record.policy.suspend);
    (view.suspended() || was_suspended).then_some((Outcome::Suspended, Reason::Suspended))
}

/// The pointer must not pass over a slot that is not decided yet: what is recorded beyond it is
/// found as recorded ahead.
fn keep_pointer(view: &JobView<'_>, decision: Decision, eligible: &[Slot], draft: &mut Draft) {
    let undecided = match decision {
        Decision::Clear => view.spread_now(),
        Decision::Starting(slot) | Decision::Making(slot) | Decision::Pending(slot) => {
            eligible.contains(&slot).then_some(slot)
        }
    };
    let Some(undecided) = undecided else { return };
    for (action, _) in &mut draft.steps {
        let row = match action {
            Action::Record(row) => row,
            Action::Hold(hold) => &mut hold.otherwise,
            _ => continue,
        };
        if row.slot > undecided {
            row.settled = None;
        }
    }
}

/// What follows a series with the same outcome and reason becomes part of it.
fn extend_series(schedule: &Schedule, draft: &mut Draft) {
    let mut steps: Vec<(Action, Cause)> = Vec::with_capacity(draft.steps.len());
    for (action, cause) in std::mem::take(&mut draft.steps) {
        if let (Action::Record(new), Some((Action::Record(before), _))) = (&action, steps.last_mut())
            && let (None, Some((last, count))) = (new.series, before.series)
            && (new.outcome, &new.reason, new.settled) == (before.outcome, &before.reason, before.settled)
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
    for held in view.record.map_or(&[][..], |record| &record.held) {
        if held.slot.at() <= view.now {
            record_waited(view, held.slot, Outcome::Missed, otherwise.clone(), draft);
        }
    }
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
            // What is too late even for the backlog is a series of its own.
            let all = view
                .policy()
                .is_some_and(|policy| policy.missed_fires == MissedFires::All);
            let cut = all
                .then(|| view.now.checked_sub(patience(view)).ok())
                .flatten()
                .filter(|cut| from < *cut && *cut < before);
            let cut = cut.unwrap_or(from);
            due.older = series_between(view, schedule, from, cut);
            due.older.extend(series_between(view, schedule, cut, before));
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
    let due_at = view.due_at(slot);
    if let Some(pause) = view.record.and_then(|record| record.pause_at(due_at)) {
        let by = pause.by.clone();
        return Fate::Over(Outcome::Suspended, Reason::Paused { by });
    }
    if let Some((outcome, reason)) = no_starts(view) {
        return Fate::Over(outcome, reason);
    }
    let while_down = due_at < view.world.up_since;
    if while_down && (view.world.clock_suspect || job.policy.missed_fires == MissedFires::Skip) {
        let reason = if view.world.clock_suspect {
            Reason::ClockJumped
        } else {
            view.gap_reason(slot).unwrap_or(Reason::SchedulerDown)
        };
        return Fate::Over(Outcome::Missed, reason);
    }
    match deadline(view, schedule, slot) {
        Some(deadline) if deadline <= view.now => Fate::Over(Outcome::Missed, too_late(view, slot, deadline)),
        _ => Fate::Eligible,
    }
}

/// Why a slot's deadline passed without a start. A scheduler that was away for a moment is the reason only
/// where there is no better one.
fn too_late(view: &JobView<'_>, slot: Slot, deadline: Timestamp) -> Reason {
    if let Some(gap) = view.gap_until(slot, deadline) {
        return gap;
    }
    let checked = view.world.checked.get(&view.name);
    if let Some(missing) = checked.and_then(|found| found.missing.clone()) {
        return Reason::NotArmed(missing);
    }
    let not_armed = view.record.and_then(|record| record.arm_failure.as_ref());
    match (not_armed, &view.full) {
        (Some(failure), _) => Reason::NotArmed(failure.detail.clone()),
        (None, Some((cap, _))) => Reason::NoPlace(cap.to_string()),
        (None, None) => view.gap_reason(slot).unwrap_or(Reason::DeadlinePassed),
    }
}

/// How long after its time a slot of a job with `missed_fires: all` may still start.
fn patience(view: &JobView<'_>) -> Duration {
    let limit = view.policy().and_then(|policy| policy.starting_deadline);
    limit.unwrap_or(BACKLOG_PATIENCE)
}

/// How long after its due time a run may still be started by any scheduler that declares the job: beyond
/// that, its next slot is the limit.
pub(super) fn patience_beside(view: &JobView<'_>) -> SignedDuration {
    let Some(policy) = view.policy() else {
        return SignedDuration::from_secs(3600);
    };
    let waits = policy.missed_fires == MissedFires::All || policy.concurrency == Concurrency::Queue;
    let limit = policy.starting_deadline.or(waits.then_some(BACKLOG_PATIENCE));
    SignedDuration::try_from(limit.unwrap_or_default()).unwrap_or(SignedDuration::MAX)
}

/// The moment from which a slot is no longer started.
pub(super) fn deadline(view: &JobView<'_>, schedule: &Schedule, slot: Slot) -> Option<Timestamp> {
    let policy = view.policy()?;
    match (policy.starting_deadline, policy.missed_fires) {
        (None, MissedFires::One | MissedFires::Skip) => {
            schedule.next_after(slot.at()).map(|fire| view.due_at(fire.slot))
        }
        (Some(_), _) | (None, MissedFires::All) => view.due_at(slot).checked_add(patience(view)).ok(),
    }
}

/// Only the newest slot is caught up.
pub(super) fn miss_older(view: &JobView<'_>, older: &[Slot], newest: Slot, draft: &mut Draft) {
    for &slot in older {
        let reason = superseded_reason(view, slot, newest);
        record(view, slot, None, Outcome::Missed, reason, draft);
    }
}

fn superseded_reason(view: &JobView<'_>, slot: Slot, newest: Slot) -> Reason {
    view.gap_reason(slot)
        .unwrap_or(Reason::NewerSlotDue { newer: newest })
}

/// One attempt at a slot that is to be made now.
pub(super) struct Attempt {
    pub slot: Slot,
    /// Counts from 0.
    pub number: u32,
    pub due_at: Timestamp,
    /// From then on it is no longer started.
    pub deadline: Option<Timestamp>,
    /// Not beside another active run of the job.
    pub exclusive: bool,
    /// Whether the job's pointer moves to its slot; it has passed those that waited.
    pub settles: bool,
    pub cause: Cause,
}

/// Starts it, making its container first where none is armed.
pub(super) fn start(view: &JobView<'_>, job: &Job, attempt: Attempt, draft: &mut Draft) -> Decision {
    let slot = attempt.slot;
    attempt.deadline.into_iter().for_each(|at| draft.wake_at(at));
    if view.is_exec() {
        return start_exec(view, job, &attempt, draft);
    }
    let made = view
        .container_for(slot, attempt.number)
        .filter(|container| view.is_current(container, job));
    let current = made.filter(|container| view.is_checked(container));
    let in_use = view.reuses() && view.reused_in_use().is_some();
    if view.busy(Lane::Run) || (current.is_none() && (view.busy(Lane::Arm) || in_use)) {
        // Its start may be under way already.
        draft.wants_since = view.busy(Lane::Run).then_some(attempt.due_at);
        draft.wait(WaitCause::BeingArmed { slot });
        return Decision::Pending(slot);
    }
    if current.is_none()
        && let Some(obstacle) = super::converge::cannot_arm(view, job, draft)
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
            its && made.is_none_or(|made| made.id != container.id)
        })
        .filter(|container| is_idle(container) && view.run_of(container).is_none())
        .map(|container| target(container))
        .collect();
    draft.wants_since = Some(attempt.due_at);
    let cause = attempt.cause.clone();
    let launch = Box::new(launch_attempt(view, job, &attempt));
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
fn start_exec(view: &JobView<'_>, job: &Job, attempt: &Attempt, draft: &mut Draft) -> Decision {
    let slot = attempt.slot;
    // No event tells of other people's containers, nor of a command that was started in one.
    draft.wake_at(view.now.saturating_add(LOOK_AGAIN).unwrap_or(view.now));
    if view.busy(Lane::Exec(slot)) || view.target_problem().is_some() {
        draft.wants_since = view.busy(Lane::Exec(slot)).then_some(attempt.due_at);
        return Decision::Pending(slot);
    }
    draft.wants_since = Some(attempt.due_at);
    let action = Action::Start {
        launch: Box::new(launch_attempt(view, job, attempt)),
        armed: None,
        discard: Vec::new(),
    };
    draft.act(action, attempt.cause.clone());
    Decision::Starting(slot)
}

/// The container of a slot's first attempt, to be made ahead of its time.
pub(super) fn launch(view: &JobView<'_>, job: &Job, slot: Slot) -> Launch {
    let attempt = Attempt {
        slot,
        number: 0,
        due_at: view.due_at(slot),
        deadline: None,
        exclusive: true,
        settles: true,
        cause: Cause::NextSlot,
    };
    launch_attempt(view, job, &attempt)
}

fn launch_attempt(view: &JobView<'_>, job: &Job, attempt: &Attempt) -> Launch {
    Launch {
        job: job.name.clone(),
        name: ContainerName::of_slot(&view.world.instance, &job.name, attempt.slot, attempt.number),
        slot: Some(attempt.slot),
        attempt: attempt.number,
        due_at: attempt.due_at,
        deadline: attempt.deadline,
        spec: job.container.clone(),
        spec_hash: view.spec_hash.clone(),
        pull: job.container.pull_policy,
        origin: job.origin.clone(),
        exclusive: attempt.exclusive,
        caps: view.caps.clone(),
        group: job.policy.group.clone(),
        settled: attempt.settles.then(|| recorded_to(view)),
    }
}

/// Up to where the job's slots have their records in the ledger.
fn recorded_to(view: &JobView<'_>) -> Timestamp {
    view.record.map_or(Timestamp::MIN, |record| record.settled)
}

pub(super) fn target(container: &crate::model::Container) -> Target {
    Target {
        id: container.id.clone(),
        name: container.name.clone(),
        nonce: container.stamp.nonce.clone(),
        reused: container.stamp.reused,
    }
}

pub(super) fn record(
    view: &JobView<'_>,
    slot: Slot,
    series: Option<(Slot, u64)>,
    outcome: Outcome,
    reason: Reason,
    draft: &mut Draft,
) {
    let mut row = not_run(view, slot, outcome, reason);
    row.series = series;
    draft.act(Action::Record(Box::new(row)), Cause::SlotDecided);
}

/// The same for a slot that the job's pointer has passed already.
fn record_waited(view: &JobView<'_>, slot: Slot, outcome: Outcome, reason: Reason, draft: &mut Draft) {
    let mut row = not_run(view, slot, outcome, reason);
    row.settled = None;
    draft.act(Action::Record(Box::new(row)), Cause::SlotDecided);
}

/// Lets a slot wait for its turn; without a place it is recorded as that instead.
pub(super) fn hold(
    view: &JobView<'_>,
    slot: Slot,
    line: Line,
    most: u32,
    otherwise: (Outcome, Reason),
    draft: &mut Draft,
) {
    let otherwise = not_run(view, slot, otherwise.0, otherwise.1);
    let hold = Hold {
        line,
        most,
        otherwise,
    };
    draft.act(Action::Hold(Box::new(hold)), Cause::SlotDecided);
}

fn not_run(view: &JobView<'_>, slot: Slot, outcome: Outcome, reason: Reason) -> NotRun {
    let origin = view
        .job
        .map(|job| job.origin.clone())
        .or(view.record.map(|record| record.origin.clone()))
        .unwrap_or_default();
    NotRun {
        name: ContainerName::of_slot(&view.world.instance, &view.name, slot, 0),
        slot,
        series: None,
        outcome,
        reason,
        origin,
        settled: Some(recorded_to(view)),
    }
}

/// A run's container that never started, as far as the engine says.
pub(super) fn looks_unstarted(status: &ContainerStatus) -> bool {
    *status == ContainerStatus::Created
}
