//! Declared against armed: create, replace, remove, and what keeps a job from being armed.

use jiff::{SignedDuration, Timestamp};

use super::action::{Action, Cause, Sight, Target, WaitCause};
use super::diff;
use super::due::{Decision, launch, looks_unstarted, miss_all_of_record, target};
use super::view::{Draft, JobView, is_idle, is_reserved};
use crate::model::{
    Arming, Claim, Container, ContainerName, ImageState, Job, Lane, MountKind, PullPolicy, Reason, Removals,
    Slot,
};
use crate::schedule::Fire;

/// Within this time after its creation, a manual run's container is somebody's who is about to start
/// it: a pull comes before the creation, so only seconds pass.
const MANUAL_START_WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// How long before its slot an image is pulled once more: a pull takes minutes, and so may making the
/// container anew.
const PULL_AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// A run that was reserved and not begun for so long has nobody who would: a few requests of 5 s each
/// come between the two.
pub(crate) const RESERVED_FOR: SignedDuration = SignedDuration::from_secs(30);

/// Tells the ledger what is declared, when that is news.
pub(super) fn see(view: &JobView<'_>, draft: &mut Draft) {
    let Some(job) = view.job else { return };
    let baseline = match view.record {
        Some(record) if !view.schedule_edited() && !view.clock_set_back() => record.baseline,
        _ => view.now,
    };
    let same_job = view.record.is_some_and(|record| {
        record.canonical == job.canonical
            && record.triggers == job.triggers
            && record.policy == job.policy
            && view.declares(&record.spec_hash)
    });
    let same_origin = view.record.is_some_and(|record| record.origin == job.origin);
    if same_job && same_origin && !view.clock_set_back() {
        return;
    }
    let sight = Sight {
        origin: job.origin.clone(),
        canonical: job.canonical.clone(),
        triggers: job.triggers.clone(),
        policy: job.policy.clone(),
        spec_hash: view.spec_hash.clone(),
        baseline,
    };
    // The slots of an edited schedule's past are recorded under the old one first.
    let cause = if view.is_first_sight() {
        Cause::NewJob
    } else if view.clock_set_back() {
        Cause::ClockSetBack
    } else if same_job {
        Cause::SourceChanged
    } else {
        edit_cause(view)
    };
    draft.act(Action::See(Box::new(sight)), cause);
    if let Some(record) = view.record {
        draft.diff = diff::unified(&record.canonical, &job.canonical);
    }
}

/// An edit that changed nothing on the engine is still shown.
pub(super) fn show_edit(view: &JobView<'_>, draft: &mut Draft) {
    if view.job.is_none() {
        return;
    }
    let shown = draft.steps.iter().any(|(action, _)| {
        matches!(
            action,
            Action::Create(_) | Action::Replace { .. } | Action::Update
        )
    });
    if shown {
        return;
    }
    if view.is_first_sight() && draft.waiting.is_empty() {
        draft.act(Action::Update, Cause::NewJob);
    } else if draft.diff.is_some() {
        draft.act(Action::Update, edit_cause(view));
    }
}

fn edit_cause(view: &JobView<'_>) -> Cause {
    let edited_spec = view
        .record
        .is_some_and(|record| !view.declares(&record.spec_hash));
    if edited_spec {
        Cause::SpecChanged
    } else if view.schedule_edited() {
        Cause::ScheduleChanged
    } else {
        Cause::PolicyChanged
    }
}

