//! Triangles with shared vertices, indexed for nearest-point and ray queries.

use super::Bounds;
use super::tree::{CHEAP, Tree};
use super::vector::{Point3, crosses_ray, square_to_triangle, subtract};

/// A set of triangles and the tree over their boxes.
#[derive(Debug)]
pub(super) struct Facets {
    pub(super) vertices: Vec<Point3>,
    pub(super) triangles: Vec<[u32; 3]>,
    tree: Tree,
}

impl Facets {
    pub(super) fn new(vertices: Vec<Point3>, triangles: Vec<[u32; 3]>) -> Self {
        let boxes: Vec<Bounds> = triangles
            .iter()
            .map(|corners| {
                let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
                for &corner in corners {
                    for (side, coordinate) in bounds.iter_mut().zip(vertices[corner as usize]) {
                        *side = [side[0].min(coordinate), side[1].max(coordinate)];
                    }
                }
                bounds
            })
            .collect();
        let tree = Tree::new(&boxes, CHEAP);
        Self { vertices, triangles, tree }
    }

    pub(super) fn corners(&self, triangle: usize) -> [Point3; 3] {
        self.triangles[triangle].map(|vertex| self.vertices[vertex as usize])
    }

    /// Exact distance to the nearest triangle, or the limit if none is nearer.
    pub(super) fn distance(&self, point: Point3, limit: f64) -> f64 {
        let square = |triangle, _| square_to_triangle(self.corners(triangle), point);
        self.tree.nearest(point, limit * limit, square).sqrt()
    }

    /// How often the ray from the point along an axis, upwards or downwards, crosses the triangles.
    ///
    /// A ray through a shared edge or vertex counts its triangles once, as if the point were moved a
    /// little: the parity is that of a nearby ray, so a closed surface has an inside everywhere.
    pub(super) fn crossings(&self, point: Point3, axis: usize, upwards: bool) -> usize {
        let (first, second) = ((axis + 1) % 3, (axis + 2) % 3);
        let mut query: Bounds = point.map(|coordinate| [coordinate, coordinate]);
        query[axis][usize::from(upwards)] = if upwards { f64::INFINITY } else { f64::NEG_INFINITY };
        let flat = |corner: Point3| [corner[first], corner[second]];
        let mut count = 0;
        self.tree.any_overlapping(&query, |triangle| {
            let [a, b, c] = self.corners(triangle);
            let foot = flat(point);
            let covers = crosses_ray(flat(a), flat(b), foot)
                ^ crosses_ray(flat(b), flat(c), foot)
                ^ crosses_ray(flat(c), flat(a), foot);
            if covers && (height_over([a, b, c], point, axis) > point[axis]) == upwards {
                count += 1;
            }
            false
        });
        count
    }
}

/// The coordinate along `axis` of the triangle above or below the point, kept to the triangle's extent.
fn height_over([a, b, c]: [Point3; 3], point: Point3, axis: usize) -> f64 {
    let (first, second) = ((axis + 1) % 3, (axis + 2) % 3);
    let (one, other, offset) = (subtract(b, a), subtract(c, a), subtract(point, a));
    let area = one[first] * other[second] - one[second] * other[first];
    let weight_one = (offset[first] * other[second] - offset[second] * other[first]) / area;
    let weight_other = (one[first] * offset[second] - one[second] * offset[first]) / area;
    let height = a[axis] + weight_one * one[axis] + weight_other * other[axis];
    let low = a[axis].min(b[axis]).min(c[axis]);
    let high = a[axis].max(b[axis]).max(c[axis]);
    // Seen edge-on there is no height to interpolate, and the point is on the triangle to rounding.
    if height.is_nan() { low } else { height.clamp(low, high) }
}
