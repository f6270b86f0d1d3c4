//! `cancel`, `wait` and `logs -f` on a real engine: beside a `watch` and without one.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use crate::cli::{Ended, Program, assert_refused, declared, inspect, manifest, spawn, wait_for, wait_until};
use crate::rig::{IMAGE, Rig};

/// A program whose job sleeps, and says so when it is told to end.
fn sleeper(instance: &'static str) -> Program {
    let program = declared(instance);
    program.declare(
        "job.yaml",
        &manifest("trap 'echo told; exit 7' TERM; echo up; while true; do sleep 0.1; done"),
    );
    program.run(&["apply"]).ok();
    program
}

/// Triggers the job and waits until it has printed its first line.
fn triggered(program: &Program) -> String {
    let run = program.run(&["trigger", "hello"]).ok().trim_end().to_owned();
    wait_until("the job is up", || program.run(&["logs", &run]).stdout == "up\n");
    run
}

fn field(program: &Program, run: &str, field: &str) -> String {
    let format = format!("{{{{.{field}}}}}");
    program
        .run(&["inspect", "-f", &format, run])
        .ok()
        .trim_end()
        .to_owned()
}

struct Watch(Child);

impl Watch {
    fn start(program: &Program) -> Watch {
        let watch = program
            .command()
            .arg("watch")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a watch");
        let watch = Watch(watch);
        wait_until("the watch holds its lock", || {
            program.run(&["down"]).stderr.contains("a watch is running")
        });
        watch
    }

