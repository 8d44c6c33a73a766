//! A bad line between a client and a server: requests that are lost, answers that are lost, refusals.
#![allow(clippy::allow_attributes, reason = "which of these lints a test file meets differs")]
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "this is for tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It does not reach the server, and the connection breaks.
    LoseRequest,
    /// The server has done it, and the connection breaks before the answer is there.
    LoseAnswer,
    /// Something on the way says 503.
    Refuse,
    /// As [`Self::LoseAnswer`], and the client never hears of it: the connection stays open.
    Hang,
}

type Rule = Box<dyn FnMut(&str) -> Fault + Send>;

/// Stands between a client and a server.
pub struct Proxy {
    pub url: String,
    /// First lines of all requests, in order.
    pub seen: Arc<Mutex<Vec<String>>>,
    pub bytes_up: Arc<AtomicU64>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Proxy {
    /// Before the server at this address; `rule` says what happens to each request by its first line.
    pub async fn start(server: &str, rule: impl FnMut(&str) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(rule)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let bytes_up = Arc::new(AtomicU64::new(0));
        let listening = tokio::spawn({
            let (seen, bytes_up) = (Arc::clone(&seen), Arc::clone(&bytes_up));
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let (server, rule) = (server.clone(), Arc::clone(&rule));
                    let (seen, bytes_up) = (Arc::clone(&seen), Arc::clone(&bytes_up));
                    tokio::spawn(async move {
                        let _ = carry(client, &server, &rule, &seen, &bytes_up).await;
                    });
                }
            }
        });
        Self { url, seen, bytes_up, listening }
    }

    /// How many requests began so.
    pub fn count(&self, start: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|line| line.starts_with(start)).count()
    }
}

/// One request of one connection.
async fn carry(
    mut client: TcpStream,
    server: &str,
    rule: &Mutex<Rule>,
    seen: &Mutex<Vec<String>>,
    bytes_up: &AtomicU64,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let head = loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..read]);
        if let Some(at) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).into_owned();
    let length: usize = text
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|it| it.trim().parse().unwrap())
        })
        .unwrap_or(0);
    while request.len() < head + length {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..read]);
    }
    bytes_up.fetch_add(request.len() as u64, Ordering::Relaxed);
    let first = text.lines().next().unwrap_or_default().to_owned();
    seen.lock().unwrap().push(first.clone());
    let fault = (rule.lock().unwrap())(&first);
    match fault {
        Fault::LoseRequest => return Ok(()),
        Fault::Refuse => {
            let answer =
                "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbusy";
            return client.write_all(answer.as_bytes()).await;
        }
        Fault::None | Fault::LoseAnswer | Fault::Hang => {}
    }
    let mut upstream = TcpStream::connect(server).await?;
    // One request a connection: the answer ends where the connection does.
    let line_end = text.find("\r\n").unwrap_or(0) + 2;
    upstream.write_all(&request[..line_end]).await?;
    upstream.write_all(b"connection: close\r\n").await?;
    upstream.write_all(&request[line_end..]).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match fault {
        Fault::LoseAnswer => return Ok(()),
        Fault::Hang => {
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}
