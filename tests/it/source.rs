//! The watched directory under a real `watch`: what git, ConfigMaps, people and a full system do to it. Each
//! test looks at what is armed in the end, and that nothing was taken away on the way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::git::git_ok;
use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Scheduler, wait_until};

/// A job that is armed for years.
fn armed(name: &str) -> String {
    job(name, "{schedule: [\"0 0 1 1 *\"]}")
}

/// A job that costs the engine nothing.
fn manual(name: &str) -> String {
    job(name, "{manual: true}")
}

fn job(name: &str, triggers: &str) -> String {
    format!(
        "name: t\njobs:\n  {name}: {{image: \"{IMAGE}\", pull_policy: never, network_mode: none, command: [\"true\"], \
         triggers: {triggers}}}\n"
    )
}

fn is_armed(scheduler: &Scheduler<'_>, job: &str) -> bool {
    scheduler.containers_of(job, "created").len() == 1
}

/// Whether that process was told of a change by the system.
fn has_inotify(pid: u32) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    let targets = open
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .into_iter()
        .any(|target| target == Path::new("anon_inode:inotify"))
}

#[test]
fn a_checkout_of_a_thousand_files_changes_what_the_commit_changes() {
    const FILES: usize = 1_000;
    let scheduler = Scheduler::new(Rig::shared(), "source-git");
    let dir = scheduler.dir();
    let write = |version: &str| {
        for n in 0..FILES {
            let folder = dir.join(format!("team-{}", n % 10));
            fs::create_dir_all(&folder).expect("a folder");
            let text = format!("# {version}\n{}", manual(&format!("j{n}-{version}")));
            fs::write(folder.join(format!("{n}.yaml")), text).expect("written");
        }
    };
    fs::write(dir.join("kept.yaml"), armed("kept")).expect("written");
    git_ok(dir, &["init", "-q"]);
    for version in ["one", "two"] {
        git_ok(dir, &["checkout", "-q", "-b", version]);
        write(version);
        git_ok(dir, &["add", "-A"]);
        git_ok(dir, &["commit", "-q", "-m", version]);
    }
    let watching = scheduler.watch();
    wait_until("the job is armed", || is_armed(&scheduler, "kept"));
    let before = scheduler.containers();
    let declared = |version: &str| {
        let listed = scheduler.ok(&["ls", "-q"]);
        let of = |line: &&str| line.ends_with(&format!("-{version}"));
        (listed.lines().filter(of).count(), listed.lines().count())
    };
    assert_eq!(declared("two"), (FILES, FILES + 1));
    for version in ["one", "two"] {
        git_ok(dir, &["checkout", "-q", version]);
        // More than half of all jobs are gone at once, which a person has to mean.
        watching.says("jobs are gone at once");
        wait_until("the commit is in force", || {
            let said = scheduler.run(&["apply", "--allow-mass-removal", "--quiet"]);
            said.code == 0 && declared(version) == (FILES, FILES + 1)
        });
    }
    let log = watching.log();
    // It was committed anew, and that is all.
    assert!(
        !log.contains("t.kept: no longer declared") && !log.contains("t.kept: policy edited"),
        "{log}"
    );
    assert_eq!(scheduler.containers()[0]["Id"], before[0]["Id"]);
    assert_eq!(watching.term(), 0);
}

/// As the kubelet writes a ConfigMap: the files are links through a folder that is itself a link, and that
/// one is exchanged.
#[test]
fn a_folder_of_links_that_is_swapped_is_read_again() {
    let scheduler = Scheduler::new(Rig::shared(), "source-swap");
    let dir = scheduler.dir();
    let version = |folder: &str, name: &str| {
        fs::create_dir(dir.join(folder)).expect("made");
        fs::write(dir.join(folder).join("a.yaml"), armed(name)).expect("written");
    };
    version("..2026_01", "one");
    symlink("..2026_01", dir.join("..data")).expect("linked");
    symlink("..data/a.yaml", dir.join("a.yaml")).expect("linked");
    let watching = scheduler.watch();
    wait_until("the first version is armed", || is_armed(&scheduler, "one"));
    for (folder, old, name) in [
        ("..2026_02", "..2026_01", "two"),
        ("..2026_03", "..2026_02", "three"),
    ] {
        version(folder, name);
        symlink(folder, dir.join("..data_tmp")).expect("linked");
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("swapped");
        fs::remove_dir_all(dir.join(old)).expect("removed");
        wait_until("the new version is armed", || is_armed(&scheduler, name));
    }
    wait_until("nothing else is", || scheduler.containers().len() == 1);
    assert_eq!(watching.term(), 0);
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_watched_on() {
    let scheduler = Scheduler::new(Rig::shared(), "source-again");
    scheduler.manifest("a.yaml", &armed("one"));
    let watching = scheduler.watch();
    wait_until("it is armed", || is_armed(&scheduler, "one"));
    let before = scheduler.containers();
    fs::remove_dir_all(scheduler.dir()).expect("removed");
    watching.says("what was declared last stays in force");
    assert_eq!(scheduler.containers()[0]["Id"], before[0]["Id"]);
    fs::create_dir(scheduler.dir()).expect("made");
    scheduler.manifest("a.yaml", &armed("one"));
    scheduler.manifest("b.yaml", &armed("two"));
    wait_until("what is new is armed", || is_armed(&scheduler, "two"));
    let kept = scheduler.containers_of("one", "created");
    assert_eq!(kept[0]["Id"], before[0]["Id"]);
    assert!(has_inotify(watching.pid()));
    assert_eq!(watching.term(), 0);
}

#[test]
fn what_is_found_in_manifests_is_as_loud_as_the_worst_of_it() {
    let scheduler = Scheduler::new(Rig::shared(), "source-loud");
    let beside = format!("{}services: {{web: {{image: nginx}}}}\n", armed("one"));
    scheduler.manifest("a.yaml", &beside);
    let watching = scheduler.watch();
    watching.says("WARN  warning: services and scheduled jobs in one file");
    scheduler.manifest("b.yaml", "name: b\njobs: [no]\n");
    watching.says("ERROR error: ");
    watching.says("ERROR warning: services and scheduled jobs in one file");
    assert_eq!(watching.term(), 0);
}

#[test]
fn where_nobody_tells_of_changes_they_are_looked_for() {
    let scheduler = Scheduler::new(Rig::shared(), "source-poll");
    scheduler.manifest("a.yaml", &armed("one"));
    let edited = |name: &str| {
        scheduler.manifest("a.yaml", &armed(name));
        wait_until("the edit is seen", || {
            is_armed(&scheduler, name) && scheduler.containers().len() == 1
        });
    };
    let watching = scheduler.watch_with(&["--poll"]);
    assert!(!has_inotify(watching.pid()), "it asks nobody");
    edited("polled");
    assert_eq!(watching.term(), 0);

    // No watch is left in the namespace that it runs in.
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let program = scheduler.watch_command(&[]);
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "sh", "-c"])
            .arg(format!("echo 0 > /proc/sys/user/{limit}; exec \"$@\""))
            .arg("sh")
            .arg(program.get_program())
            .args(program.get_args())
            .env_clear();
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        let watching = scheduler.spawn_as(command);
        watching.says("the system's file watches are used up: looking for changes every 2 seconds");
        watching.says("watches");
        edited(&limit.replace('_', "-"));
        assert_eq!(watching.term(), 0);
    }
}
