//! The few S3 operations that a file takes on its way up or down.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::rest::FilePlace;
use super::sign::{EMPTY, Signed, encode, now, payload, query_text};
use super::transport::{Answer, Call, Failure, Transport};

/// For one part of 8 MiB: a line of 0.2 Mbit/s is fast enough.
const PART_PATIENCE: Duration = Duration::from_secs(360);

/// Where the store is.
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    /// At this address; the bucket is the path's first segment.
    Path(String),
    /// Amazon's: the bucket is a part of the host's name.
    Amazon,
}

/// One object, and what opens it.
#[derive(Debug)]
pub(super) struct Object<'t> {
    transport: &'t Transport,
    place: FilePlace,
    /// Scheme, host with port, path.
    scheme: String,
    host: String,
    path: String,
}

impl<'t> Object<'t> {
    pub(super) fn new(
        transport: &'t Transport,
        endpoint: &Endpoint,
        place: FilePlace,
    ) -> Result<Self, Failure> {
        let key = encode(&place.key, true);
        let address = match endpoint {
            Endpoint::Path(base) => {
                format!("{}/{}/{key}", base.trim_end_matches('/'), encode(&place.bucket, true))
            }
            Endpoint::Amazon => {
                format!("https://{}.s3.{}.amazonaws.com/{key}", place.bucket, place.credentials.region)
            }
        };
        // What is signed must be what is sent, so the parts are taken from the parsed address.
        let url = url::Url::parse(&address).map_err(|error| Failure::Unreadable {
            what: "the address of the object store".to_owned(),
            text: error.to_string(),
        })?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => String::new(),
        };
        Ok(Self { transport, scheme: url.scheme().to_owned(), host, path: url.path().to_owned(), place })
    }

    fn call(
        &self,
        method: &Method,
        query: &[(&str, String)],
        headers: &[(&str, String)],
        body: &Bytes,
        digest: &str,
    ) -> Call {
        let at = now();
        let signed = Signed {
            method: method.as_str(),
            host: &self.host,
            path: &self.path,
            query,
            headers,
            payload: digest,
            at: &at,
        };
        let mut url = format!("{}://{}{}", self.scheme, self.host, self.path);
        if !query.is_empty() {
            url = format!("{url}?{}", query_text(query));
        }
        Call {
            method: method.clone(),
            url,
            headers: signed.headers(&self.place.credentials),
            body: body.clone(),
            timeout: PART_PATIENCE,
        }
    }

    async fn request(
        &self,
        method: Method,
        query: &[(&str, String)],
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let digest = if body.is_empty() { EMPTY.to_owned() } else { payload(&body) };
        self.transport.patiently(|| self.call(&method, query, headers, &body, &digest)).await
    }

    /// The whole object in one request. May be repeated: the last one stays.
    pub(super) async fn put(&self, body: Bytes, gzip: bool) -> Result<(), Failure> {
        self.request(Method::PUT, &[], &encoding(gzip), body).await.map(|_| ())
    }

    /// Begins an upload in parts; the answer names it. Repeating it leaves an upload that nobody ends, which servers
    /// clear away.
    pub(super) async fn begin_parts(&self, gzip: bool) -> Result<String, Failure> {
        let answer =
            self.request(Method::POST, &[("uploads", String::new())], &encoding(gzip), Bytes::new()).await?;
        let text = String::from_utf8_lossy(&answer.body);
        element(&text, "UploadId").ok_or_else(|| Failure::Unreadable {
            what: "beginning a multipart upload".to_owned(),
            text: "no `UploadId`".to_owned(),
        })
    }

    /// One part, from 1; the answer is its tag.
    pub(super) async fn put_part(&self, upload: &str, number: usize, body: Bytes) -> Result<String, Failure> {
        let query = [("uploadId", upload.to_owned()), ("partNumber", number.to_string())];
        let answer = self.request(Method::PUT, &query, &[], body).await?;
        answer.header("etag").map(ToOwned::to_owned).ok_or_else(|| Failure::Unreadable {
            what: "uploading a part".to_owned(),
            text: "no `ETag`".to_owned(),
        })
    }

    /// Puts the parts together.
    pub(super) async fn end_parts(&self, upload: &str, tags: &[String]) -> Result<(), Failure> {
        let parts: String = tags
            .iter()
            .zip(1..)
            .map(|(tag, number)| {
                let tag = tag.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
            })
            .collect();
        let body = format!(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
        );
        let query = [("uploadId", upload.to_owned())];
        let answer = self.request(Method::POST, &query, &[], body.into()).await?;
        // This one may fail behind a status of 200.
        let text = String::from_utf8_lossy(&answer.body);
        match element(&text, "Code").filter(|_| text.contains("<Error")) {
            Some(code) => Err(Failure::Refused {
                what: "ending a multipart upload".to_owned(),
                status: http::StatusCode::SERVICE_UNAVAILABLE,
                text: code,
            }),
            None => Ok(()),
        }
    }

    /// Gives an upload in parts up.
    pub(super) async fn abandon_parts(&self, upload: &str) -> Result<(), Failure> {
        let query = [("uploadId", upload.to_owned())];
        let digest = EMPTY.to_owned();
        let call = self.call(&Method::DELETE, &query, &[], &Bytes::new(), &digest);
        self.transport.once(&call).await.map(|_| ())
    }

    /// Bytes from `start` to `end` (exclusive) of the object, as it was when it had this tag.
    pub(super) async fn range(&self, start: u64, end: u64, tag: Option<&str>) -> Result<Answer, Failure> {
        let mut headers = vec![("range", format!("bytes={start}-{}", end.saturating_sub(1)))];
        if let Some(tag) = tag {
            headers.push(("if-match", tag.to_owned()));
        }
        self.request(Method::GET, &[], &headers, Bytes::new()).await
    }

    /// All of a small object.
    pub(super) async fn whole(&self) -> Result<Answer, Failure> {
        self.request(Method::GET, &[], &[], Bytes::new()).await
    }
}

fn encoding(gzip: bool) -> Vec<(&'static str, String)> {
    if gzip { vec![("content-encoding", "gzip".to_owned())] } else { Vec::new() }
}

/// The text of the first element of this name; what the few answers that matter consist of needs no parser.
fn element(xml: &str, name: &str) -> Option<String> {
    let start = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let length = xml[start..].find(&format!("</{name}>"))?;
    Some(xml[start..start + length].trim().replace("&quot;", "\"").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        let xml = "<?xml version=\"1.0\"?><R><UploadId> a&amp;b </UploadId><ETag>\"x\"</ETag></R>";
        assert_eq!(element(xml, "UploadId").as_deref(), Some("a&b"));
        assert_eq!(element(xml, "Key"), None);
    }
}
