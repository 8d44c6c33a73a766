//! Boxes halved along their longest side until the size field is satisfied, then graded.
//!
//! A box is always halved along its longest side (ties: the lowest axis). Whatever happens along the third axis,
//! the order of splits seen on a face therefore depends on the lengths of that face alone, so the faces of
//! two neighbours are nested or disjoint, never overlapping; [`super::fill`] builds on that.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use rustc_hash::FxHashSet;

use super::lines::{Lines, key};
use super::{MeshError, MeshRequest, VOID, check};

/// Share of a box by which samples are moved inwards, off the planes that bound it.
const INWARD: f64 = 1e-3;

/// About how many parts of excluded boxes are searched for meshed regions at most, all in all.
const SEARCHED_PARTS: usize = 1 << 22;

/// Ratio of sides above which a cone over a divided side would have an angle near 180 degrees.
const LONG: f64 = 2.1;

/// A box of the tree that was not split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Lower corner.
    pub(super) corner: [u32; 3],
    /// Times it was halved along each axis.
    pub(super) level: [u8; 3],
}

impl Leaf {
    /// Side along an axis in coordinate units; 0 along the normal of a flat domain.
    pub(super) fn side(&self, lines: &Lines, axis: usize) -> u32 {
        if Some(axis) == lines.normal {
            0
        } else {
            1 << (lines.axes[axis].fraction_bits - u32::from(self.level[axis]))
        }
    }

    /// Side along an axis (µm), exact up to one rounding common to all boxes of the interval.
    pub(super) fn length(&self, lines: &Lines, axis: usize) -> f64 {
        lines.axes[axis].interval_length(self.corner[axis]) * 0.5_f64.powi(i32::from(self.level[axis]))
    }

    /// Upper corner.
    pub(super) fn opposite(&self, lines: &Lines) -> [u32; 3] {
        std::array::from_fn(|axis| self.corner[axis] + self.side(lines, axis))
    }

    /// Corner number `which`: bit `axis` set means the upper side along that axis.
    pub(super) fn corner_at(&self, lines: &Lines, which: usize) -> [u32; 3] {
        std::array::from_fn(|axis| self.corner[axis] + (which >> axis & 1) as u32 * self.side(lines, axis))
    }

    /// Bounds in µm.
    fn bounds(&self, lines: &Lines) -> ([f64; 3], [f64; 3]) {
        (lines.point(self.corner), lines.point(self.opposite(lines)))
    }

    fn diagonal(&self, lines: &Lines) -> f64 {
        lines.active.iter().map(|&axis| self.length(lines, axis).powi(2)).sum::<f64>().sqrt()
    }

    /// Axis of the next split, if coordinates are fine enough for one. One bit stays free for centres.
    pub(super) fn split_axis(&self, lines: &Lines) -> Option<usize> {
        let mut longest = (0.0, None);
        for &axis in &lines.active {
            let length = self.length(lines, axis);
            if length > longest.0 {
                longest = (length, Some(axis));
            }
        }
        longest.1.filter(|&axis| u32::from(self.level[axis]) + 1 < lines.axes[axis].fraction_bits)
    }

    fn halves(&self, lines: &Lines, axis: usize) -> [Self; 2] {
        let mut lower = *self;
        lower.level[axis] += 1;
        let mut upper = lower;
        upper.corner[axis] += lower.side(lines, axis);
        [lower, upper]
    }

    /// The one region that samples of the box see, or `None` if they see several.
    pub(super) fn sampled_region(&self, request: &MeshRequest<'_>, lines: &Lines) -> Option<u32> {
        let (low, high) = self.bounds(lines);
        let centre: [f64; 3] = std::array::from_fn(|axis| 0.5 * (low[axis] + high[axis]));
        let region = request.scene.region(centre);
        let corners = 1_usize << lines.active.len();
        for which in 0..corners {
            let mut point = centre;
            for (bit, &axis) in lines.active.iter().enumerate() {
                let from = if which >> bit & 1 == 1 { high[axis] } else { low[axis] };
                point[axis] = from + INWARD * (centre[axis] - from);
            }
            if request.scene.region(point) != region {
                return None;
            }
        }
        Some(region)
    }
}

/// Corners of boxes.
pub(super) type Corners = FxHashSet<u64>;

/// The leaves, in an order in which neighbours are near each other, and the keys of their corners.
#[derive(Debug)]
pub(super) struct Boxes {
    pub(super) leaves: Vec<Leaf>,
    pub(super) corners: Corners,
}

