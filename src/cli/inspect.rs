//! `inspect`: everything that is recorded of runs and jobs, as JSON or through a template.
//!
//! Read from the ledger alone; what the engine has to say of a container is `docker inspect`'s.

use std::str::FromStr;

use serde_json::Value;

use crate::ledger::{Ledger, LedgerError};
use crate::model::{JobName, Run};
use crate::wire::{self, JobDetail, JobRecords, RunDetail, RunRecords};

use super::App;
use super::args::NameArg;
use super::error::{CommandError, CommandResult, Exit};
use super::history::{Meant, meant};
use super::jobs::{shape, views};
use super::output::print;
use super::state::of_ledger;
use super::template::Template;

/// Show all that is recorded of runs and jobs
///
/// A run: its row of `history`, the intent before its start, who stopped it, its log file and the
/// container as it was recorded, sensitive values masked. A job: its schedule, policy, state, the
/// containers that wait, and what it was declared as.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// `json` (an array of all) or a text such as `{{.outcome}}`
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "json",
        hide_default_value = true
    )]
    pub(super) format: Format,

    /// Runs, by name, container ID or the beginning of one; or jobs
    #[arg(value_name = "RUN|JOB", required = true)]
    pub(super) names: Vec<NameArg>,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler inspect shop.backup
  docker-scheduler inspect -f '{{.outcome}} {{.reason}}' shop.backup.20261122T013000Z";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Template(Template),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "json" => Ok(Format::Json),
            other if other.contains("{{") => Template::parse(other).map(Format::Template),
            _ => Err(String::from("use `json` or a text with `{{.field}}`")),
        }
    }
}

/// # Errors
/// When a name stands for nothing; the others are printed all the same.
pub fn run(args: Args, app: &App) -> CommandResult {
    let Some(ledger) = app.existing_ledger()? else {
        return Err(app.nothing_applied(&args.names[0]));
    };
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in &args.names {
        match described(&ledger, name, app) {
            Ok(description) => found.push(description),
            Err(error) => failures.push(error),
        }
    }
    print(&rendered(&found, &args.format)?)?;
    match CommandError::of_several("inspect", failures, args.names.len()) {
        Some(error) => Err(error),
        None => Ok(Exit::OK),
    }
}

/// A run or a job, ready to be printed.
#[derive(Debug)]
pub(super) struct Described {
    /// In the order of the fields.
    pretty: String,
    value: Value,
}

impl Described {
    pub(super) fn new(shape: &impl serde::Serialize) -> Result<Described, CommandError> {
        let failed = |error: serde_json::Error| {
            CommandError::failed("failed to write JSON").caused_by(error.to_string())
        };
        Ok(Described {
            pretty: serde_json::to_string_pretty(shape).map_err(failed)?,
            value: serde_json::to_value(shape).map_err(failed)?,
        })
    }
}

pub(super) fn rendered(found: &[Described], format: &Format) -> Result<String, CommandError> {
    match format {
        Format::Template(template) => found
            .iter()
            .map(|described| Ok(format!("{}\n", template.fill_object(&described.value)?)))
            .collect(),
        Format::Json if found.is_empty() => Ok(String::new()),
        Format::Json => {
            let indented: Vec<String> = found
                .iter()
                .map(|described| {
                    let lines = described.pretty.lines().map(|line| format!("  {line}"));
                    lines.collect::<Vec<_>>().join("\n")
                })
                .collect();
            Ok(format!("[\n{}\n]\n", indented.join(",\n")))
        }
    }
}

fn described(ledger: &Ledger, name: &NameArg, app: &App) -> Result<Described, CommandError> {
    let failed = |error| of_ledger("read the ledger", &error);
    match meant(ledger, name, app)? {
        Meant::Run(run) => Described::new(&of_run(ledger, &run).map_err(failed)?),
        Meant::Job(job) => of_job(ledger, &job, app),
        Meant::Coming(coming) => Err(coming
            .has_not_started(app.now())
            .hint("inspect its job: `waiting` lists what is to come")),
    }
}

fn of_run(ledger: &Ledger, run: &Run) -> Result<RunDetail, LedgerError> {
    let path = ledger.log_path(&run.id);
    let log = std::fs::metadata(&path).ok().map(|file| wire::Log {
        path: path.display().to_string(),
        bytes: file.len(),
    });
    let attempts = ledger.attempts_of(run)?;
    let records = RunRecords {
        stop_by: ledger.stop_by(&run.id)?,
        log,
        attempts: attempts.iter().map(|attempt| attempt.id.to_string()).collect(),
        spec: ledger.spec_of(&run.id)?.map(|text| recorded(&text)),
    };
    Ok(RunDetail::new(run, records))
}

fn of_job(ledger: &Ledger, job: &JobName, app: &App) -> Result<Described, CommandError> {
    let failed = |error| of_ledger("read the ledger", &error);
    let view = views(ledger, true)?
        .into_iter()
        .find(|view| view.record.name == *job)
        .ok_or_else(|| CommandError::failed(format!("there is no job `{job}`")))?;
    let spec = spec_of_job(ledger, &view.record, view.newest.as_ref()).map_err(failed)?;
    let records = JobRecords {
        last_run: view.newest.as_ref().map(|run| run.id.to_string()),
        active_runs: view.active.iter().map(|run| run.id.to_string()).collect(),
        spec: spec.map(|text| recorded(&text)),
    };
    Described::new(&JobDetail::new(shape(&view, app.now()), &view.record, records))
}

/// The masked spec of what waits for its slot, else of the newest run.
///
/// # Errors
/// When the ledger cannot be read.
pub fn spec_of_job(
    ledger: &Ledger,
    record: &crate::model::JobRecord,
    newest: Option<&Run>,
) -> Result<Option<String>, LedgerError> {
    if let Some(armed) = record.armed.values().next_back()
        && let Some(row) = ledger.container(&armed.nonce)?
    {
        return Ok(Some(row.spec));
    }
    match newest {
        Some(run) => ledger.spec_of(&run.id),
        None => Ok(None),
    }
}

/// A recorded spec; one that a newer version wrote in another form is shown as it stands.
fn recorded(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn detail() -> Described {
        let records = RunRecords {
            spec: Some(recorded(
                r#"{"image":"busybox","environment":{"KEY":{"masked":"hmac:00"}}}"#,
            )),
            ..RunRecords::default()
        };
        Described::new(&RunDetail::new(&fixture::run(), records)).unwrap()
    }

    #[test]
    fn all_of_a_run_is_printed_as_an_array() {
        insta::assert_snapshot!(rendered(&[detail()], &Format::Json).unwrap());
    }

    #[test]
    fn a_template_reaches_inner_fields() {
        let text = |format: &str| {
            let format: Format = format.parse().unwrap();
            rendered(&[detail()], &format).map_err(|error| error.message().to_owned())
        };
        assert_eq!(text("{{.job}} {{.Outcome}}").unwrap(), "shop.backup running\n");
        assert_eq!(
            text("{{.spec.image}}{{.exit_code}}{{.spec.nope}}").unwrap(),
            "busybox\n"
        );
        assert_eq!(
            text("{{json .spec.environment}}").unwrap(),
            "{\"KEY\":{\"masked\":\"hmac:00\"}}\n"
        );
        let unknown = text("{{.Nope}}").unwrap_err();
        assert_eq!(unknown, "there is no field `Nope` here");
        assert!("table".parse::<Format>().is_err());
    }
}
