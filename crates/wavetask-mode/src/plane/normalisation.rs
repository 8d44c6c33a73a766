//! Direction, scale and orthogonality of the modes of a plane.
//!
//! Modes are scaled so that `⟨m|m⟩ = 1` with the product without conjugation
//!
//! ```text
//! ⟨a|b⟩ = 1/4 ∫ (Ea x Hb + Eb x Ha) · n dS
//! ```
//!
//! under which modes of reciprocal media are orthogonal, lossy or not (A. W. Snyder and J. D. Love, *Optical Waveguide
//! Theory*, chapter 31). The square root leaves the sign open. The client's data classes normalise to power later.
//! Degenerate modes come from the eigensolver as any basis of their space; it is made orthogonal symmetrically, by the
//! inverse square root of its products (P.-O. Löwdin, J. Chem. Phys. 18, 365, 1950), which changes it least.

use num_complex::Complex;

use super::PlaneMode;
use crate::eigen::symmetric_inverse_square_root;

type C = Complex<f64>;

/// A tenth of single precision's accuracy, the client's tolerance of eigenvalues.
const TOLERANCE: f64 = f32::EPSILON as f64 / 10.0;
/// Indices closer than this, relatively and absolutely, may belong to degenerate modes.
const NEAR_DEGENERATE: f64 = 1e3 * TOLERANCE;
/// Products smaller than this count as zero.
const ORTHOGONAL: f64 = 1e2 * TOLERANCE;
/// Power that is real to this share has a direction.
const DIRECTED: f64 = 1e2 * TOLERANCE;

/// Areas belonging to the components on Yee's grid.
#[derive(Clone, Debug)]
pub(super) struct Areas {
    /// Cell sizes along each axis, and distances of cell centres.
    pub(super) steps: [[Vec<f64>; 2]; 2],
    /// Open parts of the places of Ex and Ey, where conductors cover the rest.
    pub(super) open: Option<[Vec<f64>; 2]>,
}

impl Areas {
    /// Sizes of the cells along `axis` at Ex's place in the plane and the like: `primal[axis]` says whether between grid
    /// lines or between centres.
    fn sum(&self, primal: [bool; 2], mut value: impl FnMut(usize) -> C) -> C {
        let [along, across] = [0, 1].map(|axis| &self.steps[axis][usize::from(!primal[axis])]);
        let mut total = C::default();
        let mut cell = 0;
        for first in along {
            for second in across {
                let open = match (&self.open, primal) {
                    (Some([parts, _]), [true, false]) | (Some([_, parts]), [false, true]) => parts[cell],
                    _ => 1.0,
                };
                total += value(cell) * (first * second * open);
                cell += 1;
            }
        }
        total
    }

    /// The product without conjugation.
    pub(super) fn product(&self, a: &PlaneMode, b: &PlaneMode) -> C {
        let first = self.sum([true, false], |cell| a.e[0][cell] * b.h[1][cell] + b.e[0][cell] * a.h[1][cell]);
        let second =
            self.sum([false, true], |cell| a.e[1][cell] * b.h[0][cell] + b.e[1][cell] * a.h[0][cell]);
        (first - second) * 0.25
    }

    /// Complex power through the plane.
    fn power(&self, mode: &PlaneMode) -> C {
        let first = self.sum([true, false], |cell| mode.e[0][cell] * mode.h[1][cell].conj());
        let second = self.sum([false, true], |cell| mode.e[1][cell] * mode.h[0][cell].conj());
        (first - second) * 0.5
    }

    /// What the product of a mode with itself cannot exceed.
    fn bound(&self, mode: &PlaneMode) -> f64 {
        let square =
            |component: &[C], primal| self.sum(primal, |cell| C::from(component[cell].norm_sqr())).re;
        let electric = square(&mode.e[0], [true, false])
            + square(&mode.e[1], [false, true])
            + square(&mode.e[2], [false, false]);
        let magnetic = square(&mode.h[0], [false, true])
            + square(&mode.h[1], [true, false])
            + square(&mode.h[2], [true, true]);
        (electric * magnetic).sqrt() / 2.0
    }
}

