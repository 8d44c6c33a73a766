//! What the checks have in common: an account, ids that count up, a clock that is set by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use wavetask_core::schedule::Capacity;
use wavetask_core::{Command, NewTask, TaskRecord, Timestamp};
use wavetask_document::Digest;
use wavetask_protocol::{
    ErrorKind, Estimate, FolderId, KeyId, LeaseId, TaskError, TaskId, TaskKind, TaskState, WorkerId,
};

use crate::model::{
    Applied, DocumentBody, DocumentRole, KeptDocument, KeyRole, SecretHash, StoredDocument, TaskRequest,
};
use crate::task_store::TaskStore;

pub(super) const GIGABYTE: u64 = 1_000_000_000;

/// The version of the solver that these tasks are solved with.
pub(super) const SOLVER: &str = "1.0";

pub(super) struct Fixture {
    pub(super) store: Arc<dyn TaskStore>,
    pub(super) owner: KeyId,
    pub(super) folder: FolderId,
    clock: AtomicI64,
    next: AtomicU64,
}

impl Fixture {
    pub(super) fn new(store: &Arc<dyn TaskStore>) -> Self {
        let owner: KeyId = "key-ada".parse().expect("an id");
        let now = Timestamp::from_milliseconds(1_000_000);
        store
            .create_key(&owner, "ada", KeyRole::User, &SecretHash::of("ada's secret"), now)
            .expect("a key can be made");
        let folder = "folder-default".parse().expect("an id");
        let folder = store.create_folder(&owner, &folder, "default", now).expect("a folder can be made").id;
        let (clock, next) = (AtomicI64::new(1_000_000), AtomicU64::new(1));
        Self { store: Arc::clone(store), owner, folder, clock, next }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_milliseconds(self.clock.load(Ordering::Relaxed))
    }

