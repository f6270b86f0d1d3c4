//! `export`: the jobs of a directory in the words of another scheduler.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::kubernetes::Target;
use crate::manifest;
use crate::transfer::{Destination, export};

use super::App;
use super::args::{DirArg, TextOrJson, dir};
use super::declared::{Manifests, contents_of};
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::import::write;
use super::output::{print, printable, talk, talk_raw};
use super::validate::shape;

/// Write the jobs for another scheduler: Kubernetes, Compose itself, or cron
///
/// What has no form there is an error at its line, and nothing is written then; `--skip-unsupported`
/// leaves such jobs out. Secrets are written as they are: mind where the output goes. Asks no engine.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    dir: DirArg,

    /// CronJobs as YAML; a Compose file for the engine's own jobs; or lines that call `trigger`
    #[arg(long, value_enum)]
    to: To,

    /// Only the jobs of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Leave out jobs that have no form there, instead of writing nothing
    #[arg(long)]
    skip_unsupported: bool,

    /// Where to write [default: stdout]
    #[arg(short, long, value_name = "FILE", value_parser = dir)]
    output: Option<PathBuf>,

    /// Write over a file that exists
    #[arg(long, requires = "output")]
    force: bool,

    /// How to report what does not fit: as people read it, or one JSON object for each, on stderr
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum To {
    Kubernetes,
    Compose,
    Crontab,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler export jobs --to kubernetes --namespace batch > cronjobs.yaml
  docker-scheduler export jobs --to crontab --skip-unsupported";

/// # Errors
/// When the manifests have errors, or a job has no form there.
pub fn run(args: Args, app: &App) -> CommandResult {
    let dir = args.dir.dir.unwrap_or_else(|| PathBuf::from("schedules.d"));
    let manifests = Manifests::read(app, &dir)?;
    let files = manifests.files.clone();
    let prefix = format!("{}/", dir.display().to_string().trim_end_matches('/'));
    let mut jobs = manifests.without_errors()?.jobs;
    jobs.retain(|name, _| {
        args.project
            .as_deref()
            .is_none_or(|project| name.project() == project)
    });
    if jobs.is_empty() {
        return Err(CommandError::new(
            ErrorKind::Manifests,
            format!("there is no job in `{}`", dir.display()),
        ));
    }
    let to = match args.to {
        To::Kubernetes => Destination::Kubernetes(Target {
            namespace: app.settings().namespace.clone(),
            instance: app.settings().instance.as_ref().map(ToString::to_string),
            contents: contents_of(jobs.values()),
        }),
        To::Crontab => Destination::Crontab,
        To::Compose => {
            one_project(jobs.keys().map(|name| name.project()).collect())?;
            Destination::Compose
        }
    };
    let exported = export(&jobs, &files.texts(), &to, app.now());
    match args.format {
        TextOrJson::Text => talk_raw(&manifest::pictures(
            &exported.report,
            &files.texts(),
            &prefix,
            true,
        )),
        TextOrJson::Json => {
            for found in &exported.report {
                talk_raw(&format!("{}\n", super::output::to_json(&shape(found))?));
            }
        }
    }
    let left_out = jobs.len() - exported.jobs;
    if exported.jobs == 0 || (left_out > 0 && !args.skip_unsupported) {
        let message = format!(
            "{left_out} of {} jobs have no form there, and nothing is written",
            jobs.len()
        );
        return Err(
            CommandError::new(ErrorKind::Manifests, message).hint("`--skip-unsupported` leaves them out")
        );
    }
    match &args.output {
        None => print(&exported.text)?,
        Some(path) => write(path, &exported.text, args.force)?,
    }
    if left_out > 0 {
        talk(&format!("{left_out} of {} jobs are left out", jobs.len()));
    }
    Ok(Exit::OK)
}

/// A Compose file is of one project.
fn one_project(projects: BTreeSet<&str>) -> Result<(), CommandError> {
    if projects.len() == 1 {
        return Ok(());
    }
    let names: Vec<&str> = projects.into_iter().collect();
    Err(
        CommandError::usage("a Compose file is of one project, and there are several").hint(format!(
            "name one with `--project`: {}",
            printable(&names.join(", "))
        )),
    )
}
