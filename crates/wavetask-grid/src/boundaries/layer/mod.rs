//! Layers whose metal is resolved: refinement specifications of the client's `layer_refinement_specs`.
//!
//! ```text
//!  structures ─ section ─► polygons of metal ─┬─ corners ──► snapping points, finer steps around them
//!                                             ├─ edges ────► finer steps along edges that are not aligned
//!                                             ├─ gaps ─────► snapping points in gaps, a smaller least step
//!                                             └─ small ────► finer steps in what has too few cells
//!  bounds along the normal ──────────────────────────────► snapping points, finer steps
//! ```
//!
//! The first two go into the first grid. Gaps and small shapes are looked for in the grid that is there, so they
//! take further passes ([`super::assemble`]).

mod gaps;
mod read;
mod section;

pub(super) use gaps::End;
pub(super) use section::{Polygon, tangential};

use wavetask_document::ArraySource;

use super::closeness::TOLERANCE;
use super::error::GridError;
use super::json::Node;
use super::part::BoxRegion;
use super::specification::Override;
use section::{Plane, Point, connected};

/// Footprints of overrides are united this often at most.
const UNION_PASSES: usize = 5;

/// How much finer than in vacuum the steps of a refinement are that says nothing of them.
const DEFAULT_FACTOR: f64 = 2.0;

/// How many corners of metal one layer may have.
const MAXIMUM_CORNERS: usize = 20_000;

/// The ends of the domain along each axis.
pub(super) type Ends = [[End; 2]; 3];

/// How fine and how far a mesh is refined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Refinement {
    factor: Option<f64>,
    step: Option<f64>,
    cells: f64,
}

/// Which ends of a layer get a grid line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Snapped {
    None,
    Lower,
    Upper,
    Center,
    Both,
}

/// How corners are found in outlines.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Corners {
    /// The least change of direction, in radian.
    angle: f64,
    /// Edges within this angle of an axis are aligned, in radian.
    aligned: f64,
}

/// One entry of the client's list.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) axis: usize,
    region: BoxRegion,
    steps_along_axis: Option<f64>,
    bounds_refinement: Option<Refinement>,
    snapped: Snapped,
    corners: Option<Corners>,
    corner_snapping: bool,
    corner_refinement: Option<Refinement>,
    edge_refinement: Option<Refinement>,
    steps_per_shape: Option<f64>,
    inside_only: bool,
    pub(super) gap_passes: usize,
    pub(super) least_from_gaps: bool,
    disjoint: bool,
    path: String,
}

impl Refinement {
    /// The step where the step in vacuum is given.
    fn step(&self, vacuum: f64) -> f64 {
        let factor = match (self.factor, self.step) {
            (None, None) => Some(DEFAULT_FACTOR),
            (factor, _) => factor,
        };
        let by_factor = factor.map_or(f64::INFINITY, |factor| vacuum / factor);
        by_factor.min(self.step.unwrap_or(f64::INFINITY))
    }
}

