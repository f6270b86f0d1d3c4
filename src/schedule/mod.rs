//! Time: from the text of a schedule to its slots, in every zone and on every day.
//!
//! A [`Schedule`] is a pure function of its triggers and the compiled-in time zone database: it has
//! no state, never asks for the time, and every call is bounded. What happens to a slot (catching
//! up, skipping, delaying) is `plan`'s affair.
//!
//! | file | |
//! |---|---|
//! | `grammar.rs` | the text of a cron expression, and what is wrong with it |
//! | `cron.rs` | the naive local times that it names, by the `cron` crate |
//! | `zone.rs` | those as instants: time zones and daylight saving |
//! | `every.rs`, `duration.rs` | fixed periods |
//! | `except.rs` | days without slots |
//! | `jitter.rs` | the delay of a start after its slot |
//! | `explain.rs`, `words.rs`, `warn.rs` | what a person reads |

mod cron;
mod duration;
mod every;
mod except;
mod explain;
mod grammar;
mod jitter;
mod warn;
mod words;
mod zone;

#[cfg(test)]
mod oracle;

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::model::{Slot, Trigger};

pub use cron::{Cron, parse_cron, parse_cron_matching};
pub use duration::{DurationError, parse_duration};
pub use every::{EveryError, check_every};
pub use except::{leaves_days, parse_days};
pub use explain::{explain, explain_trigger};
pub use grammar::{CronError, CronErrorKind};
pub use jitter::jitter;
pub use warn::{ScheduleWarning, warnings};
pub use words::{in_words, until_words};
pub use zone::{Note, ZoneError, check_timezone, timezone_names, tzdb_version};

/// Why a job's triggers cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("`{}`: {error}", grammar::shown(expression))]
    Cron { expression: String, error: CronError },
    #[error(transparent)]
    Zone(#[from] ZoneError),
    #[error(transparent)]
    Every(#[from] EveryError),
}

/// All triggers of one job, merged: an instant that several of them name is one slot.
#[derive(Debug, Clone)]
pub struct Schedule {
    rules: Vec<Rule>,
    except: Option<except::Except>,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron(Box<zone::ZonedCron>),
    Every(every::Every),
}

/// One slot, and how it reads in its zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fire {
    pub slot: Slot,
    /// The zone of the trigger that named it (the first one, if several did); `UTC` for a period.
    pub timezone: Arc<str>,
    pub note: Option<Note>,
}

impl Fire {
    /// The slot on its zone's clock.
    #[must_use]
    pub fn local(&self) -> Zoned {
        // The name was checked when the schedule was compiled.
        self.slot
            .at()
            .to_zoned(check_timezone(&self.timezone).unwrap_or(TimeZone::UTC))
    }
}

impl Schedule {
    /// Compiles a job's triggers; without any, a schedule without slots.
    ///
    /// # Errors
    /// When an expression, a zone or a period is not valid.
    pub fn compile(triggers: &[Trigger]) -> Result<Schedule, ScheduleError> {
        let mut rules = Vec::with_capacity(triggers.len());
        let mut except = None;
        for trigger in triggers {
            match trigger {
                Trigger::Except { days, timezone } => {
                    except = Some(except::Except::new(days, check_timezone(timezone)?));
                }
                Trigger::Cron { .. } | Trigger::Every { .. } => rules.extend(Rule::compile(trigger)?),
            }
        }
        Ok(Schedule { rules, except })
    }

    /// The first slot strictly after an instant.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Fire> {
        let from = second_after(after)?;
        earliest(self.rules.iter().filter_map(|rule| self.first_from(rule, from)))
    }

    /// The last slot strictly before an instant.
    #[must_use]
    pub fn previous_before(&self, before: Timestamp) -> Option<Fire> {
        let until = second_before(before)?;
        // Of equal ones the first trigger's: `max_by` keeps the last, hence the reversal.
        self.rules
            .iter()
            .rev()
            .filter_map(|rule| self.last_until(rule, until))
            .max_by(|a, b| a.slot.cmp(&b.slot))
    }

    /// The slots after one instant up to and including another, ascending, each once.
    pub fn between(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Fire> {
        let start = second_after(after).filter(|start| *start <= until);
        let heads = self
            .rules
            .iter()
            .map(|rule| start.and_then(|start| self.first_from(rule, start)))
            .collect();
        Between {
            schedule: self,
            heads,
            until,
        }
    }

    /// How many slots [`Schedule::between`] would yield, counted up to `limit`.
    #[must_use]
    pub fn count_between(&self, after: Timestamp, until: Timestamp, limit: u64) -> u64 {
        if let ([Rule::Every(every)], None) = (&self.rules[..], &self.except) {
            let window =
                second_after(after).zip(second_before(until.saturating_add(NANOSECOND).unwrap_or(until)));
            return window
                .map_or(0, |(from, until)| every.count(from, until))
                .min(limit);
        }
        let mut count = 0;
        for _ in self.between(after, until) {
            if count == limit {
                break;
            }
            count += 1;
        }
        count
    }

    /// Whether an instant is a slot. Only whole seconds are.
    #[must_use]
    pub fn is_slot(&self, at: Timestamp) -> bool {
        at.subsec_nanosecond() == 0
            && self
                .rules
                .iter()
                .any(|rule| self.first_from(rule, at).is_some_and(|fire| fire.slot.at() == at))
    }

    /// Whether it has no triggers at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn first_from(&self, rule: &Rule, from: Timestamp) -> Option<Fire> {
        let Some(except) = &self.except else {
            return rule.first_from(from);
        };
        except.first_free(from, rule.zone(), |from| rule.first_from(from))
    }

    fn last_until(&self, rule: &Rule, until: Timestamp) -> Option<Fire> {
        let Some(except) = &self.except else {
            return rule.last_until(until);
        };
        except.last_free(until, rule.zone(), |until| rule.last_until(until))
    }
}

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// The first whole second strictly after an instant.
fn second_after(at: Timestamp) -> Option<Timestamp> {
    // `as_second` cuts towards zero: before 1970, a fraction already puts it after the instant.
    let ahead = i64::from(at.subsec_nanosecond() >= 0);
    Timestamp::from_second(at.as_second() + ahead).ok()
}

