//! `watch`: apply for ever.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::ledger::{Ledger, LedgerError, WatchLock};
use crate::model::Removals;
use crate::os;
use crate::source::{Checkout, PullError, Remote, Watcher};
use crate::watch::{self, Load, Wake, WatchError};

use super::App;
use super::args::{self, DirArg, ForceFlag};
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
/// end it (running containers go on), SIGHUP reads the manifests again (with `--git`: pulls first).
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub(super) dir: DirArg,

    /// Take the manifests from a git repository, and pull it: by its interval, and on SIGHUP
    ///
    /// Needs `git`. What was pulled last stays in force while a pull fails. The working copy is kept in the
    /// state folder.
    #[arg(long, value_name = "URL[#BRANCH[:DIR]]", conflicts_with = "dir")]
    pub(super) git: Option<Remote>,

    /// How often to pull
    #[arg(long, value_name = "DURATION", value_parser = args::duration, default_value = "1m", requires = "git")]
    git_interval: Duration,

    /// Look for changed files every 2 seconds instead of being told (network file systems)
    #[arg(long)]
    pub(super) poll: bool,

    #[command(flatten)]
    pub(super) force: ForceFlag,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler watch jobs
  docker-scheduler watch --git https://git.example.com/ops/schedules.git#main:jobs
  docker-scheduler watch --poll /srv/jobs";

/// # Errors
/// When the directory is missing (3), another watch holds the ledger or another ledger the
/// instance (5).
pub async fn run(args: Args, app: &App) -> CommandResult {
    args.force.refuse()?;
    let ledger = Arc::new(app.ledger()?);
    let lock = WatchLock::acquire(ledger.dir()).map_err(|error| match error {
        LedgerError::Locked { by } => CommandError::new(
            ErrorKind::Refused,
            format!("another watch is running on this ledger: {by}"),
        )
        .hint("another instance needs its own name: `--instance NAME`"),
        other => of_ledger("take the watch lock", &other),
    })?;
    // From here on no signal ends it unheard: a reload that follows a start at once is none.
    let (wakes, mut woken) = mpsc::unbounded_channel();
    let hang_up = Arc::new(Notify::new());
    signals(wakes.clone(), args.git.as_ref().map(|_| hang_up.clone()))?;
    let checkout = match args.git {
        Some(remote) => tokio::select! {
            pulled = first_pull(remote.seen_from_here(), ledger.dir()) => Some(pulled?),
            () = terminated(&mut woken) => return Ok(Exit::OK),
        },
        None => None,
    };
    let dir = match &checkout {
        Some(checkout) => checkout.manifests(),
        None => directory(args.dir.dir.as_deref(), Some(&ledger))?,
    };
    // A directory that is missing at the start is a mistake; one that goes missing later is held.
    Manifests::read(app, &dir)?;
    let dir = os::canonicalize(&dir).unwrap_or(dir);
    ledger
        .set_directory(&dir)
        .map_err(|error| of_ledger("write to the ledger", &error))?;

    let mut life = Life::new(ledger.dir()).map_err(|error| of_ledger("forget the last heartbeat", &error))?;
    let Some((engine, woken)) = connected(app, woken, &mut life).await? else {
        return Ok(Exit::OK);
    };
    files(&dir, args.poll, wakes.clone())?;
    if let Some(checkout) = checkout.clone() {
        tokio::spawn(pulls(checkout, args.git_interval, hang_up, wakes));
    }
    let load = loader(app, dir.clone(), ledger.clone(), checkout)?;
    let context = Arc::new(context(app, engine, ledger));
    let take_over = app.settings().take_over;
    let directory = dir.display().to_string();
    let signs = life.signs();
    let ended = watch::watch(context, load, woken, directory, take_over, signs).await;
    drop(lock);
    ended.map(|()| Exit::OK).map_err(|error| of_watch(app, &error))
}

/// Until somebody wants an end. What else comes before the manifests are read is no news.
async fn terminated(woken: &mut mpsc::UnboundedReceiver<Wake>) {
    while let Some(wake) = woken.recv().await {
        if matches!(wake, Wake::Terminate(_)) {
            return;
        }
    }
    std::future::pending().await
}

