//! Random worlds from a seed: jobs, edits, faults, people, crashes and clocks. Nothing golden here;
//! the invariants alone judge, and at the end, when all faults have stopped, that everything due is
//! settled and every job that can be is armed again (I20).
//!
//! `SIMULATE_SEEDS=500 cargo test --test it scenario::simulate` runs more of them,
//! `SIMULATE_SEED=17` that one alone. A failure prints the seed and what was done, in the words of
//! the scenario language as far as it has them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use docker_scheduler::clock::Clock;
use docker_scheduler::engine::sim::{CrashPoint, EventFault, Fault, RequestKind, SimImage, Verdict};
use docker_scheduler::engine::{ContainerFilter, Observe};
use docker_scheduler::model::{GapKind, JobName, Pause};
use docker_scheduler::plan::{WaitCause, render};
use jiff::SignedDuration;

use super::world::{Trouble, World};
use super::{declare, in_parallel};

const SEEDS: u64 = 20;
const STEPS: u32 = 40;

/// How long the world is left in peace before it is judged: longer than any run, any pause between
/// two attempts at a job's container, and any hold.
const PEACE: Duration = Duration::from_secs(8 * 60);

pub type Told = Arc<Mutex<Vec<String>>>;

#[test]
fn random_worlds_keep_the_invariants() {
    over_seeds(SEEDS, simulate);
}

/// Plays the world of each seed and says what was done in those that break an invariant.
pub fn over_seeds(seeds: u64, simulate: impl Fn(u64, Told) -> Vec<String> + Sync) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("SIMULATE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SIMULATE_SEEDS").unwrap_or(seeds)).collect(),
    };
    let failures = in_parallel(&seeds, |seed| {
        let told = Told::default();
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe({
            let told = told.clone();
            || simulate(*seed, told)
        }));
        let why = match judged {
            Ok(violations) if violations.is_empty() => return None,
            Ok(violations) => violations.join("\n"),
            Err(panic) => super::panic_text(&*panic),
        };
        let told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(format!("{}\n{why}", told.join("\n")))
    });
    let failures: Vec<String> = failures
        .into_iter()
        .map(|(seed, why)| format!("==== SIMULATE_SEED={seed}\n{why}"))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn simulate(seed: u64, told: Told) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(seed, told);
        for _ in 0..STEPS {
            simulation.step().await;
        }
        simulation.peace().await
    })
}

/// Splitmix64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    pub fn secs(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_secs(from + self.below(to - from))
    }
}

const WRITES: [RequestKind; 5] = [
    RequestKind::Create,
    RequestKind::Mark,
    RequestKind::Start,
    RequestKind::Stop,
    RequestKind::Remove,
];

const ALL: [RequestKind; 11] = [
    RequestKind::Create,
    RequestKind::Mark,
    RequestKind::Start,
    RequestKind::Stop,
    RequestKind::Remove,
    RequestKind::List,
    RequestKind::Inspect,
    RequestKind::Image,
    RequestKind::Logs,
    RequestKind::Stat,
    RequestKind::CreateVolume,
];

struct Simulation {
    world: World,
    random: Random,
    told: Told,
    ledger: u32,
    take_over: bool,
}

impl Simulation {
    fn new(seed: u64, told: Told) -> Simulation {
        let mut random = Random::new(seed);
        let begin = "2026-11-23T01:59:00Z".parse::<jiff::Timestamp>().unwrap();
        let millis = i64::try_from(random.below(60_000)).unwrap();
        let world = World::new(begin + SignedDuration::from_millis(millis));
        world
            .engine
            .add_image(&"busybox:1".parse().unwrap(), SimImage::default());
        world
            .engine
            .publish(&"report:1".parse().unwrap(), SimImage::default());
        world.engine.network_create("shop_default");
        if random.one_in(4) {
            world.engine.set_default_log_driver("local");
        }
        world.engine.set_live_restore(random.one_in(3));
        let mut world = world;
        if random.one_in(3) {
            world.desired.caps.running = Some(2);
        }
        Simulation {
            world,
            random,
            told,
            ledger: 0,
            take_over: false,
        }
    }

    fn say(&self, what: impl std::fmt::Display) {
        let at = self.world.now();
        self.told.lock().unwrap().push(format!("{at}  {what}"));
    }

    async fn step(&mut self) {
        match self.random.below(20) {
            0..=7 => {
                let how_long = self.random.secs(1, 150);
                self.watch(how_long).await;
            }
            8..=10 => self.declare(),
            11..=12 => self.fault(),
            13 => self.kill().await,
            14 => self.daemon(),
            15 if self.random.one_in(3) => self.pause(),
            15..=16 => self.person().await,
            17 => self.clock(),
            18 => self.trigger().await,
            _ => self.life().await,
        }
    }

