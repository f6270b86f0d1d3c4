//! The operator's own file: what a writer of manifests must not decide.
//!
//! Read by the manifests' reader, with the same messages. It is never looked for in or beside the watched
//! directory, which a committer can write. Pure: `cli` finds and opens the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::manifest::reader::{self as values, Entry, Node, Sink, code, unknown_key};
use crate::manifest::{Diagnostic, HostPaths, Settings};
use crate::model::{EngineName, Glob, Instance};
use crate::policy::Rules;
use crate::schedule;

/// What the operator decides; the default is that of a missing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `None` leaves it to the command line and the default.
    pub instance: Option<Instance>,
    /// `None` leaves it to the command line and the default.
    pub engine: Option<EngineName>,
    /// A context of the kubeconfig.
    pub kube_context: Option<String>,
    /// Where in a cluster.
    pub namespace: Option<String>,
    /// As in `DOCKER_HOST`.
    pub host: Option<String>,
    /// A docker context by name.
    pub context: Option<String>,
    pub state: Option<PathBuf>,
    /// Zone of schedules that name none.
    pub timezone: String,
    /// Variables of the scheduler's environment that manifests may use.
    pub interpolate: BTreeSet<String>,
    pub arm: Arm,
    pub policy: Rules,
    pub limits: Limits,
    /// How many containers of a group run at once; a group that is not listed runs one.
    pub groups: BTreeMap<String, u32>,
    /// Profiles whose jobs are wanted; `*` is all of them.
    pub profiles: BTreeSet<String>,
}

/// Whether the container of a job's next slot is created ahead of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Arm {
    #[default]
    Always,
    Never,
}

/// How much is asked of the engine at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Starts under way.
    pub starts: u32,
    /// Armed containers.
    pub armed: u32,
    /// Containers that run at once, of all jobs together; `None`: as many as are due.
    pub running: Option<u32>,
}

impl Default for Limits {
    /// Four starts at once are the engine's best on two cores (measured); 500 armed containers are
    /// listed in a moment.
    fn default() -> Limits {
        Limits {
            starts: 4,
            armed: 500,
            running: None,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            instance: None,
            engine: None,
            kube_context: None,
            namespace: None,
            host: None,
            context: None,
            state: None,
            timezone: "UTC".to_owned(),
            interpolate: BTreeSet::new(),
            arm: Arm::Always,
            policy: Rules::default(),
            limits: Limits::default(),
            groups: BTreeMap::new(),
            profiles: BTreeSet::new(),
        }
    }
}

/// Every key of the file.
pub const KEYS: [&str; 14] = [
    "arm",
    "context",
    "engine",
    "groups",
    "host",
    "instance",
    "interpolate",
    "kube_context",
    "limits",
    "namespace",
    "policy",
    "profiles",
    "state",
    "timezone",
];
/// Every key of its `policy`.
pub const POLICY_KEYS: [&str; 13] = [
    "allow_cap_add",
    "allow_devices",
    "allow_docker_socket",
    "allow_gpus",
    "allow_host_ipc",
    "allow_host_network",
    "allow_host_pid",
    "allow_host_userns",
    "allow_host_uts",
    "allow_privileged",
    "allow_unconfined",
    "bind_roots",
    "exec",
];
const LATER_KEYS: [&str; 3] = ["listen", "notify", "token"];

impl Config {
    /// What manifests are loaded with. `environment` is the scheduler's own; of what is not listed only
    /// the names are kept. Paths in the rules must have been resolved.
    #[must_use]
    pub fn settings(&self, environment: impl IntoIterator<Item = (String, String)>) -> Settings {
        let (listed, unlisted): (BTreeMap<String, String>, BTreeMap<String, String>) = environment
            .into_iter()
            .partition(|(name, _)| self.interpolate.contains(name));
        Settings {
            default_timezone: self.timezone.clone(),
            interpolate: listed,
            set_but_unlisted: unlisted.into_keys().collect(),
            policy: self.policy.clone(),
            host: HostPaths::default(),
            profiles: self.profiles.clone(),
        }
    }
}

