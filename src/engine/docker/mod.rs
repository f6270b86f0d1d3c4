//! A Docker engine (or Podman's Docker API) over bollard.
//!
//! Each verb is one request, sent once, under a deadline of ours that also covers reading the
//! answer. Nothing here retries a change, keeps state of containers, or decides what an unknown
//! answer means; the one thing remembered is which API version was agreed on, and that is asked
//! anew after every failure to get an answer. No connection is kept between requests, so an engine
//! may go away and come back at any time.

mod api;
mod archive;
mod body;
mod convert;
mod exec;
mod failure;
mod host;
mod own;
#[cfg(target_os = "linux")]
mod peer;
mod pull;
mod session;
mod ssh;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use bollard::container::LogOutput;
use bollard::models::{ContainerUpdateBody, NetworkConnectRequest, VolumeCreateRequest};
use bollard::query_parameters as query;
use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use self::convert::{InspectedContainer, ListedContainer};
use self::session::{Connection, Session};
use super::context::Endpoint;
use super::{
    ContainerFilter, ContainerState, ContainerSummary, CreateRequest, Created, Description, Engine,
    EngineError, EngineEvent, EngineInfo, EngineKind, ExecRequest, ExecState, ImageSummary, LogChunk,
    LogOptions, LogStream, Observe, PathStat, PullProgress, Removal, Result,
};
use crate::model::{ImageRef, JobFile, Peer, validate_container_ref};

pub use api::ApiVersion;
pub use body::create_body;
pub use own::{is_contained, is_own};

/// Lists, inspects and other questions.
const QUESTION: Duration = Duration::from_secs(10);
/// Docker itself blocks for 15 s on a log or volume driver that does not answer, twice at worst.
const CREATE: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(30);
/// What the engine may take beyond the grace period to kill and to report.
const STOP_MARGIN: Duration = Duration::from_secs(15);
/// Secrets and configs are small.
const WRITE: Duration = Duration::from_secs(30);
const KILL: Duration = Duration::from_secs(15);
/// Deleting a large filesystem layer takes its time.
const REMOVE: Duration = Duration::from_secs(60);
/// Between two chunks of output that is not followed.
const LOG_IDLE: Duration = Duration::from_secs(30);
/// The engine's grace period where nobody set one.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// One engine, by its address.
pub struct DockerEngine {
    endpoint: Endpoint,
    connection: Connection,
}

impl DockerEngine {
    /// Connects and agrees on an API version.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] with the address and the reason: no such file, permission
    /// denied, refused, no HTTP, no common API version. [`EngineError::Invalid`] when certificates
    /// cannot be read.
    pub async fn connect(endpoint: &Endpoint) -> Result<DockerEngine> {
        let engine = DockerEngine {
            connection: Connection::new(endpoint)?,
            endpoint: endpoint.clone(),
        };
        engine.connection.session().await?;
        Ok(engine)
    }

