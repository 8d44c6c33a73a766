//! The metal of a scene on a plane, as polygons.
//!
//! The client unites the cross-sections with a general polygon engine. Here, rectangles are united exactly,
//! whatever way they overlap; other outlines are taken as they are and must be apart from everything else. What
//! is beyond that is refused by name: a polygon with a vertex too many would displace grid lines.

use wavetask_document::ArraySource;

use crate::boundaries::error::GridError;
use crate::boundaries::json::Node;
use crate::geometry::Geometry;

/// Infinite outlines end here, as the client's do, in micrometres.
const FAR: f64 = 1e10;

/// Segments of a quarter of a circle in the client's outlines.
const QUARTER_SEGMENTS: u32 = 8;

/// How many rectangles that touch each other are united.
const MAXIMUM_RECTANGLES: usize = 1000;

/// How many outlines of metal one layer may have.
const MAXIMUM_OUTLINES: usize = 10_000;

/// How many points the outlines of one layer may have together that are no rectangles.
const MAXIMUM_POINTS: usize = 20_000;

/// A point of a plane: the two coordinates in the order of their axes.
pub(in crate::boundaries) type Point = [f64; 2];

/// A region with at most one hole. The outline runs clockwise, that of the hole the other way round; both
/// start at the point of the least first, then second coordinate, and do not repeat it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::boundaries) struct Polygon {
    pub(in crate::boundaries) exterior: Vec<Point>,
    pub(in crate::boundaries) hole: Option<Vec<Point>>,
}

impl Polygon {
    /// The outline, then that of the hole.
    pub(in crate::boundaries) fn rings(&self) -> impl Iterator<Item = &Vec<Point>> {
        std::iter::once(&self.exterior).chain(&self.hole)
    }

    /// `[low, high]` along both axes.
    pub(in crate::boundaries) fn bounds(&self) -> [[f64; 2]; 2] {
        bounds_of(&self.exterior)
    }
}

/// A plane normal to an axis, and the rectangle on it that is looked at; infinite where it is not bounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    pub(super) axis: usize,
    pub(super) position: f64,
    pub(super) bounds: [[f64; 2]; 2],
}

/// A cross-section of one simple shape.
#[derive(Clone, Debug)]
enum Outline {
    Rectangle([[f64; 2]; 2]),
    Other(Vec<Point>),
}

/// The axes in the plane normal to an axis.
pub(in crate::boundaries) fn tangential(axis: usize) -> [usize; 2] {
    match axis {
        0 => [1, 2],
        1 => [0, 2],
        _ => [0, 1],
    }
}

