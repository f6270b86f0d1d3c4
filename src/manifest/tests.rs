//! Manifests in, lowered jobs or rendered diagnostics out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::model::{Job, Text};

use super::*;

/// One manifest at `/srv/jobs/a.yaml`, whose project is `jobs` unless it says otherwise.
fn files(text: &str) -> Files {
    Files {
        manifests: vec![manifest("a.yaml", text)],
        paths: BTreeMap::new(),
    }
}

fn manifest(path: &str, text: &str) -> ManifestFile {
    ManifestFile {
        path: path.to_owned(),
        folder: PathBuf::from("/srv/jobs"),
        text: Ok(text.to_owned()),
        dot_env: None,
        env_files: BTreeMap::new(),
        commit: None,
        stale: false,
    }
}

/// Answers every want as if each path existed and held nothing.
fn load_all(mut input: Files, settings: &Settings) -> (Files, Loaded) {
    loop {
        let loaded = load(&input, settings);
        if loaded.wants.is_empty() {
            return (input, loaded);
        }
        for path in &loaded.wants.paths {
            let fact = PathFact {
                real: path.clone(),
                exists: true,
                holds: None,
            };
            input.paths.insert(path.clone(), fact);
        }
        for file in &mut input.manifests {
            for path in loaded.wants.env_files.get(&file.path).into_iter().flatten() {
                file.env_files.insert(path.clone(), EnvFile::Missing);
            }
        }
    }
}

fn diagnostics_of(input: Files, settings: &Settings) -> String {
    let (input, loaded) = load_all(input, settings);
    render(&loaded.diagnostics, &input.texts(), "", false)
}

/// The diagnostics of a text, as a person reads them.
fn check_errors(text: &str) -> String {
    diagnostics_of(files(text), &Settings::default())
}

/// The only job of a text that has no errors.
fn job(text: &str) -> Job {
    job_with(files(text), &Settings::default())
}

fn job_with(input: Files, settings: &Settings) -> Job {
    let (input, loaded) = load_all(input, settings);
    assert!(
        !loaded.has_errors(),
        "{}",
        render(&loaded.diagnostics, &input.texts(), "", false)
    );
    assert_eq!(loaded.desired.jobs.len(), 1);
    loaded.desired.jobs.into_values().next().unwrap()
}

/// A job with these lines in its body.
fn body(lines: &str) -> String {
    let mut out = String::from("jobs:\n  j:\n    image: busybox\n    triggers: {manual: true}\n");
    for line in lines.lines() {
        writeln!(out, "    {line}").unwrap();
    }
    out
}

#[test]
fn no_text_is_no_jobs_and_no_complaint() {
    for text in [
        "",
        "# nothing yet\n",
        "---\n",
        "name: shop\n",
        "services: {web: {image: x}}\n",
    ] {
        assert_eq!(check_errors(text), "", "{text:?}");
    }
}

#[test]
fn a_full_job_is_lowered_in_every_key() {
    let text = include_str!("../../tests/data/manifests/full.yaml");
    let mut input = files(text);
    input.manifests[0].dot_env = Some(Ok("TAG=16\nPASSWORD=hunter2\n".to_owned()));
    input.manifests[0].env_files.insert(
        PathBuf::from("/srv/jobs/db.env"),
        EnvFile::Text {
            real: PathBuf::from("/srv/jobs/db.env"),
            text: "A=from file\nB=from file\n".to_owned(),
        },
    );
    let job = job_with(input, &Settings::default());
    insta::assert_snapshot!("full_canonical", job.canonical);
    insta::assert_debug_snapshot!(
        "full_job",
        Job {
            canonical: String::new(),
            ..job
        }
    );
}

