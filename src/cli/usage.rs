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
    /// A command is missing: the help that would have been printed, and the error.
    Missing(String, CommandError),
    Wrong(CommandError),
}

/// Sorts what clap returns as its error over a line for `command`.
#[must_use]
pub fn explain(error: &clap::Error, mut command: clap::Command) -> Parsed {
    match error.kind() {
        Clap::DisplayHelp | Clap::DisplayVersion => Parsed::Text(error.render().ansi().to_string()),
        Clap::MissingSubcommand | Clap::DisplayHelpOnMissingArgumentOrSubcommand => {
            let help = command.render_help().ansi().to_string();
            Parsed::Missing(help, message(error))
        }
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
    let argument = name_of(&text(error, ContextKind::InvalidArg));
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
                Some(source) => wrong.caused_by(printable(&source_words(source))),
                None => wrong,
            }
        }
        Clap::MissingRequiredArgument => {
            let missing = text(error, ContextKind::InvalidArg);
            CommandError::usage(format!(
                "an argument is missing: {}",
                printable(&missing.replace(['<', '>'], ""))
            ))
        }
        Clap::MissingSubcommand | Clap::DisplayHelpOnMissingArgumentOrSubcommand => {
            CommandError::usage("a command is missing")
        }
        Clap::ArgumentConflict => {
            let other = name_of(&text(error, ContextKind::PriorArg));
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

/// The parser's words; those of Rust and of clap for numbers in ours.
fn source_words(source: &(dyn std::error::Error + 'static)) -> String {
    use std::num::{IntErrorKind, ParseIntError};
    if let Some(error) = source.downcast_ref::<ParseIntError>() {
        return String::from(match error.kind() {
            IntErrorKind::PosOverflow => "the number is too large",
            IntErrorKind::NegOverflow => "the number must not be negative",
            _ => "use a whole number, not negative",
        });
    }
    let text = source.to_string();
    match text
        .split_once(" is not in ")
        .and_then(|(_, range)| range.split_once("..="))
    {
        Some((from, to)) => format!("use a whole number from {from} to {to}"),
        None => text,
    }
}

fn bad_value(value: &str, argument: &str) -> CommandError {
    let value = match value {
        "" => String::from("an empty text"),
        text => quoted(text),
    };
    CommandError::usage(format!("{value} is no value for {}", quoted(argument)))
}

/// `--number` of `--number <N>`, `CONTAINER` of `<CONTAINER>...`.
fn name_of(argument: &str) -> String {
    if argument.starts_with('-') {
        // What was typed may hold blanks; clap's own form has its value's name after one.
        return argument.split(" <").next().unwrap_or_default().to_owned();
    }
    match argument.strip_prefix(['<', '[']) {
        Some(name) => name.trim_end_matches(['.', '>', ']']).to_owned(),
        None => argument.to_owned(),
    }
}

/// A name that shares a letter or two is no slip of the pen.
const LEAST_LIKENESS: f64 = 0.6;

fn similar(error: &clap::Error) -> Vec<String> {
    let typed = [
        ContextKind::InvalidSubcommand,
        ContextKind::InvalidArg,
        ContextKind::InvalidValue,
    ]
    .map(|kind| text(error, kind));
    let is_like = |name: &str| {
        typed.iter().any(|typed| {
            !typed.is_empty() && strsim::normalized_damerau_levenshtein(typed, name) >= LEAST_LIKENESS
        })
    };
    [
        (ContextKind::SuggestedSubcommand, "a command"),
        (ContextKind::SuggestedArg, "a flag"),
        (ContextKind::SuggestedValue, "a value"),
    ]
    .into_iter()
    .filter_map(|(kind, what)| {
        let name = text(error, kind);
        (!name.is_empty() && is_like(&name))
            .then(|| format!("{what} with a similar name exists: `{}`", printable(&name)))
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
