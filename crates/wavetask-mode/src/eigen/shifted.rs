//! Shift-invert: factorise `A - σ`, find the subspace, correct it, and read the eigenpairs off it.

use std::sync::Arc;

use num_complex::Complex;

use super::EigenError;
use super::factor::Factor;
use super::kernels::{norm, orthogonalise, scale};
use super::krylov::{Demand, Noise, Subspace, combine, largest};
use super::matrix::SparseMatrix;
use super::scalar::Scalar;
use super::schur::{Dense, Schur};
use super::symbolic::Symbolic;

/// Vectors that every step of the iteration treats together.
const BLOCK: usize = 2;
/// Matrices of at most this many rows are treated as dense.
const DENSE_ROWS: usize = 64;
/// Subspace vectors carried through the correction beside the wanted ones.
const GUARDS: usize = 2;

/// What is wanted of a matrix.
#[derive(Clone, Debug)]
pub struct Request<T> {
    /// Eigenvalues nearest to this number are found.
    pub shift: T,
    /// How many.
    pub count: usize,
    /// Guesses of eigenvectors, or of anything that contains them; may be empty.
    pub start: Vec<Vec<T>>,
    /// Largest error of an eigenvector: its residual under the inverted operator, relative to its image.
    pub tolerance: f64,
    /// Whether factors in single precision may be tried first.
    pub low_precision_factors: bool,
}

/// Eigenvalues with their right eigenvectors, nearest to the shift first.
#[derive(Clone, Debug)]
pub struct Eigenpairs {
    /// The eigenvalues.
    pub values: Vec<Complex<f64>>,
    /// An eigenvector for each, of unit length.
    pub vectors: Vec<Vec<Complex<f64>>>,
    /// Solutions with one right-hand side that were computed.
    pub solutions: usize,
    /// Largest residual, as the tolerance is measured.
    pub residual: f64,
}

/// What one matrix leaves for the next: the plan if the places of the entries are the same, and memory.
#[derive(Debug, Default)]
pub struct Workspace<T: Scalar> {
    plan: Option<Arc<Symbolic>>,
    pattern: Option<SparseMatrix<f32>>,
    low: Factor<T::Low>,
    full: Factor<T>,
}

impl<T: Scalar> Workspace<T> {
    /// An empty workspace.
    pub fn new() -> Self {
        Self { plan: None, pattern: None, low: Factor::default(), full: Factor::default() }
    }

    /// The plan for a matrix: the last one if it still fits.
    fn plan(&mut self, matrix: &SparseMatrix<T>, order: &[u32]) -> Arc<Symbolic> {
        if let (Some(plan), Some(pattern)) = (&self.plan, &self.pattern)
            && matrix.same_pattern(pattern)
        {
            return plan.clone();
        }
        let plan = Arc::new(Symbolic::analyse(matrix, order));
        self.pattern = Some(matrix.map(|_| 0.0_f32));
        self.plan = Some(plan.clone());
        plan
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.low.bytes() + self.full.bytes() + self.pattern.as_ref().map_or(0, SparseMatrix::bytes)
    }
}

/// `A - σ` with its rows and columns scaled so that the largest entries are about one, and its factors.
struct Inverse<'a, F> {
    plan: &'a Symbolic,
    factor: &'a Factor<F>,
    rows: &'a [f64],
    columns: &'a [f64],
}

impl<F: Scalar> Inverse<'_, F> {
    /// Replaces vectors by the solutions with them as right-hand sides.
    fn apply(&self, vectors: &mut [Vec<F>]) {
        let order = &self.plan.order;
        let mut inner: Vec<Vec<F>> = vectors
            .iter()
            .map(|vector| {
                order
                    .iter()
                    .map(|unknown| vector[*unknown as usize].scaled(self.rows[*unknown as usize]))
                    .collect()
            })
            .collect();
        self.factor.solve(self.plan, &mut inner);
        for (vector, solution) in vectors.iter_mut().zip(inner) {
            for (unknown, value) in order.iter().zip(solution) {
                vector[*unknown as usize] = value.scaled(self.columns[*unknown as usize]);
            }
        }
    }
}

