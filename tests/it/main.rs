//! Integration tests: the real parts together, in one binary.

mod attributes;
mod chaos;
mod cli;
mod compose;
mod conformance;
mod docker;
mod examples;
mod fake_engine;
mod guards;
mod health;
mod help;
mod hostile;
mod inside;
mod judge;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod manifests;
mod ownership;
mod people;
mod plugin;
mod proxy;
mod reach;
mod registry;
mod replies;
mod rig;
mod runs;
mod scenario;
mod scheduler;
mod shop;
mod simulated;
mod terminal;
mod tidy;
mod transfer;
mod watch;
mod words;
