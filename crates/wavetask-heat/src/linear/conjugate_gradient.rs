//! Flexible preconditioned conjugate gradients.
//!
//! *Which residual.* Convergence is measured by `sqrt(rᵀ B r / bᵀ B b)` with the preconditioner `B ≈ A⁻¹`:
//! an estimate of the error in the energy norm, relative to the solution. With conductivities that span six
//! orders of magnitude the Euclidean residual says next to nothing about the poorly conducting parts, while
//! this one weighs every part by what it does to the solution. Before a solve is called converged the same
//! measure is taken of the true residual `b - A x`, not of the one that the recurrence carries along; the
//! Euclidean one is reported too.
//!
//! *Why flexible.* A multigrid K-cycle is not a fixed linear map. Making each new direction conjugate to the
//! last one explicitly costs one inner product and makes the iteration indifferent to that.
//!
//! *Rounding floor.* `b - A x` cannot be computed more exactly than about `ε (|A| |x| + |b|)`. A solve whose
//! residual has sunk into that is accepted and says so ([`Statistics::limited_by_rounding`]): no solver could
//! do better. Callers lower that floor by solving for the rise above a reference temperature, rather than
//! for hundreds of kelvin of which only a few vary.

use std::ops::ControlFlow;
use std::time::Instant;

use super::vector::{self, add_scaled, dot, dot_two, norm, scale_and_add};
use super::{CsrMatrix, LinearError};

/// An approximate inverse: symmetric, positive definite, cheap.
pub trait Preconditioner {
    /// The scratch vectors of one solve, so that several solves can share the preconditioner.
    type Workspace;

    /// The number of unknowns.
    fn unknowns(&self) -> usize;

    /// Scratch vectors for [`apply`](Self::apply).
    fn workspace(&self) -> Self::Workspace;

    /// `correction = B residual`; what `correction` held before does not matter.
    fn apply(&self, residual: &[f64], correction: &mut [f64], workspace: &mut Self::Workspace);

    /// What making it cost.
    fn setup(&self) -> SetupStatistics;
}

/// What a preconditioner cost to make and holds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct SetupStatistics {
    /// Matrices in the hierarchy, the given one included.
    pub levels: usize,
    /// Stored entries on all levels by those of the given matrix.
    pub operator_complexity: f64,
    /// Unknowns on all levels by those of the given matrix.
    pub grid_complexity: f64,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// Bytes held, the given matrix not included, the workspace of one solve included.
    pub bytes: usize,
}

/// When [`conjugate_gradient`] ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The relative residual `sqrt(rᵀ B r / bᵀ B b)` to reach, with the preconditioner `B ≈ A⁻¹`: an estimate of
    /// the error in the energy norm, relative to the solution, which weighs well and badly conducting parts
    /// alike. It is checked on the true residual. Default: 1e-9.
    pub tolerance: f64,
    /// Iterations allowed. Default: 1000.
    pub maximum_iterations: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { tolerance: 1e-9, maximum_iterations: 1000 }
    }
}

/// What a solve took.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Iterations done.
    pub iterations: usize,
    /// The relative residual reached, in the measure of the tolerance, of the true residual.
    pub relative_residual: f64,
    /// `‖b - A x‖ / ‖b‖`, Euclidean.
    pub relative_residual_euclidean: f64,
    /// The tolerance was not reached because the residual is nothing but rounding.
    pub limited_by_rounding: bool,
    /// The preconditioner's set-up.
    pub setup: SetupStatistics,
    /// Wall time of the solve without the set-up, in seconds.
    pub seconds: f64,
    /// Bytes held during the solve: matrix, preconditioner, and all vectors.
    pub bytes: usize,
}

/// Iterations without progress after which a solve has stagnated.
const PATIENCE: usize = 100;

/// How many times the rounding of `b - A x` counts as its floor.
const FLOOR: f64 = 4.0 * f64::EPSILON;

