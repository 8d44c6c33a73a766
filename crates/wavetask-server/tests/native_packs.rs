//! Packs whose connection breaks go on at the byte where they stopped.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod common;

use std::time::Duration;

use common::TestServer;
use common::native::{Client, pack_of, read};
use reqwest::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wavetask_protocol::native::{PackAnswer, PackHeld};

/// Sends a pack from this byte, but not to its end.
async fn send(server: &TestServer, pack: &[u8], name: &str, from: usize, to: usize) -> TcpStream {
    let mut line = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST /api/v1/blocks?pack={name}&offset={from} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-length: {}\r\n\r\n",
        server.key,
        pack.len() - from
    );
    line.write_all(head.as_bytes()).await.unwrap();
    line.write_all(&pack[from..to]).await.unwrap();
    line
}

async fn held(client: &Client<'_>, name: &str) -> usize {
    // What was sent is on its way for a moment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held: PackHeld = client.get(&format!("packs/{name}")).await;
    usize::try_from(held.bytes).unwrap()
}

fn noise(blocks: u8) -> Vec<u8> {
    let block = |number: u8| {
        let mut bytes = vec![0; 100_000];
        blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut bytes);
        bytes
    };
    pack_of(&(0..blocks).map(block).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_goes_on_at_the_byte_where_it_stopped() {
    let server = TestServer::start();
    let client = server.client();
    let pack = noise(10);

    // The connection breaks in the middle of a block, twice.
    drop(send(&server, &pack, "a1", 0, 450_000).await);
    assert_eq!(held(&client, "a1").await, 450_000);
    drop(send(&server, &pack, "a1", 450_000, 460_000).await);
    assert_eq!(held(&client, "a1").await, 460_000);
    let path = "blocks?pack=a1&offset=460000";
    let rest = client.ask(Method::POST, path).body(pack[460_000..].to_vec()).send().await.unwrap();
    let whole: PackAnswer = read("the rest", rest).await;
    assert_eq!((whole.blocks, whole.bytes), (10, 1_000_000), "all of it, in however many parts it came");

    // An answer that did not come through can be had again.
    let path = format!("blocks?pack=a1&offset={}", held(&client, "a1").await);
    let again: PackAnswer = read("nothing", client.ask(Method::POST, &path).send().await.unwrap()).await;
    assert_eq!(again, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_need_not_wait_for_its_dead_connection() {
    let server = TestServer::start();
    let client = server.client();
    let pack = noise(3);
    let line = send(&server, &pack, "b2", 0, 150_000).await;
    assert_eq!(held(&client, "b2").await, 150_000);
    let rest = client.ask(Method::POST, "blocks?pack=b2&offset=150000").body(pack[150_000..].to_vec());
    let whole: PackAnswer = read("the rest", rest.send().await.unwrap()).await;
    assert_eq!(whole.blocks, 3);
    drop(line);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_held_is_said_to_be_so() {
    let server = TestServer::start();
    let client = server.client();
    let pack = noise(3);
    let not_held = (404, "pack.not_held".to_owned());
    drop(send(&server, &pack, "c3", 0, 150_000).await);
    held(&client, "c3").await;
    let somebody = server.somebody("somebody").await;
    assert_eq!(somebody.refused(Method::GET, "packs/c3", vec![]).await, not_held, "another account's");
    assert_eq!(client.refused(Method::GET, "packs/other", vec![]).await, not_held);
    let elsewhere = "blocks?pack=c3&offset=149999";
    assert_eq!(client.refused(Method::POST, elsewhere, pack[149_999..].to_vec()).await, not_held);
    assert_eq!(client.refused(Method::POST, "blocks?offset=10", pack[10..].to_vec()).await, not_held);
    // From its beginning it can be sent at any time.
    let whole = client.ask(Method::POST, "blocks?pack=c3").body(pack.clone()).send().await.unwrap();
    assert_eq!(read::<PackAnswer>("the whole", whole).await.blocks, 3);
    for bad in ["", "a%2Fb", &"a".repeat(65)] {
        let path = format!("blocks?pack={bad}");
        assert_eq!(client.refused(Method::POST, &path, pack.clone()).await.0, 400, "{bad}");
    }
}