struct Growth<'a, 'r> {
    request: &'a MeshRequest<'r>,
    lines: &'a Lines,
    leaves: AtomicUsize,
    most_leaves: usize,
    /// Most halvings when a box whose centre is excluded is searched for meshed regions.
    search: u32,
    cancelled: AtomicBool,
    /// A box should be halved but its coordinates do not allow it.
    exhausted: AtomicBool,
}

/// Splits until the size field is satisfied and neighbours differ little.
pub(super) fn grow(request: &MeshRequest<'_>, lines: &Lines) -> Result<Boxes, MeshError> {
    let per_leaf = cells_per_leaf(lines);
    let [nx, ny, nz] = std::array::from_fn(|axis| lines.axes[axis].intervals().max(1));
    let growth = Growth {
        request,
        lines,
        leaves: AtomicUsize::new(nx * ny * nz),
        most_leaves: request.maximum_cells / per_leaf,
        search: (SEARCHED_PARTS / (nx * ny * nz)).max(1).ilog2().clamp(9, 20),
        cancelled: AtomicBool::new(false),
        exhausted: AtomicBool::new(false),
    };
    let roots: Vec<Leaf> = (0..nx * ny * nz)
        .map(|number| {
            let interval = [number % nx, number / nx % ny, number / (nx * ny)];
            Leaf {
                corner: std::array::from_fn(|axis| (interval[axis] as u32) << lines.axes[axis].fraction_bits),
                level: [0; 3],
            }
        })
        .collect();
    check(request)?;
    let grown: Vec<Vec<Leaf>> = roots.par_iter().map(|&root| growth.refine(root, 5)).collect();
    if growth.cancelled.load(Ordering::Relaxed) {
        return Err(MeshError::Cancelled);
    }
    if growth.leaves.load(Ordering::Relaxed) > growth.most_leaves {
        return Err(too_many(request, lines, &roots));
    }
    if growth.exhausted.load(Ordering::Relaxed) {
        let reason = "the size field asks for cells too small to tell apart on lines of the base grid; \
                      ask for larger cells or split the domain"
            .to_owned();
        return Err(MeshError::Invalid { reason });
    }
    let mut leaves = grown.concat();
    let corners = grade(request, lines, &mut leaves, &roots)?;
    Ok(Boxes { leaves, corners })
}

fn cells_per_leaf(lines: &Lines) -> usize {
    if lines.active.len() == 2 { 2 } else { 6 }
}

impl Growth<'_, '_> {
    /// Leaves under `root`. The first few splits go to other threads.
    fn refine(&self, root: Leaf, forks: u32) -> Vec<Leaf> {
        let Some(axis) = self.wants_split(&root) else { return vec![root] };
        self.leaves.fetch_add(1, Ordering::Relaxed);
        let [lower, upper] = root.halves(self.lines, axis);
        if forks > 0 {
            let (mut first, second) =
                rayon::join(|| self.refine(lower, forks - 1), || self.refine(upper, forks - 1));
            first.extend(second);
            return first;
        }
        let mut leaves = Vec::new();
        let mut open = vec![upper, lower];
        let mut splits = 0_u32;
        while let Some(leaf) = open.pop() {
            match self.wants_split(&leaf) {
                Some(axis) => {
                    let [lower, upper] = leaf.halves(self.lines, axis);
                    open.extend([upper, lower]);
                    self.leaves.fetch_add(1, Ordering::Relaxed);
                    if splits.is_multiple_of(1024) && !(self.request.keep_going)() {
                        self.cancelled.store(true, Ordering::Relaxed);
                    }
                    splits += 1;
                }
                None => leaves.push(leaf),
            }
        }
        leaves
    }

    fn wants_split(&self, leaf: &Leaf) -> Option<usize> {
        if self.cancelled.load(Ordering::Relaxed) || self.leaves.load(Ordering::Relaxed) > self.most_leaves {
            return None;
        }
        let diagonal = leaf.diagonal(self.lines) * (1.0 - 1e-9);
        let (low, high) = leaf.bounds(self.lines);
        let size = self.request.size.smallest_within(low, high, diagonal);
        if size >= diagonal || !self.holds_meshed(low, high, self.search) {
            return None;
        }
        let axis = leaf.split_axis(self.lines);
        if axis.is_none() {
            self.exhausted.store(true, Ordering::Relaxed);
        }
        axis
    }

