//! Fields of symmetric simulations, of which a part is stored, as tidy3d makes them whole.

mod support;

use std::collections::BTreeMap;
use std::fs::File;

use support::C;
use wavetask_document::expression::{
    Coordinate, Documents, Expression, ExpressionError, ExpressionLimits, infer,
};
use wavetask_document::{Limits, MemoryBlocks, hdf5};
use wavetask_expression::{Evaluated, Numbers, WithMeshes, evaluate};

/// The value of an expression over the data in a file. The expression's fields name it by the word `DIGEST`.
fn value(file: &std::path::Path, expression: &str) -> Result<Evaluated, ExpressionError> {
    let mut blocks = MemoryBlocks::new();
    let opened = File::open(file).expect("the file is there");
    let document = hdf5::read_file(&opened, &Limits::default(), &mut blocks).expect("a document");
    let digest = document.digest().expect("a digest");
    let mut documents = Documents::new(blocks);
    documents.insert(digest, document);
    let expression: Expression =
        serde_json::from_str(&expression.replace("DIGEST", &digest.to_string())).expect("an expression");
    let limits = ExpressionLimits::default();
    let schema = WithMeshes { schema: &documents, reader: &documents };
    evaluate(&infer(&expression, &schema, &limits)?.plan(&limits)?, &documents)
}

fn same_labels(ours: &Coordinate, theirs: &Coordinate) -> bool {
    match (ours, theirs) {
        (Coordinate::Numbers(ours), Coordinate::Numbers(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= 1e-15)
        }
        _ => ours == theirs,
    }
}

#[test]
fn symmetric_data_is_made_whole_as_tidy3d_makes_it() {
    let folder = support::folder("symmetry");
    let Some((cases, numbers)) = support::answers("symmetry_cases.py", &folder) else { return };
    let mut differing = Vec::new();
    let mut found: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for case in &cases {
        let text = |name: &str| case[name].as_str().expect("a text").to_owned();
        let expression = case["expression"].to_string();
        let ours = value(&folder.join(text("file")), &expression);
        let refused = !case["error"].is_null();
        *found.entry((format!("{} {}", text("kind"), text("class")), refused)).or_default() += 1;
        let ours = match (ours, refused) {
            (Err(_), true) => continue,
            (Ok(_), true) => {
                differing.push(format!("{case} has a value"));
                continue;
            }
            (Err(error), false) => {
                differing.push(format!("{case}: {error:?}"));
                continue;
            }
            (Ok(ours), false) => ours,
        };
        let dimensions: Vec<(String, Coordinate)> =
            serde_json::from_value(case["dimensions"].clone()).expect("dimensions");
        let equal = ours.labels.dimensions.len() == dimensions.len()
            && ours
                .labels
                .dimensions
                .iter()
                .zip(&dimensions)
                .all(|(own, (name, labels))| *own.name == **name && same_labels(&own.coordinate, labels));
        if !equal {
            differing.push(format!("{case}: {:?}", ours.labels.dimensions));
            continue;
        }
        let values: Vec<C> = match ours.values {
            Numbers::Real(values) => values.into_iter().map(|value| C::new(value, 0.0)).collect(),
            Numbers::Complex(values) => values,
        };
        let theirs = support::numbers(&case["value"], &numbers);
        if let Some(at) = support::first_difference(&values, theirs, 300.0) {
            differing.push(format!("{case} at {at}: {:?}, there {:?}", values.get(at), theirs.get(at)));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {}:\n{}",
        differing.len(),
        cases.len(),
        differing[..differing.len().min(8)].join("\n")
    );
    let counted = |kind: &str| -> usize {
        found.iter().filter(|((name, refused), _)| name.starts_with(kind) && !refused).map(|(_, count)| count).sum()
    };
    for (kind, least) in [("on_a_grid", 300), ("on_a_mesh Tri", 50), ("on_a_mesh Tet", 50), ("gridded", 600)] {
        assert!(counted(kind) >= least, "{kind}: {found:?}");
    }
}
