//! A server on a real socket that answers as it was told, one answer for each request.
#![allow(clippy::allow_attributes, reason = "which of these lints a test file meets differs")]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test uses a part of this"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wavetask_client::http::{NativeServer, Patience, RetryPolicy, Tuning};

/// What to do about a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status, these header lines and this body.
    Full(u16, &'static str, Vec<u8>),
    /// 200 with so long a body announced, then these bytes and the end of the connection.
    Cut(usize, Vec<u8>),
    /// 200 and pieces of a body without an announced length; the connection ends after the last pause.
    Stream(&'static str, Vec<(Vec<u8>, Duration)>),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// The end of the connection, without a word.
    HangUp,
    /// Nothing at all, for so long.
    Silence(Duration),
}

impl Reply {
    pub fn json(status: u16, body: &str) -> Self {
        Self::Full(status, "content-type: application/json\r\n", body.as_bytes().to_vec())
    }

    pub fn pack(body: Vec<u8>) -> Self {
        Self::Full(200, "content-type: application/x-wavetask-pack\r\n", body)
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method and path with the query.
    pub line: String,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

/// A server with a queue of answers; when it is empty, the last is given again.
#[derive(Debug)]
pub struct Scripted {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let replies: Arc<Mutex<VecDeque<Reply>>> = Arc::new(Mutex::new(replies.into_iter().collect()));
        let own = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&own), Arc::clone(&replies)));
            }
        });
        Self { url, asked, task }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// A client with pauses and waits that suit tests.
    pub fn client(&self) -> NativeServer {
        NativeServer::connect(&self.url, "secret-key", quick()).unwrap()
    }
}

pub fn quick() -> Tuning {
    Tuning {
        patience: Patience {
            connect: Duration::from_secs(2),
            idle: Duration::from_millis(300),
            answer: Duration::from_millis(300),
        },
        retry: RetryPolicy {
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(50),
            patience: Duration::from_secs(3),
            ..RetryPolicy::default()
        },
        ..Tuning::default()
    }
}

async fn connection(
    mut stream: TcpStream,
    asked: Arc<Mutex<Vec<Asked>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(place) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break place + 4;
            }
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => buffer.extend_from_slice(&piece[..length]),
            }
        };
        let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        let head = head.to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse::<usize>().unwrap());
        while buffer.len() < end + length {
            let mut piece = vec![0; 64 << 10];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => buffer.extend_from_slice(&piece[..length]),
            }
        }
        let body = buffer[end..end + length].to_vec();
        buffer.drain(..end + length);
        asked.lock().unwrap().push(Asked { line, head, body });
        let reply = {
            let mut replies = replies.lock().unwrap();
            if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0].clone() }
        };
        match reply {
            Reply::Full(status, headers, body) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
                if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err()
                {
                    return;
                }
            }
            Reply::Cut(length, body) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                _ = stream.write_all(head.as_bytes()).await;
                _ = stream.write_all(&body).await;
                return;
            }
            Reply::Stream(headers, pieces) => {
                let head = format!("HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n");
                _ = stream.write_all(head.as_bytes()).await;
                for (piece, pause) in pieces {
                    if stream.write_all(&piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
                return;
            }
            Reply::Raw(bytes) => {
                _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::HangUp => return,
            Reply::Silence(length) => {
                tokio::time::sleep(length).await;
                return;
            }
        }
    }
}
