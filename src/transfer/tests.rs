//! Every import is loaded by the real reader of manifests, and compared with its golden form.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::draft::{literal, literals};
use super::yaml::{Yaml, document};
use super::{
    Destination, Exported, Imported, Options, Place, Source, Times, export, import, import_container,
};
use crate::kubernetes::Target;
use crate::manifest::{self, Files, Loaded, ManifestFile, Settings, pictures};
use crate::model::{EngineName, Job, JobName, Trigger};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import");

/// The manifest as `validate` sees it, in a folder of its own.
pub(crate) fn loaded(text: &str) -> Loaded {
    let files = Files {
        manifests: vec![ManifestFile {
            path: "imported.yaml".to_owned(),
            folder: PathBuf::from("/manifests"),
            text: Ok(text.to_owned()),
            dot_env: None,
            env_files: Default::default(),
            commit: None,
            stale: false,
        }],
        paths: Default::default(),
    };
    manifest::load(&files, &Settings::default())
}

/// What is wrong with an imported manifest, less what the operator may allow.
fn errors(text: &str) -> Vec<String> {
    loaded(text)
        .diagnostics
        .iter()
        .filter(|found| found.is_error() && found.code != "policy")
        .map(|found| format!("{}: {}", found.line, found.message))
        .collect()
}

/// `# import: crontab --image busybox` in an input's first line.
fn arguments(file: &Path, text: &str) -> (Source, Options) {
    let line = text.lines().next().unwrap_or_default();
    let (_, words) = line
        .split_once("import: ")
        .unwrap_or_else(|| panic!("{}: its first line says no `import: `", file.display()));
    let mut words = words.split_whitespace();
    let source = match words.next() {
        Some("crontab") => Source::Crontab,
        Some("ofelia") => Source::Ofelia,
        Some("compose") => Source::Compose,
        Some("kubernetes") => Source::Kubernetes,
        other => panic!("{}: unknown source {other:?}", file.display()),
    };
    let mut options = Options::default();
    let (mut service, mut project) = (None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value").to_owned();
        match word {
            "--system" => options.system = true,
            // What the `.env` beside the file says; the command reads it.
            "--dot-env" => options.dot_env = Some(value()),
            "--project" => options.project = Some(value()),
            "--timezone" => options.timezone = Some(value()),
            "--image" => options.place = Some(Place::Image(value())),
            "--exec-container" => options.place = Some(Place::Container(value())),
            "--exec-service" => service = Some(value()),
            "--exec-project" => project = Some(value()),
            other => panic!("{}: unknown flag {other}", file.display()),
        }
    }
    if let Some((service, project)) = service.zip(project) {
        options.place = Some(Place::Service { service, project });
    }
    (source, options)
}

/// Manifest and report, as a person sees both.
fn shown(name: &str, text: &str, imported: &Imported) -> String {
    let texts = BTreeMap::from([(name, text)]);
    format!(
        "{}\n---\n\n{}",
        imported.text,
        pictures(&imported.report, &texts, "", false)
    )
}

