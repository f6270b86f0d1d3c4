//! The command line: one file per command, whose doc comment is its help.
//!
//! A command parses, asks the rooms below, prints, and ends with an exit code; it decides nothing.
//! Data goes to stdout, talk to stderr, and no command ever asks a question.
//!
//! | file | |
//! |---|---|
//! | `error.rs`, `usage.rs` | what went wrong, and the exit code |
//! | `settings.rs`, `connect.rs`, `state.rs` | flags, variables, engine, ledger |
//! | `output.rs`, `template.rs`, `words.rs`, `logging.rs` | how it is said |
//! | the others | a command each |

mod ack;
mod app;
mod apply;
mod args;
mod cancel;
#[cfg(feature = "kubernetes")]
mod cluster;
mod completions;
mod connect;
mod containers;
mod declared;
mod doctor;
mod down;
mod error;
mod export;
#[cfg(test)]
mod fixture;
mod foreign;
mod health;
mod history;
mod images;
mod import;
mod init;
mod inspect;
mod interrupt;
mod jobs;
mod life;
mod logging;
mod logs;
mod man;
mod next;
mod operator;
mod ours;
mod output;
mod pause;
mod plan;
mod plugin;
mod prune;
mod pull;
mod rerun;
mod rm;
mod run;
mod schema;
mod session;
mod settings;
mod state;
mod surroundings;
mod template;
mod trigger;
mod unreachable;
mod usage;
mod validate;
mod version;
mod wait;
mod watch;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::model::EngineName;

pub use app::App;
use error::{CommandError, CommandResult, Exit};
use settings::{Color, GlobalArgs, Settings};
use usage::Parsed;

/// The program's name.
const NAME: &str = "docker-scheduler";

/// Containers on a schedule, as code.
///
/// Jobs are declared in Compose files; docker-scheduler shows the plan, keeps Docker in that state,
/// and accounts for every run.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version,
    max_term_width = 100,
    disable_help_subcommand = false,
    args_override_self = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: GlobalArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Plan(plan::Args),
    Apply(apply::Args),
    Watch(watch::Args),
    Validate(validate::Args),
    /// List the jobs
    Ls(jobs::Args),
    List(ListCommand),
    Run(run::Args),
    Trigger(trigger::Args),
    Rerun(rerun::Args),
    Rm(rm::Args),
    Prune(prune::Args),
    Next(next::Args),
    #[command(visible_alias = "runs")]
    History(history::Args),
    Logs(logs::Args),
    Inspect(inspect::Args),
    Wait(wait::Args),
    Cancel(cancel::Args),
    Ack(ack::Args),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Down(down::Args),
    Doctor(doctor::Args),
    Init(init::Args),
    Health(health::Args),
    Import(import::Args),
    Export(export::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
    Version(version::Args),
}

/// List jobs, images or containers
///
/// Without a word for what: the jobs.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
struct ListCommand {
    #[command(subcommand)]
    what: Option<Listed>,

    #[command(flatten)]
    jobs: jobs::Args,
}

#[derive(Debug, Subcommand)]
enum Listed {
    Jobs(jobs::Args),
    Images(images::Args),
    Containers(containers::Args),
}

/// Every command and flag, as help, manual pages, completions and tests read them.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments, runs the command, and gives the exit code. The only entry.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (arguments, docker) =
        match plugin::adapt(arguments.into_iter().collect(), |name| std::env::var_os(name)) {
            plugin::Call::Command(arguments, docker) => (arguments, docker),
            plugin::Call::Complete(words) => return finish(plugin::complete(words)),
            plugin::Call::Metadata(json) => return finish(output::print_line(&json).map(|()| Exit::OK)),
        };
    let command = if docker.plugin {
        plugin::named(command())
    } else {
        command()
    };
    let parsed =
        (command.clone().try_get_matches_from(arguments)).and_then(|matches| Cli::from_arg_matches(&matches));
    finish(match parsed {
        Ok(cli) => start(cli, docker),
        Err(error) => match usage::explain(&error, command) {
            Parsed::Text(text) => output::print(&text).map(|()| Exit::OK),
            Parsed::Missing(help, error) => {
                output::talk_raw(&format!("{help}\n"));
                Err(error)
            }
            Parsed::Wrong(error) => Err(error),
        },
    })
}

