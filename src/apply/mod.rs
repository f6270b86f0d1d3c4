//! Walks a plan: the only place that changes the world.
//!
//! Ledger writes of a plan come first and in order; then each job's work goes on in its own two
//! lanes, so that one job's slow pull or stubborn container holds up no other job. Nothing here
//! decides what is to be done, and nothing is tried twice: a failure is reported, and the next plan
//! sees what is still missing.
//!
//! The launch protocol is in `launch` (create, arm, start) and `settle` (results, and the fence
//! around a start that was never confirmed).

mod at_once;
pub mod claim;
mod exec;
mod image;
mod launch;
pub mod owner;
mod settle;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::engine::{EngineError, EngineEvent, EventAction, Removal, SharedEngine};
use crate::event::{Event, What};
use crate::ledger::{Held, JobUpsert, Ledger, LedgerError, NewHeld, Settle};
use crate::model::{
    ArmFailure, Cap, ContainerName, ContainerStatus, Instance, JobName, Lane, Launching, Outcome, Owner,
    Reason, RunId, Within,
};
use crate::plan::{Action, Cause, Hold, Launch, NotRun, Plan, Step, Target, describe_cause};
pub use launch::{Launched, launch_now, spec_hash};
pub use settle::{Past, adopt, wait_for_end};

/// How long somebody else's removal of a container is waited for: a large one takes seconds, and one
/// that is stuck is no reason to hold up its job's other work.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(10);
const REMOVAL_LOOK: Duration = Duration::from_millis(200);

/// Everything that carrying out a step needs.
pub struct Context {
    pub engine: SharedEngine,
    pub ledger: Arc<Ledger>,
    pub instance: Instance,
    pub clock: Arc<dyn Clock>,
    pub owner: Owner,
    pub report: Box<dyn Fn(Event) + Send + Sync>,
    /// As many starts at once as the operator allows; more than a few only queue inside the daemon.
    pub starts: Semaphore,
    pub stream: StreamWitness,
}

/// Since when the engine's event stream is unbroken: as long as it is, the daemon that an intent was
/// written under still lives. And whom others have killed, which a daemon that is stopped in order tells
/// with its last words and has then forgotten.
#[derive(Debug, Default)]
pub struct StreamWitness {
    /// 0 stands for "not connected": nothing was started in 1970.
    since: AtomicI64,
    /// By container ID, when it was sent a signal that is meant to end it, by the engine's clock.
    killed: Mutex<BTreeMap<String, Timestamp>>,
}

/// As many kills are remembered; the oldest go first.
const KILLS_REMEMBERED: usize = 4096;

impl StreamWitness {
    pub fn connected(&self, since: Timestamp) {
        self.since.store(since.as_millisecond(), Ordering::SeqCst);
    }

    pub fn broken(&self) {
        self.since.store(0, Ordering::SeqCst);
    }

    /// To be told of every event that the stream brings.
    pub fn heard(&self, event: &EngineEvent) {
        if event.action != EventAction::Kill {
            return;
        }
        let mut killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
        killed.insert(event.container.clone(), event.at);
        if killed.len() > KILLS_REMEMBERED
            && let Some(oldest) = killed.iter().min_by_key(|(_, at)| **at).map(|(id, _)| id.clone())
        {
            killed.remove(&oldest);
        }
    }

    /// When that container was last sent such a signal, as far as the stream told.
    #[must_use]
    pub fn killed(&self, container: &str) -> Option<Timestamp> {
        let killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
        killed.get(container).copied()
    }

    /// Whether the stream was connected at that moment and has not broken since.
    #[must_use]
    pub fn unbroken_since(&self, at: Timestamp) -> bool {
        let since = self.since.load(Ordering::SeqCst);
        since != 0 && since <= at.as_millisecond()
    }
}

