//! The simulated host: its processes, its daemon and what the daemon remembers.
//!
//! Processes belong to the host and live on when the daemon dies; a container only claims one.
//! That difference is the heart of this simulator: a daemon killed between starting a process and
//! writing its checkpoint leaves a process that no container claims.
//!
//! Nothing moves by itself. Whatever lies ahead (a process's end, a late delivery, a kill after
//! the grace period) waits in one agenda, and [`State::settle`] works it off in the order of time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::UnboundedSender;

use super::super::{
    ContainerSummary, CreateRequest, EngineError, EngineEvent, EventAction, LogStream, Result,
};
use super::exec::Exec;
use super::faults::{CrashPoint, EventFault, Faults};
use super::program::{Ending, Installed, Timeline};
use super::{SimImage, Witness};
use crate::model::ContainerStatus;

/// A point in time on both of the host's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    /// What processes run by; never jumps.
    pub(super) running: Duration,
}

impl Moment {
    pub(super) fn later(self, by: Duration) -> Moment {
        let signed = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        Moment {
            wall: self.wall.saturating_add(signed).unwrap_or(Timestamp::MAX),
            running: self.running.saturating_add(by),
        }
    }
}

/// Something that will happen.
type Ahead = Box<dyn FnOnce(&mut State) + Send>;

type Ready<T> = Box<dyn Fn(&State) -> Option<Result<T>> + Send + Sync>;

/// The answer to a request: at once, or when something has happened.
pub(super) enum Reply<T> {
    Now(Result<T>),
    /// Asked again whenever something has changed.
    When(Ready<T>),
}

pub(super) struct State {
    pub(super) now: Moment,
    pub(super) daemon: Daemon,
    pub(super) settings: Settings,
    /// By full ID.
    pub(super) containers: BTreeMap<String, Container>,
    /// Name to ID, those of creates under way included.
    pub(super) names: BTreeMap<String, String>,
    pub(super) processes: BTreeMap<u64, Process>,
    /// Commands in running containers, by ID: the daemon keeps them in memory only.
    pub(super) execs: BTreeMap<String, Exec>,
    /// Containers that have no shell that could send a signal.
    pub(super) without_shell: BTreeSet<String>,
    /// By ID.
    pub(super) images: BTreeMap<String, Image>,
    /// What a pull would bring, by normal reference.
    pub(super) registry: BTreeMap<String, Image>,
    pub(super) networks: BTreeSet<String>,
    pub(super) volumes: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) host_paths: BTreeSet<PathBuf>,
    pub(super) installed: Installed,
    pub(super) witness: Vec<Witness>,
    pub(super) faults: Faults,
    pub(super) log: RequestLog,
    /// How the create that is being delivered will fail, and how long it holds its name.
    pub(super) fail_create_late: Option<(Duration, EngineError)>,
    /// How the daemon dies in the start that is being delivered.
    pub(super) crash_in_start: Option<CrashPoint>,
    pub(super) stale_list: Option<(Timestamp, Vec<ContainerSummary>)>,
    pub(super) boots: u32,
    pub(super) swarm: super::swarm::Swarm,
    agenda: BTreeMap<(Duration, u64), Ahead>,
    counter: u64,
}

/// The daemon's process and what it keeps in memory only.
pub(super) struct Daemon {
    pub(super) up: bool,
    pub(super) pid: u32,
    /// Clock ticks since boot.
    pub(super) pid_started: u64,
    /// Counts the daemon's lives.
    pub(super) incarnation: u32,
    pub(super) ring: VecDeque<EngineEvent>,
    pub(super) listeners: Vec<Listener>,
    pub(super) event_faults: VecDeque<EventFault>,
    /// An event that waits for the one after it.
    swapped: Option<EngineEvent>,
}

pub(super) struct Listener {
    pub(super) number: u64,
    pub(super) label: (String, String),
    pub(super) sender: UnboundedSender<Result<EngineEvent>>,
}

/// How this engine is set up.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Containers survive the daemon.
    pub(super) live_restore: bool,
    /// A restarted daemon learns how a container ended meanwhile.
    pub(super) keeps_exit_codes: bool,
    /// Behaves as Podman 4.3's Docker API where that differs.
    pub(super) podman: bool,
    /// Nobody can tell the daemon's process from another one's (a proxy, socket activation).
    pub(super) hides_peer: bool,
    pub(super) default_log_driver: String,
    /// The daemon's clock against ours.
    pub(super) skew: SignedDuration,
}

