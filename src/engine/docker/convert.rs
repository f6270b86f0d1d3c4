//! The engine's answers in our words. Fields that an engine left out become empty, never a guess.
//!
//! Containers are read into shapes of our own: bollard's know a closed set of states, and one that
//! it does not know (Podman's `stopped`, or whatever a coming engine calls it) would make the whole
//! answer, and every container in a list, unreadable.

use std::collections::{BTreeMap, HashMap};

use bollard::models;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::own::is_own;
use crate::engine::{
    ContainerState, ContainerSummary, EngineError, EngineInfo, EngineKind, ImageSummary, PathStat, Result,
};
use crate::model::ContainerStatus;

/// A row of `GET /containers/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedContainer {
    id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    image: String,
    #[serde(default, rename = "ImageID", deserialize_with = "null_as_default")]
    image_id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    state: String,
    #[serde(default, deserialize_with = "null_as_default")]
    status: String,
    #[serde(default, deserialize_with = "null_as_default")]
    created: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_as_default")]
    command: String,
    #[serde(default, deserialize_with = "null_as_default")]
    ports: Vec<ListedPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedPort {
    #[serde(rename = "IP")]
    ip: Option<String>,
    private_port: u16,
    public_port: Option<u16>,
    #[serde(default, rename = "Type", deserialize_with = "null_as_default")]
    protocol: String,
}

/// `GET /containers/{id}/json`, as far as we look.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedContainer {
    id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    name: String,
    /// The image's ID.
    #[serde(default, deserialize_with = "null_as_default")]
    image: String,
    #[serde(default, deserialize_with = "null_as_default")]
    log_path: String,
    state: InspectedState,
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: InspectedConfig,
    #[serde(default, deserialize_with = "null_as_default")]
    host_config: InspectedHostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    /// Required: what a container does is not to be guessed.
    status: String,
    #[serde(default, deserialize_with = "null_as_default")]
    started_at: String,
    #[serde(default, deserialize_with = "null_as_default")]
    finished_at: String,
    #[serde(default, deserialize_with = "null_as_default")]
    exit_code: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    error: String,
    #[serde(default, rename = "OOMKilled", deserialize_with = "null_as_default")]
    oom_killed: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct InspectedConfig {
    #[serde(deserialize_with = "null_as_default")]
    image: String,
    #[serde(deserialize_with = "null_as_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    tty: bool,
    #[serde(deserialize_with = "null_as_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    working_dir: String,
    /// Seconds until a stop becomes a kill, where the container has its own.
    pub stop_timeout: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedHostConfig {
    log_config: InspectedLogConfig,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedLogConfig {
    #[serde(rename = "Type", deserialize_with = "null_as_default")]
    driver: String,
}

/// Go writes an empty list or map as `null` as it pleases.
fn null_as_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A list of words; Podman before 5 writes an entrypoint as one text.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    use serde::de::Error as _;
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => Ok(Vec::new()),
        serde_json::Value::String(text) if text.is_empty() => Ok(Vec::new()),
        serde_json::Value::String(text) => Ok(vec![text]),
        other => serde_json::from_value(other).map_err(D::Error::custom),
    }
}

pub(super) fn container_summary(row: ListedContainer) -> ContainerSummary {
    let ListedContainer {
        id,
        names,
        image,
        image_id,
        state,
        status,
        created,
        labels,
        command,
        ports: listed_ports,
    } = row;
    ContainerSummary {
        own: is_own(&id),
        id,
        name: names.into_iter().find_map(own_name).unwrap_or_default(),
        image,
        image_id,
        status: ContainerStatus::from_word(&state),
        status_text: status,
        created: Timestamp::from_second(created).unwrap_or_default(),
        labels,
        command,
        ports: ports(listed_ports),
        version: 0,
    }
}

/// Links of older engines show as `/other/alias`; the container's own name has one slash.
fn own_name(name: String) -> Option<String> {
    let name = name.strip_prefix('/').unwrap_or(&name);
    (!name.contains('/')).then(|| name.to_owned())
}

