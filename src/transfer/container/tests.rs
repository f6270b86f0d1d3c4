//! What an engine says of a container, and the job that is made of it.

use serde_json::{Value, json};

use super::super::{Imported, Options, tests::loaded};
use super::{Times, import_container};

/// As Docker 20.10 describes a container that was made without any flag.
fn plain() -> Value {
    serde_json::from_str(include_str!("plain.json")).unwrap()
}

/// The same with other values: objects are merged, anything else is replaced.
fn with(changes: Value) -> Value {
    let mut container = plain();
    merge(&mut container, changes);
    container
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes,
    }
}

fn imported(container: &Value, image: &Value) -> Imported {
    let times = Times {
        schedules: vec!["@daily".to_owned()],
        every: None,
    };
    let imported = import_container(container, Some(image), &times, &Options::default());
    let wrong: Vec<_> = loaded(&imported.text)
        .diagnostics
        .into_iter()
        .filter(|found| found.is_error() && found.code != "policy")
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{}", imported.text);
    imported
}

/// The lines of the job between its name and its triggers.
fn keys(imported: &Imported) -> Vec<&str> {
    let lines = imported.text.lines().skip_while(|line| *line != "  box:").skip(1);
    lines
        .take_while(|line| *line != "    triggers:")
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect()
}

fn report(imported: &Imported) -> Vec<&str> {
    imported
        .report
        .iter()
        .map(|found| found.message.as_str())
        .collect()
}

#[test]
fn a_container_without_its_images_entry_point_runs_its_command_alone() {
    let image = json!({"Config": {"Entrypoint": ["/bin/echo", "EP"], "Cmd": ["of the image"]}});
    let of = |entrypoint: Value, command: Value| {
        let container = with(json!({"Config": {"Entrypoint": entrypoint, "Cmd": command}}));
        keys(&imported(&container, &image))[1..].join("\n")
    };
    // `--entrypoint ''`
    assert_eq!(
        of(Value::Null, json!(["sh", "-c", "echo real"])),
        "entrypoint: [\"\"]\ncommand: [\"sh\", \"-c\", \"echo real\"]"
    );
    // Beside an entry point of one's own, the image's command is none.
    assert_eq!(
        of(json!([]), json!(["of the image"])),
        "entrypoint: [\"\"]\ncommand: [\"of the image\"]"
    );
    assert_eq!(
        of(json!(["/bin/true"]), Value::Null),
        "entrypoint: [\"/bin/true\"]"
    );
    let same = json!(["/bin/echo", "EP"]);
    assert_eq!(
        of(same.clone(), Value::Null),
        "entrypoint: [\"/bin/echo\", \"EP\"]"
    );
    assert_eq!(of(same.clone(), json!(["x"])), "command: [\"x\"]");
    assert_eq!(of(same, json!(["of the image"])), "");
}