#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) id: String,
    /// Normal references: `repository:tag`.
    pub(super) tags: BTreeSet<String>,
    pub(super) created: Timestamp,
    pub(super) content: SimImage,
}

/// A container as the daemon knows it.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image_id: String,
    pub(super) created: Timestamp,
    pub(super) request: CreateRequest,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) argv: Vec<String>,
    pub(super) log_driver: String,
    pub(super) anonymous_volumes: Vec<String>,
    pub(super) checkpoint: Checkpoint,
    /// The process that the daemon believes to be this container's.
    pub(super) process: Option<u64>,
    /// Paths of the files that were written into it.
    pub(super) written: BTreeSet<String>,
    /// How that process ended while the daemon was down.
    pub(super) ended_unseen: Option<Ending>,
    /// How many of its runs have ended, failed starts included.
    pub(super) ends: u32,
    pub(super) output: Vec<LogLine>,
    /// `removing` or `dead` for good.
    pub(super) stuck: Option<ContainerStatus>,
    /// Its process is in uninterruptible sleep: signals do nothing.
    pub(super) unkillable: bool,
}

impl Container {
    /// 12 digits, or a service's whole name.
    pub(super) fn short_id(&self) -> &str {
        match self.id.len() {
            64 => &self.id[..12],
            _ => &self.id,
        }
    }
}

/// What `inspect` shows of a container's life.
#[derive(Debug, Clone)]
pub(super) struct Checkpoint {
    pub(super) status: ContainerStatus,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) exit_code: i64,
    pub(super) error: String,
    pub(super) out_of_memory: bool,
    pub(super) log_path: String,
}

#[derive(Debug, Clone)]
pub(super) struct LogLine {
    pub(super) at: Timestamp,
    pub(super) stream: LogStream,
    pub(super) text: String,
}

/// A process of the host.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) container: String,
    /// The exec that it is of; `None`: it is the container's own.
    pub(super) exec: Option<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) started: Moment,
    pub(super) timeline: Timeline,
    /// How many of its lines the daemon has written to the log.
    logged: usize,
    witness: Option<usize>,
}

/// The daemon's memory of events, in a fixed ring as in moby (`eventsLimit`).
const RING: usize = 256;

impl State {
    pub(super) fn new(now: Moment) -> State {
        State {
            now,
            daemon: Daemon {
                up: true,
                pid: 1001,
                pid_started: 5000,
                incarnation: 1,
                ring: VecDeque::new(),
                listeners: Vec::new(),
                event_faults: VecDeque::new(),
                swapped: None,
            },
            settings: Settings {
                live_restore: false,
                keeps_exit_codes: false,
                podman: false,
                hides_peer: false,
                default_log_driver: "json-file".to_owned(),
                skew: SignedDuration::ZERO,
            },
            containers: BTreeMap::new(),
            names: BTreeMap::new(),
            processes: BTreeMap::new(),
            execs: BTreeMap::new(),
            without_shell: BTreeSet::new(),
            images: BTreeMap::new(),
            registry: BTreeMap::new(),
            networks: ["bridge", "host", "none"].map(str::to_owned).into(),
            volumes: BTreeMap::new(),
            host_paths: ["/", "/etc", "/srv", "/tmp", "/var"].map(PathBuf::from).into(),
            installed: Installed::new(),
            witness: Vec::new(),
            faults: Faults::default(),
            log: RequestLog::default(),
            fail_create_late: None,
            crash_in_start: None,
            stale_list: None,
            boots: 1,
            swarm: super::swarm::Swarm::default(),
            agenda: BTreeMap::new(),
            counter: 0,
        }
    }

    // ---- time ----

    /// Lets everything up to `now` happen, each at its own time. True when something did.
    pub(super) fn settle(&mut self, now: Moment) -> bool {
        let mut happened = false;
        while let Some(entry) = self.agenda.first_entry() {
            let (due, _) = *entry.key();
            if due > now.running {
                break;
            }
            let ahead = entry.remove();
            self.now = earlier(now, due);
            ahead(self);
            happened = true;
        }
        self.now = now;
        happened
    }

    pub(super) fn after(&mut self, wait: Duration, ahead: impl FnOnce(&mut State) + Send + 'static) {
        let number = self.next_number();
        let due = self.now.running.saturating_add(wait);
        self.agenda.insert((due, number), Box::new(ahead));
    }

