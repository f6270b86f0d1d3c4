//! The Docker engine over a real dockerd: the suite that every engine passes, and what only a real
//! one can show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use docker_scheduler::engine::context::{self, Endpoint, Env, Selection};
use docker_scheduler::engine::docker::{ApiVersion, DockerEngine};
use docker_scheduler::engine::{
    ContainerState, CreateRequest, Engine, EngineError, EngineKind, LogOptions, Observe, Removal,
};
use docker_scheduler::model::{
    ContainerSpec, ContainerStatus, Logging, Mount, MountKind, NetworkAttachment, Text, Tmpfs, Ulimit,
};
use futures_util::StreamExt;

use crate::conformance::{self, World};
use crate::fake_engine::{self, FakeEngine, json};
use crate::rig::{self, Rig, eventually};

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

/// Each key of a container spec, as the job itself finds it.
#[tokio::test]
async fn every_key_reaches_the_job() {
    let rig = Rig::shared();
    let engine = connect(rig).await;
    let (front, back) = (rig.create_network("keys-front"), rig.create_network("keys-back"));
    let folder = rig.folder("keys");
    std::fs::write(folder.join("file"), "from the host\n").expect("write a file");
    let mut spec = ContainerSpec::of_image(rig::image());
    spec.entrypoint = Some(vec![Text::plain("/bin/sh"), Text::plain("-c")]);
    spec.command = Some(vec![Text::plain(
        "id -u; pwd; ulimit -Sn; ulimit -Hn; cat /bound/file; touch /bound/no 2>/dev/null || echo read-only; \
         touch /no 2>/dev/null || echo read-only root; touch /scratch/a /run/a && echo tmpfs; \
         grep -c known.test /etc/hosts; ls /sys/class/net | grep -c eth; \
         cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
         grep CapEff /proc/self/status | cut -f2; cat /proc/1/comm; true",
    )]);
    spec.user = Some("65534".to_owned());
    spec.working_dir = Some("/tmp".to_owned());
    spec.ulimits = BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 77, hard: 99 })]);
    spec.mounts = vec![
        bind(&folder, "/bound", false),
        Mount {
            kind: MountKind::Tmpfs {
                size_bytes: Some(1 << 20),
                mode: Some(0o1777),
            },
            target: "/scratch".to_owned(),
            read_only: false,
        },
    ];
    spec.tmpfs = vec![Tmpfs {
        target: "/run".to_owned(),
        options: "mode=1777".to_owned(),
    }];
    spec.read_only = true;
    spec.extra_hosts = vec![("known.test".to_owned(), "10.9.8.7".to_owned())];
    spec.networks = vec![network(&front), network(&back)];
    spec.mem_limit_bytes = Some(32 << 20);
    spec.nano_cpus = Some(500_000_000);
    spec.cap_drop = vec!["ALL".to_owned()];
    spec.logging = Some(Logging {
        driver: "local".to_owned(),
        options: BTreeMap::from([("max-size".to_owned(), "1m".to_owned())]),
    });
    let state = run(&engine, "keys", spec).await;
    assert_eq!((state.exit_code, state.log_driver.as_str()), (0, "local"));
    let output = output(&engine, &state.id).await;
    let expected = "65534\n/tmp\n77\n99\nfrom the host\nread-only\nread-only root\ntmpfs\n1\n2\n33554432\n0000000000000000\nsh\n";
    assert_eq!(output, expected);
    let (_, raw) = rig.get(&format!("/containers/{}/json", state.id));
    for fact in [
        r#""NanoCpus":500000000"#,
        r#""RestartPolicy":{"Name":"no""#,
        r#""AutoRemove":false"#,
    ] {
        assert!(raw.contains(fact), "{fact} in {raw}");
    }
    assert_eq!(engine.remove(&state.id, true).await, Ok(Removal::Removed));
    rig.remove_network(&front);
    rig.remove_network(&back);
}

