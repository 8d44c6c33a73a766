//! Extruded polygons, with vertical or slanted walls.

use serde_json::Value;

use super::arc::{self, Arc};
use super::facets::Facets;
use super::feature::Features;
use super::outline::{
    Crossing, Outline, all_collapsed, edges, first_collapse, rates, self_crossing, shifted, signed_area,
    without_duplicates,
};
use super::read::{finite, number, numbers};
use super::round::{LARGE_LENGTH, ReferencePlane, sidewall_tangent, transverse};
use super::vector::{Point2, Point3, norm, subtract};
use super::{Bounds, MAXIMUM_VERTICES, POLYGON_TOLERANCE};
use crate::reading::{Fields, Part, SceneError, join};

/// A polygon of less area than this, in square micrometres, is refused, as the client does.
const LEAST_AREA: f64 = POLYGON_TOLERANCE;

/// Coordinates this near, relative to their size, make an edge parallel to an axis.
const PARALLEL: f64 = 1e-12;

/// Fractions of a shift at which slanted slabs are tested for walls that run into each other.
const SAMPLES: [f64; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];

#[derive(Debug)]
pub(super) struct PolySlab {
    axis: usize,
    /// Lower and upper end, possibly infinite.
    ends: [f64; 2],
    /// The height at which the outline is unshifted.
    reference: f64,
    tangent: f64,
    outline: Outline,
    bounds: Bounds,
    lengths: Lengths,
    /// The walls of a slanted slab, for distances, and the outlines of its two ends.
    slanted: Option<Box<Slanted>>,
}

/// What meshes may have to resolve: straight edges, and arcs with their ends.
#[derive(Debug, Default)]
struct Lengths {
    edges: Vec<(Point2, Point2)>,
    arcs: Vec<(Arc, Point2, Point2)>,
}

#[derive(Debug)]
struct Slanted {
    walls: Facets,
    caps: [Outline; 2],
}

impl PolySlab {
    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self, SceneError> {
        let axis = fields.axis()?;
        let ends: [f64; 2] =
            numbers(fields.required("slab_bounds")?, &fields.path_of("slab_bounds"), number)?;
        if ends[1] < ends[0] || ends[0] == f64::INFINITY || ends[1] == f64::NEG_INFINITY {
            let path = fields.path_of("slab_bounds");
            return Err(
                Part::Geometry.invalid(path, "the lower bound of a slab must not exceed the upper one")
            );
        }
        let tangent = sidewall_tangent(fields)?;
        if tangent != 0.0 && ends.iter().any(|end| end.abs() >= LARGE_LENGTH) {
            let path = fields.path_of("slab_bounds");
            return Err(Part::Geometry.unsupported(path, "a slanted slab of infinite thickness"));
        }
        let dilation = fields.finite_or("dilation", 0.0)?;
        let reference = match ReferencePlane::from_fields(fields)? {
            ReferencePlane::Bottom => ends[0],
            ReferencePlane::Middle => f64::midpoint(ends[0], ends[1]),
            ReferencePlane::Top => ends[1],
        };

        let given = read_vertices(fields)?;
        let (mut vertices, bulges) = canonical(fields, &given)?;
        let has_arcs = bulges.iter().any(|bulge| bulge.abs() > arc::STRAIGHT);
        if has_arcs && (tangent != 0.0 || dilation != 0.0) {
            let path = fields.path_of("bulges");
            return Err(Part::Geometry.unsupported(path, "a slanted or dilated slab with circular edges"));
        }
        let mut lengths = Lengths::default();
        let mut extremes = Vec::new();
        if has_arcs {
            let mut chords = Vec::new();
            for ((a, b), &bulge) in edges(&vertices).zip(&bulges) {
                chords.push(a);
                if bulge.abs() > arc::STRAIGHT {
                    let arc = Arc::new(a, b, bulge);
                    chords.extend(arc.points());
                    extremes.extend(arc.extremes());
                    lengths.arcs.push((arc, a, b));
                } else {
                    lengths.edges.push((a, b));
                }
            }
            vertices = chords;
        }

        let heights = ends.map(|end| if tangent == 0.0 { 0.0 } else { -(end - reference) * tangent });
        let client_bounds =
            client_bounds(&given, &vertices, &extremes, dilation + heights[0].max(heights[1]));
        let mut path = fields.path_of("dilation");
        if dilation != 0.0 {
            vertices = dilated(&vertices, dilation, tangent != 0.0, &path)?;
        }
        if !has_arcs {
            lengths.edges.extend(edges(&vertices));
        }
        let mut slanted = None;
        let mut outline_rates = None;
        if tangent != 0.0 && ends[1] > ends[0] {
            path = fields.path_of("sidewall_angle");
            let rates = rates(&vertices);
            for shift in heights.into_iter().filter(|&shift| shift != 0.0) {
                check_walls(&vertices, &rates, shift, &path)?;
            }
            slanted = Some(Box::new(Slanted::new(axis, ends, heights, &vertices, &rates)));
            outline_rates = Some(rates);
        }
        let [first, second] = transverse(axis);
        let mut bounds = [ends; 3];
        [bounds[first], bounds[second]] = client_bounds;
        let outline = Outline::new(vertices, outline_rates, heights);
        Ok(Self { axis, ends, reference, tangent, outline, bounds, lengths, slanted })
    }

