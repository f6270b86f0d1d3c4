//! `validate`: manifests alone, no engine and no ledger.

use std::path::{Path, PathBuf};

use crate::manifest::Diagnostic;
use crate::wire;

use super::App;
use super::args::{DirArg, TextOrJson};
use super::declared::Manifests;
use super::error::{CommandResult, Exit};
use super::output::{print_json, print_line, talk_raw};

/// Check the manifests: every problem of every file at once
///
/// Asks no engine. Ends with 3 when there is an error; warnings never change the exit code.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: DirArg,

    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,

    /// How to print: as people read it, or one JSON object for each problem
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,
}

/// # Errors
/// When the directory cannot be read.
pub fn run(args: Args, app: &App) -> CommandResult {
    let dir = args.dir.dir.unwrap_or_else(|| PathBuf::from("schedules.d"));
    let manifests = Manifests::read(app, &dir)?;
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

fn shape(found: &Diagnostic) -> wire::Diagnostic {
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
