//! What a person asks of a cluster beside its schedules: `trigger`, `wait`, `cancel`, `pause`, `resume`,
//! `prune`, `down`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{self, Cluster, Kind};
use crate::kubernetes::{self, MANAGER};
use crate::model::{JobName, Outcome, Run};

use super::super::args::{NameArg, check_filters, check_times, matches_filters, time_or_age};
use super::super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::super::output::{print_line, talk};
use super::super::trigger::{exit_of, tell_behind_output, tell_end};
use super::super::words::counted;
use super::super::{App, args, cancel, logs, pause, prune, state, trigger, wait};
use super::{Meant, inventory, meant, no_run, of_cluster, of_job, open};

/// Between two looks at a run.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a run that was cancelled may take to be recorded as ended.
const CANCEL_PATIENCE: Duration = Duration::from_secs(60);

/// # Errors
/// When there is no such job, it may not be started by hand, or another run of it is active (5).
pub async fn trigger(args: trigger::Args, app: &App) -> CommandResult {
    if args.dir.dir.is_some() {
        return Err(CommandError::usage("`--dir` has no meaning here")
            .hint("on Kubernetes a job starts as it was applied"));
    }
    let cluster = open(app).await?;
    let inventory = inventory(&cluster, app).await?;
    let mut known = inventory.by_job();
    let job = app.resolve_job(&args.job, known.keys())?;
    let cron_jobs = known.remove(&job).unwrap_or_default();
    let Some(cron_job) = cron_jobs.first() else {
        return Err(CommandError::failed(format!("there is no job `{job}`")));
    };
    if !kubernetes::may_be_triggered(cron_job) {
        return Err(
            CommandError::failed(format!("job `{job}` is not to be started by hand"))
                .hint("set `triggers.manual: true` in its manifest, and apply it"),
        );
    }
    let active = of_job(&inventory, &job)
        .into_iter()
        .find(|(run, _)| run.outcome.is_none());
    if let Some((run, _)) = active
        && cron_job["spec"]["concurrencyPolicy"] != "Allow"
    {
        return Err(CommandError::new(
            ErrorKind::Refused,
            format!("a run of `{job}` is active: `{}`", run.id),
        )
        .hint("only `concurrency: allow` starts a run beside another; wait for it, or stop it"));
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    let made = kubernetes::triggered(cron_job, &id[..8]);
    let made = cluster
        .create(&made, MANAGER)
        .await
        .map_err(|error| of_cluster(&format!("start job `{job}`"), &error))?;
    let name = kubernetes::name_of(&made);
    if !args.logs {
        print_line(name)?;
    }
    if !args.wait {
        return Ok(Exit::OK);
    }
    let run = until_end(&cluster, app, name, !args.logs).await?;
    if args.logs {
        return Ok(tell_behind_output(print_logs(&run, app).await, &run));
    }
    Ok(tell_end(&run))
}

async fn print_logs(run: &Run, app: &App) -> CommandResult {
    let all = logs::Args {
        follow: false,
        since: None,
        until: None,
        tail: None,
        timestamps: false,
        run: run.id.as_str().parse().map_err(CommandError::from)?,
    };
    super::logs::run(all, app).await
}

fn outcome_words(run: &Run) -> &'static str {
    run.outcome.map_or("running", Outcome::as_str)
}

