//! A create request as the engine wants it: one pure function from our spec to Docker's body.
//!
//! It reads nothing and asks nobody; whether a mount's source or a network exists is not its
//! affair. The same body is what a spec's fingerprint is made from.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig,
    Mount as EngineMount, MountBindOptions, MountType, NetworkingConfig, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::{ApiVersion, host};
use crate::engine::{CreateRequest, EngineError, Result, lower};
use crate::model::{ContainerSpec, FileSource, JobFile, Logging, Mount, MountKind, NetworkAttachment, Tmpfs};

/// The body of `POST /containers/create`.
///
/// Restart policy `no` and no auto-removal, always: an engine that starts a job again, or removes
/// it before its result is read, would break what a schedule promises.
///
/// # Errors
/// [`EngineError::Invalid`] when a value has no form in the engine's request.
pub fn create_body(request: &CreateRequest, api: ApiVersion) -> Result<ContainerCreateBody> {
    let CreateRequest {
        name: _, // Stands in the query.
        spec,
        labels: own_labels,
        environment: own_environment,
        attach,
        reserved: _, // It is started by a request of its own.
    } = request;
    // Without `..`, so that a new key asks for its place in the request.
    let ContainerSpec {
        place: _, // How often it is started is not the engine's affair.
        image,
        pull_policy: _, // Decides about a pull, before the create call.
        entrypoint,
        command,
        environment,
        labels,
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
        placement: _, // A single engine is the only node there is; the manifests' check says so.
        platform: _,  // Stands in the query.
        stdin_open,
        annotations,
        healthcheck,
        rights,
        resources,
        presence,
        files,
        sensitive: _,  // Of records and messages.
        kubernetes: _, // Of no meaning here.
    } = spec;

    let (binds, mut mounts) = lower_mounts(mounts, api)?;
    // What has a content of its own is written into the container, once that exists.
    for file in files {
        if let FileSource::Path(path) = &file.source {
            mounts.push(lower_file(file, path)?);
        }
    }
    let mut host_config = HostConfig {
        binds: lower::some(binds),
        mounts: lower::some(mounts),
        tmpfs: lower::some(tmpfs.iter().map(lower_tmpfs).collect()),
        network_mode: Some(lower_network_mode(network_mode.as_deref(), networks)?),
        extra_hosts: lower::some(
            extra_hosts
                .iter()
                .map(|(host, ip)| format!("{host}:{ip}"))
                .collect(),
        ),
        init: *init,
        readonly_rootfs: read_only.then_some(true),
        memory: lower::signed("mem_limit", *mem_limit_bytes)?,
        nano_cpus: lower::signed("cpus", *nano_cpus)?,
        ulimits: lower::some(ulimits.iter().map(lower::ulimit).collect()),
        cap_drop: lower::some(cap_drop.clone()),
        log_config: logging.as_ref().map(lower_logging),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        annotations: host::lower_annotations(annotations, api)?,
        ..HostConfig::default()
    };
    host::add_rights(rights, api, &mut host_config)?;
    host::add_resources(resources, &mut host_config)?;
    let mut body = ContainerCreateBody {
        image: Some(image.to_string()),
        entrypoint: entrypoint.as_deref().map(lower::exposed),
        cmd: command.as_deref().map(lower::exposed),
        env: lower::some(lower::environment(environment, own_environment)),
        labels: lower::some(lower::labels(labels, own_labels)),
        user: user.clone(),
        working_dir: working_dir.clone(),
        tty: tty.then_some(true),
        open_stdin: stdin_open.then_some(true),
        healthcheck: healthcheck
            .as_ref()
            .map(|check| host::lower_healthcheck(check, api))
            .transpose()?,
        attach_stdout: attach.then_some(true),
        attach_stderr: attach.then_some(true),
        stop_signal: stop_signal.clone(),
        stop_timeout: stop_grace_period.map(whole_seconds),
        networking_config: lower_networking(networks, api),
        ..ContainerCreateBody::default()
    };
    host::add_presence(presence, &mut body, &mut host_config);
    body.host_config = Some(host_config);
    Ok(body)
}

/// The networks that an engine of this version does not take in the create call: they are
/// connected after it, before the start.
pub(super) fn later_networks(
    spec: &ContainerSpec,
    api: ApiVersion,
) -> impl Iterator<Item = (&str, EndpointSettings)> {
    let at_create = networks_at_create(&spec.networks, api).len();
    spec.networks[at_create..]
        .iter()
        .map(|network| (network.name.as_str(), lower_attachment(network)))
}

