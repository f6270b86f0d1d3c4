//! A job as declared: when it runs, under which policy, and the container it runs in.
//!
//! Everything is resolved here: project, zone, full volume and network names, the content of env
//! files. What a manifest's keys look like is `manifest`'s affair, what the engine's request looks
//! like is `engine`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    ExecTarget, FileSource, Healthcheck, ImageRef, JobFile, JobName, Outcome, Place, Presence, Resources,
    Rights, Sensitive,
};

/// One entry under `jobs:`, ready to be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub name: JobName,
    pub origin: Origin,
    pub triggers: Triggers,
    pub policy: Policy,
    pub container: ContainerSpec,
    /// The job as canonical Compose YAML, as written (`128m`, not bytes) and with sensitive values
    /// masked: what the diff of a plan compares.
    pub canonical: String,
}

/// Where a job was declared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The manifest's path, relative to the watched directory.
    pub file: String,
    /// 1-based; 0 when unknown.
    pub line: u32,
    /// The git commit of the watched directory, when it is a checkout; with `-dirty` behind it when it
    /// does not have the manifest as it was read.
    pub commit: Option<String>,
}

impl Origin {
    /// `backup.yaml:4`
    #[must_use]
    pub fn place(&self) -> String {
        match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}", self.file),
        }
    }

    /// Reads what [`Origin::place`] wrote.
    #[must_use]
    pub fn at(place: &str, commit: Option<String>) -> Origin {
        let line = place
            .rsplit_once(':')
            .and_then(|(file, line)| Some((file, line.parse().ok()?)));
        let (file, line) = line.unwrap_or((place, 0));
        Origin {
            file: file.to_owned(),
            line,
            commit,
        }
    }
}

/// When a job starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Triggers {
    /// Whether a person may start it with `trigger`.
    pub manual: bool,
    /// Several schedules of one job merge; an instant that two of them name is one slot.
    pub schedule: Vec<Trigger>,
}

/// One rule that yields slots. Its texts were checked when the manifest was loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Trigger {
    Cron {
        /// Five fields or a macro, as written.
        expression: String,
        /// IANA name; never empty.
        timezone: String,
        /// How a day and a weekday field combine where cron dialects differ.
        day_match: Option<DayMatch>,
    },
    /// A slot each `period`, anchored to the Unix epoch; whole seconds, at least one.
    Every { period: Duration },
    /// Days on which the other rules yield no slots: by the calendar of the zone that a cron rule is
    /// written for, and of `timezone` for a period.
    Except {
        days: Vec<ExceptDays>,
        /// IANA name; never empty.
        timezone: String,
    },
}

/// Days without slots, the first and the last of them included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExceptDays {
    Dates {
        first: Date,
        last: Date,
    },
    /// Month and day; a range may go over the end of the year.
    EachYear {
        first: (i8, i8),
        last: (i8, i8),
    },
}

/// As in a manifest: `2026-12-25`, `2026-12-24..2026-12-26`, `12-25`, `12-24..01-02`.
impl fmt::Display for ExceptDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExceptDays::Dates { first, last } if first == last => write!(f, "{first}"),
            ExceptDays::Dates { first, last } => write!(f, "{first}..{last}"),
            ExceptDays::EachYear { first, last } => {
                write!(f, "{:02}-{:02}", first.0, first.1)?;
                if first != last {
                    write!(f, "..{:02}-{:02}", last.0, last.1)?;
                }
                Ok(())
            }
        }
    }
}

/// What two restricted day fields of a cron expression mean together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DayMatch {
    Any,
    All,
}

/// How runs of a job relate to each other and to lost time. An edit of this alone replaces no
/// container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    pub concurrency: Concurrency,
    pub missed_fires: MissedFires,
    /// A slot older than this is `missed` instead of started; without it, the job's next slot is
    /// the limit.
    pub starting_deadline: Option<Duration>,
    /// Run time after which an attempt is stopped.
    pub timeout: Option<Duration>,
    /// Exit codes that count as success; never empty.
    pub success_exit_codes: BTreeSet<i64>,
    pub suspend: bool,
    pub history: History,
    /// How long an `unknown` run that may still be running holds its job.
    pub unknown_hold: Option<Duration>,
    /// Further attempts at a slot after a definite failure.
    pub retries: u32,
    pub backoff: Backoff,
    pub on_unknown: OnUnknown,
    /// What follows a run whose node went down, on an engine of several.
    pub on_node_loss: OnNodeLoss,
    /// Starts are spread over this time after their slots.
    pub jitter: Option<Duration>,
    /// Jobs of one group share the operator's limit for it.
    pub group: Option<String>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            concurrency: Concurrency::Forbid,
            missed_fires: MissedFires::One,
            starting_deadline: None,
            timeout: None,
            success_exit_codes: BTreeSet::from([0]),
            suspend: false,
            history: History::default(),
            unknown_hold: None,
            retries: 0,
            backoff: Backoff::default(),
            on_unknown: OnUnknown::Skip,
            on_node_loss: OnNodeLoss::Skip,
            jitter: None,
            group: None,
        }
    }
}