/// Makes the container of the next slot, and takes away what stands for another.
pub(super) fn arm(
    view: &JobView<'_>,
    decision: &Decision,
    arming: Arming,
    within_limit: bool,
    draft: &mut Draft,
) {
    let Some(job) = view.job else { return };
    if view.busy(Lane::Arm) {
        return;
    }
    if view.is_exec() {
        return look_at_target(view, draft);
    }
    if view.launches_at_once() {
        return look_at_checks(view, draft);
    }
    if view.reuses() {
        return arm_reused(view, job, decision, arming, within_limit, draft);
    }
    let mut idle: Vec<&Container> = idle_without_run(view);
    if view.busy(Lane::Run) {
        // What is being made for a slot that is due is that lane's to start or to take away, also
        // when the slot's time has passed meanwhile.
        idle.retain(|container| container.stamp.slot.is_none_or(|slot| slot.at() > view.now));
    }
    match decision {
        Decision::Clear => {}
        // Its own containers are `Start`'s to use or discard.
        Decision::Starting(slot) => idle.retain(|container| container.stamp.slot != Some(*slot)),
        // One container at a time: what fails for this slot would fail for the next one, too. What
        // stands ready for that one stays.
        Decision::Making(slot) | Decision::Pending(slot) => {
            let next = view.next_fire().map(|fire| fire.slot);
            idle.retain(|container| {
                container.stamp.slot != Some(*slot)
                    && (container.stamp.slot.is_none() || container.stamp.slot != next)
            });
            remove_all(&idle, &Cause::SlotPassed, draft);
            return;
        }
    }
    let Some(fire) = view.next_fire() else {
        if view.suspended() {
            draft.wait(WaitCause::Suspended);
            remove_all(&idle, &Cause::JobSuspended, draft);
        } else if view.paused().is_some() {
            remove_all(&idle, &Cause::JobPaused, draft);
        } else {
            remove_all(&idle, &Cause::ScheduleChanged, draft);
        }
        return;
    };
    if !within_limit {
        if let Arming::Nearest(limit) = arming {
            draft.wait(WaitCause::BeyondArmLimit { limit });
        }
        remove_all(&idle, &Cause::BeyondArmLimit, draft);
        return;
    }
    let armed = view.container_for(fire.slot, 0).filter(|armed| {
        // One that a person started is found out when its slot is due.
        !looks_unstarted(&armed.status) || view.is_current(armed, job)
    });
    if let Some(armed) = armed {
        idle.retain(|container| container.id != armed.id);
        remove_all(&idle, &Cause::SlotPassed, draft);
        if looks_unstarted(&armed.status) && !view.is_checked(armed) {
            // Its name is found taken, by us, and what was left undone is done.
            return arm_anew(view, job, &fire, *decision, &[], draft);
        }
        missing_parts(view, job)
            .into_iter()
            .for_each(|missing| draft.wait(missing));
        return pull_again(view, job, fire.slot, draft);
    }
    arm_anew(view, job, &fire, *decision, &idle, draft);
}

/// What is armed may be a week old: a job that wants its image pulled has it pulled once more before
/// the slot, and a tag that moved then replaces the container.
fn pull_again(view: &JobView<'_>, job: &Job, slot: Slot, draft: &mut Draft) {
    let fresh_for = match job.container.pull_policy {
        PullPolicy::Always => SignedDuration::ZERO,
        PullPolicy::Every(period) => SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX),
        PullPolicy::Missing | PullPolicy::Never => return,
    };
    let due_at = view.due_at(slot);
    let from = due_at.saturating_sub(PULL_AHEAD).unwrap_or(due_at);
    let pulls = view.world.pulls.get(&view.name).copied().unwrap_or_default();
    let tried = pulls.tried().is_some_and(|at| at >= from);
    let fresh = pulls
        .succeeded
        .is_some_and(|at| due_at.duration_since(at) < fresh_for);
    if tried || fresh || view.now >= due_at {
        return;
    }
    if view.now < from {
        return draft.wake_at(from);
    }
    let launch = Box::new(launch(view, job, slot));
    draft.act(Action::Pull(launch), Cause::NextSlot);
}

/// A job whose command runs in somebody else's container has none to be made: only whether it could
/// run is looked at.
fn look_at_target(view: &JobView<'_>, draft: &mut Draft) {
    remove_all(&idle_without_run(view), &Cause::SpecChanged, draft);
    if view.suspended() {
        draft.wait(WaitCause::Suspended);
        return;
    }
    let problem = view.target_problem();
    if let Some(why) = problem {
        draft.wait(WaitCause::TargetNotReady { why: why.to_owned() });
    }
    let Some(record) = view.record else { return };
    let known = record.arm_failure.as_ref().map(|failure| failure.detail.as_str());
    if known != problem {
        let note = Action::NoteTarget(problem.map(str::to_owned));
        draft.act(note, Cause::TargetChanged);
    }
}

/// Where nothing can be made ahead: what was looked at instead, and what of it is wrong.
fn look_at_checks(view: &JobView<'_>, draft: &mut Draft) {
    for container in view.containers.iter().filter(|container| is_reserved(container)) {
        draft.wake_at(
            container
                .created
                .saturating_add(RESERVED_FOR)
                .unwrap_or(Timestamp::MAX),
        );
    }
    remove_all(&idle_without_run(view), &Cause::GivenUp, draft);
    if view.suspended() {
        draft.wait(WaitCause::Suspended);
        return;
    }
    let problem = check_failed(view).or_else(|| {
        let why = view.world.checked.get(&view.name)?.unplaced.clone()?;
        Some(WaitCause::NoNode { why })
    });
    if let Some(problem) = problem {
        draft.wait(problem);
    }
}

