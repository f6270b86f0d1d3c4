//! `logs`: what a run wrote, from the engine while its container is there, else from the file that
//! was captured at its end.
//!
//! A slot's attempts are one story: the output of a run is followed by that of its later attempts.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use crate::engine::{EngineError, LogChunk, LogOptions, LogStream, Observe, SharedEngine};
use crate::ledger::logs::{LogLine, Output, read_log};
use crate::ledger::{Ledger, WatchLock};
use crate::model::{JobName, Run, RunId, Within};

use super::App;
use super::args::{NameArg, time_or_age};
use super::error::{CommandError, CommandResult, Exit};
use super::history::{Meant, meant, newest_run, no_run_yet};
use super::output::{copy_raw, talk};
use super::state::of_ledger;
use super::wait::{LOOK_AGAIN, has_started};

/// Print the output of a run, also after its container is gone
///
/// From its first byte, with what its later attempts wrote after it. A job means its newest slot.
/// With -f a run that has not started yet is waited for, and retries are followed to the last.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Go on until the run and its retries have ended
    #[arg(short, long)]
    pub(super) follow: bool,

    /// Only what was written at or after this time (RFC 3339, or an age such as 10m)
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,

    /// Only what was written before this time
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,

    /// Only the last N lines, of the newest attempt
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) tail: Option<u64>,

    /// Put its time before each line
    #[arg(short, long)]
    pub(super) timestamps: bool,

    /// A run, or a job (its newest slot)
    #[arg(value_name = "RUN|JOB")]
    pub(super) run: NameArg,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler logs shop.backup
  docker-scheduler logs -f -n 100 -t shop.backup
  docker-scheduler logs --since 10m shop.backup.20261122T013000Z";

pub async fn run(args: Args, app: &App) -> CommandResult {
    let options = options(&args, app.now())?;
    let Some(ledger) = app.existing_ledger()? else {
        return Err(app.nothing_applied(&args.run));
    };
    let first = first_run(&ledger, &args, app).await?;
    let mut attempt = if args.tail.is_some() {
        attempts_from(&ledger, &first)?.pop().unwrap_or(first)
    } else {
        first
    };
    loop {
        show(&attempt, &options, &ledger, app).await?;
        match next_attempt(&ledger, &attempt, args.follow).await? {
            Some(next) => attempt = next,
            None => return Ok(Exit::OK),
        }
        talk(&format!("==> {} (attempt {}) <==", attempt.id, attempt.attempt));
    }
}

/// The run to begin with; with `-f` one that is still to come is waited for.
async fn first_run(ledger: &Ledger, args: &Args, app: &App) -> Result<Run, CommandError> {
    match meant(ledger, &args.run, app)? {
        Meant::Run(run) => Ok(*run),
        Meant::Coming(coming) if args.follow => started(ledger, &coming.id).await,
        Meant::Coming(coming) => Err(coming
            .has_not_started(app.now())
            .hint("`logs -f` waits for its start")),
        Meant::Job(job) => match newest_run(ledger, &job)? {
            Some(newest) => Ok(attempts_from_first(ledger, newest)?),
            None if args.follow => first_of_job(ledger, &job).await,
            None => Err(no_run_yet(ledger, &job)?),
        },
    }
}

async fn started(ledger: &Ledger, id: &RunId) -> Result<Run, CommandError> {
    has_started(ledger, id).await?;
    again(ledger, id)
}

