//! Who am I, are you there, and how fast is the line.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Refused;
use crate::app::{App, now};
use crate::extract::Caller;

/// Length of the file that the client measures the line with: it asks for exactly so much.
const DOWNLOAD: u64 = 100 << 20;

/// How long its address is good for, in seconds.
const DOWNLOAD_SECONDS: i64 = 600;

/// Whether the key is good.
pub(super) async fn apikey(caller: Caller) -> Json<Value> {
    Json(json!({ "data": { "keyId": caller.key.id, "name": caller.key.name } }))
}

/// Whether the server is there; needs no key. It says what it is, so that a client of ours knows what it may leave out.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "health": "OK", "server": concat!("wavetask-", env!("CARGO_PKG_VERSION")) }))
}

/// There are no credits here: what a task costs is processor time, and nobody counts it.
pub(super) async fn account(_: Caller) -> Json<Value> {
    Json(json!({ "data": {
        "credit": null,
        "creditExpiration": null,
        "allowanceCycleType": null,
        "allowanceCurrentCycleAmount": null,
        "allowanceCurrentCycleEndDate": null,
        "dailyFreeSimulationCounts": null,
    } }))
}

/// There is no material library here.
pub(super) async fn libraries(_: Caller) -> Json<Value> {
    Json(json!({ "data": [] }))
}

/// An address for measuring the line, good without a key for some minutes.
pub(super) async fn download_url(
    caller: Caller,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Json<Value> {
    let expires = now().as_milliseconds() / 1000 + DOWNLOAD_SECONDS;
    let signature = app.secret.sign("diagnostics", &format!("{} {expires}", caller.id()));
    // The client may reach this server under another name than the one that it listens on.
    let origin = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .map_or_else(|| app.origin.clone(), |host| format!("http://{host}"));
    let url = format!(
        "{origin}/tidy3d/diagnostics/download?key={}&expires={expires}&signature={signature}",
        caller.id()
    );
    // Not in an envelope: the client's diagnosis reads this itself.
    Json(json!({ "download_url": url }))
}

/// What the address of [`download_url`] says.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Signed {
    key: String,
    expires: i64,
    signature: String,
}

/// Bytes of no meaning, as many as are asked for. They do not compress, so that nothing on the way
/// makes the line look faster than it is.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    Query(signed): Query<Signed>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let message = format!("{} {}", signed.key, signed.expires);
    let good = app.secret.verify("diagnostics", &message, &signed.signature);
    if !good || signed.expires < now().as_milliseconds() / 1000 {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "address.expired",
            "this address is not or no longer good",
        ));
    }
    let (start, end) = match headers.get(header::RANGE).map(|range| range.to_str().ok().and_then(parse_range))
    {
        None => (0, DOWNLOAD),
        Some(Some((start, end))) if start < end => (start, end),
        Some(_) => {
            return Err(Refused::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "request.bad_range",
                "no such range",
            ));
        }
    };
    let piece = noise(64 << 10);
    let stream = futures::stream::unfold(end - start, move |left| {
        let piece = piece.clone();
        async move {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            (left > 0)
                .then(|| (Ok::<_, std::convert::Infallible>(piece.slice(..length)), left - length as u64))
        }
    });
    let partial = headers.contains_key(header::RANGE);
    let mut response = Body::from_stream(stream).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    answer.insert(header::CONTENT_LENGTH, (end - start).into());
    if partial {
        let range = format!("bytes {start}-{}/{DOWNLOAD}", end - 1);
        if let Ok(range) = range.parse() {
            answer.insert(header::CONTENT_RANGE, range);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// One range of the kind `bytes=a-b`, cut at the file's end; as a half-open range.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    let start = start.parse().ok()?;
    let end = if end.is_empty() { DOWNLOAD } else { end.parse::<u64>().ok()?.checked_add(1)?.min(DOWNLOAD) };
    Some((start, end))
}

/// Pseudo-random bytes (xorshift).
fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-104857599"), Some((0, DOWNLOAD)));
        assert_eq!(parse_range("bytes=5-"), Some((5, DOWNLOAD)));
        assert_eq!(parse_range("bytes=5-5"), Some((5, 6)));
        assert_eq!(parse_range("bytes=0-18446744073709551615"), None);
        assert_eq!(parse_range("lines=1-2"), None);
        assert_eq!(parse_range("bytes=-5"), None);
    }
}
