//! `validate`: manifests alone, no engine and no ledger.

use std::path::{Path, PathBuf};

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
                print_json(&wire::Diagnostic::from(diagnostic))?;
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
    format!("{}: {jobs} jobs in {files} files, no errors", dir.display())
}
