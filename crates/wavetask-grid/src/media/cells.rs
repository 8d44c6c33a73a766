//! Samples on the vertices of triangles or tetrahedra, and interpolation inside them.
//!
//! The rules are the client's: `linear` weighs the vertices of the cell that holds the point (the last
//! one of several), with a tolerance of a millionth of the grid's size; everywhere else, and with
//! `nearest`, the nearest vertex is taken. Triangles lie in a plane normal to an axis and are invariant
//! along it.

use num_complex::Complex64;

use super::lattice::Interpolation;
use crate::geometry::Bounds;
use crate::geometry::tree::{CHEAP, Tree};

/// Relative to the extent of the grid, how far outside a cell a point may be to count as inside.
const TOLERANCE: f64 = 1e-6;

/// How far outside of the interval from zero to one a weight may be.
const WEIGHT_TOLERANCE: f64 = 1e-6;

/// Triangles or tetrahedra with their search trees.
#[derive(Debug)]
pub(super) struct Cells {
    /// Corners; of triangles, with the third coordinate zero.
    points: Vec<[f64; 3]>,
    /// Vertices; of triangles, the last is not used.
    cells: Vec<[u32; 4]>,
    /// The axes of the plane of triangles and the axis and position of its normal.
    plane: Option<Plane>,
    /// Over the cells, boxes widened by the tolerance along each axis.
    cell_tree: Tree,
    cell_boxes: Vec<Bounds>,
    /// Over the points.
    point_tree: Tree,
    /// The Euclidean length of the tolerances.
    tolerance: f64,
}

/// Where triangles lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plane {
    pub(super) axis: usize,
    pub(super) position: f64,
}

impl Cells {
    /// Triangles in a plane (two coordinates a point, three vertices a cell) or tetrahedra.
    pub(super) fn new(points: Vec<[f64; 3]>, cells: Vec<[u32; 4]>, plane: Option<Plane>) -> Self {
        let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
        for point in &points {
            widen(&mut bounds, point);
        }
        // The client takes the tolerance of the first axes of space also where triangles lie across others.
        let [u, v, w] = bounds.map(|[low, high]| high - low);
        let extents = match plane {
            Some(Plane { axis: 0, .. }) => [0.0, u, v],
            Some(Plane { axis: 1, .. }) => [u, 0.0, v],
            _ => [u, v, w],
        };
        let tolerances = extents.map(|extent| extent * TOLERANCE);
        let tolerance = tolerances.iter().map(|tolerance| tolerance * tolerance).sum::<f64>().sqrt();
        let corners = if plane.is_some() { 3 } else { 4 };
        let cell_boxes: Vec<Bounds> = cells
            .iter()
            .map(|cell| {
                let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
                for &corner in &cell[..corners] {
                    widen(&mut bounds, &points[corner as usize]);
                }
                for (axis, side) in bounds.iter_mut().enumerate().take(corners - 1) {
                    *side = [side[0] - tolerances[axis], side[1] + tolerances[axis]];
                }
                bounds
            })
            .collect();
        let point_boxes: Vec<Bounds> =
            points.iter().map(|point| point.map(|coordinate| [coordinate; 2])).collect();
        Self {
            cell_tree: Tree::new(&cell_boxes, CHEAP),
            point_tree: Tree::new(&point_boxes, CHEAP),
            points,
            cells,
            plane,
            cell_boxes,
            tolerance,
        }
    }

    /// Whether the points, cells and plane are the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.plane == other.plane && self.cells == other.cells && self.points == other.points
    }

    pub(super) fn interpolate(&self, values: &[Complex64], point: [f64; 3], how: Interpolation) -> Complex64 {
        let point = match self.plane {
            Some(Plane { axis: 0, .. }) => [point[1], point[2], 0.0],
            Some(Plane { axis: 1, .. }) => [point[0], point[2], 0.0],
            Some(_) => [point[0], point[1], 0.0],
            None => point,
        };
        if how == Interpolation::Linear
            && let Some(value) = self.inside(values, point)
        {
            return value;
        }
        let mut nearest = (f64::INFINITY, 0);
        self.point_tree.nearest(point, f64::INFINITY, |item, _| {
            let corner = self.points[item];
            let square = (0..3).map(|axis| (corner[axis] - point[axis]).powi(2)).sum();
            if square < nearest.0 {
                nearest = (square, item);
            }
            square
        });
        values[nearest.1]
    }

    /// The value in the last cell that holds the point.
    fn inside(&self, values: &[Complex64], point: [f64; 3]) -> Option<Complex64> {
        let corners = if self.plane.is_some() { 3 } else { 4 };
        let mut found: Option<(usize, [f64; 4])> = None;
        self.cell_tree.any_overlapping(&point.map(|coordinate| [coordinate; 2]), |cell| {
            let is_later = found.is_none_or(|(last, _)| cell > last);
            // The client's search leaves out the upper end of the widened box.
            let is_below = (0..corners - 1).all(|axis| point[axis] < self.cell_boxes[cell][axis][1]);
            if is_later
                && is_below
                && let Some(weights) = self.weights(cell, point)
            {
                found = Some((cell, weights));
            }
            false
        });
        found.map(|(cell, weights)| {
            (0..corners).map(|corner| values[self.cells[cell][corner] as usize] * weights[corner]).sum()
        })
    }

    /// The weights of a cell's vertices at a point; `None` outside and in degenerate cells.
    fn weights(&self, cell: usize, point: [f64; 3]) -> Option<[f64; 4]> {
        let corners = self.cells[cell].map(|corner| self.points[corner as usize]);
        let (weights, heights) =
            if self.plane.is_some() { triangle(&corners, point)? } else { tetrahedron(&corners, point)? };
        let count = if self.plane.is_some() { 3 } else { 4 };
        let is_inside = (0..count).all(|corner| {
            (-WEIGHT_TOLERANCE..=1.0 + WEIGHT_TOLERANCE).contains(&weights[corner])
                && -weights[corner] * heights[corner] < self.tolerance
        });
        is_inside.then_some(weights)
    }
}

