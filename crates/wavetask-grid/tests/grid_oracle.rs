//! Grids of simulations, as the tidy3d client writes them, against the grids that it makes of them.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that states what it compared")]

mod client;

use std::time::{Duration, Instant};

use serde_json::Value;
use wavetask_grid::boundaries::{BoxRegion, Grid, GridError, Location, ModePlane, SceneSource};
use wavetask_oracle::OLDER;

use client::{answers, arrays, floats, with_both_clients};

/// By how much coordinates may differ, relative to the extent of the grid.
const TOLERANCE: f64 = 1e-9;

/// How many random simulations each client makes up, beside those drawn by hand.
const CASES: &str = "240";

/// How many the older client makes up.
const OLDER_CASES: &str = "80";

fn three(value: &Value) -> [f64; 3] {
    floats(value).try_into().unwrap()
}

fn lines(value: &Value) -> [Vec<f64>; 3] {
    let lines: Vec<Vec<f64>> = value.as_array().expect("three axes").iter().map(floats).collect();
    lines.try_into().unwrap()
}

fn span(value: &Value) -> Vec<Vec<i64>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn region(value: &Value) -> BoxRegion {
    let size = three(&value["size"]).map(|size| if size >= 1e300 { f64::INFINITY } else { size });
    BoxRegion { center: three(&value["center"]), size }
}

/// Fails unless the lines are equal within the tolerance; the largest difference, relative to the extent.
fn compare(found: &[Vec<f64>; 3], expected: &[Vec<f64>; 3], what: &str) -> f64 {
    let mut largest = 0.0f64;
    for (axis, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}, axis {axis}:\n{found:?}\n{expected:?}");
        let extent = expected.iter().fold(0.0f64, |extent, line| extent.max(line.abs()));
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            let difference = (found - expected).abs() / extent.max(f64::MIN_POSITIVE);
            assert!(difference <= TOLERANCE, "{what}, axis {axis}, line {index}: {found}, not {expected}");
            largest = largest.max(difference);
        }
    }
    largest
}

fn check_planes(grid: &Grid, planes: &Value, name: &str) -> (usize, usize) {
    let mut reduced_count = 0;
    let planes = planes.as_array().unwrap();
    for (number, expected) in planes.iter().enumerate() {
        let name = format!("{name}, plane {number} {}", expected["center"]);
        let plane = ModePlane::new(grid, region(expected)).expect(&name);
        assert_eq!(serde_json::json!(plane.symmetry()), expected["symmetry"], "{name}");
        compare(plane.output_grid().boundaries(), &lines(&expected["output"]), &format!("{name}, output"));
        compare(
            plane.snapped_grid().expect(&name).boundaries(),
            &lines(&expected["snapped"]),
            &format!("{name}, snapped"),
        );
        assert_eq!(serde_json::json!(plane.solver_span()), expected["solver_span"], "{name}");
        compare(plane.solver_grid().boundaries(), &lines(&expected["solver"]), &format!("{name}, solver"));
        if expected["reduced"].is_array() {
            reduced_count += 1;
            let reduced = plane.reduced_grid().expect(&name);
            compare(reduced.boundaries(), &lines(&expected["reduced"]), &format!("{name}, reduced"));
            assert_eq!(serde_json::json!(reduced.symmetry()), expected["reduced_symmetry"], "{name}");
            let plane = ModePlane::new(&reduced, region(expected)).expect(&name);
            let snapped = plane.snapped_grid().expect(&name);
            let what = format!("{name}, snapped in reduced");
            compare(snapped.boundaries(), &lines(&expected["reduced_snapped"]), &what);
            let what = format!("{name}, solver in reduced");
            compare(plane.solver_grid().boundaries(), &lines(&expected["reduced_solver"]), &what);
        }
    }
    (planes.len(), reduced_count)
}

