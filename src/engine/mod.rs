//! The engine seam: a handful of narrow verbs that a container engine offers.
//!
//! [`Observe`] cannot write and is all that `plan` gets; [`Engine`] adds the verbs that change
//! something. Neither has heard of plans, jobs' policies or the ledger, and neither retries: a
//! request that may have been carried out is reported as [`EngineError::Unanswered`], and what
//! that means is decided by the launch protocol in `apply`.
//!
//! Guarantees: every request has a deadline; a name or ID is checked before it goes into a URL;
//! *not found* is a value (`None`, [`Removal::Gone`]), never an error.

pub mod context;
pub mod differences;
pub mod docker;
pub(crate) mod lower;
pub mod registry;
pub mod sim;
pub mod swarm;
pub mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use crate::model::{
    Checked, ContainerName, ContainerSpec, ContainerStatus, EngineName, Fleet, ImageRef, Instance, JobFile,
    Launching, Peer, StopNote, Text,
};

/// Connects to the engine at `endpoint`, or to the Swarm that it is a manager of.
///
/// # Errors
/// As [`docker::DockerEngine::connect`] and [`swarm::SwarmEngine::connect`].
pub async fn connect(endpoint: &context::Endpoint, name: EngineName) -> Result<SharedEngine> {
    Ok(match name {
        EngineName::Docker => Arc::new(docker::DockerEngine::connect(endpoint).await?),
        EngineName::Swarm => Arc::new(swarm::SwarmEngine::connect(endpoint).await?),
        EngineName::Kubernetes => {
            return Err(EngineError::Invalid(
                "Kubernetes runs jobs by a clock of its own, and is no engine of this loop".to_owned(),
            ));
        }
    })
}

/// A connected engine, shared by every task.
pub type SharedEngine = Arc<dyn Engine>;

/// Why a request failed. Reads after "failed to …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No connection: the request was not sent, nothing happened.
    #[error("cannot reach the engine at `{host}`: {why}")]
    Unreachable { host: String, why: String },
    /// The request went out and no whole reply came back: it may have been carried out, or may be
    /// carried out later.
    #[error("the engine did not answer: {why}")]
    Unanswered { why: String },
    /// The engine answered with an error.
    #[error("{message}")]
    Refused { status: u16, message: String },
    /// The engine answered with something that this version cannot read.
    #[error("the engine's answer could not be read: {why}")]
    Undecodable { why: String },
    /// Refused on our side, before any request.
    #[error("{0}")]
    Invalid(String),
    /// The engine's login helpers or its registry refused.
    #[error("{0}")]
    Registry(String),
}

impl EngineError {
    /// What to do about a pull that was refused, where the registry's words do not say it.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            EngineError::Registry(words) => registry::advice(words),
            _ => None,
        }
    }

    /// The same with other words, where they may quote what was asked for.
    #[must_use]
    pub fn reworded(self, change: impl Fn(&str) -> String) -> EngineError {
        match self {
            EngineError::Refused { status, message } => EngineError::Refused {
                status,
                message: change(&message),
            },
            EngineError::Invalid(words) => EngineError::Invalid(change(&words)),
            EngineError::Registry(words) => EngineError::Registry(change(&words)),
            // They tell of the connection.
            other @ (EngineError::Unreachable { .. }
            | EngineError::Unanswered { .. }
            | EngineError::Undecodable { .. }) => other,
        }
    }

    /// Whether the engine itself is away, so that nothing else can be asked now either.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, EngineError::Unreachable { .. })
    }
}

pub type Result<T> = std::result::Result<T, EngineError>;

