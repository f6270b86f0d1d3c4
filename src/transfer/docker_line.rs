//! A `docker run` or `docker exec` of a crontab, taken apart: the engine is asked directly then, without a
//! shell and a client between.
//!
//! Only a line that a shell would leave alone is taken apart: with a variable, a glob or a pipe in it,
//! nobody can say here what it runs.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{ImageRef, validate_container_ref};

use super::caller::{Caller, Locks};
use super::compose_line::compose;
use super::draft::{Draft, Job, duration, literal, literals};
use super::report::{Report, names_secret};
use super::when::shown;
use super::yaml::Yaml;

/// A command line without anything that a shell would have to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Simple {
    pub words: Vec<String>,
    /// Files that the output went to.
    pub files: Vec<String>,
    /// `cd DIR &&` in front.
    pub folder: Option<String>,
}

/// Takes a command line apart; `None` when a shell would have to.
pub(crate) fn simple(line: &str) -> Option<Simple> {
    let mut out = Simple::default();
    let mut line = line.trim();
    if let Some(rest) = line.strip_prefix("cd ")
        && let Some((folder, rest)) = rest.split_once("&&")
    {
        let folder = words(folder)?;
        let [folder] = folder.words.as_slice() else {
            return None;
        };
        out.folder = Some(folder.clone());
        line = rest.trim();
    }
    let found = words(line)?;
    out.words = found.words;
    out.files = found.files;
    Some(out)
}

fn words(line: &str) -> Option<Simple> {
    let mut out = Simple::default();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        if let Some(after) = redirection(rest) {
            let (target, left) = word(after.trim_start(), true)?;
            // `2>&1` and `/dev/null` name no file.
            if !target.is_empty() && target != "/dev/null" && !after.starts_with('&') {
                out.files.push(target);
            }
            rest = left;
        } else {
            let (found, left) = word(rest, false)?;
            out.words.push(found);
            rest = left;
        }
        rest = rest.trim_start();
    }
    Some(out)
}

/// What follows `>`, `>>`, `2>` or `&>`.
fn redirection(text: &str) -> Option<&str> {
    let start = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let start = if start.len() == text.len() {
        text.strip_prefix('&').unwrap_or(text)
    } else {
        start
    };
    let after = start.strip_prefix('>')?;
    Some(after.strip_prefix('>').unwrap_or(after))
}

/// One word, and what is left behind it; a target of a redirection may be `&1`.
fn word(text: &str, is_target: bool) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    let mut in_braces = false;
    while let Some((at, c)) = chars.next() {
        match c {
            c if c.is_whitespace() => return Some((out, &text[at..])),
            '\'' => loop {
                match chars.next()?.1 {
                    '\'' => break,
                    c => out.push(c),
                }
            },
            '"' => loop {
                match chars.next()?.1 {
                    '"' => break,
                    '$' | '`' => return None,
                    '\\' => match chars.next()?.1 {
                        c @ ('"' | '\\' | '$' | '`') => out.push(c),
                        '\n' => {}
                        c => out.extend(['\\', c]),
                    },
                    c => out.push(c),
                }
            },
            '\\' => out.push(chars.next()?.1),
            '&' if at == 0 && is_target => out.push(c),
            '>' => return Some((out, &text[at..])),
            '$' | '`' | ';' | '&' | '|' | '<' | '(' | ')' | '*' | '?' | '[' | '!' => return None,
            '~' | '#' | '{' | '}' if out.is_empty() => return None,
            // `{a,b}` and `{1..3}` are several words to bash, which is `sh` on some systems.
            ',' | '.' if in_braces && (c == ',' || text[at..].starts_with("..")) => return None,
            '{' | '}' => {
                in_braces = c == '{';
                out.push(c);
            }
            c => out.push(c),
        }
    }
    Some((out, ""))
}

