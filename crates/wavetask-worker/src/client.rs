//! The worker's requests to the server. Every method makes one try; pauses and repetition are the caller's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;
use wavetask_document::pack::{MAXIMUM_FRAME, PackError, PackLimits, Reader};
use wavetask_document::{Digest, Document};
use wavetask_protocol::LeaseId;
use wavetask_protocol::SOLVER_VERSION;
use wavetask_protocol::worker::{
    Failure, Heartbeat, HeartbeatAnswer, InputBlocks, LeaseAnswer, LeaseRequest, ResultAnswers,
    SOLVER_VERSION_HEADER,
};

use crate::decide::{Answer, answer};

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The server said no, or nothing.
    #[error("{method} {path}: {text}")]
    Server {
        /// What to make of it.
        answer: Answer,
        /// The request.
        method: Method,
        /// Its path.
        path: String,
        /// The server's words, or the network's.
        text: String,
    },
    /// A file of this worker could not be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Where the server is and what to show it.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key_file: PathBuf,
    key: Mutex<String>,
}

/// For answers that the server gives at once.
const PATIENCE: Duration = Duration::from_secs(20);

impl Client {
    /// Reads the key; sends nothing yet.
    pub(crate) fn new(url: &str, key_file: &Path) -> Result<Self, RequestError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(120))
            .user_agent(concat!("wavetask-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(&Method::GET, "", &error))?;
        let client = Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            key_file: key_file.to_owned(),
            key: Mutex::new(String::new()),
        };
        client.read_key()?;
        Ok(client)
    }

    /// Reads the key file again: a new key may have been made while this worker runs.
    pub(crate) fn read_key(&self) -> Result<(), RequestError> {
        let text = std::fs::read_to_string(&self.key_file)
            .map_err(|source| RequestError::File { path: self.key_file.clone(), source })?;
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = text.trim().to_owned();
        Ok(())
    }

    /// Asks for a task.
    pub(crate) async fn lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, RequestError> {
        let held = Duration::from_millis(request.wait_milliseconds);
        self.exchange("lease", request, PATIENCE + held).await
    }

    /// Tells how running tasks go.
    pub(crate) async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, RequestError> {
        self.exchange("heartbeat", heartbeat, PATIENCE).await
    }

    /// Reports that a task ended without a result.
    pub(crate) async fn failure(&self, lease: &LeaseId, failure: &Failure) -> Result<(), RequestError> {
        let path = format!("leases/{lease}/failure");
        let request = self.request(Method::POST, &path).header(SOLVER_VERSION_HEADER, SOLVER_VERSION);
        let request = request.json(failure).timeout(PATIENCE);
        send(request, &Method::POST, &path).await.map(drop)
    }

    /// Downloads a task's simulation into a new file.
    pub(crate) async fn input(&self, lease: &LeaseId, target: &Path) -> Result<(), RequestError> {
        let path = format!("leases/{lease}/input");
        let mut response = send(self.request(Method::GET, &path), &Method::GET, &path).await?;
        let file_error = |source| RequestError::File { path: target.to_owned(), source };
        let mut file = tokio::fs::File::create(target).await.map_err(file_error)?;
        while let Some(bytes) = response.chunk().await.map_err(|error| failed(&Method::GET, &path, &error))? {
            file.write_all(&bytes).await.map_err(file_error)?;
        }
        file.flush().await.map_err(file_error)
    }

    /// A document that the recipe of an evaluation names.
    pub(crate) async fn document(&self, lease: &LeaseId, digest: &Digest) -> Result<Document, RequestError> {
        let path = format!("leases/{lease}/documents/{digest}");
        let response = send(self.request(Method::GET, &path), &Method::GET, &path).await?;
        response.json().await.map_err(|error| failed(&Method::GET, &path, &error))
    }

    /// Blocks of such a document, each compared with its digest.
    pub(crate) async fn blocks(
        &self,
        lease: &LeaseId,
        document: &Digest,
        blocks: &[Digest],
    ) -> Result<HashMap<Digest, Vec<u8>>, RequestError> {
        let path = format!("leases/{lease}/documents/{document}/blocks");
        let request = self.request(Method::POST, &path).json(&InputBlocks { blocks: blocks.to_vec() });
        let mut response = send(request, &Method::POST, &path).await?;
        let limits = PackLimits { block_bytes: MAXIMUM_FRAME, ..PackLimits::default() };
        let mut reader = Reader::new(limits);
        let mut came = HashMap::with_capacity(blocks.len());
        let mut take = |reader: &mut Reader| {
            while let Some(frame) = reader.next()? {
                came.insert(frame.digest, frame.bytes);
            }
            Ok(())
        };
        // A pack that breaks off or is damaged on the way is asked for again.
        let broken = |error: PackError| unavailable(&Method::POST, &path, &error);
        while let Some(piece) =
            response.chunk().await.map_err(|error| failed(&Method::POST, &path, &error))?
        {
            reader.feed(&piece);
            take(&mut reader).map_err(broken)?;
        }
        reader.finish().map_err(broken)?;
        Ok(came)
    }

    /// Sends several small results, in the form that `wavetask_protocol::worker` tells.
    pub(crate) async fn results(&self, body: Vec<u8>) -> Result<ResultAnswers, RequestError> {
        let request = self.request(Method::POST, "results").body(body).timeout(PATIENCE);
        let response = send(request, &Method::POST, "results").await?;
        response.json().await.map_err(|error| failed(&Method::POST, "results", &error))
    }

    /// Sends a task's result.
    pub(crate) async fn result(&self, lease: &LeaseId, source: &Path) -> Result<(), RequestError> {
        let path = format!("leases/{lease}/result");
        let file_error = |error| RequestError::File { path: source.to_owned(), source: error };
        let file = tokio::fs::File::open(source).await.map_err(file_error)?;
        let length = file.metadata().await.map_err(file_error)?.len();
        let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 256 << 10));
        let request = self
            .request(Method::PUT, &path)
            .header(reqwest::header::CONTENT_TYPE, "application/x-hdf5")
            .header(reqwest::header::CONTENT_LENGTH, length)
            .header(SOLVER_VERSION_HEADER, SOLVER_VERSION)
            .body(body);
        send(request, &Method::PUT, &path).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.http.request(method, format!("{}/api/v1/worker/{path}", self.url)).bearer_auth(key)
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<A, RequestError> {
        let request = self.request(Method::POST, path).json(body).timeout(patience);
        let response = send(request, &Method::POST, path).await?;
        response.json().await.map_err(|error| failed(&Method::POST, path, &error))
    }
}

async fn send(request: RequestBuilder, method: &Method, path: &str) -> Result<Response, RequestError> {
    let response = request.send().await.map_err(|error| failed(method, path, &error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text: String = response.text().await.unwrap_or_default().chars().take(500).collect();
    Err(RequestError::Server {
        answer: answer(Some(status.as_u16())),
        method: method.clone(),
        path: path.to_owned(),
        text: format!("{status} {}", text.trim()),
    })
}

fn failed(method: &Method, path: &str, error: &reqwest::Error) -> RequestError {
    unavailable(method, path, error)
}

/// The request may go well another time.
fn unavailable(method: &Method, path: &str, error: &dyn std::error::Error) -> RequestError {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    RequestError::Server {
        answer: Answer::Unavailable,
        method: method.clone(),
        path: path.to_owned(),
        text: cause.to_string(),
    }
}
