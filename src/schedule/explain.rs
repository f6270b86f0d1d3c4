//! A schedule as an English sentence: `At 02:30, Monday through Friday`.
//!
//! The sentence says what the expression means here, including what a day and a weekday field mean
//! together; it is made from the same fields that are run.

use super::cron::{self, DayRule};
use super::grammar::{self, CronError, Expression, Field, Item};
use super::words::until_words;
use crate::model::{DayMatch, Trigger};
use jiff::{SignedDuration, Timestamp};

/// The sentence for an expression, without a full stop.
///
/// # Errors
/// As [`super::parse_cron`].
pub fn explain(expression: &str) -> Result<String, CronError> {
    explain_matching(expression, None)
}

/// The sentence for a trigger, with its zone unless that is UTC.
///
/// # Errors
/// As [`super::parse_cron_matching`].
pub fn explain_trigger(trigger: &Trigger) -> Result<String, CronError> {
    match trigger {
        Trigger::Except { days, .. } => {
            let days: Vec<String> = days.iter().map(super::except::in_words).collect();
            Ok(format!("Not on {}", and(&days)))
        }
        Trigger::Every { period } => {
            let end = SignedDuration::try_from(*period)
                .ok()
                .and_then(|period| Timestamp::UNIX_EPOCH.checked_add(period).ok());
            Ok(match end {
                Some(end) => format!("Every {}", until_words(Timestamp::UNIX_EPOCH, end)),
                None => format!("Every {}s", period.as_secs()),
            })
        }
        Trigger::Cron {
            expression,
            timezone,
            day_match,
        } => {
            let sentence = explain_matching(expression, *day_match)?;
            Ok(if timezone == "UTC" {
                sentence
            } else {
                format!("{sentence}, {timezone} time")
            })
        }
    }
}

fn explain_matching(expression: &str, day_match: Option<DayMatch>) -> Result<String, CronError> {
    // The same refusals as when it is run.
    cron::parse_cron_matching(expression, day_match)?;
    let fields = grammar::parse(expression)?;
    let rule = cron::day_rule(expression, &fields, day_match)?;
    let (time, is_clock) = time_phrase(&fields.minute, &fields.hour);
    let days = day_phrase(&fields, rule, is_clock);
    let months = month_phrase(&fields.month);
    let mut sentence = time;
    if let Some(days) = days {
        sentence.push_str(if is_clock && days == "every day" {
            " "
        } else {
            ", "
        });
        sentence.push_str(&days);
    }
    if let Some(months) = months {
        sentence.push(' ');
        sentence.push_str(&months);
    }
    let mut letters = sentence.chars();
    Ok(letters.next().map_or(String::new(), |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    }))
}

/// More clock times than this are told as minutes and hours.
const MOST_CLOCK_TIMES: usize = 6;

/// The times of a day, and whether they are told as clock times.
fn time_phrase(minute: &Field, hour: &Field) -> (String, bool) {
    let (minutes, hours) = (values(minute), values(hour));
    if minute.is_fixed() && hour.is_fixed() && minutes.len() * hours.len() <= MOST_CLOCK_TIMES {
        let clock = hours
            .iter()
            .flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
        return (format!("at {}", and(&clock.collect::<Vec<_>>())), true);
    }
    let every_hour = hours.len() == 24;
    let phrase = match (&minutes[..], spacing(minute, 60)) {
        (_, Some(1)) => "every minute".to_owned(),
        (_, Some(step)) => format!("every {step} minutes"),
        ([0], _) => return (on_the_hour(hour, every_hour), false),
        ([_], _) => format!("at minute {} of", listed(minute)),
        _ => format!("at minutes {} of", listed(minute)),
    };
    let counts_minutes = phrase.starts_with("every");
    let hours = if every_hour {
        if counts_minutes {
            String::new()
        } else {
            " every hour".to_owned()
        }
    } else if let (true, &[Item::Range { from, to, step: None }]) = (counts_minutes, &hour.items[..]) {
        format!(" from {from:02}:00 through {to:02}:59")
    } else if let Some(step) = spacing(hour, 24) {
        format!(
            "{} every {} hour",
            if counts_minutes { " of" } else { "" },
            ordinal(step)
        )
    } else {
        let plural = if hours.len() == 1 { "" } else { "s" };
        format!(
            "{} hour{plural} {}",
            if counts_minutes { " of" } else { "" },
            listed(hour)
        )
    };
    (phrase + &hours, false)
}

