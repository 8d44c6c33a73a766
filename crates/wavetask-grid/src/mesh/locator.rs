//! Finds the cell that holds a point.
//!
//! A tree of bounding boxes: cell sizes vary by orders of magnitude across a mesh, which a uniform bucket grid pays for
//! with thousands of cells in one bucket.

use rayon::prelude::*;

use super::SimplexMesh;
use super::simplex::{cross, dot, subtract};

/// Cells in a leaf of the tree.
const LEAF_CELLS: usize = 6;

/// Weight of each corner above which a point is not shared with another cell.
const INSIDE: f64 = 1e-6;

/// Where a point is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Located {
    /// The cell.
    pub cell: usize,
    /// Weights of the cell's points, which sum to one; the fourth is 0 in triangles.
    pub weights: [f64; 4],
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    low: [f64; 3],
    high: [f64; 3],
}

impl Bounds {
    const EMPTY: Self = Self { low: [f64::INFINITY; 3], high: [f64::NEG_INFINITY; 3] };

    fn include(&mut self, point: [f64; 3]) {
        *self = self.union(Self { low: point, high: point });
    }

    fn union(self, other: Self) -> Self {
        Self {
            low: std::array::from_fn(|axis| self.low[axis].min(other.low[axis])),
            high: std::array::from_fn(|axis| self.high[axis].max(other.high[axis])),
        }
    }

    /// Squared distance to a point; 0 inside.
    fn distance_squared(&self, point: [f64; 3]) -> f64 {
        (0..3)
            .map(|axis| (self.low[axis] - point[axis]).max(point[axis] - self.high[axis]).max(0.0).powi(2))
            .sum()
    }
}

/// Point location in a mesh.
#[derive(Debug)]
pub struct Locator<'a> {
    mesh: &'a SimplexMesh,
    /// Cells in the order of the tree.
    order: Vec<u32>,
    /// Balanced binary tree in heap order; node 0 is the root.
    nodes: Vec<Bounds>,
    /// First node of the last level.
    first_leaf: usize,
    /// Distance below which a point counts as inside (µm).
    tolerance: f64,
}

impl<'a> Locator<'a> {
    /// Builds the tree; takes about a microsecond per cell.
    pub fn new(mesh: &'a SimplexMesh) -> Self {
        let centres: Vec<[f64; 3]> =
            (0..mesh.cell_count()).into_par_iter().map(|cell| mesh.centroid(cell)).collect();
        let mut order: Vec<u32> = (0..mesh.cell_count() as u32).collect();
        let depth = mesh.cell_count().div_ceil(LEAF_CELLS).max(1).next_power_of_two().trailing_zeros();
        arrange(&mut order, &centres, depth);
        let first_leaf = (1_usize << depth) - 1;
        let mut nodes = vec![Bounds::EMPTY; 2 * first_leaf + 1];
        let (inner, leaves) = nodes.split_at_mut(first_leaf);
        leaves.par_iter_mut().enumerate().for_each(|(leaf, bounds)| {
            for &cell in &order[leaf_range(leaf, depth, order.len())] {
                for &point in mesh.cell(cell as usize) {
                    bounds.include(mesh.points[point as usize]);
                }
            }
        });
        for node in (0..inner.len()).rev() {
            let mut bounds = Bounds::EMPTY;
            for child in [2 * node + 1, 2 * node + 2] {
                let child = if child < first_leaf { inner[child] } else { leaves[child - first_leaf] };
                bounds = bounds.union(child);
            }
            inner[node] = bounds;
        }
        let extent = mesh.bounds.iter().map(|bound| bound[1] - bound[0]).fold(0.0, f64::max);
        Self { mesh, order, nodes, first_leaf, tolerance: 1e-10 * extent }
    }

    /// The cell that holds `point`, and the weights of its points there. Points within rounding of a cell count as
    /// inside it; on a shared facet the cell with the lowest number is found. `None` outside the mesh.
    ///
    /// In a flat domain the coordinate along the normal is ignored.
    pub fn locate(&self, point: [f64; 3]) -> Option<Located> {
        self.search(point, self.tolerance * self.tolerance)
    }

    /// As [`Self::locate`], or else the point of the mesh that is nearest, if it is not farther than
    /// `distance` (µm).
    pub fn nearest(&self, point: [f64; 3], distance: f64) -> Option<Located> {
        self.locate(point).or_else(|| self.search(point, distance * distance))
    }

    /// Weights of a cell's points at a point of its plane or of space, which sum to one; outside of the cell some are
    /// negative.
    pub fn weights(&self, cell: usize, point: [f64; 3]) -> [f64; 4] {
        affine_weights(&self.mesh.corners(cell), &[0, 1, 2, 3][..=self.mesh.dimension()], point)
    }

