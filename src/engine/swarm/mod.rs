//! A Docker Swarm: each run is a service of one task, and the service's name is the lock.
//!
//! Creating a service is lock and launch in one transaction of the managers; of any number of schedulers
//! that try, one is told 201. So nothing here is made ahead ([`Launching::AtOnce`]), and the verbs that
//! start, mark or enter a container have no meaning. What a container's ID is elsewhere is the service's
//! name here: it is known before the service exists.
//!
//! Guarantees: every request has a deadline of 5 s; a service that runs is never deleted; a service is
//! ended by one update that carries the reason, and keeps its name, its task's code and its output.

mod answers;
mod body;
mod checks;
mod files;
mod name;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters as query;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use self::answers::{Node, Service, Task};
use self::checks::Images;
use super::context::Endpoint;
use super::docker::{DockerEngine, checked, log_path, none_when_gone, percent_encoded};
use super::{
    ContainerFilter, ContainerState, ContainerSummary, CreateRequest, Created, Description, Engine,
    EngineError, EngineEvent, EngineInfo, EngineKind, EventAction, ExecRequest, ExecState, ImageSummary,
    LogChunk, LogOptions, Observe, PathStat, PullProgress, Removal, Reserved, Result,
};
use crate::model::{
    Checked, ContainerName, ContainerSpec, ContainerStatus, Fleet, ImageRef, Instance, JobFile,
    LABEL_INSTANCE, LABEL_RUN, Launching, Peer, StopNote,
};

pub use self::name::service_name;

/// One request; a manager that has lost its peers answers nothing for longer than that.
const CALL: Duration = Duration::from_secs(5);

/// Tasks have no events.
const POLL: Duration = Duration::from_secs(1);

/// Between two looks at a run that is being ended, and how long beyond its grace period.
const STOP_LOOK: Duration = Duration::from_millis(300);
const STOP_MARGIN: Duration = Duration::from_secs(15);
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// How often an update is tried again that another one came before.
const UPDATES: u32 = 5;

/// One Swarm, by one of its managers.
pub struct SwarmEngine {
    docker: Arc<DockerEngine>,
    images: Mutex<Images>,
    /// How many ended tasks of a run the Swarm keeps, as of the last look.
    tasks_kept: Mutex<Option<i64>>,
}

impl SwarmEngine {
    /// Connects to a manager.
    ///
    /// # Errors
    /// As [`DockerEngine::connect`]; [`EngineError::Unreachable`] also when it is no manager of a Swarm
    /// that has a leader.
    pub async fn connect(endpoint: &Endpoint) -> Result<SwarmEngine> {
        let engine = SwarmEngine {
            docker: Arc::new(DockerEngine::connect(endpoint).await?),
            images: Mutex::default(),
            tasks_kept: Mutex::default(),
        };
        engine.info().await?;
        Ok(engine)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: String) -> Result<T> {
        self.docker.question_within(CALL, path).await
    }

    /// By name; `None`: there is none.
    async fn service(&self, id: &str) -> Result<Option<Service>> {
        let Some(raw) = self.raw_service(id).await? else {
            return Ok(None);
        };
        decoded(raw).map(Some)
    }

    async fn raw_service(&self, id: &str) -> Result<Option<Value>> {
        none_when_gone(self.get(format!("/services/{}", checked(id)?)).await)
    }

    async fn tasks(&self, filter: (&str, &str)) -> Result<Vec<Task>> {
        self.get(filtered("/tasks", filter)).await
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        self.get("/nodes".to_owned()).await
    }

