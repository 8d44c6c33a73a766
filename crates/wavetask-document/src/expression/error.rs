//! Why an expression has no value, grouped by what the caller does next.

/// An expression is refused, or cannot be judged yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// It means nothing for these arrays: a dimension that is not there, a label that is not among the coordinates.
    /// Write another.
    #[error("{operation}: {what}")]
    Invalid {
        /// The operation, by its name in the JSON.
        operation: &'static str,
        /// What is wrong.
        what: String,
    },
    /// It exceeds a limit. Split it, or ask for less.
    #[error("the expression is too large: {found} exceeds the limit {limit} = {allowed}")]
    TooLarge {
        /// The name of the field of [`ExpressionLimits`](super::ExpressionLimits).
        limit: &'static str,
        /// The limit's value.
        allowed: u64,
        /// What was found, at least.
        found: u64,
    },
    /// Labels depend on values that do not exist yet. Ask again when they do.
    #[error("not known yet: {what}")]
    NotKnown {
        /// What is not known.
        what: String,
    },
    /// A field that the expression names could not be found or read.
    #[error("the field {field} could not be read")]
    Field {
        /// The field.
        field: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ExpressionError {
    /// An expression that means nothing.
    pub fn invalid(operation: &'static str, what: impl Into<String>) -> Self {
        Self::Invalid { operation, what: what.into() }
    }

    /// A stable word for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "expression_invalid",
            Self::TooLarge { .. } => "expression_too_large",
            Self::NotKnown { .. } => "expression_not_known",
            Self::Field { .. } => "expression_field",
        }
    }

    /// What the reader of the message can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => {
                "Compare the dimensions and coordinates of what the operation is applied to."
            }
            Self::TooLarge { .. } => {
                "Select a smaller part first, or compute the expression in several steps."
            }
            Self::NotKnown { .. } => "Wait for the tasks that the expression refers to.",
            Self::Field { .. } => {
                "Check that the task exists, is done, and has a monitor and field of that name."
            }
        }
    }
}

/// Refuses `found` if it exceeds the limit.
pub(super) fn within(limit: &'static str, allowed: u64, found: u64) -> Result<(), ExpressionError> {
    if found > allowed { Err(ExpressionError::TooLarge { limit, allowed, found }) } else { Ok(()) }
}
