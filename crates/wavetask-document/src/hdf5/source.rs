//! Where the bytes of a file come from, and how much of them may be read.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;

use crate::{DocumentError, positioned};

/// Random access to the bytes of a file.
pub trait ByteSource {
    /// Bytes in all; does not change while the file is read.
    fn length(&self) -> u64;

    /// Fills the buffer from an offset.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; whatever else reading can fail with.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ByteSource for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buffer)
    }
}

impl ByteSource for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// A file on disk, read by position: its cursor is not used.
#[derive(Debug)]
pub struct FileSource<'f> {
    file: &'f File,
    length: u64,
}

impl<'f> FileSource<'f> {
    /// The file as it is now; one that shrinks later gives errors, not wrong bytes.
    ///
    /// # Errors
    /// If its length cannot be found.
    pub fn new(file: &'f File) -> io::Result<Self> {
        Ok(Self { file, length: file.metadata()?.len() })
    }
}

impl ByteSource for FileSource<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        positioned::read_exact_at(self.file, buffer, offset)
    }
}

const PAGE_BYTES: u64 = 1 << 14;
const PAGES: usize = 8;

/// Reads structures from a source, within its length and within an allowance.
///
/// The allowance is what makes every hostile pattern end: in an honest file no two structures
/// overlap and none is read more than once, so all that is ever read is at most the file. A tree
/// whose branches meet again, names or arrays that share bytes, strings that are the same object: all
/// of them read more than there is, and stop at twice the file's length, whatever their shape.
pub(super) struct Reader<'s> {
    source: &'s dyn ByteSource,
    length: u64,
    allowance: Cell<u64>,
    /// A few pages, for structures are small and lie close together.
    pages: RefCell<[(u64, Vec<u8>); PAGES]>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s dyn ByteSource) -> Self {
        let length = source.length();
        Self {
            source,
            length,
            allowance: Cell::new(length.saturating_mul(2).saturating_add(1 << 16)),
            pages: RefCell::new(std::array::from_fn(|_| (u64::MAX, Vec::new()))),
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Refuses a range outside the file, and counts it.
    fn claim(&self, offset: u64, length: u64, what: &'static str) -> Result<(), DocumentError> {
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(DocumentError::malformed(format!("{what} lies outside the file"), place(offset)));
        }
        match self.allowance.get().checked_sub(length) {
            Some(left) => {
                self.allowance.set(left);
                Ok(())
            }
            None => Err(DocumentError::malformed(
                "structures overlap: they refer to more bytes than the file has",
                place(offset),
            )),
        }
    }

    /// Reads into a buffer, without a cache: for elements and text.
    pub(super) fn fill(
        &self,
        offset: u64,
        buffer: &mut [u8],
        what: &'static str,
    ) -> Result<(), DocumentError> {
        self.claim(offset, buffer.len() as u64, what)?;
        self.source.read_at(offset, buffer).map_err(DocumentError::io("reading the HDF5 file"))
    }

    /// Reads a small structure.
    pub(super) fn small<const SIZE: usize>(
        &self,
        offset: u64,
        what: &'static str,
    ) -> Result<[u8; SIZE], DocumentError> {
        let mut bytes = [0; SIZE];
        self.structure(offset, &mut bytes, what)?;
        Ok(bytes)
    }

    /// Reads a structure whose length the file states; the caller has bounded `length`.
    pub(super) fn bytes(
        &self,
        offset: u64,
        length: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, DocumentError> {
        // Before the memory is taken: a length that the file does not have costs nothing.
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(DocumentError::malformed(format!("{what} lies outside the file"), place(offset)));
        }
        let mut bytes = vec![0; length as usize];
        self.structure(offset, &mut bytes, what)?;
        Ok(bytes)
    }

    fn structure(&self, offset: u64, buffer: &mut [u8], what: &'static str) -> Result<(), DocumentError> {
        let page = offset / PAGE_BYTES;
        let within = (offset % PAGE_BYTES) as usize;
        if within + buffer.len() > PAGE_BYTES as usize {
            return self.fill(offset, buffer, what);
        }
        self.claim(offset, buffer.len() as u64, what)?;
        let mut pages = self.pages.borrow_mut();
        let (number, bytes) = &mut pages[page as usize % PAGES];
        if *number != page {
            let start = page * PAGE_BYTES;
            *number = u64::MAX;
            bytes.resize(PAGE_BYTES.min(self.length - start) as usize, 0);
            self.source.read_at(start, bytes).map_err(DocumentError::io("reading the HDF5 file"))?;
            *number = page;
        }
        buffer.copy_from_slice(&bytes[within..within + buffer.len()]);
        Ok(())
    }
}

/// An offset in the words of error messages.
pub(super) fn place(offset: u64) -> String {
    format!("file offset {offset}")
}

/// Takes little-endian numbers off the front of a structure.
#[derive(Clone, Copy)]
pub(super) struct Fields<'b> {
    rest: &'b [u8],
    /// The structure, for error messages.
    what: &'static str,
    /// Its offset in the file.
    offset: u64,
}

impl<'b> Fields<'b> {
    pub(super) fn new(rest: &'b [u8], what: &'static str, offset: u64) -> Self {
        Self { rest, what, offset }
    }

    pub(super) fn rest(&self) -> &'b [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'b [u8], DocumentError> {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            return self.malformed("ends too early");
        };
        self.rest = rest;
        Ok(bytes)
    }

    fn number<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], DocumentError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return self.malformed("ends too early");
        };
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DocumentError> {
        Ok(self.number::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, DocumentError> {
        Ok(u16::from_le_bytes(self.number()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, DocumentError> {
        Ok(u32::from_le_bytes(self.number()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, DocumentError> {
        Ok(u64::from_le_bytes(self.number()?))
    }

    pub(super) fn signature(&mut self, signature: &[u8]) -> Result<(), DocumentError> {
        if self.take(signature.len())? == signature {
            Ok(())
        } else {
            self.malformed("has the wrong signature")
        }
    }

    pub(super) fn malformed<T>(&self, what: &str) -> Result<T, DocumentError> {
        Err(DocumentError::malformed(format!("{} {what}", self.what), place(self.offset)))
    }

    pub(super) fn unsupported<T>(&self, what: &str) -> Result<T, DocumentError> {
        Err(DocumentError::unsupported(format!("{}: {what}", self.what), place(self.offset)))
    }
}