    /// The nodes, where a task's own words do not say enough or its node's name is shown.
    async fn nodes_for(&self, tasks: &[Task]) -> Result<Vec<Node>> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        self.nodes().await
    }

    /// A service and its run's task.
    async fn run(&self, id: &str) -> Result<Option<(Service, Option<Task>)>> {
        let Some(service) = self.service(id).await? else {
            return Ok(None);
        };
        let tasks = self.tasks(("service", &service.id)).await?;
        let task = answers::task_of(&service, &tasks).cloned();
        Ok(Some((service, task)))
    }

    /// One update that leaves the service without a node that could run it; `None`: it is gone. The note
    /// of whoever came first stays.
    async fn end(&self, id: &str, note: Option<&StopNote>) -> Result<Option<StopNote>> {
        let mut last = EngineError::Invalid("nothing was tried".to_owned());
        for _ in 0..UPDATES {
            let Some(raw) = self.raw_service(id).await? else {
                return Ok(None);
            };
            let service: Service = decoded(raw.clone())?;
            let found = StopNote::read(&service.spec.labels);
            if service.spec.task_template.is_nowhere() && (found.is_some() || note.is_none()) {
                return Ok(found.or(note.cloned()));
            }
            let mut spec = spec_of(&raw)?;
            let labels = spec.labels.get_or_insert_default();
            if let (None, Some(note)) = (&found, note) {
                labels.extend(note.labels());
            }
            let task = spec.task_template.get_or_insert_default();
            let placement = task.placement.get_or_insert_default();
            let constraints = placement.constraints.get_or_insert_default();
            if !service.spec.task_template.is_nowhere() {
                constraints.push(body::NOWHERE.to_owned());
            }
            match self.update(&service, spec).await {
                Ok(()) => return Ok(found.or(note.cloned())),
                Err(error) if error.is_unreachable() => return Err(error),
                // Another's update came before, or nobody knows: it is looked at again.
                Err(error) => last = error,
            }
            tokio::time::sleep(STOP_LOOK).await;
        }
        Err(last)
    }

    async fn update(&self, service: &Service, spec: bollard::models::ServiceSpec) -> Result<()> {
        let id = checked(&service.id)?.to_owned();
        let options = query::UpdateServiceOptions {
            version: i32::try_from(service.version.index).map_err(|_| EngineError::Undecodable {
                why: format!("version {} of a service", service.version.index),
            })?,
            ..query::UpdateServiceOptions::default()
        };
        self.docker
            .call(CALL, async move |docker: bollard::Docker| {
                docker.update_service(&id, spec, options, None).await.map(|_| ())
            })
            .await
    }
}

fn filtered(path: &str, (key, value): (&str, &str)) -> String {
    let filters = serde_json::json!({ key: [value] });
    format!("{path}?filters={}", percent_encoded(&filters.to_string()))
}

fn decoded<T: serde::de::DeserializeOwned>(raw: Value) -> Result<T> {
    serde_json::from_value(raw).map_err(|error| EngineError::Undecodable {
        why: error.to_string(),
    })
}

/// A service's specification, to be sent back with a change. Whatever is lost on the way is lost to the run.
fn spec_of(service: &Value) -> Result<bollard::models::ServiceSpec> {
    let mut spec = service["Spec"].clone();
    // Engines tell it under another name than the one that bollard has from their documentation.
    if let Some(container) = spec["TaskTemplate"]["ContainerSpec"].as_object_mut()
        && let Some(check) = container.remove("Healthcheck")
    {
        container.insert("HealthCheck".to_owned(), check);
    }
    decoded(spec)
}

/// A service's name as it is, and a run's name as its service's.
pub(super) fn service_of(name_or_id: &str) -> String {
    match name_or_id.parse::<ContainerName>() {
        Ok(run) if name_or_id.contains('.') => service_name(&run),
        _ => name_or_id.to_owned(),
    }
}

