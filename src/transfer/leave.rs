//! Moving out: jobs as CronJobs of Kubernetes, as jobs that Compose and the engine carry out themselves,
//! or as a crontab that calls `docker-scheduler trigger`.
//!
//! What has no form there is told at the line of the manifest that asks for it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::kubernetes::{self, Contents, Finding, NAME_DAYS, Target, as_cron, counts_days};
use crate::manifest::reader::{Node, Sink, code, parse};
use crate::manifest::{Diagnostic, Severity, at_key};
use crate::model::{
    Concurrency, DayMatch, EngineName, History, Job, JobName, MissedFires, OnNodeLoss, OnUnknown, Place,
    Policy, Trigger, Triggers,
};

use super::labels::{entries, get, items, raw};
use super::when::shown;
use super::yaml::{Yaml, comment, document};

/// Where jobs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Kubernetes(Target),
    /// One Compose file: jobs of one project.
    Compose,
    /// Lines that call this command, with a job behind its words, for jobs of that engine.
    Crontab(Vec<String>, EngineName),
}

/// Jobs in another form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Only jobs without errors are in it.
    pub text: String,
    pub jobs: usize,
    /// On the manifests: errors are of jobs that have no form there, warnings what is different.
    pub report: Vec<Diagnostic>,
}

/// `texts` are the manifests by the path that jobs name as their origin; `now` is for the coming turns
/// of clocks.
#[must_use]
pub fn export(
    jobs: &BTreeMap<JobName, Job>,
    texts: &BTreeMap<&str, &str>,
    to: &Destination,
    now: Timestamp,
) -> Exported {
    let mut report = Vec::new();
    let mut kept = Vec::new();
    let names = clashes(jobs, to);
    for job in jobs.values() {
        let mut found = match to {
            Destination::Kubernetes(target) => for_kubernetes(job, &target.contents, now),
            Destination::Compose => check_for_compose(job),
            Destination::Crontab(call, engine) => check_for_crontab(job, call, *engine, texts),
        };
        found.extend(clash(job, &names));
        if !found.iter().any(|finding| finding.is_error) {
            kept.push(job);
        }
        report.extend(found.iter().map(|finding| placed(job, finding, texts)));
    }
    if matches!(to, Destination::Crontab(..)) {
        once_for_each_key(&mut report);
        report.extend(
            kept.iter()
                .find_map(|job| Some(placed(job, &of_zone(job)?, texts))),
        );
    }
    let text = match to {
        Destination::Kubernetes(target) => of_kubernetes(&kept, target),
        Destination::Compose => of_compose(&kept, texts),
        Destination::Crontab(call, _) => of_crontab(&kept, call),
    };
    Exported {
        text,
        jobs: kept.len(),
        report,
    }
}

/// What would stand in the way of a job on Kubernetes, by job: for `validate`, and before a plan.
#[must_use]
pub fn check_for_kubernetes(
    jobs: &BTreeMap<JobName, Job>,
    texts: &BTreeMap<&str, &str>,
    contents: &Contents,
    now: Timestamp,
) -> Vec<(JobName, Diagnostic)> {
    let clashing = clashes(jobs, &Destination::Kubernetes(Target::default()));
    let mut report = Vec::new();
    for (name, job) in jobs {
        let mut found = for_kubernetes(job, contents, now);
        found.extend(clash(job, &clashing));
        report.extend(
            found
                .iter()
                .map(|finding| (name.clone(), placed(job, finding, texts))),
        );
    }
    report
}

fn for_kubernetes(job: &Job, contents: &Contents, now: Timestamp) -> Vec<Finding> {
    let mut found = kubernetes::check(job, now);
    found.extend(kubernetes::check_contents(job, contents));
    found
}

fn clash(job: &Job, clashing: &BTreeSet<String>) -> Option<Finding> {
    let is_one = clashing.contains(&kubernetes::object_name(&job.name));
    is_one.then(|| error("", "another job has the same name there", "rename one of them"))
}

