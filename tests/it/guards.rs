//! What a scheduler does when the ground gives way: no room for the ledger, none for the engine, a
//! ledger that is damaged. Nothing is started that could not be accounted for, the words say why, and
//! it goes on by itself where that can be.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::judge::judge_witness;
use crate::rig::Rig;
use crate::scheduler::{Job, Scheduler, manifest, wait_until};

/// A file system of its own, small enough to be filled; gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Below the rig's folder, so that its janitor takes away what a killed test leaves.
    fn mount(rig: &Rig, name: &str, mebibytes: u32) -> SmallDisk {
        let folder = rig.folder(name);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none"])
            .arg(&folder)
            .status()
            .expect("run mount");
        assert!(mounted.success(), "mount a tmpfs at {}", folder.display());
        SmallDisk(folder)
    }

    /// `ro` or `rw`.
    fn remount(&self, how: &str) {
        let mounted = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.0)
            .status();
        assert!(mounted.expect("run mount").success(), "remount {how}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The janitor tries again.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Leaves no byte free below `folder`, until the file that it returns is removed.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = fs::File::create(&path).expect("make the filler");
    for size in [1 << 16, 1 << 12, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
    path
}

fn scheduler_with<'a>(rig: &'a Rig, instance: &str, every: &str) -> Scheduler<'a> {
    let scheduler = Scheduler::new(rig, instance);
    let job = Job {
        name: "work",
        every,
        work: "sleep 0.2",
        options: "",
    };
    scheduler.manifest("work.yaml", &manifest("guard", &scheduler.witness, &[job]));
    scheduler
}

fn begun(scheduler: &Scheduler<'_>) -> usize {
    scheduler.witness.executions()
}

/// Nothing ran twice; whatever ran is in the history; every row has a reason.
#[track_caller]
fn assert_accounted(scheduler: &Scheduler<'_>) {
    let lines = scheduler.witness.lines();
    judge_witness(&lines).assert_right(0, &scheduler.log());
    let history = scheduler.history();
    for line in &lines {
        let rows = history.iter().filter(|row| row["slot"] == *line.slot).count();
        assert_eq!(rows, 1, "{line:?}: {history:#?}");
    }
    for row in &history {
        let reason = row["reason"].as_str().unwrap_or_default();
        assert!(row["outcome"] == "running" || !reason.is_empty(), "{row:#?}");
    }
}

#[test]
fn a_full_disk_of_the_ledger_starts_nothing_and_mends_itself() {
    let rig = Rig::shared();
    let disk = SmallDisk::mount(rig, "guard-ledger-disk", 8);
    let scheduler = scheduler_with(rig, "guard-ledger", "1s").with_state(&disk.0);
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 1);
    let filler = fill(&disk.0);
    watching.says("no space left for the ledger");
    // What had its intent on disk may still start.
    std::thread::sleep(Duration::from_secs(2));
    let before = begun(&scheduler);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(
        begun(&scheduler),
        before,
        "no ledger, no start: {}",
        watching.log()
    );
    let refused = scheduler.run(&["apply"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("no space left"),
        "{refused:?}"
    );

    fs::remove_file(filler).expect("make room");
    wait_until("it goes on by itself", || begun(&scheduler) > before + 1);
    assert_eq!(watching.term(), 0);
    assert_accounted(&scheduler);
    scheduler.ok(&["down"]);
}

