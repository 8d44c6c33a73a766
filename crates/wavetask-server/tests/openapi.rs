//! The OpenAPI document against what the server really answers.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::time::Duration;

use common::TestServer;
use common::native::{Client, missing, packed, request};
use reqwest::Method;
use serde_json::{Value, json};
use wavetask_document::pack::FrameKind;

/// Asks, and keeps the answer.
async fn ask(
    client: &Client<'_>,
    answers: &mut Vec<Value>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Value {
    let mut request = client.ask(method.clone(), path);
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap_or(Value::Null);
    let path = format!("/api/v1/{}", path.split('?').next().unwrap());
    answers.push(json!({ "method": method.as_str(), "path": path, "status": status, "body": body }));
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_route_fit_their_schemas() {
    let server = TestServer::start();
    let client = server.client();
    let document: Value = client.get("openapi.json").await;
    let open = reqwest::get(format!("{}/api/v1/openapi.json", server.url)).await.unwrap();
    assert_eq!(open.status(), 200, "no key is needed");

    let mut answers = Vec::new();
    let (mut good, mut bad, mut waiting) =
        (packed(1.0).member("a", 0), packed(0.0).member("b", 1), packed(9.0).member("c", 2));
    good["parameters"] = json!({ "I": 0.5, "on": true, "name": "x" });
    bad["priority"] = json!(5);
    waiting["after"] = json!([]);
    let mut broken = packed(2.0).member("d", 3);
    broken["document"]["inline"] = json!(7);
    client.send(packed(1.0).pack()).await;
    client.send(packed(0.0).pack()).await;
    let mut batch = request("b", vec![good, bad, waiting, broken]);
    batch["tags"] = json!(["x"]);
    let ask = async |answers: &mut Vec<Value>, method: Method, path: &str, body: Option<&Value>| {
        ask(&client, answers, method, path, body).await
    };
    let submitted = ask(&mut answers, Method::POST, "batches", Some(&batch)).await;
    let task = submitted["members"][0]["task"]["task"].as_str().unwrap().to_owned();
    assert_eq!(submitted["members"][3]["outcome"], "refused", "{submitted}");
    missing(&serde_json::from_value(submitted["members"][2].clone()).unwrap());
    let failed = submitted["members"][1]["task"]["task"].as_str().unwrap().to_owned();
    let draft = submitted["members"][2]["task"].as_str().unwrap().to_owned();
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    worker.beat(&assignment, 40.0, 0, &["one"]).await;
    for path in
        ["status", "tasks", "batches", "batches/b/members", "events?after=0", "tasks?where=I%3D0.5", "keys"]
    {
        ask(&mut answers, Method::GET, path, None).await;
    }
    worker.result(&assignment, common::result_file(&[1.0])).await;
    let of_task = ["", "/log", "/simulation"].map(|part| format!("tasks/{task}{part}"));
    for path in of_task.into_iter().chain([format!("tasks/{failed}"), format!("tasks/{draft}/simulation")]) {
        ask(&mut answers, Method::GET, &path, None).await;
    }
    let both = json!({ "tasks": [task, failed, draft, "task-0"] });
    for action in ["status", "details", "start", "retry", "cancel"] {
        ask(&mut answers, Method::POST, &format!("tasks/{action}"), Some(&both)).await;
    }
    let results = json!({ "tasks": [task, failed, draft, "task-0"], "inline_bytes": 1000, "compress": true });
    let mut requests = Vec::new();
    let pack =
        client.ask(Method::POST, "results").json(&results).send().await.unwrap().bytes().await.unwrap();
    for frame in common::native::unpack(&pack).into_iter().filter(|frame| frame.kind == FrameKind::Message) {
        let body: Value = serde_json::from_slice(&frame.bytes).unwrap();
        requests.push(json!({ "schema": "ResultAnswer", "body": body }));
    }
    assert_eq!(requests.len(), 4);
    let part = json!({ "task": task, "path": "data/0/temperature/x", "ranges": [[0, 1]], "compress": false });
    let pack =
        client.ask(Method::POST, "results/part").json(&part).send().await.unwrap().bytes().await.unwrap();
    let end = common::native::unpack(&pack).pop().unwrap();
    let end: Value = serde_json::from_slice(&end.bytes).unwrap();
    requests.push(json!({ "schema": "PartEnd", "body": end }));
    let fetch = json!({ "blocks": [{ "digest": packed(1.0).digests()[0], "width": 8 }], "compress": false });
    for (schema, body) in [
        ("SubmitRequest", &batch),
        ("TaskSelection", &both),
        ("ResultsRequest", &results),
        ("FetchRequest", &fetch),
        ("PartRequest", &part),
    ] {
        requests.push(json!({ "schema": schema, "body": body }));
    }
    for (path, body) in [
        ("results", &results),
        ("results/part", &part),
        ("blocks/fetch", &fetch),
        ("blocks/fetch", &json!({ "blocks": 1 })),
    ] {
        ask(&mut answers, Method::POST, path, Some(body)).await;
    }
    let sent = client.send(packed(5.0).pack()).await;
    answers.push(json!({ "method": "POST", "path": "/api/v1/blocks", "status": 200, "body": sent }));
    client.ask(Method::POST, "blocks?pack=named").body(packed(5.0).pack()).send().await.unwrap();
    for pack in ["named", "unknown"] {
        let answer = client.ask(Method::GET, &format!("packs/{pack}")).send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        let path = "/api/v1/packs/{pack}";
        answers.push(json!({ "method": "GET", "path": path, "status": status, "body": body }));
    }
    ask(&mut answers, Method::POST, "blocks", Some(&json!({}))).await;
    let mut stream = client.stream("after=0").await;
    let page = stream.next().await.unwrap();
    assert!(!page.events.is_empty());
    answers.push(json!({ "method": "GET", "path": "/api/v1/events/stream", "status": 200, "body": page }));

    let key = ask(&mut answers, Method::POST, "keys", Some(&json!({ "name": "x" }))).await["key"].clone();
    let key = key.as_str().unwrap();
    ask(&mut answers, Method::PUT, &format!("keys/{key}/quota"), Some(&json!({ "tasks": 5, "bytes": null })))
        .await;
    ask(&mut answers, Method::GET, "keys", None).await;
    ask(&mut answers, Method::DELETE, &format!("keys/{key}"), None).await;
    ask(&mut answers, Method::DELETE, "keys/key-0", None).await;
    ask(&mut answers, Method::POST, &format!("tasks/{task}/cancel"), None).await;
    ask(&mut answers, Method::POST, "tasks/delete", Some(&json!({ "tasks": [failed, failed] }))).await;
    ask(&mut answers, Method::DELETE, &format!("tasks/{task}"), None).await;
    ask(&mut answers, Method::GET, &format!("tasks/{task}"), None).await;
    ask(&mut answers, Method::GET, "events?after=0", None).await;
    ask(&mut answers, Method::GET, "openapi.json", None).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi_oracle.py");
    let Some(mut oracle) = wavetask_oracle::command(wavetask_oracle::NEWEST, script) else { return };
    let input = json!({ "document": document, "answers": answers, "requests": requests }).to_string();
    let told = tokio::task::spawn_blocking(move || wavetask_oracle::finish(&mut oracle, input.as_bytes()));
    let told = told.await.unwrap();
    assert!(told.starts_with("answers and schemas agree"), "{told}");
}
