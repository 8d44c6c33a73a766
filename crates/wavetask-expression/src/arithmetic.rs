//! Functions of one and of two elements.

use num_complex::Complex;
use wavetask_document::expression::{BinaryFunction, UnaryFunction};

use crate::Numbers;

type C = Complex<f64>;

/// A function of each element.
pub(crate) fn unary(function: UnaryFunction, of: Numbers) -> Numbers {
    match of {
        Numbers::Real(mut values) => {
            let each: fn(f64) -> f64 = match function {
                UnaryFunction::Negative => |value| -value,
                UnaryFunction::Absolute => f64::abs,
                UnaryFunction::Real | UnaryFunction::Conjugate => return Numbers::Real(values),
                UnaryFunction::Imaginary => |_| 0.0,
                UnaryFunction::Angle => |value| 0.0_f64.atan2(value),
            };
            values.iter_mut().for_each(|value| *value = each(*value));
            Numbers::Real(values)
        }
        Numbers::Complex(mut values) => {
            let each: fn(C) -> f64 = match function {
                UnaryFunction::Negative | UnaryFunction::Conjugate => {
                    let each: fn(C) -> C = if function == UnaryFunction::Negative {
                        |value| -value
                    } else {
                        |value| value.conj()
                    };
                    values.iter_mut().for_each(|value| *value = each(*value));
                    return Numbers::Complex(values);
                }
                UnaryFunction::Absolute => |value| value.re.hypot(value.im),
                UnaryFunction::Real => |value| value.re,
                UnaryFunction::Imaginary => |value| value.im,
                UnaryFunction::Angle => |value| value.im.atan2(value.re),
            };
            Numbers::Real(values.into_iter().map(each).collect())
        }
    }
}

/// A function of two elements at the same place of arrays of equal length.
pub(crate) fn binary(function: BinaryFunction, left: Numbers, right: Numbers) -> Numbers {
    match (left, right) {
        (Numbers::Real(left), Numbers::Real(right)) => {
            let truth = |condition: bool| f64::from(u8::from(condition));
            Numbers::Real(match function {
                BinaryFunction::Add => zip(left, &right, |a, b| a + b),
                BinaryFunction::Subtract => zip(left, &right, |a, b| a - b),
                BinaryFunction::Multiply => zip(left, &right, |a, b| a * b),
                BinaryFunction::Divide => zip(left, &right, |a, b| a / b),
                BinaryFunction::Power => zip(left, &right, f64::powf),
                BinaryFunction::Equal => zip(left, &right, |a, b| truth(a == b)),
                BinaryFunction::NotEqual => zip(left, &right, |a, b| truth(a != b)),
                BinaryFunction::Less => zip(left, &right, |a, b| truth(a < b)),
                BinaryFunction::LessOrEqual => zip(left, &right, |a, b| truth(a <= b)),
                BinaryFunction::Greater => zip(left, &right, |a, b| truth(a > b)),
                BinaryFunction::GreaterOrEqual => zip(left, &right, |a, b| truth(a >= b)),
            })
        }
        (left, right) => {
            let (left, right) = (left.into_complex(), right.into_complex());
            let each: fn(C, C) -> C = match function {
                BinaryFunction::Add => |a, b| a + b,
                BinaryFunction::Subtract => |a, b| a - b,
                BinaryFunction::Multiply => |a, b| a * b,
                BinaryFunction::Divide => divide,
                BinaryFunction::Power => power,
                // Complex numbers have no order; inference refuses what asks for it.
                comparison => {
                    let equal = comparison == BinaryFunction::Equal;
                    let truth = |(a, b): (C, &C)| f64::from(u8::from((a == *b) == equal));
                    return Numbers::Real(left.into_iter().zip(&right).map(truth).collect());
                }
            };
            Numbers::Complex(zip(left, &right, each))
        }
    }
}

fn zip<T: Copy>(mut left: Vec<T>, right: &[T], each: impl Fn(T, T) -> T) -> Vec<T> {
    left.iter_mut().zip(right).for_each(|(a, &b)| *a = each(*a, b));
    left
}

/// The quotient by Smith's method, which neither overflows nor underflows where the result does not; by zero it is what
/// the parts divided by zero are.
pub(crate) fn divide(a: C, b: C) -> C {
    if b.re == 0.0 && b.im == 0.0 {
        let zero = b.re.abs();
        return C::new(a.re / zero, a.im / zero);
    }
    if b.re.abs() >= b.im.abs() {
        let ratio = b.im / b.re;
        let scale = 1.0 / (b.re + b.im * ratio);
        C::new((a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale)
    } else {
        let ratio = b.re / b.im;
        let scale = 1.0 / (b.im + b.re * ratio);
        C::new((a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale)
    }
}

/// The power; of zero it is one, zero or not a number, and small integer powers are products.
fn power(a: C, b: C) -> C {
    const PRODUCTS: f64 = 100.0;
    if b.re == 0.0 && b.im == 0.0 {
        return C::new(1.0, 0.0);
    }
    if a.re == 0.0 && a.im == 0.0 {
        let zero = b.re > 0.0 && b.im == 0.0;
        return if zero { C::new(0.0, 0.0) } else { C::new(f64::NAN, f64::NAN) };
    }
    if b.im == 0.0 && b.re.fract() == 0.0 && b.re.abs() < PRODUCTS {
        let whole = a.powu(b.re.abs() as u32);
        return if b.re < 0.0 { divide(C::new(1.0, 0.0), whole) } else { whole };
    }
    a.powc(b)
}