/// Where the file is looked for when none is named: `/etc/docker-scheduler/config.yaml` for root, else
/// below `$XDG_CONFIG_HOME`, or where the system keeps a user's settings (`own_config`: `~/.config`).
#[must_use]
pub fn default_path(
    is_root: bool,
    xdg_config_home: Option<&Path>,
    own_config: Option<&Path>,
) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from("/etc/docker-scheduler/config.yaml"));
    }
    let base = xdg_config_home.filter(|path| path.is_absolute()).or(own_config)?;
    Some(base.join("docker-scheduler/config.yaml"))
}

/// Reads the file's text. `file` is its path for messages. A file with errors must not be used: a rule
/// that was not understood could be the one that matters.
#[must_use]
pub fn parse(file: &str, text: &str) -> (Config, Vec<Diagnostic>) {
    let mut sink = Sink::new(file, text);
    let mut config = Config::default();
    if let Some(root) = values::parse(text, &mut sink) {
        for entry in values::optional_mapping(&mut sink, &root, "the operator's file").unwrap_or_default() {
            key(&mut sink, entry, &mut config);
        }
    }
    if config.host.is_some() && config.context.is_some() {
        sink.file_error(code::CONFLICT, "`host` and `context` exclude each other");
    }
    (config, sink.finish())
}

fn key(sink: &mut Sink<'_>, Entry { key, value }: &Entry, config: &mut Config) {
    let name = key.text.as_str();
    match name {
        "instance" => config.instance = instance(sink, value),
        "engine" => config.engine = engine(sink, value),
        "host" => config.host = values::filled_text(sink, value, name),
        "context" => config.context = values::filled_text(sink, value, name),
        "kube_context" => config.kube_context = values::filled_text(sink, value, name),
        "namespace" => config.namespace = namespace(sink, value),
        "state" => config.state = absolute_path(sink, value, name),
        "timezone" => {
            if let Some(zone) = timezone(sink, value) {
                config.timezone = zone;
            }
        }
        "interpolate" => config.interpolate = variables(sink, value),
        "arm" => {
            let words = [("always", Arm::Always), ("never", Arm::Never)];
            config.arm = values::word(sink, value, name, &words).unwrap_or_default();
        }
        "policy" => config.policy = policy(sink, value),
        "limits" => config.limits = limits(sink, value),
        "groups" => config.groups = groups(sink, value),
        "profiles" => {
            for item in values::list(sink, value, name).unwrap_or_default() {
                config
                    .profiles
                    .extend(values::filled_text(sink, item, "profiles[]"));
            }
        }
        name if name.starts_with("x-") => {}
        _ => unknown_key(sink, key, "the operator's file", &KEYS, &LATER_KEYS),
    }
}

fn instance(sink: &mut Sink<'_>, node: &Node) -> Option<Instance> {
    let text = values::filled_text(sink, node, "instance")?;
    match text.parse() {
        Ok(instance) => Some(instance),
        Err(error) => {
            sink.error(code::NAME, node.span.clone(), format!("{error}"));
            None
        }
    }
}

fn engine(sink: &mut Sink<'_>, node: &Node) -> Option<EngineName> {
    let words = EngineName::ALL.map(|name| (name.as_str(), name));
    values::word(sink, node, "engine", &words)
}

fn namespace(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let text = values::filled_text(sink, node, "namespace")?;
    if is_namespace(&text) {
        return Some(text);
    }
    sink.error(
        code::NAME,
        node.span.clone(),
        "a namespace is lower-case letters, digits and dashes, at most 63",
    );
    None
}

