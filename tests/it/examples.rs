//! What a newcomer copies must work: schedules.d, every example, and every command that a README shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use docker_scheduler::manifest::{Settings, render};
use docker_scheduler::source;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Warnings that an example is there to show: folder, and how the text begins.
const WARNINGS: [(&str, &str); 3] = [
    ("examples/zones", "job `offices.in-the-gap`: on "),
    ("examples/zones", "job `offices.in-the-gap`: on "),
    (
        "schedules.d",
        "job `starter.heartbeat`: runs every 10s, more often than once a minute",
    ),
];

fn root(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folders below examples/, as written in a command.
fn examples() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root("examples"))
        .expect("there are examples")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.is_dir())
        .map(|path| format!("examples/{}", path.file_name().unwrap().to_string_lossy()))
        .collect();
    names.sort();
    names
}

/// Where an example has its manifests: beside files of other kinds in a folder of their own.
fn manifests_of(example: String) -> String {
    let inner = ["jobs", "schedules"].map(|name| format!("{example}/{name}"));
    let found = inner.into_iter().find(|folder| root(folder).is_dir());
    found.unwrap_or(example)
}

/// All folders of manifests that a newcomer may start from.
fn folders() -> Vec<String> {
    let mut folders: Vec<String> = examples().into_iter().map(manifests_of).collect();
    folders.push("schedules.d".to_owned());
    folders
}

/// The program in this folder, with settings and state of nobody.
fn program(arguments: &[&str]) -> Output {
    let nobody = tempfile::tempdir().expect("a folder");
    Command::new(env!("CARGO_BIN_EXE_docker-scheduler"))
        .args(arguments)
        .env_clear()
        .env("HOME", nobody.path())
        .env("DOCKER_SCHEDULER_STATE", nobody.path())
        .current_dir(ROOT)
        .output()
        .expect("the program runs")
}

#[test]
fn every_example_loads() {
    for folder in folders() {
        let (files, loaded) = source::load(&root(&folder), &Settings::default()).expect(&folder);
        let report = render(&loaded.diagnostics, &files.texts(), &format!("{folder}/"), false);
        assert!(loaded.diagnostics.is_empty(), "{report}");
        assert!(!loaded.desired.jobs.is_empty(), "{folder} declares no job");
        // A stack declares no jobs, and Docker's own deploy takes no `name:` in one.
        for file in files
            .manifests
            .iter()
            .filter(|file| !file.path.ends_with("stack.yml"))
        {
            let text = file.text.as_ref().expect("read");
            let named = text.lines().any(|line| line.starts_with("name: "));
            assert!(named, "{folder}/{}: sets no `name:`", file.path);
            let (schema, _) = text.split_once('\n').expect("lines");
            let schema = schema.strip_prefix("# yaml-language-server: $schema=");
            let schema = schema.unwrap_or_else(|| panic!("{folder}/{}: names no schema", file.path));
            let beside = root(&folder).join(&file.path).with_file_name(schema);
            assert!(beside.is_file(), "{folder}/{}: there is no {schema}", file.path);
        }
    }
}

#[test]
fn validate_warns_only_of_what_an_example_shows() {
    let mut warnings = Vec::new();
    for folder in folders() {
        let output = program(&["validate", &folder, "--format", "json"]);
        assert!(output.status.success(), "{output:?}");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let found: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let message = found["message"].as_str().expect("a message").to_owned();
            assert!(found["column"].as_u64() > Some(1), "it is at its key: {found}");
            warnings.push((folder.clone(), message));
        }
    }
    assert_eq!(warnings.len(), WARNINGS.len(), "{warnings:#?}");
    for ((folder, message), (expected, start)) in warnings.iter().zip(WARNINGS) {
        assert_eq!(folder, expected);
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn the_papers_are_there() {
    for paper in ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "LICENSE"] {
        assert!(!text(&root(paper)).trim().is_empty(), "{paper} is empty");
    }
    for folder in examples() {
        let readme = text(&root(&folder).join("README.md"));
        assert!(readme.starts_with("# "), "{folder}/README.md has no heading");
    }
}

