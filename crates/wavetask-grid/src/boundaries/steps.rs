//! The steps of a graded grid: fine where they must be, growing by at most a factor from one to the next.
//!
//! The ends of every interval are first limited by what its neighbours allow ([`end_steps`]); then each interval
//! is filled by itself ([`fill`]), and refilled while a step differs too much from its neighbour across a cut.

use super::closeness::{TOLERANCE, near};
use super::count::counted;
use super::error::GridError;
use super::root::first_root;

/// How often intervals are refilled before the mesh is given up.
const MAXIMUM_SWEEPS: usize = 100_000;

/// The residual at which the client accepts a growth factor, in micrometres.
const RESIDUAL: f64 = 1e-10;

/// The largest steps at the two ends of an interval and inside, in micrometres.
#[derive(Clone, Copy, Debug)]
struct Limits {
    left: f64,
    right: f64,
    inside: f64,
}

/// The steps along an axis: `lengths` and the largest step `inside` of every interval, the greatest ratio of
/// neighbouring steps, and whether the last interval is a neighbour of the first.
///
/// All lengths and steps must be positive.
pub(super) fn graded(
    axis: usize,
    inside: &[f64],
    lengths: &[f64],
    scale: f64,
    periodic: bool,
) -> Result<Vec<f64>, GridError> {
    if inside.iter().chain(lengths).any(|&value| !(value > 0.0 && value.is_finite())) {
        return Err(GridError::none(axis, "an interval or its step is not positive and finite"));
    }
    let count = lengths.len();
    let ends = end_steps(inside, lengths, scale, periodic);
    let mut filler = Filler { axis, scale, cells: 0 };
    let mut intervals = (0..count)
        .map(|index| {
            let [left, right] = ends[index];
            filler.fill(Limits { left, right, inside: inside[index] }, lengths[index])
        })
        .collect::<Result<Vec<_>, _>>()?;

    for _ in 0..MAXIMUM_SWEEPS {
        let mut refined = false;
        for index in 0..count {
            let (mut left, mut right) = (first(&intervals[index]), last(&intervals[index]));
            let before = match index.checked_sub(1) {
                Some(before) => last(&intervals[before]),
                None if periodic => last(&intervals[count - 1]),
                None => left,
            };
            let after = match index + 1 {
                after if after < count => first(&intervals[after]),
                _ if periodic => first(&intervals[0]),
                _ => right,
            };
            let (left_is_large, right_is_large) = (left / before > scale, right / after > scale);
            if left_is_large {
                left = before * (scale - TOLERANCE);
            }
            if right_is_large {
                right = after * (scale - TOLERANCE);
            }
            if left_is_large || right_is_large {
                refined = true;
                filler.cells -= intervals[index].len();
                intervals[index] =
                    filler.fill(Limits { left, right, inside: inside[index] }, lengths[index])?;
            }
        }
        if !refined {
            return Ok(intervals.concat());
        }
    }
    Err(GridError::none(axis, "the steps of neighbouring intervals cannot be matched"))
}

fn first(steps: &[f64]) -> f64 {
    steps.first().copied().unwrap_or(f64::NAN)
}

fn last(steps: &[f64]) -> f64 {
    steps.last().copied().unwrap_or(f64::NAN)
}

/// The largest steps at the left and right end of each interval, if the number of steps need not be whole.
fn end_steps(inside: &[f64], lengths: &[f64], scale: f64, periodic: bool) -> Vec<[f64; 2]> {
    let count = lengths.len();
    let neighbour = |index: usize, ahead: bool| match (index, ahead) {
        (0, false) if !periodic => inside[0],
        (index, true) if index + 1 == count && !periodic => inside[index],
        (index, true) => inside[(index + 1) % count],
        (index, false) => inside[(index + count - 1) % count],
    };
    let mut left: Vec<f64> = (0..count).map(|index| inside[index].min(neighbour(index, false))).collect();
    let mut right: Vec<f64> = (0..count).map(|index| inside[index].min(neighbour(index, true))).collect();
    // What a step grows to over the interval, at least one step long.
    let grown = |step: f64, length: f64| {
        let steps = ((1.0 - length / step * (1.0 - scale)).ln() / scale.ln()).max(1.0);
        step * scale.powf(steps - 1.0)
    };
    loop {
        let forward = propagate(&left, &mut right, lengths, grown);
        let passed = forward.iter().filter(|&&(index, _)| periodic || index + 1 < count);
        let changed_left = hand_over(passed, count, 1, &mut left);

        let backward = propagate(&right, &mut left, lengths, grown);
        let passed = backward.iter().filter(|&&(index, _)| periodic || index > 0);
        let changed_right = hand_over(passed, count, count - 1, &mut right);
        if !changed_left && !changed_right {
            break;
        }
    }
    if !periodic {
        left[0] = inside[0];
        right[count - 1] = inside[count - 1];
    }
    left.into_iter().zip(right).map(|(left, right)| [left, right]).collect()
}

