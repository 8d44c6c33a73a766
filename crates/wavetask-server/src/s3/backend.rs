//! What the S3 operations do. Requests that come here are signed and agree with their credentials.

use std::sync::Arc;

use base64::Engine as _;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag,
    ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListPartsInput,
    ListPartsOutput, Part as ListedPart, PutObjectInput, PutObjectOutput, StreamingBlob, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};
use wavetask_core::TaskRecord;
use wavetask_protocol::{TaskState, chain};

use crate::answer::Refused;
use crate::app::App;
use crate::disk::is_disk_full;
use crate::downloads::{self, Download};
use crate::files::{TaskFile, is_upload, task_file};
use crate::quota::Room;
use crate::secret::Grant;
use crate::staging::{Expected, MAXIMUM_PARTS, StagingError, UploadId};

pub(super) struct Backend {
    app: Arc<App>,
}

impl Backend {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// The task, if its file may (still) be uploaded.
    async fn draft(&self, grant: &Grant) -> S3Result<TaskRecord> {
        let record = self.task(grant).await?;
        if !is_upload(record.task.kind, &grant.file) {
            return Err(s3_error!(AccessDenied, "this file is not uploaded"));
        }
        if record.state != TaskState::Draft {
            return Err(s3_error!(AccessDenied, "the task was validated already and takes no more files"));
        }
        Ok(record)
    }

    async fn task(&self, grant: &Grant) -> S3Result<TaskRecord> {
        let grant = grant.clone();
        self.app.blocking(move |app| app.task_of(&grant.key, &grant.task)).await.map_err(refused)
    }

    /// Refuses what cannot be kept before it is sent.
    fn check_room(&self, length: Option<i64>) -> S3Result<()> {
        let limits = &self.app.config.limits;
        let length = length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        if length > limits.upload_bytes {
            return Err(failed(StagingError::TooLarge { limit: limits.upload_bytes }));
        }
        let free = self.app.staging.free_bytes().map_err(S3Error::internal_error)?;
        if free < length.saturating_add(limits.reserve_bytes) {
            return Err(failed(StagingError::NoRoom));
        }
        Ok(())
    }

    /// Refuses what would be more than the account may use: as far as its length tells, since it is compressed.
    async fn check_quota(&self, grant: &Grant, length: Option<i64>) -> S3Result<()> {
        let length = length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        let key = grant.key.clone();
        self.app.blocking(move |app| Room::of_account(app, &key)?.take_bytes(length)).await.map_err(refused)
    }

    /// Begins an upload. Waits for the disk, hence not on a thread that answers requests.
    async fn begin(&self, grant: &Grant) -> S3Result<UploadId> {
        let (app, task) = (Arc::clone(&self.app), grant.task.clone());
        let work = move || app.staging.begin(&task);
        tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?.map_err(failed)
    }

    async fn receive(
        &self,
        grant: &Grant,
        upload: &UploadId,
        number: u32,
        body: Option<StreamingBlob>,
        announced: Announced,
    ) -> S3Result<crate::staging::Part> {
        let expected = announced.check()?;
        let body = body.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let limit = self.app.config.limits.upload_bytes;
        self.app
            .staging
            .receive(&grant.task, upload, number, body, || expected.with_trailers(), limit)
            .await
            .map_err(failed)
    }

    /// Makes an upload the task's file, if the task is a draft still.
    async fn complete(
        &self,
        grant: &Grant,
        upload: UploadId,
        chosen: Vec<(u32, String)>,
    ) -> S3Result<crate::staging::Manifest> {
        let _exclusive = self.app.staging.lock(&grant.task).await;
        self.draft(grant).await?;
        let (app, grant) = (Arc::clone(&self.app), grant.clone());
        let limit = app.config.limits.upload_bytes;
        let work = move || app.staging.complete(&grant.task, &grant.file, &upload, &chosen, limit);
        tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?.map_err(failed)
    }

    async fn find(&self, grant: &Grant) -> S3Result<Download> {
        let grant = grant.clone();
        let found = self
            .app
            .blocking(move |app| {
                let record = app.task_of(&grant.key, &grant.task)?;
                match task_file(record.task.kind, &grant.file) {
                    None | Some(TaskFile::Absent) => Ok(None),
                    Some(file) => downloads::find(app, &record, file),
                }
            })
            .await
            .map_err(refused)?;
        found.ok_or_else(|| s3_error!(NoSuchKey, "there is no such file, or not yet"))
    }
}

