//! Looking at one member's document: is it one, is it solved already, are its blocks there, can it be run?
//!
//! Work of unknown size: it takes a core and a little memory from the budget, and exchanges that for what checking
//! needs once it knows. Nothing is written here but the text of a long document, and that only pins blocks until
//! the store has them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use wavetask_core::Template;
use wavetask_document::hdf5::FilePlan;
use wavetask_document::{ArrayDescriptor, Digest, Document, DocumentError, ElementType};
use wavetask_protocol::native::{InputSlot, MAXIMUM_BLOCK, MemberDocument, NewMember};
use wavetask_protocol::{ErrorKind, Estimate, KeyId, TaskError, TaskId, TaskKind, chain};
use wavetask_store::{BlockSession, StoreError, StoredDocument, put_document};

use crate::answer::Refused;
use crate::app::{App, REMEMBERED};
use crate::native::bad;
use crate::references::{self, evaluation, slots};
use crate::tidy3d::unsupported;
use crate::{documents, validation};

/// Memory that looking at any member takes, in bytes, beside a few times its text.
const BASE: u64 = 1 << 20;

/// The session that pins the blocks of all members of a part until the store has their documents.
pub(super) type Session = Arc<Mutex<Box<dyn BlockSession>>>;

/// What was found.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It cannot be taken.
    Refused(Refused),
    /// These blocks are missing.
    Missing {
        /// Each once.
        blocks: Vec<Digest>,
        /// Bytes that it will use.
        bytes: u64,
    },
    /// Another task of the account has its result.
    Solved {
        /// What the other task was estimated to need.
        estimate: Estimate,
        /// Canonical digest of the document, the same for both.
        input: Digest,
        /// That of the result; `None` for what has none.
        result: Option<Digest>,
        /// What solved it.
        solver_version: String,
        /// Bytes that it will use.
        bytes: u64,
    },
    /// It can be run once its input can be made of the results that it refers to.
    Template {
        /// What it will be made of.
        template: Template,
        /// The tasks that its document refers to, besides those of the slots.
        references: Vec<TaskId>,
        /// The template's document, ready for the store.
        document: Box<StoredDocument>,
    },
    /// It can be run.
    Accepted {
        /// What it will need.
        estimate: Estimate,
        /// Its document, ready for the store.
        document: Box<StoredDocument>,
        /// Whether it is done at once, because nobody asks for what it would compute.
        done_at_once: bool,
    },
    /// It cannot be run, and says so for good.
    Rejected(TaskError),
}

impl Verdict {
    /// Bytes that it adds to what the account uses.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Refused(_) | Self::Rejected(_) => 0,
            Self::Missing { bytes, .. } | Self::Solved { bytes, .. } => *bytes,
            Self::Template { document, .. } | Self::Accepted { document, .. } => {
                document.body_length.saturating_add(document.array_length)
            }
        }
    }
}

/// Who asks, and what holds the blocks.
#[derive(Clone, Debug)]
pub(super) struct Examiner {
    pub(super) app: Arc<App>,
    pub(super) owner: KeyId,
    pub(super) session: Session,
}

/// How far it is after the first look.
enum Look {
    Done(Verdict),
    /// To be checked, which needs this much memory.
    Check(Box<Candidate>, u64),
}

struct Candidate {
    kind: TaskKind,
    document: Document,
    digest: Digest,
    /// What its input will be made of, if it is not the document.
    template: Option<Referring>,
}

/// A template, and the tasks that its document refers to.
type Referring = (Template, Vec<TaskId>);

impl Examiner {
    /// Looks at a member.
    pub(super) async fn examine(self, member: NewMember) -> Verdict {
        self.look(member).await.unwrap_or_else(Verdict::Refused)
    }