/// What a cluster finds, at the lines of the manifests that ask for it.
#[must_use]
pub fn at_their_lines(
    jobs: &BTreeMap<JobName, Job>,
    found: &[(JobName, Finding)],
    texts: &BTreeMap<&str, &str>,
) -> Vec<Diagnostic> {
    let of_jobs = found
        .iter()
        .filter_map(|(name, finding)| Some((jobs.get(name)?, finding)));
    of_jobs
        .map(|(job, finding)| placed(job, finding, texts))
        .collect()
}

/// A finding at its line.
#[must_use]
pub fn placed(job: &Job, finding: &Finding, texts: &BTreeMap<&str, &str>) -> Diagnostic {
    let severity = if finding.is_error {
        Severity::Error
    } else {
        Severity::Warning
    };
    let code = if finding.is_error {
        code::UNSUPPORTED
    } else {
        code::CHANGED
    };
    let file = job.origin.file.as_str();
    let text = texts.get(file).copied().unwrap_or_default();
    let message = format!("job `{}`: {}", job.name, finding.message);
    let mut found = at_key(file, text, job.name.job(), finding.key, severity, code, &message);
    found.help.clone_from(&finding.help);
    found
}

/// Names in Kubernetes that two jobs would share.
fn clashes(jobs: &BTreeMap<JobName, Job>, to: &Destination) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    if !matches!(to, Destination::Kubernetes(_)) {
        return seen;
    }
    jobs.keys()
        .map(kubernetes::object_name)
        .filter(|name| !seen.insert(name.clone()))
        .collect()
}

pub(super) fn error(key: &'static str, message: impl Into<String>, help: &str) -> Finding {
    Finding {
        key,
        is_error: true,
        message: message.into(),
        help: (!help.is_empty()).then(|| help.to_owned()),
    }
}

fn of_kubernetes(jobs: &[&Job], target: &Target) -> String {
    let objects = jobs.iter().flat_map(|job| kubernetes::objects(job, target));
    let documents: Vec<String> = objects.map(|object| document(&Yaml::from(object))).collect();
    documents.join("---\n")
}

/// What the engine's own jobs do not know.
pub(super) fn check_for_compose(job: &Job) -> Vec<Finding> {
    let Job {
        name: _,
        origin: _,
        triggers,
        policy,
        // A container of its own has the same keys there.
        container,
        canonical: _,
    } = job;
    let Triggers { manual: _, schedule } = triggers;
    let Policy {
        concurrency,
        missed_fires,
        starting_deadline,
        timeout,
        success_exit_codes,
        suspend,
        history,
        unknown_hold,
        retries,
        backoff: _, // says nothing without retries
        on_unknown,
        on_node_loss,
        jitter,
        group,
    } = policy;
    let mut found = Vec::new();
    let mut none = |key: &'static str, is_set: bool| {
        if is_set {
            found.push(error(key, format!("the engine's own jobs have no `{key}`"), ""));
        }
    };
    none("x-scheduler.starting_deadline", starting_deadline.is_some());
    none("x-scheduler.timeout", timeout.is_some());
    none(
        "x-scheduler.success_exit_codes",
        *success_exit_codes != BTreeSet::from([0]),
    );
    none("x-scheduler.suspend", *suspend);
    none("x-scheduler.history", *history != History::default());
    none("x-scheduler.unknown_hold", unknown_hold.is_some());
    none("x-scheduler.retries", *retries > 0);
    none("x-scheduler.on_unknown", *on_unknown != OnUnknown::Skip);
    none("x-scheduler.on_node_loss", *on_node_loss != OnNodeLoss::Skip);
    none("x-scheduler.jitter", jitter.is_some());
    none("x-scheduler.group", group.is_some());
    let beside = matches!(concurrency, Concurrency::Allow | Concurrency::Replace);
    none("x-scheduler.exec", matches!(container.place, Place::Exec(_)));
    none("x-scheduler.container", container.place == Place::Reuse);
    if *missed_fires == MissedFires::All {
        let message = "the engine's own jobs have no `missed_fires: all`";
        found.push(error(
            "x-scheduler.missed_fires",
            message,
            "`one` and `skip` they have",
        ));
    }
    if beside {
        let message = "the engine's own jobs have neither `allow` nor `replace`";
        found.push(error(
            "x-scheduler.concurrency",
            message,
            "`forbid` and `queue` they have",
        ));
    }
    if schedule.len() > 1 {
        let message = "the engine's own jobs have one schedule";
        found.push(error("triggers.schedule", message, "write a job for each"));
    }
    for trigger in schedule {
        match (as_cron(trigger), trigger) {
            (Err(refused), _) => found.push(error(
                refused.key,
                refused.message,
                refused.help.unwrap_or_default(),
            )),
            (Ok((expression, _)), _) if counts_days(&expression) => found.push(error(
                "triggers.schedule",
                "the engine's own jobs know neither `L` nor `#` in a schedule",
                NAME_DAYS,
            )),
            (
                Ok(_),
                Trigger::Cron {
                    day_match: Some(_), ..
                },
            ) => {
                found.push(error(
                    "triggers.schedule",
                    "the engine's own jobs have no `day_match`",
                    "",
                ));
            }
            (Ok(_), _) => {}
        }
    }
    found
}

