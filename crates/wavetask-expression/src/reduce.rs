//! One number of many.

use std::ops::Add;

use num_complex::Complex;
use wavetask_document::expression::{ExpressionError, Reduction};

use crate::Numbers;
use crate::arrange::{each_row, strides};

/// One number of all along some axes. The axes are ascending and of the shape.
pub(crate) fn reduce(
    function: Reduction,
    of: &Numbers,
    shape: &[usize],
    axes: &[usize],
    skip_nan: bool,
) -> Result<Numbers, ExpressionError> {
    let layout = Layout::new(shape, axes);
    Ok(match of {
        Numbers::Real(values) => Numbers::Real(match function {
            Reduction::Sum => sums(values, &layout, skip_nan).into_iter().map(|sum| sum.total()).collect(),
            Reduction::Mean => sums(values, &layout, skip_nan).into_iter().map(|sum| sum.mean()).collect(),
            Reduction::Max => extreme(values, &layout, skip_nan, |a, b| a > b),
            Reduction::Min => extreme(values, &layout, skip_nan, |a, b| a < b),
            Reduction::Argmax => argmax(values, &layout, skip_nan)?,
        }),
        Numbers::Complex(values) => {
            let part = |each: fn(&Complex<f64>) -> f64| {
                // A complex number is left out as a whole.
                let values: Vec<f64> =
                    values.iter().map(|value| if value.is_nan() { f64::NAN } else { each(value) }).collect();
                sums(&values, &layout, skip_nan)
            };
            let parts = part(|value| value.re).into_iter().zip(part(|value| value.im));
            let mean = function == Reduction::Mean;
            let each = |sum: Sum| if mean { sum.mean() } else { sum.total() };
            Numbers::Complex(
                parts.map(|(real, imaginary)| Complex::new(each(real), each(imaginary))).collect(),
            )
        }
    })
}

/// Where each element of an array goes in the result.
struct Layout {
    shape: Vec<usize>,
    /// Distance in the result along each axis of the operand; 0 along those that disappear.
    result_strides: Vec<usize>,
    /// The distance by which the place along the axes that disappear grows.
    along_strides: Vec<usize>,
    /// Number of results.
    count: usize,
}

impl Layout {
    fn new(shape: &[usize], axes: &[usize]) -> Self {
        let extents = |reduced: bool| -> Vec<usize> {
            let extent = |(axis, &extent)| if axes.contains(&axis) == reduced { extent } else { 1 };
            shape.iter().enumerate().map(extent).collect()
        };
        let masked = |reduced: bool| -> Vec<usize> {
            let stride = |(axis, stride)| if axes.contains(&axis) == reduced { stride } else { 0 };
            strides(&extents(reduced)).into_iter().enumerate().map(stride).collect()
        };
        Self {
            shape: shape.to_vec(),
            result_strides: masked(false),
            along_strides: masked(true),
            count: extents(false).iter().product(),
        }
    }

    /// Calls a function with each value, its place in the result, and its place along the axes that disappear.
    fn each(&self, values: &[f64], mut take: impl FnMut(f64, usize, usize)) {
        let mut values = values.iter();
        let last = |strides: &[usize]| strides.last().copied().unwrap_or(0);
        let steps = [last(&self.result_strides), last(&self.along_strides)];
        each_row(&self.shape, &[0, 0], &[&self.result_strides, &self.along_strides], |places, count| {
            for (index, &value) in values.by_ref().take(count).enumerate() {
                take(value, places[0] + index * steps[0], places[1] + index * steps[1]);
            }
        });
    }
}

/// A sum with what rounding took from it (Neumaier's variant of Kahan's), so that its error does not grow with the
/// number of terms.
#[derive(Clone, Copy, Default)]
struct Sum {
    sum: f64,
    lost: f64,
    count: usize,
}

impl Add<f64> for Sum {
    type Output = Self;

    fn add(self, value: f64) -> Self {
        let sum = self.sum + value;
        let (large, small) =
            if self.sum.abs() >= value.abs() { (self.sum, value) } else { (value, self.sum) };
        Self { sum, lost: self.lost + ((large - sum) + small), count: self.count + 1 }
    }
}

impl Sum {
    fn total(self) -> f64 {
        // What an infinite sum lost is not a number.
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }

    fn mean(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "no array has 2^53 elements")]
        let count = self.count as f64;
        self.total() / count
    }
}

fn sums(values: &[f64], layout: &Layout, skip_nan: bool) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); layout.count];
    layout.each(values, |value, place, _| {
        if !(skip_nan && value.is_nan()) {
            sums[place] = sums[place] + value;
        }
    });
    sums
}

/// The extreme; NaN where all are, or where any is and none is left out.
fn extreme(values: &[f64], layout: &Layout, skip_nan: bool, better: impl Fn(f64, f64) -> bool) -> Vec<f64> {
    let mut found: Vec<Option<f64>> = vec![None; layout.count];
    layout.each(values, |value, place, _| {
        let found = &mut found[place];
        let takes = match *found {
            None => true,
            Some(best) if value.is_nan() => !skip_nan && !best.is_nan(),
            Some(best) => better(value, best) || (skip_nan && best.is_nan()),
        };
        if takes {
            *found = Some(value);
        }
    });
    found.into_iter().map(|found| found.unwrap_or(f64::NAN)).collect()
}

fn argmax(values: &[f64], layout: &Layout, skip_nan: bool) -> Result<Vec<f64>, ExpressionError> {
    let mut found: Vec<Option<(f64, usize)>> = vec![None; layout.count];
    layout.each(values, |value, place, along| {
        let found = &mut found[place];
        let takes = match *found {
            _ if value.is_nan() && skip_nan => false,
            None => true,
            Some((best, _)) => !best.is_nan() && (value > best || value.is_nan()),
        };
        if takes {
            *found = Some((value, along));
        }
    });
    let place = |found: Option<(f64, usize)>| match found {
        #[expect(clippy::cast_precision_loss, reason = "no axis has 2^53 places")]
        Some((_, along)) => Ok(along as f64),
        None => {
            Err(ExpressionError::invalid("reduce", "all along the dimension are NaN, so none is the largest"))
        }
    };
    found.into_iter().map(place).collect()
}
