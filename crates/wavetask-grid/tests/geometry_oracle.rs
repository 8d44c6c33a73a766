//! Geometries of every class, as the tidy3d client writes them, against what the client says of them.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that states what it compared")]

mod client;

use std::collections::BTreeSet;

use wavetask_grid::geometry::Geometry;

use client::{answers, arrays, floats, with_both_clients};

/// Points this near to a surface may be answered either way, in micrometres.
const ON_SURFACE: f64 = 1e-9;

/// How many geometries each client makes up.
const CASES: &str = "200";

fn compare_with(variable: &str) {
    let Some(document) = answers(variable, "geometry", CASES) else { return };
    let (mut compared, mut skipped, mut inside_count) = (0, 0, 0);
    let mut refused = Vec::new();
    let mut kinds = BTreeSet::new();
    let cases = document["cases"].as_array().unwrap();
    for (number, case) in cases.iter().enumerate() {
        let geometry =
            match Geometry::from_json(&case["geometry"], "structures/0/geometry", &arrays(&case["arrays"])) {
                Ok(geometry) => geometry,
                Err(error) => {
                    // The client heals some self-intersecting polygons; here they are refused by name.
                    assert_eq!(error.code(), "geometry-option-unsupported", "case {number}: {error}");
                    refused.push(error.to_string());
                    continue;
                }
            };
        kinds.insert(case["kind"].as_str().unwrap().to_owned());

        let bounds = geometry.bounds();
        for (side, expected) in case["bounds"].as_array().unwrap().iter().enumerate() {
            for (axis, expected) in floats(expected).into_iter().enumerate() {
                let bound = bounds[axis][side];
                let agrees = if expected.abs() >= 1e300 {
                    bound.is_infinite() && bound.signum() == expected.signum()
                } else {
                    (bound - expected).abs() <= 1e-9 * expected.abs().max(1.0)
                };
                assert!(agrees, "case {number}: bound {bound}, not {expected}\n{}", case["geometry"]);
            }
        }

        for (point, expected) in
            case["points"].as_array().unwrap().iter().zip(case["inside"].as_array().unwrap())
        {
            let point: [f64; 3] = floats(point).try_into().unwrap();
            let distance = geometry.distance_to_surface(point);
            if distance <= ON_SURFACE {
                skipped += 1;
                continue;
            }
            compared += 1;
            let contains = geometry.contains(point);
            inside_count += usize::from(contains);
            assert_eq!(
                Some(contains),
                expected.as_bool(),
                "case {number}: {point:?}, {distance} um from the surface\n{:.4000}",
                case["geometry"].to_string()
            );
        }
    }
    println!(
        "tidy3d {}: {} geometries ({kinds:?}), {compared} points ({inside_count} inside), {skipped} on surfaces, \
         {} refused: {refused:#?}",
        document["version"],
        cases.len(),
        refused.len()
    );
    assert!(skipped * 1000 < compared, "{skipped} points of {compared} were taken to be on a surface");
    assert!(inside_count * 10 > compared, "too few points inside to tell");
    assert!(refused.len() * 50 < cases.len(), "{} geometries of {} were refused", refused.len(), cases.len());
}

with_both_clients!(compare_with);
