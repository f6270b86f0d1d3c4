//! A socket that answers like an engine, or fails like one: for what a real engine cannot be made
//! to do on request, such as losing a reply.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use docker_scheduler::engine::context::Endpoint;
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Without its query and its version.
    pub fn endpoint(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        match path.strip_prefix("/v1.") {
            Some(rest) => rest.find('/').map_or(path, |at| &rest[at..]),
            None => path,
        }
    }

    /// A parameter of its query, as it was sent.
    pub fn parameter(&self, key: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The bytes of an answer; `None` closes the connection without one.
pub type Answer = Option<Vec<u8>>;

pub fn json(status: u16, body: &str) -> Answer {
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    Some([head.as_bytes(), body.as_bytes()].concat())
}

/// The answer to `/version` of an engine with this window of API versions.
pub fn version(newest: &str, oldest: &str) -> Answer {
    json(
        200,
        &format!(r#"{{"Version":"99.1","ApiVersion":"{newest}","MinAPIVersion":"{oldest}"}}"#),
    )
}

pub struct FakeEngine {
    folder: tempfile::TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeEngine {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> FakeEngine {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let listener = UnixListener::bind(folder.path().join("engine.sock")).expect("listen");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), requests.clone());
        // The thread lives as long as the test process; nobody can connect once the folder is gone.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen) = (answer.clone(), seen.clone());
                std::thread::spawn(move || serve(stream, &*answer, &seen));
            }
        });
        FakeEngine { folder, requests }
    }

    /// As an engine of API 1.41 whose answers are `answer`'s, `/version` aside.
    pub fn of_api_1_41(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> FakeEngine {
        FakeEngine::start(move |request| match request.path.as_str() {
            "/version" => version("1.41", "1.12"),
            _ => answer(request),
        })
    }

    /// An engine of that API version that notes containers and volumes, never runs anything, and has
    /// from the start what `tests/manifests/keys.yaml` asks for.
    pub fn remembering(newest: &str) -> FakeEngine {
        let team_shared = json!({
            "Name": "team-shared", "Driver": "local", "Mountpoint": "/m", "Labels": {}, "Scope": "local", "Options": {},
        });
        let made = Mutex::new(Made {
            volumes: vec![team_shared],
            ..Made::default()
        });
        let newest = newest.to_owned();
        FakeEngine::start(move |request| remembered(&made, &newest, request))
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::unix(self.socket())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panicked here").clone()
    }

    /// `METHOD path` of each request so far.
    pub fn lines(&self) -> Vec<String> {
        let requests = self.requests();
        requests
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }
}

fn serve(stream: UnixStream, answer: &dyn Fn(&Request) -> Answer, seen: &Mutex<Vec<Request>>) {
    let Some(request) = read_request(&stream) else {
        return;
    };
    seen.lock().expect("no test panicked here").push(request.clone());
    if let Some(bytes) = answer(&request) {
        // The client may have gone meanwhile; that is its affair.
        drop((&stream).write_all(&bytes));
    }
}

fn read_request(stream: &UnixStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let mut request = Request {
        method: method.to_owned(),
        path: rest.split(' ').next()?.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((key, value)) => request.headers.push((key.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// An executable file, as the engine tells of one.
const STAT: &str = "eyJuYW1lIjoic2giLCJzaXplIjoxLCJtb2RlIjo0OTMsIm10aW1lIjoiMjAyNi0wMS0wMVQwMDowMDowMFoiLCJsaW5rVGFyZ2V0IjoiIn0=";

/// What an engine remembers that never runs anything.
#[derive(Default)]
struct Made {
    /// Bodies of creates, by name.
    containers: BTreeMap<String, Value>,
    volumes: Vec<Value>,
}

/// Sixty-four digits that stand for a name.
pub fn id(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0<64}").chars().take(64).collect()
}

fn remembered(made: &Mutex<Made>, newest: &str, request: &Request) -> Answer {
    let made = &mut *made.lock().expect("no test panicked here");
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.endpoint();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let of = |made: &Made, part: &str| {
        let named = |(name, _): &(&String, &Value)| *name == part || id(name) == part;
        made.containers
            .iter()
            .find(named)
            .map(|(name, body)| inspected(name, body))
    };
    let reply = match (request.method.as_str(), &parts[..]) {
        ("GET", ["version"]) => return version(newest, "1.41"),
        ("GET", ["info"]) => {
            json!({"ID": "ONE", "Name": "one", "DockerRootDir": "/var/lib/docker", "LoggingDriver": "json-file"})
        }
        ("GET", ["containers", "json"]) => {
            let web = json!({
                "Id": id("web"), "Names": ["/web"], "State": "running",
                "Labels": {"com.docker.compose.project": "keys", "com.docker.compose.service": "web"},
            });
            let ours = made.containers.iter().map(|(name, body)| listed(name, body));
            ours.chain([web]).collect()
        }
        ("GET", ["containers", name, "json"]) => match of(made, name) {
            Some(state) => state,
            None => return json(404, r#"{"message":"no such container"}"#),
        },
        ("HEAD", ["containers", _, "archive"]) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nX-Docker-Container-Path-Stat: {STAT}\r\nConnection: close\r\n\r\n"
            );
            return Some(head.into_bytes());
        }
        ("GET", ["images", ..]) => json!({"Id": format!("sha256:{}", id("image"))}),
        ("GET", ["networks"]) => {
            json!([{"Name": "keys_front"}, {"Name": "keys_back"}, {"Name": "keys_default"}])
        }
        ("GET", ["volumes"]) => json!({"Volumes": made.volumes}),
        ("POST", ["volumes", "create"]) => {
            let volume = json!({
                "Name": body["Name"], "Labels": body["Labels"], "Driver": "local", "Mountpoint": "/m",
                "Scope": "local", "Options": {},
            });
            made.volumes.push(volume.clone());
            volume
        }
        ("POST", ["containers", "create"]) => {
            let name = request.parameter("name").unwrap_or_else(|| "nameless".to_owned());
            let reply = json!({"Id": id(&name), "Warnings": []});
            made.containers.insert(name, body);
            return json(201, &reply.to_string());
        }
        ("POST", ["images", "create"]) => json!({"status": "done"}),
        ("POST", ["networks", _, "connect"]) | ("PUT", ["containers", _, "archive"]) => json!({}),
        _ => {
            let message = format!("not expected here: {} {path}", request.method);
            return json(500, &json!({ "message": message }).to_string());
        }
    };
    json(200, &reply.to_string())
}

fn inspected(name: &str, body: &Value) -> Value {
    json!({
        "Id": id(name), "Name": format!("/{name}"), "Image": format!("sha256:{}", id("image")), "Config": body,
        "State": {"Status": "created", "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"},
        "HostConfig": {"LogConfig": {"Type": "json-file"}}, "LogPath": "",
    })
}

fn listed(name: &str, body: &Value) -> Value {
    json!({
        "Id": id(name), "Names": [format!("/{name}")], "Image": body["Image"],
        "ImageID": format!("sha256:{}", id("image")), "State": "created", "Labels": body["Labels"],
    })
}