    async fn watch(&mut self, how_long: Duration) {
        self.say(format!("watch {how_long:?}"));
        let started = self.world.start_process(self.take_over).await;
        self.take_over &= started.is_err();
        if let Err(error) = started {
            self.say(format!("refused: {error}"));
            self.world.clock.pass(Duration::from_secs(1)).await;
            return;
        }
        if let Err(trouble) = self.world.watch(how_long).await {
            self.say(format!("{trouble:?}"));
        }
        self.tell_events();
    }

    fn tell_events(&self) {
        for event in std::mem::take(&mut *self.world.events.lock().unwrap()) {
            let job = event.job.map(|job| job.to_string()).unwrap_or_default();
            let line = format!("    {} {job} {}", event.at, event.what);
            self.told.lock().unwrap().push(line);
        }
    }

    fn a_job(&mut self) -> JobName {
        let name = self.random.pick(&["a", "b", "c"]);
        format!("shop.{name}").parse().unwrap()
    }

    fn declare(&mut self) {
        let name = self.a_job();
        if self.random.one_in(5) {
            self.say(format!("remove {name}"));
            self.world.desired.jobs.remove(&name);
            return;
        }
        let random = &mut self.random;
        let schedule = random.pick(&[
            "every=10s",
            "every=45s",
            "cron=* * * * *",
            "cron=*/2 * * * *",
            "cron=1-59/3 * * * *",
        ]);
        let command = random.pick(&[
            "command=true",
            "command=sleep 3",
            "command=sleep 25",
            "command=sleep 100",
            "command=exit 3",
            "command=stubborn 200",
        ]);
        let mut keys = vec![schedule, command, "hold=2m"];
        let some: &[(u64, &str)] = &[
            (3, "timeout=30s"),
            (4, "missed=skip"),
            (5, "deadline=20s"),
            (8, "suspend=true"),
            (3, "history=1,1"),
            (5, "networks=shop_default"),
            (5, "image=report:1"),
            (8, "pull=always"),
            (3, "retries=2"),
            (4, "backoff=4s,20s"),
            (5, "unknown=rerun"),
            (5, "missed=all"),
            (6, "jitter=20s"),
            (4, "group=few"),
        ];
        for (times, key) in some {
            if random.one_in(*times) {
                keys.push(key);
            }
        }
        if random.one_in(2) {
            keys.push(random.pick(&["concurrency=queue", "concurrency=allow", "concurrency=replace"]));
        }
        self.say(format!("job {name} {keys:?}"));
        declare::job(&mut self.world.desired, name.to_string().as_str(), &keys);
    }

    fn fault(&mut self) {
        let kind = self.random.pick(&ALL);
        let nth = 1 + u32::try_from(self.random.below(3)).unwrap();
        let status = self.random.pick(&[409, 500]);
        let refusal = Verdict::Refuse {
            status,
            message: "no".to_owned(),
        };
        let verdict = match self.random.below(7) {
            0 => Verdict::DropReply,
            1 => Verdict::NeverSent,
            2 => Verdict::Delay(self.random.secs(1, 120)),
            3 => refusal,
            4 => Verdict::Unreachable,
            5 => Verdict::BrokenOff,
            _ => {
                let next = 1 + u32::try_from(self.random.below(5)).unwrap();
                let how = self
                    .random
                    .pick(&[EventFault::Lost, EventFault::Doubled, EventFault::Swapped]);
                self.say(format!("events {how:?} {next}"));
                self.world.engine.inject(Fault::Events { next, how });
                return;
            }
        };
        self.say(format!("{nth}. {} {verdict:?}", kind.as_str()));
        self.world.engine.inject(Fault::Nth { kind, nth, verdict });
    }

    async fn kill(&mut self) {
        let kind = self.random.pick(&WRITES);
        let (delivered, skip) = (
            self.random.one_in(2),
            u32::try_from(self.random.below(3)).unwrap(),
        );
        self.say(format!(
            "kill {} delivered={delivered} after {skip}",
            kind.as_str()
        ));
        self.world.kill_at(kind, delivered, skip);
        let how_long = self.random.secs(30, 200);
        self.watch(how_long).await;
    }

    fn daemon(&mut self) {
        let engine = &self.world.engine;
        let back = self.random.secs(1, 90);
        match self.random.below(4) {
            0 => {
                self.say(format!("daemon crash, back in {back:?}"));
                engine.crash();
                engine.restart_after(back);
            }
            1 => {
                self.say(format!("daemon stop, back in {back:?}"));
                engine.shut_down();
                engine.restart_after(back);
            }
            2 => {
                let from = self.world.now();
                self.say(format!("away for {back:?}"));
                engine.inject(Fault::Away {
                    from,
                    to: from + back,
                });
            }
            _ => {
                let point = self.random.pick(&[
                    CrashPoint::Before,
                    CrashPoint::LogOpened,
                    CrashPoint::Hidden,
                    CrashPoint::After,
                ]);
                let kind = self
                    .random
                    .pick(&[RequestKind::Start, RequestKind::Start, RequestKind::Create]);
                self.say(format!(
                    "daemon crashes at {} {point:?}; back after {back:?}",
                    kind.as_str()
                ));
                engine.inject(Fault::Nth {
                    kind,
                    nth: 1,
                    verdict: Verdict::Crash(point),
                });
                // Whenever that is: a living daemon is restarted all the same.
                engine.restart_after(Duration::from_secs(120) + back);
            }
        }
    }