fn finish(result: CommandResult) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => error.report().into(),
    }
}

fn start(cli: Cli, docker: plugin::DockerFlags) -> CommandResult {
    let settings = Settings::resolve(&cli.global, docker, &|name| std::env::var(name).ok())?;
    match settings.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    logging::start(settings.log_level, settings.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed("failed to start").caused_by(error.to_string()))?;
    let result = match cli.command {
        // It has to say what is wrong with the settings, too.
        Command::Doctor(args) => runtime.block_on(doctor::run(args, settings)),
        // It may be asked to write the file that `--config` names.
        Command::Init(args) => init::run(args, &settings),
        command => runtime.block_on(dispatch(command, &App::new(settings)?)),
    };
    // A write to a reader that stopped reading may block a thread of the runtime for ever.
    runtime.shutdown_background();
    result
}

/// The engine decides who carries a command out.
async fn dispatch(command: Command, app: &App) -> CommandResult {
    match app.engine_name() {
        EngineName::Docker | EngineName::Swarm => on_engine(command, app).await,
        #[cfg(feature = "kubernetes")]
        EngineName::Kubernetes => cluster::run(command, app).await,
        #[cfg(not(feature = "kubernetes"))]
        EngineName::Kubernetes => match command {
            Command::Validate(_)
            | Command::Export(_)
            | Command::Schema(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Version(_) => on_engine(command, app).await,
            _ => Err(without_kubernetes()),
        },
    }
}

#[cfg(not(feature = "kubernetes"))]
fn without_kubernetes() -> CommandError {
    CommandError::failed("this program was built without Kubernetes")
        .hint("`cargo build` has it, unless `--no-default-features` leaves it out")
}

/// On an engine that runs containers and leaves the clock to us.
async fn on_engine(command: Command, app: &App) -> CommandResult {
    match command {
        Command::Plan(args) => plan::run(args, app).await,
        Command::Apply(args) => apply::run(args, app).await,
        Command::Watch(args) => watch::run(args, app).await,
        Command::Validate(args) => validate::run(args, app),
        Command::Ls(args) => jobs::run(args, app),
        Command::List(list) => match list.what {
            None => jobs::run(list.jobs, app),
            Some(Listed::Jobs(args)) => jobs::run(args, app),
            Some(Listed::Images(args)) => images::run(args, app).await,
            Some(Listed::Containers(args)) => containers::run(args, app).await,
        },
        Command::Run(args) => run::run(args, app).await,
        Command::Trigger(args) => trigger::run(args, app).await,
        Command::Rerun(args) => rerun::run(args, app).await,
        Command::Rm(args) => rm::run(args, app).await,
        Command::Prune(args) => prune::run(args, app).await,
        Command::Next(args) => next::run(args, app),
        Command::History(args) => history::run(args, app),
        Command::Logs(args) => logs::run(args, app).await,
        Command::Inspect(args) => inspect::run(args, app),
        Command::Wait(args) => wait::run(args, app).await,
        Command::Cancel(args) => cancel::run(args, app).await,
        Command::Ack(args) => ack::run(args, app),
        Command::Pause(args) => pause::pause(args, app),
        Command::Resume(args) => pause::resume(args, app),
        Command::Down(args) => down::run(args, app).await,
        Command::Doctor(args) => doctor::run(args, app.settings().clone()).await,
        Command::Init(args) => init::run(args, app.settings()),
        Command::Health(args) => health::run(args, app),
        Command::Import(args) => import::run(args, app).await,
        Command::Export(args) => export::run(args, app),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::Version(args) => version::run(args, app).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_has_its_help() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "`{}` of `{}` has no help",
                    argument.get_id(),
                    command.get_name()
                );
            }
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "`{}` has no help", sub.get_name());
                check(sub);
            }
        }
        let mut command = Cli::command();
        command.build();
        check(&command);
    }

    #[test]
    fn short_flags_stay_dockers() {
        // `-H` and `-c` are the docker CLI's own; every other global flag is long.
        let mut command = Cli::command();
        command.build();
        let shorts: Vec<char> = command
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .filter_map(clap::Arg::get_short)
            .collect();
        assert_eq!(shorts, ['H', 'c']);
    }
}
