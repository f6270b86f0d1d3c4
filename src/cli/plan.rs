//! `plan`: the difference between manifests and Docker, and the next times, before anything happens.

use jiff::Timestamp;

use crate::ledger::{Ledger, WatchLock};
use crate::model::Desired;
use crate::plan::{Plan, plan, render};
use crate::source;
use crate::wire;

use super::App;
use super::args::{DirArg, TextOrJson, time};
use super::declared::{Manifests, directory, known_jobs, state_of};
use super::error::{CommandError, CommandResult, Exit};
use super::output::{print, print_json, talk};
use super::session::observe_once;

/// Show what apply would do, and when jobs run next, without changing anything
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: DirArg,

    /// End with 2 when changes are pending, 0 when there are none
    #[arg(long)]
    detailed_exitcode: bool,

    /// How to print: as people read it, or one JSON object
    #[arg(long, value_enum, default_value_t)]
    format: TextOrJson,

    /// Plan as of this time (RFC 3339 with an offset) instead of now
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,

    /// Only jobs whose full name matches, such as `shop.*`
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    job: Option<Glob>,
}

/// # Errors
/// When manifests have errors (3), the engine cannot be reached (4), or the instance is another
/// ledger's (5).
pub async fn run(args: Args, app: &App) -> CommandResult {
    let ledger = readable_ledger(app)?;
    let dir = directory(args.dir.dir.as_deref(), ledger.as_ref())?;
    let manifests = Manifests::read(app, &dir)?;
    let state = state_of(&manifests.files);
    let mut desired = manifests.without_errors()?;
    if let Some(ledger) = &ledger {
        desired.removals = source::guard(&known_jobs(ledger)?, &desired, state);
    }
    let plan = made(
        app,
        ledger.as_ref(),
        &desired,
        args.at.unwrap_or_else(|| app.now()),
    )
    .await?;
    let plan = match &args.job {
        Some(glob) => only(plan, glob),
        None => plan,
    };
    match args.format {
        TextOrJson::Text => print(&super::output::paint_plan(&render(&plan)))?,
        TextOrJson::Json => print_json(&wire::Plan::from(&plan))?,
    }
    let pending = plan.changes().next().is_some();
    Ok(if args.detailed_exitcode && pending {
        Exit::CHANGES_PENDING
    } else {
        Exit::OK
    })
}

async fn made(
    app: &App,
    ledger: Option<&Ledger>,
    desired: &Desired,
    now: Timestamp,
) -> Result<Plan, CommandError> {
    let engine = app.engine().await?;
    let watched = ledger.is_some_and(|ledger| WatchLock::holder(ledger.dir()).is_some());
    let observed = observe_once(app, &engine, ledger, desired, watched, now).await?;
    if ledger.is_none() && !observed.containers.is_empty() {
        talk("note: there is no ledger here to read; this plan is made from the containers' labels");
    }
    Ok(plan(desired, &observed, now))
}

/// The ledger, if there is one that this user may read.
fn readable_ledger(app: &App) -> Result<Option<Ledger>, CommandError> {
    let folder = app.state_folder()?;
    match Ledger::open_existing(&folder) {
        Ok(ledger) => Ok(ledger),
        Err(error) if error.is_permission_denied() => {
            talk(&format!(
                "note: the ledger in `{}` is not ours to read; this plan is made from the containers' labels",
                folder.display()
            ));
            Ok(None)
        }
        Err(error) => Err(super::state::of_ledger("open the ledger", &error)),
    }
}

fn only(mut plan: Plan, glob: &Glob) -> Plan {
    plan.steps.retain(|step| glob.matches(&step.job.to_string()));
    plan.waiting
        .retain(|waiting| glob.matches(&waiting.job.to_string()));
    plan.unchanged.retain(|job| glob.matches(&job.to_string()));
    plan
}

/// `*` and `?` over a full job name.
#[derive(Debug, Clone)]
pub struct Glob(Vec<char>);

fn glob(text: &str) -> Result<Glob, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '?');
    if text.is_empty() || text.len() > 255 || !text.chars().all(allowed) {
        return Err("a pattern is made of the characters of a job's name, `*` and `?`".to_owned());
    }
    Ok(Glob(text.chars().collect()))
}

impl Glob {
    fn matches(&self, name: &str) -> bool {
        // `reached[i]`: the pattern's first i characters match the name so far.
        let mut reached = vec![false; self.0.len() + 1];
        reached[0] = true;
        self.skip_stars(&mut reached);
        for c in name.chars() {
            let mut next = vec![false; reached.len()];
            for (at, &pattern) in self.0.iter().enumerate() {
                match pattern {
                    '*' => next[at] |= reached[at],
                    '?' => next[at + 1] |= reached[at],
                    _ => next[at + 1] |= reached[at] && pattern == c,
                }
            }
            self.skip_stars(&mut next);
            reached = next;
        }
        reached[self.0.len()]
    }

    /// A star may stand for nothing.
    fn skip_stars(&self, reached: &mut [bool]) {
        for (at, &pattern) in self.0.iter().enumerate() {
            if pattern == '*' && reached[at] {
                reached[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let yes = [
            ("shop.*", "shop.backup"),
            ("*", "a.b"),
            ("*.b?ckup", "shop.backup"),
            ("a.b", "a.b"),
            ("a**b", "ab"),
        ];
        for (pattern, name) in yes {
            assert!(glob(pattern).unwrap().matches(name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("shop", "shop.backup"),
            ("?", "ab"),
            ("a.b", "a.bc"),
            ("*.x", "a.b"),
        ] {
            assert!(!glob(pattern).unwrap().matches(name), "{pattern} {name}");
        }
        assert!(glob("").is_err());
        assert!(glob("a b").is_err());
    }
}