/// What the engine would refuse a run for.
fn check_failed(view: &JobView<'_>) -> Option<WaitCause> {
    let why = view.world.checked.get(&view.name)?.missing.clone()?;
    Some(WaitCause::CheckFailed { why })
}

/// The same for a job whose runs share one container: once made it stays, whatever its next slot,
/// because its files are what it is kept for. Only an edit makes it anew.
fn arm_reused(
    view: &JobView<'_>,
    job: &Job,
    decision: &Decision,
    arming: Arming,
    within_limit: bool,
    draft: &mut Draft,
) {
    let (shared, others): (Vec<&Container>, Vec<&Container>) = idle_without_run(view)
        .into_iter()
        .partition(|container| container.stamp.reused);
    remove_all(&others, &Cause::SpecChanged, draft);
    if matches!(decision, Decision::Making(_) | Decision::Pending(_)) {
        return;
    }
    if let Some(in_use) = view.reused_in_use() {
        if !view.is_current(in_use, job) {
            draft.wait(WaitCause::ReplacedAfterRun);
        }
        return;
    }
    let Some(fire) = view.next_fire() else {
        if view.suspended() {
            draft.wait(WaitCause::Suspended);
        }
        return;
    };
    let made = view
        .container_for(fire.slot, 0)
        .filter(|container| view.is_current(container, job));
    if made.is_some_and(|container| view.is_checked(container)) {
        missing_parts(view, job)
            .into_iter()
            .for_each(|missing| draft.wait(missing));
        return pull_again(view, job, fire.slot, draft);
    }
    if let (Arming::Nearest(limit), false) = (arming, within_limit) {
        draft.wait(WaitCause::BeyondArmLimit { limit });
        return;
    }
    if within_limit {
        let old = if made.is_some() { &[][..] } else { &shared[..] };
        arm_anew(view, job, &fire, *decision, old, draft);
    }
}

fn arm_anew(
    view: &JobView<'_>,
    job: &Job,
    fire: &Fire,
    decision: Decision,
    idle: &[&Container],
    draft: &mut Draft,
) {
    if let Some(obstacle) = cannot_arm(view, job, draft) {
        draft.wait(obstacle);
        return;
    }
    let cause = arm_cause(view, job, fire.slot, decision, idle);
    let mut new = Box::new(launch(view, job, fire.slot));
    if matches!(cause, Cause::ImageMoved { .. }) && pulled_just_now(view) {
        // That pull brought it.
        new.pull = PullPolicy::Missing;
    }
    if idle.is_empty() {
        draft.act(Action::Create(new), cause);
    } else {
        draft.act(
            Action::Replace {
                old: idle.iter().map(|container| target(container)).collect(),
                new,
            },
            cause,
        );
    }
}

fn pulled_just_now(view: &JobView<'_>) -> bool {
    let last = view.world.pulls.get(&view.name).and_then(|pulls| pulls.succeeded);
    last.is_some_and(|at| view.now.duration_since(at).abs() < PULL_AHEAD)
}

fn arm_cause(view: &JobView<'_>, job: &Job, slot: Slot, decision: Decision, idle: &[&Container]) -> Cause {
    let Some(record) = view.record else {
        return Cause::NewJob;
    };
    if let Some(old) = idle.iter().find(|old| !view.declares(&old.stamp.spec_hash)) {
        return match old.claim {
            Claim::Known => Cause::SpecChanged,
            Claim::Discarded => Cause::GivenUp,
            Claim::Unrecorded => Cause::LedgerLost,
            Claim::Superseded | Claim::Shared => Cause::Superseded,
        };
    }
    if !view.declares(&record.spec_hash) {
        return Cause::SpecChanged;
    }
    if view.schedule_edited() {
        return Cause::ScheduleChanged;
    }
    let today = view
        .world
        .images
        .get(job.container.image.as_str())
        .and_then(ImageState::id);
    if let (Some(old), Some(today)) = (idle.first(), today)
        && old.image_id != today
    {
        return Cause::ImageMoved {
            image: job.container.conceal(job.container.image.as_str()),
            from: old.image_id.clone(),
            to: today.to_owned(),
        };
    }
    if record.policy.suspend {
        return Cause::Resumed;
    }
    if view.paused().is_some() {
        return Cause::JobPaused;
    }
    let shared = ContainerName::of_reused(&view.world.instance, &job.name);
    let was_armed = record.armed.iter().any(|(name, armed)| {
        let its = if view.reuses() {
            *name == shared
        } else {
            armed.slot == Some(slot)
        };
        its && armed.container.is_some()
    });
    match decision {
        _ if was_armed && idle.is_empty() => Cause::ArmedMissing,
        Decision::Starting(_) => Cause::NextSlot,
        _ if idle.is_empty() => Cause::NextSlot,
        _ => Cause::SlotPassed,
    }
}

