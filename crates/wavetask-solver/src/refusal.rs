//! Why a document is not accepted: a list of reasons, each with its place.

use std::fmt;

/// One reason why a document is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where in the document's JSON, in the client's notation: `structures[2].medium.heat_spec`.
    pub path: String,
    /// What is refused: the class or field that is not supported, or the rule that is broken.
    pub feature: String,
    /// A sentence for the engineer who wrote the document: what is wrong and what would be right.
    pub message: String,
}

impl Refusal {
    /// A reason from its parts.
    pub fn new(path: impl Into<String>, feature: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), feature: feature.into(), message: message.into() }
    }

    /// The reason that a reader of a part of the scene gives: its path has slashes (`structures/2/geometry`) and may
    /// stand at the front of its message, and what to do comes with it.
    pub fn of_part(path: &str, feature: impl Into<String>, message: &str, hint: &str) -> Self {
        let message = message.strip_prefix(path).map_or(message, |rest| rest.trim_start_matches(": "));
        Self::new(client_path(path), feature, format!("{message}; {hint}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.path, self.message)
        }
    }
}

/// A document that cannot be calculated as it is, with every reason found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    subject: &'static str,
    refusals: Vec<Refusal>,
}

impl Refused {
    /// Groups refusals of a subject, such as `heat simulation`; `None` if there is nothing to refuse.
    pub fn from_refusals(subject: &'static str, refusals: Vec<Refusal>) -> Option<Self> {
        (!refusals.is_empty()).then_some(Self { subject, refusals })
    }

    /// One refusal of a subject.
    pub fn single(subject: &'static str, refusal: Refusal) -> Self {
        Self { subject, refusals: vec![refusal] }
    }

    /// The reasons, in the order of the document's fields.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        write!(formatter, "The {} is not accepted.", self.subject)?;
        for (index, refusal) in self.refusals.iter().take(SHOWN).enumerate() {
            write!(formatter, " ({}) {refusal}", index + 1)?;
        }
        if self.refusals.len() > SHOWN {
            write!(formatter, " … and {} more.", self.refusals.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// `structures/3/geometry` in the client's notation: `structures[3].geometry`.
fn client_path(path: &str) -> String {
    let mut client = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            client.push_str(&format!("[{part}]"));
        } else {
            if !client.is_empty() {
                client.push('.');
            }
            client.push_str(part);
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_and_the_ninth_is_counted() {
        let refusals = |count: usize| {
            (0..count).map(|index| Refusal::new(format!("a[{index}]"), "feature", "is wrong")).collect()
        };
        assert_eq!(Refused::from_refusals("heat simulation", refusals(0)), None);
        let two = Refused::from_refusals("heat simulation", refusals(2)).expect("refusals").to_string();
        assert_eq!(two, "The heat simulation is not accepted. (1) a[0]: is wrong (2) a[1]: is wrong");
        let ten = Refused::from_refusals("heat simulation", refusals(10)).expect("refusals").to_string();
        assert!(ten.ends_with("(8) a[7]: is wrong … and 2 more."), "{ten}");
        let whole = Refused::single("mode calculation", Refusal::new("", "feature", "It is empty."));
        assert_eq!(whole.to_string(), "The mode calculation is not accepted. (1) It is empty.");
    }

    #[test]
    fn what_a_part_says_is_told_in_the_clients_notation_and_names_its_place_once() {
        let path = "structures/3/geometry/geometries/0";
        let refusal =
            Refusal::of_part(path, "geometry", &format!("{path}: a list is expected"), "correct it");
        assert_eq!(refusal.path, "structures[3].geometry.geometries[0]");
        assert_eq!(refusal.message, "a list is expected; correct it");
        let elsewhere = Refusal::of_part("", "geometry", "a list is expected", "correct it");
        assert_eq!(elsewhere.to_string(), "a list is expected; correct it");
    }
}
