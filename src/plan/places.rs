//! Limits on what runs at once, over all jobs: whoever was due first has the place.
//!
//! What is found here is found again in the ledger, in the transaction of each intent: two processes
//! cannot exceed a limit together, only be refused.

use jiff::Timestamp;

use super::action::{Action, WaitCause};
use super::due::Decision;
use super::view::{Draft, JobView};
use crate::model::{Cap, ContainerName, Observed, RunId, Slot};

/// What runs, or may run, and for which group it counts.
type Running = Vec<(Option<String>, RunId)>;

/// Tells each job which of its limits is reached already.
pub(super) fn look(views: &mut [JobView<'_>], observed: &Observed, now: Timestamp) {
    let running = running(observed, now);
    for view in views {
        view.full = reached(&view.caps, &running);
    }
}

/// Of the starts that were planned, only as many stay as there are places.
pub(super) fn admit(
    views: &[JobView<'_>],
    parts: &mut [(Draft, Decision)],
    observed: &Observed,
    now: Timestamp,
) {
    let mut running = running(observed, now);
    let mut wanting: Vec<usize> = (0..parts.len())
        .filter(|&at| parts[at].0.wants_since.is_some() && !views[at].caps.is_empty())
        .collect();
    wanting.sort_by_key(|&at| (parts[at].0.wants_since, &views[at].name));
    for at in wanting {
        let (draft, decision) = &mut parts[at];
        match reached(&views[at].caps, &running) {
            None => {
                let group = views[at].job.and_then(|job| job.policy.group.clone());
                running.extend(name_of(draft, *decision, &views[at]).map(|name| (group, name)));
            }
            Some((cap, by)) => refuse(draft, decision, cap, by),
        }
    }
}

fn running(observed: &Observed, now: Timestamp) -> Running {
    let active = observed.runs.iter().filter(|run| run.is_active(now));
    active.map(|run| (run.group.clone(), run.id.clone())).collect()
}

fn reached(caps: &[Cap], running: &Running) -> Option<(Cap, Vec<RunId>)> {
    caps.iter().find_map(|cap| {
        let counts = |group: &Option<String>| cap.group.is_none() || *group == cap.group;
        let by: Vec<RunId> = running
            .iter()
            .filter(|(group, _)| counts(group))
            .map(|(_, run)| run.clone())
            .collect();
        (by.len() >= cap.limit as usize).then(|| (cap.clone(), by))
    })
}

/// The run that is about to have a place; of a start that is under way its slot's.
fn name_of(draft: &Draft, decision: Decision, view: &JobView<'_>) -> Option<RunId> {
    let planned = draft.steps.iter().find_map(|(action, _)| match action {
        Action::Start { launch, .. } => Some(launch.name.clone()),
        _ => None,
    });
    planned.or(match decision {
        Decision::Starting(slot) | Decision::Making(slot) | Decision::Pending(slot) => {
            Some(ContainerName::of_slot(&view.world.instance, &view.name, slot, 0))
        }
        Decision::Clear => None,
    })
}

/// Takes the start out of the draft: it waits, with its container.
fn refuse(draft: &mut Draft, decision: &mut Decision, cap: Cap, by: Vec<RunId>) {
    let mut refused: Option<Slot> = None;
    draft.steps.retain(|(action, _)| match action {
        Action::Start { launch, .. } => {
            refused = launch.slot;
            false
        }
        _ => true,
    });
    if let Some(slot) = refused {
        draft.wait(WaitCause::AtLimit { slot, cap, by });
        *decision = Decision::Pending(slot);
    }
}
