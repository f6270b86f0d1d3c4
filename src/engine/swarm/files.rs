//! Secrets and configs of jobs as those of a Swarm: each content once, under a name that its hash ends.
//!
//! They cannot be edited, and one that a service refers to cannot be deleted; what no service of the
//! instance refers to any more goes with the services that did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use bollard::models::{
    ConfigSpec, IdResponse, SecretSpec, TaskSpecContainerSpecConfigs, TaskSpecContainerSpecFile,
    TaskSpecContainerSpecFile1, TaskSpecContainerSpecSecrets,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::answers::Service;
use super::{CALL, SwarmEngine, filtered};
use crate::engine::docker::{checked, none_when_gone};
use crate::engine::{EngineError, Observe, Result};
use crate::model::{FileKind, FileSource, Instance, JobFile, LABEL_INSTANCE, LABEL_MANAGED_BY};

/// Swarm takes no larger ones.
const LARGEST: u64 = 500 * 1024;

/// A younger one may be about to be referred to, by another scheduler.
const YOUNG: SignedDuration = SignedDuration::from_mins(10);

/// What a service refers to.
#[derive(Default)]
pub(super) struct References {
    pub secrets: Vec<TaskSpecContainerSpecSecrets>,
    pub configs: Vec<TaskSpecContainerSpecConfigs>,
}

/// A secret or config as Swarm lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    created_at: String,
    spec: ListedSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedSpec {
    name: String,
}

fn path_of(kind: FileKind) -> &'static str {
    kind.key()
}

/// `ds-db-1f…`: the readable part is cut, the hash is not.
fn name_of(file: &JobFile, content: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{}:{}:{}:", file.kind.key(), file.name.len(), file.name));
    hash.update(content);
    let hash = hex::encode(hash.finalize());
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let readable: String = file.name.chars().filter(plain).take(36).collect();
    format!("ds-{readable}-{}", &hash[..20])
}

/// What it holds now; a file is read where the scheduler runs. `None`: the Swarm has it.
fn content_of(file: &JobFile) -> Result<Option<Vec<u8>>> {
    let what = file.words();
    match &file.source {
        FileSource::External { .. } => Ok(None),
        FileSource::Content { content, .. } => Ok(Some(content.expose().as_bytes().to_vec())),
        FileSource::Path(path) => {
            let size = size_of(path).map_err(|error| {
                EngineError::Invalid(format!("{what}: `{}` cannot be read: {error}", path.display()))
            })?;
            if size > LARGEST {
                let limit = LARGEST / 1024;
                return Err(EngineError::Invalid(format!(
                    "{what}: a Swarm takes {limit} KiB at most"
                )));
            }
            std::fs::read(path).map(Some).map_err(|error| {
                EngineError::Invalid(format!("{what}: `{}` cannot be read: {error}", path.display()))
            })
        }
    }
}

fn size_of(path: &Path) -> std::io::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

/// Why one of these could not be given to a service now.
pub(super) fn unreadable(files: &[JobFile]) -> Option<String> {
    files
        .iter()
        .find_map(|file| content_of(file).err())
        .map(|error| error.to_string())
}

/// What is to be said of an external one that the Swarm does not have.
fn not_there(kind: FileKind, name: &str) -> String {
    let noun = match kind {
        FileKind::Secret => "secret",
        FileKind::Config => "config",
    };
    format!("no {noun} {name}; make it with `docker {noun} create {name} FILE`")
}

impl SwarmEngine {
    /// Of these external ones, each that the Swarm does not have, in words.
    pub(super) async fn not_there(&self, files: &[&JobFile]) -> Result<BTreeMap<(FileKind, String), String>> {
        let mut missing = BTreeMap::new();
        for file in files {
            let FileSource::External { name, .. } = &file.source else {
                continue;
            };
            let key = (file.kind, name.clone());
            if !missing.contains_key(&key) && self.named(file.kind, name).await?.is_none() {
                missing.insert(key, not_there(file.kind, name));
            }
        }
        Ok(missing)
    }

