//! What a job asks for that Kubernetes has no equal for, or does in another way.
//!
//! Every field of a job is named here: a new key of manifests does not compile until somebody has said
//! what becomes of it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{
    Backoff, Concurrency, ContainerSpec, Finding, Findings, Healthcheck, Job, MissedFires, Mount, MountKind,
    OnKubernetes, OnNodeLoss, OnUnknown, Place, Placement, Policy, Presence, PullPolicy, Resources, Rights,
    Text, Trigger, Triggers,
};
use crate::schedule::{ScheduleWarning, warnings};

use super::contents::{self, Contents};
use super::pod::{node_selector, numbers_of, security_option};
use super::timing::for_go;
use super::{MAX_NAME, cron_job_name, dns};

/// Everything that stands between a job and a CronJob, seen from `now` (for the coming turns of clocks).
#[must_use]
pub fn check(job: &Job, now: Timestamp) -> Vec<Finding> {
    let Job {
        name,
        origin: _,
        triggers,
        policy,
        container,
        canonical: _,
    } = job;
    let mut found = Findings::of("Kubernetes");
    let count = triggers.schedule.len();
    let longest = cron_job_name(name, count.saturating_sub(1), count);
    if longest.len() > MAX_NAME {
        let message = format!("its name in Kubernetes, `{longest}`, is longer than {MAX_NAME} characters");
        found.error("", message, "shorten the job's name, or the project's");
    }
    schedule(triggers, now, &mut found);
    self::policy(policy, count, &mut found);
    self::container(container, &mut found);
    found.all
}

/// What of a job's secrets and configs could not be read, or is too large.
#[must_use]
pub fn check_contents(job: &Job, contents: &Contents) -> Vec<Finding> {
    let mut found = Findings::of("Kubernetes");
    contents::check_contents(&job.container.files, contents, &mut found);
    found.all
}

fn schedule(triggers: &Triggers, now: Timestamp, found: &mut Findings) {
    let Triggers { manual: _, schedule } = triggers;
    if schedule.is_empty() {
        found.error(
            "triggers",
            "a CronJob needs a schedule, and this job starts by hand alone",
            "",
        );
    }
    for trigger in schedule {
        if let Err(refused) = for_go(trigger) {
            found.error(refused.key, refused.message, refused.help.unwrap_or_default());
        }
        clocks(trigger, now, found);
    }
}

/// Where the clocks turn, a fixed time is skipped or doubled there.
fn clocks(trigger: &Trigger, now: Timestamp, found: &mut Findings) {
    for warning in warnings(trigger, now) {
        let message = match &warning {
            ScheduleWarning::Gap { local, .. } => {
                format!("Kubernetes skips {local}, which the clock skips; here it runs once, later")
            }
            ScheduleWarning::Fold { local, .. } => {
                format!("Kubernetes runs it twice at {local}, which the clock shows twice; here it runs once")
            }
            ScheduleWarning::OftenerThanOnceAMinute { .. }
            | ScheduleWarning::DayOrWeekday
            | ScheduleWarning::LeapDayOnly
            | ScheduleWarning::NothingSoon => continue,
        };
        found.warning("triggers.schedule", message, warning.help());
    }
}

