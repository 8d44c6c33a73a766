//! Tasks whose input is made of the results of other tasks, through the native API, with a worker that a test plays.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::native::{Client, Packed, accepted, missing, packed, packed_of, refused_member, request};
use common::{TestServer, TestWorker, simulation_json};
use reqwest::Method;
use serde_json::{Value, json};
use wavetask_document::{Array, Digest, Document, MemoryBlocks, ResultBuilder, hdf5::FilePlan};
use wavetask_protocol::native::{ResultOutcome, TaskSummary};
use wavetask_protocol::worker::{Assignment, Failure};
use wavetask_protocol::{ErrorKind, TaskError, TaskId, TaskKind, TaskState};

const LONG: Duration = Duration::from_secs(10);

/// A simulation with a place for arrays at `medium`, `distinct` from others by a number.
fn template(number: u32) -> Packed {
    let json = simulation_json(1.0).replace(
        "\"monitors\"",
        &format!("\"number\":{number},\"medium\":\"SpatialDataArray\",\"monitors\""),
    );
    packed_of(&json, &[("structures/0/x", vec![5.0])], 1 << 20)
}

fn with_input(template: &Packed, key: &str, task: &TaskId, output: u32) -> Value {
    let mut member = template.member(key, 0);
    member["inputs"] = json!([{ "path": "medium", "task": task, "output": output }]);
    member["idempotency_key"] = json!(format!("{key} {task} {output}"));
    member
}

/// The temperature of a task's result, plus a number.
fn plus(task: &TaskId, number: f64) -> Value {
    let field = json!({ "field": { "source": { "task": task }, "path": ["T", "temperature"] } });
    let number = json!({ "number": { "value": number } });
    json!({ "binary": { "function": "add", "left": field, "right": number } })
}

fn evaluation(key: &str, outputs: &[Value]) -> Value {
    let recipe = json!({ "type": "Evaluation", "version": 1, "outputs": outputs }).to_string();
    json!({
        "key": key, "position": 0, "kind": "EVALUATION", "name": key, "folder": "default",
        "document": { "inline": { "json": recipe, "arrays": {} } }, "cache": true,
        "idempotency_key": format!("{key} {}", Digest::of(recipe.as_bytes())),
    })
}

async fn submit(client: &Client<'_>, batch: &str, member: Value) -> TaskSummary {
    let answer = client.submit(&request(batch, vec![member])).await;
    accepted(&answer.members[0]).0
}

async fn refused(client: &Client<'_>, member: Value) -> String {
    refused_member(&client.submit(&request("refused", vec![member])).await.members[0]).0
}

