//! Where materials really meet: the visible parts of the structures' surfaces.
//!
//! A structure's surface counts only where nothing later covers it and where the other side is another material.
//! The domain is searched from coarse to fine: a box that no surface reaches is dropped; a box reached
//! only by axis-aligned boxes is cut along their faces and done exactly; any other box is halved until it
//! is small against the wanted cells, and then stands for the piece of curved interface that it holds.
//!
//! Why not sample each surface: hidden parts would be refined for nothing (a wafer that swallows the lower face
//! of its oxide), and a fixed number of samples per surface, as the client's parameter `sampling` suggests,
//! is too few for long waveguides and too many for small vias.

use wavetask_grid::geometry::Bounds;

use crate::model::Problem;
use crate::region::Regions;

/// A piece of an interface between two owners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Patch {
    /// The piece; flat where it is planar.
    pub(crate) bounds: Bounds,
    /// The owners on both sides, the covering one first; `None` is the background.
    pub(crate) owners: [Option<usize>; 2],
}

/// Most pieces; beyond, pieces stop being halved further.
const MAXIMUM_PATCHES: usize = 2_000_000;

/// Most cells that a box is cut into along the faces of aligned boxes.
const MAXIMUM_CUTS: usize = 512;

/// Finds the visible interfaces between owners inside `bounds`.
///
/// `finest` is the size in µm of the pieces that stand for curved interfaces.
/// `keep_going` is asked now and then; once it answers `false`, what has been found so far is returned.
pub(crate) fn find(
    problem: &Problem,
    regions: &Regions<'_>,
    bounds: &Bounds,
    finest: f64,
    keep_going: &dyn Fn() -> bool,
) -> Vec<Patch> {
    let mut search =
        Search { problem, regions, finest, keep_going, visits: 0, stopped: false, patches: Vec::new() };
    let low = bounds.map(|range| range[0]);
    let high = bounds.map(|range| range[1]);
    let candidates = regions.candidates_in(low, high);
    search.visit(low, high, &candidates);
    search.patches
}

struct Search<'a> {
    problem: &'a Problem,
    regions: &'a Regions<'a>,
    finest: f64,
    keep_going: &'a dyn Fn() -> bool,
    visits: usize,
    stopped: bool,
    patches: Vec<Patch>,
}

impl Search<'_> {
    fn visit(&mut self, low: [f64; 3], high: [f64; 3], among: &[usize]) {
        self.visits += 1;
        if self.visits.is_multiple_of(1024) && !(self.keep_going)() {
            self.stopped = true;
        }
        if self.stopped {
            return;
        }
        let candidates = self.regions.candidates(low, high, among);
        if candidates.is_empty() {
            return;
        }
        let structures = self.problem.scene.structures();
        let center: [f64; 3] = std::array::from_fn(|axis| (low[axis] + high[axis]) / 2.0);
        let half_diagonal = crate::region::half_diagonal(low, high);
        let mut aligned = true;
        let mut surfaces = false;
        let mut cuts = [vec![low[0], high[0]], vec![low[1], high[1]], vec![low[2], high[2]]];
        for &index in &candidates {
            let geometry = &structures[index].geometry;
            if !crate::region::surface_near(geometry, center, half_diagonal) {
                continue;
            }
            surfaces = true;
            if let Some(bounds) = geometry.as_aligned_box() {
                for axis in 0..3 {
                    cuts[axis]
                        .extend(bounds[axis].iter().filter(|&&face| low[axis] < face && face < high[axis]));
                }
            } else {
                aligned = false;
            }
        }
        if !surfaces {
            return;
        }
        for list in &mut cuts {
            list.sort_by(f64::total_cmp);
            list.dedup();
        }
        let pieces: usize = cuts.iter().map(|list| list.len().saturating_sub(1).max(1)).product();
        let longest = crate::region::longest_axis(low, high);
        let splittable = high[longest] - low[longest] > self.finest && self.patches.len() < MAXIMUM_PATCHES;
        if aligned && (pieces <= MAXIMUM_CUTS || !splittable) {
            self.cut(&cuts, &candidates);
        } else if splittable {
            let middle = center[longest];
            let mut lower_high = high;
            lower_high[longest] = middle;
            let mut upper_low = low;
            upper_low[longest] = middle;
            self.visit(low, lower_high, &candidates);
            self.visit(upper_low, high, &candidates);
        } else {
            self.sample(low, high, &cuts, &candidates);
        }
    }

    /// Cuts a box along planes and records the faces between pieces of different owners.
    fn cut(&mut self, cuts: &[Vec<f64>; 3], candidates: &[usize]) {
        let counts = cuts.each_ref().map(|list| list.len().saturating_sub(1).max(1));
        let range = |axis: usize, piece: usize| {
            let upper = (piece + 1).min(cuts[axis].len() - 1);
            [cuts[axis][piece], cuts[axis][upper]]
        };
        let mut owners = Vec::with_capacity(counts.iter().product());
        for i in 0..counts[0] {
            for j in 0..counts[1] {
                for k in 0..counts[2] {
                    let center =
                        [range(0, i), range(1, j), range(2, k)].map(|[low, high]| (low + high) / 2.0);
                    owners.push(self.regions.owner_among(center, candidates));
                }
            }
        }
        let strides = [counts[1] * counts[2], counts[2], 1];
        for i in 0..counts[0] {
            for j in 0..counts[1] {
                for k in 0..counts[2] {
                    let place = [i, j, k];
                    let here = i * strides[0] + j * strides[1] + k;
                    for axis in 0..3 {
                        if place[axis] + 1 >= counts[axis] {
                            continue;
                        }
                        let pair = [owners[here], owners[here + strides[axis]]];
                        if pair[0] == pair[1] {
                            continue;
                        }
                        let mut bounds = [range(0, i), range(1, j), range(2, k)];
                        bounds[axis][0] = bounds[axis][1];
                        self.record(bounds, pair);
                    }
                }
            }
        }
    }

    /// Records a small box if samples in it have several owners.
    fn sample(&mut self, low: [f64; 3], high: [f64; 3], cuts: &[Vec<f64>; 3], candidates: &[usize]) {
        const PER_AXIS: usize = 3;
        let coordinates: [Vec<f64>; 3] = std::array::from_fn(|axis| {
            if low[axis] == high[axis] {
                return vec![low[axis]];
            }
            let mut list: Vec<f64> = (0..PER_AXIS)
                .map(|step| low[axis] + (high[axis] - low[axis]) * step as f64 / (PER_AXIS - 1) as f64)
                .collect();
            if cuts[axis].len() <= 2 * PER_AXIS {
                list.extend(cuts[axis].windows(2).map(|pair| (pair[0] + pair[1]) / 2.0));
            }
            list
        });
        let mut seen: Vec<Option<usize>> = Vec::new();
        for &x in &coordinates[0] {
            for &y in &coordinates[1] {
                for &z in &coordinates[2] {
                    let owner = self.regions.owner_among([x, y, z], candidates);
                    if !seen.contains(&owner) {
                        seen.push(owner);
                    }
                }
            }
        }
        let bounds = std::array::from_fn(|axis| [low[axis], high[axis]]);
        for (place, &first) in seen.iter().enumerate() {
            for &second in &seen[..place] {
                self.record(bounds, [first, second]);
            }
        }
    }

    fn record(&mut self, bounds: Bounds, owners: [Option<usize>; 2]) {
        let rank = |owner| self.regions.rank(owner);
        let owners = if rank(owners[0]) >= rank(owners[1]) { owners } else { [owners[1], owners[0]] };
        self.patches.push(Patch { bounds, owners });
    }
}
