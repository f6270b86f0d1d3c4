//! `validate`: manifests alone, no engine and no ledger.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::manifest::{Diagnostic, Severity, at_key};
use crate::model::{EngineName, Trigger};
use crate::schedule::warnings;
use crate::transfer::{check_for_engine_jobs, check_for_kubernetes};
use crate::wire;

use super::App;
use super::args::{DirArg, TextOrJson};
use super::declared::{Manifests, contents_of};
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::output::{print_json, print_line, talk_raw};

/// Check the manifests: every problem of every file at once
///
/// Asks no engine; `--engine kubernetes` also says what the jobs would lack there. Ends with 3 when there is an error; warnings never change the exit code.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    dir: DirArg,

    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,

    /// Also refuse what Compose and the engine's own jobs would refuse
    #[arg(long)]
    portable: bool,

    /// How to print: as people read it, or one JSON object for each problem
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler validate jobs
  docker-scheduler validate -q jobs
  docker-scheduler validate --portable jobs";

/// # Errors
/// When the directory cannot be read.
pub fn run(args: Args, app: &App) -> CommandResult {
    let dir = args.dir.dir.unwrap_or_else(|| PathBuf::from("schedules.d"));
    let mut manifests = Manifests::read(app, &dir)?;
    let surprises = surprises(&manifests, app.now());
    manifests.loaded.diagnostics.extend(surprises);
    if app.engine_name() == EngineName::Kubernetes {
        let jobs = &manifests.loaded.desired.jobs;
        let contents = contents_of(jobs.values());
        let found = check_for_kubernetes(jobs, &manifests.files.texts(), &contents, app.now());
        let found = found.into_iter().map(|(_, found)| found);
        manifests.loaded.diagnostics.extend(found);
    }
    if args.portable {
        let jobs = &manifests.loaded.desired.jobs;
        let found = check_for_engine_jobs(jobs, &manifests.files.texts());
        manifests.loaded.diagnostics.extend(found);
    }
    match args.format {
        TextOrJson::Json => {
            for diagnostic in &manifests.loaded.diagnostics {
                print_json(&shape(diagnostic))?;
            }
        }
        TextOrJson::Text => talk_raw(&manifests.render(true)),
    }
    if manifests.loaded.has_errors() {
        return Ok(Exit::INVALID_MANIFESTS);
    }
    if manifests.files.manifests.is_empty() {
        let message = format!("there is no manifest (*.yaml, *.yml) in `{}`", dir.display());
        return Err(CommandError::new(ErrorKind::Manifests, message));
    }
    if !args.quiet && args.format == TextOrJson::Text {
        print_line(&all_well(&manifests, &dir))?;
    }
    Ok(Exit::OK)
}

fn all_well(manifests: &Manifests, dir: &Path) -> String {
    let jobs = manifests.loaded.desired.jobs.len();
    let files = manifests.files.manifests.len();
    let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}: {} in {}, no errors",
        dir.display(),
        of(jobs, "job"),
        of(files, "file")
    )
}

/// Schedules that are right and yet may not be what was meant, seen from `now`, at their lines.
fn surprises(manifests: &Manifests, now: Timestamp) -> Vec<Diagnostic> {
    let texts = manifests.files.texts();
    let mut found = Vec::new();
    for job in manifests.loaded.desired.jobs.values() {
        let file = job.origin.file.as_str();
        let text = texts.get(file).copied().unwrap_or_default();
        for trigger in &job.triggers.schedule {
            let key = match trigger {
                Trigger::Cron { .. } => "triggers.schedule",
                Trigger::Every { .. } => "x-scheduler.every",
                Trigger::Except { .. } => "x-scheduler.except",
            };
            for warning in warnings(trigger, now) {
                let message = format!("job `{}`: {warning}", job.name);
                let (name, code) = (job.name.job(), warning.code());
                let mut surprise = at_key(file, text, name, key, Severity::Warning, code, &message);
                surprise.help = Some(warning.help().to_owned());
                found.push(surprise);
            }
        }
    }
    found
}

/// A finding as JSON.
pub(super) fn shape(found: &Diagnostic) -> wire::Diagnostic {
    wire::Diagnostic {
        v: wire::VERSION,
        severity: found.severity.as_str(),
        code: found.code.to_owned(),
        message: found.message.clone(),
        file: found.file.clone(),
        line: place(found.line),
        column: place(found.column),
        end_line: place(found.end_line),
        end_column: place(found.end_column),
        help: found.help.clone(),
    }
}

/// A file as a whole has no place in it.
fn place(at: u32) -> Option<u32> {
    (at > 0).then_some(at)
}
