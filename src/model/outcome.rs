//! The one final record of a slot, and why it is what it is.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Slot;

/// How a slot ended. Until then it is `running`, which is the absence of one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed,
    TimedOut,
    StartFailed,
    Cancelled,
    Skipped,
    Missed,
    Suspended,
    Dropped,
    Unknown,
}

impl Outcome {
    pub const ALL: [Outcome; 10] = [
        Outcome::Succeeded,
        Outcome::Failed,
        Outcome::TimedOut,
        Outcome::StartFailed,
        Outcome::Cancelled,
        Outcome::Skipped,
        Outcome::Missed,
        Outcome::Suspended,
        Outcome::Dropped,
        Outcome::Unknown,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::TimedOut => "timed_out",
            Outcome::StartFailed => "start_failed",
            Outcome::Cancelled => "cancelled",
            Outcome::Skipped => "skipped",
            Outcome::Missed => "missed",
            Outcome::Suspended => "suspended",
            Outcome::Dropped => "dropped",
            Outcome::Unknown => "unknown",
        }
    }

    /// Whether the run did what it should.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Outcome::Succeeded
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Outcome, String> {
        Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not an outcome"))
    }
}

/// Why a slot has its outcome. The text (`Display`) is what `history` shows and the ledger keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The process ended with this code.
    Exit(i64),
    OutOfMemory,
    /// Ended by a signal or a deletion that was not ours, or with the daemon.
    KilledExternally,
    /// The engine refused the start; its words.
    StartRefused(String),
    /// Nothing came of the start request, and nobody waits for another one.
    StartNeverArrived,
    /// The container could not be made in time; the last error.
    NotArmed(String),
    /// Stopped by us after this many seconds.
    Timeout {
        after_secs: u64,
    },
    /// `down`, or a person's `rm -f`.
    StoppedByUser,
    /// `cancel`, and who called it.
    CancelledBy(String),
    PreviousRunActive {
        since: Timestamp,
    },
    UnknownRunMayStillRun,
    /// Another attempt at an earlier slot is still to come.
    RetryPending {
        at: Timestamp,
    },
    /// `concurrency: queue`: another slot waits already.
    QueueFull,
    /// `missed_fires: all`: as many as are kept wait already.
    BacklogFull,
    /// It waited for its turn.
    Waited,
    /// `concurrency: replace`.
    Replaced {
        by: Slot,
    },
    /// The operator's limit on containers that run at once was reached; its words.
    NoPlace(String),
    /// A person paused the job.
    Paused {
        by: String,
    },
    SchedulerDown,
    EngineUnreachable,
    NewerSlotDue {
        newer: Slot,
    },
    DeadlinePassed,
    Suspended,
    ClockJumped,
    /// The daemon or the host died inside the start window.
    EngineDiedAtStart,
    /// It may be under way, or may never have arrived, and no evidence can be had.
    StartUnconfirmed,
    /// Nothing is left that could tell.
    Lost,
    /// The node that ran it went down, and took the result along.
    NodeLost(String),
    /// A Swarm gave its task up without proof that it never ran, or of how it ended; its words.
    TaskGivenUp(String),
    /// Its deadline came while it waited for a node, and a node took it at that moment.
    EndedAtItsStart,
    /// The engine restarted, or the container it ran in, and knows nothing of it any more.
    ExecLost,
    /// Nobody read its output any more, which the engine reports as an end with 126.
    ReaderLost,
    /// Its container was running or had ended before our start.
    StartedByHand,
    /// A container of ours that the ledger does not know.
    LedgerLost,
    /// The code was reported straight after a daemon restart.
    EngineRestarted {
        reported: i64,
    },
    /// The job was removed from the manifests while its container was gone.
    Removed,
    /// Its schedule was edited before anybody looked at it.
    ScheduleEdited,
    /// Its policy was edited.
    PolicyEdited,
    /// A container of this job runs that no run of ours started.
    StrayRunning(String),
    /// The job is gone from the manifests, and removals are held; the text says why.
    RemovalsHeld(String),
    /// Text read back from a ledger that a newer version wrote.
    Other(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Exit(code) => write!(f, "exit code {code}"),
            Reason::OutOfMemory => f.write_str("killed: out of memory"),
            Reason::KilledExternally => f.write_str("killed externally"),
            Reason::StartRefused(why) => write!(f, "start refused: {why}"),
            Reason::StartNeverArrived => f.write_str("its start never arrived at the engine"),
            Reason::NotArmed(why) => write!(f, "no container in time: {why}"),
            Reason::Timeout { after_secs } => write!(f, "stopped after its timeout of {after_secs}s"),
            Reason::StoppedByUser => f.write_str("stopped by a person"),
            Reason::CancelledBy(who) => write!(f, "cancelled by {who}"),
            Reason::PreviousRunActive { since } => write!(f, "previous run active since {since}"),
            Reason::UnknownRunMayStillRun => f.write_str("unknown run may still be running"),
            Reason::RetryPending { at } => write!(f, "another attempt at an earlier slot is due at {at:.0}"),
            Reason::QueueFull => f.write_str("queue full"),
            Reason::BacklogFull => f.write_str("the backlog is full"),
            Reason::Waited => f.write_str("it waited for its turn"),
            Reason::Replaced { by } => write!(f, "replaced by slot {by}"),
            Reason::NoPlace(why) => write!(f, "no place before its deadline: {why}"),
            Reason::Paused { by } => write!(f, "paused by {by}"),
            Reason::SchedulerDown => f.write_str("the scheduler was down"),
            Reason::EngineUnreachable => f.write_str("the engine was unreachable"),
            Reason::NewerSlotDue { newer } => write!(f, "superseded by the newer slot {newer}"),
            Reason::DeadlinePassed => f.write_str("starting deadline passed"),
            Reason::Suspended => f.write_str("the job is suspended"),
            Reason::ClockJumped => f.write_str("the clock jumped over it"),
            Reason::EngineDiedAtStart => f.write_str("the engine died while starting it"),
            Reason::StartUnconfirmed => f.write_str("its start was never confirmed"),
            Reason::ExecLost => f.write_str("lost: the engine no longer knows of the command it ran"),
            Reason::ReaderLost => f.write_str("its output lost its reader, and the engine lost sight of it"),
            Reason::Lost => f.write_str("lost: the container vanished before its result was read"),
            Reason::NodeLost(node) => write!(f, "lost: node {node} went down while it ran"),
            Reason::TaskGivenUp(why) => write!(f, "lost: the Swarm gave its task up: {why}"),
            Reason::EndedAtItsStart => f.write_str("ended at its start: its deadline had passed"),
            Reason::StartedByHand => f.write_str("started by hand"),
            Reason::LedgerLost => f.write_str("ledger lost"),
            Reason::EngineRestarted { reported } => {
                write!(
                    f,
                    "exit code {reported} was reported straight after an engine restart"
                )
            }
            Reason::Removed => f.write_str("the job was removed"),
            Reason::ScheduleEdited => f.write_str("the schedule was edited"),
            Reason::PolicyEdited => f.write_str("the policy was edited"),
            Reason::StrayRunning(name) => write!(f, "container {name} of this job runs, not started by us"),
            Reason::RemovalsHeld(why) => write!(f, "no longer declared, and not removed: {why}"),
            Reason::Other(text) => f.write_str(text),
        }
    }
}
