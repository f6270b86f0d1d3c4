//! What is declared and what the cluster has, turned into what is to be done there.
//!
//! Pure: the server's answers to its dry run are among the input, so that `plan` prints what `apply`
//! would do, and a test needs no cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::model::{ContainerSpec, Desired, Instance, Job, JobName, Origin, Removals, Slot, Trigger};
use crate::plan::{Entry, NextFire, WAIT, image_edit, lay_out, times};
use crate::schedule::{Note, Schedule};

use super::live::{
    self, Difference, MANAGER, PAUSE_MANAGER, differences, has_active_run, is_ours, job_of, kind_of, name_of,
    owners_of, uid_of, version_of,
};
use super::volumes::claims_of;
use crate::model::Finding;

/// How a field that somebody else owns is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// `plan` and `apply`: it is left alone, and said.
    Leave,
    /// `watch`: what was edited by hand is put right; what another tool applies is left alone.
    RepairEdits,
    /// `--force-conflicts`.
    Force,
}

impl Conflicts {
    /// Whether all of these owners are overruled.
    #[must_use]
    pub fn overrule(self, owned: &[Owned]) -> bool {
        match self {
            Conflicts::Force => true,
            Conflicts::Leave => owned.iter().all(Owned::is_our_own),
            Conflicts::RepairEdits => owned.iter().all(|owned| owned.by_hand || owned.is_our_own()),
        }
    }
}

/// A field of a declared object that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owned {
    /// As the server says it: `.spec.schedule`.
    pub field: String,
    pub manager: String,
    /// It was written by an edit, and not by server-side apply.
    pub by_hand: bool,
}

impl Owned {
    fn is_our_own(&self) -> bool {
        self.manager == MANAGER || self.manager == PAUSE_MANAGER
    }
}

/// What the server says of an object in its dry run.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The object as it would be. `over` are fields that it takes from others.
    Accepted { object: Value, over: Vec<Owned> },
    /// It is invalid; by field.
    Refused(Vec<Complaint>),
    /// Fields of it belong to others, who keep them.
    Conflict(Vec<Owned>),
    /// One of that name is there, and is not ours; why not.
    Foreign(String),
    /// One of that name is on its way out; it is made anew when it is gone.
    BeingDeleted,
}

/// What the server does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// `spec.schedule`; empty for the object.
    pub field: String,
    pub message: String,
}

/// A declared object, and what the server said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub job: JobName,
    /// As it is to be applied.
    pub object: Value,
    /// As it is there and ours.
    pub live: Option<Value>,
    pub answer: Answer,
}

/// The cluster, seen once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// `kubernetes v1.36.4, namespace batch`.
    pub engine: String,
    /// Every object with our labels, of any instance.
    pub objects: Vec<Value>,
    pub asked: Vec<Asked>,
    /// Declared jobs that cannot be planned now, and are left as they are.
    pub left_alone: BTreeSet<JobName>,
    /// Jobs of ours with a run that has not ended; only looked for where something that is there is
    /// declared no more.
    pub active: BTreeSet<JobName>,
    /// Claims by name; `None` where nobody may say.
    pub claims: Option<BTreeSet<String>>,
}

/// What an object that is there in the place of a new one means.
#[must_use]
pub fn in_the_way(object: &Value, instance: &Instance) -> Answer {
    if is_ours(object, instance) && live::is_being_deleted(object) {
        Answer::BeingDeleted
    } else {
        Answer::Foreign(live::whose(object))
    }
}

/// Who wrote the fields that a server's conflict names: by hand, or by applying.
#[must_use]
pub fn owned(live: Option<&Value>, field: &str, manager: &str) -> Owned {
    let path = managed_path(field);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let by_hand = live.is_some_and(|live| {
        let operations: Vec<String> = owners_of(live, &path)
            .into_iter()
            .filter(|(owner, _)| owner == manager)
            .map(|(_, operation)| operation)
            .collect();
        !operations.is_empty() && operations.iter().all(|operation| operation == "Update")
    });
    Owned {
        field: field.to_owned(),
        manager: manager.to_owned(),
        by_hand,
    }
}

