//! Overlaps of modes, and normalisation by them.
//!
//! The overlap of two modes is ¼ ∫ (E₁* × H₂ + H₁* × E₂) dS, without the conjugate where the task says so. Fields count
//! as they would be recorded by a monitor on the same grid: between two cell boundaries along the normal they are
//! interpolated, so each has a factor that depends on the mode's index ([`Correction`]).

use num_complex::Complex64;
use rayon::prelude::*;

use crate::document::ModeTask;
use crate::fields::{FrequencyModes, Mode};
use crate::layout::{Layout, TOLERANCE};
use crate::projection::OverlapSurface;

/// Speed of light in µm/s, as the client has it.
pub(crate) const LIGHT_SPEED: f64 = 2.997_924_58e14;

/// Factors of a mode's fields from the finite grid along the normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Correction {
    /// Of fields at cell boundaries along the normal: the tangential electric ones.
    pub(crate) primal: Complex64,
    /// Of fields at cell centres along the normal: the tangential magnetic ones.
    pub(crate) dual: Complex64,
}

impl Correction {
    /// The factors of a mode of this index.
    pub(crate) fn of(task: &ModeTask, layout: &Layout, frequency: f64, index: Complex64) -> Self {
        let direction = if task.forward { 1.0 } else { -1.0 };
        let wave_number =
            index * (direction * task.spec.theta.cos() * std::f64::consts::TAU * frequency / LIGHT_SPEED);
        let phase = |distance: f64| (Complex64::i() * wave_number * distance).exp();
        let factor = |distances: &[f64]| match *distances {
            [before, after] => {
                let share = -before / (after - before);
                phase(before) * (1.0 - share) + phase(after) * share
            }
            [distance] => phase(distance),
            _ => Complex64::new(1.0, 0.0),
        };
        Self { primal: factor(&layout.distances_primal), dual: factor(&layout.distances_dual) }
    }
}

/// Tangential fields where they are integrated: E along both axes, then H along both.
#[derive(Clone, Debug)]
pub(crate) struct TangentialFields([Vec<Complex64>; 4]);

/// Computes overlaps on a surface.
#[derive(Debug)]
pub(crate) struct Overlaps<'a> {
    pub(crate) task: &'a ModeTask,
    pub(crate) layout: &'a Layout,
    pub(crate) surface: &'a OverlapSurface,
}

impl Overlaps<'_> {
    /// The fields of a mode as overlaps take them.
    pub(crate) fn tangential(&self, frequency: f64, mode: &Mode) -> TangentialFields {
        let correction = Correction::of(self.task, self.layout, frequency, mode.index);
        let [first, second] = self.layout.tangential;
        // Along y the tangential axes and the normal are left-handed.
        let dual = if self.layout.normal == 1 { -correction.dual } else { correction.dual };
        let taken =
            [(first, correction.primal), (second, correction.primal), (3 + first, dual), (3 + second, dual)];
        TangentialFields(taken.map(|(component, factor)| {
            let mut values = self.surface.projection.apply(&mode.fields, component);
            values.iter_mut().for_each(|value| *value *= factor);
            values
        }))
    }

    /// The fields of all modes at a frequency.
    pub(crate) fn tangential_of_all(&self, at: &FrequencyModes) -> Vec<TangentialFields> {
        at.modes.par_iter().map(|mode| self.tangential(at.frequency, mode)).collect()
    }

    /// The overlap of two modes.
    pub(crate) fn overlap(&self, one: &TangentialFields, other: &TangentialFields) -> Complex64 {
        self.integral(one, other, self.task.conjugated)
    }

    fn integral(&self, one: &TangentialFields, other: &TangentialFields, conjugated: bool) -> Complex64 {
        let integrate = |one: &[Complex64], other: &[Complex64], areas: &[f64]| {
            let mut sum = Complex64::default();
            if conjugated {
                for ((a, b), area) in one.iter().zip(other).zip(areas) {
                    sum += a.conj() * b * area;
                }
            } else {
                for ((a, b), area) in one.iter().zip(other).zip(areas) {
                    sum += a * b * area;
                }
            }
            sum
        };
        let ([e1, e2, h1, h2], [f1, f2, g1, g2]) = (&one.0, &other.0);
        let [first, second] = &self.surface.areas;
        (integrate(e1, g2, first) + integrate(h2, f1, first)
            - integrate(e2, g1, second)
            - integrate(h1, f2, second))
            * 0.25
    }

    /// What a mode is divided by so that its overlap with itself is ±1.
    fn length(&self, fields: &TangentialFields) -> Complex64 {
        if self.task.before_2_12 {
            return self.integral(fields, fields, true).re.abs().sqrt().into();
        }
        let own = self.overlap(fields, fields);
        let sign = if own.re.abs() > TOLERANCE * own.norm() { own.re } else { own.im };
        (own * if sign < 0.0 { -1.0 } else { 1.0 }).sqrt()
    }

    /// Scales each mode so that its overlap with itself is ±1.
    pub(crate) fn normalize(&self, modes: &mut [FrequencyModes], warnings: &mut Vec<String>) {
        let vanishing: Vec<Vec<usize>> = modes
            .par_iter_mut()
            .map(|at| {
                let frequency = at.frequency;
                let flags: Vec<bool> = at
                    .modes
                    .par_iter_mut()
                    .map(|mode| {
                        let scale = self.length(&self.tangential(frequency, mode));
                        let vanishes = scale.is_nan() || scale.norm() < TOLERANCE;
                        if !vanishes {
                            mode.fields.scale(scale.inv());
                        }
                        vanishes
                    })
                    .collect();
                (0..flags.len()).filter(|&index| flags[index]).collect()
            })
            .collect();
        let mut vanishing: Vec<usize> = vanishing.into_iter().flatten().collect();
        vanishing.sort_unstable();
        vanishing.dedup();
        if !vanishing.is_empty() {
            warnings.push(format!("modes {vanishing:?} carry no power and are not normalised"));
        }
    }
}