    async fn person(&mut self) {
        let engine = self.world.engine.clone();
        let everything = ContainerFilter {
            all: true,
            label: None,
        };
        let Ok(list) = engine.list_containers(&everything).await else {
            return;
        };
        let names: Vec<String> = list.into_iter().map(|one| one.name).collect();
        let which = self.random.next();
        let some = usize::try_from(which % names.len().max(1) as u64).unwrap();
        let name = names.get(some).cloned().unwrap_or_default();
        let said = match self.random.below(6) {
            0 => format!("person prune: {:?}", engine.container_prune()),
            1 => format!("person rm -f {name}: {:?}", engine.person_rm_force(&name)),
            2 => format!("person kill {name}: {:?}", engine.person_kill(&name)),
            3 => {
                let before = engine.witness().len();
                let result = engine.person_start(&name);
                self.world.checks.lock().unwrap().started_by_hand(before);
                format!("person start {name}: {result:?}")
            }
            4 => {
                engine.network_rm("shop_default");
                "network rm".to_owned()
            }
            _ => {
                engine.network_create("shop_default");
                let id = engine.add_image(&"busybox:1".parse().unwrap(), SimImage::default());
                format!("network create, busybox:1 is {id}")
            }
        };
        self.say(said);
    }

    fn pause(&mut self) {
        let name = self.a_job();
        let from = self.world.now();
        let done = match self.random.below(3) {
            0 => self.world.resume(&name),
            1 => self.world.pause(
                &name,
                &Pause {
                    from,
                    until: None,
                    by: "ann".to_owned(),
                },
            ),
            _ => {
                let until = Some(from + self.random.secs(1, 300));
                let by = "ann".to_owned();
                self.world.pause(&name, &Pause { from, until, by })
            }
        };
        self.say(format!("pause or resume {name}: {done}"));
    }

    fn clock(&mut self) {
        let from = self.world.now();
        let by = self
            .random
            .pick(&["-5m", "-2s", "-5h", "-3h", "1h", "5m", "2s", "5h"]);
        self.say(format!("clock jump {by}"));
        self.world.clock.jump(super::signed(by));
        if self.world.now() > from {
            self.world.missed_time(from, GapKind::ClockJumped);
        }
    }

    async fn trigger(&mut self) {
        let name = self.a_job();
        if !self.world.desired.jobs.contains_key(&name) || self.world.process.is_none() {
            return;
        }
        self.say(format!("trigger {name}"));
        match self.world.trigger(&name).await {
            Ok(result) => self.say(format!("{result:?}")),
            Err(trouble) => self.say(format!("{trouble:?}")),
        }
    }

    /// The scheduler's own: down, and sometimes another ledger.
    async fn life(&mut self) {
        let how_long = self.random.secs(1, 400);
        self.say(format!("down {how_long:?}"));
        self.world.end_process();
        self.world.clock.pass(how_long).await;
        if self.random.one_in(4) {
            self.ledger += 1;
            self.world.use_ledger(&format!("ledger-{}", self.ledger));
            self.take_over = true;
            self.say("take over with the next start");
        }
    }

    /// All faults stop; what is left after a while is judged.
    async fn peace(&mut self) -> Vec<String> {
        self.say("peace");
        self.world.forget_kill();
        self.world.engine.heal();
        self.world.engine.restart();
        self.world.engine.network_create("shop_default");
        for name in ["shop.a", "shop.b", "shop.c"] {
            self.world.resume(&name.parse().unwrap());
        }
        let slots = self.world.clock.monotonic() + PEACE;
        while self.world.clock.monotonic() < slots {
            self.watch(Duration::from_secs(60)).await;
        }
        // Between two slots: nothing is due at half a second.
        let millis = u64::try_from(self.world.now().subsec_millisecond()).unwrap();
        self.watch(Duration::from_millis(1_500 - millis)).await;
        let mut found = Vec::new();
        match self.world.plan().await {
            Ok(plan) => {
                let waiting = plan.waiting.iter().map(|waiting| waiting.job.clone()).collect();
                self.world.checks.lock().unwrap().waiting = waiting;
                let problem = plan.waiting.iter().any(|waiting| {
                    waiting.cause.is_problem() && !matches!(waiting.cause, WaitCause::UnknownRunHeld { .. })
                });
                if !plan.steps.is_empty() || problem {
                    let words: Vec<&str> = plan.steps.iter().map(|step| step.action.word()).collect();
                    found.push(format!("I20, I15: left {words:?}\n{}", render(&plan)));
                }
            }
            Err(Trouble::Killed(why) | Trouble::Observe(why) | Trouble::Apply(why)) => {
                found.push(format!("I20: {why}"));
            }
        }
        found.extend(self.world.checks.lock().unwrap().violations(self.world.now()));
        found
    }
}