/// `.spec.containers[name="a"].image` as `managedFields` has it: `f:spec`, `f:containers`,
/// `k:{"name":"a"}`, `f:image`.
fn managed_path(field: &str) -> Vec<String> {
    let mut path = Vec::new();
    let mut rest = field;
    while let Some(first) = rest.chars().next() {
        if first == '[' {
            let end = rest.find(']').unwrap_or(rest.len() - 1);
            let key = &rest[1..end];
            let pair = key.split_once('=').map_or_else(
                || key.to_owned(),
                |(name, value)| format!("k:{{\"{name}\":{value}}}"),
            );
            path.push(pair);
            rest = &rest[end + 1..];
            continue;
        }
        let from = usize::from(first == '.');
        // A key with dots in it has no other mark; those of labels and annotations run to the end.
        let is_key = path
            .last()
            .is_some_and(|last: &String| last == "f:labels" || last == "f:annotations");
        let end = if is_key {
            rest.len()
        } else {
            rest[from..].find(['.', '[']).map_or(rest.len(), |end| from + end)
        };
        if end > from {
            path.push(format!("f:{}", &rest[from..end]));
        }
        rest = &rest[end.max(1)..];
    }
    path
}

/// What to do in a cluster, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub at: Timestamp,
    pub engine: String,
    pub steps: Vec<Step>,
    pub waiting: Vec<Waiting>,
    pub unchanged: Vec<JobName>,
    /// Jobs of profiles that are not active.
    pub inactive: Vec<JobName>,
    /// What the server does not accept, by job.
    pub refused: Vec<(JobName, Finding)>,
}

/// What is done for one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub job: JobName,
    pub action: Action,
    pub cause: Cause,
    pub diff: Option<String>,
    pub next_before: Option<NextFire>,
    pub next_after: Option<NextFire>,
    pub applied: Vec<Applied>,
    pub deleted: Vec<Deleted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
    Remove,
}

impl Action {
    /// The word that people and JSON see.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Remove => "remove",
        }
    }
}

/// An object to apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub object: Value,
    /// There was none of that name: one that came meanwhile is not ours to write over.
    pub is_new: bool,
    /// Take fields from others.
    pub force: bool,
}

/// An object to delete, as it was seen: one that was touched since stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub version: String,
    /// What it started goes on.
    pub orphan: bool,
}

/// Why something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    NewJob,
    SpecChanged,
    ScheduleChanged,
    PolicyChanged,
    /// Values that are not shown.
    SecretChanged,
    /// An object of it is gone.
    ObjectMissing(String),
    /// Somebody edited it in the cluster.
    EditedInCluster(BTreeSet<String>),
    JobRemoved,
}

impl Cause {
    /// The word that JSON carries; for what other engines know too, the same one.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Cause::NewJob => "NewJob",
            Cause::SpecChanged | Cause::SecretChanged => "SpecChanged",
            Cause::ScheduleChanged => "ScheduleChanged",
            Cause::PolicyChanged => "PolicyChanged",
            Cause::ObjectMissing(_) => "ObjectMissing",
            Cause::EditedInCluster(_) => "EditedInCluster",
            Cause::JobRemoved => "JobRemoved",
        }
    }
}

/// Something that is not done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub job: JobName,
    pub cause: WaitCause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitCause {
    Conflict {
        object: String,
        owned: Vec<Owned>,
    },
    Foreign {
        object: String,
        why: String,
    },
    BeingDeleted {
        object: String,
    },
    RemovalsHeld {
        why: String,
    },
    Paused {
        by: String,
    },
    Suspended,
    /// Nothing refers to it any more but a run.
    StillRead {
        object: String,
    },
}

