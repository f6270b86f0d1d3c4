//! `plan`, `apply` and `watch` on a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::cluster::{self, Cluster, Loaded, Report, Round, Woken};
use crate::kubernetes::{self, Conflicts, Contents, Seen};
use crate::ledger::{LedgerError, WatchLock};
use crate::manifest::{self, Diagnostic, Files};
use crate::model::{Desired, JobName, Origin, Removals};
use crate::os;
use crate::source;
use crate::transfer::{at_their_lines, check_for_kubernetes};
use crate::watch::{Sign, Trouble, Wake};
use crate::wire;

use super::super::declared::{Manifests, Reader, contents_of, directory};
use super::super::error::{CommandError, CommandResult, ErrorKind, Exit};
use super::super::life::Life;
use super::super::output::{paint_plan, print, print_json, talk, talk_raw};
use super::super::plan::{FURTHEST, Format, markdown};
use super::super::state::of_ledger;
use super::super::{App, apply, plan, watch};
use super::{of_cluster, open};

/// What a directory declares, in words that a cluster knows.
struct Declared {
    desired: Desired,
    files: Files,
    /// What lies in the files of secrets and configs.
    contents: Contents,
    dir: PathBuf,
}

impl Declared {
    /// # Errors
    /// When there is an error in a manifest, or a job that has no form in Kubernetes (3).
    fn read(app: &App, dir: PathBuf) -> Result<Declared, CommandError> {
        let mut manifests = Manifests::read(app, &dir)?;
        let files = manifests.files.clone();
        let jobs = &manifests.loaded.desired.jobs;
        let contents = contents_of(jobs.values());
        let found = check_for_kubernetes(jobs, &files.texts(), &contents, app.now());
        let found = found.into_iter().map(|(_, found)| found);
        manifests.loaded.diagnostics.extend(found);
        Ok(Declared {
            desired: manifests.without_errors()?,
            files,
            contents,
            dir,
        })
    }

    fn origins(&self) -> BTreeMap<JobName, Origin> {
        origins(&self.desired)
    }

    /// Guards against a mass removal, by what the cluster holds.
    fn guard(&mut self, seen: &Seen, app: &App) {
        let instance = app.instance();
        let known: BTreeSet<JobName> = seen
            .objects
            .iter()
            .filter(|object| kubernetes::is_ours(object, &instance))
            .filter_map(kubernetes::job_of)
            .collect();
        self.desired.removals = source::guard(&known, &self.desired, source::DirState::of(&self.files));
    }

    /// What the cluster refuses, at its lines.
    fn check(&self, plan: &kubernetes::Plan) -> Result<(), CommandError> {
        if plan.refused.is_empty() {
            return Ok(());
        }
        let texts = self.files.texts();
        let found = at_their_lines(&self.desired.jobs, &plan.refused, &texts);
        talk_raw(&manifest::pictures(&found, &texts, &prefix_of(&self.dir), true));
        Err(CommandError::new(
            ErrorKind::Manifests,
            "the cluster refuses what is declared, and nothing was changed",
        ))
    }
}

/// What stands before a manifest's name, for a person to find it.
fn prefix_of(dir: &Path) -> String {
    format!("{}/", dir.display().to_string().trim_end_matches('/'))
}

fn origins(desired: &Desired) -> BTreeMap<JobName, Origin> {
    desired
        .jobs
        .iter()
        .map(|(name, job)| (name.clone(), job.origin.clone()))
        .collect()
}

fn conflicts(force: bool, otherwise: Conflicts) -> Conflicts {
    if force { Conflicts::Force } else { otherwise }
}

async fn look(
    cluster: &Cluster,
    declared: &Declared,
    conflicts: Conflicts,
    app: &App,
) -> Result<Seen, CommandError> {
    let nobody = BTreeSet::new();
    let Declared {
        desired, contents, ..
    } = declared;
    cluster::look(cluster, desired, &nobody, contents, &app.instance(), conflicts)
        .await
        .map_err(|error| of_cluster("look at the cluster", &error))
}

/// # Errors
/// When manifests have errors, or the cluster refuses them (3), or it cannot be reached (4).
pub async fn plan(args: plan::Args, app: &App) -> CommandResult {
    let mut declared = Declared::read(app, directory(args.dir.dir.as_deref(), None)?)?;
    let at = args.at.unwrap_or_else(|| app.now());
    if at.duration_since(app.now()) > FURTHEST {
        return Err(CommandError::usage("`--at` lies more than ten years ahead")
            .hint("`next --from TIME` shows coming times from any moment on"));
    }
    let cluster = open(app).await?;
    let conflicts = conflicts(args.force.force_conflicts, Conflicts::Leave);
    let seen = look(&cluster, &declared, conflicts, app).await?;
    declared.guard(&seen, app);
    let mut plan = kubernetes::plan(&declared.desired, &seen, &app.instance(), at);
    declared.check(&plan)?;
    if let Some(glob) = &args.job {
        let meant = |job: &JobName| glob.matches(&job.to_string());
        if !declared.desired.jobs.keys().any(meant) {
            talk("note: no declared job matches `--job`");
        }
        plan.steps.retain(|step| meant(&step.job));
        plan.waiting.retain(|waiting| meant(&waiting.job));
        plan.unchanged.retain(meant);
    }
    let origins = declared.origins();
    let text = kubernetes::render(&plan, &origins);
    match args.format {
        Format::Text => print(&paint_plan(&text))?,
        Format::Json => print_json(&wire::Plan::of_cluster(&plan, &origins))?,
        Format::Markdown => print(&markdown(&wire::Plan::of_cluster(&plan, &origins), &text))?,
    }
    Ok(if args.detailed_exitcode && !plan.steps.is_empty() {
        Exit::CHANGES_PENDING
    } else {
        Exit::OK
    })
}

