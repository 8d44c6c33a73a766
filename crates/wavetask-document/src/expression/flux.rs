//! The power that a field carries through a plane: what tidy3d's data classes compute as `flux`.
//!
//! It is the integral of the normal component of the Poynting vector, half of the real part of `E × H*`, over the
//! monitor's plane. Fields on a grid are in different places; they are brought together at the corners of cells first, by
//! the solver (`colocate`) or here, or else each product is summed with the areas that belong to its own place
//! (`use_colocated_integration`). The rules are those of `ElectromagneticFieldData.flux`: cells are cut to the monitor, a
//! plane that is a single cell thick along an axis counts as one micrometre wide, and factors that correct for the grid
//! across the plane (`grid_primal_correction` of E, `grid_dual_correction` of H) are applied. Modes are solved on a part
//! of the grid that they are stored on; values beyond that part are zeros that have no share in what is between.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::combine::{reduce, unary};
use super::infer::{Context, Inferred, Typed};
use super::interpolation::{Rule, samples};
use super::plan::Sample;
use super::selection::Taken;
use super::symmetry::{AXES, Grid, Mirror, Monitor, numbers};
use super::{
    BinaryFunction, Coordinate, DataType, Dimension, Expression, ExpressionError, Field, InterpolationMethod,
    Labels, Reduction, UnaryFunction,
};

/// The name of the power in the path of a field.
pub(super) const FLUX: &str = "flux";

/// How near numbers are that tidy3d takes for equal.
const TOLERANCE: f64 = f32::EPSILON as f64;

/// The flux of a field through a plane.
#[derive(Clone, Debug)]
pub struct Flux {
    /// E along the plane's first and second axis, and H.
    fields: [Field; 4],
    /// Where each of them is taken, if not where it is stored.
    sampled: [Vec<Mirror>; 4],
    /// What E and H are multiplied by.
    corrections: [Factor; 2],
    /// Of the first E with the second H, and of the second with the first: the widths of cells along both axes.
    widths: [[Vec<f64>; 2]; 2],
    /// The axis along the plane's normal, and those in the plane.
    axes: [usize; 3],
    /// Whether fields are real and over time.
    in_time: bool,
}

#[derive(Clone, Debug)]
enum Factor {
    Number(f64),
    Field(Field),
}

/// What of a monitor data's JSON says how its flux is computed.
#[derive(Deserialize)]
struct Outline {
    #[serde(rename = "type", default)]
    class: String,
    #[serde(default)]
    flux: Option<Value>,
    #[serde(default)]
    grid_expanded: Option<Grid>,
    #[serde(default)]
    grid_primal_correction: Option<Value>,
    #[serde(default)]
    grid_dual_correction: Option<Value>,
    #[serde(default)]
    monitor: Option<Monitor>,
}

