//! Compose files whose services carry a schedule: labels of ofelia, chadburn, deck-chores and
//! swarm-cronjob, and `x-cron`.
//!
//! A label that runs something in its service becomes an `exec` job; a schedule of the service itself
//! becomes a job with the service's own keys. Variables (`${TAG}`) stay variables.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::manifest;
use crate::manifest::reader::{Entry, Kind, Node, Sink, Value, beside, parse};
use crate::model::FileKind;

use super::docker_line::warn_of_secret;
use super::draft::{Draft, Job, VARIABLE};
use super::ofelia::{self, Edition, Globals, Home, Section, Setting};
use super::report::Report;
use super::when::{self, Dialect, shown};
use super::yaml::Yaml;
use super::{Imported, Options, deck_chores};

/// What of a service's keys makes no difference to a job.
const SILENT: [&str; 5] = ["labels", "deploy", "restart", "container_name", "x-cron"];

/// Reads a Compose file.
pub(crate) fn import(file: &str, text: &str, options: &Options) -> Imported {
    let mut report = Report::new(file, text);
    let mut sink = Sink::whole(file, text);
    let root = parse(text, &mut sink);
    report.take_over(sink.finish());
    let project = project(root.as_ref(), file, options, &mut report);
    let name = options.project.clone().unwrap_or_else(|| project.clone());
    let mut draft = Draft::new(&name, &format!("the services of `{file}`"));
    ofelia::defaults(&mut draft, options);
    if let Some(root) = &root {
        let mut reader = Reader {
            project: &project,
            root,
            found: 0,
            variables_were_said: false,
        };
        reader.keep_keys(&mut draft);
        for entry in entries(get(root, &["services"])) {
            reader.service(entry, &mut draft, &mut report);
        }
        if reader.found == 0 {
            report
                .unreadable("no service of this file carries a schedule")
                .help("labels of ofelia, chadburn, deck-chores and swarm-cronjob are known, and `x-cron`");
        }
    }
    Imported::new(draft, report)
}

/// The project that Compose gives to the file: by the `.env`, by `name`, or by its folder.
fn project(root: Option<&Node>, file: &str, options: &Options, report: &mut Report<'_>) -> String {
    let dot_env = options.dot_env.as_deref().unwrap_or_default();
    let by_env = beside(dot_env, "${COMPOSE_PROJECT_NAME:-}").filter(|name| !name.is_empty());
    let node = root.and_then(|root| get(root, &["name"]));
    let written = node.and_then(scalar);
    let named = written.as_deref().and_then(|name| beside(dot_env, name));
    let folder = file
        .rsplit_once('/')
        .and_then(|(folder, _)| folder.rsplit('/').next());
    let folder = options
        .folder
        .as_deref()
        .or(folder.filter(|name| !matches!(*name, "." | "..")));
    let is_known = by_env.is_some() || named.is_some();
    let found = by_env
        .or(named)
        .as_deref()
        .or(folder)
        .map(compose_name)
        .or_else(|| options.project.clone())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| String::from("compose"));
    if let Some(node) = node.filter(|_| !is_known) {
        let message =
            format!("the project's name has a variable that is not set here; `{found}` is taken for it");
        report.changed(node.span.clone(), message).help(
            "names of volumes and networks begin with it: set the variable in the `.env` beside the file",
        );
    }
    found
}

/// As Compose makes a project's name of a folder's.
pub(crate) fn compose_name(folder: &str) -> String {
    let kept: String = folder
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

/// A label or a key, with its place.
pub(crate) struct Label {
    pub name: String,
    pub value: String,
    pub at: Range<usize>,
}

struct Reader<'a> {
    project: &'a str,
    root: &'a Node,
    /// Services with a schedule.
    found: usize,
    variables_were_said: bool,
}

