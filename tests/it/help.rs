//! One source for what is said of the commands: the README's table, the manual pages and the
//! completions come from the program's own help, and each example in it runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command as Process;

use clap::Command;

use crate::cli::{Ended, Program, foreign, spawn, wait_for, wait_until};
use crate::git;
use crate::requests::SILENT;
use crate::rig::{IMAGE, Rig};
use crate::shop;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const BEGIN: &str = "<!-- The table is written by `BLESS=1 cargo test --test it help`. -->\n";
const END: &str = "<!-- End of the table. -->\n";

fn tree() -> Command {
    let mut root = docker_scheduler::cli::command();
    root.build();
    root
}

/// Every command below `command` that does something, with its path.
fn leaves(command: &Command, path: &str) -> Vec<(String, Command)> {
    let mut found = Vec::new();
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let path = format!("{path}{}", sub.get_name());
        let inner = leaves(sub, &format!("{path} "));
        if inner.is_empty() {
            found.push((path, sub.clone()));
        } else {
            found.extend(inner);
        }
    }
    found
}

/// The words of every command that does something.
pub fn commands() -> Vec<String> {
    leaves(&tree(), "").into_iter().map(|(path, _)| path).collect()
}

fn table() -> String {
    let mut table = String::from("| command | what it does |\n|---|---|\n");
    for (path, command) in leaves(&tree(), "") {
        let arguments: String = command.get_positionals().map(argument_words).collect();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let aliases: String = command
            .get_visible_aliases()
            .map(|alias| format!(", `{alias}`"))
            .collect();
        let line = format!("| `{path}{arguments}`{aliases} | {about} |\n")
            .replace("RUN|JOB", "RUN\\|JOB")
            .replace("JOB|CONTAINER", "JOB\\|CONTAINER");
        table.push_str(&line);
    }
    table
}

fn argument_words(argument: &clap::Arg) -> String {
    let name = argument
        .get_value_names()
        .and_then(|names| names.first().map(ToString::to_string))
        .unwrap_or_default();
    let many = matches!(argument.get_action(), clap::ArgAction::Append)
        || argument
            .get_num_args()
            .is_some_and(|range| range.max_values() > 1);
    let many = if many { "..." } else { "" };
    match (name.as_str(), argument.is_required_set()) {
        // An image, and the command to run in it, are one list to the parser.
        ("IMAGE", _) => " IMAGE [COMMAND...]".to_owned(),
        (_, true) => format!(" {name}{many}"),
        (_, false) => format!(" [{name}{many}]"),
    }
}

#[test]
fn the_readme_has_the_table_of_commands() {
    let readme = fs::read_to_string(README).expect("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the table's beginning");
    let (found, after) = rest.split_once(END).expect("the table's end");
    let expected = table();
    if std::env::var_os("BLESS").is_some() {
        fs::write(README, format!("{before}{BEGIN}{expected}{END}{after}")).expect("write README.md");
        return;
    }
    assert_eq!(found, expected, "BLESS=1 writes it anew");
}

/// The examples of a command's long help, as typed.
fn examples(command: &Command) -> Vec<String> {
    let help = command
        .get_after_long_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    help.lines()
        .filter_map(|line| line.strip_prefix("  docker-scheduler "))
        .map(str::to_owned)
        .collect()
}

/// What an example of a command ends with where that is not 0.
const OTHER_ENDS: [(&str, i32); 4] = [
    // What is armed is what it asks for, so that nothing is pending; the other way is `plan`'s own test.
    ("docker-scheduler plan jobs --detailed-exitcode", 2),
    // No watch runs beside the examples.
    ("docker-scheduler health", 1),
    ("docker-scheduler health --alive --max-age 5m", 1),
    // No run of this shop is in doubt.
    ("docker-scheduler ack shop.backup.20261122T013000Z", 1),
];

