//! Bad input at the doors: a clear answer or a closed connection, and the server goes on.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::time::{Duration, Instant};

use common::TestServer;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Sends bytes, closes the sending side, and reads what comes.
async fn raw(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn alive(server: &TestServer) {
    assert_eq!(server.call_as(&server.key, Method::GET, "/apikey", None).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_http_is_answered_or_hung_up_on() {
    let server = TestServer::start();
    let key = &server.key;
    let long = "a".repeat(400_000);
    let many = "x: y\r\n".repeat(5_000);
    let head = format!("host: x\r\nsimcloud-api-key: {key}\r\nconnection: close\r\n");
    for text in [
        "\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET /tidy3d/project?projectName=%ff%fe HTTP/1.1\r\n{head}\r\n"),
        format!("GET /tidy3d/project HTTP/1.1\r\n{head}\r\n"),
        format!("POST /tidy3d/projects HTTP/1.1\r\n{head}content-length: -5\r\n\r\n"),
        format!("POST /tidy3d/projects HTTP/1.1\r\n{head}content-length: 99999999999\r\n\r\n{{}}"),
        format!("POST /tidy3d/projects HTTP/1.1\r\n{head}content-length: 5\r\n\r\n{{\"a\":"),
        format!("POST /tidy3d/projects HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\nZZ\r\n"),
        format!("POST /tidy3d/projects HTTP/1.1\r\n{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{{}}"),
        format!("GET / HTTP/1.1\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        "POST /wavetask/a/b?uploadId=x HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\nconnection: close\r\n\r\n<a><b><".to_owned(),
        "GET /wavetask/../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /wavetask/%2e%2e%2fkey HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /wavetask/%ff%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "PUT /wavetask/t/f HTTP/1.1\r\nhost: x\r\nauthorization: AWS4-HMAC-SHA256 Credential=,\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "PUT /wavetask/t/f HTTP/1.1\r\nhost: x\r\nauthorization: AWS a:b\r\ndate: now\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "POST /wavetask HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\nconnection: close\r\ncontent-length: 5\r\n\r\n--b--".to_owned(),
    ] {
        let answer = raw(&server, text.as_bytes()).await;
        let shown: String = text.chars().take(90).collect();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer}");
    }
    alive(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_requests_do_no_harm() {
    let server = TestServer::start();
    let body = r#"{"projectName":"default"}"#;
    let request = format!(
        "POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\nsimcloud-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        server.key,
        body.len()
    );
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..300 {
        let mut bytes = request.clone().into_bytes();
        for _ in 0..=next() % 4 {
            let at = usize::try_from(next()).unwrap() % bytes.len();
            match next() % 3 {
                0 => bytes[at] = next().to_le_bytes()[0],
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, next().to_le_bytes()[0]),
            }
        }
        let answer = raw(&server, &bytes).await;
        assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
    }
    alive(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_deep_large_or_odd_is_refused() {
    let server = TestServer::start();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let large = format!("{{\"projectName\": \"{}\"}}", "x".repeat(3_000_000));
    for (body, wanted) in [
        ("[".repeat(100_000), 400),
        (large, 413),
        (r#"{"projectName": 99999}"#.to_owned(), 400),
        (r#"{"projectName": "a", "projectName": "b"}"#.to_owned(), 400),
        ("null".to_owned(), 400),
        (String::new(), 400),
        ("{\"projectName\": \"\u{0}\"}".to_owned(), 400),
    ] {
        let shown: String = body.chars().take(40).collect();
        let request =
            http.post(format!("{}/tidy3d/projects", server.url)).header("simcloud-api-key", &server.key);
        let status = request.body(body).send().await.unwrap().status();
        assert_eq!(status, wanted, "{shown}");
    }
    alive(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_hung_up_on_and_hold_up_nobody() {
    let server = TestServer::start_with(|config| {
        config.limits.head_timeout = Duration::from_millis(800);
        config.limits.body_idle_timeout = Duration::from_millis(800);
    });
    let task = server.create("HEAT").await;
    let token = server.token(&task, "simulation.hdf5.gz").await;
    let host = server.url.strip_prefix("http://").unwrap();
    let mut signed = String::new();
    for (name, value) in token.sign("PUT", host, "", b"0123456789", &common::time_now()) {
        signed.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut slow = Vec::new();
    for text in [
        "POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\n".to_owned(),
        format!(
            "POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\nsimcloud-api-key: {}\r\ncontent-length: 10\r\n\r\n{{",
            server.key
        ),
        format!("PUT {} HTTP/1.1\r\nhost: {host}\r\n{signed}content-length: 10\r\n\r\n01", token.path),
    ] {
        for _ in 0..20 {
            let mut stream = connect(&server).await;
            stream.write_all(text.as_bytes()).await.unwrap();
            slow.push(stream);
        }
    }
    let begun = Instant::now();
    alive(&server).await;
    assert!(begun.elapsed() < Duration::from_millis(700));
    for mut stream in slow {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "still open");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = TestServer::start_with(|config| {
        config.limits.connections = 4;
        config.limits.head_timeout = Duration::from_millis(600);
    });
    let mut idle = Vec::new();
    for _ in 0..12 {
        idle.push(connect(&server).await);
    }
    let begun = Instant::now();
    alive(&server).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_names_cannot_leave_the_task() {
    let server = TestServer::start();
    let task = server.create("HEAT").await;
    for name in [
        "..%2F..%2Fkey",
        "%2Fetc%2Fpasswd",
        "output%2F..%2F..%2F..%2Fkey",
        "simulation.hdf5.gz%2F..%2Fkey",
        "a%00b",
        "",
        "simulation.hdf5.gz%0A",
        "output%5C..%5Ckey",
        "autograd_sim_fields_keys.hdf5",
    ] {
        let path = format!("/tidy3d/py/tasks/{task}/file?filename={name}");
        let (status, answer) = server.call_as(&server.key, Method::GET, &path, None).await;
        assert_eq!((status.as_u16(), answer["code"].as_str()), (400, Some("file.unknown")), "{name}");
    }
    for id in ["..", "%2e%2e", "task-0", "task%2F..", &"a".repeat(300)] {
        let (status, _) =
            server.call_as(&server.key, Method::GET, &format!("/tidy3d/tasks/{id}/detail"), None).await;
        assert_eq!(status, 404, "{id}");
    }
    let body = json!({ "taskId": "../../key" });
    assert_eq!(server.call_as(&server.key, Method::PUT, "/tidy3d/tasks/abort", Some(body)).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_continue_comes_before_the_body() {
    let server = TestServer::start();
    let task = server.create("HEAT").await;
    let token = server.token(&task, "simulation.hdf5.gz").await;
    let host = server.url.strip_prefix("http://").unwrap();
    let body = common::simulation_file(1.0);
    let mut head = format!("PUT {} HTTP/1.1\r\nhost: {host}\r\n", token.path);
    for (name, value) in token.sign("PUT", host, "", &body, &common::time_now()) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("expect: 100-continue\r\ncontent-length: {}\r\n\r\n", body.len()));
    let mut stream = connect(&server).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1000];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&answer[..read]));
    stream.write_all(&body).await.unwrap();
    let read = stream.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
    // A body that would not be taken is refused without being asked for.
    let head = head.replace(&format!("content-length: {}", body.len()), "content-length: 35184372088832");
    let mut stream = connect(&server).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(answer.starts_with("http/1.1 4"), "{answer}");
    // The body that was not asked for may come all the same: this connection is of no further use, and the
    // client must be told, or it sends its next request into it.
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_that_was_read_leaves_the_connection_open() {
    let server = TestServer::start();
    let mut stream = connect(&server).await;
    let key = &server.key;
    for _ in 0..3 {
        let head = format!("POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\nsimcloud-api-key: {key}\r\n");
        let body = "{\"a\":";
        let request = format!("{head}content-type: application/json\r\ncontent-length: 5\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 2000];
        let reading = stream.read(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(5), reading).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
        assert!(answer.starts_with("http/1.1 4"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

/// A few kilobytes that unpack to a text of a few megabytes, which a parser makes a hundred times as large.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_would_grow_beyond_the_memory_budget_is_refused() {
    let server = TestServer::start_with(|config| config.limits.memory_bytes = 64 << 20);
    let json = format!(r#"{{"type":"HeatChargeSimulation","x":[{}0]}}"#, r#"{"a":0},"#.repeat(500_000));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, &common::file_of(&json, &[])).unwrap();
    let upload = gzip.finish().unwrap();
    assert!(upload.len() < 100_000, "{}", upload.len());
    let task = server.create("HEAT_CHARGE").await;
    server.upload(&task, upload).await;
    server.post(&format!("/tidy3d/tasks/{task}/metadata"), json!({})).await;
    let detail = server.detail(&task).await;
    assert_eq!(detail["metadataStatus"], "validate_error");
    let message = detail["errorMessages"].as_str().unwrap();
    assert!(message.contains("64 MiB"), "{message}");
    // What fits is checked as ever.
    server.validated().await;
}

/// A client that asks and asks and never reads an answer loses its connection, which others wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_hung_up_on() {
    let server = TestServer::start_with(|config| {
        config.limits.connections = 1;
        config.limits.body_idle_timeout = Duration::from_millis(500);
    });
    let mut deaf = connect(&server).await;
    let requests = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    // Until the server stops reading because it cannot write any more.
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_millis(300), deaf.write_all(requests.as_bytes())).await
    {}
    let next = raw(&server, b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = tokio::time::timeout(Duration::from_secs(10), next).await.expect("its turn comes");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(deaf);
}

/// A worker whose line stalls is told to send the result again, not that it will never be taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_stalls_may_be_sent_again() {
    let server =
        TestServer::start_with(|config| config.limits.body_idle_timeout = Duration::from_millis(300));
    server.started().await;
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    let head = format!(
        "PUT /api/v1/worker/leases/{}/result HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-length: 100\r\nconnection: close\r\n\r\nsome",
        assignment.lease, server.worker_key
    );
    let answer = raw(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(worker.result(&assignment, common::result_file(&[1.0])).await, 200);
}
