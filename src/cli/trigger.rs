//! `trigger`: a declared job, now, beside its schedule.

use std::time::Duration;

use crate::apply::{Context, launch_now, manual_name, spec_hash, wait_for_end};
use crate::ledger::WatchLock;
use crate::model::{Concurrency, Job, JobName, Outcome, Run, RunId, RunTrigger};
use crate::plan::Launch;

use super::App;
use super::args::{DirFlag, NameArg};
use super::declared::{Reader, directory, known_jobs};
use super::error::{CommandError, CommandResult, Exit};
use super::output::{print_line, talk, talk_raw};
use super::session::{Session, of_apply};
use super::state::of_ledger;

/// Run a declared job now, beside its schedule
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub(super) dir: DirFlag,

    /// Follow the run to its end, and end with its exit code
    #[arg(long)]
    pub(super) wait: bool,

    /// Print its output after its end instead of its name, and its outcome only when it failed
    #[arg(long, requires = "wait")]
    pub(super) logs: bool,

    /// The job
    #[arg(value_name = "JOB")]
    pub(super) job: NameArg,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler trigger shop.backup --wait
  docker-scheduler trigger shop.backup --wait --logs";

/// # Errors
/// When there is no such job, it may not be started by hand, another run of it is active (5), or its
/// container cannot be made.
pub async fn run(args: Args, app: &App) -> CommandResult {
    let session = Session::open(app).await?;
    let job = declared(app, &session, &args)?;
    if !job.triggers.manual {
        return Err(
            CommandError::failed(format!("job `{}` is not to be started by hand", job.name))
                .hint("set `triggers.manual: true` in its manifest"),
        );
    }
    let launch = launch_of(&session.context, &job, app);
    if job.container.exec_target().is_some() && !args.wait {
        talk("note: its output can be read by this process alone, so it is followed to its end");
    }
    let run = launch_now(&session.context, &launch, RunTrigger::Manual, job.policy.timeout)
        .await
        .map_err(|error| of_apply(&format!("start job `{}`", job.name), &error))?;
    if !args.logs {
        print_line(run.as_str())?;
    }
    if !args.wait {
        return leave(&session, &run);
    }
    let ended = end_of(&session.context, &run, job.policy.timeout).await?;
    if args.logs {
        let printed = super::logs::print_output(session.ledger(), &run, app).await;
        return Ok(tell_behind_output(printed, &ended));
    }
    Ok(tell_end(&ended))
}

/// Behind its output, how a run ended is told only when it failed.
pub(super) fn tell_behind_output<T>(printed: Result<T, CommandError>, run: &Run) -> Exit {
    // An output that nobody can read any more is no reason to hide how the run ended.
    if let Err(error) = printed {
        error.report();
    }
    match exit_of(run) {
        Exit::OK => Exit::OK,
        _ => tell_end(run),
    }
}

/// Leaves a run that was started to itself. One that has ended already, such as by a refused start, has
/// its outcome told and its exit code passed on.
///
/// # Errors
/// When the ledger cannot be read.
pub fn leave(session: &Session, run: &RunId) -> CommandResult {
    let run = session
        .ledger()
        .run(run)
        .map_err(|error| of_ledger("read a run", &error))?;
    if let Some(run) = run.filter(|run| run.outcome.is_some()) {
        return Ok(tell_end(&run));
    }
    if WatchLock::holder(session.ledger().dir()).is_none() {
        talk("note: no watch is running, so its end is recorded by the next `apply` or `watch`");
    }
    Ok(Exit::OK)
}

pub(super) fn tell_end(run: &Run) -> Exit {
    talk(&format!(
        "{}: {}",
        run.outcome.map_or("running", Outcome::as_str),
        run.reason
    ));
    exit_of(run)
}

/// Waits for a run's end; our exit code is its container's.
///
/// # Errors
/// When engine or ledger fail.
pub async fn follow(context: &Context, run: &RunId, timeout: Option<Duration>) -> CommandResult {
    Ok(tell_end(&end_of(context, run, timeout).await?))
}

async fn end_of(context: &Context, run: &RunId, timeout: Option<Duration>) -> Result<Run, CommandError> {
    wait_for_end(context, run, timeout)
        .await
        .map_err(|error| of_apply("wait for the run", &error))?
        .ok_or_else(|| CommandError::failed("its start never reached the engine; it did not run"))
}

/// The exit code that stands for a run's end.
#[must_use]
pub fn exit_of(run: &Run) -> Exit {
    match (run.outcome, run.exit_code) {
        (Some(outcome), _) if outcome.is_success() => Exit::OK,
        (Some(Outcome::Cancelled), _) => Exit::CANCELLED,
        // A run that was stopped may have ended with 0: that is no success.
        (_, Some(code)) if code != 0 => Exit::of_container(code),
        _ => Exit::FAILED,
    }
}

/// A manual run of a job.
pub fn launch_of(context: &Context, job: &Job, app: &App) -> Launch {
    Launch {
        job: job.name.clone(),
        name: manual_name(&context.instance, &job.name),
        slot: None,
        attempt: 0,
        due_at: app.now(),
        spec: job.container.clone(),
        spec_hash: spec_hash(context, &job.container),
        pull: job.container.pull_policy,
        origin: job.origin.clone(),
        exclusive: job.policy.concurrency != Concurrency::Allow,
        caps: app.caps().of(job.policy.group.as_deref()),
        group: job.policy.group.clone(),
        deadline: None,
        settled: None,
    }
}

/// The job as it is declared now, also when its file is broken at the moment.
pub fn find(app: &App, session: &Session, dir: &DirFlag, name: &NameArg) -> Result<Job, CommandError> {
    let dir = directory(dir.dir.as_deref(), Some(session.ledger()))?;
    let mut reader = Reader::new(app, dir, session.ledger())?;
    let declared = reader.read(&known_jobs(session.ledger())?);
    let resolved: Result<JobName, CommandError> = app.resolve_job(name, declared.desired.jobs.keys());
    if resolved.is_err() {
        let inactive = app.resolve_job(name, declared.desired.inactive.keys());
        if let Some((job, profiles)) = inactive
            .ok()
            .and_then(|job| declared.desired.inactive.get_key_value(&job))
        {
            return Err(not_active(job, profiles));
        }
        // The reason may stand there.
        talk_raw(&declared.report);
    }
    let mut jobs = declared.desired.jobs;
    let resolved = resolved?;
    jobs.remove(&resolved)
        .ok_or_else(|| CommandError::failed(format!("there is no job `{resolved}`")))
}

fn not_active(job: &JobName, profiles: &[String]) -> CommandError {
    let names: Vec<String> = profiles.iter().map(|name| format!("`{name}`")).collect();
    let noun = if names.len() == 1 { "profile" } else { "profiles" };
    CommandError::failed(format!(
        "job `{job}` is not active here: it belongs to {noun} {}",
        names.join(", ")
    ))
    .hint("`profiles: [NAME]` in the operator's file makes it active, or `COMPOSE_PROFILES` in the `.env` beside its manifest")
}

fn declared(app: &App, session: &Session, args: &Args) -> Result<Job, CommandError> {
    find(app, session, &args.dir, &args.job)
}
