//! What a job asks of its host: rights, namespaces, devices. Most of it needs the operator's word.

use crate::model::{Device, Gpus, Rights};
use crate::policy::{Ask, PathAsk};

use super::EnvFile;
use super::compose::{Scope, masked, refuse, resource_name};
use super::diagnostic::{Sink, code};
use super::environment::pairs;
use super::keys;
use super::mounts;
use super::values::{self, filled_text, flag, text_list};
use super::yaml::{Entry, Key, Kind, Node, Scalar, Value};

/// One key. What policy refuses is reported and left out.
pub(crate) fn key(scope: &mut Scope<'_, '_>, Entry { key, value }: &Entry, rights: &mut Rights) {
    let name = key.text.as_str();
    match name {
        "privileged" => {
            let wanted = flag(scope.sink, value, name).unwrap_or(false);
            rights.privileged = wanted && allowed(scope, key, Ask::Privileged);
        }
        "cap_add" => {
            let found = text_list(scope.sink, value, name);
            if !found.is_empty() && allowed(scope, key, Ask::CapAdd) {
                rights.cap_add = found;
            }
        }
        "devices" => {
            let found = devices(scope.sink, value);
            if !found.is_empty() && allowed(scope, key, Ask::Devices) {
                rights.devices = found;
            }
        }
        "gpus" => {
            let found = gpus(scope.sink, value);
            if !found.is_empty() && allowed(scope, key, Ask::Gpus) {
                rights.gpus = found;
            }
        }
        "security_opt" => rights.security_opt = security_opt(scope, value),
        "group_add" => rights.group_add = group_add(scope.sink, value),
        "sysctls" => {
            for pair in pairs(scope.sink, value, name) {
                match pair.value {
                    Some(value) if !pair.name.is_empty() => {
                        rights.sysctls.insert(pair.name, value.expose().to_owned());
                    }
                    _ => {
                        let at = pair.node.span.clone();
                        scope
                            .sink
                            .error(code::VALUE, at, "a kernel parameter is `NAME=VALUE`");
                    }
                }
            }
        }
        "ipc" => rights.ipc = namespace(scope, key, value, &["private", "shareable", "none"]),
        "pid" => rights.pid = namespace(scope, key, value, &[]),
        "uts" => rights.uts = namespace(scope, key, value, &[]),
        "userns_mode" => rights.userns_mode = namespace(scope, key, value, &[]),
        _ => {}
    }
}

/// Whether policy allows it; reports it when not.
fn allowed(scope: &mut Scope<'_, '_>, key: &Key, ask: Ask<'_>) -> bool {
    match scope.settings.policy.check(ask) {
        Ok(()) => true,
        Err(refusal) => {
            refuse(scope.sink, key.span.clone(), &key.text, refusal);
            false
        }
    }
}

/// `host`, `container:NAME` where the engine knows that, or one of `own`.
fn namespace(scope: &mut Scope<'_, '_>, key: &Key, node: &Node, own: &[&str]) -> Option<String> {
    let what = key.text.as_str();
    if node.is_null() {
        return None;
    }
    let text = filled_text(scope.sink, node, what)?;
    let (host, other) = match what {
        "ipc" => (Ask::HostIpc, Some(Ask::OtherIpc)),
        "pid" => (Ask::HostPid, Some(Ask::OtherPid)),
        "uts" => (Ask::HostUts, None),
        _ => (Ask::HostUserns, None),
    };
    if text == "host" {
        return allowed(scope, key, host).then_some(text);
    }
    if own.contains(&text.as_str()) {
        return Some(text);
    }
    if let (Some(name), Some(ask)) = (text.strip_prefix("container:"), other) {
        resource_name(scope.sink, node, name, "container")?;
        return allowed(scope, key, ask).then_some(text);
    }
    if other.is_some() && text.starts_with("service:") {
        scope
            .sink
            .error(
                code::UNSUPPORTED,
                node.span.clone(),
                format!("a job cannot share a service's `{what}`"),
            )
            .help(format!("name the container: `{what}: \"container:NAME\"`"));
        return None;
    }
    let mut words: Vec<&str> = own.to_vec();
    words.push("host");
    words.extend(other.map(|_| "container:NAME"));
    scope
        .sink
        .error(
            code::VALUE,
            node.span.clone(),
            format!("this is no value of `{what}`"),
        )
        .help(format!("one of {}", values::quoted(&words)));
    None
}

/// Options that the engine takes as they are.
const SECURITY_OPTIONS: [&str; 5] = ["apparmor", "label", "no-new-privileges", "seccomp", "systempaths"];