/// The folder that the examples speak of, and the containers and images.
fn a_shop_as_in_the_examples(rig: &Rig) -> Program {
    let program = Program::on(rig);
    let manifest = "name: shop\njobs:\n  backup:\n    image: busybox:test\n    command: [sh, -c, \"echo backup; sleep 2\"]\n    \
                    triggers: {schedule: [\"30 2 1 1 *\"]}\n";
    program.declare("shop.yaml", manifest);
    let folder = program.state.path();
    fs::create_dir(folder.join("jobs")).expect("a folder");
    fs::write(
        folder.join("jobs/shop.yaml"),
        manifest.replace("echo backup", "echo another"),
    )
    .expect("written");
    git::repository_of(&folder.join("jobs/shop.yaml"), &folder.join("schedules.git"));
    let input = |name: &str| {
        let path = Path::new(README).with_file_name("tests/import").join(name);
        fs::read(path).expect("an input of the import tests")
    };
    for (name, of) in [
        ("tab", "user.crontab"),
        ("etc-crontab", "user.crontab"),
        ("config.ini", "ofelia.ini"),
        ("compose.yaml", "compose.yaml"),
        ("cronjobs.yaml", "cronjobs.yaml"),
    ] {
        fs::write(folder.join(name), input(of)).expect("written");
    }
    for (repository, tag) in [("ubuntu", "latest"), ("alpine", "latest"), ("postgres", "16")] {
        let (status, reply) = rig.post(&format!("/images/{IMAGE}/tag?repo={repository}&tag={tag}"), "");
        assert_eq!(status, 201, "{reply}");
    }
    for name in ["web", "backup"] {
        foreign(rig, name, IMAGE, "true", false);
    }
    program
}

