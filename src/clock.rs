//! The only place that asks what time it is, and the only one that waits for it.
//!
//! Three clocks, because a scheduler has to tell them apart: the wall clock, which people and
//! daemons may set; the time since boot, which also counts a suspended machine; and the monotonic
//! time, which is what a sleep measures. Nothing here decides what a jump means: that is `watch`'s
//! affair.
//!
//! [`SystemClock`] is the machine's, [`ManualClock`] moves only when told to, so that a test of a
//! month takes a second and two runs of it are equal.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

/// What time it is, and how to wait.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since boot, suspend included. Where the system has no such clock, the same as
    /// [`Clock::monotonic`].
    fn boottime(&self) -> Duration;

    /// Time that never jumps and stands still while the machine is suspended.
    fn monotonic(&self) -> Duration;

    /// Waits that long by the monotonic clock. Neither a jump of the wall clock nor a suspended
    /// machine ends it sooner: whoever waits for a wall-clock time sleeps at most a second and
    /// looks again.
    fn sleep(&self, how_long: Duration) -> BoxFuture<'static, ()>;
}

/// How far a clock that was read between two readings of ours is ahead of it: nothing, when it may
/// agree with it.
#[must_use]
pub fn ahead(theirs: Timestamp, before: Timestamp, after: Timestamp) -> SignedDuration {
    if theirs < before {
        theirs.duration_since(before)
    } else if theirs > after {
        theirs.duration_since(after)
    } else {
        SignedDuration::ZERO
    }
}

/// The machine's own clocks. `sleep` needs a tokio runtime with its timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boottime(&self) -> Duration {
        system::boottime()
    }

    fn monotonic(&self) -> Duration {
        system::monotonic()
    }

    fn sleep(&self, how_long: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(how_long))
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    pub(super) fn boottime() -> Duration {
        read(ClockId::Boottime)
    }

    pub(super) fn monotonic() -> Duration {
        read(ClockId::Monotonic)
    }

    fn read(clock: ClockId) -> Duration {
        let time = clock_gettime(clock);
        // Both count from boot, so neither part is ever negative.
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }
}

#[cfg(windows)]
mod system {
    pub(super) use crate::os::{boottime, monotonic};
}

#[cfg(not(any(target_os = "linux", windows)))]
mod system {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    pub(super) fn boottime() -> Duration {
        monotonic()
    }

    /// Since the first call: only differences are ever looked at.
    pub(super) fn monotonic() -> Duration {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        FIRST.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that stands still until it is moved. Clones share one time.
///
/// Sleepers wake in the order of their times, and in the order of their `sleep` calls where those
/// are equal. A simulated world that also lives in this time joins through [`ManualClock::follow`].
#[derive(Clone)]
pub struct ManualClock {
    inner: Arc<Mutex<Manual>>,
}

/// When a follower has something to do next, counted from now.
type Next = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;
type Tick = Arc<dyn Fn() + Send + Sync>;

struct Manual {
    wall: Timestamp,
    boot: Duration,
    monotonic: Duration,
    /// By time and then by order of the calls; `None` until polled for the first time.
    sleepers: BTreeMap<(Duration, u64), Option<Waker>>,
    calls: u64,
    followers: Vec<(Next, Tick)>,
}

impl ManualClock {
    #[must_use]
    pub fn new(wall: Timestamp) -> ManualClock {
        ManualClock {
            inner: Arc::new(Mutex::new(Manual {
                wall,
                // A machine is never booted at the very moment its scheduler starts.
                boot: Duration::from_secs(3600),
                monotonic: Duration::from_secs(3600),
                sleepers: BTreeMap::new(),
                calls: 0,
                followers: Vec::new(),
            })),
        }
    }

    /// Lets time pass on all three clocks, waking each sleeper at its own time. The tasks behind
    /// those sleepers do not get to run before this returns: see [`ManualClock::pass`].
    pub fn advance(&self, how_long: Duration) {
        let end = self.lock().monotonic.saturating_add(how_long);
        while self.step(end) {}
    }

    /// [`ManualClock::advance`] until the wall clock shows `at`; nothing when it already does.
    pub fn advance_to(&self, at: Timestamp) {
        let ahead = at.duration_since(self.lock().wall);
        self.advance(ahead.try_into().unwrap_or(Duration::ZERO));
    }

    /// Lets time pass in steps from one sleeper's (or follower's) time to the next, and lets the
    /// tasks of this runtime run after each. Meant for a current-thread runtime: work on other
    /// threads is not waited for.
    pub async fn pass(&self, how_long: Duration) {
        let end = self.lock().monotonic.saturating_add(how_long);
        settle().await;
        let mut more = true;
        while more {
            more = self.step(end);
            settle().await;
        }
    }

    /// Sets the wall clock alone, as a person or an NTP daemon does.
    pub fn jump(&self, by: SignedDuration) {
        let mut inner = self.lock();
        inner.wall = inner.shifted(by);
        drop(inner);
        self.tick_followers();
    }

    /// As [`ManualClock::jump`], to a given time.
    pub fn jump_to(&self, at: Timestamp) {
        self.lock().wall = at;
        self.tick_followers();
    }

    /// The machine sleeps: wall clock and boot time go on, the monotonic clock and whoever waits
    /// on it do not.
    pub fn suspend(&self, how_long: Duration) {
        let mut inner = self.lock();
        inner.wall = inner.shifted(SignedDuration::try_from(how_long).unwrap_or(SignedDuration::MAX));
        inner.boot = inner.boot.saturating_add(how_long);
        drop(inner);
        self.tick_followers();
    }

    /// How long until the next sleeper or follower has something to do.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        let followed = self.followed();
        let inner = self.lock();
        let slept = inner.sleepers.keys().next();
        let slept = slept.map(|(due, _)| due.saturating_sub(inner.monotonic));
        slept.into_iter().chain(followed).min()
    }

    /// How many sleeps have not ended.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.len()
    }

