//! Checks in Python: results load in the clients, and scenes agree with another method.
//!
//! `WAVETASK_TEST_PYTHON` and `WAVETASK_TEST_PYTHON_OLD` name the interpreters with the newest and an older client.

use std::path::PathBuf;

fn run(variable: &str, script: &str) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let Some(mut oracle) = wavetask_oracle::command(variable, script) else { return };
    let test_program = std::env::current_exe().expect("the path of this program");
    let profile = test_program.ancestors().nth(2).expect("the folder of the build");
    let solver = profile.join("examples").join(format!("heat_solve{}", std::env::consts::EXE_SUFFIX));
    assert!(solver.exists(), "{} is missing: cargo builds it with the tests", solver.display());
    eprintln!("{}", wavetask_oracle::finish(oracle.arg(solver), b""));
}

#[test]
fn results_load_in_the_newest_client() {
    run("WAVETASK_TEST_PYTHON", "clients.py");
}

#[test]
fn results_load_in_an_older_client() {
    run("WAVETASK_TEST_PYTHON_OLD", "clients.py");
}

#[test]
fn scenes_without_closed_forms_agree_with_finite_volumes() {
    run("WAVETASK_TEST_PYTHON", "oracle.py");
}
