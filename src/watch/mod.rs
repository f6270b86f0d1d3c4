//! Apply for ever: one loop over one closed list of wakes.
//!
//! Each pass observes, plans and hands every job's work to its two lanes; nothing in the loop waits
//! for a lane. Events and files only hasten: a full look happens at least every 30 seconds, and the
//! clocks are compared every second.
//!
//! The loop decides nothing about jobs (that is `plan`) and reads no manifest itself: it is given a
//! way to load them.

mod clocks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::apply::claim::{ClaimError, claim, note_downtime};
use crate::apply::{self, ApplyError, Context, LaneReport};
use crate::clock;
use crate::event::What;
use crate::ledger::LedgerError;
use crate::model::{Desired, Gap, GapKind, JobName, LABEL_INSTANCE, Lane, Observed};
use crate::observe::{self, Circumstances, Facts, ObserveError};
use crate::plan::{Action, Step, plan};
use clocks::{Clocks, Jump};

pub use clocks::is_suspect;

/// Images, networks and the list of containers are looked at in full at least this often: events
/// get lost (the engine keeps 256 and drops them silently for a slow reader).
const RESYNC: Duration = Duration::from_secs(30);

/// Clocks that differ by less are as good as set alike.
const MOST_SKEW: SignedDuration = SignedDuration::from_secs(2);

/// The longest sleep: jumps of the wall clock and a suspended machine are noticed within it.
const TICK: Duration = Duration::from_secs(1);

/// Pause after a pass for which the ledger could not be used.
const RETRY: Duration = Duration::from_secs(5);

/// Docker 20.10 sends `die` up to some 100 ms before its list says `exited`.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// The longest pause before a container that could not be removed is tried again.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How often the ledger is tidied.
const HOUSEKEEPING: Duration = Duration::from_hours(24);

/// How often the ledger is told that somebody is watching: after a crash, the time since counts as
/// downtime.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// At the end, how long requests under way are waited for, so that their replies reach the ledger.
const FAREWELL: Duration = Duration::from_secs(10);

/// What the manifests say, as of one reading.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    pub desired: Desired,
    pub errors: usize,
    /// The diagnostics as people read them; empty when there are none.
    pub report: String,
    pub only_warnings: bool,
    /// Jobs among the desired ones that are gone from the manifests, but too many at once to be
    /// believed: they go on until a person removes them (`apply --allow-mass-removal`).
    pub held: BTreeSet<JobName>,
}

/// What wakes the loop.
#[derive(Debug)]
pub enum Wake {
    /// Something changed in the watched directory.
    Files,
    Terminate(&'static str),
    Reload,
    Engine(Stream),
    /// A job's lane has done its work.
    Lane(Result<((JobName, Lane), LaneReport), tokio::task::JoinError>),
    Tick,
}

/// News of the engine's event stream.
#[derive(Debug)]
pub enum Stream {
    Event,
    Broken,
}

/// What the loop tells of itself.
#[derive(Debug)]
pub enum Sign<'a> {
    /// It turned, after its first look at the world. Comes at least every second while nothing hangs.
    Turned {
        jobs: usize,
        trouble: Option<&'a Trouble>,
    },
    /// A signal ended it; requests under way are waited for.
    Stopping,
}

/// What keeps jobs from being started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub since: Timestamp,
    pub why: String,
}

/// Who hears the signs.
pub type Signs = Box<dyn FnMut(Sign<'_>) + Send>;

/// Why a watch ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("cannot use the ledger: {0}")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    TakenOver(ApplyError),
    #[error(transparent)]
    OtherLedger(ObserveError),
}

/// How to read the manifests again.
pub type Load = Box<dyn FnMut() -> Declared + Send>;

