//! Pulls from a private registry, through a real engine, with logins as the docker CLI keeps them, and
//! from registries that refuse, limit, dawdle and break off.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use docker_scheduler::engine::context::Endpoint;
use docker_scheduler::engine::docker::DockerEngine;
use docker_scheduler::engine::{Engine, EngineError, Observe, PullProgress};
use docker_scheduler::model::ImageRef;
use sha2::{Digest, Sha256};

use crate::cli::{Program, declared_on, manifest};
use crate::rig::{IMAGE, Rig, install};

const USER: &str = "robot";
/// Its login, encoded, needs both letters in which the two base64 alphabets differ.
const PASSWORD: &str = "p\u{fb}\u{ff}\u{fe}~~~???>>>";

/// A registry of API 2 with one image, for one user.
struct Registry {
    address: String,
    manner: Arc<Mutex<Manner>>,
}

/// How it treats who has logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Kind,
    /// This account may not have that image.
    Denies,
    /// So many pulls in six hours, and no more.
    Limits,
    /// An answer that no registry gives.
    Breaks,
    /// The layer comes in small pieces.
    Dawdles,
    /// The connection ends in the middle of the layer.
    CutsOff,
}

struct Blobs {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Registry {
    fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address").to_string();
        let manner = Arc::new(Mutex::new(Manner::Kind));
        // A layer that the engine has from another registry is not fetched again.
        let own = address.clone();
        let current = manner.clone();
        std::thread::spawn(move || {
            let blobs = Arc::new(blobs(&own));
            for stream in listener.incoming().flatten() {
                let (blobs, manner) = (blobs.clone(), *lock(&current));
                std::thread::spawn(move || serve(stream, &blobs, manner));
            }
        });
        Registry { address, manner }
    }

    fn that(manner: Manner) -> Registry {
        let registry = Registry::start();
        registry.becomes(manner);
        registry
    }

    fn becomes(&self, manner: Manner) {
        *lock(&self.manner) = manner;
    }

    /// The docker CLI's file with a login for it.
    fn login(&self, user: &str, password: &str) -> tempfile::TempDir {
        let login = base64(format!("{user}:{password}").as_bytes());
        config(&format!(
            r#"{{"auths":{{"{}":{{"auth":"{login}"}}}}}}"#,
            self.address
        ))
    }

    fn image(&self, name: &str) -> ImageRef {
        format!("{}/{name}", self.address)
            .parse()
            .expect("a valid reference")
    }
}

/// A registry at `127.0.0.1:5000` of another network namespace, served by another process of these tests.
pub struct Elsewhere(std::process::Child);

impl Elsewhere {
    pub const ADDRESS: &str = "127.0.0.1:5000";

    pub fn start(namespace: &str) -> Elsewhere {
        let tests = std::env::current_exe().expect("this program");
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{namespace}"))
            .arg(tests)
            .args(["--exact", "registry::serves_another_namespace", "--ignored"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("run nsenter");
        Elsewhere(child)
    }

    /// The docker CLI's folder, with or without a login for it.
    pub fn config(with_login: bool) -> tempfile::TempDir {
        let login = base64(format!("{USER}:{PASSWORD}").as_bytes());
        config(&match with_login {
            true => format!(r#"{{"auths":{{"{}":{{"auth":"{login}"}}}}}}"#, Elsewhere::ADDRESS),
            false => "{}".to_owned(),
        })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // It serves until then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "never ends: another test runs it in a namespace"]
fn serves_another_namespace() {
    let listener = TcpListener::bind(Elsewhere::ADDRESS).expect("listen");
    let blobs = Arc::new(blobs(Elsewhere::ADDRESS));
    for stream in listener.incoming().flatten() {
        let blobs = blobs.clone();
        std::thread::spawn(move || serve(stream, &blobs, Manner::Kind));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn blobs(seed: &str) -> Blobs {
    // Large enough that its progress can be seen: containerd counts in mebibytes.
    let content = [seed.as_bytes(), &vec![b'x'; 6 << 20]].concat();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", content.as_slice())
        .expect("add a file");
    let layer = tar.into_inner().expect("finish the layer");
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    })
    .to_string()
    .into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": config.len(),
            "digest": digest(&config),
        },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "size": layer.len(),
            "digest": digest(&layer),
        }],
    })
    .to_string()
    .into_bytes();
    Blobs {
        manifest,
        config,
        layer,
    }
}

