//! A live Kubernetes cluster: looked at once, and brought in line with a plan.
//!
//! The cluster owns the clock: its controllers start the jobs, and what is here only keeps CronJobs as
//! they are declared. What is to be done is decided in `kubernetes`, which is pure; there is no ledger,
//! because server-side apply says the same twice without harm.
//!
//! | file | |
//! |---|---|
//! | `client.rs` | the connection: the only file that knows the `kube` crate |
//! | `watch.rs` | for ever: files, and the cluster |

mod client;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use crate::kubernetes::{
    self, Answer, Asked, Conflicts, Contents, MANAGER, NOTE_CANCELLED_BY, NOTE_PAUSED_BY, Owned,
    PAUSE_MANAGER, Plan, SELECTOR, Seen, Step, Target,
};
use crate::model::{Desired, Instance, Job, JobName};

pub use client::{Apply, Cluster, ClusterError, Kind, LogOptions, Selection};
pub use watch::{Load, Loaded, Round, Woken, watch};

/// Requests under way at once.
const AT_ONCE: usize = 8;

/// How `kubectl` and `apply` write the same thing twice without harm.
const APPLY: Apply = Apply {
    manager: MANAGER,
    dry_run: false,
    force: false,
};

/// What no object that is there has as its version: applied with it, one is made anew or not at all.
const NOT_THERE: &str = "1";

/// What became of a step.
#[derive(Debug)]
pub struct Report {
    pub job: JobName,
    /// What could not be done, and why.
    pub failed: Option<(String, ClusterError)>,
}

/// Looks at the cluster, and asks it what applying would do; nothing is changed. `left_alone` are
/// declared jobs that have no form there, `contents` what their secrets and configs are read from.
///
/// # Errors
/// When it cannot be reached or refuses to say.
pub async fn look(
    cluster: &Cluster,
    desired: &Desired,
    left_alone: &BTreeSet<JobName>,
    contents: &Contents,
    instance: &Instance,
    conflicts: Conflicts,
) -> Result<Seen, ClusterError> {
    let target = Target {
        namespace: Some(cluster.namespace().to_owned()),
        instance: Some(instance.to_string()),
        contents: contents.clone(),
    };
    let jobs: Vec<&Job> = desired
        .jobs
        .values()
        .filter(|job| !left_alone.contains(&job.name))
        .collect();
    let wanted: Vec<(JobName, Value)> = jobs
        .iter()
        .flat_map(|job| {
            let objects = kubernetes::objects(job, &target).into_iter();
            objects.map(|object| (job.name.clone(), object))
        })
        .collect();
    let is_wanted = |object: &Value| {
        let same = |(_, wanted): &(JobName, Value)| {
            kubernetes::kind_of(wanted) == kubernetes::kind_of(object)
                && kubernetes::name_of(wanted) == kubernetes::name_of(object)
        };
        wanted.iter().any(same)
    };
    let mut objects = cluster.list(Kind::CronJob, SELECTOR).await?;
    for kind in DATA {
        let is_needed = |(_, object): &(JobName, Value)| Kind::of(kubernetes::kind_of(object)) == Some(kind);
        match cluster.list(kind, SELECTOR).await {
            Ok(found) => objects.extend(found),
            // Who declares no such thing needs no right to read it.
            Err(error) if error.code() == Some(403) && !wanted.iter().any(is_needed) => {}
            Err(error) => return Err(error),
        }
    }
    // What is on its way out needs nothing more, and is nothing to build on.
    objects.retain(|object| !kubernetes::is_being_deleted(object));
    let has_unwanted = objects
        .iter()
        .any(|object| kubernetes::is_ours(object, instance) && !is_wanted(object));
    let active = if has_unwanted {
        active_jobs(cluster, instance).await?
    } else {
        BTreeSet::new()
    };
    let claims = if jobs.iter().any(|job| !kubernetes::claims_of(job).is_empty()) {
        claims(cluster).await?
    } else {
        None
    };
    let asked = stream::iter(wanted.into_iter().map(|(job, object)| {
        let live = objects
            .iter()
            .find(|live| {
                kubernetes::is_ours(live, instance)
                    && kubernetes::kind_of(live) == kubernetes::kind_of(&object)
                    && kubernetes::name_of(live) == kubernetes::name_of(&object)
            })
            .cloned();
        ask(cluster, instance, job, object, live, conflicts)
    }))
    .buffered(AT_ONCE)
    .collect::<Vec<_>>()
    .await
    .into_iter()
    .collect::<Result<Vec<Asked>, ClusterError>>()?;
    Ok(Seen {
        engine: format!(
            "kubernetes {}, namespace {}",
            cluster.version().await?,
            cluster.namespace()
        ),
        objects,
        asked,
        left_alone: left_alone.clone(),
        active,
        claims,
    })
}

