//! A container engine in memory: the same facts as a real one, in simulated time.
//!
//! The real planner, apply and ledger run over it, so whatever matters to them behaves as measured
//! on Docker 20.10: a name is a lock for create, a start of an exited container runs the job again,
//! a killed daemon can forget a process that runs on, 256 events are remembered and none over a
//! restart, a request may be carried out after its caller has given up.
//!
//! Guarantees: nothing random and nothing that depends on real time; the same calls at the same
//! times give the same IDs, events and request log. The witness is written by the processes
//! themselves, not by whoever started them, and so is the judge of what really ran.
//!
//! Caveats: there is no registry login and no resource limit; commands are the tiny
//! scripts of [`program`]. A caller's own deadline costs no simulated time: a reply that never
//! comes is reported at once, unless [`Verdict::Hang`] says when.

mod exec;
mod faults;
mod people;
mod program;
mod state;
mod swarm;
mod verbs;
mod views;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    ContainerFilter, ContainerState, ContainerSummary, CreateRequest, Created, Description, Engine,
    EngineError, EngineEvent, EngineInfo, ExecRequest, ExecState, ImageSummary, LogChunk, LogOptions,
    Observe, PathStat, PullProgress, Removal, Result,
};
use crate::model::{ImageRef, JobFile, Peer, validate_container_ref};

pub use faults::{CrashPoint, EventFault, Fault, Request, RequestKind, Verdict};
use state::{Listener, Moment, Reply, State};
pub use swarm::SimSwarm;

/// One execution, as the executed process itself wrote it down from its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// `SCHEDULER_JOB`; a process without it writes no line.
    pub job: String,
    /// `SCHEDULER_SLOT`; empty for a manual run.
    pub slot: String,
    pub attempt: u32,
    /// Full ID.
    pub container: String,
    pub started_at: Timestamp,
    /// `None` while it runs.
    pub ended_at: Option<Timestamp>,
}

/// What is in a simulated image, beside the commands that each has in `/bin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimImage {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// `VOLUME`: paths that get an anonymous volume.
    pub volumes: Vec<String>,
}

impl Default for SimImage {
    fn default() -> SimImage {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        SimImage {
            entrypoint: Vec::new(),
            command: vec!["sh".to_owned()],
            environment: BTreeMap::from([("PATH".to_owned(), path.to_owned())]),
            volumes: Vec::new(),
        }
    }
}

/// A handle on one simulated host and its engine. Clones share it, so a restarted scheduler gets
/// the same engine.
#[derive(Clone)]
pub struct SimEngine {
    shared: Arc<Shared>,
    client: u32,
}

type Hook = Box<dyn FnMut(&Request) -> Verdict + Send>;

struct Shared {
    state: Mutex<State>,
    time: Box<dyn Fn() -> Moment + Send + Sync>,
    /// Not under the state's lock: a hook may use the engine's handles itself.
    hook: Mutex<Option<Hook>>,
    changed: Notify,
}

