//! What the manifests declare, all of them together.

use std::collections::BTreeMap;

use super::{Job, JobName};

/// Every job that should exist, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    pub jobs: BTreeMap<JobName, Job>,
    pub removals: Removals,
}

/// Whether a job that is no longer declared may be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Removals {
    #[default]
    Allowed,
    /// The directory is missing, empty or lost most of its jobs at once: until a person says so,
    /// nothing is removed. The text says which.
    Held(String),
}
