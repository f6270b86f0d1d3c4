//! The Compose keys of a job, lowered to the container of its runs.
//!
//! A key that Compose knows and this version cannot carry out is an error; nothing is dropped in
//! silence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::{
    ContainerSpec, ImageRef, Logging, NetworkAttachment, PullPolicy, Text, Ulimit, validate_container_ref,
};
use crate::policy::{Ask, PathAsk, Refusal};
use crate::schedule;

use super::canonical::Used;
use super::diagnostic::{Sink, code};
use super::dotenv;
use super::interpolate::{Variables, not_listed};
use super::mounts;
use super::values::{self, filled_text, flag, is_extension, shown, to_text, unknown_key};
use super::yaml::{Entry, Kind, Node, Scalar, Value};
use super::{EnvFile, ManifestFile, PathFact, Settings, Wants};

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

/// Volumes and networks at the top of the file.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub volumes: BTreeMap<String, Resource>,
    pub networks: BTreeMap<String, Resource>,
    pub has_services: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Full name on the engine.
    pub name: String,
    pub external: bool,
}

/// What `container` and `file` read between them.
pub(crate) const KEYS: [&str; 29] = [
    "cap_drop",
    "command",
    "cpus",
    "entrypoint",
    "env_file",
    "environment",
    "extra_hosts",
    "image",
    "init",
    "labels",
    "logging",
    "mem_limit",
    "network_mode",
    "networks",
    "privileged",
    "cap_add",
    "devices",
    "pull_policy",
    "read_only",
    "stop_grace_period",
    "stop_signal",
    "tmpfs",
    "triggers",
    "tty",
    "ulimits",
    "user",
    "volumes",
    "working_dir",
    "x-scheduler",
];

/// Compose knows them for jobs; this version does not.
const LATER_KEYS: [&str; 42] = [
    "annotations",
    "blkio_config",
    "cgroup",
    "cgroup_parent",
    "configs",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpuset",
    "credential_spec",
    "depends_on",
    "device_cgroup_rules",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "extends",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "isolation",
    "mac_address",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "oom_kill_disable",
    "oom_score_adj",
    "pids_limit",
    "platform",
    "ports",
    "profiles",
    "runtime",
    "secrets",
    "shm_size",
    "stdin_open",
    "storage_opt",
    "sysctls",
];

/// Of a service's keys, those that make no sense for what runs to its end.
const SERVICE_KEYS: [&str; 9] = [
    "attach",
    "container_name",
    "deploy",
    "develop",
    "expose",
    "links",
    "post_start",
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
        key(scope, entry, &mut spec);
    }
    environment(scope, job, &mut spec);
    networks(scope, job, &mut spec);
    image.map(|_| spec)
}

/// One key. Flat, so that a key is found by reading.
fn key(scope: &mut Scope<'_, '_>, Entry { key, value }: &Entry, spec: &mut ContainerSpec) {
    let name = key.text.as_str();
    let sink = &mut *scope.sink;
    match name {
        // Read on their own, because they depend on each other or on the whole job.
        "image" | "triggers" | "x-scheduler" | "environment" | "env_file" | "networks" => {}
        "command" => spec.command = words(sink, value, name),
        "entrypoint" => spec.entrypoint = words(sink, value, name),
        "volumes" => spec.mounts = mounts::volumes(scope, value),
        "tmpfs" => spec.tmpfs = mounts::tmpfs(scope, value),
        "network_mode" => spec.network_mode = network_mode(scope, value),
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
        "extra_hosts" => spec.extra_hosts = extra_hosts(sink, value),
        "ulimits" => spec.ulimits = ulimits(sink, value),
        "cap_drop" => {
            let found = values::texts(sink, value, name);
            spec.cap_drop = found.into_iter().map(|scalar| scalar.text.clone()).collect();
        }
        "privileged" | "cap_add" | "devices" | "pid" | "ipc" | "userns_mode" | "uts" | "security_opt" => {
            host_key(scope, key.span.clone(), name, value);
        }
        "build" => {
            sink.error(
                code::UNSUPPORTED,
                key.span.clone(),
                "a job runs an image; it does not build one",
            )
            .help("build and push it elsewhere, and name it under `image`");
        }
        _ if is_extension(name) => {}
        _ if SERVICE_KEYS.contains(&name) => {
            sink.error(
                code::UNKNOWN_KEY,
                key.span.clone(),
                format!("`{name}` is for services, not for jobs"),
            )
            .label("a job runs to its end");
        }
        _ => unknown_key(sink, key, "a job", &KEYS, &LATER_KEYS),
    }
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

/// One of `environment` or `labels`.
struct Pair<'n> {
    name: String,
    /// `None` where there is none.
    value: Option<Text>,
    node: &'n Node,
    /// The name is part of a sensitive text.
    masked: bool,
}

