//! What a container gets of its host beside files and networks: rights, resources, names and ports.
//!
//! Each part stands for keys of one kind, and is empty where a job asks for none of them. A record
//! that an older version wrote lacks them, so each has a default.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Text;

/// What it may do on the host. Most of it is refused unless the operator allows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rights {
    pub privileged: bool,
    pub cap_add: Vec<String>,
    /// As the docker command line takes them: `no-new-privileges:true`, `apparmor=NAME`.
    pub security_opt: Vec<String>,
    /// Further groups of the process, by name or number.
    pub group_add: Vec<String>,
    pub devices: Vec<Device>,
    pub gpus: Vec<Gpus>,
    /// `host`, `private`, `shareable`, `none` or `container:NAME`.
    pub ipc: Option<String>,
    /// `host` or `container:NAME`.
    pub pid: Option<String>,
    /// `host`
    pub uts: Option<String>,
    /// `host`
    pub userns_mode: Option<String>,
    pub sysctls: BTreeMap<String, String>,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    Path {
        source: String,
        target: String,
        /// Of `r`, `w` and `m`.
        permissions: String,
    },
    /// A device by its name in the Container Device Interface: `vendor.com/class=name`.
    Cdi(String),
}

/// Graphics processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpus {
    pub driver: Option<String>,
    /// -1 is all of them; `None` where they are named by `device_ids`.
    pub count: Option<i64>,
    pub device_ids: Vec<String>,
    /// Beside `gpu`.
    pub capabilities: Vec<String>,
    pub options: BTreeMap<String, String>,
}

/// How much it may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory and swap together; -1 is no limit.
    pub memswap_limit_bytes: Option<i64>,
    pub mem_reservation_bytes: Option<u64>,
    pub shm_size_bytes: Option<u64>,
    /// Relative weight; the engine's default is 1024.
    pub cpu_shares: Option<u64>,
    /// `0-3`, `0,1`
    pub cpuset: Option<String>,
    /// -1 is no limit.
    pub pids_limit: Option<i64>,
    /// From -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    pub cgroup_parent: Option<String>,
    /// The OCI runtime, by its name in the engine's configuration.
    pub runtime: Option<String>,
}

/// By which names it knows itself and others, and on which ports it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Presence {
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_opt: Vec<String>,
    pub ports: Vec<Port>,
}

/// A port of the container that the host listens on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// `None`: all addresses of the host.
    pub host_ip: Option<String>,
    /// A port or a range of the host (`8000-8010`: the first that is free); `None`: any free one.
    pub published: Option<String>,
}

/// How the engine finds out whether it is well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` or `CMD-SHELL` and the command; `None`: that of the image.
    pub test: Option<Vec<Text>>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    /// The interval within `start_period`.
    pub start_interval: Option<Duration>,
    pub retries: Option<u32>,
}
