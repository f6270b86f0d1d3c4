//! What a manifest asks for, on a real engine: that it comes about, that applying it once is enough, and
//! what counts as a change of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::rig::{IMAGE, Rig};
use crate::scheduler::Scheduler;

/// Everything that manifests may ask for, allowed.
const OPEN: &str = "policy:
  allow_cap_add: true
  allow_devices: true
  allow_host_ipc: true
  allow_host_network: true
  allow_host_pid: true
  allow_host_userns: true
  allow_host_uts: true
  allow_unconfined: true
";

fn open(scheduler: &Scheduler<'_>) {
    fs::write(scheduler.dir().with_file_name("config.yaml"), OPEN).expect("write the operator's file");
}

/// A plan with nothing to do.
#[track_caller]
fn nothing_to_do(scheduler: &Scheduler<'_>) {
    let plan = scheduler.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, 0, "{plan:#?}");
}

/// IDs of this instance's containers, by name.
fn containers(scheduler: &Scheduler<'_>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<(String, String)> = scheduler
        .containers()
        .iter()
        .map(|container| (text(&container["Names"][0]), text(&container["Id"])))
        .collect();
    found.sort();
    found
}

/// Each attribute that this engine can carry out. Annotations and `start_interval` need a newer one; this
/// machine has no graphics processors, and lacks a capability that privileged containers ask for.
const EVERYTHING: &str = r#"name: all
jobs:
  confined:
    image: IMAGE
    pull_policy: never
    platform: linux/amd64
    entrypoint: [sh, -c]
    command:
      - |
        set -e
        say() { echo "$$1: [$$2]"; [ "$$2" = "$$3" ] || { echo "expected [$$3]"; exit 9; }; }
        say hostname "$$(hostname)" box
        say user "$$(id -u):$$(id -g)" 1000:1000
        id -G | grep -qw 44
        say directory "$$(pwd)" /work
        say variable "$$A $$FROM_FILE $$FROM_DOT_ENV" "1 2 3"
        say secret "$$(cat /run/secrets/token)" hunter2
        say permissions "$$(stat -c '%a %u:%g' /run/secrets/token)" "400 1000:1000"
        say folder "$$(stat -c %a /run/secrets)" 755
        say file "$$(cat /run/secrets/db)" from-a-file
        say config "$$(cat /etc/app.conf)" "greeting=3"
        say shm "$$(df -k /dev/shm | tail -n 1 | awk '{print $$2}')" 16384
        say memory-disk "$$(df -k /scratch | tail -n 1 | awk '{print $$2}')" 1024
        say sysctl "$$(cat /proc/sys/net/core/somaxconn)" 1000
        say killed-first "$$(cat /proc/self/oom_score_adj)" 500
        say files "$$(ulimit -n)" 512
        say server "$$(grep -c '^nameserver 9.9.9.9' /etc/resolv.conf)" 1
        say search "$$(grep ^search /etc/resolv.conf)" "search example.org"
        say host "$$(grep -c '10.0.0.2.*db' /etc/hosts)" 1
        say rights "$$(grep NoNewPrivs /proc/self/status | cut -f 2)" 1
        test -c /dev/nothing
        test -d /folder
        test -d /data
    environment: {A: 1, FROM_DOT_ENV: }
    env_file: job.env
    labels: {team: ops}
    volumes: ["data:/data", "./folder:/folder:ro", {type: tmpfs, target: /scratch, tmpfs: {size: 1m}}]
    tmpfs: /tmp:size=1m
    network_mode: bridge
    user: "1000:1000"
    group_add: [44]
    working_dir: /work
    init: true
    tty: false
    stdin_open: true
    mem_limit: 64m
    memswap_limit: 128m
    mem_reservation: 32m
    shm_size: 16m
    cpus: 0.5
    cpu_shares: 512
    cpuset: "0"
    pids_limit: 50
    oom_score_adj: 500
    runtime: runc
    ulimits: {nofile: {soft: 512, hard: 1024}}
    sysctls: {net.core.somaxconn: 1000}
    cap_add: [NET_ADMIN]
    cap_drop: [MKNOD]
    security_opt: ["no-new-privileges:true"]
    devices: ["/dev/null:/dev/nothing:rw"]
    ipc: private
    logging: {driver: json-file, options: {max-size: 1m}}
    hostname: box
    domainname: example.org
    dns: 9.9.9.9
    dns_search: [example.org]
    dns_opt: ["ndots:1"]
    extra_hosts: ["db=10.0.0.2"]
    ports: ["127.0.0.1::80", {target: 53, protocol: udp}]
    healthcheck: {test: "true", interval: 30s, timeout: 5s, retries: 2, start_period: 1s}
    stop_signal: SIGINT
    stop_grace_period: 2s
    secrets: [db, {source: token, uid: "1000", gid: "1000", mode: 0400}]
    configs: [{source: app, target: /etc/app.conf}]
    triggers: {manual: true, schedule: ["0 0 1 1 *"]}
  trusted:
    image: IMAGE
    pull_policy: never
    command: [sh, -c, "test -d /proc/1 && cat /proc/self/attr/current 2>/dev/null; hostname"]
    network_mode: host
    pid: host
    ipc: host
    uts: host
    userns_mode: host
    security_opt: ["seccomp=unconfined", "systempaths=unconfined"]
    triggers: {manual: true, schedule: ["0 0 1 1 *"]}
  read-only:
    image: IMAGE
    pull_policy: never
    command: [cat, /run/secrets/db]
    network_mode: none
    read_only: true
    healthcheck: {disable: true}
    secrets: [db]
    triggers: {manual: true, schedule: ["0 0 1 1 *"]}
