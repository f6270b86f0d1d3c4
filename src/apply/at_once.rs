//! Launch and result on an engine where making a run is starting it, and its name is the lock.
//!
//! Guarantees: the intent is on disk before the create request; a request without an answer is sent again
//! under the same name only, until the slot's deadline; a run that was seen is never made again. Whichever
//! scheduler was first, all of them record the run, and its end as the engine tells it: where one of them
//! ended it, as the note says that it left there.
//!
//! What may not run beside something else (a job that is not `concurrency: allow`, a limit) is made
//! *reserved*, which takes its name, and [begun](begin) by a second request, after a look at everything
//! that is there by then. That request, and each that gives a reserved run up, names the version of the
//! look and counts only while nothing has changed. Of any two runs that exclude each other the one whose
//! last look came later had the other's name in it: begun, and it gives up; or reserved, and then the one
//! that goes first gave up the other, whose own request fails after that. A limit of N works alike: of
//! N + 1 runs the one that looked last had all others in its look, and left the name of N - 1 of them at
//! most. This needs no clocks and no
//! fresh reads, only that one service's versions are in order. It costs 11 ms (6 the look, 5 the request that
//! begins; medians on a busy machine with 60 services).
//!
//! Crash points, in order, and what a restart finds:
//! 1. after the intent, before the request: no such service; the slot is given back and made anew;
//! 2. after the request, before its answer is recorded: the service, by its name;
//! 3. where it was made reserved, before it is begun: the same. Another scheduler for which the slot is
//!    due finds the name taken, and begins it; else it is given up and its slot is due again;
//! 4. after that: a run like any other.

use std::time::Duration;

use jiff::Timestamp;

use super::launch::{Launched, environment_of, masked_spec, stamp, terms};
use super::settle::{LOOK_AGAIN, capture_logs, finish_now, never_ran, policy_of, shown_error, stop_reason};
use super::{ApplyError, Context, LaneReport, owner};
use crate::engine::{
    ContainerFilter, ContainerState, ContainerSummary, CreateRequest, EngineError, Reserved,
};
use crate::event::What;
use crate::ledger::{Finish, Follow, Intended, NewAtOnce, NewContainer};
use crate::model::{
    Cap, ContainerStatus, Intent, JobName, LABEL_INSTANCE, OnNodeLoss, Outcome, Policy, Reason, Run, RunId,
    RunTrigger, Slot, Stamp, StopNote,
};
use crate::plan::{Followed, Launch, RESERVED_FOR};

/// The engine's own period between a stop and a kill, and what it may take to report the end.
const GRACE: Duration = Duration::from_secs(10);
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// How often a reserved run is looked at before it is left to `settle`.
const LOOKS: u32 = 10;

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
    if launch.is_late(context.clock.now()) {
        return Ok(Launched::TooLate);
    }
    let reserved = launch.exclusive || !launch.caps.is_empty();
    if reserved {
        let (_, others) = look(context, container.as_str()).await?;
        if let Some(refused) = room(context, launch, &others)?.refused {
            return Ok(refused);
        }
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
        reserved,
    };
    let error = match context.engine.create(&request).await {
        Ok(_) if reserved => return begin(context, launch, &container).await,
        Ok(_) => return launched(context, launch),
        Err(error) => error,
    };
    answer(context, launch, &stamp, &container, error).await
}

/// A service of the instance, and what its labels say.
type Seen = (ContainerSummary, Stamp);

/// Everything of the instance that is there: this run, and the others.
async fn look(
    context: &Context,
    container: &str,
) -> Result<(Option<ContainerSummary>, Vec<Seen>), ApplyError> {
    let filter = ContainerFilter {
        all: true,
        label: Some((LABEL_INSTANCE.to_owned(), context.instance.to_string())),
    };
    let listed = context.engine.list_containers(&filter).await?;
    let (own, others): (Vec<_>, Vec<_>) = listed.into_iter().partition(|one| one.id == container);
    let others = others.into_iter().filter_map(|one| {
        let stamp = Stamp::read(&one.labels, &context.instance)?;
        Some((one, stamp))
    });
    Ok((own.into_iter().next(), others.collect()))
}

/// What a look says of a run that may not be beside everything.
#[derive(Default)]
struct Room {
    /// Why it may not be begun.
    refused: Option<Launched>,
    /// Reserved runs before which it goes, and that have no room beside it: by ID and version.
    behind: Vec<(String, u64)>,
}