fn on_the_hour(hour: &Field, every_hour: bool) -> String {
    if every_hour {
        return "every hour, on the hour".to_owned();
    }
    if let Some(step) = spacing(hour, 24) {
        return format!("every {step} hours, on the hour");
    }
    match hour.items[..] {
        [Item::Range { from, to, step: None }] => format!("every hour from {from:02}:00 through {to:02}:00"),
        _ => {
            let clock: Vec<_> = values(hour).iter().map(|hour| format!("{hour:02}:00")).collect();
            format!("at {}", and(&clock))
        }
    }
}

/// The distance of values that go round the whole cycle evenly.
fn spacing(field: &Field, cycle: u32) -> Option<u32> {
    match field.items[..] {
        [Item::All { step: None }] => Some(1),
        [Item::All { step: Some(step) }] if step < cycle && cycle.is_multiple_of(step) => Some(step),
        _ => None,
    }
}

fn day_phrase(fields: &Expression, rule: DayRule, is_clock: bool) -> Option<String> {
    let (day, weekday) = (&fields.day, &fields.weekday);
    let every_day = day.mask() == EVERY_DAY;
    let every_weekday = weekday.mask() == EVERY_WEEKDAY;
    let month_days = || format!("on {}", dates(day));
    match (every_day, every_weekday) {
        (true, true) if is_clock => Some("every day".to_owned()),
        (true, true) => None,
        // Either of two fields, one of which is always true.
        (true, false) | (false, true) if rule == DayRule::Either => is_clock.then(|| "every day".to_owned()),
        (true, false) => Some(weekdays(weekday)),
        (false, true) => {
            let of = if fields.month.is_star() {
                " of every month"
            } else {
                ""
            };
            Some(month_days() + of)
        }
        (false, false) if rule == DayRule::Either => Some(format!(
            "{} of the month and also on {}, whichever matches",
            month_days(),
            weekdays(weekday)
        )),
        (false, false) => Some(format!(
            "{} of the month if that is {}",
            month_days(),
            a_weekday(weekday)
        )),
    }
}

const EVERY_DAY: u64 = 0xffff_fffe;
const EVERY_WEEKDAY: u64 = 0x7f;

fn dates(day: &Field) -> String {
    let mut dates = Vec::new();
    for item in &day.items {
        match *item {
            Item::LastDay => dates.push("last day".to_owned()),
            Item::Range { from, to, step: None } if to > from + 1 => {
                dates.push(format!("{} through {}", ordinal(from), ordinal(to)));
            }
            _ => dates.extend(cron::bits(only(day, *item)).map(ordinal)),
        }
    }
    dedup(&mut dates);
    format!("the {}", and(&dates))
}

fn weekdays(weekday: &Field) -> String {
    match weekday.items[..] {
        [Item::Range { from, to, step: None }] if to > from => {
            format!("{} through {}", weekday_name(from), weekday_name(to))
        }
        _ => {
            let names = weekday_names(weekday);
            if weekday.has_place() {
                format!("on {}", and(&names))
            } else {
                format!("every {}", and(&names))
            }
        }
    }
}

fn a_weekday(weekday: &Field) -> String {
    let names: Vec<_> = weekday_names(weekday)
        .iter()
        .map(|name| format!("a {name}"))
        .collect();
    join(&names, "or")
}

fn weekday_names(weekday: &Field) -> Vec<String> {
    let mut names: Vec<String> = cron::bits(weekday.mask())
        .map(|day| weekday_name(day).to_owned())
        .collect();
    for item in &weekday.items {
        match *item {
            Item::LastWeekday(day) => names.push(format!("the last {} of the month", weekday_name(day))),
            Item::NthWeekday(day, nth) => {
                let nth = ["first", "second", "third", "fourth", "fifth"][nth as usize - 1];
                names.push(format!("the {nth} {} of the month", weekday_name(day)));
            }
            Item::All { .. } | Item::One(_) | Item::Range { .. } | Item::LastDay => {}
        }
    }
    dedup(&mut names);
    names
}

fn month_phrase(month: &Field) -> Option<String> {
    match month.items[..] {
        [Item::All { step: None }] => None,
        [Item::Range { from, to, step: None }] if to > from => {
            Some(format!("from {} through {}", month_name(from), month_name(to)))
        }
        _ => {
            let names: Vec<_> = cron::bits(month.mask())
                .map(|month| month_name(month).to_owned())
                .collect();
            Some(format!("in {}", and(&names)))
        }
    }
}

