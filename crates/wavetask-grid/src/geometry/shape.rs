//! The shapes behind a geometry, and reading them from JSON.

use std::sync::Arc;

use serde_json::Value;
use wavetask_document::ArraySource;

use super::combine::{Clip, Group, Operation, Transformed};
use super::cuboid::Cuboid;
use super::feature::Features;
use super::mesh::Mesh;
use super::polyslab::PolySlab;
use super::read::{finite, numbers};
use super::round::{Cylinder, Sphere};
use super::transform::Transform;
use super::{Bounds, Geometry, MAXIMUM_DEPTH, MAXIMUM_SHAPES};
use crate::reading::{Fields, Part, SceneError, join};

/// A shape: the primitive ones and the ways to combine them.
#[derive(Debug)]
pub(super) enum Shape {
    Cuboid(Cuboid),
    Sphere(Sphere),
    Cylinder(Cylinder),
    PolySlab(Box<PolySlab>),
    Mesh(Box<Mesh>),
    Group(Box<Group>),
    Clip(Box<Clip>),
    Transformed(Box<Transformed>),
}

impl Shape {
    pub(super) fn bounds(&self) -> Bounds {
        match self {
            Self::Cuboid(cuboid) => cuboid.bounds(),
            Self::Sphere(sphere) => sphere.bounds(),
            Self::Cylinder(cylinder) => cylinder.bounds(),
            Self::PolySlab(slab) => slab.bounds(),
            Self::Mesh(mesh) => mesh.bounds(),
            Self::Group(group) => group.bounds(),
            Self::Clip(clip) => clip.bounds(),
            Self::Transformed(transformed) => transformed.bounds(),
        }
    }

    pub(super) fn contains(&self, point: [f64; 3]) -> bool {
        match self {
            Self::Cuboid(cuboid) => cuboid.contains(point),
            Self::Sphere(sphere) => sphere.contains(point),
            Self::Cylinder(cylinder) => cylinder.contains(point),
            Self::PolySlab(slab) => slab.contains(point),
            Self::Mesh(mesh) => mesh.contains(point),
            Self::Group(group) => group.contains(point),
            Self::Clip(clip) => clip.contains(point),
            Self::Transformed(transformed) => transformed.contains(point),
        }
    }

    /// The distance to the surface, or any number that is not less than the limit if it is not nearer.
    pub(super) fn distance(&self, point: [f64; 3], limit: f64) -> f64 {
        match self {
            Self::Cuboid(cuboid) => cuboid.distance(point),
            Self::Sphere(sphere) => sphere.distance(point),
            Self::Cylinder(cylinder) => cylinder.distance(point),
            Self::PolySlab(slab) => slab.distance(point, limit),
            Self::Mesh(mesh) => mesh.distance(point, limit),
            Self::Group(group) => group.distance(point, limit),
            Self::Clip(clip) => clip.distance(point, limit),
            Self::Transformed(transformed) => transformed.distance(point, limit),
        }
    }

    pub(super) fn as_aligned_box(&self) -> Option<Bounds> {
        match self {
            Self::Cuboid(cuboid) => Some(cuboid.bounds()),
            Self::PolySlab(slab) => slab.as_aligned_box(),
            Self::Group(group) => group.as_aligned_box(),
            Self::Transformed(transformed) => transformed.as_aligned_box(),
            Self::Sphere(_) | Self::Cylinder(_) | Self::Mesh(_) | Self::Clip(_) => None,
        }
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        match self {
            Self::Cuboid(cuboid) => cuboid.collect_planes(features),
            Self::Sphere(_) => {}
            Self::Cylinder(cylinder) => cylinder.collect_planes(features),
            Self::PolySlab(slab) => slab.collect_planes(features),
            Self::Mesh(mesh) => mesh.collect_planes(features),
            Self::Group(group) => group.collect_planes(features),
            Self::Clip(clip) => clip.collect_planes(features),
            Self::Transformed(transformed) => transformed.collect_planes(features),
        }
    }

    pub(super) fn collect_sizes(&self, features: &mut Features) {
        match self {
            Self::Cuboid(cuboid) => cuboid.collect_sizes(features),
            Self::Sphere(sphere) => sphere.collect_sizes(features),
            Self::Cylinder(cylinder) => cylinder.collect_sizes(features),
            Self::PolySlab(slab) => slab.collect_sizes(features),
            // The edges of triangles are no sides of the object.
            Self::Mesh(_) => {}
            Self::Group(group) => group.collect_sizes(features),
            Self::Clip(clip) => clip.collect_sizes(features),
            Self::Transformed(transformed) => transformed.collect_sizes(features),
        }
    }
}

