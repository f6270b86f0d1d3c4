//! What a cron expression means: a set of naive local times, searched forward and backward.
//!
//! Days are found here, with one bit per day of a month, so that an impossible or rare date costs
//! microseconds and `L`, `5L` and `2#1` need no special search. The times of a day come from the
//! `cron` crate, asked about one fixed day as if it were UTC: its own iteration over time zones runs
//! backwards in a DST overlap and is never used. What a local time means in a zone is `zone.rs`.

use std::ops::Range;
use std::str::FromStr;

use chrono::{DateTime as CrateTime, Utc};
use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};

use super::grammar::{self, CronError, CronErrorKind, Expression, Field, Item};
use crate::model::DayMatch;

/// A compiled cron expression: which naive local times it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    days: Days,
    /// `0 <minutes> <hours> * * *`.
    times: cron::Schedule,
    first_time: Time,
    last_time: Time,
    fixed: bool,
    day_rule: DayRule,
}

/// How the day and the weekday field combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DayRule {
    /// At most one of them restricts anything, or `day_match: all`.
    Both,
    /// Vixie's OR.
    Either,
}

/// The same date and weekday come together again within 40 years (29 February on a given weekday,
/// across a year such as 2100): a search that finds nothing in this many years never will.
pub(super) const SEARCH_YEARS: i16 = 41;

/// The day on which the `cron` crate is asked for times; any day that it knows will do.
/// 2001-01-01T00:00:00Z.
const REFERENCE_DAY_SECOND: i64 = 978_307_200;
const DAY_SECONDS: i64 = 86_400;

/// Reads a five-field expression or a macro.
///
/// # Errors
/// When it is not valid, names no day that ever comes, or holds a day and a weekday field that cron
/// dialects combine differently (see [`parse_cron_matching`]).
pub fn parse_cron(expression: &str) -> Result<Cron, CronError> {
    parse_cron_matching(expression, None)
}

/// As [`parse_cron`], with the manifest's word on how a day and a weekday field combine.
///
/// # Errors
/// When it is not valid, or names no day that ever comes.
pub fn parse_cron_matching(expression: &str, day_match: Option<DayMatch>) -> Result<Cron, CronError> {
    let fields = grammar::parse(expression)?;
    let day_rule = day_rule(expression, &fields, day_match)?;
    let days = Days::new(&fields, day_rule);
    if !days.ever_comes() {
        return Err(impossible(expression, &fields));
    }
    let minutes = fields.minute.mask();
    let hours = fields.hour.mask();
    let times = format!("0 {} {} * * *", list(minutes), list(hours));
    let Ok(times) = cron::Schedule::from_str(&times) else {
        // Unreachable: two non-empty lists of values in range. An error keeps it total.
        return Err(CronError::new(
            CronErrorKind::Value,
            0..expression.len(),
            "the times cannot be read",
        ));
    };
    Ok(Cron {
        days,
        times,
        first_time: clock(hours.trailing_zeros(), minutes.trailing_zeros()),
        last_time: clock(63 - hours.leading_zeros(), 63 - minutes.leading_zeros()),
        fixed: fields.minute.is_fixed() && fields.hour.is_fixed(),
        day_rule,
    })
}

impl Cron {
    /// Whether it names clock times, with no `*` and no step in minute and hour: such a slot is kept
    /// through a DST gap and not doubled in a fold.
    #[must_use]
    pub fn is_fixed_time(&self) -> bool {
        self.fixed
    }

    /// Whether a date is enough when only one of the day and weekday fields names it.
    #[must_use]
    pub fn is_day_or_weekday(&self) -> bool {
        self.day_rule == DayRule::Either
    }

    /// Whether it can only fall on 29 February.
    #[must_use]
    pub fn is_leap_day_only(&self) -> bool {
        self.days.is_leap_day_only()
    }

    /// The first local time at or after `from`.
    pub(super) fn next_local(&self, from: DateTime) -> Option<DateTime> {
        if self.days.contains(from.date())
            && let Some(time) = self.first_time_from(from.time())
        {
            return Some(from.date().to_datetime(time));
        }
        let date = self.days.first_from(from.date().tomorrow().ok()?)?;
        Some(date.to_datetime(self.first_time))
    }

    /// The last local time at or before `until`.
    pub(super) fn previous_local(&self, until: DateTime) -> Option<DateTime> {
        if self.days.contains(until.date())
            && let Some(time) = self.last_time_until(until.time())
        {
            return Some(until.date().to_datetime(time));
        }
        let date = self.days.last_until(until.date().yesterday().ok()?)?;
        Some(date.to_datetime(self.last_time))
    }

