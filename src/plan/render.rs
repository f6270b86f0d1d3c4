//! A plan as people read it: one line per change, its cause in words, the diff of an edit below.
//!
//! Also the format that scenario tests compare. Colour is added by the caller, line by line, and
//! carries no meaning alone.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::action::{Action, Cause, NextFire, Plan, Step, WaitCause};
use crate::model::{Line, Reason, RunId};
use crate::schedule::until_words;

/// One line of a plan, and what stands below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub sign: char,
    pub job: String,
    /// `create`, `update`, …; `wait` is no change.
    pub word: &'static str,
    pub why: String,
    /// Next times, and the diff.
    pub below: Vec<String>,
}

/// The whole plan as text, ending in its summary line.
#[must_use]
pub fn render(plan: &Plan) -> String {
    let mut entries: Vec<Entry> = plan.changes().map(|step| change(step, plan)).collect();
    entries.extend(plan.waiting.iter().map(|waiting| Entry {
        sign: if waiting.cause.is_problem() { '!' } else { '.' },
        job: waiting.job.to_string(),
        word: WAIT,
        why: describe_wait(&waiting.cause, plan.at),
        below: Vec::new(),
    }));
    lay_out(&entries, plan.unchanged.len(), plan.inactive.len())
}

/// The word of what is no change.
pub(crate) const WAIT: &str = "wait";

