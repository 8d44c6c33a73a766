//! Perfect conductors in simulations: whole documents in, indices out.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use wavetask_mode::{Controls, solve};

const FREQUENCY: f64 = 1.934_144_890_322_580_6e14;
const WAVELENGTH: f64 = 1.55;
const PERMITTIVITY: f64 = 2.1;
const STEP: f64 = 0.1;

/// Structures on a coarse grid around a plane of 1.8 by 1.4 µm.
fn document(background: &Value, structures: &[(Value, Value)], subpixel: &Value) -> Value {
    let ends = json!({ "plus": { "type": "Periodic" }, "minus": { "type": "Periodic" } });
    let uniform = json!({ "type": "UniformGrid", "dl": STEP });
    let structure = |(geometry, medium): &(Value, Value)| json!({ "type": "Structure", "geometry": geometry, "medium": medium });
    let structures: Vec<Value> = structures.iter().map(structure).collect();
    json!({
        "type": "ModeSolver",
        "simulation": {
            "type": "Simulation",
            "version": "2.12.1",
            "size": [2.4, 1.5, 2.0],
            "boundary_spec": { "x": ends, "y": ends, "z": ends },
            "medium": background,
            "structures": structures,
            "grid_spec": { "type": "GridSpec", "grid_x": uniform, "grid_y": uniform, "grid_z": uniform },
            "subpixel": subpixel,
        },
        "plane": { "type": "Box", "center": [0.0, 0.0, 0.0], "size": [1.8, 0.0, 1.4] },
        "mode_spec": { "type": "ModeSpec", "num_modes": 1, "target_neff": 1.27 },
        "freqs": [FREQUENCY],
    })
}

fn dielectric(permittivity: f64) -> Value {
    json!({ "type": "Medium", "permittivity": permittivity })
}

/// A beam along y.
fn beam(center: [f64; 2], size: [f64; 2]) -> Value {
    json!({ "type": "Box", "center": [center[0], 0.0, center[1]], "size": [size[0], 9.0, size[1]] })
}

fn index(document: &Value) -> f64 {
    let progress = |_| ControlFlow::Continue(());
    let controls = Controls { threads: 1, memory_limit: None, progress: &progress };
    let log = solve(document, &BTreeMap::new(), &controls).unwrap().log;
    let line = log.iter().find(|line| line.contains("effective index")).unwrap();
    let (_, number) = line.rsplit_once("effective index ").unwrap();
    number[..9].parse().unwrap()
}

/// The fundamental index of a hole this wide, in which the magnetic field vanishes at both walls.
fn expected(width: f64) -> f64 {
    (PERMITTIVITY - (WAVELENGTH / 2.0 / width).powi(2)).sqrt()
}

/// A hole of this size in a magnetic conductor.
fn guide(size: [f64; 2], subpixel: &Value) -> Value {
    let hole = (beam([0.0; 2], size), dielectric(PERMITTIVITY));
    document(&json!({ "type": "PMCMedium" }), &[hole], subpixel)
}

#[test]
fn conductors_that_do_not_come_to_the_plane_change_nothing() {
    let strip = (beam([0.0; 2], [0.53, 0.27]), dielectric(12.1));
    let alone = document(&dielectric(PERMITTIVITY), std::slice::from_ref(&strip), &json!(true));
    let expected = index(&alone);
    for kind in ["PECMedium", "PMCMedium"] {
        let conductor = (beam([0.0, -4.0], [20.0, 6.0]), json!({ "type": kind }));
        let beside = document(&dielectric(PERMITTIVITY), &[conductor, strip.clone()], &json!(true));
        // Double precision is chosen where the scene has conductors.
        assert!((index(&beside) - expected).abs() < 2e-6, "{kind}: {} {expected}", index(&beside));
    }
}

#[test]
fn walls_are_where_the_magnetic_field_vanishes() {
    // The fields along the walls are in the middle of cells: 0.55 from the middle of the guide, 0.65, and so on.
    let heuristic = json!({ "pmc": { "type": "HeuristicPECStaircasing" } });
    for (name, width, subpixel) in
        [("staircased, just within", 1.1 - 1e-4, json!(false)), ("heuristic, cut", 1.15, heuristic)]
    {
        let (found, expected) = (index(&guide([width, 0.9 - 1e-4], &subpixel)), expected(1.1));
        println!("{name}: {found} {expected}");
        assert!((found - expected).abs() < 3e-3, "{name}: {found} {expected}");
    }
    // Staircased, what the wall cuts is as wide as the next cells.
    for subpixel in [false, true] {
        let found = index(&guide([1.15, 0.9 - 1e-4], &json!(subpixel)));
        assert!(found > expected(1.1) + 0.01 && found < expected(1.3), "{found}");
    }
}
