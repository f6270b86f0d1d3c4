//! Requests and replies that get lost, late, cut, repeated or falsified between the real binary and
//! a real engine: whatever the network does, a slot runs at most once and has one honest outcome.
//!
//! Each test plants faults in a socket proxy, lets jobs run by the second or two, and hands their
//! witness and the history to the judge. At the other end of the socket is this test's process and
//! not the engine, so nothing here is ever proven by whose process answers: what the fence finds
//! out, it finds out from the engine's events and the mark in them.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::chaos::{Random, number_from};
use crate::judge::{Faults, Trial, Verdict, judge};
use crate::proxy::{ALWAYS, Fault, Proxy, Request};
use crate::rig::{Phase, Rig};
use crate::scheduler::{Job, PATIENCE, Scheduler, Watching, manifest, send, wait_until};

/// A scheduler whose every request goes through a proxy.
struct Stage {
    scheduler: Scheduler<'static>,
    proxy: Proxy,
    /// Name and seconds between two slots.
    jobs: Vec<(&'static str, i64)>,
}

/// Of a job on a stage.
type Part = (&'static str, i64, &'static str);

impl Stage {
    /// One job named `work`.
    fn new(instance: &str, every_secs: i64, work: &'static str) -> Stage {
        Stage::with_jobs(instance, &[("work", every_secs, work)])
    }

    /// Each job with a witness of its own.
    fn with_jobs(instance: &str, parts: &[Part]) -> Stage {
        Stage::with_options(instance, parts, "")
    }

    fn with_options(instance: &str, parts: &[Part], options: &str) -> Stage {
        let rig = Rig::shared();
        let proxy = Proxy::start(&rig.socket());
        let scheduler = Scheduler::new(rig, instance).through(&proxy);
        for (name, every_secs, work) in parts {
            let every = format!("{every_secs}s");
            let job = Job {
                name,
                every: &every,
                work,
                options,
            };
            let witness = rig.witness(&format!("{instance}-{name}"));
            scheduler.manifest(&format!("{name}.yaml"), &manifest("net", &witness, &[job]));
        }
        Stage {
            scheduler,
            proxy,
            jobs: parts
                .iter()
                .map(|(name, every_secs, _)| (*name, *every_secs))
                .collect(),
        }
    }

    /// Starts a watch and waits until every job is known; from then on every slot counts.
    fn watch(&self) -> (Watching, Timestamp) {
        let watching = self.scheduler.watch();
        wait_until("every job is known", || {
            self.scheduler.json(&["ls"]).len() == self.jobs.len()
        });
        (watching, Timestamp::now())
    }

    fn runs(&self, job: &str) -> Vec<Value> {
        self.scheduler.history_of(&format!("net.{job}"))
    }

    fn succeeded(&self, job: &str) -> usize {
        let runs = self.runs(job);
        runs.iter().filter(|run| run["outcome"] == "succeeded").count()
    }

    /// Lets `count` more runs of `work` succeed.
    #[track_caller]
    fn go_on(&self, count: usize) {
        let before = self.succeeded("work");
        wait_until("runs go on", || self.succeeded("work") >= before + count);
    }

