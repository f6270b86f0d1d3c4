//! The same engine as a Swarm: each run a service of one task, on one of three nodes.
//!
//! A service is kept as a container whose ID is the service's name, so that processes, output, witness
//! and faults are the engine's own; what a Swarm adds to it is in [`Service`]. A node that is lost goes on
//! with what it runs, unless its power is off, and no manager learns of it until the node is back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};
use jiff::Timestamp;

use super::state::{Image, State};
use super::verbs::refused;
use super::{Reply, RequestKind, SimEngine, SimImage, unanswered};
use crate::engine::swarm::{service_name, service_of};
use crate::engine::{
    ContainerFilter, ContainerState, ContainerSummary, CreateRequest, Created, Description, Engine,
    EngineError, EngineEvent, EngineInfo, EngineKind, EventAction, ExecRequest, ExecState, ImageSummary,
    LogChunk, LogOptions, Observe, PathStat, PullProgress, Removal, Reserved, Result,
};
use crate::model::{
    Checked, Constraint, ContainerName, ContainerSpec, ContainerStatus, ImageRef, JobFile, LABEL_RUN,
    Launching, Peer, StopNote, Subject,
};

const NODES: [&str; 3] = ["one", "two", "three"];

/// From a service to its task's node, and from there to its process (measured: 0.44 s in all).
const PLACING: Duration = Duration::from_millis(140);
const STARTING: Duration = Duration::from_millis(300);

/// What the managers keep.
pub(super) struct Swarm {
    services: BTreeMap<String, Service>,
    /// Whether each is up, and since when it is not.
    nodes: BTreeMap<String, Option<Timestamp>>,
    /// Of every object, as raft's index.
    version: u64,
    /// A person's or an operator's limit in the way of all nodes.
    placed: usize,
}