    /// Equal to the client's, which does not take erosion into account: never smaller than the slab.
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(super) fn contains(&self, point: Point3) -> bool {
        let height = point[self.axis];
        let [low, high] = self.ends;
        let inside_height = if low.is_finite() && high.is_finite() {
            // The client's comparison, so that points on an end agree with it.
            (height - f64::midpoint(low, high)).abs() <= (high - low) / 2.0
        } else {
            low <= height && height <= high
        };
        inside_height && self.outline.contains(self.flat(point), self.shift_at(height), POLYGON_TOLERANCE)
    }

    fn flat(&self, point: Point3) -> Point2 {
        transverse(self.axis).map(|axis| point[axis])
    }

    fn shift_at(&self, height: f64) -> f64 {
        if self.slanted.is_some() { -(height - self.reference) * self.tangent } else { 0.0 }
    }

    /// Exact, the chords of arcs taken as the surface.
    pub(super) fn distance(&self, point: Point3, limit: f64) -> f64 {
        let height = point[self.axis];
        let flat = self.flat(point);
        if let Some(slanted) = &self.slanted {
            let mut nearest = slanted.walls.distance(point, limit);
            for (cap, end) in slanted.caps.iter().zip(self.ends) {
                if (height - end).abs() < nearest && cap.contains(flat, 0.0, 0.0) {
                    nearest = (height - end).abs();
                }
            }
            return nearest;
        }
        let sideways = self.outline.distance(flat, limit);
        let is_over = self.outline.contains(flat, 0.0, 0.0);
        let beyond = (self.ends[0] - height).max(height - self.ends[1]);
        match (is_over, beyond > 0.0) {
            (true, true) => beyond,
            (true, false) => sideways.min(-beyond),
            (false, true) => sideways.hypot(beyond),
            (false, false) => sideways,
        }
    }

    /// A rectangle with vertical walls.
    pub(super) fn as_aligned_box(&self) -> Option<Bounds> {
        let vertices = self.outline.vertices();
        let is_rectangle = self.slanted.is_none()
            && self.lengths.arcs.is_empty()
            && vertices.len() == 4
            && edges(vertices).all(|(a, b)| a[0] == b[0] || a[1] == b[1]);
        let mut bounds = [self.ends; 3];
        for (place, axis) in transverse(self.axis).into_iter().enumerate() {
            let coordinates = vertices.iter().map(|vertex| vertex[place]);
            bounds[axis] = [
                coordinates.clone().fold(f64::INFINITY, f64::min),
                coordinates.fold(f64::NEG_INFINITY, f64::max),
            ];
        }
        is_rectangle.then_some(bounds)
    }

    pub(super) fn collect_planes(&self, features: &mut Features) {
        for end in self.ends {
            features.plane(self.axis, end);
        }
        if self.slanted.is_some() {
            return;
        }
        let axes = transverse(self.axis);
        for &(a, b) in &self.lengths.edges {
            for (place, axis) in axes.into_iter().enumerate() {
                if (a[place] - b[place]).abs() <= PARALLEL * a[place].abs().max(1.0) {
                    features.plane(axis, a[place]);
                }
            }
        }
    }

