//! What each command asks of the engine: every request, with its query and its body, between the
//! real binary and a real engine. A wrong parameter shows as a difference in a snapshot.
//!
//! Questions are listed once and sorted, for how often one is asked depends on the clock; what changes
//! something stands in the order in which it was sent. The commands are the program's own list, so
//! that a new one is missed (by `help`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::cli::{Ended, Program, foreign, spawn, wait_for, wait_until};
use crate::proxy::{Proxy, Request};
use crate::rig::{IMAGE, Rig, VOLUME_IMAGE};

/// Commands that never ask an engine, whatever their arguments.
pub const SILENT: [&str; 16] = [
    "ack",
    "completions",
    "export",
    "health",
    "history",
    "import compose",
    "import crontab",
    "import kubernetes",
    "import ofelia",
    "init",
    "inspect",
    "list jobs",
    "ls",
    "man",
    "schema",
    "validate",
];

/// A job of far-off slots, with whatever makes requests of its own: a volume, a network to connect, a
/// login of nobody, output.
fn manifest(script: &str) -> String {
    format!(
        "name: shop\njobs:\n  report:\n    image: {IMAGE}\n    command: [sh, -c, {script:?}]\n    \
         networks: [front, back]\n    volumes: ['reports:/out']\n    stop_grace_period: 3s\n    \
         triggers:\n      manual: true\n      schedule: ['0 3 1 1 *']\n\
         networks:\n  front: {{name: req-front, external: true}}\n  back: {{name: req-back, external: true}}\n\
         volumes:\n  reports:\n"
    )
}

/// The program behind a proxy that remembers what it asks.
struct Recorder<'a> {
    rig: &'a Rig,
    proxy: Proxy,
    program: Program,
    /// Names of containers by their IDs.
    names: BTreeMap<String, String>,
    told: BTreeMap<&'static str, String>,
}

impl Recorder<'_> {
    fn on(rig: &Rig) -> Recorder<'_> {
        let proxy = Proxy::start(&rig.socket());
        Recorder {
            rig,
            program: Program {
                host: proxy.host(),
                instance: "req",
                ..Program::without_engine()
            },
            proxy,
            names: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Runs the command, which must end with `code`, and adds what it asked to the story of `command`.
    #[track_caller]
    fn record(&mut self, command: &'static str, code: i32, arguments: &[&str]) -> Ended {
        self.look();
        self.proxy.take_seen();
        let ended = self.program.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        self.look();
        let asked = self.proxy.take_seen();
        self.tell(command, arguments, &asked);
        ended
    }

    /// Remembers the names of all containers there are.
    fn look(&mut self) {
        let (_, all) = self.rig.get("/containers/json?all=1");
        let all: Vec<Value> = serde_json::from_str(&all).expect("JSON");
        for one in all {
            let name = one["Names"][0].as_str().unwrap_or_default().replace('/', "");
            let id = one["Id"].as_str().expect("an ID").to_owned();
            self.names.insert(id, name);
        }
        let (_, images) = self.rig.get("/images/json");
        let images: Vec<Value> = serde_json::from_str(&images).expect("JSON");
        for image in images {
            let id = image["Id"].as_str().expect("an ID").replace("sha256:", "");
            let tag = image["RepoTags"][0].as_str().unwrap_or_default();
            self.names.insert(id, format!("image {tag}"));
        }
    }

    /// What a process asks that goes on until it is told to end; `enough` says when.
    fn record_until(&mut self, command: &'static str, arguments: &[&str], enough: impl Fn(&Self) -> bool) {
        self.look();
        self.proxy.take_seen();
        let mut process = spawn(&self.program, arguments);
        wait_until("it has asked enough", || {
            assert!(
                process.try_wait().expect("look at it").is_none(),
                "{arguments:?} ended"
            );
            enough(self)
        });
        let sent = Command::new("kill").arg(process.id().to_string()).status();
        assert!(sent.expect("kill").success());
        wait_for(&mut process);
        self.look();
        let asked = self.proxy.take_seen();
        self.tell(command, arguments, &asked);
    }

    fn tell(&mut self, command: &'static str, arguments: &[&str], asked: &[Request]) {
        let line = self.plain(&format!("$ docker-scheduler {}\n", arguments.join(" ")));
        let is_question = |request: &&Request| matches!(request.method.as_str(), "GET" | "HEAD");
        let questions: BTreeSet<String> = asked
            .iter()
            .filter(is_question)
            .map(|request| self.told_of(request))
            .collect();
        let mut text = line;
        for question in questions {
            text.push_str(&question);
        }
        if asked.is_empty() {
            text.push_str("asks nothing\n");
        }
        if asked.iter().any(|request| !is_question(&request)) {
            text.push_str("and changes:\n");
        }
        let mut changes: Vec<String> = asked
            .iter()
            .filter(|request| !is_question(request))
            .map(|request| self.told_of(request))
            .collect();
        if arguments == ["watch"] {
            // How many slots pass before it ends depends on the clock too.
            changes = BTreeSet::from_iter(changes).into_iter().collect();
        }
        text.push_str(&changes.concat());
        let story = self.told.entry(command).or_default();
        if !story.is_empty() {
            story.push('\n');
        }
        story.push_str(&text);
    }

    /// A request as people read it: parameters decoded, one a line; the body as indented JSON.
    fn told_of(&self, request: &Request) -> String {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let mut text = format!("{} {path}\n", request.method);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let _ = writeln!(text, "    {key} = {}", decoded(value));
        }
        let body = String::from_utf8_lossy(request.body());
        if !body.is_empty() {
            let shown = match serde_json::from_str::<Value>(&body) {
                Ok(json) => serde_json::to_string_pretty(&same(json)).expect("JSON"),
                Err(_) => body.into_owned(),
            };
            for line in shown.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
        self.plain(&text)
    }

    /// The same whenever and wherever it was sent.
    fn plain(&self, text: &str) -> String {
        let text = text.replace(&self.program.state.path().display().to_string(), "STATE");
        let ids = Regex::new(r"\b[0-9a-f]{64}\b").expect("a pattern");
        let text = ids.replace_all(&text, |found: &Captures<'_>| match self.names.get(&found[0]) {
            Some(name) => format!("<{name}>"),
            None => "<gone>".to_owned(),
        });
        let rules = [
            (r"\bm-[0-9a-f]{8}\b", "m-NUMBER"),
            (r"\b20\d{6}T\d{6}Z\b", "SLOT"),
            (r"\b20\d\d-\d\d-\d\dT[0-9:.]+Z\b", "TIME"),
            (r"\b1[0-9]{9}\.[0-9]{9}\b", "TIME"),
        ];
        rules.iter().fold(text.into_owned(), |text, (pattern, with)| {
            let pattern = Regex::new(pattern).expect("a pattern");
            pattern.replace_all(&text, *with).into_owned()
        })
    }
}

