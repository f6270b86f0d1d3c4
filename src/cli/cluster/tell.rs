//! `ls`, `next`, `history` and `inspect` of a cluster: read from its objects alone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::cluster::Inventory;
use crate::kubernetes;
use crate::model::{JobName, JobRecord, Origin, Pause, Policy, Trigger, Triggers};
use crate::wire::{self, Shape as _};

use super::super::app::Known;
use super::super::args::{check_filters, check_times, matches_filters, matches_label};
use super::super::error::{CommandError, CommandResult, Exit};
use super::super::output::print;
use super::super::{App, history, inspect, jobs, next, version};
use super::{Meant, inventory, meant, of_cluster, of_job, open, runs};

/// # Errors
/// When the cluster cannot be reached (4) or refuses.
pub async fn jobs(args: jobs::Args, app: &App) -> CommandResult {
    check_filters(
        &args.filter,
        &["name", "job", "project", "state", "outcome", "label"],
    )?;
    args.list.check(jobs::COLUMNS, wire::Job::FIELDS)?;
    let cluster = open(app).await?;
    let inventory = inventory(&cluster, app).await?;
    let mut declared = inventory.by_job();
    if args.all {
        for job in inventory.jobs.iter().filter_map(kubernetes::job_of) {
            declared.entry(job).or_default();
        }
    }
    let labels: Vec<_> = args
        .filter
        .iter()
        .filter(|filter| filter.key == "label")
        .cloned()
        .collect();
    let views: Vec<jobs::View> = declared
        .iter()
        .filter(|(_, cron_jobs)| {
            let found = cron_jobs.first().map(|object| labels_of(object));
            matches_filters(&labels, |_, value| {
                matches_label(&found.clone().unwrap_or_default(), value)
            })
        })
        .map(|(name, cron_jobs)| {
            let of: Vec<_> = of_job(&inventory, name).into_iter().map(|(run, _)| run).collect();
            jobs::View {
                record: record(name, cron_jobs),
                newest: of.first().cloned(),
                active: of.into_iter().filter(|run| run.outcome.is_none()).collect(),
                retrying: false,
            }
        })
        .collect();
    jobs::listing(&views, &args, app.instance().as_str(), app.now())?.print(&args.list)?;
    Ok(Exit::OK)
}