#[test]
fn the_corpus_imports_as_it_is_written_down() {
    let mut wrong = Vec::new();
    let mut inputs: Vec<PathBuf> = fs::read_dir(CORPUS)
        .expect("tests/import")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_none_or(|ending| ending != "out"))
        .collect();
    inputs.sort();
    assert!(inputs.len() > 1, "the corpus is there");
    for input in inputs {
        let text = fs::read_to_string(&input).expect("a text");
        let name = input.file_name().unwrap().to_string_lossy().into_owned();
        let (source, options) = arguments(&input, &text);
        let imported = import(source, &name, &text, &options);
        assert_eq!(
            errors(&imported.text),
            Vec::<String>::new(),
            "{name}:\n{}",
            imported.text
        );
        let out = input.with_file_name(format!("{name}.out"));
        let now = shown(&name, &text, &imported);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&out, &now).expect("written");
        } else if fs::read_to_string(&out).unwrap_or_default() != now {
            wrong.push(format!("{name}:\n{now}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "BLESS=1 writes them anew:\n{}",
        wrong.join("\n\n")
    );
}

#[test]
fn line_ends_of_windows_make_no_difference() {
    for (name, source) in [
        ("namespaces.yaml", Source::Kubernetes),
        ("compose.yaml", Source::Compose),
        ("ofelia.ini", Source::Ofelia),
        ("user.crontab", Source::Crontab),
    ] {
        let text = fs::read_to_string(format!("{CORPUS}/{name}")).expect("a file of the corpus");
        let options = Options {
            place: Some(Place::Image("busybox".to_owned())),
            ..Options::default()
        };
        let plain = import(source, name, &text, &options);
        let windows = import(source, name, &text.replace('\n', "\r\n"), &options);
        assert_eq!(windows.text, plain.text, "{name}");
        assert_eq!(windows.report.len(), plain.report.len(), "{name}");
    }
}

/// Texts that look like what is imported, and texts that do not.
fn noise() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[-0-9*/,@a-z]{1,4}( [-0-9*/,a-z]{1,3}){4} [ -~]{0,40}",
        "[A-Z_]{1,6} ?= ?[ -~]{0,12}",
        "(\\*|0) \\* \\* \\* \\* (docker (exec|run) )?[-a-z=:/.$%'\" ]{0,40}",
        "\\[job-(run|exec|local|service-run) \"[ -~]{0,8}\"\\]",
        "(schedule|image|command|container|volume|environment|user) ?= ?[ -~]{0,20}",
        "\\PC{0,30}",
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_gives_a_manifest_that_loads_or_none(text in noise(), system: bool, placed: bool) {
        let options = Options {
            system,
            place: placed.then(|| Place::Image("busybox".to_owned())),
            ..Options::default()
        };
        for source in [Source::Crontab, Source::Ofelia, Source::Compose, Source::Kubernetes] {
            let imported = import(source, "some/file.x", &text, &options);
            prop_assert_eq!(errors(&imported.text), Vec::<String>::new(), "{}", imported.text);
            prop_assert_eq!(imported.jobs == 0, imported.text.is_empty());
        }
    }
}

