//! Random worlds of a Swarm from a seed: two or three schedulers side by side, each with a ledger of its
//! own, managers that answer 500 or nothing whether or not they did what was asked, nodes that are lost,
//! schedulers that are killed. The invariants judge, by what the runs themselves wrote down.
//!
//! `SIMULATE_SEEDS=500 cargo test --test it scenario::beside` runs more of them, `SIMULATE_SEED=17` that one
//! alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use docker_scheduler::apply::claim::{claim, note_downtime};
use docker_scheduler::apply::{self, Context, StreamWitness};
use docker_scheduler::clock::{Clock, ManualClock};
use docker_scheduler::engine::sim::{Fault, RequestKind, SimEngine, SimImage, Verdict, Witness};
use docker_scheduler::event::Event;
use docker_scheduler::ledger::point::Side;
use docker_scheduler::ledger::{HistoryQuery, Ledger};
use docker_scheduler::model::{Concurrency, Desired, Instance, Outcome, Owner, Policy, Run};
use docker_scheduler::observe::Circumstances;
use jiff::SignedDuration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::check::Checks;
use super::declare;
use super::simulate::{Random, Told, over_seeds};
use super::world::{breathe, make_plan, state_dir};

const SEEDS: u64 = 8;
const STEPS: u32 = 24;
const LOOK: Duration = Duration::from_secs(2);

/// Longer than any run, deadline and hold, and than a lock that was left behind.
const PEACE: Duration = Duration::from_secs(3 * 60);

/// Longer than a run, its attempts' pauses and the looks of all.
const SETTLED: SignedDuration = SignedDuration::from_secs(70);

const BEGIN: &str = "2026-11-23T01:59:00Z";

#[test]
fn schedulers_side_by_side_keep_the_invariants() {
    over_seeds(SEEDS, simulate);
}

fn simulate(seed: u64, told: Told) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut world = Beside::new(seed, told);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.peace().await
    })
}

/// One scheduler, which may have many lives.
struct Scheduler {
    number: u32,
    state: tempfile::TempDir,
    checks: Arc<Mutex<Checks>>,
    /// `None`: it is down.
    life: Option<JoinHandle<()>>,
    context: Option<Arc<Context>>,
}

/// What a killed process unwinds with.
struct Killed;

/// Which scheduler is to be killed where.
#[derive(Default)]
struct Power {
    off: Option<(u32, Place)>,
    /// It hangs in a request that nobody waits for any more.
    hangs: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// After so many requests more, and whether the last one still arrives.
    Request(u64, bool),
    Write(u64, Side),
}

impl Power {
    /// Whether that scheduler is killed at its next request; with it, whether the request arrives.
    fn at_request(&mut self, number: u32) -> Option<bool> {
        let (whose, Place::Request(left, delivered)) = self.off.as_mut()? else {
            return None;
        };
        if *whose != number {
            return None;
        }
        if *left > 0 {
            *left -= 1;
            return None;
        }
        let delivered = *delivered;
        (self.off, self.hangs) = (None, Some(number));
        Some(delivered)
    }

    fn at_write(&mut self, number: u32, side: Side) -> bool {
        let Some((whose, Place::Write(left, at))) = self.off.as_mut() else {
            return false;
        };
        if *whose != number || *at != side {
            return false;
        }
        if *left > 0 {
            *left -= 1;
            return false;
        }
        self.off = None;
        true
    }
}

struct Beside {
    power: Arc<Mutex<Power>>,
    clock: ManualClock,
    engine: SimEngine,
    desired: Arc<Mutex<Desired>>,
    schedulers: Vec<Scheduler>,
    random: Random,
    told: Told,
    lives: u32,
    lost: Vec<String>,
}

