//! The iteration itself: repeatable, stoppable, and honest about what it cannot solve.

use std::ops::ControlFlow;

use wavetask_heat::linear::{
    CsrMatrix, Jacobi, LinearError, Multigrid, MultigridOptions, Options, conjugate_gradient,
};

use crate::common::{CONTINUE, assert_close, solve, tensor_grid};

#[test]
fn numbering_hardly_matters() {
    let ones = [1.0; 30];
    let ordered = tensor_grid(
        [&ones, &ones, &ones],
        |cell| if (cell[0] / 3).is_multiple_of(2) { 1e6 } else { 1.0 },
        true,
    );
    let unknowns = ordered.unknowns();
    // A permutation without locality: 7919 is prime to 27000.
    let place = |row: usize| row * 7919 % unknowns;
    let mut triplets = Vec::new();
    for row in 0..unknowns {
        let (columns, values) = ordered.row(row);
        triplets.extend(
            columns.iter().zip(values).map(|(&column, &value)| (place(row), place(column as usize), value)),
        );
    }
    let shuffled = CsrMatrix::from_triplets(unknowns, &triplets).unwrap();
    let (x, first) = solve(&ordered, &vec![1.0; unknowns], 1e-10).unwrap();
    let (y, second) = solve(&shuffled, &vec![1.0; unknowns], 1e-10).unwrap();
    assert!(second.iterations <= 2 * first.iterations, "{} {}", first.iterations, second.iterations);
    assert_close(&(0..unknowns).map(|row| y[place(row)]).collect::<Vec<_>>(), &x, 1e-6);
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let ones = [1.0; 40];
    let matrix = tensor_grid(
        [&ones, &ones, &ones],
        |cell| if (cell[0] + cell[1]).is_multiple_of(5) { 1e4 } else { 1.0 },
        true,
    );
    let rhs: Vec<f64> = (0..matrix.unknowns()).map(|i| (i as f64 * 0.01).sin()).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (x, statistics) = solve(&matrix, &rhs, 1e-10).unwrap();
            (x, statistics.iterations, statistics.relative_residual)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn the_callback_sees_progress_and_can_cancel() {
    let ones = [1.0; 20];
    let matrix = tensor_grid([&ones, &ones, &ones], |_| 1.0, true);
    let multigrid = Multigrid::new(&matrix, &MultigridOptions::default()).unwrap();
    let rhs = vec![1.0; matrix.unknowns()];
    let mut x = vec![0.0; matrix.unknowns()];
    let mut seen = Vec::new();
    let options = Options { tolerance: 1e-10, ..Options::default() };
    let statistics =
        conjugate_gradient(&matrix, &multigrid, &rhs, &mut x, &options, &mut |iteration, residual| {
            seen.push((iteration, residual));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen.len(), statistics.iterations + 1);
    assert!(seen.iter().enumerate().all(|(place, (iteration, _))| place == *iteration));
    assert!((seen[0].1 - 1.0).abs() < 1e-12 && seen.last().unwrap().1 <= 1e-10);

    // From the solution nothing is left to do.
    let again = conjugate_gradient(&matrix, &multigrid, &rhs, &mut x, &options, &mut { CONTINUE }).unwrap();
    assert_eq!(again.iterations, 0);

    x.fill(0.0);
    let cancelled = conjugate_gradient(&matrix, &multigrid, &rhs, &mut x, &options, &mut |iteration, _| {
        if iteration == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(cancelled.unwrap_err(), LinearError::Cancelled { iteration: 3 });
}

#[test]
fn bad_input_is_named() {
    let ones = [1.0; 10];
    let matrix = tensor_grid([&ones, &ones, &ones], |_| 1.0, true);
    let mut rhs = vec![1.0; 1000];
    rhs[321] = f64::NAN;
    let error = solve(&matrix, &rhs, 1e-9).unwrap_err();
    assert_eq!(error, LinearError::NotFinite { what: "the right-hand side", index: 321 });
    assert_eq!(solve(&matrix, &rhs[..999], 1e-9).unwrap_err().code(), "linear.size_mismatch");

    let with = |entries: &[(usize, usize, f64)]| {
        let mut triplets = entries.to_vec();
        for row in 0..1000 {
            let (columns, values) = matrix.row(row);
            triplets
                .extend(columns.iter().zip(values).map(|(&column, &value)| (row, column as usize, value)));
        }
        CsrMatrix::from_triplets(1000, &triplets).unwrap()
    };
    let nan = Multigrid::new(&with(&[(7, 8, f64::NAN)]), &MultigridOptions::default()).unwrap_err();
    assert!(matches!(nan, LinearError::NotFinite { index: 7, .. }), "{nan}");
    let negative = Multigrid::new(&with(&[(55, 55, -100.0)]), &MultigridOptions::default()).unwrap_err();
    assert!(matches!(negative, LinearError::NonPositiveDiagonal { row: 55, .. }), "{negative}");
    // Indefinite without any sign of it on the diagonal.
    let indefinite = with(&[(500, 501, 40.0), (501, 500, 40.0)]);
    let error = solve(&indefinite, &vec![1.0; 1000], 1e-9).unwrap_err();
    assert!(
        matches!(
            error,
            LinearError::NotPositiveDefinite { .. } | LinearError::PreconditionerNotPositive { .. }
        ),
        "{error}"
    );
    let few = Options { tolerance: 1e-12, maximum_iterations: 5 };
    let jacobi = Jacobi::new(&matrix).unwrap();
    let mut x = vec![0.0; 1000];
    let error =
        conjugate_gradient(&matrix, &jacobi, &vec![1.0; 1000], &mut x, &few, &mut { CONTINUE }).unwrap_err();
    assert!(matches!(error, LinearError::NotConverged { iterations: 5, .. }), "{error}");
    assert!(x.iter().any(|&value| value > 0.0), "the last iterate is kept");
    let (zero, statistics) = solve(&matrix, &vec![0.0; 1000], 1e-9).unwrap();
    assert!(statistics.iterations == 0 && zero.iter().all(|&value| value == 0.0));
    assert!(!error.hint().is_empty() && error.code() == "linear.not_converged");
}

#[test]
fn an_unsolvable_system_never_passes_as_solved() {
    // Floating, with more heat coming in than going out. The diagonal preconditioner does not look for that.
    let ones = [1.0; 12];
    let floating = tensor_grid([&ones, &ones, &ones], |_| 1.0, false);
    let jacobi = Jacobi::new(&floating).unwrap();
    let rhs: Vec<f64> = (0..floating.unknowns()).map(|i| 1.0 + (i as f64).sin()).collect();
    let mut x = vec![0.0; rhs.len()];
    let error = conjugate_gradient(&floating, &jacobi, &rhs, &mut x, &Options::default(), &mut { CONTINUE });
    let error = error.unwrap_err();
    assert!(
        matches!(
            error,
            LinearError::Stagnated { .. }
                | LinearError::NotPositiveDefinite { .. }
                | LinearError::NotConverged { .. }
        ),
        "{error}"
    );
    // So small that squares vanish: refused rather than answered with zeros.
    let held = tensor_grid([&ones, &ones, &ones], |_| 1.0, true);
    let error = solve(&held, &vec![1e-200; held.unknowns()], 1e-9).unwrap_err();
    assert_eq!(error.code(), "linear.preconditioner_not_positive");
    let error = solve(&held, &vec![1e200; held.unknowns()], 1e-9).unwrap_err();
    assert_eq!(error.code(), "linear.not_finite");
}

#[test]
fn a_tolerance_below_rounding_ends_at_rounding() {
    let ones = [1.0; 24];
    let conductivity = |cell: [usize; 3]| if cell[2] > 8 { 1e6 } else { 1.0 };
    let matrix = tensor_grid([&ones, &ones, &ones], conductivity, true);
    // Hundreds of kelvin that hardly vary.
    let mut rhs = vec![0.0; matrix.unknowns()];
    for column in 0..24 * 24 {
        rhs[column * 24] = 2.0 * 300.0;
    }
    let (x, statistics) = solve(&matrix, &rhs, 1e-15).unwrap();
    assert!(statistics.limited_by_rounding, "{statistics:?}");
    assert_close(&x, &vec![300.0; x.len()], 1e-8);
}