/// As `docker ps` shows them, without folding ranges.
fn ports(ports: Vec<ListedPort>) -> String {
    let mut texts: Vec<String> = ports
        .into_iter()
        .map(|port| {
            let inner = format!("{}/{}", port.private_port, port.protocol);
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

pub(super) fn container_state(answer: InspectedContainer) -> Result<ContainerState> {
    let InspectedContainer {
        id,
        name,
        image,
        log_path,
        state,
        config,
        host_config,
    } = answer;
    Ok(ContainerState {
        id,
        name: own_name(name).unwrap_or_default(),
        image: config.image,
        image_id: image,
        labels: config.labels,
        status: ContainerStatus::from_word(&state.status),
        started_at: set_time(&state.started_at)?,
        finished_at: set_time(&state.finished_at)?,
        exit_code: state.exit_code,
        error: state.error,
        oom_killed: state.oom_killed,
        ended_by_engine: false,
        node: String::new(),
        log_driver: host_config.log_config.driver,
        log_path,
        tty: config.tty,
        environment: config.env,
        entrypoint: config.entrypoint,
        command: config.cmd,
        working_dir: config.working_dir,
    })
}

/// Docker's zero time is the year 1, Podman's also the Unix epoch; both mean "never". An unreadable
/// time is an error: taking it for "never" could run a job twice.
fn set_time(text: &str) -> Result<Option<Timestamp>> {
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
    const SYMLINK: u32 = 1 << 27;
    const PERMISSIONS: u32 = 0o777;
    PathStat {
        is_dir: mode & DIRECTORY != 0,
        mode: mode & PERMISSIONS,
        // Podman names a target for what is no link, too: the path itself.
        link_target: if mode & SYMLINK == 0 {
            String::new()
        } else {
            link_target
        },
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
        EngineKind::Docker | EngineKind::Swarm | EngineKind::Simulated => info.id.unwrap_or_default(),
    };
    let number = engine_version(version);
    let short = number.split(['+', '~']).next().unwrap_or_default();
    let word = match kind {
        EngineKind::Podman => "podman",
        EngineKind::Docker | EngineKind::Swarm | EngineKind::Simulated => "docker",
    };
    EngineInfo {
        kind,
        name: format!("{word} {short}"),
        api_version: version.api_version.clone().unwrap_or_default(),
        identity: format!("{who} {root}"),
        system_time: info.system_time.and_then(|time| time.parse().ok()),
        default_log_driver: info.logging_driver.unwrap_or_default(),
        version: number,
        operating_system: info.operating_system.unwrap_or_default(),
        // `name=rootless`, with options behind a comma.
        rootless: info.security_options.unwrap_or_default().iter().any(|option| {
            option
                .split(',')
                .any(|part| part == "name=rootless" || part == "rootless")
        }),
        root_dir: root,
        warnings: info.warnings.unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zero_times_of_both_engines_are_never() {
        let time = set_time;
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
        let link = path_stat((1 << 27) | 0o777, "busybox".into());
        assert_eq!(link.link_target, "busybox");
        let podmans = path_stat(0o755, "/bin/busybox".into());
        assert_eq!(podmans.link_target, "", "Podman's word for a file");
    }

    fn inspected(text: &str) -> Result<ContainerState> {
        container_state(serde_json::from_str(text).expect("an answer"))
    }

    #[test]
    fn a_state_that_we_do_not_know_hides_no_container() {
        let row: ListedContainer = serde_json::from_str(
            r#"{"Id":"a","Names":["/x"],"State":"hibernating","Created":1,"Labels":null,"Ports":null}"#,
        )
        .unwrap();
        let status = container_summary(row).status;
        assert_eq!(status, ContainerStatus::Other("hibernating".to_owned()));
        let state = inspected(r#"{"Id":"a","State":{"Status":"stopped","ExitCode":3}}"#).unwrap();
        assert_eq!(
            (state.status, state.exit_code),
            (ContainerStatus::Exited, 3),
            "Podman's word"
        );
        assert!(serde_json::from_str::<InspectedContainer>(r#"{"Id":"a","State":{}}"#).is_err());
    }

    #[test]
    fn lists_that_are_null_or_one_text_are_lists() {
        let state = inspected(
            r#"{"Id":"a","Name":"/x","State":{"Status":"created"},
                "Config":{"Env":null,"Cmd":["a","b"],"Entrypoint":"/bin/sh -c","Labels":null},"HostConfig":null}"#,
        )
        .unwrap();
        assert_eq!(state.command, ["a", "b"]);
        assert_eq!(state.entrypoint, ["/bin/sh -c"]);
        assert!(state.environment.is_empty() && state.labels.is_empty());
    }

    #[test]
    fn ports_as_people_read_them() {
        let row: ListedContainer = serde_json::from_str(
            r#"{"Id":"a","Ports":[{"PrivatePort":80,"Type":"tcp"},{"IP":"0.0.0.0","PrivatePort":443,"PublicPort":8443,"Type":"tcp"}]}"#,
        )
        .unwrap();
        assert_eq!(container_summary(row).ports, "0.0.0.0:8443->443/tcp, 80/tcp");
    }
}
