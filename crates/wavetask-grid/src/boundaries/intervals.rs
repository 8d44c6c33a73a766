//! Where a graded grid must have lines along one axis, and how fine it must be in between.
//!
//! The domain is cut at the faces of the bounding boxes of what matters along the axis, from the box that
//! covers all others to the one that all others cover. A box that is hidden where it would cut leaves no
//! trace; a cut too near to another one is merged with it. Between two cuts the step is the least that any
//! visible box asks for, or what the last enforced box says.
//!
//! Only the least step and the topmost box of an interval decide, so that is all an interval remembers: the
//! time is that of the search for overlaps, not the number of boxes times the number of intervals.

use crate::geometry::Bounds;
use crate::geometry::tree::{CHEAP, Tree};

use super::closeness::{TOLERANCE, first_above, first_not_below, near};
use super::error::GridError;

/// By how much a step may be undercut: a box exactly one step wide keeps both of its faces.
const STEP_SLACK: f64 = 0.9999;

/// A face of an unshadowed box uses an existing cut that is nearer than this many of the box's own steps.
///
/// So it is from version 2.12 of the client on; before, it has a cut of its own.
pub(super) const UNSHADOWED_REACH: f64 = 2.0;

/// A box that asks for a step along the axis at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) bounds: Bounds,
    /// The largest step inside, in micrometres.
    pub(super) step: f64,
    /// Whether its step holds against finer ones beneath.
    pub(super) enforced: bool,
    /// Whether it hides what is beneath; otherwise the finer step counts.
    pub(super) shadow: bool,
}

/// Cuts along an axis in ascending order and the largest step between each two: one step fewer than cuts.
///
/// A domain without extent has one cut and no step.
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    pub(super) cuts: Vec<f64>,
    pub(super) steps: Vec<f64>,
}

impl Intervals {
    /// The intervals that the candidates demand along `axis`; the first candidate is the domain.
    ///
    /// Candidates cover those before them, except that unshadowed ones come right after the domain and
    /// enforced ones at the end. `reach` is [`UNSHADOWED_REACH`] or zero.
    pub(super) fn of(axis: usize, mut candidates: Vec<Candidate>, reach: f64) -> Result<Self, GridError> {
        let [first, last] = candidates[0].bounds[axis];
        candidates[1..].sort_by_key(|candidate| match (candidate.enforced, candidate.shadow) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        });
        let unenforced = candidates.iter().filter(|candidate| !candidate.enforced).count();

        let partition = Partition::of(axis, &candidates, reach);
        let inside: Vec<usize> = (0..partition.cuts.len())
            .filter(|&index| partition.cuts[index] >= first && partition.cuts[index] <= last)
            .collect();
        let cuts: Vec<f64> = inside.iter().map(|&index| partition.cuts[index]).collect();
        let steps = inside[..inside.len().saturating_sub(1)]
            .iter()
            .map(|&index| match partition.topmost[index] {
                Some(top) if top >= unenforced => Ok(candidates[top].step),
                Some(_) => Ok(partition.least[index]),
                None => Err(GridError::none(axis, "a part of the domain is covered by no structure")),
            })
            .collect::<Result<Vec<f64>, _>>()?;
        Ok(Self { cuts, steps }.without_slivers())
    }

    /// Drops intervals that are smaller than the least step.
    fn without_slivers(self) -> Self {
        let least = STEP_SLACK * self.least_step();
        let mut cuts = vec![self.cuts[0]];
        let mut steps = Vec::with_capacity(self.steps.len());
        let count = self.cuts.len();
        for (index, &cut) in self.cuts.iter().enumerate().skip(1) {
            let previous = cuts[cuts.len() - 1];
            if cut - previous >= least || (index == count - 1 && !near(cut, previous, 0.0)) {
                cuts.push(cut);
                steps.push(self.steps[index - 1]);
            }
        }
        Self { cuts, steps }
    }

    fn least_step(&self) -> f64 {
        self.steps.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Whether the domain has no extent along this axis.
    pub(super) fn is_flat(&self) -> bool {
        self.cuts.len() < 2
    }

    /// Puts cuts at the given coordinates, moving a cut of a structure that is nearer than the smallest
    /// step; the ends of the domain stay. `least` is the smallest step, zero for a half of the finest
    /// interval's.
    ///
    /// Moves that come before the first new cut are made in `self` too: where the client makes a grid in
    /// several passes from one set of intervals, it finds them moved in the next pass.
    pub(super) fn snapped(&mut self, points: impl IntoIterator<Item = f64>, least: f64) -> Self {
        let mut snapped = self.clone();
        if self.is_flat() {
            return snapped;
        }
        let least = if least == 0.0 { self.least_step() / 2.0 } else { least };
        let mut shared = true;
        for point in points {
            let last = snapped.cuts.len() - 1;
            if point >= snapped.cuts[last] || point <= snapped.cuts[0] {
                continue;
            }
            let above = first_not_below(&snapped.cuts, point);
            let near_below = (point - snapped.cuts[above - 1]).abs() < least;
            let near_above = (point - snapped.cuts[above]).abs() < least;
            let moved = match (near_below, near_above) {
                (true, true) => continue,
                (true, false) if above == 1 => continue,
                (true, false) => above - 1,
                (false, true) if above == last => continue,
                (false, true) => above,
                (false, false) => {
                    snapped.cuts.insert(above, point);
                    snapped.steps.insert(above - 1, snapped.steps[above - 1]);
                    shared = false;
                    continue;
                }
            };
            snapped.cuts[moved] = point;
            if shared {
                self.cuts[moved] = point;
            }
        }
        snapped
    }
}

