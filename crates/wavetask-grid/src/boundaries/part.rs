//! Parts of a grid: the cells around a box or a monitor.

use super::Grid;
use super::closeness::{TOLERANCE, first_above, first_not_below, within};
use super::error::GridError;

/// A box by its centre and size in micrometres; sizes may be zero or infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxRegion {
    /// The centre.
    pub center: [f64; 3],
    /// The size along each axis.
    pub size: [f64; 3],
}

impl BoxRegion {
    /// The box between two corners.
    pub fn from_bounds(bounds: [[f64; 2]; 3]) -> Self {
        Self {
            center: bounds.map(|[low, high]| {
                if low.is_infinite() && high.is_infinite() { 0.0 } else { (low + high) / 2.0 }
            }),
            size: bounds.map(|[low, high]| high - low),
        }
    }

    /// `[low, high]` along each axis.
    pub fn bounds(&self) -> [[f64; 2]; 3] {
        std::array::from_fn(|axis| {
            [self.center[axis] - self.size[axis] / 2.0, self.center[axis] + self.size[axis] / 2.0]
        })
    }

    /// The one axis along which the box has no extent; nothing if there is none or more than one.
    pub fn normal_axis(&self) -> Option<usize> {
        let mut flat = (0..3).filter(|&axis| self.size[axis] == 0.0);
        flat.next().filter(|_| flat.next().is_none())
    }
}

/// The first cell and one past the last along each axis. Cells before the grid have negative numbers; those
/// after it go on counting.
pub type Span = [[isize; 2]; 3];

impl Grid {
    /// The cells that a box touches: the client's `grid.discretize_inds`.
    ///
    /// `extend` adds what is needed to interpolate components that are tangential to the box's sides.
    pub fn span_of(&self, region: &BoxRegion, extend: bool) -> Span {
        let bounds = region.bounds();
        std::array::from_fn(|axis| {
            let lines = &self.boundaries[axis];
            let [low, high] = bounds[axis];
            let last = lines.len().saturating_sub(1);
            let start = first_above(lines, low).saturating_sub(1);
            let end = first_above(lines, high).min(last);
            let mut span = [signed(start), signed(end)];
            if end > start && extend {
                if low < (lines[start] + lines[start + 1]) / 2.0 {
                    span[0] -= 1;
                }
                span[1] += 1;
            }
            span
        })
    }

    /// The cells whose data a monitor (or a mode plane) needs: the client's `_discretize_inds_monitor`.
    ///
    /// `colocate` is whether its data is interpolated to the cells' corners. Along an axis on which the
    /// monitor is outside of the grid, the span is empty.
    pub fn span_of_monitor(&self, region: &BoxRegion, colocate: bool) -> Span {
        let mut span = self.covered(region);
        if span.iter().any(|[start, end]| start >= end) {
            return span;
        }
        for [start, end] in &mut span {
            *end += 1;
            if !colocate {
                *start -= 1;
            }
        }
        span
    }

    /// The cells that a box touches when it is made a little larger, so that rounding adds a cell rather than takes
    /// one.
    pub(super) fn covered(&self, region: &BoxRegion) -> Span {
        let size = region.size.map(|size| if size > TOLERANCE { size + TOLERANCE } else { size });
        self.span_of(&BoxRegion { center: region.center, size }, false)
    }

    /// The part of the grid in a span, which may reach beyond it: there it goes on periodically, or as its mirror
    /// image where an axis is not periodic. The domain stays that of the whole.
    pub fn part(&self, span: &Span) -> Self {
        let boundaries = std::array::from_fn(|axis| self.continued(axis, span[axis], self.periodic[axis]));
        Self { boundaries, ..self.clone() }
    }

    /// The part around a box: the client's `simulation.discretize`.
    pub fn around(&self, region: &BoxRegion, extend: bool) -> Self {
        self.part(&self.span_of(region, extend))
    }

    /// The part that a monitor's data is on, without extent where the monitor or the simulation has none: the
    /// client's `simulation.discretize_monitor`.
    pub fn around_monitor(&self, region: &BoxRegion, colocate: bool) -> Result<Self, GridError> {
        let part = self.part(&self.span_of_monitor(region, colocate)).flattened(region)?;
        self.flattened_as_domain(part, None)
    }

