//! The whole program on a real engine: `watch` and the commands beside it, judged by what the jobs
//! themselves bear witness of.
//!
//! Crashes at random moments are in `chaos`; here each test does one thing to a scheduler and looks
//! at what came of it. No test asserts a tight time: the machine may be busy.

use std::time::Duration;

use serde_json::Value;

use crate::rig::{Phase, Rig};
use crate::scheduler::{Job, Scheduler, Watching, manifest, wait_for, wait_until};

fn job<'a>(name: &'a str, every: &'a str, work: &'a str) -> Job<'a> {
    Job {
        name,
        every,
        work,
        options: "",
    }
}

/// How often the jobs of one scheduler began.
fn begun(scheduler: &Scheduler<'_>) -> usize {
    scheduler.witness.executions()
}

fn names(containers: &[Value]) -> Vec<String> {
    let name = |container: &Value| {
        let name = container["Names"][0].as_str().unwrap_or_default();
        name.trim_start_matches('/').to_owned()
    };
    containers.iter().map(name).collect()
}

fn id(container: &Value) -> &str {
    container["Id"].as_str().expect("an ID")
}

/// The newest run of a job that has `outcome`.
fn with_outcome(scheduler: &Scheduler<'_>, job: &str, outcome: &str) -> Option<Value> {
    let mut runs = scheduler.history().into_iter();
    runs.find(|run| run["job"] == job && run["outcome"] == outcome)
}

#[test]
fn a_new_job_is_armed_and_runs_and_a_removed_one_is_gone() {
    let scheduler = Scheduler::new(Rig::shared(), "edit-add");
    scheduler.manifest(
        "a.yaml",
        &manifest("shop", &scheduler.witness, &[job("kept", "1h", "true")]),
    );
    let watching = scheduler.watch();
    wait_until("the job is armed", || {
        scheduler.containers_of("kept", "created").len() == 1
    });
    assert_eq!(begun(&scheduler), 0, "an hour has not passed");

    // A run that is in flight when its job is removed comes to its end.
    let text = manifest("shop", &scheduler.witness, &[job("added", "1s", "sleep 4")]);
    scheduler.manifest("b.yaml", &text);
    wait_until("the new job runs", || begun(&scheduler) > 0);
    scheduler.remove_manifest("b.yaml");
    watching.says("shop.added: no longer declared");
    wait_until("the run in flight ends and is pruned", || {
        scheduler
            .witness
            .lines()
            .iter()
            .any(|line| line.phase == Phase::End)
            && scheduler.containers_of("added", "created").is_empty()
            && scheduler.containers_of("added", "running").is_empty()
            && scheduler.containers_of("added", "exited").is_empty()
    });
    let runs = scheduler.history_of("shop.added");
    let ran = begun(&scheduler);
    let succeeded = runs.iter().filter(|run| run["outcome"] == "succeeded").count();
    assert_eq!(succeeded, ran, "{runs:#?}");
    wait_until("the other job's container alone is left", || {
        scheduler.containers().len() == 1
    });
    assert_eq!(watching.term(), 0);
}

#[test]
fn an_edit_replaces_what_is_armed_and_touches_nothing_that_runs() {
    let scheduler = Scheduler::new(Rig::shared(), "edit-change");
    let text = |every, work| manifest("shop", &scheduler.witness, &[job("report", every, work)]);
    // It runs for as long as this test takes to look, on a machine of any load.
    let until_told = "until [ -e /witness/go ]; do sleep 0.2; done; true one";
    scheduler.manifest("a.yaml", &text("2s", until_told));
    let watching = scheduler.watch();
    let running = wait_for("it runs", || scheduler.containers_of("report", "running").pop());
    wait_until("the next one is armed", || {
        scheduler.containers_of("report", "created").len() == 1
    });
    let armed = scheduler.containers_of("report", "created");
    scheduler.manifest("a.yaml", &text("1h", "true two"));
    watching.says("manifests read again: 1 job");
    // What is armed for a slot goes with its slot: another one is not yet an edited one.
    let spec = |container: &Value| container["Labels"]["docker-scheduler.spec-hash"].clone();
    let replaced = wait_for("an edited one is armed", || {
        let now = scheduler.containers_of("report", "created");
        (now.len() == 1 && spec(&now[0]) != spec(&armed[0])).then_some(now)
    });
    assert_ne!(id(&replaced[0]), id(&armed[0]));
    std::fs::write(scheduler.witness.folder().join("go"), "").expect("told");
    wait_until("the run in flight ends as it was begun", || {
        with_outcome(&scheduler, "shop.report", "succeeded")
            .is_some_and(|run| run["container"] == running["Id"])
    });
    assert_eq!(begun(&scheduler), 1);
    assert_eq!(watching.term(), 0);
}

