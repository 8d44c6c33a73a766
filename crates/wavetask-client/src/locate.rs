//! Which server is meant, and with which key: a decision over arguments, environment and files, the same for the
//! command line and for Python.
//!
//! First of these that says something:
//!
//! 1. an address or a data folder given by the program (`connect(url=…)`, `--data`);
//! 2. `WAVETASK_URL`, with `WAVETASK_KEY`;
//! 3. `WAVETASK_DATA`: the server of that data folder;
//! 4. the file `wavetask/config.toml` in the user's configuration folder, with `url` and `key`, or `data`;
//! 5. the server of the user's own data folder.
//!
//! The same file may set `bandwidth` and `memory` ([`limits`](crate::limits)), which arguments, and then
//! `WAVETASK_BANDWIDTH` and `WAVETASK_MEMORY`, override; they are about this machine, whichever server is meant.
//!
//! The server of a data folder is the one that runs there; where none runs, [`embedded`](crate::embedded) starts one.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{ClientError, ErrorGroup};
use crate::limits::{Amount, Limits};

/// File in a data folder with the address of its running server.
pub const ADDRESS_FILE: &str = "address";
/// File in a data folder with the key of its owner.
pub const KEY_FILE: &str = "key";

/// What the decision is made from.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Address given by the program.
    pub url: Option<String>,
    /// Key given by the program.
    pub key: Option<String>,
    /// Data folder given by the program.
    pub data: Option<PathBuf>,
    /// Limit on bytes a second given by the program, such as `10 MB/s`.
    pub bandwidth: Option<String>,
    /// Limit on memory given by the program, such as `2 GB`.
    pub memory: Option<String>,
    /// `WAVETASK_URL`.
    pub url_variable: Option<String>,
    /// `WAVETASK_KEY`.
    pub key_variable: Option<String>,
    /// `WAVETASK_DATA`.
    pub data_variable: Option<OsString>,
    /// `WAVETASK_BANDWIDTH`.
    pub bandwidth_variable: Option<String>,
    /// `WAVETASK_MEMORY`.
    pub memory_variable: Option<String>,
    /// `XDG_DATA_HOME`, or `LOCALAPPDATA` on Windows.
    pub data_home: Option<OsString>,
    /// `XDG_CONFIG_HOME`, or `APPDATA` on Windows.
    pub config_home: Option<OsString>,
    /// `HOME`, or `USERPROFILE` on Windows.
    pub home: Option<OsString>,
}

/// Keys are not shown.
impl std::fmt::Debug for Surroundings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Surroundings")
            .field("url", &self.url)
            .field("data", &self.data)
            .field("url_variable", &self.url_variable)
            .field("data_variable", &self.data_variable)
            .finish_non_exhaustive()
    }
}

/// Where the server is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// At an address that was named.
    Address {
        /// Without a slash at its end.
        url: String,
        /// The key's secret.
        key: String,
        /// Folder for what the client itself has to keep.
        data: PathBuf,
    },
    /// Wherever the server of this data folder answers.
    Folder {
        /// The folder.
        data: PathBuf,
        /// The key's secret, if it is not the one in the folder.
        key: Option<String>,
    },
}

/// Keys are not shown.
impl std::fmt::Debug for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address { url, data, .. } => formatter
                .debug_struct("Address")
                .field("url", url)
                .field("data", data)
                .finish_non_exhaustive(),
            Self::Folder { data, .. } => {
                formatter.debug_struct("Folder").field("data", data).finish_non_exhaustive()
            }
        }
    }
}

/// Where a server answers, and the key to show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Without a slash at its end.
    pub url: String,
    /// The key's secret.
    pub key: String,
}

/// The key is not shown.
impl std::fmt::Debug for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Address").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The configuration file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    url: Option<String>,
    key: Option<String>,
    data: Option<PathBuf>,
    bandwidth: Option<Amount>,
    memory: Option<Amount>,
}

