//! An engine and its scheduler in one container: `examples/dind`, restarted and killed.

use std::fs;

use super::{DEBIAN, MACHINE, Machine, docker, docker_ok, example, import_debian, make_image};
use crate::rig::{IMAGE, Phase, Rig};
use crate::scheduler::{Job, manifest, wait_until};

/// The image of the jobs, for an engine that has none and no registry.
fn image_file(rig: &Rig) -> std::path::PathBuf {
    let file = rig.folder("dind").join("busybox.tar");
    docker_ok(rig, &["save", "-o", &file.display().to_string(), IMAGE]);
    file
}

#[test]
#[ignore = "slow: make test-packaging"]
fn a_restart_of_the_outer_container_loses_no_slot_and_doubles_none() {
    let rig = Rig::shared();
    import_debian(rig);
    make_image(rig);
    let witness = rig.witness("dind");
    let folder = example(rig, "dind", "dind");
    let jobs = [
        Job {
            name: "short",
            every: "2s",
            work: "true",
            options: "",
        },
        Job {
            name: "long",
            every: "5s",
            work: "sleep 3",
            options: "missed_fires: all, ",
        },
    ];
    fs::write(
        folder.join("schedules/tested.yaml"),
        manifest("tested", &witness, &jobs),
    )
    .expect("write a manifest");
    let base = format!("BASE={DEBIAN}");
    let context = folder.display().to_string();
    docker_ok(rig, &["build", "-t", "dind", "--build-arg", &base, &context]);
    let operator = folder.join("config.yaml");
    let roots = format!("policy:\n  bind_roots: [\"{}\"]\n", witness.folder().display());
    fs::write(&operator, roots).expect("write the operator's file");
    let operator = format!("{}:/etc/docker-scheduler/config.yaml:ro", operator.display());
    // The same path inside and outside: the engine in there mounts what is in there.
    let shared = format!("{0}:{0}", witness.folder().display());
    let engine = [
        "--network",
        "none",
        "--volume",
        &shared,
        "--volume",
        &operator,
        "--volume",
        "dind-images:/var/lib/docker",
        "--volume",
        "dind-state:/var/lib/docker-scheduler",
        "dind",
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    ];
    let machine = Machine::start(rig, "dind", &[&MACHINE[..], &engine].concat());
    machine.waits_until("the engine inside answers", "docker version");
    machine.copy(&image_file(rig), "/busybox.tar");
    machine.ok("docker load -i /busybox.tar");
    let begun = || witness.executions();
    wait_until("the jobs run", || begun() > 3);
    machine.ok("docker-scheduler health");

    docker_ok(rig, &["restart", "--time", "60", "dind"]);
    let before = begun();
    wait_until("they run after a restart", || begun() > before + 3);
    docker_ok(rig, &["kill", "dind"]);
    docker_ok(rig, &["start", "dind"]);
    let before = begun();
    wait_until("they run after a kill", || begun() > before + 3);
    wait_until("everything is settled", || {
        let history = machine.sh("docker-scheduler history --format '{{.outcome}}'");
        history.code == 0 && history.stdout.matches("succeeded").count() > 6
    });
    // On a quick machine the slower one has had few slots by now.
    wait_until("there are slots enough to tell of", || {
        ["tested.short", "tested.long"].iter().all(|job| {
            let history = machine.sh(&format!(
                "docker-scheduler history {job} --format '{{{{.slot}}}}'"
            ));
            history.stdout.lines().count() > 4
        })
    });

    let lines = witness.lines();
    let mut ran: Vec<_> = (lines.iter())
        .filter(|line| line.phase == Phase::Begin)
        .map(|line| (line.slot.clone(), line.attempt.clone(), line.container.clone()))
        .collect();
    ran.sort();
    let all = ran.len();
    ran.dedup();
    assert_eq!(ran.len(), all, "a container ran twice: {lines:#?}");
    no_slot_is_without_an_outcome(&machine, "tested.short", 2);
    no_slot_is_without_an_outcome(&machine, "tested.long", 5);
    // Every run that bore witness is in the history, and once.
    let history = machine.ok("docker-scheduler history --format '{{.job}} {{.slot}} {{.attempt}}'");
    let mut recorded: Vec<&str> = history.lines().collect();
    let all = recorded.len();
    recorded.sort_unstable();
    recorded.dedup();
    assert_eq!(recorded.len(), all, "{history}");
    for (slot, attempt, _) in &ran {
        assert!(
            recorded
                .iter()
                .any(|line| line.ends_with(&format!(" {slot} {attempt}"))),
            "{slot} {attempt} ran and is not in the history:\n{history}"
        );
    }
    drop(machine);
    docker(rig, &["volume", "rm", "dind-images", "dind-state"]);
}

/// From the first slot to the last one that is over, each is there; a series of equal ones is one line.
fn no_slot_is_without_an_outcome(machine: &Machine<'_>, job: &str, every: i64) {
    let format = "{{.slot}} {{.slot_last}} {{.count}}";
    let text = machine.ok(&format!("docker-scheduler history {job} --format '{format}'"));
    let mut spans: Vec<(i64, i64)> = (text.lines())
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let at = |text: &str| {
                text.parse::<jiff::Timestamp>()
                    .ok()
                    .map(jiff::Timestamp::as_second)
            };
            let first = at(words.first()?)?;
            Some((first, at(words.get(1)?).unwrap_or(first)))
        })
        .collect();
    spans.sort_unstable();
    spans.dedup();
    assert!(spans.len() > 3, "{text}");
    for pair in spans.windows(2) {
        assert_eq!(
            pair[1].0 - pair[0].1,
            every,
            "slots are missing in {job}'s history:\n{text}"
        );
    }
}
