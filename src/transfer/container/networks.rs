//! The networks of a container, its names there, and its ports.

use serde_json::Value;

use crate::model::validate_container_ref;

use super::super::docker_line::network;
use super::super::draft::{literal, literals};
use super::super::when::shown;
use super::super::yaml::Yaml;
use super::{Reader, get, is_default, list, pairs, text, texts};

/// Keys of a network's entry that the engine fills in, and those that are read here.
const ENDPOINT: [&str; 14] = [
    "Aliases",
    "DNSNames",
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAMConfig",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    // Said once, of the host's part.
    "Links",
    // The engine's own, while it runs.
    "MacAddress",
    "NetworkID",
    "SecondaryIPAddresses",
];

impl Reader<'_, '_> {
    pub(super) fn networks(&mut self) {
        let container = self.container;
        let mode = text(container, &["HostConfig", "NetworkMode"]);
        if mode == "host" || mode == "none" || mode.starts_with("container:") {
            network(&mode, &mut self.line());
            return;
        }
        let entries: Vec<(&String, &Value)> = get(container, &["NetworkSettings", "Networks"])
            .as_object()
            .into_iter()
            .flatten()
            .collect();
        let mut found = Vec::new();
        for (name, entry) in &entries {
            if matches!(name.as_str(), "bridge" | "default") {
                if entries.len() > 1 {
                    self.lost(&format!("network `{name}` beside others"));
                }
                continue;
            }
            if validate_container_ref(name).is_err() {
                self.lost(&format!("network `{}`", shown(name)));
                continue;
            }
            found.push(((*name).clone(), self.attachment(name, entry)));
        }
        if found.iter().all(|(_, entry)| entry == &Yaml::Null) {
            for (name, _) in &found {
                network(name, &mut self.line());
            }
            return;
        }
        for (name, entry) in found {
            let key = self.draft.network(&name);
            self.job.put("networks", &key, entry);
        }
    }

    /// What was asked for of one network.
    fn attachment(&mut self, name: &str, entry: &Value) -> Yaml {
        let container = self.container;
        let mut out = Vec::new();
        let id = text(container, &["Id"]);
        let own = text(container, &["Name"]);
        let service = text(container, &["Config", "Labels", "com.docker.compose.service"]);
        // Its ID and its name are given by the engine, and its service's by Compose: a job that had that one
        // would get what is for the service.
        let aliases: Vec<String> = texts(entry, &["Aliases"])
            .into_iter()
            .filter(|alias| !id.starts_with(alias.as_str()))
            .filter(|alias| *alias != service && alias != own.trim_start_matches('/'))
            .collect();
        if !aliases.is_empty() {
            out.push(("aliases", literals(aliases)));
        }
        for (key, word) in [("IPv4Address", "ipv4_address"), ("IPv6Address", "ipv6_address")] {
            let address = text(entry, &["IPAMConfig", key]);
            if !address.is_empty() {
                out.push((word, literal(&address)));
            }
        }
        let place = format!(" of network `{}`", shown(name));
        self.unread_of(
            get(entry, &["IPAMConfig"]),
            &["IPv4Address", "IPv6Address"],
            &place,
        );
        self.unread_of(entry, &ENDPOINT, &place);
        let runs = get(container, &["State", "Running"]) == &Value::Bool(true);
        if !runs && !is_default(get(entry, &["MacAddress"])) {
            self.lost(&format!("`MacAddress`{place}"));
        }
        if out.is_empty() {
            Yaml::Null
        } else {
            Yaml::map(out)
        }
    }

    pub(super) fn ports(&mut self) {
        let container = self.container;
        let bindings = get(container, &["HostConfig", "PortBindings"]);
        let mode = text(container, &["HostConfig", "NetworkMode"]);
        if mode == "host" || mode.starts_with("container:") {
            // The engine does nothing with them there.
            return;
        }
        for (port, hosts) in bindings.as_object().into_iter().flatten() {
            let port = port.strip_suffix("/tcp").unwrap_or(port);
            for host in list(hosts, &[]) {
                let (address, outside) = (text(host, &["HostIp"]), text(host, &["HostPort"]));
                let outside = if outside == "0" { String::new() } else { outside };
                let address = if address.contains(':') {
                    format!("[{address}]")
                } else {
                    address
                };
                let written = match (address.as_str(), outside.as_str()) {
                    ("", "") => port.to_owned(),
                    ("", outside) => format!("{outside}:{port}"),
                    (address, outside) => format!("{address}:{outside}:{port}"),
                };
                self.job.push("ports", literal(&written));
            }
        }
        let names = |value: &Value| -> Vec<String> {
            pairs(value, &["Config", "ExposedPorts"])
                .into_iter()
                .map(|(port, _)| port)
                .collect()
        };
        let of_image = names(self.image);
        let exposed = names(container);
        let exposed: Vec<&String> = exposed
            .iter()
            .filter(|port| bindings.get(port.as_str()).is_none() && !of_image.contains(port))
            .collect();
        if !exposed.is_empty() {
            self.report.lost(0..0, "exposed ports are not carried over");
        }
        if self.is_true("HostConfig", "PublishAllPorts") {
            self.report
                .lost(0..0, "publishing all exposed ports is not carried over");
        }
    }
}
