//! The scheduler's own log: lines to stderr that a person reads at 02:30, or JSON for machines.
//!
//! A line is `2026-11-23 02:30:00 +01:00 INFO  shop.backup: started …`: the machine's local time, no
//! module paths. systemd's journal has times and levels of its own. It is talk, not data: nothing may parse
//! the text form.

use std::fmt;
use std::io;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::output::printable;
use super::settings::{LogFormat, LogLevel};
use crate::clock::{Clock as _, SystemClock};

use super::words;
use crate::event;
use crate::os;

/// Starts the log of this process. A second call (a test) changes nothing.
pub fn start(level: LogLevel, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives(level)))
        .with_writer(Stderr::default);
    // An error says that a log was started before, which then goes on.
    let _ = match format {
        LogFormat::Text => builder
            .event_format(Lines {
                zone: TimeZone::system(),
                now: || SystemClock.now(),
                to_journal: os::stderr_is(std::env::var("JOURNAL_STREAM").as_deref().unwrap_or_default()),
            })
            .try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_current_span(false)
            .with_span_list(false)
            .with_timer(Utc)
            .try_init(),
    };
}

/// Writes what happened to the log. A text of several lines is several lines of the log.
pub fn say(event: &event::Event) {
    let job = event.job.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = event.what.to_string();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match event.what.level() {
            event::Level::Debug => tracing::debug!(job, "{line}"),
            event::Level::Info => tracing::info!(job, "{line}"),
            event::Level::Warn => tracing::warn!(job, "{line}"),
            event::Level::Error => tracing::error!(job, "{line}"),
        }
    }
}

/// Our own lines from `level` on. Libraries are heard only when they warn, but all of them at
/// `trace`.
fn directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,docker_scheduler=info",
        LogLevel::Debug => "warn,docker_scheduler=debug",
        LogLevel::Trace => "trace",
    }
}

/// Stderr that swallows its own failures: a log that nobody can read must not stop a job.
#[derive(Default)]
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = anstream::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = anstream::stderr().flush();
        Ok(())
    }
}

/// RFC 3339 in UTC.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", SystemClock.now())
    }
}

/// The text form.
struct Lines {
    zone: TimeZone,
    now: fn() -> Timestamp,
    /// A line begins with its level, as sd-daemon(3) has it.
    to_journal: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let level = *event.metadata().level();
        if self.to_journal {
            return writeln!(writer, "<{}>{}", priority(level), line.text());
        }
        let style = style(level);
        writeln!(
            writer,
            "{} {style}{level:<5}{style:#} {}",
            words::local((self.now)(), &self.zone),
            line.text()
        )
    }
}

/// One event's message and fields.
#[derive(Default)]
struct Line {
    job: String,
    message: String,
    fields: String,
}

impl Line {
    /// `job: message key=value`, on one line.
    fn text(&self) -> String {
        let job = if self.job.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.job)
        };
        printable(&format!("{job}{}{}", self.message, self.fields))
    }

    fn add(&mut self, name: &str, value: String) {
        match name {
            "message" => self.message = value,
            "job" => self.job = value,
            // The `log` bridge of libraries repeats what the metadata say.
            _ if name.starts_with("log.") => {}
            _ => {
                let quote = value.is_empty() || value.contains(char::is_whitespace);
                let value = if quote { format!("{value:?}") } else { value };
                self.fields.push_str(&format!(" {name}={value}"));
            }
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }
}

