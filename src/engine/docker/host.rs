//! The part of a create request that is about the host: rights, resources, names, ports, health.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HealthConfig, HostConfig, PortBinding,
};

use super::ApiVersion;
use crate::engine::{EngineError, Result, lower};
use crate::model::{Device, Gpus, Healthcheck, Port, Presence, Resources, Rights, Text};

/// # Errors
/// [`EngineError::Invalid`] when this engine would not understand it.
pub(super) fn add_rights(rights: &Rights, api: ApiVersion, host: &mut HostConfig) -> Result<()> {
    let Rights {
        privileged,
        cap_add,
        security_opt,
        group_add,
        devices,
        gpus,
        ipc,
        pid,
        uts,
        userns_mode,
        sysctls,
    } = rights;
    host.privileged = privileged.then_some(true);
    host.cap_add = lower::some(cap_add.clone());
    // The command line turns this one into two lists of paths; the engine does not know the word.
    let (system_paths, options): (Vec<String>, Vec<String>) = security_opt
        .iter()
        .cloned()
        .partition(|option| option.replace(':', "=") == "systempaths=unconfined");
    if !system_paths.is_empty() {
        host.masked_paths = Some(Vec::new());
        host.readonly_paths = Some(Vec::new());
    }
    host.security_opt = lower::some(options);
    host.group_add = lower::some(group_add.clone());
    let mut requests: Vec<DeviceRequest> = gpus.iter().map(lower_gpus).collect();
    let mut mappings = Vec::new();
    for device in devices {
        match device {
            Device::Path {
                source,
                target,
                permissions,
            } => mappings.push(DeviceMapping {
                path_on_host: Some(source.clone()),
                path_in_container: Some(target.clone()),
                cgroup_permissions: Some(permissions.clone()),
            }),
            Device::Cdi(name) => {
                needs(
                    api,
                    ApiVersion::CDI,
                    "devices",
                    "names such as `vendor.com/class=name`",
                )?;
                requests.push(DeviceRequest {
                    driver: Some("cdi".to_owned()),
                    device_ids: Some(vec![name.clone()]),
                    ..DeviceRequest::default()
                });
            }
        }
    }
    host.devices = lower::some(mappings);
    host.device_requests = lower::some(requests);
    host.ipc_mode.clone_from(ipc);
    host.pid_mode.clone_from(pid);
    host.uts_mode.clone_from(uts);
    host.userns_mode.clone_from(userns_mode);
    host.sysctls = lower::some(sysctls.clone().into_iter().collect());
    Ok(())
}

fn lower_gpus(gpus: &Gpus) -> DeviceRequest {
    let Gpus {
        driver,
        count,
        device_ids,
        capabilities,
        options,
    } = gpus;
    let mut all = capabilities.clone();
    if !all.iter().any(|capability| capability == "gpu") {
        all.push("gpu".to_owned());
    }
    DeviceRequest {
        driver: driver.clone(),
        count: *count,
        device_ids: lower::some(device_ids.clone()),
        capabilities: Some(vec![all]),
        options: lower::some(options.clone().into_iter().collect()),
    }
}

pub(super) fn add_resources(resources: &Resources, host: &mut HostConfig) -> Result<()> {
    let Resources {
        memswap_limit_bytes,
        mem_reservation_bytes,
        shm_size_bytes,
        cpu_shares,
        cpuset,
        pids_limit,
        oom_score_adj,
        cgroup_parent,
        runtime,
    } = resources;
    host.memory_swap = *memswap_limit_bytes;
    host.memory_reservation = lower::signed("mem_reservation", *mem_reservation_bytes)?;
    host.shm_size = lower::signed("shm_size", *shm_size_bytes)?;
    host.cpu_shares = lower::signed("cpu_shares", *cpu_shares)?;
    host.cpuset_cpus.clone_from(cpuset);
    host.pids_limit = *pids_limit;
    host.oom_score_adj = *oom_score_adj;
    host.cgroup_parent.clone_from(cgroup_parent);
    host.runtime.clone_from(runtime);
    Ok(())
}

pub(super) fn add_presence(presence: &Presence, body: &mut ContainerCreateBody, host: &mut HostConfig) {
    let Presence {
        hostname,
        domainname,
        dns,
        dns_search,
        dns_opt,
        ports,
    } = presence;
    body.hostname.clone_from(hostname);
    body.domainname.clone_from(domainname);
    host.dns = lower::some(dns.clone());
    host.dns_search = lower::some(dns_search.clone());
    host.dns_options = lower::some(dns_opt.clone());
    let mut exposed: Vec<String> = Vec::new();
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        let Port {
            target,
            protocol,
            host_ip,
            published,
        } = port;
        let name = format!("{target}/{protocol}");
        if !exposed.contains(&name) {
            exposed.push(name.clone());
        }
        let binding = PortBinding {
            host_ip: host_ip.clone(),
            host_port: Some(published.clone().unwrap_or_default()),
        };
        bindings
            .entry(name)
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    body.exposed_ports = lower::some(exposed);
    host.port_bindings = lower::some(bindings);
}

pub(super) fn lower_annotations(
    annotations: &BTreeMap<String, Text>,
    api: ApiVersion,
) -> Result<Option<HashMap<String, String>>> {
    if annotations.is_empty() {
        return Ok(None);
    }
    needs(api, ApiVersion::ANNOTATIONS, "annotations", "them")?;
    let exposed = annotations
        .iter()
        .map(|(key, value)| (key.clone(), value.expose().to_owned()));
    Ok(Some(exposed.collect()))
}

pub(super) fn lower_healthcheck(check: &Healthcheck, api: ApiVersion) -> Result<HealthConfig> {
    if check.start_interval.is_some() {
        needs(api, ApiVersion::CDI, "healthcheck.start_interval", "it")?;
    }
    Ok(lower::healthcheck(check))
}

/// An older engine would leave it out without a word.
fn needs(api: ApiVersion, from: ApiVersion, key: &str, what: &str) -> Result<()> {
    if api >= from {
        return Ok(());
    }
    Err(EngineError::Invalid(format!(
        "`{key}`: this engine does not know {what} (it speaks API {api}, and {from} is needed)"
    )))
}