    /// Ties a simulated world to this clock: `next` says how long until something happens there by
    /// itself, and `tick` is called whenever time has moved. Neither may move the clock.
    pub fn follow(
        &self,
        next: impl Fn() -> Option<Duration> + Send + Sync + 'static,
        tick: impl Fn() + Send + Sync + 'static,
    ) {
        self.lock().followers.push((Arc::new(next), Arc::new(tick)));
    }

    /// Moves to the next thing that happens, but not past `end`. False when `end` was reached and
    /// all that was due has been told.
    fn step(&self, end: Duration) -> bool {
        let followed = self.followed();
        let mut inner = self.lock();
        let now = inner.monotonic;
        let slept = inner.sleepers.keys().map(|(due, _)| *due).find(|due| *due > now);
        let happens = followed.map(|wait| now.saturating_add(wait));
        let to = slept.into_iter().chain(happens).fold(end, Duration::min);
        inner.pass(to.saturating_sub(now));
        drop(inner);
        self.tick_followers();
        self.wake();
        to < end
    }

    /// Wakers are called without the lock: a waker may poll on the spot.
    fn wake(&self) {
        let mut inner = self.lock();
        let now = inner.monotonic;
        let due = inner.sleepers.range_mut(..=(now, u64::MAX));
        let wakers: Vec<Waker> = due.filter_map(|(_, waker)| waker.take()).collect();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The nearest follower's wait. One that is due now has been ticked already, so it cannot hold
    /// the clock back.
    fn followed(&self) -> Option<Duration> {
        let followers = self.lock().followers.clone();
        let waits = followers.iter().filter_map(|(next, _)| next());
        waits.filter(|wait| !wait.is_zero()).min()
    }

    /// Called without the lock: a tick asks this clock for the time.
    fn tick_followers(&self) {
        let followers = self.lock().followers.clone();
        followers.iter().for_each(|(_, tick)| tick());
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        // A test that panicked elsewhere must not hide its message behind this one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manual {
    fn pass(&mut self, how_long: Duration) {
        self.wall = self.shifted(SignedDuration::try_from(how_long).unwrap_or(SignedDuration::MAX));
        self.boot = self.boot.saturating_add(how_long);
        self.monotonic = self.monotonic.saturating_add(how_long);
    }

    fn shifted(&self, by: SignedDuration) -> Timestamp {
        self.wall.saturating_add(by).unwrap_or(self.wall)
    }
}

/// Rounds of the runtime's queue that count as "everything that can run has run". A task that hands
/// on to another takes one round for each hand-over; the longest chain of ours is about ten.
const SETTLE_ROUNDS: u32 = 64;

async fn settle() {
    for _ in 0..SETTLE_ROUNDS {
        tokio::task::yield_now().await;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().wall
    }

    fn boottime(&self) -> Duration {
        self.lock().boot
    }

    fn monotonic(&self) -> Duration {
        self.lock().monotonic
    }

    fn sleep(&self, how_long: Duration) -> BoxFuture<'static, ()> {
        let mut inner = self.lock();
        inner.calls += 1;
        let key = (inner.monotonic.saturating_add(how_long), inner.calls);
        inner.sleepers.insert(key, None);
        drop(inner);
        Box::pin(ManualSleep {
            clock: self.clone(),
            key,
        })
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        write!(f, "ManualClock({}, {:?} since boot)", inner.wall, inner.boot)
    }
}

struct ManualSleep {
    clock: ManualClock,
    key: (Duration, u64),
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.clock.lock();
        if inner.monotonic >= self.key.0 {
            inner.sleepers.remove(&self.key);
            return Poll::Ready(());
        }
        inner.sleepers.insert(self.key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_may_agree_is_not_ahead() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, after) = (at("2026-11-23T01:00:00Z"), at("2026-11-23T01:00:01Z"));
        let seconds = |theirs| ahead(at(theirs), before, after).as_secs();
        assert_eq!(seconds("2026-11-23T01:00:00.5Z"), 0);
        assert_eq!(seconds("2026-11-23T00:59:00Z"), -60);
        assert_eq!(seconds("2026-11-23T01:02:01Z"), 120);
    }

