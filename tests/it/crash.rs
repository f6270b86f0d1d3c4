//! The power switch: the scheduler is killed at every ledger write and every request of it, before
//! and after, and what comes back must end where it would have ended without (I13).
//!
//! Each world below is a script in the language of the scenarios. It is played once in peace, which
//! tells how many points it comes to; then once for each point and side, with the scheduler killed
//! there and back a second later. The witness and the history must be those of the peaceful play.
//!
//! `CRASH_WORLD=exec` plays one world alone, `CRASH_POINT=17` one point of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use docker_scheduler::engine::sim::RequestKind;
use docker_scheduler::ledger::HistoryQuery;
use docker_scheduler::ledger::point::{Side, Write};
use docker_scheduler::model::{Outcome, Run};

use crate::scenario::world::Point;
use crate::scenario::{Stage, in_parallel, panic_text};

/// A script, and what a kill may make of a slot, beside what peace makes of it.
struct World {
    name: &'static str,
    script: &'static str,
    /// Beginnings of reasons; `absent`: no row at all. Only where the design itself says that nobody can
    /// know (a command in somebody's container, a reused container), where an intent that was never sent
    /// meets the script's own fault at another moment, or where a person's command dies with its process.
    may: &'static [&'static str],
}

const WORLDS: &[World] = &[
    World {
        name: "runs and retention",
        script: r#"
job shop.a every=20s command="sleep 3" history=1,1
watch 60s
"#,
        may: &[],
    },
    World {
        name: "retries",
        script: r#"
job shop.a cron="0 2 * * *" command="exit 3" retries=2 backoff=15s,20s
watch 2m
"#,
        may: &[],
    },
    World {
        name: "a retry is given up",
        script: r#"
job shop.a cron="0 2 * * *" command="exit 3" retries=2 backoff=30s
watch 20s
person pause shop.a
watch 20s
person resume shop.a
watch 30s
"#,
        may: &[],
    },
    World {
        name: "timeout",
        script: r#"
job shop.a cron="0 2 * * *" command="stubborn 100" timeout=5s grace=3s
watch 40s
"#,
        may: &[],
    },
    World {
        name: "replace",
        script: r#"
job shop.a every=20s command="sleep 100" concurrency=replace
watch 40s
"#,
        may: &[],
    },
    World {
        name: "queue",
        script: r#"
job shop.a cron="0,1 2 * * *" command="sleep 70" concurrency=queue
watch 3m
"#,
        may: &[],
    },
    World {
        name: "backlog",
        script: r#"
job shop.a cron="0,1,2 2 * * *" command="sleep 5" missed=all
watch 10s
down 3m
watch 60s
"#,
        may: &[],
    },
    World {
        name: "missed while it was down",
        script: r#"
job shop.a every=20s command="sleep 1" missed=skip
watch 10s
down 50s
watch 40s
"#,
        may: &["the scheduler was down"],
    },
    World {
        name: "edits",
        script: r#"
job shop.a cron="0 2 * * *" command="sleep 2"
watch 10s
job shop.a cron="0 2 * * *" command="sleep 3"
watch 10s
job shop.a cron="1 2 * * *" command="sleep 3"
watch 60s
remove shop.a
watch 20s
job shop.a cron="2 2 * * *" command="sleep 3"
watch 60s
"#,
        may: &[],
    },
    World {
        name: "pull",
        script: r#"
engine publish report:1
job shop.a every=20s command="sleep 2" image=report:1
watch 20s
"#,
        may: &[],
    },
    World {
        name: "secrets",
        script: r#"
job shop.a every=20s command="sleep 2" secret=hush
watch 40s
"#,
        may: &[],
    },
    World {
        name: "cannot be armed",
        script: r#"
job shop.a cron="0,1 2 * * *" command="nosuch"
watch 65s
job shop.a cron="0,1 2 * * *" command="sleep 2"
watch 30s
"#,
        may: &[],
    },
    World {
        name: "exec",
        script: r#"
engine install backup "echo dumping; sleep 5; echo done"
person service cloud-app-2 cloud app 2
job shop.a every=40s command="backup" exec=cloud/app hold=20s
watch 75s
"#,
        may: &["its start was never confirmed", "its output lost its reader"],
    },
    World {
        name: "exec that is stopped",
        script: r#"
engine install long "sleep 100"
person service cloud-app-2 cloud app 2
job shop.a cron="0 2 * * *" command="long" exec=cloud/app timeout=5s hold=20s
watch 40s
"#,
        may: &["its start was never confirmed", "its output lost its reader"],
    },
    World {
        name: "reuse",
        script: r#"
job shop.a cron="0,1 2 * * *" command="sleep 3" container=reuse hold=20s
watch 2m
"#,
        may: &["its start was never confirmed"],
    },
    World {
        name: "reuse, and a person starts it",
        script: r#"
job shop.a cron="0,1,2 2 * * *" command="sleep 3" container=reuse hold=20s
watch 10s
person start shop.a
watch 3m
"#,
        may: &["its start was never confirmed", "a person started", "exit code 0"],
    },
    World {
        name: "by hand",
        script: r#"
job shop.a command="sleep 3"
watch 2s
trigger shop.a
watch 20s
"#,
        may: &["absent", "its start never arrived"],
    },
    World {
        name: "start reply lost",
        script: r#"
job shop.a every=20s command="sleep 3"
engine drop-reply start
watch 20s
"#,
        may: &[],
    },
    World {
        name: "start never sent",
        script: r#"
job shop.a every=40s command="sleep 3"
engine never-sent start
watch 40s
"#,
        may: &[],
    },
    World {
        name: "create reply lost",
        script: r#"
job shop.a every=20s command="sleep 3"
engine drop-reply create
watch 20s
"#,
        may: &[],
    },
    World {
        name: "the engine dies in the start",
        script: r#"
job shop.a cron="0,1 2 * * *" command="sleep 5" hold=30s unknown=rerun retries=1
engine crash-at start hidden
watch 15s
engine start
watch 5s
engine start
watch 90s
"#,
        may: &["exit code", "the engine died", "absent"],
    },
    World {
        name: "the engine dies in the job",
        script: r#"
job shop.a cron="0,1 2 * * *" command="sleep 20"
watch 18s
engine crash
watch 5s
engine start
watch 75s
"#,
        may: &["exit code 0"],
    },
    World {
        name: "take-over",
        script: r#"
job shop.a every=20s command="sleep 30"
job shop.b every=20s command="sleep 2"
watch 8s
ledger b take-over
watch 50s
"#,
        may: &["absent", "exit code 0", "previous run active"],
    },
    World {
        name: "pruned and killed",
        script: r#"
job shop.a every=40s command="sleep 8"
watch 2s
person prune
watch 5s
person rm -f shop.a.20261123T020000Z
watch 65s
"#,
        may: &["exit code 0"],
    },
    World {
        name: "limits and pauses",
        script: r#"
limit running 1
job shop.a cron="0 2 * * *" command="sleep 10"
job shop.b cron="0 2 * * *" command="sleep 3"
job shop.c cron="0,1 2 * * *" command="sleep 3"
watch 30s
person pause shop.c 40s
watch 60s
"#,
        may: &[],
    },
    World {
        name: "the clock is set back",
        script: r#"
job shop.a cron="0 * * * *" command="sleep 3"
watch 2m
clock jump 2h
watch 1m
clock jump -3h
watch 1m
"#,
        may: &[],
    },
    World {
        name: "the ledger is lost",
        script: r#"
job shop.a every=40s command="sleep 6"
watch 8s
ledger new take-over
watch 60s
"#,
        may: &["absent"],
    },
];

