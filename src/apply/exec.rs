//! A job's command in a container that somebody else runs: intent, exec create, one exec start, its
//! output read to the end, inspect.
//!
//! Guarantees: an exec is started at most once, and only with its intent on disk; the target container
//! is never started, stopped, changed or removed.
//!
//! What is weaker than with a container of one's own, and what a restart finds:
//! - nobody but the process that started it can read the output: the next one sees the end alone;
//! - a command whose reader is gone and that prints is lost to the engine, which then reports 126: that
//!   is `unknown`, and the command may still be running;
//! - a start that was never confirmed cannot be fenced, since no exec can be deleted: `unknown`;
//! - the engine's restart ends the exec's memory: `unknown`.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use super::claim::still_ours;
use super::launch::{Launched, environment_of, masked_spec, terms};
use super::settle::{
    LOG_LIMIT_BYTES, LOOK_AGAIN, START_WINDOW, finish_now, hold_from_now, policy_of, retry_at, stop_reason,
};
use super::{ApplyError, Context, LaneReport, owner};
use crate::engine::target::find_target;
use crate::engine::{ContainerFilter, EngineError, ExecRequest, ExecState, LogChunk, LogStream};
use crate::event::What;
use crate::ledger::logs::{LogWriter, Output};
use crate::ledger::{Finish, Intended, NewContainer, NewExec};
use crate::model::{
    ContainerSpec, ExecTarget, Intent, Outcome, Reason, Run, RunId, RunTrigger, TargetState, Text, Within,
    is_masked,
};
use crate::plan::Launch;

/// What the engine reports of a command that it could not start, or of which it lost sight.
const LOST_SIGHT: i64 = 126;

/// The engine notes an end a moment after the output's.
const END_LOOKS: u32 = 20;
const END_LOOK: Duration = Duration::from_millis(100);

/// The engine's own default for a container.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// Between two attempts to end a command that cannot be signalled.
const CANNOT_STOP_PAUSE: Duration = Duration::from_secs(30);
/// How long a killed command may take to be seen as ended.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command of a due slot, to its end.
pub(super) async fn run(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
    report: &mut LaneReport,
) -> Result<Launched, ApplyError> {
    let Some(target) = launch.spec.exec_target() else {
        return Err(ApplyError::CannotArm("it has no container to run in".to_owned()));
    };
    context.wait_until(launch.due_at).await;
    let place = context
        .starts
        .acquire()
        .await
        .map_err(|closed| ApplyError::CannotArm(format!("no more starts: {closed}")))?;
    still_ours(context).await?;
    let (container, image_id) = ready(context, target).await?;
    let exec = match context.engine.create_exec(&request(launch, &container)).await {
        Ok(exec) => exec,
        Err(error @ EngineError::Refused { .. }) => {
            // It may have stopped just now: then it is waited for.
            ready(context, target).await?;
            return Err(refused(launch, error));
        }
        Err(error) => return Err(error.into()),
    };
    let intent = Intent {
        at: context.clock.now(),
        owner: context.owner.clone(),
        engine_peer: context.engine.peer().await,
    };
    let new = NewExec {
        run: row_of(context, launch, trigger, image_id)?,
        exec: exec.clone(),
        container,
        due_at: launch.due_at,
        intent: intent.clone(),
        terms: terms(launch),
    };
    match context.ledger.intend_exec(&new)? {
        Intended::New => {}
        Intended::AlreadyRecorded(_) => return Ok(Launched::AlreadyRecorded),
        Intended::Active(run) => return Ok(Launched::Active(run.id)),
        Intended::Full { cap, by } => return Ok(Launched::Full { cap, by }),
        Intended::NotItsTurn => return Ok(Launched::NotItsTurn),
    }
    report.progress = true;
    let started = context.engine.start_exec(&exec, launch.spec.tty).await;
    drop(place);
    match started {
        Ok(output) => {
            let at = context.clock.now();
            context.ledger.started(&launch.name, at)?;
            let late_ms = i64::try_from(at.duration_since(launch.due_at).as_millis()).unwrap_or(i64::MAX);
            let run = launch.name.clone();
            context.say(Some(&launch.job), What::Started { run, late_ms });
            report.started.push(launch.name.clone());
            let read = read_output(context, &launch.name, output).await;
            settle_read(context, &launch.name, read).await?;
            Ok(Launched::Started)
        }
        Err(
            error @ (EngineError::Refused { .. } | EngineError::Unreachable { .. } | EngineError::Invalid(_)),
        ) => {
            let why = launch.spec.conceal(&error.to_string());
            if let Some(run) = context.ledger.run(&launch.name)? {
                let outcome = (Outcome::StartFailed, Reason::StartRefused(why));
                end(context, &run, outcome, None, None, None, None)?;
            }
            Ok(Launched::Started)
        }
        Err(_) => Ok(Launched::Unconfirmed),
    }
}

