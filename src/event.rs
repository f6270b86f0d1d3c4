//! What happened, as a closed list: the lines of the log, and what alerts will be made of.

use std::fmt;

use jiff::Timestamp;

use crate::model::{ContainerName, JobName, Outcome, RunId, Slot};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub at: Timestamp,
    /// `None` when it concerns the whole instance.
    pub job: Option<JobName>,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Ready to run: what `watch` says first.
    Ready {
        version: String,
        engine: String,
        jobs: usize,
        directory: String,
    },
    Stopping {
        signal: &'static str,
    },
    ManifestsChanged {
        jobs: usize,
        errors: usize,
    },
    /// What was found in the manifests, as people read it.
    ManifestsReport {
        only_warnings: bool,
        text: String,
    },
    Declared {
        cause: String,
    },
    Forgotten,
    Armed {
        container: ContainerName,
        slot: Option<Slot>,
    },
    ArmFailed {
        detail: String,
        retry_at: Timestamp,
    },
    Started {
        run: RunId,
        late_ms: i64,
    },
    Ended {
        run: RunId,
        outcome: Outcome,
        reason: String,
        secs: Option<i64>,
    },
    NotRun {
        slot: Slot,
        count: u64,
        outcome: Outcome,
        reason: String,
    },
    /// A slot waits for its turn.
    Waits {
        slot: Slot,
    },
    /// No further attempt follows that run after all.
    GivenUp {
        run: RunId,
        why: String,
    },
    StopRequested {
        run: RunId,
        why: String,
    },
    Removed {
        container: ContainerName,
        cause: String,
    },
    Fencing {
        run: RunId,
    },
    NeverRan {
        run: RunId,
    },
    /// A scheduler beside this one was first.
    StartedBeside {
        run: RunId,
        /// Its ledger.
        ledger: String,
    },
    Pulling {
        image: String,
    },
    EngineLost {
        why: String,
    },
    EngineBack {
        away_secs: i64,
    },
    ClockJumped {
        by_secs: i64,
    },
    /// Of the engine's clock, against ours.
    ClockSkew {
        by_secs: i64,
    },
    Trouble {
        text: String,
    },
}

/// How loud an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl What {
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            // A manual run's container is started in the same breath, or refused.
            What::Removed { .. } | What::Armed { slot: None, .. } => Level::Debug,
            What::Ended { outcome, .. } | What::NotRun { outcome, .. } => match outcome {
                Outcome::Succeeded | Outcome::Suspended | Outcome::Cancelled => Level::Info,
                Outcome::Skipped | Outcome::Missed | Outcome::Dropped => Level::Warn,
                Outcome::Failed | Outcome::TimedOut | Outcome::StartFailed | Outcome::Unknown => Level::Error,
            },
            What::Ready { .. }
            | What::Stopping { .. }
            | What::ManifestsChanged { errors: 0, .. }
            | What::Declared { .. }
            | What::Forgotten
            | What::Armed { .. }
            | What::Started { .. }
            | What::Pulling { .. }
            | What::Waits { .. }
            | What::EngineBack { .. }
            | What::StartedBeside { .. }
            | What::NeverRan { .. } => Level::Info,
            What::ManifestsChanged { .. }
            | What::StopRequested { .. }
            | What::GivenUp { .. }
            | What::Fencing { .. }
            | What::ClockJumped { .. }
            | What::ClockSkew { .. }
            | What::ArmFailed { .. }
            | What::ManifestsReport {
                only_warnings: true, ..
            }
            | What::Trouble { .. } => Level::Warn,
            What::ManifestsReport { .. } | What::EngineLost { .. } => Level::Error,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Ready {
                version,
                engine,
                jobs,
                directory,
            } => {
                write!(
                    f,
                    "docker-scheduler {version} watches {} in {directory} on {engine}",
                    counted(*jobs, "job")
                )
            }
            What::Stopping { signal } => {
                write!(f, "{signal}: no more starts; running containers go on")
            }
            What::ManifestsChanged { jobs, errors: 0 } => {
                write!(f, "manifests read again: {}", counted(*jobs, "job"))
            }
            What::ManifestsChanged { jobs, errors } => {
                write!(
                    f,
                    "manifests read again: {}, {}; broken files keep their last good version",
                    counted(*jobs, "job"),
                    counted(*errors, "error")
                )
            }
            What::ManifestsReport { text, .. } => f.write_str(text.trim_end()),
            What::Declared { cause } => f.write_str(cause),
            What::Forgotten => f.write_str("no longer declared"),
            What::Armed { container, .. } => write!(f, "armed {container}"),
            What::ArmFailed { detail, retry_at } => {
                write!(f, "cannot be armed: {detail}; again at {retry_at:.0}")
            }
            What::Started { run, late_ms } => write!(f, "started {run}, {late_ms} ms after its time"),
            What::Ended {
                run,
                outcome,
                reason,
                secs: Some(secs),
            } => {
                write!(f, "{outcome} {run} after {secs}s: {reason}")
            }
            What::Ended {
                run,
                outcome,
                reason,
                secs: None,
            } => write!(f, "{outcome} {run}: {reason}"),
            What::NotRun {
                slot,
                count: 1,
                outcome,
                reason,
            } => write!(f, "{outcome} {slot}: {reason}"),
            What::NotRun {
                slot,
                count,
                outcome,
                reason,
            } => {
                write!(f, "{outcome} {count} slots from {slot} on: {reason}")
            }
            What::Waits { slot } => write!(f, "slot {slot} waits for its turn"),
            What::GivenUp { run, why } => write!(f, "no further attempt after {run}: {why}"),
            What::StopRequested { run, why } => write!(f, "stopping {run}: {why}"),
            What::Removed { container, cause } => write!(f, "removed {container}: {cause}"),
            What::Fencing { run } => write!(
                f,
                "the start of {run} was not confirmed; finding out whether it ran"
            ),
            What::StartedBeside { run, ledger } => {
                let short = ledger.get(..8).unwrap_or(ledger);
                write!(f, "{run} was started by another scheduler (ledger {short})")
            }
            What::NeverRan { run } => write!(f, "{run} never ran; its slot may still start"),
            What::Pulling { image } => write!(f, "pulling {image}"),
            What::EngineLost { why } => write!(f, "engine lost: {why}; nothing is started until it is back"),
            What::EngineBack { away_secs } => write!(f, "engine back after {}", lasting(*away_secs)),
            What::ClockJumped { by_secs } => {
                let how = if *by_secs < 0 {
                    "was set back by"
                } else {
                    "jumped ahead by"
                };
                write!(f, "the wall clock {how} {}", lasting(*by_secs))
            }
            What::ClockSkew { by_secs } => {
                let how = if *by_secs < 0 { "behind" } else { "ahead of" };
                write!(
                    f,
                    "the engine's clock is {} {how} this machine's, which decides; its times of runs are shifted by that",
                    lasting(*by_secs)
                )
            }
            What::Trouble { text } => f.write_str(text),
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// A length in at most two units, without its sign: `45s`, `1h 30m`.
fn lasting(secs: i64) -> String {
    let secs = secs.unsigned_abs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut rest = secs;
    let mut parts = Vec::new();
    for (size, unit) in units {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_at_most_two_units() {
        let shown = [0, 45, 60, 5400, -18_000, 90_061, 86_405].map(lasting);
        assert_eq!(shown, ["0s", "45s", "1m", "1h 30m", "5h", "1d 1h", "1d"]);
    }
}