fn networks_at_create(networks: &[NetworkAttachment], api: ApiVersion) -> &[NetworkAttachment] {
    if api >= ApiVersion::SEVERAL_NETWORKS {
        networks
    } else {
        &networks[..networks.len().min(1)]
    }
}

/// `Binds` and `Mounts`. A bind whose source the engine shall create goes through `Binds` where
/// `Mounts` cannot say so (API 1.41 refuses a missing source there).
fn lower_mounts(mounts: &[Mount], api: ApiVersion) -> Result<(Vec<String>, Vec<EngineMount>)> {
    let mut binds = Vec::new();
    let mut lowered = Vec::new();
    for mount in mounts {
        let Mount {
            kind,
            target,
            read_only,
        } = mount;
        match kind {
            MountKind::Bind {
                source,
                create_host_path: true,
            } if api < ApiVersion::CREATES_MOUNTPOINTS => binds.push(short_bind(source, target, *read_only)?),
            MountKind::Bind {
                create_host_path: true,
                ..
            } => lowered.push(EngineMount {
                bind_options: Some(MountBindOptions {
                    create_mountpoint: Some(true),
                    ..MountBindOptions::default()
                }),
                ..lower::mount(mount)?
            }),
            _ => lowered.push(lower::mount(mount)?),
        }
    }
    Ok((binds, lowered))
}

fn short_bind(source: &Path, target: &str, read_only: bool) -> Result<String> {
    let source = lower::utf8(source)?;
    // The engine knows drives, and takes their colon for none between two parts.
    let has_drive = cfg!(windows) && source.as_bytes().get(1) == Some(&b':');
    if source[if has_drive { 2 } else { 0 }..].contains(':') || target.contains(':') {
        return Err(EngineError::Invalid(format!(
            "the bind mount of `{source}` cannot be created by this engine, since its path has a colon: \
             create the folder and set `create_host_path: false`"
        )));
    }
    let mode = if read_only { ":ro" } else { "" };
    Ok(format!("{source}:{target}{mode}"))
}

fn lower_file(file: &JobFile, path: &Path) -> Result<EngineMount> {
    Ok(EngineMount {
        typ: Some(MountType::BIND),
        source: Some(lower::utf8(path)?.to_owned()),
        target: Some(file.target.clone()),
        read_only: Some(true),
        ..EngineMount::default()
    })
}

fn lower_tmpfs(tmpfs: &Tmpfs) -> (String, String) {
    let Tmpfs { target, options } = tmpfs;
    (target.clone(), options.clone())
}

/// The first network is also the network mode: else the engine would attach its default one too.
fn lower_network_mode(mode: Option<&str>, networks: &[NetworkAttachment]) -> Result<String> {
    match (mode, networks.first()) {
        (Some(mode), None) => Ok(mode.to_owned()),
        (None, Some(first)) => Ok(first.name.clone()),
        (None, None) => Ok("default".to_owned()),
        (Some(_), Some(_)) => Err(EngineError::Invalid(
            "`network_mode` and `networks` exclude each other".to_owned(),
        )),
    }
}

fn lower_networking(networks: &[NetworkAttachment], api: ApiVersion) -> Option<NetworkingConfig> {
    let endpoints: HashMap<String, EndpointSettings> = networks_at_create(networks, api)
        .iter()
        .map(|network| (network.name.clone(), lower_attachment(network)))
        .collect();
    (!endpoints.is_empty()).then_some(NetworkingConfig {
        endpoints_config: Some(endpoints),
    })
}

fn lower_attachment(network: &NetworkAttachment) -> EndpointSettings {
    let NetworkAttachment {
        name: _, // The key.
        aliases,
        ipv4_address,
        ipv6_address,
    } = network;
    let fixed = ipv4_address.is_some() || ipv6_address.is_some();
    EndpointSettings {
        aliases: lower::some(aliases.clone()),
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: ipv4_address.clone(),
            ipv6_address: ipv6_address.clone(),
            link_local_ips: None,
        }),
        ..EndpointSettings::default()
    }
}

fn lower_logging(logging: &Logging) -> HostConfigLogConfig {
    let Logging { driver, options } = logging;
    HostConfigLogConfig {
        typ: Some(driver.clone()),
        config: Some(options.clone().into_iter().collect()),
    }
}

/// Rounded up: a grace period of 500 ms must not become an immediate kill.
fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
