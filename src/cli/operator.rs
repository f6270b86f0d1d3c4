//! The operator's own file: found, opened, and laid under flags and variables.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::{self, Config};
use crate::manifest;
use crate::os;

use super::error::{CommandError, ErrorKind};
use super::output::talk_raw;
use super::settings::Settings;
use super::state::User;

/// Reads the file that `--config` names, else the one at its usual place if there is one.
///
/// # Errors
/// When the named file is missing, one cannot be read, or it has errors: a rule that was not
/// understood could be the one that matters.
pub fn read(settings: &Settings, user: &User) -> Result<Config, CommandError> {
    let Some((path, named)) = place(settings, user) else {
        return Ok(Config::default());
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(Config::default()),
        // Somebody else's usual place, such as root's, is none of ours.
        Err(error) => {
            return Err(CommandError::failed(format!(
                "failed to read the operator's file `{}`",
                path.display()
            ))
            .caused_by(io_words(&error))
            .hint("it holds the settings of whoever runs docker-scheduler; `--config` names it, and without it the defaults hold"));
        }
    };
    parse(&path, &text)
}

/// Where the file is, or would be, and whether somebody named it.
#[must_use]
pub fn place(settings: &Settings, user: &User) -> Option<(PathBuf, bool)> {
    match &settings.config {
        Some(path) => Some((path.clone(), true)),
        None => usual_place(user).map(|path| (path, false)),
    }
}

/// The system's refusals in plain words.
fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::InvalidData => "it is not a text in UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

fn usual_place(user: &User) -> Option<PathBuf> {
    let xdg = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let own = user.home.as_deref().map(os::config_home);
    config::default_path(user.is_root, xdg.as_deref(), own.as_deref())
}

fn parse(path: &Path, text: &str) -> Result<Config, CommandError> {
    let name = path.display().to_string();
    let (config, diagnostics) = config::parse(&name, text);
    let texts = std::collections::BTreeMap::from([(name.as_str(), text)]);
    talk_raw(&manifest::pictures(&diagnostics, &texts, "", true));
    if diagnostics.iter().any(manifest::Diagnostic::is_error) {
        let message = format!("the operator's file `{name}` has errors");
        return Err(CommandError::new(ErrorKind::Failed, message)
            .hint("nothing was done: a setting that is not understood could be the one that matters"));
    }
    Ok(config)
}

/// What flags and variables leave open is the file's to say.
#[must_use]
pub fn fill(mut settings: Settings, config: &Config) -> Settings {
    // `DOCKER_HOST` and the like are looked at later and would win over a host given here, so the
    // file's word counts only when neither flag nor variable names an engine.
    let engine_named = ["DOCKER_HOST", "DOCKER_CONTEXT"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if settings.host.is_none() && settings.context.is_none() && !engine_named {
        settings.host.clone_from(&config.host);
        settings.context.clone_from(&config.context);
    }
    settings.engine = settings.engine.or(config.engine);
    settings.kube_context = settings.kube_context.or_else(|| config.kube_context.clone());
    settings.namespace = settings.namespace.or_else(|| config.namespace.clone());
    settings.instance = settings.instance.or_else(|| config.instance.clone());
    settings.state = settings.state.or_else(|| config.state.clone());
    settings
}
