//! The invariants, checked by code after every scenario and simulation: the witness that the
//! simulated processes wrote themselves is the judge, not the ledger.
//!
//! Some are looked at when a request leaves (what may be started or removed then), the others at
//! the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use docker_scheduler::clock::{Clock, ManualClock};
use docker_scheduler::engine::sim::{Request, RequestKind, SimEngine, Witness};
use docker_scheduler::ledger::{HistoryQuery, JobFilter, Ledger};
use docker_scheduler::model::{Caps, Concurrency, JobName, Outcome, Pause, Run, Slot, Trigger, Within};
use docker_scheduler::schedule::Schedule;
use jiff::{SignedDuration, Timestamp};

pub struct Checks {
    /// IDs of execs that were asked to start, once for each request.
    exec_starts: Vec<String>,
    engine: SimEngine,
    clock: ManualClock,
    ledger: Option<Arc<Ledger>>,
    /// Containers that a person started: what they do is nobody's fault.
    pub by_hand: BTreeSet<String>,
    /// Which lines of the witness are theirs.
    lines_by_hand: BTreeSet<usize>,
    /// Unknown runs that a person has looked at.
    pub looked_at: BTreeSet<String>,
    /// Names of containers that are not ours.
    pub foreign: BTreeSet<String>,
    /// Since when which schedule counts for which job.
    open: BTreeMap<JobName, Era>,
    closed: Vec<Era>,
    /// Jobs that wait for something as of the last plan: their newest slot may have no record yet.
    pub waiting: BTreeSet<JobName>,
    violations: Vec<String>,
    /// When a person wanted no starts, by the ledger that was told.
    pauses: Vec<(String, JobName, Pause)>,
    caps: Caps,
}

/// A time in which one schedule of one job counted.
#[derive(Clone)]
struct Era {
    job: JobName,
    ledger: Arc<Ledger>,
    baseline: Timestamp,
    schedule: Vec<Trigger>,
    /// `None`: it still counts.
    end: Option<Timestamp>,
    /// Its ledger was taken over: what waited there waits for ever.
    abandoned: bool,
}

impl Checks {
    pub fn new(engine: SimEngine, clock: ManualClock) -> Checks {
        Checks {
            exec_starts: Vec::new(),
            engine,
            clock,
            ledger: None,
            by_hand: BTreeSet::new(),
            foreign: BTreeSet::new(),
            lines_by_hand: BTreeSet::new(),
            looked_at: BTreeSet::new(),
            open: BTreeMap::new(),
            closed: Vec::new(),
            waiting: BTreeSet::new(),
            violations: Vec::new(),
            pauses: Vec::new(),
            caps: Caps::default(),
        }
    }

    pub fn paused(&mut self, job: &JobName, pause: &Pause) {
        self.resumed(job, pause.from);
        if let Some(ledger) = &self.ledger {
            self.pauses
                .push((ledger.id().to_owned(), job.clone(), pause.clone()));
        }
    }

    pub fn resumed(&mut self, job: &JobName, at: Timestamp) {
        for (_, paused, pause) in &mut self.pauses {
            if paused == job && pause.covers(at) {
                pause.until = Some(at);
            }
        }
    }

    /// The operator's limits, which a script may only raise.
    pub fn use_caps(&mut self, caps: &Caps) {
        self.caps = caps.clone();
    }

    /// A person has just started something: whatever the witness says since then is theirs.
    pub fn started_by_hand(&mut self, lines_before: usize) {
        let new = self.engine.witness().into_iter().enumerate().skip(lines_before);
        for (number, line) in new {
            self.lines_by_hand.insert(number);
            self.by_hand.insert(line.container);
        }
    }