async fn first_of_job(ledger: &Ledger, job: &JobName) -> Result<Run, CommandError> {
    talk(&format!("waiting for the first run of `{job}`"));
    loop {
        if let Some(run) = newest_run(ledger, job)? {
            return Ok(run);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The run as the ledger has it now.
fn again(ledger: &Ledger, id: &RunId) -> Result<Run, CommandError> {
    ledger
        .run(id)
        .map_err(|error| of_ledger("read the runs", &error))?
        .ok_or_else(|| CommandError::failed(format!("the start of `{id}` never reached the engine")))
}

/// The run and the later attempts of its slot.
fn attempts_from(ledger: &Ledger, run: &Run) -> Result<Vec<Run>, CommandError> {
    let mut attempts = ledger
        .attempts_of(run)
        .map_err(|error| of_ledger("read the runs", &error))?;
    attempts.retain(|other| other.attempt >= run.attempt);
    Ok(attempts)
}

/// The first attempt of a run's slot that had a container.
fn attempts_from_first(ledger: &Ledger, run: Run) -> Result<Run, CommandError> {
    let attempts = ledger
        .attempts_of(&run)
        .map_err(|error| of_ledger("read the runs", &error))?;
    Ok(attempts
        .into_iter()
        .find(|attempt| attempt.container.is_some())
        .unwrap_or(run))
}

/// The attempt after this one; with `follow` one that is still to come is waited for, as long as a
/// `watch` is there that would start it.
async fn next_attempt(ledger: &Ledger, run: &Run, follow: bool) -> Result<Option<Run>, CommandError> {
    loop {
        let next = attempts_from(ledger, run)?
            .into_iter()
            .find(|other| other.attempt > run.attempt);
        if next.is_some() || !follow || WatchLock::holder(ledger.dir()).is_none() {
            return Ok(next);
        }
        if !may_be_followed(&again(ledger, &run.id)?) {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether another attempt may come: the end is not recorded yet, or it was and a time for the next
/// attempt with it. What is started by hand is not tried again.
fn may_be_followed(run: &Run) -> bool {
    run.slot.is_some() && (run.outcome.is_none() || run.retry_at.is_some())
}

/// Prints all that one run has put out.
///
/// # Errors
/// When nothing is left of it.
pub async fn print_output(ledger: &Ledger, id: &RunId, app: &App) -> Result<(), CommandError> {
    let run = again(ledger, id)?;
    show(&run, &LogOptions::default(), ledger, app).await
}

/// All output of one attempt.
async fn show(run: &Run, options: &LogOptions, ledger: &Ledger, app: &App) -> Result<(), CommandError> {
    let run = again(ledger, &run.id)?;
    let captured = ledger.log_path(&run.id);
    if run.outcome.is_none() && matches!(run.within, Within::Exec(_)) {
        return print_growing(ledger, &run, options).await;
    }
    if run.outcome.is_some() && captured.exists() {
        return print_captured(&captured, options);
    }
    let mut printer = Printer::new(options.timestamps);
    match print_live(&run, options, ledger, &mut printer, app).await {
        // It was deleted while we read: what was copied before that is all there is.
        Err(Lost) if captured.exists() && printer.is_fresh() => print_captured(&captured, options),
        Err(Lost) => Err(no_output(&again(ledger, &run.id)?)),
        Ok(result) => result,
    }
}

pub(super) fn options(args: &Args, now: Timestamp) -> Result<LogOptions, CommandError> {
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

/// How often a growing log is looked at.
const GROWING_LOOK: Duration = Duration::from_millis(300);

/// From the file that whoever started the command is writing: nobody else can read its output.
async fn print_growing(ledger: &Ledger, run: &Run, options: &LogOptions) -> Result<(), CommandError> {
    let whole = ledger.log_path(&run.id);
    let mut printed = 0;
    loop {
        let ended = ledger
            .run(&run.id)
            .map_err(|error| of_ledger("read a run", &error))?
            .is_none_or(|run| run.outcome.is_some());
        let path = if whole.exists() {
            whole.clone()
        } else {
            whole.with_extension("partial")
        };
        let mut lines = match read_log(&path) {
            // A last line may be half written.
            Ok(lines) => lines.map_while(Result::ok).collect::<Vec<_>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(
                    CommandError::failed(format!("failed to read `{}`", path.display()))
                        .caused_by(error.to_string()),
                );
            }
        };
        let total = lines.len();
        lines.drain(..printed.min(total));
        lines.retain(|line| is_within(line, options));
        if let (0, Some(tail)) = (printed, options.tail) {
            let cut = lines
                .len()
                .saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
            lines.drain(..cut);
        }
        let mut outputs = Outputs::default();
        for line in &lines {
            outputs.write(line, options.timestamps)?;
        }
        outputs.flush()?;
        printed = total;
        if ended || !options.follow {
            return Ok(());
        }
        tokio::time::sleep(GROWING_LOOK).await;
    }
}

/// The container is not there any more.
struct Lost;

/// From the engine, while the container is there.
async fn print_live(
    run: &Run,
    options: &LogOptions,
    ledger: &Ledger,
    printer: &mut Printer,
    app: &App,
) -> Result<Result<(), CommandError>, Lost> {
    let in_use = run.outcome.is_none() && matches!(run.within, Within::Reused(_));
    let container = match &run.container {
        Some(container) if !run.container_gone || in_use => container,
        _ => return Err(Lost),
    };
    let engine = match app.engine().await {
        Ok(engine) => engine,
        Err(error) => return Ok(Err(error)),
    };
    if options.follow
        && let Err(error) = wait_for_process(&engine, container, run, ledger).await
    {
        return Ok(Err(error));
    }
    let options = &LogOptions {
        // What earlier runs wrote in a reused container is not this run's.
        since: options.since.max(run.logs_since(None)),
        ..options.clone()
    };
    let hidden = ledger.masks_logging(&run.id).unwrap_or(true);
    let failed = |error: EngineError| {
        let error = error.reworded(|words| match hidden {
            true => "the engine's words are not shown, they may quote a secret".to_owned(),
            false => words.to_owned(),
        });
        CommandError::engine(&format!("read the output of `{}`", run.id), &error)
    };
    let mut chunks = match engine.logs(container, options).await {
        Ok(chunks) => chunks,
        Err(EngineError::Refused { status: 404, .. }) => return Err(Lost),
        Err(error) => return Ok(Err(failed(error))),
    };
    while let Some(chunk) = chunks.next().await {
        let printed = chunk
            .map_err(failed)
            .and_then(|chunk| printer.print(&chunk).map_err(CommandError::from));
        if printed.is_err() {
            return Ok(printed);
        }
    }
    if options.follow {
        return Ok(print_lost_end(engine.as_ref(), container, run, options, ledger, printer).await);
    }
    Ok(Ok(()))
}

/// A container whose start is on its way has no output to follow yet.
async fn wait_for_process(
    engine: &SharedEngine,
    container: &str,
    run: &Run,
    ledger: &Ledger,
) -> Result<(), CommandError> {
    let failed = |error| CommandError::engine(&format!("inspect `{}`", run.id), &error);
    while let Some(state) = engine.inspect(container).await.map_err(failed)? {
        if !state.is_pristine() || again(ledger, &run.id)?.outcome.is_some() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Prints what a followed log leaves out: engines drop a last line that has no newline from it, and
/// have it in a plain reading.
async fn print_lost_end(
    engine: &dyn Observe,
    container: &str,
    run: &Run,
    options: &LogOptions,
    ledger: &Ledger,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let ends = match lost_ends(engine, container, options).await {
        Some(ends) => ends,
        // Deleted since: the file that was captured before that has it.
        None => captured_ends(&ledger.log_path(&run.id), options),
    };
    for (stream, end) in [LogStream::Stdout, LogStream::Stderr].into_iter().zip(ends) {
        if !end.is_empty() && !printer.is_within_line(stream) {
            printer.print(&LogChunk {
                stream,
                bytes: end.into(),
            })?;
        }
    }
    Ok(())
}

/// The last line of each output where it has no newline, from a plain reading; `None` when the
/// container is gone.
async fn lost_ends(engine: &dyn Observe, container: &str, options: &LogOptions) -> Option<[Vec<u8>; 2]> {
    let last_lines = LogOptions {
        follow: false,
        // One for each of the two outputs.
        tail: Some(2),
        ..options.clone()
    };
    let mut chunks = engine.logs(container, &last_lines).await.ok()?;
    let mut texts: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.ok()?;
        texts[place(chunk.stream)].extend_from_slice(&chunk.bytes);
    }
    Some(texts.map(|text| {
        let end = text.rsplit(|byte| *byte == b'\n').next();
        end.unwrap_or_default().to_vec()
    }))
}

fn captured_ends(path: &Path, options: &LogOptions) -> [Vec<u8>; 2] {
    let mut ends = [Vec::new(), Vec::new()];
    let lines = read_log(path).into_iter().flatten().flatten();
    for line in lines.filter(|line| !line.ended && is_within(line, options)) {
        let at = match line.output {
            Output::Stdout => 0,
            Output::Stderr => 1,
        };
        ends[at] = line_bytes(&line, options.timestamps);
    }
    ends
}

/// Writes chunks as they are, and knows whether the last line of each output has ended.
struct Printer {
    timestamps: bool,
    within_line: [bool; 2],
    fresh: bool,
}

impl Printer {
    fn new(timestamps: bool) -> Printer {
        Printer {
            timestamps,
            within_line: [false; 2],
            fresh: true,
        }
    }

    fn print(&mut self, chunk: &LogChunk) -> io::Result<()> {
        let Some(last) = chunk.bytes.last() else {
            return Ok(());
        };
        self.fresh = false;
        let within = &mut self.within_line[place(chunk.stream)];
        let bytes = piece(&chunk.bytes, self.timestamps && *within);
        *within = *last != b'\n';
        match chunk.stream {
            LogStream::Stdout => copy_raw(io::stdout().lock(), bytes),
            LogStream::Stderr => copy_raw(io::stderr().lock(), bytes),
        }
    }

    fn is_within_line(&self, stream: LogStream) -> bool {
        self.within_line[place(stream)]
    }

    /// Whether nothing was printed yet.
    fn is_fresh(&self) -> bool {
        self.fresh
    }
}

/// A further piece of a line longer than 16 KiB comes with a time of its own, which would stand in
/// the middle of the line.
fn piece(bytes: &[u8], is_further: bool) -> &[u8] {
    match bytes.iter().position(|byte| *byte == b' ') {
        Some(blank) if is_further => &bytes[blank + 1..],
        _ => bytes,
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
fn print_captured(path: &Path, options: &LogOptions) -> Result<(), CommandError> {
    let failed = |error: io::Error| {
        CommandError::failed(format!("failed to read `{}`", path.display())).caused_by(error.to_string())
    };
    let lines = read_log(path).map_err(failed)?.filter(|line| match line {
        Ok(line) => is_within(line, options),
        Err(_) => true,
    });
    let mut outputs = Outputs::default();
    match options.tail {
        None => {
            for line in lines {
                outputs.write(&line.map_err(failed)?, options.timestamps)?;
            }
        }
        Some(tail) => {
            for line in last(lines, tail).map_err(failed)? {
                outputs.write(&line, options.timestamps)?;
            }
        }
    }
    Ok(outputs.flush()?)
}

fn is_within(line: &LogLine, options: &LogOptions) -> bool {
    options.since.is_none_or(|since| line.at >= since) && options.until.is_none_or(|until| line.at < until)
}

/// Collects lines of one output, so that half a million of them are not as many writes, and keeps
/// the order of the two.
#[derive(Default)]
struct Outputs {
    of: Option<Output>,
    pending: Vec<u8>,
}

/// Bytes that are collected before they are written.
const COLLECTED: usize = 64 * 1024;

impl Outputs {
    fn write(&mut self, line: &LogLine, timestamps: bool) -> io::Result<()> {
        if self.of != Some(line.output) || self.pending.len() >= COLLECTED {
            self.flush()?;
        }
        self.of = Some(line.output);
        self.pending.append(&mut line_bytes(line, timestamps));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.pending);
        match self.of {
            _ if bytes.is_empty() => Ok(()),
            None | Some(Output::Stdout) => copy_raw(io::stdout().lock(), &bytes),
            Some(Output::Stderr) => copy_raw(io::stderr().lock(), &bytes),
        }
    }
}

fn line_bytes(line: &LogLine, timestamps: bool) -> Vec<u8> {
    let mut bytes = if timestamps {
        format!("{} ", line.at).into_bytes()
    } else {
        Vec::new()
    };
    bytes.extend_from_slice(&line.text);
    if line.ended {
        bytes.push(b'\n');
    }
    bytes
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    #[test]
    fn an_end_without_a_next_attempt_is_the_end() {
        let running = super::super::fixture::run();
        assert!(may_be_followed(&running));
        let failed = Run {
            outcome: Some(Outcome::Failed),
            ..running.clone()
        };
        assert!(!may_be_followed(&failed));
        let again = Run {
            retry_at: Some(Timestamp::UNIX_EPOCH),
            ..failed
        };
        assert!(may_be_followed(&again));
        let manual = Run {
            slot: None,
            ..running
        };
        assert!(!may_be_followed(&manual));
    }

    #[test]
    fn a_further_piece_of_a_line_loses_its_time() {
        assert_eq!(piece(b"2026-11-22T21:00:00Z more", true), b"more");
        assert_eq!(
            piece(b"2026-11-22T21:00:00Z more", false),
            b"2026-11-22T21:00:00Z more"
        );
        assert_eq!(piece(b"", true), b"");
    }

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
