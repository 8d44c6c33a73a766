//! Circular edges of slabs, given by their bulge: the tangent of a quarter of the included angle.
//!
//! A positive bulge curves to the right of the edge's direction, outwards for counter-clockwise polygons.
//! Containment follows the client, which replaces an arc by chords of about one degree.

use std::f64::consts::{PI, TAU};

use super::vector::{Point2, along, norm, subtract};

/// Bulges up to this are straight edges.
pub(super) const STRAIGHT: f64 = 1e-8;

/// One chord per degree, at least five points between the ends.
const CHORD_ANGLE: f64 = PI / 180.0;
const LEAST_POINTS: f64 = 5.0;

#[derive(Clone, Copy, Debug)]
pub(super) struct Arc {
    center: Point2,
    pub(super) radius: f64,
    /// The angle of the start, and the signed angle swept from it.
    start: f64,
    sweep: f64,
}

impl Arc {
    pub(super) fn new(a: Point2, b: Point2, bulge: f64) -> Self {
        let chord = subtract(b, a);
        let length = norm(chord);
        let half = length / 2.0;
        let sagitta = half * bulge.abs();
        let radius = (half * half + sagitta * sagitta) / (2.0 * sagitta);
        let normal = [-chord[1] / length, chord[0] / length];
        let middle = [f64::midpoint(a[0], b[0]), f64::midpoint(a[1], b[1])];
        let center = along(middle, bulge.signum() * (radius - sagitta), normal);
        let start = (a[1] - center[1]).atan2(a[0] - center[0]);
        Self { center, radius, start, sweep: 4.0 * bulge.atan() }
    }

    fn at(&self, angle: f64) -> Point2 {
        [self.center[0] + self.radius * angle.cos(), self.center[1] + self.radius * angle.sin()]
    }

    /// The corners of the chords between the two ends, both left out.
    pub(super) fn points(&self) -> impl Iterator<Item = Point2> + '_ {
        let count = (self.sweep.abs() / CHORD_ANGLE).ceil().max(LEAST_POINTS);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 5 and 360")]
        (1..=count as u32).map(move |step| self.at(self.start + self.sweep * f64::from(step) / (count + 1.0)))
    }

    /// The rightmost, topmost, leftmost and bottommost points that the arc passes.
    pub(super) fn extremes(&self) -> impl Iterator<Item = Point2> + '_ {
        (0..4).map(|quarter| f64::from(quarter) * PI / 2.0).filter_map(|angle| {
            let turned = (angle - self.start) * self.sweep.signum();
            (turned.rem_euclid(TAU) <= self.sweep.abs()).then(|| self.at(angle))
        })
    }

    /// The signed area between the arc and its chord.
    pub(super) fn segment_area(&self) -> f64 {
        self.radius * self.radius / 2.0 * (self.sweep - self.sweep.sin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_circle() {
        let arc = Arc::new([1.0, 0.0], [-1.0, 0.0], 1.0);
        assert!((arc.radius - 1.0).abs() < 1e-12);
        assert!((arc.segment_area() - PI / 2.0).abs() < 1e-12);
        assert!(arc.points().all(|point| (norm(point) - 1.0).abs() < 1e-12 && point[1] > 0.0));
        assert_eq!(arc.points().count(), 180);
        assert!(arc.extremes().any(|point| (point[1] - 1.0).abs() < 1e-12));
        assert!(arc.extremes().all(|point| point[1] > -1e-9));
    }

    #[test]
    fn a_negative_bulge_curves_to_the_other_side() {
        let arc = Arc::new([1.0, 0.0], [-1.0, 0.0], -0.5);
        assert!(arc.points().all(|point| point[1] < 0.0));
        assert!(arc.segment_area() < 0.0);
    }
}
