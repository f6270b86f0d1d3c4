//! Endless and long answers: the event stream and container output, decoded here.
//!
//! bollard's own decoders are not used for these. Its event stream ends at the first event that it
//! cannot read, its log stream guesses from the first byte whether a container has a terminal
//! (and holds back output until a line is whole), and both take times in whole seconds only.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::engine::{EngineError, EngineEvent, EventAction, LogChunk, LogStream, Result};

/// The body of an answer as it arrives.
pub(super) type Body = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// The engine drops events silently for a reader that lags, so they are read as they come and
/// wait here. One that lags this far behind has lost them anyway.
const EVENT_QUEUE: usize = 16_384;

/// Labels travel in events; a line beyond this is no event.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Reads `body` as fast as it comes, in a task of its own that ends with the returned stream.
pub(super) fn events(body: Body) -> BoxStream<'static, Result<EngineEvent>> {
    let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
    tokio::spawn(read_events(body, sender));
    stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|event| (event, receiver))
    })
    .boxed()
}

async fn read_events(mut body: Body, sender: mpsc::Sender<Result<EngineEvent>>) {
    let mut lines = Lines::default();
    loop {
        let chunk = tokio::select! {
            chunk = body.next() => chunk,
            () = sender.closed() => return,
        };
        let failure = match chunk {
            None => return,
            Some(Err(error)) => error,
            Some(Ok(chunk)) => match forward(lines.push(&chunk), &sender) {
                Ok(()) if lines.held() <= MAX_EVENT_BYTES => continue,
                Ok(()) => EngineError::Undecodable {
                    why: "an event has no end".to_owned(),
                },
                Err(error) => error,
            },
        };
        // A reader that went away needs no reason.
        let _gone = sender.send(Err(failure)).await;
        return;
    }
}

fn forward(lines: Vec<Bytes>, sender: &mpsc::Sender<Result<EngineEvent>>) -> Result<()> {
    for event in lines.iter().filter_map(|line| parse_event(line)) {
        if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(Ok(event)) {
            return Err(EngineError::Unanswered {
                why: "events came faster than they were read".to_owned(),
            });
        }
    }
    Ok(())
}

/// Bytes cut at line ends.
#[derive(Default)]
struct Lines {
    rest: BytesMut,
}

impl Lines {
    fn push(&mut self, chunk: &[u8]) -> Vec<Bytes> {
        // What is held back was searched before.
        let searched = self.rest.len();
        self.rest.extend_from_slice(chunk);
        let mut lines = Vec::new();
        let mut from = searched;
        while let Some(end) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            lines.push(self.rest.split_to(from + end + 1).freeze());
            from = 0;
        }
        lines
    }

    fn held(&self) -> usize {
        self.rest.len()
    }
}

/// The fields of an event that Docker and Podman share; `status` and `id`, which old engines send
/// beside them, are gone since API 1.52.
#[derive(Deserialize)]
struct EventLine {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    #[serde(default)]
    time: i64,
    #[serde(rename = "timeNano", default)]
    time_nano: i64,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Option<BTreeMap<String, String>>,
}

/// `None` for what is no event of a container: events only hasten, so one that cannot be read is
/// noted and passed over, and ends nothing.
fn parse_event(line: &[u8]) -> Option<EngineEvent> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let event: EventLine = match serde_json::from_slice(line) {
        Ok(event) => event,
        Err(error) => {
            tracing::debug!(%error, "an event could not be read");
            return None;
        }
    };
    if event.kind != "container" {
        return None;
    }
    let nanos = match event.time_nano {
        0 => i128::from(event.time) * 1_000_000_000,
        nanos => i128::from(nanos),
    };
    let labels = event.actor.attributes.unwrap_or_default();
    let signal = labels.get("signal").map(String::as_str);
    Some(EngineEvent {
        at: Timestamp::from_nanosecond(nanos).ok()?,
        action: action(event.action, signal),
        container: event.actor.id,
        labels,
    })
}

/// A job may do anything with other signals: HUP and the like are no wish for its end.
const ENDING: [&str; 4] = ["2", "3", "9", "15"];

fn action(word: String, signal: Option<&str>) -> EventAction {
    match word.as_str() {
        "kill" if signal.is_some_and(|signal| ENDING.contains(&signal)) => EventAction::Kill,
        "create" => EventAction::Create,
        "start" | "init" => EventAction::Start,
        "die" | "died" => EventAction::Die,
        "destroy" | "remove" => EventAction::Destroy,
        "update" => EventAction::Update,
        _ => EventAction::Other(word),
    }
}

/// A container's output. Without a terminal both streams come in frames; with one, in lines. A frame
/// or a line is one chunk wherever the network cuts it: each begins with its time where times were
/// asked for, and nobody could tell that from text in the middle of one. `idle`: how long to wait for the next bytes; `None` while following.
pub(super) fn logs(body: Body, tty: bool, idle: Option<Duration>) -> BoxStream<'static, Result<LogChunk>> {
    let reader = LogReader {
        body,
        frames: (!tty).then(Frames::default),
        lines: Lines::default(),
        ready: VecDeque::new(),
        idle,
        ended: false,
    };
    stream::unfold(reader, async |mut reader| {
        reader.next().await.map(|chunk| (chunk, reader))
    })
    .boxed()
}