/// The last whole second strictly before an instant.
fn second_before(at: Timestamp) -> Option<Timestamp> {
    let back = i64::from(at.subsec_nanosecond() <= 0);
    Timestamp::from_second(at.as_second() - back).ok()
}

/// The earliest; of equal ones the first.
fn earliest(fires: impl Iterator<Item = Fire>) -> Option<Fire> {
    fires.min_by(|a, b| a.slot.cmp(&b.slot))
}

impl Rule {
    /// `None` for what takes slots away.
    fn compile(trigger: &Trigger) -> Result<Option<Rule>, ScheduleError> {
        match trigger {
            Trigger::Except { .. } => Ok(None),
            Trigger::Every { period } => Ok(Some(Rule::Every(every::Every::new(*period)?))),
            Trigger::Cron {
                expression,
                timezone,
                day_match,
            } => {
                let cron =
                    parse_cron_matching(expression, *day_match).map_err(|error| ScheduleError::Cron {
                        expression: expression.clone(),
                        error,
                    })?;
                let zone = check_timezone(timezone)?;
                Ok(Some(Rule::Cron(Box::new(zone::ZonedCron {
                    cron,
                    zone,
                    name: timezone.as_str().into(),
                }))))
            }
        }
    }

    /// The zone whose calendar counts; `None` for a period.
    fn zone(&self) -> Option<&TimeZone> {
        match self {
            Rule::Every(_) => None,
            Rule::Cron(cron) => Some(&cron.zone),
        }
    }

    fn first_from(&self, from: Timestamp) -> Option<Fire> {
        match self {
            Rule::Every(every) => every.first_from(from).map(|at| self.fire(at, None)),
            Rule::Cron(cron) => cron.first_from(from).map(|(at, note)| self.fire(at, note)),
        }
    }

    fn last_until(&self, until: Timestamp) -> Option<Fire> {
        match self {
            Rule::Every(every) => every.last_until(until).map(|at| self.fire(at, None)),
            Rule::Cron(cron) => cron.last_until(until).map(|(at, note)| self.fire(at, note)),
        }
    }

    fn fire(&self, at: Timestamp, note: Option<Note>) -> Fire {
        let timezone = match self {
            Rule::Every(_) => zone::utc_name(),
            Rule::Cron(cron) => cron.name.clone(),
        };
        Fire {
            slot: Slot::new(at),
            timezone,
            note,
        }
    }
}

/// The next slot of each rule, merged.
struct Between<'s> {
    schedule: &'s Schedule,
    heads: Vec<Option<Fire>>,
    until: Timestamp,
}

impl Iterator for Between<'_> {
    type Item = Fire;

    fn next(&mut self) -> Option<Fire> {
        let fire = earliest(self.heads.iter().flatten().cloned())?;
        if fire.slot.at() > self.until {
            self.heads.clear();
            return None;
        }
        let from = second_after(fire.slot.at());
        for (rule, head) in self.schedule.rules.iter().zip(&mut self.heads) {
            if head.as_ref().is_some_and(|head| head.slot == fire.slot) {
                *head = from.and_then(|from| self.schedule.first_from(rule, from));
            }
        }
        Some(fire)
    }
}

