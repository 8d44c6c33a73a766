//! The cells over which the components of the field are averaged.

use super::error::SubpixelError;
use crate::permittivity::{Component, PermittivityError};

/// Locations on a tensor product of coordinates, and the cell around each.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    /// The coordinates of the locations along each axis, ascending (µm).
    pub coordinates: [Vec<f64>; 3],
    /// For each coordinate the extent of its cell, `[low, high]`; equal ends make the cell flat.
    pub extents: [Vec<[f64; 2]>; 3],
}

impl Cells {
    /// The locations of a component on a Yee grid with these boundaries, and the cells around them.
    ///
    /// As in the client's grids, a component of the electric field along an axis is at the centres of
    /// cells along it and at the lower boundaries across it; entries of the tensor beside the diagonal are
    /// at the lower corners of cells; means are at centres. The cell of a location reaches half-way to its
    /// neighbours; at the first boundary it is continued by its mirror image.
    ///
    /// # Errors
    /// Boundaries that do not ascend, or fewer than two of them along an axis.
    pub fn of_yee(boundaries: [&[f64]; 3], component: Component) -> Result<Self, SubpixelError> {
        let mut coordinates: [Vec<f64>; 3] = Default::default();
        let mut extents: [Vec<[f64; 2]>; 3] = Default::default();
        for (axis, name) in ['x', 'y', 'z'].into_iter().enumerate() {
            let boundaries = boundaries[axis];
            let ascends = boundaries.len() > 1 && boundaries.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascends || boundaries.iter().any(|boundary| !boundary.is_finite()) {
                return Err(PermittivityError::Coordinates { axis: name }.into());
            }
            let is_centered = match component {
                Component::Mean => true,
                Component::Entry(row, column) => row == column && row == axis,
            };
            let centers: Vec<f64> =
                boundaries.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).collect();
            if is_centered {
                extents[axis] = boundaries.windows(2).map(|pair| [pair[0], pair[1]]).collect();
                coordinates[axis] = centers;
            } else {
                let first = 2.0 * boundaries[0] - centers[0];
                let lower = std::iter::once(first).chain(centers.iter().copied());
                extents[axis] = lower.zip(centers.iter()).map(|(low, &high)| [low, high]).collect();
                coordinates[axis] = boundaries[..boundaries.len() - 1].to_vec();
            }
        }
        Ok(Self { coordinates, extents })
    }

    /// The locations on one plane: along `axis` a single coordinate, with cells that are flat.
    ///
    /// For problems of a cross-section, whose structures are taken as they are on the plane.
    #[must_use]
    pub fn on_plane(mut self, axis: usize, position: f64) -> Self {
        self.coordinates[axis] = vec![position];
        self.extents[axis] = vec![[position; 2]];
        self
    }

    /// Refuses what is not ascending, not finite or does not fit together.
    pub(super) fn check(&self) -> Result<(), SubpixelError> {
        for (axis, name) in ['x', 'y', 'z'].into_iter().enumerate() {
            let extents = &self.extents[axis];
            let fits = extents.len() == self.coordinates[axis].len()
                && extents.iter().all(|[low, high]| low.is_finite() && high.is_finite() && low <= high)
                && extents.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]);
            if !fits {
                return Err(PermittivityError::Coordinates { axis: name }.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_reach_half_way() {
        let boundaries = [0.0, 1.0, 3.0];
        let cells = Cells::of_yee([&boundaries; 3], Component::diagonal(0)).unwrap();
        assert_eq!(cells.coordinates[0], [0.5, 2.0]);
        assert_eq!(cells.extents[0], [[0.0, 1.0], [1.0, 3.0]]);
        assert_eq!(cells.coordinates[1], [0.0, 1.0]);
        assert_eq!(cells.extents[1], [[-0.5, 0.5], [0.5, 2.0]]);
        let plane = cells.on_plane(2, 7.0);
        assert_eq!(
            (plane.coordinates[2].as_slice(), plane.extents[2].as_slice()),
            ([7.0].as_slice(), [[7.0; 2]].as_slice())
        );
        assert!(Cells::of_yee([&[0.0], &boundaries, &boundaries], Component::Mean).is_err());
    }
}
