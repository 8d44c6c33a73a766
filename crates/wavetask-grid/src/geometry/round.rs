//! Spheres, cylinders and cones.

use super::Bounds;
use super::feature::Features;
use crate::reading::{Fields, Part, SceneError};

/// The length that the client computes with where a shape is infinitely long.
pub(super) const LARGE_LENGTH: f64 = 1e10;

/// A ball.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sphere {
    center: [f64; 3],
    radius: f64,
}

impl Sphere {
    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self, SceneError> {
        Ok(Self { center: fields.center()?, radius: fields.finite_size("radius")? })
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.center.map(|center| [center - self.radius, center + self.radius])
    }

    pub(super) fn contains(&self, point: [f64; 3]) -> bool {
        self.square_from_center(point) <= self.radius * self.radius
    }

    pub(super) fn distance(&self, point: [f64; 3]) -> f64 {
        (self.square_from_center(point).sqrt() - self.radius).abs()
    }

    pub(super) fn collect_sizes(&self, features: &mut Features) {
        features.circumference(self.radius, self.bounds());
    }

    fn square_from_center(&self, point: [f64; 3]) -> f64 {
        self.center.iter().zip(point).map(|(center, coordinate)| (coordinate - center).powi(2)).sum()
    }
}

/// Where the cross-section of an extruded shape is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReferencePlane {
    Bottom,
    Middle,
    Top,
}

impl ReferencePlane {
    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self, SceneError> {
        if fields.optional("reference_plane").is_none() {
            return Ok(Self::Middle);
        }
        match fields.text("reference_plane")? {
            "bottom" => Ok(Self::Bottom),
            "middle" => Ok(Self::Middle),
            "top" => Ok(Self::Top),
            _ => Err(Part::Geometry.invalid(
                fields.path_of("reference_plane"),
                "a reference plane is `bottom`, `middle` or `top`",
            )),
        }
    }
}

/// The tangent of the `sidewall_angle`; positive where the cross-section shrinks along the axis.
pub(super) fn sidewall_tangent(fields: &Fields<'_>) -> Result<f64, SceneError> {
    let angle = fields.finite_or("sidewall_angle", 0.0)?;
    if angle.abs() >= std::f64::consts::FRAC_PI_2 {
        let path = fields.path_of("sidewall_angle");
        return Err(Part::Geometry.invalid(path, "a sidewall angle is between -pi/2 and pi/2"));
    }
    Ok(angle.tan())
}

/// The two axes normal to `axis`, ascending.
pub(super) const fn transverse(axis: usize) -> [usize; 2] {
    match axis {
        0 => [1, 2],
        1 => [0, 2],
        _ => [0, 1],
    }
}

/// A cylinder, a cone or a frustum: the radius falls linearly along the axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cylinder {
    center: [f64; 3],
    axis: usize,
    /// Half of the length, cut to half of [`LARGE_LENGTH`].
    half: f64,
    length: f64,
    /// The radius as given, at the reference plane.
    radius: f64,
    /// The radius half way up.
    radius_middle: f64,
    tangent: f64,
}

impl Cylinder {
    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self, SceneError> {
        let radius = fields.finite_size("radius")?;
        let length = fields.size("length")?;
        let tangent = sidewall_tangent(fields)?;
        let reference = ReferencePlane::from_fields(fields)?;
        if tangent != 0.0 && length.is_infinite() && reference != ReferencePlane::Middle {
            return Err(Part::Geometry.invalid(
                fields.path_of("reference_plane"),
                "a slanted cylinder of infinite length needs the reference plane `middle`",
            ));
        }
        let half = length.min(LARGE_LENGTH) / 2.0;
        let radius_middle = match reference {
            ReferencePlane::Bottom => radius - half * tangent,
            ReferencePlane::Middle => radius,
            ReferencePlane::Top => radius + half * tangent,
        };
        Ok(Self {
            center: fields.center()?,
            axis: fields.axis()?,
            half,
            length,
            radius,
            radius_middle,
            tangent,
        })
    }

    /// The radius at a height above the centre; negative beyond the tip of a cone.
    fn radius_at(&self, height: f64) -> f64 {
        if self.tangent == 0.0 { self.radius } else { self.radius_middle - height * self.tangent }
    }

    pub(super) fn bounds(&self) -> Bounds {
        let widest = self.radius_at(self.half).max(self.radius_at(-self.half));
        let mut bounds = self.center.map(|center| [center - widest, center + widest]);
        let center = self.center[self.axis];
        bounds[self.axis] = [center - self.length / 2.0, center + self.length / 2.0];
        bounds
    }

    pub(super) fn contains(&self, point: [f64; 3]) -> bool {
        let [first, second] = transverse(self.axis);
        let height = point[self.axis] - self.center[self.axis];
        let radius = self.radius_at(height);
        let square =
            (point[first] - self.center[first]).powi(2) + (point[second] - self.center[second]).powi(2);
        radius > 0.0 && square <= radius * radius && height.abs() <= self.half
    }

    /// The heights above the centre between which there is something: a cone ends at its tip.
    fn heights(&self) -> [f64; 2] {
        let tip = || (self.radius_middle / self.tangent).clamp(-self.half, self.half);
        [
            if self.radius_at(-self.half) < 0.0 { tip() } else { -self.half },
            if self.radius_at(self.half) < 0.0 { tip() } else { self.half },
        ]
    }

    /// Exact: the nearest of the wall and the two ends, in the half plane of height and radius.
    pub(super) fn distance(&self, point: [f64; 3]) -> f64 {
        let [first, second] = transverse(self.axis);
        let height = point[self.axis] - self.center[self.axis];
        let radius = (point[first] - self.center[first]).hypot(point[second] - self.center[second]);
        let heights = self.heights();

        // The foot on the wall's line, kept to the wall.
        let excess = radius - self.radius_at(height);
        let cosine = 1.0 / self.tangent.hypot(1.0);
        let foot = height - excess * self.tangent * cosine * cosine;
        let mut nearest = if heights[0] <= foot && foot <= heights[1] {
            excess.abs() * cosine
        } else {
            let end = foot.clamp(heights[0], heights[1]);
            (radius - self.radius_at(end).max(0.0)).hypot(height - end)
        };
        if self.length < LARGE_LENGTH {
            for end in heights {
                let beyond = (radius - self.radius_at(end).max(0.0)).max(0.0);
                nearest = nearest.min(beyond.hypot(height - end));
            }
        }
        nearest
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        for height in self.heights() {
            // The tip of a cone is no face.
            if self.radius_at(height) > 0.0 && height.abs() == self.half {
                features.plane(self.axis, self.center[self.axis] + height);
            }
        }
    }

    pub(super) fn collect_sizes(&self, features: &mut Features) {
        features.circumference(self.radius, self.bounds());
        features.side(self.length, self.bounds());
    }
}
