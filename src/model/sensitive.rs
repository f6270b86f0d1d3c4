//! Values that came from `.env` or the scheduler's environment into keys that are read as plain texts.
//!
//! A text that *is* such a value is a [`Text`] and says so itself. A value that was put into an image, a
//! user, a mount or a name became part of a text of another type; the spec remembers which of its
//! texts they are, and every way out of it (the ledger, plans, messages) asks here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::{
    ContainerSpec, Device, FileSource, Gpus, Healthcheck, ImageRef, JobFile, Logging, Mount, MountKind,
    NetworkAttachment, Place, Placement, Port, Presence, Resources, Rights, Text, Tmpfs, Which,
};

/// Stands for a sensitive value in a message.
const SHOWN: &str = "(masked)";
/// A shorter value is a part of too many words to be looked for within them.
const SHORT: usize = 4;

/// The sensitive texts of a spec that no [`Text`] holds. `Debug` does not show them, nothing writes them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sensitive(BTreeSet<String>);

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} masked", self.0.len())
    }
}

impl Sensitive {
    #[must_use]
    pub fn of(values: BTreeSet<String>) -> Sensitive {
        Sensitive(values)
    }
}

impl ContainerSpec {
    /// Remembers every text under a key that is in `keys` as sensitive, and `values`, which stand in
    /// them, for messages that quote no more than a part.
    pub fn remember(&mut self, keys: &BTreeSet<&str>, values: &BTreeSet<String>) {
        if keys.is_empty() {
            return;
        }
        let mut found = values.clone();
        self.each_plain(&mut |key, text| {
            if keys.contains(key) {
                found.insert(text.clone());
            }
        });
        found.remove("");
        self.sensitive = Sensitive(found);
    }

    /// `text` with every sensitive value of this spec masked. An engine may quote a request in the
    /// message that refuses it (`exec: "…": not found`), and our own words name what is missing.
    #[must_use]
    pub fn conceal(&self, text: &str) -> String {
        let mut secrets: Vec<&str> = self.sensitive.0.iter().map(String::as_str).collect();
        secrets.extend(
            self.texts()
                .filter(|text| text.is_sensitive() && !text.expose().is_empty())
                .map(Text::expose),
        );
        conceal(text, secrets)
    }

