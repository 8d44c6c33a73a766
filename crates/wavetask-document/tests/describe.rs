//! Documents described from memory are those that reading a file gives; parts of arrays are what indexing gives.
//!
//! The oracle is h5py (`describe_oracle.py`), which takes files of tidy3d apart in its own way. Needs
//! `WAVETASK_TEST_PYTHON` and `WAVETASK_TEST_PYTHON_OLD`.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

mod indexing;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;

use indexing::by_index;
use proptest::collection::vec;
use proptest::prelude::*;
use wavetask_document::{
    Array, ArrayView, BLOCK_BYTES, BlockSink, BlockSource, Digest, Document, DocumentError, ElementType,
    Limits, MemoryBlocks, Values, describe, describe_on, hdf5, text_bytes, unpack,
};

fn counting(length: usize) -> Vec<u8> {
    (0..length as u64).flat_map(|index| (index * index).to_le_bytes()).take(length).collect()
}

/// What storing block by block from front to back gives.
fn stored(arrays: &BTreeMap<String, Array>) -> Document {
    let mut sink = MemoryBlocks::new();
    let arrays = arrays
        .iter()
        .map(|(path, array)| (path.clone(), array.store(&mut sink, BLOCK_BYTES).unwrap()))
        .collect();
    Document { json: "{}".into(), arrays }
}

#[test]
fn arrays_of_all_lengths_get_the_digests_of_hashing_from_front_to_back() {
    const MIB: usize = 1 << 20;
    for length in [
        0,
        1,
        8,
        1024,
        MIB - 1,
        MIB,
        MIB + 1,
        2 * MIB,
        2 * MIB + 1024,
        3 * MIB - 5,
        4 * MIB,
        7 * MIB + 3,
        13 * MIB,
    ] {
        let bytes = counting(length);
        let array = Array::new(vec![length], Values::Uint8(bytes.clone())).unwrap();
        let expected = stored(&BTreeMap::from([("a".to_owned(), array)]));
        for threads in [1, 2, 5] {
            let shape = [length as u64];
            let view =
                ArrayView { path: "a", element_type: ElementType::Uint8, shape: &shape, bytes: &bytes };
            let document = describe_on("{}", &[view], threads).unwrap();
            assert_eq!(document, expected, "{length} bytes, {threads} threads");
            assert_eq!(document.arrays["a"].digest, Digest::of(&bytes));
            for (digest, range) in document.arrays["a"].block_ranges() {
                assert_eq!(Digest::of(&bytes[range.start as usize..range.end as usize]), digest);
            }
        }
    }
}

#[test]
fn texts_are_described_as_they_are_stored() {
    let texts = ["+", "-", "", "µm"];
    let array = Array::new(vec![4], Values::Text(texts.map(str::to_owned).to_vec())).unwrap();
    let bytes = text_bytes(texts).unwrap();
    let view = ArrayView { path: "direction", element_type: ElementType::Text, shape: &[4], bytes: &bytes };
    assert_eq!(describe("{}", &[view]).unwrap(), stored(&BTreeMap::from([("direction".to_owned(), array)])));
}

#[test]
fn what_cannot_be_a_document_is_refused() {
    let view = |path, shape, bytes| ArrayView { path, element_type: ElementType::Float64, shape, bytes };
    let malformed =
        |arrays: &[ArrayView<'_>]| matches!(describe("{}", arrays), Err(DocumentError::Malformed { .. }));
    assert!(malformed(&[view("a", &[2], &[0; 8])]), "too few bytes");
    assert!(malformed(&[view("a", &[1], &[0; 8]), view("a", &[1], &[0; 8])]), "twice");
    assert!(malformed(&[view("a", &[1], &[0; 8]), view("a/b", &[1], &[0; 8])]), "an array and a group");
    assert!(malformed(&[view("../a", &[1], &[0; 8])]), "no path");
    assert!(!malformed(&[view("a", &[1], &[0; 8]), view("b/a", &[0, 7], &[])]));
}

/// Blocks that count how often each is read.
struct Counted<'a>(&'a MemoryBlocks, Mutex<BTreeMap<Digest, u32>>);

impl BlockSource for Counted<'_> {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        *self.1.lock().unwrap().entry(*digest).or_default() += 1;
        self.0.get(digest, buffer)
    }
}

fn part() -> impl Strategy<Value = (Vec<usize>, Vec<Range<u64>>, ElementType, u64)> {
    let types = prop_oneof![
        Just(ElementType::Float64),
        Just(ElementType::Int32),
        Just(ElementType::Uint8),
        Just(ElementType::Complex128)
    ];
    (vec(0_usize..7, 0..5), types, prop_oneof![Just(16_u64), Just(48), Just(64), Just(1024)]).prop_flat_map(
        |(shape, element_type, block_bytes)| {
            let ranges: Vec<_> = shape
                .iter()
                .map(|&extent| {
                    let extent = extent as u64;
                    (0..=extent, 0..=extent).prop_map(|(one, other)| one.min(other)..one.max(other))
                })
                .collect();
            let named = 0..=shape.len();
            (Just(shape), ranges, named, Just(element_type), Just(block_bytes)).prop_map(
                |(shape, mut ranges, named, element_type, block_bytes)| {
                    ranges.truncate(named);
                    (shape, ranges, element_type, block_bytes)
                },
            )
        },
    )
}