impl Surroundings {
    /// From this process's environment; empty variables count as unset.
    pub fn of_process() -> Self {
        let os = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let either = |unix: &str, windows: &str| if cfg!(windows) { os(windows) } else { os(unix) };
        Self {
            url: None,
            key: None,
            data: None,
            bandwidth: None,
            memory: None,
            url_variable: text("WAVETASK_URL"),
            key_variable: text("WAVETASK_KEY"),
            data_variable: os("WAVETASK_DATA"),
            bandwidth_variable: text("WAVETASK_BANDWIDTH"),
            memory_variable: text("WAVETASK_MEMORY"),
            data_home: either("XDG_DATA_HOME", "LOCALAPPDATA"),
            config_home: either("XDG_CONFIG_HOME", "APPDATA"),
            home: either("HOME", "USERPROFILE"),
        }
    }

    /// Whether a server is named by its address rather than by a data folder.
    pub fn named_by_url(&self) -> Option<&str> {
        match (&self.url, &self.data) {
            (Some(url), _) => Some(url),
            (None, Some(_)) => None,
            (None, None) => self.url_variable.as_deref(),
        }
    }

    /// The configuration file, whether it is there or not; `None` without a home.
    pub fn configuration_file(&self) -> Option<PathBuf> {
        // The base directory specification says that relative paths are to be ignored.
        let given = self.config_home.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
        let base = given.or_else(|| self.home.as_ref().map(|home| Path::new(home).join(".config")))?;
        Some(base.join("wavetask").join("config.toml"))
    }

    /// The user's own data folder, if nothing says otherwise.
    fn own_folder(&self) -> Option<PathBuf> {
        let given = self.data_home.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
        let base = given.or_else(|| self.home.as_ref().map(|home| Path::new(home).join(".local/share")))?;
        Some(base.join("wavetask"))
    }

    /// The data folder: the one given, else `WAVETASK_DATA`, else that of the configuration file, else `wavetask` in
    /// the user's data folder. `read` reads a small text file.
    ///
    /// # Errors
    /// `Usage` if there is none to use or the configuration file cannot be understood.
    pub fn data_folder(&self, read: impl Fn(&Path) -> io::Result<String>) -> Result<PathBuf, ClientError> {
        if let Some(folder) = self.data.clone().or_else(|| self.data_variable.as_ref().map(PathBuf::from)) {
            return Ok(folder);
        }
        let configured = self.configuration(read)?.and_then(|configuration| configuration.data);
        configured.or_else(|| self.own_folder()).ok_or_else(no_folder)
    }

    /// What the engine may take of the line and of the memory: what the program gives, else the environment, else the
    /// configuration file. `read` reads a small text file.
    ///
    /// # Errors
    /// `Usage` if a limit or the configuration file cannot be understood.
    pub fn limits(&self, read: impl Fn(&Path) -> io::Result<String>) -> Result<Limits, ClientError> {
        let configuration = self.configuration(read)?.unwrap_or_default();
        let nearest = |given: &Option<String>,
                       variable: &Option<String>,
                       configured: Option<Amount>,
                       names: [&'static str; 3]| {
            let given = given.clone().map(|text| (names[0], text));
            given
                .or_else(|| variable.clone().map(|text| (names[1], text)))
                .or_else(|| configured.map(|amount| (names[2], amount.text())))
        };
        Limits::read(
            nearest(
                &self.bandwidth,
                &self.bandwidth_variable,
                configuration.bandwidth,
                ["bandwidth", "WAVETASK_BANDWIDTH", "bandwidth in config.toml"],
            ),
            nearest(
                &self.memory,
                &self.memory_variable,
                configuration.memory,
                ["memory", "WAVETASK_MEMORY", "memory in config.toml"],
            ),
        )
    }

