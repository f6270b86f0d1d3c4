//! Integration tests: the real parts together, in one binary.

mod scenario;