    fn first_time_from(&self, from: Time) -> Option<Time> {
        // Strictly after the second before: the first whole second at or after `from`.
        let second = second_of_day(from) + i64::from(from.subsec_nanosecond() > 0);
        let found = self.times.after(&reference(second - 1)?).next()?;
        time_of(&found)
    }

    fn last_time_until(&self, until: Time) -> Option<Time> {
        // Strictly before the second after.
        let found = self
            .times
            .after(&reference(second_of_day(until) + 1)?)
            .next_back()?;
        time_of(&found)
    }
}

fn reference(second_of_day: i64) -> Option<CrateTime<Utc>> {
    CrateTime::from_timestamp(REFERENCE_DAY_SECOND + second_of_day, 0)
}

/// `None` when the crate went on to another day.
fn time_of(found: &CrateTime<Utc>) -> Option<Time> {
    let second = found.timestamp() - REFERENCE_DAY_SECOND;
    if !(0..DAY_SECONDS).contains(&second) {
        return None;
    }
    let second = i32::try_from(second).ok()?;
    Time::new(
        (second / 3600) as i8,
        (second / 60 % 60) as i8,
        (second % 60) as i8,
        0,
    )
    .ok()
}

fn second_of_day(time: Time) -> i64 {
    i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())
}

fn clock(hour: u32, minute: u32) -> Time {
    // Both masks are non-empty and within their field's bounds.
    Time::new(hour as i8, minute as i8, 0, 0).unwrap_or(Time::MIN)
}

/// The values as the crate's list of ranges; it reads a long list one number at a time.
fn list(mask: u64) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for value in bits(mask) {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == value => *end = value,
            _ => ranges.push((value, value)),
        }
    }
    let text = |(from, to): &(u32, u32)| {
        if from == to {
            from.to_string()
        } else {
            format!("{from}-{to}")
        }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The set bits, ascending.
pub(super) fn bits(mask: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |bit| mask >> bit & 1 == 1)
}

/// How the two day fields combine, or that nobody can know.
///
/// Debian's and Vixie's cron, Docker and Kubernetes take either of two restricted fields. A field
/// such as `*/2` restricts, but begins with `*`: cronie then wants both, robfig's parser either.
pub(super) fn day_rule(
    expression: &str,
    fields: &Expression,
    day_match: Option<DayMatch>,
) -> Result<DayRule, CronError> {
    let (day, weekday) = (&fields.day, &fields.weekday);
    for (field, other) in [(day, weekday), (weekday, day)] {
        if field.has_place() && !other.is_star() {
            let message = "`L` and `#` count days of the month: the other day field must be `*`";
            return Err(
                CronError::new(CronErrorKind::Ambiguous, field.span.clone(), message)
                    .help("write two schedules, or `*` for the other day field"),
            );
        }
    }
    if day.is_star() || weekday.is_star() {
        return Ok(DayRule::Both);
    }
    match day_match {
        Some(DayMatch::All) => Ok(DayRule::Both),
        Some(DayMatch::Any) => Ok(DayRule::Either),
        None if day.starred || weekday.starred => Err(ambiguous(expression, day, weekday)),
        None => Ok(DayRule::Either),
    }
}

fn ambiguous(expression: &str, day: &Field, weekday: &Field) -> CronError {
    let text = |field: &Field| grammar::shown(expression.get(field.span.clone()).unwrap_or_default());
    let (starred, other) = if day.starred {
        (day, weekday)
    } else {
        (weekday, day)
    };
    let message = format!(
        "`{}` beside `{}` is ambiguous: some crons want both day fields to match, others either",
        text(starred),
        text(other)
    );
    CronError::new(CronErrorKind::Ambiguous, starred.span.clone(), message)
        .help("say which with `x-scheduler.day_match: any` or `all`")
}

fn impossible(expression: &str, fields: &Expression) -> CronError {
    let span: Range<usize> = fields.day.span.start..fields.month.span.end;
    let text = grammar::shown(expression.get(span.clone()).unwrap_or_default());
    let days: Vec<_> = bits(fields.day.mask()).collect();
    let smallest = days.first().copied().unwrap_or_default();
    let message =
        format!("no month of `{text}` (day, month) has a day {smallest}: the job would never start");
    CronError::new(CronErrorKind::Impossible, span, message).help("`L` is the last day of any month")
}

