//! One task's journey through the doors: from upload to download, and every way in which it can end.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{TestServer, file_of, result_file, simulation_file, simulation_json};
use reqwest::Method;
use serde_json::json;
use wavetask_document::{Limits, MemoryBlocks, hdf5, unpack};
use wavetask_protocol::worker::{Failure, Verdict};
use wavetask_protocol::{ErrorKind, TaskError};

fn document(file: &[u8]) -> wavetask_document::Document {
    let mut plain = Vec::new();
    unpack::unpack(&mut &file[..], &mut plain, &Limits::default()).unwrap();
    let mut temporary = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut temporary, &plain).unwrap();
    hdf5::read_file(&temporary, &Limits::default(), &mut MemoryBlocks::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_uploaded_validated_solved_and_downloaded() {
    let server = TestServer::start();
    assert!(server.get("/tidy3d/project?projectName=default").await.is_null());
    let task = server.create("HEAT_CHARGE").await;
    let detail = server.detail(&task).await;
    assert_eq!((&detail["status"], &detail["metadataStatus"]), (&json!("draft"), &json!("draft")));

    let (status, answer) = server
        .call_as(&server.key, Method::POST, &format!("/tidy3d/tasks/{task}/metadata"), Some(json!({})))
        .await;
    assert_eq!(status, 400, "nothing was uploaded: {answer}");

    server.upload(&task, simulation_file(1.0)).await;
    server.post(&format!("/tidy3d/tasks/{task}/metadata"), json!({ "protocolVersion": "2.12.1" })).await;
    let detail = server.detail(&task).await;
    assert_eq!(detail["metadataStatus"], "processed");
    assert_eq!(detail["status"], "draft");
    assert_eq!(detail["estFlexUnit"], 0.25);
    assert_eq!(detail["taskType"], "HEAT_CHARGE");
    assert_eq!(detail["folderName"], "default");
    assert!(detail["fileMd5"].is_string() && detail.as_object().unwrap().contains_key("childFileMd5"));
    // What was validated is what is run.
    let token = server.token(&task, "simulation.hdf5.gz").await;
    assert_eq!(server.s3(Method::PUT, &token, "", simulation_file(2.0)).await.status(), 403);

    for _ in 0..2 {
        server.post(&format!("/tidy3d/tasks/{task}/submit"), json!({ "priority": null })).await;
    }
    assert_eq!(server.detail(&task).await["status"], "running", "a started task is running to the client");
    assert_eq!(server.get(&format!("/tidy3d/tasks/{task}/progress")).await["perc_done"], 0.0);

    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    assert_eq!(assignment.task.as_str(), task);
    let (status, input) = worker.input(&assignment).await;
    assert_eq!(status, 200);
    assert_eq!(&*document(&input).json, simulation_json(1.0));
    assert_eq!(worker.beat(&assignment, 40.0, 0, &["one", "two"]).await, Verdict::Continue);
    assert_eq!(worker.beat(&assignment, 41.0, 1, &["two", "three"]).await, Verdict::Continue);
    assert_eq!(server.get(&format!("/tidy3d/tasks/{task}/progress")).await["perc_done"], 41.0);
    assert!(server.download(&task, "output/simulation_data.hdf5").await.is_none(), "not before it is there");
    for _ in 0..2 {
        assert_eq!(worker.result(&assignment, result_file(&[300.0, 301.0])).await, 200, "may be repeated");
    }

    let detail = server.detail(&task).await;
    assert_eq!(detail["status"], "success");
    assert!(detail["realFlexUnit"].as_f64().unwrap() > 0.0);
    assert_eq!(server.get(&format!("/tidy3d/tasks/{task}/progress")).await["perc_done"], 100.0);
    let plain = server.download(&task, "output/simulation_data.hdf5").await.unwrap();
    let layered = server.download(&task, "output/simulation_data.hdf5.gz").await.unwrap();
    let mut unpacked = Vec::new();
    unpack::unpack(&mut &layered[..], &mut unpacked, &Limits::default()).unwrap();
    assert!(unpacked == plain);
    let result = document(&plain);
    assert_eq!(result.fragment("type").unwrap(), Some("\"HeatChargeSimulationData\""));
    assert_eq!(result.fragment("simulation").unwrap(), Some(&*simulation_json(1.0)), "byte for byte");
    assert_eq!(result.fragment("log").unwrap(), Some(r#""one\ntwo\nthree\n""#));
    assert!(result.arrays.contains_key("data/0/temperature/x"));
    assert!(result.arrays.contains_key("simulation/sources/0/rate/x"));
    assert_eq!(
        &*document(&server.download(&task, "simulation.hdf5.gz").await.unwrap()).json,
        simulation_json(1.0)
    );
    let log = server.download(&task, "output/tidy3d.log").await.unwrap();
    assert_eq!(String::from_utf8(log).unwrap(), "one\ntwo\nthree\n");

    server.call(Method::DELETE, &format!("/tidy3d/tasks/{task}"), None).await;
    let (status, _) =
        server.call_as(&server.key, Method::GET, &format!("/tidy3d/tasks/{task}/detail"), None).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_with_the_reason() {
    let server = TestServer::start();
    let deep = "[".repeat(3000);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("HEAT_CHARGE", simulation_file(0.0), "size: must not be zero"),
        ("HEAT_CHARGE", b"hello".to_vec(), "neither HDF5 nor gzip"),
        ("HEAT_CHARGE", Vec::new(), "neither HDF5 nor gzip"),
        ("HEAT_CHARGE", simulation_file(1.0)[..200].to_vec(), "cannot be used"),
        ("HEAT_CHARGE", file_of(r#"{"type":"Simulation"}"#, &[]), "a \"Simulation\" was uploaded"),
        ("VOLUME_MESH", simulation_file(1.0), "needs a VolumeMesher"),
        ("HEAT_CHARGE", file_of(r#"{"type":"HeatSimulation","name":"panic"}"#, &[]), "fault of the server"),
        ("FDTD", file_of(r#"{"type":"Simulation"}"#, &[]), "FDTD"),
        ("EME", deep.into_bytes(), "EME"),
    ];
    for (kind, content, reason) in cases {
        let task = server.create(kind).await;
        server.upload(&task, content).await;
        for _ in 0..2 {
            server.post(&format!("/tidy3d/tasks/{task}/metadata"), json!({})).await;
        }
        let detail = server.detail(&task).await;
        assert_eq!(detail["metadataStatus"], "validate_error", "{kind} {reason}");
        assert_eq!(detail["status"], "error");
        let told = server.download(&task, "output/tidy3d_validation.json").await.unwrap();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        let text = told["validation_error"].as_str().unwrap();
        assert!(text.contains(reason), "{kind}: {text}");
        if matches!(kind, "FDTD" | "EME") {
            assert!(text.contains("README.md") && text.contains("Supported features"), "{text}");
        }
        let (status, _) = server
            .call_as(&server.key, Method::POST, &format!("/tidy3d/tasks/{task}/submit"), Some(json!({})))
            .await;
        assert_eq!(status, 409);
    }
    for path in ["/rf/task", "/tidy3d/fitter/fit"] {
        let (status, answer) =
            server.call_as(&server.key, Method::POST, path, Some(json!({ "taskType": "MODAL_CM" }))).await;
        assert_eq!(status, 400);
        assert!(answer["message"].as_str().unwrap().contains("README.md"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_without_monitors_is_done_at_once_and_names_the_simulation_that_it_meshes() {
    let server = TestServer::start();
    let solve = server.validated().await;
    for (kind, same) in [("HeatChargeSimulation", true), ("HeatSimulation", false)] {
        let simulation = simulation_json(1.0).replace("HeatChargeSimulation", kind);
        let mesher = format!(r#"{{"monitors": [ ], "type":"VolumeMesher","simulation":{simulation}}}"#);
        let task = server.create("VOLUME_MESH").await;
        server.upload(&task, file_of(&mesher, &[("simulation/sources/0/rate/x", vec![1.0, 2.0, 1.0])])).await;
        server.post(&format!("/tidy3d/tasks/{task}/metadata"), json!({})).await;
        server.post(&format!("/tidy3d/tasks/{task}/submit"), json!({})).await;
        let detail = server.detail(&task).await;
        assert_eq!(detail["status"], "success");
        assert_eq!(detail["taskType"], "VOLUME_MESH");
        assert_eq!(detail["childFileMd5"] == server.detail(&solve).await["fileMd5"], same, "{kind}");
        let result = document(&server.download(&task, "output/simulation_data.hdf5.gz").await.unwrap());
        assert_eq!(result.fragment("type").unwrap(), Some("\"VolumeMesherData\""));
        assert_eq!(result.fragment("simulation").unwrap(), Some(&*simulation_json(1.0)));
        assert_eq!(result.fragment("data").unwrap(), Some("[]"));
        assert!(result.arrays.contains_key("simulation/sources/0/rate/x"));
    }
    // With a monitor it is work for a solver.
    let monitor = r#"{"type":"VolumeMeshMonitor","name":"m"}"#;
    let mesher =
        format!(r#"{{"type":"VolumeMesher","simulation":{},"monitors":[{monitor}]}}"#, simulation_json(1.0));
    let task = server.create("VOLUME_MESH").await;
    server.upload(&task, file_of(&mesher, &[])).await;
    server.post(&format!("/tidy3d/tasks/{task}/metadata"), json!({})).await;
    server.post(&format!("/tidy3d/tasks/{task}/submit"), json!({})).await;
    assert_eq!(server.detail(&task).await["status"], "running");
    let assignment = server.worker().solve(&[1.0]).await;
    assert_eq!(assignment.kind.as_str(), "VOLUME_MESH");
    let result = document(&server.download(&task, "output/simulation_data.hdf5").await.unwrap());
    assert_eq!(result.fragment("monitors").unwrap(), Some(&*format!("[{monitor}]")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_solver_s_error_is_told_and_what_comes_from_outside_is_tried_again() {
    let server = TestServer::start();
    let worker = server.worker();
    let error = |kind| Failure::Failed {
        error: TaskError { kind, code: "heat.test".to_owned(), message: "the mesh is too coarse".to_owned() },
        log_lines: vec!["last words".to_owned()],
        first_log_line: 0,
    };
    let task = server.started().await;
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(worker.fail(&assignment, &error(ErrorKind::Solver)).await, 200);
    }
    assert_eq!(server.detail(&task).await["status"], "error");
    assert_eq!(server.detail(&task).await["metadataStatus"], "processed");
    let told = server.download(&task, "output/tidy3d_error.json").await.unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&told).unwrap()["msg"], "the mesh is too coarse");
    assert_eq!(server.download(&task, "output/tidy3d.log").await.unwrap(), b"last words\n");
    assert!(server.download(&task, "output/tidy3d_validation.json").await.is_none());

    let task = server.started().await;
    let first = worker.lease(Duration::from_secs(5)).await.unwrap();
    assert_eq!(worker.fail(&first, &error(ErrorKind::Infrastructure)).await, 200);
    assert_eq!(server.detail(&task).await["status"], "running", "it waits for its next attempt");
    assert_eq!(worker.result(&first, result_file(&[1.0])).await, 410, "the first attempt is over");
    assert_eq!(worker.input(&first).await.0, 410);
    let second = worker.solve(&[2.0]).await;
    assert_eq!(second.attempt, 2);
    assert_eq!(server.detail(&task).await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_reaches_the_worker_with_its_next_heartbeat() {
    let server = TestServer::start();
    let worker = server.worker();
    let task = server.started().await;
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    for _ in 0..2 {
        let body = json!({ "taskType": "HEAT_CHARGE", "taskId": task });
        server.call(Method::PUT, "/tidy3d/tasks/abort", Some(body)).await;
    }
    assert_eq!(server.detail(&task).await["status"], "aborting");
    assert_eq!(worker.beat(&assignment, 10.0, 0, &[]).await, Verdict::Abort);
    assert_eq!(worker.fail(&assignment, &Failure::Aborted).await, 200);
    assert_eq!(server.detail(&task).await["status"], "aborted");

    // One that has finished in the meantime is aborted all the same.
    let task = server.started().await;
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    server.call(Method::PUT, "/tidy3d/tasks/abort", Some(json!({ "taskId": task }))).await;
    assert_eq!(worker.result(&assignment, result_file(&[1.0])).await, 410);
    assert_eq!(server.detail(&task).await["status"], "aborted");
    assert!(server.download(&task, "output/simulation_data.hdf5").await.is_none());

    // One that waits is aborted at once, and a deleted one is lost to its worker.
    let waiting = server.started().await;
    server.call(Method::PUT, "/tidy3d/tasks/abort", Some(json!({ "taskId": waiting }))).await;
    assert_eq!(server.detail(&waiting).await["status"], "aborted");
    let task = server.started().await;
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    server.call(Method::DELETE, &format!("/tidy3d/tasks/{task}"), None).await;
    assert_eq!(worker.beat(&assignment, 10.0, 0, &[]).await, Verdict::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_worker_loses_its_task_to_another() {
    let server = TestServer::start_with(|config| config.lease = Duration::from_millis(700));
    let task = server.started().await;
    let silent = server.worker();
    let first = silent.lease(Duration::from_secs(5)).await.unwrap();
    let other = server.worker();
    let second = other.lease(Duration::from_secs(10)).await.expect("the lease ends");
    assert_eq!((second.task.as_str(), second.attempt), (task.as_str(), 2));
    assert_eq!(silent.beat(&first, 10.0, 0, &[]).await, Verdict::Lost);
    assert_eq!(silent.result(&first, result_file(&[1.0])).await, 410);
    assert_eq!(other.result(&second, result_file(&[2.0])).await, 200);
    assert_eq!(server.detail(&task).await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_none_fails_the_task_and_nothing_else() {
    let server = TestServer::start();
    let worker = server.worker();
    for content in [
        b"nonsense".to_vec(),
        file_of(r#"{"diverged":false}"#, &[]),
        file_of(r#"{"data":[]}"#, &[("x", vec![1.0])]),
    ] {
        let task = server.started().await;
        let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
        assert_eq!(worker.result(&assignment, content).await, 410);
        assert_eq!(server.detail(&task).await["status"], "error");
    }
    server.started().await;
    worker.solve(&[1.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_nothing() {
    let mut server = TestServer::start();
    let draft = server.create("HEAT_CHARGE").await;
    server.upload(&draft, simulation_file(1.0)).await;
    let solved = server.started().await;
    server.worker().solve(&[300.0]).await;
    let running = server.started().await;
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    let before = server.download(&solved, "output/simulation_data.hdf5").await.unwrap();
    let token = server.token(&solved, "output/simulation_data.hdf5").await;
    let port: u16 = server.url.rsplit(':').next().unwrap().parse().unwrap();
    server.stop().await;
    let folder = Arc::clone(&server.folder);
    assert!(!folder.path().join("data").join(wavetask_server::ADDRESS_FILE).exists());
    drop(server);

    let server = TestServer::start_in(folder, |config| config.listen.set_port(port));
    assert!(server.download(&solved, "output/simulation_data.hdf5").await.unwrap() == before);
    assert_eq!(server.s3(Method::GET, &token, "", Vec::new()).await.status(), 200, "credentials go on");
    server.post(&format!("/tidy3d/tasks/{draft}/metadata"), json!({})).await;
    assert_eq!(server.detail(&draft).await["metadataStatus"], "processed");
    assert_eq!(worker.beat(&assignment, 60.0, 0, &[]).await, Verdict::Continue, "the worker goes on");
    assert_eq!(worker.result(&assignment, result_file(&[5.0])).await, 200);
    assert_eq!(server.detail(&running).await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_is_answered_when_the_task_ends_and_not_before() {
    let server = TestServer::start_with(|config| config.hold = Duration::from_secs(20));
    let task = server.started().await;
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    assert_eq!(server.detail(&task).await["status"], "running");
    let begun = Instant::now();
    let ending = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(worker.result(&assignment, result_file(&[1.0])).await, 200);
        Instant::now()
    };
    let (detail, ended) = tokio::join!(server.detail(&task), ending);
    assert_eq!(detail["status"], "success");
    let late = Instant::now().duration_since(ended);
    assert!(begun.elapsed() >= Duration::from_millis(500) && late < Duration::from_millis(300), "{late:?}");
}

/// After a restart a small worker may come back first: that is no reason to refuse what the large one can run.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_task_waits_for_all_workers_to_come_back() {
    let mut server = TestServer::start();
    let task = server.started().await;
    server.stop().await;
    let server = TestServer::start_in(Arc::clone(&server.folder), |_| {});
    let (small, large) = (server.worker(), server.worker());
    assert!(small.lease_with(1 << 10, Duration::from_millis(200)).await.is_none());
    assert_eq!(server.detail(&task).await["status"], "running");
    let assignment = large.lease(Duration::from_secs(5)).await.expect("it is still there");
    assert_eq!(assignment.task.as_str(), task);
}
