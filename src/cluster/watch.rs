//! The loop: whenever the files or the cluster change, the cluster is brought in line again.
//!
//! Nothing is remembered between two rounds but what was said: each begins by looking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use super::client::{Cluster, ClusterError, Kind};
use super::{Report, carry_out, look};
use crate::kubernetes::{self, Conflicts, Contents, Plan, SELECTOR};
use crate::model::{Desired, Instance, JobName};

/// Changes that come together are answered together.
const SETTLE: Duration = Duration::from_millis(300);
/// Even without a sign of a change somebody looks.
const RESCAN: Duration = Duration::from_secs(30);
/// After something could not be done.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two signs of life.
const IDLE: Duration = Duration::from_secs(5);
/// Between two attempts at a stream of changes.
const RECONNECT: Duration = Duration::from_secs(2);

/// What woke the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Files or cluster.
    Changed,
    Terminate(&'static str),
}

/// What is declared now.
#[derive(Debug)]
pub struct Loaded {
    pub desired: Desired,
    /// Declared jobs that have no form there.
    pub left_alone: BTreeSet<JobName>,
    /// What lies in the files of secrets and configs.
    pub contents: Contents,
}

/// Reads the manifests; the argument is which jobs the cluster holds.
pub type Load = Box<dyn FnMut(&BTreeSet<JobName>) -> Loaded + Send>;

/// What is told of a round.
#[derive(Debug)]
pub enum Round<'a> {
    Planned {
        plan: &'a Plan,
        desired: &'a Desired,
    },
    Done(&'a [Report]),
    /// The cluster could not be looked at.
    Failed(&'a ClusterError),
    /// Nothing to do, and nothing hangs: comes every few seconds.
    Idle,
}

/// Goes on until it is told to end.
pub async fn watch(
    cluster: &Cluster,
    instance: &Instance,
    conflicts: Conflicts,
    mut load: Load,
    mut woken: mpsc::UnboundedReceiver<Woken>,
    now: impl Fn() -> Timestamp,
    mut report: impl FnMut(Round<'_>),
) {
    let (changed, mut cluster_changed) = mpsc::unbounded_channel();
    let listener = tokio::spawn(listen(cluster.clone(), changed));
    loop {
        let is_well = round(cluster, instance, conflicts, &mut load, &now, &mut report).await;
        let pause = tokio::time::sleep(if is_well { RESCAN } else { AGAIN });
        tokio::pin!(pause);
        let ends = loop {
            tokio::select! {
                () = &mut pause => break false,
                _ = cluster_changed.recv() => break false,
                wake = woken.recv() => break !matches!(wake, Some(Woken::Changed)),
                () = tokio::time::sleep(IDLE) => report(Round::Idle),
            }
        };
        if ends {
            break;
        }
        tokio::time::sleep(SETTLE).await;
        while cluster_changed.try_recv().is_ok() {}
        let mut told_to_end = false;
        while let Ok(wake) = woken.try_recv() {
            told_to_end |= matches!(wake, Woken::Terminate(_));
        }
        if told_to_end {
            break;
        }
    }
    listener.abort();
}

/// One round; whether all of it could be done.
async fn round(
    cluster: &Cluster,
    instance: &Instance,
    conflicts: Conflicts,
    load: &mut Load,
    now: &impl Fn() -> Timestamp,
    report: &mut impl FnMut(Round<'_>),
) -> bool {
    let known = match known(cluster, instance).await {
        Ok(known) => known,
        Err(error) => {
            report(Round::Failed(&error));
            return false;
        }
    };
    let Loaded {
        desired,
        left_alone,
        contents,
    } = load(&known);
    let seen = match look(cluster, &desired, &left_alone, &contents, instance, conflicts).await {
        Ok(seen) => seen,
        Err(error) => {
            report(Round::Failed(&error));
            return false;
        }
    };
    let plan = kubernetes::plan(&desired, &seen, instance, now());
    report(Round::Planned {
        plan: &plan,
        desired: &desired,
    });
    let reports = carry_out(cluster, &plan).await;
    report(Round::Done(&reports));
    reports.iter().all(|report| report.failed.is_none())
}

/// The jobs that the cluster holds.
async fn known(cluster: &Cluster, instance: &Instance) -> Result<BTreeSet<JobName>, ClusterError> {
    let objects = cluster.list(Kind::CronJob, SELECTOR).await?;
    Ok(objects
        .iter()
        .filter(|object| kubernetes::is_ours(object, instance))
        .filter_map(kubernetes::job_of)
        .collect())
}

/// Tells of every change of a CronJob that is more than its controller's bookkeeping.
async fn listen(cluster: Cluster, changed: mpsc::UnboundedSender<()>) {
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    loop {
        if let Ok(mut changes) = cluster.changes(Kind::CronJob, SELECTOR).await {
            // What happened since the last stream is not told by this one.
            if changed.send(()).is_err() {
                return;
            }
            while let Some(Ok((object, is_there))) = changes.next().await {
                let name = kubernetes::name_of(&object).to_owned();
                let stripped = kubernetes::stripped(&object);
                let news = if is_there {
                    seen.insert(name, stripped.clone()) != Some(stripped)
                } else {
                    seen.remove(&name);
                    true
                };
                if news && changed.send(()).is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}