/// Which dates an expression names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Days {
    rule: DayRule,
    /// Bits 1 to 12.
    months: u64,
    /// Bits 1 to 31.
    days: u32,
    last_day: bool,
    /// Bits 0 (Sunday) to 6.
    weekdays: u8,
    last_weekdays: u8,
    /// For the first to the fifth of a month.
    nth_weekdays: [u8; 5],
}

impl Days {
    fn new(fields: &Expression, rule: DayRule) -> Days {
        let mut last_weekdays = 0;
        let mut nth_weekdays = [0; 5];
        for item in &fields.weekday.items {
            match *item {
                Item::LastWeekday(day) => last_weekdays |= 1 << day,
                Item::NthWeekday(day, nth) => nth_weekdays[nth as usize - 1] |= 1 << day,
                Item::All { .. } | Item::One(_) | Item::Range { .. } | Item::LastDay => {}
            }
        }
        Days {
            rule,
            months: fields.month.mask(),
            days: fields.day.mask() as u32,
            last_day: fields.day.items.contains(&Item::LastDay),
            weekdays: fields.weekday.mask() as u8,
            last_weekdays,
            nth_weekdays,
        }
    }

    /// Whether there is such a date in some year. All but 30 and 31 (and 29 February, which comes on
    /// every weekday) are in every month.
    fn ever_comes(&self) -> bool {
        match self.rule {
            DayRule::Either => true,
            DayRule::Both => {
                self.last_day || bits(self.months).any(|month| self.days & days_up_to(longest(month)) != 0)
            }
        }
    }

    fn is_leap_day_only(&self) -> bool {
        self.rule == DayRule::Both
            && !self.last_day
            && bits(self.months)
                .all(|month| self.days & days_up_to(longest(month)) == if month == 2 { 1 << 29 } else { 0 })
    }

    fn contains(&self, date: Date) -> bool {
        self.months >> date.month() & 1 == 1 && self.in_month(date.first_of_month()) >> date.day() & 1 == 1
    }

    /// The days (bits 1 to 31) of the month that begins on `first`.
    fn in_month(&self, first: Date) -> u32 {
        let length = first.days_in_month() as u32;
        let first_weekday = u32::from(first.weekday().to_sunday_zero_offset().unsigned_abs());
        let mut by_day = self.days;
        if self.last_day {
            by_day |= 1 << length;
        }
        let mut by_weekday = spread(self.weekdays, first_weekday);
        if self.last_weekdays != 0 {
            let last_week = days_up_to(length) & !days_up_to(length - 7);
            by_weekday |= spread(self.last_weekdays, first_weekday) & last_week;
        }
        for (week, weekdays) in (0..).zip(self.nth_weekdays) {
            let days = days_up_to(7 * week + 7) & !days_up_to(7 * week);
            by_weekday |= spread(weekdays, first_weekday) & days;
        }
        let both = match self.rule {
            DayRule::Both => by_day & by_weekday,
            DayRule::Either => by_day | by_weekday,
        };
        both & days_up_to(length)
    }

    /// The first date at or after `from`, if one comes at all.
    fn first_from(&self, from: Date) -> Option<Date> {
        let mut first = from.first_of_month();
        let mut allowed = !days_up_to(u32::from(from.day().unsigned_abs()) - 1);
        let last_year = from.year().saturating_add(SEARCH_YEARS);
        while first.year() <= last_year {
            if self.months >> first.month() & 1 == 1 {
                let days = self.in_month(first) & allowed;
                if days != 0 {
                    return first.with().day(days.trailing_zeros() as i8).build().ok();
                }
            }
            first = first
                .checked_add(self.months_to_next(first.month()).months())
                .ok()?;
            allowed = u32::MAX;
        }
        None
    }

    /// The last date at or before `until`, if there was one at all.
    fn last_until(&self, until: Date) -> Option<Date> {
        let mut first = until.first_of_month();
        let mut allowed = days_up_to(u32::from(until.day().unsigned_abs()));
        let first_year = until.year().saturating_sub(SEARCH_YEARS);
        while first.year() >= first_year {
            if self.months >> first.month() & 1 == 1 {
                let days = self.in_month(first) & allowed;
                if days != 0 {
                    return first.with().day((31 - days.leading_zeros()) as i8).build().ok();
                }
            }
            first = first
                .checked_sub(self.months_to_previous(first.month()).months())
                .ok()?;
            allowed = u32::MAX;
        }
        None
    }

