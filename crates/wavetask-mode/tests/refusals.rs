//! What cannot be computed is refused by name, and what can go wrong says what to change: whole documents in, messages
//! out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use wavetask_document::{Array, Values};
use wavetask_mode::{Controls, SolveError, solve, validate};

const FREQUENCY: f64 = 1.934e14;

/// A silicon strip along y in glass, on a coarse uniform grid.
fn mode_solver() -> Value {
    let ends = json!({ "plus": { "type": "Periodic" }, "minus": { "type": "Periodic" } });
    json!({
        "type": "ModeSolver",
        "simulation": {
            "type": "Simulation",
            "version": "2.12.1",
            "size": [2.4, 1.5, 2.0],
            "boundary_spec": { "x": ends, "y": ends, "z": ends },
            "medium": { "type": "Medium", "permittivity": 2.1 },
            "structures": [structure(json!({ "type": "Medium", "permittivity": 12.1 }))],
            "grid_spec": {
                "type": "GridSpec",
                "grid_x": { "type": "UniformGrid", "dl": 0.1 },
                "grid_y": { "type": "UniformGrid", "dl": 0.1 },
                "grid_z": { "type": "UniformGrid", "dl": 0.1 },
            },
            "subpixel": false,
        },
        "plane": { "type": "Box", "center": [0.0, 0.0, 0.0], "size": [1.6, 0.0, 1.4] },
        "mode_spec": { "type": "ModeSpec", "num_modes": 1 },
        "freqs": [FREQUENCY],
    })
}

fn structure(medium: Value) -> Value {
    json!({
        "type": "Structure",
        "geometry": { "type": "Box", "center": [0.0, 0.0, 0.0], "size": [0.53, 9.0, 0.27] },
        "medium": medium,
    })
}

/// The same as a `ModeSimulation`.
fn mode_simulation() -> Value {
    let mut document = mode_solver();
    let mut scene = document["simulation"].take();
    for key in ["plane", "mode_spec", "freqs"] {
        scene[key] = document[key].take();
    }
    scene["type"] = "ModeSimulation".into();
    scene
}

fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    document.pointer_mut(parent).expect("a place")[key] = value;
    document
}

fn run(
    document: &Value,
    arrays: &BTreeMap<String, Array>,
    memory: Option<u64>,
) -> Result<Vec<String>, SolveError> {
    let progress = |_| ControlFlow::Continue(());
    let controls = Controls { threads: 1, memory_limit: memory, progress: &progress };
    solve(document, arrays, &controls).map(|solution| solution.log)
}

/// Both doors refuse, with every one of these words in the message.
#[track_caller]
fn assert_refused(document: &Value, words: &[&str]) {
    let arrays = BTreeMap::new();
    let early = validate(document, &arrays).expect_err("refused before anything is computed").to_string();
    let late = run(document, &arrays, None).expect_err("refused").to_string();
    assert_eq!(early, late);
    for word in words {
        assert!(early.contains(word), "`{word}` is not in: {early}");
    }
}

#[test]
fn what_is_not_refused_here_is_solved() {
    for document in [mode_solver(), mode_simulation()] {
        let log = run(&document, &BTreeMap::new(), None).expect("a strip has a mode");
        assert!(log.iter().any(|line| line.contains("effective index")), "{log:?}");
    }
}

#[test]
fn surface_impedance_is_refused_and_the_bulk_of_a_lossy_metal_is_not() {
    let metal = json!({ "type": "LossyMetalMedium", "conductivity": 41.0, "frequency_range": [1e14, 3e14] });
    let document = with(mode_solver(), "/simulation/structures/0/medium", metal);
    let averaged = with(document.clone(), "/simulation/subpixel", true.into());
    assert_refused(&averaged, &["structures[0].medium", "LossyMetalMedium", "SurfaceImpedance"]);
    validate(&document, &BTreeMap::new()).expect("without averaging it is a medium as others are");
}

/// The strip as a perfect conductor that the grid conforms to, with this height.
fn conforming(height: f64) -> Value {
    let document = with(
        with(mode_solver(), "/simulation/subpixel", json!({ "pec": { "type": "PECConformal" } })),
        "/simulation/structures/0/medium",
        json!({ "type": "PECMedium" }),
    );
    with(document, "/simulation/structures/0/geometry/size", json!([0.53, 9.0, height]))
}

#[test]
fn a_grid_conforms_to_conductors_without_a_warning() {
    let log = run(&conforming(0.27), &BTreeMap::new(), None).expect("a mode around a conductor");
    assert!(!warns_of_medium(&log), "{log:?}");
}

/// Whether a warning is about more than fields at the plane's ends, where the conductor of these tests leaves them.
fn warns_of_medium(log: &[String]) -> bool {
    log.iter().any(|line| line.starts_with("WARNING") && !line.contains("does not decay"))
}

#[test]
fn conductors_thinner_than_a_cell_are_warned_of() {
    // The strip's middle is on a grid line: there a sheet is seen.
    let on_line = run(&conforming(0.0), &BTreeMap::new(), None).expect("a mode around a sheet");
    assert!(!warns_of_medium(&on_line), "{on_line:?}");
    for height in [0.0, 0.03] {
        let center = json!([0.0, 0.0, 0.04]);
        let document = with(conforming(height), "/simulation/structures/0/geometry/center", center);
        let log = run(&document, &BTreeMap::new(), None).expect("modes of what is seen");
        assert!(
            log.iter().any(|line| line.starts_with("WARNING") && line.contains("thinner than the cell")),
            "{height}: {log:?}"
        );
    }
}

