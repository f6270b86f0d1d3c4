//! `rm` and `rerun` of what belongs to a job: through the ledger.

use crate::apply::{launch_now, manual_name, spec_hash, wait_for_end};
use crate::engine::ContainerState;
use crate::ledger::Ledger;
use crate::model::{Concurrency, ContainerSpec, Job, Outcome, Place, Run, RunTrigger, Stamp};
use crate::plan::Launch;

use super::App;
use super::args::NameArg;
use super::error::{CommandError, CommandResult, ErrorKind};
use super::foreign;
use super::history::resolve_run;
use super::output::print_line;
use super::rerun;
use super::rm;
use super::session::{Session, of_apply};
use super::state::of_ledger;
use super::trigger;

/// Deletes a container of a job, with its outcome recorded first.
///
/// # Errors
/// When it is running and `force` is not given, or engine or ledger fail.
pub async fn remove(app: &App, container: &ContainerState, force: bool) -> Result<(), CommandError> {
    if Stamp::read(&container.labels, &app.instance()).is_none() {
        return Err(CommandError::new(
            ErrorKind::Refused,
            format!("`{}` belongs to a job of another instance", container.name),
        )
        .hint("name that instance with `--instance NAME`"));
    }
    if container.status.is_live() && !force {
        return Err(rm::is_running(&container.name));
    }
    let session = Session::open(app).await?;
    let context = &session.context;
    if let Some(run) = run_of(session.ledger(), &container.id)? {
        if container.status.is_live() {
            session
                .ledger()
                .request_stop(&run.id, Outcome::Cancelled)
                .map_err(|error| of_ledger("record the end", &error))?;
            rm::kill(context.engine.as_ref(), container).await?;
        }
        let ended = wait_for_end(context, &run.id, None).await;
        ended.map_err(|error| of_apply(&format!("record the end of `{}`", run.id), &error))?;
    } else if container.status.is_live() {
        rm::kill(context.engine.as_ref(), container).await?;
    }
    delete(&session, &container.id, &container.name).await
}

/// Deletes a job's ended container when its outcome is durable. `false`: it is not, or the ledger
/// knows no such run; nothing was done.
///
/// # Errors
/// When engine or ledger fail.
pub async fn remove_recorded(session: &Session, id: &str, name: &str) -> Result<bool, CommandError> {
    match run_of(session.ledger(), id)? {
        Some(run) if run.outcome.is_some() => delete(session, id, name).await.map(|()| true),
        _ => Ok(false),
    }
}

/// The container first: should we die in between, the next plan sees that it has gone.
async fn delete(session: &Session, id: &str, name: &str) -> Result<(), CommandError> {
    session
        .context
        .engine
        .remove(id, true)
        .await
        .map_err(|error| CommandError::engine(&format!("delete `{name}`"), &error))?;
    if let Some(run) = run_of(session.ledger(), id)? {
        session
            .ledger()
            .container_gone(&run.id)
            .map_err(|error| of_ledger("write to the ledger", &error))?;
    }
    Ok(())
}

fn run_of(ledger: &Ledger, container: &str) -> Result<Option<Run>, CommandError> {
    ledger
        .newest_in(container)
        .map_err(|error| of_ledger("look the run up", &error))
}

/// Runs a recorded spec again, in a new container.
///
/// # Errors
/// When there is no such run or job, a value of its spec is no longer known, or it cannot be started.
pub async fn rerun(app: &App, args: &rerun::Args) -> CommandResult {
    if app.existing_ledger()?.is_none() {
        return Err(foreign::nothing(&args.what));
    }
    let session = Session::open(app).await?;
    let run = resolve_run(session.ledger(), &args.what, app)?;
    let recorded = session
        .ledger()
        .spec_of(&run.id)
        .map_err(|error| of_ledger("read the spec", &error))?;
    let recorded = recorded.ok_or_else(|| {
        CommandError::failed(format!(
            "`{}` never had a container, so there is nothing to repeat",
            run.id
        ))
        .hint(format!("`history {}` lists its runs", run.job))
    })?;
    let declared = NameArg::of_job(&run.job);
    // Only a value that the ledger keeps as a hash has to be found in the manifests again.
    let declared = trigger::find(app, &session, &args.dir, &declared).ok();
    let mut spec = unmasked(session.ledger(), &recorded, declared.as_ref(), &run)?;
    if spec.place == Place::Reuse {
        // The command again, from its image: the job's own container may be another one by now.
        spec.place = Place::Fresh;
    }
    let timeout = declared.as_ref().and_then(|job| job.policy.timeout);
    let exclusive = declared
        .as_ref()
        .is_none_or(|job| job.policy.concurrency != Concurrency::Allow);
    let group = declared.as_ref().and_then(|job| job.policy.group.clone());
    let launch = Launch {
        job: run.job.clone(),
        name: manual_name(&app.instance(), &run.job),
        slot: None,
        attempt: 0,
        due_at: app.now(),
        spec_hash: spec_hash(&session.context, &spec),
        pull: spec.pull_policy,
        spec,
        origin: run.origin.clone(),
        exclusive,
        caps: app.caps().of(group.as_deref()),
        group,
        deadline: None,
        settled: None,
    };
    let new = launch_now(&session.context, &launch, RunTrigger::Rerun, timeout)
        .await
        .map_err(|error| of_apply(&format!("run `{}` again", run.id), &error))?;
    print_line(new.as_str())?;
    if args.wait {
        trigger::follow(&session.context, &new, timeout).await
    } else {
        trigger::leave(&session, &new)
    }
}

/// A recorded spec with its sensitive values filled in from what is declared now. The ledger keeps
/// only their keyed hashes, so a value that changed since is not guessed.
fn unmasked(
    ledger: &Ledger,
    recorded: &str,
    declared: Option<&Job>,
    run: &Run,
) -> Result<ContainerSpec, CommandError> {
    let spec: ContainerSpec = serde_json::from_str(recorded).map_err(|error| {
        CommandError::failed(format!("the recorded spec of `{}` cannot be read", run.id))
            .caused_by(error.to_string())
    })?;
    let unmasked = spec.unmasked(declared.map(|job| &job.container), ledger.masks());
    unmasked.ok_or_else(|| {
        CommandError::failed(format!(
            "a value of `{}` that came from `.env`, an env file or the environment has changed since",
            run.id
        ))
        .hint(match declared {
            Some(job) if job.triggers.manual => {
                format!("`trigger {}` runs the job as it is declared now", run.job)
            }
            _ => "its own time runs it with the new one".to_owned(),
        })
    })
}
