//! What all doors share: the stores, the settings, and how to reach them from a request.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wavetask_core::{Command, Effect, Refusal as NotDone, TaskRecord, Timestamp};
use wavetask_document::{Digest, DocumentError};
use wavetask_protocol::{FolderId, KeyId, TaskId, chain};
use wavetask_store::{Applied, ApplyError, BlockStore, DocumentRole, Key, SecretHash, StoreError, TaskStore};

use crate::answer::Refused;
use crate::budget::{Budget, Shares};
use crate::downloads::Downloads;
use crate::kept_blocks::KeptBlocks;
use crate::references::twins::Twins;
use crate::secret::ServerSecret;
use crate::staging::Staging;
use crate::watch::Watch;
use crate::workers::Workers;
use crate::{ServerConfig, Validator};

/// How long a key that was found valid is believed without asking the store.
const KEY_MEMORY: Duration = Duration::from_secs(10);

/// Entries of a memory of things that do not change, before it starts anew.
pub(crate) const REMEMBERED: usize = 10_000;

/// Packs that may come at the same time, from everybody and from one account. Each holds a few megabytes.
const PACKS: usize = 64;
const PACKS_OF_ONE: usize = 16;

/// Permits for packs; they hold next to nothing while they have a core.
const PACKING_MEMORY: u64 = 1 << 30;

/// The server's state, shared by all requests.
pub(crate) struct App {
    pub(crate) config: ServerConfig,
    /// Where clients reach this server, without a slash at the end.
    pub(crate) origin: String,
    pub(crate) tasks: Arc<dyn TaskStore>,
    pub(crate) blocks: Arc<dyn BlockStore>,
    pub(crate) validator: Arc<dyn Validator>,
    pub(crate) secret: ServerSecret,
    pub(crate) staging: Arc<Staging>,
    pub(crate) downloads: Downloads,
    /// Blocks that are asked for again and again.
    pub(crate) kept_blocks: KeptBlocks,
    pub(crate) watch: Arc<Watch>,
    /// Tasks whose inputs turn out to be the same.
    pub(crate) twins: Arc<Twins>,
    pub(crate) workers: Workers,
    pub(crate) started: Timestamp,
    /// The same on the clock that never jumps.
    pub(crate) begun: tokio::time::Instant,
    /// Set once the server has been told to stop.
    pub(crate) stopping: CancellationToken,
    /// Work that goes on when the client that asked for it has gone.
    pub(crate) background: TaskTracker,
    keys: Mutex<HashMap<[u8; 32], (Key, Instant)>>,
    /// How often keys were revoked.
    revocations: tokio::sync::watch::Sender<u64>,
    folder_names: Mutex<HashMap<FolderId, String>>,
    /// The digest of the simulation within a mesher, by the digest of the mesher.
    mesh_simulations: Mutex<HashMap<Digest, Digest>>,
    /// What reading uploads and results may use.
    pub(crate) budget: Budget,
    /// The cores that take packs apart and make them; work of milliseconds, which must not wait for work of seconds.
    pub(crate) packing: Budget,
    /// Packs that come at the same time.
    pub(crate) receiving: Shares,
    /// Those whose connections broke.
    pub(crate) cut_off: Arc<crate::native::CutOffPacks>,
    /// Megabytes of batches whose members are being looked at.
    pub(crate) submitting: Shares,
    /// Arrays whose blocks have been found to be what their descriptors say.
    pub(crate) verified: Mutex<HashSet<Digest>>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The parts that an [`App`] is put together from.
pub(crate) struct Parts {
    pub(crate) config: ServerConfig,
    pub(crate) origin: String,
    pub(crate) tasks: Arc<dyn TaskStore>,
    pub(crate) blocks: Arc<dyn BlockStore>,
    pub(crate) validator: Arc<dyn Validator>,
    pub(crate) secret: ServerSecret,
    pub(crate) staging: Staging,
    pub(crate) watch: Arc<Watch>,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        let submitting = usize::try_from(parts.config.limits.memory_bytes >> 22).unwrap_or(usize::MAX >> 4);
        Self {
            budget: Budget::new(parts.config.limits.memory_bytes, parts.config.cores),
            packing: Budget::new(PACKING_MEMORY, parts.config.cores.max(2)),
            receiving: Shares::new(PACKS, PACKS_OF_ONE),
            cut_off: Arc::default(),
            submitting: Shares::new(submitting, submitting / 2),
            verified: Mutex::default(),
            keys: Mutex::default(),
            revocations: tokio::sync::watch::Sender::new(0),
            folder_names: Mutex::default(),
            mesh_simulations: Mutex::default(),
            workers: Workers::default(),
            started: now(),
            begun: tokio::time::Instant::now(),
            stopping: CancellationToken::new(),
            background: TaskTracker::new(),
            config: parts.config,
            origin: parts.origin,
            tasks: parts.tasks,
            blocks: parts.blocks,
            validator: parts.validator,
            secret: parts.secret,
            staging: Arc::new(parts.staging),
            downloads: Downloads::default(),
            kept_blocks: KeptBlocks::default(),
            watch: parts.watch,
            twins: Arc::default(),
        }
    }

