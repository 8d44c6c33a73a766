//! A sparse square matrix by rows.

use std::ops::Range;

use super::scalar::Scalar;

/// A sparse square matrix in compressed rows; columns ascend within a row.
#[derive(Clone, Debug)]
pub struct SparseMatrix<T> {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<T>,
}

impl<T: Scalar> SparseMatrix<T> {
    /// An empty matrix to which rows are appended.
    pub fn with_capacity(rows: usize, entries: usize) -> Self {
        let mut starts = Vec::with_capacity(rows + 1);
        starts.push(0);
        Self { starts, columns: Vec::with_capacity(entries), values: Vec::with_capacity(entries) }
    }

    /// Appends a row; its columns must ascend.
    pub fn push_row(&mut self, row: impl IntoIterator<Item = (u32, T)>) {
        for (column, value) in row {
            self.columns.push(column);
            self.values.push(value);
        }
        self.starts.push(self.columns.len());
    }

    /// Rows, and columns.
    pub fn size(&self) -> usize {
        self.starts.len() - 1
    }

    /// Stored entries.
    pub fn entries(&self) -> usize {
        self.columns.len()
    }

    /// Where the entries of a row lie in [`Self::columns`] and [`Self::values`].
    pub fn row(&self, row: usize) -> Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// Columns of all entries, row by row.
    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// Values of all entries, row by row.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Whether another matrix has its entries in the same places.
    pub fn same_pattern<U>(&self, other: &SparseMatrix<U>) -> bool {
        self.starts == other.starts && self.columns == other.columns
    }

    /// `result ← A vector`.
    pub fn multiply(&self, vector: &[T], result: &mut [T]) {
        for (row, sum) in result.iter_mut().enumerate() {
            let mut total = T::default();
            let range = self.row(row);
            for (column, value) in self.columns[range.clone()].iter().zip(&self.values[range]) {
                total += *value * vector[*column as usize];
            }
            *sum = total;
        }
    }

    /// The matrix in another kind of numbers.
    pub fn map<U: Scalar>(&self, convert: impl Fn(T) -> U) -> SparseMatrix<U> {
        SparseMatrix {
            starts: self.starts.clone(),
            columns: self.columns.clone(),
            values: self.values.iter().map(|value| convert(*value)).collect(),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.starts.len() * size_of::<usize>() + self.columns.len() * (size_of::<u32>() + size_of::<T>())
    }
}
