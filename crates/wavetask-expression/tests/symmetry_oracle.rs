//! Fields of symmetric simulations, of which a part is stored, as tidy3d makes them whole.

mod files;
mod support;

use std::collections::BTreeMap;

use support::C;
use wavetask_document::expression::Coordinate;
use wavetask_expression::Numbers;

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
        let ours = files::value(&folder.join(text("file")), &expression);
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
        if !support::are_named(&ours.labels, &support::dimensions(case), same_labels) {
            differing.push(format!("{case}: {:?}", ours.labels.dimensions));
            continue;
        }
        let values: Vec<C> = match ours.values {
            Numbers::Real(values) => values.into_iter().map(|value| C::new(value, 0.0)).collect(),
            Numbers::Complex(values) => values,
        };
        let theirs = support::numbers(&case["value"], &numbers);
        let single = case["single"] == true;
        if single {
            *found.entry(("cut".to_owned(), false)).or_default() += 1;
        }
        // Differences count from a hundred-trillionth of this on.
        let largest = if single { 3e8 } else { 300.0 };
        if let Some(at) = support::first_difference(&values, theirs, largest) {
            let difference = format!("{:?}, there {:?}", values.get(at), theirs.get(at));
            differing.push(format!("{} {} {difference} at {at} of {case}", case["kind"], case["file"]));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {}, of {found:?}:\n{}",
        differing.len(),
        cases.len(),
        differing[..differing.len().min(20)].join("\n")
    );
    let counted = |kind: &str| -> usize {
        found
            .iter()
            .filter(|((name, refused), _)| name.starts_with(kind) && !refused)
            .map(|(_, count)| count)
            .sum()
    };
    for (kind, least) in
        [("on_a_grid", 200), ("on_a_mesh Tri", 50), ("on_a_mesh Tet", 50), ("cut", 30), ("gridded", 400)]
    {
        assert!(counted(kind) >= least, "{kind}: {found:?}");
    }
}
