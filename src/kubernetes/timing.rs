//! Schedules as five fields that Go's cron library reads as ours are meant, each in its zone.

use std::time::Duration;

use crate::model::{DayMatch, Trigger};

/// Why a trigger has no form in five fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The key that says it, below the job.
    pub key: &'static str,
    pub message: String,
    pub help: Option<&'static str>,
}

/// A trigger as five fields (or a macro) and a zone. A period that divides the day evenly is one, since
/// periods count from midnight UTC of 1970.
pub(crate) fn as_cron(trigger: &Trigger) -> Result<(String, String), Refused> {
    match trigger {
        Trigger::Except { .. } => Err(Refused {
            key: "x-scheduler.except",
            message: String::from("days without slots have no form in five fields"),
            help: None,
        }),
        Trigger::Every { period } => match fields_of(*period) {
            Some(fields) => Ok((fields, String::from("UTC"))),
            None => Err(Refused {
                key: "x-scheduler.every",
                message: format!("`every: {}s` has no form in five fields", period.as_secs()),
                help: Some("whole minutes that divide an hour, or whole hours that divide a day, have one"),
            }),
        },
        Trigger::Cron {
            expression,
            timezone,
            day_match: _,
        } => Ok((expression.clone(), timezone.clone())),
    }
}

/// Whether an expression counts the days of a month (`L`, `5L`, `2#1`), as hardly another cron does.
pub(crate) fn counts_days(expression: &str) -> bool {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let [_, _, day, _, weekday] = fields[..] else {
        return false;
    };
    // Names of weekdays have none of these letters but `wed`'s first.
    let is_extended = |field: &str, letters: &[char]| field.to_ascii_lowercase().contains(letters);
    is_extended(day, &['l', 'w']) || is_extended(weekday, &['l', '#'])
}

/// What to do where such days are not known.
pub(crate) const NAME_DAYS: &str =
    "name days that it knows, and let the command decide whether it is the one";

fn fields_of(period: Duration) -> Option<String> {
    let seconds = period.as_secs();
    if period.subsec_nanos() != 0 || seconds == 0 || !seconds.is_multiple_of(60) {
        return None;
    }
    match seconds / 60 {
        1 => Some(String::from("* * * * *")),
        minutes if minutes < 60 && 60 % minutes == 0 => Some(format!("*/{minutes} * * * *")),
        60 => Some(String::from("0 * * * *")),
        minutes if minutes % 60 == 0 && minutes < 1440 && 24 % (minutes / 60) == 0 => {
            Some(format!("0 */{} * * *", minutes / 60))
        }
        1440 => Some(String::from("0 0 * * *")),
        _ => None,
    }
}

/// The expression as Go's library takes it, which knows no 7 for Sunday and, when both day fields are
/// restricted, takes either.
pub(super) fn for_go(trigger: &Trigger) -> Result<(String, String), Refused> {
    let (expression, zone) = as_cron(trigger)?;
    if expression.starts_with('@') {
        return Ok((expression.to_ascii_lowercase(), zone));
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Ok((expression, zone));
    };
    if let Trigger::Cron {
        day_match: Some(day_match),
        ..
    } = trigger
    {
        let all_of_two = *day_match == DayMatch::All && day != "*" && weekday != "*";
        // A list that begins with a star counts as a star there.
        let starred = |field: &str| field.starts_with("*,") || field.starts_with("*/1,") || field == "*/1";
        if all_of_two || (*day_match == DayMatch::Any && (starred(day) || starred(weekday))) {
            return Err(Refused {
                key: "triggers.schedule",
                message: String::from("Kubernetes starts on either of day and weekday, never on both"),
                help: Some("name the days of one field alone"),
            });
        }
    }
    if counts_days(&expression) {
        return Err(Refused {
            key: "triggers.schedule",
            message: String::from("Kubernetes knows neither `L` and `W` nor `#` in a schedule"),
            help: Some(NAME_DAYS),
        });
    }
    let weekday = from_sunday(weekday).unwrap_or_else(|| weekday.to_owned());
    Ok((format!("{minute} {hour} {day} {month} {weekday}"), zone))
}

/// A weekday field with Sunday at its end, as a list that counts from it; `None` when it has none.
fn from_sunday(field: &str) -> Option<String> {
    const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let lower = field.to_ascii_lowercase();
    if !lower.contains('7') && !lower.contains("-sun") {
        return None;
    }
    let number = |text: &str, end: bool| match NAMES.iter().position(|name| *name == text) {
        Some(0) if end => Some(7),
        Some(day) => Some(day),
        None => text.parse::<usize>().ok().filter(|day| *day <= 7),
    };
    let mut days = Vec::new();
    for item in lower.split(',') {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let step = step.parse::<usize>().ok().filter(|step| *step > 0)?;
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number(from, false)?, number(to, true)?),
            None if range == "*" => (0, 6),
            None => (number(range, false)?, number(range, false)?),
        };
        days.extend((from..=to).step_by(step).map(|day| day % 7));
    }
    days.sort_unstable();
    days.dedup();
    let days: Vec<String> = days.iter().map(ToString::to_string).collect();
    Some(days.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_that_divide_the_day_have_five_fields() {
        for (seconds, fields) in [
            (60, Some("* * * * *")),
            (300, Some("*/5 * * * *")),
            (3600, Some("0 * * * *")),
            (21_600, Some("0 */6 * * *")),
            (86_400, Some("0 0 * * *")),
            (10, None),
            (90, None),
            (420, None),
            (18_000, None),
            (172_800, None),
        ] {
            assert_eq!(
                fields_of(Duration::from_secs(seconds)).as_deref(),
                fields,
                "{seconds}"
            );
        }
    }

    #[test]
    fn what_go_does_not_read_is_refused() {
        let of = |expression: &str| {
            for_go(&Trigger::Cron {
                expression: expression.to_owned(),
                timezone: String::from("UTC"),
                day_match: None,
            })
            .map(|(expression, _)| expression)
            .map_err(|refused| refused.key)
        };
        for expression in ["0 0 L * *", "0 0 15W * *", "0 0 * * fri#2", "0 0 * * 5L"] {
            assert_eq!(of(expression), Err("triggers.schedule"), "{expression}");
        }
        assert_eq!(of("0 0 * jul wed").as_deref(), Ok("0 0 * jul wed"));
    }

    #[test]
    fn sunday_is_zero() {
        assert_eq!(from_sunday("7").as_deref(), Some("0"));
        assert_eq!(from_sunday("5-7").as_deref(), Some("0,5,6"));
        assert_eq!(from_sunday("fri-sun").as_deref(), Some("0,5,6"));
        assert_eq!(from_sunday("mon-fri"), None);
    }
}
