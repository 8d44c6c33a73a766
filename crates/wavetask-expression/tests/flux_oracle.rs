//! The power that fields carry through planes, here and by tidy3d's own data classes.

mod files;
mod support;

use std::collections::BTreeMap;

use support::C;
use wavetask_expression::Numbers;

#[test]
fn flux_is_what_tidy3d_says() {
    let folder = support::folder("flux");
    let Some((cases, numbers)) = support::answers("flux_cases.py", &folder) else { return };
    let mut differing = Vec::new();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for case in &cases {
        let file = folder.join(case["file"].as_str().expect("a file"));
        let ours = files::value(&file, &case["expression"].to_string());
        let kind = format!("{} {} {}", case["class"], case["colocate"], case["integrated"]);
        if case["error"].is_string() {
            *found.entry(format!("{kind} refused")).or_default() += 1;
            if ours.is_ok() {
                differing.push(format!("{case} has a value"));
            }
            continue;
        }
        *found.entry(kind).or_default() += 1;
        let ours = match ours {
            Ok(ours) => ours,
            Err(error) => {
                differing.push(format!("{case}: {error:?}"));
                continue;
            }
        };
        let equal = support::are_named(&ours.labels, &support::dimensions(case), PartialEq::eq);
        let Numbers::Real(values) = ours.values else { panic!("{case} is complex") };
        let values: Vec<C> = values.into_iter().map(C::from).collect();
        let theirs = support::numbers(&case["value"], &numbers);
        if !equal {
            differing.push(format!("{case}: {:?}", ours.labels));
        } else if let Some(at) = support::first_difference(&values, theirs, 1.0) {
            differing.push(format!("{case} at {at}: {:?}, there {:?}", values.get(at), theirs.get(at)));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {}, of {found:?}:\n{}",
        differing.len(),
        cases.len(),
        differing[..differing.len().min(8)].join("\n")
    );
    let computed: usize =
        found.iter().filter(|(kind, _)| !kind.contains("refused")).map(|(_, count)| count).sum();
    assert!(computed > 300, "{found:?}");
}