fn refused(launch: &Launch, error: EngineError) -> ApplyError {
    let words = launch.spec.conceal(&error.to_string());
    ApplyError::CannotArm(format!("the engine refuses the command: {words}"))
}

/// The target's full ID and its image's, when it runs.
async fn ready(context: &Context, target: &ExecTarget) -> Result<(String, String), ApplyError> {
    let filter = ContainerFilter {
        all: true,
        label: None,
    };
    let listed = context.engine.list_containers(&filter).await?;
    match find_target(&listed, target) {
        TargetState::Ready { id, image_id, .. } => Ok((id, image_id)),
        TargetState::NotReady(why) => Err(ApplyError::CannotArm(why)),
    }
}

fn request(launch: &Launch, container: &str) -> ExecRequest {
    let spec = &launch.spec;
    let mut environment = spec.environment.clone();
    let ours = environment_of(launch).into_iter();
    environment.extend(ours.map(|(name, value)| (name, Some(Text::plain(value)))));
    ExecRequest {
        container: container.to_owned(),
        command: spec.command.clone().unwrap_or_default(),
        environment,
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        tty: spec.tty,
    }
}

fn row_of(
    context: &Context,
    launch: &Launch,
    trigger: RunTrigger,
    image_id: String,
) -> Result<NewContainer, ApplyError> {
    Ok(NewContainer {
        nonce: uuid::Uuid::new_v4().simple().to_string(),
        name: launch.name.clone(),
        job: launch.job.clone(),
        slot: launch.slot,
        attempt: launch.attempt,
        trigger,
        spec_hash: launch.spec_hash.clone(),
        image_id,
        at: context.clock.now(),
        origin: launch.origin.clone(),
        spec: masked_spec(context, &launch.spec)?,
        reused: false,
    })
}

/// How much of the output was had.
enum Read {
    /// All of it, in lines that the clock of this process stamped; the last words of a refusal.
    ToItsEnd { last: String },
    /// The connection broke, or the output could not be written.
    Cut(String),
}

/// Copies the output to the state folder while it comes.
async fn read_output(
    context: &Context,
    run: &RunId,
    mut output: BoxStream<'static, Result<LogChunk, EngineError>>,
) -> Read {
    let mut log = match LogWriter::create(&context.ledger.log_path(run)) {
        Ok(writer) => Stamped::new(writer),
        Err(error) => return Read::Cut(error.to_string()),
    };
    let mut cut = None;
    while let Some(chunk) = output.next().await {
        match chunk {
            // What is beyond the limit is read and dropped: a command must not hang on its output.
            Ok(_) if cut.is_some() => {}
            Ok(chunk) => {
                if let Err(error) = log.write(context.clock.now(), &chunk) {
                    cut = Some(error.to_string());
                } else if log.writer.bytes() > LOG_LIMIT_BYTES {
                    cut = Some(format!("logs cut after {LOG_LIMIT_BYTES} bytes"));
                }
            }
            Err(error) => {
                cut.get_or_insert(format!("its output broke off: {error}"));
                break;
            }
        }
    }
    let last = String::from_utf8_lossy(&log.last).trim().to_owned();
    match (log.writer.finish(), cut) {
        (Ok(()), None) => Read::ToItsEnd { last },
        (_, Some(why)) => Read::Cut(why),
        (Err(error), None) => Read::Cut(error.to_string()),
    }
}

/// Output of an exec carries no time: each line gets that of its first piece.
struct Stamped {
    writer: LogWriter,
    within_line: [bool; 2],
    /// The last line, for the engine's words when it could not start the command.
    last: Vec<u8>,
}

impl Stamped {
    fn new(writer: LogWriter) -> Stamped {
        Stamped {
            writer,
            within_line: [false; 2],
            last: Vec::new(),
        }
    }

    fn write(&mut self, at: Timestamp, chunk: &LogChunk) -> std::io::Result<()> {
        let (output, place) = match chunk.stream {
            LogStream::Stdout => (Output::Stdout, 0),
            LogStream::Stderr => (Output::Stderr, 1),
        };
        for piece in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut message = format!("{at:.9} ").into_bytes();
            message.extend_from_slice(piece);
            self.writer.write(output, &message)?;
            if !self.within_line[place] {
                self.last.clear();
            }
            if self.last.len() < 4096 {
                self.last.extend_from_slice(piece);
            }
            self.within_line[place] = piece.last() != Some(&b'\n');
        }
        self.writer.flush()
    }
}

