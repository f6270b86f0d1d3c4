//! What the program says, whole: each message that a person can meet stands in a snapshot that was
//! read by somebody. `INSTA_UPDATE=always` (`make bless`) writes them anew.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::cli::{Ended, Program};
use crate::rig::{IMAGE, Rig};
use crate::shop;

/// The program on the shop's ledger, without an engine.
fn program() -> Program {
    let program = Program::without_engine();
    shop::fill(program.state.path());
    program
}

/// A call as a person would see it, with paths and ages made the same everywhere.
fn told(program: &Program, arguments: &[&str], ended: &Ended) -> String {
    let line: Vec<String> = arguments
        .iter()
        .map(|argument| shlex::try_quote(argument).map_or_else(|_| format!("{argument:?}"), Into::into))
        .collect();
    let mut text = format!("$ docker-scheduler {}\n", line.join(" "));
    for output in [&ended.stdout, &ended.stderr] {
        text.push_str(output);
    }
    let _ = writeln!(text, "[{}]", ended.code.unwrap_or(-1));
    assert!(!text.contains("``"), "a name is missing: {text}");
    ages(&text.replace(&program.state.path().display().to_string(), "STATE"))
}

/// `3 days ago` and `in 4h 5m` depend on when the test runs.
fn ages(text: &str) -> String {
    let mut same = Vec::new();
    // This machine may have engines of its own.
    for line in text
        .lines()
        .filter(|line| !line.starts_with("hint: an engine may listen at"))
    {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for at in 0..words.len() {
            if words[at].starts_with("ago") && at >= 2 {
                words[at - 2] = "N".to_owned();
                words[at - 1] = "units".to_owned();
            }
            if words[at] == "in"
                && at + 1 < words.len()
                && words[at + 1].starts_with(|c: char| c.is_ascii_digit())
            {
                // Whole days have no hours.
                let days_alone = words[at + 1].ends_with('d');
                words[at + 1] = "N".to_owned();
                if words
                    .get(at + 2)
                    .is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()))
                {
                    words[at + 2] = "units".to_owned();
                } else if days_alone {
                    words[at + 1] = "N units".to_owned();
                }
            }
        }
        // A moment later they are other words.
        let line = ["less than ", "Less than ", "about ", "About "]
            .iter()
            .fold(words.join(" "), |line, words| {
                line.replace(&format!("{words}N units"), "N units")
            });
        same.push(line);
    }
    same.join("\n") + "\n"
}

fn all(program: &Program, lines: &[&[&str]]) -> String {
    let told: Vec<String> = lines
        .iter()
        .map(|line| told(program, line, &program.run(line)))
        .collect();
    told.join("\n")
}

#[test]
fn wrong_usage() {
    let lines: &[&[&str]] = &[
        &["nope"],
        &["plna"],
        &["help", "nope"],
        &["ls", "--nope"],
        &["ls", "--formt", "json"],
        &["ls", "extra"],
        &["ls", "--color", "red"],
        &["ls", "--instance", "../x"],
        &["ls", "--host"],
        &["ls", "--host="],
        &["ls", "--state="],
        &["-H", "garbage", "ls"],
        &["-H", "gopher://x", "ls"],
        &["-H", "unix://run/x.sock", "ls"],
        &["-H", "tcp://a:b", "ls"],
        &["-H", "npipe:////./pipe/x", "ls"],
        &["-H", "tcp://a", "-c", "b", "ls"],
        &["-c", "nope", "ls"],
        &["--config", "/nonexistent", "ls"],
        &["next", "-n", "x"],
        &["next", "-n", "0"],
        &["next", "-n", "-5"],
        &["history", "-n", "99999999999999999999"],
        &["list", "containers", "-n", "1.5"],
        &["logs", "-n", "x", "shop.backup"],
        &["next", "--from", "tomorrow"],
        &["next", "--cron", "61 * * * *"],
        &["next", "--cron", "* * * * * *"],
        &["next", "--cron", "* * * * *", "--timezone", "Mars/Olympus"],
        &["next", "shop.backup", "--cron", "* * * * *"],
        &["history", "--since", "soon"],
        &["history", "-f", "nope"],
        &["history", "-f", "nope=1"],
        &["history", "-f", "outcome=great"],
        &["history", "-f", "until=soon"],
        &["list", "images", "-f", "dangling=maybe"],
        &["ls", "--format", "yaml"],
        &["ls", "--format", "{{.Nope}}"],
        &["ls", "--format", "{{.Name"],
        &["ls", "--format", "{{range .}}"],
        &["ls", "-q", "--format", "json"],
        &["history", "--format", "{{.Nope}}"],
        &["next", "--format", "{{.Nope}}"],
        &["list", "images", "--format", "{{.Nope}}"],
        &["list", "containers", "--format", "{{.Nope}}"],
        &["inspect", "--format", "table", "shop.backup"],
        &["inspect", "--format", "{{.Nope}}", "shop.backup"],
        &["version", "--format", "yaml"],
        &["plan", "--at", "2099-01-01T00:00:00Z"],
        &["plan", "--job", "a b"],
        &["rm"],
        &["rm", "../x"],
        &["rm", ""],
        &["run"],
        &["run", "-d", "--rm", "busybox"],
        &["run", "busybox", "echo 'open"],
        &["run", "-v", "relative/x:/x", "busybox"],
        &["run", "-e", "=x", "busybox"],
        &["run", "Bad Image"],
        &["wait", "--timeout", "soon", "shop.backup"],
        &["completions", "tcsh"],
        &["man", "nope"],
    ];
    insta::assert_snapshot!(all(&program(), lines));
}

