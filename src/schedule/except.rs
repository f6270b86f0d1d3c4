//! Days without slots: holidays, a freeze before a release.
//!
//! A slot on such a day is none at all, so `next` shows what will run and nothing has to be recorded.
//! The day is that of the zone that the rule is written for: 25 December in Berlin begins there at
//! midnight, whatever time it is in UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Fire;
use crate::model::ExceptDays;

/// Stretches of excluded days that are stepped over in search of one slot: with a yearly rule that
/// always falls on an excluded day, the search must end.
const MOST_STRETCHES: u32 = 100;

/// Longer than any year, so that a range over a whole year is found to have no end.
const LONGEST_STRETCH_DAYS: u32 = 3 * 366;

/// Leap years have 29 February: it may stand in a yearly range.
const A_LEAP_YEAR: i16 = 2024;

/// Checked days, and the calendar of rules that have none of their own.
#[derive(Debug, Clone)]
pub(super) struct Except {
    days: Vec<ExceptDays>,
    zone: TimeZone,
}

impl Except {
    pub(super) fn new(days: &[ExceptDays], zone: TimeZone) -> Except {
        Except {
            days: days.to_vec(),
            zone,
        }
    }

    /// The first slot of a rule at or after `from` that lies on no excluded day.
    pub(super) fn first_free(
        &self,
        from: Timestamp,
        zone: Option<&TimeZone>,
        rule: impl Fn(Timestamp) -> Option<Fire>,
    ) -> Option<Fire> {
        let zone = zone.unwrap_or(&self.zone);
        let mut from = from;
        for _ in 0..MOST_STRETCHES {
            let fire = rule(from)?;
            let day = fire.slot.at().to_zoned(zone.clone()).date();
            if !self.covers(day) {
                return Some(fire);
            }
            let free = self.free_day(day, Date::tomorrow)?;
            from = free.to_zoned(zone.clone()).ok()?.timestamp();
        }
        None
    }

    /// The last slot of a rule at or before `until` that lies on no excluded day.
    pub(super) fn last_free(
        &self,
        until: Timestamp,
        zone: Option<&TimeZone>,
        rule: impl Fn(Timestamp) -> Option<Fire>,
    ) -> Option<Fire> {
        let zone = zone.unwrap_or(&self.zone);
        let mut until = until;
        for _ in 0..MOST_STRETCHES {
            let fire = rule(until)?;
            let day = fire.slot.at().to_zoned(zone.clone()).date();
            if !self.covers(day) {
                return Some(fire);
            }
            let free = self.free_day(day, Date::yesterday)?;
            let after = free.tomorrow().ok()?.to_zoned(zone.clone()).ok()?.timestamp();
            until = after.checked_sub(SignedDuration::from_secs(1)).ok()?;
        }
        None
    }

    fn covers(&self, day: Date) -> bool {
        self.days.iter().any(|days| covers(days, day))
    }

    /// The nearest day that is not excluded, in that direction; `None` when there is none for years.
    fn free_day(&self, day: Date, next: fn(Date) -> Result<Date, jiff::Error>) -> Option<Date> {
        let mut day = day;
        for _ in 0..LONGEST_STRETCH_DAYS {
            day = next(day).ok()?;
            if !self.covers(day) {
                return Some(day);
            }
        }
        None
    }
}

fn covers(days: &ExceptDays, day: Date) -> bool {
    match *days {
        ExceptDays::Dates { first, last } => first <= day && day <= last,
        ExceptDays::EachYear { first, last } => {
            let day = (day.month(), day.day());
            if first <= last {
                first <= day && day <= last
            } else {
                first <= day || day <= last
            }
        }
    }
}

/// Whether a day of the year is left: days of one year alone always leave others.
#[must_use]
pub fn leaves_days(days: &[ExceptDays]) -> bool {
    let mut day = Date::constant(A_LEAP_YEAR, 1, 1);
    while day.year() == A_LEAP_YEAR {
        let excluded = days
            .iter()
            .any(|days| matches!(days, ExceptDays::EachYear { .. }) && covers(days, day));
        if !excluded {
            return true;
        }
        let Ok(next) = day.tomorrow() else { break };
        day = next;
    }
    false
}

/// Reads `2026-12-25`, `2026-12-24..2026-12-26`, `12-25` or `12-24..01-02`.
///
/// # Errors
/// A lowercase fragment that says what is wrong with it.
pub fn parse_days(text: &str) -> Result<ExceptDays, String> {
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (first.trim(), last.trim()),
        None => (text.trim(), text.trim()),
    };
    match (parse_day(first)?, parse_day(last)?) {
        (Day::Date(first), Day::Date(last)) if first <= last => Ok(ExceptDays::Dates { first, last }),
        (Day::Date(first), Day::Date(last)) => Err(format!("{last} lies before {first}")),
        (Day::EachYear(first), Day::EachYear(last)) => Ok(ExceptDays::EachYear { first, last }),
        _ => Err("one end has a year and the other has none".to_owned()),
    }
}

enum Day {
    Date(Date),
    EachYear((i8, i8)),
}

