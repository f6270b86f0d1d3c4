//! CronJobs of Kubernetes, with the ConfigMaps and Secrets of the same file: the inverse of what
//! `export --to kubernetes` writes, and of what people wrote by hand.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::manifest::reader::{Entry, Node, Sink, Value, parse};
use crate::model::ImageRef;

use super::docker_line::warn_of_secret;
use super::draft::{Draft, Job, duration, literal, literals};
use super::labels::{entries, scalar};
use super::report::Report;
use super::when::{self, Dialect, shown};
use super::yaml::Yaml;
use super::{Imported, Options};

/// Reads one or several documents.
pub(crate) fn import(file: &str, text: &str, options: &Options) -> Imported {
    let mut report = Report::new(file, text);
    let mut draft = Draft::new(options.project_or(file), &format!("the CronJobs of `{file}`"));
    let documents = documents(file, text, &mut report);
    let mut data = Data::default();
    for (_, root) in &documents {
        data.learn(root);
    }
    let mut found = 0;
    for (base, root) in &documents {
        report.base = *base;
        match text_at(root, "kind").as_deref() {
            Some("CronJob") => {
                found += 1;
                cron_job(root, &data, options, &mut draft, &mut report);
            }
            Some("List") => {
                for item in items(root.get("items").map(|entry| &entry.value)) {
                    if text_at(item, "kind").as_deref() == Some("CronJob") {
                        found += 1;
                        cron_job(item, &data, options, &mut draft, &mut report);
                    }
                }
            }
            Some("ConfigMap" | "Secret") | None => {}
            Some(kind) => {
                let at = root.get("kind").map_or(0..0, |entry| entry.value.span.clone());
                report.lost(at, format!("a `{}` is not carried over", shown(kind)));
            }
        }
    }
    report.base = 0;
    if found == 0 {
        report.unreadable("there is no CronJob in this file");
    }
    Imported::new(draft, report)
}

/// Each document, with the bytes in front of it.
fn documents(file: &str, text: &str, report: &mut Report<'_>) -> Vec<(usize, Node)> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            starts.push(at);
        }
    }
    starts.push(text.len().max(at));
    let mut found = Vec::new();
    for pair in starts.windows(2) {
        let part = &text[pair[0]..pair[1]];
        // The next document's own marker is no part of this one.
        let part = part
            .strip_suffix("---\n")
            .or(part.strip_suffix("---"))
            .unwrap_or(part);
        let mut sink = Sink::whole(file, part);
        let root = parse(part, &mut sink);
        report.base = pair[0];
        report.take_over(sink.finish());
        found.extend(root.map(|root| (pair[0], root)));
    }
    report.base = 0;
    found
}

/// ConfigMaps and Secrets by kind and name.
#[derive(Default)]
struct Data {
    values: BTreeMap<(&'static str, String), BTreeMap<String, String>>,
}

impl Data {
    fn learn(&mut self, root: &Node) {
        let kind = match text_at(root, "kind").as_deref() {
            Some("ConfigMap") => "ConfigMap",
            Some("Secret") => "Secret",
            _ => return,
        };
        let Some(name) = get(root, &["metadata", "name"]).and_then(scalar) else {
            return;
        };
        let values = self.values.entry((kind, name)).or_default();
        // `data` of a Secret is base64, which a person would not want to see decoded in a manifest unasked.
        let section = if kind == "Secret" { "stringData" } else { "data" };
        for entry in entries(get(root, &[section])) {
            values.extend(scalar(&entry.value).map(|value| (entry.key.text.clone(), value)));
        }
    }

    fn get(&self, kind: &'static str, name: &str) -> Option<&BTreeMap<String, String>> {
        self.values.get(&(kind, name.to_owned()))
    }
}

fn get<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter()
        .try_fold(node, |node, key| node.get(key).map(|entry| &entry.value))
}