volumes: {data: }
secrets:
  db: {file: ./db.secret}
  token: {environment: TOKEN}
configs:
  app: {content: "greeting=${FROM_DOT_ENV}"}
"#;

#[test]
fn every_attribute_comes_about_and_is_applied_once() {
    let scheduler = Scheduler::new(Rig::shared(), "attributes");
    open(&scheduler);
    let write = |name: &str, text: &str| fs::write(scheduler.dir().join(name), text).expect("written");
    write(".env", "TOKEN=hunter2\nFROM_DOT_ENV=3\n");
    write("job.env", "FROM_FILE=2\n");
    write("db.secret", "from-a-file");
    fs::create_dir(scheduler.dir().join("folder")).expect("made");
    scheduler.manifest("all.yaml", &EVERYTHING.replace("IMAGE", IMAGE));
    scheduler.ok(&["apply"]);
    let armed = containers(&scheduler);
    assert_eq!(armed.len(), 3, "{armed:?}\n{}", scheduler.run(&["plan"]).stdout);
    nothing_to_do(&scheduler);
    scheduler.ok(&["apply"]);
    assert_eq!(
        containers(&scheduler),
        armed,
        "a second apply made something anew"
    );

    for job in ["all.confined", "all.trusted", "all.read-only"] {
        let run = scheduler.run(&["trigger", job, "--wait"]);
        let logs = scheduler.run(&["logs", job]);
        assert_eq!(run.code, 0, "{job}: {run:#?}\n{logs:#?}");
    }
    scheduler.ok(&["apply"]);
    nothing_to_do(&scheduler);

    // The value of a secret is an edit, though nobody may see it; its file is read when a run starts.
    write("db.secret", "another");
    nothing_to_do(&scheduler);
    write(".env", "TOKEN=hunter3\nFROM_DOT_ENV=3\n");
    let plan = scheduler.ends(2, &["plan", "--detailed-exitcode"]);
    assert!(
        plan.stdout.contains("all.confined") && !plan.stdout.contains("hunter"),
        "{plan:#?}"
    );
    scheduler.ok(&["apply"]);
    nothing_to_do(&scheduler);
}

#[test]
fn a_tag_that_moved_is_a_change_with_both_images() {
    let rig = Rig::shared();
    let scheduler = Scheduler::new(rig, "moved-tag");
    let tag = |image: &str| {
        let (status, text) = rig.post(&format!("/images/{image}/tag?repo=moved&tag=now"), "");
        assert_eq!(status, 201, "{text}");
    };
    tag("busybox:test");
    scheduler.manifest(
        "a.yaml",
        "name: t\njobs:\n  j: {image: \"moved:now\", pull_policy: never, command: [\"true\"], network_mode: none, \
         triggers: {schedule: [\"0 0 1 1 *\"]}}\n",
    );
    scheduler.ok(&["apply"]);
    nothing_to_do(&scheduler);
    let before = scheduler.containers()[0]["ImageID"]
        .as_str()
        .expect("an ID")
        .to_owned();
    tag("busybox:volume");
    let plan = scheduler.ends(2, &["plan", "--detailed-exitcode", "--format", "json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let change = &plan["changes"][0];
    assert_eq!(
        (&change["action"], &change["cause"]),
        (&"replace".into(), &"ImageMoved".into())
    );
    scheduler.ok(&["apply"]);
    let after = scheduler.containers()[0]["ImageID"]
        .as_str()
        .expect("an ID")
        .to_owned();
    assert_ne!(before, after);
    let short = |id: &str| id.trim_start_matches("sha256:")[..12].to_owned();
    let detail = change["detail"].as_str().expect("a text");
    assert!(
        detail.contains(&short(&before)) && detail.contains(&short(&after)),
        "{detail}"
    );
    nothing_to_do(&scheduler);
}

fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=n@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(folder)
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
}

#[test]
fn a_commit_that_changes_no_job_changes_no_container() {
    let scheduler = Scheduler::new(Rig::shared(), "commits");
    let text = format!(
        "name: t\njobs:\n  j: {{image: \"{IMAGE}\", pull_policy: never, command: [\"true\"], network_mode: none, \
         triggers: {{schedule: [\"0 0 1 1 *\"]}}}}\n"
    );
    scheduler.manifest("a.yaml", &text);
    git(scheduler.dir(), &["init", "-q"]);
    let commit = |message: &str| {
        git(scheduler.dir(), &["add", "-A"]);
        git(scheduler.dir(), &["commit", "-q", "-m", message]);
    };
    commit("one");
    scheduler.ok(&["apply"]);
    let armed = containers(&scheduler);
    fs::write(scheduler.dir().join("README"), "words").expect("written");
    commit("two");
    nothing_to_do(&scheduler);
    // A comment, and a line above the job, are no edit of it either.
    scheduler.manifest("a.yaml", &format!("# why\n{text}"));
    commit("three");
    nothing_to_do(&scheduler);
    scheduler.ok(&["apply"]);
    assert_eq!(containers(&scheduler), armed);
}
