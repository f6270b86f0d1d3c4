//! What engine and ledger hold, seen once before a decision is made.
//!
//! The collector (`observe`) records; picking among what it found is the planner's business.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    ContainerName, ContainerSpec, Instance, JobName, Origin, Policy, Run, RunId, Slot, Stamp, TargetState,
    Triggers,
};

/// The whole world as one value.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub instance: Instance,
    pub engine: EngineFacts,
    /// Since when slots were watched without a break: a slot before it that has no record was due
    /// while nobody looked.
    pub up_since: Timestamp,
    /// Times in which nobody could start anything, newest last: they give missed slots a reason.
    pub gaps: Vec<Gap>,
    /// The wall clock is not to be trusted: nothing is caught up or pruned.
    pub clock_suspect: bool,
    /// Every container with this instance's labels, whoever's ledger it names.
    pub containers: BTreeMap<String, Container>,
    /// The state of every image that a declared job names.
    pub images: BTreeMap<String, ImageState>,
    pub networks: BTreeSet<String>,
    /// Volumes by name, for the external ones that jobs declare.
    pub volumes: BTreeSet<String>,
    /// What the ledger would keep of each declared job's container, where that has sensitive values: with
    /// these as keyed hashes. Empty without a ledger.
    pub masked: BTreeMap<JobName, ContainerSpec>,
    /// What the ledger keeps of each job.
    pub jobs: BTreeMap<JobName, JobRecord>,
    /// Every run without outcome, every run whose container is not gone, and each job's newest.
    pub runs: Vec<Run>,
    /// For each job that runs its command in somebody else's container, whether it could.
    pub targets: BTreeMap<JobName, TargetState>,
    /// Runs without an outcome whose command runs in somebody else's container at this moment.
    pub exec_running: BTreeSet<RunId>,
    /// On an engine that cannot make a container ahead of its slot: what was looked at instead.
    pub checked: BTreeMap<JobName, Checked>,
    /// When the images of jobs that pull them again were last pulled.
    pub pulls: BTreeMap<JobName, Pulls>,
    /// Work that another task of this process is doing right now.
    pub busy: BTreeSet<(JobName, Lane)>,
}

/// When an image was pulled by us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulls {
    /// The last pull that the registry answered with an image.
    pub succeeded: Option<Timestamp>,
    /// The last one that failed.
    pub failed: Option<Timestamp>,
}

impl Pulls {
    /// The last one, whatever came of it.
    #[must_use]
    pub fn tried(&self) -> Option<Timestamp> {
        self.succeeded.max(self.failed)
    }
}

/// Two kinds of work of one job may go on beside each other, such as a long pull beside a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Create, replace and remove armed containers.
    Arm,
    /// Start, stop, settle and record runs.
    Run,
    /// The command that runs in somebody else's container for this slot, from its start to its end:
    /// its output can be read by nobody else.
    Exec(Slot),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// As printed: `docker 20.10.24`.
    pub name: String,
    pub version: String,
    pub launching: Launching,
}

/// How an engine is given a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Launching {
    /// A container is made ahead of its slot and started at it; the ledger of the instance says by whom.
    #[default]
    Armed,
    /// Making it is starting it, and its name is the lock: several schedulers of one instance may stand
    /// side by side, each with a ledger of its own, and each records what any of them made.
    AtOnce,
}

/// What a job leans on, as far as it can be known before its slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// What was found, in words: `network shop_default`.
    pub met: Vec<String>,
    /// What the engine would refuse it for.
    pub missing: Option<String>,
    /// Why it would wait for a node.
    pub unplaced: Option<String>,
}

/// A time in which due slots could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub from: Timestamp,
    pub to: Timestamp,
    pub kind: GapKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapKind {
    SchedulerDown,
    EngineUnreachable,
    ClockJumped,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// The image's ID.
    Present(String),
    Missing,
}

impl ImageState {
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            ImageState::Present(id) => Some(id),
            ImageState::Missing => None,
        }
    }
}

/// A container as the engine shows it, with what our labels and our ledger say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Full ID.
    pub id: String,
    pub name: ContainerName,
    pub status: ContainerStatus,
    /// ID of the image it was made from.
    pub image_id: String,
    pub created: Timestamp,
    pub stamp: Stamp,
    pub claim: Claim,
}