/// Why a step did not succeed. None of these is retried here.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot write the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The instance was taken over by another ledger: this process must end.
    #[error("instance `{instance}` was taken over by ledger {ledger}")]
    TakenOver { instance: Instance, ledger: String },
    /// The container of a slot cannot be made; the text says what would mend it.
    #[error("{0}")]
    CannotArm(String),
    /// Says nothing of the job: it is made again.
    #[error("container {0} was taken away while it was made ready")]
    TakenAway(ContainerName),
    /// A run goes on although its end was asked for; the text says why.
    #[error("{0}")]
    CannotStop(String),
    #[error("job {job} has an active run: {run}")]
    Active { job: JobName, run: RunId },
    /// The operator's limit on what runs at once is reached.
    #[error("{cap}; now {}", names(by))]
    AtLimit { cap: Cap, by: Vec<RunId> },
}

impl ApplyError {
    /// Without the sensitive values of what was to be launched: it goes to ledger, log and terminal.
    fn concealed(self, launch: &Launch) -> ApplyError {
        let conceal = |words: &str| launch.spec.conceal(words);
        match self {
            ApplyError::Engine(error) => ApplyError::Engine(error.reworded(conceal)),
            ApplyError::CannotArm(words) => ApplyError::CannotArm(conceal(&words)),
            other => other,
        }
    }
}

fn names(by: &[RunId]) -> String {
    let names: Vec<&str> = by.iter().map(RunId::as_str).collect();
    names.join(", ")
}

/// What came of one lane's steps.
#[derive(Debug, Default)]
pub struct LaneReport {
    /// Something changed, so that planning again at once is worth it.
    pub progress: bool,
    pub error: Option<ApplyError>,
    /// Runs that were started.
    pub started: Vec<RunId>,
    /// IDs of containers that could not be removed.
    pub not_removed: Vec<String>,
}

impl Context {
    pub(crate) fn say(&self, job: Option<&JobName>, what: What) {
        (self.report)(Event {
            at: self.clock.now(),
            job: job.cloned(),
            what,
        });
    }

    /// Until that moment, in steps: the clock may be set meanwhile.
    pub(crate) async fn wait_until(&self, at: Timestamp) {
        loop {
            let left = at.duration_since(self.clock.now());
            if left <= SignedDuration::ZERO {
                return;
            }
            let step = Duration::try_from(left).unwrap_or_default();
            self.sleep(step.min(Duration::from_secs(1))).await;
        }
    }

    pub(crate) async fn sleep(&self, how_long: Duration) {
        self.clock.sleep(how_long).await;
    }
}

/// Carries out a whole plan and waits for it.
///
/// # Errors
/// Only for the ledger, without which nothing may be started; what fails for one job is in its
/// lane's report.
pub async fn apply(context: &Context, plan: &Plan) -> Result<Vec<LaneReport>, ApplyError> {
    write(context, plan)?;
    let lanes = lanes(plan).into_values().map(|steps| carry_out(context, steps));
    Ok(join_all(lanes).await)
}

/// A plan's engine work, by job and lane.
#[must_use]
pub fn lanes(plan: &Plan) -> BTreeMap<(JobName, Lane), Vec<Step>> {
    let mut lanes: BTreeMap<(JobName, Lane), Vec<Step>> = BTreeMap::new();
    for step in &plan.steps {
        if let Some(lane) = step.action.lane() {
            lanes
                .entry((step.job.clone(), lane))
                .or_default()
                .push(step.clone());
        }
    }
    lanes
}