/// A disk that was mounted again without writing: what is recorded can be read, and nothing is started.
#[test]
fn a_ledger_on_a_read_only_disk_can_be_read_and_starts_nothing() {
    let rig = Rig::shared();
    let disk = SmallDisk::mount(rig, "read-only", 16);
    let scheduler = scheduler_with(rig, "read-only", "2s").with_state(&disk.0);
    let watching = scheduler.watch();
    wait_until("a run is recorded", || {
        scheduler
            .history()
            .iter()
            .any(|run| run["outcome"] == "succeeded")
    });
    assert_eq!(watching.term(), 0);
    disk.remount("ro");
    let history = scheduler.history();
    assert!(history.iter().any(|run| run["outcome"] == "succeeded"));
    let refused = scheduler.run(&["apply"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.stderr.contains("read-only"), "{refused:#?}");
    assert!(!refused.stderr.contains("disk I/O error"), "{refused:#?}");
    disk.remount("rw");
    scheduler.ok(&["down"]);
}

#[test]
fn a_full_disk_of_the_engine_is_the_reason_until_there_is_room() {
    let rig = Rig::on_small_disk(64);
    let scheduler = scheduler_with(&rig, "guard-engine", "5s");
    let watching = scheduler.watch();
    // Between two runs: an engine without room cannot write down the end of one, and lists it as running.
    wait_until("it has run", || {
        let rows = scheduler.history();
        rows.iter().any(|row| row["outcome"] == "succeeded")
            && rows.iter().all(|row| row["outcome"] != "running")
    });
    let filler = fill(&rig.data_root());
    let missed = |row: &Value| {
        row["outcome"] == "missed"
            && row["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("no space left on device"))
    };
    wait_until("the engine's words are the reason", || {
        scheduler.history().iter().any(missed)
    });
    fs::remove_file(filler).expect("make room");
    let before = begun(&scheduler);
    wait_until("it goes on by itself", || begun(&scheduler) > before + 1);
    assert_eq!(watching.term(), 0);
    assert_accounted(&scheduler);
    for row in scheduler.history() {
        let outcome = row["outcome"].as_str().unwrap_or_default();
        assert!(
            ["succeeded", "running", "missed", "skipped", "start_failed"].contains(&outcome),
            "{row:#?}"
        );
    }
}

/// One byte, at the head of each page in turn.
#[test]
fn a_damaged_ledger_is_refused_and_never_guessed_over() {
    let scheduler = scheduler_with(Rig::shared(), "guard-damage", "1s");
    let watching = scheduler.watch();
    wait_until("it runs", || begun(&scheduler) > 1);
    assert_eq!(watching.term(), 0);
    let database = scheduler.ledger().join("ledger.db");
    let sound = fs::read(&database).expect("read the ledger");
    // The first page begins with the file's own header.
    let heads = (0..sound.len())
        .step_by(4096)
        .map(|page| if page == 0 { 100 } else { page });
    let before = begun(&scheduler);
    for head in heads {
        let file = fs::File::options()
            .write(true)
            .open(&database)
            .expect("open the ledger");
        file.write_all_at(&[sound[head] ^ 0x55], u64::try_from(head).expect("a small file"))
            .expect("damage it");
        drop(file);
        for command in ["watch", "apply", "history"] {
            let refused = scheduler.ends(1, &[command]);
            assert!(
                refused.stderr.contains("is damaged") && refused.stderr.contains("ledger.db"),
                "{head}: {refused:?}"
            );
        }
        assert_eq!(
            fs::read(&database).expect("read it").len(),
            sound.len(),
            "nothing is repaired"
        );
        fs::write(&database, &sound).expect("put it right");
    }
    assert_eq!(begun(&scheduler), before, "nothing was started");
    let watching = scheduler.watch();
    wait_until("the sound one is taken", || begun(&scheduler) > before);
    assert_eq!(watching.term(), 0);
    assert_accounted(&scheduler);
    scheduler.ok(&["down"]);
}

/// What no disk does that keeps its word: the end of the log is gone, and with it what was answered.
/// The ledger is then an older one, and what it forgot is not run again.
#[test]
fn a_ledger_that_lost_the_end_of_its_log_doubles_nothing() {
    let scheduler = scheduler_with(Rig::shared(), "guard-torn", "1s");
    for round in 1..=3 {
        let watching = scheduler.watch();
        let before = begun(&scheduler);
        wait_until("it runs", || begun(&scheduler) > before + 2);
        watching.kill9();
        let log = scheduler.ledger().join("ledger.db-wal");
        let file = fs::File::options().write(true).open(&log).expect("open the log");
        let length = file.metadata().expect("look at it").len();
        file.set_len(length * round / 4).expect("tear it");
    }
    let watching = scheduler.watch();
    let before = begun(&scheduler);
    wait_until("it goes on", || begun(&scheduler) > before + 1);
    assert_eq!(watching.term(), 0);
    judge_witness(&scheduler.witness.lines()).assert_right(0, &scheduler.log());
    scheduler.ok(&["down"]);
}