impl Policy {
    /// The hold of an `unknown` run: `unknown_hold`, else the timeout, else one hour.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.unknown_hold
            .or(self.timeout)
            .unwrap_or(Duration::from_secs(3600))
    }

    /// Whether an attempt may follow an `unknown` one. That it does where only a lost node counts is decided
    /// when the loss is recorded.
    #[must_use]
    pub fn may_rerun_unknown(&self) -> bool {
        self.on_unknown == OnUnknown::Rerun || self.on_node_loss == OnNodeLoss::Rerun
    }

    /// How long after its end an attempt is followed by another one, if it is. Only a definite
    /// failure is; an `unknown` end is when the job says that it may run twice, once at least.
    #[must_use]
    pub fn pause_before_next(&self, outcome: Outcome, attempt: u32) -> Option<Duration> {
        let more = match outcome {
            Outcome::Failed | Outcome::TimedOut | Outcome::StartFailed => self.retries,
            Outcome::Unknown if self.on_unknown == OnUnknown::Rerun => self.retries.max(1),
            Outcome::Unknown
            | Outcome::Succeeded
            | Outcome::Cancelled
            | Outcome::Skipped
            | Outcome::Missed
            | Outcome::Suspended
            | Outcome::Dropped => 0,
        };
        (attempt < more).then(|| self.backoff.pause(attempt))
    }
}

/// Pauses between attempts: each twice as long as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    pub initial: Duration,
    #[serde(rename = "max")]
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            initial: Duration::from_secs(10),
            longest: Duration::from_secs(300),
        }
    }
}

impl Backoff {
    /// The pause after that attempt; they count from 0.
    #[must_use]
    pub fn pause(&self, attempt: u32) -> Duration {
        self.initial
            .saturating_mul(2u32.saturating_pow(attempt))
            .min(self.longest)
    }
}

/// What follows a run of which nobody can say how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Nothing: it may have done its work.
    Skip,
    /// Another attempt, as soon as the first one holds its job no longer: for jobs that may do their
    /// work twice.
    Rerun,
}

/// What follows a run whose node went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNodeLoss {
    /// Nothing: it may have done its work.
    Skip,
    /// Another attempt at once, on another node: for jobs that may do their work twice.
    Rerun,
}

/// What happens to a slot that is due while an earlier run of its job is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concurrency {
    /// It is skipped.
    Forbid,
    /// It waits for the end, one slot at a time; a further one is skipped.
    Queue,
    /// It starts beside it.
    Allow,
    /// It is started after the earlier run was stopped and its end confirmed.
    Replace,
}

/// What happens to slots that were due while the scheduler was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedFires {
    /// The newest is started.
    One,
    /// None is started.
    Skip,
    /// All are started, one after the other.
    All,
}

/// How many finished containers of a job are kept; records and logs outlive them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    pub succeeded: u32,
    pub failed: u32,
}

impl Default for History {
    fn default() -> History {
        History {
            succeeded: 3,
            failed: 5,
        }
    }
}

/// A text that may hold a secret: it came from `.env`, an env file or the scheduler's own
/// environment. `Debug` and `Display` never show such a value; [`Text::expose`] is for the engine
/// and the spec hash alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    value: String,
    sensitive: bool,
}

impl Text {
    #[must_use]
    pub fn plain(value: impl Into<String>) -> Text {
        Text {
            value: value.into(),
            sensitive: false,
        }
    }

    #[must_use]
    pub fn sensitive(value: impl Into<String>) -> Text {
        Text {
            value: value.into(),
            sensitive: true,
        }
    }

    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.sensitive
    }

    /// The value itself. Never for a message, a log, a label or the ledger.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }
}

/// As kept in the ledger: a plain value is a string; a sensitive one must have been masked before
/// (see [`ContainerSpec::masked`]) and is written as `{"masked": "hmac:…"}`.
impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.sensitive {
            return serializer.serialize_str(&self.value);
        }
        if !self.value.starts_with(MASKED) {
            return Err(serde::ser::Error::custom(
                "a sensitive value must be masked before it is written",
            ));
        }
        BTreeMap::from([("masked", &self.value)]).serialize(serializer)
    }
}

