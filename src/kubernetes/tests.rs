//! Single mappings; whole manifests and the way back are in `transfer`'s tests.

use std::collections::BTreeSet;

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
fn a_value_that_was_sensitive_is_not_shown_when_it_is_gone() {
    let target = Target {
        instance: Some("default".into()),
        ..Target::default()
    };
    let only = |job: &Job| objects(job, &target).pop().unwrap();
    let mut secret = job("    image: reg.test/hunter2:1\n    triggers: {schedule: [\"@daily\"]}\n");
    secret.container.remember(
        &BTreeSet::from(["image"]),
        &BTreeSet::from(["reg.test/hunter2:1".to_owned()]),
    );
    let plain = job("    image: busybox\n    triggers: {schedule: [\"@daily\"]}\n");
    let (before, after) = (only(&secret), only(&plain));
    let lines = live::diff_lines(&live::differences(Some(&before), &after));
    assert!(!lines.join("\n").contains("hunter2"), "{lines:?}");
    let path = "spec.jobTemplate.spec.template.spec.containers[backup-db].image";
    assert!(
        lines.contains(&format!("-{path}: (masked)")) && lines.contains(&format!("+{path}: busybox")),
        "{lines:?}"
    );
    assert_eq!(
        only(&plain)["metadata"]["annotations"].get(live::NOTE_MASKED),
        None
    );
}

