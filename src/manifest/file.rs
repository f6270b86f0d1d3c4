//! One manifest: its top level, its project, and its jobs one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::{FileKind, Job, JobName, Origin, Place};

use super::canonical;
use super::compose::{self, Declared, Resource, Scope};
use super::diagnostic::{Diagnostic, Severity, Sink, code};
use super::dotenv;
use super::extension::{Extension, Level, triggers};
use super::files;
use super::interpolate::{self, Variables};
use super::keys::{self, Section};
use super::values;
use super::yaml::{self, Entry, Node};
use super::{Files, ManifestFile, Settings, Wants};

/// What one manifest came to.
#[derive(Default)]
pub(crate) struct Read {
    /// Each with the diagnostic that tells where it stands, should another file declare it too.
    pub jobs: Vec<(Job, Diagnostic)>,
    /// Of these, those whose profiles are not active.
    pub inactive: BTreeMap<JobName, Vec<String>>,
    pub diagnostics: Vec<Diagnostic>,
    /// Folders with manifests that its jobs asked to write to, and were refused.
    pub refused_folders: Vec<PathBuf>,
}

pub(crate) fn read(manifest: &ManifestFile, files: &Files, settings: &Settings, wants: &mut Wants) -> Read {
    let mut out = Read::default();
    let text = match &manifest.text {
        Ok(text) => text,
        Err(why) => {
            let found = Diagnostic::of_file(Severity::Error, code::FILE, &manifest.path, why.clone());
            out.diagnostics.push(found);
            return out;
        }
    };
    let mut sink = Sink::new(&manifest.path, text);
    let mut given = BTreeSet::new();
    if let Some(root) = yaml::parse(text, &mut sink) {
        let mut variables = Variables::new(&settings.interpolate, &settings.set_but_unlisted);
        if root.get("jobs").is_some() {
            out.diagnostics = read_dot_env(manifest, &mut variables);
        }
        let mut reader = Reader {
            sink: &mut sink,
            variables,
            manifest,
            files,
            settings,
            wants,
            refused_folders: &mut out.refused_folders,
            inactive: &mut out.inactive,
        };
        out.jobs = reader.top(&root);
        given = reader.variables.given();
    }
    sink.conceal(&given);
    out.diagnostics.extend(sink.finish());
    out
}

/// The `.env` beside the manifest. Its lines are never shown.
fn read_dot_env(manifest: &ManifestFile, variables: &mut Variables<'_>) -> Vec<Diagnostic> {
    let path = match manifest.path.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/.env"),
        None => ".env".to_owned(),
    };
    let text = match &manifest.dot_env {
        None => return Vec::new(),
        Some(Ok(text)) => text,
        Some(Err(why)) => {
            return vec![Diagnostic::of_file(
                Severity::Error,
                code::ENV_FILE,
                &path,
                why.clone(),
            )];
        }
    };
    match dotenv::parse(text, variables) {
        Ok(found) => {
            variables.dot_env = found;
            Vec::new()
        }
        Err(errors) => errors
            .into_iter()
            .map(|error| {
                let mut found = Diagnostic::of_file(Severity::Error, code::ENV_FILE, &path, error.message);
                (found.line, found.column) = (error.line, 1);
                (found.end_line, found.end_column) = (error.line, 1);
                found
            })
            .collect(),
    }
}

/// The keys of a mapping, whatever stands under them.
fn names_of(node: &Node) -> BTreeSet<String> {
    match &node.value {
        yaml::Value::Map(entries) => entries.iter().map(|entry| entry.key.text.clone()).collect(),
        yaml::Value::Scalar(_) | yaml::Value::Seq(_) => BTreeSet::new(),
    }
}

struct Reader<'a, 'f> {
    sink: &'a mut Sink<'f>,
    variables: Variables<'a>,
    manifest: &'a ManifestFile,
    files: &'a Files,
    settings: &'a Settings,
    wants: &'a mut Wants,
    refused_folders: &'a mut Vec<PathBuf>,
    inactive: &'a mut BTreeMap<JobName, Vec<String>>,
}

