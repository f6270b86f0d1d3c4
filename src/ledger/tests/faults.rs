//! The ledger against what goes wrong: races between connections and processes, SIGKILL, damage,
//! a full disk, and a history of many years.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;

use super::*;

const LEDGER_DIR: &str = "LEDGER_TEST_DIR";

/// Another process, ended with the test that started it.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This test binary once more, as a process of its own that runs one of the `child_` tests.
fn child(test: &str, dir: &Path) -> Other {
    let started = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--ignored", "--quiet"])
        .arg(format!("ledger::tests::faults::{test}"))
        .env(LEDGER_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Other(started)
}

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(LEDGER_DIR).map(PathBuf::from)
}

fn nth_slot(nth: i64) -> Slot {
    Slot::from_second(1_800_000_000 + 60 * nth)
}

/// The result lines of a child: the test harness prints around them.
fn told(Other(child): &mut Other) -> Vec<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .map_while(std::result::Result::ok)
        .filter_map(|line| line.split_once("told:").map(|(_, rest)| rest.to_owned()))
        .collect()
}

#[test]
fn of_many_threads_exactly_one_may_start_a_slot() {
    let (_home, ledger) = open();
    let dir = ledger.dir().to_owned();
    let threads = 8;
    for round in 0..10 {
        let barrier = Barrier::new(threads);
        let won: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..threads)
                .map(|racer| {
                    let (dir, barrier) = (&dir, &barrier);
                    scope.spawn(move || {
                        // A connection of its own, as another process would have.
                        let ledger = Ledger::open(dir).unwrap();
                        let nonce = format!("{round}-{racer}");
                        let new = new_container(&nonce, "shop.backup", nth_slot(round), 0);
                        ledger.creating(&new).unwrap();
                        barrier.wait();
                        let intent = intent_of(&nonce, &format!("c-{nonce}"));
                        usize::from(ledger.intend(&intent).unwrap() == Intended::New)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(won, 1, "round {round}");
    }
}

#[test]
fn of_many_threads_exactly_one_may_start_a_container() {
    let (_home, ledger) = open();
    for round in 0..20 {
        let nonce = format!("n{round}");
        ledger
            .creating(&new_container(&nonce, "shop.backup", nth_slot(round), 0))
            .unwrap();
        let won: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let intent = intent_of(&nonce, &format!("c{round}"));
                        usize::from(ledger.intend(&intent).unwrap() == Intended::New)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(won, 1, "round {round}");
    }
}

#[test]
fn first_opens_at_once_agree_on_one_ledger() {
    let home = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let dir = home.path().join(round.to_string());
        let barrier = Barrier::new(6);
        let opened: BTreeSet<(String, String)> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..6)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let ledger = Ledger::open(&dir).unwrap();
                        (ledger.id().to_owned(), ledger.mask(&Text::sensitive("x")))
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(opened.len(), 1, "round {round}: {opened:?}");
        let drafts = std::fs::read_dir(&dir)
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("key.")
            })
            .count();
        assert_eq!(drafts, 0, "round {round}");
    }
}

const CONTESTED: i64 = 60;

/// On a slow disk one of three may be the last in turn for longer than the ledger waits. A call that
/// found it locked has written nothing, and is made again.
fn patiently<T>(mut call: impl FnMut() -> crate::ledger::Result<T>) -> T {
    loop {
        match call() {
            Err(LedgerError::Busy) => {}
            other => return other.unwrap(),
        }
    }
}

#[test]
#[ignore = "the other process of `of_two_processes_exactly_one_may_start_each_slot`"]
fn child_that_intends() {
    let Some(dir) = child_dir() else { return };
    let ledger = Ledger::open(&dir).unwrap();
    let me = std::process::id();
    let mut won = 0;
    for nth in 0..CONTESTED {
        let nonce = format!("{me}-{nth}");
        let new = new_container(&nonce, "shop.backup", nth_slot(nth), 0);
        patiently(|| ledger.creating(&new));
        let intent = intent_of(&nonce, &format!("c-{nonce}"));
        won += u32::from(patiently(|| ledger.intend(&intent)) == Intended::New);
    }
    println!("told:{won}");
}

