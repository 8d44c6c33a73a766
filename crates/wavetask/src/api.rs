//! The commands' side of the native API: requests with a key, answers or failures in words.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wavetask_protocol::native::{
    ApiError, BatchList, BatchQuery, CreatedKey, EventPage, EventQuery, KeyList, KeySummary, LogPart,
    LogQuery, MAXIMUM_TASKS, MemberList, MemberQuery, NewKey, Quota, ServerStatus, TaskAnswer, TaskAnswers,
    TaskFilter, TaskList, TaskSelection,
};
use wavetask_protocol::{KeyId, TaskId, chain};

use crate::failure::{Exit, Failure};
use crate::locate::Connection;

/// A server and the key to talk to it.
#[derive(Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    connection: Connection,
}

/// What our servers call a path that leads nowhere; others say nothing in our form.
const NO_SUCH_PATH: &str = "request.path";

/// How much longer than the time that the server may hold an answer a command waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

impl Api {
    /// Ready to talk; nothing is sent yet.
    pub(crate) fn new(connection: Connection) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("wavetask/", env!("CARGO_PKG_VERSION")));
        if wavetask_client::http::is_this_machine(&connection.url) {
            // Proxies are for the world outside.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
        Ok(Self { http, connection })
    }

    /// Whom it talks to.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// `GET /api/v1/status`.
    pub(crate) async fn status(&self) -> Result<ServerStatus, Failure> {
        self.call(Method::GET, "status", &(), None::<&()>, Duration::ZERO).await
    }

    /// `GET /api/v1/tasks`.
    pub(crate) async fn tasks(&self, filter: &TaskFilter) -> Result<TaskList, Failure> {
        self.call(Method::GET, "tasks", filter, None::<&()>, Duration::ZERO).await
    }

    /// The same for so many tasks, however few the server tells at once; without a number, for all.
    pub(crate) async fn tasks_up_to(
        &self,
        filter: &TaskFilter,
        most: Option<usize>,
    ) -> Result<TaskList, Failure> {
        let mut query = filter.clone();
        let mut found = Vec::new();
        let mut before = None;
        loop {
            let left = most.map_or(usize::MAX, |most| most - found.len());
            query.limit = Some(u32::try_from(left).unwrap_or(u32::MAX));
            let mut list = self.tasks(&query).await?;
            // What happens while the rest is asked for is told by events after the first part.
            let last_event = *before.get_or_insert(list.last_event);
            let empty = list.tasks.is_empty();
            found.append(&mut list.tasks);
            if !list.more || empty || most.is_some_and(|most| found.len() >= most) {
                return Ok(TaskList { tasks: found, more: list.more, last_event });
            }
            query.after = found.last().map(|task| task.task.clone());
        }
    }

    /// `GET /api/v1/tasks/{task}/log`.
    pub(crate) async fn log(&self, task: &TaskId, query: &LogQuery) -> Result<LogPart, Failure> {
        let held = Duration::from_millis(query.wait_milliseconds);
        self.call(Method::GET, &format!("tasks/{task}/log"), query, None::<&()>, held).await
    }

    /// `GET /api/v1/batches`.
    pub(crate) async fn batches(&self, query: &BatchQuery) -> Result<BatchList, Failure> {
        self.call(Method::GET, "batches", query, None::<&()>, Duration::ZERO).await
    }

    /// The same for so many batches, however few the server tells at once; without a number, for all.
    pub(crate) async fn batches_up_to(
        &self,
        query: &BatchQuery,
        most: Option<usize>,
    ) -> Result<BatchList, Failure> {
        let mut query = query.clone();
        let mut found = Vec::new();
        let mut names = HashSet::new();
        loop {
            let left = most.map_or(usize::MAX, |most| most - found.len());
            query.limit = Some(u32::try_from(left).unwrap_or(u32::MAX));
            let BatchList { batches, more } = self.batches(&query).await?;
            query.after = batches.last().map(|batch| batch.name.clone());
            // One that is touched meanwhile comes twice.
            found.extend(batches.into_iter().filter(|batch| names.insert(batch.name.clone())));
            if !more || query.after.is_none() || most.is_some_and(|most| found.len() >= most) {
                return Ok(BatchList { batches: found, more });
            }
        }
    }

    /// `GET /api/v1/batches/{name}/members`.
    pub(crate) async fn members(&self, batch: &str, query: &MemberQuery) -> Result<MemberList, Failure> {
        // Names may hold anything: an address takes care of what must be written otherwise in one.
        let mut path =
            reqwest::Url::parse("http://x/").map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
        if let Ok(mut segments) = path.path_segments_mut() {
            segments.clear().push("batches").push(batch).push("members");
        }
        self.call(Method::GET, path.path().trim_start_matches('/'), query, None::<&()>, Duration::ZERO).await
    }

    /// `POST /api/v1/tasks/cancel`, `…/retry` or `…/delete` for any number of tasks; the answers are in order.
    pub(crate) async fn act(&self, verb: &str, tasks: &[TaskId]) -> Result<Vec<TaskAnswer>, Failure> {
        let mut answers = Vec::with_capacity(tasks.len());
        for part in tasks.chunks(MAXIMUM_TASKS) {
            let selection = TaskSelection { tasks: part.to_vec(), priority: 0 };
            let path = format!("tasks/{verb}");
            let answer: TaskAnswers =
                self.call(Method::POST, &path, &(), Some(&selection), Duration::ZERO).await?;
            answers.extend(answer.tasks);
        }
        Ok(answers)
    }

    /// `GET /api/v1/events`.
    pub(crate) async fn events(&self, query: &EventQuery) -> Result<EventPage, Failure> {
        let held = Duration::from_millis(query.wait_milliseconds);
        self.call(Method::GET, "events", query, None::<&()>, held).await
    }

    /// `GET /api/v1/keys`.
    pub(crate) async fn keys(&self) -> Result<KeyList, Failure> {
        self.call(Method::GET, "keys", &(), None::<&()>, Duration::ZERO).await
    }

    /// `POST /api/v1/keys`.
    pub(crate) async fn add_key(&self, name: &str) -> Result<CreatedKey, Failure> {
        let body = NewKey { name: name.to_owned() };
        self.call(Method::POST, "keys", &(), Some(&body), Duration::ZERO).await
    }

    /// `DELETE /api/v1/keys/{key}`.
    pub(crate) async fn revoke_key(&self, key: &KeyId) -> Result<(), Failure> {
        let answer: serde_json::Value =
            self.call(Method::DELETE, &format!("keys/{key}"), &(), None::<&()>, Duration::ZERO).await?;
        drop(answer);
        Ok(())
    }

    /// `PUT /api/v1/keys/{key}/quota`.
    pub(crate) async fn set_quota(&self, key: &KeyId, quota: &Quota) -> Result<KeySummary, Failure> {
        self.call(Method::PUT, &format!("keys/{key}/quota"), &(), Some(quota), Duration::ZERO).await
    }

    async fn call<Query: Serialize, Body: Serialize, Answer: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<&Body>,
        held: Duration,
    ) -> Result<Answer, Failure> {
        let url = format!("{}/api/v1/{path}", self.connection.url);
        let mut request = self
            .http
            .request(method, url)
            .query(query)
            .bearer_auth(&self.connection.key)
            .timeout(PATIENCE + held);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&bytes).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("the answer of {} is not understood: {error}", self.connection.url),
                )
                .hint("use the same version of wavetask for the server and for its commands")
            });
        }
        let told: Option<ApiError> = serde_json::from_slice(&bytes).ok();
        if status == StatusCode::NOT_FOUND && told.as_ref().is_none_or(|told| told.code == NO_SUCH_PATH) {
            let what =
                format!("the server at {} has no native API, which this command needs", self.connection.url);
            return Err(Failure::new(Exit::Failed, what)
                .hint("in Python, `wavetask.connect(url, key)` has `tasks()`, `batches()` and `open()` for any server"));
        }
        Err(refused(status, told))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let what = if error.is_timeout() { "does not answer" } else { "cannot be reached" };
        let failure = Failure::new(
            Exit::Unreachable,
            format!("the server at {} {what}: {}", self.connection.url, root_cause(error)),
        );
        match &self.connection.data_folder {
            Some(folder) => failure.hint(format!(
                "start it with `wavetask serve --data {}`, or see what `wavetask doctor` says",
                folder.display()
            )),
            None => failure.hint("check WAVETASK_URL, or see what `wavetask doctor` says"),
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What an answer other than 200 means for the user.
fn refused(status: StatusCode, body: Option<ApiError>) -> Failure {
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Denied,
        StatusCode::NOT_FOUND => Exit::NotFound,
        _ => Exit::Failed,
    };
    let what = match &body {
        Some(error) => error.message.clone(),
        None if status == StatusCode::UNAUTHORIZED => "the server does not know this key".to_owned(),
        None => format!("the server answered {status}"),
    };
    let failure = Failure::new(exit, what);
    match body.and_then(|error| error.hint) {
        Some(hint) => failure.hint(hint),
        None if status == StatusCode::UNAUTHORIZED => {
            failure.hint("check WAVETASK_KEY, or the file `key` in the data folder")
        }
        None => failure,
    }
}
