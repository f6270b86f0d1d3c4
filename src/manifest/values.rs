//! Typed values out of nodes. Each reader reports what is wrong at the value itself and gives `None`.

use std::time::Duration;

use crate::model::Text;
use crate::schedule;

use super::diagnostic::{Diagnostic, Sink, code};
use super::interpolate::inside;
use super::keys::Section;
use super::yaml::{Entry, Key, Kind, Node, Scalar, Value};

/// What Compose allows wherever keys are its own.
pub(crate) fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}

/// A scalar's text for a message: never a secret, never a screenful.
pub(crate) fn shown(scalar: &Scalar) -> String {
    if scalar.sensitive {
        return "(masked)".to_owned();
    }
    let mut text: String = scalar.text.chars().take(60).collect();
    if text.len() < scalar.text.len() {
        text.push('…');
    }
    text
}

pub(crate) fn to_text(scalar: &Scalar) -> Text {
    if scalar.sensitive {
        Text::sensitive(scalar.as_text())
    } else {
        Text::plain(scalar.as_text())
    }
}

/// "`user` must be a text" and what stands there instead.
pub(crate) fn wrong_type<'s>(
    sink: &'s mut Sink<'_>,
    node: &Node,
    what: &str,
    must_be: &str,
) -> &'s mut Diagnostic {
    sink.error(
        code::TYPE,
        node.span.clone(),
        format!("`{what}` must be {must_be}"),
    )
    .label(format!("this is {}", node.noun()))
}

pub(crate) fn scalar<'n>(
    sink: &mut Sink<'_>,
    node: &'n Node,
    what: &str,
    must_be: &str,
) -> Option<&'n Scalar> {
    if let Value::Scalar(scalar) = &node.value
        && scalar.kind != Kind::Null
    {
        return (!scalar.broken).then_some(scalar);
    }
    wrong_type(sink, node, what, must_be);
    None
}

/// A text. Numbers and booleans are refused as in Compose, with the quotes that are missing.
pub(crate) fn text<'n>(sink: &mut Sink<'_>, node: &'n Node, what: &str) -> Option<&'n Scalar> {
    let scalar = scalar(sink, node, what, "a text")?;
    if scalar.kind == Kind::Text {
        return Some(scalar);
    }
    let help = format!("put it into quotes: `\"{}\"`", shown(scalar));
    wrong_type(sink, node, what, "a text").help(help);
    None
}

