//! `next`: the coming times, in words and in the zone that they are written for.
//!
//! Pure reading: no engine, and for `--cron` no manifest either.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{JobName, Slot, Trigger};
use crate::schedule::{
    self as schedule, CronError, Fire, Note, Schedule, ScheduleError, check_timezone, explain_trigger,
    in_words, parse_cron, until_words,
};
use crate::wire::{self, Shape as _};

use super::App;
use super::app::Known;
use super::args::{DirFlag, NameArg, time};
use super::error::{CommandError, CommandResult, Exit};
use super::output::{Column, Format, ListArgs, Listing, Row, print, printable, to_json};

/// Show the coming times of a job, of all jobs, or of an expression
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// How many times to show
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub(super) number: u32,

    /// Show times after this one instead of after now
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) from: Option<Timestamp>,

    /// An expression to explain, such as '30 2 * * *'
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["job", "dir"])]
    pub(super) cron: Option<String>,

    /// Time zone of the expression
    #[arg(long, value_name = "ZONE", requires = "cron", default_value = "UTC")]
    pub(super) timezone: String,

    /// `table`, `json` (one object a line) or a text such as `{{.Slot}}`
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true
    )]
    pub(super) format: Format,

    #[command(flatten)]
    pub(super) dir: DirFlag,

    /// A job [default: all of them]
    #[arg(value_name = "JOB")]
    pub(super) job: Option<NameArg>,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler next
  docker-scheduler next shop.backup -n 3
  docker-scheduler next --cron '0 9 * * mon-fri' --timezone Europe/Berlin";

/// More than that is no longer for reading, and a program can ask again with `--from`.
const MOST: i64 = 10_000;

const COLUMNS: &[Column] = &[
    Column {
        heading: "TIME",
        field: "Time",
    },
    Column {
        heading: "WHEN",
        field: "When",
    },
    Column {
        heading: "NOTE",
        field: "Note",
    },
];

const COLUMNS_OF_JOBS: &[Column] = &[
    Column {
        heading: "JOB",
        field: "Job",
    },
    COLUMNS[0],
    COLUMNS[1],
    COLUMNS[2],
];

/// # Errors
/// When an expression or a name is none, or ledger or manifests cannot be read.
pub fn run(args: Args, app: &App) -> CommandResult {
    show(&args, app, |app| app.known_triggers(args.dir.dir.as_deref()))
}

/// The same for jobs from elsewhere; `known` is asked only when jobs are meant.
///
/// # Errors
/// As [`run`].
pub(super) fn show(
    args: &Args,
    app: &App,
    known: impl FnOnce(&App) -> Result<BTreeMap<JobName, Known>, CommandError>,
) -> CommandResult {
    let list = ListArgs {
        format: args.format.clone(),
        ..ListArgs::default()
    };
    list.check(COLUMNS_OF_JOBS, wire::Slot::FIELDS)?;
    let now = app.now();
    let from = args.from.unwrap_or(now);
    let (headline, listing) = match &args.cron {
        Some(expression) => of_expression(expression, args, from, now)?,
        None => of_jobs(args, app, known(app)?, from, now)?,
    };
    if args.format == Format::Table {
        print(&headline)?;
    }
    listing.print(&list)?;
    Ok(Exit::OK)
}

fn of_expression(
    expression: &str,
    args: &Args,
    from: Timestamp,
    now: Timestamp,
) -> Result<(String, Listing), CommandError> {
    parse_cron(expression).map_err(|error| refused(expression, &error))?;
    check_timezone(&args.timezone).map_err(|error| {
        let refused = CommandError::usage(error.message);
        match error.help {
            Some(help) => refused.hint(help),
            None => refused,
        }
    })?;
    let trigger = Trigger::Cron {
        expression: expression.to_owned(),
        timezone: args.timezone.clone(),
        day_match: None,
    };
    let triggers = [trigger];
    let schedule = Schedule::compile(&triggers).map_err(|error| not_compiled(&error))?;
    let rows = coming(&schedule, from, args.number)
        .iter()
        .map(|fire| row(None, fire, fire.slot.at(), now))
        .collect::<Result<_, _>>()?;
    Ok((format!("{}\n\n", sentence(&triggers)), listing(COLUMNS, rows)))
}

