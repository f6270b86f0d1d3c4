//! All that the checks look at, seen once: plain values, and words where something failed.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{EngineName, Fleet};
use crate::policy::Rules;

/// One look at a set-up.
#[derive(Debug, Clone)]
pub struct Case {
    /// This machine's clock.
    pub now: Timestamp,
    pub instance: String,
    pub host: Host,
    pub operator: OperatorFile,
    pub logins: Logins,
    /// Which checks there are.
    pub engine_name: EngineName,
    pub engine: Engine,
    pub disks: Vec<Disk>,
    pub state: StateFolder,
    pub ledger: LedgerCase,
    pub manifests: Manifests,
}

/// This machine, as this process sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// `root`, `user 1000`.
    pub user: String,
    pub in_container: bool,
    /// Windows Subsystem for Linux.
    pub wsl: bool,
    /// Whether services of this user go on after the last log-out; `None` where nobody can say.
    pub lingers: Option<bool>,
}

/// The file of the operator's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorFile {
    /// Where it was looked for; `None`: this user has no place for one.
    pub path: Option<PathBuf>,
    pub found: OperatorFound,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorFound {
    /// The defaults hold.
    Absent,
    Read {
        /// Whether somebody beside its owner and root may write it.
        writable_by_others: bool,
        rules: Rules,
    },
    /// Why it cannot be used, and what to do.
    Broken { why: String, hints: Vec<String> },
}

/// The docker CLI's `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logins {
    /// There is none, so that every pull is anonymous.
    Absent,
    Read {
        path: PathBuf,
        /// Registries with a login or a helper.
        registries: usize,
        /// Helpers that are named and not in PATH, as programs.
        missing_helpers: Vec<String>,
    },
    Unreadable {
        path: PathBuf,
        why: String,
    },
}

/// The engine that flags, environment and contexts name.
#[derive(Debug, Clone)]
pub enum Engine {
    /// No address, no connection, or no answer.
    Away {
        /// A heading and its causes.
        why: Vec<String>,
        hints: Vec<String>,
    },
    Answers(Box<Answers>),
    /// One that owns the clock, and keeps the records.
    Cluster(Box<Cluster>),
}

/// A Kubernetes cluster that answers.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `https://10.0.0.1:6443`.
    pub host: String,
    /// `the context prod`.
    pub chosen_by: String,
    /// `v1.36.4`.
    pub version: String,
    /// Versions of the API group that has CronJobs.
    pub batch: Result<Vec<String>, String>,
    pub namespace: String,
    /// Whether it is there.
    pub namespace_found: Result<bool, String>,
    pub rights: Vec<Right>,
    /// As [`Answers::clock_ahead`].
    pub clock_ahead: Option<SignedDuration>,
    pub objects: Result<Objects, String>,
}

/// Something that a command asks of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// `create cronjobs`.
    pub what: String,
    pub for_what: &'static str,
    pub is_optional: bool,
    pub may: Result<bool, String>,
}

/// What lies in the namespace with our mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// CronJobs of this instance.
    pub cron_jobs: usize,
    /// Objects that name no instance, with why they are not ours.
    pub strays: Vec<(String, String)>,
    /// This instance's, of jobs that no manifest declares; unknown while the manifests have errors.
    pub undeclared: Vec<String>,
    /// Jobs that somebody suspended in the cluster, and who.
    pub paused: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// `unix:///var/run/docker.sock`.
    pub host: String,
    /// Who chose it: `DOCKER_HOST`, `the context desktop-linux`.
    pub chosen_by: String,
    /// `docker 20.10.24`.
    pub name: String,
    /// Newest API version of the engine: `1.41`.
    pub api_version: String,
    /// Where this kind of engine is known to differ from Docker: what it does, and what follows for jobs.
    pub differences: Vec<(&'static str, &'static str)>,
    pub rootless: bool,
    /// In the engine's words: `Docker Desktop`, `Debian GNU/Linux 12 (bookworm)`.
    pub operating_system: String,
    /// What it says of itself, such as `WARNING: No swap limit support`.
    pub warnings: Vec<String>,
    /// Of containers that name none.
    pub log_driver: String,
    /// How far its clock is ahead of ours, beyond the time that asking took; `None`: it did not say.
    pub clock_ahead: Option<SignedDuration>,
    /// As the ledger knows it.
    pub identity: String,
    /// What a scheduler asks of it.
    pub questions: Vec<Question>,
    /// The ledger that the instance's lock volume names.
    pub lock: Option<String>,
    /// `None`: it is a single engine.
    pub fleet: Option<Fleet>,
    /// The jobs whose runs the instance has there.
    pub jobs_there: Vec<String>,
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `list containers`.
    pub what: &'static str,
    /// Why not.
    pub refused: Option<String>,
}

/// A file system that somebody writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// `the ledger`, `the engine`.
    pub whose: &'static str,
    pub path: PathBuf,
    pub free_bytes: u64,
    /// `None`: this file system has no fixed number.
    pub free_files: Option<u64>,
}

/// `<state>/<instance>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder {
    /// `None`: neither flag nor environment says where.
    pub path: Option<PathBuf>,
    pub found: StateFound,
    /// What it lies on, or would.
    pub file_system: FileSystem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateFound {
    /// The first `apply` will make it.
    Absent,
    /// Nor can it be made: why.
    CannotBeMade(String),
    There {
        /// Permission bits.
        mode: u32,
        writable: bool,
    },
    Unreadable(String),
}

/// Kinds of file systems that matter here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileSystem {
    /// A disk of this machine, or nobody can say.
    #[default]
    Local,
    /// NFS, SMB, 9p and the like: shared memory and locks of SQLite do not work over every one.
    Network,
    /// Lost with the machine.
    Memory,
    /// A container's own layer, lost with it.
    ContainerLayer,
}

/// The instance's ledger.
#[derive(Debug, Clone)]
pub enum LedgerCase {
    /// Nothing was ever applied.
    Absent,
    /// It belongs to another user.
    Foreign(String),
    Broken(String),
    Open(Box<Ledger>),
}

#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub id: String,
    /// The identity of the engine that it belongs to.
    pub engine: Option<String>,
    /// When a scheduler last looked.
    pub last_alive: Option<Timestamp>,
    /// Who holds its `watch` lock.
    pub watched_by: Option<String>,
    /// How that `watch` was when it last said so; `None`: it has said nothing yet.
    pub heartbeat: Option<Heartbeat>,
    /// How many jobs are declared.
    pub jobs: usize,
    /// Every job that it knows, also those that are not declared any more.
    pub job_names: Vec<String>,
    pub unarmed: Vec<Unarmed>,
    /// Runs whose end nobody knows and that hold their jobs.
    pub unknown_runs: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// How long ago; `None`: before this machine was booted.
    pub age: Option<Duration>,
    /// What keeps jobs from being started, and since when.
    pub trouble: Option<(Timestamp, String)>,
}

/// A job whose coming run could not be prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unarmed {
    pub job: String,
    pub since: Timestamp,
    pub attempts: u32,
    /// The engine's words, or the check that failed and what would mend it.
    pub why: String,
}

/// The directory of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifests {
    pub dir: PathBuf,
    pub found: ManifestsFound,
    pub file_system: FileSystem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestsFound {
    Missing,
    Unreadable(String),
    Read {
        files: usize,
        jobs: usize,
        errors: usize,
        warnings: usize,
    },
}
