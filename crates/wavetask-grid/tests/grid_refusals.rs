//! What has no grid is refused by name, with the path of the value that is at fault.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wavetask_document::Array;
use wavetask_grid::boundaries::{Grid, GridError, SceneSource};

fn simulation() -> Value {
    let edge = |kind: &str| json!({ "type": kind, "num_layers": 12 });
    let side = json!({ "minus": edge("PML"), "plus": edge("PML") });
    json!({
        "type": "Simulation",
        "center": [0.0, 0.0, 0.0],
        "size": [2.0, 2.0, 2.0],
        "medium": { "type": "Medium", "permittivity": 1.0 },
        "structures": [],
        "sources": [],
        "boundary_spec": { "x": side, "y": side, "z": side },
        "grid_spec": {
            "type": "GridSpec",
            "grid_x": { "type": "AutoGrid" },
            "grid_y": { "type": "UniformGrid", "dl": 0.1 },
            "grid_z": { "type": "UniformGrid", "dl": 0.1 },
            "wavelength": 1.0,
        },
    })
}

fn grid(simulation: &Value, path: &str) -> Result<Grid, GridError> {
    let arrays = BTreeMap::<String, Array>::new();
    Grid::of_simulation(&SceneSource { simulation, path, arrays: &arrays })
}

/// The error of the simulation with one value replaced.
fn refused(pointer: &str, value: Value) -> GridError {
    let mut simulation = simulation();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    simulation.pointer_mut(parent).unwrap()[name] = value;
    grid(&simulation, "simulation").unwrap_err()
}

#[test]
fn the_unchanged_simulation_has_a_grid() {
    let grid = grid(&simulation(), "").unwrap();
    assert_eq!(grid.cells(), [20 + 24; 3]);
    assert_eq!(grid.absorber_layers(), [[12.0; 2]; 3]);
    assert_eq!(grid.wavelength(), Some(1.0));
    assert!((grid.boundaries()[1][12] + 1.0).abs() < 1e-12);
}

#[test]
fn what_is_not_supported_is_named() {
    for (pointer, value, path, name) in [
        ("/type", json!("EMESimulation"), "simulation", "EMESimulation"),
        ("/grid_spec/grid_y", json!({ "type": "SpiralGrid" }), "simulation/grid_spec/grid_y", "SpiralGrid"),
        (
            "/grid_spec/grid_x/mesher",
            json!({ "type": "OtherMesher" }),
            "simulation/grid_spec/grid_x/mesher",
            "OtherMesher",
        ),
        ("/boundary_spec/z/plus/type", json!("Mirror"), "simulation/boundary_spec/z/plus", "Mirror"),
        ("/lumped_elements", json!([{ "type": "Antenna" }]), "simulation/lumped_elements/0", "Antenna"),
        (
            "/grid_spec/override_structures",
            json!([{ "type": "Hint" }]),
            "simulation/grid_spec/override_structures/0",
            "Hint",
        ),
        (
            "/grid_spec/layer_refinement_specs",
            json!([{ "type": "LayerRefinementSpec", "axis": 2, "size": ["Infinity", "Infinity", 0.1],
                     "corner_finder": { "type": "CornerFinderSpec", "distance_threshold": 0.1 } }]),
            "simulation/grid_spec/layer_refinement_specs/0/corner_finder/distance_threshold",
            "simplification of outlines",
        ),
    ] {
        let error = refused(pointer, value);
        assert!(matches!(error, GridError::Unsupported { .. }), "{pointer}: {error}");
        assert_eq!(error.path(), path);
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(error.code(), "grid-option-unsupported");
    }
    let mut older = simulation();
    older["version"] = json!("2.11.2");
    assert!(grid(&older, "").is_ok());
    older["grid_spec"]["layer_refinement_specs"] =
        json!([{ "type": "LayerRefinementSpec", "axis": 2, "size": [1.0, 1.0, 0.1] }]);
    assert!(grid(&older, "").unwrap_err().to_string().contains("clients before 2.12"));

    let medium = refused("/medium", json!({ "type": "Jelly" }));
    assert!(matches!(medium, GridError::Scene(_)) && medium.to_string().contains("Jelly"), "{medium}");
    assert_eq!(medium.path(), "simulation/medium");
}

#[test]
fn metal_that_cannot_be_united_is_refused_only_where_it_touches() {
    let with_second_at = |x: f64| {
        let metal = |geometry: Value| json!({ "geometry": geometry, "medium": { "type": "PECMedium" } });
        let mut simulation = simulation();
        simulation["structures"] = json!([
            metal(json!({ "type": "Cylinder", "center": [0.0, 0.0, 0.0], "radius": 0.3, "length": 0.1,
                          "axis": 2 })),
            metal(json!({ "type": "Box", "center": [x, 0.0, 0.0], "size": [0.2, 0.2, 0.1] })),
        ]);
        simulation["grid_spec"]["layer_refinement_specs"] = json!([
            { "type": "LayerRefinementSpec", "axis": 2, "size": ["Infinity", "Infinity", 0.1] }
        ]);
        grid(&simulation, "")
    };
    assert!(with_second_at(0.8).is_ok());
    let error = with_second_at(0.35).unwrap_err();
    assert!(error.to_string().contains("touches other metal"), "{error}");
}

#[test]
fn what_is_wrong_or_too_large_is_refused() {
    let unknown = refused("/grid_spec/wavelength", Value::Null);
    assert_eq!(unknown.code(), "grid-wavelength-unknown");
    for (pointer, value, code) in [
        ("/grid_spec/grid_y/dl", json!(-0.1), "grid-invalid"),
        ("/grid_spec/grid_y/dl", json!("much"), "grid-invalid"),
        ("/grid_spec/grid_x/max_scale", json!(2.5), "grid-invalid"),
        ("/grid_spec/wavelength", json!(0.0), "grid-invalid"),
        ("/grid_spec/snapping_points", json!([[1.0, 2.0]]), "grid-invalid"),
        ("/symmetry", json!([0, 2, 0]), "grid-invalid"),
        ("/boundary_spec/x/plus/num_layers", json!(1e12), "grid-invalid"),
        ("/size", json!([2.0, -1.0, 1.0]), "geometry-invalid"),
        ("/grid_spec/grid_y/dl", json!(1e-9), "grid-limit-exceeded"),
        ("/grid_spec/wavelength", json!(1e-6), "grid-impossible"),
        (
            "/grid_spec/grid_y",
            json!({ "type": "CustomGridBoundaries", "coords": [5.0, 6.0, 7.0] }),
            "grid-impossible",
        ),
        (
            "/grid_spec/grid_y",
            json!({ "type": "CustomGridBoundaries", "coords": [1.0, 1.0] }),
            "grid-invalid",
        ),
        ("/grid_spec/grid_y", json!({ "type": "CustomGrid", "dl": [] }), "grid-invalid"),
    ] {
        let error = refused(pointer, value.clone());
        assert_eq!(error.code(), code, "{pointer} = {value}: {error}");
        assert!(!error.hint().is_empty());
    }
}