/// How the flux is computed of the data of a monitor, whose JSON this is; `None` if it has none that would be. `field_of`
/// names a field of the data, and `labels_of` says what its labels are.
pub(super) fn flux(
    data: &str,
    field_of: impl Fn(&str) -> Field,
    labels_of: impl Fn(&Field) -> Result<Labels, ExpressionError>,
) -> Result<Option<Flux>, ExpressionError> {
    let refuse = |what: &str| Err(ExpressionError::invalid(FLUX, what));
    let outline: Outline = serde_json::from_str(data)
        .map_err(|error| ExpressionError::invalid(FLUX, format!("the data is malformed: {error}")))?;
    let modes = ["ModeData", "ModeSolverData"].contains(&outline.class.as_str());
    let in_time = outline.class == "FieldTimeData";
    if outline.flux.is_some_and(|flux| !flux.is_null()) || !(modes || in_time || outline.class == "FieldData")
    {
        return Ok(None);
    }
    let Some(monitor) = &outline.monitor else { return refuse("the data has no monitor") };
    let (Some(center), Some(size)) = (numbers(&monitor.center), numbers(&monitor.size)) else {
        return refuse("the monitor does not say where it is");
    };
    let flat: Vec<usize> = (0..3).filter(|&axis| size[axis] == 0.0).collect();
    let &[normal] = &flat[..] else { return refuse("the monitor is no plane") };
    if monitor.interval_space.is_some_and(|interval| interval.iter().any(|&interval| interval > 1)) {
        return refuse("the monitor has not every place of the grid (`interval_space`)");
    }
    let Some(colocated) = monitor.colocate else {
        return refuse("the monitor does not say whether values are at the corners of cells");
    };
    let Some(grid) = &outline.grid_expanded else { return refuse("the data lacks its grid") };
    let tangents = [usize::from(normal == 0), if normal == 2 { 1 } else { 2 }];
    let planes: [Plane<'_>; 2] = tangents.map(|axis| Plane {
        boundaries: grid.along(axis),
        monitor: [center[axis] - size[axis] / 2.0, center[axis] + size[axis] / 2.0],
        colocated,
    });
    if planes.iter().any(|plane| plane.boundaries.len() < 2) {
        return refuse("the grid has no cells");
    }
    let names = |letter: &str| tangents.map(|axis| field_of(&format!("{letter}{}", AXES[axis])));
    let ([e_u, e_v], [h_u, h_v]) = (names("E"), names("H"));
    let fields = [e_u, e_v, h_u, h_v];
    let mut sampled: [Vec<Mirror>; 4] = Default::default();
    let widths = if monitor.use_colocated_integration.unwrap_or(true) {
        if !colocated {
            for (field, sampled) in fields.iter().zip(&mut sampled) {
                let labels = labels_of(field)?;
                for (plane, axis) in planes.iter().zip(tangents) {
                    sampled.extend(plane.gathered(&labels, axis, modes)?);
                }
            }
        }
        let along = planes.each_ref().map(Plane::corner_widths);
        [along.clone(), along]
    } else {
        let [[first, first_dual], [second, second_dual]] = planes.each_ref().map(Plane::cell_widths);
        [[first, second_dual], [first_dual, second]]
    };
    let correction = |name: &str, value: &Option<Value>| match value {
        None | Some(Value::Null) => Ok(Factor::Number(1.0)),
        Some(Value::String(_)) => Ok(Factor::Field(field_of(name))),
        Some(value) => match crate::number(value) {
            Some(number) => Ok(Factor::Number(number)),
            None => Err(ExpressionError::invalid(FLUX, format!("`{name}` is no number"))),
        },
    };
    let corrections = [
        correction("grid_primal_correction", &outline.grid_primal_correction)?,
        correction("grid_dual_correction", &outline.grid_dual_correction)?,
    ];
    let axes = [normal, tangents[0], tangents[1]];
    Ok(Some(Flux { fields, sampled, corrections, widths, axes, in_time }))
}

/// The cells along one axis of a plane.
#[derive(Debug)]
struct Plane<'g> {
    boundaries: &'g [f64],
    /// From where to where the monitor goes.
    monitor: [f64; 2],
    colocated: bool,
}