/// Kinds of objects that CronJobs refer to.
const DATA: [Kind; 2] = [Kind::Secret, Kind::ConfigMap];

/// Jobs with a run that has not ended.
async fn active_jobs(cluster: &Cluster, instance: &Instance) -> Result<BTreeSet<JobName>, ClusterError> {
    let runs = cluster.list(Kind::Job, SELECTOR).await?;
    let active = runs.iter().filter(|run| kubernetes::is_ours(run, instance));
    let active = active.filter(|run| kubernetes::run_of(run, &[]).is_some_and(|run| run.outcome.is_none()));
    Ok(active.filter_map(kubernetes::job_of).collect())
}

/// The names of all claims; `None` where we may not know.
async fn claims(cluster: &Cluster) -> Result<Option<BTreeSet<String>>, ClusterError> {
    match cluster.list(Kind::Claim, "").await {
        Ok(found) => Ok(Some(
            found
                .iter()
                .map(|claim| kubernetes::name_of(claim).to_owned())
                .collect(),
        )),
        Err(error) if error.code() == Some(403) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the server would do with one object.
async fn ask(
    cluster: &Cluster,
    instance: &Instance,
    job: JobName,
    mut object: Value,
    live: Option<Value>,
    conflicts: Conflicts,
) -> Result<Asked, ClusterError> {
    let answered = |object, live, answer| {
        Ok(Asked {
            job,
            object,
            live,
            answer,
        })
    };
    match &live {
        // Another object of that name is refused by the server from now on.
        Some(live) => object["metadata"]["uid"] = json!(kubernetes::uid_of(live)),
        None => {
            let kind = Kind::of(kubernetes::kind_of(&object)).unwrap_or(Kind::CronJob);
            if let Some(other) = cluster.get(kind, kubernetes::name_of(&object)).await? {
                let answer = kubernetes::in_the_way(&other, instance);
                return answered(object, None, answer);
            }
        }
    }
    let dry_run = |force| Apply {
        dry_run: true,
        force,
        ..APPLY
    };
    let error = match cluster.apply(&object, dry_run(false)).await {
        Ok(accepted) => {
            let answer = Answer::Accepted {
                object: accepted,
                over: Vec::new(),
            };
            return answered(object, live, answer);
        }
        Err(error) => error,
    };
    if let Some(complaints) = error.complaints() {
        return answered(object, live, Answer::Refused(complaints));
    }
    let Some(fields) = error.conflicts() else {
        return Err(error);
    };
    let owned: Vec<Owned> = fields
        .iter()
        .map(|(field, manager)| kubernetes::owned(live.as_ref(), field, manager))
        .collect();
    if !conflicts.overrule(&owned) {
        return answered(object, live, Answer::Conflict(owned));
    }
    let accepted = cluster.apply(&object, dry_run(true)).await?;
    let answer = Answer::Accepted {
        object: accepted,
        over: owned,
    };
    answered(object, live, answer)
}

/// Carries a plan out, one job after the other; what fails for one is no reason to leave out the rest.
pub async fn carry_out(cluster: &Cluster, plan: &Plan) -> Vec<Report> {
    let mut reports = Vec::new();
    for step in &plan.steps {
        reports.push(Report {
            job: step.job.clone(),
            failed: step_of(cluster, step).await.err(),
        });
    }
    reports
}

async fn step_of(cluster: &Cluster, step: &Step) -> Result<(), (String, ClusterError)> {
    for applied in &step.applied {
        let how = Apply {
            force: applied.force,
            ..APPLY
        };
        let mut object = applied.object.clone();
        if applied.is_new {
            // Somebody may have made one of that name since it was looked for.
            object["metadata"]["resourceVersion"] = json!(NOT_THERE);
        }
        let done = cluster.apply(&object, how).await;
        done.map_err(|error| {
            (
                format!("apply {}", kubernetes::object_words(&applied.object)),
                error,
            )
        })?;
    }
    for deleted in &step.deleted {
        let done = cluster.delete(deleted).await;
        done.map_err(|error| (format!("delete {} `{}`", deleted.kind, deleted.name), error))?;
    }
    Ok(())
}

/// Suspends a CronJob in a person's name; an `apply` leaves that alone.
///
/// # Errors
/// When the cluster cannot be reached or refuses.
pub async fn pause(cluster: &Cluster, cron_job: &Value, by: &str) -> Result<(), ClusterError> {
    let mut wish = paused(cron_job);
    wish["metadata"]["annotations"] = json!({NOTE_PAUSED_BY: by});
    wish["spec"] = json!({"suspend": true});
    let how = Apply {
        manager: PAUSE_MANAGER,
        force: true,
        ..APPLY
    };
    cluster.apply(&wish, how).await.map(|_| ())
}

/// Ends a pause, whoever it is of; what the manifest suspends stays so.
///
/// # Errors
/// When the cluster cannot be reached or refuses.
pub async fn resume(cluster: &Cluster, cron_job: &Value) -> Result<(), ClusterError> {
    // What is no longer applied is given up; `suspend` goes back to its default with it.
    let how = Apply {
        manager: PAUSE_MANAGER,
        ..APPLY
    };
    let now = cluster.apply(&paused(cron_job), how).await?;
    if kubernetes::is_suspended(&now) {
        // Somebody suspended it with another tool.
        let patch = json!({"spec": {"suspend": false}});
        let name = kubernetes::name_of(cron_job);
        cluster.merge(Kind::CronJob, name, &patch, PAUSE_MANAGER).await?;
    }
    Ok(())
}

/// A CronJob by name, and by its identity: one that came in its place is left alone.
fn paused(cron_job: &Value) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": kubernetes::name_of(cron_job),
            "uid": kubernetes::uid_of(cron_job),
        },
    })
}

