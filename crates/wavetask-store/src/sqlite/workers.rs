//! Leases: giving them, renewing them, ending them.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, params};
use wavetask_core::schedule::{Candidate, Capacity, choose};
use wavetask_core::{Command, TaskRecord, Timestamp, verdict};
use wavetask_protocol::worker::{SmallTasks, Verdict};
use wavetask_protocol::{KeyId, LeaseId, TaskId, TaskState, WorkerId};

use super::change::Change;
use super::fault::{Fault, Outcome};
use super::values::{limit, natural, optional_time, parsed, record, time};
use super::writer::Durability;
use super::{SqliteTaskStore, lock, tasks};
use crate::error::{Result, StoreError};
use crate::model::{Applied, HeartbeatReport, LeaseOutcome, LeasedTask, Recovery};

/// How many ready tasks of each account the scheduler looks at. More would matter only if that many in front
/// did not fit a worker.
const CANDIDATES_PER_OWNER: i64 = 64;

impl SqliteTaskStore {
    pub(super) fn lease(
        &self,
        worker: &WorkerId,
        leases: &[LeaseId],
        capacity: &Capacity,
        small: Option<&SmallTasks>,
        now: Timestamp,
    ) -> Result<LeaseOutcome> {
        // Idle workers ask often: they should not queue for the writer to hear that there is nothing.
        let any = self.read("look for ready tasks", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_ready WHERE ready_at IS NOT NULL)",
            )?;
            Ok(statement.query_row([], |row| row.get::<_, bool>(0))?)
        })?;
        if !any {
            return Ok(LeaseOutcome::default());
        }
        let leased = self.change(Durability::Full, now, |change| {
            let mut candidates = candidates(change, leases.len())?;
            let mut running = running(change)?;
            let mut outcome = LeaseOutcome::default();
            let largest_memory_bytes = capacity.largest_memory_bytes.max(capacity.total_memory_bytes);
            for lease in leases {
                let choice = choose(&candidates, &running, capacity, now);
                for task in &choice.oversize {
                    let command = Command::RefuseOversize { largest_memory_bytes };
                    outcome.effects.extend(change.apply(task, &command, None)?.effects);
                }
                let Some(task) = choice.task else { break };
                let is_small = match small {
                    Some(small) => change.live(&task)?.estimate.is_some_and(|estimate| small.fits(&estimate)),
                    None => false,
                };
                let only_small = !outcome.leased.is_empty() || small.is_some_and(|small| small.only);
                if only_small && !is_small {
                    break;
                }
                let command = Command::Lease { lease: lease.clone(), worker: worker.clone() };
                let record = change.apply(&task, &command, None)?.record;
                *running.entry(record.owner().clone()).or_default() += 1;
                candidates
                    .retain(|candidate| candidate.task != task && !choice.oversize.contains(&candidate.task));
                outcome.leased.push(LeasedTask { record, lease: lease.clone() });
                if !is_small {
                    break;
                }
            }
            Ok(outcome)
        });
        leased.map_err(|fault| fault.into_store_error("lease a task"))
    }

    pub(super) fn beat(&self, reports: &[HeartbeatReport], now: Timestamp) -> Result<Vec<Verdict>> {
        if reports.is_empty() {
            return Ok(Vec::new());
        }
        let beaten = self.change(Durability::Process, now, |change| {
            reports.iter().map(|report| beat(change, report)).collect::<Outcome<Vec<_>>>()
        });
        match beaten.map_err(|fault| fault.into_store_error("store a heartbeat")) {
            Ok(verdicts) => {
                let mut renewed = lock(&self.renewed_in_memory);
                reports.iter().for_each(|report| {
                    renewed.remove(&report.lease);
                });
                Ok(verdicts)
            }
            Err(StoreError::NoSpace { .. }) => self.beat_in_memory(reports, now),
            Err(error) => Err(error),
        }
    }

    fn beat_in_memory(&self, reports: &[HeartbeatReport], now: Timestamp) -> Result<Vec<Verdict>> {
        let expires_at = now.plus(self.policy.lease_length);
        let mut verdicts = Vec::with_capacity(reports.len());
        for report in reports {
            let task = self.find_by_lease(&report.lease, false)?;
            let verdict = task.map_or(Verdict::Lost, |task| verdict(&task, &report.lease));
            if verdict != Verdict::Lost {
                lock(&self.renewed_in_memory).insert(report.lease.clone(), expires_at);
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    pub(super) fn expire(&self, now: Timestamp) -> Result<Vec<Applied>> {
        let due = |lease: &LeaseId| lock(&self.renewed_in_memory).get(lease).is_none_or(|end| *end <= now);
        let expired: Vec<(TaskId, LeaseId)> = self.read("look for ended leases", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, lease FROM tasks INDEXED BY tasks_leased WHERE lease IS NOT NULL AND lease_expires_at <= ?1",
            )?;
            let rows =
                statement.query_map([now.as_milliseconds()], |row| Ok((parsed(row, 0)?, parsed(row, 1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let expired: Vec<TaskId> =
            expired.into_iter().filter(|(_, lease)| due(lease)).map(|(id, _)| id).collect();
        if expired.is_empty() {
            return Ok(Vec::new());
        }
        let ended = self.change(Durability::Full, now, |change| {
            let mut applied = Vec::new();
            for task in &expired {
                match change.apply(task, &Command::ExpireLease, None) {
                    Ok(ended) => applied.push(ended),
                    // It was renewed, or ended in another way, since it was looked at.
                    Err(Fault::Refused(_) | Fault::NoSuchTask) => {}
                    Err(fault) => return Err(fault),
                }
            }
            Ok(applied)
        });
        let applied = ended.map_err(|fault| fault.into_store_error("end leases"))?;
        lock(&self.renewed_in_memory).retain(|_, end| *end > now);
        Ok(applied)
    }

    pub(super) fn find_next_expiry(&self) -> Result<Option<Timestamp>> {
        self.read("look for the next lease to end", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT min(lease_expires_at) FROM tasks INDEXED BY tasks_leased WHERE lease IS NOT NULL",
            )?;
            Ok(statement.query_row([], |row| optional_time(row, 0))?)
        })
    }

    pub(super) fn recover_all(&self, now: Timestamp) -> Result<Recovery> {
        let recovered = self.change(Durability::Full, now, |change| {
            let tasks: Vec<TaskRecord> = {
                let mut statement = change.connection.prepare_cached(
                    "SELECT record FROM tasks WHERE state = 'validating' OR lease IS NOT NULL",
                )?;
                let rows = statement.query_map([], record)?;
                rows.collect::<Result<_, _>>()?
            };
            let mut recovery = Recovery::default();
            for task in tasks {
                change.apply(task.id(), &Command::Recover, None)?;
                match task.state {
                    TaskState::Validating => recovery.validations.push(task.task.id),
                    TaskState::Publishing => {
                        recovery.leases += 1;
                        recovery.publications.push(task.task.id);
                    }
                    _ => recovery.leases += 1,
                }
            }
            Ok(recovery)
        });
        recovered.map_err(|fault| fault.into_store_error("recover"))
    }
}

fn candidates(change: &Change<'_>, wanted: usize) -> Outcome<Vec<Candidate>> {
    let each = CANDIDATES_PER_OWNER.saturating_add(limit(wanted));
    let mut owners = change.connection.prepare_cached(
        "SELECT DISTINCT owner FROM tasks INDEXED BY tasks_ready WHERE ready_at IS NOT NULL",
    )?;
    let owners: Vec<KeyId> = owners.query_map([], |row| parsed(row, 0))?.collect::<Result<_, _>>()?;
    let mut statement = change.connection.prepare_cached(
        "SELECT id, priority, ready_at, memory_bytes FROM tasks INDEXED BY tasks_ready
         WHERE owner = ?1 AND ready_at IS NOT NULL ORDER BY priority DESC, ready_at LIMIT ?2",
    )?;
    let mut candidates = Vec::new();
    for owner in owners {
        let rows = statement.query_map(params![owner.as_str(), each], |row| {
            Ok(Candidate {
                task: parsed(row, 0)?,
                owner: owner.clone(),
                priority: row.get(1)?,
                ready_at: time(row, 2)?,
                memory_bytes: natural(row, 3)?,
            })
        })?;
        for candidate in rows {
            candidates.push(candidate?);
        }
    }
    Ok(candidates)
}

fn running(change: &Change<'_>) -> Outcome<BTreeMap<KeyId, u64>> {
    let mut statement = change.connection.prepare_cached(
        "SELECT owner, count(*) FROM tasks INDEXED BY tasks_leased WHERE lease IS NOT NULL GROUP BY owner",
    )?;
    let rows = statement.query_map([], |row| Ok((parsed(row, 0)?, natural(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn beat(change: &mut Change<'_>, report: &HeartbeatReport) -> Outcome<Verdict> {
    let task = {
        let mut statement = change.connection.prepare_cached("SELECT record FROM tasks WHERE lease = ?1")?;
        statement.query_row([report.lease.as_str()], record).optional()?
    };
    let Some(task) = task else { return Ok(Verdict::Lost) };
    let command = Command::Heartbeat { lease: report.lease.clone(), progress: Some(report.progress.clone()) };
    let record = change.apply(task.id(), &command, None)?.record;
    tasks::insert_log(
        change.connection,
        record.id(),
        record.attempt,
        report.first_log_line,
        &report.log_lines,
    )?;
    Ok(verdict(&record, &report.lease))
}