impl SimEngine {
    /// An engine whose processes run by the same clock as its wall clock. Where tests set the wall
    /// clock, [`SimEngine::with_clocks`] keeps a jump from ending every `sleep`.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> SimEngine {
        let first = now();
        SimEngine::at(move || {
            let wall = now();
            let running = Duration::try_from(wall.duration_since(first)).unwrap_or(Duration::ZERO);
            Moment { wall, running }
        })
    }

    /// An engine with a wall clock, and a monotonic one for its processes.
    ///
    /// A clock that moves by itself from one happening to the next has to know of those in here:
    ///
    /// ```
    /// use docker_scheduler::clock::{Clock, ManualClock};
    /// use docker_scheduler::engine::sim::SimEngine;
    ///
    /// let clock = ManualClock::new("2026-11-23T01:30:00Z".parse().unwrap());
    /// let (wall, running) = (clock.clone(), clock.clone());
    /// let engine = SimEngine::with_clocks(move || wall.now(), move || running.monotonic());
    /// let (next, tick) = (engine.clone(), engine.clone());
    /// clock.follow(move || next.next_change(), move || tick.tick());
    ///
    /// engine.crash();
    /// engine.restart_after(std::time::Duration::from_secs(30));
    /// assert_eq!(clock.next_wake(), Some(std::time::Duration::from_secs(30)));
    /// ```
    #[must_use]
    pub fn with_clocks(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        monotonic: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> SimEngine {
        SimEngine::at(move || Moment {
            wall: now(),
            running: monotonic(),
        })
    }

    fn at(time: impl Fn() -> Moment + Send + Sync + 'static) -> SimEngine {
        let state = Mutex::new(State::new(time()));
        SimEngine {
            shared: Arc::new(Shared {
                state,
                time: Box::new(time),
                hook: Mutex::new(None),
                changed: Notify::new(),
            }),
            client: 0,
        }
    }

    /// The same engine as another client sees it: its number stands in [`Request::client`].
    #[must_use]
    pub fn client(&self, number: u32) -> SimEngine {
        SimEngine {
            shared: self.shared.clone(),
            client: number,
        }
    }

    // ---- time ----

    /// Lets happen what is due, and wakes whoever waits for it. Calls do so by themselves; a stream
    /// or a `stop` that waits does not notice that time has passed until this is called.
    pub fn tick(&self) {
        self.change(|_| ());
    }

    /// How long until something happens here by itself.
    #[must_use]
    pub fn next_change(&self) -> Option<Duration> {
        self.look(|state| state.next_change())
    }

    // ---- what was asked, and what ran ----

    /// Every execution so far, in the order of their starts.
    #[must_use]
    pub fn witness(&self) -> Vec<Witness> {
        self.look(|state| state.witness.clone())
    }

    /// The newest 10,000 requests, such as `start shop.backup.20261123T013000Z (3f2a9c0d1e4b)`; one
    /// that went wrong ends in ` ! 409`, ` ! no reply` and the like.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.look(|state| state.log.texts(false))
    }

    /// As [`SimEngine::requests`], but only those that change something.
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        self.look(|state| state.log.texts(true))
    }

    /// How many requests were sent.
    #[must_use]
    pub fn request_count(&self) -> u64 {
        self.look(|state| state.log.count)
    }

    /// Start requests sent for each container, by full ID, whatever became of them.
    #[must_use]
    pub fn start_requests(&self) -> BTreeMap<String, u32> {
        self.look(|state| state.log.starts.clone())
    }

    // ---- what goes wrong ----

    pub fn inject(&self, fault: Fault) {
        self.change(|state| match fault {
            Fault::Nth { kind, nth, verdict } => state.faults.nth(kind, nth, verdict),
            Fault::Each { kind, verdict } => state.faults.each(kind, verdict),
            Fault::Away { from, to } => state.faults.away(from, to),
            Fault::Events { next, how } => {
                let faults = std::iter::repeat_n(how, next as usize);
                state.daemon.event_faults.extend(faults);
            }
            Fault::StaleLists { until } => state.stale_list = Some((until, state.summaries())),
        });
    }

    /// Takes back every fault that has not happened yet. A dead daemon stays dead.
    pub fn heal(&self) {
        self.change(|state| {
            state.faults = faults::Faults::default();
            state.daemon.event_faults.clear();
            state.stale_list = None;
        });
    }

    /// Asks `hook` about every request before any other fault; a verdict other than `Pass` is
    /// final. The hook may use handles of this engine, but not send requests.
    pub fn on_request(&self, hook: Box<dyn FnMut(&Request) -> Verdict + Send>) {
        *self.hook() = Some(hook);
    }

    pub fn forget_hook(&self) {
        *self.hook() = None;
    }

    // ---- one request ----

    /// Sends a request: numbers and logs it, asks for its verdict, and lets the daemon carry it out
    /// accordingly.
    async fn send<T: Send + 'static>(
        &self,
        kind: RequestKind,
        subject: &str,
        run: impl FnOnce(&mut State) -> Reply<T> + Send + 'static,
    ) -> Result<T> {
        let (number, verdict) = self.judge(kind, subject);
        let result = match verdict {
            Verdict::Pass => self.deliver(run).await,
            Verdict::DropReply => {
                self.carry_out(run);
                Err(unanswered("the connection was lost"))
            }
            Verdict::Slow { before, after } => self.deliver_slowly(before, run, after).await,
            Verdict::Hang(deadline) => {
                self.wait(deadline).await?;
                Err(unanswered("timed out"))
            }
            Verdict::NeverSent => Err(unanswered("the connection was lost")),
            Verdict::BrokenOff => {
                if kind == RequestKind::Start {
                    let container = subject.to_owned();
                    self.change(|state| state.break_start_off(&container));
                }
                Err(unanswered("the connection was lost"))
            }
            Verdict::FailLate {
                holds,
                status,
                message,
            } => {
                let why = EngineError::Refused { status, message };
                self.deliver(move |state| {
                    state.fail_create_late = Some((holds, why));
                    run(state)
                })
                .await
            }
            Verdict::RefuseDone { status, message } => {
                self.carry_out(run);
                Err(EngineError::Refused { status, message })
            }
            Verdict::Refuse { status, message } => Err(EngineError::Refused { status, message }),
            Verdict::Unreachable => Err(unreachable()),
            Verdict::Delay(wait) => {
                self.change(|state| {
                    state.after_if_alive(wait, move |state| drop(run(state)));
                });
                Err(unanswered("timed out"))
            }
            Verdict::CallerDies { delivered } => {
                if delivered {
                    self.carry_out(run);
                }
                self.note(number, "caller died");
                std::future::pending().await
            }
            Verdict::Crash(point) => {
                self.crash_at(point, run);
                Err(unanswered("the connection was closed"))
            }
        };
        if let Err(why) = &result {
            self.note(number, &short(why));
        }
        result
    }

    async fn ask<T: Send + 'static>(
        &self,
        kind: RequestKind,
        subject: &str,
        run: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.send(kind, subject, |state| Reply::Now(run(state))).await
    }

    fn judge(&self, kind: RequestKind, subject: &str) -> (u64, Verdict) {
        let client = self.client;
        let request = self.change(|state| {
            let found = kind.is_about_a_container().then(|| state.find(subject)).flatten();
            let subject = match found {
                Some(found) => format!("{} ({})", found.name, found.short_id()),
                None => subject.to_owned(),
            };
            if let (RequestKind::Start, Some(id)) = (kind, found.map(|found| found.id.clone())) {
                *state.log.starts.entry(id).or_default() += 1;
            }
            state.log.count += 1;
            let request = Request {
                number: state.log.count,
                client,
                kind,
                subject,
            };
            state
                .log
                .push(request.number, request.to_string(), kind.is_write());
            request
        });
        // Taken out while it runs, so that it may use the engine, and put back unless it was replaced.
        let hook = self.hook().take();
        let mut verdict = Verdict::Pass;
        if let Some(mut hook) = hook {
            verdict = hook(&request);
            self.hook().get_or_insert(hook);
        }
        let (fault, up) = self.change(|state| {
            let fault = state.faults.judge(kind, state.now.wall);
            (fault, state.daemon.up)
        });
        if verdict == Verdict::Pass {
            verdict = fault;
        }
        // To a dead daemon nothing else can happen, except to the caller.
        if !up && !matches!(verdict, Verdict::CallerDies { .. }) {
            verdict = Verdict::Unreachable;
        }
        (request.number, verdict)
    }

    async fn deliver<T: Send + 'static>(&self, run: impl FnOnce(&mut State) -> Reply<T>) -> Result<T> {
        let (reply, incarnation) = self.carry_out_as(run)?;
        let ready = match reply {
            Reply::Now(result) => return result,
            Reply::When(ready) => ready,
        };
        self.until(
            |state| match state.daemon.up && state.daemon.incarnation == incarnation {
                true => ready(state),
                false => Some(Err(unanswered("the connection was closed"))),
            },
        )
        .await
    }

    async fn deliver_slowly<T: Send + 'static>(
        &self,
        before: Duration,
        run: impl FnOnce(&mut State) -> Reply<T>,
        after: Duration,
    ) -> Result<T> {
        self.wait(before).await?;
        let result = self.deliver(run).await;
        self.wait(after).await?;
        result
    }

    /// Lets simulated time pass inside a request; an error when the daemon dies meanwhile.
    async fn wait(&self, how_long: Duration) -> Result<()> {
        let (due, incarnation) = self.change(|state| {
            state.after(how_long, |_| ());
            (
                state.now.running.saturating_add(how_long),
                state.daemon.incarnation,
            )
        });
        self.until(
            |state| match state.daemon.up && state.daemon.incarnation == incarnation {
                true => (state.now.running >= due).then_some(Ok(())),
                false => Some(Err(unanswered("the connection was closed"))),
            },
        )
        .await
    }

    /// For a caller that does not learn what came of it.
    fn carry_out<T>(&self, run: impl FnOnce(&mut State) -> Reply<T>) {
        drop(self.carry_out_as(run));
    }

    /// The reply, and which of the daemon's lives it came from.
    fn carry_out_as<T>(&self, run: impl FnOnce(&mut State) -> Reply<T>) -> Result<(Reply<T>, u32)> {
        self.change(|state| match state.daemon.up {
            true => Ok((run(state), state.daemon.incarnation)),
            false => Err(unreachable()),
        })
    }

    fn crash_at<T>(&self, point: CrashPoint, run: impl FnOnce(&mut State) -> Reply<T>) {
        self.change(|state| {
            if state.daemon.up && point != CrashPoint::Before {
                state.crash_in_start = Some(point);
                // Nobody is left to read the reply.
                drop(run(state));
                state.crash_in_start = None;
            }
            state.crash();
        });
    }

    /// Waits until `ready` has something to say.
    async fn until<T>(&self, ready: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(value) = self.look(&ready) {
                return value;
            }
            changed.await;
        }
    }

    fn note(&self, number: u64, note: &str) {
        self.state().log.note(number, note);
    }

    // ---- the state behind the handle ----

    /// Brings the state up to now and changes it; whoever waits looks again.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        state.settle((self.shared.time)());
        let value = change(&mut state);
        drop(state);
        self.shared.changed.notify_waiters();
        value
    }

    /// Brings the state up to now and looks at it; whoever waits is told only when something
    /// happened, so that two who wait do not keep waking each other.
    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let mut state = self.state();
        let happened = state.settle((self.shared.time)());
        let value = look(&state);
        drop(state);
        if happened {
            self.shared.changed.notify_waiters();
        }
        value
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked in a hook must not hide its message behind this one.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container's lines from the cursor on; when it follows, until the run ends that is on, or
    /// that comes next.
    fn lines(&self, cursor: Cursor) -> BoxStream<'static, Result<LogChunk>> {
        stream::unfold((self.clone(), cursor), |(engine, mut cursor)| async move {
            let (chunk, from) = engine.until(|state| cursor.next(state)).await?;
            cursor.from = from;
            Some((Ok(chunk), (engine, cursor)))
        })
        .fuse()
        .boxed()
    }
}

