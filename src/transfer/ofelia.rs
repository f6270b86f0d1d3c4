//! ofelia's jobs, from its INI file: of the first edition (mcuadros) and of netresearch's.
//!
//! What the keys of a job mean is here for the INI file and for labels alike (`labels.rs`), also those
//! of chadburn.

use std::ops::Range;

use crate::model::{ImageRef, validate_container_ref};

use super::docker_line::{Line, environment, network, volume, warn_of_secret};
use super::draft::{Draft, Job, duration, literal};
use super::report::Report;
use super::when::{self, Dialect, go_duration, shown};
use super::yaml::Yaml;
use super::{Imported, Options};

/// One key of a job, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub key: String,
    pub value: String,
    pub at: Range<usize>,
}

/// A job as ofelia knows it, wherever it was written.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// `exec`, `run`, `local`, `service-run`, `compose`.
    pub kind: String,
    pub name: String,
    pub at: Range<usize>,
    pub settings: Vec<Setting>,
    /// Where an `exec` runs when it does not say so: a container or (service, project).
    pub home: Option<Home>,
}

/// The container of the service that carries the labels.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub service: String,
    pub project: String,
}

/// Reads an INI file.
pub(crate) fn import(file: &str, text: &str, options: &Options) -> Imported {
    let mut report = Report::new(file, text);
    let mut draft = Draft::new(options.project_or(file), &format!("ofelia's `{file}`"));
    defaults(&mut draft, options);
    for section in sections(text, &mut report) {
        job(&section, &mut draft, &mut report);
    }
    Imported::new(draft, report)
}

/// What ofelia does when a job does not say otherwise.
pub(crate) fn defaults(draft: &mut Draft, options: &Options) {
    draft.remark("as before: no start is made up for, and a run may start beside another");
    if let Some(zone) = &options.timezone {
        draft.defaults.push(("timezone", Yaml::text(zone.clone())));
    }
    draft.defaults.push(("concurrency", Yaml::text("allow")));
    draft.defaults.push(("missed_fires", Yaml::text("skip")));
}

fn sections(text: &str, report: &mut Report<'_>) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    let mut in_job = false;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let begin = start + line.len() - line.trim_start().len();
        start += line.len();
        let at = begin..begin + trimmed.len();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(title) = trimmed
            .strip_prefix('[')
            .and_then(|title| title.strip_suffix(']'))
        {
            in_job = false;
            let (kind, name) = title.split_once(char::is_whitespace).unwrap_or((title, ""));
            if let Some(kind) = kind.trim().to_ascii_lowercase().strip_prefix("job-") {
                in_job = true;
                found.push(Section {
                    kind: kind.to_owned(),
                    name: name.trim().trim_matches('"').to_owned(),
                    at,
                    settings: Vec::new(),
                    home: None,
                });
            } else if title.trim() != "global" {
                report.lost(at, format!("section `{}` is not carried over", shown(title)));
            }
            continue;
        }
        let (key, value) = trimmed.split_once('=').unwrap_or((trimmed, ""));
        let setting = Setting {
            key: key.trim().to_ascii_lowercase(),
            value: unquoted(value.trim()).to_owned(),
            at: at.clone(),
        };
        match found.last_mut().filter(|_| in_job) {
            Some(section) => section.settings.push(setting),
            None => global(&setting, report),
        }
    }
    found
}

/// Settings of ofelia itself: mail, Slack, folders for its own logs.
pub(crate) fn global(setting: &Setting, report: &mut Report<'_>) {
    report
        .lost(
            setting.at.clone(),
            format!("`{}` of ofelia itself is not carried over", shown(&setting.key)),
        )
        .help("`history` and `logs` keep what ran; who is told about it is the operator's file");
}

/// A value in quotes of its own; one with quotes inside is a command.
fn unquoted(value: &str) -> &str {
    match value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) if !inner.contains('"') => inner,
        _ => value,
    }
}

/// One job, added to the draft unless it is refused.
pub(crate) fn job(section: &Section, draft: &mut Draft, report: &mut Report<'_>) {
    let at = section.at.clone();
    let line = report.line_of(at.start);
    let mut job = Job::new(format!("line {line}: job-{} {}", section.kind, section.name));
    match section.kind.as_str() {
        "exec" | "run" | "service-run" => {}
        "local" => {
            report
                .refused(
                    at,
                    "a `job-local` runs where ofelia runs, and a job runs in a container",
                )
                .help("write it as a job of an image that has its command");
            return;
        }
        kind => {
            report.refused(at, format!("a `job-{}` has no equal", shown(kind)));
            return;
        }
    }
    let Some(place) = section.settings.iter().find(|setting| setting.key == "schedule") else {
        report.refused(at, "this job has no schedule");
        return;
    };
    match when::read(&place.value, Dialect::GoSeconds) {
        Ok(when) => {
            for note in &when.notes {
                report.changed(place.at.clone(), note.clone());
            }
            if when.timezone.is_none()
                && matches!(when.start, when::Start::Cron { .. })
                && draft.defaults.iter().all(|(key, _)| *key != "timezone")
            {
                say_zone(place.at.clone(), report);
            }
            job.start(&when, None);
        }
        Err(error) => {
            report.refused(place.at.clone(), error.message).help = error.help;
            return;
        }
    }
    let refused = settings(section, &mut job, draft, report) || !has_place(section, &mut job, report);
    if !refused {
        draft.add(job, &section.name, true, at, report);
    }
}

