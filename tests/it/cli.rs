//! The program as people and scripts meet it: the real binary, its arguments, its three streams and
//! its exit code.
//!
//! The first half needs no engine (it names a socket that is not there); the second half runs on
//! the private engine of `rig`. What a command's output looks like in every case is tested beside
//! the command.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::proxy::{Fault, Proxy};
use crate::rig::{IMAGE, Rig, VOLUME_IMAGE};

/// The program with an environment of its own: no engine, an empty state folder.
pub struct Program {
    pub state: tempfile::TempDir,
    pub host: String,
    pub instance: &'static str,
}

impl Program {
    pub fn without_engine() -> Program {
        Program {
            state: tempfile::tempdir().expect("a folder for state"),
            host: "unix:///nonexistent/docker.sock".into(),
            instance: "",
        }
    }

    pub fn on(rig: &Rig) -> Program {
        Program {
            host: rig.host(),
            ..Program::without_engine()
        }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-scheduler"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.state.path())
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_SCHEDULER_STATE", self.state.path())
            .env("DOCKER_SCHEDULER_INSTANCE", self.instance)
            .current_dir(self.state.path())
            .stdin(Stdio::null());
        command
    }

    /// Writes a manifest where the program looks for them.
    pub fn declare(&self, file: &str, text: &str) {
        let dir = self.state.path().join("schedules.d");
        std::fs::create_dir_all(&dir).expect("a folder for manifests");
        std::fs::write(dir.join(file), text).expect("write a manifest");
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command();
        command.args(arguments);
        Ended::of(command.output().expect("start the program"))
    }
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// Every command, each with arguments that are right.
const COMMANDS: &[&[&str]] = &[
    &["plan"],
    &["apply"],
    &["watch"],
    &["validate"],
    &["ls"],
    &["list"],
    &["list", "jobs"],
    &["list", "images"],
    &["list", "containers"],
    &["run", "busybox"],
    &["rerun", "web"],
    &["rm", "web"],
    &["prune"],
    &["trigger", "shop.backup"],
    &["next"],
    &["history"],
    &["runs"],
    &["logs", "shop.backup"],
    &["inspect", "shop.backup"],
    &["wait", "shop.backup"],
    &["cancel", "shop.backup"],
    &["ack", "shop.backup"],
    &["down"],
    &["import", "crontab", "tab"],
    &["export", "--to", "crontab"],
    &["completions", "bash"],
    &["man"],
    &["version"],
];

/// The words that name a command, without its arguments.
fn path_of<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let has_parts = ["list", "import"].contains(&command[0]);
    command
        .iter()
        .copied()
        .take(if has_parts { 2 } else { 1 })
        .collect()
}

pub fn hostile_arguments() -> Vec<String> {
    let mut hostile: Vec<String> = [
        "",
        " ",
        "../images/x",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a%2e%2e",
        "a?force=1",
        "a#b",
        "-",
        "--nope",
        "-Z",
        "-n=-1",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "line\nerror: second",
        "tab\tand\rreturn",
        "ünïcödé",
        "\u{202e}gnp.exe",
        "😀",
        "$(reboot)",
        "{{.Names}}",
        "[]",
        "-1",
        "-99999999999999999999",
        "1.5e400",
    ]
    .map(String::from)
    .to_vec();
    hostile.push("x".repeat(100_000));
    hostile.push("😀".repeat(20_000));
    hostile.push("-".repeat(100_000));
    hostile
}

#[track_caller]
pub fn assert_refused(ended: &Ended, arguments: &dyn std::fmt::Debug) {
    let shown: String = format!("{arguments:?}").chars().take(200).collect();
    let code = ended.code.unwrap_or(-1);
    assert!(
        code > 0 && code != 101,
        "{shown} ended with {code}: {}",
        ended.stderr
    );
    assert_eq!(
        ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("error:"))
            .count(),
        1,
        "{shown}: {}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("panicked"), "{shown}: {}", ended.stderr);
    assert!(
        ended.stderr.len() < 20_000,
        "{shown}: {} bytes",
        ended.stderr.len()
    );
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!ended.stderr.contains(steers), "{shown}: {:?}", ended.stderr);
    assert_eq!(ended.stdout, "", "{shown}");
}

