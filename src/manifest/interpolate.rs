//! `$VAR` and `${VAR…}` as Compose replaces them: `:-` `-` `:?` `?` `:+` `+`, nested, and `$$`.
//!
//! Values come from the `.env` beside the file and from the variables that the operator lists, never
//! from the rest of the scheduler's environment: a writer of manifests must not read the daemon's
//! secrets. A text that holds such a value is marked sensitive.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::diagnostic::{Sink, code};
use super::yaml::{Entry, Kind, Node, Scalar, Value};

/// `${A:-${B:-…}}` nests in earnest two or three deep.
const MAX_NESTING: usize = 16;
/// Bytes that all replacements of one file may add up to: `${A}${A}…` of a large value is a bomb.
const MAX_OUTPUT: usize = 8 << 20;

/// Where the values come from, in Compose's order: the environment before `.env`.
pub(crate) struct Variables<'a> {
    pub listed: &'a BTreeMap<String, String>,
    pub dot_env: BTreeMap<String, String>,
    /// Earlier lines of the env file that is being read.
    pub earlier: BTreeMap<String, String>,
    /// Names that are set in the scheduler's environment, but not listed.
    pub unlisted: &'a BTreeSet<String>,
    /// `COMPOSE_PROJECT_NAME`, no secret.
    pub project: Option<String>,
    budget: Cell<usize>,
    /// Every sensitive value that was put into a text of this file.
    given: RefCell<BTreeSet<String>>,
}

impl<'a> Variables<'a> {
    pub fn new(listed: &'a BTreeMap<String, String>, unlisted: &'a BTreeSet<String>) -> Variables<'a> {
        Variables {
            listed,
            dot_env: BTreeMap::new(),
            earlier: BTreeMap::new(),
            unlisted,
            project: None,
            budget: Cell::new(MAX_OUTPUT),
            given: RefCell::default(),
        }
    }

    /// The same, to read an env file with: its lines see the lines before them.
    pub fn for_lines(&self) -> Variables<'a> {
        Variables {
            listed: self.listed,
            dot_env: self.dot_env.clone(),
            earlier: BTreeMap::new(),
            unlisted: self.unlisted,
            project: self.project.clone(),
            budget: Cell::new(self.budget.get()),
            given: RefCell::default(),
        }
    }

    /// Takes `bytes` from what this file may still read and replace; false when it is used up.
    pub fn spend(&self, bytes: usize) -> bool {
        let left = self.budget.get().checked_sub(bytes);
        self.budget.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Every sensitive value that was put into a text of this file so far.
    pub fn given(&self) -> BTreeSet<String> {
        self.given.borrow().clone()
    }

    /// The value, and whether it is sensitive.
    pub fn get(&self, name: &str) -> Option<(&str, bool)> {
        let value = self.listed.get(name).or_else(|| self.dot_env.get(name));
        if let Some(value) = value.or_else(|| self.earlier.get(name)) {
            return Some((value, true));
        }
        match &self.project {
            Some(project) if name == "COMPOSE_PROJECT_NAME" => Some((project, false)),
            _ => None,
        }
    }
}

/// A text with its variables replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub text: String,
    pub sensitive: bool,
}

/// Something wrong in a template; the range is in the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issue {
    pub at: Range<usize>,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A `$` that begins nothing.
    Stray,
    /// `${` without its `}`.
    Open,
    /// `${A B}` and the like.
    Malformed,
    /// Not set, and no default: Compose warns and takes an empty text.
    Unset(String),
    /// `${VAR:?message}`.
    Required {
        name: String,
        message: String,
    },
    TooDeep,
    TooLarge,
}

/// Replaces every variable of `template`. What could not be replaced becomes an empty text and an
/// issue.
pub(crate) fn replace(template: &str, variables: &Variables<'_>, issues: &mut Vec<Issue>) -> Replaced {
    let mut out = Replaced::default();
    expand(template, 0, 0, variables, issues, &mut out);
    out
}