fn text_at(node: &Node, key: &str) -> Option<String> {
    scalar(&node.get(key)?.value)
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::Seq(items)) => items,
        _ => &[],
    }
}

fn texts(node: &Node) -> Vec<String> {
    items(Some(node)).iter().filter_map(scalar).collect()
}

/// What is being read: the job, the variables that `$(NAME)` means, and where to report.
struct Reader<'a, 'f> {
    job: Job,
    environment: BTreeMap<String, String>,
    data: &'a Data,
    draft: &'a mut Draft,
    report: &'a mut Report<'f>,
    /// It cannot become a job, which was reported.
    refused: bool,
}

fn cron_job(root: &Node, data: &Data, options: &Options, draft: &mut Draft, report: &mut Report<'_>) {
    let name_node = get(root, &["metadata", "name"]);
    let name = name_node.and_then(scalar).unwrap_or_default();
    let at = name_node.map_or(root.span.start..root.span.start + 1, |node| node.span.clone());
    let line = report.line_of(at.start);
    let mut reader = Reader {
        job: Job::new(format!("line {line}: CronJob {name}")),
        environment: BTreeMap::new(),
        data,
        draft,
        report,
        refused: false,
    };
    reader.metadata(root);
    match root.get("spec") {
        Some(spec) => reader.spec(&spec.value, options),
        None => reader.refuse(at.clone(), "this CronJob has no `spec`"),
    }
    if !reader.refused && reader.job.get("image").is_none() {
        reader.refuse(at.clone(), "this CronJob has no container with an image");
    }
    let Reader { job, refused, .. } = reader;
    if !refused {
        draft.add(job, &name, true, at, report);
    }
}

/// Every imported job may be started by hand, so a note that says otherwise is lost.
fn is_our_note(entry: &Entry) -> bool {
    let name = entry.key.text.as_str();
    name.starts_with("docker-scheduler/") && name != "docker-scheduler/manual"
}

impl Reader<'_, '_> {
    fn refuse(&mut self, at: Range<usize>, message: impl Into<String>) {
        self.report.refused(at, message);
        self.refused = true;
    }

    fn lost(&mut self, entry: &Entry, of: &str) {
        let message = format!("`{}` of {of} is not carried over", shown(&entry.key.text));
        self.report.lost(entry.key.span.clone(), message);
    }

    fn metadata(&mut self, root: &Node) {
        for entry in entries(get(root, &["metadata"])) {
            match entry.key.text.as_str() {
                "name" | "creationTimestamp" | "uid" | "resourceVersion" | "generation" | "managedFields"
                | "labels" => {}
                // Our own notes are read, or say where the CronJob came from.
                "annotations" if entries(Some(&entry.value)).iter().all(is_our_note) => {}
                "namespace" if scalar(&entry.value).as_deref() == Some("default") => {}
                _ => self.lost(entry, "`metadata`"),
            }
        }
    }