/// A real engine does quote what it refuses.
#[tokio::test]
async fn a_refusal_quotes_no_secret() {
    let engine = connect(Rig::shared()).await;
    let mut spec = ContainerSpec::of_image(rig::image());
    spec.command = Some(vec![Text::plain("true")]);
    spec.environment = BTreeMap::from([(String::new(), Some(Text::sensitive("canary-value")))]);
    let refused = engine.create(&request("quoted", spec)).await;
    assert!(
        matches!(&refused, Err(EngineError::Refused { status: 400, message }) if message.contains("=(masked)")),
        "{refused:?}"
    );
}

/// What an engine of this age refuses only after its create call leaves nothing behind.
#[tokio::test]
async fn a_create_that_fails_half_way_leaves_nothing() {
    let rig = Rig::shared();
    let engine = connect(rig).await;
    let (front, back) = (rig.create_network("half-front"), rig.create_network("half-back"));
    let mut spec = ContainerSpec::of_image(rig::image());
    spec.command = Some(vec![Text::plain("true")]);
    // Fixed addresses need a subnet that a person chose.
    let fixed = NetworkAttachment {
        ipv4_address: Some("10.1.2.3".to_owned()),
        ..network(&back)
    };
    spec.networks = vec![network(&front), fixed];
    let failed = engine.create(&request("half", spec)).await;
    assert!(
        matches!(&failed, Err(EngineError::Refused { message, .. }) if message.contains("subnet")),
        "{failed:?}"
    );
    assert_eq!(engine.inspect("half").await, Ok(None));
    rig.remove_network(&front);
    rig.remove_network(&back);
}

