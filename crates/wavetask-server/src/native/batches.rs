//! Batches: their submission, their list, their members.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use wavetask_protocol::native::{
    BatchList, BatchQuery, BatchSummary, Member, MemberList, MemberQuery, StateCount, SubmitAnswer,
};
use wavetask_store::{BatchFilter, BatchRecord};

use super::summary::summarize;
use super::{Asked, Routes, Segment, asked, bad, gather, submit};
use crate::answer::Refused;
use crate::app::App;
use crate::extract::Caller;

/// Batches that one list answers with at most.
const BATCHES: u32 = 1_000;

/// Members that one list answers with at most.
const MEMBERS: u32 = 20_000;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post("/api/v1/batches", take)
        .get("/api/v1/batches", list)
        .get("/api/v1/batches/{name}/members", members)
}

async fn take(
    caller: Caller,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: HttpBody,
) -> Result<Json<SubmitAnswer>, Refused> {
    let gathered = gather::gather(&app, &headers, body).await?;
    // A client that hangs up does not leave what it has begun half done.
    let own = Arc::clone(&app);
    let work = app.background.spawn(async move { submit::submit(&own, &caller, gathered).await });
    work.await.unwrap_or_else(|error| Err(Refused::internal(&error))).map(Json)
}

async fn list(
    caller: Caller,
    State(app): State<Arc<App>>,
    query: Asked<BatchQuery>,
) -> Result<Json<BatchList>, Refused> {
    let query = asked(query)?;
    let list = app
        .blocking(move |app| {
            let limit = query.limit.unwrap_or(BATCHES).min(BATCHES) as usize;
            if let Some(name) = &query.after {
                app.tasks.batch_by_name(caller.id(), name)?.ok_or_else(no_such_batch)?;
            }
            let BatchQuery { name, tag, without_tag, after, .. } = query;
            let filter = BatchFilter { name, tag, without_tag, after };
            // One more than asked for tells whether there are more.
            let mut batches = app.tasks.batches(caller.id(), &filter, limit + 1)?;
            let more = batches.len() > limit;
            batches.truncate(limit);
            Ok(BatchList { batches: batches.into_iter().map(summary).collect(), more })
        })
        .await?;
    Ok(Json(list))
}

fn summary(batch: BatchRecord) -> BatchSummary {
    BatchSummary {
        batch: batch.id,
        name: batch.name,
        tags: batch.tags,
        members: batch.members,
        complete: batch.complete,
        created_milliseconds: batch.created_at.as_milliseconds(),
        states: batch.states.into_iter().map(|(state, count)| StateCount { state, count }).collect(),
    }
}

async fn members(
    caller: Caller,
    State(app): State<Arc<App>>,
    name: Segment,
    query: Asked<MemberQuery>,
) -> Result<Json<MemberList>, Refused> {
    let query = asked(query)?;
    let after = query.after.as_deref().map(place).transpose()?;
    let list = app
        .blocking(move |app| {
            let limit = query.limit.unwrap_or(MEMBERS).clamp(1, MEMBERS) as usize;
            // The newest number first: what happens while the list is made is told by an event after it.
            let last_event = app.tasks.latest_sequence()?;
            let batch = app.tasks.batch_by_name(caller.id(), &name.0)?.ok_or_else(no_such_batch)?;
            // One more than asked for tells whether there are more.
            let mut found = app.tasks.batch_members(caller.id(), &name.0, after.as_ref(), limit + 1)?;
            let more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| more);
            let next = next.map(|(member, _)| format!("{}:{}", member.position, member.key));
            let mut members = Vec::with_capacity(found.len());
            for (member, record) in found {
                let task = summarize(app, &record)?;
                members.push(Member { key: member.key, parameters: member.parameters, task });
            }
            Ok(MemberList { batch: summary(batch), members, next, last_event })
        })
        .await?;
    Ok(Json(list))
}

/// A place in a batch, as `next` gave it.
fn place(text: &str) -> Result<(u64, String), Refused> {
    let parts = text.split_once(':');
    let place = parts.and_then(|(position, key)| Some((position.parse().ok()?, key.to_owned())));
    place.ok_or_else(|| bad("`after` is not what `next` of the part before gave"))
}

fn no_such_batch() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "batch.not_found", "there is no batch of this name")
        .hint("GET /api/v1/batches lists the batches of this key")
}
