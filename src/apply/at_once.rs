//! Launch and result on an engine where making a run is starting it, and its name is the lock.
//!
//! Guarantees: the intent is on disk before the create request; a request without an answer is sent again
//! under the same name only, until the slot's deadline; a run that was seen is never made again. Whichever
//! scheduler was first, all of them record the run, and its end as the engine tells it: where one of them
//! ended it, as the note says that it left there.
//!
//! Crash points, in order, and what a restart finds:
//! 1. after the intent, before the request: no such service; the slot is given back and made anew;
//! 2. after the request, before its answer is recorded: the service, by its name;
//! 3. after that: a run like any other.

use std::time::Duration;

use jiff::Timestamp;

use super::launch::{Launched, environment_of, masked_spec, stamp, terms};
use super::settle::{LOOK_AGAIN, capture_logs, finish_now, never_ran, policy_of, shown_error, stop_reason};
use super::{ApplyError, Context, LaneReport, owner};
use crate::engine::{ContainerFilter, ContainerState, CreateRequest, EngineError};
use crate::event::What;
use crate::ledger::{Finish, Follow, Intended, NewAtOnce, NewContainer};
use crate::model::{
    ContainerStatus, Intent, JobName, LABEL_INSTANCE, OnNodeLoss, Outcome, Policy, Reason, Run, RunId,
    RunTrigger, Stamp, StopNote,
};
use crate::plan::{Followed, Launch};

/// The engine's own period between a stop and a kill, and what it may take to report the end.
const GRACE: Duration = Duration::from_secs(10);
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Makes a run, unless another scheduler is first.
pub(super) async fn start(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
) -> Result<Launched, ApplyError> {
    let Some(container) = context.engine.id_of(&launch.name) else {
        return Err(ApplyError::CannotArm(format!(
            "this engine has no name for {}",
            launch.name
        )));
    };
    // Never early, also when the wake was.
    context.wait_until(launch.due_at).await;
    let _place = context
        .starts
        .acquire()
        .await
        .map_err(|closed| ApplyError::CannotArm(format!("no more starts: {closed}")))?;
    if launch.exclusive
        && let Some(run) = beside(context, launch).await?
    {
        return Ok(Launched::Active(run));
    }
    let stamp = stamp(context, launch, trigger);
    let at = context.clock.now();
    let new = NewAtOnce {
        run: NewContainer {
            nonce: stamp.nonce.clone(),
            name: launch.name.clone(),
            job: launch.job.clone(),
            slot: stamp.slot,
            attempt: stamp.attempt,
            trigger,
            spec_hash: launch.spec_hash.clone(),
            image_id: launch.spec.conceal(launch.spec.image.as_str()),
            at,
            origin: launch.origin.clone(),
            spec: masked_spec(context, &launch.spec)?,
            reused: false,
        },
        container: container.clone(),
        due_at: launch.due_at,
        intent: Intent {
            at,
            owner: context.owner.clone(),
            engine_peer: None,
        },
        terms: terms(launch),
    };
    match context.ledger.intend_at_once(&new)? {
        Intended::New => {}
        Intended::AlreadyRecorded(_) => return Ok(Launched::AlreadyRecorded),
        Intended::Active(run) => return Ok(Launched::Active(run.id)),
        Intended::Full { cap, by } => return Ok(Launched::Full { cap, by }),
        Intended::NotItsTurn => return Ok(Launched::NotItsTurn),
    }
    let request = CreateRequest {
        name: Some(launch.name.clone()),
        spec: launch.spec.clone(),
        labels: stamp.labels(&context.instance),
        environment: environment_of(launch),
        attach: false,
    };
    let error = match context.engine.create(&request).await {
        Ok(_) => return launched(context, launch),
        Err(error) => error,
    };
    answer(context, launch, &stamp, &container, error).await
}

/// A run of the job that another scheduler has started and that goes on: what the ledger cannot know yet.
async fn beside(context: &Context, launch: &Launch) -> Result<Option<RunId>, ApplyError> {
    let filter = ContainerFilter {
        all: false,
        label: Some((LABEL_INSTANCE.to_owned(), context.instance.to_string())),
    };
    let listed = context.engine.list_containers(&filter).await?;
    let other = listed.into_iter().find_map(|one| {
        let stamp = Stamp::read(&one.labels, &context.instance)?;
        let other = stamp.job == launch.job && one.name != launch.name.as_str();
        other.then(|| one.name.parse().ok()).flatten()
    });
    Ok(other)
}

