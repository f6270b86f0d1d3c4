//! What manifests may ask of the host: nothing that gives it away, unless the operator says so.
//!
//! Rules are data and a check is a pure function; where a request stands in a manifest, and how a
//! refusal is shown, is `manifest`'s affair. Paths were resolved by `source` before they come here.

use std::path::{Path, PathBuf};

use crate::model::{Glob, Which};

/// The operator's rules. The default denies everything that is asked for here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    pub allow_privileged: bool,
    pub allow_cap_add: bool,
    pub allow_devices: bool,
    pub allow_gpus: bool,
    pub allow_host_network: bool,
    pub allow_host_pid: bool,
    pub allow_host_ipc: bool,
    pub allow_host_userns: bool,
    pub allow_host_uts: bool,
    pub allow_unconfined: bool,
    pub allow_docker_socket: bool,
    /// Absolute folders of which jobs may mount and read what lies in them.
    pub bind_roots: Vec<PathBuf>,
    /// Folders that no job may mount whatever else is allowed: the scheduler's own state.
    pub protected: Vec<PathBuf>,
    /// The engine's own socket, beside the usual ones.
    pub sockets: Vec<PathBuf>,
    /// Containers by name, and Compose projects, in which jobs of any project may run commands.
    pub exec: Vec<Glob>,
}

/// Something that a manifest asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    Privileged,
    CapAdd,
    Devices,
    Gpus,
    HostNetwork,
    HostPid,
    HostIpc,
    HostUserns,
    HostUts,
    /// Of another container, which may in turn have the host's.
    OtherNetwork,
    OtherPid,
    OtherIpc,
    Unconfined,
    Bind(PathAsk<'a>),
    /// A file that the scheduler itself reads for a job (`env_file`).
    Read(PathAsk<'a>),
}

/// A path on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathAsk<'a> {
    /// Resolved: no symlinks, no `..`.
    pub path: &'a Path,
    /// Absolute and as written: `/var/run/docker.sock` is refused by that name too.
    pub written: &'a Path,
    /// The folder of the manifest, resolved.
    pub folder: &'a Path,
    /// What lies at or in the path that a job must not have ("the manifest `a.yaml`").
    pub holds: Option<&'a str>,
}

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule, in a sentence.
    pub rule: String,
    /// What in the operator's file would allow it; `None` when nothing does.
    pub key: Option<String>,
}

/// Where engines listen on a usual host.
const ENGINE_SOCKETS: [&str; 7] = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
    "/var/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/var/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
];

impl Rules {
    /// # Errors
    /// When no rule allows it.
    pub fn check(&self, ask: Ask<'_>) -> Result<(), Refusal> {
        let (allowed, rule, key) = match ask {
            Ask::Privileged => (self.allow_privileged, "privileged containers", "allow_privileged"),
            Ask::CapAdd => (self.allow_cap_add, "added capabilities", "allow_cap_add"),
            Ask::Devices => (self.allow_devices, "devices of the host", "allow_devices"),
            Ask::Gpus => (self.allow_gpus, "graphics processors of the host", "allow_gpus"),
            Ask::HostNetwork => (
                self.allow_host_network,
                "the host's network",
                "allow_host_network",
            ),
            Ask::HostPid => (self.allow_host_pid, "the host's processes", "allow_host_pid"),
            Ask::HostIpc => (self.allow_host_ipc, "the host's shared memory", "allow_host_ipc"),
            Ask::HostUserns => (
                self.allow_host_userns,
                "the host's user namespace",
                "allow_host_userns",
            ),
            Ask::HostUts => (self.allow_host_uts, "the host's own name", "allow_host_uts"),
            Ask::OtherNetwork => (
                self.allow_host_network,
                "the network of another container",
                "allow_host_network",
            ),
            Ask::OtherPid => (
                self.allow_host_pid,
                "the processes of another container",
                "allow_host_pid",
            ),
            Ask::OtherIpc => (
                self.allow_host_ipc,
                "the shared memory of another container",
                "allow_host_ipc",
            ),
            Ask::Unconfined => (
                self.allow_unconfined,
                "containers without confinement",
                "allow_unconfined",
            ),
            Ask::Bind(path) => return self.check_bind(path),
            Ask::Read(path) => return self.check_read(path),
        };
        if allowed {
            return Ok(());
        }
        Err(Refusal {
            rule: format!("jobs may not have {rule}"),
            key: Some(format!("policy.{key}: true")),
        })
    }