    fn spec(&mut self, spec: &Node, options: &Options) {
        let zone = get(spec, &["timeZone"]).and_then(scalar);
        let zone = zone.as_deref().or(options.timezone.as_deref());
        let mut history = (3, 1);
        let mut overlap = "allow";
        for entry in entries(Some(spec)) {
            let Entry { key, value } = entry;
            match key.text.as_str() {
                "schedule" => self.schedule(value, zone),
                "timeZone" => {
                    let known = scalar(value).map(|zone| crate::schedule::check_timezone(&zone));
                    if let Some(Err(error)) = known {
                        self.refuse(value.span.clone(), error.message);
                    }
                }
                "concurrencyPolicy" => match scalar(value).as_deref() {
                    Some("Allow") => overlap = "allow",
                    Some("Forbid") => overlap = "forbid",
                    Some("Replace") => overlap = "replace",
                    _ => self.lost(entry, "`spec`"),
                },
                "startingDeadlineSeconds" => self.seconds(entry, "starting_deadline"),
                "suspend" => {
                    let on = scalar(value).as_deref() == Some("true");
                    self.job.extend("suspend", Yaml::Bool(on));
                }
                "successfulJobsHistoryLimit" => history.0 = self.number(entry).unwrap_or(history.0),
                "failedJobsHistoryLimit" => history.1 = self.number(entry).unwrap_or(history.1),
                "jobTemplate" => self.job_template(value),
                _ => self.lost(entry, "`spec`"),
            }
        }
        if spec.get("schedule").is_none() {
            self.refuse(spec.span.start..spec.span.start, "this CronJob has no `schedule`");
        }
        let schedule = get(spec, &["schedule"]).and_then(scalar).unwrap_or_default();
        if zone.is_none() && !schedule.contains("TZ=") {
            let at = spec
                .get("schedule")
                .map_or(0..0, |entry| entry.value.span.clone());
            self.report.changed(
                at,
                "without `timeZone` the controller's zone counted; without one it is UTC here",
            );
        }
        self.job.extend("concurrency", Yaml::text(overlap));
        let kept = [
            ("succeeded", Yaml::Int(history.0)),
            ("failed", Yaml::Int(history.1)),
        ];
        self.job.extend("history", Yaml::map(kept));
    }

    fn schedule(&mut self, node: &Node, zone: Option<&str>) {
        let text = scalar(node).unwrap_or_default();
        match when::read(&text, Dialect::Go) {
            Ok(when) => {
                for note in &when.notes {
                    self.report.changed(node.span.clone(), note.clone());
                }
                self.job.start(&when, zone);
            }
            Err(error) => {
                self.report.refused(node.span.clone(), error.message).help = error.help;
                self.refused = true;
            }
        }
    }

    fn number(&mut self, entry: &Entry) -> Option<i64> {
        let found = scalar(&entry.value).and_then(|text| text.parse::<u32>().ok());
        if found.is_none() {
            self.lost(entry, "its object");
        }
        found.map(i64::from)
    }

    fn seconds(&mut self, entry: &Entry, key: &'static str) {
        match self.number(entry) {
            Some(seconds) if seconds > 0 => {
                let text = duration(seconds.unsigned_abs());
                self.job.extend(key, Yaml::Text(text));
            }
            Some(_) => self.lost(entry, "its object"),
            None => {}
        }
    }

    fn job_template(&mut self, template: &Node) {
        let mut retries = 6;
        for entry in entries(get(template, &["spec"])) {
            match entry.key.text.as_str() {
                "backoffLimit" => retries = self.number(entry).unwrap_or(retries),
                "activeDeadlineSeconds" => self.seconds(entry, "timeout"),
                "parallelism" | "completions" if scalar(&entry.value).as_deref() == Some("1") => {}
                "template" => self.pod(&entry.value),
                _ => self.lost(entry, "`jobTemplate`"),
            }
        }
        if retries > 0 {
            self.job.extend("retries", Yaml::Int(retries));
        }
    }

