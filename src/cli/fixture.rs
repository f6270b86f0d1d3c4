//! What the tests of several commands begin with.

use crate::model::{Origin, Run, RunTrigger};

/// A slot of `shop.backup` that is running, on 22 November 2026 at 01:30 UTC.
pub fn run() -> Run {
    let due_at = "2026-11-22T01:30:00Z".parse().expect("an instant");
    Run {
        id: "shop.backup.20261122T013000Z".parse().expect("a name"),
        job: "shop.backup".parse().expect("a name"),
        slot: Some("2026-11-22T01:30:00Z".parse().expect("a slot")),
        attempt: 0,
        trigger: RunTrigger::Schedule,
        outcome: None,
        reason: String::new(),
        exit_code: None,
        due_at,
        intent: None,
        started_at: None,
        finished_at: None,
        recorded_at: None,
        container: None,
        container_gone: false,
        within: Default::default(),
        held_until: None,
        stop_requested: None,
        stop_reason: None,
        retry_at: None,
        group: None,
        image: None,
        spec_hash: None,
        origin: Origin::default(),
        slot_last: None,
        count: None,
        note: None,
    }
}
