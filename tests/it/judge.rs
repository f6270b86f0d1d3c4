//! Judges what a scheduler did, by the lines of the jobs themselves and an oracle of its own.
//!
//! The ledger's `history` is on trial here: it is compared with the witness, never believed. What is
//! due is computed anew: the slots of `every: Ns` are the multiples of N seconds since the epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde_json::Value;

use crate::rig::{Phase, WitnessLine};

/// One job on trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Full name.
    pub job: String,
    pub every_secs: i64,
    /// What its script ends with.
    pub exit_code: i64,
    /// When its manifest was certainly known.
    pub known_since: Timestamp,
    /// Slots up to here must have their final outcome.
    pub until: Timestamp,
}

/// What was done to the engine and when, and by people to which containers: the only excuses for an
/// `unknown`.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// From the kill until the engine answered again.
    pub engine_away: Vec<RangeInclusive<Timestamp>>,
    /// IDs of containers that people started before we did.
    pub started: BTreeSet<String>,
    /// IDs of containers that people tried to start, and the engine could not.
    pub failed_starts: BTreeSet<String>,
    /// IDs of containers that people killed, deleted or pruned.
    pub ended: BTreeSet<String>,
}

/// How long after its slot a run may still be starting or running when a fault hits it, seconds:
/// the longest job, and a busy machine.
const REACH_SECS: i64 = 40;

impl Faults {
    fn may_have_hit(&self, slot: i64) -> bool {
        self.engine_away
            .iter()
            .any(|away| slot <= away.end().as_second() + 1 && slot + REACH_SECS >= away.start().as_second())
    }

    /// By the first characters of its ID, as a witness knows it.
    pub fn by_hand(&self, container: &str) -> bool {
        self.started.iter().any(|id| id.starts_with(container))
    }
}

/// What came of one or more trials.
#[derive(Debug, Default)]
pub struct Verdict {
    pub slots: u64,
    pub runs: u64,
    pub unknown: u64,
    pub doubled: u64,
    pub lost: u64,
    pub overlaps: u64,
    pub late_ms: Vec<i64>,
    /// Everything that breaks the promise, in words.
    pub wrong: Vec<String>,
}

impl Verdict {
    pub fn add(&mut self, other: Verdict) {
        self.slots += other.slots;
        self.runs += other.runs;
        self.unknown += other.unknown;
        self.doubled += other.doubled;
        self.lost += other.lost;
        self.overlaps += other.overlaps;
        self.late_ms.extend(other.late_ms);
        self.wrong.extend(other.wrong);
    }

    #[track_caller]
    pub fn assert_right(&self, seed: u64, log: &str) {
        assert!(
            self.wrong.is_empty(),
            "seed {seed}: {self}\n{}\nlog:\n{log}",
            self.wrong.join("\n")
        );
        assert!(self.runs > 0, "seed {seed}: nothing ran; log:\n{log}");
    }

    fn percentile(&self, percent: usize) -> i64 {
        let mut sorted = self.late_ms.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "slots {} runs {} unknown {} doubled {} lost {} overlaps {} late p50 {} ms p99 {} ms",
            self.slots,
            self.runs,
            self.unknown,
            self.doubled,
            self.lost,
            self.overlaps,
            self.percentile(50),
            self.percentile(99)
        )
    }
}

/// What the witness says of one execution.
struct Execution<'a> {
    begin: &'a WitnessLine,
    /// Places in the witness's file: appended lines are in the order of the events.
    from: usize,
    to: Option<usize>,
}

/// Compares one job's witness with its rows in `history`.
pub fn judge(trial: &Trial, witness: &[WitnessLine], history: &[Value], faults: &Faults) -> Verdict {
    let mut verdict = Verdict::default();
    let executions = executions(witness, &mut verdict);
    no_doubles(&executions, faults, &mut verdict);
    no_overlaps(&executions, witness, faults, &mut verdict);
    let rows: Vec<&Value> = history.iter().filter(|row| row["job"] == *trial.job).collect();
    every_slot_once(trial, &rows, &mut verdict);
    for execution in executions
        .iter()
        .filter(|execution| !faults.by_hand(&execution.begin.container))
    {
        is_a_slot(trial, execution, &rows, &mut verdict);
    }
    for row in rows {
        honest(trial, row, &executions, faults, &mut verdict);
    }
    verdict.runs = executions.len() as u64;
    for text in &mut verdict.wrong {
        *text = format!("{}: {text}", trial.job);
    }
    verdict
}

/// I1 and I8 by the witness alone, where there is more than one ledger to ask.
pub fn judge_witness(witness: &[WitnessLine]) -> Verdict {
    let mut verdict = Verdict::default();
    let executions = executions(witness, &mut verdict);
    no_doubles(&executions, &Faults::default(), &mut verdict);
    no_overlaps(&executions, witness, &Faults::default(), &mut verdict);
    verdict.runs = executions.len() as u64;
    verdict
}

