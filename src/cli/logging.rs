//! The scheduler's own log: lines to stderr that a person reads at 02:30, or JSON for machines.
//!
//! A line is `2026-11-23 02:30:00 +01:00 INFO  shop.backup: started …`: the machine's local time, no
//! module paths. It is talk, not data: nothing may parse the text form.

use std::fmt;
use std::io;

use anstyle::{AnsiColor, Style};
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
        let style = style(level);
        writeln!(
            writer,
            "{} {style}{level:<5}{style:#} {}",
            words::local(SystemClock.now(), &self.zone),
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
