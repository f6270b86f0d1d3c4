//! The small part of Docker's `--format` templates that lists need: `{{.Field}}`, `{{json .}}`,
//! `\t` and `\n`, and a leading `table`.
//!
//! No functions, conditions or loops: who needs those reads `--format json`.

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
    Field(String),
    /// `{{json .}}`
    WholeRow,
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
    pub fn check(&self, names: Fields<'_>) -> Result<(), String> {
        for part in &self.parts {
            if let Part::Field(field) = part
                && names.find(field).is_none()
            {
                return Err(format!(
                    "there is no field {} here; there are: {}",
                    quoted(field),
                    names.list()
                ));
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
                Part::WholeRow => text.push_str(&row.json),
                Part::Field(field) => match names.find(field) {
                    Some(Found::Column(at)) => {
                        text.push_str(&printable(row.cells.get(at).map_or("", String::as_str)));
                    }
                    Some(Found::Json(name)) => {
                        let object = match &mut json {
                            Some(object) => object,
                            none => none.insert(parse_row(&row.json)?),
                        };
                        text.push_str(&printable(&plain(object.get(name))));
                    }
                    None => {}
                },
            }
        }
        Ok(text)
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
                Part::Field(field) => {
                    let heading = match names.find(field) {
                        Some(Found::Column(at)) => names.columns[at].heading.to_owned(),
                        Some(Found::Json(name)) => name.replace('_', " ").to_uppercase(),
                        None => String::new(),
                    };
                    set_if_empty(&mut headings, heading);
                }
                Part::WholeRow => set_if_empty(&mut headings, String::from("JSON")),
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
    fn find(self, field: &str) -> Option<Found<'a>> {
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
    if let Some(rest) = action.strip_prefix("json ")
        && rest.trim() == "."
    {
        return Ok(Part::WholeRow);
    }
    match action.strip_prefix('.') {
        Some(field) if !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Ok(Part::Field(field.to_owned()))
        }
        _ => Err(format!(
            "{} is not supported in a format; use `{{{{.Field}}}}` or `{{{{json .}}}}`",
            quoted(action)
        )),
    }
}

/// `\t` and `\n`, which a shell passes on as two characters.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn parse_row(json: &str) -> Result<serde_json::Map<String, Value>, CommandError> {
    serde_json::from_str(json)
        .map_err(|error| CommandError::failed("failed to fill the format").caused_by(error.to_string()))
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
