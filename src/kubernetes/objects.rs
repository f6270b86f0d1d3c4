//! The objects of one job: a CronJob for each of its schedules, and a Secret for what must not be read
//! in them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::{
    Concurrency, ContainerSpec, History, Job, MissedFires, Mount, MountKind, Policy, PullPolicy, Text, Tmpfs,
    Triggers,
};

use super::live::{
    LABEL_INSTANCE, LABEL_JOB, LABEL_MANAGED_BY, LABEL_PROJECT, MANAGER, NOTE_MANUAL, NOTE_SOURCE,
};
use super::timing::for_go;
use super::{cron_job_name, dns, object_name};

/// Where the objects go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// `None` leaves it to whoever applies them.
    pub namespace: Option<String>,
    /// Whose objects these are. Without it they are nobody's: others apply, change and delete them.
    pub instance: Option<String>,
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
        container,
        canonical: _,
    } = job;
    let Triggers { manual: _, schedule } = triggers; // `manual` is a note on the CronJob
    let secret_name = format!("{}-env", object_name(name));
    let metadata = Metadata::new(job, target);
    let secrets: Map<String, Value> = container
        .environment
        .iter()
        .filter(|(_, value)| value.is_sensitive())
        .map(|(name, value)| (name.clone(), json!(value.expose())))
        .collect();
    let mut found = Vec::new();
    if !secrets.is_empty() {
        found.push(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata.of(&secret_name),
            "type": "Opaque",
            "stringData": secrets,
        }));
    }
    let template = job_template(job, &metadata, &secret_name);
    for (at, trigger) in schedule.iter().enumerate() {
        let Ok((expression, zone)) = for_go(trigger) else {
            continue;
        };
        let mut spec = cron_spec(policy);
        spec.insert("schedule".into(), json!(expression));
        spec.insert("timeZone".into(), json!(zone));
        spec.insert("jobTemplate".into(), template.clone());
        found.push(json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": metadata.of_cron_job(&cron_job_name(name, at, schedule.len()), triggers.manual),
            "spec": spec,
        }));
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
        let Target { namespace, instance } = target;
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

fn job_template(job: &Job, metadata: &Metadata, secret: &str) -> Value {
    let mut spec = Map::new();
    // Its default is 6.
    spec.insert("backoffLimit".into(), json!(job.policy.retries));
    if let Some(timeout) = job.policy.timeout {
        spec.insert("activeDeadlineSeconds".into(), json!(timeout.as_secs()));
    }
    spec.insert(
        "template".into(),
        json!({"metadata": metadata.bare(), "spec": pod(job, secret)}),
    );
    json!({"metadata": metadata.of_jobs(), "spec": spec})
}

fn pod(job: &Job, secret: &str) -> Value {
    let ContainerSpec {
        place: _,
        image,
        pull_policy,
        entrypoint,
        command,
        environment,
        labels: _,
        mounts,
        tmpfs,
        networks: _,
        network_mode,
        extra_hosts,
        user,
        working_dir,
        init: _,
        read_only,
        tty,
        mem_limit_bytes,
        nano_cpus,
        ulimits: _,
        cap_drop,
        logging: _,
        stop_signal: _,
        stop_grace_period,
        placement: _,
        // `check` refuses them.
        platform: _,
        stdin_open: _,
        annotations: _,
        healthcheck: _,
        rights: _,
        resources: _,
        presence: _,
        files: _,
        sensitive: _, // of records and messages
    } = &job.container;
    let mut container = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        container.extend(value.map(|value| (key.to_owned(), value)));
    };
    set("name", Some(json!(dns(job.name.job()))));
    set("image", Some(json!(image.as_str())));
    set("imagePullPolicy", pull(*pull_policy));
    set("command", entrypoint.as_deref().map(words));
    set("args", command.as_deref().map(words));
    set("env", (!environment.is_empty()).then(|| env(environment, secret)));
    set("workingDir", working_dir.as_ref().map(|path| json!(path)));
    set("tty", tty.then(|| json!(true)));
    set("resources", limits(*mem_limit_bytes, *nano_cpus));
    set("securityContext", security(user.as_deref(), *read_only, cap_drop));
    let volumes = volumes(mounts, tmpfs);
    let mounts: Vec<Value> = volumes.iter().map(|volume| volume.mount.clone()).collect();
    set("volumeMounts", (!mounts.is_empty()).then(|| json!(mounts)));
    let mut pod = Map::new();
    pod.insert("restartPolicy".into(), json!("Never"));
    pod.insert("containers".into(), json!([container]));
    if !volumes.is_empty() {
        let volumes: Vec<Value> = volumes.into_iter().filter_map(|volume| volume.volume).collect();
        pod.insert("volumes".into(), json!(volumes));
    }
    if let Some(grace) = stop_grace_period {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        pod.insert("terminationGracePeriodSeconds".into(), json!(seconds));
    }
    if network_mode.as_deref() == Some("host") {
        pod.insert("hostNetwork".into(), json!(true));
    }
    if !extra_hosts.is_empty() {
        let aliases: Vec<Value> = extra_hosts
            .iter()
            .map(|(name, address)| json!({"ip": address, "hostnames": [name]}))
            .collect();
        pod.insert("hostAliases".into(), json!(aliases));
    }
    Value::Object(pod)
}

