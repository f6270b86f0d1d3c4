//! The reference of docs/ is written by the program itself: commands from its help, manifests from its
//! JSON Schema, the operator's file from what `init` writes, and the checks of `doctor` from their list.
//! `BLESS=1 cargo test --test it reference` writes it anew; a page that is not as it would be written fails.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command};
use docker_scheduler::doctor::{CHECKS, CLUSTER_CHECKS};
use docker_scheduler::manifest::json_schema;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference");

const WRITTEN: &str = "<!-- Written by `BLESS=1 cargo test --test it reference`; do not edit. -->\n";

/// A page is as it would be written now.
#[track_caller]
fn check(name: &str, title: &str, text: &str) {
    let path = Path::new(FOLDER).join(name);
    let expected = format!("{WRITTEN}\n# {title}\n\n{}\n", text.trim_end());
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(FOLDER).expect("a folder");
        fs::write(&path, expected).expect("written");
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/reference/{name} is stale: `BLESS=1 cargo test --test it reference` writes it anew"
    );
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn commands() {
    let mut root = docker_scheduler::cli::command();
    root.build();
    let mut text = String::from(
        "`docker-scheduler COMMAND --help` says the same in a terminal, `docker-scheduler man --dir DIR` writes\n\
         manual pages. As a plugin of the docker command: `docker scheduler COMMAND`.\n\n",
    );
    text.push_str(EXIT_CODES);
    text.push_str("\n## Global options\n\nEvery command takes them; a flag wins over its variable.\n\n");
    let global: Vec<&Arg> = root.get_arguments().filter(|arg| arg.is_global_set()).collect();
    text.push_str(&options(&global));
    describe(&root, "docker-scheduler", &mut text);
    check("commands.md", "Commands", &text);
}

const EXIT_CODES: &str = "\
## Exit codes

| code | |
|---|---|
| 0 | done |
| 1 | failed, or wrong usage; `doctor`: something is wrong |
| 2 | changes pending (`plan --detailed-exitcode` alone) |
| 3 | manifests that are invalid or missing; nothing to import |
| 4 | the engine cannot be reached |
| 5 | refused by the policy, a guard, a limit or another ledger |
| 124 | `wait --timeout` has passed |
| 125, 126, 127 | `run`: not started, cannot be invoked, command not found, as in Docker |
| 130 | cancelled |
| others | of the container: `run`, `wait`, `trigger --wait`, `rerun --wait` |
";

/// A section for each command below this one that does something.
fn describe(command: &Command, path: &str, text: &mut String) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name());
        let has_subs = sub.get_subcommands().any(|inner| inner.get_name() != "help");
        if has_subs {
            describe(sub, &path, text);
            continue;
        }
        let _ = write!(text, "\n## {}\n\n", path.trim_start_matches("docker-scheduler "));
        let about = sub.get_long_about().or_else(|| sub.get_about());
        let _ = write!(text, "{}\n\n", about.map(ToString::to_string).unwrap_or_default());
        let usage = sub.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim();
        let _ = write!(text, "```text\n{usage}\n```\n\n");
        let own: Vec<&Arg> = sub
            .get_arguments()
            .filter(|arg| !arg.is_global_set() && !arg.is_hide_set())
            .filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"))
            .collect();
        if !own.is_empty() {
            text.push_str(&options(&own));
        }
        let help = sub
            .get_after_long_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let examples: Vec<&str> = help
            .lines()
            .filter_map(|line| line.strip_prefix("  docker-scheduler "))
            .collect();
        if !examples.is_empty() {
            text.push_str("\n```console\n");
            for example in examples {
                let _ = writeln!(text, "$ docker-scheduler {example}");
            }
            text.push_str("```\n");
        }
    }
}

fn options(arguments: &[&Arg]) -> String {
    let mut table = String::from("| | |\n|---|---|\n");
    for argument in arguments {
        let value = argument
            .get_value_names()
            .filter(|_| argument.get_action().takes_values())
            .map(|names| {
                names
                    .iter()
                    .map(|name| name.to_string())
                    .collect::<Vec<_>>()
                    .join(" ")
            });
        let name = match (argument.get_short(), argument.get_long()) {
            (None, None) => value.clone().unwrap_or_default(),
            (short, long) => {
                let flags: Vec<String> = short
                    .map(|short| format!("-{short}"))
                    .into_iter()
                    .chain(long.map(|long| format!("--{long}")))
                    .collect();
                format!(
                    "{}{}",
                    flags.join(", "),
                    value.map(|value| format!(" {value}")).unwrap_or_default()
                )
            }
        };
        let help = argument.get_long_help().or_else(|| argument.get_help());
        let mut meaning = help.map(ToString::to_string).unwrap_or_default();
        let words: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|_| argument.get_action().takes_values() && !argument.is_hide_possible_values_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !words.is_empty() {
            let _ = write!(meaning, " ({})", words.join(", "));
        }
        let default: Vec<String> = argument
            .get_default_values()
            .iter()
            .filter(|_| argument.get_action().takes_values())
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        if !default.is_empty() && !meaning.contains("[default") {
            let _ = write!(meaning, " [default: {}]", default.join(" "));
        }
        let _ = writeln!(table, "| `{}` | {} |", cell(&name), cell(&meaning));
    }
    table
}

