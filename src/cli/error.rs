//! What a command that could not do its work says, and the exit code it ends with.
//!
//! The rooms below report small errors in the domain's words; heading, hints and exit code are
//! added here, once. Nothing here writes to a terminal but [`CommandError::report`].

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use crate::engine::EngineError;
use crate::model::InvalidName;

use super::{output, surroundings, unreachable};

/// What every command returns: the code to end with when nothing stood in the way.
pub type CommandResult = Result<Exit, CommandError>;

/// An exit code of a command that did what it could, such as `run` passing on its container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    pub const OK: Exit = Exit(0);
    /// The command worked, and its answer is "no".
    pub const FAILED: Exit = Exit(1);
    /// `plan --detailed-exitcode` alone.
    pub const CHANGES_PENDING: Exit = Exit(2);
    pub const INVALID_MANIFESTS: Exit = Exit(3);
    /// `wait --timeout` has passed, as `timeout` of coreutils has it.
    pub const TIMED_OUT: Exit = Exit(124);
    pub const CANCELLED: Exit = Exit(130);

    /// The code of a container or process as an exit code of ours; what does not fit is 255.
    #[must_use]
    pub fn of_container(code: i64) -> Exit {
        Exit(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

/// Which exit code an error ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong usage: nothing was tried.
    Usage,
    Failed,
    /// Manifests, or the directory of manifests, that are invalid or missing.
    Manifests,
    EngineUnreachable,
    /// By policy, by a guard, or because another ledger holds the instance.
    Refused,
    /// `run` only: the container was not started (125), could not be invoked (126), or its command
    /// was not found (127).
    Run(RunFailure),
    /// Who reads our output went away: no message, and no failure either.
    OutputClosed,
}

/// Why `run` did not get as far as a container's own exit code, told apart as `docker run` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunFailure {
    Engine,
    CannotInvoke,
    NotFound,
}

impl ErrorKind {
    #[must_use]
    pub fn exit(self) -> Exit {
        Exit(match self {
            ErrorKind::OutputClosed => 0,
            ErrorKind::Usage | ErrorKind::Failed => 1,
            ErrorKind::Manifests => 3,
            ErrorKind::EngineUnreachable => 4,
            ErrorKind::Refused => 5,
            ErrorKind::Run(RunFailure::Engine) => 125,
            ErrorKind::Run(RunFailure::CannotInvoke) => 126,
            ErrorKind::Run(RunFailure::NotFound) => 127,
        })
    }
}

