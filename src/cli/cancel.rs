//! `cancel`: a run that is under way is told to end, and is recorded as cancelled.
//!
//! The wish is in the ledger before the engine is asked, so a `watch` beside us, or the next one,
//! gives the run the same outcome whoever sees its end first.

use std::time::Duration;

use futures_util::future::join_all;

use crate::apply::{self as carry, wait_for_end};
use crate::ledger::Ledger;
use crate::model::{ContainerStatus, JobName, Outcome, Run};

use super::App;
use super::args::NameArg;
use super::error::{CommandError, CommandResult, Exit};
use super::history::{Meant, meant, newest_run};
use super::output::{print_line, talk};
use super::session::{Session, of_apply};
use super::state::{self, of_ledger};
use super::words;

/// Stop runs that are under way
///
/// A run is asked to end as its job says (stop signal, grace period, kill), waited for, and recorded
/// as `cancelled` with who asked; it is not tried again. Works beside a running `watch` and without
/// one. Only what runs is stopped: a job's coming slots start at their time all the same, unless the
/// job is paused.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Runs, or jobs (every run of theirs that is under way)
    #[arg(value_name = "RUN|JOB", required = true)]
    pub(super) what: Vec<NameArg>,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler cancel shop.backup";

/// A start that another process is about to send may still be on its way.
const START_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// # Errors
/// When something named does not run; the others are stopped all the same.
pub async fn run(args: Args, app: &App) -> CommandResult {
    let Some(ledger) = app.existing_ledger()? else {
        return Err(app.nothing_applied(&args.what[0]));
    };
    let mut runs: Vec<Run> = Vec::new();
    let mut failures = Vec::new();
    for name in &args.what {
        match under_way(&ledger, name, app) {
            Ok(found) => runs.extend(found),
            Err(error) => failures.push(error),
        }
    }
    runs.sort_by(|a, b| a.id.cmp(&b.id));
    runs.dedup_by(|a, b| a.id == b.id);
    if !runs.is_empty() {
        let session = Session::open(app).await?;
        let by = state::who();
        let ends = join_all(runs.iter().map(|run| cancel(&session, run, &by))).await;
        for (run, ended) in runs.iter().zip(ends) {
            match ended {
                Ok(words) => {
                    print_line(run.id.as_str())?;
                    talk(&words);
                }
                Err(error) => failures.push(error),
            }
        }
    }
    match CommandError::of_several("cancel", failures, args.what.len().max(runs.len())) {
        Some(error) => Err(error),
        None => Ok(Exit::OK),
    }
}

fn under_way(ledger: &Ledger, name: &NameArg, app: &App) -> Result<Vec<Run>, CommandError> {
    match meant(ledger, name, app)? {
        Meant::Run(run) if run.outcome.is_none() => Ok(vec![*run]),
        Meant::Run(run) => Err(is_over(&run, app)),
        Meant::Coming(coming) => Err(coming
            .has_not_started(app.now())
            .hint("`cancel` stops what runs; a paused job does not start its coming slots")),
        Meant::Job(job) => of_job(ledger, &job, app),
    }
}

fn of_job(ledger: &Ledger, job: &JobName, app: &App) -> Result<Vec<Run>, CommandError> {
    let mut active = ledger
        .active_runs()
        .map_err(|error| of_ledger("read the runs", &error))?;
    active.retain(|run| run.job == *job && run.outcome.is_none());
    if !active.is_empty() {
        return Ok(active);
    }
    if let Some(run) = newest_run(ledger, job)?.filter(|run| run.holds_job(app.now())) {
        return Err(is_over(&run, app));
    }
    Err(
        CommandError::failed(format!("no run of job `{job}` is under way"))
            .hint("`cancel` stops what runs; a paused job does not start its coming slots"),
    )
}

fn is_over(run: &Run, app: &App) -> CommandError {
    let outcome = run.outcome.map_or("running", Outcome::as_str);
    let at = run.finished_at.or(run.recorded_at).unwrap_or(run.due_at);
    let error = CommandError::failed(format!("`{}` is not running", run.id)).caused_by(format!(
        "{outcome} {}: {}",
        words::ago_within(at, app.now()),
        run.reason
    ));
    if run.holds_job(app.now()) {
        return error.hint(
            "nobody can say whether its process still runs; when you have made sure that it does not, say `ack`",
        );
    }
    error
}

/// Asks for the end of one run and waits for its record; returns what to say of it.
async fn cancel(session: &Session, run: &Run, by: &str) -> Result<String, CommandError> {
    let context = &session.context;
    let what = format!("cancel `{}`", run.id);
    session
        .ledger()
        .request_cancel(&run.id, by)
        .map_err(|error| of_ledger(&what, &error))?;
    stop_when_started(session, run, by)
        .await
        .map_err(|error| of_apply(&what, &error))?;
    let ended = wait_for_end(context, &run.id, None)
        .await
        .map_err(|error| of_apply(&what, &error))?;
    Ok(match ended {
        Some(run) => format!(
            "{} {}: {}",
            run.outcome.map_or("running", Outcome::as_str),
            run.id,
            run.reason
        ),
        None => format!("{} never reached the engine: it did not run", run.id),
    })
}

/// A container that was made and not started cannot be stopped: its start may be under way.
async fn stop_when_started(session: &Session, run: &Run, by: &str) -> Result<(), carry::ApplyError> {
    let Some(container) = &run.container else {
        return Ok(());
    };
    let context = &session.context;
    let mut waited = Duration::ZERO;
    while waited < START_PATIENCE {
        match context.engine.inspect(container).await? {
            Some(state) if state.status.is_live() => {
                let why = format!("cancelled by {by}");
                let stop = carry::stop(
                    context,
                    &run.job,
                    &run.id,
                    container,
                    None,
                    Outcome::Cancelled,
                    why,
                );
                return stop.await;
            }
            Some(state) if state.status == ContainerStatus::Created && state.is_pristine() => {
                // Settled by somebody else meanwhile: the fence found that it never ran.
                let open = session.ledger().run(&run.id)?;
                if open.is_none_or(|run| run.outcome.is_some()) {
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
    Ok(())
}
