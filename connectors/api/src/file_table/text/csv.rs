//! From records to columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::FormatOptions;
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;

use super::Decoder;
use super::foreign::check_header;
use super::records::{Cut, Field, Records};
use super::typed;
use crate::FileFormatSpec;

/// Bytes that one record may have; a longer one is most likely an open quote.
pub(super) const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The layout of delimited text, out of [`FileFormatSpec::Csv`].
#[derive(Debug, Clone)]
pub(in crate::file_table) struct Dialect {
    pub(super) has_header: bool,
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) null: Option<String>,
    pub(super) lenient: bool,
}

impl Dialect {
    pub(in crate::file_table) fn of(format: &FileFormatSpec) -> Option<Self> {
        match format.clone() {
            FileFormatSpec::Csv { has_header, delimiter, quote, escape, null, lenient } => {
                Some(Self { has_header, delimiter, quote, escape, null, lenient })
            }
            _ => None,
        }
    }

    /// Returns whether an unquoted field stands for NULL in a column of text.
    pub(in crate::file_table) fn is_null(&self, field: &Field<'_>) -> bool {
        !field.quoted && self.null.as_ref().is_some_and(|null| null.as_bytes() == field.raw)
    }

    pub(in crate::file_table) fn has_header(&self) -> bool {
        self.has_header
    }

    pub(in crate::file_table) fn is_lenient(&self) -> bool {
        self.lenient
    }
}

/// Collects records into batches of the wanted columns.
pub(in crate::file_table) struct CsvDecoder {
    dialect: Dialect,
    records: Records,
    /// All columns of the file.
    table: SchemaRef,
    /// The columns wanted.
    projected: SchemaRef,
    /// For each wanted column where it stands in a record; `None` if the file lacks it.
    places: Vec<Option<usize>>,
    wanted: Vec<usize>,
    /// Fields that a record must have.
    n_fields: usize,
    builders: Vec<StringBuilder>,
    n_rows: usize,
    batch_rows: usize,
    /// Line of each row of the batch, to tell it when a value does not fit.
    lines: Vec<u64>,
    line: u64,
    header_pending: bool,
    buffer: Vec<u8>,
    /// The buffer is not looked at again before it has this many bytes.
    look_at: usize,
    path: Path,
}

impl CsvDecoder {
    pub(in crate::file_table) fn new(
        dialect: Dialect,
        table: SchemaRef,
        wanted: &[usize],
        batch_rows: usize,
        path: Path,
    ) -> Result<Self> {
        let projected = Arc::new(table.project(wanted)?);
        let mut decoder = Self {
            records: Records::new(&dialect),
            places: wanted.iter().copied().map(Some).collect(),
            wanted: wanted.to_vec(),
            n_fields: table.fields().len(),
            builders: wanted.iter().map(|_| StringBuilder::new()).collect(),
            n_rows: 0,
            batch_rows,
            lines: Vec::new(),
            line: 1,
            header_pending: dialect.has_header,
            buffer: Vec::new(),
            look_at: 0,
            dialect,
            table,
            projected,
            path,
        };
        if !decoder.header_pending {
            decoder.know_blanks();
        }
        Ok(decoder)
    }

    /// A line with nothing in it is a row where rows have one field, which is NULL or an empty text.
    fn know_blanks(&mut self) {
        if self.n_fields == 1 {
            self.records.keep_blank_lines();
        }
    }

    fn bad_line(&self, line: u64, what: &str) -> Error {
        Error::new(ErrorKind::BadFileFormat, format!("file \"{}\" line {line}: {what}", self.path))
    }

    /// Takes the header: if it names columns of the table they are read by name, in whatever order; if it names none
    /// of them its fields are taken in the order of the table.
    fn take_header(&mut self, buffer: &[u8]) -> Result<()> {
        let names = (0..self.records.n_fields())
            .filter_map(|index| self.records.field(buffer, index))
            .enumerate()
            .map(|(index, field)| header_name(&field, index))
            .collect::<Vec<_>>();
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        let found = crate::file_table::column_names::names_in_file(&self.table, &names);
        let n_found = found.iter().flatten().count();
        // Hive skips the header and knows columns by their place.
        if self.dialect.lenient {
            return Ok(());
        }
        let fields = (0..names.len()).filter_map(|index| self.records.field(buffer, index));
        check_header(fields.map(|field| field.text), &self.path)?;
        self.n_fields = names.len();
        if n_found == names.len() {
            self.places = self
                .wanted
                .iter()
                .map(|column| found[*column].and_then(|name| names.iter().position(|n| *n == name)))
                .collect();
            return Ok(());
        }
        let n_columns = self.table.fields().len();
        if n_found == 0 && names.len() == n_columns {
            return Ok(());
        }
        let strange =
            names.iter().find(|name| !found.contains(&Some(**name))).copied().unwrap_or_default();
        let columns =
            self.table.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        Err(self
            .bad_line(
                self.line,
                &format!("the header names column \"{strange}\", which the table lacks"),
            )
            .with_detail(format!("The table has columns {}.", columns.join(", ")))
            .with_hint("Declare the columns as the header names them."))
    }

