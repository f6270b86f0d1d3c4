//! `logs` of a cluster: what the pods of a run wrote, as long as the cluster keeps them.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use futures_util::AsyncBufReadExt as _;
use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{Cluster, Inventory, LogOptions};
use crate::kubernetes;

use super::super::error::{CommandError, CommandResult, Exit};
use super::super::output::{copy_raw, talk};
use super::super::{App, logs};
use super::{inventory, meant_run, of_cluster, open};

/// Between two looks at what is still to come.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// # Errors
/// When there is no such run, its pods are gone or have not started, or the cluster fails.
pub async fn run(args: logs::Args, app: &App) -> CommandResult {
    let options = logs::options(&args, app.now())?;
    let cluster = open(app).await?;
    let mut all = inventory(&cluster, app).await?;
    let (run, job) = meant_run(&all, &args.run, app)?;
    let job = job.clone();
    let mut shown: BTreeSet<String> = BTreeSet::new();
    if options.tail.is_some() {
        // The last lines are those of the newest attempt.
        let pods = kubernetes::pods_of(&job, &all.pods);
        let older = pods.split_last().map(|(_, older)| older).unwrap_or_default();
        shown.extend(older.iter().map(|pod| kubernetes::name_of(pod).to_owned()));
    }
    loop {
        let pods = kubernetes::pods_of(&job, &all.pods);
        let fresh = pods
            .iter()
            .find(|pod| !shown.contains(kubernetes::name_of(pod)))
            .copied()
            .cloned();
        match fresh {
            Some(pod) if has_started(&pod) => {
                let name = kubernetes::name_of(&pod).to_owned();
                if !shown.is_empty() {
                    talk(&format!("==> {name} (attempt {}) <==", shown.len()));
                }
                show(&cluster, &name, &options).await?;
                shown.insert(name);
                if args.follow {
                    all = inventory(&cluster, app).await?;
                }
                continue;
            }
            None if !shown.is_empty() && !args.follow => return Ok(Exit::OK),
            Some(_) | None => {}
        }
        let now = kubernetes::run_of(current(&all, &job), &all.pods).unwrap_or_else(|| run.clone());
        if args.follow && now.outcome.is_none() {
            tokio::time::sleep(LOOK_AGAIN).await;
            all = inventory(&cluster, app).await?;
            continue;
        }
        if !shown.is_empty() {
            return Ok(Exit::OK);
        }
        let error = CommandError::failed(format!("there is no output of `{}`", run.id));
        return Err(match now.outcome {
            None => error
                .caused_by(match now.reason.as_str() {
                    "" => String::from("its pod has not started"),
                    why => format!("its pod has not started: {why}"),
                })
                .hint("`logs -f` waits for its start"),
            Some(_) => error
                .caused_by("its pods are gone, or never started; a cluster keeps output no longer than pods"),
        });
    }
}

/// The Job as it is now; as it was when it is gone.
fn current<'a>(all: &'a Inventory, job: &'a Value) -> &'a Value {
    let uid = kubernetes::uid_of(job);
    let found = all.jobs.iter().find(|other| kubernetes::uid_of(other) == uid);
    found.unwrap_or(job)
}

fn has_started(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Running" | "Succeeded" | "Failed")
    )
}

async fn show(cluster: &Cluster, pod: &str, options: &crate::engine::LogOptions) -> Result<(), CommandError> {
    let failed = |error| of_cluster(&format!("read the output of `{pod}`"), &error);
    let wanted = LogOptions {
        follow: options.follow,
        // A time is needed to know where to stop.
        timestamps: options.timestamps || options.until.is_some(),
        since: options.since,
        tail: options.tail,
    };
    let mut output = cluster.logs(pod, &wanted).await.map_err(failed)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = output.read_until(b'\n', &mut line).await;
        let read = read.map_err(|error| {
            CommandError::failed(format!("failed to read the output of `{pod}`")).caused_by(error.to_string())
        })?;
        if read == 0 {
            return Ok(());
        }
        let mut text = &line[..];
        if let Some(until) = options.until {
            let (at, rest) = split_time(text);
            if at.is_some_and(|at| at >= until) {
                return Ok(());
            }
            if !options.timestamps {
                text = rest;
            }
        }
        copy_raw(io::stdout().lock(), text)?;
    }
}

/// The time in front of a line, and the rest.
fn split_time(line: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let Some(blank) = line.iter().position(|byte| *byte == b' ') else {
        return (None, line);
    };
    let at = std::str::from_utf8(&line[..blank])
        .ok()
        .and_then(|text| text.parse().ok());
    match at {
        Some(at) => (Some(at), &line[blank + 1..]),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_split_off() {
        let (at, rest) = split_time(b"2026-11-23T01:30:00.5Z a b\n");
        assert_eq!(at.unwrap().to_string(), "2026-11-23T01:30:00.5Z");
        assert_eq!(rest, b"a b\n");
        assert_eq!(split_time(b"a b\n"), (None, &b"a b\n"[..]));
    }
}