    /// The faults end, everything due is settled, the watch is told to end, and the judge has his
    /// say: nothing doubled, lost, phantom, early or overlapping, no outcome without a true reason,
    /// no `unknown` at all, and no start request sent twice. Returns the verdict and the history.
    #[track_caller]
    fn judged(self, (watching, known_since): (Watching, Timestamp)) -> (Verdict, Vec<Value>) {
        self.proxy.lift();
        let until = Timestamp::now();
        wait_until("everything that was due is settled", || {
            let rows = self.scheduler.history();
            self.jobs.iter().all(|(name, every_secs)| {
                let of_job = |row: &&Value| row["job"] == format!("net.{name}");
                let newest = rows.iter().find(of_job).map_or(0, |row| second(&row["due_at"]));
                newest + every_secs > until.as_second()
            }) && rows
                .iter()
                .all(|row| row["outcome"] != "running" || second(&row["due_at"]) > until.as_second())
        });
        assert_eq!(watching.term(), 0, "log:\n{}", self.scheduler.log());
        wait_until("the last runs end", || {
            let containers = self.scheduler.containers();
            containers.iter().all(|container| container["State"] != "running")
        });
        let history = self.scheduler.history();
        let mut all = Verdict::default();
        for (name, every_secs) in &self.jobs {
            let trial = Trial {
                job: format!("net.{name}"),
                every_secs: *every_secs,
                exit_code: 0,
                known_since,
                until,
            };
            let witness = self
                .scheduler
                .rig
                .witness(&format!("{}-{name}", self.scheduler.instance));
            all.add(judge(&trial, &witness.lines(), &history, &Faults::default()));
        }
        for (path, requests) in self.proxy.starts() {
            if requests > 1 {
                all.wrong.push(format!("I2: {requests} start requests: {path}"));
            }
        }
        all.assert_right(0, &self.scheduler.log());
        // Shown when what follows fails.
        println!("{all}\n{}", self.scheduler.log());
        self.scheduler.ok(&["down"]);
        assert_eq!(self.scheduler.containers().len(), 0, "`down` leaves nothing");
        (all, history)
    }
}

fn second(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_default();
    text.parse::<Timestamp>().map_or(0, Timestamp::as_second)
}

fn is_create(request: &Request) -> bool {
    request.is("POST", "/containers/create")
}

fn is_start(request: &Request) -> bool {
    request.is("POST", "/start")
}

fn is_inspect(request: &Request) -> bool {
    request.is("GET", "/json")
        && request.path.starts_with("/containers/")
        && !request.is("GET", "/containers/json")
}

/// How often each container's creation was asked for, by name.
fn most_creates_of_a_name(proxy: &Proxy) -> usize {
    let creates: Vec<String> = proxy
        .seen()
        .into_iter()
        .filter(is_create)
        .map(|request| request.path)
        .collect();
    creates
        .iter()
        .map(|path| creates.iter().filter(|other| *other == path).count())
        .max()
        .unwrap_or(0)
}

/// Nothing but runs that succeeded, and slots of which a busy machine was too late, or which one of
/// the `others` explains.
#[track_caller]
fn assert_explained(history: &[Value], others: &[&str]) {
    const BUSY: [&str; 3] = [
        "previous run active since",
        "starting deadline passed",
        "superseded by the newer slot",
    ];
    for row in history {
        let outcome = row["outcome"].as_str().unwrap_or_default();
        let reason = row["reason"].as_str().unwrap_or_default();
        let explained = BUSY.iter().chain(others).any(|text| reason.starts_with(text));
        let fine = match outcome {
            "succeeded" | "running" => true,
            "skipped" | "missed" => explained,
            _ => false,
        };
        assert!(fine, "{row:#?}");
    }
}

/// Faults that hide a reply after the engine has done what was asked.
const HIDDEN: [Fault; 4] = [
    Fault::LoseReply,
    Fault::Truncate,
    Fault::Falsify,
    Fault::Duplicate,
];

#[test]
fn a_create_whose_reply_is_hidden_is_found_by_its_nonce() {
    let stage = Stage::new("net-create", 4, "sleep 0.2");
    let watch = stage.watch();
    for fault in HIDDEN {
        let planted = stage.proxy.plant(2, fault, is_create);
        wait_until("the fault strikes", || planted.hits() == 2);
        stage.go_on(1);
    }
    // What the engine made was taken for ours: it was asked once for each name.
    assert_eq!(most_creates_of_a_name(&stage.proxy), 1);
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[]);
}

#[test]
fn a_create_that_never_arrived_or_comes_late_is_made_again() {
    let stage = Stage::new("net-create-late", 4, "sleep 0.2");
    let watch = stage.watch();
    // Before and after the second one for the same name, and when its slot is long over.
    for fault in [
        Fault::LoseRequest,
        Fault::Late(Duration::from_millis(100)),
        Fault::Late(Duration::from_secs(1)),
        Fault::Late(Duration::from_secs(9)),
        Fault::DelayRequest(Duration::from_secs(2)),
        Fault::DelayReply(Duration::from_secs(2)),
    ] {
        let planted = stage.proxy.plant(1, fault, is_create);
        wait_until("the fault strikes", || planted.hits() == 1);
        stage.go_on(1);
    }
    stage.go_on(3);
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[]);
}

