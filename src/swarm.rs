//! What a job asks for that a Swarm has no equal for, and what has a meaning in a Swarm alone.
//!
//! Pure, and without an engine: `validate` and `plan` say it at the line that asks for it. Every field of
//! a job is named here: a new key of manifests does not compile until somebody has said what becomes of it.

use crate::model::{
    ContainerSpec, EngineName, FileSource, Finding, Findings, Job, JobFile, Mount, MountKind,
    NetworkAttachment, OnNodeLoss, Place, Placement, Presence, PullPolicy, Resources, Rights,
};

/// What stands between a job and that engine; Kubernetes has a check of its own.
#[must_use]
pub fn check(job: &Job, engine: EngineName) -> Vec<Finding> {
    let mut found = Findings::of("a Swarm");
    match engine {
        EngineName::Docker => {
            nodes(job, &mut found);
            files(&job.container.files, &mut found);
        }
        EngineName::Swarm => container(&job.container, &mut found),
        EngineName::Kubernetes => {}
    }
    found.all
}

/// One engine has no nodes to choose from, and none to lose.
fn nodes(job: &Job, found: &mut Findings) {
    let help = "it is for a Swarm: `--engine swarm`";
    if job.container.placement != Placement::default() {
        found.error(
            "x-scheduler.placement",
            "a single engine has no nodes to choose from",
            help,
        );
    }
    if job.policy.on_node_loss != OnNodeLoss::Skip {
        found.error(
            "x-scheduler.on_node_loss",
            "a single engine has no nodes to lose",
            help,
        );
    }
}

/// Only a Swarm keeps secrets and configs.
fn files(files: &[JobFile], found: &mut Findings) {
    for file in files {
        if matches!(file.source, FileSource::External { .. }) {
            found.error(
                file.kind.key(),
                format!(
                    "{} is external, and an engine without a cluster has none",
                    file.words()
                ),
                "give it a `file`, take it from a variable (`environment: NAME`), or say `--engine swarm`",
            );
        }
    }
}

fn container(spec: &ContainerSpec, found: &mut Findings) {
    let ContainerSpec {
        place,
        image: _,
        pull_policy,
        entrypoint: _,
        command: _,
        environment: _,
        labels: _,
        mounts,
        tmpfs,
        networks,
        network_mode,
        extra_hosts: _,
        user: _,
        working_dir: _,
        init: _,
        read_only: _,
        tty: _,
        mem_limit_bytes: _,
        nano_cpus: _,
        ulimits: _,
        cap_drop: _,
        logging: _,
        stop_signal: _,
        stop_grace_period: _,
        placement,
        platform,
        stdin_open: _,
        annotations,
        healthcheck: _,
        rights,
        resources,
        presence,
        files: _,
        sensitive: _,  // of records and messages
        kubernetes: _, // Of no meaning here.
    } = spec;
    self::rights(rights, found);
    self::resources(resources, found);
    self::presence(presence, found);
    found.none("annotations", !annotations.is_empty(), "");
    let known = platform
        .as_deref()
        .is_none_or(|platform| matches!(platform.split('/').count(), 1..=2));
    found.none("platform", !known, "`OS/ARCHITECTURE` has one");
    match place {
        Place::Fresh => {}
        Place::Reuse => found.error(
            "x-scheduler.container",
            "a Swarm makes a new task for each run, on any node",
            "leave out `container: reuse`; what a job keeps belongs in a volume",
        ),
        Place::Exec(_) => found.error(
            "x-scheduler.exec",
            "a manager cannot run a command in a container of another node",
            "run it in a container of its own, or on that node with `--engine docker`",
        ),
    }
    match pull_policy {
        PullPolicy::Missing | PullPolicy::Always => {}
        PullPolicy::Never | PullPolicy::Every(_) => found.none(
            "pull_policy",
            true,
            "each node sees to its images; `always` and `missing` have one",
        ),
    }
    for mount in mounts {
        self::mount(mount, placement, found);
    }
    let odd = tmpfs.iter().any(|tmpfs| tmpfs.size_and_mode().is_none());
    found.none("tmpfs", odd, "of its options `size=64m` and `mode=1777` have one");
    for network in networks {
        let NetworkAttachment {
            name: _,
            aliases: _,
            ipv4_address,
            ipv6_address,
        } = network;
        if ipv4_address.is_some() || ipv6_address.is_some() {
            found.error("networks", "a task in a Swarm has no fixed address", "");
        }
    }
    let mode = network_mode.as_deref().unwrap_or("default");
    found.none(
        "network_mode",
        !matches!(mode, "default" | "bridge" | "host"),
        "`bridge` and `host` have one",
    );
}

fn rights(rights: &Rights, found: &mut Findings) {
    let Rights {
        privileged,
        cap_add: _,
        security_opt,
        group_add: _,
        devices,
        gpus,
        ipc,
        pid,
        uts,
        userns_mode,
        sysctls: _,
    } = rights;
    found.none("privileged", *privileged, "`cap_add` has one");
    found.none("security_opt", !security_opt.is_empty(), "");
    found.none("devices", !devices.is_empty(), "");
    found.none(
        "gpus",
        !gpus.is_empty(),
        "make it the nodes' default runtime, and choose nodes with `x-scheduler.placement`",
    );
    found.none("ipc", ipc.is_some(), "");
    found.none("pid", pid.is_some(), "");
    found.none("uts", uts.is_some(), "");
    found.none("userns_mode", userns_mode.is_some(), "");
}