/// Finds the eigenpairs of a matrix nearest to a number.
///
/// Every diagonal entry of the matrix must be stored, be it zero. `order` is an order of elimination (see
/// [`super::dissection::order`]). `cancelled` is asked once for every solution.
///
/// # Errors
/// If more eigenpairs are asked for than can be found, on cancellation, and if the accuracy is not reached.
pub fn nearest<T: Scalar>(
    matrix: &SparseMatrix<T>,
    order: &[u32],
    request: &Request<T>,
    workspace: &mut Workspace<T>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Eigenpairs, EigenError> {
    let size = matrix.size();
    let most = size.saturating_sub(2);
    if request.count == 0 || request.count > most {
        return Err(EigenError::TooMany { wanted: request.count, size, most });
    }
    let plan = workspace.plan(matrix, order);
    let shifted = subtract_shift(matrix, request.shift);
    let (rows, columns) = equilibrate(&shifted);
    let entries = (0..size).flat_map(|row| shifted.row(row).map(move |place| (row, place)));
    let scaled: Vec<T> = entries
        .map(|(row, place)| {
            shifted.values()[place].scaled(rows[row] * columns[shifted.columns()[place] as usize])
        })
        .collect();
    let mut solver = Solver { shifted: &shifted, request, cancelled, solutions: 0 };
    if request.low_precision_factors && size > DENSE_ROWS {
        let lowered: Vec<T::Low> = scaled.iter().map(|value| value.lower()).collect();
        workspace.low.factorise(&plan, &lowered);
        if workspace.low.replaced_pivots() == 0 {
            let inverse = Inverse { plan: &plan, factor: &workspace.low, rows: &rows, columns: &columns };
            match solver.run(&inverse, T::lower, T::raise) {
                Err(EigenError::NotConverged { .. }) => {}
                other => return other,
            }
        }
    }
    workspace.full.factorise(&plan, &scaled);
    let inverse = Inverse { plan: &plan, factor: &workspace.full, rows: &rows, columns: &columns };
    solver.run(&inverse, |value| value, |value| value)
}

/// The matrix less a multiple of the identity.
fn subtract_shift<T: Scalar>(matrix: &SparseMatrix<T>, shift: T) -> SparseMatrix<T> {
    let mut shifted = SparseMatrix::with_capacity(matrix.size(), matrix.entries());
    for row in 0..matrix.size() {
        shifted.push_row(matrix.row(row).map(|place| {
            let column = matrix.columns()[place];
            let value = matrix.values()[place];
            (column, if column as usize == row { value - shift } else { value })
        }));
    }
    shifted
}

/// Factors for rows and columns after which the largest entry of each is about one (D. Ruiz, RAL-TR-2001-034).
fn equilibrate<T: Scalar>(matrix: &SparseMatrix<T>) -> (Vec<f64>, Vec<f64>) {
    let size = matrix.size();
    let mut rows = vec![1.0_f64; size];
    let mut columns = vec![1.0_f64; size];
    let magnitudes: Vec<f64> = matrix.values().iter().map(|value| value.magnitude()).collect();
    for _ in 0..4 {
        let mut row_largest = vec![0.0_f64; size];
        let mut column_largest = vec![0.0_f64; size];
        for row in 0..size {
            for place in matrix.row(row) {
                let column = matrix.columns()[place] as usize;
                let value = magnitudes[place] * rows[row] * columns[column];
                row_largest[row] = row_largest[row].max(value);
                column_largest[column] = column_largest[column].max(value);
            }
        }
        for (factor, largest) in
            rows.iter_mut().zip(&row_largest).chain(columns.iter_mut().zip(&column_largest))
        {
            if *largest > 0.0 && largest.is_finite() {
                *factor /= largest.sqrt();
            }
        }
    }
    (rows, columns)
}

/// One calculation.
struct Solver<'a, T> {
    shifted: &'a SparseMatrix<T>,
    request: &'a Request<T>,
    cancelled: &'a dyn Fn() -> bool,
    solutions: usize,
}

