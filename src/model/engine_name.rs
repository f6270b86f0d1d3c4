//! Which engine jobs are meant for, as flags, variables and the operator's file name it.

use std::fmt;
use std::str::FromStr;

/// The engine that jobs run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineName {
    /// One machine; Podman through Docker's API as well.
    #[default]
    Docker,
    Swarm,
    Kubernetes,
}

impl EngineName {
    pub const ALL: [EngineName; 3] = [EngineName::Docker, EngineName::Swarm, EngineName::Kubernetes];

    /// As it is typed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EngineName::Docker => "docker",
            EngineName::Swarm => "swarm",
            EngineName::Kubernetes => "kubernetes",
        }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EngineName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<EngineName, &'static str> {
        EngineName::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or("use docker, swarm or kubernetes")
    }
}