impl std::iter::FusedIterator for Between<'_> {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cron(expression: &str, timezone: &str) -> Trigger {
        Trigger::Cron {
            expression: expression.into(),
            timezone: timezone.into(),
            day_match: None,
        }
    }

    fn every(secs: u64) -> Trigger {
        Trigger::Every {
            period: Duration::from_secs(secs),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn show(fires: impl Iterator<Item = Fire>) -> Vec<String> {
        fires
            .map(|fire| format!("{} {}", fire.slot, fire.timezone))
            .collect()
    }

    #[test]
    fn several_triggers_merge_and_an_instant_is_one_slot() {
        let schedule = Schedule::compile(&[
            cron("0 4 * * *", "Europe/Berlin"),
            cron("0 3,9 * * *", "UTC"),
            every(6 * 3600),
            every(6 * 3600),
        ])
        .unwrap();
        let (after, until) = (at("2026-11-23T00:00:00Z"), at("2026-11-23T12:00:00Z"));
        assert_eq!(
            show(schedule.between(after, until)),
            [
                "2026-11-23T03:00:00Z Europe/Berlin",
                "2026-11-23T06:00:00Z UTC",
                "2026-11-23T09:00:00Z UTC",
                "2026-11-23T12:00:00Z UTC",
            ]
        );
        assert_eq!(schedule.count_between(after, until, 100), 4);
        assert_eq!(schedule.count_between(after, until, 2), 2);
        let previous = schedule.previous_before(at("2026-11-23T03:00:00.5Z")).unwrap();
        assert_eq!(
            show(std::iter::once(previous)),
            ["2026-11-23T03:00:00Z Europe/Berlin"]
        );
    }

    #[test]
    fn without_triggers_there_is_no_slot() {
        let schedule = Schedule::compile(&[]).unwrap();
        assert!(schedule.is_empty());
        assert_eq!(schedule.next_after(Timestamp::UNIX_EPOCH), None);
        assert_eq!(schedule.previous_before(Timestamp::UNIX_EPOCH), None);
        assert_eq!(schedule.count_between(Timestamp::MIN, Timestamp::MAX, 5), 0);
        assert!(!schedule.is_slot(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn bounds_are_exact_to_the_nanosecond_on_both_sides_of_1970() {
        let schedule = Schedule::compile(&[every(1)]).unwrap();
        for (before, slot, after) in [
            (
                "2026-11-23T03:00:00.5Z",
                "2026-11-23T03:00:01Z",
                "2026-11-23T03:00:01.000000001Z",
            ),
            (
                "1969-12-31T23:59:58.5Z",
                "1969-12-31T23:59:59Z",
                "1969-12-31T23:59:59.000000001Z",
            ),
            (
                "1969-12-31T23:59:58Z",
                "1969-12-31T23:59:59Z",
                "1970-01-01T00:00:00Z",
            ),
        ] {
            let slot: Slot = slot.parse().unwrap();
            assert_eq!(schedule.next_after(at(before)).unwrap().slot, slot);
            assert_eq!(schedule.previous_before(at(after)).unwrap().slot, slot);
            assert!(schedule.is_slot(slot.at()));
            assert_eq!(schedule.count_between(at(before), slot.at(), 9), 1);
        }
        assert!(!schedule.is_slot(at("2026-11-23T03:00:00.5Z")));
        let day = (at("2026-11-23T00:00:00Z"), at("2026-11-24T00:00:00Z"));
        assert_eq!(schedule.count_between(day.0, day.1, u64::MAX), 86_400);
        assert_eq!(schedule.between(day.0, day.1).count(), 86_400);
        assert_eq!(schedule.count_between(day.1, day.0, 9), 0);
    }

    #[test]
    fn a_slot_is_one_in_a_gap_and_a_fold_too() {
        let schedule = Schedule::compile(&[cron("30 2 * * *", "Europe/Berlin")]).unwrap();
        for (instant, is) in [
            ("2026-03-29T01:30:00Z", true),
            ("2026-03-29T00:30:00Z", false),
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:30:00Z", false),
            ("2026-11-23T01:30:00Z", true),
        ] {
            assert_eq!(schedule.is_slot(at(instant)), is, "{instant}");
        }
    }

    #[test]
    fn what_does_not_compile_says_which_part() {
        let error = |trigger| Schedule::compile(&[trigger]).unwrap_err().to_string();
        assert_eq!(
            error(cron("0 0 30 2 *", "UTC")),
            "`0 0 30 2 *`: no month of `30 2` (day, month) has a day 30: the job would never start"
        );
        assert_eq!(
            error(cron("0 0 * * *", "Mars/Base")),
            "unknown time zone `Mars/Base`"
        );
        assert_eq!(error(every(0)), "the shortest period is 1s");
    }

    #[test]
    fn a_leap_day_on_a_monday_is_found_across_a_century() {
        let rare = Trigger::Cron {
            expression: "0 0 29 2 1".into(),
            timezone: "Europe/Berlin".into(),
            day_match: Some(crate::model::DayMatch::All),
        };
        let schedule = Schedule::compile(&[rare]).unwrap();
        let next = schedule.next_after(at("2072-03-01T00:00:00Z")).unwrap();
        assert_eq!(next.local_rfc3339(), "2112-02-29T00:00:00+01:00");
        assert_eq!(
            schedule.previous_before(next.slot.at()).unwrap().local_rfc3339(),
            "2072-02-29T00:00:00+01:00"
        );
    }
}
