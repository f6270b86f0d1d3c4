//! A container as the engine describes it, as a job that makes containers like it.
//!
//! What the image says anyway is left out, so that the job follows its image.

mod mounts;
mod networks;

use serde_json::Value;

use crate::manifest::Diagnostic;
use crate::model::ImageRef;

use super::docker_line::{Line, environment};
use super::draft::{Draft, Job, duration, literal, literals};
use super::report::Report;
use super::when::{self, Dialect, shown};
use super::yaml::Yaml;
use super::{Imported, Options};

/// Keys of `Config` that are read here, or make no difference to a job.
const CONFIG: [&str; 20] = [
    // Whoever starts it is not attached.
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Cmd",
    "Domainname",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Hostname",
    "Image",
    "Labels",
    "OpenStdin",
    "StdinOnce",
    "StopSignal",
    "StopTimeout",
    "Tty",
    "User",
    // Those without a name, which are among the mounts.
    "Volumes",
    "WorkingDir",
];

/// Those of `HostConfig`. The engine fills in some of them: their defaults are where they are read.
const HOST: [&str; 50] = [
    "Annotations",
    // Ours are kept and removed by `history`.
    "AutoRemove",
    // Among the mounts, like `VolumesFrom` and `VolumeDriver`.
    "Binds",
    "CapAdd",
    "CapDrop",
    "CgroupParent",
    "CgroupnsMode",
    // The terminal of whoever made it.
    "ConsoleSize",
    // A file of the command line's.
    "ContainerIDFile",
    "CpuPeriod",
    "CpuQuota",
    "CpuShares",
    "CpusetCpus",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "Init",
    "IpcMode",
    "Links",
    "LogConfig",
    "MaskedPaths",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "Mounts",
    "NanoCpus",
    "NetworkMode",
    "OomScoreAdj",
    "PidMode",
    "PidsLimit",
    "PortBindings",
    "Privileged",
    "PublishAllPorts",
    "ReadonlyPaths",
    "ReadonlyRootfs",
    "RestartPolicy",
    "Runtime",
    "SecurityOpt",
    "ShmSize",
    "Sysctls",
    "Tmpfs",
    "UTSMode",
    "Ulimits",
    "UsernsMode",
    "VolumeDriver",
    "VolumesFrom",
];

/// What engines hide of a container's own system, or let it read alone; of newer ones also what is in them.
const SYSTEM_PATHS: [&str; 19] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/interrupts",
    "/proc/irq",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/system/cpu",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Microseconds, of which `--cpus` is a part.
