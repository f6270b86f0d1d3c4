//! Whose the containers of an instance are, on a real engine: two ledgers, a ledger that was lost or
//! put back from yesterday, another engine behind the same address, and commands beside a `watch`.
//!
//! The witness of the jobs is the judge; a ledger is believed about itself alone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::judge::judge_witness;
use crate::proxy::{Fault, Proxy};
use crate::rig::Rig;
use crate::scheduler::{Job, Scheduler, manifest, wait_until};

/// An instance with one job named `work`.
fn scheduler_with<'a>(rig: &'a Rig, instance: &str, every: &str, work: &str, options: &str) -> Scheduler<'a> {
    let scheduler = Scheduler::new(rig, instance);
    let job = Job {
        name: "work",
        every,
        work,
        options,
    };
    scheduler.manifest("work.yaml", &manifest("own", &scheduler.witness, &[job]));
    scheduler
}

fn begun(scheduler: &Scheduler<'_>) -> usize {
    scheduler.witness.executions()
}

/// Nothing ran twice, and nothing beside another run of its job.
#[track_caller]
fn assert_alone(scheduler: &Scheduler<'_>) {
    judge_witness(&scheduler.witness.lines()).assert_right(0, &scheduler.log());
}

/// The id of a ledger, as the lock volume names it.
fn holder(scheduler: &Scheduler<'_>) -> String {
    let (_, text) = scheduler
        .rig
        .get(&format!("/volumes/docker-scheduler.{}", scheduler.instance));
    let volume: Value = serde_json::from_str(&text).expect("a volume");
    volume["Labels"]["docker-scheduler.ledger"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_watch_that_was_stopped_ends_when_it_goes_on_after_a_take_over() {
    let scheduler = scheduler_with(Rig::shared(), "own-stopped", "1s", "sleep 0.5", "");
    let first = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 1);
    first.signal("STOP");
    let other = scheduler.with_other_ledger();
    let second = other.watch_with(&["--take-over"]);
    let before = begun(&scheduler);
    wait_until("the second runs jobs", || begun(&scheduler) > before + 2);
    first.signal("CONT");
    let said = first.log();
    assert_eq!(first.wait(), 5, "{said}");
    assert!(
        scheduler.log().contains(&holder(&other)),
        "it names the other ledger: {}",
        scheduler.log()
    );
    let before = begun(&scheduler);
    wait_until("the second goes on", || begun(&scheduler) > before + 1);
    assert_alone(&scheduler);
    assert_eq!(second.term(), 0);
    other.ok(&["down"]);
}

/// The start request is on its way, and arrives when its container has changed hands.
#[test]
fn a_start_that_is_pending_at_a_take_over_finds_nothing() {
    let rig = Rig::shared();
    let proxy = Proxy::start(&rig.socket());
    let scheduler = scheduler_with(rig, "own-pending", "2s", "sleep 0.5", "").through(&proxy);
    let planted = proxy.plant(1, Fault::DelayRequest(Duration::from_secs(8)), |request| {
        request.is("POST", "/start")
    });
    let first = scheduler.watch();
    wait_until("a start is on its way", || planted.hits() == 1);
    first.signal("STOP");
    let other = scheduler.with_other_ledger();
    let second = other.watch_with(&["--take-over"]);
    wait_until("the second runs jobs", || begun(&scheduler) > 1);
    std::thread::sleep(Duration::from_secs(8));
    first.signal("CONT");
    assert_eq!(first.wait(), 5, "log:\n{}", scheduler.log());
    assert_alone(&scheduler);
    assert_eq!(second.term(), 0);
    let starts = proxy.starts();
    assert!(starts.values().all(|requests| *requests == 1), "{starts:?}");
    let pending = starts.keys().next().expect("it sent one").clone();
    let id = pending
        .trim_start_matches("/containers/")
        .trim_end_matches("/start");
    let ran = scheduler.witness.lines();
    assert!(
        !ran.iter().any(|line| id.starts_with(&line.container)),
        "{pending} ran"
    );
    other.ok(&["down"]);
}

/// The reply is on its way, and the job runs: it counts for the one who took over.
#[test]
fn a_run_that_is_under_way_at_a_take_over_is_waited_for() {
    let rig = Rig::shared();
    let proxy = Proxy::start(&rig.socket());
    let scheduler = scheduler_with(rig, "own-running", "2s", "sleep 7", "").through(&proxy);
    let planted = proxy.plant(1, Fault::DelayReply(Duration::from_secs(12)), |request| {
        request.is("POST", "/start")
    });
    let first = scheduler.watch();
    wait_until("a start is on its way", || planted.hits() == 1);
    wait_until("it runs", || begun(&scheduler) == 1);
    first.signal("STOP");
    let other = scheduler.with_other_ledger();
    let second = other.watch_with(&["--take-over"]);
    wait_until("the second skips what is due", || {
        let skipped = |run: &Value| run["outcome"] == "skipped";
        other.history_of("own.work").iter().any(skipped)
    });
    first.signal("CONT");
    assert_eq!(first.wait(), 5, "log:\n{}", scheduler.log());
    wait_until("the second runs jobs", || begun(&scheduler) > 1);
    wait_until("the run that was taken over is recorded", || {
        let first = scheduler.witness.lines()[0].clone();
        let runs = other.history_of("own.work");
        runs.iter()
            .any(|run| run["slot"] == *first.slot && run["outcome"] == "succeeded")
    });
    assert_alone(&scheduler);
    assert_eq!(second.term(), 0);
    wait_until("the last one ends", || {
        scheduler.containers_of("work", "running").is_empty()
    });
    other.ok(&["down"]);
}

/// What the ledger before ours had started gets its row also where `down` ends it.
#[test]
fn down_records_what_the_ledger_before_had_started() {
    let rig = Rig::shared();
    let scheduler = scheduler_with(rig, "own-down", "2s", "sleep 300", "");
    let first = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) == 1);
    first.kill9();
    let other = scheduler.with_other_ledger();
    other.ok(&["--take-over", "down"]);
    let slot = scheduler.witness.lines()[0].slot.clone();
    let history = other.history();
    let row = history.iter().find(|run| run["slot"] == *slot);
    assert!(
        row.is_some_and(|run| run["outcome"] == "cancelled"),
        "{history:#?}"
    );
    assert_eq!(scheduler.containers().len(), 0, "`down` leaves nothing");
}

