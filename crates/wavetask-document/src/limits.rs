//! Limits on what is read from strangers, in one place, with defaults for a workstation.

/// Bytes per block unless the caller says otherwise: 1 MiB.
///
/// Large enough that a gigabyte is a thousand files rather than a million, small enough that two
/// simulations that differ in one place share nearly all of their blocks.
pub const BLOCK_BYTES: u64 = 1 << 20;

/// How much a document read from outside may ask for. Each excess is refused with
/// [`DocumentError::TooLarge`](crate::DocumentError::TooLarge), which names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the HDF5 file after gunzip. Default 64 GiB. This bounds disk, not memory.
    pub file_bytes: u64,
    /// Bytes out per byte in, once `inflation_floor` is passed: for gzip, and for filtered or
    /// never-written datasets inside the file. Default 300; deflate cannot exceed 1032.
    pub inflation_ratio: u64,
    /// Bytes that may come out whatever went in. Default 1 GiB: a constant array of that size is an
    /// ordinary upload although it shrinks a thousandfold.
    pub inflation_floor: u64,
    /// Bytes of JSON text. Default 256 MiB; the text is held in memory about twice.
    pub json_bytes: u64,
    /// Nesting of the JSON. Default 128, the limit of `serde_json` in the crates that parse it.
    pub json_depth: usize,
    /// Groups and datasets in a file. Default 100,000.
    pub objects: u64,
    /// Nesting of groups. Default 64.
    pub group_depth: usize,
    /// Bytes of one object's name. Default 1024.
    pub name_bytes: u64,
    /// Bytes of all paths together. Default 32 MiB.
    pub path_bytes: u64,
    /// Bytes of one array. Default 64 GiB; it is streamed, so this does not bound memory.
    pub array_bytes: u64,
    /// Bytes of one array of strings, which is held in memory. Default 64 MiB.
    pub text_bytes: u64,
    /// Bytes of memory for one step of reading: a group's names, a band of chunks. Default 128 MiB.
    pub working_bytes: u64,
    /// Bytes per block that arrays are cut into: a multiple of 16. Default [`BLOCK_BYTES`].
    pub block_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 30,
            inflation_ratio: 300,
            inflation_floor: 1 << 30,
            json_bytes: 256 << 20,
            json_depth: 128,
            objects: 100_000,
            group_depth: 64,
            name_bytes: 1024,
            path_bytes: 32 << 20,
            array_bytes: 64 << 30,
            text_bytes: 64 << 20,
            working_bytes: 128 << 20,
            block_bytes: BLOCK_BYTES,
        }
    }
}

impl Limits {
    /// The bytes that may be produced from `stored` bytes.
    pub(crate) fn inflated_bytes(&self, stored: u64) -> u64 {
        stored.saturating_mul(self.inflation_ratio).max(self.inflation_floor).min(self.file_bytes)
    }
}
