//! What the Python oracles of these tests say of the tidy3d client.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use wavetask_document::{Array, Values};

/// What `tests/{name}_oracle.py` writes about as many cases as `count` says; `None` without a client.
pub(crate) fn answers(variable: &str, name: &str, count: &str) -> Option<Value> {
    let script = format!("{}/tests/{name}_oracle.py", env!("CARGO_MANIFEST_DIR"));
    let mut oracle = wavetask_oracle::command(variable, script)?;
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}_{variable}.json"));
    let seed = std::env::var("WAVETASK_TEST_SEED").unwrap_or_else(|_| "1".into());
    wavetask_oracle::finish(oracle.arg(&output).args([&seed, count]), b"");
    Some(serde_json::from_slice(&std::fs::read(&output).expect("answers")).expect("JSON"))
}

/// A list of numbers.
pub(crate) fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// Arrays by their paths, as the oracles write them.
pub(crate) fn arrays(value: &Value) -> BTreeMap<String, Array> {
    let read = |(path, array): (&String, &Value)| {
        let shape = array["shape"].as_array().expect("a shape").iter();
        let shape = shape.map(|extent| extent.as_u64().expect("an extent") as usize).collect();
        let values = floats(&array["values"]);
        let values = match array["kind"].as_str() {
            Some("c") => {
                let parts = values.into_iter().zip(floats(&array["imag"]));
                Values::Complex128(parts.map(|(re, im)| [re, im]).collect())
            }
            #[expect(clippy::cast_possible_truncation, reason = "written from integers")]
            Some("i" | "u") => Values::Int64(values.into_iter().map(|value| value as i64).collect()),
            _ => Values::Float64(values),
        };
        (path.clone(), Array::new(shape, values).expect("consistent"))
    };
    value.as_object().expect("an object").iter().map(read).collect()
}

/// The comparison, a function of the variable that names the interpreter, as a test with each client.
macro_rules! with_both_clients {
    ($compare:ident) => {
        #[test]
        fn agrees_with_the_newest_client() {
            $compare(wavetask_oracle::NEWEST);
        }

        #[test]
        fn agrees_with_an_older_client() {
            $compare(wavetask_oracle::OLDER);
        }
    };
}
pub(crate) use with_both_clients;
