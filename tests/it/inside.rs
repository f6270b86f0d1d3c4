//! Runs whose container is not theirs alone, on a real engine: one container started again for each
//! slot, and commands in a container that somebody else runs.

use std::process::Command;

use serde_json::{Value, json};

use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Scheduler, wait_for, wait_until};

/// A job that runs every two seconds; `body` is its keys but the triggers.
fn manifest(project: &str, job: &str, body: &str, options: &str) -> String {
    format!(
        "name: {project}\njobs:\n  {job}:\n{body}    triggers: {{manual: true}}\n    x-scheduler: {{{options}}}\n"
    )
}

fn reusing(project: &str, script: &str, every: &str) -> String {
    let body = format!(
        "    image: {IMAGE}\n    pull_policy: never\n    network_mode: none\n    command: [\"/bin/sh\", \"-c\", {}]\n",
        serde_json::to_string(script).unwrap()
    );
    manifest(
        project,
        "report",
        &body,
        &format!("every: {every}, container: reuse"),
    )
}

/// A command in the container of the service `app`.
fn inside(project: &str, script: &str, options: &str) -> String {
    let body = format!(
        "    command: [\"/bin/sh\", \"-c\", {}]\n",
        serde_json::to_string(script).unwrap()
    );
    manifest(
        project,
        "cron",
        &body,
        &format!("exec: {{service: app}}, {options}"),
    )
}