#[test]
fn the_instance_goes_from_hand_to_hand_at_any_moment() {
    let rig = Rig::shared();
    let scheduler = scheduler_with(rig, "own-hands", "1s", "sleep 0.7", "");
    let mut holding = scheduler.watch();
    for number in 0..5 {
        // Another place between two slots each time.
        std::thread::sleep(Duration::from_millis(2000 + number * 230));
        let state = rig.folder("own-hands").join(format!("hand-{number}"));
        let other = scheduler_with(rig, "own-hands", "1s", "sleep 0.7", "").with_state(&state);
        let next = other.watch_with(&["--take-over"]);
        assert_eq!(holding.wait(), 5, "it was taken over from");
        other.ends(5, &["watch"]);
        scheduler.ends(5, &["apply"]);
        holding = next;
    }
    assert_alone(&scheduler);
    let last = begun(&scheduler);
    wait_until("the last one runs jobs", || begun(&scheduler) > last + 1);
    assert_eq!(holding.term(), 0);
}

/// SIGKILL for `apply` and `trigger` somewhere on their way, beside a watch that goes on.
#[test]
fn commands_that_are_killed_beside_a_watch_double_and_lose_nothing() {
    let rig = Rig::shared();
    let scheduler = scheduler_with(rig, "own-beside", "2s", "sleep 0.3", "");
    let manual = Job {
        name: "manual",
        every: "",
        work: "sleep 0.2",
        options: "",
    };
    let witness = rig.witness("own-beside-manual");
    scheduler.manifest("manual.yaml", &manifest("own", &witness, &[manual]));
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 0);
    for number in 0..16 {
        let args: &[&str] = if number % 4 == 3 {
            &["apply"]
        } else {
            &["trigger", "manual"]
        };
        let mut command = scheduler.spawn(args);
        std::thread::sleep(Duration::from_millis(40 + 35 * number));
        // Some have ended by then.
        drop(command.kill());
        command.wait().expect("wait for it");
    }
    // The run of the last one that was killed may still be active.
    wait_until("a start by hand is let in", || {
        scheduler.run(&["trigger", "--wait", "manual"]).code == 0
    });
    wait_until("every manual run has its outcome", || {
        let runs = scheduler.history_of("own.manual");
        runs.iter().all(|run| run["outcome"] != "running")
    });
    assert_alone(&scheduler);
    let lines = witness.lines();
    judge_witness(&lines).assert_right(0, &scheduler.log());
    let runs = scheduler.history_of("own.manual");
    for run in &runs {
        let id = run["container"].as_str().unwrap_or_default();
        let ran = lines.iter().any(|line| id.starts_with(&line.container));
        let known = match run["outcome"].as_str().unwrap_or_default() {
            "succeeded" => ran,
            "start_failed" => !ran,
            _ => false,
        };
        assert!(known, "ran {ran}: {run:#?}");
    }
    for line in &lines {
        let recorded = runs.iter().any(|run| {
            run["container"]
                .as_str()
                .is_some_and(|id| id.starts_with(&line.container))
        });
        assert!(recorded, "{line:?} is in no history: {runs:#?}");
    }
    assert_eq!(watching.term(), 0);
    scheduler.ok(&["down"]);
}

