//! The ways in which one task ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use wavetask_protocol::ErrorKind;
use wavetask_protocol::worker::{Failure, Verdict};

use crate::scripted_server::{alive, assignment, lock, set};

#[tokio::test]
async fn a_result_is_handed_in_after_its_log() {
    let script = r#"
        test "$(cat "$4")" = "the simulation" || exit 9
        echo '{"is":"progress","percent":50,"residual":0.5,"stage":"halfway"}'
        sleep 0.6
        i=0; while [ $i -lt 2500 ]; do echo "line $i"; i=$((i+1)); done
        echo "result of $8 threads" > "$6""#;
    let setting = set(script, 1, |_| ()).await;
    assert_eq!(setting.result("lease-1").await, b"result of 2 threads\n");
    {
        let script = lock(&setting.shared);
        assert_eq!(script.lines_at_result["lease-1"], 2500);
        assert_eq!(script.log["lease-1"][&2499], "line 2499");
        assert!(script.stages.iter().any(|stage| stage == "halfway"), "{:?}", script.stages);
        assert!(script.failures.is_empty());
    }
    setting.stop().await;
}

#[tokio::test]
async fn each_end_of_a_solver_is_told_as_what_it_is() {
    let script = r#"
        case "$6" in
            *lease-1/*) echo '{"is":"failed","error":{"kind":"solver","code":"heat/mesh","message":"too thin"}}'; exit 3;;
            *lease-2/*) kill -9 $$;;
            *lease-3/*) echo "memory allocation of 99 bytes failed" >&2; kill -ABRT $$;;
            *lease-4/*) exit 0;;
            *lease-5/*) echo "thread 'main' panicked at x.rs" >&2; exit 101;;
        esac"#;
    let setting = set(script, 5, |_| ()).await;
    for (number, kind, code) in [
        (1, ErrorKind::Solver, "heat/mesh"),
        (2, ErrorKind::Infrastructure, "solver.killed"),
        (3, ErrorKind::Resources, "solver.out_of_memory"),
        (4, ErrorKind::Solver, "solver.no_result"),
        (5, ErrorKind::Solver, "solver.crashed"),
    ] {
        match setting.failure(&format!("lease-{number}")).await {
            Failure::Failed { error, log_lines, first_log_line } => {
                assert_eq!((error.kind, error.code.as_str()), (kind, code), "{}", error.message);
                let told = lock(&setting.shared).log.get(&format!("lease-{number}")).map_or(0, BTreeMap::len);
                assert!(told as u64 >= first_log_line && (told > 0 || !log_lines.is_empty()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(lock(&setting.shared).results.is_empty());
    setting.stop().await;
}

#[tokio::test]
async fn an_abort_ends_the_solver_within_a_second() {
    let setting = set(r#"echo $$ > "$6.pid"; echo started; exec sleep 600"#, 1, |_| ()).await;
    let pid_file = setting.folder.path().join("work/lease-1/result.hdf5.pid");
    setting.until("the solver's first line", |script| script.log.get("lease-1")?.get(&0).cloned()).await;
    assert!(alive(&pid_file));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    let asked = Instant::now();
    lock(&setting.shared).verdicts.insert("lease-1".to_owned(), Verdict::Abort);
    assert_eq!(setting.failure("lease-1").await, Failure::Aborted);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    setting.stop().await;
}

#[tokio::test]
async fn a_lost_lease_is_dropped_without_a_word() {
    let setting = set("echo started; exec sleep 600", 1, |script| {
        script.verdicts.insert("lease-1".to_owned(), Verdict::Lost);
    })
    .await;
    let folder = setting.folder.path().join("work/lease-1");
    setting.until("a heartbeat", |script| script.stages.first().cloned()).await;
    let asked = Instant::now();
    while folder.exists() {
        assert!(asked.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The first question is idle, too: it was asked before there was a task.
    setting
        .until("the next question", |script| {
            (script.requests.len() > 1 && script.requests.last()?.idle).then_some(())
        })
        .await;
    assert!(lock(&setting.shared).failures.is_empty());
    setting.stop().await;
}

#[tokio::test]
async fn a_result_outlives_a_server_that_has_trouble() {
    let setting = set(r#"echo "the result" > "$6""#, 1, |script| {
        script.result_statuses.extend([503, 500, 507, 401]);
    })
    .await;
    assert_eq!(setting.result("lease-1").await, b"the result\n");
    assert!(lock(&setting.shared).failures.is_empty());
    setting.stop().await;
}

#[tokio::test]
async fn while_a_result_waits_for_room_no_new_task_is_taken() {
    let setting = set(r#"echo "the result" > "$6""#, 1, |script| {
        script.result_statuses.extend(std::iter::repeat_n(507, 6));
    })
    .await;
    setting.until("a refusal", |script| (script.result_statuses.len() < 6).then_some(())).await;
    // A question that was on its way already is answered within this time.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    lock(&setting.shared).queue.push_back(assignment(2));
    while !lock(&setting.shared).result_statuses.is_empty() {
        assert_eq!(lock(&setting.shared).queue.len(), 1, "task 2 must wait");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    setting.result("lease-1").await;
    setting.result("lease-2").await;
    setting.stop().await;
}

#[tokio::test]
async fn a_result_that_the_server_will_never_take_is_told_as_a_failure() {
    let setting = set(r#"echo x > "$6""#, 2, |script| script.result_statuses.extend([413, 410])).await;
    let failures = setting.until("a failure", |script| script.failures.values().next().cloned()).await;
    assert!(
        matches!(&failures[0], Failure::Failed { error, .. } if error.code == "worker.result_refused"),
        "{failures:?}"
    );
    setting.until("idleness", |script| (script.requests.last()?.idle).then_some(())).await;
    let script_failures = lock(&setting.shared).failures.len();
    assert_eq!(script_failures, 1, "nothing is said about a lease that is gone");
    setting.stop().await;
}

#[tokio::test]
async fn an_input_that_is_gone_ends_the_attempt() {
    let setting = set("exit 0", 1, |script| script.input_status = Some(410)).await;
    setting.until("two questions", |script| (script.requests.len() >= 3).then_some(())).await;
    let script_is_silent = {
        let script = lock(&setting.shared);
        script.failures.is_empty() && script.results.is_empty()
    };
    assert!(script_is_silent);
    setting.stop().await;
}
