//! `depends_on`: what Compose starts before a job that a person runs. A schedule starts its job alone,
//! here as in the engine's own jobs, so the key is read and checked, and said to have no effect.

use super::compose::{Scope, is_sensitive};
use super::diagnostic::code;
use super::keys;
use super::values::{self, filled_text, flag, word};
use super::yaml::{Entry, Key, Node, Value};

const CONDITIONS: [(&str, ()); 3] = [
    ("service_started", ()),
    ("service_healthy", ()),
    ("service_completed_successfully", ()),
];

/// A list of services, or a mapping with a condition for each.
pub(crate) fn depends_on(scope: &mut Scope<'_, '_>, key: &Key, node: &Node) {
    match &node.value {
        Value::Seq(items) => {
            for item in items {
                if let Some(name) = filled_text(scope.sink, item, "depends_on[]") {
                    service(scope, item, &name, is_sensitive(item));
                }
            }
        }
        Value::Map(entries) => {
            for Entry { key, value } in entries {
                let required = options(scope, key, value);
                let at = Node {
                    span: key.span.clone(),
                    ..value.clone()
                };
                if required {
                    service(scope, &at, &key.text, false);
                }
            }
        }
        Value::Scalar(_) => {
            values::wrong_type(scope.sink, node, "depends_on", "a list or a mapping");
        }
    }
    let none = match &node.value {
        Value::Seq(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Scalar(_) => true,
    };
    if none {
        return;
    }
    scope
        .sink
        .warning(
            code::ADVICE,
            key.span.clone(),
            "`depends_on` has no effect: a schedule starts its job, and no service before it",
        )
        .help("start services with Compose; `x-scheduler.retries` is for one that may not be up yet");
}

/// Whether a missing service is an error.
fn options(scope: &mut Scope<'_, '_>, key: &Key, node: &Node) -> bool {
    let mut required = true;
    for Entry { key, value } in values::fields(scope.sink, node, "depends_on", &keys::DEPENDENCY) {
        let name = key.text.as_str();
        match name {
            "condition" => drop(word(scope.sink, value, name, &CONDITIONS)),
            "required" => required = flag(scope.sink, value, name).unwrap_or(true),
            "restart" => drop(flag(scope.sink, value, name)),
            _ => {}
        }
    }
    if matches!(&node.value, Value::Map(_)) && node.get("condition").is_none() {
        let message = format!("dependency `{}` has no `condition`", key.text);
        scope
            .sink
            .error(code::MISSING_KEY, key.span.clone(), message)
            .help("`service_started` is what the short form means");
    }
    required
}

/// Services may stand in another file of the project; in this one they must be there.
fn service(scope: &mut Scope<'_, '_>, at: &Node, name: &str, masked: bool) {
    let Some(services) = &scope.declared.services else {
        return;
    };
    if services.contains(name) {
        return;
    }
    let near = values::nearest(name, services.iter().map(String::as_str));
    let message = match masked {
        true => "this service is not declared in this file".to_owned(),
        false => format!("service `{name}` is not declared in this file"),
    };
    let found = scope.sink.error(code::REFERENCE, at.span.clone(), message);
    if let (Some(near), false) = (near, masked) {
        found.help(format!("a service with a similar name is declared: `{near}`"));
    }
}
