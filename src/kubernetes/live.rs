//! Objects as a cluster has them: whose they are, and how they differ from what is declared.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::model::{ContainerSpec, DayMatch, Instance, JobName, Origin, Trigger};

/// The field manager of everything that manifests say.
pub const MANAGER: &str = "docker-scheduler";
/// The field manager of pauses, which outlive an `apply`.
pub const PAUSE_MANAGER: &str = "docker-scheduler-pause";

/// Every object of ours, of any instance.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=docker-scheduler";

pub(super) const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(super) const LABEL_INSTANCE: &str = "docker-scheduler/instance";
pub(super) const LABEL_PROJECT: &str = "docker-scheduler/project";
pub(super) const LABEL_JOB: &str = "docker-scheduler/job";
/// The manifest that a job stands in.
pub(super) const NOTE_SOURCE: &str = "docker-scheduler/source";
/// `false`: the job is not to be started by hand.
pub(super) const NOTE_MANUAL: &str = "docker-scheduler/manual";
/// The fields, a line each, that have a value which must not be shown: the next plan does not know it any
/// more once it is gone from the manifest.
pub(super) const NOTE_MASKED: &str = "docker-scheduler/masked";
/// Who paused a job.
pub const NOTE_PAUSED_BY: &str = "docker-scheduler/paused-by";
/// Who cancelled a run.
pub const NOTE_CANCELLED_BY: &str = "docker-scheduler/cancelled-by";

/// A text at a path of keys; `None` when there is none.
pub(super) fn text<'v>(object: &'v Value, path: &[&str]) -> Option<&'v str> {
    at(object, path)?.as_str()
}

pub(super) fn at<'v>(object: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

pub(super) fn time(object: &Value, path: &[&str]) -> Option<Timestamp> {
    text(object, path)?.parse().ok()
}

/// `metadata.name`.
#[must_use]
pub fn name_of(object: &Value) -> &str {
    text(object, &["metadata", "name"]).unwrap_or_default()
}

#[must_use]
pub fn kind_of(object: &Value) -> &str {
    text(object, &["kind"]).unwrap_or_default()
}

#[must_use]
pub fn uid_of(object: &Value) -> Option<&str> {
    text(object, &["metadata", "uid"])
}

#[must_use]
pub fn version_of(object: &Value) -> Option<&str> {
    text(object, &["metadata", "resourceVersion"])
}

fn label<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    text(object, &["metadata", "labels", name])
}

pub(super) fn note<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    text(object, &["metadata", "annotations", name])
}

/// Whether an object carries our labels with this instance's name. What `export` wrote for others to
/// apply carries no instance, and is theirs.
#[must_use]
pub fn is_ours(object: &Value, instance: &Instance) -> bool {
    label(object, LABEL_MANAGED_BY) == Some(MANAGER)
        && label(object, LABEL_INSTANCE) == Some(instance.as_str())
        && job_of(object).is_some()
}

/// The instance that an object names.
#[must_use]
pub fn instance_of(object: &Value) -> Option<&str> {
    label(object, LABEL_INSTANCE)
}

/// Why an object is not this instance's.
#[must_use]
pub fn whose(object: &Value) -> String {
    match (label(object, LABEL_MANAGED_BY), label(object, LABEL_INSTANCE)) {
        (Some(MANAGER), Some(other)) => format!("it belongs to the instance `{other}`"),
        (Some(MANAGER), None) => String::from("it names no instance, as what `export` wrote"),
        (Some(other), _) => format!("it is managed by `{other}`"),
        (None, _) => String::from("it does not carry our labels"),
    }
}

/// The job that an object belongs to, by its labels.
#[must_use]
pub fn job_of(object: &Value) -> Option<JobName> {
    JobName::new(label(object, LABEL_PROJECT)?, label(object, LABEL_JOB)?).ok()
}

/// The manifest that an object's job stands in.
#[must_use]
pub fn origin_of(object: &Value) -> Origin {
    Origin {
        file: note(object, NOTE_SOURCE).unwrap_or_default().to_owned(),
        line: 0,
        commit: None,
    }
}

/// Whether a person may start it by hand.
#[must_use]
pub fn may_be_triggered(cron_job: &Value) -> bool {
    note(cron_job, NOTE_MANUAL) != Some("false")
}