fn launched(context: &Context, launch: &Launch) -> Result<Launched, ApplyError> {
    context.ledger.launched(&launch.name)?;
    let late = context.clock.now().duration_since(launch.due_at);
    let what = What::Started {
        run: launch.name.clone(),
        late_ms: i64::try_from(late.as_millis()).unwrap_or(i64::MAX),
    };
    context.say(Some(&launch.job), what);
    Ok(Launched::Started)
}

/// What a create request without a 201 has come to.
async fn answer(
    context: &Context,
    launch: &Launch,
    stamp: &Stamp,
    container: &str,
    error: EngineError,
) -> Result<Launched, ApplyError> {
    let taken = match &error {
        // It never left.
        EngineError::Unreachable { .. } => {
            give_back(context, launch)?;
            return Err(error.into());
        }
        EngineError::Refused { status: 409, .. } => true,
        EngineError::Refused { status, message } if *status < 500 => {
            give_back(context, launch)?;
            return Err(ApplyError::CannotArm(message.clone()));
        }
        EngineError::Invalid(why) | EngineError::Registry(why) => {
            give_back(context, launch)?;
            return Err(ApplyError::CannotArm(why.clone()));
        }
        // It may have been carried out, or may be yet.
        EngineError::Refused { .. } | EngineError::Unanswered { .. } | EngineError::Undecodable { .. } => {
            false
        }
    };
    let found = match context.engine.inspect(container).await {
        Ok(found) => found,
        // `settle` asks again.
        Err(error) => {
            tracing::debug!(%error, run = %launch.name, "a create request is in doubt");
            return Ok(Launched::Unconfirmed);
        }
    };
    let Some(found) = found else {
        return Ok(Launched::Unconfirmed);
    };
    match Stamp::read(&found.labels, &context.instance) {
        Some(other) if other.nonce == stamp.nonce => launched(context, launch),
        Some(other)
            if (&other.job, other.slot, other.attempt) == (&launch.job, launch.slot, launch.attempt) =>
        {
            context.ledger.launched(&launch.name)?;
            let what = What::StartedBeside {
                run: launch.name.clone(),
                ledger: other.ledger,
            };
            context.say(Some(&launch.job), what);
            Ok(Launched::Started)
        }
        _ => {
            give_back(context, launch)?;
            debug_assert!(taken || found.labels.is_empty());
            Err(ApplyError::CannotArm(format!(
                "the name {container} is taken by a service that is not ours; it is left alone"
            )))
        }
    }
}

/// Its request started nothing: the slot is due again.
fn give_back(context: &Context, launch: &Launch) -> Result<(), ApplyError> {
    context.ledger.never_ran(&launch.name)?;
    Ok(())
}

/// Records a run that another scheduler has started.
pub(super) fn follow(context: &Context, job: &JobName, followed: &Followed) -> Result<(), ApplyError> {
    let Followed {
        name,
        container,
        slot,
        attempt,
        trigger,
        due_at,
        spec_hash,
        origin,
        ledger,
        group,
    } = followed;
    let new = Follow {
        id: name.clone(),
        job: job.clone(),
        slot: *slot,
        attempt: *attempt,
        trigger: *trigger,
        container: container.clone(),
        due_at: *due_at,
        spec_hash: spec_hash.clone(),
        origin: origin.clone(),
        group: group.clone(),
    };
    if context.ledger.follow(&new)? {
        let what = What::StartedBeside {
            run: name.clone(),
            ledger: ledger.clone(),
        };
        context.say(Some(job), what);
    }
    Ok(())
}

/// Asks for a run's end for all schedulers, and waits for it as long as its grace period allows.
pub(super) async fn conclude(
    context: &Context,
    container: &str,
    note: &StopNote,
    grace: Option<Duration>,
) -> Result<(), ApplyError> {
    context.engine.conclude(container, note).await?;
    let began = context.clock.monotonic();
    let patience = grace.unwrap_or(GRACE).saturating_add(STOP_MARGIN);
    while context.clock.monotonic().saturating_sub(began) < patience {
        let state = context.engine.inspect(container).await?;
        if state.is_none_or(|state| !state.status.is_live()) {
            return Ok(());
        }
        context.sleep(LOOK_AGAIN).await;
    }
    Err(ApplyError::CannotStop(format!(
        "{container} goes on although its end was asked for"
    )))
}

