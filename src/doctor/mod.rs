//! What is wrong with a set-up, and what to do about it: a list of named checks over one value.
//!
//! `cli` looks at host, engine, files and ledger once ([`Case`]); a check is a pure function of
//! that, so that each can be tested like a formula and none asks twice. A check always answers: what
//! is well is said too, and so is what could not be looked at. Nothing here mends anything.

mod case;
mod cluster;
mod engine;
mod host;
mod records;
mod swarm;
#[cfg(test)]
mod tests;

pub use case::*;

use crate::model::EngineName;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Ok,
    /// Nothing is wrong; a person should know.
    Note,
    /// It could not be looked at.
    Unknown,
    /// It works, and may not for long or not as meant.
    Warning,
    /// Jobs do not run, or not as declared.
    Error,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Unknown => "unknown",
            State::Warning => "warning",
            State::Error => "error",
        }
    }
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub state: State,
    /// A fragment, such as `docker 20.10.24 answers`.
    pub message: String,
    /// What to do about it, most likely first.
    pub hints: Vec<String>,
}

impl Finding {
    #[must_use]
    pub fn new(state: State, message: impl Into<String>) -> Finding {
        Finding {
            state,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    #[must_use]
    pub fn ok(message: impl Into<String>) -> Finding {
        Finding::new(State::Ok, message)
    }

    #[must_use]
    pub fn note(message: impl Into<String>) -> Finding {
        Finding::new(State::Note, message)
    }

    #[must_use]
    pub fn unknown(message: impl Into<String>) -> Finding {
        Finding::new(State::Unknown, message)
    }

    #[must_use]
    pub fn warning(message: impl Into<String>) -> Finding {
        Finding::new(State::Warning, message)
    }

    #[must_use]
    pub fn error(message: impl Into<String>) -> Finding {
        Finding::new(State::Error, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hints.push(hint.into());
        self
    }
}

/// A named check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// One word, or two with a hyphen: a public name, in lists and JSON.
    pub name: &'static str,
    /// What it looks at, for the reference.
    pub about: &'static str,
    /// Never empty.
    pub run: fn(&Case) -> Vec<Finding>,
}

const HOST: Check = Check {
    name: "host",
    about: "this machine and user: container, WSL, rootless session",
    run: host::host,
};

const CONFIG: Check = Check {
    name: "config",
    about: "the operator's file: readable, without errors, writable by its owner alone",
    run: host::config,
};

const POLICY: Check = Check {
    name: "policy",
    about: "what the operator allows manifests beyond the default",
    run: host::policy,
};

const MANIFESTS: Check = Check {
    name: "manifests",
    about: "the directory of manifests is there and without errors",
    run: records::manifests,
};

/// Every check, in the order in which a person would ask. To add one: a line here, its function in
/// the file that it belongs to, what it looks at in [`Case`], and a test that sees it go red.
pub const CHECKS: &[Check] = &[
    HOST,
    CONFIG,
    POLICY,
    Check {
        name: "engine",
        about: "the engine answers",
        run: engine::engine,
    },
    Check {
        name: "api",
        about: "its API is one that docker-scheduler knows",
        run: engine::api,
    },
    Check {
        name: "permissions",
        about: "the engine, or a proxy before it, lets through what the scheduler asks",
        run: engine::permissions,
    },
    Check {
        name: "platform",
        about: "where Podman, rootless engines, Docker Desktop and WSL differ",
        run: engine::platform,
    },
    Check {
        name: "swarm",
        about: "a Swarm's managers and nodes, what it keeps, and what of ours is left there",
        run: swarm::swarm,
    },
    Check {
        name: "clock",
        about: "this machine's clock against the engine's and the ledger's",
        run: engine::clock,
    },
    Check {
        name: "disk",
        about: "space and inodes where the ledger and the engine write",
        run: records::disk,
    },
    Check {
        name: "log-driver",
        about: "the output of runs can be read",
        run: engine::log_driver,
    },
    Check {
        name: "logins",
        about: "the docker CLI's logins can be read, and their helpers are there",
        run: host::logins,
    },
    Check {
        name: "state",
        about: "the state folder: there, private, writable, on a disk that keeps it",
        run: records::state,
    },
    Check {
        name: "ledger",
        about: "the ledger can be read and belongs to this engine",
        run: records::ledger,
    },
    Check {
        name: "instance",
        about: "no other ledger holds this instance on the engine",
        run: records::instance,
    },
    Check {
        name: "watch",
        about: "somebody looks when jobs are due",
        run: records::watch,
    },
    MANIFESTS,
    Check {
        name: "jobs",
        about: "jobs that could not be armed, and runs that wait for a person",
        run: records::jobs,
    },
];

/// Those for a cluster that owns the clock: it has neither our ledger nor containers made ahead.
pub const CLUSTER_CHECKS: &[Check] = &[
    HOST,
    CONFIG,
    POLICY,
    Check {
        name: "engine",
        about: "the cluster answers",
        run: cluster::engine,
    },
    Check {
        name: "api",
        about: "it has CronJobs with time zones",
        run: cluster::api,
    },
    Check {
        name: "namespace",
        about: "the namespace is there",
        run: cluster::namespace,
    },
    Check {
        name: "permissions",
        about: "this account may do what examples/kubernetes/rbac.yaml grants",
        run: cluster::permissions,
    },
    Check {
        name: "clock",
        about: "this machine's clock against the cluster's",
        run: cluster::clock,
    },
    MANIFESTS,
    Check {
        name: "objects",
        about: "objects with our mark that nobody looks after",
        run: cluster::objects,
    },
    Check {
        name: "jobs",
        about: "jobs that somebody suspended in the cluster",
        run: cluster::jobs,
    },
];

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    pub check: &'static str,
    pub finding: Finding,
}

/// Runs every check.
#[must_use]
pub fn examine(case: &Case) -> Vec<Examined> {
    let checks = match case.engine_name {
        EngineName::Docker | EngineName::Swarm => CHECKS,
        EngineName::Kubernetes => CLUSTER_CHECKS,
    };
    checks
        .iter()
        .flat_map(|check| {
            (check.run)(case).into_iter().map(|finding| Examined {
                check: check.name,
                finding,
            })
        })
        .collect()
}

/// `1 job`, `2 jobs`.
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
