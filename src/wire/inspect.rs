//! What `inspect` prints: everything that is recorded of a run or of a job.
//!
//! The fields of the lists come first and mean the same. What stands under `spec` is the container
//! as it was recorded, with sensitive values as keyed hashes; `policy` has the keys of `x-scheduler`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{Job, Run, VERSION, outcome_word};
use crate::model::{self, ExceptDays, JobName, JobRecord, Policy, Slot, Trigger};

/// A run, or a slot that never became one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunDetail {
    pub v: u32,
    /// `run`.
    pub kind: &'static str,
    pub run: String,
    pub job: JobName,
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub trigger: &'static str,
    pub outcome: &'static str,
    pub reason: String,
    pub exit_code: Option<i64>,
    pub due_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub duration_ms: Option<i64>,
    pub late_ms: Option<i64>,
    pub container: Option<String>,
    pub image: Option<String>,
    pub commit: Option<String>,
    pub source: String,
    pub slot_last: Option<Slot>,
    pub count: Option<u64>,
    /// When the outcome was recorded.
    pub recorded_at: Option<Timestamp>,
    /// Whether the container was removed since.
    pub container_gone: bool,
    /// An `unknown` run holds its job until then.
    pub held_until: Option<Timestamp>,
    /// The outcome that its end will get, since somebody asked for it.
    pub stop_requested: Option<&'static str>,
    /// Who asked.
    pub stop_by: Option<String>,
    /// Written before its start request; `null` when it never had one of ours.
    pub intent: Option<Intent>,
    /// Something about the log.
    pub note: Option<String>,
    /// `null` until the output was copied.
    pub log: Option<Log>,
    /// Every attempt of the slot, in order.
    pub attempts: Vec<String>,
    pub spec_hash: Option<String>,
    pub spec: Option<Value>,
}

/// The record that stands before a start request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Intent {
    pub at: Timestamp,
    /// Of the scheduler's process.
    pub pid: u32,
    /// Of the engine's process, where that could be told.
    pub engine_pid: Option<u32>,
}

/// The file that holds a run's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    pub path: String,
    pub bytes: u64,
}

/// What the ledger keeps of a run beside its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunRecords {
    pub stop_by: Option<String>,
    pub log: Option<Log>,
    pub attempts: Vec<String>,
    pub spec: Option<Value>,
}

impl RunDetail {
    #[must_use]
    pub fn new(row: &model::Run, records: RunRecords) -> RunDetail {
        let Run {
            v: _,
            run,
            job,
            slot,
            attempt,
            trigger,
            outcome,
            reason,
            exit_code,
            due_at,
            started_at,
            finished_at,
            duration_ms,
            late_ms,
            container,
            image,
            commit,
            source,
            slot_last,
            count,
        } = Run::from(row);
        let RunRecords {
            stop_by,
            log,
            attempts,
            spec,
        } = records;
        RunDetail {
            v: VERSION,
            kind: "run",
            run,
            job,
            slot,
            attempt,
            trigger,
            outcome,
            reason,
            exit_code,
            due_at,
            started_at,
            finished_at,
            duration_ms,
            late_ms,
            container,
            image,
            commit,
            source,
            slot_last,
            count,
            recorded_at: row.recorded_at,
            container_gone: row.container_gone,
            held_until: row.held_until,
            stop_requested: row.stop_requested.map(|outcome| outcome_word(Some(outcome))),
            stop_by,
            intent: row.intent.as_ref().map(|intent| Intent {
                at: intent.at,
                pid: intent.owner.pid,
                engine_pid: intent.engine_peer.as_ref().map(|peer| peer.pid),
            }),
            note: row.note.clone(),
            log,
            attempts,
            spec_hash: row.spec_hash.clone(),
            spec,
        }
    }
}

/// A job as it was applied last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobDetail {
    pub v: u32,
    /// `job`.
    pub kind: &'static str,
    pub job: JobName,
    pub project: String,
    pub trigger: String,
    pub timezone: Option<String>,
    pub state: &'static str,
    pub paused: bool,
    pub suspended: bool,
    pub last_outcome: Option<&'static str>,
    pub last_exit_code: Option<i64>,
    pub next_slot: Option<Slot>,
    pub armed: bool,
    pub source: String,
    /// 1-based; 0 when unknown.
    pub line: u32,
    pub commit: Option<String>,
    pub triggers: Triggers,
    pub policy: Value,
    /// As canonical Compose YAML, masked.
    pub declared: String,
    /// Slots up to here were never this job's.
    pub baseline: Timestamp,
    /// Slots up to here have their records.
    pub settled: Timestamp,
    /// Whether it left the manifests.
    pub removed: bool,
    /// Why its next container could not be made.
    pub arm_failure: Option<ArmFailure>,
    /// Containers that wait for their slots.
    pub waiting: Vec<Armed>,
    pub last_run: Option<String>,
    pub active_runs: Vec<String>,
    pub spec_hash: String,
    /// Of the container that waits, else of the last run's.
    pub spec: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Triggers {
    pub manual: bool,
    pub schedule: Vec<ScheduleEntry>,
    /// Days without slots: `12-25`, `2026-12-24..2026-12-26`.
    pub except: Vec<String>,
}

