//! Text and CSV: from bytes to lines, from a line to its fields, as PostgreSQL reads them.

use std::ops::Range;

use maru_core::{Error, ErrorKind, Result, limits};
use maru_sql::{CopyFormat, CopyOptions};

/// How lines end; the first one tells for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Newline,
    Return,
    Both,
}

/// Bytes that have come, cut into lines.
#[derive(Debug)]
pub(super) struct Lines {
    csv: bool,
    quote: u8,
    /// `None` where it is the quote itself.
    escape: Option<u8>,
    bytes: Vec<u8>,
    /// Where the line begins that is being looked for, and how far it has been looked at.
    start: usize,
    at: usize,
    ending: Option<Ending>,
    in_quotes: bool,
    escaped: bool,
    /// Lines before the one that is being looked for; a line of CSV may hold several.
    pub(super) number: u64,
    /// Whether it has been counted.
    begun: bool,
    /// Whether the end has been marked: what comes after it does not count.
    ended: bool,
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadCopyFormat, message)
}

impl Lines {
    pub(super) fn new(options: &CopyOptions) -> Self {
        Self {
            csv: options.format == CopyFormat::Csv,
            quote: options.quote,
            escape: (options.escape != options.quote).then_some(options.escape),
            bytes: Vec::new(),
            start: 0,
            at: 0,
            ending: None,
            in_quotes: false,
            escaped: false,
            number: 0,
            begun: false,
            ended: false,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        if self.ended {
            return;
        }
        self.bytes.drain(..self.start);
        self.at -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(piece);
    }

    pub(super) fn line(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Finds the next line, without its end. `None`: more bytes are needed, or, after the `last` ones, there is none.
    ///
    /// # Errors
    /// 22P04 for lines that end now so, now otherwise; 54000 for one that is too long.
    pub(super) fn next(&mut self, last: bool) -> Result<Option<Range<usize>>> {
        if self.ended {
            return Ok(None);
        }
        if !self.begun && self.start < self.bytes.len() {
            self.number += 1;
            self.begun = true;
        }
        let found = if self.csv { self.next_csv(last)? } else { self.next_text(last)? };
        if found.is_some() {
            self.begun = false;
        }
        if found.is_none() && self.at - self.start > limits::COPY_ROW_BYTES_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "row is too long").with_detail(
                format!("The limit copy_row_bytes_max is {}.", limits::COPY_ROW_BYTES_MAX),
            ));
        }
        if found.is_none() && last && !self.ended && self.start < self.bytes.len() {
            // A last line without an end.
            let line = self.start..self.bytes.len();
            self.start = self.bytes.len();
            self.at = self.start;
            self.ended = true;
            return Ok(Some(line));
        }
        Ok(found)
    }

    fn next_text(&mut self, last: bool) -> Result<Option<Range<usize>>> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(offset) = memchr::memchr3(b'\n', b'\r', b'\\', rest) else {
                self.at = self.bytes.len();
                return Ok(None);
            };
            self.at += offset;
            if self.bytes[self.at] != b'\\' {
                match self.line_end(last)? {
                    Some(line) => return Ok(Some(line)),
                    None => return Ok(None),
                }
            }
            match self.bytes.get(self.at + 1) {
                None if last => self.at += 1,
                None => return Ok(None),
                Some(b'.') => return self.end_mark(last),
                // Whatever is escaped ends no line.
                Some(_) => self.at += 2,
            }
        }
    }

    fn next_csv(&mut self, last: bool) -> Result<Option<Range<usize>>> {
        while let Some(&byte) = self.bytes.get(self.at) {
            let next = self.bytes.get(self.at + 1).copied();
            if matches!(byte, b'\\' | b'\r') && next.is_none() && !last {
                return Ok(None);
            }
            if self.in_quotes && Some(byte) == self.escape {
                self.escaped = !self.escaped;
            }
            if byte == self.quote && !self.escaped {
                self.in_quotes = !self.in_quotes;
            }
            if Some(byte) != self.escape {
                self.escaped = false;
            }
            let is_end = matches!(byte, b'\n' | b'\r');
            if is_end && !self.in_quotes {
                return self.line_end(last);
            }
            // As PostgreSQL counts, which in the first line does not know yet how lines end.
            let counted = if self.ending == Some(Ending::Newline) { b'\n' } else { b'\r' };
            if byte == counted && self.in_quotes {
                self.number += 1;
            }
            if byte == b'\\' && self.at == self.start && next == Some(b'.') {
                // Alone in a line it is the end; otherwise these are two bytes like others.
                match self.bytes.get(self.at + 2) {
                    None if !last => return Ok(None),
                    None | Some(b'\n' | b'\r') => return self.end_mark(last),
                    Some(_) => {}
                }
            }
            self.at += 1;
        }
        Ok(None)
    }

    /// Ends the line at the newline or carriage return that has been found.
    fn line_end(&mut self, last: bool) -> Result<Option<Range<usize>>> {
        let line = self.start..self.at;
        let ending = match self.bytes[self.at] {
            b'\n' => Ending::Newline,
            _ => match self.bytes.get(self.at + 1) {
                Some(b'\n') if self.ending != Some(Ending::Return) => Ending::Both,
                None if !last => return Ok(None),
                _ => Ending::Return,
            },
        };
        if self.ending.is_some_and(|known| known != ending) {
            return Err(self.unlike(ending));
        }
        self.ending = Some(ending);
        self.start = self.at + if ending == Ending::Both { 2 } else { 1 };
        self.at = self.start;
        Ok(Some(line))
    }

    fn unlike(&self, ending: Ending) -> Error {
        let (name, letter) = match ending {
            Ending::Newline => ("newline", "n"),
            _ => ("carriage return", "r"),
        };
        match self.csv {
            true => bad(format!("unquoted {name} found in data"))
                .with_hint(format!("Use quoted CSV field to represent {name}.")),
            false => bad(format!("literal {name} found in data"))
                .with_hint(format!("Use \"\\{letter}\" to represent {name}.")),
        }
    }

    /// Ends all lines at `\.`; what stands before it in its line is the last line.
    fn end_mark(&mut self, last: bool) -> Result<Option<Range<usize>>> {
        let after = self.bytes.get(self.at + 2..).unwrap_or_default();
        let found = match after {
            [] | [b'\r'] if !last => return Ok(None),
            [] => None,
            [b'\r', b'\n', ..] => Some(Ending::Both),
            [b'\n', ..] => Some(Ending::Newline),
            [b'\r', ..] => Some(Ending::Return),
            _ => return Err(bad("end-of-copy marker corrupt")),
        };
        if let (Some(known), Some(found)) = (self.ending, found)
            && known != found
        {
            return Err(bad("end-of-copy marker does not match previous newline style"));
        }
        let line = self.start..self.at;
        self.ended = true;
        let text = self.at > self.start;
        if !text {
            self.start = self.bytes.len();
            self.at = self.start;
        }
        Ok(text.then_some(line))
    }
}

