//! The rest of both doors: folders, lists, account, diagnosis, keys, events, logs, callbacks.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::time::{Duration, Instant};

use common::TestServer;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn folders_and_lists() {
    let server = TestServer::start();
    assert_eq!(server.get("/tidy3d/projects").await, json!([]));
    let first = server.folder_id().await;
    assert_eq!(server.folder_id().await, first, "a folder is made once");
    let found = server.get("/tidy3d/project?projectName=default").await;
    assert_eq!(found, json!({ "projectId": first, "projectName": "default" }));
    let task = server.started().await;
    let draft = server.create("HEAT").await;
    let listed = server.get(&format!("/tidy3d/projects/{first}/tasks")).await;
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().map(|task| task["taskId"].as_str().unwrap()).collect();
    assert!(ids.contains(&&*task) && ids.contains(&&*draft) && ids.len() == 2);
    assert!(listed[0]["createdAt"].is_string());
    let running = server.get("/tidy3d/py/tasks").await;
    assert_eq!(running.as_array().unwrap().len(), 1);
    assert_eq!(running[0]["taskId"], *task);
    let path = format!("/tidy3d/tasks/{first}/tasks?daysOld=1");
    assert_eq!(server.call(Method::DELETE, &path, None).await, 0);
    let path = format!("/tidy3d/tasks/{first}/tasks?daysOld=0");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let deleted = server.call(Method::DELETE, &path, None).await;
    assert!(deleted.as_u64().unwrap() >= 1, "{deleted}");
    server.call(Method::DELETE, &format!("/tidy3d/projects/{first}"), None).await;
    assert!(server.get("/tidy3d/project?projectName=default").await.is_null());
    let (status, _) =
        server.call_as(&server.key, Method::GET, &format!("/tidy3d/projects/{first}/tasks"), None).await;
    assert_eq!(status, 404);
    for name in ["", "a\nb", &"x".repeat(501)] {
        let body = json!({ "projectName": name });
        assert_eq!(server.call_as(&server.key, Method::POST, "/tidy3d/projects", Some(body)).await.0, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn account_health_and_diagnosis() {
    let server = TestServer::start();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let health: Value =
        http.get(format!("{}/health", server.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["health"], "OK", "needs no key");
    assert!(health["server"].as_str().unwrap().starts_with("wavetask-"), "clients of ours know us by it");
    server.get("/apikey").await;
    server.get("/tidy3d/py/account").await;
    for key in ["", "wrong", &server.worker_key] {
        assert_eq!(server.call_as(key, Method::GET, "/apikey", None).await.0, 401, "{key}");
    }
    assert_eq!(http.get(format!("{}/apikey", server.url)).send().await.unwrap().status(), 401);

    let url =
        server.get("/tidy3d/diagnostics/download-url").await["download_url"].as_str().unwrap().to_owned();
    let answer = http.get(&url).header("range", "bytes=0-104857599").send().await.unwrap();
    assert_eq!(answer.status(), 206);
    assert_eq!(answer.bytes().await.unwrap().len(), 100 << 20);
    let other = url.replace("expires=", "expires=9");
    assert_eq!(http.get(other).send().await.unwrap().status(), 403, "the address is signed");

    let (status, answer) = server.call_as(&server.key, Method::GET, "/nowhere", None).await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (404, Some("request.path")));
    let (status, answer) = server.call_as(&server.key, Method::PATCH, "/tidy3d/projects", None).await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (405, Some("request.method")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_the_administrator_s_business() {
    let server = TestServer::start();
    let made = server.post("/api/v1/keys", json!({ "name": "a colleague" })).await;
    let (secret, id) = (made["secret"].as_str().unwrap(), made["key"].as_str().unwrap());
    let (status, _) = server
        .call_as(&server.key, Method::POST, "/api/v1/keys", Some(json!({ "name": "a colleague" })))
        .await;
    assert_eq!(status, 409, "the name is taken");
    for (method, path, body) in [
        (Method::GET, "/api/v1/keys".to_owned(), None),
        (Method::POST, "/api/v1/keys".to_owned(), Some(json!({ "name": "mine" }))),
        (Method::DELETE, format!("/api/v1/keys/{id}"), None),
    ] {
        assert_eq!(server.call_as(secret, method, &path, body).await.0, 403);
    }
    let listed = server.get("/api/v1/keys").await;
    let names: Vec<&str> =
        listed["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["administrator", "a colleague"], "the workers' key is not for people");
    assert!(!listed.to_string().contains(secret));
    let own = listed["keys"][0]["key"].as_str().unwrap();
    assert_eq!(
        server.call_as(&server.key, Method::DELETE, &format!("/api/v1/keys/{own}"), None).await.0,
        409
    );
    server.call(Method::DELETE, &format!("/api/v1/keys/{id}"), None).await;
    assert_eq!(server.call_as(secret, Method::GET, "/apikey", None).await.0, 401, "at once");
    assert_eq!(server.call_as(&server.key, Method::DELETE, "/api/v1/keys/key-0", None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_every_change_and_of_nobody_else_s_tasks() {
    let server = TestServer::start();
    let guest = server.post("/api/v1/keys", json!({ "name": "guest" })).await;
    let guest = guest["secret"].as_str().unwrap().to_owned();
    let task = server.started().await;
    let page = server.get("/api/v1/events?after=0").await;
    let last = page["last"].as_u64().unwrap();
    let events = page["events"].as_array().unwrap();
    assert!(events.len() >= 4 && events.iter().all(|event| event["task"]["task"] == *task));
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted() && *numbers.last().unwrap() <= last);
    let (_, theirs) = server.call_as(&guest, Method::GET, "/api/v1/events?after=0", None).await;
    assert_eq!(theirs["events"], json!([]));
    assert_eq!(theirs["last"].as_u64().unwrap(), last);

    let begun = Instant::now();
    let path = format!("/api/v1/events?after={last}&wait_milliseconds=10000");
    let worker = server.worker();
    let (page, assignment) = tokio::join!(server.get(&path), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        worker.lease(Duration::from_secs(5)).await.unwrap()
    });
    assert_eq!(page["events"][0]["task"]["state"], "running");
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(5));
    let begun = Instant::now();
    let path = format!("/api/v1/events?after={}&wait_milliseconds=200", page["last"]);
    assert_eq!(server.get(&path).await["events"], json!([]));
    assert!(begun.elapsed() >= Duration::from_millis(200));

    // Logs come while the task runs, and end with it.
    worker.beat(&assignment, 1.0, 0, &["first", "second"]).await;
    let part = server.get(&format!("/api/v1/tasks/{task}/log")).await;
    assert_eq!(part, json!({ "text": "first\nsecond\n", "next": 13, "complete": false }));
    let path = format!("/api/v1/tasks/{task}/log?offset=13&wait_milliseconds=5000");
    let (part, _) = tokio::join!(server.get(&path), worker.beat(&assignment, 2.0, 2, &["third"]));
    assert_eq!((&part["text"], &part["next"]), (&json!("third\n"), &json!(19)));
    worker.result(&assignment, common::result_file(&[1.0])).await;
    let part = server.get(&format!("/api/v1/tasks/{task}/log?offset=19&wait_milliseconds=5000")).await;
    assert_eq!(part, json!({ "text": "", "next": 19, "complete": true }));

    let listed = server.get("/api/v1/tasks?state=success").await;
    assert_eq!(listed["tasks"][0]["task"], *task);
    assert_eq!(listed["tasks"][0]["attempts"], 1);
    let prefix = &task[..30];
    assert_eq!(server.get(&format!("/api/v1/tasks?id_prefix={prefix}")).await["tasks"][0]["task"], *task);
    assert_eq!(server.get("/api/v1/tasks?folder=nowhere").await["tasks"], json!([]));
    let cancelled = server.post(&format!("/api/v1/tasks/{task}/cancel"), json!({})).await;
    assert_eq!(cancelled["state"], "success", "what has ended is left as it is");
    let status = server.get("/api/v1/status").await;
    assert_eq!(status["administrator"], true);
    assert_eq!(status["tasks"], json!([{ "state": "success", "count": 1 }]));
    assert_eq!(status["workers"][0]["worker"], worker.id.as_str());
    server.call(Method::DELETE, &format!("/api/v1/tasks/{task}"), None).await;
    let page = server.get(&format!("/api/v1/events?after={last}")).await;
    assert_eq!(page["events"].as_array().unwrap().last().unwrap()["task"]["state"], "deleted");
}

/// Answers one request with a status line and returns what was asked.
/// A revocation ends what is in flight too: nobody keeps a key by asking all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_used_all_the_time_ends_with_its_revocation() {
    let server = TestServer::start();
    for round in 0..20 {
        let guest = server.post("/api/v1/keys", json!({ "name": format!("guest {round}") })).await;
        let secret = guest["secret"].as_str().unwrap();
        let ask = || server.call_as(secret, Method::GET, "/apikey", None);
        let path = format!("/api/v1/keys/{}", guest["key"].as_str().unwrap());
        // The first look at the key and its revocation at the same time.
        let revoke = server.call(Method::DELETE, &path, None);
        let _ = tokio::join!(ask(), ask(), ask(), ask(), revoke);
        assert_eq!(ask().await.0, 401, "round {round}");
    }
}

/// Events of a task that was deleted are passed over: a page that held nothing else is no reason to wait.
#[tokio::test(flavor = "multi_thread")]
async fn events_behind_those_of_deleted_tasks_come_at_once() {
    let server = TestServer::start();
    let gone = server.started().await;
    let stays = server.create("HEAT_CHARGE").await;
    server.call(Method::DELETE, &format!("/api/v1/tasks/{gone}"), None).await;
    let begun = Instant::now();
    let page = server.get("/api/v1/events?after=0&limit=2&wait_milliseconds=20000").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(page["events"][0]["task"]["task"], *stays, "{page}");
}

async fn answer_once(listener: &tokio::net::TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains('}') {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    text
}

async fn create_with_callback(server: &TestServer, url: &str) -> (reqwest::StatusCode, Value) {
    let folder = server.folder_id().await;
    let body = json!({ "taskName": "t", "taskType": "HEAT_CHARGE", "callbackUrl": url });
    server.call_as(&server.key, Method::POST, &format!("/tidy3d/projects/{folder}/tasks"), Some(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_is_tried_until_it_arrives_across_a_restart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let mut server = TestServer::start_with(|config| config.allow_private_callbacks = true);
    let (_, task) = create_with_callback(&server, &url).await;
    let task = task["data"]["taskId"].as_str().unwrap().to_owned();
    server.upload(&task, common::simulation_file(1.0)).await;
    server.post(&format!("/tidy3d/tasks/{task}/metadata"), json!({})).await;
    server.post(&format!("/tidy3d/tasks/{task}/submit"), json!({})).await;
    server.worker().solve(&[1.0]).await;
    let asked = answer_once(&listener, "500 Oh No").await;
    assert!(asked.starts_with("PUT /hook HTTP/1.1"), "{asked}");
    server.stop().await;
    let server = TestServer::start_in(server.folder.clone(), |config| config.allow_private_callbacks = true);
    // A redirect is not followed: it counts as a failure.
    let listening = async {
        answer_once(&listener, "302 Found\r\nlocation: http://127.0.0.1:1/").await;
        answer_once(&listener, "200 OK").await
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), listening).await.expect("it is tried again");
    let body: Value = serde_json::from_str(&asked[asked.find('{').unwrap()..]).unwrap();
    assert_eq!((&body["id"], &body["status"], &body["name"]), (&json!(task), &json!("success"), &json!("t")));
    assert!(body["workUnit"].is_number() && body["solverVersion"].is_string());
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_into_private_networks_are_refused() {
    let server = TestServer::start();
    for url in
        ["http://127.0.0.1:9/", "http://[::1]/", "http://192.168.1.1/", "https://example.org/", "ftp://x/"]
    {
        let (status, answer) = create_with_callback(&server, url).await;
        assert_eq!((status.as_u16(), answer["code"].as_str()), (400, Some("callback.refused")), "{url}");
    }
    // A name that leads to this machine is found out when it is used; nobody is called.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    let (status, task) = create_with_callback(&server, &url).await;
    assert_eq!(status, 200);
    let task = task["data"]["taskId"].as_str().unwrap();
    server.call(Method::PUT, "/tidy3d/tasks/abort", Some(json!({ "taskId": task }))).await;
    let called = tokio::time::timeout(Duration::from_millis(1500), listener.accept()).await;
    assert!(called.is_err(), "somebody called");
}
