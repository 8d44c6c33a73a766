//! The eigensolver against matrices whose eigenvalues are known.

use num_complex::Complex;
use wavetask_mode::eigen::{EigenError, Request, Scalar, SparseMatrix, Workspace, dissection, nearest};

type C = Complex<f64>;

/// The five-point Laplacian with zero boundary values on a grid, times a factor, with its order of elimination.
fn laplacian<T: Scalar>(shape: [usize; 2], factor: C) -> (SparseMatrix<T>, Vec<u32>) {
    let size = shape[0] * shape[1];
    let mut matrix = SparseMatrix::with_capacity(size, 5 * size);
    for cell in 0..size {
        let (first, second) = (cell / shape[1], cell % shape[1]);
        let mut row = Vec::new();
        let mut add = |present: bool, column: usize, value: f64| {
            if present {
                row.push((column as u32, T::narrow(factor * value)));
            }
        };
        add(first > 0, cell.wrapping_sub(shape[1]), -1.0);
        add(second > 0, cell.wrapping_sub(1), -1.0);
        add(true, cell, 4.0);
        add(second + 1 < shape[1], cell + 1, -1.0);
        add(first + 1 < shape[0], cell + shape[1], -1.0);
        matrix.push_row(row);
    }
    let cells: Vec<u32> = (0..size as u32).collect();
    let order = dissection::order(shape, &cells, &vec![0; size]);
    (matrix, order)
}

/// Its eigenvalues, nearest to a number first.
fn known(shape: [usize; 2], factor: C, shift: C) -> Vec<C> {
    let square = |index: usize, count: usize| {
        let half = std::f64::consts::PI * (index + 1) as f64 / (2.0 * (count + 1) as f64);
        4.0 * half.sin().powi(2)
    };
    let mut values: Vec<C> = (0..shape[0])
        .flat_map(|i| (0..shape[1]).map(move |j| factor * (square(i, shape[0]) + square(j, shape[1]))))
        .collect();
    values.sort_by(|a, b| (a - shift).norm().total_cmp(&(b - shift).norm()));
    values
}

fn check<T: Scalar>(shape: [usize; 2], factor: C, shift: C, count: usize, low: bool) {
    let (matrix, order) = laplacian::<T>(shape, factor);
    let tolerance = if low { 1e-5 } else { 1e-9 };
    let request =
        Request { shift: T::narrow(shift), count, start: Vec::new(), tolerance, low_precision_factors: low };
    let mut workspace = Workspace::new();
    let found = nearest(&matrix, &order, &request, &mut workspace, &|| false).expect("converges");
    let expected = known(shape, factor, shift);
    for (place, (value, vector)) in found.values.iter().zip(&found.vectors).enumerate() {
        let error = (value - expected[place]).norm() / (expected[place] - shift).norm();
        assert!(error < 10.0 * tolerance, "{shape:?} {place}: {value} for {}: {error:.1e}", expected[place]);
        let length: f64 = vector.iter().map(|value| value.norm_sqr()).sum();
        assert!((length - 1.0).abs() < 1e-9);
        for row in (0..matrix.size()).step_by(7) {
            let image: C = matrix
                .row(row)
                .map(|entry| matrix.values()[entry].widen() * vector[matrix.columns()[entry] as usize])
                .sum();
            let residual = (image - value * vector[row]).norm();
            assert!(residual < 100.0 * tolerance, "{shape:?} {place}: row {row} leaves {residual:.1e}");
        }
    }
}

#[test]
fn eigenvalues_of_rectangles_are_found() {
    let (one, shift) = (C::new(1.0, 0.0), C::new(-0.01, 0.0));
    check::<f64>([31, 22], one, shift, 5, false);
    check::<f64>([31, 22], one, shift, 5, true);
    check::<f64>([90, 1], one, shift, 4, false);
    check::<f64>([40, 37], one, C::new(0.7, 0.0), 9, false);
    check::<f64>([5, 4], one, shift, 6, false);
    check::<C>([31, 22], C::new(1.0, 0.3), C::new(0.5, 0.1), 6, false);
    check::<C>([31, 22], C::new(1.0, 0.3), C::new(-0.01, 0.1), 6, true);
}

#[test]
fn both_of_two_equal_eigenvalues_are_found() {
    // On a square, indices (i, j) and (j, i) give the same eigenvalue.
    check::<f64>([30, 30], C::new(1.0, 0.0), C::new(-0.01, 0.0), 6, false);
    check::<C>([30, 30], C::new(1.0, 0.1), C::new(-0.01, 0.0), 6, false);
}

#[test]
fn a_workspace_is_used_again_for_another_matrix_and_another_pattern() {
    let mut workspace = Workspace::new();
    for shape in [[20, 14], [20, 14], [12, 25]] {
        for scale in [1.0, 2.5] {
            let factor = C::new(scale, 0.0);
            let (matrix, order) = laplacian::<f64>(shape, factor);
            let request = Request {
                shift: -0.1,
                count: 3,
                start: Vec::new(),
                tolerance: 1e-9,
                low_precision_factors: false,
            };
            let found = nearest(&matrix, &order, &request, &mut workspace, &|| false).expect("converges");
            for (value, expected) in found.values.iter().zip(known(shape, factor, C::new(-0.1, 0.0))) {
                assert!((value - expected).norm() < 1e-7, "{value} for {expected}");
            }
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let (matrix, order) = laplacian::<f64>([6, 5], C::new(1.0, 0.0));
    let request = |count| Request {
        shift: -0.1,
        count,
        start: Vec::new(),
        tolerance: 1e-9,
        low_precision_factors: false,
    };
    let run = |count, cancelled: bool| {
        nearest(&matrix, &order, &request(count), &mut Workspace::new(), &|| cancelled)
            .map(|found| found.values.len())
    };
    assert!(matches!(run(0, false), Err(EigenError::TooMany { .. })));
    assert_eq!(run(29, false), Err(EigenError::TooMany { wanted: 29, size: 30, most: 28 }));
    assert_eq!(run(28, false), Ok(28));
    assert_eq!(run(3, true), Err(EigenError::Cancelled));
}
