//! Checks of a Kubernetes cluster: whether it answers, what it lets through, and what lies there.

use jiff::SignedDuration;

use super::engine::{SKEW, away};
use super::{Case, Cluster, Engine, Finding, Objects, Right, counted};
use crate::schedule::until_words;

/// The first whose CronJobs have time zones.
const OLDEST: (u32, u32) = (1, 27);

fn cluster(case: &Case) -> Option<&Cluster> {
    match &case.engine {
        Engine::Cluster(cluster) => Some(cluster),
        Engine::Answers(_) | Engine::Away { .. } => None,
    }
}

pub(super) fn engine(case: &Case) -> Vec<Finding> {
    match &case.engine {
        Engine::Cluster(cluster) => {
            let Cluster {
                host,
                chosen_by,
                version,
                ..
            } = &**cluster;
            vec![Finding::ok(format!(
                "kubernetes {version} at `{host}` ({chosen_by})"
            ))]
        }
        Engine::Answers(_) | Engine::Away { .. } => super::engine::engine(case),
    }
}

pub(super) fn api(case: &Case) -> Vec<Finding> {
    let Some(cluster) = cluster(case) else {
        return away();
    };
    let mut found = Vec::new();
    match &cluster.batch {
        Ok(versions) if versions.iter().any(|version| version == "v1") => {}
        Ok(_) => found.push(
            Finding::error("it does not serve CronJobs of batch/v1")
                .hint("docker-scheduler needs Kubernetes 1.27 or later"),
        ),
        Err(why) => found.push(Finding::unknown(format!("it does not say what it serves: {why}"))),
    }
    let version = &cluster.version;
    match numbers(version) {
        Some(numbers) if numbers < OLDEST => found.push(
            Finding::error(format!(
                "{version} is older than 1.27, whose CronJobs have no time zones"
            ))
            .hint("docker-scheduler needs Kubernetes 1.27 or later"),
        ),
        Some(_) => {}
        None => found.push(
            Finding::warning(format!("it says its version is `{version}`, which is none"))
                .hint("check what answers there: `kubectl version` asks the same address"),
        ),
    }
    if found.is_empty() {
        found.push(Finding::ok("CronJobs of batch/v1, with time zones"));
    }
    found
}

/// `v1.36.4`, `v1.27.3+k3s1`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn namespace(case: &Case) -> Vec<Finding> {
    let Some(Cluster {
        namespace,
        namespace_found,
        ..
    }) = cluster(case)
    else {
        return away();
    };
    vec![match namespace_found {
        Ok(true) => Finding::ok(format!("`{namespace}`")),
        Ok(false) => Finding::error(format!("there is no namespace `{namespace}`")).hint(format!(
            "`kubectl create namespace {namespace}`, or name another with `--namespace`"
        )),
        Err(why) => Finding::unknown(format!("nobody says whether `{namespace}` is there: {why}")),
    }]
}

pub(super) fn permissions(case: &Case) -> Vec<Finding> {
    let Some(cluster) = cluster(case) else {
        return away();
    };
    let mut found: Vec<Finding> = Vec::new();
    for right in &cluster.rights {
        let Right {
            what,
            for_what,
            is_optional,
            may,
        } = right;
        match may {
            Ok(true) => {}
            Ok(false) if *is_optional => found.push(
                Finding::note(format!("may not {what}, for {for_what}"))
                    .hint("examples/kubernetes/rbac.yaml grants it; without such jobs it can be left out"),
            ),
            Ok(false) => found.push(
                Finding::error(format!("may not {what}, for {for_what}"))
                    .hint("examples/kubernetes/rbac.yaml grants what is needed, and no more"),
            ),
            Err(why) => {
                found.push(Finding::unknown(format!(
                    "nobody says whether it may {what}: {why}"
                )));
                // The next ones would say the same.
                break;
            }
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(format!(
            "everything that is needed is allowed in `{}`",
            cluster.namespace
        )));
    }
    found
}

pub(super) fn clock(case: &Case) -> Vec<Finding> {
    let Some(cluster) = cluster(case) else {
        return away();
    };
    vec![match cluster.clock_ahead {
        None => Finding::unknown("the cluster does not say what time it is"),
        Some(ahead) if ahead.abs() > SKEW => skewed(case, ahead),
        Some(_) => Finding::ok("this machine and the cluster agree within 2s"),
    }]
}

fn skewed(case: &Case, ahead: SignedDuration) -> Finding {
    let direction = if ahead.is_positive() { "ahead of" } else { "behind" };
    let there = case.now.saturating_add(ahead).unwrap_or(case.now);
    Finding::warning(format!(
        "the cluster's clock is {} {direction} this machine's",
        until_words(case.now, there)
    ))
    .hint(
        "jobs start by the cluster's clock, and `plan` and `next` reckon by this machine's: set both by NTP",
    )
}

fn seen(case: &Case) -> Result<&Objects, Vec<Finding>> {
    let Some(cluster) = cluster(case) else {
        return Err(away());
    };
    let objects = cluster.objects.as_ref();
    objects.map_err(|why| vec![Finding::unknown(format!("its objects cannot be listed: {why}"))])
}

pub(super) fn objects(case: &Case) -> Vec<Finding> {
    let objects = match seen(case) {
        Ok(objects) => objects,
        Err(unknown) => return unknown,
    };
    let mut found = Vec::new();
    for (object, why) in &objects.strays {
        found.push(
            Finding::note(format!("{object} carries our mark, and is left alone: {why}")).hint(
                "what `export` wrote belongs to whoever applies it: with `--instance NAME` it would be ours",
            ),
        );
    }
    for object in &objects.undeclared {
        found.push(
            Finding::warning(format!("{object} is ours, and no manifest declares its job")).hint(
                "`apply` removes it, `plan` shows it first; another directory has an `--instance` of its own",
            ),
        );
    }
    if found.is_empty() {
        found.push(Finding::ok(counted(objects.cron_jobs, "CronJob")));
    }
    found
}

pub(super) fn jobs(case: &Case) -> Vec<Finding> {
    let objects = match seen(case) {
        Ok(objects) => objects,
        Err(unknown) => return unknown,
    };
    let paused = objects.paused.iter().map(|(job, by)| {
        Finding::note(format!("`{job}` is suspended by {by}, and starts at no time"))
            .hint(format!("`docker-scheduler resume {job}` ends it"))
    });
    let mut found: Vec<Finding> = paused.collect();
    if found.is_empty() {
        found.push(Finding::ok("none is suspended beside its manifest"));
    }
    found
}
