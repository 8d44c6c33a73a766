//! Where things are: the shapes of a tidy3d scene as solvers ask for them.
//!
//! ```text
//! Scene ── owner(point) ──► index of the structure that a point belongs to
//!   └ Structure { geometry, name, medium, priority }
//!       └ Geometry ── contains, bounds, feature_planes, feature_sizes, distance_to_surface
//! ```
//!
//! A [`Geometry`] is read once from the JSON that the client writes (and, for triangle meshes, the
//! arrays beside it) and is immutable and shareable between threads from then on. Everything that a
//! document can get wrong is refused while reading; queries cannot fail.
//!
//! **Containment** is what the client's `geometry.inside` answers, surfaces included, down to its
//! tolerance of [`POLYGON_TOLERANCE`] around polygons: the client validates scenes, places monitors
//! and draws plots by it, so a solver that disagreed with it would surprise.
//!
//! **Interfaces** must land on mesh planes wherever they are planes: [`Geometry::feature_planes`] lists
//! the coordinates of exact axis-aligned faces, also through groups, clips and transforms that map
//! axes to axes.
//!
//! All lengths are in micrometres, all angles in radian. Axes are 0, 1, 2 for x, y, z.

mod arc;
mod combine;
mod cuboid;
mod domain;
mod facets;
mod feature;
mod mesh;
mod outline;
mod polyslab;
mod read;
mod round;
mod scene;
mod shape;
mod transform;
pub(crate) mod tree;
mod vector;

pub use domain::Domain;
pub use feature::{FeatureLength, FeatureSize};
pub use scene::{Scene, Structure};

use serde_json::Value;
use wavetask_document::ArraySource;

use feature::Features;
use shape::Shape;

use crate::reading::SceneError;

/// A bounding box: `[low, high]` along each axis, in micrometres; infinite where the shape is.
pub type Bounds = [[f64; 2]; 3];

/// How deep groups, clips, arrays and transforms may be nested.
pub const MAXIMUM_DEPTH: usize = 32;

/// How many simple shapes one geometry may hold, counted through all its groups, clips and arrays.
pub const MAXIMUM_SHAPES: usize = 200_000;

/// How many vertices one polygon may have.
pub const MAXIMUM_VERTICES: usize = 1_000_000;

/// How many triangles one mesh may have.
pub const MAXIMUM_TRIANGLES: usize = 4_000_000;

/// How many structures a scene may have.
pub const MAXIMUM_STRUCTURES: usize = 200_000;

/// Points this near a polygon's edge, in micrometres, count as inside: the machine epsilon of 32-bit
/// floats, by which the client dilates polygons before it asks whether they contain a point.
pub const POLYGON_TOLERANCE: f64 = f32::EPSILON as f64;

/// Beyond this coordinate, in micrometres, a face is at infinity: it is no feature of the scene.
pub const UNBOUNDED: f64 = 1e9;

/// A shape in space, immutable and cheap to share behind a reference.
#[derive(Debug)]
pub struct Geometry {
    shape: Shape,
    bounds: Bounds,
    /// The bounds widened by the polygon tolerance and rounding: nothing outside is inside the shape.
    reach: Bounds,
}

impl Geometry {
    /// Reads a geometry from the JSON that the client writes.
    ///
    /// `path` is where `value` stands in the document, such as `structures/3/geometry`: errors name it,
    /// and the arrays of triangle meshes are looked up beneath it. Types that are not known are refused
    /// with [`Fault::UnsupportedType`](crate::Fault::UnsupportedType).
    pub fn from_json(value: &Value, path: &str, arrays: &dyn ArraySource) -> Result<Self, SceneError> {
        shape::Reader::new(arrays).geometry(value, path, 0)
    }

    /// A box given by its `[low, high]` along each axis; zero and infinite extents are allowed.
    ///
    /// Bounds in the wrong order are exchanged.
    pub fn from_bounds(bounds: Bounds) -> Self {
        Self::of(Shape::Cuboid(cuboid::Cuboid::from_bounds(bounds)))
    }

    /// Whether the point is inside or on the surface: what the client's `geometry.inside` answers.
    pub fn contains(&self, point: [f64; 3]) -> bool {
        within(&self.reach, point) && self.shape.contains(point)
    }