const CPU_PERIOD: i64 = 100_000;

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
    list(value, path)
        .iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn list<'v>(value: &'v Value, path: &[&str]) -> &'v [Value] {
    get(value, path).as_array().map_or(&[][..], Vec::as_slice)
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
        self.gpus();
        self.mounts();
        self.networks();
        self.ports();
        self.left_behind();
        true
    }

    fn times(&mut self, times: &Times, options: &Options) -> bool {
        for schedule in &times.schedules {
            let Some(when) = when::read_at(schedule, Dialect::Vixie, &(0..0), self.report) else {
                return false;
            };
            self.job.start(&when, options.timezone.as_deref());
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
        let own = texts(self.container, &["Config", "Env"]);
        for variable in own.iter().filter(|variable| !known.contains(variable)) {
            environment(variable, &mut self.line());
        }
        // `--env NAME` without a value takes the image's away.
        let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
        let names: Vec<String> = own.iter().map(name).collect();
        for gone in known.iter().map(name).filter(|name| !names.contains(name)) {
            self.job.put("environment", &gone, Yaml::Null);
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
        if self.is_true("Config", "Tty") {
            self.job.set("tty", Yaml::Bool(true));
        }
        if self.is_true("Config", "OpenStdin") {
            self.job.set("stdin_open", Yaml::Bool(true));
        }
        match get(self.container, &["Config", "StopTimeout"]).as_i64() {
            None => {}
            Some(seconds) => match u64::try_from(seconds) {
                Ok(seconds) => self.job.set("stop_grace_period", Yaml::Text(duration(seconds))),
                Err(_) => {
                    self.lost("a stop without a time limit");
                }
            },
        }
        self.host_name();
        self.health();
        // What the image says anyway stays its own.
        let (container, image) = (self.container, self.image);
        for (key, value) in get(container, &["Config"]).as_object().into_iter().flatten() {
            if value != get(image, &["Config", key]) {
                self.unread_of(
                    &Value::from_iter([(key.clone(), value.clone())]),
                    &CONFIG,
                    " of its `Config`",
                );
            }
        }
    }

    /// An engine's own host name is the beginning of the ID; in the network of another container it is the
    /// other's, and the machine's in that of the host.
    fn host_name(&mut self) {
        let network = text(self.container, &["HostConfig", "NetworkMode"]);
        if network.starts_with("container:") || text(self.container, &["HostConfig", "UTSMode"]) == "host" {
            return;
        }
        let host = text(self.container, &["Config", "Hostname"]);
        let domain = text(self.container, &["Config", "Domainname"]);
        if network == "host" {
            // There it may have been given one, too, which looks the same.
            let whole = [host, domain].join(".");
            let whole = whole.trim_matches('.');
            if !whole.is_empty() {
                self.lost(&format!(
                    "host name `{}`, which may be its machine's,",
                    shown(whole)
                ));
            }
            return;
        }
        if !host.is_empty() && !text(self.container, &["Id"]).starts_with(&host) {
            self.job.set("hostname", literal(&host));
        }
        if !domain.is_empty() {
            self.job.set("domainname", literal(&domain));
        }
    }

    fn health(&mut self) {
        let health = get(self.container, &["Config", "Healthcheck"]);
        if is_default(health) || health == get(self.image, &["Config", "Healthcheck"]) {
            return;
        }
        let test = texts(health, &["Test"]);
        let fits = match test.first().map(String::as_str) {
            Some("NONE") => {
                self.job
                    .set("healthcheck", Yaml::map([("disable", Yaml::Bool(true))]));
                return;
            }
            Some("CMD-SHELL") => test.len() == 2,
            Some("CMD") => test.len() > 1,
            Some(_) => false,
            None => true,
        };
        if !fits {
            self.lost("its health check");
            return;
        }
        if !test.is_empty() {
            self.job.put("healthcheck", "test", literals(test));
        }
        let period = |key: &str| get(health, &[key]).as_u64().filter(|nanos| *nanos >= 1_000_000);
        for (key, name) in [
            ("Interval", "interval"),
            ("Timeout", "timeout"),
            ("StartPeriod", "start_period"),
            ("StartInterval", "start_interval"),
        ] {
            // It counts within a start period alone, and is refused without one.
            if key == "StartInterval" && period("StartPeriod").is_none() {
                continue;
            }
            if let Some(nanos) = period(key) {
                self.job.put("healthcheck", name, Yaml::Text(span(nanos)));
            }
        }
        if let Some(retries) = get(health, &["Retries"]).as_i64().filter(|count| *count > 0) {
            self.job.put("healthcheck", "retries", Yaml::Int(retries));
        }
        self.unread_of(
            health,
            &[
                "Test",
                "Interval",
                "Timeout",
                "StartPeriod",
                "StartInterval",
                "Retries",
            ],
            " of its health check",
        );
    }

    /// Single values of `HostConfig`.
    fn host(&mut self) {
        let number = |key: &str| get(self.container, &["HostConfig", key]).as_i64().unwrap_or(0);
        let bytes = |value: i64| Yaml::Text(format!("{value}b"));
        let positive = |key: &str| Some(number(key)).filter(|value| *value > 0);
        let memory = number("Memory");
        // Without a word about it, swap is as much again.
        let swap = match number("MemorySwap") {
            -1 => Some(Yaml::Int(-1)),
            swap if swap > 0 && swap != memory.saturating_mul(2) => Some(bytes(swap)),
            _ => None,
        };
        let found = [
            ("mem_limit", positive("Memory").map(bytes)),
            ("memswap_limit", swap),
            ("mem_reservation", positive("MemoryReservation").map(bytes)),
            ("cpu_shares", positive("CpuShares").map(Yaml::Int)),
            (
                "pids_limit",
                Some(number("PidsLimit")).filter(|most| *most != 0).map(Yaml::Int),
            ),
            (
                "oom_score_adj",
                Some(number("OomScoreAdj"))
                    .filter(|score| *score != 0)
                    .map(Yaml::Int),
            ),
            (
                "shm_size",
                positive("ShmSize").filter(|size| *size != 64 << 20).map(bytes),
            ),
        ];
        for (key, value) in found {
            if let Some(value) = value {
                self.job.set(key, value);
            }
        }
        self.cpus();
        for (key, name) in [("Privileged", "privileged"), ("ReadonlyRootfs", "read_only")] {
            if self.is_true("HostConfig", key) {
                self.job.set(name, Yaml::Bool(true));
            }
        }
        // Nobody said so where there is nothing: then it is as the engine is set up.
        if let Some(init) = get(self.container, &["HostConfig", "Init"]).as_bool() {
            self.job.set("init", Yaml::Bool(init));
        }
        for (key, name, default) in [
            ("PidMode", "pid", ""),
            ("IpcMode", "ipc", "private"),
            ("UTSMode", "uts", ""),
            ("UsernsMode", "userns_mode", ""),
            ("CpusetCpus", "cpuset", ""),
            ("CgroupParent", "cgroup_parent", ""),
            ("Runtime", "runtime", "runc"),
        ] {
            let value = text(self.container, &["HostConfig", key]);
            if !value.is_empty() && value != default {
                self.job.set(name, literal(&value));
            }
        }
        self.cgroup_namespace();
        self.logging();
        let host = get(self.container, &["HostConfig"]);
        self.unread_of(host, &HOST, " of its `HostConfig`");
    }

    /// `--cpus`, or a quota of each period.
    fn cpus(&mut self) {
        let number = |key: &str| get(self.container, &["HostConfig", key]).as_i64().unwrap_or(0);
        let (quota, period) = (number("CpuQuota"), number("CpuPeriod"));
        let nanos = match (number("NanoCpus"), quota) {
            (nanos, _) if nanos > 0 => nanos,
            (_, quota) if quota > 0 => {
                let period = if period > 0 { period } else { CPU_PERIOD };
                let nanos = i128::from(quota) * 1_000_000_000 / i128::from(period);
                i64::try_from(nanos).unwrap_or(i64::MAX)
            }
            _ => 0,
        };
        if nanos > 0 {
            self.job.set("cpus", Yaml::Text(decimal(nanos)));
        }
        if period > 0 && period != CPU_PERIOD {
            self.lost(&format!("a CPU period of {period} microseconds"));
        }
    }

    /// It has no key. The engine's own is private with control groups of version 2, which know no
    /// `OomKillDisable`, and the host's with those of version 1.
    fn cgroup_namespace(&mut self) {
        let mode = text(self.container, &["HostConfig", "CgroupnsMode"]);
        let is_first = !get(self.container, &["HostConfig", "OomKillDisable"]).is_null();
        let default = if is_first || self.is_true("HostConfig", "Privileged") {
            "host"
        } else {
            "private"
        };
        if !mode.is_empty() && mode != default {
            self.lost(&format!("control group namespace `{}`", shown(&mode)));
        }
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
        for (key, name) in [("Sysctls", "sysctls"), ("Annotations", "annotations")] {
            for (entry, value) in pairs(self.container, &["HostConfig", key]) {
                self.job.put(name, &entry, literal(&value));
            }
        }
        self.security();
        for limit in list(self.container, &["HostConfig", "Ulimits"]) {
            let number = |key: &str| get(limit, &[key]).as_i64().unwrap_or(-1);
            let both = [
                ("soft", Yaml::Int(number("Soft"))),
                ("hard", Yaml::Int(number("Hard"))),
            ];
            self.job.put("ulimits", &text(limit, &["Name"]), Yaml::map(both));
        }
        for device in list(self.container, &["HostConfig", "Devices"]) {
            let (outside, inside) = (text(device, &["PathOnHost"]), text(device, &["PathInContainer"]));
            let rights = text(device, &["CgroupPermissions"]);
            self.job
                .push("devices", literal(&format!("{outside}:{inside}:{rights}")));
        }
    }

    fn security(&mut self) {
        let privileged = self.is_true("HostConfig", "Privileged");
        let mode = |key: &str| text(self.container, &["HostConfig", key]);
        let shares = privileged || mode("PidMode") == "host" || mode("IpcMode") == "host";
        for option in texts(self.container, &["HostConfig", "SecurityOpt"]) {
            let (name, value) = option.split_once(['=', ':']).unwrap_or((&option, ""));
            match (name, value) {
                // The engine's own where there is nothing to confine.
                ("label", "disable") if shares => {}
                ("seccomp", profile) if !matches!(profile, "unconfined" | "builtin") => {
                    self.lost("its seccomp profile")
                        .help("write it to a file beside the manifest: `security_opt: [\"seccomp:./profile.json\"]`");
                }
                ("apparmor" | "label" | "seccomp", value) if !value.is_empty() => {
                    self.job.push("security_opt", literal(&option));
                }
                ("no-new-privileges", _) => self.job.push("security_opt", literal(&option)),
                (name, _) => {
                    self.lost(&format!("security option `{}`", shown(name)));
                }
            }
        }
        if privileged {
            return;
        }
        let list = |key: &str| get(self.container, &["HostConfig", key]).as_array();
        match (list("MaskedPaths"), list("ReadonlyPaths")) {
            // `--security-opt systempaths=unconfined` is no option of the engine's.
            (Some(masked), Some(read_only)) if masked.is_empty() && read_only.is_empty() => {
                self.job.push("security_opt", literal("systempaths=unconfined"));
            }
            (masked, read_only) => {
                let mut paths = masked.into_iter().chain(read_only).flatten();
                if paths.any(|path| !SYSTEM_PATHS.iter().any(|known| is_below(path, known))) {
                    self.lost("what it hides of `/proc` and `/sys`");
                }
            }
        }
    }

    fn gpus(&mut self) {
        for request in list(self.container, &["HostConfig", "DeviceRequests"]) {
            let ids = texts(request, &["DeviceIDs"]);
            let driver = text(request, &["Driver"]);
            if driver == "cdi" {
                ids.iter().for_each(|id| self.job.push("devices", literal(id)));
                continue;
            }
            let [wanted] = list(request, &["Capabilities"]) else {
                self.lost("a request for devices that can be of several kinds");
                continue;
            };
            let mut wanted = texts(wanted, &[]);
            if !wanted.iter().any(|word| word == "gpu") {
                self.lost("a request for devices that are no GPUs");
                continue;
            }
            wanted.retain(|word| word != "gpu");
            let mut entry = Vec::new();
            if !driver.is_empty() {
                entry.push(("driver", literal(&driver)));
            }
            match get(request, &["Count"]).as_i64() {
                _ if !ids.is_empty() => entry.push(("device_ids", literals(ids))),
                Some(count) if count > 0 => entry.push(("count", Yaml::Int(count))),
                _ => entry.push(("count", Yaml::text("all"))),
            }
            if !wanted.is_empty() {
                entry.push(("capabilities", literals(wanted)));
            }
            let options = pairs(request, &["Options"]);
            if !options.is_empty() {
                let options = options.iter().map(|(name, value)| (name.clone(), literal(value)));
                entry.push(("options", Yaml::map(options)));
            }
            self.job.push("gpus", Yaml::map(entry));
        }
    }

    /// What a job has no use for, or no key.
    fn left_behind(&mut self) {
        let restart = text(self.container, &["HostConfig", "RestartPolicy", "Name"]);
        if !matches!(restart.as_str(), "" | "no") {
            self.report.lost(
                0..0,
                format!("restart policy `{restart}` is not carried over: a job runs to its end"),
            );
        }
        if !is_default(get(self.container, &["HostConfig", "Links"])) {
            self.report.lost(0..0, "links are not carried over");
        }
    }

    fn is_true(&self, part: &str, key: &str) -> bool {
        get(self.container, &[part, key]) == &Value::Bool(true)
    }

    fn lost(&mut self, what: &str) -> &mut Diagnostic {
        self.report.lost(0..0, format!("{what} is not carried over"))
    }

    /// Says what of an object nobody reads, where it is not at its default.
    fn unread_of(&mut self, found: &Value, known: &[&str], place: &str) {
        for (key, value) in found.as_object().into_iter().flatten() {
            if !known.contains(&key.as_str()) && !is_default(value) {
                self.lost(&format!("`{}`{place}", shown(key)));
            }
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

/// What an engine says where nobody said anything.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_default),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// Whether a path is this one, or is in it.
fn is_below(path: &Value, known: &str) -> bool {
    let rest = path.as_str().and_then(|path| path.strip_prefix(known));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Nanoseconds in the largest unit that says them, not finer than the engine takes.
fn span(nanos: u64) -> String {
    if nanos.is_multiple_of(1_000_000_000) {
        duration(nanos / 1_000_000_000)
    } else {
        format!("{}ms", nanos / 1_000_000)
    }
}

/// Billionths as a decimal number.
fn decimal(nanos: i64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
