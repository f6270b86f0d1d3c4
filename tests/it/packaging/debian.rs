//! The Debian package on a clean Debian under systemd, and `cargo install`.

use std::path::PathBuf;
use std::process::Command;

use super::{DEBIAN, MACHINE, Machine, ROOT, import_debian, one_at_a_time, run};
use crate::rig::{Rig, Witness};
use crate::scheduler::{Job, manifest, wait_until};

/// By the script that a packager uses; a dev build is the same package, sooner.
fn package() -> PathBuf {
    let _one = one_at_a_time();
    let made = run(Command::new("packaging/deb.sh").arg("dev").current_dir(ROOT));
    PathBuf::from(ROOT).join(made.lines().last().expect("the script prints a path"))
}

/// Where the machine has the rig's engine: not below /tmp, of which the service has one of its own.
const ENGINE: &str = "/srv/docker.sock";

/// Debian with systemd as its first process, and the rig's engine.
fn boot<'a>(rig: &'a Rig, witness: &Witness) -> Machine<'a> {
    let socket = format!("{}:{ENGINE}", rig.socket().display());
    let folder = format!("{0}:{0}", witness.folder().display());
    let rest = [
        "--network",
        "none",
        "--volume",
        &socket,
        "--volume",
        &folder,
        "--env",
        "container=docker",
        DEBIAN,
        "/sbin/init",
    ];
    let machine = Machine::start(rig, "debian", &[&MACHINE[..], &rest].concat());
    machine.waits_until("systemd is up", "systemctl is-active --quiet dbus.service");
    machine
}

#[test]
#[ignore = "slow: make test-packaging"]
fn the_debian_package_makes_a_machine_keep_its_schedules() {
    let package = package();
    let rig = Rig::shared();
    import_debian(rig);
    let witness = rig.witness("debian");
    let machine = boot(rig, &witness);
    machine.copy(&package, "/docker-scheduler.deb");
    machine.ok("dpkg -i /docker-scheduler.deb");

    // Installed, and nothing claimed on an engine until somebody says so.
    assert_eq!(
        machine.sh("systemctl is-enabled docker-scheduler").stdout,
        "disabled\n"
    );
    assert_eq!(
        machine.sh("systemctl is-active docker-scheduler").stdout,
        "inactive\n"
    );
    for (unit, flags) in [
        ("/lib/systemd/system/docker-scheduler.service", ""),
        ("/usr/lib/systemd/user/docker-scheduler.service", "--user"),
    ] {
        let checked = machine.sh(&format!(
            "XDG_RUNTIME_DIR=/run systemd-analyze verify {flags} {unit}"
        ));
        assert_eq!(
            (checked.code, checked.stderr.as_str()),
            (0, ""),
            "{unit}: {checked:#?}"
        );
    }
    completions_and_pages_are_found(&machine);
    machine.ok("zcat /usr/share/doc/docker-scheduler/changelog.Debian.gz | grep -q '^docker-scheduler ('");
    machine.ok("zcat /usr/share/doc/docker-scheduler/changelog.gz | grep -q '^# Changelog'");
    assert!(
        machine
            .ok("docker scheduler version")
            .starts_with("docker-scheduler ")
    );
    machine.ok("docker scheduler --help | grep -q 'Usage: docker scheduler'");

    // As the README of /etc/docker-scheduler/schedules.d says.
    let roots = witness.folder().display();
    machine.ok(&format!(
        "printf 'policy:\\n  bind_roots: [\"{roots}\"]\\n' >> /etc/docker-scheduler/config.yaml"
    ));
    machine.ok(&format!(
        "echo DOCKER_HOST=unix://{ENGINE} >> /etc/default/docker-scheduler && echo DOCKER_SCHEDULER_INSTANCE=deb >> /etc/default/docker-scheduler"
    ));
    let job = Job {
        name: "tick",
        every: "2s",
        work: "true",
        options: "",
    };
    let text = manifest("deb", &witness, &[job]);
    let beside = rig.folder("debian").join("tick.yaml");
    std::fs::write(&beside, text).expect("write a manifest");
    machine.copy(&beside, "/etc/docker-scheduler/schedules.d/tick.yaml");
    machine.ok("docker-scheduler validate /etc/docker-scheduler/schedules.d");
    machine.ok("systemctl enable --now docker-scheduler");
    machine.waits_until(
        "systemd knows what it does",
        "systemctl status docker-scheduler | grep -q 'Status: \"1 job watched\"'",
    );
    machine.ok("docker-scheduler --instance deb health");
    wait_until("its job runs", || witness.executions() > 1);
    machine.waits_until(
        "root sees the service's ledger",
        "docker-scheduler --instance deb history | grep -q succeeded",
    );
    machine.ok("systemctl reload docker-scheduler");
    // The journal has times and levels of its own.
    machine.ok("journalctl -u docker-scheduler -o cat | grep -q '^deb.tick: succeeded'");
    machine.ok("! journalctl -u docker-scheduler -p warning -o cat | grep -q succeeded");

    // The sandbox: what it need not do, it cannot.
    let seen = machine.ok(
        "pid=$(systemctl show -p MainPID --value docker-scheduler); grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/$pid/status",
    );
    assert!(
        seen.contains("CapEff:\t0000000000080004"),
        "two capabilities: {seen}"
    );
    assert!(
        seen.contains("NoNewPrivs:\t1") && seen.contains("Seccomp:\t2"),
        "{seen}"
    );

    a_watch_that_hangs_is_restarted(&machine, &witness);
    a_user_has_a_service_of_their_own(rig, &machine);

    machine.ok("dpkg --remove docker-scheduler");
    assert_ne!(machine.sh("systemctl is-active --quiet docker-scheduler").code, 0);
    machine.ok("test -e /etc/docker-scheduler/config.yaml && test -d /var/lib/docker-scheduler/deb");
    machine.ok("dpkg --purge docker-scheduler");
    machine.ok("! test -e /var/lib/docker-scheduler && ! test -e /etc/default/docker-scheduler");
    machine.ok("test -e /etc/docker-scheduler/schedules.d/tick.yaml");
}

