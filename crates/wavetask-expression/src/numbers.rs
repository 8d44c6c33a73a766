//! Arrays of numbers in the two widths that evaluation knows.

use num_complex::Complex;
use wavetask_document::expression::{DataType, Labels};
use wavetask_document::{Array, Values};

/// Values in C order: real, or complex. Conditions are 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Real numbers, integers, or conditions.
    Real(Vec<f64>),
    /// Complex numbers.
    Complex(Vec<Complex<f64>>),
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// Dimensions and coordinates.
    pub labels: Labels,
    /// The type of the elements.
    pub data_type: DataType,
    /// The elements in C order.
    pub values: Numbers,
}

impl Numbers {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Real(values) => values.len(),
            Self::Complex(values) => values.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As complex numbers.
    pub(crate) fn into_complex(self) -> Vec<Complex<f64>> {
        match self {
            Self::Real(values) => values.into_iter().map(|value| Complex::new(value, 0.0)).collect(),
            Self::Complex(values) => values,
        }
    }

    /// In the width of this type: real numbers become complex where it is complex.
    pub(crate) fn widened(self, data_type: DataType) -> Self {
        match data_type {
            DataType::Complex => Self::Complex(self.into_complex()),
            _ => self,
        }
    }

    /// The numbers of an array in memory; `None` of texts.
    pub(crate) fn of_array(array: Array) -> Option<Self> {
        let (shape, values) = array.into_parts();
        let complex = |real: f64, imaginary: f64| Complex::new(real, imaginary);
        Some(match values {
            Values::Complex128(values) => {
                Self::Complex(values.into_iter().map(|[real, imaginary]| complex(real, imaginary)).collect())
            }
            Values::Complex64(values) => Self::Complex(
                values.into_iter().map(|[real, imaginary]| complex(real.into(), imaginary.into())).collect(),
            ),
            values => Self::Real(Array::new(shape, values).ok()?.into_floats()?.1),
        })
    }
}

impl Evaluated {
    /// The values as an array in the element type that they have, ready to be stored.
    pub fn into_array(self) -> Array {
        let shape = self.labels.shape();
        #[expect(clippy::cast_possible_truncation, reason = "integers are indices, conditions 0 and 1")]
        #[expect(clippy::cast_sign_loss, reason = "conditions are 0 and 1")]
        let values = match (self.values, self.data_type) {
            (Numbers::Complex(values), _) => {
                Values::Complex128(values.into_iter().map(|value| [value.re, value.im]).collect())
            }
            (Numbers::Real(values), DataType::Boolean) => {
                Values::Uint8(values.into_iter().map(|value| value as u8).collect())
            }
            (Numbers::Real(values), DataType::Integer) => {
                Values::Int64(values.into_iter().map(|value| value as i64).collect())
            }
            (Numbers::Real(values), _) => Values::Float64(values),
        };
        let count = values.len();
        // The shape is that of the plan, which made the values.
        Array::new(shape, values).unwrap_or_else(|_| unreachable!("{count} values do not fit the labels"))
    }
}
