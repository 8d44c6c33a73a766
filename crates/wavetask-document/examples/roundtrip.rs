//! Takes uploads apart and puts them together again: `roundtrip BLOCKS INPUT OUTPUT [INPUT OUTPUT]…`.
//!
//! Blocks are kept as files in the folder BLOCKS; with `-` they are only hashed. For every pair a line of JSON says what was found:
//! the document's digest, its arrays, sizes, times and this process's peak memory. With `-` as OUTPUT
//! nothing is written. The environment variable JSON_PART_BYTES splits the JSON that is written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use wavetask_document::{BlockSink, BlockSource, Digest, Document, DocumentError, Limits, hdf5, unpack};

struct Folder(PathBuf);

impl BlockSink for Folder {
    fn put(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        if self.0.as_os_str() == "-" {
            return Ok(digest);
        }
        let path = self.0.join(digest.to_string());
        if !path.exists() {
            std::fs::write(path, bytes)?;
        }
        Ok(digest)
    }
}

impl BlockSource for Folder {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        io::Read::read_to_end(&mut File::open(self.0.join(digest.to_string()))?, buffer)?;
        if Digest::of(buffer) == *digest { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut blocks = Folder(arguments.next().ok_or("BLOCKS is missing")?.into());
    if blocks.0.as_os_str() != "-" {
        std::fs::create_dir_all(&blocks.0)?;
    }
    while let (Some(input), Some(output)) = (arguments.next(), arguments.next()) {
        let line = match roundtrip(&mut blocks, Path::new(&input), &output) {
            Ok(line) => line,
            Err(error) => serde_json::json!({"code": error.code(), "error": error.to_string()}),
        };
        writeln!(io::stdout(), "{line}")?;
    }
    Ok(())
}

fn roundtrip(blocks: &mut Folder, input: &Path, output: &str) -> Result<serde_json::Value, DocumentError> {
    let limits = Limits::default();
    let start = Instant::now();
    let plain = unpack::open(input, &std::env::temp_dir(), &limits)?;
    let unpacked = start.elapsed();
    let document = hdf5::read_file(&plain, &limits, blocks)?;
    let read = start.elapsed() - unpacked;
    // Through its stored form and back, as a server keeps it.
    let stored = serde_json::to_string(&document).map_err(|error| io_error("storing", error.into()))?;
    let document: Document =
        serde_json::from_str(&stored).map_err(|error| io_error("restoring", error.into()))?;
    let mut length = 0;
    let writing = Instant::now();
    if output != "-" {
        let plan = match std::env::var("JSON_PART_BYTES").ok().and_then(|bytes| bytes.parse().ok()) {
            Some(bytes) => hdf5::FilePlan::with_json_parts(&document, bytes)?,
            None => hdf5::FilePlan::new(&document)?,
        };
        length = plan.length();
        let file = File::create(output).map_err(|error| io_error("creating the output", error))?;
        let mut file = BufWriter::new(file);
        plan.write(blocks, &mut file)?;
        file.flush().map_err(|error| io_error("writing the output", error))?;
    }
    Ok(serde_json::json!({
        "digest": document.digest()?,
        "arrays": document.arrays.len(),
        "array_bytes": document.array_bytes(),
        "written_bytes": length,
        "unpack_seconds": unpacked.as_secs_f64(),
        "read_seconds": read.as_secs_f64(),
        "write_seconds": writing.elapsed().as_secs_f64(),
        "peak_kib": peak_kib(),
    }))
}

fn io_error(doing: &'static str, source: io::Error) -> DocumentError {
    DocumentError::Io { doing, source }
}

fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
