//! The program in a pod: credentials of its service account, mounted as a kubelet does it.

use std::process::Stdio;

use serde_json::Value;

use super::{BACKUP, Bench, until};
use crate::cli::Ended;

/// Runs the program with what lies in `$1` where a pod has its account, and no kubeconfig.
const AS_IN_A_POD: &str = "\
mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount &&
[ /var/run -ef /run ] && cp \"$1\"/account/* /run/secrets/kubernetes.io/serviceaccount/ && shift && exec \"$@\"";

impl Bench {
    /// Writes token, authority and namespace as a kubelet mounts them; where the server listens.
    fn account(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.home.path().join("kubeconfig")).expect("a kubeconfig");
        let config: Value = serde_json::from_str(&text).expect("JSON");
        let cluster = &config["clusters"][0]["cluster"];
        let authority = match cluster["certificate-authority"].as_str() {
            Some(path) => std::fs::read(path).expect("the authority"),
            None => {
                use base64::Engine as _;
                let data = cluster["certificate-authority-data"]
                    .as_str()
                    .expect("an authority");
                let decoded = base64::engine::general_purpose::STANDARD.decode(data);
                decoded.expect("base64")
            }
        };
        let folder = self.home.path().join("account");
        std::fs::create_dir_all(&folder).expect("a folder");
        let token = config["users"][0]["user"]["token"].as_str().expect("a token");
        std::fs::write(folder.join("token"), token).expect("write");
        std::fs::write(folder.join("ca.crt"), authority).expect("write");
        std::fs::write(folder.join("namespace"), &self.namespace).expect("write");
        let server = cluster["server"].as_str().expect("a server");
        let address = server
            .strip_prefix("https://")
            .expect("TLS")
            .trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "443"));
        (host.to_owned(), port.to_owned())
    }

    fn run_in_pod(&self, (host, port): &(String, String), arguments: &[&str]) -> Ended {
        let program = self.command(arguments);
        let mut command = std::process::Command::new("unshare");
        let mode = if rustix::process::geteuid().is_root() {
            "-m"
        } else {
            "-rm"
        };
        command
            .args([mode, "sh", "-c", AS_IN_A_POD, "sh"])
            .arg(self.home.path())
            .arg(program.get_program())
            .args(program.get_args())
            .env_clear()
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port);
        for (name, value) in program.get_envs() {
            if let Some(value) = value.filter(|_| name != "KUBECONFIG") {
                command.env(name, value);
            }
        }
        Ended::of(command.output().expect("unshare"))
    }
}

/// Everything that a person does there, under the account's rights alone.
#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_pod_has_the_rights_of_its_account_and_its_namespace() {
    let bench = Bench::new();
    let server = bench.account();
    let run = |arguments: &[&str]| bench.run_in_pod(&server, arguments);
    bench.declare(
        "shop.yaml",
        &BACKUP.replace("    command", "    env_file: [db.env]\n    command"),
    );
    bench.declare("db.env", "PASSWORD=hunter2\n");
    let planned = run(&["plan", "jobs", "--format", "json"]).ok();
    let plan: Value = serde_json::from_str(&planned).expect("JSON");
    let engine = plan["engine"].as_str().expect("an engine");
    assert!(
        engine.ends_with(&format!("namespace {}", bench.namespace)),
        "{engine}"
    );
    run(&["apply", "jobs"]).ok();
    assert!(bench.get("CronJob", "shop-backup").is_some());
    assert!(run(&["apply", "jobs"]).ok().contains("no changes"));
    let job = run(&["trigger", "backup"]).ok();
    let job = job.trim();
    bench.finish(job, 3);
    assert_eq!(run(&["wait", job]).code, Some(3));
    assert!(run(&["history"]).ok().contains("exit code 3"));
    run(&["pause", "backup"]).ok();
    assert_eq!(run(&["ls", "--format", "{{.State}}"]).ok().trim(), "paused");
    run(&["resume", "backup"]).ok();
    run(&["prune"]).ok();
    run(&["down"]).ok();
    until("an end of everything", || {
        let gone = bench.list("CronJob").is_empty() && bench.list("Job").is_empty();
        gone.then_some(())
    });
    let elsewhere = run(&["plan", "jobs", "--namespace", "kube-system"]);
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:?}");
    assert!(elsewhere.stderr.contains("is forbidden"), "{elsewhere:?}");

    // Neither kubeconfig nor account.
    let mut nowhere = bench.command(&["plan", "jobs"]);
    let nowhere = Ended::of(nowhere.env_remove("KUBECONFIG").output().expect("the program"));
    assert_eq!(nowhere.code, Some(4), "{nowhere:?}");
    assert!(
        nowhere
            .stderr
            .contains("there is no kubeconfig, and this is no pod"),
        "{nowhere:?}"
    );
}
