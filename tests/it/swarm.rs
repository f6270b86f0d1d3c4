//! Runs as services of a Swarm, on real engines: one node, and schedulers side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use docker_scheduler::apply::{self, Context, StreamWitness, owner};
use docker_scheduler::clock::{Clock as _, SystemClock};
use docker_scheduler::engine::SharedEngine;
use docker_scheduler::engine::swarm::SwarmEngine;
use docker_scheduler::ledger::Ledger;
use docker_scheduler::model::{Cap, ContainerSpec, Instance, JobName, Origin, PullPolicy, RunTrigger, Text};
use docker_scheduler::plan::{self, Launch};
use regex::Regex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::cluster::Cluster;
use crate::conformance::{self, World};
use crate::proxy::Proxy;
use crate::registry::Elsewhere;
use crate::rig::{IMAGE, Phase, Rig, Witness, WitnessLine};
use crate::scheduler::{Job, Scheduler, ended, manifest, wait_for, wait_until};

/// One node for all tests that neither stop it nor look at all of its services.
fn shared() -> &'static Rig {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    &SHARED.get_or_init(Cluster::of_one).nodes[0]
}

fn on_swarm<'a>(rig: &'a Rig, instance: &str) -> Scheduler<'a> {
    Scheduler::new(rig, instance).on_swarm()
}

