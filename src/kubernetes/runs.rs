//! Runs as a cluster tells them: Jobs with their pods, and the events of slots that never became one.
//!
//! Kubernetes keeps as many finished Jobs as `history` says, and events for an hour: what is older is
//! gone there, and nothing here pretends to know it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::model::{Instance, JobName, Outcome, Reason, Run, RunId, RunTrigger, Slot};

use super::live::{self, NOTE_CANCELLED_BY, at, is_ours, job_of, name_of, text, time};

/// How a Job came to its end, or that it has not.
struct End {
    outcome: Option<Outcome>,
    reason: String,
    exit_code: Option<i64>,
    at: Option<Timestamp>,
}

/// Every run of this instance that the cluster still knows of, newest first.
#[must_use]
pub fn runs(
    cron_jobs: &[Value],
    jobs: &[Value],
    pods: &[Value],
    events: &[Value],
    instance: &Instance,
) -> Vec<Run> {
    let mut found: Vec<Run> = jobs
        .iter()
        .filter(|job| is_ours(job, instance))
        .filter_map(|job| run_of(job, pods))
        .collect();
    let owners: BTreeMap<&str, JobName> = cron_jobs
        .iter()
        .filter(|cron_job| is_ours(cron_job, instance))
        .filter_map(|cron_job| Some((name_of(cron_job), job_of(cron_job)?)))
        .collect();
    found.extend(events.iter().filter_map(|event| not_run(event, &owners)));
    found.sort_by(|a, b| b.due_at.cmp(&a.due_at).then_with(|| b.id.cmp(&a.id)));
    found
}

/// The pods of a Job, oldest first.
#[must_use]
pub fn pods_of<'p>(job: &Value, pods: &'p [Value]) -> Vec<&'p Value> {
    let name = name_of(job);
    let mut of: Vec<&Value> = pods
        .iter()
        .filter(|pod| {
            ["batch.kubernetes.io/job-name", "job-name"]
                .iter()
                .any(|label| text(pod, &["metadata", "labels", label]) == Some(name))
        })
        .collect();
    of.sort_by_key(|pod| {
        (
            time(pod, &["metadata", "creationTimestamp"]),
            name_of(pod).to_owned(),
        )
    });
    of
}

/// One Job as a run; `None` when its labels name no job of ours.
#[must_use]
pub fn run_of(job: &Value, pods: &[Value]) -> Option<Run> {
    let pods = pods_of(job, pods);
    let created = time(job, &["metadata", "creationTimestamp"])?;
    let slot = live::note(job, "batch.kubernetes.io/cronjob-scheduled-timestamp")
        .and_then(|text| text.parse::<Timestamp>().ok())
        .map(Slot::new);
    let is_manual = live::note(job, "cronjob.kubernetes.io/instantiate") == Some("manual");
    let end = end_of(job, &pods);
    let failed = at(job, &["status", "failed"])
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let attempt = if end.outcome.is_some_and(|outcome| !outcome.is_success()) {
        failed.saturating_sub(1)
    } else {
        failed
    };
    Some(Run {
        id: name_of(job).parse::<RunId>().ok()?,
        job: job_of(job)?,
        slot: slot.filter(|_| !is_manual),
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        trigger: if is_manual {
            RunTrigger::Manual
        } else {
            RunTrigger::Schedule
        },
        outcome: end.outcome,
        reason: end.reason,
        exit_code: end.exit_code,
        due_at: slot.filter(|_| !is_manual).map_or(created, Slot::at),
        intent: None,
        started_at: started_at(&pods).or_else(|| time(job, &["status", "startTime"])),
        finished_at: end.at,
        recorded_at: end.at,
        container: pods.last().map(|pod| name_of(pod).to_owned()),
        container_gone: pods.is_empty(),
        within: Default::default(),
        held_until: None,
        stop_requested: None,
        stop_reason: None,
        retry_at: None,
        group: None,
        image: text_of_container(job, "image"),
        spec_hash: None,
        origin: live::origin_of(job),
        slot_last: None,
        count: None,
        note: None,
    })
}

fn text_of_container(job: &Value, key: &str) -> Option<String> {
    let containers = at(job, &["spec", "template", "spec", "containers"])?.as_array()?;
    Some(containers.first()?.get(key)?.as_str()?.to_owned())
}

