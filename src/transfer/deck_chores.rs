//! Labels of deck-chores: `deck-chores.<job>.<attribute>` on a service, each run inside its container.
//!
//! Its cron has the greatest unit first, eight fields down to seconds, Monday as 0, and a day and a
//! weekday that must both fit.

use std::collections::BTreeMap;

use crate::model::DayMatch;
use crate::schedule::{check_every, check_timezone, parse_cron_matching};

use super::docker_line::warn_of_secret;
use super::draft::{Draft, Job, duration, literal};
use super::labels::Label;
use super::ofelia::Home;
use super::report::Report;
use super::when::{Start, When, shown};
use super::yaml::Yaml;

/// Reads the jobs of a service's labels, and says how many there are.
pub(crate) fn jobs(labels: &[Label], home: &Home, draft: &mut Draft, report: &mut Report<'_>) -> usize {
    let mut all: BTreeMap<&str, Vec<(&str, &Label)>> = BTreeMap::new();
    for label in labels {
        let Some(rest) = label.name.strip_prefix("deck-chores.") else {
            continue;
        };
        match rest.split_once('.') {
            Some((name, attribute)) if name != "options" => {
                all.entry(name).or_default().push((attribute, label));
            }
            _ => lost(label, report),
        }
    }
    for (name, attributes) in &all {
        job(name, attributes, home, draft, report);
    }
    all.len()
}

fn lost(label: &Label, report: &mut Report<'_>) {
    report.lost(
        label.at.clone(),
        format!("label `{}` is not carried over", shown(&label.name)),
    );
}

fn job(name: &str, attributes: &[(&str, &Label)], home: &Home, draft: &mut Draft, report: &mut Report<'_>) {
    let at = attributes.first().map_or(0..0, |(_, label)| label.at.clone());
    let mut job = Job::new(format!("line {}: deck-chores {name}", report.line_of(at.start)));
    job.exec_in_service(&home.service, &home.project);
    // One at a time is its default.
    let mut overlap = "forbid";
    let mut zone = None;
    let mut start = None;
    for (attribute, label) in attributes {
        let value = label.value.trim();
        match *attribute {
            "command" if shlex::split(value).is_some() && !value.is_empty() => {
                job.set("command", literal(value))
            }
            "user" if !value.is_empty() => job.set("user", literal(value)),
            "workdir" if value.starts_with('/') => job.set("working_dir", literal(value)),
            "timezone" => match check_timezone(value) {
                Ok(_) => zone = Some(value.to_owned()),
                Err(error) => {
                    report.refused(label.at.clone(), error.message).help = error.help;
                    return;
                }
            },
            "jitter" => match value.parse::<u64>() {
                Ok(seconds @ 1..=86_400) => job.extend("jitter", Yaml::Text(duration(seconds))),
                Ok(0) => {}
                _ => lost(label, report),
            },
            "max" => {
                if value != "1" {
                    overlap = "allow";
                    report.changed(
                        label.at.clone(),
                        "any number of runs may be active at once, not only so many",
                    );
                }
            }
            "cron" | "interval" | "date" => {
                let read = match *attribute {
                    "cron" => cron(value),
                    "interval" => interval(value),
                    _ => Err(String::from(
                        "a start at one date has no equal: a schedule recurs",
                    )),
                };
                match read {
                    Ok((found, notes)) => {
                        for note in notes {
                            report.changed(label.at.clone(), note);
                        }
                        start = Some(found);
                    }
                    Err(why) => {
                        report.refused(label.at.clone(), why);
                        return;
                    }
                }
            }
            other => match other.strip_prefix("env.") {
                Some(name) if !name.is_empty() => {
                    warn_of_secret(name, label.at.clone(), report);
                    job.put("environment", name, literal(value));
                }
                _ => lost(label, report),
            },
        }
    }
    let Some(start) = start else {
        report.refused(at, "this job has neither `cron` nor `interval`");
        return;
    };
    if job.get("command").is_none() {
        report.refused(at, "this job has no command that can be read");
        return;
    }
    job.extend("concurrency", Yaml::text(overlap));
    let when = When {
        start,
        ..When::default()
    };
    job.start(&when, zone.as_deref());
    draft.add(job, name, true, at, report);
}

type Read = Result<(Start, Vec<String>), String>;

