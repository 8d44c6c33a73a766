//! Results of many tasks in one pack: for each a message, and with it the blocks of its arrays if they are few.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use wavetask_core::TaskRecord;
use wavetask_document::pack::{self, Compression, FrameKind, MAXIMUM_FRAME};
use wavetask_document::{ArrayDescriptor, Digest, Document};
use wavetask_protocol::native::{MAXIMUM_TASKS, ResultAnswer, ResultOutcome, ResultsRequest};
use wavetask_protocol::{ErrorKind, TaskError, TaskId, TaskState};
use wavetask_store::{BlockSession, DocumentRole};

use super::blocks::{PIECE, answer, append_block, compression, stream_pack};
use super::summary::records;
use super::{Routes, too_many};
use crate::answer::Refused;
use crate::app::App;
use crate::downloads;
use crate::extract::{Body, Caller};

/// Bytes of arrays that one pack holds at most.
const INLINE: u64 = 64 << 20;

/// Messages longer than this are compressed on every line.
const LONG_MESSAGE: usize = 64 << 10;

/// The routes of this part.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/results", results)
}

async fn results(
    caller: Caller,
    State(app): State<Arc<App>>,
    Body(request): Body<ResultsRequest>,
) -> Result<Response, Refused> {
    if request.tasks.len() > MAXIMUM_TASKS {
        return Err(too_many("tasks", MAXIMUM_TASKS));
    }
    let making = app
        .blocking(move |app| {
            let records = records(app, caller.id(), &request.tasks)?;
            Ok(Making {
                tasks: request.tasks.into(),
                records,
                simulation: request.simulation,
                inline_bytes: request.inline_bytes,
                compression: compression(request.compress),
                begun: false,
                sent: HashSet::new(),
                room: INLINE,
                pending: VecDeque::new(),
                session: app.blocks.session(),
            })
        })
        .await?;
    Ok(answer(stream_pack(app, making, |making, app, out| making.fill(app, out))))
}

/// A pack of results on its way out.
struct Making {
    tasks: VecDeque<TaskId>,
    records: HashMap<TaskId, TaskRecord>,
    simulation: bool,
    inline_bytes: u64,
    compression: Compression,
    begun: bool,
    /// Blocks that the pack holds already.
    sent: HashSet<Digest>,
    /// Bytes of arrays that it may still hold.
    room: u64,
    /// Blocks that follow, each with the bytes per number.
    pending: VecDeque<(Digest, u8)>,
    /// Pins the blocks for as long as it lives.
    session: Box<dyn BlockSession>,
}

impl Making {
    /// Makes the next piece; answers whether that was the last. Blocks.
    fn fill(&mut self, app: &App, out: &mut Vec<u8>) -> Result<bool, Refused> {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&pack::MAGIC);
        }
        let mut bytes = Vec::new();
        while out.len() < PIECE {
            if let Some((digest, width)) = self.pending.pop_front() {
                append_block(app, &digest, width, self.compression, &mut bytes, out)?;
            } else if let Some(task) = self.tasks.pop_front() {
                let outcome = self.outcome(app, &task)?;
                self.message(task, outcome, out)?;
            } else {
                pack::end(out);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn message(&mut self, task: TaskId, outcome: ResultOutcome, out: &mut Vec<u8>) -> Result<(), Refused> {
        let mut text = written(&ResultAnswer { task: task.clone(), outcome })?;
        if text.len() as u64 > MAXIMUM_FRAME {
            for (block, _) in self.pending.drain(..) {
                self.sent.remove(&block);
            }
            text = written(&ResultAnswer { task, outcome: none("result.too_large") })?;
        }
        // A large array has thousands of digests; as text they are twice as long as they need be.
        let compression = if text.len() > LONG_MESSAGE { Compression::WherePays } else { self.compression };
        pack::encode(FrameKind::Message, &text, 1, compression, out)
            .map_err(|error| Refused::internal(&error))?;
        Ok(())
    }

    /// What became of a task; the blocks that come with its result are put into the queue.
    fn outcome(&mut self, app: &App, task: &TaskId) -> Result<ResultOutcome, Refused> {
        let Some(record) = self.records.get(task) else { return Ok(none("task.not_found")) };
        let state = record.state;
        match state {
            TaskState::Success | TaskState::Diverged => {}
            TaskState::Error => {
                let error = record.error.clone().unwrap_or_else(|| TaskError {
                    kind: ErrorKind::Infrastructure,
                    code: "task.unknown".to_owned(),
                    message: "It failed, and nothing is known of why.".to_owned(),
                });
                return Ok(ResultOutcome::Failed { error });
            }
            TaskState::Aborted => return Ok(none("task.aborted")),
            TaskState::Deleted => return Ok(none("task.not_found")),
            _ => return Ok(none("task.not_ended")),
        }
        // It may have been deleted or run again since the request began.
        let Some(document) = downloads::document(app, record, DocumentRole::Result)? else {
            let now = app.tasks.task_of(record.owner(), task)?;
            return Ok(none(if now.is_some() { "task.not_ended" } else { "task.not_found" }));
        };
        let arrays = self.wanted(&document);
        let length = arrays.iter().fold(0_u64, |sum, array| sum.saturating_add(array.byte_length));
        let inline = length <= self.inline_bytes.min(self.room) && self.queue(&arrays)?;
        if inline {
            self.room -= length;
        }
        let text = serde_json::value::to_raw_value(&document).map_err(|error| Refused::internal(&error))?;
        Ok(ResultOutcome::Document { document: text, inline, diverged: state == TaskState::Diverged })
    }

    fn wanted<'d>(&self, document: &'d Document) -> Vec<&'d ArrayDescriptor> {
        let is_wanted = |path: &str| self.simulation || !path.starts_with("simulation/");
        document.arrays.iter().filter(|(path, _)| is_wanted(path)).map(|(_, array)| array).collect()
    }

    /// Puts the blocks of these arrays into the queue; answers whether all of them are there.
    fn queue(&mut self, arrays: &[&ArrayDescriptor]) -> Result<bool, Refused> {
        let mut new = Vec::new();
        for array in arrays {
            let width = array.element_type.size().and_then(|size| u8::try_from(size).ok()).unwrap_or(1);
            for block in &array.blocks {
                if !self.sent.contains(block) {
                    if !self.session.pin(block)? {
                        return Ok(false);
                    }
                    new.push((*block, width));
                }
            }
        }
        for (block, width) in new {
            if self.sent.insert(block) {
                self.pending.push_back((block, width));
            }
        }
        Ok(true)
    }
}

fn none(code: &str) -> ResultOutcome {
    ResultOutcome::None { code: code.to_owned() }
}

fn written(answer: &ResultAnswer) -> Result<Vec<u8>, Refused> {
    serde_json::to_vec(answer).map_err(|error| Refused::internal(&error))
}
