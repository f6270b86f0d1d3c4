//! A run: one attempt to execute a slot, or a manual trigger. At most one container start.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{JobName, Origin, Outcome, RunId, Slot, Within};

/// What caused a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunTrigger {
    Schedule,
    Manual,
    Rerun,
}

impl RunTrigger {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunTrigger::Schedule => "schedule",
            RunTrigger::Manual => "manual",
            RunTrigger::Rerun => "rerun",
        }
    }
}

impl std::str::FromStr for RunTrigger {
    type Err = String;

    fn from_str(text: &str) -> Result<RunTrigger, String> {
        [RunTrigger::Schedule, RunTrigger::Manual, RunTrigger::Rerun]
            .into_iter()
            .find(|trigger| trigger.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a trigger"))
    }
}

/// The process that wrote an intent, told apart from a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `/proc/sys/kernel/random/boot_id`; empty where there is none.
    pub boot_id: String,
    pub pid: u32,
    /// Clock ticks since boot (`/proc/PID/stat`, field 22); 0 where there is none.
    pub pid_started: u64,
}

/// The engine's process at the other end of a local socket, where that is evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub pid: u32,
    /// Clock ticks since boot.
    pub pid_started: u64,
}

/// Written durably before a start request; unique for each container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub at: Timestamp,
    pub owner: Owner,
    pub engine_peer: Option<Peer>,
}

/// How much a log line's time may differ from that of the start or end it belongs to.
const LOG_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// One row of `history`: a run, or a slot that never became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: RunId,
    pub job: JobName,
    /// `None` for a manual run.
    pub slot: Option<Slot>,
    /// Counts from 0.
    pub attempt: u32,
    pub trigger: RunTrigger,
    /// `None` while it is running.
    pub outcome: Option<Outcome>,
    /// Text of a [`super::Reason`]; empty while running.
    pub reason: String,
    pub exit_code: Option<i64>,
    pub due_at: Timestamp,
    pub intent: Option<Intent>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// When the outcome was recorded.
    pub recorded_at: Option<Timestamp>,
    /// Full ID; `None` when no container was ever made.
    pub container: Option<String>,
    /// Whether that container was removed after its outcome was durable. True from the beginning
    /// where the container is not the run's own: nothing of it goes with the run.
    pub container_gone: bool,
    pub within: Within,
    /// An `unknown` run that may still be running holds its job until then.
    pub held_until: Option<Timestamp>,
    /// We asked for its end (timeout, down): the outcome that its exit will get.
    pub stop_requested: Option<Outcome>,
    /// Why, where the outcome alone does not say it.
    pub stop_reason: Option<String>,
    /// Another attempt at its slot is due then.
    pub retry_at: Option<Timestamp>,
    /// The group whose limit it counts for.
    pub group: Option<String>,
    pub image: Option<String>,
    pub spec_hash: Option<String>,
    pub origin: Origin,
    /// For a collapsed series: its newest slot and how many there are.
    pub slot_last: Option<Slot>,
    pub count: Option<u64>,
    /// Something about the logs, such as "logs not readable".
    pub note: Option<String>,
}

impl Run {
    /// An intent without a final outcome, or an `unknown` run whose hold has not ended.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.outcome.is_none() || self.holds_job(now)
    }

    /// From when on the engine's log of its container is this run's: of a reused one, where also
    /// earlier runs wrote, from a moment before its start. A process may write before the engine
    /// has noted the start, and a log line may be stamped a moment after the end.
    #[must_use]
    pub fn logs_since(&self, started_at: Option<Timestamp>) -> Option<Timestamp> {
        let Within::Reused(before) = &self.within else {
            return None;
        };
        let (ended, started) = (before.finished_at?, started_at.or(self.started_at)?);
        let pause = started.duration_since(ended).max(SignedDuration::ZERO);
        let margin = (pause / 2).min(LOG_MARGIN);
        started.checked_sub(margin).ok()
    }

    /// An `unknown` run that may still be running.
    #[must_use]
    pub fn holds_job(&self, now: Timestamp) -> bool {
        self.outcome == Some(Outcome::Unknown) && self.held_until.is_some_and(|until| now < until)
    }
}