    /// Whether a meshed region is found in a box that is to be split. Parts are searched as finely as the size field asks
    /// there, so that a small solid in a large excluded box is found where the field knows of it.
    fn holds_meshed(&self, low: [f64; 3], high: [f64; 3], halvings: u32) -> bool {
        let excluded = |region| region == VOID || (self.request.excluded)(region);
        let centre = std::array::from_fn(|axis| 0.5 * (low[axis] + high[axis]));
        if !excluded(self.request.scene.region(centre)) {
            return true;
        }
        if let Some(region) = self.request.scene.uniform(low, high) {
            return !excluded(region);
        }
        let sides: [f64; 3] = std::array::from_fn(|axis| high[axis] - low[axis]);
        let diagonal = sides.iter().map(|side| side * side).sum::<f64>().sqrt();
        if halvings == 0 || self.request.size.smallest_within(low, high, diagonal) >= diagonal {
            return false;
        }
        let axis = (0..3).fold(0, |longest, axis| if sides[axis] > sides[longest] { axis } else { longest });
        let (mut lower_high, mut upper_low) = (high, low);
        lower_high[axis] = centre[axis];
        upper_low[axis] = centre[axis];
        self.holds_meshed(low, lower_high, halvings - 1) || self.holds_meshed(upper_low, high, halvings - 1)
    }
}

/// Splits boxes much larger than a neighbour: an edge may carry one hanging vertex, a face two generations of splits.
/// The long sides of flat boxes may carry none: their neighbours' splits go on through them.
/// That keeps the cones of [`super::fill`] well shaped.
fn grade(
    request: &MeshRequest<'_>,
    lines: &Lines,
    leaves: &mut Vec<Leaf>,
    roots: &[Leaf],
) -> Result<Corners, MeshError> {
    let all = 0..8_usize;
    let mut corners = Corners::with_capacity_and_hasher(leaves.len() * 5 / 4, rustc_hash::FxBuildHasher);
    for leaf in leaves.iter() {
        corners.extend(all.clone().map(|which| key(leaf.corner_at(lines, which))));
    }
    loop {
        check(request)?;
        let rough: Vec<bool> = leaves.par_iter().map(|leaf| is_rough(leaf, lines, &corners)).collect();
        let count = rough.iter().filter(|&&rough| rough).count();
        if count == 0 {
            return Ok(corners);
        }
        if leaves.len() + count > request.maximum_cells / cells_per_leaf(lines) {
            return Err(too_many(request, lines, roots));
        }
        let mut next = Vec::with_capacity(leaves.len() + count);
        let mut split_any = false;
        for (leaf, rough) in leaves.iter().zip(rough) {
            match leaf.split_axis(lines).filter(|_| rough) {
                Some(axis) => {
                    split_any = true;
                    for half in leaf.halves(lines, axis) {
                        corners.extend(all.clone().map(|which| key(half.corner_at(lines, which))));
                        next.push(half);
                    }
                }
                None => next.push(*leaf),
            }
        }
        *leaves = next;
        if !split_any {
            return Ok(corners);
        }
    }
}

fn is_rough(leaf: &Leaf, lines: &Lines, corners: &Corners) -> bool {
    let present = |coordinates| corners.contains(&key(coordinates));
    let length = |axis| leaf.length(lines, axis);
    let shortest = lines.active.iter().map(|&axis| length(axis)).fold(f64::INFINITY, f64::min);
    for &axis in &lines.active {
        let long = length(axis) > LONG * shortest;
        let half = leaf.side(lines, axis) / 2;
        if half < 2 {
            continue;
        }
        for which in (0..8_usize).filter(|which| which >> axis & 1 == 0) {
            if (0..3).any(|other| Some(other) == lines.normal && which >> other & 1 == 1) {
                continue;
            }
            let at = |offset: u32| {
                let mut point = leaf.corner_at(lines, which);
                point[axis] += offset;
                point
            };
            if present(at(half)) && (long || present(at(half / 2)) || present(at(half + half / 2))) {
                return true;
            }
        }
    }
    lines.normal.is_none()
        && (0..3).any(|normal| {
            [0, leaf.side(lines, normal)].into_iter().any(|offset| {
                let mut face = Face::of(leaf, normal);
                face.corner[normal] += offset;
                face.depth(lines, corners, 3) > 2
            })
        })
}

