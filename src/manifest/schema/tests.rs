//! Rows, reader and schema say the same: each row is read, each key that is read has a row, and the
//! schema takes and refuses what the reader does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::diagnostic::Sink;
use super::super::keys::{self, Row, Section, Shape};
use super::super::yaml::{self, Kind, Node};
use super::super::{Diagnostic, Files, ManifestFile, PathFact, Settings, load};
use super::json_schema;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// No value is right where this stands, except where anything is.
fn nonsense() -> Value {
    json!([["nonsense"]])
}

/// A row, and a manifest around a value for it.
struct Place<'b> {
    section: &'static Section,
    row: &'static Row,
    around: &'b dyn Fn(Value) -> Value,
}

/// Visits every row that can be reached from `shape`. Sections do not hold themselves.
fn visit(shape: &'static Shape, around: &dyn Fn(Value) -> Value, see: &mut dyn FnMut(Place<'_>)) {
    match shape {
        Shape::List(item) | Shape::Filled(item) => visit(item, &|value| around(json!([value])), see),
        // A network `j` is declared in every manifest that is built here.
        Shape::Map(item) | Shape::Named(_, item) => visit(item, &|value| around(json!({"j": value})), see),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| visit(shape, around, see)),
        Shape::Keys(section) => visit_section(section, around, see),
        _ => {}
    }
}

fn visit_section(section: &'static Section, around: &dyn Fn(Value) -> Value, see: &mut dyn FnMut(Place<'_>)) {
    for row in section.rows() {
        let with = |value: Value| {
            let mut object = required_of(section);
            object[row.name] = value;
            around(object)
        };
        see(Place {
            section,
            row,
            around: &with,
        });
        visit(&row.shape, &with, see);
    }
}

/// An object with no more than what must be there.
fn required_of(section: &Section) -> Value {
    let mut out = json!({});
    for row in section.rows() {
        if section.required.contains(&row.name) {
            out[row.name] = sample(&row.shape);
        }
    }
    out
}

fn sample(shape: &Shape) -> Value {
    match shape {
        Shape::Word(words) => json!(words[0]),
        Shape::Cron => json!("0 2 * * *"),
        Shape::Integer | Shape::Count => json!(1),
        Shape::Keys(section) => required_of(section),
        _ => json!("/x"),
    }
}