impl<T: Scalar> Solver<'_, T> {
    /// Finds the subspace with the factors as they are, then corrects it.
    fn run<F: Scalar>(
        &mut self,
        inverse: &Inverse<'_, F>,
        lower: impl Fn(T) -> F + Copy,
        raise: impl Fn(F) -> T + Copy,
    ) -> Result<Eigenpairs, EigenError> {
        let size = self.shifted.size();
        let count = self.request.count;
        let subspace = (2 * count + 12).max(36).next_multiple_of(BLOCK);
        let mut basis: Vec<T> = if size <= DENSE_ROWS.max(subspace + 2 * BLOCK) {
            let mut identity = vec![T::default(); size * size];
            identity.iter_mut().step_by(size + 1).for_each(|value| *value = T::ONE);
            identity
        } else {
            let demand = Demand {
                count,
                block: BLOCK,
                subspace,
                tolerance: self.request.tolerance.max(8.0 * F::EPSILON),
                restarts: 300,
            };
            let start = combine_guesses(&self.request.start)
                .into_iter()
                .map(|vector| vector.into_iter().map(lower).collect());
            let cancelled = self.cancelled;
            let found = largest(size, demand, GUARDS, start.collect(), |vectors: &mut [Vec<F>]| {
                if cancelled() {
                    return Err(EigenError::Cancelled);
                }
                inverse.apply(vectors);
                Ok(())
            })?;
            let Some(Subspace { vectors, applications, residual }) = found else {
                return Err(EigenError::NotConverged { message: "the small eigenproblem failed".to_owned() });
            };
            self.solutions += applications;
            if residual > demand.tolerance {
                return Err(EigenError::NotConverged {
                    message: format!("the residual is {residual:.1e} after {} restarts", demand.restarts),
                });
            }
            let mut basis: Vec<T> = vectors.into_iter().map(raise).collect();
            orthonormalise(&mut basis, size);
            basis
        };
        let mut residual = f64::INFINITY;
        for _ in 0..4 {
            let images = self.images(inverse, &basis, lower, raise)?;
            let step = project(&basis, &images, size, count).ok_or_else(|| EigenError::NotConverged {
                message: "the small eigenproblem failed".to_owned(),
            })?;
            residual = step.residual;
            if residual <= self.request.tolerance {
                return Ok(self.eigenpairs(&step, &basis, &images));
            }
            basis = images;
            orthonormalise(&mut basis, size);
        }
        Err(EigenError::NotConverged { message: format!("the residual stays at {residual:.1e}") })
    }

    /// `(A - σ)⁻¹` times the columns, in full precision: solutions with the factors, corrected with residuals.
    fn images<F: Scalar>(
        &mut self,
        inverse: &Inverse<'_, F>,
        basis: &[T],
        lower: impl Fn(T) -> F + Copy,
        raise: impl Fn(F) -> T + Copy,
    ) -> Result<Vec<T>, EigenError> {
        let size = self.shifted.size();
        let mut images = Vec::with_capacity(basis.len());
        let mut product = vec![T::default(); size];
        for group in basis.chunks(size * BLOCK) {
            let columns: Vec<&[T]> = group.chunks_exact(size).collect();
            let mut solutions = vec![vec![T::default(); size]; columns.len()];
            let mut residuals: Vec<Vec<T>> = columns.iter().map(|column| column.to_vec()).collect();
            let mut previous = f64::INFINITY;
            for _ in 0..6 {
                if (self.cancelled)() {
                    return Err(EigenError::Cancelled);
                }
                let mut corrections: Vec<Vec<F>> = residuals
                    .iter()
                    .map(|residual| residual.iter().map(|value| lower(*value)).collect())
                    .collect();
                inverse.apply(&mut corrections);
                self.solutions += corrections.len();
                let mut change = 0.0_f64;
                for ((solution, correction), (residual, column)) in
                    solutions.iter_mut().zip(corrections).zip(residuals.iter_mut().zip(&columns))
                {
                    let mut square = 0.0;
                    for (value, correction) in solution.iter_mut().zip(correction) {
                        let correction = raise(correction);
                        square += correction.magnitude().powi(2);
                        *value += correction;
                    }
                    change = change.max(square.sqrt() / norm(solution).max(f64::MIN_POSITIVE));
                    self.shifted.multiply(solution, &mut product);
                    for ((left, right), image) in residual.iter_mut().zip(*column).zip(&product) {
                        *left = *right - *image;
                    }
                }
                if change.is_nan()
                    || change * change <= self.request.tolerance * 1e-2
                    || change > 0.5 * previous
                {
                    break;
                }
                previous = change;
            }
            images.extend(solutions.into_iter().flatten());
        }
        Ok(images)
    }

    /// The eigenpairs of a projection: vectors are the images, which have one step of inverse iteration more.
    fn eigenpairs(&self, step: &Projection, basis: &[T], images: &[T]) -> Eigenpairs {
        let size = self.shifted.size();
        let shift = self.request.shift.widen();
        let mut values = Vec::new();
        let mut vectors = Vec::new();
        for (value, coefficients) in step.values.iter().zip(&step.vectors) {
            values.push(shift + value.inv());
            let mut vector = vec![Complex::default(); size];
            for (factor, image) in coefficients.iter().zip(images.chunks_exact(size)) {
                for (sum, entry) in vector.iter_mut().zip(image) {
                    *sum += entry.widen() * factor;
                }
            }
            let length = norm(&vector);
            scale(&mut vector, 1.0 / length);
            vectors.push(vector);
        }
        debug_assert_eq!(basis.len(), images.len());
        Eigenpairs { values, vectors, solutions: self.solutions, residual: step.residual }
    }
}