/// The cuts so far, in and beyond the domain, and what is known of each interval between them.
struct Partition {
    cuts: Vec<f64>,
    /// The greatest candidate that is visible in the interval.
    topmost: Vec<Option<usize>>,
    /// The least step of the candidates that are visible in the interval.
    least: Vec<f64>,
    /// How near a cut must be to be used by an unshadowed candidate, in its steps.
    reach: f64,
}

impl Partition {
    fn of(axis: usize, candidates: &[Candidate], reach: f64) -> Self {
        let across = [(axis + 1) % 3, (axis + 2) % 3];
        let [first, last] = candidates[0].bounds[axis];
        let mut partition =
            Self { cuts: vec![first, last], topmost: vec![None], least: vec![f64::INFINITY], reach };
        let least = candidates.iter().map(|candidate| candidate.step).fold(f64::INFINITY, f64::min);
        let tolerance = STEP_SLACK * STEP_SLACK * least;

        let flattened: Vec<Bounds> = candidates
            .iter()
            .map(|candidate| [candidate.bounds[across[0]], candidate.bounds[across[1]], [0.0; 2]])
            .collect();
        let tree = Tree::new(&flattened, CHEAP);
        let mut hidden = vec![false; candidates.len()];
        for index in (0..candidates.len()).rev() {
            let candidate = &candidates[index];
            if hidden[index] {
                continue;
            }
            let mut covers: Vec<[f64; 2]> = Vec::new();
            if candidate.shadow {
                tree.any_overlapping(&flattened[index], |other| {
                    if other == index || hidden[other] || !candidates[other].shadow {
                        return false;
                    }
                    let (upper, lower) = if other > index { (other, index) } else { (index, other) };
                    let (upper_box, lower_box) = (&candidates[upper].bounds, &candidates[lower].bounds);
                    if !across.iter().all(|&side| touch(upper_box[side], lower_box[side]))
                        || !across.iter().all(|&side| encloses(upper_box[side], lower_box[side]))
                    {
                        return false;
                    }
                    if other > index {
                        covers.push(upper_box[axis]);
                    } else if encloses(upper_box[axis], lower_box[axis]) {
                        hidden[other] = true;
                    }
                    false
                });
            }
            let [low, high] = candidate.bounds[axis];
            if !partition.insert(index, candidate, [low, high], &covers, tolerance) && high - low > 0.0 {
                // Too thin to be seen: it hides nothing from those beneath either.
                hidden[index] = true;
            }
        }
        partition
    }

