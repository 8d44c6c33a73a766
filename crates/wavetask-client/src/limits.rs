//! What the user lets the engine take of the line and of the memory: numbers and texts such as `10 MB/s` and `2 GB`
//! from arguments, the environment and the configuration file, and what they mean for the engine's [`Settings`].
//!
//! There are two numbers and no more, because they are what people know: what the line may carry for this program
//! while others use it, too, and what memory the machine can spare. How the memory is divided among what waits to be
//! sent, what is on the line and what came back is the engine's business.

use serde::Deserialize;

use crate::error::{ClientError, ErrorGroup};
use crate::settings::Settings;

/// Fewest bytes a second that make sense: with less, an answer of some kilobytes would not come before servers and
/// proxies give up.
const LEAST_BANDWIDTH: u64 = 1_000;
/// Least memory that makes sense: a few packs on the line and a small array.
const LEAST_MEMORY: u64 = 4_000_000;

/// Limits that the user has set; `None` is the engine's own choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a second that may be sent, and as many that may be fetched.
    pub bandwidth: Option<u64>,
    /// Bytes of simulations and results that are held in memory.
    pub memory: Option<u64>,
}

/// A number in the configuration file: bytes, or a text with a unit.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Amount {
    Bytes(u64),
    Text(String),
}

impl Amount {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => bytes.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Limits {
    /// Reads both; `source` names for each where it comes from, such as `WAVETASK_MEMORY`.
    ///
    /// # Errors
    /// `Usage` with the code `limit.malformed` or `limit.too_small`, which names the source.
    pub(crate) fn read(
        bandwidth: Option<(&str, String)>,
        memory: Option<(&str, String)>,
    ) -> Result<Self, ClientError> {
        let read = |given: Option<(&str, String)>, parse: fn(&str) -> Result<u64, String>, least: u64| {
            given.map(|(source, text)| checked(source, &text, parse(&text), least)).transpose()
        };
        Ok(Self {
            bandwidth: read(bandwidth, parse_rate, LEAST_BANDWIDTH)?,
            memory: read(memory, parse_size, LEAST_MEMORY)?,
        })
    }

    /// Settings that keep to these limits.
    ///
    /// Of the memory, half is for arrays that wait to be sent, an eighth for documents that do (64 MiB at most), an
    /// eighth for packs on the line ([`Settings::pack_budget`]), and a quarter for results.
    pub fn applied(self, mut settings: Settings) -> Settings {
        if let Some(bandwidth) = self.bandwidth {
            settings.bandwidth = Some(bandwidth);
        }
        if let Some(memory) = self.memory {
            settings.document_budget = settings.document_budget.min(memory / 8);
            settings.send_budget = memory / 2;
            settings.pack_budget = memory / 8;
            settings.result_budget = memory / 4;
            settings.result_document_budget = settings.result_document_budget.min(memory / 16);
        }
        settings
    }
}

fn checked(source: &str, text: &str, parsed: Result<u64, String>, least: u64) -> Result<u64, ClientError> {
    let shown: String = text.chars().filter(|character| !character.is_control()).take(40).collect();
    match parsed {
        Ok(number) if number < least => Err(ClientError::new(
            ErrorGroup::Usage,
            "limit.too_small",
            format!("{source} is `{shown}`, which is too little: {least} bytes at least"),
        )
        .hint("leave it out to have no limit of your own")),
        Ok(number) => Ok(number),
        Err(reason) => Err(ClientError::new(
            ErrorGroup::Usage,
            "limit.malformed",
            format!("{source} is `{shown}`, which cannot be understood: {reason}"),
        )
        .hint(
            "examples: bandwidth \"10 MB/s\" or \"100 Mbit/s\", memory \"2 GB\"; a plain number counts bytes",
        )),
    }
}

/// Bytes from text such as `12GiB`, `800 MB` or `1073741824`.
///
/// # Errors
/// In words, if it is none.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = factor(unit).ok_or("its unit must be one of B, kB, KiB, MB, MiB, GB, GiB, TB, TiB")?;
    bytes(number, factor).ok_or_else(|| "it must be a size such as 12GiB".to_owned())
}

