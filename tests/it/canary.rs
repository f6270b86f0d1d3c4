//! Secret values are shown nowhere: each is a word of its own here, and after a life of plans, runs, edits
//! and errors no output, no label of ours and no file of the state folder has one, but for `last-good`,
//! which keeps a manifest's `.env` for its owner alone. First where secrets belong, then in every key
//! that a text can stand under.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::rig::{IMAGE, Rig};
use crate::scheduler::{Scheduler, wait_until};

/// What must be seen by nobody, before and after the edit: in `.env`, in an env file, in a secret's file.
const CANARIES: [&str; 10] = [
    "canary-of-the-variables",
    "canary-after-the-edit",
    "canary-of-the-env-file",
    "canary-of-the-env-file-edited",
    "canary-of-the-secret",
    "canary-of-the-secret-edited",
    // A name, an address, a port and a short word, for keys that take no other text.
    "canary-of-the-keys",
    "203.0.113.77",
    "64977",
    "canaryword77",
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
        // A number alone: its digits stand in one of the many IDs and hashes sooner or later.
        let is_number = canary.bytes().all(|digit| digit.is_ascii_digit());
        let part_of_more = |at: Option<usize>| {
            let byte = at.and_then(|at| bytes.get(at));
            is_number && byte.is_some_and(u8::is_ascii_hexdigit)
        };
        let found = bytes.windows(canary.len()).enumerate().any(|(at, window)| {
            window.eq_ignore_ascii_case(canary.as_bytes())
                && !part_of_more(at.checked_sub(1))
                && !part_of_more(Some(at + canary.len()))
        });
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
    // The label of what a container was made from tells nothing of its secrets to who tries values: it
    // has a part that counts them, which only the ledger's key can make.
    let armed = scheduler.containers_of("good", "created");
    let made_from = armed[0]["Labels"]["docker-scheduler.spec-hash"].clone();
    let parts: Vec<&str> = made_from.as_str().expect("a hash").split(':').collect();
    assert!(
        matches!(parts[..], ["v1", open, keyed] if open.len() == 32 && keyed.len() == 16),
        "{parts:?}"
    );
    let elsewhere = scheduler.with_other_ledger();
    let planned = elsewhere.run(&["plan", "--detailed-exitcode"]);
    assert!(
        planned.code == 0 && planned.stderr.contains("here they are not"),
        "{planned:?}"
    );
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

    assert_eq!(watching.term(), 0);
    nothing_is_left(&scheduler);
    scheduler.ok(&["down"]);
}

/// Neither our labels, nor the log, nor the state folder have one.
#[track_caller]
fn nothing_is_left(scheduler: &Scheduler<'_>) {
    for container in scheduler.containers() {
        for (name, value) in container["Labels"].as_object().expect("labels") {
            // Its own labels are a part of the container, as its environment is.
            if name.starts_with("docker-scheduler.") {
                clean(name, value.to_string().as_bytes());
            }
        }
    }
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
}