impl Layer {
    /// The polygons of metal in the layer. `metals` are the geometries of metal structures in their order.
    pub(super) fn polygons(
        &self,
        metals: &[Node<'_>],
        domain: &BoxRegion,
        ends: &Ends,
        arrays: &dyn ArraySource,
    ) -> Result<Vec<Polygon>, GridError> {
        if self.corners.is_none() || metals.is_empty() {
            return Ok(Vec::new());
        }
        let within = self.within(domain, ends)?.bounds();
        let axes = tangential(self.axis);
        let plane = Plane {
            axis: self.axis,
            position: self.region.center[self.axis],
            bounds: axes.map(|axis| within[axis]),
        };
        let polygons = section::united(metals, &plane, arrays)?;
        if !polygons.is_empty() && !self.disjoint {
            return Err(GridError::unsupported(
                format!("{}/interior_disjoint_geometries", self.path),
                "metal that other materials may cover in a refined layer",
            ));
        }
        Ok(polygons)
    }

    /// The layer, away from periodic ends of the domain so that outlines do not run along them.
    fn within(&self, domain: &BoxRegion, ends: &Ends) -> Result<BoxRegion, GridError> {
        let (mut bounds, domain) = (self.region.bounds(), domain.bounds());
        for axis in tangential(self.axis) {
            let [low, high] = domain[axis];
            if ends[axis][0] == End::Periodic && bounds[axis][0] <= low + TOLERANCE {
                bounds[axis][0] = low + TOLERANCE;
            }
            if ends[axis][1] == End::Periodic && bounds[axis][1] >= high - TOLERANCE {
                bounds[axis][1] = high - TOLERANCE;
            }
            if bounds[axis][0].is_infinite() != bounds[axis][1].is_infinite() {
                return Err(GridError::none(axis, "a refined layer is infinite to one side only"));
            }
        }
        Ok(BoxRegion::from_bounds(bounds))
    }

    /// The least step that the layer is expected to need.
    pub(super) fn expected_step(&self, vacuum: f64) -> f64 {
        let thickness = self.region.size[self.axis];
        let mut least = f64::INFINITY;
        if thickness > 0.0 {
            if self.snapped == Snapped::Both {
                least = least.min(thickness);
            }
            if let Some(steps) = self.steps_along_axis {
                least = least.min(thickness / steps);
            }
            if let Some(refinement) = self.bounds_refinement {
                least = least.min(refinement.step(vacuum));
            }
        }
        if self.corners.is_some() {
            for refinement in self.corner_refinement.iter().chain(&self.edge_refinement) {
                least = least.min(refinement.step(vacuum));
            }
        }
        least
    }

    /// Points with a coordinate along one axis or two that the grid passes through.
    pub(super) fn snapping_points(
        &self,
        polygons: &[Polygon],
        domain: &BoxRegion,
        ends: &Ends,
    ) -> Result<Vec<[Option<f64>; 3]>, GridError> {
        let [low, high] = self.region.bounds()[self.axis];
        let along: &[f64] = match self.snapped {
            Snapped::None => &[],
            Snapped::Lower => &[low],
            Snapped::Upper => &[high],
            Snapped::Center => &[self.region.center[self.axis]],
            Snapped::Both if high > low => &[low, high],
            Snapped::Both => &[low],
        };
        let mut points: Vec<[Option<f64>; 3]> = along
            .iter()
            .map(|&position| {
                let mut point = [None; 3];
                point[self.axis] = Some(position);
                point
            })
            .collect();
        if self.corner_snapping {
            let axes = tangential(self.axis);
            for corner in self.corners(polygons, domain, ends)? {
                let mut point = [None; 3];
                point[axes[0]] = Some(corner[0]);
                point[axes[1]] = Some(corner[1]);
                points.push(point);
            }
        }
        Ok(points)
    }

    /// The corners of the polygons that are within the layer.
    fn corners(
        &self,
        polygons: &[Polygon],
        domain: &BoxRegion,
        ends: &Ends,
    ) -> Result<Vec<Point>, GridError> {
        let Some(finder) = self.corners else { return Ok(Vec::new()) };
        let mut corners: Vec<Point> =
            polygons.iter().flat_map(Polygon::rings).flat_map(|ring| finder.of(ring)).collect();
        let within = self.within(domain, ends)?;
        let axes = tangential(self.axis);
        if corners.len() > MAXIMUM_CORNERS {
            return Err(GridError::LimitExceeded {
                path: self.path.clone(),
                what: "corners of metal in a layer",
                limit: MAXIMUM_CORNERS,
            });
        }
        if axes.iter().any(|&axis| within.size[axis].is_finite()) {
            corners.retain(|corner| {
                (0..2).all(|side| {
                    let reach = enlarged(within.size[axes[side]]) / 2.0;
                    (corner[side] - within.center[axes[side]]).abs() <= reach
                })
            });
        }
        Ok(corners)
    }

    /// Finer steps along the normal, around corners and along edges, each with its priority.
    pub(super) fn overrides(
        &self,
        vacuum: f64,
        polygons: &[Polygon],
        domain: &BoxRegion,
        ends: &Ends,
    ) -> Result<Vec<(i64, Override)>, GridError> {
        let mut overrides = self.overrides_along_axis(vacuum);
        let Some(finder) = self.corners else { return Ok(overrides) };
        // Footprints by the step inside: only those of one step are united.
        let mut footprints: Vec<(f64, Vec<[[f64; 2]; 2]>)> = Vec::new();
        let mut add =
            |step: f64, bounds: [[f64; 2]; 2]| match footprints.iter_mut().find(|entry| entry.0 == step) {
                Some((_, boxes)) => boxes.push(bounds),
                None => footprints.push((step, vec![bounds])),
            };
        let grown = |[low, high]: [f64; 2], margin: f64| {
            let (center, size) = ((low + high) / 2.0, high - low + margin);
            [center - size / 2.0, center + size / 2.0]
        };
        if let Some(shape) = self.corner_refinement.or(self.edge_refinement) {
            let steps = self.corner_refinement.iter().chain(&self.edge_refinement);
            let step = steps.map(|refinement| refinement.step(vacuum)).fold(f64::INFINITY, f64::min);
            for corner in self.corners(polygons, domain, ends)? {
                add(step, corner.map(|coordinate| grown([coordinate; 2], step * shape.cells)));
            }
        }
        if let Some(refinement) = self.edge_refinement {
            let step = refinement.step(vacuum);
            for run in polygons.iter().flat_map(Polygon::rings).flat_map(|ring| finder.unaligned_runs(ring)) {
                add(step, run.map(|bounds| grown(bounds, step * refinement.cells)));
            }
        }
        for (step, boxes) in footprints {
            for bounds in united(boxes) {
                overrides.push((-1, self.override_in_plane(bounds, [Some(step); 2])));
            }
        }
        Ok(overrides)
    }

    fn override_in_plane(&self, footprint: [[f64; 2]; 2], steps: [Option<f64>; 2]) -> Override {
        let mut bounds = [[f64::NEG_INFINITY, f64::INFINITY]; 3];
        let mut step = [None; 3];
        for (side, axis) in tangential(self.axis).into_iter().enumerate() {
            bounds[axis] = footprint[side];
            step[axis] = steps[side];
        }
        // The client makes a box of the footprint and takes its bounds again. A margin of whole steps then has the
        // number of steps that it has there: the last digit decides.
        let bounds = BoxRegion::from_bounds(bounds).bounds();
        Override { bounds, step, enforced: false, shadow: false, inside_only: self.inside_only }
    }

    fn overrides_along_axis(&self, vacuum: f64) -> Vec<(i64, Override)> {
        let along = |bounds: [f64; 2], step: f64| {
            let mut everywhere = [[f64::NEG_INFINITY, f64::INFINITY]; 3];
            everywhere[self.axis] = bounds;
            let mut steps = [None; 3];
            steps[self.axis] = Some(step);
            Override {
                bounds: everywhere,
                step: steps,
                enforced: false,
                shadow: false,
                inside_only: self.inside_only,
            }
        };
        let bounds = self.region.bounds()[self.axis];
        let thickness = self.region.size[self.axis];
        let mut overrides = Vec::new();
        let mut coarsest = f64::INFINITY;
        if let Some(steps) = self.steps_along_axis.filter(|_| thickness > 0.0) {
            coarsest = thickness / steps;
            overrides.push((-1, along(bounds, coarsest)));
        }
        if let Some(refinement) = self.bounds_refinement {
            let step = refinement.step(vacuum);
            if step <= coarsest {
                let reach = step * refinement.cells / 2.0;
                let around = bounds.map(|position| [position - reach, position + reach]);
                if thickness > 0.0 && around[0][1] >= around[1][0] {
                    // The two are one, which the client forgets to make an internal one.
                    let whole = BoxRegion::from_bounds([[around[0][0], around[1][1]]; 3]).bounds()[0];
                    overrides.push((0, along(whole, step)));
                } else {
                    let count = 1 + usize::from(thickness > 0.0);
                    overrides.extend(around[..count].iter().map(|&bounds| (-1, along(bounds, step))));
                }
            }
        }
        overrides
    }

    /// Lines through gaps that the grid does not see, by axis of the plane, and the width of the thinnest.
    pub(super) fn gaps(
        &self,
        lines: &[Vec<f64>; 3],
        polygons: &[Polygon],
        ends: &Ends,
    ) -> Result<([Vec<f64>; 2], f64), GridError> {
        let nothing = ([Vec::new(), Vec::new()], f64::INFINITY);
        let axes = tangential(self.axis);
        let bounds = self.region.bounds();
        let mut parts: [&[f64]; 2] = [&[]; 2];
        let mut part_ends = [[End::Open; 2]; 2];
        for (side, &axis) in axes.iter().enumerate() {
            let all = &lines[axis];
            let [low, high] = bounds[axis];
            let last = all.len() - 1;
            if high <= all[0] || low >= all[last] {
                return Ok(nothing);
            }
            // A cell more at both sides.
            let first_from = |position: f64| all.partition_point(|&line| line < position);
            let from = if low < all[0] { 0 } else { first_from(low).saturating_sub(2) };
            let to = if high > all[last] { last } else { first_from(high) + 1 };
            if from + 1 >= to {
                return Ok(nothing);
            }
            parts[side] = &all[from..=to.min(last)];
            part_ends[side] = [
                if from > 0 { End::Open } else { ends[axis][0] },
                if to < last { End::Open } else { ends[axis][1] },
            ];
        }
        let found = gaps::find(parts, part_ends, polygons).map_err(|error| GridError::LimitExceeded {
            path: self.path.clone(),
            what: "crossings of metal and grid lines",
            limit: error.limit,
        })?;
        Ok((found.lines, found.width))
    }

    /// Finer steps in shapes that the grid gives too few cells, and the least of these steps.
    pub(super) fn small_shapes(&self, lines: &[Vec<f64>; 3], polygons: &[Polygon]) -> (Vec<Override>, f64) {
        let (mut overrides, mut least) = (Vec::new(), f64::INFINITY);
        let Some(steps) = self.steps_per_shape.filter(|_| self.corners.is_some()) else {
            return (overrides, least);
        };
        let axes = tangential(self.axis);
        for polygon in polygons {
            let bounds = polygon.bounds();
            let wanted: [Option<f64>; 2] = std::array::from_fn(|side| {
                let [low, high] = bounds[side];
                let extent = high - low;
                let inside = lines[axes[side]].iter().filter(|&&line| low <= line && line <= high).count();
                // Slivers are left alone: their steps would ruin the grid.
                let resolved = inside as f64 - 1.0 >= steps || extent < gaps::RESOLUTION;
                (!resolved).then(|| extent / steps)
            });
            if wanted.iter().any(Option::is_some) {
                least = wanted.into_iter().flatten().fold(least, f64::min);
                overrides.push(self.override_in_plane(bounds, wanted));
            }
        }
        (overrides, least)
    }
}

impl Corners {
    /// The vertices at which the outline turns by more than the threshold.
    fn of(&self, ring: &[Point]) -> Vec<Point> {
        let count = ring.len();
        let unit = |from: Point, to: Point| {
            let step = [to[0] - from[0], to[1] - from[1]];
            let length = step[0].hypot(step[1]);
            step.map(|part| part / length)
        };
        (0..count)
            .filter(|&index| {
                let here = ring[index];
                let next = unit(here, ring[(index + 1) % count]);
                let previous = unit(here, ring[(index + count - 1) % count]);
                let cosine = (next[0] * previous[0] + next[1] * previous[1]).clamp(-1.0, 1.0);
                cosine.acos() <= std::f64::consts::PI - self.angle
            })
            .map(|index| ring[index])
            .collect()
    }

