//! The client against a server that says what the test wants: failures of every kind, and what is made of them.

#![expect(clippy::unwrap_used, reason = "also helpers of tests fail by panicking")]

mod http_support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_support::{Asked, Reply, Scripted, quick};
use wavetask_client::http::{NativeServer, Tuning};
use wavetask_client::member::BlockPlace;
use wavetask_client::server::ResultSink;
use wavetask_client::{ArrayBytes, ClientError, ErrorGroup, Server};
use wavetask_document::Digest;
use wavetask_document::pack::{self, Compression, FrameKind};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{ResultAnswer, ResultsRequest, WantedBlock};

const STATUS: &str = r#"{"version":"1","now_milliseconds":1,"started_milliseconds":1,"disk_free_bytes":1,
    "key":"key-1","key_name":"k","administrator":false,"tasks":[],"workers":[]}"#;

fn block(seed: u8, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed.into());
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

fn placed(bytes: &[u8]) -> (Digest, BlockPlace) {
    let array: Arc<dyn ArrayBytes> = Arc::new(bytes.to_vec());
    (Digest::of(bytes), BlockPlace { array, offset: 0, length: bytes.len(), width: 8 })
}

fn pack_of(blocks: &[&[u8]]) -> Vec<u8> {
    let mut body = pack::MAGIC.to_vec();
    for bytes in blocks {
        pack::encode(FrameKind::Block, bytes, 8, Compression::Never, &mut body).unwrap();
    }
    pack::end(&mut body);
    body
}

fn wanted(blocks: &[&[u8]]) -> Vec<WantedBlock> {
    blocks.iter().map(|bytes| WantedBlock { digest: Digest::of(bytes), width: 8 }).collect()
}

async fn fetch(client: &NativeServer, blocks: &[&[u8]]) -> Result<Vec<(Digest, Bytes)>, ClientError> {
    let found = Mutex::new(Vec::new());
    client
        .fetch_blocks(&wanted(blocks), &|digest, bytes| {
            found.lock().unwrap().push((digest, bytes));
            Ok(())
        })
        .await?;
    Ok(found.into_inner().unwrap())
}