    /// Sends one request and reads its whole answer, within `deadline`.
    pub(in crate::engine) async fn call<T, F>(
        &self,
        deadline: Duration,
        request: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, bollard::errors::Error>>,
    {
        let session = self.connection.session().await?;
        let answer = request(session.docker.clone());
        let answer = async {
            answer
                .await
                .map_err(|error| failure::of_request(&self.endpoint.host, error))
        };
        self.within(&session, deadline, answer).await
    }

    /// The whole answer to a GET of `path`, read into a shape of ours.
    async fn question<T: DeserializeOwned>(&self, path: String) -> Result<T> {
        self.question_within(QUESTION, path).await
    }

    pub(in crate::engine) async fn question_within<T: DeserializeOwned>(
        &self,
        deadline: Duration,
        path: String,
    ) -> Result<T> {
        let session = self.connection.session().await?;
        let mut body = self.body(&session, path);
        let read = async {
            let mut bytes = BytesMut::new();
            while let Some(chunk) = body.next().await {
                bytes.extend_from_slice(&chunk?);
            }
            Ok(bytes)
        };
        let bytes = self.within(&session, deadline, read).await?;
        serde_json::from_slice(&bytes).map_err(|error| EngineError::Undecodable {
            why: error.to_string(),
        })
    }

    /// Puts a deadline on an answer, and forgets the agreement with an engine that gave none.
    async fn within<T>(
        &self,
        session: &Session,
        deadline: Duration,
        answer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let result = match tokio::time::timeout(deadline, answer).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::Unanswered {
                why: format!("no answer within {} s", deadline.as_secs()),
            }),
        };
        if let Err(EngineError::Unreachable { .. } | EngineError::Unanswered { .. }) = &result {
            self.connection.forget(session);
        }
        result
    }

    async fn inspect_raw(&self, name_or_id: &str) -> Result<Option<InspectedContainer>> {
        let path = format!("/containers/{}/json", checked(name_or_id)?);
        none_when_gone(self.question(path).await)
    }

    /// Connects the networks that the create call could not take; nothing stays behind on failure.
    async fn connect_later(&self, id: &str, request: &CreateRequest, api: ApiVersion) -> Result<()> {
        for (network, endpoint) in body::later_networks(&request.spec, api) {
            let network = checked(network)?.to_owned();
            let config = NetworkConnectRequest {
                container: id.to_owned(),
                endpoint_config: Some(endpoint),
            };
            let connected = self
                .call(CREATE, async move |docker: bollard::Docker| {
                    docker.connect_network(&network, config).await
                })
                .await;
            if let Err(error) = connected {
                return Err(match self.remove(id, true).await {
                    Ok(_) => error,
                    Err(removal) => EngineError::Unanswered {
                        why: format!("{error}; and the container made could not be removed: {removal}"),
                    },
                });
            }
        }
        Ok(())
    }

    /// The period after which the engine kills a container that ignores its stop signal.
    async fn own_grace(&self, id: &str) -> Result<Duration> {
        let container = self.inspect_raw(id).await?;
        let seconds = container.and_then(|container| container.config.stop_timeout);
        Ok(match seconds {
            // Docker takes a negative one for "for ever": our deadline is the end then.
            Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
            None => DEFAULT_GRACE,
        })
    }
}

#[async_trait]
impl Observe for DockerEngine {
    fn host(&self) -> String {
        self.endpoint.host.clone()
    }

    #[cfg(target_os = "linux")]
    async fn peer(&self) -> Option<Peer> {
        let super::context::Transport::Unix(socket) = &self.endpoint.transport else {
            return None;
        };
        tokio::time::timeout(QUESTION, peer::of_socket(socket))
            .await
            .ok()
            .flatten()
    }

    #[cfg(not(target_os = "linux"))]
    async fn peer(&self) -> Option<Peer> {
        None
    }

