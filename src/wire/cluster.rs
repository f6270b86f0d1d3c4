//! The plan for a cluster, in the same shape as that for an engine.

use std::collections::BTreeMap;

use crate::kubernetes;
use crate::model::{JobName, Origin};

use super::{Change, Plan, Summary, VERSION, Waiting};

impl Plan {
    /// `origins` say where the declared jobs stand.
    #[must_use]
    pub fn of_cluster(made: &kubernetes::Plan, origins: &BTreeMap<JobName, Origin>) -> Plan {
        let count = |action| made.steps.iter().filter(|step| step.action == action).count();
        Plan {
            v: VERSION,
            at: made.at,
            engine: made.engine.clone(),
            changes: made
                .steps
                .iter()
                .map(|step| Change {
                    job: step.job.clone(),
                    action: step.action.word(),
                    cause: step.cause.word(),
                    detail: kubernetes::describe(step, origins.get(&step.job)),
                    diff: step.diff.clone(),
                    next_before: kubernetes::slot_of(step.next_before.as_ref()),
                    next_after: kubernetes::slot_of(step.next_after.as_ref()),
                })
                .collect(),
            waiting: made
                .waiting
                .iter()
                .map(|waiting| Waiting {
                    job: waiting.job.clone(),
                    cause: waiting.cause.word(),
                    detail: waiting.cause.describe(),
                })
                .collect(),
            unchanged: made.unchanged.clone(),
            inactive: made.inactive.clone(),
            summary: Summary {
                create: count(kubernetes::Action::Create),
                update: count(kubernetes::Action::Update),
                remove: count(kubernetes::Action::Remove),
                ..Summary::default()
            },
            next_wake: None,
        }
    }
}
