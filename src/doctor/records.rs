//! Checks of what docker-scheduler keeps: its folder, its ledger, its manifests and jobs.

use std::time::Duration;

use jiff::SignedDuration;

use super::engine::answers;
use super::{Case, FileSystem, Finding, Heartbeat, Ledger, LedgerCase, ManifestsFound, StateFound, counted};
use crate::schedule::until_words;

/// A create, an image's layer or the ledger's own journal may need that much at once.
const LITTLE: u64 = 1 << 30;
/// Below it writes fail any moment.
const NONE_LEFT: u64 = 64 << 20;
/// Every container takes a few hundred.
const FEW_FILES: u64 = 10_000;

/// A crontab that calls `apply` each minute leaves shorter pauses; a longer one misses slots.
const UNWATCHED: SignedDuration = SignedDuration::from_mins(10);
/// As `health` has it.
const STUCK: Duration = Duration::from_mins(2);

pub(super) fn disk(case: &Case) -> Vec<Finding> {
    let mut found = Vec::new();
    for disk in &case.disks {
        let megabytes = disk.free_bytes >> 20;
        let what = format!(
            "{megabytes} MiB free where {} writes (`{}`)",
            disk.whose,
            disk.path.display()
        );
        let hint = "`docker system df` and `docker image prune` find space of the engine; history and logs of old runs go as `history:` of their jobs says";
        found.push(if disk.free_bytes < NONE_LEFT {
            Finding::error(what).hint(hint)
        } else if disk.free_bytes < LITTLE {
            Finding::warning(what).hint(hint)
        } else {
            Finding::ok(what)
        });
        if let Some(files) = disk.free_files.filter(|&files| files < FEW_FILES) {
            found.push(
                Finding::warning(format!(
                    "only {files} inodes are free where {} writes (`{}`)",
                    disk.whose,
                    disk.path.display()
                ))
                .hint("a disk without inodes is as full as one without space: `df -i`"),
            );
        }
    }
    if found.is_empty() {
        found.push(Finding::unknown("no disk could be looked at"));
    }
    found
}

pub(super) fn state(case: &Case) -> Vec<Finding> {
    let Some(path) = &case.state.path else {
        return vec![
            Finding::error("there is no place for the ledger: no home directory").hint("set `--state DIR`"),
        ];
    };
    let path = format!("`{}`", path.display());
    let mut found = vec![match &case.state.found {
        StateFound::Absent => Finding::ok(format!("{path} will be made by the first `apply`")),
        StateFound::CannotBeMade(why) => Finding::error(format!("{path} cannot be made: {why}"))
            .hint("run docker-scheduler as a user who may, or set `--state DIR`"),
        StateFound::Unreadable(why) => Finding::error(format!("{path} cannot be looked at: {why}"))
            .hint("it belongs to another user: run this as that user, or set `--state DIR`"),
        StateFound::There { writable: false, .. } => Finding::error(format!("{path} cannot be written"))
            .hint("it belongs to another user, or its file system is read-only: run this as that user, or set `--state DIR`"),
        StateFound::There { mode, .. } if mode & 0o077 != 0 => Finding::warning(format!(
            "{path} can be read by others (mode {:o})",
            mode & 0o777
        ))
        .hint("the next `apply` or `watch` closes it; until then others can read the output of runs"),
        StateFound::There { .. } => Finding::ok(path.clone()),
    }];
    match case.state.file_system {
        FileSystem::Local => {}
        FileSystem::Network => found.push(
            Finding::warning(format!("{path} lies on a network or shared file system"))
                .hint("SQLite needs locks and shared memory that not every one of them has: keep the state on a disk of this machine"),
        ),
        FileSystem::Memory => found.push(
            Finding::warning(format!("{path} lies in memory and is lost with the machine"))
                .hint("without its ledger a scheduler starts anew, and finds its containers owned by another: keep it on a disk"),
        ),
        FileSystem::ContainerLayer => found.push(
            Finding::warning(format!("{path} lies in this container's own layer and is lost with it"))
                .hint("mount a volume there: without its ledger a scheduler finds its containers owned by another"),
        ),
    }
    found
}