/// The plan's ledger writes, in its order.
///
/// # Errors
/// When the ledger cannot be written: then nothing else of the plan may be done.
pub fn write(context: &Context, plan: &Plan) -> Result<(), ApplyError> {
    let mut sights = Vec::new();
    for step in &plan.steps {
        match &step.action {
            // The records of an edited schedule's past belong to the old row: they come first.
            Action::See(sight) => sights.push((step, sight)),
            Action::Record(not_run) => record(context, &step.job, not_run)?,
            Action::Hold(hold) => self::hold(context, &step.job, hold)?,
            Action::GiveUp { run, why } => give_up(context, &step.job, run, why)?,
            Action::Follow(followed) => at_once::follow(context, &step.job, followed)?,
            Action::Advance { planned_from, until } => context.ledger.advance(&Settle {
                job: step.job.clone(),
                planned_from: *planned_from,
                until: *until,
            })?,
            Action::NoteTarget(problem) => note_target(context, &step.job, problem.as_deref())?,
            Action::Forget => {
                context.ledger.remove_job(&step.job, plan.at)?;
                context.say(Some(&step.job), What::Forgotten);
            }
            Action::Update
            | Action::Create(_)
            | Action::Replace { .. }
            | Action::Start { .. }
            | Action::Stop { .. }
            | Action::Remove { .. }
            | Action::Settle { .. }
            | Action::Pull(_)
            | Action::Adopt { .. } => {}
        }
    }
    for (step, sight) in sights {
        let known = JobUpsert {
            name: step.job.clone(),
            origin: sight.origin.clone(),
            canonical: sight.canonical.clone(),
            triggers: sight.triggers.clone(),
            policy: sight.policy.clone(),
            spec_hash: sight.spec_hash.clone(),
            baseline: sight.baseline,
        };
        if step.cause == Cause::ClockSetBack {
            context.ledger.give_back(&step.job, plan.at)?;
        }
        context.ledger.upsert_job(&known)?;
        if step.cause == Cause::SourceChanged {
            // True of every job at every commit, and nothing comes of it.
            continue;
        }
        context.say(
            Some(&step.job),
            What::Declared {
                cause: describe_cause(step),
            },
        );
    }
    Ok(())
}

/// Keeps why a job's command could not be run now where lists and later records find it.
fn note_target(context: &Context, job: &JobName, problem: Option<&str>) -> Result<(), ApplyError> {
    let Some(problem) = problem else {
        return Ok(context.ledger.arm_succeeded(job)?);
    };
    let at = context.clock.now();
    let spec_hash = context.ledger.jobs()?.remove(job).map(|record| record.spec_hash);
    let failure = ArmFailure {
        at,
        // Looked at with every plan.
        retry_at: at,
        attempts: 1,
        detail: problem.to_owned(),
        spec_hash: spec_hash.unwrap_or_default(),
    };
    Ok(context.ledger.arm_failed(job, &failure)?)
}

fn record(context: &Context, job: &JobName, not_run: &NotRun) -> Result<(), ApplyError> {
    let (row, settle) = row_of(context, job, not_run);
    let new = context.ledger.record_all(&[row], settle.as_ref())?;
    if new > 0 {
        say_not_run(context, job, not_run);
    }
    Ok(())
}

/// A slot waits for its turn; where the ledger finds no place, it is recorded.
fn hold(context: &Context, job: &JobName, hold: &Hold) -> Result<(), ApplyError> {
    let Hold {
        line,
        most,
        otherwise,
    } = hold;
    let (row, settle) = row_of(context, job, otherwise);
    let new = NewHeld {
        line: *line,
        most: *most,
        otherwise: row,
    };
    match context.ledger.hold(&new, settle.as_ref())? {
        Held::New => context.say(Some(job), What::Waits { slot: otherwise.slot }),
        Held::Full => say_not_run(context, job, otherwise),
        Held::Known => {}
    }
    Ok(())
}

fn give_up(context: &Context, job: &JobName, run: &RunId, why: &Reason) -> Result<(), ApplyError> {
    let why = why.to_string();
    if context
        .ledger
        .give_up_retry(run, &format!("no further attempt: {why}"))?
    {
        let run = run.clone();
        context.say(Some(job), What::GivenUp { run, why });
    }
    Ok(())
}

fn say_not_run(context: &Context, job: &JobName, not_run: &NotRun) {
    let what = What::NotRun {
        slot: not_run.slot,
        count: not_run.series.map_or(1, |(_, count)| count),
        outcome: not_run.outcome,
        reason: not_run.reason.to_string(),
    };
    context.say(Some(job), what);
}

