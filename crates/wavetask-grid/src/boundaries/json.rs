//! Reading fields of the client's JSON, with errors that name the path.

use serde_json::Value;

use super::error::GridError;

/// A JSON object and where it stands in the document.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
}

impl<'a> Node<'a> {
    pub(super) fn new(value: &'a Value, path: impl Into<String>) -> Self {
        Self { value, path: path.into() }
    }

    fn child(&self, value: &'a Value, name: impl std::fmt::Display) -> Self {
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}/{name}", self.path) };
        Self { value, path }
    }

    /// A field that may be missing or null.
    pub(super) fn optional(&self, name: &str) -> Option<Self> {
        self.value.get(name).filter(|value| !value.is_null()).map(|value| self.child(value, name))
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &str) -> Result<Self, GridError> {
        self.optional(name)
            .ok_or_else(|| GridError::invalid(self.path.as_str(), format!("the field `{name}` is missing")))
    }

    pub(super) fn invalid(&self, reason: impl Into<String>) -> GridError {
        GridError::invalid(self.path.as_str(), reason)
    }

    pub(super) fn unsupported(&self, what: impl Into<String>) -> GridError {
        GridError::unsupported(self.path.as_str(), what)
    }

    /// The value of the field `type`.
    pub(super) fn kind(&self) -> Result<&'a str, GridError> {
        self.required("type")?.text()
    }

    /// The kind cut to a length that fits into a message.
    pub(super) fn unsupported_kind(&self, what: &str) -> GridError {
        let kind: String = self.kind().unwrap_or("?").chars().take(64).collect();
        self.unsupported(format!("{what} `{kind}`"))
    }

    pub(super) fn text(&self) -> Result<&'a str, GridError> {
        self.value.as_str().ok_or_else(|| self.invalid("a string is expected"))
    }

    pub(super) fn truth(&self) -> Result<bool, GridError> {
        self.value.as_bool().ok_or_else(|| self.invalid("true or false is expected"))
    }

    pub(super) fn integer(&self) -> Result<i64, GridError> {
        self.value.as_i64().ok_or_else(|| self.invalid("an integer is expected"))
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Result<Vec<Self>, GridError> {
        let values = self.value.as_array().ok_or_else(|| self.invalid("a list is expected"))?;
        Ok(values.iter().enumerate().map(|(index, value)| self.child(value, index)).collect())
    }

    /// The elements of a list field; none if it is missing.
    pub(super) fn list_or_empty(&self, name: &str) -> Result<Vec<Self>, GridError> {
        self.optional(name).map_or_else(|| Ok(Vec::new()), |node| node.list())
    }

    /// A number; the client writes infinities as strings.
    pub(super) fn number(&self) -> Result<f64, GridError> {
        let number = match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => match text.as_str() {
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            _ => None,
        };
        number.filter(|number| !number.is_nan()).ok_or_else(|| self.invalid("a number is expected"))
    }

    pub(super) fn finite(&self) -> Result<f64, GridError> {
        let number = self.number()?;
        if number.is_finite() { Ok(number) } else { Err(self.invalid("a finite number is expected")) }
    }

    pub(super) fn positive(&self) -> Result<f64, GridError> {
        let number = self.number()?;
        if number > 0.0 { Ok(number) } else { Err(self.invalid("a number above zero is expected")) }
    }

    /// An axis, 0 to 2.
    pub(super) fn axis(&self) -> Result<usize, GridError> {
        match self.value.as_u64() {
            Some(0) => Ok(0),
            Some(1) => Ok(1),
            Some(2) => Ok(2),
            _ => Err(self.invalid("an axis is 0, 1 or 2")),
        }
    }

    /// A list of three values, each read by `read`.
    pub(super) fn three<T>(&self, read: impl Fn(&Self) -> Result<T, GridError>) -> Result<[T; 3], GridError> {
        let values = self.list()?.iter().map(read).collect::<Result<Vec<T>, _>>()?;
        values.try_into().map_err(|_| self.invalid("a list of three values is expected"))
    }

    /// As [`Self::three`], where null stands for nothing.
    pub(super) fn three_optional(
        &self,
        read: impl Fn(&Self) -> Result<f64, GridError>,
    ) -> Result<[Option<f64>; 3], GridError> {
        self.three(|node| if node.value.is_null() { Ok(None) } else { read(node).map(Some) })
    }

    /// A list of finite numbers.
    pub(super) fn numbers(&self, limit: usize) -> Result<Vec<f64>, GridError> {
        let values = self.list()?;
        if values.len() > limit {
            return Err(GridError::LimitExceeded { path: self.path.clone(), what: "numbers", limit });
        }
        values.iter().map(Self::finite).collect()
    }
}