fn values(field: &Field) -> Vec<u32> {
    cron::bits(field.mask()).collect()
}

/// Values as numbers, ranges kept: `0 through 10 and 30`.
fn listed(field: &Field) -> String {
    let mut parts = Vec::new();
    for item in &field.items {
        match *item {
            Item::Range { from, to, step: None } if to > from + 1 => {
                parts.push(format!("{from} through {to}"))
            }
            _ => parts.extend(cron::bits(only(field, *item)).map(|value| value.to_string())),
        }
    }
    dedup(&mut parts);
    and(&parts)
}

/// The values of one entry.
fn only(field: &Field, item: Item) -> u64 {
    Field {
        items: vec![item],
        ..field.clone()
    }
    .mask()
}

fn dedup(parts: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    parts.retain(|part| seen.insert(part.clone()));
}

fn and(parts: &[String]) -> String {
    join(parts, "and")
}

fn join(parts: &[String], word: &str) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [start @ .., last] => format!("{} {word} {last}", start.join(", ")),
    }
}

fn ordinal(number: u32) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

fn weekday_name(day: u32) -> &'static str {
    [
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
    ][day as usize % 7]
}

fn month_name(month: u32) -> &'static str {
    [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ][(month as usize + 11) % 12]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sentences() {
        for (expression, sentence) in [
            ("* * * * *", "Every minute"),
            ("*/5 * * * *", "Every 5 minutes"),
            (
                "*/7 * * * *",
                "At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour",
            ),
            ("0 * * * *", "Every hour, on the hour"),
            ("@hourly", "Every hour, on the hour"),
            ("15 * * * *", "At minute 15 of every hour"),
            ("0 */2 * * *", "Every 2 hours, on the hour"),
            ("30 */2 * * *", "At minute 30 of every 2nd hour"),
            ("30 2 * * *", "At 02:30 every day"),
            ("0 9,12,15 * * *", "At 09:00, 12:00 and 15:00 every day"),
            (
                "0 9-17 * * 1-5",
                "Every hour from 09:00 through 17:00, Monday through Friday",
            ),
            (
                "*/10 9-17 * * mon-fri",
                "Every 10 minutes from 09:00 through 17:59, Monday through Friday",
            ),
            ("* 3 * * *", "Every minute of hour 3"),
            (
                "0-10,30 */6 * * *",
                "At minutes 0 through 10 and 30 of every 6th hour",
            ),
            ("0 3 * * 0", "At 03:00, every Sunday"),
            ("0 3 * * 5,7", "At 03:00, every Sunday and Friday"),
            ("0 0 1 * *", "At 00:00, on the 1st of every month"),
            ("0 0 1,15 * *", "At 00:00, on the 1st and 15th of every month"),
            ("0 0 L * *", "At 00:00, on the last day of every month"),
            ("0 0 25 12 *", "At 00:00, on the 25th in December"),
            ("0 0 1 6-8 *", "At 00:00, on the 1st from June through August"),
            ("0 18 * * 5L", "At 18:00, on the last Friday of the month"),
            (
                "0 18 * 1,7 2#1",
                "At 18:00, on the first Tuesday of the month in January and July",
            ),
            (
                "0 0 13 * 5",
                "At 00:00, on the 13th of the month and also on every Friday, whichever matches",
            ),
            ("0 0 * 2 *", "At 00:00 every day in February"),
        ] {
            assert_eq!(explain(expression).as_deref(), Ok(sentence), "{expression}");
        }
    }

    #[test]
    fn a_trigger_tells_its_zone_and_its_day_rule() {
        let trigger = Trigger::Cron {
            expression: "0 0 13 * 5".into(),
            timezone: "Europe/Berlin".into(),
            day_match: Some(DayMatch::All),
        };
        let sentence = "At 00:00, on the 13th of the month if that is a Friday, Europe/Berlin time";
        assert_eq!(explain_trigger(&trigger).unwrap(), sentence);
        let every = Trigger::Every {
            period: Duration::from_secs(5400),
        };
        assert_eq!(explain_trigger(&every).unwrap(), "Every 1h 30m");
    }

    #[test]
    fn what_is_refused_is_not_explained() {
        assert!(explain("0 0 30 2 *").is_err());
        assert!(explain("0 0 */2 * 1").is_err());
    }
}
