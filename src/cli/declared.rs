//! The manifests of a command: which directory, read how, and what is said of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::kubernetes::{Contents, LARGEST};
use crate::ledger::Ledger;
use crate::manifest::{self, Diagnostic, Files, Loaded};
use crate::model::{Desired, EngineName, Job, JobName, Removals};
use crate::os;
use crate::source::{self, DirState, LastGood, SourceError};
use crate::swarm;
use crate::transfer::placed;
use crate::watch::Declared;

use super::App;
use super::error::{CommandError, ErrorKind};
use super::output::{talk, talk_raw};
use super::state::of_ledger;

/// Where manifests are when nobody says otherwise.
const DEFAULT_DIR: &str = "schedules.d";

/// What a directory declares.
pub struct Manifests {
    pub dir: PathBuf,
    pub files: Files,
    pub loaded: Loaded,
}

impl Manifests {
    /// Reads a directory; what is wrong in a file is among the diagnostics.
    ///
    /// # Errors
    /// When the directory is missing or cannot be read.
    pub fn read(app: &App, dir: &Path) -> Result<Manifests, CommandError> {
        let (files, loaded) = source::load(dir, &app.manifest_settings(Some(dir))).map_err(of_source)?;
        let mut manifests = Manifests {
            dir: dir.to_owned(),
            files,
            loaded,
        };
        manifests.loaded.desired.arming = app.arming();
        manifests.loaded.desired.caps = app.caps();
        let unfit = unfit(app.engine_name(), &manifests.loaded.desired, &manifests.files);
        manifests
            .loaded
            .diagnostics
            .extend(unfit.into_iter().map(|(_, found)| found));
        Ok(manifests)
    }

    /// The jobs, when there is no error in any file; the diagnostics are said either way.
    ///
    /// # Errors
    /// When there is: nothing is planned from half a directory.
    pub fn without_errors(self) -> Result<Desired, CommandError> {
        talk_raw(&self.render(true));
        if self.files.manifests.is_empty() {
            talk(&format!(
                "note: there is no manifest (*.yaml, *.yml) in `{}`",
                self.dir.display()
            ));
        }
        if self.loaded.has_errors() {
            let dir = self.dir.display();
            return Err(CommandError::new(
                ErrorKind::Manifests,
                format!("the manifests in `{dir}` have errors"),
            ));
        }
        Ok(self.loaded.desired)
    }

    /// The diagnostics as people read them.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render(&self.loaded.diagnostics, &self.files, &self.dir, color)
    }
}

fn render(diagnostics: &[Diagnostic], files: &Files, dir: &Path, color: bool) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let prefix = format!("{}/", dir.display().to_string().trim_end_matches('/'));
    manifest::render(diagnostics, &files.texts(), &prefix, color)
}

/// What of the declared jobs the engine cannot do, or does in another way.
fn unfit(engine: EngineName, desired: &Desired, files: &Files) -> Vec<(JobName, Diagnostic)> {
    let texts = files.texts();
    let found = desired.jobs.values().flat_map(|job| {
        let found = swarm::check(job, engine);
        found
            .into_iter()
            .map(|finding| (job.name.clone(), placed(job, &finding, &texts)))
            .collect::<Vec<_>>()
    });
    found.collect()
}

/// What lies in the files that secrets and configs of these jobs are made from, where an engine takes
/// their content instead of a mount.
#[must_use]
pub fn contents_of<'j>(jobs: impl Iterator<Item = &'j Job>) -> Contents {
    Contents::read(jobs, |path| {
        let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
        // A pipe would never end.
        if !about.is_file() {
            return Err(String::from("it is no file"));
        }
        if about.len() > LARGEST as u64 {
            return Err(format!("it is larger than {LARGEST} bytes"));
        }
        std::fs::read(path).map_err(|error| error.to_string())
    })
}

/// The directory that a command means: what it was told, else the one applied last, else
/// `schedules.d`.
///
/// # Errors
/// When the ledger cannot be read.
pub fn directory(given: Option<&Path>, ledger: Option<&Ledger>) -> Result<PathBuf, CommandError> {
    if let Some(dir) = given {
        return Ok(dir.to_owned());
    }
    let last = ledger.map(Ledger::directory).transpose();
    let last = last
        .map_err(|error| of_ledger("read the directory applied last", &error))?
        .flatten();
    let here = Path::new(DEFAULT_DIR);
    let Some(last) = last else {
        return Ok(here.to_owned());
    };
    // Whoever has just made one here would take the answer for its own.
    let real = |dir: &Path| os::canonicalize(dir).ok();
    if here.is_dir() && real(here) != real(&last) {
        talk(&format!(
            "note: this is about `{}`, the directory applied last; `{DEFAULT_DIR}` here has to be named",
            last.display()
        ));
    }
    Ok(last)
}

/// The jobs that the ledger holds as declared.
///
/// # Errors
/// When the ledger cannot be read.
pub fn known_jobs(ledger: &Ledger) -> Result<BTreeSet<JobName>, CommandError> {
    let jobs = ledger
        .jobs()
        .map_err(|error| of_ledger("read the jobs", &error))?;
    Ok(jobs
        .into_values()
        .filter(|record| !record.removed)
        .map(|record| record.name)
        .collect())
}