    /// A scheduler comes up on that ledger. A take-over begins anew: what counted before ended with
    /// the last slot that was accounted for.
    pub fn use_ledger(&mut self, ledger: &Arc<Ledger>, take_over: bool) {
        let other = self
            .ledger
            .as_ref()
            .is_some_and(|known| known.id() != ledger.id());
        if take_over || other {
            for (job, mut era) in std::mem::take(&mut self.open) {
                let jobs = era.ledger.jobs().unwrap();
                era.end = jobs.get(&job).map(|record| record.settled);
                era.abandoned = true;
                self.closed.push(era);
            }
        }
        self.ledger = Some(ledger.clone());
    }

    /// Notes which schedules count since that pass, which began at `at`.
    pub fn after_pass(&mut self, at: Timestamp) {
        let Some(ledger) = &self.ledger else { return };
        for (name, record) in ledger.jobs().unwrap() {
            let counts = !record.removed;
            if let Some(era) = self.open.get(&name) {
                let same = era.baseline == record.baseline && era.schedule == record.triggers.schedule;
                if counts && same {
                    continue;
                }
                let mut era = era.clone();
                if counts && record.baseline < era.baseline {
                    // The clock was set back: what was written off beyond it is given back, also where
                    // an older schedule had named it.
                    for older in self.closed.iter_mut().filter(|older| older.job == name) {
                        older.end = older.end.map(|end| end.min(record.baseline));
                    }
                }
                era.end = Some(if counts { record.baseline } else { at });
                self.closed.push(era);
                self.open.remove(&name);
            }
            if counts {
                let era = Era {
                    job: name.clone(),
                    ledger: ledger.clone(),
                    baseline: record.baseline,
                    schedule: record.triggers.schedule,
                    end: None,
                    abandoned: false,
                };
                self.open.insert(name, era);
            }
        }
    }

    // ---- at each request ----

    pub fn on_request(&mut self, request: &Request) {
        let Some((name, short)) = parts(&request.subject) else {
            return;
        };
        let writes = matches!(
            request.kind,
            RequestKind::Start
                | RequestKind::Stop
                | RequestKind::Kill
                | RequestKind::Remove
                | RequestKind::Mark
        );
        if request.kind == RequestKind::ExecStart {
            self.exec_starts.push(request.subject.clone());
        }
        if writes && self.foreign.contains(name) {
            self.violations
                .push(format!("I11: `{request}` touches a foreign container"));
        }
        match request.kind {
            RequestKind::Start => self.on_start(request, short),
            RequestKind::Remove => self.on_remove(request, short),
            _ => {}
        }
    }

    fn on_start(&mut self, request: &Request, short: &str) {
        let Some(run) = self.run_of(short) else {
            self.violations
                .push(format!("section 5: `{request}` without an intent in the ledger"));
            return;
        };
        if run.intent.is_none() || run.outcome.is_some() {
            self.violations
                .push(format!("section 5: `{request}` for {run:?}"));
        }
        self.in_turn(request, &run);
        self.within_caps(request, &run);
        let job = run.job.to_string();
        if self.allows_beside(&run) {
            return;
        }
        for other in self.engine.witness() {
            let beside = other.job == job && other.ended_at.is_none() && !other.container.starts_with(short);
            if beside && !self.by_hand.contains(&other.container) && !self.hold_has_ended(&other) {
                self.violations.push(format!(
                    "I8: `{request}` beside {} of slot {}",
                    &other.container[..12],
                    other.slot
                ));
            }
        }
    }

    fn allows_beside(&self, run: &Run) -> bool {
        let jobs = self.ledger.as_ref().map(|ledger| ledger.jobs().unwrap());
        jobs.and_then(|jobs| Some(jobs.get(&run.job)?.policy.concurrency == Concurrency::Allow))
            .unwrap_or(false)
    }