/// Entries as people read them, with their summary: the form of every engine's plan.
#[must_use]
pub fn lay_out(entries: &[Entry], unchanged: usize, inactive: usize) -> String {
    let width = entries.iter().map(|entry| entry.job.len()).max().unwrap_or(0);
    let mut text = String::new();
    // Writing to a String cannot fail, so the results are dropped.
    for Entry {
        sign,
        job,
        word,
        why,
        below,
    } in entries
    {
        let _ = writeln!(text, " {sign} {job:width$}  {word:7}  {why}");
        for line in below {
            let _ = writeln!(text, "     {line}");
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&summary(entries, unchanged, inactive));
    text.push('\n');
    text
}

fn change(step: &Step, plan: &Plan) -> Entry {
    let mut below = next_lines(step, plan.at);
    below.extend(checked_line(step, plan));
    let diff = step.diff.iter().flat_map(|diff| diff.lines());
    below.extend(
        diff.filter(|line| !line.starts_with("@@"))
            .map(ToString::to_string),
    );
    Entry {
        sign: sign(step),
        job: step.job.to_string(),
        word: step.action.word(),
        why: describe_cause(step),
        below,
    }
}

fn sign(step: &Step) -> char {
    match (&step.action, &step.cause) {
        (Action::Create(_), _) | (Action::Update, Cause::NewJob) => '+',
        (Action::Start { .. }, _) => '>',
        (Action::Stop { .. }, _) => '!',
        (Action::Remove { .. } | Action::Adopt { .. }, _) | (Action::Update, Cause::JobRemoved) => '-',
        _ => '~',
    }
}

/// What was looked at for a job that is new or edited.
fn checked_line(step: &Step, plan: &Plan) -> Option<String> {
    let edited = matches!(step.action, Action::Update) && step.cause != Cause::JobRemoved;
    let found = plan.checked.get(&step.job).filter(|_| edited)?;
    Some(format!("checked: {}", found.join(", ")))
}

/// When the job comes next, where the change decides that.
fn next_lines(step: &Step, now: Timestamp) -> Vec<String> {
    match &step.action {
        Action::Create(_) | Action::Replace { .. } => {}
        Action::Update if step.cause != Cause::JobRemoved => {}
        _ => return Vec::new(),
    }
    let was = match step.cause {
        Cause::ScheduleChanged => step.next_before.as_ref(),
        _ => None,
    };
    times(was, step.next_after.as_ref(), now)
}

/// When a job comes next, and when it would have come.
#[must_use]
pub fn times(was: Option<&NextFire>, next: Option<&NextFire>, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(was) = was
        && Some(was) != next
    {
        lines.push(format!("was  {}", when_in_words(was, now)));
    }
    lines.push(match next {
        Some(next) => format!("next {}", when_in_words(next, now)),
        None => String::from("next only by hand"),
    });
    lines
}

/// `2026-11-23 02:30 CET, in 12h 26m`.
#[must_use]
pub fn when_in_words(next: &NextFire, now: Timestamp) -> String {
    let zone = TimeZone::get(&next.timezone).unwrap_or(TimeZone::UTC);
    let local = next.slot.at().to_zoned(zone);
    let format = if local.second() == 0 {
        "%Y-%m-%d %H:%M %Z"
    } else {
        "%Y-%m-%d %H:%M:%S %Z"
    };
    let mark = match next.note {
        Some("gap") => " (moved out of the clock change)",
        Some("fold") => " (first of two)",
        _ => "",
    };
    format!(
        "{}{mark}, in {}",
        local.strftime(format),
        in_words(next.slot.at().duration_since(now))
    )
}

fn span(duration: Duration) -> String {
    in_words(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}

/// A span in at most two units: `2d 3h`, `12h 26m`, `45s`; nothing when it is negative.
fn in_words(span: SignedDuration) -> String {
    let zero = Timestamp::UNIX_EPOCH;
    until_words(
        zero,
        zero.saturating_add(span.max(SignedDuration::ZERO))
            .unwrap_or(Timestamp::MAX),
    )
}

/// The cause of a step, in words.
#[must_use]
pub fn describe_cause(step: &Step) -> String {
    let lost = match &step.action {
        Action::Replace { old, .. } if old.iter().any(|target| target.reused) => true,
        Action::Remove { target, .. } | Action::Adopt { target, .. } => target.reused,
        Action::Start { discard, .. } => discard.iter().any(|target| target.reused),
        _ => false,
    };
    let why = cause_in_words(step);
    if lost {
        format!("{why}; the files that earlier runs left in its container are lost")
    } else {
        why
    }
}

fn cause_in_words(step: &Step) -> String {
    match &step.cause {
        Cause::NewJob => match launch_origin(step) {
            Some(place) => format!("new job ({place})"),
            None => String::from("new job"),
        },
        Cause::NextSlot => String::from("its next slot"),
        Cause::ArmedMissing => String::from("its armed container is gone"),
        Cause::Resumed => String::from("no longer suspended"),
        Cause::SpecChanged if step.diff.is_none() && !matches!(step.action, Action::Remove { .. }) => {
            String::from("a value from `.env` or an env file changed; it is not shown")
        }
        Cause::SpecChanged => image_edit(step.diff.as_deref()).unwrap_or_else(|| String::from("edited")),
        Cause::ImageMoved { image, from, to } => {
            format!("image {image} is {} now, was {}", short_id(to), short_id(from))
        }
        Cause::ScheduleChanged => String::from("schedule edited"),
        Cause::PolicyChanged => String::from("policy edited"),
        Cause::SourceChanged => String::from("another commit, or another place in its file"),
        Cause::ClockSetBack => String::from("the clock was set back: its slots count from now on"),
        Cause::SlotPassed => String::from("made for a slot that has passed"),
        Cause::Due { late_secs, why } => describe_due(step, *late_secs, why.as_ref()),
        Cause::TimedOut { timeout } => format!("has run longer than its timeout of {}", span(*timeout)),
        Cause::NotPlaced { why } => format!("no node took it before its deadline: {why}"),
        Cause::Replaced { by } => format!("makes room for slot {by} (concurrency: replace)"),
        Cause::Retry { after } => format!("another attempt after: {after}"),
        Cause::StopAsked => String::from("its end was asked for before, and it still runs"),
        Cause::JobRemoved => String::from("no longer declared"),
        Cause::JobSuspended => String::from("suspended"),
        Cause::JobPaused => String::from("paused"),
        Cause::Retention => String::from("more finished containers than `history` keeps"),
        Cause::Superseded => String::from("made by the ledger that this one took over from"),
        Cause::GivenUp => String::from("made by a request that was given up"),
        Cause::LedgerLost => String::from("not in the ledger"),
        Cause::ResultPending => String::from("its result is to be read"),
        Cause::SlotDecided => String::from("slot decided"),
        Cause::BeyondArmLimit => String::from("other jobs' slots are nearer"),
        Cause::TargetChanged => String::from("its container is not as it was"),
        Cause::StartedBeside => String::from("started by another scheduler of this instance"),
    }
}

fn describe_due(step: &Step, late_secs: i64, why: Option<&Reason>) -> String {
    let Action::Start { launch, .. } = &step.action else {
        return String::from("due");
    };
    let zone = step
        .next_after
        .as_ref()
        .or(step.next_before.as_ref())
        .map(|next| next.timezone.as_str());
    let zone = zone
        .and_then(|zone| TimeZone::get(zone).ok())
        .unwrap_or(TimeZone::UTC);
    let due = launch.due_at.to_zoned(zone).strftime("%H:%M:%S %Z").to_string();
    let late = if late_secs > 0 {
        format!(", {} late", in_words(SignedDuration::from_secs(late_secs)))
    } else {
        String::new()
    };
    match why {
        Some(why) => format!("due {due}{late}: {why}"),
        None => format!("due {due}{late}"),
    }
}

fn launch_origin(step: &Step) -> Option<String> {
    match &step.action {
        Action::Create(launch) | Action::Replace { new: launch, .. } => Some(launch.origin.place()),
        _ => None,
    }
}

/// `image report:1.3 -> report:1.4`, when that is all that was edited: at the key of a job, or at the end of
/// a path into an object.
#[must_use]
pub fn image_edit(diff: Option<&str>) -> Option<String> {
    let changed: Vec<&str> = diff?
        .lines()
        .filter(|line| line.starts_with(['+', '-']))
        .collect();
    let [old, new] = changed[..] else { return None };
    let image = |line: &str, sign: char| {
        let (path, image) = line.strip_prefix(sign)?.split_once(": ")?;
        let is_image = path == "image" || (path.ends_with(".image") && !path.contains(' '));
        is_image.then(|| image.to_owned())
    };
    Some(format!("image {} -> {}", image(old, '-')?, image(new, '+')?))
}

fn short_id(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

/// Why something waits, in words, and what would mend it.
#[must_use]
pub fn describe_wait(cause: &WaitCause, now: Timestamp) -> String {
    match cause {
        WaitCause::PreviousRunActive { since, run } => {
            format!(
                "previous run {run} active for {}",
                in_words(now.duration_since(*since))
            )
        }
        WaitCause::UnknownRunHeld { run, until } => format!(
            "unknown run {run} may still be running; holds its job for {}, or until `ack {run}`",
            in_words(until.duration_since(now))
        ),
        WaitCause::ArmFailed {
            detail,
            retry_at,
            attempts,
        } => format!(
            "cannot be armed: {detail}; tried {attempts}x, again in {}",
            in_words(retry_at.duration_since(now))
        ),
        WaitCause::ImageMissing { image } => {
            format!("cannot be armed: no image {image}, and `pull_policy: never` forbids a pull")
        }
        WaitCause::NetworkMissing { network } => {
            format!("cannot start: no network {network}; make it with `docker network create {network}`")
        }
        WaitCause::VolumeMissing { volume } => {
            format!("cannot start: no external volume {volume}; make it with `docker volume create {volume}`")
        }
        WaitCause::TargetNotReady { why } => format!("cannot run its command: {why}"),
        WaitCause::CheckFailed { why } => format!("cannot start: {why}"),
        WaitCause::NoNode { why } => format!("would wait for a node: {why}"),
        WaitCause::ReplacedAfterRun => String::from(
            "edited: its container is made anew when it is free, and the files that earlier runs left in it are lost",
        ),
        WaitCause::BeingArmed { slot } => format!("slot {slot} is due; its container is being made"),
        WaitCause::RemovalsHeld { why } => {
            format!("not removed: {why}; `apply --allow-mass-removal` removes it all the same")
        }
        WaitCause::RetryPending { run, at } => {
            format!(
                "another attempt after {run} in {}",
                in_words(at.duration_since(now))
            )
        }
        WaitCause::Queued { slot, line, behind } => {
            let line = match line {
                Line::Queue => "queue",
                Line::Backlog => "backlog",
            };
            format!("slot {slot} waits in the {line}{}", behind_words(behind))
        }
        WaitCause::Replacing { run, slot } => format!("slot {slot} is due; {run} is being stopped for it"),
        WaitCause::AtLimit { slot, cap, by } => {
            format!("slot {slot} is due; {cap}{}", behind_words(by))
        }
        WaitCause::Jitter { slot, until } => {
            format!(
                "slot {slot} starts in {} (jitter)",
                in_words(until.duration_since(now))
            )
        }
        WaitCause::Paused { by, until: None } => format!("paused by {by}, until `resume`"),
        WaitCause::Paused {
            by,
            until: Some(until),
        } => {
            format!(
                "paused by {by} for another {}",
                in_words(until.duration_since(now))
            )
        }
        WaitCause::Suspended => String::from("suspended"),
        WaitCause::BeyondArmLimit { limit } => format!("not armed yet: {limit} other jobs' slots are nearer"),
        WaitCause::BadSchedule { why } => format!("its recorded schedule cannot be read: {why}"),
    }
}

/// Who holds the place that is waited for: the first ones by name.
fn behind_words(by: &[RunId]) -> String {
    const NAMED: usize = 3;
    let mut names: Vec<String> = by.iter().take(NAMED).map(RunId::to_string).collect();
    if by.len() > NAMED {
        names.push(format!("{} more", by.len() - NAMED));
    }
    match names.is_empty() {
        true => String::new(),
        false => format!(", behind {}", names.join(", ")),
    }
}

fn summary(entries: &[Entry], unchanged: usize, inactive: usize) -> String {
    let count = |word: &str| entries.iter().filter(|entry| entry.word == word).count();
    let parts: Vec<String> = ["create", "replace", "start", "stop", "remove", "update"]
        .into_iter()
        .filter(|word| count(word) > 0)
        .map(|word| format!("{} to {word}", count(word)))
        .collect();
    let changes = if parts.is_empty() {
        String::from("no changes")
    } else {
        parts.join(", ")
    };
    let inactive = match inactive {
        0 => String::new(),
        count => format!(", {count} inactive"),
    };
    format!(
        "Plan: {changes}; {} waiting, {unchanged} unchanged{inactive}.",
        count(WAIT)
    )
}
