//! What the manifests declare, all of them together.

use std::collections::BTreeMap;

use super::{Job, JobName};

/// Every job that should exist, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    pub jobs: BTreeMap<JobName, Job>,
    pub removals: Removals,
    pub arming: Arming,
}

/// The operator's word on containers that are made ahead of their slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arming {
    /// Containers are made when their slot is due.
    Never,
    /// At most this many, those with the nearest slots: each costs the engine a directory and time
    /// in every list.
    Nearest(usize),
}

impl Default for Arming {
    fn default() -> Arming {
        Arming::Nearest(500)
    }
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