    async fn look(self, member: NewMember) -> Result<Verdict, Refused> {
        let text = match &member.document {
            MemberDocument::Inline(json) => json.get().len() as u64,
            MemberDocument::Blocks(blocks) => {
                (blocks.len() as u64 * MAXIMUM_BLOCK as u64).min(self.app.config.limits.document_bytes)
            }
            _ => 0,
        };
        let granted = BASE.saturating_add(4 * text);
        let work = self.app.budget.work(granted).await?;
        let own = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let look = own.first_look(member)?;
            match look {
                // What fits is done at once: most members are small.
                Look::Check(candidate, needed) if needed <= granted => own.check(*candidate).map(Look::Done),
                look => Ok(look),
            }
        });
        let (candidate, needed) = match looked.await {
            Ok(Ok(Look::Done(verdict))) => return Ok(verdict),
            Ok(Ok(Look::Check(candidate, needed))) => (candidate, needed),
            Ok(Err(refused)) => return Err(refused),
            Err(error) => return Ok(crashed(&error)),
        };
        let _work = self.app.budget.exchange(work, needed).await?;
        match tokio::task::spawn_blocking(move || self.check(*candidate)).await {
            Ok(verdict) => verdict,
            Err(error) => Ok(crashed(&error)),
        }
    }

    /// Everything that can be told without the arrays. Blocks.
    fn first_look(&self, member: NewMember) -> Result<Look, Refused> {
        let app = &*self.app;
        let document = match member.document {
            MemberDocument::Inline(json) => read(json.get().as_bytes())?,
            MemberDocument::Blocks(_) if member.kind == TaskKind::Evaluation => {
                // Its text says what it depends on, which must be known when the task is made.
                return Err(bad("the recipe of an evaluation is sent within the request"));
            }
            MemberDocument::Blocks(blocks) => {
                let missing = self.missing(&blocks)?;
                if !missing.is_empty() {
                    return Ok(Look::Done(Verdict::Missing { blocks: missing, bytes: 0 }));
                }
                read(&self.text(&blocks)?)?
            }
            _ => return Err(bad("this kind of document is not known here")),
        };
        check_limits(app, &document)?;
        let digest = document.digest().map_err(|error| unusable(&error))?;
        let bytes = (document.json.len() as u64).saturating_add(document.array_bytes());
        // What is not supported is refused before anybody sends its arrays.
        if let Some(what) = unsupported::missing(member.kind) {
            let code = "feature.unsupported".to_owned();
            let message = unsupported::sentence(what);
            return Ok(Look::Done(Verdict::Rejected(TaskError {
                kind: ErrorKind::Validation,
                code,
                message,
            })));
        }
        if let Err(error) = validation::check_class(member.kind, &document) {
            return Ok(Look::Done(Verdict::Rejected(error)));
        }
        let template = match self.template(member.kind, member.inputs, member.cache, &document, digest)? {
            Ok(template) => template,
            Err(error) => return Ok(Look::Done(Verdict::Rejected(error))),
        };
        if member.cache && template.is_none() {
            let solver_version = app.validator.solver_version(member.kind);
            let solved = app.tasks.solved_tasks(&self.owner, &digest, &solver_version, 1)?.pop();
            if let Some(record) = solved.filter(|record| record.task.kind == member.kind) {
                let estimate = record.estimate.unwrap_or_default();
                let result = record.result;
                return Ok(Look::Done(Verdict::Solved {
                    estimate,
                    input: digest,
                    result,
                    solver_version,
                    bytes,
                }));
            }
        }
        let missing = self.missing(document.arrays.values().flat_map(|array| &array.blocks))?;
        if !missing.is_empty() {
            return Ok(Look::Done(Verdict::Missing { blocks: missing, bytes }));
        }
        let needed = match validation::memory_to_check(app, &document) {
            Ok(needed) => needed,
            Err(error) => return Ok(Look::Done(Verdict::Rejected(error))),
        };
        Ok(Look::Check(Box::new(Candidate { kind: member.kind, document, digest, template }), needed))
    }

    /// What the input will be made of, if it is not the document itself, and the tasks that the document refers to.
    ///
    /// The outer error is for what the request says beside the document, the inner one for the document. Blocks.
    fn template(
        &self,
        kind: TaskKind,
        slots: Vec<InputSlot>,
        cache: bool,
        document: &Document,
        digest: Digest,
    ) -> Result<Result<Option<Referring>, TaskError>, Refused> {
        let references = match kind {
            TaskKind::Evaluation if !slots.is_empty() => {
                return Err(bad("an evaluation names results in its expressions, not in `inputs`"));
            }
            TaskKind::Evaluation => {
                match evaluation::read(document).and_then(|recipe| evaluation::tasks(&recipe)) {
                    Ok(references) => references,
                    Err(error) => return Ok(Err(error)),
                }
            }
            _ if slots.is_empty() => return Ok(Ok(None)),
            _ => Vec::new(),
        };
        let referred = slots.iter().map(|slot| &slot.task).chain(&references);
        let tasks = references::known_tasks(&self.app, &self.owner, referred)?;
        slots::check(&self.app, document, &slots, &tasks)?;
        Ok(Ok(Some((Template { document: digest, slots, cache }, references))))
    }

    /// Which of these blocks the account has to send, each once; the others are pinned. Blocks.
    ///
    /// What the account does not possess is not even looked for.
    fn missing<'d>(&self, blocks: impl IntoIterator<Item = &'d Digest>) -> Result<Vec<Digest>, Refused> {
        let mut wanted: Vec<Digest> = blocks.into_iter().copied().collect();
        let mut seen = std::collections::HashSet::with_capacity(wanted.len());
        wanted.retain(|block| seen.insert(*block));
        let possessed = self.app.tasks.possessed(&self.owner, &wanted)?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing = Vec::new();
        for (block, possessed) in wanted.into_iter().zip(possessed) {
            if !possessed || !session.pin(&block)? {
                missing.push(block);
            }
        }
        Ok(missing)
    }

    /// The text of a document that came in blocks. Blocks.
    fn text(&self, blocks: &[Digest]) -> Result<Vec<u8>, Refused> {
        let limit = self.app.config.limits.document_bytes;
        let (mut text, mut bytes) = (Vec::new(), Vec::new());
        for block in blocks {
            self.app
                .blocks
                .get(block, &mut bytes)
                .map_err(|error| StoreError::from_io("read a block", error))?;
            if (text.len() + bytes.len()) as u64 > limit {
                let error = DocumentError::TooLarge {
                    limit: "json_bytes",
                    allowed: limit,
                    found: (text.len() + bytes.len()) as u64,
                };
                return Err(unusable(&error));
            }
            text.extend_from_slice(&bytes);
        }
        Ok(text)
    }

    /// Asks the validator, and makes the document ready for the store. Blocks.
    fn check(&self, candidate: Candidate) -> Result<Verdict, Refused> {
        let Candidate { kind, document, digest, template } = candidate;
        let app = &*self.app;
        for (path, array) in &document.arrays {
            verify(app, path, array)?;
        }
        if let Some((template, references)) = template {
            let document = self.put(&document, digest)?;
            return Ok(Verdict::Template { template, references, document });
        }
        // Workers read it as a file, and so may users.
        FilePlan::new(&document).map_err(|error| unusable(&error))?;
        let estimate = match validation::ask(app, kind, &document) {
            Ok(estimate) => estimate,
            Err(error) => return Ok(Verdict::Rejected(error)),
        };
        let done_at_once = kind == TaskKind::VolumeMesh
            && documents::wants_no_mesh(&document).map_err(|error| unusable(&error))?;
        let document = self.put(&document, digest)?;
        Ok(Verdict::Accepted { estimate, document, done_at_once })
    }

    /// Makes a document ready for the store. Blocks.
    fn put(&self, document: &Document, digest: Digest) -> Result<Box<StoredDocument>, Refused> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(put_document(&mut **session, document, digest)?))
    }
}

