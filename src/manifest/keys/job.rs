//! The keys of a job that Compose has for a container, and of what stands under them.

use super::Shape::{
    Count, Duration, Either, Flag, Integer, Keys, Like, List, Map, Null, Number, Scalar, Size, Text, Word,
};
use super::{JOB_SCHEDULER, PAIRS, Section, TEXT_OR_TEXTS, TEXTS, TRIGGERS, WORDS, row};

/// An entry of `jobs`.
pub(crate) static JOB: Section = Section {
    id: "job",
    of: "a job",
    rows: &[&[
        row(
            "annotations",
            PAIRS,
            "Annotations for the OCI runtime; needs Docker 24.",
        ),
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
        row(
            "cgroup_parent",
            Text,
            "The control group that its own is made in.",
        ),
        row(
            "configs",
            List(&Either(&[Text, Keys(&FILE_REFERENCE)])),
            "Configs of this file; each is at `/NAME`.",
        ),
        row(
            "cpu_shares",
            Count,
            "Its weight where CPUs are short; others have 1024.",
        ),
        row("cpus", Number, "How many CPUs it may use: `0.5`."),
        row("cpuset", Text, "The CPUs it may use: `\"0-3\"`, `\"0,1\"`."),
        row(
            "depends_on",
            Either(&[TEXTS, Map(&Keys(&DEPENDENCY))]),
            "Read, and without effect: a schedule starts its job alone, as the engine's own does.",
        ),
        row(
            "devices",
            List(&Either(&[Text, Keys(&DEVICE)])),
            "Devices of the host: `/dev/ttyUSB0:/dev/tty:rw`; refused by the default policy.",
        ),
        row("dns", TEXT_OR_TEXTS, "Name servers: `9.9.9.9`."),
        row(
            "dns_opt",
            TEXTS,
            "Options for `/etc/resolv.conf`: `[\"ndots:1\"]`.",
        ),
        row(
            "dns_search",
            TEXT_OR_TEXTS,
            "Domains that short names are looked up in.",
        ),
        row("domainname", Text, "The domain in its host name."),
        row("entrypoint", WORDS, "Instead of the image's entry point."),
        row(
            "env_file",
            Either(&[Text, Keys(&ENV_FILE), List(&Either(&[Text, Keys(&ENV_FILE)]))]),
            "Files with lines `NAME=value`.",
        ),
        row(
            "environment",
            PAIRS,
            "Variables of the command. A name alone takes its value from where variables come from, or takes away the image's own.",
        ),
        row(
            "extra_hosts",
            Either(&[TEXTS, Map(&TEXT_OR_TEXTS)]),
            "Names and addresses for `/etc/hosts`: `[\"db=10.0.0.2\"]`.",
        ),
        row(
            "gpus",
            Either(&[Word(&["all"]), List(&Keys(&GPUS))]),
            "Graphics processors; refused by the default policy.",
        ),
        row(
            "group_add",
            List(&Either(&[Text, Integer])),
            "Further groups of its user, by name or number.",
        ),
        row(
            "healthcheck",
            Keys(&HEALTHCHECK),
            "How the engine finds out whether it is well.",
        ),
        row("hostname", Text, "Its host name."),
        row("image", Like(r"^\S+$"), "The image that runs: `busybox:1.37`."),
        row(
            "init",
            Flag,
            "Whether a small init passes on signals and reaps processes.",
        ),
        row(
            "ipc",
            Text,
            "`private`, `shareable`, `none`; that of others is refused by the default policy.",
        ),
        row("labels", PAIRS, "Labels of the container."),
        row("logging", Keys(&LOGGING), "The log driver and its options."),
        row("mem_limit", Size, "The most memory it may use: `512m`."),
        row(
            "mem_reservation",
            Size,
            "The memory that is left to it where memory is short: `256m`.",
        ),
        row(
            "memswap_limit",
            Either(&[Size, Like("^-1$"), Integer]),
            "The most memory and swap together, beside `mem_limit`; `-1` is no limit.",
        ),
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
        row(
            "oom_score_adj",
            Integer,
            "From -1000 to 1000: the higher, the sooner it is killed where memory is out.",
        ),
        row(
            "pid",
            Text,
            "The processes of others are refused by the default policy.",
        ),
        row(
            "pids_limit",
            Integer,
            "The most processes it may have; `-1` is no limit.",
        ),
        row(
            "platform",
            Like("^[a-z0-9_.-]+(/[a-z0-9_.-]+){0,2}$"),
            "Which platform's image runs: `linux/arm64`.",
        ),
        row(
            "ports",
            List(&Either(&[Integer, Text, Keys(&PORT)])),
            "Ports that the host listens on for it: `\"127.0.0.1:8080:80\"`.",
        ),
        row(
            "privileged",
            Flag,
            "All rights on the host; refused by the default policy.",
        ),
        row(
            "profiles",
            TEXTS,
            "It is wanted only where one of these profiles is active.",
        ),
        row(
            "pull_policy",
            Either(&[
                Word(&["always", "missing", "if_not_present", "never", "daily", "weekly"]),
                Like("^every_."),
            ]),
            "When the image is pulled: also `every_12h`.",
        ),
        row("read_only", Flag, "Whether its root file system is read-only."),
        row(
            "runtime",
            Text,
            "The OCI runtime, by its name in the engine's configuration.",
        ),
        row(
            "secrets",
            List(&Either(&[Text, Keys(&FILE_REFERENCE)])),
            "Secrets of this file; each is at `/run/secrets/NAME`.",
        ),
        row(
            "security_opt",
            TEXTS,
            "What gives up confinement is refused by the default policy, and so is a seccomp profile of its own: `seccomp:./profile.json`.",
        ),
        row("shm_size", Size, "The size of `/dev/shm`: `64m`."),
        row("stdin_open", Flag, "Whether its standard input stays open."),
        row(
            "stop_grace_period",
            Duration,
            "How long it has to end by itself when it is stopped: `30s`.",
        ),
        row("stop_signal", Text, "The signal that stops it: `SIGINT`."),
        row(
            "sysctls",
            PAIRS,
            "Kernel parameters of its namespaces: `{net.core.somaxconn: 1024}`.",
        ),
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
            Like("^/"),
            "The folder in the container that it starts in.",
        ),
        row(
            "x-scheduler",
            Either(&[Keys(&JOB_SCHEDULER), Null]),
            "What Compose has no key for.",
        ),
    ]],
    later: &[
        "blkio_config",
        "cgroup",
        "cpu_count",
        "cpu_percent",
        "cpu_period",
        "cpu_quota",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "credential_spec",
        "device_cgroup_rules",
        "expose",
        "isolation",
        "label_file",
        "mac_address",
        "mem_swappiness",
        "models",
        "oom_kill_disable",
        "storage_opt",
        "use_api_socket",
        "volumes_from",
    ],
    later_is_for_services: false,
    // And an image, where the command does not run in another container.
    required: &["triggers"],
};

