//! Durations as manifests write them: numbers with units, `90s`, `1h30m`, `500ms`, `1.5h`.
//!
//! A number without a unit is refused: Compose would read it as nothing, crontab users as minutes,
//! and Kubernetes users as seconds.

use std::ops::Range;
use std::time::Duration;

use super::grammar::quoted;

/// Why a duration was refused. The message is a lowercase fragment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DurationError {
    pub message: String,
    /// Byte offsets into the text; always on character boundaries.
    pub span: Range<usize>,
    /// What to write instead.
    pub help: Option<String>,
}

impl DurationError {
    fn new(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> DurationError {
        DurationError {
            message: message.into(),
            span,
            help: Some(help.into()),
        }
    }
}

/// Units from the largest down, in nanoseconds.
const UNITS: [(&str, u128); 9] = [
    ("w", 7 * 86_400 * NANOS),
    ("d", 86_400 * NANOS),
    ("h", 3_600 * NANOS),
    ("m", 60 * NANOS),
    ("s", NANOS),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];
const NANOS: u128 = 1_000_000_000;
const EXAMPLE: &str = "write a number and a unit, such as `30s`, `5m`, `1h30m` or `1d`";

/// A thousand years: no key of a manifest means more, and no sum of times near it overflows.
const LONGEST_SECS: u64 = 365_000 * 86_400;

/// Reads a duration. Larger units come first, each once; `0s` is a duration.
///
/// # Errors
/// When a unit is missing, unknown, repeated or out of order, or the sum exceeds a thousand years.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let start = text.len() - text.trim_ascii_start().len();
    let end = text.trim_ascii_end().len().max(start);
    if start == end {
        return Err(DurationError::new(
            0..text.len(),
            "the duration is empty",
            EXAMPLE,
        ));
    }
    let mut at = start;
    let mut total: u128 = 0;
    let mut previous: Option<(&str, u128)> = None;
    while at < end {
        let part = Part::read(text, at, end)?;
        if let Some((unit, nanos)) = previous
            && part.nanos >= nanos
        {
            let message = format!("`{}` stands after `{unit}`", part.unit);
            return Err(DurationError::new(
                part.span,
                message,
                "write larger units first, each once: `1h30m`",
            ));
        }
        previous = Some((part.unit, part.nanos));
        total = total.saturating_add(part.total);
        at = part.span.end;
    }
    let whole = u64::try_from(total / NANOS)
        .ok()
        .filter(|secs| *secs <= LONGEST_SECS);
    let Some(secs) = whole else {
        return Err(DurationError::new(
            start..end,
            "the duration is longer than a thousand years",
            EXAMPLE,
        ));
    };
    Ok(Duration::new(secs, (total % NANOS) as u32))
}

/// One number with its unit.
struct Part {
    unit: &'static str,
    /// Of the unit.
    nanos: u128,
    /// Of the part.
    total: u128,
    span: Range<usize>,
}

impl Part {
    fn read(text: &str, at: usize, end: usize) -> Result<Part, DurationError> {
        let rest = &text[at..end];
        let number = &rest[..rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len())];
        let after = &rest[number.len()..];
        let unit = &after[..after
            .find(|c: char| !c.is_alphabetic() && c != 'µ')
            .unwrap_or(after.len())];
        let span = at..at + number.len() + unit.len();
        if number.is_empty() {
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let bad = if unit.is_empty() { at..at + first } else { span };
            let message = match rest.chars().next() {
                Some('-') => "a duration cannot be negative".to_owned(),
                _ => format!("{} is not a number with a unit", quoted(&text[bad.clone()])),
            };
            return Err(DurationError::new(bad, message, EXAMPLE));
        }
        if unit.is_empty() {
            let help = format!("write `{number}s` for seconds or `{number}m` for minutes");
            return Err(DurationError::new(
                span,
                format!("{} has no unit", quoted(number)),
                help,
            ));
        }
        let Some((unit, nanos)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            let bad = at + number.len()..span.end;
            return Err(DurationError::new(
                bad,
                format!("{} is not a unit", quoted(unit)),
                unit_help(unit),
            ));
        };
        let Some(total) = scale(number, nanos) else {
            let bad = at..at + number.len();
            return Err(DurationError::new(
                bad,
                format!("{} is not a number", quoted(number)),
                EXAMPLE,
            ));
        };
        Ok(Part {
            unit,
            nanos,
            total,
            span,
        })
    }
}

/// `number` (digits with at most one dot) times `nanos`, saturating.
fn scale(number: &str, nanos: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // All digits: only too many of them can fail, and that is longer than any duration.
    let whole = whole
        .parse::<u64>()
        .map_or(u128::MAX, |whole| u128::from(whole).saturating_mul(nanos));
    // More than nine digits of a second are below a nanosecond; of a week, below a millisecond.
    let fraction = &fraction[..fraction.len().min(9)];
    let part = fraction.parse::<u128>().ok()? * nanos / 10_u128.pow(fraction.len() as u32);
    Some(whole.saturating_add(part))
}

fn unit_help(unit: &str) -> String {
    let short = match unit.to_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        "week" | "weeks" => "w",
        "milli" | "millis" | "msec" | "millisecond" | "milliseconds" => "ms",
        "mo" | "month" | "months" | "y" | "year" | "years" => {
            return "months and years differ in length: write days, such as `30d`".to_owned();
        }
        _ => return "the units are `w d h m s ms us ns`".to_owned(),
    };
    format!("write `{short}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_compose_and_of_people() {
        for (text, millis) in [
            ("5s", 5_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("90s", 90_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("2w3d4h5m6s7ms", 1_483_506_007),
            (" 1m ", 60_000),
            ("0s", 0),
            ("2562047h", 9_223_369_200_000),
        ] {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        assert_eq!(parse_duration("1µs2ns").unwrap(), Duration::from_nanos(1_002));
    }

    #[test]
    fn refusals_point_at_the_part_and_say_what_to_write() {
        for (text, span, message, help) in [
            (
                "30",
                0..2,
                "`30` has no unit",
                "write `30s` for seconds or `30m` for minutes",
            ),
            (
                "1h30",
                2..4,
                "`30` has no unit",
                "write `30s` for seconds or `30m` for minutes",
            ),
            ("5min", 1..4, "`min` is not a unit", "write `m`"),
            (
                "1y",
                1..2,
                "`y` is not a unit",
                "months and years differ in length: write days, such as `30d`",
            ),
            (
                "1m1h",
                2..4,
                "`h` stands after `m`",
                "write larger units first, each once: `1h30m`",
            ),
            (
                "1s1s",
                2..4,
                "`s` stands after `s`",
                "write larger units first, each once: `1h30m`",
            ),
            ("-5s", 0..1, "a duration cannot be negative", EXAMPLE),
            ("", 0..0, "the duration is empty", EXAMPLE),
            ("soon", 0..4, "`soon` is not a number with a unit", EXAMPLE),
            ("1.2.3s", 0..5, "`1.2.3` is not a number", EXAMPLE),
            ("1h 30m", 2..3, "` ` is not a number with a unit", EXAMPLE),
            (
                "400000d",
                0..7,
                "the duration is longer than a thousand years",
                EXAMPLE,
            ),
            (
                "99999999999999999999999s",
                0..24,
                "the duration is longer than a thousand years",
                EXAMPLE,
            ),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert_eq!(
                (error.span, error.message.as_str(), error.help.as_deref()),
                (span, message, Some(help)),
                "{text}"
            );
        }
    }
}