impl Beside {
    fn new(seed: u64, told: Told) -> Beside {
        let mut random = Random::new(seed);
        let clock = ManualClock::new(BEGIN.parse().unwrap());
        let (wall, running) = (clock.clone(), clock.clone());
        let engine = SimEngine::with_clocks(move || wall.now(), move || running.monotonic());
        let (next, tick) = (engine.clone(), engine.clone());
        clock.follow(move || next.next_change(), move || tick.tick());
        engine.add_image(&"busybox:1".parse().unwrap(), SimImage::default());
        let mut desired = Desired::default();
        if random.one_in(2) {
            desired.caps.running = Some(2);
        }
        let count = if random.one_in(3) { 3 } else { 2 };
        let schedulers = (0..count).map(|number| Scheduler {
            number,
            state: state_dir(),
            checks: Arc::new(Mutex::new(Checks::new(engine.clone(), clock.clone()))),
            life: None,
            context: None,
        });
        let schedulers: Vec<_> = schedulers.collect();
        let power = Arc::new(Mutex::new(Power::default()));
        let mut world = Beside {
            power: power.clone(),
            clock,
            engine,
            desired: Arc::new(Mutex::new(desired)),
            schedulers,
            random,
            told,
            lives: 0,
            lost: Vec::new(),
        };
        let checks: Vec<_> = world.schedulers.iter().map(|one| one.checks.clone()).collect();
        let mut delays = Random::new(seed ^ 0x5eed);
        world.engine.on_request(Box::new(move |request| {
            // I12 is every scheduler's own: what it removes, its own ledger knows.
            if request.client > 0 && request.kind == RequestKind::Remove {
                let whose = usize::try_from(request.client - 1).unwrap() % checks.len();
                checks[whose].lock().unwrap().on_request(request);
            }
            if request.client > 0 {
                let mut power = power.lock().unwrap();
                if power.hangs == Some(request.client - 1) {
                    return Verdict::CallerDies { delivered: false };
                }
                if let Some(delivered) = power.at_request(request.client - 1) {
                    return Verdict::CallerDies { delivered };
                }
            }
            // Else what one of them asks for would be done before another can ask at all.
            let races = matches!(
                request.kind,
                RequestKind::Create | RequestKind::Decide | RequestKind::List
            );
            match races && request.client > 0 && delays.one_in(3) {
                true => Verdict::Slow {
                    before: Duration::from_millis(delays.below(400)),
                    after: Duration::from_millis(delays.below(400)),
                },
                false => Verdict::Pass,
            }
        }));
        for name in ["shop.a", "shop.b", "shop.c"] {
            world.declare(name);
        }
        world
    }

    fn say(&self, what: impl std::fmt::Display) {
        self.told
            .lock()
            .unwrap()
            .push(format!("{}  {what}", self.clock.now()));
    }

    async fn step(&mut self) {
        match self.random.below(20) {
            0..=10 => {
                let how_long = self.random.secs(1, 45);
                self.watch(how_long).await;
            }
            11..=14 => self.fault(),
            15 => {
                let from = self.clock.now();
                let to = from + self.random.secs(2, 40);
                self.say(format!("quorum lost until {to}"));
                self.engine.inject(Fault::Away { from, to });
            }
            16..=17 => self.node(),
            _ => {
                let which = usize::try_from(self.random.below(self.schedulers.len() as u64)).unwrap();
                let place = match self.random.below(3) {
                    0 => None,
                    1 => Some(Place::Request(self.random.below(30), self.random.one_in(2))),
                    _ => {
                        let side = self.random.pick(&[Side::Before, Side::After]);
                        Some(Place::Write(self.random.below(20), side))
                    }
                };
                self.say(format!("scheduler {which} is killed at {place:?}"));
                if let Some(place) = place {
                    let number = self.schedulers[which].number;
                    self.power.lock().unwrap().off = Some((number, place));
                    let how_long = self.random.secs(5, 40);
                    self.watch(how_long).await;
                    self.power.lock().unwrap().off = None;
                }
                self.schedulers[which].kill();
                let how_long = self.random.secs(1, 90);
                self.watch_others(which, how_long).await;
            }
        }
    }

