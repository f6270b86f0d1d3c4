//! Diagnostics as people read them: message, place, the line itself with a caret, one line of help.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Severity};

/// Bytes of a line that is still drawn.
const MAX_LINE: usize = 1000;

/// Everything that was found, and a closing line that counts it. `texts` are the manifests by the
/// path that diagnostics name; `prefix` is what a person would put before that path to open it
/// (`schedules.d/`). Empty when nothing was found.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], texts: &BTreeMap<&str, &str>, prefix: &str, color: bool) -> String {
    let mut out = pictures(diagnostics, texts, prefix, color);
    if let Some(line) = closing_line(diagnostics, texts.len()) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// As [`render`], without the closing line: each diagnostic and an empty line.
#[must_use]
pub fn pictures(
    diagnostics: &[Diagnostic],
    texts: &BTreeMap<&str, &str>,
    prefix: &str,
    color: bool,
) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let text = texts.get(diagnostic.file.as_str()).copied();
        out.push_str(&render_one(diagnostic, text, prefix, color));
        out.push_str("\n\n");
    }
    out
}

/// `error: found 2 errors in 1 of 9 manifest files`; `None` when nothing was found.
#[must_use]
pub fn closing_line(diagnostics: &[Diagnostic], files: usize) -> Option<String> {
    let count = |severity: Severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let severity = if errors > 0 {
        Severity::Error
    } else {
        Severity::Warning
    };
    let bad: BTreeSet<&str> = diagnostics
        .iter()
        .filter(|d| d.severity == severity)
        .map(|d| d.file.as_str())
        .collect();
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(counted(errors, "error"));
    }
    if warnings > 0 {
        parts.push(counted(warnings, "warning"));
    }
    if parts.is_empty() {
        return None;
    }
    Some(format!(
        "{}: found {} in {} of {}",
        severity.as_str(),
        parts.join(" and "),
        bad.len(),
        counted(files.max(bad.len()), "manifest file"),
    ))
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// One diagnostic, without a line feed at its end.
fn render_one(diagnostic: &Diagnostic, text: Option<&str>, prefix: &str, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let path = format!("{prefix}{}", diagnostic.file);
    let title = level.primary_title(printable(&diagnostic.message));
    let shown = text
        .zip(diagnostic.span.clone())
        .and_then(|(text, span)| line_of(text, span));
    let mut group = match shown {
        Some((line, span)) => {
            let mut caret = AnnotationKind::Primary.span(span);
            if let Some(label) = &diagnostic.label {
                caret = caret.label(printable(label));
            }
            let source = Snippet::source(line).line_start(diagnostic.line as usize);
            title.element(source.path(path).annotation(caret))
        }
        _ if diagnostic.line > 0 => title.element(
            Origin::path(path)
                .line(diagnostic.line as usize)
                .char_column(diagnostic.column as usize),
        ),
        _ => title.element(Origin::path(path)),
    };
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let drawn = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
    house_style(&drawn)
}

/// The line where a span begins, and the part of the span that lies in it: a wrong mapping is pointed
/// at where it begins. `None` for a line that no screen could show.
fn line_of(text: &str, span: Range<usize>) -> Option<(&str, Range<usize>)> {
    let (before, after) = text.split_at_checked(span.start)?;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = span.start + after.find('\n').unwrap_or(after.len());
    let line = text.get(start..end)?.trim_end_matches('\r');
    let end = start + line.len();
    let caret = span.start.min(end) - start..span.end.min(end) - start;
    (line.len() <= MAX_LINE).then_some((line, caret))
}

/// Text from a manifest must not move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let kept = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(kept)
        })
        .collect()
}

/// The picture is set in by one column, and help follows the caret without an empty bar between.
fn house_style(drawn: &str) -> String {
    let lines: Vec<&str> = drawn.lines().collect();
    let mut out = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        let next_is_help = lines
            .get(at + 1)
            .is_some_and(|next| bare(next).trim_start().starts_with("= "));
        if next_is_help && bare(line).trim() == "|" {
            continue;
        }
        if at == 0 {
            out.push((*line).to_owned());
        } else {
            out.push(format!(" {line}"));
        }
    }
    out.join("\n")
}

/// A line without its colours.
fn bare(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            out.push(c);
        }
    }
    out
}