fn policy(policy: &Policy, schedules: usize, found: &mut Findings) {
    let Policy {
        concurrency,
        missed_fires,
        starting_deadline,
        timeout: _,
        success_exit_codes,
        suspend: _,
        history: _,
        unknown_hold,
        retries: _,
        backoff,
        on_unknown,
        on_node_loss,
        jitter,
        group,
    } = policy;
    let concurrent = match concurrency {
        Concurrency::Queue => false,
        Concurrency::Forbid | Concurrency::Allow | Concurrency::Replace => true,
    };
    found.none(
        "x-scheduler.concurrency",
        !concurrent,
        "`forbid`, `allow` and `replace` have one",
    );
    found.none("x-scheduler.jitter", jitter.is_some(), "");
    found.none(
        "x-scheduler.group",
        group.is_some(),
        "a quota of the namespace is nearest to it",
    );
    if *backoff != Backoff::default() {
        let message = "Kubernetes waits 10 s before the first further attempt, then twice as long each time";
        found.warning("x-scheduler.backoff", message, "");
    }
    if *on_node_loss != OnNodeLoss::Skip {
        found.warning(
            "x-scheduler.on_node_loss",
            "Kubernetes makes another pod by itself, within `retries`",
            "",
        );
    }
    if *on_unknown != OnUnknown::Skip {
        found.warning("x-scheduler.on_unknown", "it has no meaning in Kubernetes", "");
    }
    match concurrency {
        Concurrency::Forbid if schedules > 1 => found.warning(
            "triggers.schedule",
            "each schedule is a CronJob of its own: runs of two of them may be active at once",
            "",
        ),
        Concurrency::Forbid | Concurrency::Queue | Concurrency::Allow | Concurrency::Replace => {}
    }
    match missed_fires {
        MissedFires::One => {}
        MissedFires::All => found.none("x-scheduler.missed_fires", true, "`one` has one"),
        MissedFires::Skip if starting_deadline.is_none() => found.warning(
            "x-scheduler.missed_fires",
            "`skip` becomes a starting deadline of 10 s: a start that is later for any reason is skipped",
            "",
        ),
        MissedFires::Skip => found.warning(
            "x-scheduler.missed_fires",
            "with `starting_deadline`, Kubernetes makes up for one missed start within it",
            "",
        ),
    }
    if starting_deadline.is_some_and(|deadline| deadline.as_secs() < 10) {
        found.error(
            "x-scheduler.starting_deadline",
            "Kubernetes looks every 10 s, and would never start it within less",
            "write at least `10s`",
        );
    }
    found.none(
        "x-scheduler.success_exit_codes",
        *success_exit_codes != BTreeSet::from([0]),
        "end the command with 0 in the container",
    );
    if unknown_hold.is_some() {
        found.warning("x-scheduler.unknown_hold", "it has no meaning in Kubernetes", "");
    }
}