fn a_watch_that_hangs_is_restarted(machine: &Machine<'_>, witness: &Witness) {
    machine.ok(
        "mkdir -p /run/systemd/system/docker-scheduler.service.d && \
         printf '[Service]\\nWatchdogSec=12s\\n' > /run/systemd/system/docker-scheduler.service.d/soon.conf && \
         systemctl daemon-reload && systemctl restart docker-scheduler",
    );
    machine.ok("kill -STOP $(systemctl show -p MainPID --value docker-scheduler)");
    machine.waits_until(
        "systemd restarts it",
        "test \"$(systemctl show -p NRestarts --value docker-scheduler)\" -ge 1 && systemctl is-active --quiet docker-scheduler",
    );
    let before = witness.executions();
    wait_until("its job runs again", || witness.executions() > before + 1);
    let lines = witness.lines();
    let mut slots: Vec<_> = (lines.iter())
        .filter(|line| line.phase == crate::rig::Phase::Begin)
        .map(|line| (&line.slot, &line.attempt))
        .collect();
    let all = slots.len();
    slots.sort();
    slots.dedup();
    assert_eq!(slots.len(), all, "a slot ran twice: {lines:#?}");
}

/// As packaging/README.md says for a rootless engine; the engine here is one that the user may reach.
fn a_user_has_a_service_of_their_own(rig: &Rig, machine: &Machine<'_>) {
    let witness = rig.witness("debian-user");
    machine.ok("useradd --create-home --uid 1000 --shell /bin/sh someone");
    machine.ok(&format!("chmod 666 {ENGINE}"));
    let job = Job {
        name: "tock",
        every: "2s",
        work: "true",
        options: "",
    };
    let text = manifest("mine", &witness, &[job]);
    let beside = rig.folder("debian").join("tock.yaml");
    std::fs::write(&beside, text).expect("write a manifest");
    machine.copy(&beside, "/tock.yaml");
    let roots = witness.folder().display();
    machine.ok(&format!(
        "su someone -c 'mkdir -p ~/.config/docker-scheduler/schedules.d && cp /tock.yaml ~/.config/docker-scheduler/schedules.d/ && \
         echo DOCKER_HOST=unix://{ENGINE} > ~/.config/docker-scheduler/environment && \
         echo DOCKER_SCHEDULER_INSTANCE=someone >> ~/.config/docker-scheduler/environment && \
         printf \"policy:\\n  bind_roots: [{roots}]\\n\" > ~/.config/docker-scheduler/config.yaml'"
    ));
    machine.ok("loginctl enable-linger someone");
    machine.waits_until(
        "the user's systemd is up",
        "systemctl is-active --quiet user@1000.service",
    );
    let own = "su someone -c 'XDG_RUNTIME_DIR=/run/user/1000 systemctl --user";
    machine.ok(&format!("{own} enable --now docker-scheduler'"));
    machine.waits_until(
        "the user's systemd knows what it does",
        &format!("{own} status docker-scheduler' | grep -q 'Status: \"1 job watched\"'"),
    );
    let ours = |rest: &str| {
        format!("su someone -c 'DOCKER_HOST=unix://{ENGINE} docker-scheduler --instance someone {rest}'")
    };
    machine.waits_until("its job runs", &ours("history | grep -q succeeded"));
    machine.ok(&ours("health"));
    machine.ok("test -d /home/someone/.local/state/docker-scheduler/someone");
    machine.ok(&format!("{own} disable --now docker-scheduler'"));
    machine.ok("loginctl disable-linger someone");
}

fn completions_and_pages_are_found(machine: &Machine<'_>) {
    let bash = machine.ok(
        "bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader docker-scheduler; complete -p docker-scheduler'",
    );
    assert!(bash.contains("docker-scheduler"), "{bash}");
    let zsh = machine.ok("zsh -c 'autoload -U compinit; compinit -u; echo $_comps[docker-scheduler]'");
    assert_eq!(zsh, "_docker-scheduler\n");
    let fish = machine.ok("HOME=/tmp fish -c 'complete -C \"docker-scheduler valid\"'");
    assert!(fish.starts_with("validate\t"), "{fish}");
    for page in ["docker-scheduler", "docker-scheduler-list-images"] {
        assert!(machine.ok(&format!("man -w {page}")).contains(page));
    }
}

#[test]
#[ignore = "slow: make test-packaging"]
fn cargo_install_gives_the_program() {
    let _one = one_at_a_time();
    let place = tempfile::tempdir().expect("a folder");
    // A dev build, in the folder that has its parts.
    run(Command::new("cargo")
        .args([
            "install",
            "--locked",
            "--debug",
            "--no-track",
            "--path",
            ".",
            "--root",
        ])
        .arg(place.path())
        .env("CARGO_TARGET_DIR", "target")
        .current_dir(ROOT));
    let version = run(Command::new(place.path().join("bin/docker-scheduler")).arg("version"));
    assert!(version.starts_with("docker-scheduler "), "{version}");
}
