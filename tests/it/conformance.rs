//! What every engine must do, verb by verb: the facts that the launch protocol is built on.
//!
//! Written against the seam alone, so that the real engine and the simulated one answer to the
//! same text. Each part makes its own containers, under names that begin with its own prefix.

use std::collections::BTreeMap;
use std::time::Duration;

use docker_scheduler::engine::{
    ContainerFilter, ContainerState, CreateRequest, Engine, EngineError, EventAction, ExecRequest, ExecState,
    LogOptions, LogStream, Removal, Reserved,
};
use docker_scheduler::model::{
    ContainerName, ContainerSpec, ContainerStatus, ImageRef, Launching, Mount, MountKind, Outcome, StopNote,
    Text,
};
use futures_util::StreamExt;

use crate::rig::eventually;

/// Long enough for a loaded machine; nothing is asserted about speed.
const SOON: Duration = Duration::from_secs(30);

/// What the suite needs to know of the engine under test.
pub struct World {
    /// Unique in this engine: names and labels of one run of the suite begin with it.
    pub prefix: String,
    /// Has `/bin/sh` and the usual tools.
    pub image: ImageRef,
    /// The same with `VOLUME /data` and `ENV OF_IMAGE=set`, where the engine knows image volumes.
    pub volume_image: Option<ImageRef>,
    /// A network that exists.
    pub network: String,
}

/// Every part, one after the other.
pub async fn suite(engine: &dyn Engine, world: &World) {
    names_lock(engine, world).await;
    missing_things(engine, world).await;
    life_of_a_run(engine, world).await;
    variables_taken_away(engine, world).await;
    starting_again(engine, world).await;
    a_bad_command(engine, world).await;
    removal(engine, world).await;
    marks_and_events(engine, world).await;
    paths(engine, world).await;
    output(engine, world).await;
    attached(engine, world).await;
    stopping(engine, world).await;
    commands(engine, world).await;
    lists(engine, world).await;
    anonymous_volumes(engine, world).await;
    the_lock_volume(engine, world).await;
    networks(engine, world).await;
    refused_names(engine).await;
}

/// The facts that launching at once is built on, on an engine on which making is starting.
pub async fn at_once(engine: &dyn Engine, world: &World) {
    assert_eq!(engine.launching(), Launching::AtOnce);
    one_of_many_creates(engine, world).await;
    nothing_is_a_value(engine, world).await;
    life_of_a_task(engine, world).await;
    a_task_that_cannot_start(engine, world).await;
    a_task_that_no_node_takes(engine, world).await;
    an_end_that_is_noted(engine, world).await;
    a_reserved_run(engine, world).await;
    refused_names(engine).await;
}

/// Of creates that race, one is told that it made the run; the name finds it.
async fn one_of_many_creates(engine: &dyn Engine, world: &World) {
    let request = world.request("lock", world.sh("true"));
    let racing = futures_util::future::join_all((0..8).map(|_| engine.create(&request))).await;
    let (made, refused): (Vec<_>, Vec<_>) = racing.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1, "{refused:?}");
    for refused in refused {
        assert_eq!(status_of(refused), 409);
    }
    let name = world.name("lock");
    let id = engine.id_of(&name).expect("an ID before it is made");
    assert_eq!(made[0].as_ref().map(|made| made.id.clone()), Ok(id.clone()));
    for found_by in [name.as_str(), &id] {
        let found = engine.inspect(found_by).await.expect("inspect");
        assert_eq!(
            found.map(|state| (state.id, state.name)),
            Some((id.clone(), name.to_string()))
        );
    }
    ended(engine, &id).await;
    remove(engine, &id).await;
    assert_eq!(engine.inspect(&id).await, Ok(None));
}

async fn nothing_is_a_value(engine: &dyn Engine, world: &World) {
    let nobody = world.name("nobody");
    let note = StopNote {
        outcome: Outcome::Cancelled,
        reason: "nobody".to_owned(),
    };
    assert_eq!(engine.inspect(nobody.as_str()).await, Ok(None));
    assert_eq!(engine.remove(nobody.as_str(), true).await, Ok(Removal::Gone));
    assert_eq!(engine.stop(nobody.as_str(), None).await, Ok(()));
    assert_eq!(engine.conclude(nobody.as_str(), &note).await, Ok(None));
    assert_eq!(
        status_of(
            engine
                .logs(nobody.as_str(), &LogOptions::default())
                .await
                .map(|_| ())
        ),
        404
    );
}

