//! Where this process runs: container, WSL, whose session, which file systems.
//!
//! For `doctor` and for the advice of errors; nothing is decided by it.

use std::path::{Path, PathBuf};

use crate::doctor::{FileSystem, Host};
use crate::os;

/// This machine and user.
pub fn host() -> Host {
    Host {
        user: user(),
        in_container: in_container(),
        wsl: is_wsl(),
        lingers: lingers(),
    }
}

fn user() -> String {
    if os::is_root() {
        "root".to_owned()
    } else {
        os::user()
    }
}

/// What the advice of an error depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    pub in_container: bool,
    pub wsl: bool,
    pub systemd: bool,
    pub engine_installed: bool,
    /// Docker Desktop is installed.
    pub desktop: bool,
    pub group: Group,
    /// Where engines listen on this machine.
    pub sockets: Vec<PathBuf>,
}

/// This user and the group `docker`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Group {
    #[default]
    Missing,
    Outside,
    Inside,
    /// Listed in it, while this session does not have it.
    JoinedLater,
}

pub fn around() -> Around {
    let home = std::env::home_dir().unwrap_or_default();
    let desktop = home.join(".docker/desktop").is_dir() || Path::new("/opt/docker-desktop").is_dir();
    Around {
        in_container: in_container(),
        wsl: is_wsl(),
        systemd: Path::new("/run/systemd/system").is_dir(),
        engine_installed: ["dockerd", "/usr/sbin/dockerd", "/usr/bin/dockerd"]
            .iter()
            .any(|program| is_in_path(program)),
        desktop,
        group: docker_group(),
        sockets: sockets(),
    }
}

/// Sockets of engines that exist: a rootless Docker, Docker Desktop, the usual one, Podman.
#[cfg(unix)]
fn sockets() -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt as _;
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let home = std::env::home_dir();
    let places = [
        runtime.as_ref().map(|dir| dir.join("docker.sock")),
        home.as_ref().map(|dir| dir.join(".docker/desktop/docker.sock")),
        home.as_ref().map(|dir| dir.join(".docker/run/docker.sock")),
        Some("/var/run/docker.sock".into()),
        runtime.as_ref().map(|dir| dir.join("podman/podman.sock")),
        Some("/run/podman/podman.sock".into()),
    ];
    let is_socket = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
    places.into_iter().flatten().filter(is_socket).collect()
}

/// Engines on Windows listen at pipes, and a pipe cannot be looked at without opening it.
#[cfg(windows)]
fn sockets() -> Vec<PathBuf> {
    Vec::new()
}

#[cfg(unix)]
fn docker_group() -> Group {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    membership(
        &read("/etc/group"),
        &read("/etc/passwd"),
        os::user_id(),
        &os::groups(),
    )
}

/// Who may open an engine's pipe is not told by files.
#[cfg(windows)]
fn docker_group() -> Group {
    membership("", "", 0, &[])
}

/// By the lines of `group(5)` and `passwd(5)`.
fn membership(group_file: &str, user_file: &str, user: u32, groups: &[u32]) -> Group {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let found = group_file.lines().map(fields).find(|line| line[0] == "docker");
    let Some([_, _, id, members]) = found.as_deref() else {
        return Group::Missing;
    };
    if id.parse().is_ok_and(|id: u32| groups.contains(&id)) {
        return Group::Inside;
    }
    let name = user_file
        .lines()
        .map(fields)
        .find(|line| line.get(2).is_some_and(|id| id.parse() == Ok(user)))
        .map(|line| line[0].clone());
    match name {
        Some(name) if members.split(',').any(|member| member == name) => Group::JoinedLater,
        _ => Group::Outside,
    }
}

/// The files that Docker and Podman put into each container.
pub fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|file| Path::new(file).exists())
}

/// The kernel that Microsoft builds for WSL says so.
pub fn is_wsl() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .is_ok_and(|release| release.to_ascii_lowercase().contains("microsoft"))
}

/// As systemd keeps it: a file for each user whose services go on after the last log-out.
fn lingers() -> Option<bool> {
    let folder = Path::new("/var/lib/systemd/linger");
    let name = std::env::var("USER").ok().filter(|name| !name.is_empty())?;
    Path::new("/run/systemd/system")
        .is_dir()
        .then(|| folder.join(name).exists())
}

/// The nearest folder above (or the path itself) that is there.
pub fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

/// Whether a program of that name would be found.
pub fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| {
        let suffixes = std::iter::once("").chain(os::PROGRAM_SUFFIXES.iter().copied());
        suffixes
            .map(|suffix| folder.join(format!("{program}{suffix}")))
            .any(|file| os::is_program(&file))
    })
}

/// The kind of file system that a path lies on, or would.
#[cfg(target_os = "linux")]
#[allow(
    clippy::useless_conversion,
    reason = "the field is an `i32` on machines of 32 bits"
)]
pub fn file_system(path: &Path) -> FileSystem {
    match rustix::fs::statfs(existing(path)) {
        Ok(found) => kind(i64::from(found.f_type)),
        Err(_) => FileSystem::Local,
    }
}

#[cfg(not(target_os = "linux"))]
pub fn file_system(_: &Path) -> FileSystem {
    FileSystem::Local
}

/// By the numbers of `statfs(2)`.
#[cfg(target_os = "linux")]
fn kind(number: i64) -> FileSystem {
    // The high bit of CIFS and SMB2 makes them negative where the field is an `i32`.
    match number & 0xffff_ffff {
        // NFS, SMB, CIFS, SMB2, Ceph, AFS, 9p (WSL's /mnt/c), FUSE (Docker Desktop's shares, sshfs).
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x00c3_6400 | 0x5346_414f | 0x0102_1997
        | 0x6573_5546 => FileSystem::Network,
        // tmpfs, ramfs
        0x0102_1994 | 0x8584_58f6 => FileSystem::Memory,
        // overlayfs, which on a host is some live system's, and in a container its own layer
        0x794c_7630 if in_container() => FileSystem::ContainerLayer,
        _ => FileSystem::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(existing(folder.path()), folder.path());
        assert_eq!(existing(&folder.path().join("a/b/c")), folder.path());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(existing(&file.join("below")), folder.path());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn file_systems_by_their_numbers() {
        assert_eq!(kind(0xef53), FileSystem::Local);
        assert_eq!(kind(0x6969), FileSystem::Network);
        assert_eq!(kind(-0x00ac_b2be), FileSystem::Network, "CIFS in an i32");
        assert_eq!(kind(0x0102_1994), FileSystem::Memory);
        assert_eq!(file_system(Path::new("/proc/self")), FileSystem::Local);
    }

    #[test]
    fn who_is_in_the_group() {
        let groups = "root:x:0:\ndocker:x:999:me,other\n";
        let users =
            "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\nyou:x:1001:1001::/:/bin/sh\n";
        assert_eq!(membership(groups, users, 1000, &[1000, 999]), Group::Inside);
        assert_eq!(membership(groups, users, 1000, &[1000]), Group::JoinedLater);
        assert_eq!(membership(groups, users, 1001, &[1001]), Group::Outside);
        assert_eq!(membership(groups, users, 1002, &[]), Group::Outside);
        assert_eq!(membership("root:x:0:\n", users, 1000, &[1000]), Group::Missing);
        assert_eq!(membership("docker", "", 0, &[]), Group::Missing);
    }

    #[test]
    fn a_program_is_looked_for_in_path() {
        assert!(is_in_path(if cfg!(windows) { "cmd" } else { "sh" }));
        assert!(!is_in_path("docker-credential-that-is-not-there"));
    }
}
