//! Every key of a manifest, once: its name, the shape of its value, and a line for people.
//!
//! The reader refuses what has no row here, and the JSON Schema is printed from the same rows (`schema`),
//! so an editor, `validate` and `plan` cannot disagree about which keys there are. What a value means is
//! not known here. To add a key: a row here, an arm where its section is read, and `make bless`.

/// A mapping with a closed set of keys. Keys that begin with `x-` are allowed in each.
pub(crate) struct Section {
    /// Its name in the JSON Schema.
    pub id: &'static str,
    /// Where its keys stand, for messages: "a job", "`triggers`".
    pub of: &'static str,
    pub rows: &'static [&'static [Row]],
    /// Known to Compose or to the design, and not supported: an error that says so.
    pub later: &'static [&'static str],
    /// What `later` names is Compose's affair in a file that declares services.
    pub later_is_for_services: bool,
    pub required: &'static [&'static str],
}

/// One key.
pub(crate) struct Row {
    pub name: &'static str,
    pub shape: Shape,
    /// What it is for; shown by editors.
    pub doc: &'static str,
}

/// What a value looks like.
pub(crate) enum Shape {
    Text,
    Flag,
    Integer,
    /// A whole number from 0.
    Count,
    Number,
    /// `90s`, `1h30m`
    Duration,
    /// `128m`
    Size,
    Cron,
    /// A text of which this regular expression is true.
    Like(&'static str),
    /// One of a closed set.
    Word(&'static [&'static str]),
    /// A text, a number or a boolean.
    Scalar,
    Null,
    List(&'static Shape),
    /// Names to values.
    Map(&'static Shape),
    Keys(&'static Section),
    Either(&'static [Shape]),
    /// Not ours to judge.
    Any,
}

use Shape::{
    Any, Count, Cron, Duration, Either, Flag, Integer, Keys, Like, List, Map, Null, Number, Scalar, Size,
    Text, Word,
};

const fn row(name: &'static str, shape: Shape, doc: &'static str) -> Row {
    Row { name, shape, doc }
}

impl Section {
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.rows.iter().copied().flatten()
    }

    pub fn has(&self, key: &str) -> bool {
        self.rows().any(|row| row.name == key)
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.rows().map(|row| row.name).collect()
    }
}

const TEXTS: Shape = List(&Text);
const TEXT_OR_TEXTS: Shape = Either(&[Text, TEXTS]);
/// Compose's `environment` and `labels`.
const PAIRS: Shape = Either(&[Map(&Either(&[Scalar, Null])), TEXTS]);
const WORDS: Shape = Either(&[Text, TEXTS, Null]);

/// The whole file.
pub(crate) static MANIFEST: Section = Section {
    id: "manifest",
    of: "a manifest",
    rows: &[&[
        row(
            "name",
            Text,
            "The project's name; without it, the name of the file's folder.",
        ),
        row(
            "jobs",
            Either(&[Map(&Keys(&JOB)), Null]),
            "The jobs of this file, by name.",
        ),
        row(
            "x-scheduler",
            Either(&[Keys(&FILE_SCHEDULER), Null]),
            "Defaults for the jobs of this file.",
        ),
        row(
            "networks",
            Either(&[Map(&Either(&[Keys(&NETWORK), Null])), Null]),
            "Networks that jobs name. They are never created here.",
        ),
        row(
            "volumes",
            Either(&[Map(&Either(&[Keys(&VOLUME), Null])), Null]),
            "Volumes that jobs name. A missing one is created, and never removed.",
        ),
        row("services", Any, "Left to Compose."),
        row("version", Any, "Obsolete in Compose, and without effect."),
    ]],
    later: &["configs", "include", "models", "secrets"],
    later_is_for_services: true,
    required: &[],
};

/// An entry of `jobs`.
pub(crate) static JOB: Section = Section {
    id: "job",
    of: "a job",
    rows: &[&[
        row(
            "cap_add",
            TEXTS,
            "Kernel capabilities to add; refused by the default policy.",
        ),
        row("cap_drop", TEXTS, "Kernel capabilities to take away: `[ALL]`."),
        row(
            "command",
            WORDS,
            "What runs; one text is split as a shell would split it.",
        ),
        row("cpus", Number, "How many CPUs it may use: `0.5`."),
        row(
            "devices",
            Any,
            "Devices of the host; refused by the default policy.",
        ),
        row("entrypoint", WORDS, "Instead of the image's entry point."),
        row(
            "env_file",
            Either(&[Text, Keys(&ENV_FILE), List(&Either(&[Text, Keys(&ENV_FILE)]))]),
            "Files with lines `NAME=value`.",
        ),
        row("environment", PAIRS, "Variables of the command."),
        row(
            "extra_hosts",
            Either(&[TEXTS, Map(&TEXT_OR_TEXTS)]),
            "Names and addresses for `/etc/hosts`: `[\"db=10.0.0.2\"]`.",
        ),
        row("image", Text, "The image that runs: `busybox:1.37`."),
        row(
            "init",
            Flag,
            "Whether a small init passes on signals and reaps processes.",
        ),
        row("ipc", Text, "The host's is refused by the default policy."),
        row("labels", PAIRS, "Labels of the container."),
        row("logging", Keys(&LOGGING), "The log driver and its options."),
        row("mem_limit", Size, "The most memory it may use: `512m`."),
        row(
            "network_mode",
            Text,
            "`none`, `bridge`, or `container:NAME`; excludes `networks`.",
        ),
        row(
            "networks",
            Either(&[TEXTS, Map(&Either(&[Keys(&ATTACHMENT), Null])), Null]),
            "Networks of this file that it is attached to.",
        ),
        row("pid", Text, "The host's is refused by the default policy."),
        row(
            "privileged",
            Flag,
            "All rights on the host; refused by the default policy.",
        ),
        row(
            "pull_policy",
            Either(&[
                Word(&["always", "missing", "if_not_present", "never", "daily", "weekly"]),
                Like("^every_"),
            ]),
            "When the image is pulled: also `every_12h`.",
        ),
        row("read_only", Flag, "Whether its root file system is read-only."),
        row(
            "security_opt",
            TEXTS,
            "What gives up confinement is refused by the default policy.",
        ),
        row(
            "stop_grace_period",
            Duration,
            "How long it has to end by itself when it is stopped: `30s`.",
        ),
        row("stop_signal", Text, "The signal that stops it: `SIGINT`."),
        row(
            "tmpfs",
            TEXT_OR_TEXTS,
            "Folders in memory: `/run` or `/run:size=64m`.",
        ),
        row("triggers", Keys(&TRIGGERS), "When it starts."),
        row("tty", Flag, "Whether it gets a terminal."),
        row(
            "ulimits",
            Map(&Either(&[Integer, Keys(&ULIMIT)])),
            "Limits of its processes: `{nofile: 1024}`.",
        ),
        row("user", Text, "Who it runs as: `\"1000:1000\"`."),
        row(
            "userns_mode",
            Text,
            "The host's is refused by the default policy.",
        ),
        row("uts", Text, "The host's is refused by the default policy."),
        row(
            "volumes",
            List(&Either(&[Text, Keys(&MOUNT)])),
            "What it sees of volumes and of the host: `backups:/backup`, `./in:/in:ro`.",
        ),
        row(
            "working_dir",
            Text,
            "The folder in the container that it starts in.",
        ),
        row(
            "x-scheduler",
            Either(&[Keys(&JOB_SCHEDULER), Null]),
            "What Compose has no key for.",
        ),
    ]],
    later: &[
        "annotations",
        "blkio_config",
        "cgroup",
        "cgroup_parent",
        "configs",
        "cpu_count",
        "cpu_percent",
        "cpu_period",
        "cpu_quota",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "cpu_shares",
        "cpuset",
        "credential_spec",
        "depends_on",
        "device_cgroup_rules",
        "dns",
        "dns_opt",
        "dns_search",
        "domainname",
        "extends",
        "gpus",
        "group_add",
        "healthcheck",
        "hostname",
        "isolation",
        "mac_address",
        "mem_reservation",
        "mem_swappiness",
        "memswap_limit",
        "oom_kill_disable",
        "oom_score_adj",
        "pids_limit",
        "platform",
        "ports",
        "profiles",
        "runtime",
        "secrets",
        "shm_size",
        "stdin_open",
        "storage_opt",
        "sysctls",
    ],
    later_is_for_services: false,
    // And an image, where the command does not run in another container.
    required: &["triggers"],
};

pub(crate) static ENV_FILE: Section = Section {
    id: "env_file",
    of: "an entry of `env_file`",
    rows: &[&[
        row("format", Word(&["raw"]), "`raw` takes each value as it stands."),
        row("path", Text, "The file, seen from the manifest."),
        row("required", Flag, "Whether it is an error when it is missing."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &["path"],
};

pub(crate) static LOGGING: Section = Section {
    id: "logging",
    of: "`logging`",
    rows: &[&[
        row("driver", Text, "`json-file`, `local`, `journald`, …"),
        row(
            "options",
            Either(&[Map(&Scalar), Null]),
            "Options of the driver: `{max-size: 10m}`.",
        ),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

pub(crate) static ULIMIT: Section = Section {
    id: "ulimit",
    of: "an ulimit",
    rows: &[&[
        row("hard", Integer, "What the process cannot raise it beyond."),
        row("soft", Integer, "What holds at the start."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &["hard", "soft"],
};

/// A network in `networks` of a job.
pub(crate) static ATTACHMENT: Section = Section {
    id: "attachment",
    of: "a network of a job",
    rows: &[&[
        row("aliases", TEXTS, "Further names of the container there."),
        row("ipv4_address", Text, "A fixed address: `10.0.0.2`."),
        row("ipv6_address", Text, "A fixed address: `fd00::2`."),
    ]],
    later: &[
        "driver_opts",
        "gw_priority",
        "interface_name",
        "link_local_ips",
        "mac_address",
        "priority",
    ],
    later_is_for_services: false,
    required: &[],
};

/// An entry of `volumes` of a job, in the long form.
pub(crate) static MOUNT: Section = Section {
    id: "mount",
    of: "a volume of a job",
    rows: &[&[
        row(
            "type",
            Word(&["bind", "volume", "tmpfs"]),
            "A path of the host, a volume, or a folder in memory.",
        ),
        row(
            "source",
            Text,
            "A path seen from the manifest, or a volume of this file.",
        ),
        row("target", Text, "The absolute path in the container."),
        row("read_only", Flag, "Whether the container cannot write to it."),
        row(
            "bind",
            Either(&[Keys(&MOUNT_BIND), Null]),
            "Options of `type: bind`.",
        ),
        row(
            "volume",
            Either(&[Keys(&MOUNT_VOLUME), Null]),
            "Options of `type: volume`.",
        ),
        row(
            "tmpfs",
            Either(&[Keys(&MOUNT_TMPFS), Null]),
            "Options of `type: tmpfs`.",
        ),
    ]],
    later: &["consistency", "image"],
    later_is_for_services: false,
    required: &["type", "target"],
};

pub(crate) static MOUNT_BIND: Section = Section {
    id: "mount_bind",
    of: "`bind`",
    rows: &[&[row(
        "create_host_path",
        Flag,
        "Whether a missing folder is created on the host.",
    )]],
    later: &["propagation", "recursive", "selinux"],
    later_is_for_services: false,
    required: &[],
};

pub(crate) static MOUNT_VOLUME: Section = Section {
    id: "mount_volume",
    of: "`volume`",
    rows: &[&[row(
        "nocopy",
        Flag,
        "Whether a new volume stays empty instead of taking over what the image has there.",
    )]],
    later: &["labels", "subpath"],
    later_is_for_services: false,
    required: &[],
};

pub(crate) static MOUNT_TMPFS: Section = Section {
    id: "mount_tmpfs",
    of: "`tmpfs`",
    rows: &[&[
        row("mode", Count, "Permissions of the folder: `0o755`."),
        row("size", Size, "The most it may hold: `64m`."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

pub(crate) static TRIGGERS: Section = Section {
    id: "triggers",
    of: "`triggers`",
    rows: &[&[
        row("manual", Flag, "Whether `trigger` may start it."),
        row(
            "schedule",
            List(&Either(&[Cron, Keys(&SCHEDULE)])),
            "When it starts by itself.",
        ),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

/// An entry of `schedule`.
pub(crate) static SCHEDULE: Section = Section {
    id: "schedule",
    of: "an entry of `schedule`",
    rows: &[&[
        row(
            "concurrency",
            Word(&["forbid", "queue"]),
            "What happens when a run is still active at the next slot.",
        ),
        row(
            "cron",
            Cron,
            "Minute, hour, day, month, weekday: `30 2 * * *`; or `@daily` and the like.",
        ),
        row(
            "missed_fires",
            Word(&["one", "skip"]),
            "What happens to slots that were due while the scheduler was down.",
        ),
        row("timezone", Text, "The zone of its times: `Europe/Berlin`."),
        row(
            "x-scheduler",
            Either(&[Keys(&SCHEDULE_SCHEDULER), Null]),
            "What Compose has no key for.",
        ),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &["cron"],
};

/// `x-scheduler` of an entry of `schedule`.
pub(crate) static SCHEDULE_SCHEDULER: Section = Section {
    id: "schedule_scheduler",
    of: "`x-scheduler` of an entry",
    rows: &[&[DAY_MATCH]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

const DAY_MATCH: Row = row(
    "day_match",
    Word(&["any", "all"]),
    "Whether a day must match the day of the month or the weekday, or both.",
);

/// `x-scheduler` keys that have a meaning for one job and as the default of a file.
const SCHEDULER_ROWS: [Row; 19] = [
    row(
        "backoff",
        PAUSES,
        "The pause before another attempt; each is twice as long as the one before.",
    ),
    row(
        "concurrency",
        Word(&["forbid", "queue", "allow", "replace"]),
        "What happens when a run is still active at the next slot.",
    ),
    row(
        "container",
        Word(&["fresh", "reuse"]),
        "A container for each run, or one that is started again for each.",
    ),
    DAY_MATCH,
    row(
        "except",
        List(&Like(EXCEPT)),
        "Days without slots: `2026-12-25`, `2026-12-24..2026-12-26`, each year `12-25`.",
    ),
    row(
        "group",
        Like(GROUP),
        "Jobs of one group share the operator's limit for it; without one, they run one at a time.",
    ),
    row(
        "history",
        Keys(&HISTORY),
        "How many finished containers are kept; records and logs live on.",
    ),
    row(
        "jitter",
        Duration,
        "Starts are spread over this time after their slots.",
    ),
    row(
        "missed_fires",
        Word(&["one", "skip", "all"]),
        "What happens to slots that were due while the scheduler was down.",
    ),
    row(
        "on_unknown",
        Word(&["skip", "rerun"]),
        "What follows a run of which nobody can say how it ended.",
    ),
    row(
        "on_node_loss",
        Word(&["skip", "rerun"]),
        "In a Swarm, what follows a run whose node went down; `rerun` may run it twice.",
    ),
    row(
        "placement",
        Keys(&PLACEMENT),
        "In a Swarm, which nodes may run it.",
    ),
    row("retries", Count, "Further attempts after a definite failure."),
    row("starting_deadline", Duration, "How late a slot may still start."),
    row(
        "success_exit_codes",
        List(&Integer),
        "Exit codes that count as success: `[0, 24]`.",
    ),
    row("suspend", Flag, "Whether new slots are passed over."),
    row("timeout", Duration, "How long an attempt may run: `1h`."),
    row(
        "timezone",
        Text,
        "The zone of schedules that name none: `Europe/Berlin`.",
    ),
    row(
        "unknown_hold",
        Duration,
        "How long a run that may still be running holds its job.",
    ),
];

/// `x-scheduler` keys of a job alone.
const JOB_SCHEDULER_ROWS: [Row; 2] = [
    row(
        "every",
        Duration,
        "A slot each so often since the Unix epoch: `10s`.",
    ),
    row(
        "exec",
        Keys(&EXEC),
        "The running container in which the command runs, instead of one of its own.",
    ),
];

/// What [`crate::schedule::parse_days`] reads, as far as an expression can say it.
const EXCEPT: &str = r"^\s*(\d{4}-)?\d{2}-\d{2}\s*(\.\.\s*(\d{4}-)?\d{2}-\d{2}\s*)?$";
const GROUP: &str = "^[A-Za-z0-9._-]{1,64}$";

/// `10s`, or the first pause and the longest.
const PAUSES: Shape = Either(&[Duration, Keys(&BACKOFF)]);

const SCHEDULER_LATER: [&str; 1] = ["notify"];

/// `x-scheduler` of a job. The reader uses it for a file's defaults as well, to say more than "unknown".
pub(crate) static JOB_SCHEDULER: Section = Section {
    id: "job_scheduler",
    of: "`x-scheduler`",
    rows: &[&SCHEDULER_ROWS, &JOB_SCHEDULER_ROWS],
    later: &SCHEDULER_LATER,
    later_is_for_services: false,
    required: &[],
};

/// `x-scheduler` of a file.
pub(crate) static FILE_SCHEDULER: Section = Section {
    id: "file_scheduler",
    of: "`x-scheduler`",
    rows: &[&SCHEDULER_ROWS],
    later: &SCHEDULER_LATER,
    later_is_for_services: false,
    required: &[],
};

pub(crate) static BACKOFF: Section = Section {
    id: "backoff",
    of: "`backoff`",
    rows: &[&[
        row("initial", Duration, "The first pause: `10s`."),
        row("max", Duration, "The longest pause: `5m`."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

/// Which nodes of a Swarm may run a job.
pub(crate) static PLACEMENT: Section = Section {
    id: "placement",
    of: "`placement`",
    rows: &[&[
        row(
            "constraints",
            List(&Text),
            "What a node must have: `[node.labels.disk==ssd]`.",
        ),
        row(
            "reservations",
            Keys(&RESERVATIONS),
            "What a node must have left for it.",
        ),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

pub(crate) static RESERVATIONS: Section = Section {
    id: "reservations",
    of: "`reservations`",
    rows: &[&[
        row("cpus", Number, "CPUs: `0.5`."),
        row("memory", Size, "Memory: `512m`."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

/// `{container: NAME}`, or `{service: NAME, project: NAME}`.
pub(crate) static EXEC: Section = Section {
    id: "exec",
    of: "`exec`",
    rows: &[&[
        row("container", Text, "A container by its name."),
        row(
            "project",
            Text,
            "The service's Compose project; without it, the job's own.",
        ),
        row(
            "service",
            Text,
            "A Compose service; of several containers the lowest number that runs.",
        ),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

pub(crate) static HISTORY: Section = Section {
    id: "history",
    of: "`history`",
    rows: &[&[
        row("failed", Count, "Of those that did not succeed."),
        row("succeeded", Count, "Of those that succeeded."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

/// An entry of `volumes` at the top.
pub(crate) static VOLUME: Section = Section {
    id: "volume",
    of: "a volume",
    rows: &[&RESOURCE_ROWS],
    later: &["driver", "driver_opts", "labels"],
    later_is_for_services: true,
    required: &[],
};

/// An entry of `networks` at the top. What only matters to whoever creates one has no effect.
pub(crate) static NETWORK: Section = Section {
    id: "network",
    of: "a network",
    rows: &[&RESOURCE_ROWS, &NETWORK_CREATION],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

const RESOURCE_ROWS: [Row; 2] = [
    row(
        "external",
        Flag,
        "Whether its name is its key, without the project before it.",
    ),
    row("name", Text, "Its full name on the engine."),
];

/// Keys of whoever creates a network, which is never us.
pub(crate) static NETWORK_CREATION: [Row; 8] = [
    row("attachable", Any, NO_EFFECT),
    row("driver", Any, NO_EFFECT),
    row("driver_opts", Any, NO_EFFECT),
    row("enable_ipv4", Any, NO_EFFECT),
    row("enable_ipv6", Any, NO_EFFECT),
    row("internal", Any, NO_EFFECT),
    row("ipam", Any, NO_EFFECT),
    row("labels", Any, NO_EFFECT),
];
const NO_EFFECT: &str = "Without effect: networks are never created here.";
