//! Batches through the native API: named first, sent where something is missing, solved, watched and fetched.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::time::{Duration, Instant};

use common::TestServer;
use common::native::{
    Packed, accepted, missing, pack_of, packed, packed_of, refused_member, request, unpack,
};
use reqwest::Method;
use serde_json::{Value, json};
use wavetask_document::{Digest, Document};
use wavetask_protocol::native::{
    BatchList, EventPage, MemberAnswer, MemberList, ResultOutcome, TaskAnswer, TaskAnswers, TaskDetail,
    TaskDetails, TaskList, TaskSummary,
};
use wavetask_protocol::{TaskId, TaskState};

async fn one_result(client: &common::native::Client<'_>, task: &TaskId) -> ResultOutcome {
    let request = json!({ "tasks": [task], "inline_bytes": 1 << 20, "compress": true });
    let (mut messages, _) = client.results(&request).await;
    messages.pop().unwrap().outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_named_sent_solved_and_fetched() {
    let server = TestServer::start();
    let client = server.client();
    let simulations: Vec<Packed> = (1..=3).map(|size| packed(f64::from(size))).collect();
    let members: Vec<Value> =
        simulations.iter().enumerate().map(|(at, one)| one.member(&format!("m{at}"), at as u64)).collect();
    let body = request("a scan", members);

    let answer = client.submit(&body).await;
    let mut drafts = Vec::new();
    for (member, simulation) in answer.members.iter().zip(&simulations) {
        let (task, blocks) = missing(member);
        assert_eq!(blocks, simulation.digests());
        drafts.push(task);
    }
    let blocks: Vec<Vec<u8>> =
        simulations.iter().flat_map(|one| one.digests().into_iter().map(|block| one.block(&block))).collect();
    let sent = client.send(pack_of(&blocks)).await;
    assert_eq!((sent.blocks, sent.bytes), (3, blocks.iter().map(|block| block.len() as u64).sum()));

    let answer = client.submit(&body).await;
    for (member, draft) in answer.members.iter().zip(&drafts) {
        let (task, new) = accepted(member);
        assert_eq!((&task.task, task.state, new), (draft, TaskState::Queued, false));
        assert_eq!((task.name.as_str(), task.folder_name.as_str()), (task.name.as_str(), "default"));
    }

    let worker = server.worker();
    for values in [[300.0], [301.0], [302.0]] {
        worker.solve(&values).await;
    }
    let request = json!({ "tasks": drafts, "inline_bytes": 1 << 20, "compress": true });
    let (messages, blocks) = client.results(&request).await;
    assert_eq!(messages.len(), 3);
    for (message, simulation) in messages.iter().zip(&simulations) {
        let ResultOutcome::Document { document, inline, diverged } = &message.outcome else {
            panic!("{message:?}")
        };
        assert!(*inline && !diverged);
        let document: Document = serde_json::from_str(document.get()).unwrap();
        assert_eq!(document.fragment("type").unwrap(), Some("\"HeatChargeSimulationData\""));
        assert_eq!(document.fragment("simulation").unwrap(), Some(&*simulation.document.json));
        for (path, array) in &document.arrays {
            let follows = array.blocks.iter().all(|block| blocks.contains_key(block));
            assert_eq!(follows, path.starts_with("data/"), "{path}");
        }
    }
    // The rest is fetched by name.
    let wanted = simulations[0].digests()[0];
    let body = json!({ "blocks": [{ "digest": wanted, "width": 8 }, { "digest": wanted, "width": 1 }], "compress": false });
    let answer = client.ask(Method::POST, "blocks/fetch").json(&body).send().await.unwrap();
    let frames = unpack(&answer.bytes().await.unwrap());
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.bytes == simulations[0].block(&wanted)));

    let list: BatchList = client.get("batches").await;
    assert_eq!(list.batches.len(), 1);
    assert_eq!((list.batches[0].name.as_str(), list.batches[0].members), ("a scan", 3));
    assert!(list.batches[0].complete);
    let list: MemberList = client.get("batches/a%20scan/members").await;
    assert_eq!(list.members.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["m0", "m1", "m2"]);
    assert!(list.members.iter().all(|one| one.task.state == TaskState::Success) && list.next.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_solved_before_is_neither_sent_nor_solved_again() {
    let server = TestServer::start();
    let client = server.client();
    let simulation = packed(1.0);
    let first = client.submitted("one", "a", &simulation).await;
    assert_eq!(first.state, TaskState::Queued);
    server.worker().solve(&[300.0]).await;

    // The same content under another name, with other words, in other blocks: solved at once, nothing missing.
    let json = simulation.document.json.replace("[1.0,1,1]", "[1, 1.0, 1e0]");
    assert_ne!(*json, *simulation.document.json);
    let same = packed_of(&json, &[("sources/0/rate/x", vec![1.0, 2.0, 1.0])], 16);
    assert_eq!(same.document.digest().unwrap(), simulation.document.digest().unwrap());
    let second = accepted(&client.submit(&request("two", vec![same.member("b", 0)])).await.members[0]);
    assert_eq!((second.0.state, second.1), (TaskState::Success, true));
    let ResultOutcome::Document { document, .. } = one_result(&client, &second.0.task).await else {
        panic!("there is a result")
    };
    let ResultOutcome::Document { document: earlier, .. } = one_result(&client, &first.task).await else {
        panic!("there is a result")
    };
    assert_eq!(document.get(), earlier.get());

    // Without the cache it runs again, and another account starts from nothing.
    let mut forced = simulation.member("c", 0);
    forced["cache"] = json!(false);
    let (task, new) = accepted(&client.submit(&request("three", vec![forced])).await.members[0]);
    assert_eq!((task.state, new), (TaskState::Queued, true), "its blocks are there");
    let somebody = server.somebody("somebody").await;
    missing(&somebody.submit(&request("one", vec![simulation.member("a", 0)])).await.members[0]);

    // What the tidy3d door solved counts as well.
    server.worker().solve(&[300.0]).await;
    let uploaded = server.create("HEAT_CHARGE").await;
    server.upload(&uploaded, common::simulation_file(7.0)).await;
    server.post(&format!("/tidy3d/tasks/{uploaded}/metadata"), json!({})).await;
    server.post(&format!("/tidy3d/tasks/{uploaded}/submit"), json!({})).await;
    server.worker().solve(&[307.0]).await;
    let known = client.submit(&request("four", vec![packed(7.0).member("d", 0)])).await;
    assert_eq!(accepted(&known.members[0]).0.state, TaskState::Success);
    // And the deletion of the first takes nothing from the others.
    server.call(Method::DELETE, &format!("/tidy3d/tasks/{uploaded}"), None).await;
    let task = accepted(&known.members[0]).0.task;
    assert!(matches!(one_result(&client, &task).await, ResultOutcome::Document { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_be_repeated_by_anybody_at_any_time() {
    let server = TestServer::start();
    let client = server.client();
    let simulations: Vec<Packed> = (1..=40).map(|size| packed(f64::from(size))).collect();
    let members: Vec<Value> =
        simulations.iter().enumerate().map(|(at, one)| one.member(&format!("m{at}"), at as u64)).collect();
    let body = request("race", members);
    let blocks: Vec<Vec<u8>> =
        simulations.iter().flat_map(|one| one.digests().into_iter().map(|block| one.block(&block))).collect();
    // Some come before the blocks, some after, all at once.
    let racing: Vec<_> = (0..6).map(|_| client.submit(&body)).collect();
    let sending = client.send(pack_of(&blocks));
    let (racing, _) = tokio::join!(futures::future::join_all(racing), sending);
    let last = client.submit(&body).await;
    let tasks: Vec<TaskId> = last.members.iter().map(|member| accepted(member).0.task).collect();
    let mut made = 0;
    for answer in &racing {
        for (member, task) in answer.members.iter().zip(&tasks) {
            match member {
                MemberAnswer::Accepted { task: summary, new } => {
                    assert_eq!(summary.task, *task);
                    made += usize::from(*new);
                }
                MemberAnswer::Missing { task: draft, .. } => assert_eq!(draft, task),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(made <= tasks.len(), "no task is new twice");
    let list: TaskList = client.get("tasks").await;
    assert_eq!(list.tasks.len(), 40, "one task each");
    assert!(list.tasks.iter().all(|task| task.state == TaskState::Queued));
    let list: MemberList = client.get("batches/race/members").await;
    assert_eq!(list.members.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_between_two_steps_loses_nothing() {
    let mut server = TestServer::start();
    let simulation = packed(1.0);
    let body = request("one", vec![simulation.member("a", 0)]);
    let (draft, _) = missing(&server.client().submit(&body).await.members[0]);
    server.client().send(simulation.pack()).await;
    server.stop().await;
    let server = TestServer::start_in(std::sync::Arc::clone(&server.folder), |_| {});
    // The pack has been answered, so its blocks are there.
    let (task, _) = accepted(&server.client().submit(&body).await.members[0]);
    assert_eq!((task.task, task.state), (draft, TaskState::Queued));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_a_task_in_error_and_one_bad_member_harms_no_other() {
    let server = TestServer::start();
    let client = server.client();
    let good = packed(1.0);
    client.send(good.pack()).await;
    let odd = |change: &dyn Fn(&mut Value)| {
        let mut member = packed(3.0).member("odd", 9);
        change(&mut member);
        member
    };
    client.send(packed(3.0).pack()).await;
    let mesher = packed_of(r#"{"type":"VolumeMesher"}"#, &[], 16);
    let panicking = packed_of(r#"{"type":"HeatSimulation","name":"panic"}"#, &[], 16);
    let members = vec![
        packed(0.0).member("no size", 0),
        good.member("good", 1),
        mesher.member("class", 2),
        panicking.member("crash", 3),
        {
            let mut member =
                packed_of(r#"{"type":"Simulation"}"#, &[("far", vec![1.0])], 16).member("fdtd", 4);
            member["kind"] = json!("FDTD");
            member
        },
        odd(&|member| member["document"]["inline"]["json"] = json!("{\"a\":1,\"a\":2}")),
        good.member("good", 6),
        {
            let mut member = packed(3.0).member("after", 7);
            member["after"] = json!(["task-00000000000000000000000000000000"]);
            member
        },
    ];
    client.send(packed(0.0).pack()).await;
    let answer = client.submit(&request("mixed", members)).await;
    let error = |at: usize| {
        let (task, new) = accepted(&answer.members[at]);
        assert!(new);
        assert_eq!(task.state, TaskState::Error);
        task.error.unwrap()
    };
    assert!(error(0).message.contains("size: must not be zero"));
    assert_eq!(accepted(&answer.members[1]).0.state, TaskState::Queued);
    assert_eq!(error(2).code, "validation.class");
    assert_eq!(error(3).code, "validation.crashed");
    assert_eq!(error(4).code, "feature.unsupported", "and nothing had to be sent for that");
    assert_eq!(refused_member(&answer.members[5]), ("document_malformed".to_owned(), false));
    assert_eq!(refused_member(&answer.members[6]).0, "request.bad", "its key was taken in this part");
    assert_eq!(refused_member(&answer.members[7]).0, "task.input_not_found");
    let list: MemberList = client.get("batches/mixed/members").await;
    assert_eq!(list.members.len(), 5);
    server.worker().solve(&[1.0]).await;

    // A descriptor that lies is found out before its result could be given to others.
    let mut lying = packed_of(&common::simulation_json(5.0), &[("x", (0..64).map(f64::from).collect())], 64);
    client.send(lying.pack()).await;
    lying.document.arrays.get_mut("x").unwrap().digest = Digest::of(b"something else");
    let answer = client.submit(&request("lies", vec![lying.member("a", 0)])).await;
    assert_eq!(refused_member(&answer.members[0]), ("document_malformed".to_owned(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_documents_travel_as_blocks() {
    let server = TestServer::start();
    let client = server.client();
    let json = format!(
        r#"{{"type":"HeatChargeSimulation","size":[1,1,1],"monitors":[],"name":"{}"}}"#,
        "long ".repeat(300_000)
    );
    let simulation = packed_of(&json, &[("x", vec![1.0, 2.0])], 16);
    let text = serde_json::to_vec(&simulation.document).unwrap();
    let pieces: Vec<Vec<u8>> = text.chunks(1 << 20).map(<[u8]>::to_vec).collect();
    let digests: Vec<Digest> = pieces.iter().map(|piece| Digest::of(piece)).collect();
    let mut member = simulation.member("long", 0);
    member["document"] = json!({ "blocks": digests });
    let body = request("long", vec![member]);
    let (task, blocks) = missing(&client.submit(&body).await.members[0]);
    assert_eq!(blocks, digests);
    client.send(pack_of(&pieces)).await;
    let (same, blocks) = missing(&client.submit(&body).await.members[0]);
    assert_eq!((&same, blocks), (&task, simulation.digests()));
    client.send(simulation.pack()).await;
    assert_eq!(accepted(&client.submit(&body).await.members[0]).0.state, TaskState::Queued);
    server.worker().solve(&[1.0]).await;
    let ResultOutcome::Document { document, .. } = one_result(&client, &task).await else {
        panic!("a result")
    };
    let document: Document = serde_json::from_str(document.get()).unwrap();
    assert_eq!(document.fragment("simulation").unwrap(), Some(json.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_held_started_stopped_run_again_and_deleted_at_once() {
    let server = TestServer::start();
    let client = server.client();
    let simulations: Vec<Packed> = (1..=4).map(|size| packed(f64::from(size))).collect();
    for simulation in &simulations {
        client.send(simulation.pack()).await;
    }
    let held = |one: &Packed, at: usize| {
        let mut member = one.member(&format!("m{at}"), at as u64);
        member["hold"] = json!(true);
        member
    };
    let members = simulations.iter().enumerate().map(|(at, one)| held(one, at)).collect();
    let answer = client.submit(&request("held", members)).await;
    let mut tasks: Vec<TaskId> = answer.members.iter().map(|one| accepted(one).0.task).collect();
    assert!(answer.members.iter().all(|one| accepted(one).0.state == TaskState::Validated));
    tasks.push("task-00000000000000000000000000000000".parse().unwrap());

    let states = |answers: &TaskAnswers| -> Vec<Result<TaskState, String>> {
        let state = |one: &TaskAnswer| match one {
            TaskAnswer::Task { task } => Ok(task.state),
            TaskAnswer::Deleted => Ok(TaskState::Deleted),
            TaskAnswer::Refused { error } => Err(error.code.clone()),
            other => panic!("{other:?}"),
        };
        answers.tasks.iter().map(state).collect()
    };
    let nothing = || Err("task.not_found".to_owned());
    let same = |state: TaskState| vec![Ok(state), Ok(state), Ok(state), Ok(state), nothing()];
    let ask = async |action: &str| -> TaskAnswers {
        client.post(&format!("tasks/{action}"), &json!({ "tasks": tasks })).await
    };
    assert_eq!(states(&ask("status").await), same(TaskState::Validated));
    let mut wanted = simulations[0].member("m0", 0);
    wanted["hold"] = json!(false);
    let answer = client.submit(&request("held", vec![wanted])).await;
    assert_eq!(accepted(&answer.members[0]).0.state, TaskState::Queued, "held no more");
    for _ in 0..2 {
        assert_eq!(states(&ask("start").await), same(TaskState::Queued), "may be repeated");
    }
    server.worker().solve(&[1.0]).await;
    let answers = ask("cancel").await;
    let mut stopped = same(TaskState::Aborted);
    stopped[0] = Ok(TaskState::Success);
    assert_eq!(states(&answers), stopped, "what has ended stays as it is");
    let answers = ask("retry").await;
    let mut again = same(TaskState::Queued);
    again[0] = Err("task.not_allowed".to_owned());
    assert_eq!(states(&answers), again);
    assert_eq!(states(&ask("delete").await), same(TaskState::Deleted));
    assert_eq!(states(&ask("delete").await), vec![nothing(); 5]);
    let page: EventPage = client.get(&format!("events?after={}", answers.last_event)).await;
    assert_eq!(page.events.len(), 4, "the deletions, and nothing else");
}

/// Many at once are told as one by one, by the other door.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_door_says_of_one_is_told_of_many() {
    let server = TestServer::start();
    let client = server.client();
    let (first, second) = (packed(1.0), packed(2.0));
    client.send(first.pack()).await;
    client.send(second.pack()).await;
    let mut tasks = vec![client.submitted("told", "a", &first).await.task];
    server.worker().solve(&[1.0]).await;
    tasks.push(client.submitted("told", "b", &second).await.task);
    tasks.push("task-00000000000000000000000000000000".parse().unwrap());
    let told: TaskDetails = client.post("tasks/details", &json!({ "tasks": tasks })).await;
    assert_eq!(told.tasks.len(), 3);
    for (task, told) in tasks.iter().zip(&told.tasks).take(2) {
        let TaskDetail { detail, progress } = told.as_ref().unwrap();
        assert_eq!(*detail, server.detail(task.as_str()).await);
        assert_eq!(*progress, server.get(&format!("/tidy3d/tasks/{task}/progress")).await);
    }
    let percent = |at: usize| told.tasks[at].as_ref().unwrap().progress["perc_done"].clone();
    assert_eq!((percent(0), percent(1)), (json!(100.0), json!(0.0)));
    assert_eq!(told.tasks[2], None);
    // Nor of anybody else's.
    let stranger = server.somebody("stranger").await;
    let told: TaskDetails = stranger.post("tasks/details", &json!({ "tasks": tasks })).await;
    assert_eq!(told.tasks, [None, None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_or_unlucky_member_goes_on_when_it_is_submitted_again() {
    let server = TestServer::start();
    let client = server.client();
    let simulation = packed(1.0);
    let body = request("one", vec![simulation.member("a", 0)]);
    // Stopped as a draft: a new task takes its place.
    let (draft, _) = missing(&client.submit(&body).await.members[0]);
    let _: TaskAnswers = client.post("tasks/cancel", &json!({ "tasks": [draft] })).await;
    let (second, _) = missing(&client.submit(&body).await.members[0]);
    assert_ne!(second, draft);
    client.send(simulation.pack()).await;
    let (task, _) = accepted(&client.submit(&body).await.members[0]);
    assert_eq!(task.task, second);
    // Stopped when it could have run: the same task is run again.
    let _: TaskAnswers = client.post("tasks/cancel", &json!({ "tasks": [second] })).await;
    let (task, new) = accepted(&client.submit(&body).await.members[0]);
    assert_eq!((&task.task, task.state, new), (&second, TaskState::Queued, false));
    let list: MemberList = client.get("batches/one/members").await;
    assert_eq!(list.members[0].task.task, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_changed_by_its_next_submission() {
    let server = TestServer::start();
    let client = server.client();
    let simulations: Vec<Packed> = (1..=3).map(|size| packed(f64::from(size))).collect();
    for simulation in &simulations {
        client.send(simulation.pack()).await;
    }
    let with = |at: usize, width: f64| {
        let mut member = simulations[at].member(&format!("w={width}"), at as u64);
        member["parameters"] = json!({ "width": width, "shape": "slab", "on": at == 0 });
        member
    };
    let mut body = request("scan", vec![with(0, 0.5), with(1, 1.5)]);
    body["tags"] = json!(["paper", "draft"]);
    client.submit(&body).await;
    let mut next = request("scan", vec![with(1, 1.5), with(2, 2.5)]);
    next["submission"] = json!("second");
    next["tags"] = json!(["paper"]);
    client.submit(&next).await;
    let list: MemberList = client.get("batches/scan/members").await;
    let keys: Vec<&str> = list.members.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["w=1.5", "w=2.5"]);
    assert_eq!(list.members[0].parameters["width"], json!(1.5));
    let list: MemberList = client.get("batches/scan/members?limit=1").await;
    let next = list.next.unwrap();
    let list: MemberList = client.get(&format!("batches/scan/members?limit=1&after={next}")).await;
    assert_eq!((list.members[0].key.as_str(), list.next), ("w=2.5", None));

    let count = async |query: &str| {
        let list: TaskList = client.get(&format!("tasks?{query}")).await;
        list.tasks.len()
    };
    assert_eq!(count("batch=scan").await, 2);
    assert_eq!(count("tag=paper").await, 2);
    assert_eq!(count("tag=draft").await, 0);
    assert_eq!(count("name=2.5").await, 1);
    assert_eq!(count("where=width%3E%3D2").await, 1);
    assert_eq!(count("where=width%3E1,shape%3Dslab").await, 2);
    assert_eq!(count("where=shape%21%3Dslab").await, 0);
    let list: TaskList = client.get("tasks?limit=1").await;
    assert!(list.more);
    let rest: TaskList = client.get(&format!("tasks?after={}", list.tasks[0].task)).await;
    assert_eq!((rest.tasks.len(), rest.more), (2, false));
    let list: BatchList = client.get("batches?tag=paper&name=scan").await;
    assert_eq!((list.batches.len(), list.batches[0].members), (1, 2));
    assert_eq!(client.refused(Method::GET, "batches/none/members", vec![]).await.0, 404);
    assert_eq!(client.refused(Method::GET, "tasks?where=width", vec![]).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_tells_of_everything_and_goes_on_where_it_broke_off() {
    let server = TestServer::start();
    let client = server.client();
    let somebody = server.somebody("somebody").await;
    let mut others = somebody.stream("after=0").await;
    assert!(others.next().await.unwrap().events.is_empty());
    let mut stream = client.stream("after=0").await;
    assert!(stream.next().await.unwrap().events.is_empty());
    let task = client.submitted("one", "a", &packed(1.0)).await;
    let until = async |stream: &mut common::native::EventStream, state: TaskState| -> TaskSummary {
        loop {
            let page = stream.next().await.expect("the stream goes on");
            assert!(page.events.iter().all(|event| event.sequence <= page.last));
            if let Some(event) = page.events.into_iter().find(|event| event.task.state == state) {
                return event.task;
            }
        }
    };
    assert_eq!(until(&mut stream, TaskState::Queued).await.task, task.task);
    let at = stream.last_id.clone().unwrap();
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    worker.beat(&assignment, 40.0, 0, &["one"]).await;
    let running = until(&mut stream, TaskState::Running).await;
    let running =
        if running.progress.is_some() { running } else { until(&mut stream, TaskState::Running).await };
    assert_eq!(running.progress.unwrap().percent, 40.0, "progress comes by itself");
    let begun = Instant::now();
    worker.result(&assignment, common::result_file(&[1.0])).await;
    until(&mut stream, TaskState::Success).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    // A second one, from where the first was: the last word about the task, once.
    let answer = client.ask(Method::GET, "events/stream?after=0").header("last-event-id", &at).send().await;
    drop(answer);
    let mut again = client.stream(&format!("after={at}")).await;
    let page = again.next().await.unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.events[0].state, TaskState::Success);
    // Somebody else has heard of nothing but life.
    drop(stream);
    assert!(others.comment().await, "nothing but life");
    assert_eq!(
        client.refused(Method::GET, "events/stream?after=99999999", vec![]).await,
        (410, "events.gone".to_owned())
    );
    assert_eq!(client.refused(Method::GET, "events?after=99999999", vec![]).await.0, 410);
}
