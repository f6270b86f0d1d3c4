//! What commands print: data to stdout, talk to stderr, and lists as tables, JSON lines or a
//! template's text.
//!
//! Nothing here panics when the reader goes away (`println!` would), and nothing that came from
//! outside reaches a terminal with its control characters. What the fields of a JSON line are
//! called is `wire`'s affair.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::error::CommandError;
use super::template::{Fields, Template};

/// A longer message helps nobody, and a hostile argument may be a hundred kilobytes.
const MAX_MESSAGE: usize = 4000;

/// Characters of an argument that an error repeats.
const MAX_QUOTED: usize = 80;

/// Docker's lists show that much of an ID.
const SHORT_ID: usize = 12;

/// Writes data to stdout; colours are removed when it is no terminal.
///
/// # Errors
/// [`super::error::ErrorKind::OutputClosed`] when the reader went away.
pub fn print(text: &str) -> Result<(), CommandError> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// One line of data.
///
/// # Errors
/// As [`print`].
pub fn print_line(line: &str) -> Result<(), CommandError> {
    print(&format!("{line}\n"))
}

/// One JSON object on a line of its own.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    print_line(&to_json(value)?)
}

/// A line of talk to stderr. That nobody listens is no reason to fail.
pub fn talk(line: &str) {
    talk_raw(&format!("{}\n", printable(line)));
}

/// Text that is ready for a terminal, to stderr.
pub fn talk_raw(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// # Errors
/// When the value cannot be written as JSON (a bug, but one to report rather than to panic on).
pub fn to_json(value: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string(value)
        .map_err(|error| CommandError::failed("failed to write JSON").caused_by(error.to_string()))
}

/// The text with everything escaped that could steer a terminal or fake another line.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if safe.len() >= MAX_MESSAGE {
            safe.push('…');
            break;
        }
        if steers_terminal(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// An argument as an error repeats it: escaped, and cut when it is long.
#[must_use]
pub fn quoted(text: &str) -> String {
    if text.is_empty() {
        // As a shell has it: nothing between two marks would be overlooked.
        return String::from("`''`");
    }
    let mut short: String = text.chars().take(MAX_QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{}`", printable(&short))
}

/// The first 12 characters of an ID, without the `sha256:` of an image's.
#[must_use]
pub fn short_id(id: &str) -> String {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.chars().take(SHORT_ID).collect()
}

/// At most `width` characters, the last one an ellipsis when some were cut.
#[must_use]
pub fn truncated(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Colours the labels that open a line of [`CommandError::render`]; no colour is needed to
/// understand it.
#[must_use]
pub fn paint_labels(text: &str) -> String {
    let error = anstyle::AnsiColor::Red.on_default().bold();
    let hint = anstyle::AnsiColor::Cyan.on_default().bold();
    text.split_inclusive('\n')
        .map(|line| {
            for (label, style) in [("error:", error), ("hint:", hint)] {
                if let Some(rest) = line.strip_prefix(label) {
                    return format!("{style}{label}{style:#}{rest}");
                }
            }
            line.to_owned()
        })
        .collect()
}

/// Colours a plan's lines by their sign; no colour is needed to understand them.
#[must_use]
pub fn paint_plan(text: &str) -> String {
    use anstyle::AnsiColor::{Cyan, Green, Red, Yellow};
    let paint = |line: &str| {
        let body = line.trim_start();
        let color = match (line.len() - body.len(), body.chars().next()) {
            (1 | 5, Some('+')) => Green,
            (1 | 5, Some('-')) | (1, Some('!')) => Red,
            (1, Some('~')) => Yellow,
            (1, Some('>')) => Cyan,
            _ => return line.to_owned(),
        };
        let style = color.on_default();
        let (line, end) = line.split_at(line.trim_end_matches('\n').len());
        format!("{style}{line}{style:#}{end}")
    };
    text.split_inclusive('\n').map(paint).collect()
}

/// Control characters, and those that turn the direction of the text after them.
fn steers_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How a list is printed: what `--format` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Table,
    Json,
    Template(Template),
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            other if other.contains("{{") => Template::parse(other).map(Format::Template),
            _ => Err(String::from("use `table`, `json` or a text with `{{.Field}}`")),
        }
    }
}

/// The flags that every list has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListArgs {
    /// Print names or IDs alone, one a line
    #[arg(short, long, conflicts_with = "format")]
    pub quiet: bool,

    /// `table`, `json` (one object a line) or a text such as `{{.ID}}`
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true
    )]
    pub format: Format,

    /// Do not shorten IDs and texts, and leave out no column where the terminal is narrow
    #[arg(long)]
    pub no_trunc: bool,
}

impl ListArgs {
    /// Refuses a template that names a field which the list does not have, before anybody is asked.
    ///
    /// # Errors
    /// Naming that field, and those that there are.
    pub fn check(&self, columns: &[Column], json: &[&str]) -> Result<(), CommandError> {
        match &self.format {
            Format::Template(template) => template.check(Fields { columns, json }),
            Format::Table | Format::Json => Ok(()),
        }
    }
}

/// A column of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub heading: &'static str,
    /// What a template calls it, beside the field names of the JSON.
    pub field: &'static str,
}

/// One row: what `-q` prints, the cells of the table, and the object of `--format json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: String,
    pub cells: Vec<String>,
    pub json: String,
}

/// A list, ready to be printed in each of its forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub columns: &'static [Column],
    /// Field names of the JSON.
    pub fields: &'static [&'static str],
    /// Headings of the columns that a narrow terminal goes without, the least missed one first.
    pub spare: &'static [&'static str],
    pub rows: Vec<Row>,
}

