//! A second, slow implementation, written from the contract alone, and the property tests that hold
//! the fast one against it: minute by minute, every zone, around every turn of its clock.
//!
//! It shares nothing with the fast one but jiff's answer to "what may this local time mean". Seeds
//! are fixed, so that a failure is the same on every machine.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::{Fire, Note, Schedule, check_timezone, parse_cron_matching, timezone_names};
use crate::model::{DayMatch, Trigger};

/// The oracle's own reading of an expression: five sets, and the two day rules.
struct Slow {
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    months: BTreeSet<i8>,
    day: String,
    weekday: String,
    either: bool,
    fixed: bool,
}

impl Slow {
    fn read(expression: &str, day_match: Option<DayMatch>) -> Slow {
        let fields: Vec<&str> = expression.split(' ').collect();
        let both_restricted = fields[2] != "*" && fields[4] != "*";
        Slow {
            minutes: (0..60).filter(|v| listed(fields[0], *v, 0, 59)).collect(),
            hours: (0..24).filter(|v| listed(fields[1], *v, 0, 23)).collect(),
            months: (1..13).filter(|v| listed(fields[3], *v, 1, 12)).collect(),
            day: fields[2].to_owned(),
            weekday: fields[4].to_owned(),
            either: both_restricted && day_match != Some(DayMatch::All),
            fixed: !fields[0].contains(['*', '/']) && !fields[1].contains(['*', '/']),
        }
    }

    fn names_date(&self, date: Date) -> bool {
        if !self.months.contains(&date.month()) {
            return false;
        }
        let last = date.tomorrow().map_or(true, |next| next.month() != date.month());
        let day = self.day.split(',').any(|item| {
            if item == "L" {
                last
            } else {
                listed(item, date.day(), 1, 31)
            }
        });
        let weekday = self.weekday.split(',').any(|item| names_weekday(item, date));
        if self.either {
            day || weekday
        } else {
            day && weekday
        }
    }

    fn names(&self, local: DateTime) -> bool {
        self.minutes.contains(&local.minute())
            && self.hours.contains(&local.hour())
            && self.names_date(local.date())
    }

    /// The slots of every local minute from one to another, in a zone.
    fn slots(&self, zone: &TimeZone, from: DateTime, until: DateTime) -> BTreeMap<Timestamp, Option<Note>> {
        let mut slots = BTreeMap::new();
        let mut local = from;
        while local <= until {
            if self.names(local) {
                self.add(zone, local, &mut slots);
            }
            local = local.checked_add(1.minute()).unwrap();
        }
        slots
    }

    fn add(&self, zone: &TimeZone, local: DateTime, slots: &mut BTreeMap<Timestamp, Option<Note>>) {
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(local).unwrap();
        match zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                slots.entry(at(offset)).or_insert(None);
            }
            AmbiguousOffset::Gap { before, .. } if self.fixed => {
                slots.insert(at(before), Some(Note::Gap));
            }
            AmbiguousOffset::Fold { before, .. } if self.fixed => {
                slots.insert(at(before), Some(Note::Fold));
            }
            AmbiguousOffset::Gap { .. } => {}
            AmbiguousOffset::Fold { before, after } => {
                slots.entry(at(before)).or_insert(None);
                slots.entry(at(after)).or_insert(None);
            }
        }
    }
}

fn listed(field: &str, value: i8, low: i8, high: i8) -> bool {
    field.split(',').any(|item| {
        let (base, step) = item.split_once('/').unwrap_or((item, "1"));
        let (from, to) = match base.split_once('-') {
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None if base == "*" => (low, high),
            None => match base.parse() {
                Ok(one) => (one, one),
                Err(_) => return false,
            },
        };
        from <= value && value <= to && (value - from) % step.parse::<i8>().unwrap() == 0
    })
}

fn names_weekday(item: &str, date: Date) -> bool {
    let number = date.weekday().to_sunday_zero_offset();
    let of = |text: &str| Weekday::from_sunday_zero_offset(text.parse::<i8>().unwrap() % 7).unwrap();
    if let Some(day) = item.strip_suffix('L') {
        return date.last_of_month().nth_weekday_of_month(-1, of(day)).unwrap() == date;
    }
    if let Some((day, nth)) = item.split_once('#') {
        return date
            .nth_weekday_of_month(nth.parse().unwrap(), of(day))
            .is_ok_and(|found| found == date);
    }
    listed(item, number, 0, 7) || (number == 0 && listed(item, 7, 0, 7))
}

