//! What things are made of: the optical media of a tidy3d scene.
//!
//! ```text
//! Medium::read(json, path, arrays)
//!   ├ homogeneous      Medium, PoleResidue, Sellmeier, Lorentz, Drude, Debye, PEC, PMC, LossyMetal, Perturbation…
//!   ├ diagonal         AnisotropicMedium: one homogeneous medium per axis
//!   ├ tensor           FullyAnisotropicMedium
//!   ├ varying          Custom…: one to three components on a lattice, on triangles or on tetrahedra
//!   └ sheet            Medium2D: two homogeneous media of the plane, times a thickness of one micrometre
//! ```
//!
//! A medium is read once from the JSON that the client writes, with its arrays, and evaluated at as many
//! frequencies as needed: [`Medium::at`] takes a frequency, and its answer takes points. Everything that a document can get wrong is refused while reading; evaluation
//! cannot fail. Media of which only a part would be simulated (nonlinear and time-modulated ones) are
//! refused by name: a linear answer to a nonlinear question is a wrong one.
//!
//! The client's validators are repeated where a violation would give a wrong answer instead of an error:
//! arrays may have come by another way than its constructors.
//!
//! Lengths are in micrometres, frequencies in hertz, conductivities in S/µm; permittivities are relative
//! and in the convention `exp(-i ω t)`, in which a positive imaginary part is loss.

mod cells;
mod custom;
mod dispersion;
pub(crate) mod fields;
mod lattice;
mod samples;

/// Complex numbers, as all permittivities are.
pub use num_complex::Complex64;

use std::sync::Arc;

use serde_json::Value;
use wavetask_document::ArraySource;

use custom::Varying;
use dispersion::{Dispersion, at_least, passive};
use fields::matrix;

use crate::reading::{Fields, Part, SceneError};

/// The speed of light in vacuum, µm/s; the client's constant.
pub const SPEED_OF_LIGHT: f64 = 2.997_924_58e14;

/// The permeability of vacuum, H/µm; the client's constant.
pub const VACUUM_PERMEABILITY: f64 = 1.256_637_062_12e-12;

/// The permittivity of vacuum, F/µm.
pub const VACUUM_PERMITTIVITY: f64 = 1.0 / (VACUUM_PERMEABILITY * (SPEED_OF_LIGHT * SPEED_OF_LIGHT));

/// The permittivity by which the client marks perfect electric conductors in its arrays.
pub const PERFECT_CONDUCTOR: f64 = -1e8;

/// Infinite frequencies are evaluated here, as the client does.
pub const INFINITE_FREQUENCY: f64 = 1e50;

/// How many poles or other terms one dispersion model may have.
pub const MAXIMUM_TERMS: usize = 10_000;

/// How many samples one array of a custom medium may have.
pub const MAXIMUM_SAMPLES: usize = 200_000_000;

/// A permittivity tensor by rows.
pub type Tensor = [[Complex64; 3]; 3];

/// What a structure is made of, as far as light is concerned.
#[derive(Clone, Debug)]
pub struct Medium {
    name: Option<String>,
    matter: Matter,
}

#[derive(Clone, Debug)]
enum Matter {
    Isotropic(Dispersion),
    /// A metal whose surface may be modelled by its impedance instead; whether it is solved inside.
    LossyMetal(Dispersion, bool),
    Diagonal(Box<[Dispersion; 3]>),
    /// Permittivity and conductivity (S/µm).
    Tensor(Box<[[[f64; 3]; 3]; 2]>),
    /// The two directions of the plane in the order of the axes.
    Sheet(Box<[Dispersion; 2]>),
    /// Diagonal; the same component three times where the medium is isotropic.
    Varying([Arc<Varying>; 3]),
}