/// Which of two reserved runs goes first: for every scheduler the same.
fn order(slot: Option<Slot>, name: &str) -> (i64, &str) {
    (slot.map_or(i64::MAX, Slot::as_second), name)
}

/// A reserved run before which it goes.
struct Behind<'a> {
    order: (i64, &'a str),
    /// Whatever room there is, it cannot stay.
    goes: bool,
    group: Option<String>,
    one: &'a ContainerSummary,
}

/// Whether there is room for it beside those.
fn room(context: &Context, launch: &Launch, others: &[Seen]) -> Result<Room, ApplyError> {
    let now = context.clock.now();
    let refused = |refused| Room {
        refused: Some(refused),
        behind: Vec::new(),
    };
    let mut waiting: Vec<Behind<'_>> = Vec::new();
    let mut counted: Vec<(Option<String>, RunId)> = Vec::new();
    for (one, stamp) in others {
        let Ok(run) = one.name.parse::<RunId>() else {
            continue;
        };
        let excludes = launch.exclusive && stamp.job == launch.job;
        let group = policy_of(context, &stamp.job)?.group;
        let counts = launch.caps.iter().any(|cap| counts_for(cap, group.as_ref()));
        if !excludes && !counts {
            continue;
        }
        let takes_room = match &one.status {
            ContainerStatus::Created => {
                // One that was left behind holds up nobody.
                let abandoned = now.duration_since(one.created) > RESERVED_FOR;
                let order = order(stamp.slot, &one.name);
                let first = order < self::order(launch.slot, launch.name.as_str());
                if abandoned || !first {
                    waiting.push(Behind {
                        order,
                        goes: abandoned || excludes,
                        group: group.clone(),
                        one,
                    });
                }
                first && !abandoned
            }
            ContainerStatus::Removing | ContainerStatus::Exited => false,
            // Lost with its node: how long that holds up its job is in the ledger, once it is known there.
            ContainerStatus::Dead => context.ledger.run(&run)?.is_none(),
            _ => true,
        };
        if takes_room && excludes {
            return Ok(refused(Launched::Active(run)));
        }
        if takes_room {
            counted.push((group, run));
        }
    }
    let mut spare = Vec::new();
    for cap in &launch.caps {
        let of_cap = counted
            .iter()
            .filter(|(group, _)| counts_for(cap, group.as_ref()));
        let by: Vec<RunId> = of_cap.map(|(_, run)| run.clone()).collect();
        let limit = cap.limit as usize;
        if by.len() >= limit {
            return Ok(refused(Launched::Full { cap: cap.clone(), by }));
        }
        spare.push((cap, limit - by.len() - 1));
    }
    // As many of those behind it stay as have room beside it, the first ones.
    waiting.sort_by_key(|behind| behind.order);
    let mut room = Room::default();
    for behind in waiting {
        let mut of_it: Vec<&mut usize> = spare
            .iter_mut()
            .filter(|(cap, _)| counts_for(cap, behind.group.as_ref()))
            .map(|(_, left)| left)
            .collect();
        if behind.goes || of_it.iter().any(|left| **left == 0) {
            room.behind.push((behind.one.id.clone(), behind.one.version));
        } else {
            of_it.iter_mut().for_each(|left| **left -= 1);
        }
    }
    Ok(room)
}

fn counts_for(cap: &Cap, group: Option<&String>) -> bool {
    cap.group.is_none() || cap.group.as_ref() == group
}

/// Begins a reserved run, unless something that it may not be beside is there. Whatever is not known of
/// the answers is found out by the next look.
async fn begin(context: &Context, launch: &Launch, container: &str) -> Result<Launched, ApplyError> {
    for round in 0..LOOKS {
        match try_to_begin(context, launch, container, round > 0).await {
            Ok(Some(launched)) => return Ok(launched),
            Ok(None) => {}
            Err(ApplyError::Engine(error)) => {
                tracing::debug!(%error, run = %launch.name, "a reserved run is looked at again");
            }
            Err(error) => return Err(error),
        }
        context.sleep(LOOK_AGAIN).await;
    }
    // `settle` goes on.
    Ok(Launched::Unconfirmed)
}

