//! What the commands that change something share: the claimed ledger, and the context of `apply`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::apply::claim::{ClaimError, claim, note_downtime};
use crate::apply::{ApplyError, Context, StreamWitness, owner};
use crate::clock::SystemClock;
use crate::engine::{Observe, SharedEngine};
use crate::event::Event;
use crate::ledger::{Ledger, WatchLock};
use crate::model::{Desired, Observed};
use crate::observe::{self, Circumstances, ObserveError};

use crate::watch::is_suspect;

use super::App;
use super::error::{CommandError, ErrorKind};
use super::state::of_ledger;

/// A one-shot command lives for a moment: a slot that was due in the minute before it was called is
/// not yet one that a scheduler missed. So a crontab that calls `apply` every minute misses nothing.
pub const ONE_SHOT_REACH: SignedDuration = SignedDuration::from_secs(60);

/// A ledger that is ours on this engine.
pub struct Session {
    pub context: Arc<Context>,
}

impl Session {
    /// Opens the ledger, making it when it is the first, and claims the instance on the engine.
    ///
    /// # Errors
    /// When the engine is away, the ledger unusable, or the instance somebody else's (exit 5).
    pub async fn open(app: &App) -> Result<Session, CommandError> {
        let engine = app.engine().await?;
        let ledger = Arc::new(app.ledger()?);
        claim(
            engine.as_ref(),
            &ledger,
            &app.instance(),
            app.settings().take_over,
        )
        .await
        .map_err(|error| of_claim(app, &error))?;
        Ok(Session {
            context: Arc::new(context(app, engine, ledger)),
        })
    }

    pub fn ledger(&self) -> &Ledger {
        &self.context.ledger
    }

    /// Tells the ledger that nobody was watching until now, unless a `watch` is.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn note_downtime(&self, now: Timestamp) -> Result<(), CommandError> {
        let last_alive = self
            .ledger()
            .last_alive()
            .map_err(|error| of_ledger("read the ledger", &error))?;
        // Until a suspect clock is put right, what the ledger last saw is what tells that it is one.
        if WatchLock::holder(self.ledger().dir()).is_some() || is_suspect(now, last_alive) {
            return Ok(());
        }
        note_downtime(self.ledger(), now).map_err(|error| of_ledger("write to the ledger", &error))
    }

    /// The world as it is now.
    ///
    /// # Errors
    /// When engine or ledger cannot be read.
    pub async fn observe(&self, app: &App, desired: &Desired) -> Result<Observed, CommandError> {
        let watched = WatchLock::holder(self.ledger().dir()).is_some();
        observe_once(
            app,
            self.context.engine.as_ref(),
            Some(self.ledger()),
            desired,
            watched,
            app.now(),
        )
        .await
    }
}

/// The context of `apply` in this process.
pub fn context(app: &App, engine: SharedEngine, ledger: Arc<Ledger>) -> Context {
    Context {
        engine,
        ledger,
        instance: app.instance(),
        clock: Arc::new(SystemClock),
        owner: owner::current(),
        report: Box::new(|event: Event| super::logging::say(&event)),
        starts: Semaphore::new(app.config().limits.starts as usize),
        stream: StreamWitness::default(),
    }
}

/// One look at everything, as of `now`.
///
/// # Errors
/// When engine or ledger cannot be read, or the instance is another ledger's.
pub async fn observe_once(
    app: &App,
    engine: &dyn Observe,
    ledger: Option<&Ledger>,
    desired: &Desired,
    watched: bool,
    now: Timestamp,
) -> Result<Observed, CommandError> {
    let facts = observe::facts(engine, desired)
        .await
        .map_err(|error| CommandError::engine("look at the engine", &error))?;
    let up_since = if watched {
        Timestamp::MIN
    } else {
        now.saturating_sub(ONE_SHOT_REACH).unwrap_or(now)
    };
    let last_alive = ledger
        .map(Ledger::last_alive)
        .transpose()
        .map_err(|error| of_ledger("read the ledger", &error))?;
    let circumstances = Circumstances {
        up_since,
        clock_suspect: is_suspect(now, last_alive.flatten()),
        ..Circumstances::default()
    };
    observe::observe(engine, ledger, &app.instance(), desired, &facts, &circumstances)
        .await
        .map_err(|error| of_observe(app, &error))
}

pub fn of_observe(app: &App, error: &ObserveError) -> CommandError {
    match error {
        ObserveError::Engine(error) => CommandError::engine("look at the engine", error),
        ObserveError::Ledger(error) => of_ledger("read the ledger", error),
        ObserveError::OtherLedger { .. } => other_ledger(app, &error.to_string()),
    }
}

pub fn of_claim(app: &App, error: &ClaimError) -> CommandError {
    match error {
        ClaimError::Engine(error) => CommandError::engine("claim the instance", error),
        ClaimError::Ledger(error) => of_ledger("claim the instance", error),
        ClaimError::OtherLedger { .. } => other_ledger(app, &error.to_string()),
        ClaimError::OtherEngine { .. } => CommandError::new(ErrorKind::Refused, error.to_string()).hint(
            "two engines need two instances: `--instance NAME`; if the engine was set up anew, `--take-over`",
        ),
    }
}

fn other_ledger(app: &App, message: &str) -> CommandError {
    let state = app
        .state_folder()
        .map(|folder| folder.display().to_string())
        .unwrap_or_default();
    CommandError::new(ErrorKind::Refused, message)
        .hint(format!("this command uses the ledger in `{state}`; two ledgers of one instance would run jobs twice"))
        .hint("use the other ledger (`--state`), another instance (`--instance NAME`), or end the other scheduler and `--take-over`")
}

pub fn of_apply(what: &str, error: &ApplyError) -> CommandError {
    match error {
        ApplyError::Engine(error) => CommandError::engine(what, error),
        ApplyError::Ledger(error) => of_ledger(what, error),
        ApplyError::TakenOver { .. } => CommandError::new(ErrorKind::Refused, error.to_string()),
        ApplyError::Active { .. } => CommandError::new(ErrorKind::Refused, error.to_string())
            .hint("only `concurrency: allow` starts a run beside another; wait for it, or stop it"),
        ApplyError::AtLimit { .. } => CommandError::new(ErrorKind::Refused, error.to_string())
            .hint("the operator's file sets this limit (`limits`, `groups`); wait for a place"),
        ApplyError::CannotArm(_) | ApplyError::CannotStop(_) | ApplyError::TakenAway(_) => {
            CommandError::failed(format!("failed to {what}")).caused_by(error.to_string())
        }
    }
}
