//! What the simulated daemon does when a request reaches it, in Docker's order and words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{CreateRequest, Created, EngineError, EventAction, PullProgress, Removal, Result};
use super::faults::CrashPoint;
use super::program::{self, Ending, OnSignal};
use super::state::{Checkpoint, Container, Image, Reply, State};
use crate::model::{ContainerSpec, ContainerStatus, FileSource, ImageRef, JobFile, Mount, MountKind, Text};

/// Drivers that the daemon has built in.
const LOG_DRIVERS: [&str; 8] = [
    "json-file",
    "local",
    "none",
    "journald",
    "syslog",
    "fluentd",
    "gelf",
    "splunk",
];

/// How long the daemon looks for a plugin that is not there (measured).
const PLUGIN_SEARCH: Duration = Duration::from_secs(15);

/// Docker's grace period when nobody names one.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Where files with a content of their own belong.
fn contents(files: &[JobFile]) -> impl Iterator<Item = &str> {
    let content = |file: &&JobFile| matches!(file.source, FileSource::Content { .. });
    files.iter().filter(content).map(|file| file.target.as_str())
}

/// Networks that every daemon has, and modes that are no networks of their own.
const BUILT_IN_NETWORKS: [&str; 4] = ["default", "bridge", "host", "none"];

pub(super) fn refused(status: u16, message: impl Into<String>) -> EngineError {
    EngineError::Refused {
        status,
        message: message.into(),
    }
}

pub(super) fn no_such_container(name_or_id: &str) -> EngineError {
    refused(404, format!("No such container: {name_or_id}"))
}

impl State {
    // ---- create ----

    pub(super) fn create(&mut self, request: CreateRequest) -> Reply<Created> {
        let late = self.fail_create_late.take();
        let image = match self.check_create(&request) {
            Ok(image) => image,
            Err(why) => return Reply::Now(Err(why)),
        };
        if let Some((holds, why)) = late {
            return self.fail_late(&request, holds, why);
        }
        if let Some(driver) = self.missing_log_driver(&request.spec) {
            let why = format!("error looking up logging plugin {driver}: plugin \"{driver}\" not found");
            return self.search_in_vain(refused(400, why));
        }
        let id = match self.reserve(&request) {
            Ok((name, id)) => {
                self.add_container(id.clone(), name, &image, request);
                id
            }
            Err(why) => return Reply::Now(Err(why)),
        };
        if self.settings.podman {
            self.open_log(&id);
        }
        self.emit(&id, EventAction::Create);
        Reply::Now(Ok(Created {
            id,
            warnings: Vec::new(),
        }))
    }

    /// A log driver is looked for before the name is taken; only the caller has to wait.
    fn search_in_vain(&mut self, why: EngineError) -> Reply<Created> {
        let found_out = self.now.running.saturating_add(PLUGIN_SEARCH);
        self.after(PLUGIN_SEARCH, |_| ());
        Reply::When(Box::new(move |state| {
            (state.now.running >= found_out).then(|| Err(why.clone()))
        }))
    }

    /// What a missing volume driver does: a create that holds its name for a while and then leaves nothing.
    fn fail_late(&mut self, request: &CreateRequest, holds: Duration, why: EngineError) -> Reply<Created> {
        let (name, id) = match self.reserve(request) {
            Ok(reserved) => reserved,
            Err(taken) => return Reply::Now(Err(taken)),
        };
        let held = (name.clone(), id.clone());
        self.after_if_alive(holds, move |state| {
            state.names.remove(&held.0);
        });
        Reply::When(Box::new(move |state| {
            (state.names.get(&name) != Some(&id)).then(|| Err(why.clone()))
        }))
    }

    /// What Docker finds wrong before it takes the name.
    fn check_create(&mut self, request: &CreateRequest) -> Result<Image> {
        let missing: Vec<_> = binds(&request.spec)
            .filter(|(source, _)| !self.host_paths.contains(*source))
            .map(|(source, create)| (source.clone(), create))
            .collect();
        for (source, create) in missing {
            if !create {
                return Err(missing_bind(&source));
            }
            self.host_paths.extend(source.ancestors().map(Into::into));
        }
        let image = self.image(&request.spec.image).cloned();
        let image = image.ok_or_else(|| refused(404, format!("No such image: {}", request.spec.image)))?;
        let absent = networks(&request.spec).find(|network| !self.networks.contains(*network));
        if let Some(network) = absent.filter(|_| self.settings.podman) {
            return Err(refused(
                500,
                format!("unable to find network with name or ID {network}: network not found"),
            ));
        }
        if argv(&request.spec, &image).is_empty() {
            return Err(refused(400, "No command specified"));
        }
        Ok(image)
    }

