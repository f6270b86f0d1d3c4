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
