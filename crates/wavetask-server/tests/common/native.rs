//! A client of the native API, written down from its description.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wavetask_document::pack::{self, Compression, Frame, FrameKind};
use wavetask_document::{Array, BlockSource, Digest, Document, MemoryBlocks};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    CreatedKey, EventPage, MemberAnswer, PackAnswer, ResultAnswer, SubmitAnswer, TaskSummary,
};

use super::{TestServer, simulation_json};

/// A simulation as a client holds it.
pub struct Packed {
    pub document: Document,
    pub blocks: MemoryBlocks,
}

/// A simulation with these arrays, cut into blocks of this length.
pub fn packed_of(json: &str, arrays: &[(&str, Vec<f64>)], block_bytes: u64) -> Packed {
    let mut blocks = MemoryBlocks::new();
    let mut document = Document { json: json.into(), arrays: BTreeMap::new() };
    for (path, values) in arrays {
        let array = Array::from_floats(values.clone()).store(&mut blocks, block_bytes).unwrap();
        document.arrays.insert((*path).to_owned(), array);
    }
    Packed { document, blocks }
}

/// A simulation of this size with one array of its own.
pub fn packed(size: f64) -> Packed {
    packed_of(&simulation_json(size), &[("sources/0/rate/x", vec![1.0, 2.0, size])], 1 << 20)
}

impl Packed {
    pub fn digests(&self) -> Vec<Digest> {
        let mut digests: Vec<Digest> =
            self.document.arrays.values().flat_map(|array| array.blocks.clone()).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    }

    pub fn block(&self, digest: &Digest) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.blocks.get(digest, &mut bytes).unwrap();
        bytes
    }

    /// A pack of all its blocks.
    pub fn pack(&self) -> Vec<u8> {
        pack_of(&self.digests().iter().map(|digest| self.block(digest)).collect::<Vec<_>>())
    }

    /// A member of a batch.
    pub fn member(&self, key: &str, position: u64) -> Value {
        json!({
            "key": key, "position": position, "kind": "HEAT_CHARGE", "name": key, "folder": "default",
            "document": { "inline": self.document }, "cache": true,
            "idempotency_key": format!("{key} {}", self.document.digest().unwrap()),
        })
    }
}

pub fn pack_of(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut body = pack::MAGIC.to_vec();
    for block in blocks {
        pack::encode(FrameKind::Block, block, 8, Compression::WherePays, &mut body).unwrap();
    }
    pack::end(&mut body);
    body
}

/// The frames of a pack.
pub fn unpack(body: &[u8]) -> Vec<Frame> {
    let mut reader = pack::Reader::default();
    let mut frames = Vec::new();
    for part in body.chunks(1000) {
        reader.feed(part);
        while let Some(frame) = reader.next().unwrap() {
            frames.push(frame);
        }
    }
    reader.finish().unwrap();
    frames
}

pub fn request(batch: &str, members: Vec<Value>) -> Value {
    json!({ "batch": batch, "submission": "first", "members": members, "complete": true })
}

/// Somebody with a key.
pub struct Client<'s> {
    pub server: &'s TestServer,
    pub key: String,
    pub http: reqwest::Client,
}

impl TestServer {
    /// The administrator.
    pub fn client(&self) -> Client<'_> {
        self.client_as(&self.key)
    }

    pub fn client_as(&self, key: &str) -> Client<'_> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Client { server: self, key: key.to_owned(), http }
    }

    /// Somebody with a key of their own.
    pub async fn somebody(&self, name: &str) -> Client<'_> {
        let answer = self.post("/api/v1/keys", json!({ "name": name })).await;
        let created: CreatedKey = serde_json::from_value(answer).unwrap();
        self.client_as(&created.secret)
    }
}

