//! One job as the planner looks at it, and the draft that collects what is found.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::action::{Action, Cause, NextFire, Plan, Step, WaitCause, Waiting};
use super::fingerprint::{is_same, spec_hash};
use crate::model::{
    Cap, Claim, Container, ContainerStatus, Desired, GapKind, Job, JobName, JobRecord, Lane, Launching,
    Observed, Pause, Place, Policy, Reason, Run, RunId, Slot, TargetState, Within,
};
use crate::schedule::{self, Fire, Schedule};

/// A clock that went back by less than this is waited for: the slots it repeats are recorded
/// already. One that went back further would mute the job for hours, so its plan starts from now.
const BACKWARD_JUMP: SignedDuration = SignedDuration::from_hours(3);

/// A process beside this one may have seen the job a moment after this plan's now.
const BASELINE_SLACK: SignedDuration = SignedDuration::from_secs(10);

/// The world sorted by job, once: looking through all of it for each job would make a plan of many
/// jobs slow.
pub(super) struct ByJob<'a> {
    world: &'a Observed,
    containers: BTreeMap<&'a JobName, Vec<&'a Container>>,
    runs: BTreeMap<&'a JobName, Vec<&'a Run>>,
}

impl<'a> ByJob<'a> {
    pub fn new(world: &'a Observed) -> ByJob<'a> {
        let mut sorted = ByJob {
            world,
            containers: BTreeMap::new(),
            runs: BTreeMap::new(),
        };
        for container in world.containers.values() {
            let of_job = sorted.containers.entry(&container.stamp.job).or_default();
            of_job.push(container);
        }
        for run in &world.runs {
            sorted.runs.entry(&run.job).or_default().push(run);
        }
        sorted
    }
}

/// A start that took longer than this had no reply in time.
const SLOWEST_START: SignedDuration = SignedDuration::from_mins(1);

/// Everything that is known of one job.
pub(super) struct JobView<'a> {
    pub name: JobName,
    pub now: Timestamp,
    pub world: &'a Observed,
    pub job: Option<&'a Job>,
    /// Of the container that is declared; empty where none is.
    pub spec_hash: String,
    pub record: Option<&'a JobRecord>,
    /// What counts today; `Err` when the ledger holds a schedule that this version cannot read.
    pub schedule: Result<Schedule, String>,
    pub containers: Vec<&'a Container>,
    /// Newest first.
    pub runs: Vec<&'a Run>,
    /// The limits on what runs at once that hold for this job.
    pub caps: Vec<Cap>,
    /// The one of them that is reached, and by whom.
    pub full: Option<(Cap, Vec<RunId>)>,
}

