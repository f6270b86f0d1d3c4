//! What a docker command finds around it: the folder it is called in, and the variables that aim it.

use std::collections::BTreeMap;

use super::docker_line::{Line, lost};

/// Where a docker command is called.
pub(crate) struct Caller<'c> {
    pub folder: Option<&'c str>,
    /// Those of the crontab, and those in front of the command.
    pub variables: BTreeMap<&'c str, &'c str>,
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