/// # Errors
/// As `plan`; when something could not be done (1), or was left alone: fields and objects of others, a
/// mass removal (5).
pub async fn apply(args: apply::Args, app: &App) -> CommandResult {
    if args.wait {
        return Err(
            CommandError::usage("`apply --wait` is not for the engine `kubernetes`")
                .hint("the cluster starts the jobs at their times; `trigger --wait` starts one now"),
        );
    }
    let mut declared = Declared::read(app, directory(args.dir.dir.as_deref(), None)?)?;
    let cluster = open(app).await?;
    let conflicts = conflicts(args.force.force_conflicts, Conflicts::Leave);
    let seen = look(&cluster, &declared, conflicts, app).await?;
    if !args.allow_mass_removal {
        declared.guard(&seen, app);
    }
    let plan = kubernetes::plan(&declared.desired, &seen, &app.instance(), app.now());
    declared.check(&plan)?;
    print(&paint_plan(&kubernetes::render(&plan, &declared.origins())))?;
    let reports = cluster::carry_out(&cluster, &plan).await;
    let of = reports.len();
    let failures: Vec<CommandError> = reports
        .into_iter()
        .filter_map(|report| report.failed)
        .map(|(what, error)| of_cluster(&what, &error))
        .collect();
    if let Some(error) = CommandError::of_several("carry out", failures, of) {
        return Err(error);
    }
    left_alone(&plan, &declared)
}

/// What was not done is no success.
fn left_alone(plan: &kubernetes::Plan, declared: &Declared) -> CommandResult {
    let problems: Vec<&kubernetes::Waiting> = plan
        .waiting
        .iter()
        .filter(|waiting| waiting.cause.is_problem())
        .collect();
    if problems.is_empty() {
        return Ok(Exit::OK);
    }
    if let Removals::Held(why) = &declared.desired.removals {
        let message = format!("removals are held, in `{}`: {why}", declared.dir.display());
        return Err(
            CommandError::new(ErrorKind::Refused, message).hint("`apply --allow-mass-removal` removes them")
        );
    }
    let jobs: BTreeSet<&JobName> = problems.iter().map(|waiting| &waiting.job).collect();
    let message = match jobs.len() {
        1 => String::from("1 job was left alone"),
        count => format!("{count} jobs were left alone"),
    };
    let mut error = CommandError::new(ErrorKind::Refused, message);
    for waiting in problems {
        error = error.caused_by(format!("`{}`: {}", waiting.job, waiting.cause.describe()));
    }
    Err(error)
}

/// # Errors
/// When the directory is missing (3), or no cluster is named (4). A cluster that is away is waited for.
pub async fn watch(args: watch::Args, app: &App) -> CommandResult {
    if args.git.is_some() {
        return Err(
            CommandError::usage("`watch --git` is not for the engine `kubernetes`")
                .hint("`apply` from a job of the repository's own pipeline does the same there"),
        );
    }
    let dir = directory(args.dir.dir.as_deref(), None)?;
    // A directory that is missing at the start is a mistake; one that goes missing later is held.
    Manifests::read(app, &dir)?;
    let dir = os::canonicalize(&dir).unwrap_or(dir);
    let cluster = open(app).await?;
    let state = app.state_folder()?;
    let reader = Reader::keeping(app, dir.clone(), &state.join("cluster-last-good"))?;
    // For `health`; two of them would do the same thing twice, without harm.
    let _lock = WatchLock::acquire(&state).map_err(|error| match error {
        LedgerError::Locked { by } => CommandError::new(
            ErrorKind::Refused,
            format!("another watch is running on this state folder: {by}"),
        )
        .hint("another instance needs its own name: `--instance NAME`"),
        other => of_ledger("take the watch lock", &other),
    })?;
    let life = Life::new(&state).map_err(|error| of_ledger("forget the last heartbeat", &error))?;
    let mut signs = life.signs();
    let (wakes, woken) = mpsc::unbounded_channel();
    watch::signals(wakes.clone(), None)?;
    watch::files(&dir, args.poll, wakes)?;
    tracing::info!(
        directory = %dir.display(), cluster = cluster.host(), namespace = cluster.namespace(), "watching"
    );
    let conflicts = conflicts(args.force.force_conflicts, Conflicts::RepairEdits);
    let files = Arc::new(Mutex::new(Files::default()));
    let mut teller = Teller {
        files: Arc::clone(&files),
        dir,
        ..Teller::default()
    };
    cluster::watch(
        &cluster,
        &app.instance(),
        conflicts,
        loader(reader, app, files),
        forwarded(woken),
        || app.now(),
        |round| {
            teller.tell(round, app.now());
            signs(Sign::Turned {
                jobs: teller.jobs,
                trouble: teller.trouble.as_ref(),
            });
        },
    )
    .await;
    signs(Sign::Stopping);
    Ok(Exit::OK)
}