impl WaitCause {
    /// The word that JSON carries.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            WaitCause::Conflict { .. } => "Conflict",
            WaitCause::Foreign { .. } => "Foreign",
            WaitCause::BeingDeleted { .. } => "BeingDeleted",
            WaitCause::RemovalsHeld { .. } => "RemovalsHeld",
            WaitCause::Paused { .. } => "Paused",
            WaitCause::Suspended => "Suspended",
            WaitCause::StillRead { .. } => "StillRead",
        }
    }

    /// Whether a person must do something before this goes on.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        match self {
            WaitCause::Conflict { .. }
            | WaitCause::Foreign { .. }
            | WaitCause::BeingDeleted { .. }
            | WaitCause::RemovalsHeld { .. } => true,
            WaitCause::Paused { .. } | WaitCause::Suspended | WaitCause::StillRead { .. } => false,
        }
    }

    /// In words, and what would mend it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            WaitCause::Conflict { object, owned } => {
                let owned: Vec<String> = owned
                    .iter()
                    .map(|owned| format!("`{}` belongs to `{}`", owned.field, owned.manager))
                    .collect();
                format!(
                    "{object} is left alone: {}; `--force-conflicts` takes it",
                    owned.join(", ")
                )
            }
            WaitCause::Foreign { object, why } => {
                format!("{object} is there already, and not ours: {why}; rename the job, or delete that one")
            }
            WaitCause::BeingDeleted { object } => {
                format!("{object} is still being deleted; it is made anew when it is gone")
            }
            WaitCause::RemovalsHeld { why } => {
                format!("not removed: {why}; `apply --allow-mass-removal` removes it all the same")
            }
            WaitCause::Paused { by } => format!("paused by {by}, until `resume`"),
            WaitCause::Suspended => String::from("suspended"),
            WaitCause::StillRead { object } => format!("{object} goes when no run reads it any more"),
        }
    }
}

/// The plan for what was declared and seen. Objects of other instances are never part of it.
#[must_use]
pub fn plan(desired: &Desired, seen: &Seen, instance: &Instance, now: Timestamp) -> Plan {
    let mut out = Plan {
        at: now,
        engine: seen.engine.clone(),
        steps: Vec::new(),
        waiting: Vec::new(),
        unchanged: Vec::new(),
        inactive: desired.inactive.keys().cloned().collect(),
        refused: Vec::new(),
    };
    let mut there: BTreeMap<JobName, Vec<&Value>> = BTreeMap::new();
    for object in seen.objects.iter().filter(|object| is_ours(object, instance)) {
        if let Some(job) = job_of(object) {
            there.entry(job).or_default().push(object);
        }
    }
    let names: BTreeSet<&JobName> = desired.jobs.keys().chain(there.keys()).collect();
    for name in names.into_iter().filter(|name| !seen.left_alone.contains(*name)) {
        let live = there.get(name).map(Vec::as_slice).unwrap_or_default();
        match desired.jobs.get(name) {
            Some(job) => declared(job, live, seen, now, &mut out),
            None => match &desired.removals {
                Removals::Allowed => removed(name, live, seen, now, &mut out),
                Removals::Held(why) => out.waiting.push(Waiting {
                    job: name.clone(),
                    cause: WaitCause::RemovalsHeld { why: why.clone() },
                }),
            },
        }
    }
    out
}

fn declared(job: &Job, live: &[&Value], seen: &Seen, now: Timestamp, out: &mut Plan) {
    let asked: Vec<&Asked> = seen.asked.iter().filter(|asked| asked.job == job.name).collect();
    let mut is_stopped = false;
    let mut wait = |cause| {
        out.waiting.push(Waiting {
            job: job.name.clone(),
            cause,
        });
    };
    for asked in &asked {
        let object = object_words(&asked.object);
        match &asked.answer {
            Answer::Accepted { .. } => continue,
            Answer::Refused(complaints) => {
                let findings = complaints
                    .iter()
                    .map(|complaint| (job.name.clone(), complained(complaint)));
                out.refused.extend(findings);
            }
            Answer::Conflict(owned) => wait(WaitCause::Conflict {
                object,
                owned: owned.clone(),
            }),
            Answer::BeingDeleted => wait(WaitCause::BeingDeleted { object }),
            Answer::Foreign(why) => wait(WaitCause::Foreign {
                object,
                why: why.clone(),
            }),
        }
        is_stopped = true;
    }
    if job.policy.suspend {
        wait(WaitCause::Suspended);
    } else if let Some(by) = live.iter().find_map(|object| live::paused_by(object)) {
        wait(WaitCause::Paused { by });
    }
    let missing = missing_claims(job, seen);
    is_stopped |= !missing.is_empty();
    out.refused
        .extend(missing.into_iter().map(|finding| (job.name.clone(), finding)));
    if is_stopped {
        return;
    }
    // What belongs to the job and is declared no more: a schedule less, no secret value any more.
    let kept: BTreeSet<(&str, &str)> = asked.iter().map(|asked| key_of(&asked.object)).collect();
    let obsolete = live.iter().filter(|object| !kept.contains(&key_of(object)));
    let deleted = without_read(&job.name, obsolete.copied(), seen, out);
    // What the controller itself started is in its CronJob's status, what a person started is not.
    let is_active = seen.active.contains(&job.name);
    let changed: Vec<Changed<'_>> = asked
        .iter()
        .filter_map(|asked| Changed::of(asked, &job.container))
        .collect();
    if changed.is_empty() && deleted.is_empty() {
        out.unchanged.push(job.name.clone());
        return;
    }
    let is_new = live.iter().all(|object| kind_of(object) != "CronJob");
    let cause = if is_new {
        Cause::NewJob
    } else {
        cause_of(&changed, &deleted)
    };
    let next = |triggers: &[Trigger]| {
        if job.policy.suspend {
            None
        } else {
            coming(triggers, now)
        }
    };
    let before: Vec<Trigger> = live
        .iter()
        .filter_map(|object| live::trigger_of(object))
        .collect();
    out.steps.push(Step {
        job: job.name.clone(),
        action: if is_new { Action::Create } else { Action::Update },
        diff: (!is_new).then(|| diff_of(&changed, &deleted)),
        cause,
        next_before: if is_new { None } else { next(&before) },
        next_after: next(&job.triggers.schedule),
        applied: changed
            .iter()
            .map(|changed| Applied {
                object: changed.asked.object.clone(),
                is_new: changed.asked.live.is_none(),
                force: !changed.over.is_empty(),
            })
            .collect(),
        deleted: deleted
            .into_iter()
            .filter_map(|object| deletion(object, is_active || has_active_run(object)))
            .collect(),
    });
}

