//! The S3 part of the tidy3d door: uploads and downloads of task files.
//!
//! The client gets temporary credentials for each file from the REST part and then speaks S3, path style,
//! to the same port: `/wavetask/<task>/<file>`. Signatures, chunked framing and XML are `s3s`'s business;
//! what may be done is decided in [`access`], what it does in [`backend`]. There are no buckets to list
//! and no objects but those of [`crate::files`].

mod access;
mod backend;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;

use crate::answer::Refused;
use crate::app::App;

/// The one bucket.
pub(crate) const BUCKET: &str = "wavetask";

/// Path prefix of a second endpoint address, for clients that were set up with one.
pub(crate) const PREFIX: &str = "s3";

/// Whether a path is for the S3 part.
pub(crate) fn is_s3_path(path: &str) -> bool {
    let path = path.strip_prefix("/s3/").or_else(|| path.strip_prefix('/')).unwrap_or(path);
    path.strip_prefix(BUCKET).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The S3 service of a server.
pub(crate) fn service(app: &Arc<App>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(backend::Backend::new(Arc::clone(app)));
    builder.set_auth(access::Signatures::new(Arc::clone(app)));
    builder.set_access(access::Access::new(Arc::clone(app)));
    builder.set_validation(Buckets);
    let mut config = S3Config::default();
    // Completing an upload of 10,000 parts takes about 2 MB of XML. Forms are not used at all.
    config.xml_max_body_size = 4 << 20;
    config.post_object_max_file_size = 0;
    config.form_max_field_size = 1 << 10;
    config.form_max_fields_size = 1 << 10;
    config.form_max_parts = 1;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.build()
}

/// Hands a request to the S3 service.
pub(crate) async fn handle(service: S3Service, request: Request<Body>) -> Response {
    match service.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::error!(%error, "an S3 request failed");
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "server.internal", "the server could not do this")
                .into_response()
        }
    }
}

/// The task and the file that bucket and key of a request name.
fn task_and_file<'a>(bucket: &str, key: &'a str) -> Option<(&'a str, &'a str)> {
    let key = match bucket {
        BUCKET => key,
        PREFIX => key.strip_prefix(BUCKET)?.strip_prefix('/')?,
        _ => return None,
    };
    key.split_once('/')
}

struct Buckets;

impl NameValidation for Buckets {
    fn validate_bucket_name(&self, name: &str) -> bool {
        name == BUCKET || name == PREFIX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_keys() {
        assert!(is_s3_path("/wavetask/task-1/simulation.hdf5.gz"));
        assert!(is_s3_path("/s3/wavetask/task-1/simulation.hdf5.gz"));
        assert!(is_s3_path("/wavetask"));
        assert!(!is_s3_path("/wavetasks/x"));
        assert!(!is_s3_path("/tidy3d/projects"));
        assert_eq!(task_and_file("wavetask", "t/output/x"), Some(("t", "output/x")));
        assert_eq!(task_and_file("s3", "wavetask/t/x"), Some(("t", "x")));
        assert_eq!(task_and_file("s3", "t/x"), None);
        assert_eq!(task_and_file("other", "t/x"), None);
        assert_eq!(task_and_file("wavetask", "t"), None);
    }
}