fn each_place(see: &mut dyn FnMut(Place<'_>)) {
    let whole = |value: Value| {
        let mut value = value;
        for key in ["jobs", "networks"] {
            if value.get(key).is_none() {
                value[key] = json!({});
            }
        }
        if value["networks"].is_object() && value["networks"].get("j").is_none() {
            value["networks"]["j"] = json!({"external": true});
        }
        value
    };
    visit_section(&keys::MANIFEST, &whole, see);
}

fn read(text: &str) -> Vec<Diagnostic> {
    let mut files = Files {
        manifests: vec![ManifestFile {
            path: "a.yaml".to_owned(),
            folder: PathBuf::from("/srv/jobs"),
            text: Ok(text.to_owned()),
            // What full.yaml asks for.
            dot_env: Some(Ok("TAG=1\nPASSWORD=x\n".to_owned())),
            env_files: BTreeMap::new(),
            commit: None,
            stale: false,
        }],
        paths: BTreeMap::new(),
    };
    loop {
        let loaded = load(&files, &Settings::default());
        if loaded.wants.paths.is_empty() {
            return loaded.diagnostics;
        }
        for path in loaded.wants.paths {
            let fact = PathFact {
                real: path.clone(),
                exists: true,
                holds: None,
            };
            files.paths.insert(path, fact);
        }
    }
}

/// What is said at the value of a row, when `value` stands there.
fn said_at(place: &Place<'_>, value: Value) -> Vec<Diagnostic> {
    // JSON is YAML.
    let text = (place.around)(value.clone()).to_string();
    let key = format!("\"{}\":{value}", place.row.name);
    let at = text.find(&key).expect("the row is in the text");
    let place = at..at + key.len();
    let mut said = read(&text);
    said.retain(|found| {
        found
            .span
            .as_ref()
            .is_some_and(|span| place.contains(&span.start))
    });
    said
}

#[test]
fn every_row_is_read() {
    let mut seen = 0;
    each_place(&mut |place| {
        if !matches!(place.row.shape, Shape::Any) {
            let said = said_at(&place, nonsense());
            let (of, name) = (place.section.of, place.row.name);
            assert!(
                !said.is_empty(),
                "`{name}` of {of} has a row, and nobody reads it"
            );
            seen += 1;
        }
    });
    assert!(seen > 70, "only {seen} rows were seen");
}

#[test]
fn a_key_without_a_row_is_refused_wherever_it_stands() {
    each_place(&mut |place| {
        if matches!(place.row.shape, Shape::Keys(_)) {
            let said = said_at(&place, json!({"nonsense": 1}));
            let unknown = said.iter().any(|found| found.code == "unknown-key");
            assert!(unknown, "`{}`: {said:?}", place.row.name);
        }
    });
}

/// What the reader offers instead of a wrong word.
fn offered(said: &[Diagnostic]) -> Option<Vec<String>> {
    let help = said.first()?.help.as_ref()?.strip_prefix("one of ")?;
    let words = help.split(", ").map(|word| word.trim_matches('`').to_owned());
    Some(words.collect())
}

#[test]
fn words_of_rows_are_those_of_the_reader() {
    let mut seen = 0;
    each_place(&mut |place| {
        let words: &[&str] = match &place.row.shape {
            Shape::Word(words) => words,
            Shape::Either([Shape::Word(words), ..]) => words,
            _ => return,
        };
        let (of, name) = (place.section.of, place.row.name);
        let Some(offered) = offered(&said_at(&place, json!("zzzzzzzz"))) else {
            return;
        };
        for word in words {
            assert!(
                offered.iter().any(|one| one == word),
                "`{name}: {word}` of {of} is not read"
            );
        }
        for word in offered {
            let refused = said_at(&place, json!(word)).iter().any(Diagnostic::is_error);
            assert!(
                words.contains(&word.as_str()) || refused,
                "`{name}: {word}` of {of} has no row"
            );
        }
        seen += 1;
    });
    assert!(seen >= 6, "only {seen} rows with words were seen");
}

/// The text as an editor's own reader would see it.
pub(crate) fn as_json(text: &str) -> Option<Value> {
    let mut sink = Sink::new("a.yaml", text);
    let node = yaml::parse(text, &mut sink);
    (!sink.has_errors()).then(|| node.map_or(Value::Null, |node| value_of(&node)))
}

fn value_of(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Seq(items) => items.iter().map(value_of).collect(),
        yaml::Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.text.clone(), value_of(&entry.value)))
            .collect(),
        yaml::Value::Scalar(scalar) => match scalar.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => json!(value),
            Kind::Int(value) => json!(value),
            Kind::Float(value) => json!(value),
            Kind::Text => json!(scalar.text),
        },
    }
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft7::new(&json_schema()).expect("a schema of draft 7")
}

#[test]
fn the_schema_refuses_nonsense_in_every_key() {
    let validator = validator();
    each_place(&mut |place| {
        let any = matches!(place.row.shape, Shape::Any);
        let accepted = validator.is_valid(&(place.around)(nonsense()));
        assert_eq!(accepted, any, "`{}` of {}", place.row.name, place.section.of);
        if let Shape::Keys(section) = &place.row.shape {
            let mut unknown = required_of(section);
            unknown["nonsense"] = json!(1);
            let accepted = validator.is_valid(&(place.around)(unknown));
            assert!(!accepted, "an unknown key in `{}`", place.row.name);
        }
    });
}

/// Objects that lie beside an example's manifests.
fn is_for_kubernetes(path: &Path) -> bool {
    let text = fs::read_to_string(path).expect("a text");
    text.lines().any(|line| line.starts_with("apiVersion:"))
}

/// Manifests without a mistake: those of the tests and every example.
fn good_manifests() -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                below(&path, found);
            } else if path.extension().is_some_and(|end| end == "yaml") && !is_for_kubernetes(&path) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["tests/data/manifests", "examples", "schedules.d"] {
        below(&Path::new(ROOT).join(folder), &mut found);
    }
    found.sort();
    found
}

/// Marks the rows that a manifest uses.
fn used(section: &'static Section, value: &Value, found: &mut BTreeSet<(&'static str, &'static str)>) {
    for row in section.rows() {
        if let Some(value) = value.get(row.name) {
            found.insert((section.id, row.name));
            used_in(&row.shape, value, found);
        }
    }
}

fn used_in(shape: &'static Shape, value: &Value, found: &mut BTreeSet<(&'static str, &'static str)>) {
    match (shape, value) {
        (Shape::Keys(section), Value::Object(_)) => used(section, value, found),
        (Shape::List(item) | Shape::Filled(item), Value::Array(values)) => {
            values.iter().for_each(|value| used_in(item, value, found));
        }
        (Shape::Map(item) | Shape::Named(_, item), Value::Object(values)) => {
            values.values().for_each(|value| used_in(item, value, found));
        }
        (Shape::Either(shapes), _) => shapes.iter().for_each(|shape| used_in(shape, value, found)),
        _ => {}
    }
}

