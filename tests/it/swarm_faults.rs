//! Three managers, two schedulers, and what happens to them: the leader killed, a manager cut off, the
//! quorum lost and regained, the node of a run lost. Short jobs run by the second meanwhile, and their own
//! lines are the judge.
//!
//! The short form is a part of every test run; `make chaos-swarm` is the long one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::rig::Phase;
use crate::scheduler::{Job, Scheduler, Watching, wait_for, wait_until};
use crate::swarm::{begins, witnessing};

/// How often a slot comes, seconds.
const EVERY: i64 = 2;

/// As long as anything lasts; a Swarm finds a new leader within 13 s (measured).
const OUTAGE: Duration = Duration::from_secs(16);

struct Stage {
    cluster: &'static Cluster,
    one: Scheduler<'static>,
    other: Scheduler<'static>,
    watches: Vec<Watching>,
    since: i64,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LeaderKilled,
    ManagerCutOff,
    QuorumLost,
    NodeLost,
    SchedulerKilled,
}

impl Fault {
    const ALL: [Fault; 5] = [
        Fault::LeaderKilled,
        Fault::ManagerCutOff,
        Fault::QuorumLost,
        Fault::NodeLost,
        Fault::SchedulerKilled,
    ];
}

impl Stage {
    fn new() -> Stage {
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::of(3)));
        let one = Scheduler::new(&cluster.nodes[0], "three").on_swarm();
        let other = one.with_other_ledger().on_swarm().at(&cluster.nodes[1]);
        let jobs = [
            Job {
                name: "tick",
                every: &format!("{EVERY}s"),
                work: "true",
                options: "concurrency: allow, history: {succeeded: 1}",
            },
            Job {
                name: "long",
                every: "10s",
                work: "sleep 6",
                options: "unknown_hold: 5s",
            },
        ];
        one.manifest("a.yaml", &witnessing("s", &one.witness, &jobs));
        let watches = vec![one.watch(), other.watch()];
        let mut stage = Stage {
            cluster,
            one,
            other,
            watches,
            since: 0,
        };
        stage.goes_on("work before any fault");
        // By now both know the jobs.
        stage.since = Timestamp::now().as_second();
        stage
    }

    /// Both schedulers see runs succeed that are newer than this moment.
    fn goes_on(&self, when: &str) {
        let from = Timestamp::now().as_second();
        let newest = |scheduler: &Scheduler<'_>| {
            let runs = scheduler.history_of("s.tick");
            let ended = runs.iter().find(|run| run["outcome"] == "succeeded");
            ended.and_then(slot_of).unwrap_or_default()
        };
        wait_until(when, || newest(&self.one) > from && newest(&self.other) > from);
    }

    fn suffer(&mut self, fault: Fault) {
        let cluster = self.cluster;
        let leader = cluster.leader();
        let follower = (leader + 1) % 3;
        match fault {
            Fault::LeaderKilled => {
                cluster.nodes[leader].kill9();
                std::thread::sleep(OUTAGE);
                cluster.nodes[leader].up();
            }
            Fault::ManagerCutOff => {
                cluster.cut(follower, true);
                std::thread::sleep(OUTAGE);
                cluster.cut(follower, false);
            }
            Fault::QuorumLost => {
                cluster.cut(follower, true);
                cluster.cut(leader, true);
                std::thread::sleep(OUTAGE);
                cluster.cut(leader, false);
                cluster.cut(follower, false);
            }
            Fault::NodeLost => {
                let node = self.busy_node().unwrap_or(follower);
                cluster.power_off(node);
                std::thread::sleep(OUTAGE);
                cluster.power_on(node);
            }
            Fault::SchedulerKilled => {
                self.watches.remove(0).kill9();
                self.watches.insert(0, self.one.watch());
            }
        }
        cluster.settles(3);
        self.goes_on(&format!("work after {fault:?}"));
    }

    /// The node on which the long job runs at this moment.
    fn busy_node(&self) -> Option<usize> {
        let rig = &self.cluster.nodes[self.cluster.leader()];
        let (_, text) = rig.get("/tasks");
        let tasks: Vec<Value> = serde_json::from_str(&text).ok()?;
        let running = tasks.iter().find(|task| {
            task["Status"]["State"] == "running"
                && task["Spec"]["ContainerSpec"]["Labels"]["docker-scheduler.job"] == "long"
        })?;
        let nodes = self.cluster.list()?;
        let node = nodes.iter().find(|node| node["ID"] == running["NodeID"])?;
        let name = node["Description"]["Hostname"].as_str()?;
        (0..3).find(|&at| self.cluster.nodes[at].namespace_name("") == name)
    }

    /// Ends both schedulers and waits until everything that was begun has its record.
    fn close(self) -> (Scheduler<'static>, Scheduler<'static>, i64, i64) {
        let until = Timestamp::now().as_second() - 30;
        for watch in self.watches {
            watch.signal("TERM");
            watch.wait();
        }
        self.one.remove_manifest("a.yaml");
        wait_until("an end of everything", || {
            [&self.one, &self.other].iter().all(|scheduler| {
                scheduler.run(&["apply", "--allow-mass-removal"]);
                scheduler.history().iter().all(|run| run["outcome"] != "running")
            })
        });
        (self.one, self.other, self.since, until)
    }
}

