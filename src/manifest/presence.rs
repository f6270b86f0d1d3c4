//! Under which names a container is known, which names it can look up, and on which ports it is reached.

use std::net::IpAddr;

use crate::model::{Port, Presence};

use super::diagnostic::{Sink, code};
use super::keys;
use super::values::{self, filled_text, text_list, text_or_list};
use super::yaml::{Entry, Kind, Node, Scalar, Value};

/// A range of ports is written in a few letters; this many are enough for one job.
const MOST_PORTS: usize = 1_000;

/// One key.
pub(crate) fn key(sink: &mut Sink<'_>, Entry { key, value }: &Entry, presence: &mut Presence) {
    let name = key.text.as_str();
    match name {
        "hostname" => presence.hostname = host_name(sink, value, name),
        "domainname" => presence.domainname = host_name(sink, value, name),
        "dns" => {
            presence.dns = text_or_list(sink, value, name);
            if presence
                .dns
                .iter()
                .any(|server| server.parse::<IpAddr>().is_err())
            {
                sink.error(code::VALUE, value.span.clone(), "a name server is an IP address");
            }
        }
        "dns_search" => presence.dns_search = text_or_list(sink, value, name),
        "dns_opt" => presence.dns_opt = text_list(sink, value, name),
        "ports" => presence.ports = ports(sink, value),
        _ => {}
    }
}

/// What the engine refuses beside the network of another container, or of the host.
pub(crate) fn conflicts(sink: &mut Sink<'_>, job: &Entry, mode: Option<&str>) {
    let Some(mode) = mode else { return };
    let of_other = mode.starts_with("container:");
    if !of_other && mode != "host" {
        return;
    }
    for entry in ["hostname", "dns", "dns_search", "dns_opt", "extra_hosts", "ports"]
        .into_iter()
        .filter_map(|key| job.value.get(key))
    {
        let name = entry.key.text.as_str();
        if of_other || name == "ports" {
            sink.error(
                code::CONFLICT,
                entry.key.span.clone(),
                format!("`{name}` has no meaning beside `network_mode: {mode}`"),
            )
            .label("the network is there already, with its own names and ports");
        }
    }
}

/// RFC 1123: labels of letters, digits and `-`, joined by dots.
fn host_name(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<String> {
    let text = filled_text(sink, node, what)?;
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Some(text);
    }
    sink.error(
        code::VALUE,
        node.span.clone(),
        format!("`{what}` is not the name of a host"),
    )
    .help("letters, digits and `-`, at most 63 between two dots");
    None
}

fn ports(sink: &mut Sink<'_>, node: &Node) -> Vec<Port> {
    let mut out: Vec<Port> = Vec::new();
    for item in values::list(sink, node, "ports").unwrap_or_default() {
        let found = match &item.value {
            Value::Map(_) => long(sink, item).into_iter().collect(),
            Value::Scalar(Scalar {
                kind: Kind::Int(number),
                ..
            }) => short(sink, item, &number.to_string()),
            Value::Scalar(_) | Value::Seq(_) => {
                filled_text(sink, item, "ports[]").map_or_else(Vec::new, |text| short(sink, item, &text))
            }
        };
        if out.len() + found.len() > MOST_PORTS {
            let message = format!("a job has at most {MOST_PORTS} ports");
            sink.error(code::LIMIT, item.span.clone(), message);
            return out;
        }
        for port in found {
            let taken = |other: &&Port| {
                port.published.is_some()
                    && other.published == port.published
                    && (&other.host_ip, &other.protocol) == (&port.host_ip, &port.protocol)
                    && other.target != port.target
            };
            if out.iter().find(taken).is_some() {
                sink.error(
                    code::CONFLICT,
                    item.span.clone(),
                    "this port of the host is published twice",
                );
                return out;
            }
            if !out.contains(&port) {
                out.push(port);
            }
        }
    }
    out
}

/// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, where a port may be a range.
fn short(sink: &mut Sink<'_>, node: &Node, text: &str) -> Vec<Port> {
    match short_ports(text) {
        Ok(found) => found,
        Err(why) => {
            sink.error(code::VALUE, node.span.clone(), why)
                .help("such as `\"8080:80\"`, `\"127.0.0.1:5353:53/udp\"` or `\"9000-9010:9000-9010\"`");
            Vec::new()
        }
    }
}

fn short_ports(text: &str) -> Result<Vec<Port>, &'static str> {
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err("the protocol of a port is `tcp`, `udp` or `sctp`");
    }
    let (outside, inside) = match rest.rsplit_once(':') {
        Some((outside, inside)) => (Some(outside), inside),
        None => (None, rest),
    };
    let (ip, published) = match outside.map(|outside| outside.rsplit_once(':').ok_or(outside)) {
        None => (None, ""),
        Some(Err(published)) => (None, published),
        Some(Ok((ip, published))) => (Some(address(ip)?), published),
    };
    let (first, last) = range(inside).ok_or("this is no port from 1 to 65535")?;
    let host = match published {
        "" => None,
        text => Some(range(text).ok_or("this is no port from 1 to 65535")?),
    };
    let count = last - first;
    let ports = (0..=count).map(|offset| {
        let published = match host {
            None => None,
            Some((from, to)) if from == to || (count == 0 && to > from) => Some(published.to_owned()),
            Some((from, _)) => Some((from + offset).to_string()),
        };
        Port {
            target: first + offset,
            protocol: protocol.clone(),
            host_ip: ip.clone(),
            published,
        }
    });
    match host {
        Some((from, to)) if count > 0 && to - from != count => Err("the two ranges are not equally long"),
        _ => Ok(ports.collect()),
    }
}