/// The ledger's row of a slot that never ran, and where the job's pointer goes with it.
fn row_of(context: &Context, job: &JobName, not_run: &NotRun) -> (crate::ledger::NotRun, Option<Settle>) {
    let NotRun {
        name,
        slot,
        series,
        outcome,
        reason,
        origin,
        settled,
    } = not_run;
    let row = crate::ledger::NotRun {
        id: name.clone(),
        job: job.clone(),
        slot: Some(*slot),
        slot_last: series.map(|(last, _)| last),
        count: series.map(|(_, count)| count),
        attempt: 0,
        outcome: *outcome,
        reason: reason.to_string(),
        due_at: slot.at(),
        at: context.clock.now(),
        origin: origin.clone(),
        trigger: crate::model::RunTrigger::Schedule,
        image: None,
        spec_hash: None,
    };
    let last = series.map_or(*slot, |(last, _)| last);
    let settle = settled.map(|planned_from| Settle {
        job: job.clone(),
        planned_from,
        until: last.at(),
    });
    (row, settle)
}

/// One lane's steps, in order. A failed one does not keep the next from being tried, unless the
/// engine or the ledger is away or the instance is lost.
pub async fn carry_out(context: &Context, steps: Vec<Step>) -> LaneReport {
    let mut report = LaneReport::default();
    for step in steps {
        match carry_out_step(context, &step, &mut report).await {
            Ok(()) => {}
            Err(error) => {
                let fatal = match &error {
                    ApplyError::Engine(error) => error.is_unreachable(),
                    ApplyError::Ledger(_) | ApplyError::TakenOver { .. } => true,
                    ApplyError::CannotArm(_)
                    | ApplyError::TakenAway(_)
                    | ApplyError::CannotStop(_)
                    | ApplyError::Active { .. }
                    | ApplyError::AtLimit { .. } => false,
                };
                // Another process took the place meanwhile: the next plan says who.
                if !matches!(error, ApplyError::CannotArm(_) | ApplyError::AtLimit { .. }) {
                    let word = step.action.word();
                    context.say(
                        Some(&step.job),
                        What::Trouble {
                            text: format!("cannot {word}: {error}"),
                        },
                    );
                }
                if let Action::Remove { target, .. } = &step.action {
                    report.not_removed.push(target.id.clone());
                }
                report.error = Some(error);
                if fatal {
                    break;
                }
            }
        }
    }
    report
}

async fn carry_out_step(context: &Context, step: &Step, report: &mut LaneReport) -> Result<(), ApplyError> {
    match &step.action {
        Action::Create(new) => launch::arm(context, new, &[], report)
            .await
            .map_err(|error| error.concealed(new)),
        Action::Replace { old, new } => launch::arm(context, new, old, report)
            .await
            .map_err(|error| error.concealed(new)),
        Action::Start {
            launch,
            armed,
            discard,
        } => launch::start(context, launch, armed.as_ref(), discard, report)
            .await
            .map_err(|error| error.concealed(launch)),
        Action::Stop {
            run,
            container,
            grace,
            outcome,
            reason,
        } => {
            let (why, reason) = (describe_cause(step), reason.as_ref().map(Reason::to_string));
            context
                .ledger
                .request_stop_because(run, *outcome, reason.as_deref())?;
            stop(context, &step.job, run, container, *grace, *outcome, why).await?;
            report.progress = true;
            settle::settle(context, run, report).await
        }
        Action::Remove { target, run } => {
            if remove(context, &step.job, target, run.as_ref(), &describe_cause(step)).await? {
                report.progress = true;
            }
            Ok(())
        }
        Action::Pull(launch) => image::refresh(context, launch, report)
            .await
            .map_err(|error| error.concealed(launch)),
        Action::Settle { run } => settle::settle(context, run, report).await,
        Action::Adopt {
            target,
            slot,
            attempt,
            lost,
        } => {
            let past = if *lost { Past::Lost } else { Past::Superseded };
            settle::adopt(context, &step.job, target, *slot, *attempt, past).await?;
            report.progress = true;
            Ok(())
        }
        Action::Update
        | Action::See(_)
        | Action::Forget
        | Action::Record(_)
        | Action::Hold(_)
        | Action::NoteTarget(_)
        | Action::Follow(_)
        | Action::Advance { .. }
        | Action::GiveUp { .. } => Ok(()),
    }
}

