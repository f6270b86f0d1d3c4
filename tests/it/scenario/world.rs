//! A world in a test: a simulated engine, a clock that moves when told to, and one scheduler
//! process at a time over the real observe, plan, apply and ledger.
//!
//! It decides nothing that the scheduler decides. What `watch` does beside planning and applying
//! (heartbeats, gaps, the event stream, the lanes) is done here in the plainest way, and without
//! its safety net: nothing is looked at again just because time has passed, so that a wake that the
//! planner forgot shows as a late start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use docker_scheduler::apply::claim::{ClaimError, claim, note_downtime};
use docker_scheduler::apply::{self, ApplyError, Context, LaneReport, StreamWitness, carry_out, lanes};
use docker_scheduler::clock::{Clock, ManualClock};
use docker_scheduler::engine::sim::{Request, RequestKind, SimEngine, Verdict};
use docker_scheduler::engine::{EngineError, SharedEngine};
use docker_scheduler::event::Event;
use docker_scheduler::ledger::Ledger;
use docker_scheduler::ledger::point::{Side, Write};
use docker_scheduler::model::{
    Concurrency, Desired, Gap, GapKind, Instance, JobName, LABEL_INSTANCE, Lane, Owner, Pause, RunId,
    RunTrigger,
};
use docker_scheduler::observe::{Circumstances, ObserveError, facts, observe};
use docker_scheduler::plan::{self, Plan};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::check::Checks;

/// A pid that no machine gives out (Linux ends at 2^22): the owner of an intent looks dead as soon
/// as its simulated process is.
const FIRST_PID: u32 = 1 << 30;

/// Passes at one instant that count as running hot.
const HOT: u32 = 50;

/// Rounds of the runtime's queue after which everything that can run has run.
const BREATHS: u32 = 64;

/// How long after a step that achieved nothing the next look comes at first; twice as long after
/// each further one.
const TICK: Duration = Duration::from_secs(1);
const LONGEST_TICK: Duration = Duration::from_secs(30);

/// Steps that one command may take before it counts as stuck.
const PATIENCE: u32 = 200_000;

pub struct World {
    pub clock: ManualClock,
    pub engine: SimEngine,
    pub desired: Desired,
    pub clock_suspect: bool,
    pub events: Arc<Mutex<Vec<Event>>>,
    pub checks: Arc<Mutex<Checks>>,
    pub process: Option<Process>,
    kill: Arc<Mutex<Kill>>,
    /// A scheduler that is killed under a watch comes back after that long; `None`: it stays away.
    pub comes_back: Option<Duration>,
    /// Whether the engine is met as a Swarm.
    pub as_swarm: Arc<AtomicBool>,
    state: tempfile::TempDir,
    /// Which folder under `state` is the ledger's.
    ledger_name: String,
    processes: u32,
}

/// One life of the scheduler.
pub struct Process {
    pub context: Arc<Context>,
    up_since: Timestamp,
    listener: JoinHandle<()>,
    lanes: BTreeMap<(JobName, Lane), JoinHandle<LaneReport>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.listener.abort();
        self.lanes.values().for_each(JoinHandle::abort);
    }
}

/// Where a process can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    Ledger(Write),
    Engine(RequestKind),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Ledger(write) => write!(f, "ledger {}", write.as_str()),
            Point::Engine(kind) => write!(f, "engine {}", kind.as_str()),
        }
    }
}

/// Where the scheduler is to be killed, and where it was.
#[derive(Default)]
struct Kill {
    /// The kind, whether the request is delivered, and how many of them come before.
    at: Option<(RequestKind, bool, u32)>,
    /// The same among all points, counted from 0 over all lives.
    at_point: Option<(usize, Side)>,
    /// Every point that was come to.
    passed: Vec<Point>,
    /// The number of the process that lives.
    lives: Option<u32>,
    happened: Option<String>,
}

/// What a killed process unwinds with: no message, no trace.
struct Killed;

