//! From labels to places: selections move down to the fields, and what is left out is neither read nor computed.
//!
//! Every operation is asked for some places of its result and asks its operands for what those depend on: an
//! interpolation for both neighbours of each target, a sum for all along its dimensions, a concatenation only those
//! parts that are taken.

use super::error::within;
use super::infer::{Inferred, Typed};
use super::plan::{Operand, Operation, Step, elements};
use super::selection::Taken;
use super::{ExpressionError, ExpressionLimits, Labels};

/// The steps that compute all of an expression's value.
pub(super) fn narrow(inferred: &Inferred, limits: &ExpressionLimits) -> Result<Step, ExpressionError> {
    let wanted = vec![Taken::All; inferred.labels.dimensions.len()];
    Narrowing { limits, held: 0 }.step(inferred, &wanted)
}

struct Narrowing<'a> {
    limits: &'a ExpressionLimits,
    /// Places that have been made.
    held: u64,
}

impl Narrowing<'_> {
    fn hold(&mut self, count: usize) -> Result<(), ExpressionError> {
        self.held = self.held.saturating_add(count as u64);
        within("labels", self.limits.labels, self.held)
    }

    /// The step that computes these places of an expression's value.
    fn step(&mut self, inferred: &Inferred, wanted: &[Taken]) -> Result<Step, ExpressionError> {
        let shape = shape_of(&inferred.labels, wanted);
        within("elements", self.limits.elements, elements(&shape))?;
        let operation = match &inferred.node {
            Typed::Literal { values, imaginary } => {
                let extents = inferred.labels.shape();
                let imaginary = imaginary.as_ref().map(|values| gather(values, &extents, wanted, &shape));
                Operation::Literal { values: gather(values, &extents, wanted, &shape), imaginary }
            }
            Typed::Field(field) => Operation::Read { field: field.clone(), taken: wanted.to_vec() },
            Typed::Take { of, taken } => {
                let mut remaining = wanted.iter();
                let mut composed = Vec::with_capacity(taken.len());
                for taken in taken {
                    let then = match taken {
                        Taken::One(_) => taken.clone(),
                        _ => taken.then(remaining.next().unwrap_or(&Taken::All)),
                    };
                    if let Taken::Places(places) = &then {
                        self.hold(places.len())?;
                    }
                    composed.push(then);
                }
                return self.step(of, &composed);
            }
            Typed::Interpolate { of, axis, samples, scalar } => {
                let mut below = wanted.to_vec();
                let along = if *scalar { Taken::One(0) } else { below.remove(*axis) };
                let scalar = matches!(along, Taken::One(_));
                let count = along.count(samples.len()).unwrap_or(1);
                self.hold(count)?;
                let mut samples: Vec<_> = (0..count).map(|place| samples[along.place(place)]).collect();
                let mut places: Vec<usize> = samples.iter().flat_map(|sample| sample.places()).collect();
                places.sort_unstable();
                places.dedup();
                for sample in &mut samples {
                    *sample = sample.map(|place| places.partition_point(|&other| other < place));
                }
                self.hold(places.len())?;
                let extent = of.labels.dimensions[*axis].coordinate.len();
                below.insert(*axis, Taken::of_places(places, extent));
                let of = Box::new(self.step(of, &below)?);
                Operation::Interpolate { of, axis: remaining_axis(&below, *axis), samples, scalar }
            }
            Typed::Unary { function, of } => {
                Operation::Unary { function: *function, of: Box::new(self.step(of, wanted)?) }
            }
            Typed::Binary { function, left, right } => Operation::Binary {
                function: *function,
                left: self.operand(left, &inferred.labels, wanted)?,
                right: self.operand(right, &inferred.labels, wanted)?,
            },
            Typed::Reduce { function, of, axes, skip_nan } => {
                let mut below = wanted.to_vec();
                for &axis in axes {
                    below.insert(axis, Taken::All);
                }
                let of = Box::new(self.step(of, &below)?);
                let axes = axes.iter().map(|&axis| remaining_axis(&below, axis)).collect();
                Operation::Reduce { function: *function, of, axes, skip_nan: *skip_nan }
            }
            Typed::Where { of, condition, otherwise } => Operation::Where {
                of: self.operand(of, &inferred.labels, wanted)?,
                condition: self.operand(condition, &inferred.labels, wanted)?,
                otherwise: match otherwise {
                    Some(otherwise) => Some(self.operand(otherwise, &inferred.labels, wanted)?),
                    None => None,
                },
            },
            Typed::Lookup { table, at, method } => {
                let all = vec![Taken::All; table.labels.dimensions.len()];
                let axes = table.labels.dimensions.iter();
                let axes: Vec<Vec<f64>> = axes
                    .map(|dimension| dimension.coordinate.numbers().unwrap_or_default().to_vec())
                    .collect();
                self.hold(axes.iter().map(Vec::len).sum())?;
                let table = Box::new(self.step(table, &all)?);
                let at = at.iter().map(|at| self.operand(at, &inferred.labels, wanted));
                Operation::Lookup { table, axes, at: at.collect::<Result<_, _>>()?, method: *method }
            }
            Typed::Concat { parts } => {
                let (along, rest) = match wanted {
                    [along, rest @ ..] => (along, rest),
                    [] => (&Taken::All, wanted),
                };
                if let Taken::One(place) = along {
                    let step = self.step(&parts[*place], rest)?;
                    return Ok(Step { data_type: inferred.data_type, ..step });
                }
                let count = along.count(parts.len()).unwrap_or(1);
                let mut order: Vec<usize> = (0..count).map(|place| along.place(place)).collect();
                self.hold(count)?;
                let mut needed = order.clone();
                needed.sort_unstable();
                needed.dedup();
                for part in &mut order {
                    *part = needed.partition_point(|&other| other < *part);
                }
                let parts =
                    needed.iter().map(|&part| self.step(&parts[part], rest)).collect::<Result<_, _>>()?;
                Operation::Concat { parts, order }
            }
            Typed::Transpose { of, axes } => {
                let mut below = vec![Taken::All; axes.len()];
                for (wanted, &axis) in wanted.iter().zip(axes) {
                    below[axis] = wanted.clone();
                }
                let of = Box::new(self.step(of, &below)?);
                let axes = axes
                    .iter()
                    .filter(|&&axis| !matches!(below[axis], Taken::One(_)))
                    .map(|&axis| remaining_axis(&below, axis))
                    .collect();
                Operation::Transpose { of, axes }
            }
            Typed::Expand { of } => Operation::Repeat { of: self.operand(of, &inferred.labels, wanted)? },
            Typed::Resample { of, mesh, method, fill } => {
                let mut grid: [Vec<f64>; 3] = Default::default();
                let mut kept = [true; 3];
                for (axis, (values, wanted)) in grid.iter_mut().zip(wanted).enumerate() {
                    let numbers = inferred.labels.dimensions[axis].coordinate.numbers().unwrap_or_default();
                    let count = wanted.count(numbers.len());
                    kept[axis] = count.is_some();
                    values.extend((0..count.unwrap_or(1)).map(|place| numbers[wanted.place(place)]));
                    self.hold(values.len())?;
                }
                let mut below = wanted.get(3..).unwrap_or_default().to_vec();
                below.insert(0, Taken::All);
                let of = Box::new(self.step(of, &below)?);
                Operation::Resample { of, mesh: mesh.clone(), grid, kept, method: *method, fill: *fill }
            }
        };
        Ok(Step { shape, data_type: inferred.data_type, operation })
    }

    /// An operand of a result that has all its dimensions, and perhaps more.
    fn operand(
        &mut self,
        operand: &Inferred,
        labels: &Labels,
        wanted: &[Taken],
    ) -> Result<Operand, ExpressionError> {
        let mut below = vec![Taken::All; operand.labels.dimensions.len()];
        let mut own = Vec::with_capacity(wanted.len());
        for (dimension, wanted) in labels.dimensions.iter().zip(wanted) {
            let axis = operand.labels.axis(&dimension.name);
            if let Some(axis) = axis {
                below[axis] = wanted.clone();
            }
            if !matches!(wanted, Taken::One(_)) {
                own.push(axis);
            }
        }
        let axes = own.into_iter().map(|axis| axis.map(|axis| remaining_axis(&below, axis))).collect();
        Ok(Operand { step: Box::new(self.step(operand, &below)?), axes })
    }
}