const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn serve(mut stream: TcpStream, blobs: &Blobs, manner: Manner) {
    let mut reader = BufReader::new(stream.try_clone().expect("share the connection"));
    // A current engine tries TLS first, and goes on in plain text only after a plain answer to it.
    if reader.fill_buf().is_ok_and(|bytes| bytes.first() == Some(&0x16)) {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        return;
    }
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(_) if line.trim_end().is_empty() => break,
            Ok(_) => head.push(line.trim_end().to_owned()),
            Err(_) => return,
        }
    }
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else {
        return;
    };
    let login = format!("Basic {}", base64(format!("{USER}:{PASSWORD}").as_bytes()));
    let allowed = head
        .iter()
        .filter_map(|line| line.split_once(": "))
        .any(|(name, value)| name.eq_ignore_ascii_case("authorization") && value == login);
    let (status, kind, body): (_, _, &[u8]) = match path.rsplit_once('/') {
        _ if !allowed => (
            401,
            "application/json",
            br#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#,
        ),
        Some(("/v2", "")) => (200, "application/json", b"{}"),
        _ if manner == Manner::Denies => (
            403,
            "application/json",
            br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
        ),
        _ if manner == Manner::Limits => (
            429,
            "application/json",
            br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#,
        ),
        _ if manner == Manner::Breaks => (500, "text/html", b"<html>oops</html>"),
        Some((_, "latest" | "1")) => (200, MANIFEST_TYPE, &blobs.manifest),
        Some((_, name)) if name == digest(&blobs.manifest) => (200, MANIFEST_TYPE, &blobs.manifest),
        Some((_, name)) if name == digest(&blobs.config) => (200, "application/octet-stream", &blobs.config),
        Some((_, name)) if name == digest(&blobs.layer) => (200, "application/octet-stream", &blobs.layer),
        _ => (
            404,
            "application/json",
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        ),
    };
    // An engine whose download broke off asks for the rest.
    let from = head
        .iter()
        .filter_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("range: bytes=")
                .map(str::to_owned)
        })
        .find_map(|range| range.trim_end_matches('-').parse::<usize>().ok())
        .filter(|from| *from < body.len());
    let status = if from.is_some() { 206 } else { status };
    let rest = &body[from.unwrap_or(0)..];
    let head = format!(
        "HTTP/1.1 {status} {}\r\nWww-Authenticate: Basic realm=\"test\"\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
         Retry-After: 3600\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {}\r\nContent-Length: {}\r\n\
         Content-Range: bytes {}-{}/{}\r\nConnection: close\r\n\r\n",
        phrase(status),
        digest(body),
        rest.len(),
        from.unwrap_or(0),
        body.len().saturating_sub(1),
        body.len(),
    );
    let is_layer = body == blobs.layer;
    // An engine that breaks off is its own affair.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| match manner {
        Manner::CutsOff if is_layer => stream.write_all(&rest[..rest.len() / 2]),
        Manner::Dawdles if is_layer => rest.chunks(rest.len() / 6).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(400));
            stream.write_all(piece)
        }),
        _ => stream.write_all(rest),
    });
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        _ => "Internal Server Error",
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = group
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = ALPHABET[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

/// A `config.json` of the docker CLI in a folder of its own.
fn config(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.json"), text).expect("write the configuration");
    folder
}

async fn engine(config: &Path) -> DockerEngine {
    let endpoint = Endpoint {
        config_dir: Some(config.to_owned()),
        ..Rig::shared().endpoint()
    };
    DockerEngine::connect(&endpoint).await.expect("connect")
}

async fn pull(engine: &DockerEngine, image: &ImageRef) -> Result<Vec<PullProgress>, EngineError> {
    let seen = Mutex::new(Vec::new());
    engine
        .pull(image, None, &|progress| {
            seen.lock().expect("one at a time").push(progress)
        })
        .await?;
    Ok(seen.into_inner().expect("one at a time"))
}

fn words(result: Result<Vec<PullProgress>, EngineError>) -> String {
    match result {
        Err(EngineError::Registry(words)) => words,
        other => panic!("no refusal of a registry: {other:?}"),
    }
}

#[tokio::test]
async fn a_stored_login_reaches_the_registry() {
    let registry = Registry::start();
    let config = registry.login(USER, PASSWORD);
    let engine = engine(config.path()).await;
    let image = registry.image("private");
    assert_eq!(engine.image_id(&image).await, Ok(None));
    let progress = pull(&engine, &image).await.expect("pull");
    assert!(
        progress.iter().any(|step| step.status.contains("Pull complete")),
        "{progress:?}"
    );
    assert!(engine.image_id(&image).await.expect("inspect").is_some());
    let missing = words(pull(&engine, &registry.image("private:no-such-tag")).await);
    assert!(
        missing.contains("manifest unknown") || missing.contains("not found"),
        "{missing}"
    );
}

#[tokio::test]
async fn without_a_login_the_registrys_words_come_through() {
    let registry = Registry::start();
    let config = config("{}");
    let engine = engine(config.path()).await;
    let refused = words(pull(&engine, &registry.image("private")).await);
    assert!(refused.contains("no basic auth credentials"), "{refused}");
}

/// What a person is told when a pull ends in that way: the registry's words, and the advice.
async fn told(registry: &Registry, login: &tempfile::TempDir, image: &str) -> (String, String) {
    let refused = pull(&engine(login.path()).await, &registry.image(image)).await;
    let error = refused.expect_err("a refusal");
    (error.to_string(), error.advice().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_refusal_comes_with_what_to_do() {
    // The registry's own words, or with the containerd image store what the engine makes of its status.
    for (manner, image, words, advice) in [
        (
            Manner::Denies,
            "private",
            ["denied", "403 Forbidden"],
            "may not pull",
        ),
        (
            Manner::Limits,
            "private",
            ["toomanyrequests", "429 Too Many Requests"],
            "`docker login`",
        ),
        (
            Manner::Kind,
            "private:no-such-tag",
            ["manifest unknown", "not found"],
            "name and tag",
        ),
        (
            Manner::Breaks,
            "private",
            ["unexpected HTTP status: 500", "500 Internal Server Error"],
            "trouble of its own",
        ),
    ] {
        let registry = Registry::that(manner);
        let told = told(&registry, &registry.login(USER, PASSWORD), image).await;
        assert!(
            words.iter().any(|words| told.0.contains(words)),
            "{manner:?}: {told:?}"
        );
        assert!(told.1.contains(advice), "{manner:?}: {told:?}");
    }
    let registry = Registry::start();
    let wrong = told(&registry, &registry.login(USER, "old password"), "private").await;
    assert!(wrong.0.to_lowercase().contains("unauthorized"), "{wrong:?}");
    assert!(wrong.1.contains("`docker login`"), "{wrong:?}");
    let none = told(&registry, &config("{}"), "private").await;
    assert!(none.1.contains("`docker login`"), "{none:?}");
    let nobody = Registry {
        address: "127.0.0.1:9".to_owned(),
        manner: registry.manner.clone(),
    };
    let away = told(&nobody, &config("{}"), "private").await;
    assert!(away.0.contains("connection refused"), "{away:?}");
    assert!(away.1.contains("cannot reach the registry"), "{away:?}");
}

#[tokio::test]
async fn a_slow_pull_shows_how_far_it_is() {
    let registry = Registry::that(Manner::Dawdles);
    let login = registry.login(USER, PASSWORD);
    let seen = pull(&engine(login.path()).await, &registry.image("slow"))
        .await
        .expect("pull");
    let some: Vec<_> = seen
        .iter()
        .filter(|step| step.status == "Downloading")
        .map(|step| (step.current_bytes, step.total_bytes))
        .collect();
    assert!(some.len() > 1, "{seen:?}");
    assert!(
        some.iter()
            .all(|(current, total)| current <= total && *total > 6 << 20),
        "{some:?}"
    );
}

#[tokio::test]
async fn a_pull_that_is_cut_off_fails_and_the_next_one_works() {
    // An engine that tries once: by itself it would go on for a minute.
    let rig = Rig::with_flags(&["--max-download-attempts=1"]);
    let registry = Registry::that(Manner::CutsOff);
    let login = registry.login(USER, PASSWORD);
    let endpoint = Endpoint {
        config_dir: Some(login.path().to_owned()),
        ..rig.endpoint()
    };
    let engine = DockerEngine::connect(&endpoint).await.expect("connect");
    let image = registry.image("private");
    let error = pull(&engine, &image).await.expect_err("half a layer");
    assert!(error.to_string().contains("EOF"), "{error}");
    assert!(
        error.advice().is_some_and(|advice| advice.contains("broke off")),
        "{error}"
    );
    assert_eq!(engine.image_id(&image).await, Ok(None), "half an image is none");
    registry.becomes(Manner::Kind);
    pull(&engine, &image).await.expect("the whole layer");
    assert!(engine.image_id(&image).await.expect("inspect").is_some());
}

/// What a person sees: the words at once, in `apply`, `plan` and `doctor`, and `run`'s exit code.
#[test]
fn a_job_whose_image_is_refused_says_so_everywhere() {
    let registry = Registry::that(Manner::Limits);
    let login = registry.login(USER, PASSWORD);
    let program = declared_on(Rig::shared(), "registrylimit");
    let image = format!("{}/private:latest", registry.address);
    program.declare("job.yaml", &manifest("true").replace(IMAGE, &image));
    let run = |arguments: &[&str]| {
        let mut command = program.command();
        command.args(arguments).env("DOCKER_CONFIG", login.path());
        crate::cli::Ended::of(command.output().expect("the program runs"))
    };
    let applied = run(&["apply"]);
    assert_eq!(applied.code, Some(1), "{applied:?}");
    for said in [applied.stderr, run(&["plan"]).stdout, run(&["doctor"]).stdout] {
        assert!(
            (said.contains("toomanyrequests") || said.contains("429 Too Many Requests"))
                && said.contains("`docker login`"),
            "{said}"
        );
    }
    let one_off = run(&["run", &image, "true"]);
    assert_eq!(one_off.code, Some(125), "{one_off:?}");
    assert!(one_off.stderr.contains("\nhint: log in with"), "{one_off:?}");
    // The limit is over: an edit, or the next try, arms the job. (The image has no program to run.)
    run(&["down"]).ok();
    let _: &Program = &program;
}

/// Helpers are found in PATH, which a test must not change for its neighbours: the test starts
/// itself again with a PATH of its own.
#[tokio::test]
async fn helpers_are_asked() {
    const CHILD: &str = "TEST_REGISTRY_HELPERS";
    if std::env::var_os(CHILD).is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        helper(
            folder.path(),
            "good",
            &format!(r#"echo '{{"Username":"{USER}","Secret":"{PASSWORD}"}}'"#),
        );
        helper(
            folder.path(),
            "empty",
            "echo credentials not found in native keychain; exit 1",
        );
        helper(folder.path(), "locked", "echo the key store is locked; exit 1");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "registry::helpers_are_asked", "--nocapture"])
            .env("PATH", format!("{}:{path}", folder.path().display()))
            .env(CHILD, "1")
            .output()
            .expect("run this test again");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let registry = Registry::start();
    let image = registry.image("private");
    let with = async |text: String| {
        let config = config(&text);
        pull(&engine(config.path()).await, &image).await
    };
    let one = |name: &str| format!(r#"{{"credHelpers":{{"{}":"{name}"}}}}"#, registry.address);
    let all = |name: &str| {
        format!(
            r#"{{"credsStore":"{name}","auths":{{"{}":{{}}}}}}"#,
            registry.address
        )
    };
    with(one("good")).await.expect("a helper of its own");
    with(all("good")).await.expect("the store for all");
    assert!(
        words(with(all("empty")).await).contains("no basic auth"),
        "no login is no error of its own"
    );
    let locked = words(with(one("locked")).await);
    assert!(
        locked.contains("`docker-credential-locked` failed") && locked.contains("the key store is locked"),
        "{locked}"
    );
    let missing = words(with(one("absent")).await);
    assert!(
        missing.contains("cannot run the credential helper `docker-credential-absent`"),
        "{missing}"
    );
    let broken = words(with("{".to_owned()).await);
    assert!(broken.contains("cannot read logins from"), "{broken}");
}

fn helper(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    // It must read the server's name, or the caller's write fails.
    install(&path, &format!("#!/bin/sh\nread -r server\n{script}\n"));
}