    /// In which project a container must be for a job to run a command in it: the job's own, or any
    /// (`None`) where the target is one that the operator lists.
    ///
    /// # Errors
    /// When it is of another project and not listed.
    pub fn exec(&self, which: &Which, own_project: &str) -> Result<Option<String>, Refusal> {
        let name = match which {
            Which::Container(name) => name,
            Which::Service { project, .. } => project,
        };
        if self.exec.iter().any(|listed| listed.matches(name)) {
            return Ok(None);
        }
        match which {
            Which::Service { project, .. } if project != own_project => Err(Refusal {
                rule: format!(
                    "jobs may run commands only in containers of their own Compose project (`{own_project}`)"
                ),
                key: Some(format!("policy.exec: [{project}]")),
            }),
            // Of which project a container is, its labels tell when it is looked for.
            Which::Service { .. } | Which::Container(_) => Ok(Some(own_project.to_owned())),
        }
    }

    fn check_bind(&self, ask: PathAsk<'_>) -> Result<(), Refusal> {
        let overlaps = |other: &Path| other.starts_with(ask.path) || ask.path.starts_with(other);
        if self.protected.iter().any(|path| overlaps(path)) {
            return Err(Refusal {
                rule: "no job may mount the scheduler's own files".to_owned(),
                key: None,
            });
        }
        if !self.allow_docker_socket
            && let Some(socket) = self
                .socket_under(ask.path)
                .or_else(|| self.socket_under(ask.written))
        {
            return Err(Refusal {
                rule: format!("jobs may not have the engine's socket (`{}`)", socket.display()),
                key: Some("policy.allow_docker_socket: true".to_owned()),
            });
        }
        if self.bind_roots.iter().any(|root| ask.path.starts_with(root)) {
            return Ok(());
        }
        if !ask.path.starts_with(ask.folder) {
            return Err(self.outside("mount", ask.path));
        }
        match ask.holds {
            None => Ok(()),
            Some(holds) => Err(Refusal {
                rule: format!("jobs may not mount what holds {holds}"),
                key: Some(root_key(ask.path)),
            }),
        }
    }

    fn check_read(&self, ask: PathAsk<'_>) -> Result<(), Refusal> {
        if self.protected.iter().any(|path| ask.path.starts_with(path)) {
            return Err(Refusal {
                rule: "no job may read the scheduler's own files".to_owned(),
                key: None,
            });
        }
        let allowed =
            ask.path.starts_with(ask.folder) || self.bind_roots.iter().any(|root| ask.path.starts_with(root));
        if allowed {
            Ok(())
        } else {
            Err(self.outside("read", ask.path))
        }
    }

    fn outside(&self, verb: &str, path: &Path) -> Refusal {
        let also = if self.bind_roots.is_empty() {
            String::new()
        } else {
            let roots: Vec<String> = self
                .bind_roots
                .iter()
                .map(|root| format!("`{}`", root.display()))
                .collect();
            format!(" and {}", roots.join(", "))
        };
        Refusal {
            rule: format!("jobs may {verb} only what lies in the manifest's own folder{also}"),
            key: Some(root_key(path)),
        }
    }

    /// A socket that somebody who has `path` could reach.
    fn socket_under(&self, path: &Path) -> Option<&Path> {
        let own = self.sockets.iter().map(PathBuf::as_path);
        let usual = ENGINE_SOCKETS.iter().map(Path::new);
        own.chain(usual).find(|socket| socket.starts_with(path))
    }
}