/// The task once it is in this state.
async fn until(client: &Client<'_>, task: &TaskId, state: TaskState) -> TaskSummary {
    for _ in 0..500 {
        let summary: TaskSummary = client.get(&format!("tasks/{task}")).await;
        if summary.state == state {
            return summary;
        }
        assert!(!summary.state.is_final(), "{summary:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{task} does not become {state}");
}

/// What an evaluator hands over: one output with these values along x.
fn evaluated(values: &[f64]) -> Vec<u8> {
    let mut blocks = MemoryBlocks::new();
    let mut result = ResultBuilder::new("Output", &mut blocks);
    result
        .verbatim("data", r#"[{"type":"EvaluationData","outputs":[{"kind":"array","dims":["x"]}]}]"#)
        .unwrap();
    result.member("diverged", &false).unwrap();
    let values = Array::from_floats(values.to_vec());
    result.labelled_array("data/0/outputs/0", &values, &[("x", &values)]).unwrap();
    let document = result.finish().unwrap();
    let mut file = Vec::new();
    FilePlan::new(&document).unwrap().write(&blocks, &mut file).unwrap();
    file
}

async fn leased(worker: &TestWorker, kind: TaskKind) -> Assignment {
    let assignment = worker.lease(LONG).await.expect("there is a task");
    assert_eq!(assignment.kind, kind);
    assignment
}

async fn evaluate(worker: &TestWorker, values: &[f64]) {
    let assignment = leased(worker, TaskKind::Evaluation).await;
    assert_eq!(worker.result(&assignment, evaluated(values)).await, 200);
}

/// The arrays of the simulation that a worker is given, by path.
async fn input(worker: &TestWorker, assignment: &Assignment) -> Document {
    let (status, file) = worker.input(assignment).await;
    assert_eq!(status, 200);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input.hdf5");
    std::fs::write(&path, file).unwrap();
    let file = std::fs::File::open(path).unwrap();
    let mut blocks = MemoryBlocks::new();
    wavetask_document::hdf5::read_file(&file, &wavetask_document::Limits::default(), &mut blocks).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_stages_are_submitted_before_anything_has_run() {
    let server = TestServer::start();
    let client = server.client();
    let simulation = template(1);
    client.send(simulation.pack()).await;
    let heat = client.submitted("heat", "a", &packed(1.0)).await;
    let plane = submit(&client, "planes", evaluation("a", &[plus(&heat.task, 1.0)])).await;
    let modes = submit(&client, "modes", with_input(&simulation, "a", &plane.task, 0)).await;
    for task in [&plane, &modes] {
        assert_eq!(task.state, TaskState::Queued, "{task:?}");
    }
    let worker = server.worker();
    let first = worker.lease(LONG).await.unwrap();
    assert_eq!(first.task, heat.task, "the others have no input yet");
    assert!(worker.lease(Duration::ZERO).await.is_none());
    // What is waited for cannot be deleted, and the answer says who waits.
    let answer = client.ask(Method::DELETE, &format!("tasks/{}", heat.task)).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    assert!(answer.text().await.unwrap().contains(plane.task.as_str()));
    assert_eq!(worker.result(&first, common::result_file(&[300.0, 301.0])).await, 200);

    let second = leased(&worker, TaskKind::Evaluation).await;
    assert_eq!(second.task, plane.task);
    let recipe = input(&worker, &second).await;
    assert!(!recipe.json.contains(heat.task.as_str()) && recipe.json.contains("result"), "{}", recipe.json);
    // The lease opens the result that the recipe names, and no other document.
    let text: Value = serde_json::from_str(&recipe.json).unwrap();
    let digest = text["outputs"][0]["binary"]["left"]["field"]["source"]["result"].as_str().unwrap();
    let named = worker.named(&second, digest).await.unwrap();
    let [x, values] = ["x", "__xarray_dataarray_variable__"]
        .map(|name| named.arrays[&format!("data/0/temperature/{name}")].blocks[0]);
    let frames = worker.named_blocks(&second, digest, &[values, x]).await.unwrap();
    assert_eq!(frames.iter().map(|frame| frame.digest).collect::<Vec<_>>(), [values, x]);
    assert_eq!(frames[1].bytes.len(), 16);
    let foreign = simulation.document.arrays["structures/0/x"].blocks[0];
    for blocks in [&[foreign][..], &[x, foreign], &vec![x; 100_000]] {
        assert!(matches!(worker.named_blocks(&second, digest, blocks).await, Err(400 | 413)));
    }
    let other = simulation.document.digest().unwrap().to_string();
    assert_eq!(worker.named(&second, &other).await.err(), Some(400));
    assert_eq!(worker.result(&second, evaluated(&[301.0, 302.0])).await, 200);
    assert_eq!(worker.named(&second, digest).await.err(), Some(410), "the lease has ended");

    let third = leased(&worker, TaskKind::HeatCharge).await;
    assert_eq!(third.task, modes.task);
    let given = input(&worker, &third).await;
    assert_eq!(given.json, simulation.document.json);
    let paths: Vec<&str> = given.arrays.keys().map(String::as_str).collect();
    assert_eq!(paths, ["medium/__xarray_dataarray_variable__", "medium/x", "structures/0/x"]);
    assert_eq!(given.arrays["medium/x"].digest, given.arrays["medium/__xarray_dataarray_variable__"].digest);
    assert_eq!(worker.result(&third, common::result_file(&[1.5])).await, 200);
    until(&client, &modes.task, TaskState::Success).await;
    // The result echoes the simulation that was solved.
    let body = json!({ "tasks": [modes.task], "inline_bytes": 1 << 20, "compress": true });
    let (mut messages, _) = client.results(&body).await;
    let ResultOutcome::Document { document, .. } = messages.pop().unwrap().outcome else {
        panic!("a result")
    };
    let document: Document = serde_json::from_str(document.get()).unwrap();
    assert!(document.arrays.contains_key("simulation/medium/x"));
    // All have ended: what was referred to may go, and the results that were made of it stay.
    for task in [&heat.task, &plane.task] {
        let _: Value = read(client.ask(Method::DELETE, &format!("tasks/{task}"))).await;
    }
    let (messages, _) = client.results(&body).await;
    assert!(matches!(messages[0].outcome, ResultOutcome::Document { .. }));
}

async fn read(request: reqwest::RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_computed_for_one_task_is_not_computed_for_another() {
    let server = TestServer::start();
    let client = server.client();
    let worker = server.worker();
    let simulation = template(1);
    client.send(simulation.pack()).await;
    let heat = client.submitted("heat", "a", &packed(1.0)).await;
    worker.solve(&[300.0]).await;
    let first = submit(&client, "one", evaluation("a", &[plus(&heat.task, 1.0)])).await;
    evaluate(&worker, &[301.0]).await;
    let modes = submit(&client, "one", with_input(&simulation, "b", &first.task, 0)).await;
    worker.solve(&[1.5]).await;
    until(&client, &modes.task, TaskState::Success).await;

    // Another task has the same result, since it has the same simulation.
    let again = client.submitted("two", "a", &packed(1.0)).await;
    assert_eq!(again.state, TaskState::Success);
    let second = submit(&client, "two", evaluation("b", &[plus(&again.task, 1.0)])).await;
    until(&client, &second.task, TaskState::Success).await;
    let last = submit(&client, "two", with_input(&simulation, "c", &second.task, 0)).await;
    until(&client, &last.task, TaskState::Success).await;
    assert!(worker.lease(Duration::ZERO).await.is_none(), "nothing was left to do");

    // Something else of the same result is something else, and what is not to be taken from elsewhere is computed.
    let other = submit(&client, "three", evaluation("c", &[plus(&heat.task, 2.0)])).await;
    evaluate(&worker, &[302.0]).await;
    until(&client, &other.task, TaskState::Success).await;
    let mut forced = evaluation("d", &[plus(&heat.task, 1.0)]);
    forced["cache"] = json!(false);
    let forced = submit(&client, "three", forced).await;
    evaluate(&worker, &[301.0]).await;
    until(&client, &forced.task, TaskState::Success).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_by_many_before_it_is_there_is_computed_once() {
    let server = TestServer::start();
    let client = server.client();
    let worker = server.worker();
    let heat = client.submitted("heat", "a", &packed(1.0)).await;
    let mut asked = Vec::new();
    for key in ["a", "b", "c", "d", "e"] {
        let mut member = evaluation(key, &[plus(&heat.task, 1.0)]);
        member["idempotency_key"] = json!(key);
        asked.push(submit(&client, key, member).await.task);
    }
    worker.solve(&[300.0]).await;
    // Whoever was first is stopped by its user: another one takes its place.
    let first = leased(&worker, TaskKind::Evaluation).await;
    assert!(worker.lease(Duration::from_millis(300)).await.is_none(), "the others wait for it");
    let _: Value = client.post("tasks/cancel", &json!({ "tasks": [first.task] })).await;
    assert_eq!(worker.fail(&first, &Failure::Aborted).await, 200);
    asked.retain(|task| *task != first.task);
    evaluate(&worker, &[301.0]).await;
    for task in &asked {
        until(&client, task, TaskState::Success).await;
    }
    assert!(worker.lease(Duration::ZERO).await.is_none(), "nothing was left to do");
    // What is not to be taken from elsewhere is computed.
    let mut forced = evaluation("f", &[plus(&heat.task, 1.0)]);
    forced["cache"] = json!(false);
    let forced = submit(&client, "f", forced).await;
    evaluate(&worker, &[301.0]).await;
    until(&client, &forced.task, TaskState::Success).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_handed_on_with_its_cause_and_a_retry_resumes_the_rest() {
    let server = TestServer::start();
    let client = server.client();
    let worker = server.worker();
    let simulation = template(1);
    client.send(simulation.pack()).await;
    let heat = client.submitted("heat", "a", &packed(1.0)).await;
    let plane = submit(&client, "planes", evaluation("a", &[plus(&heat.task, 1.0)])).await;
    let modes = submit(&client, "modes", with_input(&simulation, "a", &plane.task, 0)).await;
    let error = TaskError {
        kind: ErrorKind::Resources,
        code: "solver.out_of_memory".to_owned(),
        message: "The mesh is too fine for this machine.".to_owned(),
    };
    let assignment = worker.lease(LONG).await.unwrap();
    worker.fail(&assignment, &Failure::Failed { error, log_lines: Vec::new(), first_log_line: 0 }).await;
    for task in [&plane.task, &modes.task] {
        let failed: TaskSummary = client.get(&format!("tasks/{task}")).await;
        assert_eq!(failed.state, TaskState::Error);
        let error = failed.error.unwrap();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Dependency, "task.input_failed"));
        assert!(error.message.contains("The mesh is too fine"), "{}", error.message);
        assert!(error.message.contains(heat.task.as_str()), "the one that failed: {}", error.message);
    }
    let answers: Value = client.post("tasks/retry", &json!({ "tasks": [heat.task] })).await;
    assert!(answers.to_string().contains("queued"), "{answers}");
    worker.solve(&[300.0]).await;
    evaluate(&worker, &[301.0]).await;
    let assignment = leased(&worker, TaskKind::HeatCharge).await;
    assert_eq!(assignment.task, modes.task);
    assert_eq!(worker.result(&assignment, common::result_file(&[1.5])).await, 200);
    until(&client, &modes.task, TaskState::Success).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_results_do_not_fit_fails_when_they_are_there() {
    let server = TestServer::start();
    let client = server.client();
    let worker = server.worker();
    // A task that was solved by the other door has no monitor of that name.
    let heat = client.submitted("heat", "a", &packed(1.0)).await;
    let refusing = packed_of(
        &simulation_json(0.0).replace("\"monitors\"", "\"medium\":\"SpatialDataArray\",\"monitors\""),
        &[],
        1 << 20,
    );
    let plane = submit(&client, "planes", evaluation("a", &[plus(&heat.task, 1.0)])).await;
    let modes = submit(&client, "modes", with_input(&refusing, "a", &plane.task, 0)).await;
    assert_eq!(modes.state, TaskState::Queued, "the validator is asked when there is a simulation");
    worker.solve(&[300.0]).await;
    evaluate(&worker, &[301.0]).await;
    let failed = until_error(&client, &modes.task).await;
    assert!(failed.message.contains("must not be zero"), "{}", failed.message);
    assert_eq!(failed.kind, ErrorKind::Validation);
    // Asking again for what the same solver has refused is answered with that.
    let again = submit(&client, "modes", with_input(&refusing, "a", &plane.task, 0)).await;
    assert_eq!((again.task, again.state), (modes.task, TaskState::Error));
}

async fn until_error(client: &Client<'_>, task: &TaskId) -> TaskError {
    for _ in 0..500 {
        let summary: TaskSummary = client.get(&format!("tasks/{task}")).await;
        if summary.state == TaskState::Error {
            return summary.error.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{task} does not fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_cannot_be_are_refused() {
    let server = TestServer::start();
    let client = server.client();
    let simulation = template(1);
    client.send(simulation.pack()).await;
    let heat = client.submitted("heat", "a", &packed(1.0)).await;
    let plane = submit(&client, "planes", evaluation("a", &[plus(&heat.task, 1.0)])).await;
    let stranger = server.somebody("stranger").await;
    let nobody: TaskId = "task-of-nobody".parse().unwrap();

    // Other accounts' tasks and those of nobody look the same.
    stranger.send(simulation.pack()).await;
    for (who, task) in [(&client, &nobody), (&stranger, &plane.task), (&stranger, &heat.task)] {
        assert_eq!(refused(who, with_input(&simulation, "x", task, 0)).await, "task.input_not_found");
        assert_eq!(refused(who, evaluation("x", &[plus(task, 1.0)])).await, "task.input_not_found");
    }
    // Slots that cannot be filled.
    assert_eq!(refused(&client, with_input(&simulation, "x", &plane.task, 1)).await, "input.slot");
    assert_eq!(refused(&client, with_input(&simulation, "x", &heat.task, 0)).await, "input.slot");
    let slots = |paths: &[&str]| {
        let mut member = simulation.member("x", 0);
        let slot = |path: &&str| json!({ "path": path, "task": plane.task, "output": 0 });
        member["inputs"] = paths.iter().map(slot).collect();
        member
    };
    for (paths, code) in [
        (&["nowhere"][..], "input.path"),
        (&[""], "input.path"),
        (&["/medium"], "input.path"),
        (&["medium/../size"], "input.path"),
        (&["medium\0"], "input.path"),
        (&["medium", "medium"], "input.slot"),
        (&["monitors", "monitors/0"], "input.slot"),
        (&["size"; 1_001], "request.bad"),
    ] {
        assert_eq!(refused(&client, slots(paths)).await, code, "{paths:?}");
    }
    let taken = packed_of(&simulation.document.json, &[("medium/x", vec![5.0])], 1 << 20);
    client.send(taken.pack()).await;
    assert_eq!(refused(&client, with_input(&taken, "x", &plane.task, 0)).await, "input.slot");
    // Recipes that mean nothing are tasks in error.
    for outputs in [vec![], vec![json!({ "nothing": {} })], vec![json!({ "number": { "value": 1.0 } }); 257]]
    {
        let task = submit(&client, "bad", evaluation("x", &outputs)).await;
        assert_eq!(task.state, TaskState::Error, "{outputs:?}");
        assert_eq!(task.error.unwrap().kind, ErrorKind::Validation);
    }
    let by_digest = json!({ "field": {
        "source": { "result": simulation.document.digest().unwrap() }, "path": ["T", "temperature"],
    } });
    assert_eq!(submit(&client, "bad", evaluation("y", &[by_digest])).await.state, TaskState::Error);
    let many: Vec<Value> =
        (0..1_001).map(|number| plus(&format!("task-{number}").parse().unwrap(), 1.0)).collect();
    let concat = json!({ "concat": { "parts": many, "dimension": "n" } });
    assert_eq!(
        refused(&client, evaluation("z", &[concat])).await,
        "task.input_not_found",
        "the first is nobody's"
    );
    let mut both = evaluation("w", &[plus(&heat.task, 1.0)]);
    both["inputs"] = json!([{ "path": "outputs", "task": plane.task, "output": 0 }]);
    assert_eq!(refused(&client, both).await, "request.bad");
    // Nothing of all this has become a task that waits.
    assert!(
        server.worker().lease(Duration::ZERO).await.is_some_and(|assignment| assignment.task == heat.task)
    );
}

/// A draft exists before it is sent completely, so that a later request could make it refer to itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_cannot_be_made_to_refer_to_what_came_after_it() {
    let server = TestServer::start();
    let client = server.client();
    let heat = client.submitted("heat", "a", &packed(1.0)).await;
    let plane = submit(&client, "planes", evaluation("a", &[plus(&heat.task, 1.0)])).await;
    let simulation = template(7);
    let member = with_input(&simulation, "a", &plane.task, 0);
    let (draft, _) = missing(&client.submit(&request("modes", vec![member.clone()])).await.members[0]);
    client.send(simulation.pack()).await;
    // An evaluation of the draft's result, which the draft would then need.
    let circle = submit(&client, "planes", evaluation("b", &[plus(&draft, 1.0)])).await;
    let mut changed = member.clone();
    changed["inputs"][0]["task"] = json!(circle.task);
    assert_eq!(refused(&client, changed).await, "task.not_a_dependency");
    let answer = accepted(&client.submit(&request("modes", vec![member])).await.members[0]).0;
    assert_eq!((answer.task, answer.state), (draft, TaskState::Queued), "what it was made for still goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_between_the_stages_loses_nothing() {
    let mut server = TestServer::start();
    let simulation = template(1);
    let client = server.client();
    client.send(simulation.pack()).await;
    let heat = client.submitted("heat", "a", &packed(1.0)).await;
    let plane = submit(&client, "planes", evaluation("a", &[plus(&heat.task, 1.0)])).await;
    let modes = submit(&client, "modes", with_input(&simulation, "a", &plane.task, 0)).await;
    for stage in 0..3 {
        server.stop().await;
        server = TestServer::start_in(Arc::clone(&server.folder), |_| {});
        let worker = server.worker();
        match stage {
            0 => drop(worker.solve(&[300.0]).await),
            1 => evaluate(&worker, &[301.0]).await,
            _ => drop(worker.solve(&[1.5]).await),
        }
    }
    until(&server.client(), &modes.task, TaskState::Success).await;
}

/// What the interface before references sent is still taken, and means what it meant.
#[test]
fn members_without_inputs_are_members() {
    let member = packed(1.0).member("a", 0);
    let parsed: wavetask_protocol::native::NewMember = serde_json::from_value(member.clone()).unwrap();
    assert!(parsed.inputs.is_empty());
    assert!(serde_json::to_value(parsed).unwrap().get("inputs").is_none());
}
