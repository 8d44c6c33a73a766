//! Plans: what is read and computed, by position.

use std::sync::Arc;

use super::error::within;
use super::mesh::{MeshKind, MeshType};
use super::selection::Taken;
use super::{
    BinaryFunction, DataType, ExpressionError, ExpressionLimits, Field, InterpolationMethod, Labels,
    Reduction, UnaryFunction,
};

/// What computing an expression comes to: steps without labels, which read only what the result depends on, and the
/// labels of the result.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The last step, whose array is the result.
    pub step: Step,
    /// The labels of the result.
    pub labels: Labels,
    /// Element operations of all steps.
    pub work: u64,
    /// Bytes of the fields' elements that are read; of blocks there may be more.
    pub bytes_read: u64,
    /// Elements of the largest array.
    pub largest: u64,
    /// Bytes that evaluation holds at once, at most.
    pub memory_bytes: u64,
}

/// One step: an array by position.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its shape.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub data_type: DataType,
    /// What it is.
    pub operation: Operation,
}

/// What a step does. Axes are those of the step's operands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Values that were written out, in C order.
    Literal {
        /// The values or their real parts.
        values: Vec<f64>,
        /// The imaginary parts.
        imaginary: Option<Vec<f64>>,
    },
    /// Part of a field.
    Read {
        /// The field.
        field: Field,
        /// What is taken of each of its dimensions.
        taken: Vec<Taken>,
    },
    /// Values between places along an axis.
    Interpolate {
        /// Of what.
        of: Box<Step>,
        /// Along which axis.
        axis: usize,
        /// Each value of the result along it.
        samples: Vec<Sample>,
        /// Whether the axis disappears; there is one sample then.
        scalar: bool,
    },
    /// A function of each element.
    Unary {
        /// Which.
        function: UnaryFunction,
        /// Of what.
        of: Box<Step>,
    },
    /// A function of two elements.
    Binary {
        /// Which.
        function: BinaryFunction,
        /// The first operand.
        left: Operand,
        /// The second operand.
        right: Operand,
    },
    /// One number of all along some axes.
    Reduce {
        /// Which.
        function: Reduction,
        /// Of what.
        of: Box<Step>,
        /// Along which axes, ascending.
        axes: Vec<usize>,
        /// Whether NaN is left out.
        skip_nan: bool,
    },
    /// Elements where a condition holds, others elsewhere.
    Where {
        /// What is taken where it holds.
        of: Operand,
        /// The condition.
        condition: Operand,
        /// What is taken elsewhere; without it NaN.
        otherwise: Option<Operand>,
    },
    /// What a table has at places that arrays say.
    Lookup {
        /// The table.
        table: Box<Step>,
        /// The coordinates along each of its axes, none of them twice, in any order.
        axes: Vec<Vec<f64>>,
        /// Where along each axis.
        at: Vec<Operand>,
        /// How.
        method: InterpolationMethod,
    },
    /// Arrays beside one another along a new outermost axis.
    Concat {
        /// The arrays, all of one shape.
        parts: Vec<Step>,
        /// The part at each place along the axis.
        order: Vec<usize>,
    },
    /// The axes in another order.
    Transpose {
        /// Of what.
        of: Box<Step>,
        /// The operand's axis for each axis of the result.
        axes: Vec<usize>,
    },
    /// With further axes, along which it is repeated.
    Repeat {
        /// Of what.
        of: Operand,
    },
    /// Values of a mesh on a rectangular grid.
    Resample {
        /// The values at the mesh's points: the outermost axis; the others become the innermost of the result.
        of: Box<Step>,
        /// The mesh.
        mesh: Arc<MeshType>,
        /// The grid's coordinates along x, y and z, as many as the result has.
        grid: [Vec<f64>; 3],
        /// Which of x, y and z the result has as axes.
        kept: [bool; 3],
        /// How.
        method: InterpolationMethod,
        /// What lies outside of the mesh; without it what the nearest point has.
        fill: Option<f64>,
    },
}

/// An array that is repeated along axes that it does not have.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The array.
    pub step: Box<Step>,
    /// Its axis for each axis of the result; `None` where it is repeated.
    pub axes: Vec<Option<usize>>,
}

/// One value along an axis: places in the operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// This number, whatever the array has.
    Outside(f64),
    /// Nothing: of complex arrays neither part is a number.
    Missing,
    /// What is at a place.
    At(usize),
    /// On the line through two places.
    Between {
        /// The place of the smaller coordinate.
        low: usize,
        /// The place of the larger coordinate.
        high: usize,
        /// Both coordinates.
        coordinates: [f64; 2],
        /// Where the value is wanted.
        target: f64,
        /// Whether a line that is not a number from the lower end is tried from the upper, as NumPy does.
        either_end: bool,
    },
}