impl Medium {
    /// Reads a medium from the JSON that the client writes.
    ///
    /// `path` is where `value` stands in the document, such as `structures/3/medium`: errors name it, and
    /// the arrays of custom media are looked up beneath it. Of a `MultiPhysicsMedium` the optical part is
    /// read.
    ///
    /// # Errors
    /// Types that are not known are refused with [`Fault::UnsupportedType`](crate::Fault::UnsupportedType); nonlinear and modulated
    /// media, and multiphysics media without an optical part, with [`Fault::UnsupportedOption`](crate::Fault::UnsupportedOption).
    pub fn read(value: &Value, path: &str, arrays: &dyn ArraySource) -> Result<Self, SceneError> {
        let fields = Fields::of(Part::Medium, value, path)?;
        let kind = fields.text("type")?;
        if kind == "MultiPhysicsMedium" {
            let path = fields.path_of("optical");
            return match fields.optional("optical") {
                Some(optical) => Self::read(optical, &path, arrays),
                None => {
                    Err(Part::Medium.unsupported(path, "a multiphysics medium without optical properties"))
                }
            };
        }
        refuse_extras(&fields)?;
        let name = fields.optional("name").map(|_| fields.text("name")).transpose()?.map(str::to_owned);
        let matter = match kind {
            "LossyMetalMedium" => {
                let Some(metal) = Dispersion::read(kind, &fields)? else {
                    return Err(Part::Medium.unknown_type(path, kind));
                };
                Matter::LossyMetal(metal, fields.flag("penetrable")?)
            }
            "AnisotropicMedium" => Matter::Diagonal(Box::new([
                component(&fields, "xx")?,
                component(&fields, "yy")?,
                component(&fields, "zz")?,
            ])),
            "FullyAnisotropicMedium" => Matter::Tensor(Box::new(tensor(&fields)?)),
            "Medium2D" => {
                let sides = [component(&fields, "ss")?, component(&fields, "tt")?];
                let perfect = sides.each_ref().map(|side| matches!(side, Dispersion::PerfectElectric));
                if perfect[0] != perfect[1] {
                    return Err(
                        Part::Medium.invalid(path, "`ss` and `tt` are both perfect conductors or none is")
                    );
                }
                Matter::Sheet(Box::new(sides))
            }
            _ => match Dispersion::read(kind, &fields)? {
                Some(dispersion) => Matter::Isotropic(dispersion),
                None => match Varying::read(kind, &fields, arrays)? {
                    Some(parts) => Matter::Varying(parts),
                    None => {
                        return Err(Part::Medium.unknown_type(path, kind));
                    }
                },
            },
        };
        Ok(Self { name, matter })
    }

    /// Vacuum.
    pub fn vacuum() -> Self {
        Self::constant(1.0)
    }

    /// A lossless medium of this relative permittivity.
    pub fn constant(permittivity: f64) -> Self {
        Self { name: None, matter: Matter::Isotropic(Dispersion::Constant(permittivity, 0.0)) }
    }

    /// Its name in the document.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether any component is a perfect electric conductor.
    pub fn is_perfect_conductor(&self) -> bool {
        self.any(|part| matches!(part, Dispersion::PerfectElectric))
    }

    /// Whether any component is a perfect magnetic conductor.
    pub fn is_perfect_magnetic_conductor(&self) -> bool {
        self.any(|part| matches!(part, Dispersion::PerfectMagnetic))
    }

    /// Whether its component along an axis (0, 1 or 2) is a perfect magnetic conductor.
    pub fn is_magnetic_conductor_along(&self, axis: usize) -> bool {
        match &self.matter {
            Matter::Isotropic(part) => matches!(part, Dispersion::PerfectMagnetic),
            Matter::Diagonal(parts) => matches!(parts[axis], Dispersion::PerfectMagnetic),
            _ => false,
        }
    }

    /// Whether it is a lossy metal whose surface impedance the client would use, not its inside.
    pub fn is_surface_metal(&self) -> bool {
        matches!(self.matter, Matter::LossyMetal(_, false))
    }

    /// Whether its tensor has entries beside the diagonal.
    pub fn is_fully_anisotropic(&self) -> bool {
        matches!(self.matter, Matter::Tensor(_))
    }

    /// Whether it is a sheet without thickness.
    pub fn is_sheet(&self) -> bool {
        matches!(self.matter, Matter::Sheet(_))
    }

    /// Whether it varies in space.
    pub fn is_varying(&self) -> bool {
        matches!(self.matter, Matter::Varying(_))
    }

    /// Whether its boundary is to be averaged over the cells that it cuts: custom media have to ask for it.
    pub fn is_averaged_at_boundary(&self) -> bool {
        match &self.matter {
            Matter::Varying(parts) => parts.iter().all(|part| part.subpixel),
            _ => true,
        }
    }