/// Jobs of one project, with their keys as they are written.
fn of_compose(jobs: &[&Job], texts: &BTreeMap<&str, &str>) -> String {
    let Some(first) = jobs.first() else {
        return String::new();
    };
    let mut written: Vec<(String, Yaml)> = Vec::new();
    let mut shared: BTreeMap<&str, Vec<(String, Yaml)>> = BTreeMap::new();
    let files: BTreeSet<&str> = jobs.iter().map(|job| job.origin.file.as_str()).collect();
    for file in files {
        let text = texts.get(file).copied().unwrap_or_default();
        let Some(root) = parse(text, &mut Sink::new(file, text)) else {
            continue;
        };
        for job in jobs.iter().filter(|job| job.origin.file == file) {
            let mut keys: Vec<(String, Yaml)> = entries(get(&root, &["jobs", job.name.job()]))
                .iter()
                .filter(|entry| !matches!(entry.key.text.as_str(), "triggers" | "x-scheduler"))
                .map(|entry| (entry.key.text.clone(), raw(&entry.value)))
                .collect();
            keys.push((String::from("triggers"), triggers(job)));
            written.push((job.name.job().to_owned(), Yaml::Map(keys)));
        }
        for section in ["configs", "networks", "secrets", "volumes"] {
            for entry in entries(get(&root, &[section])) {
                let all = shared.entry(section).or_default();
                if all.iter().all(|(known, _)| *known != entry.key.text) {
                    all.push((entry.key.text.clone(), raw(&entry.value)));
                }
            }
        }
    }
    let mut top = vec![
        (String::from("name"), Yaml::text(first.name.project())),
        (String::from("jobs"), Yaml::Map(written)),
    ];
    top.extend(
        shared
            .into_iter()
            .map(|(section, all)| (section.to_owned(), Yaml::Map(all))),
    );
    let head = comment(
        "exported from docker-scheduler: Compose 5.8 and Engine 29.10 carry these jobs out themselves",
    );
    format!("{head}\n{}", document(&Yaml::Map(top)))
}

fn triggers(job: &Job) -> Yaml {
    let Triggers { manual, schedule } = &job.triggers;
    let mut out = Vec::new();
    if !manual || schedule.is_empty() {
        out.push(("manual", Yaml::Bool(*manual)));
    }
    let overlap = match job.policy.concurrency {
        Concurrency::Forbid => "forbid",
        Concurrency::Queue => "queue",
        // The check refuses these.
        Concurrency::Allow | Concurrency::Replace => "forbid",
    };
    let missed = match job.policy.missed_fires {
        MissedFires::One | MissedFires::All => "one",
        MissedFires::Skip => "skip",
    };
    let schedule: Vec<Yaml> = schedule
        .iter()
        .filter_map(|trigger| as_cron(trigger).ok())
        .map(|(expression, zone)| {
            Yaml::map([
                ("cron", Yaml::Text(plain_fields(&expression))),
                ("timezone", Yaml::Text(zone)),
                ("concurrency", Yaml::text(overlap)),
                ("missed_fires", Yaml::text(missed)),
            ])
        })
        .collect();
    if !schedule.is_empty() {
        out.push(("schedule", Yaml::List(schedule)));
    }
    Yaml::map(out)
}

