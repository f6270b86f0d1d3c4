//! The heart: what is declared and what is there, turned into what is to be done.
//!
//! [`plan`] is pure and total: no clock, no file, no engine, no failure. The same input gives the
//! same plan, byte for byte. It says *why* for everything it does and for everything it leaves.

mod action;
mod converge;
mod diff;
mod due;
mod fingerprint;
mod render;
mod retain;
mod view;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{Arming, Desired, JobName, Observed};

pub use action::{Action, Cause, Launch, NextFire, NotRun, Plan, Sight, Step, Target, WaitCause, Waiting};
pub use diff::unified;
pub use fingerprint::spec_hash;
pub use render::{describe_cause, describe_wait, render, when_in_words};
use view::{ByJob, Draft, JobView};

/// What to do now, and why; what is not done, and why not.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let seen = ByJob::new(observed);
    let views: Vec<JobView<'_>> = all_names(desired, observed)
        .into_iter()
        .map(|name| JobView::new(name, desired, &seen, now))
        .collect();
    let within_limit = nearest(&views, desired.arming);

    let mut plan = Plan {
        at: now,
        engine: observed.engine.name.clone(),
        steps: Vec::new(),
        waiting: Vec::new(),
        unchanged: Vec::new(),
        next_wake: None,
    };
    for view in &views {
        let mut draft = Draft::default();
        if view.job.is_some() {
            let within_limit = within_limit.contains(&view.name);
            declared(view, desired.arming, within_limit, &mut draft);
        } else {
            no_longer_declared(view, desired, &mut draft);
        }
        draft.finish(view, &mut plan);
    }
    plan
}

/// The story of one declared job.
fn declared(view: &JobView<'_>, arming: Arming, within_limit: bool, draft: &mut Draft) {
    converge::see(view, draft);
    retain::settle(view, draft);
    due::stop_overdue(view, draft);
    let decision = due::decide(view, draft);
    converge::arm(view, &decision, arming, within_limit, draft);
    retain::prune(view, draft);
    converge::show_edit(view, draft);
}

/// The story of a job that left the manifests: its armed container goes, a run finishes, then what
/// it kept is pruned.
fn no_longer_declared(view: &JobView<'_>, desired: &Desired, draft: &mut Draft) {
    retain::settle(view, draft);
    due::stop_overdue(view, draft);
    if converge::forget(view, &desired.removals, draft) {
        retain::prune(view, draft);
    }
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