#[test]
fn missing_surplus_and_contradicting_arguments_are_usage_errors() {
    let program = Program::without_engine();
    let lines: &[&[&str]] = &[
        &[],
        &["--"],
        &["nope"],
        &["help", "nope"],
        &["run"],
        &["run", "--"],
        &["run", "--name"],
        &["run", "-d", "--rm", "busybox"],
        &["run", "busybox", "echo 'open"],
        &["run", "busybox", ""],
        &["rm"],
        &["rm", "--"],
        &["rm", "-f"],
        &["rerun"],
        &["rerun", "a", "b"],
        &["trigger"],
        &["trigger", "a", "b"],
        &["plan", "a", "b"],
        &["apply", "a", "b"],
        &["watch", "a", "b"],
        &["validate", "a", "b"],
        &["plan", "--at", "tomorrow"],
        &["plan", "--format", "yaml"],
        &["down", "extra"],
        &["prune", "extra"],
        &["logs"],
        &["logs", "a", "b"],
        &["history", "a", "b"],
        &["next", "a", "b"],
        &["next", "a", "--cron", "* * * * *"],
        &["next", "--timezone", "Europe/Berlin"],
        &["next", "--cron", "* * * * *", "-n", "0"],
        &["next", "--cron", "* * * * *", "-n", "10001"],
        &["next", "--cron", "* * * * * *"],
        &["next", "--cron", "0 0 30 2 *"],
        &["next", "--cron", "* * * * *", "--timezone", "Mars/Olympus"],
        &["list", "images", "-q", "--format", "json"],
        &["list", "images", "--format", "{{.Nope}}"],
        &["ls", "--format", "yaml"],
        &["ls", "extra"],
        &["list", "images", "extra"],
        &["version", "extra"],
        &["version", "--format", "yaml"],
        &["ls", "--host"],
        &["-H", "a", "-c", "b", "list", "images"],
        &["-c", "no-such-context", "list", "images"],
        &["-H", "gopher://x", "list", "images"],
        &["-H", "gopher://x", "ls"],
        &["-H", "garbage", "ls"],
        &["-c", "no-such-context", "ls"],
        &["next", "-n", "x"],
        &["inspect"],
        &["inspect", "a", "--format", "table"],
        &["wait"],
        &["wait", "a", "b"],
        &["wait", "a", "--timeout", "0s"],
        &["cancel"],
        &["completions"],
        &["completions", "tcsh"],
        &["man", "nope"],
        &["prune", "--filter", "nope=1"],
        &["list", "images", "-f", "dangling=maybe"],
        &["history", "-f", "since=soon"],
        &["--host=", "list", "images"],
    ];
    for line in lines {
        let ended = program.run(line);
        assert_refused(&ended, line);
        assert_eq!(ended.code, Some(1), "{line:?}");
    }
}

#[test]
fn an_argument_that_is_no_text_is_an_error() {
    let program = Program::without_engine();
    for command in COMMANDS {
        let mut call = program.command();
        call.args(path_of(command))
            .arg(OsString::from_vec(vec![b'a', 0xff, 0xfe]));
        let ended = Ended::of(call.output().expect("start the program"));
        assert_refused(&ended, command);
    }
}

#[test]
fn a_bad_variable_is_named_and_an_empty_one_is_unset() {
    let program = Program::without_engine();
    for (name, value) in [
        ("DOCKER_SCHEDULER_INSTANCE", "../x"),
        ("DOCKER_SCHEDULER_LOG_LEVEL", "loud"),
        ("DOCKER_SCHEDULER_COLOR", "red"),
    ] {
        let ended = Ended::of(program.command().arg("ls").env(name, value).output().unwrap());
        assert_refused(&ended, &name);
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
        let unset = Ended::of(program.command().arg("ls").env(name, "").output().unwrap());
        unset.ok();
    }
}

#[test]
fn every_command_explains_itself() {
    let program = Program::without_engine();
    for command in COMMANDS {
        let path = path_of(command);
        let long = program.run(&[&path[..], &["--help"]].concat()).ok();
        assert!(long.contains("Usage: docker-scheduler"), "{long}");
        let short = program.run(&[&path[..], &["-h"]].concat()).ok();
        assert!(short.lines().next().is_some_and(|line| line.len() > 8), "{short}");
    }
    let all = program.run(&["--help"]).ok();
    for command in COMMANDS {
        let word = format!("  {} ", command[0]);
        assert!(
            command[0] == "runs" || all.contains(&word),
            "`{}` is not in --help",
            command[0]
        );
    }
    assert_eq!(program.run(&["--version"]).ok(), program.run(&["version"]).ok());
}

#[test]
fn help_has_no_colours_where_nobody_sees_them() {
    assert!(!Program::without_engine().run(&["--help"]).ok().contains('\u{1b}'));
    let program = Program::without_engine();
    let coloured = program
        .command()
        .args(["--color", "always", "rm", "x"])
        .output()
        .unwrap();
    assert!(coloured.stderr.contains(&0x1b), "--color always");
    let plain = program
        .command()
        .args(["--color", "always", "--color", "never", "rm", "x"])
        .output()
        .unwrap();
    assert!(!plain.stderr.contains(&0x1b), "--color never");
}