/// Characters that are left of the last column before another one is given up for it.
const LAST_COLUMN: usize = 24;

/// Spaces between two columns.
const GAP: u16 = 3;

impl Listing {
    /// # Errors
    /// When [`ListArgs::check`] refuses the template, or the output was closed.
    pub fn print(&self, args: &ListArgs) -> Result<(), CommandError> {
        let text = self.render(args)?;
        let is_table = match &args.format {
            Format::Table => !args.quiet,
            Format::Json => false,
            Format::Template(template) => template.is_table(),
        };
        match terminal_width() {
            Some(width) if is_table && !args.no_trunc => {
                // The columns of a template are its writer's choice.
                let text = match args.format {
                    Format::Table => self.table_within(width),
                    Format::Json | Format::Template(_) => text,
                };
                print(&fitted(&text, width))
            }
            _ => print(&text),
        }
    }

    /// The table, without as many of the spare columns as it takes.
    fn table_within(&self, width: usize) -> String {
        let mut kept: Vec<usize> = (0..self.columns.len()).collect();
        for heading in self.spare {
            if self.needs(&kept) <= width {
                break;
            }
            kept.retain(|&at| self.columns[at].heading != *heading);
        }
        let headings: Vec<&str> = kept.iter().map(|&at| self.columns[at].heading).collect();
        let cells = |row: &Row| kept.iter().filter_map(|&at| row.cells.get(at).cloned()).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        table(&headings, rows.iter().map(Vec::as_slice))
    }

    /// The least width in which these columns make sense.
    fn needs(&self, kept: &[usize]) -> usize {
        let width_of = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(at));
            let widest = cells.map(|cell| printable(cell).chars().count()).max();
            widest.unwrap_or(0).max(self.columns[at].heading.len())
        };
        let Some((last, others)) = kept.split_last() else {
            return 0;
        };
        let others: usize = others.iter().map(|&at| width_of(at) + usize::from(GAP)).sum();
        others + width_of(*last).min(LAST_COLUMN)
    }

    fn render(&self, args: &ListArgs) -> Result<String, CommandError> {
        args.check(self.columns, self.fields)?;
        if args.quiet {
            return Ok(self
                .rows
                .iter()
                .map(|row| format!("{}\n", printable(&row.key)))
                .collect());
        }
        match &args.format {
            Format::Table => {
                let headings: Vec<&str> = self.columns.iter().map(|column| column.heading).collect();
                Ok(table(&headings, self.rows.iter().map(|row| row.cells.as_slice())))
            }
            Format::Json => Ok(self.rows.iter().map(|row| format!("{}\n", row.json)).collect()),
            Format::Template(template) => self.render_template(template),
        }
    }

    fn render_template(&self, template: &Template) -> Result<String, CommandError> {
        let names = Fields {
            columns: self.columns,
            json: self.fields,
        };
        if !template.is_table() {
            return self
                .rows
                .iter()
                .map(|row| Ok(format!("{}\n", template.fill(names, row)?)))
                .collect();
        }
        let lines = self
            .rows
            .iter()
            .map(|row| {
                Ok(template
                    .fill(names, row)?
                    .split('\t')
                    .map(str::to_owned)
                    .collect())
            })
            .collect::<Result<Vec<Vec<String>>, CommandError>>()?;
        let headings = template.headings(names);
        Ok(table(&headings, lines.iter().map(Vec::as_slice)))
    }
}

/// The columns of the terminal that stdout is; `None` when it is none.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width.0)).filter(|&width| width > 0)
}

/// Each line cut where the terminal ends: a row that runs on is harder to read than one that is cut.
fn fitted(text: &str, width: usize) -> String {
    text.lines()
        .map(|line| format!("{}\n", truncated(line, width)))
        .collect()
}

