//! How much of the edges and faces of a grid is outside of perfect conductors.
//!
//! A grid conforms to a conductor if Faraday's law is stated for what is left of each face: the field along an edge
//! counts with the length of its open part, the flux with the open area (S. Dey and R. Mittra, IEEE Microw. Guided
//! Wave Lett. 7, 273, 1997). Lengths and areas are all that the geometry contributes, the same in time and in frequency.
//!
//! Edges and faces are first cut at the plane faces of structures, so that boxes are exact. Pieces that a surface
//! passes are halved to a stated depth, unless the surface is farther from the middle than the corners are; where it
//! crosses an edge of the last pieces is found by bisection. Between crossings a surface of radius `R` is replaced by its
//! chord, in pieces of an eighth of the face: areas are good to `h / 768 R`, a small part of what the scheme itself neglects.
//!
//! **Surfaces.** A field along a surface vanishes, on whichever structure's side the client counts the points of the surface
//! itself: an edge is closed where any point beside it, a millionth of a cell away, is in the conductor.

use rayon::prelude::*;

use super::cells::Cells;
use super::content::{Meeting, Shapes, ball, volume};
use super::error::SubpixelError;
use crate::geometry::{Bounds, POLYGON_TOLERANCE};
use crate::media::{Medium, PERFECT_CONDUCTOR};
use crate::permittivity::Scene;

/// How often a piece of an edge is halved, and one of a face.
const DEPTHS: [usize; 2] = [4, 3];

/// Halvings that find a crossing on a piece: to a part of 2e-10 of it, and to 3e-8 where areas are made of crossings.
const BISECTIONS: [usize; 2] = [32, 25];

/// Points beside an edge are this part of the cells' size away, and more than the tolerance of polygons.
const BESIDE: f64 = 1e-6;

/// The part of an edge or a face that is outside of perfect conductors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opening {
    /// From 0, in a conductor or on its surface, to 1.
    pub share: f64,
    /// Of an edge: whether a conductor, of zero thickness too, lies between its open ends.
    pub is_pierced: bool,
}

/// Whether a medium conducts perfectly along all axes and has a volume.
pub fn is_solid_conductor(medium: &Medium) -> bool {
    let conducts = |axis: usize| medium.tensor(1.0)[axis][axis].re == PERFECT_CONDUCTOR;
    medium.is_perfect_conductor() && !medium.is_sheet() && (0..3).all(conducts)
}

/// The open parts of the edges, faces or corners that `cells` lists ([`Cells::of_edges`] and the like), row-major, z
/// fastest: of each its length over that of the edge, or its area over that of the face.
///
/// Along axes with a single coordinate the scene is taken as it is there, as on the plane of a cross-section. Runs on all
/// cores of the current rayon pool and takes 16 bytes each.
///
/// # Errors
/// Coordinates that do not ascend.
pub fn openings(scene: &Scene, cells: &Cells) -> Result<Vec<Opening>, SubpixelError> {
    cells.check()?;
    let [xs, ys, zs] = cells.extents.each_ref().map(Vec::as_slice);
    let mut openings = vec![Opening { share: 1.0, is_pierced: false }; xs.len() * ys.len() * zs.len()];
    let (Some(&[lowest, _]), Some(&[_, highest])) = (zs.first(), zs.last()) else { return Ok(openings) };
    let opener = Opener {
        shapes: Shapes::new(scene),
        conducts: scene.media().iter().map(is_solid_conductor).collect(),
        beside: cells.coordinates.each_ref().map(|list| match list[..] {
            [first, .., last] => {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^53 coordinates")]
                let spacing = (last - first) / (list.len() - 1) as f64;
                (BESIDE * spacing).max(4.0 * POLYGON_TOLERANCE)
            }
            _ => 0.0,
        }),
    };
    if !opener.conducts.contains(&true) {
        return Ok(openings);
    }
    let [reach_x, reach_y, reach_z] = opener.beside;
    let wider = |[low, high]: [f64; 2], margin: f64| [low - margin, high + margin];
    let scratch = || (Vec::new(), Vec::new());
    openings.par_chunks_mut(zs.len()).enumerate().for_each_init(
        scratch,
        |(candidates, found), (row, openings)| {
            let (across, along) = (xs[row / ys.len()], ys[row % ys.len()]);
            let region = [wider(across, reach_x), wider(along, reach_y), wider([lowest, highest], reach_z)];
            candidates.clear();
            scene.visit_overlapping(&region, |rank| candidates.push(rank));
            candidates.sort_unstable_by(|one, other| other.cmp(one));
            for (opening, &extent) in openings.iter_mut().zip(zs) {
                *opening = opener.opening(&[across, along, extent], candidates, found);
            }
        },
    );
    Ok(openings)
}

