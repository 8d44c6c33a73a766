//! The permittivity of a homogeneous isotropic medium as a function of frequency.
//!
//! All models are in the convention `exp(-i ω t)`: a positive imaginary part is loss. Formulas are
//! written term by term, because the custom media evaluate the same terms at every sample.
//!
//! | model | ε(f) |
//! | --- | --- |
//! | conductivity | `ε + i σ / (ω ε0)` |
//! | pole and residue | `ε∞ - Σ [c / (iω + a) + c* / (iω + a*)]` |
//! | Sellmeier | `1 + Σ B λ² / (λ² - C)` |
//! | Lorentz | `ε∞ + Σ Δε f0² / (f0² - 2i f δ - f²)` |
//! | Drude | `ε∞ - Σ f0² / (f² + i f δ)` |
//! | Debye | `ε∞ + Σ Δε / (1 - i f τ)` |
//!
//! Pole and residue pairs are those of M. Han, R. W. Dutton and S. Fan, IEEE Microwave and Wireless
//! Components Letters 16, 119 (2006); the others are the text-book forms with the client's parameters.

use std::f64::consts::TAU;

use num_complex::Complex64;
use serde_json::Value;

use super::fields::{complex, elements, number};
use super::{MAXIMUM_TERMS, PERFECT_CONDUCTOR, SPEED_OF_LIGHT, VACUUM_PERMITTIVITY};
use crate::reading::{Fields, Part, SceneError, join};

/// `i σ / (ω ε0)` of a conductivity in S/µm at a frequency in hertz.
pub(super) fn conduction(conductivity: f64, frequency: f64) -> Complex64 {
    Complex64::new(0.0, conductivity / (TAU * frequency) / VACUUM_PERMITTIVITY)
}

/// A pair of conjugate poles `a` with residues `c`, both in rad/s.
pub(super) fn pole(a: Complex64, c: Complex64, frequency: f64) -> Complex64 {
    let iw = Complex64::new(0.0, TAU * frequency);
    -(c / (iw + a)) - c.conj() / (iw + a.conj())
}

/// A Sellmeier term: `B` without unit, `C` in µm².
pub(super) fn sellmeier(b: f64, c: f64, frequency: f64) -> Complex64 {
    let square = (SPEED_OF_LIGHT / frequency).powi(2);
    Complex64::new(b * square / (square - c), 0.0)
}

/// A Lorentz oscillator of strength `Δε`, resonance and damping in hertz.
pub(super) fn lorentz(strength: f64, resonance: f64, damping: f64, frequency: f64) -> Complex64 {
    let square = resonance * resonance;
    strength * square / Complex64::new(square - frequency * frequency, -2.0 * frequency * damping)
}

/// A Drude term: plasma frequency and damping in hertz.
pub(super) fn drude(plasma: f64, damping: f64, frequency: f64) -> Complex64 {
    -(plasma * plasma) / Complex64::new(frequency * frequency, frequency * damping)
}

/// A Debye relaxation of strength `Δε` and time `τ` in seconds.
pub(super) fn debye(strength: f64, time: f64, frequency: f64) -> Complex64 {
    strength / Complex64::new(1.0, -frequency * time)
}

/// A homogeneous isotropic medium.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Dispersion {
    /// Permittivity and conductivity (S/µm).
    Constant(f64, f64),
    /// Permittivity at infinite frequency, then poles and residues in rad/s.
    PoleResidue(f64, Vec<[Complex64; 2]>),
    Sellmeier(Vec<[f64; 2]>),
    Lorentz(f64, Vec<[f64; 3]>),
    Drude(f64, Vec<[f64; 2]>),
    Debye(f64, Vec<[f64; 2]>),
    PerfectElectric,
    PerfectMagnetic,
}

impl Dispersion {
    /// Reads the parameters of the class `kind`; `None` if it is not a homogeneous isotropic one.
    ///
    /// Perturbation media are read by their unperturbed parameters, as the client evaluates them.
    pub(super) fn read(kind: &str, fields: &Fields<'_>) -> Result<Option<Self>, SceneError> {
        let gain = fields.flag("allow_gain")?;
        Ok(Some(match kind {
            "PECMedium" => Self::PerfectElectric,
            "PMCMedium" => Self::PerfectMagnetic,
            "Medium" | "PerturbationMedium" | "LossyMetalMedium" => {
                let permittivity = fields.number_or("permittivity", 1.0)?;
                at_least(permittivity, 1.0, &fields.path_of("permittivity"))?;
                let conductivity = fields.number_or("conductivity", 0.0)?;
                passive(gain, conductivity, &fields.path_of("conductivity"), "the conductivity")?;
                Self::Constant(permittivity, conductivity)
            }
            "PoleResidue" | "PerturbationPoleResidue" => {
                let infinite = infinite(fields)?;
                let path = fields.path_of("poles");
                let mut poles = Vec::new();
                for (index, value) in terms(fields, "poles")?.iter().enumerate() {
                    let path = join(&path, index);
                    let [a, c]: &[Value; 2] = elements(value, &path)?;
                    let a = complex(a, &join(&path, 0))?;
                    stable(a, &join(&path, 0))?;
                    poles.push([a, complex(c, &join(&path, 1))?]);
                }
                Self::PoleResidue(infinite, poles)
            }
            "Sellmeier" => {
                let coefficients = coefficients::<2>(fields)?;
                for (index, [b, c]) in coefficients.iter().enumerate() {
                    let path = join(&fields.path_of("coeffs"), index);
                    passive(gain, *b, &join(&path, 0), "`B`")?;
                    positive(*c, &join(&path, 1))?;
                }
                Self::Sellmeier(coefficients)
            }
            "Lorentz" => {
                let coefficients = coefficients::<3>(fields)?;
                for (index, [strength, _, damping]) in coefficients.iter().enumerate() {
                    let path = join(&fields.path_of("coeffs"), index);
                    passive(gain, *strength, &join(&path, 0), "the strength of an oscillator")?;
                    at_least(*damping, 0.0, &join(&path, 2))?;
                }
                Self::Lorentz(infinite(fields)?, coefficients)
            }
            "Drude" => {
                let coefficients = coefficients::<2>(fields)?;
                for (index, [_, damping]) in coefficients.iter().enumerate() {
                    positive(*damping, &join(&join(&fields.path_of("coeffs"), index), 1))?;
                }
                Self::Drude(infinite(fields)?, coefficients)
            }
            "Debye" => {
                let coefficients = coefficients::<2>(fields)?;
                for (index, [strength, time]) in coefficients.iter().enumerate() {
                    let path = join(&fields.path_of("coeffs"), index);
                    passive(gain, *strength, &join(&path, 0), "the strength of a relaxation")?;
                    positive(*time, &join(&path, 1))?;
                }
                Self::Debye(infinite(fields)?, coefficients)
            }
            _ => return Ok(None),
        }))
    }

