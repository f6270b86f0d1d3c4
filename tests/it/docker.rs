//! The Docker engine over a real dockerd: the suite that every engine passes, and what only a real
//! one can show.

use docker_scheduler::engine::docker::DockerEngine;
use docker_scheduler::engine::{EngineKind, Observe};

use crate::conformance::{self, World};
use crate::rig::{self, Rig};

async fn connect(rig: &Rig) -> DockerEngine {
    DockerEngine::connect(&rig.endpoint()).await.expect("connect")
}

#[tokio::test]
async fn conforms() {
    let rig = Rig::shared();
    let engine = connect(rig).await;
    let world = World {
        prefix: "suite".to_owned(),
        image: rig::image(),
        volume_image: Some(rig::VOLUME_IMAGE.parse().expect("a valid reference")),
        network: rig.create_network("suite"),
    };
    conformance::suite(&engine, &world).await;
}

#[tokio::test]
async fn says_what_it_is() {
    let rig = Rig::shared();
    let engine = connect(rig).await;
    let info = engine.info().await.expect("info");
    assert_eq!(info.kind, EngineKind::Docker);
    assert!(info.name.starts_with("docker "), "{info:?}");
    assert!(
        info.version.starts_with(info.name.trim_start_matches("docker ")),
        "{info:?}"
    );
    assert!(
        info.identity.ends_with(&rig.data_root().display().to_string()),
        "{info:?}"
    );
    assert!(info.system_time.is_some());
    assert_eq!(info.default_log_driver, "json-file");
    assert_eq!(engine.host(), rig.host());
    let peer = engine.peer().await.expect("a local engine's process");
    assert_eq!(peer.pid, rig.dockerd_pid());
}
