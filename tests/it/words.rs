//! What the program says, whole: each message that a person can meet stands in a snapshot that was
//! read by somebody. `INSTA_UPDATE=always` (`make bless`) writes them anew.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use crate::cli::{Ended, Program};
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
                words[at + 1] = "N".to_owned();
                if words
                    .get(at + 2)
                    .is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()))
                {
                    words[at + 2] = "units".to_owned();
                }
            }
        }
        same.push(words.join(" "));
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