/// Watches until a signal ends it. `wakes` carries files and signals.
///
/// # Errors
/// When the instance belongs, or comes to belong, to another ledger; when our own ledger cannot be
/// read at the start.
pub async fn watch(
    context: Arc<Context>,
    mut load: Load,
    mut wakes: mpsc::UnboundedReceiver<Wake>,
    directory: String,
    take_over: bool,
    mut signs: Signs,
) -> Result<(), WatchError> {
    let now = context.clock.now();
    let mut clocks = Clocks::new(context.clock.as_ref(), context.ledger.last_alive()?);
    note_downtime(&context.ledger, now)?;
    let (news, mut streams) = mpsc::unbounded_channel();
    let listener = tokio::spawn(listen(context.clone(), news));
    let mut state = State::new(context.clone(), load(), take_over);
    state.announce(directory);

    let mut ended = None;
    while ended.is_none() {
        if let Some(jump) = clocks.look(context.clock.as_ref()) {
            state.clock_jumped(jump);
        }
        state.clock_suspect = clocks.suspect();
        if state.must_read_again() {
            state.declared(load());
        }
        if state.is_due() {
            state.pass().await?;
        }
        signs(Sign::Turned {
            jobs: state.declared.desired.jobs.len(),
            trouble: state.trouble.as_ref(),
        });
        let nap = context.clock.sleep(state.until_next());
        let wake = tokio::select! {
            Some(wake) = wakes.recv() => wake,
            Some(news) = streams.recv() => Wake::Engine(news),
            Some(done) = state.lanes.join_next() => Wake::Lane(done),
            () = nap => Wake::Tick,
        };
        // Whatever else has come meanwhile is met by the same pass: a thousand jobs due at once are
        // a thousand wakes, and not a thousand passes.
        let mut read_again = false;
        let mut next = Some(wake);
        while let Some(wake) = next {
            tracing::trace!(?wake, "woken");
            match wake {
                Wake::Terminate(signal) => ended = Some(signal),
                Wake::Files | Wake::Reload => read_again = true,
                Wake::Engine(Stream::Event) => state.look_twice(),
                Wake::Engine(Stream::Broken) => {
                    // An engine that ended may be another one when it is back.
                    state.claimed = None;
                    state.look_twice();
                }
                Wake::Lane(done) => state.lane_done(done)?,
                Wake::Tick => {}
            }
            next = (wakes.try_recv().ok())
                .or_else(|| streams.try_recv().ok().map(Wake::Engine))
                .or_else(|| state.lanes.try_join_next().map(Wake::Lane));
        }
        if read_again {
            state.declared(load());
        }
    }
    listener.abort();
    signs(Sign::Stopping);
    context.say(
        None,
        What::Stopping {
            signal: ended.unwrap_or("end"),
        },
    );
    state.farewell(&mut wakes).await?;
    Ok(())
}

struct State {
    context: Arc<Context>,
    declared: Declared,
    facts: Option<Facts>,
    /// Monotonic time of the last reading of the manifests.
    read: Duration,
    /// Monotonic time of the last full look.
    looked: Duration,
    up_since: Timestamp,
    clock_suspect: bool,
    /// Something happened: plan at the next opportunity.
    dirty: bool,
    /// Monotonic time of the look that follows each event.
    second_look: Option<Duration>,
    /// Nothing is tried before this monotonic time.
    not_before: Duration,
    next_wake: Option<Timestamp>,
    lanes: JoinSet<((JobName, Lane), LaneReport)>,
    busy: BTreeSet<(JobName, Lane)>,
    /// Not in the ledger yet.
    gaps: Vec<Gap>,
    /// Monotonic time of the last housekeeping.
    compacted: Option<Duration>,
    /// Containers that could not be removed: how often, and the monotonic time before which that is
    /// not tried again.
    stuck: BTreeMap<String, (u32, Duration)>,
    /// Since when the engine is away; `None` while it is there.
    away_since: Option<Timestamp>,
    /// Monotonic time at which the instance was last found to be ours on our engine; `None` since the
    /// engine was away, or may have been exchanged for another one.
    claimed: Option<Duration>,
    /// Asked for once, by the person who started this watch.
    take_over: bool,
    heartbeat: Duration,
    told: BTreeMap<JobName, String>,
    /// Since a pass could not be made; `None` since one could.
    trouble: Option<Trouble>,
    /// The engine's clock differs from ours, which is said once.
    skewed: bool,
}

