//! Commands for a Kubernetes cluster: which of them there are, and what they share.
//!
//! The arguments and their help are those of the commands elsewhere; here is what they mean where the
//! cluster itself owns the clock.
//!
//! | file | |
//! |---|---|
//! | `converge.rs` | `plan`, `apply`, `watch` |
//! | `doctor.rs` | what `doctor` looks at |
//! | `tell.rs` | `ls`, `next`, `history`, `inspect` |
//! | `logs.rs` | `logs` |
//! | `act.rs` | `trigger`, `wait`, `cancel`, `pause`, `resume`, `prune`, `down` |

mod act;
mod converge;
pub mod doctor;
mod logs;
mod tell;

use serde_json::Value;

use crate::cluster::{Cluster, ClusterError, Inventory, Selection};
use crate::kubernetes;
use crate::model::{JobName, Run};

use super::args::NameArg;
use super::error::{CommandError, CommandResult, ErrorKind};
use super::output::quoted;
use super::{App, Command, Listed};

/// Carries a command out, or says plainly why it is not one for this engine.
///
/// # Errors
/// As the command's own.
pub async fn run(command: Command, app: &App) -> CommandResult {
    match command {
        Command::Plan(args) => converge::plan(args, app).await,
        Command::Apply(args) => converge::apply(args, app).await,
        Command::Watch(args) => converge::watch(args, app).await,
        Command::Ls(args) => tell::jobs(args, app).await,
        Command::List(list) => match list.what {
            None => tell::jobs(list.jobs, app).await,
            Some(Listed::Jobs(args)) => tell::jobs(args, app).await,
            Some(Listed::Images(_)) => Err(not_here("list images", "its nodes have them, each its own")),
            Some(Listed::Containers(_)) => Err(not_here("list containers", "`kubectl get pods` lists them")),
        },
        Command::Trigger(args) => act::trigger(args, app).await,
        Command::Next(args) => tell::next(args, app).await,
        Command::History(args) => tell::history(args, app).await,
        Command::Logs(args) => logs::run(args, app).await,
        Command::Inspect(args) => tell::inspect(args, app).await,
        Command::Wait(args) => act::wait(args, app).await,
        Command::Cancel(args) => act::cancel(args, app).await,
        Command::Pause(args) => act::pause(args, app).await,
        Command::Resume(args) => act::resume(args, app).await,
        Command::Prune(args) => act::prune(args, app).await,
        Command::Down(_) => act::down(app).await,
        Command::Version(args) => tell::version(args, app).await,
        Command::Run(_) => Err(not_here(
            "run",
            "`kubectl run` starts a pod; `trigger` a declared job",
        )),
        Command::Rerun(_) => Err(not_here("rerun", "`trigger` starts the job again")),
        Command::Rm(_) => Err(not_here("rm", "`prune` deletes ended runs, `cancel` ends one")),
        Command::Ack(_) => Err(not_here(
            "ack",
            "no run is `unknown` there: its Job says what became of it",
        )),
        command @ (Command::Doctor(_)
        | Command::Init(_)
        | Command::Health(_)
        | Command::Validate(_)
        | Command::Import(_)
        | Command::Export(_)
        | Command::Schema(_)
        | Command::Completions(_)
        | Command::Man(_)) => super::on_engine(command, app).await,
    }
}

fn not_here(command: &str, instead: &str) -> CommandError {
    CommandError::usage(format!("`{command}` is not for the engine `kubernetes`")).hint(instead)
}

/// A connection to the cluster that flags, variables and kubeconfig name.
///
/// # Errors
/// When they name none that can be used.
async fn open(app: &App) -> Result<Cluster, CommandError> {
    let selection = Selection {
        context: app.settings().kube_context.clone(),
        namespace: app.settings().namespace.clone(),
    };
    Cluster::connect(&selection)
        .await
        .map_err(|error| of_cluster("connect to the cluster", &error))
}

