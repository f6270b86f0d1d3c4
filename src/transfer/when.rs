//! Schedules of other programs as ours: five fields or a macro, or a period.
//!
//! Dialects differ in seconds, in steps, and in what a day and a weekday mean together. What has no
//! equal is refused with the reason; what becomes slightly different says so.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::draft::VARIABLE;
use super::report::Report;
use crate::model::DayMatch;
use crate::schedule::{CronErrorKind, check_every, check_timezone, parse_cron, parse_cron_matching};

/// Whose syntax it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// cron, cronie, Debian's cron.
    Vixie,
    /// robfig/cron of Go, five fields: Kubernetes.
    Go,
    /// The same with optional seconds: ofelia, chadburn, swarm-cronjob.
    GoSeconds,
}

/// When a job starts, in our words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct When {
    pub start: Start,
    /// The zone that the text itself named.
    pub timezone: Option<String>,
    /// What is not quite the same.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Start {
    Cron {
        expression: String,
        day_match: Option<DayMatch>,
    },
    Every(Duration),
    /// By hand alone.
    #[default]
    Manual,
}

/// Why a schedule has no equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoEqual {
    pub message: String,
    pub help: Option<String>,
}

fn no_equal(message: impl Into<String>, help: &str) -> NoEqual {
    NoEqual {
        message: message.into(),
        help: (!help.is_empty()).then(|| help.to_owned()),
    }
}

/// Reads a schedule that stands at `at`. What is not quite the same is reported there, and so is why one has no
/// equal: then it is `None`.
pub(crate) fn read_at(
    text: &str,
    dialect: Dialect,
    at: &Range<usize>,
    report: &mut Report<'_>,
) -> Option<When> {
    match read(text, dialect) {
        Ok(when) => {
            for note in &when.notes {
                report.changed(at.clone(), note.clone());
            }
            Some(when)
        }
        Err(error) => {
            report.refused(at.clone(), error.message).help = error.help;
            None
        }
    }
}

/// Reads a schedule of another program.
pub(crate) fn read(text: &str, dialect: Dialect) -> Result<When, NoEqual> {
    let mut when = When::default();
    let mut text = text.trim();
    if dialect != Dialect::Vixie
        && let Some((zone, rest)) = zone_prefix(text)
    {
        check_timezone(zone).map_err(|error| no_equal(error.message, ""))?;
        when.timezone = Some(zone.to_owned());
        text = rest;
    }
    if text.starts_with('@') {
        when.start = word(text, dialect, &mut when.notes)?;
        return Ok(when);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let fields = match (fields.as_slice(), dialect) {
        ([second, rest @ ..], Dialect::GoSeconds) if rest.len() == 5 => {
            if let Some(every) = seconds(second, rest, &mut when.notes)? {
                when.start = Start::Every(every);
                return Ok(when);
            }
            rest.to_vec()
        }
        _ => fields,
    };
    when.start = cron(&fields, dialect, &mut when.notes)?;
    Ok(when)
}

/// `TZ=Europe/Berlin ` or `CRON_TZ=…` in front.
fn zone_prefix(text: &str) -> Option<(&str, &str)> {
    let rest = text
        .strip_prefix("CRON_TZ=")
        .or_else(|| text.strip_prefix("TZ="))?;
    let (zone, rest) = rest.split_once(char::is_whitespace)?;
    Some((zone, rest.trim_start()))
}

fn word(text: &str, dialect: Dialect, notes: &mut Vec<String>) -> Result<Start, NoEqual> {
    let lower = text.to_ascii_lowercase();
    if dialect != Dialect::Vixie
        && let Some(period) = lower.strip_prefix("@every ")
    {
        let period = go_duration(period.trim())
            .ok_or_else(|| no_equal(format!("`{}` is not a duration of Go", shown(text)), ""))?;
        // The library rounds down to whole seconds, and up to one.
        let period = Duration::from_secs(period.as_secs().max(1));
        notes.push(String::from(
            "`@every` counted from the start of its program; `every` counts from midnight UTC of 1970",
        ));
        return checked_every(period);
    }
    match lower.as_str() {
        "@reboot" => Err(no_equal(
            "`@reboot` has no equal: a job starts at a time, or by hand",
            "a service with `restart: unless-stopped` starts with the engine",
        )),
        "@manual" | "@none" | "@triggered" if dialect == Dialect::GoSeconds => Ok(Start::Manual),
        _ => match parse_cron(&lower) {
            Ok(_) => Ok(Start::Cron {
                expression: lower,
                day_match: None,
            }),
            Err(error) => Err(NoEqual {
                message: error.message,
                help: error.help,
            }),
        },
    }
}

fn checked_every(period: Duration) -> Result<Start, NoEqual> {
    match check_every(period) {
        Ok(()) => Ok(Start::Every(period)),
        Err(error) => Err(no_equal(error.to_string(), "")),
    }
}

/// `1h30m`, `1.5s`, `300ms`: units in any order, each with a number that may have a point.
pub(crate) fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let mut rest = text;
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == &rest[..unit])?;
        seconds += number * scale;
        rest = &rest[unit..];
    }
    (!text.is_empty() && seconds < 1e10).then(|| Duration::from_secs_f64(seconds))
}

