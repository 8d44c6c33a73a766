//! Eigenvalues of largest magnitude of an operator: the block Krylov-Schur method.
//!
//! G. W. Stewart, SIAM J. Matrix Anal. Appl. 23, 601 (2001), with a block of vectors for each step: a pair of
//! degenerate modes, the rule in symmetric waveguides, is found as surely as a single one, and an operator that solves
//! with stored factors reads them once for the block. The decomposition `A V = V S + R B` is kept with
//! orthonormal `V`; a restart keeps the span of the wanted Schur vectors of `S`, as real vectors if the operator is
//! real.

use num_complex::Complex;

use super::kernels::{SHRINKAGE, norm, orthogonalise, project_out, scale};
use super::scalar::{Scalar, View, ViewMut};
use super::schur::{Dense, Schur};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Eigenvalues.
    pub(super) count: usize,
    /// Vectors of a step.
    pub(super) block: usize,
    /// Vectors of the basis before a restart.
    pub(super) subspace: usize,
    /// Largest residual relative to the eigenvalue's magnitude.
    pub(super) tolerance: f64,
    /// Restarts before giving up.
    pub(super) restarts: usize,
}

/// An approximately invariant subspace.
#[derive(Debug)]
pub(super) struct Subspace<T> {
    /// Orthonormal vectors, one after the other.
    pub(super) vectors: Vec<T>,
    /// Largest relative residual of the wanted eigenvalues.
    pub(super) residual: f64,
    /// Applications of the operator to one vector.
    pub(super) applications: usize,
}

/// A small deterministic generator for start vectors (Knuth's linear congruential one).
#[derive(Debug)]
pub(super) struct Noise(pub(super) u64);

impl Noise {
    /// A number between -1/2 and 1/2.
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }

    /// A vector of them.
    pub(super) fn vector<T: Scalar>(&mut self, length: usize) -> Vec<T> {
        (0..length)
            .map(|_| {
                let real = self.next();
                T::narrow(Complex::new(real, if T::COMPLEX { self.next() } else { 0.0 }))
            })
            .collect()
    }
}

/// The growing decomposition.
struct Decomposition<T> {
    length: usize,
    /// Basis vectors, then the residual block.
    vectors: Vec<T>,
    /// Coefficients of the images of the basis vectors: rows for basis and residual block.
    images: Dense,
    /// Basis vectors.
    size: usize,
    noise: Noise,
}

impl<T: Scalar> Decomposition<T> {
    /// Vectors of the basis and of the residual block.
    fn count(&self) -> usize {
        self.vectors.len() / self.length
    }

    /// Appends a direction of the complement of all vectors that is as good as any other.
    fn append_noise(&mut self) {
        loop {
            let mut vector = self.noise.vector(self.length);
            let whole = norm(&vector);
            scale(&mut vector, 1.0 / whole);
            orthogonalise(&self.vectors, &mut vector);
            let length = norm(&vector);
            if length > 1e-4 {
                scale(&mut vector, 1.0 / length);
                self.vectors.extend(vector);
                return;
            }
        }
    }

    /// Appends a direction that is orthogonal to the first `apart` vectors already, if it did not shrink too much from
    /// the length `before` thereby; returns its coefficients along all vectors and its length.
    fn append(&mut self, mut vector: Vec<T>, apart: usize, before: f64) -> (Vec<T>, f64) {
        let mut coefficients = vec![T::default(); self.count()];
        let inner = orthogonalise(&self.vectors[apart * self.length..], &mut vector);
        coefficients[apart..].copy_from_slice(&inner);
        let mut length = norm(&vector);
        if length <= SHRINKAGE * before {
            for (sum, value) in coefficients.iter_mut().zip(orthogonalise(&self.vectors, &mut vector)) {
                *sum += value;
            }
            length = norm(&vector);
        }
        if length <= 4.0 * T::EPSILON * before || length == 0.0 {
            // The subspace is invariant: go on with a direction that is not part of the image.
            self.append_noise();
            return (coefficients, 0.0);
        }
        scale(&mut vector, 1.0 / length);
        self.vectors.extend(vector);
        (coefficients, length)
    }