/// The end of a command whose output this process has read.
async fn settle_read(context: &Context, id: &RunId, read: Read) -> Result<(), ApplyError> {
    let Some(run) = context.ledger.run(id)? else {
        return Ok(());
    };
    let Within::Exec(exec) = &run.within else {
        return Ok(());
    };
    let finished_at = context.clock.now();
    let (note, last) = match read {
        Read::ToItsEnd { last } => (None, Some(last)),
        Read::Cut(why) => (Some(why), None),
    };
    for _ in 0..END_LOOKS {
        // An engine that is away is asked by a later pass.
        let Ok(state) = context.engine.inspect_exec(exec).await else {
            return Ok(());
        };
        match state {
            Some(ExecState {
                exit_code: Some(code),
                ran,
                ..
            }) => {
                let state = Ended { code, ran, last };
                return conclude(context, &run, state, Some(finished_at), note);
            }
            // A command may close its output and go on: later passes look at it.
            Some(_) => context.sleep(END_LOOK).await,
            None => return lost(context, &run, note).await,
        }
    }
    Ok(())
}

/// Finds out what became of a command whose output nobody of this process reads.
pub(super) async fn settle(
    context: &Context,
    run: &Run,
    exec: &str,
    report: &mut LaneReport,
) -> Result<(), ApplyError> {
    if run.outcome.is_some_and(|outcome| outcome != Outcome::Unknown) {
        return Ok(());
    }
    let Some(intent) = &run.intent else { return Ok(()) };
    let read_elsewhere = intent.owner != context.owner && owner::is_alive(&intent.owner);
    let Some(state) = context.engine.inspect_exec(exec).await? else {
        if read_elsewhere {
            return Ok(());
        }
        report.progress = true;
        return match run.outcome {
            Some(_) => Ok(context.ledger.release(&run.id)?),
            None => lost(context, run, Some(UNREAD.to_owned())).await,
        };
    };
    if state.running {
        if run.started_at.is_none() {
            context.ledger.started(&run.id, context.clock.now())?;
            report.progress = true;
        }
        return Ok(());
    }
    // Whoever reads it records its end.
    if read_elsewhere {
        return Ok(());
    }
    report.progress = true;
    if let Some(code) = state.exit_code {
        let state = Ended {
            code,
            ran: state.ran,
            last: None,
        };
        return conclude(context, run, state, None, Some(UNREAD.to_owned()));
    }
    if run.outcome.is_some() {
        return Ok(context.ledger.release(&run.id)?);
    }
    if context.clock.now().duration_since(intent.at).abs() < START_WINDOW {
        report.progress = false;
        return Ok(());
    }
    let until = hold_from_now(context, &run.job)?;
    let outcome = (Outcome::Unknown, Reason::StartUnconfirmed);
    end(context, run, outcome, None, None, Some(until), None)
}

/// Of a command that outlived the scheduler that started it.
const UNREAD: &str = "its output could be read only by the scheduler that started it, which ended before";

/// A command's end, as the engine reports it.
struct Ended {
    code: i64,
    ran: bool,
    /// Its last line of output, where all of it was read.
    last: Option<String>,
}

fn conclude(
    context: &Context,
    run: &Run,
    ended: Ended,
    finished_at: Option<Timestamp>,
    note: Option<String>,
) -> Result<(), ApplyError> {
    let Ended { code, ran, last } = ended;
    let policy = policy_of(context, &run.job)?;
    if !ran {
        let words = last.filter(|words| !words.is_empty());
        let words = match words {
            Some(words) => shown(context, run, &words)?,
            None => format!("exit code {code}"),
        };
        let outcome = (Outcome::StartFailed, Reason::StartRefused(words));
        return end(context, run, outcome, None, None, None, None);
    }
    if let Some(asked) = run.stop_requested {
        let outcome = (asked, stop_reason(run, asked, &policy));
        return end(context, run, outcome, Some(code), finished_at, None, note);
    }
    if code == LOST_SIGHT && last.is_none() {
        let until = hold_from_now(context, &run.job)?;
        let outcome = (Outcome::Unknown, Reason::ReaderLost);
        return end(context, run, outcome, None, None, Some(until), note);
    }
    let outcome = if policy.success_exit_codes.contains(&code) {
        (Outcome::Succeeded, Reason::Exit(code))
    } else if code == 137 {
        (Outcome::Failed, Reason::KilledExternally)
    } else {
        (Outcome::Failed, Reason::Exit(code))
    };
    end(context, run, outcome, Some(code), finished_at, None, note)
}

