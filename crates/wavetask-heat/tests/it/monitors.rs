//! The form and extent of monitor data.

use serde_json::{Value, json};
use wavetask_document::Values;

use crate::common::{
    boundary, cells, cuboid, faces, floats, fluid, monitor, push, samples, simulation, solid, solved,
    structure, surface, temperature, uniform,
};

const INF: f64 = f64::INFINITY;

/// Temperature `300 + 10 x` in 0 < x < 1, with a fluid above z = 0.8.
fn scene(flat: bool, monitors: &[Value]) -> Value {
    let mut simulation = simulation([0.5, 0.0, 0.5], [1.0, if flat { 0.0 } else { 0.6 }, 1.0], uniform(0.11));
    push(&mut simulation, "structures", structure("body", cuboid([-INF; 3], [INF; 3]), solid("a", 1.0)));
    push(
        &mut simulation,
        "structures",
        structure("gap", cuboid([-INF, -INF, 0.8], [INF, INF, 2.0]), fluid("air")),
    );
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x+"]), temperature(310.0)));
    simulation["monitors"] = json!(monitors);
    simulation
}

fn exact(samples: &[([f64; 3], f64)]) {
    for (point, value) in samples {
        assert!((value - 300.0 - 10.0 * point[0]).abs() < 1e-6, "{point:?}: {value}");
    }
}

fn extent(samples: &[([f64; 3], f64)]) -> [[f64; 2]; 3] {
    std::array::from_fn(|axis| {
        samples
            .iter()
            .fold([INF, -INF], |[low, high], (point, _)| [low.min(point[axis]), high.max(point[axis])])
    })
}

fn near(found: [[f64; 2]; 3], expected: [[f64; 2]; 3]) {
    for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
        assert!((found - expected).abs() < 1e-9, "{found:?} is not {expected:?}");
    }
}

#[test]
fn volumes_planes_lines_and_points_of_three_dimensions() {
    let solution = solved(&scene(
        false,
        &[
            monitor("all", [0.0; 3], [INF; 3], true),
            monitor("box", [0.3, 0.1, 0.5], [0.33, 0.21, 0.4], true),
            monitor("across", [0.37, 0.0, 0.0], [0.0, INF, INF], true),
            monitor("along", [0.5, 0.07, 0.4], [0.61, 0.0, 0.37], true),
            monitor("on the interface", [0.0, 0.0, 0.8], [INF, INF, 0.0], true),
            monitor("on the boundary", [0.0, 0.3, 0.0], [INF, 0.0, INF], true),
            monitor("line", [0.0, 0.1, 0.4], [INF, 0.0, 0.0], true),
            monitor("point", [0.25, 0.1, 0.4], [0.0; 3], true),
            monitor("grid", [0.5, 0.0, 0.5], [1.0, 0.6, 1.0], false),
            monitor("regular line", [0.5, 0.0, 0.4], [0.5, 0.0, 0.0], false),
        ],
    ));
    for index in 0..solution.data.len() {
        exact(&samples(&solution, index));
        assert_eq!(solution.data[index]["type"], "TemperatureData");
    }
    let types: Vec<&Value> = solution.data.iter().map(|data| &data["temperature"]["type"]).collect();
    assert!(types[..2].iter().all(|kind| *kind == "TetrahedralGridDataset"));
    assert!(types[2..6].iter().all(|kind| *kind == "TriangularGridDataset"));
    assert!(solution.data[6..].iter().all(|data| data["temperature"] == "SpatialDataArray"));
    near(extent(&samples(&solution, 0)), [[0.0, 1.0], [-0.3, 0.3], [0.0, 0.8]]);
    near(extent(&samples(&solution, 1)), [[0.135, 0.465], [-0.005, 0.205], [0.3, 0.7]]);
    near(extent(&samples(&solution, 2)), [[0.37, 0.37], [-0.3, 0.3], [0.0, 0.8]]);
    near(extent(&samples(&solution, 3)), [[0.195, 0.805], [0.07, 0.07], [0.215, 0.585]]);
    near(extent(&samples(&solution, 4)), [[0.0, 1.0], [-0.3, 0.3], [0.8, 0.8]]);
    near(extent(&samples(&solution, 5)), [[0.0, 1.0], [0.3, 0.3], [0.0, 0.8]]);
    // Regular grids have values everywhere, the nearest solid's in fluids.
    near(extent(&samples(&solution, 8)), [[0.0, 1.0], [-0.3, 0.3], [0.0, 1.0]]);
    assert_eq!(samples(&solution, 7).len(), 1);
    assert_eq!(solution.data[3]["temperature"]["normal_axis"], 1);
    assert_eq!(solution.data[3]["temperature"]["normal_pos"], 0.07);
    for index in 0..6 {
        let points = samples(&solution, index).len();
        assert!(cells(&solution, index).iter().flatten().all(|&point| point < points));
    }
}

