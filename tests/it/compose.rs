//! Compose's attributes of a job, in each of their forms, and what the engine is asked for them:
//! `tests/compose/attributes.txt`. What stands there was compared with the Compose Specification, form by
//! form, and is with what a real `docker compose config` makes of it (`tests/compose/canonical.txt`).
//! `BLESS=1` writes the requests anew; read the diff.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

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

/// The only job of a file with this beside `jobs`, and this in the job; or why there is none.
fn spec(yaml: &str) -> Result<ContainerSpec, String> {
    let (job, top) = yaml.split_once("---\n").unwrap_or((yaml, ""));
    let mut text = String::from("name: t\njobs:\n  j:\n    triggers: {manual: true}\n");
    if !job.contains("image:") {
        text.push_str("    image: busybox\n");
    }
    for line in job.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text.push_str(top);
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.yaml"), &text).expect("written");
    fs::write(folder.path().join("file.txt"), "from a file\n").expect("written");
    fs::write(folder.path().join("db.env"), "FROM_FILE=1\n").expect("written");
    fs::write(folder.path().join("profile.json"), PROFILE).expect("written");
    fs::write(folder.path().join(".env"), "FROM_DOT_ENV=here\n").expect("written");
    let mut settings = permissive();
    settings.profiles.insert("*".to_owned());
    settings.policy.bind_roots.push("/srv".into());
    let (files, loaded) = source::load(folder.path(), &settings).expect("a directory");
    let errors = loaded.diagnostics.iter().filter(|found| found.is_error());
    let messages: Vec<&str> = errors.map(|found| found.message.as_str()).collect();
    if !messages.is_empty() {
        return Err(messages.join("; "));
    }
    let job = loaded.desired.jobs.into_values().next();
    let job = job.unwrap_or_else(|| {
        panic!(
            "{text}\n{}",
            render(&loaded.diagnostics, &files.texts(), "", false)
        )
    });
    let mut spec = serde_json::to_string(
        &job.container
            .map_texts(|text| Ok::<_, ()>(docker_scheduler::model::Text::plain(text.expose())))
            .expect("mapped"),
    )
    .expect("JSON");
    let real = fs::canonicalize(folder.path()).expect("a path");
    spec = spec.replace(real.to_str().expect("text"), "/srv/jobs");
    Ok(serde_json::from_str(&spec).expect("a spec reads back what it wrote"))
}

/// A seccomp profile, as people write them.
const PROFILE: &str = "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n";

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
    let spec = match spec(yaml) {
        Ok(spec) => spec,
        Err(why) => return format!("refused: {why}"),
    };
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
    let plain = self::spec("").expect("a job of an image alone");
    compare("", &body(plain), &body(spec), &mut lines);
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

/// What `docker compose config` made of each form, where a binary of that version was at hand.
const CANONICAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compose/canonical.txt");

/// Forms that are not what Compose makes of them, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("configs: mapping", "numbers for `uid` and `gid` are taken, too"),
    (
        "devices: mapping with a name of the Container Device Interface",
        "it has no path in the container, so `target` may be left out",
    ),
    (
        "devices: with permissions alone",
        "a target that is no path is refused before the engine does",
    ),
    (
        "env_file: mapping",
        "the newer Compose takes a mapping without a list",
    ),
    (
        "healthcheck: empty list",
        "a test that is none is a mistake more often than a wish",
    ),
    (
        "memswap_limit: text of minus one",
        "texts are taken where numbers are",
    ),
    (
        "networks: nothing",
        "nothing is no list of networks, here as with other keys",
    ),
    (
        "privileged: yes",
        "a word of YAML 1.1 is refused rather than guessed",
    ),
    (
        "secrets: by name, from each source",
        "`content` is for secrets, too; `validate --portable` says so",
    ),
    (
        "secrets: octal text as the mode",
        "the octal form of YAML 1.2 is taken, too",
    ),
    (
        "ulimits: unlimited",
        "its `config` leaves out a soft limit of 0, and takes none from it",
    ),
    ("tty: on", "a word of YAML 1.1 is refused rather than guessed"),
    (
        "volumes: long bind with propagation",
        "known, and not supported yet",
    ),
    (
        "volumes: long form of a subfolder of a volume",
        "known, and not supported yet",
    ),
    (
        "volumes: long forms",
        "its `config` shows `create_host_path: false` as nothing, and reads that as true",
    ),
    (
        "volumes: short forms with options",
        "labels of SELinux and propagation are not supported yet",
    ),
    ("working_dir: relative", "the engine refuses it"),
];

/// The forms that can be asked about: with services beside it a job is no service.
fn comparable(text: &str) -> Vec<Form> {
    let all = forms(text).into_iter();
    all.filter(|form| !form.yaml.contains("services:")).collect()
}

