//! Each way to install and run the scheduler, for real: the Debian package under systemd, the image with
//! Compose, a crontab, an engine in a container, Podman.
//!
//! Slow, so not a part of `cargo test`: `make test-packaging` runs them. Every base image is a Debian
//! made by debootstrap, once; no registry is asked.

mod crontab;
mod debian;
mod dind;
mod image;
mod podman;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::rig::Rig;
use crate::scheduler::{Ended, ended, wait_until};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// As Docker Hub calls it.
const DEBIAN: &str = "debian:bookworm-slim";
const MIRROR: &str = "http://deb.debian.org/debian";

/// Beyond the smallest Debian: an init, cron, an engine, shells that complete, a C compiler, a proxy, and
/// Podman.
const PACKAGES: &str = "bash-completion,ca-certificates,cron,dbus,docker.io,fish,gcc,haproxy,iptables,libc6-dev,libpam-systemd,man-db,netavark,podman,systemd,systemd-sysv,uidmap,zsh";

/// What a container needs to be a machine: an init or an engine of its own, without a capability that
/// not every host has.
const MACHINE: [&str; 15] = [
    "--cap-add",
    "ALL",
    "--cap-drop",
    "SYS_RESOURCE",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "apparmor=unconfined",
    "--device-cgroup-rule",
    "a *:* rwm",
    "--volume",
    "/sys/fs/cgroup:/sys/fs/cgroup",
    "--tmpfs",
    "/run",
    "--detach",
];

/// Cargo, debootstrap and the big images are each one thing at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn root(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

/// A folder of made things, which later runs find again.
fn made() -> PathBuf {
    let folder = root("target/packaging");
    fs::create_dir_all(&folder).expect("create a folder in target");
    folder
}

/// Runs a program to its end, which must be good.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("start a program");
    let ended = ended(output);
    assert_eq!(ended.code, 0, "{command:?}: {ended:#?}");
    ended.stdout
}

/// The docker command on a rig.
fn docker(rig: &Rig, args: &[&str]) -> Ended {
    let mut command = Command::new("docker");
    command
        .env("DOCKER_HOST", rig.host())
        .env("DOCKER_BUILDKIT", "0")
        .args(args);
    ended(
        command
            .stdin(Stdio::null())
            .output()
            .expect("run the docker command"),
    )
}

#[track_caller]
fn docker_ok(rig: &Rig, args: &[&str]) -> String {
    let ended = docker(rig, args);
    assert_eq!(ended.code, 0, "docker {args:?}: {ended:#?}");
    ended.stdout
}

/// Gives the rig its Debian, made by debootstrap when it is the first time.
fn import_debian(rig: &Rig) {
    let _one = one_at_a_time();
    let tar = made().join("debian.tar");
    let recipe = made().join("debian.recipe");
    let wanted = format!("{MIRROR} bookworm {PACKAGES}");
    if fs::read_to_string(&recipe).ok().as_deref() != Some(&wanted) || !tar.exists() {
        let tree = tempfile::tempdir().expect("a folder");
        run(Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), "bookworm"])
            .arg(tree.path())
            .arg(MIRROR));
        run(Command::new("tar")
            .args([
                "--exclude=./var/cache/apt/archives/*.deb",
                "--exclude=./var/lib/apt/lists/*",
            ])
            .arg("-C")
            .arg(tree.path())
            .arg("-cf")
            .arg(&tar)
            .arg("."));
        fs::write(&recipe, wanted).expect("write down what was made");
    }
    if docker(rig, &["image", "inspect", DEBIAN]).code != 0 {
        docker_ok(rig, &["import", &tar.display().to_string(), DEBIAN]);
    }
}

/// What the Dockerfile builds on, by the name that it asks a registry for.
const BUILDER: &str = "rust:1.95-alpine";

