//! A container as the engine describes it, as a job that makes containers like it.
//!
//! What the image says anyway is left out, so that the job follows its image.

use serde_json::Value;

use crate::manifest::Diagnostic;
use crate::model::ImageRef;

use super::docker_line::{Line, environment, network, volume};
use super::draft::{Draft, Job, duration, literal, literals};
use super::report::Report;
use super::when::{self, Dialect};
use super::yaml::Yaml;
use super::{Imported, Options};

/// When the job starts; without a schedule and a period by hand alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    pub schedules: Vec<String>,
    /// Seconds.
    pub every: Option<u64>,
}

/// `container` and `image` are the engine's own answers to an inspect.
#[must_use]
pub fn import_container(
    container: &Value,
    image: Option<&Value>,
    times: &Times,
    options: &Options,
) -> Imported {
    let name = text(container, &["Name"]).trim_start_matches('/').to_owned();
    let subject = format!("container {name}");
    let mut report = Report::new(&subject, "");
    let project = text(container, &["Config", "Labels", "com.docker.compose.project"]);
    let project = if project.is_empty() { &name } else { &project };
    let mut draft = Draft::new(
        options.project.as_deref().unwrap_or(project),
        &format!("container `{name}`"),
    );
    let mut reader = Reader {
        container,
        image: image.unwrap_or(&Value::Null),
        job: Job::new(format!("container {name}")),
        draft: &mut draft,
        report: &mut report,
    };
    let readable = reader.read(times, options);
    let Reader { job, .. } = reader;
    if readable {
        let service = text(container, &["Config", "Labels", "com.docker.compose.service"]);
        let wanted = if service.is_empty() { &name } else { &service };
        draft.add(job, wanted, true, 0..0, &mut report);
    }
    let mut imported = Imported::new(draft, report);
    imported.report = imported.report.into_iter().map(without_place).collect();
    imported
}

/// There is no text to point into.
fn without_place(found: Diagnostic) -> Diagnostic {
    Diagnostic {
        span: None,
        line: 0,
        column: 0,
        end_line: 0,
        end_column: 0,
        ..found
    }
}

fn get<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter()
        .fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