    fn missing_log_driver(&self, spec: &ContainerSpec) -> Option<String> {
        let driver = &spec.logging.as_ref()?.driver;
        (!LOG_DRIVERS.contains(&driver.as_str())).then(|| driver.clone())
    }

    /// Takes the name: the lock that a create is.
    fn reserve(&mut self, request: &CreateRequest) -> Result<(String, String)> {
        let id = self.next_id("container");
        let chosen = || format!("sim_{}", &id[..12]);
        let name = request.name.as_ref().map_or_else(chosen, ToString::to_string);
        if let Some(holder) = self.names.get(&name) {
            let why = format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            );
            let status = if self.settings.podman { 500 } else { 409 };
            return Err(refused(status, why));
        }
        self.names.insert(name.clone(), id.clone());
        Ok((name, id))
    }

    pub(super) fn add_container(&mut self, id: String, name: String, image: &Image, request: CreateRequest) {
        let anonymous_volumes = self.add_volumes(&request.spec, image);
        let declared = request.spec.labels.iter();
        let mut labels: BTreeMap<String, String> = declared
            .map(|(key, text)| (key.clone(), text.expose().to_owned()))
            .collect();
        labels.extend(request.labels.clone());
        let mut environment = image.content.environment.clone();
        declare(&mut environment, &request.spec.environment);
        environment.extend(request.environment.clone());
        let logging = request.spec.logging.as_ref();
        let log_driver = logging.map_or(&self.settings.default_log_driver, |logging| &logging.driver);
        let container = Container {
            name,
            image_id: image.id.clone(),
            created: self.now.wall,
            labels,
            environment,
            argv: argv(&request.spec, image),
            log_driver: log_driver.clone(),
            anonymous_volumes,
            checkpoint: Checkpoint {
                status: ContainerStatus::Created,
                started_at: None,
                finished_at: None,
                exit_code: 0,
                error: String::new(),
                out_of_memory: false,
                log_path: String::new(),
            },
            process: None,
            written: BTreeSet::new(),
            ended_unseen: None,
            ends: 0,
            output: Vec::new(),
            stuck: None,
            unkillable: false,
            request,
            id: id.clone(),
        };
        self.containers.insert(id, container);
    }

    /// Named volumes that are not there are made without labels; each place without a name gets a
    /// volume of its own, also those that the image asks for.
    fn add_volumes(&mut self, spec: &ContainerSpec, image: &Image) -> Vec<String> {
        let mut anonymous = Vec::new();
        let own = spec.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume { name, .. } => Some(name.clone()),
            MountKind::Bind { .. } | MountKind::Tmpfs { .. } => None,
        });
        let covered = |target: &&String| spec.mounts.iter().any(|mount: &Mount| mount.target == **target);
        let asked = image.content.volumes.iter().filter(|target| !covered(target));
        for name in own.chain(asked.map(|_| None)) {
            match name {
                Some(name) => {
                    self.volumes.entry(name).or_default();
                }
                None => {
                    let name = self.next_id("volume");
                    self.volumes.insert(name.clone(), BTreeMap::new());
                    anonymous.push(name);
                }
            }
        }
        anonymous
    }

    // ---- start ----

    /// Runs the container's command, also when it has run before. A running one is left alone and
    /// that is `Ok` (304).
    pub(super) fn start(&mut self, name_or_id: &str) -> Result<()> {
        let crash = self.crash_in_start.take();
        let id = self
            .find_id(name_or_id)
            .ok_or_else(|| no_such_container(name_or_id))?;
        match self.status(&id) {
            Some(ContainerStatus::Running) => return Ok(()),
            Some(status @ (ContainerStatus::Removing | ContainerStatus::Dead)) => {
                let why = if status == ContainerStatus::Dead {
                    "dead"
                } else {
                    "marked for removal"
                };
                return Err(refused(409, format!("container is {why} and cannot be started")));
            }
            _ => {}
        }
        let timeline = match self.prepare(&id) {
            Ok(timeline) => timeline,
            Err(failure) => return Err(self.fail_start(&id, failure)),
        };
        self.open_log(&id);
        if crash == Some(CrashPoint::LogOpened) {
            return Ok(());
        }
        let number = self.launch(&id, timeline);
        if crash == Some(CrashPoint::Hidden) {
            return Ok(());
        }
        let at = self.now.wall;
        if let Some(container) = self.containers.get_mut(&id) {
            container.process = Some(number);
            container.checkpoint.status = ContainerStatus::Running;
            container.checkpoint.started_at = Some(at);
            container.checkpoint.exit_code = 0;
            container.checkpoint.error.clear();
            container.checkpoint.out_of_memory = false;
        }
        self.emit(&id, EventAction::Start);
        // A command that takes no time has ended before anybody can ask.
        self.settle(self.now);
        Ok(())
    }

    /// Finds what stands in the way of a start, in the daemon's order. What each leaves on the
    /// container differs, and is as measured.
    fn prepare(&self, id: &str) -> std::result::Result<program::Timeline, StartFailure> {
        let container = self.containers.get(id).ok_or_else(|| StartFailure {
            refusal: no_such_container(id),
            exit_code: None,
            opens_log: false,
        })?;
        let spec = &container.request.spec;
        if let Some(network) = networks(spec).find(|network| !self.networks.contains(*network)) {
            return Err(StartFailure {
                refusal: refused(404, format!("network {network} not found")),
                exit_code: Some(128),
                opens_log: false,
            });
        }
        // A real daemon knows nothing of this: the command would miss what it reads.
        if let Some(file) = contents(&spec.files).find(|file| !container.written.contains(*file)) {
            return Err(StartFailure {
                refusal: refused(500, format!("{file} was never written")),
                exit_code: Some(44),
                opens_log: false,
            });
        }
        if let Some((source, _)) = binds(spec).find(|(source, _)| !self.host_paths.contains(*source)) {
            return Err(StartFailure {
                refusal: missing_bind(source),
                exit_code: None,
                opens_log: false,
            });
        }
        program::lay_out(&container.argv, &container.environment, &self.installed).map_err(|name| {
            let why = format!(
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
                 container process: exec: \"{name}\": executable file not found in $PATH: unknown"
            );
            StartFailure {
                refusal: refused(400, why),
                exit_code: Some(127),
                opens_log: true,
            }
        })
    }

    /// The container stays as it was, in most cases with the error on it. No event tells of it.
    fn fail_start(&mut self, id: &str, failure: StartFailure) -> EngineError {
        if failure.opens_log {
            self.open_log(id);
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.ends += 1;
            if let Some(exit_code) = failure.exit_code {
                container.checkpoint.exit_code = exit_code;
                container.checkpoint.error = failure.refusal.to_string();
            }
        }
        failure.refusal
    }

    /// What a start leaves whose client went away before the log was opened: no event tells of it.
    pub(super) fn break_start_off(&mut self, name_or_id: &str) {
        if let Some(id) = self.find_id(name_or_id)
            && self.status(&id) != Some(ContainerStatus::Running)
        {
            let why = refused(500, "Canceled: context canceled".to_owned());
            self.fail_start(
                &id,
                StartFailure {
                    refusal: why,
                    exit_code: Some(128),
                    opens_log: false,
                },
            );
        }
    }

    /// `json-file` says where its file is once it has been opened; other drivers never do.
    fn open_log(&mut self, id: &str) {
        if let Some(container) = self.containers.get_mut(id)
            && container.log_driver == "json-file"
        {
            container.checkpoint.log_path = format!("/var/lib/docker/containers/{id}/{id}-json.log");
        }
    }

    // ---- stop, kill, remove ----

    /// Stop signal, then a kill after the grace period. Answered when the process is gone; one
    /// that is not running is `Ok` (304), also when it runs on unseen.
    pub(super) fn stop(&mut self, name_or_id: &str, grace: Option<Duration>) -> Reply<()> {
        let Some(id) = self.find_id(name_or_id) else {
            return Reply::Now(Ok(()));
        };
        if !self.is_running(&id) {
            return Reply::Now(Ok(()));
        }
        self.emit(&id, EventAction::Kill);
        let number = self.containers.get(&id).and_then(|container| container.process);
        if let (Some(number), Some(ending)) = (number, self.stop_ending(&id)) {
            self.end_process(number, ending);
            self.emit(&id, EventAction::Other("stop".to_owned()));
        } else if let Some(number) = number {
            let own = self
                .containers
                .get(&id)
                .and_then(|c| c.request.spec.stop_grace_period);
            let grace = grace.or(own).unwrap_or(DEFAULT_GRACE);
            let victim = id.clone();
            self.after_if_alive(grace, move |state| {
                if state.signal_kill(&victim, number) {
                    state.emit(&victim, EventAction::Other("stop".to_owned()));
                }
            });
        }
        Reply::When(Box::new(move |state| (!state.is_running(&id)).then_some(Ok(()))))
    }

    /// How the stop signal ends a container; `None` when it does not.
    pub(super) fn stop_ending(&self, id: &str) -> Option<Ending> {
        let container = self.containers.get(id)?;
        if container.unkillable {
            return None;
        }
        let signal = container.request.spec.stop_signal.as_deref().unwrap_or("SIGTERM");
        let timeline = &self.processes.get(&container.process?)?.timeline;
        match timeline.on_signal(signal) {
            _ if signal_number(signal) == 9 => Some(Ending::code(137)),
            OnSignal::Dies => Some(Ending::code(128 + signal_number(signal))),
            OnSignal::Exits(code) => Some(Ending::code(code)),
            OnSignal::Ignores => None,
        }
    }

    /// True when it ended the process.
    fn signal_kill(&mut self, id: &str, number: u64) -> bool {
        let claims = |container: &&Container| container.process == Some(number) && !container.unkillable;
        let dies = self.containers.get(id).filter(claims).is_some();
        if dies {
            self.end_process(number, Ending::code(137));
        }
        dies
    }

    /// A container that was never started is refused (409), also when it runs on unseen; one that
    /// has ended or is gone is `Ok`, as the seam says.
    pub(super) fn kill(&mut self, name_or_id: &str) -> Result<()> {
        let Some(id) = self.find_id(name_or_id) else {
            return Ok(());
        };
        match self.status(&id) {
            Some(ContainerStatus::Created) => Err(refused(
                409,
                format!("Cannot kill container: {id}: Container {id} is not running"),
            )),
            Some(ContainerStatus::Running) => {
                self.emit(&id, EventAction::Kill);
                if let Some(number) = self.containers.get(&id).and_then(|container| container.process) {
                    self.signal_kill(&id, number);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn remove(&mut self, name_or_id: &str, volumes: bool) -> Result<Removal> {
        let Some(id) = self.find_id(name_or_id) else {
            return Ok(Removal::Gone);
        };
        match self.status(&id) {
            Some(ContainerStatus::Removing) => Err(refused(
                409,
                format!("removal of container {id} is already in progress"),
            )),
            Some(ContainerStatus::Dead) => Err(refused(
                500,
                format!("container {id}: driver failed to remove root filesystem: device or resource busy"),
            )),
            Some(status) if status.is_live() => Err(refused(
                409,
                format!(
                    "You cannot remove a running container {id}. \
                     Stop the container before attempting removal or force remove"
                ),
            )),
            _ => {
                self.destroy(&id, volumes);
                Ok(Removal::Removed)
            }
        }
    }

    pub(super) fn write_files(&mut self, name_or_id: &str, files: &[JobFile]) -> Result<()> {
        let id = self
            .find_id(name_or_id)
            .ok_or_else(|| no_such_container(name_or_id))?;
        let Some(container) = self.containers.get_mut(&id) else {
            return Err(no_such_container(name_or_id));
        };
        if container.request.spec.read_only {
            return Err(refused(400, "container rootfs is marked read-only"));
        }
        container.written.extend(contents(files).map(str::to_owned));
        Ok(())
    }

    /// A change of nothing, which leaves an `update` event.
    pub(super) fn mark(&mut self, name_or_id: &str) -> Result<bool> {
        let id = self
            .find_id(name_or_id)
            .ok_or_else(|| no_such_container(name_or_id))?;
        if matches!(
            self.status(&id),
            Some(ContainerStatus::Removing | ContainerStatus::Dead)
        ) {
            let why = format!(
                "Cannot update container {id}: Container is marked for removal and cannot be \"update\"."
            );
            return Err(refused(409, why));
        }
        if self.settings.podman {
            return Ok(false);
        }
        self.emit(&id, EventAction::Update);
        Ok(true)
    }

    // ---- images and volumes ----

    pub(super) fn image(&self, image: &ImageRef) -> Option<&Image> {
        let wanted = normal(image);
        let tagged = || self.images.values().find(|image| image.tags.contains(&wanted));
        let digest = wanted
            .split_once('@')
            .map_or(wanted.as_str(), |(_, digest)| digest);
        self.images.get(digest).or_else(tagged)
    }

    pub(super) fn pull(&mut self, image: &ImageRef) -> Result<PullProgress> {
        let wanted = normal(image);
        let Some(found) = self.registry.get(&wanted).cloned() else {
            let (repository, _) = image.repository_and_tag();
            let why = format!(
                "pull access denied for {repository}, repository does not exist or may require 'docker login'"
            );
            return Err(refused(404, why));
        };
        self.tag(&wanted, found);
        Ok(PullProgress {
            id: String::new(),
            status: format!("Status: Downloaded newer image for {wanted}"),
            current_bytes: 0,
            total_bytes: 0,
        })
    }

    /// Gives a tag to an image, taking it from whichever had it.
    pub(super) fn tag(&mut self, reference: &str, image: Image) {
        for other in self.images.values_mut() {
            other.tags.remove(reference);
        }
        let image = self.images.entry(image.id.clone()).or_insert(image);
        if !reference.contains('@') {
            image.tags.insert(reference.to_owned());
        }
    }

    /// The labels of the volume, which are the first creator's.
    pub(super) fn create_volume(
        &mut self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let volume = self.volumes.entry(name.to_owned());
        volume.or_insert(labels).clone()
    }

    pub(super) fn remove_volume(&mut self, name: &str) -> Result<()> {
        let user = self
            .containers
            .values()
            .find(|container| uses_volume(container, name));
        if let Some(user) = user {
            let why = format!("remove {name}: volume is in use - [{}]", user.id);
            return Err(refused(409, why));
        }
        self.volumes.remove(name);
        Ok(())
    }
}

struct StartFailure {
    refusal: EngineError,
    /// `None`: it leaves neither a code nor a word on the container.
    exit_code: Option<i64>,
    opens_log: bool,
}

fn missing_bind(source: &Path) -> EngineError {
    let why = "invalid mount config for type \"bind\": bind source path does not exist";
    refused(400, format!("{why}: {}", source.display()))
}

/// `repository:tag`, or the ID, which is also this engine's only digest.
pub(super) fn normal(image: &ImageRef) -> String {
    if image.is_pinned() {
        return image.as_str().to_owned();
    }
    let (repository, tag) = image.repository_and_tag();
    format!("{repository}:{tag}")
}

fn argv(spec: &ContainerSpec, image: &Image) -> Vec<String> {
    let own = |texts: &Vec<Text>| {
        texts
            .iter()
            .map(|text| text.expose().to_owned())
            .collect::<Vec<_>>()
    };
    let entrypoint = spec.entrypoint.as_ref().map(own);
    // As Docker: an entrypoint of one's own also does away with the image's command.
    let default = match entrypoint {
        Some(_) => Vec::new(),
        None => image.content.command.clone(),
    };
    let mut argv = entrypoint.unwrap_or_else(|| image.content.entrypoint.clone());
    argv.extend(spec.command.as_ref().map_or(default, own));
    argv
}

/// Bind sources, and whether a missing one is made.
pub(super) fn binds(spec: &ContainerSpec) -> impl Iterator<Item = (&PathBuf, bool)> {
    spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind {
            source,
            create_host_path,
        } => Some((source, *create_host_path)),
        MountKind::Volume { .. } | MountKind::Tmpfs { .. } => None,
    })
}

/// Networks that have to exist when the container starts.
pub(super) fn networks(spec: &ContainerSpec) -> impl Iterator<Item = &str> {
    let mode = spec
        .network_mode
        .as_deref()
        .filter(|mode| !mode.starts_with("container:"));
    let named = spec.networks.iter().map(|network| network.name.as_str());
    named
        .chain(mode)
        .filter(|network| !BUILT_IN_NETWORKS.contains(network))
}

fn uses_volume(container: &Container, wanted: &str) -> bool {
    let mounts = container.request.spec.mounts.iter();
    let named = mounts.filter_map(|mount| match &mount.kind {
        MountKind::Volume { name, .. } => name.as_deref(),
        MountKind::Bind { .. } | MountKind::Tmpfs { .. } => None,
    });
    let anonymous = container.anonymous_volumes.iter().map(String::as_str);
    named.chain(anonymous).any(|name| name == wanted)
}

/// Linux numbers of the signals that people stop containers with; TERM for any other.
pub(super) fn signal_number(name: &str) -> i64 {
    match name.strip_prefix("SIG").unwrap_or(name) {
        "HUP" | "1" => 1,
        "INT" | "2" => 2,
        "QUIT" | "3" => 3,
        "KILL" | "9" => 9,
        "USR1" | "10" => 10,
        "USR2" | "12" => 12,
        _ => 15,
    }
}

/// Lays declared variables over those that are there; one without a value takes away.
pub(super) fn declare(environment: &mut BTreeMap<String, String>, declared: &BTreeMap<String, Option<Text>>) {
    for (name, value) in declared {
        match value {
            Some(value) => drop(environment.insert(name.clone(), value.expose().to_owned())),
            None => drop(environment.remove(name)),
        }
    }
}
