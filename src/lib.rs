//! Containers on a schedule, as code: **observe, plan, apply**.
pub mod apply;
pub mod cli;
pub mod clock;
pub mod engine;
pub mod event;
pub mod ledger;
pub mod model;
pub mod observe;
pub mod plan;
pub mod schedule;
pub mod wire;
