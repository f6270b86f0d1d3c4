//! The public JSON: what `--format json`, the API and webhooks have in common.
//!
//! Field names are a promise, versioned by `"v":1`: fields may be added, none renamed or removed
//! within a version. No type of another room is a public format; each shape is filled here or, from
//! rooms that this one may not know, by its caller. Nothing here decides or formats for people.

mod cluster;
mod inspect;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::{self, JobName, Outcome};
use crate::plan;

pub use inspect::{JobDetail, JobRecords, Log, RunDetail, RunRecords};

/// The version that every object carries.
pub const VERSION: u32 = 1;

/// The value of `outcome` while there is none.
pub const RUNNING: &str = "running";

/// A shape whose field names are known without a value, for lists that may be empty.
pub trait Shape: Serialize {
    /// In the order of the JSON.
    const FIELDS: &'static [&'static str];
}

/// A coming slot (`next`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slot {
    pub v: u32,
    /// Full name; `null` for an expression that belongs to no job.
    pub job: Option<String>,
    pub slot: model::Slot,
    /// The same instant with the zone's offset: `2026-11-23T02:30:00+01:00`.
    pub local: String,
    pub timezone: String,
    /// `"gap"`: shifted out of a gap; `"fold"`: the clock shows this time twice.
    pub note: Option<&'static str>,
    /// When it is to start: later than its slot where `jitter` spreads starts.
    pub due_at: Timestamp,
}

impl Shape for Slot {
    const FIELDS: &'static [&'static str] = &["v", "job", "slot", "local", "timezone", "note", "due_at"];
}

/// What a check found (`doctor`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub v: u32,
    pub check: &'static str,
    /// `ok`, `note`, `unknown`, `warning` or `error`.
    pub state: &'static str,
    pub message: String,
    /// What to do about it, most likely first.
    pub hints: Vec<String>,
}

impl Shape for Finding {
    const FIELDS: &'static [&'static str] = &["v", "check", "state", "message", "hints"];
}

/// A run, or a slot that never became one (`history`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    pub v: u32,
    /// The container's name, which is also the RUN of commands and `SCHEDULER_RUN_ID`.
    pub run: String,
    pub job: JobName,
    pub slot: Option<model::Slot>,
    /// Counts from 0.
    pub attempt: u32,
    pub trigger: &'static str,
    /// `running` until final.
    pub outcome: &'static str,
    pub reason: String,
    pub exit_code: Option<i64>,
    pub due_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub duration_ms: Option<i64>,
    pub late_ms: Option<i64>,
    /// Full ID.
    pub container: Option<String>,
    pub image: Option<String>,
    /// Of the manifest, when it lies in a git checkout; with `-dirty` behind it when the commit does not
    /// have it as it was read.
    pub commit: Option<String>,
    /// The manifest's path and the job's line in it: `backup.yaml:4`.
    pub source: String,
    /// Of a collapsed series: its newest slot, and how many.
    pub slot_last: Option<model::Slot>,
    pub count: Option<u64>,
}

impl Shape for Run {
    const FIELDS: &'static [&'static str] = &[
        "v",
        "run",
        "job",
        "slot",
        "attempt",
        "trigger",
        "outcome",
        "reason",
        "exit_code",
        "due_at",
        "started_at",
        "finished_at",
        "duration_ms",
        "late_ms",
        "container",
        "image",
        "commit",
        "source",
        "slot_last",
        "count",
    ];
}

impl From<&model::Run> for Run {
    fn from(run: &model::Run) -> Run {
        // Bookkeeping that is nobody's business outside is named, so that a new field of a run asks
        // whether it is public.
        let model::Run {
            id,
            job,
            slot,
            attempt,
            trigger,
            outcome,
            reason,
            exit_code,
            due_at,
            intent: _,
            started_at,
            finished_at,
            recorded_at: _,
            container,
            container_gone: _,
            within: _,
            held_until: _,
            stop_requested: _,
            stop_reason: _,
            retry_at: _,
            group: _,
            image,
            spec_hash: _,
            origin,
            slot_last,
            count,
            note: _,
        } = run;
        Run {
            v: VERSION,
            run: id.to_string(),
            job: job.clone(),
            slot: *slot,
            attempt: *attempt,
            trigger: trigger.as_str(),
            outcome: outcome_word(*outcome),
            reason: reason.clone(),
            exit_code: *exit_code,
            due_at: *due_at,
            started_at: *started_at,
            finished_at: *finished_at,
            // Docker notes the end of a short job up to some ms before its beginning (measured on 20.10).
            duration_ms: started_at
                .zip(*finished_at)
                .map(|(from, to)| between_ms(from, to).max(0)),
            late_ms: started_at.map(|at| between_ms(*due_at, at)),
            container: container.clone(),
            image: image.clone(),
            commit: origin.commit.clone(),
            source: origin.place(),
            slot_last: *slot_last,
            count: *count,
        }
    }
}