#[test]
fn an_engine_that_is_away_is_exit_4_and_125_for_run() {
    let program = Program::without_engine();
    for line in [
        &["list", "images"][..],
        &["list", "containers"],
        &["rm", "web"],
        &["rerun", "web"],
        &["trigger", "web"],
        &["prune"],
        &["down"],
    ] {
        let ended = program.run(line);
        assert_refused(&ended, &line);
        assert_eq!(ended.code, Some(4), "{line:?}");
        assert!(
            ended.stderr.starts_with(
                "error: cannot reach the Docker engine at `unix:///nonexistent/docker.sock`\n  caused by: "
            ),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("\n\nhint: "), "{}", ended.stderr);
    }
    assert_eq!(program.run(&["run", "busybox", "true"]).code, Some(125));
}

#[test]
fn what_needs_no_engine_asks_for_none() {
    let program = Program::without_engine();
    assert_eq!(
        program.run(&["ls"]).ok(),
        "NAME   TRIGGER   STATE   LAST RUN   EXIT   NEXT\n"
    );
    assert_eq!(program.run(&["list", "--format", "json"]).ok(), "");
    assert_eq!(program.run(&["history", "-q"]).ok(), "");
    let verbose = program.run(&["version", "--verbose"]).ok();
    assert!(
        verbose.contains("tzdb    20") && verbose.contains("engine  none answers"),
        "{verbose}"
    );
    assert_eq!(program.run(&["rerun", "../x"]).code, Some(1));
    // Reading makes nothing: neither a folder nor a ledger.
    let left = std::fs::read_dir(program.state.path()).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn next_explains_an_expression_in_words_and_in_json() {
    let program = Program::without_engine();
    let berlin = [
        "next",
        "--cron",
        "30 2 * * *",
        "--timezone",
        "Europe/Berlin",
        "-n",
        "3",
    ];
    let from = ["--from", "2027-03-26T12:00:00Z"];
    let text = program.run(&[&berlin[..], &from].concat()).ok();
    assert!(text.starts_with("At 02:30"), "{text}");
    assert!(text.contains("Sun 2027-03-28 03:30 CEST +02:00"), "{text}");
    assert!(text.contains("shifted: the clock skips its time"), "{text}");
    let json = program
        .run(&[&berlin[..], &from, &["--format", "json"]].concat())
        .ok();
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["slot"], "2027-03-27T01:30:00Z");
    assert_eq!(lines[1]["local"], "2027-03-28T03:30:00+02:00");
    assert_eq!(lines[1]["note"], "gap");
    assert_eq!(lines[0]["note"], serde_json::Value::Null);
    assert_eq!(lines[0]["v"], 1);
    // Exclusive: asking from a slot on gives the one after it.
    let later = program
        .run(&[
            "next",
            "--cron",
            "30 2 * * *",
            "-n",
            "1",
            "--from",
            "2027-03-27T02:30:00Z",
            "--format",
            "{{.Slot}}",
        ])
        .ok();
    assert_eq!(later, "2027-03-28T02:30:00Z\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let program = Program::without_engine();
    let mut child = program
        .command()
        .args(["next", "--cron", "* * * * *", "-n", "10000", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "after {first}"
    );
}

#[test]
fn an_error_that_nobody_reads_keeps_its_code() {
    let program = Program::without_engine();
    let mut child = program
        .command()
        .args(["rm", "../x"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn docker_calls_it_as_a_plugin() {
    let program = Program::without_engine();
    let metadata = program.run(&["docker-cli-plugin-metadata"]).ok();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["SchemaVersion"], "0.1.0");
    let called = program
        .command()
        .env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", "/usr/bin/docker")
        .args(["scheduler", "version"])
        .output()
        .unwrap();
    assert_eq!(Ended::of(called).ok(), program.run(&["version"]).ok());
}

// From here on, with an engine.

/// A container that the test made past the program.
pub fn foreign(rig: &Rig, name: &str, image: &str, script: &str, start: bool) -> String {
    let body = serde_json::json!({"Image": image, "Cmd": ["sh", "-c", script]});
    let (status, reply) = rig.post(&format!("/containers/create?name={name}"), &body.to_string());
    assert_eq!(status, 201, "{reply}");
    if start {
        let (status, reply) = rig.post(&format!("/containers/{name}/start"), "");
        assert_eq!(status, 204, "{reply}");
    }
    let reply: serde_json::Value = serde_json::from_str(&reply).unwrap_or_default();
    reply["Id"].as_str().unwrap_or_default().to_owned()
}

pub fn inspect(rig: &Rig, name: &str) -> Option<serde_json::Value> {
    let (status, body) = rig.get(&format!("/containers/{name}/json"));
    (status == 200).then(|| serde_json::from_str(&body).unwrap())
}

#[test]
fn run_prints_the_output_and_ends_with_the_containers_code() {
    let program = Program::on(Rig::shared());
    let ended = program.run(&["run", "--rm", IMAGE, "echo hello world"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "hello world\n"),
        "{ended:?}"
    );
    let both = program.run(&[
        "run",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        "echo out; echo err >&2; printf last; exit 7",
    ]);
    assert_eq!(both.code, Some(7), "{both:?}");
    assert_eq!(both.stdout, "out\nlast");
    // This machine's engine may have its own warnings, which come first.
    assert!(
        both.stderr.ends_with("err\n") && both.stderr.matches("err\n").count() == 1,
        "{both:?}"
    );
    let killed = program.run(&["run", "--rm", IMAGE, "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    assert_eq!(killed.code, Some(137), "{killed:?}");
}

/// As by a proxy that ends a connection on which nothing was sent for a while.
#[test]
fn run_says_so_when_its_output_ends_before_its_container() {
    let rig = Rig::shared();
    let proxy = Proxy::start(&rig.socket());
    let program = Program {
        host: proxy.host(),
        ..Program::without_engine()
    };
    let cut = proxy.plant(1, Fault::CutAfter(Duration::from_millis(700)), |request| {
        request.is("POST", "/attach")
    });
    let ended = program.run(&[
        "run",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        "echo first; sleep 5; echo last; exit 4",
    ]);
    assert_eq!(cut.hits(), 1);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(!ended.stdout.contains("last"), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("note: its output has ended, and the container runs on"),
        "{ended:?}"
    );
}

#[test]
fn run_passes_on_a_lot_of_output_whole() {
    let program = Program::on(Rig::shared());
    let ended = program.run(&["run", "--rm", IMAGE, "seq 1 200000"]);
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stdout.lines().count(), 200_000);
    assert!(ended.stdout.ends_with("199999\n200000\n"));
}

#[test]
fn run_gives_its_container_variables_volumes_a_network_and_a_name() {
    let rig = Rig::shared();
    let program = Program::on(rig);
    let folder = rig.folder("cli-run");
    std::fs::write(folder.join("in"), "from the host").unwrap();
    let ended = program.run(&[
        "run",
        "--name",
        "cli-run-all",
        "-e",
        "GREETING=good evening",
        "-e",
        "HOME",
        "-v",
        &format!("{}:/in:ro", folder.display()),
        "-v",
        "cli-run-volume:/volume",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo $GREETING; cat /in/in; echo; touch /in/x 2>/dev/null || echo read-only; touch /volume/x && echo written",
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "good evening\nfrom the host\nread-only\nwritten\n");
    let container = inspect(rig, "cli-run-all").expect("without --rm it stays");
    assert_eq!(container["HostConfig"]["NetworkMode"], "none");
    assert_eq!(
        container["Config"]["Labels"],
        serde_json::json!({"docker-scheduler.managed-by": "docker-scheduler", "docker-scheduler.trigger": "run"})
    );
    assert_eq!(program.run(&["rm", "cli-run-all"]).ok(), "cli-run-all\n");
    assert!(inspect(rig, "cli-run-all").is_none());
}

#[test]
fn run_tells_a_command_that_is_missing_from_one_that_cannot_be_invoked() {
    let program = Program::on(Rig::shared());
    let missing = program.run(&["run", "--rm", IMAGE, "no-such-command"]);
    assert_refused(&missing, &"no-such-command");
    assert_eq!(missing.code, Some(127), "{missing:?}");
    let folder = program.run(&["run", "--rm", IMAGE, "/tmp"]);
    assert_refused(&folder, &"/tmp");
    assert_eq!(folder.code, Some(126), "{folder:?}");
    let network = program.run(&["run", "--rm", "--network", "no-such-network", IMAGE, "true"]);
    assert_refused(&network, &"no-such-network");
    assert_eq!(network.code, Some(125), "{network:?}");
    let image = program.run(&["run", "--rm", "localhost:1/no/such:image", "true"]);
    assert_eq!(image.code, Some(125), "{image:?}");
}

#[test]
fn run_detached_prints_the_id_and_list_shows_it() {
    let rig = Rig::shared();
    let program = Program::on(rig);
    let id = program
        .run(&["run", "-d", "--name", "cli-detached", IMAGE, "sleep", "600"])
        .ok();
    let id = id.trim_end();
    assert_eq!(id.len(), 64, "{id}");
    let listed = program
        .run(&["list", "containers", "-f", "name=cli-detached"])
        .ok();
    assert!(listed.starts_with("CONTAINER ID   IMAGE"), "{listed}");
    assert!(
        listed.contains(&id[..12]) && listed.contains("\"sleep 600\""),
        "{listed}"
    );
    let json = program
        .run(&[
            "list",
            "containers",
            "-a",
            "-f",
            "name=cli-detached",
            "--format",
            "json",
        ])
        .ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["id"], id);
    assert_eq!(
        (json["state"].as_str(), json["job"].as_str()),
        (Some("running"), None)
    );
    let refused = program.run(&["rm", "cli-detached"]);
    assert_refused(&refused, &"rm of a running one");
    assert!(refused.stderr.contains("rm -f"), "{}", refused.stderr);
    let again = program.run(&["rerun", "cli-detached"]);
    assert_refused(&again, &"rerun of a running one");
    assert_eq!(program.run(&["rm", "-f", "cli-detached"]).ok(), "cli-detached\n");
    assert!(inspect(rig, "cli-detached").is_none());
    assert_eq!(
        program
            .run(&["list", "containers", "-a", "-q", "-f", "name=cli-detached"])
            .ok(),
        ""
    );
}

#[test]
fn images_are_listed_as_docker_lists_them() {
    let program = Program::on(Rig::shared());
    let table = program.run(&["list", "images"]).ok();
    assert!(table.starts_with("REPOSITORY"), "{table}");
    let names = program
        .run(&["list", "images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok();
    assert!(
        names.lines().any(|line| line == IMAGE) && names.lines().any(|line| line == VOLUME_IMAGE),
        "{names}"
    );
    let ids = program.run(&["list", "images", "-q"]).ok();
    assert!(ids.lines().all(|line| line.len() == 12), "{ids}");
    let whole = program.run(&["list", "images", "-q", "--no-trunc"]).ok();
    assert!(
        whole
            .lines()
            .all(|line| line.starts_with("sha256:") && line.len() == 71),
        "{whole}"
    );
}

#[test]
fn running_containers_are_listed_whoever_made_them_and_all_of_ours_alone() {
    let rig = Rig::shared();
    let program = Program::on(rig);
    foreign(rig, "cli-foreign-up", IMAGE, "sleep 600", true);
    foreign(rig, "cli-foreign-new", IMAGE, "true", false);
    let names = |arguments: &[&str]| {
        let line = [&["list", "containers", "--format", "{{.Names}}"], arguments].concat();
        program.run(&line).ok()
    };
    let running = names(&["-f", "name=cli-foreign"]);
    assert_eq!(running, "cli-foreign-up\n");
    assert_eq!(
        names(&["-a", "-f", "name=cli-foreign"]),
        "",
        "-a shows ours alone"
    );
    program
        .run(&["rm", "-f", "cli-foreign-up", "cli-foreign-new"])
        .ok();
}

#[test]
fn rm_takes_anonymous_volumes_only_when_told() {
    let rig = Rig::shared();
    let program = Program::on(rig);
    let volume_of = |name: &str| {
        let container = inspect(rig, name).unwrap();
        container["Mounts"][0]["Name"].as_str().unwrap().to_owned()
    };
    let exists = |volume: &str| rig.get(&format!("/volumes/{volume}")).0 == 200;
    for name in ["cli-keep", "cli-drop"] {
        foreign(rig, name, VOLUME_IMAGE, "sleep 600", true);
    }
    let (kept, dropped) = (volume_of("cli-keep"), volume_of("cli-drop"));
    program.run(&["rm", "-f", "cli-keep"]).ok();
    program.run(&["rm", "-f", "--volumes", "cli-drop"]).ok();
    assert!(exists(&kept) && !exists(&dropped));
    let _ = rig.request("DELETE", &format!("/volumes/{kept}"), b"");
}

#[test]
fn rm_goes_on_after_a_name_that_is_none() {
    let rig = Rig::shared();
    let program = Program::on(rig);
    foreign(rig, "cli-several", IMAGE, "true", false);
    let ended = program.run(&["rm", "cli-none-1", "cli-several", "cli-none-2"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "cli-several\n");
    assert!(
        ended.stderr.starts_with("error: failed to delete 2 of 3\n"),
        "{}",
        ended.stderr
    );
    assert!(inspect(rig, "cli-several").is_none());
}

#[test]
fn rerun_starts_a_foreign_container_once_more() {
    let rig = Rig::shared();
    let program = Program::on(rig);
    let witness = rig.folder("cli-rerun");
    let body = serde_json::json!({
        "Image": IMAGE,
        "Cmd": ["sh", "-c", "echo ran >> /w/lines"],
        "HostConfig": {"Binds": [format!("{}:/w", witness.display())]},
    });
    let (status, reply) = rig.post("/containers/create?name=cli-rerun", &body.to_string());
    assert_eq!(status, 201, "{reply}");
    for expected in 1..=2 {
        assert_eq!(program.run(&["rerun", "cli-rerun"]).ok(), "cli-rerun\n");
        wait_until("the container ended", || {
            let lines = std::fs::read_to_string(witness.join("lines")).unwrap_or_default();
            lines.lines().count() == expected
                && inspect(rig, "cli-rerun").is_some_and(|state| state["State"]["Running"] == false)
        });
    }
    program.run(&["rm", "cli-rerun"]).ok();
    assert_eq!(program.run(&["rerun", "cli-rerun"]).code, Some(1));
    assert_eq!(
        std::fs::read_dir(program.state.path()).unwrap().count(),
        0,
        "a ledger was opened"
    );
}

#[test]
fn run_stops_its_container_when_told_to_end() {
    let rig = Rig::shared();
    let program = Program::on(rig);
    for (signal, name) in [("INT", "cli-signal-int"), ("TERM", "cli-signal-term")] {
        let script = "trap 'echo stopping; exit 0' TERM; echo ready; while true; do sleep 0.1; done";
        let mut child = spawn(&program, &["run", "--name", name, IMAGE, "sh", "-c", script]);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let sent = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "stopping\n");
        assert_eq!(wait_for(&mut child), Some(130), "{signal}");
        assert_eq!(inspect(rig, name).unwrap()["State"]["Running"], false);
        program.run(&["rm", name]).ok();
    }
}

#[test]
fn run_stops_its_container_when_nobody_reads_any_more() {
    let rig = Rig::shared();
    let program = Program::on(rig);
    let mut child = spawn(&program, &["run", "--name", "cli-pipe", IMAGE, "yes"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    drop(out);
    let ended = wait_for(&mut child);
    assert_eq!(
        ended,
        Some(137),
        "stopped by KILL: `yes` does not mind TERM as process 1"
    );
    assert_eq!(inspect(rig, "cli-pipe").unwrap()["State"]["Running"], false);
    program.run(&["rm", "cli-pipe"]).ok();
}

pub fn spawn(program: &Program, arguments: &[&str]) -> Child {
    program
        .command()
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the program")
}

/// The exit code; a program that hangs fails the test instead of hanging it.
pub fn wait_for(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("look at the program") {
            return status.code();
        }
        if start.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            panic!("the program hangs");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A directory with one job that fails with 3, applied under an instance of its own.
pub fn declared(instance: &'static str) -> Program {
    declared_on(Rig::shared(), instance)
}

pub fn declared_on(rig: &Rig, instance: &'static str) -> Program {
    let program = Program {
        instance,
        ..Program::on(rig)
    };
    program.declare("job.yaml", &manifest("echo hello; echo oops >&2; exit 3"));
    program
}

pub fn manifest(script: &str) -> String {
    format!(
        "name: cli\n\
         jobs:\n  hello:\n    image: {IMAGE}\n    command: [sh, -c, {script:?}]\n    \
         triggers:\n      manual: true\n      schedule: [{{cron: \"0 3 1 1 *\", timezone: Europe/Berlin}}]\n"
    )
}

#[test]
fn a_plan_is_applied_and_then_there_is_none() {
    let program = declared("cliplan");
    assert!(program.run(&["validate"]).ok().contains("no errors"));
    let plan = program.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, Some(2), "{plan:?}");
    assert!(plan.stdout.starts_with(" + cli.hello  create"), "{}", plan.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&program.run(&["plan", "--format", "json"]).ok()).unwrap();
    assert_eq!(
        (json["v"].as_i64(), json["changes"][0]["job"].as_str()),
        (Some(1), Some("cli.hello"))
    );
    let markdown = program.run(&["plan", "--format", "markdown"]).ok();
    assert!(
        markdown.starts_with("### Plan: ") && markdown.contains("| `cli.hello` | create |"),
        "{markdown}"
    );

    program.run(&["apply"]).ok();
    let again = program.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let jobs = program.run(&["ls"]).ok();
    let words: Vec<&str> = jobs.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[0], "cli.hello", "{jobs}");
    assert!(words.contains(&"armed"), "{jobs}");
    let job: serde_json::Value =
        serde_json::from_str(&program.run(&["list", "--format", "json"]).ok()).unwrap();
    assert_eq!(
        (job["armed"].as_bool(), job["timezone"].as_str()),
        (Some(true), Some("Europe/Berlin"))
    );
    let next = program.run(&["next", "hello", "-n", "1"]).ok();
    assert!(next.starts_with("cli.hello: At 03:00"), "{next}");

    // A program's changed folder: the ledger remembers where the manifests are.
    let elsewhere = program
        .command()
        .current_dir("/")
        .args(["plan", "--detailed-exitcode"])
        .output()
        .unwrap();
    assert_eq!(Ended::of(elsewhere).code, Some(0));
    program.declare("job.yaml", &manifest("echo edited"));
    let edited = program.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(edited.code, Some(2), "{edited:?}");
    assert!(
        edited.stdout.contains(" ~ cli.hello  replace"),
        "{}",
        edited.stdout
    );
    let down = program.run(&["down"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    let left = program.run(&[
        "list",
        "containers",
        "-a",
        "-q",
        "-f",
        "label=docker-scheduler.instance=cliplan",
    ]);
    assert_eq!(left.ok(), "");
}

#[test]
fn a_run_is_accounted_for_after_its_container_is_gone() {
    let program = declared("clirun");
    program.run(&["apply"]).ok();
    let triggered = program.run(&["trigger", "hello", "--wait"]);
    assert_eq!(triggered.code, Some(3), "{triggered:?}");
    let run = triggered.stdout.trim_end().to_owned();
    assert!(run.starts_with("clirun.cli.hello.m-"), "{run}");
    let row: serde_json::Value =
        serde_json::from_str(&program.run(&["history", "--format", "json"]).ok()).unwrap();
    assert_eq!(row["run"], run);
    assert_eq!(
        (row["outcome"].as_str(), row["exit_code"].as_i64()),
        (Some("failed"), Some(3))
    );
    assert_eq!(
        (row["trigger"].as_str(), row["slot"].is_null()),
        (Some("manual"), true)
    );

    assert_eq!(program.run(&["rm", &run]).ok(), format!("{run}\n"));
    assert!(inspect(Rig::shared(), &run).is_none());
    for name in [&run, "hello", "cli.hello"] {
        let logs = program.run(&["logs", name]);
        assert_eq!(
            (logs.stdout.as_str(), logs.stderr.as_str()),
            ("hello\n", "oops\n"),
            "{logs:?}"
        );
    }
    assert_eq!(program.run(&["logs", "-n", "0", "hello"]).ok(), "");
    let stamped = program.run(&["logs", "-t", "hello"]).ok();
    assert!(
        stamped.starts_with("20") && stamped.ends_with("Z hello\n"),
        "{stamped}"
    );

    let rerun = program.run(&["rerun", &run, "--wait"]);
    assert_eq!(rerun.code, Some(3), "{rerun:?}");
    let third = program.run(&["rerun", "cli.hello", "--wait"]);
    assert_eq!(
        third.code,
        Some(3),
        "a job of several runs means its newest: {third:?}"
    );
    let triggers = program
        .run(&["history", "hello", "--format", "{{.Trigger}}"])
        .ok();
    assert_eq!(triggers, "rerun\nrerun\nmanual\n");
    let failed = program
        .run(&["runs", "-q", "-n", "1", "-f", "outcome=failed"])
        .ok();
    assert_eq!(failed, third.stdout);
    let rm = program.run(&["rm", third.stdout.trim_end()]);
    assert_eq!(rm.code, Some(0), "{rm:?}");
    assert_eq!(
        program.run(&["history", "-q"]).ok().lines().count(),
        3,
        "history stays"
    );
    assert_refused(&program.run(&["logs", "nope"]), &"logs of nothing");
    assert_refused(&program.run(&["history", "nope"]), &"history of nothing");
    program.declare("job.yaml", "name: cli\njobs: {}\n");
    program.run(&["apply"]).ok();
    assert_eq!(program.run(&["ls", "-q"]).ok(), "");
    assert_eq!(
        program
            .run(&["ls", "-a", "-n", "5", "--format", "{{.Name}} {{.State}}"])
            .ok(),
        "cli.hello removed\n"
    );
    program.run(&["down"]).ok();
}

#[test]
fn a_broken_manifest_is_exit_3_with_its_place() {
    let program = declared("clibroken");
    program.declare("job.yaml", &manifest("true").replace("schedule:", "shedule:"));
    for line in [&["validate"][..], &["plan"], &["apply"], &["validate", "-q"]] {
        let ended = program.run(line);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(3), ""),
            "{line:?} {ended:?}"
        );
        assert!(ended.stderr.contains("job.yaml:8:"), "{}", ended.stderr);
    }
    let json = program.run(&["validate", "--format", "json"]);
    assert_eq!(json.code, Some(3));
    let first: serde_json::Value = serde_json::from_str(json.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["severity"].as_str(), first["line"].as_i64()),
        (Some("error"), Some(8))
    );
}

#[test]
fn what_fails_for_a_job_is_exit_1_and_said() {
    let program = declared("clifail");
    let missing = manifest("true").replace(IMAGE, "localhost:1/no/such:image");
    program.declare("job.yaml", &missing);
    let applied = program.run(&["apply"]);
    assert_eq!(applied.code, Some(1), "{applied:?}");
    assert!(
        applied.stderr.contains("localhost:1/no/such:image"),
        "{}",
        applied.stderr
    );
    let state = program.run(&["ls", "--format", "{{.State}}"]).ok();
    assert_eq!(state, "not-armed\n");
    // A crontab that triggers it reads no output.
    let triggered = program.run(&["trigger", "cli.hello"]);
    assert_eq!(triggered.code, Some(1), "{triggered:?}");
    let told = program
        .run(&["history", "--format", "{{.Outcome}} {{.Trigger}} {{.Reason}}"])
        .ok();
    let row = told.lines().find(|line| line.starts_with("start_failed manual "));
    assert!(
        row.is_some_and(|row| row.contains("localhost:1/no/such:image")),
        "{told}"
    );
    program.run(&["down"]).ok();
}

#[test]
fn the_operators_file_is_refused_when_it_is_wrong() {
    let program = Program::without_engine();
    let wrong = program.run(&["--config", "/etc/passwd", "ls"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(1), ""), "{wrong:?}");
    assert!(
        wrong
            .stderr
            .contains("the operator's file `/etc/passwd` has errors"),
        "{}",
        wrong.stderr
    );
    assert_refused(
        &program.run(&["--config", "/nonexistent", "ls"]),
        &"a file that is not there",
    );
    std::fs::write(program.state.path().join("operator.yaml"), "instance: blue\n").unwrap();
    let named = program.run(&["--config", "operator.yaml", "ls"]);
    assert!(named.stderr.contains("the instance `blue`"), "{}", named.stderr);
}

#[test]
fn a_watch_runs_alone_and_ends_when_told() {
    let program = declared("cliwatch");
    let mut watch = program
        .command()
        .arg("watch")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(watch.stderr.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    // `2026-11-23 02:30:00 +01:00 INFO  …`
    let shape: String = first
        .chars()
        .take(31)
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(
        shape.replace('-', "+"),
        "0000+00+00 00:00:00 +00:00 INFO",
        "{first}"
    );
    wait_until("the job is armed", || {
        program.run(&["ls", "--format", "{{.State}}"]).stdout == "armed\n"
    });
    for line in [&["watch"][..], &["down"]] {
        let refused = program.run(line);
        assert_refused(&refused, &line);
        assert_eq!(refused.code, Some(5), "{refused:?}");
    }
    let beside = program.run(&["trigger", "hello", "--wait"]);
    assert_eq!(beside.code, Some(3), "beside a watch: {beside:?}");
    let sent = Command::new("kill").arg(watch.id().to_string()).status().unwrap();
    assert!(sent.success());
    assert_eq!(wait_for(&mut watch), Some(0));
    program.run(&["down"]).ok();
}

#[test]
fn logs_follow_a_run_to_its_end() {
    let program = declared("clifollow");
    program.declare("job.yaml", &manifest("echo one; sleep 2; echo two; printf three"));
    program.run(&["apply"]).ok();
    let run = program.run(&["trigger", "hello"]).ok();
    let followed = program.run(&["logs", "-f", run.trim_end()]).ok();
    assert_eq!(followed, "one\ntwo\nthree");
    program.run(&["down"]).ok();
}

#[test]
fn a_job_is_refused_where_another_ledger_holds_the_instance() {
    let program = declared("cliother");
    program.run(&["apply"]).ok();
    let stranger = declared("cliother");
    for line in [&["apply"][..], &["plan"], &["trigger", "hello"]] {
        let refused = stranger.run(line);
        assert_eq!(refused.code, Some(5), "{line:?} {refused:?}");
        assert!(refused.stderr.contains("--take-over"), "{}", refused.stderr);
    }
    program.run(&["down"]).ok();
}

#[test]
fn prune_takes_what_ended_and_is_ours_and_nothing_else() {
    let rig = Rig::start();
    let program = declared_on(&rig, "cliprune");
    program.run(&["apply"]).ok();
    let triggered = program.run(&["trigger", "hello", "--wait"]);
    let run = triggered.stdout.trim_end();
    program.run(&["run", "--name", "ended", IMAGE, "true"]).ok();
    program
        .run(&["run", "--name", "running", "-d", IMAGE, "sleep", "600"])
        .ok();
    foreign(&rig, "foreign", IMAGE, "true", true);
    let other = declared_on(&rig, "cliprune2");
    other.run(&["apply"]).ok();
    let of_other = other.run(&["trigger", "hello", "--wait"]);

    assert_eq!(program.run(&["prune"]).ok(), format!("ended\n{run}\n"));
    assert_eq!(program.run(&["prune"]).ok(), "");
    for kept in ["running", "foreign", of_other.stdout.trim_end()] {
        assert!(inspect(&rig, kept).is_some(), "{kept}");
    }
    let plan = program.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, Some(0), "what is armed was left alone: {plan:?}");
    assert_eq!(program.run(&["logs", "hello"]).stdout, "hello\n");
}
