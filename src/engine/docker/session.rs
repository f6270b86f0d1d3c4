//! The agreement with an engine on an API version, made at the first request and again after any
//! failure to get an answer.
//!
//! bollard sends requests without a version, so every engine would answer in its newest schema.
//! The version goes into the path here, together with two other things that bollard leaves undone.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::models::SystemVersion;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt, Stream};

use super::ssh::Tunnel;
use super::{ApiVersion, convert, failure};
use crate::engine::context::{Certificates, Endpoint, Transport};
use crate::engine::{EngineError, EngineKind, Result};
use crate::os;

/// Connecting and agreeing; a local engine takes milliseconds.
const CONNECT: Duration = Duration::from_secs(5);

/// The same behind `ssh`, which has its own way to go first.
const CONNECT_FAR: Duration = Duration::from_secs(20);

/// bollard's own limit from a request to the headers of its answer: above every deadline of ours,
/// which also cover the body.
const NEVER_SECS: u64 = 24 * 60 * 60;

/// To the headers of a streamed answer; the engine sends them at once.
const HEADERS: Duration = Duration::from_secs(30);

/// What was agreed with an engine.
#[derive(Clone)]
pub(super) struct Session {
    /// Sends every request under the agreed version.
    pub docker: Docker,
    pub api: ApiVersion,
    pub kind: EngineKind,
    pub version: SystemVersion,
    /// Which agreement this is, to forget it and no newer one.
    agreement: Agreement,
}

type Agreement = Shared<BoxFuture<'static, Result<Agreed>>>;

#[derive(Clone)]
struct Agreed {
    docker: Docker,
    api: ApiVersion,
    kind: EngineKind,
    version: SystemVersion,
}

/// The way to one engine.
pub(super) struct Connection {
    host: String,
    /// Without a version.
    docker: Docker,
    /// For `ssh://`.
    tunnel: Option<Tunnel>,
    /// Shared, so that a hundred requests to an engine that hangs wait once, not in a row.
    agreement: Mutex<Option<Agreement>>,
}

impl Connection {
    /// Opens nothing yet.
    pub fn new(endpoint: &Endpoint) -> Result<Connection> {
        let tunnel = match &endpoint.transport {
            Transport::Ssh(remote) => Some(Tunnel::open(remote).map_err(|error| {
                EngineError::Invalid(format!(
                    "cannot make a socket for `{}` in `{}`: {error}",
                    endpoint.host,
                    remote.scratch.display()
                ))
            })?),
            _ => None,
        };
        let near = tunnel.as_ref().map(Tunnel::endpoint);
        Ok(Connection {
            host: endpoint.host.clone(),
            docker: client(near.as_ref().unwrap_or(endpoint))?,
            tunnel,
            agreement: Mutex::new(None),
        })
    }

    /// The agreement in force, made now if there is none. Its failure is always
    /// [`EngineError::Unreachable`]: the request that needed it was not sent.
    pub async fn session(&self) -> Result<Session> {
        let agreement = self
            .agreement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| self.agree().boxed().shared())
            .clone();
        match agreement.clone().await {
            Ok(Agreed {
                docker,
                api,
                kind,
                version,
            }) => Ok(Session {
                docker,
                api,
                kind,
                version,
                agreement,
            }),
            Err(error) => {
                self.forget_agreement(&agreement);
                Err(self.in_words_of_ssh(error))
            }
        }
    }

    fn agree(&self) -> impl Future<Output = Result<Agreed>> + Send + 'static {
        let patience = match self.tunnel {
            Some(_) => CONNECT_FAR,
            None => CONNECT,
        };
        agree(self.docker.clone(), self.host.clone(), patience)
    }

    /// Where `ssh` failed, its words tell more than the end of a connection.
    fn in_words_of_ssh(&self, error: EngineError) -> EngineError {
        match (error, self.tunnel.as_ref().and_then(Tunnel::words)) {
            (EngineError::Unreachable { host, .. }, Some(words)) => EngineError::Unreachable {
                host,
                why: format!("ssh: {words}"),
            },
            (error, _) => error,
        }
    }

    /// The engine may be another one when it answers again.
    pub fn forget(&self, session: &Session) {
        self.forget_agreement(&session.agreement);
    }

    fn forget_agreement(&self, agreement: &Agreement) {
        let mut current = self.agreement.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.ptr_eq(agreement)) {
            *current = None;
        }
    }
}

