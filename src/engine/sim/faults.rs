//! What can go wrong between a caller and the simulated engine, and the verdicts that say so.
//!
//! A fault is bound to a request, to a time or to the next events, never to chance: whoever wants
//! random faults draws them from a seed and injects them here.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// One request on its way to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Counts from 1, over all clients.
    pub number: u64,
    /// Which handle sent it: see [`super::SimEngine::client`].
    pub client: u32,
    pub kind: RequestKind,
    /// A container as `name (12 digits of its ID)`, or the name of whatever else it is about.
    pub subject: String,
}

/// `start shop.backup.20261123T013000Z (3f2a9c0d1e4b)`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        Ok(())
    }
}

/// The verbs of [`super::super::Observe`] and [`super::super::Engine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    Info,
    List,
    Inspect,
    Images,
    Image,
    Networks,
    Volumes,
    Stat,
    Events,
    Logs,
    Create,
    Mark,
    WriteFiles,
    Start,
    Stop,
    Kill,
    Remove,
    /// A reserved run begins or is given up.
    Decide,
    Pull,
    CreateVolume,
    RemoveVolume,
    Attach,
    ExecCreate,
    ExecStart,
    ExecInspect,
    Signal,
}

impl RequestKind {
    pub const ALL: [RequestKind; 26] = [
        RequestKind::Info,
        RequestKind::List,
        RequestKind::Inspect,
        RequestKind::Images,
        RequestKind::Image,
        RequestKind::Networks,
        RequestKind::Volumes,
        RequestKind::Stat,
        RequestKind::Events,
        RequestKind::Logs,
        RequestKind::Create,
        RequestKind::Mark,
        RequestKind::WriteFiles,
        RequestKind::Start,
        RequestKind::Stop,
        RequestKind::Kill,
        RequestKind::Remove,
        RequestKind::Decide,
        RequestKind::Pull,
        RequestKind::CreateVolume,
        RequestKind::RemoveVolume,
        RequestKind::Attach,
        RequestKind::ExecCreate,
        RequestKind::ExecStart,
        RequestKind::ExecInspect,
        RequestKind::Signal,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RequestKind::Info => "info",
            RequestKind::List => "list",
            RequestKind::Inspect => "inspect",
            RequestKind::Images => "images",
            RequestKind::Image => "image",
            RequestKind::Networks => "networks",
            RequestKind::Volumes => "volumes",
            RequestKind::Stat => "stat",
            RequestKind::Events => "events",
            RequestKind::Logs => "logs",
            RequestKind::Create => "create",
            RequestKind::Mark => "mark",
            RequestKind::WriteFiles => "write files",
            RequestKind::Start => "start",
            RequestKind::Stop => "stop",
            RequestKind::Kill => "kill",
            RequestKind::Remove => "remove",
            RequestKind::Decide => "decide",
            RequestKind::Pull => "pull",
            RequestKind::CreateVolume => "create-volume",
            RequestKind::RemoveVolume => "remove-volume",
            RequestKind::Attach => "attach",
            RequestKind::ExecCreate => "exec-create",
            RequestKind::ExecStart => "exec-start",
            RequestKind::ExecInspect => "exec-inspect",
            RequestKind::Signal => "signal",
        }
    }

    /// Whether its subject is the name or ID of a container that is there already.
    pub(super) fn is_about_a_container(self) -> bool {
        matches!(
            self,
            RequestKind::Inspect
                | RequestKind::Stat
                | RequestKind::Logs
                | RequestKind::Mark
                | RequestKind::WriteFiles
                | RequestKind::Start
                | RequestKind::Stop
                | RequestKind::Kill
                | RequestKind::Remove
                | RequestKind::Decide
                | RequestKind::Attach
                | RequestKind::ExecCreate
                | RequestKind::Signal
        )
    }

    /// Whether it changes something.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(
            self,
            RequestKind::Create
                | RequestKind::Mark
                | RequestKind::WriteFiles
                | RequestKind::Start
                | RequestKind::Stop
                | RequestKind::Kill
                | RequestKind::Remove
                | RequestKind::Decide
                | RequestKind::Pull
                | RequestKind::CreateVolume
                | RequestKind::RemoveVolume
                | RequestKind::ExecCreate
                | RequestKind::ExecStart
                | RequestKind::Signal
        )
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    #[default]
    Pass,
    /// Carried out; the caller learns nothing (`Unanswered`).
    DropReply,
    /// Not carried out; the caller cannot tell that from [`Verdict::DropReply`].
    NeverSent,
    /// The connection is lost, and the engine breaks a start off before anything runs, as current
    /// ones do. Any other request was not carried out.
    BrokenOff,
    /// The engine answers with an error and does nothing.
    Refuse { status: u16, message: String },
    /// The engine answers with an error although all is done: a manager that loses its peers while the
    /// others take it up.
    RefuseDone { status: u16, message: String },
    /// No connection.
    Unreachable,
    /// The caller gives up (`Unanswered`) and the engine carries it out that much later, unless it
    /// has died by then.
    Delay(Duration),
    /// Carried out after `before`, answered `after` that: a slow registry, a busy disk. A caller
    /// that gives up before the first is over has sent nothing.
    Slow { before: Duration, after: Duration },
    /// Not carried out, and the caller gives up (`Unanswered`) after that long.
    Hang(Duration),
    /// A create that holds its name that long, then fails and leaves nothing, as with a missing
    /// volume driver (15 s, then 404). Any other request passes.
    FailLate {
        holds: Duration,
        status: u16,
        message: String,
    },
    /// The caller's process is killed at this boundary: its future never ends, whoever plays the
    /// system drops it.
    CallerDies { delivered: bool },
    /// The daemon is killed here; it stays down until `restart`.
    Crash(CrashPoint),
}