/// A text of a Compose file as it is beside that `.env`: `None` when a variable of it is not set there, or the
/// `.env` cannot be read.
pub(crate) fn beside(dot_env: &str, template: &str) -> Option<String> {
    let (listed, unlisted) = (BTreeMap::new(), BTreeSet::new());
    let values = super::dotenv::parse(dot_env, &Variables::new(&listed, &unlisted)).ok()?;
    let mut issues = Vec::new();
    let replaced = replace(template, &Variables::new(&values, &unlisted), &mut issues);
    issues.is_empty().then_some(replaced.text)
}

/// Whether every variable in a text is written as Compose reads them, set or not.
pub fn is_template(text: &str) -> bool {
    let (none, unlisted) = (BTreeMap::new(), BTreeSet::new());
    let mut issues = Vec::new();
    replace(text, &Variables::new(&none, &unlisted), &mut issues);
    let is_of_value = |what: &What| matches!(what, What::Unset(_) | What::Required { .. });
    issues.iter().all(|issue| is_of_value(&issue.what))
}

/// `base` is where `template` begins in the whole, for the ranges of issues.
fn expand(
    template: &str,
    base: usize,
    depth: usize,
    variables: &Variables<'_>,
    issues: &mut Vec<Issue>,
    out: &mut Replaced,
) {
    let mut rest = 0;
    while let Some(found) = template[rest..].find('$') {
        let dollar = rest + found;
        out.text.push_str(&template[rest..dollar]);
        let after = &template[dollar + 1..];
        let name_len = name_length(after);
        if after.starts_with('$') {
            out.text.push('$');
            rest = dollar + 2;
        } else if name_len > 0 {
            let at = base + dollar..base + dollar + 1 + name_len;
            let value = take(&after[..name_len], at, variables, issues);
            push(value, out, base + dollar, variables, issues);
            rest = dollar + 1 + name_len;
        } else if after.starts_with('{') {
            let Some(length) = closing_brace(after) else {
                issue(issues, base + dollar..base + template.len(), What::Open);
                return;
            };
            let inner = &after[1..length];
            braced(inner, base + dollar, depth, variables, issues, out);
            rest = dollar + 1 + length + 1;
        } else {
            issue(issues, base + dollar..base + dollar + 1, What::Stray);
            rest = dollar + 1;
        }
    }
    out.text.push_str(&template[rest..]);
}

/// `NAME`, or `NAME` with an operator and its word. `dollar` is where its `$` stands.
fn braced(
    inner: &str,
    dollar: usize,
    depth: usize,
    variables: &Variables<'_>,
    issues: &mut Vec<Issue>,
    out: &mut Replaced,
) {
    let whole = dollar..dollar + inner.len() + 3;
    if depth >= MAX_NESTING {
        return issue(issues, whole, What::TooDeep);
    }
    let name_len = name_length(inner);
    let (name, rest) = inner.split_at(name_len);
    if name.is_empty() {
        return issue(issues, whole, What::Malformed);
    }
    if rest.is_empty() {
        let value = take(name, whole, variables, issues);
        return push(value, out, dollar, variables, issues);
    }
    let (empty_counts_as_unset, operator_and_word) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut chars = operator_and_word.chars();
    let operator = chars.next();
    let word = chars.as_str();
    let word_base = dollar + 2 + inner.len() - word.len();
    let value = variables
        .get(name)
        .filter(|(value, _)| !(empty_counts_as_unset && value.is_empty()));
    let expand_word = |out: &mut Replaced, issues: &mut Vec<Issue>| {
        expand(word, word_base, depth + 1, variables, issues, out);
    };
    match (operator, value) {
        (Some('-' | '?'), Some((value, sensitive))) => {
            let value = Replaced {
                text: value.to_owned(),
                sensitive,
            };
            push(value, out, dollar, variables, issues);
        }
        (Some('-'), None) | (Some('+'), Some(_)) => expand_word(out, issues),
        (Some('+'), None) => {}
        (Some('?'), None) => {
            let mut message = Replaced::default();
            expand_word(&mut message, issues);
            let name = name.to_owned();
            let message = if message.sensitive {
                String::new()
            } else {
                message.text
            };
            issue(issues, whole, What::Required { name, message });
        }
        _ => issue(issues, whole, What::Malformed),
    }
}

fn take(name: &str, at: Range<usize>, variables: &Variables<'_>, issues: &mut Vec<Issue>) -> Replaced {
    match variables.get(name) {
        Some((value, sensitive)) => Replaced {
            text: value.to_owned(),
            sensitive,
        },
        None => {
            issue(issues, at, What::Unset(name.to_owned()));
            Replaced::default()
        }
    }
}

