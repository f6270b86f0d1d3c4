//! What people and the world do to the host behind the scheduler's back: `docker` on the command
//! line, a crash of the daemon, a power cut. None of it passes through the faults or the request
//! log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::{CreateRequest, Created, EngineError, EngineEvent, EventAction, Result};
use super::program::Ending;
use super::state::{Image, Reply, State};
use super::verbs::{networks, normal, refused};
use super::{SimEngine, SimImage};
use crate::model::{ContainerSpec, ContainerStatus, ImageRef, Text};

/// Containers.
impl SimEngine {
    /// `docker run -d --name NAME IMAGE COMMAND...`, without a label of ours.
    ///
    /// # Errors
    /// What the daemon says; also when the name is not one.
    pub fn person_run(&self, name: &str, image: &ImageRef, command: &[&str]) -> Result<String> {
        self.person_run_labelled(name, image, command, &[])
    }

    /// The same with labels, as Compose puts them on a service's containers.
    ///
    /// # Errors
    /// What the daemon says; also when the name is not one.
    pub fn person_run_labelled(
        &self,
        name: &str,
        image: &ImageRef,
        command: &[&str],
        labels: &[(&str, &str)],
    ) -> Result<String> {
        let labels = labels.iter();
        let labels = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let name = name
            .parse()
            .map_err(|why| EngineError::Invalid(format!("{why}")))?;
        let mut spec = ContainerSpec::of_image(image.clone());
        spec.command = Some(command.iter().map(|word| Text::plain(*word)).collect());
        let request = CreateRequest {
            name: Some(name),
            spec,
            labels: labels.collect(),
            environment: BTreeMap::new(),
            attach: false,
            reserved: false,
        };
        self.act(|state| {
            let Created { id, .. } = match state.create(request) {
                Reply::Now(result) => result?,
                // A command line would wait; nothing that a test could do better with it.
                Reply::When(_) => return Err(refused(500, "plugin not found")),
            };
            state.start(&id)?;
            Ok(id)
        })
    }

    /// `docker start NAME`.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn person_start(&self, name_or_id: &str) -> Result<()> {
        self.act(|state| state.start(name_or_id))
    }

    /// `docker kill NAME`.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn person_kill(&self, name_or_id: &str) -> Result<()> {
        self.act(|state| state.kill(name_or_id))
    }

    /// `docker rm -f NAME`: false when there was none.
    ///
    /// # Errors
    /// When the daemon is down.
    pub fn person_rm_force(&self, name_or_id: &str) -> Result<bool> {
        self.act(|state| {
            let Some(id) = state.find_id(name_or_id) else {
                return Ok(false);
            };
            state.destroy(&id, false);
            Ok(true)
        })
    }

    /// `docker container prune -f`: every container that does not run. Returns their names.
    ///
    /// # Errors
    /// When the daemon is down.
    pub fn container_prune(&self) -> Result<Vec<String>> {
        self.act(|state| {
            let ids: Vec<String> = state.containers.keys().cloned().collect();
            let idle: Vec<String> = ids.into_iter().filter(|id| !state.is_running(id)).collect();
            let mut names = Vec::new();
            for id in idle {
                names.extend(state.containers.get(&id).map(|container| container.name.clone()));
                state.destroy(&id, false);
            }
            names.sort();
            Ok(names)
        })
    }

    /// `docker system prune -f`: containers, then networks, then images without a tag.
    ///
    /// # Errors
    /// When the daemon is down.
    pub fn system_prune(&self) -> Result<()> {
        self.container_prune()?;
        self.network_prune()?;
        self.act(|state| {
            let used = used_images(state);
            state
                .images
                .retain(|id, image| !image.tags.is_empty() || used.contains(id));
            Ok(())
        })
    }

    /// A container that is stuck in `removing` or `dead`; `None` mends it.
    pub fn stick(&self, name_or_id: &str, status: Option<ContainerStatus>) {
        self.on_container(name_or_id, |container| container.stuck = status);
    }

    /// Signals to its process do nothing from now on, or work again.
    pub fn unkillable(&self, name_or_id: &str, unkillable: bool) {
        self.on_container(name_or_id, |container| container.unkillable = unkillable);
    }

    /// It has no shell that could send a signal to a command in it.
    pub fn without_shell(&self, name_or_id: &str) {
        self.change(|state| {
            let id = state.find_id(name_or_id);
            state.without_shell.extend(id);
        });
    }

    /// The kernel kills its process for want of memory.
    pub fn run_out_of_memory(&self, name_or_id: &str) {
        let ending = Ending {
            code: 137,
            out_of_memory: true,
        };
        self.change(|state| {
            if let Some(number) = state.find(name_or_id).and_then(|container| container.process) {
                state.end_process(number, ending);
            }
        });
    }

    /// The process of a container that the daemon has forgotten (or knows) is killed from the host.
    pub fn kill_processes_of(&self, id: &str) {
        self.change(|state| {
            let its = state
                .processes
                .iter()
                .filter(|(_, process)| process.container == id);
            let numbers: Vec<u64> = its.map(|(number, _)| *number).collect();
            for number in numbers {
                state.end_process(number, Ending::code(137));
            }
        });
    }

    /// How many processes run on the host, the forgotten ones included.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.look(|state| state.processes.len())
    }

    fn on_container(&self, name_or_id: &str, change: impl FnOnce(&mut super::state::Container)) {
        self.change(|state| {
            let id = state.find_id(name_or_id);
            if let Some(container) = id.and_then(|id| state.containers.get_mut(&id)) {
                change(container);
            }
        });
    }
}

