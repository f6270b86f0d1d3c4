//! `examples/swarm/stack.yml` as the docker command line deploys it: one scheduler that Swarm places, and
//! places anew when its node is lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::rig::Rig;
use crate::scheduler::{Ended, Job, ended, wait_for, wait_until};
use crate::swarm::{begins, witnessing};

fn docker(rig: &Rig, args: &[&str]) -> Ended {
    let mut command = Command::new("docker");
    command
        .args(["--host", &rig.host()])
        .args(args)
        .stdin(Stdio::null());
    ended(command.output().expect("run docker"))
}

fn docker_ok(rig: &Rig, args: &[&str]) -> String {
    let ended = docker(rig, args);
    assert_eq!(ended.code, 0, "docker {}: {ended:#?}", args.join(" "));
    ended.stdout
}

/// An image of the program under test and the libraries that it needs, without a registry.
fn image_of_the_program(folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_docker-scheduler"));
    let root = folder.join("root");
    for below in ["usr/bin", "tmp"] {
        fs::create_dir_all(root.join(below)).expect("create a folder");
    }
    let inside = root.join("usr/bin/docker-scheduler");
    fs::copy(program, &inside).expect("copy the program");
    // Each of three engines keeps a copy.
    let stripped = Command::new("strip").arg(&inside).status();
    assert!(stripped.is_ok_and(|status| status.success()), "strip the program");
    let libraries = Command::new("ldd").arg(program).output().expect("run ldd");
    let libraries = String::from_utf8(libraries.stdout).expect("text");
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(&path[1..]);
        fs::create_dir_all(place.parent().expect("a folder")).expect("create a folder");
        fs::copy(path, place).expect("copy a library");
    }
    let tar = folder.join("image.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .status();
    assert!(packed.is_ok_and(|status| status.success()), "pack the image");
    tar.display().to_string()
}

/// Where the scheduler's task runs, and in which container.
fn scheduler_at(cluster: &Cluster) -> Option<(usize, String)> {
    let text = cluster.nodes.iter().find_map(|node| {
        let (status, text) = node.request("GET", "/tasks", &[])?;
        (status == 200).then_some(text)
    })?;
    let tasks: Vec<Value> = serde_json::from_slice(&text).ok()?;
    let nodes = cluster.list()?;
    tasks.iter().find_map(|task| {
        let ours = task["Spec"]["ContainerSpec"]["Image"]
            .as_str()?
            .starts_with("docker-scheduler");
        let lives = task["Status"]["State"] == "running" && task["DesiredState"] == "running";
        let node = nodes.iter().find(|node| node["ID"] == task["NodeID"])?;
        let name = node["Description"]["Hostname"].as_str()?;
        let at = (0..cluster.nodes.len()).find(|&at| cluster.nodes[at].namespace_name("") == name)?;
        let container = task["Status"]["ContainerStatus"]["ContainerID"].as_str()?;
        (ours && lives).then(|| (at, container.to_owned()))
    })
}

#[test]
fn a_scheduler_as_a_stack_comes_back_elsewhere_and_doubles_nothing() {
    let cluster = Cluster::of(3);
    let rig = &cluster.nodes[0];
    let folder = rig.folder("stack");
    let tar = image_of_the_program(&folder);
    for node in &cluster.nodes {
        let entry = "ENTRYPOINT [\"/usr/bin/docker-scheduler\"]";
        docker_ok(
            node,
            &["import", "--change", entry, &tar, "docker-scheduler:latest"],
        );
        // All three engines are on this machine; a real node has its socket where every engine has it.
        let place = folder.join(node.namespace_name("") + ".sock");
        std::os::unix::fs::symlink(node.socket(), place).expect("link a socket");
    }
    let witness = rig.witness("stack");
    let job = Job {
        name: "tick",
        every: "2s",
        work: "true",
        options: "concurrency: allow",
    };
    fs::write(folder.join("jobs.yaml"), witnessing("stacked", &witness, &[job])).expect("write the jobs");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stack = fs::read_to_string(root.join("examples/swarm/stack.yml")).expect("the example");
    let socket = format!("{}/{{{{.Node.Hostname}}}}.sock", folder.display());
    let stack = stack.replace(
        "- /var/run/docker.sock:/var/run/docker.sock",
        &format!("- '{socket}:/var/run/docker.sock'"),
    );
    assert!(stack.contains(&socket), "{stack}");
    // Else nothing may bind the witness's folder.
    let allowed = format!("policy: {{bind_roots: [\"{}\"]}}\n", witness.folder().display());
    let stack = stack
        .replace(
            "      - {source: jobs, target: /jobs/jobs.yaml}\n",
            "      - {source: jobs, target: /jobs/jobs.yaml}\n      - {source: operator, target: /etc/docker-scheduler/config.yaml}\n",
        )
        .replace("\nconfigs:\n", "\nconfigs:\n  operator: {file: ./operator.yaml}\n");
    fs::write(folder.join("operator.yaml"), allowed).expect("write the operator's file");
    let file = folder.join("stack.yml");
    fs::write(&file, stack).expect("write the stack");
    docker_ok(
        rig,
        &[
            "stack",
            "deploy",
            "--detach=true",
            "--compose-file",
            &file.display().to_string(),
            "scheduler",
        ],
    );
    wait_until("work of the stack", || witness.executions() >= 5);
    let (first, _) = wait_for("the scheduler's node", || scheduler_at(&cluster));

    cluster.power_off(first);
    let (second, container) = wait_for("the scheduler elsewhere", || {
        scheduler_at(&cluster).filter(|(at, _)| *at != first)
    });
    let slots = || -> BTreeSet<String> {
        begins(&witness.lines())
            .into_keys()
            .map(|(slot, _)| slot)
            .collect()
    };
    let before = slots();
    wait_until("work of the one that came back", || {
        slots().len() >= before.len() + 5
    });
    let doubled: Vec<_> = begins(&witness.lines())
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    // What ran is in its history, also what the lost one had started: every slot that ran and is not on this
    // moment's edge.
    let history = wait_for("a history that has all that ran", || {
        let rows = docker(
            &cluster.nodes[second],
            &[
                "exec",
                &container,
                "/usr/bin/docker-scheduler",
                "--engine",
                "swarm",
                "history",
                "--format",
                "json",
            ],
        );
        let known: BTreeSet<String> = rows
            .stdout
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|row| Some(row["slot"].as_str()?.to_owned()))
            .collect();
        before.is_subset(&known).then_some(known)
    });
    assert!(history.len() >= before.len(), "{history:?}");
    cluster.power_on(first);
}
