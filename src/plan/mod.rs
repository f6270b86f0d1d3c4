//! The heart: what is declared and what is there, turned into what is to be done.
//!
//! [`plan`] is pure and total: no clock, no file, no engine, no failure. The same input gives the
//! same plan, byte for byte. It says *why* for everything it does and for everything it leaves.

mod action;
mod converge;
mod diff;
mod due;
mod fingerprint;
mod places;
mod render;
mod retain;
mod turn;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{Arming, Desired, JobName, Observed};

pub use action::{
    Action, Cause, Followed, Hold, Launch, NextFire, NotRun, Plan, Sight, Step, Target, WaitCause, Waiting,
};
pub(crate) use converge::RESERVED_FOR;
pub use diff::unified;
use due::Decision;
pub use fingerprint::spec_hash;
pub(crate) use render::WAIT;
pub use render::{Entry, describe_cause, describe_wait, image_edit, lay_out, render, times, when_in_words};
use view::{ByJob, Draft, JobView};

/// What to do now, and why; what is not done, and why not.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let seen = ByJob::new(observed);
    let mut views: Vec<JobView<'_>> = all_names(desired, observed)
        .into_iter()
        .map(|name| JobView::new(name, desired, &seen, now))
        .collect();
    places::look(&mut views, observed, now);
    let mut parts: Vec<(Draft, Decision)> = views.iter().map(decide).collect();
    places::admit(&views, &mut parts, observed, now);
    let within_limit = nearest(&views, desired.arming);

    let mut plan = Plan {
        at: now,
        engine: observed.engine.name.clone(),
        steps: Vec::new(),
        waiting: Vec::new(),
        unchanged: Vec::new(),
        inactive: desired.inactive.keys().cloned().collect(),
        checked: checked(desired, observed),
        next_wake: None,
    };
    for (view, (mut draft, decision)) in views.iter().zip(parts) {
        if view.job.is_some() {
            let within_limit = within_limit.contains(&view.name);
            converge::arm(view, &decision, desired.arming, within_limit, &mut draft);
            retain::prune(view, &mut draft);
            converge::show_edit(view, &mut draft);
        } else if converge::forget(view, &desired.removals, &mut draft) {
            retain::prune(view, &mut draft);
        }
        draft.finish(view, &mut plan);
    }
    plan
}

/// What was found of what the declared jobs lean on.
fn checked(desired: &Desired, observed: &Observed) -> BTreeMap<JobName, Vec<String>> {
    let found = observed.checked.iter();
    found
        .filter(|(name, checked)| desired.jobs.contains_key(name) && !checked.met.is_empty())
        .map(|(name, checked)| (name.clone(), checked.met.clone()))
        .collect()
}

/// What became of one job's slots, as far as the job alone decides it. A job that left the manifests
/// has none; a run of it finishes, and then what it kept is pruned.
fn decide(view: &JobView<'_>) -> (Draft, Decision) {
    let mut draft = Draft::default();
    converge::see(view, &mut draft);
    retain::follow(view, &mut draft);
    retain::settle(view, &mut draft);
    due::stop_overdue(view, &mut draft);
    let decision = due::decide(view, &mut draft);
    (draft, decision)
}

/// Every job that is declared, or of which engine or ledger still hold something.
fn all_names(desired: &Desired, observed: &Observed) -> BTreeSet<JobName> {
    let recorded = observed
        .jobs
        .values()
        .filter(|record| !record.removed)
        .map(|record| &record.name);
    let labelled = observed.containers.values().map(|container| &container.stamp.job);
    let ran = observed
        .runs
        .iter()
        .filter(|run| run.outcome.is_none() || !run.container_gone)
        .map(|run| &run.job);
    desired
        .jobs
        .keys()
        .chain(recorded)
        .chain(labelled)
        .chain(ran)
        .cloned()
        .collect()
}

/// The jobs whose next slots are nearest, as many as may be armed.
fn nearest<'a>(views: &'a [JobView<'_>], arming: Arming) -> BTreeSet<&'a JobName> {
    let Arming::Nearest(limit) = arming else {
        return BTreeSet::new();
    };
    let mut coming: Vec<_> = views
        .iter()
        .filter_map(|view| Some((view.next_fire()?.slot, &view.name)))
        .collect();
    coming.sort();
    coming.truncate(limit);
    coming.into_iter().map(|(_, name)| name).collect()
}
