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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Map, Value, json};

use crate::kubernetes::{
    self, Answer, Asked, Conflicts, MANAGER, NOTE_CANCELLED_BY, NOTE_PAUSED_BY, Owned, PAUSE_MANAGER, Plan,
    SELECTOR, Seen, Step, Target,
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

/// What became of a step.
#[derive(Debug)]
pub struct Report {
    pub job: JobName,
    /// What could not be done, and why.
    pub failed: Option<(String, ClusterError)>,
}

/// Looks at the cluster, and asks it what applying would do; nothing is changed. `left_alone` are
/// declared jobs that have no form there.
///
/// # Errors
/// When it cannot be reached or refuses to say.
pub async fn look(
    cluster: &Cluster,
    desired: &Desired,
    left_alone: &BTreeSet<JobName>,
    instance: &Instance,
    conflicts: Conflicts,
) -> Result<Seen, ClusterError> {
    let target = Target {
        namespace: Some(cluster.namespace().to_owned()),
        instance: Some(instance.to_string()),
    };
    let jobs = desired
        .jobs
        .values()
        .filter(|job| !left_alone.contains(&job.name));
    let wanted: Vec<(JobName, Value)> = jobs
        .flat_map(|job: &Job| {
            let objects = kubernetes::objects(job, &target).into_iter();
            objects.map(|object| (job.name.clone(), as_stored(object)))
        })
        .collect();
    let needs_secrets = wanted
        .iter()
        .any(|(_, object)| kubernetes::kind_of(object) == "Secret");
    let mut objects = cluster.list(Kind::CronJob, SELECTOR).await?;
    match cluster.list(Kind::Secret, SELECTOR).await {
        Ok(secrets) => objects.extend(secrets),
        // Who declares no secret value needs no right to read Secrets.
        Err(error) if error.code() == Some(403) && !needs_secrets => {}
        Err(error) => return Err(error),
    }
    // What is on its way out needs nothing more, and is nothing to build on.
    objects.retain(|object| !kubernetes::is_being_deleted(object));
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
    })
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

/// A Secret as the server keeps it: applied as `stringData`, a value that is declared no more would
/// stay.
fn as_stored(mut object: Value) -> Value {
    let Some(texts) = object.as_object_mut().and_then(|map| map.remove("stringData")) else {
        return object;
    };
    let data: Map<String, Value> = texts
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, text)| {
            (
                name.clone(),
                json!(STANDARD.encode(text.as_str().unwrap_or_default())),
            )
        })
        .collect();
    object["data"] = Value::Object(data);
    object
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
        let done = cluster.apply(&applied.object, how).await;
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

/// The Secrets of an instance; none where we may not list them.
///
/// # Errors
/// When the cluster cannot be reached.
pub async fn secrets(cluster: &Cluster, instance: &Instance) -> Result<Vec<Value>, ClusterError> {
    match cluster.list(Kind::Secret, SELECTOR).await {
        Ok(mut secrets) => {
            secrets.retain(|secret| kubernetes::is_ours(secret, instance));
            Ok(secrets)
        }
        Err(error) if error.code() == Some(403) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_applied_as_it_is_stored() {
        let secret = json!({"kind": "Secret", "stringData": {"A": "a"}});
        assert_eq!(
            as_stored(secret),
            json!({"kind": "Secret", "data": {"A": "YQ=="}})
        );
        let other = json!({"kind": "CronJob", "spec": {}});
        assert_eq!(as_stored(other.clone()), other);
    }
}
