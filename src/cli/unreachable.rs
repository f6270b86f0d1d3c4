//! What to do when the engine cannot be reached, on the machine that this is.

use std::path::PathBuf;

use super::error::{CommandError, ErrorKind};
use super::surroundings::{Around, Group};

/// The socket of an engine that was installed as its makers say.
const USUAL: &str = "unix:///var/run/docker.sock";

/// The error, with advice for this machine. `why` is the system's or the engine's word.
pub fn explain(host: &str, why: &str, around: &Around) -> CommandError {
    let error = CommandError::new(
        ErrorKind::EngineUnreachable,
        format!("cannot reach the Docker engine at `{host}`"),
    )
    .caused_by(why);
    let why = why.to_ascii_lowercase();
    let says = |words: &str| why.contains(words);
    if says("https server") {
        return error.hint(
            "it wants TLS: set `DOCKER_TLS_VERIFY=1` and `DOCKER_CERT_PATH`, or use a context that has its certificates",
        );
    }
    if let Some(hint) = about_certificates(&why) {
        return error.hint(hint);
    }
    if says("api version") {
        return error.hint("docker-scheduler needs Docker 20.10 or later, or Podman with Docker's API");
    }
    if says("speak") || says("not a container engine") || says("without an answer") {
        return error.hint("another program may listen there: check `--host`, `--context` and `DOCKER_HOST`; `docker version` asks the same address");
    }
    if host.starts_with("ssh://") {
        return error.hint("`ssh HOST docker version` must work without a question: a key instead of a password, the host's key known, docker in the path there");
    }
    if host.starts_with("npipe://") {
        return error.hint(if says("denied") {
            "this user may not open the pipe: add the user to the group `docker-users`, and log in again"
        } else {
            "start Docker Desktop, and wait until it says that its engine runs; or name another engine with `--host`, `--context` or `DOCKER_HOST`"
        });
    }
    let Some(socket) = host.strip_prefix("unix://").map(PathBuf::from) else {
        return error.hint("check `--host`, `--context` or `DOCKER_HOST`, and that the engine listens there");
    };
    if says("permission denied") {
        return denied(error, around);
    }
    let error = error.hint("start the engine, or name another with `--host`, `--context` or `DOCKER_HOST`");
    if let Some(other) = around.sockets.iter().find(|other| **other != socket) {
        return error.hint(format!(
            "an engine may listen at `{0}`: set `DOCKER_HOST=unix://{0}`",
            other.display()
        ));
    }
    if host == USUAL {
        absent(error, around)
    } else {
        error
    }
}

/// What to do where TLS was tried and failed.
fn about_certificates(why: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|words| why.contains(words));
    if says(&[
        "certificaterequired",
        "certificate required",
        "badcertificate",
        "bad certificate",
    ]) {
        Some(
            "the engine wants to know who asks: `cert.pem` and `key.pem`, signed by its authority, belong into `DOCKER_CERT_PATH`",
        )
    } else if says(&["certificate"]) {
        Some(
            "the engine's certificate must name this host and be signed by the authority in `ca.pem` of `DOCKER_CERT_PATH`",
        )
    } else if says(&["corrupt message", "invalidcontenttype"]) {
        Some(
            "it does not speak TLS: unset `DOCKER_TLS_VERIFY`, or name the port where it does (usually 2376)",
        )
    } else {
        None
    }
}

/// The socket is there, and not for this user.
fn denied(error: CommandError, around: &Around) -> CommandError {
    if around.in_container {
        return error.hint("this container's user may not open the host's socket: give it the socket's group, `--group-add $(stat -c %g /var/run/docker.sock)`");
    }
    match around.group {
        Group::JoinedLater => error.hint(
            "this user is in group `docker` by now, and this session began before that: log in again, or `newgrp docker`",
        ),
        Group::Outside | Group::Inside | Group::Missing => error.hint(
            "the socket belongs to group `docker`; add this user to it, or set `DOCKER_HOST`",
        ),
    }
}

