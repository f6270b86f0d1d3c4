//! `pause` and `resume`: a person's word that a job is not to start for a while.
//!
//! Kept in the ledger, so it survives restarts and edits. Slots that come meanwhile are recorded as
//! `suspended` and never caught up.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::ledger::Ledger;
use crate::model::{Glob, InvalidName, JobName, Pause};
use crate::schedule::parse_duration;

use super::App;
use super::args::NameArg;
use super::declared::known_jobs;
use super::error::{CommandError, CommandResult, Exit};
use super::output::{print_line, quoted, talk};
use super::state::{self, of_ledger};

/// Let a job's slots pass until it is resumed, or until a time
///
/// What runs goes on; what waits or was to be tried again is given up. Slots meanwhile are recorded as
/// suspended and never caught up. `trigger` still starts the job.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// End the pause by itself: an instant (RFC 3339), a time of this machine (`2026-12-01T08:00`,
    /// `08:00`), or how long (`2h`)
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,

    /// The jobs; `*` and `?` match in full names, such as `shop.*`
    #[arg(value_name = "JOB", required = true)]
    pub(super) jobs: Vec<String>,
}

/// End the pause of a job: its next slot is started again
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The jobs; `*` and `?` match in full names, such as `shop.*`
    #[arg(value_name = "JOB", required = true)]
    pub(super) jobs: Vec<String>,
}

/// # Errors
/// When there is no such job, or the time is none that lies ahead.
pub fn pause(args: PauseArgs, app: &App) -> CommandResult {
    let now = app.now();
    let until = args
        .until
        .as_deref()
        .map(|text| ahead(text, now, &TimeZone::system()))
        .transpose()?;
    let (ledger, jobs) = chosen(app, &args.jobs)?;
    let pause = Pause {
        from: now,
        until,
        by: state::who(),
    };
    for job in &jobs {
        ledger
            .pause(job, &pause)
            .map_err(|error| of_ledger("write to the ledger", &error))?;
        print_line(&job.to_string())?;
    }
    if let Some(until) = until {
        let local = until.to_zoned(TimeZone::system());
        talk(&format!(
            "paused until {}",
            local.strftime("%Y-%m-%d %H:%M:%S %Z")
        ));
    }
    Ok(Exit::OK)
}

/// # Errors
/// When there is no such job, or one that was named by its whole name is not paused.
pub fn resume(args: ResumeArgs, app: &App) -> CommandResult {
    let now = app.now();
    let (ledger, jobs) = chosen(app, &args.jobs)?;
    let mut resumed = 0;
    for job in &jobs {
        let was_paused = ledger
            .resume(job, now)
            .map_err(|error| of_ledger("write to the ledger", &error))?;
        if was_paused {
            resumed += 1;
            print_line(&job.to_string())?;
        }
    }
    if resumed == 0 {
        let names: Vec<String> = jobs.iter().map(|job| format!("`{job}`")).collect();
        return Err(CommandError::failed(format!("not paused: {}", names.join(", "))));
    }
    Ok(Exit::OK)
}

/// The jobs that names and patterns mean, each once.
fn chosen(app: &App, wanted: &[String]) -> Result<(Ledger, BTreeSet<JobName>), CommandError> {
    let Some(ledger) = app.existing_ledger()? else {
        return Err(
            CommandError::failed(format!("there is no job {}", quoted(&wanted[0]))).hint(format!(
                "nothing has been applied yet for the instance `{}`",
                app.instance()
            )),
        );
    };
    let jobs = named(app, wanted, &known_jobs(&ledger)?)?;
    Ok((ledger, jobs))
}

/// Those of the known jobs that names and patterns mean, each once.
///
/// # Errors
/// When one means none of them.
pub(super) fn named(
    app: &App,
    wanted: &[String],
    known: &BTreeSet<JobName>,
) -> Result<BTreeSet<JobName>, CommandError> {
    let mut jobs = BTreeSet::new();
    for text in wanted {
        if text.contains(['*', '?']) {
            let glob = text.parse::<Glob>().map_err(CommandError::usage)?;
            jobs.extend(matching(&glob, text, known)?);
        } else {
            let name: NameArg = text
                .parse()
                .map_err(|error: InvalidName| CommandError::usage(error.to_string()))?;
            jobs.insert(app.resolve_job(&name, known.iter())?);
        }
    }
    Ok(jobs)
}

fn matching(glob: &Glob, text: &str, known: &BTreeSet<JobName>) -> Result<Vec<JobName>, CommandError> {
    let found: Vec<JobName> = known
        .iter()
        .filter(|job| glob.matches(&job.to_string()))
        .cloned()
        .collect();
    if found.is_empty() {
        return Err(CommandError::failed(format!("no job matches {}", quoted(text)))
            .hint("`docker-scheduler ls` lists the jobs; a pattern is matched with full names"));
    }
    Ok(found)
}

/// A moment that lies ahead.
fn ahead(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, CommandError> {
    let unclear = || {
        CommandError::usage(format!("{} is no time", quoted(text))).hint(
            "use an instant (2026-12-01T08:00:00+01:00), a time of this machine (2026-12-01T08:00, 08:00), or how long (2h)",
        )
    };
    let at = if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if let Ok(how_long) = parse_duration(text) {
        now.checked_add(how_long).map_err(|_| unclear())?
    } else {
        local(text, &now.to_zoned(zone.clone())).ok_or_else(unclear)?
    };
    if at <= now {
        return Err(CommandError::usage(format!("{} lies in the past", quoted(text))));
    }
    Ok(at)
}

/// A date and time, or the next time that the clock shows this time of day.
fn local(text: &str, now: &Zoned) -> Option<Timestamp> {
    let zone = now.time_zone();
    if let Ok(at) = text.parse::<DateTime>()
        && text.contains(':')
    {
        return Some(at.to_zoned(zone.clone()).ok()?.timestamp());
    }
    let time: jiff::civil::Time = text.parse().ok()?;
    let today = now.date().to_datetime(time).to_zoned(zone.clone()).ok()?;
    if today > *now {
        return Some(today.timestamp());
    }
    let tomorrow = now.date().tomorrow().ok()?.to_datetime(time);
    Some(tomorrow.to_zoned(zone.clone()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_pause_is_an_instant_a_local_time_or_a_length() {
        let now: Timestamp = "2026-11-23T11:00:00Z".parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let of = |text| ahead(text, now, &zone).map(|at| at.to_string()).ok();
        for (text, at) in [
            ("2026-12-01T08:00:00+01:00", Some("2026-12-01T07:00:00Z")),
            ("2026-12-01T08:00", Some("2026-12-01T07:00:00Z")),
            ("2026-12-01 08:00", Some("2026-12-01T07:00:00Z")),
            ("13:30", Some("2026-11-23T12:30:00Z")),
            ("08:00", Some("2026-11-24T07:00:00Z")),
            ("2h", Some("2026-11-23T13:00:00Z")),
            ("2026-11-23T10:00:00Z", None),
            ("2026-12-01", None),
            ("soon", None),
            ("-2h", None),
            ("", None),
        ] {
            assert_eq!(of(text).as_deref(), at, "{text}");
        }
    }
}