/// Docker's kind of table: no borders, three spaces between columns, no space at a line's end.
pub fn table<'a>(headings: &[impl AsRef<str>], rows: impl Iterator<Item = &'a [String]>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings.iter().map(|heading| heading.as_ref().to_owned()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut() {
        column
            .set_padding((0, GAP))
            .set_cell_alignment(CellAlignment::Left);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Bytes of a container's output to our own, as they are.
///
/// # Errors
/// Of the write, also when the reader went away.
pub fn copy_raw(mut to: impl io::Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column {
            heading: "CONTAINER ID",
            field: "ID",
        },
        Column {
            heading: "NAMES",
            field: "Names",
        },
    ];

    fn listing() -> Listing {
        let row = |id: &str, name: &str| Row {
            key: id.into(),
            cells: vec![id.into(), name.into()],
            json: format!(r#"{{"v":1,"id":"{id}ffff","name":"{name}","exit_code":null}}"#),
        };
        Listing {
            columns: COLUMNS,
            fields: &["v", "id", "name", "exit_code"],
            spare: &["CONTAINER ID"],
            rows: vec![row("0123456789ab", "web"), row("ba9876543210", "a-longer-name")],
        }
    }

    fn rendered(format: &str) -> Result<String, CommandError> {
        listing().render(&ListArgs {
            format: format.parse().map_err(CommandError::usage)?,
            ..ListArgs::default()
        })
    }

    #[test]
    fn a_table_has_upper_case_headings_and_three_spaces() {
        assert_eq!(
            rendered("table").unwrap(),
            "CONTAINER ID   NAMES\n0123456789ab   web\nba9876543210   a-longer-name\n"
        );
    }

    #[test]
    fn an_empty_table_still_has_its_headings() {
        assert_eq!(table(&["A", "B"], std::iter::empty()), "A   B\n");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = rendered("json").unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with(r#"{"v":1,"id":"0123456789abffff""#), "{text}");
    }

    #[test]
    fn quiet_prints_keys_alone() {
        let args = ListArgs {
            quiet: true,
            ..ListArgs::default()
        };
        assert_eq!(listing().render(&args).unwrap(), "0123456789ab\nba9876543210\n");
    }

    #[test]
    fn a_template_takes_docker_names_and_json_names() {
        assert_eq!(
            rendered(r"{{.ID}}\t{{ .Names }}|{{.name}}{{.ExitCode}}").unwrap(),
            "0123456789ab\tweb|web\nba9876543210\ta-longer-name|a-longer-name\n"
        );
        assert_eq!(
            rendered(r"table {{.Names}}\t{{.ID}}").unwrap(),
            "NAMES           CONTAINER ID\nweb             0123456789ab\na-longer-name   ba9876543210\n"
        );
        assert!(rendered("{{json .}}").unwrap().starts_with(r#"{"v":1,"#));
    }

    #[test]
    fn a_format_that_is_none_is_refused() {
        for bad in [
            "yaml",
            "",
            "JSON",
            "{{.Nope}}",
            "{{.ID",
            "{{range .}}",
            "{{}}",
            "{{.}}",
        ] {
            let error = rendered(bad).unwrap_err();
            assert_eq!(error.kind().exit().0, 1, "{bad}");
        }
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let row = [String::from("a\u{1b}[2J\nb\u{202e}")];
        assert_eq!(
            table(&["X"], std::iter::once(row.as_slice())),
            "X\na\\u{1b}[2J\\nb\\u{202e}\n"
        );
    }

    #[test]
    fn a_hostile_argument_is_cut() {
        assert!(quoted(&"x".repeat(100_000)).len() < 100);
        assert!(printable(&"x".repeat(100_000)).len() < 4100);
        assert_eq!(quoted("a\tb"), "`a\\tb`");
        assert_eq!(quoted(""), "`''`");
    }

    #[test]
    fn a_line_ends_where_the_terminal_ends() {
        assert_eq!(fitted("NAME   X\nabcdef   y\n", 8), "NAME   X\nabcdef …\n");
    }

    #[test]
    fn a_narrow_terminal_goes_without_what_can_be_spared() {
        assert_eq!(listing().table_within(28), rendered("table").unwrap());
        assert_eq!(listing().table_within(27), "NAMES\nweb\na-longer-name\n");
        assert_eq!(listing().table_within(5), "NAMES\nweb\na-longer-name\n");
    }

    #[test]
    fn ids_are_shortened_as_docker_does() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(truncated("abcdef", 4), "abc…");
        assert_eq!(truncated("abcd", 4), "abcd");
    }
}