    /// Whether any of its values must not be shown.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        !self.sensitive.0.is_empty() || self.texts().any(Text::is_sensitive)
    }

    /// What the ledger keeps of it: `mask` makes of each sensitive value what may be written.
    #[must_use]
    pub fn masked(&self, mask: impl Fn(&str) -> String) -> ContainerSpec {
        let Ok(mut spec) = self.map_texts(|text| {
            Ok::<_, std::convert::Infallible>(match text.is_sensitive() {
                true => Text::sensitive(mask(text.expose())),
                false => text.clone(),
            })
        });
        spec.each_plain(&mut |_, text| {
            if self.sensitive.0.contains(text.as_str()) {
                *text = mask(text);
            }
        });
        spec.sensitive = Sensitive::default();
        spec
    }

    /// The image as the ledger may name it.
    #[must_use]
    pub fn masked_image(&self, mask: impl Fn(&str) -> String) -> ImageRef {
        let masked = self.sensitive.0.contains(self.image.as_str());
        let masked = masked.then(|| mask(self.image.as_str()).parse().ok());
        masked.flatten().unwrap_or_else(|| self.image.clone())
    }

    /// The opposite of [`ContainerSpec::masked`], with the values that `declared` has today; `None` when
    /// one of them is not there any more.
    #[must_use]
    pub fn unmasked(
        &self,
        declared: Option<&ContainerSpec>,
        mask: impl Fn(&str) -> String,
    ) -> Option<ContainerSpec> {
        let mut known: BTreeMap<String, &str> = BTreeMap::new();
        if let Some(declared) = declared {
            let texts = declared
                .texts()
                .filter(|text| text.is_sensitive())
                .map(Text::expose);
            let plain = declared.sensitive.0.iter().map(String::as_str);
            known.extend(texts.chain(plain).map(|value| (mask(value), value)));
        }
        let mut spec = self
            .map_texts(|text| match text.is_sensitive() {
                false => Ok(text.clone()),
                true => known
                    .get(text.expose())
                    .map(|value| Text::sensitive(*value))
                    .ok_or(()),
            })
            .ok()?;
        let mut lost = false;
        spec.each_plain(&mut |_, text| match known.get(text.as_str()) {
            Some(value) => (*value).clone_into(text),
            None => lost |= is_masked(text),
        });
        spec.sensitive = declared.map(|spec| spec.sensitive.clone()).unwrap_or_default();
        (!lost).then_some(spec)
    }

    /// Whether a value of its log driver is masked, which the engine quotes when it cannot read a log.
    #[must_use]
    pub fn masks_logging(&self) -> bool {
        self.logging.iter().any(|Logging { driver, options }| {
            let mut texts = options.iter().flat_map(|(name, value)| [name, value]);
            is_masked(driver) || texts.any(|text| is_masked(text))
        })
    }

    /// Every text that is no [`Text`], with the Compose key that it stands under. Without `..`: a new
    /// field must be given a line here, or it would go out unmasked.
    fn each_plain(&mut self, each: &mut dyn FnMut(&str, &mut String)) {
        let ContainerSpec {
            place,
            image,
            pull_policy: _,
            entrypoint: _,
            command: _,
            environment,
            labels,
            mounts,
            tmpfs,
            networks,
            network_mode,
            extra_hosts,
            user,
            working_dir,
            init: _,
            read_only: _,
            tty: _,
            mem_limit_bytes: _,
            nano_cpus: _,
            ulimits: _, // a key is never replaced
            cap_drop,
            logging,
            stop_signal,
            stop_grace_period: _,
            placement,
            platform,
            stdin_open: _,
            annotations,
            healthcheck,
            rights,
            resources,
            presence,
            files,
            kubernetes: _,
            sensitive: _,
        } = self;
        if let Place::Exec(target) = place {
            match &mut target.which {
                Which::Container(name) => each("x-scheduler", name),
                Which::Service { project, service } => {
                    each("x-scheduler", project);
                    each("x-scheduler", service);
                }
            }
        }
        let mut reference = image.to_string();
        each("image", &mut reference);
        // A mask is a reference, too: `hmac:5bdcc146bf60754e`.
        if let Ok(changed) = reference.parse() {
            *image = changed;
        }
        keys("environment", environment, each);
        keys("labels", labels, each);
        keys("annotations", annotations, each);
        mounts.iter_mut().for_each(|mount| of_mount(mount, each));
        for Tmpfs { target, options } in tmpfs {
            each("tmpfs", target);
            each("tmpfs", options);
        }
        networks.iter_mut().for_each(|network| of_network(network, each));
        all("network_mode", network_mode, each);
        for (host, address) in extra_hosts {
            each("extra_hosts", host);
            each("extra_hosts", address);
        }
        all("user", user, each);
        all("working_dir", working_dir, each);
        all("cap_drop", cap_drop, each);
        if let Some(Logging { driver, options }) = logging {
            each("logging", driver);
            keys("logging", options, each);
            all("logging", options.values_mut(), each);
        }
        all("stop_signal", stop_signal, each);
        let Placement {
            constraints,
            reservations: _,
        } = placement;
        all("x-scheduler", constraints, each);
        all("platform", platform, each);
        if let Some(Healthcheck {
            test: _,
            interval: _,
            timeout: _,
            start_period: _,
            start_interval: _,
            retries: _,
        }) = healthcheck
        {}
        of_rights(rights, each);
        of_resources(resources, each);
        of_presence(presence, each);
        for JobFile {
            kind,
            name: _, // a key, or what names one
            target,
            source,
        } in files
        {
            each(kind.key(), target);
            match source {
                FileSource::Path(path) => of_path(kind.key(), path, each),
                FileSource::External { name, .. } => each(kind.key(), name),
                FileSource::Content { .. } => {}
            }
        }
    }
}

/// Whether that is what a value became in the ledger.
#[must_use]
pub fn is_masked(text: &str) -> bool {
    let digits = text.strip_prefix("hmac:").unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// `text` without these values.
#[must_use]
pub fn conceal<'s>(text: &str, secrets: impl IntoIterator<Item = &'s str>) -> String {
    let mut secrets: Vec<&str> = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
    // A value may be part of another one: the longer goes first.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
        .into_iter()
        .fold(text.to_owned(), |text, secret| without(&text, secret))
}

/// In capitals, too: engines write the names of capabilities so. A short one only where it stands by
/// itself.
fn without(text: &str, secret: &str) -> String {
    // The same bytes stand at the same places.
    let (lower, wanted) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in lower.match_indices(&wanted) {
        let end = at + wanted.len();
        let alone = !is_part(text[..at].chars().next_back()) && !is_part(text[end..].chars().next());
        if alone || secret.len() >= SHORT {
            out.push_str(&text[done..at]);
            out.push_str(SHOWN);
            done = end;
        }
    }
    out.push_str(&text[done..]);
    out
}

fn all<'t>(
    key: &str,
    texts: impl IntoIterator<Item = &'t mut String>,
    each: &mut dyn FnMut(&str, &mut String),
) {
    texts.into_iter().for_each(|text| each(key, text));
}

/// The names of a map: those of a list (`NAME=value`) may hold a value, too.
fn keys<T>(key: &str, map: &mut BTreeMap<String, T>, each: &mut dyn FnMut(&str, &mut String)) {
    *map = std::mem::take(map)
        .into_iter()
        .map(|(mut name, value)| {
            each(key, &mut name);
            (name, value)
        })
        .collect();
}

fn of_path(key: &str, path: &mut PathBuf, each: &mut dyn FnMut(&str, &mut String)) {
    // One that is not UTF-8 comes from no manifest.
    if let Some(text) = path.to_str() {
        let mut text = text.to_owned();
        each(key, &mut text);
        *path = PathBuf::from(text);
    }
}

