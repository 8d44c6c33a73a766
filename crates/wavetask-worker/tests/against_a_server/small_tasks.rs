//! Small tasks, which share processes and requests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wavetask_protocol::worker::{Assignment, Failure, ResultAnswer, Verdict};
use wavetask_protocol::{ErrorKind, Estimate};

use crate::scripted_server::{Script, assignment, lock, set};

/// A solver of small tasks: for each order, finds where the result goes and does what stands in `work`, with
/// `$out` and `$in`; then says that it is done.
fn several(work: &str) -> String {
    format!(
        r#"n=0; while read -r order; do
            out=${{order#*'"output":"'}}; out=${{out%%'"'*}}
            in=${{order#*'"input":"'}}; in=${{in%%'"'*}}
            n=$((n+1)); {work}
            echo '{{"is":"done"}}'
        done"#
    )
}

fn small(number: u32, input: Option<&str>) -> Assignment {
    let estimate = Estimate { unknowns: 10, memory_bytes: 1 << 20, cpu_seconds: 0.01 };
    Assignment { estimate, input: input.map(str::to_owned), ..assignment(number) }
}

#[tokio::test]
async fn small_tasks_share_processes_requests_and_nothing_else() {
    let solved = tempfile::tempdir().unwrap();
    let list = solved.path().join("list");
    let work = several(
        r#"echo "task $n here"; { echo $$; cat "$in"; } > "$out"; echo $n >> LIST"#
            .replace("LIST", list.to_str().unwrap())
            .as_str(),
    );
    let setting = set("exit 9", 0, |script| {
        // "the simulation" in base64 for some; the others have to ask for it.
        let input = |number: u32| (!number.is_multiple_of(3)).then_some("dGhlIHNpbXVsYXRpb24=");
        script.queue = (1..=60).map(|number| small(number, input(number))).collect();
        script.several = Some(work);
        // The first requests are answered when there are more results than they carry.
        script.answers_wait_for = Some((list, 20));
    })
    .await;
    let mut processes = std::collections::BTreeSet::new();
    for number in 1..=60 {
        let result = String::from_utf8(setting.result(&format!("lease-{number}")).await).unwrap();
        let (process, input) = result.split_once('\n').unwrap();
        assert_eq!(input, "the simulation");
        processes.insert(process.to_owned());
    }
    assert!(processes.len() <= 2, "{processes:?}");
    {
        let script = lock(&setting.shared);
        assert!(script.failures.is_empty(), "{:?}", script.failures);
        assert!(script.loads.len() < 60, "{:?}", script.loads);
        assert!(script.log.values().all(|log| log[&0].starts_with("task ")), "{:?}", script.log);
        assert!(script.answered < 60, "{} requests", script.answered);
    }
    setting.stop().await;
    assert!(processes.iter().all(|process| !Path::new("/proc").join(process).exists()));
}

#[tokio::test]
async fn a_crash_is_the_fault_of_one_small_task_only() {
    let work = several(
        r#"case "$out" in
            *lease-3/*) kill -SEGV $$;;
            *lease-5/*) echo '{"is":"failed","error":{"kind":"solver","code":"heat/mesh","message":"too thin"}}'; continue;;
            *lease-7/*) echo "memory allocation of 99 bytes failed" >&2; kill -ABRT $$;;
            *lease-9/*) continue 2>/dev/null; exit 0;;
        esac; echo fine > "$out""#,
    )
    .replace("*lease-9/*) continue 2>/dev/null; exit 0;;", "*lease-9/*) exit 0;;");
    let setting = set("exit 9", 0, |script| {
        script.queue = (1..=20).map(|number| small(number, Some("eA=="))).collect();
        script.several = Some(work);
    })
    .await;
    for (number, kind, code) in [
        (3, ErrorKind::Solver, "solver.crashed"),
        (5, ErrorKind::Solver, "heat/mesh"),
        (7, ErrorKind::Resources, "solver.out_of_memory"),
        (9, ErrorKind::Solver, "solver.no_result"),
    ] {
        match setting.failure(&format!("lease-{number}")).await {
            Failure::Failed { error, .. } => assert_eq!((error.kind, error.code.as_str()), (kind, code)),
            other => panic!("{other:?}"),
        }
    }
    for number in (1..=20).filter(|number| ![3, 5, 7, 9].contains(number)) {
        assert_eq!(setting.result(&format!("lease-{number}")).await, b"fine\n");
    }
    setting.stop().await;
}

#[tokio::test]
async fn small_results_that_are_not_taken_together_go_one_by_one() {
    let setting = set("exit 9", 0, |script| {
        script.queue = (1..=4).map(|number| small(number, Some("eA=="))).collect();
        script.several = Some(several(r#"echo fine > "$out""#));
        script.bulk_failures = 1;
    })
    .await;
    // However they are divided among requests, the first request is refused, and its results get there.
    setting.until("the first results", |script| (script.results.len() == 4).then_some(())).await;
    {
        let mut script = lock(&setting.shared);
        assert_eq!(script.bulk_failures, 0);
        script.bulk_answers =
            [("lease-5".to_owned(), ResultAnswer::Again), ("lease-6".to_owned(), ResultAnswer::Gone)].into();
        script.queue = (5..=8).map(|number| small(number, Some("eA=="))).collect();
    }
    let all_but_one = |script: &Script| script.bulk_answers.is_empty() && script.results.len() == 7;
    setting.until("all results but one", |script| all_but_one(script).then_some(())).await;
    let shared = Arc::clone(&setting.shared);
    setting.stop().await;
    let script = lock(&shared);
    assert!(script.failures.is_empty(), "{:?}", script.failures);
    assert!(!script.results.contains_key("lease-6"), "it was taken from somebody else: not sent again");
}

#[tokio::test]
async fn small_tasks_are_aborted_and_given_back_like_others() {
    let setting = set("exit 9", 0, |script| {
        script.queue = (1..=8).map(|number| small(number, Some("eA=="))).collect();
        script.several = Some(several("echo started; sleep 600"));
        script.verdicts.insert("lease-1".to_owned(), Verdict::Abort);
    })
    .await;
    assert_eq!(setting.failure("lease-1").await, Failure::Aborted);
    let shared = Arc::clone(&setting.shared);
    assert!(setting.stop().await < Duration::from_secs(5));
    let script = lock(&shared);
    let returned = script.failures.values().filter(|said| said[0] == Failure::Returned).count();
    assert_eq!(returned, 7, "{:?}", script.failures);
}