/// Claims that are not there: a pod would wait for one for ever.
fn missing_claims(job: &Job, seen: &Seen) -> Vec<Finding> {
    let Some(there) = &seen.claims else {
        return Vec::new();
    };
    let wanted = claims_of(job).into_iter();
    let missing = wanted.filter(|claim| !there.contains(claim));
    missing
        .map(|claim| Finding {
            key: "volumes",
            is_error: true,
            message: format!("there is no PersistentVolumeClaim `{claim}` in the namespace"),
            help: Some(String::from(
                "a claim says how large it is and of which class: it is never made here",
            )),
        })
        .collect()
}

/// Without the Secrets and ConfigMaps that a run may still read: those go after its end.
fn without_read<'v>(
    job: &JobName,
    deleted: impl Iterator<Item = &'v Value>,
    seen: &Seen,
    out: &mut Plan,
) -> Vec<&'v Value> {
    let is_active = seen.active.contains(job);
    let (kept, deleted): (Vec<&Value>, Vec<&Value>) =
        deleted.partition(|object| is_active && is_data(object));
    out.waiting.extend(kept.into_iter().map(|object| Waiting {
        job: job.clone(),
        cause: WaitCause::StillRead {
            object: object_words(object),
        },
    }));
    deleted
}

/// Whether it is something that a CronJob refers to.
#[must_use]
pub fn is_data(object: &Value) -> bool {
    matches!(kind_of(object), "Secret" | "ConfigMap")
}

/// A declared object that is not as it is to be.
struct Changed<'a> {
    asked: &'a Asked,
    differences: Vec<Difference>,
    over: &'a [Owned],
}

impl Changed<'_> {
    fn of<'o>(asked: &'o Asked, spec: &ContainerSpec) -> Option<Changed<'o>> {
        let Answer::Accepted { object, over } = &asked.answer else {
            return None;
        };
        let mut differences = differences(asked.live.as_ref(), object);
        differences.iter_mut().for_each(|found| found.conceal(spec));
        (!differences.is_empty()).then_some(Changed {
            asked,
            differences,
            over,
        })
    }
}

