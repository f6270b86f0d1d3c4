//! The pod of a job's runs: one container, and what it may do.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::{ContainerSpec, Job, Presence, PullPolicy, Resources, Rights, Text};

use super::volumes::volumes;
use super::{dns, object_name};

/// Values that must not be read in a CronJob, by the variables that have them in the container.
pub(super) struct Private {
    /// The Secret's name.
    pub secret: String,
    pub values: BTreeMap<String, String>,
}

impl Private {
    pub fn of(job: &Job) -> Private {
        let mut values = BTreeMap::new();
        let spec = &job.container;
        for (name, value) in &spec.environment {
            if let Some(value) = value.as_ref().filter(|value| value.is_sensitive()) {
                values.insert(name.clone(), value.expose().to_owned());
            }
        }
        for (what, words) in [(ENTRYPOINT, &spec.entrypoint), (COMMAND, &spec.command)] {
            for (at, word) in words.iter().flatten().enumerate() {
                if word.is_sensitive() {
                    values.insert(variable(what, at), word.expose().to_owned());
                }
            }
        }
        Private {
            secret: format!("{}-env", object_name(&job.name)),
            values,
        }
    }
}

const ENTRYPOINT: &str = "ENTRYPOINT";
const COMMAND: &str = "COMMAND";

/// A word with a value from `.env` in it reaches the command by a variable, which Kubernetes puts in.
fn variable(what: &str, at: usize) -> String {
    format!("{WORD}{what}_{}", at + 1)
}

const WORD: &str = "DOCKER_SCHEDULER_";

/// Whether a variable is there for a word of the command alone.
pub(crate) fn is_word(variable: &str) -> bool {
    let rest = variable.strip_prefix(WORD).and_then(|rest| rest.rsplit_once('_'));
    rest.is_some_and(|(what, at)| matches!(what, ENTRYPOINT | COMMAND) && at.parse::<usize>().is_ok())
}

pub(super) fn pod(job: &Job, private: &Private) -> Value {
    let spec = &job.container;
    let ContainerSpec {
        place: _,
        image,
        pull_policy,
        entrypoint,
        command,
        environment,
        labels: _,
        mounts: _,
        tmpfs: _,
        networks: _,
        network_mode,
        extra_hosts,
        user,
        working_dir,
        init,
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
        platform,
        stdin_open,
        annotations: _,
        healthcheck: _,
        rights,
        resources,
        presence,
        files: _, // with the mounts
        kubernetes: _,
        sensitive: _, // of records and messages
    } = spec;
    let mut container = Part::default();
    container.set("name", Some(json!(dns(job.name.job()))));
    container.set("image", Some(json!(image.as_str())));
    container.set("imagePullPolicy", pull(*pull_policy));
    container.set("command", words(ENTRYPOINT, entrypoint.as_deref()));
    container.set("args", words(COMMAND, command.as_deref()));
    container.set("env", env(environment, private));
    container.set("workingDir", working_dir.as_ref().map(|path| json!(path)));
    container.set("stdin", on(*stdin_open));
    container.set("tty", on(*tty));
    container.set("resources", amounts(*mem_limit_bytes, *nano_cpus, resources));
    container.set(
        "securityContext",
        security(user.as_deref(), *read_only, cap_drop, rights),
    );
    let volumes = volumes(spec, &job.name);
    container.set("volumeMounts", list(volumes.mounts));

    let mut pod = Part::default();
    pod.set("restartPolicy", Some(json!("Never")));
    pod.set("containers", Some(json!([container.0])));
    pod.set("volumes", list(volumes.volumes));
    pod.set(
        "terminationGracePeriodSeconds",
        stop_grace_period.map(|grace| json!(grace.as_secs() + u64::from(grace.subsec_nanos() > 0))),
    );
    pod.set("nodeSelector", platform.as_deref().and_then(node_selector));
    // Then the pod's own first process reaps what the command leaves behind.
    pod.set(
        "shareProcessNamespace",
        on(*init == Some(true) && rights.pid.is_none()),
    );
    pod.set("hostNetwork", on(network_mode.as_deref() == Some("host")));
    let aliases = extra_hosts.iter();
    let aliases = aliases.map(|(name, address)| json!({"ip": address, "hostnames": [name]}));
    pod.set("hostAliases", list(aliases.collect()));
    presence_of(&mut pod, presence);
    rights_of(&mut pod, rights);
    Value::Object(pod.0)
}