/// A job (`ls`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    pub v: u32,
    /// Full name.
    pub job: JobName,
    pub project: String,
    /// `30 2 * * *`, `every 5m`, `manual`; several are parted by `, `.
    pub trigger: String,
    /// Of the first schedule; `null` without one.
    pub timezone: Option<String>,
    pub state: &'static str,
    pub paused: bool,
    pub suspended: bool,
    pub last_outcome: Option<&'static str>,
    pub last_exit_code: Option<i64>,
    pub next_slot: Option<model::Slot>,
    /// Whether its next container is made and waits.
    pub armed: bool,
    /// The manifest's path and the job's line in it: `backup.yaml:4`.
    pub source: String,
    pub commit: Option<String>,
}

impl Shape for Job {
    const FIELDS: &'static [&'static str] = &[
        "v",
        "job",
        "project",
        "trigger",
        "timezone",
        "state",
        "paused",
        "suspended",
        "last_outcome",
        "last_exit_code",
        "next_slot",
        "armed",
        "source",
        "commit",
    ];
}

/// What is wrong with a manifest (`validate`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub v: u32,
    pub severity: &'static str,
    pub code: String,
    pub message: String,
    pub file: String,
    /// 1-based, as are the other three; `null` when the whole file is meant.
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub end_line: Option<u32>,
    pub end_column: Option<u32>,
    pub help: Option<String>,
}

impl Shape for Diagnostic {
    const FIELDS: &'static [&'static str] = &[
        "v",
        "severity",
        "code",
        "message",
        "file",
        "line",
        "column",
        "end_line",
        "end_column",
        "help",
    ];
}

/// An image of the engine (`list images`), one object for each of its tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    pub v: u32,
    pub id: String,
    /// `null` for a dangling image.
    pub repository: Option<String>,
    pub tag: Option<String>,
    pub created_at: Timestamp,
    pub size_bytes: u64,
}

impl Shape for Image {
    const FIELDS: &'static [&'static str] = &["v", "id", "repository", "tag", "created_at", "size_bytes"];
}

/// A container of the engine (`list containers`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Container {
    pub v: u32,
    pub id: String,
    pub name: String,
    pub image: String,
    pub command: String,
    pub created_at: Timestamp,
    /// `running`, `exited`, …
    pub state: String,
    /// The engine's own words: `Up 5 minutes`.
    pub status: String,
    pub ports: String,
    /// Full name of the job that it belongs to.
    pub job: Option<String>,
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Shape for Container {
    const FIELDS: &'static [&'static str] = &[
        "v",
        "id",
        "name",
        "image",
        "command",
        "created_at",
        "state",
        "status",
        "ports",
        "job",
        "labels",
    ];
}

/// What `health --format json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    pub v: u32,
    pub healthy: bool,
    /// `working`, `in_trouble`, `stuck`, `starting` or `not_running`.
    pub state: &'static str,
    /// In words; `null` while it works.
    pub why: Option<String>,
    /// Since when it is in trouble.
    pub since: Option<Timestamp>,
    /// How many jobs are watched; `null` before the first look.
    pub jobs: Option<usize>,
    /// The newest heartbeat.
    pub heartbeat_at: Option<Timestamp>,
}

/// What `version --format json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    pub v: u32,
    pub version: String,
    /// Of the time zone database that is compiled in.
    pub tzdb: String,
    /// `null` when no engine answered.
    pub engine: Option<String>,
    pub engine_api: Option<String>,
}

/// The word for an outcome, or for none yet.
#[must_use]
pub fn outcome_word(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or(RUNNING, Outcome::as_str)
}

/// Milliseconds from one to the other; negative when the clock was set back between them.
fn between_ms(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond().saturating_sub(from.as_millisecond())
}

/// A plan, as one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub v: u32,
    pub at: Timestamp,
    pub engine: String,
    pub changes: Vec<Change>,
    pub waiting: Vec<Waiting>,
    pub unchanged: Vec<JobName>,
    /// Jobs of which no profile is active.
    pub inactive: Vec<JobName>,
    pub summary: Summary,
    pub next_wake: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub job: JobName,
    pub action: &'static str,
    pub cause: &'static str,
    /// The cause in words.
    pub detail: String,
    pub diff: Option<String>,
    pub next_before: Option<model::Slot>,
    pub next_after: Option<model::Slot>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub job: JobName,
    pub cause: &'static str,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    pub create: usize,
    pub replace: usize,
    pub start: usize,
    pub stop: usize,
    pub remove: usize,
    pub update: usize,
}

impl From<&plan::Plan> for Plan {
    fn from(made: &plan::Plan) -> Plan {
        let count = |word: &str| made.changes().filter(|step| step.action.word() == word).count();
        let waiting = made.waiting.iter().map(|waiting| Waiting {
            job: waiting.job.clone(),
            cause: waiting.cause.word(),
            detail: plan::describe_wait(&waiting.cause, made.at),
        });
        Plan {
            v: VERSION,
            at: made.at,
            engine: made.engine.clone(),
            changes: made.changes().map(Change::from).collect(),
            waiting: waiting.collect(),
            unchanged: made.unchanged.clone(),
            inactive: made.inactive.clone(),
            summary: Summary {
                create: count("create"),
                replace: count("replace"),
                start: count("start"),
                stop: count("stop"),
                remove: count("remove"),
                update: count("update"),
            },
            next_wake: made.next_wake,
        }
    }
}

