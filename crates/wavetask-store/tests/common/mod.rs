//! What the tests of this crate have in common.

#![allow(dead_code, clippy::allow_attributes, reason = "each test uses some of it, and all of it is used")]

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use wavetask_core::{Command, NewTask, Timestamp};
use wavetask_document::{ArrayDescriptor, Digest, Document, ElementType, Layout};
use wavetask_protocol::{Estimate, FolderId, KeyId, LeaseId, TaskId, TaskKind};
use wavetask_store::{
    ApplyError, BlockSession, BlockStore, DocumentRole, LocalOptions, LocalStore, Result, StoreError,
    StoredDocument, TaskRequest, TaskStore, get_document, put_document,
};

/// A folder that vanishes with the value: in memory where the system has such a place, because what these
/// tests look at does not depend on how long a disk takes to sync. `WAVETASK_TEST_FOLDER` names another place.
pub(crate) fn folder() -> TempDir {
    if let Some(place) = std::env::var_os("WAVETASK_TEST_FOLDER") {
        return tempfile::tempdir_in(place).expect("WAVETASK_TEST_FOLDER is a folder");
    }
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder can be made")
}

pub(crate) fn options() -> LocalOptions {
    LocalOptions { reserve: 0, ..LocalOptions::default() }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    Timestamp::from_milliseconds(i64::try_from(since.as_millis()).expect("the clock is set"))
}

/// An account with a folder in a store.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) owner: KeyId,
    pub(crate) folder: FolderId,
}

impl Account {
    pub(crate) fn new(store: &LocalStore) -> Result<Self> {
        let owner: KeyId = "key-ada".parse().expect("an id");
        let folder = "folder-ada".parse().expect("an id");
        let folder = store.tasks.create_folder(&owner, &folder, "default", now())?.id;
        Ok(Self { owner, folder })
    }

    pub(crate) fn create(&self, store: &LocalStore, id: &str) -> Result<TaskId> {
        let task = NewTask {
            id: id.parse().expect("an id"),
            owner: self.owner.clone(),
            folder: self.folder.clone(),
            name: format!("the task {id}"),
            kind: TaskKind::HeatCharge,
            dependencies: Vec::new(),
            callback: None,
            attributes: BTreeMap::new(),
        };
        let request = TaskRequest { task, idempotency_key: Some(id.to_owned()) };
        Ok(store.tasks.create_task(&request, now())?.record.task.id)
    }
}

/// Puts a document with arrays of these blocks into a session, and makes it durable.
pub(crate) fn put(session: &mut dyn BlockSession, text: &str, blocks: &[Vec<u8>]) -> Result<StoredDocument> {
    let mut arrays = BTreeMap::new();
    for (number, block) in blocks.iter().enumerate() {
        let digest = session.put(block).map_err(|error| StoreError::from_io("put blocks", error))?;
        let array = ArrayDescriptor {
            element_type: ElementType::Uint8,
            shape: vec![block.len() as u64],
            byte_length: block.len() as u64,
            digest,
            layout: Layout::Linear { block_bytes: 1 << 20 },
            blocks: vec![digest],
        };
        arrays.insert(format!("data/{number}"), array);
    }
    let document = Document { json: text.into(), arrays };
    let stored = put_document(session, &document, Digest::of(text.as_bytes()))?;
    session.make_durable()?;
    Ok(stored)
}

/// From draft to queued, with an input of these blocks.
pub(crate) fn submit(store: &LocalStore, task: &TaskId, blocks: &[Vec<u8>]) -> Result<(), ApplyError> {
    store.tasks.apply(task, &Command::StartValidation, now())?;
    let mut session = store.blocks.session();
    let document = put(&mut *session, &format!("input of {task}"), blocks)?;
    let estimate = Estimate { unknowns: 1, memory_bytes: 1, cpu_seconds: 0.1 };
    let command = Command::AcceptUpload { estimate, input: document.digest };
    store.tasks.apply_with_document(task, &command, &document, now())?;
    drop(session);
    store.tasks.apply(task, &Command::Submit { priority: 0 }, now())?;
    Ok(())
}

/// From running to success, with a result of these blocks.
pub(crate) fn publish(
    store: &LocalStore,
    task: &TaskId,
    lease: &LeaseId,
    blocks: &[Vec<u8>],
) -> Result<(), ApplyError> {
    store.tasks.apply(task, &Command::BeginPublish { lease: lease.clone() }, now())?;
    let mut session = store.blocks.session();
    let document = put(&mut *session, &format!("result of {task}"), blocks)?;
    let command = Command::Publish {
        lease: lease.clone(),
        result: Some(document.digest),
        diverged: false,
        solver_version: None,
    };
    store.tasks.apply_with_document(task, &command, &document, now())?;
    Ok(())
}

/// All bytes of a document of a task, verified.
pub(crate) fn read(store: &LocalStore, task: &TaskId, role: DocumentRole) -> Option<Vec<u8>> {
    let stored = store.tasks.document(task, role).expect("documents can be read")?;
    let document = get_document(&*store.blocks, &stored).expect("the document is whole");
    let mut whole = Vec::new();
    let mut buffer = Vec::new();
    for digest in document.arrays.values().flat_map(|array| &array.blocks) {
        wavetask_document::BlockSource::get(&*store.blocks, digest, &mut buffer)
            .unwrap_or_else(|error| panic!("the block {digest} of {task} is not there: {error}"));
        whole.extend_from_slice(&buffer);
    }
    Some(whole)
}

/// Numbers that look random and are the same every time (a linear congruential generator).
#[derive(Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(crate) fn block(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.below(256)).expect("a byte")).collect()
    }
}