fn read(text: &[u8]) -> Result<Document, Refused> {
    serde_json::from_slice(text).map_err(|error| {
        Refused::new(
            axum::http::StatusCode::BAD_REQUEST,
            "document_malformed",
            format!("the member's document is none: {error}"),
        )
        .hint("a document is `{\"json\": text, \"arrays\": {path: descriptor}}`")
    })
}

/// A document that cannot be used, as the answer about its member; a fault of the disk is another matter.
fn unusable(error: &DocumentError) -> Refused {
    match error {
        DocumentError::Io { .. } => Refused::internal(error),
        error => {
            Refused::new(axum::http::StatusCode::BAD_REQUEST, error.code(), chain(error)).hint(error.hint())
        }
    }
}

fn crashed(error: &tokio::task::JoinError) -> Verdict {
    tracing::error!(%error, "checking a simulation crashed");
    Verdict::Rejected(validation::crashed())
}

/// Refuses what is larger than what an upload may be.
fn check_limits(app: &App, document: &Document) -> Result<(), Refused> {
    let limits = validation::document_limits(&app.config);
    let within = |limit: &'static str, allowed: u64, found: u64| {
        let error = DocumentError::TooLarge { limit, allowed, found };
        if found > allowed { Err(unusable(&error)) } else { Ok(()) }
    };
    within("json_bytes", limits.json_bytes, document.json.len() as u64)?;
    within("objects", limits.objects, document.arrays.len() as u64)?;
    within("path_bytes", limits.path_bytes, document.arrays.keys().map(|path| path.len() as u64).sum())?;
    within("file_bytes", limits.file_bytes, document.array_bytes())?;
    for (path, array) in &document.arrays {
        within("array_bytes", limits.array_bytes, array.byte_length)?;
        if !array.is_linear() {
            // Blocks that clients send are found again by the next who describes the same array from its memory.
            let what = "an array of a simulation that is cut into bricks".into();
            return Err(unusable(&DocumentError::Unsupported { what, location: path.clone() }));
        }
        within("block_bytes", MAXIMUM_BLOCK as u64, array.block_bytes().min(array.byte_length))?;
        if array.element_type == ElementType::Text {
            within("text_bytes", limits.text_bytes, array.byte_length)?;
        }
    }
    Ok(())
}

