//! Files on their way out: made from documents and blocks when they are asked for, and never written.
//!
//! A document says where every byte of its HDF5 file is ([`FilePlan`]), so a range of a result is made
//! from the blocks that it needs. There is no second copy of results on disk to be bounded, cleaned up
//! and kept consistent; the entity tag follows from what the file is made of. Plans are kept for a while,
//! because large files are asked for in many ranges.
//!
//! Small results are offered with a gzip layer, because the client asks for that name first and each
//! further name costs it two requests and a new connection; large ones only without, because unpacking is
//! the largest part of its cost.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures::{Stream, stream};
use wavetask_core::TaskRecord;
use wavetask_document::hdf5::FilePlan;
use wavetask_document::{BlockSource, Digest, Document, DocumentError, MemoryBlocks, ResultBuilder};
use wavetask_protocol::{TaskId, TaskKind, TaskState, chain};
use wavetask_store::DocumentRole;

use crate::answer::Refused;
use crate::app::App;
use crate::files::TaskFile;
use crate::gzip::StoredGzip;
use crate::logs;

/// Results up to this length are offered with a gzip layer: the length up to which the client fetches a
/// file in one request.
const SMALL: u64 = 8 << 20;

/// Plans that are kept.
const PLANS: usize = 64;

/// Bytes of JSON in the plans that are kept.
const PLAN_BYTES: usize = 256 << 20;

/// Bytes that are made at once.
const PIECE: u64 = 2 << 20;

/// A file that can be downloaded.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// Its length.
    pub(crate) length: u64,
    /// Names this content: other content has another.
    pub(crate) etag: String,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Memory(Bytes),
    Plan(Arc<FilePlan>),
    Layered(Arc<FilePlan>, Arc<StoredGzip>),
}

impl Download {
    fn memory(text: String) -> Self {
        let bytes = Bytes::from(text);
        let etag = Digest::of(&bytes).to_string()[..32].to_owned();
        Self { length: bytes.len() as u64, etag, content: Content::Memory(bytes) }
    }

    /// Makes the bytes of a range. Blocks.
    pub(crate) fn read(&self, range: Range<u64>, blocks: &dyn BlockSource) -> Result<Bytes, DocumentError> {
        let mut output = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        match &self.content {
            Content::Memory(bytes) => {
                let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
                let (Ok(start), Ok(end)) = (start, end) else { return Ok(Bytes::new()) };
                return Ok(bytes.slice(start.min(bytes.len())..end.min(bytes.len())));
            }
            Content::Plan(plan) => plan.write_range(range, blocks, &mut output)?,
            Content::Layered(plan, gzip) => gzip
                .write_range(range, &mut output, |range, output| {
                    plan.write_range(range, blocks, output).map_err(Failure::Document)
                })
                .map_err(|failure| match failure {
                    Failure::Document(error) => error,
                    Failure::Io(source) => DocumentError::Io { doing: "writing a gzip layer", source },
                })?,
        }
        Ok(output.into())
    }
}