fn open(case: &Case) -> Option<&Ledger> {
    match &case.ledger {
        LedgerCase::Open(ledger) => Some(ledger),
        _ => None,
    }
}

/// What a check says while there is no ledger to read.
fn without(case: &Case) -> Vec<Finding> {
    vec![match &case.ledger {
        LedgerCase::Absent => Finding::ok(format!(
            "nothing has been applied yet for the instance `{}`",
            case.instance
        )),
        _ => Finding::unknown("the ledger cannot be read"),
    }]
}

pub(super) fn ledger(case: &Case) -> Vec<Finding> {
    let ledger = match &case.ledger {
        LedgerCase::Open(ledger) => ledger,
        LedgerCase::Absent => return without(case),
        LedgerCase::Foreign(why) => {
            return vec![
                Finding::error(why.clone()).hint(
                    "run this as the user who runs the scheduler, or name another ledger with `--state`",
                ),
            ];
        }
        LedgerCase::Broken(why) => {
            return vec![Finding::error(why.clone()).hint(
                "keep the file for who looks into it, restore a copy, or give it up: move the folder away and `--take-over` with a new one",
            )];
        }
    };
    let found = answers(case).map(|engine| &engine.identity);
    match (&ledger.engine, found) {
        (Some(bound), Some(found)) if bound != found => vec![
            Finding::error(format!(
                "the ledger belongs to another engine (`{bound}`); this one is `{found}`"
            ))
            .hint("two engines need two instances: `--instance NAME`; if the engine was set up anew, `--take-over`"),
        ],
        _ => vec![Finding::ok(format!(
            "{} of instance `{}`",
            counted(ledger.jobs, "job"),
            case.instance
        ))],
    }
}

pub(super) fn instance(case: &Case) -> Vec<Finding> {
    let Some(engine) = answers(case) else {
        return vec![Finding::unknown("the engine does not answer")];
    };
    let name = &case.instance;
    if engine.fleet.is_some() {
        return vec![Finding::ok(format!(
            "any number of schedulers share the instance `{name}`: the names of the services are the lock"
        ))];
    }
    let ours = match &case.ledger {
        LedgerCase::Open(ledger) => Some(ledger.id.as_str()),
        LedgerCase::Absent => None,
        _ => return without(case),
    };
    vec![match (&engine.lock, ours) {
        (None, _) => Finding::ok(format!("nobody holds the instance `{name}` on this engine")),
        (Some(holder), Some(ours)) if holder == ours => {
            Finding::ok(format!("this ledger holds the instance `{name}`"))
        }
        (Some(holder), _) => Finding::error(format!(
            "the instance `{name}` on this engine belongs to another ledger: {holder}"
        ))
        .hint("two ledgers of one instance would run jobs twice: use the other ledger (`--state`), another instance (`--instance NAME`), or end the other scheduler and `--take-over`"),
    }]
}

pub(super) fn watch(case: &Case) -> Vec<Finding> {
    let Some(ledger) = open(case) else {
        return without(case);
    };
    if let Some(who) = &ledger.watched_by {
        return vec![watched(case, who, ledger.heartbeat.as_ref())];
    }
    let advice = "run `docker-scheduler watch` as a service, or `apply` from cron each minute";
    let Some(last) = ledger.last_alive else {
        return vec![Finding::warning("nobody watches, and nobody ever has").hint(advice)];
    };
    let ago = until_words(last, case.now.max(last));
    if ledger.jobs == 0 || case.now.duration_since(last) < UNWATCHED {
        return vec![Finding::ok(format!(
            "no `watch` now; a scheduler looked {ago} ago"
        ))];
    }
    vec![Finding::warning(format!("nobody watches; a scheduler last looked {ago} ago")).hint(advice)]
}

