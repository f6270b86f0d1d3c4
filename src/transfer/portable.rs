//! What `docker compose` and the engine's own jobs would refuse of a manifest as it stands.
//!
//! An export may write a schedule in another way; here it must be right word for word.

use std::collections::BTreeMap;

use crate::kubernetes::Finding;
use crate::manifest::Diagnostic;
use crate::manifest::reader::{Entry, Sink, code, parse};
use crate::model::{Job, JobName, Trigger};

use super::leave::{check_for_compose, error, placed};

/// Every finding of every file, as errors. `texts` are the manifests by their paths.
#[must_use]
pub fn check_for_engine_jobs(jobs: &BTreeMap<JobName, Job>, texts: &BTreeMap<&str, &str>) -> Vec<Diagnostic> {
    let mut report = Vec::new();
    for (file, text) in texts {
        let Some(root) = parse(text, &mut Sink::new(file, text)) else {
            continue;
        };
        let own = jobs.values().filter(|job| job.origin.file == *file);
        for job in own {
            let written = root.get("jobs").and_then(|all| all.value.get(job.name.job()));
            let mut found = check_for_compose(job);
            found.extend(expressions(job));
            found.extend(every(job));
            found.extend(written.and_then(triggers));
            if root
                .get("services")
                .is_some_and(|all| all.value.get(job.name.job()).is_some())
            {
                found.push(error(
                    "",
                    "a service of this file has the same name",
                    "rename the job",
                ));
            }
            report.extend(found.iter().map(|finding| placed(job, finding, texts)));
        }
        report.extend(secrets(file, text, root.get("secrets")));
    }
    report
}

/// The engine's own parser knows numbers alone.
fn expressions(job: &Job) -> Option<Finding> {
    // `L` is no name, and is told by its own.
    let is_word = |item: &str| {
        item.trim_end_matches(['l', 'L'])
            .contains(|c: char| c.is_ascii_alphabetic())
    };
    let has_words = job.triggers.schedule.iter().any(|trigger| match trigger {
        Trigger::Cron { expression, .. } => expression
            .split([' ', '\t', ','])
            .any(|item| item.starts_with('@') || is_word(item)),
        Trigger::Every { .. } | Trigger::Except { .. } => false,
    });
    has_words.then(|| {
        error(
            "triggers.schedule",
            "the engine's own jobs know neither names (`mon`, `jan`) nor macros (`@daily`)",
            "write numbers: `0 0 * * *`, `0 9 * * 1-5`",
        )
    })
}

/// An export may find an expression for it; as it stands the engine's own jobs would never start it.
fn every(job: &Job) -> Option<Finding> {
    let is_every = |trigger: &Trigger| matches!(trigger, Trigger::Every { .. });
    job.triggers.schedule.iter().any(is_every).then(|| {
        error(
            "x-scheduler.every",
            "the engine's own jobs have no `every`",
            "`export --to compose` writes an expression where there is one",
        )
    })
}

/// What Compose says of `triggers` as they are written.
fn triggers(job: &Entry) -> Option<Finding> {
    let triggers = job.value.get("triggers")?;
    let (manual, schedule) = (triggers.value.get("manual"), triggers.value.get("schedule"));
    match (manual, schedule) {
        (None, None) => Some(error(
            "triggers",
            "Compose wants `manual` or `schedule` in it",
            "write `triggers: {manual: true}`",
        )),
        (Some(manual), Some(_)) if manual.value.is_true() => Some(error(
            "triggers.manual",
            "Compose refuses `manual: true` beside `schedule`",
            "leave it out: a job may be started by hand unless it says `manual: false`",
        )),
        _ => None,
    }
}

fn secrets(file: &str, text: &str, section: Option<&Entry>) -> Vec<Diagnostic> {
    let entries = super::labels::entries(section.map(|entry| &entry.value));
    let with_content = entries
        .iter()
        .filter(|entry| entry.value.get("content").is_some());
    with_content
        .map(|entry| {
            let message = format!("Compose knows no `content` of a secret (`{}`)", entry.key.text);
            let mut sink = Sink::new(file, text);
            sink.error(code::UNSUPPORTED, entry.key.span.clone(), message)
                .help("take it from a `file` or from a variable (`environment`)")
                .clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_by_their_place_are_told_from_names() {
        for (expression, said) in [
            ("0 0 1 * *", vec![]),
            ("0 0 L * *", vec!["`L`"]),
            ("0 9 * * 5#2,1l", vec!["`L`"]),
            ("0 9 * jul *", vec!["names"]),
            ("0 9 * * fri#2", vec!["`L`", "names"]),
            ("@daily", vec!["names"]),
        ] {
            let text =
                format!("name: t\njobs:\n  j: {{image: b, triggers: {{schedule: [\"{expression}\"]}}}}\n");
            let jobs = crate::transfer::loaded(&text).desired.jobs;
            assert_eq!(jobs.len(), 1, "{text}");
            let found = check_for_engine_jobs(&jobs, &BTreeMap::from([("imported.yaml", text.as_str())]));
            let found: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
            assert_eq!(found.len(), said.len(), "{found:?}");
            assert!(
                found.iter().zip(&said).all(|(found, said)| found.contains(said)),
                "{found:?}"
            );
        }
    }
}
