//! Kinds of arguments that several commands take, each checked before anything is asked of anyone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{InvalidName, JobName, LABEL_JOB, LABEL_PROJECT, validate_container_ref};

use super::error::CommandError;
use super::output::{printable, quoted};

/// A name that a person typed for a run, a job or a container: nothing that could leave its place
/// in a URL or a path. What it names is found out later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameArg(String);

impl NameArg {
    /// A job's full name, which has passed a stricter rule.
    #[must_use]
    pub fn of_job(job: &JobName) -> NameArg {
        NameArg(job.to_string())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NameArg {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<NameArg, InvalidName> {
        validate_container_ref(text)?;
        Ok(NameArg(text.to_owned()))
    }
}

/// The directory of manifests, for commands whose arguments are jobs.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DirFlag {
    /// Directory of manifests [default: the one applied last, else schedules.d]
    #[arg(long, value_name = "DIR", value_parser = dir)]
    pub dir: Option<PathBuf>,
}

/// The directory of manifests, as an argument.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DirArg {
    /// Directory of manifests [default: the one applied last, else schedules.d]
    #[arg(value_name = "DIR", value_parser = dir)]
    pub dir: Option<PathBuf>,
}

/// What is done with fields of objects that others own.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct ForceFlag {
    /// Take fields of objects that others own (Kubernetes)
    #[arg(long)]
    pub force_conflicts: bool,
}

impl ForceFlag {
    /// # Errors
    /// When it is set: on the engines at hand nobody else owns a part of anything.
    pub fn refuse(self) -> Result<(), CommandError> {
        if self.force_conflicts {
            return Err(CommandError::usage("`--force-conflicts` is for Kubernetes")
                .hint("`--engine kubernetes` says so"));
        }
        Ok(())
    }
}

/// `--format` of a command that prints one thing instead of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum TextOrJson {
    #[default]
    Text,
    Json,
}

/// A path that is not empty.
///
/// # Errors
/// When it is.
pub fn dir(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err(String::from("the path is empty"));
    }
    if text.contains('\0') {
        return Err(String::from("a path holds no zero byte"));
    }
    Ok(PathBuf::from(text))
}

/// An instant: RFC 3339 with an offset.
///
/// # Errors
/// When it is none; the text shows one that is.
pub fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| String::from("use RFC 3339 with an offset, such as 2026-11-23T02:30:00+01:00"))
}

/// A length of time: `90s`, `10m`, `1h30m`.
///
/// # Errors
/// When it is none, or nothing at all.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(length) if !length.is_zero() => Ok(length),
        _ => Err(String::from(
            "use a duration with a unit, such as 90s, 10m or 1h30m",
        )),
    }
}

/// A start or an end for logs: RFC 3339, or how long ago (`10m`).
///
/// # Errors
/// When it is neither.
pub fn time_or_age(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let age = humantime::parse_duration(text).map_err(|_| {
        format!(
            "{} is neither RFC 3339 (2026-11-23T02:30:00+01:00) nor a duration (10m)",
            quoted(text)
        )
    })?;
    now.checked_sub(age)
        .map_err(|_| format!("{} lies before all time", quoted(text)))
}

/// One `-f KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub key: String,
    pub value: String,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Filter, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok(Filter {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(String::from("a filter is KEY=VALUE")),
        }
    }
}

/// Refuses filters that a list does not know.
///
/// # Errors
/// Naming the first such filter and those that there are.
pub fn check_filters(filters: &[Filter], known: &[&str]) -> Result<(), CommandError> {
    match filters
        .iter()
        .find(|filter| !known.contains(&filter.key.as_str()))
    {
        None => Ok(()),
        Some(filter) => Err(
            CommandError::usage(format!("there is no filter {} here", quoted(&filter.key)))
                .hint(format!("filters of this list: {}", printable(&known.join(", ")))),
        ),
    }
}