fn cause_of(changed: &[Changed<'_>], deleted: &[&Value]) -> Cause {
    let editors: BTreeSet<String> = changed
        .iter()
        .flat_map(|changed| changed.over)
        .filter(|owned| !owned.is_our_own())
        .map(|owned| owned.manager.clone())
        .collect();
    if !editors.is_empty() {
        return Cause::EditedInCluster(editors);
    }
    let missing = changed
        .iter()
        .find(|changed| changed.asked.live.is_none() && kind_of(&changed.asked.object) == "CronJob");
    if let Some(missing) = missing {
        // Beside another one that takes its place, the schedules were edited.
        return if deleted.is_empty() {
            Cause::ObjectMissing(object_words(&missing.asked.object))
        } else {
            Cause::ScheduleChanged
        };
    }
    if deleted.iter().any(|object| kind_of(object) == "CronJob") {
        return Cause::ScheduleChanged;
    }
    if changed.iter().all(|changed| is_data(&changed.asked.object)) {
        return Cause::SecretChanged;
    }
    let paths: Vec<&str> = changed
        .iter()
        .flat_map(|changed| &changed.differences)
        .map(|difference| difference.path.as_str())
        .collect();
    let all_in = |known: &[&str]| paths.iter().all(|path| known.contains(path));
    if all_in(&["spec.schedule", "spec.timeZone"]) {
        Cause::ScheduleChanged
    } else if all_in(&[
        "spec.concurrencyPolicy",
        "spec.startingDeadlineSeconds",
        "spec.suspend",
        "spec.successfulJobsHistoryLimit",
        "spec.failedJobsHistoryLimit",
        "spec.jobTemplate.spec.backoffLimit",
        "spec.jobTemplate.spec.activeDeadlineSeconds",
    ]) {
        Cause::PolicyChanged
    } else {
        Cause::SpecChanged
    }
}

/// The diff of all objects; each has its name above it when there are several.
fn diff_of(changed: &[Changed<'_>], deleted: &[&Value]) -> String {
    let several = changed.len() + deleted.len() > 1;
    let mut lines = Vec::new();
    for changed in changed {
        if several {
            lines.push(format!(" {}", object_words(&changed.asked.object)));
        }
        if changed.asked.live.is_none() {
            lines.push(format!("+{}", object_words(&changed.asked.object)));
        } else {
            lines.extend(live::diff_lines(&changed.differences));
        }
    }
    for object in deleted {
        lines.push(format!("-{}", object_words(object)));
    }
    lines.join("\n")
}

fn removed(name: &JobName, live: &[&Value], seen: &Seen, now: Timestamp, out: &mut Plan) {
    let deleted = without_read(name, live.iter().copied(), seen, out);
    if !deleted.is_empty() {
        let is_active = seen.active.contains(name);
        out.steps.push(removal(name, &deleted, is_active, now));
    }
}

fn removal(name: &JobName, live: &[&Value], is_active: bool, now: Timestamp) -> Step {
    let before: Vec<Trigger> = live
        .iter()
        .filter(|object| !live::is_suspended(object))
        .filter_map(|object| live::trigger_of(object))
        .collect();
    // Jobs that run go on without their CronJob.
    let orphan = is_active || live.iter().any(|object| has_active_run(object));
    Step {
        job: name.clone(),
        action: Action::Remove,
        cause: Cause::JobRemoved,
        diff: None,
        next_before: coming(&before, now),
        next_after: None,
        applied: Vec::new(),
        deleted: live
            .iter()
            .filter_map(|object| deletion(object, orphan))
            .collect(),
    }
}

/// `None` for an object without the marks that every live one has.
#[must_use]
pub fn deletion(object: &Value, orphan: bool) -> Option<Deleted> {
    Some(Deleted {
        kind: kind_of(object).to_owned(),
        name: name_of(object).to_owned(),
        uid: uid_of(object)?.to_owned(),
        version: version_of(object)?.to_owned(),
        orphan,
    })
}

fn key_of(object: &Value) -> (&str, &str) {
    (kind_of(object), name_of(object))
}

/// ``CronJob `shop-backup` ``
#[must_use]
pub fn object_words(object: &Value) -> String {
    format!("{} `{}`", kind_of(object), name_of(object))
}

/// The next time that Kubernetes starts a job: a time that the clock skips is skipped there.
#[must_use]
pub fn coming(triggers: &[Trigger], after: Timestamp) -> Option<NextFire> {
    let schedule = Schedule::compile(triggers).ok()?;
    let mut after = after;
    loop {
        let fire = schedule.next_after(after)?;
        if fire.note != Some(Note::Gap) {
            return Some(NextFire {
                slot: fire.slot,
                timezone: fire.timezone.to_string(),
                note: fire.note.map(Note::as_str),
            });
        }
        after = fire.slot.at();
    }
}

/// A complaint of the server at the manifest's key that it is about.
fn complained(complaint: &Complaint) -> Finding {
    const KEYS: [(&str, &str); 25] = [
        ("spec.schedule", "triggers.schedule"),
        ("spec.timeZone", "triggers.schedule"),
        ("spec.startingDeadlineSeconds", "x-scheduler.starting_deadline"),
        ("spec.concurrencyPolicy", "x-scheduler.concurrency"),
        ("spec.successfulJobsHistoryLimit", "x-scheduler.history"),
        ("spec.failedJobsHistoryLimit", "x-scheduler.history"),
        ("backoffLimit", "x-scheduler.retries"),
        ("activeDeadlineSeconds", "x-scheduler.timeout"),
        (".image", "image"),
        (".env[", "environment"),
        (".hostAliases", "extra_hosts"),
        (".hostname", "hostname"),
        (".supplementalGroups", "group_add"),
        (".sysctls", "sysctls"),
        (".dnsConfig", "dns"),
        (".nodeSelector", "platform"),
        (".privileged", "privileged"),
        (".capabilities", "cap_add"),
        (".allowPrivilegeEscalation", "security_opt"),
        (".requests", "mem_reservation"),
        (".volumeMounts", "volumes"),
        ("spec.volumes", "volumes"),
        (".resources", "mem_limit"),
        ("labels", "labels"),
        ("annotations", "labels"),
    ];
    let key = KEYS
        .iter()
        .find(|(part, _)| complaint.field.contains(part))
        .map_or("", |(_, key)| key);
    let field = if complaint.field.is_empty() {
        String::new()
    } else {
        format!("`{}`: ", complaint.field)
    };
    Finding {
        key,
        is_error: true,
        message: format!("the cluster refuses it: {field}{}", complaint.message),
        help: None,
    }
}

/// The plan as people read it, in the form that all engines have.
#[must_use]
pub fn render(plan: &Plan, origins: &BTreeMap<JobName, Origin>) -> String {
    let mut entries: Vec<Entry> = plan
        .steps
        .iter()
        .map(|step| Entry {
            sign: match step.action {
                Action::Create => '+',
                Action::Update => '~',
                Action::Remove => '-',
            },
            job: step.job.to_string(),
            word: step.action.word(),
            why: describe(step, origins.get(&step.job)),
            below: below(step, plan.at),
        })
        .collect();
    entries.extend(plan.waiting.iter().map(|waiting| Entry {
        sign: if waiting.cause.is_problem() { '!' } else { '.' },
        job: waiting.job.to_string(),
        word: WAIT,
        why: waiting.cause.describe(),
        below: Vec::new(),
    }));
    lay_out(&entries, plan.unchanged.len(), plan.inactive.len())
}

fn below(step: &Step, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if step.action != Action::Remove && (step.next_after.is_some() || step.next_before.is_some()) {
        let moved = step.next_before != step.next_after;
        lines = times(
            step.next_before.as_ref().filter(|_| moved),
            step.next_after.as_ref(),
            now,
        );
    }
    lines.extend(step.diff.iter().flat_map(|diff| diff.lines()).map(str::to_owned));
    lines
}

/// Why a step is done, in words.
#[must_use]
pub fn describe(step: &Step, origin: Option<&Origin>) -> String {
    match &step.cause {
        Cause::NewJob => match origin {
            Some(origin) => format!("new job ({})", origin.place()),
            None => String::from("new job"),
        },
        Cause::SpecChanged => image_edit(step.diff.as_deref()).unwrap_or_else(|| String::from("edited")),
        Cause::ScheduleChanged => String::from("schedule edited"),
        Cause::PolicyChanged => String::from("policy edited"),
        Cause::SecretChanged => String::from("what a Secret or ConfigMap holds changed"),
        Cause::ObjectMissing(object) => format!("{object} is gone"),
        Cause::EditedInCluster(who) => {
            let who: Vec<String> = who.iter().map(|name| format!("`{name}`")).collect();
            format!("edited in the cluster by {}", who.join(", "))
        }
        Cause::JobRemoved if step.deleted.iter().any(|deleted| deleted.orphan) => {
            String::from("no longer declared; what runs goes on")
        }
        Cause::JobRemoved => String::from("no longer declared; its finished runs go with it"),
    }
}

/// The slot of a coming time, for JSON.
#[must_use]
pub fn slot_of(next: Option<&NextFire>) -> Option<Slot> {
    next.map(|next| next.slot)
}