fn of_jobs(
    args: &Args,
    app: &App,
    mut jobs: BTreeMap<JobName, Known>,
    from: Timestamp,
    now: Timestamp,
) -> Result<(String, Listing), CommandError> {
    let mut headline = String::new();
    if let Some(name) = &args.job {
        let name = app.resolve_job(name, jobs.keys())?;
        jobs.retain(|known, _| *known == name);
        if let Some(known) = jobs.get(&name) {
            headline = format!("{name}: {}\n\n", sentence_of(known, now));
        }
    }
    let instance = app.instance();
    let fires = coming_of_all(instance.as_str(), &jobs, from, args.number)?;
    let one = args.job.is_some();
    let rows = fires
        .iter()
        .map(|(job, fire, due_at)| {
            let mut row = row(Some(job), fire, *due_at, now)?;
            if !one {
                row.cells.insert(0, job.to_string());
            }
            Ok(row)
        })
        .collect::<Result<_, CommandError>>()?;
    Ok((
        headline,
        listing(if one { COLUMNS } else { COLUMNS_OF_JOBS }, rows),
    ))
}

fn coming(schedule: &Schedule, from: Timestamp, number: u32) -> Vec<Fire> {
    let mut fires = Vec::new();
    let mut after = from;
    for _ in 0..number {
        let Some(fire) = schedule.next_after(after) else {
            break;
        };
        after = fire.slot.at();
        fires.push(fire);
    }
    fires
}

/// The first `number` slots of all jobs together, and when each of them starts.
fn coming_of_all(
    instance: &str,
    jobs: &BTreeMap<JobName, Known>,
    from: Timestamp,
    number: u32,
) -> Result<Vec<(JobName, Fire, Timestamp)>, CommandError> {
    let mut heads: BTreeMap<(Slot, &JobName), (Schedule, Fire)> = BTreeMap::new();
    for (name, known) in jobs.iter().filter(|(_, known)| !known.suspended) {
        let schedule = Schedule::compile(&known.schedule).map_err(|error| not_compiled(&error))?;
        if let Some(fire) = next_unpaused(&schedule, known, from) {
            heads.insert((fire.slot, name), (schedule, fire));
        }
    }
    let mut fires = Vec::new();
    while fires.len() < number as usize {
        let Some(((slot, name), (schedule, fire))) = heads.pop_first() else {
            break;
        };
        let known = &jobs[name];
        let following = schedule.next_after(slot.at()).map(|next| next.slot);
        let delay = known.jitter.map_or(Duration::ZERO, |jitter| {
            schedule::jitter(instance, &name.to_string(), slot, jitter, following)
        });
        let due_at = slot.at().saturating_add(delay).unwrap_or(Timestamp::MAX);
        if let Some(next) = next_unpaused(&schedule, known, slot.at()) {
            heads.insert((next.slot, name), (schedule, next));
        }
        fires.push((name.clone(), fire, due_at));
    }
    Ok(fires)
}

/// The first slot after that moment that no pause covers.
fn next_unpaused(schedule: &Schedule, known: &Known, after: Timestamp) -> Option<Fire> {
    let mut after = after;
    loop {
        let fire = schedule.next_after(after)?;
        if known.skips_gaps && fire.note == Some(Note::Gap) {
            after = fire.slot.at();
            continue;
        }
        let Some(pause) = known.pauses.iter().find(|pause| pause.covers(fire.slot.at())) else {
            return Some(fire);
        };
        let resumed = pause.until?.saturating_sub(SignedDuration::from_nanos(1));
        after = fire.slot.at().max(resumed.unwrap_or(Timestamp::MAX));
    }
}

fn listing(columns: &'static [Column], rows: Vec<Row>) -> Listing {
    Listing {
        columns,
        fields: wire::Slot::FIELDS,
        spare: &[],
        rows,
    }
}

fn row(job: Option<&JobName>, fire: &Fire, due_at: Timestamp, now: Timestamp) -> Result<Row, CommandError> {
    let mut note = fire.note_words().unwrap_or_default().to_owned();
    if due_at > fire.slot.at() {
        let spread = format!("starts {} later (jitter)", until_words(fire.slot.at(), due_at));
        note = if note.is_empty() {
            spread
        } else {
            format!("{note}; {spread}")
        };
    }
    let shape = wire::Slot {
        v: wire::VERSION,
        job: job.map(JobName::to_string),
        slot: fire.slot,
        local: fire.local_rfc3339(),
        timezone: fire.timezone.to_string(),
        note: fire.note.map(|note| note.as_str()),
        due_at,
    };
    Ok(Row {
        key: fire.slot.to_string(),
        cells: vec![fire.local_words(), in_words(now, due_at), note],
        json: to_json(&shape)?,
    })
}