/// A container of the service `app` of that project, as Compose would have made it; its ID.
fn service(rig: &Rig, project: &str) -> String {
    let body = json!({
        "Image": IMAGE,
        "Cmd": ["/bin/sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.2; done"],
        "Labels": {
            "com.docker.compose.project": project,
            "com.docker.compose.service": "app",
            "com.docker.compose.container-number": "1",
        },
        "HostConfig": {"NetworkMode": "none"},
    });
    let path = format!("/containers/create?name={project}-app-1");
    let (status, answer) = rig.post(&path, &body.to_string());
    assert_eq!(status, 201, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let id = answer["Id"].as_str().unwrap().to_owned();
    start(rig, &id);
    id
}

fn start(rig: &Rig, id: &str) {
    let (status, answer) = rig.post(&format!("/containers/{id}/start"), "");
    assert!(matches!(status, 204 | 304), "{answer}");
}

fn is_running(rig: &Rig, id: &str) -> bool {
    let (_, answer) = rig.get(&format!("/containers/{id}/json"));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["State"]["Running"] == true
}

fn with_outcome(scheduler: &Scheduler<'_>, outcome: &str) -> Vec<Value> {
    let mut runs = scheduler.history();
    runs.retain(|run| run["outcome"] == outcome);
    // Oldest first.
    runs.reverse();
    runs
}

fn logs(scheduler: &Scheduler<'_>, run: &Value) -> String {
    scheduler.ok(&["logs", run["run"].as_str().unwrap()])
}

#[test]
fn one_container_runs_slot_after_slot_and_keeps_its_files() {
    let scheduler = Scheduler::new(Rig::shared(), "reuse");
    let script = "echo x >> /count; echo this is run $$(wc -l < /count); sleep 1";
    scheduler.manifest("a.yaml", &reusing("again", script, "2s"));
    let watching = scheduler.watch();
    wait_until("two runs", || with_outcome(&scheduler, "succeeded").len() >= 2);
    wait_until("a third is on its way", || {
        !with_outcome(&scheduler, "running").is_empty()
            && !scheduler.containers_of("report", "running").is_empty()
    });
    // Killed in a run: the next scheduler reads its end.
    watching.kill9();
    let watching = scheduler.watch();
    wait_until("four runs", || with_outcome(&scheduler, "succeeded").len() >= 4);
    assert_eq!(watching.term(), 0);
    let runs = with_outcome(&scheduler, "succeeded");
    for (number, run) in runs.iter().enumerate() {
        assert_eq!(run["container"], runs[0]["container"], "{runs:#?}");
        assert_eq!(logs(&scheduler, run), format!("this is run {}\n", number + 1));
    }
    let containers = scheduler.containers();
    assert_eq!(containers.len(), 1, "{containers:#?}");
    assert_eq!(containers[0]["Names"][0], "/reuse.again.report");
    wait_until("it is at rest", || {
        scheduler.containers_of("report", "exited").len() == 1
    });
    scheduler.ok(&["prune"]);
    assert_eq!(
        scheduler.containers().len(),
        1,
        "prune leaves it for its next slot"
    );
    // What the watch had no time to record.
    scheduler.ok(&["apply", "--wait"]);
    scheduler.manifest("a.yaml", &reusing("again", "true another", "1h"));
    let plan = scheduler.ok(&["plan"]);
    assert!(plan.contains("the files that earlier runs left in"), "{plan}");
    let by_hand = scheduler.ok(&["trigger", "again.report", "--wait"]);
    assert!(by_hand.starts_with("reuse.again.report.m-"), "{by_hand}");
    scheduler.ok(&["down"]);
    assert!(scheduler.containers().is_empty());
}

#[test]
fn a_command_runs_in_a_service_and_leaves_it_alone() {
    let rig = Rig::shared();
    let scheduler = Scheduler::new(rig, "exec");
    let target = service(rig, "inside");
    let script = "echo $$SCHEDULER_JOB in $$(hostname); echo oh >&2; exit 4";
    scheduler.manifest(
        "a.yaml",
        &inside("inside", script, "every: 2s, success_exit_codes: [4]"),
    );
    let watching = scheduler.watch();
    let run = wait_for("it has run", || with_outcome(&scheduler, "succeeded").pop());
    assert_eq!(
        (&run["exit_code"], &run["container"]),
        (&json!(4), &json!(target))
    );
    assert_eq!(
        logs(&scheduler, &run),
        format!("inside.cron in {}\n", &target[..12])
    );

    scheduler.manifest(
        "a.yaml",
        &inside("inside", "echo begun; sleep 300", "every: 2s, timeout: 2s"),
    );
    let run = wait_for("it is stopped", || with_outcome(&scheduler, "timed_out").pop());
    assert_eq!(logs(&scheduler, &run), "begun\n");

    // A silent command outlives a killed scheduler, and its end is learned.
    scheduler.manifest("a.yaml", &inside("inside", "sleep 6; exit 9", "every: 2s"));
    wait_until("it runs", || {
        let running = with_outcome(&scheduler, "running");
        let begun = with_outcome(&scheduler, "succeeded").len() + with_outcome(&scheduler, "timed_out").len();
        !running.is_empty() && begun > 0 && scheduler.ok(&["plan"]).contains("no changes")
    });
    watching.kill9();
    let watching = scheduler.watch();
    let run = wait_for("its end is learned", || with_outcome(&scheduler, "failed").pop());
    assert_eq!(run["exit_code"], 9, "{run:#?}");

    scheduler.manifest("a.yaml", &inside("inside", "no-such-program", "every: 1h"));
    assert_eq!(watching.term(), 0);
    scheduler.ok(&["prune"]);
    scheduler.ok(&["down"]);
    assert!(is_running(rig, &target), "the service is not ours to end");
    let (status, answer) = rig.post(&format!("/containers/{target}/kill"), "");
    assert_eq!(status, 204, "{answer}");
}

#[test]
fn a_command_whose_engine_dies_is_unknown_and_a_stopped_service_is_waited_for() {
    let rig = Rig::start();
    let scheduler = Scheduler::new(&rig, "exec-dies");
    let target = service(&rig, "dying");
    scheduler.manifest("a.yaml", &inside("dying", "sleep 300", "every: 2s"));
    let watching = scheduler.watch();
    wait_until("it runs", || !with_outcome(&scheduler, "running").is_empty());
    rig.kill9();
    rig.up();
    let run = wait_for("nobody knows", || with_outcome(&scheduler, "unknown").pop());
    let reason = run["reason"].as_str().unwrap();
    assert!(reason.contains("no longer knows of the command"), "{reason}");
    watching.says("is not running");
    let jobs = scheduler.json(&["ls", "--format", "json"]);
    assert_eq!(jobs[0]["state"], "not-armed", "{jobs:#?}");
    start(&rig, &target);
    wait_until("it runs again", || {
        !with_outcome(&scheduler, "running").is_empty()
    });
    assert_eq!(watching.term(), 0);
}

/// Without a watch, nobody else is there to keep either.
#[test]
fn a_command_by_hand_keeps_its_timeout_and_its_limits() {
    let rig = Rig::shared();
    let scheduler = Scheduler::new(rig, "by-hand");
    let target = service(rig, "timed");
    let options = "every: 1h, timeout: 1s, group: narrow";
    scheduler.manifest("a.yaml", &inside("timed", "echo begun; sleep 300", options));
    scheduler.ok(&["apply"]);
    let ended = scheduler.run(&["trigger", "timed.cron", "--wait"]);
    assert_ne!(ended.code, 0, "{ended:?}");
    let run = with_outcome(&scheduler, "timed_out")
        .pop()
        .expect("it was stopped");
    assert_eq!(logs(&scheduler, &run), "begun\n");

    let wide = format!(
        "    image: {IMAGE}\n    pull_policy: never\n    network_mode: none\n    command: [sleep, '300']\n"
    );
    scheduler.manifest(
        "b.yaml",
        &manifest("wide", "long", &wide, "every: 1h, group: narrow"),
    );
    scheduler.ok(&["apply"]);
    scheduler.ok(&["trigger", "wide.long"]);
    let refused = scheduler.run(&["trigger", "timed.cron"]);
    assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused:?}");
    assert!(refused.stderr.contains("narrow"), "{refused:?}");
    assert_eq!(scheduler.history_of("timed.cron").len(), 1);
    scheduler.ok(&["down"]);
    let (status, answer) = rig.post(&format!("/containers/{target}/kill"), "");
    assert_eq!(status, 204, "{answer}");
}

/// A line of an exported crontab, as cron runs it: with nothing but a home and its own path.
#[test]
fn a_line_of_an_exported_crontab_prints_the_output_alone() {
    let rig = Rig::shared();
    let scheduler = Scheduler::new(rig, "mail");
    let target = service(rig, "mailed");
    scheduler.manifest("a.yaml", &inside("mailed", "echo done", "every: 1h"));
    let dir = scheduler.dir().to_str().expect("UTF-8");
    let exported = scheduler.command(&["export", dir, "--to", "crontab"]).output();
    let exported = exported.expect("it runs").stdout;
    let exported = String::from_utf8_lossy(&exported);
    let line = exported.lines().last().expect("a line");
    let ran = Command::new("/bin/sh")
        .args(["-c", line.strip_prefix("0 * * * * ").expect("five fields")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/")
        .current_dir("/")
        .output()
        .expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        (text(&ran.stdout), text(&ran.stderr), ran.status.code()),
        ("done\n".to_owned(), String::new(), Some(0)),
        "{line}"
    );
    let left = scheduler.run(&["trigger", "mailed.cron"]);
    assert!(left.stderr.contains("so it is followed to its end"), "{left:?}");
    scheduler.ok(&["down"]);
    let (status, answer) = rig.post(&format!("/containers/{target}/kill"), "");
    assert_eq!(status, 204, "{answer}");
}