#[test]
fn planes_lines_and_points_of_two_dimensions() {
    let solution = solved(&scene(
        true,
        &[
            monitor("all", [0.0; 3], [INF, 0.0, INF], true),
            monitor("thick", [0.5, 0.0, 0.4], [0.5, 3.0, 0.3], true),
            monitor("line", [0.5, 0.0, 0.4], [0.5, 0.0, 0.0], true),
            monitor("regular", [0.5, 0.0, 0.4], [0.5, 0.0, 0.3], false),
            monitor("point", [0.5, 0.0, 0.4], [0.0; 3], false),
        ],
    ));
    for index in 0..solution.data.len() {
        exact(&samples(&solution, index));
    }
    assert_eq!(solution.data[1]["temperature"]["type"], "TriangularGridDataset");
    near(extent(&samples(&solution, 1)), [[0.25, 0.75], [0.0, 0.0], [0.25, 0.55]]);
    assert_eq!(solution.data[2]["temperature"], "SpatialDataArray");
    near(extent(&samples(&solution, 3)), [[0.25, 0.75], [0.0, 0.0], [0.25, 0.55]]);
}

#[test]
fn monitors_beyond_the_domain_and_in_fluids() {
    for flat in [true, false] {
        let solution = solved(&scene(
            flat,
            &[
                monitor("outside", [3.0, 0.0, 0.0], [1.0; 3], true),
                monitor("outside too", [3.0, 0.0, 0.0], [1.0; 3], false),
                monitor("fluid", [0.5, 0.0, 0.95], [0.5, 0.1, 0.05], true),
                monitor("fluid too", [0.5, 0.0, 0.95], [0.5, 0.1, 0.05], false),
                monitor("partly outside", [0.0, 0.0, 0.4], [0.5, 9.0, 0.2], true),
                monitor("partly fluid", [0.5, 0.0, 0.8], [0.5, 9.0, 0.2], true),
                monitor("beside", [0.5, 0.5, 0.4], [0.5, 0.0, 0.2], true),
            ],
        ));
        for index in [0, 1, 2, 3, 6] {
            assert_eq!(solution.data[index]["temperature"], Value::Null, "monitor {index}");
            assert!(!solution.arrays.keys().any(|path| path.starts_with(&format!("data/{index}/"))));
        }
        let y = if flat { [0.0, 0.0] } else { [-0.3, 0.3] };
        near(extent(&samples(&solution, 4)), [[0.0, 0.25], y, [0.3, 0.5]]);
        near(extent(&samples(&solution, 5)), [[0.25, 0.75], y, [0.7, 0.8]]);
        exact(&samples(&solution, 4));
        exact(&samples(&solution, 5));
    }
}