/// A text with something in it.
pub(crate) fn filled_text(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<String> {
    let scalar = text(sink, node, what)?;
    if scalar.text.is_empty() {
        sink.error(code::VALUE, node.span.clone(), format!("`{what}` is empty"));
        return None;
    }
    Some(scalar.text.clone())
}

pub(crate) fn flag(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<bool> {
    let found = scalar(sink, node, what, "`true` or `false`")?;
    match (found.kind, found.text.as_str()) {
        (Kind::Bool(value), _) => Some(value),
        // Compose reads quoted and replaced texts too.
        (Kind::Text, "true") => Some(true),
        (Kind::Text, "false") => Some(false),
        (_, word) => {
            let hint = match word.to_ascii_lowercase().as_str() {
                "yes" | "y" | "on" => Some("true"),
                "no" | "n" | "off" => Some("false"),
                _ => None,
            };
            let diagnostic = wrong_type(sink, node, what, "`true` or `false`");
            if let Some(hint) = hint {
                diagnostic.help(format!("this word is a text in YAML 1.2; write `{hint}`"));
            }
            None
        }
    }
}

/// A whole number; also a text of digits, which is what a replaced variable leaves.
pub(crate) fn integer(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<i64> {
    let found = scalar(sink, node, what, "a whole number")?;
    let value = match found.kind {
        Kind::Int(value) => Some(value),
        Kind::Text => found.text.parse().ok(),
        Kind::Null | Kind::Bool(_) | Kind::Float(_) => None,
    };
    if value.is_none() {
        wrong_type(sink, node, what, "a whole number");
    }
    value
}

pub(crate) fn count(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<u32> {
    let value = integer(sink, node, what)?;
    let count = u32::try_from(value).ok();
    if count.is_none() {
        sink.error(
            code::VALUE,
            node.span.clone(),
            format!("`{what}` must be between 0 and {}", u32::MAX),
        );
    }
    count
}

/// A duration with its unit: `90s`, `1h30m`.
pub(crate) fn duration(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<Duration> {
    let found = scalar(sink, node, what, "a duration such as `90s` or `1h30m`")?;
    if matches!(found.kind, Kind::Bool(_)) {
        wrong_type(sink, node, what, "a duration such as `90s` or `1h30m`");
        return None;
    }
    match schedule::parse_duration(&found.text) {
        Ok(value) => Some(value),
        Err(error) => {
            let at = inside(found, &node.span, &error.span, sink);
            // Message and help quote the text.
            if found.sensitive {
                sink.error(code::DURATION, at, format!("`{what}` is not a duration"));
            } else {
                let diagnostic = sink.error(code::DURATION, at, format!("`{what}`: {}", error.message));
                diagnostic.help = error.help;
            }
            None
        }
    }
}

/// A duration of at least one second.
pub(crate) fn whole_seconds(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<Duration> {
    let value = duration(sink, node, what)?;
    if value.as_secs() == 0 || value.subsec_nanos() != 0 {
        sink.error(
            code::DURATION,
            node.span.clone(),
            format!("`{what}` must be whole seconds, at least one"),
        );
        return None;
    }
    Some(value)
}

/// Bytes as Compose writes them: a number, or a number with `b`, `k`, `m`, `g` (`kb`, `mb`, `gb`),
/// in powers of 1024.
pub(crate) fn bytes(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<u64> {
    const MUST_BE: &str = "a number of bytes such as `128m` or `1gb`";
    let found = scalar(sink, node, what, MUST_BE)?;
    let value = match found.kind {
        Kind::Bool(_) | Kind::Null => None,
        Kind::Int(value) => u64::try_from(value).ok(),
        Kind::Float(_) | Kind::Text => parse_bytes(&found.text),
    };
    if value.is_none() {
        sink.error(
            code::VALUE,
            node.span.clone(),
            format!("`{what}` must be {MUST_BE}, not `{}`", shown(found)),
        );
    }
    value
}

fn parse_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let value = number.parse::<f64>().ok()? * (1_u64 << shift) as f64;
    (value.is_finite() && value < u64::MAX as f64).then_some(value as u64)
}

/// CPUs (`0.5`) in billionths.
pub(crate) fn nano_cpus(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<u64> {
    let found = scalar(sink, node, what, "a number such as `0.5`")?;
    let value = match found.kind {
        Kind::Bool(_) | Kind::Null => None,
        Kind::Int(value) => Some(value as f64),
        Kind::Float(value) => Some(value),
        Kind::Text => found.text.parse::<f64>().ok(),
    };
    let nanos = value
        .filter(|cpus| cpus.is_finite() && *cpus >= 0.0 && *cpus < 1e6)
        .map(|cpus| (cpus * 1e9).round() as u64);
    if nanos.is_none() {
        sink.error(
            code::VALUE,
            node.span.clone(),
            format!(
                "`{what}` must be a number of CPUs such as `0.5`, not `{}`",
                shown(found)
            ),
        );
    }
    nanos
}

pub(crate) fn list<'n>(sink: &mut Sink<'_>, node: &'n Node, what: &str) -> Option<&'n [Node]> {
    if let Value::Seq(items) = &node.value {
        return Some(items);
    }
    let diagnostic = wrong_type(sink, node, what, "a list");
    if let Value::Scalar(scalar) = &node.value
        && scalar.kind != Kind::Null
        && !scalar.sensitive
        && scalar.text.len() < 40
    {
        diagnostic.help(format!("write `[\"{}\"]`", scalar.text));
    }
    None
}

pub(crate) fn mapping<'n>(sink: &mut Sink<'_>, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
    if let Value::Map(entries) = &node.value {
        return Some(entries);
    }
    wrong_type(sink, node, what, "a mapping");
    None
}

/// A mapping whose absence is an empty one.
pub(crate) fn optional_mapping<'n>(sink: &mut Sink<'_>, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
    if node.is_null() {
        return Some(&[]);
    }
    mapping(sink, node, what)
}

/// The entries of a mapping that have a row in `section`; the others are reported.
pub(crate) fn fields<'n>(
    sink: &mut Sink<'_>,
    node: &'n Node,
    what: &str,
    section: &'static Section,
) -> Vec<&'n Entry> {
    let entries = mapping(sink, node, what).unwrap_or_default();
    rows_of(sink, entries, section)
}

/// As [`fields`], and its absence is an empty one.
pub(crate) fn optional_fields<'n>(
    sink: &mut Sink<'_>,
    node: &'n Node,
    what: &str,
    section: &'static Section,
) -> Vec<&'n Entry> {
    let entries = optional_mapping(sink, node, what).unwrap_or_default();
    rows_of(sink, entries, section)
}

fn rows_of<'n>(sink: &mut Sink<'_>, entries: &'n [Entry], section: &'static Section) -> Vec<&'n Entry> {
    let known = |entry: &&Entry| is_field(sink, &entry.key, section);
    entries.iter().filter(known).collect()
}

/// Whether a key has a row in `section`; reports it when it should have one.
pub(crate) fn is_field(sink: &mut Sink<'_>, key: &Key, section: &'static Section) -> bool {
    let known = section.has(&key.text);
    if !known && !is_extension(&key.text) {
        unknown_key(sink, key, section.of, &section.names(), section.later);
    }
    known
}