/// When a CronJob starts.
#[must_use]
pub fn trigger_of(cron_job: &Value) -> Option<Trigger> {
    let expression = text(cron_job, &["spec", "schedule"])?.to_owned();
    let timezone = text(cron_job, &["spec", "timeZone"]).unwrap_or("UTC").to_owned();
    Some(Trigger::Cron {
        expression,
        timezone,
        day_match: Some(DayMatch::Any),
    })
}

#[must_use]
pub fn is_suspended(cron_job: &Value) -> bool {
    at(cron_job, &["spec", "suspend"]) == Some(&Value::Bool(true))
}

/// Whether it is on its way out.
#[must_use]
pub fn is_being_deleted(object: &Value) -> bool {
    text(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// Whether a Job of it is under way.
#[must_use]
pub fn has_active_run(cron_job: &Value) -> bool {
    at(cron_job, &["status", "active"])
        .and_then(Value::as_array)
        .is_some_and(|active| !active.is_empty())
}

/// Who holds `spec.suspend`, when it is not the manifest: a name, as a person knows it.
#[must_use]
pub fn paused_by(cron_job: &Value) -> Option<String> {
    if !is_suspended(cron_job) {
        return None;
    }
    let owners = owners_of(cron_job, &["f:spec", "f:suspend"]);
    if owners.iter().any(|(manager, _)| manager == MANAGER) {
        return None;
    }
    let by = note(cron_job, NOTE_PAUSED_BY).map(str::to_owned);
    by.or_else(|| owners.into_iter().next().map(|(manager, _)| manager))
        .or_else(|| Some(String::from("somebody")))
}

/// Who owns a field, and by which operation (`Apply`, `Update`). `path` is as in `managedFields`.
pub(super) fn owners_of(object: &Value, path: &[&str]) -> Vec<(String, String)> {
    let entries = at(object, &["metadata", "managedFields"]).and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter(|entry| {
            entry
                .get("fieldsV1")
                .is_some_and(|fields| at(fields, path).is_some())
        })
        .map(|entry| {
            let word = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            (word("manager").to_owned(), word("operation").to_owned())
        })
        .collect()
}

/// The object without what the server alone decides.
#[must_use]
pub fn stripped(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in [
            "managedFields",
            "resourceVersion",
            "generation",
            "uid",
            "creationTimestamp",
            "selfLink",
        ] {
            metadata.remove(key);
        }
    }
    object
}

/// One field that differs: its path, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub path: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

const SHOWN: &str = "(masked)";

/// The paths of fields whose values hold a sensitive one.
pub(super) fn masked_paths(object: &Value, spec: &ContainerSpec) -> Vec<String> {
    let mut leaves = BTreeMap::new();
    flatten(object, String::new(), &mut leaves);
    leaves.retain(|path, value| spec.conceal(value) != *value && spec.conceal(path) == *path);
    leaves.into_keys().collect()
}

impl Difference {
    /// A value that is sensitive today was so before.
    pub fn conceal(&mut self, spec: &ContainerSpec) {
        let shown = self.after.as_deref().map(|after| spec.conceal(after));
        if shown != self.after {
            self.after = shown;
            self.before = self.before.take().map(|_| SHOWN.to_owned());
        }
    }
}

/// What differs, in the order of paths. Values of a Secret are not shown.
pub(super) fn differences(before: Option<&Value>, after: &Value) -> Vec<Difference> {
    let hidden = kind_of(after) == "Secret";
    let mut old = BTreeMap::new();
    let mut masked = BTreeSet::new();
    if let Some(before) = before {
        masked.extend(note(before, NOTE_MASKED).unwrap_or_default().lines());
        flatten(&stripped(before), String::new(), &mut old);
    }
    let mut new = BTreeMap::new();
    flatten(&stripped(after), String::new(), &mut new);
    let mut found = Vec::new();
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for path in paths {
        let (before, after) = (old.get(path), new.get(path));
        if before == after {
            continue;
        }
        let shown = |value: Option<&String>, hint: &str| {
            let is_secret = hidden && path.starts_with("data");
            value.map(|value| if is_secret { hint.to_owned() } else { value.clone() })
        };
        found.push(Difference {
            path: path.clone(),
            before: match masked.contains(path.as_str()) {
                true => before.map(|_| SHOWN.to_owned()),
                false => shown(before, "(not shown)"),
            },
            after: shown(after, "(another value, not shown)"),
        });
    }
    found
}

/// As lines of a diff.
pub(super) fn diff_lines(differences: &[Difference]) -> Vec<String> {
    let mut lines = Vec::new();
    for Difference { path, before, after } in differences {
        lines.extend(before.iter().map(|value| format!("-{path}: {value}")));
        lines.extend(after.iter().map(|value| format!("+{path}: {value}")));
    }
    lines
}

/// Every leaf with its path, as `kubectl explain` has paths; elements that have a name are known by it.
fn flatten(value: &Value, path: String, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else if key.contains('.') || key.contains('/') {
                    format!("{path}[{key}]")
                } else {
                    format!("{path}.{key}")
                };
                flatten(value, path, out);
            }
        }
        // A list of words reads best on one line.
        Value::Array(list) if !list.is_empty() && list.iter().any(|item| item.is_object()) => {
            for (at, value) in list.iter().enumerate() {
                let name = value.get("name").and_then(Value::as_str);
                let path = match name {
                    Some(name) => format!("{path}[{name}]"),
                    None => format!("{path}[{at}]"),
                };
                flatten(value, path, out);
            }
        }
        other => {
            let text = match other {
                Value::String(text) if is_plain(text) => text.clone(),
                other => other.to_string(),
            };
            out.insert(path, text);
        }
    }
}

