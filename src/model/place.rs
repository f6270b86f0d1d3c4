//! Where a job's runs happen: in containers of their own, in one that is started again and again, or
//! inside a container that somebody else runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a job's runs happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A container of its own for each run.
    #[default]
    Fresh,
    /// One container, started again for each run: what a run leaves in it, the next one finds.
    Reuse,
    /// A process in a container that runs anyway.
    Exec(ExecTarget),
}

/// The container that a command is to run in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExecTarget {
    pub which: Which,
    /// The operator allows no more than the containers of this Compose project, which is the job's
    /// own; `None` where the operator's list names the target.
    pub only_project: Option<String>,
}

/// How a target is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// By its name on the engine.
    Container(String),
    /// A service's container as Compose labels it; of several that run, the one with the lowest
    /// number.
    Service { project: String, service: String },
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Which::Container(name) => write!(f, "container {name}"),
            Which::Service { project, service } => write!(f, "service {service} of project {project}"),
        }
    }
}

/// Whose container a run used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Within {
    /// One of its own.
    #[default]
    Own,
    /// Its job's one container, as it was before this start.
    Reused(Before),
    /// Somebody else's, as the process of this exec.
    Exec(String),
}

impl Within {
    /// Whether the container is the run's alone, so that it goes with the run.
    #[must_use]
    pub fn is_own(&self) -> bool {
        *self == Within::Own
    }
}

/// What inspect showed of a reused container when its start was intended; `None` for a zero time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Before {
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// Whether a command could be run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetState {
    Ready {
        /// Full ID.
        id: String,
        name: String,
        image_id: String,
    },
    /// Why not, and where something can be done about it, what.
    NotReady(String),
}

impl TargetState {
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            TargetState::Ready { .. } => None,
            TargetState::NotReady(why) => Some(why),
        }
    }
}

impl ExecTarget {
    /// The words for a container that the operator's rules keep jobs out of.
    #[must_use]
    pub fn foreign(name: &str, project: &str) -> String {
        format!(
            "container {name} is not of project {project}, and jobs may run commands only in containers of their \
             own Compose project; the operator's file may allow it: `policy.exec: [{name}]`"
        )
    }
}
