//! `logs -f`: a run is followed from before its start, through its attempts, to its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use super::{BACKUP, Bench, PATIENCE, Watching, has_no_node, until};

impl Bench {
    /// A pod of the Job that is none of these.
    fn next_pod(&self, job: &str, known: &[String]) -> String {
        until(&format!("another pod of {job}"), || {
            let pods = self.list("Pod").into_iter();
            let of = pods.filter(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job);
            let names = of.map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned());
            names.into_iter().find(|name| !known.contains(name))
        })
    }

    /// Runs a pod without running it: on a node, with output that goes on until [`Bench::end_output`].
    fn run_pod(&self, pod: &str) {
        if has_no_node() {
            self.output_folder_has(&format!("{pod}.goes-on"));
            self.bind(pod);
            self.pod_status(
                pod,
                json!({"status": {"phase": "Running", "containerStatuses": [{
                "name": "backup", "image": "busybox", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-11-23T01:30:00Z"}}}]}}),
            );
        }
    }

    fn end_output(&self, pod: &str) {
        self.output_folder_has(pod);
    }

    /// How the stub for a kubelet is told.
    fn output_folder_has(&self, pod: &str) {
        if let Some(folder) = std::env::var_os("DOCKER_SCHEDULER_TEST_ENDED") {
            std::fs::write(Path::new(&folder).join(pod), "").expect("write");
        }
    }
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_run_is_followed_through_its_attempts() {
    let bench = Bench::new();
    let command = "echo first of it; sleep 3; echo last of it; exit 3";
    let manifest = BACKUP.replace("exit 3", command);
    let retried = manifest.replace("    triggers", "    x-scheduler: {retries: 1}\n    triggers");
    bench.declare("shop.yaml", &retried);
    bench.run(&["apply", "jobs"]).ok();
    let job = bench.run(&["trigger", "backup"]).ok();
    let job = job.trim();
    let mut child = bench
        .command(&["logs", "-f", "backup"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (lines, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        stdout
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| lines.send(line))
    });
    let mut stderr = child.stderr.take().expect("piped");
    // Ended with the test, should a claim below not hold.
    let mut following = Watching(child);
    let line = || shown.recv_timeout(PATIENCE).unwrap_or_default();
    let mut pods: Vec<String> = Vec::new();
    for _ in 0..2 {
        let pod = bench.next_pod(job, &pods);
        bench.run_pod(&pod);
        // It is there while the run goes on.
        assert!(line().starts_with("first of "));
        bench.end_output(&pod);
        assert!(line().starts_with("last of "));
        if has_no_node() {
            bench.finish_pod(&pod, 3);
        }
        pods.push(pod);
    }
    assert_eq!(line(), "", "the end of the run is the end of its output");
    assert!(following.0.wait().expect("an end").success());
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("UTF-8");
    assert_eq!(said, format!("==> {} (attempt 1) <==\n", pods[1]));
    assert_eq!(bench.run(&["wait", job]).code, Some(3));
}