/// The fields of one line, unescaped, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Fields {
    text: Vec<u8>,
    /// Where each ends in `text`; whether it was in quotes; whether its raw text is what stands for NULL.
    ends: Vec<(usize, bool, bool)>,
}

impl Fields {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns a field, and whether it stands for NULL as it is written, and whether it was in quotes.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], bool, bool)> {
        let (end, quoted, null) = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        Some((&self.text[start..end], null, quoted))
    }

    fn end(&mut self, quoted: bool, null: bool) {
        self.ends.push((self.text.len(), quoted, null));
    }

    /// Splits a line of text.
    pub(super) fn split_text(&mut self, line: &[u8], options: &CopyOptions) {
        self.text.clear();
        self.ends.clear();
        let mut rest = line;
        loop {
            let (mut at, mut escapes) = (0, false);
            let more = loop {
                let Some(offset) = memchr::memchr2(options.delimiter, b'\\', &rest[at..]) else {
                    at = rest.len();
                    break false;
                };
                at += offset;
                if rest[at] == options.delimiter {
                    break true;
                }
                escapes = true;
                at = (at + 2).min(rest.len());
            };
            let raw = &rest[..at];
            match escapes {
                true => unescape(raw, &mut self.text),
                false => self.text.extend_from_slice(raw),
            }
            self.end(false, raw == options.null.as_bytes());
            if !more {
                return;
            }
            rest = &rest[at + 1..];
        }
    }

    /// Splits a line of CSV.
    ///
    /// # Errors
    /// 22P04 for quotes that do not end.
    pub(super) fn split_csv(&mut self, line: &[u8], options: &CopyOptions) -> Result<()> {
        let CopyOptions { delimiter, quote, escape, .. } = *options;
        self.text.clear();
        self.ends.clear();
        let mut bytes = line.iter().copied().peekable();
        loop {
            let start = self.text.len();
            let (mut quoted, mut more, mut in_quotes) = (false, false, false);
            while let Some(byte) = bytes.next() {
                if !in_quotes {
                    if byte == delimiter {
                        more = true;
                        break;
                    }
                    if byte == quote {
                        (quoted, in_quotes) = (true, true);
                    } else {
                        self.text.push(byte);
                    }
                    continue;
                }
                if byte == escape
                    && let Some(next) = bytes.next_if(|next| *next == escape || *next == quote)
                {
                    self.text.push(next);
                } else if byte == quote {
                    in_quotes = false;
                } else {
                    self.text.push(byte);
                }
            }
            if in_quotes {
                return Err(bad("unterminated CSV quoted field"));
            }
            let null = !quoted && &self.text[start..] == options.null.as_bytes();
            self.end(quoted, null);
            if !more {
                return Ok(());
            }
        }
    }
}

