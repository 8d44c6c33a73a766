//! Members of a batch become rows of the table, and the rows are driven.
//!
//! An answer of `Accepted` means that nothing is needed from the caller any more: small simulations are in the table
//! by then, larger ones at the server.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::watch;
use wavetask_document::{BlockSource, Digest, Document};
use wavetask_protocol::native::{
    ApiError, MAXIMUM_MEMBERS, MemberAnswer, MemberDocument, NewMember, SubmitAnswer, SubmitRequest,
};
use wavetask_protocol::{BatchId, ErrorKind, TaskId, TaskKind, TaskState};

use super::content::{Content, Places, blocks_of, write_blocks};
use super::journey::{summary, unsupported};
use super::row::{Remote, TaskRow, now, task_id};
use super::shared::Shared;
use super::table::{MemberRow, Submission};
use super::words::upload_file;
use crate::error::{ClientError, ErrorGroup};

/// Simulations up to this size, document and arrays each, wait in the table.
const SMALL: u64 = 1 << 20;

/// What to do about a member.
enum Decision {
    /// Nothing: the task is known and needs nothing.
    Known(TaskRow),
    /// Drive it.
    Launch { row: TaskRow, content: Content, small: bool, new: bool, resumed: bool },
    /// Drive it without the caller's help: the simulation is in the table or at the server.
    Resume { row: TaskRow, changed: bool },
    /// Ask for blocks.
    Missing { row: TaskRow, blocks: Vec<Digest>, changed: bool },
    /// It cannot be taken.
    Refused(ApiError),
}

fn usage(code: &str, message: impl Into<String>) -> ClientError {
    ClientError::new(ErrorGroup::Usage, code, message)
}

fn refused(code: &str, message: impl Into<String>) -> Decision {
    Decision::Refused(ApiError { code: code.to_owned(), message: message.into(), hint: None })
}

