//! bollard's models in our words. Fields that an engine left out become empty, never a guess.

use std::collections::{BTreeMap, HashMap};

use bollard::models;
use jiff::Timestamp;

use crate::engine::{
    ContainerState, ContainerSummary, EngineError, EngineInfo, EngineKind, ImageSummary, PathStat, Result,
};
use crate::model::ContainerStatus;

pub(super) fn container_summary(row: models::ContainerSummary) -> Result<ContainerSummary> {
    let id = row.id.ok_or_else(|| without("an ID in a list of containers"))?;
    let name = row.names.unwrap_or_default().into_iter().find_map(own_name);
    Ok(ContainerSummary {
        id,
        name: name.unwrap_or_default(),
        image: row.image.unwrap_or_default(),
        image_id: row.image_id.unwrap_or_default(),
        status: ContainerStatus::from_word(&row.state.map(|state| state.to_string()).unwrap_or_default()),
        status_text: row.status.unwrap_or_default(),
        created: Timestamp::from_second(row.created.unwrap_or_default()).unwrap_or_default(),
        labels: sorted(row.labels),
        command: row.command.unwrap_or_default(),
        ports: ports(row.ports.unwrap_or_default()),
    })
}

/// Links of older engines show as `/other/alias`; the container's own name has one slash.
fn own_name(name: String) -> Option<String> {
    let name = name.strip_prefix('/').unwrap_or(&name);
    (!name.contains('/')).then(|| name.to_owned())
}

/// As `docker ps` shows them, without folding ranges.
fn ports(ports: Vec<models::PortSummary>) -> String {
    let mut texts: Vec<String> = ports
        .into_iter()
        .map(|port| {
            let protocol = port.typ.map(|typ| typ.to_string()).unwrap_or_default();
            let inner = format!("{}/{protocol}", port.private_port);
            match (port.ip, port.public_port) {
                (Some(ip), Some(public)) => format!("{ip}:{public}->{inner}"),
                (None, Some(public)) => format!("{public}->{inner}"),
                (_, None) => inner,
            }
        })
        .collect();
    texts.sort();
    texts.join(", ")
}

pub(super) fn container_state(answer: models::ContainerInspectResponse) -> Result<ContainerState> {
    let id = answer.id.ok_or_else(|| without("an ID of a container"))?;
    let state = answer.state.ok_or_else(|| without("the state of a container"))?;
    let config = answer.config.unwrap_or_default();
    let host_config = answer.host_config.unwrap_or_default();
    Ok(ContainerState {
        id,
        name: answer.name.and_then(own_name).unwrap_or_default(),
        image: config.image.unwrap_or_default(),
        image_id: answer.image.unwrap_or_default(),
        labels: sorted(config.labels),
        status: ContainerStatus::from_word(
            &state.status.map(|status| status.to_string()).unwrap_or_default(),
        ),
        started_at: set_time(state.started_at)?,
        finished_at: set_time(state.finished_at)?,
        exit_code: state.exit_code.unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        log_driver: host_config.log_config.and_then(|log| log.typ).unwrap_or_default(),
        log_path: answer.log_path.unwrap_or_default(),
        tty: config.tty.unwrap_or_default(),
        environment: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
    })
}

/// Docker's zero time is the year 1, Podman's also the Unix epoch; both mean "never". An unreadable
/// time is an error: taking it for "never" could run a job twice.
fn set_time(text: Option<String>) -> Result<Option<Timestamp>> {
    let text = text.unwrap_or_default();
    if text.is_empty() || text.starts_with("0001-01-01T") {
        return Ok(None);
    }
    let time: Timestamp = text.parse().map_err(|error| EngineError::Undecodable {
        why: format!("the time `{text}`: {error}"),
    })?;
    Ok((time != Timestamp::UNIX_EPOCH).then_some(time))
}

pub(super) fn image_summary(image: models::ImageSummary) -> ImageSummary {
    ImageSummary {
        id: image.id,
        tags: image
            .repo_tags
            .into_iter()
            .filter(|tag| tag != "<none>:<none>")
            .collect(),
        created: Timestamp::from_second(image.created).unwrap_or_default(),
        size_bytes: u64::try_from(image.size).unwrap_or_default(),
    }
}

/// Go's `os.FileMode` has the type in its upper bits and the permissions in the lowest nine.
pub(super) fn path_stat(mode: u32, link_target: String) -> PathStat {
    const DIRECTORY: u32 = 1 << 31;
    const PERMISSIONS: u32 = 0o777;
    PathStat {
        is_dir: mode & DIRECTORY != 0,
        mode: mode & PERMISSIONS,
        link_target,
    }
}

pub(super) fn engine_info(
    kind: EngineKind,
    version: &models::SystemVersion,
    info: models::SystemInfo,
) -> EngineInfo {
    let root = info.docker_root_dir.unwrap_or_default();
    let who = match kind {
        EngineKind::Podman => info.name.unwrap_or_default(),
        EngineKind::Docker | EngineKind::Simulated => info.id.unwrap_or_default(),
    };
    let number = engine_version(version);
    let short = number.split(['+', '~']).next().unwrap_or_default();
    let word = match kind {
        EngineKind::Podman => "podman",
        EngineKind::Docker | EngineKind::Simulated => "docker",
    };
    EngineInfo {
        kind,
        name: format!("{word} {short}"),
        api_version: version.api_version.clone().unwrap_or_default(),
        identity: format!("{who} {root}"),
        system_time: info.system_time.and_then(|time| time.parse().ok()),
        default_log_driver: info.logging_driver.unwrap_or_default(),
        version: number,
    }
}

pub(super) fn engine_kind(version: &models::SystemVersion) -> EngineKind {
    if podman_component(version).is_some() {
        EngineKind::Podman
    } else {
        EngineKind::Docker
    }
}

fn engine_version(version: &models::SystemVersion) -> String {
    podman_component(version)
        .map(|component| component.version.clone())
        .or_else(|| version.version.clone())
        .unwrap_or_default()
}

fn podman_component(version: &models::SystemVersion) -> Option<&models::SystemVersionComponents> {
    let components = version.components.as_deref().unwrap_or_default();
    components
        .iter()
        .find(|component| component.name == "Podman Engine")
}

pub(super) fn sorted(map: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    map.unwrap_or_default().into_iter().collect()
}

fn without(what: &str) -> EngineError {
    EngineError::Undecodable {
        why: format!("it lacks {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zero_times_of_both_engines_are_never() {
        let time = |text: &str| set_time(Some(text.to_owned()));
        assert_eq!(time("0001-01-01T00:00:00Z"), Ok(None));
        assert_eq!(time("1970-01-01T00:00:00Z"), Ok(None));
        assert_eq!(time(""), Ok(None));
        assert_eq!(
            time("2026-11-22T21:04:13.836491319Z"),
            Ok(Some("2026-11-22T21:04:13.836491319Z".parse().unwrap()))
        );
        assert!(matches!(time("yesterday"), Err(EngineError::Undecodable { .. })));
    }

    #[test]
    fn names_of_links_are_not_the_containers() {
        let names = ["/other/alias", "/mine"].map(str::to_owned);
        assert_eq!(names.into_iter().find_map(own_name).as_deref(), Some("mine"));
    }

    #[test]
    fn modes_are_gos() {
        let stat = path_stat((1 << 31) | 0o755, String::new());
        assert!(stat.is_dir);
        assert_eq!(stat.mode, 0o755);
        assert!(!path_stat(0o644, String::new()).is_dir);
    }
}
