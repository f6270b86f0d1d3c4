//! The objects of one job: a CronJob for each of its schedules, and before them what these refer to: Secrets
//! for what must not be read in a CronJob, and a ConfigMap.
//!
//! What they hold is edited in place, and each run has it as it is at its start: the names say whose they
//! are, and a pod of an older attempt finds them.

use serde_json::{Map, Value, json};

use crate::model::{Concurrency, History, Job, MissedFires, Policy, Triggers};

use super::contents::{Contents, Data, files_of};
use super::live::{
    LABEL_INSTANCE, LABEL_JOB, LABEL_MANAGED_BY, LABEL_PROJECT, MANAGER, NOTE_MANUAL, NOTE_MASKED,
    NOTE_SOURCE, masked_paths,
};
use super::pod::{Private, pod};
use super::timing::for_go;
use super::{cron_job_name, object_name};

/// Where the objects go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// `None` leaves it to whoever applies them.
    pub namespace: Option<String>,
    /// Whose objects these are. Without it they are nobody's: others apply, change and delete them.
    pub instance: Option<String>,
    /// What lies in the files that secrets and configs are read from.
    pub contents: Contents,
}

/// The objects of a job that `check` finds no error in, always in the same order. What has no equal is
/// left out.
#[must_use]
pub fn objects(job: &Job, target: &Target) -> Vec<Value> {
    let Job {
        name,
        origin: _,
        triggers,
        policy,
        container: _, // in the pod
        canonical: _,
    } = job;
    let Triggers { manual: _, schedule } = triggers; // `manual` is a note on the CronJob
    let metadata = Metadata::new(job, target);
    let private = Private::of(job);
    let mut found = Vec::new();
    if !private.values.is_empty() {
        let data = Data::of_texts(&private.values);
        found.push(data.secret(metadata.of(&private.secret)));
    }
    let files = files_of(job, &target.contents);
    if !files.secrets.is_empty() {
        found.push(
            files
                .secrets
                .secret(metadata.of(&format!("{}-secrets", object_name(name)))),
        );
    }
    if !files.configs.is_empty() {
        found.push(
            files
                .configs
                .config_map(metadata.of(&format!("{}-configs", object_name(name)))),
        );
    }
    let template = job_template(job, &metadata, &private);
    for (at, trigger) in schedule.iter().enumerate() {
        let Ok((expression, zone)) = for_go(trigger) else {
            continue;
        };
        let mut spec = cron_spec(policy);
        spec.insert("schedule".into(), json!(expression));
        spec.insert("timeZone".into(), json!(zone));
        spec.insert("jobTemplate".into(), template.clone());
        let mut object = json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": metadata.of_cron_job(&cron_job_name(name, at, schedule.len()), triggers.manual),
            "spec": spec,
        });
        let masked = masked_paths(&object, &job.container);
        // Whoever applies an export has no plan to keep it from.
        if !masked.is_empty() && target.instance.is_some() {
            object["metadata"]["annotations"][NOTE_MASKED] = json!(masked.join("\n"));
        }
        found.push(object);
    }
    found
}

/// What every object of a job carries.
struct Metadata {
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
    namespace: Option<String>,
    source: String,
}

impl Metadata {
    fn new(job: &Job, target: &Target) -> Metadata {
        let Target {
            namespace,
            instance,
            contents: _,
        } = target;
        let mut labels = Map::new();
        let mut annotations = Map::new();
        for (name, value) in &job.container.labels {
            let value = value.expose();
            // A label's value is a word; an annotation's is any text.
            let place = if is_label_value(value) {
                &mut labels
            } else {
                &mut annotations
            };
            place.insert(name.clone(), json!(value));
        }
        labels.insert(LABEL_MANAGED_BY.into(), json!(MANAGER));
        labels.insert(LABEL_PROJECT.into(), json!(job.name.project()));
        labels.insert(LABEL_JOB.into(), json!(job.name.job()));
        if let Some(instance) = instance {
            labels.insert(LABEL_INSTANCE.into(), json!(instance));
        }
        Metadata {
            labels,
            annotations,
            namespace: namespace.clone(),
            source: job.origin.file.clone(),
        }
    }

    /// Of a CronJob, which knows its manifest and whether a person may start it.
    fn of_cron_job(&self, name: &str, manual: bool) -> Value {
        let mut metadata = self.of(name);
        metadata["annotations"][NOTE_SOURCE] = json!(self.source);
        if !manual {
            metadata["annotations"][NOTE_MANUAL] = json!("false");
        }
        metadata
    }

    /// Of its Jobs, which know their manifest.
    fn of_jobs(&self) -> Value {
        let mut metadata = Value::Object(self.bare());
        metadata["annotations"][NOTE_SOURCE] = json!(self.source);
        metadata
    }

    /// Of an object with a name.
    fn of(&self, name: &str) -> Value {
        let mut out = self.bare();
        out.insert("name".into(), json!(name));
        if let Some(namespace) = &self.namespace {
            out.insert("namespace".into(), json!(namespace));
        }
        Value::Object(out)
    }

    /// Of a template: labels of a CronJob reach neither its Jobs nor their pods by themselves.
    fn bare(&self) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("labels".into(), Value::Object(self.labels.clone()));
        if !self.annotations.is_empty() {
            out.insert("annotations".into(), Value::Object(self.annotations.clone()));
        }
        out
    }
}

fn is_label_value(value: &str) -> bool {
    let ends_well = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && ends_well(value.chars().next())
        && ends_well(value.chars().last())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn cron_spec(policy: &Policy) -> Map<String, Value> {
    let Policy {
        concurrency,
        missed_fires,
        starting_deadline,
        timeout: _,
        success_exit_codes: _,
        suspend,
        history,
        unknown_hold: _,
        retries: _, // of the Job, not of the CronJob
        backoff: _,
        on_unknown: _,
        on_node_loss: _,
        jitter: _,
        group: _,
    } = policy;
    let History { succeeded, failed } = history;
    let mut spec = Map::new();
    let overlap = match concurrency {
        // The check refuses to queue.
        Concurrency::Forbid | Concurrency::Queue => "Forbid",
        Concurrency::Allow => "Allow",
        Concurrency::Replace => "Replace",
    };
    spec.insert("concurrencyPolicy".into(), json!(overlap));
    let deadline = starting_deadline.map(|deadline| deadline.as_secs());
    let deadline = match missed_fires {
        MissedFires::One | MissedFires::All => deadline,
        MissedFires::Skip => deadline.or(Some(10)),
    };
    if let Some(seconds) = deadline {
        spec.insert("startingDeadlineSeconds".into(), json!(seconds));
    }
    // Only when it is asked for: a person's `kubectl patch` is left alone otherwise.
    if *suspend {
        spec.insert("suspend".into(), json!(true));
    }
    spec.insert("successfulJobsHistoryLimit".into(), json!(succeeded));
    spec.insert("failedJobsHistoryLimit".into(), json!(failed));
    spec
}

fn job_template(job: &Job, metadata: &Metadata, private: &Private) -> Value {
    let mut spec = Map::new();
    // Its default is 6.
    spec.insert("backoffLimit".into(), json!(job.policy.retries));
    if let Some(timeout) = job.policy.timeout {
        spec.insert("activeDeadlineSeconds".into(), json!(timeout.as_secs()));
    }
    spec.insert(
        "template".into(),
        json!({"metadata": metadata.bare(), "spec": pod(job, private)}),
    );
    json!({"metadata": metadata.of_jobs(), "spec": spec})
}