fn slot_of(run: &Value) -> Option<i64> {
    let slot: Timestamp = run["slot"].as_str()?.parse().ok()?;
    Some(slot.as_second())
}

/// Outcomes that say that something ran.
const RAN: [&str; 5] = ["succeeded", "failed", "unknown", "timed_out", "cancelled"];

/// Everything that breaks the promise, in words.
fn judge(one: &Scheduler<'_>, other: &Scheduler<'_>, since: i64, until: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = one.witness.lines();
    // Both jobs write to one file: what differs is the slot or the container.
    let mut by_container: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.phase == Phase::Begin) {
        *by_container.entry(&line.container).or_default() += 1;
    }
    wrong.extend(
        by_container
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(container, _)| format!("container {container} ran twice")),
    );
    for ((slot, attempt), count) in begins(&lines) {
        // A slot of both jobs has two runs.
        let jobs = 1 + usize::from(slot.parse::<Timestamp>().is_ok_and(|at| at.as_second() % 10 == 0));
        if count > jobs {
            wrong.push(format!(
                "slot {slot} attempt {attempt} ran {count} times for {jobs} jobs"
            ));
        }
    }
    let began: BTreeSet<i64> = begins(&lines)
        .keys()
        .filter_map(|(slot, _)| Some(slot.parse::<Timestamp>().ok()?.as_second()))
        .collect();
    for (who, scheduler) in [("one", one), ("other", other)] {
        let runs = scheduler.history_of("s.tick");
        let mut told: BTreeMap<i64, String> = BTreeMap::new();
        for run in &runs {
            let Some(slot) = slot_of(run) else { continue };
            let word = run["outcome"].as_str().unwrap_or_default().to_owned();
            let last = run["slot_last"]
                .as_str()
                .and_then(|text| text.parse::<Timestamp>().ok());
            let last = last.map_or(slot, |last| last.as_second());
            for slot in (slot..=last).filter(|slot| slot % EVERY == 0) {
                // A run's own row goes before a series around it.
                told.entry(slot)
                    .and_modify(|known| {
                        if RAN.contains(&word.as_str()) {
                            known.clone_from(&word);
                        }
                    })
                    .or_insert_with(|| word.clone());
            }
        }
        let first = (since / EVERY + 2) * EVERY;
        for slot in (first..until).filter(|slot| slot % EVERY == 0) {
            match told.get(&slot) {
                None => wrong.push(format!("{who}: slot {slot} has no outcome")),
                Some(word) if began.contains(&slot) && slot % 10 != 0 && !RAN.contains(&word.as_str()) => {
                    wrong.push(format!("{who}: slot {slot} ran, and its outcome is {word}"));
                }
                Some(word) if word == "succeeded" && !began.contains(&slot) => {
                    wrong.push(format!("{who}: slot {slot} succeeded, and never began"));
                }
                Some(_) => {}
            }
        }
    }
    let ends = |scheduler: &Scheduler<'_>| -> BTreeMap<String, String> {
        let runs = scheduler.history();
        let ran = runs
            .iter()
            .filter(|run| matches!(run["outcome"].as_str(), Some("succeeded" | "failed")));
        ran.map(|run| (run["run"].to_string(), run["outcome"].to_string()))
            .collect()
    };
    let (mine, theirs) = (ends(one), ends(other));
    for (run, outcome) in &mine {
        match theirs.get(run) {
            Some(same) if same == outcome => {}
            found => wrong.push(format!("{run} is {outcome} here and {found:?} there")),
        }
    }
    wrong
}

#[track_caller]
fn assert_right(stage: Stage) {
    let logs = [stage.one.log(), stage.other.log()];
    let (one, other, since, until) = stage.close();
    let wrong = judge(&one, &other, since, until);
    let runs = one.witness.executions();
    println!("{runs} runs in {} s, {} wrong", until - since, wrong.len());
    assert!(
        wrong.is_empty(),
        "{}\nthe first scheduler's log:\n{}\nthe other's:\n{}",
        wrong.join("\n"),
        logs[0],
        logs[1]
    );
    assert!(runs > 10, "too little ran to judge: {runs}");
}

#[test]
fn schedulers_on_three_managers_survive_what_a_swarm_survives() {
    let mut stage = Stage::new();
    for fault in [Fault::LeaderKilled, Fault::QuorumLost, Fault::NodeLost] {
        stage.suffer(fault);
    }
    assert_right(stage);
}