    /// Makes what is missing of a job's secrets and configs, before the service that refers to them.
    pub(super) async fn files_of(
        &self,
        files: &[JobFile],
        labels: &BTreeMap<String, String>,
    ) -> Result<References> {
        let mut found = References::default();
        for file in files {
            let (name, id) = match (content_of(file)?, &file.source) {
                (Some(content), _) => {
                    let name = name_of(file, &content);
                    let id = self.made(file.kind, &name, &content, labels).await?;
                    (name, id)
                }
                (None, FileSource::External { name, .. }) => {
                    let id = self.named(file.kind, name).await?;
                    let id = id.ok_or_else(|| EngineError::Invalid(not_there(file.kind, name)))?;
                    (name.clone(), id)
                }
                (None, _) => continue,
            };
            let (uid, gid, mode) = match &file.source {
                FileSource::Content { uid, gid, mode, .. } | FileSource::External { uid, gid, mode, .. } => {
                    (*uid, *gid, *mode)
                }
                FileSource::Path(_) => (0, 0, 0o444),
            };
            let (uid, gid) = (Some(uid.to_string()), Some(gid.to_string()));
            let target = Some(file.target.clone());
            match file.kind {
                FileKind::Secret => found.secrets.push(TaskSpecContainerSpecSecrets {
                    file: Some(TaskSpecContainerSpecFile {
                        name: target,
                        uid,
                        gid,
                        mode: Some(mode),
                    }),
                    secret_id: Some(id),
                    secret_name: Some(name),
                }),
                FileKind::Config => found.configs.push(TaskSpecContainerSpecConfigs {
                    file: Some(TaskSpecContainerSpecFile1 {
                        name: target,
                        uid,
                        gid,
                        mode: Some(mode),
                    }),
                    runtime: None,
                    config_id: Some(id),
                    config_name: Some(name),
                }),
            }
        }
        Ok(found)
    }

