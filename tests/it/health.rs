//! How a `watch` is, as `health` tells containers and monitors, and as systemd is told.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::Rig;
use crate::scheduler::{Job, PATIENCE, Scheduler, manifest, send, wait_until};

fn declared(scheduler: &Scheduler<'_>) {
    let job = Job {
        name: "quiet",
        every: "1h",
        work: "true",
        options: "",
    };
    scheduler.manifest("a.yaml", &manifest("vital", &scheduler.witness, &[job]));
}

/// Exit code and state.
fn health(scheduler: &Scheduler<'_>, flags: &[&str]) -> (i32, String) {
    let mut line = vec!["health", "--format", "json"];
    line.extend(flags);
    let ended = scheduler.run(&line);
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:#?}"));
    assert_eq!(answer["healthy"], ended.code == 0, "{ended:#?}");
    assert_eq!(
        answer["why"].is_null(),
        answer["state"] == "working",
        "{ended:#?}"
    );
    (
        ended.code,
        answer["state"].as_str().unwrap_or_default().to_owned(),
    )
}

fn is(scheduler: &Scheduler<'_>, code: i32, state: &str) -> bool {
    health(scheduler, &[]) == (code, state.to_owned())
}

#[test]
fn health_follows_the_watch_and_what_it_needs() {
    let rig = Rig::start();
    let scheduler = Scheduler::new(&rig, "vital");
    declared(&scheduler);
    assert_eq!(health(&scheduler, &[]), (1, "not_running".into()));
    let words = scheduler.ends(1, &["health"]).stdout;
    assert_eq!(words, "no watch is running for the instance `vital`\n");

    let watching = scheduler.watch();
    wait_until("it is healthy", || is(&scheduler, 0, "working"));
    assert_eq!(scheduler.ok(&["health"]), "1 job watched\n");

    // An engine that is away lets nothing start, but a restart of the watch would not mend that.
    rig.kill9();
    wait_until("it is in trouble", || is(&scheduler, 1, "in_trouble"));
    let words = scheduler.ends(1, &["health"]).stdout;
    assert!(words.starts_with("nothing is started since "), "{words}");
    assert_eq!(health(&scheduler, &["--alive"]), (0, "in_trouble".into()));
    rig.up();
    wait_until("it is healthy again", || is(&scheduler, 0, "working"));

    send(watching.pid(), "STOP");
    let stuck = |code| (code, String::from("stuck"));
    wait_until("it is stuck", || {
        health(&scheduler, &["--alive", "--max-age", "3s"]) == stuck(1)
    });
    send(watching.pid(), "CONT");
    wait_until("it stirs again", || {
        health(&scheduler, &["--max-age", "20s"]) == (0, "working".into())
    });

    watching.kill9();
    assert_eq!(health(&scheduler, &[]), (1, "not_running".into()));
}

#[test]
fn a_folder_of_somebody_else_is_no_health() {
    let scheduler = Scheduler::new(Rig::shared(), "vital-denied");
    fs::create_dir_all(scheduler.ledger()).expect("create the folder");
    fs::write(scheduler.ledger().join("heartbeat"), "{}").expect("write");
    let ended = scheduler.ends(1, &["health"]);
    assert!(
        ended.stderr.contains("failed to read the heartbeat"),
        "{ended:#?}"
    );
}

/// systemd's side of `Type=notify`.
struct Manager {
    socket: UnixDatagram,
    heard: String,
}

impl Manager {
    fn new(scheduler: &Scheduler<'_>) -> (Manager, String) {
        let path = scheduler.rig.folder(&scheduler.instance).join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("bind the notify socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("set a timeout");
        let heard = String::new();
        (Manager { socket, heard }, path.display().to_string())
    }

    /// Listens until the watch has said this.
    #[track_caller]
    fn hears(&mut self, what: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.heard.contains(what) {
            let mut datagram = [0; 4096];
            if let Ok(length) = self.socket.recv(&mut datagram) {
                self.heard.push_str(&String::from_utf8_lossy(&datagram[..length]));
                self.heard.push('\n');
            }
            assert!(Instant::now() < end, "never heard {what:?}: {}", self.heard);
        }
    }
}

/// Killed when a test fails.
struct Service(Child);

impl Service {
    fn start(scheduler: &Scheduler<'_>, socket: &str) -> Service {
        let mut command: Command = scheduler.command(&["watch"]);
        command.arg(scheduler.dir()).env("NOTIFY_SOCKET", socket);
        Service(command.spawn().expect("start docker-scheduler"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn systemd_hears_that_it_is_ready_lives_and_stops() {
    let scheduler = Scheduler::new(Rig::shared(), "vital-notify");
    declared(&scheduler);
    let (mut manager, socket) = Manager::new(&scheduler);
    let mut service = Service::start(&scheduler, &socket);
    manager.hears("READY=1");
    manager.hears("STATUS=1 job watched");
    manager.heard.clear();
    manager.hears("WATCHDOG=1");
    assert!(!manager.heard.contains("READY"), "once: {}", manager.heard);
    send(service.0.id(), "TERM");
    manager.hears("STOPPING=1");
    assert!(service.0.wait().expect("it ends").success());
}

#[test]
fn a_service_is_ready_also_while_its_engine_is_not() {
    let rig = Rig::start();
    let scheduler = Scheduler::new(&rig, "vital-early");
    declared(&scheduler);
    rig.kill9();
    let (mut manager, socket) = Manager::new(&scheduler);
    let _service = Service::start(&scheduler, &socket);
    manager.hears("READY=1");
    manager.hears("STATUS=nothing is started since ");
    wait_until("health tells", || is(&scheduler, 1, "in_trouble"));
    rig.up();
    manager.hears("STATUS=1 job watched");
    wait_until("it is healthy", || is(&scheduler, 0, "working"));
}
