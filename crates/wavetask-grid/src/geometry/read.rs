//! Reading the fields of a geometry's JSON, with errors that name the path.
//!
//! The client writes infinities as the strings `"Infinity"` and `"-Infinity"`, because JSON has no
//! literal for them. Not-a-number is refused everywhere: no shape has a meaning with one in it.

use serde_json::Value;

use crate::reading::{Fields, Part, SceneError, join};

/// A number: a JSON number or one of the strings that stand for infinities.
pub(super) fn number(value: &Value, path: &str) -> Result<f64, SceneError> {
    wavetask_document::number(value).ok_or_else(|| Part::Geometry.invalid(path, "a number is expected"))
}

/// A number that is not infinite.
pub(super) fn finite(value: &Value, path: &str) -> Result<f64, SceneError> {
    let number = number(value, path)?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(Part::Geometry.invalid(path, "a finite number is expected"))
    }
}

/// A list of exactly `N` numbers, each read by `read`.
pub(super) fn numbers<const N: usize>(
    value: &Value,
    path: &str,
    read: fn(&Value, &str) -> Result<f64, SceneError>,
) -> Result<[f64; N], SceneError> {
    let values = Part::Geometry.list(value, path)?;
    if values.len() != N {
        return Err(Part::Geometry.invalid(path, format!("{N} numbers are expected, not {}", values.len())));
    }
    let mut numbers = [0.0; N];
    for (index, (number, value)) in numbers.iter_mut().zip(values).enumerate() {
        *number = read(value, path).map_err(|_| match read(value, &join(path, index)) {
            Err(error) => error,
            Ok(_) => Part::Geometry.invalid(path, "a number is expected"),
        })?;
    }
    Ok(numbers)
}

impl Fields<'_> {
    /// A finite number with a default.
    pub(super) fn finite_or(&self, name: &str, default: f64) -> Result<f64, SceneError> {
        self.optional(name).map_or(Ok(default), |value| finite(value, &self.path_of(name)))
    }

    /// A finite number that is not negative.
    pub(super) fn finite_size(&self, name: &str) -> Result<f64, SceneError> {
        let size = finite(self.required(name)?, &self.path_of(name))?;
        if size < 0.0 {
            return Err(Part::Geometry.invalid(self.path_of(name), "a size cannot be negative"));
        }
        Ok(size)
    }

    /// A number that is not negative; infinity is a size.
    pub(super) fn size(&self, name: &str) -> Result<f64, SceneError> {
        let size = number(self.required(name)?, &self.path_of(name))?;
        if size < 0.0 {
            return Err(Part::Geometry.invalid(self.path_of(name), "a size cannot be negative"));
        }
        Ok(size)
    }

    /// The centre of a shape: three finite numbers, the origin by default.
    pub(super) fn center(&self) -> Result<[f64; 3], SceneError> {
        self.optional("center").map_or(Ok([0.0; 3]), |value| numbers(value, &self.path_of("center"), finite))
    }

    /// The axis of an extruded shape, z by default.
    pub(super) fn axis(&self) -> Result<usize, SceneError> {
        match self.optional("axis").map(Value::as_u64) {
            None => Ok(2),
            Some(Some(0)) => Ok(0),
            Some(Some(1)) => Ok(1),
            Some(Some(2)) => Ok(2),
            Some(_) => Err(Part::Geometry.invalid(self.path_of("axis"), "an axis is 0, 1 or 2")),
        }
    }
}
