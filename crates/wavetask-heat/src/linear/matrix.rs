//! Symmetric sparse matrices in compressed rows.

use rayon::prelude::*;

use super::LinearError;
use super::vector;

/// A square symmetric sparse matrix, stored in full (both triangles) by compressed rows.
///
/// Storing both triangles costs memory, but makes the product with a vector a parallel sum per row without
/// conflicts, which the solve spends most of its time in. Each row's columns ascend and contain the diagonal.
/// Columns are 32-bit: four thousand million unknowns are beyond one machine anyway, and the traffic of a
/// product falls from 16 to 12 bytes an entry.
///
/// Symmetry is the caller's promise (the [`Assembler`](super::Assembler) keeps it when each element matrix is
/// symmetric); [`asymmetry`](Self::asymmetry) measures it.
#[derive(Debug, Clone, PartialEq)]
pub struct CsrMatrix {
    pub(super) row_starts: Vec<usize>,
    pub(super) columns: Vec<u32>,
    pub(super) values: Vec<f64>,
}

impl CsrMatrix {
    /// A matrix from its arrays: row `i` has the columns `columns[row_starts[i]..row_starts[i + 1]]`.
    ///
    /// # Errors
    /// [`LinearError::SizeMismatch`], [`LinearError::UnknownOutOfRange`] or [`LinearError::Structure`] when
    /// the arrays do not fit together, when columns do not ascend strictly, or when a diagonal is missing.
    pub fn from_parts(
        row_starts: Vec<usize>,
        columns: Vec<u32>,
        values: Vec<f64>,
    ) -> Result<Self, LinearError> {
        let Some(unknowns) = row_starts.len().checked_sub(1) else {
            return Err(LinearError::SizeMismatch { what: "row starts", expected: 1, found: 0 });
        };
        let entries = columns.len();
        if row_starts[0] != 0 || row_starts[unknowns] != entries {
            let found = row_starts[unknowns];
            return Err(LinearError::SizeMismatch { what: "last row start", expected: entries, found });
        }
        if values.len() != entries {
            return Err(LinearError::SizeMismatch { what: "values", expected: entries, found: values.len() });
        }
        if u32::try_from(unknowns).is_err() {
            return Err(LinearError::Structure { reason: "more than 2^32 unknowns".into() });
        }
        for row in 0..unknowns {
            let (start, end) = (row_starts[row], row_starts[row + 1]);
            if start > end || end > entries {
                return Err(LinearError::Structure {
                    reason: format!("row {row} ends before it starts").into(),
                });
            }
            let row_columns = &columns[start..end];
            if let Some(&last) = row_columns.last()
                && last as usize >= unknowns
            {
                let unknown = last as usize;
                return Err(LinearError::UnknownOutOfRange { what: "row", index: row, unknown, unknowns });
            }
            if !row_columns.is_sorted_by(|a, b| a < b) {
                let reason = format!("the columns of row {row} do not ascend").into();
                return Err(LinearError::Structure { reason });
            }
            if row_columns.binary_search(&(row as u32)).is_err() {
                return Err(LinearError::Structure { reason: format!("row {row} has no diagonal").into() });
            }
        }
        Ok(Self { row_starts, columns, values })
    }

    /// A matrix from `(row, column, value)` triplets; duplicates are added, diagonals that are absent become
    /// zeros. Sequential: meant for small couplings and tests; use an [`Assembler`](super::Assembler) for
    /// meshes.
    ///
    /// # Errors
    /// [`LinearError::UnknownOutOfRange`] when a row or column is not below `unknowns`.
    pub fn from_triplets(unknowns: usize, triplets: &[(usize, usize, f64)]) -> Result<Self, LinearError> {
        if let Some((index, entry)) =
            triplets.iter().enumerate().find(|(_, entry)| entry.0.max(entry.1) >= unknowns)
        {
            let unknown = entry.0.max(entry.1);
            return Err(LinearError::UnknownOutOfRange { what: "element", index, unknown, unknowns });
        }
        let diagonal = (0..unknowns).map(|row| (row, row, 0.0));
        let mut sorted: Vec<_> = triplets.iter().copied().chain(diagonal).collect();
        sorted.sort_by_key(|entry| (entry.0, entry.1));
        let mut row_starts = vec![0; unknowns + 1];
        let (mut columns, mut values) = (Vec::new(), Vec::<f64>::new());
        let mut previous = None;
        for (row, column, value) in sorted {
            if previous == Some((row, column))
                && let Some(last) = values.last_mut()
            {
                *last += value;
            } else {
                columns.push(column as u32);
                values.push(value);
                row_starts[row + 1] = values.len();
                previous = Some((row, column));
            }
        }
        Self::from_parts(row_starts, columns, values)
    }

    /// The number of rows and columns.
    pub fn unknowns(&self) -> usize {
        self.row_starts.len() - 1
    }

