//! Ten thousand members in one batch: how long that takes, and that nobody else waits for it.
//!
//! The figures are printed; the bounds hold for an unoptimised build on a busy machine.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::TestServer;
use common::native::{accepted, packed_of, request};
use serde_json::{Value, json};
use wavetask_protocol::TaskState;
use wavetask_protocol::native::{BatchList, MemberList, TaskAnswers, TaskList, TaskSummary};
use wavetask_protocol::worker::Verdict;

const MEMBERS: u32 = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_members_are_taken_listed_and_deleted_while_others_are_served() {
    let server = TestServer::start();
    let client = server.client();
    let running = server.started().await;
    let worker = server.worker();
    let assignment = worker.lease(Duration::from_secs(5)).await.unwrap();
    // All of them differ in the text and share their array.
    let array = [("sources/0/rate/x", vec![1.0, 2.0, 3.0])];
    client.send(packed_of("{}", &array, 1 << 20).pack()).await;
    let members: Vec<Value> = (0..MEMBERS)
        .map(|at| {
            let json = common::simulation_json(f64::from(at) + 1.5);
            let mut member = packed_of(&json, &array, 1 << 20).member(&format!("m{at}"), at.into());
            member["parameters"] = json!({ "size": at });
            member
        })
        .collect();

    let ended = Arc::new(AtomicBool::new(false));
    let others = async {
        let (mut slowest_beat, mut slowest_door) = (Duration::ZERO, Duration::ZERO);
        while !ended.load(Ordering::Relaxed) {
            let begun = Instant::now();
            assert_eq!(worker.beat(&assignment, 50.0, 0, &[]).await, Verdict::Continue);
            slowest_beat = slowest_beat.max(begun.elapsed());
            let begun = Instant::now();
            server.get(&format!("/tidy3d/tasks/{running}/progress")).await;
            slowest_door = slowest_door.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (slowest_beat, slowest_door)
    };
    let submitting = async {
        let begun = Instant::now();
        for (part, members) in members.chunks(1000).enumerate() {
            let mut body = request("many", members.to_vec());
            body["complete"] = json!(part == 9);
            let answer = client.submit(&body).await;
            assert!(answer.members.iter().all(|one| accepted(one).0.state == TaskState::Queued));
        }
        let took = begun.elapsed();
        ended.store(true, Ordering::Relaxed);
        took
    };
    let ((slowest_beat, slowest_door), took) = tokio::join!(others, submitting);
    println!(
        "{MEMBERS} members submitted in {took:?}; slowest heartbeat {slowest_beat:?}, tidy3d door {slowest_door:?}"
    );
    // A third of a lease: whoever waits longer than that on a machine of any speed has been starved.
    assert!(slowest_beat < Duration::from_secs(10) && slowest_door < Duration::from_secs(10));

    let begun = Instant::now();
    let text =
        client.ask(reqwest::Method::GET, "batches/many/members").send().await.unwrap().text().await.unwrap();
    let listed = begun.elapsed();
    let list: MemberList = serde_json::from_str(&text).unwrap();
    println!("listed in {listed:?}, {} bytes", text.len());
    assert_eq!(list.members.len(), MEMBERS as usize);
    // How long a hundred of them take one by one says how fast this machine is now.
    let begun = Instant::now();
    for member in list.members.iter().take(100) {
        let _: TaskSummary = client.get(&format!("tasks/{}", member.task.task)).await;
    }
    let hundred = begun.elapsed();
    println!("100 asked for one by one in {hundred:?}");
    assert!(listed < 20 * hundred, "{listed:?}: as slow as asking for each");
    assert!(cfg!(debug_assertions) || listed < Duration::from_millis(500), "{listed:?}");
    let begun = Instant::now();
    let list: BatchList = client.get("batches").await;
    assert_eq!(list.batches[0].members, u64::from(MEMBERS));
    println!("batches listed in {:?}", begun.elapsed());
    let begun = Instant::now();
    let list: TaskList = client.get("tasks?batch=many&where=size%3E%3D9990").await;
    assert_eq!(list.tasks.len(), 10);
    println!("found by parameter in {:?}", begun.elapsed());

    // The same again: nothing is new, and it is quick.
    let begun = Instant::now();
    let answer = client.submit(&request("many", members[..1000].to_vec())).await;
    assert!(answer.members.iter().all(|one| !accepted(one).1));
    println!("1000 repeated in {:?}", begun.elapsed());
    let tasks: Vec<_> = answer.members.iter().map(|one| accepted(one).0.task).collect();
    let mut took = std::collections::BTreeMap::new();
    for action in ["status", "cancel", "delete"] {
        let begun = Instant::now();
        let answers: TaskAnswers = client.post(&format!("tasks/{action}"), &json!({ "tasks": tasks })).await;
        assert_eq!(answers.tasks.len(), 1000);
        println!("1000 × {action} in {:?}", begun.elapsed());
        took.insert(action, begun.elapsed());
    }
    // An end must not look at all that is queued; a deletion never did, and does more.
    assert!(took["cancel"] < 3 * took["delete"], "{took:?}");
    // The stream tells all of it in few words.
    let begun = Instant::now();
    let mut stream = client.stream("after=0").await;
    let (mut pages, mut events) = (0, 0);
    loop {
        let page = stream.next().await.unwrap();
        pages += 1;
        events += page.events.len();
        if page.last >= answer.last_event && page.events.len() < 1000 {
            break;
        }
    }
    println!("everything told again in {:?}: {events} events, {pages} pages", begun.elapsed());
}
