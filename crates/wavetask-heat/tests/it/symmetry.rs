//! A domain with symmetry gives what the whole domain gives, on the whole monitor.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::common::{
    boundary, cells, cuboid, faces, monitor, push, samples, simulation, solid, solved, source, structure,
    temperature, uniform,
};

const INF: f64 = f64::INFINITY;

fn scene(symmetry: [i32; 3], flat: bool) -> Value {
    let mut simulation = simulation(
        [0.2, 0.0, -0.1],
        [2.0, if flat { 0.0 } else { 0.8 }, 1.0],
        uniform(if flat { 0.03 } else { 0.09 }),
    );
    simulation["symmetry"] = json!(symmetry);
    push(&mut simulation, "structures", structure("body", cuboid([-INF; 3], [INF; 3]), solid("a", 1.0)));
    push(
        &mut simulation,
        "structures",
        structure("hot", cuboid([-0.2, -0.2, -0.3], [0.6, 0.2, 0.1]), solid("b", 5.0)),
    );
    push(&mut simulation, "sources", source(&["hot"], 100.0));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-", "x+"]), temperature(300.0)));
    let cool = json!({"type": "ConvectionBC", "ambient_temperature": 310.0, "transfer_coeff": 2.0});
    push(&mut simulation, "boundary_spec", boundary(faces(&["z-", "z+"]), cool));
    push(&mut simulation, "monitors", monitor("all", [0.0; 3], [INF; 3], true));
    push(&mut simulation, "monitors", monitor("line", [0.0, 0.0, -0.3], [INF, 0.0, 0.0], false));
    push(&mut simulation, "monitors", monitor("part", [-0.3, 0.0, 0.1], [0.45, 0.3, 0.5], true));
    push(&mut simulation, "monitors", monitor("grid", [0.1, 0.0, 0.0], [0.9, 0.0, 0.9], false));
    push(&mut simulation, "monitors", monitor("cut", [-0.3, 0.0, 0.1], [0.0, INF, 0.5], true));
    simulation
}

/// Area or volume of a monitor's cells, which must all be different.
fn measure(solution: &wavetask_heat::Solution, monitor: usize) -> f64 {
    let points = samples(solution, monitor);
    let cells = cells(solution, monitor);
    let distinct: BTreeSet<Vec<usize>> = cells
        .iter()
        .map(|cell| {
            let mut cell = cell.clone();
            cell.sort_unstable();
            cell
        })
        .collect();
    assert_eq!(distinct.len(), cells.len());
    let edge = |cell: &[usize], to: usize| -> [f64; 3] {
        std::array::from_fn(|axis| points[cell[to]].0[axis] - points[cell[0]].0[axis])
    };
    cells
        .iter()
        .map(|cell| {
            let (a, b) = (edge(cell, 1), edge(cell, 2));
            let normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
            if cell.len() == 3 {
                normal.iter().map(|c| c * c).sum::<f64>().sqrt() / 2.0
            } else {
                (0..3).map(|axis| normal[axis] * edge(cell, 3)[axis]).sum::<f64>().abs() / 6.0
            }
        })
        .sum()
}

fn compare(symmetry: [i32; 3], flat: bool) {
    let whole = solved(&scene([0; 3], flat));
    let part = solved(&scene(symmetry, flat));
    assert!(part.statistics.unknowns < whole.statistics.unknowns);
    let ratio = whole.statistics.source_power / part.statistics.source_power;
    assert!((ratio - 2.0_f64.powi(symmetry.iter().sum())).abs() < 1e-6, "{ratio}");
    let rise = whole.statistics.highest_temperature - 300.0;
    for monitor in [1, 3] {
        let (a, b) = (samples(&whole, monitor), samples(&part, monitor));
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert_eq!(a.0, b.0);
            assert!((a.1 - b.1).abs() < 0.01 * rise, "monitor {monitor} at {:?}: {} {}", a.0, a.1, b.1);
        }
    }
    let depth = if flat { 1.0 } else { 0.8 };
    for (monitor, expected) in [(0, 2.0 * depth), (2, 0.45 * 0.5 * if flat { 1.0 } else { 0.3 })] {
        for solution in [&whole, &part] {
            let found = measure(solution, monitor);
            assert!((found / expected - 1.0).abs() < 1e-9, "monitor {monitor}: {found}, not {expected}");
        }
    }
    if flat {
        // A line has no cells: it is sampled.
        assert!(part.data[4]["temperature"].is_string());
    } else {
        assert!((measure(&part, 4) / (0.8 * 0.5) - 1.0).abs() < 1e-9);
        assert_eq!(part.data[4]["temperature"]["normal_pos"], json!(-0.3));
    }
}

#[test]
fn one_axis_in_two_dimensions() {
    compare([1, 0, 0], true);
}

#[test]
fn two_axes_in_two_dimensions() {
    compare([1, 0, 1], true);
}

#[test]
fn every_axis_in_three_dimensions() {
    compare([1, 1, 1], false);
}