/// Why a container for this job cannot be made now, if so.
pub(super) fn cannot_arm(view: &JobView<'_>, job: &Job, draft: &mut Draft) -> Option<WaitCause> {
    if let Some(failure) = view.record.and_then(|record| record.arm_failure.as_ref())
        && view.declares(&failure.spec_hash)
        && failure.retry_at > view.now
    {
        draft.wake_at(failure.retry_at);
        return Some(WaitCause::ArmFailed {
            detail: failure.detail.clone(),
            retry_at: failure.retry_at,
            attempts: failure.attempts,
        });
    }
    if view.launches_at_once() {
        return check_failed(view);
    }
    let image = view.world.images.get(job.container.image.as_str());
    if image == Some(&ImageState::Missing) && job.container.pull_policy == PullPolicy::Never {
        return Some(WaitCause::ImageMissing {
            image: job.container.conceal(job.container.image.as_str()),
        });
    }
    missing_parts(view, job).into_iter().next()
}

/// Networks and external volumes that a start would miss. They are never created by us.
fn missing_parts(view: &JobView<'_>, job: &Job) -> Vec<WaitCause> {
    let networks = job
        .container
        .networks
        .iter()
        .filter(|network| !view.world.networks.contains(&network.name))
        .map(|network| WaitCause::NetworkMissing {
            network: job.container.conceal(&network.name),
        });
    let volumes = job.container.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume {
            name: Some(name),
            external: true,
            ..
        } if !view.world.volumes.contains(name) => Some(WaitCause::VolumeMissing {
            volume: job.container.conceal(name),
        }),
        _ => None,
    });
    networks.chain(volumes).collect()
}

/// A job that is no longer declared: its armed container goes, unless removals are held. Returns
/// whether what it kept may be pruned.
pub(super) fn forget(view: &JobView<'_>, removals: &Removals, draft: &mut Draft) -> bool {
    if let (Removals::Held(why), Some(_)) = (removals, view.record) {
        miss_all_of_record(view, Reason::RemovalsHeld(why.clone()), draft);
        draft.wait(WaitCause::RemovalsHeld { why: why.clone() });
        return false;
    }
    if view.record.is_some() {
        miss_all_of_record(view, Reason::Removed, draft);
        draft.act(Action::Forget, Cause::JobRemoved);
    }
    let idle = idle_without_run(view);
    if !view.busy(Lane::Arm) {
        remove_all(&idle, &Cause::JobRemoved, draft);
    }
    if view.record.is_some() && idle.is_empty() {
        draft.act(Action::Update, Cause::JobRemoved);
    }
    true
}

/// Containers that were made for a slot and are no run's: armed ones, and leftovers.
fn idle_without_run<'a>(view: &JobView<'a>) -> Vec<&'a Container> {
    let ours = |container: &&&Container| match container.claim {
        // One that has run has a past: as with any other ledger's, `retain` sees to that.
        Claim::Unrecorded if container.stamp.reused => looks_unstarted(&container.status),
        Claim::Known if container.stamp.reused => is_idle(container),
        // A manual run's container is being started by whoever made it; one that was left behind by
        // a killed `trigger` is taken away later.
        Claim::Known if container.stamp.slot.is_none() => {
            is_idle(container) && view.now.duration_since(container.created) > MANUAL_START_WINDOW
        }
        Claim::Known | Claim::Discarded => is_idle(container),
        // What another ledger started has a past to be recorded: `retain` sees to it.
        Claim::Superseded => looks_unstarted(&container.status),
        // It is a run as soon as it begins. One that nobody begins was left behind by a scheduler that was
        // killed; its slot, while it is due, is begun by whoever tries.
        Claim::Shared => is_reserved(container) && view.now.duration_since(container.created) > RESERVED_FOR,
        Claim::Unrecorded => {
            looks_unstarted(&container.status)
                && container.stamp.slot.is_some_and(|slot| slot.at() > view.now)
        }
    };
    view.containers
        .iter()
        .filter(ours)
        .filter(|container| view.run_of(container).is_none())
        .copied()
        .collect()
}

fn remove_all(containers: &[&Container], cause: &Cause, draft: &mut Draft) {
    for container in containers {
        let cause = match container.claim {
            Claim::Known => cause.clone(),
            Claim::Discarded | Claim::Shared => Cause::GivenUp,
            Claim::Unrecorded => Cause::LedgerLost,
            Claim::Superseded => Cause::Superseded,
        };
        let target: Target = target(container);
        draft.act(Action::Remove { target, run: None }, cause);
    }
}
