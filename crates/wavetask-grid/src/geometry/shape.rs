//! The shapes behind a geometry, and reading them from JSON.

use serde_json::Value;
use wavetask_document::ArraySource;

use super::cuboid::Cuboid;
use super::error::GeometryError;
use super::feature::Features;
use super::read::Fields;
use super::round::{Cylinder, Sphere};
use super::{Bounds, Geometry, MAXIMUM_DEPTH, MAXIMUM_SHAPES};

/// A shape: the primitive ones and the ways to combine them.
#[derive(Debug)]
pub(super) enum Shape {
    Cuboid(Cuboid),
    Sphere(Sphere),
    Cylinder(Cylinder),
}

impl Shape {
    pub(super) fn bounds(&self) -> Bounds {
        match self {
            Self::Cuboid(cuboid) => cuboid.bounds(),
            Self::Sphere(sphere) => sphere.bounds(),
            Self::Cylinder(cylinder) => cylinder.bounds(),
        }
    }

    pub(super) fn contains(&self, point: [f64; 3]) -> bool {
        match self {
            Self::Cuboid(cuboid) => cuboid.contains(point),
            Self::Sphere(sphere) => sphere.contains(point),
            Self::Cylinder(cylinder) => cylinder.contains(point),
        }
    }

    pub(super) fn distance(&self, point: [f64; 3]) -> f64 {
        match self {
            Self::Cuboid(cuboid) => cuboid.distance(point),
            Self::Sphere(sphere) => sphere.distance(point),
            Self::Cylinder(cylinder) => cylinder.distance(point),
        }
    }

    pub(super) fn as_aligned_box(&self) -> Option<Bounds> {
        match self {
            Self::Cuboid(cuboid) => Some(cuboid.bounds()),
            Self::Sphere(_) | Self::Cylinder(_) => None,
        }
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        match self {
            Self::Cuboid(cuboid) => cuboid.collect_planes(features),
            Self::Sphere(_) => {}
            Self::Cylinder(cylinder) => cylinder.collect_planes(features),
        }
    }

    pub(super) fn collect_sizes(&self, features: &mut Features) {
        match self {
            Self::Cuboid(cuboid) => cuboid.collect_sizes(features),
            Self::Sphere(sphere) => sphere.collect_sizes(features),
            Self::Cylinder(cylinder) => cylinder.collect_sizes(features),
        }
    }
}

/// Reads one geometry and counts what it holds, so that nesting cannot multiply past the limits.
pub(super) struct Reader<'a> {
    #[expect(dead_code, reason = "triangle meshes read arrays")]
    arrays: &'a dyn ArraySource,
    shapes: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(arrays: &'a dyn ArraySource) -> Self {
        Self { arrays, shapes: 0 }
    }

    pub(super) fn geometry(
        &mut self,
        value: &Value,
        path: &str,
        depth: usize,
    ) -> Result<Geometry, GeometryError> {
        if depth > MAXIMUM_DEPTH {
            return Err(GeometryError::LimitExceeded {
                path: path.into(),
                what: "nested geometries",
                limit: MAXIMUM_DEPTH,
            });
        }
        self.shapes += 1;
        if self.shapes > MAXIMUM_SHAPES {
            return Err(GeometryError::LimitExceeded {
                path: path.into(),
                what: "shapes in one geometry",
                limit: MAXIMUM_SHAPES,
            });
        }
        let fields = Fields::of(value, path)?;
        let shape = match fields.text("type")? {
            "Box" => Shape::Cuboid(Cuboid::from_fields(&fields)?),
            "Sphere" => Shape::Sphere(Sphere::from_fields(&fields)?),
            "Cylinder" => Shape::Cylinder(Cylinder::from_fields(&fields)?),
            kind => {
                let kind = kind.chars().take(64).collect();
                return Err(GeometryError::UnsupportedType { path: path.into(), kind });
            }
        };
        Ok(Geometry::of(shape))
    }
}
