//! `.env` and env files, as Compose reads them: comments, `export`, quotes, and variables in values.
//!
//! Their values are secrets as far as we know: nothing here puts one into a message.

use std::collections::BTreeMap;

use super::interpolate::{Issue, Variables, What, replace};

/// What is wrong in a line, without the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvError {
    /// 1-based.
    pub line: u32,
    pub message: &'static str,
}

/// The variables of a text; later ones win. A name without `=` takes its value from `variables`, and is
/// left out when there is none. `variables` win over earlier lines inside of values, as in Compose.
///
/// # Errors
/// Every malformed line.
pub(crate) fn parse(
    text: &str,
    variables: &Variables<'_>,
) -> Result<BTreeMap<String, String>, Vec<EnvError>> {
    let mut errors = Vec::new();
    let mut rest = Rest { text, line: 1 };
    let mut variables = variables.for_lines();
    while let Some((line, parsed)) = rest.statement() {
        let value = parsed.and_then(|(key, raw)| Ok((raw.resolve(&key, &variables)?, key)));
        match value {
            Ok((Some(value), key)) => drop(variables.earlier.insert(key, value)),
            Ok((None, _)) => {}
            Err(message) => errors.push(EnvError { line, message }),
        }
    }
    let found = variables.earlier;
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// Compose's `format: raw`: `KEY=VALUE` lines taken as they are.
pub(crate) fn parse_raw(text: &str) -> Result<BTreeMap<String, String>, Vec<EnvError>> {
    let mut errors = Vec::new();
    let mut found = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        match content.split_once('=') {
            Some((key, value)) if is_key(key) => drop(found.insert(key.to_owned(), value.to_owned())),
            _ => errors.push(EnvError {
                line,
                message: NOT_AN_ASSIGNMENT,
            }),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

const NOT_AN_ASSIGNMENT: &str = "a line is `NAME=value`, with letters, digits, `_`, `.` and `-` in its name";

enum Raw<'t> {
    Inherited,
    Literal(String),
    Template(&'t str),
    /// Double-quoted: escapes first, then variables.
    Escaped(String),
}

impl Raw<'_> {
    fn resolve(&self, key: &str, variables: &Variables<'_>) -> Result<Option<String>, &'static str> {
        let template = match self {
            Raw::Inherited => return Ok(variables.get(key).map(|(value, _)| value.to_owned())),
            Raw::Literal(value) => return Ok(Some(value.clone())),
            Raw::Template(template) => template,
            Raw::Escaped(template) => template.as_str(),
        };
        let mut issues = Vec::new();
        let replaced = replace(template, variables, &mut issues);
        match issues.iter().find(|issue| !matches!(issue.what, What::Unset(_))) {
            None => Ok(Some(replaced.text)),
            Some(Issue { what, .. }) => Err(match what {
                What::Required { .. } => "a variable that this value requires is not set",
                What::TooDeep | What::TooLarge => "the variables of this value grow too large",
                _ => "`$` begins no variable in this value; put it into single quotes",
            }),
        }
    }
}

/// The part of the text that is not read yet.
struct Rest<'t> {
    text: &'t str,
    line: u32,
}

type Statement<'t> = (u32, Result<(String, Raw<'t>), &'static str>);

impl<'t> Rest<'t> {
    /// The next assignment and the line where it begins.
    fn statement(&mut self) -> Option<Statement<'t>> {
        loop {
            if self.text.is_empty() {
                return None;
            }
            let line = self.line;
            let content = first_line(self.text).trim_start();
            if content.is_empty() || content.starts_with('#') {
                self.skip_line();
                continue;
            }
            let content = content
                .strip_prefix("export")
                .filter(|rest| rest.starts_with([' ', '\t']))
                .map_or(content, str::trim_start);
            return Some((line, self.assignment(content)));
        }
    }

    fn assignment(&mut self, content: &'t str) -> Result<(String, Raw<'t>), &'static str> {
        let Some((key, value)) = content.split_once(['=', ':']) else {
            self.skip_line();
            let key = content.split('#').next().unwrap_or_default().trim();
            return if is_key(key) {
                Ok((key.to_owned(), Raw::Inherited))
            } else {
                Err(NOT_AN_ASSIGNMENT)
            };
        };
        let key = key.trim().to_owned();
        if !is_key(&key) {
            self.skip_line();
            return Err(NOT_AN_ASSIGNMENT);
        }
        let value = value.trim_start_matches([' ', '\t']);
        let raw = match value.chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(value, quote)?,
            _ => {
                self.skip_line();
                Raw::Template(without_comment(value))
            }
        };
        Ok((key, raw))
    }

    /// A quoted value may go over several lines. `value` is a part of `self.text`.
    fn quoted(&mut self, value: &'t str, quote: char) -> Result<Raw<'t>, &'static str> {
        let start = value.as_ptr() as usize - self.text.as_ptr() as usize + 1;
        let body = &self.text[start..];
        let Some(length) = closing_quote(body, quote) else {
            self.skip_line();
            return Err("a quote that is not closed");
        };
        let value = &body[..length];
        let after = &body[length + 1..];
        self.line += count_lines(&self.text[..start + length + 1]);
        self.text = after;
        let rest = first_line(after).trim();
        self.skip_line();
        if !rest.is_empty() && !rest.starts_with('#') {
            return Err("more text after a quoted value");
        }
        Ok(if quote == '\'' {
            Raw::Literal(value.replace("\\'", "'"))
        } else {
            Raw::Escaped(unescape(value))
        })
    }

    fn skip_line(&mut self) {
        self.text = match self.text.find('\n') {
            Some(at) => {
                self.line += 1;
                &self.text[at + 1..]
            }
            None => "",
        };
    }
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default().trim_end_matches('\r')
}