impl Session {
    /// The raw answer to a GET of `path` (which begins with a slash and may have a query).
    ///
    /// bollard has no public call for a path of one's own: the export of a container is its one
    /// call that hands on a body unread, and the request's address is replaced before it is sent.
    pub fn get(
        &self,
        path: String,
    ) -> impl Stream<Item = std::result::Result<Bytes, bollard::errors::Error>> + Send + 'static {
        let path = format!("/v{}{path}", self.api);
        self.docker
            .clone()
            .with_timeout(HEADERS)
            .with_request_modifier(move |request| with_path(request, &path))
            .export_container("x")
    }
}

/// Asks without a version, which every engine answers, and pins the lower of ours and its newest.
async fn agree(docker: Docker, host: String, patience: Duration) -> Result<Agreed> {
    let unreachable = |why: String| EngineError::Unreachable {
        host: host.clone(),
        why,
    };
    let version = match tokio::time::timeout(patience, docker.version()).await {
        Ok(answer) => answer.map_err(|error| failure::of_handshake(&host, error))?,
        Err(_) => return Err(unreachable(format!("no answer within {} s", patience.as_secs()))),
    };
    let newest: ApiVersion = version
        .api_version
        .as_deref()
        .ok_or_else(|| unreachable("it names no API version, so it is not a container engine".to_owned()))?
        .parse()
        .map_err(unreachable)?;
    let oldest = version
        .min_api_version
        .as_deref()
        .and_then(|text| text.parse().ok());
    let api = ApiVersion::agree(newest, oldest).map_err(unreachable)?;
    Ok(Agreed {
        docker: docker.with_request_modifier(move |request| pinned(request, api)),
        api,
        kind: convert::engine_kind(&version),
        version,
    })
}

fn pinned(mut request: BollardRequest, api: ApiVersion) -> BollardRequest {
    if let Some(login) = request.headers_mut().get_mut("x-registry-auth") {
        // bollard encodes with the standard alphabet; the engine decodes the URL-safe one, and
        // takes a login that it cannot decode for none.
        let safe = login
            .to_str()
            .map(|text| text.replace('+', "-").replace('/', "_"));
        if let Some(mut safe) = safe.ok().and_then(|text| text.parse().ok()) {
            std::mem::swap(login, &mut safe);
            login.set_sensitive(true);
        }
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = format!("/v{api}{path}");
    with_path(request, &path)
}

fn with_path(mut request: BollardRequest, path: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    // Both conversions fail only for characters that neither bollard nor we put into a path; the
    // request then goes to where it was addressed, and the engine answers without a version.
    if let Ok(path) = path.parse() {
        parts.path_and_query = Some(path);
        if let Ok(uri) = parts.try_into() {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn client(endpoint: &Endpoint) -> Result<Docker> {
    let made = match &endpoint.transport {
        #[cfg(unix)]
        Transport::Unix(path) => {
            Docker::connect_with_unix(&path.to_string_lossy(), NEVER_SECS, API_DEFAULT_VERSION)
        }
        #[cfg(windows)]
        Transport::NamedPipe(path) => Docker::connect_with_named_pipe(path, NEVER_SECS, API_DEFAULT_VERSION),
        Transport::Tcp(authority) => Docker::connect_with_http(authority, NEVER_SECS, API_DEFAULT_VERSION),
        Transport::Tls {
            authority,
            certificates,
        } => tls_client(authority, certificates),
        // A tunnel's own socket stands for it.
        Transport::Ssh(_) => {
            return Err(EngineError::Invalid(
                "an engine behind ssh needs its tunnel first".to_owned(),
            ));
        }
        #[cfg(not(windows))]
        Transport::NamedPipe(_) => {
            return Err(EngineError::Invalid(
                "named pipes exist on Windows only".to_owned(),
            ));
        }
        #[cfg(windows)]
        Transport::Unix(_) => {
            return Err(EngineError::Invalid(
                "an engine on Windows listens at a named pipe, such as npipe:////./pipe/docker_engine"
                    .to_owned(),
            ));
        }
    };
    made.map_err(|error| match error {
        bollard::errors::Error::SocketNotFoundError(_) => failure::of_request(&endpoint.host, error),
        other => EngineError::Invalid(format!(
            "cannot use the certificates for `{}`: {other}",
            endpoint.host
        )),
    })
}

fn tls_client(
    authority: &str,
    certificates: &Certificates,
) -> std::result::Result<Docker, bollard::errors::Error> {
    // bollard wants all three paths; an empty file adds no root, and a missing key or certificate
    // means that none is shown to the engine.
    let none = Path::new(os::NOTHING);
    let Certificates { ca, cert, key } = certificates;
    let path = |file: &'_ Option<std::path::PathBuf>| file.clone().unwrap_or_else(|| none.to_owned());
    Docker::connect_with_ssl(
        authority,
        &path(key),
        &path(cert),
        &path(ca),
        NEVER_SECS,
        API_DEFAULT_VERSION,
    )
}
