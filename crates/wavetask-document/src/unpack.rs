//! Uploads arrive as `.hdf5.gz` or as plain `.hdf5`: this takes the gzip layer off, streaming.
//!
//! Members are concatenated as Python's `gzip` does it, which is what wrote the file and what will
//! read it back on the other side: any level, any number of members, zero bytes after a member are
//! padding, anything else there is an error. Refusing other trailing bytes also means that two
//! parties can never read different content from one file.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::error::within;
use crate::{DocumentError, Limits};

const READING: &str = "reading the upload";
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 1 << 18;
/// Each member costs a decoder, so members must have this many bytes on average, after some that
/// need not: writers that work in parallel cut at 64 kB or more.
const MEMBER_BYTES: u64 = 1024;
const FREE_MEMBERS: u64 = 4096;
/// The first bytes of every HDF5 file.
pub(crate) const HDF5_MAGIC: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes written.
    pub bytes: u64,
    /// Gzip members; zero if the input was plain.
    pub members: u64,
}

/// Copies an upload to `output`, taking off the gzip layer if there is one.
///
/// Plain HDF5 is recognised by its signature. Memory is a few fixed buffers.
///
/// # Errors
/// `Malformed` for anything else, for a damaged or truncated stream and for trailing bytes;
/// `TooLarge` beyond `file_bytes` or the inflation limits; `Io` if reading or writing fails.
pub fn unpack(
    input: &mut dyn Read,
    output: &mut dyn Write,
    limits: &Limits,
) -> Result<Unpacked, DocumentError> {
    let mut input = Lookahead::new(input);
    let mut output = Bounded { inner: output, bytes: 0 };
    let magic = input.peek()?;
    if *magic == HDF5_MAGIC[..2] {
        loop {
            let buffer = input.fill_buf().map_err(DocumentError::io(READING))?;
            if buffer.is_empty() {
                return Ok(Unpacked { bytes: output.bytes, members: 0 });
            }
            let length = buffer.len();
            output.write(buffer, "file_bytes", limits.file_bytes)?;
            input.consume(length);
        }
    }
    if *magic != GZIP_MAGIC {
        return Err(DocumentError::malformed("neither HDF5 nor gzip", "offset 0"));
    }
    let mut members = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        inflate_member(&mut input, &mut output, &mut buffer, limits)?;
        members += 1;
        if members > FREE_MEMBERS + input.offset() / MEMBER_BYTES {
            return Err(DocumentError::malformed(
                "too many tiny gzip members",
                format!("offset {}", input.offset()),
            ));
        }
        input.skip_zeros()?;
        match input.peek()? {
            [] => return Ok(Unpacked { bytes: output.bytes, members }),
            next if *next == GZIP_MAGIC => {}
            _ => {
                return Err(DocumentError::malformed(
                    "bytes after the end of the gzip stream",
                    format!("offset {}", input.offset()),
                ));
            }
        }
    }
}

/// Opens an upload as a plain HDF5 file: itself if it is one, or an unnamed temporary file in
/// `scratch` with the unpacked bytes.
///
/// # Errors
/// As [`unpack`].
pub fn open(path: &Path, scratch: &Path, limits: &Limits) -> Result<File, DocumentError> {
    let mut file = File::open(path).map_err(DocumentError::io("opening the upload"))?;
    let mut magic = Vec::with_capacity(8);
    (&mut file).take(8).read_to_end(&mut magic).map_err(DocumentError::io(READING))?;
    file.seek(SeekFrom::Start(0)).map_err(DocumentError::io(READING))?;
    if magic == HDF5_MAGIC {
        let length = file.metadata().map_err(DocumentError::io(READING))?.len();
        within("file_bytes", limits.file_bytes, length)?;
        return Ok(file);
    }
    let mut plain = tempfile::tempfile_in(scratch)
        .map_err(DocumentError::io("creating a temporary file for unpacking"))?;
    unpack(&mut file, &mut plain, limits)?;
    plain.seek(SeekFrom::Start(0)).map_err(DocumentError::io("reading the unpacked upload"))?;
    Ok(plain)
}

fn inflate_member(
    input: &mut Lookahead<'_>,
    output: &mut Bounded<'_>,
    buffer: &mut [u8],
    limits: &Limits,
) -> Result<(), DocumentError> {
    let mut decoder = GzDecoder::new(&mut *input);
    loop {
        match decoder.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                let allowed = limits.inflated_bytes(decoder.get_ref().offset());
                let limit = if allowed < limits.file_bytes { "inflation_ratio" } else { "file_bytes" };
                output.write(&buffer[..read], limit, allowed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(inflation_error(error, decoder.get_ref().offset())),
        }
    }
}

/// The decoder reports damage as an input/output error of one of these kinds.
fn inflation_error(error: io::Error, offset: u64) -> DocumentError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            DocumentError::malformed("the gzip stream ends too early", format!("offset {offset}"))
        }
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => DocumentError::malformed(
            format!("the gzip stream is damaged ({error})"),
            format!("before offset {offset}"),
        ),
        _ => DocumentError::Io { doing: READING, source: error },
    }
}

/// A buffered reader that can show the next two bytes wherever its buffer ends.
struct Lookahead<'r> {
    inner: &'r mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes read from `inner`.
    read: u64,
}

impl<'r> Lookahead<'r> {
    fn new(inner: &'r mut dyn Read) -> Self {
        Self { inner, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, read: 0 }
    }

    /// The position of the next byte in the input.
    fn offset(&self) -> u64 {
        self.read - (self.end - self.start) as u64
    }

    /// Reads more behind what is buffered; false at the end of the input.
    fn refill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.read += read as u64;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next two bytes, fewer at the end of the input.
    fn peek(&mut self) -> Result<&[u8], DocumentError> {
        while self.end - self.start < 2 && self.refill().map_err(DocumentError::io(READING))? {}
        Ok(&self.buffer[self.start..self.end.min(self.start + 2)])
    }

    fn skip_zeros(&mut self) -> Result<(), DocumentError> {
        loop {
            let buffer = self.fill_buf().map_err(DocumentError::io(READING))?;
            let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
            let done = buffer.is_empty() || zeros < buffer.len();
            self.consume(zeros);
            if done {
                return Ok(());
            }
        }
    }
}

impl Read for Lookahead<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(output.len());
        output[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Lookahead<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.refill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
    }
}

/// An output that counts, and refuses what exceeds the limits before it is written.
struct Bounded<'w> {
    inner: &'w mut dyn Write,
    bytes: u64,
}

impl Bounded<'_> {
    fn write(&mut self, bytes: &[u8], limit: &'static str, allowed: u64) -> Result<(), DocumentError> {
        self.bytes += bytes.len() as u64;
        within(limit, allowed, self.bytes)?;
        self.inner.write_all(bytes).map_err(DocumentError::io("writing the unpacked upload"))
    }
}
