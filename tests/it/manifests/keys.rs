//! What each key of a manifest becomes in requests to the engine, for the oldest API version and for the
//! newest: `tests/manifests/keys.yaml` has a job for each, and the program arms them all on an engine
//! that notes what it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use docker_scheduler::engine::docker::ApiVersion;
use regex::Regex;
use serde_json::Value;
use serde_yaml::Value as Yaml;

use crate::cli::Program;
use crate::fake_engine::{FakeEngine, Request, id};

const SAMPLES: &str = include_str!("../../manifests/keys.yaml");

/// Sections of the schema whose keys add up to those of a job.
const SECTIONS: [&str; 16] = [
    "attachment",
    "backoff",
    "env_file",
    "exec",
    "history",
    "job",
    "job_scheduler",
    "kubernetes",
    "logging",
    "mount",
    "mount_bind",
    "mount_tmpfs",
    "mount_volume",
    "schedule",
    "triggers",
    "volume",
];

/// The samples that the program understands today, and the names of their jobs.
pub fn manifest() -> (String, Vec<String>) {
    let mut samples: Yaml = serde_yaml::from_str(SAMPLES).expect("YAML");
    samples.apply_merge().expect("merge keys");
    // What the engine cannot do is said once the manifest is otherwise right.
    loop {
        let places = not_supported(&serde_yaml::to_string(&samples).expect("YAML"));
        if places.is_empty() {
            break;
        }
        for place in places {
            leave_out(&mut samples, &place);
        }
    }
    let jobs = samples["jobs"].as_mapping().expect("jobs").keys();
    let names = jobs
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    (serde_yaml::to_string(&samples).expect("YAML"), names)
}

/// Section, entry and key of whatever `validate` says is not supported yet.
fn not_supported(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let program = Program::without_engine();
    program.declare("keys.yaml", text);
    program.declare("some.env", "");
    program.declare("db.secret", "");
    let said = program
        .run(&["--config", &operator(&program), "validate", "--format", "json"])
        .stdout;
    let diagnostics = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    diagnostics
        .filter(|one| one["severity"] == "error")
        .map(|one| {
            assert_eq!(one["code"], "unsupported", "{one}");
            let line = usize::try_from(one["line"].as_u64().expect("a line")).expect("a small number");
            place(&lines[..line])
        })
        .collect()
}

/// Keys that lead to the last of these lines, outermost first; each level is indented by two more.
fn place(lines: &[&str]) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found: Vec<&str> = Vec::new();
    let mut below = usize::MAX;
    for line in lines
        .iter()
        .rev()
        .filter(|line| !line.trim_start().starts_with('-'))
    {
        if indent(line) < below {
            below = indent(line);
            found.push(line);
        }
    }
    let key = |line: &&str| line.trim().split(':').next().expect("a key").to_owned();
    found.iter().rev().map(key).collect()
}

/// A job goes with its key; elsewhere the key goes alone.
fn leave_out(samples: &mut Yaml, place: &[String]) {
    let (of, key) = match place {
        [section] => (Some(samples), section),
        [section, job, ..] if section == "jobs" => (samples.get_mut("jobs"), job),
        [section, entry, key, ..] => (samples[section.as_str()].get_mut(entry.as_str()), key),
        _ => panic!("{place:?}"),
    };
    // It may have gone with another key of its own.
    if let Some(fields) = of.and_then(Yaml::as_mapping_mut) {
        fields.shift_remove(key.as_str());
    }
}

/// Writes the file of an operator who allows everything; its name.
fn operator(program: &Program) -> String {
    let file = program.state.path().join("operator.yaml");
    std::fs::write(&file, allowing_everything()).expect("written");
    file.display().to_string()
}

pub fn allowing_everything() -> String {
    let switches = Regex::new(r"pub (allow_\w+): bool").expect("a pattern");
    let policy: String = switches
        .captures_iter(include_str!("../../../src/policy.rs"))
        .map(|found| format!("  {}: true\n", &found[1]))
        .collect();
    format!("policy:\n{policy}  bind_roots: [/srv]\n  exec: [web]\n")
}

