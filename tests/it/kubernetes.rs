//! `--engine kubernetes` against a real API server and its controllers: `make test-kubernetes` starts
//! them, or takes the cluster that KUBECONFIG names. The program runs under the service account of
//! examples/kubernetes/rbac.yaml, in a namespace of each test's own.
//!
//! The cluster of our own has no node: a test ends a pod by writing its status. Elsewhere pods end by
//! themselves.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use serde_json::{Value, json};

use crate::cli::Ended;

mod doctor;
mod following;
mod mapping;
mod moving_out;
mod pod;
mod races;

const RBAC: &str = include_str!("../../examples/kubernetes/rbac.yaml");

/// As long as a slow machine may take to answer a change; a schedule has minutes.
const PATIENCE: Duration = Duration::from_secs(180);

/// A namespace, who may do what in it, and the program with a folder of manifests.
struct Bench {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    namespace: String,
    home: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime
            .block_on(kube::Client::try_default())
            .expect("KUBECONFIG names a cluster: run `make test-kubernetes`");
        let id = uuid::Uuid::new_v4().simple().to_string();
        let bench = Bench {
            runtime,
            client,
            namespace: format!("docker-scheduler-test-{}", &id[..8]),
            home: tempfile::tempdir().expect("a folder"),
        };
        let namespaces: Api<DynamicObject> = Api::all_with(bench.client.clone(), &resource("Namespace"));
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": bench.namespace}});
        bench
            .runtime
            .block_on(namespaces.create(&PostParams::default(), &dynamic(namespace)))
            .expect("a namespace");
        let rbac = RBAC.replace("namespace: batch", &format!("namespace: {}", bench.namespace));
        for document in serde_yaml::Deserializer::from_str(&rbac) {
            let object: Value = serde::Deserialize::deserialize(document).expect("rbac.yaml");
            bench.create(object);
        }
        bench.write_kubeconfig();
        std::fs::create_dir_all(bench.home.path().join("jobs")).expect("a folder");
        bench
    }

    /// The cluster as KUBECONFIG has it, with the service account's own token.
    fn write_kubeconfig(&self) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let request = TokenRequest::default();
        let token = self
            .runtime
            .block_on(accounts.create_token_request("docker-scheduler", &PostParams::default(), &request))
            .expect("a token")
            .status
            .expect("a status")
            .token;
        let path = std::env::var("KUBECONFIG").expect("KUBECONFIG");
        let text = std::fs::read_to_string(path).expect("KUBECONFIG is one file");
        let config: Value = serde_yaml::from_str(&text).expect("a kubeconfig");
        let named = |list: &Value, name: &Value| {
            let found = list
                .as_array()
                .expect("a list")
                .iter()
                .find(|item| item["name"] == *name);
            found.expect("what it names").clone()
        };
        let context = named(&config["contexts"], &config["current-context"]);
        let mut cluster = named(&config["clusters"], &context["context"]["cluster"]);
        cluster["name"] = json!("it");
        let made = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "contexts": [
                {"name": "it", "context": {"cluster": "it", "user": "it", "namespace": self.namespace}},
                {"name": "nowhere", "context": {"cluster": "nowhere", "user": "it"}},
            ],
            "clusters": [cluster, {"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "it", "user": {"token": token}}],
        });
        std::fs::write(self.home.path().join("kubeconfig"), made.to_string()).expect("write");
    }

    fn declare(&self, file: &str, text: &str) {
        std::fs::write(self.home.path().join("jobs").join(file), text).expect("write a manifest");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-scheduler"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("USER", "ann")
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .env("DOCKER_SCHEDULER_ENGINE", "kubernetes")
            .env("DOCKER_SCHEDULER_STATE", self.home.path().join("state"))
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// A claim that no volume has to back: a pod would need one, a plan does not.
    fn claim(&self, name: &str) {
        self.create(
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}),
        );
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().expect("the program"))
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    fn create(&self, object: Value) {
        let api = self.api(object["kind"].as_str().expect("a kind"));
        self.runtime
            .block_on(api.create(&PostParams::default(), &dynamic(object)))
            .expect("create");
    }

    fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.runtime.block_on(self.api(kind).get_opt(name)).expect("get");
        found.map(|object| serde_json::to_value(object).expect("JSON"))
    }

    #[track_caller]
    fn cron_job(&self, name: &str) -> Value {
        self.get("CronJob", name)
            .unwrap_or_else(|| panic!("no CronJob {name}"))
    }

    fn list(&self, kind: &str) -> Vec<Value> {
        let found = self
            .runtime
            .block_on(self.api(kind).list(&ListParams::default()))
            .expect("list");
        let objects = found.items.into_iter();
        objects
            .map(|object| serde_json::to_value(object).expect("JSON"))
            .collect()
    }

    /// An edit by hand.
    fn merge(&self, kind: &str, name: &str, patch: Value) {
        let params = PatchParams {
            field_manager: Some("kubectl-edit".into()),
            ..PatchParams::default()
        };
        self.runtime
            .block_on(self.api(kind).patch(name, &params, &Patch::Merge(patch)))
            .expect("merge");
    }

    /// Server-side apply by another tool, which takes what it wants.
    fn apply_as(&self, manager: &str, object: Value) {
        let params = PatchParams::apply(manager).force();
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let api = self.api(object["kind"].as_str().expect("a kind"));
        self.runtime
            .block_on(api.patch(&name, &params, &Patch::Apply(object)))
            .expect("apply");
    }

    fn delete(&self, kind: &str, name: &str) {
        self.runtime
            .block_on(self.api(kind).delete(name, &DeleteParams::default()))
            .expect("delete");
    }

    /// The pod of a Job, once there is one.
    fn pod_of(&self, job: &str) -> String {
        until(&format!("a pod of {job}"), || {
            let pods = self.list("Pod");
            let of = pods
                .into_iter()
                .find(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job);
            of.map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned())
        })
    }

    /// Ends the pod of a Job with that code, where no kubelet does.
    fn finish(&self, job: &str, code: i64) {
        if !has_no_node() {
            return;
        }
        self.finish_pod(&self.pod_of(job), code);
    }

    fn finish_pod(&self, pod: &str, code: i64) {
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let status = json!({"status": {"phase": phase, "containerStatuses": [{
            "name": "backup", "image": "busybox", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
                "startedAt": "2026-11-23T01:30:00Z", "finishedAt": "2026-11-23T01:30:02Z"}},
        }]}});
        self.pod_status(pod, status);
    }

    /// What a kubelet would say of a pod.
    fn pod_status(&self, pod: &str, status: Value) {
        self.runtime
            .block_on(
                self.api("Pod")
                    .patch_status(pod, &PatchParams::default(), &Patch::Merge(status)),
            )
            .expect("the pod's status");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let namespaces: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("Namespace"));
        let deleted = self
            .runtime
            .block_on(namespaces.delete(&self.namespace, &DeleteParams::default()));
        if let Err(error) = deleted {
            eprintln!("namespace {} stays: {error}", self.namespace);
        }
    }
}

