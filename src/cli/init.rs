//! `init`: a first manifest and an operator's file, with comments, for a person who has neither.
//!
//! Both are whole texts in files of their own (`init/`), so that what a person gets can be read where
//! it is kept. A file that exists is left alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::manifest::json_schema;
use crate::model::ImageRef;
use crate::schedule::check_timezone;

use super::args::dir;
use super::error::{CommandError, CommandResult, Exit};
use super::operator;
use super::output::{print_line, printable, talk};
use super::settings::Settings;
use super::state::User;

/// Write a first manifest and an operator's file, with comments
///
/// The manifest goes to DIR with a JSON Schema for editors beside it, the operator's file to where
/// docker-scheduler looks for it. What exists is kept as it is, and asks no engine.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Where manifests are to be
    #[arg(value_name = "DIR", default_value = "schedules.d", value_parser = dir)]
    dir: PathBuf,

    /// The image of the first job: one with a shell
    #[arg(long, value_name = "IMAGE", default_value = "busybox:latest")]
    image: ImageRef,

    /// Time zone of the first manifest [default: this machine's]
    #[arg(long, value_name = "ZONE", value_parser = super::import::timezone)]
    timezone: Option<String>,

    /// Write no operator's file
    #[arg(long)]
    no_config: bool,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler init jobs --no-config
  docker-scheduler init --image alpine:latest --timezone Europe/Berlin --config config.yaml";

const MANIFEST: &str = include_str!("init/manifest.yaml");
/// Also what the reference shows of the file's keys.
pub const CONFIG: &str = include_str!("init/config.yaml");

/// The first manifest's name in its directory.
const FILE: &str = "starter.yaml";
const SCHEMA: &str = "schema.json";

pub fn run(args: Args, settings: &Settings) -> CommandResult {
    let Args {
        dir,
        image,
        timezone,
        no_config,
    } = args;
    let timezone = timezone.or_else(own_timezone).unwrap_or_else(|| "UTC".to_owned());
    fs::create_dir_all(&dir).map_err(|error| {
        CommandError::failed(format!("cannot make `{}`", dir.display())).caused_by(error.to_string())
    })?;
    let mut written = 0;
    if let Some(other) = manifest_in(&dir)? {
        talk(&format!(
            "`{}` holds manifests already (`{other}`): none is added",
            dir.display()
        ));
    } else {
        written += usize::from(write(&dir.join(FILE), &first_manifest(&image, &timezone))?);
        written += usize::from(write(&dir.join(SCHEMA), &format!("{:#}\n", json_schema()))?);
    }
    if !no_config {
        written += usize::from(operators_file(settings)?);
    }
    if written > 0 {
        talk(&next_steps(&dir));
    }
    Ok(Exit::OK)
}

fn first_manifest(image: &ImageRef, timezone: &str) -> String {
    MANIFEST
        .replace("@IMAGE@", image.as_str())
        .replace("@TIMEZONE@", timezone)
}

/// This machine's zone, where the compiled-in data know it.
fn own_timezone() -> Option<String> {
    let zone = TimeZone::try_system().ok()?;
    let name = zone.iana_name()?;
    check_timezone(name).is_ok().then(|| name.to_owned())
}

/// The name of some manifest in a directory; `None` when there is none.
fn manifest_in(dir: &Path) -> Result<Option<String>, CommandError> {
    let files = crate::source::read(dir).map_err(super::declared::of_source)?;
    Ok(files
        .manifests
        .into_iter()
        .map(|file| file.path)
        .find(|path| path != FILE))
}

/// Whether it was written; one that exists is kept.
fn operators_file(settings: &Settings) -> Result<bool, CommandError> {
    let Some((path, _)) = operator::place(settings, &User::of_process()) else {
        talk("no operator's file is written: this user has no home directory; `--config FILE` names a place");
        return Ok(false);
    };
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        fs::create_dir_all(folder).map_err(|error| {
            CommandError::failed(format!("cannot make `{}`", folder.display()))
                .caused_by(error.to_string())
                .hint("`--config FILE` names another place for the operator's file, `--no-config` leaves it out")
        })?;
    }
    write(&path, CONFIG)
}

/// Writes a file that does not exist yet, and says so on stdout; whether it did.
fn write(path: &Path, text: &str) -> Result<bool, CommandError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => {
            print_line(&printable(&path.display().to_string()))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            talk(&format!("`{}` exists and is kept", path.display()));
            Ok(false)
        }
        Err(error) => {
            Err(CommandError::failed(format!("cannot write `{}`", path.display()))
                .caused_by(error.to_string()))
        }
    }
}

fn next_steps(dir: &Path) -> String {
    let dir = dir.display().to_string();
    let dir = shlex::try_quote(&dir).map_or_else(|_| dir.clone(), Into::into);
    format!(
        "next: `docker-scheduler plan {dir}` shows what would be done, `docker-scheduler watch {dir}` does it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_operators_file_changes_nothing_as_it_is_written() {
        assert_eq!(
            config::parse("config.yaml", CONFIG),
            (config::Config::default(), Vec::new())
        );
    }

    /// With each `#` gone that stands before a key.
    #[test]
    fn every_line_of_the_operators_file_is_right_once_it_counts() {
        let text: String = CONFIG
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key)
                    if !key.starts_with(' ') || key.trim_start().contains(": ") && key.starts_with("  ") =>
                {
                    key
                }
                _ => line,
            })
            // An engine is named by one of both.
            .filter(|line| !line.starts_with("context:"))
            .map(|line| format!("{line}\n"))
            .collect();
        let (config, found) = config::parse("config.yaml", &text);
        assert_eq!(found, [], "{text}");
        assert_ne!(config, config::Config::default());
        let policy = config::POLICY_KEYS.iter().map(|key| format!("#  {key}:"));
        for key in config::KEYS.iter().map(|key| format!("#{key}:")).chain(policy) {
            assert!(
                CONFIG.lines().any(|line| line.starts_with(&key)),
                "`init` does not write `{key}`: add it, with a comment, to src/cli/init/config.yaml"
            );
        }
    }

    #[test]
    fn a_zone_of_this_machine_is_one_that_manifests_take() {
        if let Some(zone) = own_timezone() {
            assert!(check_timezone(&zone).is_ok(), "{zone}");
        }
    }
}
