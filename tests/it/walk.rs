//! Pages that a newcomer follows from top to bottom are followed here, in a fresh folder and on an
//! engine of their own: each command is run, and what stands below it is what it must show.
//!
//! In a block of `console`, `$ ` begins a command, and the lines below it are its output, both streams
//! together: `…` stands for any text, and alone on a line for any lines. A command without lines below it
//! only has to end well. Comments mean what a reader takes them for: "ends with 3", "after a moment"
//! (it may take a while until it shows that), "goes on until Ctrl-C", "after Ctrl-C".

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::Rig;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The machine may be busy with seven compilers.
const PATIENCE: Duration = Duration::from_secs(120);

/// One `$ ` line of a page.
struct Step {
    line: usize,
    command: String,
    comment: String,
    expected: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (at, line) in page.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match line.strip_prefix("$ ") {
                Some(command) => {
                    let (command, comment) = command.split_once("  #").unwrap_or((command, ""));
                    steps.push(Step {
                        line: at + 1,
                        command: command.trim().to_owned(),
                        comment: comment.trim().to_owned(),
                        expected: Vec::new(),
                    });
                }
                None => steps
                    .last_mut()
                    .expect("a command above its output")
                    .expected
                    .push(line.trim_end().to_owned()),
            },
            (false, _) => {}
        }
    }
    steps
}

/// Whether lines are as expected.
fn shows(expected: &[String], found: &[&str]) -> bool {
    match expected {
        [] => found.is_empty(),
        [any, rest @ ..] if any == "…" => (0..=found.len()).any(|skipped| shows(rest, &found[skipped..])),
        [line, rest @ ..] => found
            .split_first()
            .is_some_and(|(first, others)| is_like(line, first) && shows(rest, others)),
    }
}

/// Whether a line is as expected; spaces count once, since columns are as wide as what is in them.
fn is_like(expected: &str, found: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, found) = (words(expected), words(found));
    let mut parts = expected.split('…').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = found.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        last = Some(part);
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    match last {
        None => rest.is_empty(),
        Some(part) => part.is_empty() || rest.is_empty() || found.ends_with(part),
    }
}

/// A newcomer: an empty folder, the program in PATH, and an engine.
struct Newcomer {
    home: tempfile::TempDir,
    folder: PathBuf,
    host: String,
    /// Its operator's file is `config.yaml` at home: not the machine's own, since the test may be root.
    configured: bool,
    background: Vec<Child>,
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.press_ctrl_c();
    }
}

impl Newcomer {
    fn on(host: String) -> Newcomer {
        let home = tempfile::tempdir().expect("a folder");
        Newcomer {
            folder: home.path().to_owned(),
            home,
            host,
            configured: false,
            background: Vec::new(),
        }
    }