impl Default for Swarm {
    fn default() -> Swarm {
        Swarm {
            services: BTreeMap::new(),
            nodes: NODES.iter().map(|name| ((*name).to_owned(), None)).collect(),
            version: 0,
            placed: 0,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Service {
    version: u64,
    /// It is to have no task yet.
    reserved: bool,
    /// No node may run it any more.
    nowhere: bool,
    node: Option<String>,
    /// Why it has no node.
    pending: String,
    /// Its task was given out, and there is nothing more to wait for.
    over: bool,
    /// Its end was asked for while it ran.
    shut_down: bool,
    /// Its task was running, or coming up, when its node was lost.
    lost_with_node: bool,
}

/// One manager's view of the simulated Swarm.
#[derive(Clone)]
pub struct SimSwarm {
    engine: SimEngine,
}

impl SimEngine {
    /// This engine as a Swarm.
    #[must_use]
    pub fn swarm(&self) -> SimSwarm {
        SimSwarm { engine: self.clone() }
    }

    /// Nobody hears from that node; what it runs goes on, unless its power is off.
    pub fn lose_node(&self, node: &str, powered_off: bool) {
        self.change(|state| {
            let at = state.now.wall;
            state.swarm.nodes.insert(node.to_owned(), Some(at));
            for id in state.swarm.on_node(node) {
                let over = state.swarm.services.get(&id).is_some_and(|service| service.over);
                let live = !over || state.is_running(&id);
                if let Some(service) = state.swarm.services.get_mut(&id) {
                    service.lost_with_node |= live;
                }
                if powered_off {
                    state.kill_task(&id);
                }
            }
        });
    }

    /// It is back: what still runs there and was given up is ended.
    pub fn return_node(&self, node: &str) {
        self.change(|state| {
            state.swarm.nodes.insert(node.to_owned(), None);
            for id in state.swarm.on_node(node) {
                let Some(service) = state.swarm.services.get_mut(&id) else {
                    continue;
                };
                if !std::mem::take(&mut service.lost_with_node) {
                    continue;
                }
                service.over = true;
                service.nowhere = true;
                if state.is_running(&id) {
                    state.shut_down_task(&id);
                }
            }
            state.place_all();
        });
    }

    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        NODES.iter().map(|name| (*name).to_owned()).collect()
    }
}

impl Swarm {
    fn on_node(&self, node: &str) -> Vec<String> {
        let there = self
            .services
            .iter()
            .filter(|(_, service)| service.node.as_deref() == Some(node));
        there.map(|(id, _)| id.clone()).collect()
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn is_up(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(Option::is_none)
    }

    /// Nodes that are up and meet all constraints.
    fn nodes_for(&self, spec: &ContainerSpec) -> Vec<String> {
        let constraints: Vec<Option<Constraint>> = spec
            .placement
            .constraints
            .iter()
            .map(|text| text.parse().ok())
            .collect();
        let meets = |node: &&String| {
            constraints.iter().all(|constraint| {
                let found = match constraint.as_ref().map(|constraint| &constraint.subject) {
                    Some(Subject::Hostname) => node.as_str(),
                    Some(Subject::Role) => "manager",
                    _ => "",
                };
                constraint
                    .as_ref()
                    .is_some_and(|constraint| (constraint.value == found) != constraint.negated)
            })
        };
        let up = self.nodes.keys().filter(|node| self.is_up(node));
        up.filter(meets).cloned().collect()
    }
}

impl State {
    fn kill_task(&mut self, id: &str) {
        let number = self.containers.get(id).and_then(|container| container.process);
        if let Some(number) = number {
            self.end_process(number, super::program::Ending::code(137));
        }
    }

    fn shut_down_task(&mut self, id: &str) {
        if let Some(service) = self.swarm.services.get_mut(id) {
            service.shut_down = true;
        }
        drop(self.stop(id, None));
    }

    /// The run cannot start.
    fn reject(&mut self, id: &str, why: String) {
        let at = self.now.wall;
        if let Some(service) = self.swarm.services.get_mut(id) {
            service.over = true;
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.checkpoint.status = ContainerStatus::Exited;
            container.checkpoint.finished_at = Some(at);
            container.checkpoint.error = why;
        }
    }

    fn place_all(&mut self) {
        let waiting: Vec<String> = self
            .swarm
            .services
            .iter()
            .filter(|(_, service)| service.node.is_none() && !service.reserved)
            .map(|(id, _)| id.clone())
            .collect();
        for id in waiting {
            self.place(&id);
        }
    }

    fn place(&mut self, id: &str) {
        let Some(spec) = self.containers.get(id).map(|one| one.request.spec.clone()) else {
            return;
        };
        let nodes = self.swarm.nodes_for(&spec);
        let placed = self.swarm.placed;
        let Some(service) = self.swarm.services.get_mut(id) else {
            return;
        };
        if service.nowhere || service.node.is_some() {
            return;
        }
        if nodes.is_empty() {
            "no suitable node (scheduling constraints not satisfied on 3 nodes)"
                .clone_into(&mut service.pending);
            return;
        }
        service.node = Some(nodes[placed % nodes.len()].clone());
        self.swarm.placed += 1;
        let id = id.to_owned();
        self.after(STARTING, move |state| state.start_task(&id));
    }

    fn start_task(&mut self, id: &str) {
        let Some(service) = self.swarm.services.get(id) else {
            return;
        };
        let up = service.node.as_deref().is_some_and(|node| self.swarm.is_up(node));
        if service.over || service.lost_with_node {
            return;
        }
        if service.nowhere || !up {
            return self.reject(id, "its task was shutdown before it ran".to_owned());
        }
        let Some(image) = self.containers.get(id).map(|one| one.request.spec.image.clone()) else {
            return;
        };
        if self.image(&image).is_none() {
            return self.reject(id, format!("No such image: {image}"));
        }
        if let Some(service) = self.swarm.services.get_mut(id) {
            service.over = true;
        }
        if let Err(why) = self.start(id) {
            self.reject(id, why.to_string());
        }
    }

    fn create_service(&mut self, id: &str, request: &CreateRequest) -> Result<Created> {
        let Some(run) = &request.name else {
            return Err(EngineError::Invalid("a service has a name".to_owned()));
        };
        if self.swarm.services.contains_key(id) {
            return Err(refused(
                409,
                format!(
                    "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service {id} already exists"
                ),
            ));
        }
        let image = self.image(&request.spec.image).cloned().unwrap_or_else(|| Image {
            id: String::new(),
            tags: BTreeSet::new(),
            created: self.now.wall,
            content: SimImage::default(),
        });
        let mut request = request.clone();
        request.labels.insert(LABEL_RUN.to_owned(), run.to_string());
        let (name, reserved) = (run.to_string(), request.reserved);
        // Services have no files written into them: those are the Swarm's secrets and configs.
        request.spec.files.clear();
        self.names.insert(name.clone(), id.to_owned());
        self.add_container(id.to_owned(), name, &image, request);
        let service = Service {
            version: self.swarm.next_version(),
            reserved,
            ..Service::default()
        };
        self.swarm.services.insert(id.to_owned(), service);
        self.emit(id, EventAction::Create);
        if !reserved {
            self.place_soon(id);
        }
        Ok(Created {
            id: id.to_owned(),
            warnings: Vec::new(),
        })
    }

    fn place_soon(&mut self, id: &str) {
        let id = id.to_owned();
        self.after(PLACING, move |state| state.place(&id));
    }

    fn service_state(&self, id: &str) -> Option<ContainerState> {
        let service = self.swarm.services.get(id)?;
        let mut state = self.inspect(id)?;
        let noted = StopNote::read(&state.labels).is_some();
        let down_since = service
            .node
            .as_ref()
            .and_then(|node| self.swarm.nodes.get(node).copied());
        state.node = service.node.clone().unwrap_or_default();
        state.ended_by_engine = service.shut_down;
        match (&service.node, down_since.flatten()) {
            (None, _) if service.reserved && !noted => {
                state.status = match service.nowhere {
                    true => ContainerStatus::Removing,
                    false => ContainerStatus::Created,
                };
            }
            (None, _) if service.nowhere => {
                state.status = ContainerStatus::Exited;
                state.ended_by_engine = true;
                "it was ended before it had a task".clone_into(&mut state.error);
            }
            (None, _) => state.status = ContainerStatus::Pending(service.pending.clone()),
            // What it did since nobody knows.
            (Some(_), Some(since)) if service.lost_with_node => {
                state.status = ContainerStatus::Dead;
                state.finished_at = Some(since);
            }
            (Some(_), _) if !service.over => state.status = ContainerStatus::Starting,
            // Given up with its node before it had a process.
            (Some(_), _) if state.status == ContainerStatus::Created => {
                state.status = ContainerStatus::Exited;
                state.ended_by_engine = true;
                "its task was shutdown before it ran".clone_into(&mut state.error);
            }
            (Some(_), _) => {}
        }
        Some(state)
    }

    fn service_summaries(&self, filter: &ContainerFilter) -> Vec<ContainerSummary> {
        let mut rows = self.summaries();
        rows.retain(|row| {
            let label = filter.label.as_ref();
            label.is_none_or(|(key, value)| row.labels.get(key) == Some(value))
        });
        for row in &mut rows {
            if let Some(state) = self.service_state(&row.id) {
                row.status = state.status;
            }
            row.version = self
                .swarm
                .services
                .get(&row.id)
                .map_or(0, |service| service.version);
        }
        rows.retain(|row| self.swarm.services.contains_key(&row.id) && (filter.all || row.status.is_live()));
        rows
    }

    /// One update that leaves it without a node; `None`: it is gone.
    fn end_service(&mut self, id: &str, note: Option<&StopNote>) -> Option<Option<StopNote>> {
        let live = self.service_state(id)?.status;
        let labels = &mut self.containers.get_mut(id)?.labels;
        let found = StopNote::read(labels);
        if let (None, Some(note)) = (&found, note) {
            labels.extend(note.labels());
        }
        let version = self.swarm.next_version();
        let service = self.swarm.services.get_mut(id)?;
        service.nowhere = true;
        service.version = version;
        if live == ContainerStatus::Running {
            self.shut_down_task(id);
        }
        Some(found.or(note.cloned()))
    }

    fn decide_service(&mut self, id: &str, version: u64, reserved: Reserved) -> bool {
        let open = self
            .service_state(id)
            .is_some_and(|state| state.status == ContainerStatus::Created);
        let next = self.swarm.version + 1;
        let Some(service) = self.swarm.services.get_mut(id) else {
            return false;
        };
        if !open || service.version != version {
            return false;
        }
        service.version = next;
        self.swarm.version = next;
        match reserved {
            Reserved::GivenUp => service.nowhere = true,
            Reserved::Begins => {
                service.reserved = false;
                self.place_soon(id);
            }
        }
        true
    }

    fn remove_service(&mut self, id: &str) -> Result<Removal> {
        let Some(state) = self.service_state(id) else {
            return Ok(Removal::Gone);
        };
        if state.status.is_live() {
            return Err(refused(409, format!("{id} is running")));
        }
        self.swarm.services.remove(id);
        self.destroy(id, false);
        Ok(Removal::Removed)
    }
}

impl SimSwarm {
    /// A service's ID: a function of the run's name.
    fn id(name_or_id: &str) -> Result<String> {
        super::checked(&service_of(name_or_id))
    }

    async fn ask<T: Send + 'static>(
        &self,
        kind: RequestKind,
        subject: &str,
        run: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let run = |state: &mut State| Reply::Now(run(state));
        self.engine.send(kind, subject, run).await
    }
}

fn nothing_such<T>() -> Result<T> {
    Err(EngineError::Invalid("a Swarm cannot do that".to_owned()))
}

#[async_trait]
impl Observe for SimSwarm {
    fn host(&self) -> String {
        self.engine.host()
    }

    async fn peer(&self) -> Option<Peer> {
        None
    }

    fn launching(&self) -> Launching {
        Launching::AtOnce
    }

    fn id_of(&self, name: &ContainerName) -> Option<String> {
        Some(service_name(name))
    }

    async fn info(&self) -> Result<EngineInfo> {
        Ok(EngineInfo {
            kind: EngineKind::Swarm,
            identity: "swarm SIMULATED".to_owned(),
            ..self.engine.info().await?
        })
    }

    async fn check(&self, specs: &[&ContainerSpec]) -> Result<Vec<Checked>> {
        let specs: Vec<ContainerSpec> = specs.iter().map(|spec| (*spec).clone()).collect();
        self.ask(RequestKind::Networks, "", move |state| {
            let checked = specs.iter().map(|spec| {
                let mut found = Checked::default();
                if state.swarm.nodes_for(spec).is_empty() {
                    found.unplaced = Some("no node that takes tasks meets its constraints".to_owned());
                }
                found
            });
            Ok(checked.collect())
        })
        .await
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerSummary>> {
        let filter = filter.clone();
        self.ask(RequestKind::List, "", move |state| {
            Ok(state.service_summaries(&filter))
        })
        .await
    }

    async fn inspect(&self, name_or_id: &str) -> Result<Option<ContainerState>> {
        let id = SimSwarm::id(name_or_id)?;
        self.ask(RequestKind::Inspect, &id.clone(), move |state| {
            Ok(state.service_state(&id))
        })
        .await
    }

    async fn describe(&self, name_or_id: &str) -> Result<Option<Description>> {
        self.engine.describe(&SimSwarm::id(name_or_id)?).await
    }

    async fn log_was_opened(&self, _state: &ContainerState) -> Option<bool> {
        None
    }

    async fn list_images(&self) -> Result<Vec<ImageSummary>> {
        self.engine.list_images().await
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>> {
        self.engine.image_id(image).await
    }

    async fn networks(&self) -> Result<BTreeSet<String>> {
        self.engine.networks().await
    }

    async fn volumes(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        self.engine.volumes().await
    }

    async fn stat_path(&self, _container: &str, _path: &str) -> Result<Option<PathStat>> {
        Ok(None)
    }

    async fn inspect_exec(&self, _id: &str) -> Result<Option<ExecState>> {
        Ok(None)
    }

    async fn events(
        &self,
        label: (String, String),
        _since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        let events = self.engine.events(label, None, until).await?;
        let told = events.map(|event| {
            event.map(|event| EngineEvent {
                action: EventAction::Other("tasks".to_owned()),
                container: String::new(),
                labels: BTreeMap::new(),
                ..event
            })
        });
        Ok(told.boxed())
    }

    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let id = SimSwarm::id(container)?;
        let is_lost = self.engine.look(|state| {
            let service = state.swarm.services.get(&id);
            let node = service.and_then(|service| service.node.as_deref());
            node.is_some_and(|node| !state.swarm.is_up(node))
        });
        if is_lost {
            return Err(unanswered("timed out"));
        }
        self.engine.logs(&id, options).await
    }
}

#[async_trait]
impl Engine for SimSwarm {
    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        let id = request.name.as_ref().map(service_name).unwrap_or_default();
        let request = request.clone();
        self.ask(RequestKind::Create, &id.clone(), move |state| {
            state.create_service(&id, &request)
        })
        .await
    }

    async fn mark(&self, _id: &str) -> Result<bool> {
        Ok(false)
    }

    async fn write_files(&self, _id: &str, _files: &[JobFile]) -> Result<()> {
        nothing_such()
    }

    async fn start(&self, _id: &str) -> Result<()> {
        nothing_such()
    }

    async fn stop(&self, id: &str, _grace: Option<Duration>) -> Result<()> {
        let id = SimSwarm::id(id)?;
        self.engine
            .send(RequestKind::Stop, &id.clone(), move |state| {
                state.end_service(&id, None);
                Reply::When(Box::new(move |state| {
                    let live = state
                        .service_state(&id)
                        .is_some_and(|state| state.status.is_live());
                    (!live).then_some(Ok(()))
                }))
            })
            .await
    }

    async fn conclude(&self, id: &str, note: &StopNote) -> Result<Option<StopNote>> {
        let (id, note) = (SimSwarm::id(id)?, note.clone());
        self.ask(RequestKind::Stop, &id.clone(), move |state| {
            Ok(state.end_service(&id, Some(&note)).flatten())
        })
        .await
    }

    async fn decide(&self, id: &str, version: u64, reserved: Reserved) -> Result<bool> {
        let id = SimSwarm::id(id)?;
        self.ask(RequestKind::Decide, &id.clone(), move |state| {
            Ok(state.decide_service(&id, version, reserved))
        })
        .await
    }

    async fn kill(&self, id: &str) -> Result<()> {
        self.stop(id, None).await
    }

    async fn remove(&self, id: &str, _volumes: bool) -> Result<Removal> {
        let id = SimSwarm::id(id)?;
        self.ask(RequestKind::Remove, &id.clone(), move |state| {
            state.remove_service(&id)
        })
        .await
    }

    async fn pull(
        &self,
        _image: &ImageRef,
        _platform: Option<&str>,
        _progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<()> {
        nothing_such()
    }

    async fn create_volume(
        &self,
        _name: &str,
        _labels: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        nothing_such()
    }

    async fn remove_volume(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    async fn attach(&self, _id: &str) -> Result<BoxStream<'static, Result<LogChunk>>> {
        nothing_such()
    }

    async fn create_exec(&self, _request: &ExecRequest) -> Result<String> {
        nothing_such()
    }

    async fn start_exec(&self, _id: &str, _tty: bool) -> Result<BoxStream<'static, Result<LogChunk>>> {
        nothing_such()
    }

    async fn signal_marked(
        &self,
        _container: &str,
        _user: Option<&str>,
        _variable: (&str, &str),
        _signal: &str,
    ) -> Result<bool> {
        nothing_such()
    }
}
