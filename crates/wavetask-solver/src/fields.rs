//! Reading fields of the client's JSON with their path, collecting every complaint instead of the first.

use serde_json::{Map, Value};

use crate::refusal::{Refusal, Refused};

/// Beyond this magnitude no quantity makes sense in the client's units, and squares and quotients would overflow.
pub const LARGEST: f64 = 1e40;

/// Collects refusals while fields are read; a missing or wrong field gives `None` (or its default) and one refusal.
///
/// Every method takes the object, the name of its field, and the object's own path in the client's notation.
#[derive(Debug, Default)]
pub struct Reader {
    refusals: Vec<Refusal>,
}

impl Reader {
    /// Notes a complaint.
    pub fn refuse(
        &mut self,
        path: impl Into<String>,
        feature: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.push(Refusal::new(path, feature, message));
    }

    /// Notes a complaint of another reader.
    pub fn push(&mut self, refusal: Refusal) {
        self.refusals.push(refusal);
    }

    /// The complaints so far.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// What was read, if there is no complaint.
    ///
    /// # Errors
    /// The complaints about the subject, such as `heat simulation`; `otherwise`, if nothing was read and nobody
    /// complained.
    pub fn finish<T>(self, subject: &'static str, read: Option<T>, otherwise: &str) -> Result<T, Refused> {
        match (Refused::from_refusals(subject, self.refusals), read) {
            (Some(refused), _) => Err(refused),
            (None, Some(read)) => Ok(read),
            (None, None) => Err(Refused::single(subject, Refusal::new("", "malformed input", otherwise))),
        }
    }

    /// A JSON object.
    pub fn object<'a>(&mut self, value: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.refuse(path, "malformed input", "an object is expected here");
        }
        object
    }

    /// A field that must be there.
    pub fn field<'a>(&mut self, value: &'a Value, key: &str, path: &str) -> Option<&'a Value> {
        let found = present(value, key);
        if found.is_none() {
            self.refuse(join(path, key), "missing field", format!("`{key}` is missing"));
        }
        found
    }

    /// The elements of an array field; a missing field is an empty list.
    pub fn list<'a>(&mut self, value: &'a Value, key: &str, path: &str) -> &'a [Value] {
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
    fn extended(&mut self, value: &Value, path: &str) -> Option<f64> {
        let number = wavetask_document::number(value);
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
    pub fn finite(&mut self, value: &Value, path: &str) -> Option<f64> {
        let number = self.extended(value, path)?;
        if number.is_infinite() {
            self.refuse(path, "infinite value", "a finite number is expected here");
            return None;
        }
        Some(number)
    }

    /// A finite number in a field that must be there.
    pub fn finite_field(&mut self, value: &Value, key: &str, path: &str) -> Option<f64> {
        let found = self.field(value, key, path)?;
        self.finite(found, &join(path, key))
    }

    /// A finite number above zero in a field that must be there.
    pub fn positive_field(&mut self, value: &Value, key: &str, path: &str) -> Option<f64> {
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

    /// A finite number, or `None` without a complaint if the field is missing or `null`.
    pub fn optional(&mut self, value: &Value, key: &str, path: &str) -> Option<f64> {
        self.finite(present(value, key)?, &join(path, key))
    }

    /// A finite number with a default for a missing field.
    pub fn finite_or(&mut self, value: &Value, key: &str, default: f64, path: &str) -> f64 {
        self.optional(value, key, path).unwrap_or(default)
    }

    /// A finite number of zero or more with a default for a missing field.
    pub fn non_negative_or(&mut self, value: &Value, key: &str, default: f64, path: &str) -> f64 {
        let number = self.finite_or(value, key, default, path);
        if number >= 0.0 {
            return number;
        }
        self.refuse(
            join(path, key),
            "negative value",
            format!("`{key}` must not be negative, but is {number}"),
        );
        default
    }

    /// A truth value with a default for a missing field.
    pub fn flag_or(&mut self, value: &Value, key: &str, default: bool, path: &str) -> bool {
        match present(value, key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.refuse(join(path, key), "malformed input", "true or false is expected here");
                default
            }
        }
    }

    /// A number of things.
    pub fn count(&mut self, value: &Value, path: &str) -> Option<usize> {
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        if count.is_none() {
            self.refuse(path, "not a count", "a whole number of zero or more is expected here");
        }
        count
    }

    /// A count with a default for a missing field.
    pub fn count_or(&mut self, value: &Value, key: &str, default: usize, path: &str) -> usize {
        let Some(found) = present(value, key) else { return default };
        self.count(found, &join(path, key)).unwrap_or(default)
    }

    /// One of a few words, with a default for a missing field.
    pub fn choice<T: Copy>(
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

    /// Three numbers, finite or infinite.
    pub fn extended_triple(&mut self, value: &Value, key: &str, path: &str) -> Option<[f64; 3]> {
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

    /// Three numbers, finite or infinite, with a default for a missing field.
    pub fn extended_triple_or(
        &mut self,
        value: &Value,
        key: &str,
        default: [f64; 3],
        path: &str,
    ) -> Option<[f64; 3]> {
        if present(value, key).is_none() {
            return Some(default);
        }
        self.extended_triple(value, key, path)
    }

    /// Three finite numbers.
    pub fn finite_triple(&mut self, value: &Value, key: &str, path: &str) -> Option<[f64; 3]> {
        let triple = self.extended_triple(value, key, path)?;
        if triple.iter().all(|number| number.is_finite()) {
            return Some(triple);
        }
        self.refuse(join(path, key), "infinite value", "finite numbers are expected here");
        None
    }

    /// A list of finite numbers.
    pub fn numbers(&mut self, value: &Value, key: &str, path: &str) -> Option<Vec<f64>> {
        let found = self.field(value, key, path)?;
        let path = join(path, key);
        let Some(items) = found.as_array() else {
            self.refuse(path, "malformed input", "a list of numbers is expected here");
            return None;
        };
        items.iter().enumerate().map(|(index, item)| self.finite(item, &format!("{path}[{index}]"))).collect()
    }

    /// A text in a field that must be there.
    pub fn text_field<'a>(&mut self, value: &'a Value, key: &str, path: &str) -> Option<&'a str> {
        let found = self.field(value, key, path)?;
        let text = found.as_str();
        if text.is_none() {
            self.refuse(join(path, key), "malformed input", "a text is expected here");
        }
        text
    }

    /// A list of texts; a missing field is an empty list.
    pub fn text_list(&mut self, value: &Value, key: &str, path: &str) -> Vec<String> {
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

/// A field that is there and not `null`.
pub fn present<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|found| !found.is_null())
}

