//! Linux, and what of it other Unix systems have.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Space;

/// A file that is always there and always empty.
pub const NOTHING: &str = "/dev/null";

/// What a program's file may end in.
pub const PROGRAM_SUFFIXES: [&str; 0] = [];

/// Whether stderr is what systemd names by `JOURNAL_STREAM`: `device:inode`, see systemd.exec(5).
pub fn stderr_is(stream: &str) -> bool {
    let own = io::stderr().as_fd().try_clone_to_owned();
    own.and_then(|fd| File::from(fd).metadata())
        .is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

/// Makes a folder (and its parents) that nobody else can read; an existing one is tightened.
///
/// # Errors
/// When it cannot be made, or belongs to somebody else.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    tighten(dir, 0o700)
}

/// Makes a file that nobody else can read, if it is not there; an existing one keeps its content.
///
/// # Errors
/// When it cannot be opened, or not be tightened.
pub fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// An empty file that nobody else can read, to be written and then to replace another.
///
/// # Errors
/// When it cannot be made.
pub fn draft(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Takes a file away from other readers, without opening it.
///
/// # Errors
/// When it belongs to somebody else.
pub fn keep_private(path: &Path) -> io::Result<()> {
    tighten(path, 0o600)
}

fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Whether this user may read and write a file, without opening it: closing any descriptor of a file gives
/// up all locks that this process has on it (POSIX).
///
/// # Errors
/// Why not.
pub fn check_access(path: &Path) -> io::Result<()> {
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    Ok(rustix::fs::access(path, access)?)
}

/// Whether this user may make files in a folder.
#[must_use]
pub fn may_fill(folder: &Path) -> bool {
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(folder, access).is_ok()
}

/// Whether a file is a program that this user may start.
#[must_use]
pub fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Gives a finished file its name, unless the name is taken: of two processes at their first open, the slower
/// one takes the other's file. A crash on the way leaves a draft, never half a file.
///
/// # Errors
/// When it cannot be linked; the draft is removed all the same.
pub fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    let linked = match fs::hard_link(draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    let removed = fs::remove_file(draft);
    linked.and(removed)
}

/// Gives a finished file its name; what had it is gone.
///
/// # Errors
/// When it cannot be renamed.
pub fn replace(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// When the disk does not say so.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Tells a file from another one that took its name.
#[must_use]
pub fn file_id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A path need not be text.
#[must_use]
pub fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// The other way; `None` when no path has these bytes.
#[must_use]
#[allow(clippy::unnecessary_wraps, reason = "other systems' paths are not any bytes")]
pub fn path_from_bytes(bytes: Vec<u8>) -> Option<PathBuf> {
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// A path as a `file:` address has it, not yet escaped.
#[must_use]
pub fn address_bytes(path: &Path) -> Vec<u8> {
    path_bytes(path)
}

/// Opens a path that had no links in it when it was resolved, and fails if it has one now. A pipe does not
/// hold us up.
///
/// # Errors
/// When it cannot be opened, or is a link by now.
pub fn open_without_links(real: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    match rustix::fs::openat2(
        CWD,
        real,
        flags,
        Mode::empty(),
        rustix::fs::ResolveFlags::NO_SYMLINKS,
    ) {
        Ok(file) => return Ok(File::from(file)),
        // Kernels before 5.6 and some sandboxes do not have it; the last part is still checked below.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(File::from(rustix::fs::openat(CWD, real, flags, Mode::empty())?))
}

/// `fs.inotify.max_user_watches`, or no file descriptor left for an inotify instance.
#[must_use]
pub fn watches_used_up(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::NOSPC]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

/// Whether a file could not be read because another process has locked it.
#[must_use]
pub fn is_locked(_: &io::Error) -> bool {
    false
}

/// What is left where a path lies; `None` where nobody tells.
#[must_use]
pub fn space(path: &Path) -> Option<Space> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(Space {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        // A file system that makes inodes as it goes says that it has none.
        free_files: (found.f_files > 0).then_some(found.f_favail),
        is_read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

/// When a process started, in clock ticks since boot: tells it from a later one with the same pid.
/// `None` where there is no such process, or no `/proc`.
#[must_use]
pub fn process_started(pid: u32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat`. The second field is a command's name in parentheses, which may
/// itself hold blanks and parentheses.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// This boot of the machine; empty where the system does not say.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Whether everything is allowed to this process.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user of this process, by what the system calls it.
#[must_use]
pub fn user() -> String {
    format!("user {}", user_id())
}

/// The user of this process, by number.
#[must_use]
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The groups that this process has.
#[must_use]
pub fn groups() -> Vec<u32> {
    rustix::process::getgroups()
        .unwrap_or_default()
        .into_iter()
        .chain([rustix::process::getegid()])
        .map(|group| group.as_raw())
        .collect()
}

/// Who may do what with a file, as `chmod` has it.
#[must_use]
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777
}

/// Whether anybody but its owner (and root) may write to a file.
#[must_use]
pub fn writable_by_others(metadata: &Metadata) -> bool {
    let group = metadata.mode() & 0o020 != 0 && metadata.gid() != 0 && !is_own_group(metadata.gid());
    metadata.mode() & 0o002 != 0 || group
}

/// Many systems give each user a group of their own, in which nobody else is.
fn is_own_group(group: u32) -> bool {
    rustix::process::getegid().as_raw() == group && user_id() == group
}

/// Where a user's own settings lie, beside `$XDG_CONFIG_HOME`.
#[must_use]
pub fn config_home(home: &Path) -> PathBuf {
    home.join(".config")
}

/// Where what a user's programs know lies, beside `$XDG_STATE_HOME`.
#[must_use]
pub fn state_home(home: &Path) -> PathBuf {
    home.join(".local/state")
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
}
