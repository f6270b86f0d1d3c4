//! The launch protocol: CREATING, create, arming checks, mark, intent, start.
//!
//! Guarantees: a container is started at most once, only by the process that wrote its intent, and
//! only after that intent is on disk. A create or start whose reply was lost is never repeated
//! blindly: the engine is asked what became of it.
//!
//! Crash points, in order, and what a restart finds:
//! 1. after CREATING, before create: a nonce without a container; its row is discarded later;
//! 2. after create, before its secrets are written or its checks have passed: a container with a known nonce
//!    and no recorded ID; the next arming finds its name taken, by us, writes what is to be in it and
//!    checks it;
//! 3. after arming, which the recorded ID stands for: an armed container, kept;
//! 4. after the mark: the same;
//! 5. after the intent, before or after the start request: the fence (`settle`) finds out.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::SemaphorePermit;

use super::claim::still_ours;
use super::image::{image, pull_now};
use super::{ApplyError, Context, LaneReport, at_once, exec, record_unknown, remove, settle};
use crate::engine::target::{Program, find_program};
use crate::engine::{ContainerState, CreateRequest, EngineError};
use crate::event::What;
use crate::ledger::{
    ContainerState as Recorded, Intended, LedgerError, NewContainer, NewIntent, NotRun, Settle, Shared, Terms,
};
use crate::model::{
    ArmFailure, Before, Cap, ContainerSpec, ContainerStatus, Intent, Launching, Outcome, PullPolicy, Reason,
    RunId, RunTrigger, Slot, Stamp,
};
use crate::plan::{self, Launch, Target};

/// How long a refused create is asked about before it counts as failed. A create that fails late
/// held its name for 15 s (measured, missing volume driver).
const NAME_PATIENCE: Duration = Duration::from_secs(20);

/// A start that hangs gives its place among [`Context::starts`] back after this time.
const START_PLACE: Duration = Duration::from_secs(10);

/// First and longest pause before a failed arming is tried again.
const ARM_RETRY_FIRST_SECS: i64 = 5;
const ARM_RETRY_LONGEST_SECS: i64 = 300;

/// Makes the container of a coming slot, after taking away what stands in its place.
pub(super) async fn arm(
    context: &Context,
    launch: &Launch,
    old: &[Target],
    report: &mut LaneReport,
) -> Result<(), ApplyError> {
    let made = prepare(context, launch, old, RunTrigger::Schedule).await;
    // One that was there all along (the engine's list was stale) is no reason to plan again at once.
    report.progress |= made.as_ref().is_ok_and(|(_, new)| *new);
    let made = made.map(|(target, _)| target);
    note_arming(context, launch, &made)?;
    made.map(drop)
}

/// Starts a due slot's container, making it first when none is armed.
pub(super) async fn start(
    context: &Context,
    launch: &Launch,
    armed: Option<&Target>,
    discard: &[Target],
    report: &mut LaneReport,
) -> Result<(), ApplyError> {
    if launch.spec.exec_target().is_some() {
        return match exec::run(context, launch, RunTrigger::Schedule, report).await? {
            Launched::Active(run) => Err(ApplyError::Active {
                job: launch.job.clone(),
                run,
            }),
            _ => Ok(()),
        };
    }
    if context.engine.launching() == Launching::AtOnce {
        let made = at_once::start(context, launch, RunTrigger::Schedule).await;
        note_arming(context, launch, &made)?;
        return report_start(launch, made?, report);
    }
    let target = match armed {
        Some(target) => {
            for old in discard {
                remove(context, &launch.job, old, None, "made for an older declaration").await?;
            }
            target.clone()
        }
        None => {
            let made = prepare(context, launch, discard, RunTrigger::Schedule).await;
            let made = made.map(|(target, _)| target);
            note_arming(context, launch, &made)?;
            made?
        }
    };
    let launched = start_target(context, launch, RunTrigger::Schedule, &target).await?;
    report_start(launch, launched, report)
}

