//! Looks at everything once, for `doctor`: what fails becomes words, never an end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use crate::apply::owner;
use crate::clock::{self, Clock as _, SystemClock};
use crate::doctor::{
    Answers, Case, Disk, Engine, Heartbeat, Ledger, LedgerCase, Logins, Manifests, ManifestsFound,
    OperatorFile, OperatorFound, Question, StateFolder, StateFound, Unarmed,
};
use crate::engine::context::Source;
use crate::engine::{self, ContainerFilter, EngineError, EngineInfo, SharedEngine};
use crate::ledger::{self, WatchLock};
use crate::model::{EngineName, Instance, JobName, LABEL_INSTANCE, LABEL_LEDGER, Stamp};
use crate::os;
use crate::transfer::check_for_kubernetes;

use super::super::declared::{self, Manifests as Declared};
use super::super::error::CommandError;
use super::super::settings::Settings;
use super::super::state::User;
use super::super::surroundings::{self, file_system};
use super::super::{App, connect, operator};

/// Longer than any question may take; a stream that neither ends nor yields is no refusal.
const PATIENCE: Duration = Duration::from_secs(5);

/// One look, with these flags and this directory of manifests.
pub async fn look(settings: &Settings, dir: Option<&Path>) -> Case {
    let now = SystemClock.now();
    let (operator, app) = operator_file(settings);
    let instance = app.instance();
    let ledger = open_ledger(&app);
    let state = state_folder(&app);
    let directory = declared::directory(dir, ledger.as_ref().ok().and_then(Option::as_ref));
    let (manifests, declared) = manifests(&app, directory);
    let engine_name = app.engine_name();
    let (engine, root_dir) = match engine_name {
        EngineName::Docker | EngineName::Swarm => match ask_engine(&app, &instance).await {
            Ok((answers, info)) => (
                Engine::Answers(Box::new(answers)),
                Some(PathBuf::from(&info.root_dir)),
            ),
            Err(error) => (away(&error), None),
        },
        EngineName::Kubernetes => (ask_cluster(&app, declared.as_ref()).await, None),
    };
    Case {
        now,
        instance: instance.to_string(),
        host: surroundings::host(),
        operator,
        logins: logins(settings),
        disks: disks(&state, root_dir.as_deref()),
        engine_name,
        engine,
        state,
        ledger: ledger_case(ledger, now),
        manifests,
    }
}

/// The operator's file, and the application with it; with the defaults when it cannot be used.
fn operator_file(settings: &Settings) -> (OperatorFile, App) {
    let user = User::of_process();
    let path = operator::place(settings, &user).map(|(path, _)| path);
    match operator::read(settings, &user) {
        Err(error) => {
            let found = OperatorFound::Broken {
                why: sentence(&error),
                hints: error.hints().to_vec(),
            };
            let app = App::with(settings.clone(), crate::config::Config::default(), user);
            (OperatorFile { path, found }, app)
        }
        Ok(config) => {
            let metadata = path.as_deref().and_then(|path| fs::metadata(path).ok());
            let found = match metadata {
                None => OperatorFound::Absent,
                Some(metadata) => OperatorFound::Read {
                    writable_by_others: os::writable_by_others(&metadata),
                    rules: config.policy.clone(),
                },
            };
            (
                OperatorFile { path, found },
                App::with(settings.clone(), config, user),
            )
        }
    }
}

/// Heading and causes in one line.
fn sentence(error: &CommandError) -> String {
    let mut words = vec![error.message().to_owned()];
    words.extend(error.causes().iter().cloned());
    words.join(": ")
}

fn away(error: &CommandError) -> Engine {
    let mut why = vec![error.message().to_owned()];
    why.extend(error.causes().iter().cloned());
    Engine::Away {
        why,
        hints: error.hints().to_vec(),
    }
}

#[cfg(feature = "kubernetes")]
async fn ask_cluster(app: &App, declared: Option<&BTreeSet<JobName>>) -> Engine {
    match super::super::cluster::doctor::look(app, declared).await {
        Ok(cluster) => Engine::Cluster(Box::new(cluster)),
        Err(error) => away(&error),
    }
}

#[cfg(not(feature = "kubernetes"))]
async fn ask_cluster(_: &App, _: Option<&BTreeSet<JobName>>) -> Engine {
    away(&super::super::without_kubernetes())
}