#[test]
fn a_sensitive_value_stands_in_a_secret_alone() {
    let mut job =
        job("    image: busybox\n    environment: {A: x}\n    triggers: {schedule: [\"@daily\"]}\n");
    job.container
        .environment
        .insert("PASSWORD".into(), Some(crate::model::Text::sensitive("hunter2")));
    let objects = objects(
        &job,
        &Target {
            namespace: Some("n".into()),
            ..Target::default()
        },
    );
    assert_eq!(objects[0]["kind"], "Secret");
    assert_eq!(objects[0]["data"], json!({"PASSWORD": "aHVudGVyMg=="}));
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

/// The CronJob's container and pod.
fn container_and_pod(body: &str) -> (Value, Value) {
    let found = cron_job(&format!(
        "    image: busybox\n    triggers: {{schedule: [\"@daily\"]}}\n{body}"
    ));
    let pod = found["spec"]["jobTemplate"]["spec"]["template"]["spec"].clone();
    (pod["containers"][0].clone(), pod)
}

#[test]
fn a_word_that_must_not_be_read_reaches_the_command_by_a_secret() {
    let mut job =
        job("    image: busybox\n    command: [login, x]\n    triggers: {schedule: [\"@daily\"]}\n");
    let command = job.container.command.as_mut().expect("a command");
    command[1] = crate::model::Text::sensitive("--password=hunter2 $(HOME)");
    let objects = objects(&job, &Target::default());
    assert_eq!(objects[0]["data"].as_object().expect("data").len(), 1);
    let container = &objects[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["args"],
        json!(["login", "$(DOCKER_SCHEDULER_COMMAND_2)"])
    );
    assert_eq!(container["env"][0]["name"], "DOCKER_SCHEDULER_COMMAND_2");
    assert_eq!(
        container["env"][0]["valueFrom"]["secretKeyRef"],
        json!({"name": "shop-backup-db-env", "key": "DOCKER_SCHEDULER_COMMAND_2"})
    );
    assert!(!objects[1].to_string().contains("hunter2"));
    job.container
        .labels
        .insert("team".into(), crate::model::Text::sensitive("hunter2"));
    let found = check(&job, NOW.parse().unwrap());
    assert_eq!((found[0].key, found[0].is_error), ("labels", true));
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[test]
fn secrets_and_configs_are_files_at_their_targets() {
    let content = |text: &str, is_secret: bool| crate::model::FileSource::Content {
        content: if is_secret {
            crate::model::Text::sensitive(text)
        } else {
            crate::model::Text::plain(text)
        },
        uid: 0,
        gid: 0,
        mode: 0o440,
    };
    let mut job = job("    image: busybox\n    triggers: {schedule: [\"@daily\"]}\n");
    let file = |kind, name: &str, target: &str, source| crate::model::JobFile {
        kind,
        name: name.to_owned(),
        target: target.to_owned(),
        source,
    };
    use crate::model::FileKind::{Config, Secret};
    use crate::model::FileSource::Path;
    job.container.files = vec![
        file(Secret, "db", "/run/secrets/db", content("hunter2", true)),
        file(Secret, "db", "/again", content("hunter2", true)),
        file(Secret, "tls", "/tls.key", Path("/m/tls.key".into())),
        file(Config, "app", "/app.conf", content("a=1", false)),
        file(Config, "url", "/url", content("postgres://hunter2", true)),
    ];
    let read = |path: &std::path::Path| match path.to_str() {
        Some("/m/tls.key") => Ok(vec![0xff, 0x00]),
        _ => Err(String::from("not there")),
    };
    let target = Target {
        contents: Contents::read(std::iter::once(&job), read),
        ..Target::default()
    };
    assert!(!format!("{target:?}").contains("255"), "{target:?}");
    let found = objects(&job, &target);
    let names: Vec<(&str, &str)> = found.iter().map(|one| (kind_of(one), name_of(one))).collect();
    assert_eq!(
        names,
        [
            ("Secret", "shop-backup-db-secrets"),
            ("ConfigMap", "shop-backup-db-configs"),
            ("CronJob", "shop-backup-db")
        ]
    );
    assert_eq!(
        found[0]["data"],
        json!({"db": "aHVudGVyMg==", "tls": "/wA=", "url": "cG9zdGdyZXM6Ly9odW50ZXIy"})
    );
    assert_eq!(found[1]["data"], json!({"app": "a=1"}));
    let pod = &found[2]["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["volumeMounts"],
        json!([
            {"name": "secrets", "mountPath": "/run/secrets/db", "readOnly": true, "subPath": "db"},
            {"name": "secrets", "mountPath": "/again", "readOnly": true, "subPath": "db~"},
            {"name": "secrets", "mountPath": "/tls.key", "readOnly": true, "subPath": "tls"},
            {"name": "secrets", "mountPath": "/url", "readOnly": true, "subPath": "url"},
            {"name": "configs", "mountPath": "/app.conf", "readOnly": true, "subPath": "app"},
        ])
    );
    assert_eq!(
        pod["volumes"][0]["secret"]["items"][1],
        json!({"key": "db", "path": "db~", "mode": 0o440})
    );
    assert_eq!(pod["volumes"][0]["secret"]["items"][2]["mode"], 0o444);
    assert_eq!(
        pod["volumes"][1],
        json!({"name": "configs", "configMap": {"name": "shop-backup-db-configs",
            "items": [{"key": "app", "path": "app", "mode": 0o440}]}})
    );
    assert_eq!(check_contents(&job, &target.contents), Vec::new());

    // What cannot be read, is too large, or has an owner of its own.
    let unread = check_contents(&job, &Contents::default());
    assert_eq!((unread.len(), unread[0].key), (1, "secrets"), "{unread:?}");
    let large = Contents::read(std::iter::once(&job), |_| Ok(vec![0; LARGEST]));
    assert!(check_contents(&job, &large)[0].message.contains("bytes"));
    job.container.files[3].source = crate::model::FileSource::Content {
        content: crate::model::Text::plain(""),
        uid: 1000,
        gid: 0,
        mode: 0o444,
    };
    let owned = check(&job, NOW.parse().unwrap());
    assert_eq!((owned.len(), owned[0].key), (1, "configs"), "{owned:?}");
}

#[test]
fn binds_are_paths_of_the_node_only_where_the_manifest_says_so() {
    let mut job = job(
        "    image: busybox\n    volumes: [\"./in:/in:ro\"]\n    triggers: {schedule: [\"@daily\"]}\n    x-scheduler: {kubernetes: {host_path: true}}\n",
    );
    assert_eq!(check(&job, NOW.parse().unwrap()), Vec::new());
    let pod = objects(&job, &Target::default())[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"].clone();
    assert_eq!(
        pod["volumes"],
        json!([{"name": "volume-1", "hostPath": {"path": "/manifests/in"}}])
    );
    job.container.kubernetes.host_path = false;
    let found = check(&job, NOW.parse().unwrap());
    assert_eq!((found[0].key, found[0].is_error), ("volumes", true));
    assert!(found[0].help.as_ref().expect("help").contains("host_path: true"));
}

#[test]
fn names_and_places_of_a_pod() {
    let (container, pod) = container_and_pod(
        "    hostname: box\n    dns: [10.0.0.53]\n    dns_opt: [\"ndots:2\", use-vc]\n    group_add: [27]\n    platform: linux/arm64/v8\n    shm_size: 64m\n    mem_reservation: 32m\n    init: true\n    stdin_open: true\n    sysctls: {net.ipv4.tcp_syncookies: 0}\n    security_opt: [\"no-new-privileges:true\"]\n",
    );
    assert_eq!(pod["hostname"], "box");
    assert_eq!(pod["dnsPolicy"], "None");
    assert_eq!(
        pod["dnsConfig"],
        json!({"nameservers": ["10.0.0.53"], "options": [{"name": "ndots", "value": "2"}, {"name": "use-vc"}]})
    );
    assert_eq!(
        pod["securityContext"],
        json!({"supplementalGroups": [27], "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "0"}]})
    );
    assert_eq!(
        pod["nodeSelector"],
        json!({"kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux"})
    );
    assert_eq!(pod["shareProcessNamespace"], true);
    assert_eq!(container["stdin"], true);
    assert_eq!(container["resources"], json!({"requests": {"memory": "32Mi"}}));
    assert_eq!(
        container["securityContext"],
        json!({"allowPrivilegeEscalation": false})
    );
    assert_eq!(
        (
            &container["volumeMounts"][0]["mountPath"],
            &pod["volumes"][0]["emptyDir"]
        ),
        (
            &json!("/dev/shm"),
            &json!({"medium": "Memory", "sizeLimit": "64Mi"})
        )
    );
    // What is only near is refused.
    let keys = findings(
        "    image: busybox\n    hostname: box.example\n    group_add: [audio]\n    platform: linux/arm/v7\n    sysctls: {net.core.somaxconn: 1024}\n    security_opt: [\"label:level:s0\"]\n    triggers: {schedule: [\"@daily\"]}\n    healthcheck: {test: [CMD, \"true\"]}\n",
    );
    let keys: Vec<&str> = keys.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "error platform",
            "warning healthcheck",
            "error security_opt",
            "error group_add",
            "error sysctls",
            "error hostname",
        ]
    );
}
