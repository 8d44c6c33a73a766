//! Reading fields of the client's JSON with their path, collecting every complaint instead of the first.

use serde_json::{Map, Value};

use crate::error::Refusal;

/// Beyond this magnitude no quantity in µm, K or W makes sense, and squares and quotients would overflow.
pub(crate) const LARGEST: f64 = 1e40;

/// Collects refusals while fields are read; a missing or wrong field gives `None` and one refusal.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) refusals: Vec<Refusal>,
}

impl Reader {
    pub(crate) fn refuse(
        &mut self,
        path: impl Into<String>,
        feature: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.refusals.push(Refusal { path: path.into(), feature: feature.into(), message: message.into() });
    }

    /// A JSON object.
    pub(crate) fn object<'a>(&mut self, value: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.refuse(path, "malformed input", "an object is expected here");
        }
        object
    }

    /// A field that must be there.
    pub(crate) fn field<'a>(&mut self, value: &'a Value, key: &str, path: &str) -> Option<&'a Value> {
        let found = value.get(key).filter(|found| !found.is_null());
        if found.is_none() {
            self.refuse(join(path, key), "missing field", format!("`{key}` is missing"));
        }
        found
    }

    /// The elements of an array field; a missing field is an empty list.
    pub(crate) fn list<'a>(&mut self, value: &'a Value, key: &str, path: &str) -> &'a [Value] {
        match value.get(key) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.refuse(join(path, key), "malformed input", "a list is expected here");
                &[]
            }
        }
    }

    /// A number that may be infinite, written as the client writes it (`"Infinity"`, `"-Infinity"`).
    pub(crate) fn extended(&mut self, value: &Value, path: &str) -> Option<f64> {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => match text.as_str() {
                "Infinity" | "inf" => Some(f64::INFINITY),
                "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            _ => None,
        }
        .filter(|number| !number.is_nan());
        match number {
            None => self.refuse(path, "not a number", "a number is expected here"),
            Some(number) if number.is_finite() && number.abs() > LARGEST => {
                self.refuse(path, "number out of range", format!("no quantity may exceed {LARGEST:e}"));
                return None;
            }
            Some(_) => {}
        }
        number
    }

    /// A finite number.
    pub(crate) fn finite(&mut self, value: &Value, path: &str) -> Option<f64> {
        let number = self.extended(value, path)?;
        if number.is_infinite() {
            self.refuse(path, "infinite value", "a finite number is expected here");
            return None;
        }
        Some(number)
    }

    /// A finite number in a field that must be there.
    pub(crate) fn finite_field(&mut self, value: &Value, key: &str, path: &str) -> Option<f64> {
        let found = self.field(value, key, path)?;
        self.finite(found, &join(path, key))
    }

    /// A finite number above zero in a field that must be there.
    pub(crate) fn positive_field(&mut self, value: &Value, key: &str, path: &str) -> Option<f64> {
        let number = self.finite_field(value, key, path)?;
        if number >= 1.0 / LARGEST {
            return Some(number);
        }
        self.refuse(
            join(path, key),
            "value not positive",
            format!("`{key}` must be above zero, not {number}"),
        );
        None
    }

    /// A finite number of zero or more with a default for a missing field.
    pub(crate) fn non_negative_or(&mut self, value: &Value, key: &str, default: f64, path: &str) -> f64 {
        let Some(found) = value.get(key).filter(|found| !found.is_null()) else { return default };
        match self.finite(found, &join(path, key)) {
            Some(number) if number >= 0.0 => number,
            Some(number) => {
                self.refuse(
                    join(path, key),
                    "negative value",
                    format!("`{key}` must not be negative, but is {number}"),
                );
                default
            }
            None => default,
        }
    }

    /// Three numbers, finite or infinite.
    pub(crate) fn extended_triple(&mut self, value: &Value, key: &str, path: &str) -> Option<[f64; 3]> {
        let path = join(path, key);
        let items = value.get(key).and_then(Value::as_array).filter(|items| items.len() == 3);
        let Some(items) = items else {
            self.refuse(path, "malformed input", "three numbers are expected here");
            return None;
        };
        let mut triple = [0.0; 3];
        for (axis, item) in items.iter().enumerate() {
            triple[axis] = self.extended(item, &format!("{path}[{axis}]"))?;
        }
        Some(triple)
    }

    /// Three finite numbers.
    pub(crate) fn finite_triple(&mut self, value: &Value, key: &str, path: &str) -> Option<[f64; 3]> {
        let triple = self.extended_triple(value, key, path)?;
        if triple.iter().all(|number| number.is_finite()) {
            return Some(triple);
        }
        self.refuse(join(path, key), "infinite value", "finite numbers are expected here");
        None
    }

    /// A text in a field that must be there.
    pub(crate) fn text_field<'a>(&mut self, value: &'a Value, key: &str, path: &str) -> Option<&'a str> {
        let found = self.field(value, key, path)?;
        let text = found.as_str();
        if text.is_none() {
            self.refuse(join(path, key), "malformed input", "a text is expected here");
        }
        text
    }

    /// A list of texts; a missing field is an empty list.
    pub(crate) fn text_list(&mut self, value: &Value, key: &str, path: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (index, item) in self.list(value, key, path).iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.refuse(
                    format!("{}[{index}]", join(path, key)),
                    "malformed input",
                    "a text is expected here",
                ),
            }
        }
        texts
    }
}

/// The class name in the `type` field; empty if there is none.
pub(crate) fn class_of(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// A path below another.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
