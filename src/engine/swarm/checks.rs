//! What can be known of a run before there is a task: networks, nodes, the image.
//!
//! Nothing is made ahead of a slot here, so what a job leans on is looked at instead, and said.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;

use super::answers::Node;
use super::{CALL, SwarmEngine, files};
use crate::engine::docker::none_when_gone;
use crate::engine::{EngineError, Result};
use crate::model::{
    Checked, Constraint, ContainerSpec, FileKind, FileSource, Fleet, ImageRef, JobFile, PullPolicy,
    Reservations, Subject,
};

/// A registry that did not answer is not asked again for so many looks (of 30 s each).
const REST: u32 = 10;

/// A registry that cannot be reached must not hold up a plan.
const REGISTRY: Duration = Duration::from_secs(4);

/// What is known of the images of jobs, by reference.
pub(super) type Images = BTreeMap<String, Known>;

#[derive(Debug, Clone)]
pub(super) struct Known {
    digest: Option<String>,
    /// For people.
    words: String,
    /// Looks until its registry is asked again.
    rest: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    name: String,
    #[serde(default)]
    scope: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LocalImage {
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
    /// Of the containerd image store alone, which names a digest also for what was built or imported here.
    #[serde(default)]
    descriptor: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    identity: Option<Identity>,
}

/// Since API 1.53.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Identity {
    /// Where it was pulled from, or pushed to.
    pull: Vec<serde::de::IgnoredAny>,
}

impl LocalImage {
    /// The digest that another node finds at a registry.
    fn digest(&self, image: &ImageRef) -> Option<String> {
        let of_a_registry = match (&self.descriptor, &self.identity) {
            (None, _) => true,
            (Some(_), identity) => identity
                .as_ref()
                .is_some_and(|identity| !identity.pull.is_empty()),
        };
        if !of_a_registry {
            return None;
        }
        let (repository, _) = image.repository_and_tag();
        self.repo_digests.iter().flatten().find_map(|one| {
            let (of, digest) = one.split_once('@')?;
            (of == repository).then(|| digest.to_owned())
        })
    }
}

impl SwarmEngine {
    /// How many ended tasks of a run the Swarm keeps; asked for anew.
    pub(super) async fn look_at_tasks_kept(&self) -> Result<Option<i64>> {
        let swarm: serde_json::Value = self.get("/swarm".to_owned()).await?;
        let kept = swarm["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"].as_i64();
        *self.tasks_kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(kept)
    }

    /// Why no run may be made: its task would be gone before anybody has read what became of it, and look as
    /// if it had never been.
    pub(super) async fn forgets(&self) -> Result<Option<String>> {
        let known = *self.tasks_kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match known {
            Some(kept) => Some(kept),
            None => self.look_at_tasks_kept().await?,
        };
        let few = kept.filter(|kept| (0..Fleet::TASKS_NEEDED).contains(kept));
        Ok(few.map(|kept| {
            format!(
                "the Swarm keeps {kept} ended tasks of a service, so the results of runs would be lost; \
                 `docker swarm update --task-history-limit 5` keeps them"
            )
        }))
    }

    pub(super) async fn check_all(&self, specs: &[&ContainerSpec]) -> Result<Vec<Checked>> {
        self.look_at_tasks_kept().await?;
        let forgets = self.forgets().await?;
        let networks: Vec<Network> = self.get("/networks".to_owned()).await?;
        let nodes = self.nodes().await?;
        let files: Vec<&JobFile> = specs.iter().flat_map(|spec| &spec.files).collect();
        let not_there = self.not_there(&files).await?;
        let images: BTreeMap<&str, &ContainerSpec> =
            specs.iter().map(|spec| (spec.image.as_str(), *spec)).collect();
        join_all(images.values().map(|spec| self.look_up(spec, true))).await;
        Ok(specs
            .iter()
            .map(|spec| {
                let mut found = Checked {
                    missing: forgets.clone(),
                    ..Checked::default()
                };
                check_networks(spec, &networks, &mut found);
                check_nodes(spec, &nodes, &mut found);
                check_files(spec, &not_there, &mut found);
                if let Some(known) = self.known(&spec.image) {
                    found.met.push(known.words);
                }
                found
            })
            .collect())
    }

