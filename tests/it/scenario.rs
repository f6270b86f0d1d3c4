//! Scenario files: a script in, a transcript out, compared with the golden file beside it.
//!
//! `tests/scenarios/*.txt` are the scripts. `BLESS=1 cargo test --test it scenario` writes the
//! golden files anew; read their diff before you commit it. After each script the invariants are
//! checked by code, so that no blessing can hide a run too many.
//!
//! | command | |
//! |---|---|
//! | `clock TIME`, `clock jump -5h`, `suspend 8h`, `suspect on` | before anything else: the beginning |
//! | `swarm` | the engine is a Swarm of three nodes; each `ledger` is another scheduler's |
//! | `job NAME KEY=VALUE…`, `jobs COUNT NAME KEY=VALUE…`, `remove NAME` | declares, edits, removes; `{h}` and `{m}` count |
//! | `plan`, `summary`, `apply`, `watch 2m`, `again` | what would be done; one pass; time passes; "no changes" |
//! | `trigger NAME`, `person pause NAME [30m]`, `person resume NAME` | a run by hand; a person's word, beside the scheduler |
//! | `limit running N`, `limit GROUP N` | the operator's limits on what runs at once |
//! | `down 10m`, `kill create before`, `ledger NAME [take-over]` | the scheduler's life |
//! | `engine …` | see [`engine_command`]; `person …`: see [`person`] |
//! | `history [JOB]`, `containers`, `witness`, `requests` | what is there; requests: writes since the last look |
//! | `quiet` | from here on events are only counted |

mod beside;
mod check;
mod declare;
mod simulate;
pub mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use docker_scheduler::engine::sim::{CrashPoint, Fault, RequestKind, SimImage, Verdict};
use docker_scheduler::engine::{ContainerFilter, Observe};
use docker_scheduler::ledger::{HistoryQuery, JobFilter};
use docker_scheduler::model::{ContainerStatus, GapKind, ImageRef, Pause};
use docker_scheduler::plan::render;
use docker_scheduler::schedule::parse_duration;
use jiff::SignedDuration;
use world::{Trouble, World, is_forward};

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");

#[test]
fn every_scenario_has_its_golden_transcript() {
    let bless = std::env::var_os("BLESS").is_some();
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mut scripts: Vec<_> = std::fs::read_dir(SCENARIOS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no scenario is named like `{only}`");
    let failures = in_parallel(&scripts, |path| check(path, bless).err());
    let failures: Vec<String> = failures
        .into_iter()
        .map(|(path, why)| format!("==== {}\n{why}", path.display()))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs `work` on each item, on as many threads as there are cores; what it found, in order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Option<R> + Sync) -> Vec<(&T, R)> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(at)
                {
                    if let Some(result) = work(item) {
                        found.lock().unwrap().insert(at, result);
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    found
        .into_iter()
        .map(|(at, result)| (&items[at], result))
        .collect()
}

fn check(path: &Path, bless: bool) -> Result<(), String> {
    let script = std::fs::read_to_string(path).unwrap();
    let told = std::panic::catch_unwind(|| run(&script));
    let (transcript, violations) = told.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        format!(
            "panicked: {}",
            text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")
        )
    })?;
    let golden = path.with_extension("out");
    if bless {
        std::fs::write(&golden, &transcript).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let mut why = violations.join("\n");
    if !transcript.ends_with("\n> again\nplan again: no changes\n") {
        why.push_str("\nits last command is not `again`, or there are changes left:\n");
        why.push_str(transcript.rsplit("\n> ").next().unwrap_or_default());
    }
    if expected != transcript {
        let diff = docker_scheduler::plan::unified(&expected, &transcript).unwrap_or_default();
        why.push_str("\nthe transcript differs from its golden file:\n");
        why.push_str(&diff);
    }
    if why.is_empty() { Ok(()) } else { Err(why) }
}

pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("?"))
}

/// The transcript of a script, and the invariants that it violates.
fn run(script: &str) -> (String, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut told = String::new();
        let mut stage = Stage::new();
        for line in script.lines() {
            if line.trim().is_empty() || line.starts_with('#') {
                let _ = writeln!(told, "{line}");
                continue;
            }
            let _ = writeln!(told, "> {line}");
            let said = stage.command(line).await;
            told.push_str(&stage.redact(&said));
        }
        let violations = stage.world.checks.lock().unwrap().violations(stage.world.now());
        (told, violations)
    })
}

/// A world, and what a script is told of it.
pub struct Stage {
    pub world: World,
    quiet: bool,
    requests_seen: usize,
    /// Random texts as they came up, in order: each is shown as one of the same width.
    random: Vec<String>,
}