/// A mount that is missing after a boot: the night's backup runs all the same.
#[test]
fn a_folder_that_is_empty_after_a_restart_keeps_its_jobs_running() {
    let scheduler = Scheduler::new(Rig::shared(), "edit-unmounted");
    let text = |name| manifest("shop", &scheduler.witness, &[job(name, "2s", "true")]);
    scheduler.manifest("a.yaml", &text("backup"));
    scheduler.manifest("b.yaml", &text("report"));
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 0);
    assert_eq!(watching.term(), 0);

    let mounted = scheduler.dir().with_extension("mounted");
    std::fs::rename(scheduler.dir(), &mounted).expect("unmounted");
    std::fs::create_dir(scheduler.dir()).expect("the mount point");
    // One pass of `apply` holds removals, and starts what is due.
    let before = begun(&scheduler);
    wait_until("`apply` starts a run", || {
        let said = scheduler.ends(5, &["apply"]).stderr;
        assert!(
            said.contains("the directory holds no manifest any more"),
            "{said}"
        );
        begun(&scheduler) > before
    });
    let watching = scheduler.watch();
    watching.says("the directory holds no manifest any more");
    let succeeded = |job: &str| {
        let runs = scheduler.history_of(job).into_iter();
        runs.filter(|run| run["outcome"] == "succeeded").count()
    };
    for job in ["shop.backup", "shop.report"] {
        let before = succeeded(job);
        wait_until("it goes on", || succeeded(job) > before);
    }
    for run in scheduler.history() {
        let reason = run["reason"].as_str().unwrap_or_default();
        assert!(!reason.contains("removals are held"), "{run:#?}");
    }

    // Mounted again, it is as if nothing had been.
    std::fs::remove_dir(scheduler.dir()).expect("removed");
    std::fs::rename(&mounted, scheduler.dir()).expect("mounted");
    watching.says("manifests read again: 2 jobs");
    assert_eq!(watching.term(), 0);
}

#[test]
fn a_broken_file_keeps_its_last_good_version_while_others_proceed() {
    let scheduler = Scheduler::new(Rig::shared(), "edit-broken");
    let text = |name| manifest("shop", &scheduler.witness, &[job(name, "1h", "true")]);
    scheduler.manifest("a.yaml", &text("first"));
    let watching = scheduler.watch();
    wait_until("the first is armed", || {
        scheduler.containers_of("first", "created").len() == 1
    });
    scheduler.manifest("a.yaml", "name: shop\njobs:\n  first:\n    imagine: 1\n");
    watching.says("imagine");
    scheduler.manifest("b.yaml", &text("second"));
    wait_until("the second is armed", || {
        scheduler.containers_of("second", "created").len() == 1
    });
    assert_eq!(scheduler.containers_of("first", "created").len(), 1);

    // Also over a restart.
    assert_eq!(watching.term(), 0);
    let watching = scheduler.watch();
    watching.says("imagine");
    wait_until("the broken file's job is still there", || {
        scheduler.json(&["ls"]).len() == 2
    });
    assert_eq!(scheduler.containers_of("first", "created").len(), 1);

    scheduler.manifest("a.yaml", &text("mended"));
    wait_until("the mended file counts", || {
        scheduler.containers_of("mended", "created").len() == 1
            && scheduler.containers_of("first", "created").is_empty()
    });
    watching.signal("HUP");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(watching.term(), 0, "SIGHUP reads again, and ends nothing");
}