impl Shared {
    pub(super) async fn submit(
        self: &Arc<Self>,
        request: &SubmitRequest,
    ) -> Result<SubmitAnswer, ClientError> {
        let name = &request.batch;
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            return Err(usage(
                "batch.bad_name",
                "a batch's name has 1 to 200 characters, none a control character",
            ));
        }
        if request.members.len() > MAXIMUM_MEMBERS {
            return Err(usage(
                "batch.too_many_members",
                format!("a request holds {MAXIMUM_MEMBERS} members"),
            ));
        }
        let last_event = self.board.last();
        let keys: Vec<String> = request.members.iter().map(|member| member.idempotency_key.clone()).collect();
        let mut rows = self.in_table(move |table| table.by_keys(keys.iter().map(String::as_str))).await?;
        let mut decisions = Vec::with_capacity(request.members.len());
        for member in &request.members {
            let known = rows.remove(&member.idempotency_key);
            let decision = self.decide(member, known).await?;
            // The same key twice in one request is one task.
            if let Decision::Known(row)
            | Decision::Launch { row, .. }
            | Decision::Resume { row, .. }
            | Decision::Missing { row, .. } = &decision
            {
                rows.insert(member.idempotency_key.clone(), row.clone());
            }
            decisions.push(decision);
        }
        let batch = self.record(request, &decisions).await?;
        let members = self.launch(decisions).await?;
        Ok(SubmitAnswer { batch, members, last_event })
    }

    /// What to do about a member, by what is known of its task.
    async fn decide(&self, member: &NewMember, known: Option<TaskRow>) -> Result<Decision, ClientError> {
        if upload_file(member.kind).is_none() {
            let error = unsupported(member.kind);
            return Ok(refused(&error.code, error.message));
        }
        if member.idempotency_key.is_empty() || member.idempotency_key.len() > 128 {
            return Ok(refused("member.bad_key", "an idempotency key has 1 to 128 bytes"));
        }
        let new = known.is_none();
        let mut changed = new;
        let mut row = known.unwrap_or_else(|| self.new_row(member));
        let again = match row.state {
            TaskState::Aborted | TaskState::Deleted => true,
            TaskState::Error => matches!(
                row.error.as_ref().map(|error| error.kind),
                Some(ErrorKind::Infrastructure | ErrorKind::Resources | ErrorKind::Dependency)
            ),
            state if state.is_final() => false,
            _ => {
                let driven = self.steering().contains_key(&row.id);
                if driven || (!new && !row.needs_content()) {
                    return Ok(if driven {
                        Decision::Known(row)
                    } else {
                        Decision::Resume { row, changed: false }
                    });
                }
                false
            }
        };
        if again {
            row.again();
            changed = true;
        } else if row.state.is_final() {
            return Ok(Decision::Known(row));
        }
        if !new {
            if self.has_content(&row).await? {
                return Ok(Decision::Resume { row, changed });
            }
            let id = row.id.clone();
            let claimed = self
                .in_table(move |table| if table.claim(&id)? { table.task(&id) } else { Ok(None) })
                .await?;
            match claimed {
                // Another process is sending it.
                None => return Ok(Decision::Known(row)),
                // What is there after the claim is newer than what was read before it.
                Some(newer) if !again => row = newer,
                Some(_) => {}
            }
        }
        self.with_content(member, row, new, changed)
    }

    /// What to do about a member whose simulation is needed.
    fn with_content(
        &self,
        member: &NewMember,
        row: TaskRow,
        new: bool,
        changed: bool,
    ) -> Result<Decision, ClientError> {
        let mut kept = self.kept();
        let text: std::borrow::Cow<'_, str> = match &member.document {
            MemberDocument::Inline(json) => json.get().into(),
            MemberDocument::Blocks(digests) => {
                kept.want(&row.id, digests.iter().copied());
                let missing: Vec<Digest> = once(digests.iter().copied())
                    .filter(|digest| !kept.places.contains_key(digest))
                    .collect();
                if !missing.is_empty() {
                    return Ok(Decision::Missing { row, blocks: missing, changed });
                }
                let mut bytes = Vec::new();
                for place in digests.iter().filter_map(|digest| kept.places.get(digest)) {
                    bytes.extend_from_slice(place.bytes());
                }
                match String::from_utf8(bytes) {
                    Ok(text) => text.into(),
                    Err(_) => return Ok(refused("document.malformed", "the document is not UTF-8")),
                }
            }
            _ => {
                return Ok(refused(
                    "document.malformed",
                    "the document comes in a way that is not known here",
                ));
            }
        };
        let document: Document = match serde_json::from_str(&text) {
            Ok(document) => document,
            Err(error) => return Ok(refused("document.malformed", error.to_string())),
        };
        let needed = blocks_of(&document);
        let missing: Vec<Digest> =
            needed.iter().copied().filter(|digest| !kept.places.contains_key(digest)).collect();
        if !missing.is_empty() {
            kept.want(&row.id, needed);
            return Ok(Decision::Missing { row, blocks: missing, changed });
        }
        let places: HashMap<_, _> =
            needed.iter().filter_map(|digest| Some((*digest, kept.places.get(digest)?.clone()))).collect();
        let small = document.array_bytes() <= SMALL && text.len() as u64 <= SMALL;
        let blocks: Arc<dyn BlockSource + Send + Sync> = Arc::new(Places(places));
        Ok(Decision::Launch { row, content: Content { document, blocks }, small, new, resumed: !new })
    }

    fn new_row(&self, member: &NewMember) -> TaskRow {
        let heat = matches!(member.kind, TaskKind::Heat | TaskKind::HeatCharge);
        TaskRow {
            id: task_id(&self.manner.account, &member.idempotency_key),
            key: member.idempotency_key.clone(),
            attempt: 1,
            name: member.name.clone(),
            folder: if member.folder.is_empty() { "default".to_owned() } else { member.folder.clone() },
            folder_id: None,
            kind: member.kind,
            mesh: (heat && self.manner.two_tasks).then(Remote::default),
            solve: Remote::default(),
            hold: member.hold,
            cache: member.cache,
            priority: member.priority,
            after: member.after.clone(),
            state: TaskState::Draft,
            error: None,
            created: now(),
            run: None,
            ended: None,
            ended_there: false,
            earlier: None,
        }
    }

    /// Writes what was decided into the table, before anything of it leaves.
    async fn record(&self, request: &SubmitRequest, decisions: &[Decision]) -> Result<BatchId, ClientError> {
        let mut members = Vec::new();
        let mut rows = Vec::new();
        let mut contents = Vec::new();
        for (member, decision) in request.members.iter().zip(decisions) {
            let row = match decision {
                Decision::Refused(_) => continue,
                Decision::Known(row) => row,
                Decision::Resume { row, changed } => {
                    if *changed {
                        rows.push((row.clone(), false));
                    }
                    row
                }
                Decision::Launch { row, content, small, new, .. } => {
                    rows.push((row.clone(), *new));
                    if *small {
                        let document =
                            serde_json::to_string(&content.document).map_err(super::table::broken)?;
                        contents.push((row.id.clone(), document, self.small_blocks(content)));
                    }
                    row
                }
                Decision::Missing { row, changed, .. } => {
                    if *changed {
                        rows.push((row.clone(), row.attempt == 1));
                    }
                    row
                }
            };
            members.push(MemberRow {
                key: member.key.clone(),
                position: member.position,
                task: row.id.clone(),
                parameters: member.parameters.clone(),
            });
        }
        let bits = task_id(&self.manner.account, &format!("batch {}", request.batch));
        let id: BatchId = bits.as_str().replacen("task", "batch", 1).parse().map_err(super::table::broken)?;
        let (name, tags, submission, complete, text) = (
            request.batch.clone(),
            request.tags.clone(),
            request.submission.clone(),
            request.complete,
            id.to_string(),
        );
        self.in_table(move |table| {
            table.submit(&Submission {
                batch: &name,
                id: text,
                tags: &tags,
                submission: &submission,
                complete,
                members: &members,
                rows: &rows,
                contents: &contents,
                now: now(),
            })
        })
        .await?;
        Ok(id)
    }

    fn small_blocks(&self, content: &Content) -> Vec<u8> {
        let kept = self.kept();
        let places: HashMap<_, _> = blocks_of(&content.document)
            .into_iter()
            .filter_map(|digest| Some((digest, kept.places.get(&digest)?.clone())))
            .collect();
        write_blocks(&places)
    }

    /// Drives what is to be driven; answers when the caller's help is not needed any more.
    async fn launch(self: &Arc<Self>, decisions: Vec<Decision>) -> Result<Vec<MemberAnswer>, ClientError> {
        enum Coming {
            Answer(MemberAnswer),
            Row { row: TaskRow, new: bool, sent: Option<watch::Receiver<bool>> },
        }
        let mut coming = Vec::with_capacity(decisions.len());
        for decision in decisions {
            coming.push(match decision {
                Decision::Refused(error) => {
                    Coming::Answer(MemberAnswer::Refused { error, again_later: false })
                }
                Decision::Missing { row, blocks, .. } => {
                    self.note(&row);
                    Coming::Answer(MemberAnswer::Missing { task: row.id, blocks })
                }
                Decision::Known(row) | Decision::Resume { row, .. } => {
                    self.follow(row.clone()).await?;
                    Coming::Row { row, new: false, sent: None }
                }
                Decision::Launch { row, content, small, new, resumed } => {
                    let id: TaskId = row.id.clone();
                    let claimed = self.in_table(move |table| table.claim(&id)).await?;
                    let sent = if claimed {
                        self.drive(row.clone(), Some(content), resumed).filter(|_| !small)
                    } else {
                        self.follow(row.clone()).await?;
                        None
                    };
                    Coming::Row { row, new, sent }
                }
            });
        }
        let mut answers = Vec::with_capacity(coming.len());
        for one in coming {
            answers.push(match one {
                Coming::Answer(answer) => answer,
                Coming::Row { row, new, sent } => {
                    if let Some(mut sent) = sent {
                        // An error means that the journey has ended.
                        let _ = sent.wait_for(|sent| *sent).await;
                    }
                    self.kept().release(&row.id);
                    let task = self.board.task(&row.id).unwrap_or_else(|| summary(&row, None));
                    MemberAnswer::Accepted { task, new }
                }
            });
        }
        Ok(answers)
    }
}

/// Each once, in order.
fn once(digests: impl Iterator<Item = Digest>) -> impl Iterator<Item = Digest> {
    let mut seen = HashSet::new();
    digests.filter(move |digest| seen.insert(*digest))
}
