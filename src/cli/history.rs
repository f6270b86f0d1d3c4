//! `history`: every slot with its outcome and its reason, also those that never ran.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::ledger::{HistoryQuery, JobFilter, Ledger, LedgerError};
use crate::model::{JobName, JobRecord, Outcome, Run, RunId, Slot};
use crate::schedule::in_words;
use crate::wire::{self, Shape as _};

use super::App;
use super::args::{
    Filter, NameArg, check_filters, check_times, check_words, is_job, matches_filters, matches_label,
    time_or_age,
};
use super::error::{CommandError, CommandResult, Exit};
use super::jobs::timezone;
use super::output::{Column, ListArgs, Listing, Row, quoted, talk, to_json, truncated};
use super::state::of_ledger;
use super::words;

/// List the runs, and the slots that never became one, with their outcomes and reasons
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Accepted as in Docker; all rows are listed unless `-n` says otherwise
    #[arg(short, long)]
    pub(super) all: bool,

    /// Show the N newest alone
    #[arg(short = 'n', long = "number", value_name = "N")]
    pub(super) number: Option<u32>,

    /// Only what was due at or after this time (RFC 3339, or an age such as 24h)
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,

    /// Only what was due before this time
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,

    /// Only rows that match: job=NAME, project=NAME, outcome=WORD (or state=), trigger=WORD,
    /// label=KEY[=VALUE], since=TIME, until=TIME
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub(super) filter: Vec<Filter>,

    #[command(flatten)]
    pub(super) list: ListArgs,

    /// A job [default: all of them]
    #[arg(value_name = "JOB")]
    pub(super) job: Option<NameArg>,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler history shop.backup -n 10
  docker-scheduler history -f outcome=failed -f since=24h --format json";

pub(super) const COLUMNS: &[Column] = &[
    Column {
        heading: "RUN",
        field: "Run",
    },
    Column {
        heading: "OUTCOME",
        field: "Outcome",
    },
    Column {
        heading: "EXIT",
        field: "Exit",
    },
    Column {
        heading: "DUE",
        field: "Due",
    },
    Column {
        heading: "AGE",
        field: "Age",
    },
    Column {
        heading: "LENGTH",
        field: "Length",
    },
    Column {
        heading: "REASON",
        field: "Reason",
    },
];

pub(super) const FILTERS: [&str; 8] = [
    "job", "project", "outcome", "state", "trigger", "label", "since", "until",
];

/// Slots that were missed or skipped since the newest run; a longer series is one row.
const LOOK_BACK: u32 = 1000;

/// Longer reasons (an engine's words) are for `--no-trunc`.
const REASON_WIDTH: usize = 60;

pub fn run(args: Args, app: &App) -> CommandResult {
    check_filters(&args.filter, &FILTERS)?;
    check_times(&args.filter, &["since", "until"], app.now())?;
    check_words(&args.filter, "trigger", &["schedule", "manual", "rerun"])?;
    args.list.check(COLUMNS, wire::Run::FIELDS)?;
    let query = query(&args, app.now())?;
    let mut zones = BTreeMap::new();
    let runs = match app.existing_ledger()? {
        Some(ledger) => {
            zones = zones_of(&ledger)?;
            fetch(&ledger, query, &args, app)?
        }
        None => match &args.job {
            Some(job) => return Err(app.nothing_applied(job)),
            None => {
                talk(&format!(
                    "nothing has been applied yet for the instance `{}`",
                    app.instance()
                ));
                Vec::new()
            }
        },
    };
    listing(&runs, &zones, &args, app.now())?.print(&args.list)?;
    Ok(Exit::OK)
}