fn resources(resources: &Resources, found: &mut Findings) {
    let Resources {
        memswap_limit_bytes,
        mem_reservation_bytes,
        shm_size_bytes,
        cpu_shares,
        cpuset,
        pids_limit: _,
        oom_score_adj,
        cgroup_parent,
        runtime,
    } = resources;
    found.none(
        "memswap_limit",
        memswap_limit_bytes.is_some(),
        "`mem_limit` has one",
    );
    found.none(
        "mem_reservation",
        mem_reservation_bytes.is_some(),
        "what a node must have left is `x-scheduler.placement.reservations`",
    );
    found.none(
        "shm_size",
        shm_size_bytes.is_some(),
        "a `tmpfs` of that size at `/dev/shm` has one",
    );
    found.none("cpu_shares", cpu_shares.is_some(), "`cpus` has one");
    found.none("cpuset", cpuset.is_some(), "`cpus` has one");
    found.none("oom_score_adj", oom_score_adj.is_some(), "");
    found.none("cgroup_parent", cgroup_parent.is_some(), "");
    found.none(
        "runtime",
        runtime.is_some(),
        "make it the nodes' default runtime, and choose nodes with `x-scheduler.placement`",
    );
}

fn presence(presence: &Presence, found: &mut Findings) {
    let Presence {
        hostname: _,
        domainname,
        dns: _,
        dns_search: _,
        dns_opt: _,
        ports,
    } = presence;
    found.none("domainname", domainname.is_some(), "`hostname` has one");
    let fixed = ports.iter().any(|port| {
        port.host_ip.is_some()
            || port
                .published
                .as_deref()
                .is_some_and(|text| text.parse::<u16>().is_err())
    });
    found.none("ports", fixed, "a single port of every node has one");
}

fn mount(mount: &Mount, placement: &Placement, found: &mut Findings) {
    let Mount {
        kind,
        target: _,
        read_only: _,
    } = mount;
    let anywhere = placement.constraints.is_empty();
    let pin = "choose its nodes with `x-scheduler.placement.constraints`";
    match kind {
        MountKind::Bind { source, .. } if anywhere => found.warning(
            "volumes",
            format!("`{}` must exist on each node that may run it", source.display()),
            pin,
        ),
        MountKind::Volume { name: Some(name), .. } if anywhere => found.warning(
            "volumes",
            format!("volume `{name}` is another one on each node, unless its driver says otherwise"),
            pin,
        ),
        MountKind::Bind { .. } | MountKind::Volume { .. } | MountKind::Tmpfs { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExecTarget, Tmpfs, Which};

    fn job(change: impl Fn(&mut Job)) -> Job {
        let mut job = Job {
            name: "shop.a".parse().unwrap(),
            origin: Default::default(),
            triggers: Default::default(),
            policy: Default::default(),
            container: ContainerSpec::of_image("busybox:1".parse().unwrap()),
            canonical: String::new(),
        };
        change(&mut job);
        job
    }

    fn keys(engine: EngineName, change: impl Fn(&mut Job)) -> Vec<(&'static str, bool)> {
        let found = check(&job(change), engine);
        found.iter().map(|one| (one.key, one.is_error)).collect()
    }

    #[test]
    fn a_plain_job_runs_anywhere() {
        for engine in EngineName::ALL {
            assert_eq!(keys(engine, |_| {}), []);
        }
    }

    #[test]
    fn what_a_swarm_cannot_do_is_an_error() {
        let on_swarm = |change: &dyn Fn(&mut Job)| keys(EngineName::Swarm, change);
        assert_eq!(
            on_swarm(&|job| job.container.place = Place::Reuse),
            [("x-scheduler.container", true)]
        );
        let target = ExecTarget {
            which: Which::Container("db".into()),
            only_project: None,
        };
        assert_eq!(
            on_swarm(&|job| job.container.place = Place::Exec(target.clone())),
            [("x-scheduler.exec", true)]
        );
        assert_eq!(
            on_swarm(&|job| job.container.pull_policy = PullPolicy::Never),
            [("pull_policy", true)]
        );
        assert_eq!(
            on_swarm(&|job| job.container.network_mode = Some("container:x".into())),
            [("network_mode", true)]
        );
        for (options, findings) in [("size=64m,mode=1777", 0), ("noexec", 1)] {
            let tmpfs = Tmpfs {
                target: "/x".into(),
                options: options.into(),
            };
            let found = on_swarm(&|job| job.container.tmpfs = vec![tmpfs.clone()]);
            assert_eq!(found.len(), findings, "{options}");
        }
    }

    #[test]
    fn nodes_are_for_a_swarm_alone() {
        let change = |job: &mut Job| {
            job.container.placement.constraints = vec!["node.role==worker".into()];
            job.policy.on_node_loss = OnNodeLoss::Rerun;
        };
        assert_eq!(keys(EngineName::Docker, change).len(), 2);
        assert_eq!(keys(EngineName::Swarm, change), []);
    }
}
