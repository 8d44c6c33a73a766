//! Interpolation along one dimension: between which places of the coordinates each target lies.
//!
//! What SciPy does for xarray depends on the array: of one dimension and real it is NumPy's `interp`, which takes a
//! value as it is where a target meets a coordinate; otherwise the line of the interval *below* the target is used, so
//! that a NaN there spreads to the coordinate. Both are kept apart here as [`Rule`].

use super::plan::Sample;
use super::{ExpressionError, Fill, InterpolationMethod};

/// How values between coordinates are found, with what depends on the array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rule {
    /// Linear or nearest.
    pub(super) method: InterpolationMethod,
    /// What lies outside.
    pub(super) fill: Option<Fill>,
    /// Whether the array is real and has this dimension only.
    pub(super) only_dimension: bool,
}

/// Where each target lies among the coordinates, by their places.
///
/// # Errors
/// `Invalid` if there is no coordinate or one is repeated.
pub(super) fn samples(
    name: &str,
    coordinates: &[f64],
    targets: &[f64],
    rule: Rule,
) -> Result<Vec<Sample>, ExpressionError> {
    let refuse = |what: &str| Err(ExpressionError::invalid("interp", format!("along {name}: {what}")));
    let mut order: Vec<usize> = (0..coordinates.len()).collect();
    order.sort_by(|&a, &b| coordinates[a].total_cmp(&coordinates[b]));
    let sorted: Vec<f64> = order.iter().map(|&place| coordinates[place]).collect();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return refuse("the coordinates repeat a label, so that values between them are not unique");
    }
    let [first, .., last] = sorted[..] else {
        let [only] = sorted[..] else { return refuse("there is no coordinate") };
        return Ok(targets.iter().map(|&target| alone(target, only, rule)).collect());
    };
    let count = sorted.len();
    // Halves first, as SciPy has it, so that midpoints are rounded alike.
    let midpoints: Vec<f64> = sorted.windows(2).map(|pair| pair[1] / 2.0 + pair[0] / 2.0).collect();
    let sample = |target: f64| -> Sample {
        let outside = target < first || target > last;
        match rule.fill {
            None if outside => return Sample::Missing,
            Some(Fill::Nan) if outside => return Sample::Outside(f64::NAN),
            Some(Fill::Value(value)) if outside => return Sample::Outside(value),
            _ => {}
        }
        match rule.method {
            InterpolationMethod::Nearest => {
                Sample::At(order[midpoints.partition_point(|&midpoint| midpoint < target)])
            }
            InterpolationMethod::Linear => {
                let numpy = rule.numpy();
                let high = if numpy {
                    let above = sorted.partition_point(|&coordinate| coordinate <= target);
                    if above > 0 && sorted[above - 1] == target {
                        return Sample::At(order[above - 1]);
                    }
                    above
                } else {
                    sorted.partition_point(|&coordinate| coordinate < target)
                };
                let high = high.clamp(1, count - 1);
                Sample::Between {
                    low: order[high - 1],
                    high: order[high],
                    coordinates: [sorted[high - 1], sorted[high]],
                    target,
                    either_end: numpy,
                }
            }
        }
    };
    Ok(targets.iter().map(|&target| sample(target)).collect())
}

impl Rule {
    /// Whether NumPy's `interp` is what SciPy takes.
    fn numpy(self) -> bool {
        self.only_dimension && self.fill != Some(Fill::Extrapolate)
    }
}

/// A target beside a single coordinate: there is no line through one point, except for NumPy.
fn alone(target: f64, only: f64, rule: Rule) -> Sample {
    match rule.fill {
        None if target != only => Sample::Missing,
        Some(Fill::Nan) if target != only => Sample::Outside(f64::NAN),
        Some(Fill::Value(value)) if target != only => Sample::Outside(value),
        _ if rule.method == InterpolationMethod::Nearest || rule.numpy() => Sample::At(0),
        _ => Sample::Missing,
    }
}