pub(super) fn query(args: &Args, now: Timestamp) -> Result<HistoryQuery, CommandError> {
    let time = |text: &Option<String>| {
        text.as_deref()
            .map(|text| time_or_age(text, now).map_err(CommandError::usage))
            .transpose()
    };
    let mut outcome = Vec::new();
    let is_outcome = |filter: &&Filter| matches!(filter.key.as_str(), "outcome" | "state");
    for filter in args.filter.iter().filter(is_outcome) {
        outcome.push(match filter.value.as_str() {
            wire::RUNNING => None,
            word => Some(word.parse::<Outcome>().map_err(|_| {
                CommandError::usage(format!("{} is no outcome", quoted(word))).hint(format!(
                    "outcomes: {}, {}",
                    Outcome::ALL.map(Outcome::as_str).join(", "),
                    wire::RUNNING
                ))
            })?),
        });
    }
    Ok(HistoryQuery {
        job: None,
        outcome,
        since: time(&args.since)?,
        until: time(&args.until)?,
        limit: None,
    })
}

fn fetch(ledger: &Ledger, mut query: HistoryQuery, args: &Args, app: &App) -> Result<Vec<Run>, CommandError> {
    let failed = |error| of_ledger("read the history", &error);
    if let Some(name) = &args.job {
        let known = ledger.jobs().map_err(failed)?;
        query.job = Some(JobFilter::Job(app.resolve_job(name, known.keys())?));
    }
    // The ledger can count only when nothing is sifted afterwards.
    if !args.filter.iter().any(|filter| filter.key != "outcome") {
        query.limit = args.number;
    }
    let mut runs = ledger.history(&query).map_err(failed)?;
    let labels = labels(ledger, &runs, &args.filter).map_err(failed)?;
    let now = app.now();
    runs.retain(|run| {
        matches_filters(&args.filter, |key, value| match key {
            "label" => labels
                .get(&run.id)
                .is_some_and(|labels| matches_label(labels, value)),
            _ => matches(run, key, value, now),
        })
    });
    runs.truncate(args.number.map_or(usize::MAX, |number| number as usize));
    Ok(runs)
}

/// The labels of each run's container, as recorded; asked for only when a filter needs them.
fn labels(
    ledger: &Ledger,
    runs: &[Run],
    filters: &[Filter],
) -> Result<BTreeMap<RunId, BTreeMap<String, String>>, LedgerError> {
    let mut labels = BTreeMap::new();
    if filters.iter().any(|filter| filter.key == "label") {
        for run in runs {
            if let Some(spec) = ledger.spec_of(&run.id)? {
                labels.insert(run.id.clone(), labels_of(&spec));
            }
        }
    }
    Ok(labels)
}

