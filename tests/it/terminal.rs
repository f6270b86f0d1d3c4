//! The program on a terminal, which `script` pretends to be: colours, widths, and what is left of
//! them in a pipe.

use std::process::Command;

use crate::cli::{Ended, Program};
use crate::rig::{IMAGE, Rig};
use crate::shop;

/// What a person sees on a terminal of so many columns; both outputs are one there.
fn seen(program: &Program, columns: u16, settings: &[(&str, &str)], line: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_docker-scheduler");
    let shell = format!("stty cols {columns} rows 50; {binary} {line}");
    let mut command = Command::new("script");
    let inner = program.command();
    command
        .env_clear()
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TERM", "xterm-256color")
        .envs(settings.iter().copied())
        .current_dir(program.state.path())
        .args(["-qec", &shell, "/dev/null"])
        .stdin(std::process::Stdio::null());
    let ended = Ended::of(command.output().expect("`script` is a part of bsdutils"));
    assert!(ended.stderr.is_empty(), "{ended:?}");
    ended.stdout.replace("\r\n", "\n")
}

fn program() -> Program {
    let program = Program::without_engine();
    shop::fill(program.state.path());
    program
}

#[test]
fn colours_are_for_terminals_and_say_nothing_alone() {
    let program = program();
    let coloured = seen(&program, 80, &[], "logs nope");
    assert!(
        coloured.contains("\u{1b}[1m\u{1b}[31merror:") || coloured.contains("\u{1b}[1;31merror:"),
        "{coloured:?}"
    );
    let plain = program.run(&["logs", "nope"]).stderr;
    assert_eq!(without_colours(&coloured), plain);
    for settings in [
        &[("NO_COLOR", "1")][..],
        &[("DOCKER_SCHEDULER_COLOR", "never")],
        &[("TERM", "dumb")],
    ] {
        assert_eq!(seen(&program, 80, settings, "logs nope"), plain, "{settings:?}");
    }
    assert_eq!(seen(&program, 80, &[], "--color never logs nope"), plain);
    let kept = seen(&program, 80, &[("NO_COLOR", "1")], "--color always logs nope");
    assert!(kept.contains('\u{1b}'), "a flag wins over a variable: {kept:?}");
    let help = seen(&program, 80, &[], "--help");
    assert_eq!(
        without_colours(&help).lines().next(),
        Some("Containers on a schedule, as code."),
    );
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[test]
fn a_list_fits_the_width_of_the_terminal() {
    let program = program();
    for columns in [40, 60, 200] {
        let table = seen(&program, columns, &[], "history");
        for line in table.lines() {
            assert!(line.chars().count() <= usize::from(columns), "{columns}: {line}");
        }
        assert_eq!(table.contains('…'), columns < 100, "{columns}: {table}");
    }
    let whole = seen(&program, 40, &[], "history --no-trunc");
    assert!(whole.contains("exit code 3"), "{whole}");
    let piped = program.run(&["history"]).ok();
    assert!(piped.contains("exit code 3") && !piped.contains('…'), "{piped}");
    let help = without_colours(&seen(&program, 60, &[], "history --help"));
    assert!(help.lines().all(|line| line.chars().count() <= 60), "{help}");
}

#[test]
fn a_pull_shows_its_progress_on_a_terminal_and_two_lines_elsewhere() {
    let program = Program::on(Rig::shared());
    let line = ["run", "--rm", "localhost:1/no/such:image", "true"];
    let piped = program.run(&line).stderr;
    assert!(
        piped.starts_with("pulling localhost:1/no/such:image, which"),
        "{piped}"
    );
    assert!(!piped.contains('\u{1b}'), "{piped:?}");
    let terminal = seen(&program, 80, &[], &line.join(" "));
    assert!(
        terminal.contains("pulling localhost:1/no/such:image"),
        "{terminal}"
    );
    let ran = seen(&program, 80, &[], &format!("run --rm {IMAGE} echo hello"));
    assert!(ran.ends_with("hello\n"), "{ran:?}");
}
