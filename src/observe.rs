//! Engine and ledger, seen once: the world that a plan is made from. Makes no choices.
//!
//! Containers are listed anew each time; images, networks and volumes change seldom and cost a
//! request each, so a caller may keep their [`Facts`] for a while.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::engine::target::{Program, find_program, find_target};
use crate::engine::{ContainerFilter, ContainerSummary, EngineError, EngineInfo, Observe, lower};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{
    Checked, Claim, Container, ContainerSpec, Desired, EngineFacts, Gap, ImageRef, ImageState, Instance,
    JobName, JobRecord, LABEL_INSTANCE, Lane, Launching, MountKind, Observed, PullPolicy, Pulls, Run, RunId,
    Stamp, TargetState, Within,
};

/// Why the world could not be seen. An engine that is away is not an empty engine.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot read the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// Containers of this instance belong to a ledger that is neither ours nor superseded.
    #[error("instance `{instance}` on this engine belongs to ledger {ledger}")]
    OtherLedger { instance: Instance, ledger: String },
}

/// What changes seldom.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub engine: EngineInfo,
    pub images: BTreeMap<String, ImageState>,
    pub networks: BTreeSet<String>,
    pub volumes: BTreeSet<String>,
    /// For jobs that run a command in somebody else's container, why that one could not run it,
    /// should it be the container of this ID.
    pub programs: BTreeMap<JobName, (String, String)>,
    /// On an engine that makes nothing ahead: what jobs lean on.
    pub checked: BTreeMap<JobName, Checked>,
}

/// What the caller knows beside engine and ledger.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// Since when slots are watched without a break.
    pub up_since: Timestamp,
    /// Times without a scheduler or an engine that are not in the ledger yet.
    pub gaps: Vec<Gap>,
    pub clock_suspect: bool,
    pub busy: BTreeSet<(JobName, Lane)>,
}

/// Asks the engine for what the declared jobs lean on.
///
/// # Errors
/// Whatever the engine answers; nothing is guessed.
pub async fn facts(engine: &dyn Observe, desired: &Desired) -> Result<Facts, EngineError> {
    let info = engine.info().await?;
    if engine.launching() == Launching::AtOnce {
        return Ok(Facts {
            engine: info,
            checked: checked(engine, desired).await?,
            ..Facts::default()
        });
    }
    let mut images = BTreeMap::new();
    for job in desired.jobs.values() {
        let image = &job.container.image;
        if job.container.exec_target().is_some() || images.contains_key(image.as_str()) {
            continue;
        }
        let state = match engine.image_id(image).await? {
            Some(id) => ImageState::Present(id),
            None => ImageState::Missing,
        };
        images.insert(image.to_string(), state);
    }
    let networks = engine.networks().await?;
    let names_volume = |job: &crate::model::Job| {
        job.container
            .mounts
            .iter()
            .any(|mount| matches!(mount.kind, MountKind::Volume { external: true, .. }))
    };
    let volumes = if desired.jobs.values().any(names_volume) {
        engine.volumes().await?.into_keys().collect()
    } else {
        BTreeSet::new()
    };
    Ok(Facts {
        engine: info,
        images,
        networks,
        volumes,
        programs: programs(engine, desired).await?,
        checked: BTreeMap::new(),
    })
}

/// What jobs lean on, where no container can be made ahead to find out.
async fn checked(engine: &dyn Observe, desired: &Desired) -> Result<BTreeMap<JobName, Checked>, EngineError> {
    let jobs: Vec<_> = desired.jobs.values().collect();
    let specs: Vec<_> = jobs.iter().map(|job| &job.container).collect();
    let found = engine.check(&specs).await?;
    let concealed = jobs.into_iter().zip(found).map(|(job, found)| {
        let Checked {
            met,
            missing,
            unplaced,
        } = found;
        let conceal = |words: String| job.container.conceal(&words);
        let found = Checked {
            met: met.into_iter().map(conceal).collect(),
            missing: missing.map(conceal),
            unplaced: unplaced.map(conceal),
        };
        (job.name.clone(), found)
    });
    Ok(concealed.collect())
}

/// Looks for the programs of commands that run in somebody else's container.
async fn programs(
    engine: &dyn Observe,
    desired: &Desired,
) -> Result<BTreeMap<JobName, (String, String)>, EngineError> {
    let mut problems = BTreeMap::new();
    for (name, target) in targets(engine, desired).await? {
        let TargetState::Ready { id, name: shown, .. } = target else {
            continue;
        };
        let spec = &desired.jobs[&name].container;
        let Some(program) = spec.command.as_ref().and_then(|words| words.first()) else {
            continue;
        };
        let Some(mut state) = engine.inspect(&id).await? else {
            continue;
        };
        let own = lower::environment(&spec.environment, &BTreeMap::new());
        state.environment.extend(own);
        if let Some(folder) = &spec.working_dir {
            state.working_dir.clone_from(folder);
        }
        let why = match find_program(engine, &id, program.expose(), &state).await? {
            Program::Found => continue,
            Program::NotExecutable(path) if !program.is_sensitive() => {
                format!("{path} in container {shown} is not executable")
            }
            Program::NotExecutable(_) => format!("its program in container {shown} is not executable"),
            Program::Missing => format!("no command `{program}` in container {shown}"),
        };
        problems.insert(name, (id, spec.conceal(&why)));
    }
    Ok(problems)
}

