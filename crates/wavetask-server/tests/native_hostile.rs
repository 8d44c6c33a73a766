//! Bad input at the native door, keys that want too much, and what one account can learn of another.

mod common;

use std::time::{Duration, Instant};

use common::TestServer;
use common::native::{accepted, missing, pack_of, packed, packed_of, refusal, refused_member, request};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wavetask_document::Digest;
use wavetask_document::pack::{self, Compression, FrameKind};
use wavetask_protocol::TaskState;
use wavetask_protocol::native::{
    BatchList, KeyList, KeySummary, MAXIMUM_BLOCK, MAXIMUM_BLOCKS, MAXIMUM_MEMBERS, MAXIMUM_PACK,
    MAXIMUM_TASKS, ResultOutcome, TaskAnswer, TaskAnswers, TaskList,
};

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_batches_are_welcome_and_bombs_are_not() {
    let server = TestServer::start_with(|config| config.limits.submission_bytes = 4 << 20);
    let client = server.client();
    let send = async |body: Vec<u8>, encoding: &str| {
        client
            .ask(Method::POST, "batches")
            .header("content-encoding", encoding)
            .body(body)
            .send()
            .await
            .unwrap()
    };
    // Compressed far better than most, and beyond what is held in memory while it comes.
    let members: Vec<Value> = (0..200).map(|at| packed(1.0).member(&format!("{at:0>190}"), at)).collect();
    let text = request("b", members).to_string();
    let answer = send(zstd::bulk::compress(text.as_bytes(), 19).unwrap(), "zstd").await;
    assert_eq!(answer.status(), 200);
    let mut padded = text.into_bytes();
    padded.resize(3 << 20, b' ');
    assert_eq!(send(padded.clone(), "identity").await.status(), 200);
    padded.resize(5 << 20, b' ');
    assert_eq!(refusal(send(padded, "identity").await).await, code(413, "request.too_large"));
    let bomb = zstd::bulk::compress(&vec![b' '; 256 << 20], 1).unwrap();
    assert!(bomb.len() < 100_000);
    assert_eq!(refusal(send(bomb, "zstd").await).await, code(413, "request.too_large"));
    for broken in [b"no zstd".to_vec(), Vec::new()] {
        assert_eq!(refusal(send(broken, "zstd").await).await.0, 400);
    }
    assert_eq!(refusal(send(b"{}".to_vec(), "gzip").await).await, code(415, "request.encoding"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_is_told_with_a_code_and_a_hint() {
    let server = TestServer::start();
    let client = server.client();
    let tasks: Vec<String> = (0..=MAXIMUM_TASKS).map(|at| format!("task-{at}")).collect();
    let digest = Digest::of(b"");
    let wanted = |width: u8, count: usize| json!({ "blocks": vec![json!({ "digest": digest, "width": width }); count], "compress": false });
    let member = packed(1.0).member("a", 0);
    let members = |count: usize| request("b", vec![member.clone(); count]);
    let with = |name: &str, value: Value| {
        let mut body = members(1);
        body[name] = value;
        body
    };
    let cases: Vec<(&str, Value, (u16, String))> = vec![
        ("tasks/status", json!({ "tasks": tasks }), code(413, "request.too_many")),
        ("tasks/details", json!({ "tasks": tasks }), code(413, "request.too_many")),
        (
            "results",
            json!({ "tasks": tasks, "inline_bytes": 0, "compress": false }),
            code(413, "request.too_many"),
        ),
        ("blocks/fetch", wanted(8, MAXIMUM_BLOCKS + 1), code(413, "request.too_many")),
        ("blocks/fetch", wanted(3, 1), code(400, "request.bad")),
        ("blocks/fetch", wanted(8, 1), code(404, "block.not_found")),
        (
            "blocks/fetch",
            json!({ "blocks": [{ "digest": "zz", "width": 1 }], "compress": true }),
            code(400, "request.bad"),
        ),
        ("batches", members(MAXIMUM_MEMBERS + 1), code(413, "request.too_many")),
        ("batches", with("batch", json!("")), code(400, "request.bad")),
        ("batches", with("batch", json!("x".repeat(201))), code(400, "request.bad")),
        ("batches", with("batch", json!("a\nb")), code(400, "request.bad")),
        ("batches", with("submission", json!("x".repeat(65))), code(400, "request.bad")),
        ("batches", with("tags", json!(vec!["t"; 33])), code(400, "request.bad")),
        ("batches", with("members", json!([{ "key": "a" }])), code(400, "request.bad")),
        ("keys", json!({ "name": "" }), code(400, "request.bad")),
    ];
    for (path, body, wanted) in cases {
        let answer = client.ask(Method::POST, path).json(&body).send().await.unwrap();
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(refusal(answer).await, wanted, "{path} {shown}");
    }
    for (path, wanted) in [
        ("nothing", code(404, "request.path")),
        ("tasks/task-0", code(404, "task.not_found")),
        ("tasks/%ff", code(400, "request.bad")),
        ("tasks?limit=x", code(400, "request.bad")),
        ("tasks?after=task-0", code(404, "task.not_found")),
        ("batches/b/members?after=x", code(400, "request.bad")),
        ("batches?limit=-1", code(400, "request.bad")),
        ("events/stream?after=x", code(400, "request.bad")),
        ("blocks", code(405, "request.method")),
    ] {
        assert_eq!(client.refused(Method::GET, path, vec![]).await, wanted, "{path}");
    }
    let nobody = server.client_as("no such key");
    assert_eq!(nobody.refused(Method::GET, "events/stream", vec![]).await, code(401, "key.wrong"));
    assert_eq!(nobody.refused(Method::POST, "blocks", vec![]).await, code(401, "key.wrong"));

    // Members, each refused by itself.
    let change = |name: &str, value: Value| {
        let mut member = packed(1.0).member(&format!("about {name}"), 0);
        member[name] = value;
        member
    };
    let long = format!("{{\"json\":\"{}\",\"arrays\":{{}}}}", "x".repeat(1 << 20));
    let long: Box<serde_json::value::RawValue> = serde_json::value::RawValue::from_string(long).unwrap();
    let members = vec![
        change("key", json!("x".repeat(201))),
        change("name", json!("")),
        change("folder", json!("a\u{7}")),
        change("idempotency_key", json!("x".repeat(129))),
        change("parameters", json!({ "a": [1] })),
        change(
            "parameters",
            (0..65).map(|at| (at.to_string(), json!(1))).collect::<serde_json::Map<_, _>>().into(),
        ),
        change("after", json!((0..1001).map(|at| format!("task-{at}")).collect::<Vec<_>>())),
        change("after", json!(["task-1", "task-1"])),
        change("position", json!(u64::MAX)),
        change("document", json!({ "inline": long })),
        change("document", json!({ "blocks": [] })),
    ];
    let count = members.len();
    let answer = client.submit(&request("b", members)).await;
    let codes: Vec<_> = answer.members.iter().map(refused_member).collect();
    assert_eq!(codes, vec![("request.bad".to_owned(), false); count]);
    let list: TaskList = client.get("tasks").await;
    assert!(list.tasks.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_breaks_has_lost_its_last_frame_and_no_more() {
    let server = TestServer::start();
    let client = server.client();
    // Ten blocks that do not shrink.
    let mut numbers = Vec::new();
    blake3::Hasher::new().finalize_xof().fill({
        numbers.resize(80_000, 0);
        &mut numbers
    });
    let values: Vec<f64> =
        numbers.chunks(8).map(|bytes| f64::from(bytes[0]) + f64::from(bytes[1]) / 7.0).collect();
    let simulation = packed_of(&common::simulation_json(1.0), &[("x", values)], 8_000);
    let body = request("b", vec![simulation.member("a", 0)]);
    let array = &simulation.document.arrays["x"];
    let blocks: Vec<Vec<u8>> = array.blocks.iter().map(|block| simulation.block(block)).collect();
    assert_eq!(missing(&client.submit(&body).await.members[0]).1.len(), 10);

    // The line breaks.
    let pack = pack_of(&blocks);
    let cut = pack.len() / 2;
    let mut line = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST /api/v1/blocks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        server.key,
        pack.len()
    );
    line.write_all(head.as_bytes()).await.unwrap();
    line.write_all(&pack[..cut]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(line);
    let begun = Instant::now();
    let rest = loop {
        let (_, rest) = missing(&client.submit(&body).await.members[0]);
        if rest.len() < 10 {
            break rest;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "what came whole is kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!((4..=6).contains(&rest.len()), "{}", rest.len());

    // A frame is damaged: those before it count, and it is named.
    let mut damaged = pack::MAGIC.to_vec();
    let others: Vec<Vec<u8>> = rest.iter().map(|block| simulation.block(block)).collect();
    pack::encode(FrameKind::Block, &others[0], 8, Compression::Never, &mut damaged).unwrap();
    pack::encode_block(&rest[1], b"something else", 1, Compression::Never, &mut damaged).unwrap();
    pack::end(&mut damaged);
    let answer = client.ask(Method::POST, "blocks").body(damaged).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["code"], "block.corrupted");
    assert!(told["message"].as_str().unwrap().contains(&rest[1].to_string()), "{told}");
    assert_eq!(missing(&client.submit(&body).await.members[0]).1, rest[1..]);

    client.send(pack_of(&others[1..])).await;
    assert_eq!(accepted(&client.submit(&body).await.members[0]).0.state, TaskState::Queued);

    // Other packs that are none.
    let mut message = pack::MAGIC.to_vec();
    pack::encode(FrameKind::Message, b"{}", 1, Compression::Never, &mut message).unwrap();
    let mut large = pack::MAGIC.to_vec();
    pack::encode(FrameKind::Block, &vec![7; MAXIMUM_BLOCK + 1], 1, Compression::WherePays, &mut large)
        .unwrap();
    let mut unended = pack_of(&[b"abc".to_vec()]);
    unended.truncate(unended.len() - 1);
    for (body, wanted) in [
        (Vec::new(), code(400, "pack.truncated")),
        (b"hello, I am no pack".to_vec(), code(400, "pack.damaged")),
        (message, code(413, "pack.too_large")),
        (large, code(413, "pack.too_large")),
        (unended, code(400, "pack.truncated")),
        (vec![0; MAXIMUM_PACK + 1], code(413, "request.too_large")),
    ] {
        let shown = body.len();
        let (status, told) = client.refused(Method::POST, "blocks", body).await;
        let first = wanted.1 == "request.too_large" && told == "pack.damaged";
        assert!((status, told.clone()) == wanted || first, "{shown}: {status} {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_packs_and_batches_do_no_harm() {
    let server = TestServer::start();
    let client = server.client();
    let pack = pack_of(&[vec![1; 3_000], (0..200).collect(), b"abc".to_vec()]);
    let batch = request("b", vec![packed(1.0).member("a", 0), packed(2.0).member("b", 1)]).to_string();
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (path, original) in [("blocks", pack), ("batches", batch.into_bytes())] {
        for _ in 0..150 {
            let mut bytes = original.clone();
            for _ in 0..=next() % 3 {
                let at = usize::try_from(next()).unwrap() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = next().to_le_bytes()[0],
                    1 => bytes.truncate(at + 1),
                    _ => bytes.insert(at, next().to_le_bytes()[0]),
                }
            }
            let answer = client.ask(Method::POST, path).body(bytes).send().await.unwrap();
            if answer.status() != StatusCode::OK {
                assert!(refusal(answer).await.0 < 500);
            }
        }
    }
    assert_eq!(client.ask(Method::GET, "status").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_hold_up_nobody() {
    let server = TestServer::start_with(|config| config.limits.body_idle_timeout = Duration::from_secs(4));
    let client = server.client();
    let somebody = server.somebody("somebody").await;
    let mut slow = Vec::new();
    for path in ["blocks", "batches"] {
        for _ in 0..40 {
            let mut line = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
            let head = format!(
                "POST /api/v1/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 900\r\n\r\nwtpack",
                server.key
            );
            line.write_all(head.as_bytes()).await.unwrap();
            slow.push(line);
        }
    }
    // Another account, and what is no pack, are not kept waiting.
    let begun = Instant::now();
    assert_eq!(client.ask(Method::GET, "status").send().await.unwrap().status(), 200);
    somebody.send(packed(1.0).pack()).await;
    somebody.submitted("b", "a", &packed(1.0)).await;
    assert!(begun.elapsed() < Duration::from_millis(3_500), "{:?}", begun.elapsed());
    for mut line in slow {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), line.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "still open");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    client.send(packed(1.0).pack()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_told_of_another_account() {
    let server = TestServer::start();
    let owner = server.client();
    let simulation = packed(1.0);
    let task = owner.submitted("secret", "a", &simulation).await.task;
    server.worker().solve(&[300.0]).await;
    let (messages, _) =
        owner.results(&json!({ "tasks": [task], "inline_bytes": 0, "compress": false })).await;
    let ResultOutcome::Document { document, .. } = &messages[0].outcome else { panic!("{messages:?}") };
    let result: wavetask_document::Document = serde_json::from_str(document.get()).unwrap();
    let there: Vec<Digest> = simulation
        .digests()
        .into_iter()
        .chain(result.arrays.values().flat_map(|one| one.blocks.clone()))
        .collect();
    let not_there = Digest::of(b"nobody has this");
    let spy = server.somebody("spy").await;

    // Blocks: what another account has is answered, byte for byte, like what nobody has.
    let fetch = async |digest: &Digest| {
        let body = json!({ "blocks": [{ "digest": digest, "width": 8 }], "compress": false });
        let answer = spy.ask(Method::POST, "blocks/fetch").json(&body).send().await.unwrap();
        let status = answer.status();
        (status, answer.text().await.unwrap().replace(&digest.to_string(), "…"))
    };
    let nothing = fetch(&not_there).await;
    assert_eq!(nothing.0, 404);
    for digest in &there {
        assert_eq!(fetch(digest).await, nothing);
    }
    // Submissions: missing is missing, and a known result is not known here.
    let answer = spy.submit(&request("mine", vec![simulation.member("a", 0)])).await;
    let (draft, blocks) = missing(&answer.members[0]);
    assert_eq!(blocks, simulation.digests());
    assert_ne!(draft, task);
    // Sending what is there already is answered like sending what is not.
    let known = spy.send(simulation.pack()).await;
    let new = spy.send(packed(4.0).pack()).await;
    assert_eq!((known.blocks, known.bytes), (new.blocks, new.bytes));
    let (summary, _) =
        accepted(&spy.submit(&request("mine", vec![simulation.member("a", 0)])).await.members[0]);
    assert_eq!(summary.state, TaskState::Queued, "it is solved anew");

    // Tasks, batches, events.
    let ids = json!({ "tasks": [task, "task-00000000000000000000000000000000"], "inline_bytes": 10, "compress": false });
    let (messages, blocks) = spy.results(&ids).await;
    assert!(blocks.is_empty());
    for message in &messages {
        assert!(matches!(&message.outcome, ResultOutcome::None { code } if code == "task.not_found"));
    }
    for action in ["status", "start", "cancel", "retry", "delete"] {
        let answers: TaskAnswers = spy.post(&format!("tasks/{action}"), &ids).await;
        let texts: Vec<String> = answers.tasks.iter().map(|one| format!("{one:?}")).collect();
        assert_eq!(texts[0], texts[1], "{action}");
        assert!(matches!(&answers.tasks[0], TaskAnswer::Refused { error } if error.code == "task.not_found"));
    }
    let list: BatchList = spy.get("batches").await;
    assert_eq!(list.batches.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["mine"]);
    assert_eq!(
        spy.refused(Method::GET, "batches/secret/members", vec![]).await,
        code(404, "batch.not_found")
    );
    let list: TaskList = spy.get("tasks?batch=secret").await;
    assert!(list.tasks.is_empty());
    let mut foreign = packed(2.0).member("b", 0);
    foreign["after"] = json!([task]);
    spy.send(packed(2.0).pack()).await;
    let mut missing_input = foreign.clone();
    missing_input["after"] = json!(["task-00000000000000000000000000000000"]);
    let refused = [foreign, missing_input]
        .map(async |member| refused_member(&spy.submit(&request("mine", vec![member])).await.members[0]));
    let [foreign, missing_input] = refused;
    assert_eq!(foreign.await, missing_input.await);
    let mut stream = spy.stream("after=0").await;
    let page = stream.next().await.unwrap();
    assert!(!page.events.is_empty() && page.events.iter().all(|event| event.task.task != task));
    assert_eq!(spy.refused(Method::GET, "keys", vec![]).await, code(403, "key.not_administrator"));
}

/// Packs count before any task needs them, and once: what a task needs is weighed with the task.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_is_not_needed_yet_counts() {
    let server = TestServer::start();
    let administrator = server.client();
    let somebody = server.somebody("somebody").await;
    let list: KeyList = administrator.get("keys").await;
    let key = list.keys.iter().find(|key| key.name == "somebody").unwrap().key.clone();
    let simulation = packed(1.0);
    let needed: u64 = simulation.document.array_bytes() + simulation.document.json.len() as u64;
    let quota = json!({ "bytes": needed + 1000 });
    administrator.ask(Method::PUT, &format!("keys/{key}/quota")).json(&quota).send().await.unwrap();
    let block = |fill: u8| pack_of(&[vec![fill; 600]]);
    somebody.send(block(1)).await;
    // What no task needs, and what one will need, leave no room for as much again.
    somebody.send(simulation.pack()).await;
    let too_much = pack_of(&[vec![2; usize::try_from(needed).unwrap() + 400]]);
    assert_eq!(somebody.refused(Method::POST, "blocks", too_much).await, code(403, "quota.bytes"));
    // The task itself fits: its own blocks are not counted against it.
    let answer = somebody.submit(&request("b", vec![simulation.member("a", 0)])).await;
    assert_eq!(accepted(&answer.members[0]).0.state, TaskState::Queued);
    assert_eq!(somebody.refused(Method::POST, "blocks", block(3)).await, code(403, "quota.bytes"));
    somebody.send(pack_of(&[vec![4; 50]])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_uses_what_it_may_and_no_more() {
    let server = TestServer::start();
    let administrator = server.client();
    let somebody = server.somebody("somebody").await;
    let list: KeyList = administrator.get("keys").await;
    let key = list.keys.iter().find(|key| key.name == "somebody").unwrap().key.clone();
    let set = async |quota: Value| -> KeySummary {
        let answer =
            administrator.ask(Method::PUT, &format!("keys/{key}/quota")).json(&quota).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    };
    let own = somebody.ask(Method::PUT, &format!("keys/{key}/quota")).json(&json!({})).send().await.unwrap();
    assert_eq!(refusal(own).await, code(403, "key.not_administrator"));

    assert_eq!(set(json!({ "tasks": 2 })).await.quota.tasks, Some(2));
    for size in [1.0, 2.0, 3.0] {
        somebody.send(packed(size).pack()).await;
    }
    let members = (1..=3_u32).map(|at| packed(at.into()).member(&format!("m{at}"), at.into())).collect();
    let body = request("b", members);
    for _ in 0..2 {
        let answer = somebody.submit(&body).await;
        assert_eq!(accepted(&answer.members[1]).0.state, TaskState::Queued);
        assert_eq!(refused_member(&answer.members[2]), ("quota.tasks".to_owned(), false));
    }
    // The tidy3d door keeps to it, in its own words, and never with 429.
    let project = somebody.http.post(format!("{}/tidy3d/projects", server.url)).bearer_auth(&somebody.key);
    let project: Value =
        project.json(&json!({ "projectName": "default" })).send().await.unwrap().json().await.unwrap();
    let folder = project["data"]["projectId"].as_str().unwrap();
    let create = async || {
        let address = format!("{}/tidy3d/projects/{folder}/tasks", server.url);
        let body = json!({ "taskName": "t", "taskType": "HEAT_CHARGE" });
        somebody.http.post(address).bearer_auth(&somebody.key).json(&body).send().await.unwrap()
    };
    let answer = create().await;
    assert_eq!(answer.status(), 403);
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["code"], "quota.tasks");
    assert!(told["detail"].as_str().unwrap().contains("delete"), "{told}");

    let used = set(json!({ "tasks": null, "bytes": null })).await.usage;
    assert_eq!(used.tasks, 2);
    assert!(used.bytes > 0);
    let summary = set(json!({ "bytes": used.bytes + 50 })).await;
    assert_eq!(summary.usage, used);
    let answer = somebody.submit(&body).await;
    assert_eq!(refused_member(&answer.members[2]), ("quota.bytes".to_owned(), false));
    let block = pack_of(&[vec![7; 100]]);
    assert_eq!(somebody.refused(Method::POST, "blocks", block).await, code(403, "quota.bytes"));
    // An upload through the tidy3d door is weighed when it is known what it holds.
    let answer: Value = create().await.json().await.unwrap();
    let task = answer["data"]["taskId"].as_str().unwrap();
    let mut theirs = server.client_as(&somebody.key);
    theirs.http = somebody.http.clone();
    let as_somebody =
        async |method: Method, path: &str| server.call_as(&somebody.key, method, path, Some(json!({}))).await;
    let (_, file) =
        as_somebody(Method::GET, &format!("/tidy3d/py/tasks/{task}/file?filename=simulation.hdf5.gz")).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let given = &file["data"]["userCredentials"];
    let token = common::Token {
        path: format!("/{}", text(&file["data"]["cloudpath"]).strip_prefix("s3://").unwrap()),
        access_key: text(&given["accessKeyId"]),
        secret: text(&given["secretAccessKey"]),
        session: text(&given["sessionToken"]),
    };
    let large = common::file_of(&common::simulation_json(1.0), &[("x", vec![0.5; 1000])]);
    let refused = server.s3(Method::PUT, &token, "", large.clone()).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("may"), "says why");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &large).unwrap();
    set(json!({ "bytes": used.bytes + 4_000 })).await;
    let small = gzip.finish().unwrap();
    assert!(small.len() < 4_000, "{}", small.len());
    assert_eq!(server.s3(Method::PUT, &token, "", small).await.status(), 200);
    as_somebody(Method::POST, &format!("/tidy3d/tasks/{task}/metadata")).await;
    let (_, detail) = as_somebody(Method::GET, &format!("/tidy3d/tasks/{task}/detail")).await;
    assert_eq!(detail["data"]["metadataStatus"], "validate_error", "{detail}");
    // What is deleted no longer counts.
    let list: TaskList = somebody.get("tasks").await;
    let tasks: Vec<_> = list.tasks.iter().map(|task| &task.task).collect();
    let _: TaskAnswers = somebody.post("tasks/delete", &json!({ "tasks": tasks })).await;
    assert_eq!(set(json!({})).await.usage.tasks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_key_and_with_the_server() {
    let mut server = TestServer::start();
    let list = {
        let client = server.client();
        let somebody = server.somebody("somebody").await;
        let mut theirs = somebody.stream("").await;
        theirs.next().await.unwrap();
        let list: KeyList = client.get("keys").await;
        let key = &list.keys.iter().find(|key| key.name == "somebody").unwrap().key;
        let begun = Instant::now();
        let answer = client.ask(Method::DELETE, &format!("keys/{key}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(theirs.next().await.is_none());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let mut mine = client.stream("").await;
        mine.next().await.unwrap();
        mine
    };
    let mut mine = list;
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(mine.next(), server.stop());
    assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

/// Streams that nobody reads hold a connection each, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_not_read_cost_others_nothing() {
    let server = TestServer::start();
    let client = server.client();
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut line = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
        let head = format!(
            "GET /api/v1/events/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
            server.key
        );
        line.write_all(head.as_bytes()).await.unwrap();
        deaf.push(line);
    }
    let mut stream = client.stream("").await;
    stream.next().await.unwrap();
    let members: Vec<Value> = (0..300).map(|at| packed(1.0).member(&format!("m{at}"), at)).collect();
    client.send(packed(1.0).pack()).await;
    let begun = Instant::now();
    client.submit(&request("b", members)).await;
    let mut told = std::collections::HashSet::new();
    while told.len() < 300 {
        for event in stream.next().await.unwrap().events {
            if event.task.state == TaskState::Queued {
                told.insert(event.task.task);
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    drop(deaf);
}
