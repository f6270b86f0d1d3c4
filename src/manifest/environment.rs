//! `environment` and `env_file`: pairs of names and values, most of which are secrets.

use std::collections::BTreeMap;

use crate::model::{ContainerSpec, Text};
use crate::policy::{Ask, PathAsk};

use super::EnvFile;
use super::compose::{Scope, masked, refuse};
use super::diagnostic::{Sink, code};
use super::dotenv;
use super::interpolate::not_listed;
use super::keys;
use super::mounts;
use super::values::{self, filled_text, flag, to_text};
use super::yaml::{Entry, Node, Value};

/// One of `environment` or `labels`.
pub(crate) struct Pair<'n> {
    pub name: String,
    /// `None` where there is none.
    pub value: Option<Text>,
    pub node: &'n Node,
    /// The name is part of a sensitive text.
    pub masked: bool,
}

/// Pairs of a mapping (`K: v`) or a list (`K=v`).
pub(crate) fn pairs<'n>(sink: &mut Sink<'_>, node: &'n Node, what: &str) -> Vec<Pair<'n>> {
    match &node.value {
        Value::Map(entries) => {
            let mut found = Vec::new();
            for Entry { key, value } in entries {
                let name = key.text.clone();
                let mut text = None;
                if !value.is_null() {
                    let scalar = values::scalar(sink, value, &name, "a text, a number or a boolean");
                    let Some(scalar) = scalar else { continue };
                    text = Some(to_text(scalar));
                }
                found.push(Pair {
                    name,
                    value: text,
                    node: value,
                    masked: false,
                });
            }
            found
        }
        Value::Seq(items) => {
            let mut found = Vec::new();
            for item in items {
                let Some(scalar) = values::text(sink, item, &format!("{what}[]")) else {
                    continue;
                };
                let (name, value) = match scalar.text.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (scalar.text.as_str(), None),
                };
                found.push(Pair {
                    name: name.to_owned(),
                    value: value.map(|value| text_of(value, scalar.sensitive)),
                    node: item,
                    masked: scalar.sensitive,
                });
            }
            found
        }
        Value::Scalar(_) => {
            values::wrong_type(
                sink,
                node,
                what,
                "a mapping (`NAME: value`) or a list (`NAME=value`)",
            );
            Vec::new()
        }
    }
}

pub(crate) fn text_of(value: &str, sensitive: bool) -> Text {
    if sensitive {
        Text::sensitive(value)
    } else {
        Text::plain(value)
    }
}

/// Env files in their order, then `environment` over them.
pub(crate) fn environment(scope: &mut Scope<'_, '_>, job: &Entry, spec: &mut ContainerSpec) {
    if let Some(entry) = job.value.get("env_file") {
        env_files(scope, &entry.value, &mut spec.environment);
    }
    let Some(entry) = job.value.get("environment") else {
        return;
    };
    for pair in pairs(scope.sink, &entry.value, "environment") {
        let at = pair.node.span.clone();
        if pair.name.is_empty() {
            scope.sink.error(code::VALUE, at, "a variable without a name");
            continue;
        }
        // A name alone takes its value from where variables come from. Without one it takes away what the
        // image, or an env file, sets, as in Compose.
        let inherited = scope.variables.get(&pair.name);
        let inherited = || inherited.map(|(value, sensitive)| text_of(value, sensitive));
        let value = pair.value.or_else(inherited);
        if value.is_none() && scope.variables.unlisted.contains(&pair.name) && !pair.masked {
            let name = &pair.name;
            scope
                .sink
                .warning(
                    code::INTERPOLATION,
                    at,
                    format!("variable `{name}` has no value: the job runs without it"),
                )
                .help(not_listed(name));
        }
        spec.environment.insert(pair.name, value);
    }
}

fn env_files(scope: &mut Scope<'_, '_>, node: &Node, out: &mut BTreeMap<String, Option<Text>>) {
    let items = match &node.value {
        Value::Seq(items) => items.as_slice(),
        Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(node),
    };
    for item in items {
        let mut path = None;
        let mut required = true;
        let mut raw = false;
        match &item.value {
            Value::Map(_) => {
                for Entry { key, value } in values::fields(scope.sink, item, "env_file", &keys::ENV_FILE) {
                    match key.text.as_str() {
                        "path" => path = Some(value),
                        "required" => required = flag(scope.sink, value, "required").unwrap_or(true),
                        "format" => {
                            raw =
                                values::word(scope.sink, value, "format", &[("raw", true)]).unwrap_or(false);
                        }
                        _ => {}
                    }
                }
                if path.is_none() {
                    scope.sink.error(
                        code::MISSING_KEY,
                        item.span.clone(),
                        "this env file has no `path`",
                    );
                }
            }
            Value::Scalar(_) | Value::Seq(_) => path = Some(item),
        }
        if let Some(path) = path {
            env_file(scope, path, required, raw, out);
        }
    }
}

/// One env file. Neither its lines nor its values come into a message.
fn env_file(
    scope: &mut Scope<'_, '_>,
    node: &Node,
    required: bool,
    raw: bool,
    out: &mut BTreeMap<String, Option<Text>>,
) {
    let Some(written) = filled_text(scope.sink, node, "env_file") else {
        return;
    };
    let Some(path) = mounts::absolute(scope, node, &written) else {
        return;
    };
    let text = match scope.manifest.env_files.get(&path) {
        None => {
            let wants = scope
                .wants
                .env_files
                .entry(scope.manifest.path.clone())
                .or_default();
            wants.insert(path);
            return;
        }
        Some(EnvFile::Missing) => {
            if required {
                scope
                    .sink
                    .error(code::REFERENCE, node.span.clone(), "this env file does not exist")
                    .help("write `{path: …, required: false}` if it may be missing");
            }
            return;
        }
        Some(EnvFile::Unreadable(why)) => {
            let message = format!("this env file cannot be read: {why}");
            scope.sink.error(code::REFERENCE, node.span.clone(), message);
            return;
        }
        Some(EnvFile::Text { real, text }) => {
            let ask = Ask::Read(PathAsk {
                path: real,
                written: &path,
                folder: &scope.manifest.folder,
                holds: None,
            });
            if let Err(refusal) = scope.settings.policy.check(ask) {
                return refuse(scope.sink, node.span.clone(), "env_file", masked(refusal, node));
            }
            text
        }
    };
    if !scope.variables.spend(text.len()) {
        scope.sink.error(
            code::LIMIT,
            node.span.clone(),
            "the env files of this manifest are too large",
        );
        return;
    }
    let parsed = if raw {
        dotenv::parse_raw(text)
    } else {
        dotenv::parse(text, scope.variables)
    };
    match parsed {
        Ok(found) => out.extend(
            found
                .into_iter()
                .map(|(name, value)| (name, Some(Text::sensitive(value)))),
        ),
        Err(errors) => {
            for error in errors {
                let message = format!("line {} of this env file: {}", error.line, error.message);
                scope.sink.error(code::ENV_FILE, node.span.clone(), message);
            }
        }
    }
}
