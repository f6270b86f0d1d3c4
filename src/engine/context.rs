//! Which engine to talk to: the Docker CLI's own choice among flags, environment and contexts.
//!
//! [`resolve`] looks at what it is given and at the files of the CLI's configuration folder; it
//! reads no environment variable (the caller fills [`Env`]) and opens no connection.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::EngineError;

/// The context that stands for "no context": `DOCKER_HOST`, else the platform's socket.
const DEFAULT_CONTEXT: &str = "default";

#[cfg(not(windows))]
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
#[cfg(windows)]
const DEFAULT_HOST: &str = "npipe:////./pipe/docker_engine";

/// What a person chose on the command line; both are usually absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// `-c, --context`.
    pub context: Option<String>,
    /// `-H, --host`.
    pub host: Option<String>,
}

/// The variables that the Docker CLI looks at, as they are set: an empty one counts as unset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env {
    pub docker_host: Option<String>,
    pub docker_context: Option<String>,
    /// The folder with `config.json`; without it, `.docker` in `home`.
    pub docker_config: Option<PathBuf>,
    pub docker_tls: Option<String>,
    pub docker_tls_verify: Option<String>,
    pub docker_cert_path: Option<PathBuf>,
    /// Files of their own, as `--tlscacert`, `--tlscert` and `--tlskey` name them.
    pub certificates: Certificates,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// Where a socket of our own may lie; without it, `/tmp`.
    pub scratch: Option<PathBuf>,
}

impl Env {
    /// Where the Docker CLI keeps `config.json`, contexts and certificates.
    #[must_use]
    pub fn config_dir(&self) -> Option<PathBuf> {
        set_path(self.docker_config.as_ref())
            .cloned()
            .or_else(|| set_path(self.home.as_ref()).map(|home| home.join(".docker")))
    }
}

/// An engine's address, and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As a person would write it: `unix:///var/run/docker.sock`.
    pub host: String,
    pub transport: Transport,
    /// What decided, for messages.
    pub source: Source,
    /// Where registry logins are configured.
    pub config_dir: Option<PathBuf>,
}

impl Endpoint {
    /// A local pipe, with no registry logins.
    #[cfg(windows)]
    #[must_use]
    pub fn named_pipe(name: &str) -> Endpoint {
        Endpoint {
            host: format!("npipe://{}", name.replace('\\', "/")),
            transport: Transport::NamedPipe(name.to_owned()),
            source: Source::HostFlag,
            config_dir: None,
        }
    }

    /// A local socket, with no registry logins.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Endpoint {
        let path = path.into();
        Endpoint {
            host: format!("unix://{}", path.display()),
            transport: Transport::Unix(path),
            source: Source::HostFlag,
            config_dir: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    Tls {
        /// `host:port`.
        authority: String,
        certificates: Certificates,
    },
    /// `//./pipe/docker_engine`; Windows only.
    NamedPipe(String),
    Ssh(Remote),
}

/// Another machine, as `ssh` is told to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    /// The engine's socket over there, when it is not the usual one.
    pub socket: Option<String>,
    /// Where a socket of our own may lie.
    pub scratch: PathBuf,
}

/// PEM files; each is optional, as in the Docker CLI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Who may sign the engine's certificate, beside the system's own roots.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// What decided which engine it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    HostFlag,
    HostVariable,
    /// A context, by its name.
    Context(String),
    Default,
}

/// Why there is no endpoint. Reads after "failed to choose an engine: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    #[error("`--host` and `--context` exclude each other")]
    Conflict,
    #[error("no such Docker context: `{name}`; {}", known_list(known))]
    Unknown { name: String, known: Vec<String> },
    #[error("cannot read `{}`: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("`{host}` is not an engine's address: {why}")]
    BadHost { host: String, why: String },
    #[error("`{host}`: {what} is not supported yet")]
    Unsupported { host: String, what: &'static str },
}

impl From<ContextError> for EngineError {
    fn from(error: ContextError) -> EngineError {
        EngineError::Invalid(error.to_string())
    }
}

fn known_list(known: &[String]) -> String {
    if known.is_empty() {
        return "there are none beside `default`".to_owned();
    }
    format!("known: `{DEFAULT_CONTEXT}`, `{}`", known.join("`, `"))
}