/// What tells one engine from another, and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineInfo {
    pub kind: EngineKind,
    /// `docker 20.10.24`, as printed.
    pub name: String,
    pub version: String,
    /// Newest API version of the engine, such as `1.41`.
    pub api_version: String,
    /// `/info` ID and `DockerRootDir`; on Podman `Name` and root, since its ID is new on each call.
    pub identity: String,
    /// The engine's clock when it answered.
    pub system_time: Option<Timestamp>,
    pub default_log_driver: String,
    /// In its own words: `Docker Desktop`, `Debian GNU/Linux 12 (bookworm)`.
    pub operating_system: String,
    /// It runs as a user who is not root.
    pub rootless: bool,
    /// Where it keeps images and containers, on its own machine.
    pub root_dir: String,
    /// What it says of its own shortcomings.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    #[default]
    Docker,
    Podman,
    Swarm,
    Simulated,
}

/// One row of a container list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// As the engine was asked for it, for people.
    pub image: String,
    pub image_id: String,
    pub status: ContainerStatus,
    /// `Up 5 minutes`, `Exited (0) 2 hours ago`: the engine's own words.
    pub status_text: String,
    pub created: Timestamp,
    pub labels: BTreeMap<String, String>,
    pub command: String,
    pub ports: String,
    /// It is the one that this process lives in.
    pub own: bool,
    /// What [`Engine::decide`] names, so that nothing has changed since; 0 where there is no such thing.
    pub version: u64,
}

/// The truth about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    pub id: String,
    pub name: String,
    pub image: String,
    pub image_id: String,
    pub labels: BTreeMap<String, String>,
    pub status: ContainerStatus,
    /// `None` when zero: never started, or the engine died before its checkpoint.
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub exit_code: i64,
    pub error: String,
    pub oom_killed: bool,
    /// The engine ended it, at the word of somebody who left no note.
    pub ended_by_engine: bool,
    /// Where it ran, on an engine of several nodes; empty otherwise.
    pub node: String,
    pub log_driver: String,
    /// Empty until a `json-file` container has started.
    pub log_path: String,
    pub tty: bool,
    /// The image's or the container's own PATH and entry, for the arming check.
    pub environment: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub working_dir: String,
}

impl ContainerState {
    /// Never started, as far as the engine says.
    #[must_use]
    pub fn is_pristine(&self) -> bool {
        self.status == ContainerStatus::Created
            && self.started_at.is_none()
            && self.finished_at.is_none()
            && self.error.is_empty()
    }

    /// The engine broke a start off before anything ran, because whoever had asked for it was gone.
    /// Current engines tie a start to its request's connection until they open the log, and then
    /// carry it through (`containerStart` in moby's `daemon/start.go`; seen on 29, not on 20.10). With
    /// the log opened it is not believed.
    #[must_use]
    pub fn start_was_broken_off(&self) -> bool {
        self.status == ContainerStatus::Created
            && self.started_at.is_none()
            && self.finished_at.is_none()
            && self.log_path.is_empty()
            && self.error.trim_end().ends_with("context canceled")
    }
}

/// What an engine says of a container, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub container: serde_json::Value,
    /// `None` when the image has gone.
    pub image: Option<serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    pub id: String,
    /// `repository:tag`; empty for a dangling image.
    pub tags: Vec<String>,
    pub created: Timestamp,
    pub size_bytes: u64,
}

/// What happened to a container, as far as the engine's event stream tells. Events only hasten;
/// inspect is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    pub at: Timestamp,
    pub action: EventAction,
    pub container: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventAction {
    Create,
    /// Also Podman's `init`.
    Start,
    Die,
    Destroy,
    /// Our mark.
    Update,
    /// Somebody sent it a signal that is meant to end it: INT, QUIT, KILL or TERM. The engine does so
    /// itself when it is stopped in order.
    Kill,
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    pub stream: LogStream,
    pub bytes: bytes::Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub timestamps: bool,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Lines from the end.
    pub tail: Option<u64>,
}

/// A file in a container's filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    pub is_dir: bool,
    /// Permission bits.
    pub mode: u32,
    /// Where a symbolic link points; empty otherwise.
    pub link_target: String,
}

/// Which containers to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerFilter {
    /// In every state, not only the running ones.
    pub all: bool,
    /// `key=value`; only one goes to the engine (Podman ORs several), the caller checks the rest.
    pub label: Option<(String, String)>,
}

