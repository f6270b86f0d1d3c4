//! `rerun`: the same command again.
//!
//! A foreign container is started once, by its full ID, and never a second time. A run or a
//! container of a job is left alone: its spec is run in a new container, through the ledger.

use crate::engine::{ContainerState, Engine};

use super::App;
use super::args::{DirFlag, NameArg};
use super::error::{CommandError, CommandResult, Exit};
use super::foreign::{self, Named};
use super::ours;
use super::output::print_line;

/// Run the same command again
///
/// A run, or a job's newest run, is repeated in a new container; any other container is started
/// again as it is.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Wait for its end and exit with its code (runs of jobs)
    #[arg(long)]
    pub wait: bool,

    #[command(flatten)]
    pub dir: DirFlag,

    /// A run, a job (its newest run), or a container's name or ID
    #[arg(value_name = "RUN|JOB|CONTAINER")]
    pub what: NameArg,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler rerun shop.backup.20261122T013000Z
  docker-scheduler rerun web";

pub async fn run(args: Args, app: &App) -> CommandResult {
    let engine = app.engine().await?;
    match foreign::look_up(engine.as_ref(), &args.what).await? {
        Named::Foreign(container) => {
            start(engine.as_ref(), &container).await?;
            print_line(&container.name)?;
            Ok(Exit::OK)
        }
        Named::OfJob(_) | Named::Nothing => ours::rerun(app, &args).await,
    }
}

async fn start(engine: &dyn Engine, container: &ContainerState) -> Result<(), CommandError> {
    if container.status.is_live() {
        return Err(CommandError::failed(format!(
            "the container `{}` is running",
            container.name
        )));
    }
    engine
        .start(&container.id)
        .await
        .map_err(|error| CommandError::engine(&format!("start `{}`", container.name), &error))
}
