//! Three clocks side by side: what a difference between them means.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;

/// A smaller difference between wall and boot clock is slewing and scheduling, not a jump.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// A larger forward jump is more likely a wrong clock than lost time.
const CREDIBLE: SignedDuration = SignedDuration::from_hours(24);

/// A suspect clock that stayed steady for this long is accepted.
const STEADY: Duration = Duration::from_mins(10);

/// No release of this program was made before: a clock that says so is wrong.
const BUILT: &str = "2026-11-01T00:00:00Z";

/// The wall clock did not go on evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Jump {
    /// The machine was suspended: wall and boot clock went on together, this program did not.
    Asleep {
        from: Timestamp,
    },
    Forward {
        from: Timestamp,
    },
    Back {
        from: Timestamp,
    },
}

/// Whether a wall clock is suspect at first sight: far behind what the ledger last saw, or older than
/// this program. All that a command can tell that lives for a moment.
#[must_use]
pub fn is_suspect(wall: Timestamp, last_alive: Option<Timestamp>) -> bool {
    let built: Timestamp = BUILT.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    wall < built || last_alive.is_some_and(|last| last.duration_since(wall) > CREDIBLE)
}

/// The last look.
#[derive(Debug)]
pub(super) struct Clocks {
    wall: Timestamp,
    boot: Duration,
    monotonic: Duration,
    /// Boot time since which a suspect clock has been steady.
    suspect_since: Option<Duration>,
}

impl Clocks {
    /// `last_alive` is what the ledger last saw: a clock far behind it is suspect from the start.
    pub fn new(clock: &dyn Clock, last_alive: Option<Timestamp>) -> Clocks {
        let (wall, boot) = (clock.now(), clock.boottime());
        let suspect_since = is_suspect(wall, last_alive).then_some(boot);
        Clocks {
            wall,
            boot,
            monotonic: clock.monotonic(),
            suspect_since,
        }
    }

    /// Compares with the last look, which is at most a second or so ago unless something happened.
    pub fn look(&mut self, clock: &dyn Clock) -> Option<Jump> {
        let (wall, boot, monotonic) = (clock.now(), clock.boottime(), clock.monotonic());
        let from = self.wall;
        let wall_passed = wall.duration_since(from);
        let boot_passed =
            SignedDuration::try_from(boot.saturating_sub(self.boot)).unwrap_or(SignedDuration::MAX);
        let awake =
            SignedDuration::try_from(monotonic.saturating_sub(self.monotonic)).unwrap_or(SignedDuration::MAX);
        (self.wall, self.boot, self.monotonic) = (wall, boot, monotonic);
        let jumped = wall_passed.saturating_sub(boot_passed);
        if jumped > TOLERANCE {
            if jumped > CREDIBLE {
                self.suspect_since = Some(boot);
            }
            return Some(Jump::Forward { from });
        }
        if jumped < -TOLERANCE {
            return Some(Jump::Back { from });
        }
        if boot_passed.saturating_sub(awake) > TOLERANCE {
            return Some(Jump::Asleep { from });
        }
        if self
            .suspect_since
            .is_some_and(|since| boot.saturating_sub(since) >= STEADY)
        {
            self.suspect_since = None;
        }
        None
    }

    pub fn suspect(&self) -> bool {
        self.suspect_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn start() -> (ManualClock, Clocks) {
        let clock = ManualClock::new("2026-11-23T01:00:00Z".parse().unwrap());
        let clocks = Clocks::new(&clock, None);
        (clock, clocks)
    }

    #[test]
    fn even_time_is_no_jump_however_long_the_look_took() {
        let (clock, mut clocks) = start();
        clock.advance(Duration::from_secs(3600));
        assert_eq!(clocks.look(&clock), None);
        assert!(!clocks.suspect());
    }

    #[test]
    fn a_suspended_machine_is_told_from_a_jump() {
        let (clock, mut clocks) = start();
        let from = clock.now();
        clock.suspend(Duration::from_secs(8 * 3600));
        assert_eq!(clocks.look(&clock), Some(Jump::Asleep { from }));
        let from = clock.now();
        clock.jump(SignedDuration::from_hours(1));
        assert_eq!(clocks.look(&clock), Some(Jump::Forward { from }));
        assert!(!clocks.suspect());
        let from = clock.now();
        clock.jump(SignedDuration::from_mins(-5));
        assert_eq!(clocks.look(&clock), Some(Jump::Back { from }));
    }

    #[test]
    fn ten_years_ahead_is_suspect_until_it_stays() {
        let (clock, mut clocks) = start();
        clock.jump(SignedDuration::from_hours(24 * 3650));
        assert!(matches!(clocks.look(&clock), Some(Jump::Forward { .. })));
        assert!(clocks.suspect());
        clock.advance(Duration::from_secs(601));
        assert_eq!(clocks.look(&clock), None);
        assert!(!clocks.suspect());
    }
}
