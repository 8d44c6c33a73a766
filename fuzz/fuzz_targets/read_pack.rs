//! Reads anything as a pack, in pieces; what is read must be what its digest says, and travel again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wavetask_document::Digest;
use wavetask_document::pack::{self, Compression, PackLimits, Reader};

fuzz_target!(|bytes: &[u8]| {
    let limits = PackLimits { block_bytes: 1 << 20, message_bytes: 1 << 20, frames: 100, raw_bytes: 4 << 20 };
    // The first byte says how the rest is cut; without the magic nearly nothing would get past the door.
    let (piece, bytes) = bytes.split_first().map_or((1, bytes), |(piece, rest)| (usize::from(*piece) + 1, rest));
    let mut body = pack::MAGIC.to_vec();
    body.extend_from_slice(bytes);
    let mut reader = Reader::new(limits);
    let mut again = pack::MAGIC.to_vec();
    let mut frames = Vec::new();
    'pack: for received in body.chunks(piece) {
        reader.feed(received);
        loop {
            match reader.next() {
                Ok(Some(frame)) => {
                    assert_eq!(frame.digest, Digest::of(&frame.bytes));
                    pack::encode(frame.kind, &frame.bytes, 8, Compression::WherePays, &mut again).expect("fits");
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(_) => break 'pack,
            }
        }
    }
    pack::end(&mut again);
    let mut reader = Reader::new(limits);
    reader.feed(&again);
    for frame in &frames {
        assert_eq!(reader.next().expect("ours").as_ref(), Some(frame));
    }
    assert_eq!(reader.next(), Ok(None));
    reader.finish().expect("ours");
});