    /// Once: what may run beside what is the same all along.
    fn declare(&mut self, name: &str) {
        let random = &mut self.random;
        let schedule = random.pick(&["every=10s", "every=15s", "every=45s", "cron=* * * * *"]);
        let command = random.pick(&[
            "command=true",
            "command=sleep 3",
            "command=sleep 25",
            "command=exit 3",
        ]);
        let policy = random.pick(&[
            "concurrency=forbid",
            "concurrency=queue",
            "concurrency=replace",
            "concurrency=allow",
        ]);
        let mut keys = vec![schedule, command, policy, "hold=1m"];
        for (times, key) in [
            (3, "timeout=8s"),
            (4, "missed=skip"),
            (5, "deadline=20s"),
            (2, "history=1,1"),
            (2, "retries=2"),
            (3, "backoff=4s,20s"),
            (3, "group=few"),
            (3, "node-loss=rerun"),
        ] {
            if random.one_in(times) {
                keys.push(key);
            }
        }
        self.say(format!("job {name} {}", keys.join(" ")));
        let mut desired = self.desired.lock().unwrap();
        declare::job(&mut desired, name, &keys);
        desired.caps.groups.insert("few".to_owned(), 1);
    }

    fn fault(&mut self) {
        let kind = self.random.pick(&[
            RequestKind::Create,
            RequestKind::Decide,
            RequestKind::Decide,
            RequestKind::Stop,
            RequestKind::Remove,
            RequestKind::List,
            RequestKind::Inspect,
            RequestKind::Logs,
        ]);
        let nth = u32::try_from(1 + self.random.below(4)).unwrap();
        let (status, message) = (500, "rpc error: code = Unavailable".to_owned());
        let verdict = match self.random.below(7) {
            0 => Verdict::DropReply,
            1 => Verdict::NeverSent,
            2 => Verdict::Delay(self.random.secs(1, 60)),
            3 => Verdict::Refuse { status, message },
            4 => Verdict::RefuseDone { status, message },
            5 => Verdict::Hang(self.random.secs(1, 5)),
            _ => {
                let until = self.clock.now() + self.random.secs(1, 20);
                self.say(format!("lists are stale until {until}"));
                self.engine.inject(Fault::StaleLists { until });
                return;
            }
        };
        self.say(format!("{nth}. {} {verdict:?}", kind.as_str()));
        self.engine.inject(Fault::Nth { kind, nth, verdict });
    }

    fn node(&mut self) {
        let nodes = self.engine.nodes();
        if let Some(back) = self.lost.pop() {
            self.say(format!("node {back} is back"));
            return self.engine.return_node(&back);
        }
        let node = nodes[usize::try_from(self.random.below(3)).unwrap()].clone();
        let off = self.random.one_in(2);
        self.say(format!("node {node} is lost, power off: {off}"));
        self.engine.lose_node(&node, off);
        self.lost.push(node);
    }

    async fn watch(&mut self, how_long: Duration) {
        self.watch_others(usize::MAX, how_long).await;
    }