    fn search(&self, point: [f64; 3], limit_squared: f64) -> Option<Located> {
        let point = match self.mesh.normal {
            Some((axis, position)) => {
                let mut flat = point;
                flat[axis] = position;
                flat
            }
            None => point,
        };
        // Rounding: cells nearer than this to the point are equally near, and the lowest number wins.
        let slack = self.tolerance * self.tolerance;
        let mut best: Option<(f64, Located)> = None;
        let mut open = vec![0_usize];
        let depth = (self.first_leaf + 1).trailing_zeros();
        while let Some(node) = open.pop() {
            let reach = best.map_or(limit_squared, |(distance, _)| distance.max(slack));
            if self.nodes[node].distance_squared(point) > reach {
                continue;
            }
            if node < self.first_leaf {
                let (left, right) = (2 * node + 1, 2 * node + 2);
                let nearer_left =
                    self.nodes[left].distance_squared(point) <= self.nodes[right].distance_squared(point);
                open.extend(if nearer_left { [right, left] } else { [left, right] });
                continue;
            }
            for &cell in &self.order[leaf_range(node - self.first_leaf, depth, self.order.len())] {
                let (distance, weights) = self.project(cell as usize, point);
                let distance = if distance <= slack { 0.0 } else { distance };
                if distance > limit_squared {
                    continue;
                }
                // Well inside one cell, a point is in no other.
                if distance == 0.0 && weights[..=self.mesh.dimension()].iter().all(|&weight| weight > INSIDE)
                {
                    return Some(Located { cell: cell as usize, weights });
                }
                let better = best.is_none_or(|(other, found)| {
                    distance < other || (distance == other && (cell as usize) < found.cell)
                });
                if better {
                    best = Some((distance, Located { cell: cell as usize, weights }));
                }
            }
        }
        best.map(|(_, located)| located)
    }

    /// Squared distance from a cell to a point, and the weights of the nearest point of the cell.
    fn project(&self, cell: usize, point: [f64; 3]) -> (f64, [f64; 4]) {
        let corners = self.mesh.corners(cell);
        let dimension = self.mesh.dimension();
        nearest_on_simplex(&corners, &[0, 1, 2, 3][..=dimension], point)
    }
}

/// Squared distance from a simplex to a point and the weights of the nearest point, by descent to the facets that face
/// the point.
fn nearest_on_simplex(corners: &[[f64; 3]; 4], places: &[usize], point: [f64; 3]) -> (f64, [f64; 4]) {
    let mut weights = [0.0; 4];
    if let [only] = places {
        weights[*only] = 1.0;
        let away = subtract(point, corners[*only]);
        return (dot(away, away), weights);
    }
    let local = affine_weights(corners, places, point);
    if local[..places.len()].iter().all(|&weight| weight >= 0.0) {
        let mut nearest = [0.0; 3];
        for (&place, &weight) in places.iter().zip(&local) {
            weights[place] = weight;
            for axis in 0..3 {
                nearest[axis] += weight * corners[place][axis];
            }
        }
        let away = subtract(point, nearest);
        // Within a tetrahedron the distance is zero, whatever rounding says.
        let distance = if places.len() == 4 { 0.0 } else { dot(away, away) };
        return (distance, weights);
    }
    let mut best = (f64::INFINITY, weights);
    for skipped in (0..places.len()).filter(|&skipped| local[skipped] < 0.0 || local[skipped].is_nan()) {
        let mut others = [0; 4];
        let kept = places.iter().enumerate().filter(|&(number, _)| number != skipped);
        for (other, (_, &place)) in others.iter_mut().zip(kept) {
            *other = place;
        }
        let candidate = nearest_on_simplex(corners, &others[..places.len() - 1], point);
        if candidate.0 < best.0 {
            best = candidate;
        }
    }
    best
}

/// Weights that give the orthogonal projection of a point on the plane of a simplex.
fn affine_weights(corners: &[[f64; 3]; 4], places: &[usize], point: [f64; 3]) -> [f64; 4] {
    let origin = corners[places[0]];
    let away = subtract(point, origin);
    let edge = |number: usize| subtract(corners[places[number]], origin);
    match places.len() {
        2 => {
            let along = edge(1);
            let share = dot(away, along) / dot(along, along);
            [1.0 - share, share, 0.0, 0.0]
        }
        3 => {
            let (first, second) = (edge(1), edge(2));
            let normal = cross(first, second);
            let scale = dot(normal, normal);
            let b = dot(cross(away, second), normal) / scale;
            let c = dot(cross(first, away), normal) / scale;
            [1.0 - b - c, b, c, 0.0]
        }
        _ => {
            let (first, second, third) = (edge(1), edge(2), edge(3));
            let volume = dot(cross(first, second), third);
            let b = dot(cross(away, second), third) / volume;
            let c = dot(cross(first, away), third) / volume;
            let d = dot(cross(first, second), away) / volume;
            [1.0 - b - c - d, b, c, d]
        }
    }
}

/// Cells of a leaf: the tree halves the number of cells at each level, in the same way as [`arrange`].
fn leaf_range(leaf: usize, depth: u32, count: usize) -> std::ops::Range<usize> {
    let (mut start, mut end) = (0, count);
    for level in (0..depth).rev() {
        let middle = start + (end - start) / 2;
        if leaf >> level & 1 == 0 { end = middle } else { start = middle }
    }
    start..end
}

/// Orders cells so that each half of a range is one side of a median plane across its longest extent.
fn arrange(order: &mut [u32], centres: &[[f64; 3]], depth: u32) {
    if depth == 0 || order.len() < 2 {
        return;
    }
    let mut bounds = Bounds::EMPTY;
    for &cell in order.iter() {
        bounds.include(centres[cell as usize]);
    }
    let extent = |axis: usize| bounds.high[axis] - bounds.low[axis];
    let axis = (0..3).fold(0, |longest, axis| if extent(axis) > extent(longest) { axis } else { longest });
    let middle = order.len() / 2;
    order.select_nth_unstable_by(middle, |&a, &b| {
        centres[a as usize][axis].total_cmp(&centres[b as usize][axis]).then(a.cmp(&b))
    });
    let (left, right) = order.split_at_mut(middle);
    rayon::join(|| arrange(left, centres, depth - 1), || arrange(right, centres, depth - 1));
}