    /// Applies the operator to the residual block, which thereby joins the basis.
    fn extend<E>(
        &mut self,
        block: usize,
        operator: &mut impl FnMut(&mut [Vec<T>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let begin = self.size * self.length;
        let mut images: Vec<Vec<T>> =
            self.vectors[begin..].chunks_exact(self.length).map(<[T]>::to_vec).collect();
        operator(&mut images)?;
        let mut before: Vec<f64> = images.iter().map(|image| norm(image)).collect();
        let apart = self.count();
        let mut outer = project_out(&self.vectors, self.length, &mut images);
        let mut after: Vec<f64> = images.iter().map(|image| norm(image)).collect();
        if before.iter().zip(&after).any(|(before, after)| *after < SHRINKAGE * before) {
            let again = project_out(&self.vectors, self.length, &mut images);
            for (sum, value) in outer.iter_mut().flatten().zip(again.iter().flatten()) {
                *sum += *value;
            }
            std::mem::swap(&mut before, &mut after);
        }
        for (offset, (image, outer)) in images.into_iter().zip(outer).enumerate() {
            let column = self.size + offset;
            let row = self.count();
            let (mut coefficients, length) = self.append(image, apart, before[offset]);
            for (sum, value) in coefficients.iter_mut().zip(outer) {
                *sum += value;
            }
            for (index, coefficient) in coefficients.into_iter().enumerate() {
                self.images.set(index, column, coefficient.widen());
            }
            self.images.set(row, column, Complex::new(length, 0.0));
        }
        self.size += block;
        Ok(())
    }

    /// Keeps the span of the columns of `kept` (orthonormal coefficients) and the residual block.
    fn restart(&mut self, kept: &Dense, block: usize) {
        let count = kept.columns;
        let square = self.images.block(0, 0, self.size, self.size);
        let last = self.images.block(self.size, 0, block, self.size);
        let inner = kept.adjoint().times(&square).times(kept);
        let outer = last.times(kept);
        let (rows, columns) = (self.images.rows, self.images.columns);
        self.images = Dense::zeros(rows, columns);
        for column in 0..count {
            for row in 0..count {
                self.images.set(row, column, inner.get(row, column));
            }
            for row in 0..block {
                self.images.set(count + row, column, outer.get(row, column));
            }
        }
        let mut vectors = combine(&self.vectors[..self.size * self.length], self.length, kept);
        vectors.extend_from_slice(&self.vectors[self.size * self.length..]);
        self.vectors = vectors;
        self.size = count;
    }
}

/// `V Q` for basis vectors one after the other and small coefficients.
pub(super) fn combine<T: Scalar>(vectors: &[T], length: usize, coefficients: &Dense) -> Vec<T> {
    let mut result = vec![T::default(); length * coefficients.columns];
    let negative: Vec<T> = (0..coefficients.columns)
        .flat_map(|column| coefficients.column(column).iter().map(|value| T::narrow(-value)))
        .collect();
    T::subtract_product(
        View {
            data: vectors,
            rows: length,
            columns: coefficients.rows,
            row_stride: 1,
            column_stride: length,
        },
        View {
            data: &negative,
            rows: coefficients.rows,
            columns: coefficients.columns,
            row_stride: 1,
            column_stride: coefficients.rows,
        },
        ViewMut {
            data: &mut result,
            rows: length,
            columns: coefficients.columns,
            row_stride: 1,
            column_stride: length,
        },
    );
    result
}

/// How many leading Schur vectors to take so that pairs of conjugate eigenvalues of a real operator stay together.
fn whole_pairs(values: &[Complex<f64>], wanted: usize, real: bool) -> usize {
    if !real || wanted == 0 || wanted >= values.len() {
        return wanted.min(values.len());
    }
    let unpaired = |count: usize| values[..count].iter().map(|value| value.im).sum::<f64>().abs();
    let most = (wanted + 2).min(values.len());
    let limit = 1e-13 * values[0].norm();
    (wanted..=most)
        .find(|count| unpaired(*count) <= limit)
        .or_else(|| (wanted..=most).min_by(|a, b| unpaired(*a).total_cmp(&unpaired(*b))))
        .unwrap_or(wanted)
}

/// An orthonormal basis of the span of the leading Schur vectors; a real one for real operators.
fn leading(schur: &Schur, count: usize, real: bool) -> Dense {
    let rows = schur.basis.rows;
    let complex = schur.basis.block(0, 0, rows, count);
    if !real {
        return complex;
    }
    // Real and imaginary parts span the same space over the complex numbers, since it is closed under conjugation;
    // pivoted Gram-Schmidt takes the `count` most independent of them.
    let mut parts: Vec<Vec<f64>> = (0..count)
        .flat_map(|column| {
            let column = complex.column(column);
            [column.iter().map(|value| value.re).collect(), column.iter().map(|value| value.im).collect()]
        })
        .collect();
    let mut result = Dense::zeros(rows, count);
    for column in 0..count {
        let square = |part: &[f64]| part.iter().map(|value| value * value).sum::<f64>();
        let Some(best) = (0..parts.len()).max_by(|a, b| square(&parts[*a]).total_cmp(&square(&parts[*b])))
        else {
            break;
        };
        let chosen = parts.swap_remove(best);
        let length = square(&chosen).sqrt();
        let unit: Vec<f64> = chosen.iter().map(|value| value / length).collect();
        for _ in 0..2 {
            for part in &mut parts {
                let along: f64 = part.iter().zip(&unit).map(|(a, b)| a * b).sum();
                for (value, direction) in part.iter_mut().zip(&unit) {
                    *value -= along * direction;
                }
            }
        }
        for (row, value) in unit.iter().enumerate() {
            result.set(row, column, Complex::new(*value, 0.0));
        }
    }
    result
}

/// Largest residual of the leading eigenvalues relative to their magnitudes.
fn worst_residual(schur: &Schur, last: &Dense, count: usize) -> f64 {
    let values = schur.values();
    let mut worst = 0.0_f64;
    for (place, value) in values.iter().enumerate().take(count) {
        let vector = schur.eigenvector(place);
        let square: f64 = (0..last.rows)
            .map(|row| {
                vector.iter().enumerate().map(|(j, v)| last.get(row, j) * v).sum::<Complex<f64>>().norm_sqr()
            })
            .sum();
        worst = worst.max(square.sqrt() / value.norm().max(f64::MIN_POSITIVE));
    }
    worst
}

/// Finds the subspace of the eigenvalues of largest magnitude.
///
/// `start` has one or more vectors of the operator's length; the block is filled up with noise. `guards` further
/// vectors are returned beside the wanted ones. Returns `Ok(None)` if the small eigenproblem fails.
pub(super) fn largest<T: Scalar, E>(
    length: usize,
    demand: Demand,
    guards: usize,
    start: Vec<Vec<T>>,
    mut operator: impl FnMut(&mut [Vec<T>]) -> Result<(), E>,
) -> Result<Option<Subspace<T>>, E> {
    let Demand { count, block, .. } = demand;
    let steps = (demand.subspace / block).max(1);
    let subspace = steps * block;
    let mut state = Decomposition {
        length,
        vectors: Vec::with_capacity((subspace + block) * length),
        images: Dense::zeros(subspace + block, subspace),
        size: 0,
        noise: Noise(0x5eed),
    };
    let mut start = start.into_iter();
    for _ in 0..block {
        let vector = start.next().unwrap_or_else(|| state.noise.vector(length));
        let length = norm(&vector);
        state.append(vector, 0, length);
    }
    let mut applications = 0;
    let mut round = 0;
    loop {
        while state.size + block <= subspace {
            state.extend(block, &mut operator)?;
            applications += block;
        }
        let square = state.images.block(0, 0, state.size, state.size);
        let last = state.images.block(state.size, 0, block, state.size);
        let Some(mut schur) = Schur::of(square) else {
            return Ok(None);
        };
        schur.sort_by_key(|value| value.norm());
        let values = schur.values();
        let residual = worst_residual(&schur, &last, count);
        let done = residual <= demand.tolerance || round >= demand.restarts;
        let wanted = if done { count + guards } else { count + (state.size - count) * 3 / 5 };
        let wanted = whole_pairs(&values, wanted.min(state.size), !T::COMPLEX);
        let kept = leading(&schur, wanted, !T::COMPLEX);
        if done {
            let vectors = combine(&state.vectors[..state.size * length], length, &kept);
            return Ok(Some(Subspace { vectors, residual, applications }));
        }
        state.restart(&kept, block);
        round += 1;
    }
}
