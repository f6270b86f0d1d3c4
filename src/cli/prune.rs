//! `prune`: ended containers of ours off the engine, and nothing else.
//!
//! An engine's own prune would also take what waits for its time; here only what has ended goes, and
//! a job's container only after its outcome is durable. Records and logs stay.

use jiff::Timestamp;

use crate::engine::{ContainerFilter, ContainerSummary, Engine};
use crate::model::{ContainerStatus, LABEL_MANAGED_BY, LABEL_TRIGGER, MANAGED_BY, Stamp};

use super::App;
use super::args::{Filter, check_filters, check_times, matches_filters, matches_labels, time_or_age};
use super::error::{CommandError, CommandResult, Exit};
use super::ours;
use super::output::{print_line, talk};
use super::run::TRIGGER_RUN;
use super::session::Session;
use super::words::counted;

/// Delete the containers of docker-scheduler that have ended
///
/// Those of this instance's jobs and those of `run`. What runs, what waits for its time and what
/// docker-scheduler did not make is left alone; history and logs stay.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Accepted as in Docker: nothing is ever asked
    #[arg(short, long)]
    pub(super) force: bool,

    /// Only containers that match: job=NAME, project=NAME, label=KEY[=VALUE], until=TIME (made before it)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<Filter>,

    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler prune
  docker-scheduler prune --dry-run --filter project=shop --filter until=24h";

pub(super) const FILTERS: [&str; 4] = ["job", "project", "label", "until"];

/// # Errors
/// When the engine cannot be reached (4), or the instance is another ledger's (5).
pub async fn run(args: Args, app: &App) -> CommandResult {
    check_filters(&args.filter, &FILTERS)?;
    check_times(&args.filter, &["until"], app.now())?;
    let engine = app.engine().await?;
    let mut ended = ended(engine.as_ref()).await?;
    ended.retain(|container| {
        matches_filters(&args.filter, |key, value| {
            matches(container, key, value, app.now())
        })
    });
    let (of_run, of_jobs): (Vec<_>, Vec<_>) = ended.into_iter().partition(is_of_run);
    let of_jobs: Vec<_> = of_jobs
        .into_iter()
        // A reused one waits for its next slot.
        .filter(|container| {
            Stamp::read(&container.labels, &app.instance()).is_some_and(|stamp| !stamp.reused)
        })
        .collect();
    if args.dry_run {
        for container in of_run.iter().chain(&of_jobs) {
            print_line(&container.name)?;
        }
        talk(&format!(
            "{} would be deleted; nothing was",
            counted(of_run.len() + of_jobs.len(), "container")
        ));
        return Ok(Exit::OK);
    }
    for container in &of_run {
        engine
            .remove(&container.id, true)
            .await
            .map_err(|error| CommandError::engine(&format!("delete `{}`", container.name), &error))?;
        print_line(&container.name)?;
    }
    if of_jobs.is_empty() {
        return Ok(Exit::OK);
    }
    let session = Session::open(app).await?;
    for container in &of_jobs {
        if ours::remove_recorded(&session, &container.id, &container.name).await? {
            print_line(&container.name)?;
        } else {
            talk(&format!(
                "kept {}: its outcome is not recorded yet",
                container.name
            ));
        }
    }
    Ok(Exit::OK)
}

fn matches(container: &ContainerSummary, key: &str, value: &str, now: Timestamp) -> bool {
    match key {
        "until" => time_or_age(value, now).is_ok_and(|until| container.created < until),
        _ => matches_labels(&container.labels, key, value),
    }
}

/// Ours, of every instance, by name.
async fn ended(engine: &dyn Engine) -> Result<Vec<ContainerSummary>, CommandError> {
    let filter = ContainerFilter {
        all: true,
        label: Some((LABEL_MANAGED_BY.to_owned(), MANAGED_BY.to_owned())),
    };
    let mut ended = engine
        .list_containers(&filter)
        .await
        .map_err(|error| CommandError::engine("list the containers", &error))?;
    ended.retain(|container| matches!(container.status, ContainerStatus::Exited | ContainerStatus::Dead));
    ended.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(ended)
}

fn is_of_run(container: &ContainerSummary) -> bool {
    container
        .labels
        .get(LABEL_TRIGGER)
        .is_some_and(|trigger| trigger == TRIGGER_RUN)
}
