//! What a command says when it cannot do what it was asked: one line what, one line what to do, an exit code.

use std::fmt;
use std::process::ExitCode;

use wavetask_client::ErrorGroup;

/// The exit codes that `wavetask --help` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It failed, or a watched task or a check did.
    Failed = 1,
    /// The server cannot be reached.
    Unreachable = 3,
    /// The key is not accepted or may not do this.
    Denied = 4,
    /// No such task or key, or several.
    NotFound = 5,
    /// The server cannot start.
    CannotStart = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends without having done its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to tell the user.
    Told {
        /// The exit code.
        exit: Exit,
        /// What happened.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Whoever read the output has had enough (`| head`): no fault at all.
    OutputClosed,
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self::Told { exit, what: what.into(), hint: None }
    }

    /// The same failure with a hint.
    pub(crate) fn hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Told { exit, what, .. } => Self::Told { exit, what, hint: Some(text.into()) },
            Self::OutputClosed => Self::OutputClosed,
        }
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Told { exit, .. } => (*exit).into(),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told { what, hint, .. } => {
                write!(formatter, "error: {what}")?;
                if let Some(hint) = hint {
                    write!(formatter, "\nhint: {hint}")?;
                }
                Ok(())
            }
            Self::OutputClosed => Ok(()),
        }
    }
}

/// Failures of the engine.
impl From<wavetask_client::ClientError> for Failure {
    fn from(error: wavetask_client::ClientError) -> Self {
        let exit = match error.group {
            ErrorGroup::ConnectionLost | ErrorGroup::ServerBusy => Exit::Unreachable,
            ErrorGroup::Unauthorized => Exit::Denied,
            ErrorGroup::NotFound => Exit::NotFound,
            _ if error.code.starts_with("embedded.") => Exit::CannotStart,
            // An address that is none reaches no server.
            _ if error.code == "url.malformed" => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self::Told { exit, what: error.message, hint: error.hint }
    }
}

/// Failures to write the output.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::new(Exit::Failed, format!("cannot write the output: {error}"))
        }
    }
}
