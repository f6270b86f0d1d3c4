//! Windows. Nobody else can read what lies in a user's profile, so private files lie there and nowhere else;
//! a file that is open cannot be taken away; and a process is known by when it started.

#![allow(
    unsafe_code,
    reason = "calls of the system that the standard library does not offer"
)]

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsRawHandle as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use windows_sys::Win32::Foundation::{CloseHandle, ERROR_LOCK_VIOLATION, FILETIME};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_NAME_NORMALIZED, FILE_SHARE_READ, GetDiskFreeSpaceExW,
    GetFinalPathNameByHandleW, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH, MoveFileExW,
};
use windows_sys::Win32::System::SystemInformation::GetTickCount64;
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
};
use windows_sys::Win32::System::WindowsProgramming::QueryUnbiasedInterruptTime;

use super::Space;

/// A file that is always there and always empty.
pub const NOTHING: &str = "NUL";

/// What a program's file may end in; the others of `PATHEXT` are scripts.
pub const PROGRAM_SUFFIXES: [&str; 3] = [".exe", ".cmd", ".bat"];

/// There is no journal of systemd.
pub fn stderr_is(_: &str) -> bool {
    false
}

/// Makes a folder (and its parents) that nobody else can read: within the user's profile, from which it
/// inherits who may.
///
/// # Errors
/// When it lies elsewhere, or cannot be made.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    check_in_profile(dir)?;
    fs::create_dir_all(dir)?;
    // Now that it is there, its links are known as well.
    check_in_profile(dir)
}

/// By what exists of it: a link may lead out of the profile.
fn check_in_profile(path: &Path) -> io::Result<()> {
    let home = std::env::home_dir().ok_or_else(|| io::Error::other("this user has no profile"))?;
    let absolute = std::path::absolute(path)?;
    let existing = absolute.ancestors().find(|part| part.exists());
    let real = existing.map_or(Ok(absolute.clone()), fs::canonicalize)?;
    if real.starts_with(fs::canonicalize(&home)?) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "it must lie within the user's profile, `{}`: on Windows others may be able to read what lies elsewhere",
            home.display()
        ),
    ))
}

/// Makes a file that nobody else can read, if it is not there; an existing one keeps its content.
///
/// # Errors
/// When it cannot be opened.
pub fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// An empty file that nobody else can read, to be written and then to replace another. It lies in a folder
/// that [`private_dir`] made.
///
/// # Errors
/// When it cannot be made.
pub fn draft(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// Nothing is to be done: who may read it comes from its folder.
///
/// # Errors
/// When it is not there.
pub fn keep_private(path: &Path) -> io::Result<()> {
    fs::metadata(path).map(drop)
}

/// Whether this user may read and write a file. Closing it again gives up nobody's lock here.
///
/// # Errors
/// Why not.
pub fn check_access(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open(path).map(drop)
}

/// Whether this user may make files in a folder. Only an attempt could tell for sure.
#[must_use]
pub fn may_fill(folder: &Path) -> bool {
    folder.is_dir() && check_in_profile(folder).is_ok()
}

/// Whether a file is a program that this user may start.
#[must_use]
pub fn is_program(file: &Path) -> bool {
    file.is_file()
}

/// Gives a finished file its name, unless the name is taken: of two processes at their first open, the slower
/// one takes the other's file. When it returns, the name is on the disk.
///
/// # Errors
/// When it cannot be moved; the draft is removed all the same.
pub fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match move_file(draft, path, MOVEFILE_WRITE_THROUGH) {
        Ok(()) => Ok(()),
        Err(error) => {
            let removed = fs::remove_file(draft);
            if path.exists() { removed } else { Err(error) }
        }
    }
}

/// Gives a finished file its name; what had it is gone. When it returns, the name is on the disk.
///
/// # Errors
/// When it cannot be moved.
pub fn replace(draft: &Path, path: &Path) -> io::Result<()> {
    move_file(draft, path, MOVEFILE_WRITE_THROUGH | MOVEFILE_REPLACE_EXISTING)
}

fn move_file(from: &Path, to: &Path, how: u32) -> io::Result<()> {
    let (from, to) = (wide(from), wide(to));
    // SAFETY: both end in a zero and outlive the call.
    match unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), how) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

/// Nothing is left to do: [`publish`] and [`replace`] have written the names.
///
/// # Errors
/// When the folder is not there.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::metadata(dir).map(drop)
}

/// The same for every file: the database is open without the right to delete it, and Windows lets nobody
/// replace or remove such a file.
#[must_use]
pub fn file_id(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// A path need not be text: it is any sequence of 16-bit units.
#[must_use]
pub fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str()
        .encode_wide()
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// The other way; `None` when no path has these bytes.
#[must_use]
pub fn path_from_bytes(bytes: Vec<u8>) -> Option<PathBuf> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    rest.is_empty()
        .then(|| PathBuf::from(OsString::from_wide(&units)))
}

/// A path as a `file:` address has it, not yet escaped: `/C:/folder/file`.
#[must_use]
pub fn address_bytes(path: &Path) -> Vec<u8> {
    let text = path.to_string_lossy().replace('\\', "/");
    format!("/{text}").into_bytes()
}

