//! Steps of a plan, one after the other.

use num_complex::Complex;
use wavetask_document::expression::{DataType, ExpressionError, Operand, Operation, Plan, Step};

use crate::arrange::{gather, strides};
use crate::mesh::{Sampling, geometry_of, resample};
use crate::read::{Reader, read, transpose};
use crate::{Evaluated, Numbers, arithmetic, interpolate, lookup, reduce};

/// Computes the value of an expression.
///
/// Memory: what the plan's limits allow for the arrays on the way; each is freed once it has been used.
///
/// # Errors
/// `Field` if a field cannot be read or is no longer what the plan was made for, `Invalid` where a value decides that
/// the result is not defined: the place of the largest of nothing but NaN.
pub fn evaluate(plan: &Plan, reader: &dyn Reader) -> Result<Evaluated, ExpressionError> {
    let values = step(&plan.step, reader)?;
    Ok(Evaluated { labels: plan.labels.clone(), data_type: plan.step.data_type, values })
}

fn step(this: &Step, reader: &dyn Reader) -> Result<Numbers, ExpressionError> {
    let numbers = match &this.operation {
        Operation::Literal { values, imaginary: None } => Numbers::Real(values.clone()),
        Operation::Literal { values, imaginary: Some(imaginary) } => Numbers::Complex(
            values.iter().zip(imaginary).map(|(&real, &imaginary)| Complex::new(real, imaginary)).collect(),
        ),
        Operation::Read { field, taken } => {
            let numbers = read(reader, field, taken)?;
            if matches!(numbers, Numbers::Complex(_)) && this.data_type != DataType::Complex {
                let source = "its elements are complex and were not when the plan was made".into();
                return Err(ExpressionError::Field { field: field.to_string(), source });
            }
            numbers
        }
        Operation::Interpolate { of, axis, samples, .. } => {
            interpolate::interpolate(&step(of, reader)?, &of.shape, *axis, samples)
        }
        Operation::Unary { function, of } => arithmetic::unary(*function, step(of, reader)?),
        Operation::Binary { function, left, right } => {
            let left = operand(left, &this.shape, reader)?;
            arithmetic::binary(*function, left, operand(right, &this.shape, reader)?)
        }
        Operation::Reduce { function, of, axes, skip_nan } => {
            reduce::reduce(*function, &step(of, reader)?, &of.shape, axes, *skip_nan)?
        }
        Operation::Where { of, condition, otherwise } => {
            let of = operand(of, &this.shape, reader)?;
            let condition = operand(condition, &this.shape, reader)?;
            let otherwise = match otherwise {
                Some(otherwise) => Some(operand(otherwise, &this.shape, reader)?),
                None => None,
            };
            choose(of, &condition, otherwise)
        }
        Operation::Lookup { table, axes, at, method } => {
            let table = step(table, reader)?;
            let mut places = Vec::with_capacity(at.len());
            for at in at {
                let Numbers::Real(values) = operand(at, &this.shape, reader)? else {
                    return Err(ExpressionError::invalid("lookup", "a place in a table is a real number"));
                };
                places.push(values);
            }
            lookup::lookup(&table, axes, &places, *method)
        }
        Operation::Concat { parts, order } => {
            let parts = parts
                .iter()
                .map(|part| Ok(step(part, reader)?.widened(this.data_type)))
                .collect::<Result<Vec<_>, ExpressionError>>()?;
            concat(&parts, order, this.data_type)
        }
        Operation::Transpose { of, axes } => transpose(&step(of, reader)?, &of.shape, axes),
        Operation::Repeat { of } => operand(of, &this.shape, reader)?,
        Operation::Resample { of, mesh, grid, method, fill, .. } => {
            let geometry = geometry_of(reader, mesh)?;
            let values = step(of, reader)?;
            let width = of.shape[1..].iter().product();
            if of.shape[0] != geometry.point_count() {
                let source = "its mesh has another number of points than when the plan was made".into();
                return Err(ExpressionError::Field { field: mesh.field.to_string(), source });
            }
            resample(&geometry, &values, width, Sampling { grid, method: *method, fill: *fill })
        }
        other => {
            let what = format!("a step that is not known here: {other:?}");
            return Err(ExpressionError::invalid("expression", what));
        }
    };
    Ok(numbers.widened(this.data_type))
}

/// An operand in the result's shape.
fn operand(operand: &Operand, shape: &[usize], reader: &dyn Reader) -> Result<Numbers, ExpressionError> {
    let numbers = step(&operand.step, reader)?;
    let same = operand.axes.iter().enumerate().all(|(at, axis)| *axis == Some(at));
    if same {
        return Ok(numbers);
    }
    let own = strides(&operand.step.shape);
    let strides: Vec<usize> = operand.axes.iter().map(|axis| axis.map_or(0, |axis| own[axis])).collect();
    Ok(match &numbers {
        Numbers::Real(values) => Numbers::Real(gather(values, 0, &strides, shape)),
        Numbers::Complex(values) => Numbers::Complex(gather(values, 0, &strides, shape)),
    })
}

fn choose(of: Numbers, condition: &Numbers, otherwise: Option<Numbers>) -> Numbers {
    // A condition is real: inference takes nothing else.
    let Numbers::Real(condition) = condition else { return of };
    match (of, otherwise) {
        (Numbers::Real(mut values), None) => {
            let left_out = values.iter_mut().zip(condition).filter(|(_, holds)| **holds == 0.0);
            left_out.for_each(|(value, _)| *value = f64::NAN);
            Numbers::Real(values)
        }
        (Numbers::Complex(mut values), None) => {
            let left_out = values.iter_mut().zip(condition).filter(|(_, holds)| **holds == 0.0);
            left_out.for_each(|(value, _)| *value = Complex::new(f64::NAN, f64::NAN));
            Numbers::Complex(values)
        }
        (Numbers::Real(values), Some(Numbers::Real(others))) => {
            Numbers::Real(merge(values, condition, others))
        }
        (values, Some(others)) => {
            Numbers::Complex(merge(values.into_complex(), condition, others.into_complex()))
        }
    }
}

fn merge<T>(values: Vec<T>, condition: &[f64], others: Vec<T>) -> Vec<T> {
    let triples = values.into_iter().zip(others).zip(condition);
    triples.map(|((value, other), &holds)| if holds == 0.0 { other } else { value }).collect()
}

fn concat(parts: &[Numbers], order: &[usize], data_type: DataType) -> Numbers {
    // All parts have been brought to the width of the result.
    let mut real = Vec::new();
    let mut complex = Vec::new();
    for &part in order {
        match &parts[part] {
            Numbers::Real(values) => real.extend_from_slice(values),
            Numbers::Complex(values) => complex.extend_from_slice(values),
        }
    }
    if data_type == DataType::Complex { Numbers::Complex(complex) } else { Numbers::Real(real) }
}
