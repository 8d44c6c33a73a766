//! The field of cell sizes means what the client's documentation says of its grid specifications.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wavetask_document::Array;
use wavetask_grid::mesh::CellSize;

use super::{Interfaces, Sizing};
use crate::model::Problem;
use crate::region::Regions;

fn medium(name: &str, conductivity: f64) -> Value {
    json!({"type": "SolidMedium", "name": name, "conductivity": conductivity})
}

fn body(name: &str, center: [f64; 3], size: Value, medium: Value) -> Value {
    json!({"type": "Structure", "name": name, "medium": medium,
        "geometry": {"type": "Box", "center": center, "size": size}})
}

/// A block 0 < x < 2 of medium m, covered from x = 1 on by a block of medium n, in a domain |x| < 10.
fn scene(grid: Value) -> Value {
    json!({
        "type": "HeatChargeSimulation", "center": [0.0, 0.0, 0.0], "size": [20.0, 0.0, 20.0],
        "medium": {"type": "FluidMedium", "name": "f"},
        "structures": [
            body("m", [1.0, 0.0, 0.0], json!([2.0, "Infinity", "Infinity"]), medium("m", 1.0)),
            body("n", [2.5, 0.0, 0.0], json!([3.0, "Infinity", "Infinity"]), medium("n", 2.0)),
        ],
        "sources": [], "monitors": [], "grid_spec": grid,
        "boundary_spec": [{"placement": {"type": "StructureBoundary", "structure": "m"},
            "condition": {"type": "TemperatureBC", "temperature": 300.0}}],
    })
}

fn distance_grid() -> Value {
    json!({"type": "DistanceUnstructuredGrid", "dl_interface": 0.1, "dl_bulk": 0.9, "distance_interface": 0.5,
        "distance_bulk": 4.5, "relative_min_dl": 0.0})
}

/// Sizes along x at a height.
fn sizes(simulation: &Value, places: &[[f64; 3]]) -> Vec<f64> {
    let problem = Problem::read(simulation, &BTreeMap::<String, Array>::new()).unwrap();
    let regions = Regions::new(&problem);
    let sizing = Sizing::new(&problem, &regions, &Interfaces::find(&problem, &regions, &|| true));
    for &place in places {
        // A box around a point has no larger size than the point.
        let near = |offset: f64| place.map(|coordinate| coordinate + offset);
        assert!(sizing.smallest_within(near(-0.3), near(0.3), 0.0) <= sizing.at(place) + 1e-12);
    }
    places.iter().map(|&place| sizing.at(place)).collect()
}

fn along_x(simulation: &Value, places: &[f64]) -> Vec<f64> {
    sizes(simulation, &places.iter().map(|&x| [x, 0.0, 0.3]).collect::<Vec<_>>())
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }
}

#[test]
fn the_size_is_constant_near_interfaces_then_linear_then_constant() {
    // Interfaces at 0, 1 and 4; what n hides of m's end at 2 does not count.
    let simulation = scene(distance_grid());
    close(&along_x(&simulation, &[0.0, 0.4, 1.0, 1.5, 4.0, 4.5]), &[0.1; 6]);
    close(&along_x(&simulation, &[2.0, 2.5, -1.5, -4.5, -9.0]), &[0.2, 0.3, 0.3, 0.9, 0.9]);
}

#[test]
fn interfaces_inside_one_material_do_not_count() {
    let mut simulation = scene(distance_grid());
    simulation["structures"][1]["medium"] = medium("m", 1.0);
    close(&along_x(&simulation, &[1.0, 0.0, 4.0]), &[0.2, 0.1, 0.1]);
}

#[test]
fn interfaces_of_structures_that_are_not_refined_belong_to_the_covering_structure() {
    let mut grid = distance_grid();
    grid["non_refined_structures"] = json!(["n"]);
    // n covers m at 1 and ends at 4: both are n's. The end of m at 0 is left.
    close(&along_x(&scene(grid.clone()), &[0.0, 1.0, 4.0]), &[0.1, 0.2, 0.8]);
    grid["non_refined_structures"] = json!(["m"]);
    close(&along_x(&scene(grid), &[0.0, 1.0, 4.0]), &[0.2, 0.1, 0.1]);
}