/// What can be seen of an engine without changing it.
#[async_trait]
pub trait Observe: Send + Sync {
    /// Where it is, as a person wrote it: `unix:///var/run/docker.sock`.
    fn host(&self) -> String;

    /// The process at the other end of the socket now, where that is evidence of anything: a local
    /// engine's own process; `None` through a proxy, socket activation, TCP or another namespace.
    async fn peer(&self) -> Option<Peer>;

    async fn info(&self) -> Result<EngineInfo>;

    /// How a run is given to it.
    fn launching(&self) -> Launching {
        Launching::Armed
    }

    /// What a container of that name will be known by, where that is so before it is made.
    fn id_of(&self, _name: &ContainerName) -> Option<String> {
        None
    }

    /// Looks at what these specs lean on, one answer for each; of use where nothing is made ahead.
    async fn check(&self, specs: &[&ContainerSpec]) -> Result<Vec<Checked>> {
        Ok(vec![Checked::default(); specs.len()])
    }

    /// The nodes behind it, and what is left there of that instance; `None`: it is a single engine.
    async fn fleet(&self, _instance: &Instance) -> Result<Option<Fleet>> {
        Ok(None)
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerSummary>>;

    /// `None`: there is no such container.
    async fn inspect(&self, name_or_id: &str) -> Result<Option<ContainerState>>;

    /// A container and its image in the engine's own words, the JSON of its inspects; `None`: there is
    /// no such container. For who copies a container, not for who judges one.
    async fn describe(&self, name_or_id: &str) -> Result<Option<Description>>;

    /// The container that this process lives in, in the engine's own words; `None` when it lives in none of
    /// this engine's.
    async fn describe_own(&self) -> Result<Option<serde_json::Value>> {
        Ok(None)
    }

    /// Whether the engine ever opened a container's log, which it does before it starts the process
    /// and which survives the engine's own memory. `None` when nobody can say: only one log driver
    /// leaves a file that this process may be able to look for.
    async fn log_was_opened(&self, state: &ContainerState) -> Option<bool>;

    async fn list_images(&self) -> Result<Vec<ImageSummary>>;

    /// The ID of the image that the reference names today; `None` when the engine does not have it.
    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>>;

    /// Names of all networks.
    async fn networks(&self) -> Result<BTreeSet<String>>;

    /// Labels of every volume, by name.
    async fn volumes(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>>;

    /// What is at `path` in a container that need not run; `None` when nothing is.
    async fn stat_path(&self, container: &str, path: &str) -> Result<Option<PathStat>>;

    /// `None`: the engine knows no such exec (any more: it forgets them with a restart, and some
    /// minutes after their end).
    async fn inspect_exec(&self, id: &str) -> Result<Option<ExecState>>;

    /// Events of containers carrying `label` (`key=value`), from `since` on when given (as far as
    /// the engine remembers), and without end unless `until` is given. The stream ends or yields an
    /// error when the connection breaks; it never resumes by itself.
    async fn events(
        &self,
        label: (String, String),
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent>>>;

    /// A container's output, oldest first.
    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk>>>;
}

/// The verbs that change an engine.
#[async_trait]
pub trait Engine: Observe {
    /// One create call; never repeated here. The labels and environment of `request` are complete.
    async fn create(&self, request: &CreateRequest) -> Result<Created>;

    /// A change of nothing, which leaves an `update` event as our mark. `false`: this engine has no
    /// such endpoint.
    async fn mark(&self, id: &str) -> Result<bool>;

    /// Writes the files of these that have a content of their own into a container that does not run;
    /// what is there is replaced. Folders that are missing are made.
    async fn write_files(&self, id: &str, files: &[JobFile]) -> Result<()>;

    /// One start call; never repeated here. `Ok` proves that the container runs or ran, not that
    /// this call started it.
    async fn start(&self, id: &str) -> Result<()>;

    /// Stop signal, grace period, kill. `Ok` also when it had ended or is gone.
    async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<()>;

    /// Ends a run for all schedulers that stand side by side: leaves the note and asks for the end in one
    /// request, without waiting for it. Returns the note in force, which is another's when that was first;
    /// `None`: the run is gone.
    async fn conclude(&self, _id: &str, _note: &StopNote) -> Result<Option<StopNote>> {
        Err(EngineError::Invalid(
            "this engine has no schedulers side by side".to_owned(),
        ))
    }

    /// Begins a run that was made [reserved](CreateRequest::reserved), or gives it up for ever, in one
    /// request that counts only while it is as that version shows it. `false`: it is not, or it is gone.
    async fn decide(&self, _id: &str, _version: u64, _reserved: Reserved) -> Result<bool> {
        Err(EngineError::Invalid(
            "this engine has no schedulers side by side".to_owned(),
        ))
    }

    /// Kill at once. `Ok` also when it had ended or is gone.
    async fn kill(&self, id: &str) -> Result<()>;

    /// DELETE, never with force. `volumes` takes anonymous volumes along.
    async fn remove(&self, id: &str, volumes: bool) -> Result<Removal>;

    /// Pulls one tag or digest, for a platform or the engine's own, with the docker CLI's own credentials, reporting progress.
    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<()>;

    /// Creates a volume, or returns the labels of the one that already has that name.
    async fn create_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>>;

    /// `Ok` also when there was none.
    async fn remove_volume(&self, name: &str) -> Result<()>;

    /// Output of a container from its start on; to be called before `start`.
    async fn attach(&self, id: &str) -> Result<BoxStream<'static, Result<LogChunk>>>;

    /// Prepares a command in a running container, without starting it; its ID.
    async fn create_exec(&self, request: &ExecRequest) -> Result<String>;

    /// Starts it, once, and reads its output to its end. `Ok` is no proof that it runs: a command
    /// that cannot be started says so in its output.
    async fn start_exec(&self, id: &str, tty: bool) -> Result<BoxStream<'static, Result<LogChunk>>>;

    /// Sends a signal to every process in the container that has this variable in its environment,
    /// as that user; engines have no verb for it, so a shell in the container does it. `false`: it
    /// has none that could.
    async fn signal_marked(
        &self,
        container: &str,
        user: Option<&str>,
        variable: (&str, &str),
        signal: &str,
    ) -> Result<bool>;
}

/// One command in a container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Full ID.
    pub container: String,
    pub command: Vec<Text>,
    pub environment: BTreeMap<String, Option<Text>>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub tty: bool,
}

/// What the engine knows of an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecState {
    pub running: bool,
    /// `None`: it runs, or was never started.
    pub exit_code: Option<i64>,
    /// Whether there ever was a process: a refused start leaves an exit code without one.
    pub ran: bool,
}

/// One create call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// `None` lets the engine choose (only `run` does that).
    pub name: Option<ContainerName>,
    pub spec: ContainerSpec,
    /// Beside the spec's own labels, and winning over them.
    pub labels: BTreeMap<String, String>,
    /// Beside the spec's own environment, and winning over it.
    pub environment: BTreeMap<String, String>,
    /// Attach to the output (only `run` does that).
    pub attach: bool,
    /// Where making a run is starting it: make it, and with it its name, without starting it yet.
    pub reserved: bool,
}

/// What becomes of a run that was made reserved: `Created` until then, `Removing` once it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    Begins,
    /// Nobody can begin it any more; whoever meets it deletes it.
    GivenUp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub id: String,
    pub warnings: Vec<String>,
}

/// What a DELETE did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// 204: this call removed it.
    Removed,
    /// 404: it was not there.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// Layer, or empty for the whole image.
    pub id: String,
    /// The engine's words: `Downloading`.
    pub status: String,
    pub current_bytes: u64,
    /// 0 when unknown.
    pub total_bytes: u64,
}
