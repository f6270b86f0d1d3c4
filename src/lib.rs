//! Containers on a schedule, as code: **observe, plan, apply**.
pub mod model;
pub mod schedule;
