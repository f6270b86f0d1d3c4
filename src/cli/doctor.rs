//! `doctor`: everything looked at once, and what is wrong with it.
//!
//! The checks are the room `doctor`; `look` collects what they look at. Nothing is mended, and
//! nothing is made: no ledger, no volume, no folder.

mod look;

use crate::doctor::{self, Examined, Finding, State};
use crate::wire::{self, Shape as _};

use super::args::DirArg;
use super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::output::{Column, Format, ListArgs, Listing, Row, print, printable, to_json};
use super::settings::Settings;
use super::words;

/// Look at host, engine, files and ledger, and say what is wrong and what to do
///
/// Changes nothing. Ends with 0 when there is no error (warnings do not count), with 4 when the engine
/// does not answer, and with 1 when anything else is wrong.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    dir: DirArg,

    /// Leave out what is well
    #[arg(short, long)]
    quiet: bool,

    /// `table`, `json` (one object a line) or a text such as `{{.Check}}`
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true
    )]
    format: Format,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler doctor
  docker-scheduler doctor -q jobs
  docker-scheduler doctor --format json";

const COLUMNS: &[Column] = &[
    Column {
        heading: "CHECK",
        field: "Check",
    },
    Column {
        heading: "STATE",
        field: "State",
    },
    Column {
        heading: "FOUND",
        field: "Found",
    },
];

pub async fn run(args: Args, settings: Settings) -> CommandResult {
    let list = ListArgs {
        format: args.format,
        ..ListArgs::default()
    };
    list.check(COLUMNS, wire::Finding::FIELDS)?;
    let case = look::look(&settings, args.dir.dir.as_deref()).await;
    let found = doctor::examine(&case);
    let shown: Vec<Examined> = found
        .iter()
        .filter(|examined| !args.quiet || examined.finding.state != State::Ok)
        .cloned()
        .collect();
    match list.format {
        Format::Table if shown.is_empty() => {}
        Format::Table => print(&text(&shown))?,
        Format::Json | Format::Template(_) => listing(&shown)?.print(&list)?,
    }
    verdict(&found)
}

/// The gravest there is; an engine that is away explains most of the rest.
fn verdict(found: &[Examined]) -> CommandResult {
    let count = |state: State| found.iter().filter(|one| one.finding.state == state).count();
    let (errors, warnings) = (count(State::Error), count(State::Warning));
    if errors == 0 {
        return Ok(Exit::OK);
    }
    let no_engine = found
        .iter()
        .any(|one| one.check == "engine" && one.finding.state == State::Error);
    let kind = if no_engine {
        ErrorKind::EngineUnreachable
    } else {
        ErrorKind::Failed
    };
    Err(CommandError::new(
        kind,
        format!(
            "found {} and {}",
            words::counted(errors, "error"),
            words::counted(warnings, "warning")
        ),
    ))
}

/// As people read it: a table whose last column is not cut, since it is the answer, with what to do
/// below each line.
fn text(found: &[Examined]) -> String {
    let width = |words: &mut dyn Iterator<Item = &'static str>| words.map(str::len).max().unwrap_or_default();
    let names = width(&mut found.iter().map(|one| one.check)).max("CHECK".len());
    let states = width(&mut found.iter().map(|one| one.finding.state.as_str())).max("STATE".len());
    let line = |name: &str, state: &str, words: &str| format!("{name:names$}   {state:states$}   {words}\n");
    let mut text = line("CHECK", "STATE", "FOUND");
    for Examined { check, finding } in found {
        text.push_str(&line(
            check,
            &painted(finding.state, states),
            &printable(&finding.message),
        ));
        for hint in &finding.hints {
            text.push_str(&line("", "", &format!("  hint: {}", printable(hint))));
        }
    }
    text
}

/// The word in its colour, filled up to the column's width: colours take no room on a screen.
fn painted(state: State, width: usize) -> String {
    use anstyle::AnsiColor::{Cyan, Green, Red, Yellow};
    let color = match state {
        State::Ok => Green,
        State::Note | State::Unknown => Cyan,
        State::Warning => Yellow,
        State::Error => Red,
    };
    let style = color.on_default();
    let word = state.as_str();
    format!("{style}{word}{style:#}{:1$}", "", width - word.len())
}

fn listing(found: &[Examined]) -> Result<Listing, CommandError> {
    let rows = found
        .iter()
        .map(|Examined { check, finding }| {
            let Finding {
                state,
                message,
                hints,
            } = finding;
            let shape = wire::Finding {
                v: wire::VERSION,
                check,
                state: state.as_str(),
                message: message.clone(),
                hints: hints.clone(),
            };
            Ok(Row {
                key: (*check).to_owned(),
                cells: vec![(*check).to_owned(), state.as_str().to_owned(), message.clone()],
                json: to_json(&shape)?,
            })
        })
        .collect::<Result<_, CommandError>>()?;
    Ok(Listing {
        columns: COLUMNS,
        fields: wire::Finding::FIELDS,
        spare: &[],
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(check: &'static str, finding: Finding) -> Examined {
        Examined { check, finding }
    }

    #[test]
    fn the_exit_code_is_that_of_the_gravest() {
        let code = |found: &[Examined]| match verdict(found) {
            Ok(exit) => exit,
            Err(error) => error.kind().exit(),
        };
        let fine = examined("host", Finding::ok("root"));
        let warned = examined("clock", Finding::warning("late"));
        let wrong = examined("state", Finding::error("no"));
        let away = examined("engine", Finding::error("away"));
        assert_eq!(code(&[fine.clone(), warned.clone()]), Exit::OK);
        assert_eq!(code(&[fine.clone(), wrong.clone()]), Exit::FAILED);
        assert_eq!(code(&[wrong.clone(), away]), Exit(4));
        assert_eq!(
            code(&[fine, examined("engine", Finding::warning("slow"))]),
            Exit::OK
        );
        let said = verdict(&[wrong, warned]).unwrap_err();
        assert_eq!(said.message(), "found 1 error and 1 warning");
    }

    #[test]
    fn a_finding_stands_above_what_to_do_about_it() {
        let found = [
            examined("host", Finding::ok("root")),
            examined(
                "log-driver",
                Finding::warning("none").hint("set one").hint("or\nnot"),
            ),
        ];
        let text = anstream::adapter::strip_str(&text(&found)).to_string();
        assert_eq!(
            text,
            "CHECK        STATE     FOUND\n\
             host         ok        root\n\
             log-driver   warning   none\n\
             \x20                        hint: set one\n\
             \x20                        hint: or\\nnot\n"
        );
    }
}