/// An entry of `depends_on`, in the long form.
pub(crate) static DEPENDENCY: Section = Section {
    id: "dependency",
    of: "an entry of `depends_on`",
    rows: &[&[
        row(
            "condition",
            Word(&[
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            ]),
            "What Compose waits for.",
        ),
        row("required", Flag, "Whether the service must be declared."),
        row("restart", Flag, "Of services alone."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &["condition"],
};

/// An entry of `devices`, in the long form.
pub(crate) static DEVICE: Section = Section {
    id: "device",
    of: "a device",
    rows: &[&[
        row("permissions", Text, "Of `r`, `w` and `m`; `rwm` without it."),
        row(
            "source",
            Text,
            "The path on the host, or a name of the Container Device Interface.",
        ),
        row("target", Text, "The path in the container; the same without it."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &["source"],
};

/// An entry of `gpus`.
pub(crate) static GPUS: Section = Section {
    id: "gpus",
    of: "an entry of `gpus`",
    rows: &[&[
        row(
            "capabilities",
            TEXTS,
            "What is asked of them beside `gpu`: `[utility]`.",
        ),
        row(
            "count",
            Either(&[Integer, Word(&["all"])]),
            "How many; all without it and `device_ids`.",
        ),
        row("device_ids", TEXTS, "Which ones."),
        row("driver", Text, "Whose driver: `nvidia`."),
        row("options", PAIRS, "Options of the driver."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

/// An entry of `secrets` or `configs` of a job, in the long form.
pub(crate) static FILE_REFERENCE: Section = Section {
    id: "file_reference",
    of: "a secret or config of a job",
    rows: &[&[
        row("gid", Count, "The number of the group that owns a written file."),
        row(
            "mode",
            Either(&[Count, Like("^(0o)?[0-7]+$")]),
            "Permissions of a written file: `0440`.",
        ),
        row("source", Text, "Its name in this file."),
        row("target", Text, "Its path in the container."),
        row("uid", Count, "The number of the user who owns a written file."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &["source"],
};

pub(crate) static HEALTHCHECK: Section = Section {
    id: "healthcheck",
    of: "`healthcheck`",
    rows: &[&[
        row("disable", Flag, "Takes away the image's own."),
        row("interval", Duration, "Between two looks: `30s`."),
        row("retries", Count, "How many failed looks make it unhealthy."),
        row(
            "start_interval",
            Duration,
            "Between two looks within `start_period`; needs Docker 25.",
        ),
        row(
            "start_period",
            Duration,
            "A time in which a failed look does not count.",
        ),
        row(
            "test",
            TEXT_OR_TEXTS,
            "A command for the shell, or a list that begins with `CMD`, `CMD-SHELL` or `NONE`.",
        ),
        row("timeout", Duration, "How long a look may take."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &[],
};

/// An entry of `ports`, in the long form.
pub(crate) static PORT: Section = Section {
    id: "port",
    of: "a port",
    rows: &[&[
        row("app_protocol", Text, "What it speaks; for people."),
        row(
            "host_ip",
            Text,
            "The address of the host that listens; all without it.",
        ),
        row(
            "mode",
            Word(&["host", "ingress"]),
            "The same thing on one machine.",
        ),
        row("name", Text, "What it is for; for people."),
        row("protocol", Word(&["tcp", "udp", "sctp"]), "`tcp` without it."),
        row(
            "published",
            Either(&[Integer, Text]),
            "The port of the host, or a range of which the first free one is taken; any without it.",
        ),
        row("target", Either(&[Integer, Text]), "The port of the container."),
    ]],
    later: &[],
    later_is_for_services: false,
    required: &["target"],
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