/// One of `cron` and `every` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScheduleEntry {
    pub cron: Option<String>,
    pub timezone: Option<String>,
    pub every: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArmFailure {
    pub at: Timestamp,
    pub retry_at: Timestamp,
    pub attempts: u32,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Armed {
    pub run: String,
    pub slot: Option<Slot>,
    /// Full ID; `null` while the engine has not answered.
    pub container: Option<String>,
    pub image_id: String,
    pub spec_hash: String,
}

/// What the ledger keeps of a job beside its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobRecords {
    pub last_run: Option<String>,
    pub active_runs: Vec<String>,
    pub spec: Option<Value>,
}

impl JobDetail {
    #[must_use]
    pub fn new(row: Job, record: &JobRecord, records: JobRecords) -> JobDetail {
        let Job {
            v: _,
            job,
            project,
            trigger,
            timezone,
            state,
            paused,
            suspended,
            last_outcome,
            last_exit_code,
            next_slot,
            armed,
            source,
            commit,
        } = row;
        let JobRecords {
            last_run,
            active_runs,
            spec,
        } = records;
        JobDetail {
            v: VERSION,
            kind: "job",
            job,
            project,
            trigger,
            timezone,
            state,
            paused,
            suspended,
            last_outcome,
            last_exit_code,
            next_slot,
            armed,
            source,
            line: record.origin.line,
            commit,
            triggers: Triggers {
                manual: record.triggers.manual,
                schedule: record.triggers.schedule.iter().filter_map(entry).collect(),
                except: except(&record.triggers.schedule),
            },
            policy: policy_keys(&record.policy),
            declared: record.canonical.clone(),
            baseline: record.baseline,
            settled: record.settled,
            removed: record.removed,
            arm_failure: record.arm_failure.as_ref().map(|failure| ArmFailure {
                at: failure.at,
                retry_at: failure.retry_at,
                attempts: failure.attempts,
                detail: failure.detail.clone(),
            }),
            waiting: waiting(record),
            last_run,
            active_runs,
            spec_hash: record.spec_hash.clone(),
            spec,
        }
    }
}

fn waiting(record: &JobRecord) -> Vec<Armed> {
    let armed = record.armed.iter().map(|(name, armed)| Armed {
        run: name.to_string(),
        slot: armed.slot,
        container: armed.container.clone(),
        image_id: armed.image_id.clone(),
        spec_hash: armed.spec_hash.clone(),
    });
    armed.collect()
}

fn entry(trigger: &Trigger) -> Option<ScheduleEntry> {
    Some(match trigger {
        Trigger::Except { .. } => return None,
        Trigger::Cron {
            expression, timezone, ..
        } => ScheduleEntry {
            cron: Some(expression.clone()),
            timezone: Some(timezone.clone()),
            every: None,
        },
        Trigger::Every { period } => ScheduleEntry {
            cron: None,
            timezone: None,
            every: Some(duration_words(period.as_secs(), period.subsec_millis())),
        },
    })
}

/// Days without slots, as a manifest writes them.
fn except(triggers: &[Trigger]) -> Vec<String> {
    let days = triggers.iter().filter_map(|trigger| match trigger {
        Trigger::Except { days, .. } => Some(days),
        Trigger::Cron { .. } | Trigger::Every { .. } => None,
    });
    days.flatten().map(ExceptDays::to_string).collect()
}

/// The policy under the keys that a manifest has for it, durations as a manifest writes them.
fn policy_keys(policy: &Policy) -> Value {
    // Names and words of these types are the manifest's own: the ledger keeps them so. A policy has
    // no key that is not a text, which is all that could fail here.
    serde_json::to_value(policy).map_or(Value::Null, with_words)
}

/// The same value with each duration (`{"secs":…,"nanos":…}` to serde) in words.
fn with_words(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let number = |key: &str| object.get(key).and_then(Value::as_u64);
            match (object.len(), number("secs"), number("nanos")) {
                (2, Some(secs), Some(nanos)) => {
                    let millis = u32::try_from(nanos / 1_000_000).unwrap_or_default();
                    Value::String(duration_words(secs, millis))
                }
                _ => object
                    .into_iter()
                    .map(|(key, value)| (key, with_words(value)))
                    .collect(),
            }
        }
        Value::Array(values) => values.into_iter().map(with_words).collect(),
        other => other,
    }
}

/// `1h30m`, as a manifest takes it.
fn duration_words(secs: u64, millis: u32) -> String {
    let parts = [
        (secs / 3600, "h"),
        (secs / 60 % 60, "m"),
        (secs % 60, "s"),
        (u64::from(millis), "ms"),
    ];
    let words: String = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if words.is_empty() { "0s".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_policy_has_the_keys_and_words_of_a_manifest() {
        let policy = Policy {
            timeout: Some(Duration::from_secs(5400)),
            starting_deadline: Some(Duration::from_millis(90_500)),
            ..Policy::default()
        };
        let keys = policy_keys(&policy);
        assert_eq!(keys["timeout"], "1h30m");
        assert_eq!(keys["starting_deadline"], "1m30s500ms");
        assert_eq!(keys["concurrency"], "forbid");
        assert_eq!(keys["success_exit_codes"], serde_json::json!([0]));
        assert_eq!(keys["history"], serde_json::json!({"succeeded": 3, "failed": 5}));
        assert_eq!(duration_words(0, 0), "0s");
    }
}