/// Reads backslashes: letters for control characters, bytes in octal and hexadecimal, anything else as itself.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        // A backslash at the very end stands for itself.
        let Some(letter) = bytes.next() else {
            out.push(b'\\');
            return;
        };
        let mut digits = |base: u32, first: Option<u32>, most: usize| {
            let mut value = first.unwrap_or(0);
            let mut seen = usize::from(first.is_some());
            while seen < most
                && let Some(digit) = bytes.peek().and_then(|b| char::from(*b).to_digit(base))
            {
                bytes.next();
                value = value * base + digit;
                seen += 1;
            }
            (seen > 0).then_some((value & 0xff) as u8)
        };
        out.push(match letter {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => digits(8, Some(u32::from(letter - b'0')), 3).unwrap_or(letter),
            b'x' => digits(16, None, 2).unwrap_or(letter),
            other => other,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> CopyOptions {
        CopyOptions { format: CopyFormat::Text, null: "\\N".to_owned(), ..CopyOptions::binary() }
    }

    fn csv() -> CopyOptions {
        CopyOptions { format: CopyFormat::Csv, delimiter: b',', ..CopyOptions::binary() }
    }

    /// Reads the lines of a text that comes in pieces of `size` bytes.
    fn lines(options: &CopyOptions, text: &str, size: usize) -> Result<Vec<String>> {
        let mut lines = Lines::new(options);
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            lines.push(piece);
            while let Some(range) = lines.next(false)? {
                found.push(String::from_utf8_lossy(lines.line(range)).into_owned());
            }
        }
        while let Some(range) = lines.next(true)? {
            found.push(String::from_utf8_lossy(lines.line(range)).into_owned());
        }
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let cases: [(CopyOptions, &str, &[&str]); 12] = [
            (text(), "a\nb\n", &["a", "b"]),
            (text(), "a\r\nb\r\n\\.\r\nc", &["a", "b"]),
            (text(), "a\rb\r", &["a", "b"]),
            (text(), "a\\\nb\nc", &["a\\\nb", "c"]),
            (text(), "a\n\\.\nb\n", &["a"]),
            (text(), "a\n\\.", &["a"]),
            (text(), "a\nb\\.\nc\n", &["a", "b"]),
            (text(), "\n\n", &["", ""]),
            (csv(), "a,\"b\nc\"\nd\n", &["a,\"b\nc\"", "d"]),
            (csv(), "a\n\\.\nb\n", &["a"]),
            (csv(), "\\.a\nb\\.\n", &["\\.a", "b\\."]),
            (csv(), "\"a\"\"\n\"\r\nb\r\n", &["\"a\"\"\n\"", "b"]),
        ];
        for (options, text, expected) in cases {
            for size in 1..=text.len() {
                assert_eq!(lines(&options, text, size).unwrap(), expected, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn endings_do_not_mix() {
        for (options, text, message) in [
            (text(), "a\nb\rc", "literal carriage return found in data"),
            (text(), "a\r\nb\n", "literal newline found in data"),
            (csv(), "a\nb\r\n", "unquoted carriage return found in data"),
            (csv(), "a\rb\n", "unquoted newline found in data"),
            (text(), "a\n\\.x\n", "end-of-copy marker corrupt"),
            (text(), "a\n\\.\r\n", "end-of-copy marker does not match previous newline style"),
        ] {
            for size in 1..=text.len() {
                let error = lines(&options, text, size).unwrap_err();
                assert_eq!((error.sqlstate(), error.primary()), ("22P04", message), "{text:?}");
            }
        }
    }

    fn fields(options: &CopyOptions, line: &str) -> Vec<Option<String>> {
        let mut fields = Fields::default();
        match options.format {
            CopyFormat::Csv => fields.split_csv(line.as_bytes(), options).unwrap(),
            _ => fields.split_text(line.as_bytes(), options),
        }
        let found = (0..fields.len()).filter_map(|index| fields.get(index));
        let texts = found
            .map(|(text, null, _)| (!null).then(|| String::from_utf8_lossy(text).into_owned()));
        texts.collect()
    }

    #[test]
    fn fields_are_unescaped() {
        let some = |texts: &[&str]| texts.iter().map(|t| Some((*t).to_owned())).collect::<Vec<_>>();
        assert_eq!(fields(&text(), "a\tb"), some(&["a", "b"]));
        assert_eq!(fields(&text(), ""), some(&[""]));
        assert_eq!(fields(&text(), "\\N\t\\\\N"), [None, Some("\\N".to_owned())]);
        assert_eq!(fields(&text(), "\\t\\x41\\101\\q\\xg\\"), some(&["\tAAqxg\\"]));
        assert_eq!(fields(&csv(), "a,\"b,\"\"c\",,\"\""), {
            let mut expected = some(&["a", "b,\"c"]);
            expected.extend([None, Some(String::new())]);
            expected
        });
        assert_eq!(fields(&csv(), "x\"y\"z"), some(&["xyz"]));
        let mut open = Fields::default();
        assert_eq!(open.split_csv(b"\"a", &csv()).unwrap_err().sqlstate(), "22P04");
    }
}