/// An object that holds only what is set.
#[derive(Default)]
struct Part(Map<String, Value>);

impl Part {
    fn set(&mut self, key: &str, value: Option<Value>) {
        self.0.extend(value.map(|value| (key.to_owned(), value)));
    }

    fn filled(self) -> Option<Value> {
        (!self.0.is_empty()).then_some(Value::Object(self.0))
    }
}

fn on(is_on: bool) -> Option<Value> {
    is_on.then_some(Value::Bool(true))
}

fn list(items: Vec<Value>) -> Option<Value> {
    (!items.is_empty()).then_some(Value::Array(items))
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

fn words(what: &str, texts: Option<&[Text]>) -> Option<Value> {
    let words = texts?.iter().enumerate().map(|(at, word)| {
        if word.is_sensitive() {
            json!(format!("$({})", variable(what, at)))
        } else {
            json!(escaped(word.expose()))
        }
    });
    Some(words.collect())
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

fn env(environment: &BTreeMap<String, Option<Text>>, private: &Private) -> Option<Value> {
    let plain = environment.iter().filter_map(|(name, value)| {
        let value = value.as_ref().filter(|value| !value.is_sensitive())?;
        Some((name, json!({"name": name, "value": escaped(value.expose())})))
    });
    let secret = private.values.keys().map(|name| {
        let reference = json!({"name": private.secret, "key": name});
        (
            name,
            json!({"name": name, "valueFrom": {"secretKeyRef": reference}}),
        )
    });
    let all: BTreeMap<&String, Value> = plain.chain(secret).collect();
    list(all.into_values().collect())
}

fn amounts(memory: Option<u64>, nano_cpus: Option<u64>, resources: &Resources) -> Option<Value> {
    // What has no equal is refused by the check; shared memory is a volume.
    let Resources {
        memswap_limit_bytes: _,
        mem_reservation_bytes,
        shm_size_bytes: _,
        cpu_shares: _,
        cpuset: _,
        pids_limit: _,
        oom_score_adj: _,
        cgroup_parent: _,
        runtime: _,
    } = resources;
    let bytes = |bytes: Option<u64>| {
        let bytes = bytes.filter(|bytes| *bytes > 0)?;
        Some(json!(quantity(bytes)))
    };
    let mut limits = Part::default();
    limits.set("memory", bytes(memory));
    // Thousandths are its finest unit.
    let milli = nano_cpus.filter(|nanos| *nanos > 0);
    limits.set(
        "cpu",
        milli.map(|nanos| json!(format!("{}m", nanos.div_ceil(1_000_000)))),
    );
    let mut requests = Part::default();
    requests.set("memory", bytes(*mem_reservation_bytes));
    let mut out = Part::default();
    out.set("limits", limits.filled());
    out.set("requests", requests.filled());
    out.filled()
}

/// Bytes in the largest binary unit that says them: `m` would be thousandths there.
pub(super) fn quantity(bytes: u64) -> String {
    for (shift, unit) in [(30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// What the container may do.
fn security(user: Option<&str>, read_only: bool, cap_drop: &[String], rights: &Rights) -> Option<Value> {
    let mut context = Part::default();
    if let Some((user, group)) = user.and_then(numbers_of) {
        context.set("runAsUser", Some(json!(user)));
        context.set("runAsGroup", group.map(|group| json!(group)));
    }
    context.set("readOnlyRootFilesystem", on(read_only));
    context.set("privileged", on(rights.privileged));
    let mut capabilities = Part::default();
    capabilities.set("add", capability_names(&rights.cap_add));
    capabilities.set("drop", capability_names(cap_drop));
    context.set("capabilities", capabilities.filled());
    for option in rights
        .security_opt
        .iter()
        .filter_map(|text| security_option(text))
    {
        let (key, value) = option;
        context.set(key, Some(value));
    }
    context.filled()
}

fn capability_names(names: &[String]) -> Option<Value> {
    let names = names.iter().map(|name| name.strip_prefix("CAP_").unwrap_or(name));
    list(names.map(|name| json!(name)).collect())
}

/// A security option as a field of a container's security context; `None` where none stands for it.
pub(super) fn security_option(text: &str) -> Option<(&'static str, Value)> {
    let (name, value) = text.split_once(['=', ':']).unwrap_or((text, "true"));
    match (name, value) {
        ("no-new-privileges", "true") => Some(("allowPrivilegeEscalation", json!(false))),
        ("no-new-privileges", "false") => Some(("allowPrivilegeEscalation", json!(true))),
        ("seccomp", "unconfined") => Some(("seccompProfile", json!({"type": "Unconfined"}))),
        ("seccomp", "builtin") => Some(("seccompProfile", json!({"type": "RuntimeDefault"}))),
        ("apparmor", "unconfined") => Some(("appArmorProfile", json!({"type": "Unconfined"}))),
        ("apparmor", name) => Some((
            "appArmorProfile",
            json!({"type": "Localhost", "localhostProfile": name}),
        )),
        _ => None,
    }
}

/// `1000` or `1000:1000`.
pub(super) fn numbers_of(user: &str) -> Option<(u32, Option<u32>)> {
    match user.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((user.parse().ok()?, None)),
    }
}

/// What the pod may do.
fn rights_of(pod: &mut Part, rights: &Rights) {
    let Rights {
        privileged: _,
        cap_add: _,
        security_opt: _, // in the container
        group_add,
        devices: _,
        gpus: _,
        ipc,
        pid,
        uts: _,
        userns_mode,
        sysctls,
    } = rights;
    let is_host = |mode: &Option<String>| on(mode.as_deref() == Some("host"));
    pod.set("hostIPC", is_host(ipc));
    pod.set("hostPID", is_host(pid));
    pod.set("hostUsers", is_host(userns_mode));
    let mut context = Part::default();
    let groups = group_add.iter().filter_map(|group| group.parse::<u32>().ok());
    context.set(
        "supplementalGroups",
        list(groups.map(|group| json!(group)).collect()),
    );
    let sysctls = sysctls.iter();
    let sysctls = sysctls.map(|(name, value)| json!({"name": name, "value": value}));
    context.set("sysctls", list(sysctls.collect()));
    pod.set("securityContext", context.filled());
}

/// The pod's name, and whom it asks for those of others.
fn presence_of(pod: &mut Part, presence: &Presence) {
    let Presence {
        hostname,
        domainname: _,
        dns,
        dns_search,
        dns_opt,
        ports: _,
    } = presence;
    pod.set("hostname", hostname.as_ref().map(|name| json!(name)));
    // The servers that are named, and no other.
    pod.set("dnsPolicy", (!dns.is_empty()).then(|| json!("None")));
    let texts = |texts: &[String]| list(texts.iter().map(|text| json!(text)).collect());
    let mut config = Part::default();
    config.set("nameservers", texts(dns));
    config.set("searches", texts(dns_search));
    let options = dns_opt.iter().map(|option| match option.split_once(':') {
        Some((name, value)) => json!({"name": name, "value": value}),
        None => json!({"name": option}),
    });
    config.set("options", list(options.collect()));
    pod.set("dnsConfig", config.filled());
}

/// `linux/arm64/v8`: every node says its own. Another variant has no label.
pub(super) fn node_selector(platform: &str) -> Option<Value> {
    let parts: Vec<&str> = platform.split('/').collect();
    match parts[..] {
        [os] => Some(json!({"kubernetes.io/os": os})),
        [os, arch] | [os, arch @ "arm64", "v8"] => {
            Some(json!({"kubernetes.io/arch": arch, "kubernetes.io/os": os}))
        }
        _ => None,
    }
}
