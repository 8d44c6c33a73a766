//! HDF5 as tidy3d writes it: the only place that knows the format.
//!
//! Reading ([`read`], [`read_file`]) and writing ([`FilePlan`], [`write()`]) are our own, for one
//! dialect: superblock version 0 or 1, version 1 object headers, symbol-table groups, datasets that
//! are contiguous, compact or chunked (deflate, shuffle, Fletcher32), numbers, `{r, i}` complex,
//! strings of fixed and variable length. That is what h5py writes unless it is asked for
//! `libver="latest"`, so every version of the client writes it. The rest is refused by name: the
//! 'latest' structures, links that are not hard, hard links to one object twice, data in other files,
//! committed datatypes, virtual datasets, other filters.
//!
//! # Why not a library
//!
//! Uploads come from strangers and must not cost more memory or time than the limits say. Two
//! libraries were considered. The C library behind a binding is neither memory-safe nor bounded.
//! `hdf5-pure` 0.47 is memory-safe, but bounds neither of two things, measured on files made for it:
//! listing a group copies every name, so a file of 2.4 MB, whose 2000 links all point into one long
//! name, took 7.9 GB; and datatypes are parsed recursively to any depth, so a file of 70 kB overflowed
//! the 2 MiB stack of a thread, which ends the process: nothing catches it. A wrapper can bound
//! neither, for both happen inside one call. What the client's dialect needs is small enough to be
//! written so that every step is bounded by construction:
//!
//! - everything that is read is charged to an allowance of twice the file's length, and in an honest
//!   file nothing is read twice, so aliasing of any kind ends there;
//! - levels of B-trees fall on every path, groups are never entered twice, datatypes are not recursive;
//! - no memory is taken for a length before the file is known to have it, or a limit allows it;
//! - no arithmetic on a number from the file is unchecked, no index is taken from it unproved.
//!
//! Panics are not caught: there is no code here that is allowed to, and a test over a hundred thousand
//! damaged files says that none does.

mod chunk;
mod element;
mod encode;
mod group;
mod header;
mod heap;
mod plan;
mod read;
mod source;

use std::io::Write;

pub use plan::{BlockInFile, BricksInFile, FilePlan};
pub use read::{read, read_file, read_result, read_result_file};
pub use source::{ByteSource, FileSource};

use crate::{BlockSource, Document, DocumentError};

/// The dataset of the JSON, and what the names of its continuations begin with.
const JSON_DATASET: &str = "JSON_STRING";

/// The name of the dataset of one part of the JSON.
fn json_dataset_name(part: usize) -> String {
    if part == 0 { JSON_DATASET.to_owned() } else { format!("{JSON_DATASET}_{part}") }
}

/// Writes the HDF5 file of a document, streaming; the same document gives the same bytes.
///
/// [`FilePlan`] is for when the length or a range of the file is wanted.
///
/// # Errors
/// As [`FilePlan::new`] and [`FilePlan::write`].
pub fn write(
    document: &Document,
    blocks: &dyn BlockSource,
    output: &mut dyn Write,
) -> Result<(), DocumentError> {
    FilePlan::new(document)?.write(blocks, output)
}
