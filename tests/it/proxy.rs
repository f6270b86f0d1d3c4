//! A socket between the real binary and a real engine that does to requests and replies what
//! networks, proxies and dying daemons do: loses, delays, repeats, cuts, falsifies, or hangs them.
//!
//! It knows as much HTTP as it takes to tell requests apart, passes on everything else as it is,
//! and decides nothing by chance: a test plants a fault for the requests that it picks.

// Not every test module uses every part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One request of a client, as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Without the API version; with its query.
    pub path: String,
    head: Vec<u8>,
    body: Vec<u8>,
    upgrades: bool,
}

impl Request {
    /// By method and the end of the path before its query.
    pub fn is(&self, method: &str, ending: &str) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        self.method == method && path.ends_with(ending)
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let head = String::from_utf8_lossy(&self.head);
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), &self.body].concat()
    }
}

/// What happens to a request or its reply. "The client" is the program under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The engine does it; the client's connection ends without a reply.
    LoseReply,
    /// The engine never hears of it; the client's connection ends without a reply.
    LoseRequest,
    /// The client's connection ends at once, and the engine gets the request this much later: what
    /// a client that has given up leaves behind.
    Late(Duration),
    /// The engine gets it this much later; the client may wait for it.
    DelayRequest(Duration),
    /// The engine does it at once; the reply comes this much later.
    DelayReply(Duration),
    /// The engine gets it twice, one after the other; the client is given the second reply, as by a
    /// proxy that tries again.
    Duplicate,
    /// The reply ends in its middle.
    Truncate,
    /// The engine does it; the client is told "500".
    Falsify,
    /// Nothing is passed on, and the connection stays open.
    Hang,
    /// A stream that ends after this time.
    CutAfter(Duration),
    /// A stream of lines in which each comes twice.
    Echo,
}

type Pick = Box<dyn Fn(&Request) -> bool + Send + Sync>;

struct Rule {
    pick: Pick,
    fault: Fault,
    /// How many requests it is still for.
    left: AtomicU32,
    hits: AtomicU32,
}

/// A fault that was planted: how often it has struck.
pub struct Planted(Arc<Rule>);