fn container(spec: &ContainerSpec, found: &mut Findings) {
    let ContainerSpec {
        place,
        image: _,
        pull_policy,
        entrypoint: _,
        command: _,
        environment,
        labels,
        mounts,
        tmpfs,
        networks,
        network_mode,
        extra_hosts,
        user,
        working_dir: _,
        init,
        read_only: _,
        tty: _,
        mem_limit_bytes: _,
        nano_cpus: _,
        ulimits,
        cap_drop: _,
        logging,
        stop_signal,
        stop_grace_period: _,
        placement,
        platform,
        stdin_open: _,
        annotations,
        healthcheck,
        rights,
        resources,
        presence,
        files,
        sensitive: _, // of records and messages
        kubernetes,
    } = spec;
    found.none(
        "x-scheduler.placement",
        *placement != Placement::default(),
        "it is for Swarm; a pod has a node selector",
    );
    match place {
        Place::Fresh => {}
        Place::Reuse => found.error(
            "x-scheduler.container",
            "Kubernetes makes a new pod for each run",
            "leave out `container: reuse`",
        ),
        Place::Exec(_) => found.error(
            "x-scheduler.exec",
            "a CronJob cannot run a command in a pod that runs already",
            "",
        ),
    }
    found.none(
        "pull_policy",
        matches!(pull_policy, PullPolicy::Every(_)),
        "`always`, `missing` and `never` have one",
    );
    let is_name = |name: &String| !name.is_empty() && name.chars().all(is_variable_letter);
    found.none(
        "environment",
        !environment.keys().all(is_name),
        "the name of a variable is made of letters, digits, `-`, `_` and `.`",
    );
    if let Some((name, _)) = environment.iter().find(|(_, value)| value.is_none()) {
        found.warning(
            "environment",
            format!("`{name}` has no value, and a CronJob cannot take away what the image sets"),
            "",
        );
    }
    for mount in mounts {
        self::mount(mount, *kubernetes, found);
    }
    for tmpfs in tmpfs {
        match tmpfs.size_and_mode() {
            None => found.none("tmpfs", true, "of its options `size=64m` has one"),
            Some((_, mode)) => folder_mode("tmpfs", mode, found),
        }
    }
    found.none(
        "networks",
        !networks.is_empty(),
        "pods of one cluster reach each other by the names of Services",
    );
    let mode = network_mode.as_deref().unwrap_or("default");
    found.none("network_mode", !matches!(mode, "default" | "bridge" | "host"), "");
    let no_address = extra_hosts
        .iter()
        .any(|(_, address)| address.parse::<std::net::IpAddr>().is_err());
    found.none("extra_hosts", no_address, "name an address");
    if user.as_deref().is_some_and(|user| numbers_of(user).is_none()) {
        found.error(
            "user",
            "Kubernetes takes users and groups as numbers alone",
            "`id -u NAME` in the image tells it",
        );
    }
    if *init == Some(true) && rights.pid.is_none() {
        found.warning(
            "init",
            "the pod's first process reaps what the command leaves behind; the command is not process 1 there",
            "",
        );
    }
    found.none("ulimits", !ulimits.is_empty(), "");
    found.none(
        "logging",
        logging.is_some(),
        "the cluster collects the output of its pods",
    );
    found.none("stop_signal", stop_signal.is_some(), "the image says it");
    let no_label = platform
        .as_deref()
        .is_some_and(|platform| node_selector(platform).is_none());
    found.none("platform", no_label, "`OS/ARCHITECTURE` has one");
    found.none("annotations", !annotations.is_empty(), "");
    if healthcheck.as_ref().is_some_and(asks) {
        found.warning(
            "healthcheck",
            "Kubernetes does not ask whether the pod of a job is well: the check is left out",
            "what ends a run that hangs is `x-scheduler.timeout`",
        );
    }
    self::rights(rights, found);
    self::resources(resources, found);
    self::presence(presence, found);
    if network_mode.as_deref() == Some("host") {
        found.none(
            "hostname",
            presence.hostname.is_some(),
            "beside `network_mode: host` a pod has its node's name",
        );
        let of_network = rights.sysctls.keys().any(|name| name.starts_with("net."));
        found.none(
            "sysctls",
            of_network,
            "beside `network_mode: host` those of the network are the node's",
        );
    }
    contents::check_files(files, found);
    if labels.values().any(Text::is_sensitive) {
        found.error(
            "labels",
            "a value from `.env` would be read by everybody in a label",
            "write it out, or leave the label away",
        );
    }
    let long = labels.iter().any(|(name, _)| !is_label_name(name));
    found.none(
        "labels",
        long,
        "a name has letters, digits, `-`, `_`, `.`, and one `/` behind a domain",
    );
}

/// Kernel parameters that each pod has for itself, and that every kubelet lets it set.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn rights(rights: &Rights, found: &mut Findings) {
    let Rights {
        privileged: _,
        cap_add: _,
        security_opt,
        group_add,
        devices,
        gpus,
        ipc,
        pid,
        uts,
        userns_mode: _,
        sysctls,
    } = rights;
    let unknown = security_opt.iter().any(|text| security_option(text).is_none());
    found.none(
        "security_opt",
        unknown,
        "`no-new-privileges`, `seccomp` and `apparmor` have one",
    );
    if group_add.iter().any(|group| group.parse::<u32>().is_err()) {
        found.error(
            "group_add",
            "Kubernetes takes groups as numbers alone",
            "`getent group NAME` in the image tells it",
        );
    }
    found.none("devices", !devices.is_empty(), "");
    found.none("gpus", !gpus.is_empty(), "");
    let other = |mode: &Option<String>, own: &str| {
        let mode = mode.as_deref();
        mode.is_some_and(|mode| mode != "host" && mode != own)
    };
    found.none("ipc", other(ipc, "private"), "`private` and `host` have one");
    found.none("pid", other(pid, ""), "`host` has one");
    found.none("uts", uts.is_some(), "");
    let unsafe_one = sysctls.keys().find(|name| !SYSCTLS.contains(&name.as_str()));
    if let Some(name) = unsafe_one {
        found.error(
            "sysctls",
            format!("`{name}` is none of the parameters that every node lets a pod set"),
            "nodes that allow it to pods need a CronJob written by hand",
        );
    }
}

