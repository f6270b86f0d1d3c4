//! `watch --git`, with the installed git and a repository on this machine; the hook of `examples/git`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Scheduler, wait_until};

/// `git` in a folder, as nobody in particular.
fn git(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=n@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(folder)
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is installed")
}

#[track_caller]
pub fn git_ok(folder: &Path, arguments: &[&str]) {
    let output = git(folder, arguments);
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
}

fn job(name: &str) -> String {
    format!(
        "name: t\njobs:\n  {name}: {{image: \"{IMAGE}\", pull_policy: never, command: [cat, /data/file], network_mode: none, \
         volumes: [\"./data:/data:ro\"], triggers: {{manual: true, schedule: [\"0 0 1 1 *\"]}}}}\n"
    )
}

/// A repository that has this manifest in its folder `jobs`.
pub fn repository_of(manifest: &Path, folder: &Path) {
    repository(folder);
    commit(folder, &fs::read_to_string(manifest).expect("a manifest"));
}

/// A repository with these manifests in its folder `jobs`.
fn repository(folder: &Path) {
    fs::create_dir_all(folder.join("jobs/data")).expect("made");
    fs::write(folder.join("jobs/data/file"), "from the repository\n").expect("written");
    git_ok(folder, &["init", "-q"]);
}

fn commit(folder: &Path, manifest: &str) {
    fs::write(folder.join("jobs/a.yaml"), manifest).expect("written");
    git_ok(folder, &["add", "-A"]);
    git_ok(folder, &["commit", "-q", "--allow-empty", "-m", "change"]);
}

#[test]
fn a_branch_is_pulled_and_stays_in_force_while_it_cannot_be() {
    let scheduler = Scheduler::new(Rig::shared(), "pulled");
    let repo = scheduler.rig.folder("pulled-repository");
    repository(&repo);
    commit(&repo, &job("one"));
    let url = format!("file://{}#main:jobs", repo.display());
    let watching = scheduler.watch_with(&["--git", &url, "--git-interval", "1s"]);
    wait_until("the first commit is armed", || {
        scheduler.containers_of("one", "created").len() == 1
    });
    let armed = scheduler.containers();

    // Another commit that changes no job changes no container, though the whole tree was moved to it.
    fs::write(repo.join("README"), "words").expect("written");
    commit(&repo, &job("one"));
    watching.says("pulled file://");
    commit(
        &repo,
        &format!("{}{}", job("one"), job("two").replace("name: t\njobs:\n", "")),
    );
    wait_until("the job of a later commit is armed", || {
        scheduler.containers_of("two", "created").len() == 1
    });
    let kept = scheduler.containers_of("one", "created");
    assert_eq!(
        kept[0]["Id"], armed[0]["Id"],
        "made anew for a commit that did not change it"
    );

    // A broken commit: what was good stays.
    commit(&repo, "jobs: [");
    watching.says("error");
    assert_eq!(scheduler.containers_of("one", "created").len(), 1);

    // The repository is away.
    let away = repo.with_extension("away");
    fs::rename(&repo, &away).expect("renamed");
    watching.says("cannot pull");
    let run = scheduler.command(&["trigger", "t.one", "--wait"]).output();
    let run = run.expect("it runs");
    assert!(run.status.success(), "{run:#?}");
    assert_eq!(scheduler.ok(&["logs", "t.one"]), "from the repository\n");
    assert_eq!(watching.term(), 0);

    // Also over a restart.
    let watching = scheduler.watch_with(&["--git", &url, "--git-interval", "1h"]);
    watching.says("what was pulled last stays in force");
    assert_eq!(scheduler.containers_of("two", "created").len(), 1);
    assert_eq!(watching.term(), 0);

    // A path counts from where the command runs.
    let mut command = scheduler.watch_command(&["--git", "pulled-repository.away#main:jobs"]);
    let parent = away.parent().expect("a folder");
    command.current_dir(parent);
    assert_eq!(away, parent.join("pulled-repository.away"));
    let here = scheduler.spawn_as(command);
    here.says(&format!("pulled {}#main", away.display()));
    assert_eq!(here.term(), 0);
    let watching = scheduler.watch_with(&["--git", &url, "--git-interval", "1h"]);

    // SIGHUP asks at once.
    fs::rename(&away, &repo).expect("renamed");
    commit(&repo, &job("three"));
    watching.signal("HUP");
    wait_until("the newest commit is armed", || {
        scheduler.containers_of("three", "created").len() == 1
    });
    assert_eq!(watching.term(), 0);
}

#[test]
fn a_repository_that_never_was_there_is_an_error_without_its_password() {
    let scheduler = Scheduler::new(Rig::shared(), "never-pulled");
    let url = "http://me:hunter2@127.0.0.1:9/nowhere.git#main";
    let ended = scheduler.ends(3, &["watch", "--git", url]);
    assert!(ended.stderr.contains("failed to pull"), "{ended:#?}");
    assert!(!ended.stderr.contains("hunter2"), "{ended:#?}");
}

/// The hook as a newcomer installs it, with the program on PATH.
#[test]
fn the_example_hook_refuses_a_commit_with_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/git");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(example.join("."))
        .arg(folder)
        .status();
    assert!(copied.expect("cp runs").success());
    let bin = folder.join("bin");
    fs::create_dir(&bin).expect("made");
    std::os::unix::fs::symlink(
        env!("CARGO_BIN_EXE_docker-scheduler"),
        bin.join("docker-scheduler"),
    )
    .expect("linked");
    git_ok(folder, &["init", "-q"]);
    git_ok(folder, &["config", "core.hooksPath", "hooks"]);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let commit = || {
        Command::new("git")
            .args([
                "-c",
                "user.name=n",
                "-c",
                "user.email=n@example.com",
                "commit",
                "-q",
                "-m",
                "change",
            ])
            .current_dir(folder)
            .env("PATH", &path)
            .env("HOME", folder)
            .env("DOCKER_SCHEDULER_STATE", folder.join("state"))
            .output()
            .expect("git runs")
    };
    git_ok(folder, &["add", "hooks", "schedules"]);
    let good = commit();
    assert!(good.status.success(), "{good:?}");
    let manifest = folder.join("schedules/heartbeat.yaml");
    let text = fs::read_to_string(&manifest).expect("the example");
    fs::write(&manifest, text.replace("schedule:", "shedule:")).expect("written");
    git_ok(folder, &["add", "schedules"]);
    let bad = commit();
    assert!(!bad.status.success());
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(
        said.contains("a key with a similar name exists: `schedule`"),
        "{said}"
    );
}

/// What the workflow runs is what the program takes.
#[test]
fn the_example_workflow_runs_commands_that_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/git/.github/workflows/schedules.yml");
    let text = fs::read_to_string(path).expect("the workflow");
    let value: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
    assert!(value["jobs"].is_object(), "{value}");
    let mut seen = 0;
    for line in text.lines().map(str::trim) {
        let Some(command) = line.strip_prefix("docker-scheduler ") else {
            continue;
        };
        let command = command.split('>').next().unwrap_or_default();
        let mut words = shlex::split(command).expect("words");
        words.push("--help".to_owned());
        let output = Command::new(env!("CARGO_BIN_EXE_docker-scheduler"))
            .args(&words)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{line}: {output:?}");
        seen += 1;
    }
    assert!(seen >= 2, "only {seen} commands in the workflow");
}