/// What every script begins with.
const BEGINNING: [&str; 2] = ["clock 2026-11-23T01:59:55Z", "engine image busybox:1"];

/// Every write of the ledger and every request to an engine, by number. What is new gets the next one.
const POINTS: [(u32, &str); 64] = [
    (1, "ledger creating"),
    (2, "ledger created"),
    (3, "ledger discarded"),
    (4, "ledger seen-started"),
    (5, "ledger arm-failed"),
    (6, "ledger arm-succeeded"),
    (7, "ledger intend"),
    (8, "ledger intend-exec"),
    (9, "ledger started"),
    (10, "ledger never-ran"),
    (11, "ledger request-stop"),
    (12, "ledger request-cancel"),
    (13, "ledger finish"),
    (14, "ledger container-gone"),
    (15, "ledger release"),
    (16, "ledger give-up-retry"),
    (17, "ledger record"),
    (18, "ledger hold"),
    (19, "ledger adopt"),
    (20, "ledger settle"),
    (21, "ledger upsert-job"),
    (22, "ledger remove-job"),
    (23, "ledger give-back"),
    (24, "ledger forget-baselines"),
    (25, "ledger pause"),
    (26, "ledger resume"),
    (27, "ledger bind-engine"),
    (28, "ledger rebind-engine"),
    (29, "ledger supersede"),
    (30, "ledger set-directory"),
    (31, "ledger heartbeat"),
    (32, "ledger note-gap"),
    (33, "ledger compact"),
    (34, "engine info"),
    (35, "engine list"),
    (36, "engine inspect"),
    (37, "engine images"),
    (38, "engine image"),
    (39, "engine networks"),
    (40, "engine volumes"),
    (41, "engine stat"),
    (42, "engine events"),
    (43, "engine logs"),
    (44, "engine create"),
    (45, "engine mark"),
    (46, "engine start"),
    (47, "engine stop"),
    (48, "engine kill"),
    (49, "engine remove"),
    (50, "engine pull"),
    (51, "engine create-volume"),
    (52, "engine remove-volume"),
    (53, "engine attach"),
    (54, "engine exec-create"),
    (55, "engine exec-start"),
    (56, "engine exec-inspect"),
    (57, "engine signal"),
    (58, "ledger intend-at-once"),
    (59, "ledger launched"),
    (60, "ledger follow"),
    (61, "ledger advance"),
    (62, "engine write files"),
    (63, "ledger pulled"),
    (64, "engine decide"),
];