/// `None`: something has changed meanwhile.
async fn try_to_begin(
    context: &Context,
    launch: &Launch,
    container: &str,
    again: bool,
) -> Result<Option<Launched>, ApplyError> {
    let (own, others) = look(context, container).await?;
    let own = match own {
        // Another scheduler that tried to begin it has given it up and deleted it; should only this manager
        // be behind, the next create request finds it.
        None if again => {
            give_back(context, launch)?;
            return Ok(Some(Launched::NotItsTurn));
        }
        None => return Ok(None),
        Some(own) => own,
    };
    match own.status {
        ContainerStatus::Created => {}
        ContainerStatus::Removing => return drop_reserved(context, launch, container).await.map(Some),
        // Another scheduler was first.
        _ => return launched(context, launch).map(Some),
    }
    let room = room(context, launch, &others)?;
    let late = launch.is_late(context.clock.now()).then_some(Launched::TooLate);
    if let Some(refused) = late.or(room.refused) {
        let done = context.engine.decide(container, own.version, Reserved::GivenUp);
        if !done.await? {
            return Ok(None);
        }
        drop_reserved(context, launch, container).await?;
        return Ok(Some(refused));
    }
    for (id, version) in &room.behind {
        if !context.engine.decide(id, *version, Reserved::GivenUp).await? {
            return Ok(None);
        }
    }
    match context
        .engine
        .decide(container, own.version, Reserved::Begins)
        .await?
    {
        true => launched(context, launch).map(Some),
        false => Ok(None),
    }
}

