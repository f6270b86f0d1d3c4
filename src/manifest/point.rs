//! The place of a job's key in its manifest, for findings that are made long after it was read.

use super::diagnostic::{Diagnostic, Severity, Sink};
use super::yaml::{self, Node, Value};

/// A finding about a key of a job (`x-scheduler.timeout`; empty for the job itself), at the place of the
/// key or of the nearest one above it that is written.
#[must_use]
pub fn at_key(
    file: &str,
    text: &str,
    job: &str,
    key: &str,
    severity: Severity,
    code: &'static str,
    message: &str,
) -> Diagnostic {
    let mut sink = Sink::new(file, text);
    // What is wrong with the text itself was said when it was loaded.
    let span = yaml::parse(text, &mut Sink::new(file, text)).and_then(|root| place(&root, job, key));
    match (span, severity) {
        (None, _) => Diagnostic::of_file(severity, code, file, message),
        (Some(span), Severity::Error) => sink.error(code, span, message).clone(),
        (Some(span), Severity::Warning) => sink.warning(code, span, message).clone(),
    }
}

fn place(root: &Node, job: &str, key: &str) -> Option<std::ops::Range<usize>> {
    let entry = root.get("jobs")?.value.get(job)?;
    let mut found = entry;
    for part in key.split('.').filter(|part| !part.is_empty()) {
        match found.value.get(part) {
            Some(inner) => found = inner,
            // A default of the file, written at its top.
            None if found.key.text == "x-scheduler" || part == "x-scheduler" => {
                let top = root.get("x-scheduler").map(|top| &top.value);
                let last = key.rsplit('.').next().unwrap_or(key);
                return match top.and_then(|top| top.get(last)) {
                    Some(inner) => Some(inner.key.span.clone()),
                    None => Some(found.key.span.clone()),
                };
            }
            None => break,
        }
    }
    debug_assert!(matches!(root.value, Value::Map(_)), "jobs stand in a mapping");
    Some(found.key.span.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
x-scheduler:
  timeout: 1h
jobs:
  a:
    image: x
    triggers: {manual: true}
    x-scheduler:
      every: 10s
";

    fn line(key: &str) -> u32 {
        at_key("f", TEXT, "a", key, Severity::Error, "lost", "m").line
    }

    #[test]
    fn a_key_is_found_where_it_is_written() {
        assert_eq!(line("x-scheduler.every"), 8);
        assert_eq!(line("x-scheduler.timeout"), 2);
        assert_eq!(line("triggers.schedule"), 6);
        assert_eq!(line("volumes"), 4);
        assert_eq!(line(""), 4);
        assert_eq!(at_key("f", TEXT, "b", "", Severity::Error, "lost", "m").line, 0);
    }
}