async fn ask_engine(app: &App, instance: &Instance) -> Result<(Answers, EngineInfo), CommandError> {
    let endpoint = connect::chosen(app.settings())?;
    let of_engine = |error: EngineError| CommandError::engine("ask the engine", &error);
    let engine = engine::connect(&endpoint, app.settings().engine.unwrap_or_default())
        .await
        .map_err(of_engine)?;
    let before = SystemClock.now();
    let info = engine.info().await.map_err(of_engine)?;
    let after = SystemClock.now();
    let (questions, lock) = ask_everything(&engine, instance).await;
    // What it refuses, the questions have shown.
    let fleet = engine.fleet(instance).await.unwrap_or_default();
    let jobs_there = match fleet {
        Some(_) => jobs_there(&engine, instance).await,
        None => Vec::new(),
    };
    let answers = Answers {
        host: endpoint.host.clone(),
        chosen_by: chosen_by(&endpoint.source),
        name: info.name.clone(),
        api_version: info.api_version.clone(),
        differences: engine::differences::differences(info.kind)
            .iter()
            .map(|difference| (difference.what, difference.so))
            .collect(),
        rootless: info.rootless,
        operating_system: info.operating_system.clone(),
        warnings: info.warnings.clone(),
        log_driver: info.default_log_driver.clone(),
        clock_ahead: info.system_time.map(|theirs| clock::ahead(theirs, before, after)),
        identity: info.identity.clone(),
        questions,
        lock,
        fleet,
        jobs_there,
    };
    Ok((answers, info))
}

/// Of which jobs it has runs.
async fn jobs_there(engine: &SharedEngine, instance: &Instance) -> Vec<String> {
    let filter = ContainerFilter {
        all: true,
        label: Some((LABEL_INSTANCE.to_owned(), instance.to_string())),
    };
    let listed = engine.list_containers(&filter).await.unwrap_or_default();
    let stamps = listed.iter().filter_map(|one| Stamp::read(&one.labels, instance));
    let names: BTreeSet<String> = stamps.map(|stamp| stamp.job.to_string()).collect();
    names.into_iter().collect()
}

fn chosen_by(source: &Source) -> String {
    match source {
        Source::HostFlag => "by `--host` or the operator's file".to_owned(),
        Source::HostVariable => "by `DOCKER_HOST`".to_owned(),
        Source::Context(name) => format!("by the docker context `{name}`"),
        Source::Default => "the default".to_owned(),
    }
}

/// Each kind of request that a scheduler sends, and the ledger that the instance's lock names.
async fn ask_everything(engine: &SharedEngine, instance: &Instance) -> (Vec<Question>, Option<String>) {
    let label = (LABEL_INSTANCE.to_owned(), instance.to_string());
    let filter = ContainerFilter {
        all: true,
        label: Some(label.clone()),
    };
    // Nobody calls a container so; one that is called so would not be changed either.
    let nobody = "docker-scheduler-doctor-asks".to_owned();
    let volumes = engine.volumes().await;
    let lock = volumes
        .as_ref()
        .ok()
        .and_then(|volumes| volumes.get(&instance.lock_volume()))
        .map(|labels| labels.get(LABEL_LEDGER).cloned().unwrap_or_default());
    let change = match engine.mark(&nobody).await {
        // It is not there: the engine itself has answered.
        Err(EngineError::Refused { status: 404, .. }) => Ok(true),
        other => other,
    };
    let questions = vec![
        question("list containers", engine.list_containers(&filter).await),
        question("list volumes", volumes),
        question("list networks", engine.networks().await),
        question("list images", engine.list_images().await),
        question("inspect a container", engine.inspect(&nobody).await),
        question("read events", events(engine, label).await),
        question("change a container", change),
    ];
    (questions, lock)
}

fn question<T>(what: &'static str, answer: Result<T, EngineError>) -> Question {
    Question {
        what,
        refused: answer.err().map(|error| error.to_string()),
    }
}

/// The events of this moment: a stream that ends at once, or says why not.
async fn events(engine: &SharedEngine, label: (String, String)) -> Result<(), EngineError> {
    let now = SystemClock.now();
    let mut stream = engine.events(label, Some(now), Some(now)).await?;
    match tokio::time::timeout(PATIENCE, stream.next()).await {
        Ok(Some(Err(error))) => Err(error),
        _ => Ok(()),
    }
}

fn open_ledger(app: &App) -> Result<Option<ledger::Ledger>, LedgerCase> {
    let Ok(folder) = app.state_folder() else {
        return Ok(None);
    };
    ledger::Ledger::open_existing(&folder).map_err(|error| {
        if error.is_permission_denied() {
            LedgerCase::Foreign(error.to_string())
        } else {
            LedgerCase::Broken(error.to_string())
        }
    })
}

fn ledger_case(opened: Result<Option<ledger::Ledger>, LedgerCase>, now: Timestamp) -> LedgerCase {
    let ledger = match opened {
        Ok(Some(ledger)) => ledger,
        Ok(None) => return LedgerCase::Absent,
        Err(case) => return case,
    };
    match read_ledger(&ledger, now) {
        Ok(read) => LedgerCase::Open(Box::new(read)),
        Err(error) => LedgerCase::Broken(error.to_string()),
    }
}