/// Whether a text is a DNS label, as namespaces are named.
#[must_use]
pub fn is_namespace(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && is_end(text.chars().next())
        && is_end(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn timezone(sink: &mut Sink<'_>, node: &Node) -> Option<String> {
    let text = values::filled_text(sink, node, "timezone")?;
    match schedule::check_timezone(&text) {
        Ok(_) => Some(text),
        Err(error) => {
            sink.error(code::TIMEZONE, node.span.clone(), error.message).help = error.help;
            None
        }
    }
}

fn absolute_path(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<PathBuf> {
    let text = values::filled_text(sink, node, what)?;
    let path = PathBuf::from(text);
    if path.is_absolute() {
        return Some(path);
    }
    sink.error(
        code::VALUE,
        node.span.clone(),
        format!("`{what}` must be an absolute path"),
    );
    None
}

fn variables(sink: &mut Sink<'_>, node: &Node) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for item in values::list(sink, node, "interpolate").unwrap_or_default() {
        let Some(name) = values::filled_text(sink, item, "interpolate[]") else {
            continue;
        };
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if is_name {
            out.insert(name);
        } else {
            sink.error(
                code::NAME,
                item.span.clone(),
                "this is not the name of a variable; each is listed by its full name",
            );
        }
    }
    out
}

fn policy(sink: &mut Sink<'_>, node: &Node) -> Rules {
    let mut rules = Rules::default();
    for Entry { key, value } in values::optional_mapping(sink, node, "policy").unwrap_or_default() {
        let name = key.text.as_str();
        let switch = match name {
            "allow_cap_add" => &mut rules.allow_cap_add,
            "allow_devices" => &mut rules.allow_devices,
            "allow_docker_socket" => &mut rules.allow_docker_socket,
            "allow_host_ipc" => &mut rules.allow_host_ipc,
            "allow_host_network" => &mut rules.allow_host_network,
            "allow_host_pid" => &mut rules.allow_host_pid,
            "allow_host_userns" => &mut rules.allow_host_userns,
            "allow_host_uts" => &mut rules.allow_host_uts,
            "allow_gpus" => &mut rules.allow_gpus,
            "allow_privileged" => &mut rules.allow_privileged,
            "allow_unconfined" => &mut rules.allow_unconfined,
            "bind_roots" => {
                for item in values::list(sink, value, name).unwrap_or_default() {
                    rules.bind_roots.extend(absolute_path(sink, item, "bind_roots[]"));
                }
                continue;
            }
            "exec" => {
                for item in values::list(sink, value, name).unwrap_or_default() {
                    rules.exec.extend(pattern(sink, item));
                }
                continue;
            }
            _ => {
                unknown_key(sink, key, "`policy`", &POLICY_KEYS, &[]);
                continue;
            }
        };
        *switch = values::flag(sink, value, name).unwrap_or(false);
    }
    rules
}

/// A container or a project, or several by `*` and `?`.
fn pattern(sink: &mut Sink<'_>, node: &Node) -> Option<Glob> {
    let text = values::filled_text(sink, node, "exec[]")?;
    match text.parse() {
        Ok(glob) => Some(glob),
        Err(why) => {
            sink.error(code::NAME, node.span.clone(), why);
            None
        }
    }
}

fn limits(sink: &mut Sink<'_>, node: &Node) -> Limits {
    let mut out = Limits::default();
    for Entry { key, value } in values::optional_mapping(sink, node, "limits").unwrap_or_default() {
        let name = key.text.as_str();
        match name {
            "starts" => out.starts = at_least_one(sink, value, name).unwrap_or(out.starts),
            "armed" => out.armed = values::count(sink, value, name).unwrap_or(out.armed),
            "running" => out.running = at_least_one(sink, value, name),
            _ => unknown_key(sink, key, "`limits`", &["armed", "running", "starts"], &[]),
        }
    }
    out
}

fn groups(sink: &mut Sink<'_>, node: &Node) -> BTreeMap<String, u32> {
    let mut out = BTreeMap::new();
    for Entry { key, value } in values::optional_mapping(sink, node, "groups").unwrap_or_default() {
        if let Some(limit) = at_least_one(sink, value, &key.text) {
            out.insert(key.text.clone(), limit);
        }
    }
    out
}

fn at_least_one(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<u32> {
    let value = values::count(sink, node, what)?;
    if value == 0 {
        sink.error(
            code::VALUE,
            node.span.clone(),
            format!("`{what}: 0` would never start anything"),
        )
        .help("to stop schedules use `x-scheduler.suspend`, or do not run `watch`");
        return None;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::pictures;

    fn errors(text: &str) -> String {
        let (_, found) = parse("config.yaml", text);
        pictures(&found, &BTreeMap::from([("config.yaml", text)]), "", false)
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let (config, found) = parse("config.yaml", "# nothing\n");
        assert_eq!((config, found), (Config::default(), Vec::new()));
    }

    #[test]
    fn every_key_is_read() {
        let text = "instance: lab\nhost: unix:///run/docker.sock\nengine: docker\nkube_context: kind\nnamespace: batch\nstate: /var/lib/x\n\
                    timezone: Europe/Berlin\ninterpolate: [HOME]\narm: never\n\
                    policy: {allow_privileged: true, bind_roots: [/srv], exec: [cloud]}\nlimits: {starts: 2, armed: 9, running: 3}\n\
                    groups: {backups: 2}\n";
        let (config, found) = parse("config.yaml", text);
        assert_eq!(found, []);
        assert_eq!(
            config,
            Config {
                profiles: BTreeSet::new(),
                instance: Some("lab".parse().unwrap()),
                engine: Some(EngineName::Docker),
                kube_context: Some("kind".to_owned()),
                namespace: Some("batch".to_owned()),
                host: Some("unix:///run/docker.sock".to_owned()),
                context: None,
                state: Some(PathBuf::from("/var/lib/x")),
                timezone: "Europe/Berlin".to_owned(),
                interpolate: BTreeSet::from(["HOME".to_owned()]),
                arm: Arm::Never,
                policy: Rules {
                    allow_privileged: true,
                    bind_roots: vec![PathBuf::from("/srv")],
                    exec: vec!["cloud".parse().unwrap()],
                    ..Rules::default()
                },
                limits: Limits {
                    starts: 2,
                    armed: 9,
                    running: Some(3),
                },
                groups: BTreeMap::from([("backups".to_owned(), 2)]),
            }
        );
        let environment = [("HOME", "/root"), ("SECRET", "s")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let settings = config.settings(environment);
        assert_eq!(
            settings.interpolate,
            BTreeMap::from([("HOME".to_owned(), "/root".to_owned())])
        );
        assert_eq!(settings.set_but_unlisted, BTreeSet::from(["SECRET".to_owned()]));
    }

    #[test]
    fn every_mistake_is_named_where_it_stands() {
        insta::assert_snapshot!(
            errors("instence: x\npolicy: {allow_privilege: true, bind_roots: [srv]}\narm: sometimes\ninterpolate: ['A*']\nlimits: {starts: 0}\nhost: a\ncontext: b\n"),
            @r#"
        error: `host` and `context` exclude each other
         --> config.yaml

        error: unknown key `instence`
          --> config.yaml:1:1
           |
         1 | instence: x
           | ^^^^^^^^ not a key of the operator's file
           = help: a key with a similar name exists: `instance`

        error: unknown key `allow_privilege`
          --> config.yaml:2:10
           |
         2 | policy: {allow_privilege: true, bind_roots: [srv]}
           |          ^^^^^^^^^^^^^^^ not a key of `policy`
           = help: a key with a similar name exists: `allow_privileged`

        error: `bind_roots[]` must be an absolute path
          --> config.yaml:2:46
           |
         2 | policy: {allow_privilege: true, bind_roots: [srv]}
           |                                              ^^^

        error: `arm` cannot be `sometimes`
          --> config.yaml:3:6
           |
         3 | arm: sometimes
           |      ^^^^^^^^^
           = help: one of `always`, `never`

        error: this is not the name of a variable; each is listed by its full name
          --> config.yaml:4:15
           |
         4 | interpolate: ['A*']
           |               ^^^^

        error: `starts: 0` would never start anything
          --> config.yaml:5:18
           |
         5 | limits: {starts: 0}
           |                  ^
           = help: to stop schedules use `x-scheduler.suspend`, or do not run `watch`
        "#
        );
    }

    #[test]
    fn root_and_users_have_a_place_of_their_own() {
        let path = |root, xdg: Option<&str>, own: Option<&str>| {
            default_path(root, xdg.map(Path::new), own.map(Path::new)).map(|path| path.display().to_string())
        };
        assert_eq!(
            path(true, Some("/x"), None).as_deref(),
            Some("/etc/docker-scheduler/config.yaml")
        );
        assert_eq!(
            path(false, Some("/x"), Some("/h")).as_deref(),
            Some("/x/docker-scheduler/config.yaml")
        );
        assert_eq!(
            path(false, Some("relative"), Some("/h/.config")).as_deref(),
            Some("/h/.config/docker-scheduler/config.yaml")
        );
        assert_eq!(path(false, None, None), None);
    }
}
