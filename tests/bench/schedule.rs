//! How long it takes to read a cron expression and to find its next slot, beside `croner` on the
//! same expressions and in the same zone.
//!
//! Run with `cargo bench --bench schedule`. Medians on a shared 2-core virtual machine
//! (AMD EPYC, Linux, Rust 1.95, `cron` 0.17, `croner` 4.0.3, zone Europe/Berlin):
//!
//! | expression | read, ours | read, croner | next slot, ours | next slot, croner |
//! |---|---|---|---|---|
//! | `* * * * *` | 5.6 µs | 21.4 µs | 0.56 µs | 0.88 µs |
//! | `*/5 9-17 * * 1-5` | 5.9 µs | 19.1 µs | 0.41 µs | 0.74 µs |
//! | `30 2 * * *` | 2.8 µs | 18.1 µs | 0.80 µs | 1.2 µs |
//! | `0,15,30,45 0,6,12,18 * * *` | 4.4 µs | 16.9 µs | 0.79 µs | 0.90 µs |
//! | `0 0 13 * 5` | 2.8 µs | 21.0 µs | 0.66 µs | 1.1 µs |
//! | `0 0 L * *` | 2.7 µs | 17.3 µs | 0.60 µs | 1.5 µs |
//! | `0 18 * * 2#1` | 2.8 µs | 17.6 µs | 0.64 µs | 1.3 µs |
//! | `0 0 31 12 *` | 2.7 µs | 17.5 µs | 1.2 µs | 2.6 µs |
//! | `0 0 29 2 *` | 2.8 µs | 18.5 µs | 1.3 µs | 5.9 µs |
//! | `*/30 1 25 10 *` | 3.1 µs | 18.9 µs | 0.38 µs | 2.1 µs |
//! | `0 0 29 2 1`, both to match, from 2072 (next: 2112) | | | 3.0 µs | 289 µs |
//! | `*/15 2 * 3 0#2` in New York (always skipped: none found) | | | 30 µs | |
//! | `0 0 30 2 *` (impossible) | refused in 1.2 µs | accepted | | 12.8 ms |
//!
//! Reading and searching were measured in two runs. A day of `* * * * *`, 1,440 slots: 0.8 ms. Other
//! work ran on the machine, so single samples went up to milliseconds on both sides; only the medians
//! mean something.

use std::hint::black_box;

use croner::parser::CronParser;
use divan::Bencher;
use docker_scheduler::model::{DayMatch, Trigger};
use docker_scheduler::schedule::{Schedule, parse_cron_matching};
use jiff::{SignedDuration, Timestamp};

const ZONE: &str = "Europe/Berlin";

/// From what runs all the time to what almost never does.
const EXPRESSIONS: [&str; 10] = [
    "* * * * *",
    "*/5 9-17 * * 1-5",
    "30 2 * * *",
    "0,15,30,45 0,6,12,18 * * *",
    "0 0 13 * 5",
    "0 0 L * *",
    "0 18 * * 2#1",
    "0 0 31 12 *",
    "0 0 29 2 *",
    "*/30 1 25 10 *",
];

/// Where the search has farthest to go: a 29 February that is a Monday, the fifth Tuesday of a
/// February, an hour that is skipped each year anew, and a range of dates at the end of a century.
const RAREST: [(&str, &str, Option<DayMatch>); 4] = [
    ("0 0 29 2 1", "Europe/Berlin", Some(DayMatch::All)),
    ("0 0 * 2 2#5", "Europe/Berlin", None),
    ("*/15 2 * 3 0#2", "America/New_York", None),
    ("0 0 29 2 *", "Africa/Casablanca", None),
];

const REFUSED: [&str; 4] = ["0 0 30 2 *", "0 30 2 * * *", "*/90 * * * *", "0 0 * * fri-mon"];

fn main() {
    divan::main();
}

fn compile(expression: &str, zone: &str, day_match: Option<DayMatch>) -> Schedule {
    let trigger = Trigger::Cron {
        expression: expression.to_owned(),
        timezone: zone.to_owned(),
        day_match,
    };
    Schedule::compile(&[trigger]).expect("the expression is valid")
}