/// Opens a path that had no links in it when it was resolved, and fails if it has one now.
///
/// # Errors
/// When it cannot be opened, or there is a link in it by now.
pub fn open_without_links(real: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        // While this is open, nobody may write to it, and neither it nor a folder above can be renamed.
        .share_mode(FILE_SHARE_READ)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
        .open(real)?;
    if file.metadata()?.is_symlink() || final_path(&file)? != fs::canonicalize(real)? {
        return Err(io::Error::other("this became a link while it was looked at"));
    }
    Ok(file)
}

/// Where an open file lies, whatever it was opened by.
fn final_path(file: &File) -> io::Result<PathBuf> {
    let mut buffer = vec![0_u16; 512];
    loop {
        let room = u32::try_from(buffer.len()).map_err(io::Error::other)?;
        // SAFETY: the handle is open, and the buffer has as much room as is said.
        let length = unsafe {
            GetFinalPathNameByHandleW(
                file.as_raw_handle(),
                buffer.as_mut_ptr(),
                room,
                FILE_NAME_NORMALIZED,
            )
        };
        match usize::try_from(length).map_err(io::Error::other)? {
            0 => return Err(io::Error::last_os_error()),
            length if length < buffer.len() => {
                return Ok(PathBuf::from(OsString::from_wide(&buffer[..length])));
            }
            needed => buffer.resize(needed + 1, 0),
        }
    }
}

/// There is no limit on how much is watched.
#[must_use]
pub fn watches_used_up(_: &io::Error) -> bool {
    false
}

/// Whether a file could not be read because another process has locked it.
#[must_use]
pub fn is_locked(error: &io::Error) -> bool {
    let code = error.raw_os_error().and_then(|code| u32::try_from(code).ok());
    code == Some(ERROR_LOCK_VIOLATION)
}

/// What is left where a path lies; `None` where nobody tells.
#[must_use]
pub fn space(path: &Path) -> Option<Space> {
    let path = wide(path);
    let mut free_bytes = 0;
    // SAFETY: the path ends in a zero, and what is not asked for may be null.
    let told = unsafe {
        GetDiskFreeSpaceExW(
            path.as_ptr(),
            &raw mut free_bytes,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    (told != 0).then_some(Space {
        free_bytes,
        free_files: None,
        is_read_only: false,
    })
}

/// When a process started, in tenths of a microsecond since 1601: tells it from a later one with the same pid,
/// also of another boot. `None` where there is no such process, or it may not be asked.
#[must_use]
pub fn process_started(pid: u32) -> Option<u64> {
    let nothing = FILETIME {
        dwLowDateTime: 0,
        dwHighDateTime: 0,
    };
    let (mut created, mut exited, mut kernel, mut user) = (nothing, nothing, nothing, nothing);
    // SAFETY: the handle is open between these calls and closed once; the times are written, not read.
    let told = unsafe {
        let process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid);
        if process.is_null() {
            return None;
        }
        let told = GetProcessTimes(
            process,
            &raw mut created,
            &raw mut exited,
            &raw mut kernel,
            &raw mut user,
        );
        CloseHandle(process);
        told
    };
    let has_ended = exited.dwLowDateTime != 0 || exited.dwHighDateTime != 0;
    let started = (u64::from(created.dwHighDateTime) << 32) | u64::from(created.dwLowDateTime);
    (told != 0 && !has_ended).then_some(started)
}

/// Windows does not name its boots.
#[must_use]
pub fn boot_id() -> String {
    String::new()
}

/// Since boot, suspend included.
#[must_use]
pub fn boottime() -> Duration {
    // SAFETY: it takes nothing.
    Duration::from_millis(unsafe { GetTickCount64() })
}

/// Since boot, without the time of suspend.
#[must_use]
pub fn monotonic() -> Duration {
    let mut ticks = 0;
    // SAFETY: it only writes to what it is given. It fails for a null pointer alone.
    unsafe { QueryUnbiasedInterruptTime(&raw mut ticks) };
    // In tenths of a microsecond.
    Duration::from_micros(ticks / 10)
}

/// Nobody is: also an administrator's state lies in the profile.
#[must_use]
pub fn is_root() -> bool {
    false
}

/// The user of this process, by what the system calls it.
#[must_use]
pub fn user() -> String {
    std::env::var("USERNAME").map_or_else(
        |_| "a user without a name".to_owned(),
        |name| format!("user {name}"),
    )
}

/// Who may do what with a file, as `chmod` would have it: what lies in a profile is its user's.
#[must_use]
pub fn mode(_: &Metadata) -> u32 {
    0o700
}

/// Whether anybody but its owner may write to a file: not told here. Where the operator's file lies by itself
/// is in the user's profile.
#[must_use]
pub fn writable_by_others(_: &Metadata) -> bool {
    false
}

/// Where a user's own settings lie.
#[must_use]
pub fn config_home(home: &Path) -> PathBuf {
    std::env::var_os("APPDATA").map_or_else(|| home.join(r"AppData\Roaming"), PathBuf::from)
}

/// Where what a user's programs know lies.
#[must_use]
pub fn state_home(home: &Path) -> PathBuf {
    std::env::var_os("LOCALAPPDATA").map_or_else(|| home.join(r"AppData\Local"), PathBuf::from)
}