/// Every key in a document, at whatever depth.
fn all_keys(of: &Yaml, found: &mut BTreeSet<String>) {
    match of {
        Yaml::Mapping(fields) => {
            for (key, value) in fields {
                found.insert(key.as_str().expect("a key").to_owned());
                all_keys(value, found);
            }
        }
        Yaml::Sequence(items) => items.iter().for_each(|item| all_keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_key_has_a_sample() {
    let schema: Value = serde_json::from_str(&Program::without_engine().run(&["schema"]).ok()).expect("JSON");
    let mut used = BTreeSet::new();
    all_keys(&serde_yaml::from_str(SAMPLES).expect("YAML"), &mut used);
    for section in SECTIONS {
        let keys = schema["definitions"][section]["properties"].as_object();
        for key in keys.unwrap_or_else(|| panic!("no section {section}")).keys() {
            assert!(
                used.contains(key),
                "tests/manifests/keys.yaml has no job with `{key}` ({section})"
            );
        }
    }
}

/// What was asked for each job beside questions, and what for none.
fn requests_at(api: ApiVersion, text: &str) -> (BTreeMap<String, Vec<Asked>>, String) {
    let fake = FakeEngine::remembering(&api.to_string());
    let program = Program {
        host: format!("unix://{}", fake.socket().display()),
        ..Program::without_engine()
    };
    program.declare("keys.yaml", text);
    program.declare("some.env", "FROM_FILE=yes\n");
    program.declare("db.secret", "");
    let applied = program.run(&["--config", &operator(&program), "apply"]);
    assert!(applied.code == Some(0) || applied.code == Some(1), "{applied:?}");
    assert!(!applied.stderr.contains("not expected here"), "{applied:?}");
    let folder = program.state.path().display().to_string();
    let mut requests = fake.requests();
    for request in &mut requests {
        request.body = String::from_utf8_lossy(&request.body)
            .replace(&folder, "/DIR")
            .into_bytes();
    }
    sorted(requests)
}

/// A request of a job, in words; a create as its body.
enum Asked {
    Create(Value),
    Other(String),
}

fn sorted(requests: Vec<Request>) -> (BTreeMap<String, Vec<Asked>>, String) {
    let (mut of_jobs, mut jobs_by_id) = (BTreeMap::<String, Vec<Asked>>::new(), BTreeMap::new());
    let mut others = BTreeSet::new();
    for request in requests {
        if ["GET", "HEAD"].contains(&request.method.as_str()) {
            continue;
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if let Some(job) = body["Labels"]["docker-scheduler.job"].as_str() {
            let name = request.parameter("name").expect("a name");
            jobs_by_id.insert(id(&name), job.to_owned());
            let mut asked = vec![Asked::Create(body.clone())];
            let rest = request.path.replace(&name, "NAME");
            if !rest.ends_with("/containers/create?name=NAME&platform=") {
                asked.push(Asked::Other(without_version(&rest)));
            }
            of_jobs.entry(job.to_owned()).or_default().extend(asked);
            continue;
        }
        let mut text = format!("{} {}", request.method, without_version(&request.path));
        if !request.body.is_empty() {
            let _ = write!(text, " {body}");
        }
        match jobs_by_id.iter().find(|(id, _)| text.contains(*id)) {
            Some((id, job)) => {
                let text = text.replace(id, "ID");
                of_jobs.entry(job.clone()).or_default().push(Asked::Other(text));
            }
            None => drop(others.insert(without_ledger(&text))),
        }
    }
    (of_jobs, others.into_iter().collect::<Vec<_>>().join("\n"))
}

fn without_version(path: &str) -> String {
    match path
        .strip_prefix("/v1.")
        .and_then(|rest| rest.find('/').map(|at| &rest[at..]))
    {
        Some(rest) => rest.to_owned(),
        None => path.to_owned(),
    }
}

fn without_ledger(text: &str) -> String {
    let pattern = Regex::new(r#""docker-scheduler.ledger":"[^"]*""#).expect("a pattern");
    pattern
        .replace_all(text, r#""docker-scheduler.ledger":"LEDGER""#)
        .into_owned()
}

/// Values without an equal in a Swarm, of keys whose samples have one.
const NOT_IN_A_SWARM: &str = r#"name: values

jobs:
  base: &base
    image: busybox:1
    command: ["true"]
    triggers: {schedule: ["0 3 1 1 *"]}

  networks: {<<: *base, networks: {front: {ipv4_address: 10.0.0.2}}}
  network_mode: {<<: *base, network_mode: "container:db"}
  platform: {<<: *base, platform: linux/arm/v7}
  ports: {<<: *base, ports: ["8000-8010:80"]}
  pull_policy: {<<: *base, pull_policy: never}
  pull_policy-daily: {<<: *base, pull_policy: daily}
  tmpfs: {<<: *base, tmpfs: ["/cache:noexec"]}

networks:
  front: {name: keys_front, external: true}
"#;

/// All keys there are, each in a job: what has no equal in a Swarm is an error at its line, before any
/// engine is asked.
#[test]
fn every_key_without_an_equal_in_a_swarm_is_refused_at_its_line() {
    let program = Program::without_engine();
    let (text, jobs) = manifest();
    program.declare("keys.yaml", &text);
    program.declare("values.yaml", NOT_IN_A_SWARM);
    program.declare("some.env", "");
    program.declare("db.secret", "");
    let with = |arguments: &[&str]| {
        let operator = operator(&program);
        let mut all = vec!["--config", operator.as_str()];
        all.extend(arguments);
        let ended = program.run(&all);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        ended
    };
    let said = with(&["validate", "--engine", "swarm"]).stderr;
    let planned = with(&["plan", "--engine", "swarm"]).stderr;
    assert_eq!(
        planned.strip_prefix(said.as_str()),
        Some("error: the manifests in `schedules.d` have errors\n"),
        "`plan` says the same"
    );
    insta::assert_snapshot!(said);

    // Each refusal that the program can make is among them.
    let lines = with(&["validate", "--engine", "swarm", "--format", "json"]).stdout;
    let refused: BTreeSet<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|one| one["severity"] == "error")
        .map(|one| {
            let file = one["file"].as_str().expect("a file");
            let of = if file.ends_with("keys.yaml") {
                &text
            } else {
                NOT_IN_A_SWARM
            };
            let at = usize::try_from(one["line"].as_u64().expect("a line")).expect("a small number");
            let column = usize::try_from(one["column"].as_u64().expect("a column")).expect("a small number");
            let line = of.lines().nth(at - 1).expect("a line of the manifest");
            let key = line[column - 1..].split(':').next().expect("a key");
            key.trim_matches('"').to_owned()
        })
        .collect();
    let source = include_str!("../../../src/swarm.rs");
    let of_a_swarm = source.split("fn container(").nth(1).expect("its checks");
    let of_a_swarm = of_a_swarm.split("#[cfg(test)]").next().expect("before the tests");
    let pattern = Regex::new(r#"found\s*\.(?:none|error)\(\s*"([a-z_.-]+)""#).expect("a pattern");
    let mut can_be = BTreeSet::new();
    for found in pattern.captures_iter(of_a_swarm) {
        can_be.insert(found[1].rsplit('.').next().expect("a key").to_owned());
    }
    assert!(can_be.len() > 20, "{can_be:?}");
    assert_eq!(refused, can_be, "each has a job here; {} jobs", jobs.len());
}

/// Without what tells one job, slot and creation from another.
fn plain(mut body: Value) -> Value {
    if let Some(labels) = body["Labels"].as_object_mut() {
        for key in ["attempt", "job", "ledger", "nonce", "slot", "source", "spec-hash"] {
            labels.remove(&format!("docker-scheduler.{key}"));
        }
    }
    if let Some(variables) = body["Env"].as_array_mut() {
        variables.retain(|variable| !variable.as_str().expect("a text").starts_with("SCHEDULER_"));
    }
    body
}

/// One `path = value` a line.
fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                lines.push(format!("  {path}/{key} removed"));
            }
            for (key, value) in after {
                let was = before.get(key).unwrap_or(&Value::Null);
                compare(&format!("{path}/{key}"), was, value, lines);
            }
        }
        (before, after) if before == after => {}
        (_, after) => lines.push(format!("  {path} = {after}")),
    }
}

fn told(asked: Option<&Vec<Asked>>, base: &Value) -> String {
    let mut lines = Vec::new();
    for request in asked.into_iter().flatten() {
        match request {
            Asked::Create(body) => compare("", base, &plain(body.clone()), &mut lines),
            Asked::Other(text) => lines.push(format!("  {text}")),
        }
    }
    match (asked, lines.is_empty()) {
        (None, _) => "  no container\n".to_owned(),
        (_, true) => "  as base\n".to_owned(),
        _ => lines.join("\n") + "\n",
    }
}

fn base(of_jobs: &BTreeMap<String, Vec<Asked>>) -> Value {
    match &of_jobs["base"][..] {
        [Asked::Create(body)] => plain(body.clone()),
        _ => panic!("the bare job makes more than one request"),
    }
}

/// The lines of a job in the samples, as written.
fn written(job: &str) -> String {
    let begins = |line: &&str| line.starts_with(&format!("  {job}:"));
    let mut lines = SAMPLES.lines().skip_while(|line| !begins(line));
    let first = lines.next().unwrap_or_else(|| panic!("no job {job}"));
    let rest = lines.take_while(|line| line.starts_with("    "));
    let mut text = String::new();
    for line in std::iter::once(first).chain(rest) {
        let _ = writeln!(text, "{}", line[2..].replace("<<: *base, ", ""));
    }
    text
}

#[test]
fn what_every_key_asks_of_the_engine() {
    let (text, jobs) = manifest();
    let (old, old_others) = requests_at(ApiVersion::OLDEST, &text);
    let (new, new_others) = requests_at(ApiVersion::OURS, &text);
    assert_eq!(
        old_others, new_others,
        "what belongs to no container is the same in all versions"
    );
    let (old_base, new_base) = (base(&old), base(&new));
    assert_eq!(old_base, new_base);
    let mut text = format!(
        "# the bare job\n{}\n",
        serde_json::to_string_pretty(&old_base).expect("JSON")
    );
    let _ = write!(text, "\n# for no one container\n{old_others}\n");
    for job in jobs.iter().filter(|job| *job != "base") {
        let before = told(old.get(job), &old_base);
        let _ = write!(text, "\n{}{before}", written(job));
        let after = told(new.get(job), &new_base);
        if after != before {
            let _ = write!(text, "  since a later API version:\n{after}");
        }
    }
    insta::assert_snapshot!(text);
}

/// Every key in a manifest for Kubernetes: what it adds to the objects of the bare job, or what is said of it.
#[test]
fn what_every_key_becomes_on_kubernetes() {
    let (text, jobs) = manifest();
    let program = Program::without_engine();
    program.declare("keys.yaml", &text);
    program.declare("some.env", "FROM_FILE=yes\n");
    program.declare("db.secret", "hunter2");
    let exported = program.run(&[
        "--config",
        &operator(&program),
        "--engine",
        "kubernetes",
        "export",
        "--to",
        "kubernetes",
        "--skip-unsupported",
        "--format",
        "json",
    ]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in exported.stderr.lines().filter(|line| line.starts_with('{')) {
        let found: Value = serde_json::from_str(line).expect("JSON");
        let message = found["message"].as_str().expect("a message");
        let (job, rest) = message
            .strip_prefix("job `keys.")
            .and_then(|rest| rest.split_once("`: "))
            .unwrap_or_else(|| panic!("{line}"));
        let told = format!("  {}: {rest}", found["severity"].as_str().expect("a severity"));
        said.entry(job.to_owned()).or_default().push(told);
    }
    let mut objects: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for document in serde_yaml::Deserializer::from_str(&exported.stdout) {
        let object: Value = serde::Deserialize::deserialize(document).expect("an object");
        let job = object["metadata"]["labels"]["docker-scheduler/job"].as_str();
        let job = job.expect("a job").to_owned();
        let own = format!("keys-{}", job.replace('_', "-"));
        let name = object["metadata"]["name"].as_str().expect("a name");
        let key = format!(
            "{}{}",
            object["kind"].as_str().expect("a kind"),
            &name[own.len()..]
        );
        let mut object = object.clone();
        object["metadata"]["name"] = "NAME".into();
        let pod = object.pointer_mut("/spec/jobTemplate/spec/template/spec");
        if let Some(pod) = pod.and_then(Value::as_object_mut) {
            // A pod has one container, which is best compared key by key.
            let mut container = pod["containers"][0].take();
            assert_eq!(container["name"], own["keys-".len()..], "{container}");
            container["name"] = "JOB".into();
            pod.remove("containers");
            pod.insert("container".to_owned(), container);
        }
        let label = format!(r#""docker-scheduler/job":"{job}""#);
        let plain = object.to_string().replace(&own, "NAME");
        let plain = plain.replace(&label, r#""docker-scheduler/job":"JOB""#);
        let plain = serde_json::from_str(&plain).expect("JSON");
        objects.entry(job).or_default().insert(key, plain);
    }
    let base = objects["base"].clone();
    let mut text = format!(
        "# the bare job\n{}\n",
        serde_json::to_string_pretty(&base).expect("JSON")
    );
    for job in jobs.iter().filter(|job| *job != "base") {
        let mut lines = said.remove(job).unwrap_or_default();
        match objects.get(job) {
            None if lines.iter().any(|line| line.starts_with("  error")) => {}
            None => lines.push("  no object".to_owned()),
            Some(found) => {
                for (key, object) in found {
                    let was = base.get(key).unwrap_or(&Value::Null);
                    compare(key, was, object, &mut lines);
                }
            }
        }
        if lines.is_empty() {
            lines.push("  as base".to_owned());
        }
        let _ = write!(text, "\n{}{}\n", written(job), lines.join("\n"));
    }
    insta::assert_snapshot!(text);
}