/// The working copy, with something in it: what an earlier pull left will do while the repository is away.
async fn first_pull(remote: Remote, ledger: &Path) -> Result<Checkout, CommandError> {
    // Beside the ledger's folder, which no job may mount.
    let base = ledger.parent().unwrap_or(ledger).join(".checkouts");
    let checkout = Checkout::new(remote, &base);
    match checkout.pull().await {
        Ok(pulled) => tracing::info!("pulled {}: commit {}", checkout.remote(), short(&pulled.commit)),
        Err(error) if checkout.is_there().await => could_not_pull(&checkout, &error),
        Err(error) => {
            return Err(CommandError::new(
                ErrorKind::Manifests,
                format!("failed to pull `{}`", checkout.remote()),
            )
            .caused_by(error.to_string()));
        }
    }
    Ok(checkout)
}

fn could_not_pull(checkout: &Checkout, error: &PullError) {
    tracing::warn!(
        "cannot pull {}: {error}; what was pulled last stays in force",
        checkout.remote()
    );
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// Pulls for ever. A failure is said once, until it is another one.
async fn pulls(
    checkout: Checkout,
    interval: Duration,
    hang_up: Arc<Notify>,
    wakes: mpsc::UnboundedSender<Wake>,
) {
    let mut said = String::new();
    loop {
        let asked = tokio::select! {
            () = tokio::time::sleep(interval) => false,
            () = hang_up.notified() => true,
        };
        let mut is_new = false;
        match checkout.pull().await {
            Ok(pulled) => {
                is_new = pulled.is_new;
                if is_new {
                    tracing::info!("pulled {}: commit {}", checkout.remote(), short(&pulled.commit));
                } else if !said.is_empty() {
                    tracing::info!("pulled {} again", checkout.remote());
                }
                said.clear();
            }
            Err(error) => {
                let words = error.to_string();
                if words != said || asked {
                    could_not_pull(&checkout, &error);
                    said = words;
                }
            }
        }
        let wake = match (asked, is_new) {
            (true, _) => Wake::Reload,
            (false, true) => Wake::Files,
            (false, false) => continue,
        };
        if wakes.send(wake).is_err() {
            return;
        }
    }
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
fn loader(
    app: &App,
    dir: PathBuf,
    ledger: Arc<Ledger>,
    checkout: Option<Checkout>,
) -> Result<Load, CommandError> {
    let mut reader = Reader::new(app, dir, &ledger)?;
    Ok(Box::new(move || {
        let _still = checkout.as_ref().map(Checkout::reading);
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
pub(super) fn files(
    dir: &std::path::Path,
    poll: bool,
    wakes: mpsc::UnboundedSender<Wake>,
) -> Result<(), CommandError> {
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
pub(super) fn signals(
    wakes: mpsc::UnboundedSender<Wake>,
    hang_up: Option<Arc<Notify>>,
) -> Result<(), CommandError> {
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
                _ = reload.recv() => match &hang_up {
                    // The pull tells when there is something to read.
                    Some(hang_up) => {
                        hang_up.notify_one();
                        continue;
                    }
                    None => Wake::Reload,
                },
            };
            if wakes.send(wake).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Windows has no sign to read again: the folder is watched, and a repository pulled by its interval.
#[cfg(windows)]
pub(super) fn signals(
    wakes: mpsc::UnboundedSender<Wake>,
    _hang_up: Option<Arc<Notify>>,
) -> Result<(), CommandError> {
    use tokio::signal::windows;
    let failed = |error: std::io::Error| {
        CommandError::failed("failed to listen for signals").caused_by(error.to_string())
    };
    let mut interrupt = windows::ctrl_c().map_err(failed)?;
    let mut break_off = windows::ctrl_break().map_err(failed)?;
    let mut close = windows::ctrl_close().map_err(failed)?;
    let mut shutdown = windows::ctrl_shutdown().map_err(failed)?;
    tokio::spawn(async move {
        loop {
            let wake = tokio::select! {
                _ = interrupt.recv() => Wake::Terminate("Ctrl-C"),
                _ = break_off.recv() => Wake::Terminate("Ctrl-Break"),
                _ = close.recv() => Wake::Terminate("the end of the console"),
                _ = shutdown.recv() => Wake::Terminate("the end of the session"),
            };
            if wakes.send(wake).is_err() {
                return;
            }
        }
    });
    Ok(())
}