/// Whether this is the cluster of `tests/kubernetes/cluster.sh`.
fn has_no_node() -> bool {
    std::env::var_os("DOCKER_SCHEDULER_TEST_KUBELET").is_some()
}

fn resource(kind: &str) -> ApiResource {
    let (group, plural) = match kind {
        "CronJob" => ("batch", "cronjobs"),
        "Job" => ("batch", "jobs"),
        "Role" => ("rbac.authorization.k8s.io", "roles"),
        "RoleBinding" => ("rbac.authorization.k8s.io", "rolebindings"),
        "ServiceAccount" => ("", "serviceaccounts"),
        "Secret" => ("", "secrets"),
        "ConfigMap" => ("", "configmaps"),
        "PersistentVolumeClaim" => ("", "persistentvolumeclaims"),
        "Pod" => ("", "pods"),
        "Node" => ("", "nodes"),
        "Namespace" => ("", "namespaces"),
        other => panic!("no kind {other}"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural)
}

fn dynamic(object: Value) -> DynamicObject {
    serde_json::from_value(object).expect("an object")
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(from.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().expect("a version")
}

const BACKUP: &str = "\
name: shop
jobs:
  backup:
    image: busybox:1
    command: [\"sh\", \"-c\", \"exit 3\"]
    triggers:
      manual: true
      schedule:
        - cron: \"30 4 1 1 *\"
          timezone: Europe/Berlin
";

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn jobs_are_created_left_alone_edited_and_removed() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    bench.declare("other.yaml", &BACKUP.replace("name: shop", "name: blog"));
    let planned = bench.run(&["plan", "jobs", "--detailed-exitcode"]);
    assert_eq!(planned.code, Some(2), "{planned:?}");
    assert!(
        planned
            .stdout
            .contains(" + shop.backup  create   new job (shop.yaml:3)\n"),
        "{planned:?}"
    );
    assert!(planned.stdout.contains("     next 20"), "{planned:?}");
    assert!(
        planned
            .stdout
            .ends_with("Plan: 2 to create; 0 waiting, 0 unchanged.\n"),
        "{planned:?}"
    );
    assert!(bench.list("CronJob").is_empty(), "a plan changes nothing");
    bench.run(&["apply", "jobs"]).ok();
    let made = bench.cron_job("shop-backup");
    assert_eq!(made["spec"]["schedule"], "30 4 1 1 *");
    assert_eq!(made["spec"]["timeZone"], "Europe/Berlin");
    assert_eq!(made["metadata"]["labels"]["docker-scheduler/instance"], "default");
    let pod_labels = &made["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(pod_labels["docker-scheduler/job"], "backup");

    let again = bench.run(&["apply", "jobs"]).ok();
    assert_eq!(again, "Plan: no changes; 0 waiting, 2 unchanged.\n");
    assert_eq!(
        version(&bench.cron_job("shop-backup")),
        version(&made),
        "nothing was written"
    );
    assert_eq!(bench.run(&["plan", "jobs", "--detailed-exitcode"]).code, Some(0));

    bench.declare("shop.yaml", &BACKUP.replace("busybox:1", "busybox:2"));
    let text = bench.run(&["plan", "jobs"]).ok();
    assert!(
        text.contains(" ~ shop.backup  update   image busybox:1 -> busybox:2\n"),
        "{text}"
    );
    assert!(text.contains("containers[backup].image: busybox:2\n"), "{text}");
    let json: Value =
        serde_json::from_str(&bench.run(&["plan", "jobs", "--format", "json"]).ok()).expect("JSON");
    assert_eq!(json["changes"][0]["action"], "update", "{json}");
    assert_eq!(json["changes"][0]["cause"], "SpecChanged", "{json}");
    assert_eq!(json["summary"]["update"], 1, "{json}");
    let markdown = bench.run(&["plan", "jobs", "--format", "markdown"]).ok();
    assert!(markdown.contains("| `shop.backup` | update |"), "{markdown}");
    bench.run(&["apply", "jobs"]).ok();
    let image = "/spec/jobTemplate/spec/template/spec/containers/0/image";
    assert_eq!(
        bench.cron_job("shop-backup").pointer(image),
        Some(&json!("busybox:2"))
    );

    bench.declare(
        "shop.yaml",
        &BACKUP
            .replace("30 4 1 1 *", "30 5 1 1 *")
            .replace("busybox:1", "busybox:2"),
    );
    let text = bench.run(&["plan", "jobs"]).ok();
    assert!(text.contains("update   schedule edited\n     was  20"), "{text}");

    std::fs::remove_file(bench.home.path().join("jobs/shop.yaml")).expect("remove");
    let text = bench.run(&["apply", "jobs"]).ok();
    assert!(
        text.contains(" - shop.backup  remove   no longer declared"),
        "{text}"
    );
    assert!(bench.get("CronJob", "shop-backup").is_none());
    assert!(bench.get("CronJob", "blog-backup").is_some());

    // All jobs of a directory at once are not believed.
    std::fs::remove_file(bench.home.path().join("jobs/other.yaml")).expect("remove");
    let held = bench.run(&["apply", "jobs"]);
    assert_eq!(held.code, Some(5), "{held:?}");
    assert!(bench.get("CronJob", "blog-backup").is_some(), "held");
    bench.run(&["apply", "jobs", "--allow-mass-removal"]).ok();
    assert!(bench.list("CronJob").is_empty());
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn secret_values_are_kept_apart_and_never_shown() {
    let bench = Bench::new();
    let manifest = BACKUP.replace("    command", "    env_file: [db.env]\n    command");
    bench.declare("shop.yaml", &manifest);
    bench.declare("db.env", "PASSWORD=hunter2\nTOKEN=first\n");
    bench.run(&["apply", "jobs"]).ok();
    let secret = bench.get("Secret", "shop-backup-env").expect("a Secret");
    assert_eq!(secret["data"]["PASSWORD"], "aHVudGVyMg==");
    assert!(!bench.cron_job("shop-backup").to_string().contains("hunter2"));
    assert!(bench.run(&["apply", "jobs"]).ok().contains("no changes"));

    bench.declare("db.env", "PASSWORD=hunter3\n");
    let text = bench.run(&["plan", "jobs"]).ok();
    assert!(!text.contains("hunter") && !text.contains("aHVudGVy"), "{text}");
    assert!(
        text.contains("data.PASSWORD: (another value, not shown)"),
        "{text}"
    );
    bench.run(&["apply", "jobs"]).ok();
    let secret = bench.get("Secret", "shop-backup-env").expect("a Secret");
    assert_eq!(
        secret["data"],
        json!({"PASSWORD": "aHVudGVyMw=="}),
        "a value that is gone is gone"
    );

    bench.declare("shop.yaml", BACKUP);
    bench.run(&["apply", "jobs"]).ok();
    assert!(
        bench.get("Secret", "shop-backup-env").is_none(),
        "no value, no Secret"
    );
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn fields_of_others_are_named_and_left_alone() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    bench.run(&["apply", "jobs"]).ok();
    let theirs = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "shop-backup"},
        "spec": {"schedule": "0 0 1 1 *"}});
    bench.apply_as("flux", theirs);
    let text = bench.run(&["plan", "jobs"]).ok();
    assert!(text.contains(" ! shop.backup  wait"), "{text}");
    assert!(text.contains("`.spec.schedule` belongs to `flux`"), "{text}");
    let left = bench.run(&["apply", "jobs"]);
    assert_eq!(left.code, Some(5), "{left:?}");
    assert!(
        left.stderr.contains("`.spec.schedule` belongs to `flux`"),
        "{left:?}"
    );
    assert_eq!(bench.cron_job("shop-backup")["spec"]["schedule"], "0 0 1 1 *");
    bench.run(&["apply", "jobs", "--force-conflicts"]).ok();
    assert_eq!(bench.cron_job("shop-backup")["spec"]["schedule"], "30 4 1 1 *");

    // An edit by hand is left alone by `apply` too.
    bench.merge(
        "CronJob",
        "shop-backup",
        json!({"spec": {"concurrencyPolicy": "Replace"}}),
    );
    let left = bench.run(&["apply", "jobs"]);
    assert_eq!(left.code, Some(5), "{left:?}");
    assert!(
        left.stderr
            .contains("`.spec.concurrencyPolicy` belongs to `kubectl-edit`"),
        "{left:?}"
    );
    let text = bench.run(&["apply", "jobs", "--force-conflicts"]).ok();
    assert!(text.contains("edited in the cluster by `kubectl-edit`"), "{text}");
    assert_eq!(
        bench.cron_job("shop-backup")["spec"]["concurrencyPolicy"],
        "Forbid"
    );
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn what_is_not_ours_is_never_touched() {
    let bench = Bench::new();
    let foreign = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "shop-backup"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec":
            {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}}}}});
    bench.create(foreign);
    let before = bench.cron_job("shop-backup");
    bench.declare("shop.yaml", BACKUP);
    bench.declare("blog.yaml", &BACKUP.replace("name: shop", "name: blog"));
    let applied = bench.run(&["apply", "jobs"]);
    assert_eq!(applied.code, Some(5), "{applied:?}");
    assert!(
        applied
            .stderr
            .contains("CronJob `shop-backup` is there already, and not ours"),
        "{applied:?}"
    );
    assert!(
        bench.get("CronJob", "blog-backup").is_some(),
        "the other job is applied"
    );
    let forced = bench.run(&["apply", "jobs", "--force-conflicts"]);
    assert_eq!(forced.code, Some(5), "{forced:?}");
    assert_eq!(version(&bench.cron_job("shop-backup")), version(&before));

    // Nor is another instance's, by any command.
    let blue = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        Ended::of(
            command
                .env("DOCKER_SCHEDULER_INSTANCE", "blue")
                .output()
                .expect("the program"),
        )
    };
    let other = blue(&["apply", "jobs"]);
    assert!(
        other.stderr.contains("it belongs to the instance `default`"),
        "{other:?}"
    );
    assert_eq!(blue(&["ls", "-q"]).ok(), "");
    blue(&["down"]).ok();
    assert!(bench.get("CronJob", "blog-backup").is_some());
    bench.run(&["down"]).ok();
    assert!(bench.get("CronJob", "blog-backup").is_none());
    assert_eq!(version(&bench.cron_job("shop-backup")), version(&before));
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn names_of_52_characters_fit_and_longer_ones_are_told() {
    let bench = Bench::new();
    let name = "a".repeat(52 - "shop-".len());
    bench.declare("shop.yaml", &BACKUP.replace("  backup:", &format!("  {name}:")));
    bench.run(&["apply", "jobs"]).ok();
    assert!(bench.get("CronJob", &format!("shop-{name}")).is_some());
    let started = bench.run(&["trigger", &name]).ok();
    assert!(bench.get("Job", started.trim()).is_some(), "{started}");
    bench.declare("shop.yaml", &BACKUP.replace("  backup:", &format!("  {name}a:")));
    let refused = bench.run(&["plan", "jobs"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(
        refused.stderr.contains("is longer than 52 characters"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("shop.yaml:3:"), "{refused:?}");
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn what_the_server_refuses_is_shown_at_its_line() {
    let bench = Bench::new();
    bench.declare("blog.yaml", &BACKUP.replace("name: shop", "name: blog"));
    bench.declare(
        "shop.yaml",
        &BACKUP.replace(
            "    command",
            "    extra_hosts: [\"no_dns_name=10.0.0.1\"]\n    command",
        ),
    );
    for command in ["plan", "apply"] {
        let refused = bench.run(&[command, "jobs"]);
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.stderr.contains("the cluster refuses it"), "{refused:?}");
        assert!(refused.stderr.contains("hostAliases"), "{refused:?}");
        assert!(refused.stderr.contains("shop.yaml:5:"), "{refused:?}");
    }
    assert!(bench.list("CronJob").is_empty(), "nothing of it is applied");
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_run_by_hand_is_followed_to_its_end_and_told_of() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    bench.run(&["apply", "jobs"]).ok();
    let waiting = bench
        .command(&["trigger", "shop.backup", "--wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let job = until("a Job", || bench.list("Job").into_iter().next());
    let name = job["metadata"]["name"].as_str().expect("a name");
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "CronJob");
    let refused = bench.run(&["trigger", "backup"]);
    assert_eq!(refused.code, Some(5), "one run at a time: {refused:?}");
    bench.finish(name, 3);
    let ended = Ended::of(waiting.wait_with_output().expect("an end"));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert_eq!(ended.stdout.trim(), name);
    assert!(ended.stderr.contains("failed: exit code 3"), "{ended:?}");

    let line = bench.run(&["history", "--format", "json"]).ok();
    let run: Value = serde_json::from_str(&line).expect("one run");
    assert_eq!(
        (&run["run"], &run["outcome"]),
        (&json!(name), &json!("failed")),
        "{run}"
    );
    assert_eq!(
        (&run["trigger"], &run["exit_code"]),
        (&json!("manual"), &json!(3)),
        "{run}"
    );
    assert_eq!(run["source"], "shop.yaml");
    let listed = bench.run(&["ls", "--format", "json"]).ok();
    let listed: Value = serde_json::from_str(&listed).expect("one job");
    assert_eq!(
        (&listed["job"], &listed["last_outcome"]),
        (&json!("shop.backup"), &json!("failed"))
    );
    assert_eq!(
        (&listed["trigger"], &listed["timezone"]),
        (&json!("30 4 1 1 *"), &json!("Europe/Berlin"))
    );
    let next = bench
        .run(&["next", "shop.backup", "--format", "json", "-n", "1"])
        .ok();
    assert!(next.contains("01-01T04:30:00+01:00"), "{next}");
    assert_eq!(bench.run(&["wait", "shop.backup"]).code, Some(3));
    let inspected = bench
        .run(&["inspect", name, "-f", "{{.outcome}} {{.exit_code}}"])
        .ok();
    assert_eq!(inspected, "failed 3\n");

    assert_eq!(bench.run(&["prune", "--dry-run"]).ok().trim(), name);
    bench.run(&["prune"]).ok();
    until("an end of the Job", || {
        bench.get("Job", name).is_none().then_some(())
    });
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn output_is_read_from_the_pods() {
    let bench = Bench::new();
    bench.declare(
        "shop.yaml",
        &BACKUP.replace("exit 3", "echo first of it; echo last of it"),
    );
    bench.run(&["apply", "jobs"]).ok();
    for command in ["logs", "wait"] {
        let none = bench.run(&[command, "backup"]);
        assert_eq!(none.code, Some(1), "{none:?}");
        assert!(
            none.stderr.contains("knows of no run of the job `shop.backup`")
                && none.stderr.contains("`trigger shop.backup` starts one now"),
            "{none:?}"
        );
    }
    let job = bench.run(&["trigger", "backup"]).ok();
    let job = job.trim();
    let pod = bench.pod_of(job);
    if has_no_node() {
        let none = bench.run(&["logs", "backup"]);
        assert_eq!(none.code, Some(1), "{none:?}");
        assert!(none.stderr.contains("its pod has not started"), "{none:?}");
        bench.bind(&pod);
    }
    bench.finish(job, 0);
    bench.run(&["wait", job]).ok();
    let text = bench.run(&["logs", "backup"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("first of "), "{text}");
    let text = bench.run(&["logs", "-n", "1", job]).ok();
    assert!(
        text.starts_with("last of ") && text.lines().count() == 1,
        "{text}"
    );
    if has_no_node() {
        let text = bench
            .run(&["logs", "--until", "2026-11-23T01:30:01Z", "backup"])
            .ok();
        assert_eq!(text, format!("first of {pod}\n"));
        let text = bench.run(&["logs", "-t", "backup"]).ok();
        assert!(text.starts_with("2026-11-23T01:30:00Z first of "), "{text}");
    }

    // For cron's mail: the output, and nothing else.
    let waiting = bench
        .command(&["trigger", "backup", "--wait", "--logs"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let next = until("another Job", || {
        let names = bench.list("Job").into_iter();
        let mut names = names.map(|job| job["metadata"]["name"].as_str().expect("a name").to_owned());
        names.find(|name| name != job)
    });
    let pod = bench.pod_of(&next);
    if has_no_node() {
        bench.bind(&pod);
    }
    bench.finish(&next, 0);
    let ended = Ended::of(waiting.wait_with_output().expect("an end"));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(lines.len() == 2 && lines[0].starts_with("first of "), "{ended:?}");
}

impl Bench {
    /// Puts a pod on a node that is only a stub's address.
    fn bind(&self, pod: &str) {
        let node = format!("node-{}", self.namespace);
        let port: i64 = std::env::var("DOCKER_SCHEDULER_TEST_KUBELET")
            .ok()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let nodes: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("Node"));
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
        self.runtime.block_on(async {
            match nodes.create(&PostParams::default(), &dynamic(object)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => panic!("a node: {error}"),
            }
            let params = PatchParams::default();
            nodes
                .patch_status(&node, &params, &Patch::Merge(status))
                .await
                .expect("its address");
            let bound: Result<Value, kube::Error> = self
                .api("Pod")
                .create_subresource("binding", pod, &PostParams::default(), &binding)
                .await;
            bound.expect("a binding");
        });
    }
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_run_is_cancelled_and_kept_as_such() {
    let bench = Bench::new();
    bench.declare("shop.yaml", &BACKUP.replace("exit 3", "sleep 600"));
    bench.run(&["apply", "jobs"]).ok();
    let job = bench.run(&["trigger", "backup"]).ok();
    let job = job.trim();
    bench.pod_of(job);
    let cancelled = bench.run(&["cancel", "backup"]);
    assert_eq!(
        (cancelled.code, cancelled.stdout.trim()),
        (Some(0), job),
        "{cancelled:?}"
    );
    assert_eq!(bench.run(&["wait", job]).code, Some(130));
    let line = bench.run(&["history", "--format", "json"]).ok();
    let run: Value = serde_json::from_str(&line).expect("one run");
    assert_eq!(
        (&run["outcome"], &run["reason"]),
        (&json!("cancelled"), &json!("cancelled by ann"))
    );
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn the_cluster_starts_a_job_at_its_time_and_history_tells_the_slot() {
    let bench = Bench::new();
    bench.declare(
        "shop.yaml",
        &BACKUP
            .replace("30 4 1 1 *", "* * * * *")
            .replace("exit 3", "sleep 600"),
    );
    bench.run(&["apply", "jobs"]).ok();
    let job = until("a Job at its time", || bench.list("Job").into_iter().next());
    let name = job["metadata"]["name"].as_str().expect("a name");
    let line = bench.run(&["history", "--format", "json"]).ok();
    let run: Value = serde_json::from_str(line.lines().last().expect("a run")).expect("JSON");
    assert_eq!(
        (&run["trigger"], &run["outcome"]),
        (&json!("schedule"), &json!("running")),
        "{run}"
    );
    assert!(
        run["slot"].as_str().is_some_and(|slot| slot.ends_with(":00Z")),
        "{run}"
    );
    assert_eq!(
        bench.run(&["ls", "--format", "{{.State}}"]).ok().trim(),
        "running"
    );
    // The next slot finds it running.
    until("a slot that is skipped", || {
        let skipped = bench
            .run(&["history", "-f", "outcome=skipped", "--format", "json"])
            .ok();
        (!skipped.is_empty()).then_some(())
    });
    // Removed from the manifests, what runs goes on.
    bench.declare("shop.yaml", &BACKUP.replace("backup", "other"));
    let text = bench.run(&["apply", "jobs"]).ok();
    assert!(text.contains("no longer declared; what runs goes on"), "{text}");
    until("an end of the CronJob", || {
        bench.get("CronJob", "shop-backup").is_none().then_some(())
    });
    let left = bench.get("Job", name).expect("it goes on");
    assert_eq!(left["metadata"]["deletionTimestamp"], Value::Null);
    let text = bench.run(&["apply", "jobs"]).ok();
    assert!(text.contains("no changes"), "{text}");
    bench.run(&["down"]).ok();
    until("an end of everything", || {
        bench.list("Job").is_empty().then_some(())
    });
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_pause_survives_an_apply() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    bench.run(&["apply", "jobs"]).ok();
    assert_eq!(bench.run(&["resume", "backup"]).code, Some(1), "it is not paused");
    bench.run(&["pause", "shop.*"]).ok();
    let until_time = bench.run(&["pause", "backup", "--until", "2h"]);
    assert!(
        until_time.stderr.contains("not for the engine `kubernetes`"),
        "{until_time:?}"
    );
    bench.declare("shop.yaml", &BACKUP.replace("busybox:1", "busybox:2"));
    let text = bench.run(&["apply", "jobs"]).ok();
    assert!(
        text.contains(" . shop.backup  wait     paused by ann, until `resume`\n"),
        "{text}"
    );
    assert_eq!(bench.cron_job("shop-backup")["spec"]["suspend"], true);
    assert_eq!(bench.run(&["ls", "--format", "{{.State}}"]).ok().trim(), "paused");
    assert_eq!(bench.run(&["next", "--format", "json"]).ok(), "");
    bench.run(&["resume", "backup"]).ok();
    assert_eq!(bench.cron_job("shop-backup")["spec"]["suspend"], false);
    assert!(
        bench
            .run(&["apply", "jobs"])
            .ok()
            .contains("no changes; 0 waiting")
    );

    // A pause with another tool survives as well, and ends by `resume`.
    bench.merge("CronJob", "shop-backup", json!({"spec": {"suspend": true}}));
    let text = bench.run(&["apply", "jobs"]).ok();
    assert!(text.contains("paused by kubectl-edit"), "{text}");
    bench.run(&["resume", "backup"]).ok();
    assert_eq!(bench.cron_job("shop-backup")["spec"]["suspend"], false);

    // What the manifest suspends is the manifest's.
    let suspended = BACKUP.replace("    triggers", "    x-scheduler: {suspend: true}\n    triggers");
    bench.declare("shop.yaml", &suspended);
    bench.run(&["apply", "jobs"]).ok();
    assert_eq!(bench.cron_job("shop-backup")["spec"]["suspend"], true);
    assert_eq!(bench.run(&["resume", "backup"]).code, Some(1));
    bench.declare("shop.yaml", BACKUP);
    bench.run(&["apply", "jobs"]).ok();
    assert_ne!(bench.cron_job("shop-backup")["spec"]["suspend"], true);
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn the_service_account_reaches_no_further_than_its_namespace() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    let refused = bench.run(&["plan", "jobs", "--namespace", "kube-system"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("is forbidden"), "{refused:?}");
    assert!(refused.stderr.contains("rbac.yaml"), "{refused:?}");
    let nowhere = bench.run(&["plan", "jobs", "--kube-context", "nowhere"]);
    assert_eq!(nowhere.code, Some(4), "{nowhere:?}");
    assert!(
        nowhere
            .stderr
            .contains("cannot reach the cluster at `https://127.0.0.1:1`"),
        "{nowhere:?}"
    );
    let unknown = bench.run(&["plan", "jobs", "--kube-context", "no-such"]);
    assert_eq!(unknown.code, Some(4), "{unknown:?}");
    assert!(unknown.stderr.contains("no-such"), "{unknown:?}");
    // Without secret values no right to read Secrets is needed.
    bench.merge(
        "Role",
        "docker-scheduler",
        json!({"rules": [
            {"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["get", "list", "create", "patch"]},
        ]}),
    );
    bench.run(&["apply", "jobs"]).ok();
    assert!(bench.get("CronJob", "shop-backup").is_some());
}

/// A `watch` that is told to end with its test.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_watch_follows_the_files_and_puts_right_what_somebody_changes() {
    let bench = Bench::new();
    bench.declare("shop.yaml", BACKUP);
    let mut child = bench
        .command(&["watch", "jobs"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let said = std::thread::spawn(move || stderr.lines().map_while(Result::ok).collect::<Vec<_>>());
    let watching = Watching(child);
    let there = || bench.get("CronJob", "shop-backup");
    let made = until("the CronJob", there);

    bench.merge(
        "CronJob",
        "shop-backup",
        json!({"spec": {"schedule": "0 0 1 1 *"}}),
    );
    until("the schedule to be put right", || {
        there().filter(|object| object["spec"]["schedule"] == "30 4 1 1 *")
    });
    bench.delete("CronJob", "shop-backup");
    let anew = until("the CronJob again", there);
    assert_ne!(anew["metadata"]["uid"], made["metadata"]["uid"]);

    // A broken manifest takes nothing away.
    bench.declare("broken.yaml", "name: blog\njobs: 3\n");
    bench.declare("shop.yaml", &BACKUP.replace("busybox:1", "busybox:2"));
    until("the edit", || {
        there().filter(|object| object.to_string().contains("busybox:2"))
    });
    std::fs::remove_file(bench.home.path().join("jobs/broken.yaml")).expect("remove");

    // Another tool's fields are left alone.
    bench.apply_as(
        "flux",
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "shop-backup"},
        "spec": {"schedule": "0 0 2 2 *"}}),
    );
    // What has no equal, and what the server refuses.
    let with = |name: &str, key: &str| {
        let manifest = BACKUP.replace("name: shop", &format!("name: {name}"));
        let text = manifest.replace("    command", &format!("    {key}\n    command"));
        bench.declare(&format!("{name}.yaml"), &text);
    };
    with("odd", "ulimits: {nofile: 10}");
    with("refused", "extra_hosts: [\"no_dns_name=10.0.0.1\"]");
    bench.declare("more.yaml", &BACKUP.replace("name: shop", "name: more"));
    until("the new job", || bench.get("CronJob", "more-backup"));
    assert_eq!(bench.cron_job("shop-backup")["spec"]["schedule"], "0 0 2 2 *");

    let terminated = rustix::process::kill_process(
        rustix::process::Pid::from_child(&watching.0),
        rustix::process::Signal::TERM,
    );
    terminated.expect("a signal");
    let lines = said.join().expect("its log");
    let log = lines.join("\n");
    assert!(log.contains("edited in the cluster by `kubectl-edit`"), "{log}");
    assert!(log.contains("`.spec.schedule` belongs to `flux`"), "{log}");
    let near = |place: &str| {
        let at = lines.iter().position(|line| line.contains(place));
        let at = at.unwrap_or_else(|| panic!("{place}\n{log}"));
        lines[at..lines.len().min(at + 5)].join("\n")
    };
    assert!(near("odd.yaml:5:5").contains("^^^^^^^"), "{log}");
    assert!(
        log.contains("job `odd.backup` is left as it is in the cluster"),
        "{log}"
    );
    assert!(near("refused.yaml:5:5").contains("^^^^^^^^^^^"), "{log}");
    assert!(bench.get("CronJob", "odd-backup").is_none());
    assert!(bench.get("CronJob", "refused-backup").is_none());
    drop(watching);
    assert!(there().is_some(), "an end of the watch ends no job");
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn commands_that_have_no_meaning_there_say_so() {
    let bench = Bench::new();
    for arguments in [
        &["run", "busybox"][..],
        &["rerun", "x"],
        &["rm", "x"],
        &["ack", "x"],
        &["list", "images"],
        &["list", "containers"],
        &["apply", "--wait"],
    ] {
        let refused = bench.run(arguments);
        assert_eq!(refused.code, Some(1), "{arguments:?} {refused:?}");
        assert!(
            refused.stderr.contains("is not for the engine `kubernetes`"),
            "{refused:?}"
        );
    }
    let version = bench.run(&["version", "--verbose"]).ok();
    assert!(version.contains("kubernetes v1."), "{version}");
}
