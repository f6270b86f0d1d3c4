//! `down`: everything of this instance off the engine; history and volumes stay.

use futures_util::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};

use crate::apply::{self as carry, ApplyError, wait_for_end};
use crate::engine::{ContainerFilter, ContainerSummary};
use crate::ledger::{LedgerError, WatchLock};
use crate::model::{ContainerName, ContainerStatus, LABEL_INSTANCE, Outcome, RunId, Stamp};
use crate::plan::Target;

use super::App;
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::output::{print_line, talk};
use super::session::{Session, of_apply};
use super::state::of_ledger;
use super::words::counted;

/// Stop what runs and remove every container of this instance; history and volumes stay
///
/// Runs that are stopped are recorded as cancelled. Afterwards all jobs count as never seen, so that
/// the next `apply` starts none of their past slots. Refused while a `watch` is running.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler down";

/// # Errors
/// While a `watch` runs (5), and when engine or ledger fail.
pub async fn run(_args: Args, app: &App) -> CommandResult {
    let session = Session::open(app).await?;
    let _lock = WatchLock::acquire(session.ledger().dir()).map_err(|error| match error {
        LedgerError::Locked { by } => {
            CommandError::new(ErrorKind::Refused, format!("a watch is running: {by}"))
                .hint("end it first: it would create everything anew")
        }
        other => of_ledger("take the watch lock", &other),
    })?;
    let ours = containers(app, &session).await?;
    let stopped = stop_all(&session).await?;
    let removed = remove_all(app, &session, &ours).await?;
    session
        .ledger()
        .forget_baselines()
        .map_err(|error| of_ledger("write to the ledger", &error))?;
    session
        .context
        .engine
        .remove_volume(&app.instance().lock_volume())
        .await
        .map_err(|error| CommandError::engine("remove the lock volume", &error))?;
    print_line(&format!(
        "stopped {}, removed {}; history and volumes are kept",
        counted(stopped, "run"),
        counted(removed, "container"),
    ))?;
    Ok(Exit::OK)
}

/// Every container of this instance, whoever's ledger it names: the claim has refused others'.
async fn containers(app: &App, session: &Session) -> Result<Vec<ContainerSummary>, CommandError> {
    let filter = ContainerFilter {
        all: true,
        label: Some((LABEL_INSTANCE.to_owned(), app.instance().to_string())),
    };
    let listed = session
        .context
        .engine
        .list_containers(&filter)
        .await
        .map_err(|error| CommandError::engine("list the containers", &error))?;
    Ok(listed
        .into_iter()
        .filter(|container| Stamp::read(&container.labels, &app.instance()).is_some())
        .collect())
}

/// Ends every active run, beside each other, and waits for their outcomes; how many it stopped.
async fn stop_all(session: &Session) -> Result<usize, CommandError> {
    let runs = session
        .ledger()
        .runs_to_plan()
        .map_err(|error| of_ledger("read the runs", &error))?;
    let active: Vec<_> = runs.into_iter().filter(|run| run.outcome.is_none()).collect();
    let context = &session.context;
    let stops = active.iter().map(async |run| {
        // One that has ended already keeps the outcome that it earned.
        let mut stopped = false;
        if let Some(container) = &run.container
            && context
                .engine
                .inspect(container)
                .await?
                .is_some_and(|state| state.status.is_live())
        {
            let why = "down".to_owned();
            carry::stop(
                &session.context,
                &run.job,
                &run.id,
                container,
                None,
                Outcome::Cancelled,
                why,
            )
            .await?;
            stopped = true;
        }
        Ok::<_, ApplyError>((stopped, wait_for_end(context, &run.id, None).await?))
    });
    let bar = bar("stopping runs", active.len());
    let stops = stops.map(async |stop| {
        let ended = stop.await;
        bar.inc(1);
        ended
    });
    let ends = join_all(stops).await;
    bar.finish_and_clear();
    let mut count = 0;
    for ended in ends {
        let (stopped, run) = ended.map_err(|error| of_apply("stop a run", &error))?;
        count += usize::from(stopped);
        // `None`: proven never to have run, so there is nothing to stop.
        let Some(run) = run else {
            continue;
        };
        talk(&format!(
            "{} {}: {}",
            run.outcome.map_or("running", Outcome::as_str),
            run.id,
            run.reason
        ));
    }
    Ok(count)
}

async fn remove_all(app: &App, session: &Session, ours: &[ContainerSummary]) -> Result<usize, CommandError> {
    let engine = &session.context.engine;
    let bar = bar("removing containers", ours.len());
    for container in ours {
        bar.inc(1);
        if container.status.is_live() {
            // Started by hand, or by a ledger that this one took over from.
            engine.stop(&container.id, None).await.map_err(|error| {
                CommandError::engine(&format!("stop container `{}`", container.name), &error)
            })?;
        }
        if adopt(app, session, container).await? {
            continue;
        }
        give_up(app, session, container)?;
        engine.remove(&container.id, true).await.map_err(|error| {
            CommandError::engine(&format!("remove container `{}`", container.name), &error)
        })?;
        let id: Option<RunId> = container.name.parse::<ContainerName>().ok();
        if let Some(id) = id
            && session
                .ledger()
                .run(&id)
                .map_err(|error| of_ledger("read a run", &error))?
                .is_some()
        {
            session
                .ledger()
                .container_gone(&id)
                .map_err(|error| of_ledger("write to the ledger", &error))?;
        }
    }
    bar.finish_and_clear();
    Ok(ours.len())
}

/// What a ledger that ours took over from had started gets its row before it goes. `false`: it is no such
/// container.
async fn adopt(app: &App, session: &Session, container: &ContainerSummary) -> Result<bool, CommandError> {
    let Some(stamp) = Stamp::read(&container.labels, &app.instance()) else {
        return Ok(false);
    };
    let Ok(name) = container.name.parse::<ContainerName>() else {
        return Ok(false);
    };
    if stamp.ledger == session.ledger().id() || container.status == ContainerStatus::Created {
        return Ok(false);
    }
    let target = Target {
        id: container.id.clone(),
        name,
        nonce: stamp.nonce,
        reused: stamp.reused,
    };
    let (job, slot, attempt) = (stamp.job, stamp.slot, stamp.attempt);
    let past = if container.status.is_live() {
        carry::Past::Stopped
    } else {
        carry::Past::Superseded
    };
    carry::adopt(&session.context, &job, &target, slot, attempt, past)
        .await
        .map_err(|error| of_apply(&format!("record the end of `{}`", container.name), &error))?;
    Ok(true)
}

/// How far a long piece of work is; shown on a terminal alone.
fn bar(what: &'static str, count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64)
        .with_style(style)
        .with_message(what)
}

/// A container that waits for its slot: from here on nobody starts it, and nobody waits for it. One
/// that was started, or that another ledger made, is not ours to give up.
fn give_up(app: &App, session: &Session, container: &ContainerSummary) -> Result<(), CommandError> {
    let stamp = Stamp::read(&container.labels, &app.instance());
    let Some(stamp) = stamp.filter(|_| container.status == ContainerStatus::Created) else {
        return Ok(());
    };
    let failed = |error| of_ledger("write to the ledger", &error);
    let ledger = session.ledger();
    if ledger.container(&stamp.nonce).map_err(failed)?.is_none() {
        return Ok(());
    }
    match ledger.discarded(&stamp.nonce) {
        Err(LedgerError::NotUsable { .. }) => Ok(()),
        noted => noted.map_err(failed),
    }
}
