//! Results of runs, and the fence around a start that was never confirmed.
//!
//! Guarantees: an outcome is durable before its container may be pruned; a start is never repeated;
//! a run of which nobody can say whether it ran is `unknown`, and it is neither started nor deleted.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::launch::Launched;
use super::{ApplyError, Context, LaneReport, owner};
use crate::engine::{ContainerState, EngineError, EngineKind, EventAction, LogOptions, LogStream, Removal};
use crate::event::What;
use crate::ledger::logs::{LogWriter, Output};
use crate::ledger::{Adopted, Finish};
use crate::model::{
    ContainerName, ContainerStatus, GapKind, Intent, JobName, LABEL_INSTANCE, Launching, Outcome, Policy,
    Reason, Run, RunId, Slot, Stamp, StopNote, Within,
};
use crate::plan::{Launch, Target};

/// How long a start without a reply may still be under way inside the engine.
pub(super) const START_WINDOW: SignedDuration = SignedDuration::from_secs(10);

/// The same where no container can be deleted to make sure.
const REUSED_START_WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// Pause between two looks at a container whose start is not confirmed.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Between two pieces of a log; a log driver that blocks must not keep the outcome from the ledger.
const LOG_PATIENCE: Duration = Duration::from_secs(30);

/// Logs are for people: what is beyond this was never going to be read, and a job that prints for
/// ever must not fill the ledger's disk.
pub(super) const LOG_LIMIT_BYTES: u64 = 100 * 1024 * 1024;

/// Finds out what became of a run and writes it down.
pub(super) async fn settle(context: &Context, id: &RunId, report: &mut LaneReport) -> Result<(), ApplyError> {
    let Some(run) = context.ledger.run(id)? else {
        return Ok(());
    };
    if let Within::Exec(exec) = &run.within {
        return super::exec::settle(context, &run, exec, report).await;
    }
    if context.engine.launching() == Launching::AtOnce {
        return super::at_once::settle(context, &run, report).await;
    }
    let Some(container) = run.container.clone() else {
        return Ok(());
    };
    let Some(state) = context.engine.inspect(&container).await? else {
        report.progress = true;
        return vanished(context, &run).await;
    };
    let state = as_of(&run, state);
    if run.outcome.is_some_and(|outcome| outcome != Outcome::Unknown) {
        return Ok(());
    }
    if state.status.is_live() {
        if run.started_at.is_none()
            && let Some(at) = state.started_at
        {
            context.ledger.started(id, at)?;
            report.progress = true;
        }
        return Ok(());
    }
    let over = matches!(
        state.status,
        ContainerStatus::Exited | ContainerStatus::Dead | ContainerStatus::Created
    );
    if !over {
        // Being removed, or in a state without a meaning here (Podman's `stopping`): no end yet.
        return Ok(());
    }
    if state.started_at.is_some() || state.finished_at.is_some() {
        report.progress = true;
        return collect(context, &run, &state).await;
    }
    if run.outcome.is_some() {
        if matches!(run.within, Within::Reused(_)) {
            // Its hold is over, and nothing came of its start.
            context.ledger.release(id)?;
        }
        return Ok(());
    }
    match &run.intent {
        // Another process of ours is starting it at this moment.
        Some(intent) if intent.owner != context.owner && owner::is_alive(&intent.owner) => Ok(()),
        Some(intent) => {
            report.progress = true;
            fence(context, &run, &container, intent).await
        }
        None => Ok(()),
    }
}

/// A container as one of its runs may see it: of a reused one, what earlier runs left is as if it had
/// never been, and what came after a later one was intended is none of its business.
fn as_of(run: &Run, state: ContainerState) -> ContainerState {
    let Within::Reused(before) = &run.within else {
        return state;
    };
    if state.started_at != before.started_at || state.status.is_live() {
        return state;
    }
    ContainerState {
        status: match state.status {
            ContainerStatus::Exited => ContainerStatus::Created,
            other => other,
        },
        started_at: None,
        finished_at: None,
        exit_code: 0,
        error: String::new(),
        oom_killed: false,
        ..state
    }
}