fn sentence_of(known: &Known, now: Timestamp) -> String {
    let mut sentence = sentence(&known.schedule);
    if known.suspended {
        sentence.push_str("; suspended");
    }
    if let Some(pause) = known.pauses.iter().find(|pause| pause.covers(now)) {
        let by = printable(&pause.by);
        let until = pause
            .until
            .map_or_else(|| "`resume`".to_owned(), |until| format!("{until:.0}"));
        sentence.push_str(&format!("; paused by {by} until {until}"));
    }
    sentence
}

/// What the triggers mean, in English.
fn sentence(triggers: &[Trigger]) -> String {
    let sentences: Vec<String> = triggers
        .iter()
        .map(|trigger| explain_trigger(trigger).unwrap_or_else(|error| error.to_string()))
        .collect();
    if sentences.is_empty() {
        return String::from("Only when triggered by hand");
    }
    printable(&sentences.join("; "))
}

fn refused(expression: &str, error: &CronError) -> CommandError {
    let refusal = CommandError::usage(error.message.clone()).excerpt(&error.caret(&shortened(expression)));
    match &error.help {
        Some(help) => refusal.hint(help.clone()),
        None => refusal,
    }
}

/// A line that a person can still read; carets of a longer one would point nowhere.
fn shortened(expression: &str) -> String {
    expression.chars().take(200).collect()
}

fn not_compiled(error: &ScheduleError) -> CommandError {
    CommandError::failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(expression: &str, timezone: &str) -> Trigger {
        Trigger::Cron {
            expression: expression.into(),
            timezone: timezone.into(),
            day_match: None,
        }
    }

    fn known(expressions: &[&str], suspended: bool) -> Known {
        Known {
            schedule: expressions.iter().map(|text| trigger(text, "UTC")).collect(),
            suspended,
            ..Known::default()
        }
    }

    #[test]
    fn times_of_several_jobs_come_in_their_order() {
        let jobs = BTreeMap::from([
            ("shop.a".parse().unwrap(), known(&["0 * * * *"], false)),
            ("shop.b".parse().unwrap(), known(&["30 * * * *"], false)),
            ("shop.manual".parse().unwrap(), known(&[], false)),
            ("shop.suspended".parse().unwrap(), known(&["* * * * *"], true)),
        ]);
        let fires = coming_of_all("default", &jobs, "2026-11-23T00:00:00Z".parse().unwrap(), 4).unwrap();
        let seen: Vec<String> = fires
            .iter()
            .map(|(job, fire, _)| format!("{job} {}", fire.slot))
            .collect();
        assert_eq!(
            seen,
            [
                "shop.b 2026-11-23T00:30:00Z",
                "shop.a 2026-11-23T01:00:00Z",
                "shop.b 2026-11-23T01:30:00Z",
                "shop.a 2026-11-23T02:00:00Z",
            ]
        );
    }

    #[test]
    fn from_is_exclusive() {
        let schedule = Schedule::compile(&[trigger("0 * * * *", "UTC")]).unwrap();
        let fires = coming(&schedule, "2026-11-23T01:00:00Z".parse().unwrap(), 1);
        assert_eq!(fires[0].slot.to_string(), "2026-11-23T02:00:00Z");
    }

    #[test]
    fn a_slot_is_printed_with_its_zone_and_mark() {
        let schedule = Schedule::compile(&[trigger("30 2 * * *", "Europe/Berlin")]).unwrap();
        let from = "2027-03-27T12:00:00Z".parse().unwrap();
        let fires = coming(&schedule, from, 1);
        let row = row(None, &fires[0], fires[0].slot.at(), from).unwrap();
        assert_eq!(
            row.json,
            r#"{"v":1,"job":null,"slot":"2027-03-28T01:30:00Z","local":"2027-03-28T03:30:00+02:00","timezone":"Europe/Berlin","note":"gap","due_at":"2027-03-28T01:30:00Z"}"#
        );
        assert_eq!(row.cells[1], "in 13h 30m");
    }

    #[test]
    fn a_refused_expression_is_shown_with_carets() {
        let error = parse_cron("61 * * * *").unwrap_err();
        let text = refused("61 * * * *", &error).render();
        assert!(text.contains("\n   | 61 * * * *\n   | ^^\n"), "{text}");
    }
}
