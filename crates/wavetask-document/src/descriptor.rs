//! What a document is once it has been taken apart: JSON text, and descriptors of its arrays.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::within;
use crate::layout::BrickGrid;
use crate::{Digest, DocumentError, ElementType, Layout, Limits, json};

/// Domain separation and version of [`Document::digest`]: a change of what is hashed changes this.
const DIGEST_CONTEXT: &str = "wavetask document digest v1";

/// A document: the client's JSON text, verbatim, and where its arrays' blocks are.
///
/// The text is kept as it came because results echo it: clients of other versions reject keys that
/// they do not know, so it must not be written anew from a parsed form.
///
/// Reading one back with serde checks it as [`Document::check`] does.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Document {
    /// The JSON exactly as the client wrote it.
    pub json: Arc<str>,
    /// The arrays by their path in the file, without a leading slash.
    pub arrays: BTreeMap<String, ArrayDescriptor>,
}

/// One array: element type, shape, and the blocks that hold its bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ArrayDescriptor {
    /// Type of the elements; bytes are little-endian.
    pub element_type: ElementType,
    /// Extent of each dimension.
    pub shape: Vec<u64>,
    /// Number of bytes in all.
    pub byte_length: u64,
    /// Digest of all the array's bytes in C order, whatever the layout.
    pub digest: Digest,
    /// How the bytes are cut into blocks.
    pub layout: Layout,
    /// The blocks' digests in the order of the layout.
    pub blocks: Vec<Digest>,
}

#[derive(serde::Deserialize)]
struct Unchecked {
    json: Arc<str>,
    arrays: BTreeMap<String, ArrayDescriptor>,
}

impl TryFrom<Unchecked> for Document {
    type Error = DocumentError;

    fn try_from(unchecked: Unchecked) -> Result<Self, DocumentError> {
        let document = Self { json: unchecked.json, arrays: unchecked.arrays };
        document.check()?;
        Ok(document)
    }
}

impl ArrayDescriptor {
    /// The number of elements, the product of the shape; `None` if it overflows.
    pub fn element_count(&self) -> Option<u64> {
        element_count(&self.shape)
    }

    /// Checks that shape, length and blocks agree.
    ///
    /// # Errors
    /// `Malformed` if they do not.
    pub fn check(&self, path: &str) -> Result<(), DocumentError> {
        let malformed = |what: &'static str| Err(DocumentError::malformed(what, path));
        if let Layout::Linear { block_bytes } = self.layout
            && (block_bytes == 0 || !block_bytes.is_multiple_of(16))
        {
            return malformed("the block size is not a multiple of 16");
        }
        let Some(count) = self.element_count() else { return malformed("the shape overflows") };
        match self.element_type.size() {
            Some(size) if count.checked_mul(size as u64) != Some(self.byte_length) => {
                return malformed("the length does not fit the shape");
            }
            None if count.checked_mul(4).is_none_or(|least| self.byte_length < least) => {
                return malformed("the length is too small for that many strings");
            }
            _ => {}
        }
        let number = match &self.layout {
            Layout::Linear { block_bytes } => self.byte_length.div_ceil(*block_bytes),
            Layout::Bricks { extents } => match BrickGrid::new(self.element_type, &self.shape, extents) {
                Ok(grid) => grid.number(),
                Err(what) => return malformed(what),
            },
        };
        if number != self.blocks.len() as u64 {
            return malformed("the number of blocks does not fit the length");
        }
        Ok(())
    }
}

/// The product of a shape; `None` if it overflows.
pub(crate) fn element_count(shape: &[u64]) -> Option<u64> {
    // A zero anywhere makes the product zero even if other extents overflow without it.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent))
}

impl Document {
    /// Checks that every path can be a path and every descriptor agrees with itself.
    ///
    /// # Errors
    /// `Malformed` if not. The JSON is not parsed here; whatever parses it reports its faults.
    pub fn check(&self) -> Result<(), DocumentError> {
        for (path, array) in &self.arrays {
            check_path(path)?;
            array.check(path)?;
            if let Some(parent) = parents(path).find(|parent| self.arrays.contains_key(*parent)) {
                return Err(DocumentError::malformed(format!("`{parent}` is an array and a group"), path));
            }
        }
        Ok(())
    }

    /// The canonical digest: equal for equal content, whatever the HDF5 layout, the order of keys,
    /// the spelling of numbers, the cutting into blocks or the compression of the upload.
    ///
    /// What counts as content: the JSON with numbers as exact decimals (`1`, `1.0` and `1e0` are
    /// one, `0.0` and `-0.0` are two) and strings by their characters; of every array the path, the
    /// element type, the shape and the bytes. Versioned and domain-separated.
    ///
    /// # Errors
    /// `Malformed` if the JSON is not strict JSON, repeats a key in an object, or is nested more
    /// deeply than 128 levels.
    pub fn digest(&self) -> Result<Digest, DocumentError> {
        let json = json::digest(&self.json, Limits::default().json_depth)?;
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
        hasher.update(&json);
        hasher.update(&(self.arrays.len() as u64).to_le_bytes());
        for (path, array) in &self.arrays {
            for text in [path.as_str(), array.element_type.name()] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
            hasher.update(&(array.shape.len() as u64).to_le_bytes());
            for extent in &array.shape {
                hasher.update(&extent.to_le_bytes());
            }
            hasher.update(array.digest.as_bytes());
        }
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// The verbatim JSON text of the value at a path of keys and list indices (`monitors/0`);
    /// the empty path is the whole. `None` if there is none.
    ///
    /// # Errors
    /// `Malformed` if the text on the way is not JSON.
    pub fn fragment(&self, path: &str) -> Result<Option<&str>, DocumentError> {
        json::slice(&self.json, path, Limits::default().json_depth)
    }

    /// The part of this document at a path as a document of its own: its JSON verbatim, its arrays
    /// under their paths relative to it, sharing the same blocks. `None` if there is no such part.
    ///
    /// A mesher's upload holds the simulation it meshes at `simulation`.
    ///
    /// # Errors
    /// `Malformed` if the text on the way is not JSON.
    pub fn subdocument(&self, path: &str) -> Result<Option<Self>, DocumentError> {
        let Some(json) = self.fragment(path)? else { return Ok(None) };
        let prefix = format!("{path}/");
        let arrays = self
            .arrays
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix))
            .map(|(name, array)| (name[prefix.len()..].to_owned(), array.clone()))
            .collect();
        Ok(Some(Self { json: json.into(), arrays }))
    }

    /// Bytes of all arrays together, as a file would hold them.
    pub fn array_bytes(&self) -> u64 {
        self.arrays.values().fold(0, |sum, array| sum.saturating_add(array.byte_length))
    }
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Refuses what cannot be the path of a dataset.
pub(crate) fn check_path(path: &str) -> Result<(), DocumentError> {
    let limits = Limits::default();
    let mut depth = 0;
    for component in path.split('/') {
        depth += 1;
        if matches!(component, "" | "." | "..") || component.contains('\0') {
            return Err(DocumentError::malformed("not the path of an array", path));
        }
        within("name_bytes", limits.name_bytes, component.len() as u64)?;
    }
    within("group_depth", limits.group_depth as u64, depth)
}
