//! What is wrong in a manifest, and where. Collected, never thrown: a person mends all of it at once.
//!
//! How a diagnostic looks on a terminal is `caret`'s affair.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::model::conceal;

/// The short, stable name of each kind of finding: the `code` of `validate --format json`.
pub(crate) mod code {
    /// The file cannot be read, or is not a text.
    pub const FILE: &str = "file";
    /// Not YAML.
    pub const SYNTAX: &str = "syntax";
    /// Too large, too deep, too many aliases.
    pub const LIMIT: &str = "limit";
    pub const DUPLICATE_KEY: &str = "duplicate-key";
    pub const UNKNOWN_KEY: &str = "unknown-key";
    /// Known to Compose or to the design, not supported by this version.
    pub const UNSUPPORTED: &str = "unsupported";
    pub const MISSING_KEY: &str = "missing-key";
    /// A text where a number should be, and the like.
    pub const TYPE: &str = "type";
    /// Right type, wrong value.
    pub const VALUE: &str = "value";
    pub const NAME: &str = "name";
    pub const CRON: &str = "cron";
    pub const TIMEZONE: &str = "timezone";
    pub const DURATION: &str = "duration";
    pub const INTERPOLATION: &str = "interpolation";
    pub const ENV_FILE: &str = "env-file";
    /// A volume or network that is not declared, or a path that is not there.
    pub const REFERENCE: &str = "reference";
    pub const POLICY: &str = "policy";
    /// The same job twice.
    pub const DUPLICATE_JOB: &str = "duplicate-job";
    /// Two places that say different things.
    pub const CONFLICT: &str = "conflict";
    /// Allowed, but probably not meant.
    pub const ADVICE: &str = "advice";
    /// An entry of another program's file that became no job, or a job that has no form there.
    pub const NOT_CARRIED_OVER: &str = "not-carried-over";
    /// A part of an entry that its job lacks.
    pub const LOST: &str = "lost";
    /// A part of an entry that is not quite what it was.
    pub const CHANGED: &str = "changed";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One finding. Line and column are those of the wrong key, or of the wrong value when the key is
/// right; both count from 1, columns in characters, and are 0 where a file has no place for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: &'static str,
    pub message: String,
    /// Relative to the watched directory.
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub end_line: u32,
    /// Exclusive.
    pub end_column: u32,
    /// What stands beside the caret.
    pub label: Option<String>,
    pub help: Option<String>,
    /// The same place in bytes, for the caret; `None` without a place.
    pub span: Option<Range<usize>>,
}

impl Diagnostic {
    /// A finding about a file as a whole.
    #[must_use]
    pub fn of_file(
        severity: Severity,
        code: &'static str,
        file: &str,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity,
            code,
            message: message.into(),
            file: file.to_owned(),
            line: 0,
            column: 0,
            end_line: 0,
            end_column: 0,
            label: None,
            help: None,
            span: None,
        }
    }

    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub(crate) fn label(&mut self, label: impl Into<String>) -> &mut Diagnostic {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Diagnostic {
        self.help = Some(help.into());
        self
    }
}

/// More of one file help nobody, and a hostile file could have a hundred thousand.
const MAX_FOUND: usize = 100;

/// Collects the diagnostics of one file.
pub(crate) struct Sink<'f> {
    pub file: &'f str,
    /// What is being read, for messages: "job `nightly-backup`"; empty outside of jobs.
    pub subject: String,
    text: &'f str,
    /// Byte at which each line begins.
    lines: Vec<usize>,
    found: Vec<Diagnostic>,
    /// [`MAX_FOUND`], but for a report that must be whole.
    most: usize,
    /// Beyond `most`: the last of them, and how many there are.
    surplus: Option<(Diagnostic, usize)>,
}

