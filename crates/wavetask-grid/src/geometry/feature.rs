//! What a mesh has to respect: planar faces and characteristic lengths, collected from nested shapes.

use super::{Bounds, UNBOUNDED};

/// A length that a mesh may have to resolve, and the region that it applies to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureSize {
    /// The length itself.
    pub length: FeatureLength,
    /// The region whose mesh the length limits: the box around the shape or the side in question.
    pub bounds: Bounds,
}

/// The kind of a characteristic length, in micrometres.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FeatureLength {
    /// A circle of `2 pi radius` circumference: `min_edges_per_circumference` divides it.
    Circumference {
        /// The radius; of a cone, the one given at its reference plane.
        radius: f64,
    },
    /// A straight side: `min_edges_per_side` divides it.
    Side {
        /// Its length.
        length: f64,
    },
}

/// Two planes nearer than this, relative to their coordinate, are one.
const SAME_PLANE: f64 = 1e-12;

/// Accumulates features while shapes are walked.
#[derive(Debug, Default)]
pub(super) struct Features {
    planes: [Vec<f64>; 3],
    pub(super) sizes: Vec<FeatureSize>,
}

impl Features {
    pub(super) fn plane(&mut self, axis: usize, position: f64) {
        if position.abs() < UNBOUNDED {
            self.planes[axis].push(position);
        }
    }

    pub(super) fn planes(&self, axis: usize) -> &[f64] {
        &self.planes[axis]
    }

    /// Takes over the planes of an inner shape that lie within the bounds of the outer one.
    pub(super) fn absorb_planes(&mut self, inner: &Self, bounds: &Bounds) {
        for (axis, planes) in inner.planes.iter().enumerate() {
            let [low, high] = bounds[axis];
            let margin = SAME_PLANE * low.abs().min(high.abs()).max(1.0);
            self.planes[axis]
                .extend(planes.iter().filter(|&&plane| low - margin <= plane && plane <= high + margin));
        }
    }

    pub(super) fn side(&mut self, length: f64, bounds: Bounds) {
        if length > 0.0 && length < UNBOUNDED {
            self.sizes.push(FeatureSize { length: FeatureLength::Side { length }, bounds });
        }
    }

    pub(super) fn circumference(&mut self, radius: f64, bounds: Bounds) {
        if radius > 0.0 {
            self.sizes.push(FeatureSize { length: FeatureLength::Circumference { radius }, bounds });
        }
    }

    /// The planes normal to one axis within the bounds, sorted, each once.
    pub(super) fn planes_within(mut self, axis: usize, bounds: &Bounds) -> Vec<f64> {
        let mut all = Self::default();
        all.absorb_planes(&self, bounds);
        self.planes[axis].clear();
        let mut planes = std::mem::take(&mut all.planes[axis]);
        planes.sort_by(f64::total_cmp);
        planes.dedup_by(|next, kept| (*next - *kept).abs() <= SAME_PLANE * kept.abs().max(1.0));
        planes
    }
}
