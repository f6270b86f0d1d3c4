//! Slots at a fixed distance, anchored to the Unix epoch: a restart or an edit elsewhere does not
//! move them, and no zone does.

use std::time::Duration;

use jiff::Timestamp;

/// Why a period was refused. A lowercase fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EveryError {
    #[error("the shortest period is 1s")]
    TooShort,
    #[error("a period must be whole seconds")]
    NotWholeSeconds,
    #[error("a period must be at most 36500d")]
    TooLong,
}

/// A hundred years: longer than anybody waits, and far from the end of any number here.
const LONGEST_SECS: u64 = 36_500 * 86_400;

/// A checked period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Every {
    secs: i64,
}

/// Whether `period` may be an `every`.
///
/// # Errors
/// When it is shorter than a second, longer than 36500 days, or has a fraction of a second.
pub fn check_every(period: Duration) -> Result<(), EveryError> {
    Every::new(period).map(|_| ())
}

impl Every {
    pub(super) fn new(period: Duration) -> Result<Every, EveryError> {
        match period.as_secs() {
            0 => Err(EveryError::TooShort),
            _ if period.subsec_nanos() != 0 => Err(EveryError::NotWholeSeconds),
            secs if secs > LONGEST_SECS => Err(EveryError::TooLong),
            secs => i64::try_from(secs)
                .map(|secs| Every { secs })
                .map_err(|_| EveryError::TooLong),
        }
    }

    /// The first slot at or after a whole second.
    pub(super) fn first_from(self, from: Timestamp) -> Option<Timestamp> {
        let second = from.as_second();
        let late = second.rem_euclid(self.secs);
        let ahead = if late == 0 { 0 } else { self.secs - late };
        Timestamp::from_second(second.checked_add(ahead)?).ok()
    }

    /// The last slot at or before a whole second.
    pub(super) fn last_until(self, until: Timestamp) -> Option<Timestamp> {
        let second = until.as_second();
        Timestamp::from_second(second.checked_sub(second.rem_euclid(self.secs))?).ok()
    }

    /// How many slots lie between two whole seconds, both included.
    pub(super) fn count(self, from: Timestamp, until: Timestamp) -> u64 {
        let upto = |second: i64| second.div_euclid(self.secs);
        let count = upto(until.as_second()) - upto(from.as_second().saturating_sub(1));
        u64::try_from(count).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_whole_seconds_from_one_up() {
        assert_eq!(check_every(Duration::from_millis(999)), Err(EveryError::TooShort));
        assert_eq!(
            check_every(Duration::from_millis(1500)),
            Err(EveryError::NotWholeSeconds)
        );
        assert_eq!(
            check_every(Duration::MAX - Duration::from_nanos(999_999_999)),
            Err(EveryError::TooLong)
        );
        check_every(Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn slots_are_multiples_since_the_epoch_on_both_sides_of_it() {
        let every = Every::new(Duration::from_secs(420)).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(every.first_from(at(-1)), Some(at(0)));
        assert_eq!(every.first_from(at(0)), Some(at(0)));
        assert_eq!(every.first_from(at(1)), Some(at(420)));
        assert_eq!(every.last_until(at(-1)), Some(at(-420)));
        assert_eq!(every.last_until(at(419)), Some(at(0)));
        assert_eq!(every.count(at(-420), at(420)), 3);
        assert_eq!(every.count(at(1), at(419)), 0);
        assert_eq!(every.count(at(5), at(4)), 0);
    }

    #[test]
    fn the_ends_of_time_have_no_slot_beyond_them() {
        let every = Every::new(Duration::from_secs(86_400 * 365)).unwrap();
        assert_eq!(every.first_from(Timestamp::MAX), None);
        assert_eq!(every.last_until(Timestamp::MIN), None);
    }
}