impl Reader<'_, '_> {
    fn top(&mut self, root: &Node) -> Vec<(Job, Diagnostic)> {
        if root.is_null() {
            return Vec::new();
        }
        let Some(entries) = values::mapping(self.sink, root, "a manifest") else {
            return Vec::new();
        };
        let has_services = root.get("services").is_some();
        for Entry { key, .. } in entries {
            let name = key.text.as_str();
            // What only services can use is Compose's affair.
            let left_to_compose = has_services && keys::MANIFEST.later.contains(&name);
            if !left_to_compose {
                values::is_field(self.sink, key, &keys::MANIFEST);
            }
        }
        let Some(jobs) = root.get("jobs") else {
            return Vec::new();
        };
        let Some(project) = self.project(root) else {
            return Vec::new();
        };
        self.variables.project = Some(project.clone());
        let jobs = Entry {
            key: jobs.key.clone(),
            value: interpolate::tree(&jobs.value, &self.variables, self.sink),
        };
        let section = |reader: &mut Self, key: &str| {
            root.get(key).map(|entry| Entry {
                key: entry.key.clone(),
                value: interpolate::tree(&entry.value, &reader.variables, reader.sink),
            })
        };
        let extension = section(self, "x-scheduler");
        let volumes = section(self, "volumes");
        let networks = section(self, "networks");
        let secrets = section(self, "secrets");
        let configs = section(self, "configs");
        let defaults = extension
            .as_ref()
            .map(|entry| Extension::read(self.sink, &entry.value, Level::File))
            .unwrap_or_default();
        let declared = Declared {
            volumes: self.resources(volumes.as_ref(), Kind::Volume, &project, has_services),
            networks: self.resources(networks.as_ref(), Kind::Network, &project, has_services),
            secrets: files::declarations(self.sink, secrets.as_ref(), FileKind::Secret, has_services),
            configs: files::declarations(self.sink, configs.as_ref(), FileKind::Config, has_services),
            services: root.get("services").map(|entry| names_of(&entry.value)),
        };
        let document = canonical::Document {
            project: &project,
            extension: extension.as_ref().map(|entry| &entry.value),
            volumes: volumes.as_ref().map(|entry| &entry.value),
            networks: networks.as_ref().map(|entry| &entry.value),
            secrets: secrets.as_ref().map(|entry| &entry.value),
            configs: configs.as_ref().map(|entry| &entry.value),
        };
        let found = self.jobs(&jobs, &project, &defaults, &declared, &document);
        self.advise_about_services(root, &found);
        found
    }

    fn jobs(
        &mut self,
        jobs: &Entry,
        project: &str,
        defaults: &Extension,
        declared: &Declared,
        document: &canonical::Document<'_>,
    ) -> Vec<(Job, Diagnostic)> {
        let mut found = Vec::new();
        for entry in values::optional_mapping(self.sink, &jobs.value, "jobs").unwrap_or_default() {
            self.sink.subject = format!("job `{}`", entry.key.text);
            found.extend(self.job(entry, project, defaults, declared, document));
            self.sink.subject.clear();
        }
        found
    }