/// Every example of the help, as a person would type it, one after the other, on an engine.
#[test]
fn every_example_of_the_help_does_what_it_says() {
    let rig = Rig::start();
    let program = a_shop_as_in_the_examples(&rig);
    let mut run = String::new();
    let mut seen = 0;
    for (path, command) in leaves(&tree(), "") {
        for example in examples(&command) {
            let other = OTHER_ENDS
                .iter()
                .find(|(line, _)| *line == format!("docker-scheduler {example}"));
            if path == "cancel" {
                run = program
                    .run(&["trigger", "shop.backup"])
                    .ok()
                    .trim_end()
                    .to_owned();
            }
            let line = example
                .replace("shop.backup.20261122T013000Z", &run)
                .replace("/etc/crontab", "etc-crontab")
                .replace("/srv/jobs", "jobs")
                .replace(
                    "https://git.example.com/ops/schedules.git",
                    &program.state.path().join("schedules.git").display().to_string(),
                )
                .replace("/usr/local/", &format!("{}/", program.state.path().display()));
            let mut words = shlex::split(&line).unwrap_or_else(|| panic!("cannot split `{line}`"));
            words.truncate(words.iter().position(|word| word == ">").unwrap_or(words.len()));
            let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = if path == "watch" {
                watched(&program, &arguments)
            } else {
                program.run(&arguments)
            };
            assert_eq!(
                ended.code,
                Some(other.map_or(0, |(_, code)| *code)),
                "{example}: {ended:?}"
            );
            if path.starts_with("import") {
                // They are nobody's jobs: what they ask for is the operator's to allow.
                for made in ["jobs/tab.yaml", "jobs/imported.yaml"] {
                    drop(fs::remove_file(program.state.path().join(made)));
                }
            }
            // With `--logs`, what it prints is the job's own.
            if path == "trigger" && !example.contains("--logs") {
                run = ended.stdout.trim_end().to_owned();
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} examples");
}

/// A `watch` that is told to end as soon as it is at work.
fn watched(program: &Program, arguments: &[&str]) -> Ended {
    let mut child = spawn(program, arguments);
    wait_until("it watches", || {
        assert_eq!(child.try_wait().expect("look at it"), None, "{arguments:?} ended");
        program.run(&["down"]).stderr.contains("a watch is running")
    });
    let sent = Process::new("kill").arg(child.id().to_string()).status();
    assert!(sent.expect("kill").success());
    wait_for(&mut child);
    Ended::of(child.wait_with_output().expect("read its output"))
}

/// Each is carried out, on a ledger and without an engine: it may end with "no engine" or "no such
/// directory", but never as wrong usage.
#[test]
fn every_example_of_the_help_runs() {
    let mut seen = 0;
    for (_, command) in leaves(&tree(), "") {
        let examples = examples(&command);
        for example in examples {
            let program = Program::without_engine();
            shop::fill(program.state.path());
            let mut words = shlex::split(&example).unwrap_or_else(|| panic!("cannot split `{example}`"));
            if let Some(redirection) = words.iter().position(|word| word == ">") {
                words.truncate(redirection);
            }
            // `wait` and `logs -f` of what runs would go on for ever; a folder of the system is not ours.
            let words: Vec<String> = words
                .into_iter()
                .map(|word| word.replace("/usr/local/", &format!("{}/", program.state.path().display())))
                .collect();
            let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = program.run(&arguments);
            let said = format!("{example}\n{}", ended.stderr);
            assert!(!ended.stderr.contains("--help` shows how to use it"), "{said}");
            let code = ended.code.unwrap_or(-1);
            assert!([0, 1, 3, 4, 125].contains(&code), "{code}: {said}");
            let reads_the_ledger = [
                "ls",
                "history",
                "inspect",
                "next",
                "completions",
                "man",
                "version",
            ];
            if reads_the_ledger.contains(&arguments[0]) {
                assert_eq!(code, 0, "{said}");
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} examples");
}

/// What a command asks of the engine stands in a snapshot of `requests`, or it asks nothing at all.
#[test]
fn every_command_has_its_requests_written_down() {
    let mut written: BTreeSet<String> = SILENT.iter().map(ToString::to_string).collect();
    for entry in fs::read_dir(Path::new(README).with_file_name("tests/it/snapshots")).expect("a folder") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a text");
        let command = name
            .strip_prefix("it__requests__every_request_of_every_command@")
            .and_then(|rest| rest.strip_suffix(".snap"));
        if let Some(command) = command {
            let is_new = written.insert(command.replace('-', " "));
            assert!(is_new, "`{command}` asks the engine, and is not silent");
        }
    }
    let known: BTreeSet<String> = commands().into_iter().collect();
    assert_eq!(
        written, known,
        "record a new command in `requests`, or name it as silent"
    );
}

#[test]
fn every_command_has_a_manual_page() {
    let program = Program::without_engine();
    let folder = program.state.path().join("man");
    program.run(&["man", "--dir", &folder.display().to_string()]).ok();
    let mut pages: Vec<(String, String)> = leaves(&tree(), "docker-scheduler ")
        .into_iter()
        .map(|(path, command)| {
            (
                path.replace(' ', "-"),
                command.get_about().map(ToString::to_string).unwrap_or_default(),
            )
        })
        .collect();
    pages.push(("docker-scheduler".into(), "Containers on a schedule".into()));
    for (name, about) in pages {
        let page = fs::read_to_string(folder.join(format!("{name}.1")))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            page.contains(".SH NAME") && page.contains(".SH OPTIONS"),
            "{name}"
        );
        // Further on there may be what roff writes in its own way.
        let words = about
            .split(|c: char| !c.is_alphanumeric())
            .next()
            .expect("a word");
        assert!(page.contains(words), "{name}: {about}");
    }
    let list = program.run(&["man", "list", "images"]).ok();
    assert_eq!(
        list,
        fs::read_to_string(folder.join("docker-scheduler-list-images.1")).expect("its page")
    );
    assert!(list.contains("docker\\-scheduler\\-list\\-images"), "{list}");
    let plan = program.run(&["man", "plan"]).ok();
    assert!(
        plan.contains("Examples:") && plan.contains("\\-\\-detailed\\-exitcode"),
        "{plan}"
    );
}

#[test]
fn a_shell_takes_its_completions() {
    let program = Program::without_engine();
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef docker-scheduler"),
        ("fish", "complete -c docker-scheduler"),
    ] {
        let script = program.run(&["completions", shell]).ok();
        assert!(
            script.contains(mark) && script.contains("cancel"),
            "{shell}: {script}"
        );
    }
    let script = program.state.path().join("completions");
    fs::write(&script, program.run(&["completions", "bash"]).ok()).expect("written");
    let complete = format!(
        "source {}; F=$(complete -p docker-scheduler | sed 's/.*-F \\([^ ]*\\).*/\\1/'); COMP_WORDS=(docker-scheduler can); COMP_CWORD=1; $F docker-scheduler can docker-scheduler; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let bash = Process::new("bash")
        .args(["-c", &complete])
        .output()
        .expect("bash");
    let bash = Ended::of(bash);
    assert_eq!((bash.stdout.trim(), bash.code), ("cancel", Some(0)), "{bash:?}");
}

/// What `--help` says of each command, whole.
#[test]
fn help_of_every_command() {
    let program = Program::without_engine();
    let mut names = commands();
    names.push("list".into());
    for path in names {
        let arguments: Vec<&str> = path.split(' ').chain(["--help"]).collect();
        let text = program.run(&arguments).ok();
        // The global options are the same in each.
        let text = text
            .split("Global options:")
            .next()
            .unwrap_or_default()
            .to_owned();
        insta::with_settings!({snapshot_suffix => path.replace(' ', "-"), omit_expression => true}, {
            insta::assert_snapshot!(text);
        });
    }
    assert!(Path::new(README).exists());
}
