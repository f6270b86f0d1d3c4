//! Real directories, read and watched.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::manifest::render;
use crate::model::{Desired, JobName, Removals, Text};

fn job(name: &str) -> String {
    format!("name: t\njobs:\n  {name}: {{image: busybox, triggers: {{manual: true}}}}\n")
}

/// A directory with these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn names(desired: &Desired) -> Vec<String> {
    desired.jobs.keys().map(ToString::to_string).collect()
}

/// Names of the jobs, then every diagnostic in one line each.
fn summary(dir: &Path) -> Vec<String> {
    let (_, loaded) = load(dir, &Settings::default()).unwrap();
    let mut out = names(&loaded.desired);
    out.extend(loaded.diagnostics.iter().map(|found| {
        format!(
            "{}:{}:{}: {}",
            found.file, found.line, found.column, found.message
        )
    }));
    out
}

#[test]
fn an_empty_directory_has_no_jobs_and_a_missing_one_is_an_error() {
    let dir = tree(&[]);
    assert_eq!(summary(dir.path()), Vec::<String>::new());
    let missing = dir.path().join("none");
    assert_eq!(read(&missing), Err(SourceError::Missing(missing.clone())));
    fs::write(&missing, "").unwrap();
    assert_eq!(read(&missing), Err(SourceError::NotADirectory(missing)));
}

#[test]
fn a_directory_that_is_too_much_is_refused_as_a_whole() {
    let dir = tree(&[("a.yaml", &job("a"))]);
    fs::create_dir_all(dir.path().join("d/".repeat(MAX_FOLDER_DEPTH + 1))).unwrap();
    assert!(matches!(read(dir.path()), Err(SourceError::TooMuch { .. })));
    let dir = tree(&[]);
    for n in 0..70 {
        fs::write(dir.path().join(format!("{n}.yaml")), vec![b' '; 1 << 20]).unwrap();
    }
    assert!(matches!(read(dir.path()), Err(SourceError::TooMuch { .. })));
}

#[test]
fn manifests_are_found_in_subfolders_and_nothing_else_is() {
    let dir = tree(&[
        ("a.yaml", &job("a")),
        ("sub/deep/b.yml", &job("b")),
        (".hidden/c.yaml", &job("c")),
        (".d.yaml", &job("d")),
        ("e.yaml~", &job("e")),
        (".a.yaml.swp", "\0"),
        ("#f.yaml#", &job("f")),
        ("4913", ""),
        ("notes.txt", "hello: ["),
    ]);
    assert_eq!(summary(dir.path()), ["t.a", "t.b"]);
}

#[test]
fn links_are_followed_inside_the_directory_and_never_out_of_it() {
    let outside = tree(&[("secret.yaml", &job("secret"))]);
    // As Kubernetes mounts a ConfigMap.
    let dir = tree(&[("..2026/a.yaml", &job("a"))]);
    symlink("..2026", dir.path().join("..data")).unwrap();
    symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
    symlink(outside.path().join("secret.yaml"), dir.path().join("b.yaml")).unwrap();
    symlink(outside.path(), dir.path().join("folder")).unwrap();
    symlink(".", dir.path().join("circle")).unwrap();
    symlink("nowhere", dir.path().join("c.yaml")).unwrap();
    let found = summary(dir.path());
    assert_eq!(found[0], "t.a");
    assert!(
        found[1].starts_with("b.yaml:0:0: this link leads out"),
        "{found:?}"
    );
    assert!(
        found[2].starts_with("c.yaml:0:0: this link cannot be followed"),
        "{found:?}"
    );
    assert_eq!(found.len(), 3);
}

#[test]
fn what_is_no_text_is_a_diagnostic_of_its_file_alone() {
    let dir = tree(&[("good.yaml", &job("good"))]);
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write(
        "bom.yaml",
        format!("\u{feff}{}", job("bom").replace('\n', "\r\n")).as_bytes(),
    );
    write("nul.yaml", b"a: \0");
    write("latin.yaml", b"a: \xe4");
    write("utf16.yaml", b"\xff\xfea\0");
    let large = File::create(dir.path().join("large.yaml")).unwrap();
    large.set_len(100 << 20).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("pipe.yaml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(
        summary(dir.path()),
        [
            "t.bom",
            "t.good",
            "large.yaml:0:0: larger than 1 MiB",
            "latin.yaml:0:0: byte 4 is not UTF-8",
            "nul.yaml:0:0: byte 4 is NUL: this is not a text",
            "pipe.yaml:0:0: this is not a regular file",
            "utf16.yaml:0:0: this is UTF-16; write it as UTF-8",
        ]
    );
}

