//! `networks`, `network_mode` and `extra_hosts`: whom a container can reach.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{ContainerSpec, NetworkAttachment};
use crate::policy::Ask;

use super::compose::{Scope, is_sensitive, refuse, resource_name};
use super::diagnostic::{Sink, code};
use super::keys;
use super::values::{self, filled_text};
use super::yaml::{Entry, Node, Value};

/// Lowers `networks`, or the default network when there is none.
pub(crate) fn networks(scope: &mut Scope<'_, '_>, job: &Entry, spec: &mut ContainerSpec) {
    let entry = job.value.get("networks").filter(|entry| !entry.value.is_null());
    let mode = job.value.get("network_mode");
    let Some(entry) = entry else {
        let has_default =
            scope.declared.services.is_some() || scope.declared.networks.contains_key("default");
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
    // In the order of their keys, as Compose has them: the first one is the container's mode.
    let mut found = BTreeMap::new();
    match &entry.value.value {
        Value::Map(entries) => {
            for Entry { key, value } in entries {
                if let Some(network) = network(scope, &key.text, key.span.clone(), false) {
                    let network = network_options(scope.sink, value, network);
                    found.insert(key.text.clone(), network);
                }
            }
        }
        Value::Seq(_) => {
            for item in values::list(scope.sink, &entry.value, "networks").unwrap_or_default() {
                let Some(name) = filled_text(scope.sink, item, "networks[]") else {
                    continue;
                };
                let network = network(scope, &name, item.span.clone(), is_sensitive(item));
                found.extend(network.map(|network| (name, network)));
            }
        }
        Value::Scalar(_) => {
            values::wrong_type(scope.sink, &entry.value, "networks", "a list or a mapping");
        }
    }
    spec.networks.extend(found.into_values());
}

/// A network that the file declares; `default` needs no declaration.
fn network(
    scope: &mut Scope<'_, '_>,
    key: &str,
    at: Range<usize>,
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
    for Entry { key, value } in values::optional_fields(sink, node, "networks", &keys::ATTACHMENT) {
        let name = key.text.as_str();
        match name {
            "aliases" => {
                let found = values::texts(sink, value, name);
                out.aliases = found.into_iter().map(|scalar| scalar.text.clone()).collect();
            }
            "ipv4_address" => out.ipv4_address = address::<std::net::Ipv4Addr>(sink, value, name),
            "ipv6_address" => out.ipv6_address = address::<std::net::Ipv6Addr>(sink, value, name),
            _ => {}
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

pub(crate) fn network_mode(scope: &mut Scope<'_, '_>, node: &Node) -> Option<String> {
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
    let Some(name) = mode.strip_prefix("container:") else {
        return resource_name(scope.sink, node, &mode, "network mode").map(|_| mode);
    };
    resource_name(scope.sink, node, name, "container")?;
    if let Err(refusal) = scope.settings.policy.check(Ask::OtherNetwork) {
        refuse(scope.sink, node.span.clone(), "network_mode", refusal);
        return None;
    }
    Some(mode)
}

/// `host:ip` or `host=ip` in a list, or a mapping of host to one ip or several.
pub(crate) fn extra_hosts(sink: &mut Sink<'_>, node: &Node) -> Vec<(String, String)> {
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
                        out.extend(hosts(sink, address, &key.text, &text));
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
                    Some((name, addresses)) => out.extend(hosts(sink, item, name, addresses)),
                    None => {
                        sink.error(code::VALUE, item.span.clone(), "an extra host is `NAME=ADDRESS`");
                    }
                }
            }
        }
    }
    out
}

/// Several addresses of one name are separated by commas.
fn hosts(sink: &mut Sink<'_>, node: &Node, name: &str, addresses: &str) -> Vec<(String, String)> {
    addresses
        .split(',')
        .filter_map(|address| host(sink, node, name, address))
        .collect()
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