/// Values that differ from run to run, by their keys.
fn same(json: Value) -> Value {
    match json {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| {
                    let value = match key.as_str() {
                        "docker-scheduler.nonce" => "NONCE".into(),
                        "docker-scheduler.ledger" => "LEDGER".into(),
                        "docker-scheduler.spec-hash" => "HASH".into(),
                        _ => same(value),
                    };
                    (key, value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(same).collect()),
        other => other,
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |rest: &mut std::str::Bytes<'_>| Some([rest.next()?, rest.next()?]);
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = hex(&mut rest).expect("two digits after %");
                let digits = std::str::from_utf8(&digits).expect("digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("a hexadecimal number"));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn every_request_of_every_command() {
    let rig = Rig::start();
    rig.create_network("req-front");
    rig.create_network("req-back");
    let mut all = Recorder::on(&rig);
    engine_alone(&mut all);
    declared(&mut all);
    runs(&mut all);
    endings(&mut all);
    for (command, story) in &all.told {
        insta::with_settings!({snapshot_suffix => command.replace(' ', "-"), omit_expression => true}, {
            insta::assert_snapshot!(story);
        });
    }
}

/// Commands that know no ledger.
fn engine_alone(all: &mut Recorder<'_>) {
    all.record("version", 0, &["version", "--verbose"]);
    all.record("doctor", 0, &["doctor"]);
    all.record("list images", 0, &["list", "images"]);
    all.record(
        "list images",
        0,
        &["list", "images", "-a", "-f", "dangling=false"],
    );
    all.record("list containers", 0, &["list", "containers"]);
    all.record(
        "list containers",
        0,
        &["list", "containers", "-a", "-f", "job=report"],
    );
    all.record("run", 7, &["run", "--rm", IMAGE, "sh -c 'exit 7'"]);
    let folder = format!("{}:/in:ro", all.program.state.path().display());
    let whole = [
        "run",
        "-d",
        "--name",
        "req-run",
        "-e",
        "LEVEL=9",
        "-v",
        &folder,
        "-v",
        "req:/out",
        "--network",
        "none",
        IMAGE,
        "sleep",
        "600",
    ];
    all.record("run", 0, &whole);
    all.record("run", 125, &["run", "localhost:1/no/such:image"]);
    all.record("rm", 1, &["rm", "req-run"]);
    all.record("rm", 0, &["rm", "-f", "req-run"]);
    foreign(all.rig, "req-foreign", VOLUME_IMAGE, "true", true);
    wait_until("the foreign container ended", || {
        crate::cli::inspect(all.rig, "req-foreign").is_some_and(|one| one["State"]["Running"] == false)
    });
    all.record("rerun", 0, &["rerun", "req-foreign"]);
    all.record(
        "import container",
        0,
        &["import", "container", "req-foreign", "--schedule", "@daily"],
    );
    wait_until("the foreign container ended again", || {
        crate::cli::inspect(all.rig, "req-foreign").is_some_and(|one| one["State"]["Running"] == false)
    });
    all.record("rm", 0, &["rm", "--volumes", "req-foreign"]);
}

/// From a manifest to an armed container, and an edit of it.
fn declared(all: &mut Recorder<'_>) {
    let declare = |all: &Recorder<'_>, script| all.program.declare("job.yaml", &manifest(script));
    declare(all, "echo hello; exit 3");
    all.record("plan", 0, &["plan"]);
    all.record("apply", 0, &["apply"]);
    all.record("apply", 0, &["apply"]);
    all.record("next", 0, &["next", "report"]);
    declare(all, "trap 'exit 3' TERM; echo up; while true; do sleep 0.1; done");
    all.record("plan", 2, &["plan", "--detailed-exitcode"]);
    all.record("apply", 0, &["apply"]);
    all.record("pause", 0, &["pause", "report"]);
    all.record("resume", 0, &["resume", "report"]);
}

/// A run from its trigger to its end.
fn runs(all: &mut Recorder<'_>) {
    let run = all.record("trigger", 0, &["trigger", "report"]).stdout;
    let run = run.trim_end();
    wait_until("the job is up", || {
        all.program.run(&["logs", run]).stdout == "up\n"
    });
    all.record("logs", 0, &["logs", "-n", "5", "-t", "--since", "1h", run]);
    all.record_until("logs", &["logs", "-f", run], |all| {
        all.proxy.seen().iter().any(|request| request.is("GET", "/logs"))
    });
    all.record("wait", 124, &["wait", "--timeout", "1s", run]);
    all.record("cancel", 0, &["cancel", run]);
    all.record("rerun", 0, &["rerun", run]);
    all.program.run(&["cancel", "report"]).ok();
    all.record("rm", 0, &["rm", run]);
}

/// What takes things away, and a `watch` while the job runs once.
fn endings(all: &mut Recorder<'_>) {
    all.record("prune", 0, &["prune", "--dry-run", "--filter", "until=1ms"]);
    all.record("prune", 0, &["prune"]);
    let every = manifest("true").replace(
        "schedule: ['0 3 1 1 *']",
        "schedule: ['0 3 1 1 *']\n    x-scheduler: {every: 10s}",
    );
    all.program.declare("job.yaml", &every);
    all.record_until("watch", &["watch"], |all| {
        // The next slot's container is made and checked before the watch ends.
        let is_there = |line: &[&str]| !all.program.run(line).stdout.is_empty();
        is_there(&["history", "-q", "-f", "outcome=succeeded"])
            && is_there(&["ls", "-q", "-f", "state=armed"])
    });
    // Ended containers of its slots, however many there were, are not to be met below.
    all.program.declare("job.yaml", &manifest("true"));
    all.program.run(&["apply"]).ok();
    all.program.run(&["prune"]).ok();
    in_others(all);
    let run = all.program.run(&["trigger", "report"]).ok();
    all.program.run(&["wait", run.trim_end()]).ok();
    all.record("down", 0, &["down"]);
}

/// Jobs without a container of their own for each run.
fn in_others(all: &mut Recorder<'_>) {
    let body = serde_json::json!({
        "Image": IMAGE,
        "Cmd": ["sleep", "600"],
        "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"},
    });
    let (status, reply) = all.rig.post("/containers/create?name=req-web", &body.to_string());
    assert_eq!(status, 201, "{reply}");
    assert_eq!(all.rig.post("/containers/req-web/start", "").0, 204);
    let text = format!(
        "name: shop\njobs:\n  inside:\n    command: [echo, inside]\n    user: nobody\n    working_dir: /tmp\n    \
         environment: {{A: b}}\n    triggers: {{manual: true}}\n    x-scheduler: {{exec: {{service: web}}}}\n  \
         again:\n    image: {IMAGE}\n    command: [echo, again]\n    network_mode: none\n    \
         triggers: {{manual: true}}\n    x-scheduler: {{container: reuse}}\n"
    );
    all.program.declare("others.yaml", &text);
    all.program.run(&["apply"]).ok();
    all.record("trigger", 0, &["trigger", "inside", "--wait"]);
    all.record("trigger", 0, &["trigger", "again", "--wait"]);
    all.record("trigger", 0, &["trigger", "again", "--wait"]);
}
