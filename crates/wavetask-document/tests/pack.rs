//! Packs: what goes in comes out, whatever the cutting; what is damaged or hostile is refused in bounded memory.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use proptest::collection::vec;
use proptest::prelude::*;
use wavetask_document::Digest;
use wavetask_document::pack::{
    self, Compression, Frame, FrameKind, HEADER_BYTES, MAGIC, MAXIMUM_FRAME, PackError, PackLimits, Reader,
};

const LARGE: PackLimits =
    PackLimits { block_bytes: MAXIMUM_FRAME, message_bytes: MAXIMUM_FRAME, frames: 1000, raw_bytes: 1 << 30 };

/// Reproducible noise.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

fn smooth(count: u32) -> Vec<u8> {
    (0..count).flat_map(|index| (f64::from(index) * 1e-3).sin().to_le_bytes()).collect()
}

/// Two materials in stripes that do not repeat in step with anything.
fn binary(count: u32) -> Vec<u8> {
    (0..count).flat_map(|index| if index % 97 < 31 { 12.1_f64 } else { 2.085 }.to_le_bytes()).collect()
}

fn one(raw: &[u8], width: u8, compression: Compression) -> Vec<u8> {
    let mut body = MAGIC.to_vec();
    pack::encode(FrameKind::Block, raw, width, compression, &mut body).unwrap();
    pack::end(&mut body);
    body
}

fn read_all(body: &[u8], piece: usize, limits: PackLimits) -> Result<Vec<Frame>, PackError> {
    let mut reader = Reader::new(limits);
    let mut frames = Vec::new();
    for received in body.chunks(piece.max(1)) {
        reader.feed(received);
        while let Some(frame) = reader.next()? {
            frames.push(frame);
        }
    }
    reader.finish()?;
    Ok(frames)
}

fn codec(body: &[u8]) -> u8 {
    body[MAGIC.len() + 1]
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0_usize..40, 0_usize..2000, Just(16 << 10), 20_000_usize..80_000];
    (length, any::<u64>(), 0..4_u8).prop_map(|(length, seed, sort)| {
        let mut bytes = match sort {
            0 => noise(length, seed | 1),
            1 => smooth(u32::try_from(length / 8).unwrap() + 1),
            2 => binary(u32::try_from(length / 8).unwrap() + 1),
            _ => vec![u8::try_from(seed & 0xff).unwrap(); length],
        };
        bytes.truncate(length);
        bytes
    })
}

