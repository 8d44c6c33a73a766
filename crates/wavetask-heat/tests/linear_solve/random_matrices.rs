//! Random matrices against dense elimination.

use proptest::prelude::*;
use wavetask_heat::linear::CsrMatrix;

use crate::common::{dense_solve, solve_with, tiny_coarsest};

/// Symmetric positive definite: a weighted graph, with couplings of both signs and over twelve decades, and
/// a diagonal that just dominates.
fn graph_matrix() -> impl Strategy<Value = (CsrMatrix, Vec<f64>)> {
    (2_usize..60)
        .prop_flat_map(|size| {
            let coupling = (0..size, 0..size, -3.0..3.0_f64, prop::bool::weighted(0.2));
            (
                Just(size),
                prop::collection::vec(coupling, size..4 * size),
                prop::collection::vec(0.01..1.0_f64, size),
                prop::collection::vec(-1.0..1.0_f64, size),
            )
        })
        .prop_map(|(size, couplings, holds, rhs)| {
            let mut triplets = Vec::new();
            for (i, j, decade, positive) in couplings {
                if i != j {
                    let weight = 10_f64.powf(decade);
                    let sign = if positive { 1.0 } else { -1.0 };
                    triplets.extend([
                        (i, i, weight),
                        (j, j, weight),
                        (i, j, sign * weight),
                        (j, i, sign * weight),
                    ]);
                }
            }
            triplets.extend(holds.iter().enumerate().map(|(i, &hold)| (i, i, hold)));
            (CsrMatrix::from_triplets(size, &triplets).unwrap(), rhs)
        })
}

/// Symmetric positive definite without diagonal dominance: `Bᵀ B + I / 10` with a sparse `B`.
fn gram_matrix() -> impl Strategy<Value = (CsrMatrix, Vec<f64>)> {
    (2_usize..40)
        .prop_flat_map(|size| {
            let row = prop::collection::vec((0..size, -2.0..2.0_f64), 1..4);
            (Just(size), prop::collection::vec(row, size), prop::collection::vec(-1.0..1.0_f64, size))
        })
        .prop_map(|(size, rows, rhs)| {
            let mut triplets: Vec<_> = (0..size).map(|i| (i, i, 0.1)).collect();
            for row in rows {
                for &(i, a) in &row {
                    triplets.extend(row.iter().map(|&(j, b)| (i, j, a * b)));
                }
            }
            (CsrMatrix::from_triplets(size, &triplets).unwrap(), rhs)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_dense_solves((matrix, rhs) in prop_oneof![graph_matrix(), gram_matrix()]) {
        let expected = dense_solve(&matrix, &rhs);
        let (x, statistics) = solve_with(&matrix, &rhs, 1e-12, &tiny_coarsest()).unwrap();
        prop_assert!(statistics.iterations <= 200);
        let scale = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        for (value, wanted) in x.iter().zip(&expected) {
            prop_assert!((value - wanted).abs() <= 1e-7 * scale, "{} instead of {}", value, wanted);
        }
    }
}