/// Said once, not for each of them.
pub(crate) fn say_zone(at: Range<usize>, report: &mut Report<'_>) {
    if std::mem::replace(&mut report.zone_was_said, true) {
        return;
    }
    report
        .changed(
            at,
            "these times were in the zone of the scheduler's container (`TZ`); without one they are UTC",
        )
        .help("name it: `--timezone Europe/Berlin`");
}

/// Every key but the schedule. Whether the job is refused.
fn settings(section: &Section, job: &mut Job, draft: &mut Draft, report: &mut Report<'_>) -> bool {
    let mut refused = false;
    let is_exec = section.kind == "exec";
    for setting in &section.settings {
        let Setting { key, value, at } = setting;
        let mut line = Line {
            job,
            draft,
            report,
            at: at.clone(),
        };
        match key.as_str() {
            "schedule" => {}
            "command" => {
                if shlex::split(value).is_none() {
                    report.refused(at.clone(), "its command has a quote that is not closed");
                    refused = true;
                } else if !value.is_empty() {
                    job.set("command", literal(value));
                }
            }
            "image" if !is_exec => match value.parse::<ImageRef>() {
                Ok(_) => job.set("image", literal(value)),
                Err(error) => {
                    report.refused(at.clone(), ToString::to_string(&error));
                    refused = true;
                }
            },
            "container" if is_exec => match validate_container_ref(value) {
                Ok(()) => job.exec_in(value),
                Err(error) => {
                    report.refused(at.clone(), error.to_string());
                    refused = true;
                }
            },
            "container" => {
                report
                    .refused(
                        at.clone(),
                        format!("it starts container `{}`, which exists", shown(value)),
                    )
                    .help("`docker-scheduler import container NAME` writes a job that makes such containers");
                refused = true;
            }
            "user" if !value.is_empty() => job.set("user", literal(value)),
            "tty" => job.set("tty", Yaml::Bool(is_true(value))),
            "hostname" if !is_exec => job.set("hostname", literal(value)),
            "dir" | "working-dir" | "workdir" if value.starts_with('/') => {
                job.set("working_dir", literal(value))
            }
            "network" if !is_exec => network(value, &mut line),
            "volume" if !is_exec => each(value, |text| volume(text, &mut line)),
            "env" | "environment" => each(value, |text| environment(text, &mut line)),
            "no-overlap" => {
                let word = if is_true(value) { "forbid" } else { "allow" };
                job.extend("concurrency", Yaml::text(word));
            }
            "max-runtime" => match go_duration(value).filter(|limit| limit.as_secs() > 0) {
                Some(limit) => job.extend("timeout", Yaml::Text(duration(limit.as_secs()))),
                None => lost(setting, report),
            },
            "pull" if !is_exec => {
                let word = if is_true(value) { "always" } else { "missing" };
                job.set("pull_policy", Yaml::text(word));
            }
            // Ours are kept and removed by `history`.
            "delete" => {}
            _ => {
                warn_of_secret(key, at.clone(), report);
                lost(setting, report);
            }
        }
    }
    refused
}

fn lost(setting: &Setting, report: &mut Report<'_>) {
    report.lost(
        setting.at.clone(),
        format!("`{}` is not carried over", shown(&setting.key)),
    );
}

/// Whether the job says what it runs in.
fn has_place(section: &Section, job: &mut Job, report: &mut Report<'_>) -> bool {
    if section.kind == "exec" {
        if !job.is_exec() {
            let Some(home) = &section.home else {
                report.refused(section.at.clone(), "this job names no container");
                return false;
            };
            job.exec_in_service(&home.service, &home.project);
        }
        if job.get("command").is_none() {
            report.refused(section.at.clone(), "this job has no command");
            return false;
        }
        return true;
    }
    if job.get("image").is_none() {
        report.refused(section.at.clone(), "this job names no image");
        return false;
    }
    if section.kind == "service-run" {
        report.changed(
            section.at.clone(),
            "it was a service of the Swarm, and is a container of one engine now",
        );
    }
    true
}

fn is_true(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "true" | "1" | "t" | "yes" | "on"
    )
}

/// Labels hold several values as a JSON list.
fn each(value: &str, mut take: impl FnMut(&str)) {
    match serde_json::from_str::<Vec<String>>(value) {
        Ok(values) => values.iter().for_each(|text| take(text)),
        Err(_) => take(value),
    }
}
