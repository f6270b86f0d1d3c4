//! `schema`: what an editor needs to know about manifests.

use crate::manifest::json_schema;

use super::error::{CommandResult, Exit};
use super::output::print_line;

/// Print the JSON Schema of manifests, for editors
///
/// `docker-scheduler schema > schema.json`, and in a manifest's first line
/// `# yaml-language-server: $schema=schema.json`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler schema > schema.json";

pub fn run(Args {}: Args) -> CommandResult {
    print_line(&format!("{:#}", json_schema()))?;
    Ok(Exit::OK)
}