fn parse_day(text: &str) -> Result<Day, String> {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    let number = |part: &str| part.parse::<i16>().unwrap_or(0);
    let small = |part: &str| part.parse::<i8>().unwrap_or(0);
    let no_such = |_| format!("there is no day {text}");
    match parts[..] {
        [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2) => {
            Date::new(number(year), small(month), small(day))
                .map(Day::Date)
                .map_err(no_such)
        }
        [month, day] if digits(month, 2) && digits(day, 2) => {
            Date::new(A_LEAP_YEAR, small(month), small(day)).map_err(no_such)?;
            Ok(Day::EachYear((small(month), small(day))))
        }
        _ => Err("a day is written as 2026-12-25, or each year as 12-25".to_owned()),
    }
}

/// `25 Dec each year`, `2026-12-24 to 2026-12-26`.
pub(super) fn in_words(days: &ExceptDays) -> String {
    match *days {
        ExceptDays::Dates { first, last } if first == last => first.to_string(),
        ExceptDays::Dates { first, last } => format!("{first} to {last}"),
        ExceptDays::EachYear { first, last } if first == last => format!("{} each year", month_day(first)),
        ExceptDays::EachYear { first, last } => {
            format!("{} to {} each year", month_day(first), month_day(last))
        }
    }
}

fn month_day((month, day): (i8, i8)) -> String {
    Date::new(A_LEAP_YEAR, month, day).map_or_else(
        |_| format!("{month:02}-{day:02}"),
        |date| date.strftime("%-d %b").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Trigger;
    use crate::schedule::Schedule;

    fn schedule(rule: Trigger, days: &[&str], timezone: &str) -> Schedule {
        let days = days.iter().map(|days| parse_days(days).unwrap()).collect();
        let timezone = timezone.to_owned();
        Schedule::compile(&[rule, Trigger::Except { days, timezone }]).unwrap()
    }

    fn cron(expression: &str, timezone: &str) -> Trigger {
        Trigger::Cron {
            expression: expression.into(),
            timezone: timezone.into(),
            day_match: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_without_slots_is_that_of_the_rules_own_zone() {
        let berlin = schedule(cron("30 0 * * *", "Europe/Berlin"), &["12-25..12-26"], "UTC");
        let next = berlin.next_after(at("2026-12-23T23:30:00Z")).unwrap();
        assert_eq!(next.local_rfc3339(), "2026-12-27T00:30:00+01:00");
        let previous = berlin.previous_before(next.slot.at()).unwrap();
        assert_eq!(previous.local_rfc3339(), "2026-12-24T00:30:00+01:00");
        assert!(!berlin.is_slot(at("2026-12-24T23:30:00Z")));
        let week = berlin.between(at("2026-12-22T00:00:00Z"), at("2026-12-29T00:00:00Z"));
        assert_eq!(week.count(), 5);
    }

    #[test]
    fn a_period_goes_by_the_jobs_zone() {
        let every = Trigger::Every {
            period: Duration::from_secs(3600),
        };
        let hourly = schedule(every, &["2026-12-24..2026-12-26"], "Europe/Berlin");
        let next = hourly.next_after(at("2026-12-23T22:00:00Z")).unwrap();
        assert_eq!(next.slot.to_string(), "2026-12-26T23:00:00Z");
        let (after, until) = (at("2026-12-23T20:00:00Z"), at("2026-12-27T00:00:00Z"));
        assert_eq!(hourly.count_between(after, until, 100), 4);
    }

    #[test]
    fn a_range_may_go_over_the_end_of_the_year_and_a_rule_may_have_no_day_left() {
        let daily = schedule(cron("0 3 * * *", "UTC"), &["12-20..01-06"], "UTC");
        let next = daily.next_after(at("2026-12-19T03:00:00Z")).unwrap();
        assert_eq!(next.slot.to_string(), "2027-01-07T03:00:00Z");
        let never = schedule(cron("0 3 25 12 *", "UTC"), &["12-25"], "UTC");
        assert_eq!(never.next_after(at("2026-01-01T00:00:00Z")), None);
        assert_eq!(never.previous_before(at("2026-01-01T00:00:00Z")), None);
        let all = ["01-01..06-30", "07-01..12-31"].map(|days| parse_days(days).unwrap());
        assert!(!leaves_days(&all));
        assert!(leaves_days(&all[..1]));
    }

    #[test]
    fn days_are_read_and_told() {
        let told = |text| in_words(&parse_days(text).unwrap());
        assert_eq!(told("2026-12-25"), "2026-12-25");
        assert_eq!(told("2026-12-24..2026-12-26"), "2026-12-24 to 2026-12-26");
        assert_eq!(told("02-29"), "29 Feb each year");
        assert_eq!(told("12-24 .. 01-02"), "24 Dec to 2 Jan each year");
        for (wrong, why) in [
            ("2026-02-29", "there is no day 2026-02-29"),
            ("13-01", "there is no day 13-01"),
            ("2026-12-26..2026-12-24", "2026-12-24 lies before 2026-12-26"),
            ("2026-12-26..12-27", "one end has a year and the other has none"),
            ("25.12.", "a day is written as 2026-12-25, or each year as 12-25"),
            ("", "a day is written as 2026-12-25, or each year as 12-25"),
            ("+1-02", "a day is written as 2026-12-25, or each year as 12-25"),
        ] {
            assert_eq!(parse_days(wrong).unwrap_err(), why);
        }
    }
}