impl Sample {
    /// The places that it needs.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let (one, other) = match *self {
            Self::Outside(_) | Self::Missing => (None, None),
            Self::At(place) => (Some(place), None),
            Self::Between { low, high, .. } => (Some(low), Some(high)),
        };
        one.into_iter().chain(other)
    }

    /// The same with other places.
    pub(super) fn map(self, renumber: impl Fn(usize) -> usize) -> Self {
        match self {
            Self::Outside(value) => Self::Outside(value),
            Self::Missing => Self::Missing,
            Self::At(place) => Self::At(renumber(place)),
            Self::Between { low, high, coordinates, target, either_end } => {
                let (low, high) = (renumber(low), renumber(high));
                Self::Between { low, high, coordinates, target, either_end }
            }
        }
    }
}

impl Step {
    /// Number of elements; saturates.
    pub fn elements(&self) -> u64 {
        elements(&self.shape)
    }

    /// Bytes of the values while they are computed with.
    fn held_bytes(&self) -> u64 {
        self.elements().saturating_mul(if self.data_type == DataType::Complex { 16 } else { 8 })
    }

    /// Bytes that are held at once while this is computed: what has been computed of the operands, and the largest of
    /// what each takes, or the result beside them.
    fn peak_bytes(&self) -> u64 {
        let (mut held, mut peak) = (0_u64, 0_u64);
        for operand in self.operands() {
            peak = peak.max(held.saturating_add(operand.peak_bytes()));
            // An operand that is repeated is held in both forms for a while.
            held = held.saturating_add(operand.held_bytes()).saturating_add(self.held_bytes());
        }
        let search = match &self.operation {
            // Positions, corners, and the trees over both; where each place is.
            Operation::Resample { mesh, grid, .. } => {
                let places = elements(&grid.each_ref().map(Vec::len));
                mesh.points.saturating_add(mesh.cells).saturating_add(places).saturating_mul(100)
            }
            _ => 0,
        };
        peak.max(held.saturating_add(self.held_bytes()).saturating_add(search))
    }

    fn operands(&self) -> Vec<&Self> {
        match &self.operation {
            Operation::Literal { .. } | Operation::Read { .. } => Vec::new(),
            Operation::Interpolate { of, .. }
            | Operation::Unary { of, .. }
            | Operation::Reduce { of, .. }
            | Operation::Transpose { of, .. }
            | Operation::Resample { of, .. } => vec![of],
            Operation::Repeat { of } => vec![&of.step],
            Operation::Binary { left, right, .. } => vec![&left.step, &right.step],
            Operation::Where { of, condition, otherwise } => [Some(of), Some(condition), otherwise.as_ref()]
                .into_iter()
                .flatten()
                .map(|operand| &*operand.step)
                .collect(),
            Operation::Lookup { table, at, .. } => {
                std::iter::once(&**table).chain(at.iter().map(|at| &*at.step)).collect()
            }
            Operation::Concat { parts, .. } => parts.iter().collect(),
        }
    }
}

/// The product of a shape; saturates.
pub(super) fn elements(shape: &[usize]) -> u64 {
    if shape.contains(&0) {
        return 0;
    }
    shape.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent as u64))
}

impl Plan {
    /// A plan of these steps, if they are within the limits.
    pub(super) fn new(
        step: Step,
        labels: Labels,
        limits: &ExpressionLimits,
    ) -> Result<Self, ExpressionError> {
        let (mut work, mut bytes_read, mut largest) = (0_u64, 0_u64, 0_u64);
        let mut open = vec![&step];
        while let Some(step) = open.pop() {
            let elements = step.elements();
            largest = largest.max(elements);
            within("elements", limits.elements, elements)?;
            let operands = step.operands();
            let cost = match &step.operation {
                Operation::Reduce { of, .. } => of.elements(),
                // A search along each axis, and the corners between which a place is.
                Operation::Lookup { axes, .. } => elements.saturating_mul(64 * axes.len() as u64),
                // Finding a cell takes about a microsecond, and preparing the search as much for each cell.
                Operation::Resample { mesh, grid, .. } => {
                    // A flat mesh is searched once for all places along its normal.
                    let extent = |(axis, places): (usize, &Vec<f64>)| match mesh.kind {
                        MeshKind::Triangular { normal_axis, .. } if axis == normal_axis => 1,
                        _ => places.len(),
                    };
                    let extents: Vec<usize> = grid.iter().enumerate().map(extent).collect();
                    let points = self::elements(&extents);
                    elements.saturating_add(points.saturating_add(mesh.cells).saturating_mul(1000))
                }
                _ => elements,
            };
            work = work.saturating_add(cost);
            within("work", limits.work, work)?;
            bytes_read = bytes_read.saturating_add(match &step.operation {
                Operation::Read { .. } => elements.saturating_mul(step.data_type.size()),
                Operation::Resample { mesh, .. } => mesh.bytes(),
                _ => 0,
            });
            within("bytes_read", limits.bytes_read, bytes_read)?;
            open.extend(operands);
        }
        let memory_bytes = step.peak_bytes();
        within("memory_bytes", limits.memory_bytes, memory_bytes)?;
        Ok(Self { step, labels, work, bytes_read, largest, memory_bytes })
    }
}