/// A manifest of one job that Kubernetes has an equal for.
fn mappable() -> impl Strategy<Value = String> {
    let word = || "[-a-zA-Z0-9_$()./ ]{1,12}";
    let words = || prop::collection::vec(word(), 1..4);
    let schedule = prop_oneof![
        Just("30 2 * * *"),
        Just("*/5 8-17 * * mon-fri"),
        Just("@weekly"),
        Just("0 0 1,15 * *"),
    ];
    let zone = prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York")];
    let container = (
        prop::option::of(words()),
        prop::option::of(words()),
        prop::collection::btree_map("[A-Z_]{1,6}", word(), 0..3),
        // One that is no word is an annotation there.
        prop::collection::btree_map("[a-z]{1,6}", "[a-z0-9 ]{0,6}", 0..3),
        prop::option::of(1_u32..70_000),
        prop::option::of(1_u64..5_000),
        prop::option::of(1_u32..9_999),
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let policy = (
        0_u32..5,
        0_u32..5,
        prop::option::of(10_u32..9_999),
        prop::option::of(1_u32..9_999),
    );
    let content = "([ -~]{0,20}\n?){0,3}";
    (schedule, zone, container, flags, policy, content).prop_map(
        |(schedule, zone, container, flags, policy, content)| {
            let (entrypoint, command, environment, labels, user, memory, cpus) = container;
            let mut job = vec![("image".to_owned(), Yaml::text("registry.example.org/a/b:1.2"))];
            let mut set =
                |key: &str, value: Option<Yaml>| job.extend(value.map(|value| (key.to_owned(), value)));
            set("entrypoint", entrypoint.map(literals));
            set("command", command.map(literals));
            let pairs = |map: BTreeMap<String, String>| {
                Yaml::map(map.into_iter().map(|(name, value)| (name, literal(&value))))
            };
            set("environment", Some(pairs(environment)));
            set("labels", Some(pairs(labels)));
            set("user", user.map(|user| Yaml::Text(format!("{user}:{user}"))));
            set("mem_limit", memory.map(|kib| Yaml::Text(format!("{kib}k"))));
            set(
                "cpus",
                cpus.map(|milli| Yaml::Text(format!("{}.{:03}", milli / 1000, milli % 1000))),
            );
            set("read_only", flags.0.then_some(Yaml::Bool(true)));
            set("tty", flags.1.then_some(Yaml::Bool(true)));
            set(
                "tmpfs",
                flags.2.then(|| Yaml::texts(["/run:size=16m", "/var/tmp"])),
            );
            set("cap_drop", flags.3.then(|| Yaml::texts(["ALL"])));
            set(
                "volumes",
                flags
                    .3
                    .then(|| Yaml::texts(["data:/data:ro", "/anonymous", "data:/again"])),
            );
            set("hostname", flags.0.then(|| Yaml::text("box")));
            set("group_add", flags.1.then(|| Yaml::texts(["27", "100"])));
            set("platform", flags.2.then(|| Yaml::text("linux/arm64")));
            set("init", flags.3.then_some(Yaml::Bool(true)));
            set("stdin_open", flags.0.then_some(Yaml::Bool(true)));
            set("mem_reservation", flags.1.then(|| Yaml::text("1k")));
            set("dns", flags.2.then(|| Yaml::texts(["10.0.0.53"])));
            set("dns_opt", flags.3.then(|| Yaml::texts(["ndots:2", "use-vc"])));
            let sysctls = Yaml::map([("net.ipv4.tcp_syncookies", Yaml::text("0"))]);
            set("sysctls", flags.0.then_some(sysctls));
            set(
                "security_opt",
                flags.1.then(|| Yaml::texts(["no-new-privileges:true"])),
            );
            set("extra_hosts", flags.1.then(|| Yaml::texts(["db:10.0.0.1"])));
            // Nothing is written into a container that is read-only.
            let file = |name: &str, target: &str| {
                Yaml::map([
                    ("source", Yaml::text(name)),
                    ("target", Yaml::text(target)),
                    ("mode", Yaml::text("0440")),
                ])
            };
            let configs = vec![Yaml::text("app.ini"), file("app.ini", "/etc/app/again.ini")];
            set("configs", (!flags.0).then_some(Yaml::List(configs)));
            let secrets = vec![file("key", "/etc/key")];
            set("secrets", (!flags.0 && flags.1).then_some(Yaml::List(secrets)));
            set("stop_grace_period", flags.2.then(|| Yaml::text("20s")));
            let entry = Yaml::map([("cron", Yaml::text(schedule)), ("timezone", Yaml::text(zone))]);
            set(
                "triggers",
                Some(Yaml::map([("schedule", Yaml::List(vec![entry]))])),
            );
            let (succeeded, failed, deadline, timeout) = policy;
            let kept = [
                ("succeeded", Yaml::Int(succeeded.into())),
                ("failed", Yaml::Int(failed.into())),
            ];
            let mut extension = vec![("history", Yaml::map(kept))];
            let seconds = |seconds: u32| Yaml::Text(format!("{seconds}s"));
            extension.extend(deadline.map(|deadline| ("starting_deadline", seconds(deadline))));
            extension.extend(timeout.map(|timeout| ("timeout", seconds(timeout))));
            set("x-scheduler", Some(Yaml::map(extension)));
            let job = Yaml::map([("job", Yaml::Map(job))]);
            let volumes = Yaml::map([("data", Yaml::map([("name", Yaml::text("app-data"))]))]);
            let content = |name: &str| Yaml::map([(name, Yaml::map([("content", literal(&content))]))]);
            document(&Yaml::map([
                ("name", Yaml::text("p")),
                ("jobs", job),
                ("volumes", volumes),
                ("configs", content("app.ini")),
                ("secrets", content("key")),
            ]))
        },
    )
}

/// The one job of a manifest, without what only says where it stands.
fn only_job(text: &str) -> Job {
    let loaded = loaded(text);
    assert!(!loaded.has_errors(), "{:?}\n{text}", loaded.diagnostics);
    let job = loaded.desired.jobs.into_values().next().expect("a job");
    Job {
        name: JobName::new("x", "x").unwrap(),
        origin: Default::default(),
        canonical: String::new(),
        ..job
    }
}

/// What a crontab's lines call.
fn to_crontab() -> Destination {
    let call = [
        "docker-scheduler",
        "--state",
        "/srv/50% of it",
        "trigger",
        "--wait",
    ];
    Destination::Crontab(call.map(str::to_owned).to_vec(), EngineName::Docker)
}

fn exported(text: &str, to: &Destination) -> Exported {
    let loaded = loaded(text);
    assert!(!loaded.has_errors(), "{:?}\n{text}", loaded.diagnostics);
    let texts = BTreeMap::from([("imported.yaml", text)]);
    export(
        &loaded.desired.jobs,
        &texts,
        to,
        "2026-11-23T00:00:00Z".parse().unwrap(),
    )
}

proptest! {
    #[test]
    fn to_kubernetes_and_back_is_the_same_job(text in mappable()) {
        let there = exported(&text, &Destination::Kubernetes(Target::default()));
        prop_assert!(there.report.iter().all(|found| !found.is_error()), "{:?}", there.report);
        let back = import(Source::Kubernetes, "cronjobs.yaml", &there.text, &Options::default());
        // A secret is text there and here; that is said.
        let lost: Vec<_> = back.report.iter().filter(|found| found.code != "advice").collect();
        prop_assert!(lost.is_empty(), "{lost:?}\n{}", there.text);
        prop_assert_eq!(only_job(&back.text), only_job(&text), "{}\n{}", there.text, back.text);
    }

    #[test]
    fn a_crontab_starts_when_its_jobs_did(text in mappable()) {
        let there = exported(&text, &to_crontab());
        let options = Options {
            place: Some(Place::Image("docker-scheduler".to_owned())),
            ..Options::default()
        };
        let back = import(Source::Crontab, "crontab", &there.text, &options);
        prop_assert_eq!(only_job(&back.text).triggers, only_job(&text).triggers, "{}", there.text);
    }

    #[test]
    fn compose_has_the_same_container_and_times(text in mappable()) {
        // The engine's own jobs have none of our policies.
        let text = text.split("    x-scheduler:").next().unwrap().to_owned() + &text[text.find("volumes:\n  data:").unwrap()..];
        let there = exported(&text, &Destination::Compose);
        prop_assert_eq!(&there.report, &Vec::new());
        let (before, after) = (only_job(&text), only_job(&there.text));
        prop_assert_eq!(&after.container, &before.container);
        prop_assert_eq!(slots(&after), slots(&before));
    }
}

/// What an engine says of a container, with values of any kind at the keys that are read.
fn described() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    const KEYS: [&str; 28] = [
        "Binds",
        "CapAdd",
        "CapDrop",
        "Cmd",
        "Config",
        "Devices",
        "Entrypoint",
        "Env",
        "HostConfig",
        "Hard",
        "Image",
        "Labels",
        "LogConfig",
        "Memory",
        "Mounts",
        "Name",
        "NanoCpus",
        "NetworkMode",
        "NetworkSettings",
        "Networks",
        "PortBindings",
        "RestartPolicy",
        "Source",
        "StopTimeout",
        "Tmpfs",
        "Type",
        "Ulimits",
        "User",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(Value::from("busybox:1")),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), inner, 0..8).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