/// Where a reader stands in a container's log.
struct Cursor {
    id: String,
    from: usize,
    /// How many runs of the container had ended when the reader began.
    ends: u32,
    options: LogOptions,
}

impl Cursor {
    /// `None`: wait. `Some(None)`: that was all.
    #[allow(clippy::option_option)]
    fn next(&self, state: &State) -> Option<Option<(LogChunk, usize)>> {
        if let Some(line) = state.line(&self.id, self.from, &self.options) {
            return Some(Some(line));
        }
        let container = state.containers.get(&self.id);
        let goes_on = container.is_some_and(|container| container.ends == self.ends);
        (!self.options.follow || !state.daemon.up || !goes_on).then_some(None)
    }
}

fn unanswered(why: &str) -> EngineError {
    EngineError::Unanswered { why: why.to_owned() }
}

fn unreachable() -> EngineError {
    EngineError::Unreachable {
        host: HOST.to_owned(),
        why: "connection refused".to_owned(),
    }
}

const HOST: &str = "sim://";

/// For the request log.
fn short(why: &EngineError) -> String {
    match why {
        EngineError::Unreachable { .. } => "unreachable".to_owned(),
        EngineError::Unanswered { .. } => "no reply".to_owned(),
        EngineError::Refused { status, .. } => status.to_string(),
        EngineError::Undecodable { .. } => "undecodable".to_owned(),
        EngineError::Invalid(_) => "invalid".to_owned(),
        EngineError::Registry(_) => "registry".to_owned(),
    }
}

