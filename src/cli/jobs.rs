//! `ls`, `list jobs`: every job that was applied, its state, its last run and its next.
//!
//! Read from the ledger alone: what is declared and not yet applied is shown by `plan`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::ledger::Ledger;
use crate::model::{JobName, JobRecord, Outcome, Run, Slot, Trigger};
use crate::schedule::{self, Fire, Schedule, in_words, until_words};
use crate::wire::{self, Shape as _};

use super::App;
use super::args::{Filter, check_filters, check_words, is_job, matches_filters, matches_label};
use super::error::{CommandError, CommandResult, Exit};
use super::history::labels_of;
use super::inspect::spec_of_job;
use super::output::{Column, ListArgs, Listing, Row, talk, to_json, truncated};
use super::state::of_ledger;
use super::words;

/// List the jobs: state, last run and next time
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Also jobs that left the manifests and still have history
    #[arg(short, long)]
    pub(super) all: bool,

    /// Show the first N alone
    #[arg(short = 'n', long = "number", value_name = "N")]
    pub(super) number: Option<usize>,

    /// Only jobs that match: name=TEXT, job=NAME, project=NAME, state=WORD, outcome=WORD (of the last
    /// run), label=KEY[=VALUE]
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub(super) filter: Vec<Filter>,

    #[command(flatten)]
    pub(super) list: ListArgs,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler ls
  docker-scheduler ls -f project=shop -f state=running
  docker-scheduler ls --format 'table {{.Name}}\t{{.Next}}'";

pub(super) const COLUMNS: &[Column] = &[
    Column {
        heading: "NAME",
        field: "Name",
    },
    Column {
        heading: "TRIGGER",
        field: "Trigger",
    },
    Column {
        heading: "STATE",
        field: "State",
    },
    Column {
        heading: "LAST RUN",
        field: "LastRun",
    },
    Column {
        heading: "EXIT",
        field: "Exit",
    },
    Column {
        heading: "NEXT",
        field: "Next",
    },
];

/// A job of many schedules must not push the other columns off the screen.
const TRIGGER_WIDTH: usize = 40;

pub fn run(args: Args, app: &App) -> CommandResult {
    check_filters(
        &args.filter,
        &["name", "job", "project", "state", "outcome", "label"],
    )?;
    check_words(&args.filter, "state", &STATES)?;
    let outcomes: Vec<&str> = Outcome::ALL
        .map(Outcome::as_str)
        .into_iter()
        .chain([wire::RUNNING])
        .collect();
    check_words(&args.filter, "outcome", &outcomes)?;
    args.list.check(COLUMNS, wire::Job::FIELDS)?;
    let views = match app.existing_ledger()? {
        Some(ledger) => labelled(&ledger, views(&ledger, args.all)?, &args.filter)?,
        None => {
            talk(&format!(
                "nothing has been applied yet for the instance `{}`",
                app.instance()
            ));
            Vec::new()
        }
    };
    listing(&views, &args, app.instance().as_str(), app.now())?.print(&args.list)?;
    Ok(Exit::OK)
}

/// A job, its newest run, and the one that is active.
pub struct View {
    pub record: JobRecord,
    pub newest: Option<Run>,
    pub active: Vec<Run>,
    /// Another attempt at a slot is to come.
    pub retrying: bool,
}

/// Every job of the ledger, in the order of names.
///
/// # Errors
/// When the ledger cannot be read.
pub fn views(ledger: &Ledger, all: bool) -> Result<Vec<View>, CommandError> {
    let failed = |error| of_ledger("read the jobs", &error);
    let snapshot = ledger.snapshot().map_err(failed)?;
    let mut newest: BTreeMap<JobName, Run> = BTreeMap::new();
    let mut active: BTreeMap<JobName, Vec<Run>> = BTreeMap::new();
    let mut retrying = BTreeSet::new();
    for run in snapshot.runs {
        if run.retry_at.is_some() {
            retrying.insert(run.job.clone());
        }
        if run.outcome.is_none() || run.held_until.is_some() {
            active.entry(run.job.clone()).or_default().push(run.clone());
        }
        // Oldest first: the last one stays.
        newest.insert(run.job.clone(), run);
    }
    Ok(snapshot
        .jobs
        .into_values()
        .filter(|record| all || !record.removed)
        .map(|record| View {
            newest: newest.remove(&record.name),
            active: active.remove(&record.name).unwrap_or_default(),
            retrying: retrying.contains(&record.name),
            record,
        })
        .collect())
}

