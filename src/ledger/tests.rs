//! Every promise of the ledger, against real files.

#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::model::{ArmFailure, GapKind, Intent, Origin, Outcome, Owner, Peer, Policy, RunTrigger, Slot};
use crate::model::{ContainerName, Instance, RunId, Trigger, Triggers};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn job(text: &str) -> JobName {
    text.parse().unwrap()
}

fn slot(text: &str) -> Slot {
    text.parse().unwrap()
}

fn open() -> (TempDir, Ledger) {
    let home = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&home.path().join("default")).unwrap();
    (home, ledger)
}

fn origin() -> Origin {
    Origin {
        file: "backup.yaml".into(),
        line: 4,
        commit: Some("c0ffee".into()),
    }
}

fn upsert(name: &str, baseline: &str) -> JobUpsert {
    JobUpsert {
        name: job(name),
        origin: origin(),
        canonical: "image: busybox\n".into(),
        triggers: Triggers {
            manual: true,
            schedule: vec![Trigger::Every {
                period: Duration::from_secs(60),
            }],
        },
        policy: Policy {
            timeout: Some(Duration::from_millis(1500)),
            ..Policy::default()
        },
        spec_hash: "v1:a".into(),
        baseline: time(baseline),
    }
}

fn new_container(nonce: &str, name: &str, at: Slot, attempt: u32) -> NewContainer {
    NewContainer {
        reused: false,
        nonce: nonce.into(),
        name: ContainerName::of_slot(&Instance::default(), &job(name), at, attempt),
        job: job(name),
        slot: Some(at),
        attempt,
        trigger: RunTrigger::Schedule,
        spec_hash: "v1:a".into(),
        image_id: "sha256:00".into(),
        at: time("2026-11-23T01:00:00Z"),
        origin: origin(),
        spec: "{\"image\":\"busybox\"}".into(),
    }
}

fn intent_of(nonce: &str, container: &str) -> NewIntent {
    NewIntent {
        shared: None,
        nonce: nonce.into(),
        container: container.into(),
        due_at: time("2026-11-23T01:30:00.25Z"),
        intent: Intent {
            at: time("2026-11-23T01:30:00.123456789Z"),
            owner: Owner {
                boot_id: "b".into(),
                pid: 7,
                pid_started: 99,
            },
            engine_peer: Some(Peer {
                pid: 8,
                pid_started: 100,
            }),
        },
        terms: Terms::default(),
    }
}

pub(super) fn settle(job: &JobName, until: Timestamp) -> Settle {
    Settle {
        job: job.clone(),
        planned_from: Timestamp::MIN,
        until,
    }
}

fn not_run(name: &str, at: Slot) -> NotRun {
    NotRun {
        id: ContainerName::of_slot(&Instance::default(), &job(name), at, 0),
        job: job(name),
        slot: Some(at),
        slot_last: None,
        count: None,
        attempt: 0,
        outcome: Outcome::Missed,
        reason: "the scheduler was down".into(),
        due_at: at.at(),
        at: time("2026-11-23T02:00:00Z"),
        origin: origin(),
        trigger: RunTrigger::Schedule,
        image: None,
        spec_hash: None,
    }
}

fn finish(outcome: Outcome) -> Finish {
    Finish {
        outcome,
        reason: "exit code 0".into(),
        exit_code: Some(0),
        started_at: Some(time("2026-11-23T01:30:00.3Z")),
        finished_at: Some(time("2026-11-23T01:31:00.999999999Z")),
        at: time("2026-11-23T01:31:01Z"),
        held_until: None,
        retry_at: None,
        note: None,
    }
}

mod faults;

const NIGHT: &str = "2026-11-23T01:30:00Z";

/// A run of `shop.backup` whose start was intended.
fn running(ledger: &Ledger, nonce: &str, container: &str, at: Slot) -> RunId {
    let new = new_container(nonce, "shop.backup", at, 0);
    ledger.creating(&new).unwrap();
    ledger.created(nonce, container).unwrap();
    assert_eq!(
        ledger.intend(&intent_of(nonce, container)).unwrap(),
        Intended::New
    );
    new.name
}

/// Another attempt is to follow that run.
fn to_be_followed(ledger: &Ledger, run: &RunId) {
    let changed = ledger
        .lock()
        .execute("UPDATE runs SET retry_at = due_at WHERE id = ?1", [run]);
    assert_eq!(changed.unwrap(), 1);
}

#[test]
fn a_new_ledger_is_empty_private_and_keeps_its_id() {
    let (home, ledger) = open();
    let dir = ledger.dir().to_owned();
    assert!(ledger.jobs().unwrap().is_empty());
    assert!(ledger.runs_to_plan().unwrap().is_empty());
    assert_eq!(ledger.last_alive().unwrap(), None);
    for name in ["", "logs", "last-good"] {
        let mode = os::mode(&std::fs::metadata(dir.join(name)).unwrap());
        assert!(cfg!(windows) || mode == 0o700, "{name}");
    }
    ledger.heartbeat(time(NIGHT)).unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "key"] {
        let mode = os::mode(&std::fs::metadata(dir.join(name)).unwrap());
        assert!(cfg!(windows) || mode == 0o600, "{name}");
    }
    let id = ledger.id().to_owned();
    drop(ledger);
    assert_eq!(Ledger::open(&dir).unwrap().id(), id);
    assert_eq!(Ledger::open_existing(&dir).unwrap().unwrap().id(), id);
    drop(home);
}