#[test]
fn what_the_scene_may_not_have_is_refused_by_name() {
    let resistor = json!([{ "type": "LumpedResistor", "name": "R", "resistance": 50.0 }]);
    let document = with(mode_solver(), "/simulation/lumped_elements", resistor.clone());
    assert_refused(&document, &["simulation.lumped_elements", "lumped elements"]);
    assert_refused(&with(mode_simulation(), "/lumped_elements", resistor), &["lumped_elements"]);
    let monitor = json!([{ "type": "PermittivityMonitor", "name": "eps", "size": [1.0, 0.0, 1.0] }]);
    assert_refused(&with(mode_simulation(), "/monitors", monitor), &["monitors", "ModeSimulation"]);
    assert_refused(&with(mode_solver(), "/simulation/type", "EMESimulation".into()), &["EMESimulation"]);
    assert_refused(
        &with(mode_solver(), "/mode_spec/type", "MicrowaveModeSpec".into()),
        &["MicrowaveModeSpec"],
    );
}

#[test]
fn structures_that_cannot_be_turned_are_refused_by_name() {
    let turned = with(
        with(mode_solver(), "/mode_spec/angle_theta", 0.2.into()),
        "/mode_spec/angle_rotation",
        true.into(),
    );
    let crystal = json!({
        "type": "AnisotropicMedium",
        "xx": { "type": "Medium", "permittivity": 5.0 },
        "yy": { "type": "Medium", "permittivity": 4.0 },
        "zz": { "type": "Medium", "permittivity": 4.0 },
    });
    assert_refused(
        &with(turned.clone(), "/simulation/structures/0/medium", crystal.clone()),
        &["structures[0].medium", "AnisotropicMedium", "angle_rotation"],
    );
    assert_refused(&with(turned.clone(), "/simulation/medium", crystal.clone()), &["AnisotropicMedium"]);
    let endless = json!([0.53, "Infinity", 0.27]);
    assert_refused(
        &with(turned.clone(), "/simulation/structures/0/geometry/size", endless),
        &["structures[0].geometry", "infinite"],
    );
    assert_refused(&with(turned.clone(), "/mode_spec/angle_phi", 0.3.into()), &["mode_spec.angle_phi"]);
    // What the plane does not meet is not turned.
    let beside = json!({
        "geometry": { "type": "Box", "center": [0.0, 5.0, 0.0], "size": ["Infinity", 1.0, 0.2] },
        "medium": crystal,
    });
    let strip = turned["simulation"]["structures"][0].clone();
    let document = with(turned, "/simulation/structures", json!([strip, beside]));
    validate(&document, &BTreeMap::new()).expect("the crystal is elsewhere");
}

#[test]
fn more_modes_than_the_plane_has() {
    let document = with(mode_solver(), "/mode_spec/num_modes", 700.into());
    let error = run(&document, &BTreeMap::new(), None).expect_err("too many").to_string();
    assert!(error.contains("mode_spec.num_modes") && error.contains("700"), "{error}");
}

#[test]
fn a_plane_without_material_is_reported() {
    let document = with(
        with(mode_solver(), "/simulation/structures", json!([])),
        "/simulation/medium",
        json!({ "type": "Medium", "permittivity": 1.0 }),
    );
    let log = run(&document, &BTreeMap::new(), None).expect("a box of metal has modes");
    assert!(
        log.iter().any(|line| line.starts_with("WARNING") && line.contains("same everywhere")),
        "{log:?}"
    );
}

#[test]
fn a_plane_filled_with_a_conductor_has_no_modes() {
    let document = with(mode_solver(), "/simulation/medium", json!({ "type": "PECMedium" }));
    let document = with(document, "/simulation/structures", json!([]));
    let error = run(&document, &BTreeMap::new(), None).expect_err("no modes");
    let text = format!("{error} {}", error.hint());
    assert!(text.contains("perfect conductor"), "{text}");
}

#[test]
fn not_a_number_in_a_custom_medium_is_refused() {
    let custom = json!({ "type": "CustomMedium", "permittivity": "SpatialDataArray" });
    let document = with(mode_solver(), "/simulation/structures/0/medium", custom);
    let mut arrays = BTreeMap::new();
    let path = "simulation/structures/0/medium/permittivity";
    for axis in ["x", "y", "z"] {
        arrays.insert(format!("{path}/{axis}"), Array::from_floats(vec![-1.0, 1.0]));
    }
    let mut values = vec![9.0; 8];
    values[5] = f64::NAN;
    let values = Array::new(vec![2, 2, 2], Values::Float64(values)).expect("an array");
    arrays.insert(format!("{path}/{}", wavetask_document::VALUES_DATASET), values);
    let early = validate(&document, &arrays).expect_err("refused").to_string();
    assert!(early.contains("structures[0].medium.permittivity"), "{early}");
    assert!(early.contains("finite") || early.contains("NaN"), "{early}");
    let late = run(&document, &arrays, None).expect_err("refused").to_string();
    assert_eq!(early, late);
}

#[test]
fn a_plane_larger_than_memory_says_what_it_needs() {
    let document = with(mode_solver(), "/simulation/grid_spec/grid_x/dl", 0.005.into());
    let error = run(&document, &BTreeMap::new(), Some(4 << 20)).expect_err("too large");
    assert!(matches!(error, SolveError::TooLarge { .. }), "{error}");
    let text = format!("{error}. {}", error.hint());
    for word in ["GiB", "needed", "allowed", "coarser grid", "fewer modes"] {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[test]
fn a_filter_that_no_mode_passes_is_refused() {
    let sort = json!({ "filter_key": "TE_fraction", "filter_reference": 2.0, "keep_modes": "filtered" });
    let document = with(mode_solver(), "/mode_spec/sort_spec", sort);
    let error = run(&document, &BTreeMap::new(), None).expect_err("nothing is left").to_string();
    assert!(error.contains("mode_spec.sort_spec") && error.contains("keep_modes"), "{error}");
}
