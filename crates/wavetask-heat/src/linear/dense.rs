//! Dense Cholesky factors, for the coarsest level.

use super::{CsrMatrix, LinearError};

/// `A = L Lᵀ`, with `L` stored by rows.
#[derive(Debug, Clone)]
pub(super) struct DenseCholesky {
    size: usize,
    /// Row `i` of `L`, from column 0 to the diagonal, padded to `size`.
    lower: Vec<f64>,
    /// Row `i` of `Lᵀ`, so that both substitutions run along rows.
    upper: Vec<f64>,
}

impl DenseCholesky {
    /// Factors a matrix.
    ///
    /// # Errors
    /// [`LinearError::NotPositiveDefinite`] with the pivot that is not above rounding.
    pub(super) fn new(matrix: &CsrMatrix) -> Result<Self, LinearError> {
        let size = matrix.unknowns();
        let mut lower = vec![0.0; size * size];
        for row in 0..size {
            let (columns, values) = matrix.row(row);
            for (&column, &value) in columns.iter().zip(values) {
                lower[row * size + column as usize] = value;
            }
        }
        for row in 0..size {
            let (above, rest) = lower.split_at_mut(row * size);
            let current = &mut rest[..size];
            let original = current[row];
            for column in 0..row {
                let other = &above[column * size..column * size + column + 1];
                let sum: f64 = current[..column].iter().zip(other).map(|(a, b)| a * b).sum();
                current[column] = (current[column] - sum) / other[column];
            }
            let pivot = original - current[..row].iter().map(|value| value * value).sum::<f64>();
            if !pivot.is_finite() {
                return Err(LinearError::NotFinite { what: "a coarse pivot", index: row });
            }
            if pivot <= original * f64::EPSILON {
                return Err(LinearError::NotPositiveDefinite { stage: "the coarsest level", energy: pivot });
            }
            current[row] = pivot.sqrt();
            current[row + 1..].fill(0.0);
        }
        let mut upper = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..=row {
                upper[column * size + row] = lower[row * size + column];
            }
        }
        Ok(Self { size, lower, upper })
    }

    /// `x = A⁻¹ b`.
    pub(super) fn solve(&self, b: &[f64], x: &mut [f64]) {
        let size = self.size;
        for row in 0..size {
            let factors = &self.lower[row * size..row * size + row + 1];
            let sum: f64 = factors.iter().zip(&x[..row]).map(|(a, b)| a * b).sum();
            x[row] = (b[row] - sum) / factors[row];
        }
        for row in (0..size).rev() {
            let factors = &self.upper[row * size + row..(row + 1) * size];
            let sum: f64 = factors[1..].iter().zip(&x[row + 1..]).map(|(a, b)| a * b).sum();
            x[row] = (x[row] - sum) / factors[0];
        }
    }

    pub(super) fn bytes(&self) -> usize {
        (self.lower.capacity() + self.upper.capacity()) * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_small_system() {
        let entries =
            [(0, 0, 4.0), (1, 1, 5.0), (2, 2, 6.0), (0, 1, -1.0), (1, 0, -1.0), (1, 2, 2.0), (2, 1, 2.0)];
        let matrix = CsrMatrix::from_triplets(3, &entries).unwrap();
        let mut b = [0.0; 3];
        matrix.multiply(&[1.0, -2.0, 3.0], &mut b);
        let mut x = [0.0; 3];
        DenseCholesky::new(&matrix).unwrap().solve(&b, &mut x);
        for (value, expected) in x.iter().zip([1.0, -2.0, 3.0]) {
            assert!((value - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn an_indefinite_matrix_is_refused() {
        let entries = [(0, 0, 1.0), (1, 1, 1.0), (0, 1, 2.0), (1, 0, 2.0)];
        let matrix = CsrMatrix::from_triplets(2, &entries).unwrap();
        assert_eq!(DenseCholesky::new(&matrix).unwrap_err().code(), "linear.not_positive_definite");
    }
}