fn started_at(pods: &[&Value]) -> Option<Timestamp> {
    pods.iter()
        .filter_map(|pod| {
            let state = container_state(pod)?;
            time(state, &["terminated", "startedAt"]).or_else(|| time(state, &["running", "startedAt"]))
        })
        .min()
}

/// The state of a pod's one container.
fn container_state(pod: &Value) -> Option<&Value> {
    at(pod, &["status", "containerStatuses"])?
        .as_array()?
        .first()?
        .get("state")
}

fn end_of(job: &Value, pods: &[&Value]) -> End {
    let conditions = at(job, &["status", "conditions"]).and_then(Value::as_array);
    let met = |kind: &str| {
        conditions.into_iter().flatten().find(|condition| {
            text(condition, &["type"]) == Some(kind) && text(condition, &["status"]) == Some("True")
        })
    };
    let last = pods
        .iter()
        .rev()
        .find_map(|pod| at(container_state(pod)?, &["terminated"]));
    let exit_code = last
        .and_then(|ended| ended.get("exitCode"))
        .and_then(Value::as_i64);
    if let Some(done) = met("Complete") {
        return End {
            outcome: Some(Outcome::Succeeded),
            reason: Reason::Exit(0).to_string(),
            exit_code: Some(0),
            at: time(job, &["status", "completionTime"]).or_else(|| time(done, &["lastTransitionTime"])),
        };
    }
    let Some(failed) = met("Failed") else {
        return End {
            outcome: None,
            reason: pods.last().and_then(|pod| why_waiting(pod)).unwrap_or_default(),
            exit_code: None,
            at: None,
        };
    };
    let message = text(failed, &["message"]).unwrap_or_default();
    let timeout = at(job, &["spec", "activeDeadlineSeconds"])
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let cancelled = live::note(job, NOTE_CANCELLED_BY);
    let (outcome, reason) = match (text(failed, &["reason"]), cancelled) {
        (Some("DeadlineExceeded"), Some(by)) => {
            (Outcome::Cancelled, Reason::CancelledBy(by.to_owned()).to_string())
        }
        (Some("DeadlineExceeded"), None) => (
            Outcome::TimedOut,
            Reason::Timeout { after_secs: timeout }.to_string(),
        ),
        (Some("BackoffLimitExceeded"), _) | (None, _) => (Outcome::Failed, why_failed(pods, last, message)),
        (Some(_), _) => (Outcome::Failed, message.to_owned()),
    };
    End {
        outcome: Some(outcome),
        reason,
        exit_code,
        at: time(failed, &["lastTransitionTime"]),
    }
}

fn why_failed(pods: &[&Value], ended: Option<&Value>, message: &str) -> String {
    let evicted = pods
        .last()
        .and_then(|pod| Some((text(pod, &["status", "reason"])?, *pod)));
    let reason = match (ended, evicted) {
        (_, Some((reason, pod))) => {
            let more = text(pod, &["status", "message"]).unwrap_or_default();
            format!("{reason}: {more}")
                .trim_end_matches([':', ' '])
                .to_owned()
        }
        (Some(ended), None) if text(ended, &["reason"]) == Some("OOMKilled") => {
            Reason::OutOfMemory.to_string()
        }
        (Some(ended), None) => match ended.get("exitCode").and_then(Value::as_i64) {
            Some(code) => Reason::Exit(code).to_string(),
            None => message.to_owned(),
        },
        (None, None) => message.to_owned(),
    };
    if pods.len() > 1 {
        format!("{reason}, the last of {} attempts", pods.len())
    } else {
        reason
    }
}

/// What a pod that has not ended waits for: an image, a node; `None` when it runs.
fn why_waiting(pod: &Value) -> Option<String> {
    let words = |reason: &str, message: Option<&str>| match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    };
    if let Some(waiting) = container_state(pod).and_then(|state| state.get("waiting")) {
        return Some(words(text(waiting, &["reason"])?, text(waiting, &["message"])));
    }
    let conditions = at(pod, &["status", "conditions"])?.as_array()?;
    let unscheduled = conditions.iter().find(|condition| {
        text(condition, &["type"]) == Some("PodScheduled") && text(condition, &["status"]) == Some("False")
    })?;
    Some(words(
        text(unscheduled, &["reason"])?,
        text(unscheduled, &["message"]),
    ))
}

