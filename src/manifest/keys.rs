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
    /// A list with something in it.
    Filled(&'static Shape),
    /// Names to values.
    Map(&'static Shape),
    /// The same, where this regular expression is true of each name.
    Named(&'static str, &'static Shape),
    Keys(&'static Section),
    Either(&'static [Shape]),
    /// Not ours to judge.
    Any,
}

mod job;

pub(crate) use job::{
    ATTACHMENT, DEPENDENCY, DEVICE, ENV_FILE, FILE_REFERENCE, GPUS, HEALTHCHECK, JOB, LOGGING, MOUNT,
    MOUNT_BIND, MOUNT_TMPFS, MOUNT_VOLUME, PORT, ULIMIT,
};

use Shape::{
    Any, Count, Cron, Duration, Either, Filled, Flag, Integer, Keys, Like, List, Map, Named, Null, Number,
    Scalar, Size, Text, Word,
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
            Like("^[a-z0-9][a-z0-9_-]*$"),
            "The project's name; without it, the name of the file's folder.",
        ),
        row(
            "jobs",
            Either(&[Named("^[a-zA-Z0-9_-]+$", &Keys(&JOB)), Null]),
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
        row(
            "configs",
            Either(&[Map(&Either(&[Keys(&CONFIG), Null])), Null]),
            "Files that jobs name, for what is no secret.",
        ),
        row(
            "secrets",
            Either(&[Map(&Either(&[Keys(&SECRET), Null])), Null]),
            "Files that jobs name, whose content is shown nowhere.",
        ),
        row("services", Any, "Left to Compose."),
        row("version", Any, "Obsolete in Compose, and without effect."),
    ]],
    later: &["include", "models"],
    later_is_for_services: true,
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
const SCHEDULER_ROWS: [Row; 20] = [
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
        "kubernetes",
        Keys(&KUBERNETES),
        "What has a meaning on Kubernetes alone.",
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
        Filled(&Integer),
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

/// What no other engine asks about.
pub(crate) static KUBERNETES: Section = Section {
    id: "kubernetes",
    of: "`kubernetes`",
    rows: &[&[row(
        "host_path",
        Flag,
        "Whether binds may become `hostPath`: paths of whichever node runs it.",
    )]],
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

/// An entry of `secrets` at the top.
pub(crate) static SECRET: Section = Section {
    id: "secret",
    of: "a secret",
    rows: &[&FILE_ROWS],
    later: &["driver", "driver_opts", "labels", "template_driver"],
    later_is_for_services: true,
    required: &[],
};

/// An entry of `configs` at the top.
pub(crate) static CONFIG: Section = Section {
    id: "config",
    of: "a config",
    rows: &[&FILE_ROWS],
    later: &["labels", "template_driver"],
    later_is_for_services: true,
    required: &[],
};

const FILE_ROWS: [Row; 5] = [
    row(
        "content",
        Text,
        "The content itself; of a secret better elsewhere.",
    ),
    row("environment", Text, "The variable that holds the content."),
    row(
        "external",
        Flag,
        "Whether a Swarm keeps it already; for `engine: swarm` alone.",
    ),
    row(
        "file",
        Text,
        "The file that holds the content, seen from the manifest.",
    ),
    row("name", Text, "Its full name, where it is external."),
];

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