struct Opener<'a> {
    shapes: Shapes<'a>,
    /// By medium.
    conducts: Vec<bool>,
    /// How far the points beside an edge are along each axis.
    beside: [f64; 3],
}

impl Opener<'_> {
    fn opening(&self, part: &Bounds, candidates: &[usize], found: &mut Vec<usize>) -> Opening {
        let reach = |axis: usize| if part[axis][0] == part[axis][1] { self.beside[axis] } else { 0.0 };
        let around: Bounds =
            std::array::from_fn(|axis| [part[axis][0] - reach(axis), part[axis][1] + reach(axis)]);
        match self.shapes.meet(&around, candidates, found) {
            Meeting::Uniform(medium) => {
                Opening { share: f64::from(u8::from(!self.conducts[medium])), is_pierced: false }
            }
            Meeting::Mixed => match (0..3).filter(|&axis| part[axis][0] < part[axis][1]).count() {
                0 => {
                    let is_closed = self.is_closed(part.map(|[low, _]| low), part, found);
                    Opening { share: f64::from(u8::from(!is_closed)), is_pierced: false }
                }
                1 => self.edge(part, found),
                _ => self.face(part, found),
            },
        }
    }

    /// Whether the point is in a conductor.
    fn is_inside(&self, point: [f64; 3], ranks: &[usize]) -> bool {
        self.conducts[self.shapes.medium_at(point, ranks)]
    }

    /// Whether the point of an edge, or one beside it, is in a conductor.
    fn is_closed(&self, point: [f64; 3], edge: &Bounds, ranks: &[usize]) -> bool {
        let places: [Vec<f64>; 3] = std::array::from_fn(|axis| {
            let (place, reach) = (point[axis], self.beside[axis]);
            let mut places = vec![place];
            if edge[axis][0] == edge[axis][1] && reach > 0.0 {
                places.extend([place - reach, place + reach]);
                // Faces, and sheets without thickness, that rounding keeps apart from the grid line.
                self.shapes.planes_within(axis, [place - reach, place + reach], ranks, &mut places);
            }
            places
        });
        places[0]
            .iter()
            .any(|&x| places[1].iter().any(|&y| places[2].iter().any(|&z| self.is_inside([x, y, z], ranks))))
    }

    fn edge(&self, edge: &Bounds, ranks: &[usize]) -> Opening {
        let Some(axis) = (0..3).find(|&axis| edge[axis][0] < edge[axis][1]) else {
            return Opening { share: 1.0, is_pierced: false };
        };
        let closed_at = |place: f64| {
            let mut point = edge.map(|[low, _]| low);
            point[axis] = place;
            self.is_closed(point, edge, ranks)
        };
        let [low, high] = edge[axis];
        let pieces = self.shapes.intervals(edge[axis], axis, ranks);
        let length: f64 = pieces
            .iter()
            .map(|piece| self.open_length(edge, axis, *piece, ranks, DEPTHS[0], &closed_at))
            .sum();
        let share = (length / (high - low)).clamp(0.0, 1.0);
        let is_pierced = !closed_at(low)
            && !closed_at(high)
            && (share < 1.0 - BESIDE || pieces.iter().skip(1).any(|piece| closed_at(piece[0])));
        Opening { share, is_pierced }
    }

    /// The open length of a piece of an edge at which no box ends.
    fn open_length(
        &self,
        edge: &Bounds,
        axis: usize,
        [low, high]: [f64; 2],
        ranks: &[usize],
        depth: usize,
        closed_at: &dyn Fn(f64) -> bool,
    ) -> f64 {
        let middle = f64::midpoint(low, high);
        let mut center = edge.map(|[low, _]| low);
        center[axis] = middle;
        let beside = self.beside.iter().fold(0.0, |most: f64, reach| most.max(*reach));
        let reach = (high - low) / 2.0 + 2.0 * beside;
        if !self.shapes.is_near_surface(center, reach, ranks) {
            return if closed_at(middle) { 0.0 } else { high - low };
        }
        if depth > 0 {
            return [[low, middle], [middle, high]]
                .into_iter()
                .map(|half| self.open_length(edge, axis, half, ranks, depth - 1, closed_at))
                .sum();
        }
        // At its very ends a piece touches what the plane faces there belong to.
        let inset = (high - low) * BESIDE;
        match [closed_at(low + inset), closed_at(high - inset)] {
            [true, true] => 0.0,
            [false, false] => high - low,
            [false, true] => crossing(low, high, BISECTIONS[0], closed_at) - low,
            [true, false] => high - crossing(low, high, BISECTIONS[0], |place| !closed_at(place)),
        }
    }

    fn face(&self, face: &Bounds, ranks: &[usize]) -> Opening {
        let pieces: [Vec<[f64; 2]>; 3] =
            std::array::from_fn(|axis| self.shapes.intervals(face[axis], axis, ranks));
        let mut area = 0.0;
        for x in &pieces[0] {
            for y in &pieces[1] {
                for z in &pieces[2] {
                    area += self.open_area(&[*x, *y, *z], ranks, DEPTHS[1]);
                }
            }
        }
        Opening { share: (area / volume(face)).clamp(0.0, 1.0), is_pierced: false }
    }

    /// The open area of a piece of a face in which no box ends.
    fn open_area(&self, piece: &Bounds, ranks: &[usize], depth: usize) -> f64 {
        let (center, radius) = ball(piece);
        if !self.shapes.is_near_surface(center, radius, ranks) {
            return if self.is_inside(center, ranks) { 0.0 } else { volume(piece) };
        }
        let mut axes = (0..3).filter(|&axis| piece[axis][0] < piece[axis][1]);
        let (Some(first), Some(second)) = (axes.next(), axes.next()) else { return 0.0 };
        if depth == 0 {
            return self.cut_area(piece, [first, second], ranks);
        }
        let halves = |axis: usize| {
            let [low, high] = piece[axis];
            let middle = f64::midpoint(low, high);
            [[low, middle], [middle, high]]
        };
        let mut area = 0.0;
        for one in halves(first) {
            for other in halves(second) {
                let mut quarter = *piece;
                quarter[first] = one;
                quarter[second] = other;
                area += self.open_area(&quarter, ranks, depth - 1);
            }
        }
        area
    }

    /// The open area of a small rectangle whose edges are crossed at most once.
    fn cut_area(&self, piece: &Bounds, [first, second]: [usize; 2], ranks: &[usize]) -> f64 {
        let [width, height] = [first, second].map(|axis| piece[axis][1] - piece[axis][0]);
        // In coordinates from 0 to 1, a little inside, so that what ends at the rectangle's edges is not met.
        let is_inside = |[u, v]: [f64; 2]| {
            let mut point = piece.map(|[low, _]| low);
            point[first] += width * (BESIDE + u * (1.0 - 2.0 * BESIDE));
            point[second] += height * (BESIDE + v * (1.0 - 2.0 * BESIDE));
            self.is_inside(point, ranks)
        };
        let corners = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
        let inside = corners.map(is_inside);
        let closed = inside.iter().filter(|inside| **inside).count();
        if closed == 0 || closed == 4 {
            return if closed == 0 { width * height } else { 0.0 };
        }
        // Opposite corners alike: the middle says which of the two parts is connected.
        let is_saddle = closed == 2 && inside[0] == inside[2];
        let traces_closed = is_saddle && is_inside([0.5, 0.5]);
        let mut outline: Vec<[f64; 2]> = Vec::with_capacity(6);
        for start in 0..4 {
            let end = (start + 1) % 4;
            if inside[start] == traces_closed {
                outline.push(corners[start]);
            }
            if inside[start] != inside[end] {
                let at = |share: f64| {
                    [0, 1].map(|axis| {
                        corners[start][axis] + share * (corners[end][axis] - corners[start][axis])
                    })
                };
                outline
                    .push(at(crossing(0.0, 1.0, BISECTIONS[1], |share| is_inside(at(share)) == inside[end])));
            }
        }
        let area: f64 = (0..outline.len())
            .map(|place| {
                let ([x, y], [u, v]) = (outline[place], outline[(place + 1) % outline.len()]);
                (x * v - u * y) / 2.0
            })
            .sum();
        width * height * if traces_closed { 1.0 - area } else { area }
    }
}

