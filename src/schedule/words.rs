//! How long until then, in the few words that a person reads at a glance.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Fire;

/// The distance between two instants with at most two units, cut and not rounded: `12h 26m`, `3d`,
/// `45s`. The order of the two does not matter.
#[must_use]
pub fn until_words(from: Timestamp, to: Timestamp) -> String {
    let secs = to.duration_since(from).unsigned_abs().as_secs();
    let parts = [
        (secs / 86_400, "d"),
        (secs / 3_600 % 24, "h"),
        (secs / 60 % 60, "m"),
        (secs % 60, "s"),
    ];
    let first = parts
        .iter()
        .position(|(count, _)| *count > 0)
        .unwrap_or(parts.len() - 1);
    let mut words = format!("{}{}", parts[first].0, parts[first].1);
    if let Some((count, unit)) = parts.get(first + 1)
        && *count > 0
    {
        // Writing to a `String` cannot fail.
        let _ = write!(words, " {count}{unit}");
    }
    words
}

/// When an instant is, seen from `now`: `in 12h 26m`, `3m ago`, `now`.
#[must_use]
pub fn in_words(now: Timestamp, at: Timestamp) -> String {
    let words = until_words(now, at);
    if at.duration_since(now).as_secs() == 0 {
        "now".to_owned()
    } else if at > now {
        format!("in {words}")
    } else {
        format!("{words} ago")
    }
}

impl Fire {
    /// RFC 3339 with the zone's offset: `2026-11-23T02:30:00+01:00`.
    #[must_use]
    pub fn local_rfc3339(&self) -> String {
        let local = self.local();
        let offset = if local.offset().is_zero() {
            "+00:00".to_owned()
        } else {
            local.strftime("%:z").to_string()
        };
        format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S"))
    }

    /// Weekday, date, time and abbreviation on the zone's clock: `Mon 2026-11-23 02:30 CET`. Seconds
    /// only when there are any.
    #[must_use]
    pub fn local_words(&self) -> String {
        let local = self.local();
        let format = if local.second() == 0 {
            "%a %Y-%m-%d %H:%M"
        } else {
            "%a %Y-%m-%d %H:%M:%S"
        };
        let abbreviation = local.strftime("%Z").to_string();
        let offset = local.strftime("%:z").to_string();
        // Half of the zones have only numbers for a name: `+0530`.
        let zone = match abbreviation.as_str() {
            "UTC" => abbreviation,
            name if name.starts_with(['+', '-']) => offset,
            name => format!("{name} {offset}"),
        };
        format!("{} {zone}", local.strftime(format))
    }

    /// As much of the zone's clock as it takes to know the moment, seen from `now`: `Mon 02:30 CET`
    /// within the next days, else with its date.
    #[must_use]
    pub fn local_near(&self, now: Timestamp) -> String {
        self.moment_near(self.slot.at(), now)
    }

    /// The same of another moment of the job, such as its start where jitter delays that.
    #[must_use]
    pub fn moment_near(&self, at: Timestamp, now: Timestamp) -> String {
        let local = at.to_zoned(self.local().time_zone().clone());
        let is_near = at.duration_since(now).as_hours() < 6 * 24;
        let format = match (is_near, local.second()) {
            (true, 0) => "%a %H:%M %Z",
            (true, _) => "%a %H:%M:%S %Z",
            (false, 0) => "%Y-%m-%d %H:%M %Z",
            (false, _) => "%Y-%m-%d %H:%M:%S %Z",
        };
        local.strftime(format).to_string()
    }

    /// What the clock did to the slot, as a remark behind its time.
    #[must_use]
    pub fn note_words(&self) -> Option<&'static str> {
        self.note.map(|note| match note {
            super::Note::Gap => "shifted: the clock skips its time",
            super::Note::Fold => "once: the clock shows its time twice",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Slot;

    #[test]
    fn distances_have_at_most_two_units() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (secs, words) in [
            (1, "in 1s"),
            (59, "in 59s"),
            (60, "in 1m"),
            (61, "in 1m 1s"),
            (44_799, "in 12h 26m"),
            (86_400, "in 1d"),
            (90_061, "in 1d 1h"),
            (86_400 + 60, "in 1d"),
            (0, "now"),
            (-180, "3m ago"),
        ] {
            assert_eq!(in_words(at(1_000_000), at(1_000_000 + secs)), words);
        }
        assert!(in_words(Timestamp::MIN, Timestamp::MAX).starts_with("in 7304"));
    }

    #[test]
    fn a_slot_reads_on_its_own_clock() {
        let fire = |zone: &str| Fire {
            slot: "2026-11-23T01:30:00Z".parse::<Slot>().unwrap(),
            timezone: zone.into(),
            note: None,
        };
        assert_eq!(fire("Europe/Berlin").local_rfc3339(), "2026-11-23T02:30:00+01:00");
        assert_eq!(
            fire("Europe/Berlin").local_words(),
            "Mon 2026-11-23 02:30 CET +01:00"
        );
        assert_eq!(fire("UTC").local_rfc3339(), "2026-11-23T01:30:00+00:00");
        assert_eq!(fire("UTC").local_words(), "Mon 2026-11-23 01:30 UTC");
        assert_eq!(
            fire("Asia/Kathmandu").local_words(),
            "Mon 2026-11-23 07:15 +05:45"
        );
    }
}