/// Chooses as the Docker CLI does: `--context`, `--host`, `DOCKER_HOST`, `DOCKER_CONTEXT`,
/// `currentContext` of `config.json`, the default socket.
///
/// # Errors
/// When both flags are given, a context does not exist or cannot be read, or the address is not
/// one that this program can talk to.
pub fn resolve(selection: &Selection, env: &Env) -> Result<Endpoint, ContextError> {
    let context_flag = set(selection.context.as_ref());
    let host_flag = set(selection.host.as_ref());
    match (context_flag, host_flag) {
        (Some(_), Some(_)) => Err(ContextError::Conflict),
        (Some(name), None) => of_context(name, env),
        (None, Some(host)) => of_host(host, Source::HostFlag, env),
        (None, None) => without_flags(env),
    }
}

fn without_flags(env: &Env) -> Result<Endpoint, ContextError> {
    if let Some(host) = set(env.docker_host.as_ref()) {
        return of_host(host, Source::HostVariable, env);
    }
    if let Some(name) = set(env.docker_context.as_ref()) {
        return of_context(name, env);
    }
    match current_context(env)? {
        Some(name) => of_context(&name, env),
        None => of_host(DEFAULT_HOST, Source::Default, env),
    }
}

/// The part of `config.json` that concerns us here.
#[derive(Deserialize)]
struct ConfigFile {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

fn current_context(env: &Env) -> Result<Option<String>, ContextError> {
    let Some(path) = env.config_dir().map(|dir| dir.join("config.json")) else {
        return Ok(None);
    };
    let file: Option<ConfigFile> = read_json(&path)?;
    Ok(file
        .and_then(|file| file.current_context)
        .filter(|name| !name.is_empty()))
}

/// `None` when there is no such file.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ContextError> {
    let unreadable = |why: String| ContextError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error.to_string())),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| unreadable(error.to_string()))
}

/// `contexts/meta/<sha256(name)>/meta.json`.
#[derive(Deserialize)]
struct ContextMeta {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints", default)]
    endpoints: ContextEndpoints,
}

#[derive(Deserialize, Default)]
struct ContextEndpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
struct DockerEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

fn of_context(name: &str, env: &Env) -> Result<Endpoint, ContextError> {
    if name == DEFAULT_CONTEXT {
        // The CLI's `default` is "as if there were no contexts", DOCKER_HOST included.
        return match set(env.docker_host.as_ref()) {
            Some(host) => of_host(host, Source::HostVariable, env),
            None => of_host(DEFAULT_HOST, Source::Default, env),
        };
    }
    let unknown = || ContextError::Unknown {
        name: name.to_owned(),
        known: known_contexts(env),
    };
    let contexts = env
        .config_dir()
        .map(|dir| dir.join("contexts"))
        .ok_or_else(unknown)?;
    let id = hex::encode(Sha256::digest(name.as_bytes()));
    let path = contexts.join("meta").join(&id).join("meta.json");
    let meta: ContextMeta = read_json(&path)?.ok_or_else(unknown)?;
    let Some(docker) = meta.endpoints.docker else {
        return Err(ContextError::Unreadable {
            path,
            why: "the context names no Docker endpoint".to_owned(),
        });
    };
    if docker.skip_tls_verify {
        return Err(ContextError::Unsupported {
            host: docker.host,
            what: "TLS without verification (`skip-tls-verify`)",
        });
    }
    let tls = certificates_in(&contexts.join("tls").join(&id).join("docker"));
    let host = if docker.host.is_empty() {
        DEFAULT_HOST
    } else {
        &docker.host
    };
    endpoint(host, Source::Context(name.to_owned()), tls, env)
}

/// Names of the contexts that exist, sorted. An unreadable one is left out: this only feeds a
/// message about another one.
fn known_contexts(env: &Env) -> Vec<String> {
    let Some(meta) = env.config_dir().map(|dir| dir.join("contexts").join("meta")) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(meta) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path().join("meta.json");
            read_json::<ContextMeta>(&path).ok().flatten()
        })
        .map(|meta| meta.name)
        .collect();
    names.sort();
    names
}

/// A host that was named without a context: TLS comes from the environment.
fn of_host(host: &str, source: Source, env: &Env) -> Result<Endpoint, ContextError> {
    let verify = set(env.docker_tls_verify.as_ref()).is_some();
    if set(env.docker_tls.as_ref()).is_some() && !verify && !is_local(host) {
        return Err(ContextError::Unsupported {
            host: host.to_owned(),
            what: "TLS without verification (`--tls` or `DOCKER_TLS`, without `--tlsverify` or `DOCKER_TLS_VERIFY`)",
        });
    }
    let folder = set_path(env.docker_cert_path.as_ref())
        .cloned()
        .or_else(|| env.config_dir());
    let tls = if verify {
        let found = folder
            .and_then(|folder| certificates_in(&folder))
            .unwrap_or_default();
        let named = env.certificates.clone();
        Some(Certificates {
            ca: named.ca.or(found.ca),
            cert: named.cert.or(found.cert),
            key: named.key.or(found.key),
        })
    } else {
        None
    };
    endpoint(host, source, tls, env)
}

