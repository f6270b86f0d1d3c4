//! `history`: every slot with its outcome and its reason, also those that never ran.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::ledger::{HistoryQuery, JobFilter, Ledger, LedgerError};
use crate::model::{JobName, Outcome, Run};
use crate::wire::{self, Shape as _};

use super::App;
use super::args::{Filter, NameArg, check_filters, matches_filters, time_or_age};
use super::error::{CommandError, CommandResult, Exit};
use super::output::{Column, ListArgs, Listing, Row, quoted, talk, to_json, truncated};
use super::state::of_ledger;
use super::words;

/// List the runs, and the slots that never became one, with their outcomes and reasons
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Accepted as in Docker; all rows are listed unless `-n` says otherwise
    #[arg(short, long)]
    all: bool,

    /// Show the N newest alone
    #[arg(short = 'n', long = "number", value_name = "N")]
    number: Option<u32>,

    /// Only what was due at or after this time (RFC 3339, or an age such as 24h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only what was due before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Only rows that match: outcome=WORD, trigger=WORD, project=NAME
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filter: Vec<Filter>,

    #[command(flatten)]
    list: ListArgs,

    /// A job [default: all of them]
    #[arg(value_name = "JOB")]
    job: Option<NameArg>,
}

const COLUMNS: &[Column] = &[
    Column {
        heading: "RUN",
        field: "Run",
    },
    Column {
        heading: "OUTCOME",
        field: "OutcomeWords",
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
        heading: "LENGTH",
        field: "Length",
    },
    Column {
        heading: "REASON",
        field: "ReasonWords",
    },
];

/// Slots that were missed or skipped since the newest run; a longer series is one row.
const LOOK_BACK: u32 = 1000;

/// Longer reasons (an engine's words) are for `--no-trunc`.
const REASON_WIDTH: usize = 60;

pub fn run(args: Args, app: &App) -> CommandResult {
    check_filters(&args.filter, &["outcome", "trigger", "project"])?;
    args.list.check(COLUMNS, wire::Run::FIELDS)?;
    let query = query(&args, app.now())?;
    let runs = match app.existing_ledger()? {
        Some(ledger) => fetch(&ledger, query, &args, app)?,
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
    listing(&runs, &args, app.now())?.print(&args.list)?;
    Ok(Exit::OK)
}

fn query(args: &Args, now: Timestamp) -> Result<HistoryQuery, CommandError> {
    let time = |text: &Option<String>| {
        text.as_deref()
            .map(|text| time_or_age(text, now).map_err(CommandError::usage))
            .transpose()
    };
    let mut outcome = Vec::new();
    for filter in args.filter.iter().filter(|filter| filter.key == "outcome") {
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
    runs.retain(|run| matches_filters(&args.filter, |key, value| matches(run, key, value)));
    runs.truncate(args.number.map_or(usize::MAX, |number| number as usize));
    Ok(runs)
}

fn matches(run: &Run, key: &str, value: &str) -> bool {
    match key {
        "outcome" => wire::outcome_word(run.outcome) == value,
        "trigger" => run.trigger.as_str() == value,
        "project" => run.job.project() == value,
        _ => false,
    }
}

/// In the order of the ledger: newest first.
fn listing(runs: &[Run], args: &Args, now: Timestamp) -> Result<Listing, CommandError> {
    let rows = runs
        .iter()
        .map(|run| row(run, args.list.no_trunc, now))
        .collect::<Result<_, _>>()?;
    Ok(Listing {
        columns: COLUMNS,
        fields: wire::Run::FIELDS,
        rows,
    })
}

fn row(run: &Run, no_trunc: bool, now: Timestamp) -> Result<Row, CommandError> {
    let length = match (run.started_at, run.finished_at) {
        (Some(from), Some(to)) => words::length(from, to),
        (Some(from), None) if run.outcome.is_none() => words::length(from, now),
        _ => String::new(),
    };
    let (due, reason) = if no_trunc {
        (run.due_at.to_string(), run.reason.clone())
    } else {
        (words::ago(run.due_at, now), truncated(&run.reason, REASON_WIDTH))
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
            due,
            length,
            reason,
        ],
        json: to_json(&wire::Run::from(run))?,
    })
}

/// The run that a person means: its name or ID, or the beginning of one that no other run has; a
/// job means its newest run.
///
/// # Errors
/// When there is none, or several.
pub fn resolve_run(ledger: &Ledger, name: &NameArg, app: &App) -> Result<Run, CommandError> {
    let failed = |error| of_ledger("read the runs", &error);
    let jobs: BTreeSet<JobName> = ledger.jobs().map_err(failed)?.into_keys().collect();
    let found = ledger.find_runs(name.as_str()).map_err(failed)?;
    // A run's exact name wins, then a job's: `shop.a` is also how the runs of `shop.a` begin.
    if let [run] = &found[..]
        && (run.id.as_str() == name.as_str() || run.container.as_deref() == Some(name.as_str()))
    {
        return Ok(run.clone());
    }
    let job = app.resolve_job(name, jobs.iter());
    match (job, &found[..]) {
        (Ok(job), _) => newest(ledger, &job)
            .map_err(failed)?
            .ok_or_else(|| CommandError::failed(format!("the job `{job}` has no run yet"))),
        (Err(_), [run]) => Ok(run.clone()),
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
    use super::*;
    use crate::model::{Origin, RunTrigger};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run() -> Run {
        Run {
            id: "shop.backup.20261122T013000Z".parse().unwrap(),
            job: "shop.backup".parse().unwrap(),
            slot: Some("2026-11-22T01:30:00Z".parse().unwrap()),
            attempt: 0,
            trigger: RunTrigger::Schedule,
            outcome: Some(Outcome::Missed),
            reason: "the scheduler was down".into(),
            exit_code: None,
            due_at: at("2026-11-22T01:30:00Z"),
            intent: None,
            started_at: None,
            finished_at: None,
            recorded_at: None,
            container: None,
            container_gone: false,
            held_until: None,
            stop_requested: None,
            stop_reason: None,
            retry_at: None,
            group: None,
            image: None,
            spec_hash: None,
            origin: Origin::default(),
            slot_last: None,
            count: None,
            note: None,
        }
    }

    fn cells(run: &Run, no_trunc: bool) -> Vec<String> {
        row(run, no_trunc, at("2026-11-22T03:30:00Z")).unwrap().cells
    }

    #[test]
    fn a_slot_that_never_ran_has_its_reason() {
        assert_eq!(
            cells(&run(), false),
            [
                "shop.backup.20261122T013000Z",
                "missed",
                "",
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
        assert_eq!(cells(&series, false)[5], "the scheduler was down (240 slots)");
        assert_eq!(cells(&series, true)[3], "2026-11-22T01:30:00Z");
    }

    #[test]
    fn a_running_one_grows() {
        let mut running = run();
        running.outcome = None;
        running.reason = String::new();
        running.started_at = Some(at("2026-11-22T03:28:00Z"));
        assert_eq!(cells(&running, false)[1], "running");
        assert_eq!(cells(&running, false)[4], "2m");
    }
}