#[test]
fn a_start_whose_reply_is_hidden_is_seen_by_what_it_left() {
    let jobs = [("work", 4, "true"), ("long", 5, "sleep 8")];
    let stage = Stage::with_jobs("net-start", &jobs);
    let watch = stage.watch();
    for fault in [Fault::LoseReply, Fault::Truncate, Fault::Falsify] {
        let planted = stage.proxy.plant(3, fault, is_start);
        wait_until("the fault strikes", || planted.hits() == 3);
        stage.go_on(1);
    }
    // Repeated while the job runs, the request is answered with 304. Repeated after its end, the
    // engine would run the job again: against that no client can do anything.
    let is_long = about(&stage, "long");
    let planted = stage.proxy.plant(1, Fault::Duplicate, move |request| {
        is_start(request) && is_long(request)
    });
    wait_until("a request is repeated", || planted.hits() == 1);
    wait_until("long runs succeed", || stage.succeeded("long") >= 2);
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[]);
}

#[test]
fn a_start_that_never_arrived_is_proven_so_and_the_slot_still_runs() {
    let stage = Stage::new("net-start-lost", 20, "sleep 0.2");
    let watch = stage.watch();
    let planted = stage.proxy.plant(1, Fault::LoseRequest, is_start);
    wait_until("the fault strikes", || planted.hits() == 1);
    stage.go_on(1);
    let log = stage.scheduler.log();
    assert!(log.contains("never ran"), "{log}");
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[]);
    let late = history[history.len() - 1]["late_ms"].as_i64();
    assert!(
        late > Some(9_000),
        "the fence waited for a late start: {history:#?}"
    );
}

#[test]
fn a_start_that_comes_late_runs_once_or_finds_nothing() {
    let stage = Stage::new("net-start-late", 20, "sleep 0.2");
    let watch = stage.watch();
    // Within the time in which the fence still looks: it runs, and is seen.
    let planted = stage
        .proxy
        .plant(1, Fault::Late(Duration::from_secs(4)), is_start);
    wait_until("the fault strikes", || planted.hits() == 1);
    stage.go_on(1);
    // Later: its container is gone, and another one ran in its place.
    let planted = stage
        .proxy
        .plant(1, Fault::Late(Duration::from_secs(16)), is_start);
    wait_until("the fault strikes", || planted.hits() == 1);
    stage.go_on(1);
    std::thread::sleep(Duration::from_secs(8));
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[]);
}

/// The deadline of a start request is 30 s, and this is beyond it.
#[test]
fn a_start_that_hangs_holds_its_own_job_and_no_other() {
    let jobs = [("work", 4, "sleep 0.2"), ("held", 4, "sleep 0.2")];
    let stage = Stage::with_jobs("net-start-hang", &jobs);
    let watch = stage.watch();
    stage.go_on(1);
    let is_held = about(&stage, "held");
    let planted = stage.proxy.plant(1, Fault::Hang, move |request| {
        is_start(request) && is_held(request)
    });
    wait_until("the fault strikes", || planted.hits() == 1);
    let before = stage.succeeded("held");
    stage.go_on(3);
    wait_until("the held job goes on", || stage.succeeded("held") > before + 1);
    let (_, history) = stage.judged(watch);
    assert_explained(&history, HELD);
}

