//! Results to be read, and finished containers to keep or to prune.

use super::action::{Action, Cause, WaitCause};
use super::due::{LOOK_AGAIN, looks_unstarted, target};
use super::view::{Draft, JobView, is_idle};
use crate::model::{Claim, ContainerStatus, History, Lane, Outcome, Run, Within};

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
            Claim::Known | Claim::Discarded => false,
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
