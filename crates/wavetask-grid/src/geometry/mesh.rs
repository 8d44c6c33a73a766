//! Closed surfaces of triangles, as STL files hold them.
//!
//! A point is inside if a ray from it crosses the surface an odd number of times. Rays run along the axis
//! in which the mesh is thinnest: they meet the fewest triangles. Vertices are merged as the client
//! merges them, so that rounding in a file opens no cracks.

use std::collections::HashMap;

use wavetask_document::{ArraySource, VALUES_DATASET};

use super::facets::Facets;
use super::feature::Features;
use super::vector::Point3;
use super::{Bounds, MAXIMUM_TRIANGLES};
use crate::reading::{Fault, Fields, Part, SceneError, join};

/// Vertices that agree to this many parts of a micrometre are one.
const MERGE: f64 = 1e8;

/// Three coordinates this near, relative to their size, make a triangle normal to the axis.
const FLAT: f64 = 1e-12;

#[derive(Debug)]
pub(super) struct Mesh {
    facets: Facets,
    bounds: Bounds,
    /// The axis along which the bounds are narrowest.
    axis: usize,
    /// Whether each edge has an even number of triangles: only then one ray decides.
    is_closed: bool,
}

impl Mesh {
    /// Loads the triangles of a `TriangleMesh` from beneath its path.
    pub(super) fn from_fields(fields: &Fields<'_>, arrays: &dyn ArraySource) -> Result<Self, SceneError> {
        fields.required("mesh_dataset")?;
        let data = join(fields.path, "mesh_dataset/surface_mesh");
        let array_path = join(&data, VALUES_DATASET);
        let array = Part::Geometry.load(arrays, fields.path, &array_path)?;
        let &[count, 3, 3] = array.shape() else {
            return Err(Part::Geometry.invalid(
                array_path,
                format!("triangles have the shape (n, 3, 3), not {:?}", array.shape()),
            ));
        };
        if count > MAXIMUM_TRIANGLES {
            return Err(Part::Geometry.too_many(fields.path, "triangles of one mesh", MAXIMUM_TRIANGLES));
        }
        let axes_path = join(&data, "axis");
        let axes = arrays
            .load(&axes_path)
            .map_err(|source| Part::Geometry.error(fields.path, Fault::UnreadableArray(source)))?;
        if let Some(axes) = axes
            && axes.to_floats().is_none_or(|axes| axes != [0.0, 1.0, 2.0])
        {
            return Err(
                Part::Geometry.invalid(axes_path, "the coordinates of a vertex are in the order 0, 1, 2")
            );
        }
        let values = array
            .to_floats()
            .ok_or_else(|| Part::Geometry.invalid(array_path.as_str(), "coordinates are real numbers"))?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Part::Geometry.invalid(array_path, "coordinates must be finite"));
        }
        let corners = values.chunks_exact(3).map(|corner| [corner[0], corner[1], corner[2]]);
        Self::new(corners)
            .ok_or_else(|| Part::Geometry.invalid(array_path, "the mesh has no triangle with an area"))
    }

    /// A mesh of the triangles whose corners follow each other; `None` if none is left after merging.
    pub(super) fn new(corners: impl Iterator<Item = Point3>) -> Option<Self> {
        let mut numbers: HashMap<[i64; 3], u32> = HashMap::new();
        let mut vertices: Vec<Point3> = Vec::new();
        let mut indices = Vec::new();
        for corner in corners {
            #[expect(clippy::cast_possible_truncation, reason = "saturates far outside of any scene")]
            let key = corner.map(|coordinate| (coordinate * MERGE).round() as i64);
            indices.push(*numbers.entry(key).or_insert_with(|| {
                vertices.push(corner);
                u32::try_from(vertices.len() - 1).unwrap_or(u32::MAX)
            }));
        }
        let triangles: Vec<[u32; 3]> = indices
            .chunks_exact(3)
            .map(|corners| [corners[0], corners[1], corners[2]])
            .filter(|[a, b, c]| a != b && b != c && c != a)
            .collect();
        if triangles.is_empty() {
            return None;
        }
        let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
        for vertex in triangles.iter().flatten() {
            for (side, coordinate) in bounds.iter_mut().zip(vertices[*vertex as usize]) {
                *side = [side[0].min(coordinate), side[1].max(coordinate)];
            }
        }
        let width = |axis: usize| bounds[axis][1] - bounds[axis][0];
        let axis = (0..3).min_by(|&one, &other| width(one).total_cmp(&width(other))).unwrap_or(2);
        let is_closed = every_edge_is_even(&triangles);
        Some(Self { facets: Facets::new(vertices, triangles), bounds, axis, is_closed })
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// One ray decides for a closed surface. The client accepts open ones with a warning; there, rays
    /// along all axes vote, which is right away from the holes.
    pub(super) fn contains(&self, point: Point3) -> bool {
        if self.is_closed {
            // The shorter way out meets fewer triangles.
            let [low, high] = self.bounds[self.axis];
            let upwards = high - point[self.axis] < point[self.axis] - low;
            return self.facets.crossings(point, self.axis, upwards) % 2 == 1;
        }
        let votes = (0..3)
            .flat_map(|axis| [(axis, false), (axis, true)])
            .filter(|&(axis, upwards)| self.facets.crossings(point, axis, upwards) % 2 == 1)
            .count();
        votes > 3
    }

    /// Exact: the nearest triangle.
    pub(super) fn distance(&self, point: Point3, limit: f64) -> f64 {
        self.facets.distance(point, limit)
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        for triangle in 0..self.facets.triangles.len() {
            let corners = self.facets.corners(triangle);
            for axis in 0..3 {
                let [a, b, c] = corners.map(|corner| corner[axis]);
                let margin = FLAT * a.abs().max(1.0);
                if (a - b).abs() <= margin && (a - c).abs() <= margin {
                    features.plane(axis, a);
                }
            }
        }
    }
}

fn every_edge_is_even(triangles: &[[u32; 3]]) -> bool {
    let mut edges: Vec<(u32, u32)> = triangles
        .iter()
        .flat_map(|&[a, b, c]| [(a, b), (b, c), (c, a)])
        .map(|(a, b)| (a.min(b), a.max(b)))
        .collect();
    edges.sort_unstable();
    edges.chunk_by(|one, other| one == other).all(|edge| edge.len() % 2 == 0)
}