    /// As [`State::after`], for what dies with the daemon.
    pub(super) fn after_if_alive(&mut self, wait: Duration, ahead: impl FnOnce(&mut State) + Send + 'static) {
        let incarnation = self.daemon.incarnation;
        self.after(wait, move |state| {
            if state.daemon.up && state.daemon.incarnation == incarnation {
                ahead(state);
            }
        });
    }

    pub(super) fn next_change(&self) -> Option<Duration> {
        let (due, _) = self.agenda.keys().next()?;
        Some(due.saturating_sub(self.now.running))
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// 64 hexadecimal digits, the same in every run of a test.
    pub(super) fn next_id(&mut self, what: &str) -> String {
        let number = self.next_number();
        hex::encode(Sha256::digest(format!("{what} {number}")))
    }

    // ---- containers and their processes ----

    /// By full ID, name or unambiguous start of an ID, in that order, as the daemon looks it up.
    pub(super) fn find(&self, name_or_id: &str) -> Option<&Container> {
        let named = || self.containers.get(self.names.get(name_or_id)?);
        let begun = || {
            let mut begun = self.containers.range(name_or_id.to_owned()..);
            // A service is known by its whole name.
            let begins = |id: &String| id.len() == 64 && id.starts_with(name_or_id);
            let (_, found) = begun.next().filter(|(id, _)| begins(id))?;
            let other = begun.next().filter(|(id, _)| begins(id));
            other.is_none().then_some(found)
        };
        self.containers.get(name_or_id).or_else(named).or_else(begun)
    }

    pub(super) fn find_id(&self, name_or_id: &str) -> Option<String> {
        self.find(name_or_id).map(|container| container.id.clone())
    }

    pub(super) fn status(&self, id: &str) -> Option<ContainerStatus> {
        let container = self.containers.get(id)?;
        let status = container.stuck.as_ref().unwrap_or(&container.checkpoint.status);
        Some(status.clone())
    }

    pub(super) fn is_running(&self, id: &str) -> bool {
        self.status(id).is_some_and(|status| status.is_live())
    }

    /// Starts a process of the host and writes the witness's line for it.
    pub(super) fn launch(&mut self, id: &str, timeline: Timeline) -> u64 {
        let container = self.containers.get(id);
        let environment = container.map(|one| one.environment.clone()).unwrap_or_default();
        self.launch_process(id, None, &environment, timeline)
    }

    /// The same for a command in a container that runs.
    pub(super) fn launch_exec(
        &mut self,
        id: &str,
        exec: &str,
        environment: &BTreeMap<String, String>,
        timeline: Timeline,
    ) -> u64 {
        self.launch_process(id, Some(exec.to_owned()), environment, timeline)
    }

    fn launch_process(
        &mut self,
        id: &str,
        exec: Option<String>,
        environment: &BTreeMap<String, String>,
        timeline: Timeline,
    ) -> u64 {
        let number = self.next_number();
        if let Some((wait, ending)) = timeline.end {
            self.after(wait, move |state| state.end_process(number, ending));
        }
        // Whoever follows the log is told at each line's own time.
        let times: BTreeSet<Duration> = timeline.lines.iter().map(|line| line.after).collect();
        for wait in times {
            self.after(wait, move |state| state.copy_output(number));
        }
        let witness = self.witness_start(id, environment);
        self.processes.insert(
            number,
            Process {
                container: id.to_owned(),
                exec,
                environment: environment.clone(),
                started: self.now,
                timeline,
                logged: 0,
                witness,
            },
        );
        number
    }

    fn witness_start(&mut self, id: &str, environment: &BTreeMap<String, String>) -> Option<usize> {
        let of = |name: &str| environment.get(name).cloned().unwrap_or_default();
        let job = environment.get("SCHEDULER_JOB")?.clone();
        self.witness.push(Witness {
            job,
            slot: of("SCHEDULER_SLOT"),
            attempt: of("SCHEDULER_ATTEMPT").parse().unwrap_or(0),
            container: id.to_owned(),
            started_at: self.now.wall,
            ended_at: None,
        });
        Some(self.witness.len() - 1)
    }

    /// A process ends now; nothing when it has already.
    pub(super) fn end_process(&mut self, number: u64, ending: Ending) {
        self.copy_output(number);
        let Some(process) = self.processes.remove(&number) else {
            return;
        };
        if let Some(line) = process.witness.and_then(|at| self.witness.get_mut(at)) {
            line.ended_at = Some(self.now.wall);
        }
        if let Some(exec) = &process.exec {
            self.end_exec(exec, number, ending);
            return;
        }
        let up = self.daemon.up;
        let Some(container) = self.containers.get_mut(&process.container) else {
            return;
        };
        let claimed = container.process == Some(number);
        if container.process != Some(number) {
            // What Docker 20.10 tells of a process that it has forgotten, and all it tells.
            if up {
                self.emit(&process.container, EventAction::Other("exec_die".to_owned()));
            }
        } else if up {
            self.finish(&process.container, ending);
        } else {
            container.ended_unseen = Some(ending);
        }
        if claimed {
            self.end_execs_of(&process.container);
        }
    }

    /// The daemon notes that a container's process has ended.
    fn finish(&mut self, id: &str, ending: Ending) {
        let at = self.now.wall;
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        container.process = None;
        container.ended_unseen = None;
        container.ends += 1;
        container.checkpoint.status = ContainerStatus::Exited;
        container.checkpoint.finished_at = Some(at);
        container.checkpoint.exit_code = ending.code;
        container.checkpoint.out_of_memory = ending.out_of_memory;
        self.emit(id, EventAction::Die);
    }

    /// Writes what a claimed process has printed so far to its container's log.
    pub(super) fn copy_output(&mut self, number: u64) {
        let Some(process) = self.processes.get_mut(&number) else {
            return;
        };
        if let Some(exec) = &process.exec {
            let exec = self
                .execs
                .get_mut(exec)
                .filter(|exec| exec.process == Some(number));
            let Some(exec) = exec else { return };
            for line in process.timeline.lines.iter().skip(process.logged) {
                let at = process.started.later(line.after);
                if at.running > self.now.running {
                    break;
                }
                process.logged += 1;
                exec.write(LogLine {
                    at: at.wall,
                    stream: line.stream,
                    text: line.text.clone(),
                });
            }
            return;
        }
        let Some(container) = self.containers.get_mut(&process.container) else {
            return;
        };
        // Of a forgotten process nobody reads the pipe.
        if container.process != Some(number) {
            return;
        }
        let lines = process.timeline.lines.iter().skip(process.logged);
        for line in lines {
            let at = process.started.later(line.after);
            if at.running > self.now.running {
                break;
            }
            container.output.push(LogLine {
                at: at.wall,
                stream: line.stream,
                text: line.text.clone(),
            });
            process.logged += 1;
        }
    }

    /// Takes a container away, its process with it when the daemon knows that one.
    pub(super) fn destroy(&mut self, id: &str, volumes: bool) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let anonymous = container.anonymous_volumes.clone();
        if let Some(number) = container.process {
            self.end_process(number, Ending::code(137));
        }
        self.emit(id, EventAction::Destroy);
        self.execs.retain(|_, exec| exec.container != id);
        if let Some(container) = self.containers.remove(id) {
            self.names.remove(&container.name);
        }
        if volumes {
            for name in anonymous {
                self.volumes.remove(&name);
            }
        }
    }

