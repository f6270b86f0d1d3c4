//! `man`: the manual pages, from the same texts as `--help`.

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use super::args::dir;
use super::error::{CommandError, CommandResult, Exit};
use super::output::{print, print_line, printable, quoted};

/// Print a manual page, or write all of them to a folder
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Write every page to this folder, one file for each command
    #[arg(long, value_name = "DIR", value_parser = dir, conflicts_with = "command")]
    dir: Option<PathBuf>,

    /// The command, such as `plan` or `list images` [default: the page of the whole program]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler man plan
  docker-scheduler man --dir /usr/local/share/man/man1";

/// A page: its file's name, and its text as roff.
struct Page {
    file: String,
    text: Vec<u8>,
}

pub fn run(args: Args) -> CommandResult {
    let mut root = super::command();
    root.build();
    if let Some(folder) = &args.dir {
        let mut pages = Vec::new();
        collect(&root, super::NAME, &mut pages)?;
        return write(folder, &pages);
    }
    let mut command = &root;
    let mut name = String::from(super::NAME);
    for word in &args.command {
        command = command
            .find_subcommand(word)
            .ok_or_else(|| CommandError::usage(format!("there is no command {}", quoted(word))))?;
        name = format!("{name}-{}", command.get_name());
    }
    print(&String::from_utf8_lossy(&page(command, &name)?.text))?;
    Ok(Exit::OK)
}

fn collect(command: &clap::Command, name: &str, pages: &mut Vec<Page>) -> Result<(), CommandError> {
    pages.push(page(command, name)?);
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> Result<Page, CommandError> {
    // A page is named as `man` is asked for it: docker-scheduler-list-images.
    let named = command.clone().display_name(name.to_owned());
    let mut text = Vec::new();
    Man::new(named)
        // No date: the same version gives the same page.
        .date("")
        .render(&mut text)
        .map_err(|error| CommandError::failed("failed to write a page").caused_by(error.to_string()))?;
    Ok(Page {
        file: format!("{name}.1"),
        text,
    })
}

fn write(folder: &Path, pages: &[Page]) -> CommandResult {
    let failed = |path: &Path| {
        let what = format!("failed to write {}", quoted(&path.display().to_string()));
        move |error: std::io::Error| CommandError::failed(what).caused_by(error.to_string())
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for page in pages {
        let path = folder.join(&page.file);
        std::fs::write(&path, &page.text).map_err(failed(&path))?;
        print_line(&printable(&path.display().to_string()))?;
    }
    Ok(Exit::OK)
}
