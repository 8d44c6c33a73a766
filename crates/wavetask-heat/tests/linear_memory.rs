//! The memory estimate against counted allocations.
//!
//! One test in its own process, since the counting is of the whole process.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first fault, as tests do")]

mod counting;

use std::ops::ControlFlow;

use counting::peak_of;
use wavetask_heat::linear::{
    Assembler, CsrMatrix, Elements, Multigrid, MultigridOptions, Options, Pattern, conjugate_gradient,
    estimate_memory,
};

/// Every simplex couples its corners like a random graph Laplacian, with conductivities over six decades.
fn assemble<const N: usize>(points: usize, cells: &[[u32; 4]]) -> CsrMatrix {
    let elements = Elements::new(points, cells, N).unwrap();
    let mut assembler = Assembler::new(Pattern::from_elements(&[&elements]).unwrap());
    assembler
        .add::<N>(&elements, |cell, local| {
            let weight = if cell / 97 % 3 == 0 { 1e6 } else { 1.0 } * (1.1 + (cell as f64).sin());
            for (i, row) in local.iter_mut().enumerate() {
                row.fill(-weight);
                row[i] = weight * (N as f64 - 1.0) + if cell % 50 == 0 { 0.1 } else { 0.0 };
            }
        })
        .unwrap();
    assembler.finish()
}

fn solve(matrix: &CsrMatrix) -> usize {
    let multigrid = Multigrid::new(matrix, &MultigridOptions::default()).unwrap();
    let right_hand_side = vec![1.0; matrix.unknowns()];
    let mut x = vec![0.0; matrix.unknowns()];
    let mut callback = |_, _| ControlFlow::Continue(());
    let options = Options::default();
    conjugate_gradient(matrix, &multigrid, &right_hand_side, &mut x, &options, &mut callback).unwrap().bytes
}

fn cube_cells(edge: usize) -> Vec<[u32; 4]> {
    let strides = [1, edge + 1, (edge + 1) * (edge + 1)];
    let mut cells = Vec::new();
    for number in 0..edge * edge * edge {
        let corner = number % edge + number / edge % edge * strides[1] + number / edge / edge * strides[2];
        for [a, b, c] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let (first, second) = (corner + strides[a], corner + strides[a] + strides[b]);
            cells.push([corner, first, second, second + strides[c]].map(|node| node as u32));
        }
    }
    cells
}

fn square_cells(edge: usize) -> Vec<[u32; 4]> {
    let up = edge + 1;
    (0..edge * edge)
        .flat_map(|number| {
            let corner = number % edge + number / edge * up;
            [[corner, corner + 1, corner + up + 1, 0], [corner, corner + up, corner + up + 1, 0]]
        })
        .map(|cell| cell.map(|node| node as u32))
        .collect()
}

#[test]
fn the_estimate_is_an_upper_bound_and_not_a_wild_one() {
    let chain: Vec<[u32; 4]> = (0..300_000).map(|i| [i, i + 1, 0, 0]).collect();
    let meshes: [(&str, usize, Vec<[u32; 4]>, usize); 5] = [
        ("tetrahedra", 46_usize.pow(3), cube_cells(45), 4),
        ("few tetrahedra", 12_usize.pow(3), cube_cells(11), 4),
        ("scattered tetrahedra", 46_usize.pow(3), scatter(&cube_cells(45), 46_u32.pow(3)), 4),
        ("triangles", 401 * 401, square_cells(400), 3),
        ("chain", 300_001, chain, 2),
    ];
    for (name, points, cells, nodes) in meshes {
        let (assembly, matrix) = peak_of(|| match nodes {
            4 => assemble::<4>(points, &cells),
            3 => assemble::<3>(points, &cells),
            _ => assemble::<2>(points, &cells),
        });
        let held = matrix.bytes();
        let (solve, reported) = peak_of(|| solve(&matrix));
        let solve = solve + held;
        let estimate = estimate_memory(matrix.unknowns(), matrix.entries());
        println!(
            "{name}: {} unknowns, {} entries; assembly {assembly} of {}, solve {solve} of {}, reported {reported}",
            matrix.unknowns(),
            matrix.entries(),
            estimate.assembly,
            estimate.solve,
        );
        assert!(assembly <= estimate.assembly, "{name}");
        assert!(solve <= estimate.solve, "{name}");
        // What a solve reports is what it held at the end, not the peak of the set-up.
        assert!(reported <= solve, "{name}");
        let fixed = estimate_memory(0, 0);
        assert!(estimate.assembly - fixed.assembly <= 3 * assembly, "{name}");
        assert!(estimate.solve - fixed.solve <= 3 * solve, "{name}");
    }
}

fn scatter(cells: &[[u32; 4]], points: u32) -> Vec<[u32; 4]> {
    cells.iter().map(|cell| cell.map(|node| ((u64::from(node) * 7919) % u64::from(points)) as u32)).collect()
}