fn of_mount(mount: &mut Mount, each: &mut dyn FnMut(&str, &mut String)) {
    let Mount {
        kind,
        target,
        read_only: _,
    } = mount;
    each("volumes", target);
    match kind {
        MountKind::Bind {
            source,
            create_host_path: _,
        } => of_path("volumes", source, each),
        MountKind::Volume {
            name,
            external: _,
            nocopy: _,
        } => all("volumes", name, each),
        MountKind::Tmpfs {
            size_bytes: _,
            mode: _,
        } => {}
    }
}

fn of_network(network: &mut NetworkAttachment, each: &mut dyn FnMut(&str, &mut String)) {
    let NetworkAttachment {
        name,
        aliases,
        ipv4_address,
        ipv6_address,
    } = network;
    each("networks", name);
    all("networks", aliases, each);
    all("networks", ipv4_address, each);
    all("networks", ipv6_address, each);
}

fn of_rights(rights: &mut Rights, each: &mut dyn FnMut(&str, &mut String)) {
    let Rights {
        privileged: _,
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
    all("cap_add", cap_add, each);
    all("security_opt", security_opt, each);
    all("group_add", group_add, each);
    for device in devices {
        match device {
            Device::Path {
                source,
                target,
                permissions,
            } => [source, target, permissions]
                .into_iter()
                .for_each(|text| each("devices", text)),
            Device::Cdi(name) => each("devices", name),
        }
    }
    for Gpus {
        driver,
        count: _,
        device_ids,
        capabilities,
        options,
    } in gpus
    {
        all("gpus", driver, each);
        all("gpus", device_ids, each);
        all("gpus", capabilities, each);
        keys("gpus", options, each);
        all("gpus", options.values_mut(), each);
    }
    all("ipc", ipc, each);
    all("pid", pid, each);
    all("uts", uts, each);
    all("userns_mode", userns_mode, each);
    keys("sysctls", sysctls, each);
    all("sysctls", sysctls.values_mut(), each);
}

fn of_resources(resources: &mut Resources, each: &mut dyn FnMut(&str, &mut String)) {
    let Resources {
        memswap_limit_bytes: _,
        mem_reservation_bytes: _,
        shm_size_bytes: _,
        cpu_shares: _,
        cpuset,
        pids_limit: _,
        oom_score_adj: _,
        cgroup_parent,
        runtime,
    } = resources;
    all("cpuset", cpuset, each);
    all("cgroup_parent", cgroup_parent, each);
    all("runtime", runtime, each);
}

fn of_presence(presence: &mut Presence, each: &mut dyn FnMut(&str, &mut String)) {
    let Presence {
        hostname,
        domainname,
        dns,
        dns_search,
        dns_opt,
        ports,
    } = presence;
    all("hostname", hostname, each);
    all("domainname", domainname, each);
    all("dns", dns, each);
    all("dns_search", dns_search, each);
    all("dns_opt", dns_opt, each);
    for Port {
        target: _,
        protocol,
        host_ip,
        published,
    } in ports
    {
        each("ports", protocol);
        all("ports", host_ip, each);
        all("ports", published, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(value: &str) -> String {
        format!("hmac:{:016x}", value.bytes().map(u64::from).sum::<u64>())
    }

    fn spec() -> ContainerSpec {
        let mut spec = ContainerSpec::of_image("registry/hunter2:1".parse().unwrap());
        spec.user = Some("1000".into());
        spec.working_dir = Some("/hunter2".into());
        spec.presence.hostname = Some("plain".into());
        spec.remember(
            &BTreeSet::from(["image", "user", "working_dir"]),
            &BTreeSet::from(["hunter2".to_owned()]),
        );
        spec
    }

    #[test]
    fn what_came_from_outside_is_masked_in_every_key_and_comes_back() {
        let spec = spec();
        let masked = spec.masked(mask);
        let written = serde_json::to_string(&masked).unwrap();
        assert!(
            !written.contains("hunter2") && !written.contains("1000"),
            "{written}"
        );
        assert!(written.contains("plain"), "{written}");
        let read: ContainerSpec = serde_json::from_str(&written).unwrap();
        assert_eq!(read, masked);
        assert_eq!(read.unmasked(Some(&spec), mask), Some(spec.clone()));
        assert_eq!(read.unmasked(None, mask), None);
        assert!(!format!("{:?}", spec.sensitive).contains("hunter2"));
    }

    #[test]
    fn a_message_quotes_no_such_value_and_a_short_one_only_alone() {
        let spec = spec();
        assert_eq!(
            spec.conceal("no image registry/hunter2:1, nor hunter2-x"),
            "no image (masked), nor (masked)-x"
        );
        assert_eq!(
            conceal("user 7 of 17 (7)", ["7"]),
            "user (masked) of 17 ((masked))"
        );
        assert_eq!(
            conceal("CAP_HUNTER2 für hunter2", ["hunter2"]),
            "CAP_(masked) für (masked)"
        );
        assert_eq!(conceal("as it is", [""]), "as it is");
    }
}