fn labels_of(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object();
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// A job as its CronJobs describe it; without any it is declared no more.
fn record(name: &JobName, cron_jobs: &[&Value]) -> JobRecord {
    let known = known(cron_jobs);
    let first = cron_jobs.first();
    JobRecord {
        name: name.clone(),
        origin: first.map_or_else(Origin::default, |object| kubernetes::origin_of(object)),
        canonical: String::new(),
        triggers: Triggers {
            manual: first.is_some_and(|object| kubernetes::may_be_triggered(object)),
            schedule: known.schedule,
        },
        policy: Policy {
            suspend: known.suspended,
            ..Policy::default()
        },
        spec_hash: String::new(),
        baseline: Timestamp::MIN,
        settled: Timestamp::MIN,
        recorded_ahead: Default::default(),
        held: Vec::new(),
        pauses: known.pauses,
        arm_failure: None,
        armed: BTreeMap::new(),
        removed: cron_jobs.is_empty(),
    }
}

/// When the CronJobs of one job start it.
fn known(cron_jobs: &[&Value]) -> Known {
    let schedule: Vec<Trigger> = cron_jobs
        .iter()
        .filter_map(|object| kubernetes::trigger_of(object))
        .collect();
    let pauses: Vec<Pause> = cron_jobs
        .iter()
        .find_map(|object| kubernetes::paused_by(object))
        .map(|by| Pause {
            from: Timestamp::MIN,
            until: None,
            by,
        })
        .into_iter()
        .collect();
    Known {
        schedule,
        suspended: pauses.is_empty() && cron_jobs.iter().any(|object| kubernetes::is_suspended(object)),
        jitter: None,
        pauses,
        skips_gaps: true,
    }
}

/// # Errors
/// As [`jobs`]; and when an expression or a name is none.
pub async fn next(args: next::Args, app: &App) -> CommandResult {
    if args.cron.is_some() || args.dir.dir.is_some() {
        return next::show(&args, app, |app| {
            let mut jobs = app.known_triggers(args.dir.dir.as_deref())?;
            jobs.values_mut().for_each(|known| known.skips_gaps = true);
            Ok(jobs)
        });
    }
    let cluster = open(app).await?;
    let inventory = inventory(&cluster, app).await?;
    let jobs = inventory.by_job();
    let jobs = jobs
        .into_iter()
        .map(|(name, cron_jobs)| (name, known(&cron_jobs)));
    let jobs: BTreeMap<JobName, Known> = jobs.collect();
    next::show(&args, app, |_| Ok(jobs))
}

/// # Errors
/// As [`jobs`].
pub async fn history(args: history::Args, app: &App) -> CommandResult {
    check_filters(&args.filter, &history::FILTERS)?;
    check_times(&args.filter, &["since", "until"], app.now())?;
    args.list.check(history::COLUMNS, wire::Run::FIELDS)?;
    let query = history::query(&args, app.now())?;
    let cluster = open(app).await?;
    let inventory = inventory(&cluster, app).await?;
    let mut runs = runs(&inventory, app);
    if let Some(name) = &args.job {
        let of_runs = runs.iter().map(|run| run.job.clone());
        let known: std::collections::BTreeSet<JobName> =
            of_runs.chain(inventory.by_job().into_keys()).collect();
        let job = app.resolve_job(name, known.iter())?;
        runs.retain(|run| run.job == job);
    }
    let labels: BTreeMap<&str, BTreeMap<String, String>> = inventory
        .jobs
        .iter()
        .map(|job| (kubernetes::name_of(job), labels_of(job)))
        .collect();
    let now = app.now();
    runs.retain(|run| {
        (query.outcome.is_empty() || query.outcome.contains(&run.outcome))
            && query.since.is_none_or(|since| run.due_at >= since)
            && query.until.is_none_or(|until| run.due_at < until)
            && matches_filters(&args.filter, |key, value| match key {
                "label" => labels
                    .get(run.id.as_str())
                    .is_some_and(|labels| matches_label(labels, value)),
                _ => history::matches(run, key, value, now),
            })
    });
    let zones: BTreeMap<JobName, TimeZone> = inventory
        .by_job()
        .into_iter()
        .filter_map(|(name, cron_jobs)| {
            let zone = jobs::timezone(&record(&name, &cron_jobs))?;
            Some((name, TimeZone::get(&zone).ok()?))
        })
        .collect();
    runs.truncate(args.number.map_or(usize::MAX, |number| number as usize));
    history::listing(&runs, &zones, &args, now)?.print(&args.list)?;
    Ok(Exit::OK)
}

/// # Errors
/// When a name stands for nothing; the others are printed all the same.
pub async fn inspect(args: inspect::Args, app: &App) -> CommandResult {
    let cluster = open(app).await?;
    let inventory = inventory(&cluster, app).await?;
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in &args.names {
        match meant(&inventory, name, app) {
            Ok(meant) => found.push(inspect::Described::new(&described(
                &inventory,
                meant,
                app.now(),
            )?)?),
            Err(error) => failures.push(error),
        }
    }
    print(&inspect::rendered(&found, &args.format)?)?;
    match CommandError::of_several("inspect", failures, args.names.len()) {
        Some(error) => Err(error),
        None => Ok(Exit::OK),
    }
}

/// The row of `history` or `ls`, with the objects that it is read from.
fn described(inventory: &Inventory, meant: Meant<'_>, now: Timestamp) -> Result<Value, CommandError> {
    let shown = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        object
    };
    let failed =
        |error: serde_json::Error| CommandError::failed("failed to write JSON").caused_by(error.to_string());
    let (mut row, objects): (Value, Vec<Value>) = match meant {
        Meant::Run(run, job) => {
            let pods = kubernetes::pods_of(job, &inventory.pods);
            let objects = std::iter::once(job).chain(pods);
            (
                serde_json::to_value(wire::Run::from(&*run)).map_err(failed)?,
                objects.map(shown).collect(),
            )
        }
        Meant::Job(name) => {
            let cron_jobs = inventory.by_job().remove(&name).unwrap_or_default();
            let of: Vec<_> = of_job(inventory, &name).into_iter().map(|(run, _)| run).collect();
            let view = jobs::View {
                record: record(&name, &cron_jobs),
                newest: of.first().cloned(),
                active: of.into_iter().filter(|run| run.outcome.is_none()).collect(),
                retrying: false,
            };
            let row = jobs::shape(&view, now);
            (
                serde_json::to_value(row).map_err(failed)?,
                cron_jobs.into_iter().map(shown).collect(),
            )
        }
    };
    row["objects"] = json!(objects);
    Ok(row)
}

/// # Errors
/// When the output was closed.
pub async fn version(args: version::Args, app: &App) -> CommandResult {
    let engine = if args.verbose { server(app).await } else { None };
    let name = engine.as_ref().map(|version| format!("kubernetes {version}"));
    version::show(&args, name, engine.map(|_| String::from("batch/v1")))
}

/// `None` when no cluster answers: that is no failure of this command.
async fn server(app: &App) -> Option<String> {
    let cluster = open(app).await.ok()?;
    let version = cluster.version().await;
    version
        .map_err(|error| of_cluster("ask for the version", &error))
        .ok()
}