#[test]
fn no_command_at_all_shows_the_help() {
    let program = program();
    let ended = program.run(&[]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stdout, "");
    let (help, error) = ended.stderr.split_once("\nerror: ").expect("an error");
    assert!(
        help.contains("Usage: docker-scheduler [OPTIONS] <COMMAND>"),
        "{help}"
    );
    assert!(help.contains("\n  plan "), "{help}");
    assert_eq!(error, "a command is missing\n");
}

#[test]
fn names_that_stand_for_nothing_or_for_something_else() {
    let lines: &[&[&str]] = &[
        &["logs", "nope"],
        &["logs", "shop.backpu"],
        &["logs", "shop.backup.2026"],
        &["logs", shop::COMING],
        &["inspect", "nope", "nothing"],
        &["inspect", shop::COMING],
        &["wait", "nope"],
        &["wait", shop::SUCCEEDED],
        &["wait", shop::FAILED],
        &["cancel", "nope"],
        &["cancel", shop::SUCCEEDED],
        &["cancel", shop::COMING],
        &["ack", shop::SUCCEEDED],
        &["ack", "nope"],
        &["next", "nope"],
        &["history", "nope"],
        &["logs", "shop.backup", "--since", "soon"],
        &["logs", shop::FAILED],
        &["logs", "shop.backup.20261120T013000Z"],
        &["logs", "-n", "1", "shop.backup.20261120T013000Z"],
        &["logs", "-t", shop::SUCCEEDED],
    ];
    insta::assert_snapshot!(all(&program(), lines));
}

#[test]
fn nothing_was_ever_applied() {
    let lines: &[&[&str]] = &[
        &["ls"],
        &["history"],
        &["history", "shop.backup"],
        &["logs", "shop.backup"],
        &["inspect", "shop.backup"],
        &["wait", "shop.backup"],
        &["cancel", "shop.backup"],
        &["ack", "shop.backup"],
        &["next"],
        &["plan"],
        &["apply"],
        &["validate"],
        &["validate", "/nonexistent"],
    ];
    insta::assert_snapshot!(all(&Program::without_engine(), lines));
}

#[test]
fn the_lists_of_a_shop() {
    let lines: &[&[&str]] = &[
        &[
            "ls",
            "--format",
            "table {{.Name}}\t{{.Trigger}}\t{{.State}}\t{{.last_outcome}}",
        ],
        &["ls", "-q", "-f", "label=tier=gold"],
        &["ls", "-q", "-f", "label=tier=silver"],
        &[
            "ls",
            "--format",
            "{{.job}} {{.project}}",
            "-f",
            "job=backup",
            "-f",
            "project=shop",
        ],
        &[
            "history",
            "--no-trunc",
            "-f",
            "outcome=failed",
            "-f",
            "outcome=succeeded",
        ],
        &["history", "-q", "-f", "outcome=failed"],
        &["history", "-q", "-f", "label=tier", "-f", "state=running"],
        &[
            "history",
            "-q",
            "-f",
            "since=2026-11-20T00:00:00Z",
            "-f",
            "until=2026-11-21T00:00:00Z",
        ],
        &["history", "-q", "-f", "job=other"],
        &["inspect", shop::FAILED],
        &["inspect", "-f", "{{.log.bytes}} {{json .attempts}}", shop::FAILED],
    ];
    insta::assert_snapshot!(all(&program(), lines));
}

#[test]
fn all_of_a_job() {
    let program = program();
    let ended = program.run(&["inspect", "shop.backup"]);
    let mut job: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    // It moves on with the clock.
    assert!(job[0]["next_slot"].is_string(), "{job}");
    job[0]["next_slot"] = "SLOT".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&job).expect("JSON"));
}