/// Images, networks, volumes and files.
impl SimEngine {
    /// Builds or loads an image under that tag, which leaves whichever image had it; each call
    /// makes new content. Returns the ID.
    pub fn add_image(&self, reference: &ImageRef, content: SimImage) -> String {
        self.change(|state| {
            let image = new_image(state, content);
            let id = image.id.clone();
            state.tag(&normal(reference), image);
            id
        })
    }

    /// Pushes an image to the registry that [`super::Engine::pull`] asks. Returns the ID.
    pub fn publish(&self, reference: &ImageRef, content: SimImage) -> String {
        self.change(|state| {
            let image = new_image(state, content);
            let id = image.id.clone();
            state.registry.insert(normal(reference), image);
            id
        })
    }

    /// Takes an image from the registry.
    pub fn unpublish(&self, reference: &ImageRef) {
        self.change(|state| state.registry.remove(&normal(reference)));
    }

    /// `docker tag SOURCE TARGET`.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn retag(&self, source: &ImageRef, target: &ImageRef) -> Result<()> {
        self.act(|state| {
            let image = state.image(source).cloned();
            let image = image.ok_or_else(|| refused(404, format!("No such image: {source}")))?;
            state.tag(&normal(target), image);
            Ok(())
        })
    }

    /// `docker image rm REFERENCE`: takes the tag, and the image with its last one.
    ///
    /// # Errors
    /// When there is no such image, or a container uses it and this is its last tag.
    pub fn image_rm(&self, reference: &ImageRef) -> Result<()> {
        self.act(|state| {
            let image = state.image(reference).cloned();
            let image = image.ok_or_else(|| refused(404, format!("No such image: {reference}")))?;
            if image.tags.len() <= 1 {
                if used_images(state).contains(&image.id) {
                    let why = format!(
                        "conflict: unable to remove repository reference \"{reference}\" (must force)"
                    );
                    return Err(refused(409, why));
                }
                state.images.remove(&image.id);
            } else if let Some(image) = state.images.get_mut(&image.id) {
                image.tags.remove(&normal(reference));
            }
            Ok(())
        })
    }

    /// `docker image prune -a -f`: every image that no container was made from.
    ///
    /// # Errors
    /// When the daemon is down.
    pub fn image_prune_all(&self) -> Result<()> {
        self.act(|state| {
            let used = used_images(state);
            state.images.retain(|id, _| used.contains(id));
            Ok(())
        })
    }

    pub fn network_create(&self, name: &str) {
        self.change(|state| state.networks.insert(name.to_owned()));
    }

    /// `docker network rm NAME`, as when no running container is in it.
    pub fn network_rm(&self, name: &str) {
        self.change(|state| state.networks.remove(name));
    }

    /// `docker network prune -f`: every network without a running container, those that armed
    /// containers wait for included.
    ///
    /// # Errors
    /// When the daemon is down.
    pub fn network_prune(&self) -> Result<()> {
        self.act(|state| {
            let running = state
                .containers
                .values()
                .filter(|container| container.process.is_some());
            let used: BTreeSet<String> = running
                .flat_map(|container| networks(&container.request.spec).map(str::to_owned))
                .collect();
            let built_in = ["bridge", "host", "none"];
            state
                .networks
                .retain(|name| used.contains(name) || built_in.contains(&name.as_str()));
            Ok(())
        })
    }

    /// `docker volume prune -a -f`: every volume that no container uses.
    ///
    /// # Errors
    /// When the daemon is down.
    pub fn volume_prune(&self) -> Result<()> {
        self.act(|state| {
            let names: Vec<String> = state.volumes.keys().cloned().collect();
            for name in names {
                // One that is in use stays: that is what the refusal says.
                let _ = state.remove_volume(&name);
            }
            Ok(())
        })
    }

    /// Makes a file or folder on the host, with the folders above it.
    pub fn host_path_create(&self, path: &Path) {
        let all: Vec<PathBuf> = path.ancestors().map(Into::into).collect();
        self.change(|state| state.host_paths.extend(all));
    }

    pub fn host_path_rm(&self, path: &Path) {
        self.change(|state| state.host_paths.retain(|known| !known.starts_with(path)));
    }

    /// Puts a program into every image: `pg_dump` that is `echo dumping; sleep 20`.
    pub fn install(&self, name: &str, script: &str) {
        self.change(|state| state.installed.insert(name.to_owned(), script.to_owned()));
    }

    pub fn uninstall(&self, name: &str) {
        self.change(|state| state.installed.remove(name));
    }
}

