//! Uploads and downloads: what is allowed, what is refused, and that bytes come through unharmed.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::time::Duration;

use base64::Engine as _;
use common::{TestServer, Token, file_of, simulation_file, time_at, time_now};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The code in an S3 error.
fn code(xml: &str) -> &str {
    xml.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or(xml, |(code, _)| code)
}

async fn refused(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, code(&answer.text().await.unwrap()).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_fresh_signature_of_the_right_key_and_token_is_accepted() {
    let server = TestServer::start();
    let task = server.create("HEAT_CHARGE").await;
    let good = server.token(&task, "simulation.hdf5.gz").await;
    let body = simulation_file(1.0);

    let wrong_secret = Token { secret: "wrong".to_owned(), ..good.clone() };
    let answer = server.s3(Method::PUT, &wrong_secret, "", body.clone()).await;
    assert_eq!(refused(answer).await, (403, "SignatureDoesNotMatch".to_owned()));
    let wrong_token = Token { session: good.secret.clone(), ..good.clone() };
    let answer = server.s3(Method::PUT, &wrong_token, "", body.clone()).await;
    assert_eq!(refused(answer).await, (400, "InvalidToken".to_owned()));
    let unknown = Token { access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(), ..good.clone() };
    let answer = server.s3(Method::PUT, &unknown, "", body.clone()).await;
    assert_eq!(refused(answer).await, (403, "InvalidAccessKeyId".to_owned()));

    // Another task's credentials, another file's, and those for reading.
    let other = server.create("HEAT_CHARGE").await;
    for (path, token) in [
        (&good.path, server.token(&other, "simulation.hdf5.gz").await),
        (&good.path, server.token(&task, "output/tidy3d.log").await),
    ] {
        let token = Token { path: path.clone(), ..token };
        let answer = server.s3(Method::PUT, &token, "", body.clone()).await;
        assert_eq!(refused(answer).await, (403, "AccessDenied".to_owned()));
    }
    let reading = server.token(&task, "output/tidy3d.log").await;
    let answer = server.s3(Method::PUT, &reading, "", body.clone()).await;
    assert_eq!(refused(answer).await, (403, "AccessDenied".to_owned()));

    // Not signed at all, signed for another time, for another body, for another path, with other verbs.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let address = format!("{}{}", server.url, good.path);
    let answer = http.put(&address).body(body.clone()).send().await.unwrap();
    assert_eq!(refused(answer).await, (403, "AccessDenied".to_owned()));
    let host = server.url.strip_prefix("http://").unwrap();
    let send = async |headers: Vec<(String, String)>, body: Vec<u8>| {
        let mut request = http.put(&address).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        refused(request.send().await.unwrap()).await
    };
    for minutes in [-20, 20] {
        let then = time_at(time::OffsetDateTime::now_utc() + time::Duration::minutes(minutes));
        let headers = good.sign("PUT", host, "", &body, &then);
        assert_eq!(send(headers, body.clone()).await, (403, "RequestTimeTooSkewed".to_owned()));
    }
    let headers = good.sign("PUT", host, "", &body, &time_now());
    let mut changed = body.clone();
    changed[0] ^= 1;
    let (status, code) = send(headers.clone(), changed).await;
    assert!(status == 400 && code == "BadDigest", "{status} {code}");
    let (status, _) = send(headers, body[..10].to_vec()).await;
    assert_eq!(status, 400, "a shorter body than was signed");
    let headers = good.sign("GET", host, "", &body, &time_now());
    assert_eq!(send(headers, body.clone()).await, (403, "SignatureDoesNotMatch".to_owned()));
    let moved = Token { path: format!("{}x", good.path), ..good.clone() };
    let answer = server.s3(Method::PUT, &moved, "", body.clone()).await;
    assert_eq!(refused(answer).await, (403, "AccessDenied".to_owned()));
    for (method, query) in [(Method::DELETE, ""), (Method::GET, "acl"), (Method::PUT, "tagging")] {
        let answer = server.s3(method.clone(), &good, query, Vec::new()).await;
        assert!(matches!(answer.status().as_u16(), 400..=403 | 501), "{method} {query}: {}", answer.status());
    }
    assert_eq!(server.detail(&task).await["status"], "draft");
    assert_eq!(
        server.s3(Method::PUT, &good, "", body).await.status(),
        200,
        "and the honest one goes through"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_end() {
    let server = TestServer::start_with(|config| config.file_credentials = Duration::from_secs(1));
    let task = server.create("HEAT_CHARGE").await;
    let token = server.token(&task, "simulation.hdf5.gz").await;
    assert_eq!(server.s3(Method::PUT, &token, "", simulation_file(1.0)).await.status(), 200);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let answer = server.s3(Method::PUT, &token, "", simulation_file(1.0)).await;
    assert_eq!(refused(answer).await, (400, "ExpiredToken".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_a_revoked_key_open_nothing() {
    let server = TestServer::start();
    let (status, made) =
        server.call_as(&server.key, Method::POST, "/api/v1/keys", Some(json!({ "name": "guest" }))).await;
    assert_eq!(status, 200);
    let (secret, id) = (made["secret"].as_str().unwrap(), made["key"].as_str().unwrap());
    let (_, folder) =
        server.call_as(secret, Method::POST, "/tidy3d/projects", Some(json!({ "projectName": "x" }))).await;
    let path = format!("/tidy3d/projects/{}/tasks", folder["data"]["projectId"].as_str().unwrap());
    let body = json!({ "taskName": "t", "taskType": "HEAT" });
    let (_, task) = server.call_as(secret, Method::POST, &path, Some(body)).await;
    let task = task["data"]["taskId"].as_str().unwrap();
    let address = format!("/tidy3d/py/tasks/{task}/file?filename=simulation.hdf5.gz");
    let (_, given) = server.call_as(secret, Method::GET, &address, None).await;
    let text = |name: &str| given["data"]["userCredentials"][name].as_str().unwrap().to_owned();
    let token = Token {
        path: format!("/wavetask/{task}/simulation.hdf5.gz"),
        access_key: text("accessKeyId"),
        secret: text("secretAccessKey"),
        session: text("sessionToken"),
    };
    assert_eq!(server.s3(Method::PUT, &token, "", simulation_file(1.0)).await.status(), 200);
    let (status, _) =
        server.call_as(&server.key, Method::GET, &format!("/tidy3d/tasks/{task}/detail"), None).await;
    assert_eq!(status, 404, "not even the administrator sees another key's task");
    assert_eq!(server.call_as(&server.key, Method::DELETE, &format!("/api/v1/keys/{id}"), None).await.0, 200);
    let answer = server.s3(Method::PUT, &token, "", simulation_file(1.0)).await;
    assert_eq!(refused(answer).await, (403, "AccessDenied".to_owned()));
    assert_eq!(server.call_as(secret, Method::GET, "/apikey", None).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_put_together_whatever_their_order_and_may_be_sent_again() {
    let server = TestServer::start();
    let task = server.create("HEAT_CHARGE").await;
    let token = server.token(&task, "simulation.hdf5.gz").await;
    let file =
        file_of(&common::simulation_json(1.0), &[("sources/0/rate/x", (0..5000).map(f64::from).collect())]);

    let answer = server.s3(Method::POST, &token, "uploads", Vec::new()).await;
    let text = answer.text().await.unwrap();
    let upload = text.split_once("<UploadId>").unwrap().1.split_once("</UploadId>").unwrap().0.to_owned();
    let mut etags = std::collections::BTreeMap::new();
    let pieces: Vec<&[u8]> = file.chunks(10_000).collect();
    for number in [3, 1, 2, 1].into_iter().chain(4..=pieces.len()) {
        let query = format!("partNumber={number}&uploadId={upload}");
        // The first time, the first part is another one.
        let content =
            if number == 1 && !etags.contains_key(&1) { b"no".to_vec() } else { pieces[number - 1].to_vec() };
        let answer = server.s3(Method::PUT, &token, &query, content).await;
        assert_eq!(answer.status(), 200);
        etags.insert(number, answer.headers()["etag"].to_str().unwrap().to_owned());
    }
    let complete = |parts: Vec<(usize, String)>| {
        let parts: String = parts
            .iter()
            .map(|(number, etag)| {
                format!("<Part><ETag>{etag}</ETag><PartNumber>{number}</PartNumber></Part>")
            })
            .collect();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes()
    };
    let query = format!("uploadId={upload}");
    let all: Vec<_> = etags.clone().into_iter().collect();
    for (parts, wanted) in [
        (vec![], "InvalidPart"),
        (vec![(2, etags[&2].clone()), (1, etags[&1].clone())], "InvalidPartOrder"),
        (vec![(1, "\"0000000000000000000a\"".to_owned())], "InvalidPart"),
    ] {
        let (status, code) = refused(server.s3(Method::POST, &token, &query, complete(parts)).await).await;
        assert!(
            (400..500).contains(&status) && (code == wanted || code == "MalformedXML"),
            "{status} {code}"
        );
    }
    for xml in
        ["<CompleteMultipartUpload><Part>", "", "<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>", "\u{0}\u{1}"]
    {
        let (status, code) = refused(server.s3(Method::POST, &token, &query, xml.into()).await).await;
        assert!((400..500).contains(&status), "{xml:?}: {status} {code}");
    }
    for _ in 0..2 {
        let answer = server.s3(Method::POST, &token, &query, complete(all.clone())).await;
        let status = answer.status();
        assert_eq!(status, 200, "{}", answer.text().await.unwrap());
    }
    let listed = server.s3(Method::GET, &token, &query, Vec::new()).await.text().await.unwrap();
    assert_eq!(listed.matches("<PartNumber>").count(), pieces.len(), "{listed}");
    server.post(&format!("/tidy3d/tasks/{task}/metadata"), json!({})).await;
    assert_eq!(server.detail(&task).await["metadataStatus"], "processed");
    let back = server.download(&task, "simulation.hdf5").await.unwrap();
    assert!(back.len() > 40_000);

    let (status, code) = refused(server.s3(Method::POST, &token, &query, complete(all)).await).await;
    assert!((400..500).contains(&status), "{status} {code}");
    for upload in ["00000000000000000000000000000000", "..%2F..%2Fkey", "x"] {
        let query = format!("partNumber=1&uploadId={upload}");
        let (status, _) = refused(server.s3(Method::PUT, &token, &query, b"x".to_vec()).await).await;
        assert!((400..500).contains(&status), "{upload}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_are_compared() {
    let server = TestServer::start();
    let task = server.create("HEAT_CHARGE").await;
    let token = server.token(&task, "simulation.hdf5.gz").await;
    let body = simulation_file(1.0);
    let crc32 = base64::engine::general_purpose::STANDARD.encode(crc32fast::hash(&body).to_be_bytes());
    for (name, value, wanted) in [
        ("x-amz-checksum-crc32", crc32.as_str(), "200"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32", "AAAA", "InvalidDigest"),
        ("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "BadDigest"),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", "InvalidRequest"),
    ] {
        let answer = server.s3_with(Method::PUT, &token, "", body.clone(), &[(name, value)]).await;
        if wanted == "200" {
            assert_eq!(answer.status(), 200);
        } else {
            assert_eq!(refused(answer).await, (400, wanted.to_owned()), "{name} {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_range_of_a_download_is_exact() {
    let server = TestServer::start();
    let task = server.started().await;
    let values: Vec<f64> = (0..700_000).map(f64::from).collect();
    server.worker().solve(&values).await;
    let token = server.token(&task, "output/simulation_data.hdf5").await;
    let head = server.s3(Method::HEAD, &token, "", Vec::new()).await;
    assert_eq!(head.status(), 200);
    let length: usize = head.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let etag = head.headers()["etag"].to_str().unwrap().to_owned();
    let whole = server.s3(Method::GET, &token, "", Vec::new()).await.bytes().await.unwrap();
    assert_eq!(whole.len(), length);
    assert!(length > 8 << 20, "a file that the client fetches in ranges");
    for (start, end) in [(0, 0), (5, 4_000_000), (length - 9, length - 1), (3_000_001, length + 50)] {
        let range = format!("bytes={start}-{end}");
        let headers = [("range", range.as_str()), ("if-match", etag.as_str())];
        let answer = server.s3_with(Method::GET, &token, "", Vec::new(), &headers).await;
        assert_eq!(answer.status(), 206);
        let end = end.min(length - 1);
        let told = format!("bytes {start}-{end}/{length}");
        assert_eq!(answer.headers()["content-range"].to_str().unwrap(), told);
        assert!(answer.bytes().await.unwrap() == whole[start..=end], "{range}");
    }
    let beyond = format!("bytes={}-{}", length, length + 5);
    let answer = server.s3_with(Method::GET, &token, "", Vec::new(), &[("range", &beyond)]).await;
    assert_eq!(refused(answer).await, (416, "InvalidRange".to_owned()));
    let headers = [("if-match", "\"something else\"")];
    let answer = server.s3_with(Method::GET, &token, "", Vec::new(), &headers).await;
    assert_eq!(refused(answer).await, (412, "PreconditionFailed".to_owned()));
    // A large result is offered without a gzip layer only.
    let layered = server.token(&task, "output/simulation_data.hdf5.gz").await;
    assert_eq!(server.s3(Method::HEAD, &layered, "", Vec::new()).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_before_and_while_it_is_sent() {
    let server = TestServer::start_with(|config| config.limits.upload_bytes = 10_000);
    let task = server.create("HEAT_CHARGE").await;
    let token = server.token(&task, "simulation.hdf5.gz").await;
    let answer = server.s3(Method::PUT, &token, "", vec![7; 10_001]).await;
    assert_eq!(refused(answer).await, (400, "EntityTooLarge".to_owned()));
    assert_eq!(server.s3(Method::PUT, &token, "", vec![7; 10_000]).await.status(), 200);
    // Parts that are fine one by one and too much together.
    let text = server.s3(Method::POST, &token, "uploads", Vec::new()).await.text().await.unwrap();
    let upload = text.split_once("<UploadId>").unwrap().1.split_once("</UploadId>").unwrap().0.to_owned();
    let mut parts = String::new();
    for number in 1..=2 {
        let query = format!("partNumber={number}&uploadId={upload}");
        let answer = server.s3(Method::PUT, &token, &query, vec![7; 6_000]).await;
        let etag = answer.headers()["etag"].to_str().unwrap();
        parts.push_str(&format!("<Part><ETag>{etag}</ETag><PartNumber>{number}</PartNumber></Part>"));
    }
    let xml = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let answer = server.s3(Method::POST, &token, &format!("uploadId={upload}"), xml.into()).await;
    assert_eq!(refused(answer).await, (400, "EntityTooLarge".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_is_told_as_come_again() {
    let server = TestServer::start_with(|config| config.limits.upload_bytes = u64::MAX / 4);
    let task = server.create("HEAT_CHARGE").await;
    let token = server.token(&task, "simulation.hdf5.gz").await;
    let host = server.url.strip_prefix("http://").unwrap();
    let mut head =
        format!("PUT {} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n", token.path, 1_u64 << 55);
    for (name, value) in token.sign("PUT", host, "", b"", &time_now()) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("expect: 100-continue\r\n\r\n");
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && code(&answer) == "SlowDown", "{answer}");
}
