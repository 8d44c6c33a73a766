//! Unpacks anything, within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wavetask_document::{Limits, unpack};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { file_bytes: 1 << 22, inflation_floor: 1 << 20, ..Limits::default() };
    let mut plain = Vec::new();
    let outcome = unpack::unpack(&mut &*bytes, &mut plain, &limits);
    assert!(plain.len() <= 1 << 22);
    if let Ok(unpacked) = outcome {
        assert_eq!(unpacked.bytes, plain.len() as u64);
    }
});