#[test]
fn sigterm_leaves_runs_alone_and_a_restart_reads_their_results() {
    let scheduler = Scheduler::new(Rig::shared(), "sigterm");
    let work = "echo out; echo err >&2; sleep 3; exit 7";
    scheduler.manifest(
        "a.yaml",
        &manifest("shop", &scheduler.witness, &[job("work", "2s", work)]),
    );
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) == 1);
    assert_eq!(watching.term(), 0);
    let running = scheduler.containers_of("work", "running");
    assert_eq!(running.len(), 1, "it goes on: {:?}", scheduler.containers());
    wait_until("it ends by itself", || {
        scheduler.containers_of("work", "running").is_empty()
    });
    assert_eq!(begun(&scheduler), 1, "nobody starts anything now");

    let watching = scheduler.watch();
    let run = wait_for("its result is read", || {
        scheduler
            .history()
            .into_iter()
            .find(|run| run["container"] == running[0]["Id"] && run["outcome"] != "running")
    });
    assert_eq!(
        (&run["outcome"], &run["exit_code"]),
        (&"failed".into(), &7.into())
    );
    assert_eq!(run["reason"], "exit code 7");
    let name = run["run"].as_str().expect("a name");
    let logs = scheduler.ends(0, &["logs", name]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(watching.term(), 0);
}

#[test]
fn trigger_and_apply_go_through_the_same_ledger_as_the_watch() {
    let scheduler = Scheduler::new(Rig::shared(), "beside");
    let jobs = [
        job("steady", "2s", "sleep 1"),
        job("manual", "", "sleep 2; exit 3"),
    ];
    scheduler.manifest("a.yaml", &manifest("shop", &scheduler.witness, &jobs));
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 0);

    let manual = scheduler.ends(3, &["trigger", "--wait", "manual"]);
    let run = manual.stdout.trim().to_owned();
    assert!(run.starts_with("beside.shop.manual.m-"), "{manual:?}");

    // While one runs, another is refused; killing the one who waits ends nothing.
    let mut waiting = scheduler.spawn(&["trigger", "--wait", "manual"]);
    wait_until("the second manual run runs", || {
        scheduler.containers_of("manual", "running").len() == 1
    });
    waiting.kill().expect("kill it");
    waiting.wait().expect("wait for it");
    scheduler.ends(5, &["trigger", "manual"]);
    for _ in 0..5 {
        let mut apply = scheduler.spawn(&["apply"]);
        std::thread::sleep(Duration::from_millis(150));
        apply.kill().expect("kill it");
        apply.wait().expect("wait for it");
    }
    scheduler.ok(&["apply"]);
    wait_until("the watch reads the second manual run's result", || {
        let runs = scheduler.history_of("shop.manual");
        runs.len() == 2 && runs.iter().all(|run| run["exit_code"] == 3)
    });
    wait_until("the watch goes on", || {
        scheduler.history_of("shop.steady").len() > 5
    });
    assert_eq!(watching.term(), 0);
    assert_no_double(&scheduler);
}

/// No (slot, attempt) of a scheduled job twice, no container twice.
fn assert_no_double(scheduler: &Scheduler<'_>) {
    let mut containers = std::collections::BTreeSet::new();
    let mut slots = std::collections::BTreeSet::new();
    for line in scheduler.witness.lines() {
        if line.phase == Phase::Begin {
            assert!(containers.insert(line.container.clone()), "ran twice: {line:?}");
            // One scheduled job in each manifest here; manual runs have no slot.
            if line.slot != "-" {
                assert!(
                    slots.insert((line.slot.clone(), line.attempt.clone())),
                    "doubled: {line:?}"
                );
            }
        }
    }
}