fn address(text: &str) -> Result<String, &'static str> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(_) => Ok(bare.to_owned()),
        Err(_) => Err("what stands before the ports is no IP address"),
    }
}

/// `80` or `80-90`.
fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

fn long(sink: &mut Sink<'_>, node: &Node) -> Option<Port> {
    let (mut target, mut published, mut host_ip) = (None, None, None);
    let mut protocol = "tcp";
    for Entry { key, value } in values::fields(sink, node, "ports[]", &keys::PORT) {
        let name = key.text.as_str();
        match name {
            "target" => {
                let found = number_or_text(sink, value, name);
                target = found.and_then(|text| match range(&text) {
                    Some((port, last)) if port == last => Some(port),
                    _ => {
                        let message = "`target` is a port from 1 to 65535";
                        sink.error(code::VALUE, value.span.clone(), message);
                        None
                    }
                });
            }
            "published" => {
                published = number_or_text(sink, value, name).filter(|text| !text.is_empty());
                if published.as_deref().is_some_and(|text| range(text).is_none()) {
                    let message = "`published` is a port from 1 to 65535, or a range";
                    sink.error(code::VALUE, value.span.clone(), message);
                }
            }
            "host_ip" => {
                host_ip = filled_text(sink, value, name).and_then(|text| match address(&text) {
                    Ok(address) => Some(address),
                    Err(_) => {
                        sink.error(code::VALUE, value.span.clone(), "`host_ip` is no IP address");
                        None
                    }
                });
            }
            "protocol" => {
                let words = [("tcp", "tcp"), ("udp", "udp"), ("sctp", "sctp")];
                protocol = values::word(sink, value, name, &words).unwrap_or(protocol);
            }
            // Which of them is meant has a meaning in a cluster alone.
            "mode" => drop(values::word(sink, value, name, &[("host", ()), ("ingress", ())])),
            "name" | "app_protocol" => drop(filled_text(sink, value, name)),
            _ => {}
        }
    }
    if node.get("target").is_none() {
        sink.error(code::MISSING_KEY, node.span.clone(), "this port has no `target`");
    }
    Some(Port {
        target: target?,
        protocol: protocol.to_owned(),
        host_ip,
        published,
    })
}

fn number_or_text(sink: &mut Sink<'_>, node: &Node, what: &str) -> Option<String> {
    match &node.value {
        Value::Scalar(Scalar {
            kind: Kind::Int(number),
            ..
        }) => Some(number.to_string()),
        _ => values::text(sink, node, what).map(|scalar| scalar.text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match short_ports(text) {
            Err(why) => why.to_owned(),
            Ok(ports) => {
                let shown = ports.iter().map(|port| {
                    let ip = port.host_ip.as_deref().unwrap_or("*");
                    let published = port.published.as_deref().unwrap_or("any");
                    format!("{ip} {published} {}/{}", port.target, port.protocol)
                });
                shown.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// The forms that the Compose Specification lists for the short syntax.
    #[test]
    fn short_ports_are_read_as_compose_reads_them() {
        for (text, ports) in [
            ("3000", "* any 3000/tcp"),
            ("3000-3002", "* any 3000/tcp, * any 3001/tcp, * any 3002/tcp"),
            ("8000:8000", "* 8000 8000/tcp"),
            ("9090-9091:8080-8081", "* 9090 8080/tcp, * 9091 8081/tcp"),
            ("49100:22", "* 49100 22/tcp"),
            ("8000-9000:80", "* 8000-9000 80/tcp"),
            ("127.0.0.1:8001:8001", "127.0.0.1 8001 8001/tcp"),
            (
                "127.0.0.1:5000-5001:5000-5001",
                "127.0.0.1 5000 5000/tcp, 127.0.0.1 5001 5001/tcp",
            ),
            ("127.0.0.1::5000", "127.0.0.1 any 5000/tcp"),
            ("6060:6060/udp", "* 6060 6060/udp"),
            ("[::1]:80:80/TCP", "::1 80 80/tcp"),
            ("::1:6000:6000", "::1 6000 6000/tcp"),
        ] {
            assert_eq!(shown(text), ports, "{text}");
        }
        for text in [
            "", "x", "0", "70000", "1:2:3:4", "a:1:2", "1-3:1-2", "3-1", "80/icmp",
        ] {
            assert!(short_ports(text).is_err(), "{text}: {}", shown(text));
        }
    }
}