/// `GET /info`, as far as the Swarm goes.
#[derive(Deserialize)]
struct Info {
    #[serde(rename = "Swarm")]
    swarm: SwarmInfo,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct SwarmInfo {
    local_node_state: String,
    control_available: bool,
    cluster: Option<Cluster>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cluster {
    #[serde(rename = "ID")]
    id: String,
}

#[async_trait]
impl Observe for SwarmEngine {
    fn host(&self) -> String {
        self.docker.host()
    }

    async fn peer(&self) -> Option<Peer> {
        // Which process a manager is says nothing of the Swarm.
        None
    }

    fn launching(&self) -> Launching {
        Launching::AtOnce
    }

    fn id_of(&self, name: &ContainerName) -> Option<String> {
        Some(service_name(name))
    }

    async fn info(&self) -> Result<EngineInfo> {
        let info = self.docker.info().await?;
        let Info { swarm } = self.get("/info".to_owned()).await?;
        let why = match (swarm.local_node_state.as_str(), swarm.control_available) {
            ("active", true) => None,
            ("active", false) => Some("it is a worker of its Swarm: name a manager"),
            ("locked", _) => Some("its Swarm is locked: `docker swarm unlock`"),
            ("pending" | "error", _) => Some("its Swarm has no leader now"),
            _ => Some("it is no node of a Swarm: `docker swarm init` makes it one"),
        };
        let cluster = swarm
            .cluster
            .map(|cluster| cluster.id)
            .filter(|id| !id.is_empty());
        let why = why.or(cluster.is_none().then_some("its Swarm has no leader now"));
        if let Some(why) = why {
            return Err(EngineError::Unreachable {
                host: self.host(),
                why: why.to_owned(),
            });
        }
        Ok(EngineInfo {
            kind: EngineKind::Swarm,
            name: format!("swarm, {}", info.name),
            identity: format!("swarm {}", cluster.unwrap_or_default()),
            ..info
        })
    }

    async fn fleet(&self, instance: &Instance) -> Result<Option<Fleet>> {
        let tasks_kept = self.look_at_tasks_kept().await?;
        let nodes = self.nodes().await?;
        Ok(Some(Fleet {
            nodes: nodes.iter().map(Node::for_people).collect(),
            tasks_kept,
            unused_files: self.unused_files(instance).await?,
        }))
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerSummary>> {
        let ContainerFilter { all, label } = filter;
        // Services that are not runs are none of ours: they have no such name.
        let label = match label {
            Some((key, value)) => format!("{key}={value}"),
            None => LABEL_RUN.to_owned(),
        };
        let services: Vec<Service> = self.get(filtered("/services", ("label", &label))).await?;
        if services.is_empty() {
            return Ok(Vec::new());
        }
        // The filter of a list of tasks matches the labels of their services.
        let tasks = self.tasks(("label", &label)).await?;
        let nodes = self.nodes_for(&tasks).await?;
        let mut by_service: BTreeMap<&str, Vec<Task>> = BTreeMap::new();
        for task in &tasks {
            by_service.entry(&task.service).or_default().push(task.clone());
        }
        let mut rows: Vec<ContainerSummary> = services
            .iter()
            .filter(|service| service.spec.labels.contains_key(LABEL_RUN))
            .map(|service| {
                let own = by_service.get(service.id.as_str()).map_or(&[][..], Vec::as_slice);
                answers::summary_of(service, answers::task_of(service, own), &nodes)
            })
            .collect();
        rows.retain(|row| *all || row.status.is_live());
        Ok(rows)
    }

    async fn inspect(&self, name_or_id: &str) -> Result<Option<ContainerState>> {
        let Some((service, task)) = self.run(&service_of(name_or_id)).await? else {
            return Ok(None);
        };
        let nodes = self.nodes_for(task.as_slice()).await?;
        Ok(Some(answers::state_of(&service, task.as_ref(), &nodes)))
    }

    async fn describe(&self, name_or_id: &str) -> Result<Option<Description>> {
        let service = self.raw_service(&service_of(name_or_id)).await?;
        Ok(service.map(|container| Description {
            container,
            image: None,
        }))
    }

    async fn log_was_opened(&self, _state: &ContainerState) -> Option<bool> {
        None
    }

    async fn list_images(&self) -> Result<Vec<ImageSummary>> {
        self.docker.list_images().await
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>> {
        self.docker.image_id(image).await
    }

    async fn networks(&self) -> Result<BTreeSet<String>> {
        self.docker.networks().await
    }

    async fn volumes(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        self.docker.volumes().await
    }

    async fn check(&self, specs: &[&ContainerSpec]) -> Result<Vec<Checked>> {
        self.check_all(specs).await
    }

    async fn stat_path(&self, _container: &str, _path: &str) -> Result<Option<PathStat>> {
        Ok(None)
    }

    async fn inspect_exec(&self, _id: &str) -> Result<Option<ExecState>> {
        Ok(None)
    }

    /// Swarm tells of services, and nothing of their tasks: they are asked for each second, and what is
    /// not as it was is an event.
    async fn events(
        &self,
        label: (String, String),
        _since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        if until.is_some() {
            return Ok(stream::empty().boxed());
        }
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(watch_tasks(self.docker.clone(), label, sender));
        Ok(stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|event| (event, receiver))
        })
        .boxed())
    }

    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let Some((service, Some(task))) = self.run(&service_of(container)).await? else {
            return Err(EngineError::Refused {
                status: 404,
                message: format!("there is no task of {container}"),
            });
        };
        let tty = answers::state_of(&service, Some(&task), &[]).tty;
        let path = log_path(&format!("tasks/{}", checked(&task.id)?), options);
        // It hangs for ever while the task's node is down.
        self.docker.output(path, tty, options.follow, CALL).await
    }
}