/// An expression that is valid but for days that never come.
fn expression() -> impl Strategy<Value = (String, Option<DayMatch>)> {
    let day = prop_oneof![
        6 => Just("*".to_owned()),
        6 => field(1, 31),
        1 => Just("L".to_owned()),
        1 => Just("13,L".to_owned()),
    ];
    let weekday = prop_oneof![
        6 => Just("*".to_owned()),
        4 => field(0, 7),
        1 => (0..8, 1..6).prop_map(|(day, nth)| format!("{day}#{nth}")),
        1 => (0..8).prop_map(|day| format!("{day}L,3#2")),
    ];
    let day_match = prop_oneof![Just(DayMatch::Any), Just(DayMatch::All)];
    (
        field(0, 59),
        field(0, 23),
        day,
        prop_oneof![2 => Just("*".to_owned()), 1 => field(1, 12)],
        weekday,
        day_match,
    )
        .prop_map(|(minute, hour, day, month, weekday, day_match)| {
            let place = weekday.contains(['#', 'L']);
            let day = if place { "*".to_owned() } else { day };
            let weekday = if day.contains('L') {
                "*".to_owned()
            } else {
                weekday
            };
            (
                format!("{minute} {hour} {day} {month} {weekday}"),
                Some(day_match),
            )
        })
}

fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
    // A weekday's 0 and 7 are one day: its widest step is 7.
    let width = if high == 7 { 7 } else { high - low + 1 };
    let item = prop_oneof![
        3 => (low..=high).prop_map(|value| value.to_string()),
        1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (low..=high, low..=high, 0..width).prop_map(|(a, b, step)| {
            let (a, b) = (a.min(b), a.max(b));
            format!("{a}-{b}/{}", step % (b - a + 1).min(7) + 1)
        }),
        1 => (1..=width).prop_map(|step| format!("*/{step}")),
        1 => Just("*".to_owned()),
    ];
    prop::collection::vec(item, 1..3).prop_map(|items| items.join(","))
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(0x5eed),
        failure_persistence: None,
        ..Config::default()
    }
}

