//! Where the output of each run is kept, beside the database.
//!
//! What is written there, and when, is the affair of `apply`.

use std::path::PathBuf;

use crate::model::RunId;

use super::{Ledger, files};

impl Ledger {
    /// The file of a run's log; it exists once its log was captured.
    #[must_use]
    pub fn log_path(&self, run: &RunId) -> PathBuf {
        // A run's name has passed the engine's rule for names, which knows no `/`.
        self.dir.join(files::LOGS).join(format!("{run}.log"))
    }
}