impl Client<'_> {
    pub fn ask(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/api/v1/{path}", self.server.url)).bearer_auth(&self.key)
    }

    /// A request that must succeed.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> T {
        let answer = self.ask(Method::POST, path).json(body).send().await.unwrap();
        read(path, answer).await
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.ask(Method::GET, path).send().await.unwrap();
        read(path, answer).await
    }

    /// A request that must be refused; status, code, and whether there is a hint.
    pub async fn refused(&self, method: Method, path: &str, body: Vec<u8>) -> (u16, String) {
        refusal(self.ask(method, path).body(body).send().await.unwrap()).await
    }

    pub async fn submit(&self, request: &Value) -> SubmitAnswer {
        self.post("batches", request).await
    }

    pub async fn send(&self, pack: Vec<u8>) -> PackAnswer {
        read("blocks", self.ask(Method::POST, "blocks").body(pack).send().await.unwrap()).await
    }

    /// Submits one simulation all the way.
    pub async fn submitted(&self, batch: &str, key: &str, simulation: &Packed) -> TaskSummary {
        let request = request(batch, vec![simulation.member(key, 0)]);
        let answer = self.submit(&request).await;
        if let MemberAnswer::Missing { .. } = &answer.members[0] {
            self.send(simulation.pack()).await;
            return accepted(&self.submit(&request).await.members[0]).0;
        }
        accepted(&answer.members[0]).0
    }

    /// A pack of results taken apart: the messages and the blocks.
    pub async fn results(&self, request: &Value) -> (Vec<ResultAnswer>, BTreeMap<Digest, Vec<u8>>) {
        let answer = self.ask(Method::POST, "results").json(request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], wavetask_protocol::native::PACK_TYPE);
        let mut messages = Vec::new();
        let mut blocks = BTreeMap::new();
        for frame in unpack(&answer.bytes().await.unwrap()) {
            if frame.kind == FrameKind::Message {
                messages.push(serde_json::from_slice(&frame.bytes).unwrap());
            } else {
                assert!(blocks.insert(frame.digest, frame.bytes).is_none(), "each block once");
            }
        }
        (messages, blocks)
    }

    pub async fn stream(&self, query: &str) -> EventStream {
        let answer = self.ask(Method::GET, &format!("events/stream?{query}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        EventStream { body: Box::pin(answer.bytes_stream()), text: String::new(), comments: 0, last_id: None }
    }
}

pub async fn read<T: DeserializeOwned>(path: &str, answer: reqwest::Response) -> T {
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

/// What a refusal says; every one has a code, a message and a hint.
pub async fn refusal(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status();
    assert_ne!(status, StatusCode::OK);
    let text = answer.text().await.unwrap();
    let error: wavetask_protocol::native::ApiError = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{status} without an error that programs can read: {error}: {text}"));
    assert!(!error.code.is_empty() && !error.message.is_empty(), "{text}");
    assert!(error.hint.is_some_and(|hint| !hint.is_empty()), "without a hint: {text}");
    (status.as_u16(), error.code)
}

pub fn accepted(answer: &MemberAnswer) -> (TaskSummary, bool) {
    match answer {
        MemberAnswer::Accepted { task, new } => (task.clone(), *new),
        other => panic!("not accepted: {other:?}"),
    }
}

pub fn missing(answer: &MemberAnswer) -> (TaskId, Vec<Digest>) {
    match answer {
        MemberAnswer::Missing { task, blocks } => (task.clone(), blocks.clone()),
        other => panic!("nothing is missing: {other:?}"),
    }
}

pub fn refused_member(answer: &MemberAnswer) -> (String, bool) {
    match answer {
        MemberAnswer::Refused { error, again_later } => {
            assert!(error.hint.is_some(), "without a hint: {error:?}");
            (error.code.clone(), *again_later)
        }
        other => panic!("not refused: {other:?}"),
    }
}

type Pieces = std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

/// A stream of server-sent events.
pub struct EventStream {
    body: Pieces,
    text: String,
    pub comments: u32,
    pub last_id: Option<String>,
}

impl EventStream {
    /// Waits for a comment; whether no page came before it.
    pub async fn comment(&mut self) -> bool {
        let before = self.comments;
        for _ in 0..60 {
            if tokio::time::timeout(Duration::from_millis(200), self.next()).await.is_ok() {
                return false;
            }
            if self.comments > before {
                return true;
            }
        }
        false
    }

    /// The next page; `None` at the end of the stream. Panics if nothing comes for too long.
    pub async fn next(&mut self) -> Option<EventPage> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let message: String = self.text.drain(..end + 2).collect();
                let mut data = None;
                for line in message.lines() {
                    if line.starts_with(':') {
                        self.comments += 1;
                    } else if let Some(id) = line.strip_prefix("id: ") {
                        self.last_id = Some(id.to_owned());
                    } else if let Some(text) = line.strip_prefix("data: ") {
                        data = Some(serde_json::from_str(text).unwrap());
                    }
                }
                if let Some(page) = data {
                    return Some(page);
                }
            }
            let piece = tokio::time::timeout(Duration::from_secs(15), self.body.next())
                .await
                .expect("a stream is never silent for so long");
            match piece {
                Some(Ok(piece)) => self.text.push_str(std::str::from_utf8(&piece).unwrap()),
                Some(Err(_)) | None => return None,
            }
        }
    }
}