    /// The bounds of every series of edges that are not aligned with an axis.
    fn unaligned_runs(&self, ring: &[Point]) -> Vec<[[f64; 2]; 2]> {
        let count = ring.len();
        let is_aligned = |index: usize| {
            let (from, to) = (ring[index], ring[(index + 1) % count]);
            let angle = (to[1] - from[1]).abs().atan2((to[0] - from[0]).abs());
            angle <= self.aligned || angle >= std::f64::consts::FRAC_PI_2 - self.aligned
        };
        let start = (0..count).find(|&index| is_aligned(index));
        // From an aligned edge on, so that no series is cut in two; if there is none, all edges are one.
        let edges: Vec<usize> = (0..count).map(|step| (start.unwrap_or(0) + step) % count).collect();
        let mut runs: Vec<[[f64; 2]; 2]> = Vec::new();
        let mut open = false;
        for edge in edges {
            if is_aligned(edge) {
                open = false;
                continue;
            }
            if !open {
                runs.push([[f64::INFINITY, f64::NEG_INFINITY]; 2]);
                open = true;
            }
            if let Some(run) = runs.last_mut() {
                for point in [ring[edge], ring[(edge + 1) % count]] {
                    for side in 0..2 {
                        run[side][0] = run[side][0].min(point[side]);
                        run[side][1] = run[side][1].max(point[side]);
                    }
                }
            }
        }
        runs
    }
}

/// Boxes that touch are replaced by the box around them, over and over.
fn united(mut boxes: Vec<[[f64; 2]; 2]>) -> Vec<[[f64; 2]; 2]> {
    for _ in 0..UNION_PASSES {
        let groups = connected(&boxes, |_, _| true);
        if groups.len() == boxes.len() {
            break;
        }
        let around = |group: &Vec<usize>| {
            std::array::from_fn(|side| {
                group.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], &index| {
                    [low.min(boxes[index][side][0]), high.max(boxes[index][side][1])]
                })
            })
        };
        boxes = groups.iter().map(around).collect();
    }
    boxes
}

/// The next 32-bit number: a size by which points on the surface are inside.
fn enlarged(size: f64) -> f64 {
    if size.is_infinite() {
        return size;
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding to 32 bits is the point")]
    let rounded = size as f32;
    if size.abs() <= f64::from(f32::MIN_POSITIVE) {
        size + f64::from(f32::MIN_POSITIVE)
    } else {
        f64::from(rounded.next_up())
    }
}
