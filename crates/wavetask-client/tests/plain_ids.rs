//! Questions by our own ids over the plain tidy3d protocol, which knows only the server's.

#[path = "../../wavetask-server/tests/common/mod.rs"]
mod common;
mod plain_support;
mod proxy;

use std::time::Duration;

use common::TestServer;
use plain_support::{ended, member, settings, simulation, submit, tasks_there};
use proxy::{Fault, Proxy};
use serde_json::json;
use wavetask_client::Server;
use wavetask_client::plain::{HeatTasks, PlainServer};
use wavetask_client::server::{TaskAction, Told};
use wavetask_protocol::TaskState;
use wavetask_protocol::native::TaskSelection;

/// Whoever asks by our id is told in the protocol's words, by the server's one task or by its two.
#[tokio::test(flavor = "multi_thread")]
async fn our_ids_are_asked_about_in_the_protocols_words() {
    for heat in [HeatTasks::One, HeatTasks::Two] {
        let server = TestServer::start();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(&server.url, &server, folder.path());
        settings.heat = heat;
        let plain = PlainServer::connect(settings).await.unwrap();
        let one = simulation(1.0, 10);
        let mut held = member("0", &one);
        held.hold = true;
        let id = submit(&plain, vec![held], &[&one]).await.remove(0).task;
        let ask = async |what| plain.told(&id, what).await.unwrap().unwrap();
        let waiting = async {
            // Until it has been checked, nobody has estimated it.
            while ask(Told::Detail).await["estFlexUnit"].as_f64().is_none_or(|units| units == 0.0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it is checked");
        let detail = ask(Told::Detail).await;
        assert_eq!((&detail["taskId"], &detail["taskName"]), (&json!(id), &json!("task 0")), "{heat:?}");
        assert_eq!((&detail["taskType"], &detail["status"]), (&json!("HEAT_CHARGE"), &json!("draft")));
        assert_eq!((&detail["folderName"], &detail["realFlexUnit"]), (&json!("scan"), &json!(null)));
        assert_eq!(ask(Told::Progress).await, json!({ "perc_done": null, "field_decay": null }));

        let select = TaskSelection { tasks: vec![id.clone()], priority: 0 };
        plain.act(TaskAction::Start, &select).await.unwrap();
        let worker = server.worker();
        let assignment = worker.lease(Duration::from_secs(10)).await.expect("it is started");
        worker.beat(&assignment, 50.0, 0, &["solving"]).await;
        assert_eq!(ask(Told::Detail).await["status"], json!("running"));
        assert_eq!(ask(Told::Progress).await["perc_done"], json!(50.0));
        assert_eq!(worker.result(&assignment, common::result_file(&[2.0])).await, 200);
        assert_eq!(ended(&plain, &id).await.state, TaskState::Success);
        let detail = ask(Told::Detail).await;
        assert_eq!((&detail["status"], &detail["taskId"]), (&json!("success"), &json!(id)));
        let there = tasks_there(&server, "scan").await;
        assert_eq!(there.len(), if heat == HeatTasks::Two { 2 } else { 1 });
        for number in ["realFlexUnit", "estFlexUnit"] {
            let sum: f64 = there.iter().map(|task| task[number].as_f64().unwrap_or_default()).sum();
            assert!(sum > 0.0 && (detail[number].as_f64().unwrap() - sum).abs() < 1e-9, "{heat:?} {number}");
        }
        assert_eq!(ask(Told::Progress).await["perc_done"], json!(100.0));

        let theirs = server.validated().await;
        assert_eq!(plain.told(&theirs.parse().unwrap(), Told::Detail).await.unwrap(), None);
        plain.act(TaskAction::Delete, &select).await.unwrap();
        let gone = plain.told(&id, Told::Detail).await.unwrap_err();
        assert_eq!(gone.code, "task.not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_has_not_heard_of_is_told_of_in_our_words() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let creates = |line: &str| line.starts_with("POST /tidy3d/projects/");
    let proxy =
        Proxy::start(&server.url, move |line| if creates(line) { Fault::Refuse } else { Fault::None }).await;
    let plain = PlainServer::connect(settings(&proxy.url, &server, folder.path())).await.unwrap();
    let one = simulation(1.0, 10);
    let id = submit(&plain, vec![member("0", &one)], &[&one]).await.remove(0).task;
    let detail = plain.told(&id, Told::Detail).await.unwrap().unwrap();
    assert_eq!((&detail["taskId"], &detail["taskName"]), (&json!(id), &json!("task 0")));
    assert_eq!((&detail["status"], &detail["taskType"]), (&json!("draft"), &json!("HEAT_CHARGE")));
    assert!(detail["createdAt"].as_str().unwrap().starts_with("20"), "{detail}");
    let progress = plain.told(&id, Told::Progress).await.unwrap().unwrap();
    assert_eq!(progress["perc_done"], json!(null));
    plain.act(TaskAction::Cancel, &TaskSelection { tasks: vec![id.clone()], priority: 0 }).await.unwrap();
    let detail = plain.told(&id, Told::Detail).await.unwrap().unwrap();
    assert_eq!(detail["status"], json!("aborted"));
    assert!(tasks_there(&server, "scan").await.is_empty());
}