/// Its container is gone. A daemon that knew of its process has ended that, too; one that died
/// inside the start may have forgotten it, and it runs on.
async fn vanished(context: &Context, run: &Run) -> Result<(), ApplyError> {
    if run.outcome.is_none() {
        if let (Some(intent), Some(container)) = (&run.intent, &run.container)
            && (run.started_at, run.stop_requested) == (None, None)
            && look_back(context, container, intent).await?.forgot_nothing()
        {
            // The fence took it away and died before it could say so.
            return never_ran(context, run);
        }
        let forgotten = match &run.intent {
            Some(intent) => run.started_at.is_none() && !same_daemon(context, intent).await,
            None => false,
        };
        let outcome = match run.stop_requested {
            Some(asked) => {
                let reason = stop_reason(run, asked, &policy_of(context, &run.job)?);
                name_who_asked(context, run, (asked, reason))?
            }
            None => (Outcome::Unknown, Reason::Lost),
        };
        let held_until = if forgotten {
            Some(hold_from_now(context, &run.job)?)
        } else {
            None
        };
        finish_held(context, run, outcome, None, None, held_until)?;
    }
    Ok(context.ledger.container_gone(&run.id)?)
}

pub(super) fn hold_from_now(context: &Context, job: &JobName) -> Result<Timestamp, ApplyError> {
    let hold = SignedDuration::try_from(policy_of(context, job)?.hold()).unwrap_or(SignedDuration::MAX);
    Ok(context.clock.now().saturating_add(hold).unwrap_or(Timestamp::MAX))
}

/// Step 8: logs, then the outcome.
async fn collect(context: &Context, run: &Run, state: &ContainerState) -> Result<(), ApplyError> {
    let note = capture_logs(context, &run.id, state, run.logs_since(state.started_at)).await;
    let policy = policy_of(context, &run.job)?;
    let restarted = engine_restarted_since(context, run).await?;
    let killed = was_killed(context, run, state, restarted).await?;
    let (outcome, reason) = name_who_asked(context, run, verdict(run, state, &policy, restarted, killed))?;
    if run.outcome == Some(Outcome::Unknown) && outcome == Outcome::Unknown {
        // No better known than before, but its end was seen: it holds its job no longer.
        return Ok(context.ledger.release(&run.id)?);
    }
    finish(context, run, (outcome, reason), Some(state), note)
}

/// The meaning of an exit code that inspect shows.
fn verdict(
    run: &Run,
    state: &ContainerState,
    policy: &Policy,
    restarted: bool,
    killed: bool,
) -> (Outcome, Reason) {
    let code = state.exit_code;
    if let Some(asked) = run.stop_requested {
        return (asked, stop_reason(run, asked, policy));
    }
    // A daemon that comes back reports 255 (or 137) for jobs that may have ended well.
    if restarted && (code == 255 || code == 137) {
        return (Outcome::Unknown, Reason::EngineRestarted { reported: code });
    }
    if state.oom_killed {
        return (Outcome::Failed, Reason::OutOfMemory);
    }
    // Whatever the code: a job that traps the signal may end with 0 in the middle of its work.
    if killed {
        return (Outcome::Failed, Reason::KilledExternally);
    }
    if policy.success_exit_codes.contains(&code) {
        return (Outcome::Succeeded, Reason::Exit(code));
    }
    // A daemon that was stopped in order had stopped its containers first, and noted their codes.
    if code == 137 || (restarted && code > 128) {
        return (Outcome::Failed, Reason::KilledExternally);
    }
    (Outcome::Failed, Reason::Exit(code))
}

/// Whether somebody sent it a signal that is meant to end it, and we did not: a person, or an engine
/// that was stopped in order. Events tell; those of an engine that has restarted only to who listened.
async fn was_killed(
    context: &Context,
    run: &Run,
    state: &ContainerState,
    restarted: bool,
) -> Result<bool, ApplyError> {
    let (None, Some(intent)) = (run.stop_requested, &run.intent) else {
        return Ok(false);
    };
    let began = state.started_at.unwrap_or(intent.at);
    if context.stream.killed(&state.id).is_some_and(|at| at >= began) {
        return Ok(true);
    }
    // Who has heard everything since before the start has heard of no kill.
    if restarted || context.stream.unbroken_since(intent.at) {
        return Ok(false);
    }
    let until = context.clock.now();
    let memory = remember(context, &state.id, began, until).await?;
    Ok(memory.kill)
}