/// The united cross-sections of geometries on a plane, in the client's order.
pub(super) fn united(
    geometries: &[Node<'_>],
    plane: &Plane,
    arrays: &dyn ArraySource,
) -> Result<Vec<Polygon>, GridError> {
    let mut outlines = Vec::new();
    for geometry in geometries {
        let bounds = Geometry::from_json(geometry.value, &geometry.path, arrays)?.bounds();
        let axes = tangential(plane.axis);
        let meets = |axis: usize, [low, high]: [f64; 2]| bounds[axis][0] <= high && bounds[axis][1] >= low;
        if meets(plane.axis, [plane.position; 2]) && (0..2).all(|side| meets(axes[side], plane.bounds[side]))
        {
            cut(geometry, plane, arrays, &mut outlines)?;
        }
    }
    let mut polygons = Vec::new();
    let path = || geometries.first().map_or(String::new(), |geometry| geometry.path.clone());
    let points = outlines.iter().map(|outline| match outline {
        Outline::Rectangle(_) => 0,
        Outline::Other(ring) => ring.len(),
    });
    for (count, what, limit) in [
        (outlines.len(), "shapes of metal in a layer", MAXIMUM_OUTLINES),
        (points.sum(), "points of metal outlines in a layer", MAXIMUM_POINTS),
    ] {
        if count > limit {
            return Err(GridError::LimitExceeded { path: path(), what, limit });
        }
    }
    let boxes: Vec<_> = outlines.iter().map(Outline::bounds).collect();
    for group in connected(&boxes, |one, other| outlines[one].touches(&outlines[other])) {
        match group.as_slice() {
            [only] => polygons.push(Polygon { exterior: outlines[*only].ring(), hole: None }),
            several => {
                let rectangles = several
                    .iter()
                    .map(|&index| match &outlines[index] {
                        Outline::Rectangle(bounds) => Ok(*bounds),
                        Outline::Other(_) => Err(GridError::unsupported(
                            path(),
                            "in a refined layer, metal that touches other metal and is no box",
                        )),
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                polygons.push(
                    union_of_rectangles(&rectangles).map_err(|what| GridError::unsupported(path(), what))?,
                );
            }
        }
    }
    // The client's order: outlines of more points first, then those further up the axes.
    polygons.sort_by(|a, b| {
        let (a, b) = (&a.exterior, &b.exterior);
        b.len().cmp(&a.len()).then_with(|| compare(b, a))
    });
    Ok(polygons)
}

impl Outline {
    fn bounds(&self) -> [[f64; 2]; 2] {
        match self {
            Self::Rectangle(bounds) => *bounds,
            Self::Other(ring) => bounds_of(ring),
        }
    }

    /// Whether two outlines whose bounding boxes touch have a point in common.
    fn touches(&self, other: &Self) -> bool {
        if matches!((self, other), (Self::Rectangle(_), Self::Rectangle(_))) {
            return true;
        }
        let (one, other) = (self.ring(), other.ring());
        let edges = |ring: &[Point]| -> Vec<[Point; 2]> {
            (0..ring.len()).map(|index| [ring[index], ring[(index + 1) % ring.len()]]).collect()
        };
        let (edges_one, edges_other) = (edges(&one), edges(&other));
        contains(&one, other[0])
            || contains(&other, one[0])
            || edges_one.iter().any(|a| edges_other.iter().any(|b| cross(a, b)))
    }

    fn ring(&self) -> Vec<Point> {
        match self {
            Self::Rectangle([[left, right], [low, high]]) => {
                vec![[*left, *low], [*left, *high], [*right, *high], [*right, *low]]
            }
            Self::Other(ring) => normalised(ring.clone(), false),
        }
    }
}

/// Adds the cross-sections of a geometry.
fn cut(
    node: &Node<'_>,
    plane: &Plane,
    arrays: &dyn ArraySource,
    outlines: &mut Vec<Outline>,
) -> Result<(), GridError> {
    let kind = node.kind()?;
    if kind == "GeometryGroup" {
        for member in node.required("geometries")?.list()? {
            cut(&member, plane, arrays, outlines)?;
        }
        return Ok(());
    }
    let geometry = Geometry::from_json(node.value, &node.path, arrays)?;
    let bounds = geometry.bounds();
    if bounds[plane.axis][0] > plane.position || bounds[plane.axis][1] < plane.position {
        return Ok(());
    }
    let axes = tangential(plane.axis);
    let ring = match (kind, geometry.as_aligned_box()) {
        ("Box" | "PolySlab", Some(aligned)) => {
            let sides: [[f64; 2]; 2] = std::array::from_fn(|side| {
                let [low, high] = aligned[axes[side]];
                let [from, to] = plane.bounds[side];
                [low.max(from).max(-FAR), high.min(to).min(FAR)]
            });
            if sides.iter().all(|[low, high]| low < high) {
                outlines.push(Outline::Rectangle(sides));
            }
            return Ok(());
        }
        ("PolySlab", None) if along_normal(node, plane)? && is_plain_slab(node)? => {
            let vertices = node.required("vertices")?.list()?;
            let mut ring = vertices.iter().map(point).collect::<Result<Vec<_>, _>>()?;
            ring.dedup();
            while ring.len() > 1 && ring.first() == ring.last() {
                ring.pop();
            }
            ring
        }
        ("Cylinder", None) if along_normal(node, plane)? && is_straight(node)? => {
            let radius = node.required("radius")?.finite()?;
            let center = node.optional("center").map_or(Ok([0.0; 3]), |node| node.three(Node::finite))?;
            let count = 4 * QUARTER_SEGMENTS;
            let corner = |index: u32| {
                let angle = f64::from(index) * (std::f64::consts::TAU / f64::from(count));
                [center[axes[0]] + radius * angle.cos(), center[axes[1]] - radius * angle.sin()]
            };
            if radius <= 0.0 {
                return Ok(());
            }
            (0..count).map(corner).collect()
        }
        _ => {
            return Err(node.unsupported(format!("in a refined layer, metal of this `{kind}`")));
        }
    };
    let (found, window) = (bounds_of(&ring), plane.bounds);
    if (0..2).any(|side| found[side][0] >= window[side][1] || found[side][1] <= window[side][0]) {
        return Ok(());
    }
    if (0..2).any(|side| found[side][0] < window[side][0] || found[side][1] > window[side][1]) {
        return Err(node.unsupported("metal that is no box and is cut by the bounds of a refined layer"));
    }
    outlines.push(Outline::Other(ring));
    Ok(())
}

fn point(node: &Node<'_>) -> Result<Point, GridError> {
    match node.list()?.as_slice() {
        [first, second] => Ok([first.finite()?, second.finite()?]),
        _ => Err(node.invalid("two numbers are expected")),
    }
}

/// Whether the axis of an extruded shape is normal to the plane.
fn along_normal(node: &Node<'_>, plane: &Plane) -> Result<bool, GridError> {
    Ok(node.optional("axis").map_or(Ok(2), |node| node.axis())? == plane.axis)
}

fn is_straight(node: &Node<'_>) -> Result<bool, GridError> {
    Ok(node.optional("sidewall_angle").map_or(Ok(0.0), |node| node.finite())? == 0.0)
}

fn is_plain_slab(node: &Node<'_>) -> Result<bool, GridError> {
    let straight_edges = node.list_or_empty("bulges")?.iter().all(|bulge| bulge.value.as_f64() == Some(0.0));
    let dilation = node.optional("dilation").map_or(Ok(0.0), |node| node.finite())?;
    Ok(is_straight(node)? && dilation == 0.0 && straight_edges)
}

fn bounds_of(ring: &[Point]) -> [[f64; 2]; 2] {
    std::array::from_fn(|side| {
        ring.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], point| {
            [low.min(point[side]), high.max(point[side])]
        })
    })
}

/// Twice the area of a triangle, positive if it runs counterclockwise.
fn turn(a: Point, b: Point, c: Point) -> f64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// Whether two edges have a point in common, ends included.
fn cross(one: &[Point; 2], other: &[Point; 2]) -> bool {
    let [a, b] = *one;
    let [c, d] = *other;
    let overlap = (0..2).all(|side| {
        a[side].max(b[side]) >= c[side].min(d[side]) && c[side].max(d[side]) >= a[side].min(b[side])
    });
    overlap && turn(a, b, c) * turn(a, b, d) <= 0.0 && turn(c, d, a) * turn(c, d, b) <= 0.0
}

/// Whether a point is inside a ring, by the crossings of a ray; points on the ring may be either.
fn contains(ring: &[Point], point: Point) -> bool {
    let mut inside = false;
    for (index, a) in ring.iter().enumerate() {
        let b = ring[(index + 1) % ring.len()];
        if (a[1] > point[1]) != (b[1] > point[1]) {
            let crossing = a[0] + (point[1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0]);
            inside ^= point[0] < crossing;
        }
    }
    inside
}

/// Sets of boxes that hang together, sides and corners included, in the order of their first boxes. Of two boxes
/// that touch, `touches` has the last word.
pub(super) fn connected(boxes: &[[[f64; 2]; 2]], touches: impl Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
    let mut root: Vec<usize> = (0..boxes.len()).collect();
    fn find(root: &mut [usize], mut index: usize) -> usize {
        while root[index] != index {
            root[index] = root[root[index]];
            index = root[index];
        }
        index
    }
    // Sorted by their left sides, boxes that overlap are found among those that start before one ends.
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| boxes[a][0][0].total_cmp(&boxes[b][0][0]));
    for (rank, &index) in order.iter().enumerate() {
        for &other in &order[rank + 1..] {
            if boxes[other][0][0] > boxes[index][0][1] {
                break;
            }
            let overlap =
                boxes[other][1][0] <= boxes[index][1][1] && boxes[index][1][0] <= boxes[other][1][1];
            if overlap && touches(index, other) {
                let (a, b) = (find(&mut root, index), find(&mut root, other));
                root[a] = b;
            }
        }
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of = vec![usize::MAX; boxes.len()];
    for index in 0..boxes.len() {
        let top = find(&mut root, index);
        if group_of[top] == usize::MAX {
            group_of[top] = groups.len();
            groups.push(Vec::new());
        }
        groups[group_of[top]].push(index);
    }
    groups
}

/// The union of rectangles that hang together; an error says what is not supported.
fn union_of_rectangles(rectangles: &[[[f64; 2]; 2]]) -> Result<Polygon, &'static str> {
    if rectangles.len() > MAXIMUM_RECTANGLES {
        return Err("a refined layer with so many metal boxes that touch each other");
    }
    let coordinates: [Vec<f64>; 2] = std::array::from_fn(|side| {
        let mut values: Vec<f64> = rectangles.iter().flat_map(|bounds| bounds[side]).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    });
    // Which cells between the coordinates are filled, with an empty border around.
    let (columns, rows) = (coordinates[0].len() + 1, coordinates[1].len() + 1);
    let mut filled = vec![false; columns * rows];
    for rectangle in rectangles {
        let range = |side: usize| {
            let index = |value: f64| coordinates[side].partition_point(|&coordinate| coordinate < value);
            index(rectangle[side][0]) + 1..index(rectangle[side][1]) + 1
        };
        for column in range(0) {
            for row in range(1) {
                filled[column * rows + row] = true;
            }
        }
    }
    // From each corner on the boundary to the next one, the filled cell on the right-hand side. The corner (i, j) is
    // between the cells (i, j) and (i + 1, j + 1).
    let corners = (columns - 1, rows - 1);
    let number = |column: usize, row: usize| column * corners.1 + row;
    let mut next = vec![usize::MAX; corners.0 * corners.1];
    for column in 0..corners.0 {
        for row in 0..corners.1 {
            let cell = |right: usize, up: usize| filled[(column + right) * rows + row + up];
            let here = [cell(0, 0), cell(0, 1), cell(1, 0), cell(1, 1)];
            if here == [true, false, false, true] || here == [false, true, true, false] {
                return Err("metal boxes in a refined layer that touch in a single point");
            }
            let [below_left, above_left, below_right, above_right] = here;
            let to = if above_right && !above_left {
                Some((column, row + 1))
            } else if below_right && !above_right {
                Some((column + 1, row))
            } else if below_left && !below_right {
                Some((column, row - 1))
            } else if above_left && !below_left {
                Some((column - 1, row))
            } else {
                None
            };
            if let Some((column_to, row_to)) = to {
                next[number(column, row)] = number(column_to, row_to);
            }
        }
    }
    let mut exterior = None;
    let mut hole = None;
    for start in 0..next.len() {
        let mut ring = Vec::new();
        let mut corner = start;
        while next[corner] != usize::MAX {
            ring.push([coordinates[0][corner / corners.1], coordinates[1][corner % corners.1]]);
            corner = std::mem::replace(&mut next[corner], usize::MAX);
        }
        if ring.is_empty() {
            continue;
        }
        let ring = with_corners_only(&ring, rectangles);
        if doubled_area(&ring) < 0.0 {
            exterior = Some(normalised(ring, false));
        } else if hole.replace(normalised(ring, true)).is_some() {
            return Err("metal in a refined layer with more than one hole");
        }
    }
    let exterior = exterior.ok_or("metal without extent in a refined layer")?;
    Ok(Polygon { exterior, hole })
}