/// Those whose recorded container has the labels that are asked for.
fn labelled(ledger: &Ledger, views: Vec<View>, filters: &[Filter]) -> Result<Vec<View>, CommandError> {
    let labels: Vec<Filter> = filters
        .iter()
        .filter(|filter| filter.key == "label")
        .cloned()
        .collect();
    if labels.is_empty() {
        return Ok(views);
    }
    let mut kept = Vec::new();
    for view in views {
        let spec = spec_of_job(ledger, &view.record, view.newest.as_ref())
            .map_err(|error| of_ledger("read a job's spec", &error))?;
        let found = labels_of(&spec.unwrap_or_default());
        if matches_filters(&labels, |_, value| matches_label(&found, value)) {
            kept.push(view);
        }
    }
    Ok(kept)
}

pub(super) fn listing(
    views: &[View],
    args: &Args,
    instance: &str,
    now: Timestamp,
) -> Result<Listing, CommandError> {
    let rows = views
        .iter()
        .map(|view| (view, shape(view, now)))
        .filter(|(_, shape)| matches_filters(&args.filter, |key, value| matches(shape, key, value)))
        .take(args.number.unwrap_or(usize::MAX))
        .map(|(view, shape)| row(view, &shape, args.list.no_trunc, instance, now))
        .collect::<Result<_, _>>()?;
    Ok(Listing {
        columns: COLUMNS,
        fields: wire::Job::FIELDS,
        spare: &["EXIT", "TRIGGER"],
        rows,
    })
}

fn matches(job: &wire::Job, key: &str, value: &str) -> bool {
    match key {
        // The ledger was asked before.
        "label" => true,
        "name" => job.job.to_string().contains(value),
        "job" => is_job(&job.job, value),
        "project" => job.project == value,
        "state" => job.state == value,
        "outcome" => job.last_outcome == Some(value),
        _ => false,
    }
}

/// The job as lists and `inspect` show it.
pub fn shape(view: &View, now: Timestamp) -> wire::Job {
    let View { record, newest, .. } = view;
    wire::Job {
        v: wire::VERSION,
        job: record.name.clone(),
        project: record.name.project().to_owned(),
        trigger: trigger_words(record),
        timezone: timezone(record),
        state: state(view, now),
        paused: record.pause_at(now).is_some(),
        suspended: record.policy.suspend,
        last_outcome: newest.as_ref().map(|run| wire::outcome_word(run.outcome)),
        last_exit_code: newest.as_ref().and_then(|run| run.exit_code),
        next_slot: next_fire(record, now).map(|fire| fire.slot),
        armed: is_armed(record),
        source: record.origin.place(),
        commit: record.origin.commit.clone(),
    }
}

/// What [`state`] may say.
const STATES: [&str; 11] = [
    "running",
    "unknown",
    "removed",
    "paused",
    "suspended",
    "retrying",
    "queued",
    "not-armed",
    "armed",
    "manual",
    "waiting",
];

/// One word for what a person has to know first.
fn state(view: &View, now: Timestamp) -> &'static str {
    let record = &view.record;
    if view.active.iter().any(|run| run.outcome.is_none()) {
        "running"
    } else if view.active.iter().any(|run| run.holds_job(now)) {
        "unknown"
    } else if record.removed {
        "removed"
    } else if record.pause_at(now).is_some() {
        "paused"
    } else if record.policy.suspend {
        "suspended"
    } else if view.retrying {
        "retrying"
    } else if !record.held.is_empty() {
        "queued"
    } else if record.arm_failure.is_some() {
        "not-armed"
    } else if is_armed(record) {
        "armed"
    } else if record.triggers.schedule.is_empty() {
        "manual"
    } else {
        "waiting"
    }
}

fn is_armed(record: &JobRecord) -> bool {
    record.armed.values().any(|armed| armed.container.is_some())
}

