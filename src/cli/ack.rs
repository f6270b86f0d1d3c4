//! `ack`: a person has looked at an `unknown` run.

use crate::model::Outcome;

use super::App;
use super::args::NameArg;
use super::error::{CommandError, CommandResult, Exit};
use super::history::resolve_run;
use super::output::print_line;
use super::state::of_ledger;

/// Say that an `unknown` run has been looked at: its job may go on
///
/// A run of which nobody can say whether it still runs holds its job for a while. When you have made
/// sure that it does not, this ends the hold; the outcome stays `unknown`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The run, or a job (its newest run)
    #[arg(value_name = "RUN")]
    run: NameArg,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler ack shop.backup.20261122T013000Z";

/// # Errors
/// When there is no such run, or it holds nothing.
pub fn run(args: Args, app: &App) -> CommandResult {
    let Some(ledger) = app.existing_ledger()? else {
        return Err(app.nothing_applied(&args.run));
    };
    let run = resolve_run(&ledger, &args.run, app)?;
    let holds = run.outcome == Some(Outcome::Unknown) && run.held_until.is_some();
    if !holds {
        let outcome = run.outcome.map_or("running", Outcome::as_str);
        return Err(
            CommandError::failed(format!("`{}` holds nothing: its outcome is `{outcome}`", run.id))
                .hint("only a run whose outcome is `unknown` may hold its job"),
        );
    }
    ledger
        .release(&run.id)
        .map_err(|error| of_ledger("write to the ledger", &error))?;
    print_line(run.id.as_str())?;
    Ok(Exit::OK)
}
