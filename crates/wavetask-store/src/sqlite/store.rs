//! The trait, in terms of what the other modules of this folder do.

use std::collections::HashMap;
use std::sync::Arc;

use wavetask_core::schedule::Capacity;
use wavetask_core::{Command, TaskRecord, Timestamp};
use wavetask_document::Digest;
use wavetask_protocol::native::{Quota, Usage};
use wavetask_protocol::worker::{SmallTasks, Verdict};
use wavetask_protocol::{FolderId, KeyId, LeaseId, TaskId, WorkerId};

use super::SqliteTaskStore;
use crate::batch::{BatchFilter, BatchMember, BatchRecord};
use crate::error::{ApplyError, Result};
use crate::model::{
    Applied, Callback, CreatedTask, Cursor, DocumentRole, EventListener, Folder, HeartbeatReport,
    KeptDocument, Key, KeyRole, LeaseOutcome, LogPage, LoggedEvent, Recovery, SecretHash, Statistics,
    StoredDocument, TaskFilter, TaskPage, TaskRequest,
};
use crate::operation::{Done, Operation};
use crate::task_store::TaskStore;

impl TaskStore for SqliteTaskStore {
    fn create_key(
        &self,
        id: &KeyId,
        name: &str,
        role: KeyRole,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<Key> {
        self.insert_key(id, name, role, secret, now)
    }

    fn key_by_secret(&self, secret: &SecretHash) -> Result<Option<Key>> {
        self.find_key(secret)
    }

    fn keys(&self) -> Result<Vec<Key>> {
        self.list_keys()
    }

    fn revoke_key(&self, id: &KeyId, now: Timestamp) -> Result<bool> {
        self.end_key(id, now)
    }

    fn touch_key(&self, id: &KeyId, now: Timestamp) -> Result<()> {
        self.note_use(id, now)
    }

    fn set_quota(&self, id: &KeyId, quota: Quota) -> Result<bool> {
        self.change_quota(id, quota)
    }

    fn usage(&self, owner: &KeyId) -> Result<Usage> {
        self.read_usage(owner)
    }

    fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        self.insert_setting(name, value)
    }

    fn create_folder(&self, owner: &KeyId, id: &FolderId, name: &str, now: Timestamp) -> Result<Folder> {
        self.insert_folder(owner, id, name, now)
    }

    fn folder_by_name(&self, owner: &KeyId, name: &str) -> Result<Option<Folder>> {
        self.find_folder(owner, name)
    }

    fn folder(&self, owner: &KeyId, id: &FolderId) -> Result<Option<Folder>> {
        self.read_folder(owner, id)
    }

    fn folders(&self, owner: &KeyId) -> Result<Vec<Folder>> {
        self.list_folders(owner)
    }

    fn delete_folder(&self, owner: &KeyId, id: &FolderId, now: Timestamp) -> Result<Vec<Applied>> {
        self.remove_folder(owner, id, now)
    }

    fn create_task(&self, request: &TaskRequest, now: Timestamp) -> Result<CreatedTask> {
        self.insert_task(request, now)
    }

    fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>> {
        self.find_task(id, None)
    }

    fn task_of(&self, owner: &KeyId, id: &TaskId) -> Result<Option<TaskRecord>> {
        self.find_task(id, Some(owner))
    }

    fn task_by_lease(&self, lease: &LeaseId) -> Result<Option<TaskRecord>> {
        self.find_by_lease(lease, false)
    }

    fn task_by_any_lease(&self, lease: &LeaseId) -> Result<Option<TaskRecord>> {
        self.find_by_lease(lease, true)
    }

    fn list_tasks(&self, filter: &TaskFilter, after: Option<&Cursor>, limit: usize) -> Result<TaskPage> {
        self.find_tasks(filter, after, limit)
    }

    fn tasks_by_idempotency(&self, owner: &KeyId, keys: &[String]) -> Result<HashMap<String, TaskRecord>> {
        self.find_by_idempotency(owner, keys)
    }

    fn solved_tasks(
        &self,
        owner: &KeyId,
        input: &Digest,
        solver_version: &str,
        limit: usize,
    ) -> Result<Vec<TaskRecord>> {
        self.find_solved(owner, input, solver_version, limit)
    }

    fn unfinished_tasks(&self, owner: &KeyId, input: &Digest, limit: usize) -> Result<Vec<TaskRecord>> {
        self.find_unfinished(owner, input, limit)
    }

    fn unresolved_tasks(&self, limit: usize) -> Result<Vec<TaskRecord>> {
        self.find_unresolved(limit)
    }

    fn transact(&self, operations: &[Operation], now: Timestamp) -> Result<Vec<Result<Done, ApplyError>>> {
        self.apply_operations(operations, now)
    }