impl From<&plan::Step> for Change {
    fn from(step: &plan::Step) -> Change {
        Change {
            job: step.job.clone(),
            action: step.action.word(),
            cause: step.cause.word(),
            detail: plan::describe_cause(step),
            diff: step.diff.clone(),
            next_before: step.next_before.as_ref().map(|next| next.slot),
            next_after: step.next_after.as_ref().map(|next| next.slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, RunId, RunTrigger};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run() -> model::Run {
        model::Run {
            id: "shop.backup.20261123T013000Z".parse::<RunId>().unwrap(),
            job: "shop.backup".parse().unwrap(),
            slot: Some("2026-11-23T01:30:00Z".parse().unwrap()),
            attempt: 0,
            trigger: RunTrigger::Schedule,
            outcome: None,
            reason: String::new(),
            exit_code: None,
            due_at: at("2026-11-23T01:30:00Z"),
            intent: None,
            started_at: Some(at("2026-11-23T01:30:00.250Z")),
            finished_at: None,
            recorded_at: None,
            container: Some("abc".into()),
            container_gone: false,
            within: Default::default(),
            held_until: None,
            stop_requested: None,
            stop_reason: None,
            retry_at: None,
            group: None,
            image: Some("postgres:16".into()),
            spec_hash: None,
            origin: Origin {
                file: "backup.yaml".into(),
                line: 3,
                commit: None,
            },
            slot_last: None,
            count: None,
            note: None,
        }
    }

    /// The exact text is the promise: when this fails, a field's name or place changed.
    #[test]
    fn a_run_has_the_documented_fields() {
        assert_eq!(
            serde_json::to_string(&Run::from(&run())).unwrap(),
            r#"{"v":1,"run":"shop.backup.20261123T013000Z","job":"shop.backup","slot":"2026-11-23T01:30:00Z","attempt":0,"trigger":"schedule","outcome":"running","reason":"","exit_code":null,"due_at":"2026-11-23T01:30:00Z","started_at":"2026-11-23T01:30:00.25Z","finished_at":null,"duration_ms":null,"late_ms":250,"container":"abc","image":"postgres:16","commit":null,"source":"backup.yaml:3","slot_last":null,"count":null}"#
        );
    }

    #[test]
    fn a_finished_run_has_its_length() {
        let mut ended = run();
        ended.finished_at = Some(at("2026-11-23T01:30:02.500Z"));
        ended.outcome = Some(Outcome::TimedOut);
        let wire = Run::from(&ended);
        assert_eq!((wire.duration_ms, wire.outcome), (Some(2250), "timed_out"));
    }

    fn assert_fields<T: Shape>(value: &T) {
        let json = serde_json::to_string(value).unwrap();
        let mut from = 0;
        for field in T::FIELDS {
            let key = format!("\"{field}\":");
            let found = json[from..].find(&key);
            assert!(found.is_some(), "`{field}` is missing or out of order in {json}");
            from += found.unwrap() + key.len();
        }
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(object.len(), T::FIELDS.len(), "{json}");
        assert_eq!(object["v"], 1);
    }

    #[test]
    fn the_listed_fields_are_those_of_the_json() {
        assert_fields(&Run::from(&run()));
        assert_fields(&Slot {
            v: VERSION,
            job: None,
            slot: run().slot.unwrap(),
            local: "2026-11-23T02:30:00+01:00".into(),
            timezone: "Europe/Berlin".into(),
            note: Some("gap"),
            due_at: at("2026-11-23T01:30:00Z"),
        });
        assert_fields(&Image {
            v: VERSION,
            id: "sha256:00".into(),
            repository: None,
            tag: None,
            created_at: at("2026-11-23T01:30:00Z"),
            size_bytes: 1,
        });
        assert_fields(&Container {
            v: VERSION,
            id: "00".into(),
            name: "web".into(),
            image: "busybox".into(),
            command: "sh".into(),
            created_at: at("2026-11-23T01:30:00Z"),
            state: "running".into(),
            status: "Up".into(),
            ports: String::new(),
            job: None,
            labels: std::collections::BTreeMap::new(),
        });
        assert_fields(&Diagnostic {
            v: VERSION,
            severity: "error",
            code: "unknown-key".into(),
            message: "m".into(),
            file: "f".into(),
            line: None,
            column: None,
            end_line: None,
            end_column: None,
            help: None,
        });
        let job = Job {
            v: VERSION,
            job: run().job,
            project: "shop".into(),
            trigger: "30 2 * * *".into(),
            timezone: None,
            state: "armed",
            paused: false,
            suspended: false,
            last_outcome: None,
            last_exit_code: None,
            next_slot: None,
            armed: false,
            source: String::new(),
            commit: None,
        };
        assert_fields(&job);
    }
}