#[test]
fn forms_are_read_as_docker_compose_reads_them() {
    let text = fs::read_to_string(FILE).expect("the file");
    if let Some(binary) = std::env::var_os("DOCKER_COMPOSE") {
        fs::write(CANONICAL, canonical(Path::new(&binary), &comparable(&text))).expect("written");
    }
    let kept = fs::read_to_string(CANONICAL).expect("the vectors; tests/compose/canonical.sh writes them");
    let vectors: BTreeMap<String, Form> = forms(&kept)
        .into_iter()
        .map(|form| (form.title.clone(), form))
        .collect();
    let mut wrong = Vec::new();
    let mut different = BTreeSet::new();
    for form in comparable(&text) {
        let vector = vectors
            .get(&form.title)
            .filter(|vector| vector.yaml == form.yaml)
            .unwrap_or_else(|| {
                panic!(
                    "`{}` is not in {CANONICAL}; tests/compose/canonical.sh writes it",
                    form.title
                )
            });
        let ours = in_order(&asked(&form.yaml));
        let theirs = match vector.asked.strip_prefix("refused: ") {
            Some(_) => "refused".to_owned(),
            None => in_order(&asked(&vector.asked)),
        };
        let same = match ours.starts_with("refused: ") {
            true => theirs == "refused",
            false => ours == theirs,
        };
        match DIFFERENCES.iter().any(|(title, _)| *title == form.title) {
            true if same => wrong.push(format!("`{}` is no difference any more", form.title)),
            true => drop(different.insert(form.title)),
            false if !same => wrong.push(format!(
                "### {}\n{}ours:\n{ours}\nas Compose writes it:\n{theirs}",
                form.title, form.yaml
            )),
            false => {}
        }
    }
    let listed: BTreeSet<String> = DIFFERENCES.iter().map(|(title, _)| (*title).to_owned()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(different, listed, "each difference is one of a form");
}

/// The order of names in `/etc/hosts` has no meaning, and Compose sorts them.
fn in_order(asked: &str) -> String {
    let lines = asked
        .lines()
        .map(|line| match line.strip_prefix("/HostConfig/ExtraHosts = ") {
            Some(list) => {
                let mut hosts: Vec<String> = serde_json::from_str(list).expect("a list");
                hosts.sort();
                format!("/HostConfig/ExtraHosts = {hosts:?}")
            }
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// Asks a `docker-compose` what it makes of each form, written as a service.
fn canonical(binary: &Path, forms: &[Form]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("file.txt", "from a file\n"),
        ("db.env", "FROM_FILE=1\n"),
        ("profile.json", PROFILE),
        (".env", "FROM_DOT_ENV=here\n"),
    ] {
        fs::write(folder.path().join(name), text).expect("written");
    }
    let ask = |arguments: &[&str]| {
        Command::new(binary)
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .output()
            .expect("docker-compose runs")
    };
    let version = String::from_utf8(ask(&["version", "--short"]).stdout).expect("text");
    let mut out = format!(
        "# What `docker compose config` of Docker Compose {} makes of each form in attributes.txt.\n\
         # Written by canonical.sh.\n\n",
        version.trim()
    );
    for form in forms {
        let (job, top) = form.yaml.split_once("---\n").unwrap_or((&form.yaml, ""));
        let mut text = String::from("name: t\nservices:\n  db: {image: db}\n  j:\n");
        if !job.contains("image:") {
            text.push_str("    image: busybox\n");
        }
        for line in job.lines() {
            text.push_str(&format!("    {line}\n"));
        }
        text.push_str(top);
        fs::write(folder.path().join("compose.yaml"), text).expect("written");
        let said = ask(&["--profile", "*", "config", "--format", "json"]);
        let said_of = match said.status.success() {
            true => service(
                &String::from_utf8(said.stdout).expect("text"),
                form,
                folder.path(),
            ),
            false => {
                let words = String::from_utf8(said.stderr).expect("text");
                let words = words.replace(folder.path().to_str().expect("text"), ".");
                format!(
                    "refused: {}\n",
                    words.split_whitespace().collect::<Vec<_>>().join(" ")
                )
            }
        };
        out.push_str(&format!("### {}\n{}>>>\n{said_of}\n", form.title, form.yaml));
    }
    out.trim_end().to_owned() + "\n"
}

/// The service, and what stands beside `services`, a key a line.
fn service(config: &str, form: &Form, folder: &Path) -> String {
    let folder = fs::canonicalize(folder).expect("a path");
    let folder = folder.to_str().expect("text");
    let config = config.replace(&format!("{folder}/"), "./").replace(folder, ".");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    let config = config.as_object_mut().expect("a mapping");
    config.remove("name");
    let services = config.remove("services").expect("services");
    let mut job = services["j"].as_object().expect("the service").clone();
    // What is left out, and so shown as nothing.
    job.retain(|key, value| !(value.is_null() && matches!(key.as_str(), "command" | "entrypoint")));
    let mut top: BTreeMap<String, Value> = config.clone().into_iter().collect();
    if !form.yaml.contains("networks") {
        // A job without `networks` has the engine's default one, and a service its project's.
        job.remove("networks");
        top.remove("networks");
    }
    for network in top
        .get_mut("networks")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        network.1.as_object_mut().map(|network| network.remove("ipam"));
    }
    let line = |(key, value): (&String, &Value)| format!("{key}: {value}\n");
    let mut out: String = job.iter().map(line).collect();
    if !top.is_empty() {
        out.push_str("---\n");
        out.extend(top.iter().map(line));
    }
    out
}
