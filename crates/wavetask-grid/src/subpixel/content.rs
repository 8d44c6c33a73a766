//! What is in a cell: the share of each medium and the directions of the interfaces.
//!
//! A cell is first cut along every plane face of the structures that crosses it, so that boxes and the ends
//! of slabs and cylinders are exact. In each piece, a structure whose surface is farther from the middle than the
//! corners are covers it or misses it. A surface that does pass is replaced by its tangent plane, whose cut
//! is exact ([`super::halfspace`]); if the plane does not fit at the corners, or several surfaces pass, the
//! piece is halved along each axis, to a stated depth.
//!
//! Replacing a surface of radius `R` in a cell of size `h` by a plane changes shares by the order of `h / R`; as
//! cells at interfaces are a part of the order of `h` of all, fields change by the order of `h²`, which is the
//! order of the whole method.
//!
//! Directions are the mean of `n nᵀ` over the interfaces, by area and by the jump of the permittivity: of a
//! plane its projector; of a thin layer inside the cell the same, where a mean of the normals would vanish;
//! at a corner a blend.

use super::halfspace::cut;
use crate::geometry::{Bounds, Geometry};
use crate::permittivity::Scene;

/// How often a piece of a volume is halved, and one of a plane or a line.
const DEPTHS: [usize; 2] = [2, 4];

/// How far the corners may be from the tangent plane's distance, relative to half the diagonal.
const PLANARITY: f64 = 0.02;

/// Along each axis, a cell is cut at no more planes than this.
const MAXIMUM_PLANES: usize = 12;

/// Planes nearer than this to a face of a cell, relative to its size, do not cut it.
const SLIVER: f64 = 1e-9;

/// The step of derivatives and of looking to both sides of a face, relative to the smallest side.
const STEP: f64 = 0.01;

/// The structures of a scene as cells ask for them.
#[derive(Debug)]
pub(super) struct Shapes<'a> {
    scene: &'a Scene,
    /// By rank; `None` for sheets, which have no volume.
    shapes: Vec<Option<Shape<'a>>>,
}

#[derive(Debug)]
struct Shape<'a> {
    geometry: &'a Geometry,
    bounds: Bounds,
    /// If the shape is exactly this box.
    aligned: Option<Bounds>,
    /// Its plane faces normal to each axis, ascending.
    planes: [Vec<f64>; 3],
    medium: usize,
}

/// The shares of media in a cell.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Media and their shares, which sum to one.
    pub(super) shares: Vec<(usize, f64)>,
    /// The sum of `n nᵀ` over interfaces, by area and jump.
    directions: [[f64; 3]; 3],
    weight: f64,
}

/// What a cell meets.
#[derive(Debug, PartialEq)]
pub(super) enum Meeting {
    /// One medium everywhere.
    Uniform(usize),
    /// The listed ranks, from the highest to the first that covers all.
    Mixed,
}

impl<'a> Shapes<'a> {
    pub(super) fn new(scene: &'a Scene) -> Self {
        let shapes = scene
            .precedence()
            .iter()
            .map(|&index| {
                let geometry = &scene.structures()[index].geometry;
                (!scene.medium(index).is_sheet()).then(|| Shape {
                    geometry,
                    bounds: geometry.bounds(),
                    aligned: geometry.as_aligned_box(),
                    planes: std::array::from_fn(|axis| geometry.feature_planes(axis)),
                    medium: scene.medium_index(Some(index)),
                })
            })
            .collect();
        Self { scene, shapes }
    }

    /// Which of the candidates (descending ranks) share the cell; these are left in `found`.
    pub(super) fn meet(&self, cell: &Bounds, candidates: &[usize], found: &mut Vec<usize>) -> Meeting {
        found.clear();
        let (center, radius) = ball(cell);
        let mut is_mixed = false;
        let mut medium = self.scene.medium_index(None);
        for &rank in candidates {
            let Some(shape) = &self.shapes[rank] else { continue };
            if !overlap(&shape.bounds, cell) {
                continue;
            }
            let covers = match &shape.aligned {
                Some(sides) => {
                    (0..3).all(|axis| sides[axis][0] <= cell[axis][0] && cell[axis][1] <= sides[axis][1])
                }
                None if shape.geometry.distance_within(center, radius) < radius => false,
                None if shape.geometry.contains(center) => true,
                None => continue,
            };
            found.push(rank);
            if covers {
                medium = shape.medium;
                break;
            }
            is_mixed = true;
        }
        if is_mixed { Meeting::Mixed } else { Meeting::Uniform(medium) }
    }

