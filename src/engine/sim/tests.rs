//! The facts of a real engine, one by one, on the simulated one. What was measured on Docker
//! 20.10 is what is asserted here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex as StdMutex;

use futures_util::{FutureExt, StreamExt};
use jiff::SignedDuration;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::engine::{ContainerState, EventAction, LogStream};
use crate::model::{ContainerSpec, ContainerStatus, Logging, Mount, MountKind, NetworkAttachment, Text};

const SECOND: Duration = Duration::from_secs(1);

/// A simulated host in its own time.
struct World {
    clock: ManualClock,
    engine: SimEngine,
}

fn world() -> World {
    let clock = ManualClock::new("2026-11-23T01:30:00Z".parse().unwrap());
    let (wall, running) = (clock.clone(), clock.clone());
    let engine = SimEngine::with_clocks(move || wall.now(), move || running.monotonic());
    let (next, tick) = (engine.clone(), engine.clone());
    clock.follow(move || next.next_change(), move || tick.tick());
    engine.add_image(&image("busybox"), SimImage::default());
    World { clock, engine }
}

fn image(reference: &str) -> ImageRef {
    reference.parse().unwrap()
}

fn request(name: &str, command: &[&str]) -> CreateRequest {
    let mut spec = ContainerSpec::of_image(image("busybox"));
    spec.command = Some(command.iter().map(|word| Text::plain(*word)).collect());
    CreateRequest {
        name: Some(name.parse().unwrap()),
        spec,
        labels: BTreeMap::from([("instance".to_owned(), "default".to_owned())]),
        environment: [
            ("JOB", "shop.x"),
            ("SLOT", "2026-11-23T01:30:00Z"),
            ("ATTEMPT", "1"),
        ]
        .map(|(key, value)| (format!("SCHEDULER_{key}"), value.to_owned()))
        .into(),
        attach: false,
    }
}

impl World {
    async fn create(&self, name: &str, command: &[&str]) -> String {
        self.engine.create(&request(name, command)).await.unwrap().id
    }

    async fn started(&self, name: &str, command: &[&str]) -> String {
        let id = self.create(name, command).await;
        self.engine.start(&id).await.unwrap();
        id
    }

    async fn see(&self, id: &str) -> ContainerState {
        self.engine.inspect(id).await.unwrap().unwrap()
    }

    fn pass(&self, seconds: u32) {
        self.clock.advance(SECOND * seconds);
    }

    async fn events(&self) -> BoxStream<'static, Result<EngineEvent>> {
        self.engine.events(label(), None, None).await.unwrap()
    }
}

fn label() -> (String, String) {
    ("instance".to_owned(), "default".to_owned())
}

fn status_of(result: Result<impl Sized>) -> u16 {
    match result {
        Err(EngineError::Refused { status, .. }) => status,
        Err(other) => panic!("{other}"),
        Ok(_) => 200,
    }
}

/// Actions that have arrived on a stream so far.
fn arrived(stream: &mut BoxStream<'static, Result<EngineEvent>>) -> Vec<String> {
    let mut actions = Vec::new();
    while let Some(Some(event)) = stream.next().now_or_never() {
        actions.push(event.map_or_else(|why| why.to_string(), |event| format!("{:?}", event.action)));
    }
    actions
}

async fn text(engine: &SimEngine, id: &str, options: LogOptions) -> String {
    let stream = engine.logs(id, &options).await.unwrap();
    let chunks: Vec<_> = stream.map(|chunk| chunk.unwrap().bytes).collect().await;
    String::from_utf8(chunks.concat()).unwrap()
}

#[tokio::test]
async fn a_container_runs_in_simulated_time_and_keeps_its_result() {
    let world = world();
    let id = world
        .create("shop.x.1", &["sh", "-c", "echo hi; sleep 2; exit 3"])
        .await;
    assert_eq!(id.len(), 64);
    assert!(world.see("shop.x.1").await.is_pristine());
    assert_eq!(world.see(&id[..12]).await.log_path, "");

    world.engine.start(&id).await.unwrap();
    world.pass(1);
    let running = world.see(&id).await;
    assert_eq!(running.status, ContainerStatus::Running);
    assert_eq!(running.started_at.unwrap().to_string(), "2026-11-23T01:30:00Z");
    assert!(running.log_path.ends_with("-json.log"));
    assert_eq!(running.finished_at, None);

    world.pass(60);
    let ended = world.see(&id).await;
    assert_eq!((ended.status, ended.exit_code), (ContainerStatus::Exited, 3));
    assert_eq!(ended.finished_at.unwrap().to_string(), "2026-11-23T01:30:02Z");
    let witness = world.engine.witness();
    assert_eq!(witness.len(), 1);
    assert_eq!((witness[0].job.as_str(), witness[0].attempt), ("shop.x", 1));
    assert_eq!(witness[0].ended_at, ended.finished_at);
}
