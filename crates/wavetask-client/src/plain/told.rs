//! What the protocol tells of a task of ours: one answer about what may be two of the server's tasks, or none yet.
//!
//! Names and ids are ours; a number that counts work is that of both tasks together; the word for where it stands is the
//! solution's, and ours while there is none or where it ended without the server's doing.

use serde_json::{Map, Value, json};
use wavetask_protocol::{TaskId, TaskState};

use super::actions::none_such;
use super::row::{Part, TaskRow};
use super::shared::Shared;
use super::transport::Failure;
use super::words::word;
use crate::error::ClientError;
use crate::server::Told;

/// Numbers that count work.
const WORK: [&str; 4] = ["estFlexUnit", "realFlexUnit", "oriRealFlexUnit", "realCost"];

impl Shared {
    /// `None` for a task that was not made here: the server knows it by its id.
    pub(super) async fn told(&self, id: &TaskId, what: Told) -> Result<Option<Value>, ClientError> {
        let Some(row) = self.row(id).await? else { return Ok(None) };
        if row.state == TaskState::Deleted {
            return Err(none_such(id));
        }
        match what {
            Told::Detail => {
                let solve = self.said(&row, Part::Solve, "detail").await?;
                let mesh = self.said(&row, Part::Mesh, "detail").await?;
                Ok(Some(detail(&row, solve, mesh)))
            }
            Told::Progress => {
                let solve = self.said(&row, Part::Solve, "progress").await?;
                Ok(Some(solve.map_or_else(|| json!(progress(&row)), Value::Object)))
            }
        }
    }

    /// What the server says of one of its tasks; nothing if there is none, or none any more.
    async fn said(
        &self,
        row: &TaskRow,
        part: Part,
        what: &str,
    ) -> Result<Option<Map<String, Value>>, ClientError> {
        let Some(remote) = row.remote(part).and_then(|remote| remote.id.as_deref()) else { return Ok(None) };
        match self.rest.told(remote, what).await {
            Ok(Value::Object(object)) => Ok(Some(object)),
            Ok(_) => Ok(None),
            Err(Failure::Refused { status, .. }) if status.as_u16() == 404 => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }
}

fn detail(row: &TaskRow, solve: Option<Map<String, Value>>, mesh: Option<Map<String, Value>>) -> Value {
    let ours = solve.is_none() || (row.state.is_final() && !row.ended_there);
    let estimated = |part: &Option<Map<String, Value>>, name: &str| {
        part.as_ref().and_then(|part| part.get(name)).and_then(Value::as_f64)
    };
    let work = WORK.map(|name| match (estimated(&solve, name), estimated(&mesh, name)) {
        (Some(solve), mesh) => Some(solve + mesh.unwrap_or(0.0)),
        // What it has cost is known at its end.
        (None, mesh) => mesh.filter(|_| name == "estFlexUnit"),
    });
    let mut told = solve.or(mesh).unwrap_or_default();
    let mut set = |name: &str, value: Value| {
        told.insert(name.to_owned(), value);
    };
    for (name, sum) in WORK.into_iter().zip(work) {
        set(name, json!(sum));
    }
    set("taskId", json!(row.id));
    set("taskName", json!(row.name));
    set("taskType", json!(row.kind.as_str()));
    set("folderName", json!(row.folder));
    if ours {
        set("status", json!(word(row.state)));
        set("createdAt", json!(moment(Some(row.created))));
        set("completedAt", json!(moment(row.ended)));
        if let Some(error) = &row.error {
            set("errorMessages", json!(error.message));
        }
    }
    Value::Object(told)
}

/// What is told before there is a solution whose progress the server could tell.
fn progress(row: &TaskRow) -> Map<String, Value> {
    let begun = matches!(row.state, TaskState::Queued | TaskState::Running | TaskState::Publishing);
    let told = |value: f64| if begun { json!(value) } else { Value::Null };
    Map::from_iter([("perc_done".to_owned(), told(0.0)), ("field_decay".to_owned(), told(1.0))])
}

fn moment(milliseconds: Option<i64>) -> Option<String> {
    let nanoseconds = i128::from(milliseconds?) * 1_000_000;
    let moment = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    moment.format(&time::format_description::well_known::Rfc3339).ok()
}
