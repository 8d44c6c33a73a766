//! A worker from its start to its end: what it takes on, what it gives back, what it leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wavetask_protocol::worker::Failure;
use wavetask_worker::{WorkerError, run};

use crate::scripted_server::{Script, Setting, config, lock, set};

#[tokio::test]
async fn no_more_solvers_than_cores_and_they_share_them() {
    let script = r#"
        d=$(dirname "$(dirname "$6")"); touch "$d/run-$$"
        ls "$d" | grep -c run- > "$6.new"; sleep 0.3; echo "$8" >> "$6.new"
        rm "$d/run-$$"; mv "$6.new" "$6""#;
    let setting = set(script, 6, |_| ()).await;
    for number in 1..=6 {
        let text = String::from_utf8(setting.result(&format!("lease-{number}")).await).unwrap();
        let (at_once, threads) = text.trim().split_once('\n').unwrap();
        assert!(at_once.parse::<u32>().unwrap() <= 2, "{text}");
        assert!(["1", "2"].contains(&threads), "{text}");
    }
    let idle = |script: &Script| script.requests.last()?.idle.then_some(script.requests.len());
    let asked = setting.until("idleness", idle).await;
    assert!(asked < 100, "the server was asked {asked} times for 6 tasks");
    setting.stop().await;
}

#[tokio::test]
async fn leaving_gives_tasks_back_and_hands_in_what_is_finished() {
    let script = r#"case "$6" in *lease-1/*) exec sleep 600;; *) echo done > "$6";; esac"#;
    let setting = set(script, 2, |script| script.result_statuses.extend([500, 500])).await;
    setting.until("the first try", |script| (script.result_statuses.len() < 2).then_some(())).await;
    let shared = Arc::clone(&setting.shared);
    let took = setting.stop().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let script = lock(&shared);
    assert_eq!(script.failures["lease-1"], [Failure::Returned]);
    assert_eq!(script.results["lease-2"], b"done\n");
}

#[tokio::test]
async fn leaving_gives_back_what_has_not_set_out_yet() {
    let setting = set("exit 0", 1, |script| script.silent_when_hurried = true).await;
    let asks_again = |script: &Script| (script.requests.last()?.wait_milliseconds == 0).then_some(());
    setting.until("the question for a second task", asks_again).await;
    let shared = Arc::clone(&setting.shared);
    let took = setting.stop().await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(lock(&shared).failures["lease-1"], [Failure::Returned]);
}

#[tokio::test]
async fn a_new_key_is_read_when_the_old_one_is_refused() {
    let setting = set(r#"echo x > "$6""#, 1, |script| script.key = "new".to_owned()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(lock(&setting.shared).requests.is_empty());
    std::fs::write(setting.folder.path().join("worker.key"), "new").unwrap();
    setting.result("lease-1").await;
    setting.stop().await;
}

#[tokio::test]
async fn what_a_dead_worker_left_is_given_back_at_once() {
    let setting = set(r#"echo x > "$6""#, 1, |script| script.result_statuses.push_back(500)).await;
    setting.result("lease-1").await;
    let shared = Arc::clone(&setting.shared);
    let Setting { stop, worker, folder, .. } = setting;
    // A worker that is killed leaves its folders: its task here is dropped without any order.
    worker.abort();
    let _ = worker.await;
    drop(stop);
    let left = folder.path().join("work/lease-dead");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("result.hdf5"), "never synced").unwrap();
    let url = lock(&shared).url.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let config = config(url, folder.path(), "exit 0");
    let worker = tokio::spawn(run(config, async {
        let _ = stopped.await;
    }));
    let setting = Setting { shared, folder, stop: Some(stop), worker };
    let asked = Instant::now();
    assert_eq!(setting.failure("lease-dead").await, Failure::Returned);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(!lock(&setting.shared).results.contains_key("lease-dead"));
    setting.stop().await;
}

#[tokio::test]
async fn two_workers_do_not_share_a_folder_and_leftovers_are_removed() {
    let setting = set("exit 0", 0, |_| ()).await;
    setting.until("a question", |script| script.requests.first().cloned()).await;
    let second = config("http://127.0.0.1:1".to_owned(), setting.folder.path(), "exit 0");
    let left = setting.folder.path().join("work/lease-old");
    std::fs::create_dir(&left).unwrap();
    let refused = run(second.clone(), std::future::ready(())).await;
    assert!(matches!(refused, Err(WorkerError::WorkFolderInUse { .. })), "{refused:?}");
    assert!(left.exists(), "the folder belongs to the first worker");
    let id = std::fs::read_to_string(setting.folder.path().join("work/worker-id")).unwrap();
    let folder = setting.folder.path().to_owned();
    let Setting { stop, worker, folder: kept, .. } = setting;
    stop.unwrap().send(()).unwrap();
    worker.await.unwrap().unwrap();
    let nobody_there = Duration::from_secs(2);
    tokio::time::timeout(nobody_there * 5, run(second, tokio::time::sleep(nobody_there)))
        .await
        .unwrap()
        .unwrap();
    assert!(!left.exists());
    assert_eq!(std::fs::read_to_string(folder.join("work/worker-id")).unwrap(), id, "the id stays");
    drop(kept);
}