/// What a masked value begins with.
const MASKED: &str = "hmac:";

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or `masked: hmac:…`")
            }

            fn visit_str<E>(self, value: &str) -> Result<Text, E> {
                Ok(Text::plain(value))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                let Some((key, value)) = map.next_entry::<String, String>()? else {
                    return Err(serde::de::Error::missing_field("masked"));
                };
                if key != "masked" {
                    return Err(serde::de::Error::unknown_field(&key, &["masked"]));
                }
                Ok(Text::sensitive(value))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sensitive {
            f.write_str("(masked)")
        } else {
            write!(f, "{:?}", self.value)
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sensitive {
            f.write_str("(masked)")
        } else {
            f.pad(&self.value)
        }
    }
}

/// The container of each of a job's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    #[serde(default)]
    pub place: Place,
    /// Of no meaning where the runs are processes in somebody else's container.
    pub image: ImageRef,
    pub pull_policy: PullPolicy,
    pub entrypoint: Option<Vec<Text>>,
    pub command: Option<Vec<Text>>,
    /// Env files and `environment` merged; the latter wins. `None` takes away what the image sets.
    pub environment: BTreeMap<String, Option<Text>>,
    pub labels: BTreeMap<String, Text>,
    pub mounts: Vec<Mount>,
    pub tmpfs: Vec<Tmpfs>,
    /// Empty: the engine's default network, unless `network_mode` says otherwise.
    pub networks: Vec<NetworkAttachment>,
    pub network_mode: Option<String>,
    pub extra_hosts: Vec<(String, String)>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub init: Option<bool>,
    pub read_only: bool,
    pub tty: bool,
    pub mem_limit_bytes: Option<u64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    pub ulimits: BTreeMap<String, Ulimit>,
    pub cap_drop: Vec<String>,
    pub logging: Option<Logging>,
    pub stop_signal: Option<String>,
    pub stop_grace_period: Option<Duration>,
    #[serde(default)]
    pub placement: Placement,
    /// `linux/arm64`; `None`: the engine's own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub platform: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub stdin_open: bool,
    /// Of the OCI runtime's configuration.
    #[serde(default, skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, Text>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub rights: Rights,
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    #[serde(default, skip_serializing_if = "is_default")]
    pub presence: Presence,
    /// Secrets, then configs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub files: Vec<JobFile>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub kubernetes: OnKubernetes,
    /// Which of the plain texts above hold a value from outside of the manifest.
    #[serde(skip)]
    pub sensitive: Sensitive,
}

/// What has a meaning on Kubernetes alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OnKubernetes {
    /// Whether its binds may be paths of whichever node runs it.
    pub host_path: bool,
}

/// What a job does not ask for is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ContainerSpec {
    /// A container of that image and nothing else.
    #[must_use]
    pub fn of_image(image: ImageRef) -> ContainerSpec {
        ContainerSpec {
            place: Place::Fresh,
            image,
            pull_policy: PullPolicy::Missing,
            entrypoint: None,
            command: None,
            environment: BTreeMap::new(),
            labels: BTreeMap::new(),
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            networks: Vec::new(),
            network_mode: None,
            extra_hosts: Vec::new(),
            user: None,
            working_dir: None,
            init: None,
            read_only: false,
            tty: false,
            mem_limit_bytes: None,
            nano_cpus: None,
            ulimits: BTreeMap::new(),
            cap_drop: Vec::new(),
            logging: None,
            stop_signal: None,
            stop_grace_period: None,
            placement: Placement::default(),
            platform: None,
            stdin_open: false,
            annotations: BTreeMap::new(),
            healthcheck: None,
            rights: Rights::default(),
            resources: Resources::default(),
            presence: Presence::default(),
            files: Vec::new(),
            kubernetes: OnKubernetes::default(),
            sensitive: Sensitive::default(),
        }
    }
}

impl ContainerSpec {
    /// A command in somebody else's container, and nothing else.
    #[must_use]
    pub fn of_exec(target: ExecTarget, no_image: ImageRef) -> ContainerSpec {
        ContainerSpec {
            place: Place::Exec(target),
            ..ContainerSpec::of_image(no_image)
        }
    }

    /// The container that the command is to run in, where that is somebody else's.
    #[must_use]
    pub fn exec_target(&self) -> Option<&ExecTarget> {
        match &self.place {
            Place::Exec(target) => Some(target),
            Place::Fresh | Place::Reuse => None,
        }
    }

