//! Integration tests: the real parts together, in one binary.

mod chaos;
mod cli;
mod conformance;
mod docker;
mod examples;
mod fake_engine;
mod guards;
mod judge;
mod ownership;
mod people;
mod proxy;
mod registry;
mod replies;
mod rig;
mod scenario;
mod scheduler;
mod simulated;
mod tidy;
mod watch;