/// Asks for a run's end; its exit then gets `outcome`. The wish is durable before the request, so
/// that a crash in between cannot turn a stop into a failure of the job.
///
/// # Errors
/// When the ledger cannot be written or the engine refuses.
pub async fn stop(
    context: &Context,
    job: &JobName,
    run: &RunId,
    container: &str,
    grace: Option<Duration>,
    outcome: Outcome,
    why: String,
) -> Result<(), ApplyError> {
    context.ledger.request_stop(run, outcome)?;
    context.say(
        Some(job),
        What::StopRequested {
            run: run.clone(),
            why,
        },
    );
    if let Some(found) = context.ledger.run(run)?
        && let Within::Exec(id) = &found.within
    {
        return exec::stop(context, &found, id, grace).await;
    }
    if context.engine.launching() == Launching::AtOnce {
        let note = settle::stop_note(context, run, outcome)?;
        return at_once::conclude(context, container, &note, grace).await;
    }
    Ok(context.engine.stop(container, grace).await?)
}

/// Removes a container that is not running. Returns whether it is gone.
async fn remove(
    context: &Context,
    job: &JobName,
    target: &Target,
    run: Option<&RunId>,
    cause: &str,
) -> Result<bool, ApplyError> {
    // A superseded ledger's, or one that was lost: ours has nothing to note.
    let recorded = context.ledger.container(&target.nonce)?.is_some();
    if run.is_none() && !recorded && settle::adopt_unseen(context, job, target).await? {
        return Ok(false);
    }
    if run.is_none() && recorded {
        // First in the ledger: from here on nobody starts it. One whose start was intended since
        // this was planned stays, and so does its result.
        match context.ledger.discarded(&target.nonce) {
            Err(LedgerError::NotUsable { .. }) => return Ok(false),
            noted => noted?,
        }
    }
    let removal = delete(context, &target.id).await?;
    if let Some(run) = run {
        context.ledger.container_gone(run)?;
    }
    if removal == Removal::Removed {
        let what = What::Removed {
            container: target.name.clone(),
            cause: cause.to_owned(),
        };
        context.say(Some(job), what);
    }
    Ok(true)
}

/// DELETE without force. A refusal is no result: an earlier request, of a process that was killed
/// since, may be removing it at this moment.
async fn delete(context: &Context, container: &str) -> Result<Removal, ApplyError> {
    let refused = match context.engine.remove(container, true).await {
        Err(refused @ EngineError::Refused { .. }) => refused,
        answer => return Ok(answer?),
    };
    let began = context.clock.monotonic();
    loop {
        match context.engine.inspect(container).await? {
            None => return Ok(Removal::Gone),
            Some(state)
                if state.status == ContainerStatus::Removing
                    && context.clock.monotonic().saturating_sub(began) < REMOVAL_PATIENCE =>
            {
                context.sleep(REMOVAL_LOOK).await;
            }
            Some(_) => return Err(refused.into()),
        }
    }
}

/// A slot whose container turned out to have been started by somebody else.
fn record_unknown(context: &Context, launch: &Launch, reason: &Reason) -> Result<(), ApplyError> {
    let Some(slot) = launch.slot else { return Ok(()) };
    if let Some(before) = launch.attempt.checked_sub(1) {
        // The slot has its outcome; a person has made what would have been the next attempt.
        let run = ContainerName::of_slot(&context.instance, &launch.job, slot, before);
        return give_up(context, &launch.job, &run, reason);
    }
    let not_run = NotRun {
        name: launch.name.clone(),
        slot,
        series: None,
        outcome: Outcome::Unknown,
        reason: reason.clone(),
        origin: launch.origin.clone(),
        settled: launch.settled,
    };
    record(context, &launch.job, &not_run)
}

/// Eight letters and digits that no other run of this job has.
fn short_unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// The name of a new manual run.
#[must_use]
pub fn manual_name(instance: &Instance, job: &JobName) -> ContainerName {
    ContainerName::of_manual(instance, job, &short_unique())
}
