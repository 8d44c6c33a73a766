//! Conditions on parameters as people write them: `I>=0.004,width=0.5,shape="a,b"`.

use serde_json::Value;
use wavetask_store::{Comparison, ParameterCondition};

use super::bad;
use crate::answer::Refused;

/// Conditions that one query may hold.
const MAXIMUM: usize = 20;

/// Operators, longer ones before those that they begin with.
const OPERATORS: [(&str, Comparison); 6] = [
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// Reads conditions. A value that reads as a JSON number, truth value or quoted text is that, any other is a text.
pub(super) fn parse(text: &str) -> Result<Vec<ParameterCondition>, Refused> {
    let mut conditions = Vec::new();
    for part in split(text).into_iter().filter(|part| !part.trim().is_empty()) {
        if conditions.len() == MAXIMUM {
            return Err(bad(format!("at most {MAXIMUM} conditions at once")));
        }
        conditions.push(condition(part)?);
    }
    Ok(conditions)
}

/// Splits at commas outside of quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn condition(text: &str) -> Result<ParameterCondition, Refused> {
    let unreadable = || {
        let shown: String = text.chars().take(60).collect();
        bad(format!("`{shown}` is no condition: write a name, one of = != < <= > >=, and a value"))
    };
    let at = text.find(['=', '!', '<', '>']).ok_or_else(unreadable)?;
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let (operator, value) = OPERATORS
        .into_iter()
        .find_map(|(sign, operator)| rest.strip_prefix(sign).map(|value| (operator, value.trim())))
        .ok_or_else(unreadable)?;
    if name.is_empty() || value.is_empty() {
        return Err(unreadable());
    }
    let value = match serde_json::from_str::<Value>(value) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => value,
        _ => Value::String(value.to_owned()),
    };
    Ok(ParameterCondition { name: name.to_owned(), operator, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_truth_and_texts_are_told_apart() {
        let parsed = parse(r#"I>=0.004, width = 0.5,on!=true,shape="a,\"b",name=plain,"#).unwrap();
        let plain: Vec<_> = parsed.into_iter().map(|one| (one.name, one.operator, one.value)).collect();
        assert_eq!(
            plain,
            [
                ("I".to_owned(), Comparison::GreaterOrEqual, json!(0.004)),
                ("width".to_owned(), Comparison::Equal, json!(0.5)),
                ("on".to_owned(), Comparison::NotEqual, json!(true)),
                ("shape".to_owned(), Comparison::Equal, json!("a,\"b")),
                ("name".to_owned(), Comparison::Equal, json!("plain")),
            ]
        );
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_condition_is_named() {
        for text in ["I", "=1", "I=", "I!1", "I<", "a=1,,b"] {
            let refused = parse(text).unwrap_err();
            assert_eq!(refused.status(), 400, "{text}");
        }
        assert!(parse(&"a=1,".repeat(MAXIMUM + 1)).is_err());
    }
}