fn push(value: Replaced, out: &mut Replaced, at: usize, variables: &Variables<'_>, issues: &mut Vec<Issue>) {
    if !variables.spend(value.text.len()) {
        return issue(issues, at..at + 1, What::TooLarge);
    }
    out.text.push_str(&value.text);
    out.sensitive |= value.sensitive;
    if value.sensitive && !value.text.is_empty() {
        variables.given.borrow_mut().insert(value.text);
    }
}

fn issue(issues: &mut Vec<Issue>, at: Range<usize>, what: What) {
    issues.push(Issue { at, what });
}

/// Length of the variable's name that `text` begins with.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

/// Where the brace that `text` begins with is closed; only `${` opens another.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 1;
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The tree with all its values (not its keys) replaced, as in Compose. Issues go to `sink`.
pub(crate) fn tree(node: &Node, variables: &Variables<'_>, sink: &mut Sink<'_>) -> Node {
    let value = match &node.value {
        Value::Seq(items) => Value::Seq(items.iter().map(|item| tree(item, variables, sink)).collect()),
        Value::Map(entries) => Value::Map(
            entries
                .iter()
                .map(|entry| Entry {
                    key: entry.key.clone(),
                    value: tree(&entry.value, variables, sink),
                })
                .collect(),
        ),
        Value::Scalar(scalar) if scalar.kind == Kind::Text && scalar.text.contains('$') => {
            Value::Scalar(replace_scalar(scalar, &node.span, variables, sink))
        }
        Value::Scalar(scalar) => Value::Scalar(scalar.clone()),
    };
    Node {
        value,
        span: node.span.clone(),
    }
}

fn replace_scalar(
    scalar: &Scalar,
    span: &Range<usize>,
    variables: &Variables<'_>,
    sink: &mut Sink<'_>,
) -> Scalar {
    let mut issues = Vec::new();
    let replaced = replace(&scalar.text, variables, &mut issues);
    let mut broken = false;
    for issue in issues {
        let at = inside(scalar, span, &issue.at, sink);
        broken |= !matches!(issue.what, What::Unset(_));
        report(issue.what, at, variables, sink);
    }
    Scalar {
        kind: Kind::Text,
        sensitive: replaced.sensitive,
        verbatim: false,
        broken,
        text: replaced.text,
    }
}

/// The place of `part` of a scalar's text, where the source shows it; else of the whole scalar.
pub(crate) fn inside(
    scalar: &Scalar,
    span: &Range<usize>,
    part: &Range<usize>,
    sink: &Sink<'_>,
) -> Range<usize> {
    if !scalar.verbatim || part.end > scalar.text.len() {
        return span.clone();
    }
    let quoted = sink.source(span.clone()).starts_with(['"', '\'']) && span.len() == scalar.text.len() + 2;
    let start = span.start + usize::from(quoted);
    start + part.start..start + part.end
}

fn report(what: What, at: Range<usize>, variables: &Variables<'_>, sink: &mut Sink<'_>) {
    match what {
        What::Stray => sink
            .error(code::INTERPOLATION, at, "`$` begins no variable")
            .help("write `$$` for a dollar sign"),
        What::Open => sink
            .error(code::INTERPOLATION, at, "`${` is not closed")
            .help("write `$$` for a dollar sign"),
        What::Malformed => sink
            .error(code::INTERPOLATION, at, "this is no variable that Compose reads")
            .help(
                "`${NAME}`, `${NAME:-default}`, `${NAME:?message}` or `${NAME:+word}`; `$$` is a dollar sign",
            ),
        What::TooDeep => sink.error(
            code::LIMIT,
            at,
            format!("variables nested deeper than {MAX_NESTING} levels"),
        ),
        What::TooLarge => sink.error(
            code::LIMIT,
            at,
            format!(
                "the variables of this file add up to more than {} MiB",
                MAX_OUTPUT >> 20
            ),
        ),
        What::Unset(name) => {
            let diagnostic = sink.warning(
                code::INTERPOLATION,
                at,
                format!("variable `{name}` is not set; an empty text takes its place"),
            );
            diagnostic.help(help_for(&name, variables))
        }
        What::Required { name, message } => {
            let colon = if message.is_empty() { "" } else { ": " };
            let help = help_for(&name, variables);
            sink.error(
                code::INTERPOLATION,
                at,
                format!("required variable `{name}` is not set{colon}{message}"),
            )
            .help(help)
        }
    };
}