/// What the seconds field of six comes to: a period, or `None` when the other five say it all.
fn seconds(field: &str, rest: &[&str], notes: &mut Vec<String>) -> Result<Option<Duration>, NoEqual> {
    let values = second_values(field)
        .ok_or_else(|| no_equal(format!("`{}` is not a field of seconds", shown(field)), ""))?;
    let first = values.iter().next().copied().unwrap_or_default();
    let each_minute = rest.iter().all(|field| matches!(*field, "*" | "?" | "*/1"));
    if values.len() == 1 {
        if first != 0 {
            notes.push(format!(
                "it started at second {first} of a minute, and starts at second 0 now"
            ));
        }
        return Ok(None);
    }
    let step = 60 / values.len();
    let even = 60 % values.len() == 0 && (0..values.len()).all(|at| values.contains(&(first + at * step)));
    if !each_minute || !even {
        return Err(no_equal(
            "it starts several times within some minutes, which five fields cannot say",
            "`x-scheduler.every: 10s` starts a job each ten seconds, all day",
        ));
    }
    if first != 0 {
        notes.push(format!(
            "it started at second {first} of a minute first, and starts at second 0 now"
        ));
    }
    Ok(Some(Duration::from_secs(step as u64)))
}

/// The seconds that a field names; `None` when it is no such field.
fn second_values(field: &str) -> Option<BTreeSet<usize>> {
    let mut out = BTreeSet::new();
    for item in field.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok().filter(|step| *step > 0)?)),
            None => (item, None),
        };
        let number = |text: &str| text.parse::<usize>().ok().filter(|value| *value < 60);
        let (from, to) = match (range, range.split_once('-')) {
            ("*" | "?", _) => (0, 59),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            (value, None) => (number(value)?, if step.is_some() { 59 } else { number(value)? }),
        };
        if from > to {
            return None;
        }
        out.extend((from..=to).step_by(step.unwrap_or(1)));
    }
    Some(out)
}

/// Least and greatest value of each of the five fields.
const BOUNDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];

fn cron(fields: &[&str], dialect: Dialect, notes: &mut Vec<String>) -> Result<Start, NoEqual> {
    let mut written: Vec<String> = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        if dialect == Dialect::Vixie && field.contains('~') {
            return Err(no_equal(
                "a random time (`~`) has no equal",
                "name the minute; `x-scheduler.jitter` spreads starts",
            ));
        }
        written.push(match BOUNDS.get(at) {
            Some(bounds) => field_of(field, *bounds, dialect),
            None => (*field).to_owned(),
        });
    }
    let expression = written.join(" ");
    if expression != fields.join(" ") {
        notes.push(format!(
            "`{}` is written `{expression}`",
            shown(&fields.join(" "))
        ));
    }
    let error = match parse_cron(&expression) {
        Ok(_) => {
            return Ok(Start::Cron {
                expression,
                day_match: None,
            });
        }
        Err(error) => error,
    };
    // cron takes both days when one field begins with a star; Go's library takes either.
    let day_match = match dialect {
        Dialect::Vixie => DayMatch::All,
        Dialect::Go | Dialect::GoSeconds => DayMatch::Any,
    };
    if error.kind == CronErrorKind::Ambiguous && parse_cron_matching(&expression, Some(day_match)).is_ok() {
        return Ok(Start::Cron {
            expression,
            day_match: Some(day_match),
        });
    }
    Err(NoEqual {
        message: error.message,
        help: error.help,
    })
}

