//! What is valid and still surprises people: said by `validate`, never an error.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::{Fire, Note, Rule, Schedule};
use crate::model::Trigger;

/// One surprise. `Display` gives the message, a lowercase fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleWarning {
    /// More slots than one in a minute.
    OftenerThanOnceAMinute { period: Duration },
    /// A clock time that the zone's clock skips within the coming year.
    Gap {
        local: DateTime,
        shifted: DateTime,
        timezone: String,
    },
    /// A clock time that the zone's clock shows twice within the coming year.
    Fold { local: DateTime, timezone: String },
    /// A day and a weekday field: either is enough.
    DayOrWeekday,
    /// Only on 29 February.
    LeapDayOnly,
    /// Valid, but nothing comes in the next eight years (a step inside an hour that the zone's clock
    /// always skips on that day; a 29 February that must also be a Monday).
    NothingSoon,
}

impl ScheduleWarning {
    /// A stable name for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ScheduleWarning::OftenerThanOnceAMinute { .. } => "oftener_than_once_a_minute",
            ScheduleWarning::Gap { .. } => "dst_gap",
            ScheduleWarning::Fold { .. } => "dst_fold",
            ScheduleWarning::DayOrWeekday => "day_or_weekday",
            ScheduleWarning::LeapDayOnly => "leap_day_only",
            ScheduleWarning::NothingSoon => "nothing_soon",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            ScheduleWarning::OftenerThanOnceAMinute { .. } => {
                "each run is a container of its own; a service that loops may suit better"
            }
            ScheduleWarning::Gap { .. } | ScheduleWarning::Fold { .. } => {
                "choose a time outside the turn of the clock, or `timezone: UTC`"
            }
            ScheduleWarning::DayOrWeekday => "for days that match both write `x-scheduler.day_match: all`",
            ScheduleWarning::LeapDayOnly => "`L` with month 2 is the last day of every February",
            ScheduleWarning::NothingSoon => "look at the coming times with `next`",
        }
    }
}

impl fmt::Display for ScheduleWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScheduleWarning::OftenerThanOnceAMinute { period } => {
                write!(
                    f,
                    "runs every {}s, more often than once a minute",
                    period.as_secs()
                )
            }
            ScheduleWarning::Gap {
                local,
                shifted,
                timezone,
            } => write!(
                f,
                "on {} the clock of {timezone} skips {}: it runs at {} instead",
                local.strftime("%Y-%m-%d"),
                local.strftime("%H:%M"),
                clock_after(*local, *shifted),
            ),
            ScheduleWarning::Fold { local, timezone } => write!(
                f,
                "on {} the clock of {timezone} shows {} twice: it runs at the first only",
                local.strftime("%Y-%m-%d"),
                local.strftime("%H:%M"),
            ),
            ScheduleWarning::DayOrWeekday => {
                f.write_str("runs when the day or the weekday matches, not only when both do")
            }
            ScheduleWarning::LeapDayOnly => f.write_str("runs on 29 February only, mostly each fourth year"),
            ScheduleWarning::NothingSoon => f.write_str("does not run within the next eight years"),
        }
    }
}

