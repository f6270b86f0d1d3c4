//! The Compose keys of a job, lowered to the container of its runs.
//!
//! A key that Compose knows and this version cannot carry out is an error; nothing is dropped in
//! silence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::{
    ContainerSpec, ExecTarget, FileKind, ImageRef, Logging, PullPolicy, Text, Ulimit, Which,
    validate_container_ref,
};
use crate::policy::Refusal;
use crate::schedule;

use super::canonical::Used;
use super::depends;
use super::diagnostic::{Sink, code};
use super::environment::{self, pairs, text_of};
use super::extension::{ExecKey, NamedTarget};
use super::files;
use super::health;
use super::interpolate::Variables;
use super::keys;
use super::mounts;
use super::network;
use super::presence;
use super::resources;
use super::rights;
use super::values::{self, filled_text, flag, shown, to_text};
use super::yaml::{Entry, Key, Kind, Node, Scalar, Value};
use super::{ManifestFile, PathFact, Settings, Wants};

/// What a job's lowering may look at, and where it reports to.
pub(crate) struct Scope<'a, 'f> {
    pub sink: &'a mut Sink<'f>,
    pub variables: &'a Variables<'a>,
    pub settings: &'a Settings,
    pub manifest: &'a ManifestFile,
    pub paths: &'a BTreeMap<PathBuf, PathFact>,
    pub wants: &'a mut Wants,
    pub project: &'a str,
    pub declared: &'a Declared,
    pub used: Used,
    /// Where something is mounted already.
    pub targets: BTreeSet<String>,
    /// Folders with manifests that this job asked to write to, and was refused.
    pub refused_folders: &'a mut Vec<PathBuf>,
}

/// What stands at the top of the file for its jobs.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub volumes: BTreeMap<String, Resource>,
    pub networks: BTreeMap<String, Resource>,
    pub secrets: BTreeMap<String, files::Declaration>,
    pub configs: BTreeMap<String, files::Declaration>,
    /// `None`: this file has none.
    pub services: Option<BTreeSet<String>>,
}

impl Declared {
    pub fn files(&self, kind: FileKind) -> &BTreeMap<String, files::Declaration> {
        match kind {
            FileKind::Secret => &self.secrets,
            FileKind::Config => &self.configs,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Full name on the engine.
    pub name: String,
    pub external: bool,
}

/// Of a service's keys, those that Compose refuses in a job: they make no sense for what runs to its end.
const SERVICE_KEYS: [&str; 13] = [
    "attach",
    "container_name",
    "deploy",
    "develop",
    "extends",
    "external_links",
    "links",
    "post_start",
    "pre_start",
    "pre_stop",
    "provider",
    "restart",
    "scale",
];

/// Lowers every key of a job but `triggers` and `x-scheduler`. `None` when there is no image to run.
pub(crate) fn container(scope: &mut Scope<'_, '_>, job: &Entry) -> Option<ContainerSpec> {
    let entries = match &job.value.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Scalar(_) | Value::Seq(_) => &[],
    };
    let image = image(scope, job);
    // Without an image the other keys are still worth a look.
    let placeholder = "none".parse::<ImageRef>().ok()?;
    let mut spec = ContainerSpec::of_image(image.clone().unwrap_or(placeholder));
    for entry in entries {
        if is_key_of_a_job(scope.sink, &entry.key) {
            key(scope, entry, &mut spec);
        }
    }
    environment::environment(scope, job, &mut spec);
    network::networks(scope, job, &mut spec);
    files::files(scope, job, &mut spec);
    presence::conflicts(scope.sink, job, spec.network_mode.as_deref());
    resources::conflicts(scope.sink, job, &spec);
    image.map(|_| spec)
}

/// What a command in somebody else's container can have of its own.
const EXEC_KEYS: [&str; 8] = [
    "command",
    "environment",
    "profiles",
    "triggers",
    "tty",
    "user",
    "working_dir",
    "x-scheduler",
];

/// Lowers a job whose command runs in a container that is there already.
pub(crate) fn exec(
    scope: &mut Scope<'_, '_>,
    job: &Entry,
    exec: &ExecKey,
    reuse: Option<bool>,
) -> Option<ContainerSpec> {
    if reuse == Some(true) {
        scope
            .sink
            .error(
                code::CONFLICT,
                exec.span.clone(),
                "`exec` and `container: reuse` exclude each other",
            )
            .help("a command that runs in another container has none of its own");
    }
    let target = target(scope, exec);
    let placeholder = "none".parse::<ImageRef>().ok()?;
    let any = ExecTarget {
        which: Which::Container(String::new()),
        only_project: None,
    };
    let mut spec = ContainerSpec::of_exec(target.clone().unwrap_or(any), placeholder);
    let entries = match &job.value.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Scalar(_) | Value::Seq(_) => &[],
    };
    for entry in entries {
        let name = entry.key.text.as_str();
        let known = keys::JOB.has(name) || keys::JOB.later.contains(&name);
        if known && !EXEC_KEYS.contains(&name) {
            let message = format!("`{name}` has no meaning beside `exec`");
            scope
                .sink
                .error(code::CONFLICT, entry.key.span.clone(), message)
                .label("the container is there already, and is not changed")
                .help(format!("what a command can have there: {}", quoted_exec_keys()));
        } else if is_key_of_a_job(scope.sink, &entry.key) {
            key(scope, entry, &mut spec);
        }
    }
    environment::environment(scope, job, &mut spec);
    if spec.command.as_ref().is_none_or(Vec::is_empty) && !scope.sink.has_errors() {
        scope
            .sink
            .error(
                code::MISSING_KEY,
                job.key.span.clone(),
                format!("job `{}` has no `command`", job.key.text),
            )
            .help("`exec` says where to run it; `command` says what");
        return None;
    }
    target.map(|_| spec)
}

