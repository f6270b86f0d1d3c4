//! `doctor` as people meet it: on engines that are well, away, behind a proxy that refuses, and with
//! files that are wrong. What each check says in every case is tested beside the checks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::cli::{Ended, Program, declared, declared_on, manifest};
use crate::proxy::{ALWAYS, Fault, Proxy};
use crate::rig::{IMAGE, Rig};

/// State and message of each finding, by its check.
type Found = BTreeMap<String, Vec<(String, String)>>;

/// What it finds, and the exit code.
fn examine(program: &Program, arguments: &[&str]) -> (Found, Option<i32>) {
    let arguments = [&["doctor", "--format", "json"], arguments].concat();
    let ended = program.run(&arguments);
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    let mut found = Found::new();
    for line in ended.stdout.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(row["v"], 1);
        assert!(row["hints"].is_array(), "{line}");
        let text = |key: &str| row[key].as_str().expect("text").to_owned();
        found
            .entry(text("check"))
            .or_default()
            .push((text("state"), text("message")));
    }
    (found, ended.code)
}

#[track_caller]
fn only<'a>(found: &'a Found, check: &str) -> (&'a str, &'a str) {
    match &found[check][..] {
        [(state, message)] => (state, message),
        several => panic!("{check}: {several:?}"),
    }
}

#[test]
fn without_an_engine_it_says_so_and_makes_nothing() {
    let program = Program::without_engine();
    let table = program.run(&["doctor"]);
    assert_eq!(
        (table.code, table.stderr.as_str()),
        (Some(4), "error: found 1 error and 0 warnings\n"),
        "{table:?}"
    );
    assert!(
        table.stdout.starts_with("CHECK         STATE     FOUND\n"),
        "{table:?}"
    );
    assert!(
        table
            .stdout
            .contains("engine        error     cannot reach the Docker engine"),
        "{}",
        table.stdout
    );
    let (found, code) = examine(&program, &["-q"]);
    assert_eq!(code, Some(4));
    assert_eq!(only(&found, "engine").0, "error");
    assert_eq!(only(&found, "clock").0, "unknown");
    assert!(!found.contains_key("host"), "-q leaves out what is well");
    let names = program.run(&["doctor", "--format", "{{.Check}} {{.State}}"]);
    assert!(names.stdout.contains("\nengine error\n"), "{}", names.stdout);
    assert_eq!(
        fs::read_dir(program.state.path()).expect("a folder").count(),
        0,
        "it looks, and makes nothing"
    );
    let wrong = program.run(&["doctor", "--format", "{{.Nope}}"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(1), ""), "{wrong:?}");
}

#[test]
fn settings_that_stop_every_other_command_are_findings() {
    let program = Program::without_engine();
    fs::write(program.state.path().join("operator.yaml"), "polcy: {}\n").expect("written");
    let (found, code) = examine(&program, &["--config", "operator.yaml", "-H", "gopher://x"]);
    assert_eq!(code, Some(4));
    assert_eq!(only(&found, "config").0, "error");
    assert!(only(&found, "config").1.contains("`operator.yaml` has errors"));
    assert_eq!(only(&found, "policy").0, "unknown");
    assert!(only(&found, "engine").1.contains("gopher"), "{found:?}");

    let config = program.state.path().join("operator.yaml");
    fs::write(&config, "policy: {allow_privileged: true}\n").expect("written");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).expect("opened to all");
    let (found, _) = examine(&program, &["--config", "operator.yaml"]);
    assert_eq!(only(&found, "config").0, "error");
    assert!(
        only(&found, "config").1.contains("written by others"),
        "{found:?}"
    );
    assert!(only(&found, "policy").1.contains("allow_privileged"), "{found:?}");
}