    fn job(
        &mut self,
        entry: &Entry,
        project: &str,
        defaults: &Extension,
        declared: &Declared,
        document: &canonical::Document<'_>,
    ) -> Option<(Job, Diagnostic)> {
        let name = match JobName::new(project, &entry.key.text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.sink
                    .error(code::NAME, entry.key.span.clone(), error.to_string());
                None
            }
        };
        values::optional_mapping(self.sink, &entry.value, &entry.key.text)?;
        let mut own = entry
            .value
            .get("x-scheduler")
            .map(|entry| Extension::read(self.sink, &entry.value, Level::Job))
            .unwrap_or_default();
        let triggers = match entry.value.get("triggers") {
            Some(found) => {
                let zone = &self.settings.default_timezone;
                Some(triggers(self.sink, found, &mut own, defaults, zone))
            }
            None => {
                self.sink
                    .error(
                        code::MISSING_KEY,
                        entry.key.span.clone(),
                        format!("job `{}` has no `triggers`", entry.key.text),
                    )
                    .help("say when it starts: `triggers: {schedule: [\"30 2 * * *\"]}` or `triggers: {manual: true}`");
                None
            }
        };
        let mut scope = Scope {
            sink: self.sink,
            variables: &self.variables,
            settings: self.settings,
            manifest: self.manifest,
            paths: &self.files.paths,
            wants: self.wants,
            project,
            declared,
            used: canonical::Used::default(),
            targets: BTreeSet::new(),
            refused_folders: self.refused_folders,
        };
        let container = match &own.exec {
            Some(exec) => compose::exec(&mut scope, entry, exec, own.reuse),
            None => compose::container(&mut scope, entry),
        };
        let used = std::mem::take(&mut scope.used);
        let inactive = self.inactive_profiles(entry);
        let (name, triggers, mut container) = (name?, triggers?, container?);
        if own.exec.is_none() && own.reuse.or(defaults.reuse) == Some(true) {
            container.place = Place::Reuse;
        }
        if let Some(profiles) = inactive {
            self.inactive.insert(name.clone(), profiles);
        }
        if let Some(placement) = own.placement.clone().or_else(|| defaults.placement.clone()) {
            container.placement = placement;
        }
        container.kubernetes.host_path = own.host_path.or(defaults.host_path) == Some(true);
        let keys = document.sensitive_keys(entry, &used);
        container.remember(&keys, &self.variables.given());
        let line = self.sink.line_of(entry.key.span.start);
        let job = Job {
            name,
            origin: Origin {
                file: self.manifest.path.clone(),
                line,
                commit: None,
            },
            triggers,
            policy: own.policy(defaults),
            container,
            canonical: document.write(entry, &used),
        };
        Some((job, self.place(entry)))
    }

    /// The profiles of a job that is not wanted; `None` when it has none, or one of them is active.
    fn inactive_profiles(&mut self, job: &Entry) -> Option<Vec<String>> {
        let entry = job.value.get("profiles")?;
        let own = values::text_list(self.sink, &entry.value, "profiles");
        let named = self.variables.get("COMPOSE_PROFILES").map(|(names, _)| names);
        let active: BTreeSet<&str> = named
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .chain(self.settings.profiles.iter().map(String::as_str))
            .collect();
        let is_active =
            own.is_empty() || active.contains("*") || own.iter().any(|name| active.contains(name.as_str()));
        (!is_active).then_some(own)
    }

    /// The diagnostic for a job that another file declares too; its message is made when that is known.
    fn place(&self, entry: &Entry) -> Diagnostic {
        let mut sink = Sink::new(self.sink.file, self.sink.text());
        let mut found = sink
            .error(code::DUPLICATE_JOB, entry.key.span.clone(), "")
            .clone();
        found.help =
            Some("the first file in the order of paths keeps a job; rename or remove this one".to_owned());
        found
    }

    /// `name:`, else the folder's name as Compose normalises it.
    fn project(&mut self, root: &Node) -> Option<String> {
        let Some(entry) = root.get("name") else {
            let folder = self
                .manifest
                .folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            let name = normalised(&folder);
            if JobName::check_project(&name).is_ok() {
                return Some(name);
            }
            self.sink
                .file_error(
                    code::NAME,
                    "this manifest has no `name`, and its folder's name gives no project name",
                )
                .help("write `name: my-project` at its top");
            return None;
        };
        let value = interpolate::tree(&entry.value, &self.variables, self.sink);
        let name = values::filled_text(self.sink, &value, "name")?;
        match JobName::check_project(&name) {
            Ok(()) => Some(name),
            Err(error) => {
                let message = if compose::is_sensitive(&value) {
                    "this is not a valid project name".to_owned()
                } else {
                    error.to_string()
                };
                self.sink.error(code::NAME, value.span.clone(), message);
                None
            }
        }
    }

    fn resources(
        &mut self,
        section: Option<&Entry>,
        kind: Kind,
        project: &str,
        has_services: bool,
    ) -> BTreeMap<String, Resource> {
        let mut found = BTreeMap::new();
        let Some(section) = section else {
            return found;
        };
        let what = section.key.text.clone();
        for entry in values::optional_mapping(self.sink, &section.value, &what).unwrap_or_default() {
            let resource = self.resource(entry, kind, project, has_services);
            found.insert(entry.key.text.clone(), resource);
        }
        found
    }

    fn resource(&mut self, entry: &Entry, kind: Kind, project: &str, has_services: bool) -> Resource {
        let mut name = None;
        let mut external = false;
        let entries = values::optional_mapping(self.sink, &entry.value, &entry.key.text).unwrap_or_default();
        for Entry { key, value } in entries {
            match key.text.as_str() {
                "name" => {
                    let text = values::filled_text(self.sink, value, "name");
                    name = text.and_then(|text| compose::resource_name(self.sink, value, &text, kind.noun()));
                }
                "external" => external = values::flag(self.sink, value, "external").unwrap_or(false),
                // Compose creates them for its services; we only attach to a network.
                text if kind.is_for_creation(text) && has_services => {}
                text if kind == Kind::Network && kind.is_for_creation(text) => {
                    self.sink
                        .warning(
                            code::ADVICE,
                            key.span.clone(),
                            format!("`{text}` has no effect: networks are never created here"),
                        )
                        .help("create the network with `docker network create`, or let Compose do it");
                }
                _ => drop(values::is_field(self.sink, key, kind.section())),
            }
        }
        let default = if external {
            entry.key.text.clone()
        } else {
            format!("{project}_{}", entry.key.text)
        };
        if name.is_none() && !compose::is_resource_name(&default) {
            self.sink.error(
                code::NAME,
                entry.key.span.clone(),
                format!("`{}` gives no name for a {}", entry.key.text, kind.noun()),
            );
        }
        let name = name.unwrap_or(default);
        if kind == Kind::Volume && name.starts_with("docker-scheduler.") {
            self.sink.error(
                code::NAME,
                entry.key.span.clone(),
                "volumes named `docker-scheduler.…` are reserved: the scheduler keeps its lock there",
            );
        }
        Resource { name, external }
    }

    /// `docker compose up` refuses a file with scheduled jobs, or runs them a second time.
    fn advise_about_services(&mut self, root: &Node, jobs: &[(Job, Diagnostic)]) {
        let Some(services) = root.get("services") else {
            return;
        };
        if jobs.iter().any(|(job, _)| !job.triggers.schedule.is_empty()) {
            self.sink
                .warning(
                    code::ADVICE,
                    services.key.span.clone(),
                    "services and scheduled jobs in one file",
                )
                .label("`docker compose up` before 5.8 refuses this file; later ones may run the jobs too")
                .help("keep the jobs in a file of their own under the same `name:`");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Volume,
    Network,
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Kind::Volume => "volume",
            Kind::Network => "network",
        }
    }

    fn section(self) -> &'static Section {
        match self {
            Kind::Volume => &keys::VOLUME,
            Kind::Network => &keys::NETWORK,
        }
    }

    /// What only matters to whoever creates it.
    fn is_for_creation(self, key: &str) -> bool {
        match self {
            Kind::Volume => keys::VOLUME.later.contains(&key),
            Kind::Network => keys::NETWORK_CREATION.iter().any(|row| row.name == key),
        }
    }
}

/// Compose's `NormalizeProjectName`.
fn normalised(folder: &str) -> String {
    let kept: String = folder
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}