#[test]
fn points_on_curved_surfaces_belong_to_the_solid() {
    let mut simulation = simulation([0.0; 3], [2.5, 0.0, 2.5], uniform(0.3));
    let disc = json!({"type": "Cylinder", "center": [0, 0, 0], "radius": 1.0, "length": 2.0, "axis": 1});
    push(&mut simulation, "structures", structure("disc", disc, solid("m", 1.0)));
    push(&mut simulation, "boundary_spec", boundary(surface("disc"), temperature(310.0)));
    let angle = 0.731_f64;
    let on_it = [0.999_999 * angle.cos(), 0.0, 0.999_999 * angle.sin()];
    push(&mut simulation, "monitors", monitor("on", on_it, [0.0; 3], false));
    push(&mut simulation, "monitors", monitor("off", on_it.map(|c| 1.1 * c), [0.0; 3], false));
    let solution = solved(&simulation);
    assert!((samples(&solution, 0)[0].1 - 310.0).abs() < 1e-9);
    assert!(solution.data[1]["temperature"].is_null());
}

#[test]
fn the_monitor_comes_back_as_it_was_sent_and_arrays_have_the_types_that_load() {
    let mut sent = monitor("T", [0.0; 3], [INF, 0.0, INF], true);
    sent["attrs"] = json!({"note": "kept"});
    let solution = solved(&scene(true, &[sent.clone()]));
    assert_eq!(solution.data[0]["monitor"], sent);
    let array =
        |name: &str| &solution.arrays[&format!("data/0/temperature/{name}/__xarray_dataarray_variable__")];
    assert!(matches!(array("points").values(), Values::Float64(_)));
    assert!(matches!(array("cells").values(), Values::Int32(_)));
    assert_eq!(array("points").shape(), [array("values").shape()[0], 2]);
    assert_eq!(array("cells").shape()[1], 3);
}

#[test]
fn regular_grids_are_as_fine_as_the_cells_and_limited() {
    let mut simulation = scene(true, &[monitor("grid", [0.5, 0.0, 0.4], [1.0, 0.0, 0.8], false)]);
    let solution = solved(&simulation);
    let x = floats(&solution, "data/0/temperature/x");
    assert!(x.windows(2).all(|pair| pair[1] - pair[0] <= 0.11 + 1e-12));
    simulation["grid_spec"]["dl"] = json!(0.0004);
    simulation["grid_spec"]["relative_min_dl"] = json!(0.05);
    let solution = solved(&simulation);
    let count: usize = ["x", "y", "z"]
        .iter()
        .map(|axis| floats(&solution, &format!("data/0/temperature/{axis}")).len())
        .product();
    assert!(count <= 4_000_000, "{count}");
}

#[test]
fn mesh_monitors_record_the_mesh() {
    let mut simulation = scene(false, &[]);
    simulation["monitors"] = json!([]);
    let mesher = json!({"type": "VolumeMesher", "simulation": simulation, "monitors": [
        {"type": "VolumeMeshMonitor", "name": "volume", "center": [0.0, 0.0, 0.0],
            "size": ["Infinity", "Infinity", "Infinity"], "unstructured": true},
        {"type": "VolumeMeshMonitor", "name": "plane", "center": [0.0, 0.0, 0.33],
            "size": ["Infinity", "Infinity", 0.0], "unstructured": true}]});
    let controls = wavetask_heat::Controls {
        threads: 1,
        memory_limit: None,
        progress: &|_| std::ops::ControlFlow::Continue(()),
    };
    let solution =
        wavetask_heat::mesh_data(&mesher, &crate::common::Arrays::new(), &controls).expect("meshed");
    assert_eq!(solution.data[0]["type"], "VolumeMeshData");
    assert_eq!(solution.data[0]["mesh"]["type"], "TetrahedralGridDataset");
    assert_eq!(solution.data[1]["mesh"]["type"], "TriangularGridDataset");
    let cells = solution.arrays["data/0/mesh/cells/__xarray_dataarray_variable__"].shape()[0];
    assert_eq!(cells, solution.statistics.cells);
}