fn bind(source: &str) -> Vec<String> {
    let text = format!(
        "name: t\njobs:\n  j: {{image: busybox, triggers: {{manual: true}}, volumes: [{source}:/x]}}\n"
    );
    let dir = tree(&[
        ("team/a.yaml", &text),
        ("team/data/f", ""),
        ("team/env/.env", ""),
        ("team/sub/b.yaml", ""),
    ]);
    symlink("/etc", dir.path().join("team/etc")).unwrap();
    symlink("data", dir.path().join("team/alias")).unwrap();
    summary(dir.path())
}

#[test]
fn a_bind_mount_stays_in_the_manifests_own_folder() {
    for source in ["./data", "./data/f", "./new/deep", "./alias"] {
        assert_eq!(bind(source), ["t.j"], "{source}");
    }
    for source in [
        ".",
        "./",
        "./a.yaml",
        "./sub",
        "./env",
        "./env/.env",
        "..",
        "../x",
        "./data/../..",
        "./etc",
        "./etc/passwd",
        "/etc",
        "/",
        "/var/run/docker.sock",
        "/var/run",
        "./.env",
        "./.git/hooks",
        "~/x",
    ] {
        let found = bind(source);
        assert!(found[0].starts_with("team/a.yaml:3:"), "{source}: {found:?}");
    }
}

#[test]
fn a_job_cannot_write_manifests() {
    let text = "name: t\njobs: {j: {image: x, triggers: {manual: true}, volumes: ['./out:/x']}}";
    let dir = tree(&[("a.yaml", text), ("b.yaml", &job("b")), ("out/data", "")]);
    let mut last_good = LastGood::default();
    let settings = Settings::default();
    let current = load_with_last_good(dir.path(), &mut last_good, &settings, &BTreeSet::new()).unwrap();
    assert_eq!(names(&current.loaded.desired), ["t.b", "t.j"]);
    fs::create_dir(dir.path().join("out/deep")).unwrap();
    fs::write(dir.path().join("out/deep/evil.yaml"), job("evil")).unwrap();
    let current = load_with_last_good(dir.path(), &mut last_good, &settings, &BTreeSet::new()).unwrap();
    assert_eq!(names(&current.loaded.desired), ["t.b", "t.j"]);
    let files: Vec<&str> = current
        .loaded
        .diagnostics
        .iter()
        .map(|found| found.file.as_str())
        .collect();
    assert_eq!(files, ["a.yaml", "out/deep/evil.yaml"]);
    assert_eq!(summary(dir.path())[0], "t.b");
}

#[test]
fn a_bind_sources_links_are_resolved_before_it_is_mounted() {
    let dir = tree(&[
        (
            "a.yaml",
            "jobs: {j: {image: x, triggers: {manual: true}, volumes: ['./alias:/x']}}",
        ),
        ("data/f", ""),
    ]);
    symlink("data", dir.path().join("alias")).unwrap();
    let settings = Settings::default();
    let (_, loaded) = load(dir.path(), &settings).unwrap();
    let job = loaded.desired.jobs.into_values().next().unwrap();
    let crate::model::MountKind::Bind { source, .. } = &job.container.mounts[0].kind else {
        panic!("no bind");
    };
    assert_eq!(*source, fs::canonicalize(dir.path()).unwrap().join("data"));
}

#[test]
fn the_operator_may_open_more_of_the_host() {
    let outside = tree(&[("f", "")]);
    let text = format!(
        "name: t\njobs: {{j: {{image: x, triggers: {{manual: true}}, volumes: ['{}:/x']}}}}",
        outside.path().display()
    );
    let dir = tree(&[("a.yaml", &text)]);
    let mut settings = Settings::default();
    assert!(load(dir.path(), &settings).unwrap().1.has_errors());
    settings.policy = resolve_rules(Rules {
        bind_roots: vec![outside.path().to_owned()],
        ..Rules::default()
    });
    assert!(!load(dir.path(), &settings).unwrap().1.has_errors());
}