async fn life_of_a_task(engine: &dyn Engine, world: &World) {
    let label = ("suite".to_owned(), world.prefix.clone());
    let mut events = engine.events(label.clone(), None, None).await.expect("events");
    let mut spec = world.sh("echo \"$SCHEDULER_JOB $OWN\"; echo trouble >&2; exit 3");
    spec.environment = BTreeMap::from([
        ("OWN".to_owned(), Some(Text::sensitive("value"))),
        ("SCHEDULER_JOB".to_owned(), Some(Text::plain("forged"))),
    ]);
    let id = world.create(engine, "life", spec).await;
    let seen = tokio::time::timeout(SOON, events.next())
        .await
        .expect("an event in time");
    assert!(seen.is_some_and(|event| event.is_ok()));
    let exited = ended(engine, &id).await;
    assert_eq!((exited.exit_code, exited.error.as_str()), (3, ""));
    assert!(
        exited.started_at.is_some() && exited.started_at <= exited.finished_at,
        "{exited:?}"
    );
    assert_eq!(exited.labels.get("suite"), Some(&world.prefix));
    let (out, err) = read(engine, &id).await;
    assert_eq!((out.as_str(), err.as_str()), ("life value\n", "trouble\n"));
    let filter = ContainerFilter {
        all: true,
        label: Some(label),
    };
    let listed = engine.list_containers(&filter).await.expect("a list");
    let row = listed.iter().find(|row| row.id == id).expect("it is listed");
    assert_eq!(
        (row.name.as_str(), &row.status),
        (world.name("life").as_str(), &ContainerStatus::Exited)
    );
    remove(engine, &id).await;
}

async fn a_task_that_cannot_start(engine: &dyn Engine, world: &World) {
    let mut spec = world.sh("true");
    spec.command = Some(vec![Text::plain("/no/such/command")]);
    // Else the init starts, and only it finds nothing to run.
    spec.init = Some(false);
    let id = world.create(engine, "bad", spec).await;
    let failed = ended(engine, &id).await;
    assert_eq!(failed.started_at, None, "{failed:?}");
    assert!(failed.error.contains("/no/such/command"), "{failed:?}");
    remove(engine, &id).await;

    let mut spec = world.sh("true");
    spec.image = "no-such-image:1".parse().expect("a valid reference");
    let id = world.create(engine, "no-image", spec).await;
    let rejected = ended(engine, &id).await;
    assert_eq!(rejected.started_at, None, "{rejected:?}");
    assert!(rejected.error.contains("no-such-image:1"), "{rejected:?}");
    remove(engine, &id).await;
}

async fn a_task_that_no_node_takes(engine: &dyn Engine, world: &World) {
    let mut spec = world.sh("true");
    spec.placement.constraints = vec!["node.labels.no==where".to_owned()];
    let checked = engine.check(&[&spec]).await.expect("a check");
    assert!(checked[0].unplaced.is_some(), "{checked:?}");
    let id = world.create(engine, "nowhere", spec).await;
    eventually("the engine's reason", SOON, async || {
        matches!(&state(engine, &id).await.status, ContainerStatus::Pending(why) if why.contains("no suitable node"))
    })
    .await;
    assert_eq!(status_of(engine.remove(&id, true).await), 409, "it may start yet");
    let note = StopNote {
        outcome: Outcome::Missed,
        reason: "no node".to_owned(),
    };
    assert_eq!(engine.conclude(&id, &note).await, Ok(Some(note)));
    assert_eq!(ended(engine, &id).await.started_at, None);
    remove(engine, &id).await;
}

/// The first note stays; code and output outlive the end.
async fn an_end_that_is_noted(engine: &dyn Engine, world: &World) {
    let script = "trap 'exit 7' TERM; echo hello; while :; do sleep 0.1; done";
    let id = world.create(engine, "noted", world.sh(script)).await;
    eventually("its start", SOON, async || {
        state(engine, &id).await.status == ContainerStatus::Running && read(engine, &id).await.0 == "hello\n"
    })
    .await;
    assert_eq!(
        status_of(engine.remove(&id, true).await),
        409,
        "never while it runs"
    );
    let note = |reason: &str| StopNote {
        outcome: Outcome::TimedOut,
        reason: reason.to_owned(),
    };
    assert_eq!(
        engine.conclude(&id, &note("first")).await,
        Ok(Some(note("first")))
    );
    assert_eq!(
        engine.conclude(&id, &note("second")).await,
        Ok(Some(note("first")))
    );
    let stopped = ended(engine, &id).await;
    assert_eq!(StopNote::read(&stopped.labels), Some(note("first")));
    assert!(stopped.ended_by_engine && stopped.exit_code == 7, "{stopped:?}");
    assert_eq!(read(engine, &id).await.0, "hello\n");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(read(engine, &id).await.0, "hello\n", "nothing takes its place");
    remove(engine, &id).await;
}

