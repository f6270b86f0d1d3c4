//! What is asked of an engine is what the documentation says, for whoever puts a filter before it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::proxy::Proxy;
use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Job, Scheduler, manifest, wait_until};

/// Methods and paths with `*`, from the table that a reader of the documentation has.
pub fn documented() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/compose/README.md");
    let text = std::fs::read_to_string(path).expect("the example's README");
    let mut found = Vec::new();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
    for row in rows {
        let (methods, paths) = row.split_once(" | ").expect("two columns");
        for method in methods.split(", ") {
            for path in paths.split('`').skip(1).step_by(2) {
                found.push((method.to_owned(), path.to_owned()));
            }
        }
    }
    found
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((start, end)) => path
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
            // The name of an image has slashes of its own.
            .is_some_and(|name| !name.is_empty() && (start.contains("images") || !name.contains('/'))),
    }
}

#[test]
fn a_filter_of_the_documented_paths_stops_nothing() {
    let allowed = documented();
    assert!(allowed.len() > 20, "{allowed:?}");
    let rig = Rig::shared();
    let proxy = Proxy::start(&rig.socket());
    let scheduler = Scheduler::new(rig, "endpoints").through(&proxy);
    let jobs = [
        Job {
            name: "ticks",
            every: "2s",
            work: "true",
            options: "",
        },
        Job {
            name: "hand",
            every: "",
            work: "sleep 60",
            options: "",
        },
    ];
    scheduler.manifest("a.yaml", &manifest("paths", &scheduler.witness, &jobs));
    scheduler.manifest(
        "b.yaml",
        &format!(
            "name: paths\njobs:\n  volume:\n    image: {IMAGE}\n    pull_policy: never\n    network_mode: none\n    \
             volumes: ['data:/data']\n    triggers: {{schedule: ['0 3 * * *']}}\nvolumes:\n  data:\n"
        ),
    );
    let watching = scheduler.watch();
    wait_until("a job runs", || scheduler.witness.executions() > 1);
    scheduler.ok(&["trigger", "paths.hand"]);
    scheduler.ok(&["cancel", "paths.hand"]);
    scheduler.ok(&["logs", "paths.ticks"]);
    scheduler.ok(&["list", "containers"]);
    scheduler.ok(&["list", "images"]);
    assert_eq!(watching.term(), 0);
    scheduler.ok(&["down"]);
    let mut asked: Vec<(String, String)> = (proxy.seen().into_iter())
        .map(|request| {
            let path = request.path.split('?').next().unwrap_or_default().to_owned();
            (request.method, path)
        })
        .collect();
    asked.sort();
    asked.dedup();
    let unknown: Vec<_> = (asked.iter())
        .filter(|(method, path)| {
            !allowed
                .iter()
                .any(|(known, pattern)| known == method && matches(pattern, path))
        })
        .collect();
    assert!(unknown.is_empty(), "not in the documentation: {unknown:#?}");
    assert!(asked.len() > 10, "{asked:#?}");
}

/// What the example's proxy is told to let through.
#[test]
fn the_examples_proxy_lets_the_documented_paths_through() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/compose/proxy.yaml");
    let text = std::fs::read_to_string(path).expect("the example");
    let asked: BTreeSet<String> = (documented().iter())
        .map(|(_, path)| {
            let first = path.trim_start_matches(['/', '_']).split('/').next();
            first.unwrap_or_default().to_uppercase()
        })
        .chain(["POST".to_owned()])
        .collect();
    let let_through: BTreeSet<String> = (text.lines())
        .filter_map(|line| line.strip_suffix(": 1"))
        .map(|name| name.trim().to_owned())
        .filter(|name| name != "DISABLE_IPV6")
        .collect();
    assert_eq!(let_through, asked);
}