/// Lowers the steps at the far ends to what those at the near ends can grow to; the intervals that changed.
fn propagate(
    near_ends: &[f64],
    far_ends: &mut [f64],
    lengths: &[f64],
    grown: impl Fn(f64, f64) -> f64,
) -> Vec<(usize, f64)> {
    let mut changed = Vec::new();
    for (index, far) in far_ends.iter_mut().enumerate() {
        let limit = grown(near_ends[index], lengths[index]);
        if limit < *far {
            *far = limit;
            changed.push((index, limit));
        }
    }
    changed
}

/// Gives the changed steps to the next intervals, `shift` further on; whether there were any.
///
/// The intervals that receive are taken in ascending order, and so are the steps. Around a periodic axis that
/// turns the steps by one place when the last interval is among them; the client does the same.
fn hand_over<'a>(
    changed: impl Iterator<Item = &'a (usize, f64)>,
    count: usize,
    shift: usize,
    ends: &mut [f64],
) -> bool {
    let (indices, steps): (Vec<usize>, Vec<f64>) = changed.copied().unzip();
    let mut receivers: Vec<usize> = indices.iter().map(|index| (index + shift) % count).collect();
    receivers.sort_unstable();
    for (receiver, step) in receivers.iter().zip(&steps) {
        ends[*receiver] = *step;
    }
    !steps.is_empty()
}

/// Fills intervals with steps and counts them.
struct Filler {
    axis: usize,
    scale: f64,
    cells: usize,
}

impl Filler {
    fn fill(&mut self, limits: Limits, length: f64) -> Result<Vec<f64>, GridError> {
        let steps = self.steps(limits, length)?;
        self.cells += steps.len();
        counted(self.axis, self.cells as f64)?;
        Ok(steps)
    }

    /// How many steps that grow from `small` stay below `large`, and their length.
    fn growth(&self, small: f64, large: f64) -> Result<(usize, f64), GridError> {
        let count = counted(self.axis, 1.0 + ((large / small).ln() / self.scale.ln()).floor())?;
        Ok((count, self.grown_length(small, count)))
    }

    /// The length of `count` steps that grow from `small`.
    fn grown_length(&self, small: f64, count: usize) -> f64 {
        small * (1.0 - self.power(count)) / (1.0 - self.scale)
    }

    fn power(&self, exponent: usize) -> f64 {
        self.scale.powf(exponent as f64)
    }

    fn growing(&self, small: f64, count: usize) -> Vec<f64> {
        (0..count).map(|index| small * self.power(index)).collect()
    }

    fn even(&self, length: f64, cells: f64) -> Result<Vec<f64>, GridError> {
        let count = counted(self.axis, cells)?;
        Ok(vec![length / cells; count])
    }

    fn steps(&self, limits: Limits, length: f64) -> Result<Vec<f64>, GridError> {
        let large = limits.inside;
        let (left, right) = (large.min(limits.left), large.min(limits.right));
        if length <= left.min(right) {
            return Ok(vec![length]);
        }
        if near(self.scale, 1.0, 0.0) || (large <= left && large <= right) {
            let step = left.min(right);
            return self.even(length, (length / step).ceil());
        }
        if large <= left || large <= right {
            let (small, large) = (left.min(right), left.max(right));
            let (_, scaled) = self.growth(small, large)?;
            let mut steps = if length - scaled < large {
                self.rise(small, length)?
            } else {
                self.rise_to_plateau(small, large, length)?
            };
            if left > right {
                steps.reverse();
            }
            return Ok(steps);
        }
        let (_, rising) = self.growth(left, large)?;
        let (_, falling) = self.growth(right, large)?;
        if length - rising - falling >= large {
            self.rise_plateau_fall(left, right, large, length)
        } else {
            self.rise_and_fall(left, right, length)
        }
    }

    /// Steps that grow from the left, stay, and fall to the right.
    fn rise_plateau_fall(
        &self,
        left: f64,
        right: f64,
        large: f64,
        length: f64,
    ) -> Result<Vec<f64>, GridError> {
        let (count_left, length_left) = self.growth(left, large)?;
        let (count_right, length_right) = self.growth(right, large)?;
        let count = counted(self.axis, ((length - length_left - length_right) / large).floor())?;
        let rest = length - length_left - length_right - count as f64 * large;
        let plateau = vec![large; count];
        let sides = [self.growing(left, count_left), self.growing(right, count_right)];
        Ok(join_sides(sides, &plateau, [left, right], rest, length))
    }

