//! Conditions on parameters, as a filter holds them: `I>=0.004,width=0.5,label=a`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    name: String,
    comparison: &'static str,
    value: Value,
}

/// Longer operators first, so that `>=` is not read as `>`.
const COMPARISONS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];

/// Reads conditions; the error says what is wrong with which.
pub(super) fn conditions(text: &str) -> Result<Vec<Condition>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(condition).collect()
}

fn condition(text: &str) -> Result<Condition, String> {
    let wrong = || format!("`{text}` is no condition such as `I>=0.004`");
    let at = text.find(['=', '!', '<', '>']).filter(|at| *at > 0).ok_or_else(wrong)?;
    let (name, rest) = text.split_at(at);
    let comparison =
        COMPARISONS.into_iter().find(|comparison| rest.starts_with(comparison)).ok_or_else(wrong)?;
    let value = rest[comparison.len()..].trim();
    // Whatever is no JSON is a text: `label=a` needs no quotes.
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok(Condition { name: name.trim().to_owned(), comparison, value })
}

impl Condition {
    /// Whether parameters satisfy it; one that is not there satisfies nothing.
    pub(super) fn holds(&self, parameters: &BTreeMap<String, Value>) -> bool {
        let Some(found) = parameters.get(&self.name) else { return false };
        let ordering = match (found, &self.value) {
            (Value::Number(one), Value::Number(other)) => match (one.as_f64(), other.as_f64()) {
                (Some(one), Some(other)) => one.partial_cmp(&other),
                _ => None,
            },
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            // A text that looks like a number was meant as a text where the parameter is one.
            (Value::String(one), other) => Some(one.as_str().cmp(other.to_string().as_str())),
            (one, other) => (one == other).then_some(Ordering::Equal),
        };
        match (self.comparison, ordering) {
            ("=", ordering) => ordering == Some(Ordering::Equal),
            ("!=", ordering) => ordering != Some(Ordering::Equal),
            ("<", Some(ordering)) => ordering.is_lt(),
            ("<=", Some(ordering)) => ordering.is_le(),
            (">", Some(ordering)) => ordering.is_gt(),
            (">=", Some(ordering)) => ordering.is_ge(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_or_do_not() {
        let parameters: BTreeMap<String, Value> =
            [("I", json!(0.004)), ("label", json!("a")), ("on", json!(true)), ("code", json!("7"))]
                .map(|(name, value)| (name.to_owned(), value))
                .into();
        let all = |text: &str| conditions(text).unwrap().iter().all(|one| one.holds(&parameters));
        for text in
            ["I>=0.004", "I=4e-3,label=a", "I<1,I!=3", "on=true", "code=7", "", "label>=a", "label!=b"]
        {
            assert!(all(text), "{text}");
        }
        for text in ["I>0.004", "I=4e-3,label=b", "other=1", "on=false", "on<true", "label=\"b\""] {
            assert!(!all(text), "{text}");
        }
        for text in ["I", "=3", "I!3"] {
            assert!(conditions(text).is_err(), "{text}");
        }
    }
}