/// A job for each key that takes a text, by that key.
const KEYS: &[(&str, &str)] = &[
    ("image", "image: \"${NAME}:1\""),
    ("user", "user: \"${NAME}\""),
    ("working-dir", "working_dir: \"/${NAME}\""),
    ("hostname", "hostname: \"${NAME}\""),
    ("domainname", "domainname: \"${NAME}\""),
    ("cap-drop", "cap_drop: [\"${NAME}\"]"),
    ("cap-add", "cap_add: [\"${NAME}\"]"),
    ("security-opt", "security_opt: [\"apparmor=${NAME}\"]"),
    ("group-add", "group_add: [\"${NAME}\"]"),
    ("devices", "devices: [\"/dev/${NAME}:/dev/${NAME}\"]"),
    (
        "gpus",
        "gpus: [{driver: \"${NAME}\", device_ids: [\"${NAME}\"], options: {a: \"${NAME}\"}}]",
    ),
    ("ipc", "ipc: \"container:${NAME}\""),
    ("pid", "pid: \"container:${NAME}\""),
    ("sysctls", "sysctls: {net.core.somaxconn: \"${NAME}\"}"),
    ("sysctls-list", "sysctls: [\"net.${NAME}=1\"]"),
    ("cpuset", "cpuset: \"0-${PORT}\""),
    ("cgroup-parent", "cgroup_parent: \"/${NAME}\""),
    ("runtime", "runtime: \"${NAME}\""),
    ("platform", "platform: \"linux/${WORD}\""),
    ("stop-signal", "stop_signal: \"${WORD}\""),
    ("logging", "logging: {driver: \"${NAME}\"}"),
    (
        "logging-options",
        "logging: {driver: json-file, options: {max-size: \"${NAME}\"}}",
    ),
    ("extra-hosts", "extra_hosts: [\"${NAME}:${ADDRESS}\"]"),
    ("dns", "dns: \"${ADDRESS}\""),
    ("dns-search", "dns_search: \"${NAME}\""),
    ("dns-opt", "dns_opt: [\"${NAME}\"]"),
    ("ports", "ports: [\"${ADDRESS}:${PORT}:80\"]"),
    ("volumes", "volumes: [\"./${NAME}:/${NAME}\"]"),
    (
        "volumes-long",
        "volumes: [{type: bind, source: \"./${NAME}-too\", target: \"/${NAME}\", bind: {create_host_path: false}}]",
    ),
    ("volumes-named", "volumes: [\"own:/own\", \"foreign:/foreign\"]"),
    ("tmpfs", "tmpfs: \"/tmp:${NAME}\""),
    ("networks", "networks: [back]"),
    (
        "networks-long",
        "networks: {back: {aliases: [\"${NAME}\"], ipv4_address: \"${ADDRESS}\"}}",
    ),
    ("network-mode", "network_mode: \"container:${NAME}\""),
    ("labels", "labels: {a: \"${NAME}\"}"),
    ("labels-list", "labels: [\"${NAME}=${NAME}\"]"),
    ("annotations", "annotations: [\"${NAME}=${NAME}\"]"),
    ("healthcheck", "healthcheck: {test: [CMD, \"${NAME}\"]}"),
    ("command", "command: [\"${NAME}\"]"),
    ("command-text", "command: test -n \"${NAME}\""),
    ("entrypoint", "entrypoint: \"/${NAME}\""),
    ("environment", "environment: [\"${NAME}=${NAME}\", PORT]"),
    (
        "secrets",
        "secrets: [file, {source: content, target: \"/run/${NAME}\"}]",
    ),
    ("configs", "configs: [{source: file, target: \"/etc/${NAME}\"}]"),
];

/// Where such a value is refused, by what the message must be about.
const REFUSED: &[(&str, &str)] = &[
    ("image", "image: \"${NAME}!\""),
    ("pull_policy", "pull_policy: \"${NAME}\""),
    ("stop_grace_period", "stop_grace_period: \"${NAME}\""),
    ("mem_limit", "mem_limit: \"${NAME}\""),
    ("cpus", "cpus: \"${NAME}\""),
    ("pids_limit", "pids_limit: \"${NAME}\""),
    ("stop_signal", "stop_signal: \"${NAME}!\""),
    ("platform", "platform: \"${NAME}!\""),
    ("hostname", "hostname: \"-${NAME}\""),
    (
        "network_mode",
        "network_mode: \"${NAME}\"\n    networks: [default]",
    ),
    (
        "ports",
        "network_mode: \"container:${NAME}\"\n    ports: [\"80\"]",
    ),
    ("port", "ports: [\"${NAME}\"]"),
    ("dns", "dns: \"${NAME}\""),
    ("volumes", "volumes: [\"${NAME}:/x\"]"),
    ("volume", "volumes: [{type: \"${NAME}\", target: /x}]"),
    ("volumes", "volumes: [\"/${NAME}:/x\"]"),
    ("mounted", "volumes: [\"/${NAME}\", \"/${NAME}\"]"),
    ("network", "networks: [\"${NAME}\"]"),
    ("env file", "env_file: \"./${NAME}.env\""),
    ("secret", "secrets: [\"${NAME}\"]"),
    ("label", "labels: [\"docker-scheduler.${NAME}=1\"]"),
    ("tty", "tty: \"${NAME}\""),
    ("extra_hosts", "extra_hosts: [\"${NAME}\"]"),
    ("devices", "devices: [\"${NAME}\"]"),
    ("ulimits", "ulimits: {nofile: \"${NAME}\"}"),
    ("timeout", "x-scheduler: {timeout: \"${NAME}\"}"),
    ("timezone", "x-scheduler: {timezone: \"${NAME}\"}"),
    ("concurrency", "x-scheduler: {concurrency: \"${NAME}\"}"),
    ("except", "x-scheduler: {except: [\"${NAME}\"]}"),
    (
        "placement",
        "x-scheduler: {placement: {constraints: [\"${NAME}\"]}}",
    ),
    (
        "success_exit_codes",
        "x-scheduler: {success_exit_codes: [\"${NAME}\"]}",
    ),
    ("required", "command: \"${MISSING:?${NAME}}\""),
];