#[test]
fn env_files_are_read_but_not_from_elsewhere() {
    let outside = tree(&[("secret.env", "S=hunter2\n")]);
    let dir = tree(&[
        (".env", "FILE=db.env\n"),
        ("db.env", "P=hunter2\n"),
        (
            "a.yaml",
            "name: t\njobs: {j: {image: x, triggers: {manual: true}, env_file: \"$FILE\"}}",
        ),
        (
            "b.yaml",
            "name: t\njobs: {k: {image: x, triggers: {manual: true}, env_file: [out.env, none.env]}}",
        ),
    ]);
    symlink(outside.path().join("secret.env"), dir.path().join("out.env")).unwrap();
    let (files, loaded) = load(dir.path(), &Settings::default()).unwrap();
    let job = loaded.desired.jobs.values().next().unwrap();
    assert_eq!(job.container.environment["P"], Some(Text::sensitive("hunter2")));
    let shown = render(&loaded.diagnostics, &files.texts(), "", false);
    assert!(
        shown.contains("only what lies in the manifest's own folder"),
        "{shown}"
    );
    assert!(shown.contains("does not exist"), "{shown}");
    assert!(!format!("{shown}{:?}", loaded.desired).contains("hunter2"));
}

#[test]
fn a_broken_file_keeps_its_last_good_jobs_also_over_a_restart() {
    let dir = tree(&[(".env", "V=1\n"), ("a.yaml", &job("a")), ("b.yaml", &job("b"))]);
    let state = tempfile::tempdir().unwrap();
    let kept = state.path().join("last-good");
    let settings = Settings::default();
    let mut last_good = LastGood::open(&kept).unwrap();
    load_with_last_good(dir.path(), &mut last_good, &settings, &BTreeSet::new()).unwrap();
    fs::write(dir.path().join("a.yaml"), "jobs: {a: {image: [").unwrap();
    fs::write(dir.path().join("b.yaml"), job("b2")).unwrap();
    for mut last_good in [last_good, LastGood::open(&kept).unwrap()] {
        let current = load_with_last_good(dir.path(), &mut last_good, &settings, &BTreeSet::new()).unwrap();
        assert_eq!(names(&current.loaded.desired), ["t.a", "t.b2"]);
        assert!(current.loaded.has_errors() && current.loaded.files["a.yaml"].last_good);
        assert!(current.unkept.is_none());
    }
    for entry in fs::read_dir(&kept).unwrap() {
        assert_eq!(
            entry.unwrap().metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    let mut last_good = LastGood::open(&kept).unwrap();
    let current = load_with_last_good(dir.path(), &mut last_good, &settings, &BTreeSet::new()).unwrap();
    assert_eq!(
        names(&current.loaded.desired),
        ["t.b2"],
        "a deleted file is not kept"
    );
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
}

#[test]
fn an_unmounted_folder_keeps_its_jobs_also_over_a_restart() {
    let paths = ["a", "b", "c", "d", "e"].map(|name| (format!("{name}.yaml"), job(name)));
    let files: Vec<(&str, &str)> = paths
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let dir = tree(&files);
    let state = tempfile::tempdir().unwrap();
    let settings = Settings::default();
    let known: BTreeSet<JobName> = ["t.a", "t.b", "t.c", "t.d", "t.e"]
        .map(|name| name.parse().unwrap())
        .into();
    let mut last_good = LastGood::open(state.path()).unwrap();
    load_with_last_good(dir.path(), &mut last_good, &settings, &BTreeSet::new()).unwrap();
    for (gone, left) in [(&paths[..], &[][..]), (&paths[..3], &["t.d", "t.e"][..])] {
        for (file, _) in gone {
            fs::remove_file(dir.path().join(file)).unwrap();
        }
        for _ in ["this process", "the next one"] {
            let mut last_good = LastGood::open(state.path()).unwrap();
            let current = load_with_last_good(dir.path(), &mut last_good, &settings, &known).unwrap();
            assert_eq!(names(&current.loaded.desired), left);
            assert_eq!(current.remembered.len(), gone.len());
            assert!(current.remembered.values().all(|job| job.origin.line > 0));
        }
        for (path, text) in &paths {
            fs::write(dir.path().join(path), text).unwrap();
        }
    }
    // A few are a decision.
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    let current = load_with_last_good(dir.path(), &mut last_good, &settings, &known).unwrap();
    assert!(current.remembered.is_empty());
    assert_eq!(
        fs::read_dir(state.path()).unwrap().count(),
        4,
        "a deleted file is not kept"
    );
}

#[test]
fn a_job_that_moved_out_of_a_broken_file_is_not_taken_back() {
    let dir = tree(&[("a.yaml", &job("a"))]);
    let mut last_good = LastGood::default();
    let settings = Settings::default();
    load_with_last_good(dir.path(), &mut last_good, &settings, &BTreeSet::new()).unwrap();
    fs::write(dir.path().join("a.yaml"), "jobs: [").unwrap();
    fs::write(dir.path().join("b.yaml"), job("a")).unwrap();
    let current = load_with_last_good(dir.path(), &mut last_good, &settings, &BTreeSet::new()).unwrap();
    let job = &current.loaded.desired.jobs[&"t.a".parse().unwrap()];
    assert_eq!(job.origin.file, "b.yaml");
    assert!(!current.loaded.files["b.yaml"].has_errors);
}

#[test]
fn losing_most_jobs_at_once_is_held() {
    let names = |count: usize| (0..count).map(|n| JobName::new("t", &format!("j{n}")).unwrap());
    let desired = |count: usize| {
        let dir = tree(&[]);
        for n in 0..count {
            fs::write(dir.path().join(format!("{n}.yaml")), job(&format!("j{n}"))).unwrap();
        }
        load(dir.path(), &Settings::default()).unwrap().1.desired
    };
    let check = |before: usize, after: usize, state: DirState| {
        guard(&names(before).collect(), &desired(after), state) == Removals::Allowed
    };
    assert!(check(4, 4, DirState::Present), "nothing is lost");
    assert!(check(0, 0, DirState::Missing), "nothing can be lost");
    assert!(check(2, 0, DirState::Present) && check(6, 3, DirState::Present));
    assert!(!check(5, 2, DirState::Present) && !check(3, 0, DirState::Present));
    assert!(!check(1, 0, DirState::Empty) && !check(1, 0, DirState::Missing));
}

async fn noticed(watcher: &mut Watcher) -> bool {
    tokio::time::timeout(Duration::from_secs(20), watcher.changed())
        .await
        .is_ok()
}

#[tokio::test]
async fn changes_are_noticed_also_in_new_folders_and_a_new_directory() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("jobs");
    fs::create_dir(&dir).unwrap();
    for poll in [false, true] {
        let mut watcher = Watcher::new(&dir, poll).unwrap();
        assert_eq!(watcher.polls(), poll);
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        assert!(noticed(&mut watcher).await, "a folder, poll: {poll}");
        fs::write(dir.join("a/b/c/j.yaml"), "x").unwrap();
        assert!(noticed(&mut watcher).await, "a file in it, poll: {poll}");
        fs::remove_dir_all(&dir).unwrap();
        assert!(noticed(&mut watcher).await, "removed, poll: {poll}");
        fs::create_dir(&dir).unwrap();
        assert!(noticed(&mut watcher).await, "made again, poll: {poll}");
    }
}

#[tokio::test]
async fn a_directory_behind_a_link_is_watched_and_links_in_it_are_not_followed() {
    let base = tree(&[("real/a.yaml", ""), ("other/b.yaml", "")]);
    symlink("real", base.path().join("jobs")).unwrap();
    symlink(base.path().join("other"), base.path().join("real/out")).unwrap();
    for poll in [false, true] {
        let mut watcher = Watcher::new(&base.path().join("jobs"), poll).unwrap();
        fs::write(base.path().join("real/a.yaml"), format!("{poll}")).unwrap();
        assert!(noticed(&mut watcher).await, "poll: {poll}");
        fs::write(base.path().join("other/b.yaml"), format!("{poll}")).unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(600), watcher.changed()).await;
        assert!(quiet.is_err(), "poll: {poll}");
    }
}

