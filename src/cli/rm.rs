//! `rm`: delete containers that a person names.
//!
//! A running one only with `-f`, and then in two steps: killed, its end seen, deleted. DELETE with
//! force is never sent: the engine would take an end that nobody recorded.

use std::time::Duration;

use crate::engine::{ContainerState, Engine, Removal};

use super::App;
use super::args::NameArg;
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::foreign::{self, Named};
use super::ours;
use super::output::print_line;

/// Delete containers
///
/// By name or ID, also such that docker-scheduler did not make. Their anonymous volumes stay,
/// unless --volumes is given.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Kill a running container first
    #[arg(short, long)]
    force: bool,

    /// Delete its anonymous volumes too
    #[arg(long)]
    volumes: bool,

    /// Names or IDs
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<NameArg>,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler rm shop.backup.20261122T013000Z
  docker-scheduler rm -f web --volumes";

/// How long a killed container may take to be seen as ended.
const END_WAIT: Duration = Duration::from_secs(10);

pub async fn run(args: Args, app: &App) -> CommandResult {
    let engine = app.engine().await?;
    let mut failures = Vec::new();
    for name in &args.containers {
        match remove(engine.as_ref(), name, &args, app).await {
            Ok(()) => print_line(name.as_str())?,
            Err(error) if error.kind() == ErrorKind::EngineUnreachable => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    match CommandError::of_several("delete", failures, args.containers.len()) {
        Some(error) => Err(error),
        None => Ok(Exit::OK),
    }
}

async fn remove(engine: &dyn Engine, name: &NameArg, args: &Args, app: &App) -> Result<(), CommandError> {
    match foreign::look_up(engine, name).await? {
        Named::Foreign(container) => remove_foreign(engine, &container, args).await,
        Named::OfJob(container) => ours::remove(app, &container, args.force).await,
        Named::Nothing => Err(nothing(app, name)),
    }
}

/// The likeliest slip is a job's name: that is no container.
fn nothing(app: &App, name: &NameArg) -> CommandError {
    let error = foreign::nothing(name);
    let jobs = app.existing_ledger().ok().flatten().map(|ledger| ledger.jobs());
    match jobs {
        Some(Ok(jobs)) if app.resolve_job(name, jobs.keys()).is_ok() => error.hint(format!(
            "`{0}` is a job: `history {0}` lists its runs, and their names are those of its containers",
            name.as_str()
        )),
        _ => error,
    }
}

async fn remove_foreign(
    engine: &dyn Engine,
    container: &ContainerState,
    args: &Args,
) -> Result<(), CommandError> {
    if container.status.is_live() {
        if !args.force {
            return Err(is_running(&container.name));
        }
        kill(engine, container).await?;
    }
    match engine.remove(&container.id, args.volumes).await {
        Ok(Removal::Removed | Removal::Gone) => Ok(()),
        Err(error) => Err(CommandError::engine(
            &format!("delete `{}`", container.name),
            &error,
        )),
    }
}

/// The refusal to delete what runs.
pub fn is_running(name: &str) -> CommandError {
    CommandError::failed(format!("the container `{name}` is running"))
        .hint("to kill it and delete it, say `rm -f`")
}

/// Kills, and waits until the engine says so: DELETE refuses before.
pub async fn kill(engine: &dyn Engine, container: &ContainerState) -> Result<(), CommandError> {
    let failed = |error| CommandError::engine(&format!("kill `{}`", container.name), &error);
    engine.kill(&container.id).await.map_err(failed)?;
    let mut waited = Duration::ZERO;
    let pause = Duration::from_millis(50);
    while waited < END_WAIT {
        match engine.inspect(&container.id).await.map_err(failed)? {
            Some(state) if state.status.is_live() => {}
            _ => return Ok(()),
        }
        tokio::time::sleep(pause).await;
        waited += pause;
    }
    Err(CommandError::failed(format!(
        "the container `{}` was killed and did not end within {}s",
        container.name,
        END_WAIT.as_secs()
    )))
}
