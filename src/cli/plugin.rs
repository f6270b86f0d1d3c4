//! Being a plugin of the docker CLI: installed as `docker-scheduler` in its `cli-plugins` folder,
//! the same program answers `docker scheduler plan`.
//!
//! The CLI asks once for metadata. After that it calls with all of its own arguments: its global flags, which
//! it reads and does not act upon, then `scheduler` and what is ours; `help scheduler`; or
//! `__complete scheduler` for its shell completion.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap_complete::engine::CompletionCandidate;

use crate::engine::context::Certificates;

use super::error::{CommandError, CommandResult, Exit};
use super::output::print;
use super::settings::LogLevel;

/// What the CLI calls a plugin with to learn about it.
const METADATA: &str = "docker-cli-plugin-metadata";

/// Set by the CLI for the plugins that it calls.
const CALLED_BY_DOCKER: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// The name after `docker`.
const NAME: &str = "scheduler";

/// As people type it.
const COMMAND: &str = "docker scheduler";

/// What the CLI's completion scripts call it with.
const COMPLETE: [&str; 2] = ["__complete", "__completeNoDesc"];

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// Our arguments, and what the CLI's own said.
    Command(Vec<OsString>, DockerFlags),
    /// Words after `docker scheduler`; the last one is to be completed.
    Complete(Vec<OsString>),
    Metadata(String),
}

/// The CLI's global flags that have no equal of ours; host and context are among the arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerFlags {
    /// Whether the CLI calls, so that usage is said as people typed it.
    pub plugin: bool,
    /// `--config`: the folder with `config.json`, contexts and certificates.
    pub config: Option<PathBuf>,
    pub log_level: Option<LogLevel>,
    pub tls: bool,
    pub tls_verify: bool,
    pub certificates: Certificates,
}

/// The arguments as we understand them.
pub fn adapt(arguments: Vec<OsString>, variable: impl Fn(&str) -> Option<OsString>) -> Call {
    if arguments.get(1).is_some_and(|first| first == METADATA) {
        return Call::Metadata(metadata());
    }
    if variable(CALLED_BY_DOCKER).is_none() {
        return Call::Command(arguments, DockerFlags::default());
    }
    let mut words = arguments.into_iter();
    let mut ours: Vec<OsString> = words.next().into_iter().collect();
    let mut flags = DockerFlags {
        plugin: true,
        ..DockerFlags::default()
    };
    let mut completing = false;
    while let Some(word) = words.next() {
        if word == NAME {
            break;
        } else if COMPLETE.iter().any(|call| word == *call) {
            completing = true;
        } else {
            global(&word, &mut words, &mut flags, &mut ours);
        }
    }
    if completing {
        return Call::Complete(words.collect());
    }
    ours.extend(words);
    Call::Command(ours, flags)
}

/// Reads one word before `scheduler`, with its value if it takes one. What is none of the CLI's global
/// flags (`help`, or a flag of a coming version) goes on to our own parser.
fn global(
    word: &OsStr,
    rest: &mut impl Iterator<Item = OsString>,
    flags: &mut DockerFlags,
    ours: &mut Vec<OsString>,
) {
    let text = word.to_string_lossy();
    let (name, attached) = match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
        None if !text.starts_with("--") && text.starts_with('-') && text.chars().count() > 2 => {
            // `-clab`, and the bundle `-Dc lab`.
            let mut letters = text[1..].chars();
            let first = letters.next().unwrap_or_default();
            let behind = OsString::from(letters.as_str());
            if first == 'D' {
                flags.log_level = Some(LogLevel::Debug);
                let mut next = OsString::from("-");
                next.push(behind);
                return global(&next, rest, flags, ours);
            }
            (format!("-{first}"), Some(behind))
        }
        None => (text.into_owned(), None),
    };
    let truth = |value: Option<OsString>| value.is_none_or(|value| value != "false");
    let mut value = || attached.clone().or_else(|| rest.next()).unwrap_or_default();
    match name.as_str() {
        "-H" | "--host" => ours.extend(["--host".into(), value()]),
        "-c" | "--context" => ours.extend(["--context".into(), value()]),
        "--config" => flags.config = Some(value().into()),
        "-l" | "--log-level" => flags.log_level = Some(level(&value())),
        "-D" | "--debug" => {
            if truth(attached) {
                flags.log_level = Some(LogLevel::Debug);
            }
        }
        "--tls" => flags.tls = truth(attached),
        "--tlsverify" => flags.tls_verify = truth(attached),
        "--tlscacert" => flags.certificates.ca = Some(value().into()),
        "--tlscert" => flags.certificates.cert = Some(value().into()),
        "--tlskey" => flags.certificates.key = Some(value().into()),
        _ => ours.push(word.to_owned()),
    }
}

/// The CLI has refused other words before it called us.
fn level(word: &OsStr) -> LogLevel {
    match word.to_string_lossy().as_ref() {
        "debug" => LogLevel::Debug,
        "warn" => LogLevel::Warn,
        "error" | "fatal" => LogLevel::Error,
        _ => LogLevel::Info,
    }
}

fn metadata() -> String {
    serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "docker-scheduler",
        "Version": super::version::VERSION,
        "ShortDescription": "Containers on a schedule, as code",
    })
    .to_string()
}

/// Every command under the name by which people call it here, also in its examples.
pub fn named(command: clap::Command) -> clap::Command {
    renamed(command).bin_name(COMMAND)
}