/// The engine's words, unless they could quote a value that is kept masked.
fn shown(context: &Context, run: &Run, words: &str) -> Result<String, ApplyError> {
    let spec = context.ledger.spec_of(&run.id)?.unwrap_or_default();
    Ok(match spec.contains("hmac:") {
        true => "the engine could not start it; its words are in the log".to_owned(),
        false => words.to_owned(),
    })
}

/// The engine knows nothing of it any more. Where the target has run on all the time, so may it.
async fn lost(context: &Context, run: &Run, note: Option<String>) -> Result<(), ApplyError> {
    if let Some(asked) = run.stop_requested {
        let outcome = (asked, stop_reason(run, asked, &policy_of(context, &run.job)?));
        return end(context, run, outcome, None, None, None, None);
    }
    let target = match &run.container {
        Some(container) => context.engine.inspect(container).await?,
        None => None,
    };
    let intended = run.intent.as_ref().map(|intent| intent.at);
    let ran_on = target.is_some_and(|target| {
        target.status.is_live()
            && target
                .started_at
                .zip(intended)
                .is_some_and(|(from, at)| from < at)
    });
    let held_until = match ran_on {
        true => Some(hold_from_now(context, &run.job)?),
        false => None,
    };
    let outcome = (Outcome::Unknown, Reason::ExecLost);
    end(context, run, outcome, None, None, held_until, note)
}

fn end(
    context: &Context,
    run: &Run,
    (outcome, reason): (Outcome, Reason),
    exit_code: Option<i64>,
    finished_at: Option<Timestamp>,
    held_until: Option<Timestamp>,
    note: Option<String>,
) -> Result<(), ApplyError> {
    if run.outcome == Some(Outcome::Unknown) && outcome == Outcome::Unknown {
        return Ok(context.ledger.release(&run.id)?);
    }
    let at = context.clock.now();
    let finish = Finish {
        outcome,
        reason: reason.to_string(),
        exit_code,
        started_at: None,
        finished_at,
        at,
        held_until,
        retry_at: retry_at(context, run, outcome, at)?,
        note,
    };
    finish_now(context, run, finish)
}

/// Ends a command: TERM, and KILL after the grace period, sent by a shell in the container to every
/// process that the command left its mark on.
pub(super) async fn stop(
    context: &Context,
    run: &Run,
    exec: &str,
    grace: Option<Duration>,
) -> Result<(), ApplyError> {
    let Some(container) = &run.container else {
        return Ok(());
    };
    let user = context
        .ledger
        .spec_of(&run.id)?
        .and_then(|spec| serde_json::from_str::<ContainerSpec>(&spec).ok())
        .and_then(|spec| spec.user)
        // One from `.env` is not kept: root may signal everybody's processes.
        .map(|user| if is_masked(&user) { "0".to_owned() } else { user });
    let steps = [("TERM", grace.unwrap_or(DEFAULT_GRACE)), ("KILL", KILL_PATIENCE)];
    for (signal, patience) in steps {
        if !is_running(context, exec).await? {
            return Ok(());
        }
        let mark = ("SCHEDULER_RUN_ID", run.id.as_str());
        let sent = context
            .engine
            .signal_marked(container, user.as_deref(), mark, signal)
            .await?;
        if !sent {
            // Said now and then, not with every look.
            if wait_for_end(context, exec, CANNOT_STOP_PAUSE).await? {
                return Ok(());
            }
            return Err(ApplyError::CannotStop(format!(
                "{} goes on: its container has no `sh`, `tr` and `grep` that could send it a signal",
                run.id
            )));
        }
        if wait_for_end(context, exec, patience).await? {
            return Ok(());
        }
    }
    Err(ApplyError::CannotStop(format!(
        "{} goes on: it was killed and did not end",
        run.id
    )))
}

/// Whether it has ended within that time.
async fn wait_for_end(context: &Context, exec: &str, patience: Duration) -> Result<bool, ApplyError> {
    let began = context.clock.monotonic();
    while context.clock.monotonic().saturating_sub(began) < patience {
        if !is_running(context, exec).await? {
            return Ok(true);
        }
        context.sleep(LOOK_AGAIN).await;
    }
    Ok(false)
}

async fn is_running(context: &Context, exec: &str) -> Result<bool, ApplyError> {
    let state = context.engine.inspect_exec(exec).await?;
    Ok(state.is_some_and(|state| state.running))
}