impl<'a> JobView<'a> {
    pub fn new(name: JobName, desired: &'a Desired, seen: &ByJob<'a>, now: Timestamp) -> JobView<'a> {
        let world = seen.world;
        let job = desired.jobs.get(&name);
        let record = world.jobs.get(&name).filter(|record| !record.removed);
        let triggers = job
            .map(|job| &job.triggers)
            .or(record.map(|record| &record.triggers));
        let schedule = Schedule::compile(triggers.map_or(&[], |triggers| &triggers.schedule))
            .map_err(|error| error.to_string());
        let mut runs = seen.runs.get(&name).cloned().unwrap_or_default();
        runs.sort_by_key(|run| std::cmp::Reverse((run.due_at, run.attempt)));
        let containers = seen.containers.get(&name).cloned().unwrap_or_default();
        let spec_hash = job
            .map(|job| spec_hash(&job.container, world.masked.get(&name)))
            .unwrap_or_default();
        JobView {
            name,
            now,
            world,
            job,
            spec_hash,
            record,
            schedule,
            containers,
            runs,
            caps: job
                .map(|job| desired.caps.of(job.policy.group.as_deref()))
                .unwrap_or_default(),
            full: None,
        }
    }

    /// What the job is held to: as declared, else as it was when it was last seen.
    pub fn policy(&self) -> Option<&'a Policy> {
        let declared = self.job.map(|job| &job.policy);
        declared.or(self.record.map(|record| &record.policy))
    }

    /// When a slot is to start: jitter delays it.
    pub fn due_at(&self, slot: Slot) -> Timestamp {
        let jitter = self.policy().and_then(|policy| policy.jitter);
        let (Some(jitter), Ok(schedule)) = (jitter, &self.schedule) else {
            return slot.at();
        };
        let next = schedule.next_after(slot.at()).map(|fire| fire.slot);
        let instance = self.world.instance.as_str();
        let delay = schedule::jitter(instance, &self.name.to_string(), slot, jitter, next);
        slot.at().saturating_add(delay).unwrap_or(Timestamp::MAX)
    }

    /// The pause in which this moment lies.
    pub fn paused(&self) -> Option<&'a Pause> {
        self.record?.pause_at(self.now)
    }

    pub fn busy(&self, lane: Lane) -> bool {
        self.world.busy.contains(&(self.name.clone(), lane))
    }

    /// A new job, or one whose schedule was edited: older slots do not exist for it.
    pub fn is_first_sight(&self) -> bool {
        self.record.is_none()
    }

    pub fn schedule_edited(&self) -> bool {
        match (self.job, self.record) {
            (Some(job), Some(record)) => job.triggers.schedule != record.triggers.schedule,
            _ => false,
        }
    }

    pub fn suspended(&self) -> bool {
        self.job.is_some_and(|job| job.policy.suspend)
    }

    /// Up to where every slot has its record.
    pub fn settled(&self) -> Timestamp {
        match self.record {
            Some(record) if !self.clock_set_back() => record.settled.max(record.baseline),
            _ => self.now,
        }
    }

    /// Whether the clock went back so far that waiting for it would mute the job: by hours, or
    /// behind the moment from which its schedule counts, where nothing has a record.
    pub fn clock_set_back(&self) -> bool {
        let after = |by| self.now.saturating_add(by).unwrap_or(Timestamp::MAX);
        self.record.is_some_and(|record| {
            record.settled > after(BACKWARD_JUMP) || record.baseline > after(BASELINE_SLACK)
        })
    }

    /// Whether that slot has a record already, or waits for its turn.
    pub fn is_recorded(&self, slot: Slot) -> bool {
        self.record.is_some_and(|record| {
            record.recorded_ahead.contains(&slot) || record.held.iter().any(|held| held.slot == slot)
        }) || self.runs.iter().any(|run| run.slot == Some(slot))
            || self
                .unfollowed()
                .any(|container| container.stamp.slot == Some(slot))
    }

    /// Slots in a stretch of time that have a record, ascending.
    pub fn recorded_between(&self, after: Timestamp, until: Timestamp) -> BTreeSet<Slot> {
        let ahead = self.record.map(|record| record.recorded_ahead.iter().copied());
        let ran = self.runs.iter().filter_map(|run| run.slot);
        ahead
            .into_iter()
            .flatten()
            .chain(ran)
            .filter(|slot| after < slot.at() && slot.at() <= until)
            .collect()
    }

    /// The next slot that is still to be decided, and that no pause covers.
    pub fn next_fire(&self) -> Option<Fire> {
        if self.job.is_none() || self.suspended() {
            return None;
        }
        let schedule = self.schedule.as_ref().ok()?;
        let mut after = self.now.max(self.settled());
        // One whose start is spread is still to come after its own time.
        if let Some(last) = self.spread_now() {
            after = just_before(last.at());
        }
        loop {
            let fire = schedule.next_after(after)?;
            after = fire.slot.at();
            if let Some(pause) = self
                .record
                .and_then(|record| record.pause_at(self.due_at(fire.slot)))
            {
                let jitter = self.policy().and_then(|policy| policy.jitter).unwrap_or_default();
                let resumed = pause.until?.saturating_sub(jitter).unwrap_or(after);
                after = after.max(just_before(resumed));
            } else if !self.is_recorded(fire.slot) {
                return Some(fire);
            }
        }
    }

    /// The slot that has come and whose start is spread to a moment that has not.
    pub fn spread_now(&self) -> Option<Slot> {
        self.policy()?.jitter?;
        let before = self.now.saturating_add(SignedDuration::from_nanos(1)).ok()?;
        let last = self.schedule.as_ref().ok()?.previous_before(before)?.slot;
        let comes = last.at() > self.settled() && !self.is_recorded(last) && self.due_at(last) > self.now;
        comes.then_some(last)
    }

    /// The container that was made for that attempt at a slot, in whatever state it is; or the one
    /// that is started again for each, when that is free.
    pub fn container_for(&self, slot: Slot, attempt: u32) -> Option<&'a Container> {
        let reuses = self.reuses();
        self.containers.iter().copied().find(|container| {
            let fits = match container.stamp.reused {
                true => {
                    reuses
                        && matches!(
                            container.status,
                            ContainerStatus::Created | ContainerStatus::Exited
                        )
                }
                false => !reuses && container.stamp.slot == Some(slot) && container.stamp.attempt == attempt,
            };
            fits && container.claim == Claim::Known && self.run_of(container).is_none()
        })
    }

    /// Whether the checks of its arming have passed: until then its ID is not in the ledger. One whose
    /// maker was killed before is there, and may be unable to start.
    pub fn is_checked(&self, container: &Container) -> bool {
        let armed = self.record.and_then(|record| record.armed.get(&container.name));
        armed.is_none_or(|armed| armed.container.is_some())
    }

    /// Whether a run is started by being made, by whichever scheduler is first.
    pub fn launches_at_once(&self) -> bool {
        self.world.engine.launching == Launching::AtOnce
    }

    /// What schedulers beside this one have started and this ledger does not know.
    pub fn unfollowed(&self) -> impl Iterator<Item = &'a Container> {
        let shared = self
            .containers
            .iter()
            .copied()
            .filter(|container| container.claim == Claim::Shared);
        shared.filter(|container| self.run_of(container).is_none() && !is_reserved(container))
    }

    /// Whether each of the job's runs starts the same container again.
    pub fn reuses(&self) -> bool {
        self.job.is_some_and(|job| job.container.place == Place::Reuse)
    }

    /// The run that a container is, or is being, used for. An ended run of a reused one uses it no
    /// longer.
    pub fn run_of(&self, container: &Container) -> Option<&'a Run> {
        self.runs
            .iter()
            .copied()
            .filter(|run| run.container.as_deref() == Some(&container.id))
            .filter(|run| !matches!(run.within, Within::Exec(_)))
            .find(|run| !container.stamp.reused || run.is_active(self.now))
    }

    /// The container under the name that all of the job's runs share, when it cannot be started or
    /// replaced now: a run is using it, somebody started it, or another ledger's run in it is to be
    /// recorded first.
    pub fn reused_in_use(&self) -> Option<&'a Container> {
        self.containers.iter().copied().find(|container| {
            let of_others = matches!(container.claim, Claim::Superseded | Claim::Unrecorded)
                && container.status != ContainerStatus::Created;
            let in_use = !is_idle(container) || self.run_of(container).is_some() || of_others;
            container.stamp.reused && in_use
        })
    }

    /// When a run began, by our own clock: the engine's may be wrong, so its word counts only when
    /// it agrees with our intent as far as a slow start allows. Jumps of our clock since are no run
    /// time.
    pub fn began(&self, run: &Run) -> Option<Timestamp> {
        let Some(started) = run.started_at else {
            // Its starter was killed before it could say so: of a command in somebody's container no
            // other word comes.
            let runs = self.world.exec_running.contains(&run.id);
            return run.intent.as_ref().filter(|_| runs).map(|intent| intent.at);
        };
        let Some(intent) = &run.intent else {
            return Some(started);
        };
        let delay = started.duration_since(intent.at);
        // A node may have to be waited for, and pulls its images itself.
        let slowest = match self.launches_at_once() {
            true => SignedDuration::MAX,
            false => SLOWEST_START,
        };
        let began = if SignedDuration::ZERO <= delay && delay <= slowest {
            started
        } else {
            intent.at
        };
        let jumps = self
            .world
            .gaps
            .iter()
            .filter(|gap| gap.kind == GapKind::ClockJumped && gap.from >= began);
        let jumped: SignedDuration = jumps.map(|gap| gap.to.duration_since(gap.from)).sum();
        Some(began.saturating_add(jumped).unwrap_or(Timestamp::MAX))
    }

    pub fn container_of(&self, run: &Run) -> Option<&'a Container> {
        // A command ran in somebody's container, which is not the run's to keep or to remove.
        let id = run
            .container
            .as_deref()
            .filter(|_| !matches!(run.within, Within::Exec(_)))?;
        self.containers
            .iter()
            .copied()
            .find(|container| container.id == id)
    }

    /// The container in which a run goes on at this moment.
    pub fn live_container(&self, run: &Run) -> Option<String> {
        if matches!(run.within, Within::Exec(_)) {
            let runs = self.world.exec_running.contains(&run.id);
            return run.container.clone().filter(|_| runs);
        }
        self.container_of(run)
            .filter(|container| container.status.is_live())
            .map(|container| container.id.clone())
    }

    /// Whether a task of this process is starting that run's command, or reads its output.
    pub fn is_followed(&self, run: &Run) -> bool {
        let slot = run.slot.unwrap_or(Slot::new(run.due_at));
        matches!(run.within, Within::Exec(_)) && self.busy(Lane::Exec(slot))
    }

    /// Whether its runs are commands in somebody else's container.
    pub fn is_exec(&self) -> bool {
        self.job.is_some_and(|job| job.container.exec_target().is_some())
    }

    /// Why its command could not be run in somebody else's container now.
    pub fn target_problem(&self) -> Option<&'a str> {
        self.world.targets.get(&self.name).and_then(TargetState::problem)
    }

    /// Whether that is the hash of today's declaration.
    pub fn declares(&self, spec_hash: &str) -> bool {
        is_same(spec_hash, &self.spec_hash)
    }

    /// Whether a container was made from today's declaration and today's image.
    pub fn is_current(&self, container: &Container, job: &Job) -> bool {
        let image = self
            .world
            .images
            .get(job.container.image.as_str())
            .and_then(|image| image.id());
        self.declares(&container.stamp.spec_hash) && image.is_none_or(|id| id == container.image_id)
    }

    /// Up to where the ledger may have forgotten what ran, as after it was put back from an older
    /// copy: there are containers that it once made and does not know. One is armed when the slot
    /// before its own is started.
    pub fn forgotten_until(&self) -> Option<Timestamp> {
        let slots = self.unrecorded().filter_map(|container| container.stamp.slot);
        slots.map(Slot::at).max()
    }

    pub fn has_unrecorded_container(&self, slot: Slot) -> bool {
        self.unrecorded()
            .any(|container| container.stamp.slot == Some(slot))
    }

    fn unrecorded(&self) -> impl Iterator<Item = &'a Container> {
        self.containers
            .iter()
            .copied()
            .filter(|container| container.claim == Claim::Unrecorded)
    }

    /// Something of this job that runs, or may run, without a run record that says so: made by
    /// another ledger, or started by hand.
    pub fn stray_live(&self) -> Option<&'a Container> {
        self.containers.iter().copied().find(|container| {
            container.status.is_live() && self.run_of(container).is_none_or(|run| run.outcome.is_some())
        })
    }

    /// Why nobody could start that slot at any time before its deadline.
    pub fn gap_until(&self, slot: Slot, deadline: Timestamp) -> Option<Reason> {
        let due_at = self.due_at(slot);
        let mut gaps = self.world.gaps.iter();
        let covered = gaps.any(|gap| gap.from <= due_at && deadline <= gap.to);
        if covered { self.gap_reason(slot) } else { None }
    }

    /// Why nobody started anything at that time.
    pub fn gap_reason(&self, slot: Slot) -> Option<Reason> {
        let due_at = self.due_at(slot);
        let gap = self
            .world
            .gaps
            .iter()
            .rev()
            .find(|gap| gap.from <= due_at && due_at <= gap.to);
        match gap.map(|gap| gap.kind) {
            Some(GapKind::SchedulerDown) => Some(Reason::SchedulerDown),
            Some(GapKind::EngineUnreachable) => Some(Reason::EngineUnreachable),
            Some(GapKind::ClockJumped) => Some(Reason::ClockJumped),
            None if due_at < self.world.up_since => Some(Reason::SchedulerDown),
            None => None,
        }
    }
}