    /// Runs something that may block (the store, the disk) where that harms nobody.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let app = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&app)).await {
            Ok(result) => result,
            Err(error) => Err(Refused::internal(&error)),
        }
    }

    /// The key with this secret.
    pub(crate) async fn key(self: &Arc<Self>, secret: &str) -> Result<Key, Refused> {
        let hash = SecretHash::of(secret);
        if let Some((key, at)) = self.keys().get(hash.as_bytes())
            && at.elapsed() < KEY_MEMORY
        {
            return Ok(key.clone());
        }
        let revocations = *self.revocations.borrow();
        let key = self
            .blocking(move |app| {
                let Some(key) = app.tasks.key_by_secret(&hash)? else { return Err(Refused::no_key()) };
                if let Err(error) = app.tasks.touch_key(&key.id, now()) {
                    tracing::debug!(error = chain(&error), "the use of a key could not be noted");
                }
                Ok(key)
            })
            .await?;
        let mut keys = self.keys();
        keys.retain(|_, (_, at)| at.elapsed() < KEY_MEMORY);
        // What the store said before a revocation is not believed after it.
        if *self.revocations.borrow() == revocations {
            keys.insert(*hash.as_bytes(), (key.clone(), Instant::now()));
        }
        Ok(key)
    }

    /// Forgets which keys are valid: one was revoked.
    pub(crate) fn forget_keys(&self) {
        let mut keys = self.keys();
        self.revocations.send_modify(|count| *count += 1);
        keys.clear();
    }

    /// Tells of every revocation from now on.
    pub(crate) fn revocations(&self) -> tokio::sync::watch::Receiver<u64> {
        self.revocations.subscribe()
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], (Key, Instant)>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a key may still be used, for credentials that were handed out under it.
    pub(crate) fn key_is_valid(&self, id: &KeyId) -> Result<bool, StoreError> {
        if self.keys().values().any(|(key, at)| key.id == *id && at.elapsed() < KEY_MEMORY) {
            return Ok(true);
        }
        Ok(self.tasks.keys()?.iter().any(|key| key.id == *id && key.revoked_at.is_none()))
    }

    /// A task of this key. Another key's looks like one that does not exist.
    pub(crate) fn task_of(&self, key: &KeyId, task: &TaskId) -> Result<TaskRecord, Refused> {
        self.tasks.task_of(key, task)?.ok_or_else(Refused::no_such_task)
    }

    /// The name of a folder of this key; names do not change.
    pub(crate) fn folder_name(&self, key: &KeyId, folder: &FolderId) -> Result<String, Refused> {
        let names = || self.folder_names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names().get(folder) {
            return Ok(name.clone());
        }
        let name = self.tasks.folder(key, folder)?.map_or_else(String::new, |folder| folder.name);
        let mut names = names();
        if names.len() >= REMEMBERED {
            names.clear();
        }
        names.insert(folder.clone(), name.clone());
        Ok(name)
    }

    /// The digest of the simulation within a mesher's upload.
    pub(crate) fn mesh_simulation(&self, task: &TaskId, mesher: &Digest) -> Result<Option<Digest>, Refused> {
        let known = || self.mesh_simulations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known().get(mesher) {
            return Ok(Some(*digest));
        }
        let Some(document) = crate::documents::load(self, task, DocumentRole::Input)? else {
            return Ok(None);
        };
        let internal = |error: DocumentError| Refused::internal(&error);
        let Some(simulation) = document.subdocument("simulation").map_err(internal)? else { return Ok(None) };
        let digest = simulation.digest().map_err(internal)?;
        let mut known = known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(*mesher, digest);
        Ok(Some(digest))
    }

    /// Applies a command, and does what follows from it outside of the store.
    pub(crate) fn apply(&self, task: &TaskId, command: &Command) -> Result<Applied, ApplyError> {
        let applied = self.tasks.apply(task, command, now())?;
        self.carry_out(&applied.effects);
        Ok(applied)
    }

    /// Does what the store leaves to its caller.
    pub(crate) fn carry_out(&self, effects: &[(TaskId, Effect)]) {
        for (task, effect) in effects {
            match effect {
                // The watch hears of events by itself; leases are cancelled at the next heartbeat, which
                // comes within a second.
                // So does whoever resolves tasks.
                Effect::WakeScheduler
                | Effect::Resolve
                | Effect::NotifyDependents(_)
                | Effect::CancelLease { .. } => {}
                Effect::ReleaseEverything => {
                    self.downloads.forget(task);
                    if let Err(error) = self.staging.discard(task) {
                        tracing::warn!(%task, %error, "uploaded files of a deleted task could not be removed");
                    }
                }
                Effect::ReleaseInput | Effect::ReleaseResult => self.downloads.forget(task),
                // Queued by the store in the same transaction; the callback loop looks for them.
                Effect::PostCallback { .. } => self.watch.wake_callbacks(),
                _ => {}
            }
        }
    }
}

/// The time.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_milliseconds(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace { .. } => Self::no_room(),
            StoreError::NotFound(_) => Self::no_such_task(),
            StoreError::Conflict(conflict) => {
                Self::bad_request(conflict.to_string()).hint("change what contradicts")
            }
            StoreError::EventsGone { .. } => Self::events_gone(),
            StoreError::Busy { .. } => Self::busy(),
            error => Self::internal(&error),
        }
    }
}

impl From<ApplyError> for Refused {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::NoSuchTask => Self::no_such_task(),
            ApplyError::Refused(refusal) => Self::from(refusal),
            ApplyError::Store(error) => Self::from(error),
            error => Self::internal(&error),
        }
    }
}

impl From<NotDone> for Refused {
    fn from(refusal: NotDone) -> Self {
        let hint = refusal.hint();
        Self::new(axum::http::StatusCode::CONFLICT, refusal.code(), refusal.to_string()).hint(hint)
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        if crate::disk::is_disk_full(&error) { Self::no_room() } else { Self::internal(&error) }
    }
}