/// Asks for the tasks until nobody listens, or until there is no answer.
async fn watch_tasks(
    docker: Arc<DockerEngine>,
    (key, value): (String, String),
    sender: mpsc::Sender<Result<EngineEvent>>,
) {
    let path = filtered("/tasks", ("label", &format!("{key}={value}")));
    let mut before: Option<BTreeMap<String, String>> = None;
    loop {
        let tasks: Vec<Task> = match docker.question_within(CALL, path.clone()).await {
            Ok(tasks) => tasks,
            Err(error) => {
                // A reader that went away needs no reason.
                let _gone = sender.send(Err(error)).await;
                return;
            }
        };
        let now: BTreeMap<String, String> = tasks
            .iter()
            .map(|task| (task.id.clone(), task.state().to_owned()))
            .collect();
        let changed = before.as_ref().is_none_or(|before| *before != now);
        before = Some(now);
        if changed {
            let event = EngineEvent {
                at: Timestamp::UNIX_EPOCH,
                action: EventAction::Other("tasks".to_owned()),
                container: String::new(),
                labels: BTreeMap::new(),
            };
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = sender.closed() => return,
        }
    }
}

/// For verbs of containers.
fn nothing_such<T>(what: &str) -> Result<T> {
    Err(EngineError::Invalid(format!("a Swarm cannot {what}")))
}

