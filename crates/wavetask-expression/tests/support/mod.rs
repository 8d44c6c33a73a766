//! What Python says: one process per test file answers all its cases.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::path::{Path, PathBuf};
use std::process::Command;

use num_complex::Complex;
use serde_json::Value;
use wavetask_document::expression::{Coordinate, Labels};

/// Numbers as Python stores them.
pub(crate) type C = Complex<f64>;

/// A folder for the cases of a test.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder for the cases");
    folder
}

/// Runs a script on a folder and reads what it has written there: `results.json`, and the numbers in `results.bin`.
/// `None` with a notice if the Python to use is not named.
pub(crate) fn answers(script: &str, folder: &Path) -> Option<(Vec<Value>, Vec<C>)> {
    let Some(python) = std::env::var_os("WAVETASK_TEST_PYTHON") else {
        eprintln!("skipped: WAVETASK_TEST_PYTHON is not set");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let status = Command::new(python).arg(script).arg(folder).env("OMP_NUM_THREADS", "1").status();
    assert!(status.expect("Python starts").success(), "Python answers");
    let answers = std::fs::read_to_string(folder.join("results.json")).expect("answers");
    let bytes = std::fs::read(folder.join("results.bin")).expect("values");
    let number = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let values = bytes.chunks_exact(16).map(|pair| C::new(number(&pair[..8]), number(&pair[8..]))).collect();
    Some((serde_json::from_str(&answers).expect("JSON"), values))
}

/// The numbers that an answer refers to.
pub(crate) fn numbers<'a>(answer: &Value, values: &'a [C]) -> &'a [C] {
    let place = |name: &str| usize::try_from(answer[name].as_u64().expect("a place")).expect("a small one");
    &values[place("start")..place("start") + place("count")]
}

/// What an answer says of its dimensions: names and labels.
pub(crate) fn dimensions(answer: &Value) -> Vec<(String, Coordinate)> {
    serde_json::from_value(answer["dimensions"].clone()).expect("dimensions")
}

/// Whether our dimensions have these names, and labels that are the same.
pub(crate) fn are_named(
    ours: &Labels,
    theirs: &[(String, Coordinate)],
    same: impl Fn(&Coordinate, &Coordinate) -> bool,
) -> bool {
    ours.dimensions.len() == theirs.len()
        && ours
            .dimensions
            .iter()
            .zip(theirs)
            .all(|(own, (name, labels))| *own.name == **name && same(&own.coordinate, labels))
}

/// The first place at which numbers differ by more than rounding of the largest on the way to them. What is not finite
/// is equal in kind.
pub(crate) fn first_difference(ours: &[C], theirs: &[C], largest: f64) -> Option<usize> {
    if ours.len() != theirs.len() {
        return Some(ours.len().min(theirs.len()));
    }
    let agree = |ours: C, theirs: C| {
        if ours.is_nan() || theirs.is_nan() {
            return ours.is_nan() == theirs.is_nan();
        }
        if !ours.is_finite() || !theirs.is_finite() {
            return ours == theirs;
        }
        (ours - theirs).norm() <= 1e-12 * theirs.norm() + 1e-14 * largest
    };
    (0..ours.len()).find(|&at| !agree(ours[at], theirs[at]))
}
