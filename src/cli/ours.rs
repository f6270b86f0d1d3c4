//! `rm` and `rerun` of what belongs to a job: through the ledger.

use std::collections::BTreeMap;

use crate::apply::{launch_now, manual_name, wait_for_end};
use crate::engine::ContainerState;
use crate::ledger::Ledger;
use crate::model::{Concurrency, ContainerSpec, Job, Outcome, Run, RunTrigger, Stamp, Text};
use crate::plan::{Launch, spec_hash};

use super::App;
use super::args::NameArg;
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::foreign;
use super::output::{print_line, quoted};
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
    if let Some(run) = run_of(session.ledger(), container)? {
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
    context
        .engine
        .remove(&container.id, true)
        .await
        .map_err(|error| CommandError::engine(&format!("delete `{}`", container.name), &error))?;
    if let Some(run) = run_of(session.ledger(), container)? {
        session
            .ledger()
            .container_gone(&run.id)
            .map_err(|error| of_ledger("write to the ledger", &error))?;
    }
    Ok(())
}

fn run_of(ledger: &Ledger, container: &ContainerState) -> Result<Option<Run>, CommandError> {
    let runs = ledger
        .find_runs(&container.id)
        .map_err(|error| of_ledger("look the run up", &error))?;
    Ok(runs
        .into_iter()
        .find(|run| run.container.as_deref() == Some(&container.id)))
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
    let run = named_run(app, session.ledger(), &args.what)?;
    let recorded = session
        .ledger()
        .spec_of(&run.id)
        .map_err(|error| of_ledger("read the spec", &error))?;
    let recorded = recorded.ok_or_else(|| {
        CommandError::failed(format!(
            "`{}` never had a container, so there is nothing to repeat",
            run.id
        ))
        .hint(format!(
            "`trigger {}` runs the job as it is declared now",
            run.job
        ))
    })?;
    let declared = NameArg::of_job(&run.job);
    // Only a value that the ledger keeps as a hash has to be found in the manifests again.
    let declared = trigger::find(app, &session, &args.dir, &declared).ok();
    let spec = unmasked(session.ledger(), &recorded, declared.as_ref(), &run)?;
    let timeout = declared.as_ref().and_then(|job| job.policy.timeout);
    let exclusive = declared
        .as_ref()
        .is_none_or(|job| job.policy.concurrency == Concurrency::Forbid);
    let launch = Launch {
        job: run.job.clone(),
        name: manual_name(&app.instance(), &run.job),
        slot: None,
        attempt: 0,
        due_at: app.now(),
        spec_hash: spec_hash(&spec),
        pull: spec.pull_policy,
        spec,
        origin: run.origin.clone(),
        exclusive,
    };
    let new = launch_now(&session.context, &launch, RunTrigger::Rerun)
        .await
        .map_err(|error| of_apply(&format!("run `{}` again", run.id), &error))?;
    print_line(new.as_str())?;
    if args.wait {
        trigger::follow(&session.context, &new, timeout).await
    } else {
        Ok(Exit::OK)
    }
}

/// The run that a person means: by its name, its container, or the newest of a job.
fn named_run(app: &App, ledger: &Ledger, name: &NameArg) -> Result<Run, CommandError> {
    let runs = ledger
        .find_runs(name.as_str())
        .map_err(|error| of_ledger("look the run up", &error))?;
    match &runs[..] {
        [one] => return Ok(one.clone()),
        [] => {}
        several => {
            let names: Vec<String> = several
                .iter()
                .take(5)
                .map(|run| format!("`{}`", run.id))
                .collect();
            return Err(CommandError::failed(format!(
                "{} names {} runs",
                quoted(name.as_str()),
                several.len()
            ))
            .hint(format!("say which: {}", names.join(", "))));
        }
    }
    let jobs = ledger
        .jobs()
        .map_err(|error| of_ledger("read the jobs", &error))?;
    let job = app.resolve_job(name, jobs.keys())?;
    let newest = ledger
        .newest_run(&job)
        .map_err(|error| of_ledger("look the run up", &error))?;
    newest.ok_or_else(|| {
        CommandError::failed(format!("job `{job}` has no run yet"))
            .hint(format!("`trigger {job}` starts one"))
    })
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
    let mut known: BTreeMap<String, Text> = BTreeMap::new();
    if let Some(job) = declared {
        let Ok(_) = job.container.map_texts(|text| {
            if text.is_sensitive() {
                known.insert(ledger.mask(text), text.clone());
            }
            Ok::<_, std::convert::Infallible>(text.clone())
        });
    }
    spec.map_texts(|text| match text.is_sensitive() {
        false => Ok(text.clone()),
        true => known.get(text.expose()).cloned().ok_or(()),
    })
    .map_err(|()| {
        CommandError::failed(format!(
            "a value of `{}` that came from `.env`, an env file or the environment has changed since",
            run.id
        ))
        .hint(format!(
            "`trigger {}` runs the job as it is declared now",
            run.job
        ))
    })
}