    async fn info(&self) -> Result<EngineInfo> {
        let session = self.connection.session().await?;
        let info = self
            .call(QUESTION, async move |docker: bollard::Docker| docker.info().await)
            .await?;
        Ok(convert::engine_info(session.kind, &session.version, info))
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerSummary>> {
        let ContainerFilter { all, label } = filter;
        let mut path = format!("/containers/json?all={all}");
        if let Some((key, value)) = label {
            let filters = serde_json::json!({ "label": [format!("{key}={value}")] });
            push_parameter(&mut path, "filters", &filters.to_string());
        }
        let rows: Vec<ListedContainer> = self.question(path).await?;
        Ok(rows.into_iter().map(convert::container_summary).collect())
    }

    async fn inspect(&self, name_or_id: &str) -> Result<Option<ContainerState>> {
        self.inspect_raw(name_or_id)
            .await?
            .map(convert::container_state)
            .transpose()
    }

    async fn describe(&self, name_or_id: &str) -> Result<Option<Description>> {
        let path = format!("/containers/{}/json", checked(name_or_id)?);
        let Some(container) = none_when_gone(self.question::<serde_json::Value>(path).await)? else {
            return Ok(None);
        };
        let id = container.get("Image").and_then(serde_json::Value::as_str);
        let image = match id.and_then(|id| id.strip_prefix("sha256:")) {
            Some(digest) => {
                none_when_gone(self.question(format!("/images/{}/json", checked(digest)?)).await)?
            }
            None => None,
        };
        Ok(Some(Description { container, image }))
    }

    async fn describe_own(&self) -> Result<Option<serde_json::Value>> {
        let Some(named) = own::named() else {
            return Ok(None);
        };
        let ask = async |id: &str| {
            none_when_gone(self.question(format!("/containers/{}/json", checked(id)?)).await)
        };
        let Some(found) = ask(named).await? else {
            return Ok(None);
        };
        let mounts = own::mounts();
        let id_of = |container: &serde_json::Value| container["Id"].as_str().unwrap_or(named).to_owned();
        if own::has_our_root(&found, &mounts) == Some(true) {
            own::settle([id_of(&found)]);
            return Ok(Some(found));
        }
        let mut alike = vec![found];
        let running: Vec<serde_json::Value> = self.question("/containers/json".to_owned()).await?;
        for row in running {
            let network = row
                .pointer("/HostConfig/NetworkMode")
                .and_then(serde_json::Value::as_str);
            let shares = network.and_then(|network| network.strip_prefix("container:")) == Some(named);
            if let Some(id) = row["Id"].as_str().filter(|_| shares) {
                alike.extend(ask(id).await?);
            }
        }
        let best = own::most_alike(alike, &mounts);
        own::settle(best.iter().map(id_of));
        Ok(best.into_iter().next())
    }

    async fn log_was_opened(&self, state: &ContainerState) -> Option<bool> {
        if !state.log_path.is_empty() {
            return Some(true);
        }
        if state.log_driver != "json-file" || !self.endpoint.host.starts_with("unix://") {
            return None;
        }
        // An engine that was killed twice since a start shows no LogPath for a container that ran:
        // the first restart finds its task and ends it, the second one finds nothing (hit by chance
        // on 20.10). The file stays.
        let info = self
            .call(QUESTION, async move |docker: bollard::Docker| docker.info().await)
            .await
            .ok()?;
        let folder = Path::new(&info.docker_root_dir?)
            .join("containers")
            .join(&state.id);
        // In another mount namespace, or on another host, there is no such folder.
        let here = folder.join("config.v2.json").try_exists().ok()?;
        let log = folder.join(format!("{}-json.log", state.id));
        here.then(|| log.try_exists().ok()).flatten()
    }

    async fn list_images(&self) -> Result<Vec<ImageSummary>> {
        let images = self
            .call(QUESTION, async move |docker: bollard::Docker| {
                docker.list_images(None::<query::ListImagesOptions>).await
            })
            .await?;
        Ok(images.into_iter().map(convert::image_summary).collect())
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>> {
        let name = image.to_string();
        let answer = self.call(QUESTION, async move |docker: bollard::Docker| {
            docker.inspect_image(&name).await
        });
        match none_when_gone(answer.await)? {
            None => Ok(None),
            Some(image) => image.id.map(Some).ok_or_else(|| EngineError::Undecodable {
                why: "it lacks an ID of an image".to_owned(),
            }),
        }
    }

    async fn networks(&self) -> Result<BTreeSet<String>> {
        let networks = self
            .call(QUESTION, async move |docker: bollard::Docker| {
                docker.list_networks(None::<query::ListNetworksOptions>).await
            })
            .await?;
        Ok(networks.into_iter().filter_map(|network| network.name).collect())
    }

    async fn volumes(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let answer = self
            .call(QUESTION, async move |docker: bollard::Docker| {
                docker.list_volumes(None::<query::ListVolumesOptions>).await
            })
            .await?;
        let volumes = answer.volumes.unwrap_or_default().into_iter();
        Ok(volumes
            .map(|volume| (volume.name, convert::sorted(Some(volume.labels))))
            .collect())
    }

    async fn stat_path(&self, container: &str, path: &str) -> Result<Option<PathStat>> {
        let container = checked(container)?;
        let ask = || {
            let (container, path) = (container.to_owned(), path.to_owned());
            self.call(QUESTION, async move |docker: bollard::Docker| {
                let options = query::ContainerArchiveInfoOptions { path };
                docker.get_container_archive_info(&container, Some(options)).await
            })
        };
        let mut answer = ask().await;
        // The engine mounts the container's filesystem for this, which fails while a start or a
        // removal holds it; a question may be asked again.
        if matches!(answer, Err(EngineError::Refused { status: 500, .. })) {
            answer = ask().await;
        }
        let stat = none_when_gone(answer)?;
        Ok(stat.map(|stat| convert::path_stat(stat.file_mode, stat.link_target)))
    }

    async fn inspect_exec(&self, id: &str) -> Result<Option<ExecState>> {
        self.exec_inspect(id).await
    }

    async fn events(
        &self,
        label: (String, String),
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        // The engine confirms a subscription before it has made it. Asked for all since a moment
        // ago, by its own clock, it leaves no gap in which an event could be lost.
        let since = match (since, until) {
            (None, None) => self.info().await?.system_time,
            (since, _) => since,
        };
        let filters = serde_json::json!({
            "type": ["container"],
            "label": [format!("{}={}", label.0, label.1)],
        });
        let mut path = format!("/events?filters={}", percent_encoded(&filters.to_string()));
        if let Some(since) = since {
            push_parameter(&mut path, "since", &unix_time(since));
        }
        if let Some(until) = until {
            push_parameter(&mut path, "until", &unix_time(until));
        }
        let session = self.connection.session().await?;
        Ok(streams::events(self.body(&session, path)))
    }

    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let state = self
            .inspect(container)
            .await?
            .ok_or_else(|| EngineError::Refused {
                status: 404,
                message: format!("no such container: {container}"),
            })?;
        let path = log_path(&format!("containers/{}", state.id), options);
        self.output(path, state.tty, options.follow, LOG_IDLE).await
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        let session = self.connection.session().await?;
        let body = create_body(request, session.api)?;
        let options = query::CreateContainerOptions {
            name: request.name.as_ref().map(ToString::to_string),
            platform: request.spec.platform.clone().unwrap_or_default(),
        };
        let created = self
            .call(CREATE, async move |docker: bollard::Docker| {
                docker.create_container(Some(options), body).await
            })
            .await
            .map_err(|error| match error {
                EngineError::Refused { status, message } => EngineError::Refused {
                    status,
                    message: request.spec.conceal(&message),
                },
                other => other,
            })?;
        self.connect_later(&created.id, request, session.api).await?;
        Ok(Created {
            id: created.id,
            warnings: created.warnings,
        })
    }

    async fn mark(&self, id: &str) -> Result<bool> {
        let id = checked(id)?.to_owned();
        let kind = self.connection.session().await?.kind;
        let answer = self.call(QUESTION, async move |docker: bollard::Docker| {
            docker.update_container(&id, ContainerUpdateBody::default()).await
        });
        match answer.await {
            Ok(()) => Ok(true),
            // Podman 4 has no such endpoint.
            Err(EngineError::Refused { status: 404, .. }) if kind == EngineKind::Podman => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn write_files(&self, id: &str, files: &[JobFile]) -> Result<()> {
        let id = checked(id)?.to_owned();
        let Some(archive) = archive::of(files)? else {
            return Ok(());
        };
        let options = query::UploadToContainerOptions {
            path: "/".to_owned(),
            ..query::UploadToContainerOptions::default()
        };
        self.call(WRITE, async move |docker: bollard::Docker| {
            let body = bollard::body_full(archive);
            docker.upload_to_container(&id, Some(options), body).await
        })
        .await
    }

    async fn start(&self, id: &str) -> Result<()> {
        let id = checked(id)?.to_owned();
        self.call(START, async move |docker: bollard::Docker| {
            docker
                .start_container(&id, None::<query::StartContainerOptions>)
                .await
        })
        .await
    }

    async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<()> {
        let id = checked(id)?.to_owned();
        let period = match grace {
            Some(grace) => grace,
            None => self.own_grace(&id).await?,
        };
        let options = query::StopContainerOptions {
            // Rounded up: half a second of grace is not none.
            t: grace.map(|grace| i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)),
            ..query::StopContainerOptions::default()
        };
        let answer = self.call(
            period.saturating_add(STOP_MARGIN),
            async move |docker: bollard::Docker| docker.stop_container(&id, Some(options)).await,
        );
        none_when_gone(answer.await).map(|_| ())
    }

    async fn kill(&self, id: &str) -> Result<()> {
        let id = checked(id)?.to_owned();
        let name = id.clone();
        let answer = self.call(KILL, async move |docker: bollard::Docker| {
            docker
                .kill_container(&name, None::<query::KillContainerOptions>)
                .await
        });
        match answer.await {
            // "is not running", or some other conflict: the container's state tells.
            Err(error @ EngineError::Refused { status: 409, .. }) => match self.inspect(&id).await? {
                Some(state) if state.status.is_live() => Err(error),
                _ => Ok(()),
            },
            answer => none_when_gone(answer).map(|_| ()),
        }
    }

    async fn remove(&self, id: &str, volumes: bool) -> Result<Removal> {
        let id = checked(id)?.to_owned();
        let options = query::RemoveContainerOptions {
            v: volumes,
            force: false,
            link: false,
        };
        let answer = self.call(REMOVE, async move |docker: bollard::Docker| {
            docker.remove_container(&id, Some(options)).await
        });
        Ok(match none_when_gone(answer.await)? {
            Some(()) => Removal::Removed,
            None => Removal::Gone,
        })
    }

    async fn pull(
        &self,
        image: &ImageRef,
        platform: Option<&str>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<()> {
        let credentials = super::registry::credentials(self.endpoint.config_dir.as_deref(), image).await?;
        let session = self.connection.session().await?;
        let pulled = pull::pull(
            &session.docker,
            &self.endpoint.host,
            image,
            platform,
            credentials,
            progress,
        )
        .await;
        if let Err(EngineError::Unreachable { .. } | EngineError::Unanswered { .. }) = &pulled {
            self.connection.forget(&session);
        }
        pulled?;
        // Some engines report a failed pull in ways of their own; what counts is the image.
        match self.image_id(image).await? {
            Some(_) => Ok(()),
            None => Err(EngineError::Registry(format!(
                "the engine pulled `{image}` without an error, but does not have it"
            ))),
        }
    }

    async fn create_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        let name = checked(name)?.to_owned();
        let labelled = !labels.is_empty();
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(labels.into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let volume = self
            .call(CREATE, async move |docker: bollard::Docker| {
                docker.create_volume(request).await
            })
            .await?;
        let found = convert::sorted(Some(volume.labels));
        if !labelled || !found.is_empty() {
            return Ok(found);
        }
        // A daemon that has restarted answers without the labels of a volume that it had before,
        // until somebody inspects that volume (measured on 20.10).
        let volume = self
            .call(QUESTION, async move |docker: bollard::Docker| {
                docker.inspect_volume(&name).await
            })
            .await?;
        Ok(convert::sorted(Some(volume.labels)))
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        let name = checked(name)?.to_owned();
        let answer = self.call(REMOVE, async move |docker: bollard::Docker| {
            docker
                .remove_volume(&name, None::<query::RemoveVolumeOptions>)
                .await
        });
        none_when_gone(answer.await).map(|_| ())
    }

    async fn attach(&self, id: &str) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let id = checked(id)?.to_owned();
        let host = self.endpoint.host.clone();
        let attached = self
            .call(QUESTION, async move |docker: bollard::Docker| {
                let options = query::AttachContainerOptions {
                    stream: true,
                    stdout: true,
                    stderr: true,
                    ..query::AttachContainerOptions::default()
                };
                docker.attach_container(&id, Some(options)).await
            })
            .await?;
        // Only the reading half is kept: the container's standard input was never opened.
        Ok(attached
            .output
            .map(move |output| {
                output
                    .map(attached_chunk)
                    .map_err(|error| failure::of_request(&host, error))
            })
            .boxed())
    }

    async fn create_exec(&self, request: &ExecRequest) -> Result<String> {
        self.exec_create(request).await
    }

    async fn start_exec(&self, id: &str, tty: bool) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.exec_start(id, tty).await
    }

    async fn signal_marked(
        &self,
        container: &str,
        user: Option<&str>,
        variable: (&str, &str),
        signal: &str,
    ) -> Result<bool> {
        self.exec_signal(container, user, variable, signal).await
    }
}

impl DockerEngine {
    /// Output at `path`, which is a log's address as [`log_path`] makes it.
    pub(in crate::engine) async fn output(
        &self,
        path: String,
        tty: bool,
        follow: bool,
        idle: Duration,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let session = self.connection.session().await?;
        let mut body = self.body(&session, path);
        if follow {
            return Ok(streams::logs(body, tty, None));
        }
        // A log that cannot be read (driver `none`) is refused at once: say so here.
        let first = match streams::read_within(&mut body, Some(idle)).await {
            Some(Err(error)) => return Err(error),
            first => futures_util::stream::iter(first),
        };
        Ok(streams::logs(Box::pin(first.chain(body)), tty, Some(idle)))
    }