    /// The medium at a frequency in hertz, to be asked for points.
    pub fn at(&self, frequency: f64) -> Spectral<'_> {
        let frequency = finite(frequency);
        match &self.matter {
            Matter::Varying(parts) => {
                let [x, y, z] = parts;
                let first: Arc<[Complex64]> = x.evaluate(frequency).into();
                let other = |part: &Arc<Varying>| -> Arc<[Complex64]> {
                    if Arc::ptr_eq(part, x) { Arc::clone(&first) } else { part.evaluate(frequency).into() }
                };
                Spectral(Values::Varying(parts, [Arc::clone(&first), other(y), other(z)]))
            }
            _ => Spectral(Values::Uniform(self.tensor(frequency))),
        }
    }

    /// The relative permittivity tensor at a frequency in hertz; of a sheet, its components in the
    /// plane for a thickness of one micrometre, in the places xx and yy; of a medium that varies, the mean
    /// of its samples.
    pub fn tensor(&self, frequency: f64) -> Tensor {
        let frequency = finite(frequency);
        let diagonal = |entries: [Complex64; 3]| {
            let mut tensor = [[Complex64::default(); 3]; 3];
            for (axis, entry) in entries.into_iter().enumerate() {
                tensor[axis][axis] = entry;
            }
            tensor
        };
        match &self.matter {
            Matter::Isotropic(part) | Matter::LossyMetal(part, _) => {
                diagonal([part.permittivity(frequency); 3])
            }
            Matter::Diagonal(parts) => diagonal(parts.each_ref().map(|part| part.permittivity(frequency))),
            Matter::Tensor(parts) => {
                let [permittivity, conductivity] = parts.as_ref();
                std::array::from_fn(|row| {
                    std::array::from_fn(|column| {
                        permittivity[row][column]
                            + dispersion::conduction(conductivity[row][column], frequency)
                    })
                })
            }
            Matter::Sheet(parts) => {
                let [one, other] = parts.each_ref().map(|part| part.permittivity(frequency));
                diagonal([one, other, Complex64::new(1.0, 0.0)])
            }
            Matter::Varying(parts) => diagonal(parts.each_ref().map(|part| {
                let samples = part.evaluate(frequency);
                #[expect(clippy::cast_precision_loss, reason = "far below 2^53 samples")]
                let count = samples.len() as f64;
                samples.into_iter().sum::<Complex64>() / count
            })),
        }
    }

    /// The diagonal by which the client sizes grids (its `eps_diagonal_numerical`), at a frequency in hertz.
    ///
    /// Vacuum for perfect electric conductors, lossy metals and sheets, whose permittivity says nothing
    /// about a wavelength; the principal values of a full tensor; where a custom medium varies, the
    /// sample of the greatest magnitude in each component.
    pub fn numerical_diagonal(&self, frequency: f64) -> [Complex64; 3] {
        let frequency = finite(frequency);
        match &self.matter {
            Matter::LossyMetal(..) | Matter::Sheet(_) => [Complex64::new(1.0, 0.0); 3],
            _ if self.is_perfect_conductor() => [Complex64::new(1.0, 0.0); 3],
            Matter::Tensor(parts) => principal_values(parts, frequency),
            Matter::Isotropic(_) | Matter::Diagonal(_) => {
                let tensor = self.tensor(frequency);
                std::array::from_fn(|axis| tensor[axis][axis])
            }
            Matter::Varying(parts) => parts.each_ref().map(|part| {
                let samples = part.evaluate(frequency).into_iter();
                samples
                    .reduce(|most, sample| if sample.norm() > most.norm() { sample } else { most })
                    .unwrap_or_default()
            }),
        }
    }

    /// The index of refraction that decides the grid's step in the medium at a frequency in hertz: the
    /// greatest magnitude of `n` and `k` over the components of [`Self::numerical_diagonal`], as the
    /// client's graded mesher takes it.
    pub fn refractive_index(&self, frequency: f64) -> f64 {
        self.numerical_diagonal(frequency)
            .into_iter()
            .map(Complex64::sqrt)
            .map(|index| index.re.abs().max(index.im.abs()))
            .fold(0.0, f64::max)
    }

    fn any(&self, holds: impl Fn(&Dispersion) -> bool) -> bool {
        match &self.matter {
            Matter::Isotropic(part) | Matter::LossyMetal(part, _) => holds(part),
            Matter::Diagonal(parts) => parts.iter().any(holds),
            Matter::Sheet(parts) => parts.iter().any(holds),
            Matter::Tensor(_) | Matter::Varying(_) => false,
        }
    }
}

/// A medium at one frequency.
#[derive(Debug)]
pub struct Spectral<'a>(Values<'a>);

#[derive(Debug)]
enum Values<'a> {
    Uniform(Tensor),
    Varying(&'a [Arc<Varying>; 3], [Arc<[Complex64]>; 3]),
}