fn of_the_keys() -> String {
    let mut text = "name: keys\njobs:\n".to_owned();
    for (name, key) in KEYS {
        let mut own = format!("    {key}\n");
        for (other, line) in [
            ("image", format!("    image: {IMAGE}\n")),
            ("network", "    network_mode: none\n".to_owned()),
            ("command", "    command: [\"true\"]\n".to_owned()),
            ("entrypoint", "    entrypoint: []\n".to_owned()),
        ] {
            let needs_network = ["ports", "extra_hosts", "dns"]
                .iter()
                .any(|of| key.starts_with(of));
            if !(key.starts_with(other) || (other == "network" && needs_network)) {
                own.push_str(&line);
            }
        }
        text.push_str(&format!(
            "  {name}:\n{own}    pull_policy: never\n    triggers: {{manual: true, schedule: [\"0 0 1 1 *\"]}}\n"
        ));
    }
    text.push_str(
        "  exec:\n    command: [\"${NAME}\"]\n    user: \"${NAME}\"\n    triggers: {manual: true}\n    \
         x-scheduler: {exec: {container: \"${NAME}\"}}\n",
    );
    text.push_str(
        "networks: {back: {name: \"${NAME}-net\", external: true}}\nvolumes:\n  own: {name: \"${NAME}-own\"}\n  \
         foreign: {name: \"${NAME}-foreign\", external: true}\nsecrets:\n  file: {file: \"./${NAME}.secret\"}\n  \
         content: {environment: NAME}\nconfigs:\n  file: {file: \"./${NAME}.secret\"}\n",
    );
    text
}

#[test]
fn a_value_is_masked_in_whatever_key_it_is_put_into() {
    let scheduler = Scheduler::new(Rig::shared(), "canary-keys").allowing(&[
        "allow_cap_add",
        "allow_devices",
        "allow_gpus",
        "allow_host_ipc",
        "allow_host_pid",
        "allow_host_network",
        "allow_unconfined",
    ]);
    let [.., name, address, port, word] = CANARIES;
    let values = format!("NAME={name}\nADDRESS={address}\nPORT={port}\nWORD={word}\n");
    fs::write(scheduler.dir().join(".env"), values).expect("written");
    fs::write(scheduler.dir().join(format!("{name}.secret")), "x").expect("written");
    scheduler.manifest("keys.yaml", &of_the_keys());
    scheduler.ok(&["validate"]);
    let all = || scheduler.ok(&["ls", "-q"]);
    say(&scheduler, &["plan"]);
    say(&scheduler, &["apply"]);
    for job in all().lines() {
        say(&scheduler, &["trigger", job, "--wait"]);
        say(&scheduler, &["inspect", job]);
        say(&scheduler, &["logs", job]);
        say(&scheduler, &["rerun", job]);
    }
    assert_eq!(all().lines().count(), KEYS.len() + 1);
    let watching = scheduler.watch_with(&["--log-level", "debug"]);
    say_everything(&scheduler);

    // Refused: each message is about its key, and has the place instead of the value.
    for (about, key) in REFUSED {
        let image = match key.starts_with("image") {
            true => String::new(),
            false => format!("    image: {IMAGE}\n"),
        };
        scheduler.manifest(
            "refused.yaml",
            &format!(
                "name: refused\njobs:\n  j:\n{image}    {key}\n    triggers: {{schedule: [\"0 0 1 1 *\"]}}\n"
            ),
        );
        let said = scheduler.run(&["validate"]);
        assert_eq!(said.code, 3, "{key}: {said:?}");
        clean(key, said.stderr.as_bytes());
        assert!(said.stderr.contains(about), "{key}: {}", said.stderr);
        let line = match image.is_empty() {
            true => 4,
            false => 5,
        };
        let places = [line, line + 1].map(|line| format!("refused.yaml:{line}:"));
        assert!(
            places.iter().any(|place| said.stderr.contains(place)),
            "{key}: {}",
            said.stderr
        );
        say(&scheduler, &["validate", "--format", "json"]);
        say(&scheduler, &["plan"]);
    }
    watching.says("refused.yaml");
    assert_eq!(watching.term(), 0);
    nothing_is_left(&scheduler);
    scheduler.ok(&["down"]);
}