#[tokio::test]
async fn a_short_bind_creates_its_folder_and_a_long_one_does_not() {
    let rig = Rig::shared();
    let engine = connect(rig).await;
    let missing = rig.folder("binds").join("missing");
    let with = |create_host_path| {
        let mut spec = ContainerSpec::of_image(rig::image());
        spec.command = Some(vec![Text::plain("true")]);
        spec.mounts = vec![bind(&missing, "/bound", create_host_path)];
        spec
    };
    let refused = engine.create(&request("binds", with(false))).await;
    assert!(
        matches!(refused, Err(EngineError::Refused { status: 400, .. })),
        "{refused:?}"
    );
    let state = run(&engine, "binds", with(true)).await;
    assert_eq!(state.exit_code, 0);
    assert!(missing.is_dir());
    assert_eq!(engine.remove(&state.id, true).await, Ok(Removal::Removed));
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_refused() {
    let engine = connect(Rig::shared()).await;
    let mut spec = ContainerSpec::of_image(rig::image());
    spec.command = Some(vec![Text::plain("true")]);
    spec.logging = Some(Logging {
        driver: "none".to_owned(),
        options: BTreeMap::new(),
    });
    let state = run(&engine, "unreadable", spec).await;
    let refused = engine.logs(&state.id, &LogOptions::default()).await.map(|_| ());
    assert!(
        matches!(&refused, Err(EngineError::Refused { message, .. }) if message.contains("logging driver")),
        "{refused:?}"
    );
    assert_eq!(engine.remove(&state.id, true).await, Ok(Removal::Removed));
}

/// The same handle over a crash of the engine: the job runs on, and its end is seen.
#[tokio::test]
async fn survives_a_crash_of_the_engine() {
    let rig = Rig::with_flags(&["--live-restore"]);
    let witness = rig.witness("crash");
    let engine = connect(&rig).await;
    let peer = engine.peer().await.expect("a local engine's process");
    let label = ("suite".to_owned(), "crash".to_owned());
    let mut request = request(
        "crash",
        witness.spec("while [ ! -e /witness/go ]; do sleep 0.1; done; exit 4"),
    );
    request.labels.insert(label.0.clone(), label.1.clone());
    let id = engine.create(&request).await.expect("create").id;
    let mut events = engine.events(label, None, None).await.expect("events");
    engine.start(&id).await.expect("start");
    eventually("the job's first line", SOON, async || witness.executions() == 1).await;

    rig.kill9();
    let broken = tokio::time::timeout(SOON, async { while let Some(Ok(_)) = events.next().await {} });
    broken.await.expect("a stream does not outlive its engine");
    let away = engine.inspect(&id).await;
    assert!(away.as_ref().is_err_and(EngineError::is_unreachable), "{away:?}");
    assert_eq!(
        away.unwrap_err().to_string(),
        format!("cannot reach the engine at `{}`: connection refused", rig.host())
    );
    assert_eq!(engine.peer().await, None);
    let absent = DockerEngine::connect(&rig.endpoint()).await.err();
    assert!(absent.is_some_and(|error| error.is_unreachable()));

    rig.up();
    let state = engine.inspect(&id).await.expect("inspect").expect("it exists");
    assert_eq!(state.status, ContainerStatus::Running);
    assert_ne!(engine.peer().await.expect("a local engine's process"), peer);
    std::fs::write(witness.folder().join("go"), "").expect("let the job end");
    let state = ended(&engine, &id).await;
    assert_eq!(state.exit_code, 4);
    assert_eq!(witness.executions(), 1);
    let lines = witness.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(id.starts_with(&lines[0].container));
}

/// An engine that accepts connections and says nothing: every question ends by its own deadline,
/// many of them together, and the handle works again afterwards.
#[tokio::test]
async fn an_engine_that_hangs_does_not_hold_us() {
    let rig = Rig::start();
    let engine = connect(&rig).await;
    rig.freeze();
    let limit = Duration::from_secs(60);
    let hung = tokio::time::timeout(limit, engine.inspect("anything"))
        .await
        .expect("a deadline");
    assert!(matches!(hung, Err(EngineError::Unanswered { .. })), "{hung:?}");
    let many = futures_util::future::join_all((0..100).map(|_| engine.inspect("anything")));
    let many = tokio::time::timeout(limit, many)
        .await
        .expect("one deadline for all");
    assert!(
        many.iter()
            .all(|hung| hung.as_ref().is_err_and(EngineError::is_unreachable)),
        "{:?}",
        many[0]
    );
    rig.thaw();
    assert_eq!(engine.inspect("anything").await, Ok(None));
}

#[tokio::test]
async fn what_is_no_engine_is_unreachable_with_the_reason() {
    let why = async |endpoint: &Endpoint| match DockerEngine::connect(endpoint).await.err() {
        Some(EngineError::Unreachable { why, .. }) => why,
        other => panic!("not unreachable: {other:?}"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let absent = Endpoint::unix(folder.path().join("absent.sock"));
    assert_eq!(why(&absent).await, "no such file or directory");
    let closed = folder.path().join("closed.sock");
    drop(std::os::unix::net::UnixListener::bind(&closed).expect("listen"));
    assert_eq!(why(&Endpoint::unix(closed)).await, "connection refused");

    let telnet = FakeEngine::start(|_| Some(b"login: ".to_vec()));
    let telnet = why(&telnet.endpoint()).await;
    assert!(telnet.starts_with("it does not speak HTTP"), "{telnet}");
    let website = FakeEngine::start(|_| json(404, "<html>nothing here</html>"));
    let website = why(&website.endpoint()).await;
    assert!(
        website.starts_with("it is not a container engine (404"),
        "{website}"
    );
    let silent = FakeEngine::start(|_| None);
    assert!(!why(&silent.endpoint()).await.is_empty());
    let other = FakeEngine::start(|_| json(200, "{}"));
    assert!(why(&other.endpoint()).await.contains("names no API version"));
    let old = FakeEngine::start(|_| fake_engine::version("1.40", "1.12"));
    assert!(why(&old.endpoint()).await.contains("at least 1.41"));
    let new = FakeEngine::start(|_| fake_engine::version("9.0", "8.0"));
    assert!(
        why(&new.endpoint())
            .await
            .contains("speaks API version 8.0 or newer")
    );
}

#[tokio::test]
async fn every_request_goes_out_under_the_agreed_version() {
    let fake = FakeEngine::of_api_1_41(|_| json(404, r#"{"message":"no such container"}"#));
    let engine = DockerEngine::connect(&fake.endpoint()).await.expect("connect");
    assert_eq!(engine.inspect("a").await, Ok(None));
    assert_eq!(engine.remove("a", true).await, Ok(Removal::Gone));
    assert_eq!(
        fake.lines(),
        [
            "GET /version",
            "GET /v1.41/containers/a/json",
            "DELETE /v1.41/containers/a?v=true&force=false&link=false"
        ]
    );
    let newer = FakeEngine::start(|request| match request.path.as_str() {
        "/version" => fake_engine::version("1.99", "1.44"),
        _ => json(404, "{}"),
    });
    let engine = DockerEngine::connect(&newer.endpoint()).await.expect("connect");
    assert_eq!(engine.inspect("a").await, Ok(None));
    assert_eq!(
        newer.lines()[1],
        format!("GET /v{}/containers/a/json", ApiVersion::OURS)
    );
}

/// Engine 29 in the place of 20.10: the refusal of our version is no verdict on the request, and
/// the next one goes out under a new agreement.
#[tokio::test]
async fn an_upgrade_under_us_is_noticed() {
    let upgraded = Arc::new(AtomicBool::new(false));
    let now = upgraded.clone();
    let fake = FakeEngine::start(
        move |request| match (request.path.as_str(), now.load(Ordering::SeqCst)) {
            ("/version", false) => fake_engine::version("1.41", "1.12"),
            ("/version", true) => fake_engine::version("1.53", "1.44"),
            (path, true) if path.starts_with("/v1.41/") => json(
                400,
                r#"{"message":"client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version"}"#,
            ),
            _ => Some(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        },
    );
    let engine = DockerEngine::connect(&fake.endpoint()).await.expect("connect");
    assert_eq!(engine.start("a").await, Ok(()));
    upgraded.store(true, Ordering::SeqCst);
    let moved = engine.start("a").await;
    assert!(
        moved.as_ref().is_err_and(EngineError::is_unreachable),
        "{moved:?}"
    );
    assert_eq!(engine.start("a").await, Ok(()));
    assert_eq!(
        fake.lines().last().expect("requests"),
        "POST /v1.53/containers/a/start"
    );
}

/// Sent once, whatever happens to the answer.
#[tokio::test]
async fn a_lost_reply_is_unanswered_and_nothing_is_repeated() {
    let fake = FakeEngine::of_api_1_41(|request| match request.path.as_str() {
        path if path.contains("/cut/") => Some(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec()),
        path if path.contains("/odd/") => json(200, r#"{"Id":1}"#),
        path if path.contains("/same/") => Some(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()),
        _ => None,
    });
    let engine = DockerEngine::connect(&fake.endpoint()).await.expect("connect");
    let lost = engine.start("lost").await;
    assert!(matches!(lost, Err(EngineError::Unanswered { .. })), "{lost:?}");
    let created = engine
        .create(&request("lost", ContainerSpec::of_image(rig::image())))
        .await;
    assert!(
        matches!(created, Err(EngineError::Unanswered { .. })),
        "{created:?}"
    );
    let cut = engine.inspect("cut").await;
    assert!(matches!(cut, Err(EngineError::Unanswered { .. })), "{cut:?}");
    let odd = engine.inspect("odd").await;
    assert!(matches!(odd, Err(EngineError::Undecodable { .. })), "{odd:?}");
    assert_eq!(engine.start("same").await, Ok(()), "304: it runs already");
    let sent = |what: &str| fake.lines().iter().filter(|line| line.contains(what)).count();
    assert_eq!((sent("/lost/start"), sent("/containers/create")), (1, 1));
}

#[tokio::test]
async fn an_error_inside_a_pull_is_an_error() {
    let fake = FakeEngine::of_api_1_41(|request| match request.path.as_str() {
        path if path.contains("fromImage=said") => json(
            200,
            "{\"status\":\"Pulling\",\"id\":\"1\"}\n{\"errorDetail\":{\"message\":\"disk full\"},\"error\":\"disk full\"}\n",
        ),
        path if path.contains("/images/create") => json(200, "{\"status\":\"Pulling\"}\n"),
        _ => json(404, r#"{"message":"no such image"}"#),
    });
    let engine = DockerEngine::connect(&fake.endpoint()).await.expect("connect");
    let pull = async |image: &str| {
        engine
            .pull(&image.parse().expect("a reference"), None, &|_| ())
            .await
    };
    assert_eq!(
        pull("said").await,
        Err(EngineError::Registry("disk full".to_owned()))
    );
    let unsaid = pull("unsaid").await;
    assert!(
        matches!(&unsaid, Err(EngineError::Registry(words)) if words.contains("does not have it")),
        "{unsaid:?}"
    );
    assert!(
        fake.lines()
            .iter()
            .any(|line| line.contains("fromImage=unsaid&") && line.contains("tag=latest")),
        "never every tag"
    );
}

/// Podman 4.3 has no update endpoint, calls itself by another ID on each call, and keeps its data
/// elsewhere.
#[tokio::test]
async fn podman_is_known_by_its_component() {
    let fake = FakeEngine::start(|request| match request.path.as_str() {
        "/version" => json(
            200,
            r#"{"Version":"4.3.1","ApiVersion":"1.41","MinAPIVersion":"1.24","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}"#,
        ),
        path if path.ends_with("/info") => json(
            200,
            r#"{"ID":"changes","Name":"host-a","DockerRootDir":"/var/lib/containers/storage","LoggingDriver":"journald"}"#,
        ),
        _ => json(404, "Not Found"),
    });
    let engine = DockerEngine::connect(&fake.endpoint()).await.expect("connect");
    assert_eq!(engine.mark("a").await, Ok(false));
    let info = engine.info().await.expect("info");
    assert_eq!(
        (info.kind, info.name.as_str()),
        (EngineKind::Podman, "podman 4.3.1")
    );
    assert_eq!(info.identity, "host-a /var/lib/containers/storage");
    assert_eq!(engine.peer().await, None, "a proxy's process is no evidence");
}

#[tokio::test]
async fn a_path_is_asked_for_again_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let fake = FakeEngine::of_api_1_41(move |_| {
        // Permissions 0755, of a file: what Go's os.FileMode calls 493.
        let stat = "eyJuYW1lIjoic2giLCJzaXplIjoxLCJtb2RlIjo0OTMsIm10aW1lIjoiIiwibGlua1RhcmdldCI6IiJ9";
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Some(b"HTTP/1.1 500 Busy\r\nContent-Length: 0\r\n\r\n".to_vec()),
            1 => Some(
                format!(
                    "HTTP/1.1 200 OK\r\nX-Docker-Container-Path-Stat: {stat}\r\nContent-Length: 0\r\n\r\n"
                )
                .into_bytes(),
            ),
            _ => Some(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n".to_vec()),
        }
    });
    let engine = DockerEngine::connect(&fake.endpoint()).await.expect("connect");
    let stat = engine
        .stat_path("a", "/bin/sh")
        .await
        .expect("stat")
        .expect("it is there");
    assert_eq!((stat.is_dir, stat.mode), (false, 0o755));
    let broken = engine.stat_path("a", "/bin/sh").await;
    assert_eq!(broken.unwrap_err().to_string(), "HTTP status 500");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

/// A plain TCP endpoint, as a name with the default scheme.
#[tokio::test]
async fn speaks_tcp() {
    let port = free_port();
    let rig = Rig::with_flags(&[&format!("--host=tcp://127.0.0.1:{port}")]);
    let selection = Selection {
        host: Some(format!("127.0.0.1:{port}")),
        ..Selection::default()
    };
    let endpoint = context::resolve(&selection, &Env::default()).expect("an endpoint");
    let engine = DockerEngine::connect(&endpoint).await.expect("connect");
    assert!(engine.image_id(&rig::image()).await.expect("inspect").is_some());
    assert_eq!(engine.peer().await, None, "no evidence over TCP");
    rig.term();
    let away = engine.info().await.unwrap_err();
    assert_eq!(
        away.to_string(),
        format!("cannot reach the engine at `tcp://127.0.0.1:{port}`: connection refused")
    );
}

/// TLS both ways, as `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` ask for it.
#[tokio::test]
async fn speaks_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    make_certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = free_port();
    let _rig = Rig::with_flags(&[
        &format!("--host=tcp://127.0.0.1:{port}"),
        "--tlsverify",
        &format!("--tlscacert={}", file("ca.pem")),
        &format!("--tlscert={}", file("server-cert.pem")),
        &format!("--tlskey={}", file("server-key.pem")),
    ]);
    let connect = async |certificates: &std::path::Path| {
        let env = Env {
            docker_host: Some(format!("tcp://127.0.0.1:{port}")),
            docker_tls_verify: Some("1".to_owned()),
            docker_cert_path: Some(certificates.to_owned()),
            ..Env::default()
        };
        let endpoint = context::resolve(&Selection::default(), &env).expect("an endpoint");
        DockerEngine::connect(&endpoint).await
    };
    let engine = connect(folder.path()).await.expect("connect");
    assert!(engine.image_id(&rig::image()).await.expect("inspect").is_some());

    let nameless = tempfile::tempdir().expect("a folder");
    std::fs::copy(folder.path().join("ca.pem"), nameless.path().join("ca.pem")).expect("copy");
    let unknown = connect(nameless.path())
        .await
        .err()
        .expect("refused without a certificate");
    assert!(unknown.is_unreachable(), "{unknown:?}");
    let stranger = tempfile::tempdir().expect("a folder");
    make_certificates(stranger.path());
    let unknown = connect(stranger.path())
        .await
        .err()
        .expect("an engine that nobody vouches for");
    assert!(
        unknown.is_unreachable() && unknown.to_string().contains("certificate"),
        "{unknown:?}"
    );
}

/// A certificate authority, a server's certificate for 127.0.0.1 and a client's, as Docker's
/// documentation makes them.
pub fn make_certificates(folder: &std::path::Path) {
    let script = "set -e
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca-key.pem -out ca.pem
        make() {
            openssl req -newkey rsa:2048 -nodes -subj /CN=$1 -keyout $2 -out request.pem
            printf \"$4\" >extensions
            openssl x509 -req -days 2 -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile extensions -out $3
        }
        make server server-key.pem server-cert.pem 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth'
        make client key.pem cert.pem 'extendedKeyUsage=clientAuth'";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .output()
        .expect("run a shell");
    assert!(
        output.status.success(),
        "this test makes certificates with `openssl` (`apt-get install openssl`): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    listener.local_addr().expect("an address").port()
}

/// The janitor works when nobody can call it: the tests' process is killed outright.
#[test]
fn a_killed_test_leaves_nothing() {
    const CHILD: &str = "TEST_RIG_TO_KILL";
    if let Some(report) = std::env::var_os(CHILD) {
        let rig = Rig::start();
        let witness = rig.witness("left");
        rig.create_network("left");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let engine = connect(&rig).await;
            let id = engine
                .create(&request("left", witness.spec("sleep 300")))
                .await
                .expect("create")
                .id;
            engine.start(&id).await.expect("start");
        });
        std::fs::write(
            report,
            rig.socket().parent().expect("its folder").display().to_string(),
        )
        .expect("report");
        std::thread::sleep(Duration::from_secs(300));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report");
    let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "docker::a_killed_test_leaves_nothing", "--nocapture"])
        .env(CHILD, &report)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("run this test again");
    let mut left = String::new();
    for _ in 0..1200 {
        left = std::fs::read_to_string(&report).unwrap_or_default();
        if !left.is_empty() || child.try_wait().expect("look after it").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!left.is_empty(), "the rig never came up");
    let sockets = shim_sockets(&left);
    assert!(!sockets.is_empty(), "the job's shim has a socket");
    child.kill().expect("kill it");
    child.wait().expect("wait for it");
    let tag = left.rsplit('-').next().unwrap_or_default().to_owned();
    let traces = || {
        let mounts = std::fs::read_to_string("/proc/mounts").expect("the mounts");
        let interfaces = std::fs::read_dir("/sys/class/net").expect("the interfaces");
        mounts.contains(&left)
            || command_lines().iter().any(|line| line.contains(&left))
            || std::path::Path::new(&left).exists()
            || sockets.iter().any(|socket| socket.exists())
            || interfaces
                .flatten()
                .any(|name| name.file_name().to_string_lossy().contains(&tag))
    };
    // An engine that is ended takes its time on a machine that has none to spare.
    let limit = std::time::Instant::now() + 4 * SOON;
    while traces() {
        assert!(std::time::Instant::now() < limit, "traces of {left} remain");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Where the shims of a rig listen, as containerd wrote it down: in `address` before 2.0, in
/// `bootstrap.json` since.
fn shim_sockets(rig: &str) -> Vec<std::path::PathBuf> {
    let tasks = std::path::Path::new(rig).join("run/containerd/daemon/io.containerd.runtime.v2.task/moby");
    let tasks = std::fs::read_dir(tasks).expect("the running tasks").flatten();
    tasks
        .map(|task| {
            ["address", "bootstrap.json"]
                .into_iter()
                .find_map(|file| std::fs::read_to_string(task.path().join(file)).ok())
                .expect("a shim's address")
        })
        .map(|written| {
            let (_, address) = written.split_once("unix://").expect("a socket");
            address.split('"').next().unwrap_or_default().into()
        })
        .collect()
}

fn command_lines() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("the processes").flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

const SOON: Duration = Duration::from_secs(30);

fn request(name: &str, spec: ContainerSpec) -> CreateRequest {
    CreateRequest {
        name: Some(name.parse().expect("a valid name")),
        spec,
        labels: BTreeMap::new(),
        environment: BTreeMap::new(),
        attach: false,
        reserved: false,
    }
}

fn bind(source: &std::path::Path, target: &str, create_host_path: bool) -> Mount {
    Mount {
        kind: MountKind::Bind {
            source: source.to_owned(),
            create_host_path,
        },
        target: target.to_owned(),
        read_only: true,
    }
}

fn network(name: &str) -> NetworkAttachment {
    NetworkAttachment {
        name: name.to_owned(),
        aliases: vec![format!("{name}-alias")],
        ipv4_address: None,
        ipv6_address: None,
    }
}

async fn run(engine: &DockerEngine, name: &str, spec: ContainerSpec) -> ContainerState {
    let id = engine.create(&request(name, spec)).await.expect("create").id;
    engine.start(&id).await.expect("start");
    ended(engine, &id).await
}

async fn ended(engine: &DockerEngine, id: &str) -> ContainerState {
    let state = async || engine.inspect(id).await.expect("inspect").expect("it exists");
    eventually("the container's end", SOON, async || {
        state().await.status == ContainerStatus::Exited
    })
    .await;
    state().await
}

async fn output(engine: &DockerEngine, id: &str) -> String {
    let mut logs = engine.logs(id, &LogOptions::default()).await.expect("logs");
    let mut text = Vec::new();
    while let Some(chunk) = logs.next().await {
        text.extend_from_slice(&chunk.expect("a chunk").bytes);
    }
    String::from_utf8(text).expect("text")
}

/// What at-most-once rests on after an engine that was killed has come back.
#[tokio::test]
async fn a_log_is_opened_by_a_start_and_by_nothing_else() {
    let rig = Rig::start();
    let engine = connect(&rig).await;
    let (_, made) = rig.post(
        "/containers/create?name=logged",
        r#"{"Image":"busybox:test","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}"#,
    );
    let opened = async || {
        let state = engine
            .inspect("logged")
            .await
            .expect("inspect")
            .expect("it is there");
        engine.log_was_opened(&state).await
    };
    assert_eq!(opened().await, Some(false), "{made}");
    rig.restart();
    assert_eq!(opened().await, Some(false), "a restart opens none");
    assert_eq!(rig.post("/containers/logged/start", "").0, 204);
    assert_eq!(opened().await, Some(true));
    rig.restart();
    rig.restart();
    assert_eq!(opened().await, Some(true), "it stays so");
}