/// What is worked on: the job, where it goes, and the line it comes from.
pub(crate) struct Line<'a, 'r> {
    pub job: &'a mut Job,
    pub draft: &'a mut Draft,
    pub report: &'a mut Report<'r>,
    pub at: Range<usize>,
}

/// What a docker command came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Docker {
    /// The job is complete; this would be a name for it.
    Job(String),
    /// It is a docker command that no job can stand for.
    No { why: String, help: Option<&'static str> },
}

/// Reads a docker command line into `line.job`; `None` when it is another program's. `variables` are
/// those of its crontab, `locks` those of the lines above.
pub(crate) fn read(
    simple: &Simple,
    variables: &BTreeMap<String, String>,
    locks: &mut Locks,
    line: &mut Line<'_, '_>,
) -> Option<Docker> {
    let mut caller = Caller {
        folder: simple.folder.as_deref(),
        variables: variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        locks: Vec::new(),
    };
    let words = unwrapped(&simple.words, &mut caller, line);
    let program = words.first()?.rsplit('/').next()?;
    let is_docker = matches!(program, "docker" | "podman" | "docker-compose");
    locks.take(&caller.locks, is_docker, line);
    let (first, rest) = match program {
        "docker" | "podman" => (words.get(1)?.as_str(), &words[2..]),
        "docker-compose" => ("compose", &words[1..]),
        _ => return None,
    };
    if let Some(name) = caller.other_engine(program) {
        return Some(Docker::No {
            why: format!("`{name}` aims it at another engine"),
            help: Some("take the variable out where the scheduler uses that engine too"),
        });
    }
    caller.say_unread(first == "compose", line);
    for file in &simple.files {
        line.report
            .lost(line.at.clone(), format!("its output went to `{}`", shown(file)))
            .help("`docker-scheduler logs` shows the output of each run");
    }
    let done = match (first, rest.first().map(String::as_str)) {
        ("exec", _) => exec(rest, line),
        ("run", _) => run(rest, line),
        ("container", Some("exec")) => exec(&rest[1..], line),
        ("container", Some("run")) => run(&rest[1..], line),
        ("compose", _) => compose(rest, &caller, line),
        ("start" | "restart", Some(name)) => Err(format!(
            "`docker {first} {}` starts a container that exists",
            shown(name)
        )),
        _ => Err(format!("`docker {}` is no job", shown(first))),
    };
    Some(match done {
        Ok(name) => Docker::Job(name),
        Err(why) => Docker::No { why, help: None },
    })
}

/// Without what stands in front and makes no difference to the engine; the meaning of `flock` and
/// `timeout` goes into the policy.
fn unwrapped<'w>(words: &'w [String], caller: &mut Caller<'w>, line: &mut Line<'_, '_>) -> &'w [String] {
    let mut rest = words;
    loop {
        let program = rest
            .first()
            .map_or("", |word| word.rsplit('/').next().unwrap_or_default());
        rest = match (program, rest) {
            ("sudo", [_, next @ ..]) if next.first().is_some_and(|word| !word.starts_with('-')) => next,
            ("flock", [_, option, file, next @ ..])
                if matches!(option.as_str(), "-n" | "--nonblock" | "-xn") =>
            {
                caller.locks.push(file);
                line.job.extend("concurrency", Yaml::text("forbid"));
                next
            }
            ("flock", [_, file, next @ ..]) if !file.starts_with('-') => {
                caller.locks.push(file);
                line.job.extend("concurrency", Yaml::text("queue"));
                next
            }
            ("timeout", [_, limit, next @ ..]) if seconds(limit).is_some() => {
                // 0 is no limit.
                if let Some(seconds) = seconds(limit).filter(|seconds| *seconds > 0) {
                    line.job.extend("timeout", Yaml::Text(duration(seconds)));
                }
                next
            }
            ("nice" | "ionice", [_, next @ ..]) => without_numbers(next),
            ("chronic", [_, next @ ..]) => next,
            ("env", [_, next @ ..]) if next.first().is_some_and(|word| !word.starts_with('-')) => next,
            (_, [word, next @ ..]) if is_assignment(word) => {
                caller.variables.extend(word.split_once('='));
                next
            }
            _ => return rest,
        };
    }
}

