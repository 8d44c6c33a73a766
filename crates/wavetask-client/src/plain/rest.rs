//! The protocol's REST requests, each by name. None knows what it is good for.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use wavetask_protocol::TaskKind;

use super::sign::{Credentials, encode};
use super::transport::{Call, Failure, Transport};

/// For answers that a server gives at once, or holds back for a few seconds.
const PATIENCE: Duration = Duration::from_secs(90);
/// For validation, which some servers have done when they answer.
const VALIDATION: Duration = Duration::from_secs(600);

/// What a server tells of a task. Whatever is missing or of another type is as if it were not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Detail {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) kind: Option<TaskKind>,
    pub(super) folder: String,
    pub(super) folder_name: String,
    pub(super) status: Option<String>,
    pub(super) metadata: Option<String>,
    pub(super) error: Option<String>,
    /// Milliseconds since 1970.
    pub(super) created: Option<i64>,
    /// The same, when it began to be solved.
    pub(super) started: Option<i64>,
    /// The same, when it ended.
    pub(super) finished: Option<i64>,
    /// Percentage done, if it was asked for.
    pub(super) percent: Option<f64>,
    /// What goes down while the solver comes nearer to its end.
    pub(super) residual: Option<f64>,
}

impl Detail {
    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let moment = |names: &[&str]| {
            let text = names.iter().find_map(|name| text(name))?;
            let at =
                time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339).ok()?;
            i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
        };
        Some(Self {
            id: text("taskId")?,
            name: text("taskName").unwrap_or_default(),
            kind: text("taskType").and_then(|kind| kind.parse().ok()),
            folder: text("folderId").unwrap_or_default(),
            folder_name: text("folderName").unwrap_or_default(),
            status: text("status"),
            metadata: text("metadataStatus"),
            error: text("errorMessages"),
            created: moment(&["createdAt", "createAt"]),
            started: moment(&["startSolverTime"]),
            finished: moment(&["finishSolverTime", "completedAt"]),
            percent: None,
            residual: None,
        })
    }

    /// As of a task that is not there any more.
    pub(super) fn deleted(id: &str) -> Self {
        Self { id: id.to_owned(), status: Some("deleted".to_owned()), ..Self::default() }
    }
}

/// Where a file is, and what opens it.
#[derive(Clone, Debug)]
pub(super) struct FilePlace {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) credentials: Credentials,
}

/// The requests.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) transport: Transport,
    url: String,
    key: String,
    region: String,
    /// What the server is told that we are: it answers in the words of that version of the client.
    version: String,
}

impl Rest {
    pub(super) fn new(transport: Transport, url: &str, key: &str, region: &str, version: &str) -> Self {
        Self {
            transport,
            url: url.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
            region: region.to_owned(),
            version: version.to_owned(),
        }
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Call {
        let mut headers = vec![
            ("simcloud-api-key".to_owned(), self.key.clone()),
            ("tidy3d-python-version".to_owned(), self.version.clone()),
            ("source".to_owned(), "Python".to_owned()),
        ];
        let body = body.map_or_else(Bytes::new, |body| {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
            body.to_string().into()
        });
        Call { method, url: format!("{}/{path}", self.url), headers, body, timeout: PATIENCE }
    }

    /// The JSON of an answer, out of its envelope.
    fn data(answer: &super::transport::Answer, path: &str) -> Result<Value, Failure> {
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(Value::Object(mut object)) if object.contains_key("data") => {
                Ok(object.remove("data").unwrap_or(Value::Null))
            }
            Ok(value) => Ok(value),
            Err(error) => Err(Failure::Unreadable { what: path.to_owned(), text: error.to_string() }),
        }
    }

    async fn patiently(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = self.transport.patiently(|| self.call(method.clone(), path, body)).await?;
        Self::data(&answer, path)
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.patiently(Method::GET, path, None).await
    }

    /// Who is there; needs no key.
    pub(super) async fn health(&self) -> Result<Value, Failure> {
        self.get("health").await
    }

    /// Whether the key is good.
    pub(super) async fn check_key(&self) -> Result<(), Failure> {
        self.get("apikey").await.map(|_| ())
    }

    /// The id of the folder of this name, made if it is not there.
    ///
    /// Making it may be repeated: servers find a folder by its name before they make one. Where one does not, two
    /// folders of a name are all that comes of it.
    pub(super) async fn folder(&self, name: &str) -> Result<String, Failure> {
        let id = |value: &Value| value.get("projectId").and_then(Value::as_str).map(ToOwned::to_owned);
        let path = format!("tidy3d/project?projectName={}", encode(name, false));
        let found = match self.get(&path).await {
            Err(failure) if failure.status().is_some_and(|status| status.as_u16() == 404) => Value::Null,
            found => found?,
        };
        if let Some(id) = id(&found) {
            return Ok(id);
        }
        let path = "tidy3d/projects";
        let made = self.patiently(Method::POST, path, Some(&json!({ "projectName": name }))).await?;
        id(&made).ok_or_else(|| unreadable(path, "no `projectId`"))
    }

