//! Reads anything as an HDF5 file; what can be read must survive writing and reading again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wavetask_document::{DocumentError, Limits, MemoryBlocks, hdf5};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        inflation_floor: 4 << 20,
        json_bytes: 1 << 20,
        objects: 2000,
        array_bytes: 4 << 20,
        text_bytes: 1 << 18,
        working_bytes: 1 << 20,
        block_bytes: 1 << 12,
        ..Limits::default()
    };
    let mut blocks = MemoryBlocks::new();
    let Ok(document) = hdf5::read(&bytes, &limits, &mut blocks) else { return };
    let mut file = Vec::new();
    match hdf5::write(&document, &blocks, &mut file) {
        Ok(()) => {}
        // Strings with zero characters can be read but not be written.
        Err(DocumentError::Unsupported { .. }) => return,
        Err(error) => panic!("what was read cannot be written: {error}"),
    }
    let again = hdf5::read(&file, &limits, &mut MemoryBlocks::new()).expect("what was written can be read");
    assert_eq!(again, document);
    document.digest().expect("what was read has a digest");
});
