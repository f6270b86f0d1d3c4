//! `wait`: until a run has its outcome.
//!
//! Beside a `watch`, which records ends, the ledger alone is read; without one this command looks
//! at the engine and records the end itself.

use std::time::Duration;

use crate::apply::wait_for_end;
use crate::ledger::{Ledger, WatchLock};
use crate::model::{JobName, Outcome, Run, RunId};

use super::App;
use super::args::{NameArg, duration};
use super::error::{CommandError, CommandResult, Exit};
use super::history::{Meant, meant, newest_run, no_run_yet};
use super::output::{print_line, talk};
use super::session::{Session, of_apply};
use super::state::of_ledger;
use super::trigger::exit_of;

/// Wait for a run's end, print its exit code and end with it
///
/// A run that is over is answered at once; one that has not started yet is waited for. Ends with 0
/// for success, the container's own code, 130 for a cancelled run, 1 for any other outcome, and 124
/// when --timeout has passed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Give up after this time, such as 10m; the run goes on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Option<Duration>,

    /// A run, or a job (the run that is under way, else its newest)
    #[arg(value_name = "RUN|JOB")]
    pub(super) run: NameArg,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler wait shop.backup
  docker-scheduler wait --timeout 10m shop.backup.20261122T013000Z";

/// Between two looks at the ledger.
pub const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// # Errors
/// When there is no such run, or ledger or engine fail.
pub async fn run(args: Args, app: &App) -> CommandResult {
    let Some(ledger) = app.existing_ledger()? else {
        return Err(app.nothing_applied(&args.run));
    };
    let id = match meant(&ledger, &args.run, app)? {
        Meant::Run(run) => run.id,
        Meant::Coming(coming) => coming.id,
        Meant::Job(job) => current(&ledger, &job)?,
    };
    let ended = async {
        has_started(&ledger, &id).await?;
        until_final(app, &ledger, &id).await
    };
    let run = match args.timeout {
        None => ended.await?,
        Some(limit) => match tokio::time::timeout(limit, ended).await {
            Ok(run) => run?,
            Err(_) => {
                talk(&format!(
                    "`{id}` has not ended within {}; it goes on",
                    humantime::format_duration(limit)
                ));
                return Ok(Exit::TIMED_OUT);
            }
        },
    };
    let exit = exit_of(&run);
    print_line(&exit.0.to_string())?;
    talk(&format!(
        "{} {}: {}",
        run.outcome.map_or("running", Outcome::as_str),
        run.id,
        run.reason
    ));
    Ok(exit)
}

/// The job's run that is under way, else its newest.
fn current(ledger: &Ledger, job: &JobName) -> Result<RunId, CommandError> {
    let active = ledger
        .active_runs()
        .map_err(|error| of_ledger("read the runs", &error))?;
    let running = active
        .into_iter()
        .rev()
        .find(|run| run.job == *job && run.outcome.is_none());
    match running {
        Some(run) => Ok(run.id),
        None => match newest_run(ledger, job)? {
            Some(run) => Ok(run.id),
            None => Err(no_run_yet(ledger, job)?),
        },
    }
}

/// Waits until an armed container has become a run.
///
/// # Errors
/// When it never will: its container was given up.
pub async fn has_started(ledger: &Ledger, id: &RunId) -> Result<(), CommandError> {
    let failed = |error| of_ledger("read the runs", &error);
    loop {
        if ledger.run(id).map_err(failed)?.is_some() {
            return Ok(());
        }
        let jobs = ledger.jobs().map_err(failed)?;
        if !jobs.values().any(|record| record.armed.contains_key(id)) {
            // It may have become a run between the two looks.
            return match ledger.run(id).map_err(failed)? {
                Some(_) => Ok(()),
                None => Err(CommandError::failed(format!("`{id}` will not start any more"))
                    .caused_by("its container was removed or replaced")),
            };
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn until_final(app: &App, ledger: &Ledger, id: &RunId) -> Result<Run, CommandError> {
    let never_ran = || CommandError::failed("its start never reached the engine; it did not run");
    loop {
        let run = ledger
            .run(id)
            .map_err(|error| of_ledger("read the runs", &error))?
            .ok_or_else(never_ran)?;
        if run.outcome.is_some() {
            return Ok(run);
        }
        if WatchLock::holder(ledger.dir()).is_none() {
            let session = Session::open(app).await?;
            let ended = wait_for_end(&session.context, id, None).await;
            return ended
                .map_err(|error| of_apply("wait for the run", &error))?
                .ok_or_else(never_ran);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