#[cfg(unix)]
#[test]
fn loose_permissions_are_tightened() {
    let (_home, ledger) = open();
    let dir = ledger.dir().to_owned();
    drop(ledger);
    let set = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    set(&dir, 0o755);
    set(&dir.join("ledger.db"), 0o644);
    let _ledger = Ledger::open(&dir).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("ledger.db"))), (0o700, 0o600));
}

#[test]
fn opening_an_existing_ledger_creates_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("default");
    assert!(Ledger::open_existing(&dir).unwrap().is_none());
    assert!(!dir.exists());
    // The first open died before anything was written.
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("ledger.db"), "").unwrap();
    assert!(Ledger::open_existing(&dir).unwrap().is_none());
    assert!(!dir.join("key").exists());
    Ledger::open(&dir).unwrap();
    std::fs::remove_file(dir.join("key")).unwrap();
    let error = Ledger::open_existing(&dir).unwrap_err();
    assert!(error.to_string().contains("key is missing"), "{error}");
}

#[test]
fn identity_directory_heartbeat_and_gaps_come_back() {
    let (_home, ledger) = open();
    ledger.bind_engine("id1 /var/lib/docker").unwrap();
    ledger.bind_engine("id1 /var/lib/docker").unwrap();
    assert!(matches!(
        ledger.bind_engine("id2 /x"),
        Err(LedgerError::OtherEngine { bound, found }) if bound == "id1 /var/lib/docker" && found == "id2 /x"
    ));
    ledger.rebind_engine("id2 /x").unwrap();
    assert_eq!(ledger.engine().unwrap().as_deref(), Some("id2 /x"));
    ledger.supersede("old").unwrap();
    ledger.supersede("old").unwrap();
    ledger.supersede(ledger.id()).unwrap();
    assert_eq!(ledger.superseded().unwrap(), BTreeSet::from(["old".to_owned()]));
    let odd = match os::path_from_bytes(vec![b'/', 0xff, b'a', 0xd8]) {
        Some(odd) => odd,
        None => unreachable!("two 16-bit units, or four bytes"),
    };
    ledger.set_directory(&odd).unwrap();
    assert_eq!(ledger.directory().unwrap(), Some(odd));
    ledger.heartbeat(time("2026-11-23T01:30:00.123456789Z")).unwrap();
    assert_eq!(
        ledger.last_alive().unwrap(),
        Some(time("2026-11-23T01:30:00.123456789Z"))
    );
    let gap = |second: i64| Gap {
        from: Timestamp::from_second(second).unwrap(),
        to: Timestamp::from_second(second + 1).unwrap(),
        kind: GapKind::EngineUnreachable,
    };
    for second in 0..120 {
        ledger.note_gap(gap(second)).unwrap();
    }
    let gaps = ledger.gaps().unwrap();
    assert_eq!((gaps.len(), gaps[0], gaps[99]), (100, gap(20), gap(119)));
}

#[test]
fn a_mask_tells_equal_from_different_and_nothing_else() {
    let (_home, ledger) = open();
    let (_other_home, other) = open();
    assert_eq!(ledger.mask(&Text::plain("busybox")), "busybox");
    let masked = ledger.mask(&Text::sensitive("hunter2"));
    assert_eq!((masked.len(), &masked[..5]), (21, "hmac:"));
    assert_eq!(masked, ledger.mask(&Text::sensitive("hunter2")));
    assert_ne!(masked, ledger.mask(&Text::sensitive("hunter3")));
    assert_ne!(masked, other.mask(&Text::sensitive("hunter2")));
    let dir = ledger.dir().to_owned();
    drop(ledger);
    assert_eq!(
        masked,
        Ledger::open(&dir).unwrap().mask(&Text::sensitive("hunter2"))
    );
}

#[test]
fn the_mask_is_hmac_sha256() {
    // RFC 4231, test case 2, with its key padded to our length: HMAC pads short keys with zeros.
    let (_home, mut ledger) = open();
    ledger.key = [0; 32];
    ledger.key[..4].copy_from_slice(b"Jefe");
    let text = Text::sensitive("what do ya want for nothing?");
    assert_eq!(ledger.mask(&text), "hmac:5bdcc146bf60754e");
}

#[test]
fn a_job_comes_back_as_it_was_declared() {
    let (_home, ledger) = open();
    let declared = upsert("shop.backup", "2026-11-22T12:00:00.5Z");
    ledger.upsert_job(&declared).unwrap();
    let record = ledger.jobs().unwrap().remove(&declared.name).unwrap();
    assert_eq!(
        record,
        JobRecord {
            name: declared.name,
            origin: declared.origin,
            canonical: declared.canonical,
            triggers: declared.triggers,
            policy: declared.policy,
            spec_hash: declared.spec_hash,
            baseline: declared.baseline,
            settled: declared.baseline,
            recorded_ahead: BTreeSet::new(),
            held: Vec::new(),
            pauses: Vec::new(),
            arm_failure: None,
            armed: BTreeMap::new(),
            removed: false,
        }
    );
}