/// The class name in the `type` field; empty if there is none.
pub fn class_of(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// A path below another, in the client's notation: `structures[2]` and `medium` are `structures[2].medium`.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(reader: &Reader) -> Vec<String> {
        reader.refusals().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_complaint_is_collected_and_names_its_place() {
        let mut reader = Reader::default();
        let value = json!({ "a": "Infinity", "b": -1.0, "c": 1e41, "d": [1.0, 2.0], "e": "maybe", "f": 1.5 });
        assert_eq!(reader.finite_field(&value, "a", "x"), None);
        assert_eq!(reader.non_negative_or(&value, "b", 2.0, "x"), 2.0);
        assert_eq!(reader.finite_or(&value, "c", 3.0, "x"), 3.0);
        assert_eq!(reader.extended_triple(&value, "d", "x"), None);
        assert!(reader.flag_or(&value, "e", true, "x"));
        assert_eq!(reader.count_or(&value, "f", 4, ""), 4);
        assert_eq!(reader.text_field(&value, "g", ""), None);
        assert_eq!(
            told(&reader),
            [
                "x.a: a finite number is expected here",
                "x.b: `b` must not be negative, but is -1",
                "x.c: no quantity may exceed 1e40",
                "x.d: three numbers are expected here",
                "x.e: true or false is expected here",
                "f: a whole number of zero or more is expected here",
                "g: `g` is missing",
            ]
        );
        let refused = reader.finish("scene", Some(()), "nothing").expect_err("complaints");
        assert_eq!(refused.refusals().len(), 7);
    }

    #[test]
    fn missing_and_null_fields_take_their_defaults_in_silence() {
        let mut reader = Reader::default();
        let value = json!({ "a": null });
        for key in ["a", "b"] {
            assert_eq!(reader.optional(&value, key, ""), None);
            assert_eq!(reader.non_negative_or(&value, key, 0.5, ""), 0.5);
            assert_eq!(reader.extended_triple_or(&value, key, [1.0; 3], ""), Some([1.0; 3]));
            assert_eq!(reader.choice(&value, key, "", &[("one", 1)], 7), 7);
            assert!(reader.list(&value, key, "").is_empty());
        }
        assert_eq!(reader.finish("scene", Some(5), "nothing"), Ok(5));
        let empty = Reader::default().finish::<()>("scene", None, "the scene could not be read");
        assert_eq!(
            empty.expect_err("nothing read").to_string(),
            "The scene is not accepted. (1) the scene could not be read"
        );
    }

    #[test]
    fn infinities_are_numbers_where_a_size_may_be_infinite() {
        let mut reader = Reader::default();
        let value = json!({ "size": ["Infinity", 1, "-inf"], "bad": ["NaN", 1, 2] });
        assert_eq!(reader.extended_triple(&value, "size", ""), Some([f64::INFINITY, 1.0, f64::NEG_INFINITY]));
        assert_eq!(reader.finite_triple(&value, "size", ""), None);
        assert_eq!(reader.extended_triple(&value, "bad", ""), None);
        assert_eq!(
            told(&reader),
            ["size: finite numbers are expected here", "bad[0]: a number is expected here"]
        );
    }
}