/// The node of a run is lost, power and all: where a job says so, its slot is run once more, elsewhere, when
/// the Swarm has seen the node down, whichever scheduler sees it first; the rest is `unknown`, and not run again.
#[test]
fn a_run_that_was_lost_with_its_node_is_run_once_more_where_its_job_says_so() {
    let cluster = Cluster::of(3);
    let leader = cluster.leader();
    let one = Scheduler::new(&cluster.nodes[leader], "loss").on_swarm();
    let other = one.with_other_ledger().on_swarm();
    // Not on the leader's node: which of the others is lost does not matter.
    let elsewhere = format!(
        "placement: {{constraints: [node.hostname!={}]}}",
        cluster.nodes[leader].namespace_name("")
    );
    let work = "[ \"$SCHEDULER_ATTEMPT\" = 1 ] || sleep 600";
    let again = format!("{elsewhere}, on_node_loss: rerun, starting_deadline: 10m");
    let never = format!("{elsewhere}, unknown_hold: 1h");
    let job = |name, options| Job {
        name,
        every: "15s",
        work,
        options,
    };
    let jobs = [job("again", again.as_str()), job("never", never.as_str())];
    one.manifest("a.yaml", &witnessing("l", &one.witness, &jobs));
    let watches = [one.watch(), other.watch()];
    wait_until("both runs", || one.witness.executions() == 2);
    // All runs are put on one node, so that both are lost.
    let node_of = |job: &str| {
        let (_, text) = cluster.nodes[leader].get("/tasks");
        let tasks: Vec<Value> = serde_json::from_str(&text).expect("a list of tasks");
        let nodes = cluster.list()?;
        let task = tasks.iter().find(|task| {
            task["Status"]["State"] == "running"
                && task["Spec"]["ContainerSpec"]["Labels"]["docker-scheduler.job"] == job
        })?;
        let node = nodes.iter().find(|node| node["ID"] == task["NodeID"])?;
        let name = node["Description"]["Hostname"].as_str()?;
        (0..3).find(|&at| cluster.nodes[at].namespace_name("") == name)
    };
    let lost = wait_for("the node of the one", || node_of("again"));
    let lost_too = wait_for("the node of the other", || node_of("never"));
    let slot_of_attempt = |scheduler: &Scheduler<'_>, job: &str, attempt: i64, outcome: &str| {
        let runs = scheduler.history_of(job);
        let run = runs
            .iter()
            .find(|run| run["attempt"] == attempt && run["outcome"] == outcome);
        run.and_then(slot_of)
    };
    cluster.power_off(lost);
    for scheduler in [&one, &other] {
        let slot = wait_for("the further attempt", || {
            slot_of_attempt(scheduler, "l.again", 1, "succeeded")
        });
        assert_eq!(
            slot_of_attempt(scheduler, "l.again", 0, "unknown"),
            Some(slot),
            "{:#?}",
            scheduler.history_of("l.again")
        );
    }
    if lost_too == lost {
        wait_until("the other's record", || {
            slot_of_attempt(&one, "l.never", 0, "unknown").is_some()
        });
    }
    cluster.power_on(lost);
    cluster.settles(3);
    for watch in watches {
        watch.signal("TERM");
        watch.wait();
    }
    let runs = one.history_of("l.again");
    let first = runs
        .iter()
        .rev()
        .find(|run| run["attempt"] == 0 && run["outcome"] == "unknown")
        .expect("the lost run");
    let reason = first["reason"].as_str().unwrap_or_default();
    assert!(
        reason.starts_with("lost: node ") && reason.contains("went down while it ran"),
        "{first}"
    );
    let slot = first["slot"].as_str().unwrap_or_default().to_owned();
    let begun: Vec<_> = begins(&one.witness.lines())
        .into_iter()
        .filter(|((of, attempt), _)| *of == slot && attempt == "1")
        .collect();
    assert_eq!(begun.len(), 1, "one further attempt of its slot: {begun:?}");
    assert_eq!(begun[0].1, 1, "once, by two schedulers: {begun:?}");
    assert!(
        one.history_of("l.never").iter().all(|run| run["attempt"] == 0),
        "nothing was asked for: {:#?}",
        one.history_of("l.never")
    );
}

/// For CHAOS_SECONDS (default 600), at random from a printed seed.
#[test]
#[ignore = "long; `make chaos-swarm`"]
fn for_a_long_time() {
    let seconds = std::env::var("CHAOS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = std::env::var("CHAOS_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let mut seed: u64 = seed.unwrap_or_else(|| Timestamp::now().as_millisecond().unsigned_abs());
    println!("CHAOS_SEED={seed}");
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(600));
    let mut stage = Stage::new();
    while Instant::now() < end {
        // A generator of Knuth's; only its variety counts.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(seed >> 33).unwrap_or_default() % Fault::ALL.len();
        println!("{:?}", Fault::ALL[at]);
        stage.suffer(Fault::ALL[at]);
    }
    assert_right(stage);
}