/// It has its name and nothing else, until one request that names what it has seen begins it or gives it
/// up; of any number of them one counts.
async fn a_reserved_run(engine: &dyn Engine, world: &World) {
    let filter = ContainerFilter {
        all: true,
        label: Some(("suite".to_owned(), world.prefix.clone())),
    };
    let version = async |id: &str| {
        let listed = engine.list_containers(&filter).await.expect("a list");
        listed
            .iter()
            .find(|row| row.id == id)
            .expect("it is listed")
            .version
    };
    let reserved = |name: &str| CreateRequest {
        reserved: true,
        ..world.request(name, world.sh("echo hello"))
    };
    let begun = reserved("begun");
    let id = engine.create(&begun).await.expect("a name").id;
    assert_eq!(
        status_of(engine.create(&begun).await),
        409,
        "its name is the lock"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = state(engine, &id).await;
    assert!(waiting.is_pristine(), "nothing runs: {waiting:?}");
    let seen = version(&id).await;
    let decide = |reserved| engine.decide(&id, seen, reserved);
    let racing = futures_util::future::join_all((0..6).map(|_| decide(Reserved::Begins)));
    let (won, lost): (Vec<_>, Vec<_>) = racing.await.into_iter().partition(|one| *one == Ok(true));
    assert_eq!(won.len(), 1, "{lost:?}");
    assert_eq!(decide(Reserved::GivenUp).await, Ok(false), "it has begun");
    assert_eq!(ended(engine, &id).await.exit_code, 0);
    assert_eq!(read(engine, &id).await.0, "hello\n", "once");
    let over = version(&id).await;
    assert_eq!(
        engine.decide(&id, over, Reserved::Begins).await,
        Ok(false),
        "never again"
    );
    remove(engine, &id).await;

    let id = engine.create(&reserved("given-up")).await.expect("a name").id;
    let seen = version(&id).await;
    assert_eq!(engine.decide(&id, seen, Reserved::GivenUp).await, Ok(true));
    assert_eq!(state(engine, &id).await.status, ContainerStatus::Removing);
    for version in [seen, version(&id).await] {
        assert_eq!(engine.decide(&id, version, Reserved::Begins).await, Ok(false));
    }
    assert_eq!(engine.remove(&id, true).await, Ok(Removal::Removed));
    assert_eq!(
        engine.decide(&id, seen, Reserved::Begins).await,
        Ok(false),
        "it is gone"
    );

    // One that is ended while it waits has the note of who ended it, and one that is removed can never begin.
    let id = engine.create(&reserved("ended")).await.expect("a name").id;
    let note = StopNote {
        outcome: Outcome::Cancelled,
        reason: "by hand".to_owned(),
    };
    assert_eq!(engine.conclude(&id, &note).await, Ok(Some(note.clone())));
    let concluded = state(engine, &id).await;
    assert_eq!(
        (concluded.status, concluded.started_at),
        (ContainerStatus::Exited, None)
    );
    assert_eq!(StopNote::read(&concluded.labels), Some(note));
    remove(engine, &id).await;
    let id = engine.create(&reserved("removed")).await.expect("a name").id;
    remove(engine, &id).await;
}

impl World {
    fn name(&self, name: &str) -> ContainerName {
        format!("{}.{name}", self.prefix).parse().expect("a valid name")
    }

    fn sh(&self, script: &str) -> ContainerSpec {
        ContainerSpec {
            command: Some(["/bin/sh", "-c", script].map(Text::plain).to_vec()),
            ..ContainerSpec::of_image(self.image.clone())
        }
    }

    fn request(&self, name: &str, spec: ContainerSpec) -> CreateRequest {
        CreateRequest {
            name: Some(self.name(name)),
            spec,
            labels: BTreeMap::from([("suite".to_owned(), self.prefix.clone())]),
            environment: BTreeMap::from([("SCHEDULER_JOB".to_owned(), name.to_owned())]),
            attach: false,
            reserved: false,
        }
    }

    async fn create(&self, engine: &dyn Engine, name: &str, spec: ContainerSpec) -> String {
        let created = engine.create(&self.request(name, spec)).await;
        created
            .unwrap_or_else(|error| panic!("create {name}: {error}"))
            .id
    }
}

async fn state(engine: &dyn Engine, id: &str) -> ContainerState {
    engine.inspect(id).await.expect("inspect").expect("it exists")
}

async fn ended(engine: &dyn Engine, id: &str) -> ContainerState {
    eventually("the container's end", SOON, async || {
        state(engine, id).await.status == ContainerStatus::Exited
    })
    .await;
    state(engine, id).await
}

async fn run(engine: &dyn Engine, id: &str) -> ContainerState {
    engine.start(id).await.expect("start");
    ended(engine, id).await
}

async fn remove(engine: &dyn Engine, id: &str) {
    assert_eq!(engine.remove(id, true).await, Ok(Removal::Removed));
}

#[track_caller]
fn status_of<T: std::fmt::Debug>(result: Result<T, EngineError>) -> u16 {
    match result {
        Err(EngineError::Refused { status, .. }) => status,
        other => panic!("not refused: {other:?}"),
    }
}

/// A name is the lock of a create: the second call is refused, and by the name one finds the first.
async fn names_lock(engine: &dyn Engine, world: &World) {
    let id = world.create(engine, "lock", world.sh("true")).await;
    let second = engine.create(&world.request("lock", world.sh("false"))).await;
    assert_eq!(status_of(second), 409);
    let found = engine
        .inspect(world.name("lock").as_str())
        .await
        .expect("inspect");
    assert_eq!(found.map(|state| state.id), Some(id.clone()));
    remove(engine, &id).await;
}

/// What is not there is a value, except where something was asked of it.
async fn missing_things(engine: &dyn Engine, world: &World) {
    let mut spec = world.sh("true");
    spec.image = "no-such-image:1".parse().expect("a valid reference");
    assert_eq!(
        status_of(engine.create(&world.request("missing", spec.clone())).await),
        404
    );
    assert_eq!(engine.image_id(&spec.image).await, Ok(None));
    let nobody = world.name("nobody");
    assert_eq!(engine.inspect(nobody.as_str()).await, Ok(None));
    assert_eq!(engine.remove(nobody.as_str(), true).await, Ok(Removal::Gone));
    assert_eq!(engine.stop(nobody.as_str(), None).await, Ok(()));
    assert_eq!(engine.kill(nobody.as_str()).await, Ok(()));
    assert_eq!(status_of(engine.start(nobody.as_str()).await), 404);
    assert_eq!(engine.stat_path(nobody.as_str(), "/").await, Ok(None));
}

/// Created, started, ended: what inspect shows at each step.
async fn life_of_a_run(engine: &dyn Engine, world: &World) {
    let mut spec = world.sh("echo \"$SCHEDULER_JOB $OWN\"; exit 3");
    spec.environment = BTreeMap::from([
        ("OWN".to_owned(), Some(Text::sensitive("value"))),
        ("SCHEDULER_JOB".to_owned(), Some(Text::plain("forged"))),
    ]);
    let id = world.create(engine, "life", spec).await;
    let created = state(engine, &id).await;
    assert!(created.is_pristine(), "{created:?}");
    assert_eq!(created.name, world.name("life").as_str());
    assert_eq!(created.labels.get("suite"), Some(&world.prefix));
    assert_eq!(created.log_path, "", "LogPath is empty until the start");
    assert_eq!(created.log_driver, "json-file");
    let image = engine.image_id(&world.image).await.expect("the image");
    assert_eq!(Some(created.image_id), image);

    let exited = run(engine, &id).await;
    assert_eq!(exited.exit_code, 3);
    assert!(exited.started_at.is_some() && exited.finished_at.is_some());
    // Their order is no fact: the end is stamped by the job's keeper and the start by the engine,
    // once it has heard of it, so a short job can show an end before its start.
    assert_ne!(exited.log_path, "", "LogPath is set by the start");
    assert_eq!(read(engine, &id).await.0, "life value\n");
    remove(engine, &id).await;
    assert_eq!(engine.inspect(&id).await, Ok(None));
}

/// A variable without a value takes away the image's own.
async fn variables_taken_away(engine: &dyn Engine, world: &World) {
    let Some(image) = &world.volume_image else { return };
    for (value, said) in [(None, "[]\n"), (Some(Text::plain("ours")), "[ours]\n")] {
        let mut spec = world.sh("echo \"[$OF_IMAGE]\"");
        spec.image = image.clone();
        let with_image = world.create(engine, "of-image", spec.clone()).await;
        spec.environment = BTreeMap::from([("OF_IMAGE".to_owned(), value)]);
        let id = world.create(engine, "variables", spec).await;
        for (id, said) in [(with_image, "[set]\n"), (id, said)] {
            run(engine, &id).await;
            assert_eq!(read(engine, &id).await.0, said);
            remove(engine, &id).await;
        }
    }
}

/// Why names alone are not enough: a start of an ended container runs the job again.
async fn starting_again(engine: &dyn Engine, world: &World) {
    let id = world.create(engine, "again", world.sh("echo ran")).await;
    let first = run(engine, &id).await;
    let second = run(engine, &id).await;
    assert!(first.started_at < second.started_at);
    assert_eq!(read(engine, &id).await.0, "ran\nran\n");
    remove(engine, &id).await;

    let id = world.create(engine, "running", world.sh("sleep 300")).await;
    engine.start(&id).await.expect("start");
    let before = state(engine, &id).await.started_at;
    assert_eq!(
        engine.start(&id).await,
        Ok(()),
        "a start of a running one is no error"
    );
    assert_eq!(state(engine, &id).await.started_at, before);
    engine.kill(&id).await.expect("kill");
    ended(engine, &id).await;
    remove(engine, &id).await;
}

async fn a_bad_command(engine: &dyn Engine, world: &World) {
    let mut spec = world.sh("true");
    spec.command = Some(vec![Text::plain("/no/such/command")]);
    let id = world.create(engine, "bad", spec).await;
    assert_eq!(status_of(engine.start(&id).await), 400);
    let failed = state(engine, &id).await;
    assert_eq!((failed.status, failed.exit_code), (ContainerStatus::Created, 127));
    assert_eq!(failed.started_at, None);
    remove(engine, &id).await;
}

async fn removal(engine: &dyn Engine, world: &World) {
    let id = world.create(engine, "removal", world.sh("sleep 300")).await;
    engine.start(&id).await.expect("start");
    assert_eq!(status_of(engine.remove(&id, true).await), 409, "never with force");
    assert_eq!(state(engine, &id).await.status, ContainerStatus::Running);
    engine.kill(&id).await.expect("kill");
    assert_eq!(ended(engine, &id).await.exit_code, 137);
    assert_eq!(
        engine.kill(&id).await,
        Ok(()),
        "a kill of an ended one is no error"
    );
    remove(engine, &id).await;
    assert_eq!(engine.remove(&id, true).await, Ok(Removal::Gone));
}

/// A mark changes nothing and is seen in the events, live and from the engine's memory.
async fn marks_and_events(engine: &dyn Engine, world: &World) {
    let label = ("suite".to_owned(), format!("{}-events", world.prefix));
    let since = engine.info().await.expect("info").system_time;
    let live = engine.events(label.clone(), None, None).await.expect("events");
    let mut request = world.request("events", world.sh("true"));
    request.labels.insert(label.0.clone(), label.1.clone());
    let id = engine.create(&request).await.expect("create").id;
    world_noise(engine, world).await;
    assert_eq!(engine.mark(&id).await, Ok(true));
    let marked = state(engine, &id).await;
    assert!(marked.is_pristine(), "a mark changes nothing: {marked:?}");
    run(engine, &id).await;
    remove(engine, &id).await;

    let wanted = [
        EventAction::Create,
        EventAction::Update,
        EventAction::Start,
        EventAction::Die,
        EventAction::Destroy,
    ];
    let seen = actions_until_destroy(live, &id, &label).await;
    assert_eq!(seen, wanted);
    let remembered = engine.events(label.clone(), since, None).await.expect("events");
    assert_eq!(actions_until_destroy(remembered, &id, &label).await, wanted);

    let until = engine.info().await.expect("info").system_time;
    let past = engine.events(label, since, until).await.expect("events");
    let past = tokio::time::timeout(SOON, past.count()).await;
    assert!(
        past.is_ok_and(|count| count >= wanted.len()),
        "a stream with an end ends"
    );
}

/// Something that no filter for another label lets through.
async fn world_noise(engine: &dyn Engine, world: &World) {
    let id = world.create(engine, "noise", world.sh("true")).await;
    remove(engine, &id).await;
}

async fn actions_until_destroy(
    mut events: futures_util::stream::BoxStream<
        'static,
        Result<docker_scheduler::engine::EngineEvent, EngineError>,
    >,
    id: &str,
    label: &(String, String),
) -> Vec<EventAction> {
    let mut seen = Vec::new();
    while seen.last() != Some(&EventAction::Destroy) {
        let event = tokio::time::timeout(SOON, events.next())
            .await
            .unwrap_or_else(|_| panic!("no event after {seen:?}"))
            .expect("the stream goes on")
            .expect("an event");
        assert_eq!(event.container, id);
        assert_eq!(event.labels.get(&label.0), Some(&label.1));
        if !matches!(event.action, EventAction::Other(_) | EventAction::Kill) {
            seen.push(event.action);
        }
    }
    seen
}

/// The arming check for an executable, in a container that never ran.
async fn paths(engine: &dyn Engine, world: &World) {
    let id = world.create(engine, "paths", world.sh("true")).await;
    let stat = |path: &'static str| {
        let id = id.clone();
        async move { engine.stat_path(&id, path).await.expect("stat") }
    };
    assert!(stat("/").await.expect("the root").is_dir);
    let shell = stat("/bin/busybox").await.expect("a program");
    assert!(!shell.is_dir && shell.mode & 0o111 != 0, "{shell:?}");
    assert!(stat("/bin/sh").await.is_some());
    assert_eq!(stat("/bin/no-such-program").await, None);
    assert_eq!(stat("/no such & folder/%2e").await, None);
    assert!(state(engine, &id).await.is_pristine(), "looking changes nothing");
    remove(engine, &id).await;
}