/// The place of an axis among those that remain.
fn remaining_axis(taken: &[Taken], axis: usize) -> usize {
    taken[..axis].iter().filter(|taken| !matches!(taken, Taken::One(_))).count()
}

fn shape_of(labels: &Labels, wanted: &[Taken]) -> Vec<usize> {
    let extents = labels.dimensions.iter().map(|dimension| dimension.coordinate.len());
    extents.zip(wanted).filter_map(|(extent, wanted)| wanted.count(extent)).collect()
}

/// The values of an array in C order at the places that are wanted.
fn gather(values: &[f64], extents: &[usize], wanted: &[Taken], shape: &[usize]) -> Vec<f64> {
    if wanted.iter().all(|wanted| *wanted == Taken::All) {
        return values.to_vec();
    }
    let mut gathered = Vec::new();
    let mut counters = vec![0_usize; shape.len()];
    let count: usize = shape.iter().product();
    for _ in 0..count {
        let mut kept = counters.iter();
        let place = wanted.iter().zip(extents).fold(0, |place, (wanted, extent)| {
            let at = if matches!(wanted, Taken::One(_)) { 0 } else { kept.next().copied().unwrap_or(0) };
            place * extent + wanted.place(at)
        });
        gathered.push(values[place]);
        for (counter, extent) in counters.iter_mut().zip(shape).rev() {
            *counter += 1;
            if *counter < *extent {
                break;
            }
            *counter = 0;
        }
    }
    gathered
}