/// Bytes a second from text such as `10 MB/s`, `100 Mbit/s` or `1250000`.
///
/// # Errors
/// In words, if it is none.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let lower = unit.to_ascii_lowercase();
    let unit = lower.strip_suffix("/s").unwrap_or(&lower).trim_end();
    let bits = match unit.strip_suffix("bit").or_else(|| unit.strip_suffix("bps")) {
        Some("") => Some(1.0),
        Some("k") => Some(1e3),
        Some("m") => Some(1e6),
        Some("g") => Some(1e9),
        _ => None,
    };
    let factor = bits
        .map(|bits| bits / 8.0)
        .or_else(|| factor(unit))
        .ok_or("its unit must be one of B/s, kB/s, MB/s, MiB/s, GB/s, kbit/s, Mbit/s, Gbit/s")?;
    bytes(number, factor).ok_or_else(|| "it must be a rate such as 10 MB/s".to_owned())
}

/// The number and its unit.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number, unit.trim())
}

/// Bytes of a unit.
fn factor(unit: &str) -> Option<f64> {
    let factor: u32 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => return Some(1.0),
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "kb" => return Some(1e3),
        "mb" => return Some(1e6),
        "gb" => return Some(1e9),
        "tb" => return Some(1e12),
        _ => return None,
    };
    Some(2_f64.powi(i32::try_from(factor).ok()?))
}

fn bytes(number: &str, factor: f64) -> Option<u64> {
    let bytes = number.parse::<f64>().ok()? * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within these bounds it fits"
    )]
    (1.0..1e18).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_have_the_units_that_people_write() {
        for (text, expected) in [
            ("12GiB", 12 << 30),
            ("800 MB", 800_000_000),
            ("1073741824", 1 << 30),
            ("1.5k", 1536),
            ("2tb", 2_000_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("10 MB/s", 10_000_000),
            ("100 Mbit/s", 12_500_000),
            ("100Mbps", 12_500_000),
            ("1 gbit/s", 125_000_000),
            ("1 MiB/s", 1 << 20),
            ("250000", 250_000),
            ("3 MB", 3_000_000),
        ] {
            assert_eq!(parse_rate(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "fast",
            "-1",
            "1e400 MB",
            "10 parsecs",
            "0",
            "nan",
            "1e3",
            "99999999999 TB",
            "MB",
            "1..2 MB",
            "5 MB/h",
        ] {
            assert!(parse_size(wrong).is_err() && parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_source() {
        let error = Limits::read(None, Some(("WAVETASK_MEMORY", "much".to_owned()))).unwrap_err();
        assert_eq!((error.group, &*error.code), (ErrorGroup::Usage, "limit.malformed"));
        assert!(error.message.contains("WAVETASK_MEMORY") && error.message.contains("much"), "{error}");
        let error = Limits::read(Some(("bandwidth", "10".to_owned())), None).unwrap_err();
        assert_eq!(&*error.code, "limit.too_small");
    }

    #[test]
    fn a_memory_is_divided_and_not_exceeded() {
        for memory in [LEAST_MEMORY, 40_000_000, 2 << 30, 1 << 40] {
            let limits = Limits { bandwidth: Some(5_000), memory: Some(memory) };
            let settings = limits.applied(Settings::default());
            let all = settings.send_budget
                + settings.document_budget
                + settings.pack_budget
                + settings.result_budget;
            assert!(all <= memory, "{memory}: {settings:?}");
            assert!(settings.result_document_budget < settings.result_budget);
            assert_eq!(settings.bandwidth, Some(5_000));
        }
        let untouched = Limits::default().applied(Settings::default());
        assert_eq!(untouched.send_budget, Settings::default().send_budget);
        assert_eq!(untouched.bandwidth, None);
    }
}
