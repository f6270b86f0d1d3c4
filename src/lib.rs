//! Containers on a schedule, as code: **observe, plan, apply**.
pub mod clock;
pub mod engine;
pub mod ledger;
pub mod model;
pub mod schedule;
