//! What handlers ask of a request: who calls, and a JSON body within its limit.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use wavetask_protocol::KeyId;
use wavetask_store::{Key, KeyRole};

use crate::answer::Refused;
use crate::app::App;
use crate::connection::ConnectionId;

/// Bytes beyond the limit that are read and thrown away before a body is refused.
pub(crate) const SWALLOWED: usize = 64 << 20;

/// Header in which the tidy3d client shows its key.
const TIDY3D_KEY: &str = "simcloud-api-key";

/// Whoever shows a valid key of an account.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) key: Key,
}

impl Caller {
    pub(crate) fn id(&self) -> &KeyId {
        &self.key.id
    }

    /// Refuses everybody but the administrator.
    pub(crate) fn must_administer(&self) -> Result<(), Refused> {
        if self.key.role == KeyRole::Administrator {
            return Ok(());
        }
        Err(Refused::new(StatusCode::FORBIDDEN, "key.not_administrator", "this key may not manage keys")
            .hint("use the key that the server's first start made (the file `key` in its data folder)"))
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let key = app.key(shown_secret(&parts.headers).ok_or_else(Refused::no_key)?).await?;
        if key.role == KeyRole::Worker { Err(Refused::no_key()) } else { Ok(Self { key }) }
    }
}

/// A worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerCaller;

impl FromRequestParts<Arc<App>> for WorkerCaller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let key = app.key(shown_secret(&parts.headers).ok_or_else(Refused::no_key)?).await?;
        if key.role == KeyRole::Worker { Ok(Self) } else { Err(Refused::no_key()) }
    }
}

fn shown_secret(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get(TIDY3D_KEY) {
        return key.to_str().ok();
    }
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Which connection a request came on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnConnection(pub(crate) ConnectionId);

impl<S: Sync> FromRequestParts<S> for OnConnection {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        // A request that came some other way (a test's) is on a connection of its own.
        Ok(Self(parts.extensions.get().copied().unwrap_or_else(ConnectionId::next)))
    }
}

/// A JSON body, whatever its content type says: clients that send none at all exist. An empty body is `null`.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refused> {
        let limit = app.config.limits.json_bytes;
        let mut body = request.into_body().into_data_stream();
        let mut bytes = Vec::new();
        let mut length = 0_usize;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| body_error(&error))?;
            length += piece.len();
            if length > limit.saturating_add(SWALLOWED) {
                break;
            }
            // What is too much is read on for a while and thrown away: many clients look for an answer
            // only once they have sent everything.
            if length <= limit {
                bytes.extend_from_slice(&piece);
            }
        }
        if length > limit {
            let message = format!("the body is larger than {limit} bytes");
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_large", message)
                .hint("send less at once"));
        }
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map(Self).map_err(|error| not_json(&error))
    }
}

/// The body is not what is expected.
pub(crate) fn not_json(error: &serde_json::Error) -> Refused {
    Refused::bad_request(format!("the body is not the JSON expected here: {error}"))
        .hint("see that client and server fit: /api/v1/openapi.json says what the native API expects")
}

pub(crate) fn body_error(error: &axum::Error) -> Refused {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(slow) = error.downcast_ref::<crate::body::TooSlow>() {
            return Refused::new(StatusCode::REQUEST_TIMEOUT, "request.too_slow", slow.to_string())
                .hint("send it again, in smaller parts");
        }
        cause = error.source();
    }
    Refused::new(StatusCode::REQUEST_TIMEOUT, "request.broke_off", "the body broke off")
        .hint("send it again; what had come whole need not come again")
}