/// Rectangle in a plane normal to `normal`: a face of a box, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Face {
    pub(super) normal: usize,
    pub(super) corner: [u32; 3],
    pub(super) level: [u8; 3],
}

impl Face {
    /// Lower face of a box.
    pub(super) fn of(leaf: &Leaf, normal: usize) -> Self {
        Self { normal, corner: leaf.corner, level: leaf.level }
    }

    fn as_leaf(&self) -> Leaf {
        Leaf { corner: self.corner, level: self.level }
    }

    /// Side along an axis in coordinate units.
    pub(super) fn side(&self, lines: &Lines, axis: usize) -> u32 {
        self.as_leaf().side(lines, axis)
    }

    /// The two axes along the face.
    pub(super) fn axes(&self) -> [usize; 2] {
        [usize::from(self.normal == 0), if self.normal == 2 { 1 } else { 2 }]
    }

    /// The halves, if both ends of the line that would divide the face are corners of boxes.
    pub(super) fn split(&self, lines: &Lines, corners: &Corners) -> Option<[Self; 2]> {
        let [u, v] = self.axes();
        let leaf = self.as_leaf();
        let (along, across) = if leaf.length(lines, v) > leaf.length(lines, u) { (v, u) } else { (u, v) };
        let half = self.side(lines, along) / 2;
        if half < 2 {
            return None;
        }
        let mut end = self.corner;
        end[along] += half;
        if !corners.contains(&key(end)) {
            return None;
        }
        end[across] += self.side(lines, across);
        if !corners.contains(&key(end)) {
            return None;
        }
        let mut lower = *self;
        lower.level[along] += 1;
        let mut upper = lower;
        upper.corner[along] += half;
        Some([lower, upper])
    }

    /// Generations of splits, counted up to `enough`.
    fn depth(&self, lines: &Lines, corners: &Corners, enough: u32) -> u32 {
        if enough == 0 {
            return 0;
        }
        self.split(lines, corners).map_or(0, |halves| {
            1 + halves.iter().map(|half| half.depth(lines, corners, enough - 1)).max().unwrap_or(0)
        })
    }
}

/// The refusal, with an estimate of the cells needed from the size field.
fn too_many(request: &MeshRequest<'_>, lines: &Lines, roots: &[Leaf]) -> MeshError {
    const SAMPLES: f64 = 100_000.0;
    let dimension = lines.active.len() as u32;
    let along = (SAMPLES / roots.len() as f64).powf(1.0 / f64::from(dimension)).clamp(2.0, 1000.0) as usize;
    let wanted = |root: &Leaf| -> f64 {
        let (low, high) = root.bounds(lines);
        let share: f64 = lines.active.iter().map(|&axis| (high[axis] - low[axis]) / along as f64).product();
        (0..along.pow(dimension))
            .map(|sample| {
                let mut rest = sample;
                let mut point = low;
                for &axis in &lines.active {
                    point[axis] += ((rest % along) as f64 + 0.5) / along as f64 * (high[axis] - low[axis]);
                    rest /= along;
                }
                let region = request.scene.region(point);
                if region == VOID || (request.excluded)(region) {
                    return 0.0;
                }
                // A box as long as the size here sees its smallest value over that length.
                let size = request.size.at(point);
                let smallest = lines.active.iter().flat_map(|&axis| [(axis, -0.4), (axis, 0.4)]).fold(
                    size,
                    |smallest, (axis, reach)| {
                        let mut near = point;
                        near[axis] += reach * size;
                        smallest.min(request.size.at(near))
                    },
                );
                let side = smallest / f64::from(dimension).sqrt();
                // Halving one side at a time leaves boxes of 0.5 to 1 times the wanted volume, and where sizes
                // change, many boxes are filled with cones: about twice as many cells.
                let surplus = if smallest < 0.98 * size { 2.5 } else { 1.3 };
                surplus * share / side.powi(dimension as i32)
            })
            .sum()
    };
    let boxes: f64 = roots.par_iter().map(wanted).collect::<Vec<_>>().iter().sum();
    let needed = (boxes * cells_per_leaf(lines) as f64).min(usize::MAX as f64 / 2.0) as usize;
    MeshError::TooManyCells {
        needed: needed.max(request.maximum_cells + 1),
        limit: request.maximum_cells,
        hint: "ask for larger cells near interfaces or in bulk, or allow more cells".to_owned(),
    }
}
