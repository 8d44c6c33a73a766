//! Arrays in memory: what a solver reads from a simulation and writes into a result.
//!
//! An array is a shape and typed values in C order. Coordinates are arrays of their own beside the
//! values (`…/temperature/x`), as in the files that tidy3d writes, so this type needs no labels.

/// An array: shape and values in C order (last dimension fastest).
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    values: Values,
}

/// The element types that simulations and results use.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Values {
    /// 64-bit floats: nearly all coordinates and values.
    Float64(Vec<f64>),
    /// 32-bit floats.
    Float32(Vec<f32>),
    /// Signed 64-bit integers: indices, cells.
    Int64(Vec<i64>),
    /// Signed 32-bit integers: cells of unstructured sets.
    Int32(Vec<i32>),
    /// Unsigned bytes: masks and booleans.
    Uint8(Vec<u8>),
    /// Complex numbers of two 64-bit floats: real, imaginary.
    Complex128(Vec<[f64; 2]>),
    /// Complex numbers of two 32-bit floats: real, imaginary.
    Complex64(Vec<[f32; 2]>),
    /// Strings: coordinates such as the direction `+` and `-`.
    Text(Vec<String>),
}

/// The element type of an array, with the name used in descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ElementType {
    /// 64-bit float.
    Float64,
    /// 32-bit float.
    Float32,
    /// Signed 64-bit integer.
    Int64,
    /// Signed 32-bit integer.
    Int32,
    /// Unsigned byte.
    Uint8,
    /// Two 64-bit floats.
    Complex128,
    /// Two 32-bit floats.
    Complex64,
    /// UTF-8 strings, each stored as a little-endian `u32` length and its bytes.
    Text,
}

impl ElementType {
    /// Bytes per element; `None` for strings, whose lengths vary.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::Float64 | Self::Int64 | Self::Complex64 => Some(8),
            Self::Float32 | Self::Int32 => Some(4),
            Self::Uint8 => Some(1),
            Self::Complex128 => Some(16),
            Self::Text => None,
        }
    }
}

/// The number of values does not fit the shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an array of shape {shape:?} needs {expected} values, got {found}")]
pub struct ShapeMismatch {
    /// The shape asked for.
    pub shape: Vec<usize>,
    /// The product of the shape.
    pub expected: usize,
    /// The number of values given.
    pub found: usize,
}

impl Values {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Float64(values) => values.len(),
            Self::Float32(values) => values.len(),
            Self::Int64(values) => values.len(),
            Self::Int32(values) => values.len(),
            Self::Uint8(values) => values.len(),
            Self::Complex128(values) => values.len(),
            Self::Complex64(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::Float64(_) => ElementType::Float64,
            Self::Float32(_) => ElementType::Float32,
            Self::Int64(_) => ElementType::Int64,
            Self::Int32(_) => ElementType::Int32,
            Self::Uint8(_) => ElementType::Uint8,
            Self::Complex128(_) => ElementType::Complex128,
            Self::Complex64(_) => ElementType::Complex64,
            Self::Text(_) => ElementType::Text,
        }
    }
}

impl Array {
    /// An array of this shape; the number of values must be the product of the shape.
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self, ShapeMismatch> {
        let expected = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        match expected {
            Some(expected) if expected == values.len() => Ok(Self { shape, values }),
            expected => {
                Err(ShapeMismatch { found: values.len(), expected: expected.unwrap_or(usize::MAX), shape })
            }
        }
    }

    /// A one-dimensional array of floats, as coordinates are.
    pub fn from_floats(values: Vec<f64>) -> Self {
        Self { shape: vec![values.len()], values: Values::Float64(values) }
    }

    /// The extent of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in C order.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The shape and the values, without copying.
    pub fn into_parts(self) -> (Vec<usize>, Values) {
        (self.shape, self.values)
    }

    /// The shape and the values as floats if the array is of a real number type, without a copy if it
    /// holds 64-bit floats already; `None` for complex and text.
    pub fn into_floats(self) -> Option<(Vec<usize>, Vec<f64>)> {
        match self.values {
            Values::Float64(values) => Some((self.shape, values)),
            _ => self.to_floats().map(|values| (self.shape, values)),
        }
    }

    /// The values as floats if the array is of a real number type; `None` for complex and text.
    pub fn to_floats(&self) -> Option<Vec<f64>> {
        Some(match &self.values {
            Values::Float64(values) => values.clone(),
            Values::Float32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            #[expect(clippy::cast_precision_loss, reason = "indices stay far below 2^53")]
            Values::Int64(values) => values.iter().map(|&value| value as f64).collect(),
            Values::Int32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Values::Uint8(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Values::Complex128(_) | Values::Complex64(_) | Values::Text(_) => return None,
        })
    }
}

/// The name of the dataset that holds an array's values inside its group, beside one per coordinate.
pub const VALUES_DATASET: &str = "__xarray_dataarray_variable__";

/// Where a solver gets the arrays of a simulation from.
///
/// A path is the slash-separated path of a dataset as in the file that the client writes, without a
/// leading slash: `structures/0/medium/permittivity/x`, or
/// `sources/0/rate/__xarray_dataarray_variable__` for the values themselves.
pub trait ArraySource: Sync {
    /// Loads one array; `None` if the document has none at this path.
    fn load(&self, path: &str) -> Result<Option<Array>, ArrayError>;
}

/// An array could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the array at `{path}` could not be read")]
pub struct ArrayError {
    /// The path that was asked for.
    pub path: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl ArraySource for std::collections::BTreeMap<String, Array> {
    fn load(&self, path: &str) -> Result<Option<Array>, ArrayError> {
        Ok(self.get(path).cloned())
    }
}
