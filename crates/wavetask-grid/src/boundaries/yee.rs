//! Where in a cell each field component is.

use super::Grid;

/// A set of points of a grid: a field component of the staggered grid, the cell centres or the cell corners.
///
/// Electric components are at the middle of the cell's edges, magnetic ones at the middle of its faces; both
/// start at the cell's lower corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// The middle of the edge along x.
    Ex,
    /// The middle of the edge along y.
    Ey,
    /// The middle of the edge along z.
    Ez,
    /// The middle of the face normal to x.
    Hx,
    /// The middle of the face normal to y.
    Hy,
    /// The middle of the face normal to z.
    Hz,
    /// The middle of the cell.
    Center,
    /// The corners of all cells, the last ones included: one more than cells along each axis.
    Corner,
}

impl Location {
    /// The six field components in the client's order.
    pub const FIELDS: [Self; 6] = [Self::Ex, Self::Ey, Self::Ez, Self::Hx, Self::Hy, Self::Hz];

    /// The client's name: `Ex`, `centers`, `boundaries`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ex => "Ex",
            Self::Ey => "Ey",
            Self::Ez => "Ez",
            Self::Hx => "Hx",
            Self::Hy => "Hy",
            Self::Hz => "Hz",
            Self::Center => "centers",
            Self::Corner => "boundaries",
        }
    }

    /// Whether the points are in the middle of the cells along x, y and z, not at their lower boundaries.
    pub const fn centered(self) -> [bool; 3] {
        match self {
            Self::Ex => [true, false, false],
            Self::Ey => [false, true, false],
            Self::Ez => [false, false, true],
            Self::Hx => [false, true, true],
            Self::Hy => [true, false, true],
            Self::Hz => [true, true, false],
            Self::Center => [true; 3],
            Self::Corner => [false; 3],
        }
    }

    /// The coordinates of the points along x, y and z on a grid of these boundaries, in micrometres.
    pub fn coordinates(self, boundaries: &[Vec<f64>; 3]) -> [Vec<f64>; 3] {
        if self == Self::Corner {
            return boundaries.clone();
        }
        let centered = self.centered();
        std::array::from_fn(|axis| {
            let lines = &boundaries[axis];
            if centered[axis] { middles(lines) } else { lines[..lines.len().saturating_sub(1)].to_vec() }
        })
    }
}

/// The midpoints between neighbouring boundaries.
pub fn middles(lines: &[f64]) -> Vec<f64> {
    lines.windows(2).map(|pair| (pair[1] + pair[0]) / 2.0).collect()
}

impl Grid {
    /// The coordinates of a set of points along x, y and z, in micrometres: the client's `grid[name]`.
    pub fn coordinates(&self, location: Location) -> [Vec<f64>; 3] {
        location.coordinates(self.boundaries())
    }

    /// The sizes of the cells along each axis, in micrometres: the distances of magnetic components.
    pub fn primal_sizes(&self) -> [Vec<f64>; 3] {
        std::array::from_fn(|axis| self.boundaries()[axis].windows(2).map(|pair| pair[1] - pair[0]).collect())
    }

    /// The distances between the centres of neighbouring cells, in micrometres: those of electric components.
    ///
    /// The first one is between the first cell and the last, as if the axis were periodic.
    pub fn dual_sizes(&self) -> [Vec<f64>; 3] {
        self.primal_sizes().map(|sizes| {
            let before = sizes.last().into_iter().chain(&sizes);
            sizes.iter().zip(before).map(|(size, before)| (size + before) / 2.0).collect()
        })
    }
}