#[async_trait]
impl Engine for SwarmEngine {
    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        let Some(run) = &request.name else {
            return nothing_such("run a one-off container; say `--engine docker`");
        };
        if let Some(why) = self.forgets().await? {
            return Err(EngineError::Invalid(why));
        }
        let name = service_name(run);
        let image = self.pinned(&request.spec).await;
        let files = self.files_of(&request.spec.files, &request.labels).await?;
        let spec = body::service_spec(&name, &image, request, files)?;
        let login = self.docker.login(&request.spec.image).await?;
        let created = self
            .docker
            .call(CALL, async move |docker: bollard::Docker| {
                docker.create_service(spec, login).await
            })
            .await
            .map_err(|error| match error {
                EngineError::Refused { status, message } => EngineError::Refused {
                    status,
                    message: request.spec.conceal(&message),
                },
                other => other,
            })?;
        Ok(Created {
            id: name,
            warnings: created.warnings.unwrap_or_default(),
        })
    }

    async fn mark(&self, _id: &str) -> Result<bool> {
        Ok(false)
    }

    async fn write_files(&self, _id: &str, _files: &[JobFile]) -> Result<()> {
        nothing_such("write into a container")
    }

    async fn start(&self, _id: &str) -> Result<()> {
        nothing_such("start a run again")
    }

    async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<()> {
        let id = service_of(id);
        if self.end(&id, None).await?.is_none() && self.service(&id).await?.is_none() {
            return Ok(());
        }
        let patience = grace.unwrap_or(DEFAULT_GRACE).saturating_add(STOP_MARGIN);
        let ended = async {
            while self
                .inspect(&id)
                .await?
                .is_some_and(|state| state.status.is_live())
            {
                tokio::time::sleep(STOP_LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(patience, ended).await.unwrap_or_else(|_| {
            Err(EngineError::Unanswered {
                why: format!("{id} goes on"),
            })
        })
    }

    async fn conclude(&self, id: &str, note: &StopNote) -> Result<Option<StopNote>> {
        self.end(&service_of(id), Some(note)).await
    }

    async fn decide(&self, id: &str, version: u64, reserved: Reserved) -> Result<bool> {
        let Some(raw) = self.raw_service(&service_of(id)).await? else {
            return Ok(false);
        };
        let service: Service = decoded(raw.clone())?;
        let is_open = answers::state_of(&service, None, &[]).status == ContainerStatus::Created;
        if service.version.index != version || !is_open {
            return Ok(false);
        }
        let mut spec = spec_of(&raw)?;
        match reserved {
            Reserved::Begins => {
                let mode = spec.mode.get_or_insert_default();
                mode.replicated.get_or_insert_default().replicas = Some(1);
            }
            Reserved::GivenUp => {
                let task = spec.task_template.get_or_insert_default();
                let placement = task.placement.get_or_insert_default();
                let constraints = placement.constraints.get_or_insert_default();
                constraints.push(body::NOWHERE.to_owned());
            }
        }
        // A manager refuses what names an older version.
        self.update(&service, spec).await.map(|()| true)
    }

    async fn kill(&self, id: &str) -> Result<()> {
        self.stop(id, None).await
    }

    async fn remove(&self, id: &str, _volumes: bool) -> Result<Removal> {
        let id = service_of(id);
        let Some((service, task)) = self.run(&id).await? else {
            return Ok(Removal::Gone);
        };
        let nodes = self.nodes_for(task.as_slice()).await?;
        let state = answers::state_of(&service, task.as_ref(), &nodes);
        // Swarm itself would end it.
        if state.status.is_live() {
            return Err(EngineError::Refused {
                status: 409,
                message: format!("{id} is running"),
            });
        }
        // Somebody may be about to begin it.
        if state.status == ContainerStatus::Created
            && !self.decide(&id, service.version.index, Reserved::GivenUp).await?
        {
            return Err(EngineError::Refused {
                status: 409,
                message: format!("{id} has changed"),
            });
        }
        let own = checked(&service.id)?.to_owned();
        let answer = self.docker.call(CALL, async move |docker: bollard::Docker| {
            docker.delete_service(&own).await
        });
        let removal = match none_when_gone(answer.await)? {
            Some(()) => Removal::Removed,
            None => Removal::Gone,
        };
        if let Some(instance) = service.spec.labels.get(LABEL_INSTANCE)
            && service.spec.task_template.references().next().is_some()
            && let Err(error) = self.reap(instance).await
        {
            // The next removal looks again.
            tracing::debug!(%error, "unused secrets and configs could not be deleted");
        }
        Ok(removal)
    }

    async fn pull(
        &self,
        _image: &ImageRef,
        _platform: Option<&str>,
        _progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<()> {
        nothing_such("pull an image: each node sees to its own")
    }

    async fn create_volume(
        &self,
        _name: &str,
        _labels: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        nothing_such("make a volume: each node has its own")
    }

    /// There is no lock volume here.
    async fn remove_volume(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    async fn attach(&self, _id: &str) -> Result<BoxStream<'static, Result<LogChunk>>> {
        nothing_such("attach to a run")
    }

    async fn create_exec(&self, _request: &ExecRequest) -> Result<String> {
        nothing_such("run a command in a container")
    }

    async fn start_exec(&self, _id: &str, _tty: bool) -> Result<BoxStream<'static, Result<LogChunk>>> {
        nothing_such("run a command in a container")
    }

    async fn signal_marked(
        &self,
        _container: &str,
        _user: Option<&str>,
        _variable: (&str, &str),
        _signal: &str,
    ) -> Result<bool> {
        nothing_such("run a command in a container")
    }
}
