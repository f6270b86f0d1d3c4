//! What keys of manifests become, as a real API server takes it: secrets, configs, claims, rights.

use serde_json::{Value, json};

use super::{BACKUP, Bench};
use crate::manifests::keys;

/// A second `apply` finds nothing to do: nothing that the server fills in or writes in another way is taken
/// for an edit.
#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn every_key_that_has_an_equal_is_taken_and_left_alone() {
    let bench = Bench::new();
    let operator = bench.home.path().join("operator.yaml");
    std::fs::write(&operator, keys::allowing_everything()).expect("write");
    let operator = operator.display().to_string();
    let (text, _) = keys::manifest();
    let mut manifest: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
    bench.declare("some.env", "FROM_FILE=yes\n");
    bench.declare("db.secret", "hunter2");
    bench.declare("keys.yaml", &text);
    let validated = bench.run(&["--config", &operator, "validate", "jobs", "--format", "json"]);
    let mut left_out = 0;
    for line in validated.stdout.lines() {
        let found: Value = serde_json::from_str(line).expect("JSON");
        let message = found["message"].as_str().expect("a message");
        let job = message
            .strip_prefix("job `keys.")
            .and_then(|rest| rest.split('`').next());
        if found["severity"] == "error" {
            let jobs = manifest["jobs"].as_mapping_mut().expect("jobs");
            jobs.shift_remove(job.expect("a job"));
            left_out += 1;
        }
    }
    assert!(left_out > 10, "{validated:?}");
    bench.declare("keys.yaml", &serde_yaml::to_string(&manifest).expect("YAML"));
    for claim in ["keys-data", "keys-shared"] {
        bench.claim(claim);
    }
    let count = manifest["jobs"].as_mapping().expect("jobs").len();
    assert!(count > 40, "{count}");
    let applied = bench.run(&["--config", &operator, "apply", "jobs"]).ok();
    assert!(applied.contains("to create"), "{applied}");
    let again = bench.run(&["--config", &operator, "plan", "jobs", "--detailed-exitcode"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("Plan: no changes"), "{again:?}");
    assert!(
        !bench
            .list("CronJob")
            .iter()
            .any(|one| one.to_string().contains("hunter2"))
    );
}

const FILES: &str = "    secrets: [password]
    configs: [{source: app, target: /etc/app.conf, mode: 0440}]
    command";

