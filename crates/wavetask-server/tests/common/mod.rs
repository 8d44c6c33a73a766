//! A real server on a real socket with a real store in a temporary folder, and what talks to it.
#![allow(clippy::allow_attributes, reason = "which of these lints a test file meets differs")]
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test file uses a part of this"
)]
#![allow(missing_docs, clippy::unwrap_used, reason = "this is for tests")]

pub mod native;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hmac::Mac;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Digest as _;
use wavetask_document::pack::{self, Frame};
use wavetask_document::{
    Array, ArraySource, Digest, Document, MemoryBlocks, ResultBuilder, Values, hdf5::FilePlan,
};
use wavetask_protocol::worker::{
    Assignment, Failure, Heartbeat, HeartbeatAnswer, InputBlocks, LeaseAnswer, LeaseRequest, Report,
    SOLVER_VERSION_HEADER, Verdict,
};
use wavetask_protocol::{Estimate, Progress, TaskKind, WorkerId};
use wavetask_server::{KEY_FILE, Refusal, Server, ServerConfig, Validator, WORKER_KEY_FILE};

/// The version that results are of.
pub const SOLVER: &str = "test 1";

/// Accepts everything but simulations of no size.
pub struct TestValidator;

impl Validator for TestValidator {
    fn validate(
        &self,
        _: TaskKind,
        simulation_json: &str,
        arrays: &dyn ArraySource,
    ) -> Result<Estimate, Vec<Refusal>> {
        if simulation_json.contains("\"panic\"") {
            panic!("asked to");
        }
        if simulation_json.contains("\"size\":[0") {
            return Err(vec![Refusal { path: "size".to_owned(), message: "must not be zero".to_owned() }]);
        }
        let _ = arrays.load("structures/0/x");
        Ok(Estimate { unknowns: 1000, memory_bytes: 1 << 20, cpu_seconds: 0.25 })
    }

    fn solver_version(&self, _: TaskKind) -> String {
        SOLVER.to_owned()
    }
}

/// A server that runs until it is dropped.
pub struct TestServer {
    pub url: String,
    pub key: String,
    pub worker_key: String,
    pub folder: Arc<tempfile::TempDir>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    running: Option<tokio::task::JoinHandle<()>>,
    http: reqwest::Client,
}

pub fn settings(folder: &Path) -> ServerConfig {
    let mut config = ServerConfig::new(folder.join("data"));
    config.listen.set_port(0);
    config.hold = Duration::from_secs(3);
    config.limits.reserve_bytes = 1 << 20;
    config
}