proptest! {
    #[test]
    fn parts_are_what_indexing_gives((shape, ranges, element_type, block_bytes) in part()) {
        let size = element_type.size().unwrap();
        let count: usize = shape.iter().product();
        let bytes = counting(count * size);
        let mut blocks = MemoryBlocks::new();
        let mut writer = wavetask_document::ArrayWriter::new(
            element_type,
            shape.iter().map(|&extent| extent as u64).collect(),
            block_bytes,
            &mut blocks,
        );
        writer.write(&bytes).unwrap();
        let descriptor = writer.finish().unwrap();
        let expected = by_index(&bytes, size, &shape, &ranges);

        let part = descriptor.blocks_of(&ranges).unwrap();
        prop_assert_eq!(part.byte_length, expected.len() as u64);
        let mut found = Vec::new();
        let mut end = 0;
        for range in part.ranges() {
            prop_assert!(!range.bytes.is_empty());
            let start = range.block as u64 * block_bytes + range.bytes.start;
            prop_assert!(range.bytes.end <= block_bytes && (start >= end));
            // Two ranges touch only where a block ends.
            prop_assert!(start > end || range.bytes.start == 0);
            end = range.block as u64 * block_bytes + range.bytes.end;
            found.extend_from_slice(&bytes[start as usize..end as usize]);
        }
        prop_assert!(found == expected);

        let source = Counted(&blocks, Mutex::default());
        let array = descriptor.load_part(&ranges, &source, 1 << 20).unwrap();
        prop_assert_eq!(array.to_bytes(), expected);
        let touched: BTreeSet<Digest> = part.blocks().map(|block| descriptor.blocks[block]).collect();
        let reads = source.1.into_inner().unwrap();
        prop_assert_eq!(reads.keys().copied().collect::<BTreeSet<_>>(), touched);
        prop_assert_eq!(reads.values().sum::<u32>() as usize, part.blocks().count());
    }
}

/// A part along the leading dimension.
fn along(range: Range<u64>) -> [Range<u64>; 1] {
    [range]
}

#[test]
fn parts_that_are_not_there_are_refused() {
    let mut blocks = MemoryBlocks::new();
    let floats = Array::from_floats(vec![0.0; 9]).store(&mut blocks, BLOCK_BYTES).unwrap();
    let refused =
        |ranges: &[Range<u64>]| matches!(floats.blocks_of(ranges), Err(DocumentError::Malformed { .. }));
    assert!(refused(&along(0..10)));
    assert!(refused(&along(Range { start: 3, end: 2 })));
    assert!(refused(&[0..9, 0..1]));
    assert!(!refused(&along(0..9)) && !refused(&[]) && !refused(&along(9..9)));
    let texts = Array::new(vec![2], Values::Text(vec!["+".to_owned(), "-".to_owned()])).unwrap();
    let descriptor = texts.store(&mut blocks, BLOCK_BYTES).unwrap();
    assert!(matches!(descriptor.blocks_of(&along(0..1)), Err(DocumentError::Unsupported { .. })));
    assert_eq!(descriptor.load_part(&along(0..2), &blocks, 100).unwrap(), texts);
    // A whole array of many blocks is one run, however many dimensions it has.
    let digest = blocks.put(&[0; 16]).unwrap();
    let many = wavetask_document::ArrayDescriptor {
        element_type: ElementType::Float64,
        shape: vec![10, 10, 2],
        byte_length: 1600,
        digest,
        layout: wavetask_document::Layout::Linear { block_bytes: 16 },
        blocks: vec![digest; 100],
    };
    assert_eq!(
        many.blocks_of(&along(3..5)).unwrap().blocks().collect::<Vec<_>>(),
        (30..50).collect::<Vec<_>>()
    );
}

#[test]
fn newest_client() {
    against_h5py("WAVETASK_TEST_PYTHON");
}

#[test]
fn older_client() {
    against_h5py("WAVETASK_TEST_PYTHON_OLD");
}

/// What the Python side found in one file.
#[derive(serde::Deserialize)]
struct Dumped {
    file: String,
    json: String,
    arrays: Vec<DumpedArray>,
}

#[derive(serde::Deserialize)]
struct DumpedArray {
    path: String,
    element_type: ElementType,
    shape: Vec<u64>,
    bytes: Option<String>,
    texts: Option<Vec<String>>,
}

fn against_h5py(variable: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/describe_oracle.py");
    let Some(mut oracle) = wavetask_oracle::command(variable, script) else { return };
    let folder = tempfile::tempdir().unwrap();
    wavetask_oracle::finish(oracle.arg(folder.path()).env("TIDY3D_BASE_DIR", folder.path()), b"");
    let dumped: Vec<Dumped> =
        serde_json::from_slice(&std::fs::read(folder.path().join("dump.json")).unwrap()).unwrap();
    assert!(dumped.len() >= 5);
    let mut several = 0;
    for dump in dumped {
        let plain = unpack::open(&folder.path().join(&dump.file), folder.path(), &Limits::default()).unwrap();
        let read = hdf5::read_file(&plain, &Limits::default(), &mut MemoryBlocks::new()).unwrap();
        let bytes: Vec<Vec<u8>> = dump
            .arrays
            .iter()
            .map(|array| match (&array.bytes, &array.texts) {
                (Some(file), _) => std::fs::read(folder.path().join(file)).unwrap(),
                (_, Some(texts)) => text_bytes(texts.iter().map(String::as_str)).unwrap(),
                _ => panic!("{}: neither bytes nor texts", array.path),
            })
            .collect();
        let views: Vec<ArrayView<'_>> = dump
            .arrays
            .iter()
            .zip(&bytes)
            .map(|(array, bytes)| ArrayView {
                path: &array.path,
                element_type: array.element_type,
                shape: &array.shape,
                bytes,
            })
            .collect();
        let described = describe(dump.json, &views).unwrap();
        assert_eq!(described, read, "{}", dump.file);
        assert_eq!(described.digest().unwrap(), read.digest().unwrap(), "{}", dump.file);
        several += described.arrays.values().filter(|array| array.blocks.len() > 2).count();
    }
    assert!(several > 0, "no array of several blocks was among them");
}