fn with_files() -> String {
    let sections = "secrets: {password: {file: ./db.secret}}\nconfigs: {app: {content: \"level=1\"}}\n";
    BACKUP.replace("    command", FILES) + sections
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn secrets_and_configs_follow_their_files_and_are_shown_nowhere() {
    let bench = Bench::new();
    bench.declare("shop.yaml", &with_files());
    // Without the file it is known before the cluster is asked.
    let missing = bench.run(&["plan", "jobs"]);
    assert_eq!(missing.code, Some(3), "{missing:?}");
    bench.declare("db.secret", "hunter2");
    let planned = bench.run(&["plan", "jobs", "--format", "json"]).ok();
    assert!(
        !planned.contains("hunter2") && !planned.contains("aHVudGVyMg"),
        "{planned}"
    );
    bench.run(&["apply", "jobs"]).ok();
    let secret = bench.get("Secret", "shop-backup-secrets").expect("a Secret");
    assert_eq!(secret["data"], json!({"password": "aHVudGVyMg=="}));
    assert_eq!(secret["metadata"]["labels"]["docker-scheduler/job"], "backup");
    let config = bench
        .get("ConfigMap", "shop-backup-configs")
        .expect("a ConfigMap");
    assert_eq!(config["data"], json!({"app": "level=1"}));
    assert!(!bench.cron_job("shop-backup").to_string().contains("hunter2"));
    let pod = "/spec/jobTemplate/spec/template/spec/containers/0/volumeMounts";
    let made = bench.cron_job("shop-backup");
    let mounts: Vec<&Value> = made
        .pointer(pod)
        .expect("mounts")
        .as_array()
        .expect("mounts")
        .iter()
        .collect();
    assert_eq!(
        (&mounts[0]["mountPath"], &mounts[1]["mountPath"]),
        (&json!("/run/secrets/password"), &json!("/etc/app.conf"))
    );
    assert!(bench.run(&["apply", "jobs"]).ok().contains("no changes"));

    // Another content is a change that is planned, and said without the value.
    bench.declare("db.secret", "hunter3");
    bench.declare("shop.yaml", &with_files().replace("level=1", "level=2"));
    let text = bench.run(&["plan", "jobs"]).ok();
    assert!(!text.contains("hunter") && !text.contains("aHVudGVy"), "{text}");
    assert!(
        text.contains("data.password: (another value, not shown)"),
        "{text}"
    );
    assert!(text.contains("+data.app: level=2"), "{text}");
    bench.run(&["apply", "jobs"]).ok();
    let secret = bench.get("Secret", "shop-backup-secrets").expect("a Secret");
    assert_eq!(secret["data"]["password"], "aHVudGVyMw==");

    bench.declare("shop.yaml", BACKUP);
    bench.run(&["apply", "jobs"]).ok();
    assert!(bench.get("Secret", "shop-backup-secrets").is_none());
    assert!(bench.get("ConfigMap", "shop-backup-configs").is_none());

    // `down` takes all of it away.
    bench.declare("shop.yaml", &with_files());
    bench.run(&["apply", "jobs"]).ok();
    let text = bench.run(&["down"]).ok();
    assert!(
        text.contains("1 CronJob, 0 Jobs, 1 Secret and 1 ConfigMap"),
        "{text}"
    );
    assert!(bench.get("ConfigMap", "shop-backup-configs").is_none());
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn what_a_run_may_read_goes_after_its_end_and_the_run_goes_on() {
    let bench = Bench::new();
    bench.declare("shop.yaml", &with_files().replace("exit 3", "sleep 600"));
    bench.declare("other.yaml", &BACKUP.replace("name: shop", "name: blog"));
    bench.declare("db.secret", "hunter2");
    bench.run(&["apply", "jobs"]).ok();
    let run = bench.run(&["trigger", "shop.backup"]).ok();
    let run = run.trim();
    bench.pod_of(run);
    std::fs::remove_file(bench.home.path().join("jobs/shop.yaml")).expect("remove");
    let text = bench.run(&["apply", "jobs"]).ok();
    assert!(text.contains("no longer declared; what runs goes on"), "{text}");
    assert!(
        text.contains("Secret `shop-backup-secrets` goes when no run reads it any more"),
        "{text}"
    );
    let text = bench.run(&["apply", "jobs"]).ok();
    assert!(text.contains("no changes; 2 waiting"), "{text}");
    let there = bench.get("Job", run).expect("the run");
    assert_eq!(there["metadata"]["deletionTimestamp"], Value::Null);
    assert!(bench.get("Secret", "shop-backup-secrets").is_some());
    bench.run(&["cancel", run]).ok();
    let text = bench.run(&["apply", "jobs"]).ok();
    assert!(text.contains(" - shop.backup  remove"), "{text}");
    assert!(bench.get("Secret", "shop-backup-secrets").is_none());
    assert!(bench.get("ConfigMap", "shop-backup-configs").is_none());
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_claim_that_is_not_there_is_an_error_at_its_line() {
    let bench = Bench::new();
    let manifest = BACKUP.replace("    command", "    volumes: [\"data:/data\"]\n    command");
    bench.declare("shop.yaml", &(manifest + "volumes: {data: {name: shop-data}}\n"));
    for command in ["plan", "apply"] {
        let refused = bench.run(&[command, "jobs"]);
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(
            refused
                .stderr
                .contains("there is no PersistentVolumeClaim `shop-data`"),
            "{refused:?}"
        );
        assert!(refused.stderr.contains("shop.yaml:5:5\n"), "{refused:?}");
        assert!(refused.stderr.contains("^^^^^^^"), "{refused:?}");
    }
    assert!(bench.list("CronJob").is_empty());
    bench.claim("shop-data");
    bench.run(&["apply", "jobs"]).ok();
    bench.run(&["down"]).ok();
    assert!(
        bench.get("PersistentVolumeClaim", "shop-data").is_some(),
        "claims are kept"
    );
}
