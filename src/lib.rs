//! Containers on a schedule, as code: **observe, plan, apply**.
pub mod model;
pub mod schedule;

pub mod config;
pub mod manifest;
pub mod policy;
pub mod source;
