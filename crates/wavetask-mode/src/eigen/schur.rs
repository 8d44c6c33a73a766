//! Small dense matrices: the Schur form and its reordering.
//!
//! `A = U T Uᴴ` with unitary `U` and upper triangular `T`, by Householder reduction to Hessenberg form and the
//! QR iteration with Wilkinson's shift (G. H. Golub and C. F. Van Loan, *Matrix Computations*, 4th ed., 7.4-7.6). The
//! matrices have a few dozen rows, so plain loops in double precision do.

use num_complex::Complex;

type C = Complex<f64>;

/// A dense matrix by columns.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    pub(super) rows: usize,
    pub(super) columns: usize,
    data: Vec<C>,
}

impl Dense {
    pub(super) fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, data: vec![C::default(); rows * columns] }
    }

    fn identity(size: usize) -> Self {
        let mut matrix = Self::zeros(size, size);
        for index in 0..size {
            matrix.set(index, index, C::new(1.0, 0.0));
        }
        matrix
    }

    pub(super) fn get(&self, row: usize, column: usize) -> C {
        self.data[column * self.rows + row]
    }

    pub(super) fn set(&mut self, row: usize, column: usize, value: C) {
        self.data[column * self.rows + row] = value;
    }

    pub(super) fn column(&self, column: usize) -> &[C] {
        &self.data[column * self.rows..(column + 1) * self.rows]
    }

    /// A copy of the block of the given size whose first element is `(row, column)`.
    pub(super) fn block(&self, row: usize, column: usize, rows: usize, columns: usize) -> Self {
        let mut block = Self::zeros(rows, columns);
        for j in 0..columns {
            for i in 0..rows {
                block.set(i, j, self.get(row + i, column + j));
            }
        }
        block
    }

    /// `self other`.
    pub(super) fn times(&self, other: &Self) -> Self {
        let mut product = Self::zeros(self.rows, other.columns);
        for j in 0..other.columns {
            for k in 0..self.columns {
                let factor = other.get(k, j);
                for i in 0..self.rows {
                    let value = product.get(i, j) + self.get(i, k) * factor;
                    product.set(i, j, value);
                }
            }
        }
        product
    }

    /// The conjugate transpose.
    pub(super) fn adjoint(&self) -> Self {
        let mut result = Self::zeros(self.columns, self.rows);
        for j in 0..self.columns {
            for i in 0..self.rows {
                result.set(j, i, self.get(i, j).conj());
            }
        }
        result
    }

    /// Replaces rows `k` and `k + 1` by their combinations with a unitary 2 x 2 matrix, from a column on.
    fn turn_rows(&mut self, k: usize, from: usize, [[a, b], [c, d]]: [[C; 2]; 2]) {
        for column in from..self.columns {
            let (upper, lower) = (self.get(k, column), self.get(k + 1, column));
            self.set(k, column, a * upper + b * lower);
            self.set(k + 1, column, c * upper + d * lower);
        }
    }

    /// Replaces columns `k` and `k + 1` by their combinations, in the rows before `until`.
    fn turn_columns(&mut self, k: usize, until: usize, [[a, b], [c, d]]: [[C; 2]; 2]) {
        for row in 0..until {
            let (left, right) = (self.get(row, k), self.get(row, k + 1));
            self.set(row, k, left * a + right * c);
            self.set(row, k + 1, left * b + right * d);
        }
    }
}

/// A Schur form.
#[derive(Clone, Debug)]
pub(super) struct Schur {
    /// Upper triangular; eigenvalues on the diagonal.
    pub(super) triangle: Dense,
    /// The unitary basis.
    pub(super) basis: Dense,
}

impl Schur {
    /// The Schur form of a square matrix; `None` if the iteration does not end, or something is not finite.
    pub(super) fn of(mut matrix: Dense) -> Option<Self> {
        let size = matrix.rows;
        if matrix.data.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut basis = Dense::identity(size);
        reduce(&mut matrix, &mut basis);
        let mut high = size.saturating_sub(1);
        let mut rounds = 0;
        while high > 0 {
            let mut low = high;
            while low > 0 && !negligible(&matrix, low) {
                low -= 1;
            }
            if low > 0 {
                matrix.set(low, low - 1, C::default());
            }
            if low == high {
                high -= 1;
                rounds = 0;
                continue;
            }
            rounds += 1;
            if rounds > 200 {
                return None;
            }
            let shift = if rounds % 12 == 0 {
                let size = matrix.get(high, high - 1).norm();
                matrix.get(high, high) + C::new(size, 0.75 * size)
            } else {
                wilkinson(&matrix, high)
            };
            step(&mut matrix, &mut basis, low, high, shift);
        }
        for column in 0..size {
            for row in column + 1..size {
                matrix.set(row, column, C::default());
            }
        }
        Some(Self { triangle: matrix, basis })
    }