    /// The content of a cell that meets the structures of these descending ranks.
    ///
    /// `jump` weighs an interface between two media.
    pub(super) fn content(
        &self,
        cell: &Bounds,
        ranks: &[usize],
        jump: &dyn Fn(usize, usize) -> f64,
    ) -> Content {
        let pieces: [Vec<[f64; 2]>; 3] = std::array::from_fn(|axis| self.intervals(cell[axis], axis, ranks));
        let whole: f64 = volume(cell);
        let mut content = Content::default();
        let flat = (0..3).filter(|&axis| cell[axis][0] == cell[axis][1]).count();
        let depth = DEPTHS[usize::from(flat > 0)];
        for x in &pieces[0] {
            for y in &pieces[1] {
                for z in &pieces[2] {
                    let piece = [*x, *y, *z];
                    self.resolve(&piece, ranks, volume(&piece) / whole, depth, jump, &mut content);
                }
            }
        }
        for axis in 0..3 {
            for pair in pieces[axis].windows(2) {
                let [one, other] = [(axis + 1) % 3, (axis + 2) % 3];
                for first in &pieces[one] {
                    for second in &pieces[other] {
                        let mut sides = *cell;
                        sides[one] = *first;
                        sides[other] = *second;
                        sides[axis] = [pair[0][1]; 2];
                        self.face(&sides, axis, pair, ranks, whole, jump, &mut content);
                    }
                }
            }
        }
        content
    }

    /// The cell's extent along an axis, cut at the plane faces of these structures.
    pub(super) fn intervals(&self, [low, high]: [f64; 2], axis: usize, ranks: &[usize]) -> Vec<[f64; 2]> {
        let margin = SLIVER * (high - low);
        let mut cuts: Vec<f64> = Vec::new();
        for shape in ranks.iter().filter_map(|&rank| self.shapes[rank].as_ref()) {
            let planes = &shape.planes[axis];
            let start = planes.partition_point(|&plane| plane <= low + margin);
            cuts.extend(planes[start..].iter().take_while(|&&plane| plane < high - margin));
        }
        cuts.sort_by(f64::total_cmp);
        cuts.dedup_by(|next, kept| *next - *kept <= margin);
        cuts.truncate(MAXIMUM_PLANES);
        let mut intervals = Vec::with_capacity(cuts.len() + 1);
        let mut start = low;
        for cut in cuts {
            intervals.push([start, cut]);
            start = cut;
        }
        intervals.push([start, high]);
        intervals
    }