    /// The reference that tasks are given: by digest where one is known, so that no node asks the registry
    /// what the tag is today.
    pub(super) async fn pinned(&self, spec: &ContainerSpec) -> String {
        if spec.image.is_pinned() {
            return spec.image.to_string();
        }
        self.look_up(spec, false).await;
        match self.known(&spec.image).and_then(|known| known.digest) {
            Some(digest) => format!("{}@{digest}", spec.image),
            None => spec.image.to_string(),
        }
    }

    fn known(&self, image: &ImageRef) -> Option<Known> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.get(image.as_str()).cloned()
    }

    /// Finds out which content an image's name stands for, unless that is known; `anew`: a look that counts.
    async fn look_up(&self, spec: &ContainerSpec, anew: bool) {
        let image = &spec.image;
        let known = match self.known(image) {
            Some(known) if !anew => return drop(known),
            Some(mut known) if known.rest > 0 => {
                known.rest -= 1;
                known
            }
            _ => self.find_out(spec).await,
        };
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.insert(image.to_string(), known);
    }

    async fn find_out(&self, spec: &ContainerSpec) -> Known {
        let image = &spec.image;
        if image.is_pinned() {
            return Known {
                digest: None,
                words: format!("image {image} by its digest"),
                rest: 0,
            };
        }
        let local = self.local_digest(image).await;
        let ask_first = matches!(spec.pull_policy, PullPolicy::Always | PullPolicy::Every(_));
        if let (Ok(Some(Some(digest))), false) = (&local, ask_first) {
            return by_digest(image, digest);
        }
        if spec.pull_policy != PullPolicy::Never
            && let Ok(Ok(digest)) = tokio::time::timeout(REGISTRY, self.remote_digest(image)).await
        {
            return by_digest(image, &digest);
        }
        let (digest, words) = match local {
            Ok(Some(Some(digest))) => return by_digest(image, &digest),
            Ok(Some(None)) => (
                None,
                format!("image {image} on this node (from no registry: each node runs its own)"),
            ),
            Ok(None) => (
                None,
                format!("image {image}: neither on this node, nor known to its registry from here"),
            ),
            Err(error) => (None, format!("image {image}: not looked at ({error})")),
        };
        Known {
            digest,
            words,
            rest: REST,
        }
    }

    /// What this node has under that name; the inner `None`: it came from no registry.
    async fn local_digest(&self, image: &ImageRef) -> Result<Option<Option<String>>> {
        let found = self.get::<LocalImage>(format!("/images/{image}/json")).await;
        let Some(found) = none_when_gone(found)? else {
            return Ok(None);
        };
        Ok(Some(found.digest(image)))
    }

    async fn remote_digest(&self, image: &ImageRef) -> Result<String> {
        let login = self.docker.login(image).await?;
        let name = image.to_string();
        let found = self
            .docker
            .call(CALL, async move |docker: bollard::Docker| {
                docker.inspect_registry_image(&name, login).await
            })
            .await?;
        found
            .descriptor
            .digest
            .filter(|digest| digest.starts_with("sha256:"))
            .ok_or_else(|| EngineError::Undecodable {
                why: "a registry's answer without a digest".to_owned(),
            })
    }
}

fn by_digest(image: &ImageRef, digest: &str) -> Known {
    let short = digest.strip_prefix("sha256:").unwrap_or(digest);
    let short = short.get(..12).unwrap_or(short);
    Known {
        digest: Some(digest.to_owned()),
        words: format!("image {image} by digest {short}"),
        rest: 0,
    }
}