fn read_ledger(ledger: &ledger::Ledger, now: Timestamp) -> ledger::Result<Ledger> {
    let snapshot = ledger.snapshot()?;
    let declared: Vec<_> = snapshot.jobs.values().filter(|record| !record.removed).collect();
    let unarmed = declared.iter().filter_map(|record| {
        let failure = record.arm_failure.as_ref()?;
        Some(Unarmed {
            job: record.name.to_string(),
            since: failure.at,
            attempts: failure.attempts,
            why: failure.detail.clone(),
        })
    });
    Ok(Ledger {
        id: ledger.id().to_owned(),
        engine: ledger.engine()?,
        last_alive: ledger.last_alive()?,
        watched_by: WatchLock::holder(ledger.dir()),
        heartbeat: ledger::Heartbeat::read(ledger.dir())?.map(|beat| Heartbeat {
            age: beat.age(&owner::boot_id(), SystemClock.boottime(), now),
            trouble: beat.trouble,
        }),
        jobs: declared.len(),
        job_names: snapshot.jobs.keys().map(ToString::to_string).collect(),
        unarmed: unarmed.collect(),
        unknown_runs: snapshot
            .runs
            .iter()
            .filter(|run| run.holds_job(now))
            .map(|run| run.id.to_string())
            .collect(),
    })
}

fn state_folder(app: &App) -> StateFolder {
    let Ok(path) = app.state_folder() else {
        return StateFolder {
            path: None,
            found: StateFound::Absent,
            file_system: crate::doctor::FileSystem::default(),
        };
    };
    let found = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => StateFound::There {
            mode: os::mode(&metadata),
            writable: os::may_fill(&path),
        },
        Ok(_) => StateFound::CannotBeMade("something else is there".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = surroundings::existing(&path);
            if os::may_fill(&parent) {
                StateFound::Absent
            } else {
                StateFound::CannotBeMade(format!("`{}` cannot be written", parent.display()))
            }
        }
        Err(error) => StateFound::Unreadable(error.to_string()),
    };
    StateFolder {
        file_system: file_system(&path),
        path: Some(path),
        found,
    }
}

/// The ledger's file system, and the engine's where that is on this machine.
fn disks(state: &StateFolder, engine: Option<&Path>) -> Vec<Disk> {
    let ledger = state.path.as_deref().map(surroundings::existing);
    let engine = engine.filter(|root| root.is_absolute() && root.is_dir());
    let mut found = Vec::new();
    found.extend(ledger.and_then(|path| disk("the ledger", &path)));
    found.extend(engine.and_then(|path| disk("the engine", path)));
    found
}

fn disk(whose: &'static str, path: &Path) -> Option<Disk> {
    let found = os::space(path)?;
    Some(Disk {
        whose,
        path: path.to_owned(),
        free_bytes: found.free_bytes,
        free_files: found.free_files,
    })
}

/// With the jobs that they declare, when there is no error in them.
fn manifests(app: &App, dir: Result<PathBuf, CommandError>) -> (Manifests, Option<BTreeSet<JobName>>) {
    let dir = match dir {
        Ok(dir) => dir,
        // The ledger could not be read, which its own check says.
        Err(_) => PathBuf::from("schedules.d"),
    };
    let mut declared = None;
    let found = match fs::metadata(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => ManifestsFound::Missing,
        _ => match Declared::read(app, &dir) {
            Err(error) => ManifestsFound::Unreadable(sentence(&error)),
            Ok(mut read) => {
                let jobs = &read.loaded.desired.jobs;
                if app.engine_name() == EngineName::Kubernetes {
                    let contents = declared::contents_of(jobs.values());
                    let unfit = check_for_kubernetes(jobs, &read.files.texts(), &contents, app.now());
                    read.loaded
                        .diagnostics
                        .extend(unfit.into_iter().map(|(_, found)| found));
                }
                if !read.loaded.has_errors() {
                    declared = Some(read.loaded.desired.jobs.keys().cloned().collect());
                }
                let (errors, warnings): (Vec<_>, Vec<_>) = read
                    .loaded
                    .diagnostics
                    .iter()
                    .partition(|diagnostic| diagnostic.is_error());
                ManifestsFound::Read {
                    files: read.files.manifests.len(),
                    jobs: read.loaded.desired.jobs.len(),
                    errors: errors.len(),
                    warnings: warnings.len(),
                }
            }
        },
    };
    let manifests = Manifests {
        file_system: file_system(&dir),
        dir,
        found,
    };
    (manifests, declared)
}

fn logins(settings: &Settings) -> Logins {
    let Some(path) = connect::config_dir(settings).map(|dir| dir.join("config.json")) else {
        return Logins::Absent;
    };
    match engine::registry::overview(&path) {
        Ok(None) => Logins::Absent,
        Ok(Some(overview)) => Logins::Read {
            path,
            registries: overview.registries,
            missing_helpers: overview
                .helpers
                .into_iter()
                .map(|helper| format!("docker-credential-{helper}"))
                .filter(|program| !surroundings::is_in_path(program))
                .collect(),
        },
        Err(why) => Logins::Unreadable { path, why },
    }
}
