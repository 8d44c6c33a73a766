//! What was submitted before comes again after the solver was upgraded.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::native::{accepted, packed, request};
use common::{SOLVER, TestServer};
use serde_json::json;
use wavetask_document::ArraySource;
use wavetask_protocol::worker::Failure;
use wavetask_protocol::{ErrorKind, Estimate, TaskError, TaskKind, TaskState};
use wavetask_server::{Refusal, Validator};

/// A solver of a later version, which can run everything.
struct Upgraded;

impl Validator for Upgraded {
    fn validate(&self, _: TaskKind, _: &str, _: &dyn ArraySource) -> Result<Estimate, Vec<Refusal>> {
        Ok(Estimate { unknowns: 1000, memory_bytes: 1 << 20, cpu_seconds: 0.25 })
    }

    fn solver_version(&self, _: TaskKind) -> String {
        format!("{SOLVER} upgraded")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_and_refusals_of_another_solver_are_not_those_of_this_one() {
    let mut server = TestServer::start();
    let (solved, refused, forced) = (packed(1.0), packed(0.0), packed(2.0));
    let mut run = forced.member("forced", 2);
    run["cache"] = json!(false);
    let body = request("scan", vec![solved.member("solved", 0), refused.member("refused", 1), run]);
    let before = {
        let client = server.client();
        client.submit(&body).await;
        for simulation in [&solved, &refused, &forced] {
            client.send(simulation.pack()).await;
        }
        client.submit(&body).await;
        let worker = server.worker();
        for _ in 0..2 {
            worker.solve(&[300.0]).await;
        }
        let answer = client.submit(&body).await;
        let tasks: Vec<_> = answer.members.iter().map(|member| accepted(member).0).collect();
        let states: Vec<_> = tasks.iter().map(|task| task.state).collect();
        assert_eq!(states, [TaskState::Success, TaskState::Error, TaskState::Success]);
        let again = client.submit(&body).await;
        let same =
            again.members.iter().zip(&tasks).all(|(member, task)| accepted(member).0.task == task.task);
        assert!(same, "the same solver: the same tasks");
        tasks
    };
    server.stop().await;

    let server = TestServer::start_as(server.folder.clone(), |_| {}, Arc::new(Upgraded));
    let client = server.client();
    let answer = client.submit(&body).await;
    let now: Vec<_> = answer.members.iter().map(accepted).collect();
    let (found, new) = &now[0];
    assert!(*new && found.task != before[0].task && found.state == TaskState::Queued, "{found:?}");
    let (found, new) = &now[1];
    assert!(*new && found.task != before[1].task && found.state == TaskState::Queued, "{found:?}");
    let (found, new) = &now[2];
    assert!(!*new && found.task == before[2].task, "one run was asked for, and there was one: {found:?}");
    let again = client.submit(&body).await;
    for (member, (task, _)) in again.members.iter().zip(&now) {
        assert_eq!(accepted(member).0.task, task.task, "and from then on it is that task");
    }
    // What the earlier solver found stays.
    let earlier: serde_json::Value = client.get(&format!("tasks/{}", before[0].task)).await;
    assert_eq!(earlier["state"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_solver_failed_at_is_tried_by_this_one() {
    let mut server = TestServer::start();
    let (failed, forced) = (packed(1.0), packed(2.0));
    let mut run = forced.member("forced", 1);
    run["cache"] = json!(false);
    let body = request("scan", vec![failed.member("failed", 0), run]);
    let before: Vec<_> = {
        let client = server.client();
        for simulation in [&failed, &forced] {
            client.send(simulation.pack()).await;
        }
        client.submit(&body).await;
        let worker = server.worker();
        for _ in 0..2 {
            let assignment = worker.lease(Duration::from_secs(10)).await.unwrap();
            let error = TaskError {
                kind: ErrorKind::Solver,
                code: "solver.singular".to_owned(),
                message: "There is no unique solution.".to_owned(),
            };
            let failure = Failure::Failed { error, log_lines: Vec::new(), first_log_line: 0 };
            assert_eq!(worker.fail(&assignment, &failure).await, 200);
        }
        let again = client.submit(&body).await;
        again.members.iter().map(|member| accepted(member).0).collect()
    };
    assert!(before.iter().all(|task| task.state == TaskState::Error), "the same solver would fail again");
    server.stop().await;

    let server = TestServer::start_as(server.folder.clone(), |_| {}, Arc::new(Upgraded));
    let answer = server.client().submit(&body).await;
    let (tried, new) = accepted(&answer.members[0]);
    assert!(new && tried.task != before[0].task && tried.state == TaskState::Queued, "{tried:?}");
    let (stands, new) = accepted(&answer.members[1]);
    assert!(!new && stands.task == before[1].task && stands.state == TaskState::Error, "{stands:?}");
}