#[test]
fn a_damaged_ledger_is_found() {
    let program = Program::without_engine();
    let folder = program.state.path().join("default");
    fs::create_dir(&folder).expect("made");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("opened to all");
    fs::write(folder.join("ledger.db"), [b'x'; 8192]).expect("written");
    let (found, _) = examine(&program, &[]);
    assert_eq!(only(&found, "ledger").0, "error");
    assert!(only(&found, "ledger").1.contains("is damaged"), "{found:?}");
    let state = found["state"].first().expect("a finding");
    assert!(state.1.contains("can be read by others (mode 755)"), "{found:?}");
}

#[test]
fn the_life_of_a_set_up() {
    let rig = Rig::start();
    let program = declared_on(&rig, "clidoctor");
    // Where this machine's own disk or time zone is odd there may be warnings, but no errors.
    let (found, code) = examine(&program, &[]);
    assert_eq!(code, Some(0), "{found:?}");
    let socket = rig.host();
    assert!(only(&found, "engine").1.contains(&socket), "{found:?}");
    assert!(
        only(&found, "engine").1.ends_with("(by `DOCKER_HOST`)"),
        "{found:?}"
    );
    for well in [
        "api",
        "permissions",
        "log-driver",
        "instance",
        "manifests",
        "clock",
    ] {
        assert_eq!(only(&found, well).0, "ok", "{well}: {found:?}");
    }
    assert_eq!(
        found["disk"]
            .iter()
            .filter(|(_, what)| what.contains("the engine"))
            .count(),
        1,
        "the engine's own disk is this machine's: {found:?}"
    );

    program.run(&["apply"]).ok();
    let (found, code) = examine(&program, &[]);
    assert_eq!(code, Some(0), "{found:?}");
    assert_eq!(only(&found, "ledger").1, "1 job of instance `clidoctor`");
    assert_eq!(
        only(&found, "instance").1,
        "this ledger holds the instance `clidoctor`"
    );
    assert!(only(&found, "watch").1.starts_with("no `watch` now"), "{found:?}");

    // A job that cannot be armed is found, whoever asks.
    program.declare(
        "job.yaml",
        &manifest("true").replace(IMAGE, "localhost:1/no/such:image"),
    );
    assert_eq!(program.run(&["apply"]).code, Some(1));
    let (found, code) = examine(&program, &[]);
    assert_eq!(code, Some(1), "{found:?}");
    assert_eq!(only(&found, "jobs").0, "error");
    assert!(
        only(&found, "jobs").1.contains("`cli.hello` cannot be armed"),
        "{found:?}"
    );

    let stranger = declared_on(&rig, "clidoctor");
    let (found, code) = examine(&stranger, &[]);
    assert_eq!(code, Some(1), "{found:?}");
    assert!(only(&found, "instance").1.contains("another ledger"), "{found:?}");
    assert_eq!(
        fs::read_dir(stranger.state.path()).expect("a folder").count(),
        1,
        "its manifests and nothing else"
    );
}

#[test]
fn a_proxy_that_lets_nothing_be_changed_is_found() {
    let proxy = Proxy::start(&Rig::shared().socket());
    proxy.plant(ALWAYS, Fault::Falsify, |request| request.method != "GET");
    let program = Program {
        host: proxy.host(),
        ..declared("clidoctorproxy")
    };
    let (found, code) = examine(&program, &[]);
    assert_eq!(code, Some(1), "{found:?}");
    let (state, message) = only(&found, "permissions");
    assert_eq!(state, "error");
    assert!(message.starts_with("cannot change a container"), "{message}");
    let changes = proxy
        .seen()
        .into_iter()
        .filter(|request| request.method != "GET")
        .count();
    assert_eq!(changes, 1, "one change, of a container that is not there");
}

#[test]
fn hostile_directories_are_findings() {
    let program = Program::without_engine();
    for dir in ["/etc/passwd", "/proc", "\u{1b}[2J", "a\nb"] {
        let ended: Ended = program.run(&["doctor", dir]);
        assert_eq!(ended.code, Some(4), "{ended:?}");
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!ended.stdout.contains(steers), "{ended:?}");
    }
}