#[test]
fn a_ledger_that_was_deleted_starts_nothing_until_a_person_says_so() {
    let scheduler = scheduler_with(Rig::shared(), "own-deleted", "1s", "sleep 0.3", "");
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 1);
    fs::remove_dir_all(scheduler.ledger()).expect("delete the ledger");
    watching.says("it was deleted while it was open");
    std::thread::sleep(Duration::from_millis(500));
    let before = begun(&scheduler);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(begun(&scheduler), before, "no ledger, no start");
    watching.term();
    // A new ledger knows nothing of what ran.
    for command in ["watch", "apply", "plan"] {
        let refused = scheduler.ends(5, &[command]);
        assert!(refused.stderr.contains("--take-over"), "{refused:?}");
    }
    assert_eq!(begun(&scheduler), before);
    let watching = scheduler.watch_with(&["--take-over"]);
    wait_until("it runs again", || begun(&scheduler) > before + 1);
    assert_alone(&scheduler);
    assert_eq!(watching.term(), 0);
    scheduler.ok(&["down"]);
    assert_eq!(scheduler.containers().len(), 0);
}

fn copy_ledger(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create a folder");
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        drop(fs::remove_file(to.join(name)));
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).expect("copy the ledger");
        }
    }
}

/// What ran since the copy was made is not known to it, and is not run again: neither where the
/// containers are there to tell, nor where they were pruned.
#[test]
fn a_ledger_put_back_from_an_older_copy_doubles_nothing() {
    put_back("own-old", "history: {succeeded: 9, failed: 9}");
}

#[test]
fn a_ledger_put_back_doubles_nothing_that_was_pruned_since() {
    put_back("own-old-pruned", "history: {succeeded: 0, failed: 0}");
}

fn put_back(instance: &str, options: &str) {
    let rig = Rig::shared();
    let scheduler = scheduler_with(rig, instance, "10s", "sleep 0.2", options);
    let watching = scheduler.watch();
    wait_until("it runs", || scheduler.history_of("own.work").len() == 1);
    assert_eq!(watching.term(), 0);
    let backup = rig.folder(&format!("{instance}-backup"));
    copy_ledger(&scheduler.ledger(), &backup);

    let watching = scheduler.watch();
    // Right after a slot has run, the newest due slot is one that the copy does not know.
    wait_until("it goes on", || {
        let runs = scheduler.history_of("own.work");
        runs.len() >= 3 && runs[0]["outcome"] == "succeeded"
    });
    wait_until("the next one is armed", || {
        scheduler.containers_of("work", "created").len() == 1
    });
    let ran = scheduler.history_of("own.work");
    assert_eq!(watching.term(), 0);
    copy_ledger(&backup, &scheduler.ledger());

    let watching = scheduler.watch();
    let before = begun(&scheduler);
    wait_until("it goes on with what comes", || begun(&scheduler) > before);
    let after = scheduler.history_of("own.work");
    for run in ran.iter().filter(|run| run["outcome"] == "succeeded") {
        let again = after.iter().find(|row| row["slot"] == run["slot"]);
        let again = again.unwrap_or_else(|| panic!("lost: {run:#?}\nin {after:#?}"));
        let known = again["outcome"] == "succeeded" && again["container"] == run["container"];
        // One that was under way when the copy was made has lost its container, if that was pruned.
        let reason = again["reason"].as_str().unwrap_or_default();
        let lost = again["outcome"] == "unknown" && (reason == "ledger lost" || reason.starts_with("lost: "));
        assert!(known || lost, "{again:#?}");
    }
    assert_alone(&scheduler);
    assert_eq!(watching.term(), 0);
    scheduler.ok(&["down"]);
}

/// A laptop with two contexts, or a daemon that came back with other data.
#[test]
fn another_engine_behind_the_same_address_is_refused() {
    let (rig, another) = (Rig::shared(), Rig::start());
    let proxy = Proxy::start(&rig.socket());
    let scheduler = scheduler_with(rig, "own-engine", "2s", "sleep 0.2", "").through(&proxy);
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 0);
    // The stream of events breaks off, as it does when a daemon ends.
    proxy.switch_to(&another.socket());
    proxy.cut();
    assert_eq!(watching.wait(), 5, "log:\n{}", scheduler.log());
    assert!(
        scheduler.log().contains("belongs to another engine"),
        "{}",
        scheduler.log()
    );
    let refused = scheduler.ends(5, &["apply"]);
    assert!(refused.stderr.contains("--instance"), "{refused:?}");
    // A create request that was under way may still reach the other engine; nothing is started there.
    let (_, text) = another.get("/containers/json?all=1");
    let there: Vec<Value> = serde_json::from_str(text.trim()).expect("a list of containers");
    for container in &there {
        assert_eq!(container["State"], "created", "{container:#?}");
    }

    proxy.switch_to(&rig.socket());
    let watching = scheduler.watch();
    let before = begun(&scheduler);
    wait_until("on its own engine, it goes on", || begun(&scheduler) > before);
    assert_alone(&scheduler);
    assert_eq!(watching.term(), 0);
}
