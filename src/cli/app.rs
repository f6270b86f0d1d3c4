//! What every command has at hand: settings, the time, the engine, the ledger.
//!
//! Nothing is opened before it is asked for, so that `run` and the lists of the engine never touch
//! a ledger, and `validate` and `next` never an engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Clock as _, SystemClock};
use crate::config::{Arm, Config};
use crate::engine::{Observe, SharedEngine, docker};
use crate::ledger::Ledger;
use crate::manifest::{self, HostPaths};
use crate::model::{Arming, Caps, EngineName, Instance, JobName, Pause, Policy, Trigger, Triggers};
use crate::os;

use super::args::NameArg;
use super::declared::{self, Manifests};
use super::error::CommandError;
use super::output::{printable, quoted};
use super::settings::Settings;
use super::state::{self, User};
use super::{connect, operator};

/// The context of one command.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    config: Config,
    user: User,
    /// What is mounted into our own container; unset until the engine was asked.
    mounts: OnceLock<HostPaths>,
}

/// When a job starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub schedule: Vec<Trigger>,
    /// It has no coming slots, whatever its schedule says.
    pub suspended: bool,
    /// Its starts are spread over this time after their slots.
    pub jitter: Option<Duration>,
    /// When a person wants no starts.
    pub pauses: Vec<Pause>,
    /// A time that the clock skips is no slot there, instead of a later one.
    pub skips_gaps: bool,
}

impl Known {
    fn new(triggers: Triggers, policy: &Policy) -> Known {
        Known {
            schedule: triggers.schedule,
            suspended: policy.suspend,
            jitter: policy.jitter,
            pauses: Vec::new(),
            skips_gaps: false,
        }
    }
}

/// The mounts of a container, as its inspect has them: where they are seen, and where they come from.
fn surroundings(container: &serde_json::Value) -> Vec<(PathBuf, Option<PathBuf>)> {
    let mounts = container["Mounts"].as_array().into_iter().flatten();
    let path = |value: &serde_json::Value| value.as_str().filter(|path| !path.is_empty()).map(PathBuf::from);
    mounts
        .filter_map(|mount| Some((path(&mount["Destination"])?, path(&mount["Source"]))))
        .collect()
}

/// A longer list of similar names is no help.
const MOST_SIMILAR: usize = 3;

impl App {
    /// # Errors
    /// When the operator's file cannot be used.
    pub fn new(settings: Settings) -> Result<App, CommandError> {
        // Also for commands that need no engine: a slip that goes unnoticed now is met at night.
        connect::check_flags(&settings)?;
        let user = User::of_process();
        let config = operator::read(&settings, &user)?;
        Ok(App::with(settings, config, user))
    }

    /// With an operator's file that was read already.
    #[must_use]
    pub fn with(settings: Settings, config: Config, user: User) -> App {
        App {
            settings: operator::fill(settings, &config),
            config,
            user,
            mounts: OnceLock::new(),
        }
    }

    /// The operator's file.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What manifests in `dir` are loaded with.
    #[must_use]
    pub fn manifest_settings(&self, dir: Option<&Path>) -> manifest::Settings {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut settings = self.config.settings(environment);
        // Without a place for state (no home) there is nothing to protect; what needs one says so.
        if let Ok(state) = self.state_folder() {
            settings
                .policy
                .protected
                .push(os::canonicalize(&state).unwrap_or(state));
        }
        let host = self
            .settings
            .host
            .clone()
            .or_else(|| std::env::var("DOCKER_HOST").ok());
        settings.policy.sockets.extend(
            host.as_deref()
                .and_then(|host| host.strip_prefix("unix://"))
                .map(PathBuf::from),
        );
        settings.policy = crate::source::resolve_rules(settings.policy);
        settings.host = self.mounts.get().cloned().unwrap_or_default();
        if let (Some(dir), Some(there)) = (dir, &self.settings.host_dir) {
            let here = os::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
            settings.host = settings.host.with(&here, there);
        }
        settings
    }

    /// In a container, learns where the engine's machine has what is mounted into it, before manifests
    /// are read. An engine that cannot be reached is for whoever needs it to report.
    pub async fn look_around(&self) {
        if self.mounts.get().is_none() && docker::is_contained() {
            drop(self.engine().await);
        }
    }

    /// Asks the engine for the mounts of our own container, once. An engine that does not know it is not
    /// the one that runs us, and its paths are its own.
    async fn learn_mounts(&self, engine: &dyn Observe) -> Result<(), CommandError> {
        if self.mounts.get().is_some() || !docker::is_contained() {
            return Ok(());
        }
        let found = engine
            .describe_own()
            .await
            .map_err(|error| CommandError::engine("look at the scheduler's own container", &error))?;
        // A second answer would be the same.
        let _ = self.mounts.set(found.map_or_else(HostPaths::default, |found| {
            HostPaths::of_container(surroundings(&found))
        }));
        Ok(())
    }

    /// The operator's word on arming.
    #[must_use]
    pub fn arming(&self) -> Arming {
        match self.config.arm {
            Arm::Always => Arming::Nearest(self.config.limits.armed as usize),
            Arm::Never => Arming::Never,
        }
    }

    /// The operator's limits on what runs at once.
    #[must_use]
    pub fn caps(&self) -> Caps {
        Caps {
            running: self.config.limits.running,
            groups: self.config.groups.clone(),
        }
    }

