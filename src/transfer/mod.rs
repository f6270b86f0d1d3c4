//! Moving in and moving out: schedules of other programs to manifests, and jobs to theirs.
//!
//! An import gives a manifest that `validate` accepts, and a report of everything that it could not carry
//! over, by line. It runs nothing, opens nothing and asks nobody: texts in, texts out.
//!
//! | file | |
//! |---|---|
//! | `crontab.rs` | crontabs |
//! | `docker_line.rs`, `compose_line.rs`, `caller.rs` | the docker commands in them, and what aims these |
//! | `ofelia.rs`, `ini.rs` | its INI file, and what its keys mean wherever they are |
//! | `labels.rs`, `deck_chores.rs` | Compose files with the labels of other schedulers |
//! | `cronjob/` | CronJobs of Kubernetes, with ConfigMaps and Secrets |
//! | `container/` | a container, as its engine describes it |
//! | `draft.rs`, `yaml.rs` | the manifest being written |
//! | `leave.rs` | the way out: Kubernetes, Compose, crontab |
//! | `portable.rs` | what Compose and the engine's own jobs would refuse of a manifest |
//! | `when.rs` | schedules of other dialects |
//! | `report.rs` | what was lost or changed |

mod caller;
mod compose_line;
mod container;
mod cronjob;
mod crontab;
mod deck_chores;
mod docker_line;
mod draft;
mod ini;
mod labels;
mod leave;
mod ofelia;
mod portable;
mod report;
mod when;
mod yaml;

use crate::manifest::Diagnostic;

pub use container::{Times, import_container};
pub use leave::{Destination, Exported, at_their_lines, check_for_kubernetes, export, placed};
pub use portable::check_for_engine_jobs;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Crontab,
    /// ofelia's INI file.
    Ofelia,
    /// A Compose file whose services carry a schedule.
    Compose,
    /// CronJobs, with the ConfigMaps and Secrets that they use.
    Kubernetes,
}

/// What a person says about an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The project of the new manifest; by default it is made of the file's name.
    pub project: Option<String>,
    /// Zone of schedules that name none.
    pub timezone: Option<String>,
    /// Where commands of the host run from now on.
    pub place: Option<Place>,
    /// Lines of a crontab have a user in front of the command.
    pub system: bool,
    /// The name of the folder that holds the file: the project of a Compose file without a name.
    pub folder: Option<String>,
    /// The text of the `.env` beside a Compose file, which may name the project.
    pub dot_env: Option<String>,
}

/// Where a command of the host runs from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a new container of this image, by a shell.
    Image(String),
    /// Inside this container.
    Container(String),
    /// Inside the container of a Compose service.
    Service { service: String, project: String },
}

impl Options {
    fn project_or<'o>(&'o self, file: &'o str) -> &'o str {
        let name = file.trim_end_matches('/').rsplit('/').next().unwrap_or(file);
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        self.project
            .as_deref()
            .unwrap_or(if stem.is_empty() { name } else { stem })
    }
}

/// A new manifest, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Empty when there is no job.
    pub text: String,
    pub jobs: usize,
    /// On the file that was read: errors are entries that became nothing, warnings what is lost or
    /// different.
    pub report: Vec<Diagnostic>,
}

impl Imported {
    fn new(draft: draft::Draft, report: report::Report<'_>) -> Imported {
        Imported {
            text: if draft.len() == 0 {
                String::new()
            } else {
                draft.text()
            },
            jobs: draft.len(),
            report: report.finish(),
        }
    }
}

/// Reads a text of another program. `file` is its name, for messages.
#[must_use]
pub fn import(source: Source, file: &str, text: &str, options: &Options) -> Imported {
    // Nobody writes this character; inside, it stands for the dollar of a variable.
    let text = &text.replace(draft::VARIABLE, "\u{fffd}");
    match source {
        Source::Crontab => crontab::import(file, text, options),
        Source::Ofelia => ofelia::import(file, text, options),
        Source::Compose => labels::import(file, text, options),
        Source::Kubernetes => cronjob::import(file, text, options),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::loaded;
