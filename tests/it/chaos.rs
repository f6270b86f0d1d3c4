//! Crashes at random moments: the scheduler is killed, the engine is killed, and the jobs' own
//! witness must show that nothing ran twice, nothing was lost, and nothing was made up.
//!
//! The two short tests are part of every run. The long ones are for an afternoon:
//! `CHAOS_SECONDS=600 cargo test --test it chaos::long -- --exact --ignored --nocapture`. `CHAOS_SEED`
//! repeats the moments of a run; the engine's own timing cannot be repeated.

use std::io::Write as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::judge::{Faults, Trial, Verdict, judge};
use crate::people::People;
use crate::proxy::{Fault, Proxy};
use crate::rig::Rig;
use crate::scheduler::{Job, Scheduler, Watching, manifest, wait_until};

/// Jobs of several lengths and rhythms: shorter than their interval, about as long, and longer.
const JOBS: [(&str, i64, &str, i64); 5] = [
    ("short", 1, "true", 0),
    ("second", 1, "sleep 0.8", 0),
    ("long", 2, "sleep 3", 0),
    ("failing", 2, "sleep 0.3; exit 3", 3),
    ("stubborn", 5, "trap : TERM; sleep 2", 0),
];

/// Which kills, and how many at least.
struct Storm {
    lasts: Duration,
    scheduler_kills: u32,
    engine_kills: u32,
    /// Also people who prune, delete, kill and start containers, and a network that loses, delays and
    /// falsifies.
    interference: bool,
}

#[test]
fn kills_of_the_scheduler_double_and_lose_nothing() {
    let storm = Storm {
        lasts: Duration::from_secs(40),
        scheduler_kills: 10,
        engine_kills: 0,
        interference: false,
    };
    let verdict = weather(&storm);
    assert_eq!(verdict.unknown, 0, "the engine lived, so everything can be known");
}

#[test]
fn kills_of_the_engine_double_and_lose_nothing() {
    weather(&Storm {
        lasts: Duration::from_secs(40),
        scheduler_kills: 3,
        engine_kills: 3,
        interference: false,
    });
}

#[test]
#[ignore = "takes ten minutes; `CHAOS_SECONDS` says how many"]
fn long() {
    let secs = number_from("CHAOS_SECONDS").unwrap_or(600);
    weather(&Storm {
        lasts: Duration::from_secs(secs),
        scheduler_kills: u32::try_from(secs / 2).unwrap_or(u32::MAX),
        engine_kills: u32::try_from(secs / 12).unwrap_or(u32::MAX),
        interference: false,
    });
}

/// As [`long`], among people and on a bad network.
#[test]
#[ignore = "takes ten minutes; `CHAOS_SECONDS` says how many"]
fn long_among_people_on_a_bad_network() {
    let secs = number_from("CHAOS_SECONDS").unwrap_or(600);
    weather(&Storm {
        lasts: Duration::from_secs(secs),
        scheduler_kills: u32::try_from(secs / 6).unwrap_or(u32::MAX),
        engine_kills: u32::try_from(secs / 30).unwrap_or(u32::MAX),
        interference: true,
    });
}

/// Lives through a storm on an engine of its own, and is judged.
fn weather(storm: &Storm) -> Verdict {
    let seed = number_from("CHAOS_SEED").unwrap_or_else(|| Timestamp::now().as_second().unsigned_abs());
    println!("CHAOS_SEED={seed}");
    let rig = Rig::start();
    let proxy = Proxy::start(&rig.socket());
    let mut scheduler = Scheduler::new(&rig, "chaos");
    if storm.interference {
        scheduler = scheduler.through(&proxy);
    }
    for (name, every_secs, work, _) in JOBS {
        let job = Job {
            name,
            every: &format!("{every_secs}s"),
            work,
            // Short enough for a job to go on soon, longer than any job.
            options: "unknown_hold: 8s",
        };
        // A witness for each job: its lines do not say whose they are.
        scheduler.manifest(
            &format!("{name}.yaml"),
            &manifest("chaos", &rig.witness(name), &[job]),
        );
    }
    let watching = scheduler.watch();
    wait_until("every job is known", || {
        scheduler.json(&["ls"]).len() == JOBS.len()
    });
    let known_since = Timestamp::now();

    let mut chaos = Chaos {
        rig: &rig,
        scheduler: &scheduler,
        proxy: &proxy,
        random: Random(seed),
        faults: Faults::default(),
        scheduler_kills: 0,
        engine_kills: 0,
    };
    let watching = chaos.rage(storm, watching);
    proxy.lift();
    let until = Timestamp::now();
    calm(&scheduler, watching, until);

    let history = scheduler.history();
    let mut all = Verdict::default();
    for (name, every_secs, _, exit_code) in JOBS {
        let trial = Trial {
            job: format!("chaos.{name}"),
            every_secs,
            exit_code,
            known_since,
            until,
        };
        all.add(judge(&trial, &rig.witness(name).lines(), &history, &chaos.faults));
    }
    for (path, requests) in proxy.starts() {
        if requests > 1 {
            all.wrong.push(format!("I2: {requests} start requests: {path}"));
        }
    }
    // Past the harness, which shows nothing of a test that passes.
    writeln!(
        std::io::stderr(),
        "chaos: scheduler kills {} engine kills {} containers touched by people {} {all}",
        chaos.scheduler_kills,
        chaos.engine_kills,
        chaos.faults.started.len() + chaos.faults.ended.len()
    )
    .expect("write to stderr");
    all.assert_right(seed, &scheduler.log());
    scheduler.ok(&["down"]);
    assert_eq!(scheduler.containers().len(), 0, "`down` leaves nothing");
    all
}

