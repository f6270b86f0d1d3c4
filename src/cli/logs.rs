//! `logs`: what a run wrote, from the engine while its container is there, else from the file that
//! was captured at its end.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use crate::engine::{LogOptions, LogStream};
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
    let mut chunks = engine.logs(container, options).await.map_err(failed)?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(failed)?;
        match chunk.stream {
            LogStream::Stdout => copy_raw(io::stdout().lock(), &chunk.bytes)?,
            LogStream::Stderr => copy_raw(io::stderr().lock(), &chunk.bytes)?,
        }
    }
    Ok(())
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
