//! What a docker command finds around it: the folder it is called in, the variables that aim it, and the locks
//! that it takes.

use std::collections::BTreeMap;

use super::docker_line::{Line, lost};
use super::when::shown;

/// Where a docker command is called.
pub(crate) struct Caller<'c> {
    pub folder: Option<&'c str>,
    /// Those of the crontab, and those in front of the command.
    pub variables: BTreeMap<&'c str, &'c str>,
    /// Files that `flock` in front of it locks.
    pub locks: Vec<&'c str>,
}

/// The locks of a crontab's lines: each file with the line that takes it first, and whether one of those that
/// take it is of docker.
#[derive(Default)]
pub(crate) struct Locks(BTreeMap<String, (u32, bool)>);

impl Locks {
    /// Two jobs know of no lock between them; what is no job yet keeps its own.
    pub fn take(&mut self, files: &[&str], is_docker: bool, line: &mut Line<'_, '_>) {
        let number = line.report.line_of(line.at.start);
        for file in files {
            let first = self.0.entry((*file).to_owned()).or_insert((number, false));
            first.1 |= is_docker;
            let (first, is_lost) = *first;
            if is_lost && first != number {
                let message = format!(
                    "the lock `{}`, which it shares with line {first}, is not carried over",
                    shown(file)
                );
                line.report
                    .lost(line.at.clone(), message)
                    .help("`group: NAME` in both lets one of them run at a time, and the other wait");
            }
        }
    }
}

impl Caller<'_> {
    /// A variable's value; docker and Compose take an empty one as none.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .copied()
            .filter(|value| !value.is_empty())
    }

    /// The variable that names another engine than the one that is there by default.
    pub fn other_engine(&self, program: &str) -> Option<&'static str> {
        const DEFAULTS: [&str; 3] = [
            "default",
            "unix:///var/run/docker.sock",
            "unix:///run/docker.sock",
        ];
        let names = match program {
            "podman" => ["CONTAINER_HOST", "CONTAINER_CONNECTION"],
            _ => ["DOCKER_HOST", "DOCKER_CONTEXT"],
        };
        names.into_iter().find(|name| {
            self.variable(name)
                .is_some_and(|value| !DEFAULTS.contains(&value))
        })
    }

    /// What else these programs would read.
    pub fn say_unread(&self, is_compose: bool, line: &mut Line<'_, '_>) {
        const READ: [&str; 5] = [
            "DOCKER_HOST",
            "DOCKER_CONTEXT",
            "COMPOSE_PROJECT_NAME",
            "COMPOSE_FILE",
            "COMPOSE_PATH_SEPARATOR",
        ];
        for name in self.variables.keys() {
            let is_read_there = name.starts_with("DOCKER_") || (is_compose && name.starts_with("COMPOSE_"));
            if is_read_there && !READ.contains(name) && self.variable(name).is_some() {
                lost(line, &format!("`{name}`"));
            }
        }
    }
}