/// Ends a Job that is under way, and keeps it with who asked.
///
/// # Errors
/// When the cluster cannot be reached or refuses.
pub async fn cancel(cluster: &Cluster, job: &Value, by: &str) -> Result<(), ClusterError> {
    // A Job that outlives its deadline is stopped by its controller, and kept as failed.
    let patch = json!({
        "metadata": {
            "uid": kubernetes::uid_of(job),
            "annotations": {NOTE_CANCELLED_BY: by},
        },
        "spec": {"activeDeadlineSeconds": 1},
    });
    cluster
        .merge(Kind::Job, kubernetes::name_of(job), &patch, MANAGER)
        .await
        .map(|_| ())
}

/// Everything of an instance that lists, `history` and `down` read.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    pub cron_jobs: Vec<Value>,
    pub jobs: Vec<Value>,
    pub pods: Vec<Value>,
    pub events: Vec<Value>,
}

impl Inventory {
    /// CronJobs, Jobs, pods and events, with our labels and this instance's name.
    ///
    /// # Errors
    /// When the cluster cannot be reached or refuses.
    pub async fn take(cluster: &Cluster, instance: &Instance) -> Result<Inventory, ClusterError> {
        let ours = |mut objects: Vec<Value>| {
            objects.retain(|object| kubernetes::is_ours(object, instance));
            objects
        };
        Ok(Inventory {
            cron_jobs: ours(cluster.list(Kind::CronJob, SELECTOR).await?),
            jobs: ours(cluster.list(Kind::Job, SELECTOR).await?),
            pods: ours(cluster.list(Kind::Pod, SELECTOR).await?),
            events: cluster.list(Kind::Event, "").await?,
        })
    }

    /// CronJobs by the job that they are of.
    #[must_use]
    pub fn by_job(&self) -> BTreeMap<JobName, Vec<&Value>> {
        let mut found: BTreeMap<JobName, Vec<&Value>> = BTreeMap::new();
        for cron_job in &self.cron_jobs {
            if let Some(job) = kubernetes::job_of(cron_job) {
                found.entry(job).or_default().push(cron_job);
            }
        }
        found
    }
}

/// The Secrets and ConfigMaps of an instance; none of a kind that we may not list.
///
/// # Errors
/// When the cluster cannot be reached.
pub async fn data(cluster: &Cluster, instance: &Instance) -> Result<Vec<Value>, ClusterError> {
    let mut found = marked_data(cluster).await?;
    found.retain(|object| kubernetes::is_ours(object, instance));
    Ok(found)
}

/// Those of any instance.
///
/// # Errors
/// As [`data`].
pub async fn marked_data(cluster: &Cluster) -> Result<Vec<Value>, ClusterError> {
    let mut found = Vec::new();
    for kind in DATA {
        match cluster.list(kind, SELECTOR).await {
            Ok(objects) => found.extend(objects),
            Err(error) if error.code() == Some(403) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