    /// Every text that may be sensitive and says so itself.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        let test = self.healthcheck.iter().flat_map(|check| &check.test);
        let files = self.files.iter().filter_map(|file| match &file.source {
            FileSource::Content { content, .. } => Some(content),
            FileSource::Path(_) | FileSource::External { .. } => None,
        });
        self.entrypoint
            .iter()
            .chain(&self.command)
            .chain(test)
            .flatten()
            .chain(self.environment.values().flatten())
            .chain(self.labels.values())
            .chain(self.annotations.values())
            .chain(files)
    }

    /// Every text that may be sensitive, replaced by what `change` makes of it.
    ///
    /// # Errors
    /// The first error of `change`.
    pub fn map_texts<E>(&self, mut change: impl FnMut(&Text) -> Result<Text, E>) -> Result<ContainerSpec, E> {
        let mut spec = self.clone();
        let test = spec.healthcheck.iter_mut().flat_map(|check| &mut check.test);
        let lists = spec
            .entrypoint
            .iter_mut()
            .chain(spec.command.iter_mut())
            .chain(test)
            .flatten();
        let maps = spec
            .environment
            .values_mut()
            .flatten()
            .chain(spec.labels.values_mut())
            .chain(spec.annotations.values_mut());
        let files = spec.files.iter_mut().filter_map(|file| match &mut file.source {
            FileSource::Content { content, .. } => Some(content),
            FileSource::Path(_) | FileSource::External { .. } => None,
        });
        for text in lists.chain(maps).chain(files) {
            *text = change(text)?;
        }
        Ok(spec)
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// At each arming, and once more shortly before the slot.
    Always,
    /// When the engine does not have it.
    Missing,
    Never,
    /// At either time, when the last pull is at least this long ago.
    Every(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    /// Absolute path in the container.
    pub target: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MountKind {
    Bind {
        /// Absolute path on the engine's host.
        source: PathBuf,
        /// Compose's short form creates a missing folder.
        create_host_path: bool,
    },
    Volume {
        /// Full name on the engine; `None` is an anonymous volume.
        name: Option<String>,
        /// Not ours to create: a missing one fails arming.
        external: bool,
        nocopy: bool,
    },
    Tmpfs {
        size_bytes: Option<u64>,
        mode: Option<u32>,
    },
}

/// Compose's `tmpfs:` key: a path, with mount options such as `size=64m,mode=1777`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tmpfs {
    pub target: String,
    pub options: String,
}

impl Tmpfs {
    /// Bytes and permission bits, where the options ask for nothing else.
    #[must_use]
    pub fn size_and_mode(&self) -> Option<(Option<u64>, Option<u32>)> {
        let (mut size, mut mode) = (None, None);
        for option in self.options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=')? {
                ("size", text) => {
                    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
                    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
                        "" | "b" => 1,
                        "k" => 1 << 10,
                        "m" => 1 << 20,
                        "g" => 1 << 30,
                        _ => return None,
                    };
                    size = Some(digits.parse::<u64>().ok()?.checked_mul(unit)?);
                }
                ("mode", text) => mode = Some(u32::from_str_radix(text, 8).ok()?),
                _ => return None,
            }
        }
        Some((size, mode))
    }
}

/// Which nodes may run it, on an engine of several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// `node.labels.disk==ssd`: each must be met.
    pub constraints: Vec<String>,
    pub reservations: Reservations,
}

/// What a node must have left for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reservations {
    pub memory_bytes: Option<u64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// Full name on the engine.
    pub name: String,
    pub aliases: Vec<String>,
    pub ipv4_address: Option<String>,
    pub ipv6_address: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ulimit {
    pub soft: i64,
    pub hard: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensitive_value_is_shown_nowhere_and_written_only_masked() {
        let text = Text::sensitive("hunter2");
        assert!(!format!("{text} {text:?}").contains("hunter2"));
        assert!(serde_json::to_string(&text).is_err());
        let mut spec = ContainerSpec::of_image("busybox".parse().unwrap());
        spec.environment.insert("PASSWORD".into(), Some(text));
        let masked = spec
            .map_texts(|_| Ok::<_, ()>(Text::sensitive("hmac:00ff")))
            .unwrap();
        let written = serde_json::to_string(&masked).unwrap();
        assert!(!written.contains("hunter2"));
        assert_eq!(serde_json::from_str::<ContainerSpec>(&written).unwrap(), masked);
    }
}