#[test]
fn every_example_is_a_how_to() {
    let list = text(&root("docs/how-to.md"));
    for folder in examples() {
        let link = format!("(../{folder}/README.md)");
        assert!(list.contains(&link), "docs/how-to.md does not lead to {folder}");
    }
}

#[test]
fn the_readme_names_every_command() {
    let readme = text(&root("README.md"));
    for command in commands() {
        assert!(
            readme.contains(&format!("`{command}`")) || readme.contains(&format!("`{command} ")),
            "README.md does not mention `{command}`"
        );
    }
}

#[test]
fn the_manifests_of_the_readme_load() {
    let manifests = blocks(&text(&root("README.md")), "yaml");
    assert!(!manifests.is_empty(), "README.md shows no manifest");
    for manifest in manifests {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("readme.yaml"), &manifest).expect("written");
        let (files, loaded) = source::load(folder.path(), &Settings::default()).expect("loaded");
        let report = render(&loaded.diagnostics, &files.texts(), "", false);
        assert!(loaded.diagnostics.is_empty(), "README.md:\n{report}");
    }
}

/// With `--help` behind it, a command is parsed and not carried out.
#[test]
fn every_command_shown_is_one_that_the_program_takes() {
    let mut seen = 0;
    for (paper, line) in shown_commands() {
        let line = line.replace("…", "x");
        let words = shlex::split(&line).unwrap_or_else(|| panic!("{paper}: cannot split `{line}`"));
        let mut arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        // Behind the image of `run` everything is the container's.
        let at = if arguments.first() == Some(&"run") {
            1
        } else {
            arguments.len()
        };
        arguments.insert(at, "--help");
        let output = program(&arguments);
        assert!(
            output.status.success(),
            "{paper}: `{line}`\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for word in words.iter().filter(|word| is_folder_of_ours(word)) {
            assert!(root(word).exists(), "{paper}: `{line}`: there is no {word}");
        }
        seen += 1;
    }
    assert!(seen > 10, "only {seen} commands found");
}

#[test]
fn links_lead_somewhere() {
    for paper in papers() {
        let path = root(&paper);
        let text = text(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let linked = path.parent().expect("a folder").join(file);
            assert!(linked.exists(), "{paper}: there is no {target}");
        }
    }
}

/// Every paper that a newcomer reads.
fn papers() -> Vec<String> {
    let mut papers = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned()];
    papers.extend(examples().iter().map(|folder| format!("{folder}/README.md")));
    for folder in ["docs", "docs/reference"] {
        let pages = fs::read_dir(root(folder)).expect("a folder of pages");
        papers.extend(
            pages
                .map(|page| page.expect("readable").file_name().to_string_lossy().into_owned())
                .filter(|name| name.ends_with(".md"))
                .map(|name| format!("{folder}/{name}")),
        );
    }
    papers.sort();
    papers
}

fn is_folder_of_ours(word: &str) -> bool {
    word.starts_with("examples/") || word == "schedules.d"
}

/// What a person would type, without the prompt: paper and line.
fn shown_commands() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for paper in papers() {
        for block in blocks(&text(&root(&paper)), "console") {
            for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
                let line = line.split("  #").next().unwrap_or_default();
                let first = line.split(" && ").next().unwrap_or_default();
                let first = first.split(" > ").next().unwrap_or_default().trim();
                if first.starts_with("docker-scheduler ") {
                    found.push((paper.clone(), first.to_owned()));
                }
            }
        }
    }
    found
}

/// The fenced blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect()
}

/// The program's own list, from its help.
fn commands() -> BTreeSet<String> {
    let output = program(&["--help"]);
    let help = String::from_utf8(output.stdout).expect("text");
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let names: BTreeSet<String> = list
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    assert!(names.contains("plan") && names.len() > 10, "{names:?}");
    names
}