/// What is at the other end of a socket, and what is said of it.
#[test]
fn an_engine_that_is_none() {
    let answers: &[(&str, &[u8])] = &[
        ("another program's HTTP", b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nNot found"),
        ("a web page", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"),
        ("no HTTP at all", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("nothing", b""),
        ("a door that wants TLS", b"HTTP/1.0 400 Bad Request\r\nContent-Length: 48\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"),
        ("an engine that is too old", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 42\r\nConnection: close\r\n\r\n{\"Version\":\"19.03.1\",\"ApiVersion\":\"1.40\"}\n"),
    ];
    let mut text = String::new();
    for (what, answer) in answers {
        let mut program = Program::without_engine();
        let socket = program.state.path().join("s");
        let listener = UnixListener::bind(&socket).expect("listen");
        let bytes = answer.to_vec();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(&bytes);
            }
        });
        program.host = format!("unix://{}", socket.display());
        let _ = writeln!(text, "# {what}");
        text.push_str(&told(&program, &["prune"], &program.run(&["prune"])));
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn an_engine_that_is_not_there() {
    let mut program = Program::without_engine();
    let mut text = all(&program, &[&["prune"], &["run", "busybox"], &["rerun", "web"]]);
    let listener = UnixListener::bind(program.state.path().join("closed")).expect("listen");
    drop(listener);
    program.host = format!("unix://{}/closed", program.state.path().display());
    text.push_str(&all(&program, &[&["prune"]]));
    std::fs::write(program.state.path().join("file"), "").expect("a file");
    program.host = format!("unix://{}/file", program.state.path().display());
    text.push_str(&all(&program, &[&["prune"]]));
    program.host = "tcp://127.0.0.1:1".to_owned();
    text.push_str(&all(&program, &[&["prune"]]));
    program.host = "tcp://no-such-host.invalid:2375".to_owned();
    text.push_str(&all(&program, &[&["prune"]]));
    insta::assert_snapshot!(text);
}

#[test]
fn the_operators_file() {
    let program = program();
    let file = |text: &str| std::fs::write(program.state.path().join("op.yaml"), text).expect("a file");
    let mut text = String::new();
    for contents in [
        "",
        "nope: 1\n",
        "instance: ../x\n",
        "instance: [\n",
        "limits: {starts: 0}\n",
        "limits: {starts: many}\n",
        "policy: {allow_priviledged: true}\n",
        "arm: sometimes\n",
        "timezone: Mars/Olympus\n",
        "interpolate: HOME\n",
        "- a list\n",
    ] {
        file(contents);
        let _ = writeln!(text, "# {contents:?}");
        text.push_str(&all(&program, &[&["--config", "op.yaml", "ls", "-q"]]));
        text.push('\n');
    }
    text.push_str(&all(
        &program,
        &[&["--config", "/", "ls"], &["--config", "no/such/file", "ls"]],
    ));
    insta::assert_snapshot!(text);
}

/// As [`told`], and without what differs between two engines, runs and machines.
fn told_anywhere(program: &Program, arguments: &[&str]) -> String {
    let ended = program.run(arguments);
    let text = told(program, arguments, &ended);
    let rules = [
        (r"\bm-[0-9a-f]{8}\b", "m-NUMBER"),
        (r"\b[0-9a-f]{64}\b", "ID"),
        (r"(?m)^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d ", "NOW "),
        (r"\b20\d\d-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\b20\d\d-\d\d-\d\d \d\d:\d\d\b", "TIME"),
        (r"\b20\d{6}T\d{6}Z\b", "SLOT"),
        (r"\b\d+ ms after", "N ms after"),
        (r"after \d+s", "after Ns"),
        (r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "LEDGER"),
        (r"pid \d+", "pid N"),
        // An engine's own words change with its version.
        (r"(?m)^warning: .*\n", ""),
        (r#"Get "?https?://localhost:1.*"#, "ENGINE'S WORDS"),
        (r"failed to create (shim )?task.*", "ENGINE'S WORDS"),
        (r"OCI runtime create failed.*", "ENGINE'S WORDS"),
        (r"Conflict\. The container name.*", "ENGINE'S WORDS"),
        (
            r"network no-such-network not found.*|could not find a network matching.*",
            "ENGINE'S WORDS",
        ),
    ];
    let text = rules.iter().fold(text, |text, (pattern, with)| {
        let pattern = Regex::new(pattern).expect("a pattern");
        pattern.replace_all(&text, *with).into_owned()
    });
    // Jobs are worked on side by side.
    if arguments == ["apply"]
        && let Some((head, said)) = text.split_once("NOW ")
    {
        let mut said: Vec<String> = format!("NOW {said}").lines().map(str::to_owned).collect();
        said.sort_by_key(|line| !line.starts_with("NOW "));
        let count = said.iter().filter(|line| line.starts_with("NOW ")).count();
        said[..count].sort();
        return format!("{head}{}\n", said.join("\n"));
    }
    text
}

fn with_engine(program: &Program, lines: &[&[&str]]) -> String {
    let told: Vec<String> = lines.iter().map(|line| told_anywhere(program, line)).collect();
    told.join("\n")
}

/// Jobs that are well, that may not be started by hand, and that cannot start.
fn troubled() -> String {
    let job = |name: &str, keys: &str| {
        format!(
            "  {name}:\n    image: {IMAGE}\n    network_mode: none\n    stop_grace_period: 1s\n    \
             triggers: {{manual: true, schedule: [\"0 3 1 1 *\"]}}\n{keys}"
        )
    };
    let mut text = "name: shop\njobs:\n".to_owned();
    text.push_str(&job("long", "    command: sleep 600\n"));
    text.push_str(&job(
        "fails",
        "    command: [sh, -c, \"echo oops >&2; exit 3\"]\n",
    ));
    text.push_str(&job("timed", "    command: \"true\"\n").replace("manual: true", "manual: false"));
    text.push_str(&job("no-image", "").replace(IMAGE, "localhost:1/no/such:image"));
    text.push_str(&job("no-command", "    command: no-such-command\n"));
    text.push_str(
        &job("no-network", "    command: \"true\"\n").replace("network_mode: none", "networks: [gone]"),
    );
    text.push_str(&job("asleep", "    command: \"true\"\n    profiles: [night]\n"));
    text.push_str("networks:\n  gone: {external: true}\n");
    text
}

/// What an engine, a guard or another scheduler stands in the way of.
#[test]
fn refusals_with_an_engine() {
    let rig = Rig::shared();
    let program = Program {
        instance: "words",
        ..Program::on(rig)
    };
    program.declare("shop.yaml", &troubled());
    // What cannot be armed is tried again after 5 s: on a machine on which these take longer, they say
    // something else, and are said again.
    let mut text = String::new();
    for _ in 0..10 {
        let begun = Instant::now();
        text = with_engine(&program, &[&["apply"], &["apply"], &["plan"], &["ls"]]);
        if begun.elapsed() < Duration::from_secs(4) {
            break;
        }
        program.run(&["down"]).ok();
    }
    let run = program.run(&["trigger", "long"]).ok();
    let run = run.trim_end();
    let lines: &[&[&str]] = &[
        &["trigger", "long"],
        &["trigger", "timed"],
        &["trigger", "nope"],
        &["trigger", "asleep"],
        &["trigger", "no-image"],
        &["trigger", "no-command"],
        &["trigger", "no-network"],
        &["trigger", "fails", "--wait"],
        &["rm", run],
        &["rm", "long"],
        &["rm", "words-none"],
        &["rerun", "long"],
        &["rerun", "words-none"],
        &["wait", "--timeout", "1s", run],
        &["ack", run],
        &["logs", "timed"],
        &["wait", "timed"],
        &["cancel", "fails"],
        &["cancel", run],
        &["cancel", run],
        &["pause", "long"],
        &["pause", "long", "--until", "2099-01-01T00:00:00Z"],
        &["pause", "x*"],
        &["pause", "long", "--until", "2020-01-01T00:00:00Z"],
        &["resume", "long"],
        &["resume", "long"],
        &["prune", "--filter", "job=fails", "--dry-run"],
        &["prune", "--filter", "job=none"],
        &["prune", "--filter", "nope=1"],
    ];
    text.push('\n');
    text.push_str(&with_engine(&program, lines));
    let stranger = Program {
        instance: "words",
        ..Program::on(rig)
    };
    stranger.declare("shop.yaml", &troubled());
    text.push_str("\n# with another ledger\n");
    text.push_str(&with_engine(&stranger, &[&["apply"], &["trigger", "long"]]));
    text.push_str("\n# and the end\n");
    text.push_str(&with_engine(&program, &[&["down"], &["down"], &["ls"]]));
    insta::assert_snapshot!(text);
}

#[test]
fn what_cannot_be_run() {
    let program = Program::on(Rig::shared());
    program
        .run(&["run", "-d", "--name", "words-taken", IMAGE, "sleep", "600"])
        .ok();
    let lines: &[&[&str]] = &[
        &["ls", "-f", "state=nope"],
        &["ls", "-f", "outcome=nope"],
        &["history", "-f", "trigger=nope"],
        &["run", "--rm", IMAGE, "no-such-command"],
        &["run", "--rm", IMAGE, "/tmp"],
        &["run", "--rm", "--network", "no-such-network", IMAGE, "true"],
        &["run", "--rm", "localhost:1/no/such:image"],
        &["run", "--name", "words-taken", IMAGE, "true"],
        &["rm", "words-taken"],
        &["rerun", "words-taken"],
        &["rm", "-f", "words-taken"],
        &["list", "containers", "-f", "nope=1"],
        &["list", "containers", "-f", "state=nope"],
        &["import", "container", "words-none"],
    ];
    insta::assert_snapshot!(with_engine(&program, lines));
}
