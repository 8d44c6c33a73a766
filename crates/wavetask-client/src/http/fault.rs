//! What one try of a request can come to, whether another may help, and the error that its caller sees in the end.

use std::error::Error;
use std::time::Duration;

use http::StatusCode;
use wavetask_protocol::native::ApiError;

use crate::error::{ClientError, ErrorGroup};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Why one try failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No connection came about.
    #[error("no connection to the server")]
    Connect(#[source] BoxError),
    /// The connection broke, or what came over it was no HTTP.
    #[error("the connection broke")]
    Broken(#[source] BoxError),
    /// Nothing moved for too long.
    #[error("nothing moved for {} s while {doing}", after.as_secs())]
    Stalled {
        /// What it was about.
        doing: &'static str,
        /// For how long.
        after: Duration,
    },
    /// The server said no.
    #[error("the server answered {status}{}", words(api.as_ref()))]
    Refused {
        /// The status.
        status: StatusCode,
        /// The body, if it was one of ours.
        api: Option<ApiError>,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The answer is not what it should be; asked again it would be the same.
    #[error("the answer cannot be understood")]
    Unreadable(#[source] BoxError),
    /// Bytes on the way were damaged.
    #[error("what came is damaged")]
    Damaged(#[source] BoxError),
}

fn words(api: Option<&ApiError>) -> String {
    api.map_or_else(String::new, |api| format!(": {}", api.message))
}

/// Whether another try may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hope {
    /// As often as patience lasts; not before this.
    Patient(Option<Duration>),
    /// A few times only: it looks like a fault that stays.
    Faint,
    /// Not at all.
    None,
}

impl Fault {
    /// Whether another try may help.
    ///
    /// Every request of the native API may be repeated, so it does not matter here whether the server has acted
    /// upon the one that failed.
    pub(crate) fn hope(&self) -> Hope {
        match self {
            Self::Connect(error) | Self::Broken(error) if is_about_tls(error.as_ref()) => Hope::None,
            Self::Connect(_) | Self::Broken(_) | Self::Stalled { .. } => Hope::Patient(None),
            Self::Refused { api: Some(api), .. } if may_be_the_line(&api.code) => Hope::Faint,
            Self::Refused { status, retry_after, .. } => match status.as_u16() {
                408 | 425 | 429 | 502 | 503 | 504 => Hope::Patient(*retry_after),
                // A full disk and the like will not pass within a minute; the caller knows what to do instead.
                501 | 505 | 507 => Hope::None,
                500.. => Hope::Faint,
                _ => Hope::None,
            },
            Self::Damaged(_) => Hope::Faint,
            Self::Unreadable(_) => Hope::None,
        }
    }

    /// Whether the server, or the line, has more to do than it can.
    pub(crate) fn is_overload(&self) -> bool {
        match self {
            Self::Stalled { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 408 | 429 | 503 | 504),
            _ => false,
        }
    }

    /// Whether the server may have got some of what was sent, without a word about it.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Broken(_) | Self::Stalled { .. })
    }

    /// Whether the server refused it with this code.
    pub(crate) fn is_code(&self, code: &str) -> bool {
        matches!(self, Self::Refused { api: Some(api), .. } if api.code == code)
    }

    /// Whether a connection that stood has broken.
    pub(crate) fn is_break(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    fn group(&self) -> ErrorGroup {
        match self {
            Self::Connect(error) | Self::Broken(error) if is_about_tls(error.as_ref()) => ErrorGroup::Usage,
            Self::Connect(_) | Self::Broken(_) | Self::Stalled { .. } => ErrorGroup::ConnectionLost,
            Self::Unreadable(_) => ErrorGroup::Internal,
            Self::Damaged(_) => ErrorGroup::DataCorrupted,
            Self::Refused { status, api, .. } => match status.as_u16() {
                403 if api.as_ref().is_some_and(|api| api.code.starts_with("quota.")) => {
                    ErrorGroup::ServerBusy
                }
                401 | 403 => ErrorGroup::Unauthorized,
                // A server that knows the route answers with a body of ours.
                404 if api.is_some() => ErrorGroup::NotFound,
                408 | 425 | 429 | 503 | 507 => ErrorGroup::ServerBusy,
                502 | 504 => ErrorGroup::ConnectionLost,
                500 => ErrorGroup::Internal,
                _ if api.as_ref().is_some_and(|api| is_about_damage(&api.code)) => ErrorGroup::DataCorrupted,
                _ => ErrorGroup::Usage,
            },
        }
    }

    fn code(&self) -> String {
        match self {
            Self::Connect(error) | Self::Broken(error) if is_about_tls(error.as_ref()) => {
                "connection.certificate".to_owned()
            }
            Self::Connect(_) => "connection.refused".to_owned(),
            Self::Broken(_) => "connection.broken".to_owned(),
            Self::Stalled { .. } => "connection.stalled".to_owned(),
            Self::Unreadable(_) => "answer.unreadable".to_owned(),
            Self::Damaged(_) => "answer.damaged".to_owned(),
            Self::Refused { api: Some(api), .. } => api.code.clone(),
            Self::Refused { status, .. } if matches!(status.as_u16(), 404 | 405) => {
                "server.not_native".to_owned()
            }
            Self::Refused { status, .. } => format!("http.{}", status.as_u16()),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { api: Some(api), .. } => return api.hint.clone(),
            Self::Connect(error) | Self::Broken(error) if is_about_tls(error.as_ref()) => {
                "the server's certificate must be signed by an authority that this system trusts; \
                 SSL_CERT_FILE may name a file with more of them"
            }
            Self::Connect(_) => "check the address, and that the server runs",
            Self::Broken(_) | Self::Stalled { .. } => {
                "check the network; what was sent so far need not be sent again"
            }
            Self::Unreadable(_) => "client and server may be of versions that do not fit",
            Self::Refused { status, .. } if matches!(status.as_u16(), 404 | 405) => {
                "check the address: a wavetask server with this interface is not there"
            }
            Self::Refused { status, .. } if status.is_redirection() => {
                "the address leads elsewhere: give the one that it leads to"
            }
            Self::Refused { .. } => return None,
            Self::Damaged(_) => "try again; if it stays so, look at the server's disk",
        };
        Some(hint.to_owned())
    }

    /// The error that the caller sees: what was asked, what came of it, how often and for how long.
    pub(crate) fn into_error(self, what: &str, tries: u32, elapsed: Duration) -> ClientError {
        let mut message = format!("{what}: {self}");
        // The bottom of the chain says what really happened: "connection refused", "unexpected end of file".
        if let Some(root) = root_cause(&self) {
            message.push_str(&format!(" ({root})"));
        }
        if tries > 1 {
            message.push_str(&format!("; {tries} tries in {:.1} s", elapsed.as_secs_f64()));
        } else {
            message.push_str(&format!("; after {:.1} s", elapsed.as_secs_f64()));
        }
        let mut error = ClientError::new(self.group(), self.code(), message);
        error.hint = self.hint();
        error.caused_by(self)
    }
}

fn is_about_damage(code: &str) -> bool {
    matches!(code, "block.corrupted" | "pack.damaged")
}

/// Refusals of bytes that may have left here as they should be.
fn may_be_the_line(code: &str) -> bool {
    is_about_damage(code) || code == "pack.truncated"
}

fn root_cause(error: &dyn Error) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Some(cause.to_string())
}

/// Whether the handshake of TLS failed, as it will again: a certificate that is not trusted, no common version.
fn is_about_tls(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<rustls::Error>().is_some() {
            return true;
        }
        // `std::io::Error` hands out what it wraps by `get_ref`; its `source` skips that.
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && is_about_tls(inner)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<&str>) -> Fault {
        let api = code.map(|code| ApiError { code: code.to_owned(), message: "no".to_owned(), hint: None });
        Fault::Refused { status: StatusCode::from_u16(status).unwrap(), api, retry_after: None }
    }

    #[test]
    fn statuses_are_repeated_or_not_and_grouped_by_what_to_do() {
        let cases = [
            (400, Some("request.bad"), Hope::None, ErrorGroup::Usage),
            (401, Some("key.wrong"), Hope::None, ErrorGroup::Unauthorized),
            (403, Some("key.role"), Hope::None, ErrorGroup::Unauthorized),
            (403, Some("quota.bytes"), Hope::None, ErrorGroup::ServerBusy),
            (404, Some("task.not_found"), Hope::None, ErrorGroup::NotFound),
            (404, None, Hope::None, ErrorGroup::Usage),
            (408, None, Hope::Patient(None), ErrorGroup::ServerBusy),
            (400, Some("block.corrupted"), Hope::Faint, ErrorGroup::DataCorrupted),
            (429, None, Hope::Patient(None), ErrorGroup::ServerBusy),
            (500, Some("server.internal"), Hope::Faint, ErrorGroup::Internal),
            (501, None, Hope::None, ErrorGroup::Usage),
            (502, None, Hope::Patient(None), ErrorGroup::ConnectionLost),
            (503, Some("server.busy"), Hope::Patient(None), ErrorGroup::ServerBusy),
            (504, None, Hope::Patient(None), ErrorGroup::ConnectionLost),
            (507, Some("server.no_room"), Hope::None, ErrorGroup::ServerBusy),
        ];
        for (status, code, hope, group) in cases {
            let fault = refused(status, code);
            assert_eq!(fault.hope(), hope, "{status}");
            assert_eq!(fault.group(), group, "{status}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_not_tried_again() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let fault = Fault::Connect(Box::new(std::io::Error::new(std::io::ErrorKind::InvalidData, inner)));
        assert_eq!(fault.hope(), Hope::None);
        let error = fault.into_error("GET /api/v1/status", 1, Duration::ZERO);
        assert_eq!((error.group, error.code.as_str()), (ErrorGroup::Usage, "connection.certificate"));
    }

    #[test]
    fn the_error_says_what_how_often_how_long_and_why() {
        let cause = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "nobody listens");
        let error = Fault::Connect(Box::new(cause)).into_error(
            "POST /api/v1/batches",
            4,
            Duration::from_millis(2_340),
        );
        assert_eq!(
            error.message,
            "POST /api/v1/batches: no connection to the server (nobody listens); 4 tries in 2.3 s"
        );
        assert!(error.cause.is_some() && error.hint.is_some());
    }
}