fn security_opt(scope: &mut Scope<'_, '_>, node: &Node) -> Vec<String> {
    let mut out = Vec::new();
    for item in values::list(scope.sink, node, "security_opt").unwrap_or_default() {
        let Some(text) = filled_text(scope.sink, item, "security_opt[]") else {
            continue;
        };
        if gives_up_confinement(&text) {
            match scope.settings.policy.check(Ask::Unconfined) {
                Ok(()) => {}
                Err(refusal) => {
                    refuse(scope.sink, item.span.clone(), "security_opt", refusal);
                    continue;
                }
            }
        }
        out.extend(match profile(&text) {
            Some(path) => seccomp(scope, item, path),
            None => security_option(scope.sink, item, text),
        });
    }
    out
}

/// The file of a seccomp profile; the engine knows the other values by their names.
fn profile(option: &str) -> Option<&str> {
    let path = option.strip_prefix("seccomp")?.strip_prefix(['=', ':'])?;
    (!path.is_empty() && !matches!(path, "unconfined" | "builtin")).then_some(path)
}

/// The engine wants the profile itself, so it is read here, as Compose reads it. One that allows
/// everything is as good as none.
fn seccomp(scope: &mut Scope<'_, '_>, node: &Node, written: &str) -> Option<String> {
    let path = mounts::absolute(scope, node, written)?;
    let at = node.span.clone();
    if let Err(refusal) = scope.settings.policy.check(Ask::Unconfined) {
        refuse(scope.sink, at, "security_opt", refusal);
        return None;
    }
    let (real, text) = match scope.manifest.env_files.get(&path) {
        None => {
            let wants = scope.wants.env_files.entry(scope.manifest.path.clone());
            wants.or_default().insert(path);
            return None;
        }
        Some(EnvFile::Missing) => {
            scope
                .sink
                .error(code::REFERENCE, at, "this seccomp profile does not exist")
                .help("a path is seen from the manifest");
            return None;
        }
        Some(EnvFile::Unreadable(why)) => {
            let message = format!("this seccomp profile cannot be read: {why}");
            scope.sink.error(code::REFERENCE, at, message);
            return None;
        }
        Some(EnvFile::Text { real, text }) => (real, text),
    };
    let ask = Ask::Read(PathAsk {
        path: real,
        written: &path,
        folder: &scope.manifest.folder,
        holds: None,
    });
    if let Err(refusal) = scope.settings.policy.check(ask) {
        refuse(scope.sink, at, "security_opt", masked(refusal, node));
        return None;
    }
    if !scope.variables.spend(text.len()) {
        let message = "the files that this manifest names are too large";
        scope.sink.error(code::LIMIT, at, message);
        return None;
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(profile) => Some(format!("seccomp={}", serde_json::Value::Object(profile))),
        Err(error) => {
            let message = format!(
                "this seccomp profile is no JSON object: line {}, column {}",
                error.line(),
                error.column()
            );
            scope.sink.error(code::VALUE, at, message);
            None
        }
    }
}

fn security_option(sink: &mut Sink<'_>, node: &Node, text: String) -> Option<String> {
    let (name, value) = text
        .split_once(['=', ':'])
        .map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
    if !SECURITY_OPTIONS.contains(&name) || (value.is_none() && name != "no-new-privileges") {
        let near = values::nearest(name, SECURITY_OPTIONS.into_iter());
        let found = sink.error(code::VALUE, node.span.clone(), "this is no security option");
        match near.filter(|near| *near != name) {
            Some(near) => found.help(format!("a similar option exists: `{near}`")),
            None => found.help("such as `no-new-privileges:true` or `apparmor=NAME`"),
        };
        return None;
    }
    if name == "systempaths" && value != Some("unconfined") {
        sink.error(
            code::VALUE,
            node.span.clone(),
            "`systempaths` can only be `unconfined`",
        );
        return None;
    }
    Some(text)
}

/// Also a label of SELinux of the job's own choice: `spc_t` confines nothing.
fn gives_up_confinement(option: &str) -> bool {
    let option = option.replacen(':', "=", 1);
    option.contains("unconfined") || option.starts_with("label=disable") || option.starts_with("label=type")
}

fn group_add(sink: &mut Sink<'_>, node: &Node) -> Vec<String> {
    let mut out = Vec::new();
    for item in values::list(sink, node, "group_add").unwrap_or_default() {
        match &item.value {
            Value::Scalar(Scalar {
                kind: Kind::Int(number),
                ..
            }) => out.push(number.to_string()),
            _ => out.extend(filled_text(sink, item, "group_add[]")),
        }
    }
    out
}

fn devices(sink: &mut Sink<'_>, node: &Node) -> Vec<Device> {
    let mut out = Vec::new();
    for item in values::list(sink, node, "devices").unwrap_or_default() {
        out.extend(match &item.value {
            Value::Map(_) => device(sink, item),
            Value::Scalar(_) | Value::Seq(_) => short_device(sink, item),
        });
    }
    out
}

