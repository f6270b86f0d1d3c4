//! Secret values are shown nowhere: each is a word of its own here, and after a life of plans, runs, edits
//! and errors no output, no label and no file of the state folder has one, but for `last-good`, which
//! keeps a manifest's `.env` for its owner alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Scheduler, wait_until};

/// What must be seen by nobody, before and after the edit: in `.env`, in an env file, in a secret's file.
const CANARIES: [&str; 6] = [
    "canary-of-the-variables",
    "canary-after-the-edit",
    "canary-of-the-env-file",
    "canary-of-the-env-file-edited",
    "canary-of-the-secret",
    "canary-of-the-secret-edited",
];

fn declare(scheduler: &Scheduler<'_>, edited: usize) {
    let file = |name: &str, text: &str| fs::write(scheduler.dir().join(name), text).expect("written");
    file(".env", &format!("PASSWORD={}\n", CANARIES[edited]));
    file("job.env", &format!("TOKEN={}\n", CANARIES[2 + edited]));
    file("db.secret", CANARIES[4 + edited]);
    let job = |name: &str, command: &str| {
        format!(
            "  {name}:\n    image: {IMAGE}\n    pull_policy: never\n    network_mode: none\n    \
             command: [sh, -c, \"{command}\", \"${{PASSWORD}}\"]\n    environment: {{PASSWORD: \"${{PASSWORD}}\"}}\n    \
             env_file: job.env\n    secrets: [db, injected]\n    configs: [settings]\n    labels: {{of: test}}\n    \
             triggers: {{schedule: [\"0 0 1 1 *\"]}}\n"
        )
    };
    let text = format!(
        "name: shop\njobs:\n{}{}secrets:\n  db: {{file: ./db.secret}}\n  injected: {{environment: PASSWORD}}\nconfigs:\n  \
         settings: {{content: \"password=${{PASSWORD}}\"}}\n",
        job(
            "good",
            "test -s /run/secrets/injected && test -s /settings && test -n $$TOKEN"
        ),
        job("bad", "exit 3"),
    );
    scheduler.manifest("shop.yaml", &text);
}

#[track_caller]
fn clean(what: &str, bytes: &[u8]) {
    for canary in CANARIES {
        let found = bytes
            .windows(canary.len())
            .any(|window| window == canary.as_bytes());
        assert!(
            !found,
            "`{canary}` is in {what}: {:.3000}",
            String::from_utf8_lossy(bytes)
        );
    }
}

/// Every file of a folder, with its mode.
fn files(folder: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, each);
        } else {
            each(&path);
        }
    }
}

/// Runs a command, whatever comes of it: nothing that it says has a secret.
#[track_caller]
fn say(scheduler: &Scheduler<'_>, args: &[&str]) {
    let ended = scheduler.run(args);
    let what = args.join(" ");
    clean(&what, ended.stdout.as_bytes());
    clean(&what, ended.stderr.as_bytes());
}

fn say_everything(scheduler: &Scheduler<'_>) {
    for line in [
        "validate",
        "validate --portable",
        "validate --format json",
        "plan",
        "plan --format json",
        "plan --format markdown",
        "ls",
        "ls --format json",
        "next",
        "history",
        "history --format json",
        "inspect shop.good",
        "inspect shop.bad",
        "logs shop.good",
        "logs shop.bad",
        "doctor",
        "doctor --format json",
    ] {
        say(scheduler, &line.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn secret_values_are_shown_nowhere() {
    let scheduler = Scheduler::new(Rig::shared(), "canary");
    declare(&scheduler, 0);
    say_everything(&scheduler);
    let watching = scheduler.watch_with(&["--log-level", "debug"]);
    wait_until("both jobs are armed", || {
        scheduler.containers_of("good", "created").len() == 1
            && scheduler.containers_of("bad", "created").len() == 1
    });
    scheduler.ends(0, &["trigger", "shop.good", "--wait"]);
    scheduler.ends(3, &["trigger", "shop.bad", "--wait"]);
    say(&scheduler, &["rerun", "shop.good"]);
    say_everything(&scheduler);

    // A change of secrets is a change, told without their values.
    let armed = scheduler.containers_of("good", "created");
    declare(&scheduler, 1);
    say_everything(&scheduler);
    wait_until("the armed one is replaced", || {
        let now = scheduler.containers_of("good", "created");
        now.len() == 1 && now[0]["Id"] != armed[0]["Id"]
    });
    say_everything(&scheduler);

    // Wrong, with a secret as the value that is wrong.
    scheduler.manifest(
        "wrong.yaml",
        &format!(
            "name: wrong\njobs:\n  wrong: {{image: {IMAGE}, mem_limit: \"${{PASSWORD}}\", triggers: {{schedule: [\"${{PASSWORD}}\"]}}}}\n"
        ),
    );
    watching.says("wrong.yaml");
    say_everything(&scheduler);

    for container in scheduler.containers() {
        clean("a label", container["Labels"].to_string().as_bytes());
    }
    assert_eq!(watching.term(), 0);
    clean("the log of `watch`", scheduler.log().as_bytes());
    let mut kept = 0;
    files(&scheduler.ledger(), &mut |path| {
        let bytes = fs::read(path).expect("read");
        if path.components().any(|part| part.as_os_str() == "last-good") {
            kept += 1;
            let mode = fs::metadata(path).expect("look").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} is its owner's alone", path.display());
        } else {
            clean(&path.display().to_string(), &bytes);
        }
    });
    assert!(kept > 0, "the last good versions are there");
    scheduler.ok(&["down"]);
}
