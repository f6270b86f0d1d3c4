//! Another program's clock: `examples/crontab`, a cron in a container that calls the scheduler.

use std::fs;

use super::{Machine, docker, docker_ok, example, import_debian, make_image};
use crate::rig::{IMAGE, Phase, Rig, Witness};
use crate::scheduler::{Job, manifest, wait_until};

/// The example's image with manifests of the test's own, and cron running in it.
fn cron<'a>(rig: &'a Rig, witness: &Witness, jobs: &[Job<'_>], crontab: &str) -> Machine<'a> {
    import_debian(rig);
    make_image(rig);
    docker_ok(rig, &["tag", IMAGE, "busybox:latest"]);
    let folder = example(rig, "crontab", "crontab");
    fs::write(folder.join("crontab"), crontab).expect("write the crontab");
    fs::write(
        folder.join("schedules/tested.yaml"),
        manifest("tested", witness, jobs),
    )
    .expect("write a manifest");
    docker_ok(rig, &["build", "-t", "cron", &folder.display().to_string()]);
    let socket = format!("{}:/var/run/docker.sock", rig.socket().display());
    // The witness's folder lies outside of the manifests', which only an operator may allow.
    let config = folder.join("config.yaml");
    let roots = format!("policy:\n  bind_roots: [\"{}\"]\n", witness.folder().display());
    fs::write(&config, roots).expect("write the operator's file");
    let config = format!("{}:/etc/docker-scheduler/config.yaml:ro", config.display());
    let args = [
        "--detach",
        "--network",
        "none",
        // Of other tests on this engine; cron's own calls must hear of it, too.
        "--env",
        "DOCKER_SCHEDULER_INSTANCE=cron",
        "--volume",
        &socket,
        "--volume",
        &config,
        "cron",
    ];
    Machine::start(rig, "cron", &args)
}

/// How often each slot and attempt began, by the witness.
fn is_once_each(witness: &Witness) -> bool {
    let lines = witness.lines();
    let mut slots: Vec<_> = (lines.iter())
        .filter(|line| line.phase == Phase::Begin && line.slot != "-")
        .map(|line| (line.slot.clone(), line.attempt.clone()))
        .collect();
    let all = slots.len();
    slots.sort();
    slots.dedup();
    slots.len() == all
}

#[test]
#[ignore = "slow: make test-packaging"]
fn cron_calls_and_every_slot_runs_once() {
    let rig = Rig::shared();
    let witness = rig.witness("crontab");
    let jobs = [
        Job {
            name: "slow",
            every: "",
            work: "sleep 6; echo did; exit 3",
            options: "",
        },
        Job {
            name: "ticks",
            every: "20s",
            work: "true",
            options: "",
        },
    ];
    // Three calls in the same minute, each minute: two passes that overlap, and one that is killed.
    let pass = "docker-scheduler apply --quiet /schedules";
    let crontab = format!(
        "DOCKER_SCHEDULER_LOG_LEVEL=warn\n\
         * * * * * root {pass} >>/passes 2>&1; echo first $? >>/passes\n\
         * * * * * root {pass} >>/passes 2>&1; echo second $? >>/passes\n\
         * * * * * root timeout -s KILL 0.3 {pass} >/dev/null 2>&1\n"
    );
    let machine = cron(rig, &witness, &jobs, &crontab);

    // A job by cron's word: its output and its exit code are the job's, and nothing else is said when it
    // goes well.
    let trigger = "docker-scheduler trigger --dir /schedules --wait --logs";
    let quiet = machine.sh(&format!("{trigger} nightly.report"));
    assert!(quiet.stdout.starts_with("reported at "), "{quiet:#?}");
    let said: Vec<&str> = (quiet.stderr.lines())
        .filter(|line| !line.contains(" INFO "))
        .collect();
    assert!(said.is_empty() && quiet.code == 0, "{quiet:#?}");

    // Two at once: one runs, the other is told so.
    let both = machine.sh(&format!(
        "{trigger} tested.slow >/one 2>/one.err & {trigger} tested.slow >/two 2>/two.err; two=$?; wait $!; echo $? $two"
    ));
    let mut codes: Vec<&str> = both.stdout.split_whitespace().collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        ["3", "5"],
        "{both:#?} {}",
        machine.ok("cat /one.err /two.err")
    );
    assert_eq!(machine.ok("cat /one /two"), "did\n");
    assert!(machine.ok("cat /one.err /two.err").contains("exit code 3"));

    // A call that is killed: its run goes on, and what came of it is in the history after the next pass.
    machine.sh(&format!("timeout -s KILL 2 {trigger} tested.slow"));
    let outcomes = "docker-scheduler history tested.slow --format '{{.outcome}}'";
    wait_until("a later pass records its end", || {
        machine.sh(pass);
        machine
            .ok(outcomes)
            .lines()
            .filter(|outcome| *outcome == "failed")
            .count()
            == 2
    });

    // Passes of two minutes by cron itself.
    wait_until("cron has made four passes", || {
        machine.sh("cat /passes").stdout.matches(" 0\n").count() >= 4
    });
    assert!(is_once_each(&witness), "a slot ran twice: {:#?}", witness.lines());
    let ticks = machine.ok("docker-scheduler history tested.ticks --format '{{.outcome}}'");
    assert!(ticks.contains("succeeded"), "{ticks}");
    let passes = machine.ok("cat /passes");
    let unwell: Vec<&str> = (passes.lines())
        .filter(|line| !line.ends_with(" 0") && !line.contains("missed") && !line.contains("skipped"))
        .collect();
    assert!(unwell.is_empty(), "{passes}");
    drop(docker(rig, &["exec", "cron", "docker-scheduler", "down"]));
}
