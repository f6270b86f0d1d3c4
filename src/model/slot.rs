//! A slot: one nominal start time of a job, a whole UTC second.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One nominal start time. A pure function of the manifest and the time zone database, never of
/// "now"; jitter delays the start, it never changes the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot(Timestamp);

impl Slot {
    /// The slot of that instant, cut to the whole second.
    #[must_use]
    pub fn new(at: Timestamp) -> Slot {
        Slot::from_second(at.as_second())
    }

    /// The slot at that many seconds since the Unix epoch; out-of-range values are clamped to the
    /// range of [`Timestamp`].
    #[must_use]
    pub fn from_second(second: i64) -> Slot {
        let second = second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        Slot(Timestamp::from_second(second).unwrap_or(Timestamp::MAX))
    }

    #[must_use]
    pub fn at(self) -> Timestamp {
        self.0
    }

    #[must_use]
    pub fn as_second(self) -> i64 {
        self.0.as_second()
    }

    /// The form used in container names: `20261123T013000Z`.
    #[must_use]
    pub fn compact(self) -> String {
        self.0.strftime("%Y%m%dT%H%M%SZ").to_string()
    }
}

/// RFC 3339 in UTC: `2026-11-23T01:30:00Z`.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl FromStr for Slot {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Slot, jiff::Error> {
        Ok(Slot::new(text.parse()?))
    }
}

impl TryFrom<String> for Slot {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Slot, jiff::Error> {
        text.parse()
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> String {
        slot.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_two_texts_and_keeps_whole_seconds() {
        let slot: Slot = "2026-11-23T01:30:00.999Z".parse().unwrap();
        assert_eq!(slot.to_string(), "2026-11-23T01:30:00Z");
        assert_eq!(slot.compact(), "20261123T013000Z");
    }
}
