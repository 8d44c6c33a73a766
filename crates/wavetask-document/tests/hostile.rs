//! Files made to hurt: each pattern must end in an error of its own, at once.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use wavetask_document::{Array, Document, DocumentError, Limits, MemoryBlocks, Values, hdf5, unpack};

/// A document with these arrays, and its blocks.
fn document(arrays: &[(&str, Array)]) -> (Document, MemoryBlocks) {
    let mut blocks = MemoryBlocks::new();
    let arrays = arrays
        .iter()
        .map(|(path, array)| ((*path).to_owned(), array.store(&mut blocks, 4096).unwrap()))
        .collect();
    (Document { json: r#"{"type":"Test"}"#.into(), arrays }, blocks)
}

fn file(arrays: &[(&str, Array)]) -> Vec<u8> {
    let (document, blocks) = document(arrays);
    let mut bytes = Vec::new();
    hdf5::write(&document, &blocks, &mut bytes).unwrap();
    bytes
}

fn floats(count: u32) -> Array {
    Array::from_floats((0..count).map(f64::from).collect())
}

fn read(bytes: &[u8]) -> Result<Document, DocumentError> {
    read_within(bytes, &Limits::default())
}

fn read_within(bytes: &[u8], limits: &Limits) -> Result<Document, DocumentError> {
    let start = Instant::now();
    let result = hdf5::read(&bytes, limits, &mut MemoryBlocks::new());
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    result
}

#[track_caller]
fn refused(result: Result<Document, DocumentError>, code: &str, words: &str) {
    let error = result.expect_err("must be refused");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(!error.hint().is_empty());
}

fn find(bytes: &[u8], sign: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|&at| bytes[at..].starts_with(sign)).collect()
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn set(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Extends the file to its present length.
fn seal(bytes: &mut [u8]) {
    let length = bytes.len() as u64;
    set(bytes, 40, length);
}

#[test]
fn a_group_that_contains_itself() {
    let mut bytes = file(&[("a/b/x", floats(3))]);
    let root = number(&bytes, 64);
    // The first node is that of the innermost group: its first entry becomes the root.
    let node = find(&bytes, b"SNOD")[0];
    set(&mut bytes, node + 8 + 8, root);
    refused(read(&bytes), "document_unsupported", "two names");
}

#[test]
fn a_tree_whose_branches_meet_again() {
    let mut bytes = file(&[("x", floats(3))]);
    let leaf = number(&bytes, 80);
    // Thirty levels above the root's tree, each with two equal children: 2^30 paths.
    let mut below = leaf;
    for level in 1..=30 {
        let node = bytes.len() as u64;
        bytes.extend_from_slice(b"TREE\0");
        bytes.extend_from_slice(&[level, 2, 0]);
        bytes.extend_from_slice(&[0xff; 16]);
        for _ in 0..2 {
            bytes.extend_from_slice(&0_u64.to_le_bytes());
            bytes.extend_from_slice(&below.to_le_bytes());
        }
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        below = node;
    }
    let header = number(&bytes, 64) as usize;
    set(&mut bytes, header + 24, below);
    seal(&mut bytes);
    refused(read(&bytes), "document_malformed", "overlap");
    // And one without an end at all.
    let node = (bytes.len() - 24 - 40) as u64;
    set(&mut bytes, node as usize + 24 + 8, node);
    refused(read(&bytes), "document_malformed", "");
}

#[test]
fn many_links_with_one_long_name() {
    // The heap of names holds one name of a kilobyte; all links point to it.
    let names: Vec<String> = (0..2000).map(|index| format!("{index:04}")).collect();
    let long = "n".repeat(1000);
    let mut arrays: Vec<(&str, Array)> = names.iter().map(|name| (name.as_str(), floats(1))).collect();
    arrays.push((&long, floats(1)));
    let mut bytes = file(&arrays);
    let heap = number(&bytes, 88) as usize;
    let name = find(&bytes[heap..], long.as_bytes())[0] - 32;
    for node in find(&bytes, b"SNOD") {
        let count = usize::from(bytes[node + 6]);
        for entry in 0..count {
            set(&mut bytes, node + 8 + 40 * entry, name as u64);
        }
    }
    let limits = Limits { path_bytes: 100_000, ..Limits::default() };
    refused(read_within(&bytes, &limits), "document_too_large", "path_bytes");
    refused(
        read_within(&bytes, &Limits { name_bytes: 100, ..Limits::default() }),
        "document_too_large",
        "name_bytes",
    );
}

#[test]
fn arrays_that_share_their_bytes() {
    let names: Vec<String> = (0..50).map(|index| format!("a{index}")).collect();
    let arrays: Vec<(&str, Array)> = names.iter().map(|name| (name.as_str(), floats(8192))).collect();
    let whole = file(&arrays);
    let document = read(&whole).unwrap();
    assert_eq!(document.arrays.len(), 50);
    let mut bytes = whole;
    // Layout messages: version 3, contiguous, address, 65536 bytes.
    let layouts: Vec<usize> = find(&bytes, &[0, 0, 1, 0, 0, 0, 0, 0])
        .into_iter()
        .filter(|&at| at > 10 && bytes[at - 10..].starts_with(&[3, 1]))
        .collect();
    assert_eq!(layouts.len(), 50);
    let first = layouts.iter().map(|&at| number(&bytes, at - 8)).min().unwrap();
    for at in layouts {
        set(&mut bytes, at - 8, first);
    }
    bytes.truncate((first + 65_536 + 8192) as usize);
    seal(&mut bytes);
    refused(read(&bytes), "document_malformed", "overlap");
}

#[test]
fn shapes_without_bytes() {
    let bytes = file(&[("x", floats(3))]);
    // Dataspace: version 1, one dimension, with maximum.
    let space = find(&bytes, &[1, 1, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0])[0] + 8;
    let layout = find(&bytes, &[24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])[0];
    let claim = |count: u64, address: Option<u64>| {
        let mut bytes = bytes.clone();
        set(&mut bytes, space, count);
        set(&mut bytes, layout, count.wrapping_mul(8));
        if let Some(address) = address {
            set(&mut bytes, layout - 8, address);
        }
        read(&bytes)
    };
    assert!(claim(3, None).is_ok());
    refused(claim(1 << 62, None), "document_malformed", "overflows");
    refused(claim(1 << 50, None), "document_too_large", "array_bytes");
    refused(claim(1 << 30, None), "document_malformed", "outside the file");
    refused(claim(3, Some(u64::MAX - 8)), "document_malformed", "outside the file");
    // Never written: nothing is stored, so only the limits can refuse it.
    refused(claim(1 << 32, Some(u64::MAX)), "document_too_large", "inflation_ratio");
    assert!(claim(1 << 10, Some(u64::MAX)).is_ok());
}

#[test]
fn a_datatype_of_a_thousand_levels() {
    let bytes = file(&[("x", floats(3))]);
    let float = find(&bytes, &[0x11, 0x20, 0x3f, 0, 8, 0, 0, 0])[0];
    for class in [0x16_u8, 0x18, 0x19, 0x1a, 0x36] {
        // A new header at the end: the same dataspace, fill value and layout, another datatype.
        let header = float - 8 - 32 - 16;
        let mut nested = bytes[header..header + 16 + 32].to_vec();
        let mut datatype = Vec::new();
        for _ in 0..4000 {
            datatype.extend_from_slice(&[class, 1, 0, 0, 16, 0, 0, 0]);
        }
        nested.extend_from_slice(&[3, 0]);
        nested.extend_from_slice(&u16::try_from(datatype.len()).unwrap().to_le_bytes());
        nested.extend_from_slice(&[0; 4]);
        nested.extend_from_slice(&datatype);
        nested.extend_from_slice(&bytes[float + 24..float + 24 + 16 + 32]);
        let length = u32::try_from(nested.len() - 16).unwrap();
        nested[8..12].copy_from_slice(&length.to_le_bytes());
        let mut bytes = bytes.clone();
        let entry = find(&bytes, &(header as u64).to_le_bytes())[0];
        let at = bytes.len() as u64;
        set(&mut bytes, entry, at);
        bytes.extend_from_slice(&nested);
        seal(&mut bytes);
        assert!(read(&bytes).is_err(), "{class:#x}");
    }
}

#[test]
fn strings_that_are_one_string() {
    // Ten thousand elements refer to one object of 60 kB: 600 MB from a small file.
    let texts: Vec<String> =
        std::iter::once("x".repeat(60_000)).chain((0..10_000).map(|index| index.to_string())).collect();
    let count = texts.len();
    let mut bytes = file(&[("t", Array::new(vec![count], Values::Text(texts)).unwrap())]);
    let reference = find(&bytes, &60_000_u32.to_le_bytes())
        .into_iter()
        .find(|&at| number(&bytes, at + 4) < bytes.len() as u64 && number(&bytes, at + 4) > 0)
        .unwrap();
    assert!(read(&bytes).is_ok());
    let element = bytes[reference..reference + 16].to_vec();
    for index in 0..count {
        bytes[reference + 16 * index..][..16].copy_from_slice(&element);
    }
    refused(read(&bytes), "document_malformed", "overlap");
    refused(
        read_within(&bytes, &Limits { text_bytes: 1 << 18, ..Limits::default() }),
        "document_too_large",
        "text_bytes",
    );
}

#[test]
fn depth_and_number_of_objects() {
    let names: Vec<String> = (0..200).map(|index| format!("many/{index}")).collect();
    let arrays: Vec<(&str, Array)> = names.iter().map(|name| (name.as_str(), floats(1))).collect();
    let bytes = file(&arrays);
    assert!(read_within(&bytes, &Limits { objects: 202, ..Limits::default() }).is_ok());
    refused(
        read_within(&bytes, &Limits { objects: 201, ..Limits::default() }),
        "document_too_large",
        "objects",
    );
    let bytes = file(&[("a/b/c/d/e/x", floats(1))]);
    refused(
        read_within(&bytes, &Limits { group_depth: 5, ..Limits::default() }),
        "document_too_large",
        "group_depth",
    );
}

#[test]
fn json_that_is_none_or_too_much() {
    let with = |json: &str| {
        let document = Document { json: json.into(), arrays: BTreeMap::new() };
        let mut bytes = Vec::new();
        hdf5::write(&document, &MemoryBlocks::new(), &mut bytes).map(|()| bytes)
    };
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127));
    assert!(read(&with(&deep).unwrap()).is_ok());
    let bytes = with(&deep).unwrap();
    refused(
        read_within(&bytes, &Limits { json_depth: 127, ..Limits::default() }),
        "document_malformed",
        "nested too deeply",
    );
    refused(
        read_within(&bytes, &Limits { json_bytes: 100, ..Limits::default() }),
        "document_too_large",
        "json_bytes",
    );
    refused(read(&with(r#"{"a":1,"a":2}"#).unwrap()), "document_malformed", "repeats a key");
    refused(read(&with("[1]").unwrap()), "document_malformed", "not an object");
    refused(read(&with(r#"{"a":NaN}"#).unwrap_or_default()), "document_malformed", "");
    let keys: String = (0..1_100_000).map(|key| format!(",\"{key}\":0")).collect();
    refused(read(&with(&format!("{{{}}}", &keys[1..])).unwrap()), "document_malformed", "a million keys");
    // A part of the JSON missing.
    let document = Document { json: r#"{"type":"Test with a long text"}"#.into(), arrays: BTreeMap::new() };
    let mut bytes = Vec::new();
    let plan = hdf5::FilePlan::with_json_parts(&document, 8).unwrap();
    plan.write(&MemoryBlocks::new(), &mut bytes).unwrap();
    assert!(read(&bytes).is_ok());
    let name = find(&bytes, b"JSON_STRING_1")[0];
    bytes[name + 12] = b'7';
    refused(read(&bytes), "document_malformed", "missing");
}

#[test]
fn other_files() {
    refused(read(b""), "document_malformed", "superblock");
    refused(read(b"\x89HDF\r\n\x1a\n"), "document_malformed", "superblock");
    let mut latest = file(&[]);
    latest[8] = 3;
    refused(read(&latest), "document_unsupported", "latest");
    let whole = file(&[("x", floats(100))]);
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn compressed_nothing_and_trailing_bytes() {
    let gzip = |bytes: &[u8], level| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let unpack = |bytes: &[u8], limits: &Limits| {
        let mut plain = Vec::new();
        unpack::unpack(&mut &*bytes, &mut plain, limits).map(|unpacked| {
            assert_eq!(unpacked.bytes, plain.len() as u64);
            (plain, unpacked.members)
        })
    };
    let all = Limits::default();
    let bomb = gzip(&vec![0; 64 << 20], 9);
    let small = Limits { inflation_floor: 1 << 20, ..Limits::default() };
    let error = unpack(&bomb, &small).unwrap_err();
    assert!(error.to_string().contains("inflation_ratio"), "{error}");
    let error = unpack(&bomb, &Limits { file_bytes: 1 << 20, ..Limits::default() }).unwrap_err();
    assert!(error.to_string().contains("file_bytes"), "{error}");
    assert_eq!(unpack(&bomb, &all).unwrap().0.len(), 64 << 20);

    let one = gzip(b"one", 6);
    let two = [one.as_slice(), &[0; 70_000], &gzip(b"two", 0), &[0]].concat();
    assert_eq!(unpack(&two, &all).unwrap(), (b"onetwo".to_vec(), 2));
    for tail in [&b"x"[..], b"\x1f", b"\x1f\x8b", b"\0\0PK"] {
        let error = unpack(&[one.as_slice(), tail].concat(), &all).unwrap_err();
        assert_eq!(error.code(), "document_malformed", "{tail:?}");
    }
    // Cut within a member it is an error; between members and in the padding it is not.
    for length in (0..one.len() + 9).chain(two.len() - 20..two.len()) {
        let whole = (one.len()..=one.len() + 9).contains(&length) || length == two.len() - 1;
        assert_eq!(unpack(&two[..length], &all).is_ok(), whole, "cut at {length}");
    }
    let empty = gzip(b"", 0);
    let error = unpack(&empty.repeat(6000), &all).unwrap_err();
    assert!(error.to_string().contains("too many tiny"), "{error}");
    assert!(unpack(&empty.repeat(1000), &all).is_ok());
    let plain = file(&[("x", floats(9))]);
    assert_eq!(unpack(&plain, &all).unwrap(), (plain.clone(), 0));
    assert!(unpack(&plain, &Limits { file_bytes: 100, ..Limits::default() }).is_err());
    assert!(unpack(b"PK\x03\x04", &all).is_err());
    assert!(unpack(b"", &all).is_err());
}

#[test]
fn stored_descriptors_that_lie() {
    let (document, _) = document(&[("g/x", floats(10_000))]);
    let stored = serde_json::to_value(&document).unwrap();
    assert!(serde_json::from_value::<Document>(stored.clone()).is_ok());
    let lies: [(&str, serde_json::Value); 6] = [
        ("/arrays/g~1x/shape", serde_json::json!([9999])),
        ("/arrays/g~1x/shape", serde_json::json!([u64::MAX, u64::MAX])),
        ("/arrays/g~1x/byte_length", serde_json::json!(80_008)),
        ("/arrays/g~1x/blocks", serde_json::json!([])),
        ("/arrays/g~1x/layout/block_bytes", serde_json::json!(0)),
        ("/arrays/g~1x/layout/block_bytes", serde_json::json!(4097)),
    ];
    for (pointer, lie) in lies {
        let mut changed = stored.clone();
        *changed.pointer_mut(pointer).unwrap() = lie;
        assert!(serde_json::from_value::<Document>(changed.clone()).is_err(), "{changed}");
    }
    for path in ["/x", "x/", "a//b", "", "..", "a/../b", "g/x/y", "a\0"] {
        let mut changed = stored.clone();
        let array = changed["arrays"]["g/x"].clone();
        changed["arrays"][path] = array;
        assert!(serde_json::from_value::<Document>(changed).is_err(), "{path:?}");
    }
}
