//! JSON as it is written: what stands where, without a tree. A part keeps its blanks, the digits of its numbers and its keys.
//!
//! Strictly by RFC 8259, as PostgreSQL's `json`. Escapes are decoded where a text is asked for, so that `"\u0000"` is JSON as long
//! as nobody does.

use maru_core::{Error, ErrorKind, Result};

/// Values in values beyond this depth are refused, as PostgreSQL does when its stack ends.
pub(super) const DEPTH_MAX: usize = 1000;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    pub(super) fn is_scalar(self) -> bool {
        !matches!(self, Self::Array | Self::Object)
    }
}

/// What stands behind the last value or member.
enum Next {
    More,
    End,
}

/// Walks through a text.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn malformed(&self, detail: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidText, "invalid input syntax for type json").with_detail(detail)
    }

    fn unexpected(&self) -> Error {
        match self.text[self.at..].chars().next() {
            Some(c) => self.malformed(format!("\"{c}\" is not expected at byte {}.", self.at)),
            None => self.malformed("The input string ended unexpectedly."),
        }
    }

    fn skip_space(&mut self) {
        let rest = self.text.as_bytes()[self.at..].iter();
        self.at += rest.take_while(|c| matches!(c, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    pub(super) fn peek(&mut self) -> Result<Kind> {
        self.skip_space();
        Ok(match self.text.as_bytes().get(self.at) {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => return Err(self.unexpected()),
        })
    }

    fn take(&mut self, wanted: u8) -> Result<()> {
        self.skip_space();
        if self.text.as_bytes().get(self.at) != Some(&wanted) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    /// Takes the bracket that closes, if it stands right behind the one that opens.
    fn is_closed(&mut self, by: u8) -> bool {
        self.skip_space();
        let closed = self.text.as_bytes().get(self.at) == Some(&by);
        self.at += usize::from(closed);
        closed
    }

    fn next(&mut self, close: u8) -> Result<Next> {
        self.skip_space();
        let next = match self.text.as_bytes().get(self.at) {
            Some(b',') => Next::More,
            Some(c) if *c == close => Next::End,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(next)
    }

    /// Goes through the elements of an array, each of which `take` has to read.
    pub(super) fn array(&mut self, mut take: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.take(b'[')?;
        if self.is_closed(b']') {
            return Ok(());
        }
        loop {
            take(self)?;
            if let Next::End = self.next(b']')? {
                return Ok(());
            }
        }
    }

    /// Goes through the members of an object, whose values `take` has to read; keys come with their quotes.
    pub(super) fn object(
        &mut self,
        mut take: impl FnMut(&mut Self, &'a str) -> Result<()>,
    ) -> Result<()> {
        self.take(b'{')?;
        if self.is_closed(b'}') {
            return Ok(());
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.take(b':')?;
            take(self, key)?;
            if let Next::End = self.next(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads any value; returns it as it is written.
    pub(super) fn value(&mut self, depth: usize) -> Result<&'a str> {
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        let kind = self.peek()?;
        let start = self.at;
        match kind {
            Kind::Object => self.object(|reader, _| reader.value(depth + 1).map(drop))?,
            Kind::Array => self.array(|reader| reader.value(depth + 1).map(drop))?,
            _ => drop(self.scalar()?),
        }
        Ok(&self.text[start..self.at])
    }

    /// Reads a value that is neither array nor object.
    pub(super) fn scalar(&mut self) -> Result<&'a str> {
        match self.peek()? {
            Kind::String => self.string(),
            Kind::Number => self.number(),
            Kind::Null => self.word("null"),
            Kind::Boolean if self.text[self.at..].starts_with('t') => self.word("true"),
            Kind::Boolean => self.word("false"),
            Kind::Array | Kind::Object => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &str) -> Result<&'a str> {
        let rest = &self.text[self.at..];
        let goes_on = |c: char| c.is_alphanumeric() || c == '_';
        if !rest.starts_with(word) || rest[word.len()..].starts_with(goes_on) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        Ok(&rest[..word.len()])
    }

    fn number(&mut self) -> Result<&'a str> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |from: usize| bytes[from..].iter().take_while(|c| c.is_ascii_digit()).count();
        let mut end = start + usize::from(bytes.get(start) == Some(&b'-'));
        let whole = digits(end);
        let leads_zero = whole > 1 && bytes.get(end) == Some(&b'0');
        end += whole;
        let mut valid = whole > 0 && !leads_zero;
        if bytes.get(end) == Some(&b'.') {
            let part = digits(end + 1);
            valid &= part > 0;
            end += 1 + part;
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            end += 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let part = digits(end.min(bytes.len()));
            valid &= part > 0;
            end += part;
        }
        let goes_on = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_' || !c.is_ascii();
        if !valid || bytes.get(end).is_some_and(goes_on) {
            return Err(self.malformed("A number is not written as JSON has it."));
        }
        self.at = end;
        Ok(&self.text[start..end])
    }

    fn string(&mut self) -> Result<&'a str> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        if bytes.get(start) != Some(&b'"') {
            return Err(self.unexpected());
        }
        let mut at = start + 1;
        loop {
            match bytes.get(at) {
                None => return Err(self.malformed("The input string ended unexpectedly.")),
                Some(b'"') => break,
                Some(b'\\') => {
                    let valid = match bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
                        Some(b'u') => bytes
                            .get(at + 2..at + 6)
                            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
                        _ => false,
                    };
                    if !valid {
                        return Err(self.malformed("An escape sequence is invalid."));
                    }
                    at += 2;
                }
                Some(c) if *c < 0x20 => {
                    let what = format!("Character with value 0x{c:02x} must be escaped.");
                    return Err(self.malformed(what));
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok(&self.text[start..self.at])
    }

    /// Fails if anything stands behind the value.
    pub(super) fn end(&mut self) -> Result<()> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.unexpected()) }
    }
}

pub(super) fn too_deep() -> Error {
    Error::new(ErrorKind::LimitExceeded, "JSON is nested too deeply")
        .with_detail(format!("There are at most {DEPTH_MAX} levels."))
}

/// Checks a whole text; returns what it is and the value without blanks around it.
pub(super) fn whole(text: &str) -> Result<(Kind, &str)> {
    let mut reader = Reader::new(text);
    let kind = reader.peek()?;
    let value = reader.value(0)?;
    reader.end()?;
    Ok((kind, value))
}

/// Returns the elements of a text that is an array.
pub(super) fn elements(text: &str) -> Result<Vec<&str>> {
    let mut found = Vec::new();
    let mut reader = Reader::new(text);
    reader.array(|reader| {
        found.push(reader.value(1)?);
        Ok(())
    })?;
    reader.end()?;
    Ok(found)
}

/// Returns the members of a text that is an object, in their order; the keys have their quotes still.
pub(super) fn members(text: &str) -> Result<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    let mut reader = Reader::new(text);
    reader.object(|reader, key| {
        found.push((key, reader.value(1)?));
        Ok(())
    })?;
    reader.end()?;
    Ok(found)
}

/// Returns the text that a string in quotes stands for.
///
/// # Errors
/// 22P05 for `\u0000`, 22P02 for half of a pair of UTF-16.
pub(super) fn unquoted(string: &str) -> Result<String> {
    let inner = string.get(1..string.len() - 1).unwrap_or_default();
    if !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let reader = Reader::new(string);
    let surrogate = |what: &str| reader.malformed(what);
    let mut out = String::with_capacity(inner.len());
    let mut high = None::<u32>;
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        if escaped == Some('u') {
            let hex: String = chars.by_ref().take(4).collect();
            let unit = u32::from_str_radix(&hex, 16)
                .map_err(|_| surrogate("\\u is followed by four hexadecimal digits."))?;
            match (high.take(), unit) {
                (None, 0xd800..=0xdbff) => high = Some(unit),
                (Some(first), 0xdc00..=0xdfff) => {
                    let code = 0x10000 + ((first - 0xd800) << 10) + (unit - 0xdc00);
                    out.extend(char::from_u32(code));
                }
                (None, 0xdc00..=0xdfff) => {
                    return Err(surrogate("Unicode low surrogate must follow a high surrogate."));
                }
                (Some(_), _) => {
                    return Err(surrogate(
                        "Unicode high surrogate must not follow a high surrogate.",
                    ));
                }
                (None, 0) => {
                    return Err(Error::new(
                        ErrorKind::Untranslatable,
                        "unsupported Unicode escape sequence",
                    )
                    .with_detail("\\u0000 cannot be converted to text."));
                }
                (None, code) => out.extend(char::from_u32(code)),
            }
            continue;
        }
        if high.is_some() {
            return Err(surrogate("Unicode low surrogate must follow a high surrogate."));
        }
        out.push(match (c, escaped) {
            ('\\', Some('b')) => '\u{8}',
            ('\\', Some('f')) => '\u{c}',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('t')) => '\t',
            ('\\', Some(other)) => other,
            (plain, _) => plain,
        });
    }
    if high.is_some() {
        return Err(surrogate("Unicode low surrogate must follow a high surrogate."));
    }
    Ok(out)
}