    /// The edges at the reference plane and the thickness; arcs count as circles of their radius.
    pub(super) fn collect_sizes(&self, features: &mut Features) {
        features.side(self.ends[1] - self.ends[0], self.bounds);
        let axes = transverse(self.axis);
        let around = |a: Point2, b: Point2| {
            let mut bounds = [self.ends; 3];
            for (place, axis) in axes.into_iter().enumerate() {
                bounds[axis] = [a[place].min(b[place]), a[place].max(b[place])];
            }
            bounds
        };
        for &(a, b) in &self.lengths.edges {
            features.side(norm(subtract(b, a)), around(a, b));
        }
        for &(arc, a, b) in &self.lengths.arcs {
            let mut bounds = around(a, b);
            for extreme in arc.extremes() {
                for (place, axis) in axes.into_iter().enumerate() {
                    bounds[axis] = [bounds[axis][0].min(extreme[place]), bounds[axis][1].max(extreme[place])];
                }
            }
            features.circumference(arc.radius, bounds);
        }
    }
}

impl Slanted {
    fn new(axis: usize, ends: [f64; 2], shifts: [f64; 2], vertices: &[Point2], rates: &[Point2]) -> Self {
        let [first, second] = transverse(axis);
        let [bottom, top] = shifts.map(|shift| shifted(vertices, rates, shift));
        let lift = |vertex: &Point2, height: f64| {
            let mut point = [height; 3];
            [point[first], point[second]] = *vertex;
            point
        };
        let points: Vec<Point3> = bottom
            .iter()
            .map(|vertex| lift(vertex, ends[0]))
            .chain(top.iter().map(|vertex| lift(vertex, ends[1])))
            .collect();
        let count = u32::try_from(vertices.len()).unwrap_or(u32::MAX);
        let triangles = (0..count)
            .flat_map(|one| {
                let next = (one + 1) % count;
                [[one, next, count + one], [next, count + next, count + one]]
            })
            .collect();
        let caps = [bottom, top].map(|cap| Outline::new(cap, None, [0.0; 2]));
        Self { walls: Facets::new(points, triangles), caps }
    }
}

fn read_vertices(fields: &Fields<'_>) -> Result<Vec<Point2>, SceneError> {
    let path = fields.path_of("vertices");
    let values = Part::Geometry.list(fields.required("vertices")?, &path)?;
    if values.len() > MAXIMUM_VERTICES {
        return Err(Part::Geometry.too_many(path, "vertices of one polygon", MAXIMUM_VERTICES));
    }
    let read = |(index, value): (usize, &Value)| match value {
        Value::Array(pair) => match pair.as_slice() {
            [Value::Number(one), Value::Number(other)] => match (one.as_f64(), other.as_f64()) {
                (Some(one), Some(other)) => Ok([one, other]),
                _ => Err(Part::Geometry.invalid(join(&path, index), "two finite numbers are expected")),
            },
            _ => numbers(value, &join(&path, index), finite),
        },
        _ => Err(Part::Geometry.invalid(join(&path, index), "a vertex is a list of two numbers")),
    };
    values.iter().enumerate().map(read).collect()
}

/// Counter-clockwise vertices without repetitions, and the bulges of their edges.
fn canonical(fields: &Fields<'_>, given: &[Point2]) -> Result<(Vec<Point2>, Vec<f64>), SceneError> {
    let path = fields.path_of("vertices");
    let degenerate = || Part::Geometry.invalid(path.as_str(), "the polygon encloses no area");
    let Some(value) = fields.optional("bulges") else {
        let mut vertices = without_duplicates(given);
        let area = signed_area(&vertices);
        if vertices.len() < 3 || area.abs() < LEAST_AREA {
            return Err(degenerate());
        }
        if area < 0.0 {
            vertices.reverse();
        }
        let bulges = vec![0.0; vertices.len()];
        return Ok((vertices, bulges));
    };

    let bulges_path = fields.path_of("bulges");
    let values = Part::Geometry.list(value, &bulges_path)?;
    if values.len() != given.len() {
        return Err(Part::Geometry.invalid(bulges_path, "there must be one bulge per vertex"));
    }
    let mut vertices = Vec::with_capacity(given.len());
    let mut bulges = Vec::with_capacity(given.len());
    for (index, ((a, b), value)) in edges(given).zip(values).enumerate() {
        let bulge = finite(value, &join(&bulges_path, index))?;
        if norm(subtract(b, a)) > 1e-8 {
            vertices.push(a);
            bulges.push(bulge);
        } else if bulge.abs() > arc::STRAIGHT {
            let path = join(&bulges_path, index);
            return Err(Part::Geometry.invalid(path, "an edge without length cannot be an arc"));
        }
    }
    let segments: f64 = edges(&vertices)
        .zip(&bulges)
        .filter(|(_, bulge)| bulge.abs() > arc::STRAIGHT)
        .map(|((a, b), &bulge)| Arc::new(a, b, bulge).segment_area())
        .sum();
    let area = signed_area(&vertices) + segments;
    if vertices.len() < 2 || area.is_nan() || area.abs() < LEAST_AREA {
        return Err(degenerate());
    }
    if area < 0.0 {
        // Edge i of the reversed polygon is edge n-2-i of the given one, run through backwards.
        vertices.reverse();
        bulges.reverse();
        bulges.rotate_left(1);
        bulges.iter_mut().for_each(|bulge| *bulge = -*bulge);
    }
    Ok((vertices, bulges))
}

