//! What an expression is made of.

use std::sync::Arc;

use wavetask_protocol::{Digest, TaskId};

use super::{Coordinate, Dimension, Label};

/// An expression over arrays: a field, a literal, or an operation on expressions.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Expression {
    /// A number; with an imaginary part it is complex.
    Number {
        /// The number or its real part.
        value: f64,
        /// The imaginary part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        imaginary: Option<f64>,
    },
    /// A small array that is written out.
    Array {
        /// Its dimensions and their coordinates.
        dimensions: Vec<Dimension>,
        /// The values in C order, or their real parts.
        values: Vec<f64>,
        /// The imaginary parts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        imaginary: Option<Vec<f64>>,
    },
    /// An array of a task's result or of its simulation.
    Field(Field),
    /// A selection by labels: `sel`.
    Sel {
        /// What is selected from.
        of: Box<Expression>,
        /// Dimensions, and what is selected of each.
        selectors: Vec<(Arc<str>, Selector)>,
        /// How labels are found that are not among the coordinates; without it they are refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<SelectionMethod>,
    },
    /// A selection by places: `isel`.
    Isel {
        /// What is selected from.
        of: Box<Expression>,
        /// Dimensions, and what is selected of each.
        indexers: Vec<(Arc<str>, Indexer)>,
    },
    /// Values between the coordinates: `interp`, one dimension after the other in this order.
    Interp {
        /// What is interpolated.
        of: Box<Expression>,
        /// Dimensions, and where along each.
        places: Vec<(Arc<str>, Places)>,
        /// How.
        #[serde(default)]
        method: InterpolationMethod,
        /// What lies outside of the coordinates. Without it that is NaN, and in unstructured data the nearest point.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fill: Option<Fill>,
    },
    /// A function of each element.
    Unary {
        /// Which.
        function: UnaryFunction,
        /// Of what.
        of: Box<Expression>,
    },
    /// A function of two elements at equal labels. Dimensions of only one of both are repeated; of coordinates that
    /// differ, the labels that both have remain.
    Binary {
        /// Which.
        function: BinaryFunction,
        /// The first operand, whose order of dimensions and labels the result has.
        left: Box<Expression>,
        /// The second operand.
        right: Box<Expression>,
    },
    /// One number of all along some dimensions.
    Reduce {
        /// Which.
        function: Reduction,
        /// Of what.
        of: Box<Expression>,
        /// The dimensions that disappear; without it all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dimensions: Option<Vec<Arc<str>>>,
        /// Whether NaN is left out, as xarray does unless told otherwise.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        skip_nan: bool,
    },
    /// Elements where a condition holds: the method `where`.
    Where {
        /// What is taken where it holds.
        of: Box<Expression>,
        /// The condition, a comparison.
        condition: Box<Expression>,
        /// What is taken elsewhere; its coordinates must be equal. Without it that is NaN.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Box<Expression>>,
    },
    /// What a table says at fields: values between its places, found by what other arrays have. Beyond its ends the
    /// table has what it has there; where a field is not a number, so is the result.
    Lookup {
        /// The table: of one or two dimensions, along which the places are numbers.
        table: Box<Expression>,
        /// Of each dimension of the table where along it: real arrays with equal coordinates along equal dimensions.
        at: Vec<(Arc<str>, Expression)>,
        /// How.
        #[serde(default)]
        method: InterpolationMethod,
    },
    /// Arrays of equal dimensions and coordinates beside one another along a new dimension, the outermost one.
    Concat {
        /// The arrays.
        parts: Vec<Expression>,
        /// The name of the new dimension.
        dimension: Arc<str>,
        /// The labels along it; without them those at which each part was selected along a dimension of that name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        coordinate: Option<Coordinate>,
    },
    /// The dimensions in another order.
    Transpose {
        /// What is transposed.
        of: Box<Expression>,
        /// All its dimensions in the new order.
        dimensions: Vec<Arc<str>>,
    },
    /// Without dimensions of one place.
    Squeeze {
        /// What is squeezed.
        of: Box<Expression>,
        /// Which; without it all that have one place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dimensions: Option<Vec<Arc<str>>>,
    },
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_yes(value: &bool) -> bool {
    *value
}

/// An array of a task's result or of its simulation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Whose.
    pub source: FieldSource,
    /// Of its result or of its simulation.
    #[serde(default)]
    pub part: Part,
    /// Where in it. In a result: the name of the monitor, and the field of its data (`temperature`, `temperature`). In
    /// a simulation: keys and list indices (`structures`, `0`, `medium`, `permittivity`).
    pub path: Vec<Arc<str>>,
}

