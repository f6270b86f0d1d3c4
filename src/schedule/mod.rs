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
//! | `jitter.rs` | the delay of a start after its slot |
//! | `explain.rs`, `words.rs`, `warn.rs` | what a person reads |

mod cron;
mod duration;
mod every;
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
        let rules = triggers.iter().map(Rule::compile).collect::<Result<_, _>>()?;
        Ok(Schedule { rules })
    }

    /// The first slot strictly after an instant.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Fire> {
        let from = second_after(after)?;
        earliest(self.rules.iter().filter_map(|rule| rule.first_from(from)))
    }

    /// The last slot strictly before an instant.
    #[must_use]
    pub fn previous_before(&self, before: Timestamp) -> Option<Fire> {
        let until = second_before(before)?;
        // Of equal ones the first trigger's: `max_by` keeps the last, hence the reversal.
        self.rules
            .iter()
            .rev()
            .filter_map(|rule| rule.last_until(until))
            .max_by(|a, b| a.slot.cmp(&b.slot))
    }

    /// The slots after one instant up to and including another, ascending, each once.
    pub fn between(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Fire> {
        let start = second_after(after).filter(|start| *start <= until);
        let heads = self
            .rules
            .iter()
            .map(|rule| start.and_then(|start| rule.first_from(start)))
            .collect();
        Between {
            rules: &self.rules,
            heads,
            until,
        }
    }

    /// How many slots [`Schedule::between`] would yield, counted up to `limit`.
    #[must_use]
    pub fn count_between(&self, after: Timestamp, until: Timestamp, limit: u64) -> u64 {
        if let [Rule::Every(every)] = self.rules[..] {
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
                .any(|rule| rule.first_from(at).is_some_and(|fire| fire.slot.at() == at))
    }

    /// Whether it has no triggers at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
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
    fn compile(trigger: &Trigger) -> Result<Rule, ScheduleError> {
        match trigger {
            Trigger::Every { period } => Ok(Rule::Every(every::Every::new(*period)?)),
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
                Ok(Rule::Cron(Box::new(zone::ZonedCron {
                    cron,
                    zone,
                    name: timezone.as_str().into(),
                })))
            }
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
    rules: &'s [Rule],
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
        for (rule, head) in self.rules.iter().zip(&mut self.heads) {
            if head.as_ref().is_some_and(|head| head.slot == fire.slot) {
                *head = from.and_then(|from| rule.first_from(from));
            }
        }
        Some(fire)
    }
}

impl std::iter::FusedIterator for Between<'_> {}
