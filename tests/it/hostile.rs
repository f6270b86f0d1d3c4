//! Every command over arguments that nobody should type: whatever comes in, one clear error or an
//! ordinary answer goes out, with an exit code of the documented set, soon.
//!
//! The commands and their flags are read from the program itself, so that a new one is met here
//! without being listed.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use clap::{Arg, Command};
use regex::Regex;

use crate::cli::{Program, hostile_arguments};
use crate::fake_engine::FakeEngine;
use crate::shop;

/// What the README promises; 255 would be a container's.
const DOCUMENTED: [i32; 11] = [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 130];

/// Words that only a programmer of this program knows.
const INNER_WORDS: [&str; 17] = [
    "panicked",
    "RUST_BACKTRACE",
    "ParseIntError",
    "InvalidDigit",
    "invalid digit found",
    "number too large to fit",
    "number would be zero",
    "cannot parse integer",
    "unwrap()",
    "Some(",
    "None)",
    "Err(",
    "Utf8Error",
    "core::",
    "clap::",
    "docker_scheduler::",
    // A name that was to be said and is not there.
    "``",
];

/// No command takes that long to refuse an argument; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every command without subcommands, by the words that name it.
fn leaves() -> Vec<(Vec<String>, Command)> {
    fn walk(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, Command)>) {
        let subs: Vec<&Command> = command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
            .collect();
        if !path.is_empty() && (subs.is_empty() || command.get_name() == "list") {
            found.push((path.to_vec(), command.clone()));
        }
        for sub in subs {
            walk(sub, &[path, &[sub.get_name().to_owned()]].concat(), found);
        }
    }
    let mut root = docker_scheduler::cli::command();
    root.build();
    let mut found = Vec::new();
    walk(&root, &[], &mut found);
    assert!(found.len() > 20, "only {} commands found", found.len());
    found
}

/// One value of each kind, for flags: every flag with every value would take minutes.
fn a_few() -> Vec<String> {
    let mut few: Vec<String> = [
        "",
        "../../etc/passwd",
        "-1",
        "99999999999999999999",
        "ü\u{202e}\u{1b}[2J\n",
        "{{.Nope}}",
    ]
    .map(String::from)
    .to_vec();
    few.push("x".repeat(100_000));
    few
}

/// The program on the shop's ledger, far enough down that no `..` leaves its folder.
struct Shop {
    program: Program,
    /// Behind it, an engine that listens.
    engine: Option<FakeEngine>,
}

impl Shop {
    fn new() -> Shop {
        Shop::filled(Program::without_engine(), None)
    }

    /// Where an argument that is let through would be met by an engine.
    fn with_engine() -> Shop {
        let engine = FakeEngine::remembering("1.41");
        let program = Program {
            host: format!("unix://{}", engine.socket().display()),
            ..Program::without_engine()
        };
        Shop::filled(program, Some(engine))
    }

    fn filled(program: Program, engine: Option<FakeEngine>) -> Shop {
        shop::fill(program.state.path());
        std::fs::create_dir_all(program.state.path().join("a/b/c")).expect("folders");
        Shop { program, engine }
    }