/// Files and signals, in the words of the cluster's loop.
fn forwarded(mut woken: mpsc::UnboundedReceiver<Wake>) -> mpsc::UnboundedReceiver<Woken> {
    let (wakes, forwarded) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(wake) = woken.recv().await {
            let wake = match wake {
                Wake::Terminate(signal) => {
                    tracing::info!(signal, "ending");
                    Woken::Terminate(signal)
                }
                _ => Woken::Changed,
            };
            if wakes.send(wake).is_err() {
                return;
            }
        }
    });
    forwarded
}

/// How the manifests are read again, each time. A job that has no form there is left as it is, and
/// while a file is broken nothing is removed.
fn loader(mut reader: Reader, app: &App, files: Arc<Mutex<Files>>) -> cluster::Load {
    let clock = app.clock();
    let mut said = String::new();
    Box::new(move |known| {
        let declared = reader.read(known);
        let mut desired = declared.desired;
        let mut report = declared.report;
        if declared.errors > 0 && desired.removals == Removals::Allowed {
            desired.removals = Removals::Held(String::from("a manifest has errors"));
        }
        let mut left_alone = declared.held;
        let contents = contents_of(desired.jobs.values());
        let texts = reader.files.texts();
        let unfit = check_for_kubernetes(&desired.jobs, &texts, &contents, clock());
        let unfit = unfit.into_iter().filter(|(_, found)| found.is_error());
        let (jobs, found): (BTreeSet<JobName>, Vec<Diagnostic>) = unfit.unzip();
        report.push_str(&manifest::render(&found, &texts, &prefix_of(&reader.dir), false));
        for job in jobs.difference(&left_alone.clone()) {
            report.push_str(&format!("note: job `{job}` is left as it is in the cluster\n"));
        }
        left_alone.extend(jobs);
        files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&reader.files);
        if report != said {
            for line in report.lines().filter(|line| !line.trim().is_empty()) {
                tracing::warn!("{line}");
            }
            said = report;
        }
        Loaded {
            desired,
            left_alone,
            contents,
        }
    })
}

/// Says what is new in a round.
#[derive(Default)]
struct Teller {
    /// As they were read for this round.
    files: Arc<Mutex<Files>>,
    dir: PathBuf,
    problems: BTreeSet<String>,
    steps: Vec<(JobName, &'static str, String)>,
    jobs: usize,
    /// Since the cluster cannot be looked at.
    trouble: Option<Trouble>,
}

impl Teller {
    fn tell(&mut self, round: Round<'_>, now: Timestamp) {
        match round {
            Round::Idle => {}
            Round::Planned { plan, desired } => {
                self.jobs = desired.jobs.len();
                self.trouble = None;
                self.planned(plan, desired);
            }
            Round::Done(reports) => self.done(reports),
            Round::Failed(error) => {
                let since = self.trouble.take().map_or(now, |trouble| trouble.since);
                let why = error.to_string();
                self.trouble = Some(Trouble { since, why });
                let problem = of_cluster("look at the cluster", error).render();
                self.problem(&BTreeSet::from([problem]));
            }
        }
    }

    fn planned(&mut self, plan: &kubernetes::Plan, desired: &Desired) {
        let origins = origins(desired);
        let mut problems: BTreeSet<String> = plan
            .waiting
            .iter()
            .filter(|waiting| waiting.cause.is_problem())
            .map(|waiting| format!("{}: {}", waiting.job, waiting.cause.describe()))
            .collect();
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = files.texts();
        let refused = at_their_lines(&desired.jobs, &plan.refused, &texts);
        let pictures = refused.into_iter().map(|found| {
            let picture = manifest::pictures(&[found], &texts, &prefix_of(&self.dir), false);
            picture.trim().to_owned()
        });
        problems.extend(pictures);
        drop(files);
        self.problem(&problems);
        self.steps = plan
            .steps
            .iter()
            .map(|step| {
                let why = kubernetes::describe(step, origins.get(&step.job));
                (step.job.clone(), step.action.word(), why)
            })
            .collect();
    }

    /// Each problem is said once, until it is gone and comes back.
    fn problem(&mut self, now: &BTreeSet<String>) {
        for problem in now.difference(&self.problems) {
            for line in problem.lines().filter(|line| !line.trim().is_empty()) {
                tracing::warn!("{line}");
            }
        }
        self.problems.clone_from(now);
    }

    fn done(&self, reports: &[Report]) {
        for (report, (job, action, why)) in reports.iter().zip(&self.steps) {
            match &report.failed {
                None => tracing::info!(%job, why, "{action}"),
                Some((what, error)) => tracing::error!(%job, %error, "failed to {what}"),
            }
        }
    }
}
