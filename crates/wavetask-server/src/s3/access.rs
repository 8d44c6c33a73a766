//! Who may do what: credentials say which file and which verb, and requests must agree with them.

use std::sync::Arc;

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::task_and_file;
use crate::app::{App, now};
use crate::secret::{Grant, Verb};

const TOKEN: &str = "x-amz-security-token";

/// Gives `s3s` what the signature must have been made with.
pub(super) struct Signatures {
    app: Arc<App>,
}

impl Signatures {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[async_trait::async_trait]
impl S3Auth for Signatures {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let grant = Grant::from_access_key_id(access_key).ok_or_else(unknown)?;
        if grant.expires <= now().as_milliseconds() / 1000 {
            return Err(s3_error!(ExpiredToken, "the credentials have expired; ask for new ones"));
        }
        Ok(self.app.secret.secret_access_key(access_key).into())
    }
}

/// Compares a request, once its signature is known to be good, with what its credentials grant.
pub(super) struct Access {
    app: Arc<App>,
}

impl Access {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else {
            return Err(s3_error!(AccessDenied, "the request is not signed"));
        };
        // Version 2 signatures do not cover the time, and presigned addresses do not carry the token in a
        // header: nobody has been given either.
        let signed = context.headers().get("authorization").and_then(|value| value.to_str().ok());
        if !signed.is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 ")) {
            return Err(s3_error!(
                AccessDenied,
                "the request must be signed with AWS4-HMAC-SHA256 in its header"
            ));
        }
        let token = context.headers().get(TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !self.app.secret.verify_session_token(&credentials.access_key, token) {
            return Err(s3_error!(InvalidToken, "the session token does not belong to the access key"));
        }
        let grant = Grant::from_access_key_id(&credentials.access_key).ok_or_else(unknown)?;
        let writes = match context.s3_op().name() {
            "HeadObject" | "GetObject" => false,
            "PutObject"
            | "CreateMultipartUpload"
            | "UploadPart"
            | "CompleteMultipartUpload"
            | "AbortMultipartUpload"
            | "ListParts" => true,
            _ => return Err(s3_error!(AccessDenied, "these credentials are for one file only")),
        };
        if writes && grant.verb != Verb::Write {
            return Err(s3_error!(AccessDenied, "these credentials are for reading only"));
        }
        let named = context.s3_path().as_object().and_then(|(bucket, key)| task_and_file(bucket, key));
        if named != Some((grant.task.as_str(), grant.file.as_str())) {
            return Err(s3_error!(AccessDenied, "these credentials are for another file"));
        }
        let (app, key) = (Arc::clone(&self.app), grant.key.clone());
        let valid = tokio::task::spawn_blocking(move || app.key_is_valid(&key)).await;
        match valid {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Err(s3_error!(AccessDenied, "the key was revoked")),
            Ok(Err(error)) => return Err(S3Error::internal_error(error)),
            Err(error) => return Err(S3Error::internal_error(error)),
        }
        context.extensions_mut().insert(grant);
        Ok(())
    }
}

fn unknown() -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidAccessKeyId, "the access key is not one of this server's")
}
