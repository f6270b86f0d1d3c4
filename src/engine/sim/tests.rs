//! The facts of a real engine, one by one, on the simulated one. What was measured on Docker
//! 20.10 is what is asserted here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex as StdMutex;

use futures_util::{FutureExt, StreamExt};
use jiff::SignedDuration;

use super::*;
use crate::engine::{ContainerState, EventAction, LogStream};
use crate::model::{ContainerSpec, ContainerStatus, Logging, Mount, MountKind, NetworkAttachment, Text};

const SECOND: Duration = Duration::from_secs(1);

/// A simulated host in its own time.
struct World {
    time: Arc<StdMutex<Moment>>,
    engine: SimEngine,
}

fn world() -> World {
    let wall = "2026-11-23T01:30:00Z".parse().unwrap();
    let time = Arc::new(StdMutex::new(Moment {
        wall,
        running: Duration::ZERO,
    }));
    let (wall, running) = (time.clone(), time.clone());
    let engine = SimEngine::with_clocks(
        move || wall.lock().unwrap().wall,
        move || running.lock().unwrap().running,
    );
    engine.add_image(&image("busybox"), SimImage::default());
    World { time, engine }
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
        reserved: false,
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
        let mut time = self.time.lock().unwrap();
        *time = time.later(SECOND * seconds);
        drop(time);
        self.engine.tick();
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

// ---- create ----

#[tokio::test]
async fn a_name_is_a_lock_for_create() {
    let world = world();
    let id = world.create("shop.x.1", &["true"]).await;
    let second = world.engine.create(&request("shop.x.1", &["true"])).await;
    assert_eq!(status_of(second), 409);
    assert_eq!(world.engine.remove(&id, true).await, Ok(Removal::Removed));
    assert_eq!(world.engine.remove(&id, true).await, Ok(Removal::Gone));
    let again = world.create("shop.x.1", &["true"]).await;
    assert_ne!(id, again);
}

fn fail_the_next_create_late(world: &World) {
    world.engine.inject(Fault::Nth {
        kind: RequestKind::Create,
        nth: 1,
        verdict: Verdict::FailLate {
            holds: 15 * SECOND,
            status: 404,
            message: "volume plugin not found".to_owned(),
        },
    });
}

#[tokio::test]
async fn a_create_that_fails_late_held_its_name_and_leaves_nothing() {
    let world = world();
    let asked = request("shop.x.1", &["true"]);
    fail_the_next_create_late(&world);
    let mut late = Box::pin(world.engine.create(&asked));
    assert!(late.as_mut().now_or_never().is_none());
    assert_eq!(status_of(world.engine.create(&asked).await), 409);
    assert_eq!(world.engine.inspect("shop.x.1").await, Ok(None));
    world.pass(15);
    assert_eq!(status_of(late.now_or_never().unwrap()), 404);
    world.create("shop.x.1", &["true"]).await;
}

#[tokio::test]
async fn a_create_under_way_dies_with_the_daemon() {
    let world = world();
    let asked = request("shop.x.1", &["true"]);
    fail_the_next_create_late(&world);
    let mut late = Box::pin(world.engine.create(&asked));
    assert!(late.as_mut().now_or_never().is_none());
    world.engine.restart();
    assert!(matches!(
        late.now_or_never().unwrap(),
        Err(EngineError::Unanswered { .. })
    ));
    world.create("shop.x.1", &["true"]).await;
    world.pass(15);
    assert!(world.engine.inspect("shop.x.1").await.unwrap().is_some());
}

#[tokio::test]
async fn a_missing_log_driver_blocks_its_caller_but_not_the_name() {
    let world = world();
    let mut bad = request("shop.x.1", &["true"]);
    bad.spec.logging = Some(Logging {
        driver: "nope".to_owned(),
        options: BTreeMap::new(),
    });
    let mut late = Box::pin(world.engine.create(&bad));
    assert!(late.as_mut().now_or_never().is_none());
    world.create("shop.x.1", &["true"]).await;
    world.pass(15);
    assert_eq!(status_of(late.now_or_never().unwrap()), 400);
}

#[tokio::test]
async fn a_missing_image_or_bind_source_fails_at_create_before_the_name() {
    let world = world();
    world.create("taken", &["true"]).await;
    let mut request = request("taken", &["true"]);
    request.spec.image = image("nope:1");
    assert_eq!(status_of(world.engine.create(&request).await), 404);

    let bind = |create_host_path| Mount {
        kind: MountKind::Bind {
            source: "/data/in".into(),
            create_host_path,
        },
        target: "/in".to_owned(),
        read_only: true,
    };
    request.spec.mounts = vec![bind(false)];
    assert_eq!(status_of(world.engine.create(&request).await), 400);

    request.spec.image = image("busybox");
    request.name = None;
    request.spec.mounts = vec![bind(true)];
    let id = world.engine.create(&request).await.unwrap().id;
    assert!(world.engine.stat_path(&id, "/in").await.unwrap().unwrap().is_dir);
    world.engine.host_path_rm(Path::new("/data"));
    assert_eq!(world.engine.stat_path(&id, "/").await, Ok(None));
    assert_eq!(status_of(world.engine.start(&id).await), 400);
    assert!(
        world.see(&id).await.is_pristine(),
        "such a failure leaves no trace"
    );
}

#[tokio::test]
async fn anonymous_volumes_go_with_v_and_stay_without() {
    let world = world();
    let content = SimImage {
        volumes: vec!["/data".to_owned()],
        ..SimImage::default()
    };
    world.engine.add_image(&image("busybox"), content);
    for (volumes, left) in [(true, 0), (false, 1)] {
        let id = world.create("shop.x.1", &["true"]).await;
        assert_eq!(world.engine.volumes().await.unwrap().len(), 1);
        world.engine.remove(&id, volumes).await.unwrap();
        assert_eq!(world.engine.volumes().await.unwrap().len(), left);
    }
}

// ---- start ----

#[tokio::test]
async fn a_start_of_an_exited_container_runs_the_job_again() {
    let world = world();
    let id = world.started("shop.x.1", &["sleep", "5"]).await;
    world.engine.start(&id).await.unwrap();
    assert_eq!(world.engine.witness().len(), 1, "a running one is left alone");
    world.pass(10);
    let first = world.see(&id).await;
    world.engine.start(&id).await.unwrap();
    assert_eq!(world.engine.witness().len(), 2);
    let second = world.see(&id).await;
    assert_eq!(second.status, ContainerStatus::Running);
    assert_eq!(second.finished_at, first.finished_at, "of the run before");
    assert_eq!(world.engine.start_requests()[&id], 3);
}

#[tokio::test]
async fn a_missing_network_or_command_fails_at_start() {
    let world = world();
    let mut request = request("shop.x.1", &["true"]);
    request.spec.networks = vec![NetworkAttachment {
        name: "shop_default".to_owned(),
        aliases: Vec::new(),
        ipv4_address: None,
        ipv6_address: None,
    }];
    let id = world.engine.create(&request).await.unwrap().id;
    assert_eq!(status_of(world.engine.start(&id).await), 404);
    let failed = world.see(&id).await;
    assert_eq!((failed.status, failed.exit_code), (ContainerStatus::Created, 128));
    assert_eq!(failed.error, "network shop_default not found");
    assert_eq!((failed.started_at, failed.finished_at), (None, None));
    world.engine.network_create("shop_default");
    world.engine.start(&id).await.unwrap();
    assert_eq!(world.see(&id).await.error, "");

    let id = world.create("shop.x.2", &["nope"]).await;
    assert_eq!(world.engine.stat_path(&id, "/bin/nope").await, Ok(None));
    assert!(world.engine.stat_path(&id, "/bin/sleep").await.unwrap().is_some());
    assert_eq!(status_of(world.engine.start(&id).await), 400);
    let failed = world.see(&id).await;
    assert_eq!(
        (failed.status.clone(), failed.exit_code),
        (ContainerStatus::Created, 127)
    );
    assert!(failed.error.contains("executable file not found"));
    assert!(!failed.is_pristine() && !failed.log_path.is_empty());
    assert_eq!(world.engine.witness().len(), 1);
}

// ---- stop, kill, remove ----

#[tokio::test]
async fn stop_waits_for_the_end_and_kills_after_the_grace_period() {
    let world = world();
    let id = world.started("shop.x.1", &["sleep", "60"]).await;
    world.engine.stop(&id, None).await.unwrap();
    assert_eq!(world.see(&id).await.exit_code, 143);
    assert_eq!(world.engine.stop(&id, None).await, Ok(()));

    let id = world.started("shop.x.2", &["stubborn", "60"]).await;
    let mut stop = Box::pin(world.engine.stop(&id, Some(5 * SECOND)));
    assert!(stop.as_mut().now_or_never().is_none());
    world.pass(4);
    assert!(stop.as_mut().now_or_never().is_none());
    world.pass(1);
    assert_eq!(stop.now_or_never().unwrap(), Ok(()));
    assert_eq!(world.see(&id).await.exit_code, 137);

    let script = "trap 'exit 0' TERM; sleep 60";
    let id = world.started("shop.x.3", &["sh", "-c", script]).await;
    world.engine.stop(&id, None).await.unwrap();
    assert_eq!(world.see(&id).await.exit_code, 0);

    let mut request = request("shop.x.4", &["sleep", "60"]);
    request.spec.stop_signal = Some("SIGINT".to_owned());
    let id = world.engine.create(&request).await.unwrap().id;
    world.engine.start(&id).await.unwrap();
    world.engine.stop(&id, None).await.unwrap();
    assert_eq!(world.see(&id).await.exit_code, 130);
}

#[tokio::test]
async fn a_running_container_is_not_removed_and_a_kill_ends_it() {
    let world = world();
    let id = world.started("shop.x.1", &["stubborn", "60"]).await;
    assert_eq!(status_of(world.engine.remove(&id, true).await), 409);
    world.engine.kill(&id).await.unwrap();
    assert_eq!(world.see(&id).await.exit_code, 137);
    assert_eq!(world.engine.kill(&id).await, Ok(()));
    assert_eq!(world.engine.remove(&id, true).await, Ok(Removal::Removed));
    assert_eq!(world.engine.kill(&id).await, Ok(()));
}

#[tokio::test]
async fn stuck_containers_and_processes_stay_stuck() {
    let world = world();
    let id = world.started("shop.x.1", &["true"]).await;
    world.engine.stick("shop.x.1", Some(ContainerStatus::Removing));
    assert_eq!(world.see(&id).await.status, ContainerStatus::Removing);
    assert_eq!(status_of(world.engine.remove(&id, true).await), 409);
    assert_eq!(status_of(world.engine.start(&id).await), 409);
    world.engine.stick("shop.x.1", None);
    assert_eq!(world.engine.remove(&id, true).await, Ok(Removal::Removed));

    let id = world.started("shop.x.2", &["sleep", "infinity"]).await;
    world.engine.unkillable(&id, true);
    world.engine.kill(&id).await.unwrap();
    assert_eq!(world.see(&id).await.status, ContainerStatus::Running);
}

#[tokio::test]
async fn too_much_memory_is_flagged() {
    let world = world();
    let id = world.started("shop.x.1", &["oom", "3"]).await;
    world.pass(3);
    let ended = world.see(&id).await;
    assert_eq!((ended.exit_code, ended.oom_killed), (137, true));
}

// ---- logs ----

#[tokio::test]
async fn logs_can_be_cut_followed_and_stamped() {
    let world = world();
    let script = "echo one; sleep 1; echo two; echo oops >&2; sleep 1; echo three";
    let id = world.create("shop.x.1", &["sh", "-c", script]).await;
    let attached = world.engine.attach(&id).await.unwrap();
    world.engine.start(&id).await.unwrap();
    assert_eq!(text(&world.engine, &id, LogOptions::default()).await, "one\n");
    let follow = LogOptions {
        follow: true,
        tail: Some(0),
        ..LogOptions::default()
    };
    let followed = world.engine.logs(&id, &follow).await.unwrap();
    let reader = tokio::spawn(followed.collect::<Vec<_>>());
    tokio::task::yield_now().await;
    world.pass(1);
    tokio::task::yield_now().await;
    world.pass(1);
    let followed = reader.await.unwrap();
    let followed: Vec<_> = followed.into_iter().map(|chunk| chunk.unwrap()).collect();
    assert_eq!(followed[1].stream, LogStream::Stderr);
    assert_eq!(followed.last().unwrap().bytes, "three\n");
    assert_eq!(attached.count().await, 4);

    let stamped = LogOptions {
        timestamps: true,
        tail: Some(1),
        ..LogOptions::default()
    };
    let last = text(&world.engine, &id, stamped).await;
    assert_eq!(last, "2026-11-23T01:30:02.000000000Z three\n");
    let since = LogOptions {
        since: Some("2026-11-23T01:30:01Z".parse().unwrap()),
        until: Some("2026-11-23T01:30:01Z".parse().unwrap()),
        ..LogOptions::default()
    };
    assert_eq!(text(&world.engine, &id, since).await, "two\noops\n");
}

#[tokio::test]
async fn a_driver_without_a_file_shows_no_path_and_no_log() {
    let world = world();
    for (driver, readable) in [("local", 200), ("none", 501)] {
        let mut request = request(driver, &["echo", "hi"]);
        request.spec.logging = Some(Logging {
            driver: driver.to_owned(),
            options: BTreeMap::new(),
        });
        let id = world.engine.create(&request).await.unwrap().id;
        world.engine.start(&id).await.unwrap();
        assert_eq!(world.see(&id).await.log_path, "");
        let read = world.engine.logs(&id, &LogOptions::default()).await;
        assert_eq!(status_of(read), readable);
    }
}

// ---- events ----

#[tokio::test]
async fn a_life_is_told_in_events_and_a_mark_is_one_of_them() {
    let world = world();
    let mut events = world.events().await;
    let id = world.create("shop.x.1", &["sleep", "1"]).await;
    assert_eq!(world.engine.mark(&id).await, Ok(true));
    assert!(world.see(&id).await.is_pristine());
    world.engine.start(&id).await.unwrap();
    world.pass(1);
    world.engine.remove(&id, true).await.unwrap();
    assert_eq!(
        arrived(&mut events),
        ["Create", "Update", "Start", "Die", "Destroy"]
    );

    let since = "2026-11-23T01:30:01Z".parse().unwrap();
    let now = world.time.lock().unwrap().wall;
    let remembered = world
        .engine
        .events(label(), Some(since), Some(now))
        .await
        .unwrap();
    let remembered: Vec<_> = remembered.map(|event| event.unwrap().action).collect().await;
    assert_eq!(remembered, [EventAction::Die, EventAction::Destroy]);
    let other = ("instance".to_owned(), "other".to_owned());
    let others = world.engine.events(other, Some(since), Some(now)).await.unwrap();
    assert_eq!(others.count().await, 0);
}

#[tokio::test]
async fn the_daemon_remembers_256_events_and_none_over_a_restart() {
    let world = world();
    let marks = async |world: &World| {
        let now = world.time.lock().unwrap().wall;
        let stream = world.engine.events(label(), Some(Timestamp::MIN), Some(now));
        stream.await.unwrap().count().await
    };
    let id = world.create("shop.x.1", &["true"]).await;
    world.engine.mark(&id).await.unwrap();
    world.engine.noise(254);
    assert_eq!(marks(&world).await, 2);
    world.engine.noise(1);
    assert_eq!(marks(&world).await, 1);
    world.engine.mark(&id).await.unwrap();
    world.engine.restart();
    assert_eq!(marks(&world).await, 0);
}

#[tokio::test]
async fn events_can_be_lost_doubled_swapped_and_cut_off() {
    let world = world();
    let mut events = world.events().await;
    let fault = |how| world.engine.inject(Fault::Events { next: 1, how });
    fault(EventFault::Lost);
    fault(EventFault::Doubled);
    fault(EventFault::Swapped);
    let id = world.create("shop.x.1", &["true"]).await;
    world.engine.mark(&id).await.unwrap();
    world.engine.start(&id).await.unwrap();
    assert_eq!(arrived(&mut events), ["Update", "Update", "Die", "Start"]);
    world.engine.cut_streams();
    assert_eq!(arrived(&mut events).len(), 1);
    assert_eq!(events.next().await, None);
}

// ---- the daemon's deaths ----

#[tokio::test]
async fn a_daemon_killed_inside_a_start_hides_a_process_that_runs_on() {
    let world = world();
    let id = world.create("shop.x.1", &["sleep", "60"]).await;
    let peer = world.engine.peer().await;
    world.engine.inject(Fault::Nth {
        kind: RequestKind::Start,
        nth: 1,
        verdict: Verdict::Crash(CrashPoint::Hidden),
    });
    let lost = world.engine.start(&id).await;
    assert!(matches!(lost, Err(EngineError::Unanswered { .. })));
    assert!(world.engine.inspect(&id).await.unwrap_err().is_unreachable());
    assert_eq!(world.engine.peer().await, None);
    world.engine.restart();
    assert_ne!(world.engine.peer().await, peer);

    let hidden = world.see(&id).await;
    assert_eq!(hidden.status, ContainerStatus::Created);
    assert_eq!((hidden.started_at, hidden.error.as_str()), (None, ""));
    assert!(!hidden.log_path.is_empty());
    assert_eq!(world.engine.processes(), 1);
    assert_eq!(status_of(world.engine.kill(&id).await), 409);
    assert_eq!(world.engine.stop(&id, None).await, Ok(()));
    assert_eq!(world.engine.processes(), 1);

    let mut events = world.events().await;
    world.engine.start(&id).await.unwrap();
    assert_eq!(
        world.engine.witness().len(),
        2,
        "a second start runs the job again"
    );
    world.engine.kill(&id).await.unwrap();
    assert_eq!(world.engine.remove(&id, true).await, Ok(Removal::Removed));
    assert_eq!(world.engine.processes(), 1, "a DELETE does not end it");
    world.pass(60);
    assert_eq!(world.engine.processes(), 0);
    assert!(arrived(&mut events).contains(&"Destroy".to_owned()));
    let first = &world.engine.witness()[0];
    assert_eq!(first.ended_at.unwrap().to_string(), "2026-11-23T01:31:00Z");
}

#[tokio::test]
async fn the_end_of_a_hidden_process_is_told_by_an_event_alone() {
    let world = world();
    let id = world.create("shop.x.1", &["sleep", "60"]).await;
    world.engine.inject(Fault::Nth {
        kind: RequestKind::Start,
        nth: 1,
        verdict: Verdict::Crash(CrashPoint::Hidden),
    });
    world.engine.start(&id).await.unwrap_err();
    world.engine.restart();
    let mut events = world.events().await;
    world.pass(60);
    assert_eq!(arrived(&mut events), [r#"Other("exec_die")"#]);
    assert_eq!(world.see(&id).await.finished_at, None);
}

#[tokio::test]
async fn other_deaths_around_a_start_leave_other_traces() {
    for (point, ran, started, log_path) in [
        (CrashPoint::Before, 0, false, false),
        (CrashPoint::LogOpened, 0, false, true),
        (CrashPoint::After, 1, true, true),
    ] {
        let world = world();
        let id = world.create("shop.x.1", &["sleep", "60"]).await;
        world.engine.inject(Fault::Each {
            kind: RequestKind::Start,
            verdict: Verdict::Crash(point),
        });
        world.engine.start(&id).await.unwrap_err();
        world.engine.restart();
        let seen = world.see(&id).await;
        assert_eq!(world.engine.witness().len(), ran, "{point:?}");
        assert_eq!(seen.started_at.is_some(), started, "{point:?}");
        assert_eq!(!seen.log_path.is_empty(), log_path, "{point:?}");
    }
}

#[tokio::test]
async fn a_restarted_daemon_reports_what_it_can() {
    let killed = (ContainerStatus::Exited, 137);
    let lives = (ContainerStatus::Running, 0);
    for (live_restore, keeps, seen_long, code_short) in [
        (false, false, killed.clone(), 255),
        (false, true, killed, 3),
        (true, false, lives, 3),
    ] {
        let world = world();
        world.engine.set_live_restore(live_restore);
        world.engine.set_keeps_exit_codes(keeps);
        let long = world.started("long", &["sleep", "60"]).await;
        let short = world.started("short", &["sh", "-c", "sleep 2; exit 3"]).await;
        world.engine.crash();
        world.pass(5);
        world.engine.restart();
        let (long, short) = (world.see(&long).await, world.see(&short).await);
        assert_eq!((long.status, long.exit_code), seen_long);
        assert_eq!(
            (short.status, short.exit_code),
            (ContainerStatus::Exited, code_short)
        );
    }
}

#[tokio::test]
async fn a_host_that_lost_power_has_no_processes_and_a_new_boot_id() {
    let world = world();
    let id = world.started("shop.x.1", &["sleep", "60"]).await;
    let boot_id = world.engine.boot_id();
    world.engine.host_reboot();
    assert_ne!(world.engine.boot_id(), boot_id);
    assert_eq!(world.engine.processes(), 0);
    let seen = world.see(&id).await;
    assert_eq!((seen.status, seen.exit_code), (ContainerStatus::Exited, 255));
}

#[tokio::test]
async fn an_orderly_shutdown_stops_containers_and_knows_their_codes() {
    let world = world();
    let id = world
        .started("shop.x.1", &["sh", "-c", "trap 'exit 0' TERM; sleep 60"])
        .await;
    world.engine.shut_down();
    assert!(world.engine.info().await.unwrap_err().is_unreachable());
    world.engine.restart_after(3 * SECOND);
    world.pass(3);
    let seen = world.see(&id).await;
    assert_eq!((seen.status, seen.exit_code), (ContainerStatus::Exited, 0));
}

// ---- requests that go wrong ----

#[tokio::test]
async fn a_request_may_outlive_its_caller() {
    let world = world();
    let id = world.create("shop.x.1", &["true"]).await;
    world.engine.inject(Fault::Nth {
        kind: RequestKind::Start,
        nth: 1,
        verdict: Verdict::Delay(60 * SECOND),
    });
    world.engine.start(&id).await.unwrap_err();
    world.pass(59);
    assert!(world.see(&id).await.is_pristine());
    world.pass(1);
    assert_eq!(world.engine.witness().len(), 1);

    let id = world.create("shop.x.2", &["true"]).await;
    world.engine.inject(Fault::Each {
        kind: RequestKind::Start,
        verdict: Verdict::Delay(60 * SECOND),
    });
    world.engine.start(&id).await.unwrap_err();
    world.engine.restart();
    world.pass(60);
    assert_eq!(world.engine.witness().len(), 1, "it dies with the daemon");
}

#[tokio::test]
async fn verdicts_hit_the_request_they_are_meant_for() {
    let world = world();
    let engine = &world.engine;
    let nth = |nth, verdict| {
        engine.inject(Fault::Nth {
            kind: RequestKind::Create,
            nth,
            verdict,
        });
    };
    nth(1, Verdict::DropReply);
    nth(2, Verdict::NeverSent);
    nth(
        3,
        Verdict::Refuse {
            status: 500,
            message: "disk full".to_owned(),
        },
    );
    nth(4, Verdict::Unreachable);
    for name in ["a", "b", "c", "d", "e"] {
        let _ = engine.create(&request(name, &["true"])).await;
    }
    let names: Vec<_> = engine
        .list_containers(&ContainerFilter {
            all: true,
            label: Some(label()),
        })
        .await
        .unwrap();
    let names: Vec<_> = names.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["a", "e"]);
    assert_eq!(
        engine.writes(),
        [
            "create a ! no reply",
            "create b ! no reply",
            "create c ! 500",
            "create d ! unreachable",
            "create e"
        ]
    );
    assert_eq!(engine.request_count(), 6);
}

#[tokio::test]
async fn a_slow_engine_answers_in_its_time_and_a_hanging_one_not() {
    let world = world();
    let new = world.engine.publish(&image("busybox:2"), SimImage::default());
    world.engine.inject(Fault::Each {
        kind: RequestKind::Pull,
        verdict: Verdict::Slow {
            before: 20 * SECOND,
            after: SECOND,
        },
    });
    let wanted = image("busybox:2");
    let mut pull = Box::pin(world.engine.pull(&wanted, None, &|_| ()));
    assert!(pull.as_mut().now_or_never().is_none());
    assert_eq!(world.engine.image_id(&wanted).await, Ok(None));
    world.pass(20);
    assert!(pull.as_mut().now_or_never().is_none());
    assert_eq!(world.engine.image_id(&wanted).await, Ok(Some(new)));
    world.pass(1);
    assert_eq!(pull.now_or_never().unwrap(), Ok(()));

    world.engine.inject(Fault::Each {
        kind: RequestKind::Inspect,
        verdict: Verdict::Hang(10 * SECOND),
    });
    let mut inspect = Box::pin(world.engine.inspect("shop.x.1"));
    world.pass(9);
    assert!(inspect.as_mut().now_or_never().is_none());
    world.pass(10);
    assert!(matches!(
        inspect.now_or_never().unwrap(),
        Err(EngineError::Unanswered { .. })
    ));
}

#[tokio::test]
async fn a_dead_daemon_answers_nothing_whatever_the_fault() {
    let world = world();
    let id = world.create("shop.x.1", &["true"]).await;
    world.engine.crash();
    for verdict in [
        Verdict::DropReply,
        Verdict::Delay(SECOND),
        Verdict::Hang(SECOND),
        Verdict::Crash(CrashPoint::After),
    ] {
        world.engine.inject(Fault::Nth {
            kind: RequestKind::Start,
            nth: 1,
            verdict,
        });
        assert!(world.engine.start(&id).await.unwrap_err().is_unreachable());
    }
    world.engine.restart();
    world.pass(60);
    assert_eq!(world.engine.witness().len(), 0);
}

#[tokio::test]
async fn podman_differs_where_it_was_measured_to() {
    let world = world();
    world.engine.imitate_podman();
    let id = world.create("shop.x.1", &["true"]).await;
    let again = world.engine.create(&request("shop.x.1", &["true"])).await;
    assert_eq!(status_of(again), 500);
    assert_eq!(world.engine.mark(&id).await, Ok(false));
    assert_ne!(world.see(&id).await.log_path, "", "it says nothing there");
    let mut lost = request("shop.x.2", &["true"]);
    lost.spec.network_mode = Some("nope".to_owned());
    assert_eq!(status_of(world.engine.create(&lost).await), 500);
    world.engine.start(&id).await.unwrap();
    world.engine.restart();
    let now = world.time.lock().unwrap().wall;
    let remembered = world.engine.events(label(), None, Some(now)).await.unwrap();
    assert_eq!(remembered.count().await, 3);
    world.engine.hide_peer(true);
    assert_eq!(world.engine.peer().await, None);
}

#[tokio::test]
async fn a_hook_can_kill_the_caller_at_any_boundary() {
    for delivered in [false, true] {
        let world = world();
        let seen = Arc::new(StdMutex::new(Vec::new()));
        let (list, engine) = (seen.clone(), world.engine.clone());
        world.engine.on_request(Box::new(move |request| {
            list.lock()
                .unwrap()
                .push((request.number, request.client, engine.witness().len()));
            match request.kind {
                RequestKind::Start => Verdict::CallerDies { delivered },
                _ => Verdict::Pass,
            }
        }));
        let second = world.engine.client(2);
        let id = second.create(&request("shop.x.1", &["true"])).await.unwrap().id;
        assert!(second.start(&id).now_or_never().is_none());
        assert_eq!(world.engine.witness().len(), usize::from(delivered));
        assert_eq!(*seen.lock().unwrap(), [(1, 2, 0), (2, 2, 0)]);
        let log = world.engine.writes();
        assert_eq!(log[1], format!("start shop.x.1 ({}) ! caller died", &id[..12]));
    }
}

#[tokio::test]
async fn the_engine_can_be_away_for_a_time_and_lists_can_be_stale() {
    let world = world();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    world.engine.inject(Fault::Away {
        from: at("2026-11-23T01:30:01Z"),
        to: at("2026-11-23T01:30:03Z"),
    });
    let id = world.create("shop.x.1", &["sleep", "60"]).await;
    world.engine.inject(Fault::StaleLists {
        until: at("2026-11-23T01:30:10Z"),
    });
    world.engine.start(&id).await.unwrap();
    world.pass(1);
    assert!(world.engine.inspect(&id).await.unwrap_err().is_unreachable());
    world.pass(2);
    assert_eq!(world.see(&id).await.status, ContainerStatus::Running);
    let running = ContainerFilter::default();
    assert_eq!(world.engine.list_containers(&running).await.unwrap().len(), 0);
    world.pass(10);
    assert_eq!(world.engine.list_containers(&running).await.unwrap().len(), 1);
}

#[tokio::test]
async fn names_are_checked_before_anything_is_sent() {
    let world = world();
    let bad = world.engine.inspect("../images/busybox").await;
    assert!(matches!(bad, Err(EngineError::Invalid(_))));
    assert_eq!(world.engine.request_count(), 0);
}

// ---- people ----

#[tokio::test]
async fn pruning_takes_armed_containers_but_not_their_image_or_volume() {
    let world = world();
    let engine = &world.engine;
    let mut armed = request("shop.x.1", &["true"]);
    armed.spec.network_mode = Some("shop_default".to_owned());
    armed.spec.mounts = vec![Mount {
        kind: MountKind::Volume {
            name: Some("data".to_owned()),
            external: false,
            nocopy: false,
        },
        target: "/data".to_owned(),
        read_only: false,
    }];
    engine.network_create("shop_default");
    let id = engine.create(&armed).await.unwrap().id;
    let lives = world.started("shop.x.2", &["sleep", "60"]).await;

    engine.image_prune_all().unwrap();
    engine.volume_prune().unwrap();
    assert_eq!(status_of(engine.remove_volume("data").await), 409);
    assert!(engine.image_id(&image("busybox")).await.unwrap().is_some());
    engine.network_prune().unwrap();
    assert!(!engine.networks().await.unwrap().contains("shop_default"));
    assert_eq!(status_of(engine.start(&id).await), 404);
    engine.network_create("shop_default");
    assert_eq!(engine.container_prune(), Ok(vec!["shop.x.1".to_owned()]));
    assert_eq!(engine.inspect(&id).await, Ok(None));

    engine.person_start("shop.x.2").unwrap();
    assert_eq!(engine.person_rm_force("shop.x.2"), Ok(true));
    assert_eq!(engine.inspect(&lives).await, Ok(None));
    assert_eq!(engine.processes(), 0);
    let foreign = engine
        .person_run("db", &image("busybox"), &["sleep", "9"])
        .unwrap();
    assert_eq!(world.see(&foreign).await.labels, BTreeMap::new());
    assert_eq!(engine.witness().len(), 1, "a foreign container writes none");
}

#[tokio::test]
async fn a_tag_moves_and_containers_keep_the_image_they_were_made_from() {
    let world = world();
    let engine = &world.engine;
    let (latest, second) = (image("busybox"), image("busybox:2"));
    let old = engine.image_id(&latest).await.unwrap().unwrap();
    let id = world.create("shop.x.1", &["true"]).await;
    let new = engine.publish(&latest, SimImage::default());
    engine.pull(&latest, None, &|_| ()).await.unwrap();
    assert_eq!(engine.image_id(&latest).await, Ok(Some(new.clone())));
    assert_eq!(world.see(&id).await.image_id, old);

    engine.retag(&latest, &second).unwrap();
    engine.image_rm(&latest).unwrap();
    assert_eq!(engine.image_id(&latest).await, Ok(None));
    assert_eq!(engine.image_id(&second).await, Ok(Some(new)));
    assert_eq!(status_of(engine.pull(&second, None, &|_| ()).await), 404);
    assert_eq!(
        status_of(engine.create(&request("shop.x.2", &["true"])).await),
        404
    );
}

#[tokio::test]
async fn a_volume_keeps_its_first_labels() {
    let world = world();
    let labels = |value: &str| BTreeMap::from([("ledger".to_owned(), value.to_owned())]);
    let name = "docker-scheduler.default";
    for asked in ["1", "2"] {
        let got = world.engine.create_volume(name, labels(asked)).await;
        assert_eq!(got, Ok(labels("1")));
    }
    world.engine.remove_volume(name).await.unwrap();
    world.engine.remove_volume(name).await.unwrap();
    let got = world.engine.create_volume(name, labels("2")).await;
    assert_eq!(got, Ok(labels("2")));
}

// ---- time ----

#[tokio::test]
async fn a_jump_of_the_wall_clock_ends_no_process() {
    let world = world();
    let id = world.started("shop.x.1", &["sleep", "5"]).await;
    let jump = |hours| {
        let mut time = world.time.lock().unwrap();
        time.wall += SignedDuration::from_hours(hours);
    };
    jump(5);
    assert_eq!(world.see(&id).await.status, ContainerStatus::Running);
    jump(-10);
    world.pass(5);
    let ended = world.see(&id).await;
    assert_eq!(ended.finished_at.unwrap().to_string(), "2026-11-22T20:30:05Z");
}

#[tokio::test]
async fn the_same_story_is_told_in_the_same_words() {
    let story = async || {
        let world = world();
        let id = world.started("shop.x.1", &["sleep", "5"]).await;
        world.pass(9);
        world.engine.remove(&id, true).await.unwrap();
        (world.engine.requests(), format!("{:?}", world.engine.witness()))
    };
    assert_eq!(story().await, story().await);
}