/// The containers that jobs are to run their commands in. Asks nothing where no job does so.
async fn targets(
    engine: &dyn Observe,
    desired: &Desired,
) -> Result<BTreeMap<JobName, TargetState>, EngineError> {
    let mut wanted = Vec::new();
    for job in desired.jobs.values() {
        wanted.extend(job.container.exec_target().map(|target| (job, target)));
    }
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let filter = ContainerFilter {
        all: true,
        label: None,
    };
    let listed = engine.list_containers(&filter).await?;
    Ok(wanted
        .into_iter()
        .map(|(job, target)| {
            let found = match find_target(&listed, target) {
                TargetState::NotReady(why) => TargetState::NotReady(job.container.conceal(&why)),
                ready @ TargetState::Ready { .. } => ready,
            };
            (job.name.clone(), found)
        })
        .collect())
}

/// Those of the runs whose command runs in somebody else's container at this moment.
async fn exec_running(engine: &dyn Observe, runs: &[Run]) -> Result<BTreeSet<RunId>, EngineError> {
    let mut running = BTreeSet::new();
    for run in runs.iter().filter(|run| run.outcome.is_none()) {
        if let Within::Exec(id) = &run.within
            && engine.inspect_exec(id).await?.is_some_and(|state| state.running)
        {
            running.insert(run.id.clone());
        }
    }
    Ok(running)
}

/// The whole world as one value. Without a ledger (none made yet, or not ours to read) the records
/// are made up from the containers' labels.
///
/// # Errors
/// When the engine is away, the ledger cannot be read, or another ledger owns the instance.
pub async fn observe(
    engine: &dyn Observe,
    ledger: Option<&Ledger>,
    instance: &Instance,
    desired: &Desired,
    facts: &Facts,
    circumstances: &Circumstances,
) -> Result<Observed, ObserveError> {
    let filter = ContainerFilter {
        all: true,
        label: Some((LABEL_INSTANCE.to_owned(), instance.to_string())),
    };
    let listed = engine.list_containers(&filter).await?;
    // The ledger is read after the engine: a run that was recorded between the two reads has its
    // container in the list already or never, and is looked at again either way.
    let snapshot = ledger.map(Ledger::snapshot).transpose()?;
    let superseded = snapshot.as_ref().map(|snapshot| &snapshot.superseded);
    let launching = engine.launching();
    let containers = match launching {
        Launching::Armed => classify(listed, ledger, superseded, instance)?,
        Launching::AtOnce => shared(listed, instance),
    };
    let (jobs, runs, mut gaps) = match snapshot {
        Some(snapshot) => (snapshot.jobs, snapshot.runs, snapshot.gaps),
        None => (
            records_from_labels(&containers, desired, circumstances.up_since),
            Vec::new(),
            Vec::new(),
        ),
    };
    gaps.extend(circumstances.gaps.iter().copied());
    let mut targets = targets(engine, desired).await?;
    for (name, (of, why)) in &facts.programs {
        if matches!(targets.get(name), Some(TargetState::Ready { id, .. }) if id == of) {
            targets.insert(name.clone(), TargetState::NotReady(why.clone()));
        }
    }
    let exec_running = exec_running(engine, &runs).await?;
    Ok(Observed {
        instance: instance.clone(),
        engine: EngineFacts {
            name: facts.engine.name.clone(),
            version: facts.engine.version.clone(),
            launching,
        },
        up_since: circumstances.up_since,
        gaps,
        clock_suspect: circumstances.clock_suspect,
        containers,
        images: facts.images.clone(),
        networks: facts.networks.clone(),
        volumes: facts.volumes.clone(),
        jobs,
        runs,
        targets,
        exec_running,
        checked: facts.checked.clone(),
        masked: ledger.map(|ledger| masked(ledger, desired)).unwrap_or_default(),
        pulls: ledger
            .map(|ledger| pulls(ledger, desired))
            .transpose()?
            .unwrap_or_default(),
        busy: circumstances.busy.clone(),
    })
}

/// The containers of jobs that have sensitive values, with these as the ledger may have them.
fn masked(ledger: &Ledger, desired: &Desired) -> BTreeMap<JobName, ContainerSpec> {
    let jobs = desired.jobs.iter();
    jobs.filter(|(_, job)| job.container.is_sensitive())
        .map(|(name, job)| (name.clone(), job.container.masked(ledger.masks())))
        .collect()
}

