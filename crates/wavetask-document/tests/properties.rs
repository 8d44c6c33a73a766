//! Properties that hold for all documents: digests, round trips, ranges, JSON.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;
use wavetask_document::{Array, BlockSource, Document, Limits, MemoryBlocks, ResultBuilder, Values, hdf5};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z+-]{1,9}", "[^\0]{1,40}"]
}

fn json(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        (-9.0..9.0).prop_map(|number: f64| Value::from(number.round())),
        "\\PC{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map("\\PC{0,6}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Object roots only, as documents have them.
fn document_json() -> impl Strategy<Value = Value> {
    btree_map("[a-z]{1,6}", json(4), 0..6).prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn array() -> impl Strategy<Value = Array> {
    vec(0_usize..5, 0..4).prop_flat_map(|shape| {
        let count: usize = shape.iter().product();
        let values = prop_oneof![
            vec(any::<f64>(), count).prop_map(Values::Float64),
            vec(any::<f32>(), count).prop_map(Values::Float32),
            vec(any::<i64>(), count).prop_map(Values::Int64),
            vec(any::<i32>(), count).prop_map(Values::Int32),
            vec(any::<u8>(), count).prop_map(Values::Uint8),
            vec(any::<[f64; 2]>(), count).prop_map(Values::Complex128),
            vec(any::<[f32; 2]>(), count).prop_map(Values::Complex64),
            vec(text(), count).prop_map(Values::Text),
        ];
        values.prop_map(move |values| Array::new(shape.clone(), values).unwrap())
    })
}

/// Paths in which no array is inside another: arrays are upper case, groups lower case.
fn arrays() -> impl Strategy<Value = BTreeMap<String, Array>> {
    btree_map("([a-c]{1,2}/){0,3}[X-Z][a-z]?", array(), 0..9)
}

fn build(json: &str, arrays: &BTreeMap<String, Array>, block_bytes: u64) -> (Document, MemoryBlocks) {
    let mut blocks = MemoryBlocks::new();
    let arrays = arrays
        .iter()
        .map(|(path, array)| (path.clone(), array.store(&mut blocks, block_bytes).unwrap()))
        .collect();
    (Document { json: json.into(), arrays }, blocks)
}

fn write(document: &Document, blocks: &dyn BlockSource, part: usize) -> Vec<u8> {
    let plan = hdf5::FilePlan::with_json_parts(document, part).unwrap();
    let mut bytes = Vec::new();
    plan.write(blocks, &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, plan.length());
    bytes
}

/// The same value, written otherwise.
fn respell(value: &Value, output: &mut String) {
    match value {
        Value::Object(members) => {
            output.push_str("{ ");
            for (index, (key, value)) in members.iter().rev().enumerate() {
                output.push_str(if index > 0 { " ,\n" } else { "" });
                respell(&Value::from(key.as_str()), output);
                output.push_str(" :\t");
                respell(value, output);
            }
            output.push('}');
        }
        Value::Array(items) => {
            output.push('[');
            for (index, item) in items.iter().enumerate() {
                output.push_str(if index > 0 { " , " } else { "" });
                respell(item, output);
            }
            output.push(']');
        }
        Value::String(text) => {
            output.push('"');
            for unit in text.encode_utf16() {
                output.push_str(&format!("\\u{unit:04X}"));
            }
            output.push('"');
        }
        Value::Number(number) => {
            // 12.5e3 as 0.0125e6: the point moved, zeros added.
            let text = number.to_string();
            let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let exponent: i64 = exponent.parse().unwrap();
            let moved = exponent + i64::try_from(whole.len()).unwrap();
            output.push_str(&format!("{sign}0.{whole}{fraction}00E{moved:+}"));
        }
        other => output.push_str(&other.to_string()),
    }
}

fn bytes_of(array: &Array) -> (Vec<usize>, Vec<u8>) {
    (array.shape().to_vec(), array.to_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_digest_sees_content_only(value in document_json(), arrays in arrays(), blocks in 1_u64..40, other in 1_u64..40) {
        let plain = value.to_string();
        let mut otherwise = String::new();
        respell(&value, &mut otherwise);
        let (one, _) = build(&plain, &arrays, blocks * 16);
        let (two, _) = build(&otherwise, &arrays, other * 16);
        prop_assert_eq!(one.digest().unwrap(), two.digest().unwrap(), "{} {}", plain, otherwise);
    }

    #[test]
    fn the_digest_sees_every_difference(value in document_json(), other in document_json(), arrays in arrays(), more in array(), path in "[a-c]/[X-Z]") {
        let (one, _) = build(&value.to_string(), &arrays, 64);
        let (two, _) = build(&other.to_string(), &arrays, 64);
        prop_assert_eq!(one.digest().unwrap() == two.digest().unwrap(), value == other);
        let mut changed = arrays.clone();
        let before = changed.insert(path, more.clone());
        let (three, _) = build(&value.to_string(), &changed, 64);
        let same = before.is_some_and(|before| {
            before.values().element_type() == more.values().element_type() && bytes_of(&before) == bytes_of(&more)
        });
        prop_assert_eq!(one.digest().unwrap() == three.digest().unwrap(), same);
    }

    #[test]
    fn files_give_back_what_was_written(value in document_json(), arrays in arrays(), block in 1_u64..40, part in 4_usize..90) {
        let (document, blocks) = build(&value.to_string(), &arrays, block * 16);
        let file = write(&document, &blocks, part);
        prop_assert_eq!(&file, &write(&document, &blocks, part), "deterministic");
        let limits = Limits { block_bytes: block * 16, ..Limits::default() };
        let mut again = MemoryBlocks::new();
        let read = hdf5::read(&file, &limits, &mut again).unwrap();
        prop_assert_eq!(&read, &document);
        for (path, array) in &arrays {
            let loaded = read.arrays[path].load(&again, 1 << 20).unwrap();
            prop_assert_eq!(bytes_of(&loaded), bytes_of(array));
            prop_assert_eq!(loaded.values().element_type(), array.values().element_type());
            let length = read.arrays[path].byte_length;
            prop_assert!(length == 0 || read.arrays[path].load(&again, length - 1).is_err());
        }
    }

    #[test]
    fn any_range_of_a_file(arrays in arrays(), ranges in vec((0_u64..20_000, 0_u64..9_000), 20)) {
        let (document, blocks) = build(r#"{"data":[1,2,3]}"#, &arrays, 48);
        let file = write(&document, &blocks, 1000);
        let plan = hdf5::FilePlan::with_json_parts(&document, 1000).unwrap();
        for (start, length) in ranges {
            let mut bytes = Vec::new();
            plan.write_range(start..start + length, &blocks, &mut bytes).unwrap();
            let from = (start as usize).min(file.len());
            let to = ((start + length) as usize).min(file.len());
            prop_assert_eq!(&bytes, &file[from..to]);
        }
    }

    #[test]
    fn slices_are_verbatim(value in document_json(), arrays in arrays()) {
        let inner = Document { json: value.to_string().into(), arrays: build("{}", &arrays, 64).0.arrays };
        let mut blocks = MemoryBlocks::new();
        let mut builder = ResultBuilder::new("Outer \"quoted\"", &mut blocks);
        builder.member("before", &value).unwrap().embed("simulation", &inner).unwrap();
        builder.member("simulation2", "x").unwrap();
        builder.array("simulation2/X", &Array::from_floats(vec![1.0])).unwrap();
        let outer = builder.finish().unwrap();
        prop_assert_eq!(outer.subdocument("simulation").unwrap().unwrap(), inner);
        let parsed: Value = serde_json::from_str(&outer.json).unwrap();
        prop_assert_eq!(&parsed["before"], &value);
        for (key, member) in value.as_object().unwrap() {
            let slice = outer.fragment(&format!("before/{key}")).unwrap().unwrap();
            prop_assert_eq!(slice, member.to_string());
            for (index, item) in member.as_array().into_iter().flatten().enumerate() {
                let slice = outer.fragment(&format!("before/{key}/{index}")).unwrap().unwrap();
                prop_assert_eq!(slice, item.to_string());
            }
        }
        prop_assert_eq!(outer.fragment("before/none").unwrap(), None);
    }

    /// What a strict parser accepts is accepted, what it refuses is refused.
    #[test]
    fn json_is_judged_as_by_serde(value in json(5), edits in vec((any::<prop::sample::Index>(), "[-\\[\\]{},:\"\\\\0-9eE.+tfnusla \x1f\x7f]{0,2}", 0_usize..3), 0..4)) {
        let mut text: Vec<char> = value.to_string().chars().collect();
        for (index, insert, remove) in edits {
            let at = index.index(text.len() + 1);
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        let ours = Document { json: text.as_str().into(), arrays: BTreeMap::new() }.digest();
        let theirs = serde_json::from_str::<Value>(&text);
        match (&ours, &theirs) {
            (Ok(_), Err(error)) => {
                // A number beyond a float's range is a number to us.
                prop_assert!(error.to_string().contains("number out of range"), "{text}: {error}");
            }
            (Err(error), Ok(_)) => prop_assert!(error.to_string().contains("repeats a key"), "{text}: {error}"),
            _ => {}
        }
    }
}

#[test]
fn numbers_by_value() {
    let digest = |json: &str| Document { json: json.into(), arrays: BTreeMap::new() }.digest().unwrap();
    for same in [
        &["1", "1.0", "1e0", "10e-1", "0.1E+1", "0.001e3", "1.000000"][..],
        &["0", "0.0", "0e7", "0.000e-9"],
        &["-0", "-0.0", "-0e1"],
        &["1200", "1.2e3", "12e2", "1200.00"],
        &["0.00123", "123e-5", "1.23e-3"],
        &["18446744073709551617", "18446744073709551617.0"],
    ] {
        for other in same {
            assert_eq!(digest(same[0]), digest(other), "{} {other}", same[0]);
        }
    }
    let different = [
        "1",
        "-1",
        "10",
        "0.1",
        "0",
        "-0",
        "1.5",
        "15",
        "18446744073709551617",
        "18446744073709551616",
        "[1]",
        "\"1\"",
        "null",
        "[]",
        "{}",
        "[[]]",
        "[1,1]",
        "[11]",
        "\"\"",
        "true",
        "false",
        r#"{"a":1}"#,
        r#"{"a":[1]}"#,
    ];
    for (index, one) in different.iter().enumerate() {
        for two in &different[index + 1..] {
            assert_ne!(digest(one), digest(two), "{one} {two}");
        }
    }
}

#[test]
fn a_group_with_many_children_and_text_beyond_one_collection() {
    let mut arrays = BTreeMap::new();
    for index in 0..5000 {
        arrays.insert(format!("data/{index}/X"), Array::from_floats(vec![f64::from(index)]));
    }
    let many: Vec<String> =
        (0..150_000).map(|index| if index % 7 == 0 { String::new() } else { index.to_string() }).collect();
    arrays.insert("text/X".to_owned(), Array::new(vec![150_000], Values::Text(many)).unwrap());
    let (document, blocks) = build("{}", &arrays, 4096);
    let start = std::time::Instant::now();
    let file = write(&document, &blocks, 1 << 20);
    let mut again = MemoryBlocks::new();
    let limits = Limits { block_bytes: 4096, ..Limits::default() };
    assert_eq!(hdf5::read(&file, &limits, &mut again).unwrap(), document);
    println!("5000 groups and 150,000 strings there and back in {:?}", start.elapsed());
}

#[test]
fn results_have_their_groups_and_refuse_what_cannot_be() {
    let document = Document { json: r#"{"data":[null,{},[]]}"#.into(), arrays: BTreeMap::new() };
    let file = write(&document, &MemoryBlocks::new(), 100);
    let read = hdf5::read(&file, &Limits::default(), &mut MemoryBlocks::new()).unwrap();
    assert_eq!(read, document);
    assert_eq!(
        file.windows(4).filter(|bytes| bytes == b"HEAP").count(),
        5,
        "root, data, and three of its groups"
    );
    let mut blocks = MemoryBlocks::new();
    let mut builder = ResultBuilder::new("T", &mut blocks);
    let array = Array::from_floats(vec![1.0]);
    builder.array("a/b", &array).unwrap();
    assert!(builder.array("a/b", &array).is_err());
    assert!(builder.array("/a", &array).is_err());
    assert!(builder.member("type", "again").is_err());
    assert!(builder.verbatim("x", "{").is_err());
    builder.array("a", &array).unwrap();
    assert!(builder.finish().is_err(), "an array and a group at one path");
}
