//! The JSON Schema of manifests, for editors: draft 7, which all of them read.
//!
//! Printed from the rows of `keys`, and never more strict than the reader. What only a reader can tell
//! (whether a volume is declared, whether a zone exists) it does not say.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::keys::{self, Row, Section, Shape};

/// Numbers with units, as [`crate::schedule::parse_duration`] takes them.
const DURATION: &str = r"^\s*([0-9.]+(w|d|h|m|s|ms|us|µs|ns))+\s*$";
const SIZE: &str = r"^\s*[0-9.]+\s*([bB]|[kKmMgGtTpP]([iI]?[bB])?)?\s*$";
const CRON: &str = r"^\s*(@[a-zA-Z]+|[^\s@]\S*(\s+\S+){4})\s*$";
/// A text in which a variable is replaced: what it is then, only the reader can tell.
const VARIABLE: &str = r"\$[{A-Za-z_]";

/// The schema as one object.
#[must_use]
pub fn json_schema() -> Value {
    let mut sections: BTreeMap<&str, Value> = BTreeMap::new();
    let mut root = section(&keys::MANIFEST, &mut sections);
    let beside_services: Map<String, Value> = keys::MANIFEST
        .later
        .iter()
        .map(|key| ((*key).to_owned(), json!(["services"])))
        .collect();
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("A manifest of docker-scheduler");
    root["description"] = json!("A Compose file with `jobs`.");
    // A file without a value is a manifest without jobs.
    root["type"] = json!(["object", "null"]);
    root["dependencies"] = Value::Object(beside_services);
    sections.insert(
        "variable",
        json!({"type": "string", "pattern": VARIABLE, "description": "A text with a variable."}),
    );
    root["definitions"] = json!(sections);
    root
}

/// The object of one section; those that it refers to are put into `sections`.
fn section(section: &'static Section, sections: &mut BTreeMap<&'static str, Value>) -> Value {
    let mut properties: Map<String, Value> = section
        .rows()
        .map(|row| (row.name.to_owned(), property(row, sections)))
        .collect();
    if section.later_is_for_services {
        let left = json!({"description": "Left to Compose, in a file that declares services."});
        let names = section.later.iter().map(|name| (*name).to_owned());
        properties.extend(names.map(|name| (name, left.clone())));
    }
    let mut out = json!({
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": false,
    });
    if !section.required.is_empty() {
        out["required"] = json!(section.required);
    }
    out
}

fn property(row: &'static Row, sections: &mut BTreeMap<&'static str, Value>) -> Value {
    let mut out = shape(&row.shape, sections);
    // What stands beside `$ref` is ignored in draft 7.
    if out.get("$ref").is_some() {
        out = json!({"allOf": [out]});
    }
    out["description"] = json!(row.doc);
    out
}

fn shape(of: &'static Shape, sections: &mut BTreeMap<&'static str, Value>) -> Value {
    match of {
        Shape::Any => json!({}),
        Shape::Null => json!({"type": "null"}),
        Shape::Text => json!({"type": "string"}),
        Shape::Scalar => json!({"type": ["string", "number", "boolean"]}),
        Shape::Like(pattern) => text_like(pattern),
        Shape::Cron => text_like(CRON),
        Shape::Duration => text_like(DURATION),
        Shape::Size => or_text_like(json!({"type": "integer", "minimum": 0}), SIZE),
        Shape::Count => or_text_like(json!({"type": "integer", "minimum": 0}), "^[+]?[0-9]+$"),
        Shape::Integer => or_text_like(json!({"type": "integer"}), "^[-+]?[0-9]+$"),
        Shape::Number => or_text_like(
            json!({"type": "number", "minimum": 0}),
            "^[+]?[0-9.]+(e[-+]?[0-9]+)?$",
        ),
        Shape::Flag => or_text_like(json!({"type": "boolean"}), "^(true|false)$"),
        Shape::Word(words) => either(vec![json!({"enum": words}), variable()]),
        Shape::List(item) => json!({"type": "array", "items": shape(item, sections)}),
        Shape::Filled(item) => {
            json!({"type": "array", "items": shape(item, sections), "minItems": 1})
        }
        Shape::Named(pattern, value) => json!({
            "type": "object",
            "propertyNames": {"pattern": pattern},
            "additionalProperties": shape(value, sections),
        }),
        Shape::Map(value) => json!({"type": "object", "additionalProperties": shape(value, sections)}),
        Shape::Keys(inner) => {
            if !sections.contains_key(inner.id) {
                // Sections do not hold themselves, but two may hold the same.
                let made = section(inner, sections);
                sections.insert(inner.id, made);
            }
            json!({"$ref": format!("#/definitions/{}", inner.id)})
        }
        Shape::Either(shapes) => either(shapes.iter().map(|one| shape(one, sections)).collect()),
    }
}

fn either(shapes: Vec<Value>) -> Value {
    json!({"anyOf": shapes})
}

fn variable() -> Value {
    json!({"$ref": "#/definitions/variable"})
}

fn text_like(pattern: &str) -> Value {
    either(vec![json!({"type": "string", "pattern": pattern}), variable()])
}

/// A value that may also be written as a text: quoted, or out of a variable.
fn or_text_like(plain: Value, pattern: &str) -> Value {
    either(vec![
        plain,
        json!({"type": "string", "pattern": pattern}),
        variable(),
    ])
}

#[cfg(test)]
mod tests;