/// Five fields of numbers: what every reader of cron takes.
fn plain_fields(expression: &str) -> String {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let lower = expression.trim().to_ascii_lowercase();
    let expanded = match lower.as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        other => other,
    };
    let number = |names: &[&str], first: usize, text: &str| {
        let mut text = text.to_owned();
        for (at, name) in names.iter().enumerate() {
            // A range up to Sunday ends at 7.
            let value = at + first;
            if first == 0 && at == 0 {
                text = text.replace(&format!("-{name}"), "-7");
            }
            text = text.replace(name, &value.to_string());
        }
        text
    };
    let fields: Vec<String> = expanded
        .split_whitespace()
        .enumerate()
        .map(|(at, field)| match at {
            3 => number(&MONTHS, 1, field),
            4 => number(&DAYS, 0, field),
            _ => field.to_owned(),
        })
        .collect();
    fields.join(" ")
}

/// A crontab only says when; everything else is the job's own.
fn check_for_crontab(
    job: &Job,
    call: &[String],
    engine: EngineName,
    texts: &BTreeMap<&str, &str>,
) -> Vec<Finding> {
    let Triggers { manual, schedule } = &job.triggers;
    let mut found = Vec::new();
    // Programs called cron do not agree on what a backslash before another character than `%` is.
    if let Some(word) = call.iter().find(|word| word.contains(['\\', '\n', '\r'])) {
        found.push(error(
            "",
            format!("`{}` has no form in a line of a crontab", shown(word)),
            "use a path without backslashes and line breaks",
        ));
    }
    if !manual {
        found.push(error(
            "triggers.manual",
            "`trigger` may not start it",
            "write `manual: true`",
        ));
    }
    if schedule.is_empty() {
        found.push(error("triggers", "it has no schedule", ""));
    }
    let text = texts.get(job.origin.file.as_str()).copied().unwrap_or_default();
    // What is wrong with the text itself was said when it was loaded.
    let root = parse(text, &mut Sink::new(&job.origin.file, text));
    let own = root
        .as_ref()
        .and_then(|root| get(root, &["jobs", job.name.job()]));
    found.extend(lost_by_trigger(job, engine, own));
    found.extend(weaker_by_trigger(job, own, root.as_ref()));
    for trigger in schedule {
        match as_cron(trigger) {
            Err(refused) => found.push(error(
                refused.key,
                refused.message,
                refused.help.unwrap_or_default(),
            )),
            Ok((expression, _)) if counts_days(&expression) => found.push(error(
                "triggers.schedule",
                "cron knows neither `L` nor `#` in a schedule",
                NAME_DAYS,
            )),
            Ok(_) if !is_clear_to_cron(trigger) => found.push(error(
                "triggers.schedule",
                "cron would take its day and its weekday in another way",
                "name the days of one field alone",
            )),
            Ok(_) => {}
        }
    }
    found
}

