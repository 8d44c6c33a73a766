//! Which server a command talks to, and with which key: a decision over flags, environment and files.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};

/// What the decision is made from.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// `--data`.
    pub(crate) data_flag: Option<PathBuf>,
    /// `WAVETASK_DATA`.
    pub(crate) data_variable: Option<OsString>,
    /// `WAVETASK_URL`.
    pub(crate) url_variable: Option<String>,
    /// `WAVETASK_KEY`.
    pub(crate) key_variable: Option<String>,
    /// `XDG_DATA_HOME`.
    pub(crate) xdg_data_home: Option<OsString>,
    /// `HOME`.
    pub(crate) home: Option<OsString>,
}

impl Surroundings {
    /// From this process's environment; empty variables count as unset.
    pub(crate) fn of_process(data_flag: Option<PathBuf>) -> Self {
        let os = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            data_flag,
            data_variable: os("WAVETASK_DATA"),
            url_variable: text("WAVETASK_URL"),
            key_variable: text("WAVETASK_KEY"),
            xdg_data_home: os("XDG_DATA_HOME"),
            home: os("HOME"),
        }
    }

    /// The data folder: `--data`, else `WAVETASK_DATA`, else `wavetask` in the user's data directory.
    pub(crate) fn data_folder(&self) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.data_flag {
            return Ok(folder.clone());
        }
        if let Some(folder) = &self.data_variable {
            return Ok(folder.into());
        }
        // The base directory specification says that relative paths are to be ignored.
        if let Some(base) = self.xdg_data_home.as_ref().map(PathBuf::from).filter(|path| path.is_absolute()) {
            return Ok(base.join("wavetask"));
        }
        match &self.home {
            Some(home) => Ok(Path::new(home).join(".local/share/wavetask")),
            None => Err(Failure::new(Exit::Failed, "there is no data folder to use: HOME is not set")
                .hint("name one with --data or WAVETASK_DATA")),
        }
    }

    /// Whether the server is named by `WAVETASK_URL` rather than by a data folder.
    pub(crate) fn named_by_url(&self) -> Option<&str> {
        if self.data_flag.is_some() { None } else { self.url_variable.as_deref() }
    }
}

/// Where the server answers, and the key to show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Without a slash at its end.
    pub(crate) url: String,
    /// The key.
    pub(crate) key: String,
    /// The data folder, if it was found by one.
    pub(crate) data_folder: Option<PathBuf>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("url", &self.url)
            .field("data_folder", &self.data_folder)
            .finish_non_exhaustive()
    }
}

/// Finds the server. `read` reads a small text file.
pub(crate) fn locate(
    surroundings: &Surroundings,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Connection, Failure> {
    if let Some(url) = surroundings.named_by_url() {
        let key = surroundings.key_variable.clone().ok_or_else(|| {
            Failure::new(Exit::Denied, "WAVETASK_URL is set but WAVETASK_KEY is not")
                .hint("set WAVETASK_KEY to a key of that server (`wavetask key add NAME` there makes one)")
        })?;
        return Ok(Connection { url: checked_url(url)?, key: key.trim().to_owned(), data_folder: None });
    }
    let folder = surroundings.data_folder()?;
    let address = folder.join(wavetask_server::ADDRESS_FILE);
    let url = read(&address).map_err(|error| not_readable(&folder, &address, &error))?;
    let key = match &surroundings.key_variable {
        Some(key) => key.clone(),
        None => {
            let path = folder.join(wavetask_server::KEY_FILE);
            read(&path).map_err(|error| {
                Failure::new(Exit::Denied, format!("cannot read the key in {}: {error}", path.display()))
                    .hint("run this as the user who started the server, or set WAVETASK_URL and WAVETASK_KEY")
            })?
        }
    };
    Ok(Connection { url: checked_url(&url)?, key: key.trim().to_owned(), data_folder: Some(folder) })
}

fn not_readable(folder: &Path, address: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        Failure::new(
            Exit::Unreachable,
            format!("no server is running on the data folder {}", folder.display()),
        )
        .hint("start one with `wavetask serve`, or name another folder with --data or WAVETASK_DATA")
    } else {
        Failure::new(Exit::Unreachable, format!("cannot read {}: {error}", address.display()))
            .hint("run this as the user who started the server, or set WAVETASK_URL and WAVETASK_KEY")
    }
}