fn report_start(launch: &Launch, launched: Launched, report: &mut LaneReport) -> Result<(), ApplyError> {
    match launched {
        Launched::Started => report.started.push(launch.name.clone()),
        Launched::Vanished
        | Launched::AlreadyRecorded
        | Launched::NotOurs
        | Launched::Unconfirmed
        // The next plan records why it did not start.
        | Launched::TooLate => {}
        Launched::Active(run) => {
            return Err(ApplyError::Active {
                job: launch.job.clone(),
                run,
            });
        }
        Launched::Full { cap, by } => return Err(ApplyError::AtLimit { cap, by }),
        // The next plan sees what came before it.
        Launched::NotItsTurn => return Ok(()),
    }
    report.progress = true;
    Ok(())
}

/// A manual run: made and started at once, beside the schedule. A command in somebody else's
/// container is followed to its end, because nobody else could read its output; it is stopped when `timeout` has
/// passed. Whoever waits for another run keeps its time.
///
/// # Errors
/// When the container cannot be made, which history then tells, too; when another run of the job is
/// active; when the ledger fails.
pub async fn launch_now(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
    timeout: Option<Duration>,
) -> Result<RunId, ApplyError> {
    let launched = launch_by_hand(context, launch, trigger, timeout)
        .await
        .map_err(|error| error.concealed(launch));
    if let Err(ApplyError::CannotArm(why)) = &launched {
        record_failed(context, launch, trigger, why)?;
    }
    launched
}

/// Whoever starts a job by a crontab reads no output: what came of it stands in its history.
fn record_failed(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
    why: &str,
) -> Result<(), ApplyError> {
    let failed = NotRun {
        id: launch.name.clone(),
        job: launch.job.clone(),
        slot: None,
        slot_last: None,
        count: None,
        attempt: launch.attempt,
        outcome: Outcome::StartFailed,
        reason: Reason::NotArmed(why.to_owned()).to_string(),
        due_at: launch.due_at,
        at: context.clock.now(),
        origin: launch.origin.clone(),
        trigger,
        image: Some(launch.spec.conceal(launch.spec.image.as_str())),
        spec_hash: Some(launch.spec_hash.clone()),
    };
    context.ledger.record_all(&[failed], None)?;
    Ok(())
}

async fn launch_by_hand(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
    timeout: Option<Duration>,
) -> Result<RunId, ApplyError> {
    if launch.spec.exec_target().is_some() {
        let mut report = LaneReport::default();
        let launched = tokio::select! {
            launched = exec::run(context, launch, trigger, &mut report) => launched?,
            never = settle::keep_time(context, &launch.name, timeout) => match never {},
        };
        return match launched {
            Launched::Active(run) => Err(ApplyError::Active {
                job: launch.job.clone(),
                run,
            }),
            Launched::Full { cap, by } => Err(ApplyError::AtLimit { cap, by }),
            Launched::NotItsTurn | Launched::TooLate => Err(not_its_turn(launch)),
            _ => Ok(launch.name.clone()),
        };
    }
    if context.engine.launching() == Launching::AtOnce {
        return now_at_once(context, launch, trigger).await;
    }
    let target = match launch.reuses() {
        true => shared_container(context, launch, trigger).await?,
        false => prepare(context, launch, &[], trigger).await?.0,
    };
    match start_target(context, launch, trigger, &target).await? {
        Launched::Started | Launched::Unconfirmed | Launched::AlreadyRecorded => Ok(launch.name.clone()),
        Launched::Active(run) => {
            if !launch.reuses() {
                remove(context, &launch.job, &target, None, "another run is active").await?;
            }
            Err(ApplyError::Active {
                job: launch.job.clone(),
                run,
            })
        }
        Launched::Full { cap, by } => {
            remove(context, &launch.job, &target, None, "a limit is reached").await?;
            Err(ApplyError::AtLimit { cap, by })
        }
        Launched::Vanished | Launched::NotOurs | Launched::NotItsTurn | Launched::TooLate => {
            Err(ApplyError::CannotArm(format!(
                "container {} was removed or started by somebody else before its start",
                target.name
            )))
        }
    }
}

