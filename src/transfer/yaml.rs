//! YAML as a person would have written it: keys in a chosen order, comments, short lists on one line,
//! scripts as blocks.
//!
//! Every text that any YAML reader could take for something else (`on`, `0644`, `1_000`, `12:30`) is
//! quoted: readers of YAML 1.1 and 1.2 see the same document. It writes and reads nothing.

use std::fmt::Write as _;

/// A value, its mappings in the order in which they are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

/// A line with more is not read at one glance.
const WIDTH: usize = 96;

impl Yaml {
    pub fn text(text: impl Into<String>) -> Yaml {
        Yaml::Text(text.into())
    }

    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Yaml {
        Yaml::List(texts.into_iter().map(Yaml::text).collect())
    }

    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Yaml)>) -> Yaml {
        Yaml::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    }

    /// The entries of a mapping as block lines, each set in by `indent` spaces.
    pub fn write_block(&self, indent: usize, out: &mut String) {
        match self {
            Yaml::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    write_entry(key, value, indent, out);
                }
            }
            Yaml::List(items) if !items.is_empty() => {
                for item in items {
                    write_item(item, indent, out);
                }
            }
            other => {
                let _ = writeln!(out, "{}{}", " ".repeat(indent), flow(other));
            }
        }
    }
}

impl From<serde_json::Value> for Yaml {
    fn from(value: serde_json::Value) -> Yaml {
        match value {
            serde_json::Value::Null => Yaml::Null,
            serde_json::Value::Bool(value) => Yaml::Bool(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Yaml::Int(whole),
                None => Yaml::Text(number.to_string()),
            },
            serde_json::Value::String(text) => Yaml::Text(text),
            serde_json::Value::Array(items) => Yaml::List(items.into_iter().map(Yaml::from).collect()),
            serde_json::Value::Object(map) => {
                Yaml::map(map.into_iter().map(|(key, value)| (key, Yaml::from(value))))
            }
        }
    }
}

/// A whole document.
pub(crate) fn document(value: &Yaml) -> String {
    let mut out = String::new();
    value.write_block(0, &mut out);
    out
}

/// `key: value`, at its indentation.
pub(crate) fn write_entry(key: &str, value: &Yaml, indent: usize, out: &mut String) {
    let _ = write!(out, "{}{}:", " ".repeat(indent), scalar(key));
    match value {
        Yaml::Null => out.push('\n'),
        Yaml::Text(text) if is_block(text) => write_literal(text, indent + 2, out),
        value if fits(value, indent + key.len()) => {
            let _ = writeln!(out, " {}", flow(value));
        }
        value => {
            out.push('\n');
            value.write_block(indent + 2, out);
        }
    }
}

fn write_item(item: &Yaml, indent: usize, out: &mut String) {
    let lead = " ".repeat(indent);
    match item {
        Yaml::Text(text) if is_block(text) => {
            let _ = write!(out, "{lead}-");
            write_literal(text, indent + 2, out);
        }
        Yaml::Map(entries) if !entries.is_empty() => {
            let mut block = String::new();
            item.write_block(indent + 2, &mut block);
            let _ = write!(out, "{lead}- {}", block.trim_start_matches(' '));
        }
        item => {
            let _ = writeln!(out, "{lead}- {}", flow(item));
        }
    }
}

/// Whether a value reads better on the line of its key.
fn fits(value: &Yaml, used: usize) -> bool {
    match value {
        Yaml::List(items) => {
            items.iter().all(|item| match item {
                Yaml::Text(text) => !is_block(text),
                Yaml::List(inner) => inner.is_empty(),
                Yaml::Map(inner) => inner.is_empty(),
                Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) => true,
            }) && used + flow(value).len() <= WIDTH
        }
        Yaml::Map(entries) => entries.is_empty(),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Text(_) => true,
    }
}

/// The value on one line.
fn flow(value: &Yaml) -> String {
    match value {
        Yaml::Null => String::from("null"),
        Yaml::Bool(value) => value.to_string(),
        Yaml::Int(value) => value.to_string(),
        Yaml::Text(text) => scalar(text),
        Yaml::List(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| match item {
                    Yaml::Text(text) => quoted(text),
                    other => flow(other),
                })
                .collect();
            format!("[{}]", items.join(", "))
        }
        Yaml::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), flow(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Whether no reader of any YAML could take it for anything but this text.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan"];
    let is_duration = text.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(|digits| {
        !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
    });
    let starts_well =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') || text.starts_with("./");
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '@' | ':');
    is_duration
        || (starts_well
            && text.chars().all(inner)
            && !text.ends_with(':')
            && !WORDS.contains(&text.to_ascii_lowercase().as_str()))
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) > 0xffff => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// What may stand in a document as it is: nothing that steers a terminal, reorders a line or breaks it.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        && !matches!(u32::from(c), 0xfffe | 0xffff)
}

