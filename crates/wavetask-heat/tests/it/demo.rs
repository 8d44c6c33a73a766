//! The thermo-optic phase shifter of the demo.
//!
//! Two independent converged solutions (finite volumes and second-order finite elements) give 314.6546 K at the
//! centre of the core and 339.266 K at the hottest point for 7.4 mA.

use serde_json::{Value, json};

use crate::common::{
    boundary, cuboid, fluid, monitor, push, samples, simulation, solid, solved, source, structure,
};

const INF: f64 = f64::INFINITY;
const CORE_RISE: f64 = 14.6546;
const HOTTEST: f64 = 339.266;

fn scene(current: f64, refine: f64, thickness: f64) -> Value {
    let dl = 0.14 / 3.0 / refine;
    let grid = json!({"type": "DistanceUnstructuredGrid", "dl_interface": dl, "dl_bulk": 4.0 * dl,
        "distance_interface": 0.14, "distance_bulk": 4.0, "non_refined_structures": ["wafer"]});
    let mut simulation = simulation([0.0, 0.0, 2.15], [16.0, thickness, 7.3], grid);
    simulation["symmetry"] = json!([1, 0, 0]);
    simulation["medium"] = fluid("air");
    let block =
        |half_width: f64, low: f64, high: f64| cuboid([-half_width, -INF, low], [half_width, INF, high]);
    let (silicon, oxide, nitride) = (solid("si", 148e-6), solid("sio2", 1.38e-6), solid("tin", 28e-6));
    push(&mut simulation, "structures", structure("cladding", block(INF, -0.25, 4.8), oxide));
    push(&mut simulation, "structures", structure("core", block(0.25, 2.0, 2.22), silicon.clone()));
    push(&mut simulation, "structures", structure("heater", block(1.0, 4.22, 4.36), nitride));
    push(&mut simulation, "structures", structure("wafer", block(INF, -0.5, 0.0), silicon));
    let rate = (current / (2.0 * 0.14)).powi(2) / 2.3;
    push(&mut simulation, "sources", source(&["heater"], rate));
    let interface = |solid: &str| json!({"type": "MediumMediumInterface", "mediums": [solid, "air"]});
    push(
        &mut simulation,
        "boundary_spec",
        boundary(interface("si"), json!({"type": "TemperatureBC", "temperature": 300.0})),
    );
    push(
        &mut simulation,
        "boundary_spec",
        boundary(interface("sio2"), json!({"type": "HeatFluxBC", "flux": 0.0})),
    );
    push(&mut simulation, "monitors", monitor("plane", [0.0; 3], [INF, 0.0, INF], true));
    push(&mut simulation, "monitors", monitor("core", [0.0, 0.0, 2.11], [0.0; 3], false));
    simulation
}

fn core_rise(simulation: &Value) -> (f64, f64) {
    let solution = solved(simulation);
    let core = samples(&solution, 1);
    assert_eq!(core.len(), 1);
    let statistics = solution.statistics;
    let imbalance = (statistics.source_power - statistics.boundary_power).abs();
    assert!(imbalance <= 1e-6 * statistics.source_power, "heat in and out differ by {imbalance:e}");
    let hottest = samples(&solution, 0).iter().map(|sample| sample.1).fold(0.0, f64::max);
    assert!((hottest - statistics.highest_temperature).abs() < 1e-3);
    (core[0].1 - 300.0, hottest)
}

#[test]
fn the_demo_mesh_is_within_half_a_percent_and_twice_as_fine_within_a_tenth() {
    for (refine, allowed) in [(1.0, 0.005), (2.0, 0.001)] {
        let (rise, hottest) = core_rise(&scene(7.4e-3, refine, 0.0));
        println!("refine {refine}: core rise {rise:.5} K, hottest {hottest:.4} K");
        assert!((rise / CORE_RISE - 1.0).abs() < allowed, "core rise {rise}");
        assert!(((hottest - 300.0) / (HOTTEST - 300.0) - 1.0).abs() < allowed, "hottest {hottest}");
    }
}

#[test]
fn a_thin_slice_in_three_dimensions_agrees_with_two() {
    let (rise, hottest) = core_rise(&scene(7.4e-3, 1.0, 0.1));
    println!("3-D: core rise {rise:.5} K, hottest {hottest:.4} K");
    assert!((rise / CORE_RISE - 1.0).abs() < 0.005, "core rise {rise}");
    assert!(((hottest - 300.0) / (HOTTEST - 300.0) - 1.0).abs() < 0.005, "hottest {hottest}");
}

#[test]
fn the_rise_goes_as_the_square_of_the_current() {
    let full = core_rise(&scene(7.4e-3, 0.5, 0.0)).0;
    for share in [0.1, 0.5] {
        let rise = core_rise(&scene(7.4e-3 * share, 0.5, 0.0)).0;
        assert!((rise / (full * share * share) - 1.0).abs() < 1e-6);
    }
    assert_eq!(core_rise(&scene(0.0, 0.5, 0.0)).0, 0.0);
}
