//! What a container and a Swarm's service have alike, in the words of Docker's API.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    HealthConfig, Mount as EngineMount, MountTmpfsOptions, MountType, MountVolumeOptions, ResourcesUlimits,
};

use super::{EngineError, Result};
use crate::model::{Healthcheck, Mount, MountKind, Text, Ulimit};

/// Variables as an engine takes them: what is declared, and `own` over it. A name alone takes away what the image, or the container that a
/// command runs in, has under it.
pub(crate) fn environment(
    declared: &BTreeMap<String, Option<Text>>,
    own: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut all: BTreeMap<&str, Option<&str>> = declared
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_ref().map(Text::expose)))
        .collect();
    all.extend(
        own.iter()
            .map(|(key, value)| (key.as_str(), Some(value.as_str()))),
    );
    all.into_iter()
        .map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.to_owned(),
        })
        .collect()
}

/// The declared ones, and our own over them.
pub(super) fn labels(
    declared: &BTreeMap<String, Text>,
    own: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    let declared = declared
        .iter()
        .map(|(key, value)| (key.clone(), value.expose().to_owned()));
    let own = own.iter().map(|(key, value)| (key.clone(), value.clone()));
    declared.chain(own).collect()
}

/// A bind mount with neither option: whether its source is made where it is missing differs.
pub(super) fn mount(mount: &Mount) -> Result<EngineMount> {
    let Mount {
        kind,
        target,
        read_only,
    } = mount;
    let lowered = match kind {
        MountKind::Bind {
            source,
            create_host_path: _,
        } => EngineMount {
            typ: Some(MountType::BIND),
            source: Some(utf8(source)?.to_owned()),
            ..EngineMount::default()
        },
        MountKind::Volume {
            name,
            external: _, // Whether it exists is a check before; the engine would create it.
            nocopy,
        } => EngineMount {
            typ: Some(MountType::VOLUME),
            source: name.clone(),
            volume_options: nocopy.then(|| MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..EngineMount::default()
        },
        MountKind::Tmpfs { size_bytes, mode } => EngineMount {
            typ: Some(MountType::TMPFS),
            tmpfs_options: (size_bytes.is_some() || mode.is_some())
                .then(|| {
                    Ok::<_, EngineError>(MountTmpfsOptions {
                        size_bytes: signed("tmpfs size", *size_bytes)?,
                        mode: mode.map(i64::from),
                        ..MountTmpfsOptions::default()
                    })
                })
                .transpose()?,
            ..EngineMount::default()
        },
    };
    Ok(EngineMount {
        target: Some(target.clone()),
        read_only: read_only.then_some(true),
        ..lowered
    })
}

pub(super) fn healthcheck(check: &Healthcheck) -> HealthConfig {
    let Healthcheck {
        test,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    } = check;
    HealthConfig {
        test: test.as_deref().map(exposed),
        interval: nanos(*interval),
        timeout: nanos(*timeout),
        retries: retries.map(i64::from),
        start_period: nanos(*start_period),
        start_interval: nanos(*start_interval),
    }
}

pub(super) fn ulimit((name, limit): (&String, &Ulimit)) -> ResourcesUlimits {
    let Ulimit { soft, hard } = limit;
    ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(*soft),
        hard: Some(*hard),
    }
}

pub(super) fn exposed(words: &[Text]) -> Vec<String> {
    words.iter().map(|word| word.expose().to_owned()).collect()
}

/// Docker tells "not given" from "given, empty" for few fields; an empty list is never meant here.
pub(super) fn some<C: IntoIterator>(collection: C) -> Option<C>
where
    for<'a> &'a C: IntoIterator,
{
    let empty = (&collection).into_iter().next().is_none();
    (!empty).then_some(collection)
}

pub(super) fn signed(key: &str, value: Option<u64>) -> Result<Option<i64>> {
    value
        .map(|value| {
            i64::try_from(value)
                .map_err(|_| EngineError::Invalid(format!("`{key}: {value}` is out of range")))
        })
        .transpose()
}

pub(super) fn utf8(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| EngineError::Invalid(format!("the path `{}` is not UTF-8", path.display())))
}

fn nanos(time: Option<Duration>) -> Option<i64> {
    time.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