impl Reader<'_> {
    fn service(&mut self, service: &Entry, draft: &mut Draft, report: &mut Report<'_>) {
        let node = &service.value;
        let swarm = labels(get(node, &["deploy", "labels"]));
        let labels = labels(get(node, &["labels"]));
        let home = Home {
            service: service.key.text.clone(),
            project: self.project.to_owned(),
        };
        for prefix in ["ofelia", "chadburn"] {
            self.ofelia(prefix, &labels, &home, draft, report);
        }
        self.found += deck_chores::jobs(&labels, &home, draft, report);
        if swarm.iter().any(|label| label.name == "swarm.cronjob.schedule") {
            self.found += 1;
            self.swarm_cronjob(service, &swarm, draft, report);
        }
        if let Some(entry) = node.get("x-cron") {
            self.found += 1;
            self.x_cron(service, entry, draft, report);
        }
    }

    fn ofelia(
        &mut self,
        prefix: &str,
        labels: &[Label],
        home: &Home,
        draft: &mut Draft,
        report: &mut Report<'_>,
    ) {
        let mut sections: Vec<Section> = Vec::new();
        let mut edition = match prefix {
            "chadburn" => Edition::Chadburn,
            _ => Edition::Unknown,
        };
        for label in labels {
            let Some(rest) = label
                .name
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('.'))
            else {
                continue;
            };
            if edition == Edition::Unknown {
                edition = ofelia::edition_of(rest.rsplit('.').next().unwrap_or(rest));
            }
            let setting = |key: &str| Setting {
                key: key.to_ascii_lowercase(),
                value: label.value.clone(),
                at: label.at.clone(),
            };
            let parts: Vec<&str> = rest.splitn(3, '.').collect();
            match parts.as_slice() {
                ["enabled" | "service"] => {}
                [kind, name, key] if kind.starts_with("job-") => {
                    let kind = kind.trim_start_matches("job-");
                    let known = sections
                        .iter_mut()
                        .find(|section| section.kind == kind && section.name == *name);
                    match known {
                        Some(section) => section.settings.push(setting(key)),
                        None => sections.push(Section {
                            kind: kind.to_owned(),
                            name: (*name).to_owned(),
                            at: label.at.clone(),
                            settings: vec![setting(key)],
                            home: Some(home.clone()),
                        }),
                    }
                }
                _ => ofelia::global(&setting(rest), report),
            }
        }
        self.found += sections.len();
        for section in &sections {
            ofelia::job(section, edition, &Globals::default(), draft, report);
        }
    }

    fn swarm_cronjob(
        &mut self,
        service: &Entry,
        labels: &[Label],
        draft: &mut Draft,
        report: &mut Report<'_>,
    ) {
        let mut job = self.job_of(service, draft, report);
        let mut overlap = "allow";
        for label in labels {
            let Some(key) = label.name.strip_prefix("swarm.cronjob.") else {
                continue;
            };
            let on = label.value.eq_ignore_ascii_case("true");
            match key {
                "enable" if on => {}
                "enable" => {
                    report.changed(label.at.clone(), "it was not enabled, and is suspended now");
                    job.extend("suspend", Yaml::Bool(true));
                }
                "schedule" => {
                    let Some(when) = when::read_at(&label.value, Dialect::GoSeconds, &label.at, report)
                    else {
                        return;
                    };
                    ofelia::say_zone(&when, &label.at, draft, report);
                    job.start(&when, None);
                }
                "skip-running" => overlap = if on { "forbid" } else { "allow" },
                // Logins are the docker command line's own here.
                "registry-auth" | "query-registry" => {}
                "replicas" if label.value == "1" => {}
                _ => lost(label, report),
            }
        }
        job.extend("concurrency", Yaml::text(overlap));
        self.finish(service, job, draft, report);
    }

    fn x_cron(&mut self, service: &Entry, entry: &Entry, draft: &mut Draft, report: &mut Report<'_>) {
        let mut job = self.job_of(service, draft, report);
        let mut zone = None;
        let mut schedules: Vec<Label> = Vec::new();
        let mut take = |node: &Node| {
            schedules.extend(scalar(node).map(|value| Label {
                name: String::new(),
                value: resolved(&value),
                at: node.span.clone(),
            }));
        };
        match &entry.value.value {
            Value::Scalar(_) => take(&entry.value),
            Value::Seq(items) => items.iter().for_each(take),
            Value::Map(keys) => {
                for Entry { key, value } in keys {
                    match key.text.as_str() {
                        "schedule" | "cron" => match &value.value {
                            Value::Seq(items) => items.iter().for_each(&mut take),
                            _ => take(value),
                        },
                        "timezone" | "tz" => zone = scalar(value),
                        "command" => job.set("command", raw(value)),
                        name => {
                            let message = format!("`{}` of `x-cron` is not carried over", shown(name));
                            report.lost(key.span.clone(), message);
                        }
                    }
                }
            }
        }
        if schedules.is_empty() {
            report.refused(entry.key.span.clone(), "this `x-cron` has no schedule");
            return;
        }
        if let Some(Err(error)) = zone.as_deref().map(crate::schedule::check_timezone) {
            report.refused(entry.key.span.clone(), error.message).help = error.help;
            return;
        }
        for label in schedules {
            let Some(when) = when::read_at(&label.value, Dialect::GoSeconds, &label.at, report) else {
                return;
            };
            if zone.is_none() {
                ofelia::say_zone(&when, &label.at, draft, report);
            }
            job.start(&when, zone.as_deref());
        }
        self.finish(service, job, draft, report);
    }

    fn finish(&self, service: &Entry, job: Job, draft: &mut Draft, report: &mut Report<'_>) {
        let at = service.key.span.clone();
        if job.get("image").is_none() {
            report
                .refused(
                    at,
                    format!(
                        "service `{}` has no `image`, and a job builds none",
                        service.key.text
                    ),
                )
                .help("build and push it, and name it under `image`");
            return;
        }
        draft.add(job, &service.key.text, true, at, report);
    }

    /// A job with the service's own keys, as they are written.
    fn job_of(&mut self, service: &Entry, draft: &mut Draft, report: &mut Report<'_>) -> Job {
        let line = report.line_of(service.key.span.start);
        let mut job = Job::new(format!("line {line}: service {}", service.key.text));
        for Entry { key, value } in entries(Some(&service.value)) {
            let name = key.text.as_str();
            match name {
                _ if SILENT.contains(&name) => {}
                // Said once, when there is no image.
                "build" if service.value.get("image").is_none() => {}
                _ if manifest::is_job_key(name) && !matches!(name, "triggers" | "x-scheduler") => {
                    job.set(name, raw(value));
                }
                _ => {
                    report.lost(
                        key.span.clone(),
                        format!(
                            "`{}` of service `{}` is not carried over",
                            shown(name),
                            service.key.text
                        ),
                    );
                }
            }
        }
        let environment = get(&service.value, &["environment"]);
        for entry in entries(environment) {
            let value = scalar(&entry.value).unwrap_or_default();
            self.say_secret(&entry.key.text, &value, entry.key.span.clone(), report);
        }
        for item in items(environment) {
            let text = scalar(item).unwrap_or_default();
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            self.say_secret(name, value, item.span.clone(), report);
        }
        self.say_moved(service, report);
        self.other_labels(&mut job, service);
        self.limits(&mut job, service, report);
        self.resources(&mut job, service, draft, report);
        job
    }

    fn say_secret(&self, name: &str, value: &str, at: Range<usize>, report: &mut Report<'_>) {
        if !value.is_empty() && !value.contains('$') {
            warn_of_secret(name, at, report);
        }
    }

    /// Labels that belong to no scheduler.
    fn other_labels(&self, job: &mut Job, service: &Entry) {
        const TAKEN: [&str; 6] = [
            "ofelia.",
            "chadburn.",
            "deck-chores.",
            "swarm.cronjob.",
            "com.docker.compose.",
            "docker-scheduler.",
        ];
        for label in labels(get(&service.value, &["labels"])) {
            if !TAKEN.iter().any(|prefix| label.name.starts_with(prefix)) {
                job.put("labels", &label.name, super::draft::literal(&label.value));
            }
        }
    }

    /// `deploy.resources.limits`, in the words of a container.
    fn limits(&self, job: &mut Job, service: &Entry, report: &mut Report<'_>) {
        for Entry { key, value } in entries(get(&service.value, &["deploy"])) {
            match key.text.as_str() {
                // What keeps a service from running by itself, and what this reads elsewhere.
                "labels" | "mode" | "replicas" | "restart_policy" => {}
                "resources" => {
                    for Entry { key, value } in entries(Some(value)) {
                        let known = key.text == "limits";
                        for Entry { key: inner, value } in entries(Some(value)) {
                            match (known, inner.text.as_str()) {
                                (true, "cpus") => job.set("cpus", raw(value)),
                                (true, "memory") => job.set("mem_limit", raw(value)),
                                (true, "pids") => job.set("pids_limit", raw(value)),
                                (_, name) => {
                                    let message =
                                        format!("`{}.{}` is not carried over", shown(&key.text), shown(name));
                                    report.lost(inner.span.clone(), message);
                                }
                            }
                        }
                    }
                }
                name => {
                    report.lost(
                        key.span.clone(),
                        format!("`deploy.{}` is not carried over", shown(name)),
                    );
                }
            }
        }
    }

    /// Networks and volumes of the application, by their names on the engine.
    fn resources(&self, job: &mut Job, service: &Entry, draft: &mut Draft, report: &mut Report<'_>) {
        let networks = get(&service.value, &["networks"]);
        let has_mode = service.value.get("network_mode").is_some();
        let mut used: Vec<String> = match networks.map(|node| &node.value) {
            Some(Value::Seq(items)) => items.iter().filter_map(scalar).collect(),
            Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.text.clone()).collect(),
            _ => Vec::new(),
        };
        if used.is_empty() && !has_mode {
            used.push(String::from("default"));
            job.set("networks", Yaml::texts(["default"]));
        }
        for key in used {
            draft.declare("networks", &key, self.network(&key));
        }
        for key in volumes_used(&service.value) {
            let Some(top) = self.top("volumes", &key) else {
                continue;
            };
            for entry in entries(Some(top)) {
                let (name, volume) = (entry.key.text.as_str(), shown(&key));
                let message = match name {
                    "name" | "external" | "labels" => continue,
                    "driver" | "driver_opts" => {
                        format!("`{name}` of volume `{volume}` is not carried over: it must be there already")
                    }
                    name => format!("`{}` of volume `{volume}` is not carried over", shown(name)),
                };
                report.changed(entry.key.span.clone(), message);
            }
            draft.declare("volumes", &key, self.volume(&key));
        }
        for kind in [FileKind::Secret, FileKind::Config] {
            for key in files_used(&service.value, kind) {
                if let Some(top) = self.top(kind.key(), &key) {
                    draft.declare(kind.key(), &key, file_of(top, kind, report));
                }
            }
        }
    }

    /// Names on the engine that labels use must not be taken for keys of this file.
    fn keep_keys(&self, draft: &mut Draft) {
        draft.keep("networks", "default", self.network("default"));
        for (section, resource) in [
            ("networks", Self::network as fn(&Self, &str) -> Yaml),
            ("volumes", Self::volume),
        ] {
            for entry in entries(get(self.root, &[section])) {
                let key = &entry.key.text;
                draft.keep(section, key, resource(self, key));
            }
        }
    }

    fn top(&self, section: &str, key: &str) -> Option<&Node> {
        get(self.root, &[section, key])
    }

    /// A network of the application, which is there already.
    fn network(&self, key: &str) -> Yaml {
        let name = self.engine_name("networks", key);
        Yaml::map([("name", Yaml::Text(name)), ("external", Yaml::Bool(true))])
    }

    fn volume(&self, key: &str) -> Yaml {
        let mut resource = vec![(String::from("name"), Yaml::Text(self.engine_name("volumes", key)))];
        let key_of = |name: &str| get(self.root, &["volumes", key, name]);
        if let Some(external) = key_of("external") {
            resource.push((String::from("external"), raw(external)));
        } else if key_of("driver").is_some() || key_of("driver_opts").is_some() {
            // A job would make a plain one in its place.
            resource.push((String::from("external"), Yaml::Bool(true)));
        }
        Yaml::Map(resource)
    }

    /// `name:` of a resource, else the project's prefix before its key.
    fn engine_name(&self, section: &str, key: &str) -> String {
        let text = |name: &str| get(self.root, &[section, key, name]).and_then(scalar);
        text("name").unwrap_or_else(|| match text("external").as_deref() {
            Some("true") => key.to_owned(),
            _ => format!("{}_{key}", self.project),
        })
    }

    /// What of a service is looked for in another place than before.
    fn say_moved(&mut self, service: &Entry, report: &mut Report<'_>) {
        let node = &service.value;
        let mut paths: Vec<&Node> = Vec::new();
        for item in items(get(node, &["volumes"])) {
            paths.extend(match &item.value {
                Value::Map(_) => item.get("source").map(|entry| &entry.value),
                _ => Some(item),
            });
        }
        paths.retain(|path| is_relative(path, &['.', '~']));
        let mut files: Vec<&Node> = match get(node, &["env_file"]) {
            Some(one) if matches!(one.value, Value::Scalar(_)) => vec![one],
            several => items(several)
                .iter()
                .map(|item| item.get("path").map_or(item, |entry| &entry.value))
                .collect(),
        };
        for kind in [FileKind::Secret, FileKind::Config] {
            for key in files_used(node, kind) {
                files.extend(get(self.root, &[kind.key(), &key, "file"]));
            }
        }
        files.retain(|path| is_relative(path, &[]));
        for path in paths.into_iter().chain(files) {
            let text = scalar(path).unwrap_or_default();
            let source = text.split(':').next().unwrap_or_default();
            let message = format!("`{}` is looked for beside the manifest", shown(source));
            report.changed(path.span.clone(), message);
        }
        let variable = variable_in(node).or_else(|| bare_variable(node));
        if let Some(variable) = variable.filter(|_| !self.variables_were_said) {
            self.variables_were_said = true;
            let message = "variables come from the `.env` beside the manifest now";
            report.changed(variable.span.clone(), message);
        }
    }
}