/// Reads the directory as `watch` does: a broken file keeps its last good jobs, and a directory
/// that has gone keeps everything.
pub struct Reader {
    pub dir: PathBuf,
    pub settings: manifest::Settings,
    pub last_good: LastGood,
    engine: EngineName,
    /// The files of the last reading.
    pub files: Files,
    /// What the last reading declared: it stays in force while the directory cannot be read.
    previous: Desired,
}

impl Reader {
    /// # Errors
    /// When the folder of the last good versions cannot be used.
    pub fn new(app: &App, dir: PathBuf, ledger: &Ledger) -> Result<Reader, CommandError> {
        Reader::keeping(app, dir, &ledger.last_good_dir())
    }

    /// The same, with the last good versions in that folder.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn keeping(app: &App, dir: PathBuf, folder: &Path) -> Result<Reader, CommandError> {
        let last_good = LastGood::open(folder).map_err(|error| {
            CommandError::failed(format!("failed to open `{}`", folder.display()))
                .caused_by(error.to_string())
        })?;
        let previous = Desired {
            arming: app.arming(),
            caps: app.caps(),
            ..Desired::default()
        };
        Ok(Reader {
            settings: app.manifest_settings(Some(&dir)),
            dir,
            last_good,
            engine: app.engine_name(),
            files: Files::default(),
            previous,
        })
    }

    /// One reading. `known` are the jobs that the ledger holds: more than half of them gone at once
    /// is not believed.
    pub fn read(&mut self, known: &BTreeSet<JobName>) -> Declared {
        let mut current =
            match source::load_with_last_good(&self.dir, &mut self.last_good, &self.settings, known) {
                Ok(current) => current,
                Err(error) => return self.unreadable(&error, known),
            };
        let unfit = unfit(self.engine, &current.loaded.desired, &current.files);
        for (name, _) in unfit.iter().filter(|(_, found)| found.is_error()) {
            // As with a broken file: what was declared before stays in force.
            match self.previous.jobs.get(name) {
                Some(job) => drop(current.loaded.desired.jobs.insert(name.clone(), job.clone())),
                None => drop(current.loaded.desired.jobs.remove(name)),
            }
        }
        // What is only different there is for `validate` and `plan` to say.
        let unfit = unfit.into_iter().map(|(_, found)| found);
        current
            .loaded
            .diagnostics
            .extend(unfit.filter(Diagnostic::is_error));
        let errors = current
            .loaded
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
            .count();
        let kept = current.unkept.is_none();
        let mut report = render(&current.loaded.diagnostics, &current.files, &self.dir, false);
        if let Some(error) = current.unkept {
            report.push_str(&format!(
                "error: the last good manifests could not be kept, a restart would lose them: {error}\n"
            ));
        }
        let mut desired = current.loaded.desired;
        desired.removals = source::guard(known, &desired, DirState::of(&current.files));
        let only_warnings = errors == 0 && kept && !matches!(desired.removals, Removals::Held(_));
        desired.arming = self.previous.arming;
        desired.caps = self.previous.caps.clone();
        let held = self.hold(&mut desired, current.remembered, &mut report);
        self.previous = desired.clone();
        self.files = current.files;
        Declared {
            desired,
            errors,
            report,
            only_warnings,
            held,
        }
    }

    /// Too many jobs gone at once: those that were declared before go on, because an unmounted
    /// folder must not cost the night its backup.
    fn hold(
        &self,
        desired: &mut Desired,
        remembered: BTreeMap<JobName, Job>,
        report: &mut String,
    ) -> BTreeSet<JobName> {
        let Removals::Held(why) = &desired.removals else {
            return BTreeSet::new();
        };
        let mut lost = remembered;
        let before = self.previous.jobs.iter();
        lost.extend(before.map(|(name, job)| (name.clone(), job.clone())));
        lost.retain(|name, _| !desired.jobs.contains_key(name));
        report.push_str(&format!(
            "error: {why}; nothing is removed, and what was declared before goes on\n  = help: `apply --allow-mass-removal` removes them all the same\n"
        ));
        let held = lost.keys().cloned().collect();
        desired.jobs.extend(lost);
        held
    }

    fn unreadable(&self, error: &SourceError, known: &BTreeSet<JobName>) -> Declared {
        let mut desired = self.previous.clone();
        desired.removals = source::guard(known, &desired, DirState::Missing);
        if matches!(desired.removals, Removals::Held(_)) {
            let kept = self.last_good.jobs(&self.settings).into_iter();
            let lost =
                kept.filter(|(name, _)| known.contains(name) && !self.previous.jobs.contains_key(name));
            desired.jobs.extend(lost);
        }
        Declared {
            errors: 1,
            only_warnings: false,
            report: format!("error: {error}; what was declared last stays in force\n"),
            held: desired.jobs.keys().cloned().collect(),
            desired,
        }
    }
}

/// Exit code 3, with what to do.
pub fn of_source(error: SourceError) -> CommandError {
    let said = CommandError::new(ErrorKind::Manifests, error.to_string());
    match error {
        SourceError::Missing(_) => said.hint("name the directory of your manifests, or make it"),
        SourceError::NotADirectory(_) => {
            said.hint("name the directory of your manifests, and not one of its files")
        }
        SourceError::TooMuch { .. } | SourceError::Unreadable { .. } => said,
    }
}