/// Solves `A x = b`, from the `x` that is given.
///
/// `callback(iteration, relative residual)` is called before the first iteration (with iteration 0) and after
/// each one; [`ControlFlow::Break`] cancels. The result has the same bits on any number of threads.
///
/// # Errors
/// - [`LinearError::SizeMismatch`], [`LinearError::NotFinite`]: wrong input, or overflow on the way.
/// - [`LinearError::NotPositiveDefinite`], [`LinearError::PreconditionerNotPositive`]: breakdown.
/// - [`LinearError::NotConverged`], [`LinearError::Stagnated`]: `x` holds the last iterate.
/// - [`LinearError::Cancelled`]: the callback said so.
pub fn conjugate_gradient<P: Preconditioner>(
    matrix: &CsrMatrix,
    preconditioner: &P,
    right_hand_side: &[f64],
    x: &mut [f64],
    options: &Options,
    callback: &mut dyn FnMut(usize, f64) -> ControlFlow<()>,
) -> Result<Statistics, LinearError> {
    let begin = Instant::now();
    let unknowns = matrix.unknowns();
    for (what, found) in [
        ("right-hand side", right_hand_side.len()),
        ("solution", x.len()),
        ("preconditioner", preconditioner.unknowns()),
    ] {
        if found != unknowns {
            return Err(LinearError::SizeMismatch { what, expected: unknowns, found });
        }
    }
    for (what, values) in [("the right-hand side", right_hand_side), ("the initial guess", &*x)] {
        if let Some(index) = vector::first_not_finite(values) {
            return Err(LinearError::NotFinite { what, index });
        }
    }

    let setup = preconditioner.setup();
    let mut statistics = Statistics {
        iterations: 0,
        relative_residual: 0.0,
        relative_residual_euclidean: 0.0,
        limited_by_rounding: false,
        setup,
        seconds: 0.0,
        bytes: matrix.bytes() + setup.bytes + 6 * size_of_val(x),
    };
    if right_hand_side.iter().all(|&value| value == 0.0) {
        x.fill(0.0);
        statistics.seconds = begin.elapsed().as_secs_f64();
        return Ok(statistics);
    }

    let mut solve = Solve {
        matrix,
        preconditioner,
        right_hand_side,
        x,
        workspace: preconditioner.workspace(),
        residual: vec![0.0; unknowns],
        correction: vec![0.0; unknowns],
        reference: 1.0,
    };
    solve.measure_right_hand_side()?;
    solve.iterate(options, callback, &mut statistics)?;
    statistics.relative_residual_euclidean = norm(&solve.residual) / norm(right_hand_side);
    statistics.seconds = begin.elapsed().as_secs_f64();
    Ok(statistics)
}

struct Solve<'a, P: Preconditioner> {
    matrix: &'a CsrMatrix,
    preconditioner: &'a P,
    right_hand_side: &'a [f64],
    x: &'a mut [f64],
    workspace: P::Workspace,
    residual: Vec<f64>,
    /// `B residual`.
    correction: Vec<f64>,
    /// `bᵀ B b`.
    reference: f64,
}