/// Why there is no scheduler.
#[derive(Debug)]
pub enum NotStarted {
    Refused(ClaimError),
    Killed(String),
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotStarted::Refused(why) => why.fmt(f),
            NotStarted::Killed(at) => write!(f, "killed {at}"),
        }
    }
}

/// What keeps a pass from being made.
#[derive(Debug)]
pub enum Trouble {
    Killed(String),
    Observe(String),
    Apply(String),
}

impl World {
    pub fn new(at: Timestamp) -> World {
        let clock = ManualClock::new(at);
        let (wall, running) = (clock.clone(), clock.clone());
        let engine = SimEngine::with_clocks(move || wall.now(), move || running.monotonic());
        let (next, tick) = (engine.clone(), engine.clone());
        clock.follow(move || next.next_change(), move || tick.tick());
        let checks = Arc::new(Mutex::new(Checks::new(engine.clone(), clock.clone())));
        let kill = Arc::new(Mutex::new(Kill::default()));
        let (watching, killing) = (checks.clone(), kill.clone());
        let as_swarm = Arc::new(AtomicBool::new(false));
        let is_swarm = as_swarm.clone();
        engine.on_request(Box::new(move |request| {
            // Making a service is starting it, and what else is asked for may be another scheduler's.
            if !is_swarm.load(Ordering::Relaxed) || request.kind == RequestKind::Remove {
                watching.lock().unwrap().on_request(request);
            }
            killing.lock().unwrap().verdict(request)
        }));
        World {
            clock,
            engine,
            desired: Desired::default(),
            clock_suspect: false,
            events: Arc::default(),
            checks,
            process: None,
            kill,
            comes_back: None,
            as_swarm,
            state: state_dir(),
            ledger_name: "a".to_owned(),
            processes: 0,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn ledger(&self) -> Option<&Ledger> {
        self.process
            .as_ref()
            .map(|process| process.context.ledger.as_ref())
    }

    /// A person's word, from another process. `false`: the ledger does not know the job.
    pub fn pause(&self, job: &JobName, pause: &Pause) -> bool {
        let ledger = Ledger::open(&self.state_dir()).unwrap();
        let known = ledger.jobs().unwrap().contains_key(job);
        if known {
            ledger.pause(job, pause).unwrap();
            self.checks.lock().unwrap().paused(job, pause);
        }
        known
    }

    pub fn resume(&self, job: &JobName) -> bool {
        let ledger = Ledger::open(&self.state_dir()).unwrap();
        self.checks.lock().unwrap().resumed(job, self.now());
        ledger.resume(job, self.now()).unwrap()
    }

    fn state_dir(&self) -> PathBuf {
        self.state.path().join(&self.ledger_name)
    }

    // ---- the scheduler's life ----

    /// Ends the scheduler in the middle of whatever it does.
    pub fn end_process(&mut self) {
        self.process = None;
    }

    pub fn use_ledger(&mut self, name: &str) {
        self.end_process();
        name.clone_into(&mut self.ledger_name);
    }

    /// The scheduler is killed at the request of that kind that comes after `skip` others.
    pub fn kill_at(&mut self, kind: RequestKind, delivered: bool, skip: u32) {
        self.kill.lock().unwrap().at = Some((kind, delivered, skip));
    }

    /// The scheduler is killed at the point with that number, counted from 0 over all lives.
    pub fn kill_at_point(&mut self, number: usize, side: Side) {
        self.kill.lock().unwrap().at_point = Some((number, side));
    }

    /// Every point that a scheduler has come to.
    pub fn points(&self) -> Vec<Point> {
        self.kill.lock().unwrap().passed.clone()
    }

    /// The scheduler is not to be killed any more.
    pub fn forget_kill(&mut self) {
        let mut kill = self.kill.lock().unwrap();
        (kill.at, kill.at_point, kill.happened) = (None, None, None);
    }

    /// Starts the scheduler when it does not run.
    pub async fn start_process(&mut self, take_over: bool) -> Result<(), NotStarted> {
        loop {
            match (self.try_start(take_over).await, self.comes_back) {
                (Err(NotStarted::Killed(_)), Some(pause)) => self.clock.pass(pause).await,
                (started, _) => return started,
            }
        }
    }

    async fn try_start(&mut self, take_over: bool) -> Result<(), NotStarted> {
        if self.process.is_some() {
            return Ok(());
        }
        let ledger = Ledger::open(&self.state_dir()).map_err(|error| NotStarted::Refused(error.into()))?;
        let ledger = Arc::new(ledger);
        self.checks.lock().unwrap().use_ledger(&ledger, take_over);
        self.processes += 1;
        let number = self.processes;
        self.kill.lock().unwrap().lives = Some(number);
        let kill = self.kill.clone();
        ledger.on_write(Box::new(move |write, side| {
            // Not under the lock: whoever unwinds leaves it behind.
            let dies = kill.lock().unwrap().at_write(number, write, side);
            if dies {
                resume_unwind(Box::new(Killed));
            }
        }));
        let engine: SharedEngine = match self.as_swarm.load(Ordering::Relaxed) {
            true => Arc::new(self.engine.client(number).swarm()),
            false => Arc::new(self.engine.client(number)),
        };
        let (claiming, claimed, clock) = (engine.clone(), ledger.clone(), self.clock.clone());
        let task = tokio::spawn(async move {
            claim(claiming.as_ref(), &claimed, &Instance::default(), take_over).await?;
            Ok::<_, ClaimError>(note_downtime(&claimed, clock.now())?)
        });
        match self.drive(task).await {
            Ok(claimed) => claimed.map_err(NotStarted::Refused)?,
            Err(Trouble::Killed(at) | Trouble::Observe(at) | Trouble::Apply(at)) => {
                return Err(NotStarted::Killed(at));
            }
        }
        let now = self.now();
        let events = self.events.clone();
        let context = Arc::new(Context {
            engine,
            ledger,
            instance: Instance::default(),
            clock: Arc::new(self.clock.clone()),
            owner: Owner {
                boot_id: apply::owner::boot_id(),
                pid: FIRST_PID + self.processes,
                pid_started: 1,
            },
            report: Box::new(move |event| events.lock().unwrap().push(event)),
            starts: Semaphore::new(4),
            stream: StreamWitness::default(),
        });
        let listener = tokio::spawn(listen(context.clone()));
        self.process = Some(Process {
            context,
            up_since: now,
            listener,
            lanes: BTreeMap::new(),
        });
        breathe().await;
        Ok(())
    }

    /// Slots up to now were not watched, for that reason.
    pub fn missed_time(&mut self, from: Timestamp, kind: GapKind) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        process.up_since = now;
        let ledger = process.context.ledger.clone();
        // One that is killed here finds no gap when it is back: it then was down, which is one, too.
        let _ = self.in_process(|| ledger.note_gap(Gap { from, to: now, kind }).unwrap());
    }

    /// Work of the scheduler's own that is not a task.
    fn in_process<T>(&mut self, work: impl FnOnce() -> T) -> Result<T, Trouble> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => Ok(done),
            Err(panic) if panic.is::<Killed>() => {
                self.look_for_kill()?;
                unreachable!("a process is killed once")
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    // ---- observe, plan, apply ----

    /// What would be done now.
    pub async fn plan(&mut self) -> Result<Plan, Trouble> {
        self.look_for_kill()?;
        self.collect_lanes().await;
        let Some(process) = &self.process else {
            return Err(Trouble::Observe("no scheduler".to_owned()));
        };
        let busy: BTreeSet<_> = process.lanes.keys().cloned().collect();
        let circumstances = Circumstances {
            up_since: process.up_since,
            gaps: Vec::new(),
            clock_suspect: self.clock_suspect,
            busy,
        };
        self.checks.lock().unwrap().use_caps(&self.desired.caps);
        let (context, desired) = (process.context.clone(), self.desired.clone());
        let task = tokio::spawn(async move { make_plan(&context, &desired, &circumstances).await });
        self.drive(task).await?.map_err(Trouble::Observe)
    }

    /// One pass, as `apply` makes it: everything is waited for.
    pub async fn apply(&mut self) -> Result<Vec<LaneReport>, Trouble> {
        let at = self.now();
        let plan = self.plan().await?;
        let Some(process) = &self.process else {
            return Ok(Vec::new());
        };
        let context = process.context.clone();
        let task = tokio::spawn(async move { apply::apply(&context, &plan).await });
        let done = self.drive(task).await?;
        self.checks.lock().unwrap().after_pass(at);
        done.map_err(|error| Trouble::Apply(error.to_string()))
    }

    /// A run by hand.
    pub async fn trigger(&mut self, job: &JobName) -> Result<Result<RunId, ApplyError>, Trouble> {
        let Some(process) = &self.process else {
            return Err(Trouble::Observe("no scheduler".to_owned()));
        };
        let context = process.context.clone();
        let job = self.desired.jobs[job].clone();
        let launch = plan::Launch {
            job: job.name.clone(),
            name: apply::manual_name(&context.instance, &job.name),
            slot: None,
            attempt: 0,
            due_at: self.now(),
            spec_hash: apply::spec_hash(&context, &job.container),
            pull: job.container.pull_policy,
            spec: job.container,
            origin: job.origin,
            exclusive: job.policy.concurrency != Concurrency::Allow,
            caps: self.desired.caps.of(job.policy.group.as_deref()),
            group: job.policy.group,
            deadline: None,
            settled: None,
        };
        let task =
            tokio::spawn(async move { apply::launch_now(&context, &launch, RunTrigger::Manual, None).await });
        self.drive(task).await
    }

    /// Lets time pass under a watching scheduler; under none once it was killed.
    pub async fn watch(&mut self, how_long: Duration) -> Result<(), Trouble> {
        let end = self.clock.monotonic() + how_long;
        loop {
            let result = self.watch_until(end).await;
            let left = end.saturating_sub(self.clock.monotonic());
            match (&result, self.comes_back) {
                (Err(Trouble::Killed(_)), Some(pause)) => {
                    self.clock.pass(pause).await;
                    if left <= pause || self.start_process(false).await.is_err() {
                        return result;
                    }
                }
                _ => {
                    if result.is_err() || self.process.is_none() {
                        self.clock.pass(left).await;
                    }
                    return result;
                }
            }
        }
    }

    async fn watch_until(&mut self, end: Duration) -> Result<(), Trouble> {
        let (mut hot, mut hot_at) = (0, self.clock.monotonic());
        let mut tick = TICK;
        loop {
            let at = self.now();
            let wake = match self.watch_once().await {
                Err(killed @ Trouble::Killed(_)) => return Err(killed),
                Err(Trouble::Observe(_) | Trouble::Apply(_)) => at.saturating_add(TICK).ok(),
                Ok(wake) => wake,
            };
            self.checks.lock().unwrap().after_pass(at);
            let now = self.clock.monotonic();
            if now != hot_at {
                (hot, hot_at) = (0, now);
            }
            hot += 1;
            assert!(hot < HOT, "runs hot at {}: {:?}", self.now(), self.last_events());
            let until = wake.map_or(end, |wake| {
                let ahead = wake.duration_since(self.now());
                now + Duration::try_from(ahead)
                    .ok()
                    .filter(|ahead| !ahead.is_zero())
                    .unwrap_or(TICK)
            });
            match self.wait(until.min(end), tick).await? {
                Woken::Lost => return Ok(()),
                Woken::Vainly => tick = (tick * 2).min(LONGEST_TICK),
                Woken::Progress => tick = TICK,
                Woken::Time => {}
            }
            if self.clock.monotonic() >= end {
                return Ok(());
            }
        }
    }

    /// Plans, writes, and hands the lanes' work to tasks of their own. Returns when to look again.
    async fn watch_once(&mut self) -> Result<Option<Timestamp>, Trouble> {
        let plan = self.plan().await?;
        let Some(process) = &self.process else {
            return Ok(None);
        };
        let context = process.context.clone();
        self.in_process(|| apply::write(&context, &plan))?
            .map_err(|error| Trouble::Apply(error.to_string()))?;
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        for (lane, steps) in lanes(&plan) {
            assert!(
                !process.lanes.contains_key(&lane),
                "work was planned for the busy {lane:?}: {steps:?}"
            );
            let context = context.clone();
            let task = tokio::spawn(async move { carry_out(&context, steps).await });
            process.lanes.insert(lane, task);
        }
        let now = self.clock.now();
        self.in_process(|| context.ledger.heartbeat(now))?
            .map_err(|error| Trouble::Apply(error.to_string()))?;
        Ok(plan.next_wake)
    }

    /// Waits for a lane, for the engine, or for that time.
    async fn wait(&mut self, until: Duration, tick: Duration) -> Result<Woken, Trouble> {
        let mut until = until;
        let mut woken = Woken::Time;
        for _ in 0..PATIENCE {
            breathe().await;
            self.look_for_kill()?;
            match self.collect_lanes().await {
                Some(Finished { lost: true, .. }) => {
                    self.end_process();
                    return Ok(Woken::Lost);
                }
                Some(Finished { progress: true, .. }) => return Ok(Woken::Progress),
                Some(_) => {
                    until = until.min(self.clock.monotonic() + tick);
                    woken = Woken::Vainly;
                }
                None => {}
            }
            let left = until.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return Ok(woken);
            }
            let engine = self.engine.next_change();
            let step = self.clock.next_wake().unwrap_or(left).min(left);
            self.clock.pass(step).await;
            if engine.is_some_and(|engine| engine <= step) {
                return Ok(woken);
            }
        }
        panic!("waits for ever: {:?}", self.last_events());
    }

    async fn collect_lanes(&mut self) -> Option<Finished> {
        let process = self.process.as_mut()?;
        let done: Vec<_> = process
            .lanes
            .iter()
            .filter(|(_, task)| task.is_finished())
            .map(|(lane, _)| lane.clone())
            .collect();
        let mut finished: Option<Finished> = None;
        for lane in done {
            let report = process.lanes.remove(&lane)?.await.unwrap();
            let all = finished.get_or_insert_default();
            all.progress |= report.progress;
            all.lost |= matches!(report.error, Some(ApplyError::TakenOver { .. }));
        }
        finished
    }

    /// Lets time pass until the task is over.
    async fn drive<T>(&mut self, task: JoinHandle<T>) -> Result<T, Trouble> {
        for _ in 0..PATIENCE {
            breathe().await;
            if let Err(killed) = self.look_for_kill() {
                task.abort();
                return Err(killed);
            }
            if task.is_finished() {
                return Ok(task.await.unwrap());
            }
            let step = self
                .clock
                .next_wake()
                .expect("what it waits for has no time at all");
            self.clock.pass(step).await;
        }
        panic!("waits for ever: {:?}", self.last_events());
    }

    fn look_for_kill(&mut self) -> Result<(), Trouble> {
        let happened = self.kill.lock().unwrap().happened.take();
        match happened {
            None => Ok(()),
            Some(at) => {
                self.end_process();
                Err(Trouble::Killed(at))
            }
        }
    }

    fn last_events(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let last = events.iter().rev().take(20);
        last.map(|event| format!("{} {}", event.at, event.what)).collect()
    }
}

/// Why a wait ended.
enum Woken {
    Time,
    /// A lane got something done.
    Progress,
    /// A lane got nothing done.
    Vainly,
    /// The instance is another ledger's.
    Lost,
}

#[derive(Default)]
struct Finished {
    progress: bool,
    /// The instance is another ledger's now.
    lost: bool,
}

impl Kill {
    fn at_write(&mut self, process: u32, write: Write, side: Side) -> bool {
        if self.lives != Some(process) {
            return true;
        }
        let point = Point::Ledger(write);
        if side == Side::Before {
            self.passed.push(point);
        }
        self.strikes(point, side)
    }

