//! What a plan says: actions, non-actions, and the cause of each.
//!
//! An [`Action`] holds all that `apply` needs to carry it out, so that no choice is left for then.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{
    Cap, ContainerName, ContainerSpec, Instance, JobName, Lane, Line, Origin, Outcome, Place, Policy,
    PullPolicy, Reason, RunId, RunTrigger, Slot, Triggers,
};

/// The difference between what is declared and what is there, and what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub at: Timestamp,
    /// As printed: `docker 20.10.24`.
    pub engine: String,
    /// In the order in which one job's steps are to be done; jobs in order of their names.
    pub steps: Vec<Step>,
    pub waiting: Vec<Waiting>,
    pub unchanged: Vec<JobName>,
    /// Declared, but none of their profiles is active.
    pub inactive: Vec<JobName>,
    /// What was looked at for each job, on an engine on which nothing is made ahead.
    pub checked: BTreeMap<JobName, Vec<String>>,
    /// When something is to be done that no event announces.
    pub next_wake: Option<Timestamp>,
}

impl Plan {
    /// Everything that `apply` would do to the engine, and policy-only edits; never bookkeeping.
    pub fn changes(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| !step.action.is_bookkeeping())
    }
}

/// One thing to do for one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub job: JobName,
    pub action: Action,
    pub cause: Cause,
    /// Unified diff of the job's canonical YAML, when an edit is the cause.
    pub diff: Option<String>,
    pub next_before: Option<NextFire>,
    pub next_after: Option<NextFire>,
}

/// A coming slot, in its job's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextFire {
    pub slot: Slot,
    pub timezone: String,
    /// `gap` or `fold`.
    pub note: Option<&'static str>,
}

/// The closed list of what can be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make the container of a coming slot, without starting it.
    Create(Box<Launch>),
    /// The same, after removing unstarted ones.
    Replace { old: Vec<Target>, new: Box<Launch> },
    /// Start a due slot's container; made first when none is armed.
    Start {
        launch: Box<Launch>,
        armed: Option<Target>,
        discard: Vec<Target>,
    },
    /// Stop a running container; its exit will get that outcome.
    Stop {
        run: RunId,
        container: String,
        grace: Option<Duration>,
        outcome: Outcome,
        /// What its end is recorded with, where the outcome alone does not say it.
        reason: Option<Reason>,
    },
    /// Remove a container that is not running.
    Remove { target: Target, run: Option<RunId> },
    /// An edit that needs nothing of the engine.
    Update,
    /// Write the job's row, with a new baseline when its schedule is new.
    See(Box<Sight>),
    /// The job is no longer declared.
    Forget,
    /// Slots that never became runs.
    Record(Box<NotRun>),
    /// A slot that has to wait for its turn.
    Hold(Box<Hold>),
    /// The attempt that failed is the last one of its slot.
    GiveUp { run: RunId, why: Reason },
    /// Why a job's command could not be run in its container now; `None`: it could.
    NoteTarget(Option<String>),
    /// Ask the registry for the image once more, before the slot that its container was made for.
    Pull(Box<Launch>),
    /// Read a run's result, or find out what became of it.
    Settle { run: RunId },
    /// A run that a scheduler beside this one has started: from here on it is recorded here, too.
    Follow(Box<Followed>),
    /// Every slot up to there has its record, by whichever scheduler.
    Advance {
        planned_from: Timestamp,
        until: Timestamp,
    },
    /// Record what became of a container that another ledger, or a lost one, had made; then remove
    /// it.
    Adopt {
        target: Target,
        slot: Option<Slot>,
        attempt: u32,
        lost: bool,
    },
}

impl Action {
    /// Whether this leaves containers alone, so that it does not count as a change.
    #[must_use]
    pub fn is_bookkeeping(&self) -> bool {
        match self {
            Action::Create(_)
            | Action::Replace { .. }
            | Action::Start { .. }
            | Action::Stop { .. }
            | Action::Remove { .. }
            | Action::Adopt { .. }
            | Action::Update => false,
            Action::See(_)
            | Action::Forget
            | Action::Record(_)
            | Action::Hold(_)
            | Action::GiveUp { .. }
            | Action::NoteTarget(_)
            | Action::Follow(_)
            | Action::Advance { .. }
            | Action::Pull(_)
            | Action::Settle { .. } => true,
        }
    }

