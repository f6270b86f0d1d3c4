//! Integration tests: the real parts together, in one binary.

mod conformance;
mod docker;
mod rig;
mod scheduler;
mod simulated;
mod watch;