#[test]
fn a_message_shows_the_line_a_caret_and_help() {
    insta::assert_snapshot!(check_errors("jobs:\n  nightly-backup:\n    image: busybox\n    triggers:\n      shedule: ['0 2 * * *']\n"), @r#"
    error: unknown key `shedule` in job `nightly-backup`
      --> a.yaml:5:7
       |
     5 |       shedule: ['0 2 * * *']
       |       ^^^^^^^ not a key of `triggers`
       = help: a key with a similar name exists: `schedule`

    error: found 1 error in 1 of 1 manifest file
    "#);
}

#[test]
fn every_error_of_every_file_is_reported_together() {
    let mut input = files(&body(
        "comand: x\nmem_limit: much\nbuild: .\nisolation: x\nrestart: always\nuser: 1000\ntty: yes",
    ));
    input
        .manifests
        .push(manifest("b.yaml", "jobs: {x: {image: '', triggers: []}}"));
    input.manifests.push(manifest(
        "c.yaml",
        "jobs: {x: {image: busybox, triggers: {manual: true}}}",
    ));
    input.manifests.push(manifest(
        "d.yaml",
        "jobs: {x: {image: busybox, triggers: {manual: true}}}",
    ));
    insta::assert_snapshot!(diagnostics_of(input, &Settings::default()), @r#"
    error: unknown key `comand` in job `j`
      --> a.yaml:5:5
       |
     5 |     comand: x
       |     ^^^^^^ not a key of a job
       = help: a key with a similar name exists: `command`

    error: `mem_limit` must be a number of bytes such as `128m` or `1gb`, not `much`
      --> a.yaml:6:16
       |
     6 |     mem_limit: much
       |                ^^^^

    error: a job runs an image; it does not build one
      --> a.yaml:7:5
       |
     7 |     build: .
       |     ^^^^^
       = help: build and push it elsewhere, and name it under `image`

    error: `isolation` in job `j` is known, but not supported yet
      --> a.yaml:8:5
       |
     8 |     isolation: x
       |     ^^^^^^^^^ this version cannot carry it out, and nothing is silently dropped

    error: `restart` is for services, not for jobs
      --> a.yaml:9:5
       |
     9 |     restart: always
       |     ^^^^^^^ a job runs to its end

    error: `user` must be a text
       --> a.yaml:10:11
        |
     10 |     user: 1000
        |           ^^^^ this is a number
        = help: put it into quotes: `"1000"`

    error: `tty` must be `true` or `false`
       --> a.yaml:11:10
        |
     11 |     tty: yes
        |          ^^^ this is a text
        = help: this word is a text in YAML 1.2; write `true`

    error: `(empty)` is not a valid image reference: it is empty
      --> b.yaml:1:19
       |
     1 | jobs: {x: {image: '', triggers: []}}
       |                   ^^

    error: `triggers` must be a mapping
      --> b.yaml:1:33
       |
     1 | jobs: {x: {image: '', triggers: []}}
       |                                 ^^ this is a list

    error: job `jobs.x` is already declared in `c.yaml`
      --> d.yaml:1:8
       |
     1 | jobs: {x: {image: busybox, triggers: {manual: true}}}
       |        ^
       = help: the first file in the order of paths keeps a job; rename or remove this one

    error: found 10 errors in 3 of 4 manifest files
    "#);
}

#[test]
fn equal_jobs_have_equal_canonical_texts_and_read_back_as_the_same_job() {
    let one = job(
        "name: t\njobs: {j: {image: x, command: 'echo $$HOME 5 \"a b\"', triggers: {manual: true}, \
                   x-scheduler: {timeout: 1h}, environment: {ON: on, N: 0644, T: 'true', E: }}}",
    );
    let other = job(
        "name: t\nx-scheduler: {timeout: 1h}\n# comment\njobs:\n  j:\n    triggers:\n      manual: true\n    \
         environment: {T: \"true\", N: 420, ON: 'on', E: null}\n    image: x\n    command: echo $$HOME 5 \"a b\"\n",
    );
    assert_eq!(one.canonical, other.canonical);
    let again = job(&one.canonical);
    assert_eq!(
        (again.canonical, again.container, again.policy),
        (one.canonical, one.container, one.policy)
    );
}

#[test]
fn sensitive_values_never_reach_a_message_or_the_canonical_text() {
    let text = body(
        "command: [echo, '${SECRET}']\nenvironment: {A: '${SECRET}', B: '${NO:-x}', SECRET: }\nmem_limit: ${SECRET}\n\
         user: ${SECRET:?must be set}\nstop_grace_period: ${SECRET}\nvolumes: ['${SECRET}:/x', '/y:/y:${SECRET}']\n\
         pull_policy: ${SECRET}\nx-scheduler: {timezone: '${SECRET}', every: '${SECRET}'}\nlabels: ['${SECRET}=x']\n\
         extra_hosts: ['${SECRET}:x']\nnetworks: ['${SECRET}']\nworking_dir: ${SECRET}",
    );
    let mut input = files(&text.replace("image: busybox", "image: ${SECRET}/../x"));
    input.manifests[0].dot_env = Some(Ok("SECRET=hunter2\n".to_owned()));
    let shown = diagnostics_of(input, &Settings::default());
    assert!(shown.contains("found 1"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let mut input = files(&body("command: [echo, '${SECRET}']\nlabels: {a: 'x${SECRET}'}"));
    input.manifests[0].dot_env = Some(Ok("SECRET=hunter2\n".to_owned()));
    let job = job_with(input, &Settings::default());
    assert!(!format!("{job:?}").contains("hunter2"));
    assert_eq!(job.container.labels["a"].expose(), "xhunter2");
}

/// Message, place and text of each finding, one a line.
fn findings(text: &str) -> Vec<String> {
    let (_, loaded) = load_all(files(text), &Settings::default());
    let describe = |found: &Diagnostic| {
        let at = found.span.clone().unwrap_or_default();
        format!(
            "{}:{} [{}] {}",
            found.line, found.column, &text[at], found.message
        )
    };
    loaded.diagnostics.iter().map(describe).collect()
}

#[test]
fn carets_are_right_behind_umlauts_tabs_and_carriage_returns() {
    let head = "# ü → 🦀\r\njobs:\r\n  j:\r\n    image: busybox\r\n    triggers: {manual: true}\r\n";
    assert_eq!(
        findings(&format!(
            "{head}    labels: {{\"ü\": ä}}\r\n    user: 5\t# five\r\n    tty: \"ü\"\r\n"
        )),
        [
            "7:11 [5] `user` must be a text",
            "8:10 [\"ü\"] `tty` must be `true` or `false`"
        ]
    );
}

#[test]
fn a_cron_error_points_into_the_expression() {
    let check = |schedule: &str, expected: &[&str]| {
        let text = format!("jobs: {{j: {{image: x, triggers: {{schedule: [{schedule}]}}}}}}");
        let found = findings(&text);
        let found: Vec<&str> = found
            .iter()
            .map(|found| {
                found
                    .split_once(' ')
                    .unwrap()
                    .1
                    .split_once(']')
                    .unwrap()
                    .0
                    .trim_start_matches('[')
            })
            .collect();
        assert_eq!(found, expected, "{schedule}");
    };
    check("'0 25 * * *'", &["25"]);
    check("\"0 25 * * *\"", &["25"]);
    check("0 25 * * *", &["25"]);
    check("{cron: 0 0 32 * *}", &["32"]);
    check("\"0\\x2025 * * *\"", &["\"0\\x2025 * * *\""]);
    check("{cron: 0 0 1 * *, timezone: Europe/Berlln}", &["Europe/Berlln"]);
    check("{timezone: UTC}", &["{timezone: UTC}"]);
    check("5", &["5"]);
    check("{cron: 0 0 * * *, every: 5s}", &["every"]);
    check("'*/90 0 * * *', '0 0 0 * * *'", &["*/90", "0"]);
}

#[test]
fn hostile_yaml_costs_little_and_says_why() {
    let bomb = (1..10).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |text, n| {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            format!("{text}a{n}: &a{n} [{aliases}]\n")
        },
    );
    let huge = format!(
        "x-a: &a {}\nx-b: [{}]\n",
        "y".repeat(500_000),
        vec!["*a"; 9_000].join(", ")
    );
    let merges = format!(
        "x-a: &a {{k: v}}\nx-b:\n  <<: [{}]\n",
        vec!["*a"; 200_000].join(", ")
    );
    for (text, message) in [
        (
            bomb.as_str(),
            "aliases of this file add up to more than 10000 values",
        ),
        (&huge, "aliases of this file add up to more than 8 MiB"),
        (&merges, "aliases of this file add up to more than 10000 values"),
        (&"[".repeat(10_000), "nested deeper than 32 levels"),
        (&"- ".repeat(10_000), "nested deeper than 32 levels"),
        (&"{a: ".repeat(10_000), "nested deeper than 32 levels"),
        (&"? ".repeat(10_000), "nested deeper than 32 levels"),
        ("x-a: &a [*a]\n", "an alias inside the value that it names"),
        ("x-a: *none\n", "not valid YAML: "),
        ("jobs:\n\tj: {}\n", "not valid YAML: "),
        ("a: b: c\n", "not valid YAML: "),
        ("jobs: {}\n---\njobs: {}\n", "a manifest is one YAML document"),
        ("- jobs\n", "`a manifest` must be a mapping"),
        ("just text\n", "`a manifest` must be a mapping"),
        ("jobs: {}\njobs: {}\n", "duplicate key `jobs`"),
        ("x-a: &a 5\nx-b: {<<: *a}\n", "`<<` merges mappings only"),
        ("1: x\n", "a key must be a text"),
        ("[a]: x\n", "a key must be a text"),
        ("x-a: !secret x\n", "the YAML tag `!secret` is not supported"),
        ("x-a: !!binary aGk=\n", "the YAML tag `!!binary` is not supported"),
        ("x-a: !!int x\n", "this value is not what its tag `!!int` says"),
        ("x-a: \"a\\0b\"\n", "a NUL character, which no engine takes"),
        ("x-a: \"\\ud800\"\n", "not valid YAML: "),
    ] {
        let found = load(&files(text), &Settings::default()).diagnostics;
        let first = found.first().map_or("", |found| found.message.as_str());
        assert!(first.starts_with(message), "{:.60}: {first}", text);
    }
}

#[test]
fn a_file_that_is_all_wrong_is_told_so_in_few_words() {
    let unknown: String = (0..50_000).fold(String::new(), |text, n| text + &format!("k{n}: 1\n"));
    let shown = check_errors(&unknown);
    assert!(shown.contains("unknown key `k99`") && !shown.contains("unknown key `k100`"));
    assert!(
        shown.contains("49900 more findings are not shown"),
        "{:.200}",
        shown
    );
    let long = format!("{{{}}}", unknown.replace('\n', ", "));
    assert!(check_errors(&long).len() < 20_000);
}

/// Every way to be wrong, and what a person is told. The whole output is the test.
#[test]
fn broken_manifests() {
    let mut out = String::new();
    for case in include_str!("../../tests/data/manifests/broken.txt")
        .split("=== ")
        .skip(1)
    {
        let (title, text) = case.split_once('\n').unwrap();
        let shown = check_errors(text);
        assert_ne!(shown, "", "{title}");
        writeln!(out, "=== {title}\n{shown}").unwrap();
    }
    insta::assert_snapshot!("broken", out);
}

#[test]
fn variables_come_from_the_list_and_from_dot_env_and_from_nowhere_else() {
    let settings = Settings {
        interpolate: BTreeMap::from([("BOTH".to_owned(), "listed".to_owned())]),
        set_but_unlisted: BTreeSet::from(["HOME".to_owned()]),
        ..Settings::default()
    };
    let with_env = |lines: &str| {
        let mut input = files(&body(lines));
        input.manifests[0].dot_env = Some(Ok("BOTH=dotenv\nOWN=1\n".to_owned()));
        input
    };
    let job = job_with(
        with_env("environment: [BOTH, OWN, NONE, 'A=$BOTH-$OWN', P=$COMPOSE_PROJECT_NAME]"),
        &settings,
    );
    let environment: Vec<(&str, Option<&str>, bool)> = job
        .container
        .environment
        .iter()
        .map(|(name, value)| {
            let is_sensitive = value.as_ref().is_some_and(Text::is_sensitive);
            (name.as_str(), value.as_ref().map(Text::expose), is_sensitive)
        })
        .collect();
    assert_eq!(
        environment,
        [
            ("A", Some("listed-1"), true),
            ("BOTH", Some("listed"), true),
            ("NONE", None, false),
            ("OWN", Some("1"), true),
            ("P", Some("jobs"), false)
        ]
    );
    insta::assert_snapshot!(
        diagnostics_of(with_env("user: u$HOME\nworking_dir: ${HOME:?}\nenvironment: [HOME]"), &settings),
        @r#"
    warning: variable `HOME` is not set; an empty text takes its place
      --> a.yaml:5:12
       |
     5 |     user: u$HOME
       |            ^^^^^
       = help: `HOME` is set in the scheduler's own environment, but not listed: the operator's file may list it under `interpolate`

    error: required variable `HOME` is not set
      --> a.yaml:6:18
       |
     6 |     working_dir: ${HOME:?}
       |                  ^^^^^^^^^
       = help: `HOME` is set in the scheduler's own environment, but not listed: the operator's file may list it under `interpolate`

    warning: variable `HOME` has no value: the job runs without it
      --> a.yaml:7:19
       |
     7 |     environment: [HOME]
       |                   ^^^^
       = help: `HOME` is set in the scheduler's own environment, but not listed: the operator's file may list it under `interpolate`

    error: found 1 error and 2 warnings in 1 of 1 manifest file
    "#
    );
}

/// The networks of a job whose file has this at its top, and this in the job.
fn networks(top: &str, lines: &str) -> (Vec<String>, Option<String>) {
    let job = job(&format!("name: shop\n{top}\n{}", body(lines)));
    let names = job.container.networks.into_iter().map(|network| network.name);
    (names.collect(), job.container.network_mode)
}

#[test]
fn a_job_is_in_the_network_that_compose_would_put_it_in() {
    let none: [&str; 0] = [];
    let check = |top: &str, lines: &str, names: &[&str], mode: Option<&str>| {
        let (found, found_mode) = networks(top, lines);
        assert_eq!(
            (found, found_mode.as_deref()),
            (names.iter().map(ToString::to_string).collect(), mode),
            "{top}"
        );
    };
    check("", "", &none, None);
    check("services: {web: {image: x}}", "", &["shop_default"], None);
    check("networks: {default: }", "", &["shop_default"], None);
    check("networks: {default: {name: n, external: true}}", "", &["n"], None);
    check("networks: {default: }", "network_mode: none", &none, Some("none"));
    check(
        "networks: {back: , ext: {external: true}}",
        "networks: [back, ext, default]",
        &["shop_back", "shop_default", "ext"],
        None,
    );
    check("", "network_mode: bridge", &none, Some("bridge"));
}

/// The scheduler lives in a container, and the host's engine mounts the files.
#[test]
fn secrets_and_configs_are_mounted_from_where_the_engines_machine_has_them() {
    let text = "name: t\njobs: {j: {image: x, triggers: {manual: true}, secrets: [db], configs: [app], volumes: \
                ['./data:/data']}}\nsecrets: {db: {file: ./db.secret}}\nconfigs: {app: {file: ./sub/app.conf}}\n";
    let load_in = |mounted: &str| {
        let mount = (PathBuf::from(mounted), Some(PathBuf::from("/host/jobs")));
        let settings = Settings {
            host: HostPaths::of_container([mount]),
            ..Settings::default()
        };
        load_all(files(text), &settings).1
    };
    let loaded = load_in("/srv/jobs");
    let job = loaded.desired.jobs.values().next().expect("a job");
    let sources: Vec<String> = job
        .container
        .files
        .iter()
        .map(|file| match &file.source {
            crate::model::FileSource::Path(path) => path.display().to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(sources, ["/host/jobs/db.secret", "/host/jobs/sub/app.conf"]);
    let elsewhere = load_in("/elsewhere");
    let said = elsewhere.diagnostics.iter();
    let own = said.filter(|found| found.message.contains("lies in the scheduler's own container"));
    assert_eq!(own.count(), 3, "{:#?}", elsewhere.diagnostics);
}

#[test]
fn a_job_of_an_inactive_profile_is_declared_and_not_wanted() {
    let text = "name: t\njobs:\n  always: {image: x, triggers: {manual: true}}\n  test: {image: x, profiles: [test, \
                debug], triggers: {manual: true}}\n  night: {image: x, profiles: [night], triggers: {manual: true}}\n";
    let check = |dot_env: Option<&str>, operator: &[&str], active: &[&str], inactive: &[&str]| {
        let mut input = files(text);
        input.manifests[0].dot_env = dot_env.map(|text| Ok(text.to_owned()));
        let settings = Settings {
            profiles: operator.iter().map(ToString::to_string).collect(),
            ..Settings::default()
        };
        let (_, loaded) = load_all(input, &settings);
        assert_eq!(loaded.diagnostics, []);
        let shown: Vec<String> = loaded.desired.jobs.keys().map(ToString::to_string).collect();
        assert_eq!(shown, active);
        let shown: Vec<String> = loaded.desired.inactive.keys().map(ToString::to_string).collect();
        assert_eq!(shown, inactive);
    };
    check(None, &[], &["t.always"], &["t.night", "t.test"]);
    check(None, &["debug"], &["t.always", "t.test"], &["t.night"]);
    check(
        Some("COMPOSE_PROFILES=night,other\n"),
        &["test"],
        &["t.always", "t.night", "t.test"],
        &[],
    );
    check(None, &["*"], &["t.always", "t.night", "t.test"], &[]);
}

#[test]
fn a_project_is_named_by_its_folder_when_it_does_not_name_itself() {
    let mut input = files(&body(""));
    input.manifests[0].folder = PathBuf::from("/srv/_My Shop.2");
    assert_eq!(
        job_with(input.clone(), &Settings::default()).name.to_string(),
        "myshop2.j"
    );
    input.manifests[0].folder = PathBuf::from("/srv/ÄÖ");
    assert!(diagnostics_of(input, &Settings::default()).contains("gives no project name"));
}

#[test]
fn merge_keys_and_anchors_as_in_compose() {
    let job = job(
        "x-a: &a {user: a, working_dir: /a}\nx-b: &b {user: b, tty: true}\njobs:\n  j: &j\n    <<: [*a, *b]\n    \
         image: x\n    working_dir: /own\n    triggers: {manual: true}\n",
    );
    let spec = job.container;
    assert_eq!(
        (spec.user.as_deref(), spec.working_dir.as_deref(), spec.tty),
        (Some("a"), Some("/own"), true)
    );
}

#[test]
fn scalars_follow_the_core_schema_as_compose_prints_them() {
    let job = job(&body(
        "environment: {A: on, B: 0644, C: 0o17, D: 1_000, E: 0x1F, F: 1.50, G: True, H: ~, I: '5', J: 1e3, K: 08, L: 12:30, M: 2026-01-01, N: '', O: !!str 5}",
    ));
    let environment: Vec<String> = job
        .container
        .environment
        .iter()
        .map(|(name, value)| match value {
            Some(value) => format!("{name}={}", value.expose()),
            None => name.clone(),
        })
        .collect();
    assert_eq!(
        environment,
        [
            "A=on",
            "B=420",
            "C=15",
            "D=1000",
            "E=31",
            "F=1.5",
            "G=true",
            "H",
            "I=5",
            "J=1000",
            "K=8",
            "L=12:30",
            "M=2026-01-01",
            "N=",
            "O=5",
        ]
    );
}

proptest::proptest! {
    /// Whatever a file holds: an answer, and every place in it lies in the text.
    #[test]
    fn no_text_makes_the_reader_panic(
        cuts in proptest::collection::vec((0_usize..4000, 0_usize..40, "[\\PC\n\r\t\x1b\u{202e}${}:*&!|>'\"#%@-]{0,6}"), 1..6)
    ) {
        let mut text = include_str!("../../tests/data/manifests/full.yaml").to_owned();
        for (at, length, insert) in cuts {
            let start = text.floor_char_boundary(at % (text.len() + 1));
            let end = text.floor_char_boundary((start + length).min(text.len())).max(start);
            text.replace_range(start..end, &insert);
        }
        let (input, loaded) = load_all(files(&text), &Settings::default());
        for found in &loaded.diagnostics {
            let span = found.span.clone().unwrap_or_default();
            proptest::prop_assert!(text.get(span).is_some(), "{found:?}");
        }
        let shown = render(&loaded.diagnostics, &input.texts(), "", false);
        proptest::prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        proptest::prop_assert_eq!(shown.is_empty(), loaded.diagnostics.is_empty());
    }
}