/// A limit of coreutils' `timeout`: `90`, `30m`, `1.5h` is refused.
fn seconds(limit: &str) -> Option<u64> {
    let (number, unit) = match limit.split_at_checked(limit.len().checked_sub(1)?)? {
        (number, "s") => (number, 1),
        (number, "m") => (number, 60),
        (number, "h") => (number, 3_600),
        (number, "d") => (number, 86_400),
        _ => (limit, 1),
    };
    let number: u64 = number.parse().ok().filter(|number| *number < 10_000_000)?;
    Some(number.saturating_mul(unit))
}

/// Behind the options of `nice` and `ionice`, whose values are numbers: `-n 10`, `-c3`, `-5`.
fn without_numbers(words: &[String]) -> &[String] {
    let is_option = |word: &String| word.starts_with('-') || word.bytes().all(|byte| byte.is_ascii_digit());
    let end = words
        .iter()
        .position(|word| !is_option(word))
        .unwrap_or(words.len());
    &words[end..]
}

/// `NAME=value` in front of a command.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// One flag: `--name=value`, `--name value`, `-n value` or one of several letters.
pub(super) struct Flag<'w> {
    pub name: String,
    pub value: Option<&'w str>,
}

/// The flags in front of the arguments. `valued` are those that take a value, `bare` those that do not.
pub(super) fn flags<'w>(
    words: &'w [String],
    valued: &[&str],
    bare: &[&str],
) -> Result<(Vec<Flag<'w>>, &'w [String]), String> {
    let mut found = Vec::new();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        if word == "--" {
            return Ok((found, after));
        }
        if !word.starts_with('-') || word == "-" {
            break;
        }
        rest = after;
        let unknown = || format!("its flag `{}` is not known here", shown(word));
        if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
            if !valued.contains(&name) && !bare.contains(&name) {
                return Err(unknown());
            }
            found.push(Flag {
                name: name.to_owned(),
                value: Some(value),
            });
            continue;
        }
        let mut letters = vec![word.clone()];
        if !word.starts_with("--") {
            letters = word.chars().skip(1).map(|c| format!("-{c}")).collect();
        }
        for (at, name) in letters.iter().enumerate() {
            if bare.contains(&name.as_str()) {
                found.push(Flag {
                    name: name.clone(),
                    value: None,
                });
                continue;
            }
            if !valued.contains(&name.as_str()) {
                return Err(unknown());
            }
            // `-eNAME=value`: the rest of the word is the value.
            let offset = word
                .char_indices()
                .nth(at + 2)
                .map_or(word.len(), |(byte, _)| byte);
            let attached = if word.starts_with("--") {
                ""
            } else {
                &word[offset..]
            };
            let value = if attached.is_empty() {
                let (value, after) = rest
                    .split_first()
                    .ok_or_else(|| format!("its flag `{name}` has no value"))?;
                rest = after;
                value
            } else {
                attached
            };
            found.push(Flag {
                name: name.clone(),
                value: Some(value),
            });
            break;
        }
    }
    Ok((found, rest))
}

pub(super) const EXEC_VALUED: [&str; 8] = [
    "-u",
    "--user",
    "-w",
    "--workdir",
    "-e",
    "--env",
    "--env-file",
    "--detach-keys",
];
pub(super) const EXEC_BARE: [&str; 8] = [
    "-i",
    "-t",
    "-d",
    "-T",
    "--interactive",
    "--tty",
    "--detach",
    "--privileged",
];