/// A suspended job has no coming slots, nor has one that is no longer declared.
fn next_fire(record: &JobRecord, now: Timestamp) -> Option<Fire> {
    if record.policy.suspend || record.removed {
        return None;
    }
    let schedule = Schedule::compile(&record.triggers.schedule).ok()?;
    let resumed = match record.pause_at(now) {
        Some(pause) => pause.until?,
        None => now,
    };
    schedule.next_after(resumed)
}

fn trigger_words(record: &JobRecord) -> String {
    let words: Vec<String> = record
        .triggers
        .schedule
        .iter()
        .filter_map(|trigger| match trigger {
            Trigger::Except { .. } => None,
            Trigger::Cron { expression, .. } => Some(expression.clone()),
            Trigger::Every { period } => {
                let seconds = i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
                let end = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
                Some(format!("every {}", until_words(Timestamp::UNIX_EPOCH, end)))
            }
        })
        .collect();
    if words.is_empty() {
        String::from("manual")
    } else {
        words.join(", ")
    }
}

/// The zone of its first schedule that has one.
pub fn timezone(record: &JobRecord) -> Option<String> {
    record.triggers.schedule.iter().find_map(|trigger| match trigger {
        Trigger::Cron { timezone, .. } => Some(timezone.clone()),
        Trigger::Every { .. } | Trigger::Except { .. } => None,
    })
}

/// When a slot starts: later than its time where jitter spreads starts.
fn due_at(record: &JobRecord, instance: &str, slot: Slot) -> Timestamp {
    let Some(jitter) = record.policy.jitter else {
        return slot.at();
    };
    let schedule = Schedule::compile(&record.triggers.schedule).ok();
    let following = schedule.and_then(|schedule| schedule.next_after(slot.at()));
    let following = following.map(|fire| fire.slot);
    let delay = schedule::jitter(instance, &record.name.to_string(), slot, jitter, following);
    slot.at().saturating_add(delay).unwrap_or(Timestamp::MAX)
}