    fn pod(&mut self, template: &Node) {
        for entry in entries(get(template, &["metadata", "labels"])) {
            let name = entry.key.text.as_str();
            let ours = name.starts_with("docker-scheduler/") || name.starts_with("app.kubernetes.io/");
            if let Some(value) = scalar(&entry.value).filter(|_| !ours) {
                self.job.put("labels", name, literal(&value));
            }
        }
        let Some(spec) = get(template, &["spec"]) else {
            return;
        };
        let volumes = self.volumes(spec);
        let mut container = None;
        for entry in entries(Some(spec)) {
            let Entry { key, value } = entry;
            match key.text.as_str() {
                "containers" => match items(Some(value)) {
                    [one] => container = Some(one),
                    _ => self.refuse(
                        key.span.clone(),
                        "a job has one container, and this one has not one",
                    ),
                },
                "initContainers" => self.refuse(key.span.clone(), "a job has no `initContainers`"),
                "volumes" => {}
                "restartPolicy" => {
                    if scalar(value).as_deref() == Some("OnFailure") {
                        self.report.changed(
                            key.span.clone(),
                            "it was started again in the same pod, and each retry has a new container now",
                        );
                    }
                }
                "terminationGracePeriodSeconds" => {
                    if let Some(seconds) = self.number(entry).filter(|seconds| *seconds > 0) {
                        let text = duration(seconds.unsigned_abs());
                        self.job.set("stop_grace_period", Yaml::Text(text));
                    }
                }
                "hostNetwork" if scalar(value).as_deref() == Some("true") => {
                    self.job.set("network_mode", Yaml::text("host"));
                }
                "hostAliases" => {
                    for alias in items(Some(value)) {
                        let address = text_at(alias, "ip").unwrap_or_default();
                        for name in alias
                            .get("hostnames")
                            .map_or(Vec::new(), |entry| texts(&entry.value))
                        {
                            self.job
                                .push("extra_hosts", literal(&format!("{name}:{address}")));
                        }
                    }
                }
                "hostname" => {
                    let name = scalar(value).unwrap_or_default();
                    self.job.set("hostname", literal(&name));
                }
                "securityContext" => self.security(value, "the pod"),
                "nodeSelector" => self.platform(entry),
                "dnsConfig" => self.names(value),
                "dnsPolicy" if self.asks_alone(value, spec) => {}
                "shareProcessNamespace" if is_on(value) => self.job.set("init", Yaml::Bool(true)),
                "hostIPC" if is_on(value) => self.job.set("ipc", Yaml::text("host")),
                "hostPID" if is_on(value) => self.job.set("pid", Yaml::text("host")),
                "hostNetwork" | "hostPID" | "hostIPC" if scalar(value).as_deref() == Some("false") => {}
                _ => self.lost(entry, "the pod"),
            }
        }
        if let Some(container) = container {
            self.container(container, &volumes);
        }
    }

    /// The labels that every node has: its platform.
    fn platform(&mut self, entry: &Entry) {
        let labels = entries(Some(&entry.value));
        let known = ["kubernetes.io/os", "kubernetes.io/arch"];
        let is_known = labels
            .iter()
            .all(|label| known.contains(&label.key.text.as_str()));
        let text = |name: &str| entry.value.get(name).and_then(|label| scalar(&label.value));
        match (text(known[0]), text(known[1])) {
            (Some(os), Some(arch)) if is_known => self.job.set("platform", literal(&format!("{os}/{arch}"))),
            (Some(os), None) if is_known => self.job.set("platform", literal(&os)),
            _ => self.lost(entry, "the pod"),
        }
    }

    fn names(&mut self, config: &Node) {
        for entry in entries(Some(config)) {
            match entry.key.text.as_str() {
                "nameservers" => self.push_all("dns", texts(&entry.value)),
                "searches" => self.push_all("dns_search", texts(&entry.value)),
                "options" => {
                    let options = items(Some(&entry.value)).iter().map(|option| {
                        let name = text_at(option, "name").unwrap_or_default();
                        match text_at(option, "value") {
                            Some(value) => format!("{name}:{value}"),
                            None => name,
                        }
                    });
                    self.push_all("dns_opt", options.collect());
                }
                _ => self.lost(entry, "the pod"),
            }
        }
    }

    fn push_all(&mut self, key: &str, texts: Vec<String>) {
        for text in texts {
            self.job.push(key, literal(&text));
        }
    }

    /// Whether a policy says what the servers that are named say already, or nothing.
    fn asks_alone(&self, policy: &Node, spec: &Node) -> bool {
        match scalar(policy).as_deref() {
            Some("None") => get(spec, &["dnsConfig", "nameservers"]).is_some(),
            Some("ClusterFirst") => get(spec, &["dnsConfig", "nameservers"]).is_none(),
            _ => false,
        }
    }

