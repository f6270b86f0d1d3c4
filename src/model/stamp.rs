//! Our labels on a container: what it is, and which ledger made it.

use std::collections::BTreeMap;

use super::{Instance, JobName, Origin, Outcome, RunTrigger, Slot};

pub const LABEL_MANAGED_BY: &str = "docker-scheduler.managed-by";
pub const LABEL_INSTANCE: &str = "docker-scheduler.instance";
pub const LABEL_LEDGER: &str = "docker-scheduler.ledger";
pub const LABEL_TRIGGER: &str = "docker-scheduler.trigger";
pub const LABEL_PROJECT: &str = "docker-scheduler.project";
/// Short name.
pub const LABEL_JOB: &str = "docker-scheduler.job";
/// The value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "docker-scheduler";

const LABEL_CONTAINER: &str = "docker-scheduler.container";
const REUSE: &str = "reuse";
const LABEL_SLOT: &str = "docker-scheduler.slot";
const LABEL_ATTEMPT: &str = "docker-scheduler.attempt";
const LABEL_SPEC_HASH: &str = "docker-scheduler.spec-hash";
const LABEL_NONCE: &str = "docker-scheduler.nonce";
const LABEL_SOURCE: &str = "docker-scheduler.source";
const LABEL_COMMIT: &str = "docker-scheduler.commit";

/// The run's name, where the engine has another rule for names.
pub const LABEL_RUN: &str = "docker-scheduler.run";
const LABEL_STOP: &str = "docker-scheduler.stop";
const LABEL_STOP_REASON: &str = "docker-scheduler.stop-reason";

/// Why a run was ended, left on the engine for every scheduler of the instance: the first one's word
/// is what all of them record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopNote {
    pub outcome: Outcome,
    /// Text of a [`super::Reason`].
    pub reason: String,
}

impl StopNote {
    #[must_use]
    pub fn labels(&self) -> [(String, String); 2] {
        [
            (LABEL_STOP.to_owned(), self.outcome.as_str().to_owned()),
            (LABEL_STOP_REASON.to_owned(), self.reason.clone()),
        ]
    }

    #[must_use]
    pub fn read(labels: &BTreeMap<String, String>) -> Option<StopNote> {
        Some(StopNote {
            outcome: labels.get(LABEL_STOP)?.parse().ok()?,
            reason: labels.get(LABEL_STOP_REASON).cloned().unwrap_or_default(),
        })
    }
}

/// What our labels say of a container. Never a secret or an environment value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub ledger: String,
    pub job: JobName,
    /// Started again for each of its job's runs: then it has no slot.
    pub reused: bool,
    /// `None` for a manual run.
    pub slot: Option<Slot>,
    pub attempt: u32,
    pub trigger: RunTrigger,
    pub spec_hash: String,
    /// Of the create call that made it.
    pub nonce: String,
    pub origin: Origin,
}

impl Stamp {
    #[must_use]
    pub fn labels(&self, instance: &Instance) -> BTreeMap<String, String> {
        let Stamp {
            ledger,
            job,
            reused,
            slot,
            attempt,
            trigger,
            spec_hash,
            nonce,
            origin,
        } = self;
        let mut labels = BTreeMap::from([
            (LABEL_MANAGED_BY, MANAGED_BY.to_owned()),
            (LABEL_INSTANCE, instance.to_string()),
            (LABEL_LEDGER, ledger.clone()),
            (LABEL_PROJECT, job.project().to_owned()),
            (LABEL_JOB, job.job().to_owned()),
            (LABEL_ATTEMPT, attempt.to_string()),
            (LABEL_TRIGGER, trigger.as_str().to_owned()),
            (LABEL_SPEC_HASH, spec_hash.clone()),
            (LABEL_NONCE, nonce.clone()),
            (LABEL_SOURCE, origin.place()),
        ]);
        if *reused {
            labels.insert(LABEL_CONTAINER, REUSE.to_owned());
        }
        if let Some(slot) = slot {
            labels.insert(LABEL_SLOT, slot.to_string());
        }
        if let Some(commit) = &origin.commit {
            labels.insert(LABEL_COMMIT, commit.clone());
        }
        labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// `None` when the labels are not a complete stamp of that instance: such a container is
    /// foreign, whatever else it carries.
    #[must_use]
    pub fn read(labels: &BTreeMap<String, String>, instance: &Instance) -> Option<Stamp> {
        let get = |key: &str| labels.get(key);
        if get(LABEL_MANAGED_BY)? != MANAGED_BY || get(LABEL_INSTANCE)? != instance.as_str() {
            return None;
        }
        let slot = match get(LABEL_SLOT) {
            None => None,
            Some(text) => Some(text.parse().ok()?),
        };
        Some(Stamp {
            ledger: get(LABEL_LEDGER)?.clone(),
            job: JobName::new(get(LABEL_PROJECT)?, get(LABEL_JOB)?).ok()?,
            reused: get(LABEL_CONTAINER).is_some_and(|word| word == REUSE),
            slot,
            attempt: get(LABEL_ATTEMPT)?.parse().ok()?,
            trigger: get(LABEL_TRIGGER)?.parse().ok()?,
            spec_hash: get(LABEL_SPEC_HASH)?.clone(),
            nonce: get(LABEL_NONCE)?.clone(),
            origin: Origin::at(
                get(LABEL_SOURCE).map_or("", String::as_str),
                get(LABEL_COMMIT).cloned(),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stamped_is_read_back_and_anything_less_is_foreign() {
        let stamp = Stamp {
            ledger: "l".into(),
            job: "shop.backup".parse().unwrap(),
            reused: true,
            slot: Some("2026-11-23T01:30:00Z".parse().unwrap()),
            attempt: 0,
            trigger: RunTrigger::Schedule,
            spec_hash: "v1:0".into(),
            nonce: "n".into(),
            origin: Origin {
                file: "a.yaml".into(),
                line: 4,
                commit: Some("c".into()),
            },
        };
        let instance = Instance::default();
        let labels = stamp.labels(&instance);
        assert_eq!(labels[LABEL_SOURCE], "a.yaml:4");
        assert_eq!(Stamp::read(&labels, &instance), Some(stamp));
        assert_eq!(Stamp::read(&labels, &"other".parse().unwrap()), None);
        for key in labels
            .keys()
            .filter(|key| ![LABEL_SLOT, LABEL_SOURCE, LABEL_COMMIT, LABEL_CONTAINER].contains(&key.as_str()))
        {
            let mut fewer = labels.clone();
            fewer.remove(key);
            assert_eq!(Stamp::read(&fewer, &instance), None, "without {key}");
        }
    }
}