impl State {
    fn new(context: Arc<Context>, declared: Declared, take_over: bool) -> State {
        let (up_since, read) = (context.clock.now(), context.clock.monotonic());
        State {
            context,
            read,
            declared,
            facts: None,
            looked: Duration::ZERO,
            up_since,
            clock_suspect: false,
            dirty: true,
            second_look: None,
            not_before: Duration::ZERO,
            next_wake: None,
            lanes: JoinSet::new(),
            busy: BTreeSet::new(),
            gaps: Vec::new(),
            compacted: None,
            stuck: BTreeMap::new(),
            away_since: None,
            claimed: None,
            take_over,
            heartbeat: Duration::ZERO,
            told: BTreeMap::new(),
            trouble: None,
            skewed: false,
        }
    }

    fn announce(&self, directory: String) {
        let ready = What::Ready {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: self.context.engine.host(),
            jobs: self.declared.desired.jobs.len(),
            directory,
        };
        self.context.say(None, ready);
        self.tell_diagnostics();
    }

    fn tell_diagnostics(&self) {
        if !self.declared.report.is_empty() {
            self.context.say(
                None,
                What::ManifestsReport {
                    only_warnings: self.declared.only_warnings,
                    text: self.declared.report.clone(),
                },
            );
        }
    }

    /// The manifests were read again.
    fn declared(&mut self, declared: Declared) {
        let changed = declared.desired != self.declared.desired || declared.report != self.declared.report;
        let broken = declared.report != self.declared.report;
        self.read = self.context.clock.monotonic();
        self.declared = declared;
        if changed {
            let (jobs, errors) = (self.declared.desired.jobs.len(), self.declared.errors);
            self.context.say(None, What::ManifestsChanged { jobs, errors });
        }
        if broken {
            self.tell_diagnostics();
        }
        // New images and networks must be asked for.
        self.facts = None;
        self.dirty = true;
        self.not_before = Duration::ZERO;
    }

    /// The engine's clock decides nothing, but its times of runs are shown.
    fn compare_clocks(&mut self, theirs: Option<Timestamp>, before: Timestamp) {
        let Some(theirs) = theirs else { return };
        let skew = clock::ahead(theirs, before, self.context.clock.now());
        let is_skewed = skew.abs() > MOST_SKEW;
        if is_skewed && !self.skewed {
            let by_secs = skew.as_secs();
            self.context.say(None, What::ClockSkew { by_secs });
        }
        self.skewed = is_skewed;
    }

    fn clock_jumped(&mut self, jump: Jump) {
        let now = self.context.clock.now();
        let (from, kind) = match jump {
            Jump::Asleep { from } => (from, GapKind::SchedulerDown),
            Jump::Forward { from } | Jump::Back { from } => (from, GapKind::ClockJumped),
        };
        if !matches!(jump, Jump::Asleep { .. }) {
            let by_secs = now.duration_since(from).as_secs();
            self.context.say(None, What::ClockJumped { by_secs });
        }
        if from < now {
            self.gaps.push(Gap { from, to: now, kind });
        }
        self.up_since = now;
        self.dirty = true;
    }

    /// Writes what explains missed slots. What cannot be written now is kept for the next pass.
    fn note_gaps(&mut self) -> Result<(), LedgerError> {
        while let Some(gap) = self.gaps.first() {
            self.context.ledger.note_gap(*gap)?;
            self.gaps.remove(0);
        }
        Ok(())
    }

