//! `healthcheck`: how the engine finds out whether a container is well.

use std::time::Duration;

use crate::model::{Healthcheck, Text};

use super::diagnostic::{Sink, code};
use super::keys;
use super::values::{self, flag, to_text};
use super::yaml::{Entry, Node, Value};

pub(crate) fn healthcheck(sink: &mut Sink<'_>, node: &Node) -> Option<Healthcheck> {
    let mut out = Healthcheck::default();
    let mut disabled = false;
    values::mapping(sink, node, "healthcheck")?;
    for Entry { key, value } in values::fields(sink, node, "healthcheck", &keys::HEALTHCHECK) {
        let name = key.text.as_str();
        match name {
            "test" => out.test = test(sink, value),
            "interval" => out.interval = time(sink, value, name),
            "timeout" => out.timeout = time(sink, value, name),
            "start_period" => out.start_period = time(sink, value, name),
            "start_interval" => out.start_interval = time(sink, value, name),
            "retries" => out.retries = values::count(sink, value, name),
            "disable" => disabled = flag(sink, value, name).unwrap_or(false),
            _ => {}
        }
    }
    if disabled {
        if out != Healthcheck::default() {
            sink.error(
                code::CONFLICT,
                node.span.clone(),
                "`disable: true` excludes every other key of `healthcheck`",
            );
        }
        out.test = Some(vec![Text::plain("NONE")]);
    }
    if out.start_interval.is_some() && out.start_period.is_none() {
        sink.error(
            code::MISSING_KEY,
            node.span.clone(),
            "`start_interval` needs a `start_period`",
        );
    }
    Some(out)
}

/// One text for the shell, or a list whose first word says how it is run.
fn test(sink: &mut Sink<'_>, node: &Node) -> Option<Vec<Text>> {
    if let Value::Scalar(_) = &node.value {
        let text = to_text(values::text(sink, node, "test")?);
        return Some(vec![Text::plain("CMD-SHELL"), text]);
    }
    let words: Vec<Text> = values::texts(sink, node, "test")
        .into_iter()
        .map(to_text)
        .collect();
    match (words.first().map(Text::expose), words.len()) {
        (Some("NONE"), 1) | (Some("CMD-SHELL"), 2) => Some(words),
        (Some("CMD"), count) if count > 1 => Some(words),
        _ => {
            let message = "`test` is a text, or a list that begins with `CMD`, `CMD-SHELL` or `NONE`";
            sink.error(code::VALUE, node.span.clone(), message)
                .help("`[CMD, pg_isready]`, `[CMD-SHELL, \"pg_isready || exit 1\"]`, or the text alone");
            None
        }
    }
}

/// The engine takes nothing below a millisecond.
fn time(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<Duration> {
    let found = values::duration(sink, node, what)?;
    if found < Duration::from_millis(1) {
        let message = format!("`{what}` must be at least a millisecond");
        sink.error(code::DURATION, node.span.clone(), message);
        return None;
    }
    Some(found)
}
