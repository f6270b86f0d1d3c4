//! Registry logins as the Docker CLI keeps them: `auths`, `credsStore` and `credHelpers` of its
//! `config.json`.
//!
//! Nothing is written, cached or shown: a login goes from its helper into one pull request. An
//! image whose registry has no login is pulled anonymously; a login that is configured and cannot
//! be had is an error, since an anonymous pull would fail in words that mislead.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{EngineError, Result};
use crate::model::ImageRef;

/// The key under which the CLI stores Docker Hub's login.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A helper may ask a key store over the network, and some wait for a person for ever.
const HELPER: Duration = Duration::from_secs(30);

/// What a helper says (by protocol, on its standard output) when it has no login.
const NOT_FOUND: &str = "credentials not found";

/// A login. Deliberately without `Debug`.
pub struct Credentials {
    /// As the CLI names the registry: `ghcr.io`, or Docker Hub's address.
    pub server: String,
    pub secret: Secret,
}

pub enum Secret {
    Password { username: String, password: String },
    IdentityToken(String),
}

/// The login for the registry of `image`; `None` when none is configured.
///
/// # Errors
/// [`EngineError::Registry`] when the configuration cannot be read or its helper fails.
pub async fn credentials(config_dir: Option<&Path>, image: &ImageRef) -> Result<Option<Credentials>> {
    let Some(path) = config_dir.map(|dir| dir.join("config.json")) else {
        return Ok(None);
    };
    let server = server_of(image).to_owned();
    let (sender, receiver) = oneshot::channel();
    // A helper is a program that may hang. A thread of its own, unlike one of the runtime's, does
    // not hold up the end of this process.
    std::thread::spawn(move || {
        // The receiver is gone when the deadline has passed; nobody wants the answer then.
        let _late = sender.send(look_up(&path, server));
    });
    match tokio::time::timeout(HELPER, receiver).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => Err(EngineError::Registry(
            "the credential helper's reader ended without a result".to_owned(),
        )),
        Err(_) => Err(EngineError::Registry(format!(
            "the credential helper did not answer within {} s",
            HELPER.as_secs()
        ))),
    }
}

/// The registry's name as the CLI uses it. Docker's rule: the first part of a reference is a
/// registry when it has a dot or a colon or is `localhost`.
fn server_of(image: &ImageRef) -> &str {
    match image.as_str().split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => match first {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
            registry => registry,
        },
        _ => DOCKER_HUB,
    }
}

fn look_up(config: &Path, server: String) -> Result<Option<Credentials>> {
    let text = match fs::read(config) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(config, &error.to_string())),
    };
    let found = docker_credential::get_credential_from_reader(text.as_slice(), &server);
    let secret = match found {
        Ok(DockerCredential::UsernamePassword(username, password)) => Secret::Password { username, password },
        Ok(DockerCredential::IdentityToken(token)) => Secret::IdentityToken(token),
        Err(error) => return explain(error, config, &text, &server),
    };
    Ok(Some(Credentials { server, secret }))
}

fn explain(
    error: CredentialRetrievalError,
    config: &Path,
    text: &[u8],
    server: &str,
) -> Result<Option<Credentials>> {
    use CredentialRetrievalError as E;
    let why = match error {
        E::NoCredentialConfigured | E::ConfigNotFound => return Ok(None),
        E::HelperFailure { stdout, stderr, .. }
            if stdout.contains(NOT_FOUND) || stderr.contains(NOT_FOUND) =>
        {
            return Ok(None);
        }
        E::HelperFailure {
            helper,
            stdout,
            stderr,
        } => {
            let words = if stdout.trim().is_empty() {
                &stderr
            } else {
                &stdout
            };
            format!(
                "the credential helper `{helper}` failed for `{server}`: {}",
                words.trim()
            )
        }
        E::HelperCommunicationError => {
            let helper = helper_name(text, server);
            format!(
                "cannot run the credential helper `docker-credential-{helper}`, which `{}` names for `{server}`",
                config.display()
            )
        }
        E::MalformedHelperResponse => format!(
            "the credential helper `docker-credential-{}` answered for `{server}` in a way that cannot be read",
            helper_name(text, server)
        ),
        E::CredentialDecodingError => {
            return Err(unreadable(config, &format!("the `auth` of `{server}` is broken")));
        }
        E::CredentialMismatchError => {
            return Err(unreadable(
                config,
                &format!("`auth` and `username` of `{server}` contradict each other"),
            ));
        }
        E::ConfigReadError => return Err(unreadable(config, "it is not the JSON that Docker writes")),
    };
    Err(EngineError::Registry(why))
}