impl Plane<'_> {
    /// The corners of cells to which fields are brought. A grid for fields that are not there has a cell more below.
    fn corners(&self) -> &[f64] {
        let corners = &self.boundaries[..self.boundaries.len() - 1];
        if !self.colocated && corners.len() > 1 { &corners[1..] } else { corners }
    }

    /// How wide the cells around the corners are, each to the middle between neighbours, within the monitor.
    fn corner_widths(&self) -> Vec<f64> {
        let corners = self.corners();
        let [first, .., last] = *corners else { return vec![1.0] };
        let mut edges = vec![first];
        edges.extend(corners.windows(2).map(|pair| f64::midpoint(pair[1], pair[0])));
        edges.push(last);
        clipped_widths(&edges, self.monitor)
    }

    /// How wide the cells are, and the cells between their middles, within the monitor and what is not padding.
    fn cell_widths(&self) -> [Vec<f64>; 2] {
        let (boundaries, corners) = (self.boundaries, self.corners());
        let (&[first, .., last], false) = (corners, boundaries.len() == 2) else {
            if boundaries.len() == 2 {
                return [vec![1.0], vec![1.0]];
            }
            // One corner bounds nothing.
            let none = vec![0.0; boundaries.len() - 1];
            return [none.clone(), none];
        };
        let within = [self.monitor[0].max(first), self.monitor[1].min(last)];
        let mut middles = vec![within[0]];
        middles.extend(boundaries.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])));
        let mut cells = boundaries[..boundaries.len() - 1].to_vec();
        cells.push(within[1]);
        [clipped_widths(&cells, within), clipped_widths(&middles, within)]
    }

    /// Values of a field at the corners along an axis; `None` if they are taken as they are.
    fn gathered(&self, labels: &Labels, axis: usize, modes: bool) -> Result<Option<Mirror>, ExpressionError> {
        let corners = self.corners();
        if corners.len() < 2 {
            return Ok(None);
        }
        let name = AXES[axis];
        let place = labels.expect_axis(FLUX, name)?;
        let stored = labels.dimensions[place].coordinate.numbers().unwrap_or_default();
        if !stored.is_sorted() {
            return Err(ExpressionError::invalid(FLUX, format!("places along {name} are not in order")));
        }
        let rule = Rule { method: InterpolationMethod::Linear, fill: None, only_dimension: false };
        let from = if modes {
            let [low, high] = self.solved();
            let begin = stored.partition_point(|&at| at < low);
            let end = stored.partition_point(|&at| at <= high).max(begin);
            let known = &stored[begin..end];
            let (Some(&first), Some(&last)) = (known.first(), known.last()) else {
                let what = format!("no value along {name} lies where modes were solved");
                return Err(ExpressionError::invalid(FLUX, what));
            };
            let nearest: Vec<f64> = corners.iter().map(|corner| corner.clamp(first, last)).collect();
            let found = samples(name, known, &nearest, rule)?;
            let outside = |corner: f64| corner < low || corner > high;
            let sample = |(sample, &corner): (Sample, &f64)| {
                if outside(corner) { Sample::Outside(0.0) } else { sample.map(|place| place + begin) }
            };
            found.into_iter().zip(corners).map(sample).collect()
        } else {
            samples(name, stored, corners, rule)?
        };
        Ok(Some(Mirror::between(place, corners.to_vec(), from)))
    }

    /// From where to where modes were solved: the monitor, out to the next boundaries, without what the grid has more.
    fn solved(&self) -> [f64; 2] {
        let grid = self.boundaries;
        let count = grid.len();
        let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
        let [low, high] = self.monitor;
        let clamp = |place: isize| grid[usize::try_from(place).unwrap_or(0).min(count - 1)];
        let above = grid.partition_point(|&at| at < low);
        let exact = above < count && close(grid[above], low);
        let mut first = clamp(if exact { above as isize } else { above as isize - 1 });
        let above = grid.partition_point(|&at| at < high);
        let exact = above > 0 && close(grid[above - 1], high);
        let mut last = clamp(if exact { above as isize - 1 } else { above as isize });
        if count <= 2 {
            [first, last] = [low, high];
        }
        if close(last, grid[count - 1]) {
            last = grid[count - 2];
        }
        if !self.colocated && close(first, grid[0]) {
            first = grid[1];
        }
        [first, last]
    }
}