/// Its slot is due again, and its name free.
async fn drop_reserved(context: &Context, launch: &Launch, container: &str) -> Result<Launched, ApplyError> {
    if let Err(error) = context.engine.remove(container, true).await {
        // The next create request finds it, or a plan.
        tracing::debug!(%error, run = %launch.name, "what was given up could not be deleted");
    }
    give_back(context, launch)?;
    Ok(Launched::NotItsTurn)
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
    let of_slot =
        |other: &Stamp| (&other.job, other.slot, other.attempt) == (&launch.job, launch.slot, launch.attempt);
    let other = Stamp::read(&found.labels, &context.instance);
    if other.as_ref().is_some_and(of_slot) {
        match found.status {
            // Whoever made it is about to begin it, or was killed: who is first does not matter.
            ContainerStatus::Created => return begin(context, launch, container).await,
            ContainerStatus::Removing => return drop_reserved(context, launch, container).await,
            _ => {}
        }
    }
    match other {
        Some(other) if other.nonce == stamp.nonce => launched(context, launch),
        Some(other) if of_slot(&other) => {
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
    if in_doubt && matches!(state.status, ContainerStatus::Created | ContainerStatus::Removing) {
        if let Some(intent) = &run.intent
            && intent.owner != context.owner
            && owner::is_alive(&intent.owner)
        {
            return Ok(());
        }
        // Nobody has begun it. Should somebody at this moment, it is not deleted.
        context.engine.remove(container, true).await?;
        report.progress = true;
        return never_ran(context, run);
    }
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
        // It was seen running: what knows of no task that ran has forgotten it.
        ContainerStatus::Exited
            if run.started_at.is_some() && state.started_at.is_none() && state.node.is_empty() =>
        {
            report.progress = true;
            match run.outcome {
                None => without_result(context, run),
                Some(_) => Ok(context.ledger.release(&run.id)?),
            }
        }
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
        // It ran, and somebody has taken its task away since.
        ContainerStatus::Created if run.outcome.is_none() => {
            report.progress = true;
            vanished(context, run)
        }
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

/// Its node is down, or its task was given up: it may go on, where nobody can reach it, and its result may
/// never be known.
fn lost(context: &Context, run: &Run, state: &ContainerState) -> Result<(), ApplyError> {
    let policy = policy_of(context, &run.job)?;
    let from = base(context, state);
    let after = |by: Duration| from.saturating_add(by).unwrap_or(Timestamp::MAX);
    // Only of a node that is lost there is nothing to say but that.
    let with_node = state.error.is_empty();
    let reason = match with_node {
        true => Reason::NodeLost(state.node.clone()),
        false => Reason::TaskGivenUp(shown_error(context, run, state)?),
    };
    let rerun = with_node && policy.on_node_loss == OnNodeLoss::Rerun && run.slot.is_some();
    let again = match rerun && run.attempt < policy.retries.max(1) {
        true => Some(from),
        false => further(run, &policy, Outcome::Unknown, from),
    };
    let finish = Finish {
        outcome: Outcome::Unknown,
        reason: reason.to_string(),
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
    without_result(context, run)?;
    Ok(context.ledger.container_gone(&run.id)?)
}

/// Nothing is left that could tell how a run ended.
fn without_result(context: &Context, run: &Run) -> Result<(), ApplyError> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::apply::StreamWitness;
    use crate::clock::ManualClock;
    use crate::engine::sim::SimEngine;
    use crate::ledger::Ledger;
    use crate::model::{ContainerName, ContainerSpec, Instance, Origin, PullPolicy};

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

    /// Reserves one run for each slot, of jobs of their own, and says which of the others the first one would
    /// give up, by slot; the last one, whether it is refused.
    async fn race(slots: &[i64], limit: u32, same_job: bool) -> (Vec<i64>, Option<Launched>) {
        let home = tempfile::tempdir().unwrap();
        let at: Timestamp = "2026-11-23T02:00:00Z".parse().unwrap();
        let context = Context {
            engine: Arc::new(SimEngine::new(move || at).swarm()),
            ledger: Arc::new(Ledger::open(home.path()).unwrap()),
            instance: Instance::default(),
            clock: Arc::new(ManualClock::new(at)),
            owner: owner::current(),
            report: Box::new(|_| ()),
            starts: Semaphore::new(4),
            stream: StreamWitness::default(),
        };
        let launch_of = |second: i64| {
            let job: JobName = match same_job {
                true => "race.one".parse(),
                false => format!("race.job{second}").parse(),
            }
            .unwrap();
            let slot = Slot::from_second(second);
            Launch {
                name: ContainerName::of_slot(&context.instance, &job, slot, 0),
                job,
                slot: Some(slot),
                attempt: 0,
                due_at: at,
                deadline: None,
                spec_hash: String::new(),
                pull: PullPolicy::Missing,
                spec: ContainerSpec::of_image("busybox:1".parse().unwrap()),
                origin: Origin::default(),
                exclusive: same_job,
                caps: vec![Cap { group: None, limit }],
                group: None,
                settled: None,
            }
        };
        for second in slots {
            let launch = launch_of(*second);
            let request = CreateRequest {
                name: Some(launch.name.clone()),
                spec: launch.spec.clone(),
                labels: stamp(&context, &launch, RunTrigger::Schedule).labels(&context.instance),
                environment: environment_of(&launch),
                attach: false,
                reserved: true,
            };
            context.engine.create(&request).await.unwrap();
        }
        let ask = async |second: i64| {
            let launch = launch_of(second);
            let id = context.engine.id_of(&launch.name).unwrap();
            let (_, others) = look(&context, &id).await.unwrap();
            let room = room(&context, &launch, &others).unwrap();
            let slot_of = |(id, _): (String, u64)| {
                let (_, stamp) = others.iter().find(|(one, _)| one.id == id).unwrap();
                stamp.slot.unwrap().as_second()
            };
            let behind: Vec<i64> = room.behind.into_iter().map(slot_of).collect();
            (behind, room.refused)
        };
        let first = slots.iter().min().unwrap();
        let (behind, refused) = ask(*first).await;
        assert!(refused.is_none(), "nothing goes before the first: {refused:?}");
        let (_, refused) = ask(*slots.iter().max().unwrap()).await;
        (behind, refused)
    }

    #[tokio::test]
    async fn the_first_leaves_the_others_as_much_room_as_there_is() {
        let (behind, last) = race(&[40, 10, 30, 20], 2, false).await;
        assert_eq!(behind, [30, 40], "20 has room beside it");
        assert!(matches!(last, Some(Launched::Full { .. })), "{last:?}");
        let (behind, last) = race(&[40, 10, 30, 20], 4, false).await;
        assert!(behind.is_empty(), "{behind:?}");
        assert!(last.is_none(), "{last:?}");
        let (behind, _) = race(&[10, 20, 30], 1, false).await;
        assert_eq!(behind, [20, 30]);
        // What may run beside nothing of its job has room in no limit.
        let (behind, last) = race(&[10, 20, 30], 3, true).await;
        assert_eq!(behind, [20, 30]);
        assert!(matches!(last, Some(Launched::Active(_))), "{last:?}");
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