/// The bounds of the cross-section as the client states them: of the polygon at its greatest outward
/// shift, or of the vertices as given if there is none.
fn client_bounds(given: &[Point2], vertices: &[Point2], extremes: &[Point2], outward: f64) -> [[f64; 2]; 2] {
    let dilated;
    let vertices = if outward > 0.0 {
        dilated = shifted(vertices, &rates(vertices), outward);
        &dilated
    } else {
        given
    };
    let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 2];
    for vertex in vertices.iter().chain(extremes) {
        for (side, coordinate) in bounds.iter_mut().zip(vertex) {
            *side = [side[0].min(*coordinate), side[1].max(*coordinate)];
        }
    }
    bounds
}

/// The polygon with its edges moved outwards by `dilation`, refused if it is no simple polygon any more.
///
/// An edge may vanish and reappear reversed where a concave corner closes: the client takes the polygon
/// as it then is, so only the result is judged. With slanted walls the reversed edge would move the
/// wrong way, and the slab is refused.
fn dilated(
    vertices: &[Point2],
    dilation: f64,
    is_slanted: bool,
    path: &str,
) -> Result<Vec<Point2>, SceneError> {
    let rates = rates(vertices);
    let result = shifted(vertices, &rates, dilation);
    if let Some(collapse) = first_collapse(vertices, &rates, dilation) {
        if signed_area(&result) < LEAST_AREA || all_collapsed(vertices, &rates, dilation) {
            return Err(Part::Geometry.unsupported(path, "an erosion that leaves nothing of the polygon"));
        }
        if is_slanted {
            return Err(Part::Geometry.unsupported(
                path,
                format!(
                    "a slanted slab whose polygon intersects itself when dilated by more than {collapse:.6} um"
                ),
            ));
        }
    }
    refuse_crossing(&result, path, "by the dilation")?;
    Ok(result)
}

/// Refuses walls that run into each other: where the polygon would lose edges, split, or grow holes.
///
/// What happens within the polygon tolerance of the end is let pass: a slab may end in a point.
fn check_walls(vertices: &[Point2], rates: &[Point2], shift: f64, path: &str) -> Result<(), SceneError> {
    let shift = shift.signum() * (shift.abs() - POLYGON_TOLERANCE).max(0.0);
    if let Some(collapse) = first_collapse(vertices, rates, shift) {
        return Err(Part::Geometry.unsupported(
            path,
            format!(
                "a slanted slab that intersects itself where its edges have moved by {:.6} um, of {:.6} um,",
                collapse.abs(),
                shift.abs()
            ),
        ));
    }
    SAMPLES.into_iter().try_for_each(|fraction| {
        refuse_crossing(&shifted(vertices, rates, fraction * shift), path, "along slanted walls")
    })
}

fn refuse_crossing(vertices: &[Point2], path: &str, cause: &str) -> Result<(), SceneError> {
    let what = match self_crossing(vertices) {
        Crossing::None => return Ok(()),
        Crossing::Found => "a polygon that intersects itself when its edges move",
        Crossing::Unknown => "a polygon of so many overlapping edges whose edges move",
    };
    Err(Part::Geometry.unsupported(path, format!("{what} {cause}")))
}