#[tokio::test]
async fn a_cancelled_wait_forgets_nothing() {
    let dir = tree(&[("a.yaml", "")]);
    let mut watcher = Watcher::new(dir.path(), false).unwrap();
    fs::write(dir.path().join("a.yaml"), "x").unwrap();
    // Cut off inside the quiet period, whenever the event came.
    let _ = tokio::time::timeout(Duration::from_millis(100), watcher.changed()).await;
    let _ = tokio::time::timeout(Duration::from_millis(100), watcher.changed()).await;
    assert!(noticed(&mut watcher).await);
}

/// `git` in a folder, as nobody in particular.
fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=n@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit_all(dir: &Path) -> String {
    git(dir, &["add", "-A", "."]);
    git(dir, &["commit", "-q", "--allow-empty", "-m", "m"]);
    git(dir, &["rev-parse", "HEAD"])
}

/// What every job says of its commit.
fn commits(dir: &Path) -> Vec<String> {
    let (_, loaded) = load(dir, &Settings::default()).unwrap();
    let commit = |job: &crate::model::Job| job.origin.commit.clone().unwrap_or("none".to_owned());
    loaded.desired.jobs.values().map(commit).collect()
}

#[test]
fn a_job_knows_the_commit_of_its_manifest() {
    let dir = tree(&[
        ("jobs/a.yaml", &job("a")),
        ("jobs/deep/b.yaml", &format!("\u{feff}{}", job("b"))),
    ]);
    let jobs = &dir.path().join("jobs");
    assert_eq!(commits(jobs), ["none", "none"], "no checkout");
    git(dir.path(), &["init", "-q"]);
    assert_eq!(commits(jobs), ["none", "none"], "no commit yet");
    let first = commit_all(dir.path());
    assert_eq!(commits(jobs), [first.clone(), first.clone()]);
    let dirty = format!("{first}-dirty");

    fs::write(jobs.join("a.yaml"), format!("{}# edited\n", job("a"))).unwrap();
    assert_eq!(commits(jobs), [dirty.clone(), first.clone()], "edited");
    git(dir.path(), &["add", "-A", "."]);
    assert_eq!(
        commits(jobs),
        [dirty.clone(), first.clone()],
        "staged is not committed"
    );
    git(dir.path(), &["reset", "-q", "--hard"]);
    fs::write(jobs.join("c.yaml"), job("c")).unwrap();
    assert_eq!(
        commits(jobs),
        [first.clone(), first.clone(), dirty],
        "not in the commit"
    );

    let second = commit_all(dir.path());
    git(dir.path(), &["gc", "-q", "--prune=now"]);
    git(dir.path(), &["pack-refs", "--all"]);
    assert_eq!(commits(jobs), vec![second.clone(); 3], "packed");
    git(dir.path(), &["checkout", "-q", &first]);
    assert_eq!(commits(jobs), [first.clone(), first.clone()], "a detached head");
    let other = tempfile::tempdir().unwrap();
    let linked = other.path().join("linked");
    git(
        dir.path(),
        &["worktree", "add", "-q", linked.to_str().unwrap(), "main"],
    );
    assert_eq!(
        commits(&linked.join("jobs")),
        vec![second; 3],
        "a linked worktree"
    );
}