/// The first name in `environment` that has no value of its own.
fn bare_variable(service: &Node) -> Option<&Node> {
    let environment = get(service, &["environment"]);
    let listed = items(environment).iter();
    let bare = |item: &&Node| scalar(item).is_some_and(|text| !text.is_empty() && !text.contains('='));
    listed.into_iter().find(bare).or_else(|| {
        let mut mapped = entries(environment).iter();
        mapped
            .find(|entry| entry.value.is_null())
            .map(|entry| &entry.value)
    })
}

/// The first value with a variable of Compose in it.
fn variable_in(node: &Node) -> Option<&Node> {
    match &node.value {
        Value::Scalar(scalar) => resolved(&scalar.text).contains(VARIABLE).then_some(node),
        Value::Seq(items) => items.iter().find_map(variable_in),
        Value::Map(entries) => entries.iter().find_map(|entry| variable_in(&entry.value)),
    }
}

/// Whether a path is seen from the file that names it: it begins with one of these, or, without any, is not
/// absolute.
fn is_relative(path: &Node, begins: &[char]) -> bool {
    let text = scalar(path).unwrap_or_default();
    if begins.is_empty() {
        !text.is_empty() && !text.starts_with(['/', '$'])
    } else {
        text.starts_with(begins)
    }
}

/// The items of a list; none of anything else.
pub(crate) fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::Seq(items)) => items,
        _ => &[],
    }
}