/// Whose field.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldSource {
    /// A task's, which need not be done, or even have begun.
    Task(TaskId),
    /// That of a document, by its canonical digest: whatever task it came from.
    Result(Digest),
}

/// A part of what a task is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What came out.
    #[default]
    Result,
    /// What was asked.
    Simulation,
}

impl std::fmt::Display for Field {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            FieldSource::Task(task) => write!(formatter, "{task}")?,
            FieldSource::Result(digest) => write!(formatter, "{digest}")?,
        }
        if self.part == Part::Simulation {
            write!(formatter, "/simulation")?;
        }
        self.path.iter().try_for_each(|name| write!(formatter, "/{name}"))
    }
}

/// What is selected along a dimension by labels.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// One label; the dimension disappears.
    Value(Label),
    /// Labels in the order of the result.
    Values(Coordinate),
    /// From one label to another, both included, in the order of the coordinates.
    Slice {
        /// The first, or without it the beginning.
        #[serde(default)]
        start: Option<f64>,
        /// The last, or without it the end.
        #[serde(default)]
        stop: Option<f64>,
        /// Every how many-th place.
        #[serde(default)]
        step: Option<u64>,
    },
    /// The labels of another expression along a dimension; its values are not computed.
    CoordinateOf {
        /// The other expression.
        expression: Box<Expression>,
        /// Its dimension.
        dimension: Arc<str>,
    },
}

/// How a label is found that is not among the coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionMethod {
    /// The nearest one; of two that are equally near the larger.
    Nearest,
}

/// What is selected along a dimension by places, counted from 0, or from -1 at the end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Indexer {
    /// One place; the dimension disappears.
    Index(i64),
    /// Places in the order of the result.
    Indices(Vec<i64>),
    /// A slice as Python has it.
    Slice {
        /// The first.
        #[serde(default)]
        start: Option<i64>,
        /// The one before which it ends.
        #[serde(default)]
        stop: Option<i64>,
        /// From one to the next; not 0.
        #[serde(default)]
        step: Option<i64>,
    },
}

/// Where values are wanted along a dimension.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Places {
    /// At one place; the dimension disappears.
    Value(f64),
    /// At these, in this order.
    Values(Vec<f64>),
    /// At the labels of another expression along a dimension; its values are not computed.
    CoordinateOf {
        /// The other expression.
        expression: Box<Expression>,
        /// Its dimension.
        dimension: Arc<str>,
    },
}

/// How values between coordinates are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationMethod {
    /// On the straight line between the neighbours; in unstructured data within the cell.
    #[default]
    Linear,
    /// That of the nearest; of two that are equally near the smaller label's.
    Nearest,
}

/// What lies outside of the coordinates or the mesh.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// This number.
    Value(f64),
    /// What the outermost interval says; in unstructured data the nearest point.
    Extrapolate,
    /// NaN, for which JSON has no number; of complex arrays the real part. Without a fill neither part is a number.
    Nan,
}

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnaryFunction {
    /// `-a`
    Negative,
    /// `|a|`
    Absolute,
    /// The real part.
    Real,
    /// The imaginary part.
    Imaginary,
    /// The complex conjugate.
    Conjugate,
    /// The argument in radians, from -π to π.
    Angle,
}

/// A function of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryFunction {
    /// `a + b`
    Add,
    /// `a - b`
    Subtract,
    /// `a * b`
    Multiply,
    /// `a / b`; by zero as floats do.
    Divide,
    /// `a ** b`
    Power,
    /// `a == b`
    Equal,
    /// `a != b`
    NotEqual,
    /// `a < b`
    Less,
    /// `a <= b`
    LessOrEqual,
    /// `a > b`
    Greater,
    /// `a >= b`
    GreaterOrEqual,
}

impl BinaryFunction {
    /// Whether the result is true or false.
    pub const fn is_comparison(self) -> bool {
        !matches!(self, Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Power)
    }
}

/// One number of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum; 0 of none.
    Sum,
    /// Their mean; NaN of none.
    Mean,
    /// The largest; refused of an empty array.
    Max,
    /// The smallest; refused of an empty array.
    Min,
    /// The place of the first largest along one dimension; refused where all are NaN.
    Argmax,
}
