//! The estimate of a simulation's memory against counted allocations: above them, and not wildly.

mod counting;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use counting::peak_of;
use serde_json::{Value, json};
use wavetask_document::Array;
use wavetask_heat::{Controls, solve, validate};

/// A scene of either a heated sphere in a shell, an eighth of it, or layers with a heater in two dimensions.
fn scene(round: bool, dl: f64, monitors: &[Value]) -> Value {
    let body = |name: &str, geometry: Value, conductivity: f64| {
        json!({"type": "Structure", "name": name, "geometry": geometry,
            "medium": {"type": "SolidMedium", "name": name, "conductivity": conductivity}})
    };
    let cuboid = |center: [f64; 3], size: [f64; 3]| json!({"type": "Box", "center": center, "size": size});
    let ball = |radius: f64| json!({"type": "Sphere", "center": [0, 0, 0], "radius": radius});
    let structures = if round {
        [body("outer", ball(1.0), 1.0), body("hot", ball(0.5), 3.0)]
    } else {
        [
            body("outer", cuboid([0.0; 3], [20.0, 20.0, 4.0]), 1.0),
            body("hot", cuboid([0.0, 0.0, 1.2], [1.0, 20.0, 0.14]), 3.0),
        ]
    };
    let grid = if round {
        json!({"type": "UniformUnstructuredGrid", "dl": dl, "min_edges_per_circumference": 0,
            "min_edges_per_side": 0, "relative_min_dl": 0})
    } else {
        json!({"type": "DistanceUnstructuredGrid", "dl_interface": dl, "dl_bulk": 4.0 * dl,
            "distance_interface": 0.14, "distance_bulk": 4.0, "relative_min_dl": 0})
    };
    json!({
        "type": "HeatChargeSimulation", "center": [0, 0, 0],
        "size": if round { [2.2, 2.2, 2.2] } else { [16.0, 0.0, 5.0] },
        "symmetry": if round { [1, 1, 1] } else { [1, 0, 0] },
        "medium": {"type": "FluidMedium"}, "structures": structures, "grid_spec": grid, "monitors": monitors,
        "sources": [{"type": "HeatSource", "structures": ["hot"], "rate": 1.0}],
        "boundary_spec": [{"placement": {"type": "StructureBoundary", "structure": "outer"},
            "condition": {"type": "TemperatureBC", "temperature": 300.0}}],
    })
}

fn everywhere(name: &str, unstructured: bool) -> Value {
    json!({"type": "TemperatureMonitor", "name": name, "center": [0, 0, 0],
        "size": ["Infinity", "Infinity", "Infinity"], "unstructured": unstructured})
}

#[test]
fn the_estimate_is_above_what_is_used_and_not_wildly() {
    let plane = json!({"type": "TemperatureMonitor", "name": "plane", "center": [0, 0, 0],
        "size": ["Infinity", 0, "Infinity"], "unstructured": true});
    let several = [everywhere("a", true), everywhere("b", true), everywhere("c", true)];
    let lists: [&[Value]; 4] = [&[], &[plane], &several, &[everywhere("grid", false)]];
    let fixed = 50e6;
    for (round, sizes) in [(true, [0.12, 0.08, 0.055]), (false, [0.1, 0.05, 0.03])] {
        for (size, monitors) in sizes.iter().flat_map(|size| lists.map(|list| (*size, list))) {
            let simulation = scene(round, size, monitors);
            let arrays = BTreeMap::<String, Array>::new();
            let estimate = validate(&simulation, &arrays).unwrap().memory_bytes as f64;
            let controls =
                Controls { threads: 2, memory_limit: None, progress: &|_| ControlFlow::Continue(()) };
            let (peak, solution) = peak_of(|| solve(&simulation, &arrays, &controls).unwrap());
            let peak = peak as f64;
            let case = format!(
                "round {round}, size {size}, {} monitors, {} unknowns: {:.1} MB used, {:.1} MB estimated",
                monitors.len(),
                solution.statistics.unknowns,
                peak / 1e6,
                estimate / 1e6
            );
            println!("{case}");
            assert!(peak < estimate, "{case}");
            assert!(estimate - fixed < 4.0 * peak + 10e6, "{case}");
        }
    }
}
