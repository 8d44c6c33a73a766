//! A result: its document here, its arrays where they are until somebody asks for them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use wavetask_document::{ArrayDescriptor, Document, DocumentError, ElementType, Part};
use wavetask_protocol::TaskId;

use crate::engine::Engine;
use crate::error::{ClientError, ErrorGroup};

/// The result of a task. Cheap to clone.
#[derive(Clone)]
pub struct ResultDocument {
    engine: Arc<Engine>,
    task: TaskId,
    document: Arc<Document>,
    diverged: bool,
}

/// An array of a result: the bytes of its elements, little-endian in C order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayData {
    /// Type of the elements.
    pub element_type: ElementType,
    /// Extent of each dimension.
    pub shape: Vec<u64>,
    /// The elements; of texts, a little-endian `u32` length and the UTF-8 bytes of each.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for ResultDocument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResultDocument")
            .field("task", &self.task)
            .field("arrays", &self.document.arrays.len())
            .field("diverged", &self.diverged)
            .finish_non_exhaustive()
    }
}

impl ResultDocument {
    pub(crate) const fn new(
        engine: Arc<Engine>,
        task: TaskId,
        document: Arc<Document>,
        diverged: bool,
    ) -> Self {
        Self { engine, task, document, diverged }
    }

    /// The task whose result this is.
    pub const fn task(&self) -> &TaskId {
        &self.task
    }

    /// Its JSON and the descriptors of its arrays by path.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Whether the solution diverged.
    pub const fn diverged(&self) -> bool {
        self.diverged
    }

    /// Whether all blocks of the arrays whose paths begin with one of these prefixes are in memory already.
    pub fn is_here(&self, prefixes: &[&str]) -> bool {
        self.engine.all_cached(&self.blocks_below(prefixes))
    }

    /// The array at this path (`data/0/temperature/x`); what of it is not in memory is fetched.
    ///
    /// # Errors
    /// `NotFound` if there is no such array, else those of fetching.
    pub fn array(&self, path: &str) -> Result<ArrayData, ClientError> {
        let (this, path) = (self.clone(), path.to_owned());
        self.engine.block(async move { this.array_async(&path).await })
    }

    /// As [`array`](Self::array), for async code of any runtime.
    ///
    /// # Errors
    /// As [`array`](Self::array).
    pub async fn array_async(&self, path: &str) -> Result<ArrayData, ClientError> {
        let descriptor = self.descriptor(path)?;
        let part = descriptor.blocks_of(&[]).map_err(|error| unreadable(path, error))?;
        let (engine, array) = (self.engine.clone(), descriptor.clone());
        let bytes = self.engine.run(async move { engine.read_blocks(&array, &part).await }).await?;
        Ok(ArrayData { element_type: descriptor.element_type, shape: descriptor.shape.clone(), bytes })
    }

    /// A part of the array at this path: a range of indices along each dimension (missing ones are whole). Only
    /// the blocks that it touches are fetched, or the part alone if they have many more bytes and the server cuts it
    /// out of them.
    ///
    /// # Errors
    /// As [`array`](Self::array); `Usage` if the ranges do not fit the shape or it is an array of texts.
    pub fn slice(&self, path: &str, ranges: &[Range<u64>]) -> Result<ArrayData, ClientError> {
        let (this, path, ranges) = (self.clone(), path.to_owned(), ranges.to_vec());
        self.engine.block(async move { this.slice_async(&path, &ranges).await })
    }

    /// As [`slice`](Self::slice), for async code of any runtime.
    ///
    /// # Errors
    /// As [`slice`](Self::slice).
    pub async fn slice_async(&self, path: &str, ranges: &[Range<u64>]) -> Result<ArrayData, ClientError> {
        let descriptor = self.descriptor(path)?;
        let part = part_of(descriptor, ranges).ok_or_else(|| {
            ClientError::new(ErrorGroup::Usage, "slice.does_not_fit", does_not_fit(path, descriptor))
        })?;
        let shape = part.shape.clone();
        let (this, array) = (self.clone(), descriptor.clone());
        let (path, ranges) = (path.to_owned(), ranges.to_vec());
        let read = async move { this.engine.read_part(&this.task, &path, &array, &ranges, &part).await };
        let bytes = self.engine.run(read).await?;
        Ok(ArrayData { element_type: descriptor.element_type, shape, bytes })
    }