/// The labels of a recorded spec whose values are no secrets; nobody can ask for the others.
#[must_use]
pub fn labels_of(spec: &str) -> BTreeMap<String, String> {
    let spec: serde_json::Value = serde_json::from_str(spec).unwrap_or_default();
    let labels = spec.get("labels").and_then(serde_json::Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

pub(super) fn matches(run: &Run, key: &str, value: &str, now: Timestamp) -> bool {
    match key {
        "job" => is_job(&run.job, value),
        "since" => time_or_age(value, now).is_ok_and(|since| run.due_at >= since),
        "until" => time_or_age(value, now).is_ok_and(|until| run.due_at < until),
        "outcome" | "state" => wire::outcome_word(run.outcome) == value,
        "trigger" => run.trigger.as_str() == value,
        "project" => run.job.project() == value,
        _ => false,
    }
}

/// The zone in which each job's times are said.
fn zones_of(ledger: &Ledger) -> Result<BTreeMap<JobName, TimeZone>, CommandError> {
    let jobs = ledger
        .jobs()
        .map_err(|error| of_ledger("read the jobs", &error))?;
    let zone = |record: &JobRecord| TimeZone::get(&timezone(record)?).ok();
    Ok(jobs
        .into_iter()
        .filter_map(|(name, record)| Some((name, zone(&record)?)))
        .collect())
}

/// In the order of the ledger: newest first.
pub(super) fn listing(
    runs: &[Run],
    zones: &BTreeMap<JobName, TimeZone>,
    args: &Args,
    now: Timestamp,
) -> Result<Listing, CommandError> {
    let rows = runs
        .iter()
        .map(|run| {
            let zone = zones.get(&run.job).cloned().unwrap_or(TimeZone::UTC);
            row(run, &zone, args.list.no_trunc, now)
        })
        .collect::<Result<_, _>>()?;
    Ok(Listing {
        columns: COLUMNS,
        fields: wire::Run::FIELDS,
        spare: &["AGE", "LENGTH", "DUE"],
        rows,
    })
}

fn row(run: &Run, zone: &TimeZone, no_trunc: bool, now: Timestamp) -> Result<Row, CommandError> {
    let length = match (run.started_at, run.finished_at) {
        (Some(from), Some(to)) => words::length(from, to),
        (Some(from), None) if run.outcome.is_none() => words::length(from, now),
        _ => String::new(),
    };
    let reason = if no_trunc {
        run.reason.clone()
    } else {
        truncated(&run.reason, REASON_WIDTH)
    };
    let reason = match run.count {
        Some(count) if count > 1 => format!("{reason} ({count} slots)"),
        _ => reason,
    };
    Ok(Row {
        key: run.id.to_string(),
        cells: vec![
            run.id.to_string(),
            wire::outcome_word(run.outcome).to_owned(),
            run.exit_code.map_or_else(String::new, |code| code.to_string()),
            words::local(run.due_at, zone),
            words::ago(run.due_at, now),
            length,
            reason,
        ],
        json: to_json(&wire::Run::from(run))?,
    })
}

/// What a person means by a name where a run or a job is asked for.
#[derive(Debug)]
pub enum Meant {
    Run(Box<Run>),
    Job(JobName),
    /// A slot whose container waits for its time.
    Coming(Coming),
}

/// A run that is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coming {
    pub id: RunId,
    pub slot: Option<Slot>,
}

impl Coming {
    /// The refusal of a command that needs a run.
    #[must_use]
    pub fn has_not_started(&self, now: Timestamp) -> CommandError {
        let error = CommandError::failed(format!("`{}` has not started yet", self.id));
        match self.slot {
            Some(slot) => error.caused_by(format!("it is due {}", in_words(now, slot.at()))),
            None => error,
        }
    }
}

/// What is meant: a run's name or container ID; a job's name; the beginning of a run's name that no
/// other run has.
///
/// # Errors
/// When there is no such thing, or several.
pub fn meant(ledger: &Ledger, name: &NameArg, app: &App) -> Result<Meant, CommandError> {
    let failed = |error| of_ledger("read the runs", &error);
    let found = ledger.find_runs(name.as_str()).map_err(failed)?;
    // A run's exact name wins, then a job's: `shop.a` is also how the runs of `shop.a` begin.
    if let [run] = &found[..]
        && (run.id.as_str() == name.as_str() || run.container.as_deref() == Some(name.as_str()))
    {
        return Ok(Meant::Run(Box::new(run.clone())));
    }
    let jobs = ledger.jobs().map_err(failed)?;
    let armed = jobs.values().flat_map(|record| &record.armed);
    if let Some((id, armed)) = armed.into_iter().find(|(id, _)| id.as_str() == name.as_str()) {
        return Ok(Meant::Coming(Coming {
            id: id.clone(),
            slot: armed.slot,
        }));
    }
    match (app.resolve_job(name, jobs.keys()), &found[..]) {
        (Ok(job), _) => Ok(Meant::Job(job)),
        (Err(_), [run]) => Ok(Meant::Run(Box::new(run.clone()))),
        (Err(_), [first, second, ..]) => Err(CommandError::failed(format!(
            "{} is the beginning of several runs",
            quoted(name.as_str())
        ))
        .hint(format!("such as `{}` and `{}`", first.id, second.id))),
        (Err(error), []) => Err(CommandError::failed(format!(
            "there is no run and no job {}",
            quoted(name.as_str())
        ))
        .with_hints_of(error)),
    }
}

/// The run that a person means; a job means its newest run.
///
/// # Errors
/// As [`meant`]; and when it has not started, or the job has no run.
pub fn resolve_run(ledger: &Ledger, name: &NameArg, app: &App) -> Result<Run, CommandError> {
    match meant(ledger, name, app)? {
        Meant::Run(run) => Ok(*run),
        Meant::Coming(coming) => Err(coming.has_not_started(app.now())),
        Meant::Job(job) => match newest_run(ledger, &job)? {
            Some(run) => Ok(run),
            None => Err(no_run_yet(ledger, &job)?),
        },
    }
}

/// The refusal for a job that never had a slot.
///
/// # Errors
/// When the ledger cannot be read.
pub fn no_run_yet(ledger: &Ledger, job: &JobName) -> Result<CommandError, CommandError> {
    let jobs = ledger
        .jobs()
        .map_err(|error| of_ledger("read the jobs", &error))?;
    let triggers = jobs.get(job).map(|record| &record.triggers);
    let by_hand = triggers.is_none_or(|triggers| triggers.manual);
    let by_time = triggers.is_none_or(|triggers| !triggers.schedule.is_empty());
    let mut hints = Vec::new();
    hints.extend(by_hand.then(|| format!("`trigger {job}` starts one now")));
    hints.extend(by_time.then(|| format!("`next {job}` shows when it is due")));
    Ok(CommandError::failed(format!("the job `{job}` has no run yet")).hint(hints.join("; ")))
}

/// The job's newest run, see [`newest`].
///
/// # Errors
/// When the ledger cannot be read.
pub fn newest_run(ledger: &Ledger, job: &JobName) -> Result<Option<Run>, CommandError> {
    newest(ledger, job).map_err(|error| of_ledger("read the runs", &error))
}

/// The job's newest run that had a container; without any, its newest slot, whose reason tells more
/// than "none".
fn newest(ledger: &Ledger, job: &JobName) -> Result<Option<Run>, LedgerError> {
    let mut recent = ledger.history(&HistoryQuery {
        job: Some(JobFilter::Job(job.clone())),
        limit: Some(LOOK_BACK),
        ..HistoryQuery::default()
    })?;
    let at = recent.iter().position(|run| run.container.is_some()).unwrap_or(0);
    Ok((at < recent.len()).then(|| recent.swap_remove(at)))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run() -> Run {
        Run {
            outcome: Some(Outcome::Missed),
            reason: "the scheduler was down".into(),
            ..fixture::run()
        }
    }

    fn cells(run: &Run, no_trunc: bool) -> Vec<String> {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        row(run, &berlin, no_trunc, at("2026-11-22T03:30:00Z"))
            .unwrap()
            .cells
    }

    #[test]
    fn a_slot_that_never_ran_has_its_reason() {
        assert_eq!(
            cells(&run(), false),
            [
                "shop.backup.20261122T013000Z",
                "missed",
                "",
                "2026-11-22 02:30:00 +01:00",
                "2 hours ago",
                "",
                "the scheduler was down"
            ]
        );
    }

    #[test]
    fn a_collapsed_series_says_how_many() {
        let mut series = run();
        series.count = Some(240);
        assert_eq!(cells(&series, false)[6], "the scheduler was down (240 slots)");
        series.reason = "x".repeat(100);
        assert_eq!(cells(&series, true)[6].len(), 100 + " (240 slots)".len());
    }

    #[test]
    fn a_running_one_grows() {
        let mut running = run();
        running.outcome = None;
        running.reason = String::new();
        running.started_at = Some(at("2026-11-22T03:28:00Z"));
        assert_eq!(cells(&running, false)[1], "running");
        assert_eq!(cells(&running, false)[5], "2m");
    }
}
