//! Opening a server and running it until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use wavetask_core::Policy;
use wavetask_protocol::KeyId;
use wavetask_store::{BlockStore, EventListener, KeyRole, LocalOptions, LocalStore, SecretHash, TaskStore};

use crate::activity::{self, Activity, Requests};
use crate::answer::Refused;
use crate::app::{App, Parts, now};
use crate::secret::{self, ServerSecret};
use crate::staging::Staging;
use crate::watch::Watch;
use crate::{
    ADDRESS_FILE, KEY_FILE, ServerConfig, ServerError, Validator, WORKER_KEY_FILE, callback, care,
    connection, disk, native, references, s3, tidy3d, workers,
};

/// Folder of uploads within the data folder.
const UPLOADS: &str = "uploads";

/// The free space that is kept back is at most this part of the file system.
const RESERVED_SHARE: u64 = 16;

/// A server that listens; it answers once [`Server::run`] is polled.
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    requests: Arc<Requests>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the data folder, mends what an earlier run left unfinished, and listens.
    ///
    /// Blocks for the time that takes.
    ///
    /// # Errors
    /// [`ServerError::Store`] if the data folder is in use, too new or unusable, [`ServerError::DataFolder`]
    /// if a file in it is, [`ServerError::Listen`] if the address is.
    pub fn open(mut config: ServerConfig, validator: Arc<dyn Validator>) -> Result<Self, ServerError> {
        // The folder first: it keeps two servers apart before either has touched anything.
        create_folder(&config.data_folder)?;
        // What is plenty on a small disk would be all of it.
        let share = disk::total_bytes(&config.data_folder)
            .map_err(|source| ServerError::DataFolder { path: config.data_folder.clone(), source })?
            / RESERVED_SHARE;
        config.limits.reserve_bytes = config.limits.reserve_bytes.min(share);
        let options = LocalOptions {
            policy: Policy { lease_length: config.lease, ..Policy::default() },
            reserve: config.limits.reserve_bytes,
            ..LocalOptions::default()
        };
        let LocalStore { tasks, blocks, .. } = LocalStore::open(&config.data_folder, &options)?;
        let (tasks, blocks): (Arc<dyn TaskStore>, Arc<dyn BlockStore>) = (tasks, blocks);
        let uploads = config.data_folder.join(UPLOADS);
        let staging = Staging::open(uploads.clone(), config.limits.reserve_bytes)
            .map_err(|source| ServerError::DataFolder { path: uploads, source })?;

        ensure_key(&*tasks, &config.data_folder.join(KEY_FILE), "administrator", KeyRole::Administrator)?;
        ensure_key(&*tasks, &config.data_folder.join(WORKER_KEY_FILE), "worker", KeyRole::Worker)?;
        let random = secret::random_text()?;
        let secret = ServerSecret::new(&tasks.setting_or_insert("server.secret", random.as_bytes())?);

        let listen_error = |source| ServerError::Listen { address: config.listen, source };
        let listener = std::net::TcpListener::bind(config.listen).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "LISTENING BEYOND THIS MACHINE WITHOUT TLS: keys, simulations and results can be read and \
                 changed by anybody on the way. Put a TLS proxy in front, or listen on 127.0.0.1."
            );
        }

        let watch = Arc::new(Watch::default());
        let listener_of_events: Arc<dyn EventListener> = Arc::<Watch>::clone(&watch);
        tasks.subscribe(&listener_of_events);
        let app = App::new(Parts {
            origin: format!("http://{address}"),
            config,
            tasks,
            blocks,
            validator,
            secret,
            staging,
            watch,
        });
        care::recover(&app)?;
        let address_file = app.config.data_folder.join(ADDRESS_FILE);
        secret::write_private(&address_file, &format!("{}\n", reachable(address)))
            .map_err(|source| ServerError::DataFolder { path: address_file, source })?;
        Ok(Self { listener, address, app: Arc::new(app), requests: Arc::new(Requests::new()) })
    }

    /// The address that it listens on, with the port that was really taken.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Tells, while it runs, whether anybody needs it.
    pub fn activity(&self) -> Activity {
        Activity { requests: Arc::clone(&self.requests), tasks: Arc::clone(&self.app.tasks) }
    }

    /// Serves until `shutdown` is ready, then lets requests in flight finish.
    ///
    /// # Errors
    /// If the listening socket fails for good.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let Self { listener, address, app, requests } = self;
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| ServerError::Listen { address, source })?;
        let care = [
            tokio::spawn(care::expire_leases(Arc::clone(&app))),
            tokio::spawn(care::collect_garbage(Arc::clone(&app))),
            tokio::spawn(care::clear_uploads(Arc::clone(&app))),
            tokio::spawn(callback::run(Arc::clone(&app))),
            tokio::spawn(references::resolve::run(Arc::clone(&app))),
        ];
        let watch = Arc::clone(&app.watch);
        let stopping = {
            let app = Arc::clone(&app);
            async move {
                shutdown.await;
                tracing::info!("stopping");
                app.stopping.cancel();
                app.watch.release_all();
            }
        };
        let limits = app.config.limits.clone();
        let on_close = Arc::new(move |id| watch.forget(id));
        let counted = axum::middleware::from_fn_with_state(requests, activity::count);
        connection::serve(listener, router(&app).layer(counted), &limits, on_close, stopping).await;
        for task in care {
            task.abort();
            // Ended by the abort, which is what was asked for.
            let _ = task.await;
        }
        app.background.close();
        if tokio::time::timeout(connection::GRACE, app.background.wait()).await.is_err() {
            tracing::warn!(
                "an upload was still being checked; that will begin anew when it is asked for again"
            );
        }
        if let Err(error) = std::fs::remove_file(app.config.data_folder.join(ADDRESS_FILE)) {
            tracing::debug!(%error, "the address file could not be removed");
        }
        Ok(())
    }
}