/// Whose ledger wrote a container's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Ours, and our ledger knows its nonce.
    Known,
    /// Ours, and given up: its create call was answered too late, or it was removed. Never to be
    /// started.
    Discarded,
    /// It names our ledger, which does not know its nonce: the ledger was lost or restored.
    Unrecorded,
    /// A ledger that ours took over from.
    Superseded,
    /// Any scheduler of this instance may have made it: the engine's lock decided who, and the run is
    /// recorded by all of them.
    Shared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerStatus {
    /// Never started, as far as the engine says.
    Created,
    /// It waits for a node; the engine's reason, empty while it has none.
    Pending(String),
    /// It is being brought up on a node.
    Starting,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
    /// A word that we do not know.
    Other(String),
}

impl ContainerStatus {
    /// From the engine's own word (`State` of a list, `State.Status` of an inspect).
    #[must_use]
    pub fn from_word(word: &str) -> ContainerStatus {
        match word {
            // Podman says `configured` and `initialized` of what Docker calls `created`.
            "created" | "configured" | "initialized" => ContainerStatus::Created,
            "running" => ContainerStatus::Running,
            "paused" => ContainerStatus::Paused,
            "restarting" => ContainerStatus::Restarting,
            "removing" => ContainerStatus::Removing,
            "exited" | "stopped" => ContainerStatus::Exited,
            "dead" => ContainerStatus::Dead,
            other => ContainerStatus::Other(other.to_owned()),
        }
    }

    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(
            self,
            ContainerStatus::Running
                | ContainerStatus::Paused
                | ContainerStatus::Restarting
                | ContainerStatus::Pending(_)
                | ContainerStatus::Starting
        )
    }
}

impl JobRecord {
    /// The pause in which that moment lies.
    #[must_use]
    pub fn pause_at(&self, at: Timestamp) -> Option<&Pause> {
        self.pauses.iter().find(|pause| pause.covers(at))
    }
}

/// What the ledger keeps of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    pub name: JobName,
    pub origin: Origin,
    /// Canonical YAML with sensitive values masked, as of the last apply.
    pub canonical: String,
    pub triggers: Triggers,
    pub policy: Policy,
    /// The hash of the create body without the image's ID: tells a moved tag from an edit.
    pub spec_hash: String,
    /// When this job was first seen, or its schedule last edited: older slots do not exist for it.
    pub baseline: Timestamp,
    /// Every slot after the baseline and up to here has its record.
    pub settled: Timestamp,
    /// Recorded slots after "now": a clock that jumped back must not repeat them.
    pub recorded_ahead: BTreeSet<Slot>,
    /// Slots up to `settled` that have no record yet, because they wait for their turn; ascending.
    pub held: Vec<HeldSlot>,
    /// Times in which a person wants, or wanted, no starts; those that still explain something.
    pub pauses: Vec<Pause>,
    /// The last failed attempt to arm, until one succeeds.
    pub arm_failure: Option<ArmFailure>,
    /// Containers that this ledger made for slots and has not started, by name.
    pub armed: BTreeMap<ContainerName, ArmedRecord>,
    /// Removed from the manifests; kept for its history.
    pub removed: bool,
}

/// A slot that waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSlot {
    pub slot: Slot,
    pub line: Line,
}

/// What a slot waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// `concurrency: queue`.
    Queue,
    /// `missed_fires: all`.
    Backlog,
}

/// A time in which a person wants no starts of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub from: Timestamp,
    /// `None`: until it is resumed.
    pub until: Option<Timestamp>,
    /// Who said so.
    pub by: String,
}

impl Pause {
    #[must_use]
    pub fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// An armed container as the ledger recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmedRecord {
    pub nonce: String,
    pub slot: Option<Slot>,
    /// `None` while the create call has not been answered.
    pub container: Option<String>,
    pub spec_hash: String,
    pub image_id: String,
}

/// An arming that failed, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmFailure {
    pub at: Timestamp,
    pub retry_at: Timestamp,
    pub attempts: u32,
    /// The engine's words, or the check that failed and what would mend it.
    pub detail: String,
    /// The spec that failed: an edited job is tried at once.
    pub spec_hash: String,
}