/// Waits until a Job has ended; with `tell`, what it waits for meanwhile is said once.
async fn until_end(cluster: &Cluster, app: &App, name: &str, tell: bool) -> Result<Run, CommandError> {
    let mut said = String::new();
    loop {
        let all = inventory(cluster, app).await?;
        let job = all.jobs.iter().find(|job| kubernetes::name_of(job) == name);
        let run = job.and_then(|job| kubernetes::run_of(job, &all.pods));
        let Some(run) = run else {
            return Err(CommandError::failed(format!(
                "`{name}` was deleted before its end was seen"
            )));
        };
        if run.outcome.is_some() {
            return Ok(run);
        }
        if tell && !run.reason.is_empty() && run.reason != said {
            talk(&format!("waiting: {}", run.reason));
            said.clone_from(&run.reason);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// # Errors
/// When there is no such run.
pub async fn wait(args: wait::Args, app: &App) -> CommandResult {
    let cluster = open(app).await?;
    let all = inventory(&cluster, app).await?;
    let (run, _) = match meant(&all, &args.run, app)? {
        Meant::Run(run, object) => (*run, object),
        Meant::Job(job) => {
            let mut of = of_job(&all, &job);
            let running = of.iter().position(|(run, _)| run.outcome.is_none());
            if of.is_empty() {
                return Err(no_run(&all, &job));
            }
            of.swap_remove(running.unwrap_or(0))
        }
    };
    let ended = until_end(&cluster, app, run.id.as_str(), true);
    let run = match args.timeout {
        None => ended.await?,
        Some(limit) => match tokio::time::timeout(limit, ended).await {
            Ok(run) => run?,
            Err(_) => {
                talk(&format!(
                    "`{}` has not ended within {}; it goes on",
                    run.id,
                    humantime::format_duration(limit)
                ));
                return Ok(Exit::TIMED_OUT);
            }
        },
    };
    let exit = exit_of(&run);
    print_line(&exit.0.to_string())?;
    talk(&format!("{} {}: {}", outcome_words(&run), run.id, run.reason));
    Ok(exit)
}

/// # Errors
/// When something named does not run; the others are stopped all the same.
pub async fn cancel(args: cancel::Args, app: &App) -> CommandResult {
    let cluster = open(app).await?;
    let all = inventory(&cluster, app).await?;
    let mut wanted: Vec<(Run, &Value)> = Vec::new();
    let mut failures = Vec::new();
    for name in &args.what {
        match under_way(&all, name, app) {
            Ok(found) => wanted.extend(found),
            Err(error) => failures.push(error),
        }
    }
    wanted.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    wanted.dedup_by(|(a, _), (b, _)| a.id == b.id);
    let of = args.what.len().max(wanted.len());
    let by = state::who();
    for (run, job) in wanted {
        match end(&cluster, app, job, &by).await {
            Ok(ended) => {
                print_line(run.id.as_str())?;
                talk(&format!("{}: {}", outcome_words(&ended), ended.reason));
            }
            Err(error) => failures.push(error),
        }
    }
    match CommandError::of_several("cancel", failures, of) {
        Some(error) => Err(error),
        None => Ok(Exit::OK),
    }
}

fn under_way<'a>(
    all: &'a cluster::Inventory,
    name: &NameArg,
    app: &App,
) -> Result<Vec<(Run, &'a Value)>, CommandError> {
    let active: Vec<(Run, &Value)> = match meant(all, name, app)? {
        Meant::Run(run, object) => vec![(*run, object)],
        Meant::Job(job) => of_job(all, &job),
    };
    let active: Vec<_> = active
        .into_iter()
        .filter(|(run, _)| run.outcome.is_none())
        .collect();
    if active.is_empty() {
        return Err(
            CommandError::failed(format!("no run of `{}` is under way", name.as_str()))
                .hint("`cancel` stops what runs; a paused job does not start its coming slots"),
        );
    }
    Ok(active)
}

async fn end(cluster: &Cluster, app: &App, job: &Value, by: &str) -> Result<Run, CommandError> {
    let name = kubernetes::name_of(job);
    cluster::cancel(cluster, job, by)
        .await
        .map_err(|error| of_cluster(&format!("cancel `{name}`"), &error))?;
    tokio::time::timeout(CANCEL_PATIENCE, until_end(cluster, app, name, true))
        .await
        .unwrap_or_else(|_| {
            Err(
                CommandError::failed(format!("`{name}` was told to end, and has not within a minute"))
                    .hint("its pod's grace period may be long; `history` shows its end"),
            )
        })
}

/// # Errors
/// When there is no such job.
pub async fn pause(args: pause::PauseArgs, app: &App) -> CommandResult {
    if args.until.is_some() {
        return Err(
            CommandError::usage("`pause --until` is not for the engine `kubernetes`")
                .hint("a CronJob is suspended until `resume`"),
        );
    }
    let cluster = open(app).await?;
    let all = inventory(&cluster, app).await?;
    let by = state::who();
    for (job, cron_jobs) in named(&all, &args.jobs, app)? {
        for cron_job in cron_jobs {
            cluster::pause(&cluster, cron_job, &by)
                .await
                .map_err(|error| of_cluster(&format!("pause `{job}`"), &error))?;
        }
        print_line(&job.to_string())?;
    }
    Ok(Exit::OK)
}

/// # Errors
/// When there is no such job, or none of them is paused.
pub async fn resume(args: pause::ResumeArgs, app: &App) -> CommandResult {
    let cluster = open(app).await?;
    let all = inventory(&cluster, app).await?;
    let mut resumed = 0;
    let mut refusals = Vec::new();
    for (job, cron_jobs) in named(&all, &args.jobs, app)? {
        let paused: Vec<&Value> = cron_jobs
            .into_iter()
            .filter(|cron_job| kubernetes::paused_by(cron_job).is_some())
            .collect();
        if paused.is_empty() {
            refusals.push(format!("`{job}`"));
            continue;
        }
        for cron_job in paused {
            cluster::resume(&cluster, cron_job)
                .await
                .map_err(|error| of_cluster(&format!("resume `{job}`"), &error))?;
        }
        resumed += 1;
        print_line(&job.to_string())?;
    }
    if resumed == 0 {
        return Err(
            CommandError::failed(format!("not paused: {}", refusals.join(", ")))
                .hint("what its manifest suspends is resumed there"),
        );
    }
    Ok(Exit::OK)
}

fn named<'a>(
    all: &'a cluster::Inventory,
    wanted: &[String],
    app: &App,
) -> Result<Vec<(JobName, Vec<&'a Value>)>, CommandError> {
    let mut by_job = all.by_job();
    let known: BTreeSet<JobName> = by_job.keys().cloned().collect();
    let names = pause::named(app, wanted, &known)?;
    Ok(names
        .into_iter()
        .filter_map(|name| {
            let cron_jobs = by_job.remove(&name)?;
            Some((name, cron_jobs))
        })
        .collect())
}

/// # Errors
/// When the cluster cannot be reached (4) or refuses.
pub async fn prune(args: prune::Args, app: &App) -> CommandResult {
    check_filters(&args.filter, &prune::FILTERS)?;
    check_times(&args.filter, &["until"], app.now())?;
    let cluster = open(app).await?;
    let all = inventory(&cluster, app).await?;
    let ended: Vec<&Value> = all
        .jobs
        .iter()
        .filter(|job| kubernetes::run_of(job, &all.pods).is_some_and(|run| run.outcome.is_some()))
        .filter(|job| matches_filters(&args.filter, |key, value| is_meant(job, key, value, app)))
        .collect();
    if args.dry_run {
        for job in &ended {
            print_line(kubernetes::name_of(job))?;
        }
        talk(&format!(
            "{} would be deleted; nothing was",
            counted(ended.len(), "Job")
        ));
        return Ok(Exit::OK);
    }
    for job in ended {
        remove(&cluster, job).await?;
        print_line(kubernetes::name_of(job))?;
    }
    Ok(Exit::OK)
}

fn is_meant(job: &Value, key: &str, value: &str, app: &App) -> bool {
    let Some(name) = kubernetes::job_of(job) else {
        return false;
    };
    match key {
        "job" => args::is_job(&name, value),
        "project" => name.project() == value,
        "until" => {
            let created = job["metadata"]["creationTimestamp"]
                .as_str()
                .and_then(|text| text.parse().ok());
            let until = time_or_age(value, app.now()).ok();
            created
                .zip(until)
                .is_some_and(|(created, until): (jiff::Timestamp, _)| created < until)
        }
        "label" => {
            let (label, wanted) = value
                .split_once('=')
                .map_or((value, None), |(label, wanted)| (label, Some(wanted)));
            let found = job["metadata"]["labels"][label].as_str();
            found.is_some() && (wanted.is_none() || found == wanted)
        }
        _ => false,
    }
}

/// Deletes an object of ours as it was seen, with what belongs to it.
async fn remove(cluster: &Cluster, object: &Value) -> Result<(), CommandError> {
    let words = kubernetes::object_words(object);
    let Some(deletion) = kubernetes::deletion(object, false) else {
        return Err(CommandError::failed(format!("{words} has no identity")));
    };
    cluster
        .delete(&deletion)
        .await
        .map_err(|error| of_cluster(&format!("delete {words}"), &error))
}

/// Everything of this instance off the cluster: what runs ends, and its history goes with its Jobs.
///
/// # Errors
/// When the cluster cannot be reached (4) or refuses.
pub async fn down(app: &App) -> CommandResult {
    let cluster = open(app).await?;
    // CronJobs first: none of them starts another Job.
    let mut cron_jobs = 0;
    for object in inventory(&cluster, app).await?.cron_jobs {
        remove_anew(&cluster, app, &object).await?;
        cron_jobs += 1;
    }
    let jobs = inventory(&cluster, app).await?.jobs;
    for object in &jobs {
        remove_anew(&cluster, app, object).await?;
    }
    let data = cluster::data(&cluster, &app.instance())
        .await
        .map_err(|error| of_cluster("list Secrets and ConfigMaps", &error))?;
    for object in &data {
        remove_anew(&cluster, app, object).await?;
    }
    let secrets = data
        .iter()
        .filter(|object| kubernetes::kind_of(object) == "Secret");
    let secrets = secrets.count();
    print_line(&format!(
        "removed {}, {}, {} and {}, with their pods; their history went with them, volumes are kept",
        counted(cron_jobs, "CronJob"),
        counted(jobs.len(), "Job"),
        counted(secrets, "Secret"),
        counted(data.len() - secrets, "ConfigMap"),
    ))?;
    Ok(Exit::OK)
}

/// Controllers note the state of what they look after, so an object may have moved on since it was
/// listed: it is looked at again, and deleted while it is still ours and the same.
async fn remove_anew(cluster: &Cluster, app: &App, object: &Value) -> Result<(), CommandError> {
    const TRIES: usize = 5;
    let words = kubernetes::object_words(object);
    let failed = |error| of_cluster(&format!("delete {words}"), &error);
    let kind = Kind::of(kubernetes::kind_of(object)).unwrap_or(Kind::CronJob);
    let mut last = None;
    for _ in 0..TRIES {
        let found = cluster
            .get(kind, kubernetes::name_of(object))
            .await
            .map_err(failed)?;
        let same = found.filter(|found| {
            kubernetes::uid_of(found) == kubernetes::uid_of(object)
                && kubernetes::is_ours(found, &app.instance())
        });
        let Some(deletion) = same.and_then(|same| kubernetes::deletion(&same, false)) else {
            return Ok(());
        };
        match cluster.delete(&deletion).await {
            Ok(()) => return Ok(()),
            Err(error) if error.code() == Some(409) => last = Some(error),
            Err(error) => return Err(failed(error)),
        }
    }
    match last {
        Some(error) => Err(failed(error)),
        None => Ok(()),
    }
}