fn check_networks(spec: &ContainerSpec, networks: &[Network], found: &mut Checked) {
    for attachment in &spec.networks {
        let name = &attachment.name;
        let scopes: Vec<&str> = networks
            .iter()
            .filter(|network| network.name == *name)
            .map(|network| network.scope.as_str())
            .collect();
        let make = format!("make it with `docker network create --driver overlay {name}`");
        if scopes.contains(&"swarm") {
            found.met.push(format!("network {name}"));
        } else if scopes.is_empty() {
            found.missing = Some(format!("no network {name}; {make}"));
        } else {
            found.missing = Some(format!("network {name} is this node's alone; {make}"));
        }
    }
}

fn check_files(spec: &ContainerSpec, not_there: &BTreeMap<(FileKind, String), String>, found: &mut Checked) {
    let of_file = |file: &JobFile| match &file.source {
        FileSource::External { name, .. } => not_there.get(&(file.kind, name.clone())).cloned(),
        FileSource::Path(_) | FileSource::Content { .. } => None,
    };
    let why = files::unreadable(&spec.files).or_else(|| spec.files.iter().find_map(of_file));
    if why.is_some() {
        found.missing = why;
    } else if !spec.files.is_empty() {
        found
            .met
            .push(format!("{} secrets and configs", spec.files.len()));
    }
}

fn check_nodes(spec: &ContainerSpec, nodes: &[Node], found: &mut Checked) {
    let ready: Vec<&Node> = nodes.iter().filter(|node| node.takes_tasks()).collect();
    let constraints: Vec<Constraint> = spec
        .placement
        .constraints
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let fit = ready.iter().filter(|node| meets(node, &constraints)).count();
    if fit == 0 {
        let why = match constraints.is_empty() {
            true => "no node takes tasks now".to_owned(),
            false => format!("no node that takes tasks meets {}", listed(&constraints)),
        };
        found.unplaced = Some(why);
        return;
    }
    let roomy = ready
        .iter()
        .filter(|node| meets(node, &constraints) && has_room(node, spec.placement.reservations))
        .count();
    if roomy == 0 {
        found.unplaced = Some("no node is large enough for its reservations".to_owned());
        return;
    }
    let of = format!("{roomy} of {} nodes", nodes.len());
    found.met.push(match constraints.is_empty() {
        true => format!("{of} can run it"),
        false => format!("{} met by {of}", listed(&constraints)),
    });
}

fn listed(constraints: &[Constraint]) -> String {
    let texts: Vec<String> = constraints.iter().map(|one| format!("`{one}`")).collect();
    texts.join(" and ")
}

fn meets(node: &Node, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|constraint| {
        let description = &node.description;
        let label = |labels: &BTreeMap<String, String>, name: &str| labels.get(name).cloned();
        let found = match &constraint.subject {
            Subject::Id => node.id.clone(),
            Subject::Hostname => description.hostname.clone(),
            // Networks of addresses are Swarm's to judge.
            Subject::Ip if constraint.value.contains('/') => return true,
            Subject::Ip => node.address().to_owned(),
            Subject::Role => node.spec.role.clone(),
            Subject::Os => description.platform.os.clone(),
            // Swarm knows `amd64` for `x86_64`, and both words count.
            Subject::Arch => {
                let arch = &description.platform.arch;
                let (is, is_in_go) = (constraint.is_met_by(arch), constraint.is_met_by(go_arch(arch)));
                return if constraint.negated {
                    is && is_in_go
                } else {
                    is || is_in_go
                };
            }
            Subject::NodeLabel(name) => label(&node.spec.labels, name).unwrap_or_default(),
            Subject::EngineLabel(name) => label(&description.engine.labels, name).unwrap_or_default(),
        };
        constraint.is_met_by(&found)
    })
}

fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn has_room(node: &Node, wanted: Reservations) -> bool {
    let has = &node.description.resources;
    wanted.memory_bytes.is_none_or(|bytes| bytes <= has.memory_bytes)
        && wanted.nano_cpus.is_none_or(|cpus| cpus <= has.nano_cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nodes() -> Vec<Node> {
        let node = |id: &str, state: &str, disk: &str| {
            json!({
                "ID": id, "Status": {"State": state, "Addr": "10.0.0.1"},
                "Spec": {"Labels": {"disk": disk}, "Role": "manager", "Availability": "active"},
                "Description": {"Hostname": id, "Platform": {"OS": "linux", "Architecture": "x86_64"},
                                "Resources": {"NanoCPUs": 2_000_000_000u64, "MemoryBytes": 1_000_000u64}},
            })
        };
        serde_json::from_value(json!([node("east", "ready", "ssd"), node("west", "down", "hdd")])).unwrap()
    }

    fn spec(constraints: &[&str]) -> ContainerSpec {
        let mut spec = ContainerSpec::of_image("busybox".parse().unwrap());
        spec.placement.constraints = constraints.iter().map(|one| (*one).to_owned()).collect();
        spec
    }

    fn checked(spec: &ContainerSpec) -> Checked {
        let mut found = Checked::default();
        check_nodes(spec, &nodes(), &mut found);
        found
    }

    #[test]
    fn a_digest_is_sent_only_where_a_registry_has_it() {
        let digest = |more: serde_json::Value| {
            let mut whole = json!({"RepoDigests": ["other@sha256:0", "busybox@sha256:1"]});
            whole
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let image: LocalImage = serde_json::from_value(whole).unwrap();
            image.digest(&"busybox:1".parse().unwrap())
        };
        let known = Some("sha256:1".to_owned());
        assert_eq!(
            digest(json!({})),
            known,
            "other stores name none for what came from no registry"
        );
        let store = json!({"Descriptor": {"digest": "sha256:1"}});
        assert_eq!(digest(store), None);
        let of = |identity| digest(json!({"Descriptor": {}, "Identity": identity}));
        assert_eq!(of(json!({"Build": [{"Ref": "x"}]})), None);
        assert_eq!(
            of(json!({"Pull": [{"Repository": "docker.io/library/busybox"}]})),
            known
        );
    }

    #[test]
    fn a_constraint_is_met_by_nodes_that_take_tasks() {
        let met = checked(&spec(&["node.labels.disk==ssd", "node.platform.arch==amd64"]));
        assert_eq!(met.unplaced, None);
        assert_eq!(
            met.met,
            ["`node.labels.disk==ssd` and `node.platform.arch==amd64` met by 1 of 2 nodes"]
        );
        let unmet = checked(&spec(&["node.hostname==west"]));
        let why = "no node that takes tasks meets `node.hostname==west`";
        assert_eq!(unmet.unplaced.as_deref(), Some(why));
    }

    #[test]
    fn what_no_node_has_room_for_is_known() {
        let mut large = spec(&[]);
        large.placement.reservations.memory_bytes = Some(1_000_001);
        assert!(checked(&large).unplaced.is_some());
        large.placement.reservations.memory_bytes = Some(1_000_000);
        assert_eq!(checked(&large).unplaced, None);
    }

    #[test]
    fn a_network_must_reach_every_node() {
        let networks = [("shop_default", "swarm"), ("old", "local")].map(|(name, scope)| Network {
            name: name.to_owned(),
            scope: scope.to_owned(),
        });
        let of = |name: &str| {
            let mut spec = spec(&[]);
            spec.networks = vec![crate::model::NetworkAttachment {
                name: name.to_owned(),
                aliases: Vec::new(),
                ipv4_address: None,
                ipv6_address: None,
            }];
            let mut found = Checked::default();
            check_networks(&spec, &networks, &mut found);
            found
        };
        assert_eq!(of("shop_default").met, ["network shop_default"]);
        assert!(of("old").missing.unwrap().contains("this node's alone"));
        assert!(of("none").missing.unwrap().contains("--driver overlay none"));
    }
}
