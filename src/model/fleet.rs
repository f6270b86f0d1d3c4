//! The nodes behind one engine, for who asks how they are.

/// A cluster of engines as one of its managers has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    pub nodes: Vec<FleetNode>,
    /// How many ended tasks of a run are kept; negative: all.
    pub tasks_kept: Option<i64>,
    /// Secrets and configs of ours that no service refers to.
    pub unused_files: Vec<String>,
}

impl Fleet {
    /// Of ended tasks of a service. A run that is ended has two tasks: its own, and the one that takes its place
    /// and finds no node.
    pub const TASKS_NEEDED: i64 = 2;
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetNode {
    pub name: String,
    pub is_manager: bool,
    /// Of a manager: whether the others hear from it.
    pub is_reachable: bool,
    /// In the engine's words: `ready`, `down`.
    pub state: String,
    /// The same: `active`, `pause`, `drain`.
    pub availability: String,
}