    /// Starts the program; one that does not end is a failure.
    #[track_caller]
    fn check(&self, arguments: &[&str]) -> i32 {
        let shown: String = format!("{arguments:?}").chars().take(200).collect();
        let mut child = self
            .program
            .command()
            .args(arguments)
            .current_dir(self.program.state.path().join("a/b/c"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the program");
        let stdout = reader(child.stdout.take().expect("piped"));
        let stderr = reader(child.stderr.take().expect("piped"));
        let code = within_patience(&mut child, &shown);
        let stdout = stdout.join().expect("read stdout");
        let stderr = stderr.join().expect("read stderr");
        assert!(DOCUMENTED.contains(&code), "{shown} ended with {code}: {stderr}");
        for word in INNER_WORDS {
            assert!(!stderr.contains(word), "{shown} says `{word}`: {stderr}");
        }
        let errors = stderr.lines().filter(|line| line.starts_with("error:")).count();
        // Its answer may be "no", which is no error.
        let answers = arguments[0] == "health" && code == 1 && !stdout.is_empty();
        if code == 0 || answers {
            assert_eq!(errors, 0, "{shown} succeeded and says: {stderr}");
        } else {
            // A file that cannot be read has an error for each of its lines, with its place.
            let places = stderr
                .lines()
                .filter(|line| line.trim_start().starts_with("--> "))
                .count();
            // Why a job is not known may be said before.
            let reasons = stderr
                .lines()
                .filter(|line| line.ends_with("stays in force"))
                .count();
            let expected = 1..=1 + places + reasons;
            assert!(
                expected.contains(&errors),
                "{shown} ended with {code} and says: {stderr}"
            );
        }
        assert!(stderr.len() < 20_000, "{shown}: {} bytes of talk", stderr.len());
        let steers = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
        assert!(!stderr.contains(steers), "{shown}: {stderr:?}");
        assert!(!stdout.contains(steers), "{shown}: {stdout:?}");
        code
    }
}

fn reader(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("read the program's output");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn within_patience(child: &mut Child, shown: &str) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("look at the program") {
            return status.code().unwrap_or(-1);
        }
        if start.elapsed() > PATIENCE {
            drop(child.kill());
            panic!("{shown}: does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a command needs beside the argument under test.
fn needed<'a>(command: &Command, except: Option<&str>) -> Vec<&'a str> {
    command
        .get_positionals()
        .filter(|positional| positional.is_required_set() && Some(positional.get_id().as_str()) != except)
        .map(|_| "shop.backup")
        .collect()
}

#[test]
fn no_positional_argument_surprises_a_command() {
    let shop = Shop::with_engine();
    for (path, _) in leaves() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        for hostile in hostile_arguments() {
            shop.check(&[&path[..], &[hostile.as_str()]].concat());
            // After `--` it is an argument whatever it begins with.
            if hostile.starts_with('-') {
                shop.check(&[&path[..], &["--", hostile.as_str()]].concat());
            }
        }
        shop.check(&[&path[..], &["--"]].concat());
    }
    // Whatever was typed, it has reached no place of the engine that no command asks.
    let places = Regex::new(PLACES).expect("a pattern");
    let requests = shop.engine.expect("an engine").requests();
    for request in &requests {
        let asked = format!("{} {}", request.method, request.endpoint());
        assert!(places.is_match(&asked), "{asked:.300}");
    }
    assert!(requests.len() > 100, "only {} requests", requests.len());
}

/// The places of the engine's API that commands may ask; a name has no slash and begins with no dot.
const PLACES: &str = concat!(
    r"^(GET /(version|info|events|networks|volumes|containers/json|images/json)",
    r"|GET /containers/[A-Za-z0-9][A-Za-z0-9_.-]*/(json|logs)",
    r"|GET /images/[A-Za-z0-9][A-Za-z0-9_./:@-]*/json",
    r"|HEAD /containers/[A-Za-z0-9][A-Za-z0-9_.-]*/archive",
    r"|POST /(volumes|containers|images)/create",
    r"|POST /containers/[A-Za-z0-9][A-Za-z0-9_.-]*/(start|stop|attach|update|wait)",
    r"|DELETE /(containers|volumes)/[A-Za-z0-9][A-Za-z0-9_.-]*)$",
);

#[test]
fn no_value_of_a_flag_surprises_a_command() {
    let shop = Shop::new();
    let takes_value = |flag: &&Arg| flag.get_long().is_some() && flag.get_action().takes_values();
    for (at, (path, command)) in leaves().into_iter().enumerate() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        // Global flags are the same everywhere: once is enough.
        let flags = command
            .get_arguments()
            .filter(takes_value)
            .filter(|flag| at == 0 || !flag.is_global_set());
        for flag in flags {
            let long = format!("--{}", flag.get_long().expect("long"));
            for value in a_few() {
                let joined = format!("{long}={value}");
                let arguments = [&path[..], &[joined.as_str()], &needed(&command, None)].concat();
                shop.check(&arguments);
            }
            let nothing_after = [&path[..], &[long.as_str()]].concat();
            assert_ne!(shop.check(&nothing_after), 0, "{nothing_after:?} needs a value");
        }
    }
}

#[test]
fn no_flag_surprises_a_command_that_is_given_it_twice() {
    let shop = Shop::new();
    for (path, command) in leaves() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        // Those that go on until something happens.
        let follows = |flag: &&Arg| !(path == ["logs"] && flag.get_long() == Some("follow"));
        let switches = command
            .get_arguments()
            .filter(|flag| flag.get_long().is_some() && !flag.get_action().takes_values())
            .filter(follows);
        for flag in switches {
            let long = format!("--{}", flag.get_long().expect("long"));
            let arguments = [
                &path[..],
                &[long.as_str(), long.as_str()],
                &needed(&command, None),
            ]
            .concat();
            shop.check(&arguments);
            let with_value = format!("{long}=yes");
            assert_eq!(
                shop.check(&[&path[..], &[with_value.as_str()]].concat()),
                1,
                "{path:?} {with_value}"
            );
        }
    }
}

#[test]
fn the_table_of_commands_is_not_empty() {
    let commands = leaves();
    for name in ["plan", "run", "cancel", "list"] {
        assert!(commands.iter().any(|(path, _)| path[0] == name), "{name}");
    }
    let flags: usize = commands
        .iter()
        .map(|(_, command)| command.get_arguments().count())
        .sum();
    assert!(flags > 100, "only {flags} arguments found");
}