fn root_key(path: &Path) -> String {
    format!("policy.bind_roots: [{}]", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(rules: &Rules, path: &str, holds: Option<&str>) -> Result<(), String> {
        let ask = PathAsk {
            path: Path::new(path),
            written: Path::new(path),
            folder: Path::new("/srv/schedules"),
            holds,
        };
        rules
            .check(Ask::Bind(ask))
            .map_err(|refusal| refusal.key.unwrap_or_default())
    }

    #[test]
    fn everything_is_denied_until_its_own_key_allows_it() {
        let asks = [
            (Ask::Privileged, "allow_privileged"),
            (Ask::CapAdd, "allow_cap_add"),
            (Ask::Devices, "allow_devices"),
            (Ask::HostNetwork, "allow_host_network"),
            (Ask::HostPid, "allow_host_pid"),
            (Ask::HostIpc, "allow_host_ipc"),
            (Ask::Gpus, "allow_gpus"),
            (Ask::HostUserns, "allow_host_userns"),
            (Ask::HostUts, "allow_host_uts"),
            (Ask::OtherNetwork, "allow_host_network"),
            (Ask::OtherPid, "allow_host_pid"),
            (Ask::OtherIpc, "allow_host_ipc"),
            (Ask::Unconfined, "allow_unconfined"),
        ];
        for (ask, key) in asks {
            let refusal = Rules::default().check(ask).unwrap_err();
            assert_eq!(
                refusal.key.as_deref(),
                Some(format!("policy.{key}: true").as_str())
            );
        }
        let rules = Rules {
            allow_privileged: true,
            ..Rules::default()
        };
        assert_eq!(rules.check(Ask::Privileged), Ok(()));
        assert!(rules.check(Ask::CapAdd).is_err());
    }

    #[test]
    fn commands_run_in_the_jobs_own_project_and_where_the_operator_says() {
        let service = |project: &str| Which::Service {
            project: project.to_owned(),
            service: "app".to_owned(),
        };
        let container = |name: &str| Which::Container(name.to_owned());
        let rules = Rules::default();
        assert_eq!(rules.exec(&service("shop"), "shop"), Ok(Some("shop".to_owned())));
        assert_eq!(rules.exec(&container("any"), "shop"), Ok(Some("shop".to_owned())));
        let refusal = rules.exec(&service("cloud"), "shop").unwrap_err();
        assert_eq!(refusal.key.as_deref(), Some("policy.exec: [cloud]"));
        let rules = Rules {
            exec: vec!["cloud".parse().unwrap(), "db-*".parse().unwrap()],
            ..Rules::default()
        };
        assert_eq!(rules.exec(&service("cloud"), "shop"), Ok(None));
        assert_eq!(rules.exec(&container("db-1"), "shop"), Ok(None));
        assert_eq!(
            rules.exec(&container("web-1"), "shop"),
            Ok(Some("shop".to_owned()))
        );
        assert!(rules.exec(&service("cloud2"), "shop").is_err());
    }

    #[test]
    fn binds_stay_in_the_manifests_folder_or_in_allowed_roots() {
        let rules = Rules::default();
        assert_eq!(bind(&rules, "/srv/schedules/backups", None), Ok(()));
        assert!(bind(&rules, "/srv/schedules", Some("a manifest")).is_err());
        assert_eq!(
            bind(&rules, "/srv/schedules2", None),
            Err("policy.bind_roots: [/srv/schedules2]".into())
        );
        assert!(bind(&rules, "/", None).is_err());
        let rules = Rules {
            bind_roots: vec![PathBuf::from("/srv")],
            protected: vec![PathBuf::from("/srv/state")],
            ..Rules::default()
        };
        assert_eq!(bind(&rules, "/srv/schedules2", None), Ok(()));
        assert!(bind(&rules, "/srv", None).is_err(), "it holds the state folder");
        assert!(bind(&rules, "/srv/state/default", None).is_err());
    }

    #[test]
    fn a_folder_that_holds_the_engines_socket_is_the_socket() {
        let rules = Rules {
            bind_roots: vec![PathBuf::from("/")],
            ..Rules::default()
        };
        for path in ["/", "/run", "/var/run", "/run/docker.sock", "/run/podman"] {
            assert_eq!(
                bind(&rules, path, None),
                Err("policy.allow_docker_socket: true".into()),
                "{path}"
            );
        }
        assert_eq!(bind(&rules, "/run/user", None), Ok(()));
    }
}
