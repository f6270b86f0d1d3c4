//! `version`: which program, which time zones, which engine.

use crate::engine::EngineInfo;
use crate::schedule::tzdb_version;
use crate::wire;

use super::App;
use super::error::{CommandResult, Exit};
use super::output::{print, print_json};

/// Print the version
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Also the time zone database, and the engine when it answers
    #[arg(long)]
    pub(super) verbose: bool,

    /// Text or json
    #[arg(long, value_enum, default_value_t, hide_default_value = true)]
    pub(super) format: super::args::TextOrJson,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler version --verbose";

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub async fn run(args: Args, app: &App) -> CommandResult {
    let engine = if args.verbose {
        engine_info(app).await
    } else {
        None
    };
    show(
        &args,
        engine.as_ref().map(|info| info.name.clone()),
        engine.map(|info| info.api_version),
    )
}

/// The version, with that of the engine that answered.
///
/// # Errors
/// When the output was closed.
pub(super) fn show(args: &Args, engine: Option<String>, engine_api: Option<String>) -> CommandResult {
    let shape = wire::Version {
        v: wire::VERSION,
        version: VERSION.to_owned(),
        tzdb: tzdb_version().to_owned(),
        engine,
        engine_api,
    };
    if args.format == super::args::TextOrJson::Json {
        print_json(&shape)?;
    } else {
        print(&text(&shape, args.verbose))?;
    }
    Ok(Exit::OK)
}

/// `None` when no engine answers: that is no failure of this command.
async fn engine_info(app: &App) -> Option<EngineInfo> {
    app.engine().await.ok()?.info().await.ok()
}

fn text(version: &wire::Version, verbose: bool) -> String {
    let first = format!("docker-scheduler {}\n", version.version);
    if !verbose {
        return first;
    }
    let engine = match (&version.engine, &version.engine_api) {
        (Some(name), Some(api)) => format!("{name}, API {api}"),
        _ => String::from("none answers"),
    };
    format!(
        "{first}tzdb    {} (compiled in)\nengine  {engine}\n",
        version.tzdb
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_away_is_said_and_is_no_failure() {
        let mut version = wire::Version {
            v: 1,
            version: "0.1.0".into(),
            tzdb: "2025b".into(),
            engine: None,
            engine_api: None,
        };
        assert_eq!(text(&version, false), "docker-scheduler 0.1.0\n");
        assert!(text(&version, true).ends_with("engine  none answers\n"));
        version.engine = Some("docker 20.10.24".into());
        version.engine_api = Some("1.41".into());
        assert!(text(&version, true).ends_with("engine  docker 20.10.24, API 1.41\n"));
    }
}