impl Planted {
    pub fn hits(&self) -> u32 {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// From here on, it strikes no more.
    pub fn lift(&self) {
        self.0.left.store(0, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Shared {
    engine: Mutex<PathBuf>,
    rules: Mutex<Vec<Arc<Rule>>>,
    seen: Mutex<Vec<Request>>,
    clients: Mutex<Vec<UnixStream>>,
    frozen: AtomicBool,
    open: AtomicU32,
}

/// The socket; it is gone with this value, while connections under way live as long as they last.
pub struct Proxy {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
}

/// For ever, as far as a test is concerned.
pub const ALWAYS: u32 = u32::MAX;

impl Proxy {
    pub fn start(engine: &Path) -> Proxy {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let listener = UnixListener::bind(folder.path().join("engine.sock")).expect("listen");
        let shared = Arc::new(Shared {
            engine: Mutex::new(engine.to_owned()),
            ..Shared::default()
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || {
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    // A connection that breaks is this helper's daily bread.
                    drop(serve(&shared, client));
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Proxy { folder, shared }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// For `--host`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Plants a fault for the next `times` requests that are picked. The one planted first strikes.
    pub fn plant(
        &self,
        times: u32,
        fault: Fault,
        pick: impl Fn(&Request) -> bool + Send + Sync + 'static,
    ) -> Planted {
        let rule = Arc::new(Rule {
            pick: Box::new(pick),
            fault,
            left: AtomicU32::new(times),
            hits: AtomicU32::new(0),
        });
        lock(&self.shared.rules).push(rule.clone());
        Planted(rule)
    }

    /// No fault strikes any more; what has been struck stays so.
    pub fn lift(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Everything stands still, with the socket open: also what is under way.
    pub fn freeze(&self) {
        self.shared.frozen.store(true, Ordering::SeqCst);
    }

    /// And goes on: what was asked meanwhile is passed on now, whoever still waits for it.
    pub fn thaw(&self) {
        self.shared.frozen.store(false, Ordering::SeqCst);
    }

    /// Another engine behind the same socket, for every connection from here on.
    pub fn switch_to(&self, engine: &Path) {
        engine.clone_into(&mut lock(&self.shared.engine));
    }

    /// Every stream of events under way ends now.
    pub fn cut(&self) {
        for client in lock(&self.shared.clients).drain(..) {
            // It may have ended long ago.
            drop(client.shutdown(Shutdown::Both));
        }
    }

    /// Connections that are open at this moment.
    pub fn open(&self) -> u32 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Everything that clients have asked so far.
    pub fn seen(&self) -> Vec<Request> {
        lock(&self.shared.seen).clone()
    }

    /// What was asked since the last call.
    pub fn take_seen(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.shared.seen))
    }

    /// How many start requests clients have sent for each container.
    pub fn starts(&self) -> BTreeMap<String, u32> {
        let mut starts = BTreeMap::new();
        for request in self.seen() {
            if request.is("POST", "/start") {
                *starts.entry(request.path).or_default() += 1;
            }
        }
        starts
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn fault_for(&self, request: &Request) -> Option<Fault> {
        let rules = lock(&self.rules);
        let rule = rules
            .iter()
            .find(|rule| rule.left.load(Ordering::SeqCst) > 0 && (rule.pick)(request))?;
        if rule.left.load(Ordering::SeqCst) != ALWAYS {
            rule.left.fetch_sub(1, Ordering::SeqCst);
        }
        rule.hits.fetch_add(1, Ordering::SeqCst);
        Some(rule.fault)
    }

    fn wait_while_frozen(&self) {
        while self.frozen.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&*lock(&self.engine))
    }

    /// The engine's whole reply.
    fn ask(&self, request: &Request) -> io::Result<Vec<u8>> {
        let mut engine = self.connect()?;
        engine.write_all(&request.bytes())?;
        let mut reply = Vec::new();
        engine.read_to_end(&mut reply)?;
        Ok(reply)
    }
}

fn serve(shared: &Arc<Shared>, mut client: UnixStream) -> io::Result<()> {
    let request = read_request(&client)?;
    if request.is("GET", "/events") {
        lock(&shared.clients).push(client.try_clone()?);
    }
    lock(&shared.seen).push(request.clone());
    let fault = shared.fault_for(&request);
    shared.wait_while_frozen();
    match fault {
        None => relay(shared, &request, client),
        Some(Fault::LoseReply) => shared.ask(&request).map(drop),
        Some(Fault::LoseRequest) => Ok(()),
        Some(Fault::Late(delay)) => {
            drop(client);
            std::thread::sleep(delay);
            shared.ask(&request).map(drop)
        }
        Some(Fault::DelayRequest(delay)) => {
            std::thread::sleep(delay);
            let reply = shared.ask(&request)?;
            client.write_all(&reply)
        }
        Some(Fault::DelayReply(delay)) => {
            let reply = shared.ask(&request)?;
            std::thread::sleep(delay);
            client.write_all(&reply)
        }
        Some(Fault::Duplicate) => {
            shared.ask(&request)?;
            let second = shared.ask(&request)?;
            client.write_all(&second)
        }
        Some(Fault::Truncate) => {
            let reply = shared.ask(&request)?;
            client.write_all(&reply[..middle(&reply)])
        }
        Some(Fault::Falsify) => {
            shared.ask(&request)?;
            let body = r#"{"message":"a lie of the network"}"#;
            let head =
                "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close";
            write!(client, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        Some(Fault::Hang) => client.read_to_end(&mut Vec::new()).map(drop),
        Some(Fault::CutAfter(time)) => {
            let cut = client.try_clone()?;
            std::thread::spawn(move || {
                std::thread::sleep(time);
                // It may have ended before.
                drop(cut.shutdown(Shutdown::Both));
            });
            relay(shared, &request, client)
        }
        Some(Fault::Echo) => echo(shared, request, client),
    }
}

/// Of the body where there is one, else of the head.
fn middle(reply: &[u8]) -> usize {
    let head = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    match head.map(|at| at + 4) {
        Some(body) if body < reply.len() => body + (reply.len() - body) / 2,
        _ => reply.len() / 2,
    }
}

/// Passes on the request, and then whatever comes, both ways, until one side ends.
fn relay(shared: &Arc<Shared>, request: &Request, client: UnixStream) -> io::Result<()> {
    let mut engine = shared.connect()?;
    engine.write_all(&request.bytes())?;
    let (from_client, to_engine) = (client.try_clone()?, engine.try_clone()?);
    let upwards = shared.clone();
    std::thread::spawn(move || pass_on(&upwards, from_client, to_engine));
    pass_on(shared, engine, client);
    Ok(())
}

fn pass_on(shared: &Shared, mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        shared.wait_while_frozen();
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Whichever side is closed already is.
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

/// Asked in HTTP/1.0, the engine sends lines, and not chunks.
fn echo(shared: &Shared, mut request: Request, mut client: UnixStream) -> io::Result<()> {
    let old = String::from_utf8_lossy(&request.head).replacen(" HTTP/1.1\r\n", " HTTP/1.0\r\n", 1);
    request.head = old.into_bytes();
    let mut engine = shared.connect()?;
    engine.write_all(&request.bytes())?;
    let (watched, ends) = (client.try_clone()?, engine.try_clone()?);
    // Tells the engine when nobody listens any more.
    std::thread::spawn(move || {
        drop((&watched).read(&mut [0]));
        drop(ends.shutdown(Shutdown::Both));
    });
    let mut lines = BufReader::new(engine);
    let mut in_head = true;
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        client.write_all(&line)?;
        if in_head {
            in_head = line != b"\r\n";
        } else {
            client.write_all(&line)?;
        }
    }
}

/// Head and body; the engine is told to close the connection after its reply, so that the end of
/// one is the end of the other.
fn read_request(client: &UnixStream) -> io::Result<Request> {
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut chunked, mut upgrades) = (0, false, false);
    let mut head = line.clone();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if header == "\r\n" {
            break;
        }
        let (key, value) = header.split_once(':').unwrap_or((&header, ""));
        match (key.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => length = value.parse().unwrap_or(0),
            ("transfer-encoding", "chunked") => chunked = true,
            ("upgrade", _) => upgrades = true,
            ("connection", "close" | "keep-alive") => continue,
            _ => {}
        }
        head.push_str(&header);
    }
    if !upgrades {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    let body = if chunked {
        read_chunks(&mut reader)?
    } else {
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        body
    };
    let versionless = path
        .strip_prefix("/v1.")
        .and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    Ok(Request {
        method: method.to_owned(),
        path: versionless.unwrap_or(path).to_owned(),
        head: head.into_bytes(),
        body,
        upgrades,
    })
}

/// A chunked body, as it came.
fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        body.extend_from_slice(size.as_bytes());
        let digits = size.trim().split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk);
        if length == 0 {
            return Ok(body);
        }
    }
}
