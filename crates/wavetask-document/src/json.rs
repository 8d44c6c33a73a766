//! JSON text as text: checked, hashed canonically, and cut into verbatim slices.
//!
//! Results echo pieces of the uploaded JSON byte for byte, so what is needed is where a value begins
//! and ends, not a parsed tree; and the canonical digest must see numbers exactly as they are
//! written, not through a float. One scanner does both in linear time, with bounded depth, and
//! refuses what a strict parser refuses (`NaN`, lone surrogates, control characters in strings).

use std::borrow::Cow;

use crate::DocumentError;

/// Keys that are held at once while objects are sorted: of one object and those around it. Bounds
/// memory at about 60 MB; the client's objects have some dozens.
const KEYS: usize = 1 << 20;

/// Hashes a JSON text canonically: equal values give equal digests, however they are written.
///
/// Keys are sorted, strings compared by content, numbers by exact decimal value with the sign of
/// zero kept. An object that repeats a key is refused, for parsers differ in which one counts.
pub(crate) fn digest(text: &str, depth: usize) -> Result<[u8; 32], DocumentError> {
    let mut scanner = Scanner { text, at: 0, depth, keys: KEYS };
    let mut hasher = blake3::Hasher::new();
    scanner.hash_value(&mut hasher)?;
    scanner.expect_end()?;
    Ok(*hasher.finalize().as_bytes())
}

/// The verbatim text of the value at a path of keys and list indices; `None` if there is none.
pub(crate) fn slice<'t>(text: &'t str, path: &str, depth: usize) -> Result<Option<&'t str>, DocumentError> {
    let mut scanner = Scanner { text, at: 0, depth, keys: KEYS };
    for component in path.split('/').filter(|component| !component.is_empty()) {
        if !scanner.enter(component)? {
            return Ok(None);
        }
    }
    scanner.space();
    let start = scanner.at;
    scanner.skip_value()?;
    Ok(Some(&text[start..scanner.at]))
}

/// The number of elements of the list at a path; `None` if there is no list.
pub(crate) fn list_length(text: &str, path: &str, depth: usize) -> Result<Option<usize>, DocumentError> {
    let Some(list) = slice(text, path, depth)?.filter(|value| value.starts_with('[')) else {
        return Ok(None);
    };
    let mut scanner = Scanner { text: list, at: 1, depth, keys: KEYS };
    let mut count = 0;
    if scanner.closes(b']')? {
        return Ok(Some(0));
    }
    loop {
        scanner.skip_value()?;
        count += 1;
        if !scanner.continues(b']')? {
            return Ok(Some(count));
        }
    }
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    /// Levels that may still be entered.
    depth: usize,
    /// Keys that may still be held.
    keys: usize,
}

impl<'t> Scanner<'t> {
    fn fail<T>(&self, what: &'static str) -> Result<T, DocumentError> {
        Err(DocumentError::malformed(what, format!("JSON offset {}", self.at)))
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), DocumentError> {
        self.space();
        if self.next() != Some(byte) {
            return self.fail(what);
        }
        self.at += 1;
        Ok(())
    }

    fn expect_end(&mut self) -> Result<(), DocumentError> {
        self.space();
        if self.next().is_some() { self.fail("text after the JSON value") } else { Ok(()) }
    }

    /// Whether the list or object just opened is empty; consumes the closing byte if so.
    fn closes(&mut self, close: u8) -> Result<bool, DocumentError> {
        self.space();
        let closes = self.next() == Some(close);
        self.at += usize::from(closes);
        Ok(closes)
    }