    // ---- events ----

    /// An event of a container: remembered, and told to whoever listens.
    pub(super) fn emit(&mut self, id: &str, action: EventAction) {
        let labels = self.containers.get(id).map(|container| container.labels.clone());
        self.tell(EngineEvent {
            at: self.daemon_time(),
            action,
            container: id.to_owned(),
            labels: labels.unwrap_or_default(),
        });
    }

    pub(super) fn tell(&mut self, event: EngineEvent) {
        let daemon = &mut self.daemon;
        if daemon.ring.len() == RING {
            daemon.ring.pop_front();
        }
        daemon.ring.push_back(event.clone());
        match daemon.event_faults.pop_front() {
            Some(EventFault::Lost) => {}
            Some(EventFault::Swapped) if daemon.swapped.is_none() => daemon.swapped = Some(event),
            Some(EventFault::Doubled) => {
                daemon.send(&event);
                daemon.send(&event);
            }
            Some(EventFault::Swapped) | None => {
                daemon.send(&event);
                if let Some(held) = daemon.swapped.take() {
                    daemon.send(&held);
                }
            }
        }
    }

    pub(super) fn daemon_time(&self) -> Timestamp {
        let skew = self.settings.skew;
        self.now.wall.saturating_add(skew).unwrap_or(self.now.wall)
    }

    // ---- the daemon's and the host's lives ----