/// What the input of a request with a body says of that body: inputs of several types have the same members.
macro_rules! announced {
    ($input:expr, $trailers:expr) => {
        Announced {
            crc32: $input.checksum_crc32,
            sha256: $input.checksum_sha256,
            others: [
                $input.checksum_crc32c.is_some(),
                $input.checksum_crc64nvme.is_some(),
                $input.checksum_sha1.is_some(),
                $input.content_md5.is_some(),
            ],
            trailers: $trailers,
        }
    };
}

#[async_trait::async_trait]
impl S3 for Backend {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let grant = granted(&request)?;
        self.draft(&grant).await?;
        let input = request.input;
        self.check_room(input.content_length)?;
        self.check_quota(&grant, input.content_length).await?;
        let announced = announced!(input, request.trailing_headers);
        let upload = self.begin(&grant).await?;
        let part = match self.receive(&grant, &upload, 1, input.body, announced).await {
            Ok(part) => part,
            Err(error) => {
                let _ = self.app.staging.abort(&grant.task, &grant.file, &upload);
                return Err(error);
            }
        };
        let chosen = vec![(1, part.etag)];
        let manifest = self.complete(&grant, upload.clone(), chosen).await;
        if manifest.is_err() {
            let _ = self.app.staging.abort(&grant.task, &grant.file, &upload);
        }
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(manifest?.etag)),
            ..PutObjectOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let grant = granted(&request)?;
        self.draft(&grant).await?;
        self.check_room(None)?;
        self.check_quota(&grant, None).await?;
        let upload = self.begin(&grant).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(request.input.bucket),
            key: Some(request.input.key),
            upload_id: Some(upload.as_str().to_owned()),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let grant = granted(&request)?;
        self.draft(&grant).await?;
        let input = request.input;
        let upload = upload_id(&input.upload_id)?;
        let number = u32::try_from(input.part_number).unwrap_or(0);
        if !(1..=MAXIMUM_PARTS).contains(&number) {
            return Err(s3_error!(InvalidArgument, "part numbers go from 1 to {MAXIMUM_PARTS}"));
        }
        self.check_room(input.content_length)?;
        self.check_quota(&grant, input.content_length).await?;
        let announced = announced!(input, request.trailing_headers);
        let part = self.receive(&grant, &upload, number, input.body, announced).await?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(part.etag)),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let grant = granted(&request)?;
        let input = request.input;
        let upload = upload_id(&input.upload_id)?;
        let mut chosen = Vec::new();
        for part in input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default() {
            let number = part.part_number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
            chosen.push((number, part.e_tag.map(ETag::into_value).unwrap_or_default()));
        }
        let manifest = self.complete(&grant, upload, chosen).await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(manifest.etag)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let grant = granted(&request)?;
        self.task(&grant).await?;
        let upload = upload_id(&request.input.upload_id)?;
        let app = Arc::clone(&self.app);
        let work = move || app.staging.abort(&grant.task, &grant.file, &upload);
        tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?.map_err(failed)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let grant = granted(&request)?;
        self.task(&grant).await?;
        let upload = upload_id(&request.input.upload_id)?;
        let (app, task) = (Arc::clone(&self.app), grant.task);
        let work = move || app.staging.parts(&task, &upload);
        let parts =
            tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?.map_err(failed)?;
        let parts = parts
            .into_iter()
            .map(|part| ListedPart {
                part_number: i32::try_from(part.number).ok(),
                size: i64::try_from(part.bytes).ok(),
                e_tag: Some(ETag::Strong(part.etag)),
                ..ListedPart::default()
            })
            .collect();
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(request.input.bucket),
            key: Some(request.input.key),
            upload_id: Some(request.input.upload_id),
            is_truncated: Some(false),
            parts: Some(parts),
            ..ListPartsOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let download = self.find(&granted(&request)?).await?;
        check_etag(request.input.if_match.as_ref(), &download)?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(download.length).ok(),
            e_tag: Some(ETag::Strong(download.etag)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let download = self.find(&granted(&request)?).await?;
        check_etag(request.input.if_match.as_ref(), &download)?;
        let length = download.length;
        let (range, content_range) = match &request.input.range {
            None => (0..length, None),
            Some(range) => {
                let range = range
                    .check(length)
                    .map_err(|_| s3_error!(InvalidRange, "the file has {length} bytes"))?;
                let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                (range, Some(text))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(range.end - range.start).ok(),
            content_range,
            e_tag: Some(ETag::Strong(download.etag.clone())),
            body: Some(StreamingBlob::wrap(downloads::stream(&self.app, download, range.start, range.end))),
            ..GetObjectOutput::default()
        }))
    }
}

