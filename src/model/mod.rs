//! Plain data that every other room shares: names, slots, jobs, runs, outcomes, and the two
//! sides of a plan (what is declared, what is there).
//!
//! Nothing here reads a file, a clock or a socket, and nothing here is a public JSON format
//! (that is `wire`).

mod constraint;
mod desired;
mod engine_name;
mod file;
mod finding;
mod fleet;
mod glob;
mod host;
mod job;
mod names;
mod observed;
mod outcome;
mod place;
mod run;
mod sensitive;
mod slot;
mod stamp;

pub use constraint::{Constraint, SUBJECTS, Subject};
pub use desired::{Arming, Cap, Caps, Desired, Removals};
pub use engine_name::EngineName;
pub use file::{FileKind, FileSource, JobFile};
pub use finding::{Finding, Findings};
pub use fleet::{Fleet, FleetNode};
pub use glob::Glob;
pub use host::{Device, Gpus, Healthcheck, Port, Presence, Resources, Rights};
pub use job::{
    Backoff, Concurrency, ContainerSpec, DayMatch, ExceptDays, History, Job, Logging, MissedFires, Mount,
    MountKind, NetworkAttachment, OnKubernetes, OnNodeLoss, OnUnknown, Origin, Placement, Policy, PullPolicy,
    Reservations, Text, Tmpfs, Trigger, Triggers, Ulimit,
};
pub use names::{ContainerName, ImageRef, Instance, InvalidName, JobName, RunId, validate_container_ref};
pub use observed::{
    ArmFailure, ArmedRecord, Checked, Claim, Container, ContainerStatus, EngineFacts, Gap, GapKind, HeldSlot,
    ImageState, JobRecord, Lane, Launching, Line, Observed, Pause, Pulls,
};
pub use outcome::{Outcome, Reason};
pub use place::{Before, ExecTarget, Place, TargetState, Which, Within};
pub use run::{Intent, Owner, Peer, Run, RunTrigger};
pub use sensitive::{Sensitive, conceal, is_masked};
pub use slot::Slot;
pub use stamp::{
    LABEL_INSTANCE, LABEL_JOB, LABEL_LEDGER, LABEL_MANAGED_BY, LABEL_PROJECT, LABEL_RUN, LABEL_TRIGGER,
    MANAGED_BY, Stamp, StopNote,
};