fn quoted_exec_keys() -> String {
    let own = EXEC_KEYS
        .iter()
        .filter(|key| !matches!(**key, "triggers" | "x-scheduler"));
    let quoted: Vec<String> = own.map(|key| format!("`{key}`")).collect();
    quoted.join(", ")
}

/// The target, as far as the operator allows it.
fn target(scope: &mut Scope<'_, '_>, exec: &ExecKey) -> Option<ExecTarget> {
    let which = match exec.which.clone()? {
        NamedTarget::Container(name) => Which::Container(name),
        NamedTarget::Service { service, project } => Which::Service {
            project: project.unwrap_or_else(|| scope.project.to_owned()),
            service,
        },
    };
    match scope.settings.policy.exec(&which, scope.project) {
        Ok(only_project) => Some(ExecTarget { which, only_project }),
        Err(refusal) => {
            refuse(scope.sink, exec.span.clone(), "exec", refusal);
            None
        }
    }
}

/// One key. Flat, so that a key is found by reading.
fn key(scope: &mut Scope<'_, '_>, entry: &Entry, spec: &mut ContainerSpec) {
    let Entry { key, value } = entry;
    let name = key.text.as_str();
    let sink = &mut *scope.sink;
    match name {
        // Read on their own, because they depend on each other or on the whole job.
        "image" | "triggers" | "x-scheduler" | "environment" | "env_file" | "networks" | "secrets"
        | "configs" | "profiles" => {}
        "command" => spec.command = words(sink, value, name),
        "entrypoint" => spec.entrypoint = words(sink, value, name),
        "volumes" => spec.mounts = mounts::volumes(scope, value),
        "tmpfs" => spec.tmpfs = mounts::tmpfs(scope, value),
        "network_mode" => spec.network_mode = network::network_mode(scope, value),
        "user" => spec.user = filled_text(sink, value, name),
        "working_dir" => spec.working_dir = working_dir(sink, value),
        "labels" => spec.labels = labels(sink, value),
        "pull_policy" => spec.pull_policy = pull_policy(sink, value).unwrap_or(PullPolicy::Missing),
        "init" => spec.init = flag(sink, value, name),
        "read_only" => spec.read_only = flag(sink, value, name).unwrap_or(false),
        "tty" => spec.tty = flag(sink, value, name).unwrap_or(false),
        "mem_limit" => spec.mem_limit_bytes = values::bytes(sink, value, name),
        "cpus" => spec.nano_cpus = values::nano_cpus(sink, value, name),
        "stop_signal" => spec.stop_signal = stop_signal(sink, value),
        "stop_grace_period" => spec.stop_grace_period = values::duration(sink, value, name),
        "logging" => spec.logging = logging(sink, value),
        "extra_hosts" => spec.extra_hosts = network::extra_hosts(sink, value),
        "ulimits" => spec.ulimits = ulimits(sink, value),
        "cap_drop" => spec.cap_drop = values::text_list(sink, value, name),
        "depends_on" => depends::depends_on(scope, key, value),
        "platform" => spec.platform = platform(sink, value),
        "stdin_open" => spec.stdin_open = flag(sink, value, name).unwrap_or(false),
        "annotations" => spec.annotations = annotations(sink, value),
        "healthcheck" => spec.healthcheck = health::healthcheck(sink, value),
        "cap_add" | "devices" | "gpus" | "group_add" | "ipc" | "pid" | "privileged" | "security_opt"
        | "sysctls" | "userns_mode" | "uts" => rights::key(scope, entry, &mut spec.rights),
        "cgroup_parent" | "cpu_shares" | "cpuset" | "mem_reservation" | "memswap_limit" | "oom_score_adj"
        | "pids_limit" | "runtime" | "shm_size" => resources::key(sink, entry, &mut spec.resources),
        "dns" | "dns_opt" | "dns_search" | "domainname" | "hostname" | "ports" => {
            presence::key(sink, entry, &mut spec.presence);
        }
        _ => {}
    }
}