    /// I9 and I17: nothing overtakes a slot that waits, nothing starts in a pause, and no slot that
    /// was due in one.
    fn in_turn(&mut self, request: &Request, run: &Run) {
        let (Some(ledger), Some(slot)) = (&self.ledger, run.slot) else {
            return;
        };
        let jobs = ledger.jobs().unwrap();
        let held = jobs.get(&run.job).map_or(&[][..], |record| &record.held);
        if run.attempt == 0 && held.iter().any(|held| held.slot < slot) {
            self.violations
                .push(format!("I9: `{request}` before a slot that waits: {held:?}"));
        }
        let intent = run.intent.as_ref().map(|intent| intent.at);
        for (id, job, pause) in &self.pauses {
            let covers = intent.is_some_and(|at| pause.covers(at)) || pause.covers(run.due_at);
            if id == ledger.id() && *job == run.job && covers {
                self.violations
                    .push(format!("I17: `{request}` in spite of {pause:?}"));
            }
        }
    }

    /// No more processes at once than the operator allows, by the witness.
    fn within_caps(&mut self, request: &Request, run: &Run) {
        for cap in self.caps.of(run.group.as_deref()) {
            let counts = |line: &Witness| {
                line.ended_at.is_none()
                    && !self.by_hand.contains(&line.container)
                    && self.run_of(&line.container).is_some_and(|other| {
                        other.id != run.id
                            && !self.hold_has_ended(line)
                            && (cap.group.is_none() || other.group == cap.group)
                    })
            };
            let beside = self.engine.witness().iter().filter(|line| counts(line)).count();
            if beside >= cap.limit as usize {
                self.violations
                    .push(format!("limits: `{request}` beside {beside} others: {cap}"));
            }
        }
    }

    /// Whether that process is a run reported as unknown that holds its job no longer.
    fn hold_has_ended(&self, other: &Witness) -> bool {
        self.run_of(&other.container)
            .is_some_and(|run| run.outcome == Some(Outcome::Unknown) && !run.holds_job(self.clock.now()))
    }

    fn on_remove(&mut self, request: &Request, short: &str) {
        let ran = self
            .engine
            .witness()
            .into_iter()
            .any(|line| line.container.starts_with(short) && !self.by_hand.contains(&line.container));
        let recorded = self.run_of(short).is_some_and(|run| run.outcome.is_some());
        if ran && !recorded {
            self.violations
                .push(format!("I12: `{request}` before its outcome is durable"));
        }
    }

    fn run_of(&self, container: &str) -> Option<Run> {
        let ledger = self.ledger.as_ref()?;
        let mut found = ledger.find_runs(container).unwrap();
        found.retain(|run| {
            run.container
                .as_deref()
                .is_some_and(|id| id.starts_with(container))
        });
        // The newest: a reused container has many.
        found.into_iter().next()
    }

    // ---- at the end ----

    /// Everything that was violated, in words.
    pub fn violations(&self, now: Timestamp) -> Vec<String> {
        let mut found = self.violations.clone();
        let witness = self.engine.witness();
        self.once(&witness, &mut found);
        self.never_early(&witness, &mut found);
        self.truth(&witness, &mut found);
        let mut started = BTreeSet::new();
        for exec in &self.exec_starts {
            if !started.insert(exec) {
                found.push(format!("I2: two start requests for exec {exec}"));
            }
        }
        for (container, starts) in self.engine.start_requests() {
            if starts > 1.max(self.reuses_of(&container)) {
                found.push(format!("I2: {starts} start requests for {}", &container[..12]));
            }
        }
        for era in self.closed.iter().chain(self.open.values()) {
            accounted_for(era, now, self.waiting.contains(&era.job), &mut found);
        }
        if let Some(ledger) = &self.ledger {
            attempts_follow(ledger, &mut found);
        }
        let eras: Vec<&Era> = self.closed.iter().chain(self.open.values()).collect();
        no_phantom(&eras, &mut found);
        found
    }

    /// How many runs started that container again.
    fn reuses_of(&self, container: &str) -> u32 {
        let runs = self
            .ledger
            .as_ref()
            .map(|ledger| ledger.history(&HistoryQuery::default()).unwrap());
        let its = |run: &&Run| {
            run.container.as_deref() == Some(container) && matches!(run.within, Within::Reused(_))
        };
        let count = runs.unwrap_or_default().iter().filter(its).count();
        u32::try_from(count).unwrap()
    }

