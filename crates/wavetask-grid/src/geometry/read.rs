//! Reading the fields of a geometry's JSON, with errors that name the path.
//!
//! The client writes infinities as the strings `"Infinity"` and `"-Infinity"`, because JSON has no
//! literal for them. Not-a-number is refused everywhere: no shape has a meaning with one in it.

use serde_json::{Map, Value};

use super::error::GeometryError;

/// One JSON object and where it stands in the document.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) path: &'a str,
}

/// The path of a member of a value: a field name or an index.
pub(super) fn join(path: &str, member: impl std::fmt::Display) -> String {
    if path.is_empty() { member.to_string() } else { format!("{path}/{member}") }
}

/// A number: a JSON number or one of the strings that stand for infinities.
pub(super) fn number(value: &Value, path: &str) -> Result<f64, GeometryError> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "Infinity" | "inf" => Some(f64::INFINITY),
            "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    };
    number
        .filter(|number| !number.is_nan())
        .ok_or_else(|| GeometryError::invalid(path, "a number is expected"))
}

/// A number that is not infinite.
pub(super) fn finite(value: &Value, path: &str) -> Result<f64, GeometryError> {
    let number = number(value, path)?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(GeometryError::invalid(path, "a finite number is expected"))
    }
}

/// The elements of a JSON list.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], GeometryError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(GeometryError::invalid(path, "a list is expected")),
    }
}

/// A list of exactly `N` numbers, each read by `read`.
pub(super) fn numbers<const N: usize>(
    value: &Value,
    path: &str,
    read: fn(&Value, &str) -> Result<f64, GeometryError>,
) -> Result<[f64; N], GeometryError> {
    let values = list(value, path)?;
    if values.len() != N {
        return Err(GeometryError::invalid(path, format!("{N} numbers are expected, not {}", values.len())));
    }
    let mut numbers = [0.0; N];
    for (index, (number, value)) in numbers.iter_mut().zip(values).enumerate() {
        *number = read(value, path).map_err(|_| match read(value, &join(path, index)) {
            Err(error) => error,
            Ok(_) => GeometryError::invalid(path, "a number is expected"),
        })?;
    }
    Ok(numbers)
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, path: &'a str) -> Result<Self, GeometryError> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            _ => Err(GeometryError::invalid(path, "an object is expected")),
        }
    }

    /// The path of a field of this object.
    pub(super) fn path_of(&self, name: &str) -> String {
        join(self.path, name)
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&'a Value, GeometryError> {
        self.optional(name)
            .ok_or_else(|| GeometryError::invalid(self.path, format!("the field `{name}` is missing")))
    }

    /// A field that may be absent or null.
    pub(super) fn optional(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, GeometryError> {
        self.required(name)?
            .as_str()
            .ok_or_else(|| GeometryError::invalid(self.path_of(name), "a string is expected"))
    }

    pub(super) fn finite_or(&self, name: &str, default: f64) -> Result<f64, GeometryError> {
        self.optional(name).map_or(Ok(default), |value| finite(value, &self.path_of(name)))
    }

    /// A finite number that is not negative.
    pub(super) fn finite_size(&self, name: &str) -> Result<f64, GeometryError> {
        let size = finite(self.required(name)?, &self.path_of(name))?;
        if size < 0.0 {
            return Err(GeometryError::invalid(self.path_of(name), "a size cannot be negative"));
        }
        Ok(size)
    }

    /// A number that is not negative; infinity is a size.
    pub(super) fn size(&self, name: &str) -> Result<f64, GeometryError> {
        let size = number(self.required(name)?, &self.path_of(name))?;
        if size < 0.0 {
            return Err(GeometryError::invalid(self.path_of(name), "a size cannot be negative"));
        }
        Ok(size)
    }

    /// The centre of a shape: three finite numbers, the origin by default.
    pub(super) fn center(&self) -> Result<[f64; 3], GeometryError> {
        self.optional("center").map_or(Ok([0.0; 3]), |value| numbers(value, &self.path_of("center"), finite))
    }

    /// The axis of an extruded shape, z by default.
    pub(super) fn axis(&self) -> Result<usize, GeometryError> {
        match self.optional("axis").map(Value::as_u64) {
            None => Ok(2),
            Some(Some(0)) => Ok(0),
            Some(Some(1)) => Ok(1),
            Some(Some(2)) => Ok(2),
            Some(_) => Err(GeometryError::invalid(self.path_of("axis"), "an axis is 0, 1 or 2")),
        }
    }
}