    /// Once a day, what nobody needs any more leaves the ledger. Not by a clock that is suspect.
    fn keep_house(&mut self) {
        let monotonic = self.context.clock.monotonic();
        if self.clock_suspect
            || self
                .compacted
                .is_some_and(|at| monotonic.saturating_sub(at) < HOUSEKEEPING)
        {
            return;
        }
        self.compacted = Some(monotonic);
        let context = self.context.clone();
        // Not waited for: it takes a while on a large ledger, and nothing leans on it.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = context.ledger.compact(context.clock.now()) {
                context.say(
                    None,
                    What::Trouble {
                        text: format!("cannot tidy the ledger: {error}"),
                    },
                );
            }
        });
    }

    /// Watches of the file system overflow, and network file systems have none.
    fn must_read_again(&self) -> bool {
        self.context.clock.monotonic().saturating_sub(self.read) >= RESYNC
    }

    /// Whether it is time for a pass.
    fn is_due(&self) -> bool {
        let monotonic = self.context.clock.monotonic();
        if monotonic < self.not_before {
            return false;
        }
        self.dirty
            || self.second_look.is_some_and(|at| at <= monotonic)
            || monotonic.saturating_sub(self.looked) >= RESYNC
            || self
                .next_wake
                .is_some_and(|wake| wake <= self.context.clock.now())
    }

    fn until_next(&self) -> Duration {
        let now = self.context.clock.now();
        let wake = self.next_wake.map_or(TICK, |wake| {
            Duration::try_from(wake.duration_since(now)).unwrap_or(Duration::ZERO)
        });
        let wake = match self.second_look {
            Some(at) => wake.min(at.saturating_sub(self.context.clock.monotonic())),
            None => wake,
        };
        let pause = self.not_before.saturating_sub(self.context.clock.monotonic());
        // Never a hot loop: a wake that has passed waits for the pause to end.
        wake.max(pause).clamp(Duration::from_millis(1), TICK)
    }

    /// The engine tells of an end before its list shows it.
    fn look_twice(&mut self) {
        self.dirty = true;
        self.second_look = Some(self.context.clock.monotonic() + SECOND_LOOK);
    }

    /// One pass. What fails here is said and tried again; only the loss of the instance ends the
    /// watch.
    async fn pass(&mut self) -> Result<(), WatchError> {
        self.dirty = false;
        self.next_wake = None;
        self.second_look = self.second_look.filter(|&at| at > self.context.clock.monotonic());
        match self.try_pass().await {
            Ok(()) => {
                self.trouble = None;
                Ok(())
            }
            Err(PassError::Engine(error)) => {
                self.in_trouble(&error.to_string());
                self.engine_lost(&error.to_string());
                Ok(())
            }
            Err(PassError::Ledger(error)) => {
                // No ledger, no start: fail closed, and look again.
                let text = format!("cannot use the ledger, so nothing is started: {error}");
                self.in_trouble(&text);
                self.context.say(None, What::Trouble { text });
                self.pause(RETRY);
                Ok(())
            }
            Err(PassError::Ended(error)) => Err(error),
        }
    }

    fn in_trouble(&mut self, why: &str) {
        let since = (self.trouble.as_ref()).map_or_else(|| self.context.clock.now(), |trouble| trouble.since);
        self.trouble = Some(Trouble {
            since,
            why: why.to_owned(),
        });
    }

    async fn try_pass(&mut self) -> Result<(), PassError> {
        let context = self.context.clone();
        let monotonic = context.clock.monotonic();
        self.note_gaps()?;
        if self
            .claimed
            .is_none_or(|at| monotonic.saturating_sub(at) >= RESYNC)
        {
            claim(
                context.engine.as_ref(),
                &context.ledger,
                &context.instance,
                self.take_over,
            )
            .await?;
            self.claimed = Some(monotonic);
            self.take_over = false;
        }
        if self.facts.is_none() || monotonic.saturating_sub(self.looked) >= RESYNC {
            let before = context.clock.now();
            let facts = observe::facts(context.engine.as_ref(), &self.declared.desired).await?;
            self.compare_clocks(facts.engine.system_time, before);
            self.facts = Some(facts);
            self.looked = monotonic;
        }
        let facts = self.facts.clone().unwrap_or_default();
        let circumstances = Circumstances {
            up_since: self.up_since,
            gaps: self.away_until_now(),
            clock_suspect: self.clock_suspect,
            busy: self.busy.clone(),
        };
        let observed = observe::observe(
            context.engine.as_ref(),
            Some(&context.ledger),
            &context.instance,
            &self.declared.desired,
            &facts,
            &circumstances,
        )
        .await?;
        self.engine_back();
        self.keep_house();
        self.let_go(&observed);
        let now = context.clock.now();
        let plan = plan(&self.declared.desired, &observed, now);
        self.tell_problems(&plan, now);
        apply::write(&context, &plan)?;
        for (lane, mut steps) in apply::lanes(&plan) {
            steps.retain(|step| !self.is_stuck(step));
            if steps.is_empty() {
                continue;
            }
            if self.busy.insert(lane.clone()) {
                let context = context.clone();
                self.lanes
                    .spawn(async move { (lane, apply::carry_out(&context, steps).await) });
            }
        }
        self.next_wake = plan.next_wake;
        if monotonic.saturating_sub(self.heartbeat) >= HEARTBEAT {
            context.ledger.heartbeat(now)?;
            self.heartbeat = monotonic;
        }
        Ok(())
    }

    /// Held jobs that somebody has removed meanwhile are not made anew.
    fn let_go(&mut self, observed: &Observed) {
        let declared = &mut self.declared;
        declared.held.retain(|name| {
            let removed = observed.jobs.get(name).is_none_or(|record| record.removed);
            if removed {
                declared.desired.jobs.remove(name);
            }
            !removed
        });
    }

    /// Says once what keeps a job from running, until it is something else.
    fn tell_problems(&mut self, plan: &crate::plan::Plan, now: Timestamp) {
        let mut problems = BTreeMap::new();
        for waiting in plan.waiting.iter().filter(|waiting| waiting.cause.is_problem()) {
            // A failed arming was said when it happened.
            if !matches!(waiting.cause, crate::plan::WaitCause::ArmFailed { .. }) {
                problems.insert(waiting.job.clone(), waiting.cause.clone());
            }
        }
        for (job, cause) in &problems {
            if self.told.get(job).is_none_or(|told| told != cause.word()) {
                let text = crate::plan::describe_wait(cause, now);
                self.context.say(Some(job), What::Trouble { text });
            }
        }
        self.told = problems
            .into_iter()
            .map(|(job, cause)| (job, cause.word().to_owned()))
            .collect();
    }

    fn lane_done(
        &mut self,
        done: Result<((JobName, Lane), LaneReport), tokio::task::JoinError>,
    ) -> Result<(), WatchError> {
        let (lane, report) = match done {
            Ok(done) => done,
            Err(panic) => {
                // A lane that died leaves its job marked as busy: better one mute job, said loudly,
                // than a second start.
                self.context.say(
                    None,
                    What::Trouble {
                        text: format!("internal error in a job's work: {panic}"),
                    },
                );
                return Ok(());
            }
        };
        if lane.1 == Lane::Arm {
            // It may have pulled an image.
            self.facts = None;
        }
        self.busy.remove(&lane);
        self.note_stuck(report.not_removed);
        match report.error {
            Some(error @ ApplyError::TakenOver { .. }) => return Err(WatchError::TakenOver(error)),
            Some(ApplyError::Engine(error)) if error.is_unreachable() => self.engine_lost(&error.to_string()),
            _ => {}
        }
        if report.progress {
            self.dirty = true;
        } else {
            // Nothing changed, so the next plan would be the same: not at once.
            let again = self
                .context
                .clock
                .now()
                .saturating_add(SignedDuration::from_secs(1));
            let again = again.unwrap_or(Timestamp::MAX);
            self.next_wake = Some(self.next_wake.map_or(again, |wake| wake.min(again)));
        }
        Ok(())
    }

    /// Whether this removal failed so lately that it is not tried again yet.
    fn is_stuck(&self, step: &Step) -> bool {
        let Action::Remove { target, .. } = &step.action else {
            return false;
        };
        let monotonic = self.context.clock.monotonic();
        self.stuck
            .get(&target.id)
            .is_some_and(|(_, not_before)| monotonic < *not_before)
    }

    /// A container that cannot be removed is tried again ever more seldom.
    fn note_stuck(&mut self, failed: Vec<String>) {
        let monotonic = self.context.clock.monotonic();
        self.stuck
            .retain(|_, (_, not_before)| monotonic.saturating_sub(*not_before) < RESYNC);
        for id in failed {
            let times = self.stuck.get(&id).map_or(0, |(times, _)| *times);
            let pause = (TICK * 2u32.saturating_pow(times.min(6))).min(LONGEST_RETRY);
            self.stuck.insert(id, (times + 1, monotonic + pause));
        }
    }

    fn pause(&mut self, pause: Duration) {
        self.not_before = self.context.clock.monotonic() + pause;
        self.dirty = true;
    }

    fn engine_lost(&mut self, why: &str) {
        if self.away_since.is_none() {
            self.away_since = Some(self.context.clock.now());
            self.context.say(None, What::EngineLost { why: why.to_owned() });
        }
        self.claimed = None;
        self.facts = None;
        self.pause(TICK);
    }

    /// An outage that is just ending, for the reasons of what was due in it.
    fn away_until_now(&self) -> Vec<Gap> {
        let to = self.context.clock.now();
        let away = self.away_since.filter(|&from| from < to);
        away.map(|from| Gap {
            from,
            to,
            kind: GapKind::EngineUnreachable,
        })
        .into_iter()
        .collect()
    }

    fn engine_back(&mut self) {
        let outage = self.away_until_now();
        let Some(from) = self.away_since.take() else {
            return;
        };
        self.gaps.extend(outage);
        let to = self.context.clock.now();
        self.context.say(
            None,
            What::EngineBack {
                away_secs: to.duration_since(from).as_secs(),
            },
        );
        self.dirty = true;
    }

    /// Lets requests under way come to their end; containers go on running.
    async fn farewell(&mut self, wakes: &mut mpsc::UnboundedReceiver<Wake>) -> Result<(), WatchError> {
        let clock = self.context.clock.clone();
        let deadline = clock.sleep(FAREWELL);
        let ended = async { while self.lanes.join_next().await.is_some() {} };
        let second_signal = async {
            loop {
                match wakes.recv().await {
                    Some(Wake::Terminate(_)) | None => return,
                    Some(_) => {}
                }
            }
        };
        tokio::select! {
            () = ended => {}
            () = deadline => {}
            () = second_signal => {}
        }
        self.gaps.extend(self.away_until_now());
        self.note_gaps()?;
        self.context.ledger.heartbeat(self.context.clock.now())?;
        Ok(())
    }
}

