//! Media that vary in space: the homogeneous models with an array for every parameter.
//!
//! The client evaluates the model at every sample and interpolates the permittivity, not the parameters;
//! so does this module. Evaluating at a frequency takes 16 bytes a sample.

use std::sync::Arc;

use num_complex::Complex64;
use serde_json::Value;
use wavetask_document::ArraySource;

use super::VACUUM_PERMITTIVITY;
use super::dispersion::{
    at_least, conduction, debye, drude, lorentz, passive, pole, positive, sellmeier, stable, terms,
};
use super::fields::elements;
use super::lattice::Interpolation;
use super::samples::{SampleReader, Samples, Support};
use crate::reading::{Fields, Part, SceneError, join};

/// One component of a medium that varies in space.
#[derive(Debug)]
pub(super) struct Varying {
    support: Arc<Support>,
    interpolation: Interpolation,
    model: Model,
    /// Whether the medium asks for subpixel averaging at its boundary.
    pub(super) subpixel: bool,
}

/// The parameters at each sample.
#[derive(Debug)]
enum Model {
    /// Permittivity and conductivity (S/µm).
    Constant(Vec<f64>, Option<Vec<f64>>),
    PoleResidue(Vec<f64>, Vec<[Vec<Complex64>; 2]>),
    Sellmeier(Vec<[Vec<f64>; 2]>),
    Lorentz(Vec<f64>, Vec<[Vec<f64>; 3]>),
    Drude(Vec<f64>, Vec<[Vec<f64>; 2]>),
    Debye(Vec<f64>, Vec<[Vec<f64>; 2]>),
}

impl Varying {
    /// Reads the three components of a custom medium of class `kind`; `None` if it is not one.
    pub(super) fn read(
        kind: &str,
        fields: &Fields<'_>,
        arrays: &dyn ArraySource,
    ) -> Result<Option<[Arc<Self>; 3]>, SceneError> {
        if matches!(kind, "CustomAnisotropicMedium" | "CustomAnisotropicMediumInternal") {
            let interpolation = match fields.optional("interp_method") {
                Some(_) => Some(interpolation(fields)?),
                None => None,
            };
            let component = |name| Self::component(fields, name, arrays, interpolation);
            return Ok(Some([component("xx")?, component("yy")?, component("zz")?]));
        }
        if kind == "CustomMedium" && fields.optional("eps_dataset").is_some() {
            return Self::dataset(fields, arrays).map(Some);
        }
        let mut reader = SampleReader::new(arrays);
        let Some(model) = Model::read(kind, fields, &mut reader)? else { return Ok(None) };
        let varying = Arc::new(Self {
            support: reader.support(),
            interpolation: interpolation(fields)?,
            model,
            subpixel: fields.flag("subpixel")?,
        });
        Ok(Some([Arc::clone(&varying), Arc::clone(&varying), varying]))
    }

    /// The component of an anisotropic medium, which must be isotropic.
    fn component(
        fields: &Fields<'_>,
        name: &str,
        arrays: &dyn ArraySource,
        interpolation: Option<Interpolation>,
    ) -> Result<Arc<Self>, SceneError> {
        let path = fields.path_of(name);
        let fields = Fields::of(Part::Medium, fields.required(name)?, &path)?;
        super::refuse_extras(&fields)?;
        let kind = fields.text("type")?;
        let is_anisotropic = kind.starts_with("CustomAnisotropic");
        let parts = if is_anisotropic { None } else { Self::read(kind, &fields, arrays)? };
        let [part, other, another] = parts.ok_or_else(|| Part::Medium.unknown_type(path.as_str(), kind))?;
        if !part.is_same(&other) || !part.is_same(&another) {
            return Err(Part::Medium.invalid(path, "a component is an isotropic medium"));
        }
        let Some(interpolation) = interpolation else { return Ok(part) };
        drop((other, another));
        let Self { support, model, subpixel, .. } = Arc::try_unwrap(part)
            .map_err(|_| Part::Medium.invalid(path, "a component is an isotropic medium"))?;
        Ok(Arc::new(Self { support, interpolation, model, subpixel }))
    }

    fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// The components of the older way to give a complex permittivity at one frequency.
    fn dataset(fields: &Fields<'_>, arrays: &dyn ArraySource) -> Result<[Arc<Self>; 3], SceneError> {
        let path = fields.path_of("eps_dataset");
        let dataset = Fields::of(Part::Medium, fields.required("eps_dataset")?, &path)?;
        if fields.optional("permittivity").is_some() || fields.optional("conductivity").is_some() {
            return Err(
                Part::Medium.invalid(path, "`eps_dataset` excludes `permittivity` and `conductivity`")
            );
        }
        let gain = fields.flag("allow_gain")?;
        let mut parts = Vec::with_capacity(3);
        for name in ["eps_xx", "eps_yy", "eps_zz"] {
            let path = dataset.path_of(name);
            let samples = SampleReader::new(arrays).read(dataset.required(name)?, &path)?;
            let Some(frequency) = samples.frequency else {
                return Err(Part::Medium.invalid(path, "permittivity data needs its frequency"));
            };
            let support = Arc::clone(&samples.support);
            let values = samples.into_complex();
            let omega = std::f64::consts::TAU * frequency;
            let permittivity: Vec<f64> = values.iter().map(|value| value.re).collect();
            let conductivity: Vec<f64> =
                values.iter().map(|value| omega * value.im * VACUUM_PERMITTIVITY).collect();
            each(&permittivity, |value| at_least(value, 1.0, &path))?;
            each(&conductivity, |value| passive(gain, value, &path, "an imaginary part"))?;
            parts.push(Arc::new(Self {
                support,
                interpolation: interpolation(fields)?,
                model: Model::Constant(permittivity, Some(conductivity)),
                subpixel: fields.flag("subpixel")?,
            }));
        }
        let [x, y, z] = <[Arc<Self>; 3]>::try_from(parts)
            .map_err(|_| Part::Medium.invalid(path.as_str(), "three components are expected"))?;
        if x.equals(&y) && x.equals(&z) {
            return Ok([Arc::clone(&x), Arc::clone(&x), x]);
        }
        Ok([x, y, z])
    }

    fn equals(&self, other: &Self) -> bool {
        let (Model::Constant(one, loss), Model::Constant(other_one, other_loss)) =
            (&self.model, &other.model)
        else {
            return false;
        };
        one == other_one && loss == other_loss && self.support.is_same(&other.support)
    }

    /// The permittivity at every sample, at a finite frequency in hertz.
    pub(super) fn evaluate(&self, frequency: f64) -> Vec<Complex64> {
        self.model.evaluate(frequency)
    }

    /// The permittivity at a point, from that of every sample.
    pub(super) fn interpolate(&self, samples: &[Complex64], point: [f64; 3]) -> Complex64 {
        self.support.interpolate(samples, point, self.interpolation)
    }
}

impl Model {
    fn read(
        kind: &str,
        fields: &Fields<'_>,
        reader: &mut SampleReader<'_>,
    ) -> Result<Option<Self>, SceneError> {
        let gain = fields.flag("allow_gain")?;
        Ok(Some(match kind {
            "CustomMedium" | "CustomIsotropicMedium" => {
                let path = fields.path_of("permittivity");
                let permittivity = real(reader, fields.required("permittivity")?, &path)?;
                each(&permittivity, |value| at_least(value, 1.0, &path))?;
                let path = fields.path_of("conductivity");
                let conductivity =
                    fields.optional("conductivity").map(|value| real(reader, value, &path)).transpose()?;
                each(conductivity.as_deref().unwrap_or(&[]), |value| {
                    passive(gain, value, &path, "the conductivity")
                })?;
                Self::Constant(permittivity, conductivity)
            }
            "CustomPoleResidue" => {
                let infinite = infinite(fields, reader)?;
                let path = fields.path_of("poles");
                let mut poles = Vec::new();
                for (index, value) in terms(fields, "poles")?.iter().enumerate() {
                    let path = join(&path, index);
                    let [a, c]: &[Value; 2] = elements(value, &path)?;
                    let a_path = join(&path, 0);
                    let a = reader.read(a, &a_path)?.into_complex();
                    if let Some(value) = a.iter().find(|value| value.re > 0.0) {
                        stable(*value, &a_path)?;
                    }
                    poles.push([a, reader.read(c, &join(&path, 1))?.into_complex()]);
                }
                Self::PoleResidue(infinite, poles)
            }
            "CustomSellmeier" => {
                let coefficients = coefficients::<2>(fields, reader)?;
                for (index, [b, c]) in coefficients.iter().enumerate() {
                    let path = join(&fields.path_of("coeffs"), index);
                    each(b, |value| passive(gain, value, &join(&path, 0), "`B`"))?;
                    each(c, |value| positive(value, &join(&path, 1)))?;
                }
                Self::Sellmeier(coefficients)
            }
            "CustomLorentz" => {
                let infinite = infinite(fields, reader)?;
                let coefficients = coefficients::<3>(fields, reader)?;
                for (index, [strength, _, damping]) in coefficients.iter().enumerate() {
                    let path = join(&fields.path_of("coeffs"), index);
                    each(strength, |value| {
                        passive(gain, value, &join(&path, 0), "the strength of an oscillator")
                    })?;
                    each(damping, |value| at_least(value, 0.0, &join(&path, 2)))?;
                }
                Self::Lorentz(infinite, coefficients)
            }
            "CustomDrude" => {
                let infinite = infinite(fields, reader)?;
                let coefficients = coefficients::<2>(fields, reader)?;
                for (index, [_, damping]) in coefficients.iter().enumerate() {
                    let path = join(&join(&fields.path_of("coeffs"), index), 1);
                    each(damping, |value| positive(value, &path))?;
                }
                Self::Drude(infinite, coefficients)
            }
            "CustomDebye" => {
                let infinite = infinite(fields, reader)?;
                let coefficients = coefficients::<2>(fields, reader)?;
                for (index, [strength, time]) in coefficients.iter().enumerate() {
                    let path = join(&fields.path_of("coeffs"), index);
                    each(strength, |value| {
                        passive(gain, value, &join(&path, 0), "the strength of a relaxation")
                    })?;
                    each(time, |value| positive(value, &join(&path, 1)))?;
                }
                Self::Debye(infinite, coefficients)
            }
            _ => return Ok(None),
        }))
    }

