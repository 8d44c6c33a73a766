//! Samples on a rectangular lattice, and interpolation between them.
//!
//! The rules are the client's: an axis with a single sample is invariant; `nearest` prefers the lower
//! sample half-way between two; `linear` is trilinear inside, and outside along any axis the *nearest*
//! sample of all axes is taken, not an extrapolation.

use num_complex::Complex64;

/// Coordinates in ascending order without repetitions, at least one along each axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lattice {
    axes: [Vec<f64>; 3],
}

/// How values between samples are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interpolation {
    Nearest,
    Linear,
}

impl Lattice {
    /// The lattice of these coordinates, and for each axis the order that sorts it; `None` if a
    /// coordinate repeats.
    pub(super) fn new(axes: [Vec<f64>; 3]) -> Option<(Self, [Vec<usize>; 3])> {
        let orders = axes.each_ref().map(|axis| {
            let mut order: Vec<usize> = (0..axis.len()).collect();
            order.sort_by(|&one, &other| axis[one].total_cmp(&axis[other]));
            order
        });
        let sorted: [Vec<f64>; 3] =
            std::array::from_fn(|axis| orders[axis].iter().map(|&index| axes[axis][index]).collect());
        let repeats = sorted.iter().any(|axis| axis.windows(2).any(|pair| pair[0] >= pair[1]));
        (!repeats).then_some((Self { axes: sorted }, orders))
    }

    /// A single sample.
    pub(super) fn point() -> Self {
        Self { axes: [vec![0.0], vec![0.0], vec![0.0]] }
    }

    pub(super) fn interpolate(&self, values: &[Complex64], point: [f64; 3], how: Interpolation) -> Complex64 {
        let stride = [self.axes[1].len() * self.axes[2].len(), self.axes[2].len(), 1];
        let is_outside = || {
            self.axes.iter().zip(point).any(|(axis, coordinate)| {
                axis.len() > 1 && !(axis[0] <= coordinate && coordinate <= axis[axis.len() - 1])
            })
        };
        if how == Interpolation::Nearest || is_outside() {
            let index: usize = (0..3).map(|axis| nearest(&self.axes[axis], point[axis]) * stride[axis]).sum();
            return values[index];
        }
        // Base index, and per axis the step to the other sample and its weight.
        let mut base = 0;
        let mut steps = [(0, 0.0); 3];
        for axis in 0..3 {
            let coordinates = &self.axes[axis];
            if coordinates.len() > 1 {
                let upper = coordinates
                    .partition_point(|&coordinate| coordinate < point[axis])
                    .clamp(1, coordinates.len() - 1);
                let (low, high) = (coordinates[upper - 1], coordinates[upper]);
                base += (upper - 1) * stride[axis];
                steps[axis] = (stride[axis], (point[axis] - low) / (high - low));
            }
        }
        let [(x, u), (y, v), (z, w)] = steps;
        let along_z = |index: usize| mix(values[index], values[index + z], w);
        let along_y = |index: usize| mix(along_z(index), along_z(index + y), v);
        mix(along_y(base), along_y(base + x), u)
    }
}

fn mix(one: Complex64, other: Complex64, weight: f64) -> Complex64 {
    one + (other - one) * weight
}

/// The sample nearest to a coordinate; the lower of two equally near ones.
fn nearest(axis: &[f64], coordinate: f64) -> usize {
    let above = axis.partition_point(|&sample| sample < coordinate);
    if above == 0 {
        return 0;
    }
    if above == axis.len() {
        return above - 1;
    }
    let middle = axis[above - 1] / 2.0 + axis[above] / 2.0;
    if middle < coordinate { above } else { above - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lattice() -> (Lattice, Vec<Complex64>) {
        let (lattice, _) = Lattice::new([vec![0.0, 1.0, 3.0], vec![5.0], vec![-1.0, 1.0]]).unwrap();
        (lattice, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].map(Complex64::from).to_vec())
    }

    #[test]
    fn ties_go_to_the_lower_sample() {
        let (lattice, values) = lattice();
        let at = |x, z| lattice.interpolate(&values, [x, 9.0, z], Interpolation::Nearest).re;
        assert_eq!(at(0.5, 0.0), 1.0);
        assert_eq!(at(0.500_001, 0.000_001), 4.0);
        assert_eq!(at(100.0, -100.0), 5.0);
    }

    #[test]
    fn outside_along_one_axis_all_axes_are_nearest() {
        let (lattice, values) = lattice();
        let at = |x, z| lattice.interpolate(&values, [x, 9.0, z], Interpolation::Linear).re;
        assert_eq!(at(2.0, 0.0), 4.5);
        assert_eq!(at(2.1, 1.5), 6.0);
        assert_eq!(at(3.0, 1.0), 6.0);
    }

    #[test]
    fn repeated_coordinates_are_no_lattice() {
        assert!(Lattice::new([vec![0.0, 0.0], vec![0.0], vec![0.0]]).is_none());
        let (lattice, orders) = Lattice::new([vec![1.0, 0.0], vec![0.0], vec![0.0]]).unwrap();
        assert_eq!(
            (lattice.axes[0].as_slice(), orders[0].as_slice()),
            ([0.0, 1.0].as_slice(), [1, 0].as_slice())
        );
    }
}