async fn now_at_once(context: &Context, launch: &Launch, trigger: RunTrigger) -> Result<RunId, ApplyError> {
    match at_once::start(context, launch, trigger).await? {
        Launched::Active(run) => Err(ApplyError::Active {
            job: launch.job.clone(),
            run,
        }),
        Launched::Full { cap, by } => Err(ApplyError::AtLimit { cap, by }),
        Launched::NotItsTurn | Launched::TooLate => Err(not_its_turn(launch)),
        _ => Ok(launch.name.clone()),
    }
}

fn not_its_turn(launch: &Launch) -> ApplyError {
    ApplyError::CannotArm(format!(
        "another scheduler has started something that {} may not run beside: try again",
        launch.job
    ))
}

/// The container that all of a job's runs share, made (again) where it is missing or was made from
/// another declaration.
async fn shared_container(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
) -> Result<Target, ApplyError> {
    let name = launch.container(&context.instance);
    let Some(state) = context.engine.inspect(name.as_str()).await? else {
        return Ok(prepare(context, launch, &[], trigger).await?.0);
    };
    let stamp = Stamp::read(&state.labels, &context.instance);
    let Some(stamp) = stamp.filter(|stamp| stamp.reused && stamp.ledger == context.ledger.id()) else {
        // Whose it is, is found out and said there.
        return Ok(prepare(context, launch, &[], trigger).await?.0);
    };
    if let Some(run) = context.ledger.newest_in(&state.id)?
        && run.is_active(context.clock.now())
    {
        return Err(ApplyError::Active {
            job: launch.job.clone(),
            run: run.id,
        });
    }
    if state.status.is_live() {
        return Err(ApplyError::CannotArm(format!(
            "container {name} is running, and no run of this job started it"
        )));
    }
    let target = Target {
        id: state.id,
        name,
        nonce: stamp.nonce,
        reused: true,
    };
    let row = context.ledger.container(&target.nonce)?;
    let usable = row.filter(|row| row.state != Recorded::Discarded);
    let image_id = image(context, launch).await?;
    let current = stamp.spec_hash == launch.spec_hash && image_id == state.image_id;
    match usable {
        Some(row) if current && row.container.is_some() => Ok(target),
        // It was made and never checked.
        Some(_) if current => Ok(prepare(context, launch, &[], trigger).await?.0),
        _ => Ok(prepare(context, launch, &[target], trigger).await?.0),
    }
}

/// What came of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launched {
    Started,
    /// The container is gone: the slot may be armed again.
    Vanished,
    /// The ledger has a record of this slot or container already.
    AlreadyRecorded,
    /// Somebody else started the container; recorded as such.
    NotOurs,
    /// No reply: `settle` finds out.
    Unconfirmed,
    /// That run of the job is active, or is to have another attempt.
    Active(RunId),
    /// That limit is reached, by these runs.
    Full {
        cap: Cap,
        by: Vec<RunId>,
    },
    /// An earlier slot waits, no further attempt is wanted, or the job is paused.
    NotItsTurn,
    /// Its deadline passed while its container was being made, or while it waited for its place.
    TooLate,
}