/// Whether a key belongs to a job; reports it when it does not.
fn is_key_of_a_job(sink: &mut Sink<'_>, key: &Key) -> bool {
    let name = key.text.as_str();
    if name == "build" {
        sink.error(
            code::UNSUPPORTED,
            key.span.clone(),
            "a job runs an image; it does not build one",
        )
        .help("build and push it elsewhere, and name it under `image`");
        return false;
    }
    if SERVICE_KEYS.contains(&name) {
        sink.error(
            code::UNKNOWN_KEY,
            key.span.clone(),
            format!("`{name}` is for services, not for jobs"),
        )
        .label("a job runs to its end");
        return false;
    }
    values::is_field(sink, key, &keys::JOB)
}

fn image(scope: &mut Scope<'_, '_>, job: &Entry) -> Option<ImageRef> {
    let Some(entry) = job.value.get("image") else {
        if job.value.get("build").is_none() {
            scope
                .sink
                .error(
                    code::MISSING_KEY,
                    job.key.span.clone(),
                    format!("job `{}` has no `image`", job.key.text),
                )
                .help("name the image that it runs: `image: busybox:1.37`");
        }
        return None;
    };
    let scalar = values::text(scope.sink, &entry.value, "image")?;
    match scalar.text.parse() {
        Ok(image) => Some(image),
        Err(error) => {
            let why = if scalar.sensitive {
                "this is not a valid image reference".to_owned()
            } else {
                ToString::to_string(&error)
            };
            scope.sink.error(code::NAME, entry.value.span.clone(), why);
            None
        }
    }
}

