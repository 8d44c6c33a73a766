//! What can go wrong with a document, grouped by what the caller does next.

use std::borrow::Cow;
use std::io;

/// A document could not be read, written or taken apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The bytes are not what they claim to be: damaged, truncated or hostile. Send it again, or
    /// not at all; retrying the same bytes fails the same way.
    #[error("malformed at {location}: {what}")]
    Malformed {
        /// What is wrong.
        what: Cow<'static, str>,
        /// Where: a path in the document or an offset in the file.
        location: String,
    },
    /// A limit was exceeded. Make it smaller, or raise the limit.
    #[error("too large: {found} exceeds the limit {limit} = {allowed}")]
    TooLarge {
        /// The name of the field of [`Limits`](crate::Limits).
        limit: &'static str,
        /// The limit's value.
        allowed: u64,
        /// What was found, at least.
        found: u64,
    },
    /// Well formed, as far as it was read, but a feature that is not supported. Write it another way.
    #[error("not supported at {location}: {what}")]
    Unsupported {
        /// The feature.
        what: Cow<'static, str>,
        /// Where it is used.
        location: String,
    },
    /// Reading or writing failed for reasons outside the document: a full disk, a missing block.
    #[error("input or output failed while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl DocumentError {
    pub(crate) fn malformed(what: impl Into<Cow<'static, str>>, location: impl Into<String>) -> Self {
        Self::Malformed { what: what.into(), location: location.into() }
    }

    pub(crate) fn unsupported(what: impl Into<Cow<'static, str>>, location: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), location: location.into() }
    }

    pub(crate) const fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// A stable word for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "document_malformed",
            Self::TooLarge { .. } => "document_too_large",
            Self::Unsupported { .. } => "document_unsupported",
            Self::Io { .. } => "document_io",
        }
    }

    /// What the reader of the message can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => {
                "The file is damaged or was not written by tidy3d; write it anew and send it again."
            }
            Self::TooLarge { .. } => {
                "Reduce the simulation, or raise this limit in the server's configuration."
            }
            Self::Unsupported { .. } => "Save the object with tidy3d's own to_file, which uses none of this.",
            Self::Io { .. } => "Check the disk's free space and health, then try again.",
        }
    }
}

/// Refuses `found` if it exceeds the limit.
pub(crate) fn within(limit: &'static str, allowed: u64, found: u64) -> Result<(), DocumentError> {
    if found > allowed { Err(DocumentError::TooLarge { limit, allowed, found }) } else { Ok(()) }
}
