//! `apply`: one pass. Settle what ended, start what is due, arm, return.

use std::collections::BTreeSet;

use crate::apply::{self as carry, ApplyError, wait_for_end};
use crate::model::{ContainerName, Desired, JobName, Outcome, Removals, Run, RunId};
use crate::os;
use crate::plan::{Plan, describe_wait, plan, render};
use crate::source::{self, DirState, LastGood};

use super::App;
use super::args::{DirArg, ForceFlag};
use super::declared::{Manifests, directory, known_jobs};
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::output::{paint_plan, print, talk};
use super::session::{Session, of_apply};
use super::state::of_ledger;
use super::words::counted;

/// A result may be read in one pass and its job's next slot started in the next; more rounds than
/// this are not the work of one pass.
const ROUNDS: usize = 5;

/// Bring Docker in line with the manifests once: settle what ended, start what is due, arm, return
///
/// Timeouts and retries need `--wait` or a running `watch`: nobody else is there to stop a container, or
/// to start it once more.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub(super) dir: DirArg,

    /// Follow the runs that were started to their end
    #[arg(long)]
    pub(super) wait: bool,

    /// Do not print the plan
    #[arg(short, long)]
    quiet: bool,

    /// Remove jobs even when more than half of them are gone at once
    #[arg(long)]
    pub(super) allow_mass_removal: bool,

    #[command(flatten)]
    pub(super) force: ForceFlag,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler apply
  docker-scheduler apply jobs --wait
  docker-scheduler --log-level warn apply --quiet jobs";

/// # Errors
/// As `plan`; and when something could not be done (1).
pub async fn run(args: Args, app: &App) -> CommandResult {
    args.force.refuse()?;
    let session = Session::open(app).await?;
    let dir = directory(args.dir.dir.as_deref(), Some(session.ledger()))?;
    let manifests = Manifests::read(app, &dir)?;
    let state = DirState::of(&manifests.files);
    let mut desired = manifests.without_errors()?;
    let known = known_jobs(session.ledger())?;
    if !args.allow_mass_removal {
        desired.removals = source::guard(&known, &desired, state);
        if matches!(desired.removals, Removals::Held(_)) {
            keep_on(app, &session, &dir, &known, &mut desired)?;
        }
    }
    session.note_downtime(app.now())?;
    let mut done = rounds(app, &session, &desired, args.quiet).await?;
    if let Removals::Held(why) = &desired.removals {
        let error = CommandError::new(
            ErrorKind::Refused,
            format!("removals are held, in `{}`: {why}", dir.display()),
        );
        return Err(error.hint("`apply --allow-mass-removal` removes them"));
    }
    remember(&session, &dir)?;
    let mut ended_well = true;
    while args.wait && !done.started.is_empty() {
        let (well, again) = wait(&session, &desired, &done.started).await?;
        ended_well &= well;
        let Some(retry_at) = again.iter().filter_map(|run| run.retry_at).min() else {
            break;
        };
        session.context.wait_until(retry_at).await;
        let failures = done.failures;
        done = rounds(app, &session, &desired, args.quiet).await?;
        done.failures += failures;
        ended_well &= add_successors(app, &session, &again, &mut done.started)?;
    }
    if let Some(error) = not_armed(&done.not_armed) {
        return Err(error);
    }
    Ok(if done.failures == 0 && ended_well {
        Exit::OK
    } else {
        Exit::FAILED
    })
}

/// What the rounds of one pass came to.
struct Done {
    started: Vec<RunId>,
    failures: usize,
    /// Jobs that cannot start at their next time, and why.
    not_armed: Vec<String>,
}

/// Every `apply` says it until it is mended: the one that comes upon it, and those that wait with it.
fn not_armed(jobs: &[String]) -> Option<CommandError> {
    if jobs.is_empty() {
        return None;
    }
    let count = counted(jobs.len(), "job");
    let error = CommandError::failed(format!("{count} cannot start as things are"));
    let error = jobs.iter().fold(error, |error, job| error.caused_by(job));
    Some(error.hint("`watch` and each `apply` try it again; `plan` shows when"))
}

