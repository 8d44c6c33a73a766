//! Numbers as the client writes them into JSON, which has no infinities.

use serde_json::Value;

/// A JSON number, or one of the strings that stand for infinities; `None` for everything else. Never not-a-number.
pub fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "Infinity" | "inf" => Some(f64::INFINITY),
            "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    };
    number.filter(|number| !number.is_nan())
}
