//! Podman's service from Debian, as an engine: the slice of the Docker suite that a schedule leans on.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use docker_scheduler::engine::{self, EngineKind, context::Endpoint};
use docker_scheduler::model::EngineName;
use serde_json::Value;

use super::{DEBIAN, MACHINE, Machine, import_debian, root};
use crate::rig::{IMAGE, Phase, Rig, Witness, eventually};
use crate::scheduler::{Ended, Job, PATIENCE, ended, manifest, send, wait_until};

/// How a command ends that does not reach its engine.
const UNREACHABLE: i32 = 4;

/// A service with folders of its own, gone with this value.
struct Podman {
    folder: PathBuf,
    service: Child,
}

impl Podman {
    /// The image of the rig is its own, too.
    fn start(rig: &Rig) -> Podman {
        let folder = rig.folder("podman");
        // Without CAP_SYS_RESOURCE no limit can be raised, and Podman's own default would be.
        let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                      [engine]\ncgroup_manager = \"cgroupfs\"\n";
        fs::write(folder.join("containers.conf"), limits).expect("write containers.conf");
        let log = fs::File::create(folder.join("log")).expect("create the service's log");
        let mut command = Podman::command(&folder);
        command
            .args(["system", "service", "--time", "0"])
            .arg(format!("unix://{}", folder.join("podman.sock").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let podman = Podman {
            service: command.spawn().expect("start podman: `apt-get install podman`"),
            folder: folder.clone(),
        };
        wait_until("podman answers", || folder.join("podman.sock").exists());
        let file = folder.join("image.tar");
        super::docker_ok(rig, &["save", "-o", &file.display().to_string(), IMAGE]);
        super::run(Podman::command(&folder).arg("load").arg("-i").arg(&file));
        // Podman calls it by its whole name.
        let _ = Podman::command(&folder)
            .args([
                "tag",
                &format!("docker.io/library/{IMAGE}"),
                &format!("localhost/{IMAGE}"),
            ])
            .output();
        podman
    }

    fn command(folder: &std::path::Path) -> Command {
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", folder.join("containers.conf"))
            .arg("--root")
            .arg(folder.join("root"))
            .arg("--runroot")
            .arg(folder.join("run"));
        command
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("podman.sock")
    }

    /// The scheduler on it.
    fn scheduler(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-scheduler"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_SCHEDULER_STATE", self.folder.join("state"))
            .env("DOCKER_SCHEDULER_CONFIG", self.folder.join("config.yaml"))
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// On a busy machine the service may not answer within the seconds that a command gives an engine;
    /// nothing has been asked for by then.
    fn says(&self, args: &[&str]) -> Ended {
        let start = Instant::now();
        loop {
            let ended = ended(self.scheduler(args).output().expect("run docker-scheduler"));
            if ended.code != UNREACHABLE || start.elapsed() > PATIENCE {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn history(&self) -> Vec<Value> {
        let text = self.says(&["history", "--format", "json"]).stdout;
        (text.lines())
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn outcomes(&self, job: &str, outcome: &str) -> usize {
        let all = self.history();
        all.iter()
            .filter(|run| run["job"] == job && run["outcome"] == outcome)
            .count()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "{}",
                fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
        }
        drop(
            Podman::command(&self.folder)
                .args(["rm", "-fa", "-t", "0"])
                .output(),
        );
        drop(self.service.kill());
        drop(self.service.wait());
        drop(
            Command::new("umount")
                .arg("-l")
                .arg(self.folder.join("root/overlay"))
                .output(),
        );
    }
}

fn runs_are_single(witness: &Witness) {
    let lines = witness.lines();
    let mut runs: Vec<_> = (lines.iter())
        .filter(|line| line.phase == Phase::Begin && line.slot != "-")
        .map(|line| (line.slot.clone(), line.attempt.clone()))
        .collect();
    let all = runs.len();
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), all, "a slot ran twice: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: make test-packaging"]
async fn podman_keeps_the_same_promises() {
    let rig = Rig::shared();
    let podman = Podman::start(rig);
    // Its first answer takes a while.
    let mut info = None;
    eventually("podman's first answer", PATIENCE, async || {
        if let Ok(engine) = engine::connect(&Endpoint::unix(podman.socket()), EngineName::Docker).await {
            info = engine.info().await.ok();
        }
        info.is_some()
    })
    .await;
    let info = info.expect("asked for");
    assert_eq!(info.kind, EngineKind::Podman, "{info:?}");
    tokio::task::block_in_place(|| schedule_on(rig, &podman));
}

fn schedule_on(rig: &Rig, podman: &Podman) {
    let witness = rig.witness("podman");
    let roots = format!("policy:\n  bind_roots: [\"{}\"]\n", witness.folder().display());
    fs::write(podman.folder.join("config.yaml"), roots).expect("write the operator's file");
    let jobs_dir = podman.folder.join("jobs");
    fs::create_dir_all(&jobs_dir).expect("create a folder");
    let dir = jobs_dir.display().to_string();
    let jobs = [
        Job {
            name: "ticks",
            every: "5s",
            work: "echo done",
            options: "",
        },
        Job {
            name: "fails",
            every: "",
            work: "echo bad; exit 9",
            options: "",
        },
        Job {
            name: "slow",
            every: "",
            work: "sleep 8",
            options: "",
        },
    ];
    let broken = format!(
        "name: broken\njobs:\n  no-command:\n    image: {IMAGE}\n    pull_policy: never\n    network_mode: none\n    \
         command: [no-such-program]\n    triggers: {{schedule: ['0 4 * * *']}}\n"
    );
    fs::write(jobs_dir.join("a.yaml"), manifest("pod", &witness, &jobs)).expect("write a manifest");
    fs::write(jobs_dir.join("b.yaml"), broken).expect("write a manifest");
    let watch = |log: &str| {
        let log = fs::File::create(podman.folder.join(log)).expect("create a log");
        let mut command = podman.scheduler(&["watch", &dir]);
        command.stdout(Stdio::null()).stderr(log);
        Watch(command.spawn().expect("start docker-scheduler"))
    };
    let said = |log: &str| fs::read_to_string(podman.folder.join(log)).unwrap_or_default();

    let watching = watch("one.log");
    wait_until("scheduled runs succeed", || {
        podman.outcomes("pod.ticks", "succeeded") >= 2
    });
    wait_until("a missing program is known before its time", || {
        said("one.log").contains("broken.no-command: cannot be armed")
    });
    assert!(
        !said("one.log").contains("no command `/bin/sh`"),
        "{}",
        said("one.log")
    );

    let failed = podman.says(&["trigger", "--dir", &dir, "--wait", "--logs", "pod.fails"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (9, "bad\n"), "{failed:#?}");
    let logs = podman.says(&["logs", "pod.ticks"]);
    assert_eq!(logs.stdout, "done\n", "{logs:#?}");

    // The scheduler is killed while a run is active: the next one learns of its end.
    let started = podman.says(&["trigger", "--dir", &dir, "pod.slow"]);
    assert_eq!(started.code, 0, "{started:#?}");
    watching.kill9();
    let watching = watch("two.log");
    wait_until("the end is learned", || {
        podman.outcomes("pod.slow", "succeeded") == 1
    });
    let before = podman.outcomes("pod.ticks", "succeeded");
    wait_until("the schedule goes on", || {
        podman.outcomes("pod.ticks", "succeeded") > before
    });
    watching.term();
    runs_are_single(&witness);

    let listed = podman.says(&["list", "containers", "-a"]);
    assert!(listed.stdout.contains("pod.ticks"), "{listed:#?}");
    let down = podman.says(&["down"]);
    assert_eq!(down.code, 0, "{down:#?}");
    let left = super::run(Podman::command(&podman.folder).args(["ps", "-aq"]));
    assert_eq!(left, "", "down leaves nothing");
}

/// The commands of `docs/podman.md`, typed by a user of a machine under systemd, whose Podman is rootless.
#[test]
#[ignore = "slow: make test-packaging"]
fn the_page_leads_a_user_to_a_podman_of_their_own() {
    let page = fs::read_to_string(root("docs/podman.md")).expect("the page");
    let block = page
        .split("```console\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let commands: Vec<&str> = block
        .expect("a block of commands")
        .lines()
        .map(|line| line.strip_prefix("$ ").expect("commands alone"))
        .collect();
    assert!(commands.len() > 2, "{commands:?}");
    let rig = Rig::shared();
    import_debian(rig);
    let rest = [
        "--network",
        "none",
        "--env",
        "container=docker",
        DEBIAN,
        "/sbin/init",
    ];
    let machine = Machine::start(rig, "with-podman", &[&MACHINE[..], &rest].concat());
    machine.waits_until("systemd is up", "systemctl is-active --quiet dbus.service");
    machine.copy(
        std::path::Path::new(env!("CARGO_BIN_EXE_docker-scheduler")),
        "/usr/bin/docker-scheduler",
    );
    machine
        .ok("useradd --create-home --uid 1000 --shell /bin/bash someone && loginctl enable-linger someone");
    machine.waits_until(
        "the user's systemd is up",
        "systemctl is-active --quiet user@1000.service",
    );
    let script = rig.folder("with-podman").join("page");
    let typed = format!(
        "export XDG_RUNTIME_DIR=/run/user/1000\ncd\ndocker-scheduler init jobs\n{}\ndocker-scheduler doctor jobs\n",
        commands.join("\n")
    );
    fs::write(&script, typed).expect("write what is typed");
    machine.copy(&script, "/page");
    let said = machine.ok("su someone -c 'bash -e /page'");
    assert!(said.contains(" + starter.hello  create"), "{said}");
    assert!(
        said.contains("ok        podman 4") && said.contains("/run/user/1000/podman/podman.sock"),
        "{said}"
    );
}

/// Killed when a test fails.
struct Watch(Child);

impl Watch {
    fn kill9(self) {}

    fn term(mut self) {
        send(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
