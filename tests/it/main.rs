//! Integration tests: the real parts together, in one binary.

mod chaos;
mod conformance;
mod docker;
mod judge;
mod rig;
mod scheduler;
mod simulated;
mod watch;
