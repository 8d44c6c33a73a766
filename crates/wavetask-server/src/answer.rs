//! Answers that are not 200: one body for all of them, with a code for programs and a hint for people.
//!
//! The tidy3d client builds its message from the keys `message`, `detail` and `code` of the body, ours
//! reads `code`, `message` and `hint`; so the hint is there twice.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use wavetask_protocol::chain;
use wavetask_protocol::native::ApiError;

/// An answer that is not 200.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<&'static str>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None }
    }

    /// What to do about it.
    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// The same for what does not exist and for what belongs to another key.
    pub(crate) fn no_such_task() -> Self {
        Self::new(StatusCode::NOT_FOUND, "task.not_found", "there is no such task")
            .hint("`wavetask ls` lists the tasks of this key")
    }

    pub(crate) fn no_such_folder() -> Self {
        Self::new(StatusCode::NOT_FOUND, "folder.not_found", "there is no such folder")
    }

    pub(crate) fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "key.wrong", "the key is missing or wrong")
            .hint("`wavetask env` prints the settings for the client, with the right key")
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request.bad", message)
    }

    /// Something failed that is neither the caller's fault nor says anything to the caller.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = chain(error), "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server.internal", "the server could not do this")
            .hint("its log says why; try again")
    }

    pub(crate) fn no_room() -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "server.no_room", "the server's disk is full")
            .hint("free some space in its data folder, then try again")
    }

    /// The database was held on to for too long.
    pub(crate) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server.busy", "the server is too busy to do this now")
            .hint("try again in a moment")
    }

    /// The log of events no longer goes back to where somebody wants to go on, or begins anew since.
    pub(crate) fn events_gone() -> Self {
        Self::new(StatusCode::GONE, "events.gone", "events after this number have been forgotten")
            .hint("list the tasks anew, and follow the events after the `last_event` of that list")
    }

    /// What it says, within an answer about many things.
    pub(crate) fn error(&self) -> ApiError {
        ApiError {
            code: self.code.to_owned(),
            message: self.message.clone(),
            hint: self.hint.map(str::to_owned),
        }
    }

    /// Whether the same request may succeed later: the fault is on this side, or with the time.
    pub(crate) fn is_temporary(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::REQUEST_TIMEOUT
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = Body { error: self.error(), detail: self.hint };
        (self.status, Json(body)).into_response()
    }
}

#[derive(serde::Serialize)]
struct Body {
    #[serde(flatten)]
    error: ApiError,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetask_store::StoreError;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let full = || -> Box<dyn std::error::Error + Send + Sync> { "no room".into() };
        let no_space = Refused::from(StoreError::NoSpace { action: "store blocks", source: full() });
        assert_eq!((no_space.status().as_u16(), no_space.error().code.as_str()), (507, "server.no_room"));
        let busy = Refused::from(StoreError::Busy { source: full() });
        let failed = Refused::from(StoreError::Failed { action: "write", source: full() });
        let gone = Refused::from(StoreError::EventsGone { pruned_to: 7 });
        assert_eq!((gone.status().as_u16(), gone.error().code.as_str()), (410, "events.gone"));
        for (refused, temporary) in [
            (no_space, true),
            (busy, true),
            (failed, true),
            (gone, false),
            (Refused::bad_request("x"), false),
            (crate::quota::tasks_exceeded(), false),
            (crate::quota::bytes_exceeded(), false),
        ] {
            assert_eq!(refused.is_temporary(), temporary, "{refused:?}");
        }
    }
}
