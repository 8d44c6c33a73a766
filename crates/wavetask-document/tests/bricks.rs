//! Arrays in bricks: they are the arrays that they are in one line, whatever is asked of them.

#![expect(clippy::unwrap_used, reason = "helper functions of a test")]

mod indexing;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::ops::Range;
use std::sync::Mutex;

use indexing::by_index;
use proptest::collection::vec;
use proptest::prelude::*;
use wavetask_document::hdf5::{self, FilePlan};
use wavetask_document::{
    Array, ArrayDescriptor, ArrayWriter, BRICK_BYTES, BlockSink as _, BlockSource, Digest, Document,
    DocumentError, ElementType, Layout, Limits, MemoryBlocks, brick_extents,
};

/// Blocks that count how often each is read.
struct Counted<'a>(&'a MemoryBlocks, Mutex<BTreeMap<Digest, u32>>);

impl<'a> Counted<'a> {
    fn new(blocks: &'a MemoryBlocks) -> Self {
        Self(blocks, Mutex::default())
    }

    fn reads(&self) -> BTreeMap<Digest, u32> {
        self.1.lock().unwrap().clone()
    }
}

impl BlockSource for Counted<'_> {
    fn get(&self, digest: &Digest, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        *self.1.lock().unwrap().entry(*digest).or_default() += 1;
        self.0.get(digest, buffer)
    }
}

/// Bytes of which no two short pieces are equal.
fn counting(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(length).collect()
}

/// A shape, extents of bricks, ranges of which the last may be missing, and a type.
type Case = (Vec<usize>, Vec<u64>, Vec<Range<u64>>, ElementType);

fn case() -> impl Strategy<Value = Case> {
    let types = prop_oneof![
        Just(ElementType::Float64),
        Just(ElementType::Int32),
        Just(ElementType::Uint8),
        Just(ElementType::Complex128)
    ];
    // Now and then very many dimensions.
    let shape = prop_oneof![6 => vec(1_usize..9, 1..5), 1 => vec(1_usize..3, 8..11)];
    (shape, types).prop_flat_map(|(shape, element_type)| {
        let thick: Vec<_> = shape.iter().map(|&extent| 1..=extent as u64).collect();
        let ranges: Vec<_> = shape
            .iter()
            .map(|&extent| {
                let extent = extent as u64;
                (0..=extent, 0..=extent).prop_map(|(one, other)| one.min(other)..one.max(other))
            })
            .collect();
        (Just(shape.clone()), thick, ranges, 0..=shape.len(), Just(element_type)).prop_map(
            |(shape, thick, mut ranges, named, element_type)| {
                ranges.truncate(named);
                (shape, thick, ranges, element_type)
            },
        )
    })
}

fn extents_of(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&extent| extent as u64).collect()
}

/// The same bytes in bricks and in one line.
fn both(
    bytes: &[u8],
    shape: &[usize],
    thick: &[u64],
    element_type: ElementType,
) -> (ArrayDescriptor, ArrayDescriptor, MemoryBlocks) {
    let mut blocks = MemoryBlocks::new();
    let extents = extents_of(shape);
    let mut writer =
        ArrayWriter::in_bricks(element_type, extents.clone(), thick.to_vec(), &mut blocks).unwrap();
    for piece in bytes.chunks(37) {
        writer.write(piece).unwrap();
    }
    let bricks = writer.finish().unwrap();
    let mut writer = ArrayWriter::new(element_type, extents, 64, &mut blocks);
    writer.write(bytes).unwrap();
    (bricks, writer.finish().unwrap(), blocks)
}