impl Spectral<'_> {
    /// The tensor if it is the same everywhere.
    pub fn uniform(&self) -> Option<&Tensor> {
        match &self.0 {
            Values::Uniform(tensor) => Some(tensor),
            Values::Varying(..) => None,
        }
    }

    /// One entry of the relative permittivity tensor at a point (µm).
    pub fn entry(&self, row: usize, column: usize, point: [f64; 3]) -> Complex64 {
        match &self.0 {
            Values::Uniform(tensor) => tensor[row][column],
            Values::Varying(parts, samples) if row == column => parts[row].interpolate(&samples[row], point),
            Values::Varying(..) => Complex64::default(),
        }
    }

    /// The diagonal of the relative permittivity tensor at a point (µm).
    pub fn diagonal(&self, point: [f64; 3]) -> [Complex64; 3] {
        match &self.0 {
            Values::Varying(parts, _) if parts[1..].iter().all(|part| Arc::ptr_eq(part, &parts[0])) => {
                [self.entry(0, 0, point); 3]
            }
            _ => std::array::from_fn(|axis| self.entry(axis, axis, point)),
        }
    }
}

/// The frequency at which a medium is evaluated.
fn finite(frequency: f64) -> f64 {
    if frequency.is_infinite() { INFINITE_FREQUENCY } else { frequency }
}

/// Refuses what would change the answer and is not simulated.
fn refuse_extras(fields: &Fields<'_>) -> Result<(), SceneError> {
    for (name, what) in
        [("nonlinear_spec", "a nonlinear medium"), ("modulation_spec", "a medium that is modulated in time")]
    {
        if fields.optional(name).is_some() {
            return Err(Part::Medium.unsupported(fields.path_of(name), what));
        }
    }
    Ok(())
}

/// A homogeneous isotropic component of an anisotropic medium.
fn component(fields: &Fields<'_>, name: &str) -> Result<Dispersion, SceneError> {
    let path = fields.path_of(name);
    let fields = Fields::of(Part::Medium, fields.required(name)?, &path)?;
    refuse_extras(&fields)?;
    let kind = fields.text("type")?;
    if kind == "LossyMetalMedium" && !fields.flag("penetrable")? {
        return Err(Part::Medium.unsupported(path, "a lossy metal that is not penetrable, as a component,"));
    }
    Dispersion::read(kind, &fields)?.ok_or_else(|| Part::Medium.unknown_type(path.as_str(), kind))
}

/// Entries that differ by less than this are equal, as the client sees them: the epsilon of 32-bit floats.
const TENSOR_TOLERANCE: f64 = f32::EPSILON as f64;

/// Permittivity and conductivity of a `FullyAnisotropicMedium`.
fn tensor(fields: &Fields<'_>) -> Result<[[[f64; 3]; 3]; 2], SceneError> {
    let read = |name: &str, default: f64| match fields.optional(name) {
        Some(value) => matrix(value, &fields.path_of(name)),
        None => Ok(std::array::from_fn(|row| {
            std::array::from_fn(|column| if row == column { default } else { 0.0 })
        })),
    };
    let permittivity = read("permittivity", 1.0)?;
    let conductivity = read("conductivity", 0.0)?;
    let path = fields.path_of("permittivity");
    let is_lopsided = |(row, column): (usize, usize)| {
        let (one, other) = (permittivity[row][column], permittivity[column][row]);
        (one - other).abs() > TENSOR_TOLERANCE + 1e-5 * other.abs()
    };
    if [(0, 1), (0, 2), (1, 2)].into_iter().any(is_lopsided) {
        return Err(Part::Medium.invalid(path, "the permittivity tensor is not symmetric"));
    }
    let (values, _) = crate::linear::symmetric_eigen(symmetric_part(&permittivity));
    for value in values {
        at_least(value, 1.0 - TENSOR_TOLERANCE, &path)?;
    }
    let (losses, _) = crate::linear::symmetric_eigen(symmetric_part(&conductivity));
    let gain = fields.flag("allow_gain")?;
    for loss in losses {
        passive(gain, loss + TENSOR_TOLERANCE, &fields.path_of("conductivity"), "a principal conductivity")?;
    }
    Ok([permittivity, conductivity])
}

fn symmetric_part(matrix: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| f64::midpoint(matrix[row][column], matrix[column][row]))
    })
}

/// The permittivity along the principal axes of the real permittivity tensor.
fn principal_values(parts: &[[[f64; 3]; 3]; 2], frequency: f64) -> [Complex64; 3] {
    let [permittivity, conductivity] = parts;
    let (values, axes) = crate::linear::symmetric_eigen(symmetric_part(permittivity));
    std::array::from_fn(|index| {
        let axis = axes[index];
        let along: f64 = (0..3)
            .flat_map(|row| (0..3).map(move |column| (row, column)))
            .map(|(row, column)| axis[row] * conductivity[row][column] * axis[column])
            .sum();
        values[index] + dispersion::conduction(along, frequency)
    })
}
