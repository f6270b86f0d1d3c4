//! Checks of the engine: whether it answers, what it lets through, and where it differs.

use jiff::SignedDuration;

use super::{Answers, Case, Engine, Finding, LedgerCase};
use crate::schedule::until_words;

/// Docker 20.10's, which everything here is tested against.
const OLDEST_API: (u32, u32) = (1, 41);

/// Below it two clocks agree as well as anybody needs; no decision rests on the engine's.
pub(super) const SKEW: SignedDuration = SignedDuration::from_secs(2);

pub(super) const NO_ENGINE: &str = "the engine does not answer";

/// What a check says while there is no engine.
pub(super) fn away() -> Vec<Finding> {
    vec![Finding::unknown(NO_ENGINE)]
}

pub(super) fn answers(case: &Case) -> Option<&Answers> {
    match &case.engine {
        Engine::Answers(answers) => Some(answers),
        Engine::Cluster(_) | Engine::Away { .. } => None,
    }
}

pub(super) fn engine(case: &Case) -> Vec<Finding> {
    match &case.engine {
        Engine::Answers(answers) => {
            let Answers {
                name,
                host,
                chosen_by,
                ..
            } = &**answers;
            vec![Finding::ok(format!("{name} at `{host}` ({chosen_by})"))]
        }
        // It has a check of its own.
        Engine::Cluster(_) => away(),
        Engine::Away { why, hints } => vec![Finding {
            hints: hints.clone(),
            ..Finding::error(why.join(": "))
        }],
    }
}

pub(super) fn api(case: &Case) -> Vec<Finding> {
    let Some(engine) = answers(case) else {
        return away();
    };
    let version = &engine.api_version;
    let parsed = version
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    vec![match parsed {
        Some(found) if found >= OLDEST_API => Finding::ok(format!("API {version}")),
        Some(_) => Finding::error(format!("API {version} is older than 1.41"))
            .hint("docker-scheduler needs Docker 20.10 or later, or Podman 4 or later"),
        None => Finding::warning(format!(
            "the engine says its API is `{version}`, which is no version"
        ))
        .hint("check what answers there: `docker version` asks the same address"),
    }]
}

pub(super) fn permissions(case: &Case) -> Vec<Finding> {
    let Some(engine) = answers(case) else {
        return away();
    };
    let refused: Vec<Finding> = engine
        .questions
        .iter()
        .filter_map(|question| Some((question.what, question.refused.as_ref()?)))
        .map(|(what, why)| {
            Finding::error(format!("cannot {what}: {why}")).hint(
                "a proxy or an authorization plugin stands before the engine: allow GET and POST of containers, images, volumes and exec, DELETE of containers and volumes, GET of networks, events, info and version",
            )
        })
        .collect();
    if refused.is_empty() {
        return vec![Finding::ok("everything that was asked is allowed")];
    }
    refused
}

/// Differences that were measured, as short as they can be said.
pub(super) fn platform(case: &Case) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(engine) = answers(case) {
        if !engine.differences.is_empty() {
            let differs = Finding::note(format!("{} is not quite Docker:", engine.name));
            let known = engine.differences.iter();
            found.push(known.fold(differs, |finding, (what, so)| {
                finding.hint(format!("{what}: {so}"))
            }));
        }
        if engine.rootless {
            found.push(match case.host.lingers {
                Some(false) => Finding::warning("a rootless engine ends with its user's last session, and the jobs with it")
                    .hint("`loginctl enable-linger` lets it go on"),
                _ => Finding::note("a rootless engine: limits on memory and CPU need cgroup v2 delegation, ports below 1024 a setting of the host"),
            });
        }
        if engine.operating_system.contains("Docker Desktop") {
            found.push(
                Finding::note("Docker Desktop: the engine runs in a virtual machine that sleeps with this computer, and is off until Desktop is started")
                    .hint("`missed_fires` says what becomes of slots that pass meanwhile; folders for bind mounts must be shared in its settings"),
            );
        }
        found.extend(engine.warnings.iter().map(|warning| {
            let text = warning.trim_start_matches("WARNING: ");
            Finding::note(format!("the engine says: {text}"))
        }));
    }
    if case.host.wsl {
        found.push(
            Finding::note("WSL: Windows may end this distribution when its last window is closed, and the scheduler with it")
                .hint("run `watch` as a service (`systemd=true` in /etc/wsl.conf), or in a container of Docker Desktop"),
        );
    }
    if found.is_empty() {
        return match answers(case) {
            Some(_) => vec![Finding::ok("no known differences")],
            None => away(),
        };
    }
    found
}

pub(super) fn clock(case: &Case) -> Vec<Finding> {
    let mut found = Vec::new();
    if let LedgerCase::Open(ledger) = &case.ledger
        && let Some(last) = ledger.last_alive
        && case.now < last
    {
        found.push(
            Finding::error(format!(
                "this machine's clock is {} behind what the ledger has already seen",
                until_words(case.now, last)
            ))
            .hint("set the clock (`timedatectl`, chrony): slots up to that time count as done and are not repeated"),
        );
    }
    let ahead = answers(case).and_then(|engine| engine.clock_ahead);
    match ahead {
        Some(ahead) if ahead.abs() > SKEW => {
            let direction = if ahead.is_positive() { "ahead of" } else { "behind" };
            found.push(
                Finding::warning(format!(
                    "the engine's clock is {} {direction} this machine's",
                    until_words(case.now, case.now.saturating_add(ahead).unwrap_or(case.now))
                ))
                .hint("slots follow this machine's clock, and times of runs come from the engine's: set both by NTP"),
            );
        }
        Some(_) => {}
        None if answers(case).is_some() => {
            found.push(Finding::unknown("the engine does not say what time it is"));
        }
        None => found.push(Finding::unknown(NO_ENGINE)),
    }
    if found.is_empty() {
        found.push(Finding::ok("this machine and the engine agree within 2s"));
    }
    found
}

pub(super) fn log_driver(case: &Case) -> Vec<Finding> {
    let Some(engine) = answers(case) else {
        return away();
    };
    let driver = &engine.log_driver;
    vec![match driver.as_str() {
        "json-file" | "local" | "journald" | "k8s-file" => {
            Finding::ok(format!("`{driver}`, which can be read back"))
        }
        "none" | "passthrough" => Finding::warning(format!(
            "the engine's log driver is `{driver}`: the output of runs is lost"
        ))
        .hint("set `logging: {driver: json-file}` in the jobs, or `log-driver` in the engine's daemon.json"),
        "" => Finding::unknown("the engine does not name its log driver"),
        _ => Finding::note(format!(
            "the engine's log driver is `{driver}`: output is read from the engine's own copy, which it may bound or lack"
        ))
        .hint("set `logging: {driver: json-file}` in jobs whose whole output matters"),
    }]
}