fn help_for(name: &str, variables: &Variables<'_>) -> String {
    if variables.unlisted.contains(name) {
        not_listed(name)
    } else {
        format!("set it in the `.env` beside this file, or give a default: `${{{name}:-…}}`")
    }
}

pub(crate) fn not_listed(name: &str) -> String {
    format!(
        "`{name}` is set in the scheduler's own environment, but not listed: the operator's file may list \
         it under `interpolate`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: &str) {
        let listed = BTreeMap::from([("LISTED".to_owned(), "l".to_owned())]);
        let unlisted = BTreeSet::new();
        let mut variables = Variables::new(&listed, &unlisted);
        variables.dot_env = BTreeMap::from([
            ("A".to_owned(), "a".to_owned()),
            ("EMPTY".to_owned(), String::new()),
            ("LISTED".to_owned(), "from .env".to_owned()),
        ]);
        variables.project = Some("shop".to_owned());
        let mut issues = Vec::new();
        let replaced = replace(template, &variables, &mut issues);
        let mut shown = replaced.text;
        if replaced.sensitive {
            shown.push_str(" (sensitive)");
        }
        for issue in issues {
            let what = match issue.what {
                What::Unset(name) => format!("unset {name}"),
                What::Required { name, message } => format!("required {name} `{message}`"),
                other => format!("{other:?}"),
            };
            shown.push_str(&format!(" [{}: {what}]", &template[issue.at]));
        }
        assert_eq!(shown, expected, "{template}");
    }

    #[test]
    fn a_text_without_variables_stays_as_it_is() {
        check("plain ü", "plain ü");
        check("$$HOME $${A}", "$HOME ${A}");
    }

    #[test]
    fn every_operator_of_compose() {
        check("$A-${A}", "a-a (sensitive)");
        check("${X:-d}${X-d}", "dd");
        check("${EMPTY:-d}|${EMPTY-d}", "d| (sensitive)");
        check("${A:+w}${EMPTY:+w}${EMPTY+w}${X+w}", "ww");
        check("${A:?m}", "a (sensitive)");
        check("${EMPTY?m}", " (sensitive)");
        check(
            "${EMPTY:?no $COMPOSE_PROJECT_NAME}",
            " [${EMPTY:?no $COMPOSE_PROJECT_NAME}: required EMPTY `no shop`]",
        );
        check("${X?}", " [${X?}: required X ``]");
        check("${X:-${Y:-$$z}}}", "$z}");
        check("${X:-ü${A}}", "üa (sensitive)");
        check("${LISTED}", "l (sensitive)");
    }

    #[test]
    fn what_is_no_variable_is_named_where_it_stands() {
        check("costs 5$", "costs 5 [$: Stray]");
        check("$5 ü$", "5 ü [$: Stray] [$: Stray]");
        check("a ${A", "a  [${A: Open]");
        check("${A B}", " [${A B}: Malformed]");
        check("${}", " [${}: Malformed]");
        check("$X!", "! [$X: unset X]");
        check("${X:-${Y}}", " [${Y}: unset Y]");
    }

    #[test]
    fn hostile_nesting_and_growth_are_bounded() {
        let deep = format!("{}x{}", "${X:-".repeat(100_000), "}".repeat(100_000));
        let listed = BTreeMap::from([("BIG".to_owned(), "x".repeat(1 << 20))]);
        let unlisted = BTreeSet::new();
        let variables = Variables::new(&listed, &unlisted);
        let mut issues = Vec::new();
        replace(&deep, &variables, &mut issues);
        assert!(matches!(
            issues[..],
            [Issue {
                what: What::TooDeep,
                ..
            }]
        ));
        let mut issues = Vec::new();
        let out = replace(&"$BIG".repeat(100), &variables, &mut issues);
        assert!(out.text.len() <= MAX_OUTPUT);
        assert_eq!(issues[0].what, What::TooLarge);
    }
}