/// Keeps the job's arming failure in the ledger, where plans see it, until an arming succeeds.
fn note_arming<T>(
    context: &Context,
    launch: &Launch,
    made: &Result<T, ApplyError>,
) -> Result<(), ApplyError> {
    let detail = match made {
        Ok(_) => {
            context.ledger.arm_succeeded(&launch.job)?;
            return Ok(());
        }
        // The whole engine is away, or the instance is lost: that is not this job's failure.
        Err(ApplyError::Engine(error)) if error.is_unreachable() => return Ok(()),
        Err(
            ApplyError::Ledger(_)
            | ApplyError::TakenOver { .. }
            | ApplyError::TakenAway(_)
            | ApplyError::Active { .. }
            | ApplyError::AtLimit { .. },
        ) => return Ok(()),
        Err(error @ (ApplyError::Engine(_) | ApplyError::CannotArm(_) | ApplyError::CannotStop(_))) => {
            launch.spec.conceal(&error.to_string())
        }
    };
    let jobs = context.ledger.jobs()?;
    let before = jobs
        .get(&launch.job)
        .and_then(|record| record.arm_failure.as_ref());
    let attempts = before
        .filter(|before| before.spec_hash == launch.spec_hash)
        .map_or(0, |before| before.attempts);
    let at = context.clock.now();
    let pause = (ARM_RETRY_FIRST_SECS << attempts.min(10)).min(ARM_RETRY_LONGEST_SECS);
    let retry_at = at.saturating_add(SignedDuration::from_secs(pause)).unwrap_or(at);
    let failure = ArmFailure {
        at,
        retry_at,
        attempts: attempts + 1,
        detail: detail.clone(),
        spec_hash: launch.spec_hash.clone(),
    };
    context.ledger.arm_failed(&launch.job, &failure)?;
    context.say(Some(&launch.job), What::ArmFailed { detail, retry_at });
    Ok(())
}

/// Image, then old containers away, then the new one, then the arming checks. Whether it is news that it
/// is there.
async fn prepare(
    context: &Context,
    launch: &Launch,
    old: &[Target],
    trigger: RunTrigger,
) -> Result<(Target, bool), ApplyError> {
    // The image first: while a new one cannot be had, what is armed stays.
    let image_id = image(context, launch).await?;
    for target in old {
        remove(context, &launch.job, target, None, "replaced").await?;
    }
    still_ours(context).await?;
    let target = create_for_platform(context, launch, trigger, &image_id).await?;
    let checked = match write_files(context, &target.id, launch).await {
        Ok(()) => check_executable(context, &target, launch).await,
        Err(error) => Err(error),
    };
    if let Err(error) = checked {
        if matches!(error, ApplyError::CannotArm(_)) && is_taken_away(context, &target).await? {
            return Err(ApplyError::TakenAway(target.name));
        }
        remove(context, &launch.job, &target, None, "it could not start").await?;
        return Err(error);
    }
    let row = context.ledger.container(&target.nonce)?;
    if row.is_some_and(|row| row.container.is_some()) {
        return Ok((target, false));
    }
    // Its ID says that it is armed, so it comes last: one whose maker was killed before is checked again.
    match context.ledger.created(&target.nonce, &target.id) {
        Err(LedgerError::NotUsable { .. }) => return Err(ApplyError::TakenAway(target.name)),
        noted => noted?,
    }
    context.say(
        Some(&launch.job),
        What::Armed {
            container: target.name.clone(),
            slot: launch.slot,
        },
    );
    Ok((target, true))
}

/// Whether a container that was just made is going or gone: by our own hand, since its slot passed
/// meanwhile, or by a person's. Nothing is then found in it, whatever the image holds.
async fn is_taken_away(context: &Context, target: &Target) -> Result<bool, ApplyError> {
    let row = context.ledger.container(&target.nonce)?;
    if row.is_none_or(|row| row.state == Recorded::Discarded) {
        return Ok(true);
    }
    let state = context.engine.inspect(&target.id).await?;
    if state.is_some_and(|state| state.status == ContainerStatus::Created) {
        return Ok(false);
    }
    context.ledger.discarded(&target.nonce)?;
    Ok(true)
}