/// What `trigger` does not do where a slot would have it: runs are lost, or go on.
fn lost_by_trigger(job: &Job, engine: EngineName, own: Option<&Node>) -> Vec<Finding> {
    let Policy {
        concurrency,
        missed_fires: _,       // weaker
        starting_deadline: _,  // weaker
        timeout: _,            // `trigger` keeps it
        success_exit_codes: _, // weaker
        suspend,
        history: _,      // weaker
        unknown_hold: _, // weaker
        retries,
        backoff: _, // says nothing without retries
        on_unknown,
        on_node_loss,
        jitter: _, // weaker
        group,
    } = &job.policy;
    let mut found = Vec::new();
    let mut lost = |is_set: bool, key: &'static str, message: &str, help: &str| {
        if is_set {
            found.push(error(key, message, help));
        }
    };
    let overlap = match concurrency {
        Concurrency::Forbid | Concurrency::Allow => None,
        Concurrency::Queue => Some("`queue`: `trigger` refuses a start beside an active run, and none waits"),
        Concurrency::Replace => {
            Some("`replace`: `trigger` refuses a start beside an active run, and stops none")
        }
    };
    lost(
        overlap.is_some(),
        if is_in_schedule(own, "concurrency") {
            "triggers.schedule"
        } else {
            "x-scheduler.concurrency"
        },
        overlap.unwrap_or_default(),
        "`forbid` and `allow` are the same there",
    );
    // There the cluster makes further attempts, whoever started the first.
    lost(
        *retries > 0 && engine != EngineName::Kubernetes,
        "x-scheduler.retries",
        "`trigger` makes one attempt",
        "let the command try again",
    );
    lost(
        *on_unknown != OnUnknown::Skip,
        "x-scheduler.on_unknown",
        "`trigger` makes one attempt",
        "",
    );
    lost(
        *on_node_loss != OnNodeLoss::Skip,
        "x-scheduler.on_node_loss",
        "`trigger` makes one attempt",
        "",
    );
    lost(
        group.is_some(),
        "x-scheduler.group",
        "at the group's limit `trigger` refuses a start, and none waits",
        "",
    );
    lost(*suspend, "x-scheduler.suspend", "it is suspended", "");
    found
}

/// What is written and is less there, though no run is lost.
fn weaker_by_trigger(job: &Job, own: Option<&Node>, root: Option<&Node>) -> Vec<Finding> {
    const OF_LEDGER: &str = "`trigger` takes it from the last `apply` or `watch`, not from the manifest";
    let policy = &job.policy;
    let mut found = Vec::new();
    let mut weaker = |is_set: bool, key: &'static str, message: &str| {
        if is_set {
            found.push(Finding {
                key,
                is_error: false,
                message: message.to_owned(),
                help: None,
            });
        }
    };
    weaker(
        policy.jitter.is_some(),
        "x-scheduler.jitter",
        "cron starts it at its time, without `jitter`",
    );
    let in_schedule = is_in_schedule(own, "missed_fires");
    weaker(
        policy.missed_fires != MissedFires::Skip && (in_schedule || is_written(own, root, "missed_fires")),
        if in_schedule {
            "triggers.schedule"
        } else {
            "x-scheduler.missed_fires"
        },
        "cron makes up for no start that it missed, as `missed_fires: skip`",
    );
    weaker(
        policy.starting_deadline.is_some(),
        "x-scheduler.starting_deadline",
        "cron starts it at its time or not at all, whatever `starting_deadline` is",
    );
    weaker(
        policy.success_exit_codes != BTreeSet::from([0]),
        "x-scheduler.success_exit_codes",
        OF_LEDGER,
    );
    weaker(
        policy.unknown_hold.is_some(),
        "x-scheduler.unknown_hold",
        OF_LEDGER,
    );
    weaker(
        is_written(own, root, "history"),
        "x-scheduler.history",
        "`trigger` keeps all finished containers: `docker-scheduler prune` deletes them",
    );
    found
}

/// Whether an entry of its schedule has that key; it agrees with the job's own, and goes before the file's.
fn is_in_schedule(own: Option<&Node>, key: &str) -> bool {
    let at = |path: &[&str]| own.and_then(|own| get(own, path));
    let in_entry = items(at(&["triggers", "schedule"]))
        .iter()
        .any(|item| item.get(key).is_some());
    in_entry && at(&["x-scheduler", key]).is_none()
}

/// Whether its `x-scheduler`, or that of its file, has that key.
fn is_written(own: Option<&Node>, root: Option<&Node>, key: &str) -> bool {
    let mut either = [own, root].into_iter().flatten();
    either.any(|node| get(node, &["x-scheduler", key]).is_some())
}

/// A file's default is a key of all its jobs, and one warning says it.
fn once_for_each_key(report: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    report.retain(|found| {
        let at = found.span.as_ref().map(|span| (span.start, found.code));
        found.severity == Severity::Error || at.is_none() || seen.insert((found.file.clone(), at))
    });
}