/// Twice the area, positive for counterclockwise rings.
fn doubled_area(ring: &[Point]) -> f64 {
    let pairs = ring.iter().zip(ring.iter().cycle().skip(1));
    pairs.map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum()
}

/// The points at which the ring turns, and the corners of rectangles on it, which the client keeps, too.
fn with_corners_only(ring: &[Point], rectangles: &[[[f64; 2]; 2]]) -> Vec<Point> {
    let count = ring.len();
    let is_corner = |point: &Point| {
        rectangles.iter().any(|bounds| (0..2).all(|side| bounds[side].contains(&point[side])))
    };
    (0..count)
        .filter(|&index| {
            let (before, after) = (ring[(index + count - 1) % count], ring[(index + 1) % count]);
            let turns =
                (0..2).all(|side| before[side] != ring[index][side] || after[side] != ring[index][side]);
            turns || is_corner(&ring[index])
        })
        .map(|index| ring[index])
        .collect()
}

/// The ring in the given sense of rotation, from its least point on.
fn normalised(mut ring: Vec<Point>, counterclockwise: bool) -> Vec<Point> {
    if (doubled_area(&ring) > 0.0) != counterclockwise {
        ring.reverse();
    }
    let least = (0..ring.len()).min_by(|&a, &b| compare(&ring[a..=a], &ring[b..=b]));
    ring.rotate_left(least.unwrap_or(0));
    ring
}

