//! Reading the fields of a medium's JSON, with errors that name the path.

use num_complex::Complex64;
use serde_json::{Map, Value};

use super::error::MediumError;

/// Beyond this magnitude no parameter of a medium makes sense (the client draws the line there, too).
pub(crate) const LARGEST: f64 = 1e38;

/// One JSON object and where it stands in the document.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) map: &'a Map<String, Value>,
    pub(crate) path: &'a str,
}

/// The path of a member of a value: a field name or an index.
pub(crate) fn join(path: &str, member: impl std::fmt::Display) -> String {
    if path.is_empty() { member.to_string() } else { format!("{path}/{member}") }
}

/// A finite number that is not absurdly large.
pub(crate) fn number(value: &Value, path: &str) -> Result<f64, MediumError> {
    let number = value
        .as_f64()
        .filter(|number| number.is_finite())
        .ok_or_else(|| MediumError::invalid(path, "a finite number is expected"))?;
    if number.abs() > LARGEST {
        return Err(MediumError::invalid(path, format!("no parameter may exceed {LARGEST:e}")));
    }
    Ok(number)
}

/// A complex number: an object of `real` and `imag`, or a real number.
pub(super) fn complex(value: &Value, path: &str) -> Result<Complex64, MediumError> {
    match value {
        Value::Object(map) => {
            let part = |name: &str| {
                let path = join(path, name);
                map.get(name).map_or_else(
                    || Err(MediumError::invalid(path.as_str(), "a part of a complex number is missing")),
                    |value| number(value, &path),
                )
            };
            Ok(Complex64::new(part("real")?, part("imag")?))
        }
        _ => Ok(Complex64::new(number(value, path)?, 0.0)),
    }
}

/// The elements of a JSON list.
pub(crate) fn list<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], MediumError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(MediumError::invalid(path, "a list is expected")),
    }
}

/// A list of exactly `N` elements.
pub(crate) fn elements<'a, const N: usize>(
    value: &'a Value,
    path: &str,
) -> Result<&'a [Value; N], MediumError> {
    let values = list(value, path)?;
    values
        .try_into()
        .map_err(|_| MediumError::invalid(path, format!("{N} elements are expected, not {}", values.len())))
}

/// A matrix of three rows of three numbers.
pub(super) fn matrix(value: &Value, path: &str) -> Result<[[f64; 3]; 3], MediumError> {
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

impl<'a> Fields<'a> {
    pub(crate) fn of(value: &'a Value, path: &'a str) -> Result<Self, MediumError> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            _ => Err(MediumError::invalid(path, "an object is expected")),
        }
    }

    /// The path of a field of this object.
    pub(crate) fn path_of(&self, name: &str) -> String {
        join(self.path, name)
    }

    /// A field that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&'a Value, MediumError> {
        self.optional(name)
            .ok_or_else(|| MediumError::invalid(self.path, format!("the field `{name}` is missing")))
    }

    /// A field that may be absent or null.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a str, MediumError> {
        self.required(name)?
            .as_str()
            .ok_or_else(|| MediumError::invalid(self.path_of(name), "a string is expected"))
    }

    pub(crate) fn number_or(&self, name: &str, default: f64) -> Result<f64, MediumError> {
        self.optional(name).map_or(Ok(default), |value| number(value, &self.path_of(name)))
    }

    /// A flag, false by default.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, MediumError> {
        self.flag_or(name, false)
    }

    pub(crate) fn flag_or(&self, name: &str, default: bool) -> Result<bool, MediumError> {
        self.optional(name).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| MediumError::invalid(self.path_of(name), "true or false is expected"))
        })
    }
}