/// Year, month, day, week, weekday, hour, minute, second; the left ones may be missing.
fn cron(text: &str) -> Read {
    let given: Vec<&str> = text.split_whitespace().collect();
    if given.is_empty() || given.len() > 8 {
        return Err(format!("`{}` has not up to eight fields", shown(text)));
    }
    let mut fields = vec!["*"; 8 - given.len()];
    fields.extend(given);
    let [year, month, day, week, weekday, hour, minute, second] = fields[..] else {
        return Err(String::from("it has not up to eight fields"));
    };
    if year != "*" || week != "*" {
        return Err(String::from("a year or a week of the year has no equal"));
    }
    let mut notes = Vec::new();
    match second.parse::<u8>() {
        Ok(0) => {}
        Ok(second) => notes.push(format!(
            "it started at second {second} of a minute, and starts at second 0 now"
        )),
        Err(_) => {
            return Err(String::from(
                "it starts several times a minute, which five fields cannot say; `x-scheduler.every` can",
            ));
        }
    }
    let days = weekdays(weekday).ok_or_else(|| format!("weekday `{}` has no equal", shown(weekday)))?;
    let expression = format!("{minute} {hour} {day} {month} {days}");
    let both = day != "*" && days != "*";
    let day_match = both.then_some(DayMatch::All);
    match parse_cron_matching(&expression, day_match) {
        Ok(_) => Ok((
            Start::Cron {
                expression,
                day_match,
            },
            notes,
        )),
        Err(error) => Err(error.message),
    }
}

/// Weekdays that count from Monday as 0, as those that count from Sunday.
fn weekdays(field: &str) -> Option<String> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    if field == "*" {
        return Some(String::from("*"));
    }
    let number = |text: &str| {
        let text = text.to_ascii_lowercase();
        NAMES
            .iter()
            .position(|name| *name == text)
            .or_else(|| text.parse::<usize>().ok().filter(|day| *day < 7))
    };
    let mut days = Vec::new();
    for item in field.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)?),
            None => (item, 1),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None if range == "*" => (0, 6),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return None;
        }
        days.extend((from..=to).step_by(step).map(|day| (day + 1) % 7));
    }
    days.sort_unstable();
    days.dedup();
    let days: Vec<String> = days.iter().map(ToString::to_string).collect();
    Some(days.join(","))
}

/// Weeks, days, hours, minutes, seconds; the left ones may be missing.
fn interval(text: &str) -> Read {
    const UNITS: [u64; 5] = [604_800, 86_400, 3_600, 60, 1];
    let seconds = match text.to_ascii_lowercase().as_str() {
        "weekly" => 604_800,
        "daily" => 86_400,
        "hourly" => 3_600,
        "every minute" => 60,
        "every second" => 1,
        _ => {
            let parts: Option<Vec<u64>> = text
                .split(['.', ':', '/', ' '])
                .filter(|part| !part.is_empty())
                .map(|part| part.parse().ok().filter(|number| *number < 1_000_000))
                .collect();
            let parts = parts
                .filter(|parts| (1..=5).contains(&parts.len()))
                .ok_or_else(|| format!("`{}` is not an interval", shown(text)))?;
            UNITS[5 - parts.len()..]
                .iter()
                .zip(&parts)
                .map(|(unit, number)| unit * number)
                .sum()
        }
    };
    let period = std::time::Duration::from_secs(seconds);
    check_every(period).map_err(|error| error.to_string())?;
    let note = String::from(
        "its interval counted from the start of deck-chores; `every` counts from midnight UTC of 1970",
    );
    Ok((Start::Every(period), vec![note]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match cron(text) {
            Ok((
                Start::Cron {
                    expression,
                    day_match,
                },
                notes,
            )) => {
                format!("{expression} {day_match:?} {}", notes.len())
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_fields_are_turned_round() {
        assert_eq!(read("*/3 0 0"), "0 */3 * * * None 0");
        assert_eq!(read("6 1 0 0"), "0 1 * * 0 None 0");
        assert_eq!(read("sun 1 0 0"), "0 1 * * 0 None 0");
        assert_eq!(read("* * * * 0-4 9 30 0"), "30 9 * * 1,2,3,4,5 None 0");
        assert_eq!(read("1-7 * mon 9 30 15"), "30 9 1-7 * 1 Some(All) 1");
        assert!(read("2030 * * * * 1 0 0").contains("year"));
        assert!(read("* * *").contains("several times"));
    }

    #[test]
    fn intervals_add_up() {
        for (text, seconds) in [
            ("42:00:00", 151_200),
            ("100/00:00:00", 8_640_000),
            ("daily", 86_400),
            ("90", 90),
            ("1.0:0:0:0", 604_800),
        ] {
            let (start, _) = interval(text).unwrap();
            assert_eq!(
                start,
                Start::Every(std::time::Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert!(interval("0").is_err() && interval("often").is_err() && interval("").is_err());
    }
}
