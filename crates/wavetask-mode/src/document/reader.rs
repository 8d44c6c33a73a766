//! Reading fields of the client's JSON with their path, collecting every complaint instead of the first.

use serde_json::Value;

use crate::error::Refusal;

/// Beyond this magnitude no quantity of a mode solver makes sense, and squares and quotients would overflow.
const LARGEST: f64 = 1e40;

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

    /// A field that must be there.
    pub(crate) fn field<'a>(&mut self, value: &'a Value, key: &str, path: &str) -> Option<&'a Value> {
        let found = present(value, key);
        if found.is_none() {
            self.refuse(join(path, key), "missing field", format!("`{key}` is missing"));
        }
        found
    }

    /// A number that may be infinite, written as the client writes it (`"Infinity"`, `"-Infinity"`).
    fn extended(&mut self, value: &Value, path: &str) -> Option<f64> {
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

    /// A finite number, or `None` without a complaint if the field is missing or `null`.
    pub(crate) fn optional(&mut self, value: &Value, key: &str, path: &str) -> Option<f64> {
        self.finite(present(value, key)?, &join(path, key))
    }

    /// A finite number with a default for a missing field.
    pub(crate) fn finite_or(&mut self, value: &Value, key: &str, default: f64, path: &str) -> f64 {
        self.optional(value, key, path).unwrap_or(default)
    }

    /// A truth value with a default for a missing field.
    pub(crate) fn flag_or(&mut self, value: &Value, key: &str, default: bool, path: &str) -> bool {
        match present(value, key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.refuse(join(path, key), "malformed input", "true or false is expected here");
                default
            }
        }
    }

    /// A count with a default for a missing field.
    pub(crate) fn count_or(&mut self, value: &Value, key: &str, default: usize, path: &str) -> usize {
        let Some(found) = present(value, key) else { return default };
        self.count(found, &join(path, key)).unwrap_or(default)
    }

    /// A number of things.
    pub(crate) fn count(&mut self, value: &Value, path: &str) -> Option<usize> {
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        if count.is_none() {
            self.refuse(path, "not a count", "a whole number of zero or more is expected here");
        }
        count
    }

    /// One of a few words, with a default for a missing field.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        value: &Value,
        key: &str,
        path: &str,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(found) = present(value, key) else { return default };
        let chosen = found.as_str().and_then(|text| choices.iter().find(|(word, _)| *word == text));
        if let Some((_, chosen)) = chosen {
            return *chosen;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.refuse(
            join(path, key),
            "unknown choice",
            format!("`{key}` is one of {}, not {found}", words.join(", ")),
        );
        default
    }

    /// Three numbers, finite or infinite; a missing field has a default.
    pub(crate) fn triple_or(
        &mut self,
        value: &Value,
        key: &str,
        default: Option<[f64; 3]>,
        path: &str,
    ) -> Option<[f64; 3]> {
        let path = join(path, key);
        if let (None, Some(default)) = (present(value, key), default) {
            return Some(default);
        }
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

    /// A list of finite numbers.
    pub(crate) fn numbers(&mut self, value: &Value, key: &str, path: &str) -> Option<Vec<f64>> {
        let found = self.field(value, key, path)?;
        let path = join(path, key);
        let Some(items) = found.as_array() else {
            self.refuse(path, "malformed input", "a list of numbers is expected here");
            return None;
        };
        items.iter().enumerate().map(|(index, item)| self.finite(item, &format!("{path}[{index}]"))).collect()
    }
}

/// A field that is there and not `null`.
pub(crate) fn present<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|found| !found.is_null())
}

/// The class name in the `type` field; empty if there is none.
pub(crate) fn class_of(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// A path below another.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
