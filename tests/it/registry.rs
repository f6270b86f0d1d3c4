//! Pulls from a private registry, through a real engine, with logins as the docker CLI keeps them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use docker_scheduler::engine::context::Endpoint;
use docker_scheduler::engine::docker::DockerEngine;
use docker_scheduler::engine::{Engine, EngineError, Observe, PullProgress};
use docker_scheduler::model::ImageRef;
use sha2::{Digest, Sha256};

use crate::rig::Rig;

const USER: &str = "robot";
/// Its login, encoded, needs both letters in which the two base64 alphabets differ.
const PASSWORD: &str = "p\u{fb}\u{ff}\u{fe}~~~???>>>";

/// A registry of API 2 with one image, for one user.
struct Registry {
    address: String,
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
        std::thread::spawn(move || {
            let blobs = blobs();
            for stream in listener.incoming().flatten() {
                serve(stream, &blobs);
            }
        });
        Registry { address }
    }

    fn image(&self, name: &str) -> ImageRef {
        format!("{}/{name}", self.address)
            .parse()
            .expect("a valid reference")
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn blobs() -> Blobs {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", &b"hi"[..])
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

fn serve(mut stream: TcpStream, blobs: &Blobs) {
    let mut reader = BufReader::new(stream.try_clone().expect("share the connection"));
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
        Some((_, "latest" | "1")) => (200, MANIFEST_TYPE, &blobs.manifest),
        Some((_, name)) if name == digest(&blobs.manifest) => (200, MANIFEST_TYPE, &blobs.manifest),
        Some((_, name)) if name == digest(&blobs.config) => (200, "application/octet-stream", &blobs.config),
        Some((_, name)) if name == digest(&blobs.layer) => (200, "application/octet-stream", &blobs.layer),
        Some(("/v2", "")) => (200, "application/json", b"{}"),
        _ => (
            404,
            "application/json",
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        ),
    };
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nWww-Authenticate: Basic realm=\"test\"\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
         Content-Type: {kind}\r\nDocker-Content-Digest: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        digest(body),
        body.len()
    );
    drop(
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body)),
    );
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
    let login = base64(format!("{USER}:{PASSWORD}").as_bytes());
    let config = config(&format!(
        r#"{{"auths":{{"{}":{{"auth":"{login}"}}}}}}"#,
        registry.address
    ));
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
    fs::write(&path, format!("#!/bin/sh\nread -r server\n{script}\n")).expect("write a helper");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it a program");
}
