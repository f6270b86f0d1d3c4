//! What clap says of a wrong command line, in our own words.
//!
//! clap repeats arguments as they were typed, ends with 2 and prints its own headings; an argument
//! of ours may be a hundred kilobytes of control characters. So the message is made from the
//! error's parts.

use clap::error::{ContextKind, ContextValue, ErrorKind as Clap};

use super::error::CommandError;
use super::output::{printable, quoted};

/// What a command line asks for beside running a command.
#[derive(Debug)]
pub enum Parsed {
    /// Help or a version, to be printed.
    Text(String),
    Wrong(CommandError),
}

/// Sorts what clap returns as its error.
#[must_use]
pub fn explain(error: &clap::Error) -> Parsed {
    match error.kind() {
        Clap::DisplayHelp | Clap::DisplayVersion => Parsed::Text(error.render().ansi().to_string()),
        _ => {
            let mut wrong = message(error);
            for hint in similar(error) {
                wrong = wrong.hint(hint);
            }
            // clap tells the command only where it prints its usage.
            if let Some(path) = path_of(error) {
                wrong = wrong.hint(format!("`{path} --help` shows how to use it"));
            }
            Parsed::Wrong(wrong)
        }
    }
}

fn message(error: &clap::Error) -> CommandError {
    let argument = text(error, ContextKind::InvalidArg);
    let value = text(error, ContextKind::InvalidValue);
    match error.kind() {
        Clap::UnknownArgument => {
            let what = if argument.starts_with('-') {
                "flag"
            } else {
                "argument"
            };
            CommandError::usage(format!("unexpected {what} {}", quoted(&argument)))
        }
        Clap::InvalidSubcommand => CommandError::usage(format!(
            "there is no command {}",
            quoted(&text(error, ContextKind::InvalidSubcommand))
        )),
        Clap::InvalidValue if value.is_empty() => {
            CommandError::usage(format!("{} needs a value", quoted(&argument)))
        }
        Clap::InvalidValue => bad_value(&value, &argument)
            .caused_by(format!("use one of: {}", text(error, ContextKind::ValidValue))),
        Clap::ValueValidation => {
            let wrong = bad_value(&value, &argument);
            match std::error::Error::source(error) {
                Some(source) => wrong.caused_by(printable(&source.to_string())),
                None => wrong,
            }
        }
        Clap::MissingRequiredArgument => CommandError::usage(format!(
            "missing: {}",
            printable(&argument.replace(['<', '>'], ""))
        )),
        Clap::MissingSubcommand | Clap::DisplayHelpOnMissingArgumentOrSubcommand => {
            CommandError::usage("a command is missing")
        }
        Clap::ArgumentConflict => {
            let other = text(error, ContextKind::PriorArg);
            CommandError::usage(format!(
                "{} cannot stand beside {}",
                quoted(&argument),
                quoted(&other)
            ))
        }
        Clap::InvalidUtf8 => CommandError::usage("an argument is not valid UTF-8"),
        _ => CommandError::usage(first_line(error)),
    }
}

fn bad_value(value: &str, argument: &str) -> CommandError {
    CommandError::usage(format!("{} is no value for {}", quoted(value), quoted(argument)))
}

fn similar(error: &clap::Error) -> Vec<String> {
    [
        (ContextKind::SuggestedSubcommand, "a command"),
        (ContextKind::SuggestedArg, "a flag"),
        (ContextKind::SuggestedValue, "a value"),
    ]
    .into_iter()
    .filter_map(|(kind, what)| {
        let name = text(error, kind);
        (!name.is_empty()).then(|| format!("{what} with a similar name exists: `{}`", printable(&name)))
    })
    .collect()
}

/// `docker-scheduler rm`, from the usage line that clap made.
fn path_of(error: &clap::Error) -> Option<String> {
    let usage = text(error, ContextKind::Usage);
    let words: Vec<&str> = usage
        .trim_start_matches("Usage:")
        .split_whitespace()
        .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(ContextValue::StyledStr(styled)) => styled.to_string(),
        Some(ContextValue::Number(number)) => number.to_string(),
        Some(ContextValue::Bool(truth)) => truth.to_string(),
        _ => String::new(),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    printable(line.trim_start_matches("error: "))
}
