//! Which number of the permittivity tensor is asked for.

use num_complex::Complex64;

use crate::media::Spectral;

/// An entry of the permittivity tensor, or its mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// The mean of the diagonal, which the client gives at cell centres and corners.
    Mean,
    /// The entry in a row and a column, both 0, 1 or 2 for x, y, z.
    Entry(usize, usize),
}

impl Component {
    /// The entry on the diagonal for an axis (0, 1 or 2).
    pub const fn diagonal(axis: usize) -> Self {
        Self::Entry(axis, axis)
    }

    /// The component of a medium at a point (µm).
    pub fn of(self, medium: &Spectral<'_>, point: [f64; 3]) -> Complex64 {
        match self {
            Self::Mean => medium.diagonal(point).into_iter().sum::<Complex64>() / 3.0,
            Self::Entry(row, column) => medium.entry(row, column, point),
        }
    }
}