    /// Lets time pass under all schedulers, but one.
    async fn watch_others(&mut self, down: usize, how_long: Duration) {
        self.say(format!("watch {how_long:?}"));
        for at in 0..self.schedulers.len() {
            let ended = self.schedulers[at]
                .life
                .as_ref()
                .is_none_or(JoinHandle::is_finished);
            if at != down && ended {
                self.lives += 1;
                let life = self.lives;
                let (clock, engine) = (self.clock.clone(), self.engine.clone());
                let (desired, told) = (self.desired.clone(), self.told.clone());
                self.schedulers[at].start(life, &clock, &engine, desired, told, self.power.clone());
            }
        }
        let end = self.clock.monotonic() + how_long;
        loop {
            breathe().await;
            if let Some(number) = self.power.lock().unwrap().hangs.take() {
                self.schedulers[usize::try_from(number).unwrap()].kill();
            }
            let left = end.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                break;
            }
            let step = self.clock.next_wake().unwrap_or(left).min(left);
            self.clock.pass(step).await;
        }
        for scheduler in &mut self.schedulers {
            // A panic of a scheduler is its own failure.
            if scheduler.life.as_ref().is_some_and(JoinHandle::is_finished)
                && let Some(life) = scheduler.life.take()
                && let Err(error) = life.await
                && error.is_panic()
            {
                let panic = error.into_panic();
                if !panic.is::<Killed>() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    async fn peace(&mut self) -> Vec<String> {
        self.say("peace");
        self.engine.heal();
        for node in self.engine.nodes() {
            self.engine.return_node(&node);
        }
        self.watch(PEACE).await;
        // Between two slots.
        let past = self
            .clock
            .now()
            .duration_since(BEGIN.parse().unwrap())
            .as_millis()
            % 1_000;
        self.watch(Duration::from_millis(1_700 - u64::try_from(past).unwrap()))
            .await;
        let now = self.clock.now();
        let mut found = Vec::new();
        let mut ends: Vec<Ends> = Vec::new();
        for scheduler in &mut self.schedulers {
            let context = scheduler.context.clone().expect("it lives");
            let number = scheduler.number;
            let mut checks = scheduler.checks.lock().unwrap();
            // A run that goes on may hold up the newest slot of its job.
            let desired = self.desired.lock().unwrap().clone();
            checks.waiting = desired.jobs.keys().cloned().collect();
            found.extend(
                checks
                    .violations(now)
                    .into_iter()
                    .map(|what| format!("scheduler {number}: {what}")),
            );
            let runs = context.ledger.history(&HistoryQuery::default()).unwrap();
            for run in runs.iter().filter(|run| run.outcome.is_none()) {
                let age = now.duration_since(run.due_at);
                if age > SignedDuration::from_secs(200) {
                    found.push(format!(
                        "I20: scheduler {number}: {} has no outcome for {age:?}",
                        run.id
                    ));
                }
            }
            // What has just ended the others may not have looked at.
            let settled = |run: &&Run| run.due_at < now - SETTLED;
            let told = |run: &Run| Some((run.id.to_string(), (run.outcome?, run.reason.clone())));
            ends.push(Ends {
                settled: runs.iter().filter(settled).filter_map(told).collect(),
                all: runs.iter().filter_map(told).collect(),
            });
        }
        found.extend(disagreements(&ends));
        found.extend(overlaps(
            &self.engine.witness(),
            &self.desired.lock().unwrap(),
            &self.schedulers,
        ));
        found
    }
}

/// What one scheduler's ledger says of runs that have ended, by their names.
struct Ends {
    /// Those that were due some time ago, by its own record; another one's may differ by a second.
    settled: BTreeMap<String, (Outcome, String)>,
    all: BTreeMap<String, (Outcome, String)>,
}

/// What ran is recorded by all, with the same end.
fn disagreements(ends: &[Ends]) -> Vec<String> {
    let certain = |outcome| matches!(outcome, Outcome::Succeeded | Outcome::Failed | Outcome::TimedOut);
    let mut found = Vec::new();
    for mine in ends {
        let certain = mine.settled.iter().filter(|(_, (outcome, _))| certain(*outcome));
        for (run, end) in certain {
            for theirs in ends {
                match theirs.all.get(run) {
                    Some(same) if same == end => {}
                    other => found.push(format!("side by side: {run} is {end:?} here and {other:?} there")),
                }
            }
        }
    }
    found
}

/// I8 and the limits, by the witness: at each begin, what else of its kind was under way. What was lost
/// with its node is beside nothing: nobody knows of it, and its hold ends while it may go on.
fn overlaps(witness: &[Witness], desired: &Desired, schedulers: &[Scheduler]) -> Vec<String> {
    let mut of_unknown = Vec::new();
    for scheduler in schedulers {
        let context = scheduler.context.as_ref().expect("it lives");
        for run in context.ledger.history(&HistoryQuery::default()).unwrap() {
            if run.outcome == Some(Outcome::Unknown) {
                of_unknown.extend(run.container);
            }
        }
    }
    let counted = witness
        .iter()
        .filter(|line| !of_unknown.contains(&line.container));
    let counted: Vec<(&Witness, &Policy)> = counted
        .map(|line| (line, &desired.jobs[&line.job.parse().unwrap()].policy))
        .collect();
    let mut found = Vec::new();
    for (line, policy) in &counted {
        let beside: Vec<_> = counted
            .iter()
            .filter(|(other, _)| other.container != line.container && other.started_at <= line.started_at)
            .filter(|(other, _)| other.ended_at.is_none_or(|end| end > line.started_at))
            .collect();
        let mut judge = |rule: &str, limit: usize, counts: &dyn Fn(&Witness, &Policy) -> bool| {
            let others = beside.iter().filter(|(other, policy)| counts(other, policy));
            let others: Vec<&str> = others.map(|(other, _)| other.container.as_str()).collect();
            if others.len() >= limit {
                found.push(format!(
                    "{rule}: {} at {} beside {others:?}",
                    line.container, line.started_at
                ));
            }
        };
        if policy.concurrency != Concurrency::Allow {
            judge("I8", 1, &|other, _| other.job == line.job);
        }
        for cap in desired.caps.of(policy.group.as_deref()) {
            let counts = |_: &Witness, other: &Policy| cap.group.is_none() || other.group == cap.group;
            judge(&format!("limits, {cap}"), cap.limit as usize, &counts);
        }
    }
    found
}

impl Scheduler {
    fn kill(&mut self) {
        if let Some(life) = self.life.take() {
            life.abort();
        }
    }

    fn start(
        &mut self,
        life: u32,
        clock: &ManualClock,
        engine: &SimEngine,
        desired: Arc<Mutex<Desired>>,
        told: Told,
        power: Arc<Mutex<Power>>,
    ) {
        // So that whose request it is can be told: clients count from 1.
        let client = 1 + self.number;
        let engine = engine.client(client).swarm();
        let ledger = Arc::new(Ledger::open(&self.state.path().join("a")).unwrap());
        self.checks.lock().unwrap().use_ledger(&ledger, false);
        let number = self.number;
        ledger.on_write(Box::new(move |_, side| {
            // Not under the lock: whoever unwinds leaves it behind.
            let dies = power.lock().unwrap().at_write(number, side);
            if dies {
                std::panic::resume_unwind(Box::new(Killed));
            }
        }));
        let context = Arc::new(Context {
            engine: Arc::new(engine.clone()),
            ledger: ledger.clone(),
            instance: Instance::default(),
            clock: Arc::new(clock.clone()),
            owner: Owner {
                boot_id: apply::owner::boot_id(),
                pid: (1 << 30) + life,
                pid_started: 1,
            },
            report: Box::new(move |event: Event| {
                let job = event.job.map(|job| job.to_string()).unwrap_or_default();
                let line = format!("    {} [{number}] {job} {}", event.at, event.what);
                told.lock().unwrap().push(line);
            }),
            starts: Semaphore::new(4),
            stream: StreamWitness::default(),
        });
        self.context = Some(context.clone());
        let checks = self.checks.clone();
        // Not all at the same instant.
        let offset = Duration::from_millis(137 * u64::from(number));
        self.life = Some(tokio::spawn(async move {
            context.clock.sleep(offset).await;
            while claim(context.engine.as_ref(), &ledger, &context.instance, false)
                .await
                .is_err()
            {
                context.clock.sleep(LOOK).await;
            }
            note_downtime(&ledger, context.clock.now()).unwrap();
            let up_since = context.clock.now();
            loop {
                let desired = desired.lock().unwrap().clone();
                let circumstances = Circumstances {
                    up_since,
                    ..Circumstances::default()
                };
                let at = context.clock.now();
                if let Ok(plan) = make_plan(&context, &desired, &circumstances).await {
                    // Each lane by itself, as `watch` has it; what one cannot do now it does later.
                    if apply::write(&context, &plan).is_ok() {
                        let lanes = apply::lanes(&plan).into_values();
                        let work = lanes.map(|steps| apply::carry_out(&context, steps));
                        futures_util::future::join_all(work).await;
                    }
                    checks.lock().unwrap().after_pass(at);
                }
                ledger.heartbeat(context.clock.now()).unwrap();
                context.clock.sleep(LOOK).await;
            }
        }));
    }
}