/// As the manifests of other tests, for nodes that see to their own images and have no network `none`.
pub fn witnessing(project: &str, witness: &Witness, jobs: &[Job<'_>]) -> String {
    let text = manifest(project, witness, jobs);
    text.replace("    pull_policy: never\n    network_mode: none\n", "")
}

fn outcome(run: &Value) -> (String, i64) {
    let word = run["outcome"].as_str().unwrap_or_default().to_owned();
    (word, run["exit_code"].as_i64().unwrap_or(-1))
}

/// The services of an instance, by name.
fn services(rig: &Rig, instance: &str) -> BTreeSet<String> {
    let (status, text) = rig.get("/services");
    assert_eq!(status, 200, "{text}");
    let all: Vec<Value> = serde_json::from_str(&text).expect("a list of services");
    all.iter()
        .filter(|one| one["Spec"]["Labels"]["docker-scheduler.instance"] == instance)
        .map(|one| one["Spec"]["Name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_does_what_the_loop_is_built_on() {
    let rig = shared();
    let engine = SwarmEngine::connect(&rig.endpoint()).await.expect("connect");
    let world = World {
        prefix: "conformance".to_owned(),
        image: IMAGE.parse().expect("a valid reference"),
        volume_image: None,
        network: String::new(),
    };
    conformance::at_once(&engine, &world).await;
}

/// Six schedulers that want to start six runs at the same moment: of one job that runs alone, then of six
/// jobs of which the operator lets two run.
#[tokio::test(flavor = "multi_thread")]
async fn of_runs_that_exclude_each_other_as_many_begin_as_may() {
    let rig = shared();
    let engine = SwarmEngine::connect(&rig.endpoint()).await.expect("connect");
    let engine: SharedEngine = Arc::new(engine);
    let home = tempfile::tempdir().expect("a folder");
    let two = Cap {
        group: None,
        limit: 2,
    };
    for (name, exclusive, caps, most) in [
        ("race-alone", true, Vec::new(), 1),
        ("race-two", false, vec![two], 2),
    ] {
        let instance: Instance = name.parse().expect("a valid name");
        let racing = (0..6).map(|number| {
            let ledger = Ledger::open(&home.path().join(format!("{name}-{number}"))).expect("a ledger");
            let context = Context {
                engine: engine.clone(),
                ledger: Arc::new(ledger),
                instance: instance.clone(),
                clock: Arc::new(SystemClock),
                owner: owner::current(),
                report: Box::new(|_| ()),
                starts: Semaphore::new(4),
                stream: StreamWitness::default(),
            };
            let job: JobName = match exclusive {
                true => "race.one".parse(),
                false => format!("race.job{number}").parse(),
            }
            .expect("a valid name");
            let mut spec = ContainerSpec::of_image(IMAGE.parse().expect("a valid reference"));
            spec.command = Some(["sleep", "60"].map(Text::plain).to_vec());
            let launch = Launch {
                name: apply::manual_name(&instance, &job),
                job,
                slot: None,
                attempt: 0,
                due_at: SystemClock.now(),
                deadline: None,
                spec_hash: plan::spec_hash(&spec, None),
                pull: PullPolicy::Missing,
                spec,
                origin: Origin::default(),
                exclusive,
                caps: caps.clone(),
                group: None,
                settled: None,
            };
            async move { apply::launch_now(&context, &launch, RunTrigger::Manual, None).await }
        });
        let ends = futures_util::future::join_all(racing).await;
        let begun = ends.iter().filter(|end| end.is_ok()).count();
        assert_eq!(begun, most, "{ends:?}");
        let there = services(rig, name);
        assert_eq!(there.len(), most, "the others gave up their names: {there:?}");
        for service in there {
            rig.request("DELETE", &format!("/services/{service}"), &[]);
        }
    }
}

#[test]
fn an_engine_that_is_no_node_of_a_swarm_says_so() {
    let scheduler = on_swarm(Rig::shared(), "no-swarm");
    scheduler.manifest("a.yaml", "name: a\njobs: {}\n");
    let ended = scheduler.ends(4, &["plan"]);
    assert!(ended.stderr.contains("it is no node of a Swarm"), "{ended:#?}");
    assert!(ended.stderr.contains("docker swarm init"), "{ended:#?}");
}

/// What has no equal is known when it is written, at its line, without and with an engine.
#[test]
fn keys_without_an_equal_are_errors_at_their_line() {
    let scheduler = on_swarm(shared(), "keys");
    let text = format!(
        "name: keys\njobs:\n  again:\n    image: {IMAGE}\n    triggers: {{manual: true}}\n    \
         x-scheduler:\n      container: reuse\n"
    );
    scheduler.manifest("a.yaml", &text);
    for command in ["validate", "plan", "apply"] {
        let ended = scheduler.ends(3, &[command]);
        assert!(ended.stderr.contains("a.yaml:7:7"), "{command}: {ended:#?}");
        assert!(ended.stderr.contains("a new task for each run"), "{ended:#?}");
    }
    // And the other way round.
    let docker = Scheduler::new(shared(), "keys-docker");
    let text = format!(
        "name: keys\njobs:\n  a:\n    image: {IMAGE}\n    triggers: {{manual: true}}\n    \
         x-scheduler: {{placement: {{constraints: [node.role==manager]}}}}\n"
    );
    docker.manifest("a.yaml", &text);
    let ended = docker.ends(3, &["validate"]);
    assert!(ended.stderr.contains("--engine swarm"), "{ended:#?}");
}

/// A plan says what was looked at, since nothing is made ahead; then a person runs the job, reads its
/// output, and takes everything down.
#[test]
fn a_run_by_hand_from_plan_to_down() {
    let rig = shared();
    let scheduler = on_swarm(rig, "by-hand");
    let witness = &scheduler.witness;
    let job = |name, work, options| Job {
        name,
        every: "",
        work,
        options,
    };
    let jobs = [
        job(
            "good",
            "echo all is well",
            "placement: {constraints: [node.role==manager]}",
        ),
        job("bad", "echo trouble >&2; exit 3", "history: {failed: 1}"),
        job("long", "sleep 600", "timeout: 1h"),
    ];
    scheduler.manifest("a.yaml", &witnessing("hand", witness, &jobs));
    let plan = scheduler.ok(&["plan"]);
    assert!(
        plan.contains("`node.role==manager` met by 1 of 1 nodes"),
        "{plan}"
    );
    assert!(plan.contains(&format!("image {IMAGE}")), "{plan}");
    assert!(services(rig, "by-hand").is_empty(), "a plan makes nothing");
    scheduler.ok(&["apply"]);
    assert!(scheduler.ok(&["plan"]).contains("no changes"));

    scheduler.ok(&["trigger", "good", "--wait"]);
    let ended = scheduler.run(&["trigger", "bad", "--wait"]);
    assert_eq!(ended.code, 3, "{ended:#?}");
    assert_eq!(scheduler.ok(&["logs", "good"]), "all is well\n");
    let runs = scheduler.history();
    let found: Vec<_> = runs.iter().map(outcome).collect();
    assert_eq!(found, [("failed".to_owned(), 3), ("succeeded".to_owned(), 0)]);

    // A run that goes on: one at a time, its output while it runs, its end by a person's word.
    let long = scheduler.ok(&["trigger", "long"]).trim().to_owned();
    let beside = scheduler.ends(5, &["trigger", "long"]);
    assert!(beside.stderr.contains("active run"), "{beside:#?}");
    wait_until("the long run's beginning", || witness.executions() == 3);
    scheduler.ok(&["cancel", &long]);
    let cancelled = &scheduler.history()[0];
    assert_eq!(outcome(cancelled).0, "cancelled", "{cancelled}");
    assert!(
        cancelled["reason"]
            .as_str()
            .unwrap_or_default()
            .contains("cancelled by"),
        "{cancelled}"
    );
    assert!(services(rig, "by-hand").len() == 3, "its service tells its end");

    // A service that a person removes before anybody has looked at it: nobody knows what it did.
    let removed = scheduler.ok(&["trigger", "long"]).trim().to_owned();
    let of_run = removed.replace('.', "--");
    let (status, _) = rig
        .request("DELETE", &format!("/services/{of_run}"), &[])
        .expect("an answer");
    assert_eq!(status, 200, "{of_run}");
    scheduler.ok(&["apply"]);
    let lost = &scheduler.history()[0];
    assert_eq!(outcome(lost).0, "unknown", "{lost}");
    let reason = lost["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("lost: the container vanished"), "{lost}");

    let found = scheduler.run(&["doctor"]).stdout;
    let line = found
        .lines()
        .find(|line| line.starts_with("swarm "))
        .unwrap_or_default();
    assert!(
        line.contains("note") && line.contains("1 manager: with one of them lost"),
        "{found}"
    );
    assert!(found.contains("1 node ready"), "{found}");

    scheduler.ok(&["down"]);
    assert!(services(rig, "by-hand").is_empty());
    assert_eq!(scheduler.history().len(), 4, "history is kept");
    assert!(!scheduler.has_lock_volume(), "the names are the lock");
}

/// Timeouts, further attempts under new names, a command that is not there, a node that is not there.
#[test]
fn a_watch_ends_repeats_and_gives_up() {
    let rig = shared();
    let scheduler = on_swarm(rig, "watch");
    let witness = &scheduler.witness;
    let jobs = [
        Job {
            name: "slow",
            every: "1h",
            work: "sleep 600",
            options: "timeout: 2s",
        },
        Job {
            name: "tick",
            every: "3s",
            work: "true",
            options: "history: {succeeded: 1}",
        },
        Job {
            name: "flaky",
            every: "4s",
            work: "[ \"$SCHEDULER_ATTEMPT\" = 1 ]",
            options: "retries: 2, backoff: 1s",
        },
        Job {
            name: "nowhere",
            every: "15s",
            work: "true",
            options: "starting_deadline: 11s, placement: {constraints: [node.labels.no==where]}",
        },
    ];
    let absent = format!(
        "  absent:\n    image: {IMAGE}\n    command: [/no/such]\n    init: false\n    triggers: {{manual: true}}\n    \
         x-scheduler: {{every: 5s}}\n"
    );
    scheduler.manifest("a.yaml", &(witnessing("w", witness, &jobs) + &absent));
    let watching = scheduler.watch();
    let newest = |job: &str, outcome: &str| {
        let runs = scheduler.history_of(job);
        runs.into_iter().find(|run| run["outcome"] == outcome)
    };
    let repeated = wait_for("a further attempt that succeeds", || {
        newest("w.flaky", "succeeded")
    });
    assert_eq!(repeated["attempt"], 1, "{repeated}");
    assert!(
        repeated["run"].as_str().unwrap_or_default().ends_with(".r1"),
        "{repeated}"
    );
    let absent = wait_for("a command that is not there", || {
        newest("w.absent", "start_failed")
    });
    assert!(
        absent["reason"].as_str().unwrap_or_default().contains("/no/such"),
        "{absent}"
    );
    let missed = wait_for("a run that no node takes", || newest("w.nowhere", "missed"));
    assert!(
        missed["reason"]
            .as_str()
            .unwrap_or_default()
            .contains("no suitable node"),
        "{missed}"
    );
    wait_until("three ticks", || {
        scheduler
            .history_of("w.tick")
            .iter()
            .filter(|run| run["outcome"] == "succeeded")
            .count()
            >= 3
    });
    scheduler.ok(&["trigger", "slow"]);
    let timed_out = wait_for("a timeout", || newest("w.slow", "timed_out"));
    assert_eq!(timed_out["exit_code"], 143, "its code is kept: {timed_out}");
    // A service is its slot's lock: it outlives `history` until nobody could take the slot any more.
    assert!(services(rig, "watch").len() >= 7, "{:?}", services(rig, "watch"));
    assert_eq!(watching.term(), 0);
    scheduler.ok(&["down"]);
    assert!(services(rig, "watch").is_empty());
}

/// Secrets and configs become those of the Swarm, each content once, and nothing else shows them.
#[test]
fn secrets_and_configs_are_the_swarms() {
    let rig = shared();
    let scheduler = on_swarm(rig, "secret");
    let canary = "canary-1f3870be";
    fs::write(scheduler.dir().join("db.secret"), canary).expect("write a secret");
    let text = format!(
        "name: s\njobs:\n  show:\n    image: {IMAGE}\n    command: [sh, -c, 'cat /run/secrets/db /greeting; ls -l /greeting']\n    \
         secrets: [db]\n    configs: [{{source: greeting, target: /greeting}}]\n    triggers: {{manual: true}}\n\
         secrets:\n  db: {{file: ./db.secret}}\nconfigs:\n  greeting: {{content: \" says hello\\n\"}}\n"
    );
    scheduler.manifest("a.yaml", &text);
    let plan = scheduler.ok(&["plan"]);
    assert!(
        plan.contains("2 secrets and configs") && !plan.contains(canary),
        "{plan}"
    );
    scheduler.ok(&["apply"]);
    for _ in 0..2 {
        scheduler.ok(&["trigger", "show", "--wait"]);
    }
    let said = scheduler.ok(&["logs", "show"]);
    assert!(
        said.starts_with(&format!("{canary} says hello\n-r--r--r--")),
        "{said}"
    );
    let list = |kind: &str| -> Vec<Value> {
        let (_, text) = rig.get(&format!("/{kind}"));
        let all: Vec<Value> = serde_json::from_str(&text).expect("a list");
        let ours = |one: &Value| one["Spec"]["Labels"]["docker-scheduler.instance"] == "secret";
        all.into_iter().filter(ours).collect()
    };
    let names: Vec<Value> = list("secrets")
        .iter()
        .map(|one| one["Spec"]["Name"].clone())
        .collect();
    assert_eq!(names.len(), 1, "one content, one secret: {names:?}");
    assert_eq!(list("configs").len(), 1);
    let (_, services) = rig.get("/services");
    assert!(!services.contains(canary) && !scheduler.log().contains(canary));
    // A file that is not there is known before anything runs.
    fs::remove_file(scheduler.dir().join("db.secret")).expect("remove the secret");
    let plan = scheduler.run(&["plan"]);
    let said = plan.stdout + &plan.stderr;
    assert!(said.contains("db.secret"), "{said}");
    scheduler.ok(&["down"]);
}

/// A create request as people read it: its login decoded, what differs from run to run named.
fn told_of(request: &crate::proxy::Request) -> String {
    let login = request.header("X-Registry-Auth").expect("a login");
    let login = base64::engine::general_purpose::URL_SAFE
        .decode(login)
        .expect("base64");
    let login: Value = serde_json::from_slice(&login).expect("JSON");
    let body: Value = serde_json::from_slice(request.body()).expect("JSON");
    let pretty = |json: &Value| serde_json::to_string_pretty(json).expect("JSON");
    let text = format!(
        "{} {}\nX-Registry-Auth: {}\n\n{}",
        request.method,
        request.path,
        pretty(&login),
        pretty(&body)
    );
    let rules = [
        (r"sha256:[0-9a-f]{64}", "sha256:DIGEST"),
        (r"m-[0-9a-f]{8}", "m-NUMBER"),
        (
            r#"(scheduler\.(?:nonce|ledger|spec-hash)": ")[^"]*"#,
            "${1}OPAQUE",
        ),
        (r#"(SCHEDULER_[A-Z_]*TIME=)[^"]*"#, "${1}TIME"),
    ];
    rules.iter().fold(text, |text, (pattern, with)| {
        let pattern = Regex::new(pattern).expect("a pattern");
        pattern.replace_all(&text, *with).into_owned()
    })
}

/// What a person has given the Swarm by another way is used under its name, and left there.
#[test]
fn external_secrets_and_configs_are_used_and_left() {
    let rig = shared();
    let scheduler = on_swarm(rig, "external");
    let text = format!(
        "name: e\njobs:\n  show:\n    image: {IMAGE}\n    command: [sh, -c, 'cat /run/secrets/token /app.conf; ls -ln /app.conf']\n    \
         secrets: [token]\n    configs: [{{source: app, target: /app.conf, uid: 7, mode: 0o440}}]\n    \
         triggers: {{manual: true}}\n\
         secrets:\n  token: {{external: true, name: e-token-2}}\nconfigs:\n  e-app: {{external: true}}\n"
    );
    let text = text.replace("source: app,", "source: e-app,");
    scheduler.manifest("a.yaml", &text);
    let make = |kind: &str, name: &str, data: &str| {
        let data = base64::engine::general_purpose::STANDARD.encode(data);
        let body = json!({"Name": name, "Data": data});
        let (status, answer) = rig.post(&format!("/{kind}/create"), &body.to_string());
        assert_eq!(status, 201, "{answer}");
    };
    let plan = scheduler.run(&["plan"]);
    let said = plan.stdout + &plan.stderr;
    assert!(
        said.contains("no secret e-token-2; make it with `docker secret create e-token-2 FILE`"),
        "{said}"
    );
    make("secrets", "e-token-2", "hunter2 ");
    let plan = scheduler.run(&["plan"]);
    let said = plan.stdout + &plan.stderr;
    assert!(
        said.contains("no config e-app; make it with `docker config create e-app FILE`"),
        "{said}"
    );
    let early = scheduler.run(&["trigger", "show", "--wait"]);
    assert_ne!(early.code, 0, "{early:#?}");
    assert!(
        services(rig, "external").is_empty(),
        "nothing was made without it"
    );
    make("configs", "e-app", "level=9\n");
    let plan = scheduler.ok(&["plan"]);
    assert!(plan.contains("2 secrets and configs"), "{plan}");
    scheduler.ok(&["apply"]);
    scheduler.ok(&["trigger", "show", "--wait"]);
    let logs = scheduler.ok(&["logs", "show"]);
    assert!(logs.starts_with("hunter2 level=9\n-r--r-----"), "{logs}");
    assert!(logs.contains(" 7 "), "its owner: {logs}");
    scheduler.ok(&["down"]);
    for (kind, name) in [("secrets", "e-token-2"), ("configs", "e-app")] {
        let (_, text) = rig.get(&format!("/{kind}"));
        assert!(text.contains(name), "{kind} are left: {text}");
        let (status, _) = rig
            .request("DELETE", &format!("/{kind}/{name}"), &[])
            .expect("an answer");
        assert_eq!(status, 204);
    }
    // A single engine keeps none.
    let docker = Scheduler::new(rig, "external-docker");
    docker.manifest("a.yaml", &text);
    let ended = docker.ends(3, &["validate"]);
    assert!(
        ended.stderr.contains("a.yaml:6:5") && ended.stderr.contains("--engine swarm"),
        "{ended:#?}"
    );
}

/// What of a request is not in another one, whatever the case of its keys.
fn missing_from(whole: &Value, part: &Value, path: &str, found: &mut Vec<String>) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                let same = whole.iter().find(|(other, _)| other.eq_ignore_ascii_case(key));
                let other = same.map_or(&Value::Null, |(_, value)| value);
                missing_from(other, value, &format!("{path}.{key}"), found);
            }
        }
        (whole, part) if whole == part => {}
        (whole, part) => found.push(format!("{path}: {part} became {whole}")),
    }
}

/// A run that waited for its turn is begun by an update of its whole service, from which nothing may be lost;
/// its health check, for one. Swarm takes it for started once it is healthy: it runs before, and its time counts.
#[test]
fn a_run_that_waited_for_its_turn_is_the_one_that_was_declared() {
    let rig = shared();
    let proxy = Proxy::start(&rig.socket());
    let scheduler = on_swarm(rig, "whole").through(&proxy);
    let text = format!(
        "name: u\njobs:\n  slow:\n    image: {IMAGE}\n    command: [sh, -c, 'echo up; exec sleep 600']\n    \
         stop_grace_period: 1s\n    stop_signal: SIGINT\n    \
         healthcheck: {{test: [CMD, 'false'], interval: 1s, timeout: 2s, retries: 9, start_period: 1h}}\n    \
         environment: {{A: b}}\n    labels: {{tier: web}}\n    user: nobody\n    working_dir: /tmp\n    \
         hostname: box\n    tty: true\n    stdin_open: true\n    cap_drop: [ALL]\n    \
         group_add: ['27']\n    \
         mem_limit: 64m\n    cpus: 0.5\n    pids_limit: 50\n    ulimits: {{nofile: {{soft: 100, hard: 200}}}}\n    \
         extra_hosts: ['db=10.0.0.2']\n    dns: [10.0.0.53]\n    dns_search: [lan]\n    dns_opt: ['ndots:2']\n    \
         tmpfs: ['/t:size=1m,mode=700']\n    platform: linux/amd64\n    ports: ['8080/udp']\n    \
         logging: {{driver: json-file, options: {{max-size: 1m}}}}\n    \
         configs: [{{source: app, target: /app, mode: 0o440}}]\n    triggers: {{manual: true}}\n    \
         x-scheduler: {{timeout: 4s, placement: {{constraints: [node.role==manager], \
         reservations: {{memory: 8m, cpus: 0.1}}}}}}\n\
         configs: {{app: {{content: x}}}}\n"
    );
    scheduler.manifest("a.yaml", &text);
    let watching = scheduler.watch();
    watching.says("new job");
    scheduler.ok(&["trigger", "slow"]);
    wait_until("its output", || {
        scheduler.run(&["logs", "slow"]).stdout.contains("up")
    });
    let run = wait_for("its end", || {
        let run = scheduler.history()[0].clone();
        (run["outcome"] != "running").then_some(run)
    });
    assert_eq!(outcome(&run).0, "timed_out", "{run}");
    assert_eq!(watching.term(), 0);

    let asked = proxy.take_seen();
    let body = |ending: &str| -> Value {
        let request = asked.iter().find(|request| request.is("POST", ending));
        serde_json::from_slice(request.expect("a request").body()).expect("JSON")
    };
    let (made, begun) = (body("/services/create"), body("/update"));
    let mut lost = Vec::new();
    missing_from(&begun, &made, "", &mut lost);
    assert_eq!(
        lost,
        [".Mode.Replicated.Replicas: 0 became 1"],
        "{made:#}\n{begun:#}"
    );
    scheduler.ok(&["down"]);
}

/// A Swarm that forgets a task as soon as it has ended would make every run look as if it had never been: none
/// is started there.
#[test]
fn nothing_is_started_where_its_result_would_be_lost() {
    let cluster = Cluster::of_one();
    let rig = &cluster.nodes[0];
    let keep = |tasks: i64| {
        let (_, text) = rig.get("/swarm");
        let swarm: Value = serde_json::from_str(&text).expect("JSON");
        let mut spec = swarm["Spec"].clone();
        spec["Orchestration"]["TaskHistoryRetentionLimit"] = tasks.into();
        let path = format!("/swarm/update?version={}", swarm["Version"]["Index"]);
        let (status, answer) = rig.post(&path, &spec.to_string());
        assert_eq!(status, 200, "{answer}");
    };
    keep(0);
    let scheduler = on_swarm(rig, "forgetful");
    let job = Job {
        name: "short",
        every: "",
        work: "true",
        options: "timeout: 1h",
    };
    scheduler.manifest("a.yaml", &witnessing("f", &scheduler.witness, &[job]));
    let plan = scheduler.run(&["plan"]);
    let command = "docker swarm update --task-history-limit 5";
    assert!(plan.stdout.contains(command), "{plan:#?}");
    scheduler.run(&["apply"]);
    let triggered = scheduler.run(&["trigger", "short", "--wait"]);
    assert!(
        triggered.code != 0 && triggered.stderr.contains(command),
        "{triggered:#?}"
    );
    assert!(services(rig, "forgetful").is_empty());
    keep(5);
    scheduler.ok(&["apply"]);
    scheduler.ok(&["trigger", "short", "--wait"]);
    assert_eq!(scheduler.witness.executions(), 1);
}

/// A manager rejects also what runs, once its node does not meet its constraints any more. It ran, and how
/// it ended nobody knows.
#[test]
fn what_runs_where_it_may_not_be_any_more_is_not_said_never_to_have_run() {
    let cluster = Cluster::of_one();
    let rig = &cluster.nodes[0];
    let label = |labels: Value| {
        let (_, text) = rig.get("/nodes");
        let node = serde_json::from_str::<Value>(&text).expect("JSON")[0].clone();
        let id = node["ID"].as_str().expect("an ID");
        let version = &node["Version"]["Index"];
        let body = json!({"Role": "manager", "Availability": "active", "Labels": labels});
        let (status, answer) = rig.post(
            &format!("/nodes/{id}/update?version={version}"),
            &body.to_string(),
        );
        assert_eq!(status, 200, "{answer}");
    };
    label(json!({"disk": "ssd"}));
    let scheduler = on_swarm(rig, "rejected");
    let witness = &scheduler.witness;
    let job = Job {
        name: "long",
        every: "",
        work: "sleep 600",
        options: "placement: {constraints: [node.labels.disk==ssd]}, retries: 2",
    };
    scheduler.manifest("a.yaml", &witnessing("r", witness, &[job]));
    scheduler.ok(&["apply"]);
    scheduler.ok(&["trigger", "long"]);
    wait_until("its beginning", || witness.executions() == 1);
    label(json!({}));
    let told = wait_for("its record", || {
        // It also says that the next run would find no node.
        scheduler.run(&["apply"]);
        let run = scheduler.history()[0].clone();
        (run["outcome"] != "running").then_some(run)
    });
    assert_eq!(outcome(&told).0, "unknown", "{told}");
    let reason = told["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("gave its task up") && reason.contains("no longer meets constraints"),
        "{told}"
    );
    assert_eq!(witness.executions(), 1, "and it is not run again");
}

/// A login of the docker command line travels with the service: its node pulls with it, by the digest that
/// the registry names.
#[test]
fn a_node_pulls_with_the_schedulers_login_and_by_digest() {
    let cluster = Cluster::of_one_that_pulls();
    let rig = &cluster.nodes[0];
    let registry = Elsewhere::start(&rig.namespace_name(""));
    let proxy = Proxy::start(&rig.socket());
    let scheduler = on_swarm(rig, "login").through(&proxy);
    // There is nothing in the image that could run: the node says so once it has the image.
    let text = format!(
        "name: l\njobs:\n  tool:\n    image: {}/private/tool:1\n    command: [/no/such]\n    init: false\n    \
         triggers: {{manual: true}}\n",
        Elsewhere::ADDRESS
    );
    scheduler.manifest("a.yaml", &text);
    let run = |with_login: bool| {
        let config = Elsewhere::config(with_login);
        let with = |args: &[&str]| {
            let mut command = scheduler.in_dir(args);
            command.env("DOCKER_CONFIG", config.path());
            ended(command.output().expect("run docker-scheduler"))
        };
        with(&["apply"]);
        let before = scheduler.history().len();
        let triggered = with(&["trigger", "tool", "--wait"]);
        assert_ne!(triggered.code, 0, "{triggered:#?}");
        let all = scheduler.history();
        assert_eq!(all.len(), before + 1, "{triggered:#?}");
        let run = all[0].clone();
        assert_eq!(run["outcome"], "start_failed", "{run}");
        run["reason"].as_str().unwrap_or_default().to_owned()
    };
    let refused = run(false);
    // Docker 20.10 says that the image is not there, a current engine why it could not be pulled.
    assert!(
        refused.contains("No such image") || refused.contains("no basic auth credentials"),
        "{refused}"
    );
    proxy.take_seen();
    let pulled = run(true);
    let asked = proxy.take_seen();
    let created: Vec<_> = asked
        .iter()
        .filter(|request| request.is("POST", "/services/create"))
        .collect();
    assert_eq!(created.len(), 1, "one create request for one run");
    insta::assert_snapshot!(told_of(created[0]));
    assert!(pulled.contains("/no/such"), "{pulled}\n{}", rig.log());
    let (_, text) = rig.get("/services");
    let all: Vec<Value> = serde_json::from_str(&text).expect("a list of services");
    let images: Vec<&str> = all
        .iter()
        .filter_map(|one| one["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].as_str())
        .collect();
    assert!(
        images
            .iter()
            .any(|image| image.contains("/private/tool:1@sha256:")),
        "{images:?}"
    );
    drop(registry);
}

/// What each scheduler's history says of each slot.
fn by_slot(runs: &[Value]) -> BTreeMap<String, (String, i64, String)> {
    runs.iter()
        .map(|run| {
            let (word, code) = outcome(run);
            let reason = run["reason"].as_str().unwrap_or_default().to_owned();
            (
                run["run"].as_str().unwrap_or_default().to_owned(),
                (word, code, reason),
            )
        })
        .collect()
}

/// Begins of one slot's attempt, by the jobs' own word.
pub fn begins(lines: &[WitnessLine]) -> BTreeMap<(String, String), usize> {
    let mut begins = BTreeMap::new();
    for line in lines.iter().filter(|line| line.phase == Phase::Begin) {
        *begins
            .entry((line.slot.clone(), line.attempt.clone()))
            .or_default() += 1;
    }
    begins
}

/// What may not run beside something else does not, whichever scheduler starts it: a job that goes on beyond
/// its next slot, its further attempts, and three jobs of which a group lets one run. The jobs are the judge:
/// each takes a folder and gives it back.
#[test]
fn schedulers_side_by_side_start_nothing_beside_what_it_may_not_run_beside() {
    let rig = shared();
    let one = on_swarm(rig, "exclusive");
    let other = one.with_other_ledger().on_swarm();
    let alone = |name: &str| {
        let folder = Witness::FOLDER;
        format!(
            "mkdir {folder}/{name} || echo {name} >>{folder}/beside; sleep 1.2; rmdir {folder}/{name}; \
             [ $(( $(date +%s) / 3 % 2 )) = 0 ]"
        )
    };
    let (own, of_group) = (alone("own"), alone("group"));
    let job = |name, every, work, options| Job {
        name,
        every,
        work,
        options,
    };
    let in_group =
        "concurrency: allow, group: one, starting_deadline: 30s, history: {succeeded: 1, failed: 1}";
    let jobs = [
        job(
            "own",
            "2s",
            own.as_str(),
            "retries: 2, backoff: 1s, starting_deadline: 20s",
        ),
        job("g1", "8s", of_group.as_str(), in_group),
        job("g2", "8s", of_group.as_str(), in_group),
        job("g3", "8s", of_group.as_str(), in_group),
    ];
    one.manifest("a.yaml", &witnessing("alone", &one.witness, &jobs));
    let (first, second) = (one.watch(), other.watch());
    let succeeded = |scheduler: &Scheduler<'_>, job: &str| {
        let runs = scheduler.history_of(job);
        let attempts = runs.iter().filter(|run| run["outcome"] == "succeeded");
        attempts.count()
    };
    wait_until("runs of all four", || {
        let all = ["alone.g1", "alone.g2", "alone.g3"];
        let started = |log: String| log.matches(": started ").count() >= 3;
        succeeded(&one, "alone.own") >= 3
            && all.iter().map(|job| succeeded(&one, job)).sum::<usize>() >= 4
            && started(first.log())
            && started(second.log())
    });
    assert_eq!((first.term(), second.term()), (0, 0));
    let beside = fs::read_to_string(one.witness.folder().join("beside")).unwrap_or_default();
    assert_eq!(beside, "", "they ran beside each other");
    let doubled = begins(&one.witness.lines());
    // Four jobs write to one file, and all of them have a slot in each eighth second.
    assert!(doubled.values().all(|count| *count <= 4), "{doubled:?}");
    one.ok(&["down"]);
}

/// Two schedulers, each with a ledger of its own: the same slots, each once, and the same history.
#[test]
fn schedulers_side_by_side_run_each_slot_once_and_agree() {
    let rig = shared();
    let one = on_swarm(rig, "beside");
    let other = one.with_other_ledger().on_swarm();
    let job = Job {
        name: "tick",
        every: "2s",
        work: "sleep 0.3; [ $(( $(date +%s) / 2 % 2 )) = 0 ]",
        options: "retries: 1, backoff: 1s, concurrency: allow",
    };
    one.manifest("a.yaml", &witnessing("side", &one.witness, &[job]));
    let (first, second) = (one.watch(), other.watch());
    wait_until("work of both", || {
        let beside = "was started by another scheduler";
        first.log().contains(beside) && second.log().contains(beside) && one.history().len() >= 12
    });
    // One of them is away for some slots, and learns of them.
    second.kill9();
    let before = one.history().len();
    wait_until("slots that one of them did alone", || {
        one.history().len() >= before + 4
    });
    let second = other.watch();
    wait_until("the other's return", || second.log().contains("succeeded"));
    first.signal("TERM");
    second.signal("TERM");
    assert_eq!((first.wait(), second.wait()), (0, 0));
    // What was under way is recorded by later looks. They start nothing: the manifest is gone.
    one.remove_manifest("a.yaml");
    wait_until("an end of everything", || {
        [&one, &other].iter().all(|scheduler| {
            scheduler.ok(&["apply", "--allow-mass-removal"]);
            scheduler.history().iter().all(|run| run["outcome"] != "running")
        })
    });

    let doubled: Vec<_> = begins(&one.witness.lines())
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let (mine, theirs) = (by_slot(&one.history()), by_slot(&other.history()));
    let ran = |all: &BTreeMap<String, (String, i64, String)>| {
        let mut all = all.clone();
        // What one of them was too late to see as due is no run.
        all.retain(|_, (outcome, _, _)| matches!(outcome.as_str(), "succeeded" | "failed"));
        all
    };
    let both: BTreeSet<&String> = mine.keys().filter(|run| theirs.contains_key(*run)).collect();
    assert!(both.len() >= 12, "{mine:#?}\n{theirs:#?}");
    for run in ran(&mine).keys().chain(ran(&theirs).keys()) {
        assert_eq!(mine.get(run), theirs.get(run), "{run}");
    }
    one.ok(&["down"]);
}