/// Finds out what became of a run and writes it down.
pub(super) async fn settle(context: &Context, run: &Run, report: &mut LaneReport) -> Result<(), ApplyError> {
    let Some(container) = &run.container else {
        return Ok(());
    };
    let in_doubt = context.ledger.is_in_doubt(&run.id)?;
    let Some(state) = context.engine.inspect(container).await? else {
        if let (true, Some(intent)) = (in_doubt, &run.intent) {
            if intent.owner != context.owner && owner::is_alive(&intent.owner) {
                // Another process of ours is asking for it at this moment.
                return Ok(());
            }
            // Should the request be carried out yet, it has the name, and the next one finds it.
            report.progress = true;
            return never_ran(context, run);
        }
        report.progress = true;
        return vanished(context, run);
    };
    if in_doubt {
        context.ledger.launched(&run.id)?;
    }
    if run.outcome.is_some_and(|outcome| outcome != Outcome::Unknown) {
        return Ok(());
    }
    match &state.status {
        ContainerStatus::Running | ContainerStatus::Exited if run.started_at.is_none() => {
            if let Some(at) = state.started_at {
                context.ledger.started(&run.id, at)?;
                report.progress = true;
            }
        }
        _ => {}
    }
    match &state.status {
        ContainerStatus::Exited => {
            report.progress = true;
            ended(context, run, &state).await
        }
        ContainerStatus::Dead if run.outcome.is_none() => {
            report.progress = true;
            lost(context, run, &state)
        }
        ContainerStatus::Dead if run.holds_job(context.clock.now()) => Ok(()),
        ContainerStatus::Dead => Ok(context.ledger.release(&run.id)?),
        _ => Ok(()),
    }
}

/// The engine's own times are what all schedulers have in common: what follows from an end counts from
/// there, so that one that was away does not begin anew what the others have long done.
fn base(context: &Context, state: &ContainerState) -> Timestamp {
    let now = context.clock.now();
    state.finished_at.map_or(now, |at| at.min(now))
}

async fn ended(context: &Context, run: &Run, state: &ContainerState) -> Result<(), ApplyError> {
    let policy = policy_of(context, &run.job)?;
    let (outcome, mut reason) = verdict(state, &policy);
    if outcome == Outcome::StartFailed {
        reason = Reason::StartRefused(shown_error(context, run, state)?).to_string();
    }
    if run.outcome == Some(Outcome::Unknown) && outcome == Outcome::Unknown {
        return Ok(context.ledger.release(&run.id)?);
    }
    let ran = state.started_at.is_some();
    let note = match ran {
        true => capture_logs(context, &run.id, state, None).await,
        false => None,
    };
    let at = base(context, state);
    let finish = Finish {
        outcome,
        reason,
        exit_code: ran.then_some(state.exit_code),
        started_at: run.started_at.or(state.started_at),
        finished_at: state.finished_at.filter(|_| ran),
        at: context.clock.now(),
        held_until: None,
        retry_at: further(run, &policy, outcome, at),
        note,
    };
    finish_now(context, run, finish)
}

/// What the end of a task means. The same for every scheduler: from the engine's words alone.
fn verdict(state: &ContainerState, policy: &Policy) -> (Outcome, String) {
    let ran = state.started_at.is_some();
    if let Some(StopNote { outcome, reason }) = StopNote::read(&state.labels) {
        // A node took it at the moment at which it was given up.
        if outcome == Outcome::Missed && ran {
            return (Outcome::Cancelled, Reason::EndedAtItsStart.to_string());
        }
        // It was over when its end was asked for.
        let by_itself = ran && !state.ended_by_engine;
        if !by_itself {
            return (outcome, reason);
        }
    }
    let code = state.exit_code;
    let (outcome, reason) = match state {
        _ if !ran => {
            let why = state.error.trim().to_owned();
            (Outcome::StartFailed, Reason::StartRefused(why))
        }
        _ if state.ended_by_engine => (Outcome::Failed, Reason::KilledExternally),
        _ if policy.success_exit_codes.contains(&code) => (Outcome::Succeeded, Reason::Exit(code)),
        _ if code == 137 => (Outcome::Failed, Reason::KilledExternally),
        _ => (Outcome::Failed, Reason::Exit(code)),
    };
    (outcome, reason.to_string())
}

