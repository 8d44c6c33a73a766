//! A real server with a real store in a temporary folder, on threads of its own.
#![allow(clippy::allow_attributes, reason = "which of these lints a file meets differs")]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "tests and examples use this"
)]

use std::net::SocketAddr;
use std::sync::Arc;

use wavetask_document::ArraySource;
use wavetask_protocol::{Estimate, TaskKind};
use wavetask_server::{KEY_FILE, Refusal, Server, ServerConfig, Validator};

/// Accepts everything: what is sent is not the subject.
struct AcceptAll;

impl Validator for AcceptAll {
    fn validate(&self, _: TaskKind, _: &str, _: &dyn ArraySource) -> Result<Estimate, Vec<Refusal>> {
        Ok(Estimate { unknowns: 1, memory_bytes: 1 << 20, cpu_seconds: 0.1 })
    }

    fn solver_version(&self, _: TaskKind) -> String {
        "test 1".to_owned()
    }
}

/// A server that runs until it is dropped.
pub struct RealServer {
    pub address: SocketAddr,
    pub key: String,
    folder: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RealServer {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::new(folder.path().join("data"));
        config.listen.set_port(0);
        config.limits.reserve_bytes = 1 << 20;
        let data = config.data_folder.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = Server::open(config, Arc::new(AcceptAll)).unwrap();
                tell.send(server.local_address()).unwrap();
                server
                    .run(async {
                        _ = stopped.await;
                    })
                    .await
                    .unwrap();
            });
        });
        let address = told.recv().unwrap();
        let key = std::fs::read_to_string(data.join(KEY_FILE)).unwrap().trim().to_owned();
        Self { address, key, folder, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