/// A list of texts.
pub(crate) fn texts<'n>(sink: &mut Sink<'_>, node: &'n Node, what: &str) -> Vec<&'n Scalar> {
    let item = format!("{what}[]");
    let items = list(sink, node, what).unwrap_or_default();
    items.iter().filter_map(|node| text(sink, node, &item)).collect()
}

/// A list of filled texts, as their own strings.
pub(crate) fn text_list(sink: &mut Sink<'_>, node: &Node, what: &str) -> Vec<String> {
    let item = format!("{what}[]");
    let items = list(sink, node, what).unwrap_or_default();
    let mut out = Vec::new();
    for text in items.iter().filter_map(|node| filled_text(sink, node, &item)) {
        // Twice the same is once, as in Compose.
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

/// As [`text_list`], or one text alone.
pub(crate) fn text_or_list(sink: &mut Sink<'_>, node: &Node, what: &str) -> Vec<String> {
    match &node.value {
        Value::Scalar(_) => filled_text(sink, node, what).into_iter().collect(),
        Value::Seq(_) | Value::Map(_) => text_list(sink, node, what),
    }
}

/// A whole number within these bounds.
pub(crate) fn integer_within(
    sink: &mut Sink<'_>,
    node: &Node,
    what: &str,
    bounds: std::ops::RangeInclusive<i64>,
) -> Option<i64> {
    let value = integer(sink, node, what)?;
    if !bounds.contains(&value) {
        let message = format!("`{what}` must be between {} and {}", bounds.start(), bounds.end());
        sink.error(code::VALUE, node.span.clone(), message);
        return None;
    }
    Some(value)
}

/// As [`bytes`], or `-1` for no limit.
pub(crate) fn bytes_or_unlimited(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<i64> {
    if let Value::Scalar(scalar) = &node.value
        && scalar.text == "-1"
    {
        return Some(-1);
    }
    bytes(sink, node, what).and_then(|value| i64::try_from(value).ok())
}

/// One of a closed set of words.
pub(crate) fn word<T: Copy>(sink: &mut Sink<'_>, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
    let found = text(sink, node, what)?;
    let known = words.iter().find(|(word, _)| *word == found.text);
    if let Some((_, value)) = known {
        return Some(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let message = format!("`{what}` cannot be `{}`", shown(found));
    let diagnostic = sink.error(code::VALUE, node.span.clone(), message);
    match nearest(&found.text, names.iter().copied()) {
        Some(near) => diagnostic.help(format!("a similar value exists: `{near}`")),
        None => diagnostic.help(format!("one of {}", quoted(&names))),
    };
    None
}

pub(crate) fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// A key that does not belong where it stands. `of` says where: "`triggers`", "a job". Keys of `later`
/// are known, but not supported by this version.
pub(crate) fn unknown_key(sink: &mut Sink<'_>, key: &Key, of: &str, known: &[&str], later: &[&str]) {
    let subject = if sink.subject.is_empty() {
        String::new()
    } else {
        format!(" in {}", sink.subject)
    };
    let shown: String = key.text.chars().take(60).collect();
    let is_full = sink.is_full();
    if later.contains(&key.text.as_str()) {
        sink.error(
            code::UNSUPPORTED,
            key.span.clone(),
            format!("`{shown}`{subject} is known, but not supported yet"),
        )
        .label("this version cannot carry it out, and nothing is silently dropped");
        return;
    }
    let diagnostic = sink
        .error(
            code::UNKNOWN_KEY,
            key.span.clone(),
            format!("unknown key `{shown}`{subject}"),
        )
        .label(format!("not a key of {of}"));
    if is_full {
        return;
    }
    let candidates = known.iter().chain(later).copied();
    if let Some(near) = nearest(&key.text, candidates) {
        diagnostic.help(format!("a key with a similar name exists: `{near}`"));
    } else if known.len() <= 12 {
        diagnostic.help(format!("keys of {of}: {}", quoted(known)));
    }
}

/// The word that was probably meant.
pub(crate) fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if text.len() > 60 {
        return None;
    }
    let folded = text.to_ascii_lowercase().replace('-', "_");
    words
        .map(|word| {
            (
                strsim::damerau_levenshtein(&folded, &word.replace('-', "_")),
                word,
            )
        })
        .filter(|(distance, word)| *distance <= (word.len().max(text.len()) / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("128m", 128 << 20),
            ("1gb", 1 << 30),
            ("1.5k", 1536),
            ("7", 7),
            ("2 KiB", 2048),
            ("3b", 3),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1.2.3k", "99999999999p", "1e3"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let words = || ["schedule", "manual", "working_dir"].into_iter();
        assert_eq!(nearest("shedule", words()), Some("schedule"));
        assert_eq!(nearest("working-dir", words()), Some("working_dir"));
        assert_eq!(nearest("image", words()), None);
    }
}