#[test]
fn manifests() {
    let schema = json_schema();
    let mut text = String::from(
        "A manifest is a Compose file: `jobs` and `triggers` are the Compose Specification's, `x-scheduler` holds\n\
         what it lacks. Keys that begin with `x-` are allowed everywhere; any other that is not listed here is an\n\
         error. `docker-scheduler schema` prints the same as a JSON Schema, for editors.\n\n\
         Durations are `90s`, `10m`, `1h30m`, `7d`; sizes `64m`, `1g`. `${NAME}`, `${NAME:-default}` and `${NAME:?why}`\n\
         come from the `.env` beside the file; `$$` is one dollar sign.\n",
    );
    section(&mut text, "The file", &schema);
    let definitions = schema["definitions"].as_object().expect("definitions");
    for (name, definition) in definitions {
        if definition["properties"].is_object() {
            section(&mut text, &heading(name), definition);
        }
    }
    check("manifests.md", "Manifests", &text);
}

/// What a definition of the schema is called on the page.
fn heading(name: &str) -> String {
    format!("`{name}`")
}

fn section(text: &mut String, title: &str, of: &Value) {
    let _ = write!(text, "\n## {title}\n\n");
    text.push_str("| key | value | |\n|---|---|---|\n");
    let required: Vec<&str> = of["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (key, value) in of["properties"].as_object().expect("keys") {
        let doc = value["description"].as_str().unwrap_or_default();
        let must = if required.contains(&key.as_str()) {
            " Required."
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "| `{key}` | {} | {}{must} |",
            cell(&shape(value)),
            cell(doc)
        );
    }
}

/// The form of a value in a few words.
fn shape(value: &Value) -> String {
    if let Some(all) = value["anyOf"].as_array().or_else(|| value["allOf"].as_array()) {
        let mut words: Vec<String> = Vec::new();
        for one in all.iter().map(shape).filter(|one| !one.is_empty()) {
            if !words.contains(&one) {
                words.push(one);
            }
        }
        return words.join(" or ");
    }
    if let Some(name) = value["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return match name {
            // Any value may be one.
            "variable" => String::new(),
            name => format!("[`{name}`](#{name})"),
        };
    }
    if let Some(words) = value["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .map(|word| {
                format!(
                    "`{}`",
                    word.as_str().map_or_else(|| word.to_string(), str::to_owned)
                )
            })
            .collect();
        return words.join(", ");
    }
    if let Some(pattern) = value["pattern"].as_str() {
        return of_pattern(pattern).to_owned();
    }
    match value["type"].as_str() {
        Some("array") => match shape(&value["items"]) {
            items if items.is_empty() => "a list".to_owned(),
            items => format!("a list: {items}"),
        },
        Some("object") => match shape(&value["additionalProperties"]) {
            values if values.is_empty() => "names to values".to_owned(),
            values => format!("names, each with {values}"),
        },
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => "a whole number".to_owned(),
        Some("string") => "a text".to_owned(),
        Some("null") => String::new(),
        Some(other) => format!("a {other}"),
        None => String::new(),
    }
}

/// Patterns are for machines: most have a word.
fn of_pattern(pattern: &str) -> &'static str {
    if pattern.contains("ms|us") {
        "a duration"
    } else if pattern.contains("true|false") || pattern.starts_with("^[0-9") || pattern.starts_with("^-?") {
        // The same as a text, which Compose takes as well.
        ""
    } else {
        "a text"
    }
}

#[test]
fn the_operators_file() {
    let config = include_str!("../../src/cli/init/config.yaml");
    let text = format!(
        "What whoever runs docker-scheduler decides, and who writes manifests cannot. It is read from\n\
         `--config FILE` (or `DOCKER_SCHEDULER_CONFIG`), else `/etc/docker-scheduler/config.yaml` for root and\n\
         `$XDG_CONFIG_HOME/docker-scheduler/config.yaml` (`~/.config`) for other users. Without a file the defaults\n\
         hold. A file with an error stops every command: a rule that was not understood could be the one that\n\
         matters.\n\n\
         `docker-scheduler init` writes this file:\n\n```yaml\n{config}```\n"
    );
    check("operator.md", "The operator's file", &text);
}

#[test]
fn doctor() {
    let mut text = String::from(
        "`docker-scheduler doctor` looks at everything once and changes nothing. Each finding is `ok`, `note`,\n\
         `unknown` (it could not be looked at), `warning` or `error`, with what to do. The exit code is 0 without an\n\
         error, 4 when the engine does not answer, else 1. `--format json` has one object a line: `check`, `state`,\n\
         `message`, `hints`.\n\n| check | looks at |\n|---|---|\n",
    );
    for check in CHECKS {
        let _ = writeln!(text, "| `{}` | {} |", check.name, cell(check.about));
    }
    text.push_str("\nWith `--engine kubernetes`:\n\n| check | looks at |\n|---|---|\n");
    for check in CLUSTER_CHECKS {
        let _ = writeln!(text, "| `{}` | {} |", check.name, cell(check.about));
    }
    check("doctor.md", "What doctor checks", &text);
}
