//! How fast scenes answer. Run with `cargo test --release -p wavetask-grid --test geometry_speed -- --ignored --nocapture`.

#![expect(clippy::print_stdout, reason = "prints measurements")]

use std::collections::BTreeMap;
use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Value, json};
use wavetask_document::{Array, Values};
use wavetask_grid::geometry::{Geometry, Scene};

/// Numbers from 0 to 1 by Weyl's sequence of irrational steps: even, and the same in every run.
fn spread(index: u32, dimension: usize) -> f64 {
    let step = [0.819_172_513_396_164_4, 0.671_043_606_703_789_2, 0.549_700_477_901_970_3][dimension];
    (0.5 + f64::from(index) * step).fract()
}

fn polygon(count: u32, radius: f64, center: [f64; 2]) -> Vec<[f64; 2]> {
    (0..count)
        .map(|index| {
            let angle = f64::from(index) * std::f64::consts::TAU / f64::from(count);
            let radius = radius * (1.0 + 0.2 * (7.0 * angle).sin());
            [center[0] + radius * angle.cos(), center[1] + radius * angle.sin()]
        })
        .collect()
}

/// Seconds that this thread has spent on a core: what a busy machine does not distort. Wall-clock
/// seconds where the system does not tell.
fn busy_seconds(start: Instant) -> f64 {
    let scheduled = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = scheduled.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| start.elapsed().as_secs_f64(), |nanoseconds| nanoseconds * 1e-9)
}

fn measure(name: &str, points: u32, inside: impl Fn([f64; 3]) -> bool + Sync, bounds: [[f64; 2]; 3]) {
    let point = |index: u32| -> [f64; 3] {
        std::array::from_fn(|axis| {
            bounds[axis][0] + (bounds[axis][1] - bounds[axis][0]) * spread(index, axis)
        })
    };
    let start = Instant::now();
    let before = busy_seconds(start);
    let hits = (0..points).filter(|&index| inside(point(index))).count();
    // The system accounts core time in steps of some milliseconds.
    let busy = busy_seconds(start) - before;
    let one = if busy < 0.02 { start.elapsed().as_secs_f64() } else { busy };
    let start = Instant::now();
    let hits_again = (0..points).into_par_iter().filter(|&index| inside(point(index))).count();
    let all = start.elapsed().as_secs_f64();
    assert_eq!(hits, hits_again);
    let million = f64::from(points) / 1e6;
    println!(
        "{name}: {:.3} million points/s of core time, {:.3} by the clock on {} cores, {:.0} % inside",
        million / one,
        million / all,
        rayon::current_num_threads(),
        100.0 * f64::from(u32::try_from(hits).unwrap_or(0)) / f64::from(points)
    );
}

#[test]
#[ignore = "a measurement, not a check"]
fn points_per_second() {
    let arrays = BTreeMap::<String, Array>::new();
    let shapes: Vec<Value> = (0..1000)
        .map(|index| {
            let center: [f64; 3] = std::array::from_fn(|axis| 20.0 * spread(index, axis) - 10.0);
            let geometry = match index % 4 {
                0 => json!({"type": "Box", "center": center, "size": [1.5, 1.0, 0.8]}),
                1 => json!({"type": "Cylinder", "center": center, "radius": 0.7, "length": 1.5, "axis": 2, "sidewall_angle": 0.1}),
                2 => json!({"type": "Sphere", "center": center, "radius": 0.8}),
                _ => json!({"type": "PolySlab", "axis": 2, "slab_bounds": [center[2] - 0.5, center[2] + 0.5],
                            "vertices": polygon(40, 0.8, [center[0], center[1]]), "sidewall_angle": 0.05}),
            };
            json!({"geometry": geometry, "medium": {"type": "Medium"}})
        })
        .collect();
    let scene = Scene::from_json(&json!({"structures": shapes}), "", &arrays).expect("a scene");
    measure(
        "owner among 1,000 mixed structures",
        2_000_000,
        |point| scene.owner(point).is_some(),
        [[-10.0, 10.0]; 3],
    );

    let single = |value: Value, arrays: &BTreeMap<String, Array>| {
        let start = Instant::now();
        let geometry = Geometry::from_json(&value, "g", arrays).expect("a geometry");
        (geometry, start.elapsed())
    };
    for (name, value) in [
        ("box", json!({"type": "Box", "size": [1, 1, 1]})),
        (
            "slab of 40 vertices",
            json!({"type": "PolySlab", "slab_bounds": [0, 1], "vertices": polygon(40, 1.0, [0.0; 2])}),
        ),
        (
            "slab of 100,000 vertices",
            json!({"type": "PolySlab", "slab_bounds": [0, 1], "vertices": polygon(100_000, 1.0, [0.0; 2])}),
        ),
        (
            "slanted slab of 100,000 vertices",
            json!({"type": "PolySlab", "slab_bounds": [0, 1], "vertices": polygon(100_000, 1.0, [0.0; 2]), "sidewall_angle": 0.01}),
        ),
    ] {
        let (geometry, elapsed) = single(value, &arrays);
        measure(
            &format!("{name}, read in {elapsed:.1?}, contains"),
            1_000_000,
            |point| geometry.contains(point),
            geometry.bounds(),
        );
        measure(
            &format!("{name}, distance up to 0.1"),
            200_000,
            |point| geometry.distance_within(point, 0.1) < 0.1,
            geometry.bounds(),
        );
        measure(
            &format!("{name}, distance"),
            20_000,
            |point| geometry.distance_to_surface(point) < 0.1,
            geometry.bounds(),
        );
    }

    // A ball of about a million triangles.
    let (around, along) = (1000_u32, 500_u32);
    let vertex = |i: u32, j: u32| {
        let (polar, azimuth) = (
            std::f64::consts::PI * f64::from(j) / f64::from(along),
            std::f64::consts::TAU * f64::from(i % around) / f64::from(around),
        );
        [polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin(), polar.cos()]
    };
    let triangles: Vec<f64> = (0..along)
        .flat_map(|j| (0..around).map(move |i| (i, j)))
        .flat_map(|(i, j)| {
            let corners = [vertex(i, j), vertex(i, j + 1), vertex(i + 1, j + 1), vertex(i + 1, j)];
            [corners[0], corners[1], corners[2], corners[0], corners[2], corners[3]]
        })
        .flatten()
        .collect();
    let array = Array::new(vec![triangles.len() / 9, 3, 3], Values::Float64(triangles)).expect("consistent");
    let arrays =
        BTreeMap::from([("g/mesh_dataset/surface_mesh/__xarray_dataarray_variable__".to_owned(), array)]);
    let (ball, elapsed) = single(json!({"type": "TriangleMesh", "mesh_dataset": {}}), &arrays);
    measure(
        &format!("mesh of 1,000,000 triangles, read in {elapsed:.1?}, contains"),
        500_000,
        |point| ball.contains(point),
        ball.bounds(),
    );
    measure(
        "mesh of 1,000,000 triangles, distance up to 0.1",
        100_000,
        |point| ball.distance_within(point, 0.1) < 0.1,
        ball.bounds(),
    );
    measure(
        "mesh of 1,000,000 triangles, distance",
        2_000,
        |point| ball.distance_to_surface(point) < 0.1,
        ball.bounds(),
    );
}