    fn shell(&self, script: &str) -> Command {
        let bin = Path::new(env!("CARGO_BIN_EXE_docker-scheduler"))
            .parent()
            .expect("a folder");
        let mut command = Command::new("bash");
        command
            .args(["-c", script])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()))
            .env("HOME", self.home.path())
            .env("TZ", "Europe/Berlin")
            .env("LANG", "C.UTF-8")
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_SCHEDULER_STATE", self.home.path().join("state"))
            .stdin(Stdio::null());
        if self.configured {
            command.env("DOCKER_SCHEDULER_CONFIG", self.home.path().join("config.yaml"));
        }
        command
    }

    /// Exit code and both streams.
    fn run(&mut self, command: &str) -> (i32, String) {
        let end = self.home.path().join(".folder");
        let script = format!(
            "exec 2>&1\n{command}\ncode=$?\npwd > {}\nexit $code",
            end.display()
        );
        let output = self.shell(&script).output().expect("bash");
        if let Ok(folder) = fs::read_to_string(&end) {
            self.folder = PathBuf::from(folder.trim_end());
        }
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    fn press_ctrl_c(&mut self) {
        for mut child in self.background.drain(..) {
            let _ = Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status();
            let _ = child.wait();
        }
    }

    fn take(&mut self, step: &Step) {
        let Step {
            line,
            command,
            comment,
            expected,
        } = step;
        if comment.contains("after Ctrl-C") {
            self.press_ctrl_c();
        }
        if comment.contains("until Ctrl-C") {
            let mut shell = self.shell(&format!("exec {command}"));
            shell.stdout(Stdio::null()).stderr(Stdio::null());
            self.background.push(shell.spawn().expect("bash"));
            return;
        }
        let code = comment
            .split_once("ends with ")
            .map_or(0, |(_, code)| code.trim().parse().expect("an exit code"));
        let start = Instant::now();
        loop {
            let (ended, shown) = self.run(command);
            let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
            if ended == code && (expected.is_empty() || shows(expected, &lines)) {
                return;
            }
            let patient = comment.contains("after a moment") && start.elapsed() < PATIENCE;
            assert!(
                patient,
                "line {line}: `{command}` ended with {ended} and shows\n{shown}\nand not\n{}",
                expected.join("\n")
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

fn follow(page: &str, host: String) -> usize {
    let text =
        fs::read_to_string(Path::new(ROOT).join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
    let mut newcomer = Newcomer::on(host);
    let steps = steps(&text);
    newcomer.configured = steps.iter().any(|step| step.command == "docker-scheduler init");
    for step in &steps {
        newcomer.take(step);
    }
    steps.len()
}

#[test]
fn getting_started_gets_a_newcomer_started() {
    let rig = Rig::start();
    // What a pull would bring.
    let (status, reply) = rig.post("/images/busybox:test/tag?repo=busybox&tag=latest", "");
    assert_eq!(status, 201, "{reply}");
    let steps = follow("docs/getting-started.md", rig.host());
    assert!(steps > 15, "only {steps} commands found");
}

/// The manifest and the commands of README, as they stand there.
#[test]
fn the_first_manifest_does_what_readme_shows() {
    let rig = Rig::start();
    let (status, reply) = rig.post("/images/busybox:test/tag?repo=busybox&tag=latest", "");
    assert_eq!(status, 201, "{reply}");
    let text = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README");
    let manifest = text
        .split("`jobs/backup.yaml`:\n\n```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the first manifest");
    let mut newcomer = Newcomer::on(rig.host());
    fs::create_dir(newcomer.folder.join("jobs")).expect("a folder");
    fs::write(newcomer.folder.join("jobs/backup.yaml"), manifest).expect("a file");
    let steps = steps(&text);
    let own = steps.iter().filter(|step| !step.command.starts_with("make "));
    let mut count = 0;
    for step in own {
        newcomer.take(step);
        count += 1;
    }
    assert!(count >= 5, "only {count} commands found");
}

#[test]
fn moving_in_brings_schedules_along() {
    let steps = follow("docs/moving-in.md", "unix:///nonexistent/docker.sock".to_owned());
    assert!(steps > 5, "only {steps} commands found");
}

#[test]
fn lines_are_compared_as_a_reader_would() {
    for (expected, found) in [
        ("a b", "a    b"),
        ("a … c", "a b b c"),
        ("… c", "x c"),
        ("a …", "a"),
        ("x-… y", "x-12 y"),
    ] {
        assert!(is_like(expected, found), "{expected} / {found}");
    }
    for (expected, found) in [("a", "a b"), ("a … c", "a b"), ("a", ""), ("… c", "c d")] {
        assert!(!is_like(expected, found), "{expected} / {found}");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(shows(&lines("a\n…\nc"), &["a", "b", "b", "c"]));
    assert!(shows(&lines("…"), &[]));
    assert!(!shows(&lines("a\n…\nc"), &["a", "b"]));
    assert!(!shows(&lines("a"), &["a", "b"]));
}

/// Without DIR a command is about the directory applied last, also where another one lies at hand: it says so.
#[test]
fn a_reader_who_begins_again_elsewhere_is_told_which_directory_is_meant() {
    const JOB: &str = "name: again\\njobs:\\n  j:\\n    image: busybox:test\\n    pull_policy: never\\n    command: [date]\\n    \
                       network_mode: none\\n    triggers: {schedule: [\"0 4 * * *\"]}\\n";
    let rig = Rig::shared();
    let mut reader = Newcomer::on(rig.host());
    let program = "docker-scheduler --instance again";
    let make = |folder: &str| {
        format!("mkdir -p {folder}/schedules.d && printf '{JOB}' > {folder}/schedules.d/a.yaml")
    };
    for (command, is_told) in [
        (format!("{} && {} && cd one", make("one"), make("two")), false),
        (format!("{program} apply"), false),
        (format!("{program} plan"), false),
        (String::from("cd ../two"), false),
        (format!("{program} plan"), true),
        (format!("{program} plan schedules.d"), false),
        (String::from("cd .."), false),
        (format!("{program} plan"), false),
        (format!("{program} down"), false),
    ] {
        let (code, text) = reader.run(&command);
        assert_eq!(code, 0, "{command}: {text}");
        let note = "one/schedules.d`, the directory applied last; `schedules.d` here has to be named";
        assert_eq!(text.contains(note), is_told, "{command}: {text}");
    }
}