/// A name or ID, checked as the real engine's is.
fn checked(name_or_id: &str) -> Result<String> {
    match validate_container_ref(name_or_id) {
        Ok(()) => Ok(name_or_id.to_owned()),
        Err(why) => Err(EngineError::Invalid(why.to_string())),
    }
}

#[async_trait]
impl Observe for SimEngine {
    fn host(&self) -> String {
        HOST.to_owned()
    }

    async fn peer(&self) -> Option<Peer> {
        self.look(|state| {
            let is_there = state.daemon.up && !state.faults.is_away(state.now.wall);
            let is_there = is_there && !state.settings.hides_peer;
            is_there.then_some(Peer {
                pid: state.daemon.pid,
                pid_started: state.daemon.pid_started,
            })
        })
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.ask(RequestKind::Info, "", |state| Ok(state.info())).await
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerSummary>> {
        let filter = filter.clone();
        self.ask(RequestKind::List, "", move |state| Ok(state.list(&filter)))
            .await
    }

    async fn inspect(&self, name_or_id: &str) -> Result<Option<ContainerState>> {
        let id = checked(name_or_id)?;
        self.ask(RequestKind::Inspect, name_or_id, move |state| {
            Ok(state.inspect(&id))
        })
        .await
    }

    async fn describe(&self, name_or_id: &str) -> Result<Option<Description>> {
        let Some(state) = self.inspect(name_or_id).await? else {
            return Ok(None);
        };
        let container = serde_json::json!({
            "Id": state.id,
            "Name": format!("/{}", state.name),
            "Config": {
                "Image": state.image,
                "Env": state.environment,
                "Entrypoint": state.entrypoint,
                "Cmd": state.command,
                "WorkingDir": state.working_dir,
                "Labels": state.labels,
            },
        });
        Ok(Some(Description {
            container,
            image: None,
        }))
    }

    async fn log_was_opened(&self, state: &ContainerState) -> Option<bool> {
        (state.log_driver == "json-file").then_some(!state.log_path.is_empty())
    }

    async fn list_images(&self) -> Result<Vec<ImageSummary>> {
        self.ask(RequestKind::Images, "", |state| Ok(state.image_summaries()))
            .await
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>> {
        let wanted = image.clone();
        self.ask(RequestKind::Image, image.as_str(), move |state| {
            Ok(state.image(&wanted).map(|image| image.id.clone()))
        })
        .await
    }

    async fn networks(&self) -> Result<BTreeSet<String>> {
        self.ask(RequestKind::Networks, "", |state| Ok(state.networks.clone()))
            .await
    }

    async fn volumes(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        self.ask(RequestKind::Volumes, "", |state| Ok(state.volumes.clone()))
            .await
    }

    async fn stat_path(&self, container: &str, path: &str) -> Result<Option<PathStat>> {
        let (id, path) = (checked(container)?, path.to_owned());
        self.ask(RequestKind::Stat, container, move |state| {
            Ok(state.stat_path(&id, &path))
        })
        .await
    }

    async fn inspect_exec(&self, id: &str) -> Result<Option<ExecState>> {
        let exec = checked(id)?;
        self.ask(RequestKind::ExecInspect, short_id(id), move |state| {
            Ok(state.inspect_exec(&exec))
        })
        .await
    }

    async fn events(
        &self,
        label: (String, String),
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        let receiver = self
            .ask(RequestKind::Events, "", move |state| {
                let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
                for event in state.remembered(&label, since, until) {
                    // The receiver is in this very scope.
                    let _ = sender.send(Ok(event));
                }
                let number = state.next_number();
                let ahead = until.map(|until| until.duration_since(state.daemon_time()));
                let wait = ahead.map(|ahead| Duration::try_from(ahead).unwrap_or(Duration::ZERO));
                if wait.is_none_or(|wait| !wait.is_zero()) {
                    state.daemon.listeners.push(Listener {
                        number,
                        label,
                        sender,
                    });
                }
                if let Some(wait) = wait {
                    state.after_if_alive(wait, move |state| {
                        state
                            .daemon
                            .listeners
                            .retain(|listener| listener.number != number);
                    });
                }
                Ok(receiver)
            })
            .await?;
        Ok(stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (event, receiver))
        })
        .fuse()
        .boxed())
    }

    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let (name_or_id, mut options) = (checked(container)?, options.clone());
        let cursor = self
            .ask(RequestKind::Logs, container, move |state| {
                let found = state.find(&name_or_id);
                let found =
                    found.ok_or_else(|| verbs::refused(404, format!("No such container: {name_or_id}")))?;
                if matches!(
                    found.log_driver.as_str(),
                    "none" | "syslog" | "fluentd" | "gelf" | "splunk"
                ) {
                    let why = "configured logging driver does not support reading";
                    return Err(verbs::refused(501, why));
                }
                // A container that does not run has nothing to follow.
                options.follow &= state.is_running(&found.id);
                Ok(Cursor {
                    id: found.id.clone(),
                    from: state.first_line(&found.id, &options),
                    ends: found.ends,
                    options,
                })
            })
            .await?;
        Ok(self.lines(cursor))
    }
}