/// The widths between neighbouring edges, of what lies within bounds.
fn clipped_widths(edges: &[f64], [low, high]: [f64; 2]) -> Vec<f64> {
    let within: Vec<f64> = edges.iter().map(|edge| edge.max(low).min(high)).collect();
    within.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

impl Context<'_> {
    /// The flux over frequency, and mode or time.
    pub(super) fn flux(&mut self, flux: Flux) -> Result<Inferred, ExpressionError> {
        let Flux { fields, sampled, corrections, widths, axes, in_time } = flux;
        let [normal, tangents @ ..] = axes;
        let mut taken = Vec::with_capacity(4);
        for (number, (field, sampled)) in fields.into_iter().zip(sampled).enumerate() {
            let mut of = self.infer(&Expression::Field(field))?;
            for mirror in sampled {
                of = super::symmetry::mirrored(self, of, mirror)?;
            }
            of = self.in_plane(of, normal, tangents)?;
            of = match &corrections[number / 2] {
                Factor::Number(1.0) => of,
                Factor::Number(factor) => self.binary(BinaryFunction::Multiply, of, number_of(*factor))?,
                Factor::Field(factor) => {
                    let factor = self.infer(&Expression::Field(factor.clone()))?;
                    self.binary(BinaryFunction::Multiply, of, factor)?
                }
            };
            taken.push(of);
        }
        let [e_u, e_v, h_u, h_v]: [Inferred; 4] =
            taken.try_into().map_err(|_| ExpressionError::invalid(FLUX, "four fields are needed"))?;
        let [first, second] = widths;
        let first = self.product(e_u, h_v, tangents, first, in_time)?;
        let second = self.product(e_v, h_u, tangents, second, in_time)?;
        let through = self.binary(BinaryFunction::Subtract, first, second)?;
        let names = tangents.map(|axis| Arc::from(AXES[axis]));
        let sum = reduce(Reduction::Sum, through, Some(&names), false)?;
        // In the order of the other two axes, y points the other way.
        let sign = if normal == 1 { -1.0 } else { 1.0 };
        let factor = number_of(if in_time { sign } else { 0.5 * sign });
        self.binary(BinaryFunction::Multiply, unary(UnaryFunction::Real, sum)?, factor)
    }

    /// A field without the dimension across the plane, and with places in the plane by their numbers: what belongs
    /// together is what has the same place, as in tidy3d's arrays.
    fn in_plane(
        &mut self,
        of: Inferred,
        normal: usize,
        tangents: [usize; 2],
    ) -> Result<Inferred, ExpressionError> {
        let across = of.labels.expect_axis(FLUX, AXES[normal])?;
        if of.labels.dimensions[across].coordinate.len() != 1 {
            let what = format!("the field has several places along {}", AXES[normal]);
            return Err(ExpressionError::invalid(FLUX, what));
        }
        let mut taken = vec![Taken::All; of.labels.dimensions.len()];
        taken[across] = Taken::One(0);
        let mut of = of.take(self, taken)?;
        of.labels.scalars.clear();
        for axis in tangents {
            let place = of.labels.expect_axis(FLUX, AXES[axis])?;
            let count = of.labels.dimensions[place].coordinate.len();
            self.hold(count)?;
            of.labels.dimensions[place] = numbered(axis, count);
        }
        Ok(of)
    }

    /// The product of a component of E with one of H, times the areas of cells.
    fn product(
        &mut self,
        electric: Inferred,
        magnetic: Inferred,
        tangents: [usize; 2],
        widths: [Vec<f64>; 2],
        in_time: bool,
    ) -> Result<Inferred, ExpressionError> {
        for (axis, widths) in tangents.into_iter().zip(&widths) {
            for of in [&electric, &magnetic] {
                let place = of.labels.expect_axis(FLUX, AXES[axis])?;
                let count = of.labels.dimensions[place].coordinate.len();
                if count != widths.len() {
                    let what = format!(
                        "the field has {count} places along {}, the grid {}",
                        AXES[axis],
                        widths.len()
                    );
                    return Err(ExpressionError::invalid(FLUX, what));
                }
            }
        }
        let function = if in_time { UnaryFunction::Real } else { UnaryFunction::Conjugate };
        let mut product = self.binary(BinaryFunction::Multiply, electric, unary(function, magnetic)?)?;
        for (axis, widths) in tangents.into_iter().zip(widths) {
            let dimension = numbered(axis, widths.len());
            let labels = Labels { dimensions: vec![dimension], ..Labels::default() };
            product = self.binary(BinaryFunction::Multiply, product, literal(labels, widths))?;
        }
        Ok(product)
    }
}

/// Places along an axis by their numbers.
fn numbered(axis: usize, count: usize) -> Dimension {
    #[expect(clippy::cast_precision_loss, reason = "no axis has 2^53 places")]
    let numbers = (0..count).map(|place| place as f64).collect();
    Dimension::new(AXES[axis], Coordinate::Numbers(numbers))
}

fn number_of(value: f64) -> Inferred {
    literal(Labels::default(), vec![value])
}

fn literal(labels: Labels, values: Vec<f64>) -> Inferred {
    Inferred {
        labels,
        data_type: DataType::Float,
        mesh: None,
        node: Typed::Literal { values, imaginary: None },
    }
}