    /// After an element: consumes the comma (true) or the closing byte (false).
    fn continues(&mut self, close: u8) -> Result<bool, DocumentError> {
        self.space();
        match self.next() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.fail("expected a comma or the end of the list or object"),
        }
    }

    fn deeper(&mut self) -> Result<(), DocumentError> {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                self.depth = depth;
                Ok(())
            }
            None => self.fail("nested too deeply"),
        }
    }

    /// Moves to the value of a key or index of the value at hand; false if there is none.
    fn enter(&mut self, component: &str) -> Result<bool, DocumentError> {
        self.space();
        self.deeper()?;
        match self.next() {
            Some(b'{') => {
                self.at += 1;
                if self.closes(b'}')? {
                    return Ok(false);
                }
                loop {
                    self.space();
                    let key = self.string()?;
                    self.expect(b':', "expected a colon")?;
                    if key == component {
                        return Ok(true);
                    }
                    self.skip_value()?;
                    if !self.continues(b'}')? {
                        return Ok(false);
                    }
                }
            }
            Some(b'[') => {
                let Ok(index) = component.parse::<usize>() else { return Ok(false) };
                self.at += 1;
                if self.closes(b']')? {
                    return Ok(false);
                }
                for _ in 0..index {
                    self.skip_value()?;
                    if !self.continues(b']')? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn skip_value(&mut self) -> Result<(), DocumentError> {
        self.space();
        match self.next() {
            Some(b'{') => {
                self.deeper()?;
                self.at += 1;
                if !self.closes(b'}')? {
                    loop {
                        self.space();
                        self.string()?;
                        self.expect(b':', "expected a colon")?;
                        self.skip_value()?;
                        if !self.continues(b'}')? {
                            break;
                        }
                    }
                }
                self.depth += 1;
            }
            Some(b'[') => {
                self.deeper()?;
                self.at += 1;
                if !self.closes(b']')? {
                    loop {
                        self.skip_value()?;
                        if !self.continues(b']')? {
                            break;
                        }
                    }
                }
                self.depth += 1;
            }
            Some(b'"') => {
                self.string()?;
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
            }
            _ => {
                self.word()?;
            }
        }
        Ok(())
    }

    /// Feeds the canonical form of the value at hand: a tag, then content that says where it ends.
    fn hash_value(&mut self, hasher: &mut blake3::Hasher) -> Result<(), DocumentError> {
        self.space();
        match self.next() {
            Some(b'{') => {
                self.deeper()?;
                self.at += 1;
                let mut members: Vec<(Cow<'t, str>, [u8; 32])> = Vec::new();
                if !self.closes(b'}')? {
                    loop {
                        self.space();
                        let key = self.string()?;
                        self.expect(b':', "expected a colon")?;
                        let mut value = blake3::Hasher::new();
                        self.hash_value(&mut value)?;
                        if self.keys == 0 {
                            return self.fail("more than a million keys in an object");
                        }
                        self.keys -= 1;
                        members.push((key, *value.finalize().as_bytes()));
                        if !self.continues(b'}')? {
                            break;
                        }
                    }
                }
                members.sort_unstable();
                if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return self.fail("an object that ends here repeats a key");
                }
                hasher.update(b"{");
                hasher.update(&(members.len() as u64).to_le_bytes());
                for (key, value) in &members {
                    hash_text(hasher, key);
                    hasher.update(value);
                }
                self.keys += members.len();
                self.depth += 1;
            }
            Some(b'[') => {
                self.deeper()?;
                self.at += 1;
                hasher.update(b"[");
                if !self.closes(b']')? {
                    loop {
                        self.hash_value(hasher)?;
                        if !self.continues(b']')? {
                            break;
                        }
                    }
                }
                hasher.update(b"]");
                self.depth += 1;
            }
            Some(b'"') => hash_text(hasher, &self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?.hash(hasher),
            _ => {
                hasher.update(self.word()?.as_bytes());
            }
        }
        Ok(())
    }

    fn word(&mut self) -> Result<&'static str, DocumentError> {
        for word in ["null", "true", "false"] {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(word);
            }
        }
        if self.next().is_none() {
            self.fail("the text ends too early")
        } else {
            self.fail("expected a value")
        }
    }

    fn string(&mut self) -> Result<Cow<'t, str>, DocumentError> {
        if self.next() != Some(b'"') {
            return self.fail("expected a string");
        }
        self.at += 1;
        let start = self.at;
        let mut decoded: Option<String> = None;
        let mut plain = start;
        loop {
            match self.next() {
                Some(b'"') => {
                    let rest = &self.text[plain..self.at];
                    self.at += 1;
                    return Ok(match decoded {
                        None => Cow::Borrowed(rest),
                        Some(decoded) => Cow::Owned(decoded + rest),
                    });
                }
                Some(b'\\') => {
                    let before = &self.text[plain..self.at];
                    let decoded = decoded.get_or_insert_default();
                    decoded.push_str(before);
                    self.at += 1;
                    let character = self.escape()?;
                    decoded.push(character);
                    plain = self.at;
                }
                Some(0..=0x1f) => return self.fail("a control character in a string"),
                Some(_) => self.at += 1,
                None => return self.fail("a string without an end"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, DocumentError> {
        let Some(byte) = self.next() else { return self.fail("a string without an end") };
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hexadecimal()?;
                let code = if (0xd800..0xdc00).contains(&first)
                    && self.text.as_bytes()[self.at..].starts_with(b"\\u")
                {
                    self.at += 2;
                    let second = self.hexadecimal()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return self.fail("a lone surrogate");
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                match char::from_u32(code) {
                    Some(character) => character,
                    None => return self.fail("a lone surrogate"),
                }
            }
            _ => return self.fail("an unknown escape"),
        })
    }

    fn hexadecimal(&mut self) -> Result<u32, DocumentError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return self.fail("expected a hexadecimal digit") };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn digits(&mut self) -> &'t str {
        let start = self.at;
        while matches!(self.next(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn number(&mut self) -> Result<Number<'t>, DocumentError> {
        let negative = self.next() == Some(b'-');
        self.at += usize::from(negative);
        let whole = self.digits();
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
            return self.fail("not a number");
        }
        let mut fraction = "";
        if self.next() == Some(b'.') {
            self.at += 1;
            fraction = self.digits();
            if fraction.is_empty() {
                return self.fail("not a number");
            }
        }
        let mut exponent = 0_i64;
        if matches!(self.next(), Some(b'e' | b'E')) {
            self.at += 1;
            let negative = self.next() == Some(b'-');
            self.at += usize::from(matches!(self.next(), Some(b'-' | b'+')));
            let digits = self.digits();
            if digits.is_empty() {
                return self.fail("not a number");
            }
            let digits = digits.trim_start_matches('0');
            if digits.len() > 9 {
                return self.fail("an exponent out of range");
            }
            exponent = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(0) };
            if negative {
                exponent = -exponent;
            }
        }
        Ok(Number { negative, whole, fraction, exponent })
    }
}

/// A number as it is written: ± whole.fraction × 10^exponent.
struct Number<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    exponent: i64,
}

impl Number<'_> {
    /// Feeds the sign, the significant digits without zeros at either end, and the power of ten of
    /// the last of them: the same for `1`, `1.0`, `10e-1`.
    fn hash(&self, hasher: &mut blake3::Hasher) {
        let whole = self.whole.trim_start_matches('0');
        let (high, low, trailing) = if whole.is_empty() {
            ("", self.fraction.trim_start_matches('0'), self.fraction.len())
        } else {
            (whole, self.fraction, self.fraction.len())
        };
        let mut power = self.exponent - trailing as i64;
        let kept_low = low.trim_end_matches('0');
        power += (low.len() - kept_low.len()) as i64;
        let kept_high = if kept_low.is_empty() { high.trim_end_matches('0') } else { high };
        power += (high.len() - kept_high.len()) as i64;
        let count = kept_high.len() + kept_low.len();
        if count == 0 {
            power = 0;
        }
        hasher.update(if self.negative { b"-" } else { b"+" });
        hasher.update(&(count as u64).to_le_bytes());
        hasher.update(kept_high.as_bytes());
        hasher.update(kept_low.as_bytes());
        hasher.update(&power.to_le_bytes());
    }
}

fn hash_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(b"\"");
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}