fn pull(policy: PullPolicy) -> Option<Value> {
    match policy {
        PullPolicy::Always => Some(json!("Always")),
        // Written, because Kubernetes would always pull a `latest`.
        PullPolicy::Missing => Some(json!("IfNotPresent")),
        PullPolicy::Never => Some(json!("Never")),
        PullPolicy::Every(_) => None,
    }
}

fn words(texts: &[Text]) -> Value {
    texts.iter().map(|text| json!(escaped(text.expose()))).collect()
}

/// `$(NAME)` would be replaced and `$$` halved.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '$' && matches!(chars.peek(), Some('(' | '$')) {
            out.push('$');
        }
    }
    out
}

fn env(environment: &BTreeMap<String, Text>, secret: &str) -> Value {
    environment
        .iter()
        .map(|(name, value)| {
            if value.is_sensitive() {
                json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}})
            } else {
                json!({"name": name, "value": escaped(value.expose())})
            }
        })
        .collect()
}

fn limits(memory: Option<u64>, nano_cpus: Option<u64>) -> Option<Value> {
    let mut limits = Map::new();
    if let Some(bytes) = memory.filter(|bytes| *bytes > 0) {
        limits.insert("memory".into(), json!(quantity(bytes)));
    }
    if let Some(nanos) = nano_cpus.filter(|nanos| *nanos > 0) {
        // Thousandths are its finest unit.
        limits.insert("cpu".into(), json!(format!("{}m", nanos.div_ceil(1_000_000))));
    }
    (!limits.is_empty()).then(|| json!({"limits": limits}))
}

/// Bytes in the largest binary unit that says them: `m` would be thousandths there.
fn quantity(bytes: u64) -> String {
    for (shift, unit) in [(30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn security(user: Option<&str>, read_only: bool, cap_drop: &[String]) -> Option<Value> {
    let mut context = Map::new();
    if let Some((user, group)) = user.and_then(numbers_of) {
        context.insert("runAsUser".into(), json!(user));
        if let Some(group) = group {
            context.insert("runAsGroup".into(), json!(group));
        }
    }
    if read_only {
        context.insert("readOnlyRootFilesystem".into(), json!(true));
    }
    if !cap_drop.is_empty() {
        let names: Vec<&str> = cap_drop
            .iter()
            .map(|name| name.strip_prefix("CAP_").unwrap_or(name))
            .collect();
        context.insert("capabilities".into(), json!({"drop": names}));
    }
    (!context.is_empty()).then_some(Value::Object(context))
}

/// `1000` or `1000:1000`.
pub(super) fn numbers_of(user: &str) -> Option<(u32, Option<u32>)> {
    match user.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((user.parse().ok()?, None)),
    }
}

/// A volume of the pod, and where it is mounted.
struct Volume {
    /// `None` when an earlier mount brought it.
    volume: Option<Value>,
    mount: Value,
}

fn volumes(mounts: &[Mount], tmpfs: &[Tmpfs]) -> Vec<Volume> {
    let mut found = Vec::new();
    let mut claims: Vec<String> = Vec::new();
    for mount in mounts {
        let Mount {
            kind,
            target,
            read_only,
        } = mount;
        let mut name = format!("volume-{}", found.len() + 1);
        let source = match kind {
            MountKind::Bind { .. } => continue,
            MountKind::Volume { name: None, .. } => json!({"emptyDir": {}}),
            MountKind::Volume {
                name: Some(claim), ..
            } => {
                let claim = dns(claim);
                // One claim is one volume of the pod, however often it is mounted.
                if let Some(known) = claims.iter().position(|known| *known == claim) {
                    name = format!("claim-{}", known + 1);
                } else {
                    claims.push(claim.clone());
                    name = format!("claim-{}", claims.len());
                }
                json!({"persistentVolumeClaim": {"claimName": claim}})
            }
            MountKind::Tmpfs { size_bytes, mode: _ } => memory(size_bytes.map(quantity)),
        };
        found.push(volume(&name, source, target, *read_only));
    }
    for Tmpfs { target, options } in tmpfs {
        let name = format!("volume-{}", found.len() + 1);
        found.push(volume(
            &name,
            memory(size_of(options).map(quantity)),
            target,
            false,
        ));
    }
    let mut seen = Vec::new();
    for found in &mut found {
        match found.volume.take_if(|volume| seen.contains(volume)) {
            Some(_) => {}
            None => seen.extend(found.volume.clone()),
        }
    }
    found
}

fn memory(size: Option<String>) -> Value {
    match size {
        Some(size) => json!({"emptyDir": {"medium": "Memory", "sizeLimit": size}}),
        None => json!({"emptyDir": {"medium": "Memory"}}),
    }
}

fn volume(name: &str, source: Value, target: &str, read_only: bool) -> Volume {
    let mut volume = Map::new();
    volume.insert("name".into(), json!(name));
    if let Value::Object(source) = source {
        volume.extend(source);
    }
    let mut mount = Map::new();
    mount.insert("name".into(), json!(name));
    mount.insert("mountPath".into(), json!(target));
    if read_only {
        mount.insert("readOnly".into(), json!(true));
    }
    Volume {
        volume: Some(Value::Object(volume)),
        mount: Value::Object(mount),
    }
}

/// `size=64m` of the options of a tmpfs, when it is the only one.
pub(super) fn size_of(options: &str) -> Option<u64> {
    let text = options.strip_prefix("size=")?.to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match &text[digits..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}
