//! What changed in a job, as a unified diff of its canonical YAML.

use similar::TextDiff;

/// The unified diff without file headers; `None` when nothing changed.
#[must_use]
pub fn unified(before: &str, after: &str) -> Option<String> {
    if before == after {
        return None;
    }
    let diff = TextDiff::from_lines(before, after);
    Some(diff.unified_diff().context_radius(2).to_string())
}