#[test]
fn one_watch_and_one_ledger_for_an_instance() {
    let scheduler = Scheduler::new(Rig::shared(), "locks");
    scheduler.manifest(
        "a.yaml",
        &manifest("shop", &scheduler.witness, &[job("work", "2s", "sleep 1")]),
    );
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 0);

    let second = scheduler.ends(5, &["watch"]);
    assert!(second.stderr.contains("another watch is running"), "{second:?}");
    let down = scheduler.ends(5, &["down"]);
    assert!(down.stderr.contains("a watch is running"), "{down:?}");

    let other = scheduler.with_other_ledger();
    for command in ["apply", "plan", "watch"] {
        let refused = other.ends(5, &[command]);
        assert!(refused.stderr.contains("--take-over"), "{refused:?}");
    }
    assert_eq!(other.history().len(), 0, "a refused command records nothing");

    // The one who is taken over from ends by itself; what it started is not started again.
    let taking = other.watch_with(&["--take-over"]);
    assert_eq!(watching.wait(), 5, "it was taken over from");
    let before = begun(&scheduler);
    wait_until("the new one runs jobs", || begun(&scheduler) > before + 1);
    assert_no_double(&scheduler);
    assert_eq!(taking.term(), 0);
    scheduler.ends(5, &["apply"]);

    other.ok(&["down"]);
    assert_eq!(names(&other.containers()), Vec::<String>::new());
    assert!(!other.has_lock_volume());
    assert!(!other.history().is_empty(), "history is kept");
    let before = begun(&scheduler);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(begun(&scheduler), before);
}

#[test]
fn applied_twice_changes_nothing() {
    let scheduler = Scheduler::new(Rig::shared(), "applied");
    let jobs = [job("hourly", "1h", "true"), job("manual", "", "true")];
    scheduler.manifest("a.yaml", &manifest("shop", &scheduler.witness, &jobs));
    scheduler.ends(2, &["plan", "--detailed-exitcode"]);
    assert_eq!(scheduler.containers().len(), 0, "a plan makes nothing");
    assert!(!scheduler.has_lock_volume(), "not even the lock");
    scheduler.ok(&["apply"]);
    scheduler.ends(0, &["plan", "--detailed-exitcode"]);
    let before = names(&scheduler.containers());
    let again = scheduler.ok(&["apply"]);
    assert!(again.contains("no changes"), "{again}");
    assert_eq!(names(&scheduler.containers()), before);
    let first = scheduler.ok(&["plan", "--at", "2026-11-23T10:00:00Z"]);
    assert_eq!(first, scheduler.ok(&["plan", "--at", "2026-11-23T10:00:00Z"]));
    scheduler.ok(&["down"]);
    scheduler.ends(2, &["plan", "--detailed-exitcode"]);
}

#[test]
fn exit_codes_say_what_is_wrong() {
    let scheduler = Scheduler::new(Rig::shared(), "codes");
    let missing = scheduler.dir().join("missing");
    let mut nowhere = scheduler.command(&["plan"]);
    let output = nowhere.arg(&missing).output().expect("run it");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    scheduler.manifest("a.yaml", "name: shop\njobs:\n  work:\n    imagine: 1\n");
    for command in ["plan", "apply", "validate"] {
        let broken = scheduler.ends(3, &[command]);
        let said = format!("{}{}", broken.stdout, broken.stderr);
        assert!(said.contains("imagine"), "{broken:?}");
    }
    scheduler.manifest(
        "a.yaml",
        &manifest("shop", &scheduler.witness, &[job("work", "1h", "true")]),
    );
    scheduler.ok(&["validate"]);
    let nobody = format!("unix://{}", scheduler.dir().join("nobody.sock").display());
    for command in ["plan", "apply"] {
        let mut away = scheduler.command(&["--host", &nobody, command]);
        let output = away.arg(scheduler.dir()).output().expect("run it");
        assert_eq!(output.status.code(), Some(4), "{output:?}");
    }
}