/// Compares point by point, first coordinates first.
fn compare(a: &[Point], b: &[Point]) -> std::cmp::Ordering {
    let order = |(a, b): (&Point, &Point)| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]));
    a.iter().zip(b).map(order).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_unite_to_one_outline() {
        let ell = union_of_rectangles(&[[[0.0, 2.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 3.0]]]).expect("an L");
        // The corners of one box on the sides of the other are kept.
        let expected =
            [[0.0, 0.0], [0.0, 1.0], [0.0, 3.0], [1.0, 3.0], [1.0, 1.0], [2.0, 1.0], [2.0, 0.0], [1.0, 0.0]];
        assert_eq!(ell.exterior, expected);
        assert_eq!(ell.hole, None);
    }

    #[test]
    fn a_frame_has_a_hole_that_runs_the_other_way() {
        let frame = [
            [[0.0, 3.0], [0.0, 1.0]],
            [[0.0, 3.0], [2.0, 3.0]],
            [[0.0, 1.0], [0.0, 3.0]],
            [[2.0, 3.0], [0.0, 3.0]],
        ];
        let frame = union_of_rectangles(&frame).expect("a frame");
        assert_eq!(frame.exterior.len(), 12);
        assert_eq!(frame.exterior[..3], [[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]]);
        assert_eq!(frame.hole.expect("a hole"), [[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]]);
    }

    #[test]
    fn outlines_are_apart_where_their_boxes_are_not() {
        let triangle = Outline::Other(vec![[0.0, 0.0], [0.0, 4.0], [4.0, 0.0]]);
        let far = Outline::Rectangle([[3.0, 4.0], [3.0, 4.0]]);
        let inside = Outline::Rectangle([[0.5, 1.0], [0.5, 1.0]]);
        let across = Outline::Rectangle([[1.0, 5.0], [1.0, 2.0]]);
        assert!(!triangle.touches(&far) && triangle.touches(&inside) && across.touches(&triangle));
    }

    #[test]
    fn boxes_that_touch_in_a_point_are_refused() {
        assert!(union_of_rectangles(&[[[0.0, 1.0], [0.0, 1.0]], [[1.0, 2.0], [1.0, 2.0]]]).is_err());
    }
}
