//! `logs`: what a run wrote, from the engine while its container is there, else from the file that
//! was captured at its end.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use crate::engine::{LogChunk, LogOptions, LogStream, Observe};
use crate::ledger::logs::{LogLine, Output, read_log};
use crate::model::Run;

use super::App;
use super::args::{NameArg, time_or_age};
use super::error::{CommandError, CommandResult, Exit};
use super::history::resolve_run;
use super::output::copy_raw;

/// Print the output of a run, also after its container is gone
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on until the run ends
    #[arg(short, long)]
    follow: bool,

    /// Only what was written at or after this time (RFC 3339, or an age such as 10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only what was written before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u64>,

    /// Put its time before each line
    #[arg(short, long)]
    timestamps: bool,

    /// A run, or a job (its newest run)
    #[arg(value_name = "RUN|JOB")]
    run: NameArg,
}

pub async fn run(args: Args, app: &App) -> CommandResult {
    let options = options(&args, app.now())?;
    let Some(ledger) = app.existing_ledger()? else {
        return Err(app.nothing_applied(&args.run));
    };
    let run = resolve_run(&ledger, &args.run, app)?;
    let captured = ledger.log_path(&run.id);
    if run.outcome.is_some() && captured.exists() {
        print_captured(&captured, &options, args.timestamps)?;
    } else {
        print_live(&run, &options, app).await?;
    }
    Ok(Exit::OK)
}

fn options(args: &Args, now: Timestamp) -> Result<LogOptions, CommandError> {
    let time = |text: &Option<String>| {
        text.as_deref()
            .map(|text| time_or_age(text, now).map_err(CommandError::usage))
            .transpose()
    };
    Ok(LogOptions {
        follow: args.follow,
        timestamps: args.timestamps,
        since: time(&args.since)?,
        until: time(&args.until)?,
        tail: args.tail,
    })
}

/// From the engine, while the container is there.
async fn print_live(run: &Run, options: &LogOptions, app: &App) -> Result<(), CommandError> {
    let container = match &run.container {
        Some(container) if !run.container_gone => container,
        _ => return Err(no_output(run)),
    };
    let failed = |error| CommandError::engine(&format!("read the output of `{}`", run.id), &error);
    let engine = app.engine().await?;
    let mut printer = Printer::default();
    let mut chunks = engine.logs(container, options).await.map_err(failed)?;
    while let Some(chunk) = chunks.next().await {
        printer.print(&chunk.map_err(failed)?)?;
    }
    if options.follow {
        print_lost_end(engine.as_ref(), container, options, &mut printer).await?;
    }
    Ok(())
}

/// Prints what a followed log leaves out: engines drop a last line that has no newline from it, and
/// have it in a plain reading.
async fn print_lost_end(
    engine: &dyn Observe,
    container: &str,
    options: &LogOptions,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let last_lines = LogOptions {
        follow: false,
        // One for each of the two outputs.
        tail: Some(2),
        ..options.clone()
    };
    // The container may have been deleted since: then there is nothing more to be had.
    let Ok(mut chunks) = engine.logs(container, &last_lines).await else {
        return Ok(());
    };
    let mut ends: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
    while let Some(Ok(chunk)) = chunks.next().await {
        ends[place(chunk.stream)].extend_from_slice(&chunk.bytes);
    }
    for stream in [LogStream::Stdout, LogStream::Stderr] {
        let end = ends[place(stream)]
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        if !end.is_empty() && !printer.is_within_line(stream) {
            printer.print(&LogChunk {
                stream,
                bytes: end.to_vec().into(),
            })?;
        }
    }
    Ok(())
}

/// Writes chunks as they are, and knows whether the last line of each output has ended.
#[derive(Default)]
struct Printer {
    within_line: [bool; 2],
}

impl Printer {
    fn print(&mut self, chunk: &LogChunk) -> io::Result<()> {
        if let Some(last) = chunk.bytes.last() {
            self.within_line[place(chunk.stream)] = *last != b'\n';
        }
        match chunk.stream {
            LogStream::Stdout => copy_raw(io::stdout().lock(), &chunk.bytes),
            LogStream::Stderr => copy_raw(io::stderr().lock(), &chunk.bytes),
        }
    }

    fn is_within_line(&self, stream: LogStream) -> bool {
        self.within_line[place(stream)]
    }
}

fn place(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
    }
}

/// Why nothing can be shown.
fn no_output(run: &Run) -> CommandError {
    let error = CommandError::failed(format!("there is no output of `{}`", run.id));
    let error = match run.outcome {
        Some(outcome) if run.started_at.is_none() => {
            error.caused_by(format!("it did not run: {outcome}, {}", run.reason))
        }
        _ => error,
    };
    match &run.note {
        Some(note) => error.caused_by(note.clone()),
        None => error,
    }
}

/// From the file that was written at the run's end.
fn print_captured(path: &Path, options: &LogOptions, timestamps: bool) -> Result<(), CommandError> {
    let failed = |error: io::Error| {
        CommandError::failed(format!("failed to read `{}`", path.display())).caused_by(error.to_string())
    };
    let lines = read_log(path).map_err(failed)?.filter(|line| match line {
        Ok(line) => {
            options.since.is_none_or(|since| line.at >= since)
                && options.until.is_none_or(|until| line.at < until)
        }
        Err(_) => true,
    });
    match options.tail {
        None => {
            for line in lines {
                print_captured_line(&line.map_err(failed)?, timestamps)?;
            }
        }
        Some(tail) => {
            for line in last(lines, tail).map_err(failed)? {
                print_captured_line(&line, timestamps)?;
            }
        }
    }
    Ok(())
}

/// The last `count` lines, without keeping more than those.
fn last(lines: impl Iterator<Item = io::Result<LogLine>>, count: u64) -> io::Result<VecDeque<LogLine>> {
    let mut kept = VecDeque::new();
    for line in lines {
        kept.push_back(line?);
        if kept.len() as u64 > count {
            kept.pop_front();
        }
    }
    Ok(kept)
}

fn print_captured_line(line: &LogLine, timestamps: bool) -> Result<(), CommandError> {
    let mut bytes = if timestamps {
        format!("{} ", line.at).into_bytes()
    } else {
        Vec::new()
    };
    bytes.extend_from_slice(&line.text);
    if line.ended {
        bytes.push(b'\n');
    }
    match line.output {
        Output::Stdout => copy_raw(io::stdout().lock(), &bytes)?,
        Output::Stderr => copy_raw(io::stderr().lock(), &bytes)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let line = |text: &str| LogLine {
            at: Timestamp::UNIX_EPOCH,
            output: Output::Stdout,
            text: text.as_bytes().to_vec(),
            ended: true,
        };
        let lines = || ["a", "b", "c"].into_iter().map(|text| Ok(line(text)));
        assert_eq!(last(lines(), 2).unwrap(), [line("b"), line("c")]);
        assert!(last(lines(), 0).unwrap().is_empty());
        assert_eq!(last(lines(), u64::MAX).unwrap().len(), 3);
        let damaged = lines().chain([Err(io::Error::other("damaged"))]);
        assert!(last(damaged, 1).is_err());
    }
}