/// Both streams, put together.
async fn read(engine: &dyn Engine, id: &str) -> (String, String) {
    let logs = engine.logs(id, &LogOptions::default()).await.expect("logs");
    collect(logs).await
}

async fn collect(
    mut logs: futures_util::stream::BoxStream<
        'static,
        Result<docker_scheduler::engine::LogChunk, EngineError>,
    >,
) -> (String, String) {
    let mut texts = (Vec::new(), Vec::new());
    while let Some(chunk) = tokio::time::timeout(SOON, logs.next()).await.expect("output") {
        let chunk = chunk.expect("a chunk");
        match chunk.stream {
            LogStream::Stdout => texts.0.extend_from_slice(&chunk.bytes),
            LogStream::Stderr => texts.1.extend_from_slice(&chunk.bytes),
        }
    }
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(texts.0), text(texts.1))
}

async fn output(engine: &dyn Engine, world: &World) {
    let script = "echo one; echo two >&2; sleep 1; printf last";
    let id = world.create(engine, "output", world.sh(script)).await;
    assert_eq!(
        read(engine, &id).await,
        (String::new(), String::new()),
        "nothing yet"
    );
    run(engine, &id).await;
    let expected = ("one\nlast".to_owned(), "two\n".to_owned());
    assert_eq!(
        read(engine, &id).await,
        expected,
        "also a last line without its end"
    );

    let logs = async |options: LogOptions| collect(engine.logs(&id, &options).await.expect("logs")).await;
    let tail = LogOptions {
        tail: Some(1),
        ..LogOptions::default()
    };
    assert_eq!(logs(tail).await.0, "last");
    let stamped = LogOptions {
        timestamps: true,
        ..LogOptions::default()
    };
    let (stdout, stderr) = logs(stamped).await;
    let lines: Vec<(jiff::Timestamp, &str)> =
        stdout.lines().chain(stderr.lines()).map(stamped_line).collect();
    let texts: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
    assert_eq!(texts, ["one", "last", "two"]);
    let later = LogOptions {
        since: Some(lines[1].0),
        ..LogOptions::default()
    };
    assert_eq!(logs(later).await, ("last".to_owned(), String::new()));
    let followed = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    assert!(
        logs(followed).await.0.starts_with("one\n"),
        "following an ended one ends"
    );
    remove(engine, &id).await;
    assert_eq!(
        status_of(engine.logs(&id, &LogOptions::default()).await.map(|_| ())),
        404
    );

    let mut spec = world.sh("printf 'a\\r'; printf b");
    spec.tty = true;
    let id = world.create(engine, "terminal", spec).await;
    run(engine, &id).await;
    assert_eq!(read(engine, &id).await.0, "a\rb");
    remove(engine, &id).await;
}

