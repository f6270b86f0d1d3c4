//! What `doctor` looks at in a cluster: what fails becomes words, never an end.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt as _};

use crate::clock::{self, Clock as _, SystemClock};
use crate::cluster::{self, Cluster, ClusterError, Kind};
use crate::doctor::{self, Objects, Right};
use crate::kubernetes::{self, RIGHTS, SELECTOR};
use crate::model::{Instance, JobName};

use super::super::App;
use super::super::error::CommandError;
use super::{of_cluster, open};

/// Questions under way at once.
const AT_ONCE: usize = 8;

/// One look. `declared` are the jobs of the manifests, where these have no errors.
///
/// # Errors
/// When no cluster is named, or it does not answer.
pub async fn look(app: &App, declared: Option<&BTreeSet<JobName>>) -> Result<doctor::Cluster, CommandError> {
    let cluster = open(app).await?;
    let version = cluster.version().await;
    let version = version.map_err(|error| of_cluster("ask the cluster", &error))?;
    let words = |error: ClusterError| error.to_string();
    let asked = SystemClock.now();
    let time = cluster.time().await.ok().flatten();
    let after = SystemClock.now();
    Ok(doctor::Cluster {
        host: cluster.host().to_owned(),
        chosen_by: cluster.source().to_owned(),
        version,
        batch: cluster.served("batch").await.map_err(words),
        namespace: cluster.namespace().to_owned(),
        namespace_found: cluster.has_namespace().await.map_err(words),
        rights: rights(&cluster).await,
        clock_ahead: time.map(|theirs| clock::ahead(theirs, asked, after)),
        objects: objects(&cluster, &app.instance(), declared).await.map_err(words),
    })
}

async fn rights(cluster: &Cluster) -> Vec<Right> {
    let questions = RIGHTS
        .iter()
        .flat_map(|rights| rights.verbs.iter().map(move |verb| (rights, *verb)));
    stream::iter(questions.map(async |(rights, verb)| Right {
        what: match rights.part {
            "" => format!("{verb} {}", rights.resource),
            part => format!("{verb} {}/{part}", rights.resource),
        },
        for_what: rights.for_what,
        is_optional: rights.is_optional,
        may: cluster.may(rights, verb).await.map_err(|error| error.to_string()),
    }))
    .buffered(AT_ONCE)
    .collect()
    .await
}

async fn objects(
    cluster: &Cluster,
    instance: &Instance,
    declared: Option<&BTreeSet<JobName>>,
) -> Result<Objects, ClusterError> {
    let cron_jobs = cluster.list(Kind::CronJob, SELECTOR).await?;
    let data = cluster::marked_data(cluster).await?;
    let mut found = Objects::default();
    for object in cron_jobs.iter().chain(&data) {
        let words = kubernetes::object_words(object);
        if !kubernetes::is_ours(object, instance) {
            // Another instance looks after its own.
            if kubernetes::instance_of(object).is_none() {
                found.strays.push((words, kubernetes::whose(object)));
            }
            continue;
        }
        let job = kubernetes::job_of(object);
        if declared.is_some_and(|declared| job.as_ref().is_some_and(|job| !declared.contains(job))) {
            found.undeclared.push(words);
        }
        if kubernetes::kind_of(object) == "CronJob" {
            found.cron_jobs += 1;
            let by = kubernetes::paused_by(object);
            let job = job.map(|job| job.to_string()).unwrap_or_default();
            found.paused.extend(by.map(|by| (job, by)));
        }
    }
    // A job has as many CronJobs as schedules.
    found.paused.dedup();
    Ok(found)
}
