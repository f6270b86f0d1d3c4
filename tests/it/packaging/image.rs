//! The image on the host's engine: `examples/compose`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{DEBIAN, Machine, docker, docker_ok, example, import_debian, make_image, run};
use crate::endpoints::documented;
use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Ended, ended, wait_until};

/// The scheduler by Compose, taken down with this value.
struct Composed<'a> {
    rig: &'a Rig,
    /// Its project.
    name: &'static str,
    folder: std::path::PathBuf,
    /// Of the example's Compose files.
    file: &'static str,
    group: String,
}

impl Composed<'_> {
    fn compose(&self, args: &[&str]) -> Ended {
        let mut command = Command::new("docker-compose");
        command
            .args(["--project-name", self.name, "--file", self.file])
            .args(args)
            .current_dir(&self.folder)
            .env("DOCKER_HOST", self.rig.host())
            .env("DOCKER_SOCKET", self.rig.socket())
            .env("DOCKER_GID", &self.group)
            .env("PROXY_IMAGE", PROXY)
            // Of other tests on this engine.
            .env("DOCKER_SCHEDULER_INSTANCE", self.name)
            .stdin(Stdio::null());
        ended(command.output().expect("run docker-compose"))
    }

    /// A command of the scheduler in its container.
    fn inside(&self, args: &[&str]) -> Ended {
        let name = self.container();
        docker(
            self.rig,
            &[&["exec", &name, "/usr/bin/docker-scheduler"], args].concat(),
        )
    }

    fn container(&self) -> String {
        let of = [
            format!("label=com.docker.compose.project={}", self.name),
            String::from("label=com.docker.compose.service=scheduler"),
        ];
        docker_ok(
            self.rig,
            &[
                "ps",
                "--filter",
                &of[0],
                "--filter",
                &of[1],
                "--format",
                "{{.Names}}",
            ],
        )
        .trim()
        .to_owned()
    }

    fn inspect(&self, format: &str) -> String {
        docker_ok(self.rig, &["inspect", "--format", format, &self.container()])
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

impl<'a> Composed<'a> {
    /// One of the example's files, up and healthy.
    fn up(rig: &'a Rig, name: &'static str, file: &'static str) -> Composed<'a> {
        use std::os::unix::fs::MetadataExt as _;
        make_image(rig);
        docker_ok(rig, &["tag", IMAGE, "busybox:latest"]);
        let composed = Composed {
            rig,
            name,
            folder: example(rig, "compose", name),
            file,
            group: fs::metadata(rig.socket()).expect("a socket").gid().to_string(),
        };
        let up = composed.compose(&["up", "-d"]);
        assert_eq!(up.code, 0, "{up:#?}");
        wait_until("it is healthy, by its own check", || {
            composed.inspect("{{.State.Health.Status}}") == "healthy"
        });
        composed
    }

    /// `./backups` is beside the manifest on the host, where the engine makes it.
    fn a_job_writes_beside_its_manifest(&self) {
        let ran = self.inside(&["trigger", "--wait", "contained.backup"]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        let dates = fs::read_to_string(self.folder.join("schedules/backups/dates")).expect("the job wrote");
        assert!(!dates.is_empty());
        let logs = self.inside(&["logs", "contained.backup"]);
        assert!(logs.stdout.contains("UTC"), "{logs:#?}");
    }

    /// A person's slip does not reach the scheduler itself.
    fn it_leaves_itself_alone(&self) {
        let name = self.container();
        let refused = self.inside(&["rm", "-f", &name]);
        assert_eq!(refused.code, 5, "{refused:#?}");
        assert!(
            refused.stderr.contains("is the scheduler's own container"),
            "{refused:#?}"
        );
    }
}

#[test]
#[ignore = "slow: make test-packaging"]
fn the_image_schedules_on_the_hosts_engine_and_leaves_itself_alone() {
    let rig = Rig::shared();
    make_image(rig);
    the_image_holds_one_program(rig);
    let composed = Composed::up(rig, "contained", "compose.yaml");
    assert_eq!(composed.inspect("{{.HostConfig.ReadonlyRootfs}}"), "true");
    assert_eq!(composed.inspect("{{.Config.User}}"), "65532:65532");
    composed.a_job_writes_beside_its_manifest();
    composed.it_leaves_itself_alone();

    // Nor does a manifest.
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

/// A proxy of the documented requests alone, with a well-known program.
const PROXY: &str = "socket-proxy";

fn make_proxy(rig: &Rig) {
    import_debian(rig);
    let mut config = String::from(
        "defaults\n mode http\n timeout connect 10s\n timeout client 10m\n timeout server 10m\n\
         backend engine\n server engine unix@/var/run/docker.sock\n\
         frontend requests\n bind 127.0.0.1:2375\n default_backend engine\n",
    );
    for (method, path) in documented() {
        // The name of an image has slashes of its own.
        let any = if path.starts_with("/images") {
            ".+"
        } else {
            "[^/]+"
        };
        let path = path.replace('*', any);
        writeln!(
            config,
            " http-request allow if {{ method {method} }} {{ path_reg ^(/v[0-9.]+)?{path}$ }}"
        )
        .expect("a text");
    }
    config.push_str(" http-request deny\n");
    let folder = rig.folder("proxy");
    fs::write(folder.join("haproxy.cfg"), config).expect("write its configuration");
    let recipe =
        format!("FROM {DEBIAN}\nCOPY haproxy.cfg /\nCMD [\"haproxy\", \"-db\", \"-f\", \"/haproxy.cfg\"]\n");
    fs::write(folder.join("Dockerfile"), recipe).expect("write its recipe");
    docker_ok(rig, &["build", "-t", PROXY, &folder.display().to_string()]);
}

/// The two share a network, and with it the files by which a container is known from the inside.
#[test]
#[ignore = "slow: make test-packaging"]
fn behind_a_proxy_the_image_still_knows_which_container_it_is() {
    let rig = Rig::shared();
    make_proxy(rig);
    let composed = Composed::up(rig, "proxied", "proxy.yaml");
    assert!(!composed.inspect("{{json .Mounts}}").contains("docker.sock"));
    composed.a_job_writes_beside_its_manifest();
    composed.it_leaves_itself_alone();
    // What is not in the table does not get through.
    let refused = composed.inside(&["run", "busybox:latest", "true"]);
    assert_eq!(refused.code, 125, "{refused:#?}");
    assert!(refused.stderr.contains("403"), "{refused:#?}");
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
