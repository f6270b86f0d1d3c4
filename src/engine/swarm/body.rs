//! A run as the service that carries it out: one pure function from our spec to Swarm's.
//!
//! One task, never restarted: restart condition `none` is at most once (measured over leader changes and
//! lost nodes), where Swarm's own jobs run again after a change of leader (moby#53632).

use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum, EndpointSpec,
    EndpointSpecModeEnum, Limit, Mount as EngineMount, NetworkAttachmentConfig, Platform, ResourceObject,
    ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
    TaskSpecContainerSpecDnsConfig, TaskSpecLogDriver, TaskSpecPlacement, TaskSpecResources,
    TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum,
};

use super::files::References;
use crate::engine::{CreateRequest, EngineError, Result, lower};
use crate::model::{
    ContainerSpec, LABEL_RUN, Logging, Mount, MountKind, NetworkAttachment, Placement, Port, Presence,
    Reservations, Tmpfs,
};

/// No node has this ID. A service is ended by this constraint: its task is stopped and kept, with its
/// code and its output, and no other can take its place. (A scale to none would delete all of it:
/// measured.)
pub(super) const NOWHERE: &str = "node.id==0";

/// The body of `POST /services/create`. `image` is what its tasks are to run, by digest where one is known.
///
/// # Errors
/// [`EngineError::Invalid`] for what a service cannot have; the manifests' check says so earlier.
pub(super) fn service_spec(
    name: &str,
    image: &str,
    request: &CreateRequest,
    files: References,
) -> Result<ServiceSpec> {
    let CreateRequest {
        name: run,
        spec,
        labels: own_labels,
        environment: own_environment,
        attach: _, // Only `run` attaches, and has no place here.
        reserved,
    } = request;
    let mut service_labels = own_labels.clone();
    if let Some(run) = run {
        service_labels.insert(LABEL_RUN.to_owned(), run.to_string());
    }
    let mut task = task_template(image, spec)?;
    if let Some(container) = &mut task.container_spec {
        container.secrets = lower::some(files.secrets);
        container.configs = lower::some(files.configs);
        container.env = lower::some(lower::environment(&spec.environment, own_environment));
        container.labels = lower::some(lower::labels(&spec.labels, &service_labels));
    }
    Ok(ServiceSpec {
        name: Some(name.to_owned()),
        labels: Some(service_labels.into_iter().collect()),
        task_template: Some(task),
        mode: Some(ServiceSpecMode {
            replicated: Some(ServiceSpecModeReplicated {
                replicas: Some(i64::from(!reserved)),
            }),
            ..ServiceSpecMode::default()
        }),
        // A virtual address needs IPVS in the kernel, and nothing talks to a run.
        endpoint_spec: Some(EndpointSpec {
            mode: Some(EndpointSpecModeEnum::DNSRR),
            ports: lower::some(spec.presence.ports.iter().filter_map(lower_port).collect()),
        }),
        ..ServiceSpec::default()
    })
}

fn task_template(image: &str, spec: &ContainerSpec) -> Result<TaskSpec> {
    // Without `..`, so that a new key asks for its place in the request.
    let ContainerSpec {
        place: _,       // What cannot be a service is refused by the manifests' check.
        image: _,       // Given by digest.
        pull_policy: _, // Each node sees to its images.
        entrypoint,
        command,
        environment: _, // Lowered with our own.
        labels: _,      // The same.
        mounts,
        tmpfs,
        networks,
        network_mode,
        extra_hosts,
        user,
        working_dir,
        init,
        read_only,
        tty,
        mem_limit_bytes,
        nano_cpus,
        ulimits,
        cap_drop,
        logging,
        stop_signal,
        stop_grace_period,
        placement,
        platform,
        stdin_open,
        annotations: _, // Refused by the manifests' check.
        healthcheck,
        rights,
        resources,
        presence,
        files: _,      // They are made before the service that refers to them.
        sensitive: _,  // Of records and messages.
        kubernetes: _, // Of no meaning here.
    } = spec;
    let mut lowered: Vec<EngineMount> = mounts.iter().map(lower::mount).collect::<Result<_>>()?;
    for tmpfs in tmpfs {
        lowered.push(lower_tmpfs(tmpfs)?);
    }
    let container = TaskSpecContainerSpec {
        image: Some(image.to_owned()),
        command: entrypoint.as_deref().map(lower::exposed),
        args: command.as_deref().map(lower::exposed),
        dir: working_dir.clone(),
        user: user.clone(),
        tty: tty.then_some(true),
        read_only: read_only.then_some(true),
        // Nobody else reaps what a job leaves behind, and Swarm's default would be the node's.
        init: Some(init.unwrap_or(true)),
        mounts: lower::some(lowered),
        stop_signal: stop_signal.clone(),
        stop_grace_period: stop_grace_period.map(|grace| i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX)),
        // Turned round: `ADDRESS NAME`.
        hosts: lower::some(
            extra_hosts
                .iter()
                .map(|(host, address)| format!("{address} {host}"))
                .collect(),
        ),
        ulimits: lower::some(ulimits.iter().map(lower::ulimit).collect()),
        capability_drop: lower::some(cap_drop.clone()),
        // Of these, what the manifests' check lets through.
        capability_add: lower::some(rights.cap_add.clone()),
        groups: lower::some(rights.group_add.clone()),
        sysctls: lower::some(rights.sysctls.clone().into_iter().collect()),
        open_stdin: stdin_open.then_some(true),
        health_check: healthcheck.as_ref().map(lower::healthcheck),
        hostname: presence.hostname.clone(),
        dns_config: lower_dns(presence),
        ..TaskSpecContainerSpec::default()
    };
    let limits = Limit {
        nano_cpus: lower::signed("cpus", *nano_cpus)?,
        memory_bytes: lower::signed("mem_limit", *mem_limit_bytes)?,
        pids: resources.pids_limit.filter(|limit| *limit > 0),
    };
    let Placement {
        constraints,
        reservations,
    } = placement;
    Ok(TaskSpec {
        container_spec: Some(container),
        resources: Some(TaskSpecResources {
            limits: Some(limits),
            reservations: lower_reservations(reservations)?,
            ..TaskSpecResources::default()
        }),
        restart_policy: Some(TaskSpecRestartPolicy {
            condition: Some(TaskSpecRestartPolicyConditionEnum::NONE),
            ..TaskSpecRestartPolicy::default()
        }),
        placement: Some(TaskSpecPlacement {
            constraints: lower::some(constraints.clone()),
            platforms: platform.as_deref().map(|platform| vec![lower_platform(platform)]),
            ..TaskSpecPlacement::default()
        }),
        networks: lower::some(lower_networks(network_mode.as_deref(), networks)),
        log_driver: logging.as_ref().map(lower_logging),
        ..TaskSpec::default()
    })
}