/// An error of the cluster while doing `what`.
fn of_cluster(what: &str, error: &ClusterError) -> CommandError {
    let failed = || CommandError::failed(format!("failed to {what}")).caused_by(error.to_string());
    match error {
        ClusterError::Config(why) => CommandError::new(
            ErrorKind::EngineUnreachable,
            "there is no cluster that can be used",
        )
        .caused_by(why.clone())
        .hint("`KUBECONFIG` or ~/.kube/config says which, as for kubectl; `--kube-context` names one of its contexts"),
        ClusterError::Unreachable { host, why } => CommandError::new(
            ErrorKind::EngineUnreachable,
            format!("cannot reach the cluster at `{host}`"),
        )
        .caused_by(why.clone())
        .hint("`kubectl cluster-info` asks the same one; `--kube-context` names another"),
        ClusterError::Refused { code: 401, .. } => failed().hint("the credentials of this context are not, or no longer, valid there"),
        ClusterError::Refused { code: 403, .. } => failed().hint("examples/kubernetes/rbac.yaml has the rights that are needed, and no more"),
        ClusterError::Refused { code: 409, .. } => failed().hint("somebody else changed it at the same moment: do it again"),
        ClusterError::Refused { .. } | ClusterError::Undecodable(_) => failed(),
    }
}

async fn inventory(cluster: &Cluster, app: &App) -> Result<Inventory, CommandError> {
    Inventory::take(cluster, &app.instance())
        .await
        .map_err(|error| of_cluster("look at the cluster", &error))
}

/// Every run that the cluster still knows of, newest first.
fn runs(inventory: &Inventory, app: &App) -> Vec<Run> {
    kubernetes::runs(
        &inventory.cron_jobs,
        &inventory.jobs,
        &inventory.pods,
        &inventory.events,
        &app.instance(),
    )
}

/// What a person means by a name where a run or a job is asked for.
enum Meant<'a> {
    Run(Box<Run>, &'a Value),
    Job(JobName),
}

/// A Job's name; a job's name; the beginning of a Job's name that no other has.
fn meant<'a>(inventory: &'a Inventory, name: &NameArg, app: &App) -> Result<Meant<'a>, CommandError> {
    let found =
        |job: &'a Value| kubernetes::run_of(job, &inventory.pods).map(|run| Meant::Run(Box::new(run), job));
    let exact = inventory
        .jobs
        .iter()
        .find(|job| kubernetes::name_of(job) == name.as_str());
    if let Some(run) = exact.and_then(found) {
        return Ok(run);
    }
    let known = inventory.by_job();
    let error = match app.resolve_job(name, known.keys()) {
        Ok(job) => return Ok(Meant::Job(job)),
        Err(error) => error,
    };
    let begun: Vec<&Value> = inventory
        .jobs
        .iter()
        .filter(|job| kubernetes::name_of(job).starts_with(name.as_str()))
        .collect();
    match begun[..] {
        [one] => found(one).ok_or(error),
        [] => Err(
            CommandError::failed(format!("there is no run and no job {}", quoted(name.as_str())))
                .with_hints_of(error),
        ),
        [first, second, ..] => Err(CommandError::failed(format!(
            "{} is the beginning of several runs",
            quoted(name.as_str())
        ))
        .hint(format!(
            "such as `{}` and `{}`",
            kubernetes::name_of(first),
            kubernetes::name_of(second)
        ))),
    }
}

/// The Job that is meant: a run's own, or the newest of a job.
fn meant_run<'a>(
    inventory: &'a Inventory,
    name: &NameArg,
    app: &App,
) -> Result<(Run, &'a Value), CommandError> {
    let job = match meant(inventory, name, app)? {
        Meant::Run(run, object) => return Ok((*run, object)),
        Meant::Job(job) => job,
    };
    of_job(inventory, &job)
        .into_iter()
        .next()
        .ok_or_else(|| no_run(inventory, &job))
}

/// The refusal for a job that never ran, or whose runs the cluster keeps no more.
fn no_run(inventory: &Inventory, job: &JobName) -> CommandError {
    let known = inventory.by_job();
    let by_hand = (known.get(job).and_then(|all| all.first()))
        .is_some_and(|cron_job| kubernetes::may_be_triggered(cron_job));
    let error = CommandError::failed(format!("the cluster knows of no run of the job `{job}`"));
    if by_hand {
        error.hint(format!(
            "`trigger {job}` starts one now; `next {job}` shows when it is due"
        ))
    } else {
        error.hint(format!("`next {job}` shows when it is due"))
    }
}

/// The Jobs of a job, newest first.
fn of_job<'a>(inventory: &'a Inventory, job: &JobName) -> Vec<(Run, &'a Value)> {
    let of = inventory
        .jobs
        .iter()
        .filter(|object| kubernetes::job_of(object).as_ref() == Some(job));
    let mut found: Vec<(Run, &Value)> = of
        .filter_map(|object| Some((kubernetes::run_of(object, &inventory.pods)?, object)))
        .collect();
    found.sort_by(|(a, _), (b, _)| b.due_at.cmp(&a.due_at).then_with(|| b.id.cmp(&a.id)));
    found
}