fn watched(case: &Case, who: &str, heartbeat: Option<&Heartbeat>) -> Finding {
    let Some(heartbeat) = heartbeat else {
        return Finding::ok(format!("{who} watches; it has just been started"));
    };
    let silent = match heartbeat.age {
        Some(age) if age <= STUCK => None,
        Some(age) => Some(format!("for {} seconds", age.as_secs())),
        None => Some("since the machine was booted".to_owned()),
    };
    match (silent, &heartbeat.trouble) {
        (Some(silent), _) => Finding::error(format!("{who} watches, and has not stirred {silent}"))
            .hint("end it and start it again: runs that are under way go on. The systemd unit's watchdog does that by itself"),
        (None, Some((since, why))) => Finding::error(format!(
            "{who} watches, and has started nothing for {}: {why}",
            until_words(*since, case.now.max(*since))
        ))
        .hint("it goes on by itself once that is mended; slots that pass meanwhile end as `missed_fires` says"),
        (None, None) => Finding::ok(format!("{who} watches")),
    }
}

pub(super) fn manifests(case: &Case) -> Vec<Finding> {
    let dir = format!("`{}`", case.manifests.dir.display());
    let check = format!(
        "`docker-scheduler validate {}` shows each with its line",
        case.manifests.dir.display()
    );
    let mut found = vec![match &case.manifests.found {
        ManifestsFound::Missing if open(case).is_some_and(|ledger| ledger.jobs > 0) => Finding::error(
            format!("{dir} does not exist"),
        )
        .hint(
            "what was declared last stays in force while it is gone; name another directory if it has moved",
        ),
        ManifestsFound::Missing => Finding::note(format!("{dir} does not exist"))
            .hint("`docker-scheduler init` writes a first manifest; or name the directory of yours"),
        ManifestsFound::Unreadable(why) => Finding::error(why.clone()),
        ManifestsFound::Read { files: 0, .. } => {
            Finding::note(format!("{dir} holds no manifest (*.yaml, *.yml)"))
        }
        ManifestsFound::Read {
            files, jobs, errors, ..
        } if *errors > 0 => Finding::error(format!(
            "{dir}: {} in {} with {}",
            counted(*errors, "error"),
            counted(*files, "file"),
            counted(*jobs, "good job")
        ))
        .hint(check),
        ManifestsFound::Read {
            files,
            jobs,
            warnings,
            ..
        } => {
            let what = format!("{dir}: {} in {}", counted(*jobs, "job"), counted(*files, "file"));
            match warnings {
                0 => Finding::ok(what),
                count => Finding::note(format!("{what}, {}", counted(*count, "warning"))).hint(check),
            }
        }
    }];
    if case.manifests.file_system == FileSystem::Network {
        found.push(
            Finding::note(format!("{dir} lies on a network or shared file system")).hint(
                "changes there may be noticed late: `watch` looks every 30 s beside what the system tells it",
            ),
        );
    }
    found
}

pub(super) fn jobs(case: &Case) -> Vec<Finding> {
    let Some(ledger) = open(case) else {
        return without(case);
    };
    let mut found: Vec<Finding> = ledger
        .unarmed
        .iter()
        .map(|job| {
            let since = until_words(job.since, case.now.max(job.since));
            let tries = match job.attempts {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            };
            Finding::error(format!(
                "`{}` cannot be armed (tried {tries}, last {since} ago): {}",
                job.job, job.why
            ))
        })
        .collect();
    found.extend(ledger.unknown_runs.iter().map(|run| {
        Finding::warning(format!(
            "nobody knows how the run `{run}` ended, and it holds its job"
        ))
        .hint(format!("look at what it did, then `docker-scheduler ack {run}`"))
    }));
    if found.is_empty() {
        found.push(Finding::ok(format!(
            "{}, none of which waits for a person",
            counted(ledger.jobs, "job")
        )));
    }
    found
}
