//! What a container sees at a path: claims, folders of the node, memory, secrets and configs.

use serde_json::{Map, Value, json};

use crate::model::{ContainerSpec, Job, JobFile, JobName, Mount, MountKind, Tmpfs};

use super::contents::{is_secret, mode_of};
use super::pod::quantity;
use super::{dns, object_name};

/// Volumes of the pod, and where they are mounted.
#[derive(Default)]
pub(super) struct Volumes {
    pub volumes: Vec<Value>,
    pub mounts: Vec<Value>,
}

impl Volumes {
    /// A volume that is mounted once.
    fn add(&mut self, source: Value, target: &str, read_only: bool) {
        let name = format!("volume-{}", self.mounts.len() + 1);
        self.declare(&name, source);
        self.mount(&name, target, read_only, None);
    }

    fn declare(&mut self, name: &str, source: Value) {
        let mut volume = Map::new();
        volume.insert("name".into(), json!(name));
        if let Value::Object(source) = source {
            volume.extend(source);
        }
        self.volumes.push(Value::Object(volume));
    }

    fn mount(&mut self, name: &str, target: &str, read_only: bool, sub_path: Option<&str>) {
        let mut mount = Map::new();
        mount.insert("name".into(), json!(name));
        mount.insert("mountPath".into(), json!(target));
        if read_only {
            mount.insert("readOnly".into(), json!(true));
        }
        if let Some(path) = sub_path {
            mount.insert("subPath".into(), json!(path));
        }
        self.mounts.push(Value::Object(mount));
    }
}

/// The claims that a job mounts, which must be there.
#[must_use]
pub fn claims_of(job: &Job) -> Vec<String> {
    let mut found: Vec<String> = job.container.mounts.iter().filter_map(claim_of).collect();
    found.sort();
    found.dedup();
    found
}

fn claim_of(mount: &Mount) -> Option<String> {
    match &mount.kind {
        MountKind::Volume { name, .. } => name.as_deref().map(dns),
        MountKind::Bind { .. } | MountKind::Tmpfs { .. } => None,
    }
}

pub(super) fn volumes(spec: &ContainerSpec, job: &JobName) -> Volumes {
    let mut out = Volumes::default();
    let mut claims: Vec<String> = Vec::new();
    for mount in &spec.mounts {
        let Mount {
            kind,
            target,
            read_only,
        } = mount;
        match kind {
            MountKind::Bind {
                source,
                create_host_path: _,
            } => {
                // Without the word for it, the check refuses it.
                if spec.kubernetes.host_path {
                    out.add(json!({"hostPath": {"path": source}}), target, *read_only);
                }
            }
            MountKind::Volume { .. } => match claim_of(mount) {
                None => out.add(json!({"emptyDir": {}}), target, *read_only),
                Some(claim) => {
                    // One claim is one volume of the pod, however often it is mounted.
                    let known = claims.iter().position(|known| *known == claim);
                    let name = format!("claim-{}", known.unwrap_or(claims.len()) + 1);
                    if known.is_none() {
                        out.declare(&name, json!({"persistentVolumeClaim": {"claimName": claim}}));
                        claims.push(claim);
                    }
                    out.mount(&name, target, *read_only, None);
                }
            },
            MountKind::Tmpfs { size_bytes, mode: _ } => out.add(memory(*size_bytes), target, *read_only),
        }
    }
    for tmpfs in &spec.tmpfs {
        let size = tmpfs.size_and_mode().and_then(|(size, _)| size);
        out.add(memory(size), &tmpfs.target, false);
    }
    let has_own = |target: &str| spec.tmpfs.iter().any(|Tmpfs { target: own, .. }| own == target);
    if let Some(size) = spec.resources.shm_size_bytes.filter(|_| !has_own("/dev/shm")) {
        out.add(memory(Some(size)), "/dev/shm", false);
    }
    let (secrets, configs): (Vec<&JobFile>, Vec<&JobFile>) =
        spec.files.iter().partition(|file| is_secret(file));
    let base = object_name(job);
    files(
        &mut out,
        "secrets",
        &secrets,
        |items| json!({"secret": {"secretName": format!("{base}-secrets"), "items": items}}),
    );
    files(
        &mut out,
        "configs",
        &configs,
        |items| json!({"configMap": {"name": format!("{base}-configs"), "items": items}}),
    );
    out
}

/// Each file alone at its path: what else lies in that folder of the image stays.
fn files(out: &mut Volumes, name: &str, files: &[&JobFile], source: impl FnOnce(Vec<Value>) -> Value) {
    if files.is_empty() {
        return;
    }
    let mut paths: Vec<String> = Vec::new();
    let mut items = Vec::new();
    for file in files {
        // The same one may be wanted twice, with other permissions.
        let mut path = file.name.clone();
        while paths.contains(&path) {
            path.push('~');
        }
        items.push(json!({"key": file.name, "path": path, "mode": mode_of(file)}));
        out.mount(name, &file.target, true, Some(&path));
        paths.push(path);
    }
    out.declare(name, source(items));
}

fn memory(size: Option<u64>) -> Value {
    match size {
        Some(size) => json!({"emptyDir": {"medium": "Memory", "sizeLimit": quantity(size)}}),
        None => json!({"emptyDir": {"medium": "Memory"}}),
    }
}
