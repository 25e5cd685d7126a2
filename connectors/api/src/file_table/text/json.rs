//! JSON lines: one object in each, read strictly.
//!
//! A reader of our own, since arrow's cuts `15197.5` to 15197 for an integer, rounds decimals, takes numbers for times,
//! and accepts `[1,]`. `json_text.rs` walks through the text, `json/column.rs` takes the values, `json/number.rs` reads
//! numbers exactly, `json/sample.rs` finds columns.

mod column;
mod field;
mod number;
mod sample;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use maru_core::{Error, ErrorKind, Result};
use memchr::{memchr, memrchr};
use object_store::path::Path;

use super::Decoder;
use super::json_text::{Scanner, Value, bad};
use column::{Column, by_name};
pub(super) use field::nested;
pub(in crate::file_table) use sample::JsonSample;

/// Bytes that one line may have.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of lines that one batch is made of at most, however few the rows.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) struct JsonDecoder {
    rows: Rows,
    projected: SchemaRef,
    batch_rows: usize,
    n_rows: usize,
    n_bytes: usize,
    /// The start of a line whose end is not here yet.
    buffer: Vec<u8>,
    /// The line that `buffer` begins with.
    line: u64,
    path: Path,
}

/// Where the members of an object go.
struct Rows {
    columns: Vec<Column>,
    places: HashMap<String, usize>,
    /// The names of the object before and their places: the next one mostly has the same in the same order.
    known: Vec<(String, Option<usize>)>,
    found: Vec<Option<Value>>,
}

impl JsonDecoder {
    pub(super) fn new(
        table: &SchemaRef,
        wanted: &[usize],
        batch_rows: usize,
        path: Path,
    ) -> Result<Self> {
        let projected = Arc::new(table.project(wanted)?);
        let columns = projected.fields().iter().map(|field| Column::new(field.data_type()));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            rows: Rows {
                found: vec![None; columns.len()],
                columns,
                places: by_name(projected.fields()),
                known: Vec::new(),
            },
            projected,
            batch_rows,
            n_rows: 0,
            n_bytes: 0,
            buffer: Vec::new(),
            line: 1,
            path,
        })
    }

    /// Takes whole lines.
    fn take(&mut self, mut lines: &[u8], full: &mut Vec<RecordBatch>) -> Result<()> {
        while !lines.is_empty() {
            let end = memchr(b'\n', lines).unwrap_or(lines.len());
            let line = &lines[..end];
            if !line.trim_ascii().is_empty() {
                if line.len() > LINE_BYTES_MAX {
                    return Err(self.too_long());
                }
                self.rows
                    .take(line, &self.projected, self.line)
                    .map_err(|error| self.on_line(self.line, &error))?;
                self.n_rows += 1;
                self.n_bytes += line.len();
                if self.n_rows == self.batch_rows || self.n_bytes >= BATCH_BYTES_MAX {
                    full.push(self.flush()?);
                }
            }
            self.line += 1;
            lines = lines.get(end + 1..).unwrap_or_default();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.rows.columns.len());
        for (column, field) in self.rows.columns.iter_mut().zip(self.projected.fields()) {
            let finished = column.finish();
            columns.push(finished.map_err(|(line, error)| {
                let named = in_column(field.name(), &error);
                if line == 0 { error } else { on_line(&self.path, line, &named) }
            })?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.n_rows));
        self.n_rows = 0;
        self.n_bytes = 0;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.projected), columns, &options)?)
    }

    fn on_line(&self, line: u64, error: &Error) -> Error {
        on_line(&self.path, line, error)
    }

    fn too_long(&self) -> Error {
        too_long(&self.path, self.line)
    }
}

impl Rows {
    fn take(&mut self, line: &[u8], schema: &SchemaRef, number: u64) -> Result<()> {
        let text = object_of(line, number == 1)?;
        self.found.fill(None);
        let mut scanner = Scanner::new(text);
        let (known, places, found) = (&mut self.known, &self.places, &mut self.found);
        let mut nth = 0;
        scanner.members(|name, value| {
            let name = name.characters(text)?;
            let place = match known.get(nth) {
                Some((same, place)) if *same == name => *place,
                _ => {
                    let place = places.get(name.as_ref()).copied();
                    known.truncate(nth);
                    known.push((name.into_owned(), place));
                    place
                }
            };
            nth += 1;
            // Of two members of one name the last counts, as in PostgreSQL's jsonb.
            if let Some(place) = place {
                found[place] = Some(value);
            }
            Ok(())
        })?;
        scanner.end()?;
        for (index, (column, value)) in self.columns.iter_mut().zip(&self.found).enumerate() {
            match value {
                Some(value) => column
                    .append(text, *value, number)
                    .map_err(|error| in_column(schema.field(index).name(), &error))?,
                None => column.append_null(number)?,
            }
        }
        Ok(())
    }
}

impl Decoder for JsonDecoder {
    fn push(&mut self, bytes: &[u8], last: bool) -> Result<Vec<RecordBatch>> {
        let mut full = Vec::new();
        let end = if last { Some(bytes.len()) } else { memrchr(b'\n', bytes).map(|at| at + 1) };
        let Some(end) = end else {
            self.buffer.extend_from_slice(bytes);
            return if self.buffer.len() > LINE_BYTES_MAX {
                Err(self.too_long())
            } else {
                Ok(full)
            };
        };
        let mut whole = &bytes[..end];
        if !self.buffer.is_empty() {
            // The line that began before ends here; the others are read where they are.
            let rest = memchr(b'\n', whole).map_or(whole.len(), |at| at + 1);
            let mut first = std::mem::take(&mut self.buffer);
            first.extend_from_slice(&whole[..rest]);
            self.take(&first, &mut full)?;
            whole = &whole[rest..];
            first.clear();
            self.buffer = first;
        }
        self.take(whole, &mut full)?;
        self.buffer.extend_from_slice(&bytes[end..]);
        if last && self.n_rows > 0 {
            full.push(self.flush()?);
        }
        Ok(full)
    }
}

/// Returns the text of a line that begins like an object. The first line of a file may have a mark before it.
fn object_of(line: &[u8], first: bool) -> Result<&str> {
    let mark: &[u8] = if first { b"\xef\xbb\xbf" } else { b"" };
    let line = line.strip_prefix(mark).unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| bad("the line is not valid UTF-8"))?;
    let is_object = text.trim_ascii_start().starts_with('{');
    if is_object { Ok(text) } else { Err(bad("the line is no JSON object")) }
}

fn in_column(name: &str, error: &Error) -> Error {
    let text = format!("column \"{name}\": {}", error.message());
    like(error, text)
}

fn on_line(path: &Path, line: u64, error: &Error) -> Error {
    let named = like(error, format!("file \"{path}\" line {line}: {}", error.message()));
    named.or_hint(|| {
        Some("A JSON file holds one object per line, with values of the columns' types.".to_owned())
    })
}

/// Returns the same error with another text.
fn like(error: &Error, text: String) -> Error {
    let mut same = Error::new(error.kind(), text);
    if let Some(hint) = error.hint() {
        same = same.with_hint(hint);
    }
    match error.detail() {
        Some(detail) => same.with_detail(detail),
        None => same,
    }
}

fn too_long(path: &Path, line: u64) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!("file \"{path}\" line {line}: the line is longer than {LINE_BYTES_MAX} bytes"),
    )
}