    /// I1. What a person has started is not started by us on top.
    fn once(&self, witness: &[Witness], found: &mut Vec<String>) {
        let mut ours = BTreeSet::new();
        let mut theirs = BTreeSet::new();
        for (number, line) in witness.iter().enumerate() {
            if self.lines_by_hand.contains(&number) {
                theirs.insert(&line.container);
                continue;
            }
            let again = !line.slot.is_empty() && !ours.insert((&line.job, &line.slot, line.attempt));
            let on_top = theirs.contains(&line.container) && self.reuses_of(&line.container) == 0;
            if again || on_top {
                found.push(format!("I1: {} {} ran twice", line.job, line.slot));
            }
        }
    }

    /// I7.
    fn never_early(&self, witness: &[Witness], found: &mut Vec<String>) {
        for line in witness {
            let Ok(slot) = line.slot.parse::<Timestamp>() else {
                continue;
            };
            if line.started_at < slot && !self.by_hand.contains(&line.container) {
                found.push(format!(
                    "I7: {} {} ran at {}",
                    line.job, line.slot, line.started_at
                ));
            }
        }
    }

    /// What the ledger says of a slot is what the processes say.
    fn truth(&self, witness: &[Witness], found: &mut Vec<String>) {
        let Some(ledger) = &self.ledger else { return };
        for run in ledger.history(&HistoryQuery::default()).unwrap() {
            let Some(id) = &run.container else { continue };
            let ran = witness.iter().filter(|line| is_of(line, &run, id)).count();
            let wrong = match run.outcome {
                Some(Outcome::Succeeded | Outcome::Failed | Outcome::TimedOut) => ran == 0,
                Some(
                    Outcome::StartFailed
                    | Outcome::Skipped
                    | Outcome::Missed
                    | Outcome::Suspended
                    | Outcome::Dropped,
                ) => ran > 0,
                Some(Outcome::Cancelled | Outcome::Unknown) | None => false,
            };
            if wrong && !self.by_hand.contains(id) {
                found.push(format!(
                    "promise 2: {} is {:?} and ran {ran}x",
                    run.id, run.outcome
                ));
            }
        }
        let not_run: BTreeSet<(String, String)> = ledger
            .history(&HistoryQuery::default())
            .unwrap()
            .into_iter()
            .filter(|run| run.container.is_none() && run.count.is_none())
            .filter(|run| run.outcome != Some(Outcome::Unknown))
            .filter_map(|run| Some((run.job.to_string(), run.slot?.to_string())))
            .collect();
        for line in witness {
            let key = (line.job.clone(), line.slot.clone());
            if not_run.contains(&key) && !self.by_hand.contains(&line.container) {
                found.push(format!(
                    "promise 2: {} {} ran, and has no run",
                    line.job, line.slot
                ));
            }
        }
    }
}

/// Whether a process is that run's. One in a reused container cannot say which slot it is for.
fn is_of(line: &Witness, run: &Run, container: &str) -> bool {
    let since = run.intent.as_ref().map(|intent| intent.at);
    if matches!(run.within, Within::Exec(_)) {
        let slot = run.slot.map(|slot| slot.to_string()).unwrap_or_default();
        let job = line.job == run.job.to_string();
        return line.container == container && job && line.slot == slot && line.attempt == run.attempt;
    }
    let within = since.is_none_or(|since| line.started_at >= since)
        && run
            .finished_at
            .or(run.recorded_at)
            .is_none_or(|until| line.started_at <= until);
    line.container == container && (run.within.is_own() || within)
}

/// Everything that the ledger has of the era's job and that is about slots.
fn rows_of(era: &Era) -> BTreeMap<Slot, Run> {
    let query = HistoryQuery {
        job: Some(JobFilter::Job(era.job.clone())),
        ..HistoryQuery::default()
    };
    let runs = era.ledger.history(&query).unwrap();
    runs.into_iter()
        .filter_map(|run| Some((run.slot?, run)))
        .collect()
}