    fn take_record(&mut self, buffer: &[u8]) -> Result<()> {
        let n_fields = self.records.n_fields();
        if n_fields != self.n_fields && !self.dialect.lenient {
            let fields = if n_fields == 1 { "field" } else { "fields" };
            let error = self.bad_line(
                self.line,
                &format!("{n_fields} {fields} where {} are expected", self.n_fields),
            );
            return Err(error.with_hint(if n_fields > self.n_fields {
                "A field that holds the delimiter must stand in quotes. Check the options delimiter and quote."
            } else {
                "Check the options delimiter and quote, and whether the line was cut off."
            }));
        }
        for (column, place) in self.places.iter().enumerate() {
            let field = place.and_then(|place| self.records.field(buffer, place));
            let builder = &mut self.builders[column];
            let Some(field) = field else {
                builder.append_null();
                continue;
            };
            let text_column = is_text(self.projected.field(column).data_type());
            if self.dialect.is_null(&field) || (field.text.is_empty() && !text_column) {
                builder.append_null();
                continue;
            }
            match std::str::from_utf8(field.text) {
                Ok(text) => builder.append_value(text),
                Err(_) if self.dialect.lenient => {
                    builder.append_value(String::from_utf8_lossy(field.text));
                }
                Err(_) => {
                    let name = self.projected.field(column).name();
                    return Err(self
                        .bad_line(self.line, &format!("column \"{name}\" is not valid UTF-8"))
                        .with_hint("Convert the file to UTF-8, for example with iconv."));
                }
            }
        }
        self.lines.push(self.line);
        self.n_rows += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.builders.len());
        for (index, builder) in self.builders.iter_mut().enumerate() {
            columns.push((index, Arc::new(builder.finish()) as ArrayRef));
        }
        let columns = columns
            .into_iter()
            .map(|(index, text)| self.convert(index, &text))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.n_rows));
        let schema = Arc::clone(&self.projected);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        self.n_rows = 0;
        self.lines.clear();
        Ok(batch)
    }

    fn convert(&self, index: usize, text: &ArrayRef) -> Result<ArrayRef> {
        let field = self.projected.field(index);
        if self.dialect.lenient {
            let options = CastOptions { safe: true, format_options: FormatOptions::default() };
            return Ok(cast_with_options(text, field.data_type(), &options)?);
        }
        typed::read(text, field.data_type()).map_err(|error| self.bad_value(index, text, error))
    }

    /// Finds the first value of a column that does not fit its type.
    fn bad_value(&self, index: usize, text: &ArrayRef, error: Error) -> Error {
        let field = self.projected.field(index);
        for row in 0..text.len() {
            if let Err(error) = typed::read(&text.slice(row, 1), field.data_type()) {
                let line = self.lines.get(row).copied().unwrap_or(self.line);
                let what = format!("column \"{}\": {}", field.name(), error.message());
                let told = self
                    .bad_line(line, &what)
                    .with_hint("Declare the column as text, or as a type that holds the value.");
                // A number beyond the range of floats is one that could have become another without a word.
                return match field.data_type().is_floating() {
                    true if error.kind() == ErrorKind::OutOfRange => {
                        told.with_kind(ErrorKind::OutOfRange)
                    }
                    _ => told,
                };
            }
        }
        error
    }
}

impl Decoder for CsvDecoder {
    fn push(&mut self, bytes: &[u8], last: bool) -> Result<Vec<RecordBatch>> {
        self.buffer.extend_from_slice(bytes);
        let mut full = Vec::new();
        if self.buffer.len() < self.look_at && !last {
            return Ok(full);
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        if self.line == 1 && buffer.starts_with(b"\xef\xbb\xbf") {
            at = 3;
        }
        while at < buffer.len() {
            let rest = &buffer[at..];
            match self.records.cut(rest, last) {
                Cut::Blank { n_bytes } => {
                    at += n_bytes;
                    self.line += 1;
                }
                Cut::Record { n_bytes, n_lines } => {
                    if self.header_pending {
                        self.take_header(rest)?;
                        self.header_pending = false;
                        self.know_blanks();
                    } else {
                        self.take_record(rest)?;
                    }
                    at += n_bytes;
                    self.line += n_lines;
                }
                Cut::Incomplete => break,
                Cut::OpenQuote => {
                    return Err(self
                        .bad_line(self.line, "the quoted field that begins here has no end")
                        .with_hint("Check the options quote and escape."));
                }
            }
            if self.n_rows == self.batch_rows {
                full.push(self.flush()?);
            }
        }
        self.buffer = buffer;
        self.buffer.drain(..at);
        if self.buffer.len() > RECORD_BYTES_MAX {
            return Err(too_long(&self.path, self.line));
        }
        // Doubling keeps the work linear when one record spans many pieces.
        self.look_at = (self.buffer.len() * 2).min(RECORD_BYTES_MAX);
        if last && self.n_rows > 0 {
            full.push(self.flush()?);
        }
        Ok(full)
    }

    fn begins_at_line(&mut self, line: u64) {
        self.line = line;
    }
}

pub(super) fn too_long(path: &Path, line: u64) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!("file \"{path}\" line {line}: the record is longer than {RECORD_BYTES_MAX} bytes"),
    )
    .with_hint("Check the options quote and escape: a quote may have no end.")
}

/// Returns the name that a header gives to a column; an empty one is called by its place.
pub(in crate::file_table) fn header_name(field: &Field<'_>, index: usize) -> String {
    let name = String::from_utf8_lossy(field.text);
    let name = name.trim();
    if name.is_empty() { format!("column_{}", index + 1) } else { name.to_owned() }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    )
}
