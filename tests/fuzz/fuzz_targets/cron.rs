//! Any text as a cron expression: the parser neither panics nor points outside of the text, and
//! what it accepts has slots in order, in a zone whose clock turns.
#![no_main]

use docker_scheduler::model::{DayMatch, Trigger};
use docker_scheduler::schedule::{Schedule, explain, parse_cron, parse_cron_matching};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const ZONES: [&str; 4] = ["Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia"];

fuzz_target!(|input: (i64, u8, &str)| {
    let (second, choice, text) = input;
    if let Err(error) = parse_cron(text) {
        assert!(text.get(error.span.clone()).is_some(), "{error:?} points outside of {text:?}");
        assert_eq!(error.caret(text).lines().count(), 2, "{error:?}");
        assert!(!error.message.is_empty() && !error.message.contains(char::is_control));
    }
    let day_match = [None, Some(DayMatch::Any), Some(DayMatch::All)][usize::from(choice >> 4) % 3];
    assert_eq!(parse_cron(text).is_ok(), explain(text).is_ok());
    if parse_cron_matching(text, day_match).is_err() {
        return;
    }
    let timezone = ZONES[usize::from(choice) % ZONES.len()].to_owned();
    let trigger = Trigger::Cron { expression: text.to_owned(), timezone, day_match };
    let schedule = Schedule::compile(&[trigger]).expect("what parses also compiles");
    let range = Timestamp::MAX.as_second() - Timestamp::MIN.as_second();
    let start = Timestamp::from_second(Timestamp::MIN.as_second() + second.rem_euclid(range)).expect("in range");
    let mut at = start;
    for _ in 0..8 {
        let Some(fire) = schedule.next_after(at) else { break };
        assert!(fire.slot.at() > at && schedule.is_slot(fire.slot.at()));
        if at > start {
            assert_eq!(schedule.previous_before(fire.slot.at()).map(|fire| fire.slot.at()), Some(at));
        }
        at = fire.slot.at();
    }
});