fn stamped_line(line: &str) -> (jiff::Timestamp, &str) {
    let (stamp, text) = line.split_once(' ').expect("a stamp");
    (stamp.parse().expect("a time"), text)
}

/// Attached before the start, nothing is missed.
async fn attached(engine: &dyn Engine, world: &World) {
    let mut request = world.request("attached", world.sh("echo out; echo err >&2; printf end"));
    request.attach = true;
    let id = engine.create(&request).await.expect("create").id;
    let output = engine.attach(&id).await.expect("attach");
    engine.start(&id).await.expect("start");
    assert_eq!(collect(output).await, ("out\nend".to_owned(), "err\n".to_owned()));
    ended(engine, &id).await;
    remove(engine, &id).await;
}

async fn stopping(engine: &dyn Engine, world: &World) {
    let mut spec = world.sh("trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done");
    spec.stop_signal = Some("SIGUSR1".to_owned());
    let id = world.create(engine, "stop", spec).await;
    assert_eq!(
        engine.stop(&id, None).await,
        Ok(()),
        "a stop of a created one is no error"
    );
    engine.start(&id).await.expect("start");
    eventually("the job's trap", SOON, async || {
        read(engine, &id).await.0 == "ready\n"
    })
    .await;
    assert_eq!(engine.stop(&id, Some(Duration::from_secs(20))).await, Ok(()));
    assert_eq!(ended(engine, &id).await.exit_code, 9, "by its own stop signal");
    assert_eq!(
        engine.stop(&id, None).await,
        Ok(()),
        "a stop of an ended one is no error"
    );
    remove(engine, &id).await;

    let mut stubborn = world.sh("trap '' TERM; echo ready; sleep 300; sleep 300");
    stubborn.stop_grace_period = Some(Duration::from_secs(1));
    let id = world.create(engine, "stubborn", stubborn).await;
    engine.start(&id).await.expect("start");
    eventually("the job's trap", SOON, async || {
        read(engine, &id).await.0 == "ready\n"
    })
    .await;
    assert_eq!(
        engine.stop(&id, None).await,
        Ok(()),
        "after the container's own grace period"
    );
    assert_eq!(ended(engine, &id).await.exit_code, 137);
    remove(engine, &id).await;
}

