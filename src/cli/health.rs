//! `health`: how the instance's `watch` is, by its heartbeat; asks neither the engine nor the database.

use std::time::Duration;

use crate::apply::owner;
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::{Heartbeat, WatchLock};
use crate::wire;

use super::App;
use super::args::duration;
use super::error::{CommandResult, Exit};
use super::output::{print_json, print_line, printable};
use super::state::of_ledger;
use super::words::{ago, counted};

/// Tell whether the watch of this instance is at work
///
/// For a container's health check or a monitor: 0 when it watches its jobs, 1 when it does not run, is
/// stuck, or can start nothing because engine or ledger fail it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Only whether it lives: an engine that is away is not held against it
    #[arg(long)]
    alive: bool,

    /// Age of a heartbeat at which the watch is stuck
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    max_age: Duration,

    /// Text or json
    #[arg(long, value_enum, default_value_t, hide_default_value = true)]
    format: super::args::TextOrJson,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler health
  docker-scheduler health --alive --max-age 5m";

/// What the heartbeat tells.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Working,
    InTrouble,
    Stuck(Option<Duration>),
    Starting,
    NotRunning,
}

/// # Errors
/// When the heartbeat is another user's.
pub fn run(args: Args, app: &App) -> CommandResult {
    let dir = app.state_folder()?;
    // The heartbeat first: a folder that is not ours to read says so, where a lock would count as held.
    let heartbeat = Heartbeat::read(&dir).map_err(|error| of_ledger("read the heartbeat", &error))?;
    let running = WatchLock::holder(&dir).is_some();
    let state = state(running, heartbeat.as_ref(), args.max_age);
    let healthy = match state {
        State::Working => true,
        State::InTrouble => args.alive,
        State::Stuck(_) | State::Starting | State::NotRunning => false,
    };
    let (word, text) = words(&state, heartbeat.as_ref(), app);
    if args.format == super::args::TextOrJson::Json {
        let trouble = heartbeat.as_ref().and_then(|beat| beat.trouble.as_ref());
        print_json(&wire::Health {
            v: wire::VERSION,
            healthy,
            state: word,
            why: (state != State::Working).then(|| text.clone()),
            since: trouble
                .filter(|_| state == State::InTrouble)
                .map(|(since, _)| *since),
            jobs: heartbeat.as_ref().map(|beat| beat.jobs),
            heartbeat_at: heartbeat.as_ref().map(|beat| beat.at),
        })?;
    } else {
        print_line(&printable(&text))?;
    }
    Ok(if healthy { Exit::OK } else { Exit::FAILED })
}

fn state(running: bool, heartbeat: Option<&Heartbeat>, max_age: Duration) -> State {
    if !running {
        return State::NotRunning;
    }
    let Some(heartbeat) = heartbeat else {
        return State::Starting;
    };
    let age = heartbeat.age(&owner::boot_id(), SystemClock.boottime(), SystemClock.now());
    match age {
        Some(age) if age <= max_age && heartbeat.trouble.is_some() => State::InTrouble,
        Some(age) if age <= max_age => State::Working,
        age => State::Stuck(age),
    }
}

fn words(state: &State, heartbeat: Option<&Heartbeat>, app: &App) -> (&'static str, String) {
    match state {
        State::Working => {
            let jobs = heartbeat.map_or(0, |beat| beat.jobs);
            ("working", format!("{} watched", counted(jobs, "job")))
        }
        State::InTrouble => {
            let (since, why) = heartbeat
                .and_then(|beat| beat.trouble.clone())
                .unwrap_or_default();
            let since = ago(since, app.now());
            ("in_trouble", format!("nothing is started since {since}: {why}"))
        }
        State::Stuck(Some(age)) => (
            "stuck",
            format!("the watch has not stirred for {} seconds", age.as_secs()),
        ),
        State::Stuck(None) => (
            "stuck",
            "the watch has not stirred since the machine was booted".to_owned(),
        ),
        State::Starting => (
            "starting",
            "the watch has started, and has not yet looked at the engine".to_owned(),
        ),
        State::NotRunning => (
            "not_running",
            format!("no watch is running for the instance `{}`", app.instance()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(120);

    fn heartbeat(age: u64) -> Heartbeat {
        Heartbeat {
            at: SystemClock.now(),
            boot_id: owner::boot_id(),
            boottime: SystemClock.boottime() - Duration::from_secs(age),
            jobs: 1,
            trouble: None,
        }
    }

    #[test]
    fn a_heartbeat_tells_how_the_watch_is() {
        let fresh = heartbeat(10);
        let sad = Heartbeat {
            trouble: Some((SystemClock.now(), "away".into())),
            ..fresh.clone()
        };
        let of_another_boot = Heartbeat {
            boot_id: "another".into(),
            ..fresh.clone()
        };
        assert_eq!(state(true, Some(&fresh), LIMIT), State::Working);
        assert_eq!(state(true, Some(&sad), LIMIT), State::InTrouble);
        assert!(matches!(
            state(true, Some(&heartbeat(121)), LIMIT),
            State::Stuck(Some(_))
        ));
        assert_eq!(state(true, Some(&of_another_boot), LIMIT), State::Stuck(None));
        assert_eq!(state(true, None, LIMIT), State::Starting);
        assert_eq!(state(false, Some(&fresh), LIMIT), State::NotRunning);
    }
}
