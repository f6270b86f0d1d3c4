//! `RELIABILITY.md` names a test for each promise: here, that there is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Rows of the two tables: faults and invariants, as the design numbers them.
const FAULTS: usize = 46;
const INVARIANTS: usize = 25;

#[test]
fn every_row_is_there_and_names_tests_that_exist() {
    let text = paper();
    let tests = tests();
    let mut wrong = Vec::new();
    let rows = rows(&text);
    let expected = (1..=FAULTS).map(|number| number.to_string());
    let expected: Vec<String> = expected
        .chain((1..=INVARIANTS).map(|number| format!("I{number}")))
        .collect();
    let numbers: Vec<&String> = rows.iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, expected.iter().collect::<Vec<_>>(), "the rows, in order");
    for (number, row) in &rows {
        let named = references(row);
        if named.is_empty() {
            wrong.push(format!("row {number} names no test"));
        }
    }
    for name in references(&text) {
        if !exists(&name, &tests) {
            wrong.push(format!("there is no test `{name}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_without_a_test_is_noticed() {
    let tests = tests();
    assert!(exists("scenario::pruned", &tests));
    assert!(exists("faults::a_truncated_ledger_is_refused", &tests));
    assert!(!exists("scenario::never_written", &tests));
    assert!(!exists("faults::never_written", &tests));
    assert!(
        !exists("docker::a_truncated_ledger_is_refused", &tests),
        "another module's"
    );
}

fn paper() -> String {
    fs::read_to_string(Path::new(ROOT).join("RELIABILITY.md")).expect("RELIABILITY.md")
}

/// Number and text of each row of the tables.
fn rows(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let number = line.strip_prefix("| ")?.split(" |").next()?;
            let digits = number.strip_prefix('I').unwrap_or(number);
            digits.parse::<u32>().ok()?;
            Some((number.to_owned(), line.to_owned()))
        })
        .collect()
}

/// Everything in backticks that has the form of a test's name.
fn references(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|name| {
            name.contains("::")
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        })
        .map(str::to_owned)
        .collect()
}

/// Module and function of every test in the repository; the module is its file's name, or its folder's.
fn tests() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![
        PathBuf::from(ROOT).join("src"),
        PathBuf::from(ROOT).join("tests/it"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                for function in functions(&text) {
                    for module in modules(&path) {
                        found.insert((module, function.clone()));
                    }
                }
            }
        }
    }
    found
}

/// `src/engine/sim/tests.rs` is `sim`, `tests/it/replies.rs` is `replies`.
fn modules(path: &Path) -> Vec<String> {
    let name = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let own = name(path).unwrap_or_default();
    match own.as_str() {
        "tests" | "mod" => path.parent().and_then(name).into_iter().collect(),
        _ => vec![own],
    }
}

fn functions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            found.extend(rest.split('(').next().map(str::to_owned));
            is_test = false;
        }
    }
    found
}

fn exists(name: &str, tests: &BTreeSet<(String, String)>) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else {
        return false;
    };
    let script = Path::new(ROOT).join(format!("tests/scenarios/{function}.txt"));
    (module == "scenario" && script.is_file()) || tests.contains(&(module.to_owned(), function.to_owned()))
}