    /// The instance's ledger, made when it is the first time.
    ///
    /// # Errors
    /// When it cannot be made, read or written.
    pub fn ledger(&self) -> Result<Ledger, CommandError> {
        Ledger::open(&self.state_folder()?).map_err(|error| state::of_ledger("open the ledger", &error))
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// The same clock, for what outlives a call.
    pub fn clock(&self) -> impl Fn() -> Timestamp + Send + use<> {
        || SystemClock.now()
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where jobs run.
    #[must_use]
    pub fn engine_name(&self) -> EngineName {
        self.settings.engine.unwrap_or_default()
    }

    /// Whose containers these are.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.settings.instance.clone().unwrap_or_default()
    }

    /// A connection to the engine that flags and environment name.
    ///
    /// # Errors
    /// When they name none, or it cannot be reached.
    pub async fn engine(&self) -> Result<SharedEngine, CommandError> {
        let engine = connect::connect(&self.settings).await?;
        self.learn_mounts(engine.as_ref()).await?;
        Ok(engine)
    }

    /// The same, for commands that must not change anything.
    ///
    /// # Errors
    /// As [`App::engine`].
    pub async fn observer(&self) -> Result<Arc<dyn Observe>, CommandError> {
        let engine: Arc<dyn Observe> = self.engine().await?;
        Ok(engine)
    }

    /// `<state>/<instance>`.
    ///
    /// # Errors
    /// When there is no place for state.
    pub fn state_folder(&self) -> Result<PathBuf, CommandError> {
        state::folder(&self.settings, &self.instance(), &self.user)
    }

    /// The instance's ledger, for reading: `None` when nothing was ever applied.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn existing_ledger(&self) -> Result<Option<Ledger>, CommandError> {
        state::existing(&self.state_folder()?)
    }

    /// The error for a run or a job of an instance without a ledger.
    #[must_use]
    pub fn nothing_applied(&self, name: &NameArg) -> CommandError {
        CommandError::failed(format!("there is no run and no job {}", quoted(name.as_str()))).hint(format!(
            "nothing has been applied yet for the instance `{}`",
            self.instance()
        ))
    }

    /// When each job starts: as the manifests in `dir` say; without it as the ledger recorded, and
    /// before the first `apply` as `schedules.d` says.
    ///
    /// # Errors
    /// When ledger or manifests cannot be read.
    pub fn known_triggers(&self, dir: Option<&Path>) -> Result<BTreeMap<JobName, Known>, CommandError> {
        if dir.is_none()
            && let Some(ledger) = self.existing_ledger()?
        {
            let jobs = ledger
                .jobs()
                .map_err(|error| state::of_ledger("read the jobs", &error))?;
            let declared = jobs.into_iter().filter(|(_, record)| !record.removed);
            return Ok(declared
                .map(|(name, record)| {
                    let mut known = Known::new(record.triggers, &record.policy);
                    known.pauses = record.pauses;
                    (name, known)
                })
                .collect());
        }
        let dir = declared::directory(dir, None)?;
        let jobs = Manifests::read(self, &dir)?.without_errors()?.jobs;
        Ok(jobs
            .into_iter()
            .map(|(name, job)| (name, Known::new(job.triggers, &job.policy)))
            .collect())
    }

    /// The job that a person means: its full name, or its short one when no other job has it.
    ///
    /// # Errors
    /// When there is none, or several; the message names similar ones.
    pub fn resolve_job<'a>(
        &self,
        name: &NameArg,
        known: impl Iterator<Item = &'a JobName>,
    ) -> Result<JobName, CommandError> {
        resolve_job(name.as_str(), &known.cloned().collect::<Vec<_>>())
    }
}

fn resolve_job(text: &str, known: &[JobName]) -> Result<JobName, CommandError> {
    if let Some(full) = known.iter().find(|name| name.to_string() == text) {
        return Ok(full.clone());
    }
    let short: Vec<&JobName> = known.iter().filter(|name| name.job() == text).collect();
    match short[..] {
        [one] => Ok(one.clone()),
        [] => Err(unknown_job(text, known)),
        _ => Err(
            CommandError::failed(format!("{} names {} jobs", quoted(text), short.len()))
                .hint(format!("say which: {}", list(short.iter().copied()))),
        ),
    }
}

fn unknown_job(text: &str, known: &[JobName]) -> CommandError {
    let error = CommandError::failed(format!("there is no job {}", quoted(text)));
    let mut similar: Vec<(f64, &JobName)> = known
        .iter()
        .map(|name| {
            let likeness =
                strsim::jaro_winkler(text, name.job()).max(strsim::jaro_winkler(text, &name.to_string()));
            (likeness, name)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .collect();
    similar.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    similar.truncate(MOST_SIMILAR);
    if similar.is_empty() {
        error.hint("`docker-scheduler ls` lists the jobs")
    } else {
        error.hint(format!(
            "similar names: {}",
            list(similar.into_iter().map(|(_, name)| name))
        ))
    }
}

fn list<'a>(names: impl Iterator<Item = &'a JobName>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    printable(&names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_known_by_its_full_name_or_by_a_short_one_that_is_unique() {
        let known: Vec<JobName> = ["shop.backup", "shop.report", "blog.backup"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        assert_eq!(resolve_job("shop.backup", &known).unwrap(), known[0]);
        assert_eq!(resolve_job("report", &known).unwrap(), known[1]);
        let two = resolve_job("backup", &known).unwrap_err().render();
        assert!(two.contains("`shop.backup`, `blog.backup`"), "{two}");
        let near = resolve_job("shop.reprot", &known).unwrap_err().render();
        assert!(near.contains("similar names: `shop.report`"), "{near}");
        let none = resolve_job("zzz", &known).unwrap_err().render();
        assert!(none.contains("docker-scheduler ls"), "{none}");
    }
}