/// Those at which no world above is stopped, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ledger request-cancel", "a command's single write, `cancel`"),
    (
        "ledger release",
        "ends the hold of an `unknown` run: one write, made again at the next look",
    ),
    ("ledger settle", "of tests alone"),
    ("ledger pause", "a command's single write"),
    ("ledger resume", "a command's single write"),
    (
        "ledger rebind-engine",
        "once in an engine's life, with `--take-over`",
    ),
    (
        "ledger set-directory",
        "the last write of `apply`, which nothing leans on",
    ),
    (
        "ledger compact",
        "deletes what is over; a kill in it is a kill between two batches",
    ),
    (
        "ledger intend-at-once",
        "Swarm, where a create is a start: `scenario::beside` kills there",
    ),
    ("ledger launched", "the same"),
    ("ledger follow", "the same"),
    ("ledger advance", "the same"),
    ("engine decide", "the same"),
    ("engine images", "`list images`"),
    ("engine kill", "`rm -f`"),
    ("engine attach", "`run`, which has no ledger"),
];

/// How long a killed scheduler is away.
const AWAY: Duration = Duration::from_secs(1);

/// What a play comes to.
#[derive(Debug, PartialEq, Eq)]
struct End {
    /// Executions by job, slot and attempt, as the witness has them.
    ran: BTreeMap<(String, String, u32), u32>,
    /// Outcome and reason by job, slot and attempt; manual runs are counted.
    rows: BTreeMap<(String, String, u32), (String, String)>,
}

struct Played {
    end: End,
    points: Vec<Point>,
    violations: Vec<String>,
    told: String,
}

fn play(script: &str, kill: Option<(usize, Side)>) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut stage = Stage::new();
        stage.world.comes_back = Some(AWAY);
        if let Some((number, side)) = kill {
            stage.world.kill_at_point(number, side);
        }
        let mut told = String::new();
        let script = script.lines().filter(|line| !line.is_empty());
        for line in BEGINNING
            .into_iter()
            .chain(script)
            .chain(["watch 1500ms", "again"])
        {
            let said = stage.command(line.trim()).await;
            let _ = writeln!(told, "> {line}\n{said}");
        }
        if stage.world.process.is_none() {
            // Killed at the very last look.
            let said = stage.command("again").await;
            let _ = writeln!(told, "> again\n{said}");
        }
        let mut violations = stage.world.checks.lock().unwrap().violations(stage.world.now());
        if !told.trim_end().ends_with("plan again: no changes") {
            violations.push("I15, I20: something is left to do".to_owned());
        }
        Played {
            end: end(&stage),
            points: stage.world.points(),
            violations,
            told,
        }
    })
}

fn end(stage: &Stage) -> End {
    let mut end = End {
        ran: BTreeMap::new(),
        rows: BTreeMap::new(),
    };
    for line in stage.world.engine.witness() {
        *end.ran.entry((line.job, line.slot, line.attempt)).or_default() += 1;
    }
    let ledger = stage.world.ledger().expect("a scheduler");
    for run in ledger.history(&HistoryQuery::default()).unwrap() {
        let slot = run
            .slot
            .map_or_else(|| format!("manual {}", end.rows.len()), |slot| slot.to_string());
        end.rows
            .insert((run.job.to_string(), slot, run.attempt), meaning(&run));
    }
    end
}

