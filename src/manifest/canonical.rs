//! A job as canonical Compose YAML: what the diff of a plan compares and the ledger keeps.
//!
//! As written (`128m`, not bytes) after variables were replaced, with sorted keys, without positions,
//! and with sensitive values masked. It is a whole manifest of that one job: its file's defaults, and
//! the volumes and networks that it uses, belong to it.

use std::collections::BTreeSet;

use serde_yaml::{Mapping, Value as Yaml};

use super::yaml::{Entry, Kind, Node, Value};

/// Stands for a sensitive value.
pub const MASK: &str = "••••";

/// What the job uses of its file's top level.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    pub volumes: BTreeSet<String>,
    pub networks: BTreeSet<String>,
    /// By their section, `secrets` or `configs`.
    pub files: BTreeSet<(&'static str, String)>,
}

/// The parts of a file that its jobs share.
pub(crate) struct Document<'n> {
    pub project: &'n str,
    pub extension: Option<&'n Node>,
    pub volumes: Option<&'n Node>,
    pub networks: Option<&'n Node>,
    pub secrets: Option<&'n Node>,
    pub configs: Option<&'n Node>,
}

impl Document<'_> {
    pub fn write(&self, job: &Entry, used: &Used) -> String {
        let mut body = yaml(&job.value);
        if let (Some(defaults), Yaml::Mapping(body)) = (self.extension, &mut body) {
            merge_defaults(body, &yaml(defaults));
        }
        let mut top = Mapping::new();
        top.insert("name".into(), self.project.into());
        top.insert(
            "jobs".into(),
            Yaml::Mapping(Mapping::from_iter([(key(job), body)])),
        );
        let of = |section: &str| -> BTreeSet<String> {
            let own = used.files.iter().filter(|(of, _)| *of == section);
            own.map(|(_, name)| name.clone()).collect()
        };
        for (name, section, used) in [
            ("configs", self.configs, &of("configs")),
            ("networks", self.networks, &used.networks),
            ("secrets", self.secrets, &of("secrets")),
            ("volumes", self.volumes, &used.volumes),
        ] {
            let mut chosen = chosen(section, used);
            if name == "secrets" {
                mask_contents(&mut chosen);
            }
            if !chosen.is_empty() {
                top.insert(name.into(), Yaml::Mapping(chosen));
            }
        }
        // A tree of plain values always has a YAML form.
        serde_yaml::to_string(&Yaml::Mapping(top)).unwrap_or_default()
    }
}

impl Document<'_> {
    /// The keys of a job that hold, or name, something from outside of the file.
    pub fn sensitive_keys<'j>(&self, job: &'j Entry, used: &Used) -> BTreeSet<&'j str> {
        let Value::Map(entries) = &job.value.value else {
            return BTreeSet::new();
        };
        let own = entries.iter().filter(|entry| entry.value.is_sensitive());
        let mut keys: BTreeSet<&str> = own.map(|entry| entry.key.text.as_str()).collect();
        let names = |section: Option<&Node>, name: &str| {
            section
                .and_then(|section| section.get(name))
                .is_some_and(|entry| entry.value.is_sensitive())
        };
        if used.volumes.iter().any(|name| names(self.volumes, name)) {
            keys.insert("volumes");
        }
        if used.networks.iter().any(|name| names(self.networks, name)) {
            keys.insert("networks");
        }
        for (of, name) in &used.files {
            let section = if *of == "secrets" {
                self.secrets
            } else {
                self.configs
            };
            if names(section, name) {
                keys.insert(*of);
            }
        }
        if self.extension.is_some_and(Node::is_sensitive) {
            keys.insert("x-scheduler");
        }
        keys
    }
}

fn key(entry: &Entry) -> Yaml {
    Yaml::String(entry.key.text.clone())
}

/// Keys of the file's `x-scheduler` that the job does not set itself.
fn merge_defaults(body: &mut Mapping, defaults: &Yaml) {
    let Yaml::Mapping(defaults) = defaults else {
        return;
    };
    let mut merged = match body.remove("x-scheduler") {
        Some(Yaml::Mapping(own)) => own,
        _ => Mapping::new(),
    };
    for (key, value) in defaults {
        if !merged.contains_key(key) {
            merged.insert(key.clone(), value.clone());
        }
    }
    if !merged.is_empty() {
        body.insert("x-scheduler".into(), Yaml::Mapping(sorted(merged)));
    }
    *body = sorted(std::mem::take(body));
}

fn chosen(section: Option<&Node>, used: &BTreeSet<String>) -> Mapping {
    let Some(section) = section else {
        return Mapping::new();
    };
    used.iter()
        .filter_map(|name| section.get(name))
        .map(|entry| (key(entry), yaml(&entry.value)))
        .collect()
}

/// A secret that somebody wrote into the manifest itself is one all the same.
fn mask_contents(secrets: &mut Mapping) {
    for secret in secrets.values_mut() {
        if let Some(content) = secret.get_mut("content") {
            *content = MASK.into();
        }
    }
}

fn sorted(mapping: Mapping) -> Mapping {
    let mut entries: Vec<(Yaml, Yaml)> = mapping.into_iter().collect();
    entries.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
    entries.into_iter().collect()
}

fn yaml(node: &Node) -> Yaml {
    match &node.value {
        Value::Seq(items) => Yaml::Sequence(items.iter().map(yaml).collect()),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|entry| (key(entry), yaml(&entry.value)));
            Yaml::Mapping(sorted(pairs.collect()))
        }
        Value::Scalar(scalar) if scalar.sensitive => MASK.into(),
        Value::Scalar(scalar) => match scalar.kind {
            Kind::Null => Yaml::Null,
            Kind::Bool(value) => Yaml::Bool(value),
            Kind::Int(value) => Yaml::Number(value.into()),
            Kind::Float(value) => Yaml::Number(value.into()),
            // A dollar that is left is no variable: read again, it must stay one.
            Kind::Text => Yaml::String(scalar.text.replace('$', "$$")),
        },
    }
}