    /// The grid with one cell of no extent at the box's centre along each axis on which the box has none.
    pub fn flattened(mut self, region: &BoxRegion) -> Result<Self, GridError> {
        for (axis, lines) in self.boundaries.iter_mut().enumerate() {
            if region.size[axis] != 0.0 {
                continue;
            }
            let center = region.center[axis];
            let (Some(&first), Some(&last)) = (lines.first(), lines.last()) else {
                return Err(GridError::none(axis, "the box is outside of the grid"));
            };
            if first > center || last < center {
                return Err(GridError::none(axis, "the centre of the box is outside of the grid"));
            }
            *lines = vec![center, center];
        }
        Ok(self)
    }

    /// A part of this grid, flattened at the centre of the domain along each axis on which this grid has one
    /// cell; `kept` is left as it is unless the domain has no extent along it.
    pub fn flattened_as_domain(&self, part: Self, kept: Option<usize>) -> Result<Self, GridError> {
        let cells = self.cells();
        let size =
            std::array::from_fn(
                |axis| {
                    if cells[axis] > 1 || kept == Some(axis) { self.size[axis] } else { 0.0 }
                },
            );
        part.flattened(&BoxRegion { center: self.center, size })
    }

    /// The boundaries of the cells `start..end` along an axis, continued beyond the grid.
    pub(super) fn continued(&self, axis: usize, [start, end]: [isize; 2], periodic: bool) -> Vec<f64> {
        let lines = &self.boundaries[axis];
        let count = signed(lines.len().saturating_sub(1));
        // One more boundary than cells.
        let (mut start, mut end) = (start, end + 1);
        let mut all = lines.clone();
        if count > 0 {
            let mut mirror = true;
            while start < 0 {
                let mut before: Vec<f64> = if periodic || !mirror {
                    mirror = true;
                    let shift = all[0] - lines[lines.len() - 1];
                    lines[..lines.len() - 1].iter().map(|line| line + shift).collect()
                } else {
                    mirror = false;
                    let shift = all[0] + lines[0];
                    lines[1..].iter().rev().map(|line| shift - line).collect()
                };
                before.append(&mut all);
                all = before;
                start += count;
                end += count;
            }
            let mut mirror = true;
            while end > signed(all.len()) {
                let last = all[all.len() - 1];
                if periodic || !mirror {
                    mirror = true;
                    all.extend(lines[1..].iter().map(|line| line + (last - lines[0])));
                } else {
                    mirror = false;
                    let shift = last + lines[lines.len() - 1];
                    all.extend(lines[..lines.len() - 1].iter().rev().map(|line| shift - line));
                }
            }
        }
        let clamp = |index: isize| usize::try_from(index).unwrap_or(0).min(all.len());
        let (start, end) = (clamp(start), clamp(end));
        all[start..end.max(start)].to_vec()
    }
}

/// Bounds moved outwards to boundaries of cells, along an axis with more than one cell; a boundary that is nearly at
/// an end is that end.
pub fn snapped(lines: &[f64], [low, high]: [f64; 2]) -> [f64; 2] {
    let last = lines.len().saturating_sub(1);
    if last <= 1 {
        return [low, high];
    }
    let close = |index: usize, value: f64| within(lines[index], value, TOLERANCE, 0.0);
    let above = first_not_below(lines, low);
    let start = if above <= last && close(above, low) { above } else { above.saturating_sub(1) };
    let above = first_not_below(lines, high);
    let end = if above > 0 && close(above - 1, high) { above - 1 } else { above.min(last) };
    let (start, end) = if start == end {
        match (start.checked_sub(1), start) {
            (Some(before), here) => (before, here),
            (None, here) => (here, (here + 1).min(last)),
        }
    } else {
        (start, end)
    };
    [lines[start], lines[end]]
}

/// A count as a signed number; grids are far smaller than the range.
pub(super) fn signed(count: usize) -> isize {
    isize::try_from(count).unwrap_or(isize::MAX)
}