fn meaning(run: &Run) -> (String, String) {
    let outcome = run.outcome.map_or("running", Outcome::as_str).to_owned();
    (outcome, run.reason.clone())
}

#[test]
fn a_kill_at_any_write_or_request_changes_no_end() {
    let only = std::env::var("CRASH_WORLD").unwrap_or_default();
    let point: Option<usize> = std::env::var("CRASH_POINT")
        .ok()
        .map(|text| text.parse().unwrap());
    let mut failures = Vec::new();
    let mut struck = BTreeSet::new();
    for world in WORLDS.iter().filter(|world| world.name.contains(&only)) {
        let peace = play(world.script, None);
        assert!(
            peace.violations.is_empty(),
            "{}: {:?}\n{}",
            world.name,
            peace.violations,
            peace.told
        );
        let mut plays = plays(&peace.points);
        plays.retain(|(number, _)| point.is_none_or(|point| point == *number));
        let found = in_parallel(&plays, |&(number, side)| {
            let judged = std::panic::catch_unwind(|| judge(world, &peace, number, side));
            judged.unwrap_or_else(|panic| Some(panic_text(&*panic)))
        });
        struck.extend(plays.iter().map(|(number, _)| peace.points[*number].to_string()));
        println!(
            "{}: {} points, {} plays",
            world.name,
            peace.points.len(),
            plays.len()
        );
        failures.extend(found.into_iter().map(|((number, side), why)| {
            format!(
                "==== CRASH_WORLD={:?} CRASH_POINT={number}, {side:?} `{}`\n{why}",
                world.name, peace.points[*number]
            )
        }));
    }
    if only.is_empty() && point.is_none() {
        for (_, name) in POINTS {
            let excused = ELSEWHERE.iter().any(|(other, _)| *other == name);
            match (struck.contains(name), excused) {
                (false, false) => {
                    failures.push(format!("no world comes to `{name}`, and nothing excuses it"))
                }
                (true, true) => failures.push(format!("`{name}` needs no excuse")),
                _ => {}
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} plays ended otherwise\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_write_and_request_has_a_number() {
    let writes = Write::ALL.iter().map(|write| Point::Ledger(*write));
    let requests = RequestKind::ALL.into_iter().map(Point::Engine);
    let all: BTreeSet<String> = writes.chain(requests).map(|point| point.to_string()).collect();
    let numbered: BTreeSet<String> = POINTS.iter().map(|(_, name)| (*name).to_owned()).collect();
    assert_eq!(
        all, numbered,
        "a point is in the code and not in the list, or the other way round"
    );
    assert!(
        POINTS
            .iter()
            .map(|(number, _)| *number)
            .eq(1..=u32::try_from(POINTS.len()).unwrap())
    );
}

/// Both sides of everything that changes something. A read changes nothing, so a kill at one is a kill
/// after the write before it; the first of each kind stands for all.
fn plays(points: &[Point]) -> Vec<(usize, Side)> {
    let mut reads = BTreeSet::new();
    let mut plays = Vec::new();
    for (number, point) in points.iter().enumerate() {
        let changes = match point {
            // The lock volume is made once, and then only asked for.
            Point::Ledger(Write::Heartbeat) | Point::Engine(RequestKind::CreateVolume) => false,
            Point::Ledger(_) => true,
            Point::Engine(kind) => kind.is_write(),
        };
        if changes || reads.insert(*point) {
            plays.push((number, Side::Before));
        }
        if changes {
            plays.push((number, Side::After));
        }
    }
    plays
}

fn judge(world: &World, peace: &Played, number: usize, side: Side) -> Option<String> {
    let played = play(world.script, Some((number, side)));
    let mut why = played.violations;
    let mut same = true;
    for (key, row) in &peace.end.rows {
        let now = played.end.rows.get(key);
        if now == Some(row) {
            continue;
        }
        same = false;
        let reason = now.map_or("absent", |(_, reason)| reason.as_str());
        if !world.may.iter().any(|may| reason.starts_with(may)) {
            why.push(format!("{key:?} is {now:?}, and {row:?} in peace"));
        }
    }
    // Where something else was recorded, the invariants say what may have run.
    if same && played.end.ran != peace.end.ran {
        why.push(format!(
            "ran {:?}, and {:?} in peace",
            played.end.ran, peace.end.ran
        ));
    }
    if why.is_empty() {
        None
    } else {
        Some(format!("{}\n{}", why.join("\n"), played.told))
    }
}