fn document(array: ArrayDescriptor) -> Document {
    let arrays = BTreeMap::from([("data/0/values".to_owned(), array)]);
    Document { json: r#"{"type":"X"}"#.into(), arrays }
}

proptest! {
    #[test]
    fn parts_are_what_indexing_gives((shape, thick, ranges, element_type) in case(), limit in 1_u64..200) {
        let size = element_type.size().unwrap();
        let bytes = counting(shape.iter().product::<usize>() * size);
        let (bricks, line, blocks) = both(&bytes, &shape, &thick, element_type);
        prop_assert_eq!(bricks.digest, line.digest);
        prop_assert_eq!(document(bricks.clone()).digest().unwrap(), document(line.clone()).digest().unwrap());
        let lengths = (0..bricks.blocks.len()).map(|block| bricks.block_length(block));
        prop_assert_eq!(lengths.sum::<u64>(), bytes.len() as u64);
        prop_assert!((0..bricks.blocks.len()).all(|block| bricks.block_length(block) <= bricks.block_bytes()));

        let expected = by_index(&bytes, size, &shape, &ranges);
        let part = bricks.blocks_of(&ranges).unwrap();
        prop_assert_eq!(part.byte_length, expected.len() as u64);
        let touched: Vec<usize> = part.blocks().collect();
        prop_assert!(touched.is_sorted_by(|one, other| one < other));
        let (mut found, mut buffer) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for range in part.ranges() {
            prop_assert!(!range.bytes.is_empty());
            seen.insert(range.block);
            blocks.get(&bricks.blocks[range.block], &mut buffer).unwrap();
            found.extend_from_slice(&buffer[range.bytes.start as usize..range.bytes.end as usize]);
        }
        prop_assert!(found == expected);
        prop_assert_eq!(seen.into_iter().collect::<Vec<_>>(), touched.clone());

        // Block by block, from the last to the first, of both layouts.
        for array in [&bricks, &line] {
            let part = array.blocks_of(&ranges).unwrap();
            let mut found = vec![0; expected.len()];
            let mut touched: Vec<usize> = part.blocks().collect();
            touched.reverse();
            let mut taken = Vec::new();
            for block in touched {
                blocks.get(&array.blocks[block], &mut buffer).unwrap();
                part.place(block, &buffer, &mut found).unwrap();
                // Whole blocks come back out of the part.
                if part.take(block, &expected, &mut taken) {
                    prop_assert!(taken == buffer);
                }
                buffer.push(0);
                prop_assert!(part.place(block, &buffer, &mut found).is_err());
            }
            prop_assert!(found == expected);
            // In windows, which follow each other.
            let mut found = Vec::new();
            for window in array.windows(&ranges, limit).unwrap() {
                let part = array.blocks_of(&window).unwrap();
                prop_assert!((1..=limit.max(size as u64)).contains(&part.byte_length));
                array.read_part(&part, &blocks, &mut buffer).unwrap();
                found.extend_from_slice(&buffer);
            }
            prop_assert!(found == expected);
        }

        let source = Counted::new(&blocks);
        let array = bricks.load_part(&ranges, &source, 1 << 20).unwrap();
        prop_assert_eq!(array.to_bytes(), expected);
        prop_assert_eq!(source.reads().values().sum::<u32>() as usize, touched.len());
        for array in [&bricks, &line] {
            let part = array.blocks_of(&[]).unwrap();
            for (number, digest) in array.blocks.iter().enumerate() {
                prop_assert!(part.take(number, &bytes, &mut buffer) && Digest::of(&buffer) == *digest);
            }
            prop_assert!(!part.take(array.blocks.len(), &bytes, &mut buffer));
        }
        let whole = bricks.load(&blocks, 1 << 20).unwrap();
        prop_assert!(whole.to_bytes() == bytes);
        prop_assert_eq!(whole.store_in_bricks(&mut MemoryBlocks::new(), &thick).unwrap(), bricks);
    }

    #[test]
    fn files_are_the_same_byte_for_byte(
        (shape, thick, _, element_type) in case(),
        places in vec((0_u64..2000, 0_u64..300), 8),
    ) {
        let bytes = counting(shape.iter().product::<usize>() * element_type.size().unwrap());
        let (bricks, line, blocks) = both(&bytes, &shape, &thick, element_type);
        let plans = [bricks, line].map(|array| FilePlan::new(&document(array)).unwrap());
        let [file, same] = plans.each_ref().map(|plan| {
            let mut file = Vec::new();
            plan.write(&blocks, &mut file).unwrap();
            file
        });
        prop_assert!(file == same);
        prop_assert_eq!((plans[0].blocks().count(), plans[0].bricks().count()), (0, 1));
        prop_assert_eq!(plans[1].bricks().count(), 0);
        let offset = plans[0].bricks().next().unwrap().offset as usize;
        prop_assert!(file[offset..].starts_with(&bytes));
        for (start, length) in places {
            // Around the elements, so that ranges begin and end within numbers, rows and planes.
            let start = (offset as u64 + start % (bytes.len() as u64 + 20)).saturating_sub(10);
            let mut part = Vec::new();
            plans[0].write_range(start..start + length, &blocks, &mut part).unwrap();
            let end = file.len().min((start + length) as usize);
            prop_assert!(part == file[end.min(start as usize)..end]);
        }
    }
}

/// A cube large enough to be cut into bricks.
fn large() -> (Array, Vec<u8>) {
    let values: Vec<f64> = (0..200 * 150 * 100).map(|number: u32| f64::from(number).sqrt()).collect();
    let array = Array::new(vec![200, 150, 100], wavetask_document::Values::Float64(values)).unwrap();
    let bytes = array.to_bytes();
    (array, bytes)
}

#[test]
fn results_are_cut_into_bricks_and_files_of_them_are_those_that_came() {
    let (array, bytes) = large();
    let mut blocks = MemoryBlocks::new();
    let line = array.store(&mut blocks, 1 << 20).unwrap();
    let mut file = Vec::new();
    FilePlan::new(&document(line.clone())).unwrap().write(&blocks, &mut file).unwrap();

    let limits = Limits::default();
    let uploaded = hdf5::read(&file, &limits, &mut MemoryBlocks::new()).unwrap();
    assert_eq!(uploaded.arrays["data/0/values"], line, "what a client sends is left in one line");
    let mut bricks = MemoryBlocks::new();
    let result = hdf5::read_result(&file, &limits, &mut bricks).unwrap();
    let mut on_disk = tempfile::tempfile().unwrap();
    on_disk.write_all(&file).unwrap();
    assert_eq!(hdf5::read_result_file(&on_disk, &limits, &mut MemoryBlocks::new()).unwrap(), result);
    let cut = &result.arrays["data/0/values"];
    let extents = brick_extents(ElementType::Float64, &[200, 150, 100]).unwrap();
    assert_eq!(cut.layout, Layout::Bricks { extents });
    assert!(cut.block_bytes() <= BRICK_BYTES && cut.digest == line.digest);
    assert_eq!(result.digest().unwrap(), uploaded.digest().unwrap());

    let plan = FilePlan::new(&result).unwrap();
    let source = Counted::new(&bricks);
    let mut again = Vec::new();
    plan.write(&source, &mut again).unwrap();
    assert!(again == file);
    let reads = source.reads();
    assert_eq!((reads.len(), reads.values().max()), (cut.blocks.len(), Some(&1)), "each brick is read once");

    // A plane across each dimension reads one layer.
    for axis in 0..3 {
        let mut ranges = vec![0..200, 0..150, 0..100];
        ranges[axis] = 47..48;
        let source = Counted::new(&bricks);
        let plane = cut.load_part(&ranges, &source, 1 << 30).unwrap();
        assert_eq!(plane.to_bytes(), by_index(&bytes, 8, &[200, 150, 100], &ranges));
        let read: u64 = cut
            .blocks
            .iter()
            .enumerate()
            .filter(|(_, digest)| source.reads().contains_key(digest))
            .map(|(block, _)| cut.block_length(block))
            .sum();
        let Layout::Bricks { extents } = &cut.layout else { unreachable!() };
        let layer = bytes.len() as u64 * extents[axis] / [200, 150, 100][axis];
        assert_eq!(read, layer, "across dimension {axis}");
    }
}

#[test]
fn what_cannot_be_cut_so_is_refused() {
    let mut blocks = MemoryBlocks::new();
    let mut refused = |element_type, shape: &[u64], thick: &[u64]| {
        let writer = ArrayWriter::in_bricks(element_type, shape.to_vec(), thick.to_vec(), &mut blocks);
        matches!(writer, Err(DocumentError::Malformed { .. }))
    };
    assert!(refused(ElementType::Float64, &[0, 3], &[1, 1]));
    assert!(refused(ElementType::Float64, &[2, 3], &[1, 0]));
    assert!(refused(ElementType::Float64, &[2, 3], &[1, 4]));
    assert!(refused(ElementType::Float64, &[2, 3], &[1]));
    assert!(refused(ElementType::Float64, &[], &[]));
    assert!(refused(ElementType::Text, &[2, 3], &[1, 1]));
    assert!(refused(ElementType::Uint8, &[1 << 40, 1 << 40], &[1, 1]));
    assert!(!refused(ElementType::Float64, &[2, 3], &[1, 3]));

    // Too few bytes, and too many.
    for length in [0, 8, 16, 47, 49, 64, 200] {
        let mut writer =
            ArrayWriter::in_bricks(ElementType::Float64, vec![2, 3], vec![1, 2], &mut blocks).unwrap();
        let outcome = writer.write(&vec![1; length]).and_then(|()| writer.finish());
        assert_eq!(outcome.unwrap_err().kind(), std::io::ErrorKind::InvalidInput, "{length}");
    }
}

#[test]
fn stored_bricks_that_lie() {
    let array = Array::new(vec![4, 3, 5], wavetask_document::Values::Int64((0..60).collect())).unwrap();
    let mut blocks = MemoryBlocks::new();
    let stored = array.store_in_bricks(&mut blocks, &[2, 3, 2]).unwrap();
    let text = serde_json::to_value(document(stored.clone())).unwrap();
    assert_eq!(
        text["arrays"]["data/0/values"]["layout"],
        serde_json::json!({"kind": "bricks", "extents": [2, 3, 2]})
    );
    assert_eq!(serde_json::from_value::<Document>(text.clone()).unwrap(), document(stored.clone()));
    let path = "/arrays/data~10~1values";
    let lies: [(&str, serde_json::Value); 11] = [
        ("/layout/extents", serde_json::json!([2, 3])),
        ("/layout/extents", serde_json::json!([])),
        ("/layout/extents", serde_json::json!([2, 3, 0])),
        ("/layout/extents", serde_json::json!([2, 3, 6])),
        ("/layout/extents", serde_json::json!([1, 3, 2])),
        ("/layout/extents", serde_json::json!([u64::MAX, 3, 2])),
        ("/layout/extents", serde_json::json!([-1, 3, 2])),
        ("/layout/kind", serde_json::json!("spheres")),
        ("/shape", serde_json::json!([0, 3, 5])),
        ("/shape", serde_json::json!([u64::MAX, 3, u64::MAX])),
        ("/element_type", serde_json::json!("text")),
    ];
    for (pointer, lie) in lies {
        let mut changed = text.clone();
        *changed.pointer_mut(&format!("{path}{pointer}")).unwrap() = lie;
        assert!(serde_json::from_value::<Document>(changed.clone()).is_err(), "{changed}");
    }
    let mut short = stored.clone();
    short.blocks.pop();
    assert!(short.blocks_of(&[]).is_err());
    // A brick of another length than its place needs, and none at all.
    let mut wrong = stored.clone();
    wrong.blocks[1] = blocks.put(&[0; 8]).unwrap();
    assert!(matches!(wrong.load(&blocks, 1 << 20), Err(DocumentError::Malformed { .. })));
    wrong.blocks[1] = Digest::of(b"nobody has this");
    assert!(matches!(wrong.load(&blocks, 1 << 20), Err(DocumentError::Io { .. })));
    let mut file = Vec::new();
    assert!(FilePlan::new(&document(wrong)).unwrap().write(&blocks, &mut file).is_err());
}