    /// As [`Self::contains`], for points of a grid: what the client's `geometry.inside_meshgrid` answers.
    ///
    /// It cuts every shape by its bounding box first, also the members of groups and clips, so that points
    /// on a face that rounding or the tolerance of polygons puts a last bit outside do not belong to it. Grids
    /// have their points on the faces of boxes, where nothing but these bits decides.
    pub fn contains_on_grid(&self, point: [f64; 3]) -> bool {
        match &self.shape {
            Shape::Group(group) => within(&self.reach, point) && group.contains_on_grid(point),
            Shape::Clip(clip) => within(&self.reach, point) && clip.contains_on_grid(point),
            shape => within(&self.bounds, point) && shape.contains(point),
        }
    }

    /// The bounding box, `[low, high]` along each axis.
    ///
    /// Equal to the client's `geometry.bounds`; exact for simple shapes, an enclosing box for clips
    /// and rotated shapes.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The coordinates along `axis` (0, 1 or 2) of the exact planar faces that are normal to it, sorted
    /// and without repetitions.
    ///
    /// These are the faces of boxes, the ends of cylinders and slabs, the axis-aligned edges of slabs
    /// with vertical walls and the axis-aligned triangles of meshes, through groups, clips and
    /// transforms that map the face's normal to an axis. Faces beyond [`UNBOUNDED`] are left out. A face
    /// that a clip removes may still be listed.
    pub fn feature_planes(&self, axis: usize) -> Vec<f64> {
        let mut features = Features::default();
        self.shape.collect_planes(&mut features);
        features.planes_within(axis, &self.bounds)
    }

    /// The bounds if the geometry is exactly a box whose faces are normal to the axes.
    ///
    /// Recognised: boxes, rectangular slabs with vertical walls, and these under transforms that map
    /// axes to axes.
    pub fn as_aligned_box(&self) -> Option<Bounds> {
        self.shape.as_aligned_box()
    }

    /// The distance from the point to the surface of the shape, inside or outside, in micrometres;
    /// infinite if there is no surface.
    ///
    /// Exact for boxes, spheres, cylinders and cones, slabs, triangle meshes and their similarity
    /// transforms (rotation, reflection, translation, equal scaling). Otherwise a lower bound that is
    /// zero on the surface, so that a mesh sized by it is never too coarse: for stretched or sheared
    /// shapes (smaller by at most the ratio of the extreme stretches), and for groups and clips near
    /// pieces of the operands' surfaces that the operation swallows.
    pub fn distance_to_surface(&self, point: [f64; 3]) -> f64 {
        self.distance_within(point, f64::INFINITY)
    }

    /// The lesser of [`Self::distance_to_surface`] and `limit`, in micrometres.
    ///
    /// Ask this where only a neighbourhood matters: far from the surface of a mesh or a large polygon it
    /// takes a small part of the time. A ball of this radius is wholly inside or wholly outside of the
    /// shape.
    pub fn distance_within(&self, point: [f64; 3], limit: f64) -> f64 {
        if tree::square_to_box(&self.reach, point) >= limit * limit {
            return limit;
        }
        self.shape.distance(point, limit).min(limit)
    }

    /// The lengths that a mesh may have to resolve: circumferences of cylinders and spheres and the
    /// sides of boxes and slabs, each with the region it applies to.
    ///
    /// These are the quantities that `min_edges_per_circumference` and `min_edges_per_side` of the
    /// client's `UniformUnstructuredGrid` divide. Zero and infinite sides are left out.
    pub fn feature_sizes(&self) -> Vec<FeatureSize> {
        let mut features = Features::default();
        self.shape.collect_sizes(&mut features);
        features.sizes
    }

    fn of(shape: Shape) -> Self {
        let bounds = shape.bounds();
        let reach = bounds.map(|[low, high]| {
            let margin = |coordinate: f64| 2.0 * POLYGON_TOLERANCE + 1e-12 * coordinate.abs();
            [
                if low.is_finite() { low - margin(low) } else { low },
                if high.is_finite() { high + margin(high) } else { high },
            ]
        });
        Self { shape, bounds, reach }
    }
}

/// Whether a point is inside a bounding box, faces included.
fn within(bounds: &Bounds, point: [f64; 3]) -> bool {
    bounds.iter().zip(point).all(|([low, high], coordinate)| *low <= coordinate && coordinate <= *high)
}