#[async_trait]
impl Engine for SimEngine {
    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        let request = request.clone();
        let name = request.name.as_ref().map(ToString::to_string).unwrap_or_default();
        self.send(RequestKind::Create, &name, move |state| state.create(request))
            .await
    }

    async fn mark(&self, id: &str) -> Result<bool> {
        let name_or_id = checked(id)?;
        self.ask(RequestKind::Mark, id, move |state| state.mark(&name_or_id))
            .await
    }

    async fn write_files(&self, id: &str, files: &[JobFile]) -> Result<()> {
        let (name_or_id, files) = (checked(id)?, files.to_vec());
        self.ask(RequestKind::WriteFiles, id, move |state| {
            state.write_files(&name_or_id, &files)
        })
        .await
    }

    async fn start(&self, id: &str) -> Result<()> {
        let name_or_id = checked(id)?;
        self.ask(RequestKind::Start, id, move |state| state.start(&name_or_id))
            .await
    }

    async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<()> {
        let name_or_id = checked(id)?;
        self.send(RequestKind::Stop, id, move |state| state.stop(&name_or_id, grace))
            .await
    }

    async fn kill(&self, id: &str) -> Result<()> {
        let name_or_id = checked(id)?;
        self.ask(RequestKind::Kill, id, move |state| state.kill(&name_or_id))
            .await
    }

    async fn remove(&self, id: &str, volumes: bool) -> Result<Removal> {
        let name_or_id = checked(id)?;
        self.ask(RequestKind::Remove, id, move |state| {
            state.remove(&name_or_id, volumes)
        })
        .await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        _platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<()> {
        let wanted = image.clone();
        let done = self
            .ask(RequestKind::Pull, image.as_str(), move |state| {
                state.pull(&wanted)
            })
            .await?;
        progress(done);
        Ok(())
    }

    async fn create_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        let volume = checked(name)?;
        self.ask(RequestKind::CreateVolume, name, move |state| {
            Ok(state.create_volume(&volume, labels))
        })
        .await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        let volume = checked(name)?;
        self.ask(RequestKind::RemoveVolume, name, move |state| {
            state.remove_volume(&volume)
        })
        .await
    }

    async fn attach(&self, id: &str) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let name_or_id = checked(id)?;
        let cursor = self
            .ask(RequestKind::Attach, id, move |state| {
                let found = state.find(&name_or_id);
                let found =
                    found.ok_or_else(|| verbs::refused(404, format!("No such container: {name_or_id}")))?;
                Ok(Cursor {
                    id: found.id.clone(),
                    from: found.output.len(),
                    ends: found.ends,
                    options: LogOptions {
                        follow: true,
                        ..LogOptions::default()
                    },
                })
            })
            .await?;
        Ok(self.lines(cursor))
    }

    async fn create_exec(&self, request: &ExecRequest) -> Result<String> {
        let (container, request) = (checked(&request.container)?, request.clone());
        self.ask(RequestKind::ExecCreate, &container, move |state| {
            state.create_exec(request)
        })
        .await
    }

    async fn start_exec(&self, id: &str, _tty: bool) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let (exec, engine) = (checked(id)?, self.clone());
        let reader = exec.clone();
        self.ask(RequestKind::ExecStart, short_id(id), move |state| {
            state.start_exec(&exec)
        })
        .await?;
        let reader = exec::Reader {
            engine,
            id: reader,
            from: 0,
        };
        Ok(stream::unfold(reader, |mut reader| async move {
            let engine = reader.engine.clone();
            let chunk = engine.until(|state| reader.next(state)).await?;
            reader.from += 1;
            Some((Ok(chunk), reader))
        })
        .fuse()
        .boxed())
    }

    async fn signal_marked(
        &self,
        container: &str,
        _user: Option<&str>,
        variable: (&str, &str),
        signal: &str,
    ) -> Result<bool> {
        let container = checked(container)?;
        let (name, value) = (variable.0.to_owned(), variable.1.to_owned());
        let signal = signal.to_owned();
        self.ask(RequestKind::Signal, &container.clone(), move |state| {
            state.signal_marked(&container, (&name, &value), &signal)
        })
        .await
    }
}

/// An exec's ID as the request log shows it.
fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