fn renamed(mut command: clap::Command) -> clap::Command {
    if let Some(examples) = command.get_after_long_help() {
        let line = format!("\n  {} ", super::NAME);
        let examples = examples.to_string().replace(&line, &format!("\n  {COMMAND} "));
        command = command.after_long_help(examples);
    }
    let names: Vec<String> = (command.get_subcommands())
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, renamed);
    }
    command
}

/// cobra's directives: what the shell is to do with the answers.
const FILES_AS_WELL: u8 = 0;
const NO_FILES: u8 = 4;

/// Prints what the last word could become, in the form of the CLI's completion scripts: a line for each
/// candidate, its help behind a tab, and a directive.
///
/// # Errors
/// When the words cannot be read, or nobody listens.
pub fn complete(mut words: Vec<OsString>) -> CommandResult {
    words.insert(0, super::NAME.into());
    let last = words.len() - 1;
    let found = if last == 0 {
        Vec::new()
    } else {
        clap_complete::engine::complete(&mut super::command(), words, last, None)
            .map_err(|error| CommandError::failed("failed to complete").caused_by(error.to_string()))?
    };
    let shown: Vec<String> = (found.iter())
        .filter(|candidate| !candidate.is_hide_set())
        .map(line)
        .collect();
    let directive = if shown.is_empty() { FILES_AS_WELL } else { NO_FILES };
    let lines: String = shown.iter().map(|line| format!("{line}\n")).collect();
    print(&format!("{lines}:{directive}\n"))?;
    Ok(Exit::OK)
}

fn line(candidate: &CompletionCandidate) -> String {
    let value = candidate.get_value().to_string_lossy();
    let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
    match help.lines().next() {
        Some(help) if !help.is_empty() => format!("{value}\t{help}"),
        _ => value.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(arguments: &[&str], by_docker: bool) -> Call {
        adapt(arguments.iter().map(OsString::from).collect(), |name| {
            (by_docker && name == CALLED_BY_DOCKER).then(|| OsString::from("/usr/bin/docker"))
        })
    }

    fn words(arguments: &[&str]) -> Vec<OsString> {
        arguments.iter().map(OsString::from).collect()
    }

    /// Our arguments and the CLI's flags of a call by the CLI.
    fn called(arguments: &[&str]) -> (Vec<OsString>, DockerFlags) {
        match adapted(arguments, true) {
            Call::Command(ours, flags) => (ours, flags),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_plugins_name_is_taken_out_when_docker_calls() {
        assert_eq!(
            called(&["x", "scheduler", "rm", "scheduler"]).0,
            words(&["x", "rm", "scheduler"])
        );
        assert_eq!(
            called(&["x", "help", "scheduler", "plan"]).0,
            words(&["x", "help", "plan"])
        );
        let direct = adapted(&["x", "rm", "scheduler"], false);
        assert_eq!(
            direct,
            Call::Command(words(&["x", "rm", "scheduler"]), DockerFlags::default())
        );
    }

    #[test]
    fn dockers_global_flags_are_read_up_to_the_name() {
        for line in [
            &["x", "-H", "unix:///x", "scheduler", "ls"][..],
            &["x", "-H=unix:///x", "scheduler", "ls"],
            &["x", "-Hunix:///x", "scheduler", "ls"],
            &["x", "--host=unix:///x", "scheduler", "ls"],
        ] {
            let (ours, flags) = called(line);
            assert_eq!(ours, words(&["x", "--host", "unix:///x", "ls"]), "{line:?}");
            assert_eq!(flags.log_level, None);
        }
        let (ours, flags) = called(&["x", "-Dc", "scheduler", "scheduler", "-c", "lab"]);
        assert_eq!(ours, words(&["x", "--context", "scheduler", "-c", "lab"]));
        assert_eq!(flags.log_level, Some(LogLevel::Debug));
        let (ours, flags) = called(&[
            "x",
            "--config",
            "scheduler",
            "-l",
            "warn",
            "--tls",
            "--tlsverify=false",
            "--tlscacert",
            "ca.pem",
            "scheduler",
            "plan",
        ]);
        assert_eq!(ours, words(&["x", "plan"]));
        let expected = DockerFlags {
            plugin: true,
            config: Some("scheduler".into()),
            log_level: Some(LogLevel::Warn),
            tls: true,
            tls_verify: false,
            certificates: Certificates {
                ca: Some("ca.pem".into()),
                ..Certificates::default()
            },
        };
        assert_eq!(flags, expected);
        let (ours, _) = called(&["x", "--coming", "scheduler", "plan"]);
        assert_eq!(ours, words(&["x", "--coming", "plan"]), "our parser refuses it");
    }

    #[test]
    fn completion_sees_the_words_behind_the_name() {
        let call = adapted(&["x", "-c", "lab", "__complete", "scheduler", "pl"], true);
        assert_eq!(call, Call::Complete(words(&["pl"])));
        let alone = adapted(&["x", "__completeNoDesc", "scheduler"], true);
        assert_eq!(alone, Call::Complete(Vec::new()));
    }

    #[test]
    fn usage_is_said_as_it_was_typed() {
        let mut command = named(super::super::command());
        let plan = command.find_subcommand_mut("plan").unwrap();
        let help = plan.render_long_help().to_string();
        assert!(help.contains("\n  docker scheduler plan"), "{help}");
        assert!(!help.contains("docker-scheduler plan"), "{help}");
    }

    #[test]
    fn docker_learns_about_it() {
        let Call::Metadata(json) = adapted(&["x", METADATA], true) else {
            panic!("no metadata");
        };
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["SchemaVersion"], "0.1.0");
        assert_eq!(value["Version"], env!("CARGO_PKG_VERSION"));
    }
}