/// A run that a person cancelled says who that was.
fn name_who_asked(
    context: &Context,
    run: &Run,
    (outcome, reason): (Outcome, Reason),
) -> Result<(Outcome, Reason), ApplyError> {
    if outcome != Outcome::Cancelled || reason != Reason::StoppedByUser {
        return Ok((outcome, reason));
    }
    let who = context.ledger.stop_by(&run.id)?;
    Ok((outcome, who.map_or(reason, Reason::CancelledBy)))
}

/// Why we asked for its end.
pub(super) fn stop_reason(run: &Run, asked: Outcome, policy: &Policy) -> Reason {
    if let Some(reason) = &run.stop_reason {
        return Reason::Other(reason.clone());
    }
    match (asked, policy.timeout) {
        (Outcome::TimedOut, Some(timeout)) => Reason::Timeout {
            after_secs: timeout.as_secs(),
        },
        (Outcome::TimedOut, None) => {
            Reason::Other("stopped after its timeout, which is no longer set".to_owned())
        }
        _ => Reason::StoppedByUser,
    }
}

/// What a run's end will be recorded with, for the schedulers beside us.
pub(super) fn stop_note(context: &Context, id: &RunId, asked: Outcome) -> Result<StopNote, ApplyError> {
    let Some(run) = context.ledger.run(id)? else {
        let reason = Reason::StoppedByUser.to_string();
        return Ok(StopNote {
            outcome: asked,
            reason,
        });
    };
    // The first word counts.
    let asked = run.stop_requested.unwrap_or(asked);
    let reason = stop_reason(&run, asked, &policy_of(context, &run.job)?);
    let (outcome, reason) = name_who_asked(context, &run, (asked, reason))?;
    Ok(StopNote {
        outcome,
        reason: reason.to_string(),
    })
}

fn finish(
    context: &Context,
    run: &Run,
    (outcome, reason): (Outcome, Reason),
    state: Option<&ContainerState>,
    note: Option<String>,
) -> Result<(), ApplyError> {
    finish_held(context, run, (outcome, reason), state, note, None)
}

fn finish_held(
    context: &Context,
    run: &Run,
    (outcome, reason): (Outcome, Reason),
    state: Option<&ContainerState>,
    note: Option<String>,
    held_until: Option<Timestamp>,
) -> Result<(), ApplyError> {
    let started_at = state.and_then(|state| state.started_at).or(run.started_at);
    let finished_at = state.and_then(|state| state.finished_at);
    // A daemon that died inside the start knows no StartedAt, but may have seen the end.
    let ran = (started_at.is_some() || finished_at.is_some()) && outcome != Outcome::StartFailed;
    let at = context.clock.now();
    let retry_at = retry_at(context, run, outcome, at)?;
    let finish = Finish {
        outcome,
        reason: reason.to_string(),
        exit_code: state.filter(|_| ran).map(|state| state.exit_code),
        started_at,
        finished_at,
        at,
        held_until,
        retry_at,
        note,
    };
    finish_now(context, run, finish)
}

/// Writes an outcome and says it, when it is news.
pub(super) fn finish_now(context: &Context, run: &Run, finish: Finish) -> Result<(), ApplyError> {
    let (outcome, started_at, finished_at) = (
        finish.outcome,
        finish.started_at.or(run.started_at),
        finish.finished_at,
    );
    if context.ledger.finish(&run.id, &finish)? {
        // Docker's FinishedAt of a short job may lie before its StartedAt (measured on 20.10).
        let secs = started_at
            .zip(finished_at)
            .map(|(from, to)| to.duration_since(from).as_secs().max(0));
        let what = What::Ended {
            run: run.id.clone(),
            outcome,
            reason: finish.reason,
            secs,
        };
        context.say(Some(&run.job), what);
    }
    Ok(())
}

