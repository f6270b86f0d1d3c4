//! `doctor` in a cluster, under the account of examples/kubernetes/rbac.yaml and under less.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{BACKUP, Bench};

/// State and message of each finding, by its check.
type Found = BTreeMap<String, Vec<(String, String)>>;

/// What it finds, and the exit code.
fn examine(bench: &Bench, more: &[&str]) -> (Found, Option<i32>) {
    let ended = bench.run(&[&["doctor", "jobs", "--format", "json"], more].concat());
    let mut found = Found::new();
    for line in ended.stdout.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| row[key].as_str().expect("a text").to_owned();
        let finding = (text("state"), text("message"));
        found.entry(text("check")).or_default().push(finding);
    }
    (found, ended.code)
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn what_is_wrong_in_a_cluster_is_said() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    bench.run(&["apply", "jobs"]).ok();
    let (found, code) = examine(&bench, &[]);
    assert_eq!(code, Some(0), "{found:?}");
    let wrong: Vec<_> = found
        .values()
        .flatten()
        .filter(|(state, _)| state != "ok")
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(found["engine"][0].1.starts_with("kubernetes v1."), "{found:?}");
    assert!(found["engine"][0].1.ends_with("(the context it)"), "{found:?}");
    assert_eq!(found["objects"][0].1, "1 CronJob");
    assert_eq!(found["namespace"][0].1, format!("`{}`", bench.namespace));

    // Suspended by hand, and what nobody looks after.
    bench.merge("CronJob", "shop-backup", json!({"spec": {"suspend": true}}));
    let mut stray = bench.cron_job("shop-backup");
    stray["metadata"] =
        json!({"name": "stray", "labels": {"app.kubernetes.io/managed-by": "docker-scheduler"}});
    bench.create(stray);
    bench.declare("shop.yaml", &BACKUP.replace("backup", "other"));
    let (found, code) = examine(&bench, &[]);
    assert_eq!(code, Some(0), "{found:?}");
    assert_eq!(
        found["jobs"][0].1,
        "`shop.backup` is suspended by kubectl-edit, and starts at no time"
    );
    let objects: Vec<&str> = found["objects"]
        .iter()
        .map(|(_, message)| message.as_str())
        .collect();
    assert_eq!(
        objects,
        [
            "CronJob `stray` carries our mark, and is left alone: it names no instance, as what `export` wrote",
            "CronJob `shop-backup` is ours, and no manifest declares its job",
        ]
    );

    // Fewer rights than are needed.
    bench.merge(
        "Role",
        "docker-scheduler",
        json!({"rules": [
            {"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["get", "list", "create", "patch"]},
        ]}),
    );
    let (found, code) = examine(&bench, &[]);
    assert_eq!(code, Some(1), "{found:?}");
    let said = |state: &str, what: &str| {
        let found = found["permissions"].iter();
        let mut found = found.filter(|(is, message)| is == state && message.starts_with(what));
        assert!(found.next().is_some(), "{state} {what}");
    };
    said("error", "may not delete cronjobs, for `plan`");
    said("error", "may not get pods/log, for `logs`");
    said("note", "may not list secrets, for jobs with values");
    assert!(
        !found["permissions"]
            .iter()
            .any(|(_, message)| message.contains("patch cronjobs"))
    );

    let (found, code) = examine(&bench, &["--namespace", "no-such-namespace"]);
    assert_eq!(code, Some(1), "{found:?}");
    assert_eq!(found["permissions"][0].0, "error");
    let (found, code) = examine(&bench, &["--kube-context", "nowhere"]);
    assert_eq!(code, Some(4), "{found:?}");
    assert_eq!(found["engine"][0].0, "error");
    assert_eq!(found["clock"][0].0, "unknown");
}

/// Who may do everything learns of a namespace that is not there.
#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_namespace_that_is_not_there_is_said() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    let mut command = bench.command(&["doctor", "jobs", "-q", "--namespace", "no-such-namespace"]);
    let kubeconfig = std::env::var_os("KUBECONFIG").expect("KUBECONFIG");
    let ended = crate::cli::Ended::of(
        command
            .env("KUBECONFIG", kubeconfig)
            .output()
            .expect("the program"),
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("there is no namespace `no-such-namespace`"),
        "{ended:?}"
    );
}