/// Commands in a container that runs: attached, started once, and ended by a signal from inside.
async fn commands(engine: &dyn Engine, world: &World) {
    let mut spec = world.sh("sleep 300");
    spec.environment = BTreeMap::from([("OF_CONTAINER".to_owned(), Some(Text::plain("set")))]);
    let id = world.create(engine, "commands", spec).await;
    let request = |words: &[&str]| ExecRequest {
        container: id.clone(),
        command: words.iter().map(|word| Text::plain(*word)).collect(),
        environment: BTreeMap::from([
            (
                "SCHEDULER_RUN_ID".to_owned(),
                Some(Text::plain("suite.commands.1")),
            ),
            ("OF_CONTAINER".to_owned(), None),
        ]),
        user: None,
        working_dir: None,
        tty: false,
    };
    let shell = |script| request(&["/bin/sh", "-c", script]);
    assert_eq!(
        status_of(engine.create_exec(&shell("true")).await),
        409,
        "it does not run"
    );
    engine.start(&id).await.expect("start");

    let exec = engine
        .create_exec(&shell("echo out$OF_CONTAINER; echo err >&2; exit 3"))
        .await
        .expect("create");
    let untouched = ExecState {
        running: false,
        exit_code: None,
        ran: false,
    };
    assert_eq!(engine.inspect_exec(&exec).await, Ok(Some(untouched)));
    assert_eq!(
        said(engine, &exec).await,
        ("out\n".to_owned(), "err\n".to_owned())
    );
    assert_eq!(exec_end(engine, &exec).await, (3, true));
    // A second start does not run it again, whether that is refused or said in the output.
    if let Ok(mut output) = engine.start_exec(&exec, false).await {
        while output.next().await.is_some() {}
    }
    assert_eq!(exec_end(engine, &exec).await, (3, true));

    let exec = engine
        .create_exec(&request(&["no-such-program"]))
        .await
        .expect("create");
    let (stdout, stderr) = said(engine, &exec).await;
    assert!(
        format!("{stdout}{stderr}").contains("no-such-program"),
        "{stdout}{stderr}"
    );
    // 126 until runc 1.2, and since then 127, as of a shell.
    let (code, ran) = exec_end(engine, &exec).await;
    assert!(matches!(code, 126 | 127) && !ran, "{code} {ran}");

    let stays = "trap 'exit 7' TERM; while true; do sleep 0.1; done";
    let exec = engine.create_exec(&shell(stays)).await.expect("create");
    let mut output = engine.start_exec(&exec, false).await.expect("start");
    eventually("it runs", SOON, async || {
        let state = engine.inspect_exec(&exec).await.expect("inspect").expect("known");
        state.running && state.exit_code.is_none()
    })
    .await;
    // The trap is set a moment after the start.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (mark, ends) in [("another", false), ("suite.commands.1", true)] {
        let sent = engine
            .signal_marked(&id, None, ("SCHEDULER_RUN_ID", mark), "TERM")
            .await;
        assert_eq!(sent, Ok(true));
        if !ends {
            let state = engine.inspect_exec(&exec).await.expect("inspect").expect("known");
            assert!(state.running, "it has another mark");
        }
    }
    while output.next().await.is_some() {}
    assert_eq!(exec_end(engine, &exec).await, (7, true));

    let exec = engine.create_exec(&shell("sleep 300")).await.expect("create");
    let mut output = engine.start_exec(&exec, false).await.expect("start");
    eventually("it runs", SOON, async || {
        let state = engine.inspect_exec(&exec).await.expect("inspect").expect("known");
        state.running && state.ran
    })
    .await;
    engine.kill(&id).await.expect("kill");
    while output.next().await.is_some() {}
    assert_eq!(exec_end(engine, &exec).await, (137, true));
    assert_eq!(engine.inspect_exec(&"0".repeat(64)).await, Ok(None));
    ended(engine, &id).await;
    remove(engine, &id).await;
}

