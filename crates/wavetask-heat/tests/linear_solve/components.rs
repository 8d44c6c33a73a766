//! Matrices that fall apart, and what must hold each part.

use wavetask_heat::linear::{
    Assembler, CsrMatrix, Elements, LinearError, Multigrid, MultigridOptions, Pattern,
};

use crate::common::{assert_close, solve, tensor_grid};
use crate::simplices::{stiffness, unit_mesh};

#[test]
fn rows_without_couplings_are_solved_beside_the_others() {
    let ones = [1.0; 12];
    let grid = tensor_grid([&ones, &ones, &ones], |_| 1.0, true);
    let mut triplets = Vec::new();
    for row in 0..grid.unknowns() {
        let (columns, values) = grid.row(row);
        triplets.extend(
            columns.iter().zip(values).map(|(&column, &value)| (2 * row, 2 * column as usize, value)),
        );
        triplets.push((2 * row + 1, 2 * row + 1, 10_f64.powi(row as i32 % 13 - 6)));
    }
    let matrix = CsrMatrix::from_triplets(2 * grid.unknowns(), &triplets).unwrap();
    let rhs: Vec<f64> = (0..matrix.unknowns()).map(|i| (i as f64).cos()).collect();
    let (x, statistics) = solve(&matrix, &rhs, 1e-12).unwrap();
    assert!(statistics.iterations < 40, "{}", statistics.iterations);
    let (grid_x, _) = solve(&grid, &rhs.iter().copied().step_by(2).collect::<Vec<_>>(), 1e-12).unwrap();
    assert_close(&x.iter().copied().step_by(2).collect::<Vec<_>>(), &grid_x, 1e-8);
    let mut diagonal_only = Vec::new();
    for row in 0..5000 {
        diagonal_only.push((row, row, 1.0 + row as f64));
    }
    let diagonal_only = CsrMatrix::from_triplets(5000, &diagonal_only).unwrap();
    let (x, statistics) = solve(&diagonal_only, &vec![1.0; 5000], 1e-12).unwrap();
    assert!(statistics.iterations <= 1);
    assert!(x.iter().enumerate().all(|(row, value)| (value * (1.0 + row as f64) - 1.0).abs() < 1e-14));
}

#[test]
fn components_must_each_be_held() {
    let ones = [1.0; 14];
    let held = tensor_grid([&ones, &ones, &ones], |cell| 1.0 + cell[0] as f64, true);
    let free = tensor_grid([&ones, &ones, &ones[..5]], |cell| 1e3 + cell[1] as f64 / 3.0, false);
    let put = |parts: &[&CsrMatrix]| {
        let mut triplets = Vec::new();
        let mut first = 0;
        for part in parts {
            for row in 0..part.unknowns() {
                let (columns, values) = part.row(row);
                let entries = columns.iter().zip(values);
                triplets
                    .extend(entries.map(|(&column, &value)| (first + row, first + column as usize, value)));
            }
            first += part.unknowns();
        }
        CsrMatrix::from_triplets(first, &triplets).unwrap()
    };
    let both_held = put(&[&held, &held]);
    let rhs: Vec<f64> =
        (0..both_held.unknowns()).map(|i| if i < held.unknowns() { 1.0 } else { -2.0 }).collect();
    let (x, statistics) = solve(&both_held, &rhs, 1e-11).unwrap();
    assert!(statistics.iterations < 40);
    let (upper, lower) = x.split_at(held.unknowns());
    assert_close(lower, &upper.iter().map(|value| -2.0 * value).collect::<Vec<_>>(), 1e-9);

    let singular = Multigrid::new(&free, &MultigridOptions::default()).unwrap_err();
    assert_eq!(singular, LinearError::Singular { rows: 14 * 14 * 5, first_row: 0 });
    assert!(singular.to_string().contains("float"), "{singular}");
    let one_free = put(&[&held, &free]);
    let singular = Multigrid::new(&one_free, &MultigridOptions::default()).unwrap_err();
    assert_eq!(singular, LinearError::Singular { rows: 14 * 14 * 5, first_row: held.unknowns() });
}

#[test]
fn pure_neumann_is_singular_and_the_weakest_hold_is_not() {
    // Assembled from elements, so that row sums carry the roundings of real meshes.
    let mesh = unit_mesh::<3>(20);
    let elements = Elements::new(mesh.points.len(), &mesh.cells, 4).unwrap();
    let mut assembler = Assembler::new(Pattern::from_elements(&[&elements]).unwrap());
    assembler
        .add::<4>(&elements, |cell, local| {
            let corners: [_; 4] = std::array::from_fn(|i| mesh.points[mesh.cells[cell][i] as usize]);
            stiffness(&corners, local);
            let conductivity = if cell % 3 == 0 { 148.0 } else { 0.026 };
            local.as_flattened_mut().iter_mut().for_each(|value| *value *= conductivity);
        })
        .unwrap();
    let matrix = assembler.finish();
    let error = Multigrid::new(&matrix, &MultigridOptions::default()).unwrap_err();
    assert_eq!(error, LinearError::Singular { rows: mesh.points.len(), first_row: 0 });
    // Natural convection on one point in nine thousand.
    let mut triplets = vec![(0, 0, 1e-8)];
    for row in 0..matrix.unknowns() {
        let (columns, values) = matrix.row(row);
        triplets.extend(columns.iter().zip(values).map(|(&column, &value)| (row, column as usize, value)));
    }
    let matrix = CsrMatrix::from_triplets(matrix.unknowns(), &triplets).unwrap();
    let mut rhs = vec![0.0; matrix.unknowns()];
    rhs[0] = 1e-8;
    let (x, _) = solve(&matrix, &rhs, 1e-9).unwrap();
    assert_close(&x, &vec![1.0; x.len()], 1e-3);
}
