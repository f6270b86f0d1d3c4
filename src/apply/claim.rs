//! One ledger per instance and engine: the engine itself carries the lock.
//!
//! Guarantees: a process whose ledger is not the one that the lock volume and every container of
//! the instance name neither creates nor starts anything.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{ApplyError, Context};
use crate::engine::{ContainerFilter, Engine, EngineError};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{
    Gap, GapKind, Instance, LABEL_INSTANCE, LABEL_LEDGER, LABEL_MANAGED_BY, Launching, MANAGED_BY, Stamp,
};

/// A scheduler asks for the volume before each create and start, a few times a second at most.
const TAKE_OVER_ATTEMPTS: u32 = 20;

/// Why this ledger may not act for the instance.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot read the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// Two ledgers would double runs.
    #[error("instance `{instance}` on this engine belongs to another ledger: {}", others.join(", "))]
    OtherLedger { instance: Instance, others: Vec<String> },
    /// A laptop with two contexts: the ledger's history is another engine's.
    #[error("this ledger belongs to another engine (`{known}`); this one is `{found}`")]
    OtherEngine { known: String, found: String },
}

/// Makes sure that the instance is ours on this engine, or takes it over.
///
/// # Errors
/// When it is not, and taking over was not asked for.
pub async fn claim(
    engine: &dyn Engine,
    ledger: &Ledger,
    instance: &Instance,
    take_over: bool,
) -> Result<(), ClaimError> {
    let found = engine.info().await?.identity;
    match ledger.engine()? {
        Some(known) if known != found && !take_over => return Err(ClaimError::OtherEngine { known, found }),
        Some(known) if known != found => {
            // Another engine's slots were never this one's to catch up.
            ledger.rebind_engine(&found)?;
            ledger.forget_baselines()?;
        }
        _ => {}
    }
    if engine.launching() == Launching::AtOnce {
        // Each run's own name is the lock, among any number of ledgers.
        ledger.bind_engine(&found)?;
        return Ok(());
    }
    let others = other_ledgers(engine, ledger, instance).await?;
    if !others.is_empty() {
        if !take_over {
            let others = others.into_iter().collect();
            return Err(ClaimError::OtherLedger {
                instance: instance.clone(),
                others,
            });
        }
        // Recorded before the volume changes hands: a crash in between leaves two ids that are
        // both known, never a container that nobody may touch.
        for other in &others {
            ledger.supersede(other)?;
        }
        ledger.forget_baselines()?;
        engine.remove_volume(&instance.lock_volume()).await?;
    }
    let mut holder = hold(engine, ledger, instance).await?;
    for _ in 0..TAKE_OVER_ATTEMPTS {
        if !take_over || holder == ledger.id() {
            break;
        }
        // The one who held the instance was just about to use it, found the volume gone, and made it
        // again.
        ledger.supersede(&holder)?;
        engine.remove_volume(&instance.lock_volume()).await?;
        holder = hold(engine, ledger, instance).await?;
    }
    if holder != ledger.id() {
        return Err(ClaimError::OtherLedger {
            instance: instance.clone(),
            others: vec![holder],
        });
    }
    ledger.bind_engine(&found)?;
    Ok(())
}

/// Ledgers that the lock volume or a container of the instance names, other than ours and those
/// that we took over from.
async fn other_ledgers(
    engine: &dyn Engine,
    ledger: &Ledger,
    instance: &Instance,
) -> Result<BTreeSet<String>, ClaimError> {
    let mut named = BTreeSet::new();
    let filter = ContainerFilter {
        all: true,
        label: Some((LABEL_INSTANCE.to_owned(), instance.to_string())),
    };
    for container in engine.list_containers(&filter).await? {
        named.extend(Stamp::read(&container.labels, instance).map(|stamp| stamp.ledger));
    }
    let superseded = ledger.superseded()?;
    named.retain(|other| !superseded.contains(other));
    // The volume names a superseded ledger only when that one took the instance back: then it is
    // its, whatever we once recorded.
    if let Some(labels) = engine.volumes().await?.get(&instance.lock_volume()) {
        named.extend(labels.get(LABEL_LEDGER).cloned());
    }
    named.remove(ledger.id());
    Ok(named)
}

/// Makes the lock volume when it is missing; returns the ledger that it names.
async fn hold(engine: &dyn Engine, ledger: &Ledger, instance: &Instance) -> Result<String, EngineError> {
    let labels = BTreeMap::from([
        (LABEL_MANAGED_BY.to_owned(), MANAGED_BY.to_owned()),
        (LABEL_INSTANCE.to_owned(), instance.to_string()),
        (LABEL_LEDGER.to_owned(), ledger.id().to_owned()),
    ]);
    let found = engine.create_volume(&instance.lock_volume(), labels).await?;
    Ok(found.get(LABEL_LEDGER).cloned().unwrap_or_default())
}

/// Asked before each create and start: the instance may have been taken over while this process
/// was stopped.
pub(super) async fn still_ours(context: &Context) -> Result<(), ApplyError> {
    let holder = hold(context.engine.as_ref(), &context.ledger, &context.instance).await?;
    if holder == context.ledger.id() {
        return Ok(());
    }
    Err(ApplyError::TakenOver {
        instance: context.instance.clone(),
        ledger: holder,
    })
}

/// The time in which no scheduler looked, for the reasons of what was missed.
///
/// # Errors
/// When the ledger cannot be written.
pub fn note_downtime(ledger: &Ledger, now: Timestamp) -> Result<(), LedgerError> {
    if let Some(from) = ledger.last_alive()?.filter(|&from| from < now) {
        ledger.note_gap(Gap {
            from,
            to: now,
            kind: GapKind::SchedulerDown,
        })?;
    }
    ledger.heartbeat(now)
}