    /// The eigenvalues in the order of the diagonal.
    pub(super) fn values(&self) -> Vec<C> {
        (0..self.triangle.rows).map(|index| self.triangle.get(index, index)).collect()
    }

    /// Reorders so that eigenvalues with larger keys come first.
    pub(super) fn sort_by_key(&mut self, key: impl Fn(C) -> f64) {
        let size = self.triangle.rows;
        for target in 0..size {
            let mut best = target;
            for index in target + 1..size {
                let (value, champion) = (self.triangle.get(index, index), self.triangle.get(best, best));
                if key(value) > key(champion) * (1.0 + 1e-14) {
                    best = index;
                }
            }
            for index in (target..best).rev() {
                self.swap(index);
            }
        }
    }

    /// Exchanges the eigenvalues at `k` and `k + 1`: turns the basis so that its vector `k` is the eigenvector of the
    /// second one in their plane.
    fn swap(&mut self, k: usize) {
        let (a, b, c) =
            (self.triangle.get(k, k), self.triangle.get(k + 1, k + 1), self.triangle.get(k, k + 1));
        let (x, y) = (c, b - a);
        let length = x.norm().hypot(y.norm());
        if length == 0.0 {
            return;
        }
        let (x, y) = (x / length, y / length);
        self.triangle.turn_columns(k, k + 2, [[x, -y.conj()], [y, x.conj()]]);
        self.triangle.turn_rows(k, k, [[x.conj(), y.conj()], [-y, x]]);
        let size = self.basis.rows;
        self.basis.turn_columns(k, size, [[x, -y.conj()], [y, x.conj()]]);
        self.triangle.set(k + 1, k, C::default());
        self.triangle.set(k, k, b);
        self.triangle.set(k + 1, k + 1, a);
    }

    /// The eigenvector of the eigenvalue at a place of the diagonal, normalised, in the original basis.
    pub(super) fn eigenvector(&self, place: usize) -> Vec<C> {
        let value = self.triangle.get(place, place);
        let scale = self.triangle.data.iter().map(|entry| entry.norm()).fold(f64::MIN_POSITIVE, f64::max);
        let mut inside = vec![C::default(); place + 1];
        inside[place] = C::new(1.0, 0.0);
        for row in (0..place).rev() {
            let sum: C =
                (row + 1..=place).map(|column| self.triangle.get(row, column) * inside[column]).sum();
            let mut divisor = self.triangle.get(row, row) - value;
            if divisor.norm() < f64::EPSILON * scale {
                divisor = C::new(f64::EPSILON * scale, 0.0);
            }
            inside[row] = -sum / divisor;
        }
        let mut vector = vec![C::default(); self.basis.rows];
        for (column, factor) in inside.iter().enumerate() {
            for (sum, entry) in vector.iter_mut().zip(self.basis.column(column)) {
                *sum += entry * factor;
            }
        }
        let length = vector.iter().map(|value| value.norm_sqr()).sum::<f64>().sqrt();
        for value in &mut vector {
            *value /= length;
        }
        vector
    }
}

/// The principal inverse square root of a small matrix given by columns; `None` if it has none.
///
/// For a symmetric matrix it is symmetric. By the Schur form (A. Bjorck and S. Hammarling, Linear Algebra Appl. 52, 127,
/// 1983).
pub fn symmetric_inverse_square_root(matrix: &[C], size: usize) -> Option<Vec<C>> {
    let mut dense = Dense::zeros(size, size);
    dense.data.copy_from_slice(matrix);
    let Schur { triangle, basis } = Schur::of(dense)?;
    let mut root = Dense::zeros(size, size);
    for column in 0..size {
        root.set(column, column, triangle.get(column, column).sqrt());
        for row in (0..column).rev() {
            let inner: C = (row + 1..column).map(|k| root.get(row, k) * root.get(k, column)).sum();
            let divisor = root.get(row, row) + root.get(column, column);
            root.set(row, column, (triangle.get(row, column) - inner) / divisor);
        }
    }
    let mut inverse = Dense::zeros(size, size);
    for column in 0..size {
        inverse.set(column, column, root.get(column, column).inv());
        for row in (0..column).rev() {
            let inner: C = (row + 1..=column).map(|k| root.get(row, k) * inverse.get(k, column)).sum();
            inverse.set(row, column, -inner / root.get(row, row));
        }
    }
    let result = basis.times(&inverse).times(&basis.adjoint());
    result.data.iter().all(|value| value.is_finite()).then_some(result.data)
}