/// Makes sure that an array's blocks are what its descriptor says. The digest of the whole goes into the
/// document's own, by which results are shared: it must not be somebody's word alone. Blocks.
fn verify(app: &App, path: &str, array: &ArrayDescriptor) -> Result<(), Refused> {
    let mut name = blake3::Hasher::new();
    name.update(array.digest.as_bytes());
    name.update(format!("{:?}", array.element_type).as_bytes());
    for number in [array.byte_length, array.block_bytes()] {
        name.update(&number.to_le_bytes());
    }
    for block in &array.blocks {
        name.update(block.as_bytes());
    }
    let name = digest(&name);
    let verified = || app.verified.lock().unwrap_or_else(PoisonError::into_inner);
    if verified().contains(&name) {
        return Ok(());
    }
    let wrong = |what: &'static str| {
        unusable(&DocumentError::Malformed { what: what.into(), location: path.to_owned() })
    };
    let gone = |error: io::Error| Refused::from(StoreError::from_io("read a block", error));
    if array.element_type == ElementType::Text {
        // Strings may be malformed in themselves.
        let limit = validation::document_limits(&app.config).text_bytes;
        array.load(&*app.blocks, limit).map_err(|error| unusable(&error))?;
    }
    let (mut whole, mut bytes, mut rest) = (blake3::Hasher::new(), Vec::new(), array.byte_length);
    for block in &array.blocks {
        app.blocks.get(block, &mut bytes).map_err(gone)?;
        let length = array.block_bytes().min(rest);
        if bytes.len() as u64 != length {
            return Err(wrong("a block has the wrong length"));
        }
        rest -= length;
        whole.update(&bytes);
    }
    if digest(&whole) != array.digest {
        return Err(wrong("the bytes are not what the array's digest says"));
    }
    let mut verified = verified();
    if verified.len() >= REMEMBERED {
        verified.clear();
    }
    verified.insert(name);
    Ok(())
}

fn digest(hasher: &blake3::Hasher) -> Digest {
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