/// Whether it is a check, and not the word that there is none.
fn asks(check: &Healthcheck) -> bool {
    let test = check.test.as_deref().unwrap_or_default();
    test.first().is_none_or(|word| word.expose() != "NONE")
}

fn is_variable_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn folder_mode(key: &'static str, mode: Option<u32>, found: &mut Findings) {
    if mode.is_some() {
        let message = "the mode of a tmpfs is not carried over: everybody may write to it there";
        found.warning(key, message, "");
    }
}

fn resources(resources: &Resources, found: &mut Findings) {
    let Resources {
        memswap_limit_bytes,
        mem_reservation_bytes: _,
        shm_size_bytes: _,
        cpu_shares,
        cpuset,
        pids_limit,
        oom_score_adj,
        cgroup_parent,
        runtime,
    } = resources;
    found.none(
        "memswap_limit",
        memswap_limit_bytes.is_some(),
        "`mem_limit` has one",
    );
    found.none("cpu_shares", cpu_shares.is_some(), "`cpus` has one");
    found.none("cpuset", cpuset.is_some(), "");
    found.none("pids_limit", pids_limit.is_some(), "");
    found.none("oom_score_adj", oom_score_adj.is_some(), "");
    found.none("cgroup_parent", cgroup_parent.is_some(), "");
    found.none("runtime", runtime.is_some(), "");
}

fn presence(presence: &Presence, found: &mut Findings) {
    let Presence {
        hostname,
        domainname,
        dns,
        dns_search,
        dns_opt: _,
        ports,
    } = presence;
    let no_label = hostname.as_deref().is_some_and(|name| name != self::dns(name));
    found.none(
        "hostname",
        no_label,
        "a pod's is of lower-case letters, digits and `-`, without a dot",
    );
    found.none("domainname", domainname.is_some(), "");
    found.none("dns", dns.len() > 3, "a pod asks three servers at most");
    if !dns.is_empty() {
        found.warning(
            "dns",
            "these servers are asked instead of the cluster's: names of its Services are not known there",
            "",
        );
    } else if !dns_search.is_empty() {
        found.warning("dns_search", "the cluster's own domains are searched first", "");
    }
    found.none("ports", !ports.is_empty(), "a job's pod is reached by no Service");
}

fn mount(mount: &Mount, kubernetes: OnKubernetes, found: &mut Findings) {
    let OnKubernetes { host_path } = kubernetes;
    let Mount {
        kind,
        target: _,
        read_only: _,
    } = mount;
    match kind {
        MountKind::Bind {
            source: _,
            create_host_path: _,
        } if host_path => {}
        MountKind::Bind { .. } => found.error(
            "volumes",
            "a folder of the host is not the same on each node",
            "a named volume becomes a claim; `x-scheduler.kubernetes.host_path: true` takes the node's own",
        ),
        MountKind::Volume {
            name,
            external: _,
            nocopy: _,
        } => {
            if let Some(name) = name
                && *name != dns(name)
            {
                found.warning(
                    "volumes",
                    format!("volume `{name}` is the claim `{}` there", dns(name)),
                    "",
                );
            }
        }
        MountKind::Tmpfs { size_bytes: _, mode } => folder_mode("volumes", *mode, found),
    }
}

/// `[domain/]name`, as keys of labels and annotations are.
fn is_label_name(name: &str) -> bool {
    let (domain, name) = match name.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, name),
    };
    let ends_well = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let is_name = name.len() <= 63
        && ends_well(name)
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let is_domain = domain.is_none_or(|domain| {
        domain.len() <= 253
            && ends_well(domain)
            && domain
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
    });
    is_name && is_domain
}
