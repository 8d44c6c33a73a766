//! The server's own secret, and short-lived credentials derived from it.
//!
//! Credentials for one file are not stored anywhere: the access key id *says* what they allow, and the
//! secret and the session token are keyed hashes of it. So they survive a restart, cost nothing to
//! hand out, and a changed access key id opens nothing because nobody else can compute what belongs to
//! it. What must be revocable is checked against the store when they are used: the key, the task and
//! its state.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::Mac;
use wavetask_protocol::{KeyId, TaskId};

use crate::ServerError;

type Hmac = hmac::Hmac<sha2::Sha256>;

/// 256 random bits that never leave the data folder.
#[derive(Clone)]
pub(crate) struct ServerSecret([u8; 32]);

impl std::fmt::Debug for ServerSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ServerSecret(…)")
    }
}

/// What may be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Download it.
    Read,
    /// Upload it, and download it again.
    Write,
}

/// What credentials allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Whose they are.
    pub(crate) key: KeyId,
    /// The task.
    pub(crate) task: TaskId,
    /// The file's name within the task.
    pub(crate) file: String,
    /// What may be done.
    pub(crate) verb: Verb,
    /// Until when: seconds since 1970 (UTC).
    pub(crate) expires: i64,
}

/// Credentials as an S3 client wants them.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// Says what is granted, in the clear.
    pub(crate) access_key_id: String,
    /// What requests are signed with.
    pub(crate) secret_access_key: String,
    /// Shown with each request.
    pub(crate) session_token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl ServerSecret {
    /// A secret from what the store keeps.
    pub(crate) fn new(stored: &[u8]) -> Self {
        Self(*wavetask_document::Digest::of(stored).as_bytes())
    }

    /// A keyed hash, different for each purpose.
    pub(crate) fn sign(&self, purpose: &str, message: &str) -> String {
        let mut mac = Hmac::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!("any length will do"));
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(message.as_bytes());
        BASE64.encode(mac.finalize().into_bytes())
    }

    /// Whether `signature` is what [`Self::sign`] gives, found out in constant time.
    pub(crate) fn verify(&self, purpose: &str, message: &str, signature: &str) -> bool {
        same(&self.sign(purpose, message), signature)
    }

    /// The credentials that stand for a grant.
    pub(crate) fn credentials(&self, grant: &Grant) -> Credentials {
        let access_key_id = grant.to_access_key_id();
        Credentials {
            secret_access_key: self.sign("s3-secret", &access_key_id),
            session_token: self.sign("s3-token", &access_key_id),
            access_key_id,
        }
    }

    /// What requests under this access key id must be signed with.
    pub(crate) fn secret_access_key(&self, access_key_id: &str) -> String {
        self.sign("s3-secret", access_key_id)
    }

    /// Whether the session token belongs to the access key id.
    pub(crate) fn verify_session_token(&self, access_key_id: &str, token: &str) -> bool {
        self.verify("s3-token", access_key_id, token)
    }
}

impl Grant {
    fn to_access_key_id(&self) -> String {
        let verb = match self.verb {
            Verb::Read => "r",
            Verb::Write => "w",
        };
        // Ids have no spaces, and the file comes last.
        let text = format!("{verb} {:x} {} {} {}", self.expires, self.key, self.task, self.file);
        BASE64.encode(text)
    }

    /// What an access key id says; `None` if it is none of ours.
    pub(crate) fn from_access_key_id(text: &str) -> Option<Self> {
        if text.len() > 1024 {
            return None;
        }
        let text = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
        let mut words = text.splitn(5, ' ');
        let verb = match words.next()? {
            "r" => Verb::Read,
            "w" => Verb::Write,
            _ => return None,
        };
        let expires = i64::from_str_radix(words.next()?, 16).ok()?;
        let key = words.next()?.parse().ok()?;
        let task = words.next()?.parse().ok()?;
        let file = words.next()?.to_owned();
        Some(Self { key, task, file, verb, expires })
    }
}

/// Compares two secrets in a time that does not depend on where they differ.
pub(crate) fn same(left: &str, right: &str) -> bool {
    wavetask_document::Digest::of(left.as_bytes())
        .as_bytes()
        .iter()
        .zip(wavetask_document::Digest::of(right.as_bytes()).as_bytes())
        .fold(0, |difference, (left, right)| difference | (left ^ right))
        == 0
}

/// 256 random bits as text that can be pasted anywhere.
pub(crate) fn random_text() -> Result<String, ServerError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| ServerError::Random(io::Error::other(error.to_string())))?;
    Ok(BASE64.encode(bytes))
}

/// Reads a one-line secret, or makes one; refuses one that others may read.
pub(crate) fn load_or_create(path: &Path) -> Result<String, ServerError> {
    let failed = |source| ServerError::DataFolder { path: path.to_owned(), source };
    match fs::File::open(path) {
        Ok(file) => {
            let mode = file.metadata().map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(failed(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "others may read it (mode {:o}); run: chmod 600 {}",
                        mode & 0o777,
                        path.display()
                    ),
                )));
            }
            let text = io::read_to_string(file).map_err(failed)?.trim().to_owned();
            if text.len() < 32 {
                return Err(failed(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is too short to be a key",
                )));
            }
            Ok(text)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = random_text()?;
            write_private(path, &format!("{text}\n")).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a file that only its owner may read, all of it or nothing.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    crate::disk::sync_folder(path.parent().unwrap_or(Path::new("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            key: "key-1".parse().unwrap(),
            task: "task-1".parse().unwrap(),
            file: "output/a file".to_owned(),
            verb: Verb::Write,
            expires: 1_700_000_000,
        }
    }

    #[test]
    fn an_access_key_id_says_what_is_granted() {
        let secret = ServerSecret([7; 32]);
        let credentials = secret.credentials(&grant());
        assert_eq!(Grant::from_access_key_id(&credentials.access_key_id), Some(grant()));
        assert!(credentials.access_key_id.bytes().all(|byte| byte != b'/' && byte != b',' && byte != b' '));
        assert_eq!(secret.secret_access_key(&credentials.access_key_id), credentials.secret_access_key);
        assert!(secret.verify_session_token(&credentials.access_key_id, &credentials.session_token));
        assert!(!secret.verify_session_token(&credentials.access_key_id, &credentials.secret_access_key));
        assert!(!format!("{credentials:?}").contains(&credentials.secret_access_key));
    }

    #[test]
    fn another_server_or_another_grant_has_another_secret() {
        let credentials = ServerSecret([7; 32]).credentials(&grant());
        assert_ne!(
            ServerSecret([8; 32]).credentials(&grant()).secret_access_key,
            credentials.secret_access_key
        );
        let longer = Grant { expires: 1_700_000_001, ..grant() };
        assert_ne!(
            ServerSecret([7; 32]).credentials(&longer).secret_access_key,
            credentials.secret_access_key
        );
    }

    #[test]
    fn nonsense_is_no_access_key_id() {
        for text in ["", "AKIAIOSFODNN7EXAMPLE", "cg", &"A".repeat(5000)] {
            assert_eq!(Grant::from_access_key_id(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let made = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap(), made);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_or_create(&path), Err(ServerError::DataFolder { .. })));
    }
}