/// Five fields, of which at most one names days.
fn five_fields() -> impl Strategy<Value = String> {
    let minute = prop_oneof![
        "[0-5]?[0-9]",
        "\\*/[1-9]",
        "[0-2][0-9]-[3-5][0-9]",
        Just("*".to_owned())
    ];
    let hour = prop_oneof!["1?[0-9]", "\\*/[1-9]", "[0-9],1[0-9]", Just("*".to_owned())];
    let days = prop_oneof![
        Just("* * *".to_owned()),
        "(1?[1-9]) \\* \\*",
        "\\* [1-9] \\*",
        "\\* \\* (mon|tue|[0-6]|mon-fri|1-5)",
    ];
    (minute, hour, days).prop_map(|(minute, hour, days)| format!("{minute} {hour} {days}"))
}

proptest! {
    #[test]
    fn any_bytes_are_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        for source in [Source::Crontab, Source::Ofelia, Source::Compose, Source::Kubernetes] {
            let imported = import(source, "file", &text, &Options::default());
            prop_assert_eq!(imported.jobs == 0, imported.text.is_empty());
        }
    }

    #[test]
    fn any_container_gives_a_manifest_that_can_be_read(
        container in described(),
        image in prop::option::of(described()),
        schedule in prop::option::of("[-0-9*/,@a-z ]{0,14}"),
    ) {
        let times = Times { schedules: schedule.into_iter().collect(), every: None };
        let imported = import_container(&container, image.as_ref(), &times, &Options::default());
        let broken = ["syntax", "duplicate-key", "unknown-key"];
        let found = loaded(&imported.text).diagnostics;
        let found: Vec<_> = found.iter().filter(|found| broken.contains(&found.code)).collect();
        prop_assert!(found.is_empty(), "{found:?}\n{}", imported.text);
    }

    #[test]
    fn six_fields_of_ofelia_start_when_the_five_behind_them_do(expression in five_fields()) {
        let section = format!("[job-run \"a\"]\nschedule = 0 {expression}\nimage = busybox\n");
        let back = import(Source::Ofelia, "config.ini", &section, &Options::default());
        let five = Job {
            triggers: crate::model::Triggers {
                schedule: vec![Trigger::Cron {
                    expression: expression.clone(),
                    timezone: "UTC".to_owned(),
                    day_match: None,
                }],
                ..only_job(&back.text).triggers
            },
            ..only_job(&back.text)
        };
        prop_assert_eq!(slots(&only_job(&back.text)), slots(&five), "{}", back.text);
    }

    #[test]
    fn a_period_of_ofelia_is_as_long_as_it_was(seconds in 10_u64..200_000) {
        let section = format!("[job-run \"a\"]\nschedule = @every {seconds}s\nimage = busybox\n");
        let back = import(Source::Ofelia, "config.ini", &section, &Options::default());
        let found = &only_job(&back.text).triggers.schedule;
        let every = matches!(&found[..], [Trigger::Every { period, .. }] if period.as_secs() == seconds);
        prop_assert!(every, "{found:?}");
    }
}