/// What a secret or config is made from.
fn file_of(top: &Node, kind: FileKind, report: &mut Report<'_>) -> Yaml {
    const KEYS: [&str; 5] = ["content", "environment", "external", "file", "name"];
    let mut kept = Vec::new();
    for Entry { key, value } in entries(Some(top)) {
        if KEYS.contains(&key.text.as_str()) {
            kept.push((key.text.clone(), raw(value)));
        } else {
            let message = format!("`{}` of `{}` is not carried over", shown(&key.text), kind.key());
            report.lost(key.span.clone(), message);
        }
    }
    Yaml::Map(kept)
}

/// Keys of top-level secrets or configs that a service reads.
fn files_used(service: &Node, kind: FileKind) -> Vec<String> {
    items(get(service, &[kind.key()]))
        .iter()
        .filter_map(|item| match &item.value {
            Value::Map(_) => scalar(&item.get("source")?.value),
            _ => scalar(item),
        })
        .collect()
}

/// What stands below a node, key by key.
pub(crate) fn get<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter()
        .try_fold(node, |node, key| node.get(key).map(|entry| &entry.value))
}

fn lost(label: &Label, report: &mut Report<'_>) {
    report.lost(
        label.at.clone(),
        format!("label `{}` is not carried over", shown(&label.name)),
    );
}

