//! Which process is at the other end of a local socket, where that is evidence.
//!
//! A pid alone proves nothing: under socket activation the listener is systemd, behind a proxy it
//! is the proxy, and pids are reused. So the process must be an engine's own binary, and its start
//! time goes along.

use std::path::Path;

use crate::model::Peer;

/// Binaries that hold an engine's state in their own process.
const ENGINES: [&str; 2] = ["dockerd", "podman"];

/// The engine's process behind `socket`; `None` when that cannot be told for sure.
pub(super) async fn of_socket(socket: &Path) -> Option<Peer> {
    let stream = tokio::net::UnixStream::connect(socket).await.ok()?;
    let pid = stream.peer_cred().ok()?.pid()?;
    // 0: a process of another pid namespace; 1: systemd, which holds the socket for it.
    let pid = u32::try_from(pid).ok().filter(|pid| *pid > 1)?;
    let started = start_time(pid)?;
    let binary = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // A second look: between the two reads the pid could have become another process.
    (is_engine(&binary) && start_time(pid)? == started).then_some(Peer {
        pid,
        pid_started: started,
    })
}

fn is_engine(binary: &Path) -> bool {
    let name = binary
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    // A package upgrade replaces the file under the running process.
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    ENGINES.contains(&name)
}

/// When a process started, in clock ticks since boot: tells it from a later one with the same pid.
/// `None` where there is no such process, or no `/proc`.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat`. The second field is a command's name in parentheses, which may
/// itself hold blanks and parentheses.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_shifts_nothing() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(parse_start_time(&format!("42 (a) b (c) {rest}")), Some(4711));
        assert_eq!(parse_start_time("42 (a) S 1"), None);
    }

    #[test]
    fn only_an_engines_own_binary_is_evidence() {
        assert!(is_engine(Path::new("/usr/bin/dockerd")));
        assert!(is_engine(Path::new("/usr/bin/dockerd (deleted)")));
        assert!(!is_engine(Path::new("/usr/lib/systemd/systemd")));
        assert!(!is_engine(Path::new("/usr/bin/socat")));
    }

    #[tokio::test]
    async fn a_proxy_is_no_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(of_socket(&socket).await, None, "this test is no engine");
        assert_eq!(of_socket(&folder.path().join("none")).await, None);
    }
}