/// Pairs of a mapping (`K: v`) or a list (`K=v`).
fn pairs<'n>(sink: &mut Sink<'_>, node: &'n Node, what: &str) -> Vec<Pair<'n>> {
    match &node.value {
        Value::Map(entries) => {
            let mut found = Vec::new();
            for Entry { key, value } in entries {
                let name = key.text.clone();
                let mut text = None;
                if !value.is_null() {
                    let scalar = values::scalar(sink, value, &name, "a text, a number or a boolean");
                    let Some(scalar) = scalar else { continue };
                    text = Some(to_text(scalar));
                }
                found.push(Pair {
                    name,
                    value: text,
                    node: value,
                    masked: false,
                });
            }
            found
        }
        Value::Seq(items) => {
            let mut found = Vec::new();
            for item in items {
                let Some(scalar) = values::text(sink, item, &format!("{what}[]")) else {
                    continue;
                };
                let (name, value) = match scalar.text.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (scalar.text.as_str(), None),
                };
                found.push(Pair {
                    name: name.to_owned(),
                    value: value.map(|value| text_of(value, scalar.sensitive)),
                    node: item,
                    masked: scalar.sensitive,
                });
            }
            found
        }
        Value::Scalar(_) => {
            values::wrong_type(
                sink,
                node,
                what,
                "a mapping (`NAME: value`) or a list (`NAME=value`)",
            );
            Vec::new()
        }
    }
}

fn text_of(value: &str, sensitive: bool) -> Text {
    if sensitive {
        Text::sensitive(value)
    } else {
        Text::plain(value)
    }
}

/// Env files in their order, then `environment` over them.
fn environment(scope: &mut Scope<'_, '_>, job: &Entry, spec: &mut ContainerSpec) {
    if let Some(entry) = job.value.get("env_file") {
        env_files(scope, &entry.value, &mut spec.environment);
    }
    let Some(entry) = job.value.get("environment") else {
        return;
    };
    for pair in pairs(scope.sink, &entry.value, "environment") {
        let at = pair.node.span.clone();
        if pair.name.is_empty() {
            scope.sink.error(code::VALUE, at, "a variable without a name");
            continue;
        }
        // A name alone takes its value from where variables come from, or is left out.
        let inherited = scope.variables.get(&pair.name);
        let inherited = || inherited.map(|(value, sensitive)| text_of(value, sensitive));
        match pair.value.or_else(inherited) {
            Some(value) => drop(spec.environment.insert(pair.name, value)),
            None if scope.variables.unlisted.contains(&pair.name) && !pair.masked => {
                let name = pair.name;
                scope
                    .sink
                    .warning(
                        code::INTERPOLATION,
                        at,
                        format!("variable `{name}` has no value and is left out"),
                    )
                    .help(not_listed(&name));
            }
            None => {}
        }
    }
}

fn env_files(scope: &mut Scope<'_, '_>, node: &Node, out: &mut BTreeMap<String, Text>) {
    let items = match &node.value {
        Value::Seq(items) => items.as_slice(),
        Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(node),
    };
    for item in items {
        let mut path = None;
        let mut required = true;
        let mut raw = false;
        match &item.value {
            Value::Map(entries) => {
                for Entry { key, value } in entries {
                    match key.text.as_str() {
                        "path" => path = Some(value),
                        "required" => required = flag(scope.sink, value, "required").unwrap_or(true),
                        "format" => {
                            raw =
                                values::word(scope.sink, value, "format", &[("raw", true)]).unwrap_or(false);
                        }
                        _ => unknown_key(
                            scope.sink,
                            key,
                            "an entry of `env_file`",
                            &["format", "path", "required"],
                            &[],
                        ),
                    }
                }
                if path.is_none() {
                    scope.sink.error(
                        code::MISSING_KEY,
                        item.span.clone(),
                        "this env file has no `path`",
                    );
                }
            }
            Value::Scalar(_) | Value::Seq(_) => path = Some(item),
        }
        if let Some(path) = path {
            env_file(scope, path, required, raw, out);
        }
    }
}