/// Of syslog.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn style(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default().bold(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => Style::new(),
        Level::DEBUG | Level::TRACE => Style::new().dimmed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use event::What;

    use crate::model::{JobName, Outcome};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the log has of these, at half past two in a night.
    fn log_of(events: &[event::Event], to_journal: bool) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(directives(LogLevel::Debug)))
            .with_writer(move || writer.clone())
            .event_format(Lines {
                zone: TimeZone::get("Europe/Berlin").unwrap(),
                now: || "2026-11-23T01:30:00Z".parse().unwrap(),
                to_journal,
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || events.iter().for_each(say));
        let bytes = page.0.lock().unwrap().clone();
        anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string()
    }

    /// One of each kind of event, and of each form that its words have.
    fn every_event() -> Vec<event::Event> {
        let run = || "shop.backup.20261123T013000Z".parse().unwrap();
        let slot = || "2026-11-23T01:30:00Z".parse().unwrap();
        let at: Timestamp = "2026-11-23T01:30:00Z".parse().unwrap();
        let of_instance = [
            What::Ready {
                version: "0.1.0".into(),
                engine: "unix:///var/run/docker.sock".into(),
                jobs: 4,
                directory: "/srv/jobs".into(),
            },
            What::Stopping { signal: "SIGTERM" },
            What::ManifestsChanged { jobs: 1, errors: 0 },
            What::ManifestsChanged { jobs: 4, errors: 2 },
            What::ManifestsReport {
                only_warnings: false,
                text: "error: unknown key `shedule` in job `backup`\n  --> jobs/backup.yaml:9:7\n   |\n 9 |       shedule:\n   |       ^^^^^^^ not a key of `triggers`\n\n".into(),
            },
            What::ManifestsReport {
                only_warnings: true,
                text: "warning: variable `PW` is not set; an empty text takes its place\n".into(),
            },
            What::EngineLost {
                why: "cannot reach the Docker engine at `unix:///var/run/docker.sock`: connection refused".into(),
            },
            What::EngineBack { away_secs: 5400 },
            What::ClockJumped { by_secs: 3600 },
            What::ClockJumped { by_secs: -18_000 },
            What::ClockSkew { by_secs: 7 },
            What::ClockSkew { by_secs: -3600 },
            What::Trouble {
                text: "the disk is full".into(),
            },
        ];
        let ended = |outcome, reason: &str, secs| What::Ended {
            run: run(),
            outcome,
            reason: reason.into(),
            secs,
        };
        let not_run = |count, outcome, reason: &str| What::NotRun {
            slot: slot(),
            count,
            outcome,
            reason: reason.into(),
        };
        let of_job = [
            What::Declared {
                cause: "new job".into(),
            },
            What::Forgotten,
            What::Armed {
                container: run(),
                slot: Some(slot()),
            },
            What::Armed {
                container: run(),
                slot: None,
            },
            What::ArmFailed {
                detail: "no command `pg_dmp` in image postgres:16".into(),
                retry_at: "2026-11-23T01:31:00Z".parse().unwrap(),
            },
            What::Started {
                run: run(),
                late_ms: 12,
            },
            ended(Outcome::Succeeded, "exit code 0", Some(75)),
            ended(Outcome::Failed, "exit code 1", Some(75)),
            ended(Outcome::TimedOut, "ran longer than 1h", Some(3600)),
            ended(Outcome::StartFailed, "no such network", None),
            ended(Outcome::Cancelled, "cancelled by ann", Some(3)),
            ended(Outcome::Unknown, "lost", None),
            not_run(1, Outcome::Skipped, "the previous run was active"),
            not_run(1, Outcome::Missed, "the scheduler was down"),
            not_run(1, Outcome::Suspended, "suspended"),
            not_run(101, Outcome::Dropped, "more than 100 missed slots"),
            What::Waits { slot: slot() },
            What::GivenUp {
                run: run(),
                why: "the job was edited".into(),
            },
            What::StopRequested {
                run: run(),
                why: "its timeout of 1h has passed".into(),
            },
            What::Removed {
                container: run(),
                cause: "no longer declared".into(),
            },
            What::Fencing { run: run() },
            What::NeverRan { run: run() },
            What::StartedBeside {
                run: run(),
                ledger: "5c1eb385-0000-4000-8000-000000000000".into(),
            },
            What::Pulling {
                image: "postgres:16".into(),
            },
            What::Trouble {
                text: "cannot stop: the engine did not answer".into(),
            },
        ];
        let job: JobName = "shop.backup".parse().unwrap();
        let event = |job: Option<&JobName>, what| event::Event {
            at,
            job: job.cloned(),
            what,
        };
        let mut events: Vec<_> = of_instance.map(|what| event(None, what)).into();
        events.extend(of_job.map(|what| event(Some(&job), what)));
        events
    }

    #[test]
    fn the_log_as_a_person_reads_it_at_half_past_two() {
        insta::assert_snapshot!(log_of(&every_event(), false));
    }

    /// Which stamps the time, shows levels in colours and can be asked for errors alone.
    #[test]
    fn in_the_journal_a_line_begins_with_its_level() {
        let lines = log_of(&every_event(), true);
        let plain = log_of(&every_event(), false);
        assert!(lines.lines().count() == plain.lines().count());
        for (line, plain) in lines.lines().zip(plain.lines()) {
            let (level, text) = plain["2026-11-23 02:30:00 +01:00 ".len()..].split_at(6);
            let priority = match level.trim() {
                "ERROR" => 3,
                "WARN" => 4,
                "INFO" => 6,
                _ => 7,
            };
            assert_eq!(line, format!("<{priority}>{text}"));
        }
    }

    #[test]
    fn every_kind_of_event_is_in_that_log() {
        let source = include_str!("../event.rs");
        let kinds = source.split("pub enum What {").nth(1).unwrap();
        let kinds = kinds.split("\n}\n").next().unwrap();
        let is_kind = |line: &&str| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase);
        let named: Vec<&str> = kinds
            .lines()
            .filter(is_kind)
            .map(|line| line.trim().trim_end_matches([' ', '{', ',']))
            .collect();
        assert!(named.len() > 20, "{named:?}");
        let shown: Vec<String> = every_event()
            .iter()
            .map(|event| format!("{:?}", event.what))
            .collect();
        let is_shown = |kind: &&str| {
            let of = |text: &String| text == kind || text.starts_with(&format!("{kind} "));
            shown.iter().any(of)
        };
        let missing: Vec<&str> = named.into_iter().filter(|kind| !is_shown(kind)).collect();
        assert!(missing.is_empty(), "no line of the log shows {missing:?}");
    }

    #[test]
    fn a_line_begins_with_its_job_and_stays_one_line() {
        let mut line = Line::default();
        line.add("message", "started\nINFO  fake".into());
        line.add("job", "shop.backup".into());
        line.add("attempt", "0".into());
        line.add("why", "no such network".into());
        assert_eq!(
            line.text(),
            "shop.backup: started\\nINFO  fake attempt=0 why=\"no such network\""
        );
    }

    #[test]
    fn every_level_is_a_filter_that_parses() {
        use clap::ValueEnum;
        for level in LogLevel::value_variants() {
            EnvFilter::try_new(directives(*level)).unwrap();
        }
    }
}