    fn batches(&self, owner: &KeyId, filter: &BatchFilter, limit: usize) -> Result<Vec<BatchRecord>> {
        self.list_batches(owner, filter, limit)
    }

    fn batch_members(
        &self,
        owner: &KeyId,
        name: &str,
        after: Option<&(u64, String)>,
        limit: usize,
    ) -> Result<Vec<(BatchMember, TaskRecord)>> {
        self.list_members(owner, name, after, limit)
    }

    fn apply(&self, id: &TaskId, command: &Command, now: Timestamp) -> Result<Applied, ApplyError> {
        self.apply_command(id, command, None, now)
    }

    fn apply_with_document(
        &self,
        id: &TaskId,
        command: &Command,
        document: &StoredDocument,
        now: Timestamp,
    ) -> Result<Applied, ApplyError> {
        self.apply_command(id, command, Some(document), now)
    }

    fn delete_old(
        &self,
        owner: &KeyId,
        folder: &FolderId,
        created_before: Timestamp,
        now: Timestamp,
    ) -> Result<u64> {
        self.remove_old(owner, folder, created_before, now)
    }

    fn lease_several(
        &self,
        worker: &WorkerId,
        leases: &[LeaseId],
        capacity: &Capacity,
        small: Option<&SmallTasks>,
        now: Timestamp,
    ) -> Result<LeaseOutcome> {
        self.lease(worker, leases, capacity, small, now)
    }

    fn heartbeat(&self, reports: &[HeartbeatReport], now: Timestamp) -> Result<Vec<Verdict>> {
        self.beat(reports, now)
    }

    fn expire_leases(&self, now: Timestamp) -> Result<Vec<Applied>> {
        self.expire(now)
    }

    fn next_expiry(&self) -> Result<Option<Timestamp>> {
        self.find_next_expiry()
    }

    fn recover(&self, now: Timestamp) -> Result<Recovery> {
        self.recover_all(now)
    }

    fn events_after(&self, sequence: u64, owner: Option<&KeyId>, limit: usize) -> Result<Vec<LoggedEvent>> {
        self.list_events(sequence, owner, limit)
    }

    fn prune_events(&self, deleted_before: Timestamp, limit: usize) -> Result<u64> {
        self.forget_deleted(deleted_before, limit)
    }

    fn events_of(&self, task: &TaskId) -> Result<Vec<LoggedEvent>> {
        self.list_events_of(task)
    }

    fn latest_sequence(&self) -> Result<u64> {
        self.read("read the latest event", super::events::latest)
    }

    fn subscribe(&self, listener: &Arc<dyn EventListener>) {
        self.add_listener(listener);
    }

    fn document(&self, task: &TaskId, role: DocumentRole) -> Result<Option<KeptDocument>> {
        self.read_document(task, role)
    }

    fn needed(&self, task: &TaskId, role: DocumentRole, blocks: &[Digest]) -> Result<Vec<bool>> {
        self.which_are_needed(task, role, blocks)
    }

    fn possessed(&self, owner: &KeyId, blocks: &[Digest]) -> Result<Vec<bool>> {
        self.look_for_blocks(owner, blocks)
    }

    fn note_arrivals(&self, owner: &KeyId, blocks: &[(Digest, u64)], now: Timestamp) -> Result<()> {
        self.insert_arrivals(owner, blocks, now)
    }

    fn unneeded_arrivals(&self, owner: &KeyId) -> Result<u64> {
        self.weigh_arrivals(owner)
    }

    fn expire_arrivals(&self, before: Timestamp) -> Result<u64> {
        self.remove_arrivals(before)
    }

    fn unreferenced(&self, blocks: &[Digest]) -> Result<Vec<Digest>> {
        self.read("look for needed blocks", |connection| super::documents::unreferenced(connection, blocks))
    }

    fn released_blocks(&self, limit: usize) -> Result<Vec<Digest>> {
        self.list_released_blocks(limit)
    }

    fn forget_released(&self, blocks: &[Digest]) -> Result<()> {
        self.forget_blocks(blocks)
    }

    fn append_log(&self, task: &TaskId, attempt: u32, first_line: u64, lines: &[String]) -> Result<()> {
        self.add_log(task, attempt, first_line, lines)
    }

    fn read_log(&self, task: &TaskId, after: Option<(u32, u64)>, limit: usize) -> Result<LogPage> {
        self.find_log(task, after, limit)
    }

    fn callbacks_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Callback>> {
        self.find_callbacks(now, limit)
    }

    fn callback_sent(&self, id: u64) -> Result<()> {
        self.end_callback(id)
    }

    fn callback_failed(&self, id: u64, next_try: Timestamp) -> Result<()> {
        self.postpone_callback(id, next_try)
    }

    fn statistics(&self) -> Result<Statistics> {
        self.count()
    }

    fn check(&self) -> Result<Vec<String>> {
        self.find_contradictions()
    }
}