fn check_parts(grid: &Grid, case: &Value, name: &str) -> usize {
    for expected in case["boxes"].as_array().unwrap() {
        let (region, extend) = (region(expected), expected["extend"].as_bool().unwrap());
        let what = format!("{name}, {region:?}, {extend}");
        assert_eq!(serde_json::json!(grid.span_of(&region, extend)), expected["span"], "{what}");
        compare(grid.around(&region, extend).boundaries(), &lines(&expected["part"]), &what);
    }
    for expected in case["monitors"].as_array().unwrap() {
        let (region, colocate) = (region(expected), expected["colocate"].as_bool().unwrap());
        let what = format!("{name}, monitor {region:?}, {colocate}");
        let found = grid.span_of_monitor(&region, colocate);
        assert_eq!(
            found.map(|range| range.map(|index| index as i64).to_vec()).to_vec(),
            span(&expected["span"]),
            "{what}"
        );
        if expected["part"].is_array() {
            let part = grid.around_monitor(&region, colocate).expect(&what);
            compare(part.boundaries(), &lines(&expected["part"]), &what);
        } else {
            assert!(grid.around_monitor(&region, colocate).is_err(), "{what}: the client makes no grid");
        }
    }
    case["boxes"].as_array().unwrap().len() + case["monitors"].as_array().unwrap().len()
}

fn compare_with(variable: &str) {
    let count = if variable == OLDER { OLDER_CASES } else { CASES };
    let Some(document) = answers(variable, "grid", count) else { return };
    let cases = document["cases"].as_array().unwrap();
    let (mut compared, mut without, mut cells, mut largest) = (0, 0, 0, 0.0f64);
    let (mut parts, mut planes, mut reduced) = (0, 0, 0);
    let (mut ours, mut theirs) = (Duration::ZERO, 0.0);
    let mut refused = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let arrays = arrays(&case["arrays"]);
        let source = SceneSource { simulation: &case["simulation"], path: "", arrays: &arrays };
        let started = Instant::now();
        let grid = Grid::of_simulation(&source);
        let elapsed = started.elapsed();
        let grid = match grid {
            Ok(grid) => grid,
            Err(GridError::Scene(error)) if error.code() == "geometry-option-unsupported" => {
                // The client heals some self-intersecting polygons; here they are refused by name.
                refused.push(error.to_string());
                continue;
            }
            Err(GridError::Unsupported { path, what }) if what.contains("refined layer") => {
                refused.push(format!("{path}: {what}"));
                continue;
            }
            Err(error) => {
                assert!(case["boundaries"].is_null(), "{name}: {error}");
                without += 1;
                continue;
            }
        };
        assert!(case["boundaries"].is_array(), "{name}: the client makes no grid, here {:?}", grid.cells());
        largest = largest.max(compare(grid.boundaries(), &lines(&case["boundaries"]), name));
        compared += 1;
        cells += grid.cells().iter().sum::<usize>();
        ours += elapsed;
        theirs += case["seconds"].as_f64().unwrap();

        if case["coordinates"].is_object() {
            for location in Location::FIELDS.into_iter().chain([Location::Center]) {
                let expected = lines(&case["coordinates"][location.name()]);
                compare(&grid.coordinates(location), &expected, &format!("{name}, {location:?}"));
            }
            compare(&grid.primal_sizes(), &lines(&case["primal"]), &format!("{name}, primal sizes"));
            compare(&grid.dual_sizes(), &lines(&case["dual"]), &format!("{name}, dual sizes"));
        }
        if case["boxes"].is_array() {
            parts += check_parts(&grid, case, name);
            let (found, found_reduced) = check_planes(&grid, &case["planes"], name);
            planes += found;
            reduced += found_reduced;
        }
    }
    println!(
        "tidy3d {}: {compared} grids ({cells} lines, largest difference {largest:.1e} of the extent), {without} that \
         neither makes, {} refused; {parts} parts, {planes} mode planes, {reduced} of them reduced; here {:.1} ms \
         altogether, the client {:.1} ms",
        document["version"],
        refused.len(),
        ours.as_secs_f64() * 1e3,
        theirs * 1e3,
    );
    assert!(
        refused.len() * 20 < cases.len(),
        "{} of {} were refused: {refused:#?}",
        refused.len(),
        cases.len()
    );
    assert!(without * 10 < cases.len(), "{without} of {} have no grid", cases.len());
    assert!(parts > 0, "no part was compared");
    // Older clients solve modes on the plane's whole grid.
    assert!(planes > 0 || variable == OLDER, "no mode plane was compared");
}

with_both_clients!(compare_with);