    /// Adds what is in a piece that fills `share` of the cell.
    fn resolve(
        &self,
        piece: &Bounds,
        ranks: &[usize],
        share: f64,
        depth: usize,
        jump: &dyn Fn(usize, usize) -> f64,
        content: &mut Content,
    ) {
        let (center, radius) = ball(piece);
        let mut base = self.scene.medium_index(None);
        let mut passing: [Option<usize>; 2] = [None; 2];
        let mut is_single = true;
        for &rank in ranks {
            let Some(shape) = &self.shapes[rank] else { continue };
            if let Some(sides) = &shape.aligned {
                if holds(sides, center) {
                    base = shape.medium;
                    break;
                }
            } else if overlap(&shape.bounds, piece) {
                if shape.geometry.distance_within(center, radius) < radius {
                    match passing[0] {
                        None => passing[0] = Some(rank),
                        Some(_) => is_single = false,
                    }
                } else if shape.geometry.contains(center) {
                    base = shape.medium;
                    break;
                }
            }
        }
        let Some(top) = passing[0].and_then(|rank| self.shapes[rank].as_ref()) else {
            content.add(base, share);
            return;
        };
        if is_single && top.medium == base {
            content.add(base, share);
            return;
        }
        let plane = tangent(top.geometry, piece, center, radius);
        match plane {
            Some((normal, offset, is_plane)) if (is_single && is_plane) || depth == 0 => {
                if !is_single {
                    base = self.owner_below(passing[0], center, ranks);
                }
                let sizes = piece.map(|[low, high]| high - low);
                let cut = cut(sizes, normal, offset);
                content.add(top.medium, share * cut.fraction);
                content.add(base, share * (1.0 - cut.fraction));
                content.interface(normal, share * cut.density * jump(top.medium, base));
            }
            _ if depth == 0 => {
                let owner = self.owner_below(None, center, ranks);
                content.add(owner, share);
            }
            _ => {
                let halves: [Vec<[f64; 2]>; 3] = piece.map(|[low, high]| {
                    let middle = f64::midpoint(low, high);
                    if low == high { vec![[low, high]] } else { vec![[low, middle], [middle, high]] }
                });
                #[expect(clippy::cast_precision_loss, reason = "at most eight")]
                let count = halves.iter().map(Vec::len).product::<usize>() as f64;
                for x in &halves[0] {
                    for y in &halves[1] {
                        for z in &halves[2] {
                            self.resolve(&[*x, *y, *z], ranks, share / count, depth - 1, jump, content);
                        }
                    }
                }
            }
        }
    }

    /// Adds the interface, if there is one, on a face between two pieces.
    #[expect(clippy::too_many_arguments, reason = "a private step of one loop")]
    fn face(
        &self,
        face: &Bounds,
        axis: usize,
        pair: &[[f64; 2]],
        ranks: &[usize],
        whole: f64,
        jump: &dyn Fn(usize, usize) -> f64,
        content: &mut Content,
    ) {
        let center = face.map(|[low, high]| f64::midpoint(low, high));
        let step = STEP * (pair[0][1] - pair[0][0]).min(pair[1][1] - pair[1][0]);
        let [below, above] = [-step, step].map(|step| {
            let mut point = center;
            point[axis] += step;
            self.owner_below(None, point, ranks)
        });
        if below != above {
            let mut normal = [0.0; 3];
            normal[axis] = 1.0;
            // The size of the face over that of the cell, whose flat axes do not count.
            content.interface(normal, volume(face) / whole * jump(below, above));
        }
    }

    /// Adds the coordinates of plane faces of these structures that lie within a short extent along an axis.
    pub(super) fn planes_within(
        &self,
        axis: usize,
        [low, high]: [f64; 2],
        ranks: &[usize],
        found: &mut Vec<f64>,
    ) {
        for shape in ranks.iter().filter_map(|&rank| self.shapes[rank].as_ref()) {
            let planes = &shape.planes[axis];
            let start = planes.partition_point(|&plane| plane < low);
            found.extend(planes[start..].iter().take_while(|&&plane| plane <= high));
        }
    }

    /// The medium at a point that only these structures can contain.
    pub(super) fn medium_at(&self, point: [f64; 3], ranks: &[usize]) -> usize {
        self.owner_below(None, point, ranks)
    }

    /// Whether the surface of one of these structures comes nearer to a point than `reach`; faces of boxes, at which
    /// [`Self::intervals`] cuts, aside.
    pub(super) fn is_near_surface(&self, point: [f64; 3], reach: f64, ranks: &[usize]) -> bool {
        ranks
            .iter()
            .filter_map(|&rank| self.shapes[rank].as_ref())
            .any(|shape| shape.aligned.is_none() && shape.geometry.distance_within(point, reach) < reach)
    }

    /// The medium at a point, of structures below a rank if one is given.
    fn owner_below(&self, limit: Option<usize>, point: [f64; 3], ranks: &[usize]) -> usize {
        ranks
            .iter()
            .filter(|&&rank| limit.is_none_or(|limit| rank < limit))
            .filter_map(|&rank| self.shapes[rank].as_ref())
            .find(|shape| match &shape.aligned {
                Some(sides) => holds(sides, point),
                None => shape.geometry.contains(point),
            })
            .map_or(self.scene.medium_index(None), |shape| shape.medium)
    }
}

