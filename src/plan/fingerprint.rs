//! The hash that tells whether a container was made from today's declaration.
//!
//! It lists what counts: everything that goes into the create request, and nothing else (no slot,
//! nonce, attempt, commit or file position: a commit must not replace every container). The image
//! counts by its reference here and by its ID where containers are compared.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::model::{
    ContainerSpec, Device, FileSource, Gpus, Healthcheck, JobFile, Logging, Mount, MountKind,
    NetworkAttachment, Place, Placement, Port, Presence, Reservations, Resources, Rights, Text, Tmpfs,
    Ulimit, Which,
};

/// Stands for every sensitive value in the part that anybody may compute.
const HIDDEN: &str = "hmac:0000000000000000";

/// In place of the keyed part where the key is not at hand.
const NO_KEY: &str = "?";

/// `v1:` and 32 hexadecimal digits; with sensitive values, these are left out of it and 16 more digits
/// stand behind another colon. Labels are read by many who may not read the values, and a plain hash
/// of a short password tells it to whoever tries a few million. So the second part is made of what
/// the ledger keeps: `masked`, with each value as a keyed hash; a plan without the ledger leaves it open.
///
/// The version changes when the list of what counts does, so that every armed container is then made anew
/// once.
#[must_use]
pub fn spec_hash(spec: &ContainerSpec, masked: Option<&ContainerSpec>) -> String {
    if !spec.is_sensitive() {
        return format!("v1:{}", digest(spec, 16));
    }
    let open = digest(&spec.masked(|_| HIDDEN.to_owned()), 16);
    let keyed = masked.map_or_else(|| NO_KEY.to_owned(), |masked| digest(masked, 8));
    format!("v1:{open}:{keyed}")
}

/// Whether something was made from the spec that has the hash `wanted`, as far as that can tell.
#[must_use]
pub fn is_same(recorded: &str, wanted: &str) -> bool {
    match wanted.strip_suffix(NO_KEY) {
        Some(open) => recorded.starts_with(open),
        None => recorded == wanted,
    }
}

/// As many bytes of the digest, in hexadecimal digits.
fn digest(spec: &ContainerSpec, bytes: usize) -> String {
    // Without `..`: a new field must be given a line here, or a reason why not.
    let ContainerSpec {
        place,
        image,
        pull_policy: _, // when to pull is not part of the container
        entrypoint,
        command,
        environment,
        labels,
        mounts,
        tmpfs,
        networks,
        network_mode,
        extra_hosts,
        user,
        working_dir,
        init,
        read_only,
        tty,
        mem_limit_bytes,
        nano_cpus,
        ulimits,
        cap_drop,
        logging,
        stop_signal,
        stop_grace_period,
        placement,
        platform,
        stdin_open,
        annotations,
        healthcheck,
        rights,
        resources,
        presence,
        files,
        kubernetes: _, // Of no meaning on an engine that has fingerprints.
        sensitive: _,  // says what of the rest is masked
    } = spec;
    let mut fields = Fields(Sha256::new());
    fields.place(place);
    fields.text("image", image.as_str());
    fields.list("entrypoint", entrypoint.as_deref());
    fields.list("command", command.as_deref());
    for (key, value) in environment {
        match value {
            Some(value) => fields.pair("environment", key, value.expose()),
            None => fields.text("no environment", key),
        }
    }
    for (key, value) in labels {
        fields.pair("label", key, value.expose());
    }
    for mount in mounts {
        fields.mount(mount);
    }
    for Tmpfs { target, options } in tmpfs {
        fields.pair("tmpfs", target, options);
    }
    for network in networks {
        fields.network(network);
    }
    fields.option("network_mode", network_mode.as_deref());
    for (host, address) in extra_hosts {
        fields.pair("extra_host", host, address);
    }
    fields.option("user", user.as_deref());
    fields.option("working_dir", working_dir.as_deref());
    fields.option("init", init.map(|on| on.to_string()).as_deref());
    fields.text("read_only", &read_only.to_string());
    fields.text("tty", &tty.to_string());
    fields.option(
        "mem_limit",
        mem_limit_bytes.map(|bytes| bytes.to_string()).as_deref(),
    );
    fields.option("nano_cpus", nano_cpus.map(|cpus| cpus.to_string()).as_deref());
    for (name, Ulimit { soft, hard }) in ulimits {
        fields.pair("ulimit", name, &format!("{soft}:{hard}"));
    }
    for capability in cap_drop {
        fields.text("cap_drop", capability);
    }
    if let Some(Logging { driver, options }) = logging {
        fields.text("log_driver", driver);
        for (key, value) in options {
            fields.pair("log_option", key, value);
        }
    }
    fields.option("stop_signal", stop_signal.as_deref());
    fields.option(
        "stop_grace_period",
        stop_grace_period
            .map(|grace| grace.as_millis().to_string())
            .as_deref(),
    );
    let Placement {
        constraints,
        reservations: Reservations {
            memory_bytes,
            nano_cpus,
        },
    } = placement;
    for constraint in constraints {
        fields.text("constraint", constraint);
    }
    let number = |value: &Option<u64>| value.map(|value| value.to_string());
    fields.option("reserved_memory", number(memory_bytes).as_deref());
    fields.option("reserved_cpus", number(nano_cpus).as_deref());
    // What came later adds nothing where it is not used, so that no container was made anew for it.
    fields.option("platform", platform.as_deref());
    fields.flag("stdin_open", *stdin_open);
    for (key, value) in annotations {
        fields.pair("annotation", key, value.expose());
    }
    if let Some(healthcheck) = healthcheck {
        fields.healthcheck(healthcheck);
    }
    fields.rights(rights);
    fields.resources(resources);
    fields.presence(presence);
    for file in files {
        fields.file(file);
    }
    hex::encode(&fields.0.finalize()[..bytes])
}

