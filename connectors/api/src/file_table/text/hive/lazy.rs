//! Rows of Hive's default text (LazySimpleSerDe): delimiters, one for each level of nesting, and nothing quoted.
//!
//! An escape takes away the meaning of the byte after it, on every level; it is taken out of texts, where an escaped `n`
//! and `r` are a line feed and a carriage return. What equals the mark for NULL, as it stands in the file, is NULL.

use std::borrow::Cow;
use std::collections::HashSet;

use arrow::datatypes::DataType;
use maru_core::{Error, Result};
use memchr::{memchr, memchr2};

use super::column::{Column, Values};
use super::value;
use crate::LazyText;

/// Reads rows into columns.
pub(super) struct LazyRows {
    layout: LazyText,
    /// For each column of the table which of the wanted ones it is.
    wanted: Vec<Option<usize>>,
}

impl LazyRows {
    pub(super) fn new(layout: &LazyText, n_columns: usize, columns: &[usize]) -> Self {
        let mut wanted = vec![None; n_columns];
        for (index, column) in columns.iter().enumerate() {
            if let Some(place) = wanted.get_mut(*column) {
                *place = Some(index);
            }
        }
        // What stands behind the last wanted column need not be looked at.
        let last = wanted.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        wanted.truncate(last);
        Self { layout: layout.clone(), wanted }
    }

    pub(super) fn read(&self, line: &[u8], columns: &mut [Column]) -> Result<()> {
        let mut pieces = self.pieces(line, self.separator(0)?);
        let n_columns = self.layout.n_columns.unwrap_or(usize::MAX);
        for (index, wanted) in self.wanted.iter().enumerate() {
            let piece = if index < n_columns { pieces.next() } else { None };
            let Some(column) = wanted.and_then(|index| columns.get_mut(index)) else { continue };
            match piece {
                Some(piece) => self.value(piece, column, 1)?,
                None => column.append_null()?,
            }
        }
        Ok(())
    }

    fn separator(&self, level: usize) -> Result<u8> {
        let found = self.layout.separators.get(level).copied();
        found.ok_or_else(|| Error::unsupported("text nested deeper than Hive has delimiters for"))
    }

    fn pieces<'a>(&self, bytes: &'a [u8], separator: u8) -> Pieces<'a> {
        Pieces { rest: Some(bytes), separator, escape: self.layout.escape }
    }

    fn value(&self, bytes: &[u8], column: &mut Column, level: usize) -> Result<()> {
        if bytes == self.layout.null.as_bytes() {
            return column.append_null();
        }
        match &mut column.values {
            Values::Leaf(_) => {
                let text = self.unescaped(bytes, column.data_type());
                let value = value::parse(column.data_type(), &text)?;
                column.append(value)
            }
            Values::List(list) => {
                if !bytes.is_empty() {
                    for piece in self.pieces(bytes, self.separator(level)?) {
                        self.value(piece, &mut list.items, level + 1)?;
                    }
                }
                list.close(true)
            }
            Values::Struct(fields) => {
                let mut pieces = self.pieces(bytes, self.separator(level)?);
                for column in &mut fields.columns {
                    match pieces.next() {
                        Some(piece) => self.value(piece, column, level + 1)?,
                        None => column.append_null()?,
                    }
                }
                fields.close(true);
                Ok(())
            }
            Values::Map(map) => {
                let between = self.separator(level + 1)?;
                let mut seen = HashSet::new();
                let entries = if bytes.is_empty() { None } else { Some(bytes) };
                let separator = self.separator(level)?;
                for entry in entries.into_iter().flat_map(|all| self.pieces(all, separator)) {
                    let (key, value) = self.key_and_value(entry, between);
                    let text = self.unescaped(key, map.keys.data_type());
                    let parsed = match key == self.layout.null.as_bytes() {
                        true => None,
                        false => value::parse(map.keys.data_type(), &text)?,
                    };
                    // A key that is NULL is no entry; of two that are the same the first counts.
                    let Some(parsed) = parsed.filter(|key| seen.insert(key.identity())) else {
                        continue;
                    };
                    map.keys.append(Some(parsed))?;
                    match value {
                        Some(value) => self.value(value, &mut map.values, level + 2)?,
                        None => map.values.append_null()?,
                    }
                }
                map.close(true)
            }
        }
    }

    /// Cuts an entry at its first delimiter; without one all of it is the key.
    fn key_and_value<'a>(&self, entry: &'a [u8], separator: u8) -> (&'a [u8], Option<&'a [u8]>) {
        let mut pieces = self.pieces(entry, separator);
        let key = pieces.next().unwrap_or_default();
        (key, pieces.rest)
    }

    /// Takes escapes out of text.
    fn unescaped<'a>(&self, bytes: &'a [u8], data_type: &DataType) -> Cow<'a, [u8]> {
        let escape = match (self.layout.escape, data_type) {
            (Some(escape), DataType::Utf8) if memchr(escape, bytes).is_some() => escape,
            _ => return Cow::Borrowed(bytes),
        };
        let mut plain = Vec::with_capacity(bytes.len());
        let mut rest = bytes.iter();
        while let Some(byte) = rest.next() {
            let next = if *byte == escape { rest.next() } else { None };
            plain.push(match next {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(other) => *other,
                None => *byte,
            });
        }
        Cow::Owned(plain)
    }
}

/// The parts of bytes between delimiters that are not escaped.
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
    escape: Option<u8>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.rest.take()?;
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let found = match self.escape {
                Some(escape) => memchr2(self.separator, escape, rest),
                None => memchr(self.separator, rest),
            };
            let Some(found) = found.map(|found| at + found) else { return Some(bytes) };
            if bytes[found] == self.separator {
                self.rest = Some(&bytes[found + 1..]);
                return Some(&bytes[..found]);
            }
            // An escape at the end is a byte like any other.
            at = found + 2;
        }
    }
}