fn row(
    view: &View,
    job: &wire::Job,
    no_trunc: bool,
    instance: &str,
    now: Timestamp,
) -> Result<Row, CommandError> {
    let last = view.newest.as_ref().map_or_else(String::new, |run| {
        let at = run.finished_at.or(run.started_at).unwrap_or(run.due_at);
        format!(
            "{} {}",
            wire::outcome_word(run.outcome),
            words::ago_within(at, now)
        )
    });
    let trigger = if no_trunc {
        job.trigger.clone()
    } else {
        truncated(&job.trigger, TRIGGER_WIDTH)
    };
    Ok(Row {
        key: job.job.to_string(),
        cells: vec![
            job.job.to_string(),
            trigger,
            job.state.to_owned(),
            last,
            job.last_exit_code
                .map_or_else(String::new, |code| code.to_string()),
            next_fire(&view.record, now).map_or_else(String::new, |fire| {
                let at = due_at(&view.record, instance, fire.slot);
                format!("{}, {}", in_words(now, at), fire.moment_near(at, now))
            }),
        ],
        json: to_json(job)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture;
    use super::*;
    use crate::model::{ArmFailure, ArmedRecord, Origin, Pause, Policy, Triggers};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn view(trigger: Option<Trigger>) -> View {
        let name: JobName = "shop.backup".parse().unwrap();
        View {
            record: JobRecord {
                name,
                origin: Origin {
                    file: "backup.yaml".into(),
                    line: 4,
                    commit: None,
                },
                canonical: String::new(),
                triggers: Triggers {
                    manual: true,
                    schedule: trigger.into_iter().collect(),
                },
                policy: Policy::default(),
                spec_hash: String::new(),
                baseline: at("2026-11-22T00:00:00Z"),
                settled: at("2026-11-22T00:00:00Z"),
                recorded_ahead: Default::default(),
                held: Vec::new(),
                pauses: Vec::new(),
                arm_failure: None,
                armed: BTreeMap::new(),
                removed: false,
            },
            newest: None,
            active: Vec::new(),
            retrying: false,
        }
    }

    fn cron() -> Option<Trigger> {
        Some(Trigger::Cron {
            expression: "30 2 * * *".into(),
            timezone: "Europe/Berlin".into(),
            day_match: None,
        })
    }

    fn run(outcome: Option<Outcome>) -> Run {
        Run {
            slot: None,
            outcome,
            exit_code: Some(3),
            started_at: Some(at("2026-11-22T01:30:00Z")),
            finished_at: Some(at("2026-11-22T01:31:00Z")),
            ..fixture::run()
        }
    }

    fn cells(view: View) -> Vec<String> {
        let args = Args {
            all: true,
            number: None,
            filter: Vec::new(),
            list: ListArgs::default(),
        };
        let mut rows = listing(&[view], &args, "default", at("2026-11-22T22:00:00Z"))
            .unwrap()
            .rows;
        rows.remove(0).cells
    }

    #[test]
    fn a_job_shows_its_last_run_and_its_next() {
        let mut job = view(cron());
        job.newest = Some(run(Some(Outcome::Failed)));
        assert_eq!(
            cells(job),
            [
                "shop.backup",
                "30 2 * * *",
                "waiting",
                "failed 20 hours ago",
                "3",
                "in 3h 30m, Mon 02:30 CET"
            ]
        );
    }

    #[test]
    fn jitter_moves_what_comes_next_as_it_moves_the_start() {
        let mut job = view(cron());
        job.record.policy.jitter = Some(Duration::from_secs(3600));
        let slot: Slot = "2026-11-23T01:30:00Z".parse().unwrap();
        let due = due_at(&job.record, "default", slot);
        assert!(due > slot.at() + Duration::from_secs(60), "{due}");
        let shown = cells(job)[5].clone();
        let clock = due.to_zoned(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
        let clock = clock.strftime("%a %H:%M:%S CET").to_string();
        assert!(shown.ends_with(&clock), "{shown} is not {clock}");
    }

    #[test]
    fn the_state_is_what_a_person_has_to_know_first() {
        let state_of = |change: &dyn Fn(&mut View)| {
            let mut job = view(cron());
            change(&mut job);
            let state = cells(job)[2].clone();
            assert!(STATES.contains(&state.as_str()), "{state}");
            state
        };
        let arm = |job: &mut View| {
            job.record.armed.insert(
                "shop.backup.20261123T013000Z".parse().unwrap(),
                ArmedRecord {
                    nonce: "n".into(),
                    slot: None,
                    container: Some("abc".into()),
                    spec_hash: String::new(),
                    image_id: String::new(),
                },
            );
        };
        assert_eq!(state_of(&arm), "armed");
        assert_eq!(
            state_of(&|job| {
                arm(job);
                job.active.push(run(None));
            }),
            "running"
        );
        assert_eq!(state_of(&|job| job.record.policy.suspend = true), "suspended");
        assert_eq!(state_of(&|job| job.record.removed = true), "removed");
        assert_eq!(state_of(&|job| job.retrying = true), "retrying");
        let pause = |until: &str| {
            vec![Pause {
                from: at("2026-11-22T00:00:00Z"),
                until: Some(at(until)),
                by: "ann".into(),
            }]
        };
        assert_eq!(
            state_of(&|job| job.record.pauses = pause("2026-11-23T00:00:00Z")),
            "paused"
        );
        assert_eq!(
            state_of(&|job| job.record.pauses = pause("2026-11-22T12:00:00Z")),
            "waiting"
        );
        assert_eq!(
            state_of(&|job| {
                let mut held = run(Some(Outcome::Unknown));
                held.held_until = Some(at("2026-11-22T23:00:00Z"));
                job.active.push(held);
            }),
            "unknown"
        );
        assert_eq!(
            state_of(&|job| {
                job.record.arm_failure = Some(ArmFailure {
                    at: at("2026-11-22T00:00:00Z"),
                    retry_at: at("2026-11-22T00:00:00Z"),
                    attempts: 1,
                    detail: "no such network".into(),
                    spec_hash: String::new(),
                });
            }),
            "not-armed"
        );
    }

    #[test]
    fn a_job_without_schedule_is_manual() {
        assert_eq!(cells(view(None))[1..3], ["manual", "manual"]);
        let every = Trigger::Every {
            period: Duration::from_secs(300),
        };
        assert_eq!(cells(view(Some(every)))[1], "every 5m");
    }
}