pub(super) fn exec_flags(flags: &[Flag<'_>], line: &mut Line<'_, '_>) {
    for flag in flags {
        let value = flag.value.unwrap_or_default();
        match flag.name.as_str() {
            "-u" | "--user" => line.job.set("user", literal(value)),
            "-w" | "--workdir" => line.job.set("working_dir", literal(value)),
            "-e" | "--env" => environment(value, line),
            // Beside `exec`, a manifest has none.
            "--env-file" => lost(line, "`--env-file` of an exec"),
            "--privileged" => lost(line, "`--privileged` of an exec"),
            _ => {}
        }
    }
}

fn exec(words: &[String], line: &mut Line<'_, '_>) -> Result<String, String> {
    let (flags, rest) = flags(words, &EXEC_VALUED, &EXEC_BARE)?;
    exec_flags(&flags, line);
    let [container, command @ ..] = rest else {
        return Err(String::from("it names no container"));
    };
    validate_container_ref(container).map_err(|error| error.to_string())?;
    let Some(program) = command.first() else {
        return Err(String::from("it names no command"));
    };
    line.job.exec_in(container);
    line.job.set("command", literals(command));
    Ok(format!("{container}-{}", program_name(program)))
}

const RUN_VALUED: [&str; 72] = [
    "-a",
    "--attach",
    "--add-host",
    "--annotation",
    "--blkio-weight",
    "--cap-add",
    "--cap-drop",
    "--cgroup-parent",
    "--cidfile",
    "--cpu-period",
    "--cpu-quota",
    "-c",
    "--cpu-shares",
    "--cpus",
    "--cpuset-cpus",
    "--device",
    "--dns",
    "--dns-option",
    "--dns-search",
    "--domainname",
    "--entrypoint",
    "-e",
    "--env",
    "--env-file",
    "--expose",
    "--gpus",
    "--group-add",
    "--health-cmd",
    "-h",
    "--hostname",
    "--ip",
    "--ipc",
    "-l",
    "--label",
    "--label-file",
    "--link",
    "--log-driver",
    "--log-opt",
    "--mac-address",
    "-m",
    "--memory",
    "--memory-reservation",
    "--memory-swap",
    "--mount",
    "--name",
    "--network",
    "--net",
    "--network-alias",
    "--oom-score-adj",
    "--pid",
    "--pids-limit",
    "--platform",
    "-p",
    "--publish",
    "--pull",
    "--restart",
    "--runtime",
    "--security-opt",
    "--shm-size",
    "--stop-signal",
    "--stop-timeout",
    "--sysctl",
    "--tmpfs",
    "--ulimit",
    "-u",
    "--user",
    "--userns",
    "--uts",
    "-v",
    "--volume",
    "--volumes-from",
    "-w",
];
const RUN_MORE_VALUED: [&str; 2] = ["--workdir", "--volume-driver"];
const RUN_BARE: [&str; 14] = [
    "-d",
    "--detach",
    "-i",
    "--interactive",
    "-t",
    "--tty",
    "--rm",
    "--init",
    "--privileged",
    "--read-only",
    "-P",
    "--publish-all",
    "-q",
    "--no-healthcheck",
];

fn run(words: &[String], line: &mut Line<'_, '_>) -> Result<String, String> {
    let valued: Vec<&str> = RUN_VALUED.iter().chain(&RUN_MORE_VALUED).copied().collect();
    let (flags, rest) = flags(words, &valued, &RUN_BARE)?;
    let [image, command @ ..] = rest else {
        return Err(String::from("it names no image"));
    };
    image
        .parse::<ImageRef>()
        .map_err(|error| ToString::to_string(&error))?;
    line.job.set("image", literal(image));
    if !command.is_empty() {
        line.job.set("command", literals(command));
    }
    let mut name = None;
    for flag in &flags {
        if flag.name == "--name" {
            name = flag.value.map(str::to_owned);
        } else {
            run_flag(flag, line);
        }
    }
    let short = image.rsplit('/').next().unwrap_or(image);
    let short = short.split([':', '@']).next().unwrap_or(short);
    Ok(name.unwrap_or_else(|| short.to_owned()))
}

/// One flag of `docker run`. Flat, so that a flag is found by reading.
fn run_flag(flag: &Flag<'_>, line: &mut Line<'_, '_>) {
    let value = flag.value.unwrap_or_default();
    let on = !matches!(value, "false" | "0");
    let mut set = |key: &str| line.job.set(key, literal(value));
    match flag.name.as_str() {
        "-u" | "--user" => set("user"),
        "-w" | "--workdir" => set("working_dir"),
        "-m" | "--memory" => set("mem_limit"),
        "--memory-reservation" => set("mem_reservation"),
        "--memory-swap" => set("memswap_limit"),
        "--cpus" => set("cpus"),
        "-c" | "--cpu-shares" => set("cpu_shares"),
        "--cpuset-cpus" => set("cpuset"),
        "-h" | "--hostname" => set("hostname"),
        "--domainname" => set("domainname"),
        "--ipc" => set("ipc"),
        "--pid" => set("pid"),
        "--uts" => set("uts"),
        "--userns" => set("userns_mode"),
        "--cgroup-parent" => set("cgroup_parent"),
        "--oom-score-adj" => set("oom_score_adj"),
        "--pids-limit" => set("pids_limit"),
        "--platform" => set("platform"),
        "--pull" => set("pull_policy"),
        "--runtime" => set("runtime"),
        "--shm-size" => set("shm_size"),
        "--stop-signal" => set("stop_signal"),
        "--stop-timeout" => line.job.set("stop_grace_period", literal(&format!("{value}s"))),
        "--entrypoint" => line.job.set("entrypoint", literals([value])),
        "--init" => line.job.set("init", Yaml::Bool(on)),
        "--privileged" => line.job.set("privileged", Yaml::Bool(on)),
        "--read-only" => line.job.set("read_only", Yaml::Bool(on)),
        "-t" | "--tty" => line.job.set("tty", Yaml::Bool(on)),
        "--add-host" => line.job.push("extra_hosts", literal(value)),
        "--cap-add" => line.job.push("cap_add", literal(value)),
        "--cap-drop" => line.job.push("cap_drop", literal(value)),
        "--device" => line.job.push("devices", literal(value)),
        "--dns" => line.job.push("dns", literal(value)),
        "--dns-option" => line.job.push("dns_opt", literal(value)),
        "--dns-search" => line.job.push("dns_search", literal(value)),
        "--env-file" => {
            say_bind(value, line);
            line.job.push("env_file", literal(value));
        }
        "--group-add" => line.job.push("group_add", literal(value)),
        "--security-opt" => line.job.push("security_opt", literal(value)),
        "--tmpfs" => line.job.push("tmpfs", literal(value)),
        "-p" | "--publish" => line.job.push("ports", literal(value)),
        "-e" | "--env" => environment(value, line),
        "-l" | "--label" => pair("labels", value, line),
        "--annotation" => pair("annotations", value, line),
        "--sysctl" => pair("sysctls", value, line),
        "--ulimit" => ulimit(value, line),
        "--log-driver" => logging("driver", literal(value), line),
        "--log-opt" => log_option(value, line),
        "--gpus" => gpus(value, line),
        "-v" | "--volume" => volume(value, line),
        "--mount" => mount(value, line),
        "--network" | "--net" => network(value, line),
        // Ours are kept and removed by `history`, their output is read, and nobody types into them.
        "--rm" | "-i" | "--interactive" | "-a" | "--attach" | "-q" | "-d" | "--detach" => {}
        name => lost(line, &format!("`{name}`")),
    }
}

pub(super) fn lost(line: &mut Line<'_, '_>, what: &str) {
    line.report
        .lost(line.at.clone(), format!("{what} is not carried over"));
}

/// `NAME=value`; a bare name took the value of whoever called docker.
pub(crate) fn environment(text: &str, line: &mut Line<'_, '_>) {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            warn_of_secret(name, line.at.clone(), line.report);
            line.job.put("environment", name, literal(value));
        }
        _ => {
            let message = format!(
                "variable `{}` has no value here: it was taken from the caller's environment",
                shown(text)
            );
            line.report.lost(line.at.clone(), message);
        }
    }
}