/// The start: one vector in which every guess has its part; the rest of the block is noise, so that eigenvectors with
/// which the guesses have nothing in common, say because of another symmetry, are found as without guesses.
fn combine_guesses<T: Scalar>(guesses: &[Vec<T>]) -> Vec<Vec<T>> {
    let Some(length) = guesses.first().map(Vec::len) else {
        return Vec::new();
    };
    let mut noise = Noise(0x9e37);
    let mut sum = vec![T::default(); length];
    for guess in guesses {
        let factor = noise.next();
        let factor = factor + factor.signum() * 0.5;
        for (value, entry) in sum.iter_mut().zip(guess) {
            *value += entry.scaled(factor);
        }
    }
    vec![sum]
}

/// Makes columns orthonormal, one after the other; dependent ones become anything.
fn orthonormalise<T: Scalar>(columns: &mut [T], length: usize) {
    for column in 0..columns.len() / length {
        let (done, rest) = columns.split_at_mut(column * length);
        let mut own = rest[..length].to_vec();
        let before = norm(&own);
        scale(&mut own, 1.0 / before.max(f64::MIN_POSITIVE));
        orthogonalise(done, &mut own);
        let after = norm(&own);
        scale(&mut own, 1.0 / after.max(f64::MIN_POSITIVE));
        rest[..length].copy_from_slice(&own);
    }
}

/// Eigenpairs of an operator within a subspace.
struct Projection {
    values: Vec<Complex<f64>>,
    vectors: Vec<Vec<Complex<f64>>>,
    residual: f64,
}

/// Projects the operator that maps `basis` to `images`; `None` if the small eigenproblem fails.
fn project<T: Scalar>(basis: &[T], images: &[T], length: usize, count: usize) -> Option<Projection> {
    let size = basis.len() / length;
    let mut square = Dense::zeros(size, size);
    for (column, image) in images.chunks_exact(length).enumerate() {
        for (row, vector) in basis.chunks_exact(length).enumerate() {
            square.set(row, column, super::kernels::dot(vector, image).widen());
        }
    }
    let mut schur = Schur::of(square.clone())?;
    schur.sort_by_key(|value| value.norm());
    let values: Vec<Complex<f64>> = schur.values().into_iter().take(count).collect();
    let vectors: Vec<Vec<Complex<f64>>> = (0..count).map(|place| schur.eigenvector(place)).collect();
    // Residual vectors of the columns, once: images - basis (basisᴴ images).
    let mut outside = images.to_vec();
    for (value, inside) in outside.iter_mut().zip(combine(basis, length, &square)) {
        *value -= inside;
    }
    let mut residual = 0.0_f64;
    for (value, vector) in values.iter().zip(&vectors) {
        let mut sum = vec![Complex::<f64>::default(); length];
        for (factor, column) in vector.iter().zip(outside.chunks_exact(length)) {
            for (sum, entry) in sum.iter_mut().zip(column) {
                *sum += entry.widen() * factor;
            }
        }
        residual = residual.max(norm(&sum) / value.norm().max(f64::MIN_POSITIVE));
    }
    Some(Projection { values, vectors, residual })
}