/// What a `watch` has kept of the jobs that are gone goes on here, too.
fn keep_on(
    app: &App,
    session: &Session,
    dir: &std::path::Path,
    known: &BTreeSet<JobName>,
    desired: &mut Desired,
) -> Result<(), CommandError> {
    let folder = session.ledger().last_good_dir();
    let kept = LastGood::open(&folder).map_err(|error| {
        CommandError::failed(format!("failed to open `{}`", folder.display())).caused_by(error.to_string())
    })?;
    let mut lost = kept.jobs(&app.manifest_settings(Some(dir)));
    lost.retain(|name, _| known.contains(name) && !desired.jobs.contains_key(name));
    desired.jobs.extend(lost);
    Ok(())
}

/// The directory that later commands mean when they are told none.
fn remember(session: &Session, dir: &std::path::Path) -> Result<(), CommandError> {
    let absolute = os::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    session
        .ledger()
        .set_directory(&absolute)
        .map_err(|error| of_ledger("write to the ledger", &error))
}

/// Plans and applies until there is nothing left that can be done now.
async fn rounds(app: &App, session: &Session, desired: &Desired, quiet: bool) -> Result<Done, CommandError> {
    let mut started = Vec::new();
    let mut failures = 0;
    let mut not_armed = Vec::new();
    for round in 0..ROUNDS {
        let observed = session.observe(app, desired).await?;
        let plan = plan(desired, &observed, app.now());
        not_armed = jobs_not_armed(&plan);
        if !quiet && (round == 0 || plan.changes().next().is_some()) {
            print(&paint_plan(&render(&plan)))?;
        }
        if plan.steps.is_empty() {
            break;
        }
        let reports = carry::apply(&session.context, &plan)
            .await
            .map_err(|error| of_apply("apply the plan", &error))?;
        let progress = reports.iter().any(|report| report.progress);
        for report in reports {
            started.extend(report.started);
            failures += usize::from(report.error.is_some());
            if let Some(error @ ApplyError::TakenOver { .. }) = report.error {
                return Err(of_apply("apply the plan", &error));
            }
        }
        if !progress {
            break;
        }
    }
    Ok(Done {
        started,
        failures,
        not_armed,
    })
}

fn jobs_not_armed(plan: &Plan) -> Vec<String> {
    let waiting = plan.waiting.iter();
    waiting
        .filter(|waiting| waiting.cause.is_not_armed())
        .map(|waiting| format!("{}: {}", waiting.job, describe_wait(&waiting.cause, plan.at)))
        .collect()
}

/// The attempts that follow those, also where a `watch` beside us was first; whether there is one for
/// each.
fn add_successors(
    app: &App,
    session: &Session,
    again: &[Run],
    started: &mut Vec<RunId>,
) -> Result<bool, CommandError> {
    let mut all = true;
    for run in again {
        let Some(slot) = run.slot else { continue };
        let next = ContainerName::of_slot(&app.instance(), &run.job, slot, run.attempt + 1);
        let ledger = session.ledger();
        let read = |id| {
            ledger
                .run(id)
                .map_err(|error| of_ledger("read the ledger", &error))
        };
        if read(&next)?.is_some() {
            if !started.contains(&next) {
                started.push(next);
            }
        } else if read(&run.id)?.is_some_and(|run| run.retry_at.is_some()) {
            // Its time has not come yet.
            started.push(run.id.clone());
        } else {
            all = false;
        }
    }
    Ok(all)
}

/// Follows runs to their end; whether all of them ended well that are not tried again, and those that
/// are.
async fn wait(
    session: &Session,
    desired: &Desired,
    started: &[RunId],
) -> Result<(bool, Vec<Run>), CommandError> {
    let ends = started.iter().map(async |id| {
        let run = session.context.ledger.run(id)?;
        let job = run.and_then(|run| desired.jobs.get(&run.job));
        wait_for_end(&session.context, id, job.and_then(|job| job.policy.timeout)).await
    });
    let mut ended_well = true;
    let mut again = Vec::new();
    for ended in futures_util::future::join_all(ends).await {
        let Some(run) = ended.map_err(|error| of_apply("wait for a run", &error))? else {
            talk("a start never reached the engine; its slot is due again");
            ended_well = false;
            continue;
        };
        talk(&format!(
            "{} {}: {}",
            run.outcome.map_or("running", Outcome::as_str),
            run.id,
            run.reason
        ));
        if run.retry_at.is_some() {
            again.push(run);
        } else {
            ended_well &= run.outcome == Some(Outcome::Succeeded);
        }
    }
    Ok((ended_well, again))
}