pub(crate) fn warn_of_secret(name: &str, at: Range<usize>, report: &mut Report<'_>) {
    if names_secret(name) {
        say_secret(name, at, report);
    }
}

/// A variable's value that others may read now.
pub(crate) fn say_secret(name: &str, at: Range<usize>, report: &mut Report<'_>) {
    report
        .advice(
            at,
            format!("the value of `{}` stands in the manifest as it is", shown(name)),
        )
        .help(format!(
            "put it into the `.env` beside the manifest, and write `${{{}}}`",
            shown(name)
        ));
}

fn pair(key: &str, text: &str, line: &mut Line<'_, '_>) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    line.job.put(key, name, literal(value));
}

fn ulimit(text: &str, line: &mut Line<'_, '_>) {
    let Some((name, limit)) = text.split_once('=') else {
        lost(line, "`--ulimit` without a value");
        return;
    };
    let (soft, hard) = limit.split_once(':').unwrap_or((limit, limit));
    match (soft.parse::<i64>(), hard.parse::<i64>()) {
        (Ok(soft), Ok(hard)) => {
            let limits = Yaml::map([("soft", Yaml::Int(soft)), ("hard", Yaml::Int(hard))]);
            line.job.put("ulimits", name, limits);
        }
        _ => lost(line, "`--ulimit` without numbers"),
    }
}

