//! The state folder of a shop whose scheduler has been at work: one job, runs that ended each in
//! their way, a captured log. For commands that read the ledger, without any engine.

use std::collections::BTreeMap;
use std::path::Path;

use docker_scheduler::ledger::logs::{LogWriter, Output};
use docker_scheduler::ledger::{Finish, Intended, JobUpsert, Ledger, NewContainer, NewIntent};
use docker_scheduler::model::{
    ContainerSpec, Instance, Intent, JobName, Origin, Outcome, Owner, Policy, RunId, RunTrigger, Slot, Text,
    Trigger, Triggers,
};
use jiff::Timestamp;

/// The one that succeeded.
pub const SUCCEEDED: &str = "shop.backup.20261119T013000Z";
/// The one that failed with 3, after an attempt that failed with 1.
pub const FAILED: &str = "shop.backup.20261120T013000Z.r1";
/// The one that waits for its time, which never comes.
pub const COMING: &str = "shop.backup.20991231T233000Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Fills `<state>/default`.
pub fn fill(state: &Path) {
    let ledger = Ledger::open(&state.join("default")).expect("open a ledger");
    let job: JobName = "shop.backup".parse().expect("a name");
    ledger.upsert_job(&upsert(&job)).expect("record the job");
    let runs = [
        ("2026-11-19T01:30:00Z", 0, Some((Outcome::Succeeded, 0, false))),
        ("2026-11-20T01:30:00Z", 0, Some((Outcome::Failed, 1, true))),
        ("2026-11-20T01:30:00Z", 1, Some((Outcome::Failed, 3, false))),
        ("2026-11-22T01:30:00Z", 0, None),
    ];
    for (due, attempt, ended) in runs {
        let id = arm(&ledger, &job, due, attempt);
        start(&ledger, &id, due);
        if let Some(ended) = ended {
            end(&ledger, &id, due, ended);
        }
    }
    arm(&ledger, &job, "2099-12-31T23:30:00Z", 0);
}

fn upsert(job: &JobName) -> JobUpsert {
    JobUpsert {
        name: job.clone(),
        origin: Origin {
            file: "backup.yaml".into(),
            line: 4,
            commit: Some("c0ffee".into()),
        },
        canonical: "image: busybox\n".into(),
        triggers: Triggers {
            manual: true,
            schedule: vec![Trigger::Cron {
                expression: "30 2 * * *".into(),
                timezone: "Europe/Berlin".into(),
                day_match: None,
            }],
        },
        policy: Policy::default(),
        spec_hash: "v1:job".into(),
        baseline: at("2026-11-18T00:00:00Z"),
    }
}

fn spec() -> String {
    let mut spec = ContainerSpec::of_image("busybox".parse().expect("an image"));
    spec.environment = BTreeMap::from([
        (
            "PASSWORD".to_owned(),
            Some(Text::sensitive("hmac:0123456789abcdef")),
        ),
        ("LEVEL".to_owned(), Some(Text::plain("9"))),
    ]);
    spec.labels = BTreeMap::from([("tier".to_owned(), Text::plain("gold"))]);
    serde_json::to_string(&spec).expect("JSON")
}

/// Records a container for the slot, as made and not started.
fn arm(ledger: &Ledger, job: &JobName, due: &str, attempt: u32) -> RunId {
    let slot: Slot = due.parse().expect("a slot");
    let name = RunId::of_slot(&Instance::default(), job, slot, attempt);
    let nonce = format!("nonce-{name}");
    ledger
        .creating(&NewContainer {
            reused: false,
            nonce: nonce.clone(),
            name: name.clone(),
            job: job.clone(),
            slot: Some(slot),
            attempt,
            trigger: RunTrigger::Schedule,
            spec_hash: "v1:container".into(),
            image_id: "sha256:00".into(),
            at: at(due),
            origin: upsert(job).origin,
            spec: spec(),
        })
        .expect("record a container");
    ledger
        .created(&nonce, &container_of(&name))
        .expect("record its ID");
    name
}

fn container_of(name: &RunId) -> String {
    let hex: String = name
        .as_str()
        .bytes()
        .rev()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex.chars().take(64).collect()
}

fn start(ledger: &Ledger, id: &RunId, due: &str) {
    let intended = ledger
        .intend(&NewIntent {
            shared: None,
            nonce: format!("nonce-{id}"),
            container: container_of(id),
            due_at: at(due),
            intent: Intent {
                at: at(due),
                owner: Owner {
                    boot_id: String::new(),
                    pid: 4711,
                    pid_started: 0,
                },
                engine_peer: None,
            },
            terms: Default::default(),
        })
        .expect("record an intent");
    assert_eq!(intended, Intended::New, "{id}");
    ledger.started(id, at(due)).expect("record a start");
}

/// Records an end, and with it whether the slot is to be tried again.
fn end(ledger: &Ledger, id: &RunId, due: &str, (outcome, code, again): (Outcome, i64, bool)) {
    let mut log = LogWriter::create(&ledger.log_path(id)).expect("make a log");
    let text = format!("{due} {outcome} of {id}\n");
    log.write(Output::Stdout, text.as_bytes()).expect("write a log");
    log.finish().expect("write a log");
    let finished = at(due) + jiff::SignedDuration::from_secs(90);
    ledger
        .finish(
            id,
            &Finish {
                outcome,
                reason: format!("exit code {code}"),
                exit_code: Some(code),
                started_at: Some(at(due)),
                finished_at: Some(finished),
                at: finished,
                retry_at: again.then_some(finished),
                held_until: None,
                note: None,
            },
        )
        .expect("record an end");
}