    /// Fetches the arrays whose paths begin with one of these prefixes into memory, as far as there is room.
    ///
    /// # Errors
    /// Those of fetching.
    pub fn fetch(&self, prefixes: &[&str]) -> Result<(), ClientError> {
        let (engine, blocks) = (self.engine.clone(), self.blocks_below(prefixes));
        self.engine.block(async move { engine.fetch_into_cache(blocks).await })
    }

    /// As [`fetch`](Self::fetch), for async code of any runtime.
    ///
    /// # Errors
    /// Those of fetching.
    pub async fn fetch_async(&self, prefixes: &[&str]) -> Result<(), ClientError> {
        let (engine, blocks) = (self.engine.clone(), self.blocks_below(prefixes));
        self.engine.run(async move { engine.fetch_into_cache(blocks).await }).await
    }

    fn blocks_below(&self, prefixes: &[&str]) -> Vec<wavetask_protocol::native::WantedBlock> {
        let mut blocks = Vec::new();
        for (path, array) in &self.document.arrays {
            if prefixes.is_empty() || prefixes.iter().any(|prefix| is_below(path, prefix)) {
                blocks.extend(crate::engine::results::blocks_of(array));
            }
        }
        blocks
    }

    fn descriptor(&self, path: &str) -> Result<&ArrayDescriptor, ClientError> {
        self.document.arrays.get(path).ok_or_else(|| {
            ClientError::new(
                ErrorGroup::NotFound,
                "result.no_array",
                format!("There is no array at `{path}`."),
            )
            .task(self.task.clone())
            .hint("document() names all arrays")
        })
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

fn does_not_fit(path: &str, array: &ArrayDescriptor) -> String {
    match array.element_type {
        ElementType::Text => format!("`{path}` holds texts, which have no slices; fetch it whole."),
        _ => format!("The ranges do not fit `{path}`, whose shape is {:?}.", array.shape),
    }
}

/// The part of an array in these ranges; `None` if they do not fit it.
fn part_of(array: &ArrayDescriptor, ranges: &[Range<u64>]) -> Option<Part> {
    array.element_type.size()?;
    array.blocks_of(ranges).ok()
}

fn unreadable(path: &str, error: DocumentError) -> ClientError {
    let message = format!("The result does not say how the array at `{path}` can be read.");
    ClientError::new(ErrorGroup::DataCorrupted, error.code(), message).hint(error.hint()).caused_by(error)
}

#[cfg(test)]
mod tests {
    use wavetask_document::{Array, MemoryBlocks, Values};

    use super::*;

    #[test]
    fn slices_fit_or_are_refused() {
        let array = Array::new(vec![3, 4, 2], Values::Int32((0..24).collect())).unwrap();
        let mut blocks = MemoryBlocks::new();
        for descriptor in
            [array.store(&mut blocks, 16).unwrap(), array.store_in_bricks(&mut blocks, &[2, 2, 2]).unwrap()]
        {
            let part = part_of(&descriptor, std::slice::from_ref(&(1..3))).unwrap();
            assert_eq!((part.shape, part.byte_length), (vec![2, 4, 2], 64));
            assert!(part_of(&descriptor, std::slice::from_ref(&(1..4))).is_none());
            assert!(part_of(&descriptor, &[0..1, 0..1, 0..1, 0..1]).is_none());
        }
        let texts = Array::new(vec![1], Values::Text(vec!["+".to_owned()])).unwrap();
        assert!(part_of(&texts.store(&mut blocks, 16).unwrap(), &[]).is_none());
        assert!(is_below("data/0/x", "data/0") && !is_below("data/01/x", "data/0"));
    }
}