fn frames() -> impl Strategy<Value = Vec<(FrameKind, Vec<u8>, u8, Compression)>> {
    let kind = prop_oneof![Just(FrameKind::Message), Just(FrameKind::Block)];
    let compression = prop_oneof![Just(Compression::Never), Just(Compression::WherePays)];
    vec((kind, content(), 0..20_u8, compression), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(frames in frames(), piece in prop_oneof![1_usize..64, 1000_usize..100_000]) {
        let mut body = MAGIC.to_vec();
        for (kind, raw, width, compression) in &frames {
            let digest = pack::encode(*kind, raw, *width, *compression, &mut body).unwrap();
            prop_assert_eq!(digest, Digest::of(raw));
        }
        pack::end(&mut body);
        let raw_bytes: usize = frames.iter().map(|frame| frame.1.len()).sum();
        prop_assert!(body.len() <= raw_bytes + HEADER_BYTES * (frames.len() + 1) + MAGIC.len());
        let found = read_all(&body, piece, LARGE).unwrap();
        prop_assert_eq!(found.len(), frames.len());
        for (found, (kind, raw, ..)) in found.iter().zip(&frames) {
            prop_assert_eq!(found.kind, *kind);
            prop_assert!(found.bytes == *raw);
            prop_assert_eq!(found.digest, Digest::of(raw));
        }
    }

    #[test]
    fn one_changed_byte_is_never_believed(raw in content(), width in 1..17_u8, at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut body = one(&raw, width, Compression::WherePays);
        let at = at.index(body.len());
        body[at] ^= flip;
        match read_all(&body, 4096, LARGE) {
            Err(_) => {}
            // The width of a frame that is not shuffled, the kind, and bits that the compressed form
            // does not use say nothing about the bytes.
            Ok(found) => {
                prop_assert_eq!(found.len(), 1);
                prop_assert!(found[0].bytes == raw);
                prop_assert_eq!(found[0].digest, Digest::of(&raw));
            }
        }
    }

    #[test]
    fn a_cut_anywhere_is_noticed(raw in content(), cut in any::<prop::sample::Index>()) {
        let body = one(&raw, 8, Compression::WherePays);
        let cut = cut.index(body.len());
        match read_all(&body[..cut], 777, LARGE) {
            Err(PackError::Truncated { offset }) => prop_assert_eq!(offset, cut as u64),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn noise_never_panics(mut bytes in vec(any::<u8>(), 0..300), magic in any::<bool>(), kind in 0..4_u8, codec in 0..4_u8) {
        if magic {
            let mut body = MAGIC.to_vec();
            body.extend_from_slice(&[kind, codec]);
            body.append(&mut bytes);
            bytes = body;
        }
        let _ = read_all(&bytes, 50, PackLimits { block_bytes: 1 << 16, message_bytes: 1 << 16, frames: 9, raw_bytes: 1 << 20 });
    }
}

#[test]
fn each_content_gets_the_codec_that_suits_it() {
    let cases: [(&str, Vec<u8>, u8, f64); 6] = [
        ("smooth floats are shuffled", smooth(1 << 17), 2, 0.7),
        ("two values repeat themselves", binary(1 << 17), 1, 0.02),
        ("noise stays as it is", noise(1 << 20, 7), 0, 1.001),
        ("short noise stays as it is", noise(1 << 10, 7), 0, 1.1),
        ("zeros vanish", vec![0; 1 << 20], 1, 0.001),
        ("a short smooth array", smooth(1 << 9), 2, 0.9),
    ];
    for (what, raw, expected, ratio) in cases {
        let body = one(&raw, 8, Compression::WherePays);
        let found = body.len() as f64 / raw.len() as f64;
        assert!(found < ratio, "{what}: {found}");
        // Where both ways do as well, either may be taken.
        assert!(codec(&body) == expected || ratio < 0.05, "{what}: codec {}", codec(&body));
        assert_eq!(codec(&one(&raw, 8, Compression::Never)), 0, "{what}");
    }
    let floats: Vec<u8> = noise(1 << 19, 3)
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|four| f64::from(u32::from_le_bytes(*four)).to_le_bytes())
        .collect();
    assert_eq!(codec(&one(&floats, 8, Compression::WherePays)), 2, "half of each number is zeros");
}

#[test]
fn what_is_no_pack_is_refused_at_once() {
    for body in [&b"GET / HTTP/1.1\r\n"[..], b"wtpack\x02\n", b"\x89HDF\r\n\x1a\n", b"x"] {
        assert!(
            matches!(read_all(body, 3, LARGE), Err(PackError::Damaged { what: "not a pack", offset: 0 })),
            "{body:?}"
        );
    }
    assert_eq!(read_all(b"", 1, LARGE), Err(PackError::Truncated { offset: 0 }));
    assert_eq!(read_all(b"wtp", 1, LARGE), Err(PackError::Truncated { offset: 3 }));
}

#[test]
fn a_wrong_digest_is_refused_and_stays_refused() {
    let mut body = MAGIC.to_vec();
    pack::encode(FrameKind::Message, b"good", 1, Compression::Never, &mut body).unwrap();
    let offset = body.len() as u64;
    pack::encode_block(&Digest::of(b"another"), b"something", 1, Compression::Never, &mut body).unwrap();
    pack::end(&mut body);
    let mut reader = Reader::new(LARGE);
    reader.feed(&body);
    assert_eq!(reader.next().unwrap().unwrap().bytes, b"good");
    for _ in 0..2 {
        reader.feed(b"more");
        let error = reader.next().unwrap_err();
        assert_eq!(error, PackError::Corrupted { digest: Digest::of(b"another"), offset });
        assert_eq!(error.code(), "block.corrupted");
    }
    assert!(reader.finish().is_err());
}

/// A header that claims something.
fn header(kind: u8, codec: u8, width: u8, raw_length: u32, coded_length: u32) -> Vec<u8> {
    let mut body = MAGIC.to_vec();
    body.extend_from_slice(&[kind, codec, width, 0]);
    body.extend_from_slice(&raw_length.to_le_bytes());
    body.extend_from_slice(&coded_length.to_le_bytes());
    body.extend_from_slice(&[0; 32]);
    body
}

#[test]
fn headers_that_claim_too_much_or_nonsense_are_refused_before_their_bytes_come() {
    let limit = |body: &[u8], limits| match read_all(body, 100, limits) {
        Err(PackError::TooLarge { limit, .. }) => limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(&header(2, 0, 1, u32::MAX, u32::MAX), LARGE), "block_bytes");
    assert_eq!(limit(&header(1, 1, 1, (64 << 20) + 1, 9), LARGE), "message_bytes");
    let small = PackLimits { block_bytes: 100, message_bytes: 200, frames: 2, raw_bytes: 150 };
    assert_eq!(limit(&header(2, 0, 1, 101, 101), small), "block_bytes");
    assert_eq!(limit(&header(1, 0, 1, 151, 151), small), "raw_bytes");
    let mut many = MAGIC.to_vec();
    for _ in 0..3 {
        pack::encode(FrameKind::Block, b"", 1, Compression::Never, &mut many).unwrap();
    }
    assert_eq!(limit(&many, small), "frames");
    let damaged = |body: Vec<u8>| match read_all(&body, 100, LARGE) {
        Err(PackError::Damaged { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(damaged(header(3, 0, 1, 1, 1)), "a frame of an unknown kind");
    assert_eq!(damaged(header(2, 3, 1, 1, 1)), "a frame of an unknown codec");
    assert_eq!(damaged(header(2, 0, 1, 1, 2)), "lengths that do not fit the codec");
    assert_eq!(damaged(header(2, 1, 1, 9, 9)), "lengths that do not fit the codec");
    assert_eq!(damaged(header(2, 2, 3, 9, 8)), "a width that no number has");
    assert_eq!(damaged(header(2, 0, 200, 9, 9)), "a width that no number has");
    assert_eq!(damaged(header(0, 0, 1, 0, 0)), "an end frame that is not empty");
    let mut trailing = one(b"abc", 1, Compression::Never);
    trailing.push(0);
    assert_eq!(damaged(trailing), "bytes after the end frame");
}

/// A frame with these compressed bytes.
fn bomb(coded: &[u8], raw_length: u32) -> Vec<u8> {
    let mut body = header(2, 1, 1, raw_length, u32::try_from(coded.len()).unwrap());
    body.extend_from_slice(coded);
    body
}

#[test]
fn bombs_cost_no_more_than_they_claim() {
    const DAMAGED: &str = "the compressed bytes cannot be expanded";
    let what = |body: &[u8]| match read_all(body, 1 << 20, LARGE) {
        Err(PackError::Damaged { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let zeros = zstd::bulk::compress(&vec![0; 256 << 20], 1).unwrap();
    assert!(zeros.len() < 1 << 20);
    // Claims a megabyte, holds 256; and claims what it holds without being allowed to.
    assert_eq!(what(&bomb(&zeros, 1 << 20)), DAMAGED);
    assert!(matches!(
        read_all(&bomb(&zeros, 256 << 20), 1 << 20, LARGE),
        Err(PackError::TooLarge { limit: "block_bytes", .. })
    ));
    // A stream that does not tell its length, and two behind each other of which only the first does.
    let mut unknown = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..100 {
        std::io::Write::write_all(&mut unknown, &[0; 1000]).unwrap();
    }
    let unknown = unknown.finish().unwrap();
    assert_eq!(what(&bomb(&unknown, 100_000)), DAMAGED);
    let mut two = zstd::bulk::compress(&[0; 1000], 1).unwrap();
    two.extend_from_slice(&zeros);
    assert_eq!(what(&bomb(&two, u32::try_from(two.len()).unwrap() + 1)), DAMAGED);
    let mut two = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
    two.extend_from_slice(&zeros);
    assert_eq!(what(&bomb(&two, 1 << 20)), DAMAGED);
}

#[test]
fn a_frame_too_long_is_refused_and_nothing_written() {
    let mut out = vec![1, 2, 3];
    let raw = vec![0; usize::try_from(MAXIMUM_FRAME).unwrap() + 1];
    let error = pack::encode(FrameKind::Block, &raw, 1, Compression::WherePays, &mut out).unwrap_err();
    assert!(matches!(error, PackError::TooLarge { limit: "frame_bytes", .. }));
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn fed_all_at_once_or_byte_by_byte_is_the_same() {
    let mut body = MAGIC.to_vec();
    for length in [0, 1, 63, 64, 5000] {
        pack::encode(FrameKind::Block, &smooth(length), 8, Compression::WherePays, &mut body).unwrap();
    }
    pack::end(&mut body);
    let all = read_all(&body, body.len(), LARGE).unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!(read_all(&body, 1, LARGE).unwrap(), all);
}
