//! Boxes with faces normal to the axes.

use super::Bounds;
use super::feature::Features;
use super::read::{number, numbers};
use crate::reading::{Fields, Part, SceneError, join};

/// A box: closed, possibly flat or infinite along some axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cuboid {
    center: [f64; 3],
    half: [f64; 3],
    bounds: Bounds,
}

impl Cuboid {
    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self, SceneError> {
        let center = fields.center()?;
        let path = fields.path_of("size");
        let size: [f64; 3] = numbers(fields.required("size")?, &path, number)?;
        if let Some(axis) = size.iter().position(|&extent| extent < 0.0) {
            return Err(Part::Geometry.invalid(join(&path, axis), "a size cannot be negative"));
        }
        Ok(Self::new(center, size))
    }

    pub(super) fn new(center: [f64; 3], size: [f64; 3]) -> Self {
        let half = size.map(|extent| extent / 2.0);
        let bounds = std::array::from_fn(|axis| [center[axis] - half[axis], center[axis] + half[axis]]);
        Self { center, half, bounds }
    }

    pub(super) fn from_bounds(bounds: Bounds) -> Self {
        let bounds = bounds.map(|[one, other]| [one.min(other), one.max(other)]);
        let half = bounds.map(|[low, high]| (high - low) / 2.0);
        let center =
            bounds.map(|[low, high]| if (high - low).is_finite() { low.midpoint(high) } else { f64::NAN });
        Self { center, half, bounds }
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The comparison of the client, `|x - center| <= size / 2`, so that points on a face agree with it.
    /// A box that reaches to infinity on one side only has no centre: its bounds decide.
    pub(super) fn contains(&self, point: [f64; 3]) -> bool {
        (0..3).all(|axis| {
            let offset = (point[axis] - self.center[axis]).abs();
            if offset.is_nan() {
                let [low, high] = self.bounds[axis];
                low <= point[axis] && point[axis] <= high
            } else {
                offset <= self.half[axis]
            }
        })
    }

    /// Exact: inside, the nearest face; outside, the nearest point of the box.
    pub(super) fn distance(&self, point: [f64; 3]) -> f64 {
        let mut outside = 0.0;
        let mut inside = f64::INFINITY;
        for ([low, high], coordinate) in self.bounds.into_iter().zip(point) {
            let beyond = (low - coordinate).max(coordinate - high);
            if beyond > 0.0 {
                outside += beyond * beyond;
            }
            inside = f64::min(inside, -beyond);
        }
        if outside > 0.0 { outside.sqrt() } else { inside.max(0.0) }
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        for axis in 0..3 {
            for position in self.bounds[axis] {
                features.plane(axis, position);
            }
        }
    }

    pub(super) fn collect_sizes(&self, features: &mut Features) {
        for [low, high] in self.bounds {
            features.side(high - low, self.bounds);
        }
    }
}
