//! The simulation domain, which may be flat along one axis.
//!
//! A flat domain has fewer coordinates than space. Solvers number only the axes along which the domain
//! extends and ask the geometry in full coordinates; [`Domain::lift`] and [`Domain::project`] are the
//! way between the two, so that no solver keeps its own table of axes.

use serde_json::Value;

use super::Bounds;
use super::read::{finite, numbers};
use crate::reading::{Fields, Part, SceneError, join};

/// A finite box in which something is solved; a zero size drops the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Domain {
    center: [f64; 3],
    size: [f64; 3],
    axes: [usize; 3],
    dimension: usize,
}

impl Domain {
    /// A domain of this centre and size in micrometres; both must be finite, sizes not negative.
    ///
    /// `path` names the owner in errors.
    pub fn new(center: [f64; 3], size: [f64; 3], path: &str) -> Result<Self, SceneError> {
        for (name, values) in [("center", center), ("size", size)] {
            if let Some(axis) = values.iter().position(|value| !value.is_finite()) {
                return Err(
                    Part::Geometry.invalid(join(&join(path, name), axis), "a finite number is expected")
                );
            }
        }
        if let Some(axis) = size.iter().position(|&extent| extent < 0.0) {
            return Err(Part::Geometry.invalid(join(&join(path, "size"), axis), "a size cannot be negative"));
        }
        let mut axes = [0; 3];
        let mut dimension = 0;
        for axis in (0..3).filter(|&axis| size[axis] > 0.0) {
            axes[dimension] = axis;
            dimension += 1;
        }
        Ok(Self { center, size, axes, dimension })
    }

    /// Reads the `center` (the origin by default) and `size` of a simulation.
    pub fn from_json(simulation: &Value, path: &str) -> Result<Self, SceneError> {
        let fields = Fields::of(Part::Geometry, simulation, path)?;
        let size = numbers(fields.required("size")?, &fields.path_of("size"), finite)?;
        Self::new(fields.center()?, size, path)
    }

    /// The centre, in micrometres.
    pub fn center(&self) -> [f64; 3] {
        self.center
    }

    /// The extent along each axis, in micrometres.
    pub fn size(&self) -> [f64; 3] {
        self.size
    }

    /// `[low, high]` along each axis; equal along an axis without extent.
    pub fn bounds(&self) -> Bounds {
        std::array::from_fn(|axis| {
            [self.center[axis] - self.size[axis] / 2.0, self.center[axis] + self.size[axis] / 2.0]
        })
    }

    /// The number of axes along which the domain extends, 0 to 3.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The axes along which the domain extends, ascending.
    pub fn axes(&self) -> &[usize] {
        &self.axes[..self.dimension]
    }

    /// The axis without extent of a two-dimensional domain.
    pub fn normal_axis(&self) -> Option<usize> {
        if self.dimension == 2 { (0..3).find(|&axis| self.size[axis] == 0.0) } else { None }
    }

    /// The point in space of coordinates along [`Self::axes`]; the others are those of the centre.
    ///
    /// Missing coordinates stay at the centre, surplus ones are ignored.
    pub fn lift(&self, coordinates: &[f64]) -> [f64; 3] {
        let mut point = self.center;
        for (&axis, &coordinate) in self.axes().iter().zip(coordinates) {
            point[axis] = coordinate;
        }
        point
    }

    /// The coordinates of a point along [`Self::axes`], then zeros.
    pub fn project(&self, point: [f64; 3]) -> [f64; 3] {
        let mut coordinates = [0.0; 3];
        for (coordinate, &axis) in coordinates.iter_mut().zip(self.axes()) {
            *coordinate = point[axis];
        }
        coordinates
    }
}