/// Keys of top-level volumes that a service mounts.
fn volumes_used(service: &Node) -> Vec<String> {
    items(get(service, &["volumes"]))
        .iter()
        .filter_map(|item| match &item.value {
            Value::Scalar(scalar) => {
                let (source, _) = scalar.text.split_once(':')?;
                (!source.starts_with(['/', '.', '~', '$'])).then(|| source.to_owned())
            }
            Value::Map(_) => scalar(&item.get("source")?.value),
            Value::Seq(_) => None,
        })
        .collect()
}

/// Labels in either form, with variables marked.
fn labels(node: Option<&Node>) -> Vec<Label> {
    let mut found: BTreeMap<String, Label> = BTreeMap::new();
    let mut add = |name: &str, value: &str, at: &Range<usize>| {
        let label = Label {
            name: resolved(name),
            value: resolved(value),
            at: at.clone(),
        };
        found.insert(name.to_owned(), label);
    };
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => {
            for Entry { key, value } in entries {
                if let Some(text) = scalar(value) {
                    add(&key.text, &text, &key.span);
                }
            }
        }
        Some(Value::Seq(items)) => {
            for item in items {
                if let Some(text) = scalar(item) {
                    let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                    add(name, value, &item.span);
                }
            }
        }
        Some(Value::Scalar(_)) | None => {}
    }
    let mut found: Vec<Label> = found.into_values().collect();
    found.sort_by_key(|label| label.at.start);
    found
}

