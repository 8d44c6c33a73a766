//! Labels of arrays: names of dimensions, coordinates along them, and coordinates that are left of those selected.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::error::within;
use super::{ExpressionError, ExpressionLimits};

/// One label of a coordinate: a number, or a text such as the direction `+`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Label {
    /// A number. Integers such as the index of a mode are exact up to 2^53.
    Number(f64),
    /// A text.
    Text(Arc<str>),
}

/// The labels along one dimension.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Coordinate {
    /// Finite numbers in any order.
    Numbers(Vec<f64>),
    /// Texts.
    Text(Vec<Arc<str>>),
}

/// One dimension of an array.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Dimension {
    /// Its name, such as `x`, `f` or `mode_index`.
    pub name: Arc<str>,
    /// The label of each place along it.
    pub coordinate: Arc<Coordinate>,
}

/// What is known of an array without its values.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Labels {
    /// The dimensions, outermost first.
    pub dimensions: Vec<Dimension>,
    /// The labels at which dimensions were selected that are there no more, by their names.
    pub scalars: BTreeMap<Arc<str>, Label>,
}

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// True or false: what comparisons give.
    Boolean,
    /// Integers: indices. Arithmetic makes floats of them.
    Integer,
    /// 64-bit floats.
    Float,
    /// Two 64-bit floats.
    Complex,
}

impl DataType {
    /// The name that NumPy has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "bool",
            Self::Integer => "int64",
            Self::Float => "float64",
            Self::Complex => "complex128",
        }
    }

    /// Bytes per element.
    pub const fn size(self) -> u64 {
        match self {
            Self::Boolean => 1,
            Self::Integer | Self::Float => 8,
            Self::Complex => 16,
        }
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Text(text) => write!(formatter, "`{text}`"),
        }
    }
}

impl Coordinate {
    /// Number of labels.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Text(texts) => texts.len(),
        }
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label at a place; `None` beyond the end.
    pub fn label(&self, place: usize) -> Option<Label> {
        match self {
            Self::Numbers(numbers) => numbers.get(place).copied().map(Label::Number),
            Self::Text(texts) => texts.get(place).cloned().map(Label::Text),
        }
    }

    /// The labels at these places, each below [`len`](Self::len).
    pub(super) fn take(&self, places: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(places.map(|place| numbers[place]).collect()),
            Self::Text(texts) => Self::Text(places.map(|place| texts[place].clone()).collect()),
        }
    }

    /// The numbers; `None` for texts.
    pub(super) fn numbers(&self) -> Option<&[f64]> {
        match self {
            Self::Numbers(numbers) => Some(numbers),
            // A list without elements has no type in JSON.
            Self::Text(texts) => texts.is_empty().then_some(&[]),
        }
    }

    /// Whether all numbers are finite.
    pub(super) fn is_finite(&self) -> bool {
        self.numbers().is_none_or(|numbers| numbers.iter().all(|number| number.is_finite()))
    }

    /// Whether two places have the same label.
    pub(super) fn has_duplicates(&self) -> bool {
        match self {
            Self::Numbers(numbers) => {
                let mut seen = HashSet::with_capacity(numbers.len());
                !numbers.iter().all(|&number| seen.insert(key(number)))
            }
            Self::Text(texts) => {
                let mut seen = HashSet::with_capacity(texts.len());
                !texts.iter().all(|text| seen.insert(text))
            }
        }
    }
}

/// Bits that are equal for equal numbers: the two zeros are one.
pub(super) fn key(number: f64) -> u64 {
    if number == 0.0 { 0 } else { number.to_bits() }
}

impl Labels {
    /// Labels of an array with these dimensions, if their names differ and their coordinates are finite.
    ///
    /// # Errors
    /// `Invalid` otherwise.
    pub fn new(operation: &'static str, dimensions: Vec<Dimension>) -> Result<Self, ExpressionError> {
        for (place, dimension) in dimensions.iter().enumerate() {
            if dimensions[..place].iter().any(|other| other.name == dimension.name) {
                let what = format!("the dimension {} is there twice", dimension.name);
                return Err(ExpressionError::invalid(operation, what));
            }
            if !dimension.coordinate.is_finite() {
                let what = format!("a coordinate of {} is not a finite number", dimension.name);
                return Err(ExpressionError::invalid(operation, what));
            }
        }
        Ok(Self { dimensions, scalars: BTreeMap::new() })
    }

    /// The extent of each dimension.
    pub fn shape(&self) -> Vec<usize> {
        self.dimensions.iter().map(|dimension| dimension.coordinate.len()).collect()
    }

    /// The place of a dimension.
    pub fn axis(&self, name: &str) -> Option<usize> {
        self.dimensions.iter().position(|dimension| &*dimension.name == name)
    }

    /// The place of a dimension that must be there.
    pub(super) fn expect_axis(&self, operation: &'static str, name: &str) -> Result<usize, ExpressionError> {
        self.axis(name).ok_or_else(|| {
            let names: Vec<&str> = self.dimensions.iter().map(|dimension| &*dimension.name).collect();
            ExpressionError::invalid(operation, format!("no dimension {name} among ({})", names.join(", ")))
        })
    }

    /// Number of elements, at most what the limits allow.
    pub(super) fn elements(&self, limits: &ExpressionLimits) -> Result<u64, ExpressionError> {
        let count = super::plan::elements(&self.shape());
        within("elements", limits.elements, count)?;
        Ok(count)
    }
}

impl Dimension {
    /// A dimension of this name along which these labels lie.
    pub fn new(name: impl Into<Arc<str>>, coordinate: Coordinate) -> Self {
        Self { name: name.into(), coordinate: Arc::new(coordinate) }
    }
}
