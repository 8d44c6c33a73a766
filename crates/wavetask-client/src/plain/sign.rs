//! Signature version 4, as far as uploading and downloading one file needs it: headers, not presigned addresses,
//! because servers of this protocol hand out credentials for the former.
//!
//! Written from Amazon's description ("Authenticating Requests: Using the Authorization Header"), whose example is
//! a test here. A library was looked at (`rusty-s3`): it makes presigned addresses only.

use hmac::Mac;
use sha2::Digest;

/// Credentials for one file, as the server hands them out.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret: String,
    pub(super) session: String,
    pub(super) region: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The digest of an empty body.
pub(super) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The digest of a body, as a signature covers it.
pub(super) fn payload(body: &[u8]) -> String {
    hex(&sha2::Sha256::digest(body))
}

/// What is signed of a request.
#[derive(Debug)]
pub(super) struct Signed<'r> {
    pub(super) method: &'r str,
    /// Host, with the port if the address has one.
    pub(super) host: &'r str,
    /// Path, each segment percent-encoded once.
    pub(super) path: &'r str,
    /// Query as pairs of names and values, not encoded.
    pub(super) query: &'r [(&'r str, String)],
    /// Further headers to sign, lower case.
    pub(super) headers: &'r [(&'r str, String)],
    /// Digest of the body.
    pub(super) payload: &'r str,
    /// Time as `20240131T235959Z`.
    pub(super) at: &'r str,
}

impl Signed<'_> {
    /// All headers that the request must carry beside `host`, those given included.
    pub(super) fn headers(&self, credentials: &Credentials) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> =
            self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        headers.push(("x-amz-content-sha256".to_owned(), self.payload.to_owned()));
        headers.push(("x-amz-date".to_owned(), self.at.to_owned()));
        if !credentials.session.is_empty() {
            headers.push(("x-amz-security-token".to_owned(), credentials.session.clone()));
        }
        let mut signed = headers.clone();
        signed.push(("host".to_owned(), self.host.to_owned()));
        signed.sort();
        let names = signed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = format!(
            "{}\n{}\n{}\n{lines}\n{names}\n{}",
            self.method,
            self.path,
            query_text(self.query),
            self.payload
        );
        let day = &self.at[..8.min(self.at.len())];
        let scope = format!("{day}/{}/s3/aws4_request", credentials.region);
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", self.at, payload(canonical.as_bytes()));
        let mut key = format!("AWS4{}", credentials.secret).into_bytes();
        for part in [day, &credentials.region, "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        headers.push((
            "authorization".to_owned(),
            format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
                credentials.access_key,
                hex(&hmac(&key, &text))
            ),
        ));
        headers
    }
}

/// The query as it is sent and signed: sorted, encoded.
pub(super) fn query_text(query: &[(&str, String)]) -> String {
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)))
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// Percent-encoding of everything but letters, digits, `-`, `.`, `_`, `~` and, in paths, `/`.
pub(super) fn encode(text: &str, is_path: bool) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// Now, as signatures want it.
pub(super) fn now() -> String {
    let at = time::OffsetDateTime::now_utc();
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of Amazon's description: GET of a range.
    #[test]
    fn amazons_example() {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session: String::new(),
            region: "us-east-1".to_owned(),
        };
        let signed = Signed {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
            headers: &[("range", "bytes=0-9".to_owned())],
            payload: EMPTY,
            at: "20130524T000000Z",
        };
        let headers = signed.headers(&credentials);
        let (_, authorization) = headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert!(
            authorization
                .ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            "{authorization}"
        );
        assert_eq!(payload(b""), EMPTY);
    }

    #[test]
    fn names_are_encoded_once() {
        assert_eq!(encode("output/a b+c.gz", true), "output/a%20b%2Bc.gz");
        assert_eq!(query_text(&[("uploads", String::new()), ("a", "x/y".to_owned())]), "a=x%2Fy&uploads=");
    }
}
