//! The fields of a JSON object, with errors that name the path.

use serde_json::{Map, Value};
use wavetask_document::{Array, ArraySource};

use super::error::{Fault, Part, SceneError};

/// One JSON object, what it describes, and where it stands in the document.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) map: &'a Map<String, Value>,
    pub(crate) path: &'a str,
    pub(crate) part: Part,
}

/// The path of a member of a value: a field name or an index.
pub(crate) fn join(path: &str, member: impl std::fmt::Display) -> String {
    if path.is_empty() { member.to_string() } else { format!("{path}/{member}") }
}

impl Part {
    /// The elements of a JSON list.
    pub(crate) fn list<'a>(self, value: &'a Value, path: &str) -> Result<&'a [Value], SceneError> {
        match value {
            Value::Array(values) => Ok(values),
            _ => Err(self.invalid(path, "a list is expected")),
        }
    }

    /// An array of the part at `path`, which the document must hold at `array`.
    pub(crate) fn load(self, arrays: &dyn ArraySource, path: &str, array: &str) -> Result<Array, SceneError> {
        match arrays.load(array) {
            Ok(Some(array)) => Ok(array),
            Ok(None) => Err(self.error(path, Fault::MissingArray { array: array.to_owned() })),
            Err(source) => Err(self.error(path, Fault::UnreadableArray(source))),
        }
    }
}

impl<'a> Fields<'a> {
    /// The fields of a part, or of something in it.
    pub(crate) fn of(part: Part, value: &'a Value, path: &'a str) -> Result<Self, SceneError> {
        match value {
            Value::Object(map) => Ok(Self { map, path, part }),
            _ => Err(part.invalid(path, "an object is expected")),
        }
    }

    /// The path of a field of this object.
    pub(crate) fn path_of(&self, name: &str) -> String {
        join(self.path, name)
    }

    /// A field that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&'a Value, SceneError> {
        self.optional(name)
            .ok_or_else(|| self.part.invalid(self.path, format!("the field `{name}` is missing")))
    }

    /// A field that may be absent or null.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A text that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<&'a str, SceneError> {
        self.required(name)?
            .as_str()
            .ok_or_else(|| self.part.invalid(self.path_of(name), "a string is expected"))
    }
}