impl<P: Preconditioner> Solve<'_, P> {
    fn measure_right_hand_side(&mut self) -> Result<(), LinearError> {
        self.preconditioner.apply(self.right_hand_side, &mut self.correction, &mut self.workspace);
        self.reference = dot(self.right_hand_side, &self.correction);
        check_product(self.reference, 0)
    }

    /// Preconditions the residual; returns `rᵀ B r`.
    fn precondition(&mut self) -> f64 {
        self.preconditioner.apply(&self.residual, &mut self.correction, &mut self.workspace);
        dot(&self.residual, &self.correction)
    }

    /// Replaces the residual by the true one; returns `rᵀ B r`.
    fn true_residual(&mut self) -> f64 {
        self.matrix.residual(self.right_hand_side, self.x, &mut self.residual);
        self.precondition()
    }

    fn relative(&self, product: f64) -> f64 {
        (product.max(0.0) / self.reference).sqrt()
    }

    /// Whether the residual, which must be the true one, is no larger than its own rounding.
    fn at_rounding_floor(&self) -> bool {
        norm(&self.residual) <= FLOOR * self.matrix.magnitude(self.x, self.right_hand_side)
    }

    fn iterate(
        &mut self,
        options: &Options,
        callback: &mut dyn FnMut(usize, f64) -> ControlFlow<()>,
        statistics: &mut Statistics,
    ) -> Result<(), LinearError> {
        let tolerance = options.tolerance;
        let mut product = self.true_residual();
        let mut direction = self.correction.clone();
        let mut image = vec![0.0; direction.len()];
        // The residual is a true one, not one of the recurrence.
        let mut exact = true;
        let (mut best, mut best_at) = (f64::INFINITY, 0);
        let mut iteration = 0;
        let mut told = None;
        loop {
            if !product.is_finite() {
                return Err(LinearError::NotFinite { what: "the residual by iteration", index: iteration });
            }
            let relative = self.relative(product);
            statistics.iterations = iteration;
            statistics.relative_residual = relative;
            if told != Some(iteration) {
                told = Some(iteration);
                if callback(iteration, relative).is_break() {
                    return Err(LinearError::Cancelled { iteration });
                }
            }
            if relative < 0.9 * best {
                (best, best_at) = (relative, iteration);
            }
            let stagnated = iteration - best_at >= PATIENCE;
            let exhausted = iteration >= options.maximum_iterations;
            if relative <= tolerance || product <= 0.0 || stagnated || exhausted {
                if exact {
                    if relative <= tolerance && product >= 0.0 {
                        return Ok(());
                    }
                    if self.at_rounding_floor() {
                        statistics.limited_by_rounding = true;
                        return Ok(());
                    }
                    check_product(product, iteration)?;
                    if exhausted {
                        let (iterations, relative_residual) = (iteration, relative);
                        return Err(LinearError::NotConverged { iterations, relative_residual, tolerance });
                    }
                    if stagnated {
                        return Err(LinearError::Stagnated {
                            iteration,
                            relative_residual: relative,
                            tolerance,
                        });
                    }
                } else {
                    // Look at the true residual, and go on from there if it has not converged.
                    product = self.true_residual();
                    direction.copy_from_slice(&self.correction);
                    exact = true;
                    if relative <= tolerance && self.relative(product) > tolerance && self.at_rounding_floor()
                    {
                        statistics.relative_residual = self.relative(product);
                        statistics.limited_by_rounding = true;
                        return Ok(());
                    }
                    continue;
                }
            }

            self.matrix.multiply(&direction, &mut image);
            let [energy, slope] = dot_two(&direction, &image, &self.residual);
            if !energy.is_finite() {
                return Err(LinearError::NotFinite { what: "the residual by iteration", index: iteration });
            }
            if energy <= 0.0 {
                return Err(LinearError::NotPositiveDefinite { stage: "conjugate gradients", energy });
            }
            let step = slope / energy;
            add_scaled(self.x, step, &direction);
            add_scaled(&mut self.residual, -step, &image);
            product = self.precondition();
            let turn = -dot(&self.correction, &image) / energy;
            scale_and_add(&mut direction, turn, &self.correction);
            exact = false;
            iteration += 1;
        }
    }
}

fn check_product(product: f64, iteration: usize) -> Result<(), LinearError> {
    if product.is_nan() || product.is_infinite() {
        Err(LinearError::NotFinite { what: "the residual by iteration", index: iteration })
    } else if product <= 0.0 {
        Err(LinearError::PreconditionerNotPositive { iteration, product })
    } else {
        Ok(())
    }
}

/// The diagonal as a preconditioner: for small or very well conditioned systems, and as the yardstick.
#[derive(Debug, Clone)]
pub struct Jacobi {
    inverse_diagonal: Vec<f64>,
}

impl Jacobi {
    /// # Errors
    /// [`LinearError::NonPositiveDiagonal`] or [`LinearError::NotFinite`] by the first such diagonal.
    pub fn new(matrix: &CsrMatrix) -> Result<Self, LinearError> {
        let mut inverse_diagonal = matrix.diagonal();
        check_diagonal(&inverse_diagonal)?;
        inverse_diagonal.iter_mut().for_each(|value| *value = 1.0 / *value);
        Ok(Self { inverse_diagonal })
    }
}

pub(super) fn check_diagonal(diagonal: &[f64]) -> Result<(), LinearError> {
    if let Some(index) = vector::first_not_finite(diagonal) {
        return Err(LinearError::NotFinite { what: "the diagonal of the matrix", index });
    }
    match diagonal.iter().position(|&value| value <= 0.0) {
        Some(row) => Err(LinearError::NonPositiveDiagonal { row, value: diagonal[row] }),
        None => Ok(()),
    }
}

impl Preconditioner for Jacobi {
    type Workspace = ();

    fn unknowns(&self) -> usize {
        self.inverse_diagonal.len()
    }

    fn workspace(&self) {}

    fn apply(&self, residual: &[f64], correction: &mut [f64], (): &mut ()) {
        vector::for_each_chunk(correction, |first, part| {
            for (offset, value) in part.iter_mut().enumerate() {
                *value = residual[first + offset] * self.inverse_diagonal[first + offset];
            }
        });
    }

    fn setup(&self) -> SetupStatistics {
        SetupStatistics {
            levels: 1,
            operator_complexity: 1.0,
            grid_complexity: 1.0,
            seconds: 0.0,
            bytes: size_of_val(self.inverse_diagonal.as_slice()),
        }
    }
}