/// Whether a request is about one of the job's containers; the engine is asked past the proxy.
fn about(stage: &Stage, job: &'static str) -> impl Fn(&Request) -> bool + Send + Sync + 'static {
    let instance = stage.scheduler.instance.clone();
    move |request| {
        let Some(id) = request.path.strip_prefix("/containers/") else {
            return false;
        };
        let id = id.split(['/', '?']).next().unwrap_or_default();
        let (status, text) = Rig::shared().get(&format!("/containers/{id}/json"));
        let container: Value = serde_json::from_str(&text).unwrap_or_default();
        let labels = &container["Config"]["Labels"];
        status == 200
            && labels["docker-scheduler.job"] == job
            && labels["docker-scheduler.instance"] == *instance
    }
}

/// What may become of the slots of a job that is held up: it cannot be made ready.
const HELD: &[&str] = &["no container in time: the engine did not answer"];

#[test]
fn a_hanging_inspect_holds_its_own_job_and_no_other() {
    let jobs = [("work", 4, "sleep 0.2"), ("held", 4, "sleep 0.2")];
    let stage = Stage::with_jobs("net-inspect", &jobs);
    let watch = stage.watch();
    stage.go_on(1);
    let is_held = about(&stage, "held");
    let planted = stage.proxy.plant(ALWAYS, Fault::Hang, move |request| {
        is_inspect(request) && is_held(request)
    });
    wait_until("the fault strikes", || planted.hits() >= 1);
    let before = stage.succeeded("held");
    stage.go_on(3);
    assert!(stage.succeeded("held") <= before + 1, "it cannot be looked at");
    assert!(stage.proxy.open() < 20, "no pile-up: {}", stage.proxy.open());
    planted.lift();
    wait_until("the held job goes on", || stage.succeeded("held") > before + 1);
    let (_, history) = stage.judged(watch);
    assert_explained(&history, HELD);
}

#[test]
fn an_engine_that_hangs_with_its_socket_open_doubles_and_loses_nothing() {
    let jobs = [
        ("work", 2, "sleep 0.5"),
        ("other", 1, "true"),
        ("third", 3, "sleep 4"),
    ];
    let stage = Stage::with_jobs("net-freeze", &jobs);
    let mut watch = stage.watch();
    stage.go_on(2);
    for secs in [7, 25] {
        stage.proxy.freeze();
        std::thread::sleep(Duration::from_secs(secs));
        assert!(watch.0.runs(), "it waits for the engine");
        assert!(stage.proxy.open() < 40, "no pile-up: {}", stage.proxy.open());
        stage.proxy.thaw();
        stage.go_on(2);
    }
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[HELD, &["the engine was unreachable"]].concat());
    let unreachable = history
        .iter()
        .filter(|row| row["outcome"] == "missed" && row["reason"] == "the engine was unreachable")
        .count();
    assert!(unreachable > 3, "{history:#?}");
}

#[test]
fn events_that_are_cut_doubled_or_missing_change_no_outcome() {
    let stage = Stage::new("net-events", 3, "sleep 0.2");
    let is_events = |request: &Request| request.is("GET", "/events") && !request.path.contains("until");
    stage
        .proxy
        .plant(4, Fault::CutAfter(Duration::from_millis(700)), is_events);
    let echo = stage.proxy.plant(1, Fault::Echo, is_events);
    let watch = stage.watch();
    wait_until("events come twice", || echo.hits() == 1);
    stage.go_on(3);
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[]);

    let stage = Stage::new("net-no-events", 3, "sleep 0.2");
    stage.proxy.plant(ALWAYS, Fault::Hang, is_events);
    let watch = stage.watch();
    stage.go_on(3);
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[]);
}

#[test]
fn a_mark_or_a_removal_whose_reply_is_hidden_costs_no_run() {
    let part = [("work", 4, "sleep 0.2")];
    let stage = Stage::with_options("net-remove", &part, "history: {succeeded: 0, failed: 0}");
    let watch = stage.watch();
    for fault in [
        Fault::LoseReply,
        Fault::Truncate,
        Fault::Falsify,
        Fault::Duplicate,
        Fault::LoseRequest,
    ] {
        let removals = stage.proxy.plant(2, fault, |request| request.method == "DELETE");
        let marks = stage
            .proxy
            .plant(1, fault, |request| request.is("POST", "/update"));
        wait_until("the faults strike", || (removals.hits(), marks.hits()) == (2, 1));
        stage.go_on(1);
    }
    wait_until("what ended is pruned", || {
        stage.scheduler.containers_of("work", "exited").len() <= 1
    });
    let (_, history) = stage.judged(watch);
    assert_explained(&history, HELD);
}