    pub(super) fn pass(&self, milliseconds: i64) -> Timestamp {
        let before = self.clock.fetch_add(milliseconds, Ordering::Relaxed);
        Timestamp::from_milliseconds(before + milliseconds)
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A second account with a folder of its own.
    pub(super) fn other_account(&self) -> Self {
        let owner: KeyId = "key-bob".parse().expect("an id");
        let now = self.now();
        self.store
            .create_key(&owner, "bob", KeyRole::User, &SecretHash::of("bob's secret"), now)
            .expect("a second key can be made");
        let folder = "folder-bob".parse().expect("an id");
        let folder = self
            .store
            .create_folder(&owner, &folder, "default", now)
            .expect("a second folder can be made")
            .id;
        let clock = AtomicI64::new(now.as_milliseconds());
        Self { store: Arc::clone(&self.store), owner, folder, clock, next: AtomicU64::new(1_000_000) }
    }

    pub(super) fn new_task(&self, name: &str) -> NewTask {
        NewTask {
            id: format!("task-{:08}", self.number()).parse().expect("an id"),
            owner: self.owner.clone(),
            folder: self.folder.clone(),
            name: name.to_owned(),
            kind: TaskKind::HeatCharge,
            dependencies: Vec::new(),
            callback: None,
            attributes: BTreeMap::new(),
        }
    }

    pub(super) fn request(task: NewTask) -> TaskRequest {
        TaskRequest { task, idempotency_key: None }
    }

    pub(super) fn create(&self, task: NewTask) -> TaskRecord {
        let created = self.store.create_task(&Self::request(task), self.now()).expect("a task can be made");
        assert!(created.is_new);
        created.record
    }

    pub(super) fn draft(&self, name: &str) -> TaskId {
        self.create(self.new_task(name)).task.id
    }

    pub(super) fn apply(&self, task: &TaskId, command: &Command) -> Applied {
        self.store
            .apply(task, command, self.now())
            .unwrap_or_else(|error| panic!("{command:?} should be possible: {error}"))
    }

    /// Uploads and validates the task; its input is a document of its own with one block.
    pub(super) fn validate(&self, task: &TaskId, memory_bytes: u64) {
        self.apply(task, &Command::StartValidation);
        let document = document(task.as_str(), &[]);
        let estimate = Estimate { unknowns: 1000, memory_bytes, cpu_seconds: 0.1 };
        let command = Command::AcceptUpload { estimate, input: document.digest };
        self.store
            .apply_with_document(task, &command, &document, self.now())
            .expect("a validated task can be accepted");
    }

    pub(super) fn queue_task(&self, task: NewTask, memory_bytes: u64) -> TaskId {
        let id = self.create(task).task.id;
        self.validate(&id, memory_bytes);
        self.apply(&id, &Command::Submit { priority: 0 });
        id
    }

    pub(super) fn queued(&self, name: &str) -> TaskId {
        self.queue_task(self.new_task(name), GIGABYTE)
    }

    pub(super) fn lease_id(&self) -> LeaseId {
        format!("lease-{:08}", self.number()).parse().expect("an id")
    }

    /// Leases the next task for a worker with plenty of room.
    pub(super) fn lease_any(&self) -> Option<(TaskId, LeaseId)> {
        let worker: WorkerId = "worker-1".parse().expect("an id");
        let capacity = Capacity::new(100 * GIGABYTE, 100 * GIGABYTE, true);
        let lease = self.lease_id();
        let outcome =
            self.store.lease_next(&worker, &lease, &capacity, self.now()).expect("a worker can ask for work");
        outcome.leased.into_iter().next().map(|leased| (leased.record.task.id, leased.lease))
    }

    pub(super) fn running(&self, name: &str) -> (TaskId, LeaseId) {
        let queued = self.queued(name);
        let (task, lease) = self.lease_any().expect("a queued task can be leased");
        assert_eq!(task, queued);
        (task, lease)
    }

    /// The task has this document in this role, which needs its blocks and no others; or none.
    pub(super) fn has_document(&self, task: &TaskId, role: DocumentRole, expected: Option<&StoredDocument>) {
        let kept = self.store.document(task, role).expect("no error");
        assert_eq!(kept, expected.cloned().map(KeptDocument::from), "{role:?} of {task}");
        let stranger = Digest::of(b"what no document needs");
        let mut blocks = vec![stranger];
        blocks.extend(expected.iter().flat_map(|document| &document.blocks));
        let needed = self.store.needed(task, role, &blocks).expect("no error");
        assert_eq!(needed, blocks.iter().map(|&block| block != stranger).collect::<Vec<_>>());
    }

    pub(super) fn publish(&self, task: &TaskId, lease: &LeaseId, document: &StoredDocument) -> Applied {
        self.apply(task, &Command::BeginPublish { lease: lease.clone() });
        let command = Command::Publish {
            lease: lease.clone(),
            result: Some(document.digest),
            diverged: false,
            solver_version: Some(SOLVER.to_owned()),
        };
        self.store
            .apply_with_document(task, &command, document, self.now())
            .expect("a running task can be published")
    }

    pub(super) fn succeeded(&self, name: &str) -> TaskId {
        let (task, lease) = self.running(name);
        self.publish(&task, &lease, &document(&format!("result of {task}"), &[]));
        task
    }

    pub(super) fn record(&self, task: &TaskId) -> TaskRecord {
        self.store.task(task).expect("tasks can be read").expect("the task is there")
    }

    pub(super) fn state(&self, task: &TaskId) -> TaskState {
        self.record(task).state
    }
}

/// A document with a block of its own and others.
pub(super) fn document(text: &str, shared: &[Digest]) -> StoredDocument {
    let mut blocks = vec![Digest::of(text.as_bytes())];
    blocks.extend(shared);
    blocks.sort_unstable();
    StoredDocument {
        digest: Digest::of(format!("canonical {text}").as_bytes()),
        body: DocumentBody::Inline(text.as_bytes().to_vec()),
        body_length: text.len() as u64,
        array_length: 8,
        blocks,
    }
}

pub(super) fn error(kind: ErrorKind) -> TaskError {
    TaskError {
        kind,
        code: "test.failed".to_owned(),
        message: "It failed because a test wanted so.".to_owned(),
    }
}
