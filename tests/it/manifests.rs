//! A corpus of broken manifests: `tests/manifests/broken/*.yaml`, and beside each what `validate` says
//! of it, as text and as JSON. `BLESS=1` writes it anew; read the diff.

pub mod keys;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const BROKEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/broken");

/// `validate` of a folder `jobs` that holds these files.
fn validate(files: &[(&str, &[u8])], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let jobs = folder.path().join("jobs");
    fs::create_dir(&jobs).expect("a folder");
    for (name, bytes) in files {
        fs::write(jobs.join(name), bytes).expect("written");
    }
    Command::new(env!("CARGO_BIN_EXE_docker-scheduler"))
        .args(["validate", "jobs"])
        .args(arguments)
        .env_clear()
        .env("HOME", folder.path())
        .env("DOCKER_SCHEDULER_STATE", folder.path())
        .env("DOCKER_SCHEDULER_CONFIG", "")
        .current_dir(folder.path())
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn broken() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(BROKEN)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    found.sort();
    found
}

/// Text, and then JSON, of one manifest.
fn transcript(path: &Path) -> String {
    let bytes = fs::read(path).expect("a manifest");
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let said = validate(&[(name, &bytes)], &[]);
    assert_eq!(said.status.code(), Some(3), "{name}: {said:?}");
    assert!(said.stdout.is_empty(), "{name}: data beside diagnostics");
    let json = validate(&[(name, &bytes)], &["--format", "json"]);
    assert_eq!(json.status.code(), Some(3), "{name}: {json:?}");
    assert!(json.stderr.is_empty(), "{name}: {json:?}");
    format!("{}\n{}", text(&said.stderr), text(&json.stdout))
}