    fn container(&mut self, container: &Node, volumes: &BTreeMap<String, &Node>) {
        self.environment(container);
        for entry in entries(Some(container)) {
            let Entry { key, value } = entry;
            match key.text.as_str() {
                "name" | "env" | "envFrom" | "terminationMessagePath" | "terminationMessagePolicy" => {}
                "image" => {
                    let image = scalar(value).unwrap_or_default();
                    match image.parse::<ImageRef>() {
                        Ok(_) => self.job.set("image", literal(&image)),
                        Err(error) => self.refuse(value.span.clone(), ToString::to_string(&error)),
                    }
                }
                "imagePullPolicy" => match scalar(value).as_deref() {
                    Some("Always") => self.job.set("pull_policy", Yaml::text("always")),
                    Some("IfNotPresent") => self.job.set("pull_policy", Yaml::text("missing")),
                    Some("Never") => self.job.set("pull_policy", Yaml::text("never")),
                    _ => self.lost(entry, "the container"),
                },
                "command" => self.words("entrypoint", value),
                "args" => self.words("command", value),
                "workingDir" => match scalar(value).filter(|path| path.starts_with('/')) {
                    Some(path) => self.job.set("working_dir", literal(&path)),
                    None => self.lost(entry, "the container"),
                },
                "volumeMounts" => {
                    for mount in items(Some(value)) {
                        self.mount(mount, volumes);
                    }
                }
                "resources" => self.resources(value),
                "securityContext" => self.security(value, "the container"),
                "tty" | "stdin" => {
                    let on = scalar(value).as_deref() == Some("true");
                    let name = if key.text == "tty" { "tty" } else { "stdin_open" };
                    if on {
                        self.job.set(name, Yaml::Bool(true));
                    }
                }
                _ => self.lost(entry, "the container"),
            }
        }
    }

    fn words(&mut self, key: &str, node: &Node) {
        let words: Vec<String> = texts(node)
            .iter()
            .map(|word| self.expanded(word, node.span.clone()))
            .collect();
        if !words.is_empty() {
            self.job.set(key, literals(words));
        }
    }