/// Whether cron combines day and weekday as the job says: both when one begins with a star, else either.
fn is_clear_to_cron(trigger: &Trigger) -> bool {
    let Trigger::Cron {
        expression,
        day_match: Some(day_match),
        timezone: _,
    } = trigger
    else {
        return true;
    };
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let [_, _, day, _, weekday] = fields[..] else {
        return true;
    };
    let starred = day.starts_with('*') || weekday.starts_with('*');
    day == "*" || weekday == "*" || (*day_match == DayMatch::All) == starred
}

/// Of the first job whose times are others in another zone: it says so for all.
fn of_zone(job: &Job) -> Option<Finding> {
    let trigger = job
        .triggers
        .schedule
        .iter()
        .find(|trigger| as_cron(trigger).is_ok_and(|(expression, _)| has_zone(&expression)))?;
    Some(Finding {
        key: match trigger {
            Trigger::Every { .. } => "x-scheduler.every",
            Trigger::Cron { .. } | Trigger::Except { .. } => "triggers.schedule",
        },
        is_error: false,
        message: String::from("`CRON_TZ` names its zone, and those of others, which not every cron reads"),
        help: Some(String::from(
            "cronie does; the cron of Debian, Ubuntu and busybox takes the zone of its machine: write the times in that one",
        )),
    })
}

/// Whether it starts at other times in another zone: those differ by quarters of an hour.
fn has_zone(expression: &str) -> bool {
    let Some(minute) = expression.strip_suffix(" * * * *") else {
        return true;
    };
    let step = minute.strip_prefix("*/").map(str::parse::<u32>);
    let is_even = minute == "*" || matches!(step, Some(Ok(1 | 3 | 5 | 15)));
    !is_even
}

/// A word as `sh` reads it behind cron, to which `%` ends a command.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''").replace('%', r"'\%'"))
}

fn of_crontab(jobs: &[&Job], call: &[String]) -> String {
    let call: Vec<String> = call.iter().map(|word| quoted(word)).collect();
    let call = call.join(" ");
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut needs_zone = false;
    for job in jobs {
        for trigger in &job.triggers.schedule {
            if let Ok((expression, zone)) = as_cron(trigger) {
                needs_zone |= has_zone(&expression);
                lines.push((zone, format!("{expression} {call} {}", job.name)));
            }
        }
    }
    // Lines of one zone stand together: `CRON_TZ` holds for all that follow.
    lines.sort();
    let mut out =
        String::from("# cron starts these jobs of docker-scheduler: let no `watch` start them too\n");
    out.push_str(
        "# no start that was missed is made up for, and finished containers stay until `docker-scheduler prune`\n",
    );
    if needs_zone {
        out.push_str(
            "# CRON_TZ is read by cronie; the cron of Debian, Ubuntu and busybox takes the zone of its machine\n",
        );
    }
    let mut current = None;
    for (zone, line) in lines {
        if current.as_ref() != Some(&zone) {
            out.push_str(&format!("CRON_TZ={zone}\n"));
            current = Some(zone);
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_zone_matters_unless_every_hour_is_the_same() {
        for (expression, matters) in [
            ("* * * * *", false),
            ("*/5 * * * *", false),
            ("*/15 * * * *", false),
            ("*/20 * * * *", true),
            ("0 * * * *", true),
            ("30 2 * * *", true),
            ("*/5 * * * mon", true),
            ("@hourly", true),
        ] {
            assert_eq!(has_zone(expression), matters, "{expression}");
        }
    }

    proptest! {
        #[test]
        fn a_word_is_the_same_behind_cron_and_a_shell(word in "[ -\\[\\]-~é]{0,20}") {
            let (command, input) = super::super::crontab::percent(&format!("x {}", quoted(&word)));
            prop_assert_eq!(input, None);
            prop_assert_eq!(shlex::split(&command), Some(vec![String::from("x"), word]));
        }
    }
}
