//! Grid lines that do not depend on the scene: uniform, or listed by the user.

use super::closeness::{first_above, roughly};
use super::count::counted;
use super::error::GridError;

/// One axis of the domain, in micrometres.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) axis: usize,
    pub(super) center: f64,
    pub(super) size: f64,
}

impl Extent {
    /// Equal cells of at most `step`, from end to end.
    pub(super) fn uniform(&self, step: f64) -> Result<Vec<f64>, GridError> {
        let cells = counted(self.axis, (self.size / step).ceil().max(1.0))?;
        let step = if self.size > 0.0 { self.size / cells as f64 } else { step };
        let start = self.center - self.size / 2.0;
        Ok((0..=cells).map(|cell| start + cell as f64 * step).collect())
    }

    /// Lines at the ends of the listed steps, centred on the domain or beginning at `offset`.
    pub(super) fn stepped(&self, steps: &[f64], offset: Option<f64>) -> Result<Vec<f64>, GridError> {
        let mut lines = vec![0.0];
        let mut end = 0.0;
        for step in steps {
            end += step;
            lines.push(end);
        }
        let shift = offset.unwrap_or(self.center - end / 2.0);
        for line in &mut lines {
            *line += shift;
        }
        self.fitted(lines, offset.is_some())
    }

    /// The lines that are in the domain, continued by the outermost steps where they do not reach its ends;
    /// the two lines around it where it has no extent.
    ///
    /// The ends are rounded outwards to 32 bits, so that a line at the end stays; `relaxed` continues to a
    /// line that is nearly at the end, too.
    pub(super) fn fitted(&self, mut lines: Vec<f64>, relaxed: bool) -> Result<Vec<f64>, GridError> {
        #[expect(clippy::cast_possible_truncation, reason = "rounding to 32 bits is the point")]
        let rounded = |value: f64| value as f32;
        let low = f64::from(rounded(self.center - self.size / 2.0).next_down());
        let high = f64::from(rounded(self.center + self.size / 2.0).next_up());
        if lines.len() < 2 || high < lines[0] || low > lines[lines.len() - 1] {
            return Err(GridError::none(self.axis, "the domain does not overlap the given grid"));
        }
        if self.size == 0.0 {
            let above = first_above(&lines, self.center).min(lines.len() - 1);
            return match above.checked_sub(1) {
                Some(below) => Ok(lines[below..=above].to_vec()),
                None => Err(GridError::none(self.axis, "the domain does not overlap the given grid")),
            };
        }
        lines.retain(|&line| low <= line && line <= high);
        let count = lines.len();
        if count < 2 {
            return Err(GridError::none(
                self.axis,
                "fewer than two lines of the given grid are in the domain",
            ));
        }
        let (first, last) = (lines[1] - lines[0], lines[count - 1] - lines[count - 2]);
        counted(self.axis, count as f64 + (lines[0] - low) / first + (high - lines[count - 1]) / last)?;
        let mut before = Vec::new();
        let mut start = lines[0];
        while start - first >= low || (relaxed && roughly(start - first, low)) {
            let beyond = start - first < low;
            start -= first;
            before.push(start);
            if beyond {
                break;
            }
        }
        let mut end = lines[count - 1];
        while end + last <= high || (relaxed && roughly(end + last, high)) {
            let beyond = end + last > high;
            end += last;
            lines.push(end);
            if beyond {
                break;
            }
        }
        before.reverse();
        before.append(&mut lines);
        Ok(before)
    }
}

/// The upper half of the lines and its mirror image about `center`; the line nearest to the centre moves there.
pub(super) fn mirrored(mut lines: Vec<f64>, center: f64) -> Vec<f64> {
    let nearest = lines.iter().copied().min_by(|a, b| (center - a).abs().total_cmp(&(center - b).abs()));
    let shift = center - nearest.unwrap_or(center);
    for line in &mut lines {
        *line += shift;
    }
    lines.retain(|&line| line >= center);
    let image = lines.iter().skip(1).rev().map(|line| 2.0 * center - line);
    image.chain(lines.iter().copied()).collect()
}

/// Adds absorber cells of the size of the outermost cells: `[before, after]` layers.
///
/// The client allows a part of a layer. It is the one next to the grid before it, and a whole one after it.
pub(super) fn with_absorber(lines: Vec<f64>, [before, after]: [f64; 2]) -> Vec<f64> {
    let count = lines.len();
    if count < 2 {
        return lines;
    }
    let (start, first) = (lines[0], lines[1] - lines[0]);
    let (end, last) = (lines[count - 1], lines[count - 1] - lines[count - 2]);
    let added_before = std::iter::successors(Some(before), |layer| Some(layer - 1.0))
        .take_while(|&layer| layer > 0.0)
        .map(|layer| start - first * layer);
    let added_after = std::iter::successors(Some(1.0), |layer| Some(layer + 1.0))
        .take_while(|&layer| layer < after + 1.0)
        .map(|layer| end + last * layer);
    added_before.chain(lines.iter().copied()).chain(added_after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_the_absorber_continue_the_outermost_cells() {
        assert_eq!(with_absorber(vec![0.0, 1.0, 3.0], [2.0, 1.0]), [-2.0, -1.0, 0.0, 1.0, 3.0, 5.0]);
        assert_eq!(with_absorber(vec![0.0, 1.0], [0.0, 0.0]), [0.0, 1.0]);
        assert_eq!(with_absorber(vec![0.0, 1.0], [1.5, 1.5]), [-1.5, -0.5, 0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_mirror_image_has_a_line_at_the_centre() {
        assert_eq!(mirrored(vec![-1.0, 0.25, 1.25, 2.0], 0.5), [-1.25, -0.5, 0.5, 1.5, 2.25]);
    }

    #[test]
    fn listed_lines_are_cut_and_continued() {
        let extent = Extent { axis: 0, center: 0.0, size: 4.0 };
        assert_eq!(
            extent.fitted(vec![-1.0, 0.0, 0.5], false).expect("a grid"),
            [-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0]
        );
        let flat = Extent { axis: 0, center: 0.2, size: 0.0 };
        assert_eq!(flat.fitted(vec![-1.0, 0.0, 0.5], false).expect("a grid"), [0.0, 0.5]);
        assert!(extent.fitted(vec![5.0, 6.0], false).is_err());
        assert!(extent.uniform(1e-9).is_err());
    }
}