#[test]
fn of_two_processes_exactly_one_may_start_each_slot() {
    let (_home, ledger) = open();
    let mut children = [0, 1, 2].map(|_| child("child_that_intends", ledger.dir()));
    let mut won = 0;
    for child in &mut children {
        let lines = told(child);
        assert!(child.0.wait().unwrap().success());
        won += lines[0].parse::<i64>().unwrap();
    }
    assert_eq!(won, CONTESTED);
    // A command reads while the others write.
    assert_eq!(
        ledger.active_runs().unwrap().len(),
        usize::try_from(CONTESTED).unwrap()
    );
}

#[test]
#[ignore = "the process that `what_was_answered_survives_sigkill` kills"]
fn child_that_is_killed() {
    let Some(dir) = child_dir() else { return };
    let ledger = Ledger::open(&dir).unwrap();
    let me = std::process::id();
    let mut out = std::io::stdout();
    for nth in 0.. {
        let nonce = format!("{me}-{nth}");
        let new = new_container(&nonce, "shop.backup", nth_slot(i64::from(me) * 1000 + nth), 0);
        ledger.creating(&new).unwrap();
        ledger.intend(&intent_of(&nonce, &format!("c-{nonce}"))).unwrap();
        writeln!(out, "told:intended {}", new.name).unwrap();
        out.flush().unwrap();
        ledger.finish(&new.name, &finish(Outcome::Succeeded)).unwrap();
        writeln!(out, "told:finished {}", new.name).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_answered_survives_sigkill() {
    let (_home, ledger) = open();
    let dir = ledger.dir().to_owned();
    drop(ledger);
    for answers in [1, 2, 7, 20, 41] {
        let mut child = child("child_that_is_killed", &dir);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut told: Vec<String> = Vec::new();
        while told.len() < answers {
            let line = lines.next().unwrap().unwrap();
            told.extend(line.split_once("told:").map(|(_, rest)| rest.to_owned()));
        }
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        // What it said between the last line that was read and its end.
        told.extend(
            lines
                .map_while(std::result::Result::ok)
                .filter_map(|line| line.split_once("told:").map(|(_, rest)| rest.to_owned())),
        );
        let ledger = Ledger::open(&dir).unwrap();
        for line in told {
            let (what, id) = line.split_once(' ').unwrap();
            let run = ledger.run(&id.parse().unwrap()).unwrap().expect(id);
            assert!(run.intent.is_some());
            assert!(
                what == "intended" || run.outcome == Some(Outcome::Succeeded),
                "{line}"
            );
        }
    }
}

#[test]
fn a_transaction_without_commit_leaves_nothing() {
    let (_home, ledger) = open();
    let dir = ledger.dir().to_owned();
    let missed = not_run("shop.backup", slot(NIGHT));
    {
        let connection = ledger.lock();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
            .execute("INSERT INTO meta (key, value) VALUES ('half', 'done')", [])
            .unwrap();
    }
    drop(ledger);
    let ledger = Ledger::open(&dir).unwrap();
    assert_eq!(ledger.read(|tx| meta(tx, "half")).unwrap(), None);
    // A panic inside a transaction rolls it back and leaves the ledger usable.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = ledger.write(point::Write::Record, |tx| -> std::result::Result<(), Fault> {
            set_meta(tx, "half", "done")?;
            panic!("in the middle")
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(ledger.read(|tx| meta(tx, "half")).unwrap(), None);
    assert!(ledger.record(&missed).unwrap());
}

#[test]
fn a_write_waits_for_another_process_and_a_read_does_not() {
    let (_home, ledger) = open();
    let other = Ledger::open(ledger.dir()).unwrap();
    ledger.heartbeat(time(NIGHT)).unwrap();
    std::thread::scope(|scope| {
        let connection = other.lock();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let writer = scope.spawn(|| {
            let reader = Ledger::open_existing(ledger.dir()).unwrap().unwrap();
            assert_eq!(reader.last_alive().unwrap(), Some(time(NIGHT)));
            ledger.heartbeat(time("2026-11-23T02:00:00Z"))
        });
        std::thread::sleep(Duration::from_millis(100));
        connection.execute_batch("COMMIT").unwrap();
        drop(connection);
        writer.join().unwrap().unwrap();
    });
    // A stopped process: an error after the wait, never a write past its lock.
    ledger.lock().busy_timeout(Duration::from_millis(20)).unwrap();
    other.lock().execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(ledger.heartbeat(time(NIGHT)), Err(LedgerError::Busy)));
}

/// A closed ledger with enough rows to fill some pages.
fn filled() -> (TempDir, PathBuf) {
    let (home, ledger) = open();
    let dir = ledger.dir().to_owned();
    let rows: Vec<NotRun> = (0..500)
        .map(|nth| not_run("shop.backup", nth_slot(nth)))
        .collect();
    assert_eq!(ledger.record_all(&rows, None).unwrap(), 500);
    (home, dir)
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

fn assert_corrupt(dir: &Path, what: &str) {
    for result in [Ledger::open(dir), Ledger::open_existing(dir).map(Option::unwrap)] {
        match result {
            Err(LedgerError::Corrupt { path, .. }) => assert_eq!(path, dir.join("ledger.db"), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_damaged_header_or_page_is_refused() {
    let (_home, dir) = filled();
    overwrite(&dir.join("ledger.db"), 0, b"not a database at all");
    assert_corrupt(&dir, "header");

    let (_home, dir) = filled();
    let database = dir.join("ledger.db");
    let size = std::fs::metadata(&database).unwrap().len();
    assert!(size > 20 * 4096, "{size}");
    let mut found = 0;
    for page in 1..size / 4096 {
        let mut before = vec![0; 4096];
        let mut file = std::fs::File::open(&database).unwrap();
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.read_exact(&mut before).unwrap();
        overwrite(&database, page * 4096, &[0xa5; 4096]);
        assert_corrupt(&dir, &format!("page {page}"));
        overwrite(&database, page * 4096, &before);
        found += 1;
    }
    assert!(found > 20);
    assert_eq!(
        Ledger::open(&dir)
            .unwrap()
            .history(&HistoryQuery::default())
            .unwrap()
            .len(),
        500
    );
}

#[test]
fn a_truncated_ledger_is_refused() {
    let (_home, dir) = filled();
    let database = OpenOptions::new()
        .write(true)
        .open(dir.join("ledger.db"))
        .unwrap();
    let size = database.metadata().unwrap().len();
    for keep in [size - 4096, size / 2 / 4096 * 4096, 4096, 100] {
        database.set_len(keep).unwrap();
        assert_corrupt(&dir, &format!("{keep} of {size} bytes"));
    }
}

#[test]
fn damage_under_an_open_ledger_is_an_error_and_no_answer() {
    let (_home, dir) = filled();
    let ledger = Ledger::open(&dir).unwrap();
    // So that the pages are read from the file and not from memory.
    ledger
        .lock()
        .execute_batch("PRAGMA cache_size = 0; PRAGMA shrink_memory")
        .unwrap();
    let size = std::fs::metadata(dir.join("ledger.db")).unwrap().len();
    for page in 1..size / 4096 {
        overwrite(&dir.join("ledger.db"), page * 4096, &[0; 4096]);
    }
    let result = ledger.history(&HistoryQuery::default());
    assert!(matches!(result, Err(LedgerError::Corrupt { .. })), "{result:?}");
    assert!(ledger.record(&not_run("shop.other", slot(NIGHT))).is_err());
}

#[test]
fn a_ledger_that_was_deleted_or_replaced_under_us_allows_no_start() {
    let (_home, dir) = filled();
    let ledger = Ledger::open(&dir).unwrap();
    ledger
        .creating(&new_container("n1", "shop.other", slot(NIGHT), 0))
        .unwrap();
    std::fs::rename(dir.join("ledger.db"), dir.join("away")).unwrap();
    let refused = |what: &str| {
        let error = ledger.intend(&intent_of("n1", "c1")).unwrap_err();
        assert!(
            matches!(&error, LedgerError::Corrupt { why, .. } if why.contains(what)),
            "{error}"
        );
    };
    refused("deleted");
    std::fs::copy(dir.join("away"), dir.join("ledger.db")).unwrap();
    refused("replaced");
    std::fs::rename(dir.join("away"), dir.join("ledger.db")).unwrap();
    assert_eq!(ledger.intend(&intent_of("n1", "c1")).unwrap(), Intended::New);
}

#[cfg(unix)]
#[test]
#[ignore = "the other process of `a_second_open_leaves_the_locks_of_the_first`"]
fn child_that_wants_the_database_alone() {
    let Some(dir) = child_dir() else { return };
    // What the last connection takes before it deletes the write-ahead log.
    let database = OpenOptions::new()
        .read(true)
        .write(true)
        .open(dir.join("ledger.db"))
        .unwrap();
    let lock = rustix::fs::fcntl_lock(&database, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    println!("told:{}", if lock.is_ok() { "free" } else { "locked" });
}

#[cfg(unix)]
#[test]
fn a_second_open_leaves_the_locks_of_the_first() {
    let (_home, ledger) = open();
    ledger.heartbeat(time(NIGHT)).unwrap();
    drop(Ledger::open_existing(ledger.dir()).unwrap());
    drop(Ledger::open(ledger.dir()).unwrap());
    let mut other = child("child_that_wants_the_database_alone", ledger.dir());
    let found = told(&mut other);
    other.0.wait().unwrap();
    assert_eq!(found, ["locked"], "an open ledger had lost its locks");
}

#[test]
fn a_torn_end_of_the_log_costs_only_what_was_never_answered() {
    let (_home, ledger) = open();
    let dir = ledger.dir().to_owned();
    let missed = not_run("shop.backup", slot(NIGHT));
    ledger.record(&missed).unwrap();
    // As after a power loss in the middle of a write: the log without its checkpoint, and garbage
    // after its last whole transaction.
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "key"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    let mut log = OpenOptions::new()
        .append(true)
        .open(copy.path().join("ledger.db-wal"))
        .unwrap();
    log.write_all(&[0x5a; 5000]).unwrap();
    let survivor = Ledger::open(copy.path()).unwrap();
    assert_eq!(survivor.id(), ledger.id());
    assert!(survivor.run(&missed.id).unwrap().is_some());
}

#[test]
fn a_value_that_no_version_wrote_is_damage_and_no_default() {
    let (_home, ledger) = open();
    ledger.record(&not_run("shop.backup", slot(NIGHT))).unwrap();
    ledger.upsert_job(&upsert("shop.backup", NIGHT)).unwrap();
    let spoil = |sql: &str| ledger.lock().execute_batch(sql).unwrap();
    spoil("UPDATE runs SET outcome = 'fine'");
    let error = ledger.history(&HistoryQuery::default()).unwrap_err();
    assert!(
        matches!(&error, LedgerError::Corrupt { why, .. } if why.contains("`fine` is not an outcome")),
        "{error}"
    );
    spoil("UPDATE runs SET outcome = 'failed', due_at = 'soon'");
    assert!(matches!(ledger.runs_to_plan(), Err(LedgerError::Corrupt { .. })));
    spoil("UPDATE jobs SET policy = '{'");
    assert!(matches!(ledger.jobs(), Err(LedgerError::Corrupt { .. })));
    assert!(matches!(ledger.snapshot(), Err(LedgerError::Corrupt { .. })));
}

#[test]
fn a_newer_format_and_a_foreign_database_are_refused() {
    let (_home, ledger) = open();
    let dir = ledger.dir().to_owned();
    ledger.lock().pragma_update(None, "user_version", 99).unwrap();
    drop(ledger);
    for result in [
        Ledger::open(&dir),
        Ledger::open_existing(&dir).map(Option::unwrap),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, LedgerError::TooNew { found: 99, .. }), "{error}");
    }
    let before = std::fs::read(dir.join("ledger.db")).unwrap();
    let foreign = tempfile::tempdir().unwrap();
    Connection::open(foreign.path().join("ledger.db"))
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();
    assert_corrupt_foreign(foreign.path());
    assert_eq!(
        std::fs::read(dir.join("ledger.db")).unwrap(),
        before,
        "not touched"
    );
}

fn assert_corrupt_foreign(dir: &Path) {
    let error = Ledger::open(dir).unwrap_err();
    assert!(error.to_string().contains("not a ledger"), "{error}");
    let tables: i64 = Connection::open(dir.join("ledger.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1, "nothing of ours was put beside it");
}

#[test]
fn a_spoilt_key_is_refused() {
    let (_home, ledger) = open();
    let dir = ledger.dir().to_owned();
    drop(ledger);
    std::fs::write(dir.join("key"), b"short").unwrap();
    assert!(matches!(Ledger::open(&dir), Err(LedgerError::Corrupt { path, .. }) if path == dir.join("key")));
}

#[test]
fn a_full_disk_fails_closed_and_leaves_nothing_half_written() {
    let (_home, ledger) = open();
    let pages: i64 = ledger
        .lock()
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    let limit = |pages: i64| {
        ledger
            .lock()
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    };
    let new = NewContainer {
        spec: "x".repeat(100_000),
        ..new_container("n1", "shop.backup", slot(NIGHT), 0)
    };
    limit(pages);
    assert!(matches!(ledger.creating(&new), Err(LedgerError::Full(_))));
    assert!(ledger.nonces().unwrap().is_empty());
    limit(1_000_000);
    ledger.creating(&new).unwrap();
    let pages: i64 = ledger
        .lock()
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    limit(pages);
    let big = NewIntent {
        intent: Intent {
            owner: Owner {
                boot_id: "x".repeat(100_000),
                ..intent_of("n1", "c1").intent.owner
            },
            ..intent_of("n1", "c1").intent
        },
        ..intent_of("n1", "c1")
    };
    assert!(matches!(ledger.intend(&big), Err(LedgerError::Full(_))));
    assert_eq!(
        ledger.container("n1").unwrap().unwrap().state,
        ContainerState::Creating
    );
    assert_eq!(ledger.run(&new.name).unwrap(), None);
    // With room again, the same start goes on.
    limit(1_000_000);
    assert_eq!(ledger.intend(&big).unwrap(), Intended::New);
}

#[cfg(unix)]
#[test]
fn somebody_elses_ledger_is_told_from_none() {
    // Root may read everything, so this says nothing there.
    if os::is_root() {
        return;
    }
    let (_home, ledger) = open();
    let dir = ledger.dir().to_owned();
    drop(ledger);
    let set = |mode| std::fs::set_permissions(&dir, PermissionsExt::from_mode(mode)).unwrap();
    set(0o000);
    let error = Ledger::open_existing(&dir).unwrap_err();
    set(0o700);
    assert!(error.is_permission_denied(), "{error}");
}

#[test]
fn every_connection_is_durable_and_checks_references() {
    let (_home, ledger) = open();
    let connection = ledger.lock();
    let pragma = |name: &str| -> String {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| format!("{value:?}"))
            .unwrap()
    };
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    assert_eq!(pragma("synchronous"), "Integer(2)");
    assert_eq!(pragma("foreign_keys"), "Integer(1)");
    assert_eq!(pragma("busy_timeout"), "Integer(10000)");
}

/// How SQLite carries out a statement, one step a line.
fn query_plan(ledger: &Ledger, sql: &str) -> String {
    let connection = ledger.lock();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nulls = vec![rusqlite::types::Null; statement.parameter_count()];
    let steps = statement
        .query_map(rusqlite::params_from_iter(nulls), |row| row.get(3))
        .unwrap();
    let steps: Vec<String> = steps.map(std::result::Result::unwrap).collect();
    steps.join("\n")
}

/// A history of `rows` missed slots, and one run that is open.
fn long_history(rows: i64) -> (TempDir, Ledger) {
    let (home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2026-01-01T00:00:00Z"))
        .unwrap();
    let rows: Vec<NotRun> = (0..rows)
        .map(|nth| not_run("shop.backup", nth_slot(nth)))
        .collect();
    assert_eq!(ledger.record_all(&rows, None).unwrap(), rows.len());
    ledger
        .settle(&job("shop.backup"), nth_slot(1_000_000).at())
        .unwrap();
    running(&ledger, "n1", "c1", nth_slot(1_000_001));
    (home, ledger)
}

/// SQLite chooses the same indices for any length (there are no statistics to go by).
const LONG: i64 = 3000;

#[test]
fn a_long_history_is_read_through_its_indices() {
    let (_home, ledger) = long_history(LONG);
    let query = |job| HistoryQuery {
        job,
        limit: Some(10),
        since: Some(time(NIGHT)),
        ..HistoryQuery::default()
    };
    for (filter, index) in [
        (None, "runs_by_time"),
        (Some(JobFilter::Job(job("shop.backup"))), "runs_by_job"),
        (Some(JobFilter::Project("shop".into())), "runs_by_project"),
    ] {
        let steps = query_plan(&ledger, &super::super::history::history_sql(&query(filter)).0);
        assert!(steps.contains(index), "{steps}");
        assert!(!steps.contains("TEMP B-TREE"), "sorted by hand: {steps}");
    }
    let statements = super::super::history::statements();
    for (sql, index) in statements {
        let steps = query_plan(&ledger, &sql);
        assert!(steps.contains(index), "{sql}: {steps}");
        assert!(
            !steps.contains("SCAN runs\n") && !steps.ends_with("SCAN runs"),
            "{sql}: {steps}"
        );
    }
    assert_eq!(ledger.history(&query(None)).unwrap().len(), 10);
    assert_eq!(ledger.runs_to_plan().unwrap().len(), 2);
    assert_eq!(ledger.active_runs().unwrap().len(), 1);
}

#[test]
fn compacting_deletes_what_is_old_and_over_and_nothing_else() {
    let (_home, ledger) = open();
    ledger
        .upsert_job(&upsert("shop.backup", "2020-01-01T00:00:00Z"))
        .unwrap();
    let long_ago = |day: i64| Slot::from_second(1_600_000_000 + 86_400 * day);
    let now = long_ago(500).at();
    let end = |id: &RunId, outcome| ledger.finish(id, &finish(outcome)).unwrap();
    let due = |id: &RunId, at: Slot| {
        // `running` gives all runs one due time.
        let at = sql::At(at.at());
        ledger
            .write(point::Write::Record, |tx| {
                Ok(tx.execute(
                    "UPDATE runs SET due_at = ?2, last_due_at = ?2 WHERE id = ?1",
                    (id, at),
                )?)
            })
            .unwrap();
    };
    let mut ids = Vec::new();
    for (day, container) in [
        (0, "gone"),
        (1, "kept"),
        (2, "active"),
        (3, "held"),
        (450, "young"),
    ] {
        let id = running(&ledger, container, &format!("c-{container}"), long_ago(day));
        due(&id, long_ago(day));
        std::fs::write(ledger.log_path(&id), "log").unwrap();
        ids.push(id);
    }
    end(&ids[0], Outcome::Succeeded);
    ledger.container_gone(&ids[0]).unwrap();
    end(&ids[1], Outcome::Failed);
    let hold = Finish {
        held_until: Some(long_ago(499).at()),
        ..finish(Outcome::Unknown)
    };
    ledger.finish(&ids[3], &hold).unwrap();
    ledger.container_gone(&ids[3]).unwrap();
    end(&ids[4], Outcome::Succeeded);
    ledger.container_gone(&ids[4]).unwrap();
    // Before the pointer has passed them, rows are what keeps slots from running twice.
    assert_eq!(ledger.compact(now).unwrap(), 0);
    ledger.settle(&job("shop.backup"), now).unwrap();
    assert_eq!(ledger.compact(now).unwrap(), 1);
    let left: Vec<bool> = ids.iter().map(|id| ledger.run(id).unwrap().is_some()).collect();
    assert_eq!(left, [false, true, true, true, true]);
    let logs: Vec<bool> = ids.iter().map(|id| ledger.log_path(id).exists()).collect();
    assert_eq!(logs, left);
    assert_eq!(ledger.compact(now).unwrap(), 0);
}

#[test]
fn compacting_forgets_discarded_containers_and_specs_that_nobody_names() {
    let (_home, ledger) = open();
    let specs = || -> i64 {
        ledger
            .lock()
            .query_row("SELECT count(*) FROM specs", [], |row| row.get(0))
            .unwrap()
    };
    for nonce in ["n1", "n2", "n3"] {
        let new = NewContainer {
            spec: if nonce == "n3" { "other" } else { "same" }.into(),
            ..new_container(nonce, "shop.backup", slot(NIGHT), 0)
        };
        ledger.creating(&new).unwrap();
    }
    assert_eq!(specs(), 2, "equal texts are kept once");
    for nonce in ["n2", "n3"] {
        ledger.discarded(nonce).unwrap();
    }
    ledger.compact(time("2026-12-20T00:00:00Z")).unwrap();
    assert_eq!(
        ledger.nonces().unwrap().len(),
        3,
        "an engine may still carry out a late create"
    );
    ledger.compact(time("2026-12-24T00:00:00Z")).unwrap();
    assert_eq!(
        (ledger.nonces().unwrap(), specs()),
        (BTreeSet::from(["n1".into()]), 1)
    );
}

#[test]
fn a_job_that_runs_each_second_keeps_a_bounded_history() {
    let (_home, ledger) = long_history(1000);
    let name = job("shop.backup");
    let rows = || -> i64 {
        ledger
            .lock()
            .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
            .unwrap()
    };
    let later: Vec<NotRun> = (1_010..1_110)
        .map(|nth| not_run("shop.backup", nth_slot(nth)))
        .collect();
    ledger
        .record_all(&later, Some(&super::settle(&name, nth_slot(1_110).at())))
        .unwrap();
    assert_eq!(rows(), 1_101);
    let day = |days: i64| nth_slot(1_110 + days * 24 * 60).at();
    // `running` is due at another time, among the oldest, and is still active.
    assert_eq!(
        ledger.compact_to(day(6), 1000).unwrap(),
        0,
        "a week is kept whole"
    );
    assert_eq!(ledger.compact_to(day(8), 1000).unwrap(), 100);
    assert_eq!(rows(), 1_001);
    assert!(
        ledger
            .run(&not_run("shop.backup", nth_slot(0)).id)
            .unwrap()
            .is_none()
    );
    assert!(ledger.run(&later[99].id).unwrap().is_some());
    assert_eq!(ledger.active_runs().unwrap().len(), 1);
    // Even after years, the newest row stays.
    assert_eq!(ledger.compact(day(1000)).unwrap(), 999);
    assert_eq!(ledger.newest_run(&name).unwrap().unwrap().id, later[99].id);
}

#[test]
fn one_watch_holds_the_lock_until_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("default");
    assert_eq!(WatchLock::holder(&dir), None);
    assert!(!dir.exists());
    let lock = WatchLock::acquire(&dir).unwrap();
    let me = format!("process {}", std::process::id());
    assert_eq!(WatchLock::holder(&dir), Some(me.clone()));
    assert!(matches!(WatchLock::acquire(&dir), Err(LedgerError::Locked { by }) if by == me));
    drop(lock);
    assert_eq!(WatchLock::holder(&dir), None);
    let _again = WatchLock::acquire(&dir).unwrap();
    let mode = os::mode(&std::fs::metadata(dir.join("lock")).unwrap());
    assert!(cfg!(windows) || mode == 0o600);
}

#[test]
#[ignore = "the process that `the_lock_ends_with_its_process` kills"]
fn child_that_locks() {
    let Some(dir) = child_dir() else { return };
    let _lock = WatchLock::acquire(&dir).unwrap();
    println!("told:locked");
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn the_lock_ends_with_its_process() {
    let home = tempfile::tempdir().unwrap();
    let mut child = child("child_that_locks", home.path());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("told:locked") {}
    let holder = Some(format!("process {}", child.0.id()));
    assert_eq!(WatchLock::holder(home.path()), holder);
    assert!(WatchLock::acquire(home.path()).is_err());
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert_eq!(WatchLock::holder(home.path()), None);
    WatchLock::acquire(home.path()).unwrap();
}
