//! Reading the fields of a medium's JSON, with errors that name the path.

use num_complex::Complex64;
use serde_json::Value;

use crate::reading::{Fields, Part, SceneError, join};

/// Beyond this magnitude no parameter of a medium makes sense (the client draws the line there, too).
pub(crate) const LARGEST: f64 = 1e38;

/// A finite number that is not absurdly large.
pub(crate) fn number(value: &Value, path: &str) -> Result<f64, SceneError> {
    let number = value
        .as_f64()
        .filter(|number| number.is_finite())
        .ok_or_else(|| Part::Medium.invalid(path, "a finite number is expected"))?;
    if number.abs() > LARGEST {
        return Err(Part::Medium.invalid(path, format!("no parameter may exceed {LARGEST:e}")));
    }
    Ok(number)
}

/// A complex number: an object of `real` and `imag`, or a real number.
pub(super) fn complex(value: &Value, path: &str) -> Result<Complex64, SceneError> {
    match value {
        Value::Object(map) => {
            let part = |name: &str| {
                let path = join(path, name);
                map.get(name).map_or_else(
                    || Err(Part::Medium.invalid(path.as_str(), "a part of a complex number is missing")),
                    |value| number(value, &path),
                )
            };
            Ok(Complex64::new(part("real")?, part("imag")?))
        }
        _ => Ok(Complex64::new(number(value, path)?, 0.0)),
    }
}

/// A list of exactly `N` elements.
pub(crate) fn elements<'a, const N: usize>(
    value: &'a Value,
    path: &str,
) -> Result<&'a [Value; N], SceneError> {
    let values = Part::Medium.list(value, path)?;
    values
        .try_into()
        .map_err(|_| Part::Medium.invalid(path, format!("{N} elements are expected, not {}", values.len())))
}

/// A matrix of three rows of three numbers.
pub(super) fn matrix(value: &Value, path: &str) -> Result<[[f64; 3]; 3], SceneError> {
    let rows: &[Value; 3] = elements(value, path)?;
    let mut matrix = [[0.0; 3]; 3];
    for (row, (entries, value)) in matrix.iter_mut().zip(rows).enumerate() {
        let path = join(path, row);
        let values: &[Value; 3] = elements(value, &path)?;
        for (column, (entry, value)) in entries.iter_mut().zip(values).enumerate() {
            *entry = number(value, &join(&path, column))?;
        }
    }
    Ok(matrix)
}

impl Fields<'_> {
    /// A finite number with a default.
    pub(crate) fn number_or(&self, name: &str, default: f64) -> Result<f64, SceneError> {
        self.optional(name).map_or(Ok(default), |value| number(value, &self.path_of(name)))
    }

    /// A flag, false by default.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, SceneError> {
        self.flag_or(name, false)
    }

    pub(crate) fn flag_or(&self, name: &str, default: bool) -> Result<bool, SceneError> {
        self.optional(name).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| Part::Medium.invalid(self.path_of(name), "true or false is expected"))
        })
    }
}