    /// The daemon is killed: its memory is gone, processes go on.
    pub(super) fn crash(&mut self) {
        if !self.daemon.up {
            return;
        }
        let claimed: Vec<u64> = self.containers.values().filter_map(|c| c.process).collect();
        claimed.into_iter().for_each(|number| self.copy_output(number));
        self.daemon.up = false;
        if !self.settings.podman {
            self.daemon.ring.clear();
        }
        self.execs.clear();
        self.daemon.swapped = None;
        for listener in self.daemon.listeners.drain(..) {
            // A listener that has gone by itself needs no word.
            let _ = listener.sender.send(Err(EngineError::Unanswered {
                why: "the connection was closed".to_owned(),
            }));
        }
        // A create that was under way left nothing.
        let containers = &self.containers;
        self.names.retain(|_, id| containers.contains_key(id));
    }

    /// A new daemon reads the checkpoints. Without live-restore it ends what still runs.
    pub(super) fn restart(&mut self) {
        if self.daemon.up {
            self.crash();
        }
        self.daemon.up = true;
        self.daemon.incarnation += 1;
        self.daemon.pid += 100;
        self.daemon.pid_started += 100 * u64::from(self.daemon.incarnation);
        let claims: Vec<(String, u64, Option<Ending>)> = self
            .containers
            .values()
            .filter_map(|c| Some((c.id.clone(), c.process?, c.ended_unseen)))
            .collect();
        let Settings {
            live_restore,
            keeps_exit_codes,
            ..
        } = self.settings;
        for (id, number, ended_unseen) in claims {
            let is_alive = self.processes.contains_key(&number);
            let known = ended_unseen.filter(|_| live_restore || keeps_exit_codes);
            match (is_alive, live_restore) {
                (true, true) => {}
                (true, false) => self.end_process(number, Ending::code(137)),
                (false, _) => self.finish(&id, known.unwrap_or(Ending::code(255))),
            }
        }
    }

    /// The host loses power: daemon and processes are gone at once.
    pub(super) fn power_loss(&mut self) {
        self.crash();
        let running: Vec<u64> = self.processes.keys().copied().collect();
        for number in running {
            self.end_process(number, Ending::code(255));
        }
        for container in self.containers.values_mut() {
            container.ended_unseen = None;
        }
        self.boots += 1;
    }

    /// The daemon ends in order: it stops what it runs, notes how that ended, and leaves.
    pub(super) fn shut_down(&mut self) {
        if !self.settings.live_restore {
            let claimed: Vec<(String, u64)> = self
                .containers
                .values()
                .filter_map(|c| Some((c.id.clone(), c.process?)))
                .collect();
            for (id, number) in claimed {
                self.emit(&id, EventAction::Kill);
                let ending = self.stop_ending(&id).unwrap_or(Ending::code(137));
                self.end_process(number, ending);
            }
        }
        self.crash();
    }
}

impl Daemon {
    fn send(&mut self, event: &EngineEvent) {
        self.listeners
            .retain(|listener| !listener.wants(event) || listener.sender.send(Ok(event.clone())).is_ok());
    }
}

impl Listener {
    fn wants(&self, event: &EngineEvent) -> bool {
        event.labels.get(&self.label.0) == Some(&self.label.1)
    }
}

/// `now`, set back to when the processes' clock showed `running`.
fn earlier(now: Moment, running: Duration) -> Moment {
    let back = now.running.saturating_sub(running);
    let back = SignedDuration::try_from(back).unwrap_or(SignedDuration::MAX);
    Moment {
        wall: now.wall.saturating_sub(back).unwrap_or(Timestamp::MIN),
        running,
    }
}

/// What was asked of the engine, the newest of it.
#[derive(Debug, Default)]
pub(super) struct RequestLog {
    lines: VecDeque<(u64, String, bool)>,
    /// Requests so far.
    pub(super) count: u64,
    /// Start requests sent, by full container ID.
    pub(super) starts: BTreeMap<String, u32>,
}

/// Enough for any golden test, and a bound for a simulated year.
const LOG_LINES: usize = 10_000;

impl RequestLog {
    pub(super) fn push(&mut self, number: u64, text: String, is_write: bool) {
        if self.lines.len() == LOG_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back((number, text, is_write));
    }

    /// Adds what became of a request to its line.
    pub(super) fn note(&mut self, number: u64, note: &str) {
        let mut lines = self.lines.iter_mut().rev();
        if let Some((_, text, _)) = lines.find(|(its, _, _)| *its == number) {
            text.push_str(" ! ");
            text.push_str(note);
        }
    }

    pub(super) fn texts(&self, writes_only: bool) -> Vec<String> {
        let wanted = self
            .lines
            .iter()
            .filter(|(_, _, is_write)| *is_write || !writes_only);
        wanted.map(|(_, text, _)| text.clone()).collect()
    }
}
