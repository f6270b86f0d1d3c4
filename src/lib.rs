//! Containers on a schedule, as code: **observe, plan, apply**.
//!
//! ```text
//! schedules.d/*.yaml ──> manifest ──> Desired ─┐
//! engine + ledger ─────> observe ───> Observed ┼─> plan(&desired, &observed, now) ─> Plan ─┬─> printed
//!                                     clock ───┘         pure, total, no async            └─> apply ─> engine, ledger
//! ```
//!
//! A plan is a value: `plan` prints it, `apply` carries it out, `watch` does both for ever.
//! Nothing decides anywhere else. The modules below stand in reading order.

#![deny(unsafe_code)]

pub mod model;
pub mod schedule;

pub mod config;
pub mod kubernetes;
pub mod manifest;
pub mod plan;
pub mod policy;
pub mod source;
pub mod swarm;
pub mod transfer;

pub mod os;

pub mod clock;
pub mod engine;
pub mod event;
pub mod ledger;

pub mod apply;
#[cfg(feature = "kubernetes")]
pub mod cluster;
pub mod doctor;
pub mod observe;
pub mod watch;

pub mod cli;
pub mod wire;
