//! Identifiers: text with a checked alphabet, one type per kind of thing so that they cannot be mixed up.

use std::fmt;
use std::str::FromStr;

/// The text cannot be an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identifier has 1 to {MAXIMUM_LENGTH} letters, digits, `-` or `_`")]
pub struct NotAnId;

/// Longest identifier that is accepted.
pub const MAXIMUM_LENGTH: usize = 64;

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAXIMUM_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

macro_rules! identifier {
    ($(#[$documentation:meta])* $name:ident, $prefix:literal) => {
        $(#[$documentation])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(into = "String", try_from = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
        pub struct $name(String);

        impl $name {
            /// An identifier from 128 bits, usually a version 7 UUID so that later ones sort later.
            pub fn from_uuid(uuid: uuid::Uuid) -> Self {
                Self(format!("{}-{}", $prefix, uuid.simple()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                if is_identifier(text) { Ok(Self(text.to_owned())) } else { Err(NotAnId) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<Self, NotAnId> {
                if is_identifier(&text) { Ok(Self(text)) } else { Err(NotAnId) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

identifier!(
    /// A task.
    TaskId,
    "task"
);
identifier!(
    /// A named batch of tasks.
    BatchId,
    "batch"
);
identifier!(
    /// A folder of tasks ("project" in the words of the tidy3d client).
    FolderId,
    "folder"
);
identifier!(
    /// A key, and so an account: a key sees its own tasks and no others.
    KeyId,
    "key"
);
identifier!(
    /// A worker process.
    WorkerId,
    "worker"
);
identifier!(
    /// One worker's right to run one attempt of one task until it expires.
    LeaseId,
    "lease"
);