    fn verdict(&mut self, request: &Request) -> Verdict {
        let point = Point::Engine(request.kind);
        if request.client > 0 && self.lives != Some(request.client) {
            return Verdict::CallerDies { delivered: false };
        }
        if request.client > 0 {
            self.passed.push(point);
            for side in [Side::Before, Side::After] {
                if self.strikes(point, side) {
                    let delivered = side == Side::After;
                    return Verdict::CallerDies { delivered };
                }
            }
        }
        match &mut self.at {
            Some((kind, _, skip)) if *kind == request.kind && *skip > 0 => *skip -= 1,
            Some((kind, delivered, _)) if *kind == request.kind => {
                let delivered = *delivered;
                let when = if delivered { "after" } else { "before" };
                self.happened = Some(format!("{when} `{request}`"));
                self.at = None;
                self.lives = None;
                return Verdict::CallerDies { delivered };
            }
            _ => {}
        }
        Verdict::Pass
    }

    /// Whether the process is to be killed at the point that it has come to.
    fn strikes(&mut self, point: Point, side: Side) -> bool {
        let strikes = self.at_point == Some((self.passed.len() - 1, side));
        if strikes {
            let when = if side == Side::After { "after" } else { "before" };
            self.happened = Some(format!("{when} `{point}`"));
            self.at_point = None;
            self.lives = None;
        }
        strikes
    }
}

/// A ledger waits for its disk at each write, and nothing here tests the disk.
pub fn state_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory)
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub async fn make_plan(
    context: &Context,
    desired: &Desired,
    circumstances: &Circumstances,
) -> Result<Plan, String> {
    let engine = context.engine.as_ref();
    let facts = facts(engine, desired).await.map_err(|error| error.to_string())?;
    let seen = observe(
        engine,
        Some(&context.ledger),
        &context.instance,
        desired,
        &facts,
        circumstances,
    );
    let observed = seen.await.map_err(|error: ObserveError| error.to_string())?;
    let now = context.clock.now();
    let plan = plan::plan(desired, &observed, now);
    // I15: the same input gives the same plan, byte for byte.
    let again = plan::plan(desired, &observed, now);
    assert_eq!(plan, again, "I15: a plan is pure");
    assert_eq!(plan::render(&plan), plan::render(&again), "I15: a plan is pure");
    Ok(plan)
}

/// The event stream, as far as it is evidence, and the gaps in which it was away.
async fn listen(context: Arc<Context>) {
    let label = (LABEL_INSTANCE.to_owned(), context.instance.to_string());
    let mut away_since: Option<Timestamp> = None;
    loop {
        let stream: Result<_, EngineError> = context.engine.events(label.clone(), None, None).await;
        if let Ok(mut events) = stream {
            let now = context.clock.now();
            context.stream.connected(now);
            if let Some(from) = away_since.take() {
                let kind = GapKind::EngineUnreachable;
                context.ledger.note_gap(Gap { from, to: now, kind }).unwrap();
            }
            while let Some(Ok(event)) = events.next().await {
                context.stream.heard(&event);
            }
            context.stream.broken();
        }
        away_since.get_or_insert_with(|| context.clock.now());
        context.clock.sleep(TICK).await;
    }
}

pub async fn breathe() {
    for _ in 0..BREATHS {
        tokio::task::yield_now().await;
    }
}

/// Whether a wall clock's jump lies ahead.
pub fn is_forward(by: SignedDuration) -> bool {
    by > SignedDuration::ZERO
}
