//! JSON text as RFC 8259 has it, walked through without building a tree.
//!
//! Values are places in the text, so that what no column wants is checked and passed over, and what one wants is read
//! as it is written: numbers keep all their digits.

use std::borrow::Cow;

use maru_core::limits::NESTING_MAX;
use maru_core::{Error, ErrorKind, Result};
use memchr::memchr2;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    Text,
    /// Text with at least one escape.
    EscapedText,
    Array,
    Object,
}

/// A value and where it stands; a text's place is that between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub(super) kind: Kind,
    start: usize,
    end: usize,
}

impl Value {
    /// Returns the value as it is written.
    pub(super) fn written(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns the characters of a text; of any other value what is written.
    pub(super) fn characters(self, text: &str) -> Result<Cow<'_, str>> {
        let written = self.written(text);
        if self.kind == Kind::EscapedText { unescape(written) } else { Ok(Cow::Borrowed(written)) }
    }

    pub(super) fn is_text(self) -> bool {
        matches!(self.kind, Kind::Text | Kind::EscapedText)
    }
}

/// Walks through a text from one place on.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Begins at a value that was found before.
    pub(super) fn inside(text: &'a str, value: Value) -> Self {
        Self { text, at: value.start, depth: 0 }
    }

    /// Reads the members of an object that begins here, up to its end.
    pub(super) fn members(
        &mut self,
        mut each: impl FnMut(Value, Value) -> Result<()>,
    ) -> Result<()> {
        self.open(b'{', "an object was expected")?;
        if !self.take(b'}') {
            loop {
                self.blanks();
                if self.peek() != Some(b'"') {
                    return Err(self.bad("a name in quotes was expected"));
                }
                let name = self.string()?;
                if !self.take(b':') {
                    return Err(self.bad("a colon was expected"));
                }
                let value = self.value()?;
                each(name, value)?;
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.bad("a comma or the end of the object was expected"));
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads the items of an array that begins here, up to its end.
    pub(super) fn items(&mut self, mut each: impl FnMut(Value) -> Result<()>) -> Result<()> {
        self.open(b'[', "an array was expected")?;
        if !self.take(b']') {
            loop {
                let value = self.value()?;
                each(value)?;
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.bad("a comma or the end of the array was expected"));
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Makes sure that nothing but blanks follows.
    pub(super) fn end(&mut self) -> Result<()> {
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.bad("something follows the object")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn open(&mut self, bracket: u8, missing: &str) -> Result<()> {
        if !self.take(bracket) {
            return Err(self.bad(missing));
        }
        if self.depth >= NESTING_MAX {
            return Err(self.bad(&format!("it is nested deeper than {NESTING_MAX}")));
        }
        self.depth += 1;
        Ok(())
    }

    fn bad(&self, why: &str) -> Error {
        let why = if self.peek().is_none() { "it is cut off" } else { why };
        let at = self.text.get(..self.at).unwrap_or(self.text).chars().count() + 1;
        bad(format!("not valid JSON at character {at}: {why}"))
    }

    pub(super) fn value(&mut self) -> Result<Value> {
        self.blanks();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Kind::Number
            }
            Some(b'{') => {
                self.members(|_, _| Ok(()))?;
                Kind::Object
            }
            Some(b'[') => {
                self.items(|_| Ok(()))?;
                Kind::Array
            }
            Some(b'n') => self.word("null", Kind::Null)?,
            Some(b't') => self.word("true", Kind::True)?,
            Some(b'f') => self.word("false", Kind::False)?,
            _ => return Err(self.bad("a value was expected")),
        };
        Ok(Value { kind, start, end: self.at })
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.bad("a value was expected"));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<()> {
        self.at += usize::from(self.peek() == Some(b'-'));
        let start = self.at;
        self.digits()?;
        if self.at > start + 1 && self.text.as_bytes()[start] == b'0' {
            return Err(self.bad("a number begins with zero"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.bad("a digit was expected")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Value> {
        self.at += 1;
        let start = self.at;
        let mut kind = Kind::Text;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let length = memchr2(b'"', b'\\', rest);
            let plain = &rest[..length.unwrap_or(rest.len())];
            if let Some(control) = plain.iter().position(|byte| *byte < 0x20) {
                self.at += control;
                return Err(self.bad("a control character must be escaped"));
            }
            self.at += plain.len();
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Value { kind, start, end });
                }
                Some(_) => {
                    kind = Kind::EscapedText;
                    self.at += 1;
                    self.escape()?;
                }
                None => return Err(self.bad("a text has no end")),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char> {
        let plain = match self.peek() {
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            Some(quoted @ (b'"' | b'\\' | b'/')) => char::from(quoted),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.bad("an escape is not known")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char> {
        let high = self.hex()?;
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high).ok_or_else(|| self.bad("an escape is half a character"));
        }
        if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            return Err(self.bad("an escape is half a character"));
        }
        self.at += 2;
        let low = self.hex()?;
        let joined = (0xdc00..0xe000)
            .contains(&low)
            .then(|| char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
        joined.flatten().ok_or_else(|| self.bad("an escape is half a character"))
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|text| u32::from_str_radix(text, 16).ok());
        let code = code.ok_or_else(|| self.bad("four hexadecimal digits were expected"))?;
        self.at += 4;
        Ok(code)
    }
}

/// Resolves the escapes of a text that was walked through before.
fn unescape(written: &str) -> Result<Cow<'_, str>> {
    let mut scanner = Scanner::new(written);
    let mut plain = String::with_capacity(written.len());
    while let Some(length) = memchr::memchr(b'\\', &written.as_bytes()[scanner.at..]) {
        let end = scanner.at + length;
        plain.push_str(written.get(scanner.at..end).unwrap_or_default());
        scanner.at = end + 1;
        plain.push(scanner.escape()?);
    }
    plain.push_str(written.get(scanner.at..).unwrap_or_default());
    Ok(Cow::Owned(plain))
}

/// The text is no JSON, or not laid out as it has to be.
pub(super) fn bad(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadFileFormat, what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(text: &str) -> Result<()> {
        let mut scanner = Scanner::new(text);
        scanner.value()?;
        scanner.end()
    }

    #[test]
    fn takes_json_and_nothing_else() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        for text in [
            "{}",
            " [ ] ",
            r#"{"a":[1,-0,0.5,1E+9,-2e-3,true,false,null,""," \"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"],"a":{}}"#,
            &deep(NESTING_MAX),
        ] {
            walk(text).unwrap();
        }
        for text in [
            "",
            "{",
            "[1,]",
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            "{a:1}",
            "{'a':1}",
            "[1 2]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "0x1",
            "NaN",
            "Infinity",
            "nul",
            "nulll",
            "True",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "\"a\nb\"",
            "\"a\tb\"",
            "\"",
            "\"\\",
            "{} {}",
            "[,]",
            "{,}",
            "1/**/",
            "\u{a0}1",
            &deep(NESTING_MAX + 1),
            &"[".repeat(1_000_000),
        ] {
            let error = walk(text).unwrap_err();
            assert_eq!(error.sqlstate(), "22P04", "{text:.20}");
        }
    }

    #[test]
    fn values_are_as_written() {
        let text = r#"{"n": 1.50, "t": "한글 \u00e9\n\ud83d\ude00", "o": {"x": [1, 2]}}"#;
        let mut found = Vec::new();
        let mut scanner = Scanner::new(text);
        scanner
            .members(|name, value| {
                found.push((
                    name.characters(text)?.into_owned(),
                    value.characters(text)?.into_owned(),
                ));
                Ok(())
            })
            .unwrap();
        let wanted = [("n", "1.50"), ("t", "한글 é\n😀"), ("o", r#"{"x": [1, 2]}"#)];
        assert_eq!(found, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
