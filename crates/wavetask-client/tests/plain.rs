//! The plain tidy3d protocol against our own server's tidy3d door: whole journeys, and a bad line between.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

#[path = "../../wavetask-server/tests/common/mod.rs"]
mod common;
mod plain_support;
mod proxy;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use common::{TestServer, simulation_json};
use plain_support::{
    Simulation, document_of, ended, member, request, result, settings, simulation, submit, tasks_there,
};
use proxy::{Fault, Proxy};
use wavetask_client::Server;
use wavetask_client::plain::{Gzip, HeatTasks, PlainServer};
use wavetask_client::server::TaskAction;
use wavetask_document::{Digest, Document};
use wavetask_protocol::native::{
    BatchQuery, LogQuery, MemberAnswer, MemberQuery, NewMember, ResultOutcome, TaskAnswer, TaskFilter,
    TaskSelection, WantedBlock,
};
use wavetask_protocol::worker::Failure;
use wavetask_protocol::{ErrorKind, TaskError, TaskId, TaskKind, TaskState};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_all_the_way() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let plain = PlainServer::connect(settings(&server.url, &server, folder.path())).await.unwrap();
    assert!(plain.status().await.unwrap().version.starts_with("wavetask"));
    let one = simulation(1.0, 1000);
    let task = submit(&plain, vec![member("0", &one)], &[&one]).await.remove(0);
    assert_eq!(task.name, "task 0");
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(10)).await.expect("it is started");
    let (document, _) = document_of(&worker.input(&assignment).await.1);
    assert_eq!(&*document.json, simulation_json(1.0));
    assert_eq!(document.arrays["sources/0/rate/x"].shape, [1000]);
    let (none, answer, _) = result(&plain, &task.task, 0).await;
    assert!(
        none.is_none()
            && matches!(answer.outcome, ResultOutcome::None { ref code } if code == "task.not_ended")
    );
    worker.beat(&assignment, 50.0, 0, &["solving"]).await;
    assert_eq!(worker.result(&assignment, common::result_file(&[300.0, 301.0])).await, 200);
    let done = ended(&plain, &task.task).await;
    assert_eq!((done.state, done.attempts), (TaskState::Success, 1));
    assert!(done.ended_milliseconds.is_some());

    let (document, _, blocks) = result(&plain, &task.task, 1 << 20).await;
    let (document, inline) = document.unwrap();
    assert!(inline);
    let values = &document.arrays["data/0/temperature/x"];
    assert_eq!(blocks[&values.blocks[0]].as_ref(), [300.0_f64, 301.0].map(f64::to_le_bytes).concat());
    assert!(!blocks.contains_key(&document.arrays["simulation/sources/0/rate/x"].blocks[0]), "not asked for");
    let wanted = WantedBlock { digest: document.arrays["simulation/sources/0/rate/x"].blocks[0], width: 8 };
    let fetched = Mutex::new(Vec::new());
    plain
        .fetch_blocks(&[wanted], &|digest, bytes| {
            fetched.lock().unwrap().push((digest, bytes));
            Ok(())
        })
        .await
        .unwrap();
    let fetched = fetched.into_inner().unwrap();
    assert_eq!((fetched.len(), Digest::of(&fetched[0].1)), (1, wanted.digest));
    let (document, _, blocks) = result(&plain, &task.task, 0).await;
    assert!(!document.unwrap().1 && blocks.is_empty());

    let log = plain.log(&task.task, &LogQuery::default()).await.unwrap();
    assert_eq!((log.text.as_str(), log.complete), ("solving\n", true));
    assert_eq!(
        plain.log(&task.task, &LogQuery { offset: 3, ..LogQuery::default() }).await.unwrap().text,
        "ving\n"
    );
    let batches =
        plain.batches(&BatchQuery { tag: Some("paper".to_owned()), ..BatchQuery::default() }).await.unwrap();
    assert_eq!((batches.batches.len(), batches.batches[0].members), (1, 1));
    let members = plain.members("a scan", &MemberQuery::default()).await.unwrap();
    assert_eq!(members.members[0].task.state, TaskState::Success);
    for (text, found) in [("I=1", 1), ("I>1", 0)] {
        let filter = TaskFilter { conditions: Some(text.to_owned()), ..TaskFilter::default() };
        assert_eq!(plain.list(&filter).await.unwrap().tasks.len(), found);
    }
    let foreign = server.validated().await;
    let all = plain.list(&TaskFilter::default()).await.unwrap();
    assert_eq!(all.tasks.len(), 2, "those that were made elsewhere are listed, too");
    assert!(all.tasks.iter().any(|task| task.task.as_str() == foreign));

    // The same again: nothing is sent.
    let before = plain.requests();
    let again = submit(&plain, vec![member("0", &one)], &[]).await.remove(0);
    assert_eq!((again.task.clone(), again.state), (task.task.clone(), TaskState::Success));
    assert_eq!(plain.requests(), before);
    let answers = plain
        .act(TaskAction::Delete, &TaskSelection { tasks: vec![task.task.clone()], priority: 0 })
        .await
        .unwrap();
    assert_eq!(answers.tasks, [TaskAnswer::Deleted]);
    assert!(tasks_there(&server, "scan").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_few_requests_and_one_bad_member_sinks_nothing() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let plain = PlainServer::connect(settings(&server.url, &server, folder.path())).await.unwrap();
    let (good, bad) = (simulation(1.0, 10), simulation(0.0, 10));
    let mut members: Vec<NewMember> = (0..20).map(|at| member(&at.to_string(), &good)).collect();
    members.push(member("20", &bad));
    let mut modeller = member("21", &good);
    modeller.kind = TaskKind::ModalCm;
    let refused = plain.submit(&request(vec![modeller])).await.unwrap();
    assert!(
        matches!(&refused.members[0], MemberAnswer::Refused { error, .. } if error.code == "plain.unsupported_kind")
    );
    let tasks = submit(&plain, members, &[&good, &bad]).await;
    let worker = server.worker();
    let solving = tokio::spawn(async move {
        for at in 0..20 {
            worker.solve(&[f64::from(at)]).await;
        }
    });
    for task in &tasks[..20] {
        assert_eq!(ended(&plain, &task.task).await.state, TaskState::Success);
    }
    solving.await.unwrap();
    let failed = ended(&plain, &tasks[20].task).await;
    let error = failed.error.unwrap();
    assert_eq!(error.kind, ErrorKind::Validation);
    assert!(error.message.contains("must not be zero"), "{}", error.message);
    for task in &tasks[..20] {
        assert!(result(&plain, &task.task, 1 << 20).await.0.is_some());
    }
    let each = plain.requests() as f64 / 21.0;
    println!("{each:.1} requests for each task, polling included");
    assert!(each < 14.0, "{each} requests for each task");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_answer_was_lost_is_not_repeated() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest, Fault::Refuse] {
        let server = TestServer::start();
        let folder = tempfile::tempdir().unwrap();
        let mut times = 0;
        let proxy = Proxy::start(&server.url, move |line| {
            let is_create = line.starts_with("POST /tidy3d/projects/");
            times += u32::from(is_create);
            if is_create && times <= 2 { fault } else { Fault::None }
        })
        .await;
        let plain = PlainServer::connect(settings(&proxy.url, &server, folder.path())).await.unwrap();
        let one = simulation(1.0, 10);
        let task = submit(&plain, vec![member("0", &one)], &[&one]).await.remove(0);
        server.worker().solve(&[1.0]).await;
        assert_eq!(ended(&plain, &task.task).await.state, TaskState::Success);
        let there = tasks_there(&server, "scan").await;
        assert_eq!(there.len(), 1, "{fault:?}: {there:?}");
        let created = proxy.count("POST /tidy3d/projects/");
        assert_eq!(created, if fault == Fault::LoseAnswer { 1 } else { 3 }, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_may_be_refused_twice() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let mut times: HashMap<String, u32> = HashMap::new();
    let proxy = Proxy::start(&server.url, move |line| {
        let seen = times.entry(line.to_owned()).or_default();
        *seen += 1;
        if *seen <= 2 { Fault::Refuse } else { Fault::None }
    })
    .await;
    let mut settings = settings(&proxy.url, &server, folder.path());
    settings.heat = HeatTasks::Two;
    settings.gzip = Gzip::Level(1);
    let plain = PlainServer::connect(settings).await.unwrap();
    let one = simulation(1.0, 10);
    let task = submit(&plain, vec![member("0", &one)], &[&one]).await.remove(0);
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(40)).await.expect("it is started");
    assert_eq!(worker.result(&assignment, common::result_file(&[7.0])).await, 200);
    assert_eq!(ended(&plain, &task.task).await.state, TaskState::Success);
    assert!(result(&plain, &task.task, 1 << 20).await.0.is_some());
    assert_eq!(tasks_there(&server, "scan").await.len(), 2, "a mesh and a solution");
}

