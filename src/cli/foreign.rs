//! A container that a person named and that no loop looks at: neither ledger nor lock is opened
//! for it.
//!
//! Which containers those are is decided here, once: those without our label, and those of `run`.

use crate::engine::docker::is_own;
use crate::engine::{ContainerState, Observe};

use crate::model::{LABEL_MANAGED_BY, LABEL_TRIGGER, MANAGED_BY};

use super::args::NameArg;
use super::error::{CommandError, ErrorKind};
use super::run::TRIGGER_RUN;

/// What a name stands for on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Nothing that the loop cares about.
    Foreign(Box<ContainerState>),
    /// A container of a job: what becomes of it is the ledger's affair.
    OfJob(Box<ContainerState>),
    Nothing,
}

/// Looks a name or an ID up.
///
/// # Errors
/// The engine's.
pub async fn look_up(engine: &dyn Observe, name: &NameArg) -> Result<Named, CommandError> {
    let found = engine
        .inspect(name.as_str())
        .await
        .map_err(|error| CommandError::engine(&format!("inspect `{}`", name.as_str()), &error))?;
    if let Some(own) = found.as_ref().filter(|state| is_own(&state.id)) {
        return Err(CommandError::new(
            ErrorKind::Refused,
            format!("`{}` is the scheduler's own container", own.name),
        )
        .hint("it is left alone from the inside; use `docker` outside of it"));
    }
    Ok(match found {
        None => Named::Nothing,
        Some(state) if is_of_job(&state) => Named::OfJob(Box::new(state)),
        Some(state) => Named::Foreign(Box::new(state)),
    })
}

/// The error for a name that stands for nothing.
#[must_use]
pub fn nothing(name: &NameArg) -> CommandError {
    CommandError::failed(format!("no such container: `{}`", name.as_str()))
}

fn is_of_job(state: &ContainerState) -> bool {
    let is = |label: &str, value: &str| state.labels.get(label).is_some_and(|found| found == value);
    is(LABEL_MANAGED_BY, MANAGED_BY) && !is(LABEL_TRIGGER, TRIGGER_RUN)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::ContainerStatus;

    fn container(labels: &[(&str, &str)]) -> ContainerState {
        ContainerState {
            id: "0123".into(),
            name: "web".into(),
            image: "busybox".into(),
            image_id: "sha256:00".into(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            status: ContainerStatus::Exited,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            ended_by_engine: false,
            node: String::new(),
            log_driver: "json-file".into(),
            log_path: String::new(),
            tty: false,
            environment: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            working_dir: String::new(),
        }
    }

    #[test]
    fn only_containers_of_jobs_belong_to_the_loop() {
        assert!(!is_of_job(&container(&[])));
        assert!(!is_of_job(&container(&[(LABEL_MANAGED_BY, "someone-else")])));
        let ours = (LABEL_MANAGED_BY, MANAGED_BY);
        assert!(!is_of_job(&container(&[ours, (LABEL_TRIGGER, "run")])));
        assert!(is_of_job(&container(&[ours, (LABEL_TRIGGER, "schedule")])));
        assert!(is_of_job(&container(&[ours])));
    }
}