/// `command` and `entrypoint`: a list, or one text that is split as a shell would. An empty one takes
/// away what the image says.
fn words(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<Vec<Text>> {
    match &node.value {
        Value::Scalar(scalar) if scalar.kind == Kind::Null => None,
        Value::Scalar(_) => {
            let scalar = values::text(sink, node, what)?;
            let Some(words) = shlex::split(&scalar.text) else {
                sink.error(
                    code::VALUE,
                    node.span.clone(),
                    format!("`{what}` has a quote that is not closed"),
                )
                .help("it is split as a shell would; a list is taken as it is");
                return None;
            };
            Some(words.iter().map(|word| text_of(word, scalar.sensitive)).collect())
        }
        Value::Seq(_) => Some(values::texts(sink, node, what).into_iter().map(to_text).collect()),
        Value::Map(_) => {
            values::wrong_type(sink, node, what, "a text or a list of texts");
            None
        }
    }
}

/// A refusal of policy, with the rule and what would allow it.
pub(crate) fn refuse(sink: &mut Sink<'_>, span: std::ops::Range<usize>, what: &str, refusal: Refusal) {
    let diagnostic = sink.error(
        code::POLICY,
        span,
        format!("`{what}` is refused: {}", refusal.rule),
    );
    if let Some(key) = refusal.key {
        diagnostic.help(format!("the operator's file may allow it: `{key}`"));
    }
}

/// The refusal without the path that a sensitive value leads to.
pub(crate) fn masked(refusal: Refusal, node: &Node) -> Refusal {
    let key = match refusal.key {
        Some(key) if is_sensitive(node) => key.split(':').next().map(str::to_owned),
        key => key,
    };
    Refusal { key, ..refusal }
}

/// `docker volume` and `docker network` names: they reach the engine's URLs, and a name such as `host`
/// or `container:x` would be read as a mode.
pub(crate) fn is_resource_name(name: &str) -> bool {
    validate_container_ref(name).is_ok()
}

pub(crate) fn resource_name(sink: &mut Sink<'_>, node: &Node, name: &str, noun: &str) -> Option<String> {
    if is_resource_name(name) {
        return Some(name.to_owned());
    }
    sink.error(
        code::NAME,
        node.span.clone(),
        format!("this is not a name for a {noun}"),
    )
    .help("letters, digits, `_`, `.` and `-`, beginning with a letter or a digit");
    None
}

fn working_dir(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let text = filled_text(sink, node, "working_dir")?;
    if text.starts_with('/') {
        return Some(text);
    }
    sink.error(
        code::VALUE,
        node.span.clone(),
        "`working_dir` must be an absolute path in the container",
    );
    None
}

fn labels(sink: &mut Sink<'_>, node: &Node) -> BTreeMap<String, Text> {
    let mut out = BTreeMap::new();
    for pair in pairs(sink, node, "labels") {
        let at = pair.node.span.clone();
        let shown = if pair.masked {
            "(masked)"
        } else {
            pair.name.as_str()
        };
        if pair.name.is_empty() {
            sink.error(code::VALUE, at, "a label without a name");
        } else if pair.name.starts_with("docker-scheduler.") {
            let message = format!("label `{shown}` is reserved: the scheduler knows its containers by it");
            sink.error(code::NAME, at, message);
        } else if pair.name.starts_with("com.docker.job.") {
            let message = format!("label `{shown}` is reserved: the engine knows its own jobs by it");
            sink.error(code::NAME, at, message);
        } else if pair.name.starts_with("com.docker.compose.") {
            let message = format!("label `{shown}` would make Compose remove this container");
            sink.error(code::NAME, at, message)
                .help("`docker compose down --remove-orphans` takes whatever carries its labels");
        } else {
            out.insert(pair.name, pair.value.unwrap_or_else(|| Text::plain("")));
        }
    }
    out
}

fn pull_policy(sink: &mut Sink<'_>, node: &Node) -> Option<PullPolicy> {
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    let scalar = values::text(sink, node, "pull_policy")?;
    if let Some(period) = scalar.text.strip_prefix("every_") {
        return match schedule::parse_duration(period) {
            Ok(period) => Some(PullPolicy::Every(period)),
            Err(_) => {
                sink.error(
                    code::DURATION,
                    node.span.clone(),
                    format!("`pull_policy: {}` has no duration", shown(scalar)),
                )
                .help("such as `every_12h` or `every_2d`");
                None
            }
        };
    }
    if scalar.text == "build" {
        sink.error(code::UNSUPPORTED, node.span.clone(), "a job builds no image");
        return None;
    }
    let words = [
        ("always", PullPolicy::Always),
        ("missing", PullPolicy::Missing),
        ("if_not_present", PullPolicy::Missing),
        ("never", PullPolicy::Never),
        ("daily", PullPolicy::Every(DAY)),
        ("weekly", PullPolicy::Every(DAY * 7)),
    ];
    values::word(sink, node, "pull_policy", &words)
}

/// `os[/architecture[/variant]]`
fn platform(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let text = filled_text(sink, node, "platform")?;
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-'))
    };
    if text.split('/').count() <= 3 && text.split('/').all(is_part) {
        return Some(text);
    }
    sink.error(code::VALUE, node.span.clone(), "`platform` is not a platform")
        .help("such as `linux/amd64`, `linux/arm64` or `linux/arm/v7`");
    None
}