    /// Which of a job's two lanes does it; `None`: a ledger write, done at once.
    #[must_use]
    pub fn lane(&self) -> Option<Lane> {
        match self {
            Action::Create(_)
            | Action::Replace { .. }
            | Action::Pull(_)
            | Action::Remove { run: None, .. } => Some(Lane::Arm),
            Action::Start { launch, .. } if launch.spec.exec_target().is_some() => {
                Some(Lane::Exec(launch.slot.unwrap_or(Slot::new(launch.due_at))))
            }
            Action::Start { .. }
            | Action::Stop { .. }
            | Action::Remove { run: Some(_), .. }
            | Action::Settle { .. }
            | Action::Adopt { .. } => Some(Lane::Run),
            Action::Update
            | Action::See(_)
            | Action::Forget
            | Action::Record(_)
            | Action::Hold(_)
            | Action::NoteTarget(_)
            | Action::Follow(_)
            | Action::Advance { .. }
            | Action::GiveUp { .. } => None,
        }
    }

    /// The word that people and JSON see.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Action::Create(_) => "create",
            Action::Replace { .. } => "replace",
            Action::Start { .. } => "start",
            Action::Stop { .. } => "stop",
            Action::Remove { .. } | Action::Adopt { .. } => "remove",
            Action::Update => "update",
            Action::See(_) => "see",
            Action::Forget => "forget",
            Action::Record(_) => "record",
            Action::Hold(_) => "hold",
            Action::GiveUp { .. } => "give up",
            Action::NoteTarget(_) => "note",
            Action::Pull(_) => "pull",
            Action::Settle { .. } => "settle",
            Action::Follow(_) => "follow",
            Action::Advance { .. } => "advance",
        }
    }
}

/// A run that somebody beside us has started.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    pub name: ContainerName,
    pub container: String,
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub trigger: RunTrigger,
    pub due_at: Timestamp,
    pub spec_hash: String,
    pub origin: Origin,
    /// Its scheduler's ledger.
    pub ledger: String,
    pub group: Option<String>,
}

/// A container to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub id: String,
    pub name: ContainerName,
    pub nonce: String,
    /// It was started again and again: with it goes what its runs left in it.
    pub reused: bool,
}

/// A container to make, and later start, for one slot or manual run.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    pub job: JobName,
    pub name: ContainerName,
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub due_at: Timestamp,
    /// The moment from which it is no longer started, which may come while its image is pulled or while
    /// it waits for its place; `None`: it may be started however late.
    pub deadline: Option<Timestamp>,
    pub spec: ContainerSpec,
    pub spec_hash: String,
    pub pull: PullPolicy,
    pub origin: Origin,
    /// Not beside another active run of this job, nor before another attempt that is to come.
    pub exclusive: bool,
    /// Limits on what runs at once that hold for it.
    pub caps: Vec<Cap>,
    pub group: Option<String>,
    /// Up to where the job's slots had their records when this was planned; `None` for what moves no
    /// pointer: a slot that has waited, a further attempt, a manual run.
    pub settled: Option<Timestamp>,
}

impl Launch {
    /// Whether it starts its job's one container again.
    #[must_use]
    pub fn reuses(&self) -> bool {
        self.spec.place == Place::Reuse
    }

    /// Whether it is not to be started any more.
    #[must_use]
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The name of the container that is started.
    #[must_use]
    pub fn container(&self, instance: &Instance) -> ContainerName {
        if self.reuses() {
            ContainerName::of_reused(instance, &self.job)
        } else {
            self.name.clone()
        }
    }
}

/// What the ledger is to know of a declared job.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    pub origin: Origin,
    pub canonical: String,
    pub triggers: Triggers,
    pub policy: Policy,
    pub spec_hash: String,
    /// New for a new job, for an edited schedule and after a clock that went far back; otherwise as
    /// it was.
    pub baseline: Timestamp,
}

/// One slot, or a series of equal ones, that never became a run.
#[derive(Debug, Clone, PartialEq)]
pub struct NotRun {
    pub name: ContainerName,
    pub slot: Slot,
    /// Of a collapsed series: its newest slot and how many there are.
    pub series: Option<(Slot, u64)>,
    pub outcome: Outcome,
    pub reason: Reason,
    pub origin: Origin,
    /// Up to where the job's slots had their records when this was planned: an older slot that was
    /// given back since must not be passed over. `None`: this moves no pointer, because the slot has
    /// waited, or an older one is not decided yet.
    pub settled: Option<Timestamp>,
}