    /// The ID of the one of that name, which is made when there is none.
    async fn made(
        &self,
        kind: FileKind,
        name: &str,
        content: &[u8],
        labels: &BTreeMap<String, String>,
    ) -> Result<String> {
        if let Some(id) = self.named(kind, name).await? {
            return Ok(id);
        }
        let own = [LABEL_INSTANCE, LABEL_MANAGED_BY];
        let labels = labels.iter().filter(|(key, _)| own.contains(&key.as_str()));
        let labels = labels.map(|(key, value)| (key.clone(), value.clone())).collect();
        let data = base64::engine::general_purpose::STANDARD.encode(content);
        let name_given = Some(name.to_owned());
        let made: Result<IdResponse> = match kind {
            FileKind::Secret => {
                let spec = SecretSpec {
                    name: name_given,
                    labels: Some(labels),
                    data: Some(data),
                    ..SecretSpec::default()
                };
                self.docker
                    .call(CALL, async move |docker: bollard::Docker| {
                        docker.create_secret(spec).await
                    })
                    .await
            }
            FileKind::Config => {
                let spec = ConfigSpec {
                    name: name_given,
                    labels: Some(labels),
                    data: Some(data),
                    ..ConfigSpec::default()
                };
                self.docker
                    .call(CALL, async move |docker: bollard::Docker| {
                        docker.create_config(spec).await
                    })
                    .await
            }
        };
        match made {
            Ok(made) => Ok(made.id),
            // Another scheduler was first: the same name is the same content.
            Err(error @ EngineError::Refused { status: 409, .. }) => {
                self.named(kind, name).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn named(&self, kind: FileKind, name: &str) -> Result<Option<String>> {
        let path = filtered(&format!("/{}", path_of(kind)), ("name", name));
        let found: Vec<Listed> = self.get(path).await?;
        let exact = found.into_iter().find(|one| one.spec.name == name);
        Ok(exact.map(|one| one.id))
    }

    /// Deletes what no service of the instance refers to any more. One that cannot be deleted now is met
    /// again by the next one.
    pub(super) async fn reap(&self, instance: &str) -> Result<()> {
        for (kind, one) in self.unreferenced(instance).await? {
            let id = checked(&one.id)?.to_owned();
            let gone = self
                .docker
                .call(CALL, async move |docker: bollard::Docker| match kind {
                    FileKind::Secret => docker.delete_secret(&id).await,
                    FileKind::Config => docker.delete_config(&id).await,
                })
                .await;
            none_when_gone(gone)?;
        }
        Ok(())
    }

    /// Names of the secrets and configs that no service of the instance refers to.
    pub(super) async fn unused_files(&self, instance: &Instance) -> Result<Vec<String>> {
        let unreferenced = self.unreferenced(instance.as_str()).await?;
        Ok(unreferenced.into_iter().map(|(_, one)| one.spec.name).collect())
    }

    async fn unreferenced(&self, instance: &str) -> Result<Vec<(FileKind, Listed)>> {
        let label = format!("{LABEL_INSTANCE}={instance}");
        let services: Vec<Service> = self.get(filtered("/services", ("label", &label))).await?;
        let used: BTreeSet<&str> = services
            .iter()
            .flat_map(|service| service.spec.task_template.references())
            .collect();
        let Some(now) = self.docker.info().await?.system_time else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for kind in [FileKind::Secret, FileKind::Config] {
            let path = filtered(&format!("/{}", path_of(kind)), ("label", &label));
            let listed: Vec<Listed> = self.get(path).await?;
            found.extend(unused(listed, &used, now).into_iter().map(|one| (kind, one)));
        }
        Ok(found)
    }
}

fn unused(listed: Vec<Listed>, used: &BTreeSet<&str>, now: Timestamp) -> Vec<Listed> {
    let old = |one: &Listed| {
        let made: Option<Timestamp> = one.created_at.parse().ok();
        made.is_some_and(|made| now.duration_since(made) >= YOUNG)
    };
    listed
        .into_iter()
        .filter(|one| old(one) && !used.contains(one.id.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Text;

    fn file(name: &str, content: &str) -> JobFile {
        JobFile {
            kind: FileKind::Secret,
            name: name.to_owned(),
            target: "/run/secrets/x".to_owned(),
            source: FileSource::Content {
                content: Text::sensitive(content),
                uid: 0,
                gid: 0,
                mode: 0o444,
            },
        }
    }

    #[test]
    fn a_name_says_which_content_it_is_and_nothing_of_it() {
        let name = |name: &str, content: &str| {
            let file = file(name, content);
            name_of(&file, &content_of(&file).unwrap().unwrap())
        };
        let db = name("db", "hunter2");
        assert!(db.starts_with("ds-db-") && !db.contains("hunter2"), "{db}");
        assert_eq!(db, name("db", "hunter2"));
        assert_ne!(db, name("db", "hunter3"));
        assert_ne!(db, name("db2", "hunter2"));
        assert!(name(&"x".repeat(200), "y").len() <= 64);
    }

    #[test]
    fn only_what_is_old_and_unused_goes() {
        let listed = |id: &str, at: &str| Listed {
            id: id.to_owned(),
            created_at: at.to_owned(),
            spec: ListedSpec { name: id.to_owned() },
        };
        let all = [
            listed("old", "2026-11-27T08:00:00.123456789Z"),
            listed("used", "2026-11-27T08:00:00Z"),
            listed("young", "2026-11-27T08:55:00Z"),
            listed("odd", "yesterday"),
        ];
        let now: Timestamp = "2026-11-27T09:00:00Z".parse().unwrap();
        let left = unused(all.to_vec(), &BTreeSet::from(["used"]), now);
        assert_eq!(
            left.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(),
            ["old"]
        );
    }
}
