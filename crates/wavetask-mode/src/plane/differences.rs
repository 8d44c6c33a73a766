//! Differences on Yee's grid.
//!
//! Forward differences take E to H, backward ones H to E (K. S. Yee, IEEE Trans. Antennas Propag. 14, 302, 1966). What
//! lies beyond an edge decides the first and the last of them: tangential E vanishes on an electric conductor, and
//! on a magnetic one, half a cell before the first H, tangential H is odd. All are divided by the vacuum wave number
//! and by the absorbers' stretching.

use num_complex::Complex;

type C = Complex<f64>;

/// The difference operators of a plane.
#[derive(Clone, Debug)]
pub(super) struct Differences {
    pub(super) shape: [usize; 2],
    /// Factors of the forward differences along each axis.
    pub(super) forward: [Vec<C>; 2],
    /// Factors of the backward differences.
    pub(super) backward: [Vec<C>; 2],
    /// Whether the lower edge is a magnetic conductor.
    pub(super) magnetic: [bool; 2],
}

impl Differences {
    fn place(&self, axis: usize, cell: usize) -> (usize, usize) {
        if axis == 0 { (cell / self.shape[1], self.shape[1]) } else { (cell % self.shape[1], 1) }
    }

    /// The terms of the forward difference at a cell: other cells with their factors.
    pub(super) fn forward(&self, axis: usize, cell: usize, factor: C, mut term: impl FnMut(usize, C)) {
        let (index, stride) = self.place(axis, cell);
        let length = self.shape[axis];
        if length == 1 {
            return;
        }
        let factor = factor * self.forward[axis][index];
        if index > 0 || self.magnetic[axis] {
            term(cell, -factor);
        }
        if index + 1 < length {
            term(cell + stride, factor);
        }
    }

    /// The terms of the backward difference at a cell.
    pub(super) fn backward(&self, axis: usize, cell: usize, factor: C, mut term: impl FnMut(usize, C)) {
        let (index, stride) = self.place(axis, cell);
        if self.shape[axis] == 1 {
            return;
        }
        let factor = factor * self.backward[axis][index];
        if index > 0 {
            term(cell, factor);
            term(cell - stride, -factor);
        } else if self.magnetic[axis] {
            term(cell, factor * 2.0);
        }
    }

    /// The backward difference of a field.
    pub(super) fn backward_of(&self, axis: usize, field: &[C]) -> Vec<C> {
        let one = C::new(1.0, 0.0);
        (0..field.len())
            .map(|cell| {
                let mut sum = C::default();
                self.backward(axis, cell, one, |other, factor| sum += field[other] * factor);
                sum
            })
            .collect()
    }

    /// Complex sizes of the cells between centres and between grid lines (in this order), times the wave number: those
    /// with which forward and backward differences are each other's negative transposes.
    pub(super) fn sizes(&self) -> [[Vec<C>; 2]; 2] {
        let dual = [0, 1].map(|axis| {
            let mut sizes: Vec<C> = self.backward[axis].iter().map(|factor| factor.inv()).collect();
            if self.magnetic[axis] {
                sizes[0] /= 2.0;
            }
            sizes
        });
        let primal = [0, 1].map(|axis| self.forward[axis].iter().map(|factor| factor.inv()).collect());
        [dual, primal]
    }

    /// The largest magnitude of an element.
    pub(super) fn largest(&self) -> f64 {
        let mut largest = 0.0_f64;
        for cell in 0..self.shape[0] * self.shape[1] {
            for axis in [0, 1] {
                // The elements depend on the index along the axis alone.
                if self.place(1 - axis, cell).0 == 0 {
                    let mut see = |_, factor: C| largest = largest.max(factor.norm());
                    self.forward(axis, cell, C::new(1.0, 0.0), &mut see);
                    self.backward(axis, cell, C::new(1.0, 0.0), &mut see);
                }
            }
        }
        largest
    }

    /// Whether any factor has an imaginary part to speak of.
    pub(super) fn is_complex(&self) -> bool {
        self.forward.iter().chain(&self.backward).any(|factors| is_complex(factors.iter()))
    }
}

/// Whether the imaginary parts are more than rounding.
pub(super) fn is_complex<'a>(values: impl Iterator<Item = &'a C>) -> bool {
    let (mut whole, mut imaginary) = (0.0, 0.0);
    for value in values {
        whole += value.norm_sqr();
        imaginary += value.im * value.im;
    }
    imaginary.sqrt() > 1e-10 * (whole.sqrt() + f64::from(f32::EPSILON))
}
