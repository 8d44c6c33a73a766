//! Keys and what they may use: for the administrator.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use wavetask_protocol::KeyId;
use wavetask_protocol::native::{CreatedKey, KeyList, KeySummary, NewKey, Quota, Usage};
use wavetask_store::{Key, KeyRole, SecretHash};

use super::{Routes, Segment, bad};
use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::{Body, Caller};
use crate::secret;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/keys", keys)
        .post("/api/v1/keys", add_key)
        .delete("/api/v1/keys/{key}", revoke_key)
        .put("/api/v1/keys/{key}/quota", set_quota)
}

async fn keys(caller: Caller, State(app): State<Arc<App>>) -> Result<Json<KeyList>, Refused> {
    caller.must_administer()?;
    let keys = app
        .blocking(|app| {
            let keys = app.tasks.keys()?;
            let accounts = keys.iter().filter(|key| key.role != KeyRole::Worker);
            accounts.map(|key| with_usage(app, key)).collect()
        })
        .await?;
    Ok(Json(KeyList { keys }))
}

fn key_summary(key: &Key, usage: Usage) -> KeySummary {
    KeySummary {
        key: key.id.clone(),
        name: key.name.clone(),
        created_milliseconds: key.created_at.as_milliseconds(),
        administrator: key.role == KeyRole::Administrator,
        revoked_milliseconds: key.revoked_at.map(wavetask_core::Timestamp::as_milliseconds),
        quota: key.quota,
        usage,
    }
}

fn with_usage(app: &App, key: &Key) -> Result<KeySummary, Refused> {
    Ok(key_summary(key, app.tasks.usage(&key.id)?))
}

async fn add_key(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(new): Body<NewKey>,
) -> Result<Json<CreatedKey>, Refused> {
    caller.must_administer()?;
    let length = new.name.chars().count();
    if !(1..=100).contains(&length) || new.name.chars().any(char::is_control) {
        return Err(bad("a key's name has 1 to 100 printable characters"));
    }
    let created = app
        .blocking(move |app| {
            let taken = |key: &Key| key.revoked_at.is_none() && key.name == new.name;
            if app.tasks.keys()?.iter().any(taken) {
                let message = "there is a valid key of this name already";
                return Err(Refused::new(StatusCode::CONFLICT, "key.name_taken", message)
                    .hint("choose another name, or revoke that key"));
            }
            let secret = secret::random_text().map_err(|error| Refused::internal(&error))?;
            let id = KeyId::from_uuid(uuid::Uuid::now_v7());
            let key = app.tasks.create_key(&id, &new.name, KeyRole::User, &SecretHash::of(&secret), now())?;
            Ok(CreatedKey { summary: key_summary(&key, Usage::default()), secret })
        })
        .await?;
    Ok(Json(created))
}

async fn revoke_key(
    caller: Caller,
    State(app): State<Arc<App>>,
    key: Segment,
) -> Result<Json<serde_json::Value>, Refused> {
    caller.must_administer()?;
    let key: KeyId = key.0.parse().map_err(|_| missing())?;
    if key == *caller.id() {
        let message = "a key cannot revoke itself: nobody could manage keys any more";
        return Err(Refused::new(StatusCode::CONFLICT, "key.own", message).hint(
            "make another administrator's key first: delete the file `key` and start the server anew",
        ));
    }
    app.blocking(move |app| {
        let known = app.tasks.keys()?;
        let is_worker = known.iter().any(|known| known.id == key && known.role == KeyRole::Worker);
        if is_worker || !app.tasks.revoke_key(&key, now())? {
            return Err(missing());
        }
        app.forget_keys();
        Ok(())
    })
    .await?;
    Ok(Json(serde_json::json!({})))
}

/// Sets what a key may use. What it uses already stays, however much that is.
async fn set_quota(
    caller: Caller,
    State(app): State<Arc<App>>,
    key: Segment,
    Body(quota): Body<Quota>,
) -> Result<Json<KeySummary>, Refused> {
    caller.must_administer()?;
    let key: KeyId = key.0.parse().map_err(|_| missing())?;
    let summary = app
        .blocking(move |app| {
            let is_account = |known: &&Key| known.id == key && known.role != KeyRole::Worker;
            if !app.tasks.keys()?.iter().any(|known| is_account(&known))
                || !app.tasks.set_quota(&key, quota)?
            {
                return Err(missing());
            }
            // What is remembered of keys holds the old one.
            app.forget_keys();
            let keys = app.tasks.keys()?;
            with_usage(app, keys.iter().find(is_account).ok_or_else(missing)?)
        })
        .await?;
    Ok(Json(summary))
}

fn missing() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "key.not_found", "there is no such key")
        .hint("`wavetask key list` lists them")
}
