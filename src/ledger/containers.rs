//! Step 0 of the launch protocol: no container is asked for before its nonce is recorded, and one
//! whose nonce is not recorded is never started.
//!
//! ```text
//! creating ──created──> armed ──intend──> intended   (its run has the rest)
//!     └──────discarded────┴──────────────> discarded  (never to be started)
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{OptionalExtension, Row, Transaction};
use sha2::{Digest, Sha256};

use crate::model::{ContainerName, JobName, Origin, RunTrigger, Slot};

use super::Ledger;
use super::error::{Fault, LedgerError, Result};
use super::point::Write;
use super::sql::{At, Json, at, unreadable};

/// A container that is about to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContainer {
    /// Of one create call; the container carries it as a label.
    pub nonce: String,
    pub name: ContainerName,
    pub job: JobName,
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub trigger: RunTrigger,
    pub spec_hash: String,
    pub image_id: String,
    pub at: Timestamp,
    pub origin: Origin,
    /// What it is made from, with sensitive values masked, for `rerun`.
    pub spec: String,
    /// It is started again for each of its job's runs.
    pub reused: bool,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// The create call has not been answered.
    Creating,
    /// It exists and was not started.
    Armed,
    /// A start was intended: its run tells the rest.
    Intended,
    /// Removed without having been started, never made, or started by somebody else. Never to be
    /// started.
    Discarded,
}

/// A container as the ledger recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    pub nonce: String,
    pub name: ContainerName,
    pub job: JobName,
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub trigger: RunTrigger,
    pub spec_hash: String,
    pub image_id: String,
    pub at: Timestamp,
    pub origin: Origin,
    pub spec: String,
    /// Full ID, once the engine has told it.
    pub container: Option<String>,
    pub state: ContainerState,
    pub reused: bool,
    /// Of a reused one, its StartedAt as last recorded; `None`: never started.
    pub seen_started: Option<Timestamp>,
}

impl ContainerState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ContainerState::Creating => "creating",
            ContainerState::Armed => "armed",
            ContainerState::Intended => "intended",
            ContainerState::Discarded => "discarded",
        }
    }
}

impl FromSql for ContainerState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<ContainerState> {
        let text = value.as_str()?;
        [
            ContainerState::Creating,
            ContainerState::Armed,
            ContainerState::Intended,
            ContainerState::Discarded,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| unreadable(format!("`{text}` is not a container's state")))
    }
}

impl Ledger {
    /// Records that a container is about to be asked for.
    ///
    /// # Errors
    /// When the nonce was used before, or the database cannot be written.
    pub fn creating(&self, container: &NewContainer) -> Result<()> {
        self.write(Write::Creating, |tx| insert(tx, container))
    }

    /// A start of a reused container that was not ours was seen.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn seen_started(&self, nonce: &str, started_at: Option<Timestamp>) -> Result<()> {
        self.write(Write::SeenStarted, |tx| {
            tx.prepare_cached("UPDATE containers SET seen_started = ?2 WHERE nonce = ?1 AND reused = 1")?
                .execute((nonce, at(started_at)))?;
            Ok(())
        })
    }

    /// The engine has told the ID of the container that carries this nonce; other creates of the
    /// same name that were never answered, and armed ones that vanished, are given up. Telling it
    /// again changes nothing.
    ///
    /// # Errors
    /// When the nonce is not known, was discarded, or belongs to another container.
    pub fn created(&self, nonce: &str, container: &str) -> Result<()> {
        self.write(Write::Created, |tx| {
            let row = require(tx, nonce)?;
            row.check_id(tx, container)?;
            match row.state {
                ContainerState::Creating => {
                    tx.prepare_cached(
                        "UPDATE containers SET state = 'armed', container = ?2 WHERE nonce = ?1",
                    )?
                    .execute((nonce, container))?;
                    // A name is one container's at a time.
                    tx.prepare_cached(
                        "UPDATE containers SET state = 'discarded'
                         WHERE job = ?1 AND name = ?2 AND nonce <> ?3 AND state IN ('creating', 'armed')",
                    )?
                    .execute((&row.job, &row.name, nonce))?;
                    Ok(())
                }
                ContainerState::Armed | ContainerState::Intended => Ok(()),
                ContainerState::Discarded => Err(LedgerError::not_usable(nonce, "it was discarded").into()),
            }
        })
    }

    /// The container was removed without having been started, or was never made: it will not be
    /// started any more, even if the engine carries out a late request. A reused one may have been
    /// started before.
    ///
    /// # Errors
    /// When the nonce is not known, or a start was intended (of a reused one: and its run has no
    /// outcome).
    pub fn discarded(&self, nonce: &str) -> Result<()> {
        self.write(Write::Discarded, |tx| match require(tx, nonce)?.state {
            ContainerState::Creating | ContainerState::Armed if is_in_use(tx, nonce)? => {
                Err(LedgerError::not_usable(nonce, "a run of it has no outcome yet").into())
            }
            ContainerState::Creating | ContainerState::Armed => discard(tx, nonce),
            ContainerState::Discarded => Ok(()),
            ContainerState::Intended => Err(LedgerError::not_usable(nonce, "its start was intended").into()),
        })
    }

    /// # Errors
    /// When the database cannot be read.
    pub fn container(&self, nonce: &str) -> Result<Option<ContainerRow>> {
        self.read(|tx| by_nonce(tx, nonce))
    }

    /// Every nonce that this ledger knows. With long histories, ask with
    /// [`Ledger::known_nonces`] instead.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn nonces(&self) -> Result<BTreeSet<String>> {
        self.read(|tx| {
            let mut statement = tx.prepare_cached("SELECT nonce FROM containers")?;
            let nonces = statement.query_map([], |row| row.get(0))?;
            Ok(nonces.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Those of the given nonces that this ledger knows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn known_nonces(&self, of: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        self.select_nonces(of, "SELECT 1 FROM containers WHERE nonce = ?1")
    }

    /// Those of the given nonces that were given up: what carries one must never be started.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn discarded_nonces(&self, of: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        self.select_nonces(
            of,
            "SELECT 1 FROM containers WHERE nonce = ?1 AND state = 'discarded'",
        )
    }

    fn select_nonces(&self, of: &BTreeSet<String>, statement: &str) -> Result<BTreeSet<String>> {
        self.read(|tx| {
            let mut statement = tx.prepare_cached(statement)?;
            let mut found = BTreeSet::new();
            for nonce in of {
                if statement.exists([nonce])? {
                    found.insert(nonce.clone());
                }
            }
            Ok(found)
        })
    }
}