fn unreadable(config: &Path, why: &str) -> EngineError {
    EngineError::Registry(format!("cannot read logins from `{}`: {why}", config.display()))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Helpers {
    auths: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
    creds_store: String,
    cred_helpers: std::collections::BTreeMap<String, String>,
}

/// Which helper the configuration names for `server`, for a message.
fn helper_name(text: &[u8], server: &str) -> String {
    let helpers: Helpers = serde_json::from_slice(text).unwrap_or_default();
    helpers
        .cred_helpers
        .get(server)
        .cloned()
        .unwrap_or(helpers.creds_store)
}

/// What to do about a pull that failed in these words, of a registry or of the engine; `None` when
/// they are not known, or say it themselves.
#[must_use]
pub fn advice(words: &str) -> Option<&'static str> {
    let words = words.to_ascii_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    let status = status(&words);
    // In the order in which one shadows another: "denied: … rate limit" is a limit.
    Some(if says(&["docker login"]) {
        return None;
    } else if status == Some(429) || says(&["toomanyrequests", "too many requests", "rate limit"]) {
        "log in with `docker login` for a higher limit, use a mirror, or wait: it is tried again"
    } else if says(&["no space left", "disk quota"]) {
        "the engine's disk is full: `docker system df` shows with what"
    } else if says(&["credential helper", "cannot read logins"]) {
        "`docker pull` as the user who runs the scheduler meets the same; `DOCKER_CONFIG` names another folder of logins"
    } else if status == Some(401)
        || says(&[
            "no basic auth",
            "unauthorized",
            "authentication required",
            "incorrect username",
        ])
    {
        "`docker login` as the user who runs the scheduler, or set `DOCKER_CONFIG` to a folder with the login"
    } else if status == Some(403) || says(&["denied", "forbidden"]) {
        "this login may not pull it: check the name, and what the account may read"
    } else if says(&["no matching manifest", "does not match the specified platform"]) {
        "it is not built for the processor of the engine's machine"
    } else if status == Some(404) || says(&["manifest unknown", "name unknown", "not found"]) {
        "check name and tag: the registry does not have it"
    } else if says(&["http response to https"]) {
        "it speaks plain HTTP: the engine takes that from what its `insecure-registries` list"
    } else if says(&["x509", "certificate"]) {
        "the engine does not trust its certificate: the CA's belongs into /etc/docker/certs.d/REGISTRY/ca.crt"
    } else if says(&["no such host", "server misbehaving", "name resolution"]) {
        "the engine cannot resolve the registry's name: look at the DNS of its machine"
    } else if says(&[
        "connection refused",
        "timeout",
        "timed out",
        "no route",
        "unreachable",
    ]) {
        "the engine cannot reach the registry: look at its network, and at its own proxy settings"
    } else if status.is_some_and(|status| status >= 500) || says(&["bad gateway", "service unavailable"]) {
        "the registry has trouble of its own; it is tried again"
    } else if says(&["eof", "connection reset", "broken pipe", "short read"]) {
        "the connection broke off; it is tried again"
    } else {
        return None;
    })
}

/// The HTTP status that an engine quotes of a registry's answer without its words: `unexpected HTTP
/// status: 500 …`, and with the containerd image store `unexpected status from HEAD request to URL: 429 …`.
fn status(words: &str) -> Option<u16> {
    let (_, quoted) = words
        .split_once("unexpected http status")
        .or_else(|| words.split_once("unexpected status"))?;
    quoted
        .split(": ")
        .find_map(|part| part.split(' ').next()?.parse().ok())
}

/// What the configuration says of logins, without any of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// Registries with a login or a helper of their own.
    pub registries: usize,
    /// Helpers that it names: `pass` for `docker-credential-pass`.
    pub helpers: std::collections::BTreeSet<String>,
}