/// Runs in a runtime of its own, which ends as a killed process does: at once, wherever it is.
fn process(work: impl Future<Output = ()> + Send + 'static, until: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let work = runtime.spawn(work);
    until();
    work.abort();
    runtime.shutdown_timeout(Duration::from_secs(5));
}

#[test]
fn a_process_killed_at_any_step_is_gone_on_with() {
    let outer = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Where the first process hangs until it is killed; whether the server has done it by then.
    let steps = [
        ("POST /tidy3d/projects ", Fault::Hang),
        ("POST /tidy3d/projects/", Fault::Hang),
        ("GET /tidy3d/py/tasks/", Fault::Hang),
        ("PUT /", Fault::Hang),
        ("/metadata", Fault::Hang),
        ("/submit", Fault::Hang),
        ("/detail", Fault::Hang),
    ];
    for two in [HeatTasks::One, HeatTasks::Two] {
        for numbers in [10, 400_000] {
            for (step, fault) in steps {
                let (server, proxy, hangs) = outer.block_on(async {
                    let server = TestServer::start();
                    let (tell, hangs) = std::sync::mpsc::channel();
                    let mut done = false;
                    let proxy = Proxy::start(&server.url, move |line| {
                        if !done && line.contains(step) {
                            done = true;
                            tell.send(()).unwrap();
                            return fault;
                        }
                        Fault::None
                    })
                    .await;
                    (server, proxy, hangs)
                });
                let folder = tempfile::tempdir().unwrap();
                let mut settings = settings(&proxy.url, &server, folder.path());
                settings.heat = two;
                settings.part_bytes = 1 << 20;
                let first = settings.clone();
                process(
                    async move {
                        let plain = PlainServer::connect(first).await.unwrap();
                        let one = simulation(1.0, numbers);
                        let task = submit(&plain, vec![member("0", &one)], &[&one]).await.remove(0);
                        ended(&plain, &task.task).await;
                    },
                    || {
                        hangs.recv_timeout(Duration::from_secs(30)).unwrap();
                        // Let the server do what it was asked for.
                        std::thread::sleep(Duration::from_millis(100));
                    },
                );
                outer.block_on(async {
                    let plain = PlainServer::connect(settings).await.unwrap();
                    let one = simulation(1.0, numbers);
                    let task = submit(&plain, vec![member("0", &one)], &[&one]).await.remove(0);
                    let worker = server.worker();
                    worker.solve(&[1.0]).await;
                    assert_eq!(ended(&plain, &task.task).await.state, TaskState::Success);
                    let there = tasks_there(&server, "scan").await;
                    let expected = if two == HeatTasks::Two { 2 } else { 1 };
                    assert_eq!(there.len(), expected, "{two:?} {numbers} {step}: {there:?}");
                    assert!(worker.lease(Duration::from_millis(10)).await.is_none(), "solved once");
                });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_simulation_goes_in_parts_and_comes_out_the_same() {
    for gzip in [Gzip::Never, Gzip::Level(1)] {
        let server = TestServer::start();
        let folder = tempfile::tempdir().unwrap();
        let mut losses = 0;
        let proxy = Proxy::start(&server.url, move |line| {
            losses += u32::from(line.contains("partNumber=2"));
            if losses == 1 && line.contains("partNumber=2") { Fault::LoseAnswer } else { Fault::None }
        })
        .await;
        let mut settings = settings(&proxy.url, &server, folder.path());
        settings.gzip = gzip;
        settings.part_bytes = 5 << 20;
        let plain = PlainServer::connect(settings).await.unwrap();
        let large = simulation(1.0, 2_500_000);
        let task = submit(&plain, vec![member("0", &large)], &[&large]).await.remove(0);
        // Accepted means that it is there: nothing is needed from here any more.
        assert!(proxy.count("PUT /") >= 4, "{}", proxy.count("PUT /"));
        let worker = server.worker();
        let assignment = worker.lease(Duration::from_secs(20)).await.unwrap();
        let (document, _) = document_of(&worker.input(&assignment).await.1);
        let sent: Document = serde_json::from_str(&large.json).unwrap();
        assert_eq!(document.digest().unwrap(), sent.digest().unwrap());
        let values: Vec<f64> = (0..3_000_000).map(f64::from).collect();
        assert_eq!(worker.result(&assignment, common::result_file(&values)).await, 200);
        assert_eq!(ended(&plain, &task.task).await.state, TaskState::Success);
        let (document, _, _) = result(&plain, &task.task, 0).await;
        let array = document.unwrap().0.arrays["data/0/temperature/x"].clone();
        assert_eq!(array.byte_length, 24_000_000);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(array.digest, Digest::of(&bytes));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn held_stopped_and_failed_tasks() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let plain = PlainServer::connect(settings(&server.url, &server, folder.path())).await.unwrap();
    let one = simulation(1.0, 10);
    let worker = server.worker();
    let select = |task: &TaskId| TaskSelection { tasks: vec![task.clone()], priority: 0 };

    let mut held = member("0", &one);
    held.hold = true;
    let held = submit(&plain, vec![held], &[&one]).await.remove(0).task;
    assert!(worker.lease(Duration::from_millis(500)).await.is_none(), "it waits");
    let states = async |action| match plain.act(action, &select(&held)).await.unwrap().tasks.remove(0) {
        TaskAnswer::Task { task } => task.state,
        other => panic!("{other:?}"),
    };
    while states(TaskAction::Status).await != TaskState::Validated {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(states(TaskAction::Start).await, TaskState::Validated, "who starts it is told so");
    worker.solve(&[1.0]).await;
    assert_eq!(ended(&plain, &held).await.state, TaskState::Success);

    // One that waits for another, whose failure it does not survive; and the retry of both.
    let first = submit(&plain, vec![member("1", &one)], &[&one]).await.remove(0).task;
    let mut second = member("2", &one);
    second.after = vec![first.clone()];
    let second = submit(&plain, vec![second], &[&one]).await.remove(0).task;
    let assignment = worker.lease(Duration::from_secs(10)).await.unwrap();
    let failure = Failure::Failed {
        error: TaskError {
            kind: ErrorKind::Solver,
            code: "heat.not_converged".to_owned(),
            message: "no solution".to_owned(),
        },
        first_log_line: 0,
        log_lines: Vec::new(),
    };
    assert_eq!(worker.fail(&assignment, &failure).await, 200);
    let failed = ended(&plain, &first).await;
    assert_eq!(
        (failed.state, failed.error.as_ref().map(|error| error.kind)),
        (TaskState::Error, Some(ErrorKind::Solver))
    );
    assert!(failed.error.unwrap().message.contains("no solution"));
    let failed = ended(&plain, &second).await;
    assert_eq!(failed.error.map(|error| error.kind), Some(ErrorKind::Dependency));
    assert!(worker.lease(Duration::from_millis(200)).await.is_none());
    plain.act(TaskAction::Retry, &select(&first)).await.unwrap();
    let assignment = worker.solve(&[2.0]).await;
    assert_ne!(assignment.task.as_str(), "");
    loop {
        let answer = plain.act(TaskAction::Status, &select(&first)).await.unwrap().tasks.remove(0);
        let TaskAnswer::Task { task } = answer else { panic!("{answer:?}") };
        if task.state == TaskState::Success {
            assert_eq!(task.attempts, 2);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The dependent one needs nothing new: it goes on with the task that it has.
    plain.act(TaskAction::Retry, &select(&second)).await.unwrap();
    worker.solve(&[3.0]).await;

    let stopped = submit(&plain, vec![member("3", &one)], &[&one]).await.remove(0).task;
    worker.lease(Duration::from_secs(10)).await.unwrap();
    let answer = plain.act(TaskAction::Cancel, &select(&stopped)).await.unwrap().tasks.remove(0);
    assert!(matches!(&answer, TaskAnswer::Task { task } if task.state == TaskState::Aborted), "{answer:?}");
    let answer =
        plain.act(TaskAction::Status, &select(&"nobody".parse().unwrap())).await.unwrap().tasks.remove(0);
    assert!(matches!(answer, TaskAnswer::Refused { error } if error.code == "task.not_found"));
}

/// The engine turns to this protocol by itself, and its user does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn the_engine_finds_out_that_there_is_no_native_api() {
    let server = TestServer::start_with(|config| config.native_api = false);
    let folder = tempfile::tempdir().unwrap();
    let settings = wavetask_client::Settings {
        url: Some(server.url.clone()),
        key: Some(server.key.clone()),
        data: folder.path().to_owned(),
        ..wavetask_client::Settings::default()
    };
    let bad = wavetask_client::Settings { key: Some("not a key".to_owned()), ..settings.clone() };
    let simulations: Vec<Simulation> = (1..4).map(|at| simulation(f64::from(at), 400_000)).collect();
    let worker = server.worker();
    let solving = tokio::spawn(async move {
        for at in 0..3 {
            worker.solve(&[f64::from(at)]).await;
        }
    });
    let user = tokio::task::spawn_blocking(move || {
        assert!(wavetask_client::Client::connect(bad).is_err());
        let client = wavetask_client::Client::connect(settings).unwrap();
        let submission = client
            .submit(wavetask_client::SubmissionOptions {
                name: Some("three".to_owned()),
                ..wavetask_client::SubmissionOptions::default()
            })
            .unwrap();
        for (at, simulation) in simulations.into_iter().enumerate() {
            let document: Document = serde_json::from_str(&simulation.json).unwrap();
            let packed = wavetask_client::PackedSimulation {
                kind: TaskKind::HeatCharge,
                digest: document.digest().unwrap(),
                array_bytes: document.array_bytes(),
                blocks: simulation.blocks.into_iter().collect(),
                document,
                inputs: Vec::new(),
            };
            let options = wavetask_client::MemberOptions {
                key: at.to_string(),
                ..wavetask_client::MemberOptions::default()
            };
            submission.push(options, Ok(packed)).unwrap();
        }
        let batch = submission.finish();
        for task in batch.tasks() {
            let result = task.result(None).unwrap();
            assert_eq!(result.array("data/0/temperature/x").unwrap().shape, [1]);
            // An array of the simulation within the result is fetched when it is touched.
            assert_eq!(result.array("simulation/sources/0/rate/x").unwrap().shape, [400_000]);
        }
        let opened = client.open_batch("three").unwrap();
        assert_eq!(opened.len(), 3);
    });
    user.await.unwrap();
    solving.await.unwrap();
    assert_eq!(tasks_there(&server, "default").await.len(), 3);
}