    /// `$(NAME)` is the variable of the container, `$$` is a dollar.
    fn expanded(&mut self, text: &str, at: Range<usize>) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('$') {
            out.push_str(&rest[..start]);
            let after = &rest[start + 1..];
            if let Some(left) = after.strip_prefix('$') {
                out.push('$');
                rest = left;
                continue;
            }
            let name = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            let Some((name, left)) = name else {
                out.push('$');
                rest = after;
                continue;
            };
            match self.environment.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    let message = format!("`$({})` stays as it is: its value is not known here", shown(name));
                    self.report.changed(at.clone(), message);
                    out.push_str(&format!("$({name})"));
                }
            }
            rest = left;
        }
        out.push_str(rest);
        out
    }

    fn environment(&mut self, container: &Node) {
        for source in items(container.get("envFrom").map(|entry| &entry.value)) {
            self.environment_from(source);
        }
        for variable in items(container.get("env").map(|entry| &entry.value)) {
            let Some(name) = text_at(variable, "name").filter(|name| !name.is_empty()) else {
                continue;
            };
            if let Some(from) = variable.get("valueFrom") {
                match self.value_from(&from.value) {
                    Some(value) => self.variable(&name, value, variable),
                    None => {
                        let message = format!(
                            "the value of `{}` comes from elsewhere, and is not carried over",
                            shown(&name)
                        );
                        self.report.lost(from.key.span.clone(), message);
                    }
                }
            } else {
                let value = text_at(variable, "value").unwrap_or_default();
                let value = self.expanded(&value, variable.span.clone());
                self.variable(&name, value, variable);
            }
        }
    }

    fn variable(&mut self, name: &str, value: String, node: &Node) {
        let at = node
            .get("name")
            .map_or(node.span.clone(), |entry| entry.value.span.clone());
        warn_of_secret(name, at, self.report);
        self.job.put("environment", name, literal(&value));
        self.environment.insert(name.to_owned(), value);
    }

    fn environment_from(&mut self, source: &Node) {
        let prefix = text_at(source, "prefix").unwrap_or_default();
        for (key, kind) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
            let Some(name) = get(source, &[key, "name"]).and_then(scalar) else {
                continue;
            };
            let Some(values) = self.data.get(kind, &name).cloned() else {
                let message = format!(
                    "variables of {kind} `{}`, which is not in this file, are not carried over",
                    shown(&name)
                );
                self.report.lost(source.span.start..source.span.start, message);
                continue;
            };
            for (variable, value) in values {
                self.variable(&format!("{prefix}{variable}"), value, source);
            }
        }
    }

    fn value_from(&self, from: &Node) -> Option<String> {
        for (key, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")] {
            if let Some(reference) = get(from, &[key]) {
                let values = self.data.get(kind, &text_at(reference, "name")?)?;
                return values.get(&text_at(reference, "key")?).cloned();
            }
        }
        None
    }

    fn volumes<'n>(&mut self, spec: &'n Node) -> BTreeMap<String, &'n Node> {
        items(spec.get("volumes").map(|entry| &entry.value))
            .iter()
            .filter_map(|volume| Some((text_at(volume, "name")?, volume)))
            .collect()
    }

    fn mount(&mut self, mount: &Node, volumes: &BTreeMap<String, &Node>) {
        let name = text_at(mount, "name").unwrap_or_default();
        let target = text_at(mount, "mountPath").unwrap_or_default();
        let read_only = text_at(mount, "readOnly").as_deref() == Some("true");
        let at = mount.span.start..mount.span.start;
        let fits =
            target.starts_with('/') && !target.trim_matches('/').is_empty() && !target.contains(['.', ':']);
        let plain = mount.get("subPath").is_none() && mount.get("subPathExpr").is_none();
        let mode = if read_only { ":ro" } else { "" };
        let volume = volumes.get(&name).copied().filter(|_| fits && plain);
        let claim =
            volume.and_then(|volume| get(volume, &["persistentVolumeClaim", "claimName"]).and_then(scalar));
        let host = volume.and_then(|volume| get(volume, &["hostPath", "path"]).and_then(scalar));
        let empty = volume.and_then(|volume| volume.get("emptyDir"));
        match (claim, host, empty) {
            (Some(claim), _, _) if crate::model::validate_container_ref(&claim).is_ok() => {
                self.draft.volume(&claim);
                self.job
                    .push("volumes", literal(&format!("{claim}:{target}{mode}")));
            }
            (_, Some(host), _) if host.starts_with('/') && !host.contains(':') => {
                let may = [("host_path", Yaml::Bool(true))];
                self.job.extend("kubernetes", Yaml::map(may));
                self.job
                    .push("volumes", literal(&format!("{host}:{target}{mode}")));
            }
            (_, _, Some(empty)) if text_at(&empty.value, "medium").as_deref() == Some("Memory") => {
                let size = text_at(&empty.value, "sizeLimit").as_deref().and_then(bytes);
                let options = size.map_or(String::new(), |size| format!(":size={}", self::size(size)));
                self.job.push("tmpfs", literal(&format!("{target}{options}")));
            }
            (_, _, Some(_)) => self.job.push("volumes", literal(&target)),
            _ => {
                let message = format!("the volume at `{}` is not carried over", shown(&target));
                self.report.lost(at, message);
            }
        }
    }

    fn resources(&mut self, node: &Node) {
        for Entry { key: section, value } in entries(Some(node)) {
            for entry in entries(Some(value)) {
                let text = scalar(&entry.value).unwrap_or_default();
                match (section.text.as_str(), entry.key.text.as_str()) {
                    ("limits", "memory") => match bytes(&text) {
                        Some(bytes) => self.job.set("mem_limit", Yaml::Text(size(bytes))),
                        None => self.lost(entry, "`resources`"),
                    },
                    ("requests", "memory") => match bytes(&text) {
                        Some(bytes) => self.job.set("mem_reservation", Yaml::Text(size(bytes))),
                        None => self.lost(entry, "`resources`"),
                    },
                    ("limits", "cpu") => match cpus(&text) {
                        Some(cpus) => self.job.set("cpus", Yaml::Text(cpus)),
                        None => self.lost(entry, "`resources`"),
                    },
                    _ => self.lost(entry, &format!("`resources.{}`", shown(&section.text))),
                }
            }
        }
    }

    fn security(&mut self, node: &Node, of: &str) {
        let user = text_at(node, "runAsUser");
        let group = text_at(node, "runAsGroup");
        if let Some(user) = user {
            let group = group.map_or(String::new(), |group| format!(":{group}"));
            self.job.set("user", literal(&format!("{user}{group}")));
        }
        for entry in entries(Some(node)) {
            let Entry { key, value } = entry;
            let on = scalar(value).as_deref() == Some("true");
            match key.text.as_str() {
                "runAsUser" => {}
                "runAsGroup" if node.get("runAsUser").is_some() => {}
                "readOnlyRootFilesystem" => self.job.set("read_only", Yaml::Bool(on)),
                "supplementalGroups" => self.push_all("group_add", texts(value)),
                "sysctls" => {
                    for item in items(Some(value)) {
                        let name = text_at(item, "name").unwrap_or_default();
                        let value = text_at(item, "value").unwrap_or_default();
                        self.job.put("sysctls", &name, literal(&value));
                    }
                }
                "allowPrivilegeEscalation" if !on => {
                    self.job
                        .push("security_opt", Yaml::text("no-new-privileges:true"));
                }
                "privileged" if on => self.job.set("privileged", Yaml::Bool(true)),
                "privileged" => {}
                "runAsNonRoot" if node.get("runAsUser").is_some() => {}
                "capabilities" => {
                    for Entry { key, value } in entries(Some(value)) {
                        let name = if key.text == "drop" { "cap_drop" } else { "cap_add" };
                        for capability in texts(value) {
                            self.job.push(name, literal(&capability));
                        }
                    }
                }
                _ => self.lost(entry, of),
            }
        }
    }
}