/// Refuses filters of this key whose value is none of its words: a slip would look like an empty list.
///
/// # Errors
/// Naming the first such value, and the words.
pub fn check_words(filters: &[Filter], key: &str, words: &[&str]) -> Result<(), CommandError> {
    let is_wrong = |filter: &&Filter| filter.key == key && !words.contains(&filter.value.as_str());
    match filters.iter().find(is_wrong) {
        None => Ok(()),
        Some(filter) => Err(CommandError::usage(format!(
            "{} is no value for the filter `{key}`",
            quoted(&filter.value)
        ))
        .hint(format!("use one of: {}", words.join(", ")))),
    }
}

/// Refuses filters among `keys` whose value is no time.
///
/// # Errors
/// Naming the first such value.
pub fn check_times(filters: &[Filter], keys: &[&str], now: Timestamp) -> Result<(), CommandError> {
    for filter in filters
        .iter()
        .filter(|filter| keys.contains(&filter.key.as_str()))
    {
        time_or_age(&filter.value, now).map_err(CommandError::usage)?;
    }
    Ok(())
}

/// `job=`, `project=` and `label=` by a container's own labels. A job is meant by its full name or
/// its short one.
#[must_use]
pub fn matches_labels(labels: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    let label = |name: &str| labels.get(name).map(String::as_str);
    match key {
        "project" => label(LABEL_PROJECT) == Some(value),
        "job" => match (label(LABEL_PROJECT), label(LABEL_JOB)) {
            (Some(project), Some(job)) => job == value || format!("{project}.{job}") == value,
            _ => false,
        },
        "label" => matches_label(labels, value),
        _ => false,
    }
}

/// `KEY` or `KEY=VALUE`, as in Docker.
#[must_use]
pub fn matches_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether a job is the one that a filter names, in full or by its short name.
#[must_use]
pub fn is_job(job: &JobName, value: &str) -> bool {
    job.job() == value || job.to_string() == value
}

/// Whether all filters of each key that was given agree with one of its values: values of one key
/// are alternatives, keys must all match, as in Docker.
pub fn matches_filters(filters: &[Filter], matches: impl Fn(&str, &str) -> bool) -> bool {
    filters.iter().all(|filter| {
        filters
            .iter()
            .filter(|other| other.key == filter.key)
            .any(|other| matches(&other.key, &other.value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_endpoint() {
        for bad in [
            "",
            "../images/x",
            "a/b",
            "-x",
            "a b",
            "ü",
            "a\0",
            "a?b",
            &"x".repeat(256),
        ] {
            assert!(bad.parse::<NameArg>().is_err(), "{bad:?}");
        }
        assert_eq!("web_1".parse::<NameArg>().unwrap().as_str(), "web_1");
    }

    #[test]
    fn an_instant_needs_its_offset() {
        assert_eq!(
            time("2026-11-23T02:30:00+01:00").unwrap(),
            "2026-11-23T01:30:00Z".parse().unwrap()
        );
        for bad in [
            "",
            "2026-11-23",
            "2026-11-23T02:30:00",
            "tomorrow",
            "-1",
            "99999-01-01T00:00:00Z",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_age_counts_back_from_now() {
        let now: Timestamp = "2026-11-23T01:30:00Z".parse().unwrap();
        assert_eq!(
            time_or_age("90m", now).unwrap(),
            "2026-11-23T00:00:00Z".parse().unwrap()
        );
        for bad in ["", "10", "-5m", "99999999999years", "soon"] {
            assert!(time_or_age(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_of_one_filter_are_alternatives() {
        let filters: Vec<Filter> = ["a=1", "a=2", "b=x"].iter().map(|f| f.parse().unwrap()).collect();
        assert!(matches_filters(&filters, |key, value| (key, value) == ("a", "2") || key == "b"));
        assert!(!matches_filters(&filters, |key, _| key == "b"));
        assert!(matches_filters(&[], |_, _| false));
        assert!(check_filters(&filters, &["a", "b"]).is_ok());
        assert!(check_filters(&filters, &["a"]).is_err());
        for bad in ["", "a", "=", "a=", "=1"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad:?}");
        }
    }
}