/// I3: every slot of an era has exactly one record (the schema sees to "one"); of a job that waits
/// the newest may have none yet.
fn accounted_for(era: &Era, now: Timestamp, waits: bool, found: &mut Vec<String>) {
    let schedule = Schedule::compile(&era.schedule).unwrap();
    let end = era.end.unwrap_or(now);
    let rows = rows_of(era);
    let jobs = era.ledger.jobs().unwrap();
    let held: BTreeSet<Slot> = match jobs.get(&era.job) {
        Some(record) if era.end.is_none() || era.abandoned => {
            record.held.iter().map(|held| held.slot).collect()
        }
        _ => BTreeSet::new(),
    };
    let mut after = era.baseline;
    while let Some(fire) = schedule.next_after(after).filter(|fire| fire.slot.at() <= end) {
        after = fire.slot.at();
        let Some(run) = rows.get(&fire.slot) else {
            if held.contains(&fire.slot) {
                continue;
            }
            let newest = schedule.next_after(after).is_none_or(|next| next.slot.at() > end);
            if era.end.is_some() || !newest || !waits {
                found.push(format!("I3: {} {} has no record", era.job, fire.slot));
            }
            continue;
        };
        let (Some(last), Some(count)) = (run.slot_last, run.count) else {
            continue;
        };
        let before = after - SignedDuration::from_nanos(1);
        let slots = schedule.count_between(before, last.at(), u64::MAX);
        if slots != count {
            found.push(format!(
                "I3: {} {}: {count} slots, should be {slots}",
                era.job, fire.slot
            ));
        }
        after = last.at();
    }
}

/// I10: an attempt follows one that failed for certain, or one of which nobody knows, once that holds
/// its job no longer.
fn attempts_follow(ledger: &Ledger, found: &mut Vec<String>) {
    let runs = ledger.history(&HistoryQuery::default()).unwrap();
    for run in runs.iter().filter(|run| run.slot.is_some() && run.attempt > 0) {
        // What another ledger had started has its first attempts there.
        let Some(intent) = &run.intent else { continue };
        let before = runs.iter().find(|before| {
            (&before.job, before.slot, before.attempt + 1) == (&run.job, run.slot, run.attempt)
        });
        let follows = before.is_some_and(|before| match before.outcome {
            Some(Outcome::Failed | Outcome::TimedOut | Outcome::StartFailed) => true,
            Some(Outcome::Unknown) => before.held_until.is_none_or(|until| until <= intent.at),
            _ => false,
        });
        if !follows {
            found.push(format!("I10: {} after {before:?}", run.id));
        }
    }
}

/// I5: what is recorded is a slot of some schedule that counted then.
fn no_phantom(eras: &[&Era], found: &mut Vec<String>) {
    let mut phantoms: BTreeMap<(JobName, Slot), bool> = BTreeMap::new();
    for era in eras {
        let schedule = Schedule::compile(&era.schedule).unwrap();
        for (slot, run) in rows_of(era) {
            let within = slot.at() > era.baseline;
            // What another ledger had started is older than this one's first sight of the job.
            let named =
                (within && schedule.is_slot(slot.at())) || run.intent.is_none() && run.container.is_some();
            let phantom = phantoms.entry((era.job.clone(), slot)).or_insert(true);
            *phantom &= !named;
        }
    }
    for ((job, slot), _) in phantoms.into_iter().filter(|(_, phantom)| *phantom) {
        found.push(format!("I5: {job} {slot} is recorded, and is no slot"));
    }
}

/// `name (12 digits)` of a request that is about a container.
fn parts(subject: &str) -> Option<(&str, &str)> {
    let (name, rest) = subject.split_once(" (")?;
    Some((name, rest.strip_suffix(')')?))
}