/// What ends one pass.
enum PassError {
    Engine(crate::engine::EngineError),
    Ledger(LedgerError),
    Ended(WatchError),
}

impl From<crate::engine::EngineError> for PassError {
    fn from(error: crate::engine::EngineError) -> PassError {
        PassError::Engine(error)
    }
}

impl From<LedgerError> for PassError {
    fn from(error: LedgerError) -> PassError {
        PassError::Ledger(error)
    }
}

impl From<ObserveError> for PassError {
    fn from(error: ObserveError) -> PassError {
        match error {
            ObserveError::Engine(error) => PassError::Engine(error),
            ObserveError::Ledger(error) => PassError::Ledger(error),
            error @ ObserveError::OtherLedger { .. } => PassError::Ended(WatchError::OtherLedger(error)),
        }
    }
}

impl From<ClaimError> for PassError {
    fn from(error: ClaimError) -> PassError {
        match error {
            ClaimError::Engine(error) => PassError::Engine(error),
            ClaimError::Ledger(error) => PassError::Ledger(error),
            error => PassError::Ended(WatchError::Claim(error)),
        }
    }
}

impl From<ApplyError> for PassError {
    fn from(error: ApplyError) -> PassError {
        match error {
            ApplyError::Engine(error) => PassError::Engine(error),
            ApplyError::Ledger(error) => PassError::Ledger(error),
            error => PassError::Ended(WatchError::TakenOver(error)),
        }
    }
}

/// Reads the engine's events for ever. Each one wakes the loop; what it says is looked up.
async fn listen(context: Arc<Context>, news: mpsc::UnboundedSender<Stream>) {
    let label = (LABEL_INSTANCE.to_owned(), context.instance.to_string());
    loop {
        if let Ok(mut events) = context.engine.events(label.clone(), None, None).await {
            let mut heard = false;
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        context.stream.heard(&event);
                        // Only an event proves that the subscription stood: our own mark before
                        // each start is one.
                        if !heard {
                            context.stream.connected(context.clock.now());
                            heard = true;
                        }
                        if news.send(Stream::Event).is_err() {
                            return;
                        }
                    }
                    // One that does not decode ends nothing.
                    Err(crate::engine::EngineError::Undecodable { .. }) => {}
                    Err(_) => break,
                }
            }
            context.stream.broken();
            if news.send(Stream::Broken).is_err() {
                return;
            }
        }
        context.clock.sleep(TICK).await;
    }
}