/// `$$` is a dollar; `$NAME` and `${…}` are variables of Compose, which stay what they are.
fn resolved(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('$', Some('$')) => {
                chars.next();
                out.push('$');
            }
            ('$', Some(next)) if *next == '{' || *next == '_' || next.is_ascii_alphabetic() => {
                out.push(VARIABLE)
            }
            (c, _) => out.push(c),
        }
    }
    out
}

pub(crate) fn entries(node: Option<&Node>) -> &[Entry] {
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries,
        _ => &[],
    }
}

/// A text, number or boolean as a text.
pub(crate) fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) if scalar.kind != Kind::Null => Some(match scalar.kind {
            Kind::Bool(value) => value.to_string(),
            _ => scalar.text.clone(),
        }),
        _ => None,
    }
}

/// A value as it is written: variables and doubled dollars stay.
pub(crate) fn raw(node: &Node) -> Yaml {
    match &node.value {
        Value::Seq(items) => Yaml::List(items.iter().map(raw).collect()),
        Value::Map(entries) => Yaml::map(
            entries
                .iter()
                .map(|entry| (entry.key.text.clone(), raw(&entry.value))),
        ),
        Value::Scalar(scalar) => match scalar.kind {
            Kind::Null => Yaml::Null,
            Kind::Bool(value) => Yaml::Bool(value),
            Kind::Int(value) => Yaml::Int(value),
            Kind::Float(_) | Kind::Text => Yaml::Text(scalar.text.replace('\0', "")),
        },
    }
}