#[test]
fn an_edit_never_moves_settled_behind_the_baseline_or_back() {
    let (_home, ledger) = open();
    let name = job("shop.backup");
    let settled = || ledger.jobs().unwrap()[&name].settled;
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T12:00:00Z"))
        .unwrap();
    ledger.settle(&name, time("2026-11-22T15:00:00Z")).unwrap();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T12:00:00Z"))
        .unwrap();
    assert_eq!(settled(), time("2026-11-22T15:00:00Z"));
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T15:00:00.000000001Z"))
        .unwrap();
    assert_eq!(settled(), time("2026-11-22T15:00:00.000000001Z"));
    ledger.settle(&name, time("2026-11-22T09:00:00Z")).unwrap();
    assert_eq!(
        settled(),
        time("2026-11-22T09:00:00Z"),
        "a clock that jumped back"
    );
    assert!(matches!(
        ledger.settle(&job("shop.other"), time(NIGHT)),
        Err(LedgerError::NoSuchJob(name)) if name == "shop.other"
    ));
}

#[test]
fn removed_and_forgotten_jobs_keep_their_history_and_come_back() {
    let (_home, ledger) = open();
    let name = job("shop.backup");
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T12:00:00Z"))
        .unwrap();
    ledger
        .upsert_job(&upsert("shop.report", "2026-11-22T12:00:00Z"))
        .unwrap();
    ledger.record(&not_run("shop.backup", slot(NIGHT))).unwrap();
    ledger.remove_job(&name, time(NIGHT)).unwrap();
    assert!(ledger.jobs().unwrap()[&name].removed);
    assert!(!ledger.jobs().unwrap()[&job("shop.report")].removed);
    assert!(ledger.newest_run(&name).unwrap().is_some());
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-24T12:00:00Z"))
        .unwrap();
    assert!(!ledger.jobs().unwrap()[&name].removed);
    ledger.forget_baselines().unwrap();
    assert!(ledger.jobs().unwrap().values().all(|job| job.removed));
    assert!(ledger.newest_run(&name).unwrap().is_some());
    assert!(ledger.remove_job(&job("shop.none"), time(NIGHT)).is_err());
}

#[test]
fn an_arm_failure_stays_until_it_succeeds_or_the_spec_changes() {
    let (_home, ledger) = open();
    let name = job("shop.backup");
    let failure = ArmFailure {
        at: time(NIGHT),
        retry_at: time("2026-11-23T01:31:00Z"),
        attempts: 3,
        detail: "no such image".into(),
        spec_hash: "v1:a".into(),
    };
    let recorded = || ledger.jobs().unwrap()[&name].arm_failure.clone();
    let mut declared = upsert("shop.backup", NIGHT);
    ledger.upsert_job(&declared).unwrap();
    ledger.arm_failed(&name, &failure).unwrap();
    ledger.upsert_job(&declared).unwrap();
    assert_eq!(recorded(), Some(failure.clone()));
    ledger.arm_succeeded(&name).unwrap();
    assert_eq!(recorded(), None);
    ledger.arm_failed(&name, &failure).unwrap();
    declared.spec_hash = "v1:b".into();
    ledger.upsert_job(&declared).unwrap();
    assert_eq!(recorded(), None);
    assert!(ledger.arm_failed(&job("shop.none"), &failure).is_err());
}