/// What a command prints from its start to its end.
async fn said(engine: &dyn Engine, exec: &str) -> (String, String) {
    collect(engine.start_exec(exec, false).await.expect("start")).await
}

/// A command's exit code, and whether there was a process.
async fn exec_end(engine: &dyn Engine, exec: &str) -> (i64, bool) {
    let mut found = None;
    eventually("the command has ended", SOON, async || {
        let state = engine.inspect_exec(exec).await.expect("inspect").expect("known");
        found = state.exit_code.map(|code| (code, state.ran));
        found.is_some()
    })
    .await;
    found.expect("it has ended")
}

async fn lists(engine: &dyn Engine, world: &World) {
    let label = ("list".to_owned(), world.prefix.clone());
    let mut request = world.request("listed", world.sh("sleep 300"));
    request.labels.insert(label.0.clone(), label.1.clone());
    let id = engine.create(&request).await.expect("create").id;
    let other = world.create(engine, "unlisted", world.sh("true")).await;
    let ids = async |all: bool| {
        let filter = ContainerFilter {
            all,
            label: Some(label.clone()),
        };
        let rows = engine.list_containers(&filter).await.expect("list");
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(true).await, [id.as_str()]);
    assert_eq!(ids(false).await, [""; 0], "only running ones");
    engine.start(&id).await.expect("start");
    assert_eq!(ids(false).await, [id.as_str()]);

    let everything = ContainerFilter {
        all: true,
        label: None,
    };
    let rows = engine.list_containers(&everything).await.expect("list");
    let row = rows.iter().find(|row| row.id == id).expect("ours");
    assert_eq!(row.name, world.name("listed").as_str());
    assert_eq!(row.status, ContainerStatus::Running);
    assert_eq!(row.labels.get("suite"), Some(&world.prefix));
    assert_eq!(row.image, world.image.as_str());
    assert!(rows.iter().any(|row| row.id == other));

    let images = engine.list_images().await.expect("images");
    let tag = world.image.to_string();
    let image = images
        .iter()
        .find(|image| image.tags.contains(&tag))
        .expect("ours");
    assert_eq!(
        Some(image.id.clone()),
        engine.image_id(&world.image).await.expect("the image")
    );

    engine.kill(&id).await.expect("kill");
    ended(engine, &id).await;
    remove(engine, &id).await;
    remove(engine, &other).await;
}