    /// The number of stored entries, both triangles and the diagonal.
    pub fn entries(&self) -> usize {
        self.columns.len()
    }

    /// The columns and values of one row, columns ascending.
    ///
    /// # Panics
    /// When `row` is not below [`unknowns`](Self::unknowns).
    pub fn row(&self, row: usize) -> (&[u32], &[f64]) {
        let range = self.row_starts[row]..self.row_starts[row + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// The diagonal.
    pub fn diagonal(&self) -> Vec<f64> {
        (0..self.unknowns())
            .into_par_iter()
            .map(|row| {
                let (columns, values) = self.row(row);
                columns.binary_search(&(row as u32)).map_or(0.0, |place| values[place])
            })
            .collect()
    }

    /// The bytes that the arrays of this matrix hold.
    pub fn bytes(&self) -> usize {
        self.row_starts.capacity() * size_of::<usize>()
            + self.columns.capacity() * size_of::<u32>()
            + self.values.capacity() * size_of::<f64>()
    }

    #[inline]
    fn row_product(&self, row: usize, x: &[f64]) -> f64 {
        let (columns, values) = self.row(row);
        columns.iter().zip(values).map(|(&column, value)| value * x[column as usize]).sum()
    }

    /// `product = A x`.
    ///
    /// # Panics
    /// When a length differs from [`unknowns`](Self::unknowns).
    pub fn multiply(&self, x: &[f64], product: &mut [f64]) {
        assert_eq!((x.len(), product.len()), (self.unknowns(), self.unknowns()), "lengths of vectors");
        vector::for_each_chunk(product, |first, part| {
            for (offset, value) in part.iter_mut().enumerate() {
                *value = self.row_product(first + offset, x);
            }
        });
    }

    /// `residual = b - A x`.
    ///
    /// # Panics
    /// When a length differs from [`unknowns`](Self::unknowns).
    pub fn residual(&self, b: &[f64], x: &[f64], residual: &mut [f64]) {
        assert_eq!((x.len(), b.len()), (self.unknowns(), self.unknowns()), "lengths of vectors");
        assert_eq!(residual.len(), self.unknowns(), "length of the residual");
        vector::for_each_chunk(residual, |first, part| {
            for (offset, value) in part.iter_mut().enumerate() {
                *value = b[first + offset] - self.row_product(first + offset, x);
            }
        });
    }

    /// The Euclidean norm of `|A| |x| + |b|`: times the machine epsilon, the residual that rounding alone
    /// leaves behind.
    pub(super) fn magnitude(&self, x: &[f64], b: &[f64]) -> f64 {
        let [sum] = vector::sum_chunks(self.unknowns(), |chunk| {
            let rows = chunk * vector::CHUNK..self.unknowns().min((chunk + 1) * vector::CHUNK);
            let squares = rows.map(|row| {
                let (columns, values) = self.row(row);
                let products = columns.iter().zip(values).map(|(&column, value)| value * x[column as usize]);
                let size: f64 = b[row].abs() + products.map(f64::abs).sum::<f64>();
                size * size
            });
            [squares.sum()]
        });
        sum.sqrt()
    }

    /// The largest `|a_ij - a_ji| / sqrt(a_ii a_jj)`: 0 for an exactly symmetric matrix, infinite when an
    /// entry has no mirror image.
    pub fn asymmetry(&self) -> f64 {
        let diagonal = self.diagonal();
        (0..self.unknowns())
            .into_par_iter()
            .map(|row| {
                let (columns, values) = self.row(row);
                let mut worst = 0.0_f64;
                for (&column, &value) in columns.iter().zip(values) {
                    let (mirror_columns, mirror_values) = self.row(column as usize);
                    let difference = match mirror_columns.binary_search(&(row as u32)) {
                        Ok(place) => (value - mirror_values[place]).abs(),
                        Err(_) => f64::INFINITY,
                    };
                    if difference > 0.0 {
                        let scale = (diagonal[row] * diagonal[column as usize]).abs().sqrt();
                        worst = worst.max(difference / scale);
                    }
                }
                worst
            })
            .reduce(|| 0.0, f64::max)
    }

    /// Fixes unknowns to given values (Dirichlet conditions) and keeps the matrix symmetric.
    ///
    /// `fixed[i]` is the value of unknown `i`, or `None` where it is free. Rows and columns of fixed unknowns
    /// are taken out: what they contribute to free rows moves to `right_hand_side`, and the row itself
    /// becomes `a_ii x_i = a_ii value`, so that the scale of the matrix does not change. Removed entries are
    /// no longer stored.
    ///
    /// # Errors
    /// [`LinearError::SizeMismatch`] for wrong lengths, [`LinearError::NotFinite`] for a value that is not
    /// finite; the matrix is unchanged then.
    pub fn fix_unknowns(
        &mut self,
        fixed: &[Option<f64>],
        right_hand_side: &mut [f64],
    ) -> Result<(), LinearError> {
        let unknowns = self.unknowns();
        for (what, found) in [("fixed values", fixed.len()), ("right-hand side", right_hand_side.len())] {
            if found != unknowns {
                return Err(LinearError::SizeMismatch { what, expected: unknowns, found });
            }
        }
        if let Some(index) = fixed.iter().position(|value| value.is_some_and(|value| !value.is_finite())) {
            return Err(LinearError::NotFinite { what: "a fixed value", index });
        }
        let mut kept = 0;
        let mut start = 0;
        for row in 0..unknowns {
            let end = self.row_starts[row + 1];
            for place in start..end {
                let column = self.columns[place] as usize;
                let value = self.values[place];
                if column == row {
                    if let Some(level) = fixed[row] {
                        right_hand_side[row] = value * level;
                    }
                } else if fixed[row].is_some() {
                    continue;
                } else if let Some(level) = fixed[column] {
                    right_hand_side[row] -= value * level;
                    continue;
                }
                self.columns[kept] = self.columns[place];
                self.values[kept] = value;
                kept += 1;
            }
            start = end;
            self.row_starts[row + 1] = kept;
        }
        self.columns.truncate(kept);
        self.values.truncate(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> CsrMatrix {
        let mut triplets = Vec::new();
        for i in 0..3 {
            triplets.extend([(i, i, 1.0), (i + 1, i + 1, 1.0), (i, i + 1, -1.0), (i + 1, i, -1.0)]);
        }
        CsrMatrix::from_triplets(4, &triplets).unwrap()
    }

    #[test]
    fn triplets_are_added_and_sorted() {
        let matrix = chain();
        assert_eq!(matrix.row(1), (&[0, 1, 2][..], &[-1.0, 2.0, -1.0][..]));
        assert_eq!(matrix.diagonal(), [1.0, 2.0, 2.0, 1.0]);
        assert_eq!(matrix.asymmetry(), 0.0);
        let mut product = [0.0; 4];
        matrix.multiply(&[1.0, 2.0, 4.0, 8.0], &mut product);
        assert_eq!(product, [-1.0, -1.0, -2.0, 4.0]);
        let mut residual = [0.0; 4];
        matrix.residual(&[1.0; 4], &[1.0, 2.0, 4.0, 8.0], &mut residual);
        assert_eq!(residual, [2.0, 2.0, 3.0, -3.0]);
    }

    #[test]
    fn fixing_unknowns_keeps_symmetry_and_moves_their_share() {
        let mut matrix = chain();
        let mut rhs = [0.0; 4];
        matrix.fix_unknowns(&[Some(3.0), None, None, Some(6.0)], &mut rhs).unwrap();
        assert_eq!(rhs, [3.0, 3.0, 6.0, 6.0]);
        assert_eq!(matrix.entries(), 6);
        assert_eq!(matrix.row(0), (&[0][..], &[1.0][..]));
        assert_eq!(matrix.row(1), (&[1, 2][..], &[2.0, -1.0][..]));
        // Solved by the straight line 3, 4, 5, 6.
        let mut residual = [0.0; 4];
        matrix.residual(&rhs, &[3.0, 4.0, 5.0, 6.0], &mut residual);
        assert_eq!(residual, [0.0; 4]);
    }

    #[test]
    fn broken_structures_are_refused() {
        let parts = |starts: &[usize], columns: &[u32]| {
            CsrMatrix::from_parts(starts.to_vec(), columns.to_vec(), vec![1.0; columns.len()])
                .unwrap_err()
                .code()
        };
        assert_eq!(parts(&[], &[]), "linear.size_mismatch");
        assert_eq!(parts(&[0, 1, 3], &[0, 1]), "linear.size_mismatch");
        assert_eq!(parts(&[0, 1, 2], &[0, 2]), "linear.unknown_out_of_range");
        assert_eq!(parts(&[0, 2, 3], &[1, 0, 1]), "linear.structure");
        assert_eq!(parts(&[0, 1, 2], &[1, 1]), "linear.structure");
        assert_eq!(parts(&[0, 5, 2], &[0, 1]), "linear.structure");
        let mut matrix = chain();
        let not_finite = matrix.fix_unknowns(&[Some(f64::NAN), None, None, None], &mut [0.0; 4]).unwrap_err();
        assert_eq!(not_finite.code(), "linear.not_finite");
        assert_eq!(matrix, chain());
    }

    #[test]
    fn asymmetry_is_measured() {
        let matrix =
            CsrMatrix::from_triplets(2, &[(0, 0, 1.0), (1, 1, 4.0), (0, 1, 0.5), (1, 0, 0.25)]).unwrap();
        assert_eq!(matrix.asymmetry(), 0.125);
        let one_sided = CsrMatrix::from_triplets(2, &[(0, 0, 1.0), (1, 1, 4.0), (0, 1, 0.5)]).unwrap();
        assert_eq!(one_sided.asymmetry(), f64::INFINITY);
    }
}
