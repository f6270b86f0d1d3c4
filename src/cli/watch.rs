//! `watch`: apply for ever.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::ledger::{Ledger, LedgerError, WatchLock};
use crate::model::Removals;
use crate::source::Watcher;
use crate::watch::{self, Load, Wake, WatchError};

use super::App;
use super::args::DirArg;
use super::declared::{Manifests, Reader, directory, known_jobs};
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::life::Life;
use super::session::{context, of_apply, of_claim, of_observe};
use super::state::of_ledger;

/// How long to wait before an engine that is away at the start is tried again.
const CONNECT_PAUSE: Duration = Duration::from_secs(2);

/// Keep Docker in line with the manifests for ever, and run the jobs at their times
///
/// Reacts to edits of the manifests, to what happens on the engine, and to time. SIGTERM and SIGINT
/// end it (running containers go on), SIGHUP reads the manifests again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    dir: DirArg,

    /// Look for changed files every 2 seconds instead of being told (network file systems)
    #[arg(long)]
    poll: bool,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler watch jobs
  docker-scheduler watch --poll /srv/jobs";

/// # Errors
/// When the directory is missing (3), another watch holds the ledger or another ledger the
/// instance (5).
pub async fn run(args: Args, app: &App) -> CommandResult {
    let ledger = Arc::new(app.ledger()?);
    let lock = WatchLock::acquire(ledger.dir()).map_err(|error| match error {
        LedgerError::Locked { by } => CommandError::new(
            ErrorKind::Refused,
            format!("another watch is running on this ledger: {by}"),
        )
        .hint("another instance needs its own name: `--instance NAME`"),
        other => of_ledger("take the watch lock", &other),
    })?;
    let dir = directory(args.dir.dir.as_deref(), Some(&ledger))?;
    // A directory that is missing at the start is a mistake; one that goes missing later is held.
    Manifests::read(app, &dir)?;
    let dir = dir.canonicalize().unwrap_or(dir);
    ledger
        .set_directory(&dir)
        .map_err(|error| of_ledger("write to the ledger", &error))?;

    let (wakes, woken) = mpsc::unbounded_channel();
    signals(wakes.clone())?;
    let mut life = Life::new(ledger.dir()).map_err(|error| of_ledger("forget the last heartbeat", &error))?;
    let Some((engine, woken)) = connected(app, woken, &mut life).await? else {
        return Ok(Exit::OK);
    };
    files(&dir, args.poll, wakes)?;
    let load = loader(app, dir.clone(), ledger.clone())?;
    let context = Arc::new(context(app, engine, ledger));
    let take_over = app.settings().take_over;
    let directory = dir.display().to_string();
    let signs = life.signs();
    let ended = watch::watch(context, load, woken, directory, take_over, signs).await;
    drop(lock);
    ended.map(|()| Exit::OK).map_err(|error| of_watch(app, &error))
}

fn of_watch(app: &App, error: &WatchError) -> CommandError {
    match error {
        WatchError::Claim(error) => of_claim(app, error),
        WatchError::Ledger(error) => of_ledger("use the ledger", error),
        WatchError::TakenOver(error) => of_apply("go on", error),
        WatchError::OtherLedger(error) => of_observe(app, error),
    }
}

/// Connects, and waits for an engine that is not up yet: after a boot it may come later than we do.
/// `None`: a signal came first.
async fn connected(
    app: &App,
    mut woken: mpsc::UnboundedReceiver<Wake>,
    life: &mut Life,
) -> Result<Option<(crate::engine::SharedEngine, mpsc::UnboundedReceiver<Wake>)>, CommandError> {
    let mut told = false;
    loop {
        let error = match app.engine().await {
            Ok(engine) => return Ok(Some((engine, woken))),
            Err(error) if error.kind() == ErrorKind::EngineUnreachable => error,
            Err(error) => return Err(error),
        };
        life.waits(app.now(), &error);
        if !told {
            error.report();
            tracing::warn!("waiting for the engine");
            told = true;
        }
        let pause = tokio::time::sleep(CONNECT_PAUSE);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                wake = woken.recv() => match wake {
                    Some(Wake::Terminate(_)) | None => return Ok(None),
                    Some(_) => {}
                },
            }
        }
    }
}

/// How the manifests are read again, each time.
fn loader(app: &App, dir: PathBuf, ledger: Arc<Ledger>) -> Result<Load, CommandError> {
    let mut reader = Reader::new(app, dir, &ledger)?;
    Ok(Box::new(move || {
        let known = known_jobs(&ledger);
        let mut declared = reader.read(known.as_ref().unwrap_or(&BTreeSet::new()));
        if known.is_err() {
            // What was there before cannot be compared, so nothing is taken away.
            declared.desired.removals = Removals::Held("the ledger cannot be read".to_owned());
        }
        declared
    }))
}

/// Changes in the directory, as wakes.
fn files(dir: &std::path::Path, poll: bool, wakes: mpsc::UnboundedSender<Wake>) -> Result<(), CommandError> {
    let mut watcher = Watcher::new(dir, poll).map_err(|error| {
        CommandError::failed(format!("failed to watch `{}`", dir.display())).caused_by(error.to_string())
    })?;
    if watcher.polls() && !poll {
        tracing::warn!("the system's file watches are used up: looking for changes every 2 seconds");
    }
    tokio::spawn(async move {
        loop {
            watcher.changed().await;
            if wakes.send(Wake::Files).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Signals, as wakes.
#[cfg(unix)]
fn signals(wakes: mpsc::UnboundedSender<Wake>) -> Result<(), CommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| {
        signal(kind).map_err(|error| {
            CommandError::failed("failed to listen for signals").caused_by(error.to_string())
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut reload = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            let wake = tokio::select! {
                _ = terminate.recv() => Wake::Terminate("SIGTERM"),
                _ = interrupt.recv() => Wake::Terminate("SIGINT"),
                _ = reload.recv() => Wake::Reload,
            };
            if wakes.send(wake).is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn signals(wakes: mpsc::UnboundedSender<Wake>) -> Result<(), CommandError> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && wakes.send(Wake::Terminate("Ctrl-C")).is_ok() {}
    });
    Ok(())
}