/// Writes each field with its length, so that no two lists of fields run together to the same text.
struct Fields(Sha256);

impl Fields {
    fn text(&mut self, key: &str, value: &str) {
        self.0.update(format!("{}:{key}{}:", key.len(), value.len()));
        self.0.update(value);
    }

    fn pair(&mut self, key: &str, left: &str, right: &str) {
        self.text(key, &format!("{}:{left}{right}", left.len()));
    }

    fn option(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number<N: ToString>(&mut self, key: &str, value: Option<N>) {
        if let Some(value) = value {
            self.text(key, &value.to_string());
        }
    }

    fn flag(&mut self, key: &str, is_set: bool) {
        if is_set {
            self.text(key, "true");
        }
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        for value in values {
            self.text(key, value);
        }
    }

    fn list(&mut self, key: &str, values: Option<&[Text]>) {
        let Some(values) = values else { return };
        // An empty list differs from none: `entrypoint: []` clears the image's own.
        self.text(key, &values.len().to_string());
        for value in values {
            self.text(key, value.expose());
        }
    }

    fn place(&mut self, place: &Place) {
        match place {
            Place::Fresh => {}
            Place::Reuse => self.text("container", "reuse"),
            // Who may be a target is the operator's affair, and no edit of the job.
            Place::Exec(target) => match &target.which {
                Which::Container(name) => self.text("exec", name),
                Which::Service { project, service } => self.pair("exec", project, service),
            },
        }
    }

    fn mount(&mut self, mount: &Mount) {
        let Mount {
            kind,
            target,
            read_only,
        } = mount;
        let kind = match kind {
            MountKind::Bind {
                source,
                create_host_path,
            } => {
                format!("bind {create_host_path} {}", source.display())
            }
            MountKind::Volume {
                name,
                external,
                nocopy,
            } => {
                format!(
                    "volume {external} {nocopy} {}",
                    name.as_deref().unwrap_or_default()
                )
            }
            MountKind::Tmpfs { size_bytes, mode } => format!("tmpfs {size_bytes:?} {mode:?}"),
        };
        self.pair("mount", target, &format!("{read_only} {kind}"));
    }

    fn network(&mut self, network: &NetworkAttachment) {
        let NetworkAttachment {
            name,
            aliases,
            ipv4_address,
            ipv6_address,
        } = network;
        let mut rest = format!("{ipv4_address:?} {ipv6_address:?}");
        for alias in aliases {
            // Writing to a String cannot fail.
            let _ = write!(rest, " {alias}");
        }
        self.pair("network", name, &rest);
    }

    fn healthcheck(&mut self, healthcheck: &Healthcheck) {
        let Healthcheck {
            test,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        } = healthcheck;
        self.text("healthcheck", "");
        self.list("test", test.as_deref());
        for (key, time) in [
            ("interval", interval),
            ("timeout", timeout),
            ("start_period", start_period),
            ("start_interval", start_interval),
        ] {
            self.number(key, time.map(|time| time.as_nanos()));
        }
        self.number("health_retries", *retries);
    }

    fn rights(&mut self, rights: &Rights) {
        let Rights {
            privileged,
            cap_add,
            security_opt,
            group_add,
            devices,
            gpus,
            ipc,
            pid,
            uts,
            userns_mode,
            sysctls,
        } = rights;
        self.flag("privileged", *privileged);
        self.texts("cap_add", cap_add);
        self.texts("security_opt", security_opt);
        self.texts("group_add", group_add);
        for device in devices {
            match device {
                Device::Path {
                    source,
                    target,
                    permissions,
                } => {
                    self.pair("device", source, target);
                    self.text("device_permissions", permissions);
                }
                Device::Cdi(name) => self.text("cdi", name),
            }
        }
        for gpus in gpus {
            self.gpus(gpus);
        }
        self.option("ipc", ipc.as_deref());
        self.option("pid", pid.as_deref());
        self.option("uts", uts.as_deref());
        self.option("userns_mode", userns_mode.as_deref());
        for (key, value) in sysctls {
            self.pair("sysctl", key, value);
        }
    }

    /// A path counts by itself: what lies there may change between two runs. What is written into the
    /// container counts, because it is in there already.
    fn file(&mut self, file: &JobFile) {
        let JobFile {
            kind,
            name: _, // of the manifest alone
            target,
            source,
        } = file;
        self.text("file", kind.key());
        match source {
            FileSource::Path(path) => self.pair("path", target, &path.display().to_string()),
            FileSource::Content {
                content,
                uid,
                gid,
                mode,
            } => {
                self.pair("content", target, content.expose());
                self.text("owner", &format!("{uid}:{gid} {mode:o}"));
            }
            FileSource::External { name, uid, gid, mode } => {
                self.pair("external", target, name);
                self.text("owner", &format!("{uid}:{gid} {mode:o}"));
            }
        }
    }

    fn gpus(&mut self, gpus: &Gpus) {
        let Gpus {
            driver,
            count,
            device_ids,
            capabilities,
            options,
        } = gpus;
        self.text("gpus", "");
        self.option("gpu_driver", driver.as_deref());
        self.number("gpu_count", *count);
        self.texts("gpu_id", device_ids);
        self.texts("gpu_capability", capabilities);
        for (key, value) in options {
            self.pair("gpu_option", key, value);
        }
    }

    fn resources(&mut self, resources: &Resources) {
        let Resources {
            memswap_limit_bytes,
            mem_reservation_bytes,
            shm_size_bytes,
            cpu_shares,
            cpuset,
            pids_limit,
            oom_score_adj,
            cgroup_parent,
            runtime,
        } = resources;
        self.number("memswap_limit", *memswap_limit_bytes);
        self.number("mem_reservation", *mem_reservation_bytes);
        self.number("shm_size", *shm_size_bytes);
        self.number("cpu_shares", *cpu_shares);
        self.option("cpuset", cpuset.as_deref());
        self.number("pids_limit", *pids_limit);
        self.number("oom_score_adj", *oom_score_adj);
        self.option("cgroup_parent", cgroup_parent.as_deref());
        self.option("runtime", runtime.as_deref());
    }

    fn presence(&mut self, presence: &Presence) {
        let Presence {
            hostname,
            domainname,
            dns,
            dns_search,
            dns_opt,
            ports,
        } = presence;
        self.option("hostname", hostname.as_deref());
        self.option("domainname", domainname.as_deref());
        self.texts("dns", dns);
        self.texts("dns_search", dns_search);
        self.texts("dns_opt", dns_opt);
        for port in ports {
            let Port {
                target,
                protocol,
                host_ip,
                published,
            } = port;
            self.pair("port", &target.to_string(), protocol);
            self.option("host_ip", host_ip.as_deref());
            self.option("published", published.as_deref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec::of_image("busybox:1".parse().unwrap())
    }

    fn hash(spec: &ContainerSpec) -> String {
        spec_hash(spec, Some(&spec.masked(|value| format!("hmac:{value}"))))
    }

    #[test]
    fn a_secret_counts_by_its_keyed_hash_alone() {
        let with = |value: Text| {
            let mut spec = spec();
            spec.environment.insert("PIN".into(), Some(value));
            spec
        };
        let (one, other) = (with(Text::sensitive("1234")), with(Text::sensitive("4321")));
        // Without the key nothing can be tried out.
        assert_eq!(spec_hash(&one, None), spec_hash(&other, None));
        assert!(is_same(&hash(&one), &spec_hash(&other, None)));
        // With it, another value is an edit, and so is a value that is no secret any more.
        assert!(is_same(&hash(&one), &hash(&one)));
        assert!(!is_same(&hash(&one), &hash(&other)));
        assert!(!is_same(&hash(&one), &hash(&with(Text::plain("1234")))));
        assert!(!is_same(&hash(&one), &hash(&with(Text::plain(HIDDEN)))));
        // And another key changes the second part alone.
        let anew = spec_hash(&one, Some(&one.masked(|_| "hmac:another".to_owned())));
        assert_eq!(
            anew.rsplit_once(':').unwrap().0,
            hash(&one).rsplit_once(':').unwrap().0
        );
        assert!(!is_same(&hash(&one), &anew));
    }

    #[test]
    fn every_part_of_the_request_counts_and_when_to_pull_does_not() {
        let base = hash(&spec());
        let mut pull = spec();
        pull.pull_policy = crate::model::PullPolicy::Always;
        assert_eq!(hash(&pull), base);

        let mut seen = std::collections::BTreeSet::from([base]);
        let edits: [fn(&mut ContainerSpec); 9] = [
            |spec| spec.command = Some(vec![]),
            |spec| spec.command = Some(vec![Text::plain("a"), Text::plain("b")]),
            |spec| spec.command = Some(vec![Text::plain("ab")]),
            |spec| spec.entrypoint = Some(vec![Text::plain("ab")]),
            |spec| drop(spec.environment.insert("A".into(), Some(Text::sensitive("x")))),
            |spec| spec.place = Place::Reuse,
            |spec| spec.user = Some("ab".into()),
            |spec| spec.working_dir = Some("ab".into()),
            |spec| spec.read_only = true,
        ];
        for edit in edits {
            let mut edited = spec();
            edit(&mut edited);
            assert!(
                seen.insert(hash(&edited)),
                "an edit left the hash as it was: {edited:?}"
            );
        }
    }
}