#[test]
fn people_remove_prune_and_start_containers() {
    let rig = Rig::shared();
    let scheduler = Scheduler::new(rig, "people");
    let jobs = [
        job("armed", "1h", "true"),
        job("long", "3s", "sleep 600"),
        job("byhand", "4s", "sleep 1"),
    ];
    scheduler.manifest("a.yaml", &manifest("shop", &scheduler.witness, &jobs));
    let watching = scheduler.watch();
    // One that is still being made cannot be removed.
    watching.says("shop.armed: armed");
    let armed = wait_for("it is armed", || {
        scheduler.containers_of("armed", "created").pop()
    });
    remove(rig, &armed, true);
    let again = wait_for("it is armed again", || {
        let found = scheduler.containers_of("armed", "created").pop();
        found.filter(|container| container["Id"] != armed["Id"])
    });
    // A prune passes over what is being worked on at that moment.
    wait_until("a prune takes it away", || {
        let (status, _) = rig.post(
            "/containers/prune?filters=%7B%22label%22%3A%5B%22docker-scheduler.instance%3Dpeople%22%5D%7D",
            "",
        );
        assert_eq!(status, 200);
        rig.get(&format!("/containers/{}/json", id(&again))).0 == 404
    });
    wait_until("it is armed a third time", || {
        let found = scheduler.containers_of("armed", "created").pop();
        found.is_some_and(|container| container["Id"] != again["Id"])
    });

    let running = wait_for("the long one runs", || {
        scheduler.containers_of("long", "running").pop()
    });
    remove(rig, &running, true);
    let run = wait_for("its end is recorded", || {
        let runs = scheduler.history_of("shop.long").into_iter();
        runs.filter(|run| run["outcome"] != "running")
            .find(|run| run["container"] == running["Id"])
    });
    assert!(
        run["outcome"] == "failed" || run["outcome"] == "unknown",
        "{run:#?}"
    );
    wait_until("the next slot runs", || {
        let found = scheduler.containers_of("long", "running").pop();
        found.is_some_and(|container| container["Id"] != running["Id"])
    });

    start_by_hand(&scheduler, &watching);
    assert_no_container_twice(&scheduler);
    assert_eq!(watching.term(), 0);
    scheduler.ok(&["down"]);
}

/// `docker start` of a container that waits for its slot: that slot is not started by us.
fn start_by_hand(scheduler: &Scheduler<'_>, watching: &Watching) {
    let started = wait_for("somebody starts what is armed", || {
        let armed = scheduler.containers_of("byhand", "created").pop()?;
        let (status, _) = scheduler
            .rig
            .post(&format!("/containers/{}/start", id(&armed)), "");
        // It may have been due in this very moment: then another one is tried.
        let ours = scheduler
            .history_of("shop.byhand")
            .iter()
            .any(|run| run["container"] == armed["Id"]);
        (status == 204 && !ours).then_some(armed)
    });
    let slot = started["Labels"]["docker-scheduler.slot"].clone();
    let run = wait_for("its slot is recorded", || {
        let runs = scheduler.history_of("shop.byhand").into_iter();
        runs.filter(|run| run["outcome"] != "running")
            .find(|run| run["slot"] == slot)
    });
    assert!(
        run["outcome"] == "unknown" || run["outcome"] == "skipped",
        "{run:#?}\n{}",
        watching.log()
    );
    wait_until("a later slot runs", || {
        scheduler
            .history_of("shop.byhand")
            .iter()
            .any(|run| run["outcome"] == "succeeded" && run["slot"].as_str() > slot.as_str())
    });
}

fn assert_no_container_twice(scheduler: &Scheduler<'_>) {
    let mut seen = std::collections::BTreeSet::new();
    for line in scheduler.witness.lines() {
        let first = line.phase != Phase::Begin || seen.insert(line.container.clone());
        assert!(first, "ran twice: {line:?}");
    }
}

fn remove(rig: &Rig, container: &Value, force: bool) {
    let path = format!("/containers/{}?force={}", id(container), u8::from(force));
    let (status, _) = rig.request("DELETE", &path, &[]).expect("the engine answers");
    assert_eq!(status, 204);
}

