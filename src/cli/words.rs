//! Times as people say them: `5 minutes ago` and `4.26MB` as Docker's lists do. What lies
//! ahead is said by `schedule`.
//!
//! Pure: "now" is passed in.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::schedule::until_words;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// `5 minutes ago`; a time that lies ahead (two clocks disagree) is `in 5 minutes`.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second());
    if seconds < 0 {
        format!("in {}", rough(seconds.unsigned_abs()))
    } else {
        format!("{} ago", rough(seconds.unsigned_abs()))
    }
}

/// The same within a sentence: `about an hour ago`.
#[must_use]
pub fn ago_within(then: Timestamp, now: Timestamp) -> String {
    let mut words = ago(then, now);
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    words
}

/// `1 container`, `2 containers`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// A run's length: with tenths below ten seconds, else in two units.
#[must_use]
pub fn length(from: Timestamp, to: Timestamp) -> String {
    let milliseconds = to
        .as_millisecond()
        .saturating_sub(from.as_millisecond())
        .unsigned_abs();
    if milliseconds < 10_000 {
        format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100)
    } else {
        until_words(from, to)
    }
}

/// `2026-11-23 02:30:00 +01:00`, in that zone.
#[must_use]
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

/// Docker's form of a size (`go-units`, `HumanSizeWithPrecision` with 3 digits): `4.26MB`, `187B`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 0;
    let mut divisor: u64 = 1;
    while unit + 1 < units.len() && bytes / divisor >= 1000 {
        divisor *= 1000;
        unit += 1;
    }
    let whole = bytes / divisor;
    let thousandths = u128::from(bytes % divisor) * 1000 / u128::from(divisor);
    let decimals = match whole {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let mut text = match decimals {
        2 => format!("{whole}.{:02}", thousandths / 10),
        1 => format!("{whole}.{}", thousandths / 100),
        _ => whole.to_string(),
    };
    if text.contains('.') {
        text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    format!("{text}{}", units[unit])
}

/// Docker's words (`go-units`, `HumanDuration`) for a length of time.
fn rough(seconds: u64) -> String {
    match seconds {
        0 => String::from("Less than a second"),
        1 => String::from("1 second"),
        2..MINUTE => format!("{seconds} seconds"),
        _ => match (seconds + MINUTE / 2) / MINUTE {
            0 | 1 => String::from("About a minute"),
            minutes @ 2..60 => format!("{minutes} minutes"),
            _ => rough_hours((seconds + HOUR / 2) / HOUR),
        },
    }
}

fn rough_hours(hours: u64) -> String {
    match hours {
        0 | 1 => String::from("About an hour"),
        2..48 => format!("{hours} hours"),
        48..336 => format!("{} days", hours / 24),
        336..1440 => format!("{} weeks", hours / 24 / 7),
        1440..17_520 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn ages_use_the_words_of_docker() {
        let words = [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "About a minute ago"),
            (300, "5 minutes ago"),
            (3600, "About an hour ago"),
            (7200, "2 hours ago"),
            (47 * 3600, "47 hours ago"),
            (48 * 3600, "2 days ago"),
            (14 * 86400, "2 weeks ago"),
            (60 * 86400, "2 months ago"),
            (730 * 86400, "2 years ago"),
            (-300, "in 5 minutes"),
        ];
        for (age, text) in words {
            assert_eq!(ago(at(2_000_000_000 - age), at(2_000_000_000)), text);
        }
        assert_eq!(ago_within(at(0), at(0)), "less than a second ago");
    }

    #[test]
    fn a_size_has_three_digits_of_docker() {
        let words = [
            (0, "0B"),
            (187, "187B"),
            (1000, "1kB"),
            (4_260_000, "4.26MB"),
            (77_900_000, "77.9MB"),
            (405_000_000, "405MB"),
            (1_050_000_000, "1.05GB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, text) in words {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_short_run_shows_its_tenths() {
        let after = |ms| length(Timestamp::UNIX_EPOCH, Timestamp::from_millisecond(ms).unwrap());
        assert_eq!(after(1234), "1.2s");
        assert_eq!(after(0), "0.0s");
        assert_eq!(after(65_000), "1m 5s");
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        assert!(ago(Timestamp::MIN, Timestamp::MAX).ends_with("years ago"));
        assert!(!length(Timestamp::MIN, Timestamp::MAX).is_empty());
    }

    #[test]
    fn a_local_time_carries_its_offset() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(
            local("2026-11-23T01:30:00Z".parse().unwrap(), &berlin),
            "2026-11-23 02:30:00 +01:00"
        );
    }
}