fn executions<'a>(witness: &'a [WitnessLine], verdict: &mut Verdict) -> Vec<Execution<'a>> {
    let mut executions: Vec<Execution<'a>> = Vec::new();
    for (at, line) in witness.iter().enumerate() {
        if line.phase == Phase::Begin {
            executions.push(Execution {
                begin: line,
                from: at,
                to: None,
            });
            continue;
        }
        let open = executions
            .iter_mut()
            .rev()
            .find(|execution| execution.to.is_none() && execution.begin.container == line.container);
        match open {
            Some(execution) => execution.to = Some(at),
            None => verdict
                .wrong
                .push(format!("an end without a beginning: {line:?}")),
        }
    }
    executions
}

/// I1, by container and by slot. What people start runs beside the count: its slot is made again only
/// when they then take the container away before its time.
fn no_doubles(executions: &[Execution<'_>], faults: &Faults, verdict: &mut Verdict) {
    let mut containers = BTreeSet::new();
    let mut slots = BTreeSet::new();
    for Execution { begin, .. } in executions {
        let same_container = !containers.insert(&begin.container);
        let ours = begin.slot != "-" && !faults.by_hand(&begin.container);
        let same_slot = ours && !slots.insert((&begin.slot, &begin.attempt));
        if same_container || same_slot {
            verdict.doubled += 1;
            verdict.wrong.push(format!("ran twice: {begin:?}"));
        }
    }
}

/// I8: nobody begins between another's beginning and end. One that was killed has no end, and then
/// nobody knows until when it ran.
fn no_overlaps(
    executions: &[Execution<'_>],
    witness: &[WitnessLine],
    faults: &Faults,
    verdict: &mut Verdict,
) {
    for Execution { begin, from, to } in executions {
        let Some(to) = to.filter(|_| !faults.by_hand(&begin.container)) else {
            continue;
        };
        for line in witness[from + 1..to]
            .iter()
            .filter(|line| line.phase == Phase::Begin && !faults.by_hand(&line.container))
        {
            verdict.overlaps += 1;
            verdict.wrong.push(format!("{line:?} began beside {begin:?}"));
        }
    }
}

/// I3: every due slot since the baseline has exactly one outcome.
fn every_slot_once(trial: &Trial, rows: &[&Value], verdict: &mut Verdict) {
    let mut seen: BTreeMap<(i64, u64), u32> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row["slot"].is_null()) {
        let first = second(&row["slot"]);
        let last = if row["slot_last"].is_null() {
            first
        } else {
            second(&row["slot_last"])
        };
        let attempt = row["attempt"].as_u64().unwrap_or(u64::MAX);
        for slot in (first..=last).step_by(usize::try_from(trial.every_secs).unwrap_or(1)) {
            *seen.entry((slot, attempt)).or_default() += 1;
        }
    }
    for ((slot, attempt), count) in &seen {
        if *count > 1 {
            verdict.wrong.push(format!(
                "{count} rows for slot {}, attempt {attempt}",
                time(*slot)
            ));
        }
        if slot % trial.every_secs != 0 {
            verdict
                .wrong
                .push(format!("history has {}, which is no slot", time(*slot)));
        }
    }
    let first_due = next_multiple(trial.known_since.as_second() + 1, trial.every_secs);
    for slot in (first_due..=trial.until.as_second()).step_by(usize::try_from(trial.every_secs).unwrap_or(1))
    {
        verdict.slots += 1;
        if !seen.contains_key(&(slot, 0)) {
            verdict.lost += 1;
            verdict.wrong.push(format!("no outcome for slot {}", time(slot)));
        }
    }
}

/// I5 and I7: every execution is a slot, in the ledger, and not early.
fn is_a_slot(trial: &Trial, execution: &Execution<'_>, rows: &[&Value], verdict: &mut Verdict) {
    let begin = execution.begin;
    let Ok(slot) = begin.slot.parse::<Timestamp>() else {
        if begin.slot != "-" {
            verdict.wrong.push(format!("not a slot: {begin:?}"));
        }
        return;
    };
    if slot.as_second() % trial.every_secs != 0 {
        verdict.wrong.push(format!("phantom: {begin:?}"));
    }
    if begin.at < slot.as_second() {
        verdict.wrong.push(format!("early: {begin:?}"));
    }
    let rows: Vec<_> = rows
        .iter()
        .filter(|row| row["slot"] == *begin.slot && row["attempt"].as_u64() == begin.attempt.parse().ok())
        .collect();
    let ours = |row: &&&&Value| {
        row["container"]
            .as_str()
            .is_some_and(|id| id.starts_with(&begin.container))
    };
    if rows.iter().filter(ours).count() != 1 {
        verdict
            .wrong
            .push(format!("{begin:?} is not in the history: {rows:?}"));
    }
}

/// Promise 3 and I4: an outcome says what happened.
fn honest(trial: &Trial, row: &Value, executions: &[Execution<'_>], faults: &Faults, verdict: &mut Verdict) {
    if let Some(late) = row["late_ms"].as_i64() {
        verdict.late_ms.push(late);
        if late < 0 {
            verdict.wrong.push(format!("early by its own account: {row}"));
        }
    }
    let execution = executions.iter().find(|execution| {
        row["container"]
            .as_str()
            .is_some_and(|id| id.starts_with(&execution.begin.container))
    });
    let began = execution.is_some();
    let ended = execution.is_some_and(|execution| execution.to.is_some());
    let code = row["exit_code"].as_i64();
    let hit = faults.may_have_hit(second(&row["due_at"]));
    let touched = row["container"]
        .as_str()
        .is_some_and(|id| faults.ended.contains(id) || faults.started.contains(id));
    let by_hand = row["reason"] == "started by hand" && !faults.started.is_empty();
    let outcome = row["outcome"].as_str().unwrap_or_default();
    let fine = match outcome {
        "running" => second(&row["due_at"]) > trial.until.as_second(),
        "succeeded" => ended && code == Some(0) && trial.exit_code == 0,
        "failed" if code == Some(trial.exit_code) && trial.exit_code != 0 => ended,
        // Killed with the daemon.
        "failed" => hit || touched,
        "unknown" => {
            verdict.unknown += 1;
            hit || touched || by_hand
        }
        "skipped" | "missed" | "suspended" | "dropped" => !began,
        "start_failed" => !began && hit,
        _ => false,
    };
    let reasoned = outcome == "running" || row["reason"].as_str().is_some_and(|reason| !reason.is_empty());
    if !fine || !reasoned {
        verdict
            .wrong
            .push(format!("not honest (began {began}, ended {ended}): {row}"));
    }
}

fn next_multiple(from: i64, every: i64) -> i64 {
    from + (every - from.rem_euclid(every)) % every
}

fn second(time: &Value) -> i64 {
    time.as_str()
        .and_then(|text| text.parse::<Timestamp>().ok())
        .map_or(0, Timestamp::as_second)
}

fn time(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trial() -> Trial {
        Trial {
            job: "p.j".into(),
            every_secs: 2,
            exit_code: 0,
            known_since: Timestamp::from_second(100).unwrap(),
            until: Timestamp::from_second(104).unwrap(),
        }
    }

    fn line(phase: Phase, slot: i64, container: &str) -> WitnessLine {
        WitnessLine {
            phase,
            slot: time(slot),
            attempt: "0".into(),
            container: container.into(),
            at: slot,
        }
    }

    fn row(slot: i64, outcome: &str, container: &str) -> Value {
        json!({"job": "p.j", "slot": time(slot), "slot_last": null, "attempt": 0, "outcome": outcome,
               "reason": "because", "exit_code": if outcome == "succeeded" { json!(0) } else { json!(null) },
               "due_at": time(slot), "late_ms": 5, "container": container})
    }

    fn wrong(witness: &[WitnessLine], history: &[Value]) -> Verdict {
        judge(&trial(), witness, history, &Faults::default())
    }

    fn good() -> (Vec<WitnessLine>, Vec<Value>) {
        let witness = vec![
            line(Phase::Begin, 102, "a"),
            line(Phase::End, 102, "a"),
            line(Phase::Begin, 104, "b"),
            line(Phase::End, 104, "b"),
        ];
        (
            witness,
            vec![row(104, "succeeded", "b"), row(102, "succeeded", "a")],
        )
    }

    #[test]
    fn a_good_scheduler_is_acquitted() {
        let (witness, history) = good();
        let verdict = wrong(&witness, &history);
        assert_eq!(verdict.wrong, Vec::<String>::new());
        assert_eq!((verdict.slots, verdict.runs), (2, 2));
    }

    /// Each crime alone is found out.
    #[test]
    fn a_bad_one_is_not() {
        let (witness, history) = good();
        let mut twice = witness.clone();
        twice.extend([line(Phase::Begin, 104, "c"), line(Phase::End, 104, "c")]);
        assert_eq!(wrong(&twice, &history).doubled, 1);

        assert_eq!(wrong(&witness[..2], &history[1..]).lost, 1);

        let beside = vec![
            witness[0].clone(),
            witness[2].clone(),
            witness[1].clone(),
            witness[3].clone(),
        ];
        assert_eq!(wrong(&beside, &history).overlaps, 1);

        let mut phantom = history.clone();
        phantom.push(row(103, "missed", ""));
        assert!(!wrong(&witness, &phantom).wrong.is_empty());

        let mut early = witness.clone();
        early[0].at = 101;
        assert!(!wrong(&early, &history).wrong.is_empty());

        let unknown = vec![row(104, "unknown", "b"), history[1].clone()];
        assert!(!wrong(&witness, &unknown).wrong.is_empty());
        let missed = vec![row(104, "missed", "b"), history[1].clone()];
        assert!(!wrong(&witness, &missed).wrong.is_empty());
        let twice = [history.clone(), vec![row(104, "missed", "")]].concat();
        assert!(!wrong(&witness, &twice).wrong.is_empty());
        let unended = wrong(&witness[..3], &history);
        assert!(!unended.wrong.is_empty(), "succeeded without an end");
    }
}
