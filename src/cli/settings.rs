//! The flags that every command has, and their `DOCKER_SCHEDULER_…` variables.
//!
//! A flag wins over its variable, the variable over the operator's file, the file over the
//! default. An empty variable counts as unset, as the docker CLI has it. The docker CLI's own
//! variables (`DOCKER_HOST`, …) are read by `connect`, in its order.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use crate::config;
use crate::model::{EngineName, Instance};

use super::error::CommandError;
use super::output::quoted;
use super::plugin::DockerFlags;

/// The first part of every variable's name.
const PREFIX: &str = "DOCKER_SCHEDULER_";

/// The global flags as typed.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Where jobs run: docker (default), swarm or kubernetes [env: DOCKER_SCHEDULER_ENGINE]
    #[arg(long, global = true, value_name = "ENGINE", hide_possible_values = true, value_parser = engine_name())]
    pub engine: Option<EngineName>,

    /// Engine to use, such as `unix:///var/run/docker.sock` [env: DOCKER_HOST]
    #[arg(short = 'H', long, global = true, value_name = "HOST")]
    pub host: Option<String>,

    /// Docker context to use [env: DOCKER_CONTEXT]
    #[arg(short = 'c', long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Context of the kubeconfig to use (Kubernetes) [env: DOCKER_SCHEDULER_KUBE_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub kube_context: Option<String>,

    /// Namespace to use [default: the context's] (Kubernetes) [env: DOCKER_SCHEDULER_NAMESPACE]
    #[arg(long, global = true, value_name = "NAME", value_parser = namespace)]
    pub namespace: Option<String>,

    /// The operator's own settings [env: DOCKER_SCHEDULER_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Whose containers these are [default: default] [env: DOCKER_SCHEDULER_INSTANCE]
    #[arg(long, global = true, value_name = "NAME")]
    pub instance: Option<Instance>,

    /// Folder of ledger and logs [env: DOCKER_SCHEDULER_STATE]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// Where the engine's machine has the folder of manifests, if not at the same path
    /// [default: asked for when this runs in a container] [env: DOCKER_SCHEDULER_HOST_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub host_dir: Option<PathBuf>,

    /// Take the instance over from another ledger [env: DOCKER_SCHEDULER_TAKE_OVER]
    #[arg(long, global = true)]
    pub take_over: bool,

    /// Least important log lines to show [default: info] [env: DOCKER_SCHEDULER_LOG_LEVEL]
    #[arg(long, global = true, value_name = "LEVEL", hide_possible_values = true, help = LOG_LEVEL_HELP)]
    pub log_level: Option<LogLevel>,

    /// Log lines for people (text) or for machines (json) [env: DOCKER_SCHEDULER_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT", hide_possible_values = true)]
    pub log_format: Option<LogFormat>,

    /// Colours: auto, always or never [env: DOCKER_SCHEDULER_COLOR]
    #[arg(long, global = true, value_name = "WHEN", hide_possible_values = true)]
    pub color: Option<Color>,
}

const LOG_LEVEL_HELP: &str =
    "Log lines to show: off, error, warn, info (default), debug or trace [env: DOCKER_SCHEDULER_LOG_LEVEL]";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The global flags with their variables filled in. What is `None` is for the operator's file,
/// then for the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub engine: Option<EngineName>,
    pub kube_context: Option<String>,
    pub namespace: Option<String>,
    pub host: Option<String>,
    pub context: Option<String>,
    pub config: Option<PathBuf>,
    pub instance: Option<Instance>,
    pub state: Option<PathBuf>,
    pub host_dir: Option<PathBuf>,
    pub take_over: bool,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    pub color: Color,
    /// What the docker CLI was told, when it calls us.
    pub docker: DockerFlags,
}

