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
        Self::staggered(boundaries, |axis| match component {
            Component::Mean => true,
            Component::Entry(row, column) => row == column && row == axis,
        })
    }

    /// The locations of the magnetic field along `along`, and the cells around them: at the lower boundaries along it, and
    /// at the centres of cells across.
    ///
    /// # Errors
    /// As [`Self::of_yee`].
    pub fn of_magnetic(boundaries: [&[f64]; 3], along: usize) -> Result<Self, SubpixelError> {
        Self::staggered(boundaries, |axis| axis != along)
    }

    fn staggered(
        boundaries: [&[f64]; 3],
        is_centered: impl Fn(usize) -> bool,
    ) -> Result<Self, SubpixelError> {
        let mut coordinates: [Vec<f64>; 3] = Default::default();
        let mut extents: [Vec<[f64; 2]>; 3] = Default::default();
        for (axis, name) in ['x', 'y', 'z'].into_iter().enumerate() {
            let boundaries = boundaries[axis];
            let ascends = boundaries.len() > 1 && boundaries.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascends || boundaries.iter().any(|boundary| !boundary.is_finite()) {
                return Err(PermittivityError::Coordinates { axis: name }.into());
            }
            let centers: Vec<f64> =
                boundaries.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).collect();
            if is_centered(axis) {
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

    /// The edges along `axis` of a grid with these boundaries: flat across it. Indexed as the electric field along the axis.
    ///
    /// # Errors
    /// As [`Self::of_yee`].
    pub fn of_edges(boundaries: [&[f64]; 3], axis: usize) -> Result<Self, SubpixelError> {
        Self::between(boundaries, |along| along == axis)
    }

    /// The faces normal to `axis` of a grid with these boundaries: flat along it. Indexed as the magnetic field along the
    /// axis.
    ///
    /// # Errors
    /// As [`Self::of_yee`].
    pub fn of_faces(boundaries: [&[f64]; 3], axis: usize) -> Result<Self, SubpixelError> {
        Self::between(boundaries, |along| along != axis)
    }

    /// The corners of the cells of a grid with these boundaries, the lower one of each.
    ///
    /// # Errors
    /// As [`Self::of_yee`].
    pub fn of_corners(boundaries: [&[f64]; 3]) -> Result<Self, SubpixelError> {
        Self::between(boundaries, |_| false)
    }

    /// What reaches from boundary to boundary along some axes and lies on the lower ones along the others.
    fn between(boundaries: [&[f64]; 3], reaches: impl Fn(usize) -> bool) -> Result<Self, SubpixelError> {
        let mut cells = Self::of_yee(boundaries, Component::Mean)?;
        for axis in (0..3).filter(|&axis| !reaches(axis)) {
            let lower = &boundaries[axis][..boundaries[axis].len() - 1];
            cells.coordinates[axis] = lower.to_vec();
            cells.extents[axis] = lower.iter().map(|&line| [line; 2]).collect();
        }
        Ok(cells)
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

    #[test]
    fn edges_and_faces_reach_from_line_to_line() {
        let boundaries = [0.0, 1.0, 3.0];
        let (along, flat) = ([[0.0, 1.0], [1.0, 3.0]], [[0.0; 2], [1.0; 2]]);
        let edges = Cells::of_edges([&boundaries; 3], 1).unwrap();
        assert_eq!(edges.extents, [flat.to_vec(), along.to_vec(), flat.to_vec()]);
        assert_eq!(edges.coordinates, [vec![0.0, 1.0], vec![0.5, 2.0], vec![0.0, 1.0]]);
        let faces = Cells::of_faces([&boundaries; 3], 1).unwrap();
        assert_eq!(faces.extents, [along.to_vec(), flat.to_vec(), along.to_vec()]);
        let corners = Cells::of_corners([&boundaries; 3]).unwrap();
        assert_eq!(corners.extents, [(); 3].map(|()| flat.to_vec()));
    }
}
