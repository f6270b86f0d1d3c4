//! A socket that answers like an engine, or fails like one: for what a real engine cannot be made
//! to do on request, such as losing a reply.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use docker_scheduler::engine::context::Endpoint;

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
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
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(request)
}
