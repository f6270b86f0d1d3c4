//! `validate`: manifests alone, no engine and no ledger.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::manifest::{Diagnostic, Severity};
use crate::model::EngineName;
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

/// Schedules that are right and yet may not be what was meant, seen from `now`.
fn surprises(manifests: &Manifests, now: Timestamp) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for job in manifests.loaded.desired.jobs.values() {
        for warning in job
            .triggers
            .schedule
            .iter()
            .flat_map(|trigger| warnings(trigger, now))
        {
            found.push(Diagnostic {
                severity: Severity::Warning,
                code: warning.code(),
                message: format!("job `{}`: {warning}", job.name),
                file: job.origin.file.clone(),
                line: job.origin.line,
                column: 1,
                end_line: job.origin.line,
                end_column: 1,
                label: None,
                help: Some(warning.help().to_owned()),
                span: None,
            });
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
