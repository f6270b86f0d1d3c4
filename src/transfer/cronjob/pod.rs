//! The pod: what of it is the job's.

use crate::manifest::reader::{Entry, Node, Value};
use crate::transfer::draft::{duration, literal};
use crate::transfer::labels::{entries, get, items, scalar};
use crate::transfer::yaml::Yaml;

use super::{Reader, is_export, is_on, mounts, text_at, texts};

impl Reader<'_, '_> {
    pub(super) fn pod(&mut self, template: &Node) {
        for entry in entries(get(template, &["metadata", "labels"])) {
            let name = entry.key.text.as_str();
            let ours = name.starts_with("docker-scheduler/") || name.starts_with("app.kubernetes.io/");
            if let Some(value) = scalar(&entry.value).filter(|_| !ours) {
                self.job.put("labels", name, literal(&value));
            }
        }
        let is_export = is_export(template);
        for entry in entries(get(template, &["metadata", "annotations"])) {
            match scalar(&entry.value) {
                // An export writes a label there when its value is no word.
                Some(value) if is_export => self.job.put("labels", &entry.key.text, literal(&value)),
                _ => self.lost(entry, "the pod's annotations"),
            }
        }
        let Some(spec) = get(template, &["spec"]) else {
            return;
        };
        // An export leaves it out where its job does.
        if spec.get("terminationGracePeriodSeconds").is_none() && !is_export {
            self.job.set("stop_grace_period", Yaml::text("30s"));
        }
        let volumes = mounts::volumes(spec);
        let mut container = None;
        for entry in entries(Some(spec)) {
            let Entry { key, value } = entry;
            match key.text.as_str() {
                // As whoever applied it filled it in.
                _ if is_empty(value) => {}
                "schedulerName" if scalar(value).as_deref() == Some("default-scheduler") => {}
                "serviceAccountName" | "serviceAccount" if scalar(value).as_deref() == Some("default") => {}
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
                    if let Some(seconds) = self.number(entry) {
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
        self.write_user();
        self.write_files();
    }

    fn write_user(&mut self) {
        match (self.user.take(), self.group.take()) {
            (Some(user), group) => {
                let group = group.map_or(String::new(), |(group, _)| format!(":{group}"));
                self.job.set("user", literal(&format!("{user}{group}")));
            }
            (None, Some((_, at))) => {
                self.report.lost(
                    at,
                    "`runAsGroup` is not carried over: a job has no group without a user",
                );
            }
            (None, None) => {}
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

    pub(super) fn security(&mut self, node: &Node, of: &str) {
        for entry in entries(Some(node)) {
            let Entry { key, value } = entry;
            let on = scalar(value).as_deref() == Some("true");
            match key.text.as_str() {
                "runAsUser" => self.user = scalar(value),
                "runAsGroup" => self.group = scalar(value).map(|group| (group, key.span.clone())),
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
                "runAsNonRoot" if self.user.is_some() || node.get("runAsUser").is_some() => {}
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

/// Nothing, an empty list or an empty mapping.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(_) => node.is_null(),
        Value::Seq(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}
