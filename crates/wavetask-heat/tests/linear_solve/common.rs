//! Solving in one call, and matrices that several tests solve.

use std::ops::ControlFlow;

use wavetask_heat::linear::{
    CsrMatrix, LinearError, Multigrid, MultigridOptions, Options, Statistics, conjugate_gradient,
};

/// Of a cell, by its indices.
pub(crate) type Conductivity<'a> = dyn Fn([usize; 3]) -> f64 + 'a;

pub(crate) const CONTINUE: fn(usize, f64) -> ControlFlow<()> = |_, _| ControlFlow::Continue(());

pub(crate) fn solve_with(
    matrix: &CsrMatrix,
    right_hand_side: &[f64],
    tolerance: f64,
    multigrid: &MultigridOptions,
) -> Result<(Vec<f64>, Statistics), LinearError> {
    let multigrid = Multigrid::new(matrix, multigrid)?;
    let mut x = vec![0.0; matrix.unknowns()];
    let options = Options { tolerance, ..Options::default() };
    let statistics =
        conjugate_gradient(matrix, &multigrid, right_hand_side, &mut x, &options, &mut { CONTINUE })?;
    Ok((x, statistics))
}

pub(crate) fn solve(
    matrix: &CsrMatrix,
    right_hand_side: &[f64],
    tolerance: f64,
) -> Result<(Vec<f64>, Statistics), LinearError> {
    solve_with(matrix, right_hand_side, tolerance, &MultigridOptions::default())
}

/// Small enough that matrices of a few unknowns get a hierarchy.
pub(crate) fn tiny_coarsest() -> MultigridOptions {
    MultigridOptions { coarsest_unknowns: 4, ..MultigridOptions::default() }
}

/// Gaussian elimination with partial pivoting.
pub(crate) fn dense_solve(matrix: &CsrMatrix, right_hand_side: &[f64]) -> Vec<f64> {
    let size = matrix.unknowns();
    let mut rows: Vec<Vec<f64>> = (0..size)
        .map(|row| {
            let mut dense = vec![0.0; size + 1];
            let (columns, values) = matrix.row(row);
            columns.iter().zip(values).for_each(|(&column, &value)| dense[column as usize] = value);
            dense[size] = right_hand_side[row];
            dense
        })
        .collect();
    for k in 0..size {
        let pivot = (k..size).max_by(|&a, &b| rows[a][k].abs().total_cmp(&rows[b][k].abs())).unwrap();
        rows.swap(k, pivot);
        let pivot_row = rows[k].clone();
        for row in &mut rows[k + 1..] {
            let factor = row[k] / pivot_row[k];
            row.iter_mut().zip(&pivot_row).skip(k).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut x = vec![0.0; size];
    for k in (0..size).rev() {
        let known: f64 = (k + 1..size).map(|j| rows[k][j] * x[j]).sum();
        x[k] = (rows[k][size] - known) / rows[k][k];
    }
    x
}

pub(crate) fn assert_close(x: &[f64], expected: &[f64], tolerance: f64) {
    let scale = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (index, (value, wanted)) in x.iter().zip(expected).enumerate() {
        assert!((value - wanted).abs() <= tolerance * scale, "{index}: {value} instead of {wanted}");
    }
}

/// Cell-centred finite volumes on a tensor grid; `fixed_below` holds the lower z face at 0.
pub(crate) fn tensor_grid(
    widths: [&[f64]; 3],
    conductivity: impl Fn([usize; 3]) -> f64,
    fixed_below: bool,
) -> CsrMatrix {
    let counts = widths.map(<[f64]>::len);
    let index = |cell: [usize; 3]| (cell[0] * counts[1] + cell[1]) * counts[2] + cell[2];
    let mut triplets = Vec::new();
    for x in 0..counts[0] {
        for y in 0..counts[1] {
            for z in 0..counts[2] {
                let cell = [x, y, z];
                let size = [widths[0][x], widths[1][y], widths[2][z]];
                let volume: f64 = size.iter().product();
                let own = index(cell);
                if fixed_below && z == 0 {
                    triplets.push((own, own, 2.0 * conductivity(cell) * volume / (size[2] * size[2])));
                }
                for axis in 0..3 {
                    let mut other = cell;
                    other[axis] += 1;
                    if other[axis] == counts[axis] {
                        continue;
                    }
                    let resistance = 0.5 * size[axis] / conductivity(cell)
                        + 0.5 * widths[axis][other[axis]] / conductivity(other);
                    let conductance = volume / size[axis] / resistance;
                    let theirs = index(other);
                    triplets.extend([(own, own, conductance), (theirs, theirs, conductance)]);
                    triplets.extend([(own, theirs, -conductance), (theirs, own, -conductance)]);
                }
            }
        }
    }
    CsrMatrix::from_triplets(counts.iter().product(), &triplets).unwrap()
}
