//! Cuts bytes into records and fields and counts lines.
//!
//! With a quote (CSV) a field in quotes may hold delimiters, newlines and doubled quotes. Without one (Hive's
//! LazySimpleSerDe) every newline ends a record and the escape works anywhere.

use memchr::{memchr, memchr2, memchr3};

use super::csv::Dialect;

/// One field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::file_table) struct Field<'a> {
    /// The bytes after quotes and escapes are gone.
    pub(in crate::file_table) text: &'a [u8],
    /// The bytes as they stand in the file, without quotes around them.
    pub(in crate::file_table) raw: &'a [u8],
    pub(in crate::file_table) quoted: bool,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    raw_start: usize,
    raw_end: usize,
    /// Whether `start..end` counts in the scratch buffer.
    unescaped: bool,
    quoted: bool,
}

/// What stands next in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::file_table) enum Cut {
    /// A record of this many bytes, with this many newlines inside it, its end counted.
    Record { n_bytes: usize, n_lines: u64 },
    /// A line with nothing in it, which is no record where records have several fields.
    Blank { n_bytes: usize },
    /// The record goes on in bytes that are not here yet.
    Incomplete,
    /// The file ends inside quotes.
    OpenQuote,
}

/// Cuts one record at a time and keeps where its fields are.
#[derive(Debug)]
pub(in crate::file_table) struct Records {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    /// An empty line is a row whose first field is empty: to Hive, and where there is only one field.
    keep_blank: bool,
    spans: Vec<Span>,
    scratch: Vec<u8>,
}

impl Records {
    pub(in crate::file_table) fn new(dialect: &Dialect) -> Self {
        Self {
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            escape: dialect.escape,
            keep_blank: dialect.lenient,
            spans: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes lines with nothing in them for records of one field from now on.
    pub(in crate::file_table) fn keep_blank_lines(&mut self) {
        self.keep_blank = true;
    }

    pub(in crate::file_table) fn n_fields(&self) -> usize {
        self.spans.len()
    }

    /// Returns a field of the record cut last, which lies in `buffer`.
    pub(in crate::file_table) fn field<'a>(
        &'a self,
        buffer: &'a [u8],
        index: usize,
    ) -> Option<Field<'a>> {
        let span = self.spans.get(index)?;
        let text = if span.unescaped { &self.scratch[..] } else { buffer };
        Some(Field {
            text: &text[span.start..span.end],
            raw: &buffer[span.raw_start..span.raw_end],
            quoted: span.quoted,
        })
    }

    /// Cuts the record at the start of `buffer`; `last` says that no bytes follow it.
    pub(in crate::file_table) fn cut(&mut self, buffer: &[u8], last: bool) -> Cut {
        self.spans.clear();
        self.scratch.clear();
        if !self.keep_blank
            && let Some(n_bytes) = blank_line(buffer, last)
        {
            return Cut::Blank { n_bytes };
        }
        match self.quote {
            Some(quote) => self.cut_quoted(buffer, last, quote),
            None => self.cut_plain(buffer, last),
        }
    }