#[test]
fn what_ran_can_be_read_after_its_container_is_gone() {
    let scheduler = Scheduler::new(Rig::shared(), "reading");
    let work = Job {
        options: "history: {succeeded: 0, failed: 0}",
        ..job("work", "2s", "echo hello")
    };
    scheduler.manifest("a.yaml", &manifest("shop", &scheduler.witness, &[work]));
    let watching = scheduler.watch();
    let run = wait_for("one succeeded and is gone", || {
        let run = with_outcome(&scheduler, "shop.work", "succeeded")?;
        let there = scheduler
            .containers()
            .iter()
            .any(|container| container["Id"] == run["container"]);
        (!there).then_some(run)
    });
    let name = run["run"].as_str().expect("a name");
    assert_eq!(scheduler.ok(&["logs", name]), "hello\n");
    let timed = scheduler.ok(&["logs", "-t", name]);
    assert!(
        timed.starts_with("20") && timed.ends_with("Z hello\n"),
        "{timed:?}"
    );

    let run_fields = "v run job slot attempt trigger outcome reason exit_code due_at started_at \
                      finished_at duration_ms late_ms container image commit source slot_last count";
    assert_fields(&run, run_fields);
    assert_eq!((&run["v"], &run["attempt"]), (&1.into(), &0.into()));
    assert_eq!(
        (&run["trigger"], &run["job"]),
        (&"schedule".into(), &"shop.work".into())
    );
    assert!(
        run["slot"].as_str().is_some_and(|slot| slot.ends_with('Z')),
        "{run:#?}"
    );
    assert!(run["late_ms"].as_i64().is_some_and(|late| late >= 0), "{run:#?}");
    assert!(
        run["duration_ms"].as_i64().is_some_and(|length| length >= 0),
        "{run:#?}"
    );

    let listed = scheduler.json(&["ls"]);
    assert_eq!(listed.len(), 1);
    let job_fields = "v job project trigger timezone state paused suspended last_outcome \
                      last_exit_code next_slot armed source commit";
    assert_fields(&listed[0], job_fields);
    assert_eq!(listed[0]["trigger"], "every 2s");

    let plan = scheduler.json(&["plan"]).remove(0);
    let plan_fields = "v at engine changes waiting unchanged inactive summary next_wake";
    assert_fields(&plan, plan_fields);
    assert_fields(&plan["summary"], "create replace start stop remove update");
    let slots = scheduler.json(&["next", "-n", "3"]);
    assert_eq!(slots.len(), 3);
    assert_fields(&slots[0], "v job slot due_at local timezone note");
    assert_eq!(watching.term(), 0);

    scheduler.manifest(
        "b.yaml",
        &manifest("other", &scheduler.witness, &[job("new", "1h", "true")]),
    );
    let plan = scheduler.json(&["plan"]).remove(0);
    let changes = plan["changes"].as_array().expect("a list");
    let new = changes.iter().find(|change| change["job"] == "other.new");
    assert_fields(
        new.unwrap_or_else(|| panic!("{plan:#?}")),
        "job action cause detail diff next_before next_after",
    );
    scheduler.ok(&["down"]);
    let table = scheduler.ok(&["history", "-n", "1"]);
    assert!(table.starts_with("RUN"), "{table}");
    assert_eq!(scheduler.ok(&["logs", name]), "hello\n", "after down, too");
}

/// Each of these fields and nothing else.
#[track_caller]
fn assert_fields(object: &Value, fields: &str) {
    let mut wanted: Vec<&str> = fields.split_whitespace().collect();
    let object = object
        .as_object()
        .unwrap_or_else(|| panic!("no object: {object}"));
    let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn a_watch_outlives_its_engine() {
    let rig = Rig::start();
    let scheduler = Scheduler::new(&rig, "outlive");
    // The engine may be killed while its answer to a start is still on its way: that run is `unknown`
    // and holds its job, here for a moment.
    let work = held_to("work", "2s", "sleep 1", "unknown_hold: 3s");
    scheduler.manifest("a.yaml", &manifest("shop", &scheduler.witness, &[work]));
    let mut watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 0);
    rig.kill9();
    watching.says("engine lost");
    std::thread::sleep(Duration::from_secs(3));
    assert!(watching.runs(), "it waits for the engine");
    rig.up();
    watching.says("engine back");
    let before = begun(&scheduler);
    wait_until("it goes on", || begun(&scheduler) > before + 1);
    assert_no_double(&scheduler);
    assert_eq!(watching.term(), 0);
}