fn count_lines(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

fn closing_quote(body: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(at);
        }
    }
    None
}

/// An escaped dollar becomes `$$`, which the template reads as one.
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

/// ` #` begins a comment in a value without quotes.
fn without_comment(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    let end = [" #", "\t#"]
        .iter()
        .filter_map(|mark| value.find(mark))
        .min()
        .unwrap_or(value.len());
    value[..end].trim_end()
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && !key.starts_with(|c: char| c.is_ascii_digit())
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let listed = BTreeMap::from([("OUTER".to_owned(), "outer".to_owned())]);
        let unlisted = BTreeSet::new();
        let found = parse(text, &Variables::new(&listed, &unlisted)).expect(text);
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    fn check_error(text: &str, lines: &[u32]) {
        let (listed, unlisted) = (BTreeMap::new(), BTreeSet::new());
        let errors = parse(text, &Variables::new(&listed, &unlisted)).unwrap_err();
        let found: Vec<u32> = errors.iter().map(|error| error.line).collect();
        assert_eq!(found, lines, "{text:?}");
    }

    #[test]
    fn lines_of_every_form() {
        check("", &[]);
        check(
            "# c\n\nA=1\r\nexport B = two words # c\n",
            &[("A", "1"), ("B", "two words")],
        );
        check(
            "A='$x \\n' # c\nB=\"l1\\nl2 \\$5 \\\"q\\\"\"",
            &[("A", "$x \\n"), ("B", "l1\nl2 $5 \"q\"")],
        );
        check("A=\"1\n2\"\nB=3", &[("A", "1\n2"), ("B", "3")]);
        check("A=x#y\nB=#c\nC=", &[("A", "x#y"), ("B", ""), ("C", "")]);
        check("A: yaml", &[("A", "yaml")]);
    }

    #[test]
    fn values_may_use_variables_and_names_may_inherit() {
        check(
            "A=1\nB=${A}2\nC=${NO:-d}\nOUTER\nUNKNOWN\n",
            &[("A", "1"), ("B", "12"), ("C", "d"), ("OUTER", "outer")],
        );
        check("OUTER=mine\nX=$OUTER", &[("OUTER", "mine"), ("X", "outer")]);
    }

    #[test]
    fn malformed_lines_are_named_by_number_alone() {
        check_error("A=1\nnot a name\nB='open\n1X=2\n", &[2, 3, 4]);
        check_error("A=\"x\" y\nP=5$\n", &[1, 2]);
    }
}