#[tokio::test]
async fn what_passes_is_tried_again_until_it_has_passed() {
    let server = Scripted::start([
        Reply::HangUp,
        Reply::json(503, r#"{"code":"server.busy","message":"busy"}"#),
        Reply::Raw(b"\x16\x03 no http at all\r\n\r\n".to_vec()),
        Reply::Cut(STATUS.len(), STATUS.as_bytes()[..40].to_vec()),
        Reply::Silence(Duration::from_secs(5)),
        Reply::json(429, "busy"),
        Reply::json(200, STATUS),
    ])
    .await;
    let status = server.client().status().await.unwrap();
    assert_eq!(status.key_name, "k");
    let asked = server.asked();
    assert_eq!(asked.len(), 7);
    for request in &asked {
        assert_eq!(request.line, "GET /api/v1/status");
        assert!(request.head.contains("authorization: bearer secret-key"));
        assert!(request.head.contains("user-agent: wavetask/"));
    }
}

#[tokio::test]
async fn the_time_that_the_server_names_is_waited_for() {
    let busy = Reply::Full(503, "retry-after: 1\r\n", b"{}".to_vec());
    let server = Scripted::start([busy, Reply::json(200, STATUS)]).await;
    let began = Instant::now();
    server.client().status().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn what_stays_is_told_at_once_and_in_the_servers_words() {
    let body = r#"{"code":"key.wrong","message":"the key is missing or wrong","hint":"use another"}"#;
    let server = Scripted::start([Reply::json(401, body)]).await;
    let error = server.client().status().await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::Unauthorized, "key.wrong"));
    assert_eq!(error.hint.as_deref(), Some("use another"));
    assert!(error.message.starts_with("GET /api/v1/status: the server answered 401"), "{}", error.message);
    assert!(!format!("{error:?}").contains("secret"), "the key is in the error: {error:?}");
    assert_eq!(server.asked().len(), 1);

    let server = Scripted::start([Reply::Full(404, "content-type: text/html\r\n", b"<html>".to_vec())]).await;
    let error = server.client().status().await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::Usage, "server.not_native"));

    let server = Scripted::start([Reply::json(200, "<html>sign in to the hotel</html>")]).await;
    let error = server.client().status().await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::Internal, "answer.unreadable"));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_fault_that_looks_like_staying_is_tried_three_times() {
    let server = Scripted::start([Reply::json(500, r#"{"code":"server.internal","message":"sorry"}"#)]).await;
    let error = server.client().status().await.unwrap_err();
    assert_eq!(error.group, ErrorGroup::Internal);
    assert!(error.message.contains("3 tries in"), "{}", error.message);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn nobody_there_is_an_error_when_patience_ends() {
    let mut tuning = quick();
    tuning.retry.patience = Duration::from_millis(300);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = NativeServer::connect(&format!("127.0.0.1:{port}"), "k", tuning).unwrap();
    let began = Instant::now();
    let error = client.status().await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::ConnectionLost, "connection.refused"));
    assert!(error.message.contains("refused"), "{}", error.message);
    assert!(error.group.may_pass() && error.cause.is_some());
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// A client that sends one pack after the other, of one block each.
fn one_by_one(server: &Scripted) -> NativeServer {
    let tuning = Tuning { upload_lanes: 1, largest_pack: 700_000, ..quick() };
    NativeServer::connect(&server.url, "secret-key", tuning).unwrap()
}

#[tokio::test]
async fn a_pack_goes_on_at_the_byte_that_the_server_has() {
    let bytes = block(1, 600_000);
    let replies = [
        Reply::HangUp,
        // The server comes back after a while, and the line breaks once more.
        Reply::json(503, "{}"),
        Reply::json(200, r#"{"bytes":1000}"#),
        Reply::HangUp,
        Reply::json(200, r#"{"bytes":500000}"#),
        // It was restarted in between.
        Reply::json(404, r#"{"code":"pack.not_held","message":"no"}"#),
        Reply::json(200, r#"{"blocks":1,"bytes":600000}"#),
    ];
    let server = Scripted::start(replies).await;
    let arrived = Mutex::new(0);
    one_by_one(&server)
        .send_blocks(&[placed(&bytes)], &|digests| *arrived.lock().unwrap() += digests.len())
        .await
        .unwrap();
    assert_eq!(arrived.into_inner().unwrap(), 1);
    let asked = server.asked();
    let whole = &asked[0].body;
    let parts: Vec<_> = asked.iter().filter(|request| request.line.starts_with("POST")).collect();
    let offset = |request: &Asked| request.line.rsplit('=').next().unwrap().parse::<usize>().unwrap();
    assert_eq!(parts.iter().map(|part| offset(part)).collect::<Vec<_>>(), [0, 1000, 500_000, 0]);
    assert!(parts.iter().all(|part| part.body == whole[offset(part)..]), "the rest of the same pack");
    assert_eq!(asked.len(), 7);
}

#[tokio::test]
async fn packs_that_failed_are_sent_again_and_nothing_else_is() {
    let blocks: Vec<Vec<u8>> = (0..4).map(|seed| block(seed, 600_000)).collect();
    let answer = Reply::json(200, r#"{"blocks":1,"bytes":600000}"#);
    let nothing = Reply::json(404, r#"{"code":"pack.not_held","message":"no"}"#);
    let replies = [answer.clone(), Reply::HangUp, nothing, answer.clone(), Reply::json(503, "{}"), answer];
    let server = Scripted::start(replies).await;
    let placed: Vec<_> = blocks.iter().map(|bytes| placed(bytes)).collect();
    let arrived = Mutex::new(Vec::new());
    one_by_one(&server)
        .send_blocks(&placed, &|digests| arrived.lock().unwrap().extend_from_slice(digests))
        .await
        .unwrap();
    let arrived = arrived.into_inner().unwrap();
    assert_eq!(arrived.len(), 4);
    assert_eq!(
        arrived.into_iter().collect::<HashSet<_>>(),
        placed.iter().map(|(digest, _)| *digest).collect()
    );
    let asked = server.asked();
    // Four packs of a block each, and the two that failed again; of the one whose connection broke, the server was
    // asked what it has.
    assert_eq!(asked.len(), 7);
    assert!(asked[2].line.starts_with("GET /api/v1/packs/"), "{}", asked[2].line);
    let mut sent = HashSet::new();
    for request in asked.iter().filter(|request| !request.line.starts_with("GET")) {
        assert!(request.line.starts_with("POST /api/v1/blocks?pack="), "{}", request.line);
        assert!(request.line.ends_with("&offset=0"), "{}", request.line);
        let mut reader = pack::Reader::default();
        reader.feed(&request.body);
        while let Some(frame) = reader.next().unwrap() {
            sent.insert(frame.digest);
        }
        reader.finish().unwrap();
    }
    assert_eq!(sent.len(), 4);
}

/// An array whose owner writes to it after its digest was taken.
struct Changing;

impl ArrayBytes for Changing {
    fn bytes(&self) -> &[u8] {
        b"not what it was"
    }
}

#[tokio::test]
async fn an_array_that_changes_under_way_is_named_as_the_cause() {
    let refused = r#"{"code":"block.corrupted","message":"the bytes are not what their digest says"}"#;
    let server = Scripted::start([Reply::json(400, refused)]).await;
    let place = BlockPlace { array: Arc::new(Changing), offset: 0, length: 15, width: 1 };
    let digest = Digest::of(b"what it was not");
    let error = server.client().send_blocks(&[(digest, place)], &|_| {}).await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::Usage, "array.changed"));

    let (digest, place) = placed(b"what it was");
    let error =
        server.client().send_blocks(&[(digest, place)], &|_| panic!("none arrived")).await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::DataCorrupted, "block.corrupted"));
}

#[tokio::test]
async fn only_blocks_that_have_not_come_are_asked_for_again() {
    let blocks: Vec<Vec<u8>> = (0..3).map(|seed| block(seed, 50_000)).collect();
    let all: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
    let whole = pack_of(&all);
    let mut damaged = pack_of(&all[1..]);
    let place = damaged.len() - 1000;
    damaged[place] ^= 1;
    let server = Scripted::start([
        // The first block comes whole, then the connection breaks.
        Reply::Cut(whole.len(), whole[..70_000].to_vec()),
        // The second comes whole, the third is damaged.
        Reply::pack(damaged),
        // A pack that ends too early by its own account.
        Reply::pack(pack_of(&all[2..])[..40_000].to_vec()),
        Reply::pack(pack_of(&all[2..])),
    ])
    .await;
    let mut tuning = quick();
    tuning.download_lanes = 1;
    let client = NativeServer::connect(&server.url, "k", tuning).unwrap();
    let found = fetch(&client, &all).await.unwrap();
    let digests: Vec<Digest> = found.iter().map(|(digest, _)| *digest).collect();
    assert_eq!(digests.iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(found.len(), 3, "each block is handed over once");
    for (digest, bytes) in &found {
        assert_eq!(Digest::of(bytes), *digest);
    }
}

#[tokio::test]
async fn blocks_that_stay_damaged_or_are_not_there_are_errors() {
    let bytes = block(1, 10_000);
    let mut damaged = pack_of(&[&bytes]);
    damaged[100] ^= 1;
    let server = Scripted::start([Reply::pack(damaged)]).await;
    let error = fetch(&server.client(), &[&bytes]).await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::DataCorrupted, "answer.damaged"));
    assert_eq!(server.asked().len(), 3);

    let server = Scripted::start([Reply::pack(pack_of(&[]))]).await;
    let error = fetch(&server.client(), &[&bytes]).await.unwrap_err();
    assert_eq!((error.group, error.code.as_str()), (ErrorGroup::NotFound, "block.not_found"));

    let server = Scripted::start([Reply::pack(b"<html>nice try</html>".to_vec())]).await;
    let error = fetch(&server.client(), &[&bytes]).await.unwrap_err();
    assert_eq!(error.group, ErrorGroup::DataCorrupted);
}

#[tokio::test]
async fn what_the_caller_cannot_take_ends_the_fetch() {
    let bytes = block(1, 10_000);
    let server = Scripted::start([Reply::pack(pack_of(&[&bytes]))]).await;
    let error = server
        .client()
        .fetch_blocks(&wanted(&[&bytes]), &|_, _| {
            Err(ClientError::new(ErrorGroup::Infrastructure, "disk.full", "no room"))
        })
        .await
        .unwrap_err();
    assert_eq!(error.code, "disk.full");
    assert_eq!(server.asked().len(), 1);
}

fn task(number: u32) -> TaskId {
    format!("hec-{number:032x}").parse().unwrap()
}

/// A pack of results, each with one block of its own.
fn results(tasks: &[u32]) -> Vec<u8> {
    let mut body = pack::MAGIC.to_vec();
    for &number in tasks {
        let message = format!(
            r#"{{"task":"{}","outcome":{{"document":{{"document":{{}},"inline":true,"diverged":false}}}}}}"#,
            task(number)
        );
        pack::encode(FrameKind::Message, message.as_bytes(), 1, Compression::Never, &mut body).unwrap();
        pack::encode(
            FrameKind::Block,
            &block(u8::try_from(number).unwrap(), 20_000),
            8,
            Compression::Never,
            &mut body,
        )
        .unwrap();
    }
    pack::end(&mut body);
    body
}

#[tokio::test]
async fn results_come_whole_or_not_at_all_and_the_rest_is_asked_for_again() {
    let first = results(&[1, 2, 3]);
    // The second result's message has come and its block has not when the connection breaks.
    let server =
        Scripted::start([Reply::Cut(first.len(), first[..22_000].to_vec()), Reply::pack(results(&[3, 2]))])
            .await;
    let request = ResultsRequest {
        tasks: vec![task(1), task(2), task(3)],
        inline_bytes: 1 << 20,
        compress: false,
        simulation: false,
    };
    let log = Mutex::new(Vec::new());
    server
        .client()
        .results(
            &request,
            &mut ResultSink {
                result: &mut |answer: ResultAnswer| {
                    log.lock().unwrap().push(answer.task.to_string());
                    Ok(())
                },
                block: &mut |digest, bytes| {
                    assert_eq!(Digest::of(&bytes), digest);
                    log.lock().unwrap().push("block".to_owned());
                    Ok(())
                },
            },
        )
        .await
        .unwrap();
    let expected: Vec<String> =
        [1, 3, 2].iter().flat_map(|&number| [task(number).to_string(), "block".to_owned()]).collect();
    assert_eq!(log.into_inner().unwrap(), expected);
    let asked = server.asked();
    let second: serde_json::Value = serde_json::from_slice(&asked[1].body).unwrap();
    assert_eq!(second["tasks"], serde_json::json!([task(2), task(3)]));
}

const STREAM: &str = "content-type: text/event-stream\r\n";

fn page(last: u64) -> Vec<u8> {
    format!("id: {last}\ndata: {{\"events\":[],\"last\":{last}}}\n\n").into_bytes()
}

#[tokio::test]
async fn one_stream_serves_many_calls_and_goes_on_where_it_broke() {
    let short = Duration::from_millis(20);
    let server = Scripted::start([
        Reply::Stream(STREAM, vec![(page(3), short), (b": comment\n\n".to_vec(), short), (page(7), short)]),
        Reply::HangUp,
        Reply::Stream(STREAM, vec![(page(9), Duration::from_secs(9))]),
    ])
    .await;
    let client = server.client();
    let mut after = 1;
    let mut seen = Vec::new();
    for _ in 0..4 {
        after = client.next_events(after).await.unwrap().last;
        seen.push(after);
    }
    assert_eq!(seen, [3, 3, 7, 9]);
    let lines: Vec<String> = server.asked().into_iter().map(|request| request.line).collect();
    let stream = "GET /api/v1/events/stream?after=";
    assert_eq!(lines, [format!("{stream}1"), format!("{stream}7"), format!("{stream}7")]);
}

#[tokio::test]
async fn a_call_that_is_given_up_loses_no_event() {
    let pause = Duration::from_millis(100);
    let pieces = page(5).chunks(9).map(|piece| (piece.to_vec(), pause / 10)).collect();
    let server = Scripted::start([Reply::Stream(STREAM, pieces)]).await;
    let client = server.client();
    let page = loop {
        if let Ok(page) = tokio::time::timeout(Duration::from_millis(15), client.next_events(4)).await {
            break page.unwrap();
        }
    };
    assert_eq!(page.last, 5);
    assert_eq!(server.asked().len(), 1, "the stream stayed open between the calls");
}

#[tokio::test]
async fn where_streams_do_not_get_through_events_are_asked_for() {
    // A proxy that ends streams at once, twice; then the ordinary request.
    let server = Scripted::start([
        Reply::Stream(STREAM, vec![]),
        Reply::Stream(STREAM, vec![]),
        Reply::json(200, r#"{"events":[],"last":4}"#),
    ])
    .await;
    let client = server.client();
    assert_eq!(client.next_events(2).await.unwrap().last, 4);
    assert_eq!(client.next_events(4).await.unwrap().last, 4);
    let lines: Vec<String> = server.asked().into_iter().map(|request| request.line).collect();
    assert_eq!(lines[2], "GET /api/v1/events?after=2&wait_milliseconds=25000");
    assert_eq!(lines[3], "GET /api/v1/events?after=4&wait_milliseconds=25000");

    let server =
        Scripted::start([Reply::json(404, "{}"), Reply::json(200, r#"{"events":[],"last":4}"#)]).await;
    assert_eq!(server.client().next_events(2).await.unwrap().last, 4);
}

#[tokio::test]
async fn a_limit_on_bandwidth_is_kept() {
    let server = Scripted::start([Reply::json(200, r#"{"blocks":1,"bytes":1}"#)]).await;
    let tuning = Tuning { upload_bytes_per_second: Some(1_000_000), ..quick() };
    let client = NativeServer::connect(&server.url, "k", tuning).unwrap();
    let blocks: Vec<_> = (0..2).map(|seed| placed(&block(seed, 300_000))).collect();
    let began = Instant::now();
    client.send_blocks(&blocks, &|_| {}).await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    assert!(seconds > 0.45, "{seconds}");
}