/// The daemon and the host.
impl SimEngine {
    /// `kill -9` of the daemon. It stays down until [`SimEngine::restart`].
    pub fn crash(&self) {
        self.change(State::crash);
    }

    /// Starts the daemon, after a `crash` when it is up.
    pub fn restart(&self) {
        self.change(State::restart);
    }

    /// Starts the daemon again after a while.
    pub fn restart_after(&self, wait: Duration) {
        self.change(|state| state.after(wait, State::restart));
    }

    /// `systemctl stop docker`: containers are stopped first, unless live-restore is on.
    pub fn shut_down(&self) {
        self.change(State::shut_down);
    }

    /// The host loses power and comes back at once, its daemon with it.
    pub fn host_reboot(&self) {
        self.change(|state| {
            state.power_loss();
            state.restart();
        });
    }

    /// The host's `/proc/sys/kernel/random/boot_id`.
    #[must_use]
    pub fn boot_id(&self) -> String {
        self.look(|state| format!("00000000-0000-4000-8000-{:012x}", state.boots))
    }

    /// Whether containers live on while the daemon is down (`live-restore`; off at first).
    pub fn set_live_restore(&self, on: bool) {
        self.change(|state| state.settings.live_restore = on);
    }

    /// Whether a restarted daemon learns how a container ended meanwhile, as 20.10 does, or reports
    /// 255, as 29 mostly does (off at first: the worse case). Live-restore always learns it.
    pub fn set_keeps_exit_codes(&self, on: bool) {
        self.change(|state| state.settings.keeps_exit_codes = on);
    }

    /// Behaves as Podman 4.3's Docker API in what matters here: a taken name is a 500, there is no
    /// `mark`, a missing network fails at create, events outlive the daemon, `LogPath` is always set.
    pub fn imitate_podman(&self) {
        self.change(|state| state.settings.podman = true);
    }

    /// Whether the daemon's process can be told from another one's (it can at first).
    pub fn hide_peer(&self, hidden: bool) {
        self.change(|state| state.settings.hides_peer = hidden);
    }

    /// The log driver of containers that name none (`json-file` at first).
    pub fn set_default_log_driver(&self, driver: &str) {
        self.change(|state| driver.clone_into(&mut state.settings.default_log_driver));
    }

    /// How far the daemon's clock is ahead of ours.
    pub fn set_skew(&self, skew: SignedDuration) {
        self.change(|state| state.settings.skew = skew);
    }

    /// Breaks every open event stream.
    pub fn cut_streams(&self) {
        self.change(|state| {
            for listener in state.daemon.listeners.drain(..) {
                // A listener that has gone by itself needs no word.
                let _ = listener
                    .sender
                    .send(Err(super::unanswered("the connection was lost")));
            }
        });
    }

    /// Events of other containers, which push ours out of the daemon's memory.
    pub fn noise(&self, events: usize) {
        self.change(|state| {
            for _ in 0..events {
                let event = EngineEvent {
                    at: state.daemon_time(),
                    action: EventAction::Other("exec_create".to_owned()),
                    container: "f".repeat(64),
                    labels: BTreeMap::new(),
                };
                state.tell(event);
            }
        });
    }

    /// A person's command, which fails while the daemon is down.
    fn act<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        self.change(|state| match state.daemon.up {
            true => act(state),
            false => Err(super::unreachable()),
        })
    }
}

fn new_image(state: &mut State, content: SimImage) -> Image {
    let created: Timestamp = state.now.wall;
    Image {
        id: format!("sha256:{}", state.next_id("image")),
        tags: BTreeSet::new(),
        created,
        content,
    }
}

fn used_images(state: &State) -> BTreeSet<String> {
    let containers = state.containers.values();
    containers.map(|container| container.image_id.clone()).collect()
}