/// Lets everything come to its end: what was due until then is settled by a watch that nobody
/// disturbs (I20), which is then told to stop; what it started last runs out.
fn calm(scheduler: &Scheduler<'_>, watching: Watching, until: Timestamp) {
    wait_until("everything that was due is settled", || {
        let history = scheduler.history();
        JOBS.iter().all(|(name, every_secs, ..)| {
            let job = format!("chaos.{name}");
            let mut rows = history.iter().filter(|row| row["job"] == *job);
            let due = |row: &serde_json::Value| {
                let due = row["due_at"]
                    .as_str()
                    .and_then(|due| due.parse::<Timestamp>().ok());
                due.map_or(0, Timestamp::as_second)
            };
            // Newest first: the newest one that was due must be there, and none still open.
            let reached = rows
                .next()
                .is_some_and(|newest| due(newest) + every_secs > until.as_second());
            reached
                && history
                    .iter()
                    .all(|row| row["outcome"] != "running" || due(row) > until.as_second())
        })
    });
    assert_eq!(watching.term(), 0, "log:\n{}", scheduler.log());
    wait_until("the last runs end", || {
        scheduler
            .containers()
            .iter()
            .all(|container| container["State"] != "running")
    });
}

/// Kills at random moments, and what it did.
struct Chaos<'a> {
    rig: &'a Rig,
    scheduler: &'a Scheduler<'a>,
    proxy: &'a Proxy,
    random: Random,
    faults: Faults,
    scheduler_kills: u32,
    engine_kills: u32,
}

impl Chaos<'_> {
    /// Until the time is over and there were enough kills. Returns a watch that runs.
    fn rage(&mut self, storm: &Storm, mut watching: Watching) -> Watching {
        let end = Instant::now() + storm.lasts;
        // A machine that is too slow for the kills that were asked for is no reason to go on for ever.
        let limit = end + storm.lasts * 2;
        loop {
            let enough =
                self.scheduler_kills >= storm.scheduler_kills && self.engine_kills >= storm.engine_kills;
            if Instant::now() > limit || (enough && Instant::now() > end) {
                return watching;
            }
            std::thread::sleep(self.moment());
            if self.random.below(5) == 0 {
                self.apply_beside();
            }
            if storm.interference {
                self.interfere();
            }
            let share = storm.scheduler_kills / storm.engine_kills.max(1) + 1;
            if storm.engine_kills > 0 && self.random.below(u64::from(share)) == 0 {
                watching = self.kill_engine(watching);
            } else {
                watching = self.kill_scheduler(watching);
            }
        }
    }

    /// People touch a container or two, and some of the coming requests have bad luck.
    fn interfere(&mut self) {
        let mut people = People {
            rig: self.rig,
            scheduler: self.scheduler,
            random: Random(self.random.below(u64::MAX)),
            deeds: std::mem::take(&mut self.faults),
        };
        people.touch_a_container();
        self.faults = people.deeds;
        let late = Duration::from_millis(self.random.below(3000));
        let fault = match self.random.below(6) {
            0 => Fault::LoseReply,
            1 => Fault::LoseRequest,
            2 => Fault::Late(late),
            3 => Fault::DelayReply(late),
            4 => Fault::Truncate,
            _ => Fault::Falsify,
        };
        let choice = self.random.below(4);
        self.proxy.plant(1, fault, move |request| match choice {
            0 => request.is("POST", "/containers/create"),
            1 => request.is("POST", "/start"),
            2 => request.method == "DELETE",
            _ => request.is("POST", "/update"),
        });
    }

    /// Half of the moments lie just after a full second, when jobs are being started.
    fn moment(&mut self) -> Duration {
        if self.random.below(2) == 0 {
            return Duration::from_millis(100 + self.random.below(2200));
        }
        let into_second = Timestamp::now().subsec_millisecond().unsigned_abs();
        Duration::from_millis(1000 - u64::from(into_second) + self.random.below(500))
    }

    fn kill_scheduler(&mut self, watching: Watching) -> Watching {
        watching.kill9();
        self.scheduler_kills += 1;
        // Sometimes slots pass while nobody watches.
        if self.random.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(self.random.below(3000)));
        }
        self.scheduler.spawn_watch(&[])
    }

    /// A second hand at the same ledger, killed somewhere on its way.
    fn apply_beside(&mut self) {
        let mut apply = self.scheduler.spawn(&["apply"]);
        std::thread::sleep(Duration::from_millis(self.random.below(600)));
        drop(apply.kill());
        apply.wait().expect("wait for `apply`");
    }

    /// SIGKILL for the engine; in a third of the cases the scheduler dies while it is away, and in
    /// another third the engine dies again as soon as it is back: its first life finds the tasks of
    /// the one before and ends them, the second knows nothing of them.
    fn kill_engine(&mut self, mut watching: Watching) -> Watching {
        let from = Timestamp::now();
        self.rig.kill9();
        self.engine_kills += 1;
        std::thread::sleep(Duration::from_millis(self.random.below(1500)));
        match self.random.below(3) {
            0 => watching = self.kill_scheduler(watching),
            1 => {
                self.rig.up();
                self.rig.kill9();
                self.engine_kills += 1;
            }
            _ => {}
        }
        self.rig.up();
        self.faults.engine_away.push(from..=Timestamp::now());
        watching
    }
}

/// SplitMix64: the same moments for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

pub fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number: {text:?}")),
    )
}