struct LogReader {
    body: Body,
    frames: Option<Frames>,
    /// Of a terminal.
    lines: Lines,
    ready: VecDeque<Result<LogChunk>>,
    idle: Option<Duration>,
    ended: bool,
}

impl LogReader {
    async fn next(&mut self) -> Option<Result<LogChunk>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                self.ended |= chunk.is_err();
                return Some(chunk);
            }
            if self.ended {
                return None;
            }
            match read_within(&mut self.body, self.idle).await {
                Some(Ok(bytes)) => self.take(bytes),
                Some(Err(error)) => {
                    self.take_rest();
                    self.ready.push_back(Err(error));
                }
                None => {
                    self.take_rest();
                    self.ended = true;
                }
            }
        }
    }

    fn take(&mut self, bytes: Bytes) {
        match &mut self.frames {
            Some(frames) => self.ready.extend(frames.push(bytes)),
            None => {
                let lines = self.lines.push(&bytes);
                self.ready.extend(lines.into_iter().map(of_terminal));
                if self.lines.held() > WHOLE_BYTES {
                    self.take_rest();
                }
            }
        }
    }

    /// What came of a frame or a line that has no end.
    fn take_rest(&mut self) {
        match &mut self.frames {
            Some(frames) => self.ready.extend(frames.rest()),
            None => {
                let rest = self.lines.rest.split().freeze();
                self.ready.extend((!rest.is_empty()).then(|| of_terminal(rest)));
            }
        }
    }
}

fn of_terminal(bytes: Bytes) -> Result<LogChunk> {
    Ok(LogChunk {
        stream: LogStream::Stdout,
        bytes,
    })
}

/// The next bytes of a body, or an error when none came in time.
pub(super) async fn read_within(body: &mut Body, idle: Option<Duration>) -> Option<Result<Bytes>> {
    let Some(idle) = idle else {
        return body.next().await;
    };
    match tokio::time::timeout(idle, body.next()).await {
        Ok(chunk) => chunk,
        Err(_) => Some(Err(EngineError::Unanswered {
            why: format!("no more output within {} s", idle.as_secs()),
        })),
    }
}

/// Docker's framing of two streams in one: `[stream, 0, 0, 0, length as u32 big-endian]`, then the
/// payload. A payload is handed on whole; one that is longer than any of the engine's as it arrives, so
/// that no frame's length decides our memory.
#[derive(Default)]
struct Frames {
    held: BytesMut,
    /// Stream number and bytes still to come of the frame begun.
    current: Option<(u8, usize)>,
    /// The engine's own words when it could not go on reading (stream 3).
    failure: Vec<u8>,
}

const HEADER: usize = 8;

/// Docker cuts a line's pieces at 16 KiB, before their time stamps.
const WHOLE_BYTES: usize = 64 * 1024;
const MAX_FAILURE_BYTES: usize = 4096;

impl Frames {
    fn push(&mut self, bytes: Bytes) -> Vec<Result<LogChunk>> {
        self.held.extend_from_slice(&bytes);
        let mut chunks = Vec::new();
        loop {
            match self.current {
                None if self.held.len() < HEADER => return chunks,
                None => {
                    let header = self.held.split_to(HEADER);
                    let length = (&header[4..]).get_u32() as usize;
                    self.current = Some((header[0], length));
                }
                Some((_, left)) if left > 0 && self.held.is_empty() => return chunks,
                Some((_, left)) if left <= WHOLE_BYTES && self.held.len() < left => return chunks,
                Some((number, left)) => {
                    let payload = self.held.split_to(left.min(self.held.len())).freeze();
                    let left = left - payload.len();
                    self.current = (left > 0).then_some((number, left));
                    chunks.extend(self.chunk(number, payload, left == 0));
                }
            }
        }
    }

    /// The beginning of a frame whose end will not come.
    fn rest(&mut self) -> Option<Result<LogChunk>> {
        let (number, _) = self.current.take()?;
        let payload = self.held.split().freeze();
        self.chunk(number, payload, false)
    }