/// Refused by the default policy, or Compose's own: no manifest of ours shows them.
const NOT_SHOWN: [&str; 8] = [
    "cap_add",
    "devices",
    "gpus",
    "pid",
    "userns_mode",
    "uts",
    "services",
    "version",
];

#[test]
fn the_schema_accepts_every_good_manifest_and_each_key_is_in_one() {
    let validator = validator();
    let mut shown = BTreeSet::new();
    for path in good_manifests() {
        let text = fs::read_to_string(&path).expect("a manifest");
        let mut wrong = read(&text);
        // Variables of examples come from their own `.env`; `tests/it` loads them.
        wrong.retain(|found| found.is_error() && found.code != "interpolation");
        assert!(wrong.is_empty(), "{}: {wrong:#?}", path.display());
        let value = as_json(&text).expect("YAML");
        let why: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(why.is_empty(), "{}: {why:#?}", path.display());
        used(&keys::MANIFEST, &value, &mut shown);
    }
    let mut missing = BTreeSet::new();
    each_place(&mut |place| {
        let name = place.row.name;
        let below_one = matches!(place.section.id, "device" | "gpus");
        let exempt = below_one || NOT_SHOWN.contains(&name) || matches!(place.row.shape, Shape::Any);
        // The defaults of a file are read as those of a job.
        let id = match place.section.id {
            "file_scheduler" => "job_scheduler",
            id => id,
        };
        if !exempt && !shown.contains(&(id, name)) {
            missing.insert(format!("`{name}` of {}", place.section.of));
        }
    });
    assert!(
        missing.is_empty(),
        "no manifest in tests/data/manifests shows {missing:?}"
    );
}

/// What is wrong in a manifest and cannot be said by a schema, or not without repeating the reader.
const BEYOND_A_SCHEMA: &[(&str, &str)] = &[
    ("cron_ambiguous_days", "the meaning of an expression"),
    ("cron_letters_for_digits", "the meaning of an expression"),
    ("cron_never", "the meaning of an expression"),
    ("cron_out_of_range", "the meaning of an expression"),
    ("cron_reversed_range", "the meaning of an expression"),
    ("cron_step_zero", "the meaning of an expression"),
    ("cron_unknown_macro", "the meaning of an expression"),
    ("cron_unknown_names", "the meaning of an expression"),
    ("entry_says_something_else", "two places that differ"),
    ("external_files", "what an engine without a cluster keeps"),
    (
        "network_and_mode",
        "two keys that exclude each other, unless one is a variable",
    ),
    ("network_hosts", "the parts of a short form"),
    ("network_undeclared", "what is declared elsewhere in the file"),
    ("policy_binds", "the operator's rules"),
    ("policy_refusals", "the operator's rules"),
    ("value_labels_that_are_ours", "names in the list form"),
    ("value_quotes_in_a_command", "words, as a shell splits them"),
    ("variable_bad_name", "variables, wherever a text stands"),
    ("variable_required", "what is set beside the file"),
    ("variable_unclosed", "variables, wherever a text stands"),
    ("variable_without_a_name", "variables, wherever a text stands"),
    ("volume_short_forms", "the parts of a short form"),
    ("volume_twice_at_one_place", "two entries of a list that differ"),
    ("volume_undeclared", "what is declared elsewhere in the file"),
    ("zone_unknown", "which time zones there are"),
];

#[test]
fn the_schema_refuses_every_broken_manifest_that_it_can() {
    let validator = validator();
    let mut accepted = BTreeSet::new();
    let (mut refused, mut unreadable) = (0, 0);
    for entry in fs::read_dir(Path::new(ROOT).join("tests/manifests/broken")).expect("the corpus") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        // What is no YAML is said by every editor's reader.
        let value = fs::read_to_string(&path).ok().and_then(|text| as_json(&text));
        match value {
            None => unreadable += 1,
            Some(value) if !validator.is_valid(&value) => refused += 1,
            Some(_) => {
                let name = path
                    .file_stem()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                accepted.insert(name.to_owned());
            }
        }
    }
    let listed: BTreeSet<String> = BEYOND_A_SCHEMA
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(
        accepted, listed,
        "of {refused} refused and {unreadable} that are no YAML"
    );
    assert!(refused > 40, "only {refused}");
}

/// The copy that the examples name.
#[test]
fn the_committed_copy_is_the_printed_one() {
    let path = Path::new(ROOT).join("examples/schema.json");
    let printed = format!("{:#}\n", json_schema());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &printed).expect("written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == printed,
        "examples/schema.json is not what `schema` prints; `make bless` writes it"
    );
}