impl TestServer {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), change)
    }

    pub fn start_in(folder: Arc<tempfile::TempDir>, change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_as(folder, change, Arc::new(TestValidator))
    }

    pub fn start_as(
        folder: Arc<tempfile::TempDir>,
        change: impl FnOnce(&mut ServerConfig),
        validator: Arc<dyn Validator>,
    ) -> Self {
        let mut config = settings(folder.path());
        change(&mut config);
        let data = config.data_folder.clone();
        let server = Server::open(config, validator).unwrap();
        let url = format!("http://{}", server.local_address());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(async move {
            server
                .run(async {
                    let _ = stopped.await;
                })
                .await
                .unwrap();
        });
        let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap().trim().to_owned();
        Self {
            url,
            key: read(KEY_FILE),
            worker_key: read(WORKER_KEY_FILE),
            folder,
            stop: Some(stop),
            running: Some(running),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// Stops it and waits for its end.
    pub async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }

    /// One request as the client sends it.
    pub async fn call_as(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url)).header("simcloud-api-key", key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// One request that must succeed; its data.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, mut answer) = self.call_as(&self.key, method.clone(), path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        match answer.get_mut("data") {
            Some(data) => data.take(),
            None => answer,
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The id of the folder `default`.
    pub async fn folder_id(&self) -> String {
        let folder = self.post("/tidy3d/projects", json!({ "projectName": "default" })).await;
        folder["projectId"].as_str().unwrap().to_owned()
    }

    /// Creates a task of a type.
    pub async fn create(&self, kind: &str) -> String {
        let folder = self.folder_id().await;
        let body = json!({
            "taskName": "a task", "taskType": kind, "callbackUrl": null, "simulationType": "tidy3d",
            "parentTasks": null, "fileType": "Gz",
        });
        let task = self.post(&format!("/tidy3d/projects/{folder}/tasks"), body).await;
        assert!(task.get("taskType").is_none() && task.get("folder_name").is_none());
        task["taskId"].as_str().unwrap().to_owned()
    }

    pub async fn detail(&self, task: &str) -> Value {
        self.get(&format!("/tidy3d/tasks/{task}/detail")).await
    }

    /// The credentials for a file.
    pub async fn token(&self, task: &str, file: &str) -> Token {
        let answer = self.get(&format!("/tidy3d/py/tasks/{task}/file?filename={file}")).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let given = &answer["userCredentials"];
        Token {
            path: format!("/{}", text(&answer["cloudpath"]).strip_prefix("s3://").unwrap()),
            access_key: text(&given["accessKeyId"]),
            secret: text(&given["secretAccessKey"]),
            session: text(&given["sessionToken"]),
        }
    }

    /// A signed S3 request.
    pub async fn s3(&self, method: Method, token: &Token, query: &str, body: Vec<u8>) -> reqwest::Response {
        self.s3_with(method, token, query, body, &[]).await
    }

    pub async fn s3_with(
        &self,
        method: Method,
        token: &Token,
        query: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let now = time_now();
        let host = self.url.strip_prefix("http://").unwrap();
        let signed = token.sign(method.as_str(), host, query, &body, &now);
        let address = if query.is_empty() {
            format!("{}{}", self.url, token.path)
        } else {
            format!("{}{}?{query}", self.url, token.path)
        };
        let mut request = self.http.request(method, address).body(body);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// Uploads the task's simulation in one request.
    pub async fn upload(&self, task: &str, content: Vec<u8>) {
        let token = self.token(task, "simulation.hdf5.gz").await;
        let answer = self.s3(Method::PUT, &token, "", content).await;
        let status = answer.status();
        assert_eq!(status, 200, "{}", answer.text().await.unwrap());
    }

    /// Downloads a file; `None` if it is not there.
    pub async fn download(&self, task: &str, file: &str) -> Option<Vec<u8>> {
        let token = self.token(task, file).await;
        let answer = self.s3(Method::GET, &token, "", Vec::new()).await;
        match answer.status().as_u16() {
            200 => Some(answer.bytes().await.unwrap().to_vec()),
            404 => None,
            status => panic!("{status}: {}", answer.text().await.unwrap()),
        }
    }

    /// Creates, uploads and validates a heat task.
    pub async fn validated(&self) -> String {
        let task = self.create("HEAT_CHARGE").await;
        self.upload(&task, simulation_file(1.0)).await;
        self.post(&format!("/tidy3d/tasks/{task}/metadata"), json!({})).await;
        assert_eq!(self.detail(&task).await["metadataStatus"], "processed");
        task
    }

    /// As [`Self::validated`], and starts it.
    pub async fn started(&self) -> String {
        let task = self.validated().await;
        self.post(&format!("/tidy3d/tasks/{task}/submit"), json!({ "priority": null })).await;
        task
    }

    pub fn worker(&self) -> TestWorker {
        TestWorker {
            url: self.url.clone(),
            key: self.worker_key.clone(),
            id: WorkerId::from_uuid(uuid::Uuid::now_v7()),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }
}

/// Credentials for one file.
#[derive(Clone, Debug)]
pub struct Token {
    pub path: String,
    pub access_key: String,
    pub secret: String,
    pub session: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Now as S3 wants it: `20240131T235959Z`.
pub fn time_now() -> String {
    time_at(time::OffsetDateTime::now_utc())
}

pub fn time_at(at: time::OffsetDateTime) -> String {
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

impl Token {
    /// The headers of a request signed with version 4, written down from Amazon's description.
    pub fn sign(
        &self,
        method: &str,
        host: &str,
        query: &str,
        body: &[u8],
        now: &str,
    ) -> Vec<(String, String)> {
        let payload = hex(&sha2::Sha256::digest(body));
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
            .collect();
        pairs.sort();
        let names = "host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        let canonical = format!(
            "{method}\n{}\n{}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{now}\nx-amz-security-token:{}\n\n{names}\n{payload}",
            self.path,
            pairs.join("&"),
            self.session,
        );
        let scope = format!("{}/us-east-1/s3/aws4_request", &now[..8]);
        let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", hex(&sha2::Sha256::digest(&canonical)));
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), &now[..8]);
        for part in ["us-east-1", "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        let signature = hex(&hmac(&key, &text));
        vec![
            (
                "authorization".to_owned(),
                format!(
                    "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
                    self.access_key
                ),
            ),
            ("x-amz-content-sha256".to_owned(), payload),
            ("x-amz-date".to_owned(), now.to_owned()),
            ("x-amz-security-token".to_owned(), self.session.clone()),
        ]
    }
}

/// A heat simulation's file as far as the server looks at it; `size` 0 is refused.
pub fn simulation_file(size: f64) -> Vec<u8> {
    file_of(&simulation_json(size), &[("sources/0/rate/x", vec![1.0, 2.0, size])])
}

pub fn simulation_json(size: f64) -> String {
    let size = if size == 0.0 { "0".to_owned() } else { format!("{size:?}") };
    format!(
        r#"{{"type":"HeatChargeSimulation","size":[{size},1,1],"monitors":[{{"type":"TemperatureMonitor","name":"T"}}]}}"#
    )
}

/// An HDF5 file of this JSON and these arrays.
pub fn file_of(json: &str, arrays: &[(&str, Vec<f64>)]) -> Vec<u8> {
    let mut blocks = MemoryBlocks::new();
    let mut document = Document { json: json.into(), arrays: BTreeMap::new() };
    for (path, values) in arrays {
        let array = Array::from_floats(values.clone()).store(&mut blocks, 1 << 20).unwrap();
        document.arrays.insert((*path).to_owned(), array);
    }
    let mut file = Vec::new();
    FilePlan::new(&document).unwrap().write(&blocks, &mut file).unwrap();
    file
}

/// What a solver hands over.
pub fn result_file(values: &[f64]) -> Vec<u8> {
    result_on_grid([values.len(), 1, 1], values)
}

/// What a solver hands over: a temperature on a grid of these extents.
pub fn result_on_grid(extents: [usize; 3], values: &[f64]) -> Vec<u8> {
    let mut blocks = MemoryBlocks::new();
    let mut result = ResultBuilder::new("Output", &mut blocks);
    result
        .verbatim(
            "data",
            r#"[{"type":"TemperatureData","monitor":{"type":"TemperatureMonitor","name":"T"},"temperature":"SpatialDataArray"}]"#,
        )
        .unwrap();
    result.member("diverged", &false).unwrap();
    // Of a line the numbers are coordinates, too.
    let x = if extents[1..] == [1, 1] { values.to_vec() } else { counted(extents[0]) };
    let [x, y, z] = [x, counted(extents[1]), counted(extents[2])].map(Array::from_floats);
    let values = Array::new(extents.to_vec(), Values::Float64(values.to_vec())).unwrap();
    let labels = [("x", &x), ("y", &y), ("z", &z)];
    result.labelled_array("data/0/temperature", &values, &labels).unwrap();
    let document = result.finish().unwrap();
    let mut file = Vec::new();
    FilePlan::new(&document).unwrap().write(&blocks, &mut file).unwrap();
    file
}

fn counted(extent: usize) -> Vec<f64> {
    (0..extent).map(|place| place as f64).collect()
}

/// A worker that does what a test tells it.
pub struct TestWorker {
    url: String,
    key: String,
    pub id: WorkerId,
    http: reqwest::Client,
}

impl TestWorker {
    async fn post<T: serde::Serialize>(&self, path: &str, body: &T) -> reqwest::Response {
        let address = format!("{}/api/v1/worker/{path}", self.url);
        let request = self.http.post(address).bearer_auth(&self.key).header(SOLVER_VERSION_HEADER, SOLVER);
        request.json(body).send().await.unwrap()
    }

    pub async fn lease(&self, wait: Duration) -> Option<Assignment> {
        self.lease_with(1 << 30, wait).await
    }

    /// Asks as a worker with this much memory.
    pub async fn lease_with(&self, memory_bytes: u64, wait: Duration) -> Option<Assignment> {
        let request = LeaseRequest {
            worker: self.id.clone(),
            free_memory_bytes: memory_bytes,
            idle: true,
            total_memory_bytes: memory_bytes,
            wait_milliseconds: u64::try_from(wait.as_millis()).unwrap(),
            small: None,
        };
        let answer = self.post("lease", &request).await;
        assert_eq!(answer.status(), 200);
        answer.json::<LeaseAnswer>().await.unwrap().assignment
    }

    pub async fn input(&self, assignment: &Assignment) -> (StatusCode, Vec<u8>) {
        self.of_lease(assignment, "input").await
    }

    async fn of_lease(&self, assignment: &Assignment, what: &str) -> (StatusCode, Vec<u8>) {
        let address = format!("{}/api/v1/worker/leases/{}/{what}", self.url, assignment.lease);
        let answer = self.http.get(address).bearer_auth(&self.key).send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap().to_vec())
    }

    /// A document that the lease's task refers to, or the status of the answer.
    pub async fn named(&self, assignment: &Assignment, digest: &str) -> Result<Document, u16> {
        let (status, text) = self.of_lease(assignment, &format!("documents/{digest}")).await;
        if status == 200 { Ok(serde_json::from_slice(&text).unwrap()) } else { Err(status.as_u16()) }
    }

    /// Blocks of such a document, in the order in which they came.
    pub async fn named_blocks(
        &self,
        assignment: &Assignment,
        digest: &str,
        blocks: &[Digest],
    ) -> Result<Vec<Frame>, u16> {
        let path = format!("leases/{}/documents/{digest}/blocks", assignment.lease);
        let answer = self.post(&path, &InputBlocks { blocks: blocks.to_vec() }).await;
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        let mut reader = pack::Reader::default();
        reader.feed(&answer.bytes().await.unwrap());
        let frames = std::iter::from_fn(|| reader.next().unwrap()).collect();
        assert!(reader.is_ended());
        Ok(frames)
    }

    pub async fn beat(&self, assignment: &Assignment, percent: f64, first: u64, lines: &[&str]) -> Verdict {
        let report = Report {
            lease: assignment.lease.clone(),
            progress: Progress { percent, residual: Some(0.5), stage: "solve".to_owned() },
            first_log_line: first,
            log_lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        let heartbeat = Heartbeat { worker: self.id.clone(), reports: vec![report] };
        let answer = self.post("heartbeat", &heartbeat).await;
        assert_eq!(answer.status(), 200);
        answer.json::<HeartbeatAnswer>().await.unwrap().verdicts[0]
    }

    pub async fn result(&self, assignment: &Assignment, file: Vec<u8>) -> StatusCode {
        let address = format!("{}/api/v1/worker/leases/{}/result", self.url, assignment.lease);
        self.http
            .put(address)
            .bearer_auth(&self.key)
            .header(SOLVER_VERSION_HEADER, SOLVER)
            .body(file)
            .send()
            .await
            .unwrap()
            .status()
    }

    pub async fn fail(&self, assignment: &Assignment, failure: &Failure) -> StatusCode {
        self.post(&format!("leases/{}/failure", assignment.lease), failure).await.status()
    }

    /// Runs one task to its end.
    pub async fn solve(&self, values: &[f64]) -> Assignment {
        let assignment = self.lease(Duration::from_secs(10)).await.expect("there is a task");
        assert_eq!(self.beat(&assignment, 50.0, 0, &["solving", "done"]).await, Verdict::Continue);
        assert_eq!(self.result(&assignment, result_file(values)).await, 200);
        assignment
    }
}
