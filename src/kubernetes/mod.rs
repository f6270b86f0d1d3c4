//! Jobs as CronJobs: what can be mapped, and what of it Kubernetes does differently.
//!
//! Pure: objects are JSON values, made from a job alone, so that `export` prints what a live cluster
//! would be given. Nothing is guessed: a key without an equal is a finding of [`check`], and
//! [`objects`] is for jobs without errors.
//!
//! | file | |
//! |---|---|
//! | `check.rs` | what has no equal, or is different there |
//! | `objects.rs` | CronJob, Secret and ConfigMap |
//! | `pod.rs`, `volumes.rs` | the pod in them, and what its container sees |
//! | `contents.rs` | what secrets and configs hold |
//! | `timing.rs` | schedules in the words of Kubernetes |
//! | `live.rs` | objects as a cluster has them: whose they are, how they differ |
//! | `plan.rs` | what to do in a cluster, and why |
//! | `rights.rs` | what the account that does it must be allowed |
//! | `runs.rs` | runs, from Jobs, pods and events |

mod check;
mod contents;
mod live;
mod objects;
mod plan;
mod pod;
mod rights;
mod runs;
mod timing;
mod volumes;

pub use crate::model::Finding;
pub use check::{check, check_contents};
pub use contents::{Contents, LARGEST};
pub use live::{
    MANAGER, NOTE_CANCELLED_BY, NOTE_PAUSED_BY, PAUSE_MANAGER, SELECTOR, has_active_run, instance_of,
    is_being_deleted, is_ours, is_suspended, job_of, kind_of, may_be_triggered, name_of, origin_of,
    paused_by, stripped, trigger_of, uid_of, version_of, whose,
};
pub use objects::{Target, objects};
pub use plan::{
    Action, Answer, Applied, Asked, Cause, Complaint, Conflicts, Deleted, Owned, Plan, Seen, Step, WaitCause,
    Waiting, coming, deletion, describe, in_the_way, is_data, object_words, owned, plan, render, slot_of,
};
pub(crate) use pod::is_word;
pub use rights::{RIGHTS, Rights};
pub use runs::{pods_of, run_of, runs, triggered};
pub(crate) use timing::{NAME_DAYS, as_cron, counts_days};
pub use volumes::claims_of;

use crate::model::JobName;

/// Longer names leave no room for what Kubernetes adds to those of a CronJob's Jobs.
const MAX_NAME: usize = 52;

/// The name of a job's objects: project and job as one DNS label.
#[must_use]
pub fn object_name(job: &JobName) -> String {
    dns(&format!("{}-{}", job.project(), job.job()))
}

/// Lower-case letters, digits and dashes.
fn dns(text: &str) -> String {
    let text: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    text.trim_matches('-').to_owned()
}

/// The name of the CronJob of one of `count` schedules.
fn cron_job_name(job: &JobName, at: usize, count: usize) -> String {
    let base = object_name(job);
    if count > 1 {
        format!("{base}-{}", at + 1)
    } else {
        base
    }
}

#[cfg(test)]
mod tests;
