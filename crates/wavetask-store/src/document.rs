//! Documents in and out of a store.

use wavetask_document::{BlockSource, Digest, Document};

use crate::block_store::BlockSession;
use crate::error::{Result, StoreError};
use crate::model::{DocumentBody, KeptDocument, StoredDocument};

/// Documents up to this length are kept in the database, longer ones in blocks.
const MAXIMUM_INLINE: usize = 64 << 10;

/// Length of the blocks that a longer document is cut into.
const BODY_BLOCK: usize = 4 << 20;

/// Prepares a document to be attached to a task: its body is put into the session if it is long. `digest`
/// is the document's canonical digest; the blocks of its arrays must have been put or pinned in the same
/// session.
///
/// # Errors
/// `NoSpace` and others of the session.
pub fn put_document(
    session: &mut dyn BlockSession,
    document: &Document,
    digest: Digest,
) -> Result<StoredDocument> {
    let failed =
        |error: serde_json::Error| StoreError::Failed { action: "write a document", source: error.into() };
    let body = serde_json::to_vec(document).map_err(failed)?;
    let body_length = body.len() as u64;
    let mut blocks: Vec<Digest> =
        document.arrays.values().flat_map(|array| array.blocks.iter().copied()).collect();
    let body = if body.len() <= MAXIMUM_INLINE {
        DocumentBody::Inline(body)
    } else {
        let put = |piece| session.put(piece).map_err(|error| StoreError::from_io("store a document", error));
        let digests = body.chunks(BODY_BLOCK).map(put).collect::<Result<Vec<_>>>()?;
        blocks.extend(&digests);
        DocumentBody::Blocks(digests)
    };
    blocks.sort_unstable();
    blocks.dedup();
    let array_length = document.arrays.values().map(|array| array.byte_length).sum();
    Ok(StoredDocument { digest, body, body_length, array_length, blocks })
}

/// Reads a document back.
///
/// # Errors
/// `NotFound` if a block of its body is gone, `Damaged` if it is not what was written.
pub fn get_document(blocks: &dyn BlockSource, kept: &KeptDocument) -> Result<Document> {
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        what: format!("the document {} cannot be read", kept.digest),
        source: Some(error.into()),
    };
    match &kept.body {
        DocumentBody::Inline(body) => serde_json::from_slice(body).map_err(damaged),
        DocumentBody::Blocks(digests) => {
            let mut body = Vec::new();
            let mut piece = Vec::new();
            for digest in digests {
                blocks.get(digest, &mut piece).map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => StoreError::NotFound("block of a document"),
                    _ => StoreError::from_io("read a document", error),
                })?;
                body.extend_from_slice(&piece);
            }
            serde_json::from_slice(&body).map_err(damaged)
        }
    }
}