/// `SOURCE[:TARGET[:PERMISSIONS]]`, or a name of the Container Device Interface.
fn short_device(sink: &mut Sink<'_>, node: &Node) -> Option<Device> {
    let text = filled_text(sink, node, "devices[]")?;
    if is_cdi(&text) {
        return Some(Device::Cdi(text));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => {
            sink.error(
                code::VALUE,
                node.span.clone(),
                "a device is `SOURCE:TARGET:PERMISSIONS`",
            );
            return None;
        }
    };
    path_device(sink, node, source, target, permissions)
}

fn device(sink: &mut Sink<'_>, node: &Node) -> Option<Device> {
    let (mut source, mut target, mut permissions) = (None, None, None);
    for Entry { key, value } in values::fields(sink, node, "devices[]", &keys::DEVICE) {
        let name = key.text.as_str();
        match name {
            "source" => source = filled_text(sink, value, name),
            "target" => target = filled_text(sink, value, name),
            "permissions" => permissions = filled_text(sink, value, name),
            _ => {}
        }
    }
    if node.get("source").is_none() {
        sink.error(
            code::MISSING_KEY,
            node.span.clone(),
            "this device has no `source`",
        );
    }
    let source = source?;
    if is_cdi(&source) {
        return Some(Device::Cdi(source));
    }
    let target = target.unwrap_or_else(|| source.clone());
    path_device(
        sink,
        node,
        &source,
        &target,
        permissions.as_deref().unwrap_or("rwm"),
    )
}

fn path_device(
    sink: &mut Sink<'_>,
    node: &Node,
    source: &str,
    target: &str,
    permissions: &str,
) -> Option<Device> {
    if !source.starts_with('/') || !target.starts_with('/') {
        sink.error(
            code::VALUE,
            node.span.clone(),
            "a device is an absolute path on the host, and one in the container",
        )
        .help("such as `/dev/ttyUSB0:/dev/tty`, or `vendor.com/class=name`");
        return None;
    }
    if permissions.is_empty() || !permissions.chars().all(|c| matches!(c, 'r' | 'w' | 'm')) {
        sink.error(
            code::VALUE,
            node.span.clone(),
            "the permissions of a device are of `r`, `w` and `m`",
        );
        return None;
    }
    Some(Device::Path {
        source: source.to_owned(),
        target: target.to_owned(),
        permissions: permissions.to_owned(),
    })
}

/// `vendor.com/class=name`
fn is_cdi(text: &str) -> bool {
    !text.starts_with('/')
        && text
            .split_once('=')
            .is_some_and(|(kind, name)| kind.contains('/') && !name.is_empty())
}

/// `all`, or a list of requests.
fn gpus(sink: &mut Sink<'_>, node: &Node) -> Vec<Gpus> {
    if let Value::Scalar(_) = &node.value {
        let all = values::word(sink, node, "gpus", &[("all", -1)]);
        return all
            .map(|all| Gpus {
                count: Some(all),
                ..Gpus::default()
            })
            .into_iter()
            .collect();
    }
    let items = values::list(sink, node, "gpus").unwrap_or_default();
    items.iter().map(|item| gpu(sink, item)).collect()
}

fn gpu(sink: &mut Sink<'_>, node: &Node) -> Gpus {
    let mut out = Gpus::default();
    for Entry { key, value } in values::fields(sink, node, "gpus[]", &keys::GPUS) {
        let name = key.text.as_str();
        match name {
            "capabilities" => out.capabilities = text_list(sink, value, name),
            "device_ids" => out.device_ids = text_list(sink, value, name),
            "driver" => out.driver = filled_text(sink, value, name),
            "count" => {
                let is_all = matches!(&value.value, Value::Scalar(found) if found.text == "all");
                out.count = if is_all {
                    Some(-1)
                } else {
                    values::integer(sink, value, name)
                };
                if out.count.is_some_and(|count| count < -1) {
                    sink.error(
                        code::VALUE,
                        value.span.clone(),
                        "`count` is a number of devices, or `all`",
                    );
                }
            }
            "options" => {
                for pair in pairs(sink, value, name) {
                    let value = pair.value.map(|value| value.expose().to_owned());
                    out.options.insert(pair.name, value.unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    match (out.count, out.device_ids.is_empty()) {
        (None, true) => out.count = Some(-1),
        (Some(_), false) => {
            sink.error(
                code::CONFLICT,
                node.span.clone(),
                "`count` and `device_ids` exclude each other",
            );
        }
        _ => {}
    }
    out
}