/// Whether a text of several lines can be a literal block. Empty lines at its end cannot be told from those
/// that somebody puts behind it.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || is_printable(c))
        && text.lines().all(|line| !line.ends_with(' '))
}

fn write_literal(text: &str, indent: usize, out: &mut String) {
    let chomping = if text.ends_with('\n') { "" } else { "-" };
    let _ = writeln!(out, " |{chomping}");
    for line in text.lines() {
        if line.is_empty() {
            out.push('\n');
        } else {
            let _ = writeln!(out, "{}{line}", " ".repeat(indent));
        }
    }
}

/// A comment of one line, whatever is in the text.
pub(crate) fn comment(text: &str) -> String {
    let safe: String = text
        .chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .take(160)
        .collect();
    format!("# {}", safe.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::reader::{Kind, Node, Sink, Value, parse};

    /// The document as our own reader sees it.
    fn read(text: &str) -> Yaml {
        let mut sink = Sink::new("test", text);
        let node = parse(text, &mut sink).unwrap_or_else(|| panic!("unreadable: {text}"));
        let found = sink.finish();
        assert!(found.is_empty(), "{found:?}\n{text}");
        value(&node)
    }

    fn value(node: &Node) -> Yaml {
        match &node.value {
            Value::Seq(items) => Yaml::List(items.iter().map(value).collect()),
            Value::Map(entries) => Yaml::map(
                entries
                    .iter()
                    .map(|entry| (entry.key.text.clone(), value(&entry.value))),
            ),
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => Yaml::Null,
                Kind::Bool(value) => Yaml::Bool(value),
                Kind::Int(value) => Yaml::Int(value),
                Kind::Float(_) => panic!("a float: {}", scalar.text),
                Kind::Text => Yaml::Text(scalar.text.clone()),
            },
        }
    }

    #[test]
    fn it_reads_as_a_person_would_have_written_it() {
        let job = Yaml::map([
            ("image", Yaml::text("busybox:1.37")),
            ("command", Yaml::texts(["sh", "-c", "echo \"$$HOME\""])),
            ("user", Yaml::text("1000")),
            ("script", Yaml::text("one\n  two\n\nthree\n")),
            (
                "triggers",
                Yaml::map([(
                    "schedule",
                    Yaml::List(vec![Yaml::map([
                        ("cron", Yaml::text("30 2 * * *")),
                        ("timezone", Yaml::text("Europe/Berlin")),
                    ])]),
                )]),
            ),
            ("timeout", Yaml::text("90s")),
        ]);
        let expected = "\
image: busybox:1.37
command: [\"sh\", \"-c\", \"echo \\\"$$HOME\\\"\"]
user: \"1000\"
script: |
  one
    two

  three
triggers:
  schedule:
    - cron: \"30 2 * * *\"
      timezone: Europe/Berlin
timeout: 90s
";
        assert_eq!(document(&job), expected);
    }

    #[test]
    fn what_another_reader_would_misread_is_quoted() {
        for text in [
            "on", "No", "0644", "1_000", "12:30", "1e3", ".5", "~", "", "-", "a: b", "x:", "*/5", "NULL",
            "0x1f", "=", "<<", "!x", "@daily", "1m30s", "0s", " a", "#x",
        ] {
            assert!(scalar(text).starts_with('"'), "{text}");
        }
        for text in ["shop", "./backups", "/srv/x", "Europe/Berlin", "5m", "1h"] {
            assert_eq!(scalar(text), text);
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,20}",
            "[a-c \n\t#:-]{0,20}",
            any::<String>().prop_map(|text| text.replace('\0', "")),
        ]
    }

    fn values() -> impl Strategy<Value = Yaml> {
        let leaf = prop_oneof![
            Just(Yaml::Null),
            any::<bool>().prop_map(Yaml::Bool),
            any::<i32>().prop_map(|value| Yaml::Int(value.into())),
            texts().prop_map(Yaml::Text),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Yaml::List),
                prop::collection::btree_map(texts().prop_filter("merge key", |key| key != "<<"), inner, 0..4)
                    .prop_map(Yaml::map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in values()) {
            let value = Yaml::map([("top", value)]);
            prop_assert_eq!(read(&document(&value)), value);
        }
    }
}