/// What an event of a CronJob says of a slot that has no Job.
fn not_run(event: &Value, owners: &BTreeMap<&str, JobName>) -> Option<Run> {
    if text(event, &["involvedObject", "kind"]) != Some("CronJob") {
        return None;
    }
    let job = owners.get(text(event, &["involvedObject", "name"])?)?;
    let message = text(event, &["message"]).unwrap_or_default().to_owned();
    let outcome = match text(event, &["reason"])? {
        "JobAlreadyActive" => Outcome::Skipped,
        "MissSchedule" | "TooManyMissedTimes" => Outcome::Missed,
        "FailedCreate" | "UnknownTimeZone" | "InvalidSchedule" | "UnparseableSchedule" => {
            Outcome::StartFailed
        }
        _ => return None,
    };
    let seen = [
        &["series", "lastObservedTime"][..],
        &["lastTimestamp"],
        &["eventTime"],
        &["metadata", "creationTimestamp"],
    ]
    .iter()
    .find_map(|path| time(event, path))?;
    Some(Run {
        id: name_of(event).parse::<RunId>().ok()?,
        job: job.clone(),
        slot: None,
        attempt: 0,
        trigger: RunTrigger::Schedule,
        outcome: Some(outcome),
        reason: message,
        exit_code: None,
        due_at: seen,
        intent: None,
        started_at: None,
        finished_at: None,
        recorded_at: Some(seen),
        container: None,
        container_gone: true,
        within: Default::default(),
        held_until: None,
        stop_requested: None,
        stop_reason: None,
        retry_at: None,
        group: None,
        image: None,
        spec_hash: None,
        origin: Default::default(),
        slot_last: None,
        count: None,
        note: None,
    })
}

