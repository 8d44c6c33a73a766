//! Polygons: the cross-sections of slabs, shifted outwards or inwards by a distance.
//!
//! Shifting every edge along its outward normal by the same distance moves each vertex along a fixed
//! direction, linearly in the distance, as long as no edge shrinks to nothing and no vertex runs into
//! an edge. One set of vertices and their *rates* therefore describes the cross-section at every height
//! of a slanted slab, and each wall is a plane. Where that holds no longer, the slab is refused.

use super::Bounds;
use super::tree::{CHEAP, Tree};
use super::vector::{Point2, along, crosses_ray, dot, norm, square_to_segment, subtract};

/// Vertices nearer to the next one than this, in micrometres, are dropped, as the client does.
const DUPLICATE: f64 = 1e-8;

/// A corner is straight when the cross product of the directions of its edges is below this.
const STRAIGHT: f64 = 1e-8;

/// Polygons of at most this many edges are searched without an index.
const SMALL: usize = 12;

/// How many pairs of edges a test for self-intersection may look at: per edge, and at least.
const PAIRS_PER_EDGE: usize = 100;
const LEAST_PAIRS: usize = 1_000_000;

/// Drops each vertex that the next one repeats.
pub(super) fn without_duplicates(vertices: &[Point2]) -> Vec<Point2> {
    let next = |index: usize| vertices[(index + 1) % vertices.len()];
    vertices
        .iter()
        .enumerate()
        .filter(|&(index, &vertex)| norm(subtract(next(index), vertex)) > DUPLICATE)
        .map(|(_, &vertex)| vertex)
        .collect()
}

/// The signed area, positive for counter-clockwise vertices.
pub(super) fn signed_area(vertices: &[Point2]) -> f64 {
    let Some(&origin) = vertices.first() else { return 0.0 };
    edges(vertices)
        .map(|(a, b)| {
            let (a, b) = (subtract(a, origin), subtract(b, origin));
            (a[0] * b[1] - a[1] * b[0]) / 2.0
        })
        .sum()
}

/// The edges of a closed polygon.
pub(super) fn edges(vertices: &[Point2]) -> impl Iterator<Item = (Point2, Point2)> {
    vertices.iter().copied().zip(vertices.iter().copied().cycle().skip(1))
}

/// How each vertex of a counter-clockwise polygon moves per unit of outward shift of its edges.
pub(super) fn rates(vertices: &[Point2]) -> Vec<Point2> {
    let count = vertices.len();
    let direction = |from: usize| {
        let edge = subtract(vertices[(from + 1) % count], vertices[from]);
        let length = norm(edge);
        edge.map(|component| component / length)
    };
    (0..count)
        .map(|index| {
            let before = direction((index + count - 1) % count);
            let after = direction(index);
            let turn = before[0] * after[1] - before[1] * after[0];
            // The tangent of half the turning angle: how far the corner moves along the edge before it.
            let half = if turn.abs() <= STRAIGHT { 0.0 } else { (1.0 - dot(before, after)) / turn };
            along([before[1], -before[0]], half, before)
        })
        .collect()
}

/// The vertices moved by `shift` times their rates.
pub(super) fn shifted(vertices: &[Point2], rates: &[Point2], shift: f64) -> Vec<Point2> {
    vertices.iter().zip(rates).map(|(&vertex, &rate)| along(vertex, shift, rate)).collect()
}

/// The length of each edge, and by how much it grows per unit of outward shift.
fn growth<'a>(vertices: &'a [Point2], rates: &'a [Point2]) -> impl Iterator<Item = (f64, f64)> + 'a {
    edges(vertices).zip(edges(rates)).map(|((a, b), (rate_a, rate_b))| {
        let edge = subtract(b, a);
        let length = norm(edge);
        (length, dot(subtract(rate_b, rate_a), edge) / length)
    })
}

/// The shift, of the sign of `shift` and no greater, at which the first edge has shrunk to nothing.
pub(super) fn first_collapse(vertices: &[Point2], rates: &[Point2], shift: f64) -> Option<f64> {
    growth(vertices, rates)
        .filter(|(length, growth)| length + growth * shift < 0.0)
        .map(|(length, growth)| -length / growth)
        .min_by(|one, other| one.abs().total_cmp(&other.abs()))
}

/// Whether a shift has reversed every edge: the polygon is turned inside out.
pub(super) fn all_collapsed(vertices: &[Point2], rates: &[Point2], shift: f64) -> bool {
    growth(vertices, rates).all(|(length, growth)| length + growth * shift < 0.0)
}

/// Whether edges that are no neighbours cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crossing {
    None,
    Found,
    /// The polygon is too tangled to tell within bounded work.
    Unknown,
}