fn is_on(node: &Node) -> bool {
    scalar(node).as_deref() == Some("true")
}

/// A quantity of memory in bytes: `64Mi`, `1G`, `1000`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let scale = match &text[digits..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(scale)
}

/// Bytes as Compose writes them.
fn size(bytes: u64) -> String {
    match bytes {
        b if b > 0 && b % (1 << 30) == 0 => format!("{}g", b >> 30),
        b if b > 0 && b % (1 << 20) == 0 => format!("{}m", b >> 20),
        b if b > 0 && b % (1 << 10) == 0 => format!("{}k", b >> 10),
        b => format!("{b}b"),
    }
}

/// A quantity of CPUs as a decimal number: `500m` is `0.5`.
fn cpus(text: &str) -> Option<String> {
    let milli = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<u32>().ok()?,
        None => {
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            let part = format!("{part:0<3}");
            if part.len() > 3 {
                return None;
            }
            whole.parse::<u32>().ok()?.checked_mul(1_000)? + part.parse::<u32>().ok()?
        }
    };
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        assert_eq!(bytes("64Mi").map(size).as_deref(), Some("64m"));
        assert_eq!(bytes("1G").map(size).as_deref(), Some("1000000000b"));
        assert_eq!(bytes("64m"), None);
        assert_eq!(cpus("500m").as_deref(), Some("0.5"));
        assert_eq!(cpus("2").as_deref(), Some("2"));
        assert_eq!(cpus("1.25").as_deref(), Some("1.25"));
        assert_eq!(cpus("x"), None);
    }
}
