//! Checks in Python: results load in the clients, and scenes agree with another method.
//!
//! `WAVETASK_TEST_PYTHON` and `WAVETASK_TEST_PYTHON_OLD` name the interpreters with the newest and an older client.

use std::path::PathBuf;
use std::process::Command;

fn run(variable: &str, script: &str) {
    let Ok(python) = std::env::var(variable) else {
        eprintln!("skipped: {variable} is not set");
        return;
    };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let test_program = std::env::current_exe().expect("the path of this program");
    let profile = test_program.ancestors().nth(2).expect("the folder of the build");
    let solver = profile.join("examples").join(format!("heat_solve{}", std::env::consts::EXE_SUFFIX));
    assert!(solver.exists(), "{} is missing: cargo builds it with the tests", solver.display());
    let output = Command::new(python)
        .arg(folder.join(script))
        .arg(solver)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TIDY3D_LOCAL_CACHE__ENABLED", "false")
        .output()
        .expect("Python starts");
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