    /// The relative permittivity at a frequency in hertz.
    pub(super) fn permittivity(&self, frequency: f64) -> Complex64 {
        match self {
            Self::Constant(permittivity, conductivity) => permittivity + conduction(*conductivity, frequency),
            Self::PoleResidue(infinite, poles) => poles
                .iter()
                .map(|[a, c]| pole(*a, *c, frequency))
                .fold((*infinite).into(), |sum, term| sum + term),
            Self::Sellmeier(terms) => sum(1.0, terms, |[b, c]| sellmeier(*b, *c, frequency)),
            Self::Lorentz(infinite, terms) => sum(*infinite, terms, |[strength, resonance, damping]| {
                lorentz(*strength, *resonance, *damping, frequency)
            }),
            Self::Drude(infinite, terms) => {
                sum(*infinite, terms, |[plasma, damping]| drude(*plasma, *damping, frequency))
            }
            Self::Debye(infinite, terms) => {
                sum(*infinite, terms, |[strength, time]| debye(*strength, *time, frequency))
            }
            Self::PerfectElectric => PERFECT_CONDUCTOR.into(),
            Self::PerfectMagnetic => 1.0.into(),
        }
    }
}

fn sum<T>(infinite: f64, terms: &[T], term: impl Fn(&T) -> Complex64) -> Complex64 {
    terms.iter().map(term).fold(infinite.into(), |sum, term| sum + term)
}

fn infinite(fields: &Fields<'_>) -> Result<f64, SceneError> {
    let infinite = fields.number_or("eps_inf", 1.0)?;
    positive(infinite, &fields.path_of("eps_inf"))?;
    Ok(infinite)
}

/// The list of terms of a dispersion model, within the limit.
pub(super) fn terms<'a>(fields: &Fields<'a>, name: &str) -> Result<&'a [Value], SceneError> {
    let path = fields.path_of(name);
    let terms = match fields.optional(name) {
        Some(value) => Part::Medium.list(value, &path)?,
        None => &[],
    };
    if terms.len() > MAXIMUM_TERMS {
        return Err(Part::Medium.too_many(path, "terms of a dispersion model", MAXIMUM_TERMS));
    }
    Ok(terms)
}

fn coefficients<const N: usize>(fields: &Fields<'_>) -> Result<Vec<[f64; N]>, SceneError> {
    let path = fields.path_of("coeffs");
    let mut coefficients = Vec::new();
    for (index, value) in terms(fields, "coeffs")?.iter().enumerate() {
        let path = join(&path, index);
        let values: &[Value; N] = elements(value, &path)?;
        let mut row = [0.0; N];
        for (place, (number_, value)) in row.iter_mut().zip(values).enumerate() {
            *number_ = number(value, &join(&path, place))?;
        }
        coefficients.push(row);
    }
    Ok(coefficients)
}

pub(super) fn at_least(value: f64, least: f64, path: &str) -> Result<(), SceneError> {
    if value >= least {
        return Ok(());
    }
    Err(Part::Medium.invalid(path, format!("a number of at least {least} is expected, not {value}")))
}

pub(super) fn positive(value: f64, path: &str) -> Result<(), SceneError> {
    if value > 0.0 {
        return Ok(());
    }
    Err(Part::Medium.invalid(path, format!("a number above zero is expected, not {value}")))
}

/// A negative value is gain, which the medium must allow.
pub(super) fn passive(gain: bool, value: f64, path: &str, what: &str) -> Result<(), SceneError> {
    if gain || value >= 0.0 {
        return Ok(());
    }
    Err(Part::Medium.invalid(path, format!("{what} is {value}: a medium with gain has to set `allow_gain`")))
}

/// A pole in the right half plane grows without bound.
pub(super) fn stable(a: Complex64, path: &str) -> Result<(), SceneError> {
    if a.re <= 0.0 {
        return Ok(());
    }
    Err(Part::Medium.invalid(path, "the real part of a pole cannot be positive"))
}