/// Where in a request the daemon dies. The middle two are meant for `start`; in any other request
/// they are the same as `Before` and `After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Nothing was done.
    Before,
    /// The log file was opened (`LogPath` is set) and nothing runs.
    LogOpened,
    /// The process runs, and the daemon died before its checkpoint: the container shows `created`
    /// with a zero StartedAt.
    Hidden,
    /// All was done and only the reply is missing.
    After,
}

/// Something to go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The `nth` request of that kind from now on, counted from 1.
    Nth {
        kind: RequestKind,
        nth: u32,
        verdict: Verdict,
    },
    /// Each request of that kind until [`super::SimEngine::heal`].
    Each { kind: RequestKind, verdict: Verdict },
    /// No connection within `from..to` by the wall clock.
    Away { from: Timestamp, to: Timestamp },
    /// The next live events; the daemon's own memory of them stays right.
    Events { next: u32, how: EventFault },
    /// Lists show what is true now until then.
    StaleLists { until: Timestamp },
}

/// What becomes of an event on its way to who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFault {
    Lost,
    Doubled,
    /// It comes after the one that follows it.
    Swapped,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    nth: Vec<(RequestKind, u32, Verdict)>,
    each: Vec<(RequestKind, Verdict)>,
    away: Vec<(Timestamp, Timestamp)>,
}

impl Faults {
    pub(super) fn nth(&mut self, kind: RequestKind, nth: u32, verdict: Verdict) {
        self.nth.push((kind, nth.max(1), verdict));
    }

    pub(super) fn each(&mut self, kind: RequestKind, verdict: Verdict) {
        self.each.push((kind, verdict));
    }

    pub(super) fn away(&mut self, from: Timestamp, to: Timestamp) {
        self.away.push((from, to));
    }

    /// Counts the request and says what becomes of it.
    pub(super) fn judge(&mut self, kind: RequestKind, now: Timestamp) -> Verdict {
        let mut fired = None;
        self.nth.retain_mut(|(wanted, left, verdict)| {
            if *wanted != kind {
                return true;
            }
            *left -= 1;
            if *left == 0 {
                fired = Some(std::mem::take(verdict));
            }
            *left > 0
        });
        if self.is_away(now) {
            return Verdict::Unreachable;
        }
        let each = self.each.iter().find(|(wanted, _)| *wanted == kind);
        fired
            .or_else(|| each.map(|(_, verdict)| verdict.clone()))
            .unwrap_or_default()
    }

    pub(super) fn is_away(&self, now: Timestamp) -> bool {
        self.away.iter().any(|(from, to)| (*from..*to).contains(&now))
    }
}
