//! The first lines of a JSON file, to find its columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use maru_core::limits::{INFER_BYTES_MAX, INFER_ROWS_MAX};
use maru_core::{Error, Result};
use memchr::memchr;
use object_store::path::Path;

use super::number;
use super::{LINE_BYTES_MAX, object_of, on_line, too_long};
use crate::file_table::text::json_text::{Kind, Scanner, Value};
use crate::file_table::text::sample::is_exact;

/// What the values of one place allow.
#[derive(Debug, Clone, PartialEq)]
enum Guess {
    Nothing,
    Boolean,
    Integer,
    /// A whole number that would lose digits as a float.
    Long,
    Float,
    /// A word for a number that JSON does not have: a number beside numbers, else a text.
    Word,
    /// Whole numbers beside such words.
    Sparse,
    Text,
    List(Box<Guess>),
    Struct(Members),
}

/// Members in the order they came up.
#[derive(Debug, Clone, Default, PartialEq)]
struct Members(Vec<(String, Guess)>);

impl Members {
    fn add(&mut self, name: &str, hint: usize, guess: Guess) {
        // Objects mostly have the same members in the same order.
        let at = match self.0.get(hint) {
            Some((known, _)) if known == name => Some(hint),
            _ => self.0.iter().position(|(known, _)| known == name),
        };
        match at {
            Some(at) => {
                let known = std::mem::replace(&mut self.0[at].1, Guess::Nothing);
                self.0[at].1 = known.join(guess);
            }
            None => self.0.push((name.to_owned(), guess)),
        }
    }

    fn fields(&self) -> Fields {
        let field = |(name, guess): &(String, Guess)| Field::new(name, guess.data_type(), true);
        self.0.iter().map(field).collect()
    }
}

impl Guess {
    fn of(text: &str, value: Value) -> Result<Self> {
        Ok(match value.kind {
            Kind::Null => Self::Nothing,
            Kind::True | Kind::False => Self::Boolean,
            Kind::Text if matches!(value.written(text), "NaN" | "Infinity" | "-Infinity") => {
                Self::Word
            }
            Kind::Text | Kind::EscapedText => Self::Text,
            Kind::Number => {
                let written = value.written(text);
                if written.contains(['.', 'e', 'E']) {
                    Self::Float
                } else if let Ok(whole) = number::integer(written, i64::MIN, i64::MAX) {
                    if is_exact(whole) { Self::Integer } else { Self::Long }
                } else {
                    // A whole number too big for 64 bits would lose digits as a float.
                    Self::Text
                }
            }
            Kind::Array => {
                let mut item = Self::Nothing;
                Scanner::inside(text, value).items(|value| {
                    item = std::mem::replace(&mut item, Self::Nothing).join(Self::of(text, value)?);
                    Ok(())
                })?;
                Self::List(Box::new(item))
            }
            Kind::Object => {
                let mut members = Members::default();
                let mut nth = 0;
                Scanner::inside(text, value).members(|name, value| {
                    members.add(&name.characters(text)?, nth, Self::of(text, value)?);
                    nth += 1;
                    Ok(())
                })?;
                Self::Struct(members)
            }
        })
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Integer, Self::Long) | (Self::Long, Self::Integer) => Self::Long,
            (Self::Float, Self::Integer | Self::Long | Self::Word | Self::Sparse)
            | (Self::Integer | Self::Long | Self::Word | Self::Sparse, Self::Float) => Self::Float,
            (Self::Integer, Self::Word | Self::Sparse)
            | (Self::Word, Self::Integer | Self::Sparse)
            | (Self::Sparse, Self::Integer | Self::Word) => Self::Sparse,
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.join(*b))),
            (Self::Struct(mut a), Self::Struct(b)) => {
                for (nth, (name, guess)) in b.0.into_iter().enumerate() {
                    a.add(&name, nth, guess);
                }
                Self::Struct(a)
            }
            (a, b) if a == b => a,
            _ => Self::Text,
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Nothing => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::Integer | Self::Long => DataType::Int64,
            Self::Float | Self::Sparse => DataType::Float64,
            Self::Word | Self::Text => DataType::Utf8,
            Self::List(item) => {
                DataType::List(Arc::new(Field::new_list_field(item.data_type(), true)))
            }
            // An object without members is no struct: it is given as it is written.
            Self::Struct(Members(members)) if members.is_empty() => DataType::Utf8,
            Self::Struct(members) => DataType::Struct(members.fields()),
        }
    }
}

/// Collects up to `INFER_ROWS_MAX` rows out of up to `INFER_BYTES_MAX` bytes.
pub(in crate::file_table) struct JsonSample {
    columns: Members,
    n_rows: usize,
    n_bytes: usize,
    line: u64,
    buffer: Vec<u8>,
    path: Path,
}

impl JsonSample {
    pub(in crate::file_table) fn new(path: Path) -> Self {
        Self {
            columns: Members::default(),
            n_rows: 0,
            n_bytes: 0,
            line: 1,
            buffer: Vec::new(),
            path,
        }
    }

    /// Returns whether more of the file would not be looked at.
    pub(in crate::file_table) fn is_full(&self) -> bool {
        self.n_rows >= INFER_ROWS_MAX || self.n_rows > 0 && self.n_bytes >= INFER_BYTES_MAX
    }

    /// Takes more bytes of the file.
    ///
    /// # Errors
    /// 22P04 with the line for one that is no object, 54000 for one that is too long.
    pub(in crate::file_table) fn push(&mut self, bytes: &[u8], last: bool) -> Result<()> {
        self.n_bytes += bytes.len();
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            self.buffer.extend_from_slice(&rest[..end]);
            self.take()?;
            rest = &rest[end + 1..];
            if self.is_full() {
                return Ok(());
            }
        }
        self.buffer.extend_from_slice(rest);
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(too_long(&self.path, self.line));
        }
        if last { self.take() } else { Ok(()) }
    }

    fn take(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.buffer);
        if !line.trim_ascii().is_empty() {
            self.add(&line).map_err(|error| on_line(&self.path, self.line, &error))?;
            self.n_rows += 1;
        }
        self.line += 1;
        self.buffer = line;
        self.buffer.clear();
        Ok(())
    }

    fn add(&mut self, line: &[u8]) -> Result<(), Error> {
        let text = object_of(line, self.line == 1)?;
        let mut scanner = Scanner::new(text);
        let (columns, mut nth) = (&mut self.columns, 0);
        scanner.members(|name, value| {
            columns.add(&name.characters(text)?, nth, Guess::of(text, value)?);
            nth += 1;
            Ok(())
        })?;
        scanner.end()
    }

    /// Returns the columns found, with the type NULL where there was no value; `None` if the file holds no row.
    pub(in crate::file_table) fn schema(&self) -> Option<Schema> {
        (self.n_rows > 0).then(|| Schema::new(self.columns.fields()))
    }
}