/// What a request says about its body.
struct Announced {
    crc32: Option<String>,
    sha256: Option<String>,
    /// Whether there is a checksum of a kind that is not computed here.
    others: [bool; 4],
    trailers: Option<TrailingHeaders>,
}

struct Checked {
    expected: Expected,
    trailers: Option<TrailingHeaders>,
}

impl Announced {
    fn check(self) -> S3Result<Checked> {
        if self.others.contains(&true) {
            return Err(s3_error!(
                InvalidRequest,
                "this checksum is not supported here; use CRC32, SHA256 or none"
            ));
        }
        let wrong = || s3_error!(InvalidDigest, "a checksum is not the base64 text of its bytes");
        let expected = Expected {
            crc32: self
                .crc32
                .map(|text| decode(&text).map(u32::from_be_bytes).ok_or_else(wrong))
                .transpose()?,
            sha256: self.sha256.map(|text| decode(&text).ok_or_else(wrong)).transpose()?,
            bytes: None,
        };
        Ok(Checked { expected, trailers: self.trailers })
    }
}

impl Checked {
    /// Adds what came behind the body.
    fn with_trailers(mut self) -> Expected {
        let Some(trailers) = self.trailers.and_then(|trailers| trailers.take()) else { return self.expected };
        let value = |name| trailers.get(name).and_then(|value| value.to_str().ok());
        // A checksum that cannot be read cannot match: an impossible length says so.
        if let Some(text) = value("x-amz-checksum-crc32") {
            match decode(text) {
                Some(bytes) => self.expected.crc32 = Some(u32::from_be_bytes(bytes)),
                None => self.expected.bytes = Some(u64::MAX),
            }
        }
        if let Some(text) = value("x-amz-checksum-sha256") {
            match decode(text) {
                Some(bytes) => self.expected.sha256 = Some(bytes),
                None => self.expected.bytes = Some(u64::MAX),
            }
        }
        self.expected
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()?.try_into().ok()
}

fn granted<T>(request: &S3Request<T>) -> S3Result<Grant> {
    request.extensions.get().cloned().ok_or_else(|| s3_error!(AccessDenied, "the request is not signed"))
}

fn upload_id(text: &str) -> S3Result<UploadId> {
    UploadId::parse(text).ok_or_else(|| failed(StagingError::NoSuchUpload))
}

fn check_etag(condition: Option<&ETagCondition>, download: &Download) -> S3Result<()> {
    match condition.and_then(ETagCondition::as_etag) {
        Some(etag) if etag.value() != download.etag => {
            Err(s3_error!(PreconditionFailed, "the file has changed meanwhile"))
        }
        _ => Ok(()),
    }
}

/// A full disk is told as `SlowDown`: clients wait and try again.
fn failed(error: StagingError) -> S3Error {
    let code = match &error {
        StagingError::Body(cause) => return broken_body(&**cause),
        StagingError::TooLarge { .. } => S3ErrorCode::EntityTooLarge,
        StagingError::Mismatch { .. } => S3ErrorCode::BadDigest,
        StagingError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
        StagingError::InvalidPart(_) => S3ErrorCode::InvalidPart,
        StagingError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
        StagingError::NoRoom => S3ErrorCode::SlowDown,
        StagingError::Io(source) if is_disk_full(source) => S3ErrorCode::SlowDown,
        StagingError::Io(_) => {
            tracing::error!(error = chain(&error), "an upload could not be kept");
            S3ErrorCode::InternalError
        }
    };
    S3Error::with_message(code, error.to_string())
}

/// The body ended early, came too slowly, or is not what was signed: the sender's side in each case.
fn broken_body(cause: &(dyn std::error::Error + 'static)) -> S3Error {
    let text = chain(cause);
    if text.contains("Sha256Mismatch") {
        return s3_error!(BadDigest, "the body is not the one that was signed");
    }
    let mut error = Some(cause);
    while let Some(cause) = error {
        if cause.is::<crate::body::TooSlow>() {
            return S3Error::with_message(S3ErrorCode::RequestTimeout, cause.to_string());
        }
        error = cause.source();
    }
    tracing::debug!(cause = text, "an upload broke off");
    s3_error!(IncompleteBody, "the body ended early or is not framed as announced")
}

fn refused(refused: Refused) -> S3Error {
    let code = match refused.status().as_u16() {
        404 => S3ErrorCode::NoSuchKey,
        507 => S3ErrorCode::SlowDown,
        400..=499 => S3ErrorCode::AccessDenied,
        _ => S3ErrorCode::InternalError,
    };
    S3Error::with_message(code, refused.message().to_owned())
}
