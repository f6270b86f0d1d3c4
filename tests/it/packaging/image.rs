//! The image on the host's engine: `examples/compose`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Machine, docker, docker_ok, example, make_image, run};
use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Ended, ended, wait_until};

/// The scheduler by Compose, taken down with this value.
struct Composed<'a> {
    rig: &'a Rig,
    folder: std::path::PathBuf,
    group: String,
}

impl Composed<'_> {
    fn compose(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("docker-compose");
        command
            .args(["--project-name", "contained"])
            .args(args)
            .current_dir(&self.folder)
            .env("DOCKER_HOST", self.rig.host())
            .env("DOCKER_SOCKET", self.rig.socket())
            .env("DOCKER_GID", &self.group)
            .stdin(Stdio::null());
        ended(command.output().expect("run docker-compose"))
    }

    /// A command of the scheduler in its container.
    fn inside(&self, args: &[&str]) -> Ended {
        let name = self.name();
        docker(
            self.rig,
            &[&["exec", &name, "/usr/bin/docker-scheduler"], args].concat(),
        )
    }

    fn name(&self) -> String {
        let filter = "label=com.docker.compose.service=scheduler";
        docker_ok(self.rig, &["ps", "--filter", filter, "--format", "{{.Names}}"])
            .trim()
            .to_owned()
    }

    fn inspect(&self, format: &str) -> String {
        docker_ok(self.rig, &["inspect", "--format", format, &self.name()])
            .trim()
            .to_owned()
    }
}

impl Drop for Composed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{:#?}", self.compose(&["logs"]));
        }
        self.compose(&["stop"]);
        self.compose(&["run", "--rm", "scheduler", "down"]);
        self.compose(&["down", "--volumes"]);
    }
}

#[test]
#[ignore = "slow: make test-packaging"]
fn the_image_schedules_on_the_hosts_engine_and_leaves_itself_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let rig = Rig::shared();
    make_image(rig);
    docker_ok(rig, &["tag", IMAGE, "busybox:latest"]);
    the_image_holds_one_program(rig);
    let folder = example(rig, "compose");
    let group = fs::metadata(rig.socket()).expect("a socket").gid().to_string();
    let composed = Composed { rig, folder, group };
    let up = composed.compose(&["up", "-d"]);
    assert_eq!(up.code, 0, "{up:#?}");
    wait_until("it is healthy, by its own check", || {
        composed.inspect("{{.State.Health.Status}}") == "healthy"
    });
    assert_eq!(composed.inspect("{{.HostConfig.ReadonlyRootfs}}"), "true");
    assert_eq!(composed.inspect("{{.Config.User}}"), "65532:65532");

    // `./backups` is beside the manifest on the host, where the engine makes it.
    let ran = composed.inside(&["trigger", "--wait", "contained.backup"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let dates = composed.folder.join("schedules/backups/dates");
    assert_eq!(
        fs::read_to_string(&dates).expect("the job wrote").lines().count(),
        1
    );
    let logs = composed.inside(&["logs", "contained.backup"]);
    assert!(logs.stdout.contains("UTC"), "{logs:#?}");

    // Neither a person's slip nor a manifest reaches the scheduler itself.
    let name = composed.name();
    let refused = composed.inside(&["rm", "-f", &name]);
    assert_eq!(refused.code, 5, "{refused:#?}");
    assert!(
        refused.stderr.contains("is the scheduler's own container"),
        "{refused:#?}"
    );
    let grab = "name: contained\njobs:\n  grab:\n    command: [id]\n    triggers: {manual: true}\n    \
                x-scheduler: {exec: {service: scheduler}}\n";
    fs::write(composed.folder.join("schedules/grab.yaml"), grab).expect("write a manifest");
    let plan = composed.inside(&["plan", "/schedules"]);
    assert!(plan.stdout.contains("is the scheduler's own"), "{plan:#?}");
    fs::remove_file(composed.folder.join("schedules/grab.yaml")).expect("remove a manifest");

    // A new container of the scheduler goes on with the ledger.
    let again = composed.compose(&["up", "-d", "--force-recreate"]);
    assert_eq!(again.code, 0, "{again:#?}");
    wait_until("the ledger outlives the container", || {
        composed.inside(&["history"]).stdout.contains("succeeded")
    });
}

/// Beside what an engine puts into each container itself.
fn the_image_holds_one_program(rig: &Rig) {
    const OF_THE_ENGINE: [&str; 4] = [".dockerenv", "dev/", "etc/", "proc/"];
    docker_ok(rig, &["create", "--name", "look", "docker-scheduler"]);
    let list = format!("docker --host {} export look | tar -t", rig.host());
    let files = run(Command::new("sh").args(["-c", &list]));
    docker_ok(rig, &["rm", "-v", "look"]);
    let mut held: Vec<&str> = (files.lines())
        .filter(|file| !file.ends_with('/') && !OF_THE_ENGINE.iter().any(|its| file.starts_with(its)))
        .collect();
    held.sort_unstable();
    assert_eq!(
        held,
        ["usr/bin/docker-scheduler", "var/lib/docker-scheduler/README"]
    );
    let version = docker_ok(
        rig,
        &["run", "--rm", "--read-only", "docker-scheduler", "version"],
    );
    assert!(version.starts_with("docker-scheduler "), "{version}");
}

#[test]
#[ignore = "slow: make test-packaging"]
fn a_folder_of_the_containers_own_is_refused_until_somebody_says_where_it_is() {
    let rig = Rig::shared();
    make_image(rig);
    let socket = format!("{}:/var/run/docker.sock", rig.socket().display());
    let folder = rig.folder("own");
    let manifest = format!(
        "name: own\njobs:\n  j:\n    image: {IMAGE}\n    pull_policy: never\n    command: [touch, /data/x]\n    \
         network_mode: none\n    volumes: ['./data:/data']\n    triggers: {{manual: true}}\n"
    );
    let stage = rig.folder("own-stage");
    fs::write(stage.join("a.yaml"), manifest).expect("write a manifest");
    let program = [
        "--user",
        "0",
        "--network",
        "none",
        "--volume",
        &socket,
        "docker-scheduler",
    ];
    let planned = |name: &str, more: &[&str]| -> Ended {
        let create = [&["create", "--name", name], &program[..], more].concat();
        docker_ok(rig, &create);
        let target = format!("{name}:/jobs");
        docker_ok(rig, &["cp", &stage.display().to_string(), &target]);
        let ended = docker(rig, &["start", "--attach", name]);
        docker(rig, &["rm", "-fv", name]);
        ended
    };
    let refused = planned("own-1", &["--instance", "own", "plan", "/jobs"]);
    assert_eq!(refused.code, 3, "{refused:#?}");
    assert!(
        refused
            .stderr
            .contains("`./data` lies in the scheduler's own container"),
        "{refused:#?}"
    );
    let there = folder.display().to_string();
    let ran = planned(
        "own-2",
        &[
            "--host-dir",
            &there,
            "--instance",
            "own",
            "trigger",
            "--dir",
            "/jobs",
            "--wait",
            "own.j",
        ],
    );
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(
        Path::new(&there).join("data/x").exists(),
        "the engine made it there"
    );
    let down = ["run", "--rm"];
    docker(
        rig,
        &[
            &down[..],
            &program[..],
            &["--instance", "own", "--take-over", "down"],
        ]
        .concat(),
    );
    drop(Machine {
        rig,
        name: "own-2".to_owned(),
    });
}