/// One env file. Neither its lines nor its values come into a message.
fn env_file(
    scope: &mut Scope<'_, '_>,
    node: &Node,
    required: bool,
    raw: bool,
    out: &mut BTreeMap<String, Text>,
) {
    let Some(written) = filled_text(scope.sink, node, "env_file") else {
        return;
    };
    let Some(path) = mounts::absolute(scope, node, &written) else {
        return;
    };
    let text = match scope.manifest.env_files.get(&path) {
        None => {
            let wants = scope
                .wants
                .env_files
                .entry(scope.manifest.path.clone())
                .or_default();
            wants.insert(path);
            return;
        }
        Some(EnvFile::Missing) => {
            if required {
                scope
                    .sink
                    .error(code::REFERENCE, node.span.clone(), "this env file does not exist")
                    .help("write `{path: …, required: false}` if it may be missing");
            }
            return;
        }
        Some(EnvFile::Unreadable(why)) => {
            let message = format!("this env file cannot be read: {why}");
            scope.sink.error(code::REFERENCE, node.span.clone(), message);
            return;
        }
        Some(EnvFile::Text { real, text }) => {
            let ask = Ask::Read(PathAsk {
                path: real,
                written: &path,
                folder: &scope.manifest.folder,
                holds: None,
            });
            if let Err(refusal) = scope.settings.policy.check(ask) {
                return refuse(scope.sink, node.span.clone(), "env_file", masked(refusal, node));
            }
            text
        }
    };
    if !scope.variables.spend(text.len()) {
        scope.sink.error(
            code::LIMIT,
            node.span.clone(),
            "the env files of this manifest are too large",
        );
        return;
    }
    let parsed = if raw {
        dotenv::parse_raw(text)
    } else {
        dotenv::parse(text, scope.variables)
    };
    match parsed {
        Ok(found) => out.extend(
            found
                .into_iter()
                .map(|(name, value)| (name, Text::sensitive(value))),
        ),
        Err(errors) => {
            for error in errors {
                let message = format!("line {} of this env file: {}", error.line, error.message);
                scope.sink.error(code::ENV_FILE, node.span.clone(), message);
            }
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

/// Keys that give away the host. Denied by policy; where policy allows them, this version cannot carry
/// them out yet. Their harmless values ask for nothing.
fn host_key(scope: &mut Scope<'_, '_>, at: std::ops::Range<usize>, name: &str, value: &Node) {
    let texts: Vec<&str> = match &value.value {
        Value::Scalar(scalar) => vec![scalar.text.as_str()],
        Value::Seq(items) => items.iter().filter_map(as_text).collect(),
        Value::Map(_) => Vec::new(),
    };
    let is_host = texts.contains(&"host");
    let ask = match name {
        "privileged" => match flag(scope.sink, value, name) {
            Some(true) => Ask::Privileged,
            Some(false) | None => return,
        },
        "cap_add" | "devices" if matches!(&value.value, Value::Seq(items) if items.is_empty()) => return,
        "cap_add" => Ask::CapAdd,
        "devices" => Ask::Devices,
        "pid" if is_host => Ask::HostPid,
        "ipc" if is_host => Ask::HostIpc,
        "uts" if is_host => Ask::HostNetwork,
        "userns_mode" if is_host => Ask::HostUserns,
        "security_opt" if texts.iter().any(|text| gives_up_confinement(text)) => Ask::Unconfined,
        _ => return unsupported(scope.sink, at, name),
    };
    match scope.settings.policy.check(ask) {
        Err(refusal) => refuse(scope.sink, at, name, refusal),
        Ok(()) => unsupported(scope.sink, at, name),
    }
}

fn as_text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        Value::Seq(_) | Value::Map(_) => None,
    }
}

fn gives_up_confinement(option: &str) -> bool {
    option.contains("unconfined") || option.replace('=', ":").starts_with("label:disable")
}

fn unsupported(sink: &mut Sink<'_>, at: std::ops::Range<usize>, name: &str) {
    sink.error(
        code::UNSUPPORTED,
        at,
        format!("`{name}` is known, but not supported yet"),
    )
    .label("this version cannot carry it out, and nothing is silently dropped");
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

fn networks(scope: &mut Scope<'_, '_>, job: &Entry, spec: &mut ContainerSpec) {
    let entry = job.value.get("networks").filter(|entry| !entry.value.is_null());
    let mode = job.value.get("network_mode");
    let Some(entry) = entry else {
        let has_default = scope.declared.has_services || scope.declared.networks.contains_key("default");
        if mode.is_none() && has_default {
            spec.networks.push(attachment(scope, "default"));
        }
        return;
    };
    if let Some(mode) = mode {
        let at = mode.key.span.clone();
        scope.sink.error(
            code::CONFLICT,
            at,
            "`network_mode` and `networks` exclude each other",
        );
        return;
    }
    match &entry.value.value {
        Value::Map(entries) => {
            for Entry { key, value } in entries {
                let found = network(scope, &key.text, key.span.clone(), false);
                spec.networks
                    .extend(found.map(|found| network_options(scope.sink, value, found)));
            }
        }
        Value::Seq(_) => {
            for item in values::list(scope.sink, &entry.value, "networks").unwrap_or_default() {
                let name = filled_text(scope.sink, item, "networks[]");
                spec.networks.extend(
                    name.and_then(|name| network(scope, &name, item.span.clone(), is_sensitive(item))),
                );
            }
        }
        Value::Scalar(_) => {
            values::wrong_type(scope.sink, &entry.value, "networks", "a list or a mapping");
        }
    }
}

/// A network that the file declares; `default` needs no declaration.
fn network(
    scope: &mut Scope<'_, '_>,
    key: &str,
    at: std::ops::Range<usize>,
    masked: bool,
) -> Option<NetworkAttachment> {
    if key != "default" && !scope.declared.networks.contains_key(key) {
        if masked {
            let message = "this network is not declared in this file";
            scope.sink.error(code::REFERENCE, at, message);
            return None;
        }
        let declared = scope.declared;
        let near = values::nearest(key, declared.networks.keys().map(String::as_str));
        let diagnostic = scope.sink.error(
            code::REFERENCE,
            at,
            format!("network `{key}` is not declared in this file"),
        );
        match near {
            Some(near) => diagnostic.help(format!("a network with a similar name is declared: `{near}`")),
            None => diagnostic.help(format!(
                "declare it at the top level: `networks: {{{key}: {{external: true}}}}`"
            )),
        };
        return None;
    }
    let found = attachment(scope, key);
    // A network of that name is the host's own, whatever key it hides behind.
    if found.name == "host"
        && let Err(refusal) = scope.settings.policy.check(Ask::HostNetwork)
    {
        refuse(scope.sink, at, "networks", refusal);
        return None;
    }
    Some(found)
}

fn attachment(scope: &mut Scope<'_, '_>, key: &str) -> NetworkAttachment {
    scope.used.networks.insert(key.to_owned());
    let declared = scope.declared.networks.get(key);
    NetworkAttachment {
        name: declared.map_or_else(|| format!("{}_{key}", scope.project), |found| found.name.clone()),
        aliases: Vec::new(),
        ipv4_address: None,
        ipv6_address: None,
    }
}

fn network_options(sink: &mut Sink<'_>, node: &Node, mut out: NetworkAttachment) -> NetworkAttachment {
    const KEYS: [&str; 3] = ["aliases", "ipv4_address", "ipv6_address"];
    const LATER: [&str; 6] = [
        "driver_opts",
        "gw_priority",
        "interface_name",
        "link_local_ips",
        "mac_address",
        "priority",
    ];
    for Entry { key, value } in values::optional_mapping(sink, node, "networks").unwrap_or_default() {
        let name = key.text.as_str();
        match name {
            "aliases" => {
                let found = values::texts(sink, value, name);
                out.aliases = found.into_iter().map(|scalar| scalar.text.clone()).collect();
            }
            "ipv4_address" => out.ipv4_address = address::<std::net::Ipv4Addr>(sink, value, name),
            "ipv6_address" => out.ipv6_address = address::<std::net::Ipv6Addr>(sink, value, name),
            _ if is_extension(name) => {}
            _ => unknown_key(sink, key, "a network of a job", &KEYS, &LATER),
        }
    }
    out
}

fn address<T: std::str::FromStr>(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<String> {
    let text = filled_text(sink, node, what)?;
    if text.parse::<T>().is_err() {
        sink.error(
            code::VALUE,
            node.span.clone(),
            format!("`{what}` is not an address"),
        );
        return None;
    }
    Some(text)
}

fn network_mode(scope: &mut Scope<'_, '_>, node: &Node) -> Option<String> {
    let mode = filled_text(scope.sink, node, "network_mode")?;
    if mode == "host" {
        if let Err(refusal) = scope.settings.policy.check(Ask::HostNetwork) {
            refuse(scope.sink, node.span.clone(), "network_mode: host", refusal);
            return None;
        }
        return Some(mode);
    }
    if mode.starts_with("service:") {
        scope
            .sink
            .error(
                code::UNSUPPORTED,
                node.span.clone(),
                "a job cannot share a service's network",
            )
            .help("name the container: `network_mode: \"container:NAME\"`");
        return None;
    }
    let name = mode.strip_prefix("container:").unwrap_or(&mode);
    resource_name(scope.sink, node, name, "network mode").map(|_| mode)
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
    for Entry { key, value } in values::mapping(sink, node, "logging")? {
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
            name if is_extension(name) => {}
            _ => unknown_key(sink, key, "`logging`", &["driver", "options"], &[]),
        }
    }
    Some(out)
}

/// `host:ip` or `host=ip` in a list, or a mapping of host to one ip or several.
fn extra_hosts(sink: &mut Sink<'_>, node: &Node) -> Vec<(String, String)> {
    let mut out = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            for Entry { key, value } in entries {
                let addresses = match &value.value {
                    Value::Seq(items) => items.as_slice(),
                    Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(value),
                };
                for address in addresses {
                    if let Some(text) = filled_text(sink, address, &key.text) {
                        out.extend(host(sink, address, &key.text, &text));
                    }
                }
            }
        }
        Value::Seq(_) | Value::Scalar(_) => {
            for item in values::list(sink, node, "extra_hosts").unwrap_or_default() {
                let Some(text) = filled_text(sink, item, "extra_hosts[]") else {
                    continue;
                };
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((name, address)) => out.extend(host(sink, item, name, address)),
                    None => {
                        sink.error(code::VALUE, item.span.clone(), "an extra host is `NAME=ADDRESS`");
                    }
                }
            }
        }
    }
    out
}

fn host(sink: &mut Sink<'_>, node: &Node, name: &str, address: &str) -> Option<(String, String)> {
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    let is_address = bare == "host-gateway" || bare.parse::<std::net::IpAddr>().is_ok();
    if name.is_empty() || !is_address {
        sink.error(code::VALUE, node.span.clone(), "an extra host is `NAME=ADDRESS`")
            .help("the address is an IPv4 or IPv6 address, or `host-gateway`");
        return None;
    }
    Some((name.to_owned(), bare.to_owned()))
}

fn ulimits(sink: &mut Sink<'_>, node: &Node) -> BTreeMap<String, Ulimit> {
    let mut out = BTreeMap::new();
    for Entry { key, value } in values::mapping(sink, node, "ulimits").unwrap_or_default() {
        let limit = if let Value::Map(entries) = &value.value {
            let (mut soft, mut hard) = (None, None);
            for Entry { key, value } in entries {
                match key.text.as_str() {
                    "soft" => soft = values::integer(sink, value, "soft"),
                    "hard" => hard = values::integer(sink, value, "hard"),
                    name if is_extension(name) => {}
                    _ => unknown_key(sink, key, "an ulimit", &["hard", "soft"], &[]),
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