    /// Cuts at the two faces of a candidate, where they are seen, and enters it into the intervals between;
    /// whether there are any.
    fn insert(
        &mut self,
        index: usize,
        candidate: &Candidate,
        [low, high]: [f64; 2],
        covers: &[[f64; 2]],
        tolerance: f64,
    ) -> bool {
        let tolerance = if candidate.shadow {
            tolerance
        } else {
            self.unshadowed_tolerance(candidate.step, [low, high], tolerance)
        };
        let covered = |position: f64| covers.iter().any(|&[from, to]| from <= position && position <= to);
        // An unshadowed candidate cuts no interval whose step is below its own.
        let coarser = |least: Option<&f64>| {
            !candidate.shadow
                && least.is_some_and(|&least| !(near(candidate.step, least, 0.0) || candidate.step < least))
        };

        let mut start = first_not_below(&self.cuts, low);
        let is_above_cut =
            |before: usize| self.is_cut(before, low, tolerance) || coarser(self.least.get(before));
        if start.checked_sub(1).is_some_and(is_above_cut) {
            start -= 1;
        } else if !self.is_cut(start, low, tolerance) && !covered(low) && index > 0 {
            self.cut(start, start.saturating_sub(1), low);
        }

        // One past the interval in which the upper face is: the client counts from minus one.
        let mut end = first_above(&self.cuts, high);
        let is_below = end > 0 && self.is_cut(end - 1, high, tolerance);
        if self.is_cut(end, high, tolerance) || (end > 0 && coarser(self.least.get(end - 1))) {
            end += 1;
        } else if !is_below && !covered(high) && index > 0 {
            let source = end.saturating_sub(1).min(self.least.len() - 1);
            self.cut(end, source, high);
            end += 1;
        }
        let end = end.saturating_sub(1);

        for interval in start..end.min(self.least.len()) {
            if covered((self.cuts[interval] + self.cuts[interval + 1]) / 2.0) {
                continue;
            }
            self.topmost[interval] = self.topmost[interval].max(Some(index));
            self.least[interval] = self.least[interval].min(candidate.step);
        }
        start < end
    }

    /// How near a face of an unshadowed candidate must be to a cut to use it.
    ///
    /// Far, so that refinements along a surface do not litter the axis with cuts; but not where the
    /// candidate would be left without an interval of its own.
    fn unshadowed_tolerance(&self, step: f64, [low, high]: [f64; 2], tolerance: f64) -> f64 {
        let wide = self.reach * step;
        if wide <= tolerance {
            return tolerance;
        }
        let above_low = first_not_below(&self.cuts, low);
        let above_high = first_above(&self.cuts, high);
        let for_low = [above_low.checked_sub(1), Some(above_low)];
        let for_high = [Some(above_high), above_high.checked_sub(1)];
        let choose = |choices: [Option<usize>; 2], face: f64| {
            choices.into_iter().flatten().find(|&cut| self.is_cut(cut, face, wide))
        };
        let collapses = match (choose(for_low, low), choose(for_high, high)) {
            (None, None) => high - low <= wide,
            (low, high) => low == high,
        };
        if collapses { tolerance } else { wide }
    }

    fn is_cut(&self, index: usize, position: f64, tolerance: f64) -> bool {
        self.cuts.get(index).is_some_and(|&cut| near(position, cut, tolerance))
    }

    /// Adds a cut before the cut `index`; the new interval is like the interval `source`.
    fn cut(&mut self, index: usize, source: usize, position: f64) {
        self.cuts.insert(index, position);
        let interval = index.min(self.least.len());
        let (topmost, least) = (self.topmost[source], self.least[source]);
        self.topmost.insert(interval, topmost);
        self.least.insert(interval, least);
    }
}

/// Whether two closed ranges have a point in common.
fn touch(a: [f64; 2], b: [f64; 2]) -> bool {
    a[0] <= b[1] && b[0] <= a[1]
}

/// Whether the first range contains the second, within the tolerance.
fn encloses(outer: [f64; 2], inner: [f64; 2]) -> bool {
    inner[0] + TOLERANCE >= outer[0] && inner[1] <= outer[1] + TOLERANCE
}