    /// All folders: ids and names.
    pub(super) async fn folders(&self) -> Result<Vec<(String, String)>, Failure> {
        let list = self.get("tidy3d/projects").await?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        Ok(list
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|folder| Some((text(folder, "projectId")?, text(folder, "projectName")?)))
            .collect())
    }

    /// Creates a task. **One try only**: what to do when the answer is lost is the caller's to decide.
    pub(super) async fn create(
        &self,
        folder: &str,
        name: &str,
        kind: TaskKind,
        parent: Option<&str>,
    ) -> Result<String, Failure> {
        let path = format!("tidy3d/projects/{}/tasks", encode(folder, false));
        let body = json!({
            "taskName": name, "taskType": kind.as_str(), "callbackUrl": null, "simulationType": "tidy3d",
            "parentTasks": parent.map(|parent| vec![parent]), "fileType": "Gz",
        });
        let answer = self.transport.once(&self.call(Method::POST, &path, Some(&body))).await?;
        let data = Self::data(&answer, &path)?;
        data.get("taskId")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
            .ok_or_else(|| unreadable(&path, "no `taskId`"))
    }

    /// The tasks of a folder.
    pub(super) async fn tasks(&self, folder: &str) -> Result<Vec<Detail>, Failure> {
        let list = self.get(&format!("tidy3d/projects/{}/tasks", encode(folder, false))).await?;
        Ok(list.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Detail::read).collect())
    }

    /// A task; one that is not there is `deleted`.
    pub(super) async fn detail(&self, task: &str) -> Result<Detail, Failure> {
        let path = format!("tidy3d/tasks/{}/detail", encode(task, false));
        match self.get(&path).await {
            Ok(value) => Detail::read(&value).ok_or_else(|| unreadable(&path, "no `taskId`")),
            Err(failure) if failure.status().is_some_and(|status| status.as_u16() == 404) => {
                Ok(Detail::deleted(task))
            }
            Err(failure) => Err(failure),
        }
    }

    /// What a server tells of a task, as it tells it: its `detail` or its `progress`.
    pub(super) async fn told(&self, task: &str, part: &str) -> Result<Value, Failure> {
        self.get(&format!("tidy3d/tasks/{}/{part}", encode(task, false))).await
    }

    /// How far a task is: percentage and what goes down meanwhile.
    pub(super) async fn progress(&self, task: &str) -> Result<(Option<f64>, Option<f64>), Failure> {
        let value = self.told(task, "progress").await?;
        let number = |name: &str| value.get(name).and_then(Value::as_f64).filter(|number| number.is_finite());
        Ok((number("perc_done"), number("field_decay")))
    }

    /// Where one of a task's files is.
    pub(super) async fn file(&self, task: &str, file: &str) -> Result<FilePlace, Failure> {
        let path = format!("tidy3d/py/tasks/{}/file?filename={}", encode(task, false), encode(file, true));
        let value = self.get(&path).await?;
        let given = value.get("userCredentials").cloned().unwrap_or_default();
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let read = || {
            let cloud = text(&value, "cloudpath")?;
            let (bucket, key) = cloud.strip_prefix("s3://")?.split_once('/')?;
            Some(FilePlace {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                credentials: Credentials {
                    access_key: text(&given, "accessKeyId")?,
                    secret: text(&given, "secretAccessKey")?,
                    session: text(&given, "sessionToken").unwrap_or_default(),
                    region: self.region.clone(),
                },
            })
        };
        read().ok_or_else(|| unreadable(&path, "no credentials for the file"))
    }

    /// Has a task's upload checked. May be repeated.
    pub(super) async fn check(&self, task: &str) -> Result<(), Failure> {
        let path = format!("tidy3d/tasks/{}/metadata", encode(task, false));
        let body = json!({ "solverVersion": null, "protocolVersion": self.version });
        let call = || Call { timeout: VALIDATION, ..self.call(Method::POST, &path, Some(&body)) };
        self.transport.patiently(call).await.map(|_| ())
    }

    /// Starts a task. One try: whether it was started can be asked.
    pub(super) async fn start(&self, task: &str, cache: bool, priority: i32) -> Result<(), Failure> {
        let path = format!("tidy3d/tasks/{}/submit", encode(task, false));
        let body = json!({
            "solverVersion": null, "workerGroup": null, "protocolVersion": self.version, "enableCaching": cache,
            "payType": "AUTO", "priority": (priority > 0).then(|| priority.min(10)), "vgpuAllocation": null,
            "ignoreMemoryLimit": null,
        });
        self.transport.once(&self.call(Method::POST, &path, Some(&body))).await.map(|_| ())
    }

    /// Stops a task. May be repeated.
    pub(super) async fn abort(&self, task: &str, kind: TaskKind) -> Result<(), Failure> {
        let body = json!({ "taskType": kind.as_str(), "taskId": task });
        self.patiently(Method::PUT, "tidy3d/tasks/abort", Some(&body)).await.map(|_| ())
    }

    /// Deletes a task. May be repeated: one that is not there counts as deleted.
    pub(super) async fn delete(&self, task: &str) -> Result<(), Failure> {
        let path = format!("tidy3d/tasks/{}", encode(task, false));
        match self.patiently(Method::DELETE, &path, None).await {
            Err(failure) if failure.status().is_some_and(|status| status.as_u16() == 404) => Ok(()),
            result => result.map(|_| ()),
        }
    }
}

fn unreadable(path: &str, text: &str) -> Failure {
    Failure::Unreadable { what: path.split('?').next().unwrap_or_default().to_owned(), text: text.to_owned() }
}