fn text(value: &Value, path: &[&str]) -> String {
    get(value, path).as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value, path: &[&str]) -> Vec<String> {
    let items = get(value, path).as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn pairs(value: &Value, path: &[&str]) -> Vec<(String, String)> {
    let entries = get(value, path).as_object().into_iter().flatten();
    entries
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

struct Reader<'a, 'f> {
    container: &'a Value,
    image: &'a Value,
    job: Job,
    draft: &'a mut Draft,
    report: &'a mut Report<'f>,
}

impl<'f> Reader<'_, 'f> {
    /// Whether it can be a job at all.
    fn read(&mut self, times: &Times, options: &Options) -> bool {
        let image = text(self.container, &["Config", "Image"]);
        match image.parse::<ImageRef>() {
            Ok(_) => self.job.set("image", literal(&image)),
            Err(error) => {
                self.report.refused(0..0, ToString::to_string(&error));
                return false;
            }
        }
        if !self.times(times, options) {
            return false;
        }
        self.config();
        self.host();
        self.lists();
        self.mounts();
        self.networks();
        self.left_behind();
        true
    }

    fn times(&mut self, times: &Times, options: &Options) -> bool {
        for schedule in &times.schedules {
            match when::read(schedule, Dialect::Vixie) {
                Ok(when) => self.job.start(&when, options.timezone.as_deref()),
                Err(error) => {
                    self.report.refused(0..0, error.message).help = error.help;
                    return false;
                }
            }
        }
        if let Some(seconds) = times.every {
            self.job.extend("every", Yaml::Text(duration(seconds)));
        }
        if times.schedules.is_empty() && times.every.is_none() {
            self.report
                .advice(0..0, "the job has no schedule, and starts by hand alone")
                .help("say when: `--schedule '30 2 * * *'` or `--every 10m`");
        }
        true
    }

    /// Entry point and command belong together: an image's command counts only beside its own entry point.
    fn words(&mut self) {
        let own = |key: &str| texts(self.container, &["Config", key]);
        let of_image = |key: &str| texts(self.image, &["Config", key]);
        let (entrypoint, command) = (own("Entrypoint"), own("Cmd"));
        let same = entrypoint == of_image("Entrypoint");
        if same && command == of_image("Cmd") {
            return;
        }
        if same && !command.is_empty() {
            self.job.set("command", literals(command));
            return;
        }
        // One empty word takes the image's away, as `--entrypoint ''` did.
        let none = vec![String::new()];
        let entrypoint = if entrypoint.is_empty() { none } else { entrypoint };
        self.job.set("entrypoint", literals(entrypoint));
        if !command.is_empty() {
            self.job.set("command", literals(command));
        }
    }

    fn config(&mut self) {
        self.words();
        let known = texts(self.image, &["Config", "Env"]);
        for variable in texts(self.container, &["Config", "Env"]) {
            if !known.contains(&variable) {
                environment(&variable, &mut self.line());
            }
        }
        for (key, name) in [
            ("User", "user"),
            ("WorkingDir", "working_dir"),
            ("StopSignal", "stop_signal"),
        ] {
            let value = text(self.container, &["Config", key]);
            if !value.is_empty() && value != text(self.image, &["Config", key]) {
                self.job.set(name, literal(&value));
            }
        }
        let known = pairs(self.image, &["Config", "Labels"]);
        for (name, value) in pairs(self.container, &["Config", "Labels"]) {
            let foreign = name.starts_with("com.docker.") || name.starts_with("docker-scheduler.");
            if !foreign && !known.contains(&(name.clone(), value.clone())) {
                self.job.put("labels", &name, literal(&value));
            }
        }
        if get(self.container, &["Config", "Tty"]) == &Value::Bool(true) {
            self.job.set("tty", Yaml::Bool(true));
        }
        // An engine's own host name is the beginning of the ID.
        let host = text(self.container, &["Config", "Hostname"]);
        if !host.is_empty() && !text(self.container, &["Id"]).starts_with(&host) {
            self.job.set("hostname", literal(&host));
        }
    }

    /// Single values of `HostConfig`.
    fn host(&mut self) {
        let number = |key: &str| {
            get(self.container, &["HostConfig", key])
                .as_i64()
                .filter(|value| *value > 0)
        };
        let found = [
            (
                "mem_limit",
                number("Memory").map(|bytes| Yaml::Text(format!("{bytes}b"))),
            ),
            (
                "mem_reservation",
                number("MemoryReservation").map(|bytes| Yaml::Text(format!("{bytes}b"))),
            ),
            ("cpus", number("NanoCpus").map(|nanos| Yaml::Text(decimal(nanos)))),
            ("cpu_shares", number("CpuShares").map(Yaml::Int)),
            ("pids_limit", number("PidsLimit").map(Yaml::Int)),
            (
                "shm_size",
                number("ShmSize")
                    .filter(|size| *size != 64 << 20)
                    .map(|bytes| Yaml::Text(format!("{bytes}b"))),
            ),
        ];
        for (key, value) in found {
            if let Some(value) = value {
                self.job.set(key, value);
            }
        }
        for (key, name) in [
            ("Privileged", "privileged"),
            ("ReadonlyRootfs", "read_only"),
            ("Init", "init"),
        ] {
            if get(self.container, &["HostConfig", key]) == &Value::Bool(true) {
                self.job.set(name, Yaml::Bool(true));
            }
        }
        for (key, name) in [
            ("PidMode", "pid"),
            ("UTSMode", "uts"),
            ("UsernsMode", "userns_mode"),
            ("CpusetCpus", "cpuset"),
            ("CgroupParent", "cgroup_parent"),
        ] {
            let value = text(self.container, &["HostConfig", key]);
            if !value.is_empty() {
                self.job.set(name, literal(&value));
            }
        }
        let ipc = text(self.container, &["HostConfig", "IpcMode"]);
        if !matches!(ipc.as_str(), "" | "private" | "shareable") {
            self.job.set("ipc", literal(&ipc));
        }
        self.logging();
    }

    /// What is no more than the engine's default is not written.
    fn logging(&mut self) {
        let driver = text(self.container, &["HostConfig", "LogConfig", "Type"]);
        let options = pairs(self.container, &["HostConfig", "LogConfig", "Config"]);
        if matches!(driver.as_str(), "" | "json-file") && options.is_empty() {
            return;
        }
        self.job.put("logging", "driver", literal(&driver));
        if !options.is_empty() {
            let options = options.iter().map(|(name, value)| (name.clone(), literal(value)));
            self.job.put("logging", "options", Yaml::map(options));
        }
    }

    /// Lists of `HostConfig`.
    fn lists(&mut self) {
        for (key, name) in [
            ("CapAdd", "cap_add"),
            ("CapDrop", "cap_drop"),
            ("SecurityOpt", "security_opt"),
            ("GroupAdd", "group_add"),
            ("Dns", "dns"),
            ("DnsSearch", "dns_search"),
            ("DnsOptions", "dns_opt"),
            ("ExtraHosts", "extra_hosts"),
        ] {
            for value in texts(self.container, &["HostConfig", key]) {
                self.job.push(name, literal(&value));
            }
        }
        for (target, options) in pairs(self.container, &["HostConfig", "Tmpfs"]) {
            let options = if options.is_empty() {
                options
            } else {
                format!(":{options}")
            };
            self.job.push("tmpfs", literal(&format!("{target}{options}")));
        }
        for (name, value) in pairs(self.container, &["HostConfig", "Sysctls"]) {
            self.job.put("sysctls", &name, literal(&value));
        }
        for limit in get(self.container, &["HostConfig", "Ulimits"])
            .as_array()
            .into_iter()
            .flatten()
        {
            let number = |key: &str| get(limit, &[key]).as_i64().unwrap_or(-1);
            let both = [
                ("soft", Yaml::Int(number("Soft"))),
                ("hard", Yaml::Int(number("Hard"))),
            ];
            self.job.put("ulimits", &text(limit, &["Name"]), Yaml::map(both));
        }
        for device in get(self.container, &["HostConfig", "Devices"])
            .as_array()
            .into_iter()
            .flatten()
        {
            let (outside, inside) = (text(device, &["PathOnHost"]), text(device, &["PathInContainer"]));
            let rights = text(device, &["CgroupPermissions"]);
            self.job
                .push("devices", literal(&format!("{outside}:{inside}:{rights}")));
        }
    }

    fn mounts(&mut self) {
        for mount in get(self.container, &["Mounts"]).as_array().into_iter().flatten() {
            let target = text(mount, &["Destination"]);
            let source = match text(mount, &["Type"]).as_str() {
                "volume" => text(mount, &["Name"]),
                "bind" => text(mount, &["Source"]),
                // Named again under `Tmpfs`, or under `Mounts` of the host's part.
                _ => continue,
            };
            let mode = if get(mount, &["RW"]) == &Value::Bool(false) {
                ":ro"
            } else {
                ""
            };
            // An anonymous volume has a name of 64 hexadecimal digits: each run gets its own.
            let anonymous = source.len() == 64 && source.bytes().all(|b| b.is_ascii_hexdigit());
            let written = if anonymous {
                target
            } else {
                format!("{source}:{target}{mode}")
            };
            volume(&written, &mut self.line());
        }
        for mount in get(self.container, &["HostConfig", "Mounts"])
            .as_array()
            .into_iter()
            .flatten()
        {
            if text(mount, &["Type"]) == "tmpfs" {
                let target = text(mount, &["Target"]);
                self.job.push("tmpfs", literal(&target));
            }
        }
    }

    fn networks(&mut self) {
        let mode = text(self.container, &["HostConfig", "NetworkMode"]);
        if mode == "host" || mode == "none" || mode.starts_with("container:") {
            network(&mode, &mut self.line());
            return;
        }
        let names: Vec<String> = get(self.container, &["NetworkSettings", "Networks"])
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            network(&name, &mut self.line());
        }
    }

    /// What a job has no use for.
    fn left_behind(&mut self) {
        let restart = text(self.container, &["HostConfig", "RestartPolicy", "Name"]);
        if !matches!(restart.as_str(), "" | "no") {
            self.report.lost(
                0..0,
                format!("restart policy `{restart}` is not carried over: a job runs to its end"),
            );
        }
        let is_empty = |value: &Value| match value {
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            other => other.is_null(),
        };
        for (key, what) in [
            ("PortBindings", "published ports"),
            ("Links", "links"),
            ("VolumesFrom", "volumes of other containers"),
            ("DeviceRequests", "GPUs"),
        ] {
            if !is_empty(get(self.container, &["HostConfig", key])) {
                self.report.lost(0..0, format!("{what} are not carried over"));
            }
        }
        let health = get(self.container, &["Config", "Healthcheck"]);
        if !is_empty(health) && health != get(self.image, &["Config", "Healthcheck"]) {
            self.report.lost(0..0, "its health check is not carried over");
        }
    }

    fn line(&mut self) -> Line<'_, 'f> {
        Line {
            job: &mut self.job,
            draft: self.draft,
            report: self.report,
            at: 0..0,
        }
    }
}

/// Billionths as a decimal number.
fn decimal(nanos: i64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