#[test]
fn every_broken_manifest_is_explained() {
    let bless = std::env::var_os("BLESS").is_some();
    let corpus = broken();
    assert!(corpus.len() >= 60, "only {} manifests", corpus.len());
    let mut wrong = Vec::new();
    for path in corpus {
        let said = transcript(&path);
        let golden = path.with_extension("out");
        if bless {
            fs::write(&golden, &said).expect("written");
        } else if fs::read_to_string(&golden).unwrap_or_default() != said {
            wrong.push(format!("=== {}\n{said}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "not as blessed:\n{}", wrong.concat());
}

/// What Compose and the engine's own jobs refuse, each at its place; nothing of it is an error without the flag.
#[test]
fn portable_manifests_are_those_that_compose_takes() {
    let text = "name: t\njobs:\n  macro: {image: b, triggers: {schedule: [\"@daily\"]}}\n  named: {image: b, triggers: \
                {schedule: [\"0 9 * * mon\"]}}\n  several: {image: b, triggers: {schedule: [\"0 1 * * *\", \"0 2 * * *\"]}}\n  \
                manual: {image: b, triggers: {manual: true, schedule: [\"0 1 * * *\"]}}\n  neither: {image: b, triggers: \
                {}}\n  every: {image: b, triggers: {manual: true}, x-scheduler: {every: 1h}}\n  retried: {image: b, triggers: \
                {schedule: [\"0 1 * * *\"]}, x-scheduler: {retries: 2}}\n  exec: {command: \"true\", triggers: {schedule: [\"0 1 \
                * * *\"]}, x-scheduler: {exec: {container: web}}}\n  good: {image: b, triggers: {schedule: [\"0 1 * * \
                1\"]}}\nsecrets: {inline: {content: text}}\n";
    let said = validate(&[("a.yaml", text.as_bytes())], &[]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let said = validate(
        &[("a.yaml", text.as_bytes())],
        &["--portable", "--format", "json"],
    );
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    let mut found: Vec<(u64, String)> = self::text(&said.stdout)
        .lines()
        .map(|line| {
            let found: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(found["severity"], "error");
            let line = found["line"].as_u64().expect("a line");
            (line, found["message"].as_str().expect("a message").to_owned())
        })
        .collect();
    found.sort();
    let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10, 12], "{found:#?}");
    let good = "name: t\njobs: {j: {image: b, triggers: {schedule: [\"0 1 * * 1\"]}}}\n";
    let said = validate(&[("a.yaml", good.as_bytes())], &["--portable"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
}

/// The place that a JSON line names holds what the caret is under.
#[test]
fn lines_and_columns_are_those_of_an_editor() {
    let manifest = "name: t\r\njobs:\r\n  j:\r\n    image: busybox\r\n    labels: {größe: 1}\r\n    größe: 1\r\n    triggers: {manual: true}\r\n";
    for bom in ["", "\u{feff}"] {
        let bytes = format!("{bom}{manifest}");
        let said = validate(&[("a.yaml", bytes.as_bytes())], &["--format", "json"]);
        let found: serde_json::Value = serde_json::from_slice(&said.stdout).expect("one object");
        assert_eq!(found["line"], 6);
        assert_eq!((&found["column"], &found["end_column"]), (&5.into(), &10.into()));
    }
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_mistake() {
    let manifest =
        "name: t\njobs:\n  j:\n    image: busybox\n    command: [a, b]\n    triggers: {manual: true}\n";
    let crlf = manifest.replace('\n', "\r\n");
    for text in [
        format!("\u{feff}{manifest}"),
        crlf.clone(),
        format!("\u{feff}{crlf}"),
    ] {
        let said = validate(&[("a.yaml", text.as_bytes())], &[]);
        assert_eq!(said.status.code(), Some(0), "{said:?}");
    }
}

#[test]
fn a_file_without_a_job_is_no_mistake() {
    for text in [
        "",
        "\n\n",
        "# nothing yet\n",
        "---\n",
        "---\n# nothing\n...\n",
        "\u{feff}",
    ] {
        let said = validate(&[("a.yaml", text.as_bytes())], &[]);
        assert_eq!(said.status.code(), Some(0), "{text:?}: {said:?}");
    }
}

/// Each with what must stand in the message. Bounds are generous: a hang or a crash is what is looked for.
#[test]
fn hostile_manifests_cost_bounded_time_and_memory() {
    let deep = |open: &str, close: &str| format!("x: {}1{}\n", open.repeat(10_000), close.repeat(10_000));
    let mut indented = String::from("x:\n");
    for depth in 1..1_000 {
        indented.push_str(&format!("{}k:\n", " ".repeat(depth)));
    }
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for at in 1..60 {
        let aliases = vec![format!("*a{}", at - 1); 9].join(", ");
        bomb.push_str(&format!("a{at}: &a{at} [{aliases}]\n"));
    }
    let huge_text = format!(
        "x-a: &a {}\nx-b: [{}]\n",
        "y".repeat(500_000),
        vec!["*a"; 1_000].join(",")
    );
    let many_keys: String = (0..60_000).map(|at| format!("k{at}: 1\n")).collect();
    let many_errors = format!(
        "jobs: {{{}}}\n",
        (0..40_000).map(|at| format!("J{at}: 1,")).collect::<String>()
    );
    let long_line = format!(
        "jobs: {{j: {{image: b, triggers: {{manual: true}}, user: [\"{}\"]}}}}\n",
        "é".repeat(400_000)
    );
    let variables = format!(
        "jobs: {{j: {{image: b, triggers: {{manual: true}}, user: \"{}\"}}}}\n",
        "${A:-".repeat(10_000)
    );
    let cron = format!(
        "jobs: {{j: {{image: b, triggers: {{schedule: [\"{} * * * *\"]}}}}}}\n",
        "1,".repeat(100_000)
    );
    for (name, text, message) in [
        ("lists", deep("[", "]"), "nested deeper"),
        ("mappings", deep("{a: ", "}"), "nested deeper"),
        (
            "never closed",
            format!("x: {}", "[".repeat(500_000)),
            "nested deeper",
        ),
        ("indents", indented, "nested deeper"),
        ("laughs", bomb, "aliases of this file"),
        ("huge text", huge_text, "aliases of this file"),
        ("keys", many_keys, "more findings are not shown"),
        ("errors", many_errors, "more findings are not shown"),
        ("long line", long_line, "must be a text"),
        ("variables", variables, "error"),
        ("cron", cron, "error"),
        (
            "over a MiB",
            format!("# {}\n", "x".repeat(1 << 20)),
            "larger than 1 MiB",
        ),
    ] {
        let started = Instant::now();
        let said = validate(&[("a.yaml", text.as_bytes())], &[]);
        let spent = started.elapsed();
        let stderr = text_of(&said.stderr);
        assert_eq!(said.status.code(), Some(3), "{name}: {stderr}");
        assert!(stderr.contains(message), "{name}: {stderr}");
        assert!(
            said.stderr.len() < 200_000,
            "{name}: {} bytes were said",
            said.stderr.len()
        );
        assert!(spent < Duration::from_secs(60), "{name}: took {spent:?}");
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A hundred megabytes are never read into memory: the process could not have them.
#[test]
fn a_file_of_100_mb_is_refused_by_its_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = fs::File::create(folder.path().join("a.yaml")).expect("made");
    file.set_len(100 << 20).expect("a sparse file");
    let said = Command::new("sh")
        .args(["-c", "ulimit -v 1000000; exec \"$0\" validate . 2>&1; true"])
        .arg(env!("CARGO_BIN_EXE_docker-scheduler"))
        .env("DOCKER_SCHEDULER_STATE", folder.path())
        .current_dir(folder.path())
        .output()
        .expect("the program runs");
    assert!(text(&said.stdout).contains("larger than 1 MiB"), "{said:?}");
}