impl ContainerRow {
    /// One nonce, one container: anything else is a copied label, and no start may rest on it.
    pub(super) fn check_id(&self, tx: &Transaction<'_>, container: &str) -> std::result::Result<(), Fault> {
        if let Some(known) = &self.container
            && known != container
        {
            let why = format!("it is recorded for {known}, not for {container}");
            return Err(LedgerError::not_usable(&self.nonce, why).into());
        }
        let other: Option<String> = tx
            .prepare_cached("SELECT nonce FROM containers WHERE container = ?1 AND nonce <> ?2")?
            .query_row((container, &self.nonce), |row| row.get(0))
            .optional()?;
        match other {
            None => Ok(()),
            Some(other) => {
                let why = format!("container {container} is recorded with nonce `{other}`");
                Err(LedgerError::not_usable(&self.nonce, why).into())
            }
        }
    }
}

/// Records a container, in the state `creating`.
pub(super) fn insert(tx: &Transaction<'_>, container: &NewContainer) -> std::result::Result<(), Fault> {
    let NewContainer {
        nonce,
        name,
        job,
        slot,
        attempt,
        trigger,
        spec_hash,
        image_id,
        at,
        origin,
        spec,
        reused,
    } = container;
    if by_nonce(tx, nonce)?.is_some() {
        return Err(LedgerError::not_usable(nonce, "its nonce was used before").into());
    }
    let spec = spec_id(tx, spec)?;
    tx.prepare_cached(
        "INSERT INTO containers (nonce, name, job, slot, attempt, trigger_kind, spec_hash, image_id,
                                 at, origin, spec, reused, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'creating')",
    )?
    .execute((
        nonce,
        name,
        job,
        slot,
        attempt,
        trigger,
        spec_hash,
        image_id,
        At(*at),
        Json(origin),
        spec,
        reused,
    ))?;
    Ok(())
}

/// Whether a run that was intended with this nonce has no outcome.
fn is_in_use(tx: &Transaction<'_>, nonce: &str) -> std::result::Result<bool, Fault> {
    Ok(tx
        .prepare_cached("SELECT 1 FROM runs WHERE nonce = ?1 AND outcome IS NULL")?
        .exists([nonce])?)
}

pub(super) fn discard(tx: &Transaction<'_>, nonce: &str) -> std::result::Result<(), Fault> {
    tx.prepare_cached("UPDATE containers SET state = 'discarded' WHERE nonce = ?1")?
        .execute([nonce])?;
    Ok(())
}

pub(super) fn require(tx: &Transaction<'_>, nonce: &str) -> std::result::Result<ContainerRow, Fault> {
    by_nonce(tx, nonce)?.ok_or_else(|| LedgerError::not_usable(nonce, "the ledger does not know it").into())
}

pub(super) fn by_nonce(
    tx: &Transaction<'_>,
    nonce: &str,
) -> std::result::Result<Option<ContainerRow>, Fault> {
    Ok(tx
        .prepare_cached(
            "SELECT nonce, name, job, slot, attempt, trigger_kind, spec_hash, image_id, at, origin, container,
                    state, text, containers.reused, seen_started
             FROM containers JOIN specs ON specs.id = containers.spec WHERE nonce = ?1",
        )?
        .query_row([nonce], row_of)
        .optional()?)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<ContainerRow> {
    let (At(at), Json(origin)) = (row.get(8)?, row.get(9)?);
    Ok(ContainerRow {
        nonce: row.get(0)?,
        name: row.get(1)?,
        job: row.get(2)?,
        slot: row.get(3)?,
        attempt: row.get(4)?,
        trigger: row.get(5)?,
        spec_hash: row.get(6)?,
        image_id: row.get(7)?,
        at,
        origin,
        container: row.get(10)?,
        state: row.get(11)?,
        spec: row.get(12)?,
        reused: row.get(13)?,
        seen_started: row.get::<_, Option<At>>(14)?.map(|At(at)| at),
    })
}

/// The row of that spec: a job's slots share one, or a job that runs each second would keep its
/// spec 31 million times a year.
fn spec_id(tx: &Transaction<'_>, text: &str) -> std::result::Result<i64, Fault> {
    let digest = Sha256::digest(text.as_bytes()).to_vec();
    tx.prepare_cached("INSERT OR IGNORE INTO specs (digest, text) VALUES (?1, ?2)")?
        .execute((&digest, text))?;
    Ok(tx
        .prepare_cached("SELECT id FROM specs WHERE digest = ?1")?
        .query_row([&digest], |row| row.get(0))?)
}
