//! `export --to kubernetes`: the very objects that `apply` sends, for Flux, Argo and kubectl.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use docker_scheduler::kubernetes::{Contents, Target, claims_of, objects};
use docker_scheduler::manifest::Settings;
use docker_scheduler::source;
use serde_json::Value;

use super::{BACKUP, Bench, version};
use crate::cli::Ended;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

impl Bench {
    /// `kubectl ARGS -f -` with that on its standard input; `None` where there is no kubectl.
    fn kubectl(&self, arguments: &[&str], input: &str) -> Option<Ended> {
        use std::io::Write as _;
        let program = std::env::var_os("DOCKER_SCHEDULER_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let child = std::process::Command::new(program)
            .args(arguments)
            .args(["-n", &self.namespace, "-f", "-"])
            .env("HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            assert!(!super::has_no_node(), "the cluster of our own has one");
            return None;
        };
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        Some(Ended::of(child.wait_with_output().expect("an end")))
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let kinds = ["CronJob", "Secret", "ConfigMap"];
        let all = kinds.iter().flat_map(|kind| self.list(kind));
        all.filter(|object| object["metadata"]["labels"]["docker-scheduler/job"].is_string())
            .map(|object| {
                let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
                (name, version(&object).to_owned())
            })
            .collect()
    }
}

fn documents(text: &str) -> Vec<Value> {
    let found = serde_yaml::Deserializer::from_str(text);
    found
        .map(|document| serde::Deserialize::deserialize(document).expect("an object"))
        .collect()
}

/// Folders of manifests among the examples.
fn folders() -> Vec<String> {
    let mut found = vec!["schedules.d".to_owned()];
    for entry in std::fs::read_dir(Path::new(ROOT).join("examples")).expect("examples") {
        let entry = entry.expect("a folder");
        if entry.path().is_dir() {
            let name = format!("examples/{}", entry.file_name().to_string_lossy());
            let inner = ["jobs", "schedules"].map(|inner| format!("{name}/{inner}"));
            let inner = inner
                .into_iter()
                .find(|inner| Path::new(ROOT).join(inner).is_dir());
            found.push(inner.unwrap_or(name));
        }
    }
    found.sort();
    found
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn an_export_is_what_apply_sends() {
    let bench = Bench::new();
    let (mut compared, mut claims) = (0, std::collections::BTreeSet::new());
    for folder in folders() {
        let dir = Path::new(ROOT).join(&folder);
        let (_, loaded) = source::load(&dir, &Settings::default()).expect("manifests");
        let contents = Contents::read(loaded.desired.jobs.values(), |path| {
            std::fs::read(path).map_err(|error| error.to_string())
        });
        let target = Target {
            namespace: Some(bench.namespace.clone()),
            instance: Some("default".to_owned()),
            contents,
        };
        let exported = bench.run(&[
            "export",
            dir.to_str().expect("UTF-8"),
            "--to",
            "kubernetes",
            "--skip-unsupported",
            "--namespace",
            &bench.namespace,
            "--instance",
            "default",
        ]);
        if exported.code == Some(3) {
            assert!(exported.stdout.is_empty(), "{folder}: {exported:?}");
            continue;
        }
        let exported = documents(&exported.ok());
        let jobs = loaded.desired.jobs.values();
        let all: Vec<Value> = jobs.flat_map(|job| objects(job, &target)).collect();
        for object in &exported {
            assert!(all.contains(object), "{folder}: {object:#}");
        }
        claims.extend(loaded.desired.jobs.values().flat_map(claims_of));
        compared += exported.len();
    }
    assert!(compared > 5, "{compared}");

    // Applied by kubectl in our name over what `apply` made, nothing changes.
    for claim in claims {
        bench.claim(&claim);
    }
    let manifest = BACKUP.replace(
        "    command",
        "    env_file: [db.env]\n    configs: [app]\n    command",
    );
    bench.declare(
        "shop.yaml",
        &(manifest + "configs: {app: {content: \"a: [1]\\nb: '2'\\n\"}}\n"),
    );
    bench.declare("db.env", "PASSWORD=hunter2\n");
    bench.run(&["apply", "jobs"]).ok();
    let before = bench.versions();
    assert_eq!(before.len(), 3, "{before:?}");
    let export = ["export", "jobs", "--to", "kubernetes", "--instance", "default"];
    let exported = bench.run(&export).ok();
    let server_side = ["apply", "--server-side", "--field-manager", "docker-scheduler"];
    if let Some(applied) = bench.kubectl(&server_side, &exported) {
        applied.ok();
        assert_eq!(bench.versions(), before);
    }
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn kubectl_applies_an_export_and_the_plan_knows_whose_it_is() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    let exported = bench.run(&["export", "jobs", "--to", "kubernetes"]).ok();
    let Some(applied) = bench.kubectl(&["apply"], &exported) else {
        return;
    };
    assert!(applied.ok().contains("cronjob.batch/shop-backup created"));
    let text = bench.run(&["plan", "jobs"]).ok();
    assert!(
        text.contains("not ours: it names no instance, as what `export` wrote"),
        "{text}"
    );
    // With the instance's name it is ours, and as it is to be.
    let export = ["export", "jobs", "--to", "kubernetes", "--instance", "default"];
    let exported = bench.run(&export).ok();
    bench.kubectl(&["apply"], &exported).expect("kubectl").ok();
    let text = bench.run(&["plan", "jobs"]).ok();
    assert!(text.contains("no changes; 0 waiting, 1 unchanged"), "{text}");
}