/// The coming slots.
fn slots(job: &Job) -> Vec<String> {
    let schedule = crate::schedule::Schedule::compile(&job.triggers.schedule).unwrap();
    let mut at = "2026-11-23T00:00:00Z".parse().unwrap();
    (0..20)
        .map_while(|_| {
            let fire = schedule.next_after(at)?;
            at = fire.slot.at();
            Some(fire.slot.to_string())
        })
        .collect()
}

#[test]
fn exports_are_as_they_are_written_down() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/export");
    let target = Target {
        contents: Default::default(),
        namespace: Some("jobs".to_owned()),
        instance: None,
    };
    let mut wrong = Vec::new();
    for (file, name, to) in [
        ("shop", "kubernetes", Destination::Kubernetes(target)),
        ("shop", "compose", Destination::Compose),
        ("shop", "crontab", to_crontab()),
        ("policy", "crontab", to_crontab()),
    ] {
        let text = fs::read_to_string(format!("{folder}/{file}.yaml")).expect("a manifest");
        let found = exported(&text, &to);
        let texts = BTreeMap::from([("imported.yaml", text.as_str())]);
        let now = format!(
            "{}\n---\n\n{}",
            found.text,
            pictures(&found.report, &texts, "", false)
        );
        let out = PathBuf::from(format!("{folder}/{file}.{name}.out"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&out, &now).expect("written");
        } else if fs::read_to_string(&out).unwrap_or_default() != now {
            wrong.push(format!("{file}.{name}:\n{now}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "BLESS=1 writes them anew:\n{}",
        wrong.join("\n\n")
    );
}

#[test]
fn a_cluster_tries_again_also_what_cron_started() {
    let text = "name: shop\njobs:\n  a:\n    image: busybox\n    triggers: {schedule: [\"@daily\"]}\n    x-scheduler: {retries: 2}\n";
    for (engine, jobs) in [(EngineName::Docker, 0), (EngineName::Kubernetes, 1)] {
        let to = Destination::Crontab(vec![String::from("x")], engine);
        assert_eq!(exported(text, &to).jobs, jobs, "{engine:?}");
    }
}

/// A file of the corpus with some of its lines gone, doubled, cut or moved.
fn mutated() -> impl Strategy<Value = String> {
    let files = [
        "app.yaml",
        "compose.yaml",
        "cronjobs.yaml",
        "named.yaml",
        "namespaces.yaml",
        "objects.yaml",
        "ofelia.ini",
        "user.crontab",
        "system.crontab",
    ];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0_u8..5, 0_usize..40), 1..6);
    (prop::sample::select(files.to_vec()), edits).prop_map(|(file, edits)| {
        let text = fs::read_to_string(format!("{CORPUS}/{file}")).expect("a file of the corpus");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, edit, by) in edits {
            let at = at.index(lines.len());
            match edit {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[at].clone()),
                2 => lines[at] = lines[at].chars().take(by).collect(),
                3 => lines[at] = lines[at].chars().skip(by % 7).collect(),
                _ => {
                    let other = by % lines.len();
                    lines.swap(at, other);
                }
            }
            if lines.is_empty() {
                lines.push(String::new());
            }
        }
        lines.join("\n")
    })
}