/// When another attempt is due.
fn further(run: &Run, policy: &Policy, outcome: Outcome, from: Timestamp) -> Option<Timestamp> {
    run.slot?;
    let pause = policy.pause_before_next(outcome, run.attempt)?;
    Some(from.saturating_add(pause).unwrap_or(Timestamp::MAX))
}

/// Its node is down: it may go on there, where nobody can reach it, and its result may never be known.
fn lost(context: &Context, run: &Run, state: &ContainerState) -> Result<(), ApplyError> {
    let policy = policy_of(context, &run.job)?;
    let from = base(context, state);
    let after = |by: Duration| from.saturating_add(by).unwrap_or(Timestamp::MAX);
    let rerun = policy.on_node_loss == OnNodeLoss::Rerun && run.slot.is_some();
    let again = match rerun && run.attempt < policy.retries.max(1) {
        true => Some(from),
        false => further(run, &policy, Outcome::Unknown, from),
    };
    let finish = Finish {
        outcome: Outcome::Unknown,
        reason: Reason::NodeLost(state.node.clone()).to_string(),
        exit_code: None,
        started_at: run.started_at.or(state.started_at),
        finished_at: None,
        at: context.clock.now(),
        // Who wants it run again at once has said that twice is no harm.
        held_until: (!rerun).then(|| after(policy.hold())),
        retry_at: again,
        note: None,
    };
    finish_now(context, run, finish)
}

/// The service of a run that was seen is gone.
fn vanished(context: &Context, run: &Run) -> Result<(), ApplyError> {
    if run.outcome.is_none() {
        let policy = policy_of(context, &run.job)?;
        let (outcome, reason) = match run.stop_requested {
            Some(asked) => (asked, stop_reason(run, asked, &policy)),
            None => (Outcome::Unknown, Reason::Lost),
        };
        let at = context.clock.now();
        let finish = Finish {
            outcome,
            reason: reason.to_string(),
            exit_code: None,
            started_at: run.started_at,
            finished_at: None,
            at,
            held_until: None,
            retry_at: further(run, &policy, outcome, at),
            note: None,
        };
        finish_now(context, run, finish)?;
    }
    Ok(context.ledger.container_gone(&run.id)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn state(code: i64) -> ContainerState {
        ContainerState {
            id: "s".into(),
            name: "s".into(),
            image: String::new(),
            image_id: String::new(),
            labels: BTreeMap::new(),
            status: ContainerStatus::Exited,
            started_at: Some(Timestamp::UNIX_EPOCH),
            finished_at: None,
            exit_code: code,
            error: String::new(),
            oom_killed: false,
            ended_by_engine: false,
            node: String::new(),
            log_driver: String::new(),
            log_path: String::new(),
            tty: false,
            environment: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            working_dir: String::new(),
        }
    }

    fn noted(mut state: ContainerState, outcome: Outcome) -> ContainerState {
        let note = StopNote {
            outcome,
            reason: "because".into(),
        };
        state.labels.extend(note.labels());
        state
    }

    fn outcome(state: &ContainerState) -> Outcome {
        verdict(state, &Policy::default()).0
    }

    #[test]
    fn the_end_of_a_task_means_the_same_to_everybody() {
        assert_eq!(outcome(&state(0)), Outcome::Succeeded);
        assert_eq!(outcome(&state(3)), Outcome::Failed);
        let mut stopped = state(0);
        stopped.ended_by_engine = true;
        assert_eq!(
            outcome(&stopped),
            Outcome::Failed,
            "somebody ended it, and left no note"
        );
        assert_eq!(
            outcome(&noted(stopped.clone(), Outcome::TimedOut)),
            Outcome::TimedOut
        );
        assert_eq!(
            verdict(&noted(stopped, Outcome::Cancelled), &Policy::default()).1,
            "because"
        );
        let mut never = state(0);
        never.started_at = None;
        assert_eq!(outcome(&never), Outcome::StartFailed);
        assert_eq!(outcome(&noted(never, Outcome::Missed)), Outcome::Missed);
    }

    #[test]
    fn a_note_does_not_take_back_an_end_of_its_own() {
        assert_eq!(outcome(&noted(state(0), Outcome::TimedOut)), Outcome::Succeeded);
    }

    #[test]
    fn what_a_node_took_while_it_was_given_up_is_not_missed() {
        let mut ended = state(143);
        ended.ended_by_engine = true;
        assert_eq!(outcome(&noted(ended, Outcome::Missed)), Outcome::Cancelled);
    }
}