fn is_local(host: &str) -> bool {
    host.starts_with("unix://") || host.starts_with("npipe://")
}

/// `None` when none of the three files is there.
fn certificates_in(folder: &Path) -> Option<Certificates> {
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    let certificates = Certificates {
        ca: file("ca.pem"),
        cert: file("cert.pem"),
        key: file("key.pem"),
    };
    (certificates != Certificates::default()).then_some(certificates)
}

fn endpoint(
    host: &str,
    source: Source,
    tls: Option<Certificates>,
    env: &Env,
) -> Result<Endpoint, ContextError> {
    let (mut transport, host) = parse_host(host, tls)?;
    if let Transport::Ssh(remote) = &mut transport
        && let Some(scratch) = set_path(env.scratch.as_ref())
    {
        remote.scratch.clone_from(scratch);
    }
    Ok(Endpoint {
        host,
        transport,
        source,
        config_dir: env.config_dir(),
    })
}

/// The transport, and the address in full (the CLI takes `tcp://host` for port 2375, or 2376 with
/// TLS, and `host:port` for `tcp://host:port`).
fn parse_host(host: &str, tls: Option<Certificates>) -> Result<(Transport, String), ContextError> {
    let bad = |why: &str| ContextError::BadHost {
        host: host.to_owned(),
        why: why.to_owned(),
    };
    let (scheme, rest) = match host.split_once("://") {
        Some(parts) => parts,
        // The docker CLI takes any word for a host; most often it was meant for a context.
        None if !host.contains(':') => {
            return Err(bad("without a scheme it needs a port, as in `host:2375`"));
        }
        None => ("tcp", host),
    };
    match scheme {
        "unix" if cfg!(windows) => Err(bad(
            "Unix sockets of engines are not reached from Windows; Docker Desktop listens at `npipe:////./pipe/docker_engine`",
        )),
        "unix" => {
            let path = if rest.is_empty() {
                "/var/run/docker.sock"
            } else {
                rest
            };
            if !path.starts_with('/') {
                return Err(bad("the path of a socket must be absolute"));
            }
            Ok((Transport::Unix(PathBuf::from(path)), format!("unix://{path}")))
        }
        "npipe" if cfg!(windows) => {
            let pipe = if rest.is_empty() {
                "//./pipe/docker_engine"
            } else {
                rest
            };
            Ok((Transport::NamedPipe(pipe.to_owned()), format!("npipe://{pipe}")))
        }
        "npipe" => Err(bad("named pipes exist on Windows only")),
        "tcp" | "http" => tcp_transport(scheme, rest, tls).map_err(|why| bad(&why)),
        "https" => tcp_transport(scheme, rest, Some(tls.unwrap_or_default())).map_err(|why| bad(&why)),
        "ssh" => remote(rest)
            .map(|remote| (Transport::Ssh(remote), host.to_owned()))
            .map_err(bad),
        _ => Err(bad(if cfg!(windows) {
            "expected `npipe://`, `tcp://`, `http://`, `https://` or `ssh://`"
        } else {
            "expected `unix://`, `tcp://`, `http://`, `https://` or `ssh://`"
        })),
    }
}

/// `[user@]host[:port][/path/of/socket]`, as the docker CLI has it.
fn remote(text: &str) -> Result<Remote, &'static str> {
    let (authority, path) = match text.find('/') {
        Some(slash) => text.split_at(slash),
        None => (text, ""),
    };
    let (user, machine) = match authority.rsplit_once('@') {
        Some((user, machine)) => (Some(user), machine),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("no password may stand in it: `ssh` uses keys");
    }
    let (name, port) = match machine.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => (address, after.strip_prefix(':')),
        None => match machine.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (machine, None),
        },
    };
    let port = match port {
        Some(port) => Some(
            port.parse::<u16>()
                .map_err(|_| "what follows the host is not a port")?,
        ),
        None => None,
    };
    // Nothing of these reaches a shell on this machine; over there the path does.
    let is_plain = |text: &str| {
        let plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%' | '/' | '\\');
        !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
    };
    if !is_plain(name) || name.contains('/') {
        return Err("it names no host");
    }
    if user.is_some_and(|user| !is_plain(user)) || !(path.is_empty() || is_plain(path)) {
        return Err("only letters, digits and `. - _ /` may stand in its user and path");
    }
    Ok(Remote {
        user: user.map(str::to_owned),
        host: name.to_owned(),
        port,
        socket: (path.len() > 1).then(|| path.to_owned()),
        scratch: PathBuf::from("/tmp"),
    })
}