/// A Job that starts a CronJob now, beside its schedule, as `kubectl create job --from` makes one. `id`
/// is unique and made of letters and digits.
#[must_use]
pub fn triggered(cron_job: &Value, id: &str) -> Value {
    let template = at(cron_job, &["spec", "jobTemplate"])
        .cloned()
        .unwrap_or_default();
    let mut metadata = template.get("metadata").cloned().unwrap_or_default();
    if metadata.is_null() {
        metadata = serde_json::json!({});
    }
    // Jobs may be 63 characters long, and their pods' names end in a dash and five more.
    metadata["name"] = serde_json::json!(format!("{}-m{id}", name_of(cron_job)));
    metadata["annotations"]["cronjob.kubernetes.io/instantiate"] = serde_json::json!("manual");
    metadata["ownerReferences"] = serde_json::json!([{
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": name_of(cron_job),
        "uid": live::uid_of(cron_job).unwrap_or_default(),
        "controller": true,
    }]);
    serde_json::json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": template.get("spec").cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(annotations: Value, status: Value) -> Value {
        json!({
            "kind": "Job",
            "metadata": {
                "name": "shop-backup-29384756", "creationTimestamp": "2026-11-23T01:30:01Z",
                "labels": {"app.kubernetes.io/managed-by": "docker-scheduler", "docker-scheduler/instance": "default",
                    "docker-scheduler/project": "shop", "docker-scheduler/job": "backup"},
                "annotations": annotations,
            },
            "spec": {"activeDeadlineSeconds": 60, "template": {"spec": {"containers": [{"name": "backup", "image": "busybox:1"}]}}},
            "status": status,
        })
    }

    fn pod(status: Value) -> Value {
        json!({"kind": "Pod", "metadata": {"name": "shop-backup-29384756-x", "creationTimestamp": "2026-11-23T01:30:02Z",
            "labels": {"batch.kubernetes.io/job-name": "shop-backup-29384756"}}, "status": status})
    }

    fn scheduled() -> Value {
        json!({"batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-11-23T02:30:00+01:00"})
    }

    fn ended(code: i64, reason: &str) -> Value {
        json!({"containerStatuses": [{"state": {"terminated": {"exitCode": code, "reason": reason,
            "startedAt": "2026-11-23T01:30:03Z", "finishedAt": "2026-11-23T01:30:09Z"}}}]})
    }

    fn failed(reason: &str) -> Value {
        json!({"failed": 1, "conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": "words",
            "lastTransitionTime": "2026-11-23T01:30:10Z"}]})
    }

    fn told(job: &Value, pods: &[Value]) -> (Option<Outcome>, String, Option<i64>) {
        let run = run_of(job, pods).unwrap();
        (run.outcome, run.reason, run.exit_code)
    }

    #[test]
    fn every_end_has_an_outcome_and_a_reason() {
        let complete = json!({"completionTime": "2026-11-23T01:30:09Z",
            "conditions": [{"type": "Complete", "status": "True"}]});
        assert_eq!(
            told(&job(scheduled(), complete), &[]),
            (Some(Outcome::Succeeded), "exit code 0".into(), Some(0))
        );
        let backoff = job(scheduled(), failed("BackoffLimitExceeded"));
        assert_eq!(
            told(&backoff, &[pod(ended(3, "Error"))]),
            (Some(Outcome::Failed), "exit code 3".into(), Some(3))
        );
        assert_eq!(
            told(&backoff, &[pod(ended(1, "Error")), pod(ended(137, "OOMKilled"))]).1,
            "killed: out of memory, the last of 2 attempts"
        );
        assert_eq!(told(&backoff, &[]).1, "words");
        let late = |notes| job(notes, failed("DeadlineExceeded"));
        assert_eq!(told(&late(json!({})), &[]).0, Some(Outcome::TimedOut));
        let cancelled = late(json!({NOTE_CANCELLED_BY: "ann"}));
        assert_eq!(
            told(&cancelled, &[]),
            (Some(Outcome::Cancelled), "cancelled by ann".into(), None)
        );
        let waiting = pod(json!({"containerStatuses": [{"state": {"waiting":
            {"reason": "ImagePullBackOff", "message": "no such image"}}}]}));
        assert_eq!(
            told(&job(scheduled(), json!({"active": 1})), &[waiting]),
            (None, "ImagePullBackOff: no such image".into(), None)
        );
    }

    #[test]
    fn a_slot_is_the_scheduled_time_and_a_manual_run_has_none() {
        let run = run_of(&job(scheduled(), json!({})), &[pod(ended(0, "Completed"))]).unwrap();
        assert_eq!(run.slot.unwrap().to_string(), "2026-11-23T01:30:00Z");
        assert_eq!(run.started_at.unwrap().to_string(), "2026-11-23T01:30:03Z");
        assert_eq!(run.image.as_deref(), Some("busybox:1"));
        let manual = job(json!({"cronjob.kubernetes.io/instantiate": "manual"}), json!({}));
        let run = run_of(&manual, &[]).unwrap();
        assert_eq!((run.slot, run.trigger), (None, RunTrigger::Manual));
    }

    #[test]
    fn events_tell_of_slots_without_a_job() {
        let cron_job = json!({"kind": "CronJob", "metadata": {"name": "shop-backup", "uid": "u",
            "labels": {"app.kubernetes.io/managed-by": "docker-scheduler", "docker-scheduler/instance": "default",
                "docker-scheduler/project": "shop", "docker-scheduler/job": "backup"}}});
        let event = |reason: &str, name: &str| {
            json!({"metadata": {"name": format!("{name}.17f")}, "reason": reason, "message": "why",
                "involvedObject": {"kind": "CronJob", "name": name}, "lastTimestamp": "2026-11-23T01:30:00Z"})
        };
        let events = [
            event("JobAlreadyActive", "shop-backup"),
            event("SuccessfulCreate", "shop-backup"),
            event("MissSchedule", "other"),
        ];
        let found = runs(&[cron_job], &[], &[], &events, &Instance::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].outcome, Some(Outcome::Skipped));
    }

    #[test]
    fn a_job_by_hand_is_made_from_the_template() {
        let cron_job = json!({"kind": "CronJob", "metadata": {"name": "shop-backup", "uid": "u"},
            "spec": {"jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"backoffLimit": 0}}}});
        let made = triggered(&cron_job, "0a1b2c3d");
        assert_eq!(made["metadata"]["name"], "shop-backup-m0a1b2c3d");
        assert_eq!(made["metadata"]["labels"]["a"], "b");
        assert_eq!(made["spec"]["backoffLimit"], 0);
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "u");
    }
}