impl Stage {
    pub fn new() -> Stage {
        Stage {
            world: World::new("2026-11-23T00:00:00Z".parse().unwrap()),
            quiet: false,
            requests_seen: 0,
            random: Vec::new(),
        }
    }

    pub async fn command(&mut self, line: &str) -> String {
        let words = shlex::split(line).unwrap_or_else(|| panic!("cannot read `{line}`"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = match words[..] {
            ["clock", "jump", by] => self.jump(signed(by)),
            ["clock", at] => {
                self.world.clock.jump_to(at.parse().unwrap());
                String::new()
            }
            ["swarm"] => {
                self.world.as_swarm.store(true, Ordering::Relaxed);
                String::new()
            }
            ["suspend", how_long] => self.suspend(duration(how_long)),
            ["suspect", on] => {
                self.world.clock_suspect = on == "on";
                String::new()
            }
            ["job", name, ref keys @ ..] => declare::job(&mut self.world.desired, name, keys),
            ["jobs", count, name, ref keys @ ..] => {
                declare::jobs(&mut self.world.desired, count.parse().unwrap(), name, keys)
            }
            ["remove", name] => {
                self.world.desired.jobs.remove(&name.parse().unwrap());
                String::new()
            }
            ["limit", "running", limit] => {
                self.world.desired.caps.running = Some(limit.parse().unwrap());
                String::new()
            }
            ["limit", group, limit] => {
                let groups = &mut self.world.desired.caps.groups;
                groups.insert(group.to_owned(), limit.parse().unwrap());
                String::new()
            }
            ["engine", ref words @ ..] => {
                engine_command(&mut self.world, words);
                String::new()
            }
            ["person", ref words @ ..] => person(&mut self.world, words),
            ["quiet"] => {
                self.quiet = true;
                String::new()
            }
            _ => self.scheduler(&words).await,
        };
        let events = self.events();
        format!("{events}{said}")
    }

    /// Commands in which the scheduler does something.
    async fn scheduler(&mut self, words: &[&str]) -> String {
        match words {
            ["down", how_long] => {
                self.world.end_process();
                self.world.clock.pass(duration(how_long)).await;
                String::new()
            }
            ["kill", kind, when] => {
                self.world.kill_at(request_kind(kind), *when == "after", 0);
                String::new()
            }
            ["ledger", name, rest @ ..] => {
                self.world.use_ledger(name);
                match self.world.start_process(*rest == ["take-over"]).await {
                    Ok(()) => String::new(),
                    Err(error) => format!("error: {error}\n"),
                }
            }
            ["history"] => self.history(None),
            ["log", job] => self.log(job),
            ["history", job] => self.history(Some(job)),
            ["containers"] => self.containers().await,
            ["witness"] => self.witness(),
            ["requests"] => self.requests(),
            _ => {
                if let Err(error) = self.world.start_process(false).await {
                    return format!("error: {error}\n");
                }
                self.pass(words).await.unwrap_or_else(|trouble| match trouble {
                    Trouble::Killed(at) => format!("the scheduler was killed {at}\n"),
                    Trouble::Observe(why) | Trouble::Apply(why) => format!("error: {why}\n"),
                })
            }
        }
    }

    async fn pass(&mut self, words: &[&str]) -> Result<String, Trouble> {
        match words {
            ["plan"] => self.world.plan().await.map(|plan| render(&plan)),
            ["summary"] => {
                let plan = render(&self.world.plan().await?);
                Ok(plan
                    .lines()
                    .last()
                    .map(|line| format!("{line}\n"))
                    .unwrap_or_default())
            }
            ["apply"] => self.world.apply().await.map(|_| String::new()),
            ["watch", how_long] => self.world.watch(duration(how_long)).await.map(|()| String::new()),
            ["again"] => {
                let plan = self.world.plan().await?;
                let waiting = plan.waiting.iter().map(|waiting| waiting.job.clone()).collect();
                self.world.checks.lock().unwrap().waiting = waiting;
                let bookkeeping: Vec<_> = plan.steps.iter().map(|step| step.action.word()).collect();
                Ok(match plan.steps.is_empty() {
                    true => "plan again: no changes\n".to_owned(),
                    false => format!("plan again: {bookkeeping:?}\n{}", render(&plan)),
                })
            }
            ["trigger", job] => Ok(match self.world.trigger(&job.parse().unwrap()).await? {
                Ok(run) => format!("{run}\n"),
                Err(error) => format!("error: {error}\n"),
            }),
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn jump(&mut self, by: SignedDuration) -> String {
        let from = self.world.now();
        self.world.clock.jump(by);
        if is_forward(by) {
            self.world.missed_time(from, GapKind::ClockJumped);
        }
        String::new()
    }

    fn suspend(&mut self, how_long: Duration) -> String {
        let from = self.world.now();
        self.world.clock.suspend(how_long);
        self.world.missed_time(from, GapKind::SchedulerDown);
        String::new()
    }

    // ---- what is shown ----

    fn events(&mut self) -> String {
        let events = std::mem::take(&mut *self.world.events.lock().unwrap());
        if self.quiet {
            let count = events.len();
            return if count == 0 {
                String::new()
            } else {
                format!("({count} events)\n")
            };
        }
        let mut text = String::new();
        for event in events {
            let at = event.at.strftime("%d %H:%M:%S");
            let job = event.job.map(|job| job.to_string()).unwrap_or_default();
            let _ = writeln!(text, "{at}  {job}  {}", event.what);
        }
        text
    }

    fn history(&self, job: Option<&str>) -> String {
        let Some(ledger) = self.world.ledger() else {
            return "no scheduler\n".to_owned();
        };
        let query = HistoryQuery {
            job: job.map(|job| JobFilter::Job(job.parse().unwrap())),
            ..HistoryQuery::default()
        };
        let runs = ledger.history(&query).unwrap();
        let mut rows = vec![["JOB", "SLOT", "OUTCOME", "EXIT", "REASON"].map(str::to_owned)];
        for run in runs.iter().rev() {
            let slot = run
                .slot
                .map_or_else(|| run.id.to_string(), |slot| slot.to_string());
            let slot = match (run.slot_last, run.count) {
                (Some(last), Some(count)) => format!("{slot}..{last} ({count})"),
                _ if run.attempt > 0 && run.slot.is_some() => format!("{slot}.r{}", run.attempt),
                _ => slot,
            };
            let held = run
                .held_until
                .map(|until| format!(" (held until {until})"))
                .unwrap_or_default();
            rows.push([
                run.job.to_string(),
                slot,
                run.outcome
                    .map_or("running", |outcome| outcome.as_str())
                    .to_owned(),
                run.exit_code
                    .map_or_else(|| "-".to_owned(), |code| code.to_string()),
                format!("{}{held}", run.reason),
            ]);
        }
        table(&rows)
    }

    /// The captured output of a job's newest run, and the note on it.
    fn log(&self, job: &str) -> String {
        let Some(ledger) = self.world.ledger() else {
            return "no scheduler\n".to_owned();
        };
        let Some(run) = ledger.newest_run(&job.parse().unwrap()).unwrap() else {
            return "no run\n".to_owned();
        };
        let mut text = run.note.map(|note| format!("({note})\n")).unwrap_or_default();
        match docker_scheduler::ledger::logs::read_log(&ledger.log_path(&run.id)) {
            Err(_) => text.push_str("no log\n"),
            Ok(lines) => {
                for line in lines.map(Result::unwrap) {
                    let _ = writeln!(text, "{} {}", line.at, String::from_utf8_lossy(&line.text));
                }
            }
        }
        text
    }

    async fn containers(&self) -> String {
        let filter = ContainerFilter {
            all: true,
            label: None,
        };
        let mut list = match self.world.engine.list_containers(&filter).await {
            Ok(list) => list,
            Err(error) => return format!("error: {error}\n"),
        };
        list.sort_by(|a, b| a.name.cmp(&b.name));
        let mut rows = vec![["NAME", "STATUS", "IMAGE"].map(str::to_owned)];
        rows.extend(list.into_iter().map(|one| [one.name, one.status_text, one.image]));
        table(&rows)
    }

    fn witness(&self) -> String {
        let mut rows = vec![["JOB", "SLOT", "STARTED", "ENDED"].map(str::to_owned)];
        rows.extend(self.world.engine.witness().into_iter().map(|line| {
            let ended = line
                .ended_at
                .map_or_else(|| "runs".to_owned(), |at| at.to_string());
            [line.job, line.slot, line.started_at.to_string(), ended]
        }));
        table(&rows)
    }

    fn requests(&mut self) -> String {
        let all = self.world.engine.writes();
        let new: String = all
            .iter()
            .skip(self.requests_seen)
            .map(|line| format!("{line}\n"))
            .collect();
        self.requests_seen = all.len();
        new
    }

    /// What differs from run to run (ledgers' ids, the ids of manual runs), as texts of its width.
    fn redact(&mut self, said: &str) -> String {
        let mut found: Vec<String> = Vec::new();
        for word in said.split(|c: char| !c.is_ascii_hexdigit() && c != '-') {
            if word.len() == 36 && word.matches('-').count() == 4 {
                found.push(word.to_owned());
            }
        }
        found.extend(
            said.split(".m-")
                .skip(1)
                .filter_map(|rest| rest.get(..8))
                .map(str::to_owned),
        );
        found.extend(
            said.split("(ledger ")
                .skip(1)
                .filter_map(|rest| rest.get(..8))
                .map(str::to_owned),
        );
        for text in found {
            if !self.random.contains(&text) {
                self.random.push(text);
            }
        }
        let mut said = said.to_owned();
        for (number, text) in self.random.iter().enumerate() {
            said = said.replace(text, &format!("{:#<width$}", number + 1, width = text.len()));
        }
        said
    }
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("   ").trim_end());
    }
    text
}

/// What happens to the engine: `crash`, `stop`, `start`, `image REF`, `publish REF`,
/// `network [rm] NAME`, `volume NAME`, `live-restore on`, `away 5m`, `refuse KIND STATUS TEXT`,
/// `drop-reply KIND`, `never-sent KIND`, `broken-off KIND`, `delay KIND 2m`, `fail-late 15s STATUS TEXT`,
/// `crash-at KIND before|log|hidden|after`, `slow KIND 2m`, `stale-lists 1m`, `reboot`, `log-driver NAME`, `kill-processes-of NAME`,
/// `without-shell NAME`, `install NAME SCRIPT`, `heal`; of a Swarm `lose-node NODE`, `power-off NODE`, `return-node NODE`.
fn engine_command(world: &mut World, words: &[&str]) {
    let engine = world.engine.clone();
    let nth = |kind: &str, verdict| {
        engine.inject(Fault::Nth {
            kind: request_kind(kind),
            nth: 1,
            verdict,
        });
    };
    match words {
        ["image", reference] => drop(engine.add_image(&image(reference), SimImage::default())),
        ["publish", reference] => drop(engine.publish(&image(reference), SimImage::default())),
        ["unpublish", reference] => engine.unpublish(&image(reference)),
        ["network", name] => engine.network_create(name),
        ["network", "rm", name] => engine.network_rm(name),
        ["crash"] => engine.crash(),
        ["reboot"] => engine.host_reboot(),
        ["slow", kind, wait] => nth(
            kind,
            Verdict::Slow {
                before: duration(wait),
                after: Duration::ZERO,
            },
        ),
        ["stale-lists", how_long] => engine.inject(Fault::StaleLists {
            until: world.now() + duration(how_long),
        }),
        ["stop"] => engine.shut_down(),
        ["start"] => engine.restart(),
        ["start", "after", wait] => engine.restart_after(duration(wait)),
        ["live-restore", on] => engine.set_live_restore(*on == "on"),
        ["log-driver", name] => engine.set_default_log_driver(name),
        ["noise", events] => engine.noise(events.parse().unwrap()),
        ["heal"] => engine.heal(),
        ["install", name, script] => engine.install(name, script),
        ["uninstall", name] => engine.uninstall(name),
        ["away", how_long] => {
            let from = world.now();
            engine.inject(Fault::Away {
                from,
                to: from + duration(how_long),
            });
        }
        ["refuse", kind, status, message @ ..] => nth(kind, refusal(status, message)),
        ["refuse-each", kind, status, message @ ..] => engine.inject(Fault::Each {
            kind: request_kind(kind),
            verdict: refusal(status, message),
        }),
        ["drop-reply", kind] => nth(kind, Verdict::DropReply),
        ["never-sent", kind] => nth(kind, Verdict::NeverSent),
        ["broken-off", kind] => nth(kind, Verdict::BrokenOff),
        ["delay", kind, wait] => nth(kind, Verdict::Delay(duration(wait))),
        ["fail-late", holds, status, message @ ..] => nth(
            "create",
            Verdict::FailLate {
                holds: duration(holds),
                status: status.parse().unwrap(),
                message: message.join(" "),
            },
        ),
        ["lose-node", node] => engine.lose_node(node, false),
        ["power-off", node] => engine.lose_node(node, true),
        ["return-node", node] => engine.return_node(node),
        ["crash-at", kind, point] => nth(kind, Verdict::Crash(crash_point(point))),
        ["without-shell", name] => engine.without_shell(name),
        ["kill-processes-of", name] => {
            let witness = world.engine.witness();
            let line = witness.iter().rev().find(|line| line.job == *name);
            engine.kill_processes_of(&line.expect("it never ran").container);
        }
        _ => panic!("no such thing happens to an engine: {words:?}"),
    }
}

/// What a person does: `service NAME PROJECT SERVICE NUMBER`, `stop NAME`, `run NAME IMAGE COMMAND…`, `start NAME`, `kill NAME`, `rm -f NAME`, `prune`,
/// `network prune`, `volume prune`, `tag SOURCE TARGET`, `image rm REF`, `stick NAME dead|removing|free`.
fn person(world: &mut World, words: &[&str]) -> String {
    let engine = world.engine.clone();
    let result = match words {
        ["run", name, reference, command @ ..] => {
            world.checks.lock().unwrap().foreign.insert((*name).to_owned());
            engine.person_run(name, &image(reference), command).map(drop)
        }
        ["service", name, project, service, number] => {
            world.checks.lock().unwrap().foreign.insert((*name).to_owned());
            let labels = [
                ("com.docker.compose.project", *project),
                ("com.docker.compose.service", *service),
                ("com.docker.compose.container-number", *number),
            ];
            engine
                .person_run_labelled(name, &image("busybox:1"), &["sleep", "infinity"], &labels)
                .map(drop)
        }
        ["stop", name] => engine.person_kill(name),
        ["start", name] => {
            let before = engine.witness().len();
            let result = engine.person_start(name);
            world.checks.lock().unwrap().started_by_hand(before);
            result
        }
        ["kill", name] => engine.person_kill(name),
        ["rm", "-f", name] => engine.person_rm_force(name).map(drop),
        ["prune"] => return format!("{}\n", engine.container_prune().unwrap().join("\n")),
        ["network", "prune"] => engine.network_prune(),
        ["volume", "prune"] => engine.volume_prune(),
        ["tag", source, target] => engine.retag(&image(source), &image(target)),
        ["image", "rm", reference] => engine.image_rm(&image(reference)),
        ["stick", name, how] => {
            let status = (*how != "free").then(|| ContainerStatus::from_word(how));
            engine.stick(name, status);
            Ok(())
        }
        ["pause", job, rest @ ..] => {
            let from = world.now();
            let pause = Pause {
                from,
                until: rest.first().map(|how_long| from + duration(how_long)),
                by: "ann".to_owned(),
            };
            world.pause(&job.parse().unwrap(), &pause);
            Ok(())
        }
        ["resume", job] => {
            assert!(world.resume(&job.parse().unwrap()), "it was not paused");
            Ok(())
        }
        ["ack", run] => {
            world.checks.lock().unwrap().looked_at.insert((*run).to_owned());
            world.ledger().unwrap().release(&run.parse().unwrap()).unwrap();
            Ok(())
        }
        _ => panic!("nobody does that: {words:?}"),
    };
    result.map_or_else(|error| format!("error: {error}\n"), |()| String::new())
}

fn refusal(status: &str, message: &[&str]) -> Verdict {
    Verdict::Refuse {
        status: status.parse().unwrap(),
        message: message.join(" "),
    }
}

fn crash_point(word: &str) -> CrashPoint {
    match word {
        "before" => CrashPoint::Before,
        "log" => CrashPoint::LogOpened,
        "hidden" => CrashPoint::Hidden,
        "after" => CrashPoint::After,
        other => panic!("no such moment: {other}"),
    }
}

fn request_kind(word: &str) -> RequestKind {
    [
        RequestKind::Info,
        RequestKind::List,
        RequestKind::Inspect,
        RequestKind::Image,
        RequestKind::Networks,
        RequestKind::Stat,
        RequestKind::Logs,
        RequestKind::Create,
        RequestKind::Mark,
        RequestKind::Start,
        RequestKind::Stop,
        RequestKind::Kill,
        RequestKind::Remove,
        RequestKind::Pull,
        RequestKind::CreateVolume,
        RequestKind::ExecCreate,
        RequestKind::ExecStart,
        RequestKind::ExecInspect,
        RequestKind::Signal,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == word)
    .unwrap_or_else(|| panic!("no such request: {word}"))
}

fn image(text: &str) -> ImageRef {
    text.parse().unwrap()
}

fn duration(text: &str) -> Duration {
    parse_duration(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// `-5h`, `30m`.
fn signed(text: &str) -> SignedDuration {
    match text.strip_prefix('-') {
        Some(rest) => -SignedDuration::try_from(duration(rest)).unwrap(),
        None => SignedDuration::try_from(duration(text)).unwrap(),
    }
}