/// Turns modes of diagonal media round that carry their power the other way, or grow where power does not decide.
pub(super) fn direct(areas: &Areas, modes: &mut [PlaneMode], backward: bool) {
    for mode in modes {
        let power = areas.power(mode);
        let expected = if backward { -power.re } else { power.re };
        let turn =
            if power.re.abs() > DIRECTED * power.norm() { expected < 0.0 } else { mode.index.im < 0.0 };
        if turn {
            turn_round(mode);
            mode.index = -mode.index;
        }
    }
}

/// The fields of the mode that runs the other way.
pub(super) fn turn_round(mode: &mut PlaneMode) {
    let [hx, hy, _] = &mut mode.h;
    for value in hx.iter_mut().chain(hy).chain(&mut mode.e[2]) {
        *value = -*value;
    }
}

/// Scales modes and makes degenerate ones orthogonal.
pub(super) fn normalise(areas: &Areas, modes: &mut [PlaneMode]) {
    let mut regular: Vec<usize> = Vec::new();
    for (place, mode) in modes.iter_mut().enumerate() {
        let product = areas.product(mode, mode);
        if product.norm() >= areas.bound(mode) * ORTHOGONAL && product.is_finite() && product != C::default()
        {
            let factor = product.sqrt().inv();
            for component in mode.e.iter_mut().chain(&mut mode.h) {
                component.iter_mut().for_each(|value| *value *= factor);
            }
            regular.push(place);
        }
    }
    let mut waiting: Vec<usize> = (0..modes.len()).collect();
    while !waiting.is_empty() {
        let seed = waiting.remove(0);
        let index = modes[seed].index;
        let near =
            |place: &usize| (modes[*place].index - index).norm() <= NEAR_DEGENERATE * (1.0 + index.norm());
        let mut group = vec![seed];
        group.extend(waiting.iter().copied().filter(near));
        waiting.retain(|place| !group.contains(place));
        group.retain(|place| regular.contains(place));
        if group.len() > 1 {
            make_orthogonal(areas, modes, &group);
        }
    }
}

/// Makes those of a group orthogonal that are not, connected part by connected part.
fn make_orthogonal(areas: &Areas, modes: &mut [PlaneMode], group: &[usize]) {
    let count = group.len();
    let mut products = vec![C::default(); count * count];
    for (column, right) in group.iter().enumerate() {
        for (row, left) in group.iter().enumerate().take(column + 1) {
            let product = areas.product(&modes[*left], &modes[*right]);
            products[column * count + row] = product;
            products[row * count + column] = product;
        }
    }
    let mut part: Vec<usize> = (0..count).collect();
    for _ in 0..count {
        for column in 0..count {
            for row in 0..count {
                if row != column && products[column * count + row].norm() > ORTHOGONAL {
                    let least = part[row].min(part[column]);
                    (part[row], part[column]) = (least, least);
                }
            }
        }
    }
    for name in 0..count {
        let members: Vec<usize> = (0..count).filter(|place| part[*place] == name).collect();
        if members.len() < 2 {
            continue;
        }
        let inner: Vec<C> = members
            .iter()
            .flat_map(|column| members.iter().map(|row| products[*column * count + *row]))
            .collect();
        let Some(weights) = symmetric_inverse_square_root(&inner, members.len()) else {
            continue;
        };
        let old: Vec<PlaneMode> = members.iter().map(|place| modes[group[*place]].clone()).collect();
        for (column, place) in members.iter().enumerate() {
            let mode = &mut modes[group[*place]];
            for component in 0..3 {
                let combine = |cell: usize, field: fn(&PlaneMode) -> &[Vec<C>; 3]| -> C {
                    let weights = &weights[column * members.len()..];
                    old.iter().zip(weights).map(|(mode, weight)| field(mode)[component][cell] * weight).sum()
                };
                mode.e[component] =
                    (0..mode.e[component].len()).map(|cell| combine(cell, |mode| &mode.e)).collect();
                mode.h[component] =
                    (0..mode.h[component].len()).map(|cell| combine(cell, |mode| &mode.h)).collect();
            }
        }
    }
}
