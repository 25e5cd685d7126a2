//! Hive's text formats: lines as Hadoop cuts them, rows as the SerDe reads them.
//!
//! A line ends with a line feed, a carriage return, or both. Rows are read by `hive/lazy.rs` (delimiters),
//! `hive/json.rs` and `hive/pattern.rs` into the columns of `hive/column.rs`; `hive/value.rs` reads single values.

mod column;
mod json;
mod lazy;
mod pattern;
mod value;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use maru_core::{Error, ErrorKind, Result};
use memchr::memchr2;
use object_store::path::Path;

use super::Decoder;
use crate::FileFormatSpec;
use column::Column;
pub(crate) use pattern::compile as compile_pattern;

/// Bytes that one line may have.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

enum Rows {
    Lazy(lazy::LazyRows),
    Json(json::JsonRows),
    Pattern(pattern::PatternRows),
}

/// Reads the lines of one file.
pub(super) struct HiveDecoder {
    rows: Rows,
    projected: SchemaRef,
    columns: Vec<Column>,
    n_rows: usize,
    batch_rows: usize,
    /// The start of a line whose end is not here yet.
    buffer: Vec<u8>,
    /// The buffer was searched for an end of a line up to here.
    searched: usize,
    line: u64,
    path: Path,
}

impl HiveDecoder {
    /// Returns the reader of a format of Hive's, or `None` if the format is another.
    ///
    /// # Errors
    /// 0A000 for a column of a type, or a pattern, that cannot be read.
    pub(super) fn of(
        format: &FileFormatSpec,
        table: &SchemaRef,
        wanted: &[usize],
        batch_rows: usize,
        path: &Path,
    ) -> Result<Option<Self>> {
        let rows = match format {
            FileFormatSpec::LazyText(layout) => {
                Rows::Lazy(lazy::LazyRows::new(layout, table.fields().len(), wanted))
            }
            FileFormatSpec::HiveJson { raw_fractions } => {
                Rows::Json(json::JsonRows::new(table.fields(), wanted, *raw_fractions))
            }
            FileFormatSpec::Pattern { pattern, ignore_case } => {
                Rows::Pattern(pattern::PatternRows::new(pattern, *ignore_case, wanted)?)
            }
            _ => return Ok(None),
        };
        let projected = Arc::new(table.project(wanted)?);
        let columns = projected.fields().iter().map(|field| Column::new(field.data_type()));
        Ok(Some(Self {
            rows,
            columns: columns.collect::<Result<_>>()?,
            projected,
            n_rows: 0,
            batch_rows,
            buffer: Vec::new(),
            searched: 0,
            line: 1,
            path: path.clone(),
        }))
    }

    fn take(&mut self, line: &[u8]) -> Result<()> {
        let read = match &self.rows {
            Rows::Lazy(rows) => rows.read(line, &mut self.columns),
            Rows::Json(rows) => rows.read(line, &mut self.columns),
            Rows::Pattern(rows) => rows.read(line, &mut self.columns),
        };
        read.map_err(|error| {
            let text = format!("file \"{}\" line {}: {}", self.path, self.line, error.primary());
            let mut named = Error::new(error.kind(), text);
            if let Some(hint) = error.hint() {
                named = named.with_hint(hint);
            }
            named
        })?;
        self.n_rows += 1;
        self.line += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<RecordBatch> {
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.n_rows));
        self.n_rows = 0;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.projected), columns, &options)?)
    }
}

impl Decoder for HiveDecoder {
    fn push(&mut self, bytes: &[u8], last: bool) -> Result<Vec<RecordBatch>> {
        let mut full = Vec::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut start = 0;
        while start < buffer.len() {
            match line_end(&buffer, start.max(self.searched), last) {
                Some((end, next)) => {
                    self.take(&buffer[start..end])?;
                    start = next;
                }
                None if last => {
                    self.take(&buffer[start..])?;
                    start = buffer.len();
                }
                None => break,
            }
            if self.n_rows == self.batch_rows {
                full.push(self.flush()?);
            }
        }
        buffer.drain(..start);
        // A carriage return at the end may be half of an end of a line.
        self.searched = buffer.len().saturating_sub(1);
        self.buffer = buffer;
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "file \"{}\" line {}: the line is longer than {LINE_BYTES_MAX} bytes",
                    self.path, self.line
                ),
            ));
        }
        if last && self.n_rows > 0 {
            full.push(self.flush()?);
        }
        Ok(full)
    }

    fn begins_at_line(&mut self, line: u64) {
        self.line = line;
    }
}

/// Finds the end of the line at or behind `from`: where it ends and where the next one begins. `None` if that is not known
/// yet.
pub(super) fn line_end(buffer: &[u8], from: usize, last: bool) -> Option<(usize, usize)> {
    let end = from + memchr2(b'\n', b'\r', buffer.get(from..)?)?;
    if buffer[end] == b'\n' {
        return Some((end, end + 1));
    }
    match buffer.get(end + 1) {
        Some(b'\n') => Some((end, end + 2)),
        Some(_) => Some((end, end + 1)),
        None if last => Some((end, end + 1)),
        None => None,
    }
}

#[cfg(test)]
mod tests;