/// The time alone, unless it is another day's.
fn clock_after(local: DateTime, shifted: DateTime) -> String {
    let format = if local.date() == shifted.date() {
        "%H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    shifted.strftime(format).to_string()
}

const YEAR: SignedDuration = SignedDuration::from_hours(24 * 366);
const EIGHT_YEARS: SignedDuration = SignedDuration::from_hours(24 * (8 * 365 + 2));

/// What may surprise about a trigger, seen from an instant. A trigger that does not compile has no
/// warnings: it has an error.
#[must_use]
pub fn warnings(trigger: &Trigger, from: Timestamp) -> Vec<ScheduleWarning> {
    if matches!(trigger, Trigger::Except { .. }) {
        return Vec::new();
    }
    let Ok(schedule) = Schedule::compile(std::slice::from_ref(trigger)) else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    if let Trigger::Every { period } = trigger
        && *period < Duration::from_secs(60)
    {
        warnings.push(ScheduleWarning::OftenerThanOnceAMinute { period: *period });
    }
    if let [Rule::Cron(rule)] = &schedule.rules[..] {
        if rule.cron.is_day_or_weekday() {
            warnings.push(ScheduleWarning::DayOrWeekday);
        }
        if rule.cron.is_leap_day_only() {
            warnings.push(ScheduleWarning::LeapDayOnly);
        }
        if rule.cron.is_fixed_time() {
            warnings.extend(turns(&schedule, rule, from));
        }
    }
    let horizon = from.saturating_add(EIGHT_YEARS).unwrap_or(Timestamp::MAX);
    if horizon < Timestamp::MAX
        && schedule
            .next_after(from)
            .is_none_or(|fire| fire.slot.at() > horizon)
    {
        warnings.push(ScheduleWarning::NothingSoon);
    }
    warnings
}

/// The first gap and the first fold of the coming year that a fixed time falls into. Only the days
/// around the zone's turns of the clock are looked at, so that 1,440 times a day cost no more.
fn turns(schedule: &Schedule, rule: &super::zone::ZonedCron, from: Timestamp) -> Vec<ScheduleWarning> {
    let end = from.saturating_add(YEAR).unwrap_or(Timestamp::MAX);
    let mut gap = None;
    let mut fold = None;
    for turn in rule
        .zone
        .following(from)
        .take_while(|turn| turn.timestamp() <= end)
        .take(MOST_TURNS)
    {
        let at = turn.timestamp();
        let window = SignedDuration::from_hours(26);
        let start = at.saturating_sub(window).unwrap_or(at).max(from);
        let until = at.saturating_add(window).unwrap_or(at).min(end);
        for fire in schedule.between(start, until) {
            match fire.note {
                Some(Note::Gap) if gap.is_none() => gap = Some(gap_of(&fire, rule, at)),
                Some(Note::Fold) if fold.is_none() => {
                    let local = fire.local().datetime();
                    fold = Some(ScheduleWarning::Fold {
                        local,
                        timezone: rule.name.to_string(),
                    });
                }
                _ => {}
            }
        }
    }
    gap.into_iter().chain(fold).collect()
}

/// No zone turns its clock more often in a year.
const MOST_TURNS: usize = 16;

/// `turn` is when the clock skipped the slot's time.
fn gap_of(fire: &Fire, rule: &super::zone::ZonedCron, turn: Timestamp) -> ScheduleWarning {
    let shifted = fire.local().datetime();
    let just_before = turn.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(turn);
    let local = rule.zone.to_offset(just_before).to_datetime(fire.slot.at());
    ScheduleWarning::Gap {
        local,
        shifted,
        timezone: rule.name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DayMatch;

    fn of(expression: &str, zone: &str, day_match: Option<DayMatch>) -> Vec<String> {
        let trigger = Trigger::Cron {
            expression: expression.into(),
            timezone: zone.into(),
            day_match,
        };
        let from = "2026-11-22T12:00:00Z".parse().unwrap();
        warnings(&trigger, from).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_ordinary_schedule_has_no_warning() {
        for expression in ["30 4 * * *", "* * * * *", "*/5 2 * * *", "@weekly", "0 3 L * *"] {
            assert_eq!(of(expression, "Europe/Berlin", None), [""; 0], "{expression}");
        }
        assert_eq!(of("30 2 * * *", "UTC", None), [""; 0]);
    }

    #[test]
    fn surprises_are_named() {
        assert_eq!(
            of("30 2 * * *", "Europe/Berlin", None),
            [
                "on 2027-03-28 the clock of Europe/Berlin skips 02:30: it runs at 03:30 instead",
                "on 2027-10-31 the clock of Europe/Berlin shows 02:30 twice: it runs at the first only",
            ]
        );
        assert_eq!(
            of("30 2 * * *", "America/New_York", None),
            ["on 2027-03-14 the clock of America/New_York skips 02:30: it runs at 03:30 instead"]
        );
        assert_eq!(
            of("0 0 13 * 5", "UTC", None),
            ["runs when the day or the weekday matches, not only when both do"]
        );
        assert_eq!(of("0 0 13 * 5", "UTC", Some(DayMatch::All)), [""; 0]);
        assert_eq!(
            of("0 0 29 2 *", "UTC", None),
            ["runs on 29 February only, mostly each fourth year"]
        );
        let every = Trigger::Every {
            period: Duration::from_secs(10),
        };
        let warnings = warnings(&every, Timestamp::UNIX_EPOCH);
        assert_eq!(
            warnings[0].to_string(),
            "runs every 10s, more often than once a minute"
        );
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_time_that_the_clock_always_skips_is_told() {
        assert_eq!(
            of("*/15 2 * 3 0#2", "America/New_York", None),
            ["does not run within the next eight years"]
        );
    }
}
