//! The small part of Docker's `--format` templates that lists and `inspect` need: `{{.Field}}`,
//! `{{.field.inner}}`, `{{json .}}`, `{{json .Field}}`, `\t` and `\n`, and a leading `table`.
//!
//! No other functions, conditions or loops: who needs those reads `--format json`.

use serde_json::Value;

use super::error::CommandError;
use super::output::{Column, Row, printable, quoted};

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    table: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// A field, and what lies in it.
    Field(Vec<String>),
    /// The same as JSON; `{{json .}}`, the whole row, is the empty path.
    Json(Vec<String>),
}

impl Part {
    fn path(&self) -> &[String] {
        match self {
            Part::Literal(_) => &[],
            Part::Field(path) | Part::Json(path) => path,
        }
    }
}

/// The names that a list's templates may use: those of its columns, and those of its JSON.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    pub columns: &'a [Column],
    pub json: &'a [&'a str],
}

impl Template {
    /// # Errors
    /// When braces do not match or hold something else than a field; the text says which.
    pub fn parse(text: &str) -> Result<Template, String> {
        let (table, mut rest) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let mut parts = Vec::new();
        while let Some(open) = rest.find("{{") {
            parts.push(Part::Literal(unescape(&rest[..open])));
            let inner = &rest[open + 2..];
            let close = inner
                .find("}}")
                .ok_or_else(|| String::from("a `{{` is not closed by `}}`"))?;
            parts.push(parse_action(inner[..close].trim())?);
            rest = &inner[close + 2..];
        }
        parts.push(Part::Literal(unescape(rest)));
        Ok(Template { table, parts })
    }

    /// Whether it began with `table `: its columns are then parted by tabs.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.table
    }

    /// # Errors
    /// When it names a field that the list does not have.
    pub fn check(&self, names: Fields<'_>) -> Result<(), CommandError> {
        for field in self.parts.iter().filter_map(|part| part.path().first()) {
            if names.find(field).is_none() {
                return Err(
                    CommandError::usage(format!("there is no field {} here", quoted(field)))
                        .hint(format!("fields: {}", names.list())),
                );
            }
        }
        Ok(())
    }

    /// The text of one row.
    ///
    /// # Errors
    /// When the row's own JSON cannot be read back.
    pub fn fill(&self, names: Fields<'_>, row: &Row) -> Result<String, CommandError> {
        let mut json = None;
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Json(path) if path.is_empty() => text.push_str(&row.json),
                Part::Field(path) | Part::Json(path) => {
                    let first = path.first().map_or("", String::as_str);
                    let is_text = matches!(part, Part::Field(_));
                    match names.find(first) {
                        Some(Found::Column(at)) if is_text && path.len() == 1 => {
                            text.push_str(&printable(row.cells.get(at).map_or("", String::as_str)));
                        }
                        _ => {
                            let object = match &mut json {
                                Some(object) => object,
                                none => none.insert(parse_row(&row.json)?),
                            };
                            text.push_str(&shown(object, path, is_text));
                        }
                    }
                }
            }
        }
        Ok(text)
    }

    /// The text of one object that is no row of a list.
    ///
    /// # Errors
    /// When it names a field that the object does not have.
    pub fn fill_object(&self, object: &Value) -> Result<String, CommandError> {
        let names: Vec<&str> = object
            .as_object()
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default();
        self.check(Fields {
            columns: &[],
            json: &names,
        })?;
        Ok(self
            .parts
            .iter()
            .map(|part| match part {
                Part::Literal(literal) => literal.clone(),
                Part::Field(path) => shown(object, path, true),
                Part::Json(path) => shown(object, path, false),
            })
            .collect())
    }

    /// Headings of a `table` template: of each column's first field.
    #[must_use]
    pub fn headings(&self, names: Fields<'_>) -> Vec<String> {
        let mut headings = vec![String::new()];
        for part in &self.parts {
            match part {
                Part::Literal(literal) => {
                    headings.extend(literal.matches('\t').map(|_| String::new()));
                }
                Part::Field(path) | Part::Json(path) => {
                    let heading = match path.last().and_then(|field| names.find(field)) {
                        Some(Found::Column(at)) => names.columns[at].heading.to_owned(),
                        Some(Found::Json(name)) => name.replace('_', " ").to_uppercase(),
                        None => path
                            .last()
                            .map_or_else(|| String::from("JSON"), |name| name.to_uppercase()),
                    };
                    set_if_empty(&mut headings, heading);
                }
            }
        }
        headings
    }
}

enum Found<'a> {
    Column(usize),
    Json(&'a str),
}

impl<'a> Fields<'a> {
    /// A name as the JSON spells it is the JSON's field, whole; else a column's words win.
    fn find(self, field: &str) -> Option<Found<'a>> {
        if let Some(name) = self.json.iter().find(|name| **name == field) {
            return Some(Found::Json(name));
        }
        let wanted = normalised(field);
        if let Some(at) = self
            .columns
            .iter()
            .position(|column| normalised(column.field) == wanted)
        {
            return Some(Found::Column(at));
        }
        self.json
            .iter()
            .find(|name| normalised(name) == wanted)
            .map(|name| Found::Json(name))
    }

    fn list(self) -> String {
        let mut names: Vec<&str> = self.columns.iter().map(|column| column.field).collect();
        for name in self.json {
            if !names.iter().any(|known| normalised(known) == normalised(name)) {
                names.push(name);
            }
        }
        names.join(" ")
    }
}

/// `ExitCode`, `exit_code` and `exitcode` are one name.
fn normalised(name: &str) -> String {
    name.chars()
        .filter(|c| *c != '_')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

fn parse_action(action: &str) -> Result<Part, String> {
    let unsupported = || {
        format!(
            "{} is not supported in a format; use `{{{{.Field}}}}` or `{{{{json .}}}}`",
            quoted(action)
        )
    };
    if let Some(rest) = action.strip_prefix("json ") {
        return match rest.trim() {
            "." => Ok(Part::Json(Vec::new())),
            path => parse_path(path).map(Part::Json).ok_or_else(unsupported),
        };
    }
    parse_path(action).map(Part::Field).ok_or_else(unsupported)
}

/// `.Field` or `.field.inner`.
fn parse_path(text: &str) -> Option<Vec<String>> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let names: Vec<&str> = text.strip_prefix('.')?.split('.').collect();
    names
        .iter()
        .all(|name| is_name(name))
        .then(|| names.into_iter().map(str::to_owned).collect())
}

/// `\t` and `\n`, which a shell passes on as two characters.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn parse_row(json: &str) -> Result<Value, CommandError> {
    serde_json::from_str(json)
        .map_err(|error| CommandError::failed("failed to fill the format").caused_by(error.to_string()))
}

/// What lies at a path: as text, or as JSON.
fn shown(object: &Value, path: &[String], is_text: bool) -> String {
    let found = path.iter().try_fold(object, |value, name| inner(value, name));
    if is_text {
        printable(&plain(found))
    } else {
        found.map_or_else(|| String::from("null"), Value::to_string)
    }
}

fn inner<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) => object.get(name).or_else(|| {
            let wanted = normalised(name);
            object
                .iter()
                .find(|(key, _)| normalised(key) == wanted)
                .map(|(_, value)| value)
        }),
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn set_if_empty(headings: &mut [String], heading: String) {
    if let Some(last) = headings.last_mut()
        && last.is_empty()
    {
        *last = heading;
    }
}
