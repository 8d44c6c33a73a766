//! boto3, as the client has it, against a server.

mod common;

use common::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn boto3_agrees() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3_oracle.py");
    let Some(mut oracle) = wavetask_oracle::command(wavetask_oracle::NEWEST, script) else { return };
    let server = TestServer::start();
    let (url, key) = (server.url.clone(), server.key.clone());
    let told = tokio::task::spawn_blocking(move || {
        let mut input = format!("{key}\n").into_bytes();
        input.extend(common::simulation_file(1.0));
        wavetask_oracle::finish(oracle.arg(&url), &input)
    })
    .await
    .unwrap();
    assert!(told.starts_with("boto3 agrees"), "{told}");
}