    /// The login for the registry of an image, as its requests carry it.
    pub(in crate::engine) async fn login(&self, image: &ImageRef) -> Result<Option<DockerCredentials>> {
        let found = super::registry::credentials(self.endpoint.config_dir.as_deref(), image).await?;
        Ok(found.map(pull::lower))
    }

    /// The answer to a GET of `path`, as it arrives.
    fn body(&self, session: &Session, path: String) -> streams::Body {
        let host = self.endpoint.host.clone();
        let body = session.get(path);
        Box::pin(body.map(move |chunk| chunk.map_err(|error| failure::of_request(&host, error))))
    }
}

fn attached_chunk(output: LogOutput) -> LogChunk {
    let stream = match output {
        LogOutput::StdErr { .. } => LogStream::Stderr,
        LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => LogStream::Stdout,
    };
    LogChunk {
        stream,
        bytes: output.into_bytes(),
    }
}

/// bollard puts names into URLs as they are, where `../images/x` would reach another endpoint.
pub(in crate::engine) fn checked(name: &str) -> Result<&str> {
    validate_container_ref(name).map_err(|error| EngineError::Invalid(error.to_string()))?;
    Ok(name)
}

pub(in crate::engine) fn none_when_gone<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(EngineError::Refused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `of`: `containers/ID` or `tasks/ID`.
pub(in crate::engine) fn log_path(of: &str, options: &LogOptions) -> String {
    let LogOptions {
        follow,
        timestamps,
        since,
        until,
        tail,
    } = options;
    let mut path = format!("/{of}/logs?stdout=true&stderr=true");
    if *follow {
        push_parameter(&mut path, "follow", "true");
    }
    if *timestamps {
        push_parameter(&mut path, "timestamps", "true");
    }
    if let Some(since) = since {
        push_parameter(&mut path, "since", &unix_time(*since));
    }
    if let Some(until) = until {
        push_parameter(&mut path, "until", &unix_time(*until));
    }
    if let Some(tail) = tail {
        push_parameter(&mut path, "tail", &tail.to_string());
    }
    path
}

fn push_parameter(path: &mut String, key: &str, value: &str) {
    path.push('&');
    path.push_str(key);
    path.push('=');
    path.push_str(&percent_encoded(value));
}

/// Seconds and nanoseconds since the epoch, as the engine's `since` and `until` take them.
fn unix_time(time: Timestamp) -> String {
    let nanos = time.as_nanosecond();
    format!(
        "{}.{:09}",
        nanos.div_euclid(1_000_000_000),
        nanos.rem_euclid(1_000_000_000)
    )
}

/// For a value in a URL's query: everything but RFC 3986's unreserved characters is escaped.
pub(in crate::engine) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_to_the_nanosecond() {
        let time = |text: &str| unix_time(text.parse().unwrap());
        assert_eq!(time("1970-01-01T00:00:01.000000002Z"), "1.000000002");
        assert_eq!(time("2026-11-23T01:30:00Z"), "1795397400.000000000");
    }

    #[test]
    fn a_label_cannot_leave_its_parameter() {
        assert_eq!(percent_encoded("a=b&c d\u{e4}"), "a%3Db%26c%20d%C3%A4");
    }

    #[test]
    fn the_query_of_a_log() {
        let options = LogOptions {
            follow: true,
            timestamps: true,
            since: Some("1970-01-01T00:00:01Z".parse().unwrap()),
            until: None,
            tail: Some(10),
        };
        assert_eq!(
            log_path("containers/abc", &options),
            "/containers/abc/logs?stdout=true&stderr=true&follow=true&timestamps=true&since=1.000000000&tail=10"
        );
    }

    #[test]
    fn a_name_that_would_reach_another_endpoint_is_refused() {
        assert!(matches!(
            checked("../images/busybox"),
            Err(EngineError::Invalid(_))
        ));
        assert!(matches!(checked("a/b"), Err(EngineError::Invalid(_))));
        assert_eq!(
            checked("shop.backup.20261123T013000Z"),
            Ok("shop.backup.20261123T013000Z")
        );
    }
}