#[test]
fn media_with_a_uniform_grid_are_fine_throughout() {
    let mut grid = distance_grid();
    grid["uniform_grid_mediums"] = json!(["n"]);
    close(&along_x(&scene(grid.clone()), &[2.5, 1.2, 3.8, -1.5]), &[0.1, 0.1, 0.1, 0.3]);
    grid["non_refined_structures"] = json!(["n"]);
    close(&along_x(&scene(grid), &[3.5]), &[0.7]);
}

#[test]
fn refinement_regions_and_lines_add_their_sizes() {
    let mut grid = distance_grid();
    grid["mesh_refinements"] = json!([
        {"type": "GridRefinementRegion", "center": [-7.0, 0.0, 0.0], "size": [2.0, "Infinity", "Infinity"],
            "dl_internal": 0.05, "transition_thickness": 1.7},
        {"type": "GridRefinementLine", "r1": [8.0, 0.0, -3.0], "r2": [8.0, 0.0, 3.0], "dl_near": 0.02,
            "distance_near": 0.1, "distance_bulk": 0.98},
    ]);
    let simulation = scene(grid);
    close(&along_x(&simulation, &[-7.0, -6.0, -5.15, -4.3]), &[0.05, 0.05, 0.475, 0.86]);
    close(&along_x(&simulation, &[8.0, 8.1, 8.54, 9.5]), &[0.02, 0.02, 0.46, 0.9]);
    // Beyond the line's end.
    close(&sizes(&simulation, &[[8.0, 0.0, 3.54], [8.0, 0.0, 8.0]]), &[0.46, 0.8]);
}

#[test]
fn no_cell_is_smaller_than_the_limit_relative_to_the_domain() {
    let mut grid = distance_grid();
    grid["relative_min_dl"] = json!(0.02);
    close(&along_x(&scene(grid), &[0.0, 2.0, -4.5]), &[0.4, 0.4, 0.9]);
}

#[test]
fn small_and_round_bodies_get_their_edges_in_a_uniform_grid() {
    let mut grid = json!({"type": "UniformUnstructuredGrid", "dl": 0.5, "min_edges_per_circumference": 20.0,
        "min_edges_per_side": 4.0, "relative_min_dl": 0.0});
    let mut simulation = scene(grid.clone());
    simulation["structures"] = json!([
        body("m", [0.0, 0.0, 0.0], json!(["Infinity", "Infinity", "Infinity"]), medium("m", 1.0)),
        body("thin", [5.0, 0.0, 0.0], json!([0.2, "Infinity", 6.0]), medium("n", 2.0)),
        {"type": "Structure", "name": "round", "medium": medium("n", 2.0),
            "geometry": {"type": "Cylinder", "axis": 1, "center": [-5.0, 0.0, 0.0], "radius": 1.0, "length": "Infinity"}},
    ]);
    let circle = 2.0 * std::f64::consts::PI / 20.0;
    close(&along_x(&simulation, &[0.0, 5.0, 5.3, -5.0, -3.0]), &[0.5, 0.05, 0.5, circle, 0.5]);
    grid["non_refined_structures"] = json!(["thin", "round"]);
    simulation["grid_spec"] = grid.clone();
    close(&along_x(&simulation, &[5.0, -5.0]), &[0.5, 0.5]);
    grid["non_refined_structures"] = json!([]);
    grid["min_edges_per_circumference"] = json!(0.0);
    grid["min_edges_per_side"] = json!(0.0);
    simulation["grid_spec"] = grid;
    close(&along_x(&simulation, &[5.0, -5.0]), &[0.5, 0.5]);
}

#[test]
fn curved_interfaces_are_found_to_within_a_cell() {
    let mut simulation = scene(distance_grid());
    simulation["size"] = json!([6.0, 6.0, 6.0]);
    simulation["structures"] = json!([
        {"type": "Structure", "name": "m", "medium": medium("m", 1.0),
            "geometry": {"type": "Sphere", "center": [0.0, 0.0, 0.0], "radius": 2.0}},
    ]);
    for direction in [[1.0, 0.0, 0.0], [0.6, 0.0, -0.8], [-0.48, 0.6, 0.64]] {
        for (radius, expected) in [(2.0, 0.1), (2.4, 0.1), (1.6, 0.1), (1.0, 0.2), (0.0, 0.4), (2.9, 0.18)] {
            let found = sizes(&simulation, &[direction.map(|component: f64| component * radius)])[0];
            // Pieces of interface are as large as cells, so distances may be short by a diagonal of 0.17.
            assert!(
                found <= expected + 1e-9 && found >= expected - 0.2 * 0.2,
                "{radius}: {found}, {expected}"
            );
        }
    }
}
