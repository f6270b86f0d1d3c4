//! From flags and environment to a connected engine.
//!
//! The order among them is the docker CLI's and lives in `engine::context`; reading the process's
//! environment is done here, once.

use std::path::PathBuf;

use crate::engine::context::{self, ContextError, Endpoint, Env, Selection};
use crate::engine::{self, EngineError, SharedEngine};

use super::error::{CommandError, ErrorKind};
use super::output::printable;
use super::plugin::DockerFlags;
use super::settings::Settings;

/// Connects to the engine that flags, environment and contexts name.
///
/// # Errors
/// When they name none, or it cannot be reached.
pub async fn connect(settings: &Settings) -> Result<SharedEngine, CommandError> {
    let endpoint = chosen(settings)?;
    engine::connect(&endpoint, settings.engine.unwrap_or_default())
        .await
        .map_err(|error| of_connect(&error))
}

/// One that says nothing, as while a machine boots, is as good as away: `watch` waits for it.
fn of_connect(error: &EngineError) -> CommandError {
    match error {
        EngineError::Unanswered { .. } => {
            CommandError::new(ErrorKind::EngineUnreachable, "failed to connect to the engine")
                .caused_by(error.to_string())
        }
        _ => CommandError::engine("connect to the engine", error),
    }
}

/// The engine that flags, environment and contexts name, and what decided.
///
/// # Errors
/// When they name none.
pub fn chosen(settings: &Settings) -> Result<Endpoint, CommandError> {
    endpoint(settings, &environment(&settings.docker))
}

/// Where the docker CLI keeps its settings and logins.
pub fn config_dir(settings: &Settings) -> Option<PathBuf> {
    environment(&settings.docker).config_dir()
}

/// Refuses `--host` and `--context` that name no engine, before anything is done.
///
/// # Errors
/// When an address is none, or there is no such context.
pub fn check_flags(settings: &Settings) -> Result<(), CommandError> {
    if settings.host.is_none() && settings.context.is_none() {
        return Ok(());
    }
    endpoint(settings, &environment(&settings.docker)).map(|_| ())
}

fn endpoint(settings: &Settings, env: &Env) -> Result<Endpoint, CommandError> {
    let selection = Selection {
        context: settings.context.clone(),
        host: settings.host.clone(),
    };
    context::resolve(&selection, env).map_err(|error| of_context(&error))
}

fn of_context(error: &ContextError) -> CommandError {
    let text = printable(&error.to_string());
    match error {
        ContextError::Conflict => CommandError::usage(text).hint("give one of them"),
        ContextError::Unknown { .. } => {
            CommandError::usage(text).hint("`docker context ls` lists the contexts of the docker CLI")
        }
        ContextError::BadHost { .. } => CommandError::usage(text).hint(
            "such as unix:///var/run/docker.sock, tcp://build.lan:2376 or ssh://user@build.lan; a docker context is named with `--context`",
        ),
        ContextError::Unsupported { .. } => CommandError::usage(text),
        ContextError::Unreadable { .. } => CommandError::failed(text),
    }
}

/// What the docker CLI was told counts before its variables, as it does there.
fn environment(told: &DockerFlags) -> Env {
    let flag = |set: bool, name: &str| {
        set.then(|| String::from("1"))
            .or_else(|| std::env::var(name).ok())
    };
    let text = |name: &str| std::env::var(name).ok();
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    Env {
        docker_host: text("DOCKER_HOST"),
        docker_context: text("DOCKER_CONTEXT"),
        docker_config: told.config.clone().or_else(|| path("DOCKER_CONFIG")),
        docker_tls: flag(told.tls, "DOCKER_TLS"),
        docker_tls_verify: flag(told.tls_verify, "DOCKER_TLS_VERIFY"),
        certificates: told.certificates.clone(),
        docker_cert_path: path("DOCKER_CERT_PATH"),
        home: std::env::home_dir(),
        scratch: Some(path("XDG_RUNTIME_DIR").unwrap_or_else(std::env::temp_dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_says_nothing_is_waited_for() {
        let silent = EngineError::Unanswered {
            why: "no answer within 5 s".to_owned(),
        };
        assert_eq!(of_connect(&silent).kind(), ErrorKind::EngineUnreachable);
        let refused = EngineError::Invalid("no".to_owned());
        assert_ne!(of_connect(&refused).kind(), ErrorKind::EngineUnreachable);
    }
}