/// So that "strictly after" takes this moment in.
fn just_before(at: Timestamp) -> Timestamp {
    at.saturating_sub(SignedDuration::from_nanos(1))
        .unwrap_or(Timestamp::MIN)
}

/// A container that is no run's and was not started, or has ended without one.
/// It has its name and was not begun, or was given up: nobody's run yet.
pub(super) fn is_reserved(container: &Container) -> bool {
    container.claim == Claim::Shared
        && matches!(
            container.status,
            ContainerStatus::Created | ContainerStatus::Removing
        )
}

pub(super) fn is_idle(container: &Container) -> bool {
    matches!(
        container.status,
        ContainerStatus::Created | ContainerStatus::Exited | ContainerStatus::Dead
    )
}

pub(super) fn next_fire(fire: Fire) -> NextFire {
    NextFire {
        slot: fire.slot,
        timezone: fire.timezone.to_string(),
        note: fire.note.map(|note| note.as_str()),
    }
}

/// What was found for one job.
#[derive(Default)]
pub(super) struct Draft {
    pub steps: Vec<(Action, Cause)>,
    pub waiting: Vec<WaitCause>,
    pub wake: Option<Timestamp>,
    pub diff: Option<String>,
    /// The moment from which the start that this job is about to make is due: who came first has
    /// the place, where there are not enough of them.
    pub wants_since: Option<Timestamp>,
}

