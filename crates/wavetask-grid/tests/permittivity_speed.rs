//! A large grid in a scene of many structures: time and memory, and the same answer as point by point.

#![expect(clippy::unwrap_used, reason = "a test that states what it measured")]

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};
use wavetask_document::Array;
use wavetask_grid::permittivity::{Component, Scene, on_grid, on_points};
use wavetask_grid::subpixel::{self, Cells, Coupling, Specification};

const STRUCTURES: usize = 1000;
const CELLS: usize = 200;

/// A linear congruential generator: the same scene everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = f64::from(u32::try_from(self.0 >> 33).unwrap()) / f64::from(1_u32 << 31);
        low + unit * (high - low)
    }
}

/// Boxes, spheres, cylinders and slabs over a domain of ten micrometres.
fn scene() -> Scene {
    let mut random = Random(7);
    let structures: Vec<Value> = (0..STRUCTURES)
        .map(|number| {
            let center: [f64; 3] = std::array::from_fn(|_| random.next(-5.0, 5.0));
            let size = random.next(0.2, 0.9);
            let geometry = match number % 4 {
                0 => json!({"type": "Box", "center": center, "size": [size, 2.0 * size, size]}),
                1 => json!({"type": "Sphere", "center": center, "radius": size / 2.0}),
                2 => json!({"type": "Cylinder", "center": center, "radius": size / 2.0, "length": size, "axis": 1,
                            "sidewall_angle": 0.0, "reference_plane": "middle"}),
                _ => {
                    let corner = |turn: f64| {
                        let angle = turn * std::f64::consts::TAU / 12.0;
                        let radius = size * (0.5 + 0.3 * (3.0 * angle).cos());
                        [center[0] + radius * angle.cos(), center[1] + radius * angle.sin()]
                    };
                    let vertices: Vec<[f64; 2]> = (0..12).map(|turn| corner(f64::from(turn))).collect();
                    json!({"type": "PolySlab", "axis": 2, "slab_bounds": [center[2], center[2] + size], "dilation": 0.0,
                           "sidewall_angle": 0.1, "reference_plane": "middle", "vertices": vertices})
                }
            };
            let permittivity = 1.5 + f64::from(u32::try_from(number % 17).unwrap());
            json!({"geometry": geometry, "medium": {"type": "Medium", "permittivity": permittivity, "conductivity": 0.01}})
        })
        .collect();
    let simulation = json!({"type": "Simulation", "structures": structures});
    Scene::read(&simulation, "", &BTreeMap::<String, Array>::new()).unwrap()
}

fn boundaries(cells: usize) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
    (0..=cells).map(|line| -5.0 + 10.0 * line as f64 / cells as f64).collect()
}

#[test]
fn a_large_grid_takes_seconds() {
    let scene = scene();
    let lines = boundaries(CELLS);
    let component = Component::diagonal(0);
    let cells = Cells::of_yee([&lines; 3], component).unwrap();
    let axes = cells.coordinates.each_ref().map(Vec::as_slice);
    let start = Instant::now();
    let values = on_grid(&scene, axes, component, 2e14).unwrap();
    let elapsed = start.elapsed().as_secs_f64();
    println!(
        "{STRUCTURES} structures on {CELLS}^3 points: {elapsed:.2} s on {} threads, {} MiB",
        rayon::current_num_threads(),
        (values.len() * size_of_val(&values[0])) >> 20
    );
    assert!(elapsed < 60.0, "{elapsed} s");

    let [xs, ys, zs] = axes;
    let places: Vec<usize> = (0..values.len()).step_by(8_191).collect();
    let points: Vec<[f64; 3]> = places
        .iter()
        .map(|&place| [xs[place / (CELLS * CELLS)], ys[place / CELLS % CELLS], zs[place % CELLS]])
        .collect();
    let expected = on_points(&scene, &points, component, 2e14).unwrap();
    assert!(places.iter().zip(expected).all(|(&place, expected)| values[place] == expected));
    let matter = values.iter().filter(|value| value.re != 1.0).count();
    assert!(matter * 20 > values.len(), "{matter} points inside structures");
}

#[test]
fn averaging_a_grid_takes_seconds() {
    let scene = scene();
    let count = 80;
    let lines = boundaries(count);
    let component = Component::diagonal(2);
    let cells = Cells::of_yee([&lines; 3], component).unwrap();
    let specification = Specification::default();
    let start = Instant::now();
    let values =
        subpixel::on_grid(&scene, &specification, &cells, component, Coupling::Diagonal, 2e14).unwrap();
    let elapsed = start.elapsed().as_secs_f64();
    let axes = cells.coordinates.each_ref().map(Vec::as_slice);
    let staircased = on_grid(&scene, axes, component, 2e14).unwrap();
    let cut = values.iter().zip(&staircased).filter(|(one, other)| one != other).count();
    println!("{STRUCTURES} structures averaged on {count}^3 cells, {cut} of them cut: {elapsed:.2} s");
    assert!(cut * 20 > values.len(), "{cut} cells");
    assert!(elapsed < 120.0, "{elapsed} s");
    // Averages lie between the media of the scene.
    assert!(values.iter().all(|value| (1.0 - 1e-9..=17.5 + 1e-9).contains(&value.re)));
}
