//! Whose turn it is: further attempts, slots that waited, new slots, and the runs in their way.
//!
//! An attempt that is to be repeated goes first, then what waits, in order, then the newest slot;
//! `concurrency` says what happens to a slot that is not free to start.

use jiff::Timestamp;

use super::action::{Action, Cause, WaitCause};
use super::due::{self, Attempt, Decision, hold, miss_older, record};
use super::view::{Draft, JobView};
use crate::model::{
    Claim, Concurrency, Container, HeldSlot, Job, Lane, Line, MissedFires, Outcome, Reason, Run, RunId, Slot,
};

/// As many slots wait in a backlog; the rest are dropped.
const BACKLOG: u32 = 100;

/// `concurrency: queue` holds one.
const QUEUE: u32 = 1;

/// What stands in the way of a start.
enum Obstacle<'a> {
    /// Its result is being read: wait a moment.
    Ending(&'a Run),
    Active(&'a Run),
    Held(&'a Run),
    Stray(&'a Container),
}

impl Obstacle<'_> {
    fn runs(&self) -> Vec<RunId> {
        match self {
            Obstacle::Ending(run) | Obstacle::Active(run) | Obstacle::Held(run) => vec![run.id.clone()],
            Obstacle::Stray(container) => vec![container.name.clone()],
        }
    }
}

/// What the newest slot that may start is to do.
enum Fresh {
    None,
    Start(Slot),
    Wait(Slot),
}

/// Finds out who starts now, and what becomes of the others.
pub(super) fn take(
    view: &JobView<'_>,
    job: &Job,
    line: &[HeldSlot],
    eligible: &[Slot],
    draft: &mut Draft,
) -> Decision {
    let retries = match (job.policy.concurrency, eligible.last()) {
        (Concurrency::Replace, Some(&newest)) => {
            give_up_retries(view, &Reason::Replaced { by: newest }, draft);
            Vec::new()
        }
        _ => retries(view, job, draft),
    };
    let obstacle = obstacle(view);
    let mut line = line.to_vec();
    let fresh = place(view, job, obstacle.as_ref(), &retries, &mut line, eligible, draft);
    let free = obstacle.is_none();
    if let Fresh::Start(slot) = fresh {
        return start_fresh(view, job, slot, draft);
    }
    let ready = retries.iter().find(|retry| retry.at <= view.now);
    if let Some(retry) = ready.filter(|_| free || job.policy.concurrency == Concurrency::Allow) {
        return start_retry(view, job, retry, draft);
    }
    if let Some(first) = line.first() {
        if free && retries.is_empty() {
            return start_held(view, job, *first, draft);
        }
        draft.wait(WaitCause::Queued {
            slot: first.slot,
            line: first.line,
            behind: obstacle.as_ref().map(Obstacle::runs).unwrap_or_default(),
        });
        return Decision::Pending(first.slot);
    }
    match fresh {
        Fresh::Wait(slot) => Decision::Pending(slot),
        Fresh::None | Fresh::Start(_) => Decision::Clear,
    }
}

/// Whether something of the job runs, or may run.
fn obstacle<'a>(view: &'a JobView<'_>) -> Option<Obstacle<'a>> {
    for run in &view.runs {
        if run.holds_job(view.now) {
            return Some(Obstacle::Held(run));
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

/// Finds each new slot its place: to start, to wait, or to be recorded.
fn place(
    view: &JobView<'_>,
    job: &Job,
    obstacle: Option<&Obstacle<'_>>,
    retries: &[Retry<'_>],
    line: &mut Vec<HeldSlot>,
    eligible: &[Slot],
    draft: &mut Draft,
) -> Fresh {
    let Some((&newest, older)) = eligible.split_last() else {
        return Fresh::None;
    };
    // A person started what was armed for this very slot.
    if let Some(Obstacle::Stray(own)) = obstacle
        && own.claim == Claim::Known
        && own.stamp.slot == Some(newest)
    {
        miss_older(view, older, newest, draft);
        record(view, newest, None, Outcome::Unknown, Reason::StartedByHand, draft);
        return Fresh::None;
    }
    let backlog = !line.is_empty() || eligible.len() > 1 || view.due_at(newest) < view.world.up_since;
    if job.policy.missed_fires == MissedFires::All && backlog {
        wait_in_line(view, Line::Backlog, eligible, line, draft);
        return Fresh::None;
    }
    let pending = retries.iter().map(|retry| retry.at).min();
    let in_the_way = match (job.policy.concurrency, obstacle) {
        (Concurrency::Allow, _) if line.is_empty() => None,
        (_, Some(Obstacle::Ending(run))) => {
            let since = since(run);
            let run = run.id.clone();
            draft.wait(WaitCause::PreviousRunActive { since, run });
            return Fresh::Wait(newest);
        }
        (_, Some(Obstacle::Active(run))) => Some(Reason::PreviousRunActive {
            since: run.started_at.unwrap_or(run.due_at),
        }),
        (_, Some(Obstacle::Held(_))) => Some(Reason::UnknownRunMayStillRun),
        (_, Some(Obstacle::Stray(other))) => Some(Reason::StrayRunning(other.name.to_string())),
        (_, None) => pending.map(|at| Reason::RetryPending { at }),
    };
    match (in_the_way, job.policy.concurrency, obstacle) {
        (None, _, _) if line.is_empty() => {
            miss_older(view, older, newest, draft);
            Fresh::Start(newest)
        }
        (_, Concurrency::Replace, Some(Obstacle::Active(run))) => {
            miss_older(view, older, newest, draft);
            make_room(view, run, newest, draft);
            Fresh::Wait(newest)
        }
        (Some(reason), Concurrency::Queue, obstacle) if !matches!(obstacle, Some(Obstacle::Held(_))) => {
            queue(view, &reason, line, eligible, draft);
            Fresh::None
        }
        (Some(reason), _, _) => {
            skip(view, eligible, &reason, draft);
            Fresh::None
        }
        // Something waits that an older policy let wait: it goes first.
        (None, Concurrency::Queue, _) => {
            skip(view, eligible, &Reason::QueueFull, draft);
            Fresh::None
        }
        (None, _, _) => {
            miss_older(view, older, newest, draft);
            Fresh::Wait(newest)
        }
    }
}

fn since(run: &Run) -> Timestamp {
    run.started_at
        .or(run.intent.as_ref().map(|intent| intent.at))
        .unwrap_or(run.due_at)
}

fn skip(view: &JobView<'_>, slots: &[Slot], reason: &Reason, draft: &mut Draft) {
    for &slot in slots {
        record(view, slot, None, Outcome::Skipped, reason.clone(), draft);
    }
}

/// The first one that has to wait is held, the others find the queue full. Of what was due while
/// nobody looked only the newest counts.
fn queue(
    view: &JobView<'_>,
    reason: &Reason,
    line: &mut Vec<HeldSlot>,
    eligible: &[Slot],
    draft: &mut Draft,
) {
    let down = eligible.partition_point(|&slot| view.due_at(slot) < view.world.up_since);
    let (missed, rest) = eligible.split_at(down.min(eligible.len() - 1));
    let first = rest[0];
    miss_older(view, missed, first, draft);
    let mut rest = rest;
    if line.is_empty() {
        let full = (Outcome::Skipped, reason.clone());
        hold(view, first, Line::Queue, QUEUE, full, draft);
        line.push(HeldSlot {
            slot: first,
            line: Line::Queue,
        });
        rest = &rest[1..];
    }
    skip(view, rest, &Reason::QueueFull, draft);
}

/// All of them wait, in order.
fn wait_in_line(
    view: &JobView<'_>,
    kind: Line,
    eligible: &[Slot],
    line: &mut Vec<HeldSlot>,
    draft: &mut Draft,
) {
    for &slot in eligible {
        let full = (Outcome::Dropped, Reason::BacklogFull);
        hold(view, slot, kind, BACKLOG, full, draft);
        if line.len() < BACKLOG as usize {
            line.push(HeldSlot { slot, line: kind });
        }
    }
}

/// Stops the run that is in the way of a newer slot.
fn make_room(view: &JobView<'_>, run: &Run, by: Slot, draft: &mut Draft) {
    let stopping = run.stop_requested.is_some()
        || draft
            .steps
            .iter()
            .any(|(action, _)| matches!(action, Action::Stop { run: stopped, .. } if *stopped == run.id));
    if let (false, false, Some(container)) = (stopping, view.busy(Lane::Run), view.live_container(run)) {
        let stop = Action::Stop {
            run: run.id.clone(),
            container,
            grace: view.job.and_then(|job| job.container.stop_grace_period),
            outcome: Outcome::Cancelled,
            reason: Some(Reason::Replaced { by }),
        };
        draft.act(stop, Cause::Replaced { by });
    }
    draft.wait(WaitCause::Replacing {
        run: run.id.clone(),
        slot: by,
    });
}

fn start_fresh(view: &JobView<'_>, job: &Job, slot: Slot, draft: &mut Draft) -> Decision {
    let attempt = Attempt {
        slot,
        number: 0,
        due_at: view.due_at(slot),
        deadline: view
            .schedule
            .as_ref()
            .ok()
            .and_then(|schedule| due::deadline(view, schedule, slot)),
        exclusive: job.policy.concurrency != Concurrency::Allow,
        settles: true,
        cause: due_cause(view, slot, view.gap_reason(slot)),
    };
    due::start(view, job, attempt, draft)
}

fn start_held(view: &JobView<'_>, job: &Job, held: HeldSlot, draft: &mut Draft) -> Decision {
    let why = view.gap_reason(held.slot).unwrap_or(Reason::Waited);
    let attempt = Attempt {
        slot: held.slot,
        number: 0,
        due_at: view.due_at(held.slot),
        deadline: None,
        exclusive: true,
        settles: false,
        cause: due_cause(view, held.slot, Some(why)),
    };
    due::start(view, job, attempt, draft)
}

fn due_cause(view: &JobView<'_>, slot: Slot, why: Option<Reason>) -> Cause {
    Cause::Due {
        late_secs: view.now.as_second() - view.due_at(slot).as_second(),
        why,
    }
}

fn start_retry(view: &JobView<'_>, job: &Job, retry: &Retry<'_>, draft: &mut Draft) -> Decision {
    let attempt = Attempt {
        slot: retry.slot,
        number: retry.run.attempt + 1,
        due_at: retry.at,
        deadline: retry.deadline,
        exclusive: job.policy.concurrency != Concurrency::Allow,
        settles: false,
        cause: Cause::Retry {
            after: retry.run.reason.clone(),
        },
    };
    due::start(view, job, attempt, draft)
}

/// An attempt that is to be followed by another one.
struct Retry<'a> {
    run: &'a Run,
    slot: Slot,
    at: Timestamp,
    /// Its own due time stands in the slot's place: until then, or until the next slot, it may start.
    deadline: Option<Timestamp>,
}

/// The attempts to come, oldest slot first; those that nobody wants any more are given up.
fn retries<'a>(view: &'a JobView<'_>, job: &Job, draft: &mut Draft) -> Vec<Retry<'a>> {
    let mut found = Vec::new();
    for run in view.runs.iter().rev() {
        let (Some(slot), Some(retry_at)) = (run.slot, run.retry_at) else {
            continue;
        };
        // What may still be running is not repeated.
        let at = match run.held_until {
            Some(held_until) if run.holds_job(view.now) => retry_at.max(held_until),
            _ => retry_at,
        };
        let retry = Retry {
            run,
            slot,
            at,
            deadline: deadline(view, job, at),
        };
        if let Some(why) = unwanted(view, job, &retry) {
            give_up(run, why, draft);
            continue;
        }
        if at > view.now {
            draft.wake_at(at);
            draft.wait(WaitCause::RetryPending {
                run: run.id.clone(),
                at,
            });
        }
        found.push(retry);
    }
    found
}

pub(super) fn deadline(view: &JobView<'_>, job: &Job, at: Timestamp) -> Option<Timestamp> {
    match job.policy.starting_deadline {
        Some(limit) => at.checked_add(limit).ok(),
        None => {
            let next = view.schedule.as_ref().ok()?.next_after(at)?;
            Some(view.due_at(next.slot))
        }
    }
}

/// Why an attempt is not followed by another one after all.
fn unwanted(view: &JobView<'_>, job: &Job, retry: &Retry<'_>) -> Option<Reason> {
    if let Some(pause) = view.paused() {
        let by = pause.by.clone();
        return Some(Reason::Paused { by });
    }
    if view.suspended() {
        return Some(Reason::Suspended);
    }
    let allowed = match retry.run.outcome {
        Some(Outcome::Unknown) if job.policy.may_rerun_unknown() => job.policy.retries.max(1),
        Some(Outcome::Unknown) => 0,
        _ => job.policy.retries,
    };
    if retry.run.attempt >= allowed {
        return Some(Reason::PolicyEdited);
    }
    let passed = retry.deadline.is_some_and(|deadline| deadline <= view.now);
    passed.then_some(Reason::DeadlinePassed)
}

fn give_up(run: &Run, why: Reason, draft: &mut Draft) {
    let run = run.id.clone();
    draft.act(Action::GiveUp { run, why }, Cause::SlotDecided);
}

/// No attempt of this job is followed by another one.
pub(super) fn give_up_retries(view: &JobView<'_>, why: &Reason, draft: &mut Draft) {
    for run in view.runs.iter().filter(|run| run.retry_at.is_some()) {
        give_up(run, why.clone(), draft);
    }
}
