//! What the manifests declare, all of them together.

use std::collections::BTreeMap;
use std::fmt;

use super::{Job, JobName};

/// Every job that should exist, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    pub jobs: BTreeMap<JobName, Job>,
    /// Declared, and not to exist: none of their profiles, which are named here, is active.
    pub inactive: BTreeMap<JobName, Vec<String>>,
    pub removals: Removals,
    pub arming: Arming,
    pub caps: Caps,
}

/// The operator's word on how many containers may run at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caps {
    /// Of all jobs together.
    pub running: Option<u32>,
    /// Of the jobs of a group; one that is not listed runs one at a time.
    pub groups: BTreeMap<String, u32>,
}

impl Caps {
    /// Those that hold for a job of that group.
    #[must_use]
    pub fn of(&self, group: Option<&str>) -> Vec<Cap> {
        let all = self.running.map(|limit| Cap { group: None, limit });
        let group = group.map(|name| Cap {
            group: Some(name.to_owned()),
            limit: self.groups.get(name).copied().unwrap_or(1),
        });
        all.into_iter().chain(group).collect()
    }
}

/// How many containers may run at once, of one group or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// `None`: of all jobs.
    pub group: Option<String>,
    pub limit: u32,
}

/// `group \`backups\` runs at most 2 at a time`.
impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "group `{group}` runs at most {} at a time", self.limit),
            None => write!(f, "at most {} containers of all jobs run at a time", self.limit),
        }
    }
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
