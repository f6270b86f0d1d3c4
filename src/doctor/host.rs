//! Checks of this machine, its user, and the files that are theirs.

use super::{Case, Finding, Logins, OperatorFound};
use crate::policy::Rules;

pub(super) fn host(case: &Case) -> Vec<Finding> {
    let host = &case.host;
    let place = match (host.in_container, host.wsl) {
        (true, _) => ", in a container",
        (false, true) => ", in WSL",
        (false, false) => "",
    };
    vec![Finding::ok(format!("{}{place}", host.user))]
}

pub(super) fn config(case: &Case) -> Vec<Finding> {
    let path = match &case.operator.path {
        Some(path) => format!("`{}`", path.display()),
        None => "a file".to_owned(),
    };
    match &case.operator.found {
        OperatorFound::Absent => vec![Finding::ok(format!(
            "no operator's file ({path} would be read): the defaults hold"
        ))],
        OperatorFound::Read {
            writable_by_others: false,
            ..
        } => vec![Finding::ok(format!("{path} is read"))],
        OperatorFound::Read {
            writable_by_others: true,
            ..
        } => vec![
            Finding::error(format!("{path} can be written by others"))
                .hint("who may write it decides what jobs may do to this host: `chmod go-w` it, and give it to its owner"),
        ],
        OperatorFound::Broken { why, hints } => vec![Finding {
            hints: hints.clone(),
            ..Finding::error(why.clone())
        }],
    }
}

pub(super) fn policy(case: &Case) -> Vec<Finding> {
    let rules = match &case.operator.found {
        OperatorFound::Read { rules, .. } => rules,
        OperatorFound::Absent => {
            return vec![Finding::ok(
                "jobs may not have what gives away the host (the default)",
            )];
        }
        OperatorFound::Broken { .. } => return vec![Finding::unknown("the operator's file cannot be used")],
    };
    // Whole, so that a new rule asks where it belongs.
    let Rules {
        allow_privileged,
        allow_cap_add,
        allow_devices,
        allow_gpus,
        allow_host_network,
        allow_host_pid,
        allow_host_ipc,
        allow_host_userns,
        allow_host_uts,
        allow_unconfined,
        allow_docker_socket,
        bind_roots,
        protected: _, // narrow what is allowed
        sockets: _,
        exec,
    } = rules;
    let everything = bind_roots.iter().any(|root| root.parent().is_none());
    let host = chosen(&[
        (*allow_privileged, "allow_privileged"),
        (*allow_docker_socket, "allow_docker_socket"),
        (everything, "bind_roots: [/]"),
        (*allow_host_pid, "allow_host_pid"),
        (*allow_cap_add, "allow_cap_add"),
        (*allow_devices, "allow_devices"),
        (*allow_unconfined, "allow_unconfined"),
    ]);
    let more = chosen(&[
        (*allow_host_network, "allow_host_network"),
        (*allow_host_ipc, "allow_host_ipc"),
        (*allow_host_userns, "allow_host_userns"),
        (*allow_host_uts, "allow_host_uts"),
        (*allow_gpus, "allow_gpus"),
        (!bind_roots.is_empty() && !everything, "bind_roots"),
        (!exec.is_empty(), "exec"),
    ]);
    let mut found = Vec::new();
    if !host.is_empty() {
        found.push(
            Finding::note(format!(
                "who may write manifests can take over this host: {}",
                host.join(", ")
            ))
            .hint("leave these out of the operator's file unless every writer of manifests may be root here"),
        );
    }
    if !more.is_empty() {
        found.push(Finding::ok(format!(
            "allowed beyond the default: {}",
            more.join(", ")
        )));
    }
    if found.is_empty() {
        found.push(Finding::ok(
            "jobs may not have what gives away the host (the default)",
        ));
    }
    found
}

fn chosen<'a>(list: &[(bool, &'a str)]) -> Vec<&'a str> {
    list.iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| *name)
        .collect()
}

pub(super) fn logins(case: &Case) -> Vec<Finding> {
    match &case.logins {
        Logins::Absent => vec![Finding::ok(
            "no logins of the docker CLI: images are pulled without",
        )],
        Logins::Unreadable { path, why } => vec![
            Finding::warning(format!("`{}` cannot be read: {why}", path.display()))
                .hint("images that need a login cannot be pulled; `DOCKER_CONFIG` names another folder"),
        ],
        Logins::Read {
            path,
            registries,
            missing_helpers,
        } => {
            if missing_helpers.is_empty() {
                let what = match registries {
                    1 => "1 registry".to_owned(),
                    count => format!("{count} registries"),
                };
                return vec![Finding::ok(format!("`{}`: logins for {what}", path.display()))];
            }
            missing_helpers
                .iter()
                .map(|helper| {
                    Finding::warning(format!(
                        "`{}` names the credential helper `{helper}`, which is not in PATH",
                        path.display()
                    ))
                    .hint("install it where the scheduler runs, or point `DOCKER_CONFIG` at a folder whose config.json does not need it")
                })
                .collect()
        }
    }
}