/// This machine's compiler and its crates on our Debian: nothing is fetched. The image's own environment
/// asks for a quick build; what is compiled, and how it is linked, is the Dockerfile's.
fn make_builder(rig: &Rig) {
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"));
    let home = home.expect("a home");
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"]));
    let pack = format!(
        "set -euo pipefail; cd '{}'; host=$(rustc -vV | sed -n 's/^host: //p')\n\
         tar -c bin/cargo bin/rustc lib/*.so* \"lib/rustlib/$host\" -C '{home}' registry/index registry/cache \
         | docker cp - builder:/usr/local",
        sysroot.trim()
    );
    docker_ok(rig, &["create", "--name", "builder", DEBIAN, "true"]);
    run(Command::new("bash")
        .args(["-c", &pack])
        .env("DOCKER_HOST", rig.host()));
    let environment = "ENV CARGO_HOME=/usr/local CARGO_NET_OFFLINE=true CARGO_PROFILE_RELEASE_LTO=off \
                       CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64";
    docker_ok(rig, &["commit", "--change", environment, "builder", BUILDER]);
    docker_ok(rig, &["rm", "builder"]);
}

/// The scheduler's image, as its Dockerfile makes it: compiled in there, on nothing. Once for each state
/// of the program under test.
fn make_image(rig: &Rig) {
    import_debian(rig);
    let _one = one_at_a_time();
    if docker(rig, &["image", "inspect", "docker-scheduler"]).code == 0 {
        return;
    }
    let tar = made().join("image.tar");
    let recipe = made().join("image.recipe");
    let program = fs::metadata(env!("CARGO_BIN_EXE_docker-scheduler")).expect("the program");
    let dockerfile = fs::read_to_string(root("Dockerfile")).expect("the Dockerfile");
    let wanted = format!("{:?} {} {dockerfile}", program.modified().ok(), program.len());
    let file = tar.display().to_string();
    if fs::read_to_string(&recipe).ok().as_deref() == Some(&wanted) && tar.exists() {
        docker_ok(rig, &["load", "-i", &file]);
        return;
    }
    make_builder(rig);
    docker_ok(
        rig,
        &["build", "--network", "none", "-t", "docker-scheduler", ROOT],
    );
    docker_ok(rig, &["save", "-o", &file, "docker-scheduler"]);
    docker(rig, &["image", "rm", BUILDER]);
    fs::write(recipe, wanted).expect("write down what was made");
}

/// A container that is removed with this value.
struct Machine<'a> {
    rig: &'a Rig,
    name: String,
}

impl<'a> Machine<'a> {
    /// `args` go to `docker run`, after the name.
    fn start(rig: &'a Rig, name: &str, args: &[&str]) -> Machine<'a> {
        docker_ok(rig, &[&["run", "--name", name], args].concat());
        Machine {
            rig,
            name: name.to_owned(),
        }
    }

    /// Runs a line of shell in it.
    fn sh(&self, line: &str) -> Ended {
        docker(self.rig, &["exec", &self.name, "sh", "-c", line])
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let ended = self.sh(line);
        assert_eq!(ended.code, 0, "{line}: {ended:#?}");
        ended.stdout
    }

    fn copy(&self, from: &Path, to: &str) {
        let target = format!("{}:{to}", self.name);
        docker_ok(self.rig, &["cp", &from.display().to_string(), &target]);
    }

    fn waits_until(&self, what: &str, line: &str) {
        wait_until(what, || self.sh(line).code == 0);
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = docker(self.rig, &["logs", "--tail", "40", &self.name]);
            println!(
                "the end of {}'s output:\n{}{}",
                self.name, logs.stdout, logs.stderr
            );
        }
        docker(self.rig, &["rm", "-fv", &self.name]);
    }
}

/// A copy of an example, as a user has one.
fn example(rig: &Rig, name: &str, copy: &str) -> PathBuf {
    let folder = rig.folder(&format!("example-{copy}"));
    run(Command::new("cp")
        .arg("-rT")
        .arg(root("examples").join(name))
        .arg(&folder));
    folder
}
