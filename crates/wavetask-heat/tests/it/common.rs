//! Simulations as the client writes them, and reading their results.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use wavetask_document::{Array, VALUES_DATASET, Values};
use wavetask_heat::{Controls, Solution, SolveError};

/// Arrays beside a simulation.
pub(crate) type Arrays = BTreeMap<String, Array>;

/// A solid of constant conductivity in W/(µm K).
pub(crate) fn solid(name: &str, conductivity: f64) -> Value {
    json!({"type": "Medium", "name": name, "permittivity": 1.0,
        "heat_spec": {"type": "SolidSpec", "conductivity": conductivity, "capacity": 1.0}})
}

/// A fluid.
pub(crate) fn fluid(name: &str) -> Value {
    json!({"type": "MultiPhysicsMedium", "name": name, "optical": null, "charge": null,
        "heat": {"type": "FluidMedium"}})
}

/// An extent or coordinate as the client writes it.
pub(crate) fn number(value: f64) -> Value {
    if value.is_infinite() { json!(if value > 0.0 { "Infinity" } else { "-Infinity" }) } else { json!(value) }
}

/// Three of them.
pub(crate) fn triple(values: [f64; 3]) -> Value {
    Value::from(values.map(number).to_vec())
}

/// A box between two corners, which may be infinite along an axis on both sides.
pub(crate) fn cuboid(low: [f64; 3], high: [f64; 3]) -> Value {
    let center =
        std::array::from_fn(
            |axis| if low[axis].is_infinite() { 0.0 } else { (low[axis] + high[axis]) / 2.0 },
        );
    let size = std::array::from_fn(|axis| high[axis] - low[axis]);
    json!({"type": "Box", "center": triple(center), "size": triple(size)})
}

/// A structure.
pub(crate) fn structure(name: &str, geometry: Value, medium: Value) -> Value {
    json!({"type": "Structure", "name": name, "geometry": geometry, "medium": medium})
}

/// A boundary condition.
pub(crate) fn boundary(placement: Value, condition: Value) -> Value {
    json!({"type": "HeatChargeBoundarySpec", "placement": placement, "condition": condition})
}

/// A given temperature.
pub(crate) fn temperature(value: f64) -> Value {
    json!({"type": "TemperatureBC", "temperature": value})
}

/// Faces of the domain.
pub(crate) fn faces(surfaces: &[&str]) -> Value {
    json!({"type": "SimulationBoundary", "surfaces": surfaces})
}

/// The surface of a structure.
pub(crate) fn surface(name: &str) -> Value {
    json!({"type": "StructureBoundary", "structure": name})
}

/// A constant source.
pub(crate) fn source(structures: &[&str], rate: f64) -> Value {
    json!({"type": "HeatSource", "structures": structures, "rate": rate})
}

/// A monitor.
pub(crate) fn monitor(name: &str, center: [f64; 3], size: [f64; 3], unstructured: bool) -> Value {
    json!({"type": "TemperatureMonitor", "name": name, "center": triple(center), "size": triple(size),
        "unstructured": unstructured, "interval": 1})
}

/// A uniform grid without refinement of small bodies.
pub(crate) fn uniform(dl: f64) -> Value {
    json!({"type": "UniformUnstructuredGrid", "dl": dl, "min_edges_per_circumference": 0.0,
        "min_edges_per_side": 0.0, "relative_min_dl": 0.0})
}

/// A simulation with everything else empty.
pub(crate) fn simulation(center: [f64; 3], size: [f64; 3], grid: Value) -> Value {
    json!({"type": "HeatChargeSimulation", "center": triple(center), "size": triple(size),
        "medium": fluid("outside"), "structures": [], "sources": [], "boundary_spec": [], "monitors": [],
        "symmetry": [0, 0, 0], "grid_spec": grid, "version": "2.12.1"})
}

/// Adds to a list of a simulation.
pub(crate) fn push(simulation: &mut Value, list: &str, item: Value) {
    simulation[list].as_array_mut().expect("a list").push(item);
}

/// Solves without limits.
pub(crate) fn solve(simulation: &Value, arrays: &Arrays) -> Result<Solution, SolveError> {
    let controls = Controls { threads: 0, memory_limit: None, progress: &|_| ControlFlow::Continue(()) };
    wavetask_heat::solve(simulation, arrays, &controls)
}

/// Solves a simulation without arrays that must succeed.
pub(crate) fn solved(simulation: &Value) -> Solution {
    solve(simulation, &Arrays::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// Floats of an array of a result.
pub(crate) fn floats(solution: &Solution, path: &str) -> Vec<f64> {
    solution.arrays.get(path).unwrap_or_else(|| panic!("no array {path}")).to_floats().expect("floats")
}

/// Points in space and temperatures of a monitor's data, in whichever form.
pub(crate) fn samples(solution: &Solution, monitor: usize) -> Vec<([f64; 3], f64)> {
    let field = &solution.data[monitor]["temperature"];
    let base = format!("data/{monitor}/temperature");
    if field.is_string() {
        let values = floats(solution, &format!("{base}/{VALUES_DATASET}"));
        let [x, y, z] = ["x", "y", "z"].map(|name| floats(solution, &format!("{base}/{name}")));
        let points = x.iter().flat_map(|&x| {
            let z = &z;
            y.iter().flat_map(move |&y| z.iter().map(move |&z| [x, y, z]))
        });
        return points.zip(values).collect();
    }
    let values = floats(solution, &format!("{base}/values/{VALUES_DATASET}"));
    let points = floats(solution, &format!("{base}/points/{VALUES_DATASET}"));
    let normal = field["normal_axis"]
        .as_u64()
        .map(|axis| (axis as usize, field["normal_pos"].as_f64().expect("a number")));
    let width = if normal.is_some() { 2 } else { 3 };
    values
        .iter()
        .zip(points.chunks_exact(width))
        .map(|(&value, coordinates)| {
            let mut coordinates = coordinates.iter();
            let point = std::array::from_fn(|axis| match normal {
                Some((flat, position)) if flat == axis => position,
                _ => *coordinates.next().expect("a coordinate"),
            });
            (point, value)
        })
        .collect()
}

/// The cells of a monitor's data.
pub(crate) fn cells(solution: &Solution, monitor: usize) -> Vec<Vec<usize>> {
    let array = &solution.arrays[&format!("data/{monitor}/temperature/cells/{VALUES_DATASET}")];
    let Values::Int32(values) = array.values() else { panic!("cells are 32-bit integers") };
    values
        .chunks_exact(array.shape()[1])
        .map(|cell| cell.iter().map(|&point| point as usize).collect())
        .collect()
}

/// Puts an array of a scalar field on a rectilinear grid among a simulation's arrays.
pub(crate) fn spatial(
    arrays: &mut Arrays,
    group: &str,
    coordinates: [Vec<f64>; 3],
    value: impl Fn([f64; 3]) -> f64,
) {
    let mut values = Vec::new();
    for &x in &coordinates[0] {
        for &y in &coordinates[1] {
            for &z in &coordinates[2] {
                values.push(value([x, y, z]));
            }
        }
    }
    let shape = coordinates.each_ref().map(Vec::len).to_vec();
    arrays.insert(
        format!("{group}/{VALUES_DATASET}"),
        Array::new(shape, Values::Float64(values)).expect("values fit the shape"),
    );
    for (name, list) in ["x", "y", "z"].into_iter().zip(coordinates) {
        arrays.insert(format!("{group}/{name}"), Array::from_floats(list));
    }
}