fn annotations(sink: &mut Sink<'_>, node: &Node) -> BTreeMap<String, Text> {
    let mut out = BTreeMap::new();
    for pair in pairs(sink, node, "annotations") {
        if pair.name.is_empty() {
            sink.error(
                code::VALUE,
                pair.node.span.clone(),
                "an annotation without a name",
            );
            continue;
        }
        out.insert(pair.name, pair.value.unwrap_or_else(|| Text::plain("")));
    }
    out
}

fn stop_signal(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let text = filled_text(sink, node, "stop_signal")?;
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-');
    if text.len() <= 20 && text.chars().all(known) {
        return Some(text);
    }
    sink.error(code::VALUE, node.span.clone(), "`stop_signal` is not a signal")
        .help("such as `SIGTERM`, `SIGINT` or `9`");
    None
}

fn logging(sink: &mut Sink<'_>, node: &Node) -> Option<Logging> {
    let mut out = Logging {
        driver: String::new(),
        options: BTreeMap::new(),
    };
    values::mapping(sink, node, "logging")?;
    for Entry { key, value } in values::fields(sink, node, "logging", &keys::LOGGING) {
        match key.text.as_str() {
            "driver" => out.driver = filled_text(sink, value, "driver").unwrap_or_default(),
            "options" => {
                for Entry { key, value } in
                    values::optional_mapping(sink, value, "options").unwrap_or_default()
                {
                    let found = values::scalar(sink, value, &key.text, "a text or a number");
                    out.options
                        .extend(found.map(|scalar| (key.text.clone(), scalar.as_text())));
                }
            }
            _ => {}
        }
    }
    Some(out)
}

fn ulimits(sink: &mut Sink<'_>, node: &Node) -> BTreeMap<String, Ulimit> {
    let mut out = BTreeMap::new();
    for Entry { key, value } in values::mapping(sink, node, "ulimits").unwrap_or_default() {
        let limit = if let Value::Map(_) = &value.value {
            let (mut soft, mut hard) = (None, None);
            for Entry { key, value } in values::fields(sink, value, &key.text, &keys::ULIMIT) {
                match key.text.as_str() {
                    "soft" => soft = values::integer(sink, value, "soft"),
                    "hard" => hard = values::integer(sink, value, "hard"),
                    _ => {}
                }
            }
            if soft.is_none() || hard.is_none() {
                sink.error(
                    code::MISSING_KEY,
                    key.span.clone(),
                    format!("ulimit `{}` needs `soft` and `hard`", key.text),
                );
            }
            soft.zip(hard).map(|(soft, hard)| Ulimit { soft, hard })
        } else {
            values::integer(sink, value, &key.text).map(|both| Ulimit {
                soft: both,
                hard: both,
            })
        };
        out.extend(limit.map(|limit| (key.text.clone(), limit)));
    }
    out
}

/// Whether a scalar came from outside of the file.
pub(crate) fn is_sensitive(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(Scalar { sensitive: true, .. }))
}
