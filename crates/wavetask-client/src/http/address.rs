//! Where the server is, and the key that opens it.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderValue, Uri};
use url::{Host, Url};

use crate::error::{ClientError, ErrorGroup};

/// The address of a server: scheme, host and port, perhaps with a path in front of the routes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without a slash at the end.
    base: String,
    secure: bool,
    this_machine: bool,
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.base)
    }
}

impl Address {
    /// Reads an address as users give it: `https://host/prefix`, `host:port` for plain HTTP.
    pub(crate) fn parse(text: &str) -> Result<Self, ClientError> {
        let refuse = |message: &str| {
            ClientError::new(ErrorGroup::Usage, "address.wrong", message)
                .hint("an address looks like http://127.0.0.1:8080 or https://wavetask.example.org")
        };
        let text = text.trim();
        let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
        // The address itself is not repeated in errors: it may hold a password by mistake.
        let url = url.map_err(|error| refuse("the server's address cannot be read").caused_by(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("the server's address must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(
                "the server's address must not hold a name or password; the key is given apart",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("the server's address must end with its path"));
        }
        let this_machine = match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
            None => return Err(refuse("the server's address names no host")),
        };
        let secure = url.scheme() == "https";
        Ok(Self { base: url.as_str().trim_end_matches('/').to_owned(), secure, this_machine })
    }

    /// Whether it is spoken to by TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether the server is on this machine, for all that the address says: there is no line to save.
    pub(crate) fn is_this_machine(&self) -> bool {
        self.this_machine
    }

    /// The address of a route.
    pub(crate) fn uri(&self, path_and_query: &str) -> Result<Uri, http::uri::InvalidUri> {
        format!("{}{path_and_query}", self.base).try_into()
    }
}

/// Whether a server's address is one of this machine, which no proxy stands before.
pub fn is_this_machine(url: &str) -> bool {
    Address::parse(url).is_ok_and(|address| address.is_this_machine())
}

/// The header that shows a key, marked as sensitive so that nobody prints it.
pub(crate) fn authorization(key: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| {
        ClientError::new(ErrorGroup::Unauthorized, "key.wrong", "the key holds characters that no key has")
            .hint("`wavetask env` prints the settings with the right key")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_users_write() {
        for (text, uri, secure, here) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v1/status", false, true),
            (" localhost:8080/ ", "http://localhost:8080/api/v1/status", false, true),
            ("http://[::1]:1", "http://[::1]:1/api/v1/status", false, true),
            ("https://example.org/wavetask/", "https://example.org/wavetask/api/v1/status", true, false),
            ("10.0.0.7:80", "http://10.0.0.7/api/v1/status", false, false),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.uri("/api/v1/status").unwrap().to_string(), uri);
            assert_eq!((address.is_secure(), address.is_this_machine()), (secure, here), "{text}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_meant_without_repeating_it() {
        for text in [
            "",
            "ftp://example.org",
            "http://",
            "https://me:secret@example.org",
            "http://h/?key=secret",
            "::",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.group, ErrorGroup::Usage, "{text}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let value = authorization("wt-secret").unwrap();
        assert!(!format!("{value:?}").contains("secret"));
        assert_eq!(authorization("a\nb").unwrap_err().group, ErrorGroup::Unauthorized);
    }
}
