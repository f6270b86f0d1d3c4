//! `plan`: the difference between manifests and Docker, and the next times, before anything happens.

use jiff::{SignedDuration, Timestamp};

use crate::ledger::{Ledger, WatchLock};
use crate::model::{Desired, Glob};
use crate::plan::{Plan, plan, render};
use crate::source::{self, DirState};
use crate::wire;

use super::App;
use super::args::{DirArg, ForceFlag, time};
use super::declared::{Manifests, directory, known_jobs};
use super::error::{CommandError, CommandResult, Exit};
use super::output::{print, print_json, talk};
use super::session::observe_once;

/// Show what apply would do, and when jobs run next, without changing anything
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub(super) dir: DirArg,

    /// End with 2 when changes are pending, 0 when there are none
    #[arg(long)]
    pub(super) detailed_exitcode: bool,

    /// How to print: as people read it, as one JSON object, or for a comment on a change
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,

    /// Plan as of this time (RFC 3339 with an offset) instead of now
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<Timestamp>,

    /// Only jobs whose full name matches, such as `shop.*`
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub(super) job: Option<Glob>,

    #[command(flatten)]
    pub(super) force: ForceFlag,
}

/// Each is run by a test.
const EXAMPLES: &str = r"Examples:
  docker-scheduler plan
  docker-scheduler plan jobs --detailed-exitcode
  docker-scheduler plan --job 'shop.*' --format json
  docker-scheduler plan --at 2026-12-24T00:00:00+01:00";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    #[default]
    Text,
    Json,
    Markdown,
}

/// # Errors
/// When manifests have errors (3), the engine cannot be reached (4), or the instance is another
/// ledger's (5).
pub async fn run(args: Args, app: &App) -> CommandResult {
    args.force.refuse()?;
    app.look_around().await;
    let ledger = readable_ledger(app)?;
    let dir = directory(args.dir.dir.as_deref(), ledger.as_ref())?;
    let manifests = Manifests::read(app, &dir)?;
    let state = DirState::of(&manifests.files);
    let mut desired = manifests.without_errors()?;
    if let Some(ledger) = &ledger {
        desired.removals = source::guard(&known_jobs(ledger)?, &desired, state);
    }
    let at = args.at.unwrap_or_else(|| app.now());
    if at.duration_since(app.now()) > FURTHEST {
        return Err(CommandError::usage("`--at` lies more than ten years ahead")
            .hint("`next --from TIME` shows coming times from any moment on"));
    }
    let plan = made(app, ledger.as_ref(), &desired, at).await?;
    let plan = match &args.job {
        Some(glob) => {
            if !desired.jobs.keys().any(|job| glob.matches(&job.to_string())) {
                talk("note: no declared job matches `--job`");
            }
            only(plan, glob)
        }
        None => plan,
    };
    match args.format {
        Format::Text => print(&super::output::paint_plan(&render(&plan)))?,
        Format::Json => print_json(&wire::Plan::from(&plan))?,
        Format::Markdown => print(&markdown(&wire::Plan::from(&plan), &render(&plan)))?,
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
    let engine = app.observer().await?;
    let watched = ledger.is_some_and(|ledger| WatchLock::holder(ledger.dir()).is_some());
    let observed = observe_once(app, engine.as_ref(), ledger, desired, watched, now).await?;
    if ledger.is_none() && !observed.containers.is_empty() {
        talk("note: there is no ledger here to read; this plan is made from the containers' labels");
    }
    if ledger.is_none() && desired.jobs.values().any(|job| job.container.is_sensitive()) {
        talk(
            "note: values of `.env`, env files and secrets are compared by a key of the ledger; here they are not",
        );
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

/// The plan for a review: its summary, a table of what changes, and each diff folded away.
pub(super) fn markdown(plan: &wire::Plan, text: &str) -> String {
    // The text form ends in its summary.
    let summary = text.trim_end().lines().last().unwrap_or_default();
    let mut out = format!("### {}\n", cell(summary));
    if !plan.changes.is_empty() || !plan.waiting.is_empty() {
        out.push_str("\n| job | action | why | next |\n|---|---|---|---|\n");
    }
    for change in &plan.changes {
        let next = change
            .next_after
            .map_or_else(String::new, |slot| slot.to_string());
        out.push_str(&format!(
            "| `{}` | {} | {} | {next} |\n",
            change.job,
            change.action,
            cell(&change.detail)
        ));
    }
    for waiting in &plan.waiting {
        out.push_str(&format!(
            "| `{}` | wait | {} | |\n",
            waiting.job,
            cell(&waiting.detail)
        ));
    }
    for change in &plan.changes {
        if let Some(diff) = &change.diff {
            out.push_str(&format!(
                "\n<details><summary>{}</summary>\n\n{}\n</details>\n",
                change.job,
                fenced(diff)
            ));
        }
    }
    out
}

/// A text that cannot leave its cell.
fn cell(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => safe.push(' '),
            '|' | '<' | '`' | '*' | '_' | '[' | '\\' => safe.extend(['\\', c]),
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

/// A block of code whose fence is longer than any in the text.
fn fenced(text: &str) -> String {
    let mut fence = String::from("```");
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}diff\n{}\n{fence}", text.trim_end())
}

/// All slots up to then would be missed ones, counted one by one.
pub(super) const FURTHEST: SignedDuration = SignedDuration::from_hours(24 * 3653);

/// `*` and `?` over a full job name.
fn glob(text: &str) -> Result<Glob, String> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_holds_the_table_and_the_diffs() {
        let plan = wire::Plan {
            v: 1,
            at: Timestamp::UNIX_EPOCH,
            engine: "docker 29".into(),
            changes: vec![wire::Change {
                job: "shop.report".parse().unwrap(),
                action: "replace",
                cause: "ImageChanged",
                detail: "image `a|b`".into(),
                diff: Some("-image: a\n+image: ```\n".into()),
                next_before: None,
                next_after: Some("2026-11-23T01:30:00Z".parse().unwrap()),
            }],
            waiting: Vec::new(),
            unchanged: Vec::new(),
            inactive: Vec::new(),
            summary: wire::Summary {
                create: 0,
                replace: 1,
                start: 0,
                stop: 0,
                remove: 0,
                update: 0,
            },
            next_wake: None,
        };
        assert_eq!(
            markdown(
                &plan,
                " ~ shop.report  replace\n\nPlan: 1 to replace; 0 unchanged.\n"
            ),
            "### Plan: 1 to replace; 0 unchanged.\n\n\
             | job | action | why | next |\n|---|---|---|---|\n\
             | `shop.report` | replace | image \\`a\\|b\\` | 2026-11-23T01:30:00Z |\n\n\
             <details><summary>shop.report</summary>\n\n\
             ````diff\n-image: a\n+image: ```\n````\n</details>\n"
        );
    }

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
