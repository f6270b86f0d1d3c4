//! Any text as a file of another program: an import never panics, and what it writes is read by the
//! real reader of manifests.
#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;

use docker_scheduler::manifest::{Diagnostic, Files, ManifestFile, Settings, load};
use docker_scheduler::transfer::{Options, Place, Source, Times, import, import_container};
use libfuzzer_sys::fuzz_target;

const SOURCES: [Source; 4] = [Source::Crontab, Source::Ofelia, Source::Compose, Source::Kubernetes];

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    let options = Options {
        system: choice & 4 != 0,
        place: (choice & 8 != 0).then(|| Place::Image("busybox".to_owned())),
        ..Options::default()
    };
    let imported = match serde_json::from_str::<serde_json::Value>(text) {
        // What an engine would say of a container.
        Ok(container) if choice & 16 != 0 => {
            import_container(&container, Some(&container), &Times::default(), &options)
        }
        _ => import(SOURCES[usize::from(choice) % SOURCES.len()], "file", text, &options),
    };
    assert_eq!(imported.jobs == 0, imported.text.is_empty());
    let files = Files {
        manifests: vec![ManifestFile {
            path: "imported.yaml".to_owned(),
            folder: PathBuf::from("/manifests"),
            text: Ok(imported.text.clone()),
            dot_env: None,
            env_files: BTreeMap::new(),
            commit: None,
            stale: false,
        }],
        paths: BTreeMap::new(),
    };
    let loaded = load(&files, &Settings::default());
    // Values that only an engine judges may be refused; the text itself is never broken.
    let broken = ["syntax", "duplicate-key", "unknown-key", "interpolation"];
    // `${NAME:?…}` asks for a value that nobody has here.
    let is_broken = |found: &Diagnostic| {
        found.is_error() && broken.contains(&found.code) && !found.message.starts_with("required variable")
    };
    assert!(!loaded.diagnostics.iter().any(is_broken), "{}", imported.text);
});
