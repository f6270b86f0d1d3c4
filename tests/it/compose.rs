//! Compose's attributes of a job, in each of their forms, and what the engine is asked for them:
//! `tests/compose/attributes.txt`. What stands there was compared with the Compose Specification, form by
//! form. `BLESS=1` writes the requests anew; read the diff.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use docker_scheduler::engine::CreateRequest;
use docker_scheduler::engine::docker::{ApiVersion, create_body};
use docker_scheduler::manifest::{Settings, json_schema, render};
use docker_scheduler::model::{ContainerSpec, FileSource};
use docker_scheduler::policy::Rules;
use docker_scheduler::source;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compose/attributes.txt");

/// One form of one attribute.
struct Form {
    title: String,
    yaml: String,
    /// Changes of the request, one a line.
    asked: String,
}

/// `### title`, YAML, `>>>`, what is asked.
fn forms(text: &str) -> Vec<Form> {
    let blocks = text.split("### ").skip(1);
    blocks
        .map(|block| {
            let (title, rest) = block.split_once('\n').expect("a title");
            let (yaml, asked) = rest.split_once(">>>\n").expect("`>>>` behind the YAML");
            Form {
                title: title.to_owned(),
                yaml: yaml.to_owned(),
                asked: asked.trim_end().to_owned(),
            }
        })
        .collect()
}

/// An operator who allows everything: what is refused is another test's affair.
fn permissive() -> Settings {
    Settings {
        policy: Rules {
            allow_privileged: true,
            allow_cap_add: true,
            allow_devices: true,
            allow_gpus: true,
            allow_host_network: true,
            allow_host_pid: true,
            allow_host_ipc: true,
            allow_host_userns: true,
            allow_host_uts: true,
            allow_unconfined: true,
            ..Rules::default()
        },
        ..Settings::default()
    }
}

/// The only job of a file with this beside `jobs`, and this in the job.
fn spec(yaml: &str) -> ContainerSpec {
    let (job, top) = yaml.split_once("---\n").unwrap_or((yaml, ""));
    let mut text = String::from("name: t\njobs:\n  j:\n    image: busybox\n    triggers: {manual: true}\n");
    for line in job.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text.push_str(top);
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.yaml"), &text).expect("written");
    fs::write(folder.path().join("file.txt"), "from a file\n").expect("written");
    fs::write(folder.path().join("db.env"), "FROM_FILE=1\n").expect("written");
    fs::write(folder.path().join(".env"), "FROM_DOT_ENV=here\n").expect("written");
    let (files, loaded) = source::load(folder.path(), &permissive()).expect("a directory");
    assert!(
        loaded.diagnostics.is_empty(),
        "{text}\n{}",
        render(&loaded.diagnostics, &files.texts(), "", false)
    );
    let job = loaded.desired.jobs.into_values().next().expect("a job");
    let mut spec = serde_json::to_string(
        &job.container
            .map_texts(|text| Ok::<_, ()>(docker_scheduler::model::Text::plain(text.expose())))
            .expect("mapped"),
    )
    .expect("JSON");
    let real = fs::canonicalize(folder.path()).expect("a path");
    spec = spec.replace(real.to_str().expect("text"), "/srv/jobs");
    serde_json::from_str(&spec).expect("a spec reads back what it wrote")
}

fn body(spec: ContainerSpec) -> Value {
    let request = CreateRequest {
        name: None,
        spec,
        labels: BTreeMap::new(),
        environment: BTreeMap::new(),
        attach: false,
        reserved: false,
    };
    let body = create_body(&request, ApiVersion::OURS).expect("a body");
    serde_json::to_value(body).expect("JSON")
}

/// What the attributes change in the request.
fn asked(yaml: &str) -> String {
    let spec = spec(yaml);
    let mut lines = Vec::new();
    if let Some(platform) = &spec.platform {
        lines.push(format!("?platform={platform}"));
    }
    for file in &spec.files {
        if let FileSource::Content {
            content,
            uid,
            gid,
            mode,
        } = &file.source
        {
            let text = content.expose();
            lines.push(format!("PUT {} {uid}:{gid} {mode:04o} {text:?}", file.target));
        }
    }
    compare("", &body(self::spec("")), &body(spec), &mut lines);
    lines.join("\n")
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                lines.push(format!("{path}/{key} removed"));
            }
            for (key, value) in after {
                let was = before.get(key).unwrap_or(&Value::Null);
                compare(&format!("{path}/{key}"), was, value, lines);
            }
        }
        (before, after) if before == after => {}
        (Value::Null, Value::Object(after)) if path.is_empty() || path == "/HostConfig" => {
            compare(
                path,
                &Value::Object(serde_json::Map::new()),
                &Value::Object(after.clone()),
                lines,
            );
        }
        (_, after) => lines.push(format!("{path} = {after}")),
    }
}

#[test]
fn every_attribute_reaches_the_engine_as_compose_has_it() {
    let text = fs::read_to_string(FILE).expect("the file");
    let head = text.split("### ").next().unwrap_or_default().to_owned();
    let mut written = head;
    let mut wrong = Vec::new();
    for form in forms(&text) {
        let asked = asked(&form.yaml);
        if asked != form.asked {
            wrong.push(format!("### {}\n{}>>>\n{asked}", form.title, form.yaml));
        }
        written.push_str(&format!("### {}\n{}>>>\n{asked}\n\n", form.title, form.yaml));
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(FILE, written.trim_end().to_owned() + "\n").expect("written");
        return;
    }
    assert!(wrong.is_empty(), "not as written:\n{}", wrong.join("\n\n"));
}

/// Keys that are no part of a create request.
const ELSEWHERE: [&str; 6] = [
    "image",
    "profiles",
    "pull_policy",
    "triggers",
    "x-scheduler",
    "env_file",
];

#[test]
fn each_attribute_of_a_job_has_its_forms() {
    let text = fs::read_to_string(FILE).expect("the file");
    let shown: BTreeSet<String> = forms(&text)
        .iter()
        .map(|form| form.title.split(':').next().unwrap_or_default().to_owned())
        .collect();
    let schema = json_schema();
    let keys = schema["definitions"]["job"]["properties"]
        .as_object()
        .expect("keys");
    let missing: Vec<&String> = keys
        .keys()
        .filter(|key| !shown.contains(*key) && !ELSEWHERE.contains(&key.as_str()))
        .collect();
    assert!(missing.is_empty(), "no form of {missing:?} in {FILE}");
}