    fn configuration(
        &self,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Option<Configuration>, ClientError> {
        let Some(path) = self.configuration_file() else { return Ok(None) };
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => {
                return Err(ClientError::new(
                    ErrorGroup::Usage,
                    "configuration.unreadable",
                    format!("cannot read {}: {error}", path.display()),
                )
                .hint("mend its permissions, or name the server with WAVETASK_URL and WAVETASK_KEY"));
            }
        };
        toml::from_str(&text).map(Some).map_err(|error| {
            ClientError::new(
                ErrorGroup::Usage,
                "configuration.malformed",
                format!(
                    "{} cannot be understood: {}",
                    path.display(),
                    error.to_string().trim().replace('\n', " ")
                ),
            )
            .hint("it may set url, key, data, bandwidth and memory, each a text in quotes")
        })
    }
}

fn no_folder() -> ClientError {
    ClientError::new(ErrorGroup::Usage, "data_folder.none", "there is no data folder to use: HOME is not set")
        .hint("name one with --data or WAVETASK_DATA")
}

/// Decides which server is meant. `read` reads a small text file.
///
/// # Errors
/// `Unauthorized` if an address is named without a key, `Usage` for an address that is none, a configuration file
/// that cannot be understood, or no folder to use.
pub fn locate(
    surroundings: &Surroundings,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Place, ClientError> {
    let explicit_key = surroundings.key.clone();
    let key = explicit_key.clone().or_else(|| surroundings.key_variable.clone());
    if let Some(url) = surroundings.named_by_url() {
        let url = checked_url(url)?;
        // A key that is kept for just this address need not be given again.
        let kept = || match surroundings.configuration(&read) {
            Ok(Some(Configuration { url: Some(known), key, .. }))
                if checked_url(&known).is_ok_and(|known| known == url) =>
            {
                key
            }
            _ => None,
        };
        let key = key.or_else(kept).ok_or_else(|| {
            let named =
                if surroundings.url.is_some() { "an address is given" } else { "WAVETASK_URL is set" };
            no_key(named)
        })?;
        return address(url, &key, surroundings.data_folder(&read)?);
    }
    if let Some(data) =
        surroundings.data.clone().or_else(|| surroundings.data_variable.as_ref().map(PathBuf::from))
    {
        return Ok(Place::Folder { data, key: key.map(trimmed) });
    }
    let configuration = surroundings.configuration(&read)?.unwrap_or_default();
    let data = configuration.data.or_else(|| surroundings.own_folder()).ok_or_else(no_folder);
    match configuration.url {
        Some(url) => {
            let key = key.or(configuration.key).ok_or_else(|| no_key("the configuration file sets url"))?;
            address(checked_url(&url)?, &key, data?)
        }
        None => Ok(Place::Folder { data: data?, key: key.or(configuration.key).map(trimmed) }),
    }
}

fn address(url: String, key: &str, data: PathBuf) -> Result<Place, ClientError> {
    Ok(Place::Address { url, key: key.trim().to_owned(), data })
}

fn trimmed(key: String) -> String {
    key.trim().to_owned()
}

fn no_key(named: &str) -> ClientError {
    ClientError::new(
        ErrorGroup::Unauthorized,
        "key.missing",
        format!("{named} but no key: WAVETASK_KEY is not set"),
    )
    .hint("set WAVETASK_KEY to a key of that server (`wavetask key add NAME` there makes one)")
}

/// Reads what a running server has left in its data folder: where it answers, and the owner's key.
///
/// # Errors
/// `ConnectionLost` if no server runs there, `Unauthorized` if the key cannot be read.
pub fn in_folder(
    data: &Path,
    key: Option<&str>,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Address, ClientError> {
    const HINT: &str = "run this as the user who started the server, or set WAVETASK_URL and WAVETASK_KEY";
    let path = data.join(ADDRESS_FILE);
    let url = read(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            ClientError::new(
                ErrorGroup::ConnectionLost,
                "server.not_running",
                format!("no server is running on the data folder {}", data.display()),
            )
            .hint("start one with `wavetask serve`, or name another folder with --data or WAVETASK_DATA")
        } else {
            ClientError::new(
                ErrorGroup::ConnectionLost,
                "server.unknown_address",
                format!("cannot read {}: {error}", path.display()),
            )
            .hint(HINT)
        }
    })?;
    let key = match key {
        Some(key) => key.to_owned(),
        None => {
            let path = data.join(KEY_FILE);
            read(&path).map_err(|error| {
                ClientError::new(
                    ErrorGroup::Unauthorized,
                    "key.unreadable",
                    format!("cannot read the key in {}: {error}", path.display()),
                )
                .hint(HINT)
            })?
        }
    };
    Ok(Address { url: checked_url(&url)?, key: trimmed(key) })
}