/// A slot that has to wait for its turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    pub line: Line,
    /// As many slots of the job may wait.
    pub most: u32,
    /// What it is recorded as when there is no place, which the ledger decides.
    pub otherwise: NotRun,
}

/// Why something is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    NewJob,
    /// The job's own container was started or its slot decided: the next one is armed.
    NextSlot,
    /// The armed container is gone.
    ArmedMissing,
    Resumed,
    SpecChanged,
    /// The tag names another image today.
    ImageMoved {
        image: String,
        from: String,
        to: String,
    },
    ScheduleChanged,
    PolicyChanged,
    /// The job is as it was, by another commit or at another place of its file.
    SourceChanged,
    /// The clock went back so far that its slots count from now on again.
    ClockSetBack,
    /// The armed slot was decided without a run.
    SlotPassed,
    Due {
        late_secs: i64,
        /// Why it is late, where that is known.
        why: Option<Reason>,
    },
    TimedOut {
        timeout: Duration,
    },
    /// It waited for a node until its deadline; the engine's reason.
    NotPlaced {
        why: String,
    },
    /// `concurrency: replace`.
    Replaced {
        by: Slot,
    },
    /// Another attempt at a slot; why the one before it ended.
    Retry {
        after: String,
    },
    /// Its end was asked for before, and it still runs.
    StopAsked,
    JobRemoved,
    JobSuspended,
    JobPaused,
    /// More finished containers than `history` keeps.
    Retention,
    Superseded,
    /// Its create call was given up, and was carried out all the same.
    GivenUp,
    LedgerLost,
    /// The container ended, or vanished, or its start was never confirmed.
    ResultPending,
    SlotDecided,
    BeyondArmLimit,
    /// Whether its command could be run in its container is not as it was.
    TargetChanged,
    /// Started by a scheduler beside this one.
    StartedBeside,
}

/// Something that is not done now, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    pub job: JobName,
    pub cause: WaitCause,
}

#[derive(Debug, Clone, PartialEq)]
pub enum WaitCause {
    PreviousRunActive {
        since: Timestamp,
        run: RunId,
    },
    UnknownRunHeld {
        run: RunId,
        until: Timestamp,
    },
    ArmFailed {
        detail: String,
        retry_at: Timestamp,
        attempts: u32,
    },
    ImageMissing {
        image: String,
    },
    NetworkMissing {
        network: String,
    },
    VolumeMissing {
        volume: String,
    },
    /// A slot is due, and its container is still being made.
    BeingArmed {
        slot: Slot,
    },
    /// The container that its command is to run in cannot be had now.
    TargetNotReady {
        why: String,
    },
    /// What the job leans on is not there.
    CheckFailed {
        why: String,
    },
    /// It could start, and would wait for a node.
    NoNode {
        why: String,
    },
    /// The one container of a reuse job is in use, and its spec was edited.
    ReplacedAfterRun,
    RemovalsHeld {
        why: String,
    },
    /// An attempt failed, and another one is to come.
    RetryPending {
        run: RunId,
        at: Timestamp,
    },
    /// A slot waits for its turn.
    Queued {
        slot: Slot,
        line: Line,
        behind: Vec<RunId>,
    },
    /// An earlier run is being stopped for this slot.
    Replacing {
        run: RunId,
        slot: Slot,
    },
    /// A limit on what runs at once is reached.
    AtLimit {
        slot: Slot,
        cap: Cap,
        by: Vec<RunId>,
    },
    /// A slot has come, and its start is spread.
    Jitter {
        slot: Slot,
        until: Timestamp,
    },
    Paused {
        by: String,
        until: Option<Timestamp>,
    },
    Suspended,
    BeyondArmLimit {
        limit: usize,
    },
    BadSchedule {
        why: String,
    },
}