/// When another attempt at the run's slot is due, if its policy asks for one after that outcome. A
/// manual run has no slot: whoever started it decides.
pub(super) fn retry_at(
    context: &Context,
    run: &Run,
    outcome: Outcome,
    at: Timestamp,
) -> Result<Option<Timestamp>, ApplyError> {
    if run.slot.is_none() || outcome.is_success() {
        return Ok(None);
    }
    let pause = policy_of(context, &run.job)?.pause_before_next(outcome, run.attempt);
    Ok(pause.map(|pause| at.saturating_add(pause).unwrap_or(Timestamp::MAX)))
}

pub(super) fn policy_of(context: &Context, job: &JobName) -> Result<Policy, ApplyError> {
    Ok(context
        .ledger
        .jobs()?
        .remove(job)
        .map(|record| record.policy)
        .unwrap_or_default())
}

/// Whether the daemon is known to be another process than the one that the run was started under.
async fn engine_restarted_since(context: &Context, run: &Run) -> Result<bool, ApplyError> {
    let Some(intent) = &run.intent else {
        return Ok(false);
    };
    if context.stream.unbroken_since(intent.at) {
        return Ok(false);
    }
    if let (Some(then), Some(now)) = (&intent.engine_peer, context.engine.peer().await) {
        return Ok(*then != now);
    }
    if !intent.owner.boot_id.is_empty() && intent.owner.boot_id != owner::boot_id() {
        return Ok(true);
    }
    // Nobody watched it the whole time, so nobody can say that it did not.
    let gaps = context.ledger.gaps()?;
    Ok(gaps
        .iter()
        .any(|gap| gap.kind != GapKind::ClockJumped && gap.to > intent.at))
}

/// An error reply to our own start. With the same daemon and nothing started it is definite.
pub(super) async fn refused_start(
    context: &Context,
    launch: &Launch,
    target: &Target,
    intent: &Intent,
    message: &str,
) -> Result<Launched, ApplyError> {
    let Some(run) = context.ledger.run(&launch.name)? else {
        return Ok(Launched::Unconfirmed);
    };
    let Some(state) = context.engine.inspect(&target.id).await? else {
        return Ok(Launched::Unconfirmed);
    };
    let state = as_of(&run, state);
    // Under socket activation there is no peer to compare, but our mark is still remembered.
    let same_daemon =
        same_daemon(context, intent).await || look_back(context, &target.id, intent).await?.mark;
    let settled = state.started_at.is_none() && state.status == ContainerStatus::Created && same_daemon;
    if !settled || state.start_was_broken_off() {
        return Ok(Launched::Unconfirmed);
    }
    // The engine may quote the command or the environment.
    let message = launch.spec.conceal(message.trim());
    finish(
        context,
        &run,
        (Outcome::StartFailed, Reason::StartRefused(message)),
        Some(&state),
        None,
    )?;
    Ok(Launched::Started)
}

/// Evidence that the daemon has not restarted since the intent.
async fn same_daemon(context: &Context, intent: &Intent) -> bool {
    context.stream.unbroken_since(intent.at)
        || (intent.engine_peer.is_some() && intent.engine_peer == context.engine.peer().await)
}