proptest! {
    #[test]
    fn a_damaged_file_gives_a_manifest_that_can_be_read(text in mutated()) {
        for source in [Source::Crontab, Source::Ofelia, Source::Compose, Source::Kubernetes] {
            let imported = import(source, "some/file.x", &text, &Options::default());
            // A value of somebody else's YAML may be none that we take; the document is never broken.
            let broken = ["syntax", "duplicate-key", "unknown-key"];
            let found = loaded(&imported.text).diagnostics;
            let found: Vec<_> = found.iter().filter(|found| broken.contains(&found.code)).collect();
            prop_assert!(found.is_empty(), "{found:?}\n{}", imported.text);
        }
    }
}

#[test]
fn what_runs_inside_another_container_is_not_exported_as_one_of_its_own() {
    for place in ["exec: {container: web}", "container: reuse"] {
        let image = if place.starts_with("exec") {
            ""
        } else {
            "    image: busybox\n"
        };
        let text = format!(
            "name: shop\njobs:\n  a:\n{image}    command: date\n    triggers: {{schedule: [\"@daily\"]}}\n    x-scheduler:\n      {place}\n"
        );
        for to in [Destination::Compose, Destination::Kubernetes(Target::default())] {
            let jobs = loaded(&text).desired.jobs;
            // What the operator does not allow is no job at all here.
            for job in jobs.values() {
                let there = export(
                    &BTreeMap::from([(job.name.clone(), job.clone())]),
                    &BTreeMap::from([("imported.yaml", text.as_str())]),
                    &to,
                    "2026-11-23T00:00:00Z".parse().unwrap(),
                );
                assert_eq!(
                    (there.jobs, there.report[0].line),
                    (0, text.lines().count() as u32),
                    "{place}"
                );
            }
            assert!(!jobs.is_empty() || place.starts_with("exec"), "{place}");
        }
    }
}
