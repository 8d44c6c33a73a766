//! Modes at several frequencies, as they go through post-processing.

use num_complex::Complex64;

/// The six field components of one mode, in the order of [`COMPONENTS`](crate::document::COMPONENTS) and along the
/// simulation's axes; values row-major over the first, then the second tangential axis.
#[derive(Clone, Debug)]
pub(crate) struct ModeFields {
    pub(crate) components: [Vec<Complex64>; 6],
}

impl ModeFields {
    /// Multiplies all components.
    pub(crate) fn scale(&mut self, factor: Complex64) {
        for component in &mut self.components {
            for value in component {
                *value *= factor;
            }
        }
    }
}

/// One mode at one frequency.
#[derive(Clone, Debug)]
pub(crate) struct Mode {
    /// Complex effective index.
    pub(crate) index: Complex64,
    pub(crate) fields: ModeFields,
}

/// What the eigensolver saw of the materials; the client's `eps_spec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaterialCharacter {
    Diagonal,
    TensorialReal,
    TensorialComplex,
}

impl MaterialCharacter {
    /// The client's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Diagonal => "diagonal",
            Self::TensorialReal => "tensorial_real",
            Self::TensorialComplex => "tensorial_complex",
        }
    }
}

/// The modes at one frequency.
#[derive(Clone, Debug)]
pub(crate) struct FrequencyModes {
    /// In hertz.
    pub(crate) frequency: f64,
    pub(crate) modes: Vec<Mode>,
    pub(crate) character: MaterialCharacter,
    /// Group index and dispersion in ps/(nm km) of each mode, once they are known.
    pub(crate) derivatives: Option<Vec<Derivatives>>,
}

/// Derivatives of a mode's effective index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Derivatives {
    pub(crate) group_index: f64,
    /// In ps/(nm km).
    pub(crate) dispersion: f64,
}