/// A job with more lines under `x-scheduler`.
fn held_to<'a>(name: &'a str, every: &'a str, work: &'a str, options: &'a str) -> Job<'a> {
    Job {
        options,
        ..job(name, every, work)
    }
}

fn outcomes(scheduler: &Scheduler<'_>, job: &str) -> Vec<(String, u64)> {
    let rows = scheduler.history_of(job);
    let words = rows.iter().map(|row| {
        let outcome = row["outcome"].as_str().unwrap_or_default().to_owned();
        (outcome, row["attempt"].as_u64().unwrap_or(u64::MAX))
    });
    words.collect()
}

#[test]
fn a_failed_run_is_tried_again_over_a_kill_and_no_oftener_than_it_may() {
    let scheduler = Scheduler::new(Rig::shared(), "retries");
    let work = r#"[ "$SCHEDULER_ATTEMPT" = 2 ] || exit 7"#;
    let job = held_to("flaky", "30s", work, "retries: 5, backoff: 2s");
    scheduler.manifest("a.yaml", &manifest("shop", &scheduler.witness, &[job]));
    let watching = scheduler.watch();
    wait_until("the first attempt fails", || {
        outcomes(&scheduler, "shop.flaky").contains(&("failed".to_owned(), 0))
    });
    watching.kill9();
    let watching = scheduler.watch();
    wait_until("the third attempt succeeds", || {
        outcomes(&scheduler, "shop.flaky").contains(&("succeeded".to_owned(), 2))
    });
    assert_eq!(watching.term(), 0);
    let rows = outcomes(&scheduler, "shop.flaky");
    assert!(rows.contains(&("failed".to_owned(), 1)), "{rows:?}");
    assert!(rows.iter().all(|(_, attempt)| *attempt <= 2), "{rows:?}");
}

#[test]
fn a_slot_queues_behind_a_run_or_takes_its_place() {
    let scheduler = Scheduler::new(Rig::shared(), "queue-replace");
    let text = manifest(
        "shop",
        &scheduler.witness,
        &[held_to("queue", "3s", "sleep 4", "concurrency: queue")],
    );
    scheduler.manifest("a.yaml", &text);
    let watching = scheduler.watch();
    wait_until("two slots ran, one after the other", || {
        let rows = outcomes(&scheduler, "shop.queue");
        rows.iter().filter(|(outcome, _)| outcome == "succeeded").count() > 1
    });
    watching.says("waits for its turn");
    let text = manifest(
        "shop",
        &scheduler.witness,
        &[held_to("replace", "5s", "sleep 60", "concurrency: replace")],
    );
    scheduler.manifest("a.yaml", &text);
    let replaced = wait_for("a run makes room", || {
        with_outcome(&scheduler, "shop.replace", "cancelled")
    });
    assert!(
        replaced["reason"]
            .as_str()
            .is_some_and(|reason| reason.starts_with("replaced by slot")),
        "{replaced:#?}"
    );
    assert_eq!(watching.term(), 0);
}

#[test]
fn a_paused_job_stands_still_until_it_is_resumed() {
    let scheduler = Scheduler::new(Rig::shared(), "pause");
    let text = manifest("shop", &scheduler.witness, &[job("work", "2s", "true")]);
    scheduler.manifest("a.yaml", &text);
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 0);
    scheduler.ok(&["pause", "shop.*"]);
    wait_until("a slot is suspended", || {
        with_outcome(&scheduler, "shop.work", "suspended").is_some()
    });
    let ran = begun(&scheduler);
    wait_until("some slots pass", || {
        let rows = outcomes(&scheduler, "shop.work");
        rows.iter().filter(|(outcome, _)| outcome == "suspended").count() > 2
    });
    assert_eq!(begun(&scheduler), ran, "nothing started in the pause");
    scheduler.ok(&["resume", "work"]);
    wait_until("it runs again", || begun(&scheduler) > ran);
    assert_eq!(watching.term(), 0);
}
