//! Which process is at the other end of a local socket, where that is evidence.
//!
//! A pid alone proves nothing: under socket activation the listener is systemd, behind a proxy it
//! is the proxy, and pids are reused. So the process must be an engine's own binary, and its start
//! time goes along.

use std::path::Path;

use crate::model::Peer;
use crate::os::process_started;

/// Binaries that hold an engine's state in their own process.
const ENGINES: [&str; 2] = ["dockerd", "podman"];

/// The engine's process behind `socket`; `None` when that cannot be told for sure.
pub(super) async fn of_socket(socket: &Path) -> Option<Peer> {
    let stream = tokio::net::UnixStream::connect(socket).await.ok()?;
    let pid = stream.peer_cred().ok()?.pid()?;
    // 0: a process of another pid namespace; 1: systemd, which holds the socket for it.
    let pid = u32::try_from(pid).ok().filter(|pid| *pid > 1)?;
    let started = process_started(pid)?;
    let binary = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // A second look: between the two reads the pid could have become another process.
    (is_engine(&binary) && process_started(pid)? == started).then_some(Peer {
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

#[cfg(test)]
mod tests {
    use super::*;

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