/// Householder reduction to Hessenberg form.
fn reduce(matrix: &mut Dense, basis: &mut Dense) {
    let size = matrix.rows;
    for k in 0..size.saturating_sub(2) {
        let mut vector: Vec<C> = matrix.column(k)[k + 1..].to_vec();
        let length = vector.iter().map(|value| value.norm_sqr()).sum::<f64>().sqrt();
        if length == 0.0 {
            continue;
        }
        let phase = if vector[0].norm() > 0.0 { vector[0] / vector[0].norm() } else { C::new(1.0, 0.0) };
        vector[0] += phase * length;
        let square = vector.iter().map(|value| value.norm_sqr()).sum::<f64>();
        for column in 0..size {
            let part: C =
                vector.iter().enumerate().map(|(i, v)| v.conj() * matrix.get(k + 1 + i, column)).sum();
            for (i, v) in vector.iter().enumerate() {
                let value = matrix.get(k + 1 + i, column) - v * part * (2.0 / square);
                matrix.set(k + 1 + i, column, value);
            }
        }
        for target in [&mut *matrix, &mut *basis] {
            for row in 0..size {
                let part: C = vector.iter().enumerate().map(|(i, v)| target.get(row, k + 1 + i) * v).sum();
                for (i, v) in vector.iter().enumerate() {
                    let value = target.get(row, k + 1 + i) - part * v.conj() * (2.0 / square);
                    target.set(row, k + 1 + i, value);
                }
            }
        }
        for row in k + 2..size {
            matrix.set(row, k, C::default());
        }
    }
}

/// Whether a subdiagonal element is zero to rounding.
fn negligible(matrix: &Dense, row: usize) -> bool {
    let around = matrix.get(row - 1, row - 1).norm() + matrix.get(row, row).norm();
    let own = matrix.get(row, row - 1).norm();
    own <= f64::EPSILON * around || own < f64::MIN_POSITIVE
}

/// The eigenvalue of the trailing 2 x 2 block that is nearer to its last element.
fn wilkinson(matrix: &Dense, high: usize) -> C {
    let (a, b) = (matrix.get(high - 1, high - 1), matrix.get(high - 1, high));
    let (c, d) = (matrix.get(high, high - 1), matrix.get(high, high));
    let half = (a - d) / 2.0;
    let root = (half * half + b * c).sqrt();
    let (first, second) = (d + half + root, d + half - root);
    if (first - d).norm() < (second - d).norm() { first } else { second }
}

/// One QR step with a shift on the active block.
fn step(matrix: &mut Dense, basis: &mut Dense, low: usize, high: usize, shift: C) {
    for index in low..=high {
        let value = matrix.get(index, index) - shift;
        matrix.set(index, index, value);
    }
    let mut turns = Vec::with_capacity(high - low);
    for k in low..high {
        let (x, y) = (matrix.get(k, k), matrix.get(k + 1, k));
        let length = x.norm().hypot(y.norm());
        let (x, y) = if length == 0.0 { (C::new(1.0, 0.0), C::default()) } else { (x / length, y / length) };
        matrix.turn_rows(k, k, [[x.conj(), y.conj()], [-y, x]]);
        turns.push([[x, -y.conj()], [y, x.conj()]]);
    }
    for (k, turn) in (low..high).zip(turns) {
        matrix.turn_columns(k, (k + 2).min(high + 1), turn);
        let size = basis.rows;
        basis.turn_columns(k, size, turn);
    }
    for index in low..=high {
        let value = matrix.get(index, index) + shift;
        matrix.set(index, index, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(size: usize, seed: u64) -> Dense {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        let mut matrix = Dense::zeros(size, size);
        for row in 0..size {
            for column in 0..size {
                let value = C::new(next(), if seed.is_multiple_of(2) { 0.0 } else { next() });
                matrix.set(row, column, value);
            }
        }
        matrix
    }

    fn difference(a: &Dense, b: &Dense) -> f64 {
        a.data.iter().zip(&b.data).map(|(x, y)| (x - y).norm()).fold(0.0, f64::max)
    }

    #[test]
    fn the_form_is_that_of_the_matrix_also_after_sorting() {
        for (size, seed) in [(1, 1), (2, 2), (3, 3), (20, 4), (45, 5)] {
            let matrix = random(size, seed);
            let mut schur = Schur::of(matrix.clone()).expect("converges");
            schur.sort_by_key(|value| value.norm());
            let values = schur.values();
            assert!(values.windows(2).all(|pair| pair[0].norm() >= pair[1].norm() * (1.0 - 1e-12)));
            let product = schur.basis.times(&schur.triangle).times(&schur.basis.adjoint());
            assert!(difference(&product, &matrix) < 1e-12 * size as f64);
            for (place, value) in values.iter().enumerate() {
                let vector = schur.eigenvector(place);
                for row in 0..size {
                    let image: C = (0..size).map(|column| matrix.get(row, column) * vector[column]).sum();
                    assert!((image - value * vector[row]).norm() < 1e-9, "eigenvector {place} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_permutation_matrix_has_the_roots_of_unity() {
        let mut matrix = Dense::zeros(4, 4);
        for row in 0..4 {
            matrix.set(row, (row + 1) % 4, C::new(1.0, 0.0));
        }
        for value in Schur::of(matrix).expect("converges").values() {
            assert!((value.powi(4) - 1.0).norm() < 1e-12);
        }
    }
}