/// Reads one geometry and counts what it holds, so that nesting cannot multiply past the limits.
pub(super) struct Reader<'a> {
    arrays: &'a dyn ArraySource,
    /// Shapes so far, every copy in an array counted: the work of the most expensive query.
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
    ) -> Result<Geometry, SceneError> {
        if depth > MAXIMUM_DEPTH {
            return Err(Part::Geometry.too_many(path, "nested geometries", MAXIMUM_DEPTH));
        }
        self.count(1, path)?;
        let fields = Fields::of(Part::Geometry, value, path)?;
        let shape = match fields.text("type")? {
            "Box" => Shape::Cuboid(Cuboid::from_fields(&fields)?),
            "Sphere" => Shape::Sphere(Sphere::from_fields(&fields)?),
            "Cylinder" => Shape::Cylinder(Cylinder::from_fields(&fields)?),
            "PolySlab" => Shape::PolySlab(Box::new(PolySlab::from_fields(&fields)?)),
            "TriangleMesh" => Shape::Mesh(Box::new(Mesh::from_fields(&fields, self.arrays)?)),
            "GeometryGroup" => Shape::Group(Box::new(self.group(&fields, depth)?)),
            "GeometryArray" => Shape::Group(Box::new(self.array(&fields, depth)?)),
            "ClipOperation" => Shape::Clip(Box::new(self.clip(&fields, depth)?)),
            "Transformed" => Shape::Transformed(Box::new(self.transformed(&fields, depth)?)),
            kind => {
                let kind: String = kind.chars().take(64).collect();
                return Err(Part::Geometry.unknown_type(path, kind));
            }
        };
        Ok(Geometry::of(shape))
    }

    fn count(&mut self, shapes: usize, path: &str) -> Result<(), SceneError> {
        self.shapes = self.shapes.saturating_add(shapes);
        if self.shapes > MAXIMUM_SHAPES {
            return Err(Part::Geometry.too_many(path, "shapes of one geometry", MAXIMUM_SHAPES));
        }
        Ok(())
    }

    fn member(&mut self, fields: &Fields<'_>, name: &str, depth: usize) -> Result<Geometry, SceneError> {
        self.geometry(fields.required(name)?, &fields.path_of(name), depth + 1)
    }

    fn group(&mut self, fields: &Fields<'_>, depth: usize) -> Result<Group, SceneError> {
        let path = fields.path_of("geometries");
        let values = Part::Geometry.list(fields.required("geometries")?, &path)?;
        if values.is_empty() {
            return Err(Part::Geometry.invalid(path, "a group holds at least one geometry"));
        }
        let members = values
            .iter()
            .enumerate()
            .map(|(index, value)| self.geometry(value, &join(&path, index), depth + 1))
            .collect::<Result<_, _>>()?;
        Ok(Group::new(members))
    }

    fn clip(&mut self, fields: &Fields<'_>, depth: usize) -> Result<Clip, SceneError> {
        let operation = Operation::from_fields(fields)?;
        let a = self.member(fields, "geometry_a", depth)?;
        let b = self.member(fields, "geometry_b", depth)?;
        Ok(Clip { operation, a, b })
    }

    /// The geometry that a transform or an array repeats, which must be finite as the client demands.
    fn original(&mut self, fields: &Fields<'_>, depth: usize) -> Result<Arc<Geometry>, SceneError> {
        let geometry = self.member(fields, "geometry", depth)?;
        if geometry.bounds().iter().flatten().any(|bound| bound.is_infinite()) {
            let path = fields.path_of("geometry");
            return Err(Part::Geometry.invalid(path, "a geometry of infinite size cannot be transformed"));
        }
        Ok(Arc::new(geometry))
    }

    fn transformed(&mut self, fields: &Fields<'_>, depth: usize) -> Result<Transformed, SceneError> {
        let geometry = self.original(fields, depth)?;
        let transform = match fields.optional("transform") {
            Some(value) => Transform::from_json(value, &fields.path_of("transform"))?,
            None => Transform::identity(),
        };
        Ok(Transformed::new(geometry, transform))
    }

    /// An array is a group of copies: each turned by its transform, then moved by its offset.
    fn array(&mut self, fields: &Fields<'_>, depth: usize) -> Result<Group, SceneError> {
        let entries = |name: &str| -> Result<Option<(String, &[Value])>, SceneError> {
            let path = fields.path_of(name);
            let Some(value) = fields.optional(name) else { return Ok(None) };
            let values = Part::Geometry.list(value, &path)?;
            if values.is_empty() {
                return Err(Part::Geometry.invalid(path, "the list is empty"));
            }
            Ok(Some((path, values)))
        };
        let (offsets, transforms) = (entries("offsets")?, entries("transforms")?);
        let count = match (&offsets, &transforms) {
            (Some((_, offsets)), Some((path, transforms))) if offsets.len() != transforms.len() => {
                return Err(Part::Geometry.invalid(path.as_str(), "there must be one transform per offset"));
            }
            (Some((_, entries)), _) | (None, Some((_, entries))) => entries.len(),
            (None, None) => 1,
        };
        let before = self.shapes;
        let geometry = self.original(fields, depth)?;
        let original = self.shapes - before;
        self.count(original.saturating_add(1).saturating_mul(count) - original, fields.path)?;

        let members = (0..count)
            .map(|index| {
                let mut transform = match &transforms {
                    Some((path, values)) => Transform::from_json(&values[index], &join(path, index))?,
                    None => Transform::identity(),
                };
                if let Some((path, values)) = &offsets {
                    transform = transform.then_shifted(numbers(&values[index], &join(path, index), finite)?);
                }
                let copy = Transformed::new(Arc::clone(&geometry), transform);
                Ok(Geometry::of(Shape::Transformed(Box::new(copy))))
            })
            .collect::<Result<_, _>>()?;
        Ok(Group::new(members))
    }
}