fn tcp_transport(scheme: &str, rest: &str, tls: Option<Certificates>) -> Result<(Transport, String), String> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() {
        return Err("it names no host".to_owned());
    }
    if authority.contains(['/', '?', '#', '@', ' ']) {
        return Err("only a host and a port may follow the scheme".to_owned());
    }
    let authority = with_port(authority, if tls.is_some() { 2376 } else { 2375 })?;
    let full = format!("{scheme}://{authority}");
    let transport = match tls {
        Some(certificates) => Transport::Tls {
            authority,
            certificates,
        },
        None => Transport::Tcp(authority),
    };
    Ok((transport, full))
}

/// `host:port` as it is, `host` with the default port; IPv6 addresses stand in brackets.
fn with_port(authority: &str, default_port: u16) -> Result<String, String> {
    let after_host = match authority.rfind(']') {
        Some(end) => &authority[end + 1..],
        None => authority,
    };
    match after_host.rsplit_once(':') {
        Some((_, port)) => match port.parse::<u16>() {
            Ok(_) => Ok(authority.to_owned()),
            Err(_) => Err(format!("`{port}` is not a port")),
        },
        None => Ok(format!("{authority}:{default_port}")),
    }
}

/// An empty variable counts as unset, as in the Docker CLI.
fn set(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

fn set_path(value: Option<&PathBuf>) -> Option<&PathBuf> {
    value.filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration folder holding one context `away` (TCP, with certificates when `tls`).
    fn home(current: Option<&str>, tls: bool) -> (tempfile::TempDir, Env) {
        let home = tempfile::tempdir().unwrap();
        let docker = home.path().join(".docker");
        let id = hex::encode(Sha256::digest(b"away"));
        let meta = docker.join("contexts/meta").join(&id);
        fs::create_dir_all(&meta).unwrap();
        fs::write(
            meta.join("meta.json"),
            r#"{"Name":"away","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://build.lan:2376","SkipTLSVerify":false}}}"#,
        )
        .unwrap();
        if tls {
            let folder = docker.join("contexts/tls").join(&id).join("docker");
            fs::create_dir_all(&folder).unwrap();
            for name in ["ca.pem", "cert.pem", "key.pem"] {
                fs::write(folder.join(name), "").unwrap();
            }
        }
        let config = match current {
            Some(name) => format!(r#"{{"currentContext":"{name}","auths":{{}}}}"#),
            None => "{}".to_owned(),
        };
        fs::write(docker.join("config.json"), config).unwrap();
        let env = Env {
            home: Some(home.path().to_owned()),
            ..Env::default()
        };
        (home, env)
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn chosen(selection: &Selection, env: &Env) -> (String, Source) {
        let endpoint = resolve(selection, env).unwrap();
        (endpoint.host, endpoint.source)
    }

    #[test]
    fn nothing_given_is_the_default_socket() {
        let (host, source) = chosen(&Selection::default(), &Env::default());
        assert_eq!((host.as_str(), source), (DEFAULT_HOST, Source::Default));
    }

    #[test]
    fn each_rank_wins_over_the_next() {
        let (_home, mut env) = home(Some("away"), false);
        let away = (
            "tcp://build.lan:2376".to_owned(),
            Source::Context("away".to_owned()),
        );
        assert_eq!(chosen(&Selection::default(), &env), away, "currentContext");

        env.docker_context = text("default");
        let default = (DEFAULT_HOST.to_owned(), Source::Default);
        assert_eq!(chosen(&Selection::default(), &env), default, "DOCKER_CONTEXT");

        env.docker_host = text("unix:///run/a.sock");
        let variable = ("unix:///run/a.sock".to_owned(), Source::HostVariable);
        assert_eq!(chosen(&Selection::default(), &env), variable, "DOCKER_HOST");

        let flag = Selection {
            host: text("tcp://b"),
            ..Selection::default()
        };
        assert_eq!(chosen(&flag, &env), ("tcp://b:2375".to_owned(), Source::HostFlag));

        let flag = Selection {
            context: text("away"),
            ..Selection::default()
        };
        assert_eq!(chosen(&flag, &env), away, "--context beats DOCKER_HOST");
    }

    #[test]
    fn empty_variables_are_unset() {
        let env = Env {
            docker_host: text(""),
            docker_context: text(""),
            docker_config: Some(PathBuf::new()),
            ..Env::default()
        };
        assert_eq!(chosen(&Selection::default(), &env).1, Source::Default);
    }

    #[test]
    fn both_flags_are_a_conflict() {
        let both = Selection {
            context: text("a"),
            host: text("b"),
        };
        assert_eq!(resolve(&both, &Env::default()), Err(ContextError::Conflict));
    }

    #[test]
    fn an_unknown_context_lists_the_known_ones() {
        let (_home, env) = home(None, false);
        let flag = Selection {
            context: text("awya"),
            ..Selection::default()
        };
        let message = resolve(&flag, &env).unwrap_err().to_string();
        assert_eq!(
            message,
            "no such Docker context: `awya`; known: `default`, `away`"
        );
    }

    #[test]
    fn a_contexts_certificates_make_it_tls() {
        let (_home, env) = home(Some("away"), true);
        match resolve(&Selection::default(), &env).unwrap().transport {
            Transport::Tls {
                authority,
                certificates,
            } => {
                assert_eq!(authority, "build.lan:2376");
                assert!(
                    certificates.ca.is_some() && certificates.cert.is_some() && certificates.key.is_some()
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tls_verify_takes_its_certificates_from_the_cert_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), "").unwrap();
        let env = Env {
            docker_host: text("tcp://build.lan"),
            docker_tls_verify: text("1"),
            docker_cert_path: Some(folder.path().to_owned()),
            ..Env::default()
        };
        let endpoint = resolve(&Selection::default(), &env).unwrap();
        assert_eq!(endpoint.host, "tcp://build.lan:2376");
        let Transport::Tls { certificates, .. } = endpoint.transport else {
            panic!("plaintext");
        };
        assert_eq!(certificates.ca, Some(folder.path().join("ca.pem")));
        assert_eq!(certificates.key, None);
    }

    #[test]
    fn unverified_tls_is_refused_instead_of_becoming_plaintext() {
        let env = Env {
            docker_host: text("tcp://build.lan"),
            docker_tls: text("1"),
            ..Env::default()
        };
        let refused = resolve(&Selection::default(), &env);
        assert!(
            matches!(refused, Err(ContextError::Unsupported { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn addresses() {
        let parse = |host: &str| {
            parse_host(host, None)
                .map(|(_, full)| full)
                .map_err(|e| e.to_string())
        };
        assert_eq!(parse("build:4000").as_deref(), Ok("tcp://build:4000"));
        assert!(parse("build").unwrap_err().contains("needs a port"));
        assert_eq!(parse("tcp://[::1]").as_deref(), Ok("tcp://[::1]:2375"));
        assert_eq!(parse("https://build/").as_deref(), Ok("https://build:2376"));
        assert_eq!(parse("unix://").as_deref(), Ok("unix:///var/run/docker.sock"));
        assert!(
            parse("unix://run/a.sock")
                .unwrap_err()
                .contains("must be absolute")
        );
        assert!(parse("tcp://a:b").unwrap_err().contains("`b` is not a port"));
        assert!(
            parse("tcp://a/../b")
                .unwrap_err()
                .contains("only a host and a port")
        );
    }

    #[test]
    fn a_machine_behind_ssh() {
        let parse = |host: &str| match parse_host(host, None) {
            Ok((Transport::Ssh(remote), full)) if full == host => Ok((
                remote.user.unwrap_or_default(),
                remote.host,
                remote.port,
                remote.socket.unwrap_or_default(),
            )),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        let full = ("me".into(), "build.lan".into(), Some(22), "/run/d.sock".into());
        assert_eq!(parse("ssh://me@build.lan:22/run/d.sock"), Ok(full));
        assert_eq!(
            parse("ssh://build"),
            Ok((String::new(), "build".into(), None, String::new()))
        );
        assert_eq!(parse("ssh://[::1]:2222/").unwrap().1, "::1");
        for (bad, why) in [
            ("ssh://", "no host"),
            ("ssh://-oProxyCommand=x", "no host"),
            ("ssh://me:secret@build", "no password"),
            ("ssh://build:x", "not a port"),
            ("ssh://build/a;reboot", "only letters"),
            ("ssh://-l@build", "only letters"),
        ] {
            assert!(parse(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    #[test]
    fn a_broken_config_is_an_error_not_the_default_engine() {
        let (home, env) = home(None, false);
        fs::write(home.path().join(".docker/config.json"), "{").unwrap();
        let broken = resolve(&Selection::default(), &env);
        assert!(
            matches!(broken, Err(ContextError::Unreadable { .. })),
            "{broken:?}"
        );
    }
}