/// Whether a text can be told from other kinds of values, and stays on its line.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.chars().any(char::is_control)
        && !text.starts_with(['"', '[', '{', ' '])
        && !text.ends_with(' ')
        && text.parse::<f64>().is_err()
        && !matches!(text, "true" | "false" | "null")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_names_fields_as_kubernetes_does_and_hides_secrets() {
        let before = json!({"kind": "CronJob", "metadata": {"name": "n", "uid": "1", "labels": {"a.b/c": "x"}},
            "spec": {"schedule": "0 1 * * *", "containers": [{"name": "a", "args": ["x", "y"]}]}, "status": {}});
        let after = json!({"kind": "CronJob", "metadata": {"name": "n", "uid": "2"},
            "spec": {"schedule": "0 2 * * *", "containers": [{"name": "a", "args": ["x"]}], "suspend": true}});
        assert_eq!(
            diff_lines(&differences(Some(&before), &after)),
            [
                "-metadata.labels[a.b/c]: x",
                "-spec.containers[a].args: [\"x\",\"y\"]",
                "+spec.containers[a].args: [\"x\"]",
                "-spec.schedule: 0 1 * * *",
                "+spec.schedule: 0 2 * * *",
                "+spec.suspend: true",
            ]
        );
        let before = json!({"kind": "Secret", "data": {"A": "b2xk", "B": "c2FtZQ=="}});
        let after = json!({"kind": "Secret", "data": {"A": "bmV3", "B": "c2FtZQ=="}});
        assert_eq!(
            diff_lines(&differences(Some(&before), &after)),
            ["-data.A: (not shown)", "+data.A: (another value, not shown)"]
        );
    }

    #[test]
    fn what_names_another_instance_or_none_is_not_ours() {
        let with = |instance: Option<&str>| {
            let mut object = json!({"metadata": {"labels": {LABEL_MANAGED_BY: MANAGER,
                LABEL_PROJECT: "shop", LABEL_JOB: "backup"}}});
            if let Some(instance) = instance {
                object["metadata"]["labels"][LABEL_INSTANCE] = json!(instance);
            }
            object
        };
        let default = Instance::default();
        assert!(is_ours(&with(Some("default")), &default));
        assert!(!is_ours(&with(Some("blue")), &default));
        assert!(!is_ours(&with(None), &default));
        assert!(!is_ours(&json!({"metadata": {}}), &default));
    }

    #[test]
    fn a_pause_is_told_from_a_suspension_of_the_manifest() {
        let suspended = |manager: &str, by: Option<&str>| {
            json!({"metadata": {"annotations": {NOTE_PAUSED_BY: by},
                "managedFields": [{"manager": manager, "operation": "Apply",
                    "fieldsV1": {"f:spec": {"f:suspend": {}}}}]}, "spec": {"suspend": true}})
        };
        assert_eq!(paused_by(&suspended(MANAGER, None)), None);
        assert_eq!(
            paused_by(&suspended(PAUSE_MANAGER, Some("ann"))).as_deref(),
            Some("ann")
        );
        assert_eq!(
            paused_by(&suspended("kubectl-patch", None)).as_deref(),
            Some("kubectl-patch")
        );
        assert_eq!(paused_by(&json!({"spec": {"suspend": false}})), None);
    }
}