    fn evaluate(&self, frequency: f64) -> Vec<Complex64> {
        match self {
            Self::Constant(permittivity, None) => permittivity.iter().map(|&value| value.into()).collect(),
            Self::Constant(permittivity, Some(conductivity)) => permittivity
                .iter()
                .zip(conductivity)
                .map(|(value, &loss)| value + conduction(loss, frequency))
                .collect(),
            Self::PoleResidue(infinite, poles) => {
                sum(infinite, poles, |[a, c], index| pole(a[index], c[index], frequency))
            }
            Self::Sellmeier(coefficients) => {
                let ones = vec![1.0; coefficients.first().map_or(1, |[b, _]| b.len())];
                sum(&ones, coefficients, |[b, c], index| sellmeier(b[index], c[index], frequency))
            }
            Self::Lorentz(infinite, coefficients) => {
                sum(infinite, coefficients, |[strength, resonance, damping], index| {
                    lorentz(strength[index], resonance[index], damping[index], frequency)
                })
            }
            Self::Drude(infinite, coefficients) => sum(infinite, coefficients, |[plasma, damping], index| {
                drude(plasma[index], damping[index], frequency)
            }),
            Self::Debye(infinite, coefficients) => sum(infinite, coefficients, |[strength, time], index| {
                debye(strength[index], time[index], frequency)
            }),
        }
    }
}

fn sum<T>(infinite: &[f64], terms: &[T], term: impl Fn(&T, usize) -> Complex64) -> Vec<Complex64> {
    let mut values: Vec<Complex64> = infinite.iter().map(|&value| value.into()).collect();
    for each in terms {
        for (index, value) in values.iter_mut().enumerate() {
            *value += term(each, index);
        }
    }
    values
}

fn interpolation(fields: &Fields<'_>) -> Result<Interpolation, SceneError> {
    match fields.optional("interp_method").map(Value::as_str) {
        None | Some(Some("nearest")) => Ok(Interpolation::Nearest),
        Some(Some("linear")) => Ok(Interpolation::Linear),
        Some(_) => {
            Err(Part::Medium.unsupported(fields.path_of("interp_method"), "this interpolation method"))
        }
    }
}

fn real(reader: &mut SampleReader<'_>, value: &Value, path: &str) -> Result<Vec<f64>, SceneError> {
    reader.read(value, path).and_then(|samples: Samples| samples.into_real(path))
}

fn infinite(fields: &Fields<'_>, reader: &mut SampleReader<'_>) -> Result<Vec<f64>, SceneError> {
    let path = fields.path_of("eps_inf");
    let infinite = real(reader, fields.required("eps_inf")?, &path)?;
    each(&infinite, |value| at_least(value, 0.0, &path))?;
    Ok(infinite)
}

fn coefficients<const N: usize>(
    fields: &Fields<'_>,
    reader: &mut SampleReader<'_>,
) -> Result<Vec<[Vec<f64>; N]>, SceneError> {
    let path = fields.path_of("coeffs");
    let mut coefficients = Vec::new();
    for (index, value) in terms(fields, "coeffs")?.iter().enumerate() {
        let path = join(&path, index);
        let values: &[Value; N] = elements(value, &path)?;
        let mut row = std::array::from_fn(|_| Vec::new());
        for (place, (parameter, value)) in row.iter_mut().zip(values).enumerate() {
            *parameter = real(reader, value, &join(&path, place))?;
        }
        coefficients.push(row);
    }
    Ok(coefficients)
}

/// Checks every sample; only a sample that fails costs more than a comparison.
fn each(values: &[f64], check: impl Fn(f64) -> Result<(), SceneError>) -> Result<(), SceneError> {
    let (least, most) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &value| {
        (least.min(value), most.max(value))
    });
    if least <= most {
        check(least)?;
        check(most)?;
    }
    Ok(())
}
