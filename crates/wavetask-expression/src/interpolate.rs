//! Values between places along one axis.

use num_complex::Complex;
use wavetask_document::expression::Sample;

use crate::Numbers;
use crate::arithmetic::divide;

/// Values between places along an axis of an array of this shape.
pub(crate) fn interpolate(of: &Numbers, shape: &[usize], axis: usize, samples: &[Sample]) -> Numbers {
    match of {
        Numbers::Real(values) => {
            let outside = |value: Option<f64>| value.unwrap_or(f64::NAN);
            Numbers::Real(along(values, shape, axis, samples, outside, real_between))
        }
        Numbers::Complex(values) => {
            let outside = |value: Option<f64>| match value {
                Some(value) => Complex::from(value),
                None => Complex::new(f64::NAN, f64::NAN),
            };
            // As NumPy does, which makes the coordinates complex: what is not a number in one part is so in both.
            let between = |[low, high]: [Complex<f64>; 2], [from, to]: [f64; 2], target: f64, _| {
                divide(high - low, (to - from).into()) * Complex::from(target - from) + low
            };
            Numbers::Complex(along(values, shape, axis, samples, outside, between))
        }
    }
}

/// The line through two values; as NumPy has it, one that is not a number from the lower end is tried from the upper,
/// and between two equal infinities it is that one.
fn real_between([low, high]: [f64; 2], [from, to]: [f64; 2], target: f64, either_end: bool) -> f64 {
    let slope = (high - low) / (to - from);
    let value = slope * (target - from) + low;
    if !(either_end && value.is_nan()) {
        return value;
    }
    let value = slope * (target - to) + high;
    if value.is_nan() && low == high { low } else { value }
}

fn along<T: Copy>(
    values: &[T],
    shape: &[usize],
    axis: usize,
    samples: &[Sample],
    outside: impl Fn(Option<f64>) -> T,
    between: impl Fn([T; 2], [f64; 2], f64, bool) -> T,
) -> Vec<T> {
    let extent = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut result = Vec::with_capacity(outer * samples.len() * inner);
    for block in 0..outer {
        let row = |place: usize| {
            let start = (block * extent + place) * inner;
            &values[start..start + inner]
        };
        for sample in samples {
            match *sample {
                Sample::Outside(value) => result.extend(std::iter::repeat_n(outside(Some(value)), inner)),
                Sample::Missing => result.extend(std::iter::repeat_n(outside(None), inner)),
                Sample::At(place) => result.extend_from_slice(row(place)),
                Sample::Between { low, high, coordinates, target, either_end } => {
                    let pairs = row(low).iter().zip(row(high));
                    result.extend(
                        pairs.map(|(&low, &high)| between([low, high], coordinates, target, either_end)),
                    );
                }
            }
        }
    }
    result
}
