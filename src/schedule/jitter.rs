//! How much later than its slot a job starts, so that many jobs of one minute do not start at once.
//!
//! A hash and no random number: the same slot has the same delay on every host and after every
//! restart, and `next` can show it.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::model::Slot;

/// The delay of one slot: evenly spread over `jitter` in whole milliseconds, and always before the
/// job's `next` slot, so that slots keep their order.
#[must_use]
pub fn jitter(instance: &str, job: &str, slot: Slot, jitter: Duration, next: Option<Slot>) -> Duration {
    let until_next = next.map_or(u64::MAX, |next| {
        let secs = next.as_second().saturating_sub(slot.as_second());
        u64::try_from(secs).unwrap_or(0).saturating_mul(1000)
    });
    let width = u64::try_from(jitter.as_millis())
        .unwrap_or(u64::MAX)
        .min(until_next);
    if width == 0 {
        return Duration::ZERO;
    }
    Duration::from_millis(hash(instance, job, slot) % width)
}

fn hash(instance: &str, job: &str, slot: Slot) -> u64 {
    let mut hasher = Sha256::new();
    // No name holds a NUL: the parts cannot run into each other.
    for part in [instance.as_bytes(), b"\0", job.as_bytes(), b"\0"] {
        hasher.update(part);
    }
    hasher.update(slot.as_second().to_be_bytes());
    let digest = hasher.finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_delay_is_stable_over_releases() {
        let slot = Slot::from_second(1_764_000_000);
        assert_eq!(
            jitter("default", "shop.backup", slot, HOUR, None),
            Duration::from_millis(STABLE_MILLIS)
        );
        assert_ne!(
            jitter("default", "shop.backup", slot, HOUR, None),
            jitter("default", "shop.report", slot, HOUR, None)
        );
        assert_ne!(
            jitter("default", "shop.backup", slot, HOUR, None),
            jitter("lab", "shop.backup", slot, HOUR, None)
        );
    }

    /// A change here moves the starts of every job that has jitter.
    const STABLE_MILLIS: u64 = 1_871_713;

    #[test]
    fn a_delay_stays_below_the_jitter_and_the_next_slot_and_fills_them() {
        let mut largest = Duration::ZERO;
        for minute in 0..2000 {
            let slot = Slot::from_second(minute * 60);
            let delay = jitter(
                "default",
                "a.b",
                slot,
                HOUR,
                Some(Slot::from_second(minute * 60 + 60)),
            );
            assert!(delay < Duration::from_secs(60));
            largest = largest.max(delay);
        }
        assert!(largest > Duration::from_secs(59));
        let slot = Slot::from_second(7);
        assert_eq!(
            jitter("default", "a.b", slot, Duration::ZERO, None),
            Duration::ZERO
        );
        assert_eq!(jitter("default", "a.b", slot, HOUR, Some(slot)), Duration::ZERO);
        assert!(jitter("default", "a.b", slot, Duration::MAX, None) < Duration::MAX);
    }
}
