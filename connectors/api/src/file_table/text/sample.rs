//! The first rows of a CSV file, to infer its columns from.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use chrono::{NaiveDate, NaiveDateTime};
use maru_core::limits::{INFER_BYTES_MAX, INFER_ROWS_MAX};
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;

use super::csv::{Dialect, RECORD_BYTES_MAX, header_name, too_long};
use super::foreign::check_header;
use super::records::{Cut, Records};

/// Returns whether a float holds a whole number with all of its digits, and those beside it.
pub(super) fn is_exact(whole: i64) -> bool {
    whole.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS
}

/// What the values of a column seen so far allow, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    Nothing,
    Boolean,
    Integer,
    /// A whole number that would lose digits as a float.
    Long,
    Float,
    /// A word for a number that has no digits: a number beside numbers, else a text.
    Word,
    /// Whole numbers beside such words.
    Sparse,
    Date,
    Timestamp,
    Text,
}

impl Guess {
    fn of(text: &str) -> Self {
        let text = text.trim();
        if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            return Self::Boolean;
        }
        if matches!(text, "NaN" | "Infinity" | "-Infinity") {
            return Self::Word;
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        // Telephone numbers and codes keep their leading zeros.
        let zero_led = digits.len() > 1
            && digits.starts_with('0')
            && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        if zero_led {
            return Self::Text;
        }
        if let Ok(whole) = text.parse::<i64>() {
            return if is_exact(whole) { Self::Integer } else { Self::Long };
        }
        let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
        if text.bytes().all(numeric) && text.parse::<f64>().is_ok() {
            // A whole number too big for 64 bits would lose digits as a float.
            let whole = digits.bytes().all(|b| b.is_ascii_digit());
            return if whole { Self::Text } else { Self::Float };
        }
        if text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() {
            return Self::Date;
        }
        let timestamp = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
            .iter()
            .any(|format| NaiveDateTime::parse_from_str(text, format).is_ok());
        if timestamp { Self::Timestamp } else { Self::Text }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, other) => other,
            (same, other) if same == other => same,
            (Self::Integer, Self::Long) | (Self::Long, Self::Integer) => Self::Long,
            (Self::Float, Self::Integer | Self::Long | Self::Word | Self::Sparse)
            | (Self::Integer | Self::Long | Self::Word | Self::Sparse, Self::Float) => Self::Float,
            (Self::Integer, Self::Word | Self::Sparse)
            | (Self::Word, Self::Integer | Self::Sparse)
            | (Self::Sparse, Self::Integer | Self::Word) => Self::Sparse,
            (Self::Date, Self::Timestamp) | (Self::Timestamp, Self::Date) => Self::Timestamp,
            _ => Self::Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer | Self::Long => DataType::Int64,
            Self::Float | Self::Sparse => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Word | Self::Text => DataType::Utf8,
            Self::Nothing => DataType::Null,
        }
    }
}

/// Collects up to `INFER_ROWS_MAX` rows out of up to `INFER_BYTES_MAX` bytes.
pub(in crate::file_table) struct CsvSample {
    dialect: Dialect,
    records: Records,
    names: Option<Vec<String>>,
    guesses: Vec<Guess>,
    n_rows: usize,
    n_bytes: usize,
    line: u64,
    buffer: Vec<u8>,
    /// The buffer is not looked at again before it has this many bytes.
    look_at: usize,
    path: Path,
}

impl CsvSample {
    pub(in crate::file_table) fn new(dialect: Dialect, path: Path) -> Self {
        Self {
            records: Records::new(&dialect),
            dialect,
            names: None,
            guesses: Vec::new(),
            n_rows: 0,
            n_bytes: 0,
            line: 1,
            buffer: Vec::new(),
            look_at: 0,
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
    /// 22P04 for a line with another number of fields than those before it, 54000 for a record that is too long.
    pub(in crate::file_table) fn push(&mut self, bytes: &[u8], last: bool) -> Result<()> {
        self.n_bytes += bytes.len();
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < self.look_at && !last {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = if self.line == 1 && buffer.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        while at < buffer.len() && self.n_rows < INFER_ROWS_MAX {
            match self.records.cut(&buffer[at..], last) {
                Cut::Blank { n_bytes } => {
                    at += n_bytes;
                    self.line += 1;
                }
                Cut::Record { n_bytes, n_lines } => {
                    self.take(&buffer[at..])?;
                    at += n_bytes;
                    self.line += n_lines;
                }
                Cut::Incomplete => break,
                Cut::OpenQuote => {
                    return Err(self.bad_line("the quoted field that begins here has no end"));
                }
            }
        }
        self.buffer = buffer;
        self.buffer.drain(..at);
        if self.buffer.len() > RECORD_BYTES_MAX && !self.is_full() {
            return Err(too_long(&self.path, self.line));
        }
        // Doubling keeps the work linear when one record spans many pieces.
        self.look_at = (self.buffer.len() * 2).min(RECORD_BYTES_MAX);
        Ok(())
    }

    fn bad_line(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::BadFileFormat,
            format!("file \"{}\" line {}: {what}", self.path, self.line),
        )
        .with_hint("Check the options delimiter, quote and header, or declare the columns.")
    }

    fn take(&mut self, buffer: &[u8]) -> Result<()> {
        let n_fields = self.records.n_fields();
        let fields = (0..n_fields).filter_map(|index| self.records.field(buffer, index));
        let Some(names) = &self.names else {
            if self.dialect.has_header() {
                check_header(fields.clone().map(|field| field.text), &self.path)?;
                let names =
                    fields.enumerate().map(|(index, field)| header_name(&field, index)).collect();
                self.names = Some(unique(names, &self.path)?);
                self.guesses = vec![Guess::Nothing; n_fields];
                return Ok(());
            }
            self.names = Some((1..=n_fields).map(|number| format!("column_{number}")).collect());
            self.guesses = vec![Guess::Nothing; n_fields];
            return self.take(buffer);
        };
        if names.len() != n_fields && !self.dialect.is_lenient() {
            let n_names = names.len();
            let fields = if n_fields == 1 { "field" } else { "fields" };
            return Err(self.bad_line(&format!("{n_fields} {fields} where {n_names} are expected")));
        }
        for (guess, field) in self.guesses.iter_mut().zip(fields) {
            if !self.dialect.is_null(&field) && !field.text.is_empty() {
                *guess = guess.join(Guess::of(&String::from_utf8_lossy(field.text)));
            }
        }
        self.n_rows += 1;
        Ok(())
    }

    /// Returns the columns found, with the type NULL where there was no value; `None` if the file holds neither header
    /// nor row.
    pub(in crate::file_table) fn schema(&self) -> Option<Schema> {
        let names = self.names.as_ref()?;
        let fields = names
            .iter()
            .zip(&self.guesses)
            .map(|(name, guess)| Field::new(name, guess.data_type(), true));
        Some(Schema::new(fields.collect::<Vec<_>>()))
    }
}

fn unique(names: Vec<String>, path: &Path) -> Result<Vec<String>> {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(Error::new(
                ErrorKind::BadFileFormat,
                format!("file \"{path}\" line 1: the header names column \"{name}\" twice"),
            )
            .with_hint("Declare the columns, each with a name of its own."));
        }
    }
    Ok(names)
}