fn trigger(expression: &str, day_match: Option<DayMatch>, timezone: &str) -> Trigger {
    Trigger::Cron {
        expression: expression.to_owned(),
        timezone: timezone.to_owned(),
        day_match,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The local clock at an instant, as it would be with one of two offsets, on the full minute.
fn around(zone: &TimeZone, at: Timestamp, hours: i64) -> (DateTime, DateTime) {
    let minute = |local: DateTime| local.with().second(0).subsec_nanosecond(0).build().unwrap();
    let local = zone.to_datetime(at);
    let span = SignedDuration::from_hours(hours);
    (
        minute(local.saturating_sub(span)),
        minute(local.saturating_add(span)),
    )
}

/// Both directions of the fast one against the oracle, in the window between two instants.
fn agree(slow: &Slow, schedule: &Schedule, zone: &TimeZone, after: Timestamp, until: Timestamp, what: &str) {
    // A day and more on both sides: a shifted local time may come from a day before.
    let (from, _) = around(zone, after, 30);
    let (_, to) = around(zone, until, 30);
    let mut expected = slow.slots(zone, from, to);
    expected.retain(|at, _| *at > after && *at <= until);
    same(&expected, schedule, after, until, what);
}

fn same(
    expected: &BTreeMap<Timestamp, Option<Note>>,
    schedule: &Schedule,
    after: Timestamp,
    until: Timestamp,
    what: &str,
) {
    let pair = |fire: Fire| (fire.slot.at(), fire.note);
    let expected: Vec<_> = expected.iter().map(|(at, note)| (*at, *note)).collect();
    let forward: Vec<_> = schedule
        .between(after, until)
        .take(expected.len() + 1)
        .map(pair)
        .collect();
    assert_eq!(forward, expected, "{what} after {after} until {until}");
    let step = |at: Timestamp| {
        schedule
            .previous_before(at)
            .map(pair)
            .filter(|(at, _)| *at > after)
    };
    let first = step(until.checked_add(SignedDuration::from_nanos(1)).unwrap());
    let mut backward: Vec<_> = std::iter::successors(first, |(at, _)| step(*at))
        .take(expected.len() + 1)
        .collect();
    backward.reverse();
    assert_eq!(
        backward, expected,
        "{what}, backward, after {after} until {until}"
    );
}

/// One name for each set of zones that turn their clocks alike.
fn distinct_zones() -> Vec<(String, TimeZone, Vec<Timestamp>)> {
    let (first, last) = (at("1970-01-01T00:00:00Z"), at("2100-12-31T00:00:00Z"));
    let mut zones = BTreeMap::new();
    for name in timezone_names() {
        let zone = check_timezone(&name).unwrap();
        let turns: Vec<_> = zone
            .following(first)
            .take_while(|turn| turn.timestamp() < last)
            .collect();
        let key: Vec<_> = turns
            .iter()
            .map(|turn| (turn.timestamp(), turn.offset()))
            .collect();
        let turns = turns.iter().map(|turn| turn.timestamp()).collect();
        zones
            .entry((zone.to_offset(first), key))
            .or_insert((name, zone, turns));
    }
    zones.into_values().collect()
}

/// A small generator for the loops that proptest would make slow: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}

#[test]
fn random_expressions_in_random_zones_at_random_times() {
    let zones = distinct_zones();
    let strategy = (expression(), 0..zones.len(), 0..4_102_444_800_i64);
    proptest!(config(200), |(((expression, day_match), zone, second) in strategy)| {
        let (name, zone, _) = &zones[zone];
        let trigger = trigger(&expression, day_match, name);
        let Ok(schedule) = Schedule::compile(&[trigger]) else { return Ok(()) };
        let slow = Slow::read(&expression, day_match);
        let start = Timestamp::from_second(second).unwrap();
        let what = format!("{expression} {day_match:?} {name}");
        agree(&slow, &schedule, zone, start, start.checked_add(SignedDuration::from_hours(36)).unwrap(), &what);
    });
}

/// Times close to when clocks turn, of both kinds, and dense and sparse ones.
const AROUND_TURNS: [&str; 12] = [
    "30 2 * * *",
    "0,15 0-4 * * *",
    "5,50 23,0,1,2,3 * * *",
    "*/20 * * * *",
    "7 * * * *",
    "45 */2 * * *",
    "30 1-3 * * 0",
    "0 0 * * *",
    "0 12 * * *",
    "59 23 L * *",
    "*/30 0-3 1-7 * *",
    "10 0,1,2 * 3,4,9,10,11 0#1,0L",
];

/// The turns of one zone's clock: windows of a day and more around them, against the oracle.
fn check_turns(name: &str, zone: &TimeZone, turns: impl Iterator<Item = Timestamp>, dice: &mut Dice) {
    let compiled: Vec<_> = AROUND_TURNS
        .iter()
        .map(|text| {
            (
                text,
                Slow::read(text, None),
                Schedule::compile(&[trigger(text, None, name)]).unwrap(),
            )
        })
        .collect();
    for turn in turns {
        let (text, slow, schedule) = dice.pick(&compiled);
        let aside = SignedDuration::from_mins(i64::try_from(dice.roll(120)).unwrap());
        let start = turn
            .checked_sub(SignedDuration::from_mins(150))
            .unwrap()
            .checked_add(aside)
            .unwrap();
        let end = turn.checked_add(SignedDuration::from_mins(150)).unwrap();
        agree(slow, schedule, zone, start, end, &format!("{text} {name}"));
    }
}

/// One date a year, the one on which the clock turns, looked for from months before and after: the
/// search must neither stop at the other turns nor run past this one.
fn check_from_afar(name: &str, zone: &TimeZone, turn: Timestamp, dice: &mut Dice) {
    let date = zone.to_datetime(turn).date();
    let hours = *dice.pick(&["0-4", "*", "2", "*/2", "0,1,2,3,23"]);
    let (day, month, minute) = (date.day(), date.month(), dice.roll(60));
    let text = format!("{minute} {hours} {day} {month} *");
    let schedule = Schedule::compile(&[trigger(&text, None, name)]).unwrap();
    let near = SignedDuration::from_hours(60);
    let (from, to) = around(zone, turn, 40);
    let (start, end) = (turn.checked_sub(near).unwrap(), turn.checked_add(near).unwrap());
    let mut expected = Slow::read(&text, None).slots(zone, from, to);
    expected.retain(|at, _| *at > start && *at <= end);
    let months = SignedDuration::from_hours(24 * i64::try_from(1 + dice.roll(300)).unwrap());
    let (after, until) = (
        start.checked_sub(months).unwrap(),
        end.checked_add(months).unwrap(),
    );
    same(&expected, &schedule, after, end, &format!("{text} {name}"));
    same(&expected, &schedule, start, until, &format!("{text} {name}"));
}

#[test]
fn every_zone_around_turns_of_its_clock() {
    let mut dice = Dice(1);
    for (name, zone, turns) in distinct_zones() {
        // Some of each zone's, and always its latest; all of them are in the long test.
        let last = turns.last().copied();
        let some: Vec<_> = (0..turns.len().min(1))
            .map(|_| *dice.pick(&turns))
            .chain(last)
            .collect();
        some.iter()
            .for_each(|turn| check_from_afar(&name, &zone, *turn, &mut dice));
        check_turns(&name, &zone, some.into_iter(), &mut dice);
    }
}

#[test]
#[ignore = "minutes long: cargo test --release --lib schedule -- --ignored"]
fn every_zone_around_every_turn_of_its_clock() {
    let mut dice = Dice(2);
    let mut count = 0;
    for (name, zone, turns) in distinct_zones() {
        count += turns.len();
        for _ in 0..4 {
            turns
                .iter()
                .for_each(|turn| check_from_afar(&name, &zone, *turn, &mut dice));
            check_turns(&name, &zone, turns.iter().copied(), &mut dice);
        }
    }
    assert!(count > 20_000, "{count}");
}

#[test]
fn no_zone_turns_its_clock_again_within_the_hours_it_skipped_or_repeated() {
    // What `zone.rs` takes for granted, over all of history.
    for name in timezone_names() {
        let zone = check_timezone(&name).unwrap();
        let turns: Vec<_> = zone.following(Timestamp::MIN).take(1000).collect();
        for pair in turns.windows(2) {
            let start = pair[0].timestamp();
            let before = zone.to_offset(start.checked_sub(SignedDuration::from_secs(1)).unwrap());
            let change = pair[0].offset().duration_since(before).abs();
            let after = pair[1].offset().duration_since(pair[0].offset()).abs();
            let length = pair[1].timestamp().duration_since(start);
            assert!(change < length && after < length, "{name} {start}");
            assert!(change < SignedDuration::from_hours(36), "{name} {start}");
        }
    }
}

#[test]
fn dates_day_by_day() {
    proptest!(config(150), |((expression, day_match) in expression(), year in 1970_i16..2100, month in 1_i8..13)| {
        let Ok(cron) = parse_cron_matching(&expression, day_match) else { return Ok(()) };
        let slow = Slow::read(&expression, day_match);
        let start = Date::new(year, month, 1).unwrap();
        let hour = *slow.hours.first().unwrap();
        let minute = *slow.minutes.first().unwrap();
        let mut at = start.to_datetime(jiff::civil::Time::MIN);
        for date in start.series(1.day()).take(800) {
            if slow.names_date(date) {
                let first = date.at(hour, minute, 0, 0);
                prop_assert_eq!(cron.next_local(at), Some(first), "{}", &expression);
                prop_assert_eq!(cron.previous_local(first), Some(first), "{}", &expression);
                at = date.tomorrow().unwrap().to_datetime(jiff::civil::Time::MIN);
            }
        }
    });
}

/// The `cron` crate alone, on UTC, where its own iteration is sound: a third opinion.
#[test]
fn the_cron_crate_agrees_where_it_can_say_it_at_all() {
    use std::str::FromStr;
    proptest!(config(200), |((expression, day_match) in expression(), second in 0..3_000_000_000_i64)| {
        let Ok(schedule) = Schedule::compile(&[trigger(&expression, day_match, "UTC")]) else { return Ok(()) };
        let slow = Slow::read(&expression, day_match);
        let plain = !expression.contains(['L', '#']) && !slow.either;
        prop_assume!(plain);
        let list = |set: &BTreeSet<i8>| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let days: BTreeSet<i8> = (1..32).filter(|day| listed(&slow.day, *day, 1, 31)).collect();
        let weekdays: BTreeSet<i8> = (0..8).filter(|day| listed(&slow.weekday, *day, 0, 7)).map(|day| day % 7 + 1).collect();
        let text = format!("0 {} {} {} {} {}", list(&slow.minutes), list(&slow.hours), list(&days), list(&slow.months), list(&weekdays));
        let theirs = cron::Schedule::from_str(&text).unwrap();
        let start = chrono::DateTime::from_timestamp(second, 0).unwrap();
        let from = Timestamp::from_second(second).unwrap();
        let next: Vec<_> = theirs.after(&start).take(5).map(|time| time.timestamp()).collect();
        let ours: Vec<_> = schedule.between(from, Timestamp::MAX).take(5).map(|fire| fire.slot.as_second()).collect();
        let last = chrono::DateTime::from_timestamp(4_100_000_000, 0).unwrap().timestamp();
        for (their, our) in next.iter().zip(&ours).filter(|(their, _)| **their < last) {
            prop_assert_eq!(their, our, "{}", &expression);
        }
    });
}

/// Texts made of what expressions are made of, and of what has broken parsers.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "*",
        "/",
        "-",
        ",",
        "#",
        "L",
        "W",
        "?",
        "@",
        "@daily",
        "~",
        "H",
        "0",
        "1",
        "5",
        "7",
        "12",
        "31",
        "59",
        "60",
        "4294967296",
        "mon",
        "SUN",
        "jan",
        "friL",
        "TZ=",
        " ",
        " ",
        " ",
        " ",
        "\t",
        "\n",
        "\u{a0}",
        "é",
        "\u{1b}[0m",
        "\u{0}",
        "*/2",
        "1-5",
        "2#1",
        "* * *",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

#[test]
fn any_text_is_read_or_refused_with_a_place_inside_of_it() {
    let read = std::cell::Cell::new(0);
    proptest!(config(8_000), |(text in any_text())| {
        match parse_cron_matching(&text, None) {
            Ok(_) => read.set(read.get() + 1),
            Err(error) => {
                prop_assert!(text.get(error.span.clone()).is_some(), "{:?} {:?}", &error, &text);
                prop_assert_eq!(error.caret(&text).lines().count(), 2);
                let said = format!("{error} {}", error.help.as_deref().unwrap_or_default());
                prop_assert!(!said.contains(char::is_control), "{:?}", &said);
            }
        }
        prop_assert_eq!(super::explain(&text).is_ok(), parse_cron_matching(&text, None).is_ok());
    });
    assert!(read.get() > 5, "{}", read.get());
}

#[test]
fn the_ends_of_time_in_every_zone() {
    for (name, _, _) in distinct_zones() {
        for text in ["30 2 * * *", "*/7 * * * *", "0 0 29 2 *"] {
            let schedule = Schedule::compile(&[trigger(text, None, &name)]).unwrap();
            for edge in [Timestamp::MIN, Timestamp::MAX] {
                for aside in [0_i64, 1, 3600, 86_400 * 400] {
                    let aside = SignedDuration::from_secs(aside);
                    for at in [
                        edge.saturating_add(aside).unwrap(),
                        edge.saturating_sub(aside).unwrap(),
                    ] {
                        let next = schedule.next_after(at);
                        let previous = schedule.previous_before(at);
                        assert!(next.is_none_or(|fire| fire.slot.at() > at), "{text} {name} {at}");
                        assert!(
                            previous.is_none_or(|fire| fire.slot.at() < at),
                            "{text} {name} {at}"
                        );
                        assert!(!schedule.is_slot(at) || at.subsec_nanosecond() == 0);
                    }
                }
            }
            assert_eq!(schedule.between(Timestamp::MAX, Timestamp::MIN).count(), 0);
        }
    }
}