/// Instants spread over nine years, so that a mean holds every distance to the next slot.
fn starts() -> Vec<Timestamp> {
    let first: Timestamp = "2026-11-22T21:13:07Z".parse().expect("a time");
    (0..64)
        .filter_map(|n| first.checked_add(SignedDuration::from_hours(n * 1_231)).ok())
        .collect()
}

mod parse {
    use super::*;

    #[divan::bench(args = EXPRESSIONS)]
    fn ours(expression: &str) {
        let _ = black_box(parse_cron_matching(black_box(expression), None));
    }

    #[divan::bench(args = EXPRESSIONS)]
    fn croner(expression: &str) {
        let _ = black_box(CronParser::new().parse(black_box(expression)));
    }

    #[divan::bench(args = REFUSED)]
    fn ours_refusing(expression: &str) {
        let _ = black_box(parse_cron_matching(black_box(expression), None));
    }

    #[divan::bench(args = EXPRESSIONS)]
    fn ours_with_zone(expression: &str) {
        black_box(compile(black_box(expression), ZONE, None));
    }
}

mod next_slot {
    use super::*;

    #[divan::bench(args = EXPRESSIONS)]
    fn ours(bencher: Bencher<'_, '_>, expression: &str) {
        let schedule = compile(expression, ZONE, None);
        let starts = starts();
        let mut next = starts.iter().cycle();
        bencher.bench_local(|| schedule.next_after(black_box(*next.next().expect("endless"))));
    }

    #[divan::bench(args = EXPRESSIONS)]
    fn ours_previous(bencher: Bencher<'_, '_>, expression: &str) {
        let schedule = compile(expression, ZONE, None);
        let starts = starts();
        let mut next = starts.iter().cycle();
        bencher.bench_local(|| schedule.previous_before(black_box(*next.next().expect("endless"))));
    }

    #[divan::bench(args = EXPRESSIONS)]
    fn croner(bencher: Bencher<'_, '_>, expression: &str) {
        let cron = CronParser::new()
            .parse(expression)
            .expect("the expression is valid");
        let zone = docker_scheduler::schedule::check_timezone(ZONE).expect("a zone");
        let starts: Vec<_> = starts().into_iter().map(|at| at.to_zoned(zone.clone())).collect();
        let mut next = starts.iter().cycle();
        bencher.bench_local(|| cron.find_next_occurrence(black_box(next.next().expect("endless")), false));
    }

    #[divan::bench(args = 0..RAREST.len())]
    fn ours_rarest(bencher: Bencher<'_, '_>, which: usize) {
        let (expression, zone, day_match) = RAREST[which];
        let schedule = compile(expression, zone, day_match);
        // Just after the 29 February 2072, a Monday: the next one is in 2112.
        let start: Timestamp = "2072-03-01T00:00:00Z".parse().expect("a time");
        bencher.bench_local(|| schedule.next_after(black_box(start)));
    }

    #[divan::bench]
    fn croner_rarest(bencher: Bencher<'_, '_>) {
        let cron = CronParser::builder()
            .dom_and_dow(true)
            .build()
            .parse("0 0 29 2 1")
            .expect("valid");
        let zone = docker_scheduler::schedule::check_timezone(ZONE).expect("a zone");
        let start = "2072-03-01T00:00:00Z"
            .parse::<Timestamp>()
            .expect("a time")
            .to_zoned(zone);
        bencher.bench_local(|| cron.find_next_occurrence(black_box(&start), false));
    }

    #[divan::bench]
    fn croner_impossible(bencher: Bencher<'_, '_>) {
        let cron = CronParser::new().parse("0 0 30 2 *").expect("accepted there");
        let zone = docker_scheduler::schedule::check_timezone(ZONE).expect("a zone");
        let start = "2026-11-22T21:13:07Z"
            .parse::<Timestamp>()
            .expect("a time")
            .to_zoned(zone);
        bencher.bench_local(|| cron.find_next_occurrence(black_box(&start), false));
    }
}

mod window {
    use super::*;

    /// A day of `* * * * *`: 1,440 slots.
    #[divan::bench]
    fn ours_every_minute_of_a_day() -> usize {
        let schedule = compile("* * * * *", ZONE, None);
        let start: Timestamp = "2026-11-22T21:13:07Z".parse().expect("a time");
        let end = start
            .checked_add(SignedDuration::from_hours(24))
            .expect("in range");
        schedule.between(start, end).count()
    }
}