/// Step 7: no reply to a start, or its owner died. Never started again; perhaps made anew.
async fn fence(context: &Context, run: &Run, container: &str, intent: &Intent) -> Result<(), ApplyError> {
    context.say(Some(&run.job), What::Fencing { run: run.id.clone() });
    if matches!(run.within, Within::Reused(_)) {
        return wait_and_see(context, run, container, intent).await;
    }
    let mut state = wait_out_start(context, container, intent).await?;
    if let Some(state) = &state
        && (state.is_pristine() || state.start_was_broken_off())
        && let Some(evidence) = evidence(context, state, intent).await?
    {
        match super::delete(context, container).await {
            Ok(Removal::Removed)
                if !evidence.needs_events
                    || look_back(context, container, intent).await?.shows_no_start() =>
            {
                return never_ran(context, run);
            }
            Ok(Removal::Gone) => return vanished(context, run).await,
            Ok(Removal::Removed) => {
                let reason = (Outcome::Unknown, Reason::Lost);
                finish(context, run, reason, None, None)?;
                return Ok(context.ledger.container_gone(&run.id)?);
            }
            // It runs after all.
            Err(ApplyError::Engine(EngineError::Refused { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    // Whatever happened meanwhile is looked at once more.
    state = context.engine.inspect(container).await?.or(state);
    match state {
        None => vanished(context, run).await,
        Some(state) if state.status.is_live() => Ok(()),
        Some(state) if state.started_at.is_some() || state.finished_at.is_some() => {
            collect(context, run, &state).await
        }
        Some(state) if !state.error.is_empty() => {
            let reason = Reason::StartRefused(shown_error(context, run, &state)?);
            finish(context, run, (Outcome::StartFailed, reason), Some(&state), None)
        }
        Some(_) => {
            let until = hold_from_now(context, &run.job)?;
            let reason = (Outcome::Unknown, Reason::EngineDiedAtStart);
            finish_held(context, run, reason, None, None, Some(until))
        }
    }
}

/// A reused container is not fenced: deleting it would destroy the files that it is kept for.
async fn wait_and_see(
    context: &Context,
    run: &Run,
    container: &str,
    intent: &Intent,
) -> Result<(), ApplyError> {
    loop {
        let Some(state) = context.engine.inspect(container).await? else {
            return vanished(context, run).await;
        };
        let state = as_of(run, state);
        if state.status.is_live() {
            return Ok(());
        }
        if state.started_at.is_some() {
            return collect(context, run, &state).await;
        }
        if context.clock.now().duration_since(intent.at).abs() >= REUSED_START_WINDOW {
            let until = hold_from_now(context, &run.job)?;
            let reason = (Outcome::Unknown, Reason::StartUnconfirmed);
            return finish_held(context, run, reason, None, None, Some(until));
        }
        context.sleep(LOOK_AGAIN).await;
    }
}

/// The engine's words, unless they could quote a value that the ledger keeps masked: only its hash
/// is known here, so it cannot be searched for.
pub(super) fn shown_error(
    context: &Context,
    run: &Run,
    state: &ContainerState,
) -> Result<String, ApplyError> {
    let spec = context.ledger.spec_of(&run.id)?.unwrap_or_default();
    if spec.contains("hmac:") {
        return Ok("the engine refused it; its words are not kept, they may quote a secret".to_owned());
    }
    Ok(state.error.trim().to_owned())
}

/// Proof was found. A slot that may still start is given back; for any other run, and for a manual
/// one, this is how it ended.
pub(super) fn never_ran(context: &Context, run: &Run) -> Result<(), ApplyError> {
    let record = context.ledger.jobs()?.remove(&run.job);
    let ended = match (run.slot, record) {
        (None, _) => Some((Outcome::StartFailed, Reason::StartNeverArrived)),
        (Some(_), None) => Some((Outcome::Missed, Reason::Removed)),
        (Some(_), Some(record)) if record.removed => Some((Outcome::Missed, Reason::Removed)),
        (Some(slot), Some(record)) if slot.at() <= record.baseline => {
            Some((Outcome::Missed, Reason::ScheduleEdited))
        }
        (Some(_), Some(_)) => None,
    };
    if let Some(outcome) = ended {
        finish(context, run, outcome, None, None)?;
        return Ok(context.ledger.container_gone(&run.id)?);
    }
    context.ledger.never_ran(&run.id)?;
    context.say(Some(&run.job), What::NeverRan { run: run.id.clone() });
    Ok(())
}

/// Looks until the start can no longer be under way, or until something shows.
async fn wait_out_start(
    context: &Context,
    container: &str,
    intent: &Intent,
) -> Result<Option<ContainerState>, ApplyError> {
    loop {
        let state = context.engine.inspect(container).await?;
        let pristine = state.as_ref().is_some_and(ContainerState::is_pristine);
        if !pristine || context.clock.now().duration_since(intent.at).abs() >= START_WINDOW {
            return Ok(state);
        }
        context.sleep(LOOK_AGAIN).await;
    }
}

/// Why a container that shows no start can be believed.
struct Evidence {
    /// The same daemon: then its events, too, must show no start.
    needs_events: bool,
}

async fn evidence(
    context: &Context,
    state: &ContainerState,
    intent: &Intent,
) -> Result<Option<Evidence>, ApplyError> {
    let info = context.engine.info().await?;
    if info.kind == EngineKind::Podman {
        // Podman's events outlive its service, and a start always leaves one.
        return Ok(Some(Evidence { needs_events: true }));
    }
    if same_daemon(context, intent).await || look_back(context, &state.id, intent).await?.mark {
        return Ok(Some(Evidence { needs_events: true }));
    }
    // The daemon restarted, or nobody knows. It opens a log before it starts anything, and only a
    // crash of the host could undo that.
    let same_boot = !intent.owner.boot_id.is_empty() && intent.owner.boot_id == owner::boot_id();
    if same_boot && context.engine.log_was_opened(state).await == Some(false) {
        return Ok(Some(Evidence { needs_events: false }));
    }
    Ok(None)
}

/// What the daemon's memory says of one container since the mark before an intent.
#[derive(Debug, Default)]
struct Memory {
    /// Our mark: the daemon has neither restarted nor forgotten anything that came after it.
    mark: bool,
    start: bool,
    /// Nothing can happen to the container after this.
    destroy: bool,
    kill: bool,
}

impl Memory {
    /// Whether it proves that the container was not started before its removal: a memory in which
    /// not even the removal is seen proves nothing.
    fn shows_no_start(&self) -> bool {
        self.destroy && !self.start
    }

    /// The same, when the removal may lie back so far that a start before it could be forgotten.
    fn forgot_nothing(&self) -> bool {
        self.mark && self.shows_no_start()
    }
}

/// Reads the engine's memory of a container, to its destruction when there was one.
async fn look_back(context: &Context, container: &str, intent: &Intent) -> Result<Memory, ApplyError> {
    // The mark comes just before the intent, by the engine's clock.
    let since = intent
        .at
        .saturating_sub(SignedDuration::from_mins(2))
        .unwrap_or(intent.at);
    let until = context
        .clock
        .now()
        .saturating_add(SignedDuration::from_secs(1))
        .unwrap_or(Timestamp::MAX);
    remember(context, container, since, until).await
}

/// What the engine remembers of a container between two moments.
async fn remember(
    context: &Context,
    container: &str,
    since: Timestamp,
    until: Timestamp,
) -> Result<Memory, ApplyError> {
    let label = (LABEL_INSTANCE.to_owned(), context.instance.to_string());
    let mut events = context.engine.events(label, Some(since), Some(until)).await?;
    let mut memory = Memory::default();
    let read = async {
        while let Some(event) = events.next().await {
            let Ok(event) = event else { continue };
            if event.container != container {
                continue;
            }
            match event.action {
                EventAction::Update => memory.mark = true,
                EventAction::Start => memory.start = true,
                EventAction::Destroy => memory.destroy = true,
                EventAction::Kill => memory.kill = true,
                EventAction::Create | EventAction::Die | EventAction::Other(_) => {}
            }
            if memory.destroy {
                break;
            }
        }
    };
    // The stream ends at `until`; an engine that keeps it open must not hold the fence up.
    tokio::select! {
        () = read => {}
        () = context.sleep(Duration::from_secs(5)) => {}
    }
    Ok(memory)
}

/// Copies a run's output to the state folder. A log that cannot be read changes no outcome; the
/// note says so.
pub(super) async fn capture_logs(
    context: &Context,
    run: &RunId,
    state: &ContainerState,
    since: Option<Timestamp>,
) -> Option<String> {
    match copy_logs(context, run, state, since).await {
        Ok(None) => None,
        Ok(Some(note)) => Some(note),
        // What cannot be looked up is not quoted either.
        Err(_) if context.ledger.masks_logging(run).unwrap_or(true) => {
            Some("logs not readable: the engine's words are not kept, they may quote a secret".to_owned())
        }
        Err(why) => Some(format!("logs not readable: {why}")),
    }
}

async fn copy_logs(
    context: &Context,
    run: &RunId,
    state: &ContainerState,
    since: Option<Timestamp>,
) -> Result<Option<String>, String> {
    let options = LogOptions {
        timestamps: true,
        since,
        ..LogOptions::default()
    };
    let mut chunks = context
        .engine
        .logs(&state.id, &options)
        .await
        .map_err(|error| error.to_string())?;
    let path = context.ledger.log_path(run);
    let mut writer = LogWriter::create(&path).map_err(|error| error.to_string())?;
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            () = context.sleep(LOG_PATIENCE) => return Err("the engine stopped answering".to_owned()),
        };
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(|error| error.to_string())?;
        let output = match chunk.stream {
            LogStream::Stdout => Output::Stdout,
            LogStream::Stderr => Output::Stderr,
        };
        writer
            .write(output, &chunk.bytes)
            .map_err(|error| error.to_string())?;
        if writer.bytes() > LOG_LIMIT_BYTES {
            writer.finish().map_err(|error| error.to_string())?;
            return Ok(Some(format!("logs cut after {LOG_LIMIT_BYTES} bytes")));
        }
    }
    writer.finish().map_err(|error| error.to_string())?;
    Ok(None)
}

/// Why a container has a past that is not in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// A ledger that ours took over from had started it.
    Superseded,
    /// The same, and it ran until it was stopped just now.
    Stopped,
    /// Ours did, and has forgotten it.
    Lost,
}

/// A container that another ledger (superseded, or ours before it was lost) had made: what became of
/// it is recorded, then it is removed.
///
/// # Errors
/// When ledger or engine fail.
pub async fn adopt(
    context: &Context,
    job: &JobName,
    target: &Target,
    slot: Option<Slot>,
    attempt: u32,
    past: Past,
) -> Result<(), ApplyError> {
    let Some(state) = context.engine.inspect(&target.id).await? else {
        return Ok(());
    };
    let Some(stamp) = Stamp::read(&state.labels, &context.instance) else {
        return Ok(());
    };
    if past == Past::Lost && adopt_unseen(context, job, target).await? {
        return Ok(());
    }
    // The name of a reused container is its job's; which slot its last run was for, nobody knows.
    let id = match stamp.reused {
        true => ContainerName::of_manual(&context.instance, job, &target.id[..8.min(target.id.len())]),
        false => target.name.clone(),
    };
    let at = context.clock.now();
    let ran = state.started_at.is_some();
    let policy = policy_of(context, job)?;
    let (outcome, reason) = match past {
        Past::Lost => (Outcome::Unknown, Reason::LedgerLost),
        Past::Stopped => (Outcome::Cancelled, Reason::StoppedByUser),
        Past::Superseded if policy.success_exit_codes.contains(&state.exit_code) => {
            (Outcome::Succeeded, Reason::Exit(state.exit_code))
        }
        Past::Superseded => (Outcome::Failed, Reason::Exit(state.exit_code)),
    };
    let note = match ran {
        true => capture_logs(context, &id, &state, None).await,
        false => None,
    };
    let adopted = Adopted {
        id: id.clone(),
        job: job.clone(),
        slot,
        attempt,
        trigger: stamp.trigger,
        container: target.id.clone(),
        nonce: None,
        due_at: slot.map(Slot::at).or(state.started_at).unwrap_or(at),
        started_at: state.started_at,
        image: Some(state.image.clone()),
        spec_hash: Some(stamp.spec_hash),
        origin: stamp.origin,
        finish: Some(Finish {
            outcome,
            reason: reason.to_string(),
            exit_code: ran.then_some(state.exit_code),
            started_at: state.started_at,
            finished_at: state.finished_at,
            at,
            held_until: None,
            retry_at: None,
            note,
        }),
    };
    let new = context.ledger.adopt(&adopted)?;
    if new {
        let what = What::Ended {
            run: id.clone(),
            outcome,
            reason: reason.to_string(),
            secs: None,
        };
        context.say(Some(job), what);
    }
    context.engine.remove(&target.id, true).await?;
    // Its slot may have had another record all along: that one's container is not this one.
    if new {
        context.ledger.container_gone(&id)?;
    }
    Ok(())
}

/// A container of another ledger that looks unstarted may be one whose start nobody saw: `json-file`
/// writes LogPath before it starts anything. Such a one is unknown and holds its job; it is neither
/// started nor removed. `false`: it never ran.
pub(super) async fn adopt_unseen(
    context: &Context,
    job: &JobName,
    target: &Target,
) -> Result<bool, ApplyError> {
    let Some(state) = context.engine.inspect(&target.id).await? else {
        return Ok(false);
    };
    let stamp = Stamp::read(&state.labels, &context.instance);
    let Some(stamp) = stamp.filter(|_| state.is_pristine() && !state.log_path.is_empty()) else {
        return Ok(false);
    };
    let at = context.clock.now();
    let reason = Reason::EngineDiedAtStart.to_string();
    let adopted = Adopted {
        id: target.name.clone(),
        job: job.clone(),
        slot: stamp.slot,
        attempt: stamp.attempt,
        trigger: stamp.trigger,
        container: target.id.clone(),
        // Another ledger's: ours knows no such nonce.
        nonce: None,
        due_at: stamp.slot.map_or(at, Slot::at),
        started_at: None,
        image: Some(state.image),
        spec_hash: Some(stamp.spec_hash),
        origin: stamp.origin,
        finish: Some(Finish {
            outcome: Outcome::Unknown,
            reason: reason.clone(),
            exit_code: None,
            started_at: None,
            finished_at: None,
            at,
            held_until: Some(hold_from_now(context, job)?),
            retry_at: None,
            note: None,
        }),
    };
    if context.ledger.adopt(&adopted)? {
        let what = What::Ended {
            run: target.name.clone(),
            outcome: Outcome::Unknown,
            reason,
            secs: None,
        };
        context.say(Some(job), what);
    }
    Ok(true)
}

async fn stop_overdue(context: &Context, run: &Run, timeout: Duration) -> Result<(), ApplyError> {
    let (Some(container), None) = (&run.container, run.stop_requested) else {
        return Ok(());
    };
    let why = format!("has run longer than its timeout of {}s", timeout.as_secs());
    super::stop(
        context,
        &run.job,
        &run.id,
        container,
        None,
        Outcome::TimedOut,
        why,
    )
    .await
}

/// Stops a run that goes on for longer than it may, while another future of this process follows it. It goes on
/// for ever.
pub(super) async fn keep_time(context: &Context, id: &RunId, timeout: Option<Duration>) -> Infallible {
    let Some(timeout) = timeout else {
        return std::future::pending().await;
    };
    let mut began = None;
    loop {
        context.sleep(LOOK_AGAIN).await;
        // Who follows the run meets an error of the ledger, too.
        let Ok(Some(run)) = context.ledger.run(id) else {
            continue;
        };
        if run.outcome.is_some() || run.started_at.is_none() {
            continue;
        }
        let now = context.clock.monotonic();
        if now.saturating_sub(*began.get_or_insert(now)) < timeout {
            continue;
        }
        if let Err(error) = stop_overdue(context, &run, timeout).await {
            let text = error.to_string();
            context.say(Some(&run.job), What::Trouble { text });
        }
    }
}

/// Follows a run to its end and writes its outcome; returns it, or `None` when it was proven never
/// to have run and its slot is due again. Stops it when `timeout` has passed,
/// since nobody else may be there to do so; a `watch` beside this process may be first at either.
///
/// # Errors
/// When ledger or engine fail.
pub async fn wait_for_end(
    context: &Context,
    id: &RunId,
    timeout: Option<Duration>,
) -> Result<Option<Run>, ApplyError> {
    let began = context.clock.monotonic();
    loop {
        let mut report = LaneReport::default();
        settle(context, id, &mut report).await?;
        let Some(run) = context.ledger.run(id)? else {
            return Ok(None);
        };
        if run.outcome.is_some() {
            return Ok(Some(run));
        }
        let over = timeout.filter(|&timeout| context.clock.monotonic().saturating_sub(began) >= timeout);
        if let Some(timeout) = over {
            stop_overdue(context, &run, timeout).await?;
        }
        context.sleep(LOOK_AGAIN).await;
    }
}