/// Nobody listens where an engine usually does.
fn absent(error: CommandError, around: &Around) -> CommandError {
    if around.in_container {
        return error.hint("in a container the host's engine is reached through its socket: `-v /var/run/docker.sock:/var/run/docker.sock`");
    }
    if around.wsl && !around.engine_installed {
        return error.hint("in WSL: turn on the integration with this distribution in Docker Desktop (Settings, Resources, WSL integration), or install an engine here");
    }
    if around.desktop {
        return error.hint("Docker Desktop is installed and does not run: start it, and wait until it says that its engine runs");
    }
    if around.engine_installed {
        let start = if around.systemd {
            "sudo systemctl start docker"
        } else {
            "sudo service docker start"
        };
        return error.hint(format!("an engine is installed here: `{start}`"));
    }
    error.hint("no engine seems to be installed here: https://docs.docker.com/engine/install/ says how; `docker-scheduler validate` and `next` work without")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(host: &str, why: &str, around: &Around) -> Vec<String> {
        explain(host, why, around).hints().to_vec()
    }

    /// What is advised beside "start the engine".
    fn absent(around: &Around) -> String {
        let hints = hints(USUAL, "no such file or directory", around);
        assert!(hints[0].starts_with("start the engine"), "{hints:?}");
        hints.get(1).cloned().unwrap_or_default()
    }

    #[test]
    fn a_machine_without_an_engine_gets_the_sentence_that_helps_there() {
        let none = Around::default();
        assert!(absent(&none).starts_with("no engine seems to be installed here"));
        let installed = Around {
            engine_installed: true,
            systemd: true,
            ..Around::default()
        };
        assert_eq!(
            absent(&installed),
            "an engine is installed here: `sudo systemctl start docker`"
        );
        let without_systemd = Around {
            systemd: false,
            ..installed.clone()
        };
        assert!(absent(&without_systemd).contains("service docker start"));
        let desktop = Around {
            desktop: true,
            ..Around::default()
        };
        assert!(absent(&desktop).starts_with("Docker Desktop is installed"));
        let wsl = Around {
            wsl: true,
            ..Around::default()
        };
        assert!(absent(&wsl).starts_with("in WSL: turn on the integration"));
        let wsl_with_engine = Around {
            wsl: true,
            ..installed
        };
        assert!(absent(&wsl_with_engine).contains("systemctl start docker"));
        let inside = Around {
            in_container: true,
            ..Around::default()
        };
        assert!(absent(&inside).contains("-v /var/run/docker.sock"));
    }

    #[test]
    fn another_engine_is_named_before_anything_is_installed() {
        let around = Around {
            sockets: vec!["/run/user/1000/docker.sock".into()],
            ..Around::default()
        };
        assert_eq!(
            absent(&around),
            "an engine may listen at `/run/user/1000/docker.sock`: set `DOCKER_HOST=unix:///run/user/1000/docker.sock`"
        );
        let elsewhere = hints("unix:///x.sock", "no such file or directory", &Around::default());
        assert_eq!(
            elsewhere.len(),
            1,
            "a socket of one's own is one's own affair: {elsewhere:?}"
        );
    }

    #[test]
    fn a_closed_socket_names_the_group_that_may_open_it() {
        let denied = |around: &Around| hints(USUAL, "permission denied", around).concat();
        let outside = denied(&Around::default());
        assert_eq!(
            outside,
            "the socket belongs to group `docker`; add this user to it, or set `DOCKER_HOST`"
        );
        let later = Around {
            group: Group::JoinedLater,
            ..Around::default()
        };
        assert!(denied(&later).contains("newgrp docker"));
        let inside = Around {
            in_container: true,
            ..Around::default()
        };
        assert!(denied(&inside).contains("--group-add"));
    }

    #[test]
    fn addresses_that_are_no_sockets_have_advice_of_their_own() {
        let none = Around::default();
        let first = |host: &str, why: &str| hints(host, why, &none)[0].clone();
        assert!(first("tcp://x:2375", "client sent an HTTP request to an HTTPS server").contains("TLS"));
        assert!(first("tcp://x:2375", "connection refused").contains("listens there"));
        assert!(first("ssh://x", "connection refused").contains("ssh HOST docker version"));
        assert!(first("unix:///x", "no common API version").contains("20.10"));
        let pipe = "npipe:////./pipe/docker_engine";
        assert!(first(pipe, "Access is denied. (os error 5)").contains("docker-users"));
        assert!(
            first(pipe, "The system cannot find the file specified.").starts_with("start Docker Desktop")
        );
        assert!(first("tcp://x:80", "it does not speak HTTP").contains("another program"));
    }
}