/// Looks for proper crossings; touching is none.
pub(super) fn self_crossing(vertices: &[Point2]) -> Crossing {
    let outline = Outline::new(vertices.to_vec(), None, [0.0, 0.0]);
    let count = vertices.len();
    let mut pairs = 0;
    let limit = count.saturating_mul(PAIRS_PER_EDGE).max(LEAST_PAIRS);
    for index in 0..count {
        let (a, b) = outline.edge(index, 0.0);
        let mut found = false;
        let query = edge_box(a, b);
        outline.visit(&query, |other| {
            pairs += 1;
            let is_neighbour = other + 1 == index || index + 1 == other || index.abs_diff(other) + 1 == count;
            if other > index && !is_neighbour {
                let (c, d) = outline.edge(other, 0.0);
                found = turn(a, b, c) * turn(a, b, d) < 0.0 && turn(c, d, a) * turn(c, d, b) < 0.0;
            }
            found || pairs > limit
        });
        if found {
            return Crossing::Found;
        }
        if pairs > limit {
            return Crossing::Unknown;
        }
    }
    Crossing::None
}

fn turn(a: Point2, b: Point2, c: Point2) -> f64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

fn edge_box(a: Point2, b: Point2) -> Bounds {
    [[a[0].min(b[0]), a[0].max(b[0])], [a[1].min(b[1]), a[1].max(b[1])], [0.0, 0.0]]
}

/// A polygon, and with rates, all polygons between two shifts of it.
#[derive(Debug)]
pub(super) struct Outline {
    vertices: Vec<Point2>,
    rates: Option<Vec<Point2>>,
    /// Over the boxes of the edges, each widened to where it moves between the least and greatest shift.
    tree: Option<Tree>,
}

impl Outline {
    pub(super) fn new(vertices: Vec<Point2>, rates: Option<Vec<Point2>>, shifts: [f64; 2]) -> Self {
        let mut outline = Self { vertices, rates, tree: None };
        if outline.vertices.len() > SMALL {
            let boxes: Vec<Bounds> = (0..outline.vertices.len())
                .map(|index| {
                    let [one, other] = shifts.map(|shift| {
                        let (a, b) = outline.edge(index, shift);
                        edge_box(a, b)
                    });
                    std::array::from_fn(|axis| {
                        [one[axis][0].min(other[axis][0]), one[axis][1].max(other[axis][1])]
                    })
                })
                .collect();
            outline.tree = Some(Tree::new(&boxes, CHEAP));
        }
        outline
    }

    pub(super) fn vertices(&self) -> &[Point2] {
        &self.vertices
    }

    fn vertex(&self, index: usize, shift: f64) -> Point2 {
        match &self.rates {
            Some(rates) => along(self.vertices[index], shift, rates[index]),
            None => self.vertices[index],
        }
    }

    fn edge(&self, index: usize, shift: f64) -> (Point2, Point2) {
        let next = if index + 1 == self.vertices.len() { 0 } else { index + 1 };
        (self.vertex(index, shift), self.vertex(next, shift))
    }

    /// Visits the edges whose leaf overlaps the box (all, without an index) until `visit` answers true.
    fn visit(&self, query: &Bounds, visit: impl FnMut(usize) -> bool) -> bool {
        match &self.tree {
            Some(tree) => tree.any_overlapping(query, visit),
            None => (0..self.vertices.len()).any(visit),
        }
    }

    /// Whether the polygon at this shift contains the point, or an edge is nearer than the tolerance.
    pub(super) fn contains(&self, point: Point2, shift: f64, tolerance: f64) -> bool {
        let query =
            [[point[0] - tolerance, f64::INFINITY], [point[1] - tolerance, point[1] + tolerance], [0.0, 0.0]];
        let mut inside = false;
        let near = self.visit(&query, |index| {
            let (a, b) = self.edge(index, shift);
            inside ^= crosses_ray(a, b, point);
            a[1].min(b[1]) <= query[1][1]
                && query[1][0] <= a[1].max(b[1])
                && a[0].min(b[0]) - tolerance <= point[0]
                && point[0] <= a[0].max(b[0]) + tolerance
                && square_to_segment(a, b, point) < tolerance * tolerance
        });
        near || inside
    }

    /// The distance to the boundary of the polygon without a shift, or the limit if it is not nearer.
    pub(super) fn distance(&self, point: Point2, limit: f64) -> f64 {
        let square = |index: usize| {
            let (a, b) = self.edge(index, 0.0);
            square_to_segment(a, b, point)
        };
        let limit = limit * limit;
        match &self.tree {
            Some(tree) => tree.nearest([point[0], point[1], 0.0], limit, |index, _| square(index)),
            None => (0..self.vertices.len()).map(square).fold(limit, f64::min),
        }
        .sqrt()
    }
}
