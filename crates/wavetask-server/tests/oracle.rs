//! boto3, as the client has it, against a server.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn boto3_agrees() {
    let Ok(python) = std::env::var("WAVETASK_TEST_PYTHON") else {
        eprintln!("skipped: WAVETASK_TEST_PYTHON is not set");
        return;
    };
    let server = TestServer::start();
    let (url, key) = (server.url.clone(), server.key.clone());
    let output = tokio::task::spawn_blocking(move || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3_oracle.py");
        let mut child = Command::new(python)
            .args([script, &url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = format!("{key}\n").into_bytes();
        input.extend(common::simulation_file(1.0));
        child.stdin.take().unwrap().write_all(&input).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout.starts_with(b"boto3 agrees"), "{told}");
}