    fn clock() -> ManualClock {
        ManualClock::new("2026-11-23T01:30:00Z".parse().unwrap())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn advance_moves_all_three_and_a_jump_only_the_wall() {
        let clock = clock();
        let (boot, monotonic) = (clock.boottime(), clock.monotonic());
        clock.advance(SECOND);
        assert_eq!(clock.now().to_string(), "2026-11-23T01:30:01Z");
        assert_eq!(clock.boottime(), boot + SECOND);
        assert_eq!(clock.monotonic(), monotonic + SECOND);

        clock.jump(SignedDuration::from_hours(-5));
        assert_eq!(clock.now().to_string(), "2026-11-22T20:30:01Z");
        assert_eq!(clock.boottime(), boot + SECOND);

        clock.suspend(8 * 3600 * SECOND);
        assert_eq!(clock.now().to_string(), "2026-11-23T04:30:01Z");
        assert_eq!(clock.boottime(), boot + SECOND + 8 * 3600 * SECOND);
        assert_eq!(clock.monotonic(), monotonic + SECOND);
    }

    #[test]
    fn a_sleep_is_measured_by_the_monotonic_clock() {
        let clock = clock();
        let mut sleep = clock.sleep(2 * SECOND);
        let mut context = Context::from_waker(Waker::noop());
        clock.suspend(3600 * SECOND);
        clock.jump(SignedDuration::from_hours(30));
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        clock.advance(SECOND);
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        clock.advance(SECOND);
        assert!(sleep.as_mut().poll(&mut context).is_ready());
        assert_eq!(clock.sleepers(), 0);
    }

    #[test]
    fn a_dropped_sleep_is_forgotten() {
        let clock = clock();
        let sleep = clock.sleep(2 * SECOND);
        assert_eq!(clock.next_wake(), Some(2 * SECOND));
        drop(sleep);
        assert_eq!(clock.next_wake(), None);
    }

    #[tokio::test]
    async fn sleepers_wake_in_order_and_see_their_own_time() {
        let clock = clock();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for (name, millis) in [("late", 3000), ("early", 1000), ("early too", 1000)] {
            let (clock, seen) = (clock.clone(), seen.clone());
            tokio::spawn(async move {
                clock.sleep(Duration::from_millis(millis)).await;
                seen.lock().unwrap().push((name, clock.now().as_second() % 60));
            });
        }
        clock.pass(10 * SECOND).await;
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen, [("early", 1), ("early too", 1), ("late", 3)]);
    }

    #[tokio::test]
    async fn a_task_that_sleeps_again_and_again_is_not_skipped_over() {
        let clock = clock();
        let times = Arc::new(Mutex::new(0));
        let (its, count) = (clock.clone(), times.clone());
        tokio::spawn(async move {
            loop {
                its.sleep(SECOND).await;
                *count.lock().unwrap() += 1;
            }
        });
        clock.pass(60 * SECOND).await;
        assert_eq!(*times.lock().unwrap(), 60);
    }

    #[test]
    fn a_follower_is_told_at_its_own_time() {
        let clock = clock();
        let told = Arc::new(Mutex::new(Vec::new()));
        let due = clock.monotonic() + 4 * SECOND;
        let (asked, ticked, list) = (clock.clone(), clock.clone(), told.clone());
        clock.follow(
            move || due.checked_sub(asked.monotonic()),
            move || list.lock().unwrap().push(ticked.now().as_second() % 60),
        );
        clock.advance(10 * SECOND);
        assert_eq!(*told.lock().unwrap(), [4, 10]);
    }

    #[test]
    fn the_machines_own_clocks_run_forward() {
        let (boot, monotonic) = (SystemClock.boottime(), SystemClock.monotonic());
        assert!(SystemClock.boottime() >= boot);
        assert!(SystemClock.monotonic() >= monotonic);
        assert!(SystemClock.now() > "2025-01-01T00:00:00Z".parse().unwrap());
    }
}