#[test]
fn a_repository_with_long_ids_is_read_as_well() {
    let dir = tree(&[("a.yaml", &job("a"))]);
    git(dir.path(), &["init", "-q", "--object-format=sha256"]);
    let commit = commit_all(dir.path());
    assert_eq!((commit.len(), commits(dir.path())), (64, vec![commit]));
}

#[test]
fn env_files_make_a_manifest_dirty_only_when_they_are_committed() {
    let dir = tree(&[
        (
            "a.yaml",
            "name: t\njobs: {a: {image: \"b:${V}\", env_file: e.env, triggers: {manual: true}}}\n",
        ),
        (".env", "V=1\n"),
        ("e.env", "A=1\n"),
        (".gitignore", ".env\n"),
    ]);
    git(dir.path(), &["init", "-q"]);
    let commit = commit_all(dir.path());
    fs::write(dir.path().join(".env"), "V=2\n").unwrap();
    assert_eq!(
        commits(dir.path()),
        std::slice::from_ref(&commit),
        "an ignored file says nothing"
    );
    fs::write(dir.path().join("e.env"), "A=2\n").unwrap();
    assert_eq!(commits(dir.path()), [format!("{commit}-dirty")]);
}

#[test]
fn a_commit_that_changes_no_job_changes_nothing_but_the_commit() {
    let dir = tree(&[("a.yaml", &job("a"))]);
    let state = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q"]);
    let first = commit_all(dir.path());
    let mut last_good = LastGood::open(state.path()).unwrap();
    let mut read = || {
        let current =
            load_with_last_good(dir.path(), &mut last_good, &Settings::default(), &BTreeSet::new()).unwrap();
        let kept = fs::read_dir(state.path()).unwrap().next().unwrap().unwrap();
        let job = current.loaded.desired.jobs.into_values().next().unwrap();
        (job, kept.metadata().unwrap().modified().unwrap())
    };
    let (mut before, kept) = read();
    assert_eq!(before.origin.commit.as_ref(), Some(&first));
    fs::write(dir.path().join("README"), "hello").unwrap();
    let second = commit_all(dir.path());
    let (after, kept_after) = read();
    assert_eq!(kept_after, kept, "the last good version is not written again");
    before.origin.commit = Some(second.clone());
    assert_eq!(after, before);
    // A broken version does not take the job away, nor the commit that it is of.
    fs::write(dir.path().join("a.yaml"), "jobs: [").unwrap();
    let (stale, _) = read();
    assert!(stale.origin.commit == Some(first) || stale.origin.commit == Some(second));
}
