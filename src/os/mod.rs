//! What differs between the systems that this program runs on: who may read a file, what makes a name
//! durable, which process is which.
//!
//! Each system has a file of its own with the same functions, so that the compiler asks for one that is
//! missing. A promise that a system cannot keep is an error there, and never a weaker promise.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

use std::path::{Path, PathBuf};

/// What a file system has left for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    /// `None` where it makes them as it goes.
    pub free_files: Option<u64>,
    pub is_read_only: bool,
}

/// The path without links, in a form that an engine understands as well.
///
/// # Errors
/// When it does not exist, or may not be looked at.
pub fn canonicalize(path: &Path) -> std::io::Result<PathBuf> {
    dunce::canonicalize(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_keeps_its_content_and_a_draft_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        private_dir(&dir).unwrap();
        private_dir(&dir).unwrap();
        let path = dir.join("file");
        std::fs::write(&path, "kept").unwrap();
        drop(private_file(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        check_access(&path).unwrap();
        drop(draft(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        assert!(check_access(&dir.join("none")).is_err());
    }

    #[test]
    fn publishing_never_replaces_and_replacing_does() {
        let folder = tempfile::tempdir().unwrap();
        let (draft, path) = (folder.path().join("draft"), folder.path().join("file"));
        let write = |text: &str| std::fs::write(&draft, text).unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        write("first");
        publish(&draft, &path).unwrap();
        write("second");
        publish(&draft, &path).unwrap();
        assert_eq!(read(), "first");
        assert!(!draft.exists(), "a draft is never left behind");
        write("third");
        replace(&draft, &path).unwrap();
        assert_eq!(read(), "third");
        sync_dir(folder.path()).unwrap();
    }

    #[test]
    fn a_path_becomes_bytes_and_a_path_again() {
        let path = Path::new("some/träger/目录");
        assert_eq!(path_from_bytes(path_bytes(path)).as_deref(), Some(path));
    }

    #[test]
    fn this_process_has_a_beginning_and_nobody_else_has_it() {
        let me = std::process::id();
        let started = process_started(me);
        assert_eq!(process_started(me), started);
        if cfg!(any(target_os = "linux", windows)) {
            assert!(started.is_some_and(|started| started > 0));
        }
        assert_eq!(process_started(u32::MAX - 1), None);
    }

    #[test]
    fn a_disk_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let space = space(folder.path()).unwrap();
        assert!(space.free_bytes > 0 && !space.is_read_only);
    }
}