impl Settings {
    /// # Errors
    /// When a variable's value is none that its flag would take; the message names the variable.
    pub fn resolve(
        args: &GlobalArgs,
        docker: DockerFlags,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, CommandError> {
        let set = |name: &str| variable(&format!("{PREFIX}{name}")).filter(|value| !value.is_empty());
        Ok(Settings {
            engine: match args.engine {
                Some(engine) => Some(engine),
                None => parsed("ENGINE", set("ENGINE"), EngineName::from_str)?,
            },
            kube_context: non_empty("--kube-context", args.kube_context.as_deref())?
                .or_else(|| set("KUBE_CONTEXT")),
            namespace: match &args.namespace {
                Some(name) => Some(name.clone()),
                None => parsed("NAMESPACE", set("NAMESPACE"), namespace)?,
            },
            host: non_empty("--host", args.host.as_deref())?,
            context: non_empty("--context", args.context.as_deref())?,
            config: path("--config", args.config.clone())?.or_else(|| set("CONFIG").map(PathBuf::from)),
            instance: match &args.instance {
                Some(instance) => Some(instance.clone()),
                None => parsed("INSTANCE", set("INSTANCE"), Instance::from_str)?,
            },
            state: path("--state", args.state.clone())?.or_else(|| set("STATE").map(PathBuf::from)),
            host_dir: host_dir(args, set("HOST_DIR"))?,
            take_over: args.take_over || parsed("TAKE_OVER", set("TAKE_OVER"), truth)?.unwrap_or(false),
            log_level: one_of(args.log_level.or(docker.log_level), "LOG_LEVEL", set("LOG_LEVEL"))?,
            log_format: one_of(args.log_format, "LOG_FORMAT", set("LOG_FORMAT"))?,
            color: one_of(args.color, "COLOR", set("COLOR"))?,
            docker,
        })
    }
}

/// A closed list, so that completions and messages know its words.
fn engine_name() -> impl clap::builder::TypedValueParser<Value = EngineName> {
    PossibleValuesParser::new(EngineName::ALL.map(EngineName::as_str))
        .try_map(|word| word.parse::<EngineName>())
}

/// A DNS label, as namespaces are named.
fn namespace(text: &str) -> Result<String, String> {
    if config::is_namespace(text) {
        Ok(text.to_owned())
    } else {
        Err(String::from(
            "a namespace is lower-case letters, digits and dashes, at most 63",
        ))
    }
}

fn one_of<T: ValueEnum + Default>(
    flag: Option<T>,
    name: &str,
    value: Option<String>,
) -> Result<T, CommandError> {
    match flag {
        Some(chosen) => Ok(chosen),
        None => Ok(parsed(name, value, |text| T::from_str(text, false))?.unwrap_or_default()),
    }
}

fn parsed<T, E: Display>(
    name: &str,
    value: Option<String>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, CommandError> {
    let Some(value) = value else { return Ok(None) };
    parse(&value).map(Some).map_err(|error| {
        CommandError::usage(format!(
            "the variable `{PREFIX}{name}` is set to {}",
            quoted(&value)
        ))
        .caused_by(error.to_string())
    })
}

fn truth(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        _ => Err("use true or false"),
    }
}

fn non_empty(flag: &str, value: Option<&str>) -> Result<Option<String>, CommandError> {
    match value {
        Some("") => Err(CommandError::usage(format!("`{flag}` needs a value"))),
        other => Ok(other.map(str::to_owned)),
    }
}

fn host_dir(args: &GlobalArgs, variable: Option<String>) -> Result<Option<PathBuf>, CommandError> {
    let given = path("--host-dir", args.host_dir.clone())?.or_else(|| variable.map(PathBuf::from));
    match given {
        Some(dir) if !dir.is_absolute() => {
            let dir = dir.display().to_string();
            Err(
                CommandError::usage(format!("{} is no value for `--host-dir`", quoted(&dir)))
                    .caused_by("use an absolute path of the engine's machine"),
            )
        }
        given => Ok(given),
    }
}

fn path(flag: &str, value: Option<PathBuf>) -> Result<Option<PathBuf>, CommandError> {
    match value {
        Some(path) if path.as_os_str().is_empty() => {
            Err(CommandError::usage(format!("`{flag}` needs a value")))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(args: &GlobalArgs, variables: &[(&str, &str)]) -> Result<Settings, CommandError> {
        Settings::resolve(args, DockerFlags::default(), &|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let variables = [
            ("DOCKER_SCHEDULER_ENGINE", "swarm"),
            ("DOCKER_SCHEDULER_INSTANCE", "blue"),
            ("DOCKER_SCHEDULER_LOG_LEVEL", "debug"),
            ("DOCKER_SCHEDULER_TAKE_OVER", "true"),
        ];
        let from_variables = resolved(&GlobalArgs::default(), &variables).unwrap();
        assert_eq!(from_variables.engine, Some(EngineName::Swarm));
        assert_eq!(from_variables.instance, Some("blue".parse().unwrap()));
        assert_eq!(from_variables.log_level, LogLevel::Debug);
        assert!(from_variables.take_over);
        let args = GlobalArgs {
            engine: Some(EngineName::Kubernetes),
            instance: Some("green".parse().unwrap()),
            log_level: Some(LogLevel::Warn),
            ..GlobalArgs::default()
        };
        let both = resolved(&args, &variables).unwrap();
        assert_eq!(both.engine, Some(EngineName::Kubernetes));
        assert_eq!(both.instance, Some("green".parse().unwrap()));
        assert_eq!(both.log_level, LogLevel::Warn);
    }

    #[test]
    fn an_empty_variable_is_no_variable() {
        let names = [
            "ENGINE",
            "KUBE_CONTEXT",
            "NAMESPACE",
            "INSTANCE",
            "STATE",
            "HOST_DIR",
            "CONFIG",
            "LOG_LEVEL",
            "LOG_FORMAT",
            "COLOR",
            "TAKE_OVER",
        ];
        let empty: Vec<String> = names.iter().map(|name| format!("{PREFIX}{name}")).collect();
        let variables: Vec<(&str, &str)> = empty.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(
            resolved(&GlobalArgs::default(), &variables).unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn a_bad_variable_is_named() {
        for (name, value) in [
            ("DOCKER_SCHEDULER_ENGINE", "nomad"),
            ("DOCKER_SCHEDULER_NAMESPACE", "../x"),
            ("DOCKER_SCHEDULER_INSTANCE", "../x"),
            ("DOCKER_SCHEDULER_LOG_LEVEL", "loud"),
            ("DOCKER_SCHEDULER_LOG_FORMAT", "xml"),
            ("DOCKER_SCHEDULER_COLOR", "red"),
            ("DOCKER_SCHEDULER_TAKE_OVER", "maybe"),
        ] {
            let error = resolved(&GlobalArgs::default(), &[(name, value)]).unwrap_err();
            assert!(error.message().contains(name), "{}", error.message());
        }
    }
}