/// Every arming of an image with a volume makes one; it must go with its container.
async fn anonymous_volumes(engine: &dyn Engine, world: &World) {
    let before = engine.volumes().await.expect("volumes");
    let mut spec = world.sh("echo kept > /anonymous/file");
    if let Some(image) = &world.volume_image {
        spec.image = image.clone();
    }
    let volume = |target: &str, name: Option<String>| Mount {
        kind: MountKind::Volume {
            name,
            external: false,
            nocopy: false,
        },
        target: target.to_owned(),
        read_only: false,
    };
    let named = format!("{}-named", world.prefix);
    spec.mounts = vec![volume("/anonymous", None), volume("/named", Some(named.clone()))];
    let id = world.create(engine, "volumes", spec).await;
    let made = engine.volumes().await.expect("volumes").len() - before.len();
    assert_eq!(made, if world.volume_image.is_some() { 3 } else { 2 });
    assert_eq!(run(engine, &id).await.exit_code, 0);
    remove(engine, &id).await;
    let mut after = engine.volumes().await.expect("volumes");
    assert!(after.remove(&named).is_some(), "a named volume stays");
    assert_eq!(after, before);
    assert_eq!(engine.remove_volume(&named).await, Ok(()));
    assert_eq!(engine.remove_volume(&named).await, Ok(()), "gone is no error");
}

/// The lock of an instance: the second create returns the labels of the first.
async fn the_lock_volume(engine: &dyn Engine, world: &World) {
    let name = format!("docker-scheduler.{}", world.prefix);
    let labels = |ledger: &str| BTreeMap::from([("ledger".to_owned(), ledger.to_owned())]);
    assert_eq!(
        engine.create_volume(&name, labels("one")).await,
        Ok(labels("one"))
    );
    assert_eq!(
        engine.create_volume(&name, labels("two")).await,
        Ok(labels("one"))
    );
    let volumes = engine.volumes().await.expect("volumes");
    assert_eq!(volumes.get(&name), Some(&labels("one")));
    assert_eq!(engine.remove_volume(&name).await, Ok(()));
    assert_eq!(
        engine.create_volume(&name, labels("two")).await,
        Ok(labels("two"))
    );
    assert_eq!(engine.remove_volume(&name).await, Ok(()));
}

async fn networks(engine: &dyn Engine, world: &World) {
    let networks = engine.networks().await.expect("networks");
    assert!(networks.contains(&world.network), "{networks:?}");
    assert!(!networks.contains("no-such-network"));
}

/// Nothing that is no name reaches the engine: it could be another endpoint's address.
async fn refused_names(engine: &dyn Engine) {
    for name in ["", "../images/busybox", "a/b", "a?force=true", "a b", "-a"] {
        let inspected = engine.inspect(name).await;
        assert!(
            matches!(inspected, Err(EngineError::Invalid(_))),
            "{name:?}: {inspected:?}"
        );
        let removed = engine.remove(name, true).await;
        assert!(
            matches!(removed, Err(EngineError::Invalid(_))),
            "{name:?}: {removed:?}"
        );
        let started = engine.start(name).await;
        assert!(
            matches!(started, Err(EngineError::Invalid(_))),
            "{name:?}: {started:?}"
        );
    }
}