/// The container. An engine that has the image, but not for the platform that the job names, says that
/// there is none: then it is pulled for that one.
async fn create_for_platform(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
    image_id: &str,
) -> Result<Target, ApplyError> {
    let made = create(context, launch, trigger, image_id).await;
    match made {
        Err(ApplyError::CannotArm(why))
            if launch.spec.platform.is_some() && launch.pull != PullPolicy::Never =>
        {
            if let Err(error) = pull_now(context, launch).await? {
                let image = &launch.spec.image;
                return Err(ApplyError::CannotArm(format!(
                    "{why}; cannot pull {image}: {error}"
                )));
            }
            let id = context.engine.image_id(&launch.spec.image).await?;
            create(context, launch, trigger, id.as_deref().unwrap_or(image_id)).await
        }
        made => made,
    }
}

/// Steps 0 to 2: a container under its deterministic name, ours by its nonce.
async fn create(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
    image_id: &str,
) -> Result<Target, ApplyError> {
    let began = context.clock.monotonic();
    let mut pause = Duration::from_millis(200);
    let mut unanswered = Vec::new();
    loop {
        let stamp = stamp(context, launch, trigger);
        context
            .ledger
            .creating(&new_container(context, launch, &stamp, image_id)?)?;
        let error = match context.engine.create(&request(context, launch, &stamp)).await {
            Ok(created) => {
                return Ok(Target {
                    id: created.id,
                    name: launch.container(&context.instance),
                    nonce: stamp.nonce,
                    reused: stamp.reused,
                });
            }
            Err(error) => error,
        };
        // Nothing was made: the request never left, or the engine says what is missing.
        let certain = error.is_unreachable()
            || matches!(
                &error,
                EngineError::Refused {
                    status: 404 | 400,
                    ..
                } | EngineError::Invalid(_)
            );
        if certain {
            context.ledger.discarded(&stamp.nonce)?;
            return Err(refused(error));
        }
        // Any other answer is no result: who holds the name is asked by name.
        if let Some(target) = holder(context, launch, &stamp).await? {
            return Ok(target);
        }
        unanswered.push(stamp.nonce);
        if context.clock.monotonic().saturating_sub(began) > NAME_PATIENCE {
            for nonce in &unanswered {
                context.ledger.discarded(nonce)?;
            }
            return Err(refused(error));
        }
        context.sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn refused(error: EngineError) -> ApplyError {
    match error {
        EngineError::Refused { message, .. } => ApplyError::CannotArm(message),
        other => ApplyError::Engine(other),
    }
}

/// Who has the name after a create without a clear answer: our container, one that this ledger made
/// for the same slot, nobody (`None`: create again), or somebody else.
async fn holder(context: &Context, launch: &Launch, stamp: &Stamp) -> Result<Option<Target>, ApplyError> {
    let name = launch.container(&context.instance);
    let Some(state) = context.engine.inspect(name.as_str()).await? else {
        return Ok(None);
    };
    let found = Stamp::read(&state.labels, &context.instance);
    let taken = |why: &str| {
        Err(ApplyError::CannotArm(format!(
            "the name {name} is taken by {why}; it is left alone"
        )))
    };
    match found {
        Some(found) if found.nonce == stamp.nonce => Ok(Some(Target {
            id: state.id,
            name: name.clone(),
            nonce: found.nonce,
            reused: found.reused,
        })),
        Some(found)
            if found.ledger == context.ledger.id()
                && (found.slot, found.reused) == (stamp.slot, stamp.reused) =>
        {
            context.ledger.discarded(&stamp.nonce)?;
            let row = context.ledger.container(&found.nonce)?;
            let usable = row.is_some_and(|row| row.state != Recorded::Discarded);
            if usable && found.spec_hash == launch.spec_hash {
                return Ok(Some(Target {
                    id: state.id,
                    name: name.clone(),
                    nonce: found.nonce,
                    reused: found.reused,
                }));
            }
            taken("an earlier container of this slot that is not to be used")
        }
        Some(_) => {
            context.ledger.discarded(&stamp.nonce)?;
            taken("a container of another ledger")
        }
        None => {
            context.ledger.discarded(&stamp.nonce)?;
            taken("a container that is not ours")
        }
    }
}

/// Secrets and configs with a content of their own. They are written when the container is made, to
/// know early that they can be, and again before its start: nobody knows whether whoever made it lived
/// to write them.
async fn write_files(context: &Context, id: &str, launch: &Launch) -> Result<(), ApplyError> {
    if launch.spec.files.is_empty() {
        return Ok(());
    }
    match context.engine.write_files(id, &launch.spec.files).await {
        Ok(()) => Ok(()),
        Err(EngineError::Refused { status: 404, message }) => {
            Err(EngineError::Refused { status: 404, message }.into())
        }
        Err(EngineError::Refused { message, .. } | EngineError::Invalid(message)) => {
            let why = format!("its secrets and configs cannot be written: {message}");
            Err(ApplyError::CannotArm(launch.spec.conceal(&why)))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn stamp(context: &Context, launch: &Launch, trigger: RunTrigger) -> Stamp {
    Stamp {
        ledger: context.ledger.id().to_owned(),
        job: launch.job.clone(),
        reused: launch.reuses(),
        slot: own_slot(launch),
        attempt: if launch.reuses() { 0 } else { launch.attempt },
        trigger: if launch.reuses() {
            RunTrigger::Schedule
        } else {
            trigger
        },
        spec_hash: launch.spec_hash.clone(),
        nonce: uuid::Uuid::new_v4().simple().to_string(),
        origin: launch.origin.clone(),
    }
}

fn new_container(
    context: &Context,
    launch: &Launch,
    stamp: &Stamp,
    image_id: &str,
) -> Result<NewContainer, ApplyError> {
    Ok(NewContainer {
        nonce: stamp.nonce.clone(),
        name: launch.container(&context.instance),
        job: launch.job.clone(),
        slot: stamp.slot,
        attempt: stamp.attempt,
        trigger: stamp.trigger,
        spec_hash: launch.spec_hash.clone(),
        image_id: image_id.to_owned(),
        at: context.clock.now(),
        origin: launch.origin.clone(),
        spec: masked_spec(context, &launch.spec)?,
        reused: stamp.reused,
    })
}

/// The slot that its container is made for: one that serves all of them has none.
fn own_slot(launch: &Launch) -> Option<Slot> {
    launch.slot.filter(|_| !launch.reuses())
}

/// What `rerun` will need, with sensitive values as keyed hashes.
pub(super) fn masked_spec(context: &Context, spec: &ContainerSpec) -> Result<String, ApplyError> {
    serde_json::to_string(&recorded(context, spec))
        .map_err(|error| ApplyError::CannotArm(format!("its specification cannot be recorded: {error}")))
}

/// A spec as the ledger may have it.
fn recorded(context: &Context, spec: &ContainerSpec) -> ContainerSpec {
    spec.masked(context.ledger.masks())
}

/// The hash of what is launched by hand, with this ledger's key.
#[must_use]
pub fn spec_hash(context: &Context, spec: &ContainerSpec) -> String {
    plan::spec_hash(spec, Some(&recorded(context, spec)))
}

fn request(context: &Context, launch: &Launch, stamp: &Stamp) -> CreateRequest {
    let mut environment = environment_of(launch);
    if launch.reuses() {
        // The rest would be that of the first run for ever.
        environment.retain(|name, _| name == "SCHEDULER_JOB");
    }
    CreateRequest {
        name: Some(launch.container(&context.instance)),
        spec: launch.spec.clone(),
        labels: stamp.labels(&context.instance),
        environment,
        attach: false,
        reserved: false,
    }
}

/// What a run can know of itself.
pub(super) fn environment_of(launch: &Launch) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("SCHEDULER_JOB".to_owned(), launch.job.to_string()),
        (
            "SCHEDULER_SLOT".to_owned(),
            launch.slot.map(|slot| slot.to_string()).unwrap_or_default(),
        ),
        ("SCHEDULER_ATTEMPT".to_owned(), launch.attempt.to_string()),
        ("SCHEDULER_RUN_ID".to_owned(), launch.name.to_string()),
    ])
}

/// Whether the command exists in the armed container: a real engine finds that out only at start.
/// What cannot be asked is not held against the job.
async fn check_executable(context: &Context, target: &Target, launch: &Launch) -> Result<(), ApplyError> {
    let Some(state) = context.engine.inspect(&target.id).await? else {
        return Err(ApplyError::CannotArm(
            "the container vanished right after it was made".to_owned(),
        ));
    };
    let Some(program) = state.entrypoint.first().or(state.command.first()) else {
        return Err(ApplyError::CannotArm(format!(
            "image {} names no command, and the job gives none",
            launch.spec.image
        )));
    };
    match context.engine.stat_path(&target.id, "/").await {
        Ok(Some(_)) => {}
        Ok(None) => {
            return Err(ApplyError::CannotArm(
                "its mounts cannot be made: does the source of every bind mount exist?".to_owned(),
            ));
        }
        Err(error) if error.is_unreachable() => return Err(error.into()),
        Err(_) => return Ok(()),
    }
    let mut found = find_program(context.engine.as_ref(), &target.id, program, &state).await?;
    if matches!(found, Program::Missing) {
        // Beside a crash of the engine a 404 was seen for a program that is there: asked once more
        // before a job is called broken.
        found = find_program(context.engine.as_ref(), &target.id, program, &state).await?;
    }
    let what = match found {
        Program::Found => return Ok(()),
        Program::NotExecutable(path) => format!("{path} in image {} is not executable", launch.spec.image),
        Program::Missing => format!("no command `{program}` in image {}", launch.spec.image),
    };
    // A command may come from `.env`, and this goes to ledger, log and plan.
    Err(ApplyError::CannotArm(launch.spec.conceal(&what)))
}

/// Steps 3 to 6.
async fn start_target(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
    target: &Target,
) -> Result<Launched, ApplyError> {
    // Never early, also when the wake was.
    context.wait_until(launch.due_at).await;
    let place = context
        .starts
        .acquire()
        .await
        .map_err(|closed| ApplyError::CannotArm(format!("no more starts: {closed}")))?;
    if launch.is_late(context.clock.now()) {
        return Ok(Launched::TooLate);
    }
    still_ours(context).await?;
    match context.engine.mark(&target.id).await {
        Ok(_) => {}
        Err(EngineError::Refused { status: 404, .. }) => {
            context.ledger.discarded(&target.nonce)?;
            return Ok(Launched::Vanished);
        }
        // A refused mark is no reason not to look: the inspect decides.
        Err(EngineError::Refused { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let Some(state) = context.engine.inspect(&target.id).await? else {
        context.ledger.discarded(&target.nonce)?;
        return Ok(Launched::Vanished);
    };
    // A person is deleting it at this moment: nobody has started it, and it is made again.
    let going = matches!(state.status, ContainerStatus::Removing | ContainerStatus::Dead);
    if going && state.started_at.is_none() && state.finished_at.is_none() {
        context.ledger.discarded(&target.nonce)?;
        return Ok(Launched::Vanished);
    }
    let ours = Stamp::read(&state.labels, &context.instance).is_some_and(|stamp| stamp.nonce == target.nonce);
    let untouched = match launch.reuses() {
        true => is_as_left(context, target, &state)?,
        false => state.is_pristine(),
    };
    if !ours || !untouched {
        record_unknown(context, launch, &Reason::StartedByHand)?;
        return Ok(Launched::NotOurs);
    }
    match write_files(context, &target.id, launch).await {
        Err(ApplyError::Engine(EngineError::Refused { status: 404, .. })) => {
            context.ledger.discarded(&target.nonce)?;
            return Ok(Launched::Vanished);
        }
        written => written?,
    }
    let intent = Intent {
        at: context.clock.now(),
        owner: context.owner.clone(),
        engine_peer: context.engine.peer().await,
    };
    let new = NewIntent {
        nonce: target.nonce.clone(),
        container: target.id.clone(),
        due_at: launch.due_at,
        intent: intent.clone(),
        terms: terms(launch),
        shared: launch.reuses().then(|| shared(launch, trigger, &state)),
    };
    match context.ledger.intend(&new)? {
        Intended::New => {}
        Intended::AlreadyRecorded(_) => return Ok(Launched::AlreadyRecorded),
        Intended::Active(run) => return Ok(Launched::Active(run.id)),
        Intended::Full { cap, by } => return Ok(Launched::Full { cap, by }),
        Intended::NotItsTurn => return Ok(Launched::NotItsTurn),
    }
    start_once(context, launch, target, &intent, place).await
}

fn shared(launch: &Launch, trigger: RunTrigger, state: &ContainerState) -> Shared {
    Shared {
        id: launch.name.clone(),
        slot: launch.slot,
        attempt: launch.attempt,
        trigger,
        origin: launch.origin.clone(),
        before: Before {
            started_at: state.started_at,
            finished_at: state.finished_at,
        },
    }
}

/// On which terms the ledger may let it start.
pub(super) fn terms(launch: &Launch) -> Terms {
    let settle = launch
        .settled
        .zip(launch.slot)
        .map(|(planned_from, slot)| Settle {
            job: launch.job.clone(),
            planned_from,
            until: slot.at(),
        });
    Terms {
        exclusive: launch.exclusive,
        caps: launch.caps.clone(),
        group: launch.group.clone(),
        settle,
    }
}

/// Whether a reused container is as our last start left it. Any other start of it becomes known, so
/// that it costs one slot and not every one.
fn is_as_left(context: &Context, target: &Target, state: &ContainerState) -> Result<bool, ApplyError> {
    let row = context.ledger.container(&target.nonce)?;
    let known = row.is_some_and(|row| row.seen_started == state.started_at);
    if !known {
        context.ledger.seen_started(&target.nonce, state.started_at)?;
    }
    let at_rest = matches!(state.status, ContainerStatus::Created | ContainerStatus::Exited);
    Ok(known && at_rest)
}

/// The one start request that this intent allows.
async fn start_once(
    context: &Context,
    launch: &Launch,
    target: &Target,
    intent: &Intent,
    place: SemaphorePermit<'_>,
) -> Result<Launched, ApplyError> {
    let mut request = context.engine.start(&target.id);
    let reply = tokio::select! {
        reply = &mut request => reply,
        () = context.sleep(START_PLACE) => {
            // One slow start must not hold up the others; its own reply is still waited for.
            drop(place);
            request.await
        }
    };
    match reply {
        Ok(()) => {
            let at = context.clock.now();
            let seen = context.engine.inspect(&target.id).await.ok().flatten();
            let seen = seen.and_then(|state| state.started_at);
            let started_at = seen.unwrap_or(at);
            // Of a reused one only the engine's own word will do: it is compared before the next start.
            if seen.is_some() || !launch.reuses() {
                context.ledger.started(&launch.name, started_at)?;
            }
            let late_ms =
                i64::try_from(started_at.duration_since(launch.due_at).as_millis()).unwrap_or(i64::MAX);
            context.say(
                Some(&launch.job),
                What::Started {
                    run: launch.name.clone(),
                    late_ms,
                },
            );
            Ok(Launched::Started)
        }
        Err(EngineError::Refused { message, .. }) => {
            settle::refused_start(context, launch, target, intent, &message).await
        }
        Err(_) => Ok(Launched::Unconfirmed),
    }
}