/// `tmpfs:` takes mount options as text; a service has a size and a mode.
fn lower_tmpfs(tmpfs: &Tmpfs) -> Result<EngineMount> {
    let Tmpfs { target, options: _ } = tmpfs;
    let (size_bytes, mode) = tmpfs.size_and_mode().ok_or_else(|| {
        EngineError::Invalid(format!(
            "`tmpfs` of `{target}`: of its options `size` and `mode` alone have an equal in Swarm"
        ))
    })?;
    lower::mount(&Mount {
        kind: MountKind::Tmpfs { size_bytes, mode },
        target: target.clone(),
        read_only: false,
    })
}

fn lower_networks(mode: Option<&str>, networks: &[NetworkAttachment]) -> Vec<NetworkAttachmentConfig> {
    let of_mode = mode
        .filter(|mode| !matches!(*mode, "default" | "bridge"))
        .map(|mode| NetworkAttachmentConfig {
            target: Some(mode.to_owned()),
            ..NetworkAttachmentConfig::default()
        });
    let named = networks.iter().map(|network| {
        let NetworkAttachment {
            name,
            aliases,
            ipv4_address: _, // Refused by the manifests' check.
            ipv6_address: _,
        } = network;
        NetworkAttachmentConfig {
            target: Some(name.clone()),
            aliases: lower::some(aliases.clone()),
            ..NetworkAttachmentConfig::default()
        }
    });
    of_mode.into_iter().chain(named).collect()
}

fn lower_logging(logging: &Logging) -> TaskSpecLogDriver {
    let Logging { driver, options } = logging;
    TaskSpecLogDriver {
        name: Some(driver.clone()),
        options: Some(options.clone().into_iter().collect()),
    }
}

/// `linux/arm64`, or a system alone.
fn lower_platform(platform: &str) -> Platform {
    let (os, arch) = match platform.split_once('/') {
        Some((os, arch)) => (os, Some(arch.to_owned())),
        None => (platform, None),
    };
    Platform {
        os: Some(os.to_owned()),
        architecture: arch,
    }
}

fn lower_dns(presence: &Presence) -> Option<TaskSpecContainerSpecDnsConfig> {
    let Presence {
        hostname: _,
        domainname: _,
        dns,
        dns_search,
        dns_opt,
        ports: _,
    } = presence;
    let any = !dns.is_empty() || !dns_search.is_empty() || !dns_opt.is_empty();
    any.then(|| TaskSpecContainerSpecDnsConfig {
        nameservers: lower::some(dns.clone()),
        search: lower::some(dns_search.clone()),
        options: lower::some(dns_opt.clone()),
    })
}

/// On the node that has the task: nothing balances what lives for one run.
fn lower_port(port: &Port) -> Option<EndpointPortConfig> {
    let Port {
        target,
        protocol,
        host_ip: _, // Refused by the manifests' check, like a range.
        published,
    } = port;
    Some(EndpointPortConfig {
        target_port: Some(i64::from(*target)),
        published_port: published.as_deref().and_then(|text| text.parse().ok()),
        protocol: match protocol.as_str() {
            "udp" => Some(EndpointPortConfigProtocolEnum::UDP),
            "sctp" => Some(EndpointPortConfigProtocolEnum::SCTP),
            _ => Some(EndpointPortConfigProtocolEnum::TCP),
        },
        publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
        ..EndpointPortConfig::default()
    })
}

fn lower_reservations(reservations: &Reservations) -> Result<Option<ResourceObject>> {
    let Reservations {
        memory_bytes,
        nano_cpus,
    } = reservations;
    if memory_bytes.is_none() && nano_cpus.is_none() {
        return Ok(None);
    }
    Ok(Some(ResourceObject {
        nano_cpus: lower::signed("cpus", *nano_cpus)?,
        memory_bytes: lower::signed("memory", *memory_bytes)?,
        generic_resources: None,
    }))
}
