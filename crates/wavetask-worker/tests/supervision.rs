//! Real child processes: what they say arrives, how they end is told apart, and none is left behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use wavetask_worker::decide::Ended;
use wavetask_worker::process::{Child, Event, Gone, Hygiene, Program, start};

const GIB: u64 = 1 << 30;

async fn shell(script: &str) -> (Child, Receiver<Event>) {
    let program = Program { path: "/bin/sh".into(), arguments: vec!["-c".into()] };
    start(&program, vec![OsString::from(script)], Vec::new(), Hygiene::solver(GIB)).await.unwrap()
}

async fn to_the_end(mut events: Receiver<Event>) -> (Vec<String>, Gone) {
    let mut lines = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap() {
            Event::Line(line) => lines.push(line),
            Event::Ended(gone) => return (lines, gone),
        }
    }
}

fn exists(process: &str) -> bool {
    // A zombie is gone as far as these tests are concerned.
    std::fs::read_to_string(Path::new("/proc").join(process).join("stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

#[tokio::test]
async fn output_exit_code_and_last_words_arrive() {
    let (_child, events) = shell("echo one; echo two; echo 'what went wrong' >&2; exit 7").await;
    let (lines, gone) = to_the_end(events).await;
    assert_eq!(lines, ["one", "two"]);
    assert_eq!(gone.ended, Ended::Exited(7));
    assert_eq!(gone.last_words, "what went wrong\n");
    assert!(gone.peak_bytes > 100_000, "{}", gone.peak_bytes);
}

#[tokio::test]
async fn a_signal_is_told_from_an_exit_code() {
    let (_child, events) = shell("kill -SEGV $$").await;
    assert_eq!(to_the_end(events).await.1.ended, Ended::Signaled(libc::SIGSEGV));
}

#[tokio::test]
async fn a_kill_takes_grandchildren_along_and_is_quick() {
    let (child, mut events) = shell("sleep 600 & echo $!; wait").await;
    let Some(Event::Line(grandchild)) = events.recv().await else { panic!("no line") };
    assert!(exists(&grandchild));
    let asked = Instant::now();
    child.kill();
    let (_, gone) = to_the_end(events).await;
    assert_eq!(gone.ended, Ended::Signaled(libc::SIGKILL));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    for _ in 0..100 {
        if !exists(&grandchild) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the grandchild is still there");
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_open_does_not_hold_up_the_end() {
    let (_child, events) = shell("sleep 600 & exit 0").await;
    assert_eq!(to_the_end(events).await.1.ended, Ended::Exited(0));
}

#[tokio::test]
async fn dropping_the_handle_kills() {
    let (child, events) = shell("exec sleep 600").await;
    drop(child);
    assert_eq!(to_the_end(events).await.1.ended, Ended::Signaled(libc::SIGKILL));
}

#[tokio::test]
async fn a_flood_of_output_is_not_lost_and_does_not_block_the_end() {
    let (_child, events) = shell("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done").await;
    let (lines, gone) = to_the_end(events).await;
    assert_eq!((lines.len(), gone.ended), (5000, Ended::Exited(0)));
}

#[tokio::test]
async fn limits_niceness_and_group_are_set() {
    let script =
        "ulimit -v; ulimit -c; nice; cat /proc/self/oom_score_adj; cut -d' ' -f5 /proc/$$/stat; echo $$";
    let (_child, events) = shell(script).await;
    let (lines, gone) = to_the_end(events).await;
    assert_eq!(gone.ended, Ended::Exited(0), "{}", gone.last_words);
    assert_eq!(lines[0], (GIB / 1024).to_string());
    assert_eq!(lines[1], "0");
    assert!(lines[2].parse::<i32>().unwrap() >= 5, "{}", lines[2]);
    assert_eq!(lines[3], "500");
    assert_eq!(lines[4], lines[5], "it leads its own process group");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_not_a_hang() {
    let program = Program { path: "/nonexistent/solver".into(), arguments: Vec::new() };
    let error = start(&program, Vec::new(), Vec::new(), Hygiene::solver(GIB)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn children_live_on_when_the_runtime_thread_that_asked_for_them_ends() {
    let (child, events) = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(shell("sleep 0.5; echo alive"))
    })
    .join()
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (lines, gone) = runtime.block_on(to_the_end(events));
    drop(child);
    assert_eq!((lines.as_slice(), gone.ended), (&["alive".to_owned()][..], Ended::Exited(0)));
}