/// An address of a server, without a slash at its end.
///
/// # Errors
/// `Usage` if it is none.
pub fn checked_url(text: &str) -> Result<String, ClientError> {
    let text = text.trim().trim_end_matches('/');
    let valid = url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    if valid && !text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Ok(text.to_owned());
    }
    let shown: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(ClientError::new(
        ErrorGroup::Usage,
        "url.malformed",
        format!("`{shown}` is not the address of a server"),
    )
    .hint("an address looks like http://127.0.0.1:8600"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/d/address") => Ok("http://127.0.0.1:8600\n".to_owned()),
            Some("/d/key") => Ok("secret-of-d\n".to_owned()),
            Some("/locked/address") => Ok("http://127.0.0.1:1".to_owned()),
            Some("/locked/key") => Err(io::ErrorKind::PermissionDenied.into()),
            Some("/far/wavetask/config.toml") => {
                Ok("# at the institute\nurl = \"https://far.example/\"\nkey = \" k1\"\n".to_owned())
            }
            Some("/big/wavetask/config.toml") => Ok("data = \"/big disk\"".to_owned()),
            Some("/slow/wavetask/config.toml") => {
                Ok("bandwidth = \"100 Mbit/s\"\nmemory = 2000000000".to_owned())
            }
            Some("/bad/wavetask/config.toml") => Ok("url = \"https://x\"\npassword = \"y\"".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn home() -> Surroundings {
        Surroundings { home: Some("/home".into()), ..Surroundings::default() }
    }

    fn configured(folder: &str) -> Surroundings {
        Surroundings { config_home: Some(folder.into()), ..home() }
    }

    fn folder(data: &str, key: Option<&str>) -> Place {
        Place::Folder { data: data.into(), key: key.map(str::to_owned) }
    }

    fn named(url: &str, key: &str, data: &str) -> Place {
        Place::Address { url: url.to_owned(), key: key.to_owned(), data: data.into() }
    }

    #[test]
    fn what_is_nearer_to_the_user_wins() {
        const OWN: &str = "/home/.local/share/wavetask";
        let found = |surroundings: Surroundings| locate(&surroundings, files).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found(home()), folder(OWN, None));
        assert_eq!(found(configured("/far")), named("https://far.example", "k1", OWN));
        assert_eq!(found(configured("/big")), folder("/big disk", None));
        let data = Surroundings { data_variable: Some("/v".into()), ..configured("/far") };
        assert_eq!(found(data.clone()), folder("/v", None));
        let url = Surroundings { url_variable: text("http://u/"), key_variable: text("k2\n"), ..data };
        assert_eq!(found(url.clone()), named("http://u", "k2", "/v"));
        let flag = Surroundings { data: Some("/d".into()), ..url.clone() };
        assert_eq!(found(flag), folder("/d", Some("k2")));
        let given = Surroundings { url: text("http://g"), key: text("k3"), ..url };
        assert_eq!(found(given), named("http://g", "k3", "/v"));
        // The key that is kept for an address goes with it, and with no other.
        let same = Surroundings { url: text("https://far.example"), ..configured("/far") };
        assert_eq!(found(same), named("https://far.example", "k1", OWN));
        let other = Surroundings { url: text("https://other.example"), ..configured("/far") };
        assert_eq!(locate(&other, files).unwrap_err().group, ErrorGroup::Unauthorized);
    }

    #[test]
    fn each_thing_missing_has_its_own_group() {
        let group = |surroundings: &Surroundings| locate(surroundings, files).unwrap_err().group;
        assert_eq!(group(&Surroundings::default()), ErrorGroup::Usage);
        let url = Surroundings { url_variable: Some("http://far".to_owned()), ..home() };
        assert_eq!(group(&url), ErrorGroup::Unauthorized);
        let error = locate(&configured("/bad"), files).unwrap_err();
        assert_eq!(error.group, ErrorGroup::Usage);
        assert!(error.message.contains("password") && !error.message.contains('\n'), "{error}");
        let address = |data: &str| in_folder(Path::new(data), None, files);
        assert_eq!(address("/nowhere").unwrap_err().group, ErrorGroup::ConnectionLost);
        assert_eq!(address("/locked").unwrap_err().group, ErrorGroup::Unauthorized);
        let found = address("/d").unwrap();
        assert_eq!((found.url.as_str(), found.key.as_str()), ("http://127.0.0.1:8600", "secret-of-d"));
        assert_eq!(in_folder(Path::new("/locked"), Some("mine"), files).unwrap().key, "mine");
    }

    #[test]
    fn folders_follow_the_base_directory_specification() {
        let given = Surroundings { data_home: Some("/x".into()), ..home() };
        assert_eq!(given.data_folder(files).unwrap(), Path::new("/x/wavetask"));
        let relative = Surroundings { data_home: Some("x".into()), config_home: Some("y".into()), ..home() };
        assert_eq!(relative.data_folder(files).unwrap(), Path::new("/home/.local/share/wavetask"));
        assert_eq!(relative.configuration_file().unwrap(), Path::new("/home/.config/wavetask/config.toml"));
    }

    #[test]
    fn limits_come_from_whoever_is_nearest() {
        let text = |text: &str| Some(text.to_owned());
        let limits = |surroundings: &Surroundings| surroundings.limits(files).unwrap();
        assert_eq!(limits(&home()), Limits::default());
        let file = configured("/slow");
        assert_eq!(limits(&file), Limits { bandwidth: Some(12_500_000), memory: Some(2_000_000_000) });
        let variable = Surroundings { bandwidth_variable: text("2 MB/s"), ..file };
        assert_eq!(limits(&variable), Limits { bandwidth: Some(2_000_000), memory: Some(2_000_000_000) });
        let given = Surroundings { bandwidth: text("300000"), memory: text("1 GiB"), ..variable };
        assert_eq!(limits(&given), Limits { bandwidth: Some(300_000), memory: Some(1 << 30) });
        // A folder that is named takes the limits of the file all the same: they are about this machine.
        let folder = Surroundings { data: Some("/d".into()), ..configured("/slow") };
        assert_eq!(limits(&folder).bandwidth, Some(12_500_000));
        let wrong = Surroundings { memory_variable: text("lots"), ..home() };
        let error = wrong.limits(files).unwrap_err();
        assert!(error.message.contains("WAVETASK_MEMORY"), "{error}");
    }

    #[test]
    fn addresses_are_checked_and_keys_not_shown() {
        for wrong in ["", "127.0.0.1:8600", "ftp://x", "http://a b", "file:///etc/passwd"] {
            assert!(checked_url(wrong).is_err(), "{wrong}");
        }
        assert_eq!(checked_url("http://[::1]:8600/\n").unwrap(), "http://[::1]:8600");
        let place = named("http://u", "secret", "/d");
        assert!(!format!("{place:?}").contains("secret"));
        let address = Address { url: "http://u".to_owned(), key: "secret".to_owned() };
        assert!(!format!("{address:?}").contains("secret"));
    }
}