    /// How far ahead the next named month is: 1 to 12.
    fn months_to_next(&self, month: i8) -> i32 {
        (1..=12)
            .find(|ahead| self.months >> ((i32::from(month) - 1 + ahead) % 12 + 1) & 1 == 1)
            .unwrap_or(12)
    }

    fn months_to_previous(&self, month: i8) -> i32 {
        (1..=12)
            .find(|back| self.months >> ((i32::from(month) + 11 - back) % 12 + 1) & 1 == 1)
            .unwrap_or(12)
    }
}

/// The dates (bits 1 to 31) of weekdays (bits 0 to 6) in a month that begins on `first_weekday`.
fn spread(weekdays: u8, first_weekday: u32) -> u32 {
    let week = u64::from(weekdays) & 0x7f;
    // Bit 0: the weekday of the first.
    let from_first = (week >> first_weekday | week << (7 - first_weekday)) & 0x7f;
    let all = (0..5).fold(0, |days, week| days | from_first << (7 * week));
    (all << 1) as u32
}

/// Bits 1 to `day`; `day` at most 31.
fn days_up_to(day: u32) -> u32 {
    (2_u64 << day.min(31)).wrapping_sub(2) as u32
}

/// Days of a month in its longest year.
fn longest(month: u32) -> u32 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the golden file: times of Debian's cron 3.0pl1 (cronie's are the same) in UTC.
    struct Row<'t> {
        expression: &'t str,
        start: DateTime,
        next: Vec<&'t str>,
        previous: Vec<&'t str>,
    }

    fn golden() -> Vec<Row<'static>> {
        let text = include_str!("../../tests/data/cron-golden.tsv");
        let times = |text: &'static str| text.split(',').filter(|time| time.len() == 12).collect();
        let row = |line: &'static str| {
            let mut columns = line.split('\t');
            let mut column = || columns.next().unwrap();
            Row {
                expression: column(),
                start: column().parse().unwrap(),
                next: times(column()),
                previous: times(column()),
            }
        };
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(row)
            .collect()
    }

    fn show(local: DateTime) -> String {
        local.strftime("%Y%m%d%H%M").to_string()
    }

    fn next_six(cron: &Cron, start: DateTime) -> Vec<String> {
        let step = |at: &DateTime| cron.next_local(at.checked_add(1.second()).ok()?);
        let horizon = start.checked_add(40.years()).unwrap();
        std::iter::successors(step(&start), step)
            .take(6)
            .take_while(|at| *at <= horizon)
            .map(show)
            .collect()
    }

    fn previous_six(cron: &Cron, start: DateTime) -> Vec<String> {
        let step = |at: &DateTime| cron.previous_local(at.checked_sub(1.second()).ok()?);
        let horizon = start.checked_sub(20.years()).unwrap();
        std::iter::successors(step(&start), step)
            .take(6)
            .take_while(|at| *at >= horizon)
            .map(show)
            .collect()
    }

    #[test]
    fn the_golden_file_of_real_crons() {
        let mut same = 0;
        let mut refused = std::collections::BTreeMap::new();
        let rows = golden();
        for row in &rows {
            match parse_cron(row.expression) {
                Ok(cron) => {
                    assert_eq!(
                        next_six(&cron, row.start),
                        row.next,
                        "{} after {}",
                        row.expression,
                        row.start
                    );
                    assert_eq!(
                        previous_six(&cron, row.start),
                        row.previous,
                        "{} before {}",
                        row.expression,
                        row.start
                    );
                    same += 1;
                }
                Err(error) => {
                    let said = match error.kind {
                        CronErrorKind::Step => error.message.contains("step"),
                        CronErrorKind::Range => error.message.contains("range"),
                        CronErrorKind::Ambiguous => error.message.contains("ambiguous"),
                        CronErrorKind::Impossible => row.next.is_empty() && row.previous.is_empty(),
                        _ => false,
                    };
                    assert!(said, "{}: {error}", row.expression);
                    *refused.entry(format!("{:?}", error.kind)).or_insert(0) += 1;
                }
            }
        }
        let refused: Vec<_> = refused
            .iter()
            .map(|(kind, count)| (kind.as_str(), *count))
            .collect();
        assert_eq!(
            (rows.len(), same, refused),
            (1200, 645, vec![("Ambiguous", 69), ("Step", 486)])
        );
    }
}