impl Draft {
    pub fn act(&mut self, action: Action, cause: Cause) {
        self.steps.push((action, cause));
    }

    pub fn wait(&mut self, cause: WaitCause) {
        self.waiting.push(cause);
    }

    pub fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    pub fn has_change(&self) -> bool {
        self.steps.iter().any(|(action, _)| !action.is_bookkeeping())
    }

    pub fn finish(self, view: &JobView<'_>, plan: &mut Plan) {
        if !self.has_change() && self.waiting.is_empty() && view.job.is_some() {
            plan.unchanged.push(view.name.clone());
        }
        let next_after = view.next_fire().map(next_fire);
        let next_before = view.record.and_then(|record| {
            let schedule = Schedule::compile(&record.triggers.schedule).ok()?;
            schedule.next_after(view.now).map(next_fire)
        });
        let mut diff = self.diff;
        for (action, cause) in self.steps {
            let diff = match action {
                // The ledger's row is told of the edit; the change that follows shows it.
                Action::See(_) => diff.clone(),
                Action::Create(_) | Action::Replace { .. } | Action::Update => diff.take(),
                _ => None,
            };
            plan.steps.push(Step {
                job: view.name.clone(),
                action,
                cause,
                diff,
                next_before: next_before.clone(),
                next_after: next_after.clone(),
            });
        }
        plan.waiting.extend(self.waiting.into_iter().map(|cause| Waiting {
            job: view.name.clone(),
            cause,
        }));
        if let Some(wake) = self.wake {
            plan.next_wake = Some(plan.next_wake.map_or(wake, |earlier| earlier.min(wake)));
        }
    }
}