impl<'f> Sink<'f> {
    pub fn new(file: &'f str, text: &'f str) -> Sink<'f> {
        let mut lines = vec![0];
        lines.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Sink {
            file,
            subject: String::new(),
            text,
            lines,
            found: Vec::new(),
            most: MAX_FOUND,
            surplus: None,
        }
    }

    /// Keeps everything: for a report of what could not be carried over, which a person works through.
    pub fn whole(file: &'f str, text: &'f str) -> Sink<'f> {
        Sink {
            most: usize::MAX,
            ..Sink::new(file, text)
        }
    }

    pub fn error(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Severity::Error, code, span, message.into())
    }

    pub fn warning(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Severity::Warning, code, span, message.into())
    }

    /// An error that has no place in the text.
    pub fn file_error(&mut self, code: &'static str, message: impl Into<String>) -> &mut Diagnostic {
        self.keep(Diagnostic::of_file(Severity::Error, code, self.file, message))
    }

    pub fn text(&self) -> &'f str {
        self.text
    }

    pub fn has_errors(&self) -> bool {
        self.surplus.is_some() || self.found.iter().any(Diagnostic::is_error)
    }

    /// Whether further findings are only counted: no need to think about their help.
    pub fn is_full(&self) -> bool {
        self.found.len() >= self.most
    }

    /// Beyond the bound a finding is only counted.
    fn keep(&mut self, found: Diagnostic) -> &mut Diagnostic {
        let at = self.found.len();
        if at < self.most {
            self.found.push(found);
            return &mut self.found[at];
        }
        let count = self.surplus.take().map_or(0, |(_, count)| count);
        &mut self.surplus.insert((found, count + 1)).0
    }

    /// The 1-based line of a byte.
    pub fn line_of(&self, byte: usize) -> u32 {
        number(self.lines.partition_point(|&start| start <= byte))
    }

    pub fn source(&self, span: Range<usize>) -> &'f str {
        self.text.get(span).unwrap_or_default()
    }

    /// No message quotes one of these values, whoever wrote it.
    pub fn conceal(&mut self, given: &BTreeSet<String>) {
        if given.is_empty() {
            return;
        }
        for diagnostic in &mut self.found {
            let Diagnostic {
                message, label, help, ..
            } = diagnostic;
            for words in [Some(message), label.as_mut(), help.as_mut()]
                .into_iter()
                .flatten()
            {
                *words = conceal(words, given.iter().map(String::as_str));
            }
        }
    }

    /// In the order of the text, each once: an anchored value is lowered at each of its aliases.
    pub fn finish(self) -> Vec<Diagnostic> {
        let mut found = self.found;
        found.sort_by(|a, b| {
            let place = |d: &Diagnostic| (d.span.as_ref().map(|span| (span.start, span.end)), d.severity);
            place(a).cmp(&place(b)).then_with(|| a.message.cmp(&b.message))
        });
        found.dedup();
        if let Some((_, count)) = self.surplus {
            let message = format!("{count} more findings are not shown");
            found.push(Diagnostic::of_file(
                Severity::Error,
                code::LIMIT,
                self.file,
                message,
            ));
        }
        found
    }

    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Range<usize>,
        message: String,
    ) -> &mut Diagnostic {
        let start = span.start.min(self.text.len());
        let end = span.end.clamp(start, self.text.len());
        let (line, column) = self.place(start);
        let (end_line, end_column) = self.place(end);
        self.keep(Diagnostic {
            severity,
            code,
            message,
            file: self.file.to_owned(),
            line,
            column,
            end_line,
            end_column,
            label: None,
            help: None,
            span: Some(start..end),
        })
    }

    fn place(&self, byte: usize) -> (u32, u32) {
        // Columns are counted along the line, which may be the whole file.
        if self.is_full() {
            return (0, 0);
        }
        let line = self.line_of(byte);
        let start = self.lines.get(line as usize - 1).copied().unwrap_or(0);
        let column = self
            .text
            .get(start..byte)
            .map_or(0, |before| before.chars().count());
        (line, number(column) + 1)
    }
}

/// A manifest is at most 1 MiB.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