/// Where a condition that fails at `low` and holds at `high` begins to hold.
fn crossing(mut low: f64, mut high: f64, steps: usize, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..steps {
        let middle = f64::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::f64::consts::PI;

    use serde_json::{Value, json};

    use super::*;

    fn scene(background: &Value, structures: &[(Value, Value)]) -> Scene {
        let structures: Vec<Value> = structures
            .iter()
            .map(|(geometry, medium)| json!({"geometry": geometry, "medium": medium}))
            .collect();
        let simulation = json!({"type": "Simulation", "medium": background, "structures": structures});
        Scene::read(&simulation, "", &BTreeMap::<String, wavetask_document::Array>::new()).unwrap()
    }

    fn conductor() -> Value {
        json!({"type": "PECMedium"})
    }

    fn glass() -> Value {
        json!({"type": "Medium", "permittivity": 2.25, "conductivity": 0.0})
    }

    fn cuboid(center: [f64; 3], size: [f64; 3]) -> Value {
        json!({"type": "Box", "center": center, "size": size})
    }

    fn cylinder(radius: f64) -> Value {
        json!({"type": "Cylinder", "center": [0.0, 0.0, 0.0], "radius": radius, "length": "Infinity", "axis": 2,
               "sidewall_angle": 0.0, "reference_plane": "middle"})
    }

    /// Lines that are `step` apart around zero, moved by a part of a step.
    fn lines(count: i32, step: f64, shift: f64) -> Vec<f64> {
        (-count..=count).map(|line| (f64::from(line) + shift) * step).collect()
    }

    #[test]
    fn a_round_hole_has_its_area_and_its_chords() {
        let hole = scene(&conductor(), &[(cylinder(1.0), glass())]);
        let [x, y, z] = [lines(12, 0.1, 0.23), lines(12, 0.1, 0.41), vec![0.0, 1.0]];
        let lists = [x.as_slice(), y.as_slice(), z.as_slice()];
        let faces = Cells::of_faces(lists, 2).unwrap().on_plane(2, 0.3);
        let area: f64 = openings(&hole, &faces).unwrap().iter().map(|part| part.share * 0.01).sum();
        // Chords of an eighth of a cell miss a twelfth of their square along the circumference.
        assert!((area - PI).abs() < 1e-4, "{area}");
        let edges = Cells::of_edges(lists, 0).unwrap().on_plane(2, 0.3);
        let found = openings(&hole, &edges).unwrap();
        for (column, y) in y[..y.len() - 1].iter().enumerate() {
            let length: f64 = found.iter().skip(column).step_by(24).map(|part| part.share * 0.1).sum();
            let chord = 2.0 * (1.0 - y * y).max(0.0).sqrt();
            // Points half a nanometre beside the edge are in the conductor, too.
            assert!((length - chord).abs() < 1e-5, "{y}: {length} {chord}");
        }
        assert!(found.iter().all(|part| !part.is_pierced));
        let corners = Cells::of_corners(lists).unwrap().on_plane(2, 0.3);
        let open = openings(&hole, &corners).unwrap().iter().filter(|part| part.share == 1.0).count();
        let inside = x[..24].iter().flat_map(|x| y[..24].iter().map(move |y| x * x + y * y < 1.0));
        assert_eq!(open, inside.filter(|inside| *inside).count());
    }

    #[test]
    fn a_ball_is_missing_from_a_volume() {
        let ball = scene(
            &glass(),
            &[(json!({"type": "Sphere", "center": [0.0, 0.0, 0.0], "radius": 0.5}), conductor())],
        );
        let list = lines(6, 0.1, 0.37);
        let faces = Cells::of_faces([&list; 3], 1).unwrap();
        let found = openings(&ball, &faces).unwrap();
        for (row, y) in list[..12].iter().enumerate() {
            let closed: f64 =
                (0..144).map(|place| 1.0 - found[place / 12 * 144 + row * 12 + place % 12].share).sum();
            let section = PI * (0.25 - y * y).max(0.0);
            assert!((closed * 0.01 - section).abs() < 1e-4, "{y}: {closed} {section}");
        }
    }

    #[test]
    fn surfaces_are_closed_whoever_owns_their_points() {
        let list = [0.0, 1.0, 2.0, 3.0, 4.0];
        let plate = cuboid([2.0, 2.0, 2.0], [1e3, 2.0, 1e3]);
        let rest = |middle: f64| cuboid([2.0, middle, 2.0], [1e3, 10.0, 1e3]);
        let conducting = scene(&glass(), &[(plate.clone(), conductor())]);
        let dug = scene(&conductor(), &[(rest(-4.0), glass()), (rest(8.0), glass())]);
        for scene in [conducting, dug] {
            for axis in [0, 2] {
                let edges = openings(&scene, &Cells::of_edges([&list; 3], axis).unwrap()).unwrap();
                for (place, edge) in edges.iter().enumerate() {
                    let row = place / 4 % 4;
                    assert_eq!(edge.share, if row == 0 { 1.0 } else { 0.0 }, "{axis} {place}");
                }
            }
            let across = openings(&scene, &Cells::of_edges([&list; 3], 1).unwrap()).unwrap();
            assert!((0..64).all(|place| (across[place].share == 1.0) == matches!(place / 4 % 4, 0 | 3)));
        }
    }

    #[test]
    fn a_wall_between_lines_leaves_parts() {
        let wall = scene(&glass(), &[(cuboid([0.0, 10.0 + 0.37, 0.0], [1e3, 20.0, 1e3]), conductor())]);
        let list = [-1.0, 0.0, 1.0, 2.0];
        let share =
            |cells: Cells, row: usize| openings(&wall, &cells.on_plane(2, 0.0)).unwrap()[3 + row].share;
        let edges = || Cells::of_edges([&list; 3], 1).unwrap();
        assert!((share(edges(), 1) - 0.37).abs() < 1e-12);
        assert_eq!((share(edges(), 0), share(edges(), 2)), (1.0, 0.0));
        assert!((share(Cells::of_faces([&list; 3], 2).unwrap(), 1) - 0.37).abs() < 1e-12);
        assert_eq!(share(Cells::of_edges([&list; 3], 0).unwrap(), 1), 1.0);
        assert_eq!(share(Cells::of_edges([&list; 3], 0).unwrap(), 2), 0.0);
    }

    #[test]
    fn sheets_between_lines_pierce_edges() {
        let list = [-1.0, 0.0, 1.0, 2.0];
        for (height, thickness, pierced) in [(0.4, 0.0, true), (0.4, 0.1, true), (1.0, 0.0, false)] {
            let sheet = cuboid([0.0, height, 0.0], [1e3, thickness, 1e3]);
            let scene = scene(&glass(), &[(sheet, conductor())]);
            let edge = openings(&scene, &Cells::of_edges([&list; 3], 1).unwrap()).unwrap()[3];
            assert_eq!(edge.is_pierced, pierced, "{height} {thickness} {edge:?}");
            assert!((edge.share - 1.0 + thickness).abs() < 1e-9, "{edge:?}");
        }
    }
}
