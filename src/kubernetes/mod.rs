//! Jobs as CronJobs: what can be mapped, and what of it Kubernetes does differently.
//!
//! Pure: objects are JSON values, made from a job alone, so that `export` prints what a live cluster
//! would be given. Nothing is guessed: a key without an equal is a finding of [`check`], and
//! [`objects`] is for jobs without errors.
//!
//! | file | |
//! |---|---|
//! | `check.rs` | what has no equal, or is different there |
//! | `objects.rs` | CronJob and Secret |
//! | `timing.rs` | schedules in the words of Kubernetes |

mod check;
mod objects;
mod timing;

pub use check::{Finding, check};
pub use objects::{Target, objects};
pub(crate) use timing::as_cron;

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