    fn end(mut self) {
        let sent = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(sent.expect("kill").success());
        assert_eq!(wait_for(&mut self.0), Some(0));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn cancel_stops_a_run_and_says_who_asked() {
    let program = sleeper("runcancel");
    let run = triggered(&program);
    let mut waiting = spawn(&program, &["wait", &run]);
    let cancelled = Ended::of(
        program
            .command()
            .env("USER", "alice")
            .args(["cancel", "hello"])
            .output()
            .expect("start the program"),
    );
    assert_eq!(
        (cancelled.code, cancelled.stdout.as_str()),
        (Some(0), format!("{run}\n").as_str()),
        "{cancelled:?}"
    );
    assert!(
        cancelled
            .stderr
            .contains(&format!("cancelled {run}: cancelled by alice")),
        "{cancelled:?}"
    );
    assert_eq!(wait_for(&mut waiting), Some(130), "wait ends with 130");
    assert_eq!(field(&program, &run, "outcome"), "cancelled");
    assert_eq!(field(&program, &run, "reason"), "cancelled by alice");
    assert_eq!(field(&program, &run, "stop_by"), "alice");
    assert_eq!(field(&program, &run, "exit_code"), "7");
    let state = inspect(Rig::shared(), &run).expect("its container is kept");
    assert_eq!(state["State"]["Running"], false);
    assert_eq!(program.run(&["logs", &run]).stdout, "up\ntold\n");

    for again in [&run, "hello"] {
        let refused = program.run(&["cancel", again]);
        assert_refused(&refused, &"nothing is under way");
        assert_eq!(refused.code, Some(1), "{refused:?}");
    }
    let waited = program.run(&["wait", "hello"]);
    assert_eq!(
        (waited.code, waited.stdout.as_str()),
        (Some(130), "130\n"),
        "{waited:?}"
    );
    program.run(&["down"]).ok();
}

#[test]
fn cancel_and_wait_work_beside_a_watch() {
    let program = sleeper("runbeside");
    let watch = Watch::start(&program);
    let run = triggered(&program);
    let late = program.run(&["wait", &run, "--timeout", "1s"]);
    assert_eq!((late.code, late.stdout.as_str()), (Some(124), ""), "{late:?}");
    let mut waiting = spawn(&program, &["wait", "hello"]);
    let mut following = spawn(&program, &["logs", "-f", "hello"]);
    let cancelled = program.run(&["cancel", &run]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    assert_eq!(wait_for(&mut waiting), Some(130));
    assert_eq!(wait_for(&mut following), Some(0));
    let mut text = String::new();
    following
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut text)
        .expect("read");
    assert_eq!(text, "up\ntold\n");
    let rows = program
        .run(&["history", "-f", "job=hello", "--format", "{{.Run}} {{.Outcome}}"])
        .ok();
    assert_eq!(rows, format!("{run} cancelled\n"), "one row, one outcome");
    watch.end();
    program.run(&["down"]).ok();
}

#[test]
fn wait_ends_with_the_runs_own_code() {
    let program = declared("runwait");
    program.declare("job.yaml", &manifest("sleep 1; exit 3"));
    program.run(&["apply"]).ok();
    let coming = armed(&program);
    let none = program.run(&["wait", "hello"]);
    assert_refused(&none, &"a job without any run");
    let run = program.run(&["trigger", "hello"]).ok();
    let waited = program.run(&["wait", run.trim_end()]);
    assert_eq!(
        (waited.code, waited.stdout.as_str()),
        (Some(3), "3\n"),
        "{waited:?}"
    );
    let late = program.run(&["wait", &coming, "--timeout", "300ms"]);
    assert_eq!(late.code, Some(124), "it waits for a start: {late:?}");
    // The container that is waited for is given up.
    let mut waiting = spawn(&program, &["wait", &coming]);
    program.run(&["down"]).ok();
    assert_eq!(wait_for(&mut waiting), Some(1));
    let left = program.run(&["ls", "-a", "--format", "{{.armed}}"]).ok();
    assert_eq!(left, "false\n", "nothing is armed after `down`");
}

/// The run whose container waits for its slot.
fn armed(program: &Program) -> String {
    let text = program
        .run(&["inspect", "-f", "{{.waiting.0.run}}", "hello"])
        .ok();
    text.trim_end().to_owned()
}

#[test]
fn logs_follow_a_run_from_before_its_start() {
    let program = declared("runfollow");
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo oops >&2; sleep 1; printf end";
    program.declare("job.yaml", &manifest(script));
    program.run(&["apply"]).ok();
    let mut following = spawn(&program, &["logs", "-f", "-t", "hello"]);
    let mut said = BufReader::new(following.stderr.take().expect("piped"));
    let mut first = String::new();
    said.read_line(&mut first).expect("read");
    assert_eq!(first, "waiting for the first run of `cli.hello`\n");
    let triggered = program.run(&["trigger", "hello", "--wait"]);
    assert_eq!(triggered.code, Some(0), "{triggered:?}");
    let mut text = String::new();
    following
        .stdout
        .take()
        .expect("piped")
        .read_to_string(&mut text)
        .expect("read");
    assert_eq!(wait_for(&mut following), Some(0));
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(lines.len(), 2, "{} lines", lines.len());
    let (stamp, long) = lines[0].split_once(' ').expect("a time");
    assert!(stamp.starts_with("20") && stamp.ends_with('Z'), "{stamp}");
    assert_eq!(long.len(), 40_000, "a time stands only before a line");
    assert!(lines[1].ends_with("Z end"), "{}", lines[1]);

    // The same from the file, and parts of it.
    let whole = program.run(&["logs", "hello"]);
    assert!(
        whole.stdout == format!("{}\nend", "x".repeat(40_000)),
        "{} bytes",
        whole.stdout.len()
    );
    assert_eq!(whole.stderr, "oops\n");
    assert_eq!(program.run(&["logs", "-n", "1", "hello"]).ok(), "end");
    assert_eq!(program.run(&["logs", "--until", "1h", "hello"]).ok(), "");
    let stamp_of_end = lines[1].split(' ').next().expect("a time");
    let later = program.run(&["logs", "--since", stamp_of_end, "hello"]).ok();
    assert_eq!(later, "end");
    program.run(&["down"]).ok();
}

#[test]
fn logs_follow_a_run_across_its_retries() {
    let program = declared("runretry");
    let script = "echo attempt $SCHEDULER_ATTEMPT; sleep 2; printf end; exit 1";
    let text = format!(
        "name: cli\njobs:\n  hello:\n    image: {IMAGE}\n    command: [sh, -c, {:?}]\n    \
         triggers: {{manual: true}}\n    x-scheduler: {{every: 10s, retries: 1, backoff: 2s}}\n",
        script.replace('$', "$$")
    );
    program.declare("job.yaml", &text);
    let watch = Watch::start(&program);
    let mut run = String::new();
    wait_until("a slot runs", || {
        run = program.run(&["history", "-q", "-f", "outcome=running"]).stdout;
        !run.is_empty()
    });
    let mut following = spawn(&program, &["logs", "-f", run.trim_end()]);
    assert_eq!(wait_for(&mut following), Some(0));
    let read = |pipe: &mut dyn std::io::Read| {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("read");
        text
    };
    let text = read(&mut following.stdout.take().expect("piped"));
    assert_eq!(text, "attempt 0\nendattempt 1\nend");
    let said = read(&mut following.stderr.take().expect("piped"));
    assert!(said.contains(".r1 (attempt 1) <=="), "{said}");
    watch.end();
    program.run(&["down"]).ok();
}

#[test]
fn prune_says_first_what_it_would_take() {
    let program = declared("rundry");
    program.run(&["apply"]).ok();
    let run = program.run(&["trigger", "hello", "--wait"]).stdout;
    let line = [
        "prune",
        "--filter",
        "label=docker-scheduler.instance=rundry",
        "--filter",
        "job=hello",
    ];
    let dry = program.run(&[&line[..], &["--dry-run"]].concat());
    assert_eq!(dry.stdout, run, "{dry:?}");
    assert!(
        dry.stderr.contains("1 container would be deleted; nothing was"),
        "{dry:?}"
    );
    assert!(inspect(Rig::shared(), run.trim_end()).is_some());
    let other = program.run(&["prune", "--filter", "job=other", "--filter", "project=cli"]);
    assert_eq!(other.ok(), "");
    let young = program.run(&[&line[..], &["--filter", "until=1h"]].concat());
    assert_eq!(young.ok(), "", "it was made after that");
    assert_eq!(program.run(&line).ok(), run);
    assert!(inspect(Rig::shared(), run.trim_end()).is_none());
    program.run(&["down"]).ok();
}
