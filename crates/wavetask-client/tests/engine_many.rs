//! Ten thousand small tasks in one batch: memory stays flat, and no step depends on their number.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use wavetask_client::member::BlockPlace;
use wavetask_client::server::{ResultSink, TaskAction};
use wavetask_client::{
    Client, ClientError, ErrorGroup, MemberOptions, PackedSimulation, Phase, Server, Settings,
    SubmissionOptions,
};
use wavetask_document::{Digest, Document};
use wavetask_protocol::native::{
    BatchList, BatchQuery, EventPage, LogPart, LogQuery, MemberAnswer, MemberList, MemberQuery, ResultAnswer,
    ResultOutcome, ResultsRequest, ServerStatus, SubmitAnswer, SubmitRequest, TaskAnswers, TaskEvent,
    TaskFilter, TaskList, TaskSelection, TaskSummary, WantedBlock,
};
use wavetask_protocol::{TaskId, TaskKind, TaskState};

const MEMBERS: usize = 10_000;
const DOCUMENT: usize = 10_000;

/// A server that solves everything at once, and keeps nothing of it.
#[derive(Debug, Default)]
struct Instantly {
    state: Mutex<State>,
    news: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    tasks: HashMap<String, TaskSummary>,
    events: VecDeque<TaskEvent>,
    last: u64,
    calls: usize,
}

fn unsupported() -> ClientError {
    ClientError::new(ErrorGroup::Usage, "test.unsupported", "Not here.")
}

#[async_trait::async_trait]
impl Server for Instantly {
    async fn status(&self) -> Result<ServerStatus, ClientError> {
        Err(unsupported())
    }

    async fn submit(&self, request: &SubmitRequest) -> Result<SubmitAnswer, ClientError> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        let mut members = Vec::new();
        for member in &request.members {
            let number = state.tasks.len();
            let known = state.tasks.get(&member.idempotency_key).cloned();
            let new = known.is_none();
            let task = known.unwrap_or_else(|| TaskSummary {
                task: format!("task-{number}").parse().unwrap(),
                name: member.name.clone(),
                folder: "folder-1".parse().unwrap(),
                folder_name: "default".into(),
                kind: TaskKind::Heat,
                state: TaskState::Queued,
                progress: None,
                error: None,
                attempts: 0,
                created_milliseconds: 0,
                started_milliseconds: None,
                ended_milliseconds: None,
            });
            if new {
                state.tasks.insert(member.idempotency_key.clone(), task.clone());
                state.last += 1;
                let solved = TaskSummary { state: TaskState::Success, ..task.clone() };
                let sequence = state.last;
                let (at_milliseconds, ended) = (0, solved.state);
                state.events.push_back(TaskEvent { sequence, at_milliseconds, state: ended, task: solved });
            }
            members.push(MemberAnswer::Accepted { task, new });
        }
        let last_event = state.last - members.len() as u64;
        drop(state);
        self.news.notify_one();
        Ok(SubmitAnswer { batch: "batch-1".parse().unwrap(), members, last_event })
    }

    async fn send_blocks(
        &self,
        _: &[(Digest, BlockPlace)],
        _: &(dyn for<'a> Fn(&'a [Digest]) + Send + Sync),
    ) -> Result<(), ClientError> {
        Err(unsupported())
    }

    async fn results(&self, request: &ResultsRequest, take: &mut ResultSink<'_>) -> Result<(), ClientError> {
        self.state.lock().unwrap().calls += 1;
        for task in &request.tasks {
            let json = text(task.as_str());
            let document = Document { json: json.into(), arrays: BTreeMap::new() };
            let document = RawValue::from_string(serde_json::to_string(&document).unwrap()).unwrap();
            let outcome = ResultOutcome::Document { document, inline: true, diverged: false };
            (take.result)(ResultAnswer { task: task.clone(), outcome })?;
        }
        Ok(())
    }

    async fn fetch_blocks(
        &self,
        _: &[WantedBlock],
        _: &(dyn Fn(Digest, Bytes) -> Result<(), ClientError> + Send + Sync),
    ) -> Result<(), ClientError> {
        Err(unsupported())
    }

    async fn next_events(&self, after: u64) -> Result<EventPage, ClientError> {
        loop {
            let news = self.news.notified();
            {
                let mut state = self.state.lock().unwrap();
                while state.events.front().is_some_and(|event| event.sequence <= after) {
                    state.events.pop_front();
                }
                let events: Vec<_> = state.events.iter().take(500).cloned().collect();
                if let Some(last) = events.last().map(|event| event.sequence) {
                    return Ok(EventPage { events, last });
                }
            }
            news.await;
        }
    }

    async fn act(&self, _: TaskAction, _: &TaskSelection) -> Result<TaskAnswers, ClientError> {
        Err(unsupported())
    }

    async fn log(&self, _: &TaskId, _: &LogQuery) -> Result<LogPart, ClientError> {
        Err(unsupported())
    }

    async fn list(&self, _: &TaskFilter) -> Result<TaskList, ClientError> {
        Err(unsupported())
    }

    async fn batches(&self, _: &BatchQuery) -> Result<BatchList, ClientError> {
        Err(unsupported())
    }

    async fn members(&self, _: &str, _: &MemberQuery) -> Result<MemberList, ClientError> {
        Err(unsupported())
    }
}

/// JSON of the usual length, a third of it incompressible.
fn text(seed: &str) -> String {
    let mut noise = String::new();
    for index in 0..DOCUMENT / 192 {
        noise.push_str(&Digest::of(format!("{seed} {index}").as_bytes()).to_string());
    }
    let padding = "\"medium\":{\"type\":\"SolidMedium\"},".repeat(DOCUMENT * 2 / 3 / 33);
    format!("{{\"noise\":\"{noise}\",\"padding\":[{:?}]}}", padding)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[test]
fn ten_thousand_small_tasks_in_flat_memory() {
    let data = tempfile::tempdir().unwrap();
    let settings = Settings { data: data.path().to_owned(), ..Settings::default() };
    let server = Arc::new(Instantly::default());
    let client = Client::with_server(settings, server.clone()).unwrap();
    let before = resident_bytes();
    let begun = Instant::now();
    let name = Some("many".to_owned());
    let submission = client.submit(SubmissionOptions { name, ..SubmissionOptions::default() }).unwrap();
    for index in 0..MEMBERS {
        let document = Document { json: text(&index.to_string()).into(), arrays: BTreeMap::new() };
        let digest = document.digest().unwrap();
        let blocks = HashMap::new();
        let packed = PackedSimulation {
            kind: TaskKind::Heat,
            document,
            digest,
            blocks,
            array_bytes: 0,
            inputs: Vec::new(),
        };
        let options = MemberOptions { key: index.to_string(), ..MemberOptions::default() };
        submission.push(options, Ok(packed)).unwrap();
    }
    let batch = submission.finish();
    batch.wait(Some(Instant::now() + Duration::from_secs(300))).unwrap();
    let took = begun.elapsed();
    assert_eq!(batch.counts(), BTreeMap::from([(Phase::Done, MEMBERS)]));
    let peak = resident_bytes().saturating_sub(before);
    let calls = server.state.lock().unwrap().calls;
    println!(
        "{MEMBERS} tasks in {:.1} s, {calls} requests, {} MiB more memory at the peak",
        took.as_secs_f64(),
        peak >> 20
    );
    assert!(peak < 300 << 20, "{peak} bytes");
    assert!(calls < MEMBERS / 10, "{calls} requests");
    let task = batch.get("1234").unwrap();
    let result = task.result(None).unwrap();
    assert_eq!(&*result.document().json, text(task.id().unwrap().as_str()));
}