fn logging(key: &str, value: Yaml, line: &mut Line<'_, '_>) {
    line.job.put("logging", key, value);
}

fn log_option(text: &str, line: &mut Line<'_, '_>) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let mut options = match line.job.get("logging") {
        Some(Yaml::Map(entries)) => match entries.iter().find(|(key, _)| key == "options") {
            Some((_, Yaml::Map(options))) => options.clone(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    options.push((name.to_owned(), literal(value)));
    logging("options", Yaml::Map(options), line);
}

fn gpus(value: &str, line: &mut Line<'_, '_>) {
    if value == "all" {
        line.job.set("gpus", Yaml::text("all"));
    } else {
        lost(line, &format!("`--gpus {}`", shown(value)));
    }
}

/// `[SOURCE:]TARGET[:OPTIONS]`
pub(crate) fn volume(text: &str, line: &mut Line<'_, '_>) {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            lost(line, &format!("volume `{}`", shown(text)));
            return;
        }
    };
    let mut kept = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" | "nocopy" => kept.push(option),
            other => lost(line, &format!("mount option `{}`", shown(other))),
        }
    }
    if !mount_target(target, line) {
        return;
    }
    let Some(source) = source else {
        line.job.push("volumes", literal(target));
        return;
    };
    let source = if source.starts_with(['/', '.']) {
        say_bind(source, line);
        source.to_owned()
    } else if validate_container_ref(source).is_ok() {
        line.draft.volume(source)
    } else {
        lost(line, &format!("volume `{}`", shown(source)));
        return;
    };
    let mode = if kept.is_empty() {
        String::new()
    } else {
        format!(":{}", kept.join(","))
    };
    line.job
        .push("volumes", literal(&format!("{source}:{target}{mode}")));
}

/// Whether a mount may be there, as the manifest's reader has it.
fn mount_target(target: &str, line: &mut Line<'_, '_>) -> bool {
    let fits = target.starts_with('/') && !target.trim_matches('/').is_empty() && !target.contains("..");
    if !fits {
        lost(line, &format!("a mount at `{}`", shown(target)));
    }
    fits
}

/// A relative source is beside the manifest now; an absolute one needs the operator's word.
pub(crate) fn say_bind(source: &str, line: &mut Line<'_, '_>) {
    if !source.starts_with('/') {
        line.report.changed(
            line.at.clone(),
            format!("`{}` is looked for beside the manifest", shown(source)),
        );
    }
}