impl WaitCause {
    /// The word that JSON carries.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            WaitCause::PreviousRunActive { .. } => "PreviousRunActive",
            WaitCause::UnknownRunHeld { .. } => "UnknownRunHeld",
            WaitCause::ArmFailed { .. } => "ArmFailed",
            WaitCause::ImageMissing { .. } => "ImageMissing",
            WaitCause::NetworkMissing { .. } => "NetworkMissing",
            WaitCause::VolumeMissing { .. } => "VolumeMissing",
            WaitCause::BeingArmed { .. } => "BeingArmed",
            WaitCause::TargetNotReady { .. } => "TargetNotReady",
            WaitCause::CheckFailed { .. } => "CheckFailed",
            WaitCause::NoNode { .. } => "NoNode",
            WaitCause::ReplacedAfterRun => "ReplacedAfterRun",
            WaitCause::RemovalsHeld { .. } => "RemovalsHeld",
            WaitCause::RetryPending { .. } => "RetryPending",
            WaitCause::Queued { .. } => "Queued",
            WaitCause::Replacing { .. } => "Replacing",
            WaitCause::AtLimit { .. } => "AtLimit",
            WaitCause::Jitter { .. } => "Jitter",
            WaitCause::Paused { .. } => "Paused",
            WaitCause::Suspended => "Suspended",
            WaitCause::BeyondArmLimit { .. } => "BeyondArmLimit",
            WaitCause::BadSchedule { .. } => "BadSchedule",
        }
    }

    /// Whether the job cannot be started as it is declared and as the engine is.
    #[must_use]
    pub fn is_not_armed(&self) -> bool {
        matches!(
            self,
            WaitCause::ArmFailed { .. }
                | WaitCause::ImageMissing { .. }
                | WaitCause::NetworkMissing { .. }
                | WaitCause::VolumeMissing { .. }
                | WaitCause::CheckFailed { .. }
                | WaitCause::NoNode { .. }
        )
    }

    /// Whether a person must do something before this goes on.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        match self {
            WaitCause::ArmFailed { .. }
            | WaitCause::ImageMissing { .. }
            | WaitCause::NetworkMissing { .. }
            | WaitCause::VolumeMissing { .. }
            | WaitCause::TargetNotReady { .. }
            | WaitCause::CheckFailed { .. }
            | WaitCause::NoNode { .. }
            | WaitCause::RemovalsHeld { .. }
            | WaitCause::UnknownRunHeld { .. }
            | WaitCause::BadSchedule { .. } => true,
            WaitCause::PreviousRunActive { .. }
            | WaitCause::BeingArmed { .. }
            | WaitCause::RetryPending { .. }
            | WaitCause::Queued { .. }
            | WaitCause::Replacing { .. }
            | WaitCause::AtLimit { .. }
            | WaitCause::Jitter { .. }
            | WaitCause::Paused { .. }
            | WaitCause::ReplacedAfterRun
            | WaitCause::Suspended
            | WaitCause::BeyondArmLimit { .. } => false,
        }
    }
}

impl Cause {
    /// The word that JSON carries.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Cause::NewJob => "NewJob",
            Cause::NextSlot => "NextSlot",
            Cause::ArmedMissing => "ArmedMissing",
            Cause::Resumed => "Resumed",
            Cause::SpecChanged => "SpecChanged",
            Cause::ImageMoved { .. } => "ImageMoved",
            Cause::ScheduleChanged => "ScheduleChanged",
            Cause::PolicyChanged => "PolicyChanged",
            Cause::SourceChanged => "SourceChanged",
            Cause::ClockSetBack => "ClockSetBack",
            Cause::SlotPassed => "SlotPassed",
            Cause::Due { .. } => "Due",
            Cause::TimedOut { .. } => "TimedOut",
            Cause::NotPlaced { .. } => "NotPlaced",
            Cause::Replaced { .. } => "Replaced",
            Cause::Retry { .. } => "Retry",
            Cause::StopAsked => "StopAsked",
            Cause::JobRemoved => "JobRemoved",
            Cause::JobSuspended => "JobSuspended",
            Cause::JobPaused => "JobPaused",
            Cause::Retention => "Retention",
            Cause::Superseded => "Superseded",
            Cause::GivenUp => "GivenUp",
            Cause::LedgerLost => "LedgerLost",
            Cause::ResultPending => "ResultPending",
            Cause::SlotDecided => "SlotDecided",
            Cause::BeyondArmLimit => "BeyondArmLimit",
            Cause::TargetChanged => "TargetChanged",
            Cause::StartedBeside => "StartedBeside",
        }
    }
}
