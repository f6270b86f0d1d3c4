//! Being a plugin of the docker CLI: installed as `docker-scheduler` in its `cli-plugins` folder,
//! the same program answers `docker scheduler plan`.
//!
//! The CLI asks once for metadata, and then calls with its own arguments, `scheduler` among them.

use std::ffi::OsString;

/// What the CLI calls a plugin with to learn about it.
const METADATA: &str = "docker-cli-plugin-metadata";

/// Set by the CLI for the plugins that it calls.
const CALLED_BY_DOCKER: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// The name after `docker`.
const NAME: &str = "scheduler";

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    Command(Vec<OsString>),
    Metadata(String),
}

/// The arguments without the plugin's name, which the docker CLI leaves among them.
pub fn adapt(mut arguments: Vec<OsString>, variable: impl Fn(&str) -> Option<OsString>) -> Call {
    if arguments.get(1).is_some_and(|first| first == METADATA) {
        return Call::Metadata(metadata());
    }
    if variable(CALLED_BY_DOCKER).is_some()
        && let Some(at) = arguments.iter().skip(1).position(|argument| argument == NAME)
    {
        arguments.remove(at + 1);
    }
    Call::Command(arguments)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(arguments: &[&str], by_docker: bool) -> Call {
        adapt(arguments.iter().map(OsString::from).collect(), |name| {
            (by_docker && name == CALLED_BY_DOCKER).then(|| OsString::from("/usr/bin/docker"))
        })
    }

    #[test]
    fn the_plugins_name_is_taken_out_when_docker_calls() {
        let expected = |arguments: &[&str]| Call::Command(arguments.iter().map(OsString::from).collect());
        assert_eq!(
            adapted(&["x", "scheduler", "rm", "scheduler"], true),
            expected(&["x", "rm", "scheduler"])
        );
        assert_eq!(
            adapted(&["x", "-H", "unix:///x", "scheduler", "ls"], true),
            expected(&["x", "-H", "unix:///x", "ls"])
        );
        assert_eq!(
            adapted(&["x", "rm", "scheduler"], false),
            expected(&["x", "rm", "scheduler"])
        );
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