#[test]
fn logs_that_cannot_be_copied_change_no_outcome() {
    let stage = Stage::new("net-logs", 4, "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done");
    let watch = stage.watch();
    for fault in [Fault::LoseReply, Fault::Truncate, Fault::Falsify] {
        let planted = stage.proxy.plant(1, fault, |request| request.is("GET", "/logs"));
        wait_until("the fault strikes", || planted.hits() == 1);
        stage.go_on(1);
    }
    let log = stage.scheduler.log();
    let newest = stage
        .runs("work")
        .into_iter()
        .find(|run| run["outcome"] == "succeeded");
    let name = newest.expect("one succeeded")["run"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        stage.scheduler.ok(&["logs", &name]).ends_with("line 9\n"),
        "{log}"
    );
    let (_, history) = stage.judged(watch);
    assert_explained(&history, &[]);
}

/// The scheduler is killed with its start request under way, at each place where that can be, and
/// another one finds out what became of it.
#[test]
fn a_scheduler_killed_around_its_start_request_is_followed_by_one_that_knows() {
    let stage = Stage::new("net-killed", 20, "sleep 0.2");
    let (mut watching, known_since) = stage.watch();
    for fault in [
        // Done, and the reply never read; on its way, and arriving while the next one looks; arriving
        // when it has looked; never sent.
        Fault::LoseReply,
        Fault::Late(Duration::from_secs(3)),
        Fault::Late(Duration::from_secs(16)),
        Fault::LoseRequest,
    ] {
        let planted = stage.proxy.plant(1, fault, is_start);
        wait_until("the fault strikes", || planted.hits() == 1);
        watching.kill9();
        watching = stage.scheduler.watch();
        stage.go_on(1);
    }
    let (verdict, history) = stage.judged((watching, known_since));
    assert_explained(&history, &[]);
    let ran = stage_lines("net-killed-work");
    assert_eq!(ran, verdict.runs, "as often as the history says");
}

/// The kinds of request that a slot takes from its arming to its pruning.
const POINTS: [(&str, &str); 8] = [
    ("POST", "/volumes/create"),
    ("POST", "/containers/create"),
    ("HEAD", "/archive"),
    ("POST", "/update"),
    ("POST", "/start"),
    ("GET", "/logs"),
    ("DELETE", ""),
    ("GET", "/containers/json"),
];

/// The power switch of `crash` on the real program, by sampling: it is killed just before and just after a
/// request of each kind reaches the engine, and in the middle of the ledger's writes. `CHAOS_SEED`
/// repeats the order and the moments.
#[test]
fn the_real_program_is_killed_at_requests_and_writes() {
    let seed = number_from("CHAOS_SEED").unwrap_or_else(|| Timestamp::now().as_second().unsigned_abs());
    println!("CHAOS_SEED={seed}");
    let mut random = Random(seed);
    let stage = Stage::with_options(
        "net-points",
        &[("work", 4, "sleep 0.2")],
        "history: {succeeded: 1, failed: 1}",
    );
    let (mut watching, known_since) = stage.watch();
    for (method, path) in POINTS {
        let delivered = random.below(2) == 0;
        let fault = if delivered {
            Fault::LoseReply
        } else {
            Fault::LoseRequest
        };
        let pid = watching.pid();
        let planted = stage.proxy.plant(1, fault, move |request| {
            let strikes = request.is(method, path) || (path.is_empty() && request.method == method);
            if strikes {
                send(pid, "KILL");
            }
            strikes
        });
        println!("killed at {method} {path}, delivered: {delivered}");
        wait_until("the switch is thrown", || planted.hits() == 1);
        watching.kill9();
        watching = stage.scheduler.watch();
        stage.go_on(1);
    }
    let wal = stage.scheduler.ledger().join("ledger.db-wal");
    let written = || std::fs::metadata(&wal).and_then(|wal| wal.modified()).ok();
    for _ in 0..6 {
        for _ in 0..=random.below(12) {
            let before = written();
            let end = Instant::now() + PATIENCE;
            while written() == before && Instant::now() < end {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        watching.kill9();
        watching = stage.scheduler.watch();
        stage.go_on(1);
    }
    let (verdict, history) = stage.judged((watching, known_since));
    assert_explained(&history, &["the scheduler was down"]);
    assert_eq!(
        stage_lines("net-points-work"),
        verdict.runs,
        "as often as the history says"
    );
}

fn stage_lines(witness: &str) -> u64 {
    let lines = Rig::shared().witness(witness).lines();
    lines.iter().filter(|line| line.phase == Phase::Begin).count() as u64
}
