//! The native API; its types, and the table of its routes, are in [`wavetask_protocol::native`].
//!
//! What all of it keeps to:
//!
//! - **Nothing is remembered between requests** but what the store holds, so any of them may be repeated.
//! - **One query for many tasks.** A list, a page of events or an answer to a thousand members reads its tasks at
//!   once ([`summary`]).
//! - **Heavy work waits its turn**: reading documents, compressing and checking take places in the server's
//!   [budget](crate::budget), in the order in which they came, with those of the tidy3d door. A large batch is as
//!   many small pieces of work, and never holds more places than there are cores.
//! - **Another account's things do not exist.** Whatever is named by a client is looked for among what its own
//!   account has, before anything else is looked at, so that no answer (nor the time it takes) tells more.

mod arriving;
mod batches;
mod blocks;
mod conditions;
mod cut_off;
mod events;
mod gather;
mod keys;
mod many;
mod openapi;
mod parts;
mod results;
mod status;
mod submit;
mod summary;
mod tasks;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, on};
use serde::de::DeserializeOwned;
use wavetask_protocol::TaskId;

use crate::answer::Refused;
use crate::app::App;

pub(crate) use arriving::CutOffPacks;
pub(crate) use blocks::PackOfBlocks;

/// The routes of this part.
pub(crate) fn routes() -> Router<Arc<App>> {
    all().router
}

fn all() -> Routes {
    let routes = Routes::default();
    let routes = status::routes(routes);
    let routes = tasks::routes(routes);
    let routes = many::routes(routes);
    let routes = events::routes(routes);
    let routes = batches::routes(routes);
    let routes = arriving::routes(routes);
    let routes = blocks::routes(routes);
    let routes = results::routes(routes);
    let routes = parts::routes(routes);
    let routes = keys::routes(routes);
    openapi::routes(routes)
}

/// Routes, and their names for those who compare them with what is documented.
#[derive(Default)]
struct Routes {
    router: Router<Arc<App>>,
    listed: Vec<(Method, &'static str)>,
}

impl Routes {
    fn add<H, T>(mut self, method: Method, filter: MethodFilter, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.router = self.router.route(path, on(filter, handler));
        self.listed.push((method, path));
        self
    }

    fn get<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::GET, MethodFilter::GET, path, handler)
    }

    fn post<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::POST, MethodFilter::POST, path, handler)
    }

    fn put<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::PUT, MethodFilter::PUT, path, handler)
    }

    fn delete<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::DELETE, MethodFilter::DELETE, path, handler)
    }
}

/// A query, or why it is none.
type Asked<T> = Result<Query<T>, QueryRejection>;

fn asked<T: DeserializeOwned>(query: Asked<T>) -> Result<T, Refused> {
    query.map(|Query(query)| query).map_err(|error| bad(error.body_text()))
}

/// The part of a path that names something, decoded.
#[derive(Debug)]
struct Segment(String);

impl FromRequestParts<Arc<App>> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        match Path::<String>::from_request_parts(parts, app).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(error) => Err(bad(error.body_text())),
        }
    }
}

impl Segment {
    /// The task that it names. What cannot be an id is one that does not exist.
    fn task(&self) -> Result<TaskId, Refused> {
        self.0.parse().map_err(|_| Refused::no_such_task())
    }
}

/// A request that is not as it should be.
fn bad(message: impl Into<String>) -> Refused {
    Refused::bad_request(message).hint("/api/v1/openapi.json says what is expected")
}

/// More was asked for at once than the protocol lets through.
fn too_many(what: &'static str, limit: usize) -> Refused {
    let message = format!("at most {limit} {what} at once");
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_many", message).hint("ask in several parts")
}