impl Content {
    /// What is left without some media, whose interfaces have no weight; nothing if they fill the cell.
    pub(super) fn without(mut self, leaves_out: impl Fn(usize) -> bool) -> Self {
        self.shares.retain(|&(medium, _)| !leaves_out(medium));
        let whole: f64 = self.shares.iter().map(|(_, share)| share).sum();
        self.shares.iter_mut().for_each(|(_, share)| *share /= whole);
        self
    }

    /// The medium with the largest share.
    pub(super) fn largest(&self) -> Option<usize> {
        let largest = self.shares.iter().max_by(|(_, one), (_, other)| one.total_cmp(other));
        largest.map(|&(medium, _)| medium)
    }

    fn add(&mut self, medium: usize, share: f64) {
        if share <= 0.0 {
            return;
        }
        match self.shares.iter_mut().find(|(other, _)| *other == medium) {
            Some((_, sum)) => *sum += share,
            None => self.shares.push((medium, share)),
        }
    }

    fn interface(&mut self, normal: [f64; 3], weight: f64) {
        self.weight += weight;
        for row in 0..3 {
            for column in 0..3 {
                self.directions[row][column] += weight * normal[row] * normal[column];
            }
        }
    }

    /// The mean of `n nᵀ`; without any interface, all directions alike.
    pub(super) fn directions(&self) -> [[f64; 3]; 3] {
        std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                if self.weight > 0.0 {
                    self.directions[row][column] / self.weight
                } else {
                    f64::from(u8::from(row == column)) / 3.0
                }
            })
        })
    }

    /// The direction that most of the interface faces.
    pub(super) fn normal(&self) -> [f64; 3] {
        let (values, vectors) = crate::linear::symmetric_eigen(self.directions());
        let greatest = (0..3).max_by(|&one, &other| values[one].total_cmp(&values[other])).unwrap_or(0);
        vectors[greatest]
    }
}

/// The tangent plane of a surface near the middle of a piece: unit normal outwards, signed distance of
/// the middle, and whether it fits at the corners. `None` where distances have no slope.
fn tangent(
    geometry: &Geometry,
    piece: &Bounds,
    center: [f64; 3],
    radius: f64,
) -> Option<([f64; 3], f64, bool)> {
    let signed = |point| {
        let distance = geometry.distance_within(point, 8.0 * radius);
        if geometry.contains(point) { -distance } else { distance }
    };
    let smallest = piece
        .iter()
        .map(|[low, high]| high - low)
        .filter(|&extent| extent > 0.0)
        .fold(f64::INFINITY, f64::min);
    let step = STEP * smallest;
    let gradient: [f64; 3] = std::array::from_fn(|axis| {
        let at = |step: f64| {
            let mut point = center;
            point[axis] += step;
            signed(point)
        };
        (at(step) - at(-step)) / (2.0 * step)
    });
    let slope = gradient.iter().map(|entry| entry * entry).sum::<f64>().sqrt();
    // Distances that are bounds may have a smaller slope; near an edge there is none.
    if !(0.3..=1.5).contains(&slope) {
        return None;
    }
    let middle = signed(center);
    let fits = (0..8).all(|corner: usize| {
        let point: [f64; 3] = std::array::from_fn(|axis| piece[axis][corner >> axis & 1]);
        let expected = middle + (0..3).map(|axis| gradient[axis] * (point[axis] - center[axis])).sum::<f64>();
        (signed(point) - expected).abs() <= PLANARITY * radius * slope
    });
    Some((gradient.map(|entry| entry / slope), middle / slope, fits))
}

/// The middle of a cell and half its diagonal.
pub(super) fn ball(cell: &Bounds) -> ([f64; 3], f64) {
    let center = cell.map(|[low, high]| f64::midpoint(low, high));
    let radius = cell.iter().map(|[low, high]| (high - low).powi(2)).sum::<f64>().sqrt() / 2.0;
    (center, radius)
}

