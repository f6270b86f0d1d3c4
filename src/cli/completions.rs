//! `completions`: what a shell needs to complete this program's arguments.

use clap_complete::{Shell, generate};

use super::error::{CommandResult, Exit};
use super::output::print;

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL", value_enum)]
    shell: Name,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler completions bash > /etc/bash_completion.d/docker-scheduler
  docker-scheduler completions fish > ~/.config/fish/completions/docker-scheduler.fish";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    Bash,
    Zsh,
    Fish,
}

pub fn run(args: Args) -> CommandResult {
    let shell = match args.shell {
        Name::Bash => Shell::Bash,
        Name::Zsh => Shell::Zsh,
        Name::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut super::command(), super::NAME, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::OK)
}
