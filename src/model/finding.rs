//! What an engine or a format cannot do of what a job asks for.

/// Something of a job that has no equal there (an error), or that is different (a warning).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key below the job: `x-scheduler.exec`; empty for the job itself.
    pub key: &'static str,
    pub is_error: bool,
    pub message: String,
    pub help: Option<String>,
}

/// Findings about one job as they are made.
#[derive(Debug)]
pub struct Findings {
    /// Where there is no equal: `a Swarm`.
    place: &'static str,
    pub all: Vec<Finding>,
}

impl Findings {
    #[must_use]
    pub fn of(place: &'static str) -> Findings {
        Findings {
            place,
            all: Vec::new(),
        }
    }

    /// An empty `help` is none.
    pub fn error(&mut self, key: &'static str, message: impl Into<String>, help: &str) {
        self.push(key, true, message.into(), help);
    }

    pub fn warning(&mut self, key: &'static str, message: impl Into<String>, help: &str) {
        self.push(key, false, message.into(), help);
    }

    /// `key` is set, and nothing stands for it.
    pub fn none(&mut self, key: &'static str, is_set: bool, help: &str) {
        if is_set {
            self.error(key, format!("`{key}` has no equal in {}", self.place), help);
        }
    }

    fn push(&mut self, key: &'static str, is_error: bool, message: String, help: &str) {
        self.all.push(Finding {
            key,
            is_error,
            message,
            help: (!help.is_empty()).then(|| help.to_owned()),
        });
    }
}