/// The bytes of a range as they are made, each piece on a thread that may block, and none before the
/// one before it was taken.
pub(crate) fn stream(
    app: &Arc<App>,
    download: Download,
    start: u64,
    end: u64,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + use<> {
    let app = Arc::clone(app);
    stream::try_unfold(start, move |at| {
        let (app, download) = (Arc::clone(&app), download.clone());
        async move {
            if at >= end {
                return Ok(None);
            }
            let until = end.min(at + PIECE);
            let made = tokio::task::spawn_blocking(move || {
                download.read(at..until, &app.kept_blocks.over(&*app.blocks))
            })
            .await;
            let bytes = made.map_err(std::io::Error::other)?.map_err(|error| {
                tracing::error!(error = chain(&error), "a download broke off");
                std::io::Error::other(error)
            })?;
            Ok(Some((bytes, until)))
        }
    })
}

enum Failure {
    Document(DocumentError),
    Io(std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The plans of files that were asked for lately.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    plans: Mutex<HashMap<(TaskId, DocumentRole), Kept>>,
}

#[derive(Debug)]
struct Kept {
    etag: String,
    plan: Arc<FilePlan>,
    gzip: Arc<StoredGzip>,
    bytes: usize,
    used: Instant,
}

/// An entity tag, a file, and the gzip layer around it.
type Planned = (String, Arc<FilePlan>, Arc<StoredGzip>);

impl Downloads {
    /// Forgets a task's plans: it was deleted, or is solved anew.
    pub(crate) fn forget(&self, task: &TaskId) {
        self.plans().retain(|(kept, _), _| kept != task);
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, HashMap<(TaskId, DocumentRole), Kept>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, app: &App, record: &TaskRecord, role: DocumentRole) -> Result<Option<Planned>, Refused> {
        let name = (record.id().clone(), role);
        let etag = etag(record, role);
        if let Some(kept) = self.plans().get_mut(&name)
            && kept.etag == etag
        {
            kept.used = Instant::now();
            return Ok(Some((etag, Arc::clone(&kept.plan), Arc::clone(&kept.gzip))));
        }
        let Some(document) = document(app, record, role)? else { return Ok(None) };
        let bytes = document.json.len();
        let plan = Arc::new(FilePlan::new(&document).map_err(|error| Refused::internal(&error))?);
        let gzip = Arc::new(StoredGzip::new(plan.length()));
        let mut plans = self.plans();
        while plans.len() >= PLANS
            || (!plans.is_empty()
                && plans.values().map(|kept| kept.bytes).sum::<usize>() + bytes > PLAN_BYTES)
        {
            let Some(oldest) = plans.iter().min_by_key(|(_, kept)| kept.used).map(|(name, _)| name.clone())
            else {
                break;
            };
            plans.remove(&oldest);
        }
        plans.insert(
            name,
            Kept {
                etag: etag.clone(),
                plan: Arc::clone(&plan),
                gzip: Arc::clone(&gzip),
                bytes,
                used: Instant::now(),
            },
        );
        Ok(Some((etag, plan, gzip)))
    }
}

/// Names what a file is made of. The last word changes whenever files are laid out differently.
fn etag(record: &TaskRecord, role: DocumentRole) -> String {
    let digest = match role {
        DocumentRole::Template => record.template.as_ref().map(|template| template.document),
        DocumentRole::Input => record.input,
        DocumentRole::Result => record.result,
    };
    let text = format!("{} {} {} {digest:?} 1", record.id(), role.as_str(), record.attempt);
    Digest::of(text.as_bytes()).to_string()[..32].to_owned()
}

/// A task's document; that of a mesh nobody computed is made up here.
pub(crate) fn document(
    app: &App,
    record: &TaskRecord,
    role: DocumentRole,
) -> Result<Option<Document>, Refused> {
    if let Some(document) = crate::documents::load(app, record.id(), role)? {
        return Ok(Some(document));
    }
    if role == DocumentRole::Result && record.task.kind == TaskKind::VolumeMesh {
        return empty_mesh(app, record);
    }
    Ok(None)
}

/// The result of a mesh task without monitors: there is nothing to tell of the mesh, so none is made.
fn empty_mesh(app: &App, record: &TaskRecord) -> Result<Option<Document>, Refused> {
    let Some(input) = crate::documents::load(app, record.id(), DocumentRole::Input)? else { return Ok(None) };
    let internal = |error: DocumentError| Refused::internal(&error);
    let mut blocks = MemoryBlocks::new();
    let mut result = ResultBuilder::new("VolumeMesherData", &mut blocks);
    crate::documents::embed_simulation(&mut result, TaskKind::VolumeMesh, &input).map_err(internal)?;
    result.verbatim("monitors", "[]").map_err(internal)?;
    result.verbatim("data", "[]").map_err(internal)?;
    result.member("log", "").map_err(internal)?;
    result.finish().map(Some).map_err(internal)
}

/// A file of a task as it is now; `None` if it is not there. Blocks.
pub(crate) fn find(app: &App, record: &TaskRecord, file: TaskFile) -> Result<Option<Download>, Refused> {
    let (role, layered) = match file {
        TaskFile::Input { gzip } => (DocumentRole::Input, gzip),
        TaskFile::Result { gzip } => {
            if !matches!(record.state, TaskState::Success | TaskState::Diverged) {
                return Ok(None);
            }
            (DocumentRole::Result, gzip)
        }
        TaskFile::Log => return Ok(Some(Download::memory(logs::text(app, record)?))),
        TaskFile::Error | TaskFile::Validation => {
            let Some(error) = &record.error else { return Ok(None) };
            let name = if file == TaskFile::Error { "msg" } else { "validation_error" };
            if file == TaskFile::Validation && !crate::tidy3d::status::is_validation_error(record) {
                return Ok(None);
            }
            return Ok(Some(Download::memory(
                serde_json::json!({ name: error.message, "code": error.code }).to_string(),
            )));
        }
        TaskFile::Absent => return Ok(None),
    };
    let Some((etag, plan, gzip)) = app.downloads.plan(app, record, role)? else { return Ok(None) };
    Ok(if layered {
        if role == DocumentRole::Result && plan.length() > SMALL {
            return Ok(None);
        }
        Some(Download {
            length: gzip.length(),
            etag: format!("{etag}-gz"),
            content: Content::Layered(plan, gzip),
        })
    } else {
        Some(Download { length: plan.length(), etag, content: Content::Plan(plan) })
    })
}
