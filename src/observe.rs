//! Engine and ledger, seen once: the world that a plan is made from. Makes no choices.
//!
//! Containers are listed anew each time; images, networks and volumes change seldom and cost a
//! request each, so a caller may keep their [`Facts`] for a while.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::engine::{ContainerFilter, ContainerSummary, EngineError, EngineInfo, Observe};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{
    Claim, Container, Desired, EngineFacts, Gap, ImageState, Instance, JobName, JobRecord, LABEL_INSTANCE,
    Lane, MountKind, Observed, Stamp,
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
    let mut images = BTreeMap::new();
    for job in desired.jobs.values() {
        let image = &job.container.image;
        if images.contains_key(image.as_str()) {
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
    })
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
    let containers = classify(listed, ledger, superseded, instance)?;
    let (jobs, runs, mut gaps) = match snapshot {
        Some(snapshot) => (snapshot.jobs, snapshot.runs, snapshot.gaps),
        None => (
            records_from_labels(&containers, desired, circumstances.up_since),
            Vec::new(),
            Vec::new(),
        ),
    };
    gaps.extend(circumstances.gaps.iter().copied());
    Ok(Observed {
        instance: instance.clone(),
        engine: EngineFacts {
            name: facts.engine.name.clone(),
            version: facts.engine.version.clone(),
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
        busy: circumstances.busy.clone(),
    })
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
