//! Single mappings; whole manifests and the way back are in `transfer`'s tests.

use serde_json::{Value, json};

use super::*;
use crate::model::{Job, Trigger};
use crate::transfer::loaded;

const NOW: &str = "2026-11-23T00:00:00Z";

/// The one job of a manifest.
fn job(body: &str) -> Job {
    let text = format!("name: shop\njobs:\n  backup_db:\n{body}");
    let loaded = loaded(&text);
    assert!(!loaded.has_errors(), "{:?}\n{text}", loaded.diagnostics);
    loaded.desired.jobs.into_values().next().expect("a job")
}

fn findings(body: &str) -> Vec<String> {
    check(&job(body), NOW.parse().unwrap())
        .iter()
        .map(|found| {
            let kind = if found.is_error { "error" } else { "warning" };
            format!("{kind} {}: {}", found.key, found.message)
        })
        .collect()
}

fn cron_job(body: &str) -> Value {
    objects(&job(body), &Target::default())
        .into_iter()
        .find(|object| object["kind"] == "CronJob")
        .expect("a CronJob")
}

#[test]
fn what_kubernetes_would_guess_is_always_written() {
    let found = cron_job("    image: busybox\n    triggers: {schedule: [\"0 3 * * 7\"]}\n");
    assert_eq!(found["metadata"]["name"], "shop-backup-db");
    assert_eq!(found["spec"]["schedule"], "0 3 * * 0");
    assert_eq!(found["spec"]["timeZone"], "UTC");
    assert_eq!(found["spec"]["concurrencyPolicy"], "Forbid");
    let job = &found["spec"]["jobTemplate"]["spec"];
    assert_eq!(job["backoffLimit"], 0);
    assert_eq!(job["template"]["spec"]["restartPolicy"], "Never");
    for labels in [
        &found["metadata"]["labels"],
        &found["spec"]["jobTemplate"]["metadata"]["labels"],
        &job["template"]["metadata"]["labels"],
    ] {
        assert_eq!(labels["docker-scheduler/job"], "backup_db");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "docker-scheduler");
    }
    assert_eq!(found["spec"].get("suspend"), None);
}

#[test]
fn units_words_and_dollars() {
    let found = cron_job(
        "    image: busybox\n    entrypoint: [a, \"$$(B)\"]\n    command: echo \"x y\" $$HOME $$$$\n    environment: {B: \"1$$(C)\"}\n    mem_limit: 64m\n    cpus: 0.25\n    user: \"1000:100\"\n    cap_drop: [CAP_NET_RAW]\n    triggers: {schedule: [\"@daily\"]}\n",
    );
    let container = &found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["a", "$$(B)"]));
    assert_eq!(container["args"], json!(["echo", "x y", "$HOME", "$$$"]));
    assert_eq!(container["env"], json!([{"name": "B", "value": "1$$(C)"}]));
    assert_eq!(
        container["resources"],
        json!({"limits": {"memory": "64Mi", "cpu": "250m"}})
    );
    assert_eq!(
        container["securityContext"],
        json!({"runAsUser": 1000, "runAsGroup": 100, "capabilities": {"drop": ["NET_RAW"]}})
    );
}

#[test]
fn several_schedules_are_several_cron_jobs() {
    let job = job("    image: busybox\n    triggers: {schedule: [\"@daily\", \"0 1 * * *\"]}\n");
    let names: Vec<String> = objects(&job, &Target::default())
        .iter()
        .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["shop-backup-db-1", "shop-backup-db-2"]);
    assert!(
        check(&job, NOW.parse().unwrap())
            .iter()
            .any(|found| !found.is_error)
    );
}

#[test]
fn a_sensitive_value_stands_in_a_secret_alone() {
    let mut job =
        job("    image: busybox\n    environment: {A: x}\n    triggers: {schedule: [\"@daily\"]}\n");
    job.container
        .environment
        .insert("PASSWORD".into(), crate::model::Text::sensitive("hunter2"));
    let objects = objects(
        &job,
        &Target {
            namespace: Some("n".into()),
            instance: None,
        },
    );
    assert_eq!(objects[0]["kind"], "Secret");
    assert_eq!(objects[0]["stringData"], json!({"PASSWORD": "hunter2"}));
    assert_eq!(objects[0]["metadata"]["namespace"], "n");
    assert!(!objects[1].to_string().contains("hunter2"));
    assert!(
        objects[1]
            .to_string()
            .contains(r#"{"key":"PASSWORD","name":"shop-backup-db-env"}"#)
    );
}

#[test]
fn what_has_no_equal_is_named_with_its_key() {
    let found = findings(
        "    image: busybox\n    user: www-data\n    networks: [default]\n    ulimits: {nofile: 100}\n    stop_signal: SIGINT\n    volumes: [\"./x:/x\"]\n    triggers: {manual: true}\n    x-scheduler: {every: 10s, success_exit_codes: [0, 1], starting_deadline: 5s}\n",
    );
    let keys: Vec<&str> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "error x-scheduler.every",
            "error x-scheduler.starting_deadline",
            "error x-scheduler.success_exit_codes",
            "error volumes",
            "error networks",
            "error user",
            "error ulimits",
            "error stop_signal",
        ],
        "{found:#?}"
    );
    assert_eq!(
        findings("    image: busybox\n    triggers: {schedule: [\"@daily\"]}\n"),
        Vec::<String>::new()
    );
}

#[test]
fn where_clocks_turn_it_is_said() {
    let found = findings(
        "    image: busybox\n    triggers: {schedule: [{cron: \"30 2 * * *\", timezone: Europe/Berlin}]}\n",
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("warning triggers.schedule: Kubernetes skips 2027-03-28"),
        "{found:#?}"
    );
    assert!(found[1].contains("twice at 2027-10-31"), "{found:#?}");
}

#[test]
fn days_that_must_both_fit_have_no_form() {
    let mut job = job("    image: busybox\n    triggers: {schedule: [\"0 0 1 * 1\"]}\n");
    assert!(
        !check(&job, NOW.parse().unwrap())
            .iter()
            .any(|found| found.is_error)
    );
    let Trigger::Cron { day_match, .. } = &mut job.triggers.schedule[0] else {
        panic!("an expression");
    };
    *day_match = Some(crate::model::DayMatch::All);
    assert!(
        check(&job, NOW.parse().unwrap())
            .iter()
            .any(|found| found.is_error)
    );
}

#[test]
fn a_long_name_is_refused() {
    let mut job = job("    image: busybox\n    triggers: {schedule: [\"@daily\"]}\n");
    job.name = JobName::new("shop", &"x".repeat(47)).unwrap();
    assert_eq!(object_name(&job.name).len(), 52);
    assert!(check(&job, NOW.parse().unwrap()).is_empty());
    job.name = JobName::new("shop", &"x".repeat(48)).unwrap();
    assert!(
        check(&job, NOW.parse().unwrap())[0]
            .message
            .contains("longer than 52")
    );
}