/// Makes a folder that only its owner may enter.
fn create_folder(path: &Path) -> Result<(), ServerError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| ServerError::DataFolder { path: path.to_owned(), source })
}

/// Where a client on this machine reaches a server that listens on this address.
fn reachable(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            format!("http://127.0.0.1:{}", address.port())
        }
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            format!("http://[::1]:{}", address.port())
        }
        address => format!("http://{address}"),
    }
}

/// Makes the key in a file known to the store, and the file if there is none.
///
/// The file comes first and the store second, so that a crash in between leaves a key that the next start
/// makes known. A file that was deleted is made anew with a new key; the old one is revoked by hand.
fn ensure_key(tasks: &dyn TaskStore, path: &Path, name: &str, role: KeyRole) -> Result<(), ServerError> {
    let secret = secret::load_or_create(path)?;
    let hash = SecretHash::of(&secret);
    if tasks.key_by_secret(&hash)?.is_none() {
        // A key that was revoked stays so: its file must go before a new one is made.
        let id = KeyId::from_uuid(uuid::Uuid::now_v7());
        tasks.create_key(&id, name, role, &hash, now())?;
    }
    Ok(())
}

fn router(app: &Arc<App>) -> Router {
    let s3 = s3::service(app);
    Router::new()
        .merge(tidy3d::routes())
        .merge(workers::routes())
        .merge(references::reading::routes())
        .merge(if app.config.native_api { native::routes() } else { Router::new() })
        .method_not_allowed_fallback(async || {
            Refused::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "request.method",
                "this address does not take this method",
            )
            .hint("/api/v1/openapi.json lists what there is")
        })
        .fallback(async move |request: Request| -> Response {
            if s3::is_s3_path(request.uri().path()) {
                s3::handle(s3, request).await
            } else {
                Refused::new(StatusCode::NOT_FOUND, "request.path", "there is nothing at this address")
                    .hint("/api/v1/openapi.json lists what there is")
                    .into_response()
            }
        })
        .with_state(Arc::clone(app))
}
