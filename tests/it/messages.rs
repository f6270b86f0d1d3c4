//! Every sentence of the program, by the file that says it, in one snapshot that was read by somebody: errors,
//! headings, hints, help of diagnostics, and lines of the log. A new one, or other words, is a diff there.
//!
//! Found in the sources as texts, so that none is forgotten. What they look like when they are met stands in
//! the snapshots of `words`, the scenarios and the manifests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex::Regex;

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// A string, as Rust writes it.
const TEXT: &str = r#""((?:[^"\\]|\\[\s\S])*)""#;

/// Where sentences stand: what comes before the string.
const PLACES: [(&str, &str); 9] = [
    ("error", r"#\[error\(\s*"),
    ("log", r"tracing::(?:info|warn|error)!\((?:[^;]*?,)??\s*"),
    ("heading", r"CommandError::(?:failed|usage)\(\s*(?:format!\(\s*)?"),
    ("heading", r"CommandError::new\(\s*[\w:]+,\s*(?:format!\(\s*)?"),
    ("hint", r"\.hint\(\s*(?:format!\(\s*)?"),
    ("cause", r"\.caused_by\(\s*(?:format!\(\s*)?"),
    ("help", r"\.help\(\s*(?:format!\(\s*)?"),
    ("diagnostic", r"\b(?:error|warn)\(\s*code::\w+,\s*[^;\x22]*?"),
    ("talk", r"\btalk\(\s*&?(?:format!\(\s*)?"),
];

/// The text of a string, on one line.
fn plain(text: &str) -> String {
    let joined = Regex::new(r"\\\n\s*")
        .expect("a pattern")
        .replace_all(text, "")
        .into_owned();
    joined.replace("\\\"", "\"").replace("\\\\", "\\")
}

fn sources(folder: &Path, into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = path.strip_prefix(SRC).expect("in src").display().to_string();
        if path.is_dir() {
            // The simulated engine speaks to nobody.
            if name != "engine/sim" && !name.ends_with("tests") {
                sources(&path, into);
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("a text");
            let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            into.insert(name, own.to_owned());
        }
    }
}

fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, before) in PLACES {
        let pattern = Regex::new(&format!("{before}{TEXT}")).expect("a pattern");
        for captures in pattern.captures_iter(text) {
            let at = captures.get(0).expect("a match").start();
            let sentence = plain(&captures[1]);
            if !sentence.is_empty() {
                found.push((at, format!("{kind:<11} {sentence}")));
            }
        }
    }
    found.sort();
    found.dedup();
    found.into_iter().map(|(_, sentence)| sentence).collect()
}

#[test]
fn every_sentence_was_read_by_somebody() {
    let mut files = BTreeMap::new();
    sources(Path::new(SRC), &mut files);
    let mut page = String::new();
    for (name, text) in &files {
        let found = sentences(text);
        if !found.is_empty() {
            page.push_str(&format!("{name}\n  {}\n", found.join("\n  ")));
        }
    }
    assert!(page.lines().count() > 500, "hardly any sentence was found");
    insta::assert_snapshot!(page);
}

#[test]
fn sentences_are_found_where_they_stand() {
    let text = r#"
        #[error("cannot read `{}`: {why}", path.display())]
        tracing::warn!(%error, "a last good manifest is unreadable");
        tracing::info!("pulled {}: commit {}", a, b);
        return Err(CommandError::new(ErrorKind::Refused, format!("held: {why}")).hint("do it"));
        sink.error(code::VALUE, node.span.clone(), "not \"this\"").help(format!("but {that}"));
    "#;
    let expected = [
        "error       cannot read `{}`: {why}",
        "log         a last good manifest is unreadable",
        "log         pulled {}: commit {}",
        "heading     held: {why}",
        "hint        do it",
        "diagnostic  not \"this\"",
        "help        but {that}",
    ];
    assert_eq!(sentences(text), expected);
}