/// Looks at a `config.json`; `None` when there is none. No helper is asked.
///
/// # Errors
/// Why it cannot be read.
pub fn overview(config: &Path) -> std::result::Result<Option<Overview>, String> {
    let text = match fs::read(config) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let found: Helpers = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let registries: std::collections::BTreeSet<&String> =
        found.auths.keys().chain(found.cred_helpers.keys()).collect();
    let all = (!found.creds_store.is_empty()).then(|| found.creds_store.clone());
    Ok(Some(Overview {
        registries: registries.len(),
        helpers: found.cred_helpers.values().cloned().chain(all).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, image: &str) -> Result<Option<Credentials>> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        let server = server_of(&image.parse().unwrap()).to_owned();
        look_up(&folder.path().join("config.json"), server)
    }

    /// `server user/secret`, `server token`, or why not.
    fn login(config: &str, image: &str) -> String {
        match found(config, image) {
            Ok(None) => "anonymous".to_owned(),
            Ok(Some(Credentials { server, secret })) => match secret {
                Secret::Password { username, password } => format!("{server} {username}/{password}"),
                Secret::IdentityToken(token) => format!("{server} {token}"),
            },
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_registry_of_a_reference() {
        let server = |image: &str| server_of(&image.parse().unwrap()).to_owned();
        for hub in [
            "busybox",
            "library/busybox:1",
            "docker.io/me/app",
            "index.docker.io/a/b",
        ] {
            assert_eq!(server(hub), DOCKER_HUB, "{hub}");
        }
        assert_eq!(server("ghcr.io/me/app:1"), "ghcr.io");
        assert_eq!(server("localhost/app"), "localhost");
        assert_eq!(server("build:5000/app"), "build:5000");
    }

    #[test]
    fn a_login_in_the_file() {
        // "me:secret"
        let config = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"},"ghcr.io":{"auth":"","identitytoken":"long-lived"}}}"#;
        assert_eq!(login(config, "busybox"), format!("{DOCKER_HUB} me/secret"));
        assert_eq!(login(config, "ghcr.io/me/app"), "ghcr.io long-lived");
        assert_eq!(login(config, "quay.io/me/app"), "anonymous");
        assert_eq!(login("{}", "busybox"), "anonymous");
    }

    #[test]
    fn a_login_of_one_registry_never_goes_to_another() {
        let config = r#"{"auths":{"ghcr.io":{"auth":"bWU6c2VjcmV0"}}}"#;
        for other in [
            "busybox",
            "ghcr.io.evil.test/app",
            "evil-ghcr.io/app",
            "localhost/ghcr.io/app",
        ] {
            assert_eq!(login(config, other), "anonymous", "{other}");
        }
    }

    #[test]
    fn a_login_that_cannot_be_had_says_why() {
        let missing = login(r#"{"credsStore":"no-such-helper"}"#, "busybox");
        assert!(
            missing.starts_with("cannot run the credential helper `docker-credential-no-such-helper`"),
            "{missing}"
        );
        assert!(login("{", "busybox").contains("is not the JSON that Docker writes"));
        let broken = login(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"???"}}}"#,
            "busybox",
        );
        assert!(broken.contains("the `auth` of"), "{broken}");
    }

    #[test]
    fn advice_goes_by_what_is_said_first() {
        for (words, part) in [
            ("toomanyrequests: You have reached your pull rate limit", "mirror"),
            (
                "failed to resolve reference \"r.example/a:1\": unexpected status from HEAD request to https://r.example/v2/a/manifests/1: 429 Too Many Requests",
                "mirror",
            ),
            (
                "failed to resolve reference \"r.example/a:1\": unexpected status from GET request to http://r.example:5000/v2/a/manifests/1: 503 Service Unavailable",
                "trouble of its own",
            ),
            (
                "unexpected status from HEAD request to https://r.example/v2/a/manifests/1: 401",
                "docker login",
            ),
            ("denied: pull rate limit exceeded", "mirror"),
            (
                "Head \"https://r/v2/\": no basic auth credentials",
                "DOCKER_CONFIG",
            ),
            ("unauthorized: incorrect username or password", "DOCKER_CONFIG"),
            (
                "denied: requested access to the resource is denied",
                "may not pull",
            ),
            ("manifest for a:b not found: manifest unknown", "name and tag"),
            (
                "no matching manifest for linux/arm64/v8 in the manifest list entries",
                "processor",
            ),
            ("x509: certificate signed by unknown authority", "certs.d"),
            ("server gave HTTP response to HTTPS client", "insecure-registries"),
            ("dial tcp: lookup r on 1.1.1.1:53: no such host", "DNS"),
            ("dial tcp 10.0.0.1:443: i/o timeout", "proxy"),
            ("received unexpected HTTP status: 502 Bad Gateway", "of its own"),
            ("unexpected EOF", "broke off"),
            ("write /var/lib/docker/tmp/x: no space left on device", "full"),
            (
                "the credential helper `docker-credential-x` failed",
                "`docker pull`",
            ),
        ] {
            assert!(
                advice(words).is_some_and(|advice| advice.contains(part)),
                "{words}: {:?}",
                advice(words)
            );
        }
        for said in [
            "pull access denied for a, repository does not exist or may require 'docker login'",
            "oops",
            "",
        ] {
            assert_eq!(advice(said), None, "{said}");
        }
    }

    #[test]
    fn an_overview_holds_no_login() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert_eq!(overview(&path), Ok(None));
        let text = r#"{"auths":{"ghcr.io":{"auth":"bWU6c2VjcmV0"},"a":{}},"credHelpers":{"a":"ecr"},"credsStore":"pass"}"#;
        fs::write(&path, text).unwrap();
        let expected = Overview {
            registries: 2,
            helpers: ["ecr", "pass"].map(str::to_owned).into(),
        };
        assert_eq!(overview(&path), Ok(Some(expected)));
        fs::write(&path, "[").unwrap();
        assert!(overview(&path).is_err());
    }

    #[tokio::test]
    async fn without_a_configuration_a_pull_is_anonymous() {
        let image: ImageRef = "busybox".parse().unwrap();
        assert!(credentials(None, &image).await.is_ok_and(|found| found.is_none()));
        let nowhere = Path::new("/no/such/folder");
        assert!(
            credentials(Some(nowhere), &image)
                .await
                .is_ok_and(|found| found.is_none())
        );
    }
}