fn widen(bounds: &mut Bounds, point: &[f64; 3]) {
    for (side, coordinate) in bounds.iter_mut().zip(point) {
        *side = [side[0].min(*coordinate), side[1].max(*coordinate)];
    }
}

fn minus(one: [f64; 3], other: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|axis| one[axis] - other[axis])
}

fn determinant([a, b, c]: [[f64; 3]; 3]) -> f64 {
    a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
}

fn length(vector: [f64; 3]) -> f64 {
    vector.iter().map(|entry| entry * entry).sum::<f64>().sqrt()
}

fn cross(one: [f64; 3], other: [f64; 3]) -> [f64; 3] {
    [
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    ]
}

/// Barycentric weights in a triangle of the first two coordinates, and the heights over each side.
fn triangle(corners: &[[f64; 3]; 4], point: [f64; 3]) -> Option<([f64; 4], [f64; 4])> {
    let twice_area = |a: [f64; 3], b: [f64; 3], c: [f64; 3]| {
        let (one, other) = (minus(b, a), minus(c, a));
        one[0] * other[1] - one[1] * other[0]
    };
    let [a, b, c, _] = *corners;
    let area = twice_area(a, b, c);
    if area == 0.0 {
        return None;
    }
    let weights =
        [twice_area(point, b, c) / area, twice_area(a, point, c) / area, twice_area(a, b, point) / area];
    let height = |from, to| area.abs() / length(minus(to, from));
    Some(([weights[0], weights[1], weights[2], 0.0], [height(b, c), height(a, c), height(a, b), 0.0]))
}

/// Barycentric weights in a tetrahedron, and the heights over each face.
fn tetrahedron(corners: &[[f64; 3]; 4], point: [f64; 3]) -> Option<([f64; 4], [f64; 4])> {
    let volume =
        |corners: &[[f64; 3]; 4]| determinant([1, 2, 3].map(|corner| minus(corners[corner], corners[0])));
    let whole = volume(corners);
    if whole == 0.0 {
        return None;
    }
    let mut weights = [0.0; 4];
    let mut heights = [0.0; 4];
    for corner in 0..4 {
        let mut moved = *corners;
        moved[corner] = point;
        weights[corner] = volume(&moved) / whole;
        let face: [usize; 3] = std::array::from_fn(|place| (corner + 1 + place) % 4);
        let [a, b, c] = face.map(|corner| corners[corner]);
        heights[corner] = whole.abs() / length(cross(minus(b, a), minus(c, a)));
    }
    Some((weights, heights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_functions_are_exact_inside_and_nearest_outside() {
        let points = vec![[0.0; 3], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0]];
        let linear = |point: [f64; 3]| 1.0 + 2.0 * point[0] - point[1] + 0.5 * point[2];
        let values: Vec<Complex64> = points.iter().map(|&point| linear(point).into()).collect();
        let cells = Cells::new(points, vec![[0, 1, 2, 3]], None);
        let at = |point| cells.interpolate(&values, point, Interpolation::Linear).re;
        let inside = [0.4, 0.5, 0.3];
        assert!((at(inside) - linear(inside)).abs() < 1e-14);
        assert_eq!(at([5.0, 1.0, 0.0]), 5.0);
        assert_eq!(cells.interpolate(&values, [0.4, 0.5, 0.3], Interpolation::Nearest).re, 1.0);
    }

    #[test]
    fn triangles_are_invariant_along_their_normal() {
        let points = vec![[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let values = [1.0, 2.0, 4.0].map(Complex64::from);
        let cells = Cells::new(points, vec![[0, 1, 2, 0]], Some(Plane { axis: 1, position: 7.0 }));
        let at = |point| cells.interpolate(&values, point, Interpolation::Linear).re;
        assert!((at([0.25, -90.0, 0.5]) - (1.0 + 0.25 + 1.5)).abs() < 1e-14);
    }
}