/// The product of the extents that are not zero.
pub(super) fn volume(cell: &Bounds) -> f64 {
    cell.iter().map(|[low, high]| high - low).filter(|&extent| extent > 0.0).product()
}

fn holds(sides: &Bounds, point: [f64; 3]) -> bool {
    sides.iter().zip(point).all(|([low, high], coordinate)| *low <= coordinate && coordinate <= *high)
}

fn overlap(one: &Bounds, other: &Bounds) -> bool {
    one.iter().zip(other).all(|(one, other)| one[0] <= other[1] && other[0] <= one[1])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn scene(structures: &Value) -> Scene {
        let simulation = json!({"type": "Simulation", "structures": structures});
        Scene::read(&simulation, "", &BTreeMap::<String, wavetask_document::Array>::new()).unwrap()
    }

    fn structure(geometry: &Value, permittivity: f64) -> Value {
        json!({"geometry": geometry, "medium": {"type": "Medium", "permittivity": permittivity, "conductivity": 0.0}})
    }

    fn content(scene: &Scene, cell: &Bounds) -> Content {
        let shapes = Shapes::new(scene);
        let candidates: Vec<usize> = (0..scene.structures().len()).rev().collect();
        let mut found = Vec::new();
        let jump = |one: usize, other: usize| f64::from(u8::from(one != other));
        match shapes.meet(cell, &candidates, &mut found) {
            Meeting::Uniform(medium) => Content { shares: vec![(medium, 1.0)], ..Content::default() },
            Meeting::Mixed => shapes.content(cell, &found, &jump),
        }
    }

    fn share(content: &Content, medium: usize) -> f64 {
        content.shares.iter().find(|(other, _)| *other == medium).map_or(0.0, |(_, share)| *share)
    }

    /// The share of each medium by counting points.
    fn counted(scene: &Scene, cell: &Bounds, steps: usize) -> Vec<f64> {
        let mut counts = vec![0.0; scene.media().len()];
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let at = |side: [f64; 2], step: usize| {
            side[0] + (side[1] - side[0]) * ((step as f64 + 0.5) / steps as f64)
        };
        for (i, j, k) in
            (0..steps).flat_map(|i| (0..steps).flat_map(move |j| (0..steps).map(move |k| (i, j, k))))
        {
            let point = [at(cell[0], i), at(cell[1], j), at(cell[2], k)];
            counts[scene.medium_index(scene.owner(point))] += 1.0;
        }
        let total: f64 = counts.iter().sum();
        counts.into_iter().map(|count| count / total).collect()
    }

    #[test]
    fn boxes_are_exact() {
        let scene = scene(&json!([
            structure(
                &json!({"type": "Box", "center": [0, 0, 0], "size": ["Infinity", 0.37, "Infinity"]}),
                4.0
            ),
            structure(
                &json!({"type": "Box", "center": [0.5, 0, 0], "size": [1.0, "Infinity", "Infinity"]}),
                9.0
            ),
        ]));
        let cell = [[-0.1, 0.3], [0.0, 0.2], [5.0, 5.5]];
        let found = content(&scene, &cell);
        assert!((share(&found, 2) - 0.75).abs() < 1e-15);
        assert!((share(&found, 1) - 0.25 * 0.925).abs() < 1e-15);
        assert!((share(&found, 0) - 0.25 * 0.075).abs() < 1e-14);
        // The face at x = 0 has ten parts of the area, the one at y = 0.185 half as many.
        let directions = found.directions();
        assert!((directions[0][0] - 0.2 / (0.2 + 0.1)).abs() < 1e-12, "{directions:?}");
        assert!((directions[1][1] - 0.1 / (0.2 + 0.1)).abs() < 1e-12);
        assert_eq!(directions[2][2], 0.0);
    }

    #[test]
    fn a_layer_thinner_than_the_cell_keeps_its_direction() {
        let scene = scene(&json!([structure(
            &json!({"type": "Box", "center": [0, 0, 0.01], "size": ["Infinity", "Infinity", 0.02]}),
            9.0
        )]));
        let found = content(&scene, &[[0.0, 0.1], [0.0, 0.1], [-0.05, 0.05]]);
        assert!((share(&found, 1) - 0.2).abs() < 1e-14);
        assert!((found.directions()[2][2] - 1.0).abs() < 1e-14);
    }

    #[test]
    fn slanted_planes_are_exact() {
        // A wedge whose wall runs through the origin at 45 degrees in the plane of x and y.
        let scene = scene(&json!([structure(
            &json!({"type": "PolySlab", "axis": 2, "slab_bounds": [-10, 10], "sidewall_angle": 0.0, "dilation": 0.0,
                    "reference_plane": "middle", "vertices": [[-9, -9], [9, 9], [-9, 9]]}),
            9.0
        )]));
        let flat = content(&scene, &[[-0.05, 0.05], [-0.05, 0.05], [0.3, 0.3]]);
        assert!((share(&flat, 1) - 0.5).abs() < 1e-4, "{flat:?}");
        assert!((flat.directions()[0][1] + 0.5).abs() < 1e-9, "{flat:?}");
        let corner = content(&scene, &[[0.0, 0.1], [-0.06, 0.04], [0.3, 0.4]]);
        assert!((share(&corner, 1) - 0.08).abs() < 1e-4, "{corner:?}");
    }

    #[test]
    fn curved_shapes_agree_with_counting() {
        let shapes = [
            json!({"type": "Sphere", "center": [0, 0, 0], "radius": 1.0}),
            json!({"type": "Cylinder", "center": [0, 0, 0], "radius": 1.0, "length": 1.2, "axis": 1,
                   "sidewall_angle": 0.1, "reference_plane": "middle"}),
            json!({"type": "ClipOperation", "operation": "difference",
                   "geometry_a": {"type": "Box", "center": [0, 0, 0], "size": [1.8, 1.4, 1.8]},
                   "geometry_b": {"type": "Sphere", "center": [0.3, 0, 0], "radius": 0.8}}),
            json!({"type": "PolySlab", "axis": 2, "slab_bounds": [-0.8, 0.9], "sidewall_angle": 0.3, "dilation": 0.0,
                   "reference_plane": "bottom", "vertices": [[-1, -0.9], [0.9, -1], [1.0, 0.8], [-0.9, 1]]}),
        ];
        for geometry in shapes {
            let scene = scene(&json!([
                structure(&json!({"type": "Box", "center": [0, 0, -5], "size": [20, 20, 10.1]}), 2.0),
                structure(&geometry, 9.0),
            ]));
            let (mut worst, mut sum, mut count) = (0.0_f64, 0.0, 0.0);
            let size = 0.1;
            for (i, j, k) in
                (-12..12).flat_map(|i| (-12..12).flat_map(move |j| (-1..12).map(move |k| (i, j, k))))
            {
                if (i + 2 * j + 5 * k) % 7 != 0 {
                    continue;
                }
                let cell = [i, j, k].map(|index: i32| [f64::from(index) * size, f64::from(index + 1) * size]);
                let found = content(&scene, &cell);
                let total: f64 = found.shares.iter().map(|(_, share)| share).sum();
                assert!((total - 1.0).abs() < 1e-12);
                if found.shares.len() < 2 {
                    let expected = counted(&scene, &cell, 6);
                    assert!(expected[found.shares[0].0] > 1.0 - 1e-2, "{geometry} {cell:?}");
                    continue;
                }
                for (medium, expected) in counted(&scene, &cell, 24).into_iter().enumerate() {
                    let error = (share(&found, medium) - expected).abs();
                    worst = worst.max(error);
                    sum += error;
                    count += 1.0;
                }
            }
            // Counting itself is good to about one in a hundred.
            assert!(
                count > 100.0 && sum / count < 0.006 && worst < 0.06,
                "{geometry}: {worst} {}",
                sum / count
            );
        }
    }
}