fn checked_url(text: &str) -> Result<String, Failure> {
    let text = text.trim().trim_end_matches('/');
    let valid = reqwest::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    if valid && !text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Ok(text.to_owned())
    } else {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
        Err(Failure::new(Exit::Unreachable, format!("`{shown}` is not the address of a server"))
            .hint("an address looks like http://127.0.0.1:8600"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/d/address") => Ok("http://127.0.0.1:8600\n".to_owned()),
            Some("/d/key") => Ok("secret-of-d\n".to_owned()),
            Some("/home/.local/share/wavetask/address") => Ok("http://127.0.0.1:1".to_owned()),
            Some("/home/.local/share/wavetask/key") => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn exit_of(result: Result<Connection, Failure>) -> Exit {
        match result {
            Err(Failure::Told { exit, .. }) => exit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_beats_an_url_beats_a_folder_variable() {
        let url = Some("http://far:8600/".to_owned());
        let key = Some("k".to_owned());
        let by_flag = Surroundings {
            data_flag: Some("/d".into()),
            url_variable: url.clone(),
            ..Surroundings::default()
        };
        let found = locate(&by_flag, files).unwrap();
        assert_eq!((found.url.as_str(), found.key.as_str()), ("http://127.0.0.1:8600", "secret-of-d"));
        let by_url = Surroundings {
            data_variable: Some("/d".into()),
            url_variable: url,
            key_variable: key.clone(),
            ..Surroundings::default()
        };
        let found = locate(&by_url, files).unwrap();
        assert_eq!((found.url.as_str(), found.key.as_str()), ("http://far:8600", "k"));
        let by_folder =
            Surroundings { data_variable: Some("/d".into()), key_variable: key, ..Surroundings::default() };
        let found = locate(&by_folder, files).unwrap();
        assert_eq!((found.url.as_str(), found.key.as_str()), ("http://127.0.0.1:8600", "k"));
    }

    #[test]
    fn each_thing_missing_has_its_own_exit_code() {
        let nothing = Surroundings { data_flag: Some("/nowhere".into()), ..Surroundings::default() };
        assert_eq!(exit_of(locate(&nothing, files)), Exit::Unreachable);
        let no_key = Surroundings { url_variable: Some("http://far".into()), ..Surroundings::default() };
        assert_eq!(exit_of(locate(&no_key, files)), Exit::Denied);
        let not_mine = Surroundings { home: Some("/home".into()), ..Surroundings::default() };
        assert_eq!(exit_of(locate(&not_mine, files)), Exit::Denied);
        assert_eq!(exit_of(locate(&Surroundings::default(), files)), Exit::Failed);
    }

    #[test]
    fn the_default_folder_follows_the_base_directory_specification() {
        let home = Some(OsString::from("/home"));
        let given =
            Surroundings { xdg_data_home: Some("/x".into()), home: home.clone(), ..Surroundings::default() };
        assert_eq!(given.data_folder().unwrap(), Path::new("/x/wavetask"));
        let relative = Surroundings { xdg_data_home: Some("x".into()), home, ..Surroundings::default() };
        assert_eq!(relative.data_folder().unwrap(), Path::new("/home/.local/share/wavetask"));
    }

    #[test]
    fn addresses_are_checked() {
        for wrong in ["", "127.0.0.1:8600", "ftp://x", "http://a b", "file:///etc/passwd"] {
            assert!(checked_url(wrong).is_err(), "{wrong}");
        }
        assert_eq!(checked_url("http://[::1]:8600/\n").unwrap(), "http://[::1]:8600");
    }
}
