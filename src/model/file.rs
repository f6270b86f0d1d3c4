//! Secrets and configs: single files that a container finds at a path of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Text;

/// One secret or config of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFile {
    pub kind: FileKind,
    /// Its key at the top level of the manifest.
    pub name: String,
    /// Absolute path in the container.
    pub target: String,
    pub source: FileSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    Secret,
    Config,
}

impl FileKind {
    /// The key of a job that lists those of this kind.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            FileKind::Secret => "secrets",
            FileKind::Config => "configs",
        }
    }
}

/// Where its content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileSource {
    /// A file on the engine's host, seen read-only through a mount: what it holds at a run's start.
    Path(PathBuf),
    /// Written into the container before each start.
    Content {
        content: Text,
        uid: u32,
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// Kept by the Swarm under this name, and by nobody else.
    External {
        name: String,
        uid: u32,
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
}

impl JobFile {
    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        match self.kind {
            FileKind::Secret => format!("secret `{}`", self.name),
            FileKind::Config => format!("config `{}`", self.name),
        }
    }
}