/// `type=bind,source=/srv,target=/srv,readonly`
fn mount(text: &str, line: &mut Line<'_, '_>) {
    let mut kind = "volume";
    let (mut source, mut target, mut read_only) = ("", "", false);
    let mut other = None;
    for part in text.split(',') {
        match part.split_once('=').unwrap_or((part, "true")) {
            ("type", value) => kind = value,
            ("source" | "src", value) => source = value,
            ("target" | "dst" | "destination", value) => target = value,
            ("readonly" | "ro", value) => read_only = value != "false",
            _ => other = Some(part),
        }
    }
    if let Some(part) = other {
        lost(line, &format!("`{}` of a mount", shown(part)));
    }
    let mode = if read_only { ":ro" } else { "" };
    match (kind, source) {
        ("tmpfs", "") => line.job.push("tmpfs", literal(target)),
        ("volume", "") => volume(target, line),
        ("bind" | "volume", source) if !source.is_empty() => {
            volume(&format!("{source}:{target}{mode}"), line)
        }
        _ => lost(line, &format!("mount `{}`", shown(text))),
    }
}

/// A network by its name on the engine, or one of the modes.
pub(crate) fn network(name: &str, line: &mut Line<'_, '_>) {
    match name {
        "bridge" | "default" => {}
        "host" | "none" => line.job.set("network_mode", literal(name)),
        name if name.starts_with("container:") => line.job.set("network_mode", literal(name)),
        name if validate_container_ref(name).is_ok() => {
            let key = line.draft.network(name);
            line.job.push("networks", literal(&key));
        }
        name => lost(line, &format!("network `{}`", shown(name))),
    }
}

/// The last part of a path, without its ending: `/opt/backup.sh` is `backup`.
pub(crate) fn program_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or(name);
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_shell_leaves_alone_is_taken_apart() {
        let found =
            simple("cd '/srv/my shop' && docker exec a sh -c \"echo \\\"x\\\" 'y'\" >> /var/log/x.log 2>&1")
                .unwrap();
        assert_eq!(found.words, ["docker", "exec", "a", "sh", "-c", "echo \"x\" 'y'"]);
        assert_eq!(found.files, ["/var/log/x.log"]);
        assert_eq!(found.folder.as_deref(), Some("/srv/my shop"));
        assert_eq!(
            simple("docker ps >/dev/null 2>&1").unwrap().files,
            Vec::<String>::new()
        );
        assert_eq!(simple("a &>/dev/null").unwrap().words, ["a"]);
        let braces = simple("a --format={{.Names}} '{a,b}' x{y} 1.5,2").unwrap();
        assert_eq!(
            braces.words,
            ["a", "--format={{.Names}}", "{a,b}", "x{y}", "1.5,2"]
        );
        for line in [
            "docker exec a sh -c \"echo $HOME\"",
            "docker ps | wc",
            "a; b",
            "a && b",
            "a &",
            "a `b`",
            "ls *.txt",
            "a 'b",
            "a <b",
            "~/x",
            "a #b",
            "cp /x/{a,b} /y",
            "touch x{1..3}",
        ] {
            assert_eq!(simple(line), None, "{line}");
        }
    }

    #[test]
    fn flags_come_in_every_spelling() {
        let words = shlex::split("-it --rm -eA=1 -e B=2 --user=www -- x y").unwrap();
        let (found, rest) = flags(&words, &["-e", "--user"], &["-i", "-t", "--rm"]).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|flag| (flag.name.as_str(), flag.value))
            .collect();
        let expected = [
            ("-i", None),
            ("-t", None),
            ("--rm", None),
            ("-e", Some("A=1")),
            ("-e", Some("B=2")),
            ("--user", Some("www")),
        ];
        assert_eq!(found, expected);
        assert_eq!(rest, ["x", "y"]);
        assert!(flags(&["--nope".to_owned()], &[], &[]).is_err());
        assert!(flags(&["-e".to_owned()], &["-e"], &[]).is_err());
    }
}