    fn cut_plain(&mut self, buffer: &[u8], last: bool) -> Cut {
        let (line_end, n_bytes) = match memchr(b'\n', buffer) {
            Some(end) => (end, end + 1),
            None if last => (buffer.len(), buffer.len()),
            None => return Cut::Incomplete,
        };
        // A carriage return before the newline belongs to it, as Hadoop's line reader has it.
        let line = buffer[..line_end].strip_suffix(b"\r").unwrap_or(&buffer[..line_end]);
        let mut at = 0;
        loop {
            let start = at;
            let (scratch_start, mut copied_to) = (self.scratch.len(), start);
            let mut unescaped = false;
            let end = loop {
                let found = match self.escape {
                    Some(escape) => memchr2(self.delimiter, escape, &line[at..]),
                    None => memchr(self.delimiter, &line[at..]),
                };
                let Some(found) = found.map(|found| at + found) else { break line.len() };
                if line[found] == self.delimiter && self.escape != Some(self.delimiter) {
                    break found;
                }
                let Some(&escaped) = line.get(found + 1) else { break line.len() };
                unescaped = true;
                self.scratch.extend_from_slice(&line[copied_to..found]);
                self.scratch.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    other => other,
                });
                at = found + 2;
                copied_to = at;
            };
            let span = if unescaped {
                self.scratch.extend_from_slice(&line[copied_to..end]);
                Span {
                    start: scratch_start,
                    end: self.scratch.len(),
                    raw_start: start,
                    raw_end: end,
                    unescaped,
                    quoted: false,
                }
            } else {
                Span { start, end, raw_start: start, raw_end: end, unescaped, quoted: false }
            };
            self.spans.push(span);
            if end == line.len() {
                return Cut::Record { n_bytes, n_lines: 1 };
            }
            at = end + 1;
        }
    }

    fn cut_quoted(&mut self, buffer: &[u8], last: bool, quote: u8) -> Cut {
        let mut at = 0;
        let mut n_lines = 1;
        loop {
            let field = if buffer.get(at) == Some(&quote) {
                self.quoted_field(buffer, at, last, quote)
            } else {
                self.bare_field(buffer, at, last)
            };
            let (span, end, lines) = match field {
                FieldCut::Whole { span, end, lines } => (span, end, lines),
                FieldCut::Incomplete => return Cut::Incomplete,
                FieldCut::OpenQuote => return Cut::OpenQuote,
            };
            self.spans.push(span);
            n_lines += lines;
            match buffer.get(end) {
                Some(&byte) if byte == self.delimiter => at = end + 1,
                Some(b'\r') if buffer.get(end + 1) == Some(&b'\n') => {
                    return Cut::Record { n_bytes: end + 2, n_lines };
                }
                // The newline after a carriage return may not be here yet.
                Some(b'\r') if end + 1 == buffer.len() && !last => return Cut::Incomplete,
                Some(_) => return Cut::Record { n_bytes: end + 1, n_lines },
                None if last => return Cut::Record { n_bytes: end, n_lines },
                None => return Cut::Incomplete,
            }
        }
    }

    /// A field without quotes around it: quotes inside it are ordinary characters.
    fn bare_field(&mut self, buffer: &[u8], start: usize, last: bool) -> FieldCut {
        match memchr3(self.delimiter, b'\n', b'\r', &buffer[start..]) {
            Some(length) => FieldCut::whole(start, start + length),
            None if last => FieldCut::whole(start, buffer.len()),
            None => FieldCut::Incomplete,
        }
    }

    /// A field in quotes, and whatever stands between the closing quote and the delimiter.
    fn quoted_field(&mut self, buffer: &[u8], start: usize, last: bool, quote: u8) -> FieldCut {
        let scratch_start = self.scratch.len();
        let mut at = start + 1;
        let mut copied_to = at;
        let mut unescaped = false;
        let escape = self.escape.filter(|escape| *escape != quote);
        let close = loop {
            let found = match escape {
                Some(escape) => memchr2(quote, escape, &buffer[at..]),
                None => memchr(quote, &buffer[at..]),
            };
            let Some(found) = found.map(|found| at + found) else {
                return if last { FieldCut::OpenQuote } else { FieldCut::Incomplete };
            };
            let Some(&next) = buffer.get(found + 1) else {
                if !last {
                    return FieldCut::Incomplete;
                }
                if buffer[found] == quote {
                    break found;
                }
                return FieldCut::OpenQuote;
            };
            if buffer[found] == quote && next != quote {
                break found;
            }
            unescaped = true;
            self.scratch.extend_from_slice(&buffer[copied_to..found]);
            self.scratch.push(next);
            at = found + 2;
            copied_to = at;
        };
        let lines = newlines(&buffer[start..close]);
        let end = match self.bare_field(buffer, close + 1, last) {
            FieldCut::Whole { end, .. } => end,
            _ => return FieldCut::Incomplete,
        };
        let mut span = Span {
            start: start + 1,
            end: close,
            raw_start: start + 1,
            raw_end: close,
            unescaped,
            quoted: true,
        };
        // Text after the closing quote joins the field, as every common reader has it.
        if unescaped || end > close + 1 {
            self.scratch.extend_from_slice(&buffer[copied_to..close]);
            self.scratch.extend_from_slice(&buffer[close + 1..end]);
            span = Span { start: scratch_start, end: self.scratch.len(), unescaped: true, ..span };
        }
        FieldCut::Whole { span, end, lines }
    }
}

enum FieldCut {
    Whole { span: Span, end: usize, lines: u64 },
    Incomplete,
    OpenQuote,
}

impl FieldCut {
    fn whole(start: usize, end: usize) -> Self {
        let span =
            Span { start, end, raw_start: start, raw_end: end, unescaped: false, quoted: false };
        Self::Whole { span, end, lines: 0 }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Returns the length of an empty line at the start of `buffer`.
fn blank_line(buffer: &[u8], last: bool) -> Option<usize> {
    match buffer {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        [b'\r'] if last => Some(1),
        _ => None,
    }
}