#[test]
fn a_container_goes_from_asked_for_to_armed_to_intended() {
    let (_home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T12:00:00Z"))
        .unwrap();
    let new = new_container("n1", "shop.backup", slot(NIGHT), 0);
    let armed = || ledger.jobs().unwrap()[&new.job].armed.clone();
    ledger.creating(&new).unwrap();
    assert_eq!(armed()[&new.name].container, None);
    assert!(matches!(
        ledger.creating(&new),
        Err(LedgerError::NotUsable { .. })
    ));
    ledger.created("n1", "c1").unwrap();
    ledger.created("n1", "c1").unwrap();
    assert_eq!(armed()[&new.name].container.as_deref(), Some("c1"));
    assert!(ledger.created("n1", "c2").is_err());
    assert!(ledger.created("n2", "c1").is_err());
    let row = ledger.container("n1").unwrap().unwrap();
    assert_eq!(
        (row.state, row.spec, row.slot),
        (ContainerState::Armed, new.spec.clone(), new.slot)
    );
    assert_eq!(ledger.intend(&intent_of("n1", "c1")).unwrap(), Intended::New);
    assert!(armed().is_empty());
    assert_eq!(
        ledger.container("n1").unwrap().unwrap().state,
        ContainerState::Intended
    );
    assert!(ledger.discarded("n1").is_err());
    let known = ledger
        .known_nonces(&BTreeSet::from(["n1".into(), "n2".into()]))
        .unwrap();
    assert_eq!(
        (known, ledger.nonces().unwrap().len()),
        (BTreeSet::from(["n1".into()]), 1)
    );
    assert_eq!(ledger.container("n2").unwrap(), None);
}

#[test]
fn of_two_containers_of_one_name_the_one_that_exists_is_armed() {
    let (_home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T12:00:00Z"))
        .unwrap();
    let new = new_container("n1", "shop.backup", slot(NIGHT), 0);
    ledger.creating(&new).unwrap();
    ledger.created("n1", "c1").unwrap();
    // Another process asked for the same name and has not been answered.
    ledger
        .creating(&new_container("n2", "shop.backup", slot(NIGHT), 0))
        .unwrap();
    let armed = &ledger.jobs().unwrap()[&new.job].armed[&new.name];
    assert_eq!(
        (armed.nonce.as_str(), armed.container.as_deref()),
        ("n1", Some("c1"))
    );
}

#[test]
fn an_intended_run_tells_all_of_itself() {
    let (_home, ledger) = open();
    let id = running(&ledger, "n1", "c1", slot(NIGHT));
    let run = ledger.run(&id).unwrap().unwrap();
    assert_eq!(
        run,
        Run {
            id: id.clone(),
            job: job("shop.backup"),
            slot: Some(slot(NIGHT)),
            attempt: 0,
            trigger: RunTrigger::Schedule,
            outcome: None,
            reason: String::new(),
            exit_code: None,
            due_at: time("2026-11-23T01:30:00.25Z"),
            intent: Some(intent_of("n1", "c1").intent),
            started_at: None,
            finished_at: None,
            recorded_at: None,
            container: Some("c1".into()),
            container_gone: false,
            within: crate::model::Within::Own,
            held_until: None,
            stop_requested: None,
            stop_reason: None,
            retry_at: None,
            group: None,
            image: Some("sha256:00".into()),
            spec_hash: Some("v1:a".into()),
            origin: origin(),
            slot_last: None,
            count: None,
            note: None,
        }
    );
    assert_eq!(
        ledger.spec_of(&id).unwrap().as_deref(),
        Some("{\"image\":\"busybox\"}")
    );
    assert_eq!(
        ledger.log_path(&id),
        ledger.dir().join("logs/shop.backup.20261123T013000Z.log")
    );
}

#[test]
fn a_container_is_intended_once_and_so_is_a_slot() {
    let (_home, ledger) = open();
    let id = running(&ledger, "n1", "c1", slot(NIGHT));
    let repeated = |intended: Intended| match intended {
        Intended::AlreadyRecorded(run) => assert_eq!(run.id, id),
        other => panic!("a second start: {other:?}"),
    };
    repeated(ledger.intend(&intent_of("n1", "c1")).unwrap());
    // Another container for the same slot, after a prune.
    ledger
        .creating(&new_container("n2", "shop.backup", slot(NIGHT), 0))
        .unwrap();
    ledger.created("n2", "c2").unwrap();
    repeated(ledger.intend(&intent_of("n2", "c2")).unwrap());
    // The same container under a copied label.
    ledger
        .creating(&new_container(
            "n3",
            "shop.backup",
            slot("2026-11-23T02:30:00Z"),
            0,
        ))
        .unwrap();
    repeated(ledger.intend(&intent_of("n3", "c1")).unwrap());
    assert!(ledger.created("n3", "c1").is_err());
    // The next attempt is another one, and follows only one that asks for it.
    ledger
        .creating(&new_container("n4", "shop.backup", slot(NIGHT), 1))
        .unwrap();
    assert_eq!(
        ledger.intend(&intent_of("n4", "c4")).unwrap(),
        Intended::NotItsTurn
    );
    to_be_followed(&ledger, &id);
    assert_eq!(ledger.intend(&intent_of("n4", "c4")).unwrap(), Intended::New);
}

#[test]
fn an_exclusive_intent_waits_for_the_jobs_active_run() {
    let (_dir, ledger) = open();
    let (first, second) = (slot("2026-11-23T01:30:00Z"), slot("2026-11-23T02:30:00Z"));
    let run = running(&ledger, "n1", "c1", first);
    ledger
        .creating(&new_container("n2", "shop.backup", second, 0))
        .unwrap();
    ledger.created("n2", "c2").unwrap();
    let exclusive = NewIntent {
        terms: Terms {
            exclusive: true,
            ..Terms::default()
        },
        ..intent_of("n2", "c2")
    };
    let Intended::Active(active) = ledger.intend(&exclusive).unwrap() else {
        panic!("the job is active")
    };
    assert_eq!(active.id, run);
    ledger.finish(&run, &finish(Outcome::Succeeded)).unwrap();
    assert_eq!(ledger.intend(&exclusive).unwrap(), Intended::New);
}

#[test]
fn what_is_unknown_or_discarded_is_never_started() {
    let (_home, ledger) = open();
    let refused = |intent: &NewIntent| matches!(ledger.intend(intent), Err(LedgerError::NotUsable { .. }));
    assert!(refused(&intent_of("n1", "c1")));
    ledger
        .creating(&new_container("n1", "shop.backup", slot(NIGHT), 0))
        .unwrap();
    ledger.created("n1", "c1").unwrap();
    assert!(refused(&intent_of("n1", "c2")), "another container than recorded");
    ledger.discarded("n1").unwrap();
    ledger.discarded("n1").unwrap();
    assert!(refused(&intent_of("n1", "c1")));
    assert!(ledger.created("n1", "c1").is_err());
    assert!(ledger.discarded("n9").is_err());
    assert!(
        ledger
            .run(&new_container("n1", "shop.backup", slot(NIGHT), 0).name)
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_recorded_slot_is_neither_recorded_again_nor_run() {
    let (_home, ledger) = open();
    let missed = not_run("shop.backup", slot(NIGHT));
    assert!(ledger.record(&missed).unwrap());
    let again = NotRun {
        outcome: Outcome::Skipped,
        ..missed.clone()
    };
    assert!(!ledger.record(&again).unwrap());
    assert_eq!(
        ledger.run(&missed.id).unwrap().unwrap().outcome,
        Some(Outcome::Missed)
    );
    ledger
        .creating(&new_container("n1", "shop.backup", slot(NIGHT), 0))
        .unwrap();
    assert!(matches!(
        ledger.intend(&intent_of("n1", "c1")).unwrap(),
        Intended::AlreadyRecorded(run) if run.outcome == Some(Outcome::Missed)
    ));
    // A run is not overwritten by a record either.
    let id = running(&ledger, "n2", "c2", slot("2026-11-23T02:30:00Z"));
    assert!(
        !ledger
            .record(&not_run("shop.backup", slot("2026-11-23T02:30:00Z")))
            .unwrap()
    );
    assert_eq!(ledger.run(&id).unwrap().unwrap().outcome, None);
}

#[test]
fn a_series_is_one_row_and_covers_its_slots() {
    let (_home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-01T00:00:00Z"))
        .unwrap();
    let series = NotRun {
        slot_last: Some(slot("2026-11-23T01:40:00Z")),
        count: Some(601),
        ..not_run("shop.backup", slot(NIGHT))
    };
    let until = time("2026-11-23T01:40:00Z");
    assert_eq!(
        ledger
            .record_all(std::slice::from_ref(&series), Some(&settle(&series.job, until)))
            .unwrap(),
        1
    );
    let row = ledger.run(&series.id).unwrap().unwrap();
    assert_eq!((row.slot_last, row.count), (series.slot_last, Some(601)));
    let inside = slot("2026-11-23T01:35:00Z");
    assert!(!ledger.record(&not_run("shop.backup", inside)).unwrap());
    ledger
        .creating(&new_container("n1", "shop.backup", inside, 0))
        .unwrap();
    assert!(matches!(
        ledger.intend(&intent_of("n1", "c1")).unwrap(),
        Intended::AlreadyRecorded(run) if run.id == series.id
    ));
    assert!(
        ledger
            .record(&not_run("shop.backup", slot("2026-11-23T01:40:01Z")))
            .unwrap()
    );
    assert!(ledger.record(&not_run("shop.other", inside)).unwrap());
    // One that reaches beyond tells of slots that nothing else tells of.
    let beyond = NotRun {
        slot_last: Some(slot("2026-11-23T02:00:00Z")),
        count: Some(2),
        ..not_run("shop.backup", inside)
    };
    assert!(ledger.record(&beyond).unwrap());
    // The clock jumped back: first and last of a series are still ahead.
    ledger.settle(&series.job, time("2026-11-23T01:36:00Z")).unwrap();
    assert_eq!(
        ledger.jobs().unwrap()[&series.job].recorded_ahead,
        [
            "2026-11-23T01:40:00Z",
            "2026-11-23T01:40:01Z",
            "2026-11-23T02:00:00Z"
        ]
        .map(slot)
        .into()
    );
}

#[test]
fn recording_many_is_all_or_nothing() {
    let (_home, ledger) = open();
    let missed = not_run("shop.backup", slot(NIGHT));
    let unknown_job = job("shop.none");
    assert!(
        ledger
            .record_all(
                std::slice::from_ref(&missed),
                Some(&settle(&unknown_job, time(NIGHT)))
            )
            .is_err()
    );
    assert_eq!(ledger.run(&missed.id).unwrap(), None);
}

#[test]
fn recorded_slots_after_settled_are_told() {
    let (_home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-23T01:29:59.5Z"))
        .unwrap();
    for at in ["2026-11-23T01:29:59Z", NIGHT, "2026-11-23T02:30:00Z"] {
        ledger.record(&not_run("shop.backup", slot(at))).unwrap();
    }
    let ahead = || ledger.jobs().unwrap()[&job("shop.backup")].recorded_ahead.clone();
    assert_eq!(ahead(), [slot(NIGHT), slot("2026-11-23T02:30:00Z")].into());
    ledger.settle(&job("shop.backup"), time(NIGHT)).unwrap();
    assert_eq!(ahead(), [slot("2026-11-23T02:30:00Z")].into());
}

#[test]
fn a_run_ends_once() {
    let (_home, ledger) = open();
    let id = running(&ledger, "n1", "c1", slot(NIGHT));
    ledger.started(&id, time("2026-11-23T01:30:00.5Z")).unwrap();
    ledger.started(&id, time("2026-11-23T05:00:00Z")).unwrap();
    assert_eq!(
        ledger.run(&id).unwrap().unwrap().started_at,
        Some(time("2026-11-23T01:30:00.5Z"))
    );
    assert!(ledger.request_stop(&id, Outcome::TimedOut).unwrap());
    assert!(!ledger.request_stop(&id, Outcome::Cancelled).unwrap());
    let ended = Finish {
        started_at: None,
        note: Some("logs not readable".into()),
        ..finish(Outcome::TimedOut)
    };
    assert!(ledger.finish(&id, &ended).unwrap());
    assert!(!ledger.finish(&id, &finish(Outcome::Succeeded)).unwrap());
    assert!(!ledger.request_stop(&id, Outcome::Cancelled).unwrap());
    let run = ledger.run(&id).unwrap().unwrap();
    assert_eq!(run.outcome, Some(Outcome::TimedOut));
    assert_eq!(run.stop_requested, Some(Outcome::TimedOut));
    assert_eq!(run.started_at, Some(time("2026-11-23T01:30:00.5Z")));
    assert_eq!(run.finished_at, ended.finished_at);
    assert_eq!(run.recorded_at, Some(ended.at));
    assert_eq!((run.note, run.exit_code), (ended.note, Some(0)));
}

#[test]
fn an_unknown_run_is_settled_while_it_holds_its_job() {
    let (_home, ledger) = open();
    let unknown = Finish {
        reason: "the engine died while starting it".into(),
        exit_code: None,
        held_until: Some(time("2026-11-23T02:30:00Z")),
        ..finish(Outcome::Unknown)
    };
    let id = running(&ledger, "n1", "c1", slot(NIGHT));
    assert!(ledger.finish(&id, &unknown).unwrap());
    assert!(!ledger.finish(&id, &unknown).unwrap());
    assert!(
        ledger
            .run(&id)
            .unwrap()
            .unwrap()
            .holds_job(time("2026-11-23T02:00:00Z"))
    );
    assert_eq!(ledger.active_runs().unwrap().len(), 1);
    assert!(ledger.finish(&id, &finish(Outcome::Succeeded)).unwrap());
    let run = ledger.run(&id).unwrap().unwrap();
    assert_eq!((run.outcome, run.held_until), (Some(Outcome::Succeeded), None));
    assert!(!ledger.finish(&id, &finish(Outcome::Failed)).unwrap());

    let id = running(&ledger, "n2", "c2", slot("2026-11-23T02:30:00Z"));
    ledger.finish(&id, &unknown).unwrap();
    ledger.release(&id).unwrap();
    assert!(
        !ledger
            .run(&id)
            .unwrap()
            .unwrap()
            .holds_job(time("2026-11-23T02:00:00Z"))
    );
    assert!(
        !ledger.finish(&id, &finish(Outcome::Succeeded)).unwrap(),
        "final once released"
    );
    assert!(ledger.active_runs().unwrap().is_empty());

    // A hold belongs to `unknown` alone.
    let id = running(&ledger, "n3", "c3", slot("2026-11-23T03:30:00Z"));
    let failed = Finish {
        outcome: Outcome::Failed,
        ..unknown
    };
    ledger.finish(&id, &failed).unwrap();
    assert_eq!(ledger.run(&id).unwrap().unwrap().held_until, None);
}

#[test]
fn a_run_that_nobody_recorded_is_an_error() {
    let (_home, ledger) = open();
    let id: RunId = "shop.none.20261123T013000Z".parse().unwrap();
    let none = |result: Result<()>| assert!(matches!(result, Err(LedgerError::NoSuchRun(_))));
    none(ledger.started(&id, time(NIGHT)));
    none(ledger.request_stop(&id, Outcome::Cancelled).map(drop));
    none(ledger.finish(&id, &finish(Outcome::Succeeded)).map(drop));
    none(ledger.container_gone(&id));
    none(ledger.release(&id));
    none(ledger.never_ran(&id).map(drop));
    assert_eq!(ledger.run(&id).unwrap(), None);
    assert_eq!(ledger.spec_of(&id).unwrap(), None);
}

#[test]
fn an_intent_proven_idle_is_taken_back_and_its_container_never_started() {
    let (_home, ledger) = open();
    let id = running(&ledger, "n1", "c1", slot(NIGHT));
    assert!(ledger.never_ran(&id).unwrap());
    assert_eq!(ledger.run(&id).unwrap(), None);
    assert!(ledger.intend(&intent_of("n1", "c1")).is_err());
    assert_eq!(
        ledger.container("n1").unwrap().unwrap().state,
        ContainerState::Discarded
    );
    ledger
        .creating(&new_container("n2", "shop.backup", slot(NIGHT), 0))
        .unwrap();
    assert!(
        ledger.intend(&intent_of("n2", "c1")).is_err(),
        "the old container under a new nonce"
    );
    assert_eq!(ledger.intend(&intent_of("n2", "c2")).unwrap(), Intended::New);
    ledger.finish(&id, &finish(Outcome::Succeeded)).unwrap();
    assert!(!ledger.never_ran(&id).unwrap());
    assert!(ledger.run(&id).unwrap().is_some());
}

/// A pass that was planned before the fence gave a slot back may be written after it.
#[test]
fn a_slot_that_was_given_back_is_not_passed_over() {
    let (_home, ledger) = open();
    let name = job("shop.backup");
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T12:00:00Z"))
        .unwrap();
    let id = running(&ledger, "n1", "c1", slot(NIGHT));
    ledger.settle(&name, time(NIGHT)).unwrap();
    let planned_from = ledger.jobs().unwrap()[&name].settled;
    assert!(ledger.never_ran(&id).unwrap());
    let later = slot("2026-11-24T01:30:00Z");
    let late = Settle {
        job: name.clone(),
        planned_from,
        until: later.at(),
    };
    let missed = not_run("shop.backup", later);
    assert_eq!(ledger.record_all(&[missed], Some(&late)).unwrap(), 1);
    let record = &ledger.jobs().unwrap()[&name];
    assert!(record.settled < time(NIGHT), "{record:?}");
    assert!(record.recorded_ahead.contains(&later));
}

/// Nor when the pointer was still behind it: the same run of a pass that counts it as decided.
#[test]
fn a_slot_that_was_given_back_ahead_of_the_pointer_is_not_passed_over() {
    let (_home, ledger) = open();
    let name = job("shop.backup");
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T12:00:00Z"))
        .unwrap();
    let planned_from = ledger.jobs().unwrap()[&name].settled;
    let id = running(&ledger, "n1", "c1", slot(NIGHT));
    let settled = || ledger.jobs().unwrap()[&name].settled;
    assert_eq!(settled(), planned_from);
    assert!(ledger.never_ran(&id).unwrap());
    let later = slot("2026-11-24T01:30:00Z");
    let to = |until| Settle {
        job: name.clone(),
        planned_from,
        until,
    };
    ledger.advance(&to(time(NIGHT))).unwrap();
    assert_eq!(settled(), planned_from);
    let missed = not_run("shop.backup", later);
    assert_eq!(ledger.record_all(&[missed], Some(&to(later.at()))).unwrap(), 1);
    assert_eq!(settled(), planned_from);
    // It is decided: from then on the pointer goes on as ever.
    let decided = not_run("shop.backup", slot(NIGHT));
    assert_eq!(ledger.record_all(&[decided], Some(&to(time(NIGHT)))).unwrap(), 1);
    assert_eq!(settled(), time(NIGHT));
    ledger.advance(&to(later.at())).unwrap();
    assert_eq!(settled(), later.at());
}

#[test]
fn a_container_without_record_is_adopted_once_and_never_started() {
    let (_home, ledger) = open();
    let adopted = Adopted {
        id: "shop.backup.20261123T013000Z".parse().unwrap(),
        job: job("shop.backup"),
        slot: Some(slot(NIGHT)),
        attempt: 0,
        trigger: RunTrigger::Schedule,
        container: "c1".into(),
        nonce: Some("of another ledger".into()),
        due_at: time(NIGHT),
        started_at: Some(time(NIGHT)),
        image: None,
        spec_hash: None,
        origin: origin(),
        finish: None,
    };
    assert!(ledger.adopt(&adopted).unwrap());
    assert!(!ledger.adopt(&adopted).unwrap());
    assert_eq!(ledger.active_runs().unwrap().len(), 1);
    assert!(!ledger.never_ran(&adopted.id).unwrap());
    ledger
        .creating(&new_container("n1", "shop.backup", slot(NIGHT), 0))
        .unwrap();
    assert!(matches!(
        ledger.intend(&intent_of("n1", "c2")).unwrap(),
        Intended::AlreadyRecorded(_)
    ));
    assert!(ledger.finish(&adopted.id, &finish(Outcome::Succeeded)).unwrap());
    let lost = Adopted {
        id: "shop.backup.20261123T023000Z".parse().unwrap(),
        slot: Some(slot("2026-11-23T02:30:00Z")),
        container: "c3".into(),
        finish: Some(finish(Outcome::Unknown)),
        ..adopted
    };
    assert!(ledger.adopt(&lost).unwrap());
    assert_eq!(
        ledger.run(&lost.id).unwrap().unwrap().outcome,
        Some(Outcome::Unknown)
    );
}

#[test]
fn a_container_started_by_hand_is_armed_no_longer() {
    let (_home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-22T12:00:00Z"))
        .unwrap();
    let new = new_container("n1", "shop.backup", slot(NIGHT), 0);
    ledger.creating(&new).unwrap();
    ledger.created("n1", "c1").unwrap();
    let mut by_hand = Adopted {
        id: new.name.clone(),
        job: new.job.clone(),
        slot: new.slot,
        attempt: 0,
        trigger: RunTrigger::Schedule,
        container: "c2".into(),
        nonce: Some("n1".into()),
        due_at: time(NIGHT),
        started_at: Some(time(NIGHT)),
        image: None,
        spec_hash: None,
        origin: origin(),
        finish: None,
    };
    assert!(ledger.adopt(&by_hand).is_err(), "a copied label");
    by_hand.container = "c1".into();
    assert!(ledger.adopt(&by_hand).unwrap());
    assert!(ledger.jobs().unwrap()[&new.job].armed.is_empty());
    assert!(matches!(
        ledger.intend(&intent_of("n1", "c1")).unwrap(),
        Intended::AlreadyRecorded(_)
    ));
    assert_eq!(ledger.spec_of(&new.name).unwrap(), Some(new.spec));
    assert!(!ledger.never_ran(&new.name).unwrap(), "it did run");
    assert!(ledger.run(&new.name).unwrap().is_some());
}

#[test]
fn the_ledger_is_shared_by_tasks() {
    fn shared<T: Send + Sync>() {}
    shared::<Ledger>();
    shared::<WatchLock>();
}

#[test]
fn the_planner_sees_what_is_open_and_each_jobs_newest() {
    let (_home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-01T00:00:00Z"))
        .unwrap();
    let seen = || -> Vec<String> {
        ledger
            .runs_to_plan()
            .unwrap()
            .iter()
            .map(|run| run.id.to_string())
            .collect()
    };
    let old = running(&ledger, "n1", "c1", slot("2026-11-20T01:30:00Z"));
    let done = running(&ledger, "n2", "c2", slot("2026-11-21T01:30:00Z"));
    let held = running(&ledger, "n3", "c3", slot("2026-11-22T01:30:00Z"));
    let missed = not_run("shop.backup", slot("2026-12-01T01:30:00Z"));
    ledger
        .record(&not_run("shop.backup", slot("2026-11-19T01:30:00Z")))
        .unwrap();
    ledger.record(&missed).unwrap();
    ledger.finish(&done, &finish(Outcome::Succeeded)).unwrap();
    ledger
        .finish(
            &held,
            &Finish {
                held_until: Some(time("2026-11-30T00:00:00Z")),
                ..finish(Outcome::Unknown)
            },
        )
        .unwrap();
    assert_eq!(seen(), [&old, &done, &held, &missed.id].map(ToString::to_string));
    ledger.container_gone(&done).unwrap();
    ledger.container_gone(&held).unwrap();
    assert_eq!(seen(), [&old, &held, &missed.id].map(ToString::to_string));
    ledger.release(&held).unwrap();
    assert_eq!(seen(), [&old, &missed.id].map(ToString::to_string));
    let snapshot = ledger.snapshot().unwrap();
    assert_eq!(snapshot.runs, ledger.runs_to_plan().unwrap());
    assert_eq!(snapshot.jobs, ledger.jobs().unwrap());
}

#[test]
fn history_is_filtered_and_newest_first() {
    let (_home, ledger) = open();
    let done = running(&ledger, "n1", "c1", slot("2026-11-20T01:30:00Z"));
    ledger.finish(&done, &finish(Outcome::Succeeded)).unwrap();
    let active = ContainerName::of_slot(&Instance::default(), &job("shop.backup"), slot(NIGHT), 0);
    running(&ledger, "n2", "c2", slot(NIGHT));
    let series = NotRun {
        slot_last: Some(slot("2026-11-24T00:00:00Z")),
        count: Some(5),
        ..not_run("shop.report", slot("2026-11-19T00:00:00Z"))
    };
    ledger.record(&series).unwrap();
    let foreign = not_run("cloud.cron", slot("2026-11-18T00:00:00Z"));
    ledger.record(&foreign).unwrap();
    let ids = |query: HistoryQuery| -> Vec<RunId> {
        ledger
            .history(&query)
            .unwrap()
            .into_iter()
            .map(|run| run.id)
            .collect()
    };
    let all = HistoryQuery::default();
    // Both runs of `shop.backup` are due at the same moment in this test: the later row goes first.
    assert_eq!(
        ids(all.clone()),
        [&series.id, &active, &done, &foreign.id].map(Clone::clone)
    );
    let of_job = HistoryQuery {
        job: Some(JobFilter::Job(job("shop.backup"))),
        limit: Some(1),
        ..all.clone()
    };
    assert_eq!(ids(of_job), vec![active.clone()]);
    let of_project = HistoryQuery {
        job: Some(JobFilter::Project("cloud".into())),
        ..all.clone()
    };
    assert_eq!(ids(of_project), vec![foreign.id.clone()]);
    let by_outcome = HistoryQuery {
        outcome: vec![None, Some(Outcome::Succeeded)],
        ..all.clone()
    };
    assert_eq!(ids(by_outcome), [active.clone(), done.clone()]);
    let between = HistoryQuery {
        since: Some(time("2026-11-23T12:00:00Z")),
        until: Some(time("2026-11-20T00:00:00Z")),
        ..all
    };
    assert_eq!(ids(between), [series.id], "a series that spans the time");
    assert_eq!(
        ledger.newest_run(&job("shop.backup")).unwrap().unwrap().id,
        active
    );
    assert_eq!(ledger.newest_run(&job("shop.none")).unwrap(), None);
}

#[test]
fn runs_are_found_by_name_container_and_prefix() {
    let (_home, ledger) = open();
    let id = running(&ledger, "n1", "abcdef0123", slot(NIGHT));
    ledger
        .creating(&new_container("n2", "shop.backup", slot(NIGHT), 1))
        .unwrap();
    to_be_followed(&ledger, &id);
    ledger.intend(&intent_of("n2", "abc9")).unwrap();
    let found = |text: &str| ledger.find_runs(text).unwrap().len();
    assert_eq!(ledger.find_runs(id.as_str()).unwrap()[0].attempt, 0);
    assert_eq!(
        (found(id.as_str()), found("shop.b"), found("abc"), found("abcd")),
        (1, 2, 2, 1)
    );
    assert_eq!(
        (
            found(""),
            found("shop.x"),
            found("%"),
            found("*"),
            found("shop_b")
        ),
        (0, 0, 0, 0, 0)
    );
}

#[test]
fn a_clock_that_was_ahead_gives_its_slots_back_but_no_run() {
    let (_home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-11-23T00:00:00Z"))
        .unwrap();
    let mut series = not_run("shop.backup", slot("2026-11-23T01:00:00Z"));
    series.slot_last = Some(slot("2036-11-23T01:00:00Z"));
    series.count = Some(87_600);
    ledger.record(&series).unwrap();
    let ahead = not_run("shop.backup", slot("2036-11-24T01:00:00Z"));
    ledger.record(&ahead).unwrap();
    let ran = running(&ledger, "n1", "c1", slot("2036-11-25T01:00:00Z"));

    assert_eq!(
        ledger
            .give_back(&job("shop.backup"), time("2026-11-23T05:00:00Z"))
            .unwrap(),
        2
    );

    assert_eq!(ledger.run(&ahead.id).unwrap(), None);
    assert!(ledger.run(&ran).unwrap().is_some(), "a run is never forgotten");
    let cut = ledger.run(&series.id).unwrap().unwrap();
    assert_eq!(cut.slot_last, Some(slot("2026-11-23T05:00:00Z")));
    assert!(
        cut.count.is_some_and(|count| (1..10).contains(&count)),
        "{:?}",
        cut.count
    );
    // The slot is free again.
    let due = slot("2026-11-24T01:00:00Z");
    ledger
        .creating(&new_container("n2", "shop.backup", due, 0))
        .unwrap();
    ledger.created("n2", "c2").unwrap();
    assert_eq!(ledger.intend(&intent_of("n2", "c2")).unwrap(), Intended::New);
}