/// An error on its way to a person: one sentence, what caused it, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    kind: ErrorKind,
    /// A lowercase fragment that reads after `error: `.
    message: String,
    /// What is meant, with carets under it.
    excerpt: Vec<String>,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl CommandError {
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> CommandError {
        CommandError {
            kind,
            message: message.into(),
            excerpt: Vec::new(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Wrong arguments.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> CommandError {
        CommandError::new(ErrorKind::Usage, message)
    }

    #[must_use]
    pub fn failed(message: impl Into<String>) -> CommandError {
        CommandError::new(ErrorKind::Failed, message)
    }

    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> CommandError {
        self.causes.push(cause.into());
        self
    }

    /// Lines to show under the message, such as an expression and carets.
    #[must_use]
    pub fn excerpt(mut self, lines: &str) -> CommandError {
        self.excerpt.extend(lines.lines().map(str::to_owned));
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> CommandError {
        self.hints.push(hint.into());
        self
    }

    /// Takes over what another error would have advised.
    #[must_use]
    pub fn with_hints_of(mut self, other: CommandError) -> CommandError {
        self.hints.extend(other.hints);
        self
    }

    /// The same error under another exit code; an output that closed stays what it is.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> CommandError {
        if self.kind != ErrorKind::OutputClosed {
            self.kind = kind;
        }
        self
    }

    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    #[must_use]
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// What is left to say when `failures` of `of` things failed: the one, or a summary of them.
    #[must_use]
    pub fn of_several(verb: &str, mut failures: Vec<CommandError>, of: usize) -> Option<CommandError> {
        let count = failures.len();
        if count <= 1 {
            return failures.pop();
        }
        // All for one reason: that one's exit code tells more.
        let kind = failures[0].kind();
        let same = failures.iter().all(|failure| failure.kind() == kind);
        let mut summary = CommandError::new(
            if same { kind } else { ErrorKind::Failed },
            format!("failed to {verb} {count} of {of}"),
        );
        for failure in failures {
            summary.causes.push(failure.message);
            summary.causes.extend(failure.causes);
            for hint in failure.hints {
                if !summary.hints.contains(&hint) {
                    summary.hints.push(hint);
                }
            }
        }
        Some(summary)
    }

    /// An error of the engine while doing `what` ("remove `web`").
    #[must_use]
    pub fn engine(what: &str, error: &EngineError) -> CommandError {
        match error {
            EngineError::Unreachable { host, why } => {
                unreachable::explain(host, why, &surroundings::around())
            }
            EngineError::Invalid(why) => CommandError::usage(why.clone()),
            EngineError::Unanswered { .. }
            | EngineError::Refused { .. }
            | EngineError::Undecodable { .. }
            | EngineError::Registry(_) => {
                let failed = CommandError::failed(format!("failed to {what}")).caused_by(error.to_string());
                match error.advice() {
                    Some(advice) => failed.hint(advice),
                    None => failed,
                }
            }
        }
    }

    /// Heading, causes and hints as printed, without colours; empty when there is nothing to say.
    #[must_use]
    pub fn render(&self) -> String {
        if self.kind == ErrorKind::OutputClosed {
            return String::new();
        }
        let mut text = format!("error: {}\n", output::printable(&self.message));
        for line in &self.excerpt {
            let _ = writeln!(text, "   | {}", output::printable(line));
        }
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {}", output::printable(cause));
        }
        if !self.hints.is_empty() {
            text.push('\n');
        }
        for hint in &self.hints {
            let _ = writeln!(text, "hint: {}", output::printable(hint));
        }
        text
    }

    /// Says it on stderr and gives the exit code.
    pub fn report(&self) -> Exit {
        output::talk_raw(&output::paint_labels(&self.render()));
        self.kind.exit()
    }
}

impl From<InvalidName> for CommandError {
    fn from(error: InvalidName) -> CommandError {
        CommandError::usage(error.to_string())
    }
}

impl From<io::Error> for CommandError {
    /// Of writing to stdout.
    fn from(error: io::Error) -> CommandError {
        if error.kind() == io::ErrorKind::BrokenPipe {
            CommandError::new(ErrorKind::OutputClosed, "the output was closed")
        } else {
            CommandError::failed("failed to write the output").caused_by(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_refused_on_our_side_is_wrong_usage() {
        let error = CommandError::engine("inspect", &EngineError::Invalid("no".into()));
        assert_eq!((error.kind(), error.message()), (ErrorKind::Usage, "no"));
    }

    #[test]
    fn a_reader_that_went_away_gets_no_message_and_no_failure() {
        let error = CommandError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.render().as_str(), error.kind().exit()), ("", Exit::OK));
        let kept = error.with_kind(ErrorKind::Run(RunFailure::Engine));
        assert_eq!(kept.kind(), ErrorKind::OutputClosed);
    }

    #[test]
    fn control_characters_of_a_message_do_not_reach_the_terminal() {
        let error = CommandError::failed("a\u{1b}[31mb\nerror: fake").caused_by("x\r\u{7}");
        assert_eq!(
            error.render(),
            "error: a\\u{1b}[31mb\\nerror: fake\n  caused by: x\\r\\u{7}\n"
        );
    }

    #[test]
    fn a_container_code_out_of_range_is_255() {
        assert_eq!(Exit::of_container(137), Exit(137));
        assert_eq!(Exit::of_container(-1), Exit(255));
        assert_eq!(Exit::of_container(3_221_225_786), Exit(255));
    }
}