    fn chunk(&mut self, number: u8, payload: Bytes, whole: bool) -> Option<Result<LogChunk>> {
        let stream = match number {
            0 | 1 => LogStream::Stdout,
            2 => LogStream::Stderr,
            3 => {
                let room = MAX_FAILURE_BYTES.saturating_sub(self.failure.len());
                self.failure
                    .extend_from_slice(&payload[..payload.len().min(room)]);
                return whole.then(|| {
                    Err(EngineError::Refused {
                        status: 500,
                        message: String::from_utf8_lossy(&self.failure).trim().to_owned(),
                    })
                });
            }
            other => {
                return Some(Err(EngineError::Undecodable {
                    why: format!("a log frame of stream {other}"),
                }));
            }
        };
        (!payload.is_empty()).then_some(Ok(LogChunk {
            stream,
            bytes: payload,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number, 0, 0, 0];
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn body(chunks: Vec<Result<Bytes>>) -> Body {
        Box::pin(stream::iter(chunks))
    }

    /// Both streams put together again from `chunks`.
    async fn read(chunks: Vec<Result<Bytes>>, tty: bool) -> (String, String, Option<EngineError>) {
        let mut texts = (String::new(), String::new(), None);
        let mut logs = logs(body(chunks), tty, None);
        while let Some(chunk) = logs.next().await {
            match chunk {
                Ok(chunk) => {
                    let text = String::from_utf8_lossy(&chunk.bytes);
                    match chunk.stream {
                        LogStream::Stdout => texts.0.push_str(&text),
                        LogStream::Stderr => texts.1.push_str(&text),
                    }
                }
                Err(error) => texts.2 = Some(error),
            }
        }
        texts
    }

    #[tokio::test]
    async fn a_frame_or_a_line_is_one_chunk_wherever_the_network_cuts_it() {
        let chunks = async |bytes: &[u8], tty: bool| -> Vec<String> {
            let cut = bytes
                .iter()
                .map(|byte| Ok(Bytes::copy_from_slice(&[*byte])))
                .collect();
            let logs = logs(body(cut), tty, None);
            logs.map(|chunk| String::from_utf8_lossy(&chunk.unwrap().bytes).into_owned())
                .collect()
                .await
        };
        let frames = [frame(1, b"T one\n"), frame(2, b"T two"), frame(1, b"T three")].concat();
        assert_eq!(chunks(&frames, false).await, ["T one\n", "T two", "T three"]);
        assert_eq!(
            chunks(&frames[..frames.len() - 2], false).await,
            ["T one\n", "T two", "T thr"]
        );
        assert_eq!(
            chunks(b"T one\r\nT two\r\nT", true).await,
            ["T one\r\n", "T two\r\n", "T"]
        );
    }

    #[tokio::test]
    async fn frames_are_read_wherever_the_network_cuts_them() {
        let whole: Vec<u8> = [
            frame(1, b"one\n"),
            frame(2, b"two\n"),
            frame(1, b""),
            frame(1, b"last"),
        ]
        .concat();
        for size in 1..whole.len() {
            let chunks = whole
                .chunks(size)
                .map(|c| Ok(Bytes::copy_from_slice(c)))
                .collect();
            let expected = ("one\nlast".to_owned(), "two\n".to_owned(), None);
            assert_eq!(read(chunks, false).await, expected, "cut every {size} bytes");
        }
    }

    #[tokio::test]
    async fn a_terminals_output_is_taken_as_it_is() {
        let chunks = vec![Ok(Bytes::from_static(b"\x01\x00progress\r"))];
        assert_eq!(read(chunks, true).await.0, "\x01\x00progress\r");
    }

    #[tokio::test]
    async fn the_engines_own_failure_is_an_error() {
        let chunks = vec![Ok(Bytes::from(
            [frame(1, b"a"), frame(3, b"broken log")].concat(),
        ))];
        let expected = EngineError::Refused {
            status: 500,
            message: "broken log".to_owned(),
        };
        assert_eq!(
            read(chunks, false).await,
            ("a".to_owned(), String::new(), Some(expected))
        );
    }

    #[tokio::test]
    async fn silence_ends_a_plain_read() {
        let silent: Body = Box::pin(stream::pending());
        let mut logs = logs(silent, false, Some(Duration::from_millis(1)));
        assert!(matches!(
            logs.next().await,
            Some(Err(EngineError::Unanswered { .. }))
        ));
        assert!(logs.next().await.is_none());
    }

    const START: &str = r#"{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"job":"a"}},"time":1,"timeNano":1500000000}"#;

    #[tokio::test]
    async fn an_event_that_does_not_decode_ends_nothing() {
        let text = format!("{{\"Type\":\"system\"}}\nnonsense\n\n{START}\n");
        let chunks = text
            .as_bytes()
            .chunks(7)
            .map(|c| Ok(Bytes::copy_from_slice(c)))
            .collect();
        let events: Vec<_> = events(body(chunks)).collect().await;
        let expected = EngineEvent {
            at: "1970-01-01T00:00:01.5Z".parse().unwrap(),
            action: EventAction::Start,
            container: "abc".to_owned(),
            labels: BTreeMap::from([("job".to_owned(), "a".to_owned())]),
        };
        assert_eq!(events, [Ok(expected)]);
    }

    #[tokio::test]
    async fn a_broken_stream_ends_with_its_reason() {
        let cut = EngineError::Unanswered {
            why: "cut".to_owned(),
        };
        let chunks = vec![Ok(Bytes::from(format!("{START}\n"))), Err(cut.clone())];
        let events: Vec<_> = events(body(chunks)).collect().await;
        assert_eq!(events.len(), 2);
        assert_eq!(events[1], Err(cut));
    }

    #[tokio::test]
    async fn an_event_without_end_is_not_collected_for_ever() {
        let endless = stream::repeat_with(|| Ok(Bytes::from(vec![b' '; 1 << 20])));
        let events: Vec<_> = events(Box::pin(endless)).collect().await;
        assert!(
            matches!(events[..], [Err(EngineError::Undecodable { .. })]),
            "{events:?}"
        );
    }
}