/// When the images of jobs that have them pulled again were last pulled.
fn pulls(ledger: &Ledger, desired: &Desired) -> Result<BTreeMap<JobName, Pulls>, LedgerError> {
    let jobs = desired.jobs.values().filter_map(|job| {
        let again = match job.container.pull_policy {
            PullPolicy::Always | PullPolicy::Every(_) => job.container.exec_target().is_none(),
            PullPolicy::Missing | PullPolicy::Never => false,
        };
        again.then(|| (job.name.clone(), job.container.masked_image(ledger.masks())))
    });
    let images: BTreeMap<JobName, ImageRef> = jobs.collect();
    if images.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = ledger.pulls(&images.values().cloned().collect())?;
    let of = |(name, image): (JobName, ImageRef)| Some((name, *found.get(&image)?));
    Ok(images.into_iter().filter_map(of).collect())
}

/// Whichever scheduler of the instance made them.
fn shared(listed: Vec<ContainerSummary>, instance: &Instance) -> BTreeMap<String, Container> {
    let stamped = listed.into_iter().filter_map(|summary| {
        let stamp = Stamp::read(&summary.labels, instance)?;
        let container = Container {
            name: summary.name.parse().ok()?,
            id: summary.id,
            status: summary.status,
            image_id: summary.image_id,
            created: summary.created,
            stamp,
            claim: Claim::Shared,
        };
        Some((container.id.clone(), container))
    });
    stamped.collect()
}

/// Containers that carry a complete stamp of this instance, by ID.
fn classify(
    listed: Vec<ContainerSummary>,
    ledger: Option<&Ledger>,
    superseded: Option<&BTreeSet<String>>,
    instance: &Instance,
) -> Result<BTreeMap<String, Container>, ObserveError> {
    let stamped: Vec<(ContainerSummary, Stamp)> = listed
        .into_iter()
        .filter_map(|summary| {
            let stamp = Stamp::read(&summary.labels, instance)?;
            Some((summary, stamp))
        })
        .collect();
    let nonces = stamped.iter().map(|(_, stamp)| stamp.nonce.clone()).collect();
    let known = ledger.map(|ledger| ledger.known_nonces(&nonces)).transpose()?;
    let discarded = ledger
        .map(|ledger| ledger.discarded_nonces(&nonces))
        .transpose()?;
    let discarded = discarded.unwrap_or_default();
    let mut containers = BTreeMap::new();
    for (summary, stamp) in stamped {
        let claim = match (ledger, &known) {
            (Some(ledger), Some(known)) if stamp.ledger == ledger.id() => {
                if discarded.contains(&stamp.nonce) {
                    Claim::Discarded
                } else if known.contains(&stamp.nonce) {
                    Claim::Known
                } else {
                    Claim::Unrecorded
                }
            }
            (Some(_), _) if superseded.is_some_and(|known| known.contains(&stamp.ledger)) => {
                Claim::Superseded
            }
            (Some(_), _) => {
                return Err(ObserveError::OtherLedger {
                    instance: instance.clone(),
                    ledger: stamp.ledger,
                });
            }
            (None, _) => Claim::Known,
        };
        let Ok(name) = summary.name.parse() else { continue };
        let container = Container {
            id: summary.id.clone(),
            name,
            status: summary.status,
            image_id: summary.image_id,
            created: summary.created,
            stamp,
            claim,
        };
        containers.insert(summary.id, container);
    }
    Ok(containers)
}

/// What the labels of armed containers tell when there is no ledger to read: a job that has one is
/// known, with the spec that the label's hash stands for.
fn records_from_labels(
    containers: &BTreeMap<String, Container>,
    desired: &Desired,
    now: Timestamp,
) -> BTreeMap<JobName, JobRecord> {
    let mut records = BTreeMap::new();
    for container in containers.values() {
        let name = &container.stamp.job;
        let declared = desired.jobs.get(name);
        records.entry(name.clone()).or_insert_with(|| JobRecord {
            name: name.clone(),
            origin: declared.map_or_else(|| container.stamp.origin.clone(), |job| job.origin.clone()),
            canonical: declared.map(|job| job.canonical.clone()).unwrap_or_default(),
            triggers: declared.map(|job| job.triggers.clone()).unwrap_or_default(),
            policy: declared.map(|job| job.policy.clone()).unwrap_or_default(),
            spec_hash: container.stamp.spec_hash.clone(),
            baseline: now,
            settled: now,
            recorded_ahead: BTreeSet::new(),
            held: Vec::new(),
            pauses: Vec::new(),
            arm_failure: None,
            armed: BTreeMap::new(),
            removed: false,
        });
    }
    records
}
