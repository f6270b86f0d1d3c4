//! Where the engine's machine has what the scheduler sees: a bind mount's source is a path over there.
//! The two differ when the scheduler lives in a container and uses the host's engine.

use std::path::{Path, PathBuf};

/// What is mounted into the scheduler's own container. Without any, paths are the same on both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPaths {
    /// Where it is seen, and where it comes from; `None`: from no folder of the engine's machine.
    mounts: Vec<(PathBuf, Option<PathBuf>)>,
    /// The scheduler's own files are not the engine's machine's.
    contained: bool,
}

impl HostPaths {
    /// Those of a container with these mounts.
    #[must_use]
    pub fn of_container(mounts: impl IntoIterator<Item = (PathBuf, Option<PathBuf>)>) -> HostPaths {
        HostPaths {
            mounts: mounts.into_iter().collect(),
            contained: true,
        }
    }

    /// The same, knowing that `here` is `there` on the engine's machine.
    #[must_use]
    pub fn with(mut self, here: &Path, there: &Path) -> HostPaths {
        self.mounts.retain(|(seen, _)| seen != here);
        self.mounts.push((here.to_owned(), Some(there.to_owned())));
        self
    }

    /// The path on the engine's machine. One that a manifest wrote as absolute and that lies in no mount
    /// is meant as it stands; a relative one lies beside the manifest, and `None` says that the engine's
    /// machine does not have that.
    #[must_use]
    pub fn find(&self, path: &Path, written_absolute: bool) -> Option<PathBuf> {
        let innermost = (self.mounts.iter())
            .filter(|(seen, _)| path.starts_with(seen))
            .max_by_key(|(seen, _)| seen.components().count());
        match innermost {
            Some((seen, there)) => {
                let rest = path.strip_prefix(seen).ok()?;
                let there = there.as_ref()?;
                // A join with nothing would leave a `/` at the end.
                Some(if rest.as_os_str().is_empty() {
                    there.clone()
                } else {
                    there.join(rest)
                })
            }
            None if self.contained && !written_absolute => None,
            None => Some(path.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &HostPaths, path: &str, absolute: bool) -> Option<String> {
        paths
            .find(Path::new(path), absolute)
            .map(|path| path.display().to_string())
    }

    fn mount(here: &str, there: Option<&str>) -> (PathBuf, Option<PathBuf>) {
        (here.into(), there.map(PathBuf::from))
    }

    #[test]
    fn outside_of_a_container_paths_are_what_they_are() {
        let paths = HostPaths::default();
        assert_eq!(
            found(&paths, "/srv/jobs/data", false),
            Some("/srv/jobs/data".into())
        );
    }

    #[test]
    fn the_innermost_mount_tells_where_a_path_lies() {
        let paths = HostPaths::of_container([
            mount("/jobs", Some("/srv/git/jobs")),
            mount("/jobs/cache", Some("/var/lib/docker/volumes/c/_data")),
            mount("/jobs/tmp", None),
        ]);
        let of = |path| found(&paths, path, false);
        assert_eq!(of("/jobs/shop/data"), Some("/srv/git/jobs/shop/data".into()));
        assert_eq!(of("/jobs"), Some("/srv/git/jobs".into()));
        assert_eq!(
            of("/jobs/cache/x"),
            Some("/var/lib/docker/volumes/c/_data/x".into())
        );
        assert_eq!(of("/jobs/tmp/x"), None);
        assert_eq!(of("/jobs2/x"), None, "the scheduler's own files");
        assert_eq!(found(&paths, "/srv/data", true), Some("/srv/data".into()));
    }

    #[test]
    fn a_persons_word_wins() {
        let paths = HostPaths::of_container([mount("/jobs", Some("/wrong"))]);
        let paths = paths.with(Path::new("/jobs"), Path::new("/srv/jobs"));
        assert_eq!(found(&paths, "/jobs/x", false), Some("/srv/jobs/x".into()));
        let far = HostPaths::default().with(Path::new("/home/me/jobs"), Path::new("/srv/jobs"));
        assert_eq!(found(&far, "/home/me/jobs/x", false), Some("/srv/jobs/x".into()));
        assert_eq!(
            found(&far, "/home/me/other", false),
            Some("/home/me/other".into())
        );
    }
}
