//! The simulated engine passes the suite that the real one passes.

use std::time::Duration;

use docker_scheduler::clock::{Clock, SystemClock};
use docker_scheduler::engine::sim::{SimEngine, SimImage};

use crate::conformance::{self, World};

/// In real time, since the suite waits in real time.
#[tokio::test]
async fn conforms() {
    let engine = SimEngine::with_clocks(|| SystemClock.now(), || SystemClock.monotonic());
    let image = "busybox:1".parse().expect("a valid reference");
    let volume_image = "volume:1".parse().expect("a valid reference");
    engine.add_image(&image, SimImage::default());
    let mut content = SimImage {
        volumes: vec!["/data".to_owned()],
        ..SimImage::default()
    };
    content
        .environment
        .insert("OF_IMAGE".to_owned(), "set".to_owned());
    engine.add_image(&volume_image, content);
    engine.network_create("suite");

    let ticked = engine.clone();
    let ticker = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            ticked.tick();
        }
    });
    let world = World {
        prefix: "suite".to_owned(),
        image,
        volume_image: Some(volume_image),
        network: "suite".to_owned(),
    };
    conformance::suite(&engine, &world).await;
    conformance::at_once(&engine.swarm(), &world).await;
    ticker.abort();
}