    /// Steps that grow from both ends towards the middle.
    fn rise_and_fall(&self, left: f64, right: f64, length: f64) -> Result<Vec<f64>, GridError> {
        if length < left + right {
            let step = left.min(right);
            let mut cells = (length / step).floor();
            if cells * step < length {
                cells += 1.0;
            }
            return self.even(length, cells);
        }
        // As many steps from each side as fit if both sides ended in steps of the same size.
        let count = |step: f64| {
            let end = ((left + right) - length * (1.0 - self.scale)) / 2.0 / step;
            counted(self.axis, (end.ln() / self.scale.ln()).floor())
        };
        let (count_left, count_right) = (count(left)?, count(right)?);
        let mut rest = length - self.grown_length(left, count_left) - self.grown_length(right, count_right);
        let mut sides = [self.growing(left, count_left), self.growing(right, count_right)];
        if !near(rest, 0.0, 0.0) {
            for side in &mut sides {
                while let Some(&largest) = side.last() {
                    if rest < largest {
                        break;
                    }
                    counted(self.axis, (side.len() + 1) as f64)?;
                    side.push(largest);
                    rest -= largest;
                }
            }
            // What is repeated must not be taken for a fit: the rest is placed even if it is nothing.
            return Ok(place_rest(sides, &[], [left, right], rest, length));
        }
        Ok(join_sides(sides, &[], [left, right], rest, length))
    }

    /// Steps that grow from the left and then stay.
    fn rise_to_plateau(&self, small: f64, large: f64, length: f64) -> Result<Vec<f64>, GridError> {
        let (count, scaled) = self.growth(small, large)?;
        let plateau = counted(self.axis, ((length - scaled) / large).floor())?;
        let rest = length - scaled - large * plateau as f64;
        let mut steps = self.growing(small, count);
        let plateau = vec![large; plateau];
        if near(rest, 0.0, 0.0) {
            steps.extend(plateau);
        } else if rest >= small {
            insert_sorted(&mut steps, rest);
            steps.extend(plateau);
        } else {
            steps.insert(0, small);
            steps.extend(plateau);
            stretch(&mut steps, length);
        }
        Ok(steps)
    }

    /// Steps that grow all the way.
    fn rise(&self, small: f64, length: f64) -> Result<Vec<f64>, GridError> {
        let count =
            counted(self.axis, ((1.0 - length / small * (1.0 - self.scale)).ln() / self.scale.ln()).floor())?;
        let mut steps = self.growing(small, count);
        let rest = length - self.grown_length(small, count);
        if near(rest, 0.0, 0.0) {
            return Ok(steps);
        }
        if rest >= small {
            insert_sorted(&mut steps, rest);
            return Ok(steps);
        }
        // The first step twice, and the last one as much larger as is needed.
        if count >= 2 && rest >= small - (1.0 - 1.0 / (self.scale * self.scale)) * steps[count - 1] {
            steps[count - 1] += rest - small;
            steps.insert(0, small);
            return Ok(steps);
        }
        // The first step twice, and a smaller growth.
        let rest_if_even = length - count as f64 * small;
        if near(rest_if_even, small, 0.0) {
            return Ok(vec![small; count + 1]);
        }
        if rest_if_even > small {
            let residual = |scale: f64| {
                if near(scale, 1.0, 0.0) {
                    length - small * (1.0 + count as f64)
                } else {
                    length - small * (1.0 - scale.powf(count as f64)) / (1.0 - scale) - small
                }
            };
            if let Some(scale) = first_root(1.0, self.scale, RESIDUAL, residual) {
                let grown = (0..count).map(|index| small * scale.powf(index as f64));
                return Ok(std::iter::once(small).chain(grown).collect());
            }
        }
        steps.insert(0, small);
        stretch(&mut steps, length);
        Ok(steps)
    }
}

/// Two sides and what is between them, with the `rest` of the length put in where it belongs.
fn join_sides(sides: [Vec<f64>; 2], plateau: &[f64], smallest: [f64; 2], rest: f64, length: f64) -> Vec<f64> {
    if near(rest, 0.0, 0.0) {
        return concatenated(sides, plateau);
    }
    place_rest(sides, plateau, smallest, rest, length)
}

/// As [`join_sides`] where there is a rest, however small.
fn place_rest(
    mut sides: [Vec<f64>; 2],
    plateau: &[f64],
    smallest: [f64; 2],
    rest: f64,
    length: f64,
) -> Vec<f64> {
    for (side, smallest) in sides.iter_mut().zip(smallest) {
        if rest >= smallest {
            insert_sorted(side, rest);
            return concatenated(sides, plateau);
        }
    }
    let side = usize::from(smallest[0] > smallest[1]);
    sides[side].insert(0, smallest[side]);
    let mut steps = concatenated(sides, plateau);
    stretch(&mut steps, length);
    steps
}

fn concatenated([mut left, mut right]: [Vec<f64>; 2], plateau: &[f64]) -> Vec<f64> {
    right.reverse();
    left.extend_from_slice(plateau);
    left.extend(right);
    left
}

fn insert_sorted(steps: &mut Vec<f64>, step: f64) {
    let index = steps.partition_point(|&other| other < step);
    steps.insert(index, step);
}

/// Scales the steps so that they fill the length.
fn stretch(steps: &mut [f64], length: f64) {
    let factor = length / steps.iter().sum::<f64>();
    for step in steps {
        *step *= factor;
    }
}
