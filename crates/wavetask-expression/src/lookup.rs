//! What tables have at places that other arrays say.

use num_complex::Complex;
use wavetask_document::expression::InterpolationMethod;

use crate::Numbers;
use crate::arrange::strides;

/// One axis of a table: its places in ascending order, and where each is.
struct Axis {
    coordinates: Vec<f64>,
    order: Vec<usize>,
    /// Between neighbouring places: where the nearest one changes.
    midpoints: Vec<f64>,
    stride: usize,
}

/// Two places of a table along an axis, and how far from the first to the second; the same twice where there is no need
/// of another.
#[derive(Clone, Copy)]
struct Between {
    low: usize,
    high: usize,
    share: f64,
}

impl Axis {
    fn new(coordinates: &[f64], stride: usize) -> Self {
        let mut order: Vec<usize> = (0..coordinates.len()).collect();
        order.sort_by(|&a, &b| coordinates[a].total_cmp(&coordinates[b]));
        let coordinates: Vec<f64> = order.iter().map(|&place| coordinates[place]).collect();
        let midpoints = coordinates.windows(2).map(|pair| pair[1] / 2.0 + pair[0] / 2.0).collect();
        Self { coordinates, order, midpoints, stride }
    }

    /// Where a place is along it, by offsets into the table; `None` of what is not a number.
    fn find(&self, at: f64, method: InterpolationMethod) -> Option<Between> {
        let (&first, &last) = (self.coordinates.first()?, self.coordinates.last()?);
        if at.is_nan() {
            return None;
        }
        let at = at.clamp(first, last);
        let offset = |place: usize| self.order[place] * self.stride;
        let only = |place: usize| Some(Between { low: offset(place), high: offset(place), share: 0.0 });
        if method == InterpolationMethod::Nearest {
            // Of two that are equally near the smaller.
            return only(self.midpoints.partition_point(|&midpoint| midpoint < at));
        }
        let above = self.coordinates.partition_point(|&coordinate| coordinate < at);
        let [low, high] = match above.checked_sub(1) {
            Some(below) if self.coordinates[above] != at => [below, above],
            _ => return only(above),
        };
        let [from, to] = [self.coordinates[low], self.coordinates[high]];
        Some(Between { low: offset(low), high: offset(high), share: (at - from) / (to - from) })
    }
}

/// What a table has at places along each of its axes, all arrays of equal length.
pub(crate) fn lookup(
    table: &Numbers,
    axes: &[Vec<f64>],
    at: &[Vec<f64>],
    method: InterpolationMethod,
) -> Numbers {
    let shape: Vec<usize> = axes.iter().map(Vec::len).collect();
    let axes: Vec<Axis> = axes
        .iter()
        .zip(strides(&shape))
        .map(|(coordinates, stride)| Axis::new(coordinates, stride))
        .collect();
    match table {
        Numbers::Real(values) => {
            let line = |low: f64, high: f64, share: f64| low + (high - low) * share;
            Numbers::Real(each(&axes, at, method, f64::NAN, |place| values[place], line))
        }
        Numbers::Complex(values) => {
            let line = |low: Complex<f64>, high: Complex<f64>, share: f64| low + (high - low) * share;
            let missing = Complex::new(f64::NAN, f64::NAN);
            Numbers::Complex(each(&axes, at, method, missing, |place| values[place], line))
        }
    }
}

fn each<T: Copy>(
    axes: &[Axis],
    at: &[Vec<f64>],
    method: InterpolationMethod,
    missing: T,
    value: impl Fn(usize) -> T,
    line: impl Fn(T, T, f64) -> T,
) -> Vec<T> {
    let count = at.first().map_or(0, Vec::len);
    let along = |offset: usize, between: Between| {
        let low = value(offset + between.low);
        if between.low == between.high { low } else { line(low, value(offset + between.high), between.share) }
    };
    let element = |element: usize| -> Option<T> {
        let mut found = axes.iter().zip(at).map(|(axis, at)| axis.find(at[element], method));
        let first = found.next()??;
        let Some(second) = found.next() else { return Some(along(0, first)) };
        let second = second?;
        let low = along(first.low, second);
        if first.low == first.high {
            return Some(low);
        }
        Some(line(low, along(first.high, second), first.share))
    };
    (0..count).map(|place| element(place).unwrap_or(missing)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(table: &[f64], axes: &[Vec<f64>], at: &[Vec<f64>], method: InterpolationMethod) -> Vec<f64> {
        let Numbers::Real(values) = lookup(&Numbers::Real(table.to_vec()), axes, at, method) else {
            panic!("real")
        };
        values
    }

    #[test]
    fn ends_are_kept_and_what_is_not_a_number_stays_so() {
        let (table, axes) = ([30.0, 10.0, 20.0], [vec![3.0, 1.0, 2.0]]);
        let at = [vec![-f64::INFINITY, 1.0, 1.5, 2.25, 3.0, f64::INFINITY, f64::NAN]];
        let found = real(&table, &axes, &at, InterpolationMethod::Linear);
        assert_eq!(found[..6], [10.0, 10.0, 15.0, 22.5, 30.0, 30.0]);
        assert!(found[6].is_nan());
        let found = real(&table, &axes, &at, InterpolationMethod::Nearest);
        assert_eq!(found[..6], [10.0, 10.0, 10.0, 20.0, 30.0, 30.0]);
        assert!(found[6].is_nan());
    }

    #[test]
    fn one_place_is_everywhere_and_two_axes_are_a_product() {
        let found = real(&[7.0], &[vec![1.0]], &[vec![0.0, 5.0]], InterpolationMethod::Linear);
        assert_eq!(found, [7.0, 7.0]);
        let (table, axes) = ([0.0, 1.0, 10.0, 11.0], [vec![0.0, 1.0], vec![5.0, 6.0]]);
        let at = [vec![0.5, 0.25, 1.0], vec![5.5, 6.0, 4.0]];
        assert_eq!(real(&table, &axes, &at, InterpolationMethod::Linear), [5.5, 3.5, 10.0]);
        assert!(real(&table, &axes, &[vec![], vec![]], InterpolationMethod::Linear).is_empty());
    }
}