/// One field as our grammar has it; what it does not know either is left for its message.
fn field_of(field: &str, (least, greatest): (u32, u32), dialect: Dialect) -> String {
    let is_star = |item: &str| matches!(item, "*" | "*/1") || (dialect != Dialect::Vixie && item == "?");
    let items: Vec<&str> = field.split(',').collect();
    // A list that begins with everything is everything, and counts as a star in both dialects.
    if is_star(items[0]) || (dialect != Dialect::Vixie && items.iter().any(|item| is_star(item))) {
        return String::from("*");
    }
    let items: Vec<String> = items
        .iter()
        .map(|item| {
            let Some((range, step)) = item.split_once('/') else {
                return (*item).to_owned();
            };
            let Ok(step) = step.parse::<u32>() else {
                return (*item).to_owned();
            };
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (from.parse().ok(), to.parse().ok()),
                None if range == "*" => (Some(least), Some(greatest)),
                // `5/15` is `5-59/15` in Go.
                None if dialect != Dialect::Vixie => (range.parse().ok(), Some(greatest)),
                None => (None, None),
            };
            match (from, to) {
                (Some(from), Some(to)) if step > 0 && from <= to && step > to - from => from.to_string(),
                (Some(from), Some(to)) if !range.contains('-') && range != "*" => {
                    format!("{from}-{to}/{step}")
                }
                _ => (*item).to_owned(),
            }
        })
        .collect();
    items.join(",")
}

/// A part of a message: not a screenful.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text
        .chars()
        .map(|c| if c == VARIABLE { '$' } else { c })
        .take(60)
        .collect();
    let cut = if text.chars().nth(60).is_some() { "…" } else { "" };
    format!("{short}{cut}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One line for a schedule: what it became, with its notes, or why not.
    fn converted(text: &str, dialect: Dialect) -> String {
        match read(text, dialect) {
            Err(error) => format!("no: {}", error.message),
            Ok(when) => {
                let mut out = match when.start {
                    Start::Manual => String::from("manual"),
                    Start::Every(period) => format!("every {}s", period.as_secs()),
                    Start::Cron {
                        expression,
                        day_match,
                    } => match day_match {
                        None => expression,
                        Some(day_match) => format!("{expression} {day_match:?}"),
                    },
                };
                if let Some(zone) = when.timezone {
                    out.push_str(&format!(" in {zone}"));
                }
                if !when.notes.is_empty() {
                    out.push_str(" *");
                }
                out
            }
        }
    }

    #[test]
    fn six_fields_become_five_or_a_period() {
        for (text, expected) in [
            ("0 0 1 * * *", "0 1 * * *"),
            ("20 0 1 * * *", "0 1 * * * *"),
            ("*/10 * * * * *", "every 10s"),
            ("* * * * * *", "every 1s"),
            ("0,30 * * * * *", "every 30s"),
            ("5/15 * * * * *", "every 15s *"),
            (
                "*/7 * * * * *",
                "no: it starts several times within some minutes, which five fields cannot say",
            ),
            (
                "*/10 0 * * * *",
                "no: it starts several times within some minutes, which five fields cannot say",
            ),
            ("0 */5 * * * ?", "*/5 * * * * *"),
            ("0,20,40 * * * *", "0,20,40 * * * *"),
            ("@every 10s", "every 10s *"),
            ("@every 1h30m", "every 5400s *"),
            ("@every 1.5s", "every 1s *"),
            ("@hourly", "@hourly"),
            ("TZ=Europe/Berlin 0 0 3 * * *", "0 3 * * * in Europe/Berlin"),
            ("@manual", "manual"),
            ("60 * * * * *", "no: `60` is not a field of seconds"),
        ] {
            assert_eq!(converted(text, Dialect::GoSeconds), expected, "{text}");
        }
    }

    #[test]
    fn each_dialect_keeps_its_days() {
        assert_eq!(converted("0 0 */2 * mon", Dialect::Vixie), "0 0 */2 * mon All");
        assert_eq!(converted("0 0 */2 * mon", Dialect::Go), "0 0 */2 * mon Any");
        assert_eq!(converted("0 0 1 * mon", Dialect::Go), "0 0 1 * mon");
        assert_eq!(converted("0 0 */1 * mon", Dialect::Vixie), "0 0 * * mon *");
        assert_eq!(converted("5/15 * * * *", Dialect::Go), "5-59/15 * * * * *");
        assert_eq!(converted("*/90 * * * *", Dialect::Vixie), "0 * * * * *");
        assert!(converted("0~59 * * * *", Dialect::Vixie).starts_with("no: a random time"));
        assert!(converted("@reboot", Dialect::Vixie).starts_with("no: `@reboot`"));
        assert!(converted("0 0 1 * * *", Dialect::Go).starts_with("no: "));
    }

    proptest! {
        #[test]
        fn any_text_is_converted_or_refused(text in "\\PC{0,30}|[0-9*/,?@a-z -]{0,30}") {
            for dialect in [Dialect::Vixie, Dialect::Go, Dialect::GoSeconds] {
                if let Ok(When { start: Start::Cron { expression, day_match }, .. }) = read(&text, dialect) {
                    prop_assert!(parse_cron_matching(&expression, day_match).is_ok());
                }
            }
        }
    }
}
